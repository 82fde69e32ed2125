//! Why a request failed, in the words of RFC 9457, and the one table from the engine's error kinds to HTTP.
//! A detail says what was wrong, with the values, and what to do.

use engram::ErrorKind;
use serde::{Deserialize, Serialize};

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct ApiError {
    /// What a caller can do about it.
    pub problem: Problem,
    /// What was wrong, with the values, and what to do.
    pub detail: String,
}

/// Kinds of failure; each has its own `type` in problem+json.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Problem {
    /// Ask differently.
    Invalid,
    /// The server does not let this caller in.
    Forbidden,
    /// What the request names is not there.
    NotFound,
    /// The path takes other methods.
    MethodNotAllowed,
    /// The body did not arrive in time.
    RequestTimeout,
    /// The request contradicts what is stored.
    Conflict,
    /// The body is larger than the server takes.
    TooLarge,
    /// The body is not JSON.
    MediaType,
    /// Ask again in a moment.
    Busy,
    /// The answer did not come in time.
    Timeout,
    /// Free space on the disk.
    Full,
    /// Another process has the folder.
    Locked,
    /// The engine or space takes no more requests until it is opened again.
    Closed,
    /// Stored bytes are damaged.
    Corrupt,
    /// The server failed.
    Internal,
}

/// The table: the last part of `type`, the title, the HTTP status.
const TABLE: &[(Problem, &str, &str, u16)] = &[
    (Problem::Invalid, "invalid", "The request is not valid", 400),
    (Problem::Forbidden, "forbidden", "The request is not let in", 403),
    (Problem::NotFound, "not_found", "There is no such thing", 404),
    (Problem::MethodNotAllowed, "method_not_allowed", "The path takes other methods", 405),
    (Problem::RequestTimeout, "request_timeout", "The request did not arrive in time", 408),
    (Problem::Conflict, "conflict", "The request contradicts what is stored", 409),
    (Problem::TooLarge, "too_large", "The request is too large", 413),
    (Problem::MediaType, "media_type", "The body is not JSON", 415),
    (Problem::Internal, "internal", "The server failed", 500),
    (Problem::Corrupt, "corrupt", "Stored data is damaged", 500),
    (Problem::Busy, "busy", "The server is busy", 503),
    (Problem::Timeout, "timeout", "The answer took too long", 503),
    (Problem::Locked, "locked", "Another process has the data", 503),
    (Problem::Closed, "closed", "The server takes no requests", 503),
    (Problem::Full, "full", "There is no room left", 507),
];

impl Problem {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Problem> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static (Problem, &'static str, &'static str, u16) {
        TABLE.iter().find(|row| row.0 == self).expect("a test holds that the table names every problem")
    }

    /// The reason, as metrics and `type` name it.
    pub fn reason(self) -> &'static str {
        self.row().1
    }

    /// For people; the same for every occurrence.
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// HTTP status.
    pub fn status(self) -> u16 {
        self.row().3
    }

    /// Whether the caller can mend it by asking differently.
    pub fn is_callers(self) -> bool {
        self.status() < 500
    }
}

impl From<ErrorKind> for Problem {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Invalid => Problem::Invalid,
            ErrorKind::NotFound => Problem::NotFound,
            ErrorKind::Conflict => Problem::Conflict,
            ErrorKind::Busy => Problem::Busy,
            ErrorKind::Full => Problem::Full,
            ErrorKind::Locked => Problem::Locked,
            ErrorKind::Closed => Problem::Closed,
            ErrorKind::Corrupt => Problem::Corrupt,
            ErrorKind::Internal => Problem::Internal,
        }
    }
}

impl From<engram::Error> for ApiError {
    fn from(error: engram::Error) -> Self {
        ApiError { problem: error.kind().into(), detail: error.to_string() }
    }
}

impl ApiError {
    /// A failure of this kind.
    pub fn new(problem: Problem, detail: impl Into<String>) -> Self {
        ApiError { problem, detail: detail.into() }
    }

    /// A request that must be asked differently.
    pub fn invalid(detail: impl Into<String>) -> Self {
        ApiError::new(Problem::Invalid, detail)
    }

    /// The same, with the place in the request before it.
    pub(crate) fn at(self, place: &str) -> Self {
        ApiError { detail: format!("{place}: {}", self.detail), ..self }
    }

    /// The problem+json body.
    pub fn body(&self) -> ProblemOut {
        ProblemOut {
            kind: format!("/problems/{}", self.problem.reason()),
            title: self.problem.title().to_owned(),
            status: self.problem.status(),
            detail: self.detail.clone(),
        }
    }
}

/// A problem+json body; RFC 9457.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemOut {
    /// Names the kind of problem; stable.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What was wrong this time, and what to do.
    pub detail: String,
}

impl From<ProblemOut> for ApiError {
    /// For clients: a kind that this version does not know counts as a failure of the server.
    fn from(body: ProblemOut) -> Self {
        let reason = body.kind.rsplit('/').next().unwrap_or_default();
        let known = TABLE.iter().find(|row| row.1 == reason).map(|row| row.0);
        ApiError::new(known.unwrap_or(Problem::Internal), body.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_engine_error_has_its_row() {
        use ErrorKind::*;
        for kind in [Invalid, NotFound, Conflict, Busy, Corrupt, Full, Locked, Closed, Internal] {
            let error = ApiError::from(engram::Error::new(kind, "why"));
            let body = error.body();
            assert!((400..=507).contains(&body.status) && body.detail == "why", "{kind:?}");
            assert_eq!(ApiError::from(body), error);
        }
        let mut reasons: Vec<_> = Problem::all().map(Problem::reason).collect();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), TABLE.len());
    }
}
