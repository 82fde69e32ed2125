//! What forgetting and learning cost a recall: each cue with them and without, in turn, in one process.
//! `cargo run --release -p engram --example dynamics_cost [memories, 20000]`

#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use engram::clock::Stopwatch;
use engram::{
    Cue, Engine, MemoryId, NewMemory, Options, Outcome, Part, RecallOptions, Result, Space, SpaceName,
    StoreOptions, SyncMode, Without,
};
use fastrand::Rng;

const DIMENSIONS: usize = 384;
const TURNS: usize = 20;
const CUES: usize = 500;
const ROUNDS: usize = 15;

fn main() -> Result<()> {
    let memories: usize = std::env::args().nth(1).map_or(20_000, |text| text.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = Engine::open(Options { sync: SyncMode::None, ..Options::new(folder.path()) })?;
    let space = engine.space_or_new(&SpaceName::new("bench")?)?;
    let mut rng = Rng::with_seed(1);
    fill(&space, memories, &mut rng)?;
    engine.work_off();
    // One in five is used: alone, with two others, or after them.
    for _ in 0..memories / 10 {
        let first = rng.usize(0..memories - 3);
        let ids: Vec<MemoryId> = (0..rng.usize(1..4)).map(|at| id(first + at)).collect();
        space.reinforce(&ids, Outcome::Used)?;
    }
    println!(
        "{memories} memories of {DIMENSIONS} dimensions, {} learned associations",
        space.summary().learned
    );
    let cues: Vec<Cue> = (0..CUES)
        .map(|_| Cue { text: Some(text(&mut rng, 6)), embedding: Some(vector(&mut rng)), ids: vec![] })
        .collect();
    let parts = [Part::Learned, Part::Retrievability];
    let without = |parts: &[Part]| parts.iter().copied().collect::<Without>();
    let ways = [
        ("with forgetting and learning", Without::default()),
        ("without learning", without(&parts[..1])),
        ("without forgetting", without(&parts[1..])),
        ("without both", without(&parts)),
    ];
    // Of each cue the quickest of some rounds: what else the machine does only ever adds.
    let mut quickest = [[f64::INFINITY; CUES]; 4];
    for round in 0..ROUNDS {
        for (at, cue) in cues.iter().enumerate() {
            for turn in 0..ways.len() {
                let way = (turn + at + round) % ways.len();
                let options = RecallOptions { without: ways[way].1, ..RecallOptions::at(engine.now()) };
                let watch = Stopwatch::start();
                space.recall(cue, &options)?;
                quickest[way][at] = quickest[way][at].min(watch.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    let means = quickest.map(|times| times.iter().sum::<f64>() / CUES as f64);
    for ((name, _), mean) in ways.iter().zip(means) {
        println!("{name:30} {mean:8.1} microseconds a recall");
    }
    println!("the two cost {:+.1} %", (means[0] / means[3] - 1.0) * 100.0);
    engine.close()
}

fn id(at: usize) -> MemoryId {
    MemoryId::new(&format!("m{at}")).expect("a valid id")
}

fn fill(space: &std::sync::Arc<Space>, memories: usize, rng: &mut Rng) -> Result<()> {
    for chunk in (0..memories).collect::<Vec<_>>().chunks(1000) {
        let memory = |&at: &usize| NewMemory {
            id: Some(id(at)),
            content: Some(text(rng, 12)),
            embedding: Some(vector(rng)),
            context: Some(format!("c{}", at / TURNS)),
            ..NewMemory::default()
        };
        space.store(chunk.iter().map(memory).collect(), &StoreOptions::default())?;
    }
    Ok(())
}

/// Words by Zipf's law without the 200 most common, which a cue rarely turns on; some of them names.
fn text(rng: &mut Rng, words: usize) -> String {
    let word = |_| {
        let rank = (200.0 * 250.0f64.powf(rng.f64())) as u32;
        if rank.is_multiple_of(7) { format!("said Name{rank}") } else { format!("word{rank}") }
    };
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

fn vector(rng: &mut Rng) -> Vec<f32> {
    (0..DIMENSIONS).map(|_| rng.f32() - 0.5).collect()
}
