//! Memories, one or many, as they are stored, shown, changed and listed; and associations.

use super::embedding::{EmbeddingOut, WithEmbedding, embedding, with_embedding_text};
use super::{Result, Time, UsageOut, from_json, memory_id, shortened};
use crate::error::ApiError;
use engram::{Link, Memory, MemoryKind, NewMemory};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// Memories of one page of a list that does not say.
pub const PAGE_DEFAULT: usize = 100;
/// Memories that one page of a list may have.
pub const PAGE_MAX: usize = 1000;

objects! {
    MemoryIn: "a memory: an object such as {\"content\": \"Ada moved to Lisbon\"}",
    StoreIn: "a memory, or {\"memories\": [...]}",
    LinkIn: "a link: an object such as {\"to\": \"m2\", \"kind\": \"next\", \"weight\": 0.5}",
    AssociationIn: "an association: an object such as {\"from\": \"m1\", \"to\": \"m2\", \"kind\": \"next\"}",
}

/// A memory as callers give it and as files of memories hold it. `stored_at` cannot be given.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct MemoryIn {
    /// Assigned when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Text, up to 64 KiB. Content or embedding is required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// 1 to 4096 finite numbers, not all zero.
    #[serde(deserialize_with = "embedding", skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Vec<f32>>,
    /// When it happened; now when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Time>,
    /// Session, conversation or document that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Names that it mentions, beside those that Engram finds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entities: Option<Vec<String>>,
    /// Explicit associations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<Vec<LinkIn>>,
    /// How sure the source is, 0..=1; 1 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
    /// Anything; filters reach it as `metadata.<key>`.
    #[serde(deserialize_with = "metadata", skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// `episode` (when absent) or `concept`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// From then on no recall shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

fn metadata<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<Option<Map<String, Value>>, D::Error> {
    Ok(Option::<Metadata>::deserialize(deserializer)?.map(|metadata| metadata.0))
}

pub(super) struct Metadata(pub(super) Map<String, Value>);

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Metadata;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("metadata: an object such as {\"speaker\": \"Ada\"}")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Metadata, A::Error> {
                unique_keys(map).map(Metadata)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Any JSON, with each key once: of two, serde_json would keep the last and lose the first without a word.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Unique;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }
            fn visit_unit<E>(self) -> std::result::Result<Unique, E> {
                Ok(Unique(Value::Null))
            }
            fn visit_bool<E>(self, value: bool) -> std::result::Result<Unique, E> {
                Ok(Unique(value.into()))
            }
            fn visit_i64<E>(self, value: i64) -> std::result::Result<Unique, E> {
                Ok(Unique(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> std::result::Result<Unique, E> {
                Ok(Unique(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> std::result::Result<Unique, E> {
                Ok(Unique(value.into()))
            }
            fn visit_str<E>(self, value: &str) -> std::result::Result<Unique, E> {
                Ok(Unique(value.into()))
            }
            fn visit_string<E>(self, value: String) -> std::result::Result<Unique, E> {
                Ok(Unique(value.into()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Unique, A::Error> {
                let mut array = Vec::new();
                while let Some(Unique(item)) = items.next_element()? {
                    array.push(item);
                }
                Ok(Unique(array.into()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<Unique, A::Error> {
                unique_keys(map).map(|object| Unique(object.into()))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

fn unique_keys<'de, A: MapAccess<'de>>(mut map: A) -> std::result::Result<Map<String, Value>, A::Error> {
    let mut object = Map::new();
    while let Some(key) = map.next_key::<String>()? {
        if object.contains_key(&key) {
            return Err(de::Error::custom(format_args!("duplicate field `{}`", shortened(&key))));
        }
        let Unique(value) = map.next_value()?;
        object.insert(key, value);
    }
    Ok(object)
}

/// What a memory is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One event, as told.
    Episode,
    /// Made from several.
    Concept,
}

impl From<Kind> for MemoryKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Episode => MemoryKind::Episode,
            Kind::Concept => MemoryKind::Concept,
        }
    }
}

impl From<MemoryKind> for Kind {
    fn from(kind: MemoryKind) -> Self {
        match kind {
            MemoryKind::Episode => Kind::Episode,
            MemoryKind::Concept => Kind::Concept,
        }
    }
}

/// An explicit association that leaves a memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct LinkIn {
    /// The memory that it leads to, stored or not.
    pub to: String,
    /// What relates the two, in the caller's words.
    pub kind: String,
    /// Strength in (0, 1].
    #[serde(default = "full_weight")]
    pub weight: f32,
}

fn full_weight() -> f32 {
    1.0
}

impl TryFrom<LinkIn> for Link {
    type Error = ApiError;
    fn try_from(link: LinkIn) -> Result<Link> {
        Ok(Link { to: memory_id(&link.to)?, kind: link.kind, weight: link.weight })
    }
}

impl From<&Link> for LinkIn {
    fn from(link: &Link) -> Self {
        LinkIn { to: link.to.to_string(), kind: link.kind.clone(), weight: link.weight }
    }
}

impl TryFrom<MemoryIn> for NewMemory {
    type Error = ApiError;
    fn try_from(memory: MemoryIn) -> Result<NewMemory> {
        let links = memory.links.map(|links| links.into_iter().map(Link::try_from).collect::<Result<_>>());
        Ok(NewMemory {
            id: memory.id.as_deref().map(memory_id).transpose()?,
            content: memory.content,
            embedding: memory.embedding,
            occurred_at: memory.occurred_at.map(|time| time.0),
            context: memory.context,
            entities: memory.entities,
            links: links.transpose()?,
            confidence: memory.confidence,
            metadata: memory.metadata,
            kind: memory.kind.map(MemoryKind::from),
            expires_at: memory.expires_at.map(|time| time.0),
        })
    }
}

/// What storing again would give: defaults that are in force are left out, so that a file of memories is small and
/// export, import, export gives the same bytes.
impl From<Memory> for MemoryIn {
    fn from(memory: Memory) -> Self {
        MemoryIn {
            id: Some(memory.id.to_string()),
            content: memory.content,
            embedding: memory.embedding,
            occurred_at: Some(Time(memory.occurred_at)),
            context: memory.context,
            entities: (!memory.entities.is_empty()).then_some(memory.entities),
            links: (!memory.links.is_empty()).then(|| memory.links.iter().map(LinkIn::from).collect()),
            confidence: (memory.confidence != 1.0).then_some(memory.confidence),
            metadata: (!memory.metadata.is_empty()).then_some(memory.metadata),
            kind: (memory.kind != MemoryKind::Episode).then_some(memory.kind.into()),
            expires_at: memory.expires_at.map(Time),
        }
    }
}

/// Fields of a memory to change. There is no way yet to clear one, so a `null` is refused and not passed over.
pub fn patch_from_json(json: &[u8]) -> Result<MemoryIn> {
    let patch: MemoryIn = from_json(json)?;
    let fields: BTreeMap<String, Option<de::IgnoredAny>> = from_json(json)?;
    match fields.iter().find(|(_, value)| value.is_none()) {
        Some((field, _)) => Err(ApiError::invalid(format!(
            "{field} is null, and a PATCH cannot clear a field; give a value, leave it out, or store the whole \
             memory again with \"replace\": true"
        ))),
        None if fields.is_empty() => Err(ApiError::invalid("the patch gives no field; name those to change")),
        None => Ok(patch),
    }
}

/// One memory, or many under `memories`; all are stored or none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct StoreIn {
    /// Many memories.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memories: Option<Vec<MemoryIn>>,
    /// Take the place of memories with these ids, where the values differ. A conflict otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replace: Option<bool>,
    /// As in `MemoryIn`, like all that follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// See `MemoryIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// See `MemoryIn`.
    #[serde(deserialize_with = "embedding", skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Vec<f32>>,
    /// See `MemoryIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Time>,
    /// See `MemoryIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// See `MemoryIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entities: Option<Vec<String>>,
    /// See `MemoryIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub links: Option<Vec<LinkIn>>,
    /// See `MemoryIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f32>,
    /// See `MemoryIn`.
    #[serde(deserialize_with = "metadata", skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Map<String, Value>>,
    /// See `MemoryIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// See `MemoryIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
}

impl StoreIn {
    /// Many memories.
    pub fn many(memories: Vec<MemoryIn>, replace: bool) -> Self {
        StoreIn { memories: Some(memories), replace: replace.then_some(true), ..Self::default() }
    }

    /// The memories, checked one by one so that an error says which of many is at fault.
    pub(crate) fn into_memories(self) -> Result<Vec<NewMemory>> {
        let StoreIn {
            memories,
            replace: _,
            id,
            content,
            embedding,
            occurred_at,
            context,
            entities,
            links,
            ..
        } = self;
        let (confidence, metadata, kind, expires_at) =
            (self.confidence, self.metadata, self.kind, self.expires_at);
        let one = MemoryIn {
            id,
            content,
            embedding,
            occurred_at,
            context,
            entities,
            links,
            confidence,
            metadata,
            kind,
            expires_at,
        };
        let Some(memories) = memories else { return Ok(vec![checked(one)?]) };
        if one != MemoryIn::default() {
            return Err(ApiError::invalid(
                "the body has \"memories\" and fields of a memory beside it; give one memory, or \"memories\" alone",
            ));
        }
        if memories.is_empty() {
            return Err(ApiError::invalid("memories is empty; give at least one memory"));
        }
        let place = |at| move |error: ApiError| error.at(&format!("memories[{at}]"));
        memories.into_iter().enumerate().map(|(at, memory)| checked(memory).map_err(place(at))).collect()
    }
}

fn checked(memory: MemoryIn) -> Result<NewMemory> {
    let memory = NewMemory::try_from(memory)?;
    memory.check().map_err(|error| ApiError::invalid(error.to_string()))?;
    Ok(memory)
}

/// What was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreOut {
    /// In the order given.
    pub ids: Vec<String>,
    /// Place in the log of the space.
    pub position: u64,
}

/// A change that has no other result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionOut {
    /// Place in the log of the space.
    pub position: u64,
}

/// A memory as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryOut {
    /// Unique in its space.
    pub id: String,
    /// Text, verbatim; absent where only a vector was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Only when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedding: Option<EmbeddingOut>,
    /// When it happened.
    pub occurred_at: Time,
    /// When it was stored.
    pub stored_at: Time,
    /// Session, conversation or document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Names given by the caller.
    pub entities: Vec<String>,
    /// Explicit associations.
    pub links: Vec<LinkIn>,
    /// How sure the source was, 0..=1.
    pub confidence: f32,
    /// Metadata, verbatim.
    pub metadata: Map<String, Value>,
    /// `episode` or `concept`.
    pub kind: Kind,
    /// From then on no recall shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// How it was used; only when the memory is asked for by its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<UsageOut>,
}

impl MemoryOut {
    /// The memory, with its embedding only if asked for.
    pub fn new(memory: Memory, with_embedding: WithEmbedding) -> Self {
        MemoryOut {
            id: memory.id.to_string(),
            content: memory.content,
            embedding: with_embedding.shape(memory.embedding),
            occurred_at: Time(memory.occurred_at),
            stored_at: Time(memory.stored_at),
            context: memory.context,
            entities: memory.entities,
            links: memory.links.iter().map(LinkIn::from).collect(),
            confidence: memory.confidence,
            metadata: memory.metadata,
            kind: memory.kind.into(),
            expires_at: memory.expires_at.map(Time),
            usage: None,
        }
    }
}

/// Which page of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListQuery {
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// 1 to 1000; 100 when absent.
    #[serde(deserialize_with = "page_limit", skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Whether memories come with their embeddings.
    #[serde(deserialize_with = "with_embedding_text", skip_serializing_if = "WithEmbedding::is_no")]
    pub with_embedding: WithEmbedding,
}

fn page_limit<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<usize>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|_| {
        de::Error::custom(format_args!(
            "found {:?}, expected a whole number within 1 and {PAGE_MAX}",
            shortened(&text)
        ))
    })
}

/// How to show one memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GetQuery {
    /// Whether the memory comes with its embedding.
    #[serde(deserialize_with = "with_embedding_text", skip_serializing_if = "WithEmbedding::is_no")]
    pub with_embedding: WithEmbedding,
}

/// A page of memories, in the order of arrival.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListOut {
    /// The memories.
    pub memories: Vec<MemoryOut>,
    /// Cursor of the next page; null at the end.
    pub next: Option<String>,
}

/// Callers shall take a cursor as it is; the letter keeps them from counting.
pub(crate) fn cursor_text(after: u64) -> String {
    format!("c{after:x}")
}

/// The place that a cursor names.
pub(crate) fn cursor_place(cursor: &str) -> Result<u64> {
    let place = cursor.strip_prefix('c').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    place.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or_else(|| {
        ApiError::invalid(format!(
            "cursor {:?} is not one that a list gave; use \"next\" of the page before, or leave it out",
            shortened(cursor)
        ))
    })
}

/// An association, by its ends and kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct AssociationIn {
    /// The memory that it leaves.
    pub from: String,
    /// The memory that it leads to.
    pub to: String,
    /// What relates the two.
    pub kind: String,
    /// Strength in (0, 1]; 1 when absent. Of no account when deleting.
    #[serde(default = "full_weight")]
    pub weight: f32,
}
