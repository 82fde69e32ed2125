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
    #[error("cannot {operation} {path}, the disk is full ({source}); free space and try again")]
    Full {
        /// A verb, as in "cannot write".
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
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
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::Full { operation, path, source }
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
