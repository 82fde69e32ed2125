//! Asks the cues of sets in this process: imports each space into a folder that goes away, completes its index, and
//! recalls, one cue after the other, by the whole of recall and by parts of it. The same files give the same answers:
//! nothing runs in the background.

use super::score::{CALIBRATED_HITS, Ranked};
use super::sets::{AskedCue, Folder, Set, dimensions};
use crate::backend::Backend;
use crate::commands::import::{Source, import};
use crate::commands::interrupt::Interrupt;
use crate::fault::{Fault, Result, failed};
use crate::screen::progress;
use engram::clock::{Clock, Stopwatch};
use engram::{
    Engine, Evidence, Memory, MemoryId, NewMemory, Options, RecallOptions, Selection, Space, SpaceName,
    StoreOptions, SyncMode, Without,
};
use engram_server::Service;
use indicatif::ProgressBar;
use serde::Serialize;
use std::sync::Arc;
use tempfile::TempDir;

/// Evidence is taken out and put back for each cue; beyond so many memories that takes minutes.
pub(crate) const HARD_MEMORIES_MAX: usize = 5_000;

/// A set whose memories are stored, each folder in a space of its own.
pub(crate) struct Stored<'a> {
    pub(crate) set: &'a Set,
    pub(crate) spaces: Vec<(&'a Folder, Arc<Space>)>,
    engine: Engine,
    backend: Backend,
    limit: usize,
    interrupt: &'a Interrupt,
    memories: usize,
    /// What consolidation made, where it was asked for.
    pub(crate) concepts: Option<Concepts>,
    // Last: its files are let go of before it is removed.
    _folder: TempDir,
}

/// What consolidation made of a set.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Concepts {
    /// How many.
    pub(crate) concepts: usize,
    /// Memories that they stand for.
    pub(crate) sources: usize,
    /// How long that took.
    pub(crate) seconds: f64,
}

/// An answer, and what it took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) ranked: Ranked,
    pub(crate) abstain: bool,
    /// Memories that the ranking looked at.
    pub(crate) looked_at: usize,
    pub(crate) seconds: f64,
    /// Of the first hits.
    pub(crate) evidence: Vec<Evidence>,
}

impl<'a> Stored<'a> {
    /// Imports a set. Its evidence must be among its memories.
    pub(crate) fn new(set: &'a Set, limit: usize, interrupt: &'a Interrupt) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("engram-evaluate-")
            .tempdir()
            .map_err(|error| Fault::Failed(format!("cannot make a temporary folder: {error}")))?;
        // Time stands still: what the clock does between two recalls must not decide between equals.
        let now = Clock::system().now();
        let options = Options {
            sync: SyncMode::None,
            background_threads: 0,
            clock: Clock::driven(move || now),
            ..Options::new(folder.path())
        };
        let engine = Engine::open(options)?;
        let backend = Backend::Local(Service::new(engine.clone()));
        let mut spaces = Vec::new();
        for (at, files) in set.spaces.iter().enumerate() {
            let name = format!("space-{at}");
            let source = Source::open(&files.memories, files.embeddings.as_deref())?;
            import(&backend, &name, source, false, interrupt)?;
            let space = engine.space(&SpaceName::new(&name).map_err(engram::Error::from)?)?;
            check_evidence(files, &space)?;
            spaces.push((files, space));
        }
        let bar = progress("indexing", "spaces", Some(spaces.len() as u64));
        engine.work_off();
        bar.finish_and_clear();
        let memories = spaces.iter().map(|(_, space): &(_, Arc<Space>)| space.summary().memories).sum();
        Ok(Self { set, spaces, engine, backend, limit, interrupt, memories, concepts: None, _folder: folder })
    }

    /// Makes concepts in all spaces.
    pub(crate) fn consolidate(&mut self) -> Result<()> {
        let bar = progress("consolidating", "spaces", Some(self.spaces.len() as u64));
        let watch = Stopwatch::start();
        let mut sum = Concepts::default();
        for (_, space) in &self.spaces {
            let done = space.consolidate(false, |_| !self.interrupt.is_asked())?;
            if done.stopped {
                return failed("stopped");
            }
            sum.concepts += done.concepts;
            sum.sources += done.sources;
            bar.inc(1);
        }
        sum.seconds = watch.elapsed().as_secs_f64();
        bar.finish_and_clear();
        self.concepts = Some(sum);
        Ok(())
    }

    /// Whether memories have vectors, given or made from their texts.
    pub(crate) fn has_vectors(&self) -> bool {
        self.spaces.iter().any(|(_, space)| space.summary().vectors > 0)
    }

    /// Answers to its own cues, by space.
    pub(crate) fn ask_own(
        &self,
        without: Without,
        through_concepts: bool,
        bar: &ProgressBar,
    ) -> Result<Vec<Vec<Asked>>> {
        let ask = |(files, space): &(&Folder, Arc<Space>)| {
            files.cues.iter().map(|cue| self.ask(space, cue, without, through_concepts, bar)).collect()
        };
        self.spaces.iter().map(ask).collect()
    }

    /// Answers to cues that are about something else: those of `others`, in each space.
    pub(crate) fn ask_foreign(
        &self,
        others: &[&[AskedCue]],
        without: Without,
        bar: &ProgressBar,
    ) -> Result<Vec<Asked>> {
        let mut asked = Vec::new();
        for ((_, space), cues) in self.spaces.iter().zip(others) {
            for cue in *cues {
                // What a cue says of the memories of its own space would not fit here.
                let bare = AskedCue { filter: Default::default(), ..cue.clone() };
                asked.push(self.ask(space, &bare, without, false, bar)?);
            }
        }
        Ok(asked)
    }

    /// Answers to its own cues while the evidence of each is not stored, by space; `None` for a cue without evidence.
    /// Afterwards everything is stored as before, if in another order.
    pub(crate) fn ask_without_evidence(
        &self,
        without: Without,
        bar: &ProgressBar,
    ) -> Result<Vec<Vec<Option<Asked>>>> {
        let ask = |(files, space): &(&Folder, Arc<Space>)| {
            let pairs = files.cues.iter().zip(&files.wanted);
            let ask = |(cue, wanted): (&AskedCue, &super::score::Wanted)| {
                if wanted.evidence.is_empty() {
                    bar.inc(1);
                    return Ok(None);
                }
                let taken = take_out(space, &wanted.evidence)?;
                let asked = self.ask(space, cue, without, false, bar);
                space.store(taken.into_iter().map(NewMemory::from).collect(), &StoreOptions::default())?;
                self.engine.work_off();
                asked.map(Some)
            };
            pairs.map(ask).collect()
        };
        self.spaces.iter().map(ask).collect()
    }

    fn ask(
        &self,
        space: &Space,
        cue: &AskedCue,
        without: Without,
        through_concepts: bool,
        bar: &ProgressBar,
    ) -> Result<Asked> {
        if self.interrupt.is_asked() {
            return failed("stopped");
        }
        let options = RecallOptions {
            limit: self.limit,
            filter: cue.filter.clone(),
            as_of: cue.as_of,
            without,
            through_concepts,
            ..RecallOptions::at(cue.now.unwrap_or_else(|| self.engine.now()))
        };
        let watch = Stopwatch::start();
        let recalled = space.recall(&cue.cue, &options);
        let seconds = watch.elapsed().as_secs_f64();
        let recalled = recalled.map_err(|error| Fault::from(error).at(format!("cue \"{}\"", cue.id)))?;
        bar.inc(1);
        let ids = recalled.hits.iter().map(|hit| hit.memory.id.to_string()).collect();
        let relevance = recalled.hits.iter().map(|hit| hit.relevance).collect();
        let evidence = recalled.hits.iter().take(CALIBRATED_HITS).map(|hit| hit.evidence).collect();
        let (ranked, looked_at) = (Ranked { ids, relevance }, recalled.activated);
        Ok(Asked { ranked, abstain: recalled.abstain, looked_at, seconds, evidence })
    }

    /// Memories of the set.
    pub(crate) fn memories(&self) -> usize {
        self.memories
    }

    /// Numbers of the vectors of its memories, where they have any.
    pub(crate) fn dimensions(&self) -> Option<usize> {
        self.spaces.iter().find_map(|(_, space)| match space.settings().embedder {
            Some(engram::Embedder::Caller { dimensions }) => Some(dimensions),
            _ => None,
        })
    }

    /// Whether the vectors of these cues can be compared with those of its memories.
    pub(crate) fn can_compare(&self, cues: &[AskedCue]) -> bool {
        dimensions(cues).is_none_or(|given| self.dimensions() == Some(given))
    }

    /// Closes the spaces and removes their files.
    pub(crate) fn close(self) -> Result<()> {
        self.backend.with(|_| Ok(()))
    }
}

/// Each piece of evidence must be stored: otherwise no recall could find it.
fn check_evidence(files: &Folder, space: &Space) -> Result<()> {
    for (cue, wanted) in files.cues.iter().zip(&files.wanted) {
        for id in &wanted.evidence {
            let is_stored = MemoryId::new(id).is_ok_and(|id| space.get(&id).is_ok());
            if !is_stored {
                return failed(format!(
                    "{}: the evidence \"{id}\" of cue \"{}\" is not among the memories of {}",
                    files.answers_path().display(),
                    cue.id,
                    files.memories.display()
                ));
            }
        }
    }
    Ok(())
}

/// Deletes memories at once and gives them.
fn take_out(space: &Space, ids: &[String]) -> Result<Vec<Memory>> {
    let ids = ids.iter().map(|id| MemoryId::new(id)).collect::<Result<Vec<_>, _>>();
    let mut ids = ids.map_err(engram::Error::from)?;
    ids.sort();
    ids.dedup();
    let taken = ids.iter().map(|id| space.get(id)).collect::<Result<Vec<_>, _>>()?;
    space.delete_matching(&Selection { ids: Some(ids), ..Selection::default() })?;
    Ok(taken)
}
