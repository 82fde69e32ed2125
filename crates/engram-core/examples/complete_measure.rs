//! Measures completion: how many noisy patterns come back, and how well confidence holds on real memories.
//! `cargo run --release -p engram-core --example complete_measure -- [patterns MAX] [FOLDER ...]`: `patterns` sweeps noise
//! over 1,000 to MAX random patterns; a FOLDER holds memories.jsonl and memories.npy (float16), a row a line.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, run by hand: it reads the clock, prints, and may stop on any fault"
)]

use engram_core::associate::Analysis;
use engram_core::complete::sweep::{Corruption, Patterns};
use engram_core::complete::{
    BETA_DEFAULT, Blank, CompleteOptions, CompletedField, CompletedValue, Pattern, complete,
};
use engram_core::hnsw::HnswParams;
use engram_core::id::{MemoryId, Timestamp};
use engram_core::memory::{Memory, NewMemory};
use engram_core::state::{Change, Embedder, SpaceSettings, SpaceState};
use serde_json::Value;
use std::path::Path;
use std::time::Instant;

const DIMENSIONS: usize = 256;
const PATTERN_CUES: usize = 500;
const MEMORY_CUES: usize = 300;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "patterns") {
        sweep(args[1].parse().unwrap());
    }
    for folder in args.iter().filter(|arg| Path::new(arg).is_dir()) {
        for with_vectors in [true, false] {
            let mut real = Real::open(Path::new(folder), with_vectors);
            println!("\n{folder}, {}", if with_vectors { "vectors given" } else { "by text" });
            if with_vectors {
                real.by_beta();
            }
            real.stored();
            real.hidden();
        }
    }
}

fn sweep(most: usize) {
    println!("random patterns of {DIMENSIONS} numbers, {PATTERN_CUES} cues each, recovered exactly");
    for count in [1_000, 10_000, 100_000].into_iter().filter(|&count| count <= most) {
        let mut patterns = Patterns::new(count, DIMENSIONS, 1);
        for corruption in [Corruption::Unknown, Corruption::Flipped, Corruption::Redrawn] {
            for share in [0.1, 0.2, 0.3, 0.4, 0.5] {
                let started = Instant::now();
                let recovery = patterns.sweep(corruption, share, PATTERN_CUES, BETA_DEFAULT).unwrap();
                println!(
                    "{count} {corruption:?} {share}: {:.3}, confidence {:.3}, {:.1} ms each",
                    recovery.recovered as f64 / recovery.cues as f64,
                    recovery.confidence,
                    started.elapsed().as_secs_f64() * 1e3 / recovery.cues as f64
                );
            }
        }
        for beta in [8.0, 16.0, 32.0, 64.0, 128.0] {
            let recovered = |patterns: &mut Patterns, corruption| {
                patterns.sweep(corruption, 0.3, PATTERN_CUES, beta).unwrap().recovered as f64
                    / PATTERN_CUES as f64
            };
            let [unknown, flipped] = [Corruption::Unknown, Corruption::Flipped]
                .map(|corruption| recovered(&mut patterns, corruption));
            println!("{count} beta {beta}: {unknown:.3} with .3 unknown, {flipped:.3} with .3 flipped");
        }
    }
}

/// Memories of a folder in a space.
struct Real {
    state: SpaceState,
    memories: Vec<Memory>,
    version: u64,
    with_vectors: bool,
}

/// Confidence of a value, and whether it was right.
type Outcome = (f32, bool);

impl Real {
    fn open(folder: &Path, with_vectors: bool) -> Self {
        let text = std::fs::read_to_string(folder.join("memories.jsonl")).unwrap();
        let (numbers, dimensions) = npy(&folder.join("memories.npy"));
        let embedder = if with_vectors { Embedder::Caller { dimensions } } else { Embedder::BUILTIN };
        let settings = SpaceSettings { embedder: Some(embedder), ..SpaceSettings::default() };
        let mut state = SpaceState::new(HnswParams::default());
        state.apply(1, Change::Settings(settings), None);
        let memories = text.lines().zip(numbers.chunks(dimensions)).map(|(line, row)| {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
            NewMemory {
                content: text("content"),
                embedding: with_vectors.then(|| row.to_vec()),
                occurred_at: text("occurred_at").map(|time| instant(&time)),
                context: text("context"),
                metadata: line.get("metadata").and_then(Value::as_object).cloned(),
                ..NewMemory::default()
            }
            .complete(MemoryId::new(&text("id").unwrap()).unwrap(), Timestamp(0))
        });
        let memories: Vec<Memory> = memories.collect();
        let mut real = Self { state, memories, version: 1, with_vectors };
        (0..real.memories.len()).for_each(|at| real.store(at));
        real
    }

    fn store(&mut self, at: usize) {
        self.version += 1;
        let memory = self.memories[at].clone();
        let analysis = Analysis::of(&memory, self.state.settings());
        self.state.apply(self.version, Change::Stored(Box::new(memory)), Some(&analysis));
    }

    fn remove(&mut self, at: usize) {
        self.version += 1;
        self.state.apply(self.version, Change::Deleted(self.memories[at].id.clone()), None);
    }

    /// Asks for vectors with .3 of their numbers unknown or wrong.
    fn by_beta(&self) {
        for beta in [16.0, 32.0, 64.0, 128.0] {
            let recovered = |corruption| {
                let mut random = fastrand::Rng::with_seed(3);
                let options = CompleteOptions { beta, limit: 0, ..CompleteOptions::at(Timestamp(0)) };
                let is_recovered = |_: &usize| {
                    let row = self.memories[random.usize(..self.memories.len())].embedding.clone().unwrap();
                    let embedding = Blank::Given(damaged(&row, corruption, 0.3, &mut random));
                    let pattern = Pattern { embedding, ..Pattern::default() };
                    let completion = complete(&self.state, &pattern, &options).unwrap();
                    completion.completed[0].value == CompletedValue::Numbers(row)
                };
                (0..MEMORY_CUES).filter(is_recovered).count() as f64 / MEMORY_CUES as f64
            };
            let (unknown, flipped) = (recovered(Corruption::Unknown), recovered(Corruption::Flipped));
            println!("beta {beta}: {unknown:.3} with .3 unknown, {flipped:.3} with .3 flipped");
        }
    }

    /// Asks for the content of memories by what is left of them, with as many again that are not stored.
    fn stored(&mut self) {
        let mut all: Vec<Outcome> = Vec::new();
        for corruption in [Corruption::Unknown, Corruption::Flipped] {
            for share in [0.1, 0.3, 0.5] {
                // Of a text, words can only be missing: one with wrong words is another text.
                if !self.with_vectors && corruption == Corruption::Flipped {
                    continue;
                }
                let (stored, not) =
                    (self.contents(corruption, share, false), self.contents(corruption, share, true));
                println!(
                    "content, {share} {corruption:?}: right {:.3}, confidence {:.3}; of memories not stored {:.3}",
                    mean(&stored, true),
                    mean(&stored, false),
                    mean(&not, false)
                );
                all.extend(stored.iter().chain(&not));
            }
        }
        let right = decided(&all);
        println!("content: ECE {:.3}, of those above .5 {right:.3} right", ece(&mut all));
    }

    fn contents(&mut self, corruption: Corruption, share: f64, is_removed: bool) -> Vec<Outcome> {
        let mut random = fastrand::Rng::with_seed(5);
        let mut outcomes = Vec::new();
        for _ in 0..MEMORY_CUES {
            let at = random.usize(..self.memories.len());
            let memory = self.memories[at].clone();
            let pattern = match &memory.embedding {
                Some(row) => Pattern {
                    content: Blank::Wanted,
                    embedding: Blank::Given(damaged(row, corruption, share, &mut random)),
                    ..Pattern::default()
                },
                None => {
                    let content =
                        Blank::Given(gapped(memory.content.as_deref().unwrap(), share, &mut random));
                    Pattern { content, ..Pattern::default() }
                }
            };
            if is_removed {
                self.remove(at);
            }
            let completion = complete(&self.state, &pattern, &CompleteOptions::at(Timestamp(0))).unwrap();
            let found = &completion.completed[0];
            let confidence = if found.given { 0.0 } else { found.confidence };
            let is_right = !found.given && found.value == CompletedValue::Text(memory.content.unwrap());
            outcomes.push((confidence, is_right));
            if is_removed {
                self.store(at);
            }
        }
        outcomes
    }

    /// Hides a field of memories that are not stored and asks for it by the others.
    fn hidden(&mut self) {
        let has = |key: &str| self.memories[0].metadata.contains_key(key);
        let mut fields: Vec<CompletedField> = Vec::new();
        fields.extend(self.memories[0].context.is_some().then_some(CompletedField::Context));
        fields.extend(self.memories[0].context.is_some().then_some(CompletedField::OccurredAt));
        for key in ["speaker", "pos", "lexfile"] {
            fields.extend(has(key).then(|| CompletedField::Metadata(key.into())));
        }
        for field in fields {
            for given in [
                vec!["content"],
                vec!["embedding"],
                vec!["content", "embedding"],
                vec!["content", "time"],
                vec!["content", "embedding", "metadata"],
            ] {
                if given.contains(&"embedding") && !self.with_vectors {
                    continue;
                }
                if given.contains(&"time")
                    && matches!(field, CompletedField::OccurredAt | CompletedField::Metadata(_))
                {
                    continue;
                }
                let (mut all, started) = (self.votes(&field, &given), Instant::now());
                println!(
                    "{field} by {}: right {:.3}, confidence {:.3}, ECE {:.3}, of those above .5 {:.3} right ({:.2} of all){}",
                    given.join(", "),
                    mean(&all, true),
                    mean(&all, false),
                    ece(&mut all),
                    decided(&all),
                    all.iter().filter(|(confidence, _)| *confidence >= 0.5).count() as f64 / all.len() as f64,
                    if started.elapsed().as_secs() > 60 { " slow" } else { "" }
                );
            }
        }
    }

    fn votes(&mut self, field: &CompletedField, given: &[&str]) -> Vec<Outcome> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut outcomes = Vec::new();
        for _ in 0..MEMORY_CUES {
            let at = random.usize(..self.memories.len());
            let memory = self.memories[at].clone();
            let mut pattern = Pattern::default();
            if given.contains(&"content") {
                pattern.content = Blank::Given(memory.content.clone().unwrap());
            }
            if given.contains(&"embedding") {
                let numbers = memory.embedding.iter().flatten().copied().map(Some).collect();
                pattern.embedding = Blank::Given(numbers);
            }
            if given.contains(&"time") {
                pattern.occurred_at = Blank::Given(memory.occurred_at);
            }
            let mut metadata = memory.metadata.clone();
            metadata.retain(|_, _| given.contains(&"metadata"));
            match field {
                CompletedField::Context => pattern.context = Blank::Wanted,
                CompletedField::OccurredAt => pattern.occurred_at = Blank::Wanted,
                CompletedField::Metadata(key) => {
                    metadata.insert(key.clone(), Value::Null);
                }
                other => panic!("{other} is not hidden"),
            }
            pattern.metadata = Blank::Given(metadata);
            self.remove(at);
            let completion = complete(&self.state, &pattern, &CompleteOptions::at(Timestamp(0))).unwrap();
            let found = completion.completed.iter().find(|one| one.field == *field).unwrap();
            let is_right = match (&found.value, field) {
                (CompletedValue::Text(context), _) => memory.context.as_ref() == Some(context),
                (CompletedValue::Time(time), _) => time.0.abs_diff(memory.occurred_at.0) <= 86_400_000_000,
                (CompletedValue::Json(value), CompletedField::Metadata(key)) => {
                    memory.metadata.get(key) == Some(value)
                }
                _ => false,
            };
            outcomes.push((found.confidence, is_right));
            self.store(at);
        }
        outcomes
    }
}

/// A vector with some of its numbers unknown or wrong.
fn damaged(row: &[f32], corruption: Corruption, share: f64, random: &mut fastrand::Rng) -> Vec<Option<f32>> {
    let mut numbers: Vec<Option<f32>> = row.iter().copied().map(Some).collect();
    let mut places: Vec<usize> = (0..numbers.len()).collect();
    random.shuffle(&mut places);
    for &place in &places[..(share * numbers.len() as f64).round() as usize] {
        numbers[place] = numbers[place].filter(|_| corruption == Corruption::Flipped).map(|x| -x);
    }
    numbers
}

/// A text with a mark in the place of some of its words; at least one word stays.
fn gapped(content: &str, share: f64, random: &mut fastrand::Rng) -> String {
    let words: Vec<&str> = content.split_whitespace().collect();
    let stays = random.usize(..words.len());
    let left = words
        .iter()
        .enumerate()
        .map(|(at, word)| if at == stays || random.f64() >= share { *word } else { "…" });
    format!("{} …", left.collect::<Vec<_>>().join(" "))
}

fn mean(outcomes: &[Outcome], of_right: bool) -> f64 {
    let value = |(confidence, is_right): &Outcome| {
        if of_right { f64::from(*is_right) } else { f64::from(*confidence) }
    };
    outcomes.iter().map(value).sum::<f64>() / outcomes.len() as f64
}

/// How many of those that are more likely right than wrong are right.
fn decided(outcomes: &[Outcome]) -> f64 {
    let likely: Vec<Outcome> =
        outcomes.iter().copied().filter(|(confidence, _)| *confidence >= 0.5).collect();
    mean(&likely, true)
}

/// Mean distance of the stated from the observed rate, over ten bins of one size.
fn ece(outcomes: &mut [Outcome]) -> f64 {
    outcomes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all = outcomes.len();
    outcomes
        .chunks(all.div_ceil(10))
        .map(|bin| (mean(bin, true) - mean(bin, false)).abs() * bin.len() as f64 / all as f64)
        .sum()
}

/// An RFC 3339 time in UTC, without fractions.
fn instant(text: &str) -> Timestamp {
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
    let (year, month) = (number(0, 4), number(5, 7));
    // Days from the civil calendar (Hinnant 2013).
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + number(8, 10) - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Timestamp((days * 86_400 + number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19)) * 1_000_000)
}

/// The rows of a C-ordered npy file of float16, and their length.
fn npy(path: &Path) -> (Vec<f32>, usize) {
    let bytes = std::fs::read(path).unwrap();
    let header_len = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..10 + header_len]).unwrap();
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let columns = shape.split(',').nth(1).unwrap().trim().parse().unwrap();
    (bytes[10 + header_len..].chunks(2).map(half).collect(), columns)
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
