//! Snapshots that clients read piece by piece, kept between their requests; and which backups were made of a space.

use crate::api::{BackupIn, BackupsOut, BytesQuery, Sha256Out, SnapshotOut, shortened};
use crate::error::{ApiError, Problem};
use crate::service::{Service, TimeLimit, space_name};
use engram::clock::Stopwatch;
use engram::{NotedBackup, Snapshot};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type Result<T> = std::result::Result<T, ApiError>;

/// Snapshots at the same time.
const SNAPSHOTS_MAX: usize = 16;
/// A snapshot that nobody reads for so long is let go.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// How long one answer hashes a file, or waits for a checkpoint, if the request has that long; the next goes on from there.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of one answer.
pub(crate) const PIECE_BYTES_MAX: u64 = 16 << 20;
/// Characters of a backup's id and of its place.
const NOTE_CHARS_MAX: usize = 1024;

/// Snapshots by id, with when each was last asked for.
#[derive(Debug, Default)]
pub(crate) struct Snapshots(Mutex<BTreeMap<String, (Stopwatch, Arc<Snapshot>)>>);

impl Snapshots {
    /// Without those that nobody reads any more.
    fn held(&self) -> MutexGuard<'_, BTreeMap<String, (Stopwatch, Arc<Snapshot>)>> {
        // A map is whole after every step.
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (since, _)| since.elapsed() < IDLE_MAX);
        held
    }

    /// Lets go of those that nobody reads any more.
    pub(crate) fn tidy(&self) {
        drop(self.held());
    }
}

impl Service {
    /// Holds a space as it is now, so that its files can be read. Waits for a checkpoint and for moves.
    pub fn take_snapshot(&self, space: &str) -> Result<SnapshotOut> {
        self.take_snapshot_within(space, None)
    }

    /// The same, waiting a part of the time at most. What comes too late for the answer is let go of: nobody would.
    pub(crate) fn take_snapshot_within(&self, space: &str, limit: Option<TimeLimit>) -> Result<SnapshotOut> {
        // Before the work, and after it, as others may have been as quick.
        check_room(&self.snapshots.held())?;
        let wait_max = limit.map_or(Duration::MAX, |limit| answers_within(limit.time_max));
        let taken = self.engine().space(&space_name(space)?)?.snapshot_within(wait_max)?;
        let in_time = taken.filter(|_| !limit.is_some_and(TimeLimit::is_over));
        let snapshot = Arc::new(in_time.ok_or_else(|| held_up(space))?);
        let id = self.engine().new_id().to_string();
        let mut held = self.snapshots.held();
        check_room(&held)?;
        held.insert(id.clone(), (Stopwatch::start(), snapshot.clone()));
        Ok(SnapshotOut::new(id, &snapshot))
    }

    fn snapshot(&self, space: &str, id: &str) -> Result<Arc<Snapshot>> {
        let mut held = self.snapshots.held();
        match held.get_mut(id).filter(|(_, snapshot)| snapshot.space().name().as_str() == space) {
            Some((since, snapshot)) => {
                *since = Stopwatch::start();
                Ok(snapshot.clone())
            }
            None => Err(no_snapshot(space, id)),
        }
    }

    /// SHA-256 of a file of a snapshot, or how far it is when the time is over.
    pub fn snapshot_sha256(
        &self,
        space: &str,
        id: &str,
        query: &BytesQuery,
        time_max: Duration,
    ) -> Result<Sha256Out> {
        let snapshot = self.snapshot(space, id)?;
        Ok(match snapshot.sha256_within(query.file, time_max)? {
            Ok(sha256) => Sha256Out {
                sha256: Some(sha256.to_owned()),
                hashed_bytes: snapshot.files()[query.file].bytes(),
            },
            Err(hashed_bytes) => Sha256Out { sha256: None, hashed_bytes },
        })
    }

    /// Some bytes of a file of a snapshot.
    pub fn snapshot_bytes(&self, space: &str, id: &str, query: &BytesQuery) -> Result<Vec<u8>> {
        let snapshot = self.snapshot(space, id)?;
        let left =
            snapshot.files().get(query.file).map_or(0, |file| file.bytes().saturating_sub(query.offset));
        let bytes = query.bytes.unwrap_or(left.min(PIECE_BYTES_MAX));
        if bytes > PIECE_BYTES_MAX {
            return Err(ApiError::invalid(format!(
                "bytes is {bytes}, at most {PIECE_BYTES_MAX} are given at once"
            )));
        }
        let mut buffer = vec![0; bytes as usize];
        snapshot.read(query.file, query.offset, &mut buffer)?;
        Ok(buffer)
    }

    /// Lets go of a snapshot.
    pub fn delete_snapshot(&self, space: &str, id: &str) -> Result<SnapshotOut> {
        let snapshot = self.snapshot(space, id)?;
        self.snapshots.held().remove(id);
        Ok(SnapshotOut::new(id.to_owned(), &snapshot))
    }

    /// Notes that a backup holds a space.
    pub fn note_backup(&self, space: &str, id: &str, backup: BackupIn) -> Result<BackupsOut> {
        for (what, text) in [("the id of the backup", id), ("place", &backup.place)] {
            if text.is_empty() || text.len() > NOTE_CHARS_MAX {
                let detail = format!("{what} has {} bytes, it must have 1 to {NOTE_CHARS_MAX}", text.len());
                return Err(ApiError::invalid(detail));
            }
        }
        let space = self.engine().space(&space_name(space)?)?;
        space.note_backup(NotedBackup { id: id.to_owned(), place: backup.place })?;
        Ok(space.backups()?.into())
    }

    /// Notes that a backup is gone.
    pub fn forget_backup(&self, space: &str, id: &str) -> Result<BackupsOut> {
        let space = self.engine().space(&space_name(space)?)?;
        space.forget_backup(id)?;
        Ok(space.backups()?.into())
    }

    /// The backups that hold a space, as far as they were noted.
    pub fn backups(&self, space: &str) -> Result<BackupsOut> {
        Ok(self.engine().space(&space_name(space)?)?.backups()?.into())
    }
}

/// How long an answer may hash or wait of a request that may take so long.
pub(crate) fn answers_within(request_timeout: Duration) -> Duration {
    ANSWERS_WITHIN.min(request_timeout / 4)
}

fn held_up(space: &str) -> ApiError {
    let detail = format!(
        "space {:?} is writing a checkpoint or moving memories between tiers; ask again in some seconds",
        shortened(space)
    );
    ApiError::new(Problem::Timeout, detail)
}

fn check_room(held: &BTreeMap<String, (Stopwatch, Arc<Snapshot>)>) -> Result<()> {
    if held.len() < SNAPSHOTS_MAX {
        return Ok(());
    }
    let detail = format!(
        "{} snapshots are held, at most {SNAPSHOTS_MAX} may be; delete some, or wait: those that nobody reads are let \
         go after {} s",
        held.len(),
        IDLE_MAX.as_secs()
    );
    Err(ApiError::new(Problem::Busy, detail))
}

fn no_snapshot(space: &str, id: &str) -> ApiError {
    let detail = format!(
        "space {:?} has no snapshot {:?}; those that nobody reads for {} s are let go",
        shortened(space),
        shortened(id),
        IDLE_MAX.as_secs()
    );
    ApiError::new(Problem::NotFound, detail)
}
