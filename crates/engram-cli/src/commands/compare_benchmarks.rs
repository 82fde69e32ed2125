//! `engram compare-benchmarks`: two reports of `engram benchmark` side by side, and whether the change between them is
//! worth keeping.

use crate::commands::benchmark::report::{Report, milliseconds};
use crate::fault::{Fault, Result, usage};
use crate::screen::{Screen, bad, faint, good, strong};
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A change must gain more than this share to be kept, and lose more than it to be a regression: between two runs of the
/// same program less happens by chance.
const SHARE_MIN: f64 = 0.05;
/// Recall@10 falls or rises by this much of its range by a change, not by chance.
const ACCURACY_MIN: f64 = 0.005;

/// With less data most of what is in memory is the program.
const RATIO_DATA_BYTES_MIN: u64 = 10_000_000;

/// Hold two benchmarks against each other
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram benchmark --duration=60s --output=baseline.json
  engram benchmark --duration=60s --output=after.json
  engram compare-benchmarks baseline.json after.json

Verdicts: keep, a figure is better by more than 5 %; revert, the difference is
less; REGRESSION, it is worse by more than 5 % (recall@10: by more than .005;
errors: a larger share). Figures without a verdict stand beside: they vary most
between two runs of one program. The whole is a regression if one figure is,
else keep if one is to be kept, else revert.
Exit codes: 0 keep or revert, 1 regression, 2 not comparable: machines, builds,
data, mixes, clients, rates or times differ (--force compares all the same).")]
pub(crate) struct CompareBenchmarks {
    /// Before the change
    #[arg(value_name = "A.json")]
    before: PathBuf,
    /// After it
    #[arg(value_name = "B.json")]
    after: PathBuf,
    /// Compare what is not comparable, and say so
    #[arg(long)]
    force: bool,
    /// Print the comparison as JSON
    #[arg(long)]
    json: bool,
}

/// What to do with a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Revert,
    Keep,
    Regression,
}

/// Which way is better, and what counts as a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    Higher,
    Lower,
    /// By difference, not by ratio.
    Accurate,
    /// 0, or as few as before.
    NoneOrFewer,
    /// Stands beside.
    Beside,
}

/// A figure of both reports.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Pair {
    /// Which load; empty for figures of the whole.
    load: String,
    what: String,
    before: f64,
    after: f64,
    /// After over before; absent where before is 0.
    ratio: Option<f64>,
    verdict: Option<Verdict>,
}

/// Both reports, held against each other.
#[derive(Debug, Serialize)]
struct Comparison {
    verdict: Verdict,
    /// Why they are not comparable; empty where they are.
    differences: Vec<String>,
    figures: Vec<Pair>,
}

impl CompareBenchmarks {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<ExitCode> {
        let (before, after) = (read(&self.before)?, read(&self.after)?);
        let differences = differences(&before, &after);
        if !differences.is_empty() && !self.force {
            return usage(format!(
                "the two are not comparable, so any difference may come from this ({}; {}):\n  {}\n\
                 Measure both alike, or give --force.",
                self.before.display(),
                self.after.display(),
                differences.join("\n  ")
            ));
        }
        let figures = pairs(&before, &after);
        let verdict = figures.iter().filter_map(|pair| pair.verdict).max().unwrap_or(Verdict::Revert);
        let comparison = Comparison { verdict, differences, figures };
        if self.json {
            screen.json(&comparison)?;
        } else {
            comparison.show(&before, &after, screen)?;
        }
        Ok(ExitCode::from(u8::from(verdict == Verdict::Regression)))
    }
}

fn read(path: &Path) -> Result<Report> {
    let bytes = std::fs::read(path)
        .map_err(|error| Fault::Usage(format!("{}: cannot read it: {error}", path.display())))?;
    let report: Report = serde_json::from_slice(&bytes).map_err(|error| {
        let path = path.display();
        Fault::Usage(format!("{path}: is no report of `engram benchmark --output` of this version: {error}"))
    })?;
    if report.loads.is_empty() { usage(format!("{}: holds no load", path.display())) } else { Ok(report) }
}

/// What makes two reports not comparable.
fn differences(before: &Report, after: &Report) -> Vec<String> {
    let mut found = before.made.differences(&after.made);
    let (one, other) = (&before.setup, &after.setup);
    let where_ = |is_server| if is_server { "a server" } else { "an engine in the process" }.to_owned();
    let facts = [
        ("measured", where_(one.is_server), where_(other.is_server)),
        ("data", one.data.clone(), other.data.clone()),
        ("memories", one.memories.to_string(), other.memories.to_string()),
        ("numbers of a vector", one.dimensions.to_string(), other.dimensions.to_string()),
        ("seed", one.seed.to_string(), other.seed.to_string()),
        ("mix", one.mix.clone(), other.mix.clone()),
        ("cue", format!("{:?}", one.cue).to_lowercase(), format!("{:?}", other.cue).to_lowercase()),
        ("cues as bytes", one.is_binary.to_string(), other.is_binary.to_string()),
        ("limit", one.limit.to_string(), other.limit.to_string()),
        ("seconds", one.seconds.to_string(), other.seconds.to_string()),
        ("seconds before, uncounted", one.warmup_seconds.to_string(), other.warmup_seconds.to_string()),
        ("settings", settings(&one.set), settings(&other.set)),
        ("loads", loads(before), loads(after)),
    ];
    let differ = facts.into_iter().filter(|(_, one, other)| one != other);
    found.extend(differ.map(|(name, one, other)| format!("{name}: {one} and {other}")));
    found
}

/// Those that were given, in one order; of one that was given twice, the last counts.
fn settings(set: &[(String, String)]) -> String {
    let set: BTreeMap<_, _> = set.iter().map(|(key, value)| (key, value)).collect();
    let set: Vec<_> = set.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    if set.is_empty() { "defaults".into() } else { set.join(", ") }
}

fn loads(report: &Report) -> String {
    report.loads.iter().map(|load| load.step.to_string()).collect::<Vec<_>>().join(", ")
}

/// Every figure that both reports have.
fn pairs(before: &Report, after: &Report) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for load in &before.loads {
        let Some(other) = after.loads.iter().find(|other| other.step == load.step) else { continue };
        let mut push = |what: String, before, after, aim| {
            pairs.push(pair(load.step.to_string(), what, before, after, aim))
        };
        push("operations/s".into(), load.all.per_second, other.all.per_second, Aim::Higher);
        let share = |errors: u64, count: u64| errors as f64 / (errors + count).max(1) as f64;
        let errors = [load, other].map(|load| share(load.all.errors, load.all.count));
        push("share of errors".into(), errors[0], errors[1], Aim::NoneOrFewer);
        let all = (load.operations.len() > 1).then_some(("all", &load.all, &other.all));
        let each = load.operations.iter().filter_map(|(name, figures)| {
            other.operations.get(name).map(|other| (name.as_str(), figures, other))
        });
        for (name, figures, other) in all.into_iter().chain(each) {
            let (Some(one), Some(two)) = (figures.times, other.times) else { continue };
            for (percentile, one, two, aim) in [
                ("p50", one.p50_ms, two.p50_ms, Aim::Lower),
                ("p90", one.p90_ms, two.p90_ms, Aim::Beside),
                ("p95", one.p95_ms, two.p95_ms, Aim::Beside),
                ("p99", one.p99_ms, two.p99_ms, Aim::Lower),
                ("p99.9", one.p99_9_ms, two.p99_9_ms, Aim::Beside),
            ] {
                push(format!("{name} {percentile} (ms)"), one, two, aim);
            }
        }
        if let (Some(one), Some(two)) = (load.cpu_ms, other.cpu_ms) {
            push("processor (ms/operation)".into(), one, two, Aim::Lower);
        }
        if let (Some(one), Some(two)) = (load.cores.sum(), other.cores.sum()) {
            push("cores".into(), one, two, Aim::Beside);
        }
    }
    pairs.extend(whole(before, after));
    pairs
}

/// Figures that are not of one load.
fn whole(before: &Report, after: &Report) -> Vec<Pair> {
    let pair = |what: &str, before, after, aim| pair(String::new(), what.into(), before, after, aim);
    let (one, two) = (before.accuracy.recall_at_10, after.accuracy.recall_at_10);
    let mut pairs = vec![pair("recall@10", one, two, Aim::Accurate)];
    if let (Some(one), Some(two)) = (before.stored, after.stored) {
        pairs.push(pair("stored before, memories/s", one.per_second, two.per_second, Aim::Higher));
        pairs.push(pair("index after that (s)", one.index_seconds, two.index_seconds, Aim::Beside));
    }
    if let (Some(one), Some(two)) = (before.memory.memory_of_data, after.memory.memory_of_data) {
        let is_much = before.memory.data_bytes.min(after.memory.data_bytes) >= RATIO_DATA_BYTES_MIN;
        pairs.push(pair("memory / data", one, two, if is_much { Aim::Lower } else { Aim::Beside }));
    }
    pairs
}

fn pair(load: String, what: String, before: f64, after: f64, aim: Aim) -> Pair {
    let ratio = (before > 0.0).then(|| after / before);
    let by = |gain: f64, least: f64| match gain {
        _ if gain > least => Verdict::Keep,
        _ if gain < -least => Verdict::Regression,
        _ => Verdict::Revert,
    };
    let verdict = match aim {
        Aim::Higher => ratio.map(|ratio| by(ratio - 1.0, SHARE_MIN)),
        Aim::Lower => ratio.map(|ratio| by(1.0 - ratio, SHARE_MIN)),
        Aim::Accurate => Some(by(after - before, ACCURACY_MIN)),
        Aim::NoneOrFewer => Some(by(before - after, 0.0)),
        Aim::Beside => None,
    };
    Pair { load, what, before, after, ratio, verdict }
}

impl Comparison {
    fn show(&self, before: &Report, after: &Report, screen: &mut Screen) -> Result<()> {
        for (name, report) in [("A", before), ("B", after)] {
            screen.line(format_args!("{name}: {}", report.made.line()))?;
        }
        for difference in &self.differences {
            screen.line(bad().apply_to(format!("not comparable: {difference}")))?;
        }
        let mut load = None;
        for pair in &self.figures {
            if load.replace(&pair.load) != Some(&pair.load) {
                let head = if pair.load.is_empty() { "whole" } else { &pair.load };
                screen.line("")?;
                let columns = format!("{:>12}{:>12}{:>9}", "A", "B", "B / A");
                screen.line(format_args!(
                    "{}{}",
                    strong().apply_to(format!("{head:28}")),
                    faint().apply_to(columns)
                ))?;
            }
            let ratio = pair.ratio.map_or_else(|| "–".into(), |ratio| format!("{ratio:.2}"));
            let verdict = match pair.verdict {
                Some(Verdict::Keep) => good().apply_to("keep").to_string(),
                Some(Verdict::Revert) => "revert".into(),
                Some(Verdict::Regression) => bad().apply_to("REGRESSION").to_string(),
                None => String::new(),
            };
            let line = format!(
                "  {:26}{:>12}{:>12}{ratio:>9}  {verdict}",
                pair.what,
                milliseconds(pair.before),
                milliseconds(pair.after)
            );
            screen.line(line.trim_end())?;
        }
        screen.line("")?;
        screen.line(match self.verdict {
            Verdict::Keep => {
                good().apply_to("keep: something is better by more than 5 %, and nothing is worse")
            }
            Verdict::Revert => strong().apply_to("revert: nothing is better by more than 5 %"),
            Verdict::Regression => bad().apply_to("REGRESSION: something is worse by more than 5 %; revert"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(before: f64, after: f64, aim: Aim) -> Option<Verdict> {
        pair(String::new(), String::new(), before, after, aim).verdict
    }

    #[test]
    fn five_percent_decide() {
        use Verdict::{Keep, Regression, Revert};
        assert_eq!(
            [1060.0, 1040.0, 960.0, 940.0].map(|after| verdict(1000.0, after, Aim::Higher).unwrap()),
            [Keep, Revert, Revert, Regression]
        );
        assert_eq!(
            [0.94, 0.96, 1.04, 1.06].map(|after| verdict(1.0, after, Aim::Lower).unwrap()),
            [Keep, Revert, Revert, Regression]
        );
        assert_eq!(
            [0.98, 0.992, 0.998].map(|after| verdict(0.99, after, Aim::Accurate).unwrap()),
            [Regression, Revert, Keep]
        );
        assert_eq!(
            [0.0, 0.1].map(|after| verdict(0.0, after, Aim::NoneOrFewer).unwrap()),
            [Revert, Regression]
        );
        assert_eq!(verdict(0.2, 0.1, Aim::NoneOrFewer), Some(Keep));
        assert_eq!(verdict(1.0, 9.0, Aim::Beside), None);
        assert_eq!(verdict(0.0, 9.0, Aim::Lower), None, "there is no share of nothing");
    }

    #[test]
    fn one_regression_outweighs_all_gains() {
        assert_eq!(
            [Verdict::Keep, Verdict::Regression, Verdict::Revert].iter().max(),
            Some(&Verdict::Regression)
        );
        assert!(Verdict::Keep > Verdict::Revert);
    }
}
