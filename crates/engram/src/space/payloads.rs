//! Memories with their payloads, from wherever these lie. What is away is fetched while no lock is held, all that a request
//! asks for in one go.

use super::{Recalled, Space};
use crate::error::{Error, ErrorKind, Result};
use engram_core::Slot;
use engram_core::error::Error as ModelError;
use engram_core::id::MemoryId;
use engram_core::memory::Memory;
use engram_core::payloads::Home;
use engram_core::state::{SpaceState, fingerprint};
use engram_storage::Segment;
use std::collections::BTreeMap;

/// How often a request brings what it needs, before it gives up: another one may drop it again in between.
const ATTEMPTS_MAX: usize = 3;

/// A memory that was looked at, and what says where its payload is, where that is away.
pub(crate) type Found = (Memory, Option<AwayPayload>);

/// A payload that has to be fetched.
#[derive(Debug)]
pub(crate) struct AwayPayload {
    slot: Slot,
    version: u64,
    fingerprint: u64,
    home: Home,
    /// The name of its cold file.
    file: Option<String>,
}

/// Looks at a memory. One whose payload is away comes without it.
pub(crate) fn look(state: &SpaceState, slot: Slot) -> Found {
    if let Ok(memory) = state.memory(slot) {
        return (memory, None);
    }
    let record = state.record(slot);
    let file = match record.home() {
        Home::Away { file, .. } => state.files().get(&file).cloned(),
        Home::Region { .. } | Home::Log => None,
    };
    let away = AwayPayload {
        slot,
        version: record.version,
        fingerprint: record.fingerprint(),
        home: record.home(),
        file,
    };
    (Memory { content: None, ..record.memory().clone() }, Some(away))
}

impl Space {
    /// Fetches what is away of memories, all or none: the rows of one cold file at once.
    pub(crate) fn fetch<'a>(
        &self,
        found: impl Iterator<Item = (&'a mut Memory, &'a AwayPayload)>,
    ) -> Result<()> {
        let mut by_file: BTreeMap<&str, Vec<(u32, &mut Memory, &AwayPayload)>> = BTreeMap::new();
        for (memory, away) in found {
            match (away.home, &away.file) {
                (Home::Away { row, .. }, Some(file)) => {
                    by_file.entry(file).or_default().push((row, memory, away));
                }
                (Home::Region { region, at }, _) => return Err(self.why_unreadable(region, at, memory)),
                (Home::Away { .. } | Home::Log, _) => return Err(unusable(memory, "the log")),
            }
        }
        for (file, wanted) in by_file {
            let cold = self.shared.tiers.cold.as_ref().ok_or_else(|| no_cold_tier(file))?;
            let rows: Vec<u32> = wanted.iter().map(|(row, ..)| *row).collect();
            for ((_, memory, away), row) in wanted.into_iter().zip(cold.read(file, &rows)?) {
                if fingerprint(row.content.as_deref(), row.embedding.as_deref()) != away.fingerprint {
                    return Err(unusable(memory, file));
                }
                (memory.content, memory.embedding) = (row.content, row.embedding);
            }
        }
        Ok(())
    }

    /// What is wrong with a payload in a segment, which its state could not read.
    fn why_unreadable(&self, segment: u32, at: u32, memory: &Memory) -> Error {
        let vfs = &self.shared.options.vfs;
        match Segment::open(&**vfs, &self.dir, segment).and_then(|segment| segment.get(at).map(drop)) {
            Err(error) => error.into(),
            Ok(()) => unusable(memory, &format!("segment {segment}")),
        }
    }

    /// Memories with their payloads, those that are away fetched.
    pub(crate) fn gather(&self, mut found: Vec<Found>) -> Result<Vec<Memory>> {
        self.fetch(found.iter_mut().filter_map(|(memory, away)| Some((memory, away.as_ref()?))))?;
        Ok(found.into_iter().map(|(memory, _)| memory).collect())
    }

    /// Brings the payloads of memories into memory that are away, so that a request can be decided by them. Ids of memories
    /// that are not there are passed over.
    pub(crate) fn bring_by_id(&self, ids: &[MemoryId]) -> Result<()> {
        let slots = {
            let state = self.read();
            let is_away = |slot: &Slot| state.memory(*slot).is_err();
            ids.iter().filter_map(|id| state.slot(id)).filter(is_away).collect::<Vec<_>>()
        };
        self.bring(&slots)
    }

    /// Asks a state, bringing what it says is away, and asks again.
    pub(crate) fn ask<T>(&self, question: impl Fn(&SpaceState) -> Result<T, ModelError>) -> Result<T> {
        for _ in 1..ATTEMPTS_MAX {
            let answer = question(&self.read());
            match answer {
                Err(ModelError::Away(slots)) => self.bring(&slots)?,
                answer => return Ok(answer?),
            }
        }
        let answer = question(&self.read());
        Ok(answer?)
    }

    fn bring(&self, slots: &[Slot]) -> Result<()> {
        if slots.is_empty() {
            return Ok(());
        }
        let mut found: Vec<Found> = {
            let state = self.read();
            slots.iter().filter(|slot| state.get(**slot).is_some()).map(|&slot| look(&state, slot)).collect()
        };
        self.fetch(found.iter_mut().filter_map(|(memory, away)| Some((memory, away.as_ref()?))))?;
        {
            let mut state = self.write();
            // Otherwise it would be the coolest, and the first to leave again.
            let slots = found.iter().filter_map(|(_, away)| Some(away.as_ref()?.slot));
            state.note_fetched(slots.filter(|slot| state.get(*slot).is_some()));
            for (memory, away) in found {
                if let Some(away) = away {
                    state.bring(away.slot, away.version, memory.content, memory.embedding.as_deref());
                }
            }
        }
        self.tell_tiers();
        Ok(())
    }

    /// Fetches the payloads of hits that are away. Hits whose payloads cannot be fetched stay without them, and the answer
    /// says that it is not complete.
    pub(super) fn fill(&self, recalled: &mut Recalled, away: &[Option<AwayPayload>]) {
        let hits = recalled.hits.iter_mut().map(|hit| &mut hit.memory);
        if let Err(error) =
            self.fetch(hits.zip(away).filter_map(|(memory, away)| Some((memory, away.as_ref()?))))
        {
            tracing::warn!(space = self.name.as_str(), %error, "hits are given without their payloads");
            recalled.truncated = true;
        }
    }
}

fn no_cold_tier(file: &str) -> Error {
    let message = format!(
        "{file} is in the cold tier, and this configuration has none; set storage.cold_tier_endpoint as it was"
    );
    Error::new(ErrorKind::Invalid, message)
}

/// Why the payload of a memory cannot be used that was read from `place`.
fn unusable(memory: &Memory, place: &str) -> Error {
    let id = &memory.id;
    let message = format!(
        "{place} does not hold the payload of memory \"{id}\" as it was stored; restore the folder from a backup"
    );
    Error::new(ErrorKind::Corrupt, message)
}
