//! Wire types of snapshots and of the backups that are made from them.

use engram::{NotedBackup, Receipt, Snapshot, SnapshotFile};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

use super::Time;

objects! {
    BackupIn: "an object such as {\"place\": \"s3://bucket/backups\"}",
}

/// A space as of one moment, readable file by file until it is deleted or nobody reads it for ten minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotOut {
    /// Its id.
    pub id: String,
    /// The space.
    pub space: String,
    /// Place of the newest change in it.
    pub position: u64,
    /// Memories in it, give or take those that were being written.
    pub memories: u64,
    /// All that it consists of; requests name a file by its place here, from 0 on.
    pub files: Vec<SnapshotFileOut>,
}

/// A file of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFileOut {
    /// Its name in the folder of the space, or in the cold tier.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Whether it lies in the cold tier, where no name is used twice.
    pub cold: bool,
}

impl SnapshotOut {
    /// A snapshot under an id.
    pub fn new(id: String, snapshot: &Snapshot) -> Self {
        let file = |file: &SnapshotFile| SnapshotFileOut {
            name: file.name().to_owned(),
            bytes: file.bytes(),
            cold: file.is_cold(),
        };
        SnapshotOut {
            id,
            space: snapshot.space().name().to_string(),
            position: snapshot.position(),
            memories: snapshot.memories() as u64,
            files: snapshot.files().iter().map(file).collect(),
        }
    }
}

/// Which bytes of which file of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BytesQuery {
    /// Its place in `files`.
    pub file: usize,
    /// The first byte.
    pub offset: u64,
    /// How many, at most 16 MiB; all that are left, up to there.
    pub bytes: Option<u64>,
}

/// What a file of a snapshot holds, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sha256Out {
    /// SHA-256 in hexadecimal digits; absent while the file is being read: ask again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Bytes that were read for it so far.
    #[serde(default)]
    pub hashed_bytes: u64,
}

/// A backup that holds a space, to be noted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
pub struct BackupIn {
    /// Where it is, as a URL.
    pub place: String,
}

/// A backup that holds a space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupOut {
    /// Its id.
    pub id: String,
    /// Where it is, as a URL.
    pub place: String,
}

/// The backups that hold a space, as far as they were noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupsOut {
    /// Oldest first.
    pub backups: Vec<BackupOut>,
}

impl From<Vec<NotedBackup>> for BackupsOut {
    fn from(noted: Vec<NotedBackup>) -> Self {
        let backup = |NotedBackup { id, place }| BackupOut { id, place };
        BackupsOut { backups: noted.into_iter().map(backup).collect() }
    }
}

/// What was erased with a space. Freed blocks of the disk are not overwritten.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReceiptOut {
    /// When.
    pub erased_at: Time,
    /// Memories.
    pub memories: u64,
    /// Those of them that consolidation had made of others.
    pub concepts: u64,
    /// Of the log.
    pub log: ErasedOut,
    /// Checkpoints.
    pub checkpoints: ErasedOut,
    /// Segments of the warm tier.
    pub segments: ErasedOut,
    /// Files in the cold tier.
    pub cold_files: u64,
    /// Backups that still hold the space, as far as they were noted here.
    pub backups: Vec<BackupOut>,
}

/// Files that were erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedOut {
    /// How many.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl From<Receipt> for ReceiptOut {
    fn from(receipt: Receipt) -> Self {
        let erased = |[files, bytes]: [u64; 2]| ErasedOut { files, bytes };
        ReceiptOut {
            erased_at: Time(receipt.erased_at),
            memories: receipt.summary.memories as u64,
            concepts: receipt.concepts as u64,
            log: erased(receipt.log),
            checkpoints: erased(receipt.checkpoints),
            segments: erased(receipt.segments),
            cold_files: receipt.cold_files as u64,
            backups: BackupsOut::from(receipt.backups).backups,
        }
    }
}
