//! The links of the nodes of a layer: for each node a row of slots with their similarities, best order not kept. Says
//! nothing about what a link means; who changes one end changes the other.

use crate::Slot;
use crate::kernels::prefetch;
use crate::platform::Paging;
use crate::rows::Rows;

/// No row in the upper block.
pub(super) const NO_ROW: u32 = u32::MAX;

/// A slot with its similarity in one integer whose order is the order of results: the nearer is greater, and of equals
/// the lower slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ranked(u64);

impl Ranked {
    #[inline]
    pub(super) fn new(similarity: f32, slot: Slot) -> Self {
        // The bits of positive floats are ordered as they are; those of negative ones the other way round, below.
        let bits = similarity.to_bits();
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        Self(u64::from(ordered) << 32 | u64::from(!slot))
    }

    #[inline]
    pub(super) fn slot(self) -> Slot {
        !(self.0 as u32)
    }

    #[inline]
    pub(super) fn similarity(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
    }
}

/// Rows of links of one width: the diverse ones first, then the filler.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// For each row its number of links, and of diverse ones.
    pub(super) lens: Vec<u8>,
    pub(super) diverse: Vec<u8>,
    /// For each row that of the same node one layer up, in the upper block.
    pub(super) above: Vec<u32>,
    slots: Rows<Slot>,
    similarities: Rows<f32>,
}

impl Block {
    pub(super) fn new(width: usize, paging: Paging) -> Self {
        Self {
            lens: Vec::new(),
            diverse: Vec::new(),
            above: Vec::new(),
            slots: Rows::new(width, paging),
            similarities: Rows::new(width, paging),
        }
    }

    /// Links that a row has room for.
    pub(super) fn width(&self) -> usize {
        self.slots.width()
    }

    /// Rows there are.
    pub(super) fn rows(&self) -> usize {
        self.lens.len()
    }

    pub(super) fn resize(&mut self, rows: usize) {
        self.lens.resize(rows, 0);
        self.diverse.resize(rows, 0);
        self.above.resize(rows, NO_ROW);
        self.slots.grow(rows);
        self.similarities.grow(rows);
    }

    /// Empties a row.
    pub(super) fn clear(&mut self, row: usize, above: u32) {
        (self.lens[row], self.diverse[row], self.above[row]) = (0, 0, above);
    }

    #[inline]
    pub(super) fn slots(&self, row: usize) -> &[Slot] {
        &self.slots.row(row as Slot)[..usize::from(self.lens[row])]
    }

    /// Asks the processor to fetch the links of a row.
    #[inline]
    pub(super) fn prefetch(&self, row: usize) {
        prefetch(self.slots.row(row as Slot));
        prefetch(&self.lens[row..=row]);
    }

    /// The same with their similarities.
    pub(super) fn prefetch_whole(&self, row: usize) {
        self.prefetch(row);
        prefetch(self.similarities.row(row as Slot));
    }

    #[inline]
    pub(super) fn similarities(&self, row: usize) -> &[f32] {
        &self.similarities.row(row as Slot)[..usize::from(self.lens[row])]
    }

    pub(super) fn push(&mut self, row: usize, to: Ranked, diverse: bool) {
        let len = usize::from(self.lens[row]);
        assert!(len < self.width(), "room was made before");
        self.slots.row_mut(row as Slot)[len] = to.slot();
        self.similarities.row_mut(row as Slot)[len] = to.similarity();
        self.lens[row] += 1;
        if diverse {
            self.swap(row, len, usize::from(self.diverse[row]));
            self.diverse[row] += 1;
        }
    }

    pub(super) fn take(&mut self, row: usize, slot: Slot) {
        let mut at = self.slots(row).iter().position(|&s| s == slot).expect("links have two directions");
        if at < usize::from(self.diverse[row]) {
            at = self.demote(row, at);
        }
        self.swap(row, at, usize::from(self.lens[row]) - 1);
        self.lens[row] -= 1;
    }

    /// Makes a diverse link filler; returns its new place.
    pub(super) fn demote(&mut self, row: usize, at: usize) -> usize {
        self.diverse[row] -= 1;
        let last = usize::from(self.diverse[row]);
        self.swap(row, at, last);
        last
    }

    fn swap(&mut self, row: usize, a: usize, b: usize) {
        self.slots.row_mut(row as Slot).swap(a, b);
        self.similarities.row_mut(row as Slot).swap(a, b);
    }

    pub(super) fn bytes(&self) -> usize {
        self.lens.capacity()
            + self.diverse.capacity()
            + self.above.capacity() * size_of::<u32>()
            + self.slots.bytes()
            + self.similarities.bytes()
    }
}
