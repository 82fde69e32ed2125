//! What is stored before the load, and what the load asks with. Generated memories are the same for the same seed; those of
//! files come as they are. No more than a sample of vectors and texts is held here, so that memory is the engine's.

use super::words::Words;
use crate::backend::Backend;
use crate::commands::import::{Source, import, patiently};
use crate::commands::interrupt::Interrupt;
use crate::fault::{Result, failed, usage};
use crate::files::{Lines, json_of_line};
use crate::npy::Rows;
use crate::screen::progress;
use engram::clock::Stopwatch;
use engram_server::api::{
    EmbedderIn, LinkIn, ListQuery, MemoryIn, PAGE_MAX, Provider, SpaceSettingsIn, StoreIn, WithEmbedding,
};
use fastrand::Rng;
use std::path::{Path, PathBuf};

/// Vectors and texts that a load asks with.
const SAMPLES_MAX: u64 = 1000;
/// Cues that are read of a file.
const CUES_MAX: u64 = 10_000;
/// Ids that a load knows of memories that came from lines.
const IDS_MAX: usize = 100_000;
/// Memories that are stored at once.
const BATCH_MEMORIES_MAX: usize = 256;
/// Bytes of their vectors as JSON, well below what a server takes.
const BATCH_BYTES_MAX: usize = 4 << 20;
const NUMBER_JSON_BYTES: usize = 14;
/// Consecutive generated memories that share a context and a cluster.
const CONTEXT_MEMORIES: u64 = 10;
const LINKS: usize = 2;

/// Generated vectors lie around so many centres,
const CLUSTERS: usize = 128;
/// along so many directions of each, as real embeddings do: few, whatever their length.
const DIRECTIONS: usize = 16;
/// The directions are chosen from so many.
const BASIS: usize = 256;
/// How far they lie from the centre: along each direction, and in no direction.
const SPREAD: f32 = 0.25;
const NOISE: f32 = 0.25;

/// Where memories come from.
pub(crate) enum Data {
    Generated(Box<Generator>),
    /// Rows of a file, with generated texts and links.
    Vectors {
        path: PathBuf,
        rows: u64,
        dimensions: usize,
        words: Words,
        seed: u64,
    },
    /// Memories of a file, with vectors of another.
    Lines {
        memories: PathBuf,
        embeddings: Option<PathBuf>,
    },
}

/// A vector and a text that belong together, of a memory or like one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) text: Option<String>,
    pub(crate) vector: Option<Vec<f32>>,
}

/// Makes memories.
pub(crate) struct Generator {
    seed: u64,
    memories: u64,
    dimensions: usize,
    centres: Vec<Vec<f32>>,
    basis: Vec<Vec<f32>>,
    words: Words,
}

impl Data {
    pub(crate) fn generated(memories: u64, dimensions: usize, seed: u64) -> Result<Self> {
        let mut random = rng(seed, 0, 0);
        let mut vectors = |count| (0..count).map(|_| direction(&mut random, dimensions)).collect();
        let (centres, basis) = (vectors(CLUSTERS), vectors(BASIS));
        let words = Words::read()?;
        Ok(Self::Generated(Box::new(Generator { seed, memories, dimensions, centres, basis, words })))
    }

    /// A file of vectors, or of memories.
    pub(crate) fn of_file(path: &Path, embeddings: Option<&Path>, seed: u64) -> Result<Self> {
        if path.extension().is_none_or(|extension| extension != "npy") {
            let embeddings = embeddings.map(Path::to_owned);
            return Ok(Self::Lines { memories: path.to_owned(), embeddings });
        }
        if embeddings.is_some() {
            return usage("--embeddings is for memories of a .jsonl file, and --data names vectors already");
        }
        let (rows, dimensions) = (Rows::open(path)?, Rows::dimensions(path)?);
        let Some(dimensions) = dimensions else {
            return failed(format!("{}: holds only NaN, needed are vectors", path.display()));
        };
        let words = Words::read()?;
        Ok(Self::Vectors { path: path.to_owned(), rows: rows.count, dimensions, words, seed })
    }

    /// For people and for comparisons.
    pub(crate) fn name(&self) -> String {
        let file = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        match self {
            Self::Generated(_) => "generated".into(),
            Self::Vectors { path, .. } => file(path),
            Self::Lines { memories, embeddings: None } => file(memories),
            Self::Lines { memories, embeddings: Some(embeddings) } => {
                format!("{} and {}", file(memories), file(embeddings))
            }
        }
    }

    /// Stores everything; gives the number of memories.
    pub(crate) fn store(&self, backend: &Backend, space: &str, interrupt: &Interrupt) -> Result<u64> {
        match self {
            Self::Generated(generator) => {
                let memory = |at| Ok(generator.memory(at));
                store(backend, space, generator.memories, generator.dimensions, memory, interrupt)
            }
            Self::Vectors { path, rows, dimensions, words, seed } => {
                let mut file = Rows::open(path)?;
                let memory = |at| {
                    let mut random = rng(*seed, 1, at);
                    let (content, links) = (words.text(None, &mut random), links(at, &mut random));
                    Ok(MemoryIn { embedding: file.next()?, ..memory(at, content, links) })
                };
                store(backend, space, *rows, *dimensions, memory, interrupt)
            }
            Self::Lines { memories, embeddings } => {
                let source = Source::open(memories, embeddings.as_deref())?;
                Ok(import(backend, space, source, false, interrupt)?.memories)
            }
        }
    }

    /// Vectors and texts like those of the memories.
    pub(crate) fn samples(&self) -> Result<Vec<Sample>> {
        let samples: Vec<Sample> = match self {
            Self::Generated(generator) => (0..SAMPLES_MAX).map(|at| generator.sample(at)).collect(),
            Self::Vectors { path, words, seed, .. } => {
                let sample = |(at, vector)| {
                    let mut random = rng(*seed, 2, at);
                    let text = Some(words.text(None, &mut random));
                    Sample { text, vector: Some(near(vector, &mut random)) }
                };
                sampled_rows(path, SAMPLES_MAX)?.into_iter().map(sample).collect()
            }
            Self::Lines { memories, embeddings } => {
                let mut random = rng(0, 2, 0);
                let samples = sampled_lines(memories, embeddings.as_deref())?.into_iter();
                let moved = |sample: Sample| Sample {
                    vector: sample.vector.map(|vector| near(vector, &mut random)),
                    ..sample
                };
                samples.map(moved).collect()
            }
        };
        let is_empty = |sample: &Sample| sample.text.is_none() && sample.vector.is_none();
        let samples: Vec<Sample> = samples.into_iter().filter(|sample| !is_empty(sample)).collect();
        if samples.is_empty() { failed(format!("{}: holds no memories", self.name())) } else { Ok(samples) }
    }

    /// Ids of the stored memories.
    pub(crate) fn ids(&self, backend: &Backend, space: &str) -> Result<Vec<String>> {
        let count = match self {
            Self::Generated(generator) => generator.memories,
            Self::Vectors { rows, .. } => *rows,
            Self::Lines { .. } => return listed_ids(backend, space),
        };
        Ok((0..count).map(id).collect())
    }
}

/// The cues of a file.
pub(crate) fn cues_of_file(path: &Path) -> Result<Vec<Vec<f32>>> {
    let cues: Vec<_> = sampled_rows(path, CUES_MAX)?.into_iter().map(|(_, row)| row).collect();
    if cues.is_empty() { failed(format!("{}: holds no cues", path.display())) } else { Ok(cues) }
}

impl Generator {
    fn memory(&self, at: u64) -> MemoryIn {
        let context = at / CONTEXT_MEMORIES;
        let cluster = rng(self.seed, 3, context).usize(0..CLUSTERS);
        let mut random = rng(self.seed, 1, at);
        let content = self.words.text(Some((cluster, CLUSTERS)), &mut random);
        let links = links(at, &mut random);
        MemoryIn {
            embedding: Some(self.vector(cluster, &mut random)),
            context: Some(format!("context-{context}")),
            ..memory(at, content, links)
        }
    }

    fn sample(&self, at: u64) -> Sample {
        let mut random = rng(self.seed, 2, at);
        let cluster = random.usize(0..CLUSTERS);
        let text = self.words.text(Some((cluster, CLUSTERS)), &mut random);
        Sample { text: Some(text), vector: Some(self.vector(cluster, &mut random)) }
    }

    fn vector(&self, cluster: usize, random: &mut Rng) -> Vec<f32> {
        let mut vector = self.centres[cluster].clone();
        for direction in 0..DIRECTIONS {
            let along = SPREAD * normal(random);
            let basis = &self.basis[(cluster * 7 + direction * 13) % BASIS];
            vector.iter_mut().zip(basis).for_each(|(number, part)| *number += along * part);
        }
        noisy(&mut vector, NOISE, random);
        vector
    }
}

/// A vector near this one.
pub(crate) fn near(mut vector: Vec<f32>, random: &mut Rng) -> Vec<f32> {
    noisy(&mut vector, NOISE, random);
    vector
}

/// Adds noise, by a share of the length.
fn noisy(vector: &mut [f32], share: f32, random: &mut Rng) {
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    let each = share * length / (vector.len() as f32).sqrt();
    vector.iter_mut().for_each(|number| *number += each * normal(random));
}

/// Of length 1, to some percent.
fn direction(random: &mut Rng, dimensions: usize) -> Vec<f32> {
    let scale = 1.0 / (dimensions as f32).sqrt();
    (0..dimensions).map(|_| scale * normal(random)).collect()
}

/// Normal but for its far tails: a sum of four uniform numbers, of mean 0 and variance 1 (Irwin and Hall).
fn normal(random: &mut Rng) -> f32 {
    (random.f32() + random.f32() + random.f32() + random.f32() - 2.0) * 3.0_f32.sqrt()
}

/// Random numbers for one thing of one kind.
fn rng(seed: u64, kind: u64, at: u64) -> Rng {
    // The odd constant of SplitMix64 sets neighbours far apart.
    Rng::with_seed((seed.wrapping_mul(31) + kind).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ at)
}

fn id(at: u64) -> String {
    format!("m{at}")
}

fn memory(at: u64, content: String, links: Vec<LinkIn>) -> MemoryIn {
    MemoryIn { id: Some(id(at)), content: Some(content), links: Some(links), ..MemoryIn::default() }
}

/// To memories before this one.
fn links(at: u64, random: &mut Rng) -> Vec<LinkIn> {
    let count = if at == 0 { 0 } else { LINKS };
    let mut to: Vec<u64> = (0..count).map(|_| random.u64(0..at)).collect();
    to.dedup();
    let weight = |random: &mut Rng| 0.2 + 0.8 * random.f32();
    to.into_iter().map(|to| LinkIn { to: id(to), kind: "related".into(), weight: weight(random) }).collect()
}

fn store(
    backend: &Backend,
    space: &str,
    count: u64,
    dimensions: usize,
    mut memory: impl FnMut(u64) -> Result<MemoryIn>,
    interrupt: &Interrupt,
) -> Result<u64> {
    let embedder = EmbedderIn { provider: Provider::Caller, dimensions: Some(dimensions), version: None };
    let settings = SpaceSettingsIn { embedder: Some(embedder), ..SpaceSettingsIn::default() };
    backend.put_space(space, settings)?;
    let each = (BATCH_BYTES_MAX / (dimensions * NUMBER_JSON_BYTES)).clamp(1, BATCH_MEMORIES_MAX) as u64;
    let bar = progress("storing", "memories", Some(count));
    for first in (0..count).step_by(each as usize) {
        if interrupt.is_asked() {
            return failed("stopped");
        }
        let batch: Result<Vec<MemoryIn>> = (first..count.min(first + each)).map(&mut memory).collect();
        let request = StoreIn::many(batch?, false);
        patiently(|| backend.store(space, request.clone()))?;
        bar.inc(each);
    }
    bar.finish_and_clear();
    Ok(count)
}

/// Rows from all over a file, with their numbers, without those of NaN.
fn sampled_rows(path: &Path, count_max: u64) -> Result<Vec<(u64, Vec<f32>)>> {
    let mut rows = Rows::open(path)?;
    let step = rows.count.div_ceil(count_max).max(1);
    let mut sample = Vec::new();
    for at in 0..rows.count {
        let row = rows.next()?;
        sample.extend(row.filter(|_| at % step == 0).map(|row| (at, row)));
    }
    Ok(sample)
}

/// Memories from all over a file.
fn sampled_lines(memories: &Path, embeddings: Option<&Path>) -> Result<Vec<Sample>> {
    let Some(count) = Lines::count(memories, |_| ())? else {
        return usage("--data is read more than once, so it must be a file");
    };
    let mut rows = embeddings.map(Rows::open).transpose()?;
    let mut lines = Lines::open(memories)?;
    let (mut line, mut samples) = (Vec::new(), Vec::new());
    let step = count.div_ceil(SAMPLES_MAX).max(1);
    let mut at = 0;
    while let Some(number) = lines.next(&mut line)? {
        let row = rows.as_mut().filter(|rows| at < rows.count).map(Rows::next).transpose()?.flatten();
        if at % step == 0 {
            let memory: MemoryIn = json_of_line(&line).map_err(|fault| fault.at(lines.place(number)))?;
            samples.push(Sample { text: memory.content, vector: row.or(memory.embedding) });
        }
        at += 1;
    }
    Ok(samples)
}

fn listed_ids(backend: &Backend, space: &str) -> Result<Vec<String>> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    while ids.len() < IDS_MAX {
        let page = backend
            .list(space, &ListQuery { cursor, limit: Some(PAGE_MAX), with_embedding: WithEmbedding::No })?;
        ids.extend(page.memories.into_iter().map(|memory| memory.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    if ids.is_empty() { failed("there are no memories to ask for") } else { Ok(ids) }
}

/// Waits until the index holds every vector; gives the seconds that it took.
pub(crate) fn wait_for_index(backend: &Backend, space: &str, interrupt: &Interrupt) -> Result<f64> {
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);
    let watch = Stopwatch::start();
    let mut left = backend.space(space)?.unindexed;
    let bar = progress("indexing", "vectors", Some(left));
    while left > 0 {
        if interrupt.is_asked() {
            return failed("stopped");
        }
        std::thread::sleep(PAUSE);
        left = backend.space(space)?.unindexed;
        bar.set_position(bar.length().unwrap_or_default().saturating_sub(left));
    }
    bar.finish_and_clear();
    Ok(watch.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_memories() {
        let memory = |seed, at| match Data::generated(100, 16, seed).unwrap() {
            Data::Generated(generator) => generator.memory(at),
            _ => unreachable!(),
        };
        assert_eq!(memory(1, 7), memory(1, 7));
        assert_ne!(memory(1, 7), memory(2, 7));
        assert_eq!(memory(1, 7).context, memory(1, 8).context);
        assert_ne!(memory(1, 7).content, memory(1, 8).content);
        assert!(memory(1, 50).links.unwrap().iter().all(|link| link.to.len() <= 3));
        assert_eq!(memory(1, 0).links, Some(vec![]));
    }

    #[test]
    fn vectors_of_a_context_are_nearer_than_others() {
        let data = Data::generated(100, 64, 42).unwrap();
        let Data::Generated(generator) = data else { unreachable!() };
        let vector = |at| generator.memory(at).embedding.unwrap();
        let cosine = |a: &[f32], b: &[f32]| {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let mean =
            |shift: u64| (0..10).map(|at| cosine(&vector(at), &vector(at + shift))).sum::<f32>() / 10.0;
        let own: f32 = (1..10).map(|at| cosine(&vector(0), &vector(at))).sum::<f32>() / 9.0;
        assert!(own > 0.3 && own > mean(50) + 0.2, "{own} {}", mean(50));
    }
}
