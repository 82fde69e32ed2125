//! `engram demo`: the newcomer's first minute. A part of WordNet that the binary holds is stored in a folder of its own,
//! some cues are asked, and the paths of activation to their hits are drawn. Then: how to go on with one's own data.

use crate::backend::Backend;
use crate::commands::import::{Source, import};
use crate::commands::interrupt::Interrupt;
use crate::fault::{Fault, Result, failed, usage};
use crate::files::Lines;
use crate::screen::{Screen, accent, counted, faint, grouped, strong};
use crate::tree::{Detail, contents_on_paths, hit_lines, why_lines};
use clap::Args;
use engram::Options;
use engram_server::api::{CueIn, EmbedderIn, Provider, RecallOut, SpaceSettingsIn};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Synsets of WordNet as lines of memories; tools/wordnet/build_demo.py makes them.
const WORDNET: &[u8] = include_bytes!("../../data/wordnet-demo.jsonl.zst");
const LICENCE: &str = "WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved.";
const SPACE: &str = "wordnet";
/// What is asked unless the user asks. Among the hits are memories that have no word of the cue.
const CUES: [&str; 4] = ["young of a cow", "cold weather with snow", "catching fish", "violinist"];
const HITS_SHOWN: usize = 3;
const PATHS_SHOWN: usize = 2;
/// Times that each cue is asked for the median.
const REPEATS: usize = 25;
/// The rows of a text that is laid out for a page are not longer than this.
const COLUMNS_MAX: usize = 100;

/// See what Engram does, with data of its own and nothing set up
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram demo
  engram demo \"a bird that cannot fly\"
  engram demo --keep ./wordnet        and then:
  engram recall --data-dir ./wordnet --space wordnet \"guitar\" --explain")]
pub(crate) struct Demo {
    /// Ask this instead of the cues of the demo; may be repeated
    cues: Vec<String>,
    /// Keep the memories in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Demo {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<()> {
        let interrupt = Interrupt::listen()?;
        // Removed when this function ends, however it ends.
        let temporary = match &self.keep {
            Some(dir) if dir.join("spaces").join(SPACE).exists() => {
                return usage(format!(
                    "{}: a space {SPACE} is there already; name another folder",
                    dir.display()
                ));
            }
            Some(_) => None,
            None => Some(
                tempfile::Builder::new()
                    .prefix("engram-demo-")
                    .tempdir()
                    .map_err(|error| Fault::Failed(format!("cannot make a temporary folder: {error}")))?,
            ),
        };
        let folder = self.keep.as_deref().or(temporary.as_ref().map(|folder| folder.path()));
        let folder = folder.expect("one of the two is there");
        let backend = Backend::open_engine(Options::new(folder))?;
        backend.with(|backend| self.show(backend, &interrupt, screen))?;
        how_to_go_on(screen, self.keep.as_deref())
    }

    fn show(&self, backend: &Backend, interrupt: &Interrupt, screen: &mut Screen) -> Result<()> {
        screen.line(strong().apply_to("Engram stores memories, links them, and recalls along the links."))?;
        screen.line("The memories here are words and their meanings; the links say what is a kind,")?;
        screen.line("a part, a cause or a relative of what. No vectors, no model, no network.")?;
        screen.line("")?;
        let source = wordnet()?;
        // What vectors find by themselves would hide what the links bring.
        let embedder = EmbedderIn { provider: Provider::None, dimensions: None, version: None };
        backend
            .put_space(SPACE, SpaceSettingsIn { embedder: Some(embedder), ..SpaceSettingsIn::default() })?;
        let stored = import(backend, SPACE, source, false, interrupt)?;
        let memories = counted(stored.memories, "memory", "memories");
        let links = counted(stored.links, "link", "links");
        screen.line(format_args!("Stored {memories} and {links} in {:.1} s.", stored.seconds))?;
        let cues: Vec<&str> =
            if self.cues.is_empty() { CUES.to_vec() } else { self.cues.iter().map(String::as_str).collect() };
        let mut took_ms = Vec::new();
        for cue in cues {
            if interrupt.is_asked() {
                return failed("stopped");
            }
            took_ms.extend(ask(backend, cue, screen)?);
        }
        took_ms.sort_by(f64::total_cmp);
        screen.line("")?;
        screen.line(format_args!(
            "{} recalls, each over {memories}: median {:.2} ms, slowest {:.2} ms.",
            grouped(took_ms.len() as u64),
            took_ms[took_ms.len() / 2],
            took_ms[took_ms.len() - 1]
        ))
    }
}

/// Asks one cue, shows the best hits and why, and gives the milliseconds of each time that it was asked.
fn ask(backend: &Backend, cue: &str, screen: &mut Screen) -> Result<Vec<f64>> {
    let ask = |explain| backend.recall(SPACE, CueIn { limit: Some(HITS_SHOWN), explain, ..CueIn::text(cue) });
    let recalled: RecallOut = ask(Some(true))?;
    let columns = Some(screen.page_columns().min(COLUMNS_MAX));
    screen.line("")?;
    screen.line(format_args!("{} {}", accent().apply_to("?"), strong().apply_to(cue)))?;
    if recalled.hits.is_empty() {
        screen.line(faint().apply_to("   nothing found"))?;
    } else if recalled.abstain {
        screen.line(faint().apply_to("   Engram is not sure; the nearest:"))?;
    }
    let contents = contents_on_paths(backend, SPACE, &recalled.hits, Detail::Short, PATHS_SHOWN)?;
    for (i, hit) in recalled.hits.iter().enumerate() {
        let lines = hit_lines(i + 1, hit, Detail::Short, columns);
        for line in lines.into_iter().chain(why_lines(hit, &contents, Detail::Short, PATHS_SHOWN, columns)) {
            screen.line(line)?;
        }
    }
    (0..REPEATS).map(|_| Ok(ask(None)?.took_ms)).collect()
}

fn how_to_go_on(screen: &mut Screen, kept: Option<&Path>) -> Result<()> {
    screen.line("")?;
    screen.line("─▶ follows a link, ◀ goes against it; the number is how much of the activation")?;
    screen.line("went this way. A percentage is how much of what arrived came by that path.")?;
    screen.line("")?;
    screen.line(strong().apply_to("With your own data"))?;
    let mut commands = vec![
        ("engram serve".to_owned(), "a server on 127.0.0.1:8080"),
        ("engram import --space mine memories.jsonl".to_owned(), "a memory a line:"),
        (String::new(), "{\"id\": \"m1\", \"content\": \"...\"}"),
        ("engram recall --space mine \"...\" --explain".to_owned(), "ask, and see why"),
    ];
    if let Some(dir) = kept {
        let dir = dir.display();
        commands.push((
            format!("engram recall --data-dir {dir} --space {SPACE} \"...\""),
            "ask what the demo stored",
        ));
    }
    for (command, what) in commands {
        screen.line(format_args!(
            "  {}  {}",
            accent().apply_to(format!("{command:42}")),
            faint().apply_to(what)
        ))?;
    }
    screen.line("")?;
    screen.line(faint().apply_to(LICENCE))
}

/// The lines that the binary holds, to be stored.
fn wordnet() -> Result<Source> {
    let text = wordnet_lines()?;
    let count = text.iter().filter(|byte| **byte == b'\n').count() as u64;
    Ok(Source::of(Lines::of("the data of the demo", text), count))
}

/// The lines that the binary holds.
pub(crate) fn wordnet_lines() -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let unpacked = ruzstd::decoding::StreamingDecoder::new(WORDNET)
        .map_err(|error| error.to_string())
        .and_then(|mut decoder| decoder.read_to_end(&mut text).map_err(|error| error.to_string()));
    unpacked.map_err(|error| Fault::Failed(format!("the data inside this program is damaged: {error}")))?;
    Ok(text)
}
