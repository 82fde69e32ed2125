//! Words and names as numbers: so a checkpoint keeps them, which tells each name once, before the first memory that has it.

use super::SpaceState;
use crate::Slot;
use crate::associate::Analysis;
use crate::speech::Speech;
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// What is known of a memory's text: the numbers of its words and names, with how often it has them, and how it is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Numbered {
    /// Words, each once.
    pub terms: Vec<(u32, u32)>,
    /// Names, each once.
    pub entities: Vec<(u32, u32)>,
    /// How it is told.
    pub speech: Speech,
}

/// What is told before it is used, in the order of its numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewNames {
    /// Words.
    pub terms: Vec<Arc<str>>,
    /// Names.
    pub entities: Vec<Arc<str>>,
}

/// What whoever writes memories down has told, numbered from 0 in the order of telling.
#[derive(Debug, Default)]
pub struct Numbers {
    terms: Told,
    entities: Told,
}

#[derive(Debug, Default)]
struct Told {
    /// By the id of the state: what it was called when it was told, and its number. An id may be another's by now, but
    /// the allocation of a name that is held here is nobody else's.
    by_id: Vec<Option<(Arc<str>, u32)>>,
    count: u32,
}

impl Told {
    fn number(&mut self, id: u32, name: &Arc<str>, new: &mut Vec<Arc<str>>) -> u32 {
        let at = id as usize;
        if self.by_id.len() <= at {
            self.by_id.resize(at + 1, None);
        }
        match &self.by_id[at] {
            Some((told, number)) if Arc::ptr_eq(told, name) => *number,
            _ => {
                let number = self.count;
                self.count += 1;
                new.push(name.clone());
                self.by_id[at] = Some((name.clone(), number));
                number
            }
        }
    }
}

/// What numbers mean to a state that reads them.
#[derive(Debug, Default)]
pub struct Names {
    terms: Read,
    entities: Read,
}

#[derive(Debug, Default)]
struct Read {
    /// By number.
    ids: Vec<u32>,
    known: FxHashSet<u32>,
    /// Some were told again: they were dropped meanwhile, so that no memory has both numbers.
    is_any_twice: bool,
}

impl Read {
    fn take(&mut self, id: u32) {
        self.is_any_twice |= !self.known.insert(id);
        self.ids.push(id);
    }

    /// Returns false where a name is in the list twice.
    fn translate(&self, numbers: &mut [(u32, u32)]) -> bool {
        numbers.iter_mut().for_each(|(number, _)| *number = self.ids[*number as usize]);
        let mut seen = FxHashSet::default();
        !self.is_any_twice || numbers.iter().all(|(id, _)| seen.insert(*id))
    }
}

impl SpaceState {
    /// What is known of the text of the memory in `slot`, by the numbers of `told`, in their order. What these do not have
    /// yet is added to them and to `new`, which is to be told first.
    pub fn numbered(&self, slot: Slot, told: &mut Numbers, new: &mut NewNames) -> Numbered {
        let words = self.lexicon.counts(slot, &self.record(slot).kept.terms);
        let names = self.graph.entities_of(slot).iter();
        let mut terms: Vec<_> =
            words.map(|(id, name, count)| (told.terms.number(id, name, &mut new.terms), count)).collect();
        let mut entities: Vec<_> = names
            .map(|&(id, count)| {
                (told.entities.number(id, &self.graph.entity(id).name, &mut new.entities), count)
            })
            .collect();
        terms.sort_unstable();
        entities.sort_unstable();
        Numbered { terms, entities, speech: self.speeches.speech(slot) }
    }

    /// The same by name, as the analysis of its text said; without its vector.
    pub fn analysis(&self, slot: Slot) -> Analysis {
        let words = self.lexicon.counts(slot, &self.record(slot).kept.terms);
        let names = self.graph.entities_of(slot).iter();
        let mut terms: Vec<_> = words.map(|(_, name, count)| (Box::from(&**name), count)).collect();
        let mut entities: Vec<_> =
            names.map(|&(id, count)| (Box::from(&*self.graph.entity(id).name), count)).collect();
        terms.sort_unstable();
        entities.sort_unstable();
        Analysis { terms, entities, speech: self.speeches.speech(slot), embedding: None }
    }

    /// Takes up the names that follow in the order of telling. Until `finish_placing` each keeps its place here.
    pub fn take_names(&mut self, names: &mut Names, new: NewNames) {
        new.terms.into_iter().for_each(|term| names.terms.take(self.lexicon.lasting_id(term)));
        new.entities.iter().for_each(|name| names.entities.take(self.graph.lasting_entity_id(name)));
    }

    /// What is known of a text, by the numbers of this state.
    pub(super) fn number(&mut self, analysis: &Analysis) -> Numbered {
        Numbered {
            terms: analysis.terms.iter().map(|(term, count)| (self.lexicon.id(term), *count)).collect(),
            entities: analysis.entities.iter().map(|(name, n)| (self.graph.entity_id(name), *n)).collect(),
            speech: analysis.speech.clone(),
        }
    }
}

impl Names {
    /// Makes the numbers of what was read those of the state that took up these names. Every number was told. An error
    /// where two numbers of a memory are the same name.
    pub fn translate(&self, numbered: &mut Numbered) -> Result<(), String> {
        if self.terms.translate(&mut numbered.terms) && self.entities.translate(&mut numbered.entities) {
            return Ok(());
        }
        Err("a memory has a word or a name twice".into())
    }
}
