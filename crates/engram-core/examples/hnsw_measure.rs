//! Measures the index on real vectors: seconds to build, microseconds to search, recall against the exact answer.
//! `cargo run --release -p engram-core --example hnsw_measure -- FOLDER [m=32] [ef_construction=400] [batch=8] [threads=1]
//! [graph=FILE] [only=search] [simd=avx2] [huge=true] [prefetch_distance=12] [simd_batch_size=16]`, where FOLDER holds memories.npy and cues.npy (float16, rows x dimensions) and
//! exact_top100_rows.npy (int32, cues x 100), or the peers' base.f32.npy, query.f32.npy and gt100.i32.npy. `graph` keeps
//! the graph for the next run.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, run by hand: it reads the clock, prints, and may stop on any fault"
)]

use engram_core::Slot;
use engram_core::hnsw::{Hnsw, HnswParams, InsertPlan, Scratch, Tuning, Wanted, exact_search};
use engram_core::kernels::{Simd, choose};
use engram_core::vector::{Paging, Vectors, unit};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::{Duration, Instant};

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = args.next().unwrap_or_else(|| panic!("which folder?"));
    let options: Vec<(String, String)> =
        args.map(|arg| arg.split_once('=').map(|(a, b)| (a.into(), b.into())).unwrap()).collect();
    let option = |name: &str| options.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let number = |name: &str, default: usize| option(name).map_or(default, |value| value.parse().unwrap());
    let (batch, threads) = (number("batch", 8), number("threads", 1));
    let data = Data::read(&folder);

    let defaults = Tuning::default();
    let tuning = Tuning {
        paging: if option("huge") == Some("true") { Paging::Huge } else { Paging::Ordinary },
        prefetch_distance: number("prefetch_distance", defaults.prefetch_distance),
        batch: number("simd_batch_size", defaults.batch),
    };
    let simds = [Simd::Scalar, Simd::Neon, Simd::Avx2, Simd::Avx512];
    let simd = simds.into_iter().find(|simd| option("simd") == Some(simd.name())).unwrap_or_else(Simd::best);
    println!("{} kernels, {tuning:?}", choose(simd).name());
    let mut vectors = Vectors::new(data.dimensions, tuning.paging);
    for (slot, row) in data.memories.chunks(data.dimensions).enumerate() {
        vectors.set(slot as Slot, row);
    }
    let slots: Vec<Slot> = (0..(data.memories.len() / data.dimensions) as Slot).collect();
    let defaults = HnswParams::default();
    let params = HnswParams {
        m: number("m", defaults.m),
        ef_construction: number("ef_construction", defaults.ef_construction),
        ..defaults
    };
    let saved = option("graph").filter(|path| std::path::Path::new(path).exists());
    let mut graph = match saved {
        Some(path) => Hnsw::decode(&std::fs::read(path).unwrap(), tuning).unwrap(),
        None => Hnsw::tuned(params, tuning),
    };
    if saved.is_none() {
        let started = Instant::now();
        let shared = RwLock::new(graph);
        let commits = build(&shared, &vectors, &slots, batch, threads);
        graph = shared.into_inner().unwrap();
        println!(
            "build {:.2} s (commits {:.2}, median {:?}, p99 {:?}, max {:?}), {params:?}, batch {batch}, threads {threads}",
            started.elapsed().as_secs_f64(),
            commits.iter().sum::<Duration>().as_secs_f64(),
            commits[commits.len() / 2],
            commits[commits.len() * 99 / 100],
            commits[commits.len() - 1],
        );
        if let Some(path) = option("graph") {
            std::fs::write(path, graph.encode()).unwrap();
        }
    }
    let raw = data.memories.len() * 4;
    println!(
        "graph {:.3} of the rows' {} MB, graph and codes {:.3}; unreachable {}",
        graph.bytes() as f64 / raw as f64,
        raw / 1_000_000,
        (graph.bytes() + vectors.bytes() - raw) as f64 / raw as f64,
        graph.unreachable().len()
    );
    search(&graph, &vectors, &data);
    if option("only") != Some("search") {
        filtered(&graph, &vectors, &data);
        change(&mut graph, &vectors, &slots);
        churn(&mut graph, &vectors, &data, &slots);
    }
}

/// A table of breadths: recall@10, searches a second of one thread (the better of two rounds), median and p99.
fn search(graph: &Hnsw, vectors: &Vectors, data: &Data) {
    let cues: Vec<Vec<f32>> = data.cues.chunks(data.dimensions).map(unit).collect();
    let (mut scratch, mut out) = (Scratch::new(), Vec::new());
    for ef in [10, 16, 24, 32, 48, 64, 96, 128, 200, 400] {
        let (mut times, mut found) = (Vec::new(), 0);
        let mut rounds = [Duration::ZERO; 3];
        for round in &mut rounds {
            let started = Instant::now();
            for cue in &cues {
                graph.search(vectors, cue, Wanted::new(10, ef), |_| true, &mut scratch, &mut out);
            }
            *round = started.elapsed();
        }
        for (cue, truth) in cues.iter().zip(data.truth.chunks(data.truth_width)) {
            let started = Instant::now();
            graph.search(vectors, cue, Wanted::new(10, ef), |_| true, &mut scratch, &mut out);
            times.push(started.elapsed());
            found += out.iter().filter(|(slot, _)| truth[..10].contains(slot)).count();
        }
        times.sort();
        let recall = found as f64 / (10 * cues.len()) as f64;
        println!(
            "ef {ef}: recall@10 {recall:.4}, {:.0}/s, median {:?}, p99 {:?}",
            cues.len() as f64 / rounds.iter().min().unwrap().as_secs_f64(),
            times[cues.len() / 2],
            times[cues.len() * 99 / 100]
        );
    }
}

/// Which nodes one in `divisor` is.
fn passes(slot: Slot, divisor: u32) -> bool {
    (slot.wrapping_mul(0x9e37_79b9) >> 7).is_multiple_of(divisor)
}

/// Searches of which a random half, tenth, ... of the nodes pass.
fn filtered(graph: &Hnsw, vectors: &Vectors, data: &Data) {
    let cues: Vec<Vec<f32>> = data.cues.chunks(data.dimensions).take(200).map(unit).collect();
    let (mut scratch, mut out) = (Scratch::new(), Vec::new());
    for divisor in [1, 2, 10, 100, 1000] {
        let (mut times, mut found, mut wanted) = (Vec::new(), 0, 0);
        for cue in &cues {
            let filter = |slot: Slot| passes(slot, divisor);
            let truth = exact_search(vectors, cue, 10, 0..vectors.slots_end() as Slot, filter);
            let started = Instant::now();
            graph.nearest(
                vectors,
                cue,
                Wanted::new(10, 100),
                filter,
                std::iter::empty(),
                &mut scratch,
                &mut out,
            );
            times.push(started.elapsed());
            found += out.iter().filter(|(slot, _)| truth.iter().any(|(exact, _)| exact == slot)).count();
            wanted += truth.len();
        }
        times.sort();
        println!(
            "1 in {divisor} passes, ef 100: recall@10 {:.4}, median {:?}, p99 {:?}",
            found as f64 / wanted as f64,
            times[times.len() / 2],
            times[times.len() * 99 / 100]
        );
    }
}

/// Half of the nodes leave, one by one, and come back, as new ones would.
fn churn(graph: &mut Hnsw, vectors: &Vectors, data: &Data, slots: &[Slot]) {
    let mut scratch = Scratch::new();
    let started = Instant::now();
    for &slot in slots.iter().filter(|slot| passes(**slot, 2)) {
        if graph.contains(slot) {
            graph.remove(vectors, slot);
        }
        let level = graph.level_for((u64::from(slot) + 7).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        graph.insert(vectors, slot, level, &mut scratch);
    }
    for &slot in slots.iter().filter(|slot| !graph.contains(**slot)).collect::<Vec<_>>() {
        let level = graph.level_for((u64::from(slot) + 7).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        graph.insert(vectors, slot, level, &mut scratch);
    }
    println!(
        "half replaced in {:.1} s, unreachable {}",
        started.elapsed().as_secs_f64(),
        graph.unreachable().len()
    );
    search(graph, vectors, data);
}

/// Saves the graph, checks it, and removes every tenth node.
fn change(graph: &mut Hnsw, vectors: &Vectors, slots: &[Slot]) {
    let started = Instant::now();
    let bytes = graph.encode();
    let encoded = started.elapsed();
    let decoded = Hnsw::decode(&bytes, graph.tuning()).unwrap();
    println!("encode {encoded:?}, {} bytes, decode {:?}", bytes.len(), started.elapsed() - encoded);
    assert!(decoded.encode() == bytes);
    graph.validate(vectors).unwrap();
    let started = Instant::now();
    for &slot in slots.iter().step_by(10) {
        graph.remove(vectors, slot);
    }
    println!(
        "remove {:?} each, unreachable {}",
        started.elapsed() / (slots.len() as u32 / 10),
        graph.unreachable().len()
    );
}

struct Data {
    dimensions: usize,
    memories: Vec<f32>,
    cues: Vec<f32>,
    truth: Vec<u32>,
    truth_width: usize,
}

impl Data {
    fn read(folder: &str) -> Self {
        let single = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
        let path = |name: &str| format!("{folder}/{name}.npy");
        let is_peers = std::path::Path::new(&path("base.f32")).exists();
        let (memories, cues, truth) = if is_peers {
            (npy(&path("base.f32"), 4, single), npy(&path("query.f32"), 4, single), path("gt100.i32"))
        } else {
            (npy(&path("memories"), 2, half), npy(&path("cues"), 2, half), path("exact_top100_rows"))
        };
        let (truth, truth_width) = npy(&truth, 4, |b| u32::from_le_bytes(b.try_into().unwrap()));
        Data { dimensions: memories.1, memories: memories.0, cues: cues.0, truth, truth_width }
    }
}

/// Inserts the slots as the engine does: each of `threads` threads takes the next `batch`, prepares it while others read
/// too, and commits it alone. Gives, sorted, the time that each commit of a batch took.
fn build(
    graph: &RwLock<Hnsw>,
    vectors: &Vectors,
    slots: &[Slot],
    batch: usize,
    threads: usize,
) -> Vec<Duration> {
    let next = AtomicUsize::new(0);
    // The lock of std lets readers in before a writer that waits, which the engine's does not.
    let turnstile = Mutex::new(());
    let work = || {
        let (mut scratch, mut commits) = (Scratch::new(), Vec::new());
        while let Some(slots) = slots.chunks(batch).nth(next.fetch_add(1, Ordering::Relaxed)) {
            let prepare = |slot: Slot, scratch: &mut Scratch| {
                drop(turnstile.lock().unwrap());
                let graph = graph.read().unwrap();
                let level = graph.level_for((u64::from(slot) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                graph.prepare(vectors, slot, level, slots, scratch)
            };
            let plans: Vec<InsertPlan> = slots.iter().map(|&slot| prepare(slot, &mut scratch)).collect();
            let _first = turnstile.lock().unwrap();
            let mut graph = graph.write().unwrap();
            let started = Instant::now();
            plans.into_iter().for_each(|plan| graph.commit(vectors, plan));
            commits.push(started.elapsed());
        }
        commits
    };
    let mut commits: Vec<Duration> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    commits.sort();
    commits
}

/// The numbers of a C-ordered two-dimensional npy file and the length of its rows.
fn npy<T>(path: &str, width: usize, decode: impl Fn(&[u8]) -> T) -> (Vec<T>, usize) {
    let bytes = std::fs::read(path).unwrap();
    let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + header_len]).unwrap();
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let columns = shape.split(',').nth(1).unwrap().trim().parse().unwrap();
    (bytes[10 + header_len..].chunks(width).map(decode).collect(), columns)
}

/// IEEE 754 binary16, little-endian.
fn half(bytes: &[u8]) -> f32 {
    let bits = u16::from_le_bytes([bytes[0], bytes[1]]);
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let magnitude = if exponent == 0 {
        fraction * 2f32.powi(-24)
    } else {
        (1.0 + fraction / 1024.0) * 2f32.powi(exponent - 15)
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}
