//! The links of the nodes of a layer: for each node a row of slots with their similarities, best order not kept. Says
//! nothing about what a link means; who changes one end changes the other.

use crate::Slot;

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
    pub(super) width: usize,
    pub(super) heads: Vec<Head>,
    pub(super) slots: Vec<Slot>,
    pub(super) similarities: Vec<f32>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// The row of the same node one layer up, in the upper block.
    pub(super) above: u32,
    pub(super) len: u8,
    pub(super) diverse: u8,
}

pub(super) const EMPTY: Head = Head { above: NO_ROW, len: 0, diverse: 0 };

impl Block {
    pub(super) fn new(width: usize) -> Self {
        Self { width, heads: Vec::new(), slots: Vec::new(), similarities: Vec::new() }
    }

    pub(super) fn resize(&mut self, rows: usize) {
        self.heads.resize(rows, EMPTY);
        self.slots.resize(rows * self.width, 0);
        self.similarities.resize(rows * self.width, 0.0);
    }

    #[inline]
    pub(super) fn slots(&self, row: usize) -> &[Slot] {
        &self.slots[row * self.width..][..usize::from(self.heads[row].len)]
    }

    #[inline]
    pub(super) fn similarities(&self, row: usize) -> &[f32] {
        &self.similarities[row * self.width..][..usize::from(self.heads[row].len)]
    }

    pub(super) fn push(&mut self, row: usize, to: Ranked, diverse: bool) {
        let len = usize::from(self.heads[row].len);
        assert!(len < self.width, "room was made before");
        self.slots[row * self.width + len] = to.slot();
        self.similarities[row * self.width + len] = to.similarity();
        self.heads[row].len += 1;
        if diverse {
            self.swap(row, len, usize::from(self.heads[row].diverse));
            self.heads[row].diverse += 1;
        }
    }

    pub(super) fn take(&mut self, row: usize, slot: Slot) {
        let mut at = self.slots(row).iter().position(|&s| s == slot).expect("links have two directions");
        if at < usize::from(self.heads[row].diverse) {
            at = self.demote(row, at);
        }
        self.swap(row, at, usize::from(self.heads[row].len) - 1);
        self.heads[row].len -= 1;
    }

    /// Makes a diverse link filler; returns its new place.
    pub(super) fn demote(&mut self, row: usize, at: usize) -> usize {
        self.heads[row].diverse -= 1;
        let last = usize::from(self.heads[row].diverse);
        self.swap(row, at, last);
        last
    }

    fn swap(&mut self, row: usize, a: usize, b: usize) {
        let start = row * self.width;
        self.slots.swap(start + a, start + b);
        self.similarities.swap(start + a, start + b);
    }

    pub(super) fn bytes(&self) -> usize {
        self.heads.capacity() * size_of::<Head>()
            + self.slots.capacity() * size_of::<Slot>()
            + self.similarities.capacity() * size_of::<f32>()
    }
}
