//! Runs the simulation on many seeds: `engram-sim [scenario|all] [seeds] [first seed]`. Prints how far it is, and on a
//! failure the seed and the fault.

use engram::clock::Stopwatch;
use engram_sim::{SCENARIOS, named};
use std::process::ExitCode;

const USAGE: &str = "usage: engram-sim [scenario|all] [seeds, 1000] [first seed, 0]";
/// Seeds between two lines of progress.
const PROGRESS_SEEDS: u64 = 50;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a command")]
fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let scenario = arguments.next().unwrap_or_else(|| "all".into());
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse());
    let (Ok(seeds), Ok(first)) = (number(1000), number(0)) else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    let chosen: Vec<_> =
        SCENARIOS.iter().filter(|(name, _)| [*name, "all"].contains(&scenario.as_str())).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = SCENARIOS.iter().map(|(name, _)| *name).collect();
        eprintln!("there is no scenario \"{scenario}\"; use one of {}\n{USAGE}", names.join(", "));
        return ExitCode::FAILURE;
    }
    let watch = Stopwatch::start();
    for seed in first..first + seeds {
        for (name, run) in &chosen {
            named(|| format!("{name}, seed {seed}"), || run(seed));
        }
        let done = seed - first + 1;
        if done.is_multiple_of(PROGRESS_SEEDS) || done == seeds {
            println!("{scenario}: {done} of {seeds} seeds, {:.0} s", watch.elapsed().as_secs_f64());
        }
    }
    ExitCode::SUCCESS
}
