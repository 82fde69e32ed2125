//! From evidence to a probability: `relevance` is how likely a hit is what the cue was after. A logistic regression
//! (Platt 1999) on the first ten hits of each cue of four sets (LoCoMo, MuSiQue, HotpotQA, WordNet senses), each set
//! weighing the same, once with vectors and once without. Hits of cues that have no answer count too, so that the first
//! hit's relevance tells an unknown matter from a known one. `engram evaluate --fit` fits it anew and prints the
//! constants below; how well they hold, also on a set that was left out, is in `bench/README.md`.

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
        -5.1432, // 1
        0.7324,  // ln(1 + terms)
        0.1556,  // score
        -0.9244, // covered
        -1.7929, // unknown
        -0.3145, // cosine
        2.1092,  // cosine_best
        -0.0554, // behind
        1.3636,  // 1 / (1 + rank)
        -0.8822, // ln(1 + rank)
        -2.1004, // first hit: 1
        0.0530,  // first hit: ln(1 + terms)
        -0.0322, // first hit: score
        2.7305,  // first hit: covered
        0.6026,  // first hit: unknown
        1.9689,  // first hit: cosine
        -1.2840, // first hit: cosine_best
    ],
    without_one: &[],
    abstain_below: 0.1367,
};

const BY_WORDS: Model = Model {
    weights: [
        -4.4049, // 1
        0.8754,  // ln(1 + terms)
        0.1814,  // score
        0.3377,  // covered
        -2.1001, // unknown
        0.0000,  // cosine
        0.0000,  // cosine_best
        -0.0594, // behind
        0.9627,  // 1 / (1 + rank)
        -0.6262, // ln(1 + rank)
        -1.6224, // first hit: 1
        0.2740,  // first hit: ln(1 + terms)
        -0.0216, // first hit: score
        1.7191,  // first hit: covered
        0.2101,  // first hit: unknown
        0.0000,  // first hit: cosine
        0.0000,  // first hit: cosine_best
    ],
    without_one: &[],
    abstain_below: 0.1042,
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
