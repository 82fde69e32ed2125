//! Measures durable writes: `cargo run --release -p engram --example write_measure -- [seconds=3] [folder=DIR] [embeds=true] [sync=none]
//! [direct=true] [ingest=N]`.
//! First what the disk does alone (append 1 KiB, fdatasync, one thread), then stores of 512 bytes of text, one a request,
//! by 1, 8 and 64 threads; between them the disk again, because it varies. `ingest=N` stores N vectors of 768 numbers in
//! requests of 100 instead, each followed by a recall that must find the last, and waits for the index.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, run by hand: it prints, and may stop on any fault"
)]

use engram::clock::Stopwatch;
use engram::{Cue, Engine, NewMemory, Options, RecallOptions, Space, SpaceName, StoreOptions, SyncMode};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let option =
        |name: &str| args.iter().find_map(|arg| arg.strip_prefix(name)?.strip_prefix('=').map(str::to_owned));
    let seconds: f64 = option("seconds").map_or(3.0, |text| text.parse().unwrap());
    let parent = option("folder").unwrap_or_else(|| ".".into());
    let folder = tempfile::tempdir_in(parent).unwrap();
    let embeds_texts = option("embeds").is_none_or(|text| text == "true");
    let sync = if option("sync").as_deref() == Some("none") { SyncMode::None } else { SyncMode::Always };
    let log_direct_io = option("direct").is_some_and(|text| text == "true");
    let options = Options { embeds_texts, sync, log_direct_io, ..Options::new(folder.path().join("data")) };
    let engine = Engine::open(options).unwrap();
    let space = engine.space_or_new(&SpaceName::new("measured").unwrap()).unwrap();
    if let Some(count) = option("ingest") {
        ingest(&engine, &space, count.parse().unwrap());
    } else {
        // The first store makes files; it is not what is measured.
        store(&space, "first");
        disk(folder.path(), seconds);
        for threads in [1, 8, 64, 1, 8, 64] {
            durable(&space, threads, seconds);
            disk(folder.path(), seconds / 3.0);
        }
    }
    engine.close().unwrap();
}

fn report(name: &str, mut times: Vec<f64>, seconds: f64) {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize] * 1e3;
    println!(
        "{name:<28} {:>8.0}/s, p50 {:.3} ms, p99 {:.3} ms",
        times.len() as f64 / seconds,
        at(0.5),
        at(0.99)
    );
}

/// What the disk does for one thread.
fn disk(folder: &Path, seconds: f64) {
    let mut file = std::fs::File::create(folder.join("alone")).unwrap();
    let (mut times, all) = (Vec::new(), Stopwatch::start());
    while all.elapsed().as_secs_f64() < seconds {
        let one = Stopwatch::start();
        file.write_all(&[7; 1024]).unwrap();
        file.sync_data().unwrap();
        times.push(one.elapsed().as_secs_f64());
    }
    report("disk alone", times, all.elapsed().as_secs_f64());
}

fn text(random: &mut fastrand::Rng) -> String {
    let mut text = String::with_capacity(520);
    while text.len() < 505 {
        // Words of a small vocabulary, the first ones the most often, as in any language.
        let rank = (1.0 / (random.f64() + 1e-4)) as u32;
        text.push_str(&format!("word{rank} "));
    }
    text
}

fn store(space: &Arc<Space>, content: &str) {
    let memory = NewMemory { content: Some(content.to_owned()), ..NewMemory::default() };
    space.store(vec![memory], &StoreOptions::default()).unwrap();
}

fn durable(space: &Arc<Space>, threads: u64, seconds: f64) {
    let all = Stopwatch::start();
    let times: Vec<f64> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..threads)
            .map(|seed| {
                scope.spawn(move || {
                    let (mut random, mut times) = (fastrand::Rng::with_seed(seed), Vec::new());
                    let all = Stopwatch::start();
                    while all.elapsed().as_secs_f64() < seconds {
                        let content = text(&mut random);
                        let one = Stopwatch::start();
                        store(space, &content);
                        times.push(one.elapsed().as_secs_f64());
                    }
                    times
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    report(&format!("{threads} writers, durable"), times, all.elapsed().as_secs_f64());
}

/// Clustered vectors, in requests of 100.
fn ingest(engine: &Engine, space: &Arc<Space>, count: usize) {
    let mut random = fastrand::Rng::with_seed(1);
    let centres: Vec<Vec<f32>> = (0..500).map(|_| (0..768).map(|_| random.f32() - 0.5).collect()).collect();
    let (all, mut recalls) = (Stopwatch::start(), Vec::new());
    for start in (0..count).step_by(100) {
        let vectors: Vec<Vec<f32>> = (start..(start + 100).min(count))
            .map(|_| centres[random.usize(0..500)].iter().map(|x| x + random.f32() - 0.5).collect())
            .collect();
        let last = vectors.last().unwrap().clone();
        let memories =
            vectors.into_iter().map(|vector| NewMemory { embedding: Some(vector), ..NewMemory::default() });
        let stored = space.store(memories.collect(), &StoreOptions::default()).unwrap();
        let one = Stopwatch::start();
        let cue = Cue { embedding: Some(last), ..Cue::default() };
        let reply = space.recall(&cue, &RecallOptions::at(engine.now())).unwrap();
        recalls.push(one.elapsed().as_secs_f64());
        assert_eq!(reply.hits[0].memory.id, *stored.ids.last().unwrap(), "what was stored is found at once");
    }
    println!("ingest {:.0}/s, visible at once", count as f64 / all.elapsed().as_secs_f64());
    let elapsed = recalls.iter().sum();
    report("recall of the last", recalls, elapsed);
    // Helps the background threads, and waits while they hold the last ones.
    while space.summary().unindexed > 0 {
        engine.work_off();
        std::thread::yield_now();
    }
    println!("with the index done {:.0}/s", count as f64 / all.elapsed().as_secs_f64());
}
