//! Concepts in a recall. Those that consolidation made are no hits of their own, as their sources say the same, unless
//! the filter asks for a kind of memory. Asked to recall through concepts, the ranking compares the cue with these first,
//! and looks at the sources of the best of them only; memories that have no concept are candidates as always.

use super::{Ranking, WEIGHTS, keep_best};
use crate::Slot;
use crate::kernels::dot;
use rustc_hash::FxHashSet;

/// Concepts that become candidates, where they may be hits.
const CONCEPT_CANDIDATES_MAX: usize = 100;
/// A concept is opened that scores this share of the best. At .5 a recall of LoCoMo's cues looks at 26 % fewer memories, at
/// .6 at 33 %, for .001 and .003 of R@10.
const OPENED_SHARE: f32 = 0.6;
/// So many times fewer memories are found by vector than otherwise, as those of one concept lead to each other.
const VECTOR_CANDIDATES_DIVISOR: usize = 2;

/// Which concepts stand in for their sources.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Concepts that were compared with the cue and are not among the best: their sources are not looked at.
    closed: FxHashSet<Slot>,
    /// Concepts that were compared with the cue.
    pub(super) looked_at: usize,
}

impl Ranking<'_> {
    /// Whether concepts that consolidation made may be hits.
    pub(super) fn shows_concepts(&self) -> bool {
        self.options.filter.asks_for_kind() && !self.state.concepts().is_empty()
    }

    /// Whether concepts stand in for their sources: not where a cue says nothing but a time, which is no matter of theirs.
    fn is_through_concepts(&self) -> bool {
        self.options.through_concepts && !self.cue.when.alone && !self.state.concepts().is_empty()
    }

    /// Candidates by vector, of those that there would be otherwise.
    pub(super) fn vector_candidates(&self, otherwise: usize) -> usize {
        if self.is_through_concepts() { otherwise.div_ceil(VECTOR_CANDIDATES_DIVISOR) } else { otherwise }
    }

    /// Decides which concepts stand in for their sources in this recall. Compares the cue with those of the memories that
    /// were found by words and by vector.
    pub(super) fn close_concepts(&mut self, found: &[(Slot, f32)]) {
        if !self.is_through_concepts() {
            return;
        }
        let concept_of = |slot| self.state.concepts().of(slot).filter(|&concept| self.is_visible(concept));
        let of_found: FxHashSet<Slot> = found.iter().filter_map(|(slot, _)| concept_of(*slot)).collect();
        let scored: Vec<(Slot, f32)> =
            of_found.into_iter().map(|concept| (concept, self.score_of_concept(concept))).collect();
        let best = scored.iter().map(|(_, score)| *score).fold(0.0, f32::max);
        self.gate.looked_at = scored.len();
        // Where none fits, none is better than another.
        let closed = scored.into_iter().filter(|(_, score)| best > 0.0 && *score < OPENED_SHARE * best);
        self.gate.closed = closed.map(|(concept, _)| concept).collect();
    }

    /// How well a concept fits the cue: the words of the best of its sources that may be hits, and its direction.
    fn score_of_concept(&self, concept: Slot) -> f32 {
        let sources = self.state.concepts().sources(concept).iter().filter(|&&source| self.may_hit(source));
        let words = sources.map(|&source| self.score_of_words(source) + self.score_of_speech(source));
        let Some(words) = words.max_by(f32::total_cmp) else { return f32::NEG_INFINITY };
        let similarity = self.similarity(concept);
        words + similarity.map_or(0.0, |similarity| WEIGHTS.vector * self.single.standard(similarity))
    }

    /// Whether a concept stands in for this memory, so that it is not looked at.
    pub(super) fn is_closed(&self, slot: Slot) -> bool {
        !self.gate.closed.is_empty()
            && self.state.concepts().of(slot).is_some_and(|concept| self.gate.closed.contains(&concept))
    }

    /// Similarity of the cue, of length 1, and a concept.
    pub(super) fn similarity_of_concept(&self, slot: Slot, unit: &[f32]) -> Option<f32> {
        self.state.concepts().direction(slot).map(|direction| dot(direction, unit))
    }

    /// What the cue's words reach of what they could in the best of a concept's sources.
    pub(super) fn words_of_concept(&self, concept: Slot) -> [f32; 3] {
        let mut best = [0.0f32; 3];
        for &source in self.state.concepts().sources(concept) {
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
