//! Cues and what they bring to mind, activation, and the lines of files of cues and answers.

use super::embedding::{WithEmbedding, embedding, with_embedding_text};
use super::{FilterIn, MemoryOut, Result, Time, memory_ids};
use crate::error::ApiError;
use engram::{
    Activated, Cue, Filter, MemoryId, RecallOptions, Recalled, RecalledHit, RecalledObjection, RecalledPath,
    Timestamp,
    limits::{LIMIT_DEFAULT, LIMIT_MAX},
};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Cues that one request may have.
pub const CUES_MAX: usize = 1000;
/// Hits that the cues of one request may ask for, all together.
pub const HITS_MAX: usize = 10_000;
/// Bytes of JSON that the replies to the cues of one request may have, all together.
pub const REPLIES_BYTES_MAX: usize = 64 << 20;

objects! {
    CueIn: "a cue: an object with text, embedding or ids",
    CueLine: "a cue: an object such as {\"id\": \"q1\", \"text\": \"where does Ada live?\"}",
    ActivateIn: "seeds or a cue: an object such as {\"seeds\": [{\"id\": \"m1\", \"activation\": 1}]}",
    SeedIn: "a seed: an object such as {\"id\": \"m1\", \"activation\": 1}",
}

/// What a recall starts from, and how.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct CueIn {
    /// Words, up to 64 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A vector of the space's dimension.
    #[serde(deserialize_with = "embedding", skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Vec<f32>>,
    /// Memories that are in mind already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// Hits wanted, 1 to 1000; 10 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only memories that pass are hits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterIn>,
    /// The present; the clock when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Time>,
    /// Only what was stored, and not superseded, by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
    /// Hits below this relevance, 0..=1, are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_relevance: Option<f32>,
    /// Associations that spreading may visit; 0 means no spreading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<usize>,
    /// Compare with every vector instead of asking the index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
    /// Look at concepts first, and only at the sources of the best of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through_concepts: Option<bool>,
    /// Give each hit its parts and paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explain: Option<bool>,
    /// Give each hit its embedding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub with_embedding: Option<WithEmbedding>,
    /// `true`: the hits were of use, which strengthens them; `false`: leave no trace; absent: they are counted as shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reinforce: Option<bool>,
}

impl CueIn {
    /// A cue of words alone.
    pub fn text(text: impl Into<String>) -> Self {
        CueIn { text: Some(text.into()), ..Self::default() }
    }

    /// The cue and how to recall. `now` is the present, unless the cue names another.
    pub(crate) fn into_parts(mut self, now: Timestamp) -> Result<(Cue, RecallOptions)> {
        let cue = Cue {
            text: self.text.take(),
            embedding: self.embedding.take(),
            ids: memory_ids(self.ids.take())?,
        };
        cue.check().map_err(|error| ApiError::invalid(error.to_string()))?;
        Ok((cue, self.into_options(now)?))
    }

    /// How to recall, whatever from.
    pub(crate) fn into_options(self, now: Timestamp) -> Result<RecallOptions> {
        let mut options = RecallOptions::at(self.now.map_or(now, |time| time.0));
        options.limit = self.limit.unwrap_or(options.limit);
        options.filter = self.filter.map(Filter::try_from).transpose()?.unwrap_or_default();
        options.as_of = self.as_of.map(|time| time.0);
        options.relevance_min = self.min_relevance;
        options.budget = self.budget;
        options.exact = self.exact.unwrap_or(false);
        options.through_concepts = self.through_concepts.unwrap_or(false);
        options.explain = self.explain.unwrap_or(false);
        options.check().map_err(|error| ApiError::invalid(error.to_string()))?;
        Ok(options)
    }
}

/// Many cues in one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CuesIn {
    /// Up to 1000, whose limits are 10,000 together at most, and the replies 64 MiB.
    #[serde(deserialize_with = "cues")]
    pub cues: Vec<CueIn>,
}

/// What a request asks to recall by: one cue, or many under `cues`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum RecallIn {
    /// One.
    One(Box<CueIn>),
    /// Many.
    Many(CuesIn),
}

impl<'de> Deserialize<'de> for RecallIn {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = RecallIn;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a cue, or {\"cues\": [...]}")
            }
            // The first field says which of the two it is.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<RecallIn, A::Error> {
                let first: Option<String> = map.next_key()?;
                let is_many = first.as_deref() == Some("cues");
                let all = MapAccessDeserializer::new(FromFirst { first, rest: map });
                if is_many {
                    return CuesIn::deserialize(all).map(RecallIn::Many);
                }
                CueIn::deserialize(all).map(|cue| RecallIn::One(Box::new(cue)))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A map whose first key was read already.
struct FromFirst<A> {
    first: Option<String>,
    rest: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for FromFirst<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> std::result::Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(key) => seed.deserialize(key.into_deserializer()).map(Some),
            None => self.rest.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> std::result::Result<V::Value, A::Error> {
        self.rest.next_value_seed(seed)
    }
}

/// For `deserialize_with`: a cue takes a hundred times the room of its `{}`, so those beyond the bound are not read.
fn cues<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<CueIn>, D::Error> {
    struct Array;
    impl<'de> Visitor<'de> for Array {
        type Value = Vec<CueIn>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array of cues")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> std::result::Result<Vec<CueIn>, A::Error> {
            let mut cues = Vec::new();
            while let Some(cue) = items.next_element()? {
                if cues.len() == CUES_MAX {
                    return Err(A::Error::custom(format_args!(
                        "more than {CUES_MAX} cues, at most {CUES_MAX} are allowed; ask in several requests"
                    )));
                }
                cues.push(cue);
            }
            Ok(cues)
        }
    }
    deserializer.deserialize_seq(Array)
}

impl RecallIn {
    /// Many cues.
    pub fn many(cues: Vec<CueIn>) -> Self {
        RecallIn::Many(CuesIn { cues })
    }

    /// Refuses many cues that ask for nothing, or for too much.
    pub(crate) fn checked(self) -> Result<Self> {
        let RecallIn::Many(CuesIn { cues }) = &self else { return Ok(self) };
        if cues.is_empty() {
            return Err(ApiError::invalid("cues is empty; give at least one cue"));
        }
        let hits: usize = cues.iter().map(|cue| cue.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX)).sum();
        if hits > HITS_MAX {
            return Err(ApiError::invalid(format!(
                "the limits of cues are {hits} together, at most {HITS_MAX} are allowed; ask for fewer, or in several requests"
            )));
        }
        Ok(self)
    }
}

/// How to recall by a vector that is the body of the request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CueQuery {
    /// As in `CueIn`, like all that follow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// See `CueIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Time>,
    /// See `CueIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
    /// See `CueIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_relevance: Option<f32>,
    /// See `CueIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<usize>,
    /// See `CueIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
    /// See `CueIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through_concepts: Option<bool>,
    /// See `CueIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explain: Option<bool>,
    /// See `CueIn`.
    #[serde(deserialize_with = "with_embedding_text", skip_serializing_if = "WithEmbedding::is_no")]
    pub with_embedding: WithEmbedding,
    /// See `CueIn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reinforce: Option<bool>,
}

impl CueQuery {
    /// The cue of this vector.
    pub(crate) fn into_cue(self, embedding: Vec<f32>) -> CueIn {
        CueIn {
            embedding: Some(embedding),
            with_embedding: Some(self.with_embedding),
            limit: self.limit,
            now: self.now,
            as_of: self.as_of,
            min_relevance: self.min_relevance,
            budget: self.budget,
            exact: self.exact,
            through_concepts: self.through_concepts,
            explain: self.explain,
            reinforce: self.reinforce,
            ..CueIn::default()
        }
    }
}

/// A line of a file of cues.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct CueLine {
    /// The caller's name of the cue; comes back in the answer.
    pub id: String,
    /// Words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A vector of the space's dimension.
    #[serde(deserialize_with = "embedding", skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Vec<f32>>,
    /// Memories that are in mind already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// Only memories that pass are hits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterIn>,
    /// The present; the clock when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Time>,
    /// Only what was stored, and not superseded, by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
}

impl CueLine {
    /// The line's name and its cue.
    pub fn into_cue(self) -> (String, CueIn) {
        let cue = CueIn {
            text: self.text,
            embedding: self.embedding,
            ids: self.ids,
            filter: self.filter,
            now: self.now,
            as_of: self.as_of,
            ..CueIn::default()
        };
        (self.id, cue)
    }
}

/// A line of a file of answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankedLine {
    /// The cue's.
    pub id: String,
    /// Ids of the hits, best first.
    pub ranked: Vec<String>,
    /// Relevance of each hit.
    pub relevance: Vec<f32>,
    /// Whether nothing was found that the cue was likely after.
    pub abstain: bool,
}

impl RankedLine {
    /// The answer to the cue named `id`.
    pub fn new(id: String, recalled: &RecallOut) -> Self {
        RankedLine {
            id,
            ranked: recalled.hits.iter().map(|hit| hit.memory.id.clone()).collect(),
            relevance: recalled.hits.iter().map(|hit| hit.relevance).collect(),
            abstain: recalled.abstain,
        }
    }
}

/// What a recall gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecallOut {
    /// Best first; given also when `abstain` is true.
    pub hits: Vec<HitOut>,
    /// Whether nothing was found that the cue was likely after.
    pub abstain: bool,
    /// Memories that the ranking looked at.
    pub activated: usize,
    /// Whether a budget left something out, or common words may have hidden a memory: no bound proved that none was missed.
    pub truncated: bool,
    /// Milliseconds within the engine.
    pub took_ms: f64,
}

/// What a recall by many cues gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecallManyOut {
    /// In the order of the cues.
    pub replies: Vec<RecallOut>,
}

/// One recalled memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HitOut {
    /// The memory's own fields stand beside those of the hit.
    #[serde(flatten)]
    pub memory: MemoryOut,
    /// Orders the hits of one recall; says nothing across recalls.
    pub score: f32,
    /// Probability, 0..=1, that this hit is what the cue was after.
    pub relevance: f32,
    /// Bounds of the relevance: wide where evidence of this kind is thin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relevance_range: Option<[f32; 2]>,
    /// Probability, 0..=1, that the memory is still remembered.
    pub retrievability: f32,
    /// Where it was found: `hot`, `warm` or `cold`.
    pub tier: String,
    /// Ids of memories that say the same and that this hit stands for.
    pub duplicates: Vec<String>,
    /// Memories that speak against it, and have lowered `confidence`.
    pub objections: Vec<ObjectionOut>,
    /// Id of the concept that consolidation made and that stands for it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concept: Option<String>,
    /// What made the score; with `explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<PartsOut>,
    /// How activation came here, strongest first; with `explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<PathOut>>,
}

/// A memory that speaks against a hit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectionOut {
    /// Which.
    pub id: String,
    /// The kind of its link: `contradicts` or `supersedes`.
    pub kind: String,
    /// How sure its own source is, 0..=1.
    pub confidence: f32,
}

impl From<RecalledObjection> for ObjectionOut {
    fn from(objection: RecalledObjection) -> Self {
        let RecalledObjection { memory, kind, confidence } = objection;
        ObjectionOut { id: memory.to_string(), kind: kind.to_owned(), confidence }
    }
}

/// The evidence behind a hit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PartsOut {
    /// Cosine of the two vectors.
    pub dense: f32,
    /// BM25 of the cue's words.
    pub lexical: f32,
    /// Activation that reached the memory from other seeds.
    pub activation: f32,
    /// How much the memory adds, over shared names, to what a first hit leaves unexplained.
    pub bridge: f32,
    /// What the cue's words about time added.
    pub time: f32,
}

/// One way that activation took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathOut {
    /// How much of the hit's activation came this way.
    pub share: f32,
    /// From the seed to the hit.
    pub steps: Vec<StepOut>,
}

/// A memory on a path; the first step has no `via`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepOut {
    /// Kind of the association that led here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// Its weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f32>,
    /// The memory.
    pub memory: String,
}

impl RecallOut {
    /// The reply; parts and paths only if `explain`, embeddings only if `with_embedding`.
    pub(crate) fn new(
        recalled: Recalled,
        explain: bool,
        with_embedding: WithEmbedding,
        took_ms: f64,
    ) -> Self {
        let hits = recalled.hits.into_iter().map(|hit| HitOut::new(hit, explain, with_embedding)).collect();
        RecallOut {
            hits,
            abstain: recalled.abstain,
            activated: recalled.activated,
            truncated: recalled.truncated,
            took_ms,
        }
    }
}

impl HitOut {
    fn new(hit: RecalledHit, explain: bool, with_embedding: WithEmbedding) -> Self {
        HitOut {
            memory: MemoryOut { confidence: hit.confidence, ..MemoryOut::new(hit.memory, with_embedding) },
            objections: hit.objections.into_iter().map(ObjectionOut::from).collect(),
            score: hit.score,
            relevance: hit.relevance,
            relevance_range: explain.then_some(hit.relevance_range),
            retrievability: hit.retrievability,
            tier: hit.tier.as_str().to_owned(),
            duplicates: hit.duplicates.iter().map(MemoryId::to_string).collect(),
            concept: hit.concept.as_ref().map(MemoryId::to_string),
            parts: explain.then_some(PartsOut {
                dense: hit.parts.dense,
                lexical: hit.parts.lexical,
                activation: hit.parts.activation,
                bridge: hit.parts.bridge,
                time: hit.parts.time,
            }),
            paths: explain.then(|| hit.paths.into_iter().map(PathOut::from).collect()),
        }
    }
}

impl From<RecalledPath> for PathOut {
    fn from(path: RecalledPath) -> Self {
        let steps = path.steps.into_iter().map(|step| StepOut {
            weight: step.via.is_some().then_some(step.weight),
            via: step.via,
            memory: step.memory.to_string(),
        });
        PathOut { share: path.share, steps: steps.collect() }
    }
}

/// Where activation starts: seeds, or a cue.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", default, deny_unknown_fields)]
pub struct ActivateIn {
    /// Memories and how active they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seeds: Option<Vec<SeedIn>>,
    /// Words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A vector of the space's dimension.
    #[serde(deserialize_with = "embedding", skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Vec<f32>>,
    /// Memories that are in mind already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<Vec<String>>,
    /// Activations wanted, 1 to 1000; 10 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only memories that pass are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterIn>,
    /// The present; the clock when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<Time>,
    /// Only what was stored, and not superseded, by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Time>,
    /// Associations that spreading may visit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<usize>,
}

/// A memory that activation starts from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct SeedIn {
    /// The memory.
    pub id: String,
    /// How active it is, above 0 and at most 1; 1 when absent.
    #[serde(default = "full_activation")]
    pub activation: f64,
}

fn full_activation() -> f64 {
    1.0
}

/// What an activation gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActivateOut {
    /// Most active first.
    pub activations: Vec<ActivationOut>,
    /// Associations that were visited.
    pub visited: usize,
    /// Activation that was not passed on.
    pub residual: f64,
    /// Whether a budget left something out.
    pub truncated: bool,
    /// Milliseconds within the engine.
    pub took_ms: f64,
}

/// How active a memory became.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActivationOut {
    /// The memory.
    pub id: String,
    /// Its activation.
    pub activation: f64,
}

impl ActivateOut {
    pub(crate) fn new(activated: Activated, took_ms: f64) -> Self {
        let activations = activated.activations.into_iter();
        ActivateOut {
            activations: activations
                .map(|(id, activation)| ActivationOut { id: id.to_string(), activation })
                .collect(),
            visited: activated.visited,
            residual: activated.residual,
            truncated: activated.truncated,
            took_ms,
        }
    }
}
