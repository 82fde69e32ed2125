//! A memory, as given by a caller (`NewMemory`) and as kept (`Memory`), and the checks between the two.

use crate::error::{Error, Result, shown};
use crate::id::{MemoryId, Timestamp};
use crate::limits::{
    CONTENT_BYTES_MAX, ENTITIES_MAX, LINKS_MAX, METADATA_BYTES_MAX, NAME_BYTES_MAX, NESTING_MAX,
};
use crate::vector::check_embedding;
use serde_json::{Map, Value};

/// What a memory is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryKind {
    /// One event, as told.
    #[default]
    Episode,
    /// Made from several episodes by consolidation, or given as such.
    Concept,
}

/// An explicit association of one memory to another, which need not be stored yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The memory that the link leads to.
    pub to: MemoryId,
    /// What relates the two, in the caller's words: `hypernym`, `supersedes`, ...
    pub kind: String,
    /// Strength in (0, 1].
    pub weight: f32,
}

/// A memory as a caller gives it. `None` is "not given", which is not the same as empty: storing an id again compares
/// only the fields that are given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewMemory {
    /// Assigned when absent.
    pub id: Option<MemoryId>,
    /// Text, up to 64 KiB, not blank. Content or embedding is required.
    pub content: Option<String>,
    /// 1 to 4096 finite numbers, not all zero.
    pub embedding: Option<Vec<f32>>,
    /// When it happened; the time of storing when absent.
    pub occurred_at: Option<Timestamp>,
    /// Session, conversation or document that it belongs to.
    pub context: Option<String>,
    /// Names that it mentions, beside those that are found in the content.
    pub entities: Option<Vec<String>>,
    /// Explicit associations.
    pub links: Option<Vec<Link>>,
    /// How sure the source is, 0..=1; 1 when absent.
    pub confidence: Option<f32>,
    /// Anything; filters reach it as `metadata.<key>`.
    pub metadata: Option<Map<String, Value>>,
    /// Episode when absent.
    pub kind: Option<MemoryKind>,
    /// From then on no recall shows it.
    pub expires_at: Option<Timestamp>,
}

/// A memory as it is kept, with every field decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory {
    /// Unique in its space.
    pub id: MemoryId,
    /// Text, verbatim.
    pub content: Option<String>,
    /// Vector, verbatim (not normalised).
    pub embedding: Option<Vec<f32>>,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// Session, conversation or document.
    pub context: Option<String>,
    /// Names given by the caller.
    pub entities: Vec<String>,
    /// Explicit associations that leave it, ordered by target, then kind.
    pub links: Vec<Link>,
    /// How sure the source was, 0..=1.
    pub confidence: f32,
    /// Metadata, verbatim.
    pub metadata: Map<String, Value>,
    /// Episode or concept.
    pub kind: MemoryKind,
    /// From then on no recall shows it.
    pub expires_at: Option<Timestamp>,
}

impl From<Memory> for NewMemory {
    /// What would store the memory again as it is, but for `stored_at`.
    fn from(memory: Memory) -> Self {
        Self {
            id: Some(memory.id),
            content: memory.content,
            embedding: memory.embedding,
            occurred_at: Some(memory.occurred_at),
            context: memory.context,
            entities: Some(memory.entities),
            links: Some(memory.links),
            confidence: Some(memory.confidence),
            metadata: Some(memory.metadata),
            kind: Some(memory.kind),
            expires_at: memory.expires_at,
        }
    }
}

impl NewMemory {
    /// Checks every field against the limits. Says which field, what was found and what is allowed.
    pub fn check(&self) -> Result<()> {
        if self.content.is_none() && self.embedding.is_none() {
            return invalid("a memory needs content or an embedding, and has neither");
        }
        if let Some(content) = &self.content {
            check_content(content)?;
        }
        if let Some(embedding) = &self.embedding {
            check_embedding(embedding)?;
        }
        if let Some(context) = &self.context {
            check_name("context", context)?;
        }
        if let Some(entities) = &self.entities {
            check_entities(entities)?;
        }
        if let Some(links) = &self.links {
            check_links(links)?;
        }
        if let Some(confidence) = self.confidence
            && !(0.0..=1.0).contains(&confidence)
        {
            return invalid(format!("confidence is {confidence}, it must be within 0 and 1"));
        }
        if let Some(metadata) = &self.metadata {
            check_metadata(metadata)?;
        }
        Ok(())
    }

    /// The memory to keep: absent fields get their defaults.
    pub fn complete(self, id: MemoryId, now: Timestamp) -> Memory {
        let mut links = self.links.unwrap_or_default();
        links.sort_by(|a, b| (&a.to, &a.kind).cmp(&(&b.to, &b.kind)));
        Memory {
            id,
            content: self.content,
            embedding: self.embedding,
            occurred_at: self.occurred_at.unwrap_or(now),
            stored_at: now,
            context: self.context,
            entities: self.entities.unwrap_or_default(),
            links,
            confidence: self.confidence.unwrap_or(1.0),
            metadata: self.metadata.unwrap_or_default(),
            kind: self.kind.unwrap_or_default(),
            expires_at: self.expires_at,
        }
    }

    /// The first field that is given here and has another value in `kept`, or `None` where storing would change
    /// nothing. Links that were added to `kept` later do not count.
    pub fn differs_from(&self, kept: &Memory) -> Option<&'static str> {
        let links_kept = |links: &Vec<Link>| links.iter().all(|link| kept.links.contains(link));
        let checks = [
            ("content", self.content.is_none() || self.content == kept.content),
            ("embedding", self.embedding.is_none() || self.embedding == kept.embedding),
            ("occurred_at", self.occurred_at.is_none_or(|at| at == kept.occurred_at)),
            ("context", self.context.is_none() || self.context == kept.context),
            ("entities", self.entities.as_ref().is_none_or(|entities| *entities == kept.entities)),
            ("links", self.links.as_ref().is_none_or(links_kept)),
            ("confidence", self.confidence.is_none_or(|confidence| confidence == kept.confidence)),
            ("metadata", self.metadata.as_ref().is_none_or(|metadata| *metadata == kept.metadata)),
            ("kind", self.kind.is_none_or(|kind| kind == kept.kind)),
            ("expires_at", self.expires_at.is_none() || self.expires_at == kept.expires_at),
        ];
        checks.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
    }
}

/// Checks one explicit link's kind and weight.
pub fn check_link(link: &Link) -> Result<()> {
    check_name("link kind", &link.kind)?;
    if !(link.weight > 0.0 && link.weight <= 1.0) {
        return invalid(format!(
            "link to \"{}\" has weight {}, it must be above 0 and at most 1",
            link.to, link.weight
        ));
    }
    Ok(())
}

pub(crate) fn check_content(content: &str) -> Result<()> {
    if content.len() > CONTENT_BYTES_MAX {
        return invalid(format!(
            "content has {} bytes, at most {CONTENT_BYTES_MAX} are allowed; split it into memories that share a context",
            content.len()
        ));
    }
    if content.trim().is_empty() {
        return invalid("content is empty; leave it out to store a vector alone");
    }
    Ok(())
}

pub(crate) fn check_name(field: &str, name: &str) -> Result<()> {
    if name.trim().is_empty() {
        return invalid(format!("{field} is an empty name; leave it out instead"));
    }
    if name.len() > NAME_BYTES_MAX {
        return invalid(format!(
            "{field} \"{}\" has {} bytes, at most {NAME_BYTES_MAX} are allowed",
            shown(name),
            name.len()
        ));
    }
    if name.chars().any(char::is_control) {
        return invalid(format!("{field} \"{}\" contains a control character", shown(name)));
    }
    Ok(())
}

pub(crate) fn check_entities(entities: &[String]) -> Result<()> {
    if entities.len() > ENTITIES_MAX {
        return invalid(format!("entities has {} names, at most {ENTITIES_MAX} are allowed", entities.len()));
    }
    entities.iter().try_for_each(|name| check_name("entities", name))
}

fn check_links(links: &[Link]) -> Result<()> {
    if links.len() > LINKS_MAX {
        return invalid(format!("links has {} entries, at most {LINKS_MAX} are allowed", links.len()));
    }
    links.iter().try_for_each(check_link)?;
    let mut seen: Vec<_> = links.iter().map(|link| (&link.to, &link.kind)).collect();
    seen.sort();
    match seen.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => invalid(format!("links names \"{}\" twice with kind \"{}\"", pair[0].0, pair[0].1)),
        None => Ok(()),
    }
}

pub(crate) fn check_metadata(metadata: &Map<String, Value>) -> Result<()> {
    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }
    let nesting = 1 + metadata.values().map(depth).max().unwrap_or(0);
    if nesting > NESTING_MAX {
        return invalid(format!(
            "metadata is nested {nesting} deep, at most {NESTING_MAX} levels are allowed"
        ));
    }
    let bytes = serde_json::to_vec(metadata).expect("a JSON value always serialises").len();
    if bytes > METADATA_BYTES_MAX {
        return invalid(format!(
            "metadata has {bytes} bytes as JSON, at most {METADATA_BYTES_MAX} are allowed"
        ));
    }
    Ok(())
}

fn invalid<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::Invalid(message.into()))
}
