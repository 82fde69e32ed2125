//! Where payloads lie. A memory's payload is its content and its vector as given; all else of it is always in memory. A
//! payload is hot (in memory), warm (in a region: bytes that can be read as if they were memory, such as a mapped file) or
//! cold (away: whoever wants it has to bring it). What is hot may have a home in a region or away, too, and can then be
//! dropped without loss; what has none lives in the log, or the checkpoint, and stays hot.

use crate::Slot;
use rustc_hash::FxHashMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Where a payload is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Tier {
    /// Memory.
    Hot,
    /// A region.
    Warm,
    /// Away.
    Cold,
}

impl Tier {
    /// All, the nearest first.
    pub const ALL: [Self; 3] = [Self::Hot, Self::Warm, Self::Cold];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Warm => "warm",
            Self::Cold => "cold",
        }
    }
}

/// Where a payload is kept, whether it is hot or not. Ordered as it is read fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Home {
    /// The log, or the checkpoint that stands for it.
    #[default]
    Log,
    /// A region, by number, and where in it.
    Region {
        /// Which.
        region: u32,
        /// Where.
        at: u32,
    },
    /// A cold file, by number, and the row in it.
    Away {
        /// Which.
        file: u32,
        /// Which row.
        row: u32,
    },
}

impl Home {
    /// The tier of what is not hot.
    pub fn tier(self) -> Tier {
        match self {
            Self::Log => Tier::Hot,
            Self::Region { .. } => Tier::Warm,
            Self::Away { .. } => Tier::Cold,
        }
    }
}

/// A payload has a new home.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    /// The memory, by its arrival.
    pub arrival: u64,
    /// The version whose payload it is.
    pub version: u64,
    /// Where it is kept from now on.
    pub home: Home,
}

/// Payloads that move together.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Moves {
    /// The number and the name of the cold file that some of them move to.
    pub file: Option<(u32, String)>,
    /// Which.
    pub moves: Vec<Move>,
}

/// A payload that has to be brought before it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Away(pub Slot);

/// Bytes that payloads lie in and that never change. Reading may touch a disk, and checks what it reads for the first
/// time: what is damaged is not given.
pub trait Region: Send + Sync + Debug {
    /// The vector at a place.
    fn row(&self, at: u32) -> Option<&[f32]>;
    /// The text at a place.
    fn content(&self, at: u32) -> Option<&str>;
}

/// Regions by number.
#[derive(Debug, Clone, Default)]
pub struct Regions(FxHashMap<u32, Arc<dyn Region>>);

impl Regions {
    /// Adds one.
    pub fn insert(&mut self, number: u32, region: Arc<dyn Region>) {
        self.0.insert(number, region);
    }

    /// Removes one; what lies in it cannot be read from now on.
    pub fn remove(&mut self, number: u32) {
        self.0.remove(&number);
    }

    /// Whether it is there.
    pub fn has(&self, number: u32) -> bool {
        self.0.contains_key(&number)
    }

    pub(crate) fn row(&self, region: u32, at: u32, dimensions: usize) -> Option<&[f32]> {
        self.0.get(&region)?.row(at).filter(|row| row.len() == dimensions)
    }

    pub(crate) fn content(&self, region: u32, at: u32) -> Option<&str> {
        self.0.get(&region)?.content(at)
    }
}

/// Steps of heat that a half-life has.
const STEPS_A_HALF_LIFE: f64 = 4096.0;
/// Fetches of payloads, for each memory there is, after which a fetch counts half. By simulation of Zipf's law with an
/// exponent of 1.2: 1 to 4 serve within .1 % of one another, less forgets what is popular, more is slow to learn.
const HALF_LIFE_FETCHES: f64 = 4.0;

/// The time by which payloads cool: it passes with fetches, not with hours, so that a quiet night forgets nothing. Shared
/// by the spaces whose payloads compete.
#[derive(Debug, Default)]
pub struct HeatClock {
    /// In steps, times 2^32.
    now: AtomicU64,
    memories: AtomicU64,
}

impl HeatClock {
    /// Steps so far.
    pub fn now(&self) -> u32 {
        (self.now.load(Ordering::Relaxed) >> 32) as u32
    }

    /// Tells how many memories compete.
    pub fn set_memories(&self, memories: u64) {
        self.memories.store(memories, Ordering::Relaxed);
    }

    /// Not before this: heat that was saved in another process lies before now.
    pub fn advance_to(&self, steps: u32) {
        self.now.fetch_max(u64::from(steps) << 32, Ordering::Relaxed);
    }

    /// Passes by one fetch, and returns the steps so far.
    fn tick(&self) -> u32 {
        let memories = self.memories.load(Ordering::Relaxed).max(1000) as f64;
        let step = STEPS_A_HALF_LIFE / (HALF_LIFE_FETCHES * memories) * f64::from(u32::MAX);
        ((self.now.fetch_add(step as u64, Ordering::Relaxed) + step as u64) >> 32) as u32
    }
}

/// How often and how recently a payload was fetched: the time at which its count, of which half is lost in each half-life,
/// falls to 1. In closed form, and in an order that does not change as time passes, so nothing has to be looked at again
/// but what was fetched (LRFU, Lee et al. 2001; the base level of ACT-R with an exponential in place of the power).
#[derive(Debug, Default)]
pub struct Heat(AtomicU32);

impl Heat {
    /// As it was saved.
    pub fn saved(steps: u32) -> Self {
        Self(AtomicU32::new(steps))
    }

    /// Of a payload that just came.
    pub(crate) fn new(clock: &HeatClock) -> Self {
        Self::saved(clock.now())
    }

    /// The steps of the clock until which it is warm.
    pub fn until(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts a fetch.
    pub(crate) fn fetch(&self, clock: &HeatClock) {
        let now = clock.tick();
        let ahead = (f64::from(self.until()) - f64::from(now)) / STEPS_A_HALF_LIFE;
        let until = f64::from(now) + STEPS_A_HALF_LIFE * (ahead.exp2() + 1.0).log2();
        self.0.store(until as u32, Ordering::Relaxed);
    }
}

impl Clone for Heat {
    fn clone(&self) -> Self {
        Self::saved(self.until())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_is_the_time_until_which_a_decaying_count_is_above_one() {
        let clock = HeatClock::default();
        clock.set_memories(1000);
        clock.advance_to(100_000);
        let (once, often) = (Heat::new(&clock), Heat::new(&clock));
        once.fetch(&clock);
        (0..7).for_each(|_| often.fetch(&clock));
        // Eight counts, the first of them from coming, are one after three half-lives.
        let steps = |heat: &Heat| f64::from(heat.until() - 100_000);
        assert!((steps(&once) - 4096.0).abs() < 30.0, "{}", steps(&once));
        assert!((steps(&often) - 3.0 * 4096.0).abs() < 60.0, "{}", steps(&often));
        // After a half-life of 4,000 fetches, half of the count is left.
        for _ in 0..4000 {
            clock.tick();
        }
        let now = f64::from(clock.now());
        let left = ((f64::from(often.until()) - now) / 4096.0).exp2();
        assert!((left - 4.0).abs() < 0.05, "{left}");
        let long_ago = Heat::saved(0);
        long_ago.fetch(&clock);
        assert!((f64::from(long_ago.until()) - now).abs() < 3.0, "what was long ago counts no more");
    }
}
