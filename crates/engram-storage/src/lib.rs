//! Bytes that survive: a log, checkpoints of it, and the one seam to files.
//! This crate knows payloads and positions, nothing of memories. What `Log::sync` or `CheckpointWriter::finish`
//! confirmed is there after any crash, in order and unaltered, or opening says which file is damaged and where.
//! It starts no thread, reads no clock and uses no randomness, but for `cold`, which talks over a network. Locking a folder is the caller's: `Vfs::try_lock`.

mod active;
pub mod checkpoint;
pub mod cold;
mod draft;
mod error;
mod faulty;
mod limits;
mod log;
mod mapped;
pub mod names;
mod record;
pub mod segment;
mod vfs;

pub use checkpoint::CheckpointWriter;
pub use draft::replace_file;
pub use error::{Error, Result};
pub use faulty::FaultyVfs;
pub use limits::{AHEAD_BYTES_MAX, BATCH_BYTES_MAX, PAYLOAD_BYTES_MAX, SEGMENT_BYTES_MAX};
pub use log::{Log, LogOptions, LogPosition, Recovered};
pub use mapped::Mapped;
pub use segment::{Segment, SegmentWriter};
pub use vfs::{File, Lock, RealVfs, Vfs};
