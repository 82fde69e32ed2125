//! Searching: the walk through one layer, and the search that joins walks from the entry point down. Bound by the reading of
//! codes, so it fetches ahead.

use super::links::Ranked;
use super::{BATCH_MAX, Hnsw};
use crate::Slot;
use crate::vector::{CueCode, Vectors};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A search of a layer compares at most about this many nodes for each unit of ef. Without a filter it stays below 2 * m;
/// a selective filter would otherwise walk the whole graph, which scanning the few that pass does better.
const VISITS_PER_EF_MAX: usize = 128;

/// For that bound, a narrower search counts as this broad: a greedy descent is narrow, but may have far to go.
const VISITS_EF_MIN: usize = 16;

/// How many rows ahead of the comparison the fetching runs in the ranking at the end. Reading is what limits a search: see
/// `examples/hnsw_measure.md`.
const ROWS_AHEAD: usize = 2;

/// Comparing this many codes for each unit of ef takes about as long as a walk.
const SCANNED_PER_EF: usize = 16;

/// Nodes of which a filter is asked beforehand.
const SAMPLED: usize = 64;

/// How many codes ahead the fetching runs when slots are scanned one after the other.
const SCAN_AHEAD: usize = 16;

/// Of what a search has found by codes, this many times k, and this many more, are ordered by their rows. The cosine of
/// codes is off by .001 or so, which moves a neighbour by few places.
const ROWS_PER_K: usize = 2;
const ROWS_MORE: usize = 8;

/// Working memory of one search or insertion at a time, kept by the caller so that searching does not allocate once it
/// has grown. It belongs to no graph in particular.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    epoch: u8,
    /// Whether this pass keeps what came out.
    keeps: bool,
    /// For each slot the last epoch that compared it.
    seen: Vec<u8>,
    /// And what came out, where an insertion will ask.
    similarities: Vec<f32>,
    frontier: BinaryHeap<Ranked>,
    nearest: BinaryHeap<Reverse<Ranked>>,
    /// Neighbours of the node being expanded that were not compared before.
    fresh: Vec<Slot>,
    /// In: where the search of a layer starts. Out: what it found, best first.
    pub(super) found: Vec<Ranked>,
    /// What an insertion may link to, best first.
    pub(super) candidates: Vec<Ranked>,
    /// For `nearest`: what is scanned, and what the graph found.
    slots: Vec<Slot>,
    walked: Vec<(Slot, f32)>,
    /// Codes of what is searched for, and of one side of a pair.
    pub(super) cue: CueCode,
    pub(super) side: CueCode,
}

/// What is searched for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// How many of the nearest.
    pub k: usize,
    /// Breadth of the walk, raised to k; more is slower and finds more.
    pub ef: usize,
    /// How many of the nearest by codes are ordered by their rows, and come with the similarity of these; the others come
    /// after them, by their codes.
    pub by_rows: usize,
}

impl Wanted {
    /// The k nearest, ordered by their rows.
    pub fn new(k: usize, ef: usize) -> Self {
        Self { k, ef, by_rows: k.saturating_mul(ROWS_PER_K).saturating_add(ROWS_MORE) }
    }
}

/// What a walk compares nodes with.
pub(super) trait Compare {
    /// Whether the walk keeps similarities for `Scratch::known`.
    const KEEPS: bool;

    fn similarity(&self, slot: Slot) -> f32;

    /// Asks the processor to fetch what `similarity` will read.
    fn prefetch(&self, slot: Slot);
}

/// By the upper halves of codes: what a search needs to get near.
struct ByCoarse<'a> {
    vectors: &'a Vectors,
    cue: &'a CueCode,
}

impl Compare for ByCoarse<'_> {
    const KEEPS: bool = false;

    #[inline]
    fn similarity(&self, slot: Slot) -> f32 {
        self.vectors.coarse_similarity(slot, self.cue)
    }

    #[inline]
    fn prefetch(&self, slot: Slot) {
        self.vectors.prefetch_coarse(slot);
    }
}

/// By whole codes, where upper halves do not suffice.
struct ByWhole<'a> {
    vectors: &'a Vectors,
    cue: &'a CueCode,
}

impl Compare for ByWhole<'_> {
    const KEEPS: bool = false;

    #[inline]
    fn similarity(&self, slot: Slot) -> f32 {
        self.cue.similarity(self.vectors.code(slot))
    }

    #[inline]
    fn prefetch(&self, slot: Slot) {
        self.vectors.prefetch_code(slot);
    }
}

/// A node, or one to be, by the codes of both, as all links have it: their cosine, less up to .000008 that depends on the
/// pair. Of many copies of one vector, whose cosines are all the same, each so prefers others. Decided by slot, the first
/// would fill their links with each other, and what is left after many are removed could be an island.
pub(super) struct ByCode<'a> {
    vectors: &'a Vectors,
    slot: Slot,
    cue: &'a CueCode,
}

impl<'a> ByCode<'a> {
    /// `memory` is where the code of `slot` is kept.
    pub(super) fn new(vectors: &'a Vectors, slot: Slot, memory: &'a mut CueCode) -> Self {
        memory.set_row(vectors.code(slot));
        Self { vectors, slot, cue: memory }
    }

    pub(super) fn slot(&self) -> Slot {
        self.slot
    }

    /// To walk by, where upper halves suffice.
    pub(super) fn coarse(&self) -> impl Compare {
        ByOwnCoarse { by: ByCoarse { vectors: self.vectors, cue: self.cue }, slot: self.slot }
    }
}

impl Compare for ByCode<'_> {
    const KEEPS: bool = true;

    #[inline]
    fn similarity(&self, slot: Slot) -> f32 {
        self.cue.similarity(self.vectors.code(slot)) - preference(self.slot, slot)
    }

    #[inline]
    fn prefetch(&self, slot: Slot) {
        self.vectors.prefetch_code(slot);
    }
}

/// A node, or one to be, by upper halves.
struct ByOwnCoarse<'a> {
    by: ByCoarse<'a>,
    slot: Slot,
}

impl Compare for ByOwnCoarse<'_> {
    const KEEPS: bool = false;

    #[inline]
    fn similarity(&self, slot: Slot) -> f32 {
        self.by.similarity(slot) - preference(self.slot, slot)
    }

    #[inline]
    fn prefetch(&self, slot: Slot) {
        self.by.prefetch(slot);
    }
}

/// What is taken off the similarity of a pair. Multiplying spreads the bits that differ upwards; the top seven stand for
/// steps of an f32 just below 1.
#[inline]
fn preference(a: Slot, b: Slot) -> f32 {
    let steps = (a ^ b).wrapping_mul(0x9e37_79b9) >> 25;
    steps as f32 * (f32::EPSILON / 2.0)
}

impl Scratch {
    /// Empty working memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a pass over a layer of a graph with `slots` slots: nothing has been seen.
    fn begin(&mut self, slots: usize, keeps: bool) {
        if self.seen.len() < slots {
            self.seen.resize(slots, 0);
        }
        if keeps && self.similarities.len() < slots {
            self.similarities.resize(slots, 0.0);
        }
        if self.epoch == u8::MAX {
            self.seen.fill(0);
            self.epoch = 0;
        }
        self.epoch += 1;
        self.keeps = keeps;
        self.frontier.clear();
        self.nearest.clear();
    }

    /// Puts what was found before where the walk starts.
    fn start(&mut self, keeps: bool, ef: usize, filter: impl Fn(Slot) -> bool) {
        for &start in &self.found {
            self.seen[start.slot() as usize] = self.epoch;
            if keeps {
                self.similarities[start.slot() as usize] = start.similarity();
            }
            self.frontier.push(start);
            if filter(start.slot()) {
                self.nearest.push(Reverse(start));
            }
        }
        while self.nearest.len() > ef {
            self.nearest.pop();
        }
    }

    /// Similarity of the node to what is searched for, if this pass has compared it, and by whole codes.
    #[inline]
    pub(super) fn known(&self, slot: Slot) -> Option<f32> {
        let seen = self.keeps && self.seen.get(slot as usize).is_some_and(|&seen| seen == self.epoch);
        seen.then(|| self.similarities[slot as usize])
    }

    pub(super) fn bytes(&self) -> usize {
        self.seen.capacity()
            + self.similarities.capacity() * size_of::<f32>()
            + (self.frontier.capacity()
                + self.nearest.capacity()
                + self.found.capacity()
                + self.candidates.capacity())
                * size_of::<Ranked>()
            + (self.fresh.capacity() + self.slots.capacity()) * size_of::<Slot>()
            + self.walked.capacity() * size_of::<(Slot, f32)>()
            + self.cue.bytes()
            + self.side.bytes()
    }
}

impl Hnsw {
    /// The k nodes nearest to `unit` (of length 1) that pass the filter, best first, of equals the lower slot first
    /// (algorithm 5). Nodes that do not pass are walked
    /// through all the same. Returns how many were found: fewer than k, in a graph that has k, means that the filter lets
    /// so few through that the caller should rather compare all of them (`exact_search`).
    pub fn search(
        &self,
        vectors: &Vectors,
        unit: &[f32],
        wanted: Wanted,
        filter: impl Fn(Slot) -> bool,
        scratch: &mut Scratch,
        out: &mut Vec<(Slot, f32)>,
    ) -> usize {
        out.clear();
        let Some(entry) = self.entry else { return 0 };
        let mut cue = std::mem::take(&mut scratch.cue);
        cue.set(unit);
        let ef = wanted.ef.max(wanted.k).max(1);
        if vectors.coarse_suffices() {
            let probe = ByCoarse { vectors, cue: &cue };
            self.descend(&probe, entry, 0, scratch);
            self.search_layer(&probe, 0, ef, filter, scratch);
        } else {
            let probe = ByWhole { vectors, cue: &cue };
            self.descend(&probe, entry, 0, scratch);
            self.search_layer(&probe, 0, ef, filter, scratch);
        }
        rank(vectors, unit, &cue, wanted, &mut scratch.found);
        scratch.cue = cue;
        out.extend(scratch.found.iter().take(wanted.k).map(|found| (found.slot(), found.similarity())));
        out.len()
    }

    /// As `search`, and always k where k pass: from the graph, or by comparing all that pass where those are few, or where
    /// the graph did not find as many. `beside` are slots with rows that pass and are not nodes.
    #[expect(clippy::too_many_arguments, reason = "as for search")]
    pub fn nearest(
        &self,
        vectors: &Vectors,
        unit: &[f32],
        wanted: Wanted,
        filter: impl Fn(Slot) -> bool + Copy,
        beside: impl Iterator<Item = Slot>,
        scratch: &mut Scratch,
        out: &mut Vec<(Slot, f32)>,
    ) {
        let k = wanted.k;
        let fewer = Wanted { k: k.min(self.len()), ..wanted };
        let is_complete = self.passing(filter) > SCANNED_PER_EF * wanted.ef.max(k)
            && self.search(vectors, unit, fewer, filter, scratch, out) >= fewer.k;
        let mut slots = std::mem::take(&mut scratch.slots);
        slots.clear();
        slots.extend(beside);
        if is_complete {
            if !slots.is_empty() {
                let mut walked = std::mem::take(&mut scratch.walked);
                walked.clone_from(out);
                scan(vectors, unit, wanted, &slots, scratch, out);
                out.append(&mut walked);
                out.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                out.truncate(k);
                scratch.walked = walked;
            }
        } else {
            slots.extend(self.nodes().filter(|&slot| filter(slot)));
            scan(vectors, unit, wanted, &slots, scratch, out);
        }
        scratch.slots = slots;
    }

    /// About how many nodes pass, from a sample spread evenly.
    fn passing(&self, filter: impl Fn(Slot) -> bool) -> usize {
        let slots = self.levels.len();
        let step = slots.div_ceil(SAMPLED).max(1);
        let sampled =
            || (0..slots).step_by(step).map(|slot| slot as Slot).filter(|&slot| self.contains(slot));
        let passing = sampled().filter(|&slot| filter(slot)).count();
        self.len() * passing / sampled().count().max(1)
    }

    /// Walks greedily from the entry point down to the layer above `level`; leaves in `found` where to go on from.
    pub(super) fn descend<C: Compare>(&self, probe: &C, entry: Slot, level: u8, scratch: &mut Scratch) {
        scratch.found.clear();
        scratch.found.push(Ranked::new(probe.similarity(entry), entry));
        for layer in (level + 1..=self.levels[entry as usize]).rev() {
            self.search_layer(probe, layer, 1, |_| true, scratch);
        }
    }

    /// Algorithm 2: from the nodes in `found` to the `ef` nearest nodes of the layer that pass the filter.
    pub(super) fn search_layer<C: Compare>(
        &self,
        probe: &C,
        layer: u8,
        ef: usize,
        filter: impl Fn(Slot) -> bool,
        scratch: &mut Scratch,
    ) {
        scratch.begin(self.levels.len(), C::KEEPS);
        scratch.start(C::KEEPS, ef, &filter);
        let Scratch { epoch, seen, similarities, frontier, nearest, fresh, found, .. } = scratch;
        // Nothing below the worst of ef results can become one, nor lead to one as far as this search will look.
        let mut bar = if nearest.len() == ef { nearest.peek().map(|worst| worst.0) } else { None };
        let mut visits_left = ef.max(VISITS_EF_MIN).saturating_mul(VISITS_PER_EF_MAX);
        let ahead = self.tuning.prefetch_distance;
        while let Some(current) = frontier.pop() {
            if bar.is_some_and(|bar| current < bar) || visits_left == 0 {
                break;
            }
            if let Some(next) = frontier.peek() {
                self.prefetch_links(layer, next.slot());
            }
            pick_unseen(self.links(layer, current.slot()), *epoch, seen, fresh);
            visits_left = visits_left.saturating_sub(fresh.len());
            fresh.iter().take(ahead).for_each(|&slot| probe.prefetch(slot));
            let mut compared = [0.0; BATCH_MAX];
            for (batch, slots) in fresh.chunks(self.tuning.batch).enumerate() {
                let start = batch * self.tuning.batch;
                for (at, &slot) in slots.iter().enumerate() {
                    if let Some(&slot) = fresh.get(start + at + ahead) {
                        probe.prefetch(slot);
                    }
                    compared[at] = probe.similarity(slot);
                }
                for (&slot, &similarity) in slots.iter().zip(&compared) {
                    if C::KEEPS {
                        similarities[slot as usize] = similarity;
                    }
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
        }
        found.clear();
        found.extend(nearest.drain().map(|Reverse(ranked)| ranked));
        found.sort_unstable_by(|a, b| b.cmp(a));
    }

    #[inline]
    fn prefetch_links(&self, layer: u8, slot: Slot) {
        if layer == 0 {
            self.ground.prefetch(slot as usize);
        }
    }
}

/// Leaves in `fresh` those of the links that this pass has not seen, and marks them. Without a branch that would be guessed
/// wrong for every third link.
#[inline]
fn pick_unseen(links: &[Slot], epoch: u8, seen: &mut [u8], fresh: &mut Vec<Slot>) {
    fresh.resize(links.len(), 0);
    let mut count = 0;
    for &slot in links {
        let seen = &mut seen[slot as usize];
        fresh[count] = slot;
        count += usize::from(*seen != epoch);
        *seen = epoch;
    }
    fresh.truncate(count);
}

/// The k of `slots` nearest to `unit` (of length 1), best first, of equals the lower slot first, by comparing the codes of
/// all and the rows of the best: nearly always what `exact_search` finds, for an eighth of the reading. Each slot has a row
/// and comes once.
pub fn scan(
    vectors: &Vectors,
    unit: &[f32],
    wanted: Wanted,
    slots: &[Slot],
    scratch: &mut Scratch,
    out: &mut Vec<(Slot, f32)>,
) {
    out.clear();
    let mut cue = std::mem::take(&mut scratch.cue);
    cue.set(unit);
    if vectors.coarse_suffices() {
        scan_by(&ByCoarse { vectors, cue: &cue }, wanted.k.max(wanted.by_rows), slots, scratch);
    } else {
        scan_by(&ByWhole { vectors, cue: &cue }, wanted.k.max(wanted.by_rows), slots, scratch);
    }
    rank(vectors, unit, &cue, wanted, &mut scratch.found);
    scratch.cue = cue;
    out.extend(scratch.found.iter().take(wanted.k).map(|found| (found.slot(), found.similarity())));
}

/// Leaves in `found`, in any order, the `count` of the slots that are nearest by the probe.
fn scan_by<C: Compare>(probe: &C, count: usize, slots: &[Slot], scratch: &mut Scratch) {
    let Scratch { nearest, found, .. } = scratch;
    nearest.clear();
    for (at, &slot) in slots.iter().enumerate() {
        if let Some(&ahead) = slots.get(at + SCAN_AHEAD) {
            probe.prefetch(ahead);
        }
        let ranked = Ranked::new(probe.similarity(slot), slot);
        if nearest.len() < count {
            nearest.push(Reverse(ranked));
        } else if nearest.peek().is_some_and(|worst| ranked > worst.0) {
            *nearest.peek_mut().expect("it was peeked at just now") = Reverse(ranked);
        }
    }
    found.clear();
    found.extend(nearest.drain().map(|Reverse(ranked)| ranked));
}

/// Orders what was found by codes, or their upper halves: all by whole codes, and the best of these by rows.
fn rank(vectors: &Vectors, unit: &[f32], cue: &CueCode, wanted: Wanted, found: &mut [Ranked]) {
    rank_by_codes(vectors, cue, found);
    let by_rows = wanted.by_rows.min(found.len());
    rank_by_rows(vectors, unit, &mut found[..by_rows]);
}

/// Puts what a search by the upper halves of codes has found into the order of whole codes.
fn rank_by_codes(vectors: &Vectors, cue: &CueCode, found: &mut [Ranked]) {
    found.iter().take(2 * ROWS_AHEAD).for_each(|found| vectors.prefetch_fine(found.slot()));
    for at in 0..found.len() {
        if let Some(ahead) = found.get(at + 2 * ROWS_AHEAD) {
            vectors.prefetch_fine(ahead.slot());
        }
        let slot = found[at].slot();
        found[at] = Ranked::new(cue.similarity(vectors.code(slot)), slot);
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
}

/// Puts what a search by codes has found into the order of the rows themselves.
fn rank_by_rows(vectors: &Vectors, unit: &[f32], found: &mut [Ranked]) {
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
