//! Measures many spaces: `cargo run --release -p engram --example spaces_measure -- [spaces=10000] [memories=100] [dimensions=0]
//! [folder=DIR]`.
//! Makes the spaces, closes, opens, and wakes each once in random order with a recall; then lets all sleep. Says what memory
//! and open files there are, what a sleeping space costs, and how long wakes take.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, run by hand: it prints, and may stop on any fault"
)]

use engram::clock::Stopwatch;
use engram::{Cue, Engine, NewMemory, Options, RecallOptions, SpaceName, StoreOptions, SyncMode};
use engram_core::platform;
use std::time::Duration;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option = |name: &str| args.iter().find_map(|arg| arg.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str, default: usize| option(name).map_or(default, |text| text.parse().unwrap());
    let (spaces, memories) = (number("spaces", 10_000), number("memories", 100));
    let dimensions = number("dimensions", 0);
    let folder = tempfile::tempdir_in(option("folder").unwrap_or(".")).unwrap();
    let options = Options {
        // Making them is not what is measured.
        sync: SyncMode::None,
        embeds_texts: dimensions == 0,
        ..Options::new(folder.path().join("data"))
    };
    let mut random = fastrand::Rng::with_seed(1);
    let name = |at: usize| SpaceName::new(&format!("space{at}")).unwrap();
    let watch = Stopwatch::start();
    let engine = Engine::open(options.clone()).unwrap();
    for at in 0..spaces {
        let batch = (0..memories).map(|_| memory(&mut random, dimensions)).collect();
        engine.space_or_new(&name(at)).unwrap().store(batch, &StoreOptions::default()).unwrap();
        engine.work_off();
    }
    engine.close().unwrap();
    drop(engine);
    report("made", watch.elapsed());
    let watch = Stopwatch::start();
    let options = Options { sync: SyncMode::Always, spaces_sleep_after: Duration::ZERO, ..options };
    let engine = Engine::open(options).unwrap();
    report("opened the folder", watch.elapsed());
    let watch = Stopwatch::start();
    assert_eq!(engine.spaces().unwrap().len(), spaces);
    report("listed", watch.elapsed());
    let before = resident_kb();
    for round in 0..2 {
        let mut order: Vec<usize> = (0..spaces).collect();
        random.shuffle(&mut order);
        let (mut wakes, mut warm) = (Vec::new(), Vec::new());
        for at in order {
            let cue = Cue::text(text(&mut random));
            for times in [&mut wakes, &mut warm] {
                let one = Stopwatch::start();
                let space = engine.space(&name(at)).unwrap();
                let found = space.recall(&cue, &RecallOptions::at(engine.now())).unwrap();
                times.push(one.elapsed().as_secs_f64() * 1e3);
                assert!(!found.hits.is_empty());
            }
        }
        println!("round {round}, while others fall asleep: open files {}", open_files());
        percentiles("wake and recall", wakes);
        percentiles("recall again", warm);
        while open_files() > 0 {
            engine.work_off();
        }
        let asleep = resident_kb();
        println!(
            "all asleep: resident {asleep} KB, {before} before: {:.2} KB a space",
            (asleep as f64 - before as f64) / spaces as f64
        );
    }
    assert_eq!(engine.summaries().len(), spaces);
}

fn text(random: &mut fastrand::Rng) -> String {
    (0..12).map(|_| format!("word{} ", (1.0 / (random.f64() + 1e-4)) as u32)).collect()
}

fn memory(random: &mut fastrand::Rng, dimensions: usize) -> NewMemory {
    let embedding = (dimensions > 0).then(|| (0..dimensions).map(|_| random.f32() - 0.5).collect());
    NewMemory { content: Some(text(random)), embedding, ..NewMemory::default() }
}

fn report(what: &str, took: Duration) {
    println!("{what}: {:.2} s, resident {} KB", took.as_secs_f64(), resident_kb());
}

fn percentiles(what: &str, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("  {what}: p50 {:.2} ms, p99 {:.2}, longest {:.2}", at(0.5), at(0.99), at(1.0));
}

/// Without what the allocator keeps for later.
fn resident_kb() -> usize {
    platform::return_unused();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Logs that this process has open.
fn open_files() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    let is_log = |path: std::path::PathBuf| path.extension().is_some_and(|extension| extension == "log");
    open.filter(|entry| std::fs::read_link(entry.as_ref().unwrap().path()).is_ok_and(is_log)).count()
}
