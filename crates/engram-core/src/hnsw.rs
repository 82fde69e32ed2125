//! Finds the vectors nearest to a cue without reading them all: a hierarchical navigable small world graph (Malkov &
//! Yashunin 2018, arXiv:1603.09320; "algorithm n" below is theirs). Owns the links between slots and nothing else: rows
//! and codes live in `Vectors`; higher similarity is nearer. `links` stores, `search` walks, `build` changes, `codec`
//! saves and checks.
//!
//! What always holds: every link is stored at both of its ends with one similarity, the cosine of the codes of its ends; a
//! node on layer l is on every layer below; layer 0 takes `2 * m` links a node, the layers above `m`; the entry point is on
//! the top layer. The same calls give the same graph: equal similarities are decided by slot, and levels come in from
//! outside.
//!
//! Where it differs from the paper:
//! 1. Links have two directions, so that a removed node leaves no trace and costs only its neighbourhood.
//! 2. A node's links are either diverse (no diverse link that is nearer dominates them: algorithm 4) or filler. A full
//!    node makes room for a newcomer by dropping its worst filler, and learns that from one comparison with each diverse
//!    link, most of which the search has just made; the paper runs algorithm 4 on the whole list each time.
//! 3. Room is never made at the cost of a node that has few links left (`links_min`), else outliers would get lost.
//! 4. The expensive part of an insertion only reads (`prepare`); `commit` checks that what it found is still there.
//! 5. The graph is built in int8 codes alone, so that all of its similarities agree on which vectors are copies. A search
//!    walks by the upper halves of codes, where these tell the vectors apart (`Vectors::coarse_suffices`); what it has found
//!    it orders by whole codes, and the best of that by the cosine of the rows themselves.

mod build;
mod codec;
mod links;
mod search;

pub use build::InsertPlan;
pub use search::{Scratch, Wanted, exact_search, scan};

use crate::Slot;
use crate::error::{Error, Result};
use crate::platform::Paging;
use links::Block;
use std::cmp::Reverse;

/// Highest layer. With m = 2 one node in 65,536 gets there, and larger m never does in practice.
const LEVEL_MAX: u8 = 16;

/// Largest m: the links of a row, at most 2 * m, must have a bit each in a u128.
const M_MAX: usize = 64;

/// Largest breadth of a search, in nodes.
const EF_MAX: usize = 4096;

/// Largest batch of comparisons.
const BATCH_MAX: usize = 64;

/// The level of a slot that is not in the graph.
const ABSENT: u8 = u8::MAX;

/// The shape of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HnswParams {
    /// Links that a new node makes on each layer, 2..=64; layer 0 has room for twice as many.
    pub m: usize,
    /// Breadth of the search that finds the neighbours of a new node, m..=4096.
    pub ef_construction: usize,
    /// Breadth of a search that does not say, 1..=4096.
    pub ef_search: usize,
}

impl Default for HnswParams {
    fn default() -> Self {
        Self { m: 16, ef_construction: 200, ef_search: 100 }
    }
}

impl HnswParams {
    /// Checks that each number is in its range.
    pub fn check(&self) -> Result<()> {
        let fault = |name: &str, value: usize, min: usize, max: usize| {
            Err(Error::Invalid(format!("{name} is {value}, it must be {min} to {max}")))
        };
        if !(2..=M_MAX).contains(&self.m) {
            return fault("hnsw_index.M", self.m, 2, M_MAX);
        }
        if !(self.m..=EF_MAX).contains(&self.ef_construction) {
            return fault("hnsw_index.ef_construction", self.ef_construction, self.m, EF_MAX);
        }
        if !(1..=EF_MAX).contains(&self.ef_search) {
            return fault("hnsw_index.ef_search", self.ef_search, 1, EF_MAX);
        }
        Ok(())
    }
}

/// The graph over the slots of a space. See the module for what holds and how it works.
#[derive(Debug, Clone)]
pub struct Hnsw {
    params: HnswParams,
    entry: Option<Slot>,
    /// For each slot its highest layer, or `ABSENT`.
    levels: Vec<u8>,
    /// For each slot how often a node was removed from it, so that a plan notices.
    generations: Vec<u32>,
    /// For each slot how often its links changed, so that a plan notices.
    edits: Vec<u32>,
    /// Layer 0; the row is the slot.
    ground: Block,
    /// The layers above. `Block::above` leads from a node's row on one layer to that on the next.
    upper: Block,
    upper_free: Vec<u32>,
    /// Nodes on each layer.
    counts: [u32; LEVEL_MAX as usize + 1],
    /// For the rare search within `commit` and `remove`.
    scratch: Scratch,
    tuning: Tuning,
}

/// What makes a search faster or slower on a processor, and changes no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// How many codes ahead of the comparison the fetching runs; 0 fetches none.
    pub prefetch_distance: usize,
    /// Codes that are compared in one go, 1 to 64, before what came out is ranked.
    pub batch: usize,
    /// Where large arrays lie.
    pub paging: Paging,
}

impl Tuning {
    /// Checks that each number is in its range.
    pub fn check(&self) -> Result<()> {
        if !(1..=BATCH_MAX).contains(&self.batch) {
            return Err(Error::Invalid(format!(
                "simd_batch_size is {}, it must be 1 to {BATCH_MAX}",
                self.batch
            )));
        }
        Ok(())
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self { prefetch_distance: 12, batch: 16, paging: Paging::default() }
    }
}

impl Hnsw {
    /// An empty graph. The params have passed `HnswParams::check`.
    pub fn new(params: HnswParams) -> Self {
        Self::tuned(params, Tuning::default())
    }

    /// The same, tuned.
    pub fn tuned(params: HnswParams, tuning: Tuning) -> Self {
        params.check().and_then(|()| tuning.check()).expect("checked when the configuration was read");
        Self {
            params,
            entry: None,
            levels: Vec::new(),
            generations: Vec::new(),
            edits: Vec::new(),
            ground: Block::new(2 * params.m, tuning.paging),
            upper: Block::new(params.m, tuning.paging),
            upper_free: Vec::new(),
            counts: [0; LEVEL_MAX as usize + 1],
            scratch: Scratch::new(),
            tuning,
        }
    }

    /// Nodes.
    pub fn len(&self) -> usize {
        self.counts[0] as usize
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.entry.is_none()
    }

    /// Whether the slot is a node.
    pub fn contains(&self, slot: Slot) -> bool {
        self.levels.get(slot as usize).is_some_and(|&level| level != ABSENT)
    }

    /// As given to `new`.
    pub fn params(&self) -> HnswParams {
        self.params
    }

    /// Sets how broad a search is that does not say, 1..=4096. What is built stays as it is.
    pub(crate) fn set_ef_search(&mut self, ef_search: usize) {
        self.params.ef_search = ef_search;
    }

    /// As given to `tuned`.
    pub fn tuning(&self) -> Tuning {
        self.tuning
    }

    /// Bytes held, vectors not counted.
    pub fn bytes(&self) -> usize {
        self.ground.bytes()
            + self.upper.bytes()
            + self.levels.capacity()
            + (self.generations.capacity() + self.edits.capacity() + self.upper_free.capacity())
                * size_of::<u32>()
            + self.scratch.bytes()
    }

    /// The level of the node whose id has this hash (well mixed, as `MemoryId::stable_hash` is): at least l with
    /// probability m^-l, at most 16. In integers, because logarithms differ between machines.
    pub fn level_for(&self, id_hash: u64) -> u8 {
        let m = self.params.m as u64;
        let mut below = u64::MAX / m;
        let mut level = 0;
        while level < LEVEL_MAX && id_hash < below {
            below /= m;
            level += 1;
        }
        level
    }

    /// Nodes that a search can never reach on layer 0, in ascending order. Nearly always none; removing and inserting
    /// them again brings them back.
    pub fn unreachable(&self) -> Vec<Slot> {
        let Some(entry) = self.entry else { return Vec::new() };
        let mut reached = vec![false; self.levels.len()];
        reached[entry as usize] = true;
        let mut todo = vec![entry];
        while let Some(slot) = todo.pop() {
            for &next in self.links(0, slot) {
                if !std::mem::replace(&mut reached[next as usize], true) {
                    todo.push(next);
                }
            }
        }
        let slots = (0..).zip(&reached);
        slots.filter(|&(slot, &reached)| !reached && self.contains(slot)).map(|(slot, _)| slot).collect()
    }

    #[inline]
    fn row(&self, layer: u8, slot: Slot) -> (&Block, usize) {
        if layer == 0 { (&self.ground, slot as usize) } else { (&self.upper, self.upper_row(layer, slot)) }
    }

    fn row_mut(&mut self, layer: u8, slot: Slot) -> (&mut Block, usize) {
        if layer == 0 {
            (&mut self.ground, slot as usize)
        } else {
            let row = self.upper_row(layer, slot);
            (&mut self.upper, row)
        }
    }

    fn upper_row(&self, layer: u8, slot: Slot) -> usize {
        let mut row = self.ground.above[slot as usize];
        for _ in 1..layer {
            row = self.upper.above[row as usize];
        }
        row as usize
    }

    #[inline]
    fn links(&self, layer: u8, slot: Slot) -> &[Slot] {
        let (block, row) = self.row(layer, slot);
        block.slots(row)
    }

    /// Links that a node must keep when others make room: a quarter of what fits.
    fn links_min(&self, layer: u8) -> usize {
        (self.row_width(layer) / 4).max(1)
    }

    fn row_width(&self, layer: u8) -> usize {
        if layer == 0 { self.ground.width() } else { self.upper.width() }
    }

    fn diverse(&self, layer: u8, slot: Slot) -> usize {
        let (block, row) = self.row(layer, slot);
        usize::from(block.diverse[row])
    }

    fn nodes(&self) -> impl Iterator<Item = Slot> {
        (0..).zip(&self.levels).filter(|&(_, &level)| level != ABSENT).map(|(slot, _)| slot)
    }

    /// The node on the highest layer, of several the lowest slot, leaving one out. Reads one byte a slot.
    fn highest_except(&self, except: Slot) -> Option<Slot> {
        let nodes = (0..).zip(&self.levels).filter(|&(slot, &level)| level != ABSENT && slot != except);
        nodes.max_by_key(|&(slot, &level)| (level, Reverse(slot))).map(|(slot, _)| slot)
    }
}
