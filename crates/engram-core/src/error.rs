//! What can be wrong with what a caller asks. Each message says what was wrong, with the value, and what to do.

use crate::Slot;
use crate::payloads::Away;

/// A request that the model refuses. Nothing has been changed when it is returned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request itself is malformed or out of range; asking again will not help.
    #[error("{0}")]
    Invalid(String),
    /// Something named in the request is not there.
    #[error("{0}")]
    NotFound(String),
    /// The request contradicts what is stored.
    #[error("{0}")]
    Conflict(String),
    /// Payloads have to be brought into memory before it can be answered; nothing is wrong with the request.
    #[error("the payloads of {} memories are away; bring them and ask again", .0.len())]
    Away(Vec<Slot>),
}

impl From<Away> for Error {
    fn from(Away(slot): Away) -> Self {
        Self::Away(vec![slot])
    }
}

/// Result of the model's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Shortens a value for an error message, so that a 100 KiB id does not fill a log.
pub fn shown(value: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    let mut out: String = value.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN_CHARS_MAX).is_some() {
        out.push_str("...");
    }
    out
}
