//! What a recall starts from (`Cue`, `RecallOptions`, `Filter`) and what it gives (`Answer`, `Hit`).

use crate::Slot;
use crate::calibrate::Evidence;
use crate::confidence::Objection;
use crate::error::{Error, Result};
use crate::facts::Facts;
use crate::id::{MemoryId, Timestamp};
use crate::limits::{CONTENT_BYTES_MAX, CUE_IDS_MAX, FILTER_CONDITIONS_MAX, LIMIT_DEFAULT, LIMIT_MAX};
use crate::memory::MemoryKind;
use crate::vector::check_embedding;
use crate::without::Without;
use serde_json::Value;

/// What a recall starts from: any of words, a vector, and memories. What it names by id is not among the hits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cue {
    /// Words, up to 64 KiB.
    pub text: Option<String>,
    /// A vector of the space's dimension.
    pub embedding: Option<Vec<f32>>,
    /// Memories that are in mind already.
    pub ids: Vec<MemoryId>,
}

impl Cue {
    /// A cue of words alone.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }

    /// Checks the cue against the limits; whether it fits a space is for the space to say.
    pub fn check(&self) -> Result<()> {
        if self.text.is_none() && self.embedding.is_none() && self.ids.is_empty() {
            return Err(Error::Invalid("a cue needs text, an embedding or ids, and has none of them".into()));
        }
        if let Some(text) = &self.text {
            if text.trim().is_empty() {
                return Err(Error::Invalid(
                    "text of the cue is empty; leave it out to ask by vector or ids".into(),
                ));
            }
            if text.len() > CONTENT_BYTES_MAX {
                return Err(Error::Invalid(format!(
                    "text of the cue has {} bytes, at most {CONTENT_BYTES_MAX} are allowed",
                    text.len()
                )));
            }
        }
        if self.ids.len() > CUE_IDS_MAX {
            return Err(Error::Invalid(format!(
                "ids has {} entries, at most {CUE_IDS_MAX} are allowed",
                self.ids.len()
            )));
        }
        self.embedding.as_deref().map_or(Ok(()), check_embedding)
    }
}

/// How to recall.
#[derive(Debug, Clone, PartialEq)]
pub struct RecallOptions {
    /// Hits wanted, 1..=1000.
    pub limit: usize,
    /// Only memories that pass are hits; activation may still flow through others.
    pub filter: Filter,
    /// The present: for retrievability, expiry, and words such as "yesterday".
    pub now: Timestamp,
    /// Only what was stored, and not superseded, by then.
    pub as_of: Option<Timestamp>,
    /// Hits below this relevance are left out.
    pub relevance_min: Option<f32>,
    /// Associations that spreading may visit; a default bound when absent. 0 means no spreading.
    pub budget: Option<usize>,
    /// Compare with every vector instead of asking the index.
    pub exact: bool,
    /// Look at the concepts that consolidation made first, and only at the sources of the best of them: fewer memories
    /// are looked at, and some hits missed.
    pub through_concepts: bool,
    /// Give each hit its parts and paths.
    pub explain: bool,
    /// Parts of recall to leave out, to see what each is worth.
    pub without: Without,
}

impl RecallOptions {
    /// The defaults at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self {
            limit: LIMIT_DEFAULT,
            filter: Filter::default(),
            now,
            as_of: None,
            relevance_min: None,
            budget: None,
            exact: false,
            through_concepts: false,
            explain: false,
            without: Without::default(),
        }
    }

    /// Checks ranges.
    pub fn check(&self) -> Result<()> {
        if !(1..=LIMIT_MAX).contains(&self.limit) {
            return Err(Error::Invalid(format!(
                "limit is {}, it must be within 1 and {LIMIT_MAX}",
                self.limit
            )));
        }
        if let Some(min) = self.relevance_min
            && !(0.0..=1.0).contains(&min)
        {
            return Err(Error::Invalid(format!("min_relevance is {min}, it must be within 0 and 1")));
        }
        self.filter.check()
    }
}

/// Conditions on fields: every `must` holds, at least one `should` where there is any, and no `must_not`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// All of these.
    pub must: Vec<Condition>,
    /// At least one of these, if any are given.
    pub should: Vec<Condition>,
    /// None of these.
    pub must_not: Vec<Condition>,
}

/// One test of one field.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// The field.
    pub field: Field,
    /// The test.
    pub test: Test,
}

/// A field that a filter can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// `metadata.a.b`: a path into the metadata.
    Metadata(Vec<String>),
    /// `context`.
    Context,
    /// `kind`: `episode` or `concept`.
    Kind,
    /// `occurred_at`.
    OccurredAt,
    /// `stored_at`.
    StoredAt,
}

/// A test. An array in the metadata passes when one of its elements does.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// The same value.
    Equals(Operand),
    /// One of these values.
    In(Vec<Operand>),
    /// At least, and below: numbers by size, texts by code point, times by time.
    Range {
        /// Inclusive.
        gte: Option<Operand>,
        /// Exclusive.
        lt: Option<Operand>,
    },
    /// Present (and not null), or absent.
    Exists(bool),
}

/// What a field is compared with.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand {
    /// A value of the metadata, a context or a kind.
    Json(Value),
    /// An instant, for `occurred_at` and `stored_at`.
    Time(Timestamp),
}

impl Filter {
    /// Whether it lets everything pass.
    pub fn is_empty(&self) -> bool {
        self.must.is_empty() && self.should.is_empty() && self.must_not.is_empty()
    }

    /// Whether it asks for memories of a kind.
    pub fn asks_for_kind(&self) -> bool {
        self.must
            .iter()
            .chain(&self.should)
            .chain(&self.must_not)
            .any(|condition| condition.field == Field::Kind)
    }

    /// Checks the number of conditions.
    pub fn check(&self) -> Result<()> {
        let conditions = self.must.len() + self.should.len() + self.must_not.len();
        if conditions > FILTER_CONDITIONS_MAX {
            return Err(Error::Invalid(format!(
                "filter has {conditions} conditions, at most {FILTER_CONDITIONS_MAX} are allowed; \"in\" takes many values"
            )));
        }
        Ok(())
    }

    /// Whether `memory` passes.
    pub fn passes(&self, memory: &Facts) -> bool {
        self.must.iter().all(|condition| condition.holds(memory))
            && (self.should.is_empty() || self.should.iter().any(|condition| condition.holds(memory)))
            && !self.must_not.iter().any(|condition| condition.holds(memory))
    }
}

impl Condition {
    fn holds(&self, memory: &Facts) -> bool {
        match &self.field {
            Field::Metadata(path) => self.test.holds_for(metadata_at(memory, path)),
            Field::Context => self.test.holds_for_text(memory.context()),
            Field::Kind => self.test.holds_for_text(Some(kind_name(memory.kind))),
            Field::OccurredAt => self.test.holds_for_time(memory.occurred_at),
            Field::StoredAt => self.test.holds_for_time(memory.stored_at),
        }
    }
}

/// The name of a kind, as filters and users write it.
pub fn kind_name(kind: MemoryKind) -> &'static str {
    match kind {
        MemoryKind::Episode => "episode",
        MemoryKind::Concept => "concept",
    }
}

fn metadata_at<'a>(memory: &'a Facts, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(memory.metadata().get(first)?, |value, key| value.get(key))
}

impl Test {
    fn holds_for(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Test::Exists(wanted), value) => *wanted == value.is_some_and(|v| !v.is_null()),
            (_, None) => false,
            (_, Some(Value::Array(items)))
                if !matches!(self, Test::Equals(Operand::Json(Value::Array(_)))) =>
            {
                items.iter().any(|item| self.holds_for(Some(item)))
            }
            (Test::Equals(operand), Some(value)) => operand.equals(value),
            (Test::In(operands), Some(value)) => operands.iter().any(|operand| operand.equals(value)),
            (Test::Range { gte, lt }, Some(value)) => {
                gte.as_ref().is_none_or(|bound| bound.compare(value).is_some_and(|order| order.is_ge()))
                    && lt.as_ref().is_none_or(|bound| bound.compare(value).is_some_and(|order| order.is_lt()))
            }
        }
    }

    /// As `holds_for` a JSON text, without making one.
    fn holds_for_text(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return self.holds_for(None) };
        let own = |operand: &Operand| match operand {
            Operand::Json(Value::String(own)) => Some(text.cmp(own)),
            _ => None,
        };
        let is = |operand: &Operand| own(operand).is_some_and(|order| order.is_eq());
        match self {
            Test::Exists(wanted) => *wanted,
            Test::Equals(operand) => is(operand),
            Test::In(operands) => operands.iter().any(is),
            Test::Range { gte, lt } => {
                gte.as_ref().is_none_or(|bound| own(bound).is_some_and(|order| order.is_ge()))
                    && lt.as_ref().is_none_or(|bound| own(bound).is_some_and(|order| order.is_lt()))
            }
        }
    }

    fn holds_for_time(&self, time: Timestamp) -> bool {
        let is = |operand: &Operand| *operand == Operand::Time(time);
        let bound = |operand: &Operand| match operand {
            Operand::Time(at) => Some(*at),
            Operand::Json(_) => None,
        };
        match self {
            Test::Exists(wanted) => *wanted,
            Test::Equals(operand) => is(operand),
            Test::In(operands) => operands.iter().any(is),
            Test::Range { gte, lt } => {
                gte.as_ref().is_none_or(|at| bound(at).is_some_and(|at| time >= at))
                    && lt.as_ref().is_none_or(|at| bound(at).is_some_and(|at| time < at))
            }
        }
    }
}

impl Operand {
    /// Numbers are equal by value, so that a filter for 1 finds 1.0.
    fn equals(&self, value: &Value) -> bool {
        match self {
            Operand::Json(own) => own == value || (own.is_number() && own.as_f64() == value.as_f64()),
            Operand::Time(_) => false,
        }
    }

    /// How `value` compares with this operand; `None` where the two are not of one type.
    fn compare(&self, value: &Value) -> Option<std::cmp::Ordering> {
        match (value, self) {
            (Value::Number(a), Operand::Json(Value::Number(b))) => a.as_f64()?.partial_cmp(&b.as_f64()?),
            (Value::String(a), Operand::Json(Value::String(b))) => Some(a.cmp(b)),
            _ => None,
        }
    }
}

/// One recalled memory, by its slot in the state that was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Where the memory stands.
    pub slot: Slot,
    /// Orders the hits of one recall; says nothing across recalls.
    pub score: f32,
    /// Calibrated probability, 0..=1, that this hit is what the cue was after.
    pub relevance: f32,
    /// Between which bounds the relevance would lie, had one of the sets that it was fitted to been missing.
    pub relevance_range: [f32; 2],
    /// Probability, 0..=1, that the memory is still remembered now.
    pub retrievability: f32,
    /// How sure its sources are, 0..=1: its own, its duplicates', and those that speak against it.
    pub confidence: f32,
    /// Memories that say the same as this one, which stands for them, best first.
    pub duplicates: Vec<Slot>,
    /// Memories that contradict or supersede it.
    pub objections: Vec<Objection>,
    /// The concept that stands for it.
    pub concept: Option<Slot>,
    /// What made the score.
    pub parts: Parts,
    /// How activation came here, strongest first; filled when explaining.
    pub paths: Vec<Path>,
    /// What the relevance rests on.
    pub evidence: Evidence,
}

/// The evidence behind a hit.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Parts {
    /// Cosine of the cue's vector and the memory's; 0 where either has none.
    pub dense: f32,
    /// BM25 of the cue's words in the memory's.
    pub lexical: f32,
    /// Activation that reached the memory from other seeds, 0..=1.
    pub activation: f32,
    /// How much the memory adds, over names that it shares with one of the first hits, to what that hit leaves
    /// unexplained of the cue, 0..=1.
    pub bridge: f32,
    /// How well its time fits what the cue's words say about time, 0..=1; 0 where they say nothing.
    pub time: f32,
}

/// One way that activation took.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// How much of the hit's activation came this way; the shares of a hit's paths sum to its activation.
    pub share: f32,
    /// From the seed to the hit.
    pub steps: Vec<Step>,
}

/// One step of a path. The first step is the seed and has no `via`.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// What led here: `next`, `previous`, `entity:<name>`, or the kind of a link (`<kind>^-1` against it).
    pub via: Option<String>,
    /// Part of the activation at the step before that went this way, 0..=1; 1 for the seed.
    pub weight: f32,
    /// The memory reached.
    pub memory: Slot,
}

/// What a recall gives.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// Best first.
    pub hits: Vec<Hit>,
    /// Nothing here is likely to be what the cue was after.
    pub abstain: bool,
    /// Memories that were activated or compared by the ranking.
    pub activated: usize,
    /// A budget left something out, or common words may have hidden a memory: no bound proved that none was missed.
    pub truncated: bool,
}
