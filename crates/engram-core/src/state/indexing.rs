//! How vectors get into the index, and how one index takes the place of another: one of another shape than is wanted
//! serves until every vector is in its successor.

use super::SpaceState;
use crate::Slot;
use crate::hnsw::{Hnsw, HnswParams, InsertPlan, Tuning};
use crate::vector::Vectors;
use std::collections::BTreeSet;

/// Which index a vector enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Growing {
    /// The one that recalls walk.
    Serving,
    /// The one that will take its place.
    Successor,
}

/// An index, and the vectors that are not in it yet.
#[derive(Debug, Clone)]
pub(super) struct VectorIndex {
    pub(super) graph: Hnsw,
    pub(super) waiting: BTreeSet<Slot>,
}

impl VectorIndex {
    pub(super) fn new(params: HnswParams, tuning: Tuning) -> Self {
        Self { graph: Hnsw::tuned(params, tuning), waiting: BTreeSet::new() }
    }

    /// Lets those of `slots` wait that are not in it.
    pub(super) fn await_all_of(&mut self, slots: &[Slot]) {
        self.waiting = slots.iter().copied().filter(|&slot| !self.graph.contains(slot)).collect();
    }

    fn remove(&mut self, vectors: &Vectors, slot: Slot) {
        if !self.waiting.remove(&slot) && self.graph.contains(slot) {
            self.graph.remove(vectors, slot);
        }
    }
}

impl SpaceState {
    /// Notes that a slot has a vector that is in no index.
    pub(super) fn await_index(&mut self, slot: Slot) {
        self.indexes_mut().for_each(|index| _ = index.waiting.insert(slot));
    }

    pub(super) fn indexes_mut(&mut self) -> impl Iterator<Item = &mut VectorIndex> {
        std::iter::once(&mut self.serving).chain(self.successor.as_deref_mut())
    }

    /// Takes a slot out of every index; its vector is still there.
    pub(super) fn leave_index(&mut self, slot: Slot) {
        let Some(vectors) = &self.vectors else { return };
        for index in std::iter::once(&mut self.serving).chain(self.successor.as_deref_mut()) {
            index.remove(vectors, slot);
        }
    }

    /// Where the next vectors belong, and which wait to get there: what recalls would compare one by one comes first.
    /// None where nothing waits; a successor that nothing waits for can `succeed`.
    pub fn to_index(&self) -> Option<(Growing, &BTreeSet<Slot>)> {
        if !self.serving.waiting.is_empty() {
            return Some((Growing::Serving, &self.serving.waiting));
        }
        self.successor.as_ref().map(|successor| (Growing::Successor, &successor.waiting))
    }

    /// The index that a vector enters, if it waits for that.
    pub fn index_awaited(&self, growing: Growing, slot: Slot) -> Option<&Hnsw> {
        let index = match growing {
            Growing::Serving => &self.serving,
            Growing::Successor => self.successor.as_deref()?,
        };
        index.waiting.contains(&slot).then_some(&index.graph)
    }

    /// Puts a vector into the index that `Hnsw::prepare` has made a plan for, unless the memory has changed since.
    pub fn commit_index(&mut self, growing: Growing, slot: Slot, version: u64, plan: InsertPlan) {
        let current = self.get(slot).is_some_and(|record| record.version == version);
        let index = match growing {
            Growing::Serving => Some(&mut self.serving),
            Growing::Successor => self.successor.as_deref_mut(),
        };
        if let Some(index) = index
            && current
            && index.waiting.remove(&slot)
        {
            index.graph.commit(self.vectors.as_ref().expect("what waits has a vector"), plan);
        }
    }

    /// Lets a successor that has every vector take over. Returns the old index, which takes long to drop.
    pub fn succeed(&mut self) -> Option<Hnsw> {
        let successor = self.successor.take_if(|successor| successor.waiting.is_empty())?;
        Some(std::mem::replace(&mut self.serving, *successor).graph)
    }

    /// Takes over an index from a checkpoint: `versions` gives its nodes with the versions that were indexed. A node
    /// whose memory is not here in that version is removed; a memory that is not a node stays `unindexed`. One of another
    /// shape than this state was made with serves until a successor of that shape, which begins empty, has all vectors.
    pub fn adopt_index(&mut self, mut index: Hnsw, versions: &[(Slot, u64)]) {
        let (params, tuning) = (self.serving.graph.params(), self.serving.graph.tuning());
        let Some(vectors) = &mut self.vectors else { return };
        if versions.len() != index.len() {
            return;
        }
        index.set_ef_search(params.ef_search);
        // Removing a node compares its neighbours, which may stand anywhere.
        if let Some(last) = versions.iter().map(|(slot, _)| *slot).max() {
            vectors.reserve(last);
        }
        for &(slot, version) in versions {
            if !index.contains(slot) {
                return;
            }
            let record = self.records.get(slot as usize).and_then(Option::as_ref);
            let current = record.is_some_and(|record| record.version == version) && vectors.has(slot);
            if !current {
                index.remove(vectors, slot);
            }
        }
        let with_vector: Vec<Slot> =
            (0..self.records.len() as Slot).filter(|&slot| vectors.has(slot)).collect();
        let differs = index.params() != params;
        self.serving.graph = index;
        self.successor = differs.then(|| Box::new(VectorIndex::new(params, tuning)));
        self.indexes_mut().for_each(|index| index.await_all_of(&with_vector));
    }

    /// The index over the vectors that are not `unindexed`.
    pub fn index(&self) -> &Hnsw {
        &self.serving.graph
    }

    /// Memories whose vectors are not in the index yet.
    pub fn unindexed(&self) -> &BTreeSet<Slot> {
        &self.serving.waiting
    }

    /// The index that is built to take the place of the present one, if there is one.
    pub fn successor(&self) -> Option<&Hnsw> {
        self.successor.as_ref().map(|successor| &successor.graph)
    }

    /// Panics unless every index holds the vectors of taken slots, each or as one that waits, and nothing else.
    pub(super) fn assert_indexed(&self) {
        let with_vector = self.slots.numbers().filter(|slot| self.has_vector(*slot)).count();
        for VectorIndex { graph, waiting } in std::iter::once(&self.serving).chain(self.successor.as_deref())
        {
            let indexed = self.slots.numbers().filter(|slot| graph.contains(*slot)).count();
            assert_eq!(indexed, graph.len(), "the index holds no slot that is free");
            assert_eq!(indexed + waiting.len(), with_vector, "every vector is in the index or waits for it");
        }
    }
}
