//! Wire types of consolidation, and of the jobs that do it.

use engram::{Consolidated, Job, JobState};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

objects! {
    ConsolidateIn: "an object such as {\"dry_run\": false}",
}

/// How to consolidate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct ConsolidateIn {
    /// Say what would be done, and do nothing.
    pub dry_run: bool,
}

/// Which job does it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedOut {
    /// Its id, for `GET /api/v1/jobs/{id}`.
    pub job: String,
}

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobOut {
    /// Its id.
    pub job: String,
    /// The space that it works on.
    pub space: String,
    /// How far it is.
    pub state: JobStateOut,
    /// The same, 0..=1.
    pub progress: f64,
    /// What it came to; null before its end, and where it failed.
    pub result: Option<ConsolidatedOut>,
    /// Why it failed; absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStateOut {
    /// Others are before it.
    Waiting,
    /// It is being done.
    Running,
    /// It is done.
    Done,
    /// The server stopped before its end; the next consolidation goes on.
    Stopped,
    /// It went wrong.
    Failed,
}

/// What a consolidation came to; in a dry run, what it would have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsolidatedOut {
    /// Nothing was written.
    pub dry_run: bool,
    /// Episodes that may be sources: those that have a vector, do not expire and are not superseded.
    pub episodes: usize,
    /// Episodes that have a concept now.
    pub sources: usize,
    /// Concepts that there are now.
    pub concepts: usize,
    /// Concepts that are new.
    pub made: usize,
    /// Concepts whose sources are others now.
    pub changed: usize,
    /// Concepts that were taken away.
    pub deleted: usize,
    /// Concepts that were given up because a source changed meanwhile.
    pub given_up: usize,
    /// Why nothing could be done; absent where something could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl From<Consolidated> for ConsolidatedOut {
    fn from(done: Consolidated) -> Self {
        let note = done.without_vectors.then(|| {
            "the memories of this space have no vectors, so there is nothing to compare them by; give them embeddings, or \
             let the built-in embedder make them, in another space"
                .to_owned()
        });
        ConsolidatedOut {
            dry_run: done.dry_run,
            episodes: done.episodes,
            sources: done.sources,
            concepts: done.concepts,
            made: done.made,
            changed: done.changed,
            deleted: done.deleted,
            given_up: done.given_up,
            note,
        }
    }
}

impl From<Job> for JobOut {
    fn from(job: Job) -> Self {
        let state = match job.state {
            JobState::Waiting => JobStateOut::Waiting,
            JobState::Running => JobStateOut::Running,
            JobState::Done => JobStateOut::Done,
            JobState::Stopped => JobStateOut::Stopped,
            JobState::Failed => JobStateOut::Failed,
        };
        JobOut {
            job: job.id,
            space: job.space.to_string(),
            state,
            progress: (job.progress * 1000.0).round() / 1000.0,
            result: job.result.map(ConsolidatedOut::from),
            error: job.error.map(|error| error.to_string()),
        }
    }
}

impl JobOut {
    /// Whether nothing more will happen.
    pub fn has_ended(&self) -> bool {
        !matches!(self.state, JobStateOut::Waiting | JobStateOut::Running)
    }
}
