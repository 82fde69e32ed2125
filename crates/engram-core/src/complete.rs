//! Completion: what is missing in a memory with gaps, from the memories that are nearest to what is given. A pure
//! function of a state, a pattern, options and time. Modern Hopfield retrieval (Ramsauer et al., ICLR 2021) over a
//! pattern of many fields (Millidge et al., ICML 2022): each candidate has an energy, the weighted sum of how well it
//! agrees with each given field; weights are the softmax of the energies times `beta`; a vector goes to
//! `X softmax(beta X^T xi)` until it stays. Nothing is invented: every value is one that memories hold, word for word, but
//! for a vector that settles between several.
//!
//! `candidates` finds and measures, `settle` moves the vector, `values` decides on the fields.

mod candidates;
mod settle;
pub mod sweep;
mod values;

use crate::Slot;
use crate::cue::Filter;
use crate::error::{Error, Result};
use crate::id::Timestamp;
use crate::limits::{ALTERNATIVES_DEFAULT, ALTERNATIVES_MAX, BETA_MAX, DIMENSIONS_MAX};
use crate::memory::{MemoryKind, check_content, check_entities, check_metadata, check_name};
use crate::state::{Embedder, SpaceState};
use crate::vector::check_embedding;
use candidates::Candidates;
use serde_json::{Map, Value};
use settle::Settled;

/// How sharply weights fall with the energy. At 64 a stored vector stays its own fixed point: with 30 % of its numbers
/// unknown .98 to 1.00 of those of three LoCoMo conversations and of WordNet come back, at 32 .75 to .98, at 16 .01 to
/// .17 (random patterns do from 16 on). Below, memories that are alike settle in their common mean (bench/README.md).
pub const BETA_DEFAULT: f32 = 64.0;

/// A field of a pattern: not asked for, wanted, or given.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Blank<T> {
    /// Neither given nor asked for.
    #[default]
    Absent,
    /// To be found.
    Wanted,
    /// Known.
    Given(T),
}

impl<T> Blank<T> {
    /// What is given.
    pub fn given(&self) -> Option<&T> {
        match self {
            Self::Given(value) => Some(value),
            Self::Absent | Self::Wanted => None,
        }
    }

    fn is_wanted(&self) -> bool {
        matches!(self, Self::Wanted)
    }
}

/// A memory with gaps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pattern {
    /// Text, up to 64 KiB. `...` or `…` in it stands for what is missing.
    pub content: Blank<String>,
    /// A vector of the space's dimension, `None` for each unknown number. What is given may be noisy: it settles.
    pub embedding: Blank<Vec<Option<f32>>>,
    /// Session, conversation or document.
    pub context: Blank<String>,
    /// When it happened.
    pub occurred_at: Blank<Timestamp>,
    /// Names that it mentions.
    pub entities: Blank<Vec<String>>,
    /// Fields by name, null for one that is wanted; wanted as a whole: whatever fields it probably has.
    pub metadata: Blank<Map<String, Value>>,
    /// Episode or concept.
    pub kind: Blank<MemoryKind>,
}

impl Pattern {
    /// Checks the pattern against the limits, and that something is given and something wanted; whether it fits a space
    /// is for the space to say.
    pub fn check(&self) -> Result<()> {
        self.content.given().map_or(Ok(()), |content| check_content(content))?;
        self.embedding.given().map_or(Ok(()), |embedding| check_numbers(embedding))?;
        self.context.given().map_or(Ok(()), |context| check_name("context", context))?;
        self.entities.given().map_or(Ok(()), |entities| check_entities(entities))?;
        self.metadata.given().map_or(Ok(()), check_metadata)?;
        if !self.gives() {
            return invalid(
                "nothing is given to complete from; give content, numbers of the embedding, context, occurred_at, \
                 entities, metadata or kind",
            );
        }
        if !self.wants() {
            return invalid(
                "nothing is wanted, every field has its value; put null where a value shall be found",
            );
        }
        Ok(())
    }

    fn gives(&self) -> bool {
        self.content.given().is_some()
            || self.embedding.given().is_some()
            || self.context.given().is_some()
            || self.occurred_at.given().is_some()
            || self.entities.given().is_some_and(|names| !names.is_empty())
            || self.metadata.given().is_some_and(|fields| fields.values().any(|value| !value.is_null()))
            || self.kind.given().is_some()
    }

    /// A vector is always wanted: what is given of it may be wrong.
    fn wants(&self) -> bool {
        self.content.is_wanted()
            || self.content.given().is_some_and(|content| !pieces(content).is_empty())
            || self.embedding != Blank::Absent
            || self.context.is_wanted()
            || self.occurred_at.is_wanted()
            || self.entities.is_wanted()
            || self.metadata.is_wanted()
            || self.metadata.given().is_some_and(|fields| fields.values().any(Value::is_null))
            || self.kind.is_wanted()
    }

    fn check_against(&self, state: &SpaceState) -> Result<()> {
        match (&self.embedding, state.settings().embedder) {
            (Blank::Given(numbers), _) => crate::recall::check_dimensions(state, &known_numbers(numbers)),
            (Blank::Wanted, Some(Embedder::Builtin { .. })) => invalid(
                "embedding is wanted, but the vectors of this space are made from texts by the built-in embedder and not \
                 given out; leave it out",
            ),
            (Blank::Wanted, Some(Embedder::None)) => {
                invalid("embedding is wanted, but this space was begun without vectors; leave it out")
            }
            (Blank::Wanted | Blank::Absent, _) => Ok(()),
        }
    }
}

/// How to complete.
#[derive(Debug, Clone, PartialEq)]
pub struct CompleteOptions {
    /// Alternatives wanted, 0..=100.
    pub limit: usize,
    /// Only memories that pass count.
    pub filter: Filter,
    /// The present: what has expired by then does not count.
    pub now: Timestamp,
    /// Only what was stored, and not superseded, by then.
    pub as_of: Option<Timestamp>,
    /// How sharply weights fall, above 0, up to 1000: high settles on one memory, low on what several have in common.
    pub beta: f32,
    /// Look at every memory, however many there are.
    pub exact: bool,
}

impl CompleteOptions {
    /// The defaults at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self {
            limit: ALTERNATIVES_DEFAULT,
            filter: Filter::default(),
            now,
            as_of: None,
            beta: BETA_DEFAULT,
            exact: false,
        }
    }

    /// Checks ranges.
    pub fn check(&self) -> Result<()> {
        if self.limit > ALTERNATIVES_MAX {
            return invalid(format!("limit is {}, it must be within 0 and {ALTERNATIVES_MAX}", self.limit));
        }
        if !(self.beta > 0.0 && self.beta <= BETA_MAX) {
            return invalid(format!("beta is {}, it must be above 0 and at most {BETA_MAX}", self.beta));
        }
        self.filter.check()
    }
}

/// A field that completion speaks of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum CompletedField {
    /// `content`.
    Content,
    /// `embedding`.
    Embedding,
    /// `context`.
    Context,
    /// `occurred_at`.
    OccurredAt,
    /// `entities`.
    Entities,
    /// `metadata.<key>`.
    Metadata(String),
    /// `kind`.
    Kind,
}

impl std::fmt::Display for CompletedField {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Content => f.write_str("content"),
            Self::Embedding => f.write_str("embedding"),
            Self::Context => f.write_str("context"),
            Self::OccurredAt => f.write_str("occurred_at"),
            Self::Entities => f.write_str("entities"),
            Self::Metadata(key) => write!(f, "metadata.{key}"),
            Self::Kind => f.write_str("kind"),
        }
    }
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum CompletedValue {
    /// No memory was near enough to tell, or those that are have none.
    Nothing,
    /// Of `content` and `context`.
    Text(String),
    /// Of `embedding`.
    Numbers(Vec<f32>),
    /// Of `occurred_at`.
    Time(Timestamp),
    /// Of `entities`, in lower case where they were found.
    Names(Vec<String>),
    /// Of `metadata.<key>`.
    Json(Value),
    /// Of `kind`.
    Kind(MemoryKind),
}

/// One field, completed.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// Which.
    pub field: CompletedField,
    /// Its value.
    pub value: CompletedValue,
    /// As the caller gave it; otherwise reconstructed.
    pub given: bool,
    /// Probability, 0..=1, that the value is right; 1 where it was given.
    pub confidence: f32,
    /// Memories that hold the value, those that count most first; at most 10.
    pub sources: Vec<Slot>,
}

/// Another memory that might be meant.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// The memory.
    pub slot: Slot,
    /// How well it agrees with what is given, 0..=1.
    pub fit: f32,
    /// What it has in the wanted fields.
    pub fields: Vec<(CompletedField, CompletedValue)>,
}

/// A completed memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The fields of the pattern, in the order of `CompletedField`.
    pub completed: Vec<Completed>,
    /// Others that might be meant, best first, each with other values than the ones before.
    pub alternatives: Vec<Alternative>,
    /// No value that was wanted is more likely right than wrong.
    pub abstain: bool,
}

/// Completes `pattern` from the memories of `state`. Costs a look at every memory up to 131,072 of them (some
/// milliseconds), beyond that at those which index, words and times give; and 256 products of vectors a step, of few steps.
pub fn complete(state: &SpaceState, pattern: &Pattern, options: &CompleteOptions) -> Result<Completion> {
    complete_within(state, pattern, options, candidates::SCANNED_MAX)
}

/// The same, with another bound on how many memories are looked at one by one.
fn complete_within(
    state: &SpaceState,
    pattern: &Pattern,
    options: &CompleteOptions,
    scanned_max: usize,
) -> Result<Completion> {
    options.check()?;
    pattern.check()?;
    pattern.check_against(state)?;
    let scanned_max = if options.exact { usize::MAX } else { scanned_max };
    let candidates = Candidates::find(state, pattern, options, scanned_max);
    candidates.check_at_hand()?;
    let settled = (pattern.embedding != Blank::Absent).then(|| Settled::from(&candidates, options.beta));
    Ok(values::Ballot::new(state, pattern, &candidates, settled.flatten(), options).completion(options.limit))
}

/// The pieces of a content that has gaps, in order; none where it has no gap.
fn pieces(content: &str) -> Vec<&str> {
    let mut pieces: Vec<&str> = content.split("...").flat_map(|part| part.split('…')).collect();
    if pieces.len() == 1 {
        return Vec::new();
    }
    pieces.retain(|piece| !piece.trim_matches(|c: char| c == '.' || c.is_whitespace()).is_empty());
    pieces
}

/// The vector with 0 for each unknown number.
fn known_numbers(numbers: &[Option<f32>]) -> Vec<f32> {
    numbers.iter().map(|number| number.unwrap_or(0.0)).collect()
}

fn check_numbers(numbers: &[Option<f32>]) -> Result<()> {
    if numbers.is_empty() || numbers.len() > DIMENSIONS_MAX {
        return invalid(format!(
            "embedding has {} numbers, it must have 1 to {DIMENSIONS_MAX}",
            numbers.len()
        ));
    }
    if numbers.iter().all(Option::is_none) {
        return invalid("embedding has no known number; give some, or null for the whole of it");
    }
    check_embedding(&known_numbers(numbers))
}

fn invalid<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Invalid(message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::associate::Analysis;
    use crate::hnsw::{self, HnswParams};
    use crate::id::MemoryId;
    use crate::memory::NewMemory;
    use crate::state::{Change, Growing, SpaceSettings};

    /// A thousand memories in 20 groups that are alike, indexed.
    fn indexed() -> SpaceState {
        let settings =
            SpaceSettings { embedder: Some(Embedder::Caller { dimensions: 32 }), ..SpaceSettings::default() };
        let mut state = SpaceState::new(HnswParams::default());
        state.apply(1, Change::Settings(settings), None);
        let mut random = fastrand::Rng::with_seed(3);
        let centers: Vec<Vec<f32>> = (0..20).map(|_| (0..32).map(|_| random.f32() - 0.5).collect()).collect();
        for at in 0..1000u64 {
            let center = &centers[at as usize % 20];
            let memory = NewMemory {
                content: Some(format!("memory{at} of group{}", at % 20)),
                embedding: Some(center.iter().map(|x| x + 0.2 * (random.f32() - 0.5)).collect()),
                occurred_at: Some(Timestamp(at as i64 * 3_600_000_000)),
                context: Some(format!("group{}", at % 20)),
                ..NewMemory::default()
            };
            let memory = memory.complete(MemoryId::new(&format!("m{at}")).unwrap(), Timestamp(0));
            let analysis = Analysis::of(&memory, &settings);
            state.apply(2 + at, Change::Stored(Box::new(memory)), Some(&analysis));
        }
        let mut scratch = hnsw::Scratch::new();
        for slot in 0..1000 {
            let version = state.record(slot).version;
            let level = state.index().level_for(u64::from(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let plan = state.index().prepare(state.vectors().unwrap(), slot, level, &[], &mut scratch);
            state.commit_index(Growing::Serving, slot, version, plan);
        }
        state
    }

    #[test]
    fn what_index_words_and_times_give_completes_as_all_memories_do() {
        let state = indexed();
        let options = CompleteOptions::at(Timestamp(0));
        for slot in (0..1000).step_by(37) {
            let memory = state.memory(slot).unwrap();
            let mut numbers: Vec<Option<f32>> = memory.embedding.unwrap().into_iter().map(Some).collect();
            numbers.iter_mut().step_by(3).for_each(|number| *number = None);
            let patterns = [
                Pattern { embedding: Blank::Given(numbers), context: Blank::Wanted, ..Pattern::default() },
                Pattern {
                    content: Blank::Given(format!("memory{slot}")),
                    context: Blank::Wanted,
                    ..Pattern::default()
                },
                Pattern {
                    occurred_at: Blank::Given(memory.occurred_at),
                    context: Blank::Wanted,
                    ..Pattern::default()
                },
            ];
            for pattern in patterns {
                let all = complete(&state, &pattern, &options).unwrap();
                let pooled = complete_within(&state, &pattern, &options, 0).unwrap();
                assert_eq!(pooled.completed[0].value, all.completed[0].value, "{pattern:?}");
                let context = |done: &Completion| {
                    done.completed.iter().find(|one| one.field == CompletedField::Context).cloned().unwrap()
                };
                assert_eq!(context(&pooled).value, context(&all).value, "{pattern:?}");
                let exact = CompleteOptions { exact: true, ..options.clone() };
                assert_eq!(complete_within(&state, &pattern, &exact, 0).unwrap(), all);
            }
        }
        // Without any of the three, all are looked at.
        let pattern = Pattern {
            context: Blank::Given("group7".into()),
            embedding: Blank::Wanted,
            ..Pattern::default()
        };
        let pooled = complete_within(&state, &pattern, &options, 0).unwrap();
        assert_eq!(pooled, complete(&state, &pattern, &options).unwrap());
    }

    #[test]
    fn contents_fall_into_pieces_at_their_gaps() {
        let cases: [(&str, &[&str]); 6] = [
            ("no gap. None", &[]),
            ("a ... b", &["a ", " b"]),
            ("… a…", &[" a"]),
            ("wait....", &["wait"]),
            ("...", &[]),
            ("… . …", &[]),
        ];
        for (content, expected) in cases {
            assert_eq!(pieces(content), expected, "{content}");
        }
    }
}
