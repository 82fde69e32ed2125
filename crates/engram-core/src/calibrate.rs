//! From evidence to a probability: `relevance` is how likely a hit is what the cue was after. A logistic regression
//! (Platt 1999) on the first ten hits of each cue of four sets (LoCoMo, MuSiQue, HotpotQA, WordNet senses), each set
//! weighing the same, once with vectors and once without. Hits of cues that have no answer count too, so that the first
//! hit's relevance tells an unknown matter from a known one. `engram evaluate --fit` fits it anew and prints the
//! constants below, with those of models fitted without one of the sets, which tell how far to trust a relevance. How
//! well they hold, also on a set that was left out, is in `bench/README.md`.

/// Evidence that bears on relevance.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Evidence {
    /// The hit's score.
    pub score: f32,
    /// How far that lies behind the first hit's, at least 0.
    pub behind: f32,
    /// How far the next memory's score lies behind the hit's, at least 0; the score itself where there is none.
    pub gap: f32,
    /// The hit's place, from 0.
    pub rank: usize,
    /// The cue had a vector that the space can compare.
    pub by_vector: bool,
    /// Cosine of the cue's vector and the memory's; 0 where either has none.
    pub cosine: f32,
    /// The highest cosine of any memory that may be a hit; 0 without vectors.
    pub cosine_best: f32,
    /// What the cue's words reach of what they could, 0..=1: in the memory, its window, and its context.
    pub words: [f32; 3],
    /// Share of the weight of the cue's words that the memory holds at all, 0..=1.
    pub covered: f32,
    /// Share of the weight of the cue's words that no memory of the space holds, 0..=1.
    pub unknown: f32,
    /// The cue's words.
    pub terms: usize,
    /// Root of what activation reached the memory over associations, over the largest seed's; 0..=1 or a little more.
    pub activation: f32,
}

/// Numbers that the log-odds are a weighted sum of.
pub const FEATURES: usize = 17;

/// What each of them is; those for the first hit are 0 for all others.
pub const FEATURE_NAMES: [&str; FEATURES] = [
    "1",
    "ln(1 + terms)",
    "score",
    "covered",
    "unknown",
    "cosine",
    "cosine_best",
    "behind",
    "1 / (1 + rank)",
    "ln(1 + rank)",
    "first hit: 1",
    "first hit: ln(1 + terms)",
    "first hit: score",
    "first hit: covered",
    "first hit: unknown",
    "first hit: cosine",
    "first hit: cosine_best",
];

/// The evidence as the regression sees it. What tells a cue that has an answer from one that has none is in the first
/// hit, and so it has weights of its own.
pub fn features(evidence: &Evidence) -> [f32; FEATURES] {
    let e = evidence;
    let absolute = [1.0, (e.terms as f32).ln_1p(), e.score, e.covered, e.unknown, e.cosine, e.cosine_best];
    let mut all = [0.0; FEATURES];
    let (any, first) = all.split_at_mut(FEATURES - absolute.len());
    any[..absolute.len()].copy_from_slice(&absolute);
    let rank = e.rank as f32;
    any[absolute.len()..].copy_from_slice(&[e.behind, 1.0 / (1.0 + rank), rank.ln_1p()]);
    if e.rank == 0 {
        first.copy_from_slice(&absolute);
    }
    all
}

/// What was fitted, for cues that have a vector or for those that have none.
struct Model {
    weights: [f32; FEATURES],
    /// Weights of models each fitted without one of the sets: where they disagree, evidence is thin.
    without_one: &'static [[f32; FEATURES]],
    abstain_below: f32,
}

impl Model {
    fn of(by_vector: bool) -> &'static Self {
        if by_vector { &BY_VECTOR } else { &BY_WORDS }
    }
}

const BY_VECTOR: Model = Model {
    weights: [
        -4.9923, // 1
        0.7013,  // ln(1 + terms)
        0.1358,  // score
        -0.7052, // covered
        -1.8231, // unknown
        -0.3545, // cosine
        2.2555,  // cosine_best
        -0.0588, // behind
        1.5130,  // 1 / (1 + rank)
        -0.8850, // ln(1 + rank)
        -2.4235, // first hit: 1
        0.0735,  // first hit: ln(1 + terms)
        -0.0153, // first hit: score
        2.6179,  // first hit: covered
        0.7727,  // first hit: unknown
        1.5447,  // first hit: cosine
        -0.9114, // first hit: cosine_best
    ],
    without_one: &[
        [
            -4.7229, 0.7190, 0.1308, -1.1055, -3.7786, 0.4047, 1.4755, -0.0419, 1.7876, -0.9558, -2.9978,
            0.0724, 0.0027, 2.3698, 1.0091, 2.1825, -1.1711,
        ],
        [
            -5.7096, 0.6023, 0.1483, -0.2191, -0.9501, -1.5138, 3.5187, -0.0716, 1.6902, -0.8310, -2.2591,
            0.4547, -0.0325, 2.4717, 0.4406, 0.5028, -0.7873,
        ],
        [
            -5.6007, 0.9476, 0.1278, 0.0002, -1.3315, -0.4398, 2.4697, -0.0475, 0.8837, -0.8160, -1.1952,
            -0.1707, -0.0174, 2.1747, 0.7436, 1.6720, -1.2717,
        ],
        [
            -4.0700, 0.3454, 0.1695, -1.7395, -2.1102, -0.0931, 1.8270, -0.0586, 1.7722, -0.9015, -2.5894,
            -0.0716, -0.0169, 2.7592, 0.5619, 1.9092, -0.8686,
        ],
    ],
    abstain_below: 0.1556,
};

const BY_WORDS: Model = Model {
    weights: [
        -4.2897, // 1
        0.8290,  // ln(1 + terms)
        0.1655,  // score
        0.4866,  // covered
        -2.2344, // unknown
        0.0000,  // cosine
        0.0000,  // cosine_best
        -0.0549, // behind
        1.0639,  // 1 / (1 + rank)
        -0.6412, // ln(1 + rank)
        -1.6979, // first hit: 1
        0.2104,  // first hit: ln(1 + terms)
        0.0110,  // first hit: score
        1.3913,  // first hit: covered
        0.7358,  // first hit: unknown
        0.0000,  // first hit: cosine
        0.0000,  // first hit: cosine_best
    ],
    without_one: &[
        [
            -3.9513, 0.6258, 0.1992, -0.0792, -3.7751, 0.0000, 0.0000, -0.0441, 1.2430, -0.5766, -1.8627,
            0.2810, -0.0100, 1.8217, -0.9012, 0.0000, 0.0000,
        ],
        [
            -4.6320, 0.7787, 0.1806, 0.6346, -1.4888, 0.0000, 0.0000, -0.0562, 1.5227, -0.6511, -2.5895,
            0.6384, -0.0062, 1.3118, 0.5976, 0.0000, 0.0000,
        ],
        [
            -3.9903, 0.8844, 0.1153, 1.1333, -1.9101, 0.0000, 0.0000, -0.0377, 0.1268, -0.6824, -0.5003,
            -0.1163, 0.0296, 0.9723, 1.0420, 0.0000, 0.0000,
        ],
        [
            -4.3968, 0.9051, 0.1804, 0.0679, -2.4571, 0.0000, 0.0000, -0.0556, 1.2763, -0.6924, -1.6918,
            0.1487, -0.0034, 1.6423, 0.7604, 0.0000, 0.0000,
        ],
    ],
    abstain_below: 0.1217,
};

/// Probability, 0..=1, that a hit with this evidence is what the cue was after.
pub fn relevance(evidence: &Evidence) -> f32 {
    probability(&Model::of(evidence.by_vector).weights, &features(evidence))
}

/// The lowest and the highest relevance that models fitted without one of the sets give the same evidence, and the
/// model of all. Wide where few of the sets had evidence of this kind.
pub fn relevance_range(evidence: &Evidence) -> [f32; 2] {
    let (model, features) = (Model::of(evidence.by_vector), features(evidence));
    let of_all = probability(&model.weights, &features);
    let others = model.without_one.iter().map(|weights| probability(weights, &features));
    others.fold([of_all; 2], |[low, high], one| [low.min(one), high.max(one)])
}

fn probability(weights: &[f32; FEATURES], features: &[f32; FEATURES]) -> f32 {
    let log_odds: f32 = weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum();
    1.0 / (1.0 + (-log_odds).exp())
}

/// A recall whose hits are all less likely than this has found nothing that the cue was after. About one in twenty of
/// the cues that have an answer fall below.
pub fn abstain_below(by_vector: bool) -> f32 {
    Model::of(by_vector).abstain_below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relevance_falls_with_less_evidence() {
        for by_vector in [true, false] {
            let cosine = if by_vector { 0.6 } else { 0.0 };
            let best = Evidence {
                score: 14.0,
                covered: 0.8,
                terms: 5,
                cosine,
                cosine_best: cosine,
                by_vector,
                ..Evidence::default()
            };
            let second = Evidence { score: 9.0, behind: 5.0, rank: 1, covered: 0.4, ..best };
            let nothing = Evidence { terms: 5, by_vector, unknown: 0.5, ..Evidence::default() };
            assert!(relevance(&best) > relevance(&second), "{by_vector}");
            assert!(relevance(&second) > relevance(&Evidence { rank: 9, ..second }), "{by_vector}");
            assert!(relevance(&nothing) < abstain_below(by_vector), "{by_vector}");
            let [low, high] = relevance_range(&best);
            assert!(low < relevance(&best) && relevance(&best) < high, "{by_vector}: {low} {high}");
            assert!(relevance(&best) > 0.5, "{by_vector}: {}", relevance(&best));
        }
    }

    #[test]
    fn the_first_hit_has_features_of_its_own() {
        let first = Evidence { score: 3.0, ..Evidence::default() };
        let [first, second] = [first, Evidence { rank: 1, ..first }].map(|evidence| features(&evidence));
        let at = |name: &str| FEATURE_NAMES.iter().position(|known| *known == name).unwrap();
        assert_eq!((first[at("score")], first[at("first hit: score")]), (3.0, 3.0));
        assert_eq!((second[at("score")], second[at("first hit: score")]), (3.0, 0.0));
        assert_eq!((second[at("1")], second[at("1 / (1 + rank)")]), (1.0, 0.5));
    }
}
