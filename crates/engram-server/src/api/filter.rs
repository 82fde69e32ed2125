//! Which memories: filters, ids, and what is counted or deleted by them.

use super::{Result, memory_ids, shortened};
use crate::error::ApiError;
use engram::{Condition, Field, Filter, MemoryKind, Operand, Selection, Test, clock, kind_name};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::fmt;

objects! {
    FilterIn: "a filter: an object such as {\"must\": [{\"field\": \"metadata.speaker\", \"equals\": \"Ada\"}]}",
    ConditionIn: "a condition: an object such as {\"field\": \"metadata.speaker\", \"equals\": \"Ada\"}",
    CountIn: "an object with filter or ids",
    DeleteIn: "an object with filter or ids",
}

/// A given `null` stays apart from a field that is absent.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> std::result::Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Conditions on fields.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct FilterIn {
    /// All of these hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub must: Vec<ConditionIn>,
    /// At least one of these holds, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub should: Vec<ConditionIn>,
    /// None of these holds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub must_not: Vec<ConditionIn>,
}

/// One test of one field: exactly one of `equals`, `in`, `exists`, or `gte` and `lt`, which may stand together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct ConditionIn {
    /// `metadata.<key>`, `context`, `kind`, `occurred_at` or `stored_at`.
    pub field: String,
    /// The same value.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub equals: Option<Value>,
    /// One of these values.
    #[serde(default, rename = "in", deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub any_of: Option<Vec<Value>>,
    /// At least this number, text or time.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub gte: Option<Value>,
    /// Below this number, text or time.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub lt: Option<Value>,
    /// Whether the field is there and not null.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub exists: Option<bool>,
}

impl TryFrom<FilterIn> for Filter {
    type Error = ApiError;
    fn try_from(filter: FilterIn) -> Result<Filter> {
        let conditions = |list: &str, conditions: Vec<ConditionIn>| -> Result<Vec<Condition>> {
            let place = |at| move |error: ApiError| error.at(&format!("filter.{list}[{at}]"));
            let numbered = conditions.into_iter().enumerate();
            numbered.map(|(at, one)| Condition::try_from(one).map_err(place(at))).collect()
        };
        Ok(Filter {
            must: conditions("must", filter.must)?,
            should: conditions("should", filter.should)?,
            must_not: conditions("must_not", filter.must_not)?,
        })
    }
}

impl TryFrom<ConditionIn> for Condition {
    type Error = ApiError;
    fn try_from(condition: ConditionIn) -> Result<Condition> {
        let field = field(&condition.field)?;
        let operand = |value: Value| operand(&field, &condition.field, value);
        let bound = |value: Value| match &value {
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(ApiError::invalid(format!(
                "\"{}\" is compared with {}; gte and lt need a number or a text",
                shortened(&condition.field),
                shortened(&value.to_string())
            ))),
            Value::Null | Value::Number(_) | Value::String(_) => operand(value),
        };
        let test = match (condition.equals, condition.any_of, condition.gte, condition.lt, condition.exists) {
            (Some(value), None, None, None, None) => Test::Equals(operand(value)?),
            (None, Some(values), None, None, None) => {
                Test::In(values.into_iter().map(operand).collect::<Result<_>>()?)
            }
            (None, None, None, None, Some(wanted)) => Test::Exists(wanted),
            (None, None, gte, lt, None) if gte.is_some() || lt.is_some() => {
                Test::Range { gte: gte.map(bound).transpose()?, lt: lt.map(bound).transpose()? }
            }
            _ => {
                return Err(ApiError::invalid(format!(
                    "the condition on \"{}\" needs exactly one of equals, in, exists, or gte and lt",
                    shortened(&condition.field)
                )));
            }
        };
        Ok(Condition { field, test })
    }
}

fn field(name: &str) -> Result<Field> {
    let path =
        name.strip_prefix("metadata.").map(|path| path.split('.').map(str::to_owned).collect::<Vec<_>>());
    match (name, path) {
        (_, Some(path)) if path.iter().all(|key| !key.is_empty()) => Ok(Field::Metadata(path)),
        ("context", _) => Ok(Field::Context),
        ("kind", _) => Ok(Field::Kind),
        ("occurred_at", _) => Ok(Field::OccurredAt),
        ("stored_at", _) => Ok(Field::StoredAt),
        _ => Err(ApiError::invalid(format!(
            "filters know no field \"{}\"; use metadata.<key>, context, kind, occurred_at or stored_at",
            shortened(name)
        ))),
    }
}

/// What `field` is compared with, refused where no memory could ever pass.
fn operand(field: &Field, name: &str, value: Value) -> Result<Operand> {
    let fault = |want: &str| {
        let found = shortened(&value.to_string());
        Err(ApiError::invalid(format!("\"{name}\" is compared with {found}; it needs {want}")))
    };
    match (field, &value) {
        (_, Value::Null) => fault("a value; to ask for absence use \"exists\": false"),
        (Field::OccurredAt | Field::StoredAt, Value::String(text)) => match clock::parse_rfc3339(text) {
            Ok(time) => Ok(Operand::Time(time)),
            Err(why) => Err(ApiError::invalid(format!("\"{name}\": {why}"))),
        },
        (Field::OccurredAt | Field::StoredAt, _) => {
            fault("a time as RFC 3339, such as \"2026-03-01T09:30:00Z\"")
        }
        (Field::Kind, Value::String(text)) if kinds().contains(&text.as_str()) => Ok(Operand::Json(value)),
        (Field::Kind, _) => fault("\"episode\" or \"concept\""),
        (Field::Context, Value::String(_)) | (Field::Metadata(_), _) => Ok(Operand::Json(value)),
        (Field::Context, _) => fault("a text"),
    }
}

fn kinds() -> [&'static str; 2] {
    [kind_name(MemoryKind::Episode), kind_name(MemoryKind::Concept)]
}

/// Which memories to count; all when nothing is given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct CountIn {
    /// Those that pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterIn>,
    /// Those with these ids; with a filter, those of them that pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
}

/// How many there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountOut {
    /// Memories.
    pub count: usize,
}

/// Which memories to delete. Something must be given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct DeleteIn {
    /// Those that pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterIn>,
    /// Those with these ids; with a filter, those of them that pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// Only those that are faded: remembered with a smaller probability than the space's `forget_below`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub faded: bool,
    /// Count only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What was deleted, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteOut {
    /// Memories that were deleted; with `dry_run`, that would be.
    pub count: usize,
    /// Their ids; absent with `dry_run`, but for the faded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// Whether nothing was done.
    pub dry_run: bool,
}

pub(crate) fn selection(filter: Option<FilterIn>, ids: Option<Vec<String>>) -> Result<Selection> {
    let ids = ids.map(|ids| memory_ids(Some(ids))).transpose()?;
    let filter = filter.map(Filter::try_from).transpose()?.unwrap_or_default();
    filter.check().map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(Selection { ids, filter, faded: false })
}
