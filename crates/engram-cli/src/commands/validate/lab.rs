//! A store in a folder that goes away, where time stands still unless a check moves it: each check puts its memories there
//! and asks the engine as users of the library do.

use crate::fault::{Fault, Result};
use engram::clock::Clock;
use engram::{
    ActivateFrom, Condition, Cue, Embedder, Engine, Field, Filter, Link, MemoryId, NewMemory, Operand,
    Options, RecallOptions, Space, SpaceName, SpaceSettings, StoreOptions, SyncMode, Test, Timestamp,
};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

/// When every check begins; which time it is says nothing.
const BEGIN: Timestamp = Timestamp(1_700_000_000_000_000);
/// Memories stored with one write.
const BATCH: usize = 1000;
/// Where a memory says its name, by which its activation alone is asked.
const NAME: &str = "name";

/// A store for checks.
pub(crate) struct Lab {
    engine: Engine,
    now: Arc<AtomicI64>,
    // Last: its files are let go of before it is removed.
    _folder: TempDir,
}

impl Lab {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("engram-validate-")
            .tempdir()
            .map_err(|error| Fault::Failed(format!("cannot make a temporary folder: {error}")))?;
        let now = Arc::new(AtomicI64::new(BEGIN.0));
        let clock = Arc::clone(&now);
        let options = Options {
            sync: SyncMode::None,
            background_threads: 0,
            clock: Clock::driven(move || Timestamp(clock.load(Ordering::Relaxed))),
            ..Options::new(folder.path())
        };
        Ok(Self { engine: Engine::open(options)?, now, _folder: folder })
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.now.load(Ordering::Relaxed))
    }

    /// Lets time pass.
    pub(crate) fn wait(&self, days: f64) {
        self.now.fetch_add((days * 86_400e6) as i64, Ordering::Relaxed);
    }

    /// A space of these memories without vectors: what those find by themselves would hide what associations bring.
    pub(crate) fn space(&self, name: &str, memories: Vec<NewMemory>) -> Result<Arc<Space>> {
        let space = self.engine.space_or_new(&SpaceName::new(name).map_err(engram::Error::from)?)?;
        space.set_settings(SpaceSettings { embedder: Some(Embedder::None), ..space.settings() })?;
        fill(&space, memories)?;
        Ok(space)
    }

    /// A space of these memories as users have it: with the built-in embedder.
    pub(crate) fn embedding_space(&self, name: &str, memories: Vec<NewMemory>) -> Result<Arc<Space>> {
        let space = self.engine.space_or_new(&SpaceName::new(name).map_err(engram::Error::from)?)?;
        fill(&space, memories)?;
        Ok(space)
    }

    /// Activation, 0..=1, of the memory called `name` when it spreads from seeds of the same mass, which sum to 1.
    pub(crate) fn activation(&self, space: &Space, seeds: &[MemoryId], name: &str) -> Result<f64> {
        let only = Condition {
            field: Field::Metadata(vec![NAME.to_owned()]),
            test: Test::Equals(Operand::Json(name.into())),
        };
        let filter = Filter { must: vec![only], ..Filter::default() };
        let found = self.activations(space, seeds, RecallOptions { filter, ..self.options() })?;
        Ok(found.first().map_or(0.0, |(_, activation)| *activation))
    }

    /// What such seeds activate, strongest first, as options say.
    pub(crate) fn activations(
        &self,
        space: &Space,
        seeds: &[MemoryId],
        options: RecallOptions,
    ) -> Result<Vec<(MemoryId, f64)>> {
        let mass = 1.0 / seeds.len() as f64;
        let seeds = seeds.iter().map(|seed| (seed.clone(), mass)).collect();
        Ok(space.activate(&ActivateFrom::Seeds(seeds), &options)?.activations)
    }

    /// Ids of what a cue brings to mind, best first.
    pub(crate) fn recall(&self, space: &Space, cue: &Cue, limit: usize) -> Result<Vec<MemoryId>> {
        let options = RecallOptions { limit, ..self.options() };
        Ok(space.recall(cue, &options)?.hits.into_iter().map(|hit| hit.memory.id).collect())
    }

    pub(crate) fn options(&self) -> RecallOptions {
        RecallOptions::at(self.now())
    }

    pub(crate) fn close(self) -> Result<()> {
        Ok(self.engine.close()?)
    }
}

fn fill(space: &Arc<Space>, memories: Vec<NewMemory>) -> Result<()> {
    let mut memories = memories.into_iter().peekable();
    while memories.peek().is_some() {
        space.store(memories.by_ref().take(BATCH).collect(), &StoreOptions::default())?;
    }
    Ok(())
}

/// The id of the `at`-th thing.
pub(crate) fn id(at: usize) -> MemoryId {
    MemoryId::new(&format!("m{at}")).expect("a letter and digits are an id")
}

/// A memory of a word or sentence that goes by a name.
pub(crate) fn memory(at: usize, name: &str, content: &str) -> NewMemory {
    let metadata = Map::from_iter([(NAME.to_owned(), Value::from(name))]);
    NewMemory {
        id: Some(id(at)),
        content: Some(content.to_owned()),
        metadata: Some(metadata),
        ..NewMemory::default()
    }
}

/// An association as norms give it.
pub(crate) fn association(to: usize, strength: f64) -> Link {
    Link { to: id(to), kind: "associate".to_owned(), weight: strength as f32 }
}
