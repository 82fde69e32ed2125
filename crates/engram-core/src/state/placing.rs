//! Fills a state from a checkpoint: first every memory with what does not depend on the others' order, then, at once, what
//! does. The same memories give the same state as changes one by one.

use super::{Numbered, Saved, SpaceState, Stub};
use crate::Slot;
use crate::associate::Analysis;
use crate::id::MemoryId;
use crate::memory::Memory;

/// Heat beyond which a saved one is damaged: the clock would end some million half-lives from now.
const HEAT_SAVED_MAX: u32 = u32::MAX / 2;

impl SpaceState {
    /// Puts a memory from a checkpoint into its slot; live changes come through `apply`. A checkpoint is written while
    /// changes go on, so it may hold a memory twice, or two that had the slot in turn: the later counts. Orders,
    /// and what follows from neighbours, are there after `finish_placing` only, which makes all of them at once.
    pub fn place_saved(&mut self, at: Saved, memory: Memory, analysis: &Analysis) {
        self.make_way(&at, &memory.id);
        let numbered = self.number(analysis);
        self.put(at, memory, &numbered, analysis.embedding.as_deref(), None);
    }

    /// The same for a memory without its payload, whose words and names come as numbers; `embedding` is what was derived,
    /// where the code of the stub is no good.
    pub fn place_numbered(
        &mut self,
        at: Saved,
        memory: Memory,
        numbered: &Numbered,
        embedding: Option<&[f32]>,
        stub: &Stub,
    ) {
        self.make_way(&at, &memory.id);
        self.put(at, memory, numbered, embedding, Some(stub));
    }

    fn make_way(&mut self, at: &Saved, id: &MemoryId) {
        self.delete(id);
        if let Some(id) = self.get(at.slot).map(|record| record.facts.id.clone()) {
            self.delete(&id);
        }
        self.payloads.clock.advance_to(at.heat.until().min(HEAT_SAVED_MAX));
    }

    /// Makes what `place_saved` leaves out, and the slots that nothing was placed into free for use.
    pub fn finish_placing(&mut self) {
        self.lexicon.drop_bare();
        self.graph.drop_bare();
        self.derive_orders();
    }

    /// Makes what follows from all memories together, whatever there was of it.
    pub(super) fn derive_orders(&mut self) {
        let slots = 0..self.records.len() as Slot;
        self.free = slots.clone().rev().filter(|&slot| self.get(slot).is_none()).collect();
        let records = &self.records;
        let placed = || (0..).zip(records).filter_map(|(slot, record)| Some((slot, record.as_ref()?)));
        // Collected, not inserted: that fills the nodes of the trees.
        self.arrivals = placed().map(|(slot, record)| (record.arrival, slot)).collect();
        let ranked = placed().filter(|(_, record)| !record.facts.is_made());
        self.times = ranked.map(|(slot, record)| (record.facts.occurred_at, slot)).collect();
        let learned = self.graph.learned_mut();
        placed().for_each(|(slot, record)| learned.place(record.arrival, slot));
        if let Some(vectors) = &mut self.vectors {
            vectors.settle();
        }
        let with_vector: Vec<Slot> = slots.clone().filter(|&slot| self.has_vector(slot)).collect();
        self.indexes_mut().for_each(|index| index.await_all_of(&with_vector));
        slots.for_each(|slot| self.rescale(slot));
        self.concepts.slots().into_iter().for_each(|concept| self.direct(concept));
    }
}
