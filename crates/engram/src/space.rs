//! A space: an isolated set of memories with its own log. The public API of Engram for one.

use crate::clock::Stopwatch;
use crate::codec::encode_changes;
use crate::consolidation::check_unowned;
use crate::engine::{Options, Shared, SyncMode};
use crate::error::{Error, ErrorKind, Result};
use crate::sharded::{ReadGuard, Sharded, WriteGuard};
use crate::tiers::{Placing, Told, Wanted};
use crate::unsynced::UnsyncedPart;
use crate::worker::Task;
use crate::writer::{Ack, Plan, Prepared, Reads, Writer};
use engram_core::Slot;
use engram_core::associate::{Analysis, folded};
use engram_core::calibrate::Evidence;
use engram_core::confidence::{CONTRADICTS, Objection, SUPERSEDES};
use engram_core::consolidate::is_opposing;
use engram_core::cue::{Answer, Cue, Filter, Hit, Parts, RecallOptions};
use engram_core::error::shown;
use engram_core::hnsw;
use engram_core::id::{MemoryId, SpaceName, Timestamp};
use engram_core::limits::CUE_IDS_MAX;
use engram_core::memory::{Link, Memory, NewMemory, check_link};
use engram_core::payloads::Tier;
use engram_core::recall::{self, Seeds};
use engram_core::state::{Change, Embedder, Growing, Keyed, SpaceSettings, SpaceState};
use engram_storage::Log;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};

mod patch;
mod payloads;
mod selection;
mod uses;

pub(crate) use payloads::{Seen, bring_all, look};
pub use selection::Selection;
pub use uses::Usage;

/// Vectors that may wait for the index; beyond, whoever stores helps to index.
const UNINDEXED_MAX: usize = 8192;
/// Vectors that one turn of an indexing thread prepares, so that it takes the write lock once for all of them.
const INDEX_TURN: usize = 8;

/// How to store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreOptions {
    /// Put memories in the place of those with their ids, instead of refusing other values.
    pub replace: bool,
    /// A request with a key that was used already answers what the first one answered. The newest 10,000 are kept.
    pub idempotency_key: Option<String>,
}

/// What storing answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Ids, in the order of the memories given.
    pub ids: Vec<MemoryId>,
    /// Position in the log.
    pub position: u64,
}

/// A page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// In order of arrival, with embeddings.
    pub memories: Vec<Memory>,
    /// Where the next page starts; none at the end.
    pub next: Option<u64>,
}

/// What a recall gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Recalled {
    /// Best first.
    pub hits: Vec<RecalledHit>,
    /// Nothing here is likely to be what the cue was after.
    pub abstain: bool,
    /// Memories that the ranking looked at.
    pub activated: usize,
    /// A budget left something out, or common words may have hidden a memory: no bound proved that none was missed.
    pub truncated: bool,
}

/// One recalled memory. The numbers are those of `engram_core::cue::Hit`.
#[derive(Debug, Clone, PartialEq)]
pub struct RecalledHit {
    /// The memory, with its embedding.
    pub memory: Memory,
    /// Orders the hits of one recall.
    pub score: f32,
    /// Probability, 0..=1, that it is what the cue was after.
    pub relevance: f32,
    /// Between which bounds the relevance would lie, had one of the sets that it was fitted to been missing.
    pub relevance_range: [f32; 2],
    /// Probability, 0..=1, that it is still remembered.
    pub retrievability: f32,
    /// How sure its sources are, 0..=1: its own, its duplicates', and those that speak against it.
    pub confidence: f32,
    /// Where its payload was.
    pub tier: Tier,
    /// Other memories that it stands for.
    pub duplicates: Vec<MemoryId>,
    /// Memories that speak against it.
    pub objections: Vec<RecalledObjection>,
    /// The concept that stands for it.
    pub concept: Option<MemoryId>,
    /// What made the score.
    pub parts: Parts,
    /// How activation came here, when explaining.
    pub paths: Vec<RecalledPath>,
    /// What the relevance rests on: for those who study it.
    pub evidence: Evidence,
}

/// A memory that speaks against a hit.
#[derive(Debug, Clone, PartialEq)]
pub struct RecalledObjection {
    /// Which.
    pub memory: MemoryId,
    /// The kind of its link: `contradicts`, or `supersedes` where it takes the place of the hit.
    pub kind: &'static str,
    /// How sure its own source is, 0..=1.
    pub confidence: f32,
}

/// One way that activation took.
#[derive(Debug, Clone, PartialEq)]
pub struct RecalledPath {
    /// How much of the hit's activation came this way.
    pub share: f32,
    /// From the seed to the hit; empty for the sum of all ways that are too many to list.
    pub steps: Vec<RecalledStep>,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq)]
pub struct RecalledStep {
    /// What led here; none for the seed.
    pub via: Option<String>,
    /// Part of the activation before that went this way.
    pub weight: f32,
    /// The memory reached.
    pub memory: MemoryId,
}

/// What activation starts from.
#[derive(Debug, Clone, PartialEq)]
pub enum ActivateFrom {
    /// The memories that a cue brings to mind first.
    Cue(Cue),
    /// These, each with its activation (above 0).
    Seeds(Vec<(MemoryId, f64)>),
}

/// How activation lies after spreading.
#[derive(Debug, Clone, PartialEq)]
pub struct Activated {
    /// Strongest first.
    pub activations: Vec<(MemoryId, f64)>,
    /// Associations visited.
    pub visited: usize,
    /// Activation that was too weak to be passed on, or that the budget held back.
    pub residual: f64,
    /// The budget held something back.
    pub truncated: bool,
}

/// A space in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct SpaceSummary {
    /// Its name.
    pub name: SpaceName,
    /// Memories.
    pub memories: usize,
    /// Memories with a vector.
    pub vectors: usize,
    /// Memories by where their payloads lie: hot, warm, cold.
    pub tiers: [usize; 3],
    /// Vectors that are not in the index yet, and are compared one by one until then.
    pub unindexed: usize,
    /// Explicit links, those that wait for their target included.
    pub links: usize,
    /// Links that wait for their target.
    pub links_waiting: usize,
    /// Associations that use has taught.
    pub learned: usize,
    /// Contexts.
    pub contexts: usize,
    /// Names that memories mention.
    pub entities: usize,
    /// Different words.
    pub terms: usize,
    /// Bytes that users gave.
    pub data_bytes: u64,
    /// Bytes of log since the last checkpoint.
    pub log_bytes: u64,
    /// Position of the newest request.
    pub position: u64,
    /// What is settled.
    pub settings: SpaceSettings,
}

/// An isolated set of memories.
pub struct Space {
    name: SpaceName,
    pub(crate) dir: PathBuf,
    pub(crate) shared: Arc<Shared>,
    state: Sharded<SpaceState>,
    pub(crate) log: Mutex<LogState>,
    writer: Writer,
    position: AtomicU64,
    /// Since `asked_at` was set.
    was_asked: AtomicBool,
    asked_at: AtomicI64,
    /// Slots that an indexing thread is preparing.
    being_indexed: Mutex<BTreeSet<Slot>>,
    pub(crate) indexing_scheduled: AtomicBool,
    /// Vectors that entered the index since the last checkpoint.
    pub(crate) indexed: AtomicUsize,
    pub(crate) checkpoint_scheduled: AtomicBool,
    /// Held while a checkpoint is written: two at once would write one file.
    pub(crate) checkpointing: Mutex<()>,
    /// Held while its backups are noted.
    pub(crate) noting: Mutex<()>,
    pub(crate) placing: Mutex<Placing>,
    /// Told, with `placing`, when a cold file is not being written any more.
    pub(crate) cold_written: Condvar,
    pub(crate) wanted: Mutex<Vec<Wanted>>,
    pub(crate) told: Mutex<Told>,
}

/// The log of a space.
pub(crate) enum LogState {
    /// Nothing was stored yet: the folder is made with the first write.
    Unborn,
    Open(Box<OpenLog>),
    /// The engine was closed, or the space deleted.
    Closed(&'static str),
}

pub(crate) struct OpenLog {
    pub(crate) log: Log,
    pub(crate) unsynced: bool,
    /// How much that is.
    pub(crate) waiting: UnsyncedPart,
    /// Position and size of the newest checkpoint.
    pub(crate) checkpoint: (u64, u64),
    /// Position when the space was opened.
    pub(crate) opened_at: u64,
}

impl Space {
    pub(crate) fn new(
        name: SpaceName,
        dir: PathBuf,
        shared: Arc<Shared>,
        state: SpaceState,
        log: LogState,
        position: u64,
        placing: Placing,
    ) -> Self {
        Self {
            name,
            dir,
            state: Sharded::new(shared.options.hot_tier_shards, state),
            shared,
            log: Mutex::new(log),
            writer: Writer::default(),
            position: AtomicU64::new(position),
            was_asked: AtomicBool::new(true),
            asked_at: AtomicI64::new(0),
            being_indexed: Mutex::default(),
            indexing_scheduled: AtomicBool::new(false),
            indexed: AtomicUsize::new(0),
            checkpoint_scheduled: AtomicBool::new(false),
            checkpointing: Mutex::new(()),
            noting: Mutex::new(()),
            placing: Mutex::new(placing),
            cold_written: Condvar::new(),
            wanted: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &SpaceName {
        &self.name
    }

    /// Stores memories, all or none. Storing an id again with the same values in every field given changes nothing;
    /// with other values it is a conflict, unless `replace`. When it returns, every recall sees them, and under
    /// `SyncMode::Always` they are on disk.
    pub fn store(self: &Arc<Self>, memories: Vec<NewMemory>, options: &StoreOptions) -> Result<Stored> {
        let _under_way = self.shared.load.begin();
        memories.iter().try_for_each(NewMemory::check)?;
        let mut seen = HashMap::new();
        for (at, memory) in memories.iter().enumerate() {
            if let Some(first) = memory.id.as_ref().and_then(|id| seen.insert(id.clone(), at)) {
                let id = memory.id.as_ref().expect("an id was seen twice");
                return invalid(format!(
                    "memories {first} and {at} of the request have the same id \"{id}\""
                ));
            }
        }
        let stored = memories.len();
        let key = options.idempotency_key.clone().map(|key| (key, fingerprint(&memories)));
        let mut settings = *self.read().settings();
        if let (None, Some(first)) = (settings.embedder, memories.first()) {
            settings.embedder = Some(self.embedder_for(first));
        }
        // Words, names and vectors are found here, outside every lock; the decision below only has to compare.
        let prepared: Vec<(NewMemory, MemoryId, Analysis)> = memories
            .into_iter()
            .map(|memory| {
                let id = memory.id.clone().unwrap_or_else(|| self.shared.new_id());
                let as_kept = memory.clone().complete(id.clone(), Timestamp(0));
                (memory, id, Analysis::of(&as_kept, &settings))
            })
            .collect();
        let mut ids: Vec<MemoryId> = prepared.iter().map(|(_, id, _)| id.clone()).collect();
        let seen = self.seen(&ids)?;
        // What they supersede or contradict may have to leave its concept.
        let links = prepared.iter().flat_map(|(memory, _, _)| memory.links.iter().flatten());
        ids.extend(links.filter(|link| is_opposing(&link.kind)).map(|link| link.to.clone()));
        let reads = match &key {
            Some((key, _)) => Reads::IdsAndKey(ids, key.clone()),
            None => Reads::Ids(ids),
        };
        let request = StoreRequest {
            space: self.name.clone(),
            memories: prepared,
            seen,
            settings,
            replace: options.replace,
            key,
        };
        let ack = self.writer.submit(self, reads, move |state, now| request.decide(state, now))?;
        self.help_indexing(stored);
        Ok(Stored { ids: ack.ids, position: ack.position })
    }

    /// Where the vectors of a space come from that begins with `first`.
    fn embedder_for(&self, first: &NewMemory) -> Embedder {
        match &first.embedding {
            Some(embedding) => Embedder::Caller { dimensions: embedding.len() },
            None if self.shared.options.embeds_texts => Embedder::BUILTIN,
            None => Embedder::None,
        }
    }

    /// A memory, with its embedding where it came with one.
    pub fn get(&self, id: &MemoryId) -> Result<Memory> {
        let state = self.read();
        let slot = find(&state, &self.name, id)?;
        state.note_fetched([slot]);
        self.want(&state, [slot].into_iter());
        let found = look(&state, slot);
        drop(state);
        match self.gather(vec![found])?.pop() {
            Some((memory, _)) => Ok(memory),
            None => Err(not_stored(&self.name, id)),
        }
    }

    /// Deletes a memory. Links of others to it wait for one of the same id.
    pub fn delete(&self, id: &MemoryId) -> Result<u64> {
        let (name, wanted) = (self.name.clone(), id.clone());
        let ack = self.writer.submit(self, Reads::Ids(vec![id.clone()]), move |state, _| {
            find(state, &name, &wanted)?;
            Ok(Plan { changes: vec![(Change::Deleted(wanted.clone()), None)], ids: vec![wanted] })
        })?;
        Ok(ack.position)
    }

    /// Memories that pass, in order of arrival, from after `after` on.
    pub fn list(&self, filter: &Filter, after: Option<u64>, limit: usize) -> Result<Page> {
        filter.check()?;
        let _under_way = self.shared.load.begin();
        let state = self.read();
        let mut passing =
            state.in_order(after).filter(|(_, slot)| filter.passes(state.record(*slot).facts()));
        let page: Vec<(u64, Slot)> = passing.by_ref().take(limit).collect();
        let next = passing.next().and_then(|_| page.last()).map(|(arrival, _)| *arrival);
        let found = page.into_iter().map(|(_, slot)| look(&state, slot)).collect();
        drop(passing);
        drop(state);
        let memories = self.gather(found)?.into_iter().map(|(memory, _)| memory).collect();
        Ok(Page { memories, next })
    }

    /// What a cue brings to mind. Never waits for index building; costs well under a millisecond at 20,000 memories.
    pub fn recall(&self, cue: &Cue, options: &RecallOptions) -> Result<Recalled> {
        let computes = (self.shared.load.begin(), self.shared.turnstile.enter());
        let mut work = self.shared.pool.take();
        let state = self.read();
        let found = recall::recall_into(&state, cue, options, &mut work.scratch, &mut work.answer);
        if let Err(error) = found {
            self.shared.pool.give(work);
            return Err(error.into());
        }
        let id = |slot: Slot| state.record(slot).facts().id.clone();
        let step = |step: engram_core::cue::Step| RecalledStep {
            via: step.via,
            weight: step.weight,
            memory: id(step.memory),
        };
        let path = |path: engram_core::cue::Path| RecalledPath {
            share: path.share,
            steps: path.steps.into_iter().map(step).collect(),
        };
        let objection = |objection: Objection| RecalledObjection {
            memory: id(objection.slot),
            kind: if objection.supersedes { SUPERSEDES } else { CONTRADICTS },
            confidence: state.record(objection.slot).facts().confidence,
        };
        let slots = || work.answer.hits.iter().map(|hit| hit.slot);
        state.note_fetched(slots());
        self.want(&state, slots());
        let (memories, seen): (Vec<_>, Vec<_>) = slots().map(|slot| look(&state, slot)).unzip();
        let mut memories = memories.into_iter();
        let hit = |hit: Hit| RecalledHit {
            memory: memories.next().expect("there is one for each hit"),
            confidence: hit.confidence,
            objections: hit.objections.into_iter().map(objection).collect(),
            score: hit.score,
            relevance: hit.relevance,
            relevance_range: hit.relevance_range,
            retrievability: hit.retrievability,
            tier: state.record(hit.slot).tier(),
            duplicates: hit.duplicates.into_iter().map(id).collect(),
            concept: hit.concept.map(id),
            parts: hit.parts,
            paths: hit.paths.into_iter().map(path).collect(),
            evidence: hit.evidence,
        };
        let hits = work.answer.hits.drain(..).map(hit).collect();
        let Answer { abstain, activated, truncated, .. } = work.answer;
        drop(state);
        self.shared.pool.give(work);
        // What waits for the cold tier needs no processor.
        drop(computes);
        let mut recalled = Recalled { hits, abstain, activated, truncated };
        self.fill(&mut recalled, seen);
        Ok(recalled)
    }

    /// Spreads activation and says where it lies. Of the options, `limit`, `filter`, `now`, `as_of`, `budget` and
    /// `exact` count.
    pub fn activate(&self, from: &ActivateFrom, options: &RecallOptions) -> Result<Activated> {
        let _computes = (self.shared.load.begin(), self.shared.turnstile.enter());
        let state = self.read();
        let seeds = match from {
            ActivateFrom::Cue(cue) => Seeds::Cue(cue.clone()),
            ActivateFrom::Seeds(seeds) => Seeds::Given(checked_seeds(&state, &self.name, seeds)?),
        };
        let mut work = self.shared.pool.take();
        let result = recall::activate(&state, &seeds, options, &mut work.scratch);
        self.shared.pool.give(work);
        let result = result?;
        let id = |slot: Slot| state.record(slot).facts().id.clone();
        Ok(Activated {
            activations: result
                .activations
                .into_iter()
                .map(|(slot, activation)| (id(slot), activation))
                .collect(),
            visited: result.visits,
            residual: result.residual,
            truncated: result.truncated,
        })
    }

    /// How many memories mention this name; case and spacing do not matter.
    pub fn mentions(&self, name: &str) -> usize {
        self.read().graph().entity_named(&folded(name)).map_or(0, |entity| entity.holders.len())
    }

    /// Links a memory to another, which need not be stored yet; a link of the same kind gets the new weight.
    pub fn link(&self, from: &MemoryId, link: Link) -> Result<u64> {
        check_link(&link)?;
        if link.to == *from {
            return invalid(format!("memory \"{from}\" cannot be linked to itself"));
        }
        let (name, from) = (self.name.clone(), from.clone());
        // Of the target, too: what it is superseded or contradicted by may take it out of its concept.
        let reads = Reads::Ids(vec![from.clone(), link.to.clone()]);
        let ack = self.writer.submit(self, reads, move |state, _| {
            let slot = find(state, &name, &from)?;
            check_unowned(state, slot, &link.kind)?;
            let links = state.record(slot).facts().links();
            let changes = if links.contains(&link) {
                vec![]
            } else if links.len() >= engram_core::limits::LINKS_MAX
                && !links.iter().any(|own| own.to == link.to && own.kind == link.kind)
            {
                return invalid(format!(
                    "memory \"{from}\" has {} links already, which is the most",
                    links.len()
                ));
            } else {
                vec![(Change::Linked { from: from.clone(), link }, None)]
            };
            Ok(Plan { changes, ids: vec![from] })
        })?;
        Ok(ack.position)
    }

    /// Removes a link.
    pub fn unlink(&self, from: &MemoryId, to: &MemoryId, kind: &str) -> Result<u64> {
        let (name, from, to, kind) = (self.name.clone(), from.clone(), to.clone(), kind.to_string());
        let ack = self.writer.submit(self, Reads::Ids(vec![from.clone()]), move |state, _| {
            let slot = find(state, &name, &from)?;
            check_unowned(state, slot, &kind)?;
            if !state.record(slot).facts().links().iter().any(|link| link.to == to && link.kind == kind) {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("memory \"{from}\" has no link of kind \"{}\" to \"{to}\"", shown(&kind)),
                ));
            }
            Ok(Plan {
                changes: vec![(Change::Unlinked { from: from.clone(), to, kind }, None)],
                ids: vec![from],
            })
        })?;
        Ok(ack.position)
    }

    /// Carries out a request that `decide` makes, given the state and the time.
    pub(crate) fn submit(
        &self,
        reads: Reads,
        decide: impl FnOnce(&SpaceState, Timestamp) -> Result<Plan> + Send + 'static,
    ) -> Result<Ack> {
        self.writer.submit(self, reads, decide)
    }

    /// What is settled.
    pub fn settings(&self) -> SpaceSettings {
        *self.read().settings()
    }

    /// Gives up on a checkpoint until the log has grown by as much again.
    pub(crate) fn put_checkpoint_off(&self) {
        if let LogState::Open(open) = &mut *self.log.lock() {
            open.checkpoint.1 = 2 * open.log.bytes();
        }
    }

    /// Settles it otherwise, as `change` says of the settings at that moment. Otherwise as `set_settings`.
    pub fn change_settings(
        &self,
        change: impl FnOnce(SpaceSettings) -> Result<SpaceSettings> + Send + 'static,
    ) -> Result<u64> {
        let ack = self.writer.submit(self, Reads::Everything, move |state, _| {
            let settings = change(*state.settings())?;
            state.admit_settings(&settings)?;
            Ok(Plan { changes: vec![(Change::Settings(settings), None)], ids: vec![] })
        })?;
        Ok(ack.position)
    }

    /// Settles it otherwise. The language is fixed once there are memories, the embedder once it is decided. On a
    /// space that does not exist yet, brings it into being.
    pub fn set_settings(&self, settings: SpaceSettings) -> Result<u64> {
        self.change_settings(move |_| Ok(settings))
    }

    /// The space in numbers.
    pub fn summary(&self) -> SpaceSummary {
        let log_bytes = match &*self.log.lock() {
            LogState::Open(open) => open.log.bytes(),
            LogState::Unborn | LogState::Closed(_) => 0,
        };
        let state = self.read();
        SpaceSummary {
            name: self.name.clone(),
            memories: state.len(),
            vectors: state.index().len() + state.unindexed().len(),
            tiers: state.tiers().memories,
            unindexed: state.unindexed().len(),
            links: state.graph().links(),
            links_waiting: state.graph().links_waiting(),
            learned: state.graph().learned().len(),
            contexts: state.graph().contexts(),
            entities: state.graph().entities(),
            terms: state.lexicon().terms(),
            data_bytes: state.data_bytes(),
            log_bytes,
            position: self.position(),
            settings: *state.settings(),
        }
    }

    /// Everything in the state as sorted lines, for comparing two spaces.
    pub fn dump(&self) -> Vec<String> {
        self.read().dump()
    }

    /// Whether anything was ever stored or settled here. A first write that was refused or cut off does not count.
    pub(crate) fn is_born(&self) -> bool {
        self.position() > 0
    }

    /// Notes that it was asked for. Writes only where nobody asked since the last look, so that readers share a cache line.
    pub(crate) fn note_asked(&self) {
        if !self.was_asked.load(Ordering::Relaxed) {
            self.was_asked.store(true, Ordering::Relaxed);
        }
    }

    /// When it was last found to have been asked for, in microseconds of the engine's clock, which says `now`.
    pub(crate) fn asked_at(&self, now: i64) -> i64 {
        if self.was_asked.swap(false, Ordering::Relaxed) {
            self.asked_at.store(now, Ordering::Relaxed);
        }
        self.asked_at.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.options.clock.now()
    }

    pub(crate) fn read(&self) -> ReadGuard<'_, SpaceState> {
        self.state.read()
    }

    pub(crate) fn write(&self) -> WriteGuard<'_, SpaceState> {
        self.state.write()
    }

    pub(crate) fn position(&self) -> u64 {
        self.position.load(Ordering::Acquire)
    }

    pub(crate) fn applied(&self, position: u64) {
        self.position.store(position, Ordering::Release);
    }

    /// Appends requests to the log and, where the mode asks for it, waits for the disk. Returns the position of the
    /// first.
    pub(crate) fn append(&self, requests: &[Vec<u8>]) -> Result<u64> {
        let mut guard = self.log.lock();
        self.check_log(&guard)?;
        if let LogState::Unborn = *guard {
            *guard = LogState::Open(Box::new(self.shared.new_log(&self.dir)?));
        }
        let LogState::Open(open) = &mut *guard else { unreachable!("the other two were handled above") };
        let payloads: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
        let bytes_before = open.log.bytes();
        let last = open.log.append(&payloads)?;
        open.unsynced = true;
        open.waiting.add(open.log.bytes() - bytes_before);
        let Options { sync, log_buffer_bytes, .. } = self.shared.options;
        if sync == SyncMode::Always || self.shared.unsynced.bytes() > log_buffer_bytes {
            self.sync_open(open)?;
        }
        drop(guard);
        if sync != SyncMode::Always {
            // What waits may be other spaces'.
            self.shared.bound_unsynced();
        }
        Ok(last.0 + 1 - requests.len() as u64)
    }

    /// Whether the space takes writes: not once it was closed or deleted.
    pub(crate) fn check_open(&self) -> Result<()> {
        self.check_log(&self.log.lock())
    }

    fn check_log(&self, log: &LogState) -> Result<()> {
        let LogState::Closed(reason) = log else { return Ok(()) };
        Err(Error::new(ErrorKind::Closed, format!("space \"{}\" takes no writes: {reason}", self.name)))
    }

    fn sync_open(&self, open: &mut OpenLog) -> Result<()> {
        let watch = Stopwatch::start();
        let synced = open.log.sync();
        open.waiting.clear();
        synced?;
        open.unsynced = false;
        if let Some(observe) = &self.shared.options.observe_flush {
            observe(watch.elapsed());
        }
        Ok(())
    }

    /// Makes sure that the log is whole on disk, before what it no longer names is removed.
    pub(crate) fn sync_log(&self) -> Result<()> {
        let mut log = self.log.lock();
        self.check_log(&log)?;
        match &mut *log {
            LogState::Open(open) => self.sync_open(open),
            LogState::Unborn | LogState::Closed(_) => Ok(()),
        }
    }

    /// Syncs what was written since the last sync.
    pub(crate) fn flush(&self) -> Result<()> {
        match &mut *self.log.lock() {
            LogState::Open(open) if open.unsynced => self.sync_open(open),
            _ => Ok(()),
        }
    }

    /// Sees to it that background work is done where there is any.
    pub(crate) fn schedule_work(&self) {
        self.tell_tiers();
        if self.read().to_index().is_some() && !self.indexing_scheduled.swap(true, Ordering::AcqRel) {
            self.shared.schedule(Task::Index(self.name.clone()));
        }
        let due = match &*self.log.lock() {
            LogState::Open(open) => {
                open.log.bytes() > open.checkpoint.1.max(self.shared.options.checkpoint_bytes)
            }
            LogState::Unborn | LogState::Closed(_) => false,
        };
        if due && !self.checkpoint_scheduled.swap(true, Ordering::AcqRel) {
            self.shared.schedule(Task::Checkpoint(self.name.clone()));
        }
    }

    /// Puts some vectors into the index, or into its successor. Returns whether there were any. Readers never wait for more
    /// than the microseconds of the commit; several threads may do this at once.
    pub(crate) fn index_some(&self, scratch: &mut hnsw::Scratch) -> bool {
        let (growing, is_whole, claimed) = {
            let state = self.read();
            let Some((growing, waiting)) = state.to_index() else { return false };
            let is_whole = waiting.is_empty();
            let mut busy = self.being_indexed.lock();
            let turn = waiting.iter().copied().filter(|slot| !busy.contains(slot)).take(INDEX_TURN);
            let turn: Vec<Slot> = turn.collect();
            busy.extend(&turn);
            (growing, is_whole, BeingIndexed { space: self, turn })
        };
        let turn = &claimed.turn;
        let peers: Vec<Slot> = self.being_indexed.lock().iter().copied().collect();
        let mut plans = Vec::new();
        for &slot in turn {
            let _computes = self.shared.turnstile.enter();
            let state = self.read();
            let (Some(record), Some(vectors)) = (state.get(slot), state.vectors()) else { continue };
            let Some(index) = state.index_awaited(growing, slot) else { continue };
            let peers: Vec<Slot> = peers.iter().copied().filter(|&peer| vectors.has(peer)).collect();
            let level = index.level_for(record.facts().id.stable_hash());
            plans.push((slot, record.version, index.prepare(vectors, slot, level, &peers, scratch)));
        }
        if growing == Growing::Serving {
            self.indexed.fetch_add(plans.len(), Ordering::Relaxed);
        }
        let mut old = None;
        if is_whole || !plans.is_empty() {
            let mut state = self.write();
            for (slot, version, plan) in plans {
                state.commit_index(growing, slot, version, plan);
            }
            old = state.succeed();
        }
        if let Some(old) = old {
            drop(old);
            self.keep_new_index();
        }
        !turn.is_empty()
    }

    /// Has an index that has just taken another's place written down: until then each start would build it again.
    fn keep_new_index(&self) {
        let (params, vectors) = {
            let state = self.read();
            (state.index().params(), state.index().len())
        };
        self.indexed.fetch_add(vectors, Ordering::Relaxed);
        tracing::info!(
            space = self.name.as_str(),
            ?params,
            vectors,
            "the new index has taken the old one's place"
        );
        if !self.checkpoint_scheduled.swap(true, Ordering::AcqRel) {
            self.shared.schedule(Task::Checkpoint(self.name.clone()));
        }
    }

    /// Lets a caller who stored `stored` memories index as many, when too many wait.
    fn help_indexing(&self, stored: usize) {
        let mut scratch = hnsw::Scratch::new();
        for _ in 0..stored.div_ceil(INDEX_TURN) {
            if self.read().unindexed().len() <= UNINDEXED_MAX || !self.index_some(&mut scratch) {
                break;
            }
        }
    }
}

/// Slots that are kept from other indexing threads until this is dropped.
struct BeingIndexed<'a> {
    space: &'a Space,
    turn: Vec<Slot>,
}

impl Drop for BeingIndexed<'_> {
    fn drop(&mut self) {
        self.space.being_indexed.lock().retain(|slot| !self.turn.contains(slot));
    }
}

impl std::fmt::Debug for Space {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Space").field("name", &self.name.as_str()).finish_non_exhaustive()
    }
}

/// A request to store, ready to be decided.
struct StoreRequest {
    space: SpaceName,
    memories: Vec<(NewMemory, MemoryId, Analysis)>,
    /// Those of these ids that were there before it was decided.
    seen: HashMap<MemoryId, Memory>,
    /// What the analyses were made for: as they were, with the embedder that the first memory decides on.
    settings: SpaceSettings,
    replace: bool,
    /// The caller's idempotency key, with the fingerprint of the request.
    key: Option<(String, u64)>,
}

impl StoreRequest {
    /// What it changes.
    fn decide(mut self, state: &SpaceState, now: Timestamp) -> Result<Plan> {
        if let Some(ids) = self.ids_stored_before(state)? {
            return Ok(Plan { changes: vec![], ids });
        }
        let mut changes: Vec<Prepared> = Vec::new();
        let mut ids = Vec::new();
        let mut added = 0;
        let mut settings = *state.settings();
        for (new, id, analysis) in self.memories {
            ids.push(id.clone());
            let is_new = state.slot(&id).is_none();
            let kept = state.slot(&id).map(|slot| at_hand(state, slot, self.seen.remove(&id)));
            let kept = kept.transpose()?;
            match kept.map(|kept| new.differs_from(&kept)) {
                None => {}
                Some(None) => continue,
                Some(Some(_)) if self.replace => {}
                Some(Some(field)) => {
                    let space = &self.space;
                    return conflict(format!(
                        "memory \"{id}\" is stored in space \"{space}\" with another {field}; set replace to overwrite it"
                    ));
                }
            }
            if settings.embedder.is_none() {
                settings.embedder = self.settings.embedder;
                changes.push((Change::Settings(settings), None));
            }
            let memory = new.complete(id, now);
            added += usize::from(is_new && !memory.is_made());
            check_against(settings.embedder, &memory)?;
            // Other settings may have been made between the analysis and this decision.
            let is_current = Analysis::is_same_under(&settings, &self.settings);
            let analysis = if is_current { analysis } else { Analysis::of(&memory, &settings) };
            changes.push((Change::Stored(Box::new(memory)), Some(analysis)));
        }
        // What changes nothing is no more than there is, even where a quota that came later would not have let it in.
        if !changes.is_empty() {
            check_quota(state, &self.space, added)?;
        }
        if let Some((key, fingerprint)) = self.key {
            changes.push((Change::Keyed(Keyed { key, fingerprint, ids: ids.clone() }), None));
        }
        Ok(Plan { changes, ids })
    }

    /// What an earlier request with the same idempotency key stored.
    fn ids_stored_before(&self, state: &SpaceState) -> Result<Option<Vec<MemoryId>>> {
        let Some((key, fingerprint)) = &self.key else { return Ok(None) };
        match state.key(key) {
            None => Ok(None),
            Some((_, used)) if used.fingerprint == *fingerprint => Ok(Some(used.ids.clone())),
            Some(_) => conflict(format!(
                "idempotency key \"{}\" was used for another request; use a new one",
                shown(key)
            )),
        }
    }
}

/// Whether a space may take so many more memories. The concepts of consolidation do not count.
fn check_quota(state: &SpaceState, space: &SpaceName, added: usize) -> Result<()> {
    match state.settings().memories_max {
        Some(max) if (state.ranked() + added) as u64 > max => conflict(format!(
            "space \"{space}\" holds {} memories and may hold {max}, so it cannot take {added} more; raise \
             memories_max or delete some",
            state.ranked()
        )),
        _ => Ok(()),
    }
}

/// Whether a memory fits the space's vectors, and does not link to itself.
fn check_against(embedder: Option<Embedder>, memory: &Memory) -> Result<()> {
    if let Some(link) = memory.links.iter().find(|link| link.to == memory.id) {
        return invalid(format!(
            "memory \"{}\" cannot be linked to itself (kind \"{}\")",
            memory.id, link.kind
        ));
    }
    let Some(embedding) = &memory.embedding else { return Ok(()) };
    match embedder {
        Some(Embedder::Caller { dimensions }) if dimensions == embedding.len() => Ok(()),
        Some(Embedder::Caller { dimensions }) => invalid(format!(
            "memory \"{}\" has an embedding of {} numbers, the vectors of this space have {dimensions}; re-embed it \
             with the model of the others, or use another space",
            memory.id,
            embedding.len()
        )),
        Some(Embedder::Builtin { .. }) => invalid(format!(
            "memory \"{}\" has an embedding of {} numbers, but the vectors of this space are made from texts by the \
             built-in embedder; leave it out, or use another space",
            memory.id,
            embedding.len()
        )),
        Some(Embedder::None) | None => invalid(format!(
            "memory \"{}\" has an embedding of {} numbers, but this space was begun without vectors; leave it out, or \
             use another space",
            memory.id,
            embedding.len()
        )),
    }
}

fn find(state: &SpaceState, name: &SpaceName, id: &MemoryId) -> Result<Slot> {
    state.slot(id).ok_or_else(|| not_stored(name, id))
}

fn not_stored(name: &SpaceName, id: &MemoryId) -> Error {
    Error::new(ErrorKind::NotFound, format!("memory \"{id}\" is not stored in space \"{name}\""))
}

/// A memory as it is now, with its payload, which was read before this is decided.
fn at_hand(state: &SpaceState, slot: Slot, seen: Option<Memory>) -> Result<Memory> {
    payloads::as_now(state, slot, seen).ok_or_else(|| {
        let id = &state.record(slot).facts().id;
        let message = format!("memory \"{id}\" is just being changed and moved; try again in a moment");
        Error::new(ErrorKind::Busy, message)
    })
}

fn checked_seeds(
    state: &SpaceState,
    name: &SpaceName,
    seeds: &[(MemoryId, f64)],
) -> Result<Vec<(Slot, f64)>> {
    if seeds.is_empty() || seeds.len() > CUE_IDS_MAX {
        return invalid(format!("seeds has {} entries, it must have 1 to {CUE_IDS_MAX}", seeds.len()));
    }
    let check = |(id, activation): &(MemoryId, f64)| {
        if !(*activation > 0.0 && *activation <= 1.0) {
            return invalid(format!(
                "seed \"{id}\" has activation {activation}, it must be above 0 and at most 1"
            ));
        }
        Ok((find(state, name, id)?, *activation))
    };
    seeds.iter().map(check).collect()
}

/// A hash of a request that is the same as long as the program runs on this data: equal requests have equal ones.
fn fingerprint(memories: &[NewMemory]) -> u64 {
    let nameless = MemoryId::new("-").expect("one allowed character");
    let changes = memories.iter().map(|memory| {
        let id = memory.id.clone().unwrap_or_else(|| nameless.clone());
        Change::Stored(Box::new(memory.clone().complete(id, Timestamp(0))))
    });
    // FNV-1a over the bytes of the log: fingerprints are stored, so nothing that varies with a version of Rust will do.
    let bytes = encode_changes(changes.collect::<Vec<_>>().iter());
    // The version of the encoding has no part in it, but for that which the first ones had.
    std::iter::once(&1)
        .chain(&bytes[1..])
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn conflict<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::Conflict, message))
}

fn invalid<T>(message: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::Invalid, message))
}
