//! `engram restore`: brings spaces back from a backup into a folder that no server has open.

use crate::args::{space_name, time};
use crate::backend::options_of;
use crate::fault::{Result, failed, usage};
use crate::screen::{Screen, counted, faint, grouped, note, progress, sized};
use clap::Args;
use engram::backup::{Backup, Backups, time_of_id};
use engram::{Error, SpaceName, clock};
use engram_server::api::Time;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Bring spaces back from a backup
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram restore --from /backups/engram --list
  engram restore --from /backups/engram --data-dir ./engram-data
  engram restore --from s3://bucket/engram --space diary --data-dir ./engram-data
  engram restore --from /backups/engram --at 2026-11-20T12:00:00Z --data-dir ./old

Every file is compared with its SHA-256. A space that the folder has already is
never touched: delete it first, or restore into another folder. Files of the
cold tier go to the storage.cold_tier_endpoint of the configuration; give a
copy that is to live beside the original another one.
No server may have the folder open.
Exit codes: 1 where a space could not be copied when the backup was made.")]
pub(crate) struct Restore {
    /// A folder, file:///folder, or s3://bucket/prefix
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// List the backups, and restore nothing
    #[arg(long)]
    list: bool,
    /// The backup [default: the newest]
    #[arg(long, value_name = "ID", conflicts_with = "at")]
    backup: Option<String>,
    /// The newest backup that was begun by this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Time>,
    /// Only this space
    #[arg(long, short, value_name = "NAME", value_parser = space_name)]
    space: Option<String>,
    /// Folder to restore into
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    data_dir: Option<PathBuf>,
    /// Configuration file, for the cold tier
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// A backup, as `--list` shows it.
#[derive(Serialize)]
struct Listed {
    id: String,
    created_at: String,
    spaces: usize,
    memories: usize,
    bytes: u64,
    left_out: Vec<String>,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    backup: String,
    spaces: u64,
    memories: u64,
    files: u64,
    bytes: u64,
    cold_files_there: u64,
    left_out: Vec<String>,
}

impl Restore {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<ExitCode> {
        let backups = Backups::open_existing(&self.from)?;
        if self.list {
            return self.list(&backups, screen).map(|()| ExitCode::SUCCESS);
        }
        let Some(dir) = &self.data_dir else { return usage("where to? Give --data-dir") };
        let (id, backup) = self.choose(&backups)?;
        let only = self.space.as_deref().map(SpaceName::new).transpose().map_err(Error::from)?;
        if let Some(space) = &only
            && !backup.spaces.iter().any(|copy| copy.name == space.as_str())
        {
            let reason = backup.left_out.iter().find(|left_out| left_out.name == space.as_str());
            let reason = reason.map(|left_out| format!(", it could not be copied: {}", left_out.reason));
            return failed(format!(
                "space {space} is not in backup {id}{}; {}",
                reason.unwrap_or_default(),
                holder(&backups, &id, space.as_str())?
            ));
        }
        let options = options_of(Some(dir), self.config.as_deref())?;
        let bar = progress("restoring", "bytes", Some(bytes_of(&backup, only.as_ref())));
        let restored = backups.restore(&id, &backup, only.as_ref(), &options, &mut |bytes| bar.inc(bytes))?;
        bar.finish_and_clear();
        if restored.cold_there > 0 {
            note(format_args!(
                "{} of the cold tier were there already. If another server uses them, give this folder its own \
                 storage.cold_tier_endpoint and restore again: the two would delete each other's files.",
                counted(restored.cold_there, "file", "files")
            ));
        }
        let left_out = left_out(&backup, only.as_ref());
        for space in &left_out {
            note(format_args!(
                "space {space} is not in this backup, it could not be copied; {}",
                holder(&backups, &id, space)?
            ));
        }
        let code = ExitCode::from(u8::from(!left_out.is_empty()));
        if self.json {
            let report = Report {
                backup: id,
                spaces: restored.spaces,
                memories: restored.memories,
                files: restored.files,
                bytes: restored.bytes,
                cold_files_there: restored.cold_there,
                left_out,
            };
            return screen.json(&report).map(|()| code);
        }
        screen.line(format_args!(
            "restored {} with {} from backup {id} into {}: {}, {}",
            counted(restored.spaces, "space", "spaces"),
            counted(restored.memories, "memory", "memories"),
            dir.display(),
            counted(restored.files, "file", "files"),
            sized(restored.bytes)
        ))?;
        Ok(code)
    }

    fn choose(&self, backups: &Backups) -> Result<(String, Backup)> {
        let Some(Time(at)) = self.at else { return Ok(backups.get(self.backup.as_deref())?) };
        let (time, begins) = (clock::format_rfc3339(at), time_of_id(at));
        let ids = backups.ids()?;
        match ids.iter().rev().find(|id| id.get(..begins.len()).is_some_and(|own| own <= begins.as_str())) {
            Some(id) => Ok(backups.get(Some(id))?),
            None => failed(match ids.first() {
                Some(first) => {
                    format!("no backup at {} was begun by {time}; the first is {first}", backups.place())
                }
                None => format!("there are no backups at {}", backups.place()),
            }),
        }
    }

    fn list(&self, backups: &Backups, screen: &mut Screen) -> Result<()> {
        let mut all = Vec::new();
        for id in backups.ids()? {
            match backups.get(Some(&id)) {
                Ok((id, backup)) => all.push(Listed {
                    id,
                    spaces: backup.spaces.len(),
                    memories: backup.spaces.iter().map(|space| space.memories).sum(),
                    bytes: bytes_of(&backup, None),
                    left_out: left_out(&backup, None),
                    created_at: backup.created_at,
                }),
                Err(error) => note(error),
            }
        }
        if self.json {
            return screen.json(&all);
        }
        if all.is_empty() {
            return screen.line(format_args!("no backups at {}", backups.place()));
        }
        screen.line(
            faint().apply_to(format!("{:33}  {:>8}  {:>12}  {:>8}", "backup", "spaces", "memories", "size")),
        )?;
        for backup in &all {
            screen.line(format_args!(
                "{:33}  {:>8}  {:>12}  {:>8}",
                backup.id,
                grouped(backup.spaces as u64),
                grouped(backup.memories as u64),
                sized(backup.bytes)
            ))?;
            if !backup.left_out.is_empty() {
                screen.line(format_args!(
                    "  without {}, which could not be copied",
                    backup.left_out.join(", ")
                ))?;
            }
        }
        Ok(())
    }
}

/// Spaces that should be in a backup and are not.
fn left_out(backup: &Backup, only: Option<&SpaceName>) -> Vec<String> {
    let names = backup.left_out.iter().map(|space| space.name.clone());
    names.filter(|name| only.is_none_or(|only| only.as_str() == name)).collect()
}

/// Says where a space is that is not in a backup.
fn holder(backups: &Backups, id: &str, space: &str) -> Result<String> {
    for earlier in backups.ids()?.into_iter().rev().filter(|earlier| earlier.as_str() < id) {
        // One that is damaged has none to give.
        let has_it = |backup: &Backup| backup.spaces.iter().any(|copy| copy.name == space);
        if backups.get(Some(&earlier)).is_ok_and(|(_, backup)| has_it(&backup)) {
            return Ok(format!("bring it back with --backup {earlier} --space {space}"));
        }
    }
    Ok("no earlier one at this place has it".to_owned())
}

fn bytes_of(backup: &Backup, only: Option<&SpaceName>) -> u64 {
    let chosen = backup.spaces.iter().filter(|space| only.is_none_or(|only| only.as_str() == space.name));
    chosen.flat_map(|space| &space.files).map(|file| file.bytes).sum()
}
