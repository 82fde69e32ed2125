//! Sleep: a small space that nobody holds and nobody asked for in some time is synced, gets a checkpoint where anything was
//! written since it was opened, and leaves memory; its files are closed. The next request opens it again. What stays of it
//! is its summary, some hundred bytes. Where too many are open, those sleep that were asked for longest ago, small ones
//! first, because they wake fast, then large ones, too. There is one instance of a space at a time: it goes only under the
//! lock of its cell, through which alone it can be had, and only while nobody else has it. What is lost is how often recalls
//! showed its memories since the last checkpoint, as with every end of a process.

use crate::engine::{Shared, close_space};
use crate::error::Result;
use crate::space::{Space, SpaceSummary};
use crate::worker::Task;
use engram_core::id::SpaceName;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Spaces that are open at once. Each has a file open, and most systems give a process 1,024: half of them are left for
/// connections.
pub(crate) const OPEN_MAX: usize = 512;
/// How long a space is not asked for before it sleeps.
pub(crate) const SLEEPS_AFTER: Duration = Duration::from_secs(300);
/// Longest time between two looks at who may sleep.
const LOOKS_EVERY: Duration = Duration::from_secs(30);
/// Shortest.
const LOOKS_AT_MOST_EVERY: Duration = Duration::from_millis(100);
/// Bytes that users gave, up to which a space sleeps without need: it wakes in a fraction of a second.
const SMALL_BYTES_MAX: u64 = 4 << 20;

/// The spaces that sleep, and when others are looked at.
#[derive(Default)]
pub(crate) struct Idle {
    asleep: Mutex<BTreeMap<SpaceName, SpaceSummary>>,
    is_scheduled: AtomicBool,
    /// Held while spaces are put to sleep: one thread is enough.
    looking: Mutex<()>,
}

impl Idle {
    /// What was known of a space when it fell asleep, if it sleeps.
    pub(crate) fn summary(&self, name: &SpaceName) -> Option<SpaceSummary> {
        self.asleep.lock().get(name).cloned()
    }

    /// What was known of all that sleep.
    pub(crate) fn summaries(&self) -> Vec<SpaceSummary> {
        self.asleep.lock().values().cloned().collect()
    }

    /// It falls asleep.
    fn note(&self, space: &Space) {
        if space.is_born() {
            let summary = space.summary();
            let [hot, warm, cold] = summary.tiers;
            let summary = SpaceSummary { tiers: [0, hot + warm, cold], ..summary };
            self.asleep.lock().insert(space.name().clone(), summary);
        }
    }

    /// It was opened or erased.
    pub(crate) fn forget(&self, name: &SpaceName) {
        self.asleep.lock().remove(name);
    }
}

/// Looks regularly who may sleep, until the engine is gone.
pub(crate) fn look_regularly(shared: &Weak<Shared>, sleeps_after: Duration) {
    loop {
        std::thread::sleep((sleeps_after / 2).clamp(LOOKS_AT_MOST_EVERY, LOOKS_EVERY));
        let Some(shared) = shared.upgrade() else { return };
        shared.schedule_sleep();
    }
}

impl Shared {
    fn schedule_sleep(&self) {
        if !self.idle.is_scheduled.swap(true, Ordering::AcqRel) {
            self.schedule(Task::Sleep);
        }
    }

    /// Sees to it that not too many spaces stay open. Whoever opens them faster than others fall asleep does it himself.
    pub(crate) fn bound_open_spaces(&self) {
        let (open, max) = (self.spaces.lock().len(), self.options.spaces_open_max);
        if open > max.saturating_add(max / 4) {
            self.sleep_some();
        } else if open > max {
            self.schedule_sleep();
        }
    }

    /// Puts those spaces to sleep that nobody asks for, and more where too many are open.
    pub(crate) fn sleep_some(&self) {
        self.idle.is_scheduled.store(false, Ordering::Release);
        let Some(_alone) = self.idle.looking.try_lock() else { return };
        let now = self.options.clock.now().0;
        let sleeps_after = i64::try_from(self.options.spaces_sleep_after.as_micros()).unwrap_or(i64::MAX);
        let idle_since = now.saturating_sub(sleeps_after);
        let mut open: Vec<(bool, i64, SpaceName)> = Vec::new();
        for space in self.open_spaces() {
            let is_large = space.read().data_bytes() > SMALL_BYTES_MAX;
            open.push((is_large, space.asked_at(now), space.name().clone()));
        }
        open.sort();
        let max = self.options.spaces_open_max;
        // Some more than needed, so that the next one does not come at once.
        let needed = if open.len() > max { open.len() - (max - max / 16) } else { 0 };
        let mut asleep = 0;
        for (is_large, asked_at, name) in open {
            let is_needed = asleep < needed;
            if is_needed || !is_large && asked_at <= idle_since {
                let may_sleep = if is_needed { is_free } else { is_idle };
                match self.put_to_sleep(&name, may_sleep) {
                    Ok(sleeps) => asleep += usize::from(sleeps),
                    Err(error) => tracing::error!(space = name.as_str(), %error, "cannot put it to sleep"),
                }
            }
        }
    }

    /// Closes a space that is open and that may sleep. Returns whether there was such a one. After an error it is open.
    fn put_to_sleep(&self, name: &SpaceName, may_sleep: fn(&Arc<Space>) -> bool) -> Result<bool> {
        let Some(cell) = self.spaces.lock().get(name).cloned() else { return Ok(false) };
        let Some(mut held) = cell.try_lock() else { return Ok(false) };
        let Some(space) = held.as_ref().filter(|space| may_sleep(space)) else { return Ok(false) };
        // One whose deletion failed says so for as long as it is there.
        if space.check_open().is_err() {
            return Ok(false);
        }
        // Also while it is closed: it is in one list at least.
        self.idle.note(space);
        if let Err(error) = close_space(space) {
            self.idle.forget(name);
            return Err(error);
        }
        self.idle.note(space);
        *held = None;
        drop(held);
        drop(cell);
        self.drop_empty(name);
        Ok(true)
    }
}

/// Whether nobody has it but its cell.
fn is_free(space: &Arc<Space>) -> bool {
    Arc::strong_count(space) == 1
}

/// And no work in the background waits for it, which would have to be done again when it wakes.
fn is_idle(space: &Arc<Space>) -> bool {
    let is_named = |flag: &AtomicBool| flag.load(Ordering::Acquire);
    is_free(space) && !is_named(&space.indexing_scheduled) && !is_named(&space.checkpoint_scheduled)
}
