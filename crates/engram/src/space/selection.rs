//! Many memories at once: counting and deleting what a filter, ids or the policy of forgetting select.

use super::Space;
use crate::error::{Error, ErrorKind, Result};
use crate::writer::{Plan, Reads};
use engram_core::Slot;
use engram_core::cue::Filter;
use engram_core::id::{MemoryId, SpaceName, Timestamp};
use engram_core::state::{Change, SpaceState};
use std::collections::BTreeSet;

/// Which memories: those that are among `ids`, where given, and pass `filter`, and are `faded` where that is asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Selection {
    /// Only these. Ids that are not stored are passed over.
    pub ids: Option<Vec<MemoryId>>,
    /// Only what passes.
    pub filter: Filter,
    /// Only what is faded: remembered with a smaller probability than the space's `forget_below`.
    pub faded: bool,
}

impl Space {
    /// Ids of the memories of a selection, by id where ids are given, otherwise in order of arrival.
    pub fn matching(&self, which: &Selection) -> Result<Vec<MemoryId>> {
        which.filter.check()?;
        selected(&self.name, &self.read(), which, self.now())
    }

    /// How many memories a selection has.
    pub fn count(&self, which: &Selection) -> Result<usize> {
        Ok(self.matching(which)?.len())
    }

    /// Deletes all memories of a selection at once, and says which they were.
    pub fn delete_matching(&self, which: &Selection) -> Result<Vec<MemoryId>> {
        which.filter.check()?;
        let (name, which) = (self.name.clone(), which.clone());
        let ack = self.writer.submit(self, Reads::Everything, move |state, now| {
            let ids = selected(&name, state, &which, now)?;
            Ok(Plan { changes: ids.iter().map(|id| (Change::Deleted(id.clone()), None)).collect(), ids })
        })?;
        Ok(ack.ids)
    }
}

fn selected(
    name: &SpaceName,
    state: &SpaceState,
    which: &Selection,
    now: Timestamp,
) -> Result<Vec<MemoryId>> {
    let below = f64::from(state.settings().forget_below);
    if which.faded && below == 0.0 {
        return Err(Error::new(
            ErrorKind::Conflict,
            format!(
                "space \"{}\" has no policy of forgetting: its forget_below is 0, so nothing counts as faded; set it \
                     to the probability, such as 0.4, under which a memory may go",
                name
            ),
        ));
    }
    let passes = |slot: &Slot| {
        which.filter.passes(state.record(*slot).facts())
            // A concept goes when its sources do.
            && (!which.faded
                || (state.retrievability(*slot, now) < below && !state.concepts().contains(*slot)))
    };
    let slots: Vec<Slot> = match &which.ids {
        Some(ids) => {
            let wanted: BTreeSet<&MemoryId> = ids.iter().collect();
            wanted.into_iter().filter_map(|id| state.slot(id)).filter(passes).collect()
        }
        None => state.in_order(None).map(|(_, slot)| slot).filter(passes).collect(),
    };
    Ok(slots.into_iter().map(|slot| state.record(slot).facts().id.clone()).collect())
}
