//! `engram consolidate`: makes concepts of episodes that recur, and waits until that is done.

use crate::args::{InSpace, Target};
use crate::backend::{Backend, Folder};
use crate::commands::interrupt::Interrupt;
use crate::fault::{Result, failed};
use crate::screen::{Screen, counted, grouped, progress};
use clap::Args;
use engram_server::api::{ConsolidateIn, ConsolidatedOut, JobOut, JobStateOut};
use std::time::Duration;

/// How often the job is asked how far it is.
const ASKED_EVERY: Duration = Duration::from_millis(100);

/// Make concepts of the episodes that recur
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram consolidate --space diary --dry-run
  engram consolidate --space diary
  engram recall --space diary \"running\" --filter \\
    '{\"must\": [{\"field\": \"kind\", \"equals\": \"concept\"}]}'

Three or more episodes that are more alike than chance would have it get a
memory of kind concept: the words of the one that is most like all of them, when
they began and ended, whom they name, and links derived_from to each. Nothing is
invented, and no episode is changed. A second run finds nothing to do. To be rid
of the concepts, forget the memories of kind concept; what is deleted leaves its
concept by itself.")]
pub(crate) struct Consolidate {
    #[command(flatten)]
    space: InSpace,
    /// Say what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Consolidate {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<()> {
        let backend = Backend::open(&self.target, Folder::MustExist)?;
        let interrupt = Interrupt::listen()?;
        backend.with(|backend| {
            let started = backend.consolidate(&self.space.space, ConsolidateIn { dry_run: self.dry_run })?;
            let job = wait(backend, &started.job, &interrupt)?;
            if self.json {
                return screen.json(&job);
            }
            match (job.state, &job.result) {
                (JobStateOut::Done, Some(result)) => show(screen, &self.space.space, result),
                (JobStateOut::Stopped, _) => failed("it was stopped before its end; the next run goes on"),
                _ => failed(job.error.unwrap_or_else(|| "it failed, and says not why".to_owned())),
            }
        })
    }
}

/// Waits until the job has ended.
fn wait(backend: &Backend, id: &str, interrupt: &Interrupt) -> Result<JobOut> {
    let bar = progress("consolidating", "%", Some(100));
    let outcome = loop {
        let job = match backend.job(id) {
            Ok(job) => job,
            Err(fault) => break Err(fault),
        };
        if job.has_ended() {
            break Ok(job);
        }
        bar.set_position((job.progress * 100.0) as u64);
        if interrupt.is_asked() {
            break failed(match backend {
                Backend::Remote(_) => format!("the server goes on; GET /api/v1/jobs/{id} says how far it is"),
                Backend::Local(_) => "stopped; what was made stays, and the next run goes on".to_owned(),
            });
        }
        std::thread::sleep(ASKED_EVERY);
    };
    bar.finish_and_clear();
    outcome
}

fn show(screen: &mut Screen, space: &str, done: &ConsolidatedOut) -> Result<()> {
    if let Some(note) = &done.note {
        return screen.line(format_args!("nothing to consolidate: {note}"));
    }
    let counts = [(done.made, "made"), (done.changed, "changed"), (done.deleted, "deleted")];
    let verb = if done.dry_run { "would be " } else { "" };
    let counts: Vec<String> = counts
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, what)| format!("{} {verb}{what}", counted(*n as u64, "concept", "concepts")))
        .collect();
    let summary = if counts.is_empty() { "nothing to do".to_owned() } else { counts.join(", ") };
    screen.line(format_args!("space {space}: {summary}"))?;
    let stand = match (done.dry_run, done.concepts) {
        (true, _) => "would stand",
        (false, 1) => "stands",
        (false, _) => "stand",
    };
    screen.line(format_args!(
        "{} {stand} for {} of {}",
        counted(done.concepts as u64, "concept", "concepts"),
        grouped(done.sources as u64),
        counted(done.episodes as u64, "episode", "episodes"),
    ))?;
    if done.given_up > 0 {
        let given_up = counted(done.given_up as u64, "concept", "concepts");
        screen.line(format_args!("{given_up} given up, as episodes changed meanwhile; run it again"))?;
    }
    Ok(())
}
