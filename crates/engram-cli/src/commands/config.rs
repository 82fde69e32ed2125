//! `engram config`: checks a configuration, and shows the settings in force.

use crate::fault::{Fault, Result};
use crate::screen::{Screen, counted};
use clap::{Args, Subcommand};
use engram::config::{Config as Settings, ConfigError, Loaded, Machine, environment};
use std::path::{Path, PathBuf};

/// Check a configuration, or show the settings in force
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  engram config check engram.toml
  engram config show
  engram config show --given --config engram.toml"
)]
pub(crate) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Name every problem of a configuration; exit code 1 if there is one
    #[command(after_help = "\
Examples:
  engram config check engram.toml
  ENGRAM_WAL__SYNC_MODE=batch engram config check

Without FILE: ENGRAM_CONFIG, or /etc/engram/engram.toml if it exists. Variables
ENGRAM_<SECTION>__<KEY> are checked too.")]
    Check {
        /// File to check
        file: Option<PathBuf>,
        /// Accept listening beyond this machine without an API key, as `engram serve --insecure` does
        #[arg(long)]
        insecure: bool,
    },
    /// Print settings as TOML, each with where it came from
    #[command(after_help = "\
Examples:
  engram config show
  engram config show --given
  ENGRAM_HNSW_INDEX__EF_SEARCH=100 engram config show --effective")]
    Show {
        /// All settings in force, also defaults; so it is without --given
        #[arg(long)]
        effective: bool,
        /// Only settings that a file or variable gives
        #[arg(long, conflicts_with = "effective")]
        given: bool,
        /// File to read
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

impl Config {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<()> {
        match self.action {
            Action::Check { file, insecure } => check(file.as_deref(), insecure, screen),
            Action::Show { effective: _, given, config } => {
                let loaded = load(config.as_deref())?;
                loaded.config().map_err(refused)?;
                let text = loaded.effective();
                let text = if given { only_given(&text) } else { text };
                screen.line(text.trim_end())
            }
        }
    }
}

/// The configuration as the server would read it.
pub(crate) fn load(file: Option<&Path>) -> Result<Loaded> {
    Settings::load(file, environment(), Machine::detect()).map_err(refused)
}

pub(crate) fn refused(error: ConfigError) -> Fault {
    let problems = counted(error.problems.len() as u64, "problem", "problems");
    Fault::Failed(format!("{problems} in the configuration\n{}", error.problems.join("\n")))
}

fn check(file: Option<&Path>, insecure: bool, screen: &mut Screen) -> Result<()> {
    let loaded = load(file)?;
    loaded.config().and_then(|config| config.check_exposure(insecure)).map_err(refused)?;
    for notice in loaded.notices() {
        screen.line(format_args!("note: {notice}"))?;
    }
    match &loaded.file {
        Some(file) => screen.line(format_args!("{}: no problems", file.display())),
        None => screen.line("no file, and no problems with the variables of the environment"),
    }
}

/// Lines of `text` whose origin is not the default, with the headings that they need.
fn only_given(text: &str) -> String {
    let mut kept = String::new();
    let mut heading = None;
    for line in text.lines() {
        if line.starts_with('[') {
            heading = Some(line);
        } else if line.starts_with('#') || (!line.is_empty() && !line.ends_with("# default")) {
            if let Some(heading) = heading.take() {
                kept.push_str(&format!("\n{heading}\n"));
            }
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_left_out_with_their_headings() {
        let text =
            "# File: a.toml\n\n[server]\nx = 1   # default\n\n[wal]\ny = 2   # a.toml:3\nz = 3   # default\n";
        assert_eq!(only_given(text), "# File: a.toml\n\n[wal]\ny = 2   # a.toml:3\n");
    }
}
