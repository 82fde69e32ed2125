//! The command line as a whole, and the kinds of values that several commands take.

use crate::commands::{
    activate, backup, benchmark, check, compare_benchmarks, complete, config, consolidate, demo, evaluate,
    export, forget, import, recall, reinforce, restore, selftest, serve, space, status, store, validate,
};
use crate::fault::{Fault, Result};
use clap::{Args, Parser, Subcommand};
use engram::{MemoryId, SpaceName, clock};
use engram_server::api::{FilterIn, Time, from_json};
use std::path::{Path, PathBuf};

/// A memory: stores what happened, links it, and recalls it by words, vectors and associations.
#[derive(Debug, Parser)]
#[command(
    name = "engram",
    version,
    arg_required_else_help = true,
    max_term_width = 80,
    after_help = "\
Examples:
  engram demo                                  see it work, with nothing set up
  engram serve                                 run a server on 127.0.0.1:8080
  engram store --space diary \"It rained in Bath\"
  engram recall --space diary \"rain\" --explain
  engram recall --space diary \"rain\" --data-dir ./engram-data

Commands ask the server at --url or ENGRAM_URL, otherwise http://127.0.0.1:8080,
or work on the folder given by --data-dir. ENGRAM_API_KEY is sent along.
Exit codes: 0 done, 1 failed, 2 wrong usage or no server."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(demo::Demo),
    Serve(serve::Serve),
    Store(store::Store),
    Recall(recall::Recall),
    Activate(activate::Activate),
    Complete(complete::Complete),
    Reinforce(reinforce::Reinforce),
    Consolidate(consolidate::Consolidate),
    Forget(forget::Forget),
    Import(import::Import),
    Export(export::Export),
    Space(space::Space),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Check(check::Check),
    Status(status::Status),
    Evaluate(evaluate::Evaluate),
    Validate(validate::Validate),
    Benchmark(Box<benchmark::Benchmark>),
    CompareBenchmarks(compare_benchmarks::CompareBenchmarks),
    Test(selftest::Test),
    Config(config::Config),
}

/// Where the memories are.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where the memories are")]
pub(crate) struct Target {
    /// Work on this folder; no server may have it open
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Ask this server [env: ENGRAM_URL] [default: http://127.0.0.1:8080]
    #[arg(long)]
    pub(crate) url: Option<String>,
}

/// The space of a command.
#[derive(Debug, Clone, Args)]
pub(crate) struct InSpace {
    /// Space of memories
    #[arg(long, short, value_name = "NAME", value_parser = space_name)]
    pub(crate) space: String,
}

pub(crate) fn space_name(text: &str) -> Result<String, String> {
    SpaceName::new(text).map(|name| name.to_string()).map_err(|error| error.to_string())
}

pub(crate) fn memory_id(text: &str) -> Result<String, String> {
    MemoryId::new(text).map(|id| id.to_string()).map_err(|error| error.to_string())
}

pub(crate) fn time(text: &str) -> Result<Time, String> {
    clock::parse_rfc3339(text).map(Time)
}

/// A filter as JSON, or the name of a file that holds it.
pub(crate) fn filter(text: &str) -> Result<FilterIn, String> {
    let json = json_or_file(text, '{').map_err(|fault| fault.verdict().0.unwrap_or_default().to_owned())?;
    from_json(&json).map_err(|error| error.detail)
}

/// JSON that starts with `open`, or the contents of the file of that name.
pub(crate) fn json_or_file(text: &str, open: char) -> Result<Vec<u8>> {
    if text.trim_start().starts_with(open) {
        return Ok(text.as_bytes().to_owned());
    }
    let path = Path::new(text);
    std::fs::read(path)
        .map_err(|error| Fault::file(path, "is neither JSON nor a file that can be read", &error))
}

/// A vector as JSON, or the name of a .json or .npy file that holds it.
pub(crate) fn embedding(text: &str) -> Result<Vec<f32>> {
    let place = |fault: Fault| fault.at("--embedding");
    if text.ends_with(".npy") {
        let mut rows = crate::npy::Rows::open(Path::new(text)).map_err(place)?;
        if rows.count != 1 {
            return Err(Fault::Usage(format!("--embedding: {text} has {} rows, needed is one", rows.count)));
        }
        return rows
            .next()
            .map_err(place)?
            .ok_or_else(|| Fault::Usage(format!("--embedding: {text} holds only NaN")));
    }
    let json = json_or_file(text, '[').map_err(place)?;
    from_json(&json).map_err(|error| Fault::Usage(format!("--embedding: {}", error.detail)))
}
