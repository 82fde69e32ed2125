//! How much noise completion undoes: random patterns of +1 and -1, which are separated, stored and asked for again with
//! some of their numbers unknown or wrong. For tests, measurements and `engram validate`; a seed gives the same every time.

use super::{Blank, CompleteOptions, CompletedField, CompletedValue, Pattern, complete};
use crate::associate::Analysis;
use crate::error::Result;
use crate::hnsw::HnswParams;
use crate::id::{MemoryId, Timestamp};
use crate::memory::NewMemory;
use crate::state::{Change, Embedder, SpaceSettings, SpaceState};

/// What happens to some of a pattern's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Corruption {
    /// They are not given.
    Unknown,
    /// They have the wrong sign.
    Flipped,
    /// They are drawn anew.
    Redrawn,
}

/// Random patterns in a space of their own.
#[derive(Debug)]
pub struct Patterns {
    state: SpaceState,
    rows: Vec<Vec<f32>>,
    random: Random,
}

/// How many cues came back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recovery {
    /// Patterns asked for.
    pub cues: usize,
    /// Those whose completed vector is exactly the stored one, with that memory as its first source.
    pub recovered: usize,
    /// Mean confidence of the completed vectors.
    pub confidence: f64,
}

impl Patterns {
    /// `count` patterns of `dimensions` (1 to 4096) numbers, stored.
    pub fn new(count: usize, dimensions: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let settings =
            SpaceSettings { embedder: Some(Embedder::Caller { dimensions }), ..SpaceSettings::default() };
        let mut state = SpaceState::new(HnswParams::default());
        state.apply(1, Change::Settings(settings), None);
        let mut rows = Vec::with_capacity(count);
        for at in 0..count {
            let row: Vec<f32> = (0..dimensions).map(|_| random.sign()).collect();
            let id = MemoryId::new(&format!("p{at}")).expect("a letter and digits");
            let memory = NewMemory { embedding: Some(row.clone()), ..NewMemory::default() };
            let memory = memory.complete(id, Timestamp(0));
            let analysis = Analysis::of(&memory, &settings);
            state.apply(2 + at as u64, Change::Stored(Box::new(memory)), Some(&analysis));
            rows.push(row);
        }
        Self { state, rows, random }
    }

    /// Asks for `cues` of the patterns, each with a `share` (0..1) of its numbers corrupted.
    pub fn sweep(&mut self, corruption: Corruption, share: f64, cues: usize, beta: f32) -> Result<Recovery> {
        let options = CompleteOptions { beta, limit: 0, ..CompleteOptions::at(Timestamp(0)) };
        let mut recovery = Recovery { cues, recovered: 0, confidence: 0.0 };
        for _ in 0..cues {
            let meant = self.random.below(self.rows.len());
            let embedding = Blank::Given(self.corrupted(meant, corruption, share));
            let completion = complete(&self.state, &Pattern { embedding, ..Pattern::default() }, &options)?;
            let vector = &completion.completed[0];
            assert_eq!(vector.field, CompletedField::Embedding, "nothing else was asked for");
            let is_exact = vector.value == CompletedValue::Numbers(self.rows[meant].clone());
            let names_it = vector.sources.first().is_some_and(|&slot| slot as usize == meant);
            recovery.recovered += usize::from(is_exact && names_it);
            recovery.confidence += f64::from(vector.confidence) / cues as f64;
        }
        Ok(recovery)
    }

    fn corrupted(&mut self, at: usize, corruption: Corruption, share: f64) -> Vec<Option<f32>> {
        let mut numbers: Vec<Option<f32>> = self.rows[at].iter().copied().map(Some).collect();
        let mut places: Vec<usize> = (0..numbers.len()).collect();
        let wrong = (share * numbers.len() as f64).round() as usize;
        for chosen in 0..wrong.min(places.len()) {
            let other = chosen + self.random.below(places.len() - chosen);
            places.swap(chosen, other);
            let number = &mut numbers[places[chosen]];
            *number = match corruption {
                Corruption::Unknown => None,
                Corruption::Flipped => number.map(|x| -x),
                Corruption::Redrawn => Some(self.random.sign()),
            };
        }
        numbers
    }
}

/// Numbers as if drawn at random, the same from a seed on every machine: SplitMix64 (Steele, Lea & Flood 2014).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Begins; the same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    fn sign(&mut self) -> f32 {
        if self.bits() >> 63 == 0 { 1.0 } else { -1.0 }
    }
}
