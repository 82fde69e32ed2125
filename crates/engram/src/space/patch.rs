//! Other values for some fields of a memory. What it becomes depends on what it was, so its payload is read first, wherever
//! that lies; by the time the patch is decided it may have moved, but not become another unnoticed. Nothing is brought into
//! memory for it.

use super::payloads::{ATTEMPTS_MAX, as_now};
use super::{Space, check_against, find, invalid};
use crate::consolidation;
use crate::error::{Error, ErrorKind, Result};
use crate::writer::{Plan, Reads};
use engram_core::associate::Analysis;
use engram_core::id::MemoryId;
use engram_core::memory::{Memory, NewMemory};
use engram_core::recall::check_dimensions;
use engram_core::state::{Change, SpaceState};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

impl Space {
    /// Gives a memory other values in the fields that `patch` has, and leaves the rest, `stored_at` included.
    pub fn patch(self: &Arc<Self>, id: &MemoryId, patch: NewMemory) -> Result<Memory> {
        if patch.id.as_ref().is_some_and(|own| own != id) {
            return invalid(format!(
                "the id of memory \"{id}\" cannot change; store it anew and delete the old one"
            ));
        }
        for _ in 0..ATTEMPTS_MAX {
            if let Some(patched) = self.patch_as_seen(id, patch.clone())? {
                return Ok(patched);
            }
        }
        let message = format!(
            "memory \"{id}\" was changed by others {ATTEMPTS_MAX} times while its payload was fetched; try again in a moment"
        );
        Err(Error::new(ErrorKind::Busy, message))
    }

    /// The same; none, and nothing changed, where the memory got another payload after it was looked at, and that has left
    /// memory already.
    fn patch_as_seen(&self, id: &MemoryId, patch: NewMemory) -> Result<Option<Memory>> {
        let seen = self.seen(std::slice::from_ref(id))?.remove(id);
        let (name, wanted) = (self.name.clone(), id.clone());
        let (result, given) = sync_channel(1);
        self.writer.submit(self, Reads::Ids(vec![id.clone()]), move |state, _| {
            let slot = find(state, &name, &wanted)?;
            let Some(kept) = as_now(state, slot, seen) else {
                return Ok(Plan { changes: vec![], ids: vec![] });
            };
            let patched = match state.concepts().contains(slot) {
                true => consolidation::patched(kept, patch)?,
                false => patched(kept, patch),
            };
            patched.check()?;
            let stored_at = state.record(slot).facts().stored_at;
            let memory = patched.complete(wanted.clone(), stored_at);
            check_kept(state, &memory)?;
            let analysis = Analysis::of(&memory, state.settings());
            result.send(memory.clone()).expect("the caller waits for it, and there is room");
            Ok(Plan { changes: vec![(Change::Stored(Box::new(memory)), Some(analysis))], ids: vec![wanted] })
        })?;
        Ok(given.try_recv().ok())
    }
}

fn check_kept(state: &SpaceState, memory: &Memory) -> Result<()> {
    if let Some(embedding) = &memory.embedding {
        check_dimensions(state, embedding)?;
    }
    check_against(state.settings().embedder, memory)
}

/// `memory` with the fields that `patch` has.
fn patched(memory: Memory, patch: NewMemory) -> NewMemory {
    NewMemory {
        id: None,
        content: patch.content.or(memory.content),
        embedding: patch.embedding.or(memory.embedding),
        occurred_at: Some(patch.occurred_at.unwrap_or(memory.occurred_at)),
        context: patch.context.or(memory.context),
        entities: Some(patch.entities.unwrap_or(memory.entities)),
        links: Some(patch.links.unwrap_or(memory.links)),
        confidence: Some(patch.confidence.unwrap_or(memory.confidence)),
        metadata: Some(patch.metadata.unwrap_or(memory.metadata)),
        kind: Some(patch.kind.unwrap_or(memory.kind)),
        expires_at: patch.expires_at.or(memory.expires_at),
    }
}
