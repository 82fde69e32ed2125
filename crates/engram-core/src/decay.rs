//! Forgetting and strengthening: how likely a memory is still remembered, computed when asked from a few numbers and
//! never by a job that rewrites memories; and what using it does to these numbers. FSRS-6 (py-fsrs with its default
//! parameters), and ACT-R's base-level activation in Petrov's hybrid form (2006) with the newest use exact.

use crate::actr::{base_level, recall_probability};
use crate::id::Timestamp;
use std::num::NonZeroU32;

/// FSRS-6's parameters w0..w20, py-fsrs' defaults.
const W: [f64; 21] = [
    0.212, 1.2931, 2.3065, 8.2956, 6.4133, 0.8334, 3.0194, 0.001, 1.8722, 0.1666, 0.796, 1.4835, 0.0614,
    0.2629, 1.6483, 0.6014, 1.8729, 0.5425, 0.0912, 0.0658, 0.1542,
];
/// Bounds of a difficulty.
const DIFFICULTY: (f64, f64) = (1.0, 10.0);
/// Days below which no stability falls.
const STABILITY_DAYS_MIN: f64 = 0.001;
/// A century: what is remembered longer is remembered.
const STABILITY_DAYS_MAX: f64 = 36_500.0;

/// Base-level activation, time in seconds, at which a memory is as likely remembered as not; with `ACTR_NOISE` fitted to
/// Ebbinghaus's savings (Murre & Dros 2015; R^2 .95).
const ACTR_THRESHOLD: f64 = -3.95;
/// Slope of recall over activation.
const ACTR_NOISE: f64 = 2.4;

const SECONDS_A_DAY: f64 = 86_400.0;

/// By which law a space forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DecayLaw {
    /// The power law of FSRS-6, with its stability and difficulty.
    #[default]
    Fsrs6,
    /// ACT-R's base-level activation, as a probability: the more uses and the nearer, the likelier.
    ActR,
    /// It does not.
    None,
}

/// From which of a memory's times forgetting counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DecayFrom {
    /// When Engram was told.
    #[default]
    StoredAt,
    /// When it happened.
    OccurredAt,
}

/// How a use of a memory went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was recalled and served. FSRS's grade 3, good.
    Used,
    /// It was found to be true. Grade 3, too: being right does not make a fact easier to recall.
    Confirmed,
    /// It was found to be wrong. Grade 1, again.
    Contradicted,
}

impl Outcome {
    /// FSRS's grade: 1 again, 2 hard, 3 good, 4 easy.
    fn grade(self) -> u8 {
        match self {
            Self::Used | Self::Confirmed => 3,
            Self::Contradicted => 1,
        }
    }
}

/// How well a memory is learned: 24 bytes, from which its retrievability follows at any time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Strength {
    /// Days after the newest use until FSRS's retrievability is .9; above 0.
    pub stability_days: f32,
    /// How hard it is to strengthen, 1..=10.
    pub difficulty: f32,
    /// The newest use; learning it is the first.
    pub used_at: Timestamp,
    /// Uses, learning it included.
    pub uses: NonZeroU32,
}

impl Strength {
    /// Of a memory that was learned at `at`, and not used since.
    pub fn learned(at: Timestamp) -> Self {
        Self::first(at, 3)
    }

    fn first(at: Timestamp, grade: u8) -> Self {
        Self {
            stability_days: W[grade as usize - 1] as f32,
            difficulty: bounded(difficulty_first(grade)) as f32,
            used_at: at,
            uses: NonZeroU32::MIN,
        }
    }

    /// After a use at `at`. A use long after the one before strengthens more; one within the day hardly does; one that
    /// contradicts it is no use: it cuts stability, and takes a use away. A clock that went back counts as no time.
    pub fn used(self, at: Timestamp, outcome: Outcome) -> Self {
        let reviewed = self.reviewed(at, outcome.grade());
        match outcome {
            Outcome::Used | Outcome::Confirmed => reviewed,
            Outcome::Contradicted => {
                let uses = NonZeroU32::new(self.uses.get() - 1).unwrap_or(NonZeroU32::MIN);
                let stability_days = reviewed.stability_days.min(self.stability_days);
                Self { used_at: self.used_at, uses, stability_days, ..reviewed }
            }
        }
    }

    fn reviewed(self, at: Timestamp, grade: u8) -> Self {
        let days = at.days_since(self.used_at).max(0.0);
        let (stability, difficulty) = (f64::from(self.stability_days), f64::from(self.difficulty));
        let next = if days < 1.0 {
            stability_same_day(stability, grade)
        } else {
            let retrievability = fsrs(days, stability);
            match grade {
                1 => stability_forgotten(stability, difficulty, retrievability),
                _ => stability_recalled(stability, difficulty, retrievability, grade),
            }
        };
        Self {
            stability_days: next.clamp(STABILITY_DAYS_MIN, STABILITY_DAYS_MAX) as f32,
            difficulty: difficulty_next(difficulty, grade) as f32,
            used_at: at.max(self.used_at),
            uses: self.uses.saturating_add(1),
        }
    }

    /// Probability, 0..=1, of recalling it at `now`. `learned` is when it was first learned.
    pub fn retrievability(&self, law: DecayLaw, learned: Timestamp, now: Timestamp) -> f64 {
        match law {
            DecayLaw::None => 1.0,
            DecayLaw::Fsrs6 => fsrs(now.days_since(self.used_at).max(0.0), f64::from(self.stability_days)),
            DecayLaw::ActR => {
                let ago = |then: Timestamp| now.days_since(then) * SECONDS_A_DAY;
                let level = base_level(self.uses.get(), ago(self.used_at), ago(learned));
                recall_probability(level, ACTR_THRESHOLD, ACTR_NOISE)
            }
        }
    }
}

/// `0.9^(-1/w20) - 1`, so that retrievability is .9 after as many days as the stability has.
const FACTOR: f64 = 0.980_346_494_413_479_7;

/// FSRS-6: `R = (1 + F t / S)^-w20`, `F = 0.9^(-1/w20) - 1`; R is .9 after S days.
fn fsrs(elapsed_days: f64, stability_days: f64) -> f64 {
    (1.0 + FACTOR * elapsed_days / stability_days).powf(-W[20])
}

fn stability_recalled(stability: f64, difficulty: f64, retrievability: f64, grade: u8) -> f64 {
    let by_grade = match grade {
        2 => W[15],
        4 => W[16],
        _ => 1.0,
    };
    let growth = W[8].exp()
        * (11.0 - difficulty)
        * stability.powf(-W[9])
        * ((W[10] * (1.0 - retrievability)).exp() - 1.0)
        * by_grade;
    stability * (1.0 + growth)
}

fn stability_forgotten(stability: f64, difficulty: f64, retrievability: f64) -> f64 {
    let relearned = W[11]
        * difficulty.powf(-W[12])
        * ((stability + 1.0).powf(W[13]) - 1.0)
        * (W[14] * (1.0 - retrievability)).exp();
    relearned.min(stability / (W[17] * W[18]).exp())
}

fn stability_same_day(stability: f64, grade: u8) -> f64 {
    let factor = (W[17] * (f64::from(grade) - 3.0 + W[18])).exp() * stability.powf(-W[19]);
    stability * if grade >= 3 { factor.max(1.0) } else { factor }
}

fn difficulty_first(grade: u8) -> f64 {
    W[4] - (W[5] * (f64::from(grade) - 1.0)).exp() + 1.0
}

fn difficulty_next(difficulty: f64, grade: u8) -> f64 {
    let change = -W[6] * (f64::from(grade) - 3.0);
    let damped = difficulty + change * (10.0 - difficulty) / 9.0;
    bounded(W[7] * difficulty_first(4) + (1.0 - W[7]) * damped)
}

fn bounded(difficulty: f64) -> f64 {
    difficulty.clamp(DIFFICULTY.0, DIFFICULTY.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(days: f64) -> Timestamp {
        Timestamp((days * 86_400e6) as i64)
    }

    fn near(got: f64, expected: f64, precision: f64, what: &str) {
        assert!((got - expected).abs() < precision, "{what}: {got} instead of {expected}");
    }

    #[test]
    fn fsrs_has_its_golden_values() {
        // py-fsrs with its default parameters.
        let golden = [
            (0.0, 1.0),
            (0.5, 0.940344),
            (1.0, 0.9),
            (2.0, 0.845885),
            (5.0, 0.760528),
            (10.0, 0.692827),
            (100.0, 0.492322),
            (1000.0, 0.345669),
        ];
        for (ratio, expected) in golden {
            near(fsrs(ratio * 3.0, 3.0), expected, 1e-6, &format!("t/S {ratio}"));
        }
        near(FACTOR, 0.9f64.powf(-1.0 / W[20]) - 1.0, 1e-15, "the factor");
    }

    #[test]
    fn reviews_have_their_golden_values() {
        // py-fsrs with learning steps off, reviews three and then ten days apart.
        let golden = [
            ([3, 3, 3], [(2.3065, 2.1181), (13.8269, 2.1112), (47.452, 2.1043)]),
            ([3, 1, 3], [(2.3065, 2.1181), (0.6369, 7.3945), (5.8139, 7.3823)]),
            ([2, 3, 3], [(1.2931, 5.1122), (8.0432, 5.1023), (29.0584, 5.0924)]),
            ([4, 4, 4], [(8.2956, 1.0), (34.6143, 1.0), (105.8136, 1.0)]),
        ];
        for (grades, expected) in golden {
            let mut strength = Strength::first(day(0.0), grades[0]);
            for (at, (stability, difficulty)) in expected.into_iter().enumerate() {
                if at > 0 {
                    strength = strength.reviewed(day([3.0, 13.0][at - 1]), grades[at]);
                }
                near(f64::from(strength.stability_days), stability, 1e-3, "stability");
                near(f64::from(strength.difficulty), difficulty, 1e-3, "difficulty");
            }
        }
    }

    #[test]
    fn what_is_confirmed_a_hundred_times_in_a_day_does_not_become_immortal() {
        let mut massed = Strength::learned(day(0.0));
        let mut spaced = massed;
        for at in 1..=100 {
            massed = massed.used(day(f64::from(at) / 200.0), Outcome::Confirmed);
        }
        for at in [3.0, 10.0, 30.0] {
            spaced = spaced.used(day(at), Outcome::Confirmed);
        }
        assert!(massed.stability_days < 10.0, "{massed:?}");
        assert!(spaced.stability_days > 5.0 * massed.stability_days, "{spaced:?} {massed:?}");
        let wrong = spaced.used(day(60.0), Outcome::Contradicted);
        assert!(wrong.stability_days < spaced.stability_days / 4.0, "{wrong:?}");
        for law in [DecayLaw::Fsrs6, DecayLaw::ActR] {
            let at = |strength: &Strength| strength.retrievability(law, day(0.0), day(61.0));
            assert!(at(&wrong) < at(&spaced), "{law:?}");
            let learned = Strength::learned(day(0.0));
            let wrong_at_once = learned.used(day(60.0), Outcome::Contradicted);
            assert!(at(&wrong_at_once) <= at(&learned), "{law:?}");
        }
    }

    #[test]
    fn laws_fall_with_time_and_a_clock_that_went_back_does_not_raise_them() {
        let learned = day(10.0);
        let strength = Strength::learned(learned).used(day(12.0), Outcome::Used);
        for law in [DecayLaw::Fsrs6, DecayLaw::ActR] {
            let at = |days: f64| strength.retrievability(law, learned, day(days));
            assert!(at(12.1) > at(13.0) && at(13.0) > at(400.0) && at(400.0) > 0.0, "{law:?}");
            assert!(at(5.0) <= 1.0 && at(5.0) >= at(12.0), "{law:?}");
        }
        assert_eq!(strength.retrievability(DecayLaw::None, learned, day(1e4)), 1.0);
        let back = strength.used(day(1.0), Outcome::Used);
        assert_eq!(back.used_at, strength.used_at);
    }
}
