//! The talk with the object store: requests with a bound on their time, answers that are checked before they are
//! believed, and errors that say what to do.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use object_store::path::Path;
use object_store::{
    Error as StoreError, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions,
    PutOptions,
};
use tokio::runtime::{Builder, Runtime};

use super::cache::{Cache, Recent};
use super::endpoint::{self, Place};
use super::probe::{self, Verdict};
use super::tail::{self, Group, Tail, Unusable};
use super::{ColdOptions, ColdRow, ColdStats, Compression, MULTIPART_BYTES, columns};
use crate::error::{Error, Result};

/// Bytes of a file's end that are fetched first. The tail of some 30,000 memories with vectors of 768 numbers fits, so
/// that one request does for what the engine writes. What a small file then sends in vain, some groups, takes 0.2 ms.
const TAIL_BYTES_FIRST: u64 = 256 << 10;
/// Bytes of one part of a large upload, at least; S3 takes no less than 5 MiB.
const PART_BYTES: u64 = 16 << 20;
/// Parts of one upload that S3 takes.
const PARTS_MAX: u64 = 10_000;
/// Parts that are on their way at once.
const PARTS_AT_ONCE: usize = 4;
/// Row groups that are fetched at once, and held in RAM.
const GROUPS_AT_ONCE: usize = 16;
/// Bytes that a read of a whole file fetches with one request, and holds in RAM.
const SCAN_BYTES: u64 = 8 << 20;
/// Where the cache has the tail of a file: behind all its groups.
const TAIL_PART: u64 = u64::MAX;
/// Bytes of one row at most: a page holds less than 2 GiB.
const ROW_BYTES_MAX: usize = 1 << 30;

/// Cold files in one store. Calls block, may come from several threads, and must not be made inside of an async
/// runtime.
pub struct ColdStore {
    pub(super) place: Place,
    endpoint: String,
    compression: Compression,
    patience: Duration,
    tails: Mutex<Recent<String, Arc<Tail>>>,
    cache: Option<Cache>,
    cached: AtomicU64,
    fetched: AtomicU64,
    /// Always there, but while this is dropped.
    runtime: Option<Runtime>,
}

/// An answer, or what the store said, or what is wrong with what it sent.
pub(super) type Asked<T> = std::result::Result<T, Trouble>;

pub(super) enum Trouble {
    Store(StoreError),
    Damaged(String),
    Newer(u32),
    /// The name is taken, but not by a finished file.
    Unfinished,
    /// Where the bytes come from that were to be written.
    Origin(Error),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        Trouble::Store(error)
    }
}

impl ColdStore {
    /// Takes the settings apart and empties the cache. Does not talk to the store, but makes the folder of `file://`.
    ///
    /// # Errors
    /// `Setting` where the endpoint, an `AWS_*` variable or the level makes no sense; `Io` where a folder cannot be made.
    pub fn open(options: ColdOptions) -> Result<ColdStore> {
        let place = endpoint::open(&options, std::env::vars())?;
        ColdStore::at(place, options)
    }

    /// The same over a store that is there already; `endpoint` is then only named in errors.
    ///
    /// # Errors
    /// As `open`.
    pub fn with_store(store: Arc<dyn ObjectStore>, options: ColdOptions) -> Result<ColdStore> {
        ColdStore::at(Place { store, prefix: Path::default(), folder: None }, options)
    }

    fn at(place: Place, options: ColdOptions) -> Result<ColdStore> {
        if let Compression::Zstd(level) = options.compression
            && !(1..=22).contains(&level)
        {
            return Err(Error::Setting {
                setting: "storage.cold_tier_compression_level",
                value: level.to_string(),
                reason: "levels are 1 to 22".into(),
            });
        }
        let cache = match &options.cache_dir {
            Some(folder) => Some(Cache::open(folder, options.cache_bytes_max)?),
            None => None,
        };
        // Connections are served here; requests themselves are driven by the threads that ask.
        let runtime =
            Builder::new_multi_thread().worker_threads(2).thread_name("engram-cold").enable_all().build();
        let runtime = runtime.map_err(|e| Error::io("start threads for", options.endpoint.as_ref(), e))?;
        Ok(ColdStore {
            place,
            endpoint: options.endpoint,
            compression: options.compression,
            patience: options.patience,
            tails: Mutex::new(Recent::new(options.tails_bytes_max as u64)),
            cache,
            cached: AtomicU64::new(0),
            fetched: AtomicU64::new(0),
            runtime: Some(runtime),
        })
    }

    /// Asks whether of many who create the same object exactly one succeeds, which everything here relies on. Costs 72
    /// requests on four objects, which are deleted again.
    ///
    /// # Errors
    /// `UnsafeStore` where not, `Unreachable` where the store cannot be asked.
    pub fn probe(&self) -> Result<()> {
        let probe = async { Ok(probe::probe(&*self.place.store, &self.place.prefix).await) };
        match self.wait(probe).map_err(|trouble| self.error("probe", "the store", trouble))? {
            Verdict::Safe => Ok(()),
            Verdict::Unsafe(reason) => Err(Error::UnsafeStore { endpoint: self.endpoint.clone(), reason }),
            Verdict::Failed(error) => {
                Err(self.unreachable("probe", "the store", &endpoint::with_causes(&error)))
            }
        }
    }

    /// Writes a file of these rows, in this order, under a name that is not taken, and gives its bytes. Nothing happens
    /// where a file of the same rows has that name.
    ///
    /// # Errors
    /// `Exists` where the name is taken by something else; `TooLarge` for a row of more than 1 GiB; `Unreachable`, after
    /// which the file may be there or not.
    ///
    /// # Panics
    /// Where vectors differ in length, or have none.
    pub fn put(&self, name: &str, rows: &[ColdRow]) -> Result<u64> {
        let path = self.path(name)?;
        if let Some(bytes) = rows.iter().map(columns::row_bytes).find(|bytes| *bytes > ROW_BYTES_MAX) {
            return Err(Error::TooLarge { what: "row", bytes, bytes_max: ROW_BYTES_MAX });
        }
        let file = columns::encode(rows, self.compression).expect("rows of this size can be written to RAM");
        let file = Bytes::from(file);
        let done = match file.len() > MULTIPART_BYTES {
            true => self.put_large(&path, &file),
            false => self.wait(self.create(&path, &file)),
        };
        if !done.map_err(|trouble| self.error("write", name, trouble))? {
            return Err(Error::Exists { name: name.into(), endpoint: self.endpoint.clone() });
        }
        Ok(file.len() as u64)
    }

    /// Some rows of a file by number, in the order of `rows`. Fetches the row groups that hold them, up to 16 at once,
    /// and the file's tail where it is not known yet.
    ///
    /// # Errors
    /// `Absent`, `Unreachable`, `NewerFormat`; `Damaged`, also for a row that the file does not have.
    pub fn read(&self, name: &str, rows: &[u32]) -> Result<Vec<ColdRow>> {
        let path = self.path(name)?;
        let found = match self.read_rows(name, &path, rows) {
            // What is known of the file may be of another, which had its name and was deleted meanwhile.
            Err(Trouble::Damaged(_)) => {
                self.forget(name);
                self.read_rows(name, &path, rows)
            }
            other => other,
        };
        found.map_err(|trouble| self.error("read", name, trouble))
    }

    /// All rows of a file, in order, some megabytes at a time, from the store itself, each checksum compared.
    ///
    /// # Errors
    /// As `read`, and those of `each`, which end it.
    pub fn read_all(&self, name: &str, each: &mut dyn FnMut(ColdRow) -> Result<()>) -> Result<()> {
        let path = self.path(name)?;
        let (tail, _) =
            self.wait(self.fetch_tail(&path)).map_err(|trouble| self.error("read", name, trouble))?;
        self.scan(name, &path, &tail, each)
    }

    /// Reads all of a file from the store, compares every checksum, decodes every row, and gives their number.
    ///
    /// # Errors
    /// As `read`.
    pub fn verify(&self, name: &str) -> Result<u64> {
        let mut rows = 0;
        self.read_all(name, &mut |_| {
            rows += 1;
            Ok(())
        })?;
        Ok(rows)
    }

    /// Names that begin with `prefix`, in order, with the bytes of each. Claims of large files that were not finished
    /// are among them.
    ///
    /// # Errors
    /// `Unreachable`.
    pub fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>> {
        // Stores list by folder; the rest of the prefix is compared here.
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let path = if folder.is_empty() { self.place.prefix.clone() } else { self.path(folder)? };
        let list = async { Ok(self.place.store.list(Some(&path)).try_collect::<Vec<_>>().await?) };
        let found = self.wait(list).map_err(|trouble| self.error("list", prefix, trouble))?;
        let own = self.place.prefix.as_ref();
        let name = |path: &Path| {
            let name = path.as_ref().strip_prefix(own)?;
            Some(name.strip_prefix('/').unwrap_or(name).to_string())
        };
        let names = found.iter().filter_map(|object| Some((name(&object.location)?, object.size)));
        let mut names: Vec<(String, u64)> = names.filter(|(name, _)| name.starts_with(prefix)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Deletes a file, from the cache too. One that is absent is no error.
    ///
    /// # Errors
    /// `Unreachable`, after which it may be there or not.
    pub fn delete(&self, name: &str) -> Result<()> {
        let path = self.path(name)?;
        self.forget(name);
        let delete = async { Ok(self.place.store.delete(&path).await?) };
        match self.wait(delete) {
            Err(Trouble::Store(error)) if is_absent(&error) => Ok(()),
            other => other.map_err(|trouble| self.error("delete", name, trouble)),
        }
    }

    /// What reads met since the store was opened.
    pub fn stats(&self) -> ColdStats {
        ColdStats {
            cached: self.cached.load(Ordering::Relaxed),
            fetched: self.fetched.load(Ordering::Relaxed),
            cache_failures: self.cache.as_ref().map_or(0, |cache| cache.failures.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn path(&self, name: &str) -> Result<Path> {
        let wrong = |reason: String| Error::Name { name: name.into(), reason };
        let path = Path::parse(name).map_err(|e| wrong(e.to_string()))?;
        if path.as_ref() != name || name.is_empty() {
            return Err(wrong("write it as folder/file".into()));
        }
        Ok(self.place.prefix.parts().chain(path.parts()).collect())
    }

    pub(super) fn forget(&self, name: &str) {
        self.tails().remove(&name.to_string());
        self.cache.iter().for_each(|cache| cache.drop_file(name));
    }

    /// Runs a request on this thread, and gives up when the patience is at its end.
    pub(super) fn wait<T>(&self, request: impl Future<Output = Asked<T>>) -> Asked<T> {
        // A disk that is not mounted has no files, but that is no reason to call them lost, or to write in its place.
        if let Some(folder) = self.place.folder.as_ref().filter(|folder| !folder.is_dir()) {
            let source = format!("the folder {} is gone", folder.display()).into();
            return Err(Trouble::Store(StoreError::Generic { store: "cold", source }));
        }
        let runtime = self.runtime.as_ref().expect("it is there until this is dropped");
        runtime.block_on(async {
            tokio::time::timeout(self.patience, request).await.unwrap_or_else(|_| {
                let source = format!("no answer within {:.1} s", self.patience.as_secs_f64()).into();
                Err(Trouble::Store(StoreError::Generic { store: "cold", source }))
            })
        })
    }

    pub(super) fn error(&self, operation: &'static str, name: &str, trouble: Trouble) -> Error {
        let endpoint = self.endpoint.clone();
        let name = name.to_string();
        match trouble {
            Trouble::Damaged(reason) => Error::Damaged { name, endpoint, reason },
            Trouble::Newer(found) => {
                Error::NewerFormat { file: name.into(), found, supported: tail::FORMAT_MAX }
            }
            Trouble::Unfinished => Error::Absent { name, endpoint },
            Trouble::Origin(error) => error,
            Trouble::Store(error) if is_absent(&error) && operation != "write" => {
                Error::Absent { name, endpoint }
            }
            Trouble::Store(error) => self.unreachable(operation, &name, &endpoint::with_causes(&error)),
        }
    }

    fn unreachable(&self, operation: &'static str, name: &str, reason: &str) -> Error {
        Error::Unreachable {
            operation,
            name: name.into(),
            endpoint: self.endpoint.clone(),
            reason: reason.into(),
        }
    }
}

/// Writing.
impl ColdStore {
    /// Creates an object, or finds it with the same bytes. False where it has others.
    async fn create(&self, path: &Path, bytes: &Bytes) -> Asked<bool> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.place.store.put_opts(path, bytes.clone().into(), options).await {
            Ok(_) => Ok(true),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                self.holds(path, bytes).await
            }
            // It may have been done all the same.
            Err(error) => match self.holds(path, bytes).await {
                Ok(true) => Ok(true),
                _ => Err(error.into()),
            },
        }
    }

    /// Whether an object has exactly these bytes.
    async fn holds(&self, path: &Path, bytes: &Bytes) -> Asked<bool> {
        let object = self.place.store.get(path).await?;
        if object.meta.size != bytes.len() as u64 {
            return Ok(false);
        }
        let mut parts = object.into_stream();
        let mut at = 0;
        while let Some(part) = parts.try_next().await? {
            if bytes.get(at..at + part.len()) != Some(&part) {
                return Ok(false);
            }
            at += part.len();
        }
        Ok(at == bytes.len())
    }

    /// Takes the name by a claim, then puts the file in its place, part by part.
    fn put_large(&self, path: &Path, file: &Bytes) -> Asked<bool> {
        let claim = Bytes::from(claim(file));
        if !self.wait(self.create(path, &claim))? {
            return self.wait(self.holds(path, file));
        }
        let mut part = |range: Range<u64>| Ok(file.slice(range.start as usize..range.end as usize));
        match self.upload(path, file.len() as u64, &mut part) {
            Ok(()) => Ok(true),
            // It may have been done all the same.
            Err(trouble) => match self.wait(self.holds(path, file)) {
                Ok(true) => Ok(true),
                _ => Err(trouble),
            },
        }
    }

    /// Puts what `part` gives of so many bytes under a name, some parts at a time.
    pub(super) fn upload(
        &self,
        path: &Path,
        bytes: u64,
        part: &mut dyn FnMut(Range<u64>) -> Result<Bytes>,
    ) -> Asked<()> {
        let store = &self.place.store;
        let begin = async { Ok(store.put_multipart_opts(path, PutMultipartOptions::default()).await?) };
        let mut upload = self.wait(begin)?;
        let part_bytes = PART_BYTES.max(bytes.div_ceil(PARTS_MAX));
        let mut at = 0;
        while at < bytes {
            let mut send_some = || {
                let mut sent = Vec::new();
                while at < bytes && sent.len() < PARTS_AT_ONCE {
                    let end = bytes.min(at + part_bytes);
                    sent.push(upload.put_part(part(at..end).map_err(Trouble::Origin)?.into()));
                    at = end;
                }
                self.wait(async { Ok(try_join_all(sent).await.map(drop)?) })
            };
            if let Err(trouble) = send_some() {
                // What was sent so far goes with the upload; where that fails too, the first trouble is the one to tell.
                drop(self.wait(async { Ok(upload.abort().await?) }));
                return Err(trouble);
            }
        }
        self.wait(async { Ok(upload.complete().await.map(drop)?) })
    }
}

const CLAIM: &str = "engram: this name is taken by an upload that has not ended";

/// The object that takes the name of a large file.
fn claim(file: &[u8]) -> String {
    format!("{CLAIM}, of {} bytes with CRC-32C {:08x}\n", file.len(), crc32c::crc32c(file))
}

/// Whether an object of this size, of which this is the end, is a claim. What is stored may begin with the same text.
fn is_claim(size: u64, end: &[u8]) -> bool {
    size == end.len() as u64 && end.len() < 2 * CLAIM.len() && end.starts_with(CLAIM.as_bytes())
}

/// Reading.
impl ColdStore {
    fn read_rows(&self, name: &str, path: &Path, rows: &[u32]) -> Asked<Vec<ColdRow>> {
        let tail = self.tail(name, path)?;
        // For each group, which rows of it go where in the answer.
        let mut wanted: BTreeMap<u32, (Group, Vec<(usize, usize)>)> = BTreeMap::new();
        for (place, row) in rows.iter().enumerate() {
            let Some(group) = tail.group_of(*row) else {
                let reason = format!("row {row} was asked for, it has {}", tail.rows);
                return Err(Trouble::Damaged(reason));
            };
            let (_, places) = wanted.entry(group.first_row).or_insert((*group, Vec::new()));
            places.push(((row - group.first_row) as usize, place));
        }
        let wanted: Vec<(Group, Vec<(usize, usize)>)> = wanted.into_values().collect();
        let mut answer = vec![ColdRow::default(); rows.len()];
        for some in wanted.chunks(GROUPS_AT_ONCE) {
            let groups: Vec<Group> = some.iter().map(|(group, _)| *group).collect();
            for ((group, places), bytes) in some.iter().zip(self.groups(name, path, &groups)?) {
                let first = places.iter().map(|(row, _)| *row).min().expect("a group is there for a row");
                let last = places.iter().map(|(row, _)| *row).max().expect("a group is there for a row");
                let found = decode(&tail, group, &bytes, first..last + 1)?;
                for (row, place) in places {
                    answer[*place] = found[row - first].clone();
                }
            }
        }
        Ok(answer)
    }

    /// The bytes of groups, checked, from the cache or the store.
    fn groups(&self, name: &str, path: &Path, groups: &[Group]) -> Asked<Vec<Bytes>> {
        let from_cache: Vec<Option<Bytes>> = groups
            .iter()
            .map(|group| self.cached(name, group.start, |bytes| is_sound(group, bytes)))
            .collect();
        let missing: Vec<&Group> = groups
            .iter()
            .zip(&from_cache)
            .filter(|(_, found)| found.is_none())
            .map(|(group, _)| group)
            .collect();
        let fetch = missing.iter().map(|group| self.fetch_group(path, group));
        let mut fetched = match missing.is_empty() {
            true => Vec::new().into_iter(),
            false => self.wait(try_join_all(fetch))?.into_iter(),
        };
        let mut all = Vec::with_capacity(groups.len());
        for (group, found) in groups.iter().zip(from_cache) {
            all.push(match found {
                Some(bytes) => bytes,
                None => {
                    let bytes = fetched.next().expect("every group that was missing was fetched");
                    self.keep(name, group.start, &bytes);
                    bytes
                }
            });
        }
        Ok(all)
    }

    /// A part of a file from the cache, if it is there and sound.
    fn cached(&self, name: &str, start: u64, is_sound: impl Fn(&Bytes) -> bool) -> Option<Bytes> {
        let cache = self.cache.as_ref()?;
        let part = (name.to_string(), start);
        let bytes = cache.get(&part)?;
        if !is_sound(&bytes) {
            cache.drop_bad(&part);
            return None;
        }
        self.cached.fetch_add(1, Ordering::Relaxed);
        Some(bytes)
    }

    fn keep(&self, name: &str, start: u64, bytes: &Bytes) {
        self.fetched.fetch_add(1, Ordering::Relaxed);
        self.cache.iter().for_each(|cache| cache.put((name.to_string(), start), bytes));
    }

    /// The bytes of a group. Where they are wrong, they are asked for once more: a file is called damaged only after
    /// two answers.
    async fn fetch_group(&self, path: &Path, group: &Group) -> Asked<Bytes> {
        let range = group.start..group.start + u64::from(group.bytes);
        let first = self.place.store.get_range(path, range.clone()).await?;
        if is_sound(group, &first) {
            return Ok(first);
        }
        let second = self.place.store.get_range(path, range).await?;
        if is_sound(group, &second) {
            return Ok(second);
        }
        Err(Trouble::Damaged(format!(
            "the row group at byte {} has {} bytes with checksum {:08x}, its footer says {} with {:08x}",
            group.start,
            second.len(),
            crc32c::crc32c(&second),
            group.bytes,
            group.checksum
        )))
    }

    /// Where a file's rows lie: known, or from the cache, or fetched.
    fn tail(&self, name: &str, path: &Path) -> Asked<Arc<Tail>> {
        let key = name.to_string();
        if let Some(tail) = self.tails().get(&key) {
            return Ok(tail.clone());
        }
        let parse = |kept: &Bytes| {
            let (size, tail) = kept.split_first_chunk::<8>()?;
            Tail::parse(tail, u64::from_le_bytes(*size)).ok()
        };
        let from_cache = self.cached(name, TAIL_PART, |kept| parse(kept).is_some());
        let tail = match from_cache.as_ref().and_then(parse) {
            Some(tail) => tail,
            None => {
                let (tail, kept) = self.wait(self.fetch_tail(path))?;
                self.keep(name, TAIL_PART, &kept);
                tail
            }
        };
        let tail = Arc::new(tail);
        let bytes = (tail.memory_bytes() + name.len()) as u64;
        self.tails().insert(key, tail.clone(), bytes);
        Ok(tail)
    }

    fn tails(&self) -> MutexGuard<'_, Recent<String, Arc<Tail>>> {
        self.tails.lock().expect("nothing panics while it holds the lock")
    }

    /// The tail of a file, and what the cache keeps of it. As with groups, two answers are asked for before it is
    /// called damaged.
    async fn fetch_tail(&self, path: &Path) -> Asked<(Tail, Bytes)> {
        match self.fetch_tail_once(path).await {
            Err(Trouble::Damaged(_)) => self.fetch_tail_once(path).await,
            other => other,
        }
    }

    async fn fetch_tail_once(&self, path: &Path) -> Asked<(Tail, Bytes)> {
        let store = &self.place.store;
        let options = GetOptions { range: Some(GetRange::Suffix(TAIL_BYTES_FIRST)), ..GetOptions::default() };
        let object = match store.get_opts(path, options).await {
            Ok(object) => object,
            // Stores have no last bytes of an empty object to give.
            Err(error) => match store.head(path).await {
                Ok(found) if found.size == 0 => return Err(Trouble::Damaged("it is empty".into())),
                _ => return Err(error.into()),
            },
        };
        let size = object.meta.size;
        let mut end = object.bytes().await?;
        if is_claim(size, &end) {
            return Err(Trouble::Unfinished);
        }
        let Some(bytes) = tail::tail_bytes(&end).filter(|bytes| *bytes <= size) else {
            return Err(Trouble::Damaged(format!("its {size} bytes do not end as those of Parquet do")));
        };
        if bytes > end.len() as u64 {
            end = store.get_range(path, size - bytes..size).await?;
        }
        let tail = &end[end.len().saturating_sub(bytes as usize)..];
        let kept = [&size.to_le_bytes(), tail].concat();
        match Tail::parse(tail, size) {
            Ok(tail) => Ok((tail, kept.into())),
            Err(Unusable::Damaged(reason)) => Err(Trouble::Damaged(reason)),
            Err(Unusable::Newer(found)) => Err(Trouble::Newer(found)),
        }
    }

    /// Hands out every row, some groups at a time.
    fn scan(
        &self,
        name: &str,
        path: &Path,
        tail: &Tail,
        each: &mut dyn FnMut(ColdRow) -> Result<()>,
    ) -> Result<()> {
        let error = |trouble| self.error("read", name, trouble);
        let mut rest = &tail.groups[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |group: &&Group| {
                bytes += u64::from(group.bytes);
                bytes <= SCAN_BYTES
            };
            let (some, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            rest = after;
            let found = self.wait(self.fetch_span(path, some)).map_err(error)?;
            for (group, bytes) in some.iter().zip(found) {
                let rows = decode(tail, group, &bytes, 0..group.rows as usize).map_err(error)?;
                rows.into_iter().try_for_each(&mut *each)?;
            }
        }
        Ok(())
    }

    /// Groups that lie one behind the other, with one request.
    async fn fetch_span(&self, path: &Path, groups: &[Group]) -> Asked<Vec<Bytes>> {
        let (Some(first), Some(last)) = (groups.first(), groups.last()) else { return Ok(Vec::new()) };
        let range = first.start..last.start + u64::from(last.bytes);
        let span = self.place.store.get_range(path, range).await?;
        let mut all = Vec::with_capacity(groups.len());
        for group in groups {
            let start = (group.start - first.start) as usize;
            let bytes = span.slice(start.min(span.len())..span.len().min(start + group.bytes as usize));
            all.push(if is_sound(group, &bytes) { bytes } else { self.fetch_group(path, group).await? });
        }
        Ok(all)
    }
}

fn is_sound(group: &Group, bytes: &Bytes) -> bool {
    bytes.len() == group.bytes as usize && crc32c::crc32c(bytes) == group.checksum
}

pub(super) fn is_absent(error: &StoreError) -> bool {
    // A bucket that is not there is a wrong setting, and says nothing of the file.
    matches!(error, StoreError::NotFound { .. }) && !error.to_string().contains("NoSuchBucket")
}

fn decode(tail: &Tail, group: &Group, bytes: &Bytes, rows: Range<usize>) -> Asked<Vec<ColdRow>> {
    columns::decode(tail, group, bytes, rows).map_err(|error| {
        Trouble::Damaged(format!("the row group at byte {} makes no sense: {error}", group.start))
    })
}

impl Drop for ColdStore {
    fn drop(&mut self) {
        // Whoever drops it may be in a runtime, where waiting for threads is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use object_store::memory::InMemory;

    use super::*;

    /// A store of S3's at a port of this machine.
    fn s3_at(port: u16) -> ColdStore {
        let options = ColdOptions {
            endpoint: "s3://bucket/prefix".into(),
            patience: Duration::from_millis(300),
            ..ColdOptions::default()
        };
        let variables = [
            ("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}")),
            ("AWS_ACCESS_KEY_ID", "test".into()),
            ("AWS_SECRET_ACCESS_KEY", "test".into()),
        ];
        let variables = variables.into_iter().map(|(name, value)| (name.to_string(), value));
        let place = endpoint::open(&options, variables).expect("it is a good endpoint");
        ColdStore::at(place, options).expect("nothing is asked of the store")
    }

    #[test]
    fn content_that_says_what_a_claim_says_is_content() {
        let options = ColdOptions { compression: Compression::None, ..ColdOptions::default() };
        let store =
            ColdStore::with_store(Arc::new(InMemory::new()), options).expect("there is nothing to refuse");
        // With one of these, what is fetched first of the file begins with the text.
        for more in 0..CLAIM.len() {
            let content = CLAIM.repeat(2 * TAIL_BYTES_FIRST as usize / CLAIM.len()) + &"x".repeat(more);
            let row = ColdRow { content: Some(content), ..ColdRow::default() };
            let name = format!("notes/{more}");
            store.put(&name, std::slice::from_ref(&row)).expect("the name is free");
            assert_eq!(store.read(&name, &[0]).expect("it is there"), [row], "{more}");
        }
    }

    #[test]
    fn a_server_that_is_not_there_or_never_answers_is_unreachable() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let port = silent.local_addr().expect("it is bound").port();
        let asked = |case: &str| {
            let store = s3_at(port);
            for error in [
                store.probe().err(),
                store.put("notes/a", &[ColdRow::default()]).err(),
                store.read("notes/a", &[0]).err(),
                store.list("").err(),
                store.delete("notes/a").err(),
            ] {
                let error = error.expect("nobody answers");
                assert!(matches!(error, Error::Unreachable { .. }), "{case}: {error}");
            }
        };
        asked("silent");
        drop(silent);
        asked("gone");
        let error = s3_at(port).list("").expect_err("nobody answers").to_string();
        assert!(error.contains("onnection refused") || error.contains("no answer within 0.3 s"), "{error}");
    }
}
