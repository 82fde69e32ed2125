//! Engram as a library: a memory that stores, links and recalls, durably, in a folder of your own.
//!
//! ```
//! use engram::{Cue, Engine, NewMemory, Options, RecallOptions, SpaceName, StoreOptions};
//! # let folder = tempfile::tempdir()?;
//! let engine = Engine::open(Options::new(folder.path()))?;
//! let diary = engine.space_or_new(&SpaceName::new("diary")?)?;
//! let memory = NewMemory { content: Some("It rained in Bath".into()), ..NewMemory::default() };
//! diary.store(vec![memory], &StoreOptions::default())?;
//! let found = diary.recall(&Cue::text("rain"), &RecallOptions::at(engine.now()))?;
//! assert_eq!(found.hits[0].memory.content.as_deref(), Some("It rained in Bath"));
//! engine.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Engine`] owns a folder, [`Space`] is an isolated set of memories in it. All calls block until they are done, and
//! may be made from many threads at once.

pub mod backup;
mod check;
pub mod clock;
mod codec;
mod cold;
mod completion;
pub mod config;
mod consolidation;
mod deletion;
mod engine;
mod error;
mod hot_dir;
mod idle;
mod jobs;
mod load;
mod numa;
mod pool;
mod receipt;
mod recovery;
mod restore;
mod sharded;
mod snapshot;
mod space;
mod tiers;
mod turnstile;
mod unsynced;
mod worker;
mod writer;

pub use check::{Checked, check};
pub use completion::{CompletedAlternative, CompletedMemory, CompletedPart};
pub use consolidation::Consolidated;
pub use engine::{Engine, ObserveConsolidation, ObserveFlush, Options, SyncMode};
pub use engram_core::actr;
pub use engram_core::calibrate::{self, Evidence};
pub use engram_core::complete::{
    BETA_DEFAULT, Blank, CompleteOptions, CompletedField, CompletedValue, Pattern, sweep,
};
pub use engram_core::cue::{
    Answer, Condition, Cue, Field, Filter, Operand, Parts, RecallOptions, Test, kind_name,
};
pub use engram_core::decay::{DecayFrom, DecayLaw, Outcome, Strength};
pub use engram_core::hnsw::{HnswParams, Tuning};
pub use engram_core::id::{MemoryId, SpaceName, Timestamp};
pub use engram_core::kernels::{Simd, simd};
pub use engram_core::lexicon::Language;
pub use engram_core::limits;
pub use engram_core::memory::{Link, Memory, MemoryKind, NewMemory};
pub use engram_core::nodes::settle_thread;
pub use engram_core::payloads::Tier;
pub use engram_core::state::{Embedder, SpaceSettings};
pub use engram_core::vector::Paging;
pub use engram_core::without::{Part, Without};
pub use engram_storage::cold::{ColdOptions, ColdStore, Compression};
pub use engram_storage::{FaultyVfs, RealVfs, Vfs};
pub use error::{Error, ErrorKind, Result};
pub use jobs::{Job, JobState};
pub use numa::Numa;
pub use receipt::{NotedBackup, Receipt};
pub use restore::Restored;
pub use snapshot::{Snapshot, SnapshotFile};
pub use space::{
    ActivateFrom, Activated, Page, Recalled, RecalledHit, RecalledObjection, RecalledPath, RecalledStep,
    Selection, Space, SpaceSummary, StoreOptions, Stored, Usage,
};
