//! Which memories are concepts that consolidation made, and of which episodes. Such a concept is kept, listed and
//! deleted as any memory is, but it has no words, names, vector or order of its own among the others: it stands for its
//! sources, and recall ranks these as if it were not there. Its vector, the direction between its sources, is derived
//! from theirs whenever they change.

use crate::Slot;
use crate::facts::Facts;
use crate::id::MemoryId;
use crate::memory::{Link, Memory, MemoryKind};
use rustc_hash::FxHashMap;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// What the ids of concepts begin with that consolidation made.
pub const ID_PREFIX: &str = "concept:";
/// The key of the metadata under which consolidation keeps what it knows of a concept. The others are callers'.
pub const METADATA_KEY: &str = "consolidated";
/// Kind of the links that lead from a concept to its sources.
pub const DERIVED_FROM: &str = "derived_from";

impl Memory {
    /// Whether consolidation made this memory, or would have: concepts that callers gave are theirs.
    pub fn is_made(&self) -> bool {
        is_made(&self.id, self.kind, &self.metadata)
    }
}

impl Facts {
    /// As [`Memory::is_made`].
    pub fn is_made(&self) -> bool {
        is_made(&self.id, self.kind, self.metadata())
    }
}

fn is_made(id: &MemoryId, kind: MemoryKind, metadata: &Map<String, Value>) -> bool {
    kind == MemoryKind::Concept
        && id.as_str().starts_with(ID_PREFIX)
        && metadata.get(METADATA_KEY).is_some_and(Value::is_object)
}

/// Of the links of a concept that consolidation made those to its sources, ordered by id.
pub fn sources(links: &[Link]) -> impl Iterator<Item = &Link> {
    links.iter().filter(|link| link.kind == DERIVED_FROM)
}

/// The concepts of a space that consolidation made.
#[derive(Debug, Clone, Default)]
pub struct Concepts {
    made: FxHashMap<Slot, Made>,
    /// Sources with the concepts that are made of them: one each, unless callers stored concepts themselves.
    of: BTreeSet<(Slot, Slot)>,
    /// Concepts whose source is not there: only a caller can have stored such a one.
    waiting: FxHashMap<MemoryId, BTreeSet<Slot>>,
}

#[derive(Debug, Clone, Default)]
struct Made {
    /// Those that are there, in the order of their ids.
    sources: Vec<Slot>,
    /// Of length 1; none where no source has a vector.
    direction: Option<Vec<f32>>,
}

impl Concepts {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.made.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// Whether the memory in this slot is one.
    pub fn contains(&self, slot: Slot) -> bool {
        !self.made.is_empty() && self.made.contains_key(&slot)
    }

    /// Their slots, in order.
    pub fn slots(&self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self.made.keys().copied().collect();
        slots.sort_unstable();
        slots
    }

    /// The direction of a concept, of length 1.
    pub fn direction(&self, concept: Slot) -> Option<&[f32]> {
        self.made.get(&concept)?.direction.as_deref()
    }

    /// The sources of a concept that are there, in the order of their ids.
    pub fn sources(&self, concept: Slot) -> &[Slot] {
        self.made.get(&concept).map_or(&[], |made| &made.sources)
    }

    /// The concept that stands for this memory.
    pub fn of(&self, source: Slot) -> Option<Slot> {
        self.all_of(source).next()
    }

    /// All concepts that are made of this memory.
    pub fn all_of(&self, source: Slot) -> impl Iterator<Item = Slot> {
        self.of.range((source, 0)..=(source, Slot::MAX)).map(|(_, concept)| *concept)
    }

    /// A concept is there now; `find` says where its sources are.
    pub(crate) fn insert(&mut self, slot: Slot, links: &[Link], find: impl Fn(&MemoryId) -> Option<Slot>) {
        self.made.insert(slot, Made::default());
        for link in sources(links) {
            match find(&link.to) {
                Some(source) => drop(self.of.insert((source, slot))),
                None => drop(self.waiting.entry(link.to.clone()).or_default().insert(slot)),
            }
        }
    }

    /// A concept is gone.
    pub(crate) fn remove(&mut self, slot: Slot, links: &[Link], find: impl Fn(&MemoryId) -> Option<Slot>) {
        self.made.remove(&slot);
        for link in sources(links) {
            if let Some(source) = find(&link.to) {
                self.of.remove(&(source, slot));
            }
            self.wait_no_longer(&link.to, slot);
        }
    }

    fn wait_no_longer(&mut self, id: &MemoryId, concept: Slot) {
        if let Some(waiting) = self.waiting.get_mut(id) {
            waiting.remove(&concept);
            if waiting.is_empty() {
                self.waiting.remove(id);
            }
        }
    }

    /// A memory is there now that may be a source. Returns the concepts made of it.
    pub(crate) fn arrive(&mut self, id: &MemoryId, slot: Slot) -> Vec<Slot> {
        if self.made.is_empty() {
            return Vec::new();
        }
        let waiting = self.waiting.remove(id).unwrap_or_default();
        self.of.extend(waiting.iter().map(|concept| (slot, *concept)));
        waiting.into_iter().collect()
    }

    /// A memory is gone that may be a source. Returns the concepts made of it.
    pub(crate) fn depart(&mut self, id: &MemoryId, slot: Slot) -> Vec<Slot> {
        let concepts: Vec<Slot> = self.all_of(slot).collect();
        for concept in &concepts {
            self.of.remove(&(slot, *concept));
            self.waiting.entry(id.clone()).or_default().insert(*concept);
        }
        concepts
    }

    /// The sources of a concept, and what lies between them.
    pub(crate) fn set(&mut self, concept: Slot, sources: Vec<Slot>, direction: Option<Vec<f32>>) {
        *self.made.get_mut(&concept).expect("the concept is there") = Made { sources, direction };
    }
}
