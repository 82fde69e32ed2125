//! What can go wrong with stored bytes. A variant exists where a caller acts on it; messages say what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why bytes could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// A verb, as in "cannot sync".
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The disk or the quota is full. Nothing of the refused write remains; free space and try again.
    #[error("cannot {operation} {}{path}, the disk is full ({source}); free space and try again", amount(*bytes))]
    Full {
        /// A verb, as in "cannot write".
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// How many were to be written; 0 where it was no write.
        bytes: u64,
        /// What the operating system said.
        source: io::Error,
    },
    /// Stored bytes are not what was written. Nothing was changed on disk.
    #[error(
        "{file} is damaged at byte {offset}: {reason}. Nothing was changed on disk. \
         Keep a copy of the file and restore the folder from a backup"
    )]
    Corrupt {
        /// The damaged file.
        file: PathBuf,
        /// Where the damaged frame or header begins, in bytes from the start of the file.
        offset: u64,
        /// What failed.
        reason: String,
    },
    /// The log refuses work after a failure that left the state of the disk unknown. Open it again.
    #[error(
        "the log in {path} stopped after a failure ({reason}); writes not confirmed before it may be lost; \
         close the log and open it again"
    )]
    Poisoned {
        /// Folder of the log.
        path: PathBuf,
        /// The failure that poisoned it.
        reason: String,
    },
    /// Another process, or another handle of this one, holds the lock.
    #[error("folder {path} is in use by {holder}; stop it, or talk to it with --url")]
    Locked {
        /// The folder that holds the lock file.
        path: PathBuf,
        /// Process number and program, as far as known.
        holder: String,
    },
    /// A payload or batch passes its limit; nothing was written.
    #[error("{what} has {bytes} bytes, the most is {bytes_max}; split it")]
    TooLarge {
        /// "payload" or "batch".
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The file was written by a later version of Engram.
    #[error("{file} has format {found}, this program reads up to {supported}; use a newer engram")]
    NewerFormat {
        /// The file.
        file: PathBuf,
        /// Format it has.
        found: u32,
        /// Newest format this program reads.
        supported: u32,
    },
    /// The object store gave no answer, or none of use, within the time and the retries that it has. After a write or
    /// a deletion nobody knows whether it happened; repeating it is right either way.
    #[error(
        "cannot {operation} {name} in {endpoint}: {reason}. Nothing is lost; check that the store answers, its bucket \
         and the AWS_* variables, then try again"
    )]
    Unreachable {
        /// A verb, as in "cannot read".
        operation: &'static str,
        /// The object, or "the store".
        name: String,
        /// The store.
        endpoint: String,
        /// What came instead of an answer.
        reason: String,
    },
    /// The object store answers, and has no such file.
    #[error("{name} is not in {endpoint}; bring it back from a copy of the store, or restore from a backup")]
    Absent {
        /// The object.
        name: String,
        /// The store.
        endpoint: String,
    },
    /// The name is taken by a file with other bytes, which was not touched.
    #[error(
        "{name} is in {endpoint} already, with other bytes, and was left as it is; use another name or prefix"
    )]
    Exists {
        /// The object.
        name: String,
        /// The store.
        endpoint: String,
    },
    /// A file in the object store is not what was written. It was left as it is.
    #[error(
        "{name} in {endpoint} is damaged: {reason}. It was left as it is. Keep a copy of it and bring it back from a \
         copy of the store or from a backup"
    )]
    Damaged {
        /// The object.
        name: String,
        /// The store.
        endpoint: String,
        /// What failed.
        reason: String,
    },
    /// The object store answers, but does not keep what it must promise, so that files could be lost in it.
    #[error(
        "the store at {endpoint} is not safe for memories: {reason}. Use one that knows If-None-Match (AWS S3, Ceph, \
         MinIO) or a folder (file:///folder)"
    )]
    UnsafeStore {
        /// The store.
        endpoint: String,
        /// The promise that was broken.
        reason: String,
    },
    /// A setting of the cold tier makes no sense.
    #[error("{setting} is \"{value}\": {reason}")]
    Setting {
        /// Its name in the configuration.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What is wrong with that, and what is allowed.
        reason: String,
    },
    /// A file in an object store cannot be called that.
    #[error("a file of the cold tier cannot be called \"{name}\": {reason}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// For replay functions: the payload is sound but makes no sense to its reader. `Log::open` and
    /// `checkpoint::read` turn it into `Corrupt` with the file and offset of the frame.
    #[error("stored payload makes no sense: {reason}")]
    Payload {
        /// What the reader found.
        reason: String,
    },
}

impl Error {
    /// Wraps what the operating system said; a full disk or quota becomes `Full`.
    pub(crate) fn io(operation: &'static str, path: &Path, source: io::Error) -> Error {
        Error::of(operation, path, 0, source)
    }

    /// The same for a write of so many bytes.
    pub(crate) fn write(path: &Path, bytes: usize, source: io::Error) -> Error {
        Error::of("write", path, bytes as u64, source)
    }

    fn of(operation: &'static str, path: &Path, bytes: u64, source: io::Error) -> Error {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::Full { operation, path, bytes, source }
            }
            _ => Error::Io { operation, path, source },
        }
    }

    /// Gives a replay function's `Payload` error its place; other errors pass unchanged.
    pub(crate) fn at(self, file: &Path, offset: u64) -> Error {
        match self {
            Error::Payload { reason } => Error::Corrupt { file: file.to_path_buf(), offset, reason },
            other => other,
        }
    }
}

/// As in "cannot write 700 bytes to notes.log".
fn amount(bytes: u64) -> String {
    if bytes == 0 { String::new() } else { format!("{bytes} bytes to ") }
}
