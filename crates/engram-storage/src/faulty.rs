//! A disk in memory that fails as real ones do, under a seed: the same seed and calls give the same failure.
//! After a crash each unsynced 512-byte sector holds any of the contents it had since the last sync, the file any of
//! its sizes since then (what was never persisted reads as zeros), and each creation, rename and removal whose folder
//! was not synced is independently kept or lost. A write that is cut short over bytes that the file has ends with a
//! sector, as kernels copy by pages; one that makes the file grow ends anywhere. A failed sync loses dirty sectors though they read back until the
//! crash, as on Linux. Every call after the crash fails until `restart` (or `restart_process`: the program died, the machine did not); old handles fail for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::limits::BLOCK_BYTES;
use crate::mapped::Mapped;
use crate::vfs::{File, Lock, Vfs, locked};

const SECTOR_BYTES: usize = 512;

/// A simulated disk. Clones share it.
#[derive(Clone)]
pub struct FaultyVfs {
    disk: Arc<Mutex<Disk>>,
}

struct Disk {
    random: Random,
    dirs: BTreeSet<PathBuf>,
    /// Names as programs see them, and as they would be after a crash that loses every pending change.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<PendingName>,
    inodes: Vec<Inode>,
    locks: BTreeMap<PathBuf, String>,
    /// Grows by one a restart; handles of an earlier one are dead.
    generation: u64,
    crashed: bool,
    operations: u64,
    syncs: u64,
    crash_at: Option<u64>,
    fail_sync_at: Option<u64>,
    capacity_bytes: Option<u64>,
    has_direct: bool,
}

struct PendingName {
    /// The folder whose sync makes it durable.
    dir: PathBuf,
    change: NameChange,
}

enum NameChange {
    Create(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

#[derive(Default)]
struct Inode {
    /// What programs read.
    live: Vec<u8>,
    /// What the last sync left on disk.
    durable: Vec<u8>,
    /// Every state since then, oldest first.
    pending: Vec<Version>,
}

/// What one write or truncate left: the size, and the sectors it touched. Bytes missing in a sector are zeros.
struct Version {
    size: usize,
    sectors: Vec<(usize, Vec<u8>)>,
}

/// How much of what was pending a crash keeps.
#[derive(Clone, Copy)]
enum Survival {
    Nothing,
    Everything,
    /// Each sector, size and name decides for itself.
    Mixed,
    /// The newest size, but each sector decides for itself: grown files with holes.
    Holes,
}

struct FaultyFile {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
    inode: usize,
    generation: u64,
    is_direct: bool,
}

struct FaultyLock {
    disk: Arc<Mutex<Disk>>,
    path: PathBuf,
    generation: u64,
}

impl FaultyVfs {
    /// An empty disk. The seed decides what crashes keep and how short failed writes are.
    pub fn new(seed: u64) -> FaultyVfs {
        let disk = Disk {
            random: Random(seed),
            dirs: BTreeSet::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            pending_names: Vec::new(),
            inodes: Vec::new(),
            locks: BTreeMap::new(),
            generation: 0,
            crashed: false,
            operations: 0,
            syncs: 0,
            crash_at: None,
            fail_sync_at: None,
            capacity_bytes: None,
            has_direct: true,
        };
        FaultyVfs { disk: Arc::new(Mutex::new(disk)) }
    }

    /// Changing operations so far: write, truncate, sync, create, rename, remove, create_dir_all, sync_dir.
    pub fn operations(&self) -> u64 {
        lock(&self.disk).operations
    }

    /// Syncs of files and folders so far.
    pub fn syncs(&self) -> u64 {
        lock(&self.disk).syncs
    }

    /// Crashes during the operation that makes `operations()` equal to `operation`; it may happen in part.
    pub fn crash_at(&self, operation: u64) {
        lock(&self.disk).crash_at = Some(operation);
    }

    /// Fails, once, the sync that makes `syncs()` equal to `sync`.
    pub fn fail_sync_at(&self, sync: u64) {
        lock(&self.disk).fail_sync_at = Some(sync);
    }

    /// Writes that would make all files together larger than this fail, perhaps after a part. None: no bound.
    pub fn set_capacity_bytes(&self, bytes: Option<u64>) {
        lock(&self.disk).capacity_bytes = bytes;
    }

    /// Refuses writes past the page cache, as some file systems do.
    pub fn refuse_direct(&self) {
        lock(&self.disk).has_direct = false;
    }

    /// Whether the disk crashed and was not restarted.
    pub fn crashed(&self) -> bool {
        lock(&self.disk).crashed
    }

    /// Cuts the power if it is still on, and starts again with what survived. Faults set before are forgotten.
    pub fn restart(&self) {
        lock(&self.disk).restart();
    }

    /// Starts the process again but not the machine: locks are free and old handles dead, but whatever was written or
    /// renamed, also during the operation that crashed, reads back as if nothing had happened. It is still not durable.
    pub fn restart_process(&self) {
        lock(&self.disk).start_again();
    }

    /// Flips bit `bit` (0..8) of the byte at `offset` in a file that has no unsynced changes there.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> Result<()> {
        let mut disk = lock(&self.disk);
        let inode = disk.find("flip a bit of", path)?;
        let Inode { live, durable, .. } = &mut disk.inodes[inode];
        for bytes in [live, durable] {
            if let Some(byte) = bytes.get_mut(offset as usize) {
                *byte ^= 1 << bit;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for FaultyVfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = lock(&self.disk);
        write!(f, "FaultyVfs({} operations, crashed: {})", disk.operations, disk.crashed)
    }
}

impl Vfs for FaultyVfs {
    fn create_dir_all(&self, dir: &Path) -> Result<()> {
        let mut disk = lock(&self.disk);
        disk.alive("create folder", dir)?;
        if disk.dirs.contains(dir) {
            return Ok(());
        }
        let crash = disk.count();
        if !crash || disk.random.coin() {
            disk.add_dirs(dir);
        }
        disk.finish(crash, "create folder", dir)
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let disk = lock(&self.disk);
        disk.alive("list", dir)?;
        if !disk.dirs.contains(dir) {
            return Err(Error::io("list", dir, io::ErrorKind::NotFound.into()));
        }
        let paths = disk.names.keys().chain(&disk.dirs).filter(|path| path.parent() == Some(dir));
        let names: BTreeSet<String> =
            paths.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
        Ok(names.into_iter().collect())
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        let disk = lock(&self.disk);
        disk.alive("look for", path)?;
        Ok(disk.names.contains_key(path) || disk.dirs.contains(path))
    }

    fn size(&self, path: &Path) -> Result<u64> {
        let disk = lock(&self.disk);
        let inode = disk.find("read the size of", path)?;
        Ok(disk.inodes[inode].live.len() as u64)
    }

    fn create(&self, path: &Path) -> Result<Box<dyn File>> {
        let mut disk = lock(&self.disk);
        disk.alive("create", path)?;
        if disk.names.contains_key(path) {
            return Err(Error::io("create", path, io::ErrorKind::AlreadyExists.into()));
        }
        let dir = parent(path);
        if !disk.dirs.contains(&dir) {
            return Err(Error::io("create", path, io::ErrorKind::NotFound.into()));
        }
        let crash = disk.count();
        disk.inodes.push(Inode::default());
        let inode = disk.inodes.len() - 1;
        disk.names.insert(path.to_path_buf(), inode);
        disk.pending_names.push(PendingName { dir, change: NameChange::Create(path.to_path_buf(), inode) });
        disk.finish(crash, "create", path)?;
        Ok(Box::new(self.handle(path, inode, disk.generation)))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn File>> {
        let disk = lock(&self.disk);
        let inode = disk.find("open", path)?;
        Ok(Box::new(self.handle(path, inode, disk.generation)))
    }

    fn map(&self, path: &Path) -> Result<Mapped> {
        let file = self.open_read(path)?;
        let mut bytes = vec![0; self.size(path)? as usize];
        let read = file.read_at(0, &mut bytes)?;
        Ok(Mapped::memory(&bytes[..read]))
    }

    fn open_read(&self, path: &Path) -> Result<Box<dyn File>> {
        self.open(path)
    }

    fn open_direct(&self, path: &Path) -> Result<Option<Box<dyn File>>> {
        let disk = lock(&self.disk);
        let inode = disk.find("open", path)?;
        let handle = self.handle(path, inode, disk.generation);
        Ok(disk.has_direct.then(|| -> Box<dyn File> { Box::new(FaultyFile { is_direct: true, ..handle }) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut disk = lock(&self.disk);
        let inode = disk.find("rename", from)?;
        let crash = disk.count();
        disk.names.remove(from);
        disk.names.insert(to.to_path_buf(), inode);
        let change = NameChange::Rename(from.to_path_buf(), to.to_path_buf(), inode);
        disk.pending_names.push(PendingName { dir: parent(to), change });
        disk.finish(crash, "rename", from)
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        let mut disk = lock(&self.disk);
        disk.find("remove", path)?;
        let crash = disk.count();
        disk.names.remove(path);
        let change = NameChange::Remove(path.to_path_buf());
        disk.pending_names.push(PendingName { dir: parent(path), change });
        disk.finish(crash, "remove", path)
    }

    fn remove_dir_all(&self, dir: &Path) -> Result<()> {
        let mut disk = lock(&self.disk);
        disk.alive("remove", dir)?;
        if !disk.dirs.contains(dir) {
            return Err(Error::io("remove", dir, io::ErrorKind::NotFound.into()));
        }
        let crash = disk.count();
        let below: Vec<PathBuf> = disk.names.keys().filter(|path| path.starts_with(dir)).cloned().collect();
        for path in below {
            disk.names.remove(&path);
            disk.pending_names.push(PendingName { dir: parent(dir), change: NameChange::Remove(path) });
        }
        disk.dirs.retain(|other| !other.starts_with(dir));
        disk.finish(crash, "remove", dir)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let mut disk = lock(&self.disk);
        disk.alive("sync folder", dir)?;
        let crash = disk.count();
        disk.finish(crash, "sync folder", dir)?;
        if disk.sync_fails() {
            return Err(Error::io("sync folder", dir, input_output_error()));
        }
        let pending = std::mem::take(&mut disk.pending_names);
        let (synced, left) = pending.into_iter().partition(|name| name.dir == dir);
        disk.pending_names = left;
        disk.apply_names(synced);
        Ok(())
    }

    fn try_lock(&self, path: &Path, note: &str) -> Result<Lock> {
        let mut disk = lock(&self.disk);
        disk.alive("lock", path)?;
        if let Some(holder) = disk.locks.get(path) {
            return Err(locked(path, holder));
        }
        disk.locks.insert(path.to_path_buf(), format!("process 1 ({note})"));
        let generation = disk.generation;
        Ok(Box::new(FaultyLock { disk: Arc::clone(&self.disk), path: path.to_path_buf(), generation }))
    }
}

impl File for FaultyFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let disk = self.disk("read")?;
        let live = &disk.inodes[self.inode].live;
        let start = (offset as usize).min(live.len());
        let bytes = buffer.len().min(live.len() - start);
        buffer[..bytes].copy_from_slice(&live[start..start + bytes]);
        Ok(bytes)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut disk = self.disk("write")?;
        if self.is_direct && (offset % BLOCK_BYTES, bytes.len() as u64 % BLOCK_BYTES) != (0, 0) {
            return Err(Error::io("write", &self.path, io::ErrorKind::InvalidInput.into()));
        }
        let crash = disk.count();
        let fits = disk.writable(self.inode, offset as usize + bytes.len(), bytes.len());
        if crash || fits < bytes.len() {
            let mut short = disk.random.below(fits + 1);
            let end = offset as usize + short;
            if end < disk.inodes[self.inode].live.len() {
                short = (end / SECTOR_BYTES * SECTOR_BYTES).saturating_sub(offset as usize);
            }
            disk.inodes[self.inode].write(offset as usize, &bytes[..short]);
            disk.finish(crash, "write", &self.path)?;
            return Err(Error::write(&self.path, bytes.len(), io::ErrorKind::StorageFull.into()));
        }
        disk.inodes[self.inode].write(offset as usize, bytes);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let mut disk = self.disk("sync")?;
        let crash = disk.count();
        disk.finish(crash, "sync", &self.path)?;
        if disk.sync_fails() {
            let Disk { inodes, random, .. } = &mut *disk;
            inodes[self.inode].lose_dirty(random);
            return Err(Error::io("sync", &self.path, input_output_error()));
        }
        disk.inodes[self.inode].sync();
        Ok(())
    }

    fn truncate(&self, bytes: u64) -> Result<()> {
        let mut disk = self.disk("truncate")?;
        let crash = disk.count();
        disk.inodes[self.inode].truncate(bytes as usize);
        disk.finish(crash, "truncate", &self.path)
    }

    fn size(&self) -> Result<u64> {
        Ok(self.disk("read the size of")?.inodes[self.inode].live.len() as u64)
    }
}

impl FaultyVfs {
    fn handle(&self, path: &Path, inode: usize, generation: u64) -> FaultyFile {
        let (disk, path) = (Arc::clone(&self.disk), path.to_path_buf());
        FaultyFile { disk, path, inode, generation, is_direct: false }
    }
}

impl FaultyFile {
    fn disk(&self, operation: &'static str) -> Result<MutexGuard<'_, Disk>> {
        let disk = lock(&self.disk);
        disk.alive(operation, &self.path)?;
        if disk.generation != self.generation {
            return Err(Error::io(
                operation,
                &self.path,
                io::Error::other("file was opened before the crash"),
            ));
        }
        Ok(disk)
    }
}

impl fmt::Debug for FaultyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyFile({})", self.path.display())
    }
}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        let mut disk = lock(&self.disk);
        // After a crash the lock may already be someone else's.
        if disk.generation == self.generation {
            disk.locks.remove(&self.path);
        }
    }
}

impl Disk {
    fn alive(&self, operation: &'static str, path: &Path) -> Result<()> {
        if self.crashed {
            return Err(Error::io(operation, path, io::Error::other("simulated crash")));
        }
        Ok(())
    }

    fn find(&self, operation: &'static str, path: &Path) -> Result<usize> {
        self.alive(operation, path)?;
        let found = self.names.get(path).copied();
        found.ok_or_else(|| Error::io(operation, path, io::ErrorKind::NotFound.into()))
    }

    /// Counts a changing operation; true if the crash comes during it.
    fn count(&mut self) -> bool {
        self.operations += 1;
        self.crash_at == Some(self.operations)
    }

    /// Ends an operation whose effect is pending by now, with the crash if it is due.
    fn finish(&mut self, crash: bool, operation: &'static str, path: &Path) -> Result<()> {
        self.crashed |= crash;
        self.alive(operation, path)
    }

    fn sync_fails(&mut self) -> bool {
        self.syncs += 1;
        self.fail_sync_at == Some(self.syncs)
    }

    /// How many of `bytes` that would make the file `size` large the disk has room for.
    fn writable(&self, inode: usize, size: usize, bytes: usize) -> usize {
        let Some(capacity) = self.capacity_bytes else { return bytes };
        let used: usize = self.names.values().map(|&inode| self.inodes[inode].live.len()).sum();
        let growth = size.saturating_sub(self.inodes[inode].live.len());
        let missing = growth.saturating_sub((capacity as usize).saturating_sub(used));
        bytes.saturating_sub(missing)
    }

    fn add_dirs(&mut self, dir: &Path) {
        self.dirs.extend(dir.ancestors().map(Path::to_path_buf));
    }

    fn apply_names(&mut self, changes: Vec<PendingName>) {
        let names = &mut self.durable_names;
        for PendingName { change, .. } in changes {
            match change {
                NameChange::Create(path, inode) => drop(names.insert(path, inode)),
                NameChange::Remove(path) => drop(names.remove(&path)),
                NameChange::Rename(from, to, inode) => {
                    names.remove(&from);
                    names.insert(to, inode);
                }
            }
        }
    }

    fn restart(&mut self) {
        let survival = match self.random.below(6) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            2 => Survival::Holes,
            _ => Survival::Mixed,
        };
        let mut pending = std::mem::take(&mut self.pending_names);
        pending.retain(|_| match survival {
            Survival::Nothing => false,
            Survival::Everything => true,
            Survival::Mixed | Survival::Holes => self.random.coin(),
        });
        self.apply_names(pending);
        self.names = self.durable_names.clone();
        for inode in &mut self.inodes {
            let survivor = inode.survivor(survival, &mut self.random);
            *inode = Inode { live: survivor.clone(), durable: survivor, pending: Vec::new() };
        }
        for path in self.names.keys().cloned().collect::<Vec<_>>() {
            self.add_dirs(&parent(&path));
        }
        self.start_again();
    }

    fn start_again(&mut self) {
        self.locks.clear();
        self.generation += 1;
        self.crashed = false;
        self.crash_at = None;
        self.fail_sync_at = None;
        self.capacity_bytes = None;
    }
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        let first_changed = offset.min(self.live.len());
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[offset..end].copy_from_slice(bytes);
        self.remember(first_changed, end);
    }

    fn truncate(&mut self, size: usize) {
        let changed = size.min(self.live.len())..size.max(self.live.len());
        self.live.resize(size, 0);
        self.remember(changed.start, changed.end);
    }

    /// Notes the present contents of the sectors that hold `start..end`.
    fn remember(&mut self, start: usize, end: usize) {
        let sectors = (start / SECTOR_BYTES)..end.div_ceil(SECTOR_BYTES);
        let content = |sector: usize| {
            let from = (sector * SECTOR_BYTES).min(self.live.len());
            self.live[from..(from + SECTOR_BYTES).min(self.live.len())].to_vec()
        };
        let sectors = sectors.map(|sector| (sector, content(sector))).collect();
        self.pending.push(Version { size: self.live.len(), sectors });
    }

    fn sync(&mut self) {
        for Version { size, sectors } in std::mem::take(&mut self.pending) {
            self.durable.resize(size, 0);
            for (sector, content) in sectors {
                put_sector(&mut self.durable, sector, &content);
            }
        }
    }

    /// A failed sync: some dirty sectors made it, the others are clean by now and will never be written.
    fn lose_dirty(&mut self, random: &mut Random) {
        let survival = if random.coin() { Survival::Nothing } else { Survival::Mixed };
        self.durable = self.survivor(survival, random);
        // The size may still reach the disk, with zeros where the lost sectors should be.
        self.pending = vec![Version { size: self.live.len(), sectors: Vec::new() }];
    }

    fn survivor(&self, survival: Survival, random: &mut Random) -> Vec<u8> {
        let mut pick = |versions: usize, newest: bool| match survival {
            Survival::Nothing => 0,
            Survival::Everything => versions,
            Survival::Holes if newest => versions,
            Survival::Mixed | Survival::Holes => random.below(versions + 1),
        };
        let size = match pick(self.pending.len(), true) {
            0 => self.durable.len(),
            version => self.pending[version - 1].size,
        };
        let mut bytes = self.durable.clone();
        bytes.resize(size, 0);
        let mut sectors: BTreeMap<usize, Vec<&[u8]>> = BTreeMap::new();
        for (sector, content) in self.pending.iter().flat_map(|version| &version.sectors) {
            sectors.entry(*sector).or_default().push(content);
        }
        for (sector, versions) in sectors {
            match pick(versions.len(), false) {
                0 => {}
                version => put_sector(&mut bytes, sector, versions[version - 1]),
            }
        }
        bytes
    }
}

/// Puts a sector's content, padded with zeros, into as much of it as the file has.
fn put_sector(file: &mut [u8], sector: usize, content: &[u8]) {
    let start = (sector * SECTOR_BYTES).min(file.len());
    let end = (start + SECTOR_BYTES).min(file.len());
    let held = content.len().min(end - start);
    file[start..start + held].copy_from_slice(&content[..held]);
    file[start + held..end].fill(0);
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_path_buf()
}

fn input_output_error() -> io::Error {
    const EIO: i32 = 5;
    io::Error::from_raw_os_error(EIO)
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    // A test that panicked elsewhere must not hide behind this one.
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SplitMix64 (Steele, Lea, Flood 2014): ten lines instead of a dependency of the shipped crate.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform enough in 0..bound, for bound > 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(vfs: &FaultyVfs, path: &Path) -> Option<Vec<u8>> {
        let size = vfs.size(path).ok()?;
        let mut bytes = vec![0; size as usize];
        vfs.open(path).unwrap().read_at(0, &mut bytes).unwrap();
        Some(bytes)
    }

    fn dir_and_file() -> (&'static Path, &'static Path) {
        (Path::new("d"), Path::new("d/f"))
    }

    #[test]
    fn unsynced_sectors_survive_in_every_combination_and_synced_ones_always() {
        let (dir, path) = dir_and_file();
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let vfs = FaultyVfs::new(seed);
            vfs.create_dir_all(dir).unwrap();
            let file = vfs.create(path).unwrap();
            file.write_at(0, &[1; 512]).unwrap();
            file.sync().unwrap();
            vfs.sync_dir(dir).unwrap();
            file.write_at(512, &[2; 1024]).unwrap();
            vfs.restart();
            let bytes = contents(&vfs, path).unwrap();
            assert_eq!(bytes[..512], [1; 512]);
            seen.insert(bytes[512..].iter().step_by(512).copied().collect::<Vec<u8>>());
            assert!(file.sync().is_err(), "a handle from before the crash is dead");
        }
        let all: [&[u8]; 5] = [&[], &[0, 0], &[0, 2], &[2, 0], &[2, 2]];
        assert_eq!(seen, all.map(<[u8]>::to_vec).into());
    }

    #[test]
    fn names_and_truncations_are_durable_only_after_sync() {
        let (dir, path) = dir_and_file();
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let vfs = FaultyVfs::new(seed);
            vfs.create_dir_all(dir).unwrap();
            let file = vfs.create(path).unwrap();
            file.write_at(0, b"old").unwrap();
            file.sync().unwrap();
            vfs.sync_dir(dir).unwrap();
            file.truncate(1).unwrap();
            vfs.rename(path, Path::new("d/g")).unwrap();
            vfs.restart();
            let names = vfs.list(dir).unwrap();
            seen.insert((names.join(" "), contents(&vfs, &dir.join(&names[0])).unwrap()));
        }
        // A cut whose sector reached the disk before the size did leaves zeros.
        for (name, bytes) in &seen {
            assert!(["f", "g"].contains(&name.as_str()));
            assert!([&b"old"[..], b"o", b"o\0\0"].contains(&bytes.as_slice()), "{bytes:?}");
        }
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn a_failed_sync_loses_what_still_reads_back() {
        let (dir, path) = dir_and_file();
        let mut lost = 0;
        for seed in 0..20 {
            let vfs = FaultyVfs::new(seed);
            vfs.create_dir_all(dir).unwrap();
            let file = vfs.create(path).unwrap();
            vfs.sync_dir(dir).unwrap();
            file.write_at(0, b"gone").unwrap();
            vfs.fail_sync_at(vfs.syncs() + 1);
            file.sync().unwrap_err();
            file.sync().unwrap();
            assert_eq!(contents(&vfs, path).unwrap(), b"gone");
            vfs.restart();
            lost += usize::from(contents(&vfs, path).unwrap() == b"\0\0\0\0");
        }
        assert!(lost > 5);
    }

    #[test]
    fn crashes_fill_and_lock() {
        let (dir, path) = dir_and_file();
        let vfs = FaultyVfs::new(7);
        vfs.create_dir_all(dir).unwrap();
        let held = vfs.try_lock(&dir.join("lock"), "engram serve").unwrap();
        let error = vfs.try_lock(&dir.join("lock"), "x").err().unwrap();
        assert!(matches!(error, Error::Locked { .. }));
        let file = vfs.create(path).unwrap();
        vfs.set_capacity_bytes(Some(10));
        assert!(matches!(file.write_at(0, &[1; 11]), Err(Error::Full { .. })));
        vfs.set_capacity_bytes(None);
        vfs.crash_at(vfs.operations() + 2);
        file.write_at(0, &[1; 11]).unwrap();
        file.sync().unwrap_err();
        assert!(vfs.crashed());
        assert!(vfs.list(dir).is_err());
        vfs.restart();
        let again = vfs.try_lock(&dir.join("lock"), "x").unwrap();
        drop(held);
        assert!(vfs.try_lock(&dir.join("lock"), "y").is_err(), "a dead lock does not free a living one");
        drop(again);
        vfs.try_lock(&dir.join("lock"), "y").unwrap();
    }
}
