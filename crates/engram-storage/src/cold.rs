//! Cold files: rows of memories, columnar and compressed, in an object store or a folder.
//!
//! Owns what a cold file looks like and the talk with the store. A file is written once, under a name that did not
//! exist, and never changed. Every byte is under a checksum that is looked at before the byte is believed; what is wrong
//! is asked for once more before a file is called damaged. What cannot be reached, after the retries of `object_store`,
//! is `Error::Unreachable`; a `put` that ended so may have happened, and repeating it with the same rows is right either
//! way. Only creation of what is absent is asked of a store, never compare-and-swap. `ColdStore` owns two threads for its
//! connections; no other part of this crate has any.
//!
//! # The file
//!
//! Apache Parquet, of nothing but what pyarrow, pandas, polars and DuckDB read. Columns:
//!
//! | column | type | |
//! |---|---|---|
//! | `id` | string | |
//! | `arrival`, `version` | uint64 | order of arrival; version of the memory |
//! | `content` | string or null | |
//! | `embedding_0` to `embedding_3` | fixed_size_binary(d) or null | of each of the d numbers, an IEEE 754 float, one byte: `embedding_3` has sign and exponent. Exact. Absent where no row has a vector |
//! | `occurred_at`, `stored_at` | timestamp[us, UTC] | |
//! | `context` | string or null | |
//! | `kind` | string | |
//! | `confidence` | float | |
//! | `expires_at` | timestamp[us, UTC] or null | |
//! | `entities` | list of string | |
//! | `links`, `metadata` | string | a JSON array, a JSON object |
//!
//! Rows lie in row groups of about `GROUP_BYTES` before compression: one range of bytes that holds every column of its
//! rows, and what a read of one row fetches. Integers are encoded DELTA_BINARY_PACKED, all else PLAIN; pages carry
//! Parquet's CRC-32. Each byte of the vectors' numbers has a column of its own because they compress differently:
//! `embedding_3` to some .4, the others hardly, or all but `embedding_2` where the vectors were 16-bit floats once. In
//! one column, encoded BYTE_STREAM_SPLIT, a file was a twentieth larger. The footer's key-value metadata adds:
//!
//! - `engram.format`: 2. Format 1 had one column for vectors, `embedding`, of fixed_size_binary(4 d) encoded
//!   BYTE_STREAM_SPLIT, which DuckDB and polars do not read. It is read here.
//! - `engram.groups`: CRC-32C of the bytes of each row group, eight hexadecimal digits each, in order.
//! - `engram.tail`: CRC-32C of all that follows the last row group, taken with these eight digits as zeros.
//!
//! So every byte but the four of magic at the start is under a CRC-32C.
//!
//! # Large files
//!
//! Above `MULTIPART_BYTES` a file goes up in parts, whose completion cannot be told to create only. So the name is taken
//! first by a small object, a claim, which says the size and the checksum of what will come; the completed upload
//! replaces it at once. A claim reads as absent. Who puts the same rows again goes on with it.

mod cache;
mod columns;
mod endpoint;
mod faulty;
mod objects;
mod probe;
mod store;
mod tail;

pub use faulty::{Fault, FaultyObjects};
pub use store::ColdStore;

use std::path::PathBuf;
use std::time::Duration;

/// Bytes of rows, before compression, after which a row group ends. A read of one row fetches a group; below some 64
/// vectors in one, their streams compress worse.
pub const GROUP_BYTES: usize = 256 << 10;

/// Bytes above which a file goes up in parts.
pub const MULTIPART_BYTES: usize = 64 << 20;

/// One memory in a cold file. Times are microseconds since 1970 UTC.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ColdRow {
    /// The memory's name in its space.
    pub id: String,
    /// Its place in the order of arrival.
    pub arrival: u64,
    /// Version of the change that made it so.
    pub version: u64,
    /// Text.
    pub content: Option<String>,
    /// Vector; all of one file have as many numbers. Kept bit for bit.
    pub embedding: Option<Vec<f32>>,
    /// When what it tells of happened.
    pub occurred_at: i64,
    /// When it was stored.
    pub stored_at: i64,
    /// Context it belongs to.
    pub context: Option<String>,
    /// Episode, concept, or what callers named.
    pub kind: String,
    /// How sure its source was, 0..=1.
    pub confidence: f32,
    /// When it expires.
    pub expires_at: Option<i64>,
    /// Names that callers gave it.
    pub entities: Vec<String>,
    /// A JSON array.
    pub links: String,
    /// A JSON object.
    pub metadata: String,
}

/// How the pages of cold files are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Zstandard at a level of 1..=22.
    Zstd(u32),
    /// LZ4: faster, and hardly smaller than the vectors.
    Lz4,
    /// Not at all.
    None,
}

/// Where cold files lie and how they are reached.
#[derive(Clone, Debug)]
pub struct ColdOptions {
    /// `s3://bucket/prefix` or `file:///folder`. What S3 needs besides comes from the `AWS_*` variables.
    pub endpoint: String,
    /// What errors call the endpoint.
    pub setting: &'static str,
    /// How new files are compressed.
    pub compression: Compression,
    /// Folder for what was fetched, on a fast disk. All cached files in it are deleted when the store is opened.
    pub cache_dir: Option<PathBuf>,
    /// Most bytes kept there.
    pub cache_bytes_max: u64,
    /// Most bytes of RAM for what is known of the files' row groups: some 100 a group, of about 80 rows.
    pub tails_bytes_max: usize,
    /// How long one request may take.
    pub timeout: Duration,
    /// How long an answer may be waited for over all retries of a request, which wait longer from one to the next.
    pub patience: Duration,
}

impl Default for ColdOptions {
    fn default() -> ColdOptions {
        ColdOptions {
            endpoint: String::new(),
            setting: "storage.cold_tier_endpoint",
            compression: Compression::Zstd(3),
            cache_dir: None,
            cache_bytes_max: 0,
            tails_bytes_max: 64 << 20,
            timeout: Duration::from_secs(30),
            patience: Duration::from_secs(60),
        }
    }
}

/// What reads of rows met since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColdStats {
    /// Row groups and tails found in the cache.
    pub cached: u64,
    /// Row groups and tails fetched from the store.
    pub fetched: u64,
    /// Files that could not be written to the cache, or were not sound there. Reads went to the store.
    pub cache_failures: u64,
}
