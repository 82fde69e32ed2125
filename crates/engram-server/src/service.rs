//! Every operation, from wire types to wire types. HTTP and the CLI on a data folder run this same code. Calls block.

use crate::api::{
    ActivateIn, ActivateOut, AssociationIn, CompleteIn, CompleteOut, ConsolidateIn, CountIn, CountOut, CueIn,
    DeleteIn, DeleteOut, GetQuery, JobOut, ListOut, ListQuery, MemoryIn, MemoryOut, PAGE_DEFAULT, PAGE_MAX,
    PositionOut, RecallManyOut, RecallOut, ReinforceIn, SeedIn, SpaceOut, SpaceSettingsIn, SpacesOut,
    StartedOut, StoreIn, StoreOut, WithEmbedding, cursor_place, cursor_text, memory_id, memory_ids,
    selection,
};
use crate::error::ApiError;
use engram::clock::Stopwatch;
use engram::{
    ActivateFrom, Cue, Engine, ErrorKind, Filter, Link, MemoryId, NewMemory, RecallOptions, Recalled,
    Selection, Space, SpaceName, StoreOptions, Tier, limits,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

type Result<T> = std::result::Result<T, ApiError>;

/// Characters of an idempotency key.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;

/// An engine, spoken to in wire types.
#[derive(Clone)]
pub struct Service {
    engine: Engine,
    content_bytes_max: usize,
}

impl Service {
    /// A service with the model's own limits.
    pub fn new(engine: Engine) -> Self {
        Service { engine, content_bytes_max: limits::CONTENT_BYTES_MAX }
    }

    /// The same, with texts of memories and cues limited to fewer bytes.
    pub fn with_content_bytes_max(self, bytes: usize) -> Self {
        Service { content_bytes_max: bytes.min(limits::CONTENT_BYTES_MAX), ..self }
    }

    /// The engine below.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Stores one memory or many, all or none. The space comes into being with its first store.
    pub fn store(&self, space: &str, request: StoreIn, idempotency_key: Option<String>) -> Result<StoreOut> {
        let name = space_name(space)?;
        if let Some(key) = &idempotency_key {
            check_idempotency_key(key)?;
        }
        let options = StoreOptions { replace: request.replace.unwrap_or(false), idempotency_key };
        let memories = request.into_memories()?;
        memories.iter().try_for_each(|memory| self.check_text("content", memory.content.as_deref()))?;
        let stored = self.engine.space_or_new(&name)?.store(memories, &options)?;
        Ok(StoreOut { ids: texts(&stored.ids), position: stored.position })
    }

    /// One memory.
    pub fn get(&self, space: &str, id: &str, how: &GetQuery) -> Result<MemoryOut> {
        let (space, id) = (self.space(space)?, memory_id(id)?);
        let memory = MemoryOut::new(space.get(&id)?, how.with_embedding);
        Ok(MemoryOut { usage: Some(space.usage(&id)?.into()), ..memory })
    }

    /// Changes the fields that are given.
    pub fn patch(&self, space: &str, id: &str, patch: MemoryIn) -> Result<MemoryOut> {
        let (space, id) = (self.space(space)?, memory_id(id)?);
        self.check_text("content", patch.content.as_deref())?;
        let patch = NewMemory::try_from(patch)?;
        Ok(MemoryOut::new(space.patch(&id, patch)?, WithEmbedding::No))
    }

    /// Deletes one memory.
    pub fn delete(&self, space: &str, id: &str) -> Result<PositionOut> {
        let position = self.space(space)?.delete(&memory_id(id)?)?;
        Ok(PositionOut { position })
    }

    /// A page of memories, in the order of arrival.
    pub fn list(&self, space: &str, query: &ListQuery) -> Result<ListOut> {
        let space = self.space(space)?;
        let limit = query.limit.unwrap_or(PAGE_DEFAULT);
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(ApiError::invalid(format!("limit is {limit}, it must be within 1 and {PAGE_MAX}")));
        }
        let after = query.cursor.as_deref().map(cursor_place).transpose()?;
        let page = space.list(&Filter::default(), after, limit)?;
        let memories = page.memories.into_iter().map(|memory| MemoryOut::new(memory, query.with_embedding));
        Ok(ListOut { memories: memories.collect(), next: page.next.map(cursor_text) })
    }

    /// Counts memories.
    pub fn count(&self, space: &str, request: CountIn) -> Result<CountOut> {
        let which = selection(request.filter, request.ids)?;
        Ok(CountOut { count: self.space(space)?.count(&which)? })
    }

    /// Deletes what a filter or ids select.
    pub fn delete_matching(&self, space: &str, request: DeleteIn) -> Result<DeleteOut> {
        let which = Selection { faded: request.faded, ..selection(request.filter, request.ids)? };
        if which.ids.is_none() && which.filter.is_empty() && !which.faded {
            return Err(ApiError::invalid(
                "neither ids nor a condition nor faded is given, which would delete every memory; \
                 name some, or delete the space",
            ));
        }
        let space = self.space(space)?;
        if request.dry_run && request.faded {
            let ids = texts(&space.matching(&which)?);
            return Ok(DeleteOut { count: ids.len(), ids: Some(ids), dry_run: true });
        }
        if request.dry_run {
            return Ok(DeleteOut { count: space.count(&which)?, ids: None, dry_run: true });
        }
        let ids = texts(&space.delete_matching(&which)?);
        Ok(DeleteOut { count: ids.len(), ids: Some(ids), dry_run: false })
    }

    /// Recalls by a cue.
    pub fn recall(&self, space: &str, cue: CueIn) -> Result<RecallOut> {
        Ok(self.recall_counted(space, cue)?.0)
    }

    /// A recall, with how many of its fetches were served hot.
    pub(crate) fn recall_counted(&self, space: &str, cue: CueIn) -> Result<(RecallOut, Fetches)> {
        let space = self.space(space)?;
        let watch = Stopwatch::start();
        let ask = self.ask(cue)?;
        let recalled = space.recall(&ask.cue, &ask.options)?;
        settle(&space, &ask, &recalled)?;
        let fetches = Fetches::of(&recalled);
        Ok((RecallOut::new(recalled, ask.options.explain, ask.with_embedding, milliseconds(watch)), fetches))
    }

    /// Recalls by all cues, on `threads` threads. Where one cannot be answered all fail, and nothing is shown or used.
    pub(crate) fn recall_many_counted(
        &self,
        space: &str,
        cues: Vec<CueIn>,
        threads: usize,
    ) -> Result<(RecallManyOut, Fetches)> {
        let space = self.space(space)?;
        let at = |at: usize| move |error: ApiError| error.at(&format!("cues[{at}]"));
        let asks = cues.into_iter().enumerate().map(|(place, cue)| self.ask(cue).map_err(at(place)));
        let asks: Vec<Ask> = asks.collect::<Result<_>>()?;
        let answers: Vec<OnceLock<Result<(Recalled, f64)>>> = asks.iter().map(|_| OnceLock::new()).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            while let place = next.fetch_add(1, Ordering::Relaxed)
                && let (Some(ask), Some(answer)) = (asks.get(place), answers.get(place))
            {
                let watch = Stopwatch::start();
                let recalled = space.recall(&ask.cue, &ask.options);
                if recalled.is_err() {
                    // Nobody needs what comes after.
                    next.store(asks.len(), Ordering::Relaxed);
                }
                let timed = recalled.map(|recalled| (recalled, milliseconds(watch))).map_err(ApiError::from);
                assert!(answer.set(timed).is_ok(), "each cue is taken once");
            }
        };
        thread::scope(|scope| {
            (1..threads).for_each(|_| drop(scope.spawn(work)));
            work();
        });
        // Before the first that failed, all were answered.
        let answers = answers.into_iter().map_while(OnceLock::into_inner).enumerate();
        let answers = answers.map(|(place, answer)| answer.map_err(at(place))).collect::<Result<Vec<_>>>()?;
        let mut fetches = Fetches::default();
        let mut replies = Vec::with_capacity(asks.len());
        for (ask, (recalled, took_ms)) in asks.iter().zip(answers) {
            settle(&space, ask, &recalled)?;
            fetches.add(Fetches::of(&recalled));
            replies.push(RecallOut::new(recalled, ask.options.explain, ask.with_embedding, took_ms));
        }
        Ok((RecallManyOut { replies }, fetches))
    }

    /// A cue, checked.
    fn ask(&self, cue: CueIn) -> Result<Ask> {
        self.check_text("text", cue.text.as_deref())?;
        let (with_embedding, reinforce) = (cue.with_embedding.unwrap_or_default(), cue.reinforce);
        let (cue, options) = cue.into_parts(self.engine.now())?;
        Ok(Ask { cue, options, with_embedding, reinforce })
    }

    /// Spreads activation from seeds or a cue.
    pub fn activate(&self, space: &str, request: ActivateIn) -> Result<ActivateOut> {
        let watch = Stopwatch::start();
        let space = self.space(space)?;
        self.check_text("text", request.text.as_deref())?;
        let cue = CueIn {
            text: request.text,
            embedding: request.embedding,
            ids: request.ids,
            limit: request.limit,
            filter: request.filter,
            now: request.now,
            as_of: request.as_of,
            budget: request.budget,
            ..CueIn::default()
        };
        let (from, options) = match request.seeds {
            Some(seeds) => {
                if cue.text.is_some() || cue.embedding.is_some() || cue.ids.is_some() {
                    return Err(ApiError::invalid("both seeds and a cue are given; give one of them"));
                }
                let options = cue.into_options(self.engine.now())?;
                let seed = |(at, seed): (usize, SeedIn)| match memory_id(&seed.id) {
                    Ok(id) => Ok((id, seed.activation)),
                    Err(error) => Err(error.at(&format!("seeds[{at}].id"))),
                };
                let seeds = seeds.into_iter().enumerate().map(seed).collect::<Result<_>>()?;
                (ActivateFrom::Seeds(seeds), options)
            }
            None => {
                let (cue, options) = cue.into_parts(self.engine.now())?;
                (ActivateFrom::Cue(cue), options)
            }
        };
        let activated = space.activate(&from, &options)?;
        Ok(ActivateOut::new(activated, milliseconds(watch)))
    }

    /// Strengthens memories that were used, weakens those that turned out wrong.
    pub fn reinforce(&self, space: &str, request: ReinforceIn) -> Result<PositionOut> {
        let ids = memory_ids(Some(request.ids))?;
        Ok(PositionOut { position: self.space(space)?.reinforce(&ids, request.outcome.into())? })
    }

    /// Completes a memory with gaps.
    pub fn complete(&self, space: &str, request: CompleteIn) -> Result<CompleteOut> {
        let space = self.space(space)?;
        self.check_text("content", request.content.as_ref().and_then(Option::as_deref))?;
        let (pattern, options) = request.into_parts(self.engine.now())?;
        Ok(space.complete(&pattern, &options)?.into())
    }

    /// Begins to make concepts of the episodes that recur.
    pub fn consolidate(&self, space: &str, request: ConsolidateIn) -> Result<StartedOut> {
        Ok(StartedOut { job: self.engine.consolidate(&space_name(space)?, request.dry_run)? })
    }

    /// How far a job is.
    pub fn job(&self, id: &str) -> Result<JobOut> {
        Ok(self.engine.job(id)?.into())
    }

    /// Associates two memories, or changes the weight of their association.
    pub fn link(&self, space: &str, association: AssociationIn) -> Result<PositionOut> {
        let space = self.space(space)?;
        let link =
            Link { to: memory_id(&association.to)?, kind: association.kind, weight: association.weight };
        Ok(PositionOut { position: space.link(&memory_id(&association.from)?, link)? })
    }

    /// Takes an association away.
    pub fn unlink(&self, space: &str, association: AssociationIn) -> Result<PositionOut> {
        let space = self.space(space)?;
        let (from, to) = (memory_id(&association.from)?, memory_id(&association.to)?);
        Ok(PositionOut { position: space.unlink(&from, &to, &association.kind)? })
    }

    /// All spaces, by name. One that cannot be opened says so, and hides no other.
    pub fn spaces(&self) -> Result<SpacesOut> {
        let names = self.engine.spaces()?;
        let shown = |name: &SpaceName| match self.engine.space(name) {
            Ok(space) => Some(space.summary().into()),
            // Deleted since the names were read.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(SpaceOut::unreadable(name, &error)),
        };
        Ok(SpacesOut { spaces: names.iter().filter_map(shown).collect() })
    }

    /// One space.
    pub fn space_summary(&self, space: &str) -> Result<SpaceOut> {
        Ok(self.space(space)?.summary().into())
    }

    /// Changes the settings of a space, which comes into being if need be. The second is whether it did.
    pub fn put_space(&self, space: &str, settings: SpaceSettingsIn) -> Result<(SpaceOut, bool)> {
        let name = space_name(space)?;
        let is_new = match self.engine.space(&name) {
            Ok(_) => false,
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) => return Err(error.into()),
        };
        let space = self.engine.space_or_new(&name)?;
        // Within the write, so that of two changes at one time neither takes back what the other settled.
        space.change_settings(move |settled| {
            let laid_over = settings.laid_over(settled);
            laid_over.map_err(|error| engram::Error::new(ErrorKind::Invalid, error.detail))
        })?;
        Ok((space.summary().into(), is_new))
    }

    /// Deletes a space with everything in it; gives what it held.
    pub fn delete_space(&self, space: &str) -> Result<SpaceOut> {
        let name = space_name(space)?;
        match self.engine.delete_space(&name) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.engine.delete_damaged_space(&name)?;
                Ok(SpaceOut::unreadable(&name, &error))
            }
            deleted => Ok(deleted?.into()),
        }
    }

    fn space(&self, name: &str) -> Result<Arc<Space>> {
        Ok(self.engine.space(&space_name(name)?)?)
    }

    /// The configured limit, where it is below the model's own.
    fn check_text(&self, field: &str, text: Option<&str>) -> Result<()> {
        match text {
            Some(text) if text.len() > self.content_bytes_max => Err(ApiError::invalid(format!(
                "{field} has {} bytes, at most {} are allowed here (limits.content_kb_max)",
                text.len(),
                self.content_bytes_max
            ))),
            _ => Ok(()),
        }
    }
}

/// A cue that was checked, and what is to become of its answer.
struct Ask {
    cue: Cue,
    options: RecallOptions,
    with_embedding: WithEmbedding,
    reinforce: Option<bool>,
}

/// Counts what was shown, or strengthens what was of use.
fn settle(space: &Arc<Space>, ask: &Ask, recalled: &Recalled) -> Result<()> {
    let ids = || recalled.hits.iter().map(|hit| &hit.memory.id);
    match ask.reinforce {
        None => space.note_shown(ids()),
        Some(true) if !recalled.hits.is_empty() => {
            space.reinforce_hits(&ids().cloned().collect::<Vec<_>>())?;
        }
        Some(_) => {}
    }
    Ok(())
}

/// Payloads that recalls fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fetches {
    /// All of them.
    pub(crate) all: u64,
    /// Those served hot.
    pub(crate) hot: u64,
}

impl Fetches {
    fn of(recalled: &Recalled) -> Self {
        let hot = recalled.hits.iter().filter(|hit| hit.tier == Tier::Hot).count() as u64;
        Fetches { all: recalled.hits.len() as u64, hot }
    }

    fn add(&mut self, more: Fetches) {
        self.all += more.all;
        self.hot += more.hot;
    }
}

fn check_idempotency_key(key: &str) -> Result<()> {
    let count = key.chars().count();
    if (1..=IDEMPOTENCY_KEY_CHARS_MAX).contains(&count)
        && key.chars().all(|c| c.is_ascii_graphic() || c == ' ')
    {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "Idempotency-Key has {count} characters, it must have 1 to {IDEMPOTENCY_KEY_CHARS_MAX}, \
         all of them printable ASCII"
    )))
}

fn space_name(name: &str) -> Result<SpaceName> {
    SpaceName::new(name).map_err(|error| ApiError::invalid(error.to_string()))
}

fn texts(ids: &[MemoryId]) -> Vec<String> {
    ids.iter().map(MemoryId::to_string).collect()
}

fn milliseconds(watch: Stopwatch) -> f64 {
    // Whole microseconds: further digits would only be noise.
    watch.elapsed().as_micros() as f64 / 1000.0
}
