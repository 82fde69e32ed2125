//! Memories with their payloads, from wherever these lie. What is away is fetched while no lock is held, all that a request
//! asks for in one go; what moved meanwhile is found where it is then.

use super::{Recalled, Space};
use crate::cold::Cold;
use crate::error::{Error, ErrorKind, Result};
use engram_core::Slot;
use engram_core::error::Error as ModelError;
use engram_core::id::MemoryId;
use engram_core::memory::Memory;
use engram_core::payloads::Home;
use engram_core::state::{SpaceState, fingerprint};
use engram_storage::Segment;
use std::collections::{BTreeMap, HashMap};

/// How often a request brings what it needs, before it gives up: another one may drop it again in between.
pub(super) const ATTEMPTS_MAX: usize = 3;

/// A memory that was looked at, with its payload unless that is away.
pub(crate) type Found = (Memory, Seen);

/// A memory that gets its payload where it stands.
type Filling<'a> = (&'a mut Memory, &'a mut Seen);

/// Which memory was looked at, and where its payload is.
#[derive(Debug)]
pub(crate) struct Seen {
    slot: Slot,
    pub(crate) arrival: u64,
    pub(crate) version: u64,
    payload: Payload,
}

#[derive(Debug, PartialEq, Eq)]
enum Payload {
    /// With the memory.
    Here,
    /// It has to be fetched.
    Away { fingerprint: u64, place: Place },
    /// The memory was deleted since.
    Gone,
}

#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// The name of a cold file, with its number, and the row.
    Cold { number: u32, file: String, row: u32 },
    /// A segment that could not be read.
    Segment { number: u32, at: u32 },
    /// Nowhere that can be named.
    Unknown,
}

/// A row of a cold file that has to be fetched.
struct WantedRow {
    row: u32,
    /// What it must be.
    fingerprint: u64,
    /// Whose it is, of those that are fetched together.
    at: usize,
}

/// Looks at a memory. One whose payload is away comes without it.
pub(crate) fn look(state: &SpaceState, slot: Slot) -> Found {
    let record = state.record(slot);
    let seen = |payload| Seen { slot, arrival: record.arrival, version: record.version, payload };
    if let Ok(memory) = state.memory(slot) {
        return (memory, seen(Payload::Here));
    }
    let place = match record.home() {
        Home::Away { file: number, row } => match state.files().get(&number) {
            Some(file) => Place::Cold { number, file: file.clone(), row },
            None => Place::Unknown,
        },
        Home::Region { region: number, at } => Place::Segment { number, at },
        Home::Log => Place::Unknown,
    };
    let payload = Payload::Away { fingerprint: record.fingerprint(), place };
    (record.facts().with(None, None), seen(payload))
}

impl Seen {
    fn is_away(&self) -> bool {
        matches!(self.payload, Payload::Away { .. })
    }
}

impl Space {
    /// Fetches what is away of memories: the rows of one cold file at once. A memory that has changed meanwhile is given as
    /// it is then; one that is gone is left without its payload, and marked.
    fn fetch<'a>(&self, found: impl Iterator<Item = Filling<'a>>) -> Result<()> {
        let mut away: Vec<Filling<'_>> = found.filter(|(_, seen)| seen.is_away()).collect();
        for _ in 1..ATTEMPTS_MAX {
            match self.fetch_as_seen(&mut away) {
                // It may have moved between the look and the fetch.
                Err(error) if !self.look_again(&mut away) => return Err(error),
                Err(_) => {}
                Ok(()) => return Ok(()),
            }
        }
        self.fetch_as_seen(&mut away)
    }

    /// Fetches what is away from where it was seen: all that can be had, and gives the first error where that is not all.
    fn fetch_as_seen(&self, found: &mut [Filling<'_>]) -> Result<()> {
        // In the order of their numbers: names are drawn by chance.
        let mut files: BTreeMap<(u32, &str), Vec<WantedRow>> = BTreeMap::new();
        let mut failure = None;
        for (at, (memory, seen)) in found.iter().enumerate() {
            match &seen.payload {
                Payload::Here | Payload::Gone => {}
                Payload::Away { fingerprint, place: Place::Cold { number, file, row } } => {
                    files.entry((*number, file)).or_default().push(WantedRow {
                        row: *row,
                        fingerprint: *fingerprint,
                        at,
                    });
                }
                Payload::Away { place: Place::Segment { number, at }, .. } => {
                    failure.get_or_insert_with(|| self.why_unreadable(*number, *at, memory));
                }
                Payload::Away { place: Place::Unknown, .. } => {
                    failure.get_or_insert_with(|| unusable(memory, "the log"));
                }
            }
        }
        let files: Vec<(String, _)> =
            files.into_iter().map(|((_, file), wanted)| (file.to_string(), wanted)).collect();
        for (file, wanted) in files {
            if let Err(error) = self.fetch_rows(&file, wanted, found) {
                failure.get_or_insert(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn fetch_rows(&self, file: &str, wanted: Vec<WantedRow>, found: &mut [Filling<'_>]) -> Result<()> {
        let rows: Vec<u32> = wanted.iter().map(|wanted| wanted.row).collect();
        let rows = self.cold_with(file)?.read(file, &rows)?;
        let mut failure = None;
        for (wanted, row) in wanted.into_iter().zip(rows) {
            let (memory, seen) = &mut found[wanted.at];
            if fingerprint(row.content.as_deref(), row.embedding.as_deref()) != wanted.fingerprint {
                failure.get_or_insert_with(|| unusable(memory, file));
                continue;
            }
            (memory.content, memory.embedding) = (row.content, row.embedding);
            seen.payload = Payload::Here;
        }
        failure.map_or(Ok(()), Err)
    }

    /// The cold tier, for a file in it.
    pub(crate) fn cold_with(&self, file: &str) -> Result<&Cold> {
        self.shared.tiers.cold.as_ref().ok_or_else(|| {
            let message = format!(
                "{file} is in the cold tier, and this configuration has none; set storage.cold_tier_endpoint as it was"
            );
            Error::new(ErrorKind::Invalid, message)
        })
    }

    /// Looks again at what is still away. Returns whether anything is another memory, or elsewhere, by now.
    fn look_again(&self, found: &mut [Filling<'_>]) -> bool {
        let state = self.read();
        let mut has_changed = false;
        for (memory, seen) in found.iter_mut().filter(|(_, seen)| seen.is_away()) {
            let Some(slot) = state.slot(&memory.id) else {
                seen.payload = Payload::Gone;
                has_changed = true;
                continue;
            };
            let (memory_now, seen_now) = look(&state, slot);
            has_changed |= seen.version != seen_now.version || seen.payload != seen_now.payload;
            (**memory, **seen) = (memory_now, seen_now);
        }
        has_changed
    }

    /// What is wrong with a payload in a segment, which its state could not read.
    fn why_unreadable(&self, segment: u32, at: u32, memory: &Memory) -> Error {
        let vfs = &self.shared.options.vfs;
        match Segment::open(&**vfs, &self.dir, segment).and_then(|segment| segment.get(at).map(drop)) {
            Err(error) => error.into(),
            Ok(()) => unusable(memory, &format!("segment {segment}")),
        }
    }

    /// Memories with their payloads, those that are away fetched. What is gone by now is left out.
    pub(crate) fn gather(&self, mut found: Vec<Found>) -> Result<Vec<Found>> {
        self.fetch(found.iter_mut().map(|(memory, seen)| (memory, seen)))?;
        found.retain(|(_, seen)| seen.payload != Payload::Gone);
        Ok(found)
    }

    /// Memories with their payloads, so that a request can be decided by them wherever these are then (`as_now`). Ids of
    /// memories that are not there are passed over.
    pub(super) fn seen(&self, ids: &[MemoryId]) -> Result<HashMap<MemoryId, Memory>> {
        let found = {
            let state = self.read();
            let slots = ids.iter().filter_map(|id| state.slot(id));
            slots.map(|slot| look(&state, slot)).collect()
        };
        Ok(self.gather(found)?.into_iter().map(|(memory, _)| (memory.id.clone(), memory)).collect())
    }

    /// Brings the payloads of memories into memory that are away. Ids of memories that are not there are passed over.
    pub(crate) fn bring_by_id(&self, ids: &[MemoryId]) -> Result<()> {
        let slots = {
            let state = self.read();
            let is_away = |slot: &Slot| !state.is_at_hand(*slot);
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
        let found: Vec<Found> = {
            let state = self.read();
            let is_away = |slot: &&Slot| state.get(**slot).is_some() && !state.is_at_hand(**slot);
            slots.iter().filter(is_away).map(|&slot| look(&state, slot)).collect()
        };
        let found = self.gather(found)?;
        {
            let mut state = self.write();
            // Otherwise it would be the coolest, and the first to leave again.
            state.note_fetched(
                found.iter().map(|(_, seen)| seen.slot).filter(|slot| state.get(*slot).is_some()),
            );
            bring_all(&mut state, found);
        }
        self.tell_tiers();
        Ok(())
    }

    /// Fetches the payloads of hits that are away. Hits whose payloads cannot be fetched stay without them, and the answer
    /// says that it is not complete; those that are gone by now are left out.
    pub(super) fn fill(&self, recalled: &mut Recalled, mut seen: Vec<Seen>) {
        let hits = recalled.hits.iter_mut().map(|hit| &mut hit.memory);
        if let Err(error) = self.fetch(hits.zip(&mut seen)) {
            tracing::warn!(space = self.name.as_str(), %error, "hits are given without their payloads");
            recalled.truncated = true;
        }
        let mut is_there = seen.iter().map(|seen| seen.payload != Payload::Gone);
        recalled.hits.retain(|_| is_there.next().expect("each hit was seen"));
    }
}

/// Brings payloads into memory of those memories that have not changed since they were gathered.
pub(crate) fn bring_all(state: &mut SpaceState, found: Vec<Found>) {
    for (memory, Seen { slot, version, .. }) in found {
        state.bring(slot, version, memory.content, memory.embedding.as_deref());
    }
}

/// A memory as it is now. Where its payload has left memory since it was seen, that one is taken; none where the memory got
/// another one in between, and that has left, too.
pub(super) fn as_now(state: &SpaceState, slot: Slot, seen: Option<Memory>) -> Option<Memory> {
    state.memory(slot).ok().or_else(|| {
        let Memory { content, embedding, .. } = seen?;
        let record = state.record(slot);
        let is_same = record.fingerprint() == fingerprint(content.as_deref(), embedding.as_deref());
        is_same.then(|| record.facts().with(content, embedding))
    })
}

/// Why the payload of a memory cannot be used that was read from `place`.
fn unusable(memory: &Memory, place: &str) -> Error {
    let id = &memory.id;
    let message = format!(
        "{place} does not hold the payload of memory \"{id}\" as it was stored; restore the folder from a backup"
    );
    Error::new(ErrorKind::Corrupt, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Machine};
    use crate::engine::{Engine, Options};
    use crate::load::Pauses;
    use crate::space::StoreOptions;
    use engram_core::id::SpaceName;
    use engram_core::memory::NewMemory;
    use engram_core::payloads::Tier;
    use engram_storage::cold::{ColdOptions, ColdStore};
    use std::path::Path;
    use std::sync::Arc;

    fn id(at: usize) -> MemoryId {
        MemoryId::new(&format!("m{at}")).unwrap()
    }

    /// A space of 20 memories, all of them cold.
    fn all_cold(folder: &Path) -> (Engine, Arc<Space>) {
        let endpoint = format!("file://{}", folder.join("cold").display());
        let cold = ColdStore::open(ColdOptions { endpoint, ..ColdOptions::default() }).unwrap();
        let options = Options {
            background_threads: 0,
            hot_bytes_max: 0,
            warm_bytes_max: 0,
            cold: Some(Arc::new(cold)),
            ..Options::new(folder.join("data"))
        };
        let engine = Engine::open(options).unwrap();
        let space = engine.space_or_new(&SpaceName::new("notes").unwrap()).unwrap();
        let memory =
            |at| NewMemory { id: Some(id(at)), content: Some(format!("day {at}")), ..NewMemory::default() };
        space.store((0..20).map(memory).collect(), &StoreOptions::default()).unwrap();
        engine.work_off();
        assert_eq!(space.summary().tiers[Tier::Cold as usize], 20);
        (engine, space)
    }

    /// What list, recall and get hold between their look at the state and their fetch.
    #[test]
    fn what_moves_between_the_look_and_the_fetch_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (_engine, space) = all_cold(folder.path());
        let looked_at: Vec<Found> = {
            let state = space.read();
            (0..20).map(|at| look(&state, state.slot(&id(at)).unwrap())).collect()
        };
        // So few are left in the file that it is written anew and deleted; one of them says something else by then.
        (3..19).for_each(|at| {
            space.delete(&id(at)).unwrap();
        });
        let patch = NewMemory { content: Some("another day".into()), ..NewMemory::default() };
        space.patch(&id(2), patch).unwrap();
        let before = space.read().files().clone();
        space.reclaim(&mut Pauses::none());
        assert!(before.keys().all(|number| !space.read().files().contains_key(number)), "{before:?}");
        let found = space.gather(looked_at).unwrap();
        let found: Vec<(MemoryId, Option<String>)> =
            found.into_iter().map(|(memory, _)| (memory.id, memory.content)).collect();
        let expected = [(0, "day 0"), (1, "day 1"), (2, "another day"), (19, "day 19")];
        assert_eq!(found, expected.map(|(at, content)| (id(at), Some(content.to_string()))));
    }

    #[test]
    fn what_cannot_be_read_leaves_the_rest_readable() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = all_cold(folder.path());
        let memory =
            |at| NewMemory { id: Some(id(at)), content: Some(format!("day {at}")), ..NewMemory::default() };
        space.store((20..40).map(memory).collect(), &StoreOptions::default()).unwrap();
        engine.work_off();
        let files: Vec<String> = space.read().files().values().cloned().collect();
        assert_eq!(files.len(), 2);
        std::fs::remove_file(folder.path().join("cold").join(&files[0])).unwrap();
        let mut found: Vec<Found> = {
            let state = space.read();
            (0..40).map(|at| look(&state, state.slot(&id(at)).unwrap())).collect()
        };
        let place = Place::Segment { number: 99, at: 0 };
        found[39].1.payload = Payload::Away { fingerprint: 0, place };
        let mut filling: Vec<Filling<'_>> = found.iter_mut().map(|(memory, seen)| (memory, seen)).collect();
        let error = space.fetch_as_seen(&mut filling).unwrap_err();
        assert!(error.to_string().contains("99"), "{error}");
        let has_content: Vec<bool> = found.iter().map(|(memory, _)| memory.content.is_some()).collect();
        assert_eq!(has_content, (0..40).map(|at| (20..39).contains(&at)).collect::<Vec<_>>());
    }

    /// What a request is decided by that was held up after it had looked.
    #[test]
    fn what_leaves_between_the_look_and_the_decision_is_as_it_was_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = all_cold(folder.path());
        let seen = || space.seen(&[id(0), id(99)]).unwrap().remove(&id(0));
        let now = |seen| {
            let state = space.read();
            as_now(&state, state.slot(&id(0)).unwrap(), seen)
        };
        let before = seen();
        assert_eq!(before.as_ref().unwrap().content.as_deref(), Some("day 0"));
        assert_eq!(now(None), None);
        assert_eq!(now(before.clone()), before);
        // Another field changes, and the payload leaves again.
        let patch = NewMemory { confidence: Some(0.5), ..NewMemory::default() };
        let patched = space.patch(&id(0), patch).unwrap();
        engine.work_off();
        assert_eq!(now(before.clone()), Some(patched));
        // The payload does: what was seen of it is not what is kept.
        let patch = NewMemory { content: Some("another day".into()), ..NewMemory::default() };
        let patched = space.patch(&id(0), patch).unwrap();
        assert_eq!(now(None), Some(patched.clone()), "it is hot");
        engine.work_off();
        assert_eq!(now(before), None);
        assert_eq!(now(seen()), Some(patched));
    }

    #[test]
    fn the_setting_bounds_the_gates_of_a_space() {
        for (setting, gates) in [("1", 0), ("2", 2), ("4", 4)] {
            let folder = tempfile::tempdir().unwrap();
            let variables = [
                ("ENGRAM_STORAGE__HOT_TIER_SHARDS".to_string(), setting.to_string()),
                ("ENGRAM_STORAGE__DATA_DIR".to_string(), folder.path().display().to_string()),
            ];
            let nothing = Some(Path::new("/dev/null"));
            let loaded = Config::load(nothing, variables.into_iter(), Machine::detect()).unwrap();
            let engine = Engine::open(Options::from_config(&loaded.config().unwrap()).unwrap()).unwrap();
            let space = engine.space_or_new(&SpaceName::new("notes").unwrap()).unwrap();
            space.state.crowd(16);
            assert_eq!(space.state.gates(), gates, "hot_tier_shards = {setting}");
        }
    }
}
