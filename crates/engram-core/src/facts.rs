//! What a state keeps of a memory beside its embedding, in less than half the bytes of a [`Memory`]: 80, and what few
//! memories have lies apart.

use crate::id::{MemoryId, Timestamp};
use crate::memory::{Link, Memory, MemoryKind};
use serde_json::{Map, Value};
use std::sync::LazyLock;

static NO_METADATA: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// A memory without its embedding, and without its content where that is not hot. The fields are those of [`Memory`].
#[derive(Debug, Clone)]
pub struct Facts {
    /// Unique in its space.
    pub id: MemoryId,
    content: Option<Box<str>>,
    context: Option<Box<str>>,
    more: Option<Box<More>>,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// How sure the source was, 0..=1.
    pub confidence: f32,
    /// Episode or concept.
    pub kind: MemoryKind,
}

const _: () = assert!(size_of::<Facts>() == 80);

/// Memories that have none of it have none.
#[derive(Debug, Clone, Default, PartialEq)]
struct More {
    entities: Vec<String>,
    links: Vec<Link>,
    metadata: Map<String, Value>,
    expires_at: Option<Timestamp>,
}

impl From<Memory> for Facts {
    /// Drops the embedding.
    fn from(memory: Memory) -> Self {
        let Memory { entities, links, metadata, expires_at, .. } = memory;
        let more = More { entities, links, metadata, expires_at };
        Self {
            id: memory.id,
            content: memory.content.map(String::into_boxed_str),
            context: memory.context.map(String::into_boxed_str),
            more: (more != More::default()).then(|| Box::new(more)),
            occurred_at: memory.occurred_at,
            stored_at: memory.stored_at,
            confidence: memory.confidence,
            kind: memory.kind,
        }
    }
}

impl Facts {
    /// The memory with this content and embedding.
    pub fn with(&self, content: Option<String>, embedding: Option<Vec<f32>>) -> Memory {
        let More { entities, links, metadata, expires_at } =
            self.more.as_deref().cloned().unwrap_or_default();
        Memory {
            id: self.id.clone(),
            content,
            embedding,
            occurred_at: self.occurred_at,
            stored_at: self.stored_at,
            context: self.context.as_deref().map(str::to_string),
            entities,
            links,
            confidence: self.confidence,
            metadata,
            kind: self.kind,
            expires_at,
        }
    }

    /// Text, verbatim, where it is hot.
    pub fn content(&self) -> Option<&str> {
        self.content.as_deref()
    }

    /// Session, conversation or document.
    pub fn context(&self) -> Option<&str> {
        self.context.as_deref()
    }

    /// Explicit associations that leave it, ordered by target, then kind.
    pub fn links(&self) -> &[Link] {
        self.more.as_ref().map_or(&[], |more| &more.links)
    }

    /// Metadata, verbatim.
    pub fn metadata(&self) -> &Map<String, Value> {
        self.more.as_ref().map_or(&NO_METADATA, |more| &more.metadata)
    }

    /// From then on no recall shows it.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.more.as_ref().and_then(|more| more.expires_at)
    }

    pub(crate) fn set_content(&mut self, content: Option<String>) {
        self.content = content.map(String::into_boxed_str);
    }

    pub(crate) fn change_links(&mut self, change: impl FnOnce(&mut Vec<Link>)) {
        let mut more = self.more.take().unwrap_or_default();
        change(&mut more.links);
        self.more = (*more != More::default()).then_some(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::NewMemory;
    use serde_json::json;

    #[test]
    fn a_memory_comes_back_as_it_was() {
        let full = NewMemory {
            content: Some("It rained".into()),
            context: Some("c1".into()),
            entities: Some(vec!["Bath".into()]),
            links: Some(vec![Link { to: MemoryId::new("b").unwrap(), kind: "next".into(), weight: 0.5 }]),
            confidence: Some(0.7),
            metadata: json!({"day": 3}).as_object().cloned(),
            expires_at: Some(Timestamp(9)),
            occurred_at: Some(Timestamp(2)),
            ..NewMemory::default()
        };
        let bare = NewMemory { content: Some("It snowed".into()), ..NewMemory::default() };
        for memory in [full, bare] {
            let memory = memory.complete(MemoryId::new("a").unwrap(), Timestamp(5));
            let mut facts = Facts::from(memory.clone());
            assert_eq!(facts.with(memory.content.clone(), None), memory);
            assert_eq!(
                (facts.content(), facts.context()),
                (memory.content.as_deref(), memory.context.as_deref())
            );
            assert_eq!(facts.links(), memory.links);
            assert_eq!((facts.metadata(), facts.expires_at()), (&memory.metadata, memory.expires_at));
            facts.change_links(Vec::clear);
            assert_eq!(facts.with(memory.content.clone(), None), Memory { links: Vec::new(), ..memory });
        }
    }
}
