//! The segment that frames are appended to: where its last frame ends, what is allocated after it, and how bytes get
//! there. Always true: after `end` the file holds zeros or nothing, unless a failed write was not taken back.
//!
//! **Ahead.** To sync a file that grew, a file system writes its own journal, too. So zeros are written ahead of the
//! frames: to the end of a block always, which takes no more of the disk, and from a quarter of `ahead_bytes_max` on by
//! as much as the segment holds, up to that bound; small logs stay small. Zeros, and not `fallocate`: blocks that were
//! only reserved are marked as written with their first bytes, in that same journal (so PostgreSQL: `wal_init_zero`).
//! Where the disk has no room for them, frames do without. The last segment may end in zeros, others never do.
//!
//! **Direct.** Past the page cache whole blocks are written from a block's start, so the last block is kept and written
//! again with what follows. The header is written before, through the page cache, and read back only when a log is opened.

use crate::error::Result;
use crate::limits::{BLOCK_BYTES, BUFFER_KEPT_BYTES_MAX};
use crate::log::LogOptions;
use crate::record::encode_frame;
use crate::vfs::{File, Vfs};
use std::path::Path;

#[derive(Debug)]
pub(crate) struct Active {
    file: Box<dyn File>,
    options: LogOptions,
    is_direct: bool,
    /// Where the last written frame ends.
    end: u64,
    /// Size of the file: what is between `end` and it is zeros.
    size: u64,
    /// Where `buffer` begins: at `end`, or at the block that `end` lies in.
    start: u64,
    /// What is written next. Under direct I/O it begins with what that block has already.
    buffer: Vec<u8>,
}

impl Active {
    /// The segment at `path`, whose frames end at `end`, as the file does. It is open as `file`, and synced.
    pub(crate) fn open(
        vfs: &dyn Vfs,
        path: &Path,
        file: Box<dyn File>,
        end: u64,
        options: LogOptions,
    ) -> Result<Active> {
        let mut active =
            Active { file, options, is_direct: false, end, size: end, start: end, buffer: Vec::new() };
        if options.is_direct
            && let Some(direct) = vfs.open_direct(path)?
        {
            let kept = (end % BLOCK_BYTES) as usize;
            active.start = end - kept as u64;
            active.buffer = vec![0; kept];
            let read = active.file.read_at(active.start, &mut active.buffer)?;
            assert_eq!(read, kept, "the file is as long as its frames");
            active.file = direct;
            active.is_direct = true;
        }
        Ok(active)
    }

    /// Where the last written frame ends.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Whether it is written past the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Adds a frame to what is written next.
    pub(crate) fn push(&mut self, sequence: u64, durable_through: u64, payload: &[u8]) {
        let at = self.pushed_end();
        encode_frame(&mut self.buffer, at, sequence, durable_through, payload);
    }

    /// Where the last frame ends that was pushed.
    pub(crate) fn pushed_end(&self) -> u64 {
        self.start + self.buffer.len() as u64
    }

    /// Writes what was pushed, with zeros ahead where the file has to grow. After an error, take it back.
    pub(crate) fn write_ahead(&mut self) -> Result<()> {
        let end = self.pushed_end();
        self.write_and_fill(end, self.allocated(end))
    }

    /// Writes what was pushed and nothing else. After an error, take it back.
    pub(crate) fn write_alone(&mut self) -> Result<()> {
        let end = self.pushed_end();
        self.write_and_fill(end, end)
    }

    /// Whether the next write would put zeros ahead that it can do without.
    pub(crate) fn would_write_ahead(&self) -> bool {
        let end = self.pushed_end();
        self.needed(end) > self.size && self.allocated(end) > self.needed(end)
    }

    /// Removes what was pushed, and what a failed write may have left of it, durably.
    pub(crate) fn take_back(&mut self) -> Result<()> {
        self.fill_to(self.end);
        self.size = self.end;
        self.file.truncate(self.end)?;
        self.file.sync()
    }

    /// Cuts off the zeros ahead. Durable after a sync. Returns whether there were any.
    pub(crate) fn trim(&mut self) -> Result<bool> {
        if self.size == self.end {
            return Ok(false);
        }
        self.file.truncate(self.end)?;
        self.size = self.end;
        Ok(true)
    }

    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync()
    }

    /// The size that the file gets when frames that end at `end` make it grow.
    fn allocated(&self, end: u64) -> u64 {
        let LogOptions { ahead_bytes_max, segment_bytes_max, .. } = self.options;
        if ahead_bytes_max == 0 {
            return end;
        }
        let ahead = if end >= ahead_bytes_max / 4 { end.min(ahead_bytes_max) } else { 0 };
        let wanted = (end + ahead).min(segment_bytes_max.max(end));
        wanted.next_multiple_of(BLOCK_BYTES)
    }

    /// The end of what must be written for frames that end at `end`.
    fn needed(&self, end: u64) -> u64 {
        if self.is_direct { end.next_multiple_of(BLOCK_BYTES) } else { end }
    }

    /// Writes frames that end at `end`, and where the file has to grow for them, zeros up to `size`.
    fn write_and_fill(&mut self, end: u64, size: u64) -> Result<()> {
        let needed = self.needed(end);
        let written_end = if needed > self.size { needed.max(size) } else { needed };
        self.fill_to(written_end);
        self.file.write_at(self.start, &self.buffer)?;
        self.size = self.size.max(written_end);
        self.finish(end);
        Ok(())
    }

    /// Makes the buffer end at `end`.
    fn fill_to(&mut self, end: u64) {
        self.buffer.resize((end - self.start) as usize, 0);
    }

    /// Keeps of the buffer what is written again with the next frames.
    fn finish(&mut self, end: u64) {
        let start = if self.is_direct { end / BLOCK_BYTES * BLOCK_BYTES } else { end };
        self.fill_to(end);
        self.buffer.drain(..(start - self.start) as usize);
        self.buffer.shrink_to(BUFFER_KEPT_BYTES_MAX);
        self.start = start;
        self.end = end;
    }
}
