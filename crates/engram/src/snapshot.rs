//! A space as of one moment: its files, held readable while it goes on. What a backup copies.

use crate::clock::Stopwatch;
use crate::error::{Error, ErrorKind, Result};
use crate::space::{LogState, Space};
use engram_storage::{File, LogPosition, checkpoint, segment};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Bytes that are read at once.
pub(crate) const PIECE_BYTES: u64 = 4 << 20;

/// The files of a space as of one moment. They stay readable until this is dropped, whatever is written, moved or removed
/// meanwhile; only the deletion of the space takes cold files away. Holds an open file for each that lies on this disk.
pub struct Snapshot {
    space: Arc<Space>,
    position: u64,
    memories: usize,
    files: Vec<SnapshotFile>,
}

/// A file of a snapshot.
pub struct SnapshotFile {
    name: String,
    bytes: u64,
    /// None where it lies in the cold tier.
    file: Option<Box<dyn File>>,
    sha256: OnceLock<String>,
    /// What was hashed so far, and how many bytes that are.
    hashed: Mutex<(Sha256, u64)>,
}

impl SnapshotFile {
    fn new(name: String, bytes: u64, file: Option<Box<dyn File>>) -> Self {
        Self { name, bytes, file, sha256: OnceLock::new(), hashed: Mutex::default() }
    }

    /// Its name in the folder of the space, or in the cold tier.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes of it belong to the snapshot.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it lies in the cold tier. Such a name is never given to other bytes.
    pub fn is_cold(&self) -> bool {
        self.file.is_none()
    }
}

impl Snapshot {
    /// The space.
    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// Position of its newest request.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Memories in it, give or take those that were being written.
    pub fn memories(&self) -> usize {
        self.memories
    }

    /// Checkpoint, log, segments, cold files.
    pub fn files(&self) -> &[SnapshotFile] {
        &self.files
    }

    /// Fills `buffer` from the file at a place in `files`, from `offset` on.
    ///
    /// # Errors
    /// `Invalid` where the file has not so many bytes; those of the disk; `Busy` where the cold tier is away.
    pub fn read(&self, at: usize, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let file = self.file(at)?;
        let end = offset.saturating_add(buffer.len() as u64);
        if end > file.bytes {
            let message = format!("{} has {} bytes, byte {end} was asked for", file.name, file.bytes);
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let read = match &file.file {
            Some(open) => open.read_at(offset, buffer)?,
            None => {
                let bytes = self.space.cold_with(&file.name)?.read_bytes(&file.name, offset..end)?;
                let read = bytes.len().min(buffer.len());
                buffer[..read].copy_from_slice(&bytes[..read]);
                read
            }
        };
        if read < buffer.len() {
            let message =
                format!("{} ends at byte {}, it had {}", file.name, offset + read as u64, file.bytes);
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        Ok(())
    }

    /// The SHA-256 of the file at a place in `files`, in hexadecimal digits. Reads it once.
    ///
    /// # Errors
    /// As `read`.
    pub fn sha256(&self, at: usize) -> Result<&str> {
        let hashed = self.sha256_within(at, Duration::MAX)?;
        Ok(hashed.expect("it has all the time there is"))
    }

    /// The same, or how many bytes are hashed when the time is over; the next call goes on from there.
    ///
    /// # Errors
    /// As `read`.
    pub fn sha256_within(&self, at: usize, time_max: Duration) -> Result<Result<&str, u64>> {
        let file = self.file(at)?;
        let watch = Stopwatch::start();
        let mut hashed = file.hashed.lock();
        let (hash, done) = &mut *hashed;
        let mut buffer = Vec::new();
        while file.sha256.get().is_none() && *done < file.bytes {
            buffer.resize(PIECE_BYTES.min(file.bytes - *done) as usize, 0);
            self.read(at, *done, &mut buffer)?;
            hash.update(&buffer);
            *done += buffer.len() as u64;
            if *done < file.bytes && watch.elapsed() >= time_max {
                return Ok(Err(*done));
            }
        }
        Ok(Ok(file.sha256.get_or_init(|| hexadecimal(&hash.clone().finalize()))))
    }

    fn file(&self, at: usize) -> Result<&SnapshotFile> {
        self.files.get(at).ok_or_else(|| {
            let message = format!("the snapshot has {} files, there is none at {at}", self.files.len());
            Error::new(ErrorKind::NotFound, message)
        })
    }

    /// Adds cold files, given with how many payloads lie in each. One without any may be unfinished, or gone.
    fn add_cold(&mut self, files: Vec<(String, u64)>) -> Result<()> {
        if files.is_empty() {
            return Ok(());
        }
        let listed = self.space.cold_with(&files[0].0)?.list(&format!("{}/", self.space.name()))?;
        for (name, memories) in files {
            match listed.binary_search_by(|(listed, _)| listed.cmp(&name)) {
                Ok(at) => {
                    let bytes = listed[at].1;
                    self.files.push(SnapshotFile::new(name, bytes, None));
                }
                Err(_) if memories > 0 => {
                    let message = format!(
                        "{name} is not in the cold tier, and {memories} memories of space \"{}\" have their payloads \
                         in it; bring it back from a copy of the store",
                        self.space.name()
                    );
                    return Err(Error::new(ErrorKind::Corrupt, message));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("space", self.space.name()).finish_non_exhaustive()
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.space.placing.lock().release();
    }
}

/// A log as it is now: its newest position, that of the checkpoint, and its files with their bytes.
struct Logged {
    position: u64,
    checkpoint: u64,
    files: Vec<(String, u64)>,
}

impl Space {
    /// Holds the space as it is now. Waits for a checkpoint and for moves that are under way; writes wait only while files
    /// are opened.
    ///
    /// # Errors
    /// `NotFound` where nothing was ever stored; `Busy` where it has cold files and the cold tier is away; `Corrupt` where
    /// one of them is missing; those of the disk.
    pub fn snapshot(self: &Arc<Self>) -> Result<Snapshot> {
        Ok(self.snapshot_within(Duration::MAX)?.expect("it has all the time there is"))
    }

    /// The same, or none where it would wait for longer.
    ///
    /// # Errors
    /// As `snapshot`.
    pub fn snapshot_within(self: &Arc<Self>, wait_max: Duration) -> Result<Option<Snapshot>> {
        let watch = Stopwatch::start();
        let Some(no_checkpoint) = self.checkpointing.try_lock_for(wait_max) else { return Ok(None) };
        let left = wait_max.saturating_sub(watch.elapsed());
        let Some(mut placing) = self.placing.try_lock_for(left) else { return Ok(None) };
        self.sync_log()?;
        let Logged { position, checkpoint, files: logs } = self.logged()?;
        let mut files = Vec::new();
        let vfs = &self.shared.options.vfs;
        let mut hold = |name: String, bytes: Option<u64>| -> Result<()> {
            let file = vfs.open_read(&self.dir.join(&name))?;
            let bytes = bytes.map_or_else(|| file.size(), Ok)?;
            files.push(SnapshotFile::new(name, bytes, Some(file)));
            Ok(())
        };
        if checkpoint > 0 {
            hold(checkpoint::file_name(LogPosition(checkpoint)), None)?;
        }
        logs.into_iter().try_for_each(|(name, bytes)| hold(name, Some(bytes)))?;
        placing.segments().try_for_each(|number| hold(segment::file_name(number), None))?;
        let state = self.read();
        let cold = state.files().iter();
        let cold: Vec<(String, u64)> =
            cold.map(|(number, name)| (name.clone(), state.use_of_file(*number).memories)).collect();
        let memories = state.len();
        drop(state);
        placing.hold();
        let mut snapshot = Snapshot { space: self.clone(), position, memories, files };
        // What is in the cold tier now stays there; the store may be slow.
        drop((placing, no_checkpoint));
        snapshot.add_cold(cold)?;
        Ok(Some(snapshot))
    }

    fn logged(&self) -> Result<Logged> {
        self.check_open()?;
        match &*self.log.lock() {
            LogState::Open(open) => Ok(Logged {
                position: open.log.position().0,
                checkpoint: open.checkpoint.0,
                files: open.log.files(),
            }),
            LogState::Unborn | LogState::Closed(_) => {
                let message = format!("nothing was ever stored in space \"{}\"", self.name());
                Err(Error::new(ErrorKind::NotFound, message))
            }
        }
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}

#[cfg(test)]
mod tests {
    use crate::engine::{Engine, Options};
    use crate::receipt::NotedBackup;
    use crate::space::StoreOptions;
    use engram_core::id::SpaceName;
    use engram_core::memory::NewMemory;
    use std::time::Duration;

    #[test]
    fn who_backs_up_need_not_wait_for_a_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(Options::new(folder.path())).unwrap();
        let space = engine.space_or_new(&SpaceName::new("notes").unwrap()).unwrap();
        let memory = NewMemory { content: Some("rain".into()), ..NewMemory::default() };
        space.store(vec![memory], &StoreOptions::default()).unwrap();
        let checkpoint = space.checkpointing.lock();
        assert!(space.snapshot_within(Duration::ZERO).unwrap().is_none());
        let noted = NotedBackup { id: "b".into(), place: "file:///backups".into() };
        space.note_backup(noted.clone()).unwrap();
        assert_eq!(space.backups().unwrap(), [noted]);
        drop(checkpoint);
        let moves = space.placing.lock();
        assert!(space.snapshot_within(Duration::ZERO).unwrap().is_none());
        drop(moves);
        assert!(space.snapshot_within(Duration::ZERO).unwrap().is_some());
    }
}
