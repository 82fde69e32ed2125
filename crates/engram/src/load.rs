//! How busy this process is with what callers wait for. Whoever moves payloads in the background does so in steps of some
//! bytes, and pauses between them while as many operations are under way as there are cores: a step then takes some
//! hundredths of the time. A pause ends when the load does, when the move has become urgent, or after a while, and a turn
//! of moves has so many pauses at most: background threads have other work, too. Counts lie on cache lines of their own, as
//! the gates of `sharded` do.

use crate::clock::Stopwatch;
use crate::sharded::{Padded, number_of_thread};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The longest pause between two steps of a move.
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(10);
/// Bytes of payloads after which a step ends: some 65 at 768 dimensions, which are copied in a tenth of a millisecond.
pub(crate) const STEP_BYTES: u64 = 200_000;
/// Pauses of one turn: a second of `PAUSE_MAX`, in which 20 MB move.
const PAUSES_A_TURN: usize = 100;
/// How often a pause looks whether it is over.
const LOOKS_EVERY: Duration = Duration::from_millis(1);

/// Operations that are under way: stores, recalls, completions, listings and activations.
pub(crate) struct Load {
    /// From so many on the load is high.
    cores: usize,
    /// By thread, as far as they go.
    counts: Box<[Padded<AtomicUsize>]>,
    pause_max: Duration,
    pauses: AtomicUsize,
}

/// The pauses that moves may make.
#[derive(Debug)]
pub(crate) struct Pauses {
    left: usize,
    /// Bytes that were moved since the last.
    bytes: u64,
}

impl Pauses {
    /// Those of one turn, which begins with one.
    pub(crate) fn of_turn() -> Self {
        Self { left: PAUSES_A_TURN, bytes: STEP_BYTES }
    }

    /// For what somebody waits for, such as a checkpoint.
    pub(crate) fn none() -> Self {
        Self { left: 0, bytes: 0 }
    }

    /// Notes that so many bytes were moved.
    pub(crate) fn moved(&mut self, bytes: u64) {
        self.bytes += bytes;
    }
}

/// Counts as an operation until it is dropped.
pub(crate) struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    pub(crate) fn new(cores: usize, pause_max: Duration) -> Self {
        let counts = (0..4 * cores).map(|_| Padded::default()).collect();
        Self { cores, counts, pause_max, pauses: AtomicUsize::new(0) }
    }

    /// Counts an operation that a caller waits for.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        let count = &self.counts[number_of_thread() % self.counts.len()].0;
        count.fetch_add(1, Ordering::Relaxed);
        UnderWay(count)
    }

    fn is_high(&self) -> bool {
        self.counts.iter().map(|count| count.0.load(Ordering::Relaxed)).sum::<usize>() >= self.cores
    }

    /// Whether a move has a step behind it and a pause left, and the load is high.
    pub(crate) fn is_pause_due(&self, pauses: &Pauses) -> bool {
        pauses.left > 0 && pauses.bytes >= STEP_BYTES && self.is_high()
    }

    /// Waits while the load is high, if a pause is due. Call it without any lock that somebody may wait for.
    pub(crate) fn pause(&self, pauses: &mut Pauses, is_urgent: impl Fn() -> bool) {
        if !self.is_pause_due(pauses) || is_urgent() {
            return;
        }
        *pauses = Pauses { left: pauses.left - 1, bytes: 0 };
        self.pauses.fetch_add(1, Ordering::Relaxed);
        let watch = Stopwatch::start();
        while self.is_high() && watch.elapsed() < self.pause_max && !is_urgent() {
            std::thread::sleep(LOOKS_EVERY.min(self.pause_max));
        }
    }

    /// Pauses that have begun.
    #[cfg(test)]
    pub(crate) fn pauses(&self) -> usize {
        self.pauses.load(Ordering::Relaxed)
    }

    /// As many operations as make the load high.
    #[cfg(test)]
    pub(crate) fn rush(&self) -> Vec<UnderWay<'_>> {
        (0..self.cores).map(|_| self.begin()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Load, PAUSES_A_TURN, Pauses, STEP_BYTES};
    use crate::clock::Stopwatch;
    use crate::engine::{Engine, Options};
    use crate::space::{Space, StoreOptions};
    use crate::worker::Task;
    use engram_core::id::SpaceName;
    use engram_core::memory::NewMemory;
    use engram_core::payloads::Tier;
    use engram_storage::cold::{ColdOptions, ColdStore};
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    const CONTENT_BYTES: usize = 1000;

    /// Moves wait as long as the load is high, and there is room for 100 memories in the hot tier.
    fn options(folder: &Path) -> Options {
        Options {
            background_threads: 0,
            hot_bytes_max: 100 * CONTENT_BYTES as u64,
            move_pause_max: Duration::MAX,
            embeds_texts: false,
            ..Options::new(folder)
        }
    }

    fn open(options: Options) -> (Engine, Arc<Space>) {
        let engine = Engine::open(options).unwrap();
        let space = engine.space_or_new(&SpaceName::new("notes").unwrap()).unwrap();
        (engine, space)
    }

    fn store(space: &Arc<Space>, count: usize) {
        let memory =
            |at| NewMemory { content: Some(format!("{at:0CONTENT_BYTES$}")), ..NewMemory::default() };
        space.store((0..count).map(memory).collect(), &StoreOptions::default()).unwrap();
    }

    /// Asks until it is so, for ten seconds at most.
    fn soon(mut is_so: impl FnMut() -> bool) {
        let watch = Stopwatch::start();
        while !is_so() {
            assert!(watch.elapsed() < Duration::from_secs(10), "it is not so after ten seconds");
            std::thread::yield_now();
        }
    }

    /// Begins a turn of moves while the load is high, acts once it pauses, and lets it end.
    fn amid_a_turn(engine: &Engine, space: &Arc<Space>, act: impl FnOnce()) {
        let (load, rush) = (&space.shared.load, space.shared.load.rush());
        std::thread::scope(|scope| {
            let mover = scope.spawn(|| engine.work_off());
            soon(|| load.pauses() == 1);
            act();
            drop(rush);
            mover.join().unwrap();
        });
    }

    #[test]
    fn moves_wait_while_the_load_is_high() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = open(options(folder.path()));
        store(&space, 105);
        amid_a_turn(&engine, &space, || {
            assert_eq!(space.summary().tiers, [105, 0, 0]);
        });
        let [hot, warm, _] = space.summary().tiers;
        assert!(hot <= 100 && hot + warm == 105, "{hot} {warm}");
    }

    #[test]
    fn a_turn_pauses_after_so_many_bytes_and_so_many_times() {
        let load = Load::new(1, Duration::ZERO);
        let rush = load.rush();
        let (mut turn, mut none) = (Pauses::of_turn(), Pauses::none());
        let mut step = || {
            load.pause(&mut turn, || false);
            turn.moved(STEP_BYTES / 4);
        };
        (0..41).for_each(|_| step());
        assert_eq!(load.pauses(), 11, "one at the beginning, and one for each four");
        (0..10 * PAUSES_A_TURN).for_each(|_| step());
        assert_eq!(load.pauses(), PAUSES_A_TURN);
        none.moved(STEP_BYTES);
        load.pause(&mut none, || false);
        assert_eq!(load.pauses(), PAUSES_A_TURN);
        drop(rush);
        load.pause(&mut Pauses::of_turn(), || false);
        assert_eq!(load.pauses(), PAUSES_A_TURN, "the load is low");
    }

    /// Several turns at a time would occupy every background thread, and each would move what is too much.
    #[test]
    fn one_turn_is_enough_and_holds_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = open(options(folder.path()));
        store(&space, 105);
        amid_a_turn(&engine, &space, || {
            store(&space, 3);
            assert!(!space.shared.tasks.has(&Task::Balance));
            // What a snapshot waits for, or a deletion.
            drop(space.placing.try_lock().unwrap());
        });
        let [hot, warm, _] = space.summary().tiers;
        assert!((90..=100).contains(&hot) && hot + warm == 108, "{hot} {warm}");
        store(&space, 10);
        assert!(space.shared.tasks.has(&Task::Balance), "the next one is scheduled");
    }

    #[test]
    fn a_space_is_deleted_while_its_payloads_wait_to_move() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = open(options(folder.path()));
        store(&space, 105);
        amid_a_turn(&engine, &space, || {
            engine.delete_space(space.name()).unwrap();
        });
        assert!(!folder.path().join("spaces/notes").exists());
    }

    #[test]
    fn a_tier_that_is_far_too_full_does_not_wait() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = open(options(folder.path()));
        store(&space, 120);
        let rush = space.shared.load.rush();
        engine.work_off();
        assert_eq!(space.shared.load.pauses(), 0);
        assert!(space.summary().tiers[0] <= 100, "{:?}", space.summary().tiers);
        drop(rush);
    }

    /// What leaves the one tier makes the next fuller.
    #[test]
    fn no_tier_waits_where_one_is_far_too_full() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = format!("file://{}", folder.path().join("cold").display());
        let cold = ColdStore::open(ColdOptions { endpoint, ..ColdOptions::default() }).unwrap();
        let data = folder.path().join("data");
        let (engine, space) = open(options(&data));
        store(&space, 180);
        engine.work_off();
        engine.close().unwrap();
        drop((engine, space));
        // So little too much that the segment that it leaves is not written anew, which is not urgent.
        let warm_bytes_max = 70 * CONTENT_BYTES as u64;
        let (engine, space) = open(Options { warm_bytes_max, cold: Some(Arc::new(cold)), ..options(&data) });
        store(&space, 10);
        let [hot, warm, _] = space.summary().tiers;
        assert!((101..=110).contains(&hot) && warm > 77, "{hot} {warm}");
        let rush = space.shared.load.rush();
        engine.work_off();
        assert_eq!(space.shared.load.pauses(), 0);
        let [hot, warm, _] = space.summary().tiers;
        assert!(hot <= 100 && warm <= 70, "{hot} {warm}");
        drop(rush);
    }

    #[test]
    fn closing_ends_a_pause() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = open(Options { background_threads: 1, ..options(folder.path()) });
        let rush = space.shared.load.rush();
        store(&space, 105);
        soon(|| space.shared.load.pauses() > 0);
        engine.close().unwrap();
        drop(rush);
        let (_engine, space) = open(options(folder.path()));
        assert_eq!(space.summary().memories, 105);
    }

    #[test]
    fn what_is_wanted_in_memory_is_read_where_it_is_until_the_load_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = open(options(folder.path()));
        store(&space, 120);
        engine.work_off();
        let tier = |id| {
            let state = space.read();
            state.record(state.slot(id).unwrap()).tier()
        };
        let id = {
            let state = space.read();
            let warm = state.in_order(None).find(|(_, slot)| state.record(*slot).tier() == Tier::Warm);
            state.record(warm.unwrap().1).facts().id.clone()
        };
        let (load, rush) = (&space.shared.load, space.shared.load.rush());
        assert_eq!(space.get(&id).unwrap().content.unwrap().len(), CONTENT_BYTES);
        std::thread::scope(|scope| {
            let mover = scope.spawn(|| engine.work_off());
            soon(|| load.pauses() == 1);
            assert_eq!(space.get(&id).unwrap().content.unwrap().len(), CONTENT_BYTES);
            assert_eq!(tier(&id), Tier::Warm);
            drop(rush);
            mover.join().unwrap();
        });
        assert_eq!(tier(&id), Tier::Hot);
    }
}
