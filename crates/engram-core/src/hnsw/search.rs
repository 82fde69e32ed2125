//! Searching: the walk through one layer, and the search that joins walks from the entry point down. Bound by the reading of
//! codes, so it fetches ahead.

use super::Hnsw;
use super::links::Ranked;
use crate::Slot;
use crate::kernels::prefetch;
use crate::vector::{CodeBuffer, Vectors};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A search of a layer compares at most about this many nodes for each unit of ef. Without a filter it stays below 2 * m;
/// a selective filter would otherwise walk the whole graph, which scanning the few that pass does better.
const VISITS_PER_EF_MAX: usize = 128;

/// For that bound, a narrower search counts as this broad: a greedy descent is narrow, but may have far to go.
const VISITS_EF_MIN: usize = 16;

/// How many codes ahead of the comparison the fetching runs, and how many rows in the ranking at the end. Reading is what
/// limits a search: see `examples/hnsw_measure.md`.
const CODES_AHEAD: usize = 8;
const ROWS_AHEAD: usize = 2;

/// Working memory of one search or insertion at a time, kept by the caller so that searching does not allocate once it
/// has grown. It belongs to no graph in particular.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    epoch: u32,
    /// For each slot the last epoch that compared it, and what came out.
    seen: Vec<Seen>,
    frontier: BinaryHeap<Ranked>,
    nearest: BinaryHeap<Reverse<Ranked>>,
    /// Neighbours of the node being expanded that were not compared before.
    fresh: Vec<Slot>,
    /// In: where the search of a layer starts. Out: what it found, best first.
    pub(super) found: Vec<Ranked>,
    cue: CodeBuffer,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    epoch: u32,
    similarity: f32,
}

impl Scratch {
    /// Empty working memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a pass over a layer of a graph with `slots` slots: nothing has been seen.
    fn begin(&mut self, slots: usize) {
        if self.seen.len() < slots {
            self.seen.resize(slots, Seen::default());
        }
        if self.epoch == u32::MAX {
            self.seen.fill(Seen::default());
            self.epoch = 0;
        }
        self.epoch += 1;
        self.frontier.clear();
        self.nearest.clear();
    }

    /// Similarity of the node to what is searched for, if this pass has compared it.
    #[inline]
    pub(super) fn known(&self, slot: Slot) -> Option<f32> {
        self.seen.get(slot as usize).filter(|seen| seen.epoch == self.epoch).map(|seen| seen.similarity)
    }

    pub(super) fn bytes(&self) -> usize {
        self.seen.capacity() * size_of::<Seen>()
            + (self.frontier.capacity() + self.nearest.capacity() + self.found.capacity())
                * size_of::<Ranked>()
            + self.fresh.capacity() * size_of::<Slot>()
            + self.cue.bytes()
    }
}

/// What a search compares nodes with.
pub(super) struct Probe<'a, S> {
    pub(super) vectors: &'a Vectors,
    pub(super) similarity: S,
}

impl Hnsw {
    /// The k nodes nearest to `unit` (of length 1) that pass the filter, best first, of equals the lower slot first
    /// (algorithm 5). `ef` is the breadth, raised to k; more is slower and finds more. Nodes that do not pass are walked
    /// through all the same. Returns how many were found: fewer than k, in a graph that has k, means that the filter lets
    /// so few through that the caller should rather compare all of them (`exact_search`).
    #[expect(
        clippy::too_many_arguments,
        reason = "a search has a graph, rows, a cue, bounds, a filter and memory"
    )]
    pub fn search(
        &self,
        vectors: &Vectors,
        unit: &[f32],
        k: usize,
        ef: usize,
        filter: impl Fn(Slot) -> bool,
        scratch: &mut Scratch,
        out: &mut Vec<(Slot, f32)>,
    ) -> usize {
        out.clear();
        let Some(entry) = self.entry else { return 0 };
        let mut cue = std::mem::take(&mut scratch.cue);
        let code = cue.encode(unit);
        let probe = Probe { vectors, similarity: |slot| vectors.code(slot).similarity(code) };
        self.descend(&probe, entry, 0, scratch);
        self.search_layer(&probe, 0, ef.max(k).max(1), filter, scratch);
        scratch.cue = cue;
        rank_exactly(vectors, unit, &mut scratch.found);
        out.extend(scratch.found.iter().take(k).map(|found| (found.slot(), found.similarity())));
        out.len()
    }

    /// Walks greedily from the entry point down to the layer above `level`; leaves in `found` where to go on from.
    pub(super) fn descend<S: Fn(Slot) -> f32>(
        &self,
        probe: &Probe<'_, S>,
        entry: Slot,
        level: u8,
        scratch: &mut Scratch,
    ) {
        scratch.found.clear();
        scratch.found.push(Ranked::new((probe.similarity)(entry), entry));
        for layer in (level + 1..=self.levels[entry as usize]).rev() {
            self.search_layer(probe, layer, 1, |_| true, scratch);
        }
    }

    /// Algorithm 2: from the nodes in `found` to the `ef` nearest nodes of the layer that pass the filter.
    pub(super) fn search_layer<S: Fn(Slot) -> f32>(
        &self,
        probe: &Probe<'_, S>,
        layer: u8,
        ef: usize,
        filter: impl Fn(Slot) -> bool,
        scratch: &mut Scratch,
    ) {
        scratch.begin(self.levels.len());
        let Scratch { epoch, seen, frontier, nearest, fresh, found, cue: _ } = scratch;
        for &start in found.iter() {
            seen[start.slot() as usize] = Seen { epoch: *epoch, similarity: start.similarity() };
            frontier.push(start);
            if filter(start.slot()) {
                nearest.push(Reverse(start));
            }
        }
        while nearest.len() > ef {
            nearest.pop();
        }
        // Nothing below the worst of ef results can become one, nor lead to one as far as this search will look.
        let mut bar = if nearest.len() == ef { nearest.peek().map(|worst| worst.0) } else { None };
        let mut visits_left = ef.max(VISITS_EF_MIN).saturating_mul(VISITS_PER_EF_MAX);
        while let Some(current) = frontier.pop() {
            if bar.is_some_and(|bar| current < bar) || visits_left == 0 {
                break;
            }
            if let Some(next) = frontier.peek() {
                prefetch(self.links(layer, next.slot()));
            }
            pick_unseen(self.links(layer, current.slot()), *epoch, seen, fresh);
            visits_left = visits_left.saturating_sub(fresh.len());
            for &slot in fresh.iter().take(CODES_AHEAD) {
                probe.vectors.prefetch_code(slot);
            }
            for (at, &slot) in fresh.iter().enumerate() {
                if let Some(&ahead) = fresh.get(at + CODES_AHEAD) {
                    probe.vectors.prefetch_code(ahead);
                }
                let similarity = (probe.similarity)(slot);
                seen[slot as usize].similarity = similarity;
                let ranked = Ranked::new(similarity, slot);
                if bar.is_some_and(|bar| ranked < bar) {
                    continue;
                }
                frontier.push(ranked);
                if filter(slot) {
                    if nearest.len() == ef {
                        *nearest.peek_mut().expect("ef is at least 1") = Reverse(ranked);
                    } else {
                        nearest.push(Reverse(ranked));
                    }
                    if nearest.len() == ef {
                        bar = nearest.peek().map(|worst| worst.0);
                    }
                }
            }
        }
        found.clear();
        found.extend(nearest.drain().map(|Reverse(ranked)| ranked));
        found.sort_unstable_by(|a, b| b.cmp(a));
    }
}

/// Leaves in `fresh` those of the links that this pass has not seen, and marks them. Without a branch that would be guessed
/// wrong for every third link.
#[inline]
fn pick_unseen(links: &[Slot], epoch: u32, seen: &mut [Seen], fresh: &mut Vec<Slot>) {
    fresh.resize(links.len(), 0);
    let mut count = 0;
    for &slot in links {
        let seen = &mut seen[slot as usize];
        fresh[count] = slot;
        count += usize::from(seen.epoch != epoch);
        seen.epoch = epoch;
    }
    fresh.truncate(count);
}

/// Puts what a search by codes has found into the order of the rows themselves.
fn rank_exactly(vectors: &Vectors, unit: &[f32], found: &mut [Ranked]) {
    for at in 0..found.len() {
        if let Some(ahead) = found.get(at + ROWS_AHEAD) {
            vectors.prefetch(ahead.slot());
        }
        let slot = found[at].slot();
        found[at] = Ranked::new(vectors.similarity(slot, unit), slot);
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
}

/// The k of `slots` nearest to `unit` (of length 1) that pass the filter, best first, of equals the lower slot first: the
/// truth that `Hnsw::search` is measured against, and the faster way where few pass. Each slot has a row and comes once.
pub fn exact_search(
    vectors: &Vectors,
    unit: &[f32],
    k: usize,
    slots: impl Iterator<Item = Slot>,
    filter: impl Fn(Slot) -> bool,
) -> Vec<(Slot, f32)> {
    let mut nearest = BinaryHeap::new();
    for slot in slots.filter(|&slot| filter(slot)) {
        nearest.push(Reverse(Ranked::new(vectors.similarity(slot, unit), slot)));
        if nearest.len() > k {
            nearest.pop();
        }
    }
    nearest.into_sorted_vec().into_iter().map(|Reverse(found)| (found.slot(), found.similarity())).collect()
}
