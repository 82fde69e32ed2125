//! Forgetting: how likely a memory is still remembered, computed when asked from a few numbers and never by a job that
//! rewrites memories.

/// FSRS-6 exponent (`w20` of py-fsrs' default parameters).
const FSRS_EXPONENT: f64 = 0.1542;
/// Stability of a memory that was stored once and never used since: FSRS-6's `w2`, a first review that went well.
pub const STABILITY_DAYS_FIRST: f64 = 2.3065;

/// By which law a space forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DecayLaw {
    /// The power law of FSRS-6.
    #[default]
    Fsrs6,
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

/// Probability, 0..=1, of recalling a memory `elapsed_days` after it was last learned. `stability_days` (> 0) is the
/// time until it is 0.9. FSRS-6: `R = (1 + F t / S)^-w20`, `F = 0.9^(-1/w20) - 1`.
pub fn retrievability(law: DecayLaw, elapsed_days: f64, stability_days: f64) -> f64 {
    match law {
        DecayLaw::None => 1.0,
        DecayLaw::Fsrs6 => {
            let factor = 0.9f64.powf(-1.0 / FSRS_EXPONENT) - 1.0;
            (1.0 + factor * elapsed_days.max(0.0) / stability_days).powf(-FSRS_EXPONENT)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let got = retrievability(DecayLaw::Fsrs6, ratio * 3.0, 3.0);
            assert!((got - expected).abs() < 1e-6, "t/S {ratio}: {got} instead of {expected}");
        }
        assert_eq!(retrievability(DecayLaw::None, 1e6, 1.0), 1.0);
        assert_eq!(
            retrievability(DecayLaw::Fsrs6, -5.0, 1.0),
            1.0,
            "a clock that went back does not raise it"
        );
    }
}
