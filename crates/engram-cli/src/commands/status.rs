//! `engram status`: what the running server says of itself. Exits with 1 when it is not ready, 2 when nobody answers.

use crate::fault::Result;
use crate::remote::Remote;
use crate::screen::{Screen, bad, faint, good, grouped, percent, sized, strong};
use clap::Args;
use engram_server::api::StatusOut;
use std::process::ExitCode;

/// Below this much data what is in memory is the program, and its ratio to the data says nothing.
const RATIO_DATA_BYTES_MIN: u64 = 1_000_000;

/// Ask the running server how it is
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram status
  engram status --url http://10.0.0.7:8080
  engram status --json

Exit codes: 0 ready, 1 not ready, 2 nobody answers.")]
pub(crate) struct Status {
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    /// Ask this server [env: ENGRAM_URL] [default: http://127.0.0.1:8080]
    #[arg(long)]
    url: Option<String>,
}

impl Status {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<ExitCode> {
        let remote = Remote::new(self.url.as_deref())?;
        let status: StatusOut = remote.get("status", &[])?;
        if self.json {
            screen.json(&status)?
        } else {
            show(screen, remote.url(), &status)?
        }
        Ok(ExitCode::from(u8::from(!status.ready)))
    }
}

fn show(screen: &mut Screen, url: &str, status: &StatusOut) -> Result<()> {
    let state = match (&status.reason, status.ready) {
        (_, true) => good().apply_to("ready".to_owned()),
        (Some(reason), false) => bad().apply_to(format!("not ready: {reason}")),
        (None, false) => bad().apply_to("not ready".to_owned()),
    };
    screen.line(format_args!(
        "{} at {url}, up {}: {state}",
        strong().apply_to(format!("Engram {}", status.version)),
        duration(status.uptime_s)
    ))?;
    let tiers: Vec<String> = ["hot", "warm", "cold"]
        .iter()
        .filter_map(|tier| Some(format!("{} {tier}", grouped(*status.memories.get(*tier)?))))
        .collect();
    let all = status.memories.values().sum();
    let memory = status.memory_bytes.map_or_else(
        || "unknown".to_owned(),
        |bytes| {
            let ratio = if status.data_bytes >= RATIO_DATA_BYTES_MIN {
                format!(" ({:.1} x the data)", bytes as f64 / status.data_bytes as f64)
            } else {
                String::new()
            };
            format!("{}{ratio}", sized(bytes))
        },
    );
    let rows = [
        ("machine", format!("CPUs {}, NUMA nodes {}", status.cpus, status.numa_nodes)),
        (
            "memories",
            format!("{} ({}), spaces {}", grouped(all), tiers.join(", "), grouped(status.spaces as u64)),
        ),
        ("data", format!("{}, log {}", sized(status.data_bytes), sized(status.log_bytes))),
        ("in memory", memory),
        (
            "hit rate",
            status.hit_rate.map_or_else(|| "no recalls yet".to_owned(), |rate| percent(rate as f32)),
        ),
        ("unindexed", format!("{} vectors", grouped(status.unindexed))),
    ];
    for (name, value) in rows {
        screen.line(format_args!("  {}  {value}", faint().apply_to(format!("{name:10}"))))?;
    }
    let asked = status.operations.iter().filter(|(_, operation)| operation.count > 0);
    let mut head =
        Some(format!("\n  {:12}{:>12}{:>10}{:>12}{:>12}", "operation", "count", "errors", "p50", "p99"));
    for (name, operation) in asked {
        if let Some(head) = head.take() {
            screen.line(faint().apply_to(head))?;
        }
        let (p50, p99) = (milliseconds(operation.p50_ms), milliseconds(operation.p99_ms));
        let (count, errors) = (grouped(operation.count), grouped(operation.errors));
        screen.line(format_args!("  {name:12}{count:>12}{errors:>10}{p50:>12}{p99:>12}"))?;
    }
    Ok(())
}

fn milliseconds(value: Option<f64>) -> String {
    match value {
        Some(ms) if ms < 10.0 => format!("{ms:.2} ms"),
        Some(ms) => format!("{ms:.0} ms"),
        None => "-".into(),
    }
}

/// 12 s, 3 min 20 s, 5 h 3 min, 4 d 7 h.
fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        assert_eq!(
            [12.9, 200.0, 18_200.0, 371_000.0].map(duration),
            ["12 s", "3 min 20 s", "5 h 3 min", "4 d 7 h"]
        );
    }
}
