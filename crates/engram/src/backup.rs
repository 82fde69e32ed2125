//! Backups: copies of spaces in a folder or an object store, made while they are written to. A backup is a list of files
//! (`backups/<id>.json`); the files lie beside it, named by what is in them, so that what two backups share is there once
//! and a later one copies only what is new. An id is the time in UTC, to the millisecond, and the first eight digits of
//! the SHA-256 of the list.
//!
//! | object | holds |
//! |---|---|
//! | `backups/<id>.json` | a [`Backup`] |
//! | `files/<2 digits>/<SHA-256>` | a checkpoint, a segment, or a file of a log, up to the position of the backup |
//! | `cold/<space>/<name>.parquet` | a cold file, which carries its own checksums and whose name is never used again |
//! | `writing/<time>-<number>`, `removing/...` | what somebody does there at the moment (`claims`) |

mod claims;
mod run;

pub use run::{Run, Source};

use crate::clock::{Stopwatch, format_rfc3339};
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::{PIECE_BYTES, Snapshot, hexadecimal};
use bytes::Bytes;
use claims::{Claim, Work};
use engram_core::error::shown;
use engram_core::id::{SpaceName, Timestamp};
use engram_storage::Error as StorageError;
use engram_storage::cold::{ColdOptions, ColdStore};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Version of the list. A newer one is refused.
const FORMAT: u32 = 1;
/// Digits of the list's SHA-256 in an id.
const ID_DIGITS: usize = 8;
/// Bytes of a list.
const LIST_BYTES_MAX: u64 = 1 << 30;

/// A backup: which spaces, and which files hold them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// Version of this list, 1.
    pub format: u32,
    /// Version of the program that wrote it.
    pub engram: String,
    /// When it began, RFC 3339.
    pub created_at: String,
    /// Each as of a moment of its own.
    pub spaces: Vec<SpaceCopy>,
    /// Spaces that were to be in it and could not be copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// A space that could not be copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A space in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceCopy {
    /// Its name.
    pub name: String,
    /// Position of its newest request.
    pub position: u64,
    /// Memories in it, give or take those that were being written.
    pub memories: usize,
    /// All that it consists of.
    pub files: Vec<FileCopy>,
}

/// A file of a space in a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCopy {
    /// Its name in the folder of the space, or in the cold tier.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256, in hexadecimal digits; none for a cold file, which has checksums of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

impl FileCopy {
    /// Where it lies in the store.
    pub fn object(&self) -> String {
        match &self.sha256 {
            Some(sha256) => format!("files/{}/{sha256}", sha256.get(..2).unwrap_or("")),
            None => format!("cold/{}", self.name),
        }
    }
}

/// Where the bytes of a space come from: a [`Snapshot`] in this process, or one of a server.
pub trait Origin {
    /// Position of its newest request.
    fn position(&self) -> u64;
    /// Memories in it, give or take those that were being written.
    fn memories(&self) -> usize;
    /// Name, bytes, and whether it is a cold one, for each file.
    fn files(&self) -> Vec<(String, u64, bool)>;
    /// SHA-256 of the file at a place, in hexadecimal digits.
    fn sha256(&self, at: usize) -> Result<String>;
    /// Fills `buffer` from the file at a place, from `offset` on.
    fn read(&self, at: usize, offset: u64, buffer: &mut [u8]) -> Result<()>;
    /// So many more bytes are in the backup.
    fn copied(&self, _bytes: u64) {}
}

impl Origin for Snapshot {
    fn position(&self) -> u64 {
        self.position()
    }

    fn memories(&self) -> usize {
        self.memories()
    }

    fn files(&self) -> Vec<(String, u64, bool)> {
        self.files().iter().map(|file| (file.name().to_string(), file.bytes(), file.is_cold())).collect()
    }

    fn sha256(&self, at: usize) -> Result<String> {
        Self::sha256(self, at).map(str::to_string)
    }

    fn read(&self, at: usize, offset: u64, buffer: &mut [u8]) -> Result<()> {
        Self::read(self, at, offset, buffer)
    }
}

/// What a backup took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Files in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were not there already.
    pub files_copied: u64,
    /// Their bytes.
    pub bytes_copied: u64,
}

/// A place that holds backups: `s3://bucket/prefix` with the usual `AWS_*` variables, `file:///folder`, or a folder.
pub struct Backups {
    pub(crate) store: Arc<ColdStore>,
    place: String,
}

impl Backups {
    /// The backups at a place. A folder is made.
    ///
    /// # Errors
    /// `Invalid` where that is no place.
    pub fn open(place: &str) -> Result<Self> {
        let endpoint = if place.contains("://") {
            place.to_string()
        } else {
            let path = std::path::absolute(place).map_err(|error| {
                Error::new(ErrorKind::Invalid, format!("\"{}\" is no folder: {error}", shown(place)))
            })?;
            format!("file://{}", path.display())
        };
        let store = ColdStore::open(ColdOptions {
            endpoint: endpoint.clone(),
            setting: "the place of backups",
            ..ColdOptions::default()
        })?;
        Ok(Self::with_store(Arc::new(store), endpoint))
    }

    /// The backups in a store that is there already; `place` is what they are noted by.
    pub fn with_store(store: Arc<ColdStore>, place: String) -> Self {
        Self { store, place }
    }

    /// The same, of a place that must be there.
    ///
    /// # Errors
    /// `NotFound` where it is no folder, else as `open`.
    pub fn open_existing(place: &str) -> Result<Self> {
        let folder = place.strip_prefix("file://").unwrap_or(place);
        if !folder.contains("://") && !Path::new(folder).is_dir() {
            let message = format!("there is no folder {folder}; name the one that `engram backup` wrote to");
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        Self::open(place)
    }

    /// As a URL.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Ids, oldest first.
    ///
    /// # Errors
    /// `Busy` where the store does not answer.
    pub fn ids(&self) -> Result<Vec<String>> {
        let found = self.store.list("backups/")?;
        let id = |(name, _): &(String, u64)| {
            Some(name.strip_prefix("backups/")?.strip_suffix(".json")?.to_string())
        };
        Ok(found.iter().filter_map(id).collect())
    }

    /// A backup by its id, or the newest, with its id.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` where the list is not what was written; `Busy` where the store does not answer.
    pub fn get(&self, id: Option<&str>) -> Result<(String, Backup)> {
        let ids = self.ids()?;
        let not_found = |message: String| Err(Error::new(ErrorKind::NotFound, message));
        let id = match id {
            None => ids.last(),
            Some(id) => ids.iter().find(|known| *known == id),
        };
        let Some(id) = id.cloned() else {
            return not_found(match ids.last() {
                None => format!("there are no backups at {}", self.place),
                Some(newest) => {
                    format!(
                        "there is no such backup among the {} at {}; the newest is {newest}",
                        ids.len(),
                        self.place
                    )
                }
            });
        };
        let name = format!("backups/{id}.json");
        let damaged = |reason: String| {
            let message = format!("{name} at {} is damaged: {reason}; take another backup", self.place);
            Error::new(ErrorKind::Corrupt, message)
        };
        let bytes = match self.store.object_bytes(&name)? {
            Some(bytes @ 1..=LIST_BYTES_MAX) => bytes,
            bytes => return Err(damaged(format!("its size is {bytes:?}"))),
        };
        let json = self.store.read_object(&name, 0..bytes)?;
        if !id.ends_with(&hexadecimal(&Sha256::digest(&json))[..ID_DIGITS]) {
            return Err(damaged("its SHA-256 is not that of its name".into()));
        }
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        match serde_json::from_slice::<Head>(&json) {
            Ok(Head { format: 1..=FORMAT }) => {}
            Ok(Head { format }) => {
                let message = format!(
                    "{name} has format {format}, this program reads up to {FORMAT}; use a newer engram"
                );
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            Err(error) => return Err(damaged(error.to_string())),
        }
        serde_json::from_slice(&json).map(|backup| (id, backup)).map_err(|error| damaged(error.to_string()))
    }

    /// Begins a backup.
    ///
    /// # Errors
    /// `Busy` where the store does not answer, or another program removes backups.
    pub fn begin(&self, now: Timestamp) -> Result<BackupWriter<'_>> {
        let claim = Claim::put(&self.store, Work::Writing, now)?;
        if let Some(other) = claim.other(Work::Removing, now)? {
            return Err(claims::refused(&other, &self.place));
        }
        let mut known: BTreeMap<String, u64> = self.store.list("files/")?.into_iter().collect();
        known.extend(self.store.list("cold/")?);
        let backup = Backup {
            format: FORMAT,
            engram: env!("CARGO_PKG_VERSION").to_string(),
            created_at: format_rfc3339(now),
            spaces: Vec::new(),
            left_out: Vec::new(),
        };
        Ok(BackupWriter { backups: self, claim, begun_at: now, backup, known, taken: Taken::default() })
    }

    /// Removes all backups but the newest `keep` and `made`, and the files that no other needs. Gives the ids of what was
    /// removed. While another program writes a backup the files stay, for the next time.
    ///
    /// # Errors
    /// `Busy` where the store does not answer; `Corrupt` where the list of a backup that stays is damaged.
    pub fn prune(&self, keep: usize, made: &str, now: Timestamp) -> Result<Vec<String>> {
        let watch = Stopwatch::start();
        let claim = Claim::put(&self.store, Work::Removing, now)?;
        // Who is not seen here sees this claim, or has written its list.
        let is_alone = claim.other(Work::Writing, now)?.is_none();
        let ids = self.ids()?;
        let newest = ids.len().saturating_sub(keep.max(1));
        let (kept, gone): (Vec<_>, Vec<_>) =
            ids.into_iter().enumerate().partition(|(at, id)| *at >= newest || *id == made);
        let mut used = BTreeSet::new();
        for (_, id) in kept {
            let (_, backup) = self.get(Some(&id))?;
            used.extend(backup.spaces.iter().flat_map(|space| &space.files).map(FileCopy::object));
        }
        let gone: Vec<String> = gone.into_iter().map(|(_, id)| id).collect();
        gone.iter().try_for_each(|id| self.store.delete(&format!("backups/{id}.json")))?;
        if is_alone {
            let objects = [self.store.list("files/")?, self.store.list("cold/")?].concat();
            for (name, _) in objects.iter().filter(|(name, _)| !used.contains(name)) {
                if watch.elapsed() > Work::Removing.counts_for() / 2 {
                    tracing::warn!(place = self.place, "more files are to be removed the next time");
                    break;
                }
                self.store.delete(name)?;
            }
        }
        Ok(gone)
    }

    /// Reads every file of a backup and compares it with what was written, telling `progress` of the bytes of each piece.
    /// Says what is wrong with which.
    ///
    /// # Errors
    /// `Busy` where the store does not answer.
    pub fn verify(&self, backup: &Backup, progress: &mut dyn FnMut(u64)) -> Result<Vec<String>> {
        let mut findings = Vec::new();
        let mut seen = BTreeSet::new();
        for file in backup.spaces.iter().flat_map(|space| &space.files) {
            if !seen.insert(file.object()) {
                continue;
            }
            let verified = match file.sha256 {
                None => self.verify_cold(file).map(|()| progress(file.bytes)),
                Some(_) => self.read(file, &mut |piece| {
                    progress(piece.len() as u64);
                    Ok(())
                }),
            };
            match verified {
                Err(error) if error.kind() == ErrorKind::Corrupt => findings.push(error.to_string()),
                verified => verified?,
            }
        }
        Ok(findings)
    }

    /// Compares a cold file with the checksums that it carries.
    pub(crate) fn verify_cold(&self, file: &FileCopy) -> Result<()> {
        self.check_size(file)?;
        verify_cold(&self.store, &file.object())
    }

    /// Gives the bytes of a file, piece by piece, and compares their SHA-256 with that of what was written: they count only
    /// when this returns Ok.
    pub(crate) fn read(&self, file: &FileCopy, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.check_size(file)?;
        let object = file.object();
        let mut hash = Sha256::new();
        for start in (0..file.bytes).step_by(PIECE_BYTES as usize) {
            let piece = self.store.read_object(&object, start..file.bytes.min(start + PIECE_BYTES))?;
            hash.update(&piece);
            each(&piece)?;
        }
        match hexadecimal(&hash.finalize()) {
            found if Some(&found) == file.sha256.as_ref() => Ok(()),
            found => Err(self.damaged(file, format!("its SHA-256 is {found}"))),
        }
    }

    fn check_size(&self, file: &FileCopy) -> Result<()> {
        match self.store.object_bytes(&file.object())? {
            Some(bytes) if bytes == file.bytes => Ok(()),
            Some(bytes) => {
                Err(self.damaged(file, format!("it has {bytes} bytes, {} were written", file.bytes)))
            }
            None => Err(self.damaged(file, "it is gone".into())),
        }
    }

    fn damaged(&self, file: &FileCopy, reason: String) -> Error {
        let message = format!(
            "{} at {}, which is {}, is damaged: {reason}; delete this object, and the next backup copies it again",
            file.object(),
            self.place,
            file.name
        );
        Error::new(ErrorKind::Corrupt, message)
    }
}

/// How the id begins of a backup that was begun at this time. In the order of time.
pub fn time_of_id(time: Timestamp) -> String {
    let millis = time.0.div_euclid(1000);
    let seconds = format_rfc3339(Timestamp(millis.div_euclid(1000) * 1_000_000)).replace(':', "-");
    format!("{}-{:03}Z", seconds.trim_end_matches('Z'), millis.rem_euclid(1000))
}

/// Compares the checksums that a cold file carries. The claim of an upload that never ended reads as absent; nothing lies
/// in it.
pub(crate) fn verify_cold(store: &ColdStore, name: &str) -> Result<()> {
    match store.verify(name) {
        Err(StorageError::Absent { .. }) => Ok(()),
        verified => Ok(verified.map(drop)?),
    }
}

impl std::fmt::Debug for Backups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backups").field("place", &self.place).finish_non_exhaustive()
    }
}

/// A backup that is being made. Dropped before `finish`, there is none; files that were copied help the next.
pub struct BackupWriter<'a> {
    backups: &'a Backups,
    claim: Claim<'a>,
    begun_at: Timestamp,
    backup: Backup,
    /// Objects that are there, with their bytes.
    known: BTreeMap<String, u64>,
    taken: Taken,
}

impl BackupWriter<'_> {
    /// Copies what of a space is not there yet.
    ///
    /// # Errors
    /// Those of `origin`; `Busy` where the store does not answer; `Corrupt` where `origin` gave other bytes than it
    /// announced.
    pub fn add(&mut self, space: &SpaceName, origin: &dyn Origin) -> Result<()> {
        self.try_add(space, origin)?
    }

    /// The same, and tells the store's errors, outside, from those of `origin`, inside.
    fn try_add(&mut self, space: &SpaceName, origin: &dyn Origin) -> Result<Result<()>> {
        let mut files = Vec::new();
        for (at, (name, bytes, is_cold)) in origin.files().into_iter().enumerate() {
            let sha256 = match is_cold {
                true => None,
                false => match origin.sha256(at) {
                    Ok(sha256) => Some(sha256),
                    Err(error) => return Ok(Err(error)),
                },
            };
            let file = FileCopy { name, bytes, sha256 };
            let object = file.object();
            if self.known.get(&object) == Some(&bytes) {
                origin.copied(bytes);
            } else {
                if let Err(error) = self.copy(&file, origin, at)? {
                    return Ok(Err(error));
                }
                self.known.insert(object, bytes);
                self.taken.files_copied += 1;
                self.taken.bytes_copied += bytes;
            }
            files.push(file);
        }
        let (position, memories) = (origin.position(), origin.memories());
        self.backup.spaces.push(SpaceCopy { name: space.to_string(), position, memories, files });
        Ok(Ok(()))
    }

    fn copy(&self, file: &FileCopy, origin: &dyn Origin, at: usize) -> Result<Result<()>> {
        let mut hash = Sha256::new();
        let mut failed = None;
        let mut fail = |error: Error| {
            failed = Some(error);
            StorageError::Payload { reason: "its origin gave other bytes, or none".into() }
        };
        let written = self.backups.store.write_object(&file.object(), file.bytes, &mut |range| {
            let mut buffer = vec![0; (range.end - range.start) as usize];
            origin.read(at, range.start, &mut buffer).map_err(&mut fail)?;
            hash.update(&buffer);
            // The last part decides whether the object comes to be.
            if range.end == file.bytes
                && let Some(sha256) = &file.sha256
                && hexadecimal(&hash.clone().finalize()) != *sha256
            {
                let message =
                    format!("{} came with another SHA-256 than was announced; try again", file.name);
                return Err(fail(Error::new(ErrorKind::Corrupt, message)));
            }
            origin.copied(buffer.len() as u64);
            Ok(Bytes::from(buffer))
        });
        match failed {
            Some(error) => Ok(Err(error)),
            None => Ok(Ok(written?)),
        }
    }

    /// What it will be called as it is now, and its list.
    fn named(&self) -> (String, Vec<u8>) {
        let json = serde_json::to_vec_pretty(&self.backup).expect("texts and numbers can be written");
        let digits = &hexadecimal(&Sha256::digest(&json))[..ID_DIGITS];
        (format!("{}-{digits}", time_of_id(self.begun_at)), json)
    }

    /// Makes it a backup, and gives its id and what it took.
    ///
    /// # Errors
    /// `Busy` where the store does not answer; `Conflict` where it took so long that others no longer counted on it.
    pub fn finish(self) -> Result<(String, Backup, Taken)> {
        self.check_claim()?;
        let (id, json) = self.named();
        let (name, bytes) = (format!("backups/{id}.json"), json.len() as u64);
        // One of the same name holds the same.
        if let Err(error) = self.backups.store.create_object(&name, json.into()) {
            // It may have been done all the same.
            match self.backups.store.object_bytes(&name) {
                Ok(Some(found)) if found == bytes => {}
                _ => return Err(error.into()),
            }
        }
        // Who removes files takes a claim away before it reads the lists: it has seen this one, or the claim is gone now.
        if let Err(error) = self.check_claim() {
            self.backups.store.delete(&name)?;
            return Err(error);
        }
        let mut taken = self.taken;
        for file in self.backup.spaces.iter().flat_map(|space| &space.files) {
            taken.files += 1;
            taken.bytes += file.bytes;
        }
        Ok((id, self.backup, taken))
    }

    /// Refuses where it took so long that others no longer count on it.
    fn check_claim(&self) -> Result<()> {
        if self.claim.is_there()? {
            return Ok(());
        }
        let message = format!(
            "the backup took more than {} h, and another program may have removed files from {} meanwhile; take it again: \
             what is there by now is not copied again",
            Work::Writing.counts_for().as_secs() / 3600,
            self.backups.place
        );
        Err(Error::new(ErrorKind::Conflict, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_in_the_order_of_time() {
        let times = [-1_500_000, -1, 0, 999, 1_000, 999_999, 1_000_000, 1_763_683_200_123_456];
        let ids = times.map(|time| time_of_id(Timestamp(time)));
        assert_eq!(ids[0], "1969-12-31T23-59-58-500Z");
        assert_eq!(ids[7], "2025-11-21T00-00-00-123Z");
        assert!(ids.is_sorted(), "{ids:?}");
    }
}
