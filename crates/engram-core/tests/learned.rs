//! What use teaches: it converges to how often memories are used together, has a direction, and can be taken back.

use engram_core::Slot;
use engram_core::id::Timestamp;
use engram_core::learned::{Learned, PAIRS_MAX, TOGETHER_MAX, TRIALS_MAX, Used, one_more_trial};
use std::cell::RefCell;
use std::collections::HashMap;

/// Associations beside the trials that a state would count.
#[derive(Default)]
struct Taught {
    learned: Learned,
    trials: RefCell<HashMap<u64, u16>>,
    version: u64,
    now: i64,
}

impl Taught {
    /// Uses these memories, `seconds` after the use before.
    fn used(&mut self, seconds: i64, arrivals: &[u64]) {
        self.version += 1;
        self.now += seconds * 1_000_000;
        for arrival in arrivals {
            let mut trials = self.trials.borrow_mut();
            let trials = trials.entry(*arrival).or_default();
            *trials = one_more_trial(*trials);
        }
        let used = |arrival: u64| {
            let trials = self.trials.borrow().get(&arrival).copied().unwrap_or(0);
            Used { arrival, slot: arrival as Slot, trials }
        };
        let members: Vec<Used> = arrivals.iter().map(|&arrival| used(arrival)).collect();
        self.learned.learn(self.version, Timestamp(self.now), &members, |arrival| Some(used(arrival)));
    }

    fn weight(&self, from: Slot, to: Slot) -> f64 {
        self.learned.of(from).find(|(slot, _)| *slot == to).map_or(0.0, |(_, weight)| weight)
    }
}

const HOUR: i64 = 3600;

#[test]
fn a_weight_converges_to_the_share_of_uses_that_the_other_took_part_in() {
    for share in [0.1, 0.3, 0.5, 0.8, 1.0] {
        let mut taught = Taught::default();
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            if rng.f64() < share { taught.used(HOUR, &[1, 2]) } else { taught.used(HOUR, &[1]) }
        }
        assert!((taught.weight(1, 2) - share).abs() < 0.05, "{share}: {}", taught.weight(1, 2));
        // The other was never used alone.
        assert!(taught.weight(2, 1) > 0.94, "{share}: {}", taught.weight(2, 1));
    }
}

#[test]
fn a_sequence_leads_forwards() {
    let mut taught = Taught::default();
    for _ in 0..20 {
        taught.used(HOUR, &[1]);
        taught.used(5, &[2]);
        taught.used(5, &[3]);
    }
    assert!(taught.weight(1, 2) > 0.9, "{}", taught.weight(1, 2));
    assert!(taught.weight(1, 2) >= 3.0 * taught.weight(2, 1));
    assert!(taught.weight(2, 3) >= 3.0 * taught.weight(3, 2));
    assert_eq!(taught.weight(1, 3), 0.0, "only what comes next");
}

#[test]
fn weights_stay_bounded_and_follow_a_change_of_habit() {
    let mut taught = Taught::default();
    for _ in 0..100_000 {
        taught.used(HOUR, &[1, 2]);
    }
    assert!(taught.weight(1, 2) <= 1.0 && taught.weight(1, 2) > 0.99);
    for _ in 0..u32::from(TRIALS_MAX) * 3 {
        taught.used(HOUR, &[1, 3]);
    }
    assert!(taught.weight(1, 3) > 0.9, "{}", taught.weight(1, 3));
    assert!(taught.weight(1, 2) < 0.1, "{}", taught.weight(1, 2));
}

#[test]
fn a_memory_keeps_its_strongest_associations() {
    let mut taught = Taught::default();
    for _ in 0..3 {
        taught.used(HOUR, &[1, 2]);
    }
    for other in 10..200 {
        taught.used(HOUR, &[1, other]);
    }
    assert_eq!(taught.learned.of(1).count(), PAIRS_MAX);
    assert!(taught.weight(1, 2) > 0.0, "what was seen most is kept");
    assert!(taught.weight(1, 199) > 0.0, "what is new is taken in");
}

#[test]
fn a_crowd_teaches_nothing() {
    let mut taught = Taught::default();
    taught.used(0, &(0..=TOGETHER_MAX as u64).collect::<Vec<_>>());
    taught.used(1, &[500]);
    assert!(taught.learned.is_empty());
}

#[test]
fn what_is_forgotten_leaves_as_if_it_had_never_been_used() {
    let (mut with, mut without) = (Taught::default(), Taught::default());
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..300 {
        let seconds = rng.i64(1..2000);
        let mut members: Vec<u64> = (1..8).filter(|_| rng.bool()).collect();
        with.used(seconds, &members);
        members.retain(|&member| member != 5);
        without.used(seconds, &members);
    }
    with.learned.forget(u64::MAX, 5);
    without.learned.forget(u64::MAX, 5);
    assert!(!with.learned.is_empty());
    let rows = |taught: &Taught| {
        let mut rows = taught.learned.rows();
        rows.iter_mut().for_each(|row| row.pairs.sort_unstable());
        rows
    };
    // One difference is right: a use with nobody but the one that is gone was a use all the same.
    assert_eq!(rows(&with), rows(&without));
    assert_eq!(with.learned.last().arrivals, without.learned.last().arrivals);
}

#[test]
fn rows_come_back_and_lead_where_memories_are_placed() {
    let mut taught = Taught::default();
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..100 {
        let members: Vec<u64> = (1..10).filter(|_| rng.u8(0..4) == 0).collect();
        taught.used(rng.i64(1..2000), &members);
    }
    let mut restored = Learned::default();
    let rows = taught.learned.rows();
    let (first, second) = rows.split_at(4);
    for some in [first, second] {
        restored.restore(taught.learned.last().clone(), some);
    }
    (1..10).filter(|arrival| arrival % 2 == 0).for_each(|arrival| restored.place(arrival, arrival as Slot));
    let half: usize = (1..10).map(|slot| restored.of(slot).count()).sum();
    assert!(half > 0 && half < restored.len(), "only what is placed is given: {half}");
    (1..10).for_each(|arrival| restored.place(arrival, arrival as Slot));
    assert_eq!((restored.rows(), restored.last()), (rows, taught.learned.last()));
    for slot in 1..10 {
        assert_eq!(
            restored.of(slot).collect::<Vec<_>>(),
            taught.learned.of(slot).collect::<Vec<_>>(),
            "of {slot}"
        );
    }
}

#[test]
fn a_version_is_learned_from_once() {
    let mut taught = Taught::default();
    taught.used(1, &[1, 2]);
    let before = taught.learned.rows();
    taught.version -= 1;
    taught.used(1, &[1, 3]);
    taught.learned.forget(1, 1);
    assert_eq!(taught.learned.rows(), before);
}
