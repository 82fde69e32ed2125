//! Builds a space from its newest checkpoint and the log after it. One thread reads, checks and decodes what another
//! places, as each is about half of the work; then one reads the index while the other repeats the log. What is damaged is
//! an error with file and offset, but for the index, which is built again.

use crate::codec::{Part, PartReader, decode_changes};
use crate::config::Machine;
use crate::engine::{Held, Shared, held, no_thread};
use crate::error::{Error, ErrorKind, Result};
use crate::space::{LogState, Space};
use crate::tiers::{self, Placing};
use crate::writer::version_of;
use engram_core::Slot;
use engram_core::associate::Analysis;
use engram_core::embed::embed;
use engram_core::hnsw::Hnsw;
use engram_core::id::SpaceName;
use engram_core::memory::Memory;
use engram_core::nodes::settle_thread;
use engram_core::payloads::{Heat, Moves};
use engram_core::platform;
use engram_core::state::{Change, Embedder, Names, Saved, SpaceState, Stub};
use engram_storage::{Error as StorageError, Log, LogPosition, Recovered, Vfs, checkpoint};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Scope, ScopedJoinHandle};

/// Parts of a checkpoint that are decoded ahead of being placed: some megabytes, of a megabyte each at most but for single
/// memories.
const PARTS_AHEAD_MAX: usize = 16;

/// Bytes of memory that a slot takes at least, with nothing in it: its record, and its places in graph and lexicon.
const SLOT_BYTES_MIN: u64 = 128;
/// Slots that every machine has room for.
const SLOTS_SOUND: Slot = 1 << 20;

/// A checkpoint of this size leaves so much free memory behind that it is worth giving back.
const LARGE_CHECKPOINT_BYTES: u64 = 64 << 20;

/// A space, built from what its folder holds.
pub(crate) fn recover(shared: &Arc<Shared>, name: &SpaceName) -> Result<Space> {
    let dir = shared.dir_of(name);
    let mut state = SpaceState::tuned(shared.options.hnsw, shared.options.tuning);
    state.share_heat(shared.tiers.clock.clone());
    state.set_hops(shared.options.hops);
    if let Some(files) = &shared.hot_files {
        state.keep_rows_in(files.clone());
    }
    let vfs = &*shared.options.vfs;
    if held(vfs, &dir)? == Held::Nothing {
        let placing = Placing::default();
        return Ok(Space::new(name.clone(), dir, shared.clone(), state, LogState::Unborn, 0, placing));
    }
    let mut placing = tiers::open_segments(vfs, &dir, &mut state)?;
    let (mut position, mut saved) = (LogPosition::ZERO, SavedIndex::default());
    if let Some(newest) = checkpoint::newest(vfs, &dir)? {
        saved = load_checkpoint(vfs, &dir, newest, &mut state)?;
        position = newest;
    }
    let checkpoint = (position.0, saved.checkpoint_bytes);
    let tuning = shared.options.tuning;
    let (log, recovered) = thread::scope(|scope| -> Result<_> {
        // Its bytes are gone as soon as it is there.
        let bytes = std::mem::take(&mut saved.bytes);
        // One over the vectors of another embedder says nothing of those that are here now.
        let fits = !bytes.is_empty() && saved.embedder == state.settings().embedder;
        let decode = move || Hnsw::decode(&bytes, tuning);
        let index = fits.then(|| spawn(scope, "engram-index", decode)).transpose()?;
        let replayed = replay_log(shared, &dir, position, &mut state)?;
        tiers::finish_recovery(vfs, &dir, &mut state, &mut placing)?;
        tiers::bring_hottest(shared, &mut state);
        match index.map(joined) {
            Some(Ok(index)) => {
                let (shape, wanted) = (index.params(), shared.options.hnsw);
                state.adopt_index(index, &saved.versions);
                if state.successor().is_some() {
                    tracing::info!(
                        space = name.as_str(),
                        ?shape,
                        ?wanted,
                        "the old index serves while a new one is built"
                    );
                }
            }
            Some(Err(reason)) => {
                tracing::warn!(folder = %dir.display(), reason, "index unreadable; building it again");
            }
            None => {}
        }
        Ok(replayed)
    })?;
    tell_of(name, &recovered, checkpoint.0);
    drop(saved);
    if checkpoint.1 >= LARGE_CHECKPOINT_BYTES {
        platform::return_unused();
    }
    let position = log.position().0;
    let log = LogState::Open(Box::new(shared.open_log(log, checkpoint)));
    Ok(Space::new(name.clone(), dir, shared.clone(), state, log, position, placing))
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    let run = || {
        // It would stay on the memory node of whoever opens the space.
        settle_thread();
        run()
    };
    thread::Builder::new().name(name.into()).spawn_scoped(scope, run).map_err(no_thread)
}

/// What a thread gave, or its panic.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn tell_of(name: &SpaceName, recovered: &Recovered, checkpoint: u64) {
    let space = name.as_str();
    if recovered.frames > 0 {
        tracing::info!(space, frames = recovered.frames, "replayed the log");
    }
    if recovered.bytes_cut > 0 {
        let bytes_cut = recovered.bytes_cut;
        tracing::warn!(space, bytes_cut, "cut off the end of the log: an unfinished write");
    }
    if recovered.created && checkpoint > 0 {
        tracing::warn!(
            space,
            "found a checkpoint without a log: what was stored after the checkpoint is lost"
        );
    }
}

/// Opens the log and applies what it has after `position`.
fn replay_log(
    shared: &Shared,
    dir: &Path,
    position: LogPosition,
    state: &mut SpaceState,
) -> Result<(Log, Recovered)> {
    let mut replay = |position: LogPosition, payload: &[u8]| {
        let changes = decode_changes(payload).map_err(|reason| StorageError::Payload { reason })?;
        for (version, change) in (version_of(position.0)..).zip(changes) {
            admit(state.settings().embedder, &change).map_err(|reason| StorageError::Payload { reason })?;
            let analysis = match &change {
                Change::Stored(memory) => Some(Analysis::of(memory, state.settings())),
                _ => None,
            };
            state.apply(version, change, analysis.as_ref());
        }
        Ok(())
    };
    Ok(Log::open(shared.options.vfs.clone(), dir, shared.log_options(), position, &mut replay)?)
}

/// The index that a checkpoint holds.
#[derive(Debug, Default)]
struct SavedIndex {
    bytes: Vec<u8>,
    /// Its nodes, with the versions of their memories.
    versions: Vec<(Slot, u64)>,
    /// What made its vectors.
    embedder: Option<Embedder>,
    /// Size of all that the checkpoint holds.
    checkpoint_bytes: u64,
}

/// Fills a state from a checkpoint.
fn load_checkpoint(
    vfs: &dyn Vfs,
    dir: &Path,
    position: LogPosition,
    state: &mut SpaceState,
) -> Result<SavedIndex> {
    let saved = thread::scope(|scope| {
        let (send, parts) = sync_channel(PARTS_AHEAD_MAX);
        let reader = spawn(scope, "engram-read", move || read_checkpoint(vfs, dir, position, &send))?;
        let (mut names, mut embedder) = (Names::default(), None);
        for part in parts {
            if let Part::Settings(settings) = &part {
                embedder = settings.embedder;
            }
            place(state, part, embedder, &mut names).map_err(|reason| {
                let file = dir.join(checkpoint::file_name(position));
                let message =
                    format!("{} is damaged: {reason}; bring the space back from a backup", file.display());
                Error::new(ErrorKind::Corrupt, message)
            })?;
        }
        Ok::<_, Error>(joined(reader)?)
    })?;
    state.finish_placing();
    Ok(saved)
}

/// Sends what a checkpoint holds, all of which makes sense, and gives its index.
fn read_checkpoint(
    vfs: &dyn Vfs,
    dir: &Path,
    position: LogPosition,
    send: &SyncSender<Part>,
) -> engram_storage::Result<SavedIndex> {
    let (mut reader, mut saved) = (PartReader::default(), SavedIndex::default());
    let mut read = |payload: &[u8]| -> Result<(), String> {
        saved.checkpoint_bytes += payload.len() as u64;
        let part = match reader.read(payload)? {
            Part::IndexVersions(of_nodes) => {
                saved.versions.extend(of_nodes);
                return Ok(());
            }
            Part::IndexBytes(piece) => {
                saved.bytes.extend(piece);
                return Ok(());
            }
            part => part,
        };
        match &part {
            Part::Settings(settings) => saved.embedder = settings.embedder,
            Part::Memory { slot, memory, .. } => {
                admit_slot(*slot)?;
                admit_memory(saved.embedder, memory)?;
            }
            Part::Block { memories, .. } => {
                memories.iter().try_for_each(|kept| {
                    admit_slot(kept.at.slot)?;
                    admit_stub(saved.embedder, &kept.stub)
                })?;
            }
            _ => {}
        }
        send.send(part).map_err(|_| "nobody places what is read".to_string())
    };
    checkpoint::read(vfs, dir, position, &mut |payload| {
        read(payload).map_err(|reason| StorageError::Payload { reason })
    })?;
    Ok(saved)
}

/// Puts a part of a checkpoint into a state. `embedder` is that of the checkpoint.
fn place(
    state: &mut SpaceState,
    part: Part,
    embedder: Option<Embedder>,
    names: &mut Names,
) -> Result<(), String> {
    match part {
        Part::Settings(settings) => state.apply(0, Change::Settings(settings), None),
        Part::Memory { slot, arrival, version, uses, memory } => {
            let analysis = Analysis::of(&memory, state.settings());
            let at = Saved { slot, arrival, version, uses, heat: Heat::default() };
            state.place_saved(at, *memory, &analysis);
        }
        Part::Block { names: new, memories, tells_anew } => {
            if tells_anew {
                *names = Names::default();
            }
            state.take_names(names, new);
            for mut kept in memories {
                names.translate(&mut kept.numbered)?;
                let mut embedding = None;
                if embedder != state.settings().embedder {
                    // Another version's vectors are not kept; texts that are away are embedded when they come back.
                    kept.stub.code = None;
                    embedding = state.content_at(kept.stub.home).and_then(embed);
                }
                let embedding = embedding.as_deref();
                state.place_numbered(kept.at, kept.memory, &kept.numbered, embedding, &kept.stub);
            }
        }
        Part::Files(files) => {
            let name = |file| Change::Moved(Moves { file: Some(file), moves: Vec::new() });
            files.into_iter().for_each(|file| state.apply(0, name(file), None));
        }
        Part::Keyed { version, keyed } => state.apply(version, Change::Keyed(keyed), None),
        Part::Learned { last, rows } => state.restore_learned(last, &rows),
        Part::IndexVersions(_) | Part::IndexBytes(_) => unreachable!("the index is read by its own thread"),
    }
    Ok(())
}

/// Whether there can be so many slots on this machine: in a quarter of its memory, as what lies in them needs some as well.
/// A space has as many as it had memories at once, so few memories are no sign that one is wrong.
fn admit_slot(slot: Slot) -> Result<(), String> {
    static SLOTS_MAX: OnceLock<u64> = OnceLock::new();
    let room = || Machine::detect().memory_bytes.map_or(u64::MAX, |bytes| bytes / 4 / SLOT_BYTES_MIN);
    if slot < SLOTS_SOUND || u64::from(slot) < *SLOTS_MAX.get_or_init(room) {
        return Ok(());
    }
    Err(format!(
        "a memory is in slot {slot}; the space needs more memory than this machine has, or is damaged"
    ))
}

/// Whether stored bytes make sense to a state that asserts that they do.
fn admit(embedder: Option<Embedder>, change: &Change) -> Result<(), String> {
    match change {
        Change::Stored(memory) => admit_memory(embedder, memory),
        _ => Ok(()),
    }
}

fn admit_memory(embedder: Option<Embedder>, memory: &Memory) -> Result<(), String> {
    let Some(embedding) = &memory.embedding else { return Ok(()) };
    match embedder {
        Some(Embedder::Caller { dimensions }) if embedding.len() == dimensions => Ok(()),
        Some(Embedder::Caller { dimensions }) => {
            Err(format!("memory {} has {} dimensions, its space {dimensions}", memory.id, embedding.len()))
        }
        _ => Err(format!("memory {} has a vector, its space takes none", memory.id)),
    }
}

/// Whether what is known of a payload that lies elsewhere makes sense to a state.
fn admit_stub(embedder: Option<Embedder>, stub: &Stub) -> Result<(), String> {
    let dimensions = embedder.and_then(Embedder::dimensions);
    let is_builtin = matches!(embedder, Some(Embedder::Builtin { .. }));
    match &stub.code {
        // A checkpoint of another version of the built-in embedder may have others, which are dropped.
        Some((code, _)) if Some(code.len()) != dimensions && !is_builtin => {
            Err(format!("a code of {} numbers, its space has vectors of {dimensions:?}", code.len()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::codec::{encode_part, encode_version_3};
    use crate::engine::{Engine, Options};
    use crate::space::StoreOptions;
    use engram_core::hnsw::{self, HnswParams};
    use engram_core::id::MemoryId;
    use engram_core::memory::{Link, NewMemory};
    use engram_core::state::NewNames;
    use engram_storage::{CheckpointWriter, RealVfs};

    /// Writes the newest checkpoint of a space again, with other frames for each of its parts.
    pub(crate) fn rewrite(dir: &Path, mut frames: impl FnMut(Part) -> Vec<Vec<u8>>) {
        let position = checkpoint::newest(&RealVfs, dir).unwrap().unwrap();
        let (mut reader, mut parts) = (PartReader::default(), Vec::new());
        checkpoint::read(&RealVfs, dir, position, &mut |payload| {
            parts.push(reader.read(payload).unwrap());
            Ok(())
        })
        .unwrap();
        let mut writer = CheckpointWriter::create(Arc::new(RealVfs), dir, position).unwrap();
        for frame in parts.into_iter().flat_map(&mut frames) {
            writer.push(&frame).unwrap();
        }
        writer.finish().unwrap();
    }

    fn name() -> SpaceName {
        SpaceName::new("notes").unwrap()
    }

    fn open(folder: &Path, settled_bytes_min: u64) -> (Engine, Arc<Space>) {
        let options = Options { background_threads: 0, settled_bytes_min, ..Options::new(folder) };
        let engine = Engine::open(options).unwrap();
        let space = engine.space_or_new(&name()).unwrap();
        (engine, space)
    }

    /// As a program with another built-in embedder would have.
    fn pretend_another_embedder(dir: &Path) {
        rewrite(dir, |mut part| {
            if let Part::Settings(settings) = &mut part {
                assert_eq!(settings.embedder, Some(Embedder::BUILTIN));
                settings.embedder = Some(Embedder::Builtin { version: u32::MAX });
            }
            vec![encode_part(&part)]
        });
    }

    #[test]
    fn a_checkpoint_of_the_version_before_is_read() {
        let folder = tempfile::tempdir().unwrap();
        // Every payload gets a home, so that the checkpoint has none.
        let open = || open(folder.path(), 0);
        let (engine, space) = open();
        for at in 0..300 {
            let memory = NewMemory {
                content: Some(format!("Ann: It rained in Bath, note {at} of {}", at % 7)),
                context: Some(format!("c{}", at % 40)),
                ..NewMemory::default()
            };
            space.store(vec![memory], &StoreOptions::default()).unwrap();
        }
        engine.work_off();
        let dump = space.dump();
        engine.close().unwrap();
        let (engine, space) = open();
        assert_eq!((space.dump(), space.summary().unindexed), (dump.clone(), 0));
        engine.close().unwrap();
        let (mut told, mut memories) = (NewNames::default(), 0);
        rewrite(&folder.path().join("spaces/notes"), |part| match part {
            Part::Block { names, memories: block, .. } => {
                told.terms.extend(names.terms);
                told.entities.extend(names.entities);
                memories += block.len();
                block.iter().map(|kept| encode_version_3(kept, &told)).collect()
            }
            part => vec![encode_part(&part)],
        });
        assert_eq!(memories, 300);
        let (_engine, space) = open();
        assert_eq!((space.dump(), space.summary().unindexed), (dump, 0));
    }

    #[test]
    fn an_index_of_another_shape_serves_until_the_new_one_is_built() {
        let folder = tempfile::tempdir().unwrap();
        let open = |m| {
            let hnsw = HnswParams { m, ..HnswParams::default() };
            let options = Options { background_threads: 0, hnsw, ..Options::new(folder.path()) };
            let engine = Engine::open(options).unwrap();
            let space = engine.space_or_new(&name()).unwrap();
            (engine, space)
        };
        let store = |space: &Arc<Space>, from: u32| {
            let memories = (from..from + 300).map(|at| NewMemory {
                content: Some(format!("Ann has seen {at} trains in {}", at % 7)),
                ..NewMemory::default()
            });
            space.store(memories.collect(), &StoreOptions::default()).unwrap();
        };
        let index = |space: &Arc<Space>| {
            let state = space.read();
            let len_of_successor = state.successor().map(|index| index.len());
            (state.index().params().m, state.index().len(), len_of_successor)
        };
        let (engine, space) = open(8);
        store(&space, 0);
        engine.work_off();
        engine.close().unwrap();
        let (engine, space) = open(16);
        assert_eq!((index(&space), space.summary().unindexed), ((8, 300, Some(0)), 0));
        let mut scratch = hnsw::Scratch::new();
        assert!(space.index_some(&mut scratch));
        store(&space, 300);
        assert!(space.index_some(&mut scratch));
        let (m, serving, successor) = index(&space);
        assert!(
            m == 8 && serving > 300 && successor.is_some_and(|len| len > 0),
            "what recalls need comes first"
        );
        engine.work_off();
        assert_eq!((index(&space), space.summary().unindexed), ((16, 600, None), 0));
        engine.close().unwrap();
        let (_engine, space) = open(16);
        assert_eq!((index(&space), space.summary().unindexed), ((16, 600, None), 0), "it was kept");
    }

    #[test]
    fn vectors_of_another_version_are_made_anew_and_so_is_their_index() {
        let folder = tempfile::tempdir().unwrap();
        let open = || open(folder.path(), u64::MAX);
        let (engine, space) = open();
        for content in ["It rained in Bath", "My dog chased the postman", "日本語"] {
            let memory = NewMemory { content: Some(content.into()), ..NewMemory::default() };
            space.store(vec![memory], &StoreOptions::default()).unwrap();
        }
        engine.work_off();
        let dump = space.dump();
        engine.close().unwrap();
        let (engine, space) = open();
        assert_eq!(
            (space.dump(), space.summary().unindexed),
            (dump.clone(), 0),
            "its own index is taken over"
        );
        engine.close().unwrap();
        pretend_another_embedder(&folder.path().join("spaces/notes"));
        let (_engine, space) = open();
        assert_eq!((space.dump(), space.summary().unindexed), (dump, 2), "another one's is not");
    }

    #[test]
    fn large_memories_lie_in_smaller_blocks() {
        let folder = tempfile::tempdir().unwrap();
        // Every payload gets a home, so that the checkpoint has none.
        let open = || open(folder.path(), 0);
        let (engine, space) = open();
        let link = |at: usize| Link {
            to: MemoryId::new(&format!("other{at}")).unwrap(),
            kind: format!("kind{at}{}", "x".repeat(400)),
            weight: 1.0,
        };
        for at in 0..200 {
            let memory = NewMemory {
                content: Some(format!("It rained in Bath, note {at}")),
                links: Some((0..100).map(link).collect()),
                ..NewMemory::default()
            };
            space.store(vec![memory], &StoreOptions::default()).unwrap();
        }
        engine.work_off();
        let dump = space.dump();
        engine.close().unwrap();
        let dir = folder.path().join("spaces/notes");
        let mut blocks = Vec::new();
        rewrite(&dir, |part| {
            let bytes = encode_part(&part);
            if let Part::Block { memories, .. } = &part {
                blocks.push((memories.len(), bytes.len()));
            }
            vec![bytes]
        });
        assert_eq!(blocks.iter().map(|(memories, _)| memories).sum::<usize>(), 200);
        assert!(blocks.len() > 4 && blocks.iter().all(|(_, bytes)| *bytes <= 1 << 20), "{blocks:?}");
        let (_engine, space) = open();
        assert_eq!(space.dump(), dump);
    }

    #[test]
    fn what_makes_no_sense_in_a_checkpoint_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = open(folder.path(), 0);
        for at in 0..300 {
            let memory = NewMemory { content: Some(format!("note {at}")), ..NewMemory::default() };
            space.store(vec![memory], &StoreOptions::default()).unwrap();
        }
        engine.work_off();
        engine.close().unwrap();
        let mut is_first = true;
        rewrite(&folder.path().join("spaces/notes"), |mut part| {
            if let Part::Block { memories, .. } = &mut part
                && std::mem::take(&mut is_first)
            {
                memories.last_mut().unwrap().numbered.terms.push((u32::MAX, 1));
            }
            vec![encode_part(&part)]
        });
        assert!(!is_first);
        let engine = Engine::open(Options::new(folder.path())).unwrap();
        let error = engine.space(&name()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains("numbers that are not those of"), "{error}");
    }

    /// A space of 20 memories whose checkpoint is written again, and what is said when it is opened.
    fn said_of(mut spoil: impl FnMut(&mut Part)) -> String {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = open(folder.path(), 0);
        for at in 0..20 {
            let memory = NewMemory { content: Some(format!("rain, note {at}")), ..NewMemory::default() };
            space.store(vec![memory], &StoreOptions::default()).unwrap();
        }
        engine.work_off();
        engine.close().unwrap();
        rewrite(&folder.path().join("spaces/notes"), |mut part| {
            spoil(&mut part);
            vec![encode_part(&part)]
        });
        let engine = Engine::open(Options::new(folder.path())).unwrap();
        let error = engine.space(&name()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        error.to_string()
    }

    #[test]
    fn a_word_that_is_told_twice_is_no_second_word() {
        let said = said_of(|part| {
            if let Part::Block { names, memories, .. } = part {
                let again = names.terms.len() as u32;
                names.terms.push(names.terms[0].clone());
                let with = memories
                    .iter_mut()
                    .find(|kept| kept.numbered.terms.first().is_some_and(|term| term.0 == 0));
                with.unwrap().numbered.terms.push((again, 1));
            }
        });
        assert!(said.contains("has a word or a name twice") && said.contains(".ckpt"), "{said}");
    }

    #[test]
    fn a_slot_that_no_machine_has_room_for_is_damage() {
        let said = said_of(|part| {
            if let Part::Block { memories, .. } = part {
                memories.last_mut().unwrap().at.slot = Slot::MAX - 1;
            }
        });
        assert!(said.contains("is in slot 4294967294"), "{said}");
    }
}
