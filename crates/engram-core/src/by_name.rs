//! Numbers found by name, where the names lie with what is numbered: 6 to 11 bytes a name, where a map with the names as
//! keys takes 28 to 57 and another copy of each.

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use std::hash::BuildHasher;

/// Numbers by name. It is told the name of a number whenever it asks; that must not change while the number is in here.
#[derive(Debug, Clone, Default)]
pub(crate) struct ByName(HashTable<u32>);

impl ByName {
    /// The number of a name.
    pub(crate) fn get<'a>(&self, name: &str, name_of: impl Fn(u32) -> &'a str) -> Option<u32> {
        self.0.find(hash(name), |&number| name_of(number) == name).copied()
    }

    /// Adds a name that is not in here.
    pub(crate) fn insert<'a>(&mut self, name: &str, number: u32, name_of: impl Fn(u32) -> &'a str) {
        self.0.insert_unique(hash(name), number, |&other| hash(name_of(other)));
    }

    /// Takes a name out, if it is in here with this number.
    pub(crate) fn remove(&mut self, name: &str, number: u32) {
        if let Ok(entry) = self.0.find_entry(hash(name), |&own| own == number) {
            entry.remove();
        }
    }

    /// In no order.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.0.iter().copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.allocation_size()
    }
}

fn hash(name: &str) -> u64 {
    FxBuildHasher.hash_one(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_as_in_a_map() {
        let (mut rng, mut names) = (fastrand::Rng::with_seed(5), Vec::<String>::new());
        let (mut by_name, mut map) = (ByName::default(), std::collections::BTreeMap::new());
        for number in 0..1000 {
            names.push(format!("n{}", rng.u32(..2000)));
            let name = &names[number as usize];
            let name_of = |number: u32| names[number as usize].as_str();
            assert_eq!(by_name.get(name, name_of), map.get(name).copied());
            match map.get(name).copied() {
                Some(known) if rng.bool() => {
                    by_name.remove(name, known);
                    map.remove(name);
                }
                Some(_) => by_name.remove(name, number),
                None => {
                    by_name.insert(name, number, name_of);
                    map.insert(name.clone(), number);
                }
            }
            assert_eq!((by_name.len(), by_name.is_empty()), (map.len(), map.is_empty()));
        }
        let mut numbers: Vec<u32> = by_name.numbers().collect();
        numbers.sort_unstable();
        let mut expected: Vec<u32> = map.into_values().collect();
        expected.sort_unstable();
        assert_eq!(numbers, expected);
    }
}
