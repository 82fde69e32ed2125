//! Background work: indexing, checkpoints, and syncs that were put off. Threads take tasks from one queue; a task names
//! its space, so that work for a space that is gone is simply dropped. One that panics is logged and given up; its thread
//! goes on.

use crate::codec::{Kept, Part, encode_part};
use crate::engine::Shared;
use crate::error::Result;
use crate::load::Pauses;
use crate::space::{LogState, Space, look};
use crate::tiers;
use crate::writer::version_of;
use engram_core::associate::Analysis;
use engram_core::hnsw;
use engram_core::id::SpaceName;
use engram_core::state::{NewNames, Numbered, Numbers, Saved, SpaceState};
use engram_storage::{CheckpointWriter, LogPosition, checkpoint};
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Memories that are written to a checkpoint under one read lock.
const CHECKPOINT_MEMORIES: usize = 128;
/// Bytes of a block of memories that is not halved.
const BLOCK_BYTES_MAX: usize = 1 << 20;
/// Bytes of the index in one frame of a checkpoint.
const INDEX_PIECE_BYTES: usize = 16 << 20;

/// Nodes of the index whose versions stand in one frame of a checkpoint.
const INDEX_VERSIONS: usize = 1 << 20;

/// Memories whose learned associations stand in one frame of a checkpoint.
const LEARNED_ROWS: usize = 1 << 16;

/// Something to do in the background.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Task {
    Index(SpaceName),
    Checkpoint(SpaceName),
    /// Bring payloads into memory.
    Bring(SpaceName),
    /// Move payloads out of tiers that hold too much.
    Balance,
    /// Put spaces to sleep that nobody asks for.
    Sleep,
    Stop,
}

/// What waits to be done.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    queue: Mutex<VecDeque<Task>>,
    ready: Condvar,
}

impl Tasks {
    pub(crate) fn push(&self, task: Task) {
        self.queue.lock().push_back(task);
        self.ready.notify_one();
    }

    /// Whether this task waits.
    #[cfg(test)]
    pub(crate) fn has(&self, task: &Task) -> bool {
        self.queue.lock().contains(task)
    }

    fn try_take(&self) -> Option<Task> {
        self.queue.lock().pop_front()
    }

    fn take(&self) -> Task {
        let mut queue = self.queue.lock();
        loop {
            match queue.pop_front() {
                // One `Stop` is for all threads.
                Some(Task::Stop) => {
                    queue.push_front(Task::Stop);
                    self.ready.notify_one();
                    return Task::Stop;
                }
                Some(task) => return task,
                None => self.ready.wait(&mut queue),
            }
        }
    }
}

/// What a background thread does until it is told to stop.
pub(crate) fn work(shared: &Shared) {
    let mut scratch = hnsw::Scratch::new();
    loop {
        let task = shared.tasks.take();
        if task == Task::Stop {
            return;
        }
        // Its locks are let go and not poisoned, so it stands for as much as when the thread ended with it.
        let outcome = catch_unwind(AssertUnwindSafe(|| run(shared, task.clone(), &mut scratch)));
        if let Err(panic) = outcome {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
            tracing::error!(?task, panic = text, "a task in the background panicked; please report it");
            scratch = hnsw::Scratch::new();
            give_up(shared, &task);
        }
    }
}

/// Lets a task that panicked be scheduled once more, later: it may panic again.
fn give_up(shared: &Shared, task: &Task) {
    match task {
        Task::Index(name) => {
            if let Some(space) = shared.open_space(name) {
                space.indexing_scheduled.store(false, Ordering::Release);
            }
        }
        Task::Checkpoint(name) => {
            if let Some(space) = shared.open_space(name) {
                space.put_checkpoint_off();
                space.checkpoint_scheduled.store(false, Ordering::Release);
            }
        }
        Task::Balance => shared.tiers.give_up(),
        // They can be scheduled as soon as they have begun.
        Task::Bring(_) | Task::Sleep | Task::Stop => {}
    }
}

fn run(shared: &Shared, task: Task, scratch: &mut hnsw::Scratch) {
    match task {
        Task::Stop => {}
        Task::Sleep => shared.sleep_some(),
        Task::Index(name) => index(shared, &name, scratch),
        Task::Balance => tiers::balance(shared),
        Task::Bring(name) => {
            if let Some(space) = shared.open_space(&name) {
                space.bring_wanted();
            }
        }
        Task::Checkpoint(name) => {
            let Some(space) = shared.open_space(&name) else { return };
            if let Err(error) = write_checkpoint(&space) {
                tracing::warn!(space = name.as_str(), %error, "checkpoint failed; the log is kept");
                space.put_checkpoint_off();
            }
            space.checkpoint_scheduled.store(false, Ordering::Release);
        }
    }
}

/// One turn of indexing; the task goes back into the queue while there is more, so that spaces take turns.
fn index(shared: &Shared, name: &SpaceName, scratch: &mut hnsw::Scratch) {
    let Some(space) = shared.open_space(name) else { return };
    if space.index_some(scratch) {
        shared.tasks.push(Task::Index(name.clone()));
    } else {
        space.indexing_scheduled.store(false, Ordering::Release);
        // What was stored between the look and the store of the flag would wait for the next write otherwise.
        space.schedule_work();
    }
}

/// Syncs all open spaces in turn, every `interval`, until the engine is gone.
pub(crate) fn flush_regularly(shared: &Weak<Shared>, interval: Duration) {
    loop {
        std::thread::sleep(interval);
        let Some(shared) = shared.upgrade() else { return };
        flush_all(&shared);
    }
}

/// Syncs all open spaces in turn. One that fails refuses writes from then on.
pub(crate) fn flush_all(shared: &Shared) {
    for space in shared.open_spaces() {
        if let Err(error) = space.flush() {
            tracing::error!(space = space.name().as_str(), %error, "sync failed");
        }
    }
}

/// Writes the state to a checkpoint and removes the log that it stands for. Memories are read a few at a time while
/// writes go on, so the checkpoint may hold some changes that are newer than its position; replaying them again
/// changes nothing.
pub(crate) fn write_checkpoint(space: &Space) -> Result<()> {
    let alone = space.checkpointing.lock();
    let position = space.position();
    match &*space.log.lock() {
        LogState::Open(open) if open.checkpoint.0 < position || space.indexed.load(Ordering::Relaxed) > 0 => {
        }
        // Written meanwhile, nothing to write, or the folder is no longer ours.
        _ => return Ok(()),
    }
    let vfs = space.shared.options.vfs.clone();
    if space.read().tiers().homeless_bytes >= space.shared.options.settled_bytes_min {
        space.settle_all()?;
    }
    let position = space.position();
    space.indexed.store(0, Ordering::Relaxed);
    let mut writer = CheckpointWriter::create(vfs, &space.dir, LogPosition(position))?;
    let (mut after, mut told) = (None, Numbers::default());
    loop {
        let before = after;
        let parts = {
            let state = space.read();
            memories_after(&state, &mut after, &mut told)
        };
        parts.into_iter().try_for_each(|part| push(&mut writer, part))?;
        // What arrives later is in the log.
        if after == before || after.is_some_and(|arrival| arrival > version_of(position + 1)) {
            break;
        }
    }
    // Into a list first: the lock of a loop's head is held until the loop ends.
    let parts = what_spans_memories(&space.read());
    parts.into_iter().try_for_each(|part| push(&mut writer, part))?;
    put_in_place(space, writer, position)?;
    drop(alone);
    space.reclaim(&mut Pauses::none());
    Ok(())
}

/// Writes a part, memories in halves where they are large: a frame has an end, and a start holds some at a time.
fn push(writer: &mut CheckpointWriter, part: Part) -> Result<()> {
    let bytes = encode_part(&part);
    match part {
        Part::Block { names, mut memories, .. } if bytes.len() > BLOCK_BYTES_MAX && memories.len() > 1 => {
            let rest = memories.split_off(memories.len() / 2);
            push(writer, Part::Block { names, memories, tells_anew: false })?;
            // All names are told by now.
            push(writer, Part::Block { names: NewNames::default(), memories: rest, tells_anew: false })
        }
        _ => Ok(writer.push(&bytes)?),
    }
}

/// Finishes a checkpoint, and removes the log that it stands for.
fn put_in_place(space: &Space, writer: CheckpointWriter, position: u64) -> Result<()> {
    // It may hold changes that are logged but not synced, and must not outlive them.
    space.flush()?;
    if !matches!(*space.log.lock(), LogState::Open(_)) {
        return Ok(());
    }
    let bytes = writer.finish()?;
    if let LogState::Open(open) = &mut *space.log.lock() {
        // Known before the log that it stands for goes: if that fails halfway, a snapshot needs both.
        open.checkpoint = (position, bytes);
        open.log.remove_through(LogPosition(position))?;
    }
    checkpoint::remove_older(&*space.shared.options.vfs, &space.dir, LogPosition(position))?;
    Ok(())
}

/// Writes a checkpoint whose words and names are found in the memories once more, without an index: whoever opens it makes
/// one. Nothing may be written meanwhile.
pub(crate) fn rewrite_derived(space: &Space) -> Result<()> {
    let _alone = space.checkpointing.lock();
    let position = space.position();
    let vfs = space.shared.options.vfs.clone();
    let mut writer = CheckpointWriter::create(vfs, &space.dir, LogPosition(position))?;
    let (settings, mut after, mut told) = (space.settings(), None, Default::default());
    loop {
        let before = after;
        let mut parts = memories_after(&space.read(), &mut after, &mut Numbers::default());
        if after == before {
            break;
        }
        for part in &mut parts {
            let Part::Block { names, memories, .. } = part else { continue };
            *names = NewNames::default();
            let found = memories.iter().map(|kept| look(&space.read(), kept.at.slot)).collect();
            for ((memory, _), kept) in space.gather(found)?.iter().zip(memories) {
                kept.numbered = numbered_anew(&Analysis::of(memory, &settings), &mut told, names);
            }
        }
        parts.into_iter().try_for_each(|part| push(&mut writer, part))?;
    }
    let parts = what_spans_memories(&space.read());
    let is_given = |part: &Part| matches!(part, Part::Keyed { .. } | Part::Files(_) | Part::Learned { .. });
    parts.into_iter().filter(is_given).try_for_each(|part| push(&mut writer, part))?;
    put_in_place(space, writer, position)
}

/// What is known of a text by the numbers of what was told; what was not is added to `new`.
fn numbered_anew(
    analysis: &Analysis,
    [terms, entities]: &mut [HashMap<Arc<str>, u32>; 2],
    new: &mut NewNames,
) -> Numbered {
    let number = |told: &mut HashMap<Arc<str>, u32>, new: &mut Vec<Arc<str>>, counts: &[(Box<str>, u32)]| {
        let mut numbers = Vec::with_capacity(counts.len());
        for (name, count) in counts {
            let next = told.len() as u32;
            let number = *told.entry(Arc::from(&**name)).or_insert_with_key(|name| {
                new.push(name.clone());
                next
            });
            numbers.push((number, *count));
        }
        numbers.sort_unstable();
        numbers
    };
    Numbered {
        terms: number(terms, &mut new.terms, &analysis.terms),
        entities: number(entities, &mut new.entities, &analysis.entities),
        speech: analysis.speech.clone(),
    }
}

/// The settings, and the next memories in order of arrival.
fn memories_after(state: &SpaceState, after: &mut Option<u64>, told: &mut Numbers) -> Vec<Part> {
    let mut parts = vec![Part::Settings(*state.settings())];
    let (mut names, mut memories) = (NewNames::default(), Vec::new());
    for (arrival, slot) in state.in_order(*after).take(CHECKPOINT_MEMORIES) {
        *after = Some(arrival);
        let record = state.record(slot);
        let (version, uses) = (record.version, record.uses.clone());
        if let Some(stub) = state.stub(slot) {
            let at = Saved { slot, arrival, version, uses, heat: record.heat().clone() };
            let memory = record.facts().with(None, None);
            memories.push(Kept { at, memory, stub, numbered: state.numbered(slot, told, &mut names) });
        } else {
            let memory = state.memory(slot).expect("what has no home but the log is in memory");
            parts.push(Part::Memory { slot, arrival, version, uses, memory: Box::new(memory) });
        }
    }
    if !memories.is_empty() {
        parts.push(Part::Block { names, memories, tells_anew: false });
    }
    parts
}

/// Keys, what was learned, and the index: after all memories, of one moment.
fn what_spans_memories(state: &SpaceState) -> Vec<Part> {
    let keys = state.keys().map(|(version, keyed)| Part::Keyed { version: *version, keyed: keyed.clone() });
    let mut parts: Vec<Part> = keys.collect();
    if !state.files().is_empty() {
        let files = state.files().iter().map(|(number, name)| (*number, name.clone()));
        parts.push(Part::Files(files.collect()));
    }
    let (last, rows) = (state.graph().learned().last(), state.graph().learned().rows());
    if last.version > 0 {
        let some = rows.chunks(LEARNED_ROWS).map(<[_]>::to_vec);
        let pieces = if rows.is_empty() { vec![vec![]] } else { some.collect() };
        parts.extend(pieces.into_iter().map(|rows| Part::Learned { last: last.clone(), rows }));
    }
    if !state.index().is_empty() {
        let slots = (0..state.slots_end() as u32).filter(|slot| state.index().contains(*slot));
        let versions: Vec<(u32, u64)> = slots.map(|slot| (slot, state.record(slot).version)).collect();
        parts.extend(versions.chunks(INDEX_VERSIONS).map(|some| Part::IndexVersions(some.to_vec())));
        parts.extend(
            state.index().encode().chunks(INDEX_PIECE_BYTES).map(|piece| Part::IndexBytes(piece.to_vec())),
        );
    }
    parts
}

/// Does what waits, on the calling thread.
pub(crate) fn work_off(shared: &Shared) {
    let mut scratch = hnsw::Scratch::new();
    while let Some(task) = shared.tasks.try_take() {
        run(shared, task, &mut scratch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, Options, SyncMode};
    use crate::space::StoreOptions;
    use engram_core::memory::NewMemory;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn a_task_that_panics_ends_no_thread_and_can_be_done_later() {
        let folder = tempfile::tempdir().unwrap();
        let panics = Arc::new(AtomicBool::new(true));
        let observed = panics.clone();
        let options = Options {
            background_threads: 0,
            sync: SyncMode::None,
            observe_flush: Some(Arc::new(move |_| assert!(!observed.load(Ordering::Relaxed), "wanted"))),
            ..Options::new(folder.path())
        };
        let engine = Engine::open(options).unwrap();
        let space = engine.space_or_new(&SpaceName::new("notes").unwrap()).unwrap();
        let memory = NewMemory { content: Some("rain".into()), ..NewMemory::default() };
        space.store(vec![memory], &StoreOptions::default()).unwrap();
        let checkpoint = || match &*space.log.lock() {
            LogState::Open(open) => open.checkpoint.0,
            LogState::Unborn | LogState::Closed(_) => unreachable!("it was stored in"),
        };
        space.checkpoint_scheduled.store(true, Ordering::Release);
        space.shared.schedule(Task::Checkpoint(space.name().clone()));
        space.shared.schedule(Task::Stop);
        work(&space.shared);
        assert!(!space.checkpoint_scheduled.load(Ordering::Acquire));
        assert_eq!(checkpoint(), 0);

        panics.store(false, Ordering::Relaxed);
        run(&space.shared, Task::Checkpoint(space.name().clone()), &mut hnsw::Scratch::new());
        assert_eq!(checkpoint(), space.position());

        space.indexing_scheduled.store(true, Ordering::Release);
        give_up(&space.shared, &Task::Index(space.name().clone()));
        assert!(!space.indexing_scheduled.load(Ordering::Acquire));
        space.shared.schedule_balance();
        while space.shared.tasks.try_take().is_some() {}
        give_up(&space.shared, &Task::Balance);
        space.shared.schedule_balance();
        assert!(space.shared.tasks.has(&Task::Balance));
    }
}
