//! Recall: what a cue brings to mind. A pure function of a state, a cue, options and time. Finds candidates by words,
//! by vector and by time, scores them, spreads activation from the best few, and ranks. The formula that ranks is in
//! `Ranking::base` and `Ranking::score`, and nowhere else.

mod concepts;
mod paths;
mod resolve;
mod words;

use crate::Slot;
use crate::activation::{Named, Spread, VISITS_DEFAULT};
use crate::alike::Alike;
use crate::calibrate::{Evidence, abstain_below, relevance, relevance_range};
use crate::confidence::{combined, objections, superseding};
use crate::cue::{Answer, Cue, Hit, Parts, RecallOptions};
use crate::error::{Error, Result};
use crate::hnsw::{self, Wanted};
use crate::id::Timestamp;
use crate::lexicon::{Postings, idf};
use crate::payloads::Tier;
use crate::state::{Embedder, SpaceState};
use crate::tally::Tally;
use crate::vector::{CueCode, Vectors};
use crate::when::Interval;
use crate::without::Part;
use concepts::Gate;
use paths::{leaves_out, reaches, walk};
use resolve::Resolved;
use words::{Bounds, LOOKED_UP_MAX, Text, Words, Worth};

/// The weights of a score, fitted together on the dev sets. Words count by the share that they reach of what the
/// cue's words could reach, so that weights hold whatever the size of a space; vectors by how many standard
/// deviations they lie above what a random memory of the space has, so that they hold across embedders.
struct Weights {
    words: f32,
    words_in_window: f32,
    words_in_context: f32,
    vector: f32,
    vector_in_window: f32,
    speaker: f32,
    questions: f32,
    tells_time: f32,
    time: f32,
    activation: f32,
    bridge: f32,
    retrievability: f32,
}

const WEIGHTS: Weights = Weights {
    words: 8.5,
    words_in_window: 4.5,
    words_in_context: 4.8,
    vector: 0.9,
    vector_in_window: 0.6,
    speaker: 3.0,
    questions: 1.5,
    tells_time: 1.0,
    time: 4.0,
    activation: 6.0,
    bridge: 6.0,
    retrievability: 0.5,
};

/// What the vectors of the built-in embedder weigh beside those of a model. By text alone, R@10 at 1 and at .5: LoCoMo
/// .806 .822, MuSiQue .703 .703, HotpotQA .950 .960, WordNet .713 .728.
pub(crate) const BUILTIN_SHARE: f32 = 0.5;
/// Memories that activation starts from.
const SEEDS_MAX: usize = 3;
/// How soon a bridge is as strong as one can be. Most reach from one passage to another is some hundredths.
const BRIDGE_GAIN: f64 = 15.0;
/// Candidates taken from the words.
const WORD_CANDIDATES_MAX: usize = 100;
/// Candidates taken from the vectors. With 200 LoCoMo, MuSiQue, HotpotQA and WordNet have the same R@1, R@5, R@10 and
/// relevance to four digits; with 32 WordNet loses .001.
const VECTOR_CANDIDATES_MAX: usize = 64;
/// Best candidates whose neighbours in context become candidates, too.
const WIDENED_MAX: usize = 64;
/// Candidates taken from each interval of time that the cue names, beside those around it.
const TIME_CANDIDATES_MAX: usize = 100;
/// Memories of an interval that are looked at for such candidates, where a filter lets few pass.
const TIME_LOOKED_AT_MAX: usize = 10_000;
/// What words and vector count for, and time, where a cue says nothing but a time: hits are then in the order of time,
/// and of the rest only among equals. Fits the scores to those of other cues, whose relevance was calibrated.
const WEIGHTS_OF_TIME_ALONE: [f32; 2] = [0.05, 10.0];
/// Memories reached by activation that become candidates, too.
const REACHED_MAX: usize = 100;
/// Steps along chains of memories that supersede one another, in one recall.
const SUPERSEDED_STEPS_MAX: usize = 10_000;
/// Of the nearest by their codes, those that are ordered by their rows: the first one's similarity is evidence.
const NEAREST_BY_ROWS: usize = 8;
/// Beyond twice the limit, memories whose scores are worked out by their rows.
const SHARPENED_MORE: usize = 8;
/// Memories whose similarity to the cue tells what a random memory has.
const SAMPLE_MAX: usize = 128;

/// Working memory of one recall at a time. Reuse it to spare allocations.
#[derive(Debug, Default)]
pub struct Scratch {
    index: hnsw::Scratch,
    /// Of the cue's vector.
    code: CueCode,
    words: Words,
    bounds: Bounds,
    namesakes: Tally,
    bridges: Tally,
    pool: Tally,
    spread: Spread,
    resolved: Resolved,
    alike: Alike,
    lists: Lists,
}

/// Lists that a recall fills and empties.
#[derive(Debug, Default)]
struct Lists {
    /// Similarity of some memories to the cue: alone, and in their windows.
    samples: [Vec<f32>; 2],
    candidates: Vec<(Slot, f32)>,
    found: Vec<(Slot, f32)>,
    by_words: Vec<(Slot, f32)>,
    nearest: Vec<(Slot, f32)>,
    ranked: Vec<(Slot, f32)>,
    newest: Vec<(Slot, f32)>,
    seeds: Vec<(Slot, f64)>,
    slots: Vec<Slot>,
    entities: Vec<Named>,
}

impl Scratch {
    /// With room for so many memories that activation or words reach. It grows where a recall needs more.
    pub fn with_capacity(memories: usize) -> Self {
        let mut scratch = Self::default();
        scratch.words.reserve(memories);
        [&mut scratch.namesakes, &mut scratch.bridges, &mut scratch.pool]
            .into_iter()
            .for_each(|tally| tally.reserve(memories));
        scratch.spread.reserve(memories);
        let Lists { candidates, found, ranked, .. } = &mut scratch.lists;
        [candidates, found, ranked].into_iter().for_each(|list| list.reserve(memories));
        scratch
    }

    /// Gives back what only a cue of very many words needs; what is left is bounded by the memories of the largest space.
    pub fn trim(&mut self) {
        self.words.trim();
    }
}

/// Recalls what `cue` brings to mind. Some hundred microseconds at 20,000 memories; `exact` compares every vector.
pub fn recall(
    state: &SpaceState,
    cue: &Cue,
    options: &RecallOptions,
    scratch: &mut Scratch,
) -> Result<Answer> {
    let mut answer = Answer::default();
    recall_into(state, cue, options, scratch, &mut answer)?;
    Ok(answer)
}

/// Recalls as `recall` does, into an answer that is used again. With a scratch and an answer that have grown it allocates
/// nothing, but for words that the scratch has not met, paths, duplicates, objections, and concepts.
pub fn recall_into(
    state: &SpaceState,
    cue: &Cue,
    options: &RecallOptions,
    scratch: &mut Scratch,
    answer: &mut Answer,
) -> Result<()> {
    options.check()?;
    let mut resolved = std::mem::take(&mut scratch.resolved);
    let result = resolved.resolve(state, cue, options);
    if result.is_ok() {
        let mut ranking = Ranking::new(state, &resolved, options, scratch);
        ranking.find_candidates();
        // What is associated with a time's memories is not what a time alone asks for.
        let seeds = if resolved.when.alone { Vec::new() } else { ranking.seeds() };
        ranking.spread(&seeds);
        ranking.bridge(&seeds);
        ranking.answer(&seeds, answer);
        if seeds.capacity() > 0 {
            scratch.lists.seeds = seeds;
        }
    }
    scratch.resolved = resolved;
    result
}

/// Spreads from the memories that a cue brings to mind first, or from given ones, and returns the spread itself.
pub fn activate(
    state: &SpaceState,
    from: &Seeds,
    options: &RecallOptions,
    scratch: &mut Scratch,
) -> Result<Activations> {
    options.check()?;
    let seeds = match from {
        Seeds::Cue(cue) => {
            let mut resolved = Resolved::default();
            resolved.resolve(state, cue, options)?;
            let mut ranking = Ranking::new(state, &resolved, options, scratch);
            ranking.find_candidates();
            ranking.seeds()
        }
        Seeds::Given(seeds) => {
            let sum: f64 = seeds.iter().map(|(_, mass)| mass).sum();
            let visible =
                seeds.iter().filter(|(slot, _)| state.is_visible(*slot, options.now, options.as_of));
            visible.map(|(slot, mass)| (*slot, mass / sum.max(1.0))).collect()
        }
    };
    let (visible, hops) = (|slot| reaches(state, options, slot), |slot| state.hops_of(slot));
    let spread = &mut scratch.spread;
    let budget = options.budget.unwrap_or(VISITS_DEFAULT);
    let walk = walk(state, options, &visible, &hops);
    spread.spread(&walk, &seeds, budget, false);
    let mut activations: Vec<(Slot, f64)> = spread
        .activated()
        .iter()
        .map(|&slot| (slot, spread.activation(slot)))
        .filter(|(_, a)| *a > 0.0)
        .collect();
    activations.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let activated = activations.len();
    activations.retain(|(slot, _)| options.filter.passes(state.record(*slot).facts()));
    activations.truncate(options.limit);
    let (visits, residual, truncated) =
        (spread.visits, spread.residual, spread.truncated || leaves_out(state));
    Ok(Activations { activations, activated, visits, residual, truncated })
}

/// What `activate` starts from.
#[derive(Debug, Clone)]
pub enum Seeds {
    /// The memories that a cue brings to mind first.
    Cue(Cue),
    /// These, with their activation; scaled to a sum of 1 where they exceed it.
    Given(Vec<(Slot, f64)>),
}

/// How activation lies after spreading.
#[derive(Debug, Clone)]
pub struct Activations {
    /// Strongest first.
    pub activations: Vec<(Slot, f64)>,
    /// Memories with any activation, those beyond the limit included.
    pub activated: usize,
    /// Associations visited.
    pub visits: usize,
    /// Activation that was too weak to be passed on, or that the budget held back.
    pub residual: f64,
    /// The budget held something back.
    pub truncated: bool,
}

/// Whether a vector fits the space.
pub fn check_dimensions(state: &SpaceState, embedding: &[f32]) -> Result<()> {
    match state.settings().embedder {
        Some(Embedder::Caller { dimensions }) if dimensions != embedding.len() => {
            Err(Error::Invalid(format!(
                "embedding has {} numbers, the vectors of this space have {dimensions}; re-embed it with the model of the \
             others, or use another space",
                embedding.len()
            )))
        }
        Some(Embedder::Builtin { .. }) => Err(Error::Invalid(format!(
            "embedding has {} numbers, but the vectors of this space are made from texts by the built-in embedder; \
             leave it out, or use another space",
            embedding.len()
        ))),
        Some(Embedder::None) => Err(Error::Invalid(format!(
            "embedding has {} numbers, but this space was begun without vectors; leave it out, or use another space",
            embedding.len()
        ))),
        _ => Ok(()),
    }
}

/// What a random memory's similarity to the cue is like.
#[derive(Debug, Clone, Copy)]
struct Spreadness {
    mean: f32,
    deviation: f32,
}

impl Spreadness {
    fn of(samples: &[f32]) -> Self {
        let count = samples.len().max(1) as f32;
        let mean = samples.iter().sum::<f32>() / count;
        let variance = samples.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / count;
        // Too few or too equal to tell: a tenth is what embedding models typically show.
        let deviation = if samples.len() < 8 || variance < 1e-6 { 0.1 } else { variance.sqrt() };
        Self { mean, deviation }
    }

    fn standard(self, similarity: f32) -> f32 {
        (similarity - self.mean) / self.deviation
    }
}

/// A recall under way.
struct Ranking<'a> {
    state: &'a SpaceState,
    cue: &'a Resolved,
    options: &'a RecallOptions,
    scratch: &'a mut Scratch,
    vectors: Option<(&'a Vectors, &'a [f32])>,
    single: Spreadness,
    window: Spreadness,
    /// Common words may have hidden a memory.
    words_are_cut: bool,
    /// The highest similarity of any memory that may be a hit.
    cosine_best: f32,
    /// Which concepts stand in for their sources.
    gate: Gate,
    /// Candidates with their base scores.
    candidates: Vec<(Slot, f32)>,
}

impl<'a> Ranking<'a> {
    fn new(
        state: &'a SpaceState,
        cue: &'a Resolved,
        options: &'a RecallOptions,
        scratch: &'a mut Scratch,
    ) -> Self {
        let vectors = state.vectors().zip(cue.unit());
        let mut candidates = std::mem::take(&mut scratch.lists.candidates);
        candidates.clear();
        if let Some((_, unit)) = vectors {
            scratch.code.set(unit);
        }
        let mut ranking = Self {
            state,
            cue,
            options,
            scratch,
            vectors,
            single: Spreadness { mean: 0.0, deviation: 1.0 },
            window: Spreadness { mean: 0.0, deviation: 1.0 },
            words_are_cut: false,
            cosine_best: 0.0,
            gate: Gate::default(),
            candidates,
        };
        ranking.sample();
        ranking
    }

    fn is_without(&self, part: Part) -> bool {
        self.options.without.has(part)
    }

    fn is_visible(&self, slot: Slot) -> bool {
        self.state.is_visible(slot, self.options.now, self.options.as_of)
    }

    fn may_hit(&self, slot: Slot) -> bool {
        self.is_visible(slot)
            && (self.shows_concepts() || !self.state.concepts().contains(slot))
            && (self.options.filter.is_empty() || self.options.filter.passes(self.state.record(slot).facts()))
            && !self.cue.slots.contains(&slot)
    }

    /// Similarity of the cue and a memory, where both have a vector, by the memory's code: off by .001 at most, nearly
    /// always, and a quarter of the reading. `sharpen` mends it where it may decide what is a hit.
    fn similarity(&self, slot: Slot) -> Option<f32> {
        let (vectors, _) = self.vectors?;
        if self.options.exact || !vectors.has(slot) {
            return self.exact_similarity(slot);
        }
        Some(self.scratch.code.similarity(vectors.code(slot)))
    }

    /// The same by its row.
    fn exact_similarity(&self, slot: Slot) -> Option<f32> {
        let (vectors, unit) = self.vectors?;
        (vectors.has(slot).then(|| vectors.similarity(slot, unit)))
            .or_else(|| self.similarity_of_concept(slot, unit))
    }

    /// Similarity of the cue and a memory with its neighbours in context.
    fn similarity_of_window(&self, slot: Slot, own: f32) -> f32 {
        let graph = self.state.graph();
        let around = [graph.previous(slot), graph.next(slot)];
        if around == [None, None] || self.is_without(Part::Windows) {
            return own;
        }
        let sum: f32 = own
            + around
                .into_iter()
                .flatten()
                .filter(|&at| self.is_visible(at))
                .filter_map(|at| self.similarity(at))
                .sum::<f32>();
        sum * self.state.window_scale(slot)
    }

    /// Measures what a random memory has, on slots spread evenly over the space.
    fn sample(&mut self) {
        let Some((vectors, _)) = self.vectors else { return };
        let end = vectors.slots_end();
        let step = end.div_ceil(SAMPLE_MAX).max(1);
        let [mut single, mut window] = std::mem::take(&mut self.scratch.lists.samples);
        single.clear();
        window.clear();
        let slots = (0..end).step_by(step).map(|slot| slot as Slot);
        for slot in slots.filter(|&slot| vectors.has(slot)) {
            if let Some(own) = self.similarity(slot) {
                single.push(own);
                window.push(self.similarity_of_window(slot, own));
            }
        }
        (self.single, self.window) = (Spreadness::of(&single), Spreadness::of(&window));
        self.scratch.lists.samples = [single, window];
    }

    fn find_candidates(&mut self) {
        self.scratch.pool.clear(self.state.slots_end());
        let text = self.text();
        self.scratch.words.look_up(text, &self.cue.terms);
        let mut found = std::mem::take(&mut self.scratch.lists.found);
        found.clear();
        self.find_by_words(&mut found);
        self.find_by_vector(&mut found);
        self.close_concepts(&found);
        found.iter().for_each(|(slot, _)| self.add_candidate(*slot));
        self.scratch.lists.found = found;
        self.candidates_by_time();
        self.candidates_by_concept();
        self.cue.slots.iter().for_each(|&slot| self.add_candidate(slot));
        self.widen();
    }

    fn add_candidate(&mut self, slot: Slot) {
        if self.scratch.pool.find(slot).is_none() && self.is_visible(slot) && !self.is_closed(slot) {
            self.scratch.pool.add(slot, 1.0);
            let base = self.base(slot);
            self.candidates.push((slot, base));
        }
    }

    /// Where the cue's words are looked up.
    fn text(&self) -> Text<'a> {
        Text {
            state: self.state,
            now: self.options.now,
            as_of: self.options.as_of,
            with_windows: !(self.is_without(Part::Windows) && self.is_without(Part::Contexts)),
            looked_up_max: LOOKED_UP_MAX,
        }
    }

    /// What the cue's words reach of what they could: in the memory, its window, and its context.
    fn words_of(&self, slot: Slot) -> [f32; 3] {
        let words = &self.scratch.words;
        let share = |got: f32, at: usize| if words.max[at] > 0.0 { got / words.max[at] } else { 0.0 };
        if self.shows_concepts() && self.state.concepts().contains(slot) {
            return self.words_of_concept(slot);
        }
        let own = share(words.own(self.text(), slot), 0);
        let graph = self.state.graph();
        if graph.next(slot).is_none() && graph.previous(slot).is_none() {
            return [own; 3];
        }
        let window = || share(words.in_window(self.text(), slot), 1);
        let context = || share(graph.context_of(slot).map_or(0.0, |context| words.in_context(context)), 2);
        [
            own,
            if self.is_without(Part::Windows) { own } else { window() },
            if self.is_without(Part::Contexts) { own } else { context() },
        ]
    }

    /// The first half of the formula: how well a memory fits the cue by its words and vector, alone, with its
    /// neighbours, and as part of its context. About 0 for a random memory.
    fn base(&self, slot: Slot) -> f32 {
        let mut base = self.score_of_words(slot) + self.score_of_speech(slot);
        if let Some(similarity) = self.similarity(slot) {
            base += self.score_of_vector(slot, similarity);
        }
        let [rest, time] = if self.cue.when.alone { WEIGHTS_OF_TIME_ALONE } else { [1.0, WEIGHTS.time] };
        rest * base + time * self.time(slot)
    }

    /// What a vector of this similarity adds to a memory's base.
    fn score_of_vector(&self, slot: Slot, similarity: f32) -> f32 {
        let in_window = self.similarity_of_window(slot, similarity);
        let share = match self.state.settings().embedder {
            Some(Embedder::Builtin { .. }) => BUILTIN_SHARE,
            _ => 1.0,
        };
        share
            * (WEIGHTS.vector * self.single.standard(similarity)
                + WEIGHTS.vector_in_window * self.window.standard(in_window))
    }

    /// Scores the best by their rows, which `similarity` has spared to read.
    fn sharpen(&self, ranked: &mut [(Slot, f32)]) {
        let count = (2 * self.options.limit + SHARPENED_MORE).min(ranked.len());
        if self.vectors.is_none() || self.options.exact || count == 0 {
            return;
        }
        ranked.select_nth_unstable_by(count - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let rest = if self.cue.when.alone { WEIGHTS_OF_TIME_ALONE[0] } else { 1.0 };
        for (slot, score) in &mut ranked[..count] {
            if let (Some(rough), Some(exact)) = (self.similarity(*slot), self.exact_similarity(*slot)) {
                *score += rest * (self.score_of_vector(*slot, exact) - self.score_of_vector(*slot, rough));
            }
        }
    }

    /// How well the time at which a memory happened fits what the cue says about time, 0..=1; 0 where it says nothing.
    fn time(&self, slot: Slot) -> f32 {
        if self.cue.when.intervals.is_empty() {
            return 0.0;
        }
        self.cue.when.fit(self.state.record(slot).facts().occurred_at)
    }

    /// The second half: what activation brings. What forgetting takes, `take_forgotten` does.
    fn score(&self, slot: Slot, base: f32, seed_max: f64) -> f32 {
        let reached = self.scratch.spread.reached(slot);
        let activation = if seed_max > 0.0 { (reached / seed_max).sqrt() as f32 } else { 0.0 };
        base + WEIGHTS.activation * activation + WEIGHTS.bridge * self.scratch.bridges.get(slot) as f32
    }

    /// Takes from scores what forgetting takes, and leaves out those that cannot come among the first `needed`, whose
    /// retrievability need not be known. Returns whether there were such.
    fn take_forgotten(&self, ranked: &mut Vec<(Slot, f32)>, needed: usize) -> bool {
        let before = ranked.len();
        if before > needed {
            ranked.select_nth_unstable_by(needed, |a, b| b.1.total_cmp(&a.1));
            let enough = ranked[needed].1 - WEIGHTS.retrievability;
            ranked.retain(|(_, score)| *score >= enough);
        }
        if !self.is_without(Part::Retrievability) {
            for (slot, score) in ranked.iter_mut() {
                let retrievability = self.state.retrievability(*slot, self.options.now) as f32;
                *score -= WEIGHTS.retrievability * (1.0 - retrievability);
            }
        }
        ranked.len() < before
    }

    /// What the way that a memory is told adds to its base.
    fn score_of_speech(&self, slot: Slot) -> f32 {
        let told = self.state.speeches().get(slot);
        let is_named = told.speaker.is_some_and(|speaker| self.cue.speakers.contains(&speaker));
        let questions = if self.is_without(Part::Questions) { 0.0 } else { told.questions };
        f32::from(is_named) * WEIGHTS.speaker - questions * WEIGHTS.questions
            + f32::from(self.cue.asks_when && told.tells_time) * WEIGHTS.tells_time
    }

    /// What words add to a memory's base.
    fn score_of_words(&self, slot: Slot) -> f32 {
        let [own, window, context] = self.words_of(slot);
        WEIGHTS.words * own + WEIGHTS.words_in_window * window + WEIGHTS.words_in_context * context
    }

    fn find_by_words(&mut self, found: &mut Vec<(Slot, f32)>) {
        let most = WORD_CANDIDATES_MAX.max(self.options.limit) + SEEDS_MAX;
        self.find_best_by_words(most, Self::may_hit, found);
        if !self.options.filter.is_empty() {
            // What does not pass may still lead to what does.
            self.find_best_by_words(SEEDS_MAX, Self::is_visible, found);
        }
    }

    fn find_best_by_words(
        &mut self,
        most: usize,
        passes: fn(&Self, Slot) -> bool,
        found: &mut Vec<(Slot, f32)>,
    ) {
        let mut bounds = std::mem::take(&mut self.scratch.bounds);
        let mut best = std::mem::take(&mut self.scratch.lists.by_words);
        let max = self.scratch.words.max;
        let worth = |weight: f32, at: usize| if max[at] > 0.0 { weight / max[at] } else { 0.0 };
        // A part that is left out counts as the memory itself does.
        let parts = [(Part::Windows, WEIGHTS.words_in_window), (Part::Contexts, WEIGHTS.words_in_context)];
        let [window, context] = parts.map(|(part, weight)| if self.is_without(part) { 0.0 } else { weight });
        let alone = WEIGHTS.words + WEIGHTS.words_in_window + WEIGHTS.words_in_context;
        let worth = Worth {
            own: worth(alone - window - context, 0),
            window: worth(window, 1),
            context: worth(context, 2),
            alone: worth(alone, 0),
            beside_max: if self.cue.when.intervals.is_empty() { 0.0 } else { WEIGHTS.time },
        };
        let score = |slot: Slot| {
            let counts = !self.is_without(Part::Windows) || self.scratch.words.own(self.text(), slot) > 0.0;
            (counts && passes(self, slot)).then(|| self.score_of_words(slot) + WEIGHTS.time * self.time(slot))
        };
        let is_cut = self.scratch.words.best(self.text(), worth, most, score, &mut bounds, &mut best);
        self.words_are_cut |= is_cut;
        found.extend_from_slice(&best);
        (self.scratch.bounds, self.scratch.lists.by_words) = (bounds, best);
    }

    fn find_by_vector(&mut self, found: &mut Vec<(Slot, f32)>) {
        let most = VECTOR_CANDIDATES_MAX.min(self.state.index().params().ef_search);
        let most = self.vector_candidates(most);
        let count = most.max(self.options.limit);
        let mut nearest = std::mem::take(&mut self.scratch.lists.nearest);
        self.find_nearest(count, Self::may_hit, &mut nearest);
        self.cosine_best = nearest.first().map_or(0.0, |(_, similarity)| *similarity);
        found.extend_from_slice(&nearest);
        if !self.options.filter.is_empty() {
            self.find_nearest(SEEDS_MAX, Self::is_visible, &mut nearest);
            found.extend_from_slice(&nearest);
        }
        self.scratch.lists.nearest = nearest;
    }

    /// Memories from the intervals that the cue names: all, or where there are many, some spread over the interval; and
    /// those next to it, where these are few.
    fn candidates_by_time(&mut self) {
        let (state, cue) = (self.state, self.cue);
        let mut found = std::mem::take(&mut self.scratch.lists.slots);
        for &Interval { from, to } in &cue.when.intervals {
            let within = |from, most| state.between(from, to).take(most).filter(|&slot| self.may_hit(slot));
            found.clear();
            found.extend(within(from, TIME_LOOKED_AT_MAX).take(TIME_CANDIDATES_MAX + 1));
            if found.len() > TIME_CANDIDATES_MAX {
                let ends = [state.between(from, to).next(), state.between(from, to).next_back()];
                let [first, last] =
                    ends.map(|slot| state.record(slot.expect("there are some")).facts().occurred_at.0);
                let at = |part: i128| {
                    let far = (i128::from(last) - i128::from(first)) * part / TIME_CANDIDATES_MAX as i128;
                    Timestamp((i128::from(first) + far) as i64)
                };
                let found_at = (0..TIME_CANDIDATES_MAX as i128)
                    .filter_map(|part| within(at(part), TIME_LOOKED_AT_MAX / TIME_CANDIDATES_MAX).next());
                found.clear();
                found.extend(found_at);
            }
            let around = self.options.limit.saturating_sub(found.len());
            let (before, after) =
                (state.between(Timestamp(i64::MIN), from), state.between(to, Timestamp(i64::MAX)));
            found.extend(
                before.rev().take(TIME_LOOKED_AT_MAX).filter(|&slot| self.may_hit(slot)).take(around),
            );
            found.extend(after.take(TIME_LOOKED_AT_MAX).filter(|&slot| self.may_hit(slot)).take(around));
            found.iter().for_each(|&slot| self.add_candidate(slot));
        }
        self.scratch.lists.slots = found;
    }

    /// The `count` memories whose vectors are nearest to the cue's, of those that pass: from the index and from what is
    /// not in it yet; from the rows of all, when asked to be exact.
    fn find_nearest(&mut self, count: usize, passes: fn(&Self, Slot) -> bool, found: &mut Vec<(Slot, f32)>) {
        found.clear();
        let Some((vectors, unit)) = self.vectors else { return };
        let (state, index) = (self.state, self.state.index());
        let mut scratch = std::mem::take(&mut self.scratch.index);
        let passes = |slot| passes(self, slot);
        if self.options.exact {
            let all = (0..state.slots_end() as Slot).filter(|&slot| vectors.has(slot) && passes(slot));
            found.extend(all.map(|slot| (slot, vectors.similarity(slot, unit))));
            keep_best(found, count);
        } else {
            let beside = state.unindexed().iter().copied().filter(|&slot| passes(slot));
            let wanted = Wanted { k: count, ef: index.params().ef_search, by_rows: NEAREST_BY_ROWS };
            index.nearest(vectors, unit, wanted, passes, beside, &mut scratch, found);
        }
        self.scratch.index = scratch;
    }

    /// Makes the neighbours of the best candidates candidates, too: an answer often follows its question.
    fn widen(&mut self) {
        if self.state.graph().adjacent_pairs() == 0 || self.is_without(Part::Windows) {
            return;
        }
        keep_best(&mut self.candidates, usize::MAX);
        for at in 0..self.candidates.len().min(WIDENED_MAX) {
            let slot = self.candidates[at].0;
            let graph = self.state.graph();
            let (before, after) = (graph.previous(slot), graph.next(slot));
            let around = [
                before.and_then(|at| graph.previous(at)),
                before,
                after,
                after.and_then(|at| graph.next(at)),
            ];
            around.into_iter().flatten().for_each(|at| self.add_candidate(at));
        }
    }

    /// Where activation starts: the memories that the cue names, and the best candidates, each by the cube of its
    /// base score, so that one clear match outweighs several weak ones. Their masses sum to 1.
    fn seeds(&mut self) -> Vec<(Slot, f64)> {
        if self.is_without(Part::Spreading) {
            return Vec::new();
        }
        keep_best(&mut self.candidates, usize::MAX);
        let (mut seeds, mut named) =
            (std::mem::take(&mut self.scratch.lists.seeds), std::mem::take(&mut self.scratch.lists.slots));
        seeds.clear();
        named.clear();
        let is_named = |slot: &Slot| self.cue.slots.contains(slot);
        let best = self.candidates.iter().filter(|(slot, base)| *base > 0.0 && !is_named(slot));
        seeds.extend(best.take(SEEDS_MAX).map(|(slot, base)| (*slot, f64::from(*base).powi(3))));
        let strongest = seeds.first().map_or(1.0, |(_, mass)| *mass);
        named.extend(self.cue.slots.iter().copied().filter(|&slot| self.is_visible(slot)));
        named.sort_unstable();
        named.dedup();
        seeds.extend(named.iter().map(|&slot| (slot, strongest)));
        let sum: f64 = seeds.iter().map(|(_, mass)| mass).sum();
        seeds.iter_mut().for_each(|(_, mass)| *mass /= sum);
        self.scratch.lists.slots = named;
        seeds
    }

    fn spread(&mut self, seeds: &[(Slot, f64)]) {
        let (state, options) = (self.state, self.options);
        let (visible, hops) = (|slot| reaches(state, options, slot), |slot| state.hops_of(slot));
        let budget = options.budget.unwrap_or(VISITS_DEFAULT);
        let spread = &mut self.scratch.spread;
        let walk = walk(state, options, &visible, &hops);
        spread.spread(&walk, seeds, budget, options.explain);
        let mut reached = std::mem::take(&mut self.scratch.lists.ranked);
        let spread = &self.scratch.spread;
        reached.clear();
        reached.extend(spread.activated().iter().map(|&slot| (slot, spread.reached(slot) as f32)));
        self.add_best(reached);
    }

    /// Makes the best of some memories candidates, too.
    fn add_best(&mut self, mut best: Vec<(Slot, f32)>) {
        keep_best(&mut best, REACHED_MAX.max(self.options.limit));
        best.iter().for_each(|(slot, _)| self.add_candidate(*slot));
        self.scratch.lists.ranked = best;
    }

    /// Finds the memories that bring in what a seed leaves unexplained: those that share names with it and hold words of
    /// the cue that it lacks. Each counts by the root of what it shares with the seed, times the share of the cue's
    /// words, by weight, that it adds, up to 1; of several seeds, the best counts.
    fn bridge(&mut self, seeds: &[(Slot, f64)]) {
        let (state, options) = (self.state, self.options);
        self.scratch.bridges.clear(state.slots_end());
        let weight_sum: f32 = self.scratch.words.weights.iter().sum();
        if weight_sum == 0.0 || self.is_without(Part::Bridges) {
            return;
        }
        let (visible, hops) = (|slot| reaches(state, options, slot), |slot| state.hops_of(slot));
        let budget = options.budget.unwrap_or(VISITS_DEFAULT);
        let walk = walk(state, options, &visible, &hops);
        let seed_max = seeds.iter().map(|(_, mass)| *mass).fold(0.0, f64::max);
        let Scratch { namesakes: reached, words, bridges, lists, .. } = &mut *self.scratch;
        let weights = &words.weights;
        for &(seed, mass) in seeds {
            reached.clear(state.slots_end());
            let most = budget / seeds.len().max(1);
            walk.for_each_namesake(seed, most, &mut lists.entities, |slot, part| reached.add(slot, part));
            let lacking = !words.terms_of(seed);
            for &slot in reached.touched() {
                let added = words.terms_of(slot) & lacking;
                if added != 0 {
                    let weight: f32 =
                        (0..64).zip(weights).filter(|(bit, _)| added >> bit & 1 == 1).map(|(_, w)| w).sum();
                    let reach = reached.get(slot) * mass / seed_max;
                    let bridge = BRIDGE_GAIN * reach.sqrt() * f64::from(weight / weight_sum);
                    bridges.raise(slot, bridge.min(1.0));
                }
            }
        }
        let mut best = std::mem::take(&mut self.scratch.lists.ranked);
        best.clear();
        best.extend(self.scratch.bridges.iter().map(|(slot, bridge)| (slot, bridge as f32)));
        self.add_best(best);
    }

    fn answer(mut self, seeds: &[(Slot, f64)], answer: &mut Answer) {
        let seed_max = seeds.iter().map(|(_, mass)| *mass).fold(0.0, f64::max);
        let mut ranked = std::mem::take(&mut self.candidates);
        ranked.retain(|(slot, _)| self.may_hit(*slot));
        for (slot, score) in &mut ranked {
            *score = self.score(*slot, *score, seed_max);
        }
        let mut first = std::mem::take(&mut self.scratch.lists.ranked);
        // More than the limit, because what says the same takes one place; all, where that was not enough.
        for needed in [2 * self.options.limit + 64, usize::MAX] {
            first.clone_from(&ranked);
            let is_cut = self.take_forgotten(&mut first, needed);
            self.sharpen(&mut first);
            self.put_newer_first(&mut first);
            keep_best(&mut first, usize::MAX);
            self.take_hits(&first, seed_max, &mut answer.hits);
            if answer.hits.len() == self.options.limit || !is_cut {
                break;
            }
        }
        (self.scratch.lists.ranked, self.scratch.lists.candidates) = (first, ranked);
        let abstain_below = abstain_below(self.vectors.is_some());
        answer.abstain = answer.hits.iter().all(|hit| hit.relevance < abstain_below);
        answer.hits.retain(|hit| self.options.relevance_min.is_none_or(|min| hit.relevance >= min));
        answer.activated = self.scratch.pool.touched().len() + self.gate.looked_at;
        let is_inexact = self.options.exact && self.state.tiers().memories[Tier::Cold as usize] > 0;
        let is_cut = self.words_are_cut || leaves_out(self.state) || is_inexact;
        answer.truncated = self.scratch.spread.truncated || is_cut;
    }

    /// What a memory was superseded by in the end comes right before it, unless it is ahead anyway.
    fn put_newer_first(&mut self, ranked: &mut Vec<(Slot, f32)>) {
        let mut steps = SUPERSEDED_STEPS_MAX;
        let Lists { newest, slots: chain, .. } = &mut self.scratch.lists;
        let (mut newest, mut chain) = (std::mem::take(newest), std::mem::take(chain));
        newest.clear();
        for &(old, score) in ranked.iter() {
            chain.clear();
            chain.push(old);
            // A circle ends where it began.
            while let Some(newer) = self.newer_than(*chain.last().expect("it begins with one"))
                && !chain.contains(&newer)
                && steps > 0
            {
                chain.push(newer);
                steps -= 1;
            }
            if let [_, .., last] = chain[..] {
                newest.push((last, score.next_up()));
            }
        }
        // Of several that one memory supersedes, it comes before the best.
        newest.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
        newest.dedup_by_key(|(slot, _)| *slot);
        for (slot, own) in ranked.iter_mut() {
            if let Ok(at) = newest.binary_search_by_key(slot, |(slot, _)| *slot) {
                *own = own.max(newest.remove(at).1);
            }
        }
        ranked.extend_from_slice(&newest);
        (self.scratch.lists.newest, self.scratch.lists.slots) = (newest, chain);
    }

    /// The memory that superseded one last, of those that may be hits.
    fn newer_than(&self, old: Slot) -> Option<Slot> {
        let newer = superseding(self.state, old, |newer| self.may_hit(newer));
        newer.max_by_key(|&newer| self.state.record(newer).arrival)
    }

    /// The first hits, up to the limit. What says the same as a better one takes no place
    /// of its own, but is named with it.
    fn take_hits(&mut self, ranked: &[(Slot, f32)], seed_max: f64, hits: &mut Vec<Hit>) {
        let best = ranked.first().map_or(0.0, |(_, score)| *score);
        hits.clear();
        let mut alike = std::mem::take(&mut self.scratch.alike);
        alike.clear();
        let mut beyond = 0.0;
        let state = self.state;
        // What is away is told apart by its fingerprint alone.
        let text_of = |slot: Slot| state.content(slot).unwrap_or(None);
        for &(slot, score) in ranked {
            let content = text_of(slot).filter(|_| !self.is_without(Part::Duplicates));
            let text_at = |place: usize| text_of(hits[place].slot).unwrap_or("");
            let same = self.same_payload(slot, hits);
            let first = same.or_else(|| alike.find_or_take(content?, hits.len(), text_at));
            if let Some(first) = first {
                hits[first].duplicates.push(slot);
                continue;
            }
            if hits.len() == self.options.limit {
                beyond = score;
                break;
            }
            let behind = best - score;
            let evidence = Evidence { score, behind, rank: hits.len(), ..self.evidence(slot, seed_max) };
            hits.push(self.hit(slot, evidence));
        }
        for at in 0..hits.len() {
            let next = hits.get(at + 1).map_or(beyond, |hit| hit.score);
            let hit = &mut hits[at];
            hit.evidence.gap = hit.score - next;
            hit.relevance = relevance(&hit.evidence);
            hit.relevance_range = relevance_range(&hit.evidence);
            hit.objections = objections(self.state, hit.slot, |slot| self.is_visible(slot));
            let is_visible = |slot: Slot| self.is_visible(slot);
            let has_say = |&slot: &Slot| superseding(self.state, slot, is_visible).next().is_none();
            let same: Vec<Slot> = hit.duplicates.iter().copied().filter(has_say).collect();
            hit.confidence = combined(self.state, hit.slot, &same, &hit.objections);
        }
        self.scratch.alike = alike;
    }

    /// The hit that has the same payload, where texts may be away.
    fn same_payload(&self, slot: Slot, hits: &[Hit]) -> Option<usize> {
        let state = self.state;
        let (own, has_content) = (state.record(slot).fingerprint(), state.record(slot).has_content());
        if !has_content
            || state.tiers().memories[Tier::Cold as usize] == 0
            || self.is_without(Part::Duplicates)
        {
            return None;
        }
        hits.iter().position(|hit| state.record(hit.slot).fingerprint() == own)
    }

    fn hit(&self, slot: Slot, evidence: Evidence) -> Hit {
        let spread = &self.scratch.spread;
        let parts = Parts {
            dense: evidence.cosine,
            lexical: self.scratch.words.own(self.text(), slot),
            activation: spread.reached(slot) as f32,
            bridge: self.scratch.bridges.get(slot) as f32,
            time: self.time(slot),
        };
        let paths = if self.options.explain { self.paths(slot) } else { Vec::new() };
        let retrievability = self.state.retrievability(slot, self.options.now) as f32;
        let concept = self.state.concepts().of(slot).filter(|&concept| self.is_visible(concept));
        let score = evidence.score;
        Hit {
            slot,
            score,
            relevance: 0.0,
            relevance_range: [0.0; 2],
            retrievability,
            confidence: 0.0,
            duplicates: Vec::new(),
            objections: Vec::new(),
            concept,
            parts,
            paths,
            evidence,
        }
    }

    /// What bears on a memory's relevance, but for its place among the hits.
    fn evidence(&self, slot: Slot, seed_max: f64) -> Evidence {
        let reached = self.scratch.spread.reached(slot);
        let lexicon = self.state.lexicon();
        let (mut sum, mut covered, mut unknown) = (0.0, 0.0, 0.0);
        for &term in &self.cue.terms {
            let postings = term.map(|term| lexicon.postings(term));
            let weight = idf(lexicon.memories(), postings.map_or(0, Postings::len));
            sum += weight;
            match postings {
                None => unknown += weight,
                Some(postings) if postings.count(slot) > 0 => covered += weight,
                Some(_) => {}
            }
        }
        let share = |part: f32| if sum > 0.0 { part / sum } else { 0.0 };
        Evidence {
            by_vector: self.vectors.is_some(),
            cosine: self.exact_similarity(slot).unwrap_or(0.0),
            cosine_best: self.cosine_best,
            words: self.words_of(slot),
            covered: share(covered),
            unknown: share(unknown),
            terms: self.cue.terms.len(),
            activation: if seed_max > 0.0 { (reached / seed_max).sqrt() as f32 } else { 0.0 },
            ..Evidence::default()
        }
    }
}

/// Keeps the `most` highest, best first; of equals the lower slot.
pub(crate) fn keep_best(scored: &mut Vec<(Slot, f32)>, most: usize) {
    let better = |a: &(Slot, f32), b: &(Slot, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if scored.len() > most {
        scored.select_nth_unstable_by(most, better);
        scored.truncate(most);
    }
    scored.sort_unstable_by(better);
}
