//! A cue as it fits the state that it is asked of: its words looked up, its vector of length 1, its times read.

use super::{Part, check_dimensions};
use crate::Slot;
use crate::cue::{Cue, RecallOptions};
use crate::embed;
use crate::error::{Error, Result};
use crate::lexicon::{TermId, Terms};
use crate::speech::{SpeakerId, asks_when};
use crate::state::{Embedder, SpaceState};
use crate::vector::check_embedding;
use crate::when::{Reader, When};
use rustc_hash::{FxBuildHasher, FxHashMap};
use std::hash::BuildHasher;

/// A cue that fits a state. Reuse it to spare allocations.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// Each once, in the order of the text; none where nobody holds it.
    pub(super) terms: Vec<Option<TermId>>,
    pub(super) speakers: Vec<SpeakerId>,
    pub(super) asks_when: bool,
    /// Of length 1; empty where there is none.
    unit: Vec<f32>,
    pub(super) slots: Vec<Slot>,
    pub(super) when: When,
    said: Terms,
    reader: Reader,
    seen: FxHashMap<u64, ()>,
    sum: Vec<f32>,
    word: String,
}

impl Resolved {
    /// Of length 1.
    pub(super) fn unit(&self) -> Option<&[f32]> {
        Some(&*self.unit).filter(|unit| !unit.is_empty())
    }

    /// Takes in a cue.
    pub(super) fn resolve(&mut self, state: &SpaceState, cue: &Cue, options: &RecallOptions) -> Result<()> {
        cue.check()?;
        let without = options.without;
        self.slots.clear();
        for id in &cue.ids {
            self.slots.push(state.slot(id).ok_or_else(|| {
                Error::NotFound(format!("the cue names memory \"{id}\", which is not stored here"))
            })?);
        }
        if let Some(embedding) = &cue.embedding {
            check_dimensions(state, embedding)?;
        }
        let text = cue.text.as_deref().unwrap_or("");
        self.unit.clear();
        if !without.has(Part::Vectors) {
            self.find_direction(state, cue.embedding.as_deref(), text);
        }
        let text = if without.has(Part::Words) { "" } else { text };
        self.read_terms(state, text);
        self.speakers.clear();
        if !without.has(Part::Speakers) {
            state.speeches().add_named(&self.said, &mut self.speakers);
        }
        self.asks_when = asks_when(text) && !without.has(Part::Times);
        let said = cue.text.as_deref().filter(|_| !without.has(Part::When)).unwrap_or("");
        self.reader.read_all(said, options.now, &mut self.when);
        self.when.alone &= self.slots.is_empty();
        Ok(())
    }

    fn find_direction(&mut self, state: &SpaceState, embedding: Option<&[f32]>, text: &str) {
        match (embedding, state.settings().embedder) {
            (Some(embedding), Some(Embedder::Caller { .. })) => {
                add_unit(embedding, &mut self.unit);
                return;
            }
            (None, Some(Embedder::Builtin { .. })) if embed::add_up(text, &mut self.word, &mut self.sum) => {
                add_unit(&self.sum, &mut self.unit);
                return;
            }
            _ => {}
        }
        // The direction between memories, for a cue that names them and brings no vector of its own.
        self.sum.clear();
        for &slot in &self.slots {
            match state.row(slot) {
                Some(row) => add_unit(row, &mut self.sum),
                None => state.unit(slot).iter().for_each(|unit| add_unit(unit, &mut self.sum)),
            }
        }
        if !self.sum.is_empty() && check_embedding(&self.sum).is_ok() {
            add_unit(&self.sum, &mut self.unit);
        }
    }

    fn read_terms(&mut self, state: &SpaceState, text: &str) {
        self.said.read(text, state.settings().language);
        self.terms.clear();
        self.seen.clear();
        for term in self.said.iter() {
            // Of terms that nobody holds there is nothing but the hash to tell them apart by.
            if self.seen.insert(FxBuildHasher.hash_one(term), ()).is_none() {
                self.terms.push(state.lexicon().term(term));
            }
        }
    }
}

/// Adds `row`, scaled to length 1, to `sum`, where there is none yet.
fn add_unit(row: &[f32], sum: &mut Vec<f32>) {
    sum.resize(row.len(), 0.0);
    let scale = 1.0 / row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32;
    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x * scale);
}
