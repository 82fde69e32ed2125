//! The one seam to files. `RealVfs` is the disk; `FaultyVfs` (faulty.rs) crashes, tears and flips bits under a seed.
//! What a caller may rely on is what POSIX promises, no more: bytes are durable after `File::sync`, names after
//! `Vfs::sync_dir` of their folder, a rename is atomic. Every error names the operation and the path.

use std::fmt::Debug;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::limits::BLOCK_BYTES;
use crate::mapped::Mapped;

/// Holds a lock until dropped.
pub type Lock = Box<dyn Send + Sync>;

/// A file system.
pub trait Vfs: Send + Sync + Debug {
    /// Creates the folder and its missing parents, durably. One that exists is no error.
    fn create_dir_all(&self, dir: &Path) -> Result<()>;
    /// Names in the folder, sorted.
    fn list(&self, dir: &Path) -> Result<Vec<String>>;
    /// Whether a file or folder has this name.
    fn exists(&self, path: &Path) -> Result<bool>;
    /// Size of the file in bytes.
    fn size(&self, path: &Path) -> Result<u64>;
    /// Creates a file for reading and writing; one that exists is an error. The name is durable after `sync_dir`.
    fn create(&self, path: &Path) -> Result<Box<dyn File>>;
    /// Opens an existing file for reading and writing.
    fn open(&self, path: &Path) -> Result<Box<dyn File>>;
    /// Opens an existing file for reading.
    fn open_read(&self, path: &Path) -> Result<Box<dyn File>>;
    /// Opens an existing file for writes past the page cache, whose offsets and sizes are multiples of 4096 bytes. None
    /// where the file system has none such. Reads and syncs are as ever.
    fn open_direct(&self, path: &Path) -> Result<Option<Box<dyn File>>>;
    /// The bytes of a file that nobody will change, as memory.
    fn map(&self, path: &Path) -> Result<Mapped>;
    /// Gives a file a new name in one step, replacing what had it. Durable after `sync_dir`.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Removes a file. Durable after `sync_dir`.
    fn remove_file(&self, path: &Path) -> Result<()>;
    /// Removes a folder and all in it. Durable after `sync_dir` of its parent; a crash before may leave some of it.
    fn remove_dir_all(&self, dir: &Path) -> Result<()>;
    /// Makes creations, renames and removals of names in the folder durable.
    fn sync_dir(&self, dir: &Path) -> Result<()>;
    /// Takes the lock file at `path`, without waiting, for the program called `note`. `Locked` names its holder.
    fn try_lock(&self, path: &Path, note: &str) -> Result<Lock>;
}

/// An open file.
pub trait File: Send + Sync + Debug {
    /// Fills `buffer` from `offset` on and returns how many bytes there were: fewer only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize>;
    /// Writes all bytes at `offset`, growing the file as needed. After an error any part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// Makes bytes and size durable. After an error it is unknown which are, and trying again does not tell.
    fn sync(&self) -> Result<()>;
    /// Cuts the file to `bytes`. Durable after `sync`.
    fn truncate(&self, bytes: u64) -> Result<()>;
    /// Size in bytes.
    fn size(&self) -> Result<u64>;
}

/// The file system of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealVfs;

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    path: PathBuf,
    is_direct: bool,
}

impl Vfs for RealVfs {
    fn create_dir_all(&self, dir: &Path) -> Result<()> {
        if dir.as_os_str().is_empty() {
            return Ok(());
        }
        let parent = dir.parent().unwrap_or(Path::new(""));
        if dir.is_dir() {
            // We may have died between making it and syncing its name. A parent that we may not even read is not one
            // we made it in.
            return match self.sync_dir(parent) {
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                other => other,
            };
        }
        self.create_dir_all(parent)?;
        match fs::create_dir(dir) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io("create folder", dir, source))
            }
            _ => self.sync_dir(parent),
        }
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let failed = |source| Error::io("list", dir, source);
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        match path.try_exists() {
            Err(source) if source.kind() == io::ErrorKind::NotADirectory => Ok(false),
            found => found.map_err(|source| Error::io("look for", path, source)),
        }
    }

    fn size(&self, path: &Path) -> Result<u64> {
        Ok(fs::metadata(path).map_err(|source| Error::io("read the size of", path, source))?.len())
    }

    fn create(&self, path: &Path) -> Result<Box<dyn File>> {
        open_real("create", path, fs::OpenOptions::new().read(true).write(true).create_new(true))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn File>> {
        open_real("open", path, fs::OpenOptions::new().read(true).write(true))
    }

    fn open_read(&self, path: &Path) -> Result<Box<dyn File>> {
        open_real("open", path, fs::OpenOptions::new().read(true))
    }

    #[cfg(target_os = "linux")]
    fn open_direct(&self, path: &Path) -> Result<Option<Box<dyn File>>> {
        use std::os::unix::fs::OpenOptionsExt;
        let opened = fs::OpenOptions::new().read(true).write(true).custom_flags(libc::O_DIRECT).open(path);
        // Some refuse to open, others to read, as do disks with larger blocks.
        let probed = opened.and_then(|file| {
            let mut space = vec![0; 2 * BLOCK_BYTES as usize];
            let read = file.read_at(aligned(&mut space, BLOCK_BYTES as usize), 0);
            read.map(|_| file)
        });
        match probed {
            Ok(file) => Ok(Some(Box::new(RealFile { file, path: path.to_path_buf(), is_direct: true }))),
            Err(source)
                if matches!(source.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
            {
                Ok(None)
            }
            Err(source) => Err(Error::io("open", path, source)),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn open_direct(&self, _: &Path) -> Result<Option<Box<dyn File>>> {
        Ok(None)
    }

    fn map(&self, path: &Path) -> Result<Mapped> {
        let mapped = fs::File::open(path).and_then(|file| Mapped::file(&file));
        mapped.map_err(|source| Error::io("map", path, source))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).map_err(|source| Error::io("rename", from, source))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(|source| Error::io("remove", path, source))
    }

    fn remove_dir_all(&self, dir: &Path) -> Result<()> {
        fs::remove_dir_all(dir).map_err(|source| Error::io("remove", dir, source))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        let synced = fs::File::open(dir).and_then(|file| file.sync_all());
        synced.map_err(|source| Error::io("sync folder", dir, source))
    }

    fn try_lock(&self, path: &Path, note: &str) -> Result<Lock> {
        let failed = |source| Error::io("lock", path, source);
        let opened = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = opened.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
            Err(fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(failed)?;
                return Err(locked(path, holder.trim()));
            }
        }
        // The folder itself is locked, too, so that removing the file does not let a second one in.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = fs::File::open(parent).map_err(failed)?;
        match folder.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
            Err(fs::TryLockError::WouldBlock) => return Err(locked(path, "another process")),
        }
        file.set_len(0).map_err(failed)?;
        file.write_all(format!("process {} ({note})\n", std::process::id()).as_bytes()).map_err(failed)?;
        // The file stays when the lock goes: removing it could take the name from a process that just locked it.
        Ok(Box::new(RealLock([file, folder])))
    }
}

/// A locked file and its folder.
struct RealLock([fs::File; 2]);

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread is just starting has the file open, too, for a moment.
        // What cannot be unlocked ends with the last that has it.
        self.0.iter().for_each(|file| file.unlock().unwrap_or_default());
    }
}

impl File for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(bytes) => filled += bytes,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::io("read", &self.path, source)),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let failed = |source| Error::write(&self.path, bytes.len(), source);
        if !self.is_direct {
            return self.file.write_all_at(bytes, offset).map_err(failed);
        }
        // The kernel reads straight from memory that starts on a block, too.
        let mut space = vec![0; bytes.len() + BLOCK_BYTES as usize];
        let blocks = aligned(&mut space, bytes.len());
        blocks.copy_from_slice(bytes);
        self.file.write_all_at(blocks, offset).map_err(failed)
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|source| Error::io("sync", &self.path, source))
    }

    fn truncate(&self, bytes: u64) -> Result<()> {
        self.file.set_len(bytes).map_err(|source| Error::io("truncate", &self.path, source))
    }

    fn size(&self) -> Result<u64> {
        let metadata = self.file.metadata();
        Ok(metadata.map_err(|source| Error::io("read the size of", &self.path, source))?.len())
    }
}

/// The error for a lock file at `path` whose text is `holder`; its folder is what is in use.
pub(crate) fn locked(path: &Path, holder: &str) -> Error {
    // Between taking the lock and writing its name the holder is unknown.
    let holder = if holder.is_empty() { "another process" } else { holder }.to_string();
    Error::Locked { path: path.parent().unwrap_or(path).to_path_buf(), holder }
}

fn open_real(operation: &'static str, path: &Path, options: &fs::OpenOptions) -> Result<Box<dyn File>> {
    let file = options.open(path).map_err(|source| Error::io(operation, path, source))?;
    Ok(Box::new(RealFile { file, path: path.to_path_buf(), is_direct: false }))
}

/// The first `bytes` of `space` from a block's start on; `space` has a block more.
fn aligned(space: &mut [u8], bytes: usize) -> &mut [u8] {
    let start = space.as_ptr().align_offset(BLOCK_BYTES as usize);
    &mut space[start..start + bytes]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_and_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = RealVfs.try_lock(&path, "engram serve").unwrap();
        let error = RealVfs.try_lock(&path, "engram import").err().unwrap();
        let expected = format!(
            "folder {} is in use by process {} (engram serve); stop it, or talk to it with --url",
            dir.path().display(),
            std::process::id()
        );
        assert_eq!(error.to_string(), expected);
        drop(lock);
        RealVfs.try_lock(&path, "engram import").unwrap();
    }

    #[test]
    fn files_and_names_do_what_they_say() {
        let dir = tempfile::tempdir().unwrap();
        let nested = dir.path().join("a/b");
        RealVfs.create_dir_all(&nested).unwrap();
        RealVfs.create_dir_all(&nested).unwrap();
        let path = nested.join("x");
        let file = RealVfs.create(&path).unwrap();
        assert!(matches!(RealVfs.create(&path), Err(Error::Io { .. })));
        file.write_at(0, b"hello").unwrap();
        file.write_at(5, b" world").unwrap();
        file.truncate(8).unwrap();
        file.sync().unwrap();
        let mut buffer = [0; 16];
        assert_eq!(file.read_at(3, &mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"lo wo");
        RealVfs.rename(&path, &nested.join("y")).unwrap();
        RealVfs.sync_dir(&nested).unwrap();
        assert_eq!(RealVfs.list(&nested).unwrap(), ["y"]);
        assert_eq!(RealVfs.size(&nested.join("y")).unwrap(), 8);
        RealVfs.remove_file(&nested.join("y")).unwrap();
        RealVfs.remove_dir_all(&nested).unwrap();
        assert!(!RealVfs.exists(&nested).unwrap());
        let error = RealVfs.open(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot open {}", path.display())), "{error}");
    }
}
