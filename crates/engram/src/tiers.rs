//! Where payloads lie, and who decides. Stored payloads are hot; a checkpoint of a large space gives them a home in a
//! segment, and what no longer fits into the hot tier leaves memory, the coolest first. What does not fit into the warm tier
//! moves to the cold one. A move is: copy, sync, commit in the log (`Change::Moved`), and only then delete; so a payload is
//! always in one place at least that the log names. All of it happens in the background, one turn at a time, in steps with
//! pauses between them while callers need the processor (`load`); no lock is held in a pause.

use crate::clock::Stopwatch;
use crate::cold::{Cold, row_of};
use crate::engine::{Options, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::load::{Pauses, STEP_BYTES};
use crate::space::{Seen, Space, bring_all, look};
use crate::worker::Task;
use crate::writer::{Plan, Reads};
use engram_core::Slot;
use engram_core::memory::Memory;
use engram_core::payloads::{HeatClock, Home, Move, Moves, Region, Tier};
use engram_core::state::{Change, SpaceState};
use engram_storage::cold::ColdRow;
use engram_storage::{Segment, SegmentWriter, Vfs, segment};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Bytes of payloads after which a segment ends.
const SEGMENT_BYTES: u64 = 128 << 20;
/// Bytes of payloads that one turn moves out of a tier.
const TURN_BYTES: u64 = 32 << 20;
/// Rows of a cold file.
const COLD_ROWS_MAX: usize = 16_384;
/// A tier may be so much larger than it should be, in parts of its size, before moves out of it go on whatever the load.
const EXCESS: u64 = 10;
/// Payloads that change their place under one write lock.
const LOCKED_PAYLOADS: usize = 128;
/// Payloads that are copied under one read lock, if they are not `STEP_BYTES` before.
const COPIED_PAYLOADS: usize = 64;
/// Moves in one request.
const MOVES_A_REQUEST: usize = 1024;
/// Payloads that may wait to be brought into memory.
const WANTED_MAX: usize = 4096;

/// What the spaces of an engine share.
pub(crate) struct Tiers {
    pub(crate) clock: Arc<HeatClock>,
    hot_bytes_max: u64,
    warm_bytes_max: u64,
    pub(crate) cold: Option<Cold>,
    /// By tier.
    bytes: [AtomicU64; 3],
    memories: AtomicU64,
    /// A turn is under way, or about to be.
    is_scheduled: AtomicBool,
    /// How long payloads are left where they are after they could not be moved.
    retry_after: Duration,
    /// Since they could not leave the hot tier, and the warm one.
    failed: [Mutex<Option<Stopwatch>>; 2],
}

/// What a space last told of its tiers: bytes of each, and memories.
#[derive(Debug, Default)]
pub(crate) struct Told([u64; 3], u64);

/// The segments of a space, with how many entries each has, and the numbers of the next segment and cold file.
#[derive(Debug, Default)]
pub(crate) struct Placing {
    segments: BTreeMap<u32, u64>,
    next: u32,
    next_file: u32,
    /// Cold files that are being written.
    writing: BTreeSet<u32>,
    /// Snapshots that hold cold files.
    held: usize,
}

/// A payload that a recall found outside memory.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) slot: Slot,
    pub(crate) version: u64,
}

/// A segment as a state reads it.
#[derive(Debug)]
struct Shelf(Segment);

impl Shelf {
    fn get(&self, at: u32) -> Option<segment::Entry<'_>> {
        self.0.get(at).map_err(|error| tracing::error!(%error, "a payload cannot be read")).ok()
    }
}

impl Region for Shelf {
    fn row(&self, at: u32) -> Option<&[f32]> {
        bytemuck::try_cast_slice(self.get(at)?.front).ok()
    }

    fn content(&self, at: u32) -> Option<&str> {
        std::str::from_utf8(self.get(at)?.back).ok()
    }
}

impl Tiers {
    pub(crate) fn new(options: &Options) -> Self {
        let cold = options.cold.clone().map(|store| Cold::new(store, options.retry_after));
        Self {
            clock: Arc::default(),
            hot_bytes_max: options.hot_bytes_max,
            warm_bytes_max: options.warm_bytes_max,
            cold,
            bytes: Default::default(),
            memories: AtomicU64::new(0),
            is_scheduled: AtomicBool::new(false),
            retry_after: options.retry_after,
            failed: Default::default(),
        }
    }

    fn bytes(&self, tier: Tier) -> u64 {
        self.bytes[tier as usize].load(Ordering::Relaxed)
    }

    /// Refuses a cold tier that is not safe; one that cannot be reached is waited for.
    pub(crate) fn check_cold(&self) -> Result<()> {
        let Some(cold) = &self.cold else { return Ok(()) };
        match cold.check() {
            Err(error) if error.kind() == ErrorKind::Busy => {
                tracing::warn!(%error, "the cold tier is away; what is in it is given when it is back");
                Ok(())
            }
            checked => checked,
        }
    }

    fn is_hot_over(&self) -> bool {
        self.bytes(Tier::Hot) > self.hot_bytes_max && !self.has_just_failed(Tier::Hot)
    }

    fn is_warm_over(&self) -> bool {
        self.bytes(Tier::Warm) > self.warm_bytes_max
            && self.cold.as_ref().is_some_and(Cold::is_there)
            && !self.has_just_failed(Tier::Warm)
    }

    /// Whether a tier whose payloads can leave holds so much more than it should that no move waits: what leaves the hot tier
    /// goes through the warm one.
    fn is_far_over(&self) -> bool {
        let is_far = |tier, max: u64| self.bytes(tier) > max.saturating_add(max / EXCESS);
        is_far(Tier::Hot, self.hot_bytes_max) && self.is_hot_over()
            || is_far(Tier::Warm, self.warm_bytes_max) && self.is_warm_over()
    }

    /// Whether a tier holds more than it should, and the next can take it, as far as is known.
    pub(crate) fn is_over(&self) -> bool {
        self.is_hot_over() || self.is_warm_over()
    }

    /// Whether payloads could not leave a tier just before. Each write would try again otherwise while a disk is full.
    fn has_just_failed(&self, tier: Tier) -> bool {
        self.failed[tier as usize].lock().is_some_and(|since| since.elapsed() < self.retry_after)
    }

    /// Notes how a turn ended: after one that failed, its tier is left alone for a while.
    fn note_turn(&self, tier: Tier, moved: Result<bool>) -> bool {
        *self.failed[tier as usize].lock() = moved.is_err().then(Stopwatch::start);
        moved.unwrap_or_else(|error| {
            tracing::warn!(%error, tier = tier.as_str(), "payloads stay where they are");
            false
        })
    }

    /// Lets a turn that panicked be scheduled again, after a while.
    pub(crate) fn give_up(&self) {
        self.failed.iter().for_each(|failed| *failed.lock() = Some(Stopwatch::start()));
        self.is_scheduled.store(false, Ordering::Release);
    }

    fn has_room(&self) -> bool {
        self.bytes(Tier::Hot) < self.hot_bytes_max / 16 * 15
    }
}

impl Placing {
    /// Numbers of the segments.
    pub(crate) fn segments(&self) -> impl Iterator<Item = u32> {
        self.segments.keys().copied()
    }

    /// Cold files stay until `release` was called as often.
    pub(crate) fn hold(&mut self) {
        self.held += 1;
    }

    pub(crate) fn release(&mut self) {
        self.held -= 1;
    }
}

/// Opens the segments of a space, for its state to read while it recovers.
pub(crate) fn open_segments(vfs: &dyn Vfs, dir: &Path, state: &mut SpaceState) -> Result<Placing> {
    let mut placing = Placing::default();
    for number in segment::numbers(vfs, dir)? {
        let segment = Segment::open(vfs, dir, number)?;
        placing.segments.insert(number, segment.entries());
        placing.next = number + 1;
        state.add_region(number, Arc::new(Shelf(segment)));
    }
    Ok(placing)
}

/// After recovery: whether all that payloads have their home in is there. Removes what none has.
pub(crate) fn finish_recovery(
    vfs: &dyn Vfs,
    dir: &Path,
    state: &mut SpaceState,
    placing: &mut Placing,
) -> Result<()> {
    if let Some(number) = state.regions_in_use().into_iter().find(|number| !state.has_region(*number)) {
        let message = format!(
            "segment {number} of {} is missing, and {} memories have their payloads in it; restore the folder from a backup",
            dir.display(),
            state.use_of_region(number).memories
        );
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    let unused = |number: &u32| state.use_of_region(*number).memories == 0;
    let unused: Vec<u32> = placing.segments.keys().copied().filter(unused).collect();
    // What a crash left between the copy and its commit, or between a commit and the removal.
    for number in unused {
        state.remove_region(number);
        segment::remove(vfs, dir, number)?;
        placing.segments.remove(&number);
    }
    Ok(())
}

/// Brings the hottest payloads of a space that was just opened into memory, as far as there is room.
pub(crate) fn bring_hottest(shared: &Shared, state: &mut SpaceState) {
    let tiers = &shared.tiers;
    let mut room =
        tiers.hot_bytes_max.saturating_sub(tiers.bytes(Tier::Hot) + state.tiers().bytes[0]) / 16 * 15;
    let warm =
        state.in_order(None).map(|(_, slot)| slot).filter(|&slot| state.record(slot).tier() == Tier::Warm);
    let mut warm: Vec<(u32, Slot)> = warm.map(|slot| (state.record(slot).heat().until(), slot)).collect();
    warm.sort_unstable_by(|a, b| b.cmp(a));
    let fits = |(_, slot): &(u32, Slot)| {
        let left = room.checked_sub(state.payload_bytes(*slot));
        room = left.unwrap_or(0);
        left.is_some()
    };
    let mut warm: Vec<Slot> = warm.into_iter().take_while(fits).map(|(_, slot)| slot).collect();
    // In the order of the disk: read at random, a large hot tier takes minutes.
    warm.sort_unstable_by_key(|&slot| state.record(slot).home());
    for slot in warm {
        if let Ok(memory) = state.memory(slot) {
            let version = state.record(slot).version;
            state.bring(slot, version, memory.content, memory.embedding.as_deref());
        }
    }
}

/// Moves payloads between tiers until each holds no more than it should, or a turn's worth was moved. One turn at a time:
/// several would move too much, and pause in all background threads.
pub(crate) fn balance(shared: &Shared) {
    let tiers = &shared.tiers;
    let (hot_before, mut pauses) = (tiers.bytes(Tier::Hot), Pauses::of_turn());
    let has_cooled = tiers.note_turn(Tier::Hot, cool_some(shared, &mut pauses));
    // Also where the disk had no room for what should leave memory: what moves on from it makes some.
    let has_sunk = tiers.note_turn(Tier::Warm, sink_some(shared, &mut pauses));
    // Whoever asked until here is answered by the look below; whoever asks later schedules a turn.
    tiers.is_scheduled.swap(false, Ordering::AcqRel);
    // What cannot leave is asked again when more has come.
    let has_come = tiers.bytes(Tier::Hot) > hot_before;
    if (has_cooled || has_sunk || has_come) && tiers.is_over() {
        shared.schedule_balance();
    }
}

/// Takes payloads out of memory where it holds too many. Returns whether any went.
fn cool_some(shared: &Shared, pauses: &mut Pauses) -> Result<bool> {
    let tiers = &shared.tiers;
    let space = tiers.is_hot_over().then(|| coolest_space(shared, Tier::Hot)).flatten();
    let Some(space) = space else { return Ok(false) };
    let over = tiers.bytes(Tier::Hot).saturating_sub(tiers.hot_bytes_max / 16 * 15);
    space.cool(over.min(TURN_BYTES), pauses)
}

/// Moves payloads from the warm tier to the cold one where it holds too many. Returns whether any went.
fn sink_some(shared: &Shared, pauses: &mut Pauses) -> Result<bool> {
    let tiers = &shared.tiers;
    let space = tiers.is_warm_over().then(|| coolest_space(shared, Tier::Warm)).flatten();
    let (Some(space), Some(cold)) = (space, &tiers.cold) else { return Ok(false) };
    let over = tiers.bytes(Tier::Warm).saturating_sub(tiers.warm_bytes_max / 16 * 15);
    space.sink(cold, over.min(TURN_BYTES), pauses)
}

/// The open space with the coolest payload of a tier.
fn coolest_space(shared: &Shared, tier: Tier) -> Option<Arc<Space>> {
    let heat = |space: &Arc<Space>| space.read().coolest(tier);
    let spaces = shared.open_spaces().into_iter().filter_map(|space| Some((heat(&space)?, space)));
    spaces.min_by_key(|(heat, _)| *heat).map(|(_, space)| space)
}

impl Shared {
    /// Sees to it that payloads are moved where a tier holds too much.
    pub(crate) fn schedule_balance(&self) {
        if !self.tiers.is_scheduled.swap(true, Ordering::AcqRel) {
            self.schedule(Task::Balance);
        }
    }
}

impl Space {
    /// Tells how much lies in its tiers, and has payloads moved where that is too much.
    pub(crate) fn tell_tiers(&self) {
        self.tell_now();
        if self.shared.tiers.is_over() {
            self.shared.schedule_balance();
        }
    }

    fn tell_now(&self) {
        let (bytes, memories) = {
            let state = self.read();
            (state.tiers().bytes, state.len() as u64)
        };
        self.tell(bytes, memories);
    }

    fn tell(&self, bytes: [u64; 3], memories: u64) {
        let tiers = &self.shared.tiers;
        let mut told = self.told.lock();
        let Told(bytes_before, memories_before) = std::mem::replace(&mut *told, Told(bytes, memories));
        for ((sum, now), before) in tiers.bytes.iter().zip(bytes).zip(bytes_before) {
            sum.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        }
        let more = memories.wrapping_sub(memories_before);
        tiers.clock.set_memories(tiers.memories.fetch_add(more, Ordering::Relaxed).wrapping_add(more));
    }

    /// Waits between two steps of a move while callers need the processor: not where a tier is far too full, nor at the end.
    fn pause(&self, pauses: &mut Pauses) {
        self.shared.load.pause(pauses, || self.is_urgent());
    }

    fn is_urgent(&self) -> bool {
        self.shared.tiers.is_far_over() || self.shared.is_closed()
    }

    /// Gives a home to every payload that has none.
    pub(crate) fn settle_all(&self) -> Result<()> {
        self.settle_where(|_, home| home == Home::Log)
    }

    /// Gives a home on this disk to payloads that were brought from the cold tier, so that the next start need not.
    pub(crate) fn settle_brought(&self) -> Result<()> {
        if self.read().files().is_empty() {
            return Ok(());
        }
        self.settle_where(|tier, home| tier == Tier::Hot && matches!(home, Home::Away { .. }))
    }

    fn settle_where(&self, which: fn(Tier, Home) -> bool) -> Result<()> {
        let mut after = None;
        loop {
            let mut slots = Vec::new();
            let mut bytes = 0;
            let state = self.read();
            for (arrival, slot) in state.in_order(after) {
                after = Some(arrival);
                let record = state.record(slot);
                if which(record.tier(), record.home()) && !record.facts().is_made() {
                    slots.push(slot);
                    bytes += state.payload_bytes(slot);
                }
                if bytes >= SEGMENT_BYTES {
                    break;
                }
            }
            drop(state);
            if slots.is_empty() {
                return Ok(());
            }
            self.settle(&slots, &mut Pauses::none())?;
            if bytes < SEGMENT_BYTES {
                return Ok(());
            }
        }
    }

    /// Writes payloads that are at hand into a new segment, which is their home from then on.
    fn settle(&self, slots: &[Slot], pauses: &mut Pauses) -> Result<()> {
        let mut placing = self.placing.lock();
        self.check_open()?;
        let number = placing.next;
        // At once: in a pause another segment may be begun.
        placing.next += 1;
        let mut writer = SegmentWriter::create(self.shared.options.vfs.clone(), &self.dir, number)?;
        let (mut moves, mut rest) = (Vec::new(), slots);
        while !rest.is_empty() {
            if self.shared.load.is_pause_due(pauses) && !self.is_urgent() {
                // Whoever takes a snapshot of the space or deletes it does not wait for the load to end.
                MutexGuard::unlocked(&mut placing, || self.pause(pauses));
                self.check_open()?;
            }
            let state = self.read();
            let (some, bytes) = step(&state, &mut rest);
            for &slot in some {
                moves.extend(copied(&state, slot, number, &mut writer)?);
            }
            pauses.moved(bytes);
        }
        if moves.is_empty() {
            return Ok(());
        }
        let segment = writer.finish()?;
        placing.segments.insert(number, segment.entries());
        self.write().add_region(number, Arc::new(Shelf(segment)));
        self.commit(moves)
    }

    /// Puts moves into the log, and carries them out.
    fn commit(&self, moves: Vec<Move>) -> Result<()> {
        moves
            .chunks(MOVES_A_REQUEST)
            .try_for_each(|some| self.commit_moves(Moves { file: None, moves: some.to_vec() }))
    }

    /// Puts the name of a cold file into the log.
    fn commit_file(&self, number: u32, name: &str) -> Result<()> {
        self.commit_moves(Moves { file: Some((number, name.to_string())), moves: Vec::new() })
    }

    fn commit_moves(&self, moves: Moves) -> Result<()> {
        // It changes what has the version that it names, and nothing otherwise: it need not wait for anything.
        let plan = Plan { changes: vec![(Change::Moved(moves), None)], ids: Vec::new() };
        self.submit(Reads::Ids(Vec::new()), move |_, _| Ok(plan)).map(drop)
    }

    /// Takes the coolest payloads out of memory, until so many bytes are free. Returns whether any went.
    fn cool(&self, bytes: u64, pauses: &mut Pauses) -> Result<bool> {
        let mut victims = Vec::new();
        {
            let mut state = self.write();
            let mut sum = 0;
            while sum < bytes
                && let Some((heat, slot)) = state.take_coolest(Tier::Hot)
            {
                if !state.record(slot).facts().is_made() {
                    sum += state.payload_bytes(slot);
                    victims.push((heat, slot));
                }
            }
        }
        let homeless: Vec<Slot> = {
            let state = self.read();
            let home = |slot: Slot| state.get(slot).map(|record| record.home());
            victims.iter().map(|(_, slot)| *slot).filter(|&slot| home(slot) == Some(Home::Log)).collect()
        };
        let settled = if homeless.is_empty() { Ok(()) } else { self.settle(&homeless, pauses) };
        let mut evicted = 0;
        for some in victims.chunks(LOCKED_PAYLOADS) {
            self.pause(pauses);
            let mut state = self.write();
            for &(heat, slot) in some {
                if state.evict(slot) {
                    evicted += 1;
                    pauses.moved(state.payload_bytes(slot));
                } else {
                    // It has no home, or another memory has the slot by now.
                    state.keep(Tier::Hot, heat, slot);
                }
            }
        }
        self.tell_now();
        settled?;
        self.reclaim(pauses);
        Ok(evicted > 0)
    }

    /// Moves the coolest payloads of the warm tier into a cold file. Returns whether any went.
    fn sink(&self, cold: &Cold, bytes: u64, pauses: &mut Pauses) -> Result<bool> {
        let (mut victims, mut sum) = (Vec::new(), 0);
        {
            let mut state = self.write();
            while sum < bytes
                && victims.len() < COLD_ROWS_MAX
                && let Some((heat, slot)) = state.take_coolest(Tier::Warm)
            {
                sum += state.payload_bytes(slot);
                victims.push((heat, slot));
            }
        }
        let slots: Vec<Slot> = victims.iter().map(|(_, slot)| *slot).collect();
        let written = self.write_cold(cold, &slots, pauses);
        if written.is_err() {
            let mut state = self.write();
            victims.into_iter().for_each(|(heat, slot)| state.keep(Tier::Warm, heat, slot));
        }
        let has_moved = written?;
        self.tell_now();
        self.reclaim(pauses);
        Ok(has_moved)
    }

    /// Writes payloads into a new cold file, which is their home from then on. Returns whether there were any.
    fn write_cold(&self, cold: &Cold, slots: &[Slot], pauses: &mut Pauses) -> Result<bool> {
        // Before a name goes into the log for nothing.
        cold.check()?;
        let (mut found, mut rest) = (Vec::new(), slots);
        while !rest.is_empty() {
            self.pause(pauses);
            let state = self.read();
            let (some, bytes) = step(&state, &mut rest);
            let is_there = |slot: &&Slot| state.get(**slot).is_some();
            found.extend(some.iter().filter(is_there).map(|&slot| look(&state, slot)));
            pauses.moved(bytes);
        }
        let (keys, rows): (Vec<(u64, u64)>, Vec<ColdRow>) = self
            .gather(found)?
            .into_iter()
            .map(|(memory, Seen { arrival, version, .. })| {
                ((arrival, version), row_of(memory, arrival, version))
            })
            .unzip();
        if rows.is_empty() {
            return Ok(false);
        }
        let name = format!("{}/{}.parquet", self.name(), self.shared.new_id());
        let writing = self.begin_cold_file();
        let number = writing.number;
        // The log names the file first, so that one that a crash leaves half done is known, and removed.
        self.commit_file(number, &name)?;
        self.flush()?;
        cold.put(&name, &rows)?;
        let home = |(row, (arrival, version)): (u32, &(u64, u64))| Move {
            arrival: *arrival,
            version: *version,
            home: Home::Away { file: number, row },
        };
        self.commit((0..).zip(&keys).map(home).collect())?;
        drop(writing);
        Ok(true)
    }

    /// Draws the number of a new cold file.
    fn begin_cold_file(&self) -> ColdWriting<'_> {
        let mut placing = self.placing.lock();
        let after_last = self.read().files().keys().next_back().map_or(0, |last| last + 1);
        let number = after_last.max(placing.next_file);
        placing.next_file = number + 1;
        placing.writing.insert(number);
        ColdWriting { space: self, number }
    }

    /// Waits until none of its cold files is being written.
    pub(crate) fn await_cold_files(&self, placing: &mut MutexGuard<'_, Placing>) {
        self.cold_written.wait_while(placing, |placing| !placing.writing.is_empty());
    }

    /// Removes the segments and cold files that no payload has its home in any more, and writes those anew that are mostly
    /// empty. What cannot be removed or read stays, and the next turn tries again.
    pub(crate) fn reclaim(&self, pauses: &mut Pauses) {
        let warn = |result: Result<()>| {
            if let Err(error) = result {
                tracing::warn!(space = self.name().as_str(), %error, "a file that is hardly used is kept");
            }
        };
        let segments: Vec<(u32, u64)> = self.placing.lock().segments.iter().map(|(n, e)| (*n, *e)).collect();
        for (number, entries) in segments {
            warn(self.reclaim_segment(number, entries, pauses));
        }
        let Some(cold) = &self.shared.tiers.cold else { return };
        let files: Vec<(u32, String)> = {
            let (placing, state) = (self.placing.lock(), self.read());
            let done = state.files().iter().filter(|(number, _)| !placing.writing.contains(number));
            done.map(|(number, name)| (*number, name.clone())).collect()
        };
        for (number, name) in files {
            if cold.is_there() {
                warn(self.reclaim_file(cold, number, &name, pauses));
            }
        }
        self.shared.erase_cold_files();
    }

    fn reclaim_segment(&self, number: u32, entries: u64, pauses: &mut Pauses) -> Result<()> {
        let used = self.read().use_of_region(number);
        if used.memories > 0 && used.memories < entries / 2 {
            let slots = self.read().slots_in_region(number);
            self.settle(&slots, pauses)?;
        }
        if self.read().use_of_region(number).memories == 0 {
            self.remove_segment(number)?;
        }
        Ok(())
    }

    fn reclaim_file(&self, cold: &Cold, number: u32, name: &str, pauses: &mut Pauses) -> Result<()> {
        let used = self.read().use_of_file(number);
        if used.memories > 0 && used.memories < u64::from(used.rows_end) / 2 {
            let slots = self.read().slots_in_file(number);
            self.write_cold(cold, &slots, pauses)?;
        }
        if self.read().use_of_file(number).memories == 0 {
            let placing = self.placing.lock();
            if placing.held > 0 {
                return Ok(());
            }
            // The log has to be on disk that says where its payloads are now.
            self.sync_log()?;
            cold.delete(name)?;
            drop(placing);
            self.write().forget_file(number);
        }
        Ok(())
    }

    /// Its files in the cold tier by name, each with the number of memories that have their payloads in it. One without any
    /// is deleted in time.
    pub fn cold_files(&self) -> Vec<(String, u64)> {
        let state = self.read();
        let file = |(number, name): (&u32, &String)| (name.clone(), state.use_of_file(*number).memories);
        state.files().iter().map(file).collect()
    }

    fn remove_segment(&self, number: u32) -> Result<()> {
        let mut placing = self.placing.lock();
        // The log has to be on disk that says where its payloads are now.
        self.sync_log()?;
        if placing.segments.remove(&number).is_some() {
            self.write().remove_region(number);
            let vfs = &self.shared.options.vfs;
            segment::remove(&**vfs, &self.dir, number)?;
            vfs.sync_dir(&self.dir)?;
        }
        Ok(())
    }

    /// Asks for payloads to be brought into memory that were fetched from outside it and are hotter than what is there.
    pub(crate) fn want(&self, state: &SpaceState, slots: impl Iterator<Item = Slot>) {
        let coolest = if self.shared.tiers.has_room() { None } else { state.coolest(Tier::Hot) };
        let hot_enough = |slot: &Slot| {
            let record = state.record(*slot);
            record.tier() != Tier::Hot && coolest.is_none_or(|heat| record.heat().until() > heat)
        };
        let mut wanted = slots
            .filter(hot_enough)
            .map(|slot| Wanted { slot, version: state.record(slot).version })
            .peekable();
        // Mostly nothing is, and readers meet at no lock then.
        if wanted.peek().is_none() {
            return;
        }
        let mut waiting = self.wanted.lock();
        let is_first = waiting.is_empty();
        let room = WANTED_MAX.saturating_sub(waiting.len());
        waiting.extend(wanted.take(room));
        if is_first {
            self.shared.schedule(Task::Bring(self.name().clone()));
        }
    }

    /// The hot memories that were fetched most, up to so many, the hottest first. Looks at all.
    pub fn hottest(&self, count: usize) -> Vec<Memory> {
        let state = self.read();
        let hot = state.in_order(None).filter(|(_, slot)| state.record(*slot).tier() == Tier::Hot);
        let mut hot: Vec<(u32, Slot)> =
            hot.map(|(_, slot)| (state.record(slot).heat().until(), slot)).collect();
        hot.sort_unstable_by(|a, b| b.cmp(a));
        hot.into_iter().take(count).filter_map(|(_, slot)| state.memory(slot).ok()).collect()
    }

    /// Brings payloads into memory that were asked for. Those that cannot be read stay where they are.
    pub(crate) fn bring_wanted(&self) {
        let wanted = std::mem::take(&mut *self.wanted.lock());
        let mut pauses = Pauses::of_turn();
        for some in wanted.chunks(LOCKED_PAYLOADS) {
            // However full a tier is: what is not brought yet is read where it is.
            self.shared.load.pause(&mut pauses, || self.shared.is_closed());
            let found = {
                let state = self.read();
                let is_current = |wanted: &&Wanted| {
                    let record = state.get(wanted.slot);
                    record
                        .is_some_and(|record| record.version == wanted.version && record.tier() != Tier::Hot)
                };
                let slots = some.iter().filter(is_current).map(|wanted| wanted.slot);
                let slots = slots.inspect(|&slot| pauses.moved(state.payload_bytes(slot)));
                slots.map(|slot| look(&state, slot)).collect()
            };
            match self.gather(found) {
                Ok(found) => bring_all(&mut self.write(), found),
                Err(error) => tracing::debug!(%error, "payloads stay where they are"),
            }
        }
        self.tell_tiers();
    }
}

/// A cold file is being written until this is dropped.
struct ColdWriting<'a> {
    space: &'a Space,
    number: u32,
}

impl Drop for ColdWriting<'_> {
    fn drop(&mut self) {
        self.space.placing.lock().writing.remove(&self.number);
        self.space.cold_written.notify_all();
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.tell([0; 3], 0);
    }
}

/// Takes those of these payloads that are copied under one read lock, and says how many bytes they have.
fn step<'a>(state: &SpaceState, slots: &mut &'a [Slot]) -> (&'a [Slot], u64) {
    let (mut count, mut bytes) = (0, 0);
    while count < slots.len().min(COPIED_PAYLOADS) && bytes < STEP_BYTES {
        let slot = slots[count];
        bytes += state.get(slot).map_or(0, |_| state.payload_bytes(slot));
        count += 1;
    }
    let (some, rest) = slots.split_at(count);
    *slots = rest;
    (some, bytes)
}

/// Copies a payload into a segment, if it is at hand, and says where it will be.
fn copied(state: &SpaceState, slot: Slot, number: u32, writer: &mut SegmentWriter) -> Result<Option<Move>> {
    let Some(record) = state.get(slot) else { return Ok(None) };
    let Ok((content, row)) = state.payload(slot) else { return Ok(None) };
    let keys = [record.arrival, record.version];
    let (front, back) = (bytemuck::cast_slice(row.unwrap_or(&[])), content.unwrap_or("").as_bytes());
    let at = writer.push(keys, front, back)?;
    let home = Home::Region { region: number, at };
    Ok(Some(Move { arrival: record.arrival, version: record.version, home }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::space::StoreOptions;
    use engram_core::id::SpaceName;
    use engram_core::memory::NewMemory;
    use engram_storage::cold::{ColdOptions, ColdStore};

    #[test]
    fn a_cold_file_that_is_being_written_goes_with_its_space() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = format!("file://{}", folder.path().join("cold").display());
        let store = ColdStore::open(ColdOptions { endpoint, ..ColdOptions::default() }).unwrap();
        let options = Options {
            background_threads: 0,
            cold: Some(Arc::new(store)),
            ..Options::new(folder.path().join("data"))
        };
        let engine = Engine::open(options).unwrap();
        let name = SpaceName::new("notes").unwrap();
        let space = engine.space_or_new(&name).unwrap();
        let memory = NewMemory { content: Some("rain".into()), ..NewMemory::default() };
        space.store(vec![memory], &StoreOptions::default()).unwrap();
        let cold = space.shared.tiers.cold.as_ref().unwrap();
        cold.check().unwrap();
        let writing = space.begin_cold_file();
        space.commit_file(writing.number, "notes/late.parquet").unwrap();
        std::thread::scope(|scope| {
            let deletion = scope.spawn(|| engine.delete_space(&name));
            // Until it waits, or is done.
            while !deletion.is_finished()
                && (space.check_open().is_ok() || space.placing.try_lock().is_none())
            {
                std::thread::yield_now();
            }
            let row = row_of(space.hottest(1).remove(0), 0, 0);
            cold.put("notes/late.parquet", &[row]).unwrap();
            assert_eq!(cold.list("notes/").unwrap().len(), 1);
            drop(writing);
            deletion.join().unwrap().unwrap();
        });
        assert_eq!(cold.list("notes/").unwrap(), []);
    }
}
