//! ACT-R's equations of declarative memory: how active a chunk is by its uses and by what is attended to, how likely that
//! is to bring it to mind, and how fast. Functions of plain numbers; times are seconds, activations natural logarithms of
//! odds. Forgetting by ACT-R's law rests on `base_level`; `engram validate` holds the others against published data.
//! Anderson & Lebiere 1998; Petrov 2006; defaults and golden values as in ACT-R 7's reference implementation.

/// Decay of a single use, ACT-R's `:bll`.
pub const DECAY: f64 = 0.5;
/// Seconds below which a use counts as just now, for its activation has no bound.
pub const SECONDS_MIN: f64 = 1.0;

/// Base-level activation of `uses` uses, the newest `newest` and the first `first` seconds ago, in Petrov's hybrid form:
/// the newest use exactly, the others as if spread evenly from the first on. Needs three numbers however many uses.
pub fn base_level(uses: u32, newest: f64, first: f64) -> f64 {
    let newest = newest.max(SECONDS_MIN);
    let mut sum = newest.powf(-DECAY);
    let (others, span) = (f64::from(uses.saturating_sub(1)), first - newest);
    if others > 0.0 {
        let rest = 1.0 - DECAY;
        // Uses that lie together count as one after the other at the same time.
        sum += others
            * if span > 1e-6 * newest {
                (first.powf(rest) - newest.powf(rest)) / (rest * span)
            } else {
                newest.powf(-DECAY)
            };
    }
    sum.ln()
}

/// Base-level activation of uses so many seconds ago, each counted exactly: `ln sum t^-d`. What `base_level` stands for;
/// costs a term a use. Minus infinity without uses.
pub fn base_level_exact(seconds_ago: &[f64]) -> f64 {
    seconds_ago.iter().map(|ago| ago.max(SECONDS_MIN).powf(-DECAY)).sum::<f64>().ln()
}

/// Strength of association from a source to a chunk that holds it: `S - ln fan`. `strongest` is `:mas`; `fan` (at least
/// 1) counts the chunks that hold the source, itself included. Below 0 the source inhibits.
pub fn association(strongest: f64, fan: usize) -> f64 {
    strongest - (fan.max(1) as f64).ln()
}

/// Probability, 0..=1, that a chunk so active comes to mind. `noise` (above 0) is `:ans`, `threshold` is `:rt`.
pub fn recall_probability(activation: f64, threshold: f64, noise: f64) -> f64 {
    1.0 / (1.0 + ((threshold - activation) / noise).exp())
}

/// Seconds until a chunk so active comes to mind: `F e^-A`. `factor` (above 0) is `:lf`.
pub fn latency(activation: f64, factor: f64) -> f64 {
    factor * (-activation).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: f64, expected: f64, what: &str) {
        assert!((got - expected).abs() < 1e-6, "{what}: {got} instead of {expected}");
    }

    #[test]
    fn base_levels_have_their_golden_values() {
        // Uses 10, 100 and 1000 seconds ago.
        near(base_level_exact(&[10.0, 100.0, 1000.0]), -0.803296, "exact");
        near(base_level(3, 10.0, 1000.0), -0.841138, "hybrid");
        near(base_level(1, 100.0, 100.0), base_level_exact(&[100.0]), "one use");
        near(base_level(2, 100.0, 100.0), base_level_exact(&[100.0, 100.0]), "two at once");
        assert!(base_level(1, 0.0, 0.0).is_finite() && base_level_exact(&[0.0]).is_finite());
        assert_eq!(base_level_exact(&[]), f64::NEG_INFINITY);
    }

    #[test]
    fn associations_fall_with_the_fan() {
        let golden = [(1, 2.0), (2, 1.306853), (3, 0.901388), (10, -0.302585)];
        for (fan, expected) in golden {
            near(association(2.0, fan), expected, &format!("fan {fan}"));
        }
        assert_eq!(association(2.0, 0), 2.0);
    }

    #[test]
    fn activation_gives_probability_and_latency() {
        let golden = [(-1.0, 0.017986, std::f64::consts::E), (0.0, 0.5, 1.0), (1.0, 0.982014, 0.367879)];
        for (activation, probability, seconds) in golden {
            near(recall_probability(activation, 0.0, 0.25), probability, "probability");
            near(latency(activation, 1.0), seconds, "latency");
        }
    }
}
