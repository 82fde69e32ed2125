//! A data folder and the spaces in it: opening, recovery, closing. The folder holds `lock` and, for each space,
//! `spaces/<name>/` with its log and checkpoints. Spaces are opened when they are first asked for.

use crate::clock::{Clock, Stopwatch};
use crate::config::{AvxVersion, Config};
use crate::deletion::DELETED;
use crate::error::{Error, ErrorKind, Result};
use crate::hot_dir;
use crate::idle::{self, Idle, look_regularly};
use crate::jobs::{self, Consolidations};
use crate::load::{Load, PAUSE_MAX, Pauses};
use crate::numa::{self, Numa};
use crate::pool::Pool;
use crate::receipt::Receipt;
use crate::recovery::recover;
use crate::space::{LogState, OpenLog, Space, SpaceSummary};
use crate::tiers::Tiers;
use crate::turnstile::Turnstile;
use crate::unsynced::Unsynced;
use crate::worker::{Task, Tasks, flush_all, flush_regularly, work, work_off, write_checkpoint};
use engram_core::hnsw::{HnswParams, Tuning};
use engram_core::id::{MemoryId, SpaceName, Timestamp};
use engram_core::kernels::{self, Simd};
use engram_core::nodes::settle_thread;
use engram_core::platform::BlockFiles;
use engram_core::vector::Paging;
use engram_storage::cold::{ColdOptions, ColdStore, Compression};
use engram_storage::{
    Error as StorageError, Lock, Log, LogOptions, LogPosition, RealVfs, SEGMENT_BYTES_MAX, Vfs,
};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Log bytes after which a checkpoint is written; more where the last one was larger.
const CHECKPOINT_BYTES: u64 = 64 << 20;
/// Bytes of the logs that may wait for the disk.
const LOG_BUFFER_BYTES: u64 = 128 << 20;
/// The log file that begins at the first position.
const FIRST_LOG: &str = "log-00000000000000000001.log";
/// A log file without a frame has this size; a space with no more has never been written to.
const LOG_HEADER_BYTES: u64 = 24;
/// Vectors that a start may index again and again, likewise.
const REINDEXED_MAX: usize = 256;
/// Log bytes that a start may replay again and again, before a checkpoint is written at the end of one that only read.
const REPLAY_BYTES_MAX: u64 = 4 << 20;
/// Payloads that a checkpoint holds itself: a small space is one file and its log.
const SETTLED_BYTES_MIN: u64 = 4 << 20;
/// What is fetched from the cold tier may take 1 / 2^4 of the size of the warm one on disk.
const COLD_CACHE_SHARE_BITS: u32 = 4;
/// How long a request waits for the cold tier, over all retries.
const COLD_TIMEOUT: Duration = Duration::from_secs(10);
/// Spaces in memory from which on those that were never stored in are let go of.
const UNBORN_KEPT: usize = 64;
/// How long is waited for spaces that others are just asking for, all together: they have a cell for microseconds.
const ASKED_FOR: Duration = Duration::from_millis(100);

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncMode {
    /// When its bytes are on disk; concurrent writers share one sync.
    #[default]
    Always,
    /// When it is logged; the disk follows within `flush_interval`, and a crash of the machine loses that much.
    Batch,
    /// When it is logged; the operating system decides when the disk follows.
    None,
}

/// What is told of each sync of a log.
pub type ObserveFlush = Arc<dyn Fn(Duration) + Send + Sync>;

/// What is told of each consolidation in the background at its end, with why it failed.
pub type ObserveConsolidation = Arc<dyn Fn(Duration, Option<&Error>) + Send + Sync>;

/// How to open an engine.
#[derive(Clone)]
pub struct Options {
    /// The folder; made if missing.
    pub data_dir: PathBuf,
    /// When a write counts as done.
    pub sync: SyncMode,
    /// For `SyncMode::Batch`.
    pub flush_interval: Duration,
    /// Whether the built-in embedder makes the vectors of a space whose first memory brings none.
    pub embeds_texts: bool,
    /// The shape of indexes; a change builds them anew in the background.
    pub hnsw: HnswParams,
    /// What makes distances faster on a processor and changes no answer.
    pub tuning: Tuning,
    /// The instructions that distances use at most: of the whole process, and of whoever opened an engine last.
    pub simd: Simd,
    /// Locks that the readers of a space are divided over at most; made where threads meet. 2 to 4 for each core.
    pub hot_tier_shards: usize,
    /// How this process is divided over memory nodes, where there are several; none: as the system likes.
    pub numa: Option<Numa>,
    /// Working memories of recalls that are kept for the next; as many as there are recalls at the same time is enough.
    pub result_pool_size: usize,
    /// Memories that a recall finds which a new working memory has room for at once; it grows where it must.
    pub result_pool_capacity: usize,
    /// Recalls that compute at the same time; others wait for their turn. As many as there are cores.
    pub recalls_at_once: usize,
    /// Background threads, for indexing and checkpoints. With none, call `Engine::work_off`.
    pub background_threads: usize,
    /// Consolidations at the same time, each in a thread while it lasts. With none, call `Engine::work_off`.
    pub consolidation_threads: usize,
    /// Log bytes after which a checkpoint is written; more where the last one was larger.
    pub checkpoint_bytes: u64,
    /// Size of a log file.
    pub segment_bytes_max: u64,
    /// Bytes of the logs, of all spaces together, that may wait for the disk under `SyncMode::Batch` and
    /// `SyncMode::None`; whoever stores what passes it waits for the disk. Under `SyncMode::Always`, bytes that share
    /// a sync, where that is less than 16 MiB.
    pub log_buffer_bytes: u64,
    /// Whether logs are written past the page cache, where the file system can.
    pub log_direct_io: bool,
    /// Bytes of payloads that stay in memory, of all spaces together. What they need beside is not counted.
    pub hot_bytes_max: u64,
    /// A folder, on a tmpfs, for the vectors among them; none: the memory of the process.
    pub hot_dir: Option<PathBuf>,
    /// Bytes of payloads that stay on disk beside those that are in memory, where there is a cold tier.
    pub warm_bytes_max: u64,
    /// Where what does not fit is kept; none: on disk, however much it is.
    pub cold: Option<Arc<ColdStore>>,
    /// How long the cold tier is left alone after it could not be reached, and payloads where they are after they could not
    /// be moved.
    pub retry_after: Duration,
    /// The longest pause between two steps of a move of payloads while as many operations are under way as there are cores;
    /// a turn of moves has a hundred at most.
    pub move_pause_max: Duration,
    /// Bytes of payloads from which on a checkpoint puts them into segments instead of itself.
    pub settled_bytes_min: u64,
    /// Hops that activation may take through the memories of each tier, hot, warm and cold; 0 leaves a tier out.
    pub hops: [u8; 3],
    /// Spaces that are open at once: the others sleep, if nobody holds them.
    pub spaces_open_max: usize,
    /// How long a space of up to 4 MiB is not asked for before it sleeps.
    pub spaces_sleep_after: Duration,
    /// What is told of each sync of a log.
    pub observe_flush: Option<ObserveFlush>,
    /// What is told of each consolidation in the background.
    pub observe_consolidation: Option<ObserveConsolidation>,
    /// The file system.
    pub vfs: Arc<dyn Vfs>,
    /// The present.
    pub clock: Clock,
}

impl Options {
    /// The defaults for this folder.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            data_dir: data_dir.into(),
            sync: SyncMode::Always,
            flush_interval: Duration::from_secs(1),
            embeds_texts: true,
            hnsw: HnswParams::default(),
            tuning: Tuning::default(),
            simd: Simd::best(),
            hot_tier_shards: (4 * cores).next_power_of_two().max(16),
            numa: None,
            result_pool_size: 100,
            result_pool_capacity: 1000,
            recalls_at_once: cores,
            background_threads: cores,
            consolidation_threads: 1,
            checkpoint_bytes: CHECKPOINT_BYTES,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            log_buffer_bytes: LOG_BUFFER_BYTES,
            log_direct_io: false,
            hot_bytes_max: u64::MAX,
            hot_dir: None,
            warm_bytes_max: u64::MAX,
            cold: None,
            retry_after: Duration::from_secs(5),
            move_pause_max: PAUSE_MAX,
            settled_bytes_min: SETTLED_BYTES_MIN,
            hops: [3, 2, 1],
            spaces_open_max: idle::OPEN_MAX,
            spaces_sleep_after: idle::SLEEPS_AFTER,
            observe_flush: None,
            observe_consolidation: None,
            vfs: Arc::new(RealVfs),
            clock: Clock::system(),
        }
    }

    /// As a configuration says. Does not talk to the cold tier yet.
    pub fn from_config(config: &Config) -> Result<Self> {
        let sync = match config.wal.sync_mode {
            crate::config::SyncMode::Always => SyncMode::Always,
            crate::config::SyncMode::Batch => SyncMode::Batch,
            crate::config::SyncMode::None => SyncMode::None,
        };
        Ok(Self {
            sync,
            flush_interval: Duration::from_millis(config.wal.flush_interval_ms),
            log_buffer_bytes: config.wal.buffer_size_mb << 20,
            log_direct_io: config.wal.use_direct_io,
            hot_bytes_max: config.storage.hot_tier_size_mb << 20,
            hot_dir: Some(config.storage.hot_tier_dir.clone()).filter(|dir| !dir.as_os_str().is_empty()),
            warm_bytes_max: config.storage.warm_tier_size_mb << 20,
            cold: cold_store(config)?,
            hops: config.activation.visit_budget_per_tier.hops(),
            embeds_texts: config.embedder.provider == crate::config::EmbedderProvider::Builtin,
            hot_tier_shards: config.storage.hot_tier_shards,
            numa: config.numa.numa_aware.then(|| Numa {
                prefers_local: config.numa.prefer_local_node,
                share_bytes: config.numa.socket_memory_mb.iter().map(|mb| mb << 20).collect(),
            }),
            result_pool_size: config.performance.result_pool_size,
            result_pool_capacity: config.performance.result_pool_capacity,
            hnsw: HnswParams {
                m: config.hnsw_index.m,
                ef_construction: config.hnsw_index.ef_construction,
                ef_search: config.hnsw_index.ef_search,
            },
            tuning: Tuning {
                prefetch_distance: config.activation.prefetch_distance,
                batch: config.activation.simd_batch_size,
                paging: if config.storage.use_huge_pages { Paging::Huge } else { Paging::Ordinary },
            },
            simd: match (config.activation.simd_enabled, config.activation.avx_version) {
                (false, _) => Simd::Scalar,
                (true, AvxVersion::Avx2) => Simd::Avx2.min(Simd::best()),
                (true, AvxVersion::Auto | AvxVersion::Avx512) => Simd::best(),
            },
            background_threads: config.thread_pools.background_workers,
            consolidation_threads: config.thread_pools.consolidation_workers,
            ..Self::new(config.storage.data_dir.clone())
        })
    }
}

/// The cold tier of a configuration, if it has one.
fn cold_store(config: &Config) -> Result<Option<Arc<ColdStore>>> {
    let storage = &config.storage;
    if storage.cold_tier_endpoint.is_empty() {
        return Ok(None);
    }
    let compression = match storage.cold_tier_compression {
        crate::config::Compression::Zstd => Compression::Zstd(storage.cold_tier_compression_level),
        crate::config::Compression::Lz4 => Compression::Lz4,
        crate::config::Compression::None => Compression::None,
    };
    Ok(Some(Arc::new(ColdStore::open(ColdOptions {
        endpoint: storage.cold_tier_endpoint.clone(),
        compression,
        cache_dir: Some(storage.data_dir.join("cold-cache")),
        cache_bytes_max: storage.warm_tier_size_mb << (20 - COLD_CACHE_SHARE_BITS),
        timeout: COLD_TIMEOUT,
        patience: COLD_TIMEOUT,
        ..ColdOptions::default()
    })?)))
}

/// A space, once it is open. Locked while it is opened or deleted, so that nobody has it twice.
type Cell = Arc<Mutex<Option<Arc<Space>>>>;

/// What the engine's parts share.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) tasks: Tasks,
    pub(crate) consolidations: Consolidations,
    pub(crate) pool: Pool,
    pub(crate) turnstile: Turnstile,
    pub(crate) idle: Idle,
    /// What of the logs waits for the disk.
    pub(crate) unsynced: Unsynced,
    /// Whether it was said that the file system has no direct I/O.
    told_of_direct_io: AtomicBool,
    pub(crate) tiers: Tiers,
    pub(crate) load: Load,
    /// What hot vectors lie in; none: the memory of the process.
    pub(crate) hot_files: Option<Arc<BlockFiles>>,
    /// Whether cold files of erased spaces are still to be deleted.
    pub(crate) has_erased: Mutex<bool>,
    /// Ordered, so that closing them does the same in every run.
    pub(crate) spaces: Mutex<BTreeMap<SpaceName, Cell>>,
    closed: Mutex<bool>,
    lock: Mutex<Option<Lock>>,
}

/// An open data folder. Clones share it; it closes when the last is dropped, though only `close` reports errors and
/// saves the next start the replay of the log.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
    threads: Arc<Threads>,
}

struct Threads {
    shared: Arc<Shared>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Ends background work, does `last` to every open space, and gives the folder back.
    fn shut(&self, last: impl Fn(&Space) -> Result<()>) -> Result<()> {
        if std::mem::replace(&mut *self.shared.closed.lock(), true) {
            return Ok(());
        }
        self.shared.tasks.push(Task::Stop);
        let mut outcome = self.shared.consolidations.stop();
        for handle in self.handles.lock().drain(..) {
            if handle.join().is_err() {
                outcome = Err(Error::new(ErrorKind::Internal, "a background thread panicked; see the log"));
            }
        }
        // Taken out, because a space holds what is shared: left in, the circle would never be freed.
        let spaces = std::mem::take(&mut *self.shared.spaces.lock());
        for cell in spaces.into_values() {
            if let Some(space) = &*cell.lock() {
                outcome = outcome.and(last(space));
                *space.log.lock() = LogState::Closed("the engine was closed");
            }
        }
        *self.shared.lock.lock() = None;
        outcome
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Err(error) = self.shut(Space::flush) {
            tracing::error!(%error, "closing failed");
        }
    }
}

impl Engine {
    /// Opens a folder, making it if it is missing. Refused where another process has it.
    pub fn open(options: Options) -> Result<Self> {
        options.hnsw.check()?;
        options.tuning.check()?;
        let simd = kernels::choose(options.simd);
        tracing::info!(simd = simd.name(), paging = ?options.tuning.paging, "distances");
        numa::divide(options.numa.as_ref())?;
        options.vfs.create_dir_all(&options.data_dir.join("spaces"))?;
        let note = std::env::args()
            .take(2)
            .map(|arg| arg.rsplit('/').next().unwrap_or("").to_string())
            .collect::<Vec<_>>();
        let lock = options.vfs.try_lock(&options.data_dir.join("lock"), &note.join(" "))?;
        let pool = Pool::new(options.result_pool_size, options.result_pool_capacity);
        let turnstile = Turnstile::new(options.recalls_at_once);
        let tiers = Tiers::new(&options);
        let hot_files = options.hot_dir.as_ref().map(|dir| hot_dir::block_files(dir, options.hot_bytes_max));
        let hot_files = hot_files.transpose()?;
        let load = Load::new(options.recalls_at_once, options.move_pause_max);
        let shared = Arc::new(Shared {
            options,
            pool,
            turnstile,
            tiers,
            load,
            hot_files,
            tasks: Tasks::default(),
            consolidations: Consolidations::default(),
            idle: Idle::default(),
            unsynced: Unsynced::default(),
            told_of_direct_io: AtomicBool::new(false),
            has_erased: Mutex::new(false),
            spaces: Mutex::default(),
            closed: Mutex::new(false),
            lock: Mutex::new(Some(lock)),
        });
        shared.tiers.check_cold()?;
        shared.finish_deletions()?;
        let mut handles = Vec::new();
        for at in 0..shared.options.background_threads {
            let shared = shared.clone();
            handles.push(spawn(format!("engram-work-{at}"), move || work(&shared))?);
        }
        if shared.options.background_threads > 0 {
            let (weak, sleeps_after) = (Arc::downgrade(&shared), shared.options.spaces_sleep_after);
            spawn("engram-idle".into(), move || look_regularly(&weak, sleeps_after))?;
        }
        if shared.options.sync == SyncMode::Batch {
            // Holds the engine only while it works, so that it ends soon after the last clone is gone.
            let (weak, interval) = (Arc::downgrade(&shared), shared.options.flush_interval);
            spawn("engram-flush".into(), move || flush_regularly(&weak, interval))?;
        }
        let threads = Arc::new(Threads { shared: shared.clone(), handles: Mutex::new(handles) });
        Ok(Self { shared, threads })
    }

    /// The present, by the engine's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.options.clock.now()
    }

    /// The folder.
    pub fn data_dir(&self) -> &Path {
        &self.shared.options.data_dir
    }

    /// A space that exists.
    pub fn space(&self, name: &SpaceName) -> Result<Arc<Space>> {
        self.shared.check_open()?;
        // Looked up first, so that asking for names that do not exist leaves nothing behind.
        let is_known = self.shared.open_space(name).is_some()
            || held(&*self.shared.options.vfs, &self.shared.dir_of(name))? != Held::Nothing;
        if is_known {
            let space = self.space_or_new(name)?;
            if space.is_born() {
                return Ok(space);
            }
        }
        Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "there is no space \"{name}\"; a space comes into being when something is first stored in it"
            ),
        ))
    }

    /// A space, which comes into being when something is first stored in it.
    pub fn space_or_new(&self, name: &SpaceName) -> Result<Arc<Space>> {
        self.shared.space(name)
    }

    /// The spaces that exist, by name.
    pub fn spaces(&self) -> Result<Vec<SpaceName>> {
        self.shared.check_open()?;
        let vfs = &self.shared.options.vfs;
        let mut names = Vec::new();
        for folder in vfs.list(&self.shared.options.data_dir.join("spaces"))? {
            let Ok(name) = SpaceName::new(&folder) else { continue };
            let there = match held(&**vfs, &self.shared.dir_of(&name))? {
                Held::Nothing => false,
                Held::Something => true,
                // One that cannot be read is there; whoever uses it learns what is wrong.
                Held::Frames => match self.shared.open_space(&name) {
                    Some(space) => space.is_born(),
                    None => {
                        let found = Log::verify(
                            &**vfs,
                            &self.shared.dir_of(&name),
                            LogPosition::ZERO,
                            &mut |_, _| Ok(()),
                        );
                        found.map_or(true, |found| found.frames > 0)
                    }
                },
            };
            if there {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// A space in numbers. Wakes none that sleeps.
    pub fn summary(&self, name: &SpaceName) -> Result<SpaceSummary> {
        self.shared.check_open()?;
        let summary = self.shared.open_space(name).map(|space| space.summary());
        match summary.or_else(|| self.shared.idle.summary(name)) {
            Some(summary) => Ok(summary),
            None => Ok(self.space(name)?.summary()),
        }
    }

    /// The spaces that were opened since the engine was, in numbers. Opens and wakes none.
    pub fn summaries(&self) -> Vec<SpaceSummary> {
        // One that wakes meanwhile sleeps before, one that falls asleep sleeps after.
        let before = self.shared.idle.summaries();
        let open = self.shared.open_spaces();
        let open = open.iter().filter(|space| space.is_born()).map(|space| space.summary());
        let mut summaries: Vec<SpaceSummary> =
            open.chain(self.shared.idle.summaries()).chain(before).collect();
        summaries.sort_by(|a, b| a.name.cmp(&b.name));
        // The first of a name is the newest.
        summaries.dedup_by(|a, b| a.name == b.name);
        summaries
    }

    /// The spaces that take the most of the disk, at most `count`, the largest first.
    pub fn largest_spaces(&self, count: usize) -> Result<Vec<SpaceName>> {
        let vfs = &self.shared.options.vfs;
        let mut sized = Vec::new();
        for name in self.spaces()? {
            let dir = self.shared.dir_of(&name);
            // Files come and go while this looks.
            let sizes = vfs.list(&dir)?.into_iter().map(|file| vfs.size(&dir.join(file)).unwrap_or(0));
            sized.push((std::cmp::Reverse(sizes.sum::<u64>()), name));
        }
        sized.sort();
        Ok(sized.into_iter().take(count).map(|(_, name)| name).collect())
    }

    /// Deletes a space with all that it holds, and says what that was. Freed blocks of the disk are not overwritten.
    pub fn delete_space(&self, name: &SpaceName) -> Result<Receipt> {
        let space = self.space(name)?;
        let cell = self.shared.cell(name);
        let mut cell = cell.lock();
        if !cell.as_ref().is_some_and(|current| Arc::ptr_eq(current, &space)) {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("space \"{name}\" was just deleted by another request"),
            ));
        }
        // A checkpoint that is being written would bring the folder back, and so would a note of a backup.
        let _no_checkpoint = space.checkpointing.lock();
        let _no_notes = space.noting.lock();
        // And a move would write beside the files of the space that may come after.
        let mut no_moves = space.placing.lock();
        let receipt = space.receipt()?;
        *space.log.lock() = LogState::Closed("its deletion has begun; delete it again if that failed");
        // Nothing is put into a cold file from here on, but one may be on its way, and would stay for ever.
        space.await_cold_files(&mut no_moves);
        let cold_files: Vec<String> = space.read().files().values().cloned().collect();
        self.shared.erase_space(name, &cold_files)?;
        *cell = None;
        Ok(receipt)
    }

    /// Deletes a space whose files are damaged, so that `delete_space` cannot open it. Its cold files stay: what names them
    /// cannot be read.
    pub fn delete_damaged_space(&self, name: &SpaceName) -> Result<()> {
        self.shared.check_open()?;
        let cell = self.shared.cell(name);
        let cell = cell.lock();
        if cell.is_some() {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("space \"{name}\" is open, so it is not damaged"),
            ));
        }
        self.shared.erase_space(name, &[])
    }

    /// Ends writes, syncs, and writes what the next start needs to be quick. Later calls are refused. Recalls that are
    /// under way finish.
    pub fn close(&self) -> Result<()> {
        self.threads.shut(close_space)
    }

    /// Begins to consolidate a space in the background, and gives the id of the job: of the one that does so already,
    /// where there is one. See `Space::consolidate`.
    pub fn consolidate(&self, space: &SpaceName, dry_run: bool) -> Result<String> {
        self.space(space)?;
        self.shared.consolidations.start(&self.shared, space, dry_run)
    }

    /// How far a job is. The newest 256 that have ended are remembered, until the engine is closed.
    pub fn job(&self, id: &str) -> Result<jobs::Job> {
        self.shared.consolidations.get(id).ok_or_else(|| {
            let id = engram_core::error::shown(id);
            let message = format!(
                "there is no job \"{id}\"; jobs are forgotten when the server stops, and the oldest before"
            );
            Error::new(ErrorKind::NotFound, message)
        })
    }

    /// Closes a space without writing anything more, so that one after another can be read.
    pub(crate) fn abandon_space(&self, name: &SpaceName) {
        let cell = self.shared.spaces.lock().remove(name);
        if let Some(space) = cell.and_then(|cell| cell.lock().take()) {
            *space.log.lock() = LogState::Closed("it was opened only to be read");
        }
    }

    /// Closes without writing anything more.
    pub(crate) fn abandon(&self) {
        self.threads.shut(|_| Ok(())).expect("nothing was to be done");
    }

    /// An id that was never given before.
    pub fn new_id(&self) -> MemoryId {
        self.shared.new_id()
    }

    /// Does the background work that waits, on the calling thread: for programs and tests without threads.
    pub fn work_off(&self) {
        self.shared.consolidations.work_off(&self.shared);
        work_off(&self.shared);
        self.shared.sleep_some();
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("data_dir", &self.data_dir()).finish_non_exhaustive()
    }
}

pub(crate) fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let run = || {
        settle_thread();
        run();
    };
    std::thread::Builder::new().name(name).spawn(run).map_err(no_thread)
}

pub(crate) fn no_thread(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("cannot start a thread: {error}"))
}

/// Syncs, and spares the next start the replay of what was written. Where nothing was, nothing is rewritten.
pub(crate) fn close_space(space: &Space) -> Result<()> {
    space.flush()?;
    let is_due = match &*space.log.lock() {
        LogState::Open(open) => {
            space.position() > open.opened_at
                || open.log.bytes() > REPLAY_BYTES_MAX.max(open.checkpoint.1)
                || space.indexed.load(Ordering::Relaxed) > REINDEXED_MAX
        }
        LogState::Unborn | LogState::Closed(_) => false,
    };
    if let Err(error) = space.settle_brought() {
        tracing::warn!(space = space.name().as_str(), %error, "what came from the cold tier stays there alone");
    }
    space.reclaim(&mut Pauses::none());
    if is_due && let Err(error) = write_checkpoint(space) {
        // The log has everything; the next start takes a little longer.
        tracing::warn!(space = space.name().as_str(), %error, "checkpoint failed; the log is kept");
    }
    Ok(())
}

impl Shared {
    /// Whether the engine was closed, or is about to be.
    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.lock()
    }

    fn check_open(&self) -> Result<()> {
        if self.is_closed() {
            return Err(Error::new(ErrorKind::Closed, "the engine is closed; open the folder again"));
        }
        Ok(())
    }

    pub(crate) fn dir_of(&self, name: &SpaceName) -> PathBuf {
        self.options.data_dir.join("spaces").join(name.as_str())
    }

    fn cell(&self, name: &SpaceName) -> Cell {
        let mut spaces = self.spaces.lock();
        if spaces.len() >= UNBORN_KEPT && spaces.len().is_power_of_two() && !spaces.contains_key(name) {
            // Spaces that nothing was ever stored in, and that nobody holds, would pile up otherwise.
            spaces.retain(|_, cell| {
                let is_held = |space: &Arc<Space>| space.is_born() || Arc::strong_count(space) > 1;
                Arc::strong_count(cell) > 1 || cell.lock().as_ref().is_some_and(is_held)
            });
        }
        spaces.entry(name.clone()).or_default().clone()
    }

    pub(crate) fn space(self: &Arc<Self>, name: &SpaceName) -> Result<Arc<Space>> {
        self.check_open()?;
        let cell = self.cell(name);
        let mut cell = cell.lock();
        // Again, because closing passes over what was opened after it looked.
        self.check_open()?;
        if let Some(space) = &*cell {
            space.note_asked();
            return Ok(space.clone());
        }
        let space = Arc::new(recover(self, name)?);
        space.note_asked();
        self.idle.forget(name);
        *cell = Some(space.clone());
        drop(cell);
        self.bound_open_spaces();
        space.schedule_work();
        Ok(space)
    }

    /// A space, if it is open.
    pub(crate) fn open_space(&self, name: &SpaceName) -> Option<Arc<Space>> {
        let cell = self.spaces.lock().get(name)?.clone();
        cell.lock().clone()
    }

    /// The spaces that are open, without those that are being opened, put to sleep or deleted at the moment.
    pub(crate) fn open_spaces(&self) -> Vec<Arc<Space>> {
        self.open_spaces_within(ASKED_FOR)
    }

    /// Waits so long for those whose cells others have. Not for ever: one has it for minutes who opens or deletes a space,
    /// or may wait for us.
    fn open_spaces_within(&self, time_max: Duration) -> Vec<Arc<Space>> {
        let (mut open, mut busy) = (Vec::new(), Vec::new());
        for (name, cell) in self.spaces.lock().iter() {
            match cell.try_lock() {
                Some(held) => open.extend(held.clone()),
                None => busy.push((name.clone(), cell.clone())),
            }
        }
        let watch = Stopwatch::start();
        for (name, cell) in busy {
            let left = time_max.saturating_sub(watch.elapsed());
            let space = cell.try_lock_for(left).map(|held| held.clone());
            drop(cell);
            match space {
                Some(Some(space)) => open.push(space),
                Some(None) => self.drop_empty(&name),
                None => {}
            }
        }
        open
    }

    /// Removes the cell of a space that is not open, unless somebody has it to open the space.
    pub(crate) fn drop_empty(&self, name: &SpaceName) {
        let mut spaces = self.spaces.lock();
        let is_unused =
            |cell: &Cell| Arc::strong_count(cell) == 1 && cell.try_lock().is_some_and(|held| held.is_none());
        if spaces.get(name).is_some_and(is_unused) {
            spaces.remove(name);
        }
    }

    /// Syncs the logs of all open spaces if more waits for the disk than may. Call it without a space's log.
    pub(crate) fn bound_unsynced(&self) {
        if self.unsynced.bytes() > self.options.log_buffer_bytes {
            flush_all(self);
        }
    }

    pub(crate) fn schedule(&self, task: Task) {
        self.tasks.push(task);
    }

    pub(crate) fn new_id(&self) -> MemoryId {
        let micros = self.options.clock.now().0.max(0) as u64;
        let time = uuid::Timestamp::from_unix(
            uuid::NoContext,
            micros / 1_000_000,
            (micros % 1_000_000) as u32 * 1000,
        );
        MemoryId::new(&uuid::Uuid::new_v7(time).to_string()).expect("a UUID is a valid id")
    }

    pub(crate) fn log_options(&self) -> LogOptions {
        let Options { segment_bytes_max, log_direct_io, .. } = self.options;
        LogOptions { segment_bytes_max, is_direct: log_direct_io, ..LogOptions::default() }
    }

    /// A log that was just opened.
    pub(crate) fn open_log(&self, log: Log, checkpoint: (u64, u64)) -> OpenLog {
        if self.options.log_direct_io
            && !log.is_direct()
            && !self.told_of_direct_io.swap(true, Ordering::Relaxed)
        {
            let folder = self.options.data_dir.display();
            tracing::warn!(%folder, "wal.use_direct_io has no effect: this file system has no direct I/O");
        }
        let opened_at = log.position().0;
        OpenLog { log, unsynced: false, waiting: self.unsynced.part(), checkpoint, opened_at }
    }

    /// The log of a space that is about to be born.
    pub(crate) fn new_log(&self, dir: &Path) -> Result<OpenLog> {
        let vfs = self.options.vfs.clone();
        vfs.create_dir_all(dir)?;
        if vfs.exists(&dir.join(DELETED))? {
            let message = format!(
                "{} is left of a deletion that failed; open the folder again, which takes it further",
                dir.display()
            );
            return Err(Error::new(ErrorKind::Closed, message));
        }
        let (log, _) = Log::open(vfs, dir, self.log_options(), LogPosition::ZERO, &mut |_, _| Ok(()))?;
        Ok(self.open_log(log, (0, 0)))
    }
}

/// What a space's folder holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Nothing that counts.
    Nothing,
    /// Its first log, with bytes in it. They may be those of a write that a crash cut off.
    Frames,
    /// More.
    Something,
}

pub(crate) fn held(vfs: &dyn Vfs, dir: &Path) -> Result<Held> {
    if !vfs.exists(dir)? || vfs.exists(&dir.join(DELETED))? {
        return Ok(Held::Nothing);
    }
    let (mut logs, mut bytes) = (0, 0);
    let files = match vfs.list(dir) {
        // A stray file is no space.
        Err(StorageError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotADirectory => {
            return Ok(Held::Nothing);
        }
        listed => listed?,
    };
    for file in files {
        if file.starts_with("checkpoint-") && file.ends_with(".ckpt") {
            return Ok(Held::Something);
        }
        if file.starts_with("log-") {
            // One that does not begin at the first position had others or a checkpoint before it.
            logs += if file == FIRST_LOG { 1 } else { 2 };
            // It may just have been removed, as a checkpoint stands for it now.
            bytes = vfs.size(&dir.join(&file)).unwrap_or(u64::MAX);
        }
    }
    Ok(match logs {
        0 | 1 if bytes <= LOG_HEADER_BYTES => Held::Nothing,
        0 | 1 => Held::Frames,
        _ => Held::Something,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::ActivateFrom;
    use engram_core::cue::{Cue, RecallOptions};

    #[test]
    fn working_memory_outlives_recalls_that_fail() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(Options::new(folder.path())).unwrap();
        let space = engine.space_or_new(&SpaceName::new("notes").unwrap()).unwrap();
        let (cue, options) =
            (Cue::text("rain"), RecallOptions { limit: 0, ..RecallOptions::at(Timestamp(0)) });
        space.recall(&cue, &options).unwrap_err();
        assert_eq!(space.shared.pool.kept(), 1);
        space.activate(&ActivateFrom::Cue(cue), &options).unwrap_err();
        assert_eq!(space.shared.pool.kept(), 1);
        space.activate(&ActivateFrom::Seeds(Vec::new()), &options).unwrap_err();
        assert_eq!(space.shared.pool.kept(), 1);
    }

    #[test]
    fn a_space_that_is_just_asked_for_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(Options::new(folder.path())).unwrap();
        let name = SpaceName::new("notes").unwrap();
        let space = engine.space_or_new(&name).unwrap();
        let cell = engine.shared.cell(&name);
        let asked = cell.lock();
        assert!(engine.shared.open_spaces_within(Duration::ZERO).is_empty());
        std::thread::scope(|scope| {
            let look = scope.spawn(|| engine.shared.open_spaces_within(Duration::MAX));
            // Until it waits; the map and this test have the cell, too.
            while Arc::strong_count(&cell) < 3 && !look.is_finished() {
                std::thread::yield_now();
            }
            drop(asked);
            let open = look.join().unwrap();
            assert!(matches!(&open[..], [open] if Arc::ptr_eq(open, &space)), "{open:?}");
        });
    }
}
