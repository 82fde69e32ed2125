//! Measures spreading alone on a graph of links: microseconds a spread, and how much of the exact first 20 it finds.
//! `cargo run --release -p engram-core --example spread_measure -- FOLDER`, where FOLDER holds src.npy, dst.npy (int32),
//! w.npy (float32) and seeds.npy (int32, cues x 3). Exact: the same rule without a threshold, below 1e-10, until hardly anything flows.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, run by hand: it reads the clock, prints, and may stop on any fault"
)]

use engram_core::Slot;
use engram_core::activation::{Flow, Spread, Walk};
use engram_core::graph::Graph;
use engram_core::id::MemoryId;
use engram_core::without::Without;
use std::time::{Duration, Instant};

const FIRST: usize = 20;
const ROUNDS: usize = 5;
/// Cues whose exact answer is worked out.
const TRUTHS: usize = 20;

fn main() {
    let folder = std::env::args().nth(1).expect("a folder");
    let numbers = |name: &str| -> Vec<u32> {
        let bytes = npy(&format!("{folder}/{name}.npy"));
        bytes.chunks_exact(4).map(|four| u32::from_le_bytes(four.try_into().unwrap())).collect()
    };
    let (from, to, seeds) = (numbers("src"), numbers("dst"), numbers("seeds"));
    let weights: Vec<f32> = numbers("w").into_iter().map(f32::from_bits).collect();
    let nodes = from.iter().chain(&to).max().unwrap() + 1;
    let mut out = vec![0.0; nodes as usize];
    from.iter().zip(&weights).for_each(|(&from, weight)| out[from as usize] += weight);
    // Where the weights that leave a memory sum to less than 1, less flows: the walk of PageRank has none of that.
    let least = out.iter().copied().filter(|sum| *sum > 0.0).fold(f32::INFINITY, f32::min);
    let exact = Flow { hops_max: 25, mass_min: 1e-9, mass_a_link_min: 0.0, ..Flow::default() };
    let pagerank = Flow { stays: 0.15, links: 1.0, backwards: 0.0, ..exact };
    let by_links = |at: f64| ("", Flow { hops_max: 20, mass_min: 0.0, mass_a_link_min: at, ..pagerank });
    let own = vec![
        ("as recall does,", Flow::default()),
        ("without a bound for hubs,", Flow { mass_a_link_min: 0.0, ..Flow::default() }),
    ];
    for (name, scale, exact, flows) in [
        ("recall's own rule", 1.0, exact, own),
        (
            "personalised PageRank, damping .85",
            1.0 / least,
            Flow { hops_max: 60, ..pagerank },
            [1e-4, 3e-5, 1e-5].map(by_links).to_vec(),
        ),
    ] {
        let graph = graph(nodes, &from, &to, &weights, scale);
        println!("{name}: {nodes} memories, {} links, {} bytes of graph", graph.links(), graph.bytes());
        let truths: Vec<Vec<Slot>> =
            seeds.chunks(3).take(TRUTHS).map(|seeds| first(&graph, exact, seeds).0).collect();
        for (name, flow) in flows {
            let mut times = Vec::new();
            let (mut found, mut visits, mut spread) = (0, 0, Spread::default());
            for (at, seeds) in seeds.chunks(3).enumerate() {
                let took = (0..ROUNDS).map(|_| run(&graph, flow, seeds, &mut spread)).min().unwrap();
                times.push(took);
                visits += spread.visits;
                if let Some(truth) = truths.get(at) {
                    found += ranked(&spread).iter().filter(|slot| truth.contains(slot)).count();
                }
            }
            times.sort_unstable();
            println!(
                "  {name} hops {}, mass {:e}, {:e} a link: p50 {:?}, p99 {:?}, {:.4} of the exact first {FIRST}, {} visits",
                flow.hops_max,
                flow.mass_min,
                flow.mass_a_link_min,
                times[times.len() / 2],
                times[times.len() * 99 / 100],
                found as f64 / (FIRST * truths.len()) as f64,
                visits / times.len(),
            );
        }
    }
}

fn graph(nodes: u32, from: &[u32], to: &[u32], weights: &[f32], scale: f32) -> Graph {
    let mut graph = Graph::default();
    graph.reserve(nodes - 1);
    let ids: Vec<MemoryId> = (0..nodes).map(|at| MemoryId::new(&format!("m{at}")).unwrap()).collect();
    for ((&from, &to), weight) in from.iter().zip(to).zip(weights) {
        graph.link(from, &ids[to as usize], Some(to), "near", weight * scale);
    }
    graph
}

fn run(graph: &Graph, flow: Flow, seeds: &[u32], spread: &mut Spread) -> Duration {
    let walk = Walk {
        graph,
        memories: graph.slots(),
        visible: &|_| true,
        without: Without::default(),
        flow,
        hops: None,
        severed: &[],
    };
    let seeds: Vec<(Slot, f64)> = seeds.iter().map(|&slot| (slot, 1.0 / 3.0)).collect();
    let started = Instant::now();
    spread.spread(&walk, &seeds, usize::MAX, false);
    started.elapsed()
}

fn first(graph: &Graph, flow: Flow, seeds: &[u32]) -> (Vec<Slot>, Spread) {
    let mut spread = Spread::default();
    run(graph, flow, seeds, &mut spread);
    (ranked(&spread), spread)
}

/// The first by activation.
fn ranked(spread: &Spread) -> Vec<Slot> {
    let mut slots = spread.activated().to_vec();
    slots.sort_by(|a, b| spread.activation(*b).total_cmp(&spread.activation(*a)).then(a.cmp(b)));
    slots.truncate(FIRST);
    slots
}

/// The numbers of a file that NumPy wrote, as bytes.
fn npy(path: &str) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[10 + header..].to_vec()
}
