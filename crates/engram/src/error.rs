//! Why the engine could not do what it was asked. Callers act on the kind; people read the message.

use engram_core::error::Error as ModelError;
use engram_storage::Error as StorageError;

/// Result of the engine's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Ask differently.
    Invalid,
    /// What the request names is not there.
    NotFound,
    /// The request contradicts what is stored.
    Conflict,
    /// Ask again in a moment.
    Busy,
    /// Free space on the disk, then ask again.
    Full,
    /// Another process has the folder.
    Locked,
    /// The engine or the space is closed, or refuses writes until it is opened again.
    Closed,
    /// Stored bytes are damaged.
    Corrupt,
    /// The disk failed, or Engram did.
    Internal,
}

/// An error with what was wrong, the values, and what to do. Nothing is half done when it is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        match error {
            ModelError::Invalid(message) => Self::new(ErrorKind::Invalid, message),
            ModelError::NotFound(message) => Self::new(ErrorKind::NotFound, message),
            ModelError::Conflict(message) => Self::new(ErrorKind::Conflict, message),
            ModelError::Away(_) => Self::new(ErrorKind::Busy, error.to_string()),
        }
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        let kind = match &error {
            StorageError::Full { .. } => ErrorKind::Full,
            StorageError::Corrupt { .. }
            | StorageError::NewerFormat { .. }
            | StorageError::Absent { .. }
            | StorageError::Damaged { .. }
            | StorageError::Payload { .. } => ErrorKind::Corrupt,
            StorageError::Poisoned { .. } => ErrorKind::Closed,
            StorageError::Locked { .. } => ErrorKind::Locked,
            StorageError::TooLarge { .. }
            | StorageError::Setting { .. }
            | StorageError::Name { .. }
            | StorageError::UnsafeStore { .. } => ErrorKind::Invalid,
            StorageError::Unreachable { .. } => ErrorKind::Busy,
            StorageError::Io { .. } | StorageError::Exists { .. } => ErrorKind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}
