//! Measures the index on real vectors: seconds to build, microseconds to search, recall against the exact answer.
//! `cargo run --release -p engram-core --example hnsw_measure -- FOLDER [batch] [threads] [peers|alone]`, where FOLDER
//! holds memories.npy and cues.npy (float16, rows x dimensions) and exact_top100_rows.npy (int32, cues x 100).
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, run by hand: it reads the clock, prints, and may stop on any fault"
)]

use engram_core::Slot;
use engram_core::hnsw::{Hnsw, HnswParams, InsertPlan, Scratch};
use engram_core::vector::{Vectors, unit};
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| args.get(at).map_or(default, |arg| arg.parse().unwrap());
    let (batch, threads) = (number(1, 1), number(2, 1));
    let with_peers = args.get(3).is_none_or(|arg| arg == "peers");
    let (memories, dimensions) = npy(&format!("{}/memories.npy", args[0]), 2, half);
    let (cues, _) = npy(&format!("{}/cues.npy", args[0]), 2, half);
    let (truth, truth_width) =
        npy(&format!("{}/exact_top100_rows.npy", args[0]), 4, |b| u32::from_le_bytes(b.try_into().unwrap()));

    let mut vectors = Vectors::new(dimensions);
    for (slot, row) in memories.chunks(dimensions).enumerate() {
        vectors.set(slot as Slot, row);
    }
    let slots: Vec<Slot> = (0..(memories.len() / dimensions) as Slot).collect();
    let mut graph = Hnsw::new(HnswParams::default());
    let started = Instant::now();
    let (prepare, commits) = build(&mut graph, &vectors, &slots, batch, threads, with_peers);
    println!(
        "build {:.2} s (prepare {:.2}, commit {:.2}, median {:?}, p99 {:?}, max {:?}), batch {batch}, threads {threads}, peers {with_peers}",
        started.elapsed().as_secs_f64(),
        prepare.as_secs_f64(),
        commits.iter().sum::<Duration>().as_secs_f64(),
        commits[commits.len() / 2],
        commits[commits.len() * 99 / 100],
        commits[commits.len() - 1],
    );
    println!("{} MB, unreachable {}", graph.bytes() / 1_000_000, graph.unreachable().len());
    let cues: Vec<Vec<f32>> = cues.chunks(dimensions).map(unit).collect();
    let (mut scratch, mut out) = (Scratch::new(), Vec::new());
    for ef in [10, 50, 100, 200, 400] {
        let (mut times, mut found) = (Vec::new(), 0);
        for (cue, truth) in cues.iter().zip(truth.chunks(truth_width)) {
            let started = Instant::now();
            graph.search(&vectors, cue, 10, ef, |_| true, &mut scratch, &mut out);
            times.push(started.elapsed());
            found += out.iter().filter(|(slot, _)| truth[..10].contains(slot)).count();
        }
        times.sort();
        let recall = found as f64 / (10 * cues.len()) as f64;
        println!(
            "ef {ef}: recall@10 {recall:.4}, median {:?}, p99 {:?}",
            times[cues.len() / 2],
            times[cues.len() * 99 / 100]
        );
    }
    let started = Instant::now();
    let bytes = graph.encode();
    let encoded = started.elapsed();
    let decoded = Hnsw::decode(&bytes).unwrap();
    println!("encode {encoded:?}, {} bytes, decode {:?}", bytes.len(), started.elapsed() - encoded);
    assert!(decoded.encode() == bytes);
    graph.validate(&vectors).unwrap();
    let started = Instant::now();
    for &slot in slots.iter().step_by(10) {
        graph.remove(&vectors, slot);
    }
    println!(
        "remove {:?} each, unreachable {}",
        started.elapsed() / (slots.len() as u32 / 10),
        graph.unreachable().len()
    );
}

/// Inserts the slots in order, each batch prepared against one graph by `threads` threads; gives the time of the
/// preparing and, sorted, that of each commit.
fn build(
    graph: &mut Hnsw,
    vectors: &Vectors,
    slots: &[Slot],
    batch: usize,
    threads: usize,
    with_peers: bool,
) -> (Duration, Vec<Duration>) {
    let mut scratches = vec![Scratch::new(); threads];
    let (mut preparing, mut commits) = (Duration::ZERO, Vec::new());
    for slots in slots.chunks(batch) {
        let started = Instant::now();
        let peers = if with_peers { slots } else { &[] };
        let prepare_part = |slots: &[Slot], scratch: &mut Scratch| -> Vec<InsertPlan> {
            let level =
                |slot: Slot| graph.level_for((u64::from(slot) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            slots.iter().map(|&slot| graph.prepare(vectors, slot, level(slot), peers, scratch)).collect()
        };
        let plans: Vec<InsertPlan> = if threads == 1 {
            prepare_part(slots, &mut scratches[0])
        } else {
            std::thread::scope(|scope| {
                let parts = slots.chunks(slots.len().div_ceil(threads)).zip(&mut scratches);
                let running: Vec<_> =
                    parts.map(|(slots, scratch)| scope.spawn(move || prepare_part(slots, scratch))).collect();
                running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            })
        };
        preparing += started.elapsed();
        for plan in plans {
            let started = Instant::now();
            graph.commit(vectors, plan);
            commits.push(started.elapsed());
        }
    }
    commits.sort();
    (preparing, commits)
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
