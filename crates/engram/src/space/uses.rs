//! How memories are used: shown, reinforced, and what that teaches.

use super::{Space, find, invalid};
use crate::error::Result;
use crate::writer::{Plan, Reads};
use engram_core::decay::{Outcome, Strength};
use engram_core::id::MemoryId;
use engram_core::limits::CUE_IDS_MAX;
use engram_core::state::Change;
use std::collections::BTreeSet;

/// How a memory was used.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// How well it is learned.
    pub strength: Strength,
    /// How often a recall showed it.
    pub shown: u32,
    /// Probability, 0..=1, that it is still remembered.
    pub retrievability: f64,
    /// Memories that were used with it or next, with the share of its uses that they were, strongest first.
    pub learned: Vec<(MemoryId, f64)>,
}

impl Space {
    /// Notes that a recall showed these memories, those that are gone passed over. Kept with the next checkpoint.
    pub fn note_shown<'a>(&self, ids: impl IntoIterator<Item = &'a MemoryId>) {
        let state = self.read();
        state.note_shown(ids.into_iter().filter_map(|id| state.slot(id)));
    }

    /// Strengthens memories that recalls gave and that were of use, those of each recall together, all or none; those
    /// that are gone by now are passed over.
    pub fn reinforce_hits(&self, recalls: Vec<Vec<MemoryId>>) -> Result<u64> {
        let ack = self.writer.submit(self, Reads::Ids(recalls.concat()), move |state, at| {
            let there = |ids: Vec<MemoryId>| ids.into_iter().filter(|id| state.slot(id).is_some()).collect();
            let used = recalls.into_iter().map(there).filter(|ids: &Vec<MemoryId>| !ids.is_empty());
            let changes = used.map(|ids| (Change::Reinforced { ids, outcome: Outcome::Used, at }, None));
            Ok(Plan { changes: changes.collect(), ids: Vec::new() })
        })?;
        Ok(ack.position)
    }

    /// Strengthens memories that were used, and weakens those that turned out wrong; all or none, each once. A use long
    /// after the one before strengthens most.
    pub fn reinforce(&self, ids: &[MemoryId], outcome: Outcome) -> Result<u64> {
        if ids.is_empty() || ids.len() > CUE_IDS_MAX {
            return invalid(format!("ids has {} entries, 1 to {CUE_IDS_MAX} are allowed", ids.len()));
        }
        let name = self.name.clone();
        let ids: Vec<MemoryId> = ids.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect();
        let ack = self.writer.submit(self, Reads::Ids(ids.clone()), move |state, at| {
            ids.iter().try_for_each(|id| find(state, &name, id).map(drop))?;
            let change = Change::Reinforced { ids: ids.clone(), outcome, at };
            Ok(Plan { changes: vec![(change, None)], ids })
        })?;
        Ok(ack.position)
    }

    /// How a memory was used, and how well it is still remembered.
    pub fn usage(&self, id: &MemoryId) -> Result<Usage> {
        let state = self.read();
        let slot = find(&state, &self.name, id)?;
        let mut learned: Vec<(MemoryId, f64)> = state
            .graph()
            .learned()
            .of(slot)
            .map(|(to, weight)| (state.record(to).facts().id.clone(), weight))
            .collect();
        learned.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Ok(Usage {
            strength: state.strength(slot),
            shown: state.record(slot).uses.shown(),
            retrievability: state.retrievability(slot, self.now()),
            learned,
        })
    }
}
