//! Seeded simulation of the engine on a disk that fails, over an object store that does (`objects`). A seed gives a workload (`workload`), which runs against an
//! engine on `FaultyVfs` and, in step, against a model of what was acknowledged (`model`); `world` compares the two.
//! `scenarios` are the faults: a crash at every operation, failed syncs, full disks, flipped bits, backups that are cut off
//! (`backups`). No thread and no
//! clock: the same seed does the same. Whatever goes wrong is a panic; `for_every_seed` names the seed.

mod backups;
mod model;
mod objects;
mod scenarios;
mod workload;
mod world;

pub use scenarios::{SCENARIOS, Scenario, backups, bits, crashes, full_disks, syncs, unsynced};

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs a check under a name that is printed if it panics.
#[expect(clippy::print_stderr, reason = "a failing simulation says how to repeat it")]
pub fn named<T>(name: impl FnOnce() -> String, check: impl FnOnce() -> T) -> T {
    match catch_unwind(AssertUnwindSafe(check)) {
        Ok(value) => value,
        Err(panic) => {
            eprintln!("failed: {}", name());
            resume_unwind(panic)
        }
    }
}

/// Runs a scenario on seeds `0..seeds`.
pub fn for_every_seed(seeds: u64, scenario: fn(u64)) {
    for seed in 0..seeds {
        named(|| format!("seed {seed}"), || scenario(seed));
    }
}
