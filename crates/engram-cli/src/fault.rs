//! Why a command ended badly, and the exit code that says so: 1 failed, 2 wrong usage or no server.

use engram_server::{ApiError, Problem};
use std::fmt::Display;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Result of a command.
pub(crate) type Result<T, E = Fault> = std::result::Result<T, E>;

/// Why a command ended. The text is for people: what was wrong, with the values, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It was tried and did not work.
    Failed(String),
    /// The memory was asked and refused; some callers act on the reason.
    Refused(Problem, String),
    /// The command line makes no sense.
    Usage(String),
    /// Nobody answers at the address.
    Unreachable(String),
    /// Whoever read our output has seen enough (`| head`).
    PipeClosed,
}

impl Fault {
    /// A failure to do something with a file.
    pub(crate) fn file(path: &Path, what: &str, error: &io::Error) -> Self {
        Self::Failed(format!("{}: {what}: {error}", path.display()))
    }

    /// The same fault with `place: ` before its text.
    pub(crate) fn at(self, place: impl Display) -> Self {
        let prefixed = |text| format!("{place}: {text}");
        match self {
            Self::Failed(text) => Self::Failed(prefixed(text)),
            Self::Refused(problem, text) => Self::Refused(problem, prefixed(text)),
            Self::Usage(text) => Self::Usage(prefixed(text)),
            Self::Unreachable(text) => Self::Unreachable(prefixed(text)),
            Self::PipeClosed => Self::PipeClosed,
        }
    }

    /// The same fault with more sentences after its text, on lines of their own.
    pub(crate) fn and(self, more: impl Display) -> Self {
        let followed = |text| format!("{text}\n{more}");
        match self {
            Self::Failed(text) => Self::Failed(followed(text)),
            Self::Refused(problem, text) => Self::Refused(problem, followed(text)),
            Self::Usage(text) => Self::Usage(followed(text)),
            Self::Unreachable(text) => Self::Unreachable(followed(text)),
            Self::PipeClosed => Self::PipeClosed,
        }
    }

    /// What to tell the user, and how to exit.
    pub(crate) fn verdict(&self) -> (Option<&str>, ExitCode) {
        match self {
            Self::Failed(text) | Self::Refused(_, text) => (Some(text), ExitCode::from(1)),
            Self::Usage(text) | Self::Unreachable(text) => (Some(text), ExitCode::from(2)),
            Self::PipeClosed => (None, ExitCode::SUCCESS),
        }
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        Self::Refused(error.problem, error.detail)
    }
}

impl From<engram::Error> for Fault {
    fn from(error: engram::Error) -> Self {
        ApiError::from(error).into()
    }
}

/// A failure in so many words.
pub(crate) fn failed<T>(text: impl Into<String>) -> Result<T> {
    Err(Fault::Failed(text.into()))
}

/// A command line that makes no sense, in so many words.
pub(crate) fn usage<T>(text: impl Into<String>) -> Result<T> {
    Err(Fault::Usage(text.into()))
}
