//! `engram import`: a memory a line, with vectors of a `.npy` file, in batches that are stored whole or not at all.
//! Doing it again stores nothing twice: a line without an id gets one from its number and bytes. At most two batches
//! are in memory: while one is stored, the next is read.

use crate::args::{InSpace, Target};
use crate::backend::{Backend, Folder, is_not_found};
use crate::commands::interrupt::Interrupt;
use crate::fault::{Fault, Result, failed};
use crate::files::{Lines, json_of_line};
use crate::npy::Rows;
use crate::screen::{Screen, counted, grouped, progress};
use clap::Args;
use engram::NewMemory;
use engram::clock::Stopwatch;
use engram_server::Problem;
use engram_server::api::{EmbedderIn, MemoryIn, Provider, SpaceOut, SpaceSettingsIn, StoreIn};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// Memories that are stored at once: one sync of the log is shared by so many.
const BATCH_MEMORIES_MAX: usize = 256;
/// Bytes of a batch, well below what a server takes (`limits.body_mb_max`, 16 MB by default).
const BATCH_BYTES_MAX: usize = 4 << 20;
/// What a number of a vector takes as JSON, at most.
const NUMBER_JSON_BYTES: usize = 14;
/// What `export --with-state` adds; it is read past.
const STATE_FIELDS: [&str; 1] = ["stored_at"];
/// Pauses before a server that is busy is asked again: its queue of writes is empty in less, or something is wrong.
const BUSY_PAUSES: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// Store a file of memories
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram import --space diary memories.jsonl
  engram import --space diary memories.jsonl --embeddings vectors.npy
  engram import --space diary memories.jsonl --data-dir ./engram-data
  zcat memories.jsonl.gz | engram import --space diary -

A memory is a line {\"id\": \"d1\", \"content\": \"It rained\", \"context\": \"trip\",
\"occurred_at\": \"2024-05-08T13:56:00Z\", \"metadata\": {\"speaker\": \"Ada\"},
\"links\": [{\"to\": \"d2\", \"kind\": \"because\", \"weight\": 0.5}]}; content is enough.
The .npy file holds float32 or float16, memories x dimensions, as numpy.save
writes it: row i is the vector of line i. A row of NaN: it has none.
Storing a line again changes nothing: to go on with an import, run it again.")]
pub(crate) struct Import {
    #[command(flatten)]
    space: InSpace,
    /// File with a memory a line; - for standard input
    #[arg(value_name = "MEMORIES.jsonl")]
    memories: PathBuf,
    /// Vectors of the memories, a row a line
    #[arg(long, value_name = "FILE.npy")]
    embeddings: Option<PathBuf>,
    /// Take the place of memories with the same id and other values
    #[arg(long)]
    replace: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(crate) struct Imported {
    /// Lines that are stored now, also those that were before.
    pub(crate) memories: u64,
    /// Of them, those whose id was new; absent where others changed the space meanwhile, so that nobody can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) new: Option<u64>,
    /// Of them, those that were there; absent also with `--replace`, which may have changed them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unchanged: Option<u64>,
    /// Explicit associations of theirs.
    pub(crate) links: u64,
    /// Seconds that it took.
    pub(crate) seconds: f64,
}

impl Import {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<()> {
        let source = Source::open(&self.memories, self.embeddings.as_deref())?;
        let backend = Backend::open(&self.target, Folder::MayBeNew)?;
        let interrupt = Interrupt::listen()?;
        let space = &self.space.space;
        let imported = backend.with(|backend| import(backend, space, source, self.replace, &interrupt))?;
        if self.json {
            return screen.json(&imported);
        }
        let Imported { memories, new, seconds, .. } = imported;
        let others = if self.replace { "unchanged or replaced" } else { "unchanged" };
        let news = new
            .map(|new| format!(": {} new, {} {others}", grouped(new), grouped(memories - new)))
            .unwrap_or_default();
        screen.line(format_args!(
            "{} in {seconds:.1} s ({}/s) in space {space}{news}",
            counted(memories, "memory", "memories"),
            grouped((memories as f64 / seconds.max(1e-3)) as u64)
        ))
    }
}

/// Stores everything that `source` gives. Says, where it fails, how much is stored.
pub(crate) fn import(
    backend: &Backend,
    space: &str,
    mut source: Source,
    replace: bool,
    interrupt: &Interrupt,
) -> Result<Imported> {
    let watch = Stopwatch::start();
    let before = if_there(backend.space(space))?;
    let mut embedder = match &before {
        Some(before) if before.settings.embedder.is_some() => None,
        _ => source.dimensions(interrupt)?,
    };
    let bar = progress("storing", "memories", source.count);
    let mut imported = Imported::default();
    let outcome = std::thread::scope(|scope| {
        let (sender, batches) = sync_channel::<Result<Batch>>(1);
        scope.spawn(move || {
            loop {
                let batch = source.batch();
                let is_last = batch.as_ref().map_or(true, |batch| batch.places.is_empty());
                // Nobody receives after a failure to store.
                if sender.send(batch).is_err() || is_last {
                    return;
                }
            }
        });
        for batch in batches {
            let batch = batch?;
            let (memories, links) = (batch.places.len() as u64 + batch.repeats, batch.links);
            if interrupt.is_asked() {
                return failed("stopped");
            }
            if batch.places.is_empty() {
                imported.memories += memories;
                break;
            }
            // Otherwise a first memory without a vector would decide that the space has none.
            if let Some(dimensions) = embedder.take() {
                decide_dimensions(backend, space, dimensions)?;
            }
            store(backend, space, batch, replace)?;
            imported.memories += memories;
            imported.links += links;
            bar.inc(memories);
        }
        Ok(())
    });
    bar.finish_and_clear();
    imported.seconds = watch.elapsed().as_secs_f64();
    outcome.map_err(|fault: Fault| {
        let stored = counted(imported.memories, "memory", "memories");
        fault.and(format_args!(
            "{stored} before it stored, nothing after; run the same command again to go on"
        ))
    })?;
    let count = |space: Option<SpaceOut>| space.map_or(0, |space| space.memories);
    let after = if_there(backend.space(space))?;
    imported.new = count(after).checked_sub(count(before)).filter(|new| *new <= imported.memories);
    imported.unchanged = imported.new.filter(|_| !replace).map(|new| imported.memories - new);
    Ok(imported)
}

fn if_there<T>(outcome: Result<T>) -> Result<Option<T>> {
    if is_not_found(&outcome) { Ok(None) } else { outcome.map(Some) }
}

fn decide_dimensions(backend: &Backend, space: &str, dimensions: usize) -> Result<()> {
    let embedder = EmbedderIn { provider: Provider::Caller, dimensions: Some(dimensions), version: None };
    let settings = SpaceSettingsIn { embedder: Some(embedder), ..SpaceSettingsIn::default() };
    patiently(|| backend.put_space(space, settings.clone())).map(drop)
}

/// Asks again, a few times, while the answer is that there is too much to do.
pub(crate) fn patiently<T>(mut ask: impl FnMut() -> Result<T>) -> Result<T> {
    for pause in BUSY_PAUSES {
        match ask() {
            Err(Fault::Refused(Problem::Busy, _)) => std::thread::sleep(pause),
            other => return other,
        }
    }
    ask()
}

fn store(backend: &Backend, space: &str, batch: Batch, replace: bool) -> Result<()> {
    let ids: Vec<Option<String>> = batch.memories.iter().map(|memory| memory.id.clone()).collect();
    let request = StoreIn::many(batch.memories, replace);
    match patiently(|| backend.store(space, request.clone())) {
        Ok(_) => Ok(()),
        Err(Fault::Refused(problem, text)) => {
            let (place, text) = match blamed(&text, &ids) {
                // What counts within the batch would be taken for a line.
                Some(at) => (batch.places[at].clone(), text.replacen(&format!("memories[{at}]: "), "", 1)),
                None => (format!("{} to {}", batch.places[0], batch.places[batch.places.len() - 1]), text),
            };
            let mut fault = Fault::Refused(problem, text).at(place);
            if problem == Problem::Conflict {
                fault = fault.and("With --replace the line takes the place of what is stored.");
            }
            Err(fault)
        }
        Err(other) => Err(other),
    }
}

/// Which memory of a batch a refusal is about: the one that it counts or names.
fn blamed(text: &str, ids: &[Option<String>]) -> Option<usize> {
    let counted = text.split_once("memories[").and_then(|(_, rest)| rest.split_once(']')?.0.parse().ok());
    let named =
        || ids.iter().position(|id| id.as_ref().is_some_and(|id| text.contains(&format!("\"{id}\""))));
    counted.filter(|at| *at < ids.len()).or_else(named)
}

/// Memories of a file, with vectors of another.
pub(crate) struct Source {
    lines: Lines,
    rows: Option<Rows>,
    /// Memories; unknown for standard input.
    pub(crate) count: Option<u64>,
    taken: u64,
    /// Of the first vector, as far as lines could be read ahead.
    dimensions: Option<usize>,
    /// By id: number of its line, and hash of its values.
    seen: HashMap<String, (u64, u64)>,
}

/// Memories that are stored together.
struct Batch {
    memories: Vec<MemoryIn>,
    /// Of each memory.
    places: Vec<String>,
    /// Lines beside them that say again what an earlier line said.
    repeats: u64,
    links: u64,
}

impl Source {
    pub(crate) fn open(memories: &Path, embeddings: Option<&Path>) -> Result<Self> {
        let rows = embeddings.map(Rows::open).transpose()?;
        let mut dimensions = embeddings.map(Rows::dimensions).transpose()?.flatten();
        let count = Lines::count(memories, |line| dimensions = dimensions.or_else(|| dimensions_of(line)))?;
        if let (Some(rows), Some(count), Some(path)) = (&rows, count, embeddings)
            && rows.count != count
        {
            return failed(format!(
                "{} has {} and {} has {}; row i must be the vector of line i. Nothing is stored",
                memories.display(),
                counted(count, "memory", "memories"),
                path.display(),
                counted(rows.count, "row", "rows"),
            ));
        }
        Ok(Self { lines: Lines::open(memories)?, rows, count, taken: 0, dimensions, seen: HashMap::new() })
    }

    /// Lines without vectors, `count` of them.
    pub(crate) fn of(lines: Lines, count: u64) -> Self {
        Self { lines, rows: None, count: Some(count), taken: 0, dimensions: None, seen: HashMap::new() }
    }

    /// Numbers of the first vector; `None` where no memory has one.
    fn dimensions(&mut self, interrupt: &Interrupt) -> Result<Option<usize>> {
        let Self { lines, dimensions, count, .. } = self;
        if dimensions.is_none() && count.is_none() {
            lines.look_ahead(|line| {
                *dimensions = dimensions_of(line);
                dimensions.is_some() || interrupt.is_asked()
            })?;
        }
        Ok(self.dimensions)
    }

    /// The next memories, checked; none at the end.
    fn batch(&mut self) -> Result<Batch> {
        let mut batch = Batch { memories: Vec::new(), places: Vec::new(), repeats: 0, links: 0 };
        let mut bytes = 0;
        let mut line = Vec::new();
        while batch.memories.len() < BATCH_MEMORIES_MAX && bytes < BATCH_BYTES_MAX {
            let Some(number) = self.lines.next(&mut line)? else { break };
            let place = self.lines.place(number);
            let Some(memory) = self.memory(&line, number).map_err(|fault| fault.at(&place))? else {
                batch.repeats += 1;
                continue;
            };
            bytes += line.len()
                + memory.embedding.as_ref().map_or(0, |embedding| embedding.len() * NUMBER_JSON_BYTES);
            batch.links += memory.links.as_ref().map_or(0, |links| links.len() as u64);
            batch.memories.push(memory);
            batch.places.push(place);
        }
        Ok(batch)
    }

    /// The memory of a line; `None` for one that an earlier line gave with the same values.
    fn memory(&mut self, line: &[u8], number: u64) -> Result<Option<MemoryIn>> {
        let mut memory = parse(line)?;
        self.taken += 1;
        if let Some(rows) = &mut self.rows {
            if self.taken > rows.count {
                return failed(format!(
                    "the file of embeddings has only {}",
                    counted(rows.count, "row", "rows")
                ));
            }
            if let Some(row) = rows.next()? {
                if memory.embedding.is_some() {
                    return failed("has an embedding, and the .npy file has one for it too");
                }
                memory.embedding = Some(row);
            }
        }
        if self.is_repeat(&mut memory, number)? {
            return Ok(None);
        }
        memory
            .id
            .get_or_insert_with(|| format!("line{number}-{:016x}", fnv(line.trim_ascii().iter().copied())));
        let checked = NewMemory::try_from(memory.clone())?;
        checked.check().map_err(|error| Fault::from(engram::Error::from(error)))?;
        Ok(Some(memory))
    }

    /// Whether an earlier line has its id and values. The same id with other values is an error.
    fn is_repeat(&mut self, memory: &mut MemoryIn, number: u64) -> Result<bool> {
        let Some(id) = memory.id.clone() else { return Ok(false) };
        let hash = hashed(memory);
        match self.seen.insert(id.clone(), (number, hash)) {
            None => Ok(false),
            Some((_, known)) if known == hash => Ok(true),
            Some((first, _)) => failed(format!(
                "has the id \"{id}\" of line {first} and other values; give it another id, or leave one of them out"
            )),
        }
    }
}

/// Of all values of a memory.
fn hashed(memory: &mut MemoryIn) -> u64 {
    // As text a vector would take longer than to store it.
    let embedding = memory.embedding.take();
    let json = serde_json::to_vec(memory).expect("wire types have text keys only");
    let numbers = embedding.iter().flatten().flat_map(|number| number.to_le_bytes());
    let hash = fnv(json.into_iter().chain(numbers));
    memory.embedding = embedding;
    hash
}

/// Numbers of the vector that stands in a line, where one does.
fn dimensions_of(line: &[u8]) -> Option<usize> {
    const FIELD: &[u8] = b"\"embedding\"";
    #[derive(Deserialize)]
    struct Embedded {
        embedding: Option<Vec<IgnoredAny>>,
    }
    line.windows(FIELD.len()).any(|part| part == FIELD).then_some(())?;
    // A line that is not JSON is refused when its turn comes.
    let embedded: Embedded = serde_json::from_slice(line).ok()?;
    embedded.embedding.map(|embedding| embedding.len()).filter(|dimensions| *dimensions > 0)
}

fn parse(line: &[u8]) -> Result<MemoryIn> {
    match json_of_line(line) {
        Ok(memory) => Ok(memory),
        Err(error) => {
            // Lines of `export --with-state` are rare, so that only a line that failed is looked at again.
            let Ok(mut fields) = serde_json::from_slice::<Map<String, Value>>(line) else {
                return Err(error);
            };
            let given = fields.len();
            fields.retain(|field, _| !STATE_FIELDS.contains(&field.as_str()));
            if fields.len() == given {
                return Err(error);
            }
            json_of_line(&serde_json::to_vec(&fields).expect("JSON that was read can be written"))
        }
    }
}

/// FNV-1a; Fowler, Noll and Vo. The same in every version, so that a line keeps its id.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_read_past_and_nothing_else_is() {
        let memory = parse(br#"{"content": "rain", "stored_at": "2024-01-01T00:00:00Z"}"#).unwrap();
        assert_eq!(memory.content.as_deref(), Some("rain"));
        assert!(parse(br#"{"content": "rain", "stored_at": "2024-01-01T00:00:00Z", "contnet": 1}"#).is_err());
        assert!(parse(b"[1]").is_err());
    }

    #[test]
    fn the_ids_of_lines_never_change() {
        assert_eq!(format!("{:016x}", fnv(b"foobar".iter().copied())), "85944171f73967e8");
    }

    #[test]
    fn a_refusal_is_traced_to_its_memory() {
        let ids = [Some("a".to_owned()), None, Some("b".to_owned())];
        assert_eq!(blamed("memories[1]: content is empty", &ids), Some(1));
        assert_eq!(blamed("memory \"b\" is stored with another content", &ids), Some(2));
        assert_eq!(blamed("the disk is full", &ids), None);
        assert_eq!(blamed("memories[9]: odd", &ids), None);
    }
}
