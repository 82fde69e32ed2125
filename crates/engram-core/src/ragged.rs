//! Short lists by slot, all in one block: eight bytes a slot, and for each list as many places as the power of two that
//! holds it. Places that a list leaves are used by the next of that size.

use crate::Slot;
use crate::kernels::prefetch;

#[derive(Debug, Clone, Copy, Default)]
struct Row {
    start: u32,
    len: u32,
}

/// A list of `T` a slot.
#[derive(Debug, Clone)]
pub(crate) struct Ragged<T> {
    rows: Vec<Row>,
    places: Vec<T>,
    /// By the logarithm of their size: where unused places start.
    free: Vec<Vec<u32>>,
}

impl<T> Default for Ragged<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), places: Vec::new(), free: Vec::new() }
    }
}

impl<T: Copy + Default> Ragged<T> {
    /// Makes room for so many slots.
    pub(crate) fn reserve(&mut self, slots: usize) {
        self.rows.resize(self.rows.len().max(slots), Row::default());
    }

    /// The list of a slot.
    pub(crate) fn get(&self, slot: Slot) -> &[T] {
        let Row { start, len } = self.rows.get(slot as usize).copied().unwrap_or_default();
        &self.places[start as usize..(start + len) as usize]
    }

    /// Asks the processor to fetch where the list of a slot lies.
    #[inline]
    pub(crate) fn prefetch(&self, slot: Slot) {
        self.rows.get(slot as usize).map(std::slice::from_ref).into_iter().for_each(prefetch);
    }

    /// Asks the processor to fetch the list of a slot.
    #[inline]
    pub(crate) fn prefetch_list(&self, slot: Slot) {
        prefetch(self.get(slot));
    }

    /// Puts an item into the list of a slot, at a place within it or at its end.
    pub(crate) fn insert(&mut self, slot: Slot, at: usize, item: T) {
        let Row { start, len } = self.rows[slot as usize];
        let (from, old) = (start as usize, len as usize);
        assert!(at <= old, "an item goes into its list or to the end of it");
        let mut to = from;
        if old == 0 || old.is_power_of_two() {
            to = self.take_places((old + 1).next_power_of_two());
            self.places.copy_within(from..from + old, to);
            self.give_places(from, old);
        }
        self.places.copy_within(to + at..to + old, to + at + 1);
        self.places[to + at] = item;
        let start = u32::try_from(to).expect("there is memory for less than 4 G places");
        self.rows[slot as usize] = Row { start, len: len + 1 };
    }

    /// Takes an item out of the list of a slot.
    pub(crate) fn remove(&mut self, slot: Slot, at: usize) -> T {
        let row = &mut self.rows[slot as usize];
        let (from, old) = (row.start as usize, row.len as usize);
        assert!(at < old, "what is removed is there");
        row.len -= 1;
        let item = self.places[from + at];
        self.places.copy_within(from + at + 1..from + old, from + at);
        let left = old - 1;
        if left == 0 {
            self.give_places(from, 1);
        } else if left.is_power_of_two() {
            self.give_places(from + left, left);
        }
        item
    }

    /// Keeps those items of a slot's list that pass.
    pub(crate) fn retain(&mut self, slot: Slot, mut passes: impl FnMut(&T) -> bool) {
        for at in (0..self.get(slot).len()).rev() {
            if !passes(&self.get(slot)[at]) {
                self.remove(slot, at);
            }
        }
    }

    /// Where `size` unused places start; `size` is a power of two.
    fn take_places(&mut self, size: usize) -> usize {
        let unused = self.free.get_mut(size.ilog2() as usize).and_then(Vec::pop);
        unused.map_or_else(
            || {
                let start = self.places.len();
                self.places.resize(start + size, T::default());
                start
            },
            |start| start as usize,
        )
    }

    /// Frees `size` places, a power of two, or none.
    fn give_places(&mut self, start: usize, size: usize) {
        if size > 0 {
            let class = size.ilog2() as usize;
            if self.free.len() <= class {
                self.free.resize_with(class + 1, Vec::new);
            }
            self.free[class].push(start as u32);
        }
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.places.capacity() * size_of::<T>()
            + self.free.iter().map(|free| free.capacity() * size_of::<u32>()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_lists_are() {
        let (mut rows, mut lists) = (Ragged::default(), vec![Vec::new(); 20]);
        rows.reserve(20);
        let mut rng = fastrand::Rng::with_seed(1);
        for step in 0..20_000u32 {
            // Grows, shrinks to nothing, and grows again.
            let grows = rng.u32(..10) < if step / 4000 % 2 == 0 { 6 } else { 4 };
            let slot = rng.usize(..20);
            let list = &mut lists[slot];
            if grows {
                let at = rng.usize(..=list.len());
                list.insert(at, step);
                rows.insert(slot as Slot, at, step);
            } else if !list.is_empty() {
                let at = rng.usize(..list.len());
                assert_eq!(rows.remove(slot as Slot, at), list.remove(at));
            }
            if rng.u32(..500) == 0 {
                list.retain(|item| item % 3 > 0);
                rows.retain(slot as Slot, |item| item % 3 > 0);
            }
            assert_eq!(rows.get(slot as Slot), list);
        }
        (0..20).for_each(|slot| assert_eq!(rows.get(slot as Slot), lists[slot]));
        // What is unused and what is used is all that there is, each place once.
        let used: usize =
            lists.iter().map(|list| if list.is_empty() { 0 } else { list.len().next_power_of_two() }).sum();
        let unused: usize = rows.free.iter().enumerate().map(|(class, free)| free.len() << class).sum();
        assert_eq!(used + unused, rows.places.len());
        assert!(rows.get(99).is_empty());
    }
}
