//! Wire types of reinforcement, and of how a memory was used.

use super::Time;
use engram::{Outcome, Usage};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

objects! {
    ReinforceIn: "an object such as {\"ids\": [\"m1\"], \"outcome\": \"used\"}",
}

/// How the use of some memories turned out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct ReinforceIn {
    /// Which, 1 to 1,024.
    pub ids: Vec<String>,
    /// How it turned out.
    pub outcome: OutcomeIn,
}

/// How the use of a memory turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeIn {
    /// It served.
    Used,
    /// It was found to be true.
    Confirmed,
    /// It was found to be wrong.
    Contradicted,
}

impl From<OutcomeIn> for Outcome {
    fn from(outcome: OutcomeIn) -> Self {
        match outcome {
            OutcomeIn::Used => Outcome::Used,
            OutcomeIn::Confirmed => Outcome::Confirmed,
            OutcomeIn::Contradicted => Outcome::Contradicted,
        }
    }
}

/// How a memory was used, and how well it is remembered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UsageOut {
    /// Uses, learning it included.
    pub uses: u32,
    /// The newest use.
    pub used_at: Time,
    /// Recalls that showed it.
    pub shown: u32,
    /// Days after the newest use until it is remembered with probability .9, by FSRS-6.
    pub stability_days: f32,
    /// How hard it is to strengthen, 1..=10.
    pub difficulty: f32,
    /// Probability, 0..=1, that it is remembered now, by the law of the space.
    pub retrievability: f64,
    /// Memories that were used with it or next, strongest first.
    pub learned: Vec<LearnedOut>,
}

/// A memory that is associated with another because both were used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LearnedOut {
    /// Which.
    pub to: String,
    /// Share of the uses, 0..=1, that it took part in: used by the same request, or the next within ten minutes.
    pub weight: f64,
}

impl From<Usage> for UsageOut {
    fn from(usage: Usage) -> Self {
        UsageOut {
            uses: usage.strength.uses.get(),
            used_at: Time(usage.strength.used_at),
            shown: usage.shown,
            stability_days: usage.strength.stability_days,
            difficulty: usage.strength.difficulty,
            retrievability: usage.retrievability,
            learned: usage
                .learned
                .into_iter()
                .map(|(to, weight)| LearnedOut { to: to.to_string(), weight })
                .collect(),
        }
    }
}
