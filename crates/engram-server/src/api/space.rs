//! Spaces with their settings, and the status of the server.

use super::{Result, shortened};
use crate::api::ReceiptOut;
use crate::error::ApiError;
use engram::{DecayFrom, DecayLaw, Embedder, Language, SpaceName, SpaceSettings, SpaceSummary};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

objects! {
    SpaceSettingsIn: "settings: an object such as {\"language\": \"english\"}",
    EmbedderIn: "an embedder: an object such as {\"provider\": \"caller\", \"dimensions\": 768}",
}

/// Settings of a space to change; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct SpaceSettingsIn {
    /// Where vectors come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedder: Option<EmbedderIn>,
    /// By which law the space forgets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<Decay>,
    /// From which time on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_from: Option<DecayStart>,
    /// How words are stemmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Memories that the space may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memories_max: Option<u64>,
    /// Retrievability, from 0 (none) to below 1, under which a memory counts as faded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forget_below: Option<f32>,
}

/// Where vectors come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct EmbedderIn {
    /// Who embeds.
    pub provider: Provider,
    /// Numbers a vector, 1 to 4096; for `caller`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
    /// Which built-in embedder made the vectors; for `builtin`. Not needed to ask for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// Who embeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    /// The callers, on their side.
    Caller,
    /// The embedder inside the program, from texts.
    Builtin,
    /// Nobody: memories are found by words and associations.
    None,
}

/// A law of forgetting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// The power law of FSRS-6.
    Fsrs6,
    /// ACT-R's base-level activation.
    Actr,
    /// Nothing is forgotten.
    None,
}

/// From which time a memory fades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecayStart {
    /// When it was stored.
    StoredAt,
    /// When it happened.
    OccurredAt,
}

/// Settings of a space, all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpaceSettingsOut {
    /// Null until the first memory decides.
    pub embedder: Option<EmbedderIn>,
    /// By which law the space forgets.
    pub decay: Decay,
    /// From which time on.
    pub decay_from: DecayStart,
    /// How words are stemmed.
    pub language: String,
    /// Memories that the space may hold; null without a bound.
    pub memories_max: Option<u64>,
    /// Retrievability under which a memory counts as faded; 0 where none does.
    pub forget_below: f32,
}

impl SpaceSettingsIn {
    /// `settings` with these changes.
    pub(crate) fn laid_over(self, mut settings: SpaceSettings) -> Result<SpaceSettings> {
        if let Some(embedder) = self.embedder {
            settings.embedder = Some(embedder.try_into()?);
        }
        if let Some(decay) = self.decay {
            settings.decay = match decay {
                Decay::Fsrs6 => DecayLaw::Fsrs6,
                Decay::Actr => DecayLaw::ActR,
                Decay::None => DecayLaw::None,
            };
        }
        if let Some(from) = self.decay_from {
            settings.decay_from = match from {
                DecayStart::StoredAt => DecayFrom::StoredAt,
                DecayStart::OccurredAt => DecayFrom::OccurredAt,
            };
        }
        if let Some(name) = self.language {
            settings.language = Language::parse(&name).ok_or_else(|| {
                let names: Vec<_> = Language::names().collect();
                ApiError::invalid(format!(
                    "language is \"{}\", it must be one of {}",
                    shortened(&name),
                    names.join(", ")
                ))
            })?;
        }
        settings.memories_max = self.memories_max.or(settings.memories_max);
        settings.forget_below = self.forget_below.unwrap_or(settings.forget_below);
        Ok(settings)
    }
}

impl TryFrom<EmbedderIn> for Embedder {
    type Error = ApiError;
    fn try_from(embedder: EmbedderIn) -> Result<Embedder> {
        let dimensions_max = engram::limits::DIMENSIONS_MAX;
        let version_asked = embedder.version.map(|version| Embedder::Builtin { version });
        if version_asked
            .is_some_and(|asked| embedder.provider != Provider::Builtin || asked != Embedder::BUILTIN)
        {
            return Err(ApiError::invalid(
                "embedder.version is for \"builtin\", and the program decides which it is; leave it out",
            ));
        }
        match (embedder.provider, embedder.dimensions) {
            (Provider::None, None) => Ok(Embedder::None),
            (Provider::Builtin, None) => Ok(Embedder::BUILTIN),
            (Provider::None | Provider::Builtin, Some(_)) => {
                Err(ApiError::invalid("embedder.dimensions is for \"caller\" only; leave it out"))
            }
            (Provider::Caller, Some(dimensions)) if (1..=dimensions_max).contains(&dimensions) => {
                Ok(Embedder::Caller { dimensions })
            }
            (Provider::Caller, Some(dimensions)) => Err(ApiError::invalid(format!(
                "embedder.dimensions is {dimensions}, it must be within 1 and {dimensions_max}"
            ))),
            (Provider::Caller, None) => {
                Err(ApiError::invalid("embedder \"caller\" needs dimensions; or let the first memory decide"))
            }
        }
    }
}

impl From<Embedder> for EmbedderIn {
    fn from(embedder: Embedder) -> Self {
        match embedder {
            Embedder::Caller { dimensions } => {
                EmbedderIn { provider: Provider::Caller, dimensions: Some(dimensions), version: None }
            }
            Embedder::Builtin { version } => {
                EmbedderIn { provider: Provider::Builtin, dimensions: None, version: Some(version) }
            }
            Embedder::None => EmbedderIn { provider: Provider::None, dimensions: None, version: None },
        }
    }
}

impl From<SpaceSettings> for SpaceSettingsOut {
    fn from(settings: SpaceSettings) -> Self {
        SpaceSettingsOut {
            embedder: settings.embedder.map(EmbedderIn::from),
            decay: match settings.decay {
                DecayLaw::Fsrs6 => Decay::Fsrs6,
                DecayLaw::ActR => Decay::Actr,
                DecayLaw::None => Decay::None,
            },
            decay_from: match settings.decay_from {
                DecayFrom::StoredAt => DecayStart::StoredAt,
                DecayFrom::OccurredAt => DecayStart::OccurredAt,
            },
            language: settings.language.name().to_owned(),
            memories_max: settings.memories_max,
            forget_below: settings.forget_below,
        }
    }
}

/// A space: what it holds, and its settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpaceOut {
    /// Its name.
    pub name: String,
    /// Memories.
    pub memories: u64,
    /// Explicit links, those that wait for their target included.
    pub links: u64,
    /// Explicit links whose target is not stored yet.
    pub links_waiting: u64,
    /// Associations that use has taught.
    pub learned: u64,
    /// Contexts.
    pub contexts: u64,
    /// Entities.
    pub entities: u64,
    /// Different words.
    pub terms: u64,
    /// Memories with a vector.
    pub vectors: u64,
    /// Vectors that the index does not hold yet; they are compared one by one.
    pub unindexed: u64,
    /// What users gave: text, vectors at 4 bytes a number, metadata.
    pub data_bytes: u64,
    /// Log on disk.
    pub log_bytes: u64,
    /// Place of the last change in its log.
    pub position: u64,
    /// Its settings.
    pub settings: SpaceSettingsOut,
    /// Why the space cannot be opened; absent where it can. With it, the numbers are 0 and the settings those of a new
    /// space, and neither says anything about what is on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was erased, where it was just deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<ReceiptOut>,
}

impl SpaceOut {
    /// A space of which only the name is known.
    pub(crate) fn unreadable(name: &SpaceName, error: &engram::Error) -> Self {
        SpaceOut {
            name: name.to_string(),
            memories: 0,
            links: 0,
            links_waiting: 0,
            learned: 0,
            contexts: 0,
            entities: 0,
            terms: 0,
            vectors: 0,
            unindexed: 0,
            data_bytes: 0,
            log_bytes: 0,
            position: 0,
            settings: SpaceSettings::default().into(),
            error: Some(error.to_string()),
            receipt: None,
        }
    }
}

impl From<SpaceSummary> for SpaceOut {
    fn from(summary: SpaceSummary) -> Self {
        SpaceOut {
            name: summary.name.to_string(),
            memories: summary.memories as u64,
            links: summary.links as u64,
            links_waiting: summary.links_waiting as u64,
            learned: summary.learned as u64,
            contexts: summary.contexts as u64,
            entities: summary.entities as u64,
            terms: summary.terms as u64,
            vectors: summary.vectors as u64,
            unindexed: summary.unindexed as u64,
            data_bytes: summary.data_bytes,
            log_bytes: summary.log_bytes,
            position: summary.position,
            settings: summary.settings.into(),
            error: None,
            receipt: None,
        }
    }
}

/// All spaces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpacesOut {
    /// By name.
    pub spaces: Vec<SpaceOut>,
}

/// What `engram status --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatusOut {
    /// Of the server.
    pub version: String,
    /// Seconds since start.
    pub uptime_s: f64,
    /// Whether it takes traffic.
    pub ready: bool,
    /// Why it is not ready; null when it is.
    pub reason: Option<String>,
    /// CPUs that the process may use.
    pub cpus: usize,
    /// NUMA nodes that it sees.
    pub numa_nodes: usize,
    /// Spaces.
    pub spaces: usize,
    /// Memories by tier: `hot`, `warm`, `cold`; here and below, of the spaces that were opened since the start.
    pub memories: BTreeMap<String, u64>,
    /// What users gave, in bytes.
    pub data_bytes: u64,
    /// Resident memory above that of an empty server, in bytes; null where the system does not tell.
    pub memory_bytes: Option<u64>,
    /// All resident memory of the process, in bytes; null where the system does not tell.
    #[serde(default)]
    pub resident_bytes: Option<u64>,
    /// Seconds of processor time since start, over all cores; null where the system does not tell.
    #[serde(default)]
    pub cpu_s: Option<f64>,
    /// Fetches by recalls that were served hot, of all of them; null before the first.
    pub hit_rate: Option<f64>,
    /// Logs on disk, in bytes.
    pub log_bytes: u64,
    /// Vectors that the index does not hold yet.
    pub unindexed: u64,
    /// By operation.
    pub operations: BTreeMap<String, OperationOut>,
}

/// What one kind of operation did since start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationOut {
    /// How many were asked for.
    pub count: u64,
    /// How many failed for a reason on the server's side.
    pub errors: u64,
    /// Median in milliseconds, to the width of a histogram bucket; null before the first.
    pub p50_ms: Option<f64>,
    /// 99th percentile, likewise.
    pub p99_ms: Option<f64>,
}
