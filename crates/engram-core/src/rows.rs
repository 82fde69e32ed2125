//! Rows of one width that grow without being moved: a table of blocks, each a power of two of rows. So growing never
//! copies more than a small first block, and what is not used of the last one takes no memory, unless blocks lie in files.

use crate::Slot;
use crate::platform::{Block, BlockFiles, Paging};
use bytemuck::Pod;
use std::sync::Arc;

/// Bytes of a full block, about: a power of two of rows.
const BLOCK_BYTES: usize = 32 << 20;

/// Rows, numbered from 0, of `width` numbers each, zero at first.
pub(crate) struct Rows<T> {
    width: usize,
    paging: Paging,
    /// What the blocks lie in; none: the memory of the process.
    files: Option<Arc<BlockFiles>>,
    /// Rows there are.
    len: usize,
    /// A full block has 1 << block_bits rows.
    block_bits: u32,
    /// All full but the only one, which grows by doubling.
    blocks: Vec<Block<T>>,
}

impl<T: Pod> Rows<T> {
    pub(crate) fn new(width: usize, paging: Paging) -> Self {
        Self::in_files(width, paging, None)
    }

    pub(crate) fn in_files(width: usize, paging: Paging, files: Option<Arc<BlockFiles>>) -> Self {
        let row_bytes = (width * size_of::<T>()).max(1);
        Self {
            width,
            paging,
            files,
            len: 0,
            block_bits: (BLOCK_BYTES / row_bytes).max(1).ilog2(),
            blocks: Vec::new(),
        }
    }

    /// Numbers a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Rows there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.len * self.width * size_of::<T>()
    }

    /// Makes room for at least `len` rows.
    pub(crate) fn grow(&mut self, len: usize) {
        if len <= self.len {
            return;
        }
        let full = 1 << self.block_bits;
        let first = self.blocks.first().map_or(0, |block| block.len() / self.width);
        if first < full && first < len {
            let mut block = self.block(len.next_power_of_two().min(full));
            if let Some(old) = self.blocks.pop() {
                block[..old.len()].copy_from_slice(&old);
            }
            self.blocks.push(block);
        }
        while self.blocks.len() << self.block_bits < len {
            self.blocks.push(self.block(full));
        }
        self.len = len;
    }

    fn block(&self, rows: usize) -> Block<T> {
        match &self.files {
            Some(files) => files.block(rows * self.width, self.paging),
            None => Block::zeroed(rows * self.width, self.paging),
        }
    }

    #[inline]
    pub(crate) fn row(&self, row: Slot) -> &[T] {
        let within = row as usize & ((1 << self.block_bits) - 1);
        &self.blocks[row as usize >> self.block_bits][within * self.width..][..self.width]
    }

    #[inline]
    pub(crate) fn row_mut(&mut self, row: Slot) -> &mut [T] {
        let within = row as usize & ((1 << self.block_bits) - 1);
        &mut self.blocks[row as usize >> self.block_bits][within * self.width..][..self.width]
    }
}

impl<T: Pod> Clone for Rows<T> {
    fn clone(&self) -> Self {
        let mut rows = Self::in_files(self.width, self.paging, self.files.clone());
        rows.grow(self.len);
        for (block, own) in rows.blocks.iter_mut().zip(&self.blocks) {
            let len = block.len().min(own.len());
            block[..len].copy_from_slice(&own[..len]);
        }
        rows
    }
}

impl<T> std::fmt::Debug for Rows<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("len", &self.len).field("width", &self.width).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_as_they_are_while_others_come() {
        for width in [1, 3, 100, 1 << 20] {
            let mut rows: Rows<u32> = Rows::new(width, Paging::Ordinary);
            let count = ((BLOCK_BYTES / 4 / width) * 2 + 2).min(50);
            for row in 0..count as Slot {
                rows.grow(row as usize + 1);
                assert!(rows.row(row).iter().all(|&number| number == 0));
                rows.row_mut(row).fill(row + 1);
            }
            rows.grow(3);
            let copy = rows.clone();
            for row in 0..count as Slot {
                assert!(copy.row(row).iter().all(|&number| number == row + 1), "row {row} of {width}");
            }
            assert_eq!((rows.len, rows.bytes()), (count, count * width * 4));
        }
    }

    #[test]
    fn many_rows_fill_several_blocks() {
        let mut rows: Rows<u32> = Rows::new(1024, Paging::Huge);
        rows.grow(20_000);
        assert_eq!(rows.blocks.len(), 3);
        (0..20_000).for_each(|row| rows.row_mut(row)[1023] = row);
        assert!((0..20_000).all(|row| rows.row(row)[1023] == row && rows.row(row)[0] == 0));
    }
}
