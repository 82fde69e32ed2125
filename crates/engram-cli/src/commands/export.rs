//! `engram export`: writes what `engram import` reads. The same memories give the same bytes.

use crate::args::{InSpace, Target};
use crate::backend::{Backend, Folder};
use crate::fault::{Result, usage};
use crate::files::Draft;
use crate::npy::RowsWriter;
use crate::screen::{Screen, counted, note, progress};
use clap::Args;
use engram::clock::Stopwatch;
use engram_server::api::{CountIn, EmbeddingOut, Kind, ListQuery, MemoryIn, MemoryOut, Time, WithEmbedding};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Memories of a page: with vectors of 4,096 numbers about 13 MB.
const PAGE_MEMORIES: usize = 256;

/// Write the memories of a space to a file that `import` reads
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram export --space diary diary.jsonl
  engram export --space diary diary.jsonl --embeddings diary.npy
  engram export --space diary - --data-dir ./engram-data | head

Without --embeddings vectors stand in the lines. Files appear when complete.")]
pub(crate) struct Export {
    #[command(flatten)]
    space: InSpace,
    /// File to write, a memory a line; - for standard output
    #[arg(value_name = "OUT.jsonl")]
    out: PathBuf,
    /// Write vectors to this file as float32, row i for line i; a row of NaN: none
    #[arg(long, value_name = "OUT.npy")]
    embeddings: Option<PathBuf>,
    /// Add stored_at to each line; import reads past it. How memories were used is in no export
    #[arg(long)]
    with_state: bool,
    #[command(flatten)]
    target: Target,
}

/// A line: the memory as import takes it, and its state where that is asked for.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    memory: MemoryIn,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_at: Option<Time>,
}

impl Export {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<()> {
        if self.embeddings.as_ref().is_some_and(|embeddings| *embeddings == self.out) {
            return usage("the lines and the vectors cannot go to the same file");
        }
        let watch = Stopwatch::start();
        let backend = Backend::open(&self.target, Folder::MustExist)?;
        let count = backend.with(|backend| self.export(backend, screen))?;
        let memories = counted(count, "memory", "memories");
        note(format_args!("{memories} in {:.1} s to {}", watch.elapsed().as_secs_f64(), self.out.display()));
        Ok(())
    }

    fn export(&self, backend: &Backend, screen: &mut Screen) -> Result<u64> {
        let space = &self.space.space;
        let bar =
            progress("writing", "memories", Some(backend.count(space, CountIn::default())?.count as u64));
        let mut lines = Output::open(&self.out, screen)?;
        let draft = self.embeddings.as_deref().map(Draft::new).transpose()?;
        let mut vectors = match &draft {
            Some(draft) => Some(RowsWriter::new(draft.file()?).map_err(|error| draft.fault(&error))?),
            None => None,
        };
        let mut query =
            ListQuery { cursor: None, limit: Some(PAGE_MEMORIES), with_embedding: WithEmbedding::Base64 };
        let mut count = 0;
        loop {
            let page = backend.list(space, &query)?;
            for memory in page.memories {
                let stored_at = self.with_state.then_some(memory.stored_at);
                let mut memory = without_defaults(memory);
                if let (Some(vectors), Some(draft)) = (&mut vectors, &draft) {
                    vectors.push(memory.embedding.take().as_deref()).map_err(|error| draft.fault(&error))?;
                }
                let mut json =
                    serde_json::to_vec(&Line { memory, stored_at }).expect("wire types have text keys only");
                json.push(b'\n');
                lines.write(&json)?;
                count += 1;
                bar.inc(1);
            }
            query.cursor = page.next;
            if query.cursor.is_none() {
                break;
            }
        }
        bar.finish_and_clear();
        if let (Some(vectors), Some(draft)) = (vectors, draft) {
            let file = vectors.finish().map_err(|error| draft.fault(&error))?;
            draft.publish(&file)?;
        }
        lines.finish()?;
        Ok(count)
    }
}

/// Standard output, or a file that gets its name at the end.
enum Output<'a> {
    Screen(&'a mut Screen),
    File(Draft, BufWriter<File>),
}

impl<'a> Output<'a> {
    fn open(path: &Path, screen: &'a mut Screen) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Screen(screen));
        }
        let draft = Draft::new(path)?;
        let file = BufWriter::with_capacity(1 << 16, draft.file()?);
        Ok(Self::File(draft, file))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::Screen(screen) => screen.bytes(bytes),
            Self::File(draft, file) => file.write_all(bytes).map_err(|error| draft.fault(&error)),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Screen(screen) => screen.flush(),
            Self::File(draft, file) => {
                let file = file.into_inner().map_err(|error| draft.fault(error.error()))?;
                draft.publish(&file)
            }
        }
    }
}

/// What storing the memory again would take: values that are in force when nothing is given are left out, as the
/// server's own `MemoryIn::from(Memory)` does.
fn without_defaults(memory: MemoryOut) -> MemoryIn {
    MemoryIn {
        id: Some(memory.id),
        content: memory.content,
        embedding: memory.embedding.map(EmbeddingOut::into_numbers),
        occurred_at: Some(memory.occurred_at),
        context: memory.context,
        entities: (!memory.entities.is_empty()).then_some(memory.entities),
        links: (!memory.links.is_empty()).then_some(memory.links),
        confidence: (memory.confidence != 1.0).then_some(memory.confidence),
        metadata: (!memory.metadata.is_empty()).then_some(memory.metadata),
        kind: (memory.kind != Kind::Episode).then_some(memory.kind),
        expires_at: memory.expires_at,
    }
}
