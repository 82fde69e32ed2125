//! Measures a whole recall, from the words of a cue to ranked hits, among synthetic memories: how it grows with the space,
//! and what common words cost. `cargo run --release -p engram-core --example recall_measure -- [memories] [dimensions] [cues]`
//! with 0 dimensions for memories without vectors. Words follow Zipf and Mandelbrot (offset 50, after stop words); half
//! of a turn's words are of its context's topic; 7 of 10 memories stand in contexts of 20; some name names, one in ten
//! links to one before it.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, run by hand: it reads the clock, prints, and may stop on any fault"
)]

use engram_core::Slot;
use engram_core::associate::Analysis;
use engram_core::cue::{Cue, RecallOptions};
use engram_core::hnsw::{self, HnswParams};
use engram_core::id::{MemoryId, Timestamp};
use engram_core::lexicon::{Language, terms};
use engram_core::memory::{Link, NewMemory};
use engram_core::recall::{Scratch, recall};
use engram_core::state::{Change, Embedder, Growing, SpaceSettings, SpaceState};
use fastrand::Rng;
use std::time::{Duration, Instant};

const VOCABULARY: usize = 100_000;
const NAMES: usize = 20_000;
const OFFSET: f64 = 50.0;
const TURNS: usize = 20;
const WORDS: usize = 18;
const ROUNDS: usize = 5;
const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

fn main() {
    let mut args = std::env::args().skip(1).map(|text| text.parse().expect("a number"));
    let memories: usize = args.next().unwrap_or(20_000);
    let dimensions: usize = args.next().unwrap_or(0);
    let count: usize = args.next().unwrap_or(500);
    let resident_before = resident();
    let mut world = World { rng: Rng::with_seed(1), dimensions, ends: Vec::new(), cues: Vec::new() };
    let started = Instant::now();
    let state = world.fill(memories, count);
    println!(
        "{memories} memories of {dimensions} dimensions, built in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    println!(
        "{:.0} resident bytes a memory, {:.0} of them data, {:.0} of the lexicon, {:.0} of the graph",
        (resident() - resident_before) as f64 / memories as f64,
        state.data_bytes() as f64 / memories as f64,
        state.lexicon().bytes() as f64 / memories as f64,
        state.graph().bytes() as f64 / memories as f64,
    );
    let cues = std::mem::take(&mut world.cues);
    measure("cues of a memory's words", &state, &cues, None);
    let common: Vec<Cue> = (0..count).map(|_| world.common_cue()).collect();
    measure("cues of five of the 100 commonest words", &state, &common, None);
    measure("the first without spreading", &state, &cues, Some(0));
    for words in [100, 1_500, 6_000] {
        let long: Vec<Cue> = (0..count.div_ceil(25)).map(|_| world.long_cue(words)).collect();
        measure(&format!("cues of {words} words"), &state, &long, None);
    }
}

/// Times each cue: of some rounds the quickest, as what else the machine does only ever adds.
fn measure(name: &str, state: &SpaceState, cues: &[Cue], budget: Option<usize>) {
    let mut scratch = Scratch::default();
    let mut quickest = vec![Duration::MAX; cues.len()];
    let (mut holders, mut truncated, mut hits) = (0, 0, 0);
    for round in 0..ROUNDS {
        for (at, cue) in cues.iter().enumerate() {
            let options = RecallOptions { budget, ..RecallOptions::at(NOW) };
            let started = Instant::now();
            let answer = recall(state, cue, &options, &mut scratch).unwrap();
            quickest[at] = quickest[at].min(started.elapsed());
            if round == 0 {
                truncated += usize::from(answer.truncated);
                hits += answer.hits.len();
                let mut terms = terms(cue.text.as_deref().unwrap(), Language::Auto);
                terms.sort_unstable();
                terms.dedup();
                holders += terms.iter().map(|term| state.lexicon().postings_of(term).len()).sum::<usize>();
            }
        }
    }
    quickest.sort_unstable();
    let at = |share: usize| quickest[(cues.len() - 1) * share / 100].as_secs_f64() * 1e6;
    let mean = quickest.iter().sum::<Duration>().as_secs_f64() * 1e6 / cues.len() as f64;
    println!(
        "{name}: p50 {:.0} p90 {:.0} p99 {:.0} mean {mean:.0} us; {} holders of its words a cue, {truncated} truncated, {hits} hits",
        at(50),
        at(90),
        at(99),
        holders / cues.len()
    );
}

struct World {
    rng: Rng,
    dimensions: usize,
    ends: Vec<f32>,
    cues: Vec<Cue>,
}

impl World {
    fn fill(&mut self, memories: usize, cues: usize) -> SpaceState {
        let mut state = SpaceState::new(HnswParams::default());
        let embedder = match self.dimensions {
            0 => Embedder::None,
            dimensions => Embedder::Caller { dimensions },
        };
        let settings = SpaceSettings { embedder: Some(embedder), ..SpaceSettings::default() };
        state.apply(1, Change::Settings(settings), None);
        let mut scratch = hnsw::Scratch::new();
        let mut topic = (Vec::new(), Vec::new());
        for at in 0..memories {
            if at.is_multiple_of(TURNS) {
                topic = ((0..30).map(|_| self.rank()).collect(), (0..4).map(|_| self.name()).collect());
            }
            let words: Vec<usize> = (0..WORDS)
                .map(|_| if self.rng.bool() { topic.0[self.rng.usize(..topic.0.len())] } else { self.rank() })
                .collect();
            let name = topic.1[self.rng.usize(..topic.1.len())].clone();
            let embedding = (self.dimensions > 0).then(|| self.vector());
            if self.rng.usize(..memories) < 2 * cues && self.cues.len() < cues {
                let of = self.rng.usize(2..8);
                let mut said: Vec<String> = (0..of).map(|_| word(words[self.rng.usize(..WORDS)])).collect();
                if self.rng.bool() {
                    said.push(name.clone());
                }
                let near = embedding.as_ref().map(|own| self.near(own));
                self.cues.push(Cue { text: Some(said.join(" what is the ")), embedding: near, ids: vec![] });
            }
            let text: Vec<String> = words.into_iter().map(word).collect();
            let link = (at > 0 && self.rng.usize(..10) == 0).then(|| Link {
                to: id(self.rng.usize(..at)),
                kind: "after".into(),
                weight: 0.5,
            });
            let memory = NewMemory {
                id: Some(id(at)),
                content: Some(format!("They said {name} is the {}.", text.join(" of "))),
                embedding,
                context: (at / TURNS % 10 < 7).then(|| format!("c{}", at / TURNS)),
                occurred_at: Some(Timestamp(NOW.0 - (memories - at) as i64 * 60_000_000)),
                links: link.map(|link| vec![link]),
                ..NewMemory::default()
            };
            let memory = memory.complete(id(at), NOW);
            let analysis = Analysis::of(&memory, state.settings());
            state.apply(2 + at as u64, Change::Stored(Box::new(memory)), Some(&analysis));
            if self.dimensions > 0 {
                let (slot, vectors) = (at as Slot, state.vectors().unwrap());
                let level = state.index().level_for(id(at).stable_hash());
                let plan = state.index().prepare(vectors, slot, level, &[], &mut scratch);
                state.commit_index(Growing::Serving, slot, 2 + at as u64, plan);
            }
        }
        state
    }

    /// The rank of a word of the vocabulary.
    fn rank(&mut self) -> usize {
        if self.ends.is_empty() {
            let mut sum = 0.0;
            let weights = (0..VOCABULARY).map(|rank| 1.0 / (rank as f64 + OFFSET));
            self.ends = weights
                .map(|weight| {
                    sum += weight;
                    sum as f32
                })
                .collect();
        }
        let at = self.rng.f32() * self.ends[VOCABULARY - 1];
        self.ends.partition_point(|&end| end < at).min(VOCABULARY - 1)
    }

    fn name(&mut self) -> String {
        let name = word(VOCABULARY + (NAMES as f64).powf(self.rng.f64()) as usize);
        name[..1].to_uppercase() + &name[1..]
    }

    fn vector(&mut self) -> Vec<f32> {
        (0..self.dimensions).map(|_| self.rng.f32() - 0.5).collect()
    }

    fn near(&mut self, own: &[f32]) -> Vec<f32> {
        own.iter().map(|x| x + 0.6 * (self.rng.f32() - 0.5)).collect()
    }

    fn common_cue(&mut self) -> Cue {
        let words: Vec<String> = (0..5).map(|_| word(self.rng.usize(..100))).collect();
        let embedding = (self.dimensions > 0).then(|| self.vector());
        Cue { text: Some(words.join(" and ")), embedding, ids: vec![] }
    }

    /// A cue of so many words as memories hold.
    fn long_cue(&mut self, words: usize) -> Cue {
        let words: Vec<String> = (0..words).map(|_| word(self.rank())).collect();
        Cue { text: Some(words.join(" ")), embedding: None, ids: vec![] }
    }
}

/// A word that no stemmer shortens.
fn word(rank: usize) -> String {
    const SYLLABLES: [&str; 16] =
        ["ba", "ko", "mu", "ti", "ra", "no", "lu", "pi", "za", "do", "gu", "vi", "fa", "jo", "wu", "xo"];
    let (mut rest, mut text) = (rank + 16, String::new());
    while rest > 0 {
        text.push_str(SYLLABLES[rest % 16]);
        rest /= 16;
    }
    text + "k"
}

fn id(at: usize) -> MemoryId {
    MemoryId::new(&format!("m{at}")).unwrap()
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
