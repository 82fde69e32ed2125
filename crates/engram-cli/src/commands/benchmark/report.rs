//! The figures of a benchmark: as tables for people, as JSON with all that is needed to repeat them, and as a plot.

use super::asks::{Accuracy, CueBy};
use super::load::Load;
use super::tally::Figures;
use crate::commands::validate::chart::{Axis, Chart, Mark, Series};
use crate::fault::{Fault, Result};
use crate::files::Draft;
use crate::made::Made;
use crate::screen::{Screen, bad, counted, faint, grouped, percent, sized, strong};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

/// Everything that a benchmark found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) made: Made,
    pub(crate) setup: Setup,
    /// Absent where the memories were there before.
    pub(crate) stored: Option<Stored>,
    pub(crate) accuracy: Accuracy,
    pub(crate) loads: Vec<Load>,
    pub(crate) memory: Memory,
}

/// What was asked, and of whom.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// `engine in this process`, or the address of a server.
    pub(crate) subject: String,
    pub(crate) is_server: bool,
    /// `generated`, or names of files.
    pub(crate) data: String,
    pub(crate) memories: u64,
    /// Of a vector; 0 where there are none.
    pub(crate) dimensions: u64,
    pub(crate) seed: u64,
    pub(crate) mix: String,
    pub(crate) cue: CueBy,
    /// Whether vectors of cues were sent as bytes.
    pub(crate) is_binary: bool,
    pub(crate) limit: usize,
    pub(crate) seconds: f64,
    /// How long the same was asked before, uncounted.
    pub(crate) warmup_seconds: f64,
    /// Settings that were given with --set.
    pub(crate) set: Vec<(String, String)>,
}

/// How long it took to store the memories.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// Until the last was durable.
    pub(crate) seconds: f64,
    pub(crate) per_second: f64,
    /// From then until the index held every vector.
    pub(crate) index_seconds: f64,
}

/// What was in use after all loads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// `engram_memory_bytes`: resident, above that of an empty process.
    pub(crate) memory_bytes: Option<u64>,
    /// `engram_data_bytes`: what users gave.
    pub(crate) data_bytes: u64,
    pub(crate) memory_of_data: Option<f64>,
}

impl Report {
    /// Whether more than one operation in a hundred failed somewhere.
    pub(crate) fn has_failed(&self) -> bool {
        self.loads.iter().any(|load| load.all.errors * 100 > load.all.count + load.all.errors)
    }

    /// Before the loads.
    pub(crate) fn show_setup(&self, screen: &mut Screen) -> Result<()> {
        let Setup { subject, data, memories, dimensions, mix, .. } = &self.setup;
        screen.line(strong().apply_to(self.made.line()))?;
        if self.made.is_debug() {
            screen.line(
                bad().apply_to("This is a debug build, many times slower than one made with --release."),
            )?;
        }
        let memories = counted(*memories, "memory", "memories");
        screen.line(format_args!("{subject}; {memories} of {dimensions} numbers ({data}); {mix}"))?;
        if let Some(stored) = self.stored {
            screen.line(format_args!(
                "stored in {:.1} s ({}/s), all in the index {:.1} s later",
                stored.seconds,
                grouped(stored.per_second as u64),
                stored.index_seconds
            ))?;
        }
        let Accuracy { recall_at_10, cues } = self.accuracy;
        let cues = counted(cues as u64, "cue", "cues");
        screen.line(format_args!("recall@10 {recall_at_10:.3} against exact search ({cues})"))
    }

    /// After the loads.
    pub(crate) fn show_memory(&self, screen: &mut Screen) -> Result<()> {
        let Memory { memory_bytes, data_bytes, memory_of_data } = self.memory;
        let memory = memory_bytes.map_or_else(|| "unknown".into(), sized);
        let ratio = memory_of_data.map(|ratio| format!(", {ratio:.2} x the data")).unwrap_or_default();
        screen.line(format_args!("in memory {memory} for {} of data{ratio}", sized(data_bytes)))
    }

    /// Writes the report as JSON.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).expect("the report has text keys only");
        write(path, &json)
    }

    /// Writes latencies against throughput as SVG.
    pub(crate) fn plot(&self, path: &Path) -> Result<()> {
        write(path, self.chart().svg().as_bytes())
    }

    fn chart(&self) -> Chart {
        let of = |pick: fn(&super::tally::Times) -> f64| -> Vec<(f64, f64)> {
            let point = |load: &Load| Some((load.all.per_second, pick(load.all.times.as_ref()?)));
            self.loads.iter().filter_map(point).collect()
        };
        let is_open = self.loads.iter().any(|load| load.step.rate.is_some());
        let asked = self.loads.iter().map(|load| match load.step.rate {
            Some(rate) => format!("{}/s", grouped(rate as u64)),
            None => load.step.clients.to_string(),
        });
        let names = Mark::Named(asked.collect());
        let what = if is_open { "named: planned rate" } else { "named: clients" };
        let series = [("p50", 0, of(|times| times.p50_ms)), ("p99", 1, of(|times| times.p99_ms))];
        let all = |at: fn(&(f64, f64)) -> f64| -> Vec<f64> {
            series.iter().flat_map(|(_, _, points)| points.iter().map(at)).collect()
        };
        let (x, y) = (all(|point| point.0), all(|point| point.1));
        let mut lines: Vec<Series> = Vec::new();
        for (name, colour, points) in &series {
            lines.push(Series::new(*name, *colour, Mark::LineAndPoints, points.clone()));
        }
        lines.push(Series::new(what, 0, names, series[0].2.clone()));
        let r#loop = if is_open { "open loop, waiting counts" } else { "closed loop" };
        let Setup { memories, dimensions, mix, .. } = &self.setup;
        Chart {
            title: format!("Latency against load, {loop}"),
            source: format!("{} memories of {dimensions} numbers; {mix}", grouped(*memories)),
            x: Axis::linear("operations answered a second", x.into_iter().chain([0.0])),
            y: Axis::log("latency (ms)", y),
            series: lines,
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = Draft::new(path)?;
    let mut file = draft.file()?;
    file.write_all(bytes).map_err(|error| Fault::file(path, "cannot write it", &error))?;
    draft.publish(&file)
}

impl Load {
    pub(crate) fn show(&self, screen: &mut Screen) -> Result<()> {
        let per_second = grouped(self.all.per_second.round() as u64);
        screen.line("")?;
        let head = format!("{}, {:.1} s: {per_second} operations/s", self.step, self.seconds);
        screen.line(strong().apply_to(head))?;
        let columns = ["count", "per s", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"];
        let head: String = columns.iter().map(|name| format!("{name:>10}")).collect();
        screen.line(faint().apply_to(format!("  {:10}{head}   ms", "")))?;
        for (name, figures) in &self.operations {
            screen.line(row(name, figures))?;
        }
        if self.operations.len() > 1 {
            screen.line(row("all", &self.all))?;
        }
        if self.step.rate.is_some() {
            let all = self.all.count + self.all.errors + self.all.not_begun;
            screen.line(format_args!(
                "  began more than 1 ms late: {} of {} ({}); not begun at the end: {}",
                grouped(self.all.late),
                grouped(all),
                percent(self.all.late as f32 / all.max(1) as f32),
                grouped(self.all.not_begun)
            ))?;
        }
        if let Some(failure) = &self.failure {
            let failed = counted(self.all.errors, "operation", "operations");
            screen.line(bad().apply_to(format!("  {failed} failed; the first: {failure}")))?;
        }
        self.show_used(screen)
    }

    fn show_used(&self, screen: &mut Screen) -> Result<()> {
        let cores = |cores: Option<f64>| cores.map(|cores| format!("{cores:.2}"));
        let mut used = Vec::new();
        match (cores(self.cores.server), cores(self.cores.benchmark)) {
            (Some(server), Some(clients)) => used.push(format!("cores: server {server}, clients {clients}")),
            (_, Some(both)) => used.push(format!("cores {both}")),
            _ => {}
        }
        used.extend(self.cpu_ms.map(|ms| format!("processor {} ms an operation", milliseconds(ms))));
        used.extend(self.resident_bytes.map(|bytes| format!("resident {}", sized(bytes))));
        let hits: u64 = self.hits_by_tier.values().sum();
        let share = |count: u64| percent(count as f32 / hits as f32);
        let tiers: Vec<String> =
            self.hits_by_tier.iter().map(|(tier, count)| format!("{tier} {}", share(*count))).collect();
        if !tiers.is_empty() {
            used.push(format!("hits: {}", tiers.join(", ")));
        }
        screen.line(faint().apply_to(format!("  {}", used.join("; "))))
    }
}

fn row(name: &str, figures: &Figures) -> String {
    let mut text = format!("  {name:10}{:>10}{:>10.0}", grouped(figures.count), figures.per_second);
    let times = figures.times.map(|times| {
        [times.mean_ms, times.p50_ms, times.p90_ms, times.p95_ms, times.p99_ms, times.p99_9_ms, times.max_ms]
    });
    for time in times.into_iter().flatten() {
        text += &format!("{:>10}", milliseconds(time));
    }
    text
}

/// Three digits, as a latency is kept.
pub(crate) fn milliseconds(time: f64) -> String {
    match time {
        _ if time < 0.9995 => format!("{time:.3}"),
        _ if time < 9.995 => format!("{time:.2}"),
        _ if time < 99.95 => format!("{time:.1}"),
        _ => format!("{time:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_to_three_digits() {
        assert_eq!(
            [0.012345, 0.9999, 1.234, 12.34, 99.97, 1234.5].map(milliseconds),
            ["0.012", "1.00", "1.23", "12.3", "100", "1234"]
        );
    }
}
