//! How busy this process is with what callers wait for. Whoever moves payloads in the background does so in small steps,
//! and pauses between them while as many operations are under way as there are cores: a step then takes some hundredths of
//! the time. A pause ends when the load does, when the move has become urgent, or after a while: background threads have
//! other work, too. Counts lie on cache lines of their own, as the gates of `sharded` do.

use crate::clock::Stopwatch;
use crate::sharded::{Padded, number_of_thread};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// The longest pause between two steps of a move. With steps of a fifth of a megabyte, 20 MB move in a second of load.
pub(crate) const PAUSE_MAX: Duration = Duration::from_millis(10);
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

    /// Waits while the load is high. Call it without the lock of a state.
    pub(crate) fn pause(&self, is_urgent: impl Fn() -> bool) {
        if !self.is_high() || is_urgent() {
            return;
        }
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
    use crate::clock::Stopwatch;
    use crate::engine::{Engine, Options};
    use crate::space::{Space, StoreOptions};
    use engram_core::id::SpaceName;
    use engram_core::memory::NewMemory;
    use engram_core::payloads::Tier;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    const CONTENT_BYTES: usize = 1000;

    /// An engine whose moves wait as long as the load is high, with room for 100 memories in its hot tier.
    fn open(folder: &Path, background_threads: usize) -> (Engine, Arc<Space>) {
        let options = Options {
            background_threads,
            hot_bytes_max: 100 * CONTENT_BYTES as u64,
            move_pause_max: Duration::MAX,
            embeds_texts: false,
            ..Options::new(folder)
        };
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

    #[test]
    fn moves_wait_while_the_load_is_high() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = open(folder.path(), 0);
        store(&space, 105);
        let (load, rush) = (&space.shared.load, space.shared.load.rush());
        std::thread::scope(|scope| {
            let mover = scope.spawn(|| engine.work_off());
            soon(|| load.pauses() == 1);
            assert_eq!(space.summary().tiers, [105, 0, 0]);
            drop(rush);
            mover.join().unwrap();
        });
        let [hot, warm, _] = space.summary().tiers;
        assert!(hot <= 100 && hot + warm == 105, "{hot} {warm}");
    }

    #[test]
    fn a_tier_that_is_far_too_full_does_not_wait() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = open(folder.path(), 0);
        store(&space, 120);
        let rush = space.shared.load.rush();
        engine.work_off();
        assert_eq!(space.shared.load.pauses(), 0);
        assert!(space.summary().tiers[0] <= 100, "{:?}", space.summary().tiers);
        drop(rush);
    }

    #[test]
    fn closing_ends_a_pause() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = open(folder.path(), 1);
        let rush = space.shared.load.rush();
        store(&space, 105);
        soon(|| space.shared.load.pauses() > 0);
        engine.close().unwrap();
        drop(rush);
        let (_engine, space) = open(folder.path(), 0);
        assert_eq!(space.summary().memories, 105);
    }

    #[test]
    fn what_is_wanted_in_memory_is_read_where_it_is_until_the_load_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, space) = open(folder.path(), 0);
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
