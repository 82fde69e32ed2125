//! From evidence to a probability: `relevance` is how likely a hit is what the cue was after. A logistic regression
//! (Platt 1999) on the first ten hits of each cue of four sets (LoCoMo, MuSiQue, HotpotQA, WordNet glosses), each set
//! weighing the same, once with vectors and once without. Expected calibration error by set: .03 to .08,
//! measured on the sets that it was fitted on. The program that fitted it is not kept here.

/// Evidence that bears on relevance.
#[derive(Debug, Clone, Copy)]
pub struct Evidence {
    /// The hit's score.
    pub score: f32,
    /// How far that lies behind the first hit's, at least 0.
    pub behind: f32,
    /// The hit's place, from 0.
    pub rank: usize,
    /// The cue had a vector that the space can compare.
    pub by_vector: bool,
}

/// Log-odds: `bias + score * s + behind * b + first / (1 + rank)`.
struct Coefficients {
    bias: f32,
    score: f32,
    behind: f32,
    first: f32,
}

const BY_VECTOR: Coefficients = Coefficients { bias: -4.364, score: 0.157, behind: -0.052, first: 2.749 };
const BY_WORDS: Coefficients = Coefficients { bias: -3.902, score: 0.204, behind: -0.092, first: 2.607 };

/// A recall whose hits are all less likely than this has found nothing that the cue was after.
pub const ABSTAIN_BELOW: f32 = 0.2;

/// Probability, 0..=1, that a hit with this evidence is what the cue was after. Falls with the rank.
pub fn relevance(evidence: Evidence) -> f32 {
    let c = if evidence.by_vector { BY_VECTOR } else { BY_WORDS };
    let log_odds = c.bias
        + c.score * evidence.score
        + c.behind * evidence.behind
        + c.first / (1.0 + evidence.rank as f32);
    1.0 / (1.0 + (-log_odds).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relevance_falls_with_less_evidence() {
        let best = Evidence { score: 12.0, behind: 0.0, rank: 0, by_vector: true };
        let second = Evidence { score: 9.0, behind: 3.0, rank: 1, ..best };
        let weak = Evidence { score: 0.5, ..best };
        assert!(relevance(best) > relevance(second) && relevance(best) > relevance(weak));
        assert!(relevance(weak) < ABSTAIN_BELOW && relevance(best) > 0.5);
    }
}
