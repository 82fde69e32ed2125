//! `engram backup`: copies spaces of a running server, or of a folder, to another folder or an object store.

use crate::args::{Target, space_name};
use crate::backend::{Backend, Folder, is_not_found};
use crate::fault::{Fault, Result, usage};
use crate::screen::{Screen, counted, note, progress, sized};
use clap::Args;
use engram::backup::{BackupWriter, Backups, Origin};
use engram::{Error, ErrorKind, SpaceName, clock};
use engram_server::api::{BackupIn, BytesQuery, SnapshotFileOut, SnapshotOut};
use serde::Serialize;
use std::process::ExitCode;

/// Bytes that are asked for at once.
const PIECE_BYTES: u64 = 8 << 20;

/// Copy spaces to a folder or an object store, while they are in use
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram backup --to /backups/engram
  engram backup --to s3://bucket/engram --keep 30
  engram backup --to /backups/engram --space diary --data-dir ./engram-data

Each space is copied as of one moment. What an earlier backup at the same
place has already is not copied again. AWS_* variables say how to reach S3.
Only one program at a time may write to a place.
Bring one back with: engram restore --from PLACE --data-dir DIR
Exit codes: 1 where a space is not in the backup.")]
pub(crate) struct Backup {
    /// A folder, file:///folder, or s3://bucket/prefix
    #[arg(long, value_name = "PLACE")]
    to: String,
    /// Only this space; may be repeated
    #[arg(long, short, value_name = "NAME", value_parser = space_name)]
    space: Vec<String>,
    /// Afterwards, remove all but the newest backups at the place, if all spaces are in this one
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
}

impl Backup {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<ExitCode> {
        if self.keep == Some(0) {
            return usage("--keep is 0, it must be at least 1: the backup that is made now");
        }
        let backend = Backend::open(&self.target, Folder::MustExist)?;
        let report = backend.with(|backend| self.copy(backend))?;
        let code = ExitCode::from(u8::from(!report.left_out.is_empty()));
        for space in &report.left_out {
            note(format_args!("not in the backup: {space}"));
        }
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
        let mut writer = backups.begin(clock::Clock::system().now())?;
        let known = backend.spaces()?.spaces;
        let mut left_out = Vec::new();
        let mut chosen = Vec::new();
        for space in &self.space {
            if !known.iter().any(|known| known.name == *space) {
                return usage(format!(
                    "there is no space \"{space}\"; engram space list shows those that are"
                ));
            }
        }
        for space in known.iter().filter(|known| self.space.is_empty() || self.space.contains(&known.name)) {
            match &space.error {
                Some(error) => left_out.push(format!("space {}: {error}", space.name)),
                None => chosen.push(&space.name),
            }
        }
        for space in chosen {
            match backend.take_snapshot(space) {
                // Deleted meanwhile.
                taken if is_not_found(&taken) => {}
                taken => {
                    let taken = taken?;
                    let copied = copy_space(backend, &taken, &mut writer);
                    backend.delete_snapshot(space, &taken.id).ok();
                    copied?;
                }
            }
        }
        let (id, backup, taken) = writer.finish()?;
        for space in &backup.spaces {
            let noted = backend.note_backup(&space.name, &id, BackupIn { place: backups.place().to_owned() });
            if !is_not_found(&noted) {
                noted.map_err(|fault| fault.at(format!("backup {id} is made, and could not be noted")))?;
            }
        }
        let mut removed = Vec::new();
        // What is left out of this one may be in no other that stays.
        let keep = self.keep.filter(|_| left_out.is_empty());
        for (id, backup) in keep.map(|keep| backups.prune(keep, &id)).transpose()?.unwrap_or_default() {
            for space in backup.iter().flat_map(|backup| &backup.spaces) {
                let forgotten = backend.forget_backup(&space.name, &id);
                if !is_not_found(&forgotten) {
                    forgotten?;
                }
            }
            removed.push(id);
        }
        Ok(Report {
            id,
            place: backups.place().to_owned(),
            spaces: backup.spaces.len(),
            files: taken.files,
            bytes: taken.bytes,
            files_copied: taken.files_copied,
            bytes_copied: taken.bytes_copied,
            removed,
            left_out,
        })
    }
}

fn copy_space(backend: &Backend, taken: &SnapshotOut, writer: &mut BackupWriter<'_>) -> Result<()> {
    let bytes = taken.files.iter().map(|file| file.bytes).sum();
    let bar = progress(&format!("copying {}", taken.space), "bytes", Some(bytes));
    let origin = Held { backend, taken };
    let space = SpaceName::new(&taken.space).map_err(Error::from)?;
    writer.add(&space, taken.position, taken.memories as usize, &origin, &mut |bytes| bar.inc(bytes))?;
    bar.finish_and_clear();
    Ok(())
}

/// A snapshot that a server, or this process, holds.
struct Held<'a> {
    backend: &'a Backend,
    taken: &'a SnapshotOut,
}

impl Origin for Held<'_> {
    fn files(&self) -> Vec<(String, u64, bool)> {
        let file = |file: &SnapshotFileOut| (file.name.clone(), file.bytes, file.cold);
        self.taken.files.iter().map(file).collect()
    }

    fn sha256(&self, at: usize) -> engram::Result<String> {
        let query = BytesQuery { file: at, ..BytesQuery::default() };
        let found = self.backend.snapshot_sha256(&self.taken.space, &self.taken.id, &query);
        found.map(|found| found.sha256).map_err(as_error)
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
