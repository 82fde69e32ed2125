//! Bytes of the logs that wait for the disk, of all spaces of an engine together: what `wal.buffer_size_mb` bounds. They
//! lie in the page cache, so a process that dies loses none of them, and a power failure loses at most all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The sum over all logs.
#[derive(Debug, Default, Clone)]
pub(crate) struct Unsynced(Arc<AtomicU64>);

impl Unsynced {
    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A part of the sum, for one log.
    pub(crate) fn part(&self) -> UnsyncedPart {
        UnsyncedPart { sum: self.0.clone(), bytes: 0 }
    }
}

/// What one log adds to the sum, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnsyncedPart {
    sum: Arc<AtomicU64>,
    bytes: u64,
}

impl UnsyncedPart {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.sum.fetch_add(bytes, Ordering::Relaxed);
    }

    /// They wait no more: they are synced, or it is unknown whether they are.
    pub(crate) fn clear(&mut self) {
        self.sum.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for UnsyncedPart {
    fn drop(&mut self) {
        self.clear();
    }
}
