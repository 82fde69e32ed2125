//! Concepts in a recall. Those that consolidation made are no hits of their own, as their sources say the same, unless
//! the filter asks for a kind of memory.

use super::{Ranking, keep_best};
use crate::Slot;
use crate::kernels::dot;

/// Concepts that become candidates, where they may be hits.
const CONCEPT_CANDIDATES_MAX: usize = 100;

impl Ranking<'_> {
    /// Whether concepts that consolidation made may be hits.
    pub(super) fn shows_concepts(&self) -> bool {
        self.options.filter.asks_for_kind() && !self.state.concepts().is_empty()
    }

    /// Similarity of the cue, of length 1, and a concept.
    pub(super) fn similarity_of_concept(&self, slot: Slot, unit: &[f32]) -> Option<f32> {
        self.state.concepts().direction(slot).map(|direction| dot(direction, unit))
    }

    /// What the cue's words reach of what they could in the best of a concept's sources.
    pub(super) fn words_of_concept(&self, concept: Slot) -> [f32; 3] {
        let mut best = [0.0f32; 3];
        for source in self.state.sources(concept) {
            let words = self.words_of(source);
            best.iter_mut().zip(words).for_each(|(best, share)| *best = best.max(share));
        }
        best
    }

    /// The best of the concepts, where they may be hits. Compares the cue with all of them.
    pub(super) fn candidates_by_concept(&mut self) {
        if !self.shows_concepts() {
            return;
        }
        let may_hit = self.state.concepts().slots().into_iter().filter(|&slot| self.may_hit(slot));
        let mut found: Vec<(Slot, f32)> = may_hit.map(|slot| (slot, self.base(slot))).collect();
        keep_best(&mut found, CONCEPT_CANDIDATES_MAX.max(self.options.limit));
        found.into_iter().for_each(|(slot, _)| self.add_candidate(slot));
    }
}
