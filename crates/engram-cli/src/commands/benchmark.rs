//! `engram benchmark`: load on a running server, or on an engine in this process, and what it took. Memories are stored
//! first, then clients ask through the same API as everybody; nothing is asked that only a benchmark could ask.

mod asks;
mod data;
mod load;
mod mix;
mod pace;
pub(crate) mod report;
mod steps;
mod subject;
mod tally;
mod words;

use crate::args::space_name;
use crate::backend::is_not_found;
use crate::commands::interrupt::Interrupt;
use crate::commands::serve::setting;
use crate::fault::{Result, usage};
use crate::made::Made;
use crate::screen::{Screen, counted};
use asks::{Asks, CueBy};
use clap::Args;
use data::{Data, cues_of_file, wait_for_index};
use engram::clock::Stopwatch;
use engram_server::api::{EmbedderIn, SpaceOut};
use load::Plan;
use mix::Mix;
use report::{Report, Setup, Stored};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use steps::Sweep;
use subject::Subject;

/// Measure speed under load: latencies, throughput, accuracy, memory
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram benchmark --duration 10s
  engram benchmark --duration=60s --output=baseline.json
  engram benchmark --url http://127.0.0.1:8080 --concurrency 16
  engram benchmark --rate 2000 --mix recall=100
  engram benchmark --sweep 1,2,4,8 --plot load.svg
  engram benchmark --data vectors.npy --cues cues.npy --cue vector
  engram compare-benchmarks baseline.json after.json

Without --url (or ENGRAM_URL) and --data-dir the engine runs in this process, on
a temporary folder that goes away. On a server, a space of its own is made, and
deleted at the end.

Closed loop (no --rate): each client asks again when it is answered, so that a
stall is seen by no more operations than there are clients. Open loop (--rate):
operations arrive when they are planned, at random, and are timed from then;
what nobody had begun at the end counts with the time that it had waited.

Generated memories have vectors around 128 centres, texts of real words,
contexts and links, all by --seed. Rows of an .npy file become memories with
such texts and links. Recall@10 compares with exact search, without spreading.
Exit codes: 0 done, 1 failed, or more than 1 % of the operations did, 2 wrong
usage or no server.")]
pub(crate) struct Benchmark {
    /// How long each load lasts: 60s, 500ms or 2m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = steps::duration)]
    duration: Duration,
    /// How long the same is asked before, uncounted
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = steps::duration_or_none)]
    warmup: Duration,
    /// Clients that ask at the same time, 1 to 1024
    #[arg(long, short, value_name = "N", default_value = "8", value_parser = steps::clients)]
    concurrency: usize,
    /// Shares of operations in percent: recall, activate, store, get, reinforce
    #[arg(long, value_name = "SHARES", default_value = "recall=80,activate=15,store=5")]
    mix: Mix,
    /// Operations that arrive each second, whatever is answered (open loop)
    #[arg(long, value_name = "PER_SECOND", value_parser = steps::rate)]
    rate: Option<f64>,
    /// Several loads: of 1,2,4,8 clients, or of rate=500,1000,2000 a second
    #[arg(long, value_name = "LOADS", conflicts_with = "rate")]
    sweep: Option<Sweep>,
    /// Write a plot of latency against load
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Write the figures as JSON
    #[arg(long, short, value_name = "FILE.json")]
    output: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
    /// Memories: lines as for `engram import`, or an .npy file of vectors
    #[arg(long, value_name = "FILE", help_heading = "What is stored and asked")]
    data: Option<PathBuf>,
    /// Vectors of the lines of --data
    #[arg(long, value_name = "FILE.npy", requires = "data", help_heading = "What is stored and asked")]
    embeddings: Option<PathBuf>,
    /// Vectors to recall by; like those of memories where absent
    #[arg(long, value_name = "FILE.npy", help_heading = "What is stored and asked")]
    cues: Option<PathBuf>,
    /// What a cue consists of
    #[arg(long, value_enum, default_value = "both", help_heading = "What is stored and asked")]
    cue: CueBy,
    /// Send a server the vector of a cue as bytes rather than JSON; for --cue vector
    #[arg(long, help_heading = "What is stored and asked")]
    binary: bool,
    /// Hits that a recall asks for, 1 to 1000
    #[arg(long, value_name = "N", default_value = "10", value_parser = steps::limit, help_heading = "What is stored and asked")]
    limit: usize,
    /// Memories to generate
    #[arg(long, value_name = "N", default_value = "10000", value_parser = steps::memories, conflicts_with = "data", help_heading = "What is stored and asked")]
    memories: u64,
    /// Numbers of a generated vector, 1 to 4096
    #[arg(long, value_name = "N", default_value = "384", value_parser = steps::dimensions, conflicts_with = "data", help_heading = "What is stored and asked")]
    dimensions: usize,
    /// Decides everything that is random
    #[arg(long, value_name = "N", default_value = "42", help_heading = "What is stored and asked")]
    seed: u64,
    /// Server to load [env: ENGRAM_URL]
    #[arg(long, help_heading = "Where the memories are")]
    url: Option<String>,
    /// Run the engine on this folder; no server may have it open
    #[arg(long, value_name = "DIR", conflicts_with = "url", help_heading = "Where the memories are")]
    data_dir: Option<PathBuf>,
    /// Space for the memories
    #[arg(long, short, value_name = "NAME", default_value = "benchmark", value_parser = space_name, help_heading = "Where the memories are")]
    space: String,
    /// Leave the space, and where it is there already, store nothing before the load
    #[arg(long, help_heading = "Where the memories are")]
    keep: bool,
    /// Configuration of the engine in this process
    #[arg(long, value_name = "FILE", help_heading = "Where the memories are")]
    config: Option<PathBuf>,
    /// Any of its settings, as in the file; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = setting, help_heading = "Where the memories are")]
    set: Vec<(String, String)>,
}

impl Benchmark {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<ExitCode> {
        let data = match &self.data {
            Some(path) => Data::of_file(path, self.embeddings.as_deref(), self.seed)?,
            None => Data::generated(self.memories, self.dimensions, self.seed)?,
        };
        let cues = self.cues.as_deref().map(cues_of_file).transpose()?.unwrap_or_default();
        let interrupt = Interrupt::listen()?;
        let subject =
            Subject::open(self.url.as_deref(), self.data_dir.as_deref(), self.config.as_deref(), &self.set)?;
        if self.keep && subject.is_temporary() {
            return usage("--keep is for --data-dir or --url: a temporary folder goes away");
        }
        if self.binary && (self.cue != CueBy::Vector || !subject.is_server()) {
            return usage("--binary is for --cue vector and a server: bytes hold no words, and need a wire");
        }
        let report = subject.with(|subject| {
            let found = subject.backend.space(&self.space);
            let is_new = is_not_found(&found);
            if !is_new {
                self.check_reuse(&found?)?;
            }
            let measured = self.measure(subject, &data, &cues, is_new, &interrupt, screen);
            if is_new && !self.keep && !subject.is_temporary() {
                // What was measured stands, and its failure counts more than this one's.
                let deleted = subject.backend.delete_space(&self.space);
                return measured.and_then(|report| deleted.map(|_| report));
            }
            measured
        })?;
        self.hand_out(&report, screen)?;
        Ok(ExitCode::from(u8::from(report.has_failed())))
    }

    fn check_reuse(&self, found: &SpaceOut) -> Result<()> {
        let name = &self.space;
        if !self.keep {
            return usage(format!(
                "a space {name} is there already, with {}; --keep uses it as it is, --space names another, \
                 `engram space delete` makes room",
                counted(found.memories, "memory", "memories")
            ));
        }
        if found.memories == 0 {
            return usage(format!("the space {name} is empty; delete it, or name another with --space"));
        }
        Ok(())
    }

    fn measure(
        &self,
        subject: &Subject,
        data: &Data,
        cues: &[Vec<f32>],
        is_new: bool,
        interrupt: &Interrupt,
        screen: &mut Screen,
    ) -> Result<Report> {
        let backend = &subject.backend;
        let stored = is_new.then(|| self.store(subject, data, interrupt)).transpose()?;
        if !is_new {
            wait_for_index(backend, &self.space, interrupt)?;
        }
        let ids = data.ids(backend, &self.space)?;
        let mut asks = Asks::new(&self.space, data.samples()?, ids, cues, self.cue, self.limit)?;
        asks.is_binary = self.binary;
        let accuracy = asks.accuracy(backend)?;
        let setup = self.setup(subject, data, &backend.space(&self.space)?);
        let memory = subject.memory(&self.space)?;
        let mut report = Report { made: Made::now(), setup, stored, accuracy, loads: Vec::new(), memory };
        if !self.json {
            report.show_setup(screen)?;
        }
        let plan = Plan {
            subject,
            asks: &asks,
            mix: &self.mix,
            warmup: self.warmup,
            duration: self.duration,
            seed: self.seed,
            interrupt,
        };
        for step in self.steps() {
            let load = plan.run(step)?;
            if !self.json {
                load.show(screen)?;
            }
            report.loads.push(load);
        }
        report.memory = subject.memory(&self.space)?;
        Ok(report)
    }

    fn store(&self, subject: &Subject, data: &Data, interrupt: &Interrupt) -> Result<Stored> {
        let watch = Stopwatch::start();
        let memories = data.store(&subject.backend, &self.space, interrupt)?;
        let seconds = watch.elapsed().as_secs_f64();
        let index_seconds = wait_for_index(&subject.backend, &self.space, interrupt)?;
        Ok(Stored { seconds, per_second: memories as f64 / seconds, index_seconds })
    }

    fn setup(&self, subject: &Subject, data: &Data, space: &SpaceOut) -> Setup {
        let dimensions = match space.settings.embedder {
            Some(EmbedderIn { dimensions: Some(dimensions), .. }) => dimensions as u64,
            _ => 0,
        };
        Setup {
            subject: subject.name(),
            is_server: subject.is_server(),
            data: data.name(),
            memories: space.memories,
            dimensions,
            seed: self.seed,
            mix: self.mix.to_string(),
            cue: self.cue,
            is_binary: self.binary,
            limit: self.limit,
            seconds: self.duration.as_secs_f64(),
            warmup_seconds: self.warmup.as_secs_f64(),
            set: self.set.clone(),
        }
    }

    fn hand_out(&self, report: &Report, screen: &mut Screen) -> Result<()> {
        if let Some(path) = &self.output {
            report.write(path)?;
        }
        if let Some(path) = &self.plot {
            report.plot(path)?;
        }
        if self.json {
            return screen.json(report);
        }
        screen.line("")?;
        report.show_memory(screen)?;
        for path in [&self.output, &self.plot].into_iter().flatten() {
            screen.line(format_args!("written: {}", path.display()))?;
        }
        Ok(())
    }
}
