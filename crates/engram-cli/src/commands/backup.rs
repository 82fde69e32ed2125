//! `engram backup`: copies spaces of a running server, or of a folder, to another folder or an object store.

use crate::args::{Target, space_name};
use crate::backend::{Backend, Folder, is_not_found};
use crate::fault::{Fault, Result, usage};
use crate::screen::{Screen, counted, note, progress, sized};
use clap::Args;
use engram::backup::{Backups, LeftOut, Origin, Source};
use engram::clock::{Clock, Stopwatch};
use engram::{Error, ErrorKind, NotedBackup, SpaceName};
use engram_server::Problem;
use engram_server::api::{BackupIn, BackupOut, BytesQuery, SnapshotFileOut, SnapshotOut};
use indicatif::ProgressBar;
use serde::Serialize;
use std::process::ExitCode;
use std::time::Duration;

/// Bytes that are asked for at once.
const PIECE_BYTES: u64 = 8 << 20;
/// How long is asked what a checkpoint keeps from being answered in the time of a request: one of a large space takes minutes.
const PATIENCE: Duration = Duration::from_secs(600);
/// Time between two asks, in which the server is not kept busy by them.
const ASKS_EVERY: Duration = Duration::from_secs(5);

/// Copy spaces to a folder or an object store, while they are in use
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram backup --to /backups/engram
  engram backup --to s3://bucket/engram --keep 30
  engram backup --to /backups/engram --space diary --data-dir ./engram-data

Each space is copied as of one moment. What an earlier backup at the same
place has already is not copied again. AWS_* variables say how to reach S3.
A space that cannot be copied is left out and named; then no old backup goes.
Give each server, or data folder, a place of its own: --keep counts all that
is there. Several programs may back up one server to its place at once; while
one of them removes old backups, others are refused.
Bring one back with: engram restore --from PLACE --data-dir DIR
Exit codes: 1 where a space is not in the backup, or it could not be noted.")]
pub(crate) struct Backup {
    /// A folder, file:///folder, or s3://bucket/prefix, of this server alone
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// Only this space; may be repeated
    #[arg(long, short, value_name = "NAME", value_parser = space_name)]
    space: Vec<String>,
    /// Afterwards, remove all but the newest backups at the place, whichever server's, if all spaces are in this one
    #[arg(long, value_name = "COUNT", conflicts_with = "space")]
    keep: Option<usize>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    id: String,
    place: String,
    spaces: usize,
    files: u64,
    bytes: u64,
    files_copied: u64,
    bytes_copied: u64,
    removed: Vec<String>,
    left_out: Vec<String>,
    troubles: Vec<String>,
}

impl Backup {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<ExitCode> {
        if self.keep == Some(0) {
            return usage("--keep is 0, it must be at least 1: the backup that is made now");
        }
        let backend = Backend::open(&self.target, Folder::MustExist)?;
        let report = backend.with(|backend| self.copy(backend))?;
        let code = ExitCode::from(u8::from(!report.left_out.is_empty() || !report.troubles.is_empty()));
        for space in &report.left_out {
            note(format_args!("not in the backup: {space}"));
        }
        report.troubles.iter().for_each(note);
        if self.json {
            return screen.json(&report).map(|()| code);
        }
        screen.line(format_args!(
            "backup {} of {} to {}: {}, {}; {}, {} of them new",
            report.id,
            counted(report.spaces as u64, "space", "spaces"),
            report.place,
            counted(report.files, "file", "files"),
            sized(report.bytes),
            counted(report.files_copied, "file", "files"),
            sized(report.bytes_copied)
        ))?;
        if !report.removed.is_empty() {
            let removed = counted(report.removed.len() as u64, "older backup", "older backups");
            screen.line(format_args!("removed {removed}"))?;
        }
        Ok(code)
    }

    fn copy(&self, backend: &Backend) -> Result<Report> {
        let backups = Backups::open(&self.to)?;
        let known = backend.spaces()?.spaces;
        let (mut left_out, mut chosen) = (Vec::new(), Vec::new());
        for space in &self.space {
            if !known.iter().any(|known| known.name == *space) {
                return usage(format!(
                    "there is no space \"{space}\"; engram space list shows those that are"
                ));
            }
        }
        for space in known.iter().filter(|known| self.space.is_empty() || self.space.contains(&known.name)) {
            match &space.error {
                Some(error) => {
                    left_out.push(LeftOut { name: space.name.clone(), reason: error.to_string() });
                }
                None => chosen.push(SpaceName::new(&space.name).map_err(Error::from)?),
            }
        }
        let run = backups.take(backend, &chosen, left_out, self.keep, &Clock::system())?;
        let left_out = |space: LeftOut| format!("space {}: {}", space.name, space.reason);
        Ok(Report {
            id: run.id,
            place: backups.place().to_owned(),
            spaces: run.backup.spaces.len(),
            files: run.taken.files,
            bytes: run.taken.bytes,
            files_copied: run.taken.files_copied,
            bytes_copied: run.taken.bytes_copied,
            removed: run.removed,
            left_out: run.backup.left_out.into_iter().map(left_out).collect(),
            troubles: run.troubles,
        })
    }
}

impl Source for Backend {
    fn spaces(&self) -> engram::Result<Vec<SpaceName>> {
        let found = Backend::spaces(self).map_err(as_error)?.spaces;
        found.iter().map(|space| Ok(SpaceName::new(&space.name)?)).collect()
    }

    fn hold<'a>(&'a self, space: &SpaceName) -> engram::Result<Option<Box<dyn Origin + 'a>>> {
        let Some(taken) = found(patiently(|| self.take_snapshot(space.as_str())))? else { return Ok(None) };
        let bytes = taken.files.iter().map(|file| file.bytes).sum();
        let bar = progress(&format!("copying {space}"), "bytes", Some(bytes));
        Ok(Some(Box::new(Held { backend: self, taken, bar })))
    }

    fn note(&self, space: &SpaceName, backup: &NotedBackup) -> engram::Result<Option<Vec<NotedBackup>>> {
        let place = || BackupIn { place: backup.place.clone() };
        let noted = found(patiently(|| self.note_backup(space.as_str(), &backup.id, place())))?;
        let backup = |BackupOut { id, place }| NotedBackup { id, place };
        Ok(noted.map(|noted| noted.backups.into_iter().map(backup).collect()))
    }

    fn forget(&self, space: &SpaceName, id: &str) -> engram::Result<()> {
        found(self.forget_backup(space.as_str(), id)).map(drop)
    }
}

/// None where there is no such thing.
fn found<T>(outcome: Result<T>) -> engram::Result<Option<T>> {
    if is_not_found(&outcome) { Ok(None) } else { outcome.map(Some).map_err(as_error) }
}

/// Asks again where a request may not take so long.
fn patiently<T>(ask: impl Fn() -> Result<T>) -> Result<T> {
    let watch = Stopwatch::start();
    loop {
        match ask() {
            Err(Fault::Refused(Problem::Timeout, _)) if watch.elapsed() < PATIENCE => {
                std::thread::sleep(ASKS_EVERY);
            }
            answer => return answer,
        }
    }
}

/// A snapshot that a server, or this process, holds until this is dropped.
struct Held<'a> {
    backend: &'a Backend,
    taken: SnapshotOut,
    bar: ProgressBar,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        match self.backend.delete_snapshot(&self.taken.space, &self.taken.id) {
            Ok(_) | Err(Fault::Refused(Problem::NotFound, _)) => {}
            Err(fault) => note(format_args!(
                "what was copied of space {} is held until nobody has read it for a while: {}",
                self.taken.space,
                fault.verdict().0.unwrap_or_default()
            )),
        }
    }
}

impl Origin for Held<'_> {
    fn position(&self) -> u64 {
        self.taken.position
    }

    fn memories(&self) -> usize {
        self.taken.memories as usize
    }

    fn copied(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn files(&self) -> Vec<(String, u64, bool)> {
        let file = |file: &SnapshotFileOut| (file.name.clone(), file.bytes, file.cold);
        self.taken.files.iter().map(file).collect()
    }

    fn sha256(&self, at: usize) -> engram::Result<String> {
        let query = BytesQuery { file: at, ..BytesQuery::default() };
        // A large file takes longer than a request may.
        let mut hashed_bytes = 0;
        loop {
            let found = self.backend.snapshot_sha256(&self.taken.space, &self.taken.id, &query);
            let found = found.map_err(as_error)?;
            if let Some(sha256) = found.sha256 {
                return Ok(sha256);
            }
            if found.hashed_bytes <= hashed_bytes {
                let message =
                    format!("a file is not hashed beyond byte {hashed_bytes}, however often it is asked for");
                return Err(Error::new(ErrorKind::Internal, message));
            }
            hashed_bytes = found.hashed_bytes;
        }
    }

    fn read(&self, at: usize, offset: u64, buffer: &mut [u8]) -> engram::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let wanted = (buffer.len() - done).min(PIECE_BYTES as usize);
            let query = BytesQuery { file: at, offset: offset + done as u64, bytes: Some(wanted as u64) };
            let found = self.backend.snapshot_bytes(&self.taken.space, &self.taken.id, &query);
            let found = found.map_err(as_error)?;
            if found.len() != wanted {
                let message = format!("{wanted} bytes of a file were asked for, {} came", found.len());
                return Err(Error::new(ErrorKind::Internal, message));
            }
            buffer[done..done + wanted].copy_from_slice(&found);
            done += wanted;
        }
        Ok(())
    }
}

fn as_error(fault: Fault) -> Error {
    Error::new(ErrorKind::Internal, fault.verdict().0.unwrap_or_default())
}
