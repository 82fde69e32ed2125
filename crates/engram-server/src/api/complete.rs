//! Wire types of completion: a memory with gaps in, its fields with where they come from out. The one request in which
//! `null` is not "not given": here it is what is wanted.

use super::embedding::embedding_gap;
use super::{FilterIn, Kind, Metadata, Result, Time};
use crate::error::ApiError;
use engram::{
    BETA_DEFAULT, Blank, CompleteOptions, CompletedAlternative, CompletedField, CompletedMemory,
    CompletedPart, CompletedValue, Filter, MemoryId, MemoryKind, Pattern, Timestamp,
};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

objects! {
    CompleteIn: "a memory with gaps: an object such as {\"content\": null, \"metadata\": {\"speaker\": \"Ada\"}}",
}

/// A memory with gaps, and how to complete it. Of a field, `None` is not asked for, `Some(None)` (`null`) is wanted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct CompleteIn {
    /// Text, up to 64 KiB; `...` or `…` in it stands for what is missing.
    #[serde(deserialize_with = "gap", skip_serializing_if = "Option::is_none")]
    pub content: Option<Option<String>>,
    /// A vector of the space's dimension, null for each unknown number.
    #[serde(deserialize_with = "embedding_gap", skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Option<Vec<Option<f32>>>>,
    /// Session, conversation or document.
    #[serde(deserialize_with = "gap", skip_serializing_if = "Option::is_none")]
    pub context: Option<Option<String>>,
    /// When it happened.
    #[serde(deserialize_with = "gap", skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Option<Time>>,
    /// Names that it mentions.
    #[serde(deserialize_with = "gap", skip_serializing_if = "Option::is_none")]
    pub entities: Option<Option<Vec<String>>>,
    /// Fields by name, null for each that is wanted; null as a whole: those that it probably has.
    #[serde(deserialize_with = "metadata_gap", skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Option<Map<String, Value>>>,
    /// `episode` or `concept`.
    #[serde(deserialize_with = "gap", skip_serializing_if = "Option::is_none")]
    pub kind: Option<Option<Kind>>,
    /// Alternatives wanted, 0 to 100; 3 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only memories that pass count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterIn>,
    /// The present; the clock when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Time>,
    /// Only what was stored, and not superseded, by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
    /// How sharply weights fall, above 0, up to 1000; 64 when absent. Low: what several memories have in common.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beta: Option<f32>,
    /// Look at every memory, however many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
}

/// A field that is there, null or not.
fn gap<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn metadata_gap<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Option<Map<String, Value>>>, D::Error> {
    Ok(Some(Option::<Metadata>::deserialize(deserializer)?.map(|metadata| metadata.0)))
}

fn blank<T, U>(field: Option<Option<T>>, value: impl Fn(T) -> U) -> Blank<U> {
    match field {
        None => Blank::Absent,
        Some(None) => Blank::Wanted,
        Some(Some(given)) => Blank::Given(value(given)),
    }
}

impl CompleteIn {
    /// The pattern and how to complete it. `now` is the present, unless the request names another.
    pub(crate) fn into_parts(self, now: Timestamp) -> Result<(Pattern, CompleteOptions)> {
        let mut options = CompleteOptions::at(self.now.map_or(now, |time| time.0));
        options.limit = self.limit.unwrap_or(options.limit);
        options.filter = self.filter.map(Filter::try_from).transpose()?.unwrap_or_default();
        options.as_of = self.as_of.map(|time| time.0);
        options.beta = self.beta.unwrap_or(BETA_DEFAULT);
        options.exact = self.exact.unwrap_or(false);
        options.check().map_err(|error| ApiError::invalid(error.to_string()))?;
        let pattern = Pattern {
            content: blank(self.content, |text| text),
            embedding: blank(self.embedding, |numbers| numbers),
            context: blank(self.context, |name| name),
            occurred_at: blank(self.occurred_at, |time| time.0),
            entities: blank(self.entities, |names| names),
            metadata: blank(self.metadata, |fields| fields),
            kind: blank(self.kind, MemoryKind::from),
        };
        pattern.check().map_err(|error| ApiError::invalid(error.to_string()))?;
        Ok((pattern, options))
    }
}

/// A completed memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompleteOut {
    /// Every field of the request by its name, metadata as `metadata.<key>`.
    pub completed: BTreeMap<String, CompletedOut>,
    /// Other memories that might be meant, best first, each with other values than the ones before.
    pub alternatives: Vec<AlternativeOut>,
    /// Whether no value that was wanted is more likely right than wrong.
    pub abstain: bool,
}

/// One field of a completed memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletedOut {
    /// Its value; null where no memory tells, or those that do have none.
    pub value: Value,
    /// Whether it is as given; otherwise reconstructed.
    pub given: bool,
    /// Probability, 0..=1, that the value is right; 1 where it was given.
    pub confidence: f32,
    /// Ids of memories that hold the value, those that count most first; at most 10.
    pub sources: Vec<String>,
}

/// Another memory that might be meant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlternativeOut {
    /// The memory.
    pub id: String,
    /// How well it agrees with what is given, 0..=1.
    pub fit: f32,
    /// What it has in the wanted fields, by name.
    pub fields: BTreeMap<String, Value>,
}

impl From<CompletedMemory> for CompleteOut {
    fn from(memory: CompletedMemory) -> Self {
        CompleteOut {
            completed: memory.completed.into_iter().map(named).collect(),
            alternatives: memory.alternatives.into_iter().map(AlternativeOut::from).collect(),
            abstain: memory.abstain,
        }
    }
}

fn named(part: CompletedPart) -> (String, CompletedOut) {
    let field = part.field.to_string();
    let out = CompletedOut {
        value: json(part.value),
        given: part.given,
        confidence: part.confidence,
        sources: part.sources.iter().map(MemoryId::to_string).collect(),
    };
    (field, out)
}

impl From<CompletedAlternative> for AlternativeOut {
    fn from(alternative: CompletedAlternative) -> Self {
        let field = |(field, value): (CompletedField, CompletedValue)| (field.to_string(), json(value));
        AlternativeOut {
            id: alternative.id.to_string(),
            fit: alternative.fit,
            fields: alternative.fields.into_iter().map(field).collect(),
        }
    }
}

fn json(value: CompletedValue) -> Value {
    match value {
        CompletedValue::Nothing => Value::Null,
        CompletedValue::Text(text) => text.into(),
        // Through the shortest text of each f32, so that a number comes back as it was given.
        CompletedValue::Numbers(numbers) => numbers.into_iter().map(short).collect(),
        CompletedValue::Time(time) => engram::clock::format_rfc3339(time).into(),
        CompletedValue::Names(names) => names.into(),
        CompletedValue::Json(value) => value,
        CompletedValue::Kind(kind) => engram::kind_name(kind).into(),
    }
}

fn short(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}
