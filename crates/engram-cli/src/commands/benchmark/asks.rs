//! What a load asks: the requests of each operation, made from samples of the data, and how a client sends them.

use super::data::{Sample, near};
use super::mix::Operation;
use super::tally::Tally;
use super::words::piece;
use crate::backend::Backend;
use crate::fault::{Fault, Result, usage};
use clap::ValueEnum;
use engram_server::api::{
    ActivateIn, CueIn, LinkIn, MemoryIn, OutcomeIn, RecallOut, ReinforceIn, SeedIn, StoreIn,
};
use fastrand::Rng;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Memories that an activation starts from.
const SEEDS: usize = 3;
/// Memories that a client stores into one context.
const CONTEXT_MEMORIES: u64 = 10;
/// Cues whose hits are compared with those of an exact search.
const COMPARED_MAX: usize = 100;
/// Hits that are compared.
const COMPARED_HITS: usize = 10;

/// What a cue consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CueBy {
    /// A vector and words, as far as the data have both
    Both,
    /// A vector alone
    Vector,
    /// Words alone
    Text,
}

/// Everything that a load may ask with.
pub(crate) struct Asks {
    pub(crate) space: String,
    cues: Vec<CueIn>,
    /// Whether a server gets the vector of a cue as bytes, and nothing else.
    pub(crate) is_binary: bool,
    samples: Vec<Sample>,
    ids: Vec<String>,
}

/// How many of the hits of an exact search are among those that the index led to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Accuracy {
    /// Share of the first ten, 0..=1, on average over the cues.
    pub(crate) recall_at_10: f64,
    pub(crate) cues: usize,
}

impl Asks {
    /// `vectors`, where there are any, take the place of those of the samples in cues.
    pub(crate) fn new(
        space: &str,
        samples: Vec<Sample>,
        ids: Vec<String>,
        vectors: &[Vec<f32>],
        by: CueBy,
        limit: usize,
    ) -> Result<Self> {
        let mut random = Rng::with_seed(ids.len() as u64);
        let count = samples.len().max(vectors.len());
        let cue = |at: usize| {
            let sample = &samples[at % samples.len()];
            let vector =
                if vectors.is_empty() { sample.vector.as_ref() } else { Some(&vectors[at % vectors.len()]) };
            CueIn {
                text: sample
                    .text
                    .as_ref()
                    .filter(|_| by != CueBy::Vector)
                    .map(|text| piece(text, &mut random)),
                embedding: vector.filter(|_| by != CueBy::Text).cloned(),
                limit: Some(limit),
                ..CueIn::default()
            }
        };
        let cues = (0..count).map(cue).filter(|cue| cue.text.is_some() || cue.embedding.is_some());
        let cues: Vec<CueIn> = cues.collect();
        if cues.is_empty() {
            return usage(
                "the data have nothing that --cue asks for; choose another one of both, vector, text",
            );
        }
        Ok(Self { space: space.to_owned(), cues, is_binary: false, samples, ids })
    }

    /// By vectors where there are any, and without spreading: what an approximate index may lose.
    pub(crate) fn accuracy(&self, backend: &Backend) -> Result<Accuracy> {
        let step = self.cues.len().div_ceil(COMPARED_MAX);
        let (mut sum, mut cues) = (0.0, 0);
        for cue in self.cues.iter().step_by(step) {
            let text = cue.text.clone().filter(|_| cue.embedding.is_none());
            let limit = Some(COMPARED_HITS);
            let cue = CueIn { text, limit, budget: Some(0), reinforce: Some(false), ..cue.clone() };
            let exact = backend.recall(&self.space, CueIn { exact: Some(true), ..cue.clone() })?;
            let found = backend.recall(&self.space, cue)?;
            sum += share_found(&ids(&exact), &ids(&found));
            cues += 1;
        }
        Ok(Accuracy { recall_at_10: sum / cues as f64, cues })
    }
}

fn ids(recalled: &RecallOut) -> Vec<&str> {
    recalled.hits.iter().map(|hit| hit.memory.id.as_str()).collect()
}

/// 1 where there was nothing to find.
fn share_found(wanted: &[&str], found: &[&str]) -> f64 {
    let found: HashSet<_> = found.iter().collect();
    let hits = wanted.iter().filter(|id| found.contains(id)).count();
    if wanted.is_empty() { 1.0 } else { hits as f64 / wanted.len() as f64 }
}

/// One caller, with a connection of its own.
pub(crate) struct Client<'a> {
    backend: Backend,
    asks: &'a Asks,
    random: Rng,
    /// What the ids of what it stores begin with.
    name: String,
    stored: u64,
}

impl<'a> Client<'a> {
    pub(crate) fn new(backend: Backend, asks: &'a Asks, name: String, random: Rng) -> Self {
        Self { backend, asks, random, name, stored: 0 }
    }

    /// Performs one operation and says why it failed.
    pub(crate) fn act(&mut self, operation: Operation, tally: &mut Tally) -> Result<(), String> {
        self.ask(operation, tally).map_err(|fault: Fault| {
            let text = fault.verdict().0.unwrap_or("nobody listens").to_owned();
            format!("{}: {text}", operation.name())
        })
    }

    fn ask(&mut self, operation: Operation, tally: &mut Tally) -> Result<()> {
        let space = &self.asks.space;
        match operation {
            Operation::Recall => {
                let cue = &self.asks.cues[self.random.usize(0..self.asks.cues.len())];
                let recalled: RecallOut = match (&self.backend, &cue.embedding, cue.limit) {
                    (Backend::Remote(remote), Some(vector), Some(limit)) if self.asks.is_binary => {
                        remote.post_numbers(&format!("spaces/{space}/recall?limit={limit}"), vector)?
                    }
                    _ => self.backend.recall(space, cue.clone())?,
                };
                recalled.hits.iter().for_each(|hit| tally.hit(&hit.tier));
            }
            Operation::Activate => {
                let mut seeds: Vec<SeedIn> = Vec::with_capacity(SEEDS);
                for _ in 0..SEEDS {
                    let id = self.an_id();
                    if seeds.iter().all(|seed| seed.id != id) {
                        seeds.push(SeedIn { id, activation: 1.0 });
                    }
                }
                self.backend.activate(space, ActivateIn { seeds: Some(seeds), ..ActivateIn::default() })?;
            }
            Operation::Store => {
                let memory = self.memory();
                self.backend.store(space, StoreIn::many(vec![memory], false))?;
            }
            Operation::Get => {
                let id = self.an_id();
                self.backend.get(space, &id)?;
            }
            Operation::Reinforce => {
                let ids = vec![self.an_id()];
                self.backend.reinforce(space, ReinforceIn { ids, outcome: OutcomeIn::Used })?;
            }
        }
        Ok(())
    }

    fn an_id(&mut self) -> String {
        self.asks.ids[self.random.usize(0..self.asks.ids.len())].clone()
    }

    /// A memory that nobody has stored yet: two texts of the data in one, and a vector near one of theirs.
    fn memory(&mut self) -> MemoryIn {
        let number = self.stored;
        self.stored += 1;
        let mut sample = || &self.asks.samples[self.random.usize(0..self.asks.samples.len())];
        let (one, other) = (sample(), sample());
        let texts: Vec<&str> = [one, other].iter().filter_map(|sample| sample.text.as_deref()).collect();
        let content = (!texts.is_empty()).then(|| shortened(&texts.join("; ")).to_owned());
        let embedding = one.vector.clone().map(|vector| near(vector, &mut self.random));
        let link = LinkIn { to: self.an_id(), kind: "related".into(), weight: 0.5 };
        MemoryIn {
            id: Some(format!("{}-{number}", self.name)),
            content,
            embedding,
            context: Some(format!("{}-{}", self.name, number / CONTEXT_MEMORIES)),
            links: Some(vec![link]),
            ..MemoryIn::default()
        }
    }
}

/// At most 512 bytes of a text, as much as a note has.
fn shortened(text: &str) -> &str {
    const BYTES_MAX: usize = 512;
    &text[..text.floor_char_boundary(BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accuracy_is_the_share_of_exact_hits_that_were_found() {
        assert_eq!(share_found(&["a", "b", "c", "d"], &["d", "x", "a", "b"]), 0.75);
        assert_eq!(share_found(&["a"], &[]), 0.0);
        assert_eq!(share_found(&[], &["a"]), 1.0);
    }

    #[test]
    fn cues_are_of_what_was_chosen() {
        let samples = vec![Sample { text: Some("one two".into()), vector: Some(vec![1.0, 0.0]) }];
        let cues = |vectors: &[Vec<f32>], by| {
            Asks::new("s", samples.clone(), vec!["m0".into()], vectors, by, 5).map(|asks| asks.cues)
        };
        let both = &cues(&[], CueBy::Both).unwrap()[0];
        assert_eq!(
            (both.text.as_deref(), both.embedding.as_deref()),
            (Some("one two"), Some(&[1.0, 0.0][..]))
        );
        assert_eq!(cues(&[], CueBy::Text).unwrap()[0].embedding, None);
        let given = cues(&[vec![0.0, 1.0], vec![0.5, 0.5]], CueBy::Vector).unwrap();
        assert_eq!(given.iter().map(|cue| cue.embedding.clone().unwrap()[0]).collect::<Vec<_>>(), [0.0, 0.5]);
        assert!(given.iter().all(|cue| cue.text.is_none() && cue.limit == Some(5)));
        let mute = vec![Sample { text: Some("one".into()), vector: None }];
        assert!(Asks::new("s", mute, vec![], &[], CueBy::Vector, 5).is_err());
    }
}
