//! Every bound of this crate, in one place.

/// Largest payload of one frame, in bytes. A memory with its vectors is a few KiB; this leaves room for documents
/// and bounds what a reader must hold.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// Largest batch of one append, in bytes with frame headers: the write buffer grows to this at most.
pub const BATCH_BYTES_MAX: usize = 128 << 20;

/// A new segment starts before the active one would pass this many bytes. Large enough that 10 GB are 160 files,
/// small enough that removing whole segments after a checkpoint frees space soon.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Bytes read from or written to a file at once where the caller did not choose.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;

/// A write buffer larger than this is given back after use: an idle log then holds little memory.
pub(crate) const BUFFER_KEPT_BYTES_MAX: usize = 1 << 20;

/// What a file is allocated in, and what direct I/O reads and writes multiples of: the block of nearly every disk and
/// file system, and the page of most processors.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// Zeros that are written ahead of a log's frames, in bytes. One sync in 1,700 of single memories then takes a
/// millisecond longer, and the others 60 microseconds less (bench/results/2026-11-21-log.txt).
pub const AHEAD_BYTES_MAX: u64 = 1 << 20;
