//! With what figures were found: command, build and machine. Every report carries it, so that figures can be repeated,
//! and told from those of another machine.

use crate::screen::sized;
use engram::Simd;
use engram::clock::{self, Clock};
use engram::config::Machine;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;

/// With what figures were found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Made {
    command: Vec<String>,
    version: String,
    /// `release` or `debug`: a debug build is many times slower.
    #[serde(default)]
    build: String,
    /// Of the checkout of Engram that it ran in, with `-dirty` where files differed.
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<String>,
    date: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    processor: Option<String>,
    cores: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    /// The system and its version.
    #[serde(default)]
    system: String,
    /// The best set of instructions for distances that the processor has.
    #[serde(default)]
    simd: String,
}

impl Made {
    /// Here and now.
    pub(crate) fn now() -> Self {
        let machine = Machine::detect();
        let arguments = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned());
        Self {
            command: arguments.collect(),
            version: env!("CARGO_PKG_VERSION").into(),
            build: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
            commit: commit(),
            date: clock::format_rfc3339(Clock::system().now()),
            processor: processor(),
            cores: machine.cores,
            memory_bytes: machine.memory_bytes,
            system: system(),
            simd: Simd::best().name().into(),
        }
    }

    pub(crate) fn is_debug(&self) -> bool {
        self.build == "debug"
    }

    /// What differs between two machines or builds in a way that makes their speed another.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let differ = self.facts().into_iter().zip(other.facts()).filter(|(own, other)| own != other);
        differ.map(|((name, own), (_, other))| format!("{name}: {own} and {other}")).collect()
    }

    /// What decides over speed.
    fn facts(&self) -> [(&'static str, String); 6] {
        [
            ("build", self.build.clone()),
            ("processor", self.processor.clone().unwrap_or_else(|| "unnamed".into())),
            ("cores", self.cores.to_string()),
            ("memory of the machine", self.memory_bytes.map_or_else(|| "unknown".into(), sized)),
            ("system", self.system.clone()),
            ("instructions", self.simd.clone()),
        ]
    }

    /// A line for people: version, commit, day and machine.
    pub(crate) fn line(&self) -> String {
        let day = self.date.split('T').next().unwrap_or_default();
        let commit = self.commit.as_ref().map(|commit| format!(" at {commit}")).unwrap_or_default();
        let processor = self.processor.as_deref().unwrap_or("an unnamed processor");
        format!("Engram {}{commit}, {day}, {} cores of {processor}.", self.version, self.cores)
    }
}

/// The commit of the folder that this runs in, if that is a checkout of Engram.
fn commit() -> Option<String> {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    let root = git(&["rev-parse", "--show-toplevel"])?;
    Path::new(&root).join("crates/engram-core").is_dir().then_some(())?;
    git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}

/// `linux x86_64 6.1.0`, as far as it can be told.
fn system() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {} {}", std::env::consts::OS, std::env::consts::ARCH, release.trim()).trim().to_owned()
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
