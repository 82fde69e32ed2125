//! `engram evaluate`: how well recall finds what cues are known to be after. Sets of memories, cues and answers are
//! read from folders, asked in this process, and scored; beside the whole of recall the same cues are asked of parts of
//! it, so that a figure always stands beside what is simpler.

mod ask;
mod evidence;
mod fit;
mod probe;
pub(crate) mod report;
pub(crate) mod score;
mod sets;

use crate::commands::interrupt::Interrupt;
use crate::fault::{Fault, Result};
use crate::files::Draft;
use crate::made::Made;
use crate::screen::{Screen, progress};
use ask::{Asked, Stored};
use clap::Args;
use engram::{Part, Without};
use engram_server::api::RankedLine;
use evidence::{EvidenceFile, Observed};
use fit::{ObservedSet, fit_all};
use probe::{Foreign, Probe, recalls};
use report::{Latency, Report, SetReport, WayReport, show_ablation};
use score::{Ranked, Wanted, calibration, rows, stated};
use sets::{AskedCue, Set, Vectors, read_cues};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Measure how well recall finds what cues are after
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram evaluate ./eval/musique
  engram evaluate ./eval/locomo ./eval/musique --ablate --output figures.json
  engram evaluate ./eval/musique --text-only --without entities,links
  engram evaluate ./eval/locomo --consolidate

A folder holds memories.jsonl as `engram import` takes them, cues.jsonl as
`engram recall --cues` does, and answers.jsonl with a line for each cue:
{\"id\": \"q1\", \"evidence\": [\"d3\"], \"category\": \"temporal\", \"answerable\": true}.
memories.npy and cues.npy hold vectors, a row a line. A folder of such folders
is one set: a space each, scored together. answerable is false for a trick
question, whose evidence is the misleading memory.

R@k: mean share of a cue's evidence among the first k hits. all@10: cues all of
whose evidence is there. ECE: how far relevance is off, over ten bins. AUROC:
how well the relevance of the first hit tells cues that have an answer from
those of another space, and from the same cues with their evidence taken out.
Nothing is kept, and no server is asked.")]
pub(crate) struct Evaluate {
    /// Folders of memories, cues and answers
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Leave the vectors of the .npy files out: the built-in embedder makes others
    #[arg(long)]
    text_only: bool,
    /// Also without these parts of recall, all at once
    #[arg(long, value_name = "PART,...", value_delimiter = ',', value_parser = part)]
    without: Vec<Part>,
    /// Also without each part of recall, one at a time
    #[arg(long)]
    ablate: bool,
    /// Consolidate first, and ask through concepts, too
    #[arg(long)]
    consolidate: bool,
    /// Ask these cues as those that have no answer, instead of those of the next space
    #[arg(long, value_name = "FOLDER")]
    foreign: Option<PathBuf>,
    /// Hits wanted of each recall; 20 for the figure of R@20
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20,
        value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Write what each cue ranked into this folder, as `engram recall --cues` does
    #[arg(long, value_name = "DIR")]
    ranked: Option<PathBuf>,
    /// Write the evidence behind the first ten hits of each cue, a line a hit
    #[arg(long, value_name = "FILE.jsonl")]
    evidence: Option<PathBuf>,
    /// Fit the constants of relevance to these sets, and print them
    #[arg(long, conflicts_with = "json")]
    fit: bool,
    /// Write the figures as JSON, with machine, version and command line
    #[arg(long, short, value_name = "FILE.json")]
    output: Option<PathBuf>,
    /// Print the figures as JSON
    #[arg(long)]
    json: bool,
}

fn part(name: &str) -> Result<Part, String> {
    Part::parse(name).ok_or_else(|| {
        let names: Vec<&str> = Part::ALL.into_iter().map(Part::name).collect();
        format!("there is no such part; parts are {}", names.join(", "))
    })
}

/// A way to recall.
struct Way {
    name: String,
    without: Without,
    through_concepts: bool,
}

impl Way {
    fn new(name: impl Into<String>, without: Without) -> Self {
        Self { name: name.into(), without, through_concepts: false }
    }
}

impl Evaluate {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<()> {
        let vectors = if self.text_only { Vectors::Ignored } else { Vectors::Read };
        let open = |folder: &PathBuf| Set::open(folder, vectors);
        let sets = self.folders.iter().map(open).collect::<Result<Vec<_>>>()?;
        let foreign = self.foreign.as_deref().map(|folder| read_cues(folder, vectors)).transpose()?;
        let draft = self.output.as_deref().map(Draft::new).transpose()?;
        let mut evidence = self.evidence.as_deref().map(EvidenceFile::new).transpose()?;
        let interrupt = Interrupt::listen()?;
        let mut by_set = Vec::new();
        let mut report = Report { made: Made::now(), limit: self.limit.into(), sets: Vec::new() };
        for (at, set) in sets.iter().enumerate() {
            let mut stored = Stored::new(set, self.limit.into(), &interrupt)?;
            if self.consolidate {
                stored.consolidate()?;
            }
            let others = foreign_cues(&sets, at, foreign.as_deref(), &stored);
            let outcome = self.evaluate(&stored, &others);
            let closed = stored.close();
            let (found, observed) = outcome?;
            closed?;
            let observed = ObservedSet { name: set.name.clone(), observed };
            if let Some(file) = &mut evidence {
                file.write(&observed)?;
            }
            by_set.push(observed);
            if !self.json {
                found.show(screen)?;
            }
            report.sets.push(found);
        }
        if self.ablate && !self.json {
            show_ablation(screen, &report.sets)?;
        }
        if self.fit {
            fit_all(screen, &by_set)?;
        }
        evidence.map(EvidenceFile::publish).transpose()?;
        if let Some(draft) = draft {
            let mut file = draft.file()?;
            serde_json::to_writer_pretty(&mut file, &report).map_err(|error| draft.fault(&error.into()))?;
            file.write_all(b"\n").map_err(|error| draft.fault(&error))?;
            draft.publish(&file)?;
        }
        if self.json { screen.json(&report) } else { Ok(()) }
    }

    /// The whole of recall first, then what stands beside it.
    fn ways(&self, stored: &Stored<'_>) -> Vec<Way> {
        let mut ways = vec![
            Way::new("everything", Without::default()),
            Way::new("words alone (BM25)", Without::all_but(&[Part::Words])),
        ];
        if stored.has_vectors() {
            ways.push(Way::new("vectors alone", Without::all_but(&[Part::Vectors])));
        }
        ways.push(Way::new("no spreading", [Part::Spreading].into_iter().collect()));
        if self.consolidate {
            ways.push(Way { through_concepts: true, ..Way::new("through concepts", Without::default()) });
        }
        if !self.without.is_empty() {
            let without: Without = self.without.iter().copied().collect();
            let names: Vec<&str> = without.parts().map(Part::name).collect();
            ways.push(Way::new(format!("without {}", names.join(", ")), without));
        }
        ways
    }

    /// Asks everything of one set. The evidence behind its hits comes with the figures.
    fn evaluate(&self, stored: &Stored<'_>, foreign: &Foreign<'_>) -> Result<(SetReport, Vec<Observed>)> {
        let set = stored.set;
        let mut ways = self.ways(stored);
        let beside = ways.len();
        if self.ablate {
            ways.extend(ablations());
        }
        let with_words_alone = self.fit && stored.has_vectors();
        let probes = 1 + usize::from(with_words_alone);
        let recalls = set.cues() * (ways.len() - 1) + probes * recalls(stored, foreign);
        let bar = progress("recalling", "cues", Some(recalls as u64));
        let mut by_way = Vec::new();
        // The whole of recall last: by then everything is warm, and its latency is what users see.
        for way in &ways[1..] {
            by_way.push(stored.ask_own(way.without, way.through_concepts, &bar)?);
        }
        let probe = Probe::new(stored, foreign, ways[0].without, &bar)?;
        let mut observed = probe.observed(set, foreign);
        if with_words_alone {
            let without = [Part::Vectors].into_iter().collect();
            observed.extend(Probe::new(stored, foreign, without, &bar)?.observed(set, foreign));
        }
        bar.finish_and_clear();
        if let Some(folder) = &self.ranked {
            write_ranked(folder, set, &probe.own)?;
        }
        let score = |(way, asked): (&Way, &Vec<Vec<Asked>>)| {
            let answers = pairs(set, asked);
            let calibration = calibration(stated(&answers));
            let (name, without) = (way.name.clone(), way.without);
            let looked_at = mean(asked.iter().flatten().map(|asked| asked.looked_at));
            WayReport { name, without, looked_at, rows: rows(&answers), calibration }
        };
        let answers = std::iter::once(&probe.own).chain(&by_way);
        let mut scored: Vec<WayReport> = ways.iter().zip(answers).map(score).collect();
        let ablations = scored.split_off(beside);
        let report = SetReport {
            name: set.name.clone(),
            spaces: set.spaces.len(),
            memories: stored.memories(),
            concepts: stored.concepts,
            cues: set.cues(),
            vectors: set.has_vectors(),
            ways: scored,
            ablations,
            unknown: probe.unknown(),
            latency: Latency::of(probe.own.iter().flatten().map(|asked| asked.seconds).collect()),
        };
        Ok((report, observed))
    }
}

fn mean(numbers: impl Iterator<Item = usize>) -> f64 {
    let (sum, count) = numbers.fold((0, 0), |(sum, count), number| (sum + number, count + 1));
    sum as f64 / f64::from(count.max(1))
}

/// Each part taken out alone.
fn ablations() -> impl Iterator<Item = Way> {
    Part::ALL.into_iter().map(|part| Way::new(part.name(), [part].into_iter().collect()))
}

/// The cues that have no answer in the spaces of a set: those given, or those of the next space, round the circle; of
/// the next set where a set has one space only.
fn foreign_cues<'a>(
    sets: &'a [Set],
    at: usize,
    given: Option<&'a [AskedCue]>,
    stored: &Stored<'_>,
) -> Foreign<'a> {
    let spaces = &sets[at].spaces;
    let others: Vec<&[AskedCue]> = match given {
        Some(cues) => vec![cues; spaces.len()],
        None if spaces.len() > 1 => {
            (1..=spaces.len()).map(|next| spaces[next % spaces.len()].cues.as_slice()).collect()
        }
        None if sets.len() > 1 => vec![sets[(at + 1) % sets.len()].spaces[0].cues.as_slice()],
        None => return Err("foreign cues: give --foreign FOLDER, or another set beside this one".into()),
    };
    match others.iter().find(|cues| !stored.can_compare(cues)) {
        None => Ok(others),
        Some(_) => Err("foreign cues: their vectors and those of the memories here differ in length".into()),
    }
}

/// Answers beside what was wanted, over all spaces of a set.
fn pairs<'a>(set: &'a Set, asked: &'a [Vec<Asked>]) -> Vec<(&'a Wanted, &'a Ranked)> {
    let wanted = set.spaces.iter().flat_map(|folder| &folder.wanted);
    wanted.zip(asked.iter().flatten().map(|asked| &asked.ranked)).collect()
}

/// A file for each space: `SET.jsonl`, or `SET-FOLDER.jsonl` where a set has several.
fn write_ranked(folder: &Path, set: &Set, asked: &[Vec<Asked>]) -> Result<()> {
    std::fs::create_dir_all(folder)
        .map_err(|error| Fault::file(folder, "cannot make this folder", &error))?;
    for (space, answers) in set.spaces.iter().zip(asked) {
        let inner = space.path.file_name().filter(|_| set.spaces.len() > 1);
        let name =
            inner.map_or_else(|| set.name.clone(), |inner| format!("{}-{}", set.name, inner.display()));
        let draft = Draft::new(&folder.join(format!("{name}.jsonl")))?;
        let mut file = BufWriter::new(draft.file()?);
        for (cue, answer) in space.cues.iter().zip(answers) {
            let line = RankedLine {
                id: cue.id.clone(),
                ranked: answer.ranked.ids.clone(),
                relevance: answer.ranked.relevance.clone(),
                abstain: answer.abstain,
            };
            let json = serde_json::to_string(&line).expect("wire types have text keys only");
            writeln!(file, "{json}").map_err(|error| draft.fault(&error))?;
        }
        let file = file.into_inner().map_err(|error| draft.fault(error.error()))?;
        draft.publish(&file)?;
    }
    Ok(())
}
