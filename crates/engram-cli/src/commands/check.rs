//! `engram check`: reads all that a folder, or a backup, holds, and says what is wrong with it.

use crate::args::space_name;
use crate::backend::{Folder, found_folder, options_of};
use crate::fault::Result;
use crate::screen::{Screen, bad, counted, faint, good, note, progress, sized};
use clap::Args;
use engram::backup::Backups;
use engram::{Checked, Error, SpaceName};
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Read everything and say what is damaged
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram check --data-dir ./engram-data
  engram check --data-dir ./engram-data --repair
  engram check --from /backups/engram

Reads every file of the folder and of its cold tier: each checksum, whether
every payload is where the log says it is and is what was stored, and whether
words, names and index fit the memories. --repair makes these anew where they
do not; what was stored is never changed, and comes back from a backup.
No server may have the folder open.
Exit codes: 0 sound, 1 something is wrong.")]
pub(crate) struct Check {
    /// Folder of the memories [default: storage.data_dir of the configuration]
    #[arg(long, value_name = "DIR", conflicts_with = "from")]
    data_dir: Option<PathBuf>,
    /// Check the backups at this place instead
    #[arg(long, value_name = "PLACE", conflicts_with_all = ["space", "repair", "config"])]
    from: Option<String>,
    /// Only this space
    #[arg(long, short, value_name = "NAME", value_parser = space_name)]
    space: Option<String>,
    /// Make anew what is derived and does not fit
    #[arg(long)]
    repair: bool,
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// A space, as `--json` shows it.
#[derive(Serialize)]
struct Report {
    space: String,
    sound: bool,
    memories: usize,
    files: u64,
    bytes: u64,
    cold_files: u64,
    cold_rows: u64,
    damage: Vec<String>,
    derived: Vec<String>,
    notes: Vec<String>,
    repaired: bool,
}

/// A backup, as `--json` shows it.
#[derive(Serialize)]
struct BackupReport {
    backup: String,
    sound: bool,
    bytes: u64,
    damage: Vec<String>,
}

impl Check {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<ExitCode> {
        if let Some(place) = &self.from {
            return self.check_backups(&Backups::open_existing(place)?, screen);
        }
        let only = self.space.as_deref().map(SpaceName::new).transpose().map_err(Error::from)?;
        let options = options_of(self.data_dir.as_deref(), self.config.as_deref())?;
        found_folder(&options.data_dir, Folder::MustExist)?;
        let bar = progress("checking", "spaces", None);
        let all = engram::check(&options, only.as_ref(), self.repair, &mut |_| bar.inc(1))?;
        bar.finish_and_clear();
        let code = ExitCode::from(u8::from(!all.iter().all(Checked::is_sound)));
        if self.json {
            let reports: Vec<Report> = all.into_iter().map(Report::from).collect();
            return screen.json(&reports).map(|()| code);
        }
        for checked in &all {
            show(checked, screen)?;
        }
        if all.is_empty() {
            screen.line(format_args!("{}: no spaces", options.data_dir.display()))?;
        }
        Ok(code)
    }

    fn check_backups(&self, backups: &Backups, screen: &mut Screen) -> Result<ExitCode> {
        let mut reports = Vec::new();
        for id in backups.ids()? {
            let (bytes, damage) = match backups.get(Some(&id)) {
                Err(error) => (0, vec![error.to_string()]),
                Ok((_, backup)) => {
                    let bar = progress(&format!("reading {id}"), "bytes", None);
                    let mut bytes = 0;
                    let damage = backups.verify(&backup, &mut |piece| {
                        bytes += piece;
                        bar.inc(piece);
                    })?;
                    bar.finish_and_clear();
                    (bytes, damage)
                }
            };
            reports.push(BackupReport { backup: id, sound: damage.is_empty(), bytes, damage });
        }
        let code = ExitCode::from(u8::from(!reports.iter().all(|report| report.sound)));
        if self.json {
            return screen.json(&reports).map(|()| code);
        }
        for report in &reports {
            let verdict = verdict(report.sound);
            screen.line(format_args!("{verdict}  backup {}, {}", report.backup, sized(report.bytes)))?;
            report.damage.iter().try_for_each(|damage| screen.line(format_args!("  {damage}")))?;
        }
        if reports.is_empty() {
            note(format_args!("no backups at {}", backups.place()));
        }
        Ok(code)
    }
}

fn verdict(is_sound: bool) -> String {
    if is_sound { good().apply_to("sound").to_string() } else { bad().apply_to("wrong").to_string() }
}

fn show(checked: &Checked, screen: &mut Screen) -> Result<()> {
    let [files, bytes] = checked.files;
    let cold = match checked.cold {
        [0, _] => String::new(),
        [files, rows] => format!(
            ", {} in the cold tier with {}",
            counted(files, "file", "files"),
            counted(rows, "row", "rows")
        ),
    };
    screen.line(format_args!(
        "{}  space {}: {}, {} of {}{cold}",
        verdict(checked.is_sound()),
        checked.space,
        counted(checked.memories as u64, "memory", "memories"),
        counted(files, "file", "files"),
        sized(bytes),
    ))?;
    for finding in &checked.damage {
        screen.line(format_args!("  {finding}"))?;
    }
    for finding in &checked.derived {
        screen.line(format_args!("  {finding}"))?;
    }
    if checked.is_repaired {
        screen.line("  words, names and index were made anew")?;
    } else if !checked.derived.is_empty() {
        screen.line("  --repair makes words, names and index anew")?;
    }
    checked.notes.iter().try_for_each(|finding| screen.line(faint().apply_to(format!("  {finding}"))))
}

impl From<Checked> for Report {
    fn from(checked: Checked) -> Self {
        Report {
            sound: checked.is_sound(),
            space: checked.space,
            memories: checked.memories,
            files: checked.files[0],
            bytes: checked.files[1],
            cold_files: checked.cold[0],
            cold_rows: checked.cold[1],
            damage: checked.damage,
            derived: checked.derived,
            notes: checked.notes,
            repaired: checked.is_repaired,
        }
    }
}
