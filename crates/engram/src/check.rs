//! Reads all that a folder holds, and says what of it is not as it was written, or does not fit together.

use crate::codec::{PartReader, decode_changes};
use crate::engine::{Engine, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::space::{Space, look};
use crate::worker::{rewrite_derived, write_checkpoint};
use engram_core::Slot;
use engram_core::associate::Analysis;
use engram_core::id::SpaceName;
use engram_core::memory::Memory;
use engram_core::payloads::Home;
use engram_core::state::{Embedder, SpaceState, fingerprint};
use engram_storage::cold::ColdRow;
use engram_storage::{Log, LogPosition, Segment, Vfs, checkpoint, segment};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

/// Findings of one kind that are told in full; of more, only how many.
const TOLD_MAX: usize = 20;
/// Memories that are looked at under one read lock.
const LOOKED_AT: usize = 256;

/// What was found in a space.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checked {
    /// The space.
    pub space: String,
    /// Memories in it; 0 where it cannot be opened.
    pub memories: usize,
    /// Files on this disk that were read, and their bytes.
    pub files: [u64; 2],
    /// Files in the cold tier that were read, and their rows.
    pub cold: [u64; 2],
    /// What is not as it was written. Only a backup helps.
    pub damage: Vec<String>,
    /// What is made of memories and does not fit them: words, names, the index. Can be made anew.
    pub derived: Vec<String>,
    /// What does no harm.
    pub notes: Vec<String>,
    /// What is derived was made anew.
    pub is_repaired: bool,
}

impl Checked {
    /// Whether nothing is wrong, or not any more.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty() && (self.derived.is_empty() || self.is_repaired)
    }
}

/// Reads every byte of a folder's spaces, or of one: each checksum, whether every payload is where the log says it is and is
/// what was stored, whether words, names and index fit the memories. With `repair`, what is derived and does not fit is made
/// anew; nothing else is changed, but that opening the folder finishes what a crash interrupted. Tells `progress` the name
/// of each space. Cost: all of it is read once, and every text is analysed.
///
/// # Errors
/// `Locked` where the folder is in use; `NotFound` where it has no such space; `Busy` where the cold tier does not answer;
/// those of the disk.
pub fn check(
    options: &Options,
    only: Option<&SpaceName>,
    repair: bool,
    progress: &mut dyn FnMut(&SpaceName),
) -> Result<Vec<Checked>> {
    let options = Options { background_threads: 0, consolidation_threads: 0, ..options.clone() };
    let engine = Engine::open(options.clone())?;
    let names = engine.spaces()?;
    let chosen: Vec<SpaceName> =
        names.iter().filter(|name| only.is_none_or(|only| only == *name)).cloned().collect();
    if let (Some(only), true) = (only, chosen.is_empty()) {
        let message =
            format!("there is no space \"{only}\" in {}, it has {}", options.data_dir.display(), names.len());
        return Err(Error::new(ErrorKind::NotFound, message));
    }
    let mut all = Vec::new();
    for name in chosen {
        progress(&name);
        let mut checked = Checked { space: name.to_string(), ..Checked::default() };
        let payloads = check_files(&options, &name, &mut checked)?;
        match engine.space(&name) {
            Ok(space) => check_space(&space, &payloads, &mut checked)?,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let message = error.to_string();
                if !checked.damage.contains(&message) {
                    checked.damage.push(message);
                }
            }
            Err(error) => return Err(error),
        }
        if repair && !checked.derived.is_empty() && checked.damage.is_empty() {
            let space = engine.space(&name)?;
            rewrite_derived(&space)?;
            checked.is_repaired = true;
        }
        all.push(checked);
        // It has what was wrong, and must not write it down; and who only looks changes nothing.
        engine.abandon_space(&name);
    }
    engine.abandon();
    if all.iter().any(|checked| checked.is_repaired) {
        let engine = Engine::open(options)?;
        for checked in all.iter().filter(|checked| checked.is_repaired) {
            let space = engine.space(&SpaceName::new(&checked.space)?)?;
            engine.work_off();
            write_checkpoint(&space)?;
        }
        engine.close()?;
    }
    Ok(all)
}

/// Fingerprints of the payloads in segments, with the arrivals of their memories, by segment and place.
type Payloads = HashMap<(u32, u32), (u64, u64)>;

/// Reads the files of a space that lie on this disk.
fn check_files(options: &Options, name: &SpaceName, checked: &mut Checked) -> Result<Payloads> {
    let (vfs, dir) = (&*options.vfs, options.data_dir.join("spaces").join(name.as_str()));
    for file in vfs.list(&dir)? {
        checked.files[0] += 1;
        checked.files[1] += vfs.size(&dir.join(&file))?;
        if !["log-", "checkpoint-", "payloads-", "backups.json"].iter().any(|known| file.starts_with(known)) {
            checked.notes.push(format!("{} is none of Engram's files", dir.join(file).display()));
        }
    }
    let mut newest = LogPosition::ZERO;
    for position in checkpoint::positions(vfs, &dir)? {
        newest = position;
        let mut reader = PartReader::default();
        let read = checkpoint::read(vfs, &dir, position, &mut |payload| {
            let undecoded = |reason| engram_storage::Error::Payload { reason };
            reader.read(payload).map(drop).map_err(undecoded)
        });
        found(read.map(drop), &mut checked.damage)?;
    }
    let read = Log::verify(vfs, &dir, newest, &mut |_, payload| {
        let undecoded = |reason| engram_storage::Error::Payload { reason };
        decode_changes(payload).map(drop).map_err(undecoded)
    });
    if let Ok(read) = &read
        && read.bytes_cut > 0
    {
        let bytes = read.bytes_cut;
        checked
            .notes
            .push(format!("the log of {} ends with {bytes} bytes of an unfinished write", dir.display()));
    }
    found(read.map(drop), &mut checked.damage)?;
    let mut payloads = Payloads::new();
    for number in segment::numbers(vfs, &dir)? {
        found(read_segment(vfs, &dir, number, &mut payloads), &mut checked.damage)?;
    }
    Ok(payloads)
}

fn read_segment(
    vfs: &dyn Vfs,
    dir: &Path,
    number: u32,
    payloads: &mut Payloads,
) -> engram_storage::Result<()> {
    let segment = Segment::open(vfs, dir, number)?;
    segment.for_each(&mut |at, entry| {
        let row = bytemuck::try_cast_slice::<u8, f32>(entry.front).unwrap_or(&[]);
        let row = Some(row).filter(|row| !row.is_empty());
        let content = std::str::from_utf8(entry.back).ok().filter(|content| !content.is_empty());
        payloads.insert((number, at), (entry.keys[0], fingerprint(content, row)));
    })?;
    Ok(())
}

/// Damage is noted; what else goes wrong ends the check.
fn found(outcome: engram_storage::Result<()>, damage: &mut Vec<String>) -> Result<()> {
    match outcome.map_err(Error::from) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            damage.push(error.to_string());
            Ok(())
        }
        outcome => outcome,
    }
}

/// Compares a space with what its files hold.
fn check_space(space: &Arc<Space>, payloads: &Payloads, checked: &mut Checked) -> Result<()> {
    let mut damage = Findings::default();
    let mut derived = Findings::default();
    let mut after = None;
    loop {
        let state = space.read();
        let slots: Vec<Slot> = state
            .in_order(after)
            .take(LOOKED_AT)
            .map(|(arrival, slot)| {
                after = Some(arrival);
                slot
            })
            .collect();
        if slots.is_empty() {
            break;
        }
        for slot in slots {
            check_home(&state, slot, payloads, &mut damage);
            if let Ok(memory) = state.memory(slot) {
                check_derived(&state, slot, &memory, &mut derived);
            }
        }
    }
    check_cold(space, &mut damage, &mut derived, checked)?;
    let state = space.read();
    let lost = (0..state.slots_end() as Slot).filter(|&slot| {
        let Some(record) = state.get(slot) else { return false };
        state.has_vector(slot)
            && !record.facts().is_made()
            && !state.index().contains(slot)
            && !state.unindexed().contains(&slot)
    });
    lost.for_each(|slot| {
        derived.tell(format!("the vector of memory \"{}\" is in no index", state.record(slot).facts().id));
    });
    for index in [Some(state.index()), state.successor()].into_iter().flatten() {
        if let Some(Err(reason)) = state.vectors().map(|vectors| index.validate(vectors)) {
            derived.tell(format!("the index does not fit together: {reason}"));
        }
    }
    checked.memories = state.len();
    checked.damage.extend(damage.told("more payloads that are not what was stored"));
    checked.derived.extend(derived.told("more of the kind"));
    Ok(())
}

/// Whether the payload of a memory is where the log says it is.
fn check_home(state: &SpaceState, slot: Slot, payloads: &Payloads, damage: &mut Findings) {
    let record = state.record(slot);
    let Home::Region { region, at } = record.home() else { return };
    let id = &record.facts().id;
    let file = segment::file_name(region);
    match payloads.get(&(region, at)) {
        None => damage.tell(format!("the payload of memory \"{id}\" is not in {file} at {at}")),
        Some((arrival, print)) => {
            if (*arrival, *print) != (record.arrival, record.fingerprint()) {
                damage.tell(format!("{file} holds another payload at {at} than that of memory \"{id}\""));
            }
        }
    }
}

/// Whether what is known of a memory's words and names is what its text gives.
fn check_derived(state: &SpaceState, slot: Slot, memory: &Memory, derived: &mut Findings) {
    if memory.is_made() {
        return;
    }
    let (kept, fresh) = (state.analysis(slot), Analysis::of(memory, state.settings()));
    let sorted = |counts: &[(Box<str>, u32)]| counts.iter().cloned().collect::<BTreeSet<_>>();
    if sorted(&kept.terms) != sorted(&fresh.terms)
        || sorted(&kept.entities) != sorted(&fresh.entities)
        || kept.speech != fresh.speech
    {
        derived.tell(format!("the words or names of memory \"{}\" are not those of its text", memory.id));
    }
    let should = memory.embedding.is_some()
        || matches!(state.settings().embedder, Some(Embedder::Builtin { .. })) && fresh.embedding.is_some();
    if state.has_vector(slot) != should {
        derived.tell(format!(
            "memory \"{}\" has {} vector",
            memory.id,
            if should { "lost its" } else { "a strange" }
        ));
    }
}

/// Reads the cold files of a space, and compares their rows with the memories that lie in them.
fn check_cold(
    space: &Arc<Space>,
    damage: &mut Findings,
    derived: &mut Findings,
    checked: &mut Checked,
) -> Result<()> {
    let files: BTreeMap<u32, String> = space.read().files().clone();
    let Some(cold) = &space.shared.tiers.cold else {
        if !files.is_empty() {
            damage.tell(format!(
                "{} files lie in the cold tier, and this configuration has none; set storage.cold_tier_endpoint as it was",
                files.len()
            ));
        }
        return Ok(());
    };
    let listed = match files.is_empty() {
        true => Vec::new(),
        false => cold.list(&format!("{}/", space.name()))?,
    };
    for (number, name) in &files {
        let slots = space.read().slots_in_file(*number);
        let by_row: HashMap<u32, Slot> = {
            let state = space.read();
            let row = |slot: &Slot| match state.record(*slot).home() {
                Home::Away { row, .. } => Some((row, *slot)),
                Home::Log | Home::Region { .. } => None,
            };
            slots.iter().filter_map(row).collect()
        };
        // One that was removed is known until the next checkpoint.
        if by_row.is_empty() && !listed.iter().any(|(there, _)| there == name) {
            continue;
        }
        let mut seen = 0;
        let mut at = 0;
        let read = cold.read_all(name, &mut |row| {
            if let Some(&slot) = by_row.get(&at) {
                seen += 1;
                check_row(space, slot, name, row, damage, derived);
            }
            at += 1;
            Ok(())
        });
        match read {
            Err(error) if error.kind() == ErrorKind::Corrupt && !by_row.is_empty() => {
                damage.tell(error.to_string())
            }
            // Begun and not finished; the next turn removes it.
            Err(error) if error.kind() == ErrorKind::Corrupt => checked.notes.push(error.to_string()),
            Err(error) => return Err(error),
            Ok(()) => {
                checked.cold[0] += 1;
                checked.cold[1] += u64::from(at);
                if seen < by_row.len() {
                    let missing = by_row.len() - seen;
                    damage.tell(format!("{name} has {at} rows; {missing} memories have theirs beyond"));
                }
            }
        }
    }
    let known: BTreeSet<&String> = files.values().collect();
    for (name, bytes) in &listed {
        if !known.contains(name) {
            let note = format!("{name} ({bytes} bytes) is in the cold tier, and nothing here refers to it");
            checked.notes.push(note);
        }
    }
    Ok(())
}

fn check_row(
    space: &Space,
    slot: Slot,
    file: &str,
    row: ColdRow,
    damage: &mut Findings,
    derived: &mut Findings,
) {
    let state = space.read();
    let Some(record) = state.get(slot) else { return };
    let id = &record.facts().id;
    if row.id != id.as_str()
        || fingerprint(row.content.as_deref(), row.embedding.as_deref()) != record.fingerprint()
    {
        return damage.tell(format!("{file} holds another payload than that of memory \"{id}\""));
    }
    if !state.is_at_hand(slot) {
        let (memory, _) = look(&state, slot);
        let memory = Memory { content: row.content, embedding: row.embedding, ..memory };
        check_derived(&state, slot, &memory, derived);
    }
}

/// Findings of one kind.
#[derive(Default)]
struct Findings {
    told: Vec<String>,
    count: usize,
}

impl Findings {
    fn tell(&mut self, finding: String) {
        self.count += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(finding);
        }
    }

    fn told(self, more: &str) -> Vec<String> {
        let untold = self.count - self.told.len();
        let rest = (untold > 0).then(|| format!("and {untold} {more}"));
        self.told.into_iter().chain(rest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Part, encode_part};
    use crate::recovery::tests::rewrite;
    use crate::space::StoreOptions;
    use engram_core::memory::NewMemory;

    /// Writes the newest checkpoint again, as a program that reads texts otherwise would have.
    fn spoil(dir: &Path) -> usize {
        let mut spoilt = 0;
        rewrite(dir, |mut part| {
            if let Part::Block { memories, .. } = &mut part {
                memories.iter_mut().for_each(|kept| kept.numbered.terms.clear());
                spoilt += memories.len();
            }
            vec![encode_part(&part)]
        });
        spoilt
    }

    #[test]
    fn words_that_are_not_those_of_the_texts_are_found_and_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { background_threads: 0, settled_bytes_min: 1, ..Options::new(folder.path()) };
        let engine = Engine::open(options.clone()).unwrap();
        let name = SpaceName::new("notes").unwrap();
        let space = engine.space_or_new(&name).unwrap();
        for at in 0..30 {
            let content = Some(format!("It rained in Bath on day {at}"));
            let memory = NewMemory { content, ..NewMemory::default() };
            space.store(vec![memory], &StoreOptions::default()).unwrap();
        }
        engine.work_off();
        let dump = space.dump();
        engine.close().unwrap();
        let spoilt = spoil(&folder.path().join("spaces/notes"));
        assert_eq!(spoilt, 30, "they lie in a segment");
        let look = |repair| check(&options, Some(&name), repair, &mut |_| {}).unwrap().remove(0);
        let found = look(false);
        assert!(!found.is_sound() && found.damage.is_empty(), "{found:?}");
        assert_eq!(found.derived.len(), TOLD_MAX + 1, "{found:?}");
        assert_eq!(look(false), found, "looking changes nothing");
        let repaired = look(true);
        assert!(repaired.is_sound() && repaired.is_repaired, "{repaired:?}");
        let sound = look(true);
        assert!(sound.is_sound() && sound.derived.is_empty() && !sound.is_repaired, "{sound:?}");
        let engine = Engine::open(options).unwrap();
        let space = engine.space(&name).unwrap();
        let differing: Vec<_> =
            space.dump().into_iter().zip(dump).filter(|(now, then)| now != then).collect();
        assert!(differing.is_empty(), "{:?}", differing[0]);
        assert_eq!(space.summary().unindexed, 0);
    }
}
