//! The memories that may be meant, each with its energy: how well it agrees with what is given.
//!
//! ```text
//! energy = share cos + .35 words + .5 time + .25 (context + kind + entities + each metadata field)
//! fit    = energy / what it would be where all agrees: 0..=1
//! ```
//! `share`: of the vector's numbers, how many are known; `cos`: cosine over these, 0 where it is below. A text in a space
//! that embeds texts gives a vector of share .5. `words`: share of the content's words, by weight (`idf`), that the memory
//! holds. `time`: 1 / (1 + days between). `entities`: share of the names. The others: 1 where the values are equal.

use super::{Blank, CompleteOptions, Pattern, known_numbers};
use crate::Slot;
use crate::associate::folded;
use crate::embed::embed;
use crate::error::{Error, Result};
use crate::facts::Facts;
use crate::hnsw::{self, Wanted};
use crate::id::Timestamp;
use crate::lexicon::{idf, terms};
use crate::recall::{BUILTIN_SHARE, keep_best};
use crate::state::{Embedder, SpaceState};
use crate::tally::Tally;
use crate::vector::{CueCode, Vectors, unit};
use rustc_hash::FxHashSet;
use serde_json::Value;

/// Memories that are looked at one by one: the nearest are found for certain then, however noisy the vector is. Among
/// 100,000 of 256 numbers that takes 7 ms (bench/README.md).
pub(super) const SCANNED_MAX: usize = 131_072;
/// Of more, so many are looked at that are best by vector, by words and by time each.
const POOLED_MAX: usize = 1024;
/// Candidates that are weighed: each of those left out weighs less than the last of these.
const CANDIDATES_MAX: usize = 256;

// Chosen on LoCoMo and WordNet by how well the votes for a hidden field hold (bench/README.md).
const WORDS: f32 = 0.35;
const TIME: f32 = 0.5;
const EQUAL: f32 = 0.25;

const MICROS_PER_DAY: f32 = 86_400e6;

/// How near two times are, 0..=1: one half at a day apart.
pub(super) fn nearness(a: Timestamp, b: Timestamp) -> f32 {
    1.0 / (1.0 + a.0.abs_diff(b.0) as f32 / MICROS_PER_DAY)
}

/// What is given, as it is compared.
struct Given<'a> {
    pattern: &'a Pattern,
    vectors: Option<(&'a Vectors, Probe)>,
    /// By slot, the weight of the given words that the memory holds; and that of all of them.
    words: Tally,
    words_max: f32,
    /// As they are compared, each once.
    names: Vec<Box<str>>,
}

/// A vector to compare with.
struct Probe {
    /// Of length 1, 0 for what is unknown.
    unit: Vec<f32>,
    /// Numbers that are known; none where all are.
    known: Option<Vec<usize>>,
    weight: f32,
}

impl Probe {
    /// Cosine over the known numbers, at least 0.
    fn similarity(&self, vectors: &Vectors, slot: Slot) -> f32 {
        let cosine = vectors.similarity(slot, &self.unit);
        let Some(known) = &self.known else { return cosine.clamp(0.0, 1.0) };
        // The cosine over all numbers counts the row at its full length; only the known part of it is compared.
        let Some(row) = vectors.get(slot) else { return cosine.clamp(0.0, 1.0) };
        let square = |x: f32| f64::from(x) * f64::from(x);
        let all: f64 = row.iter().map(|&x| square(x)).sum();
        let part: f64 = known.iter().map(|&at| square(row[at])).sum();
        if part == 0.0 { 0.0 } else { (f64::from(cosine) * (all / part).sqrt()).clamp(0.0, 1.0) as f32 }
    }
}

/// A memory that may be meant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) slot: Slot,
    /// All of its energy.
    pub(super) energy: f32,
    /// The part of it that is not the vector's.
    pub(super) beside_vector: f32,
}

/// All that may be meant, best first.
pub(super) struct Candidates<'a> {
    pub(super) state: &'a SpaceState,
    pub(super) all: Vec<Candidate>,
    /// The energy of a memory that agrees in everything.
    pub(super) energy_max: f32,
}

impl<'a> Candidates<'a> {
    pub(super) fn find(
        state: &'a SpaceState,
        pattern: &'a Pattern,
        options: &CompleteOptions,
        scanned_max: usize,
    ) -> Self {
        let given = Given::new(state, pattern);
        let passes = |slot: Slot| {
            state.get(slot).is_some_and(|record| options.filter.passes(record.facts()))
                && state.is_visible(slot, options.now, options.as_of)
                // What consolidation made says nothing that its sources do not.
                && !state.concepts().contains(slot)
        };
        let pool = if state.len() <= scanned_max { None } else { given.pool(state, &passes) };
        let mut code = CueCode::default();
        let code = given.vectors.as_ref().map(|(vectors, probe)| {
            // Codes are those of whole rows: what is unknown counts as it does on average.
            let scale =
                probe.known.as_ref().map_or(1.0, |known| known.len() as f32 / probe.unit.len() as f32);
            code.set(&probe.unit);
            (vectors, &code, probe.weight / scale.sqrt())
        });
        let mut found: Vec<(Slot, f32)> = Vec::new();
        let mut look = |slot: Slot| {
            if !passes(slot) {
                return;
            }
            let by_vector = code.as_ref().filter(|(vectors, ..)| vectors.has(slot));
            let by_vector = by_vector
                .map_or(0.0, |(vectors, code, weight)| weight * code.similarity(vectors.code(slot)).max(0.0));
            let energy = by_vector + given.beside_vector(state, slot);
            if energy > 0.0 {
                found.push((slot, energy));
                if found.len() >= 16 * CANDIDATES_MAX {
                    keep_best(&mut found, CANDIDATES_MAX);
                }
            }
        };
        match pool {
            Some(pool) => pool.into_iter().for_each(&mut look),
            None => (0..state.slots_end() as Slot).for_each(&mut look),
        }
        keep_best(&mut found, CANDIDATES_MAX);
        let mut all: Vec<Candidate> = found.iter().map(|(slot, _)| given.measured(state, *slot)).collect();
        all.retain(|candidate| candidate.energy > 0.0);
        all.sort_by(|a, b| b.energy.total_cmp(&a.energy).then(a.slot.cmp(&b.slot)));
        Self { state, all, energy_max: given.energy_max() }
    }

    /// How well a candidate agrees with what is given, 0..=1.
    pub(super) fn fit(&self, candidate: &Candidate) -> f32 {
        candidate.energy / self.energy_max
    }

    /// Asks for the payloads that are away: what is completed is taken from them.
    pub(super) fn check_at_hand(&self) -> Result<()> {
        let is_away = |slot: &Slot| !self.state.is_at_hand(*slot);
        let away: Vec<Slot> = self.all.iter().map(|candidate| candidate.slot).filter(is_away).collect();
        if away.is_empty() { Ok(()) } else { Err(Error::Away(away)) }
    }

    /// The content of a candidate, which is at hand.
    pub(super) fn content(&self, at: usize) -> Option<&'a str> {
        self.state.content(self.all[at].slot).unwrap_or(None)
    }

    pub(super) fn facts(&self, at: usize) -> &'a Facts {
        self.state.record(self.all[at].slot).facts()
    }
}

/// The softmax of `beta` times the energies.
pub(super) fn weights(energies: impl Iterator<Item = f32> + Clone, beta: f32) -> Vec<f64> {
    let highest = energies.clone().fold(f32::NEG_INFINITY, f32::max);
    let raised = energies.map(|energy| (f64::from(beta) * f64::from(energy - highest)).exp());
    let mut weights: Vec<f64> = raised.collect();
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    weights
}

impl<'a> Given<'a> {
    fn new(state: &'a SpaceState, pattern: &'a Pattern) -> Self {
        let content = pattern.content.given().map_or("", String::as_str);
        let probe = match (&pattern.embedding, state.settings().embedder) {
            (Blank::Given(numbers), _) => Some(Probe::of(numbers)),
            (_, Some(Embedder::Builtin { .. })) => {
                embed(content).map(|unit| Probe { unit, known: None, weight: BUILTIN_SHARE })
            }
            _ => None,
        };
        let mut words = Tally::default();
        words.clear(state.slots_end());
        let (lexicon, mut words_max) = (state.lexicon(), 0.0);
        let mut terms = terms(content, state.settings().language);
        terms.sort_unstable();
        terms.dedup();
        for term in &terms {
            let postings = lexicon.postings_of(term);
            let weight = idf(lexicon.memories(), postings.len());
            words_max += weight;
            postings.iter().for_each(|posting| words.add(posting.slot, f64::from(weight)));
        }
        let mut names: Vec<Box<str>> =
            pattern.entities.given().into_iter().flatten().map(|name| folded(name)).collect();
        names.sort_unstable();
        names.dedup();
        Self { pattern, vectors: state.vectors().zip(probe), words, words_max, names }
    }

    /// Fields that are given and compared for being equal, the names among them.
    fn equals(&self) -> usize {
        let metadata = self
            .pattern
            .metadata
            .given()
            .map_or(0, |fields| fields.values().filter(|value| !value.is_null()).count());
        metadata
            + usize::from(self.pattern.context.given().is_some())
            + usize::from(self.pattern.kind.given().is_some())
            + usize::from(!self.names.is_empty())
    }

    fn energy_max(&self) -> f32 {
        self.vectors.as_ref().map_or(0.0, |(_, probe)| probe.weight)
            + if self.words_max > 0.0 { WORDS } else { 0.0 }
            + self.pattern.occurred_at.given().map_or(0.0, |_| TIME)
            + EQUAL * self.equals() as f32
    }

    /// The energy of all but the vector.
    fn beside_vector(&self, state: &SpaceState, slot: Slot) -> f32 {
        let facts = state.record(slot).facts();
        let mut energy = 0.0;
        if self.words_max > 0.0 {
            energy += WORDS * self.words.get(slot) as f32 / self.words_max;
        }
        if let Some(at) = self.pattern.occurred_at.given() {
            energy += TIME * nearness(*at, facts.occurred_at);
        }
        if let Some(context) = self.pattern.context.given() {
            energy += EQUAL * f32::from(facts.context() == Some(context.as_str()));
        }
        if let Some(kind) = self.pattern.kind.given() {
            energy += EQUAL * f32::from(facts.kind == *kind);
        }
        for (key, value) in self.pattern.metadata.given().into_iter().flatten() {
            let holds =
                !value.is_null() && facts.metadata().get(key).is_some_and(|own| are_equal(own, value));
            energy += EQUAL * f32::from(holds);
        }
        if !self.names.is_empty() {
            let held = names_of(state, slot)
                .filter(|name| self.names.binary_search_by(|own| (**own).cmp(name)).is_ok());
            energy += EQUAL * held.count() as f32 / self.names.len() as f32;
        }
        energy
    }

    fn measured(&self, state: &SpaceState, slot: Slot) -> Candidate {
        let beside_vector = self.beside_vector(state, slot);
        let by_vector = match &self.vectors {
            Some((vectors, probe)) if vectors.has(slot) => probe.weight * probe.similarity(vectors, slot),
            _ => 0.0,
        };
        Candidate { slot, energy: by_vector + beside_vector, beside_vector }
    }

    /// The memories worth looking at where there are too many to look at all: the best by vector, by words and by time.
    /// None where nothing of these is given.
    fn pool(&self, state: &SpaceState, passes: &impl Fn(Slot) -> bool) -> Option<Vec<Slot>> {
        let mut pool: FxHashSet<Slot> = FxHashSet::default();
        let at = self.pattern.occurred_at.given();
        if self.vectors.is_none() && self.words_max == 0.0 && at.is_none() {
            return None;
        }
        if let Some((vectors, probe)) = &self.vectors {
            let (mut scratch, mut found) = (hnsw::Scratch::new(), Vec::new());
            let index = state.index();
            let ef = index.params().ef_search.max(POOLED_MAX);
            index.search(vectors, &probe.unit, Wanted::new(POOLED_MAX, ef), passes, &mut scratch, &mut found);
            pool.extend(found.into_iter().map(|(slot, _)| slot));
            pool.extend(state.unindexed());
        }
        let touched = self.words.touched().iter().filter(|&&slot| passes(slot));
        let mut by_words: Vec<(Slot, f32)> =
            touched.map(|&slot| (slot, self.words.get(slot) as f32)).collect();
        keep_best(&mut by_words, POOLED_MAX);
        pool.extend(by_words.into_iter().map(|(slot, _)| slot));
        if let Some(&at) = at {
            let before = state.between(Timestamp(i64::MIN), at).rev().filter(|&slot| passes(slot));
            let after = state.between(at, Timestamp(i64::MAX)).filter(|&slot| passes(slot));
            pool.extend(before.take(POOLED_MAX).chain(after.take(POOLED_MAX)));
        }
        Some(pool.into_iter().collect())
    }
}

impl Probe {
    fn of(numbers: &[Option<f32>]) -> Self {
        let known: Vec<usize> =
            numbers.iter().enumerate().filter_map(|(at, number)| number.map(|_| at)).collect();
        let weight = known.len() as f32 / numbers.len() as f32;
        let unit = unit(&known_numbers(numbers));
        Self { unit, known: (known.len() < numbers.len()).then_some(known), weight }
    }
}

/// The names that a memory mentions, as they are compared.
pub(super) fn names_of(state: &SpaceState, slot: Slot) -> impl Iterator<Item = &str> {
    let own = state.graph().entities_of(slot).iter();
    own.filter(|(_, mentions)| *mentions > 0).map(|(id, _)| &*state.graph().entity(*id).name)
}

/// Whether two values are the same, 1 and 1.0 among them.
pub(super) fn are_equal(a: &Value, b: &Value) -> bool {
    a == b || (a.is_number() && b.is_number() && a.as_f64() == b.as_f64())
}
