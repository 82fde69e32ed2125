//! The cold tier as the engine sees it: a store that may be away for a while. After it could not be reached, it is left
//! alone for some seconds, so that a recall does not wait for it again and again.

use crate::clock::Stopwatch;
use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use engram_core::cue::kind_name;
use engram_core::memory::{Link, Memory};
use engram_storage::Error as StorageError;
use engram_storage::cold::{ColdRow, ColdStore};
use parking_lot::Mutex;
use serde_json::json;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// The cold tier.
pub(crate) struct Cold {
    store: Arc<ColdStore>,
    /// How long it is left alone after it could not be reached.
    retry_after: Duration,
    /// Since it could not be reached, with what was said.
    trouble: Mutex<Option<(Stopwatch, String)>>,
    /// It was found to create files as it must.
    is_safe: Mutex<bool>,
}

impl Cold {
    pub(crate) fn new(store: Arc<ColdStore>, retry_after: Duration) -> Self {
        Self { store, retry_after, trouble: Mutex::default(), is_safe: Mutex::new(false) }
    }

    /// Asks the store for something, unless it could not be reached just before.
    fn ask<T>(&self, ask: impl FnOnce(&ColdStore) -> engram_storage::Result<T>) -> Result<T> {
        if let Some((since, message)) = &*self.trouble.lock()
            && since.elapsed() < self.retry_after
        {
            return Err(Error::new(ErrorKind::Busy, message.clone()));
        }
        let answer = ask(&self.store);
        *self.trouble.lock() = match &answer {
            Err(error @ StorageError::Unreachable { .. }) => Some((Stopwatch::start(), error.to_string())),
            _ => None,
        };
        Ok(answer?)
    }

    /// Whether it may be asked now.
    pub(crate) fn is_there(&self) -> bool {
        self.trouble.lock().as_ref().is_none_or(|(since, _)| since.elapsed() >= self.retry_after)
    }

    /// Finds out whether the store creates files as it must: once, before anything is written.
    pub(crate) fn check(&self) -> Result<()> {
        let mut is_safe = self.is_safe.lock();
        if !*is_safe {
            self.ask(ColdStore::probe)?;
            *is_safe = true;
        }
        Ok(())
    }

    pub(crate) fn put(&self, name: &str, rows: &[ColdRow]) -> Result<u64> {
        self.check()?;
        self.ask(|store| store.put(name, rows))
    }

    pub(crate) fn read(&self, name: &str, rows: &[u32]) -> Result<Vec<ColdRow>> {
        self.ask(|store| store.read(name, rows))
    }

    pub(crate) fn read_all(
        &self,
        name: &str,
        each: &mut dyn FnMut(ColdRow) -> engram_storage::Result<()>,
    ) -> Result<()> {
        self.ask(|store| store.read_all(name, each))
    }

    /// Names that begin so, with the bytes of each.
    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        self.ask(|store| store.list(prefix))
    }

    /// Some bytes of a file, as they lie there.
    pub(crate) fn read_bytes(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.ask(|store| store.read_object(name, range))
    }

    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        self.ask(|store| store.delete(name))
    }
}

/// A memory as a row, of this arrival and version.
pub(crate) fn row_of(memory: Memory, arrival: u64, version: u64) -> ColdRow {
    let link = |link: Link| json!({"to": link.to.as_str(), "kind": link.kind, "weight": link.weight});
    ColdRow {
        id: memory.id.to_string(),
        arrival,
        version,
        content: memory.content,
        embedding: memory.embedding,
        occurred_at: memory.occurred_at.0,
        stored_at: memory.stored_at.0,
        context: memory.context,
        kind: kind_name(memory.kind).to_string(),
        confidence: memory.confidence,
        expires_at: memory.expires_at.map(|at| at.0),
        entities: memory.entities,
        links: serde_json::Value::from_iter(memory.links.into_iter().map(link)).to_string(),
        metadata: serde_json::Value::Object(memory.metadata).to_string(),
    }
}
