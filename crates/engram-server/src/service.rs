//! Every operation, from wire types to wire types. HTTP and the CLI on a data folder run this same code. Calls block.

use crate::api::{
    ActivateIn, ActivateOut, AssociationIn, CompleteIn, CompleteOut, ConsolidateIn, CountIn, CountOut, CueIn,
    DeleteIn, DeleteOut, GetQuery, JobOut, ListOut, ListQuery, MemoryIn, MemoryOut, PAGE_DEFAULT, PAGE_MAX,
    PositionOut, REPLIES_BYTES_MAX, RecallOut, ReinforceIn, SeedIn, SpaceOut, SpaceSettingsIn, SpacesOut,
    StartedOut, StoreIn, StoreOut, WithEmbedding, cursor_place, cursor_text, memory_id, memory_ids,
    selection,
};
use crate::error::{ApiError, Problem};
use crate::snapshots::Snapshots;
use engram::clock::Stopwatch;
use engram::{
    ActivateFrom, Cue, Engine, ErrorKind, Filter, Link, MemoryId, NewMemory, RecallOptions, Recalled,
    Selection, Space, SpaceName, StoreOptions, Tier, limits, settle_thread,
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

type Result<T> = std::result::Result<T, ApiError>;

/// Characters of an idempotency key.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;

/// An engine, spoken to in wire types.
#[derive(Clone)]
pub struct Service {
    engine: Engine,
    content_bytes_max: usize,
    pub(crate) snapshots: Arc<Snapshots>,
}

impl Service {
    /// A service with the model's own limits.
    pub fn new(engine: Engine) -> Self {
        Service { engine, content_bytes_max: limits::CONTENT_BYTES_MAX, snapshots: Arc::default() }
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

    /// The answers to all cues, on `threads` threads where there are so many. They fail together: where one cannot be
    /// answered, where they are not all there in time, and where they are too large. Nothing is shown or used yet.
    pub(crate) fn answer_many(
        &self,
        space: &str,
        cues: Vec<CueIn>,
        threads: usize,
        limit: TimeLimit,
    ) -> Result<Answered> {
        let space = self.space(space)?;
        let at = |at: usize| move |error: ApiError| error.at(&format!("cues[{at}]"));
        let asks = cues.into_iter().enumerate().map(|(place, cue)| self.ask(cue).map_err(at(place)));
        let asks: Vec<Ask> = asks.collect::<Result<_>>()?;
        let answers: Vec<OnceLock<Result<Answer>>> = asks.iter().map(|_| OnceLock::new()).collect();
        let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        on_threads(threads, || {
            while !limit.is_over()
                && let place = next.fetch_add(1, Ordering::Relaxed)
                && let (Some(ask), Some(answer)) = (asks.get(place), answers.get(place))
            {
                let found = Answer::to(ask, &space);
                let added = found.as_ref().map_or(0, |found| found.reply.get().len());
                if bytes.fetch_add(added, Ordering::Relaxed) + added > REPLIES_BYTES_MAX || found.is_err() {
                    // Nobody needs what comes after.
                    next.store(asks.len(), Ordering::Relaxed);
                }
                assert!(answer.set(found).is_ok(), "each cue is taken once");
            }
        });
        limit.check()?;
        // Before the first that failed, all were answered.
        let found = answers.into_iter().map_while(OnceLock::into_inner).enumerate();
        let answers = found.map(|(place, answer)| answer.map_err(at(place))).collect::<Result<Vec<_>>>()?;
        if bytes.into_inner() > REPLIES_BYTES_MAX {
            return Err(ApiError::invalid(format!(
                "the replies to cues have more than {} MiB together, at most that is allowed; ask for fewer hits, or in several requests",
                REPLIES_BYTES_MAX >> 20
            )));
        }
        Ok(Answered { space, answers })
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
        let shown = |name: &SpaceName| match self.engine.summary(name) {
            Ok(summary) => Some(summary.into()),
            // Deleted since the names were read.
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(SpaceOut::unreadable(name, &error)),
        };
        Ok(SpacesOut { spaces: names.iter().filter_map(shown).collect() })
    }

    /// One space.
    pub fn space_summary(&self, space: &str) -> Result<SpaceOut> {
        Ok(self.engine.summary(&space_name(space)?)?.into())
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

    /// Deletes a space with everything in it; gives what it held, with a receipt.
    pub fn delete_space(&self, space: &str) -> Result<SpaceOut> {
        let name = space_name(space)?;
        match self.engine.delete_space(&name) {
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.engine.delete_damaged_space(&name)?;
                Ok(SpaceOut::unreadable(&name, &error))
            }
            deleted => {
                let receipt = deleted?;
                let space = SpaceOut::from(receipt.summary.clone());
                Ok(SpaceOut { receipt: Some(receipt.into()), ..space })
            }
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

/// Runs `work` on this thread and others, `threads` in all, or fewer where the system gives no more.
fn on_threads(threads: usize, work: impl Fn() + Sync) {
    let help = || {
        // It would stay on the memory node of the thread that begins it.
        settle_thread();
        work();
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            if thread::Builder::new().name("engram-recall".into()).spawn_scoped(scope, help).is_err() {
                break;
            }
        }
        work();
    });
}

/// How long a request may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeLimit {
    /// Runs since it was asked.
    pub(crate) watch: Stopwatch,
    pub(crate) time_max: Duration,
}

impl TimeLimit {
    pub(crate) fn is_over(self) -> bool {
        self.watch.elapsed() >= self.time_max
    }

    fn check(self) -> Result<()> {
        if !self.is_over() {
            return Ok(());
        }
        let detail = format!(
            "the cues took longer than {} s (limits.request_timeout_s), and none was answered; ask fewer in a request",
            self.time_max.as_secs()
        );
        Err(ApiError::new(Problem::Timeout, detail))
    }
}

/// What one of many cues brought to mind, written already.
struct Answer {
    reply: Box<RawValue>,
    took: Duration,
    fetches: Fetches,
    reinforce: Option<bool>,
    hits: Vec<MemoryId>,
}

impl Answer {
    fn to(ask: &Ask, space: &Space) -> Result<Self> {
        let watch = Stopwatch::start();
        let recalled = space.recall(&ask.cue, &ask.options)?;
        let took = watch.elapsed();
        let fetches = Fetches::of(&recalled);
        let hits = recalled.hits.iter().map(|hit| hit.memory.id.clone()).collect();
        let reply = RecallOut::new(recalled, ask.options.explain, ask.with_embedding, milliseconds(watch));
        let reply = to_raw_value(&reply).map_err(|error| {
            ApiError::new(Problem::Internal, format!("the reply cannot be written: {error}"))
        })?;
        Ok(Answer { reply, took, fetches, reinforce: ask.reinforce, hits })
    }
}

/// What all of many cues brought to mind.
pub(crate) struct Answered {
    space: Arc<Space>,
    answers: Vec<Answer>,
}

impl Answered {
    /// Strengthens what was of use, in one write, and counts what was shown. Where the write fails, nothing is either.
    pub(crate) fn settled(self) -> Result<Self> {
        let of = |reinforce| self.answers.iter().filter(move |answer| answer.reinforce == reinforce);
        let used: Vec<Vec<MemoryId>> =
            of(Some(true)).map(|answer| answer.hits.clone()).filter(|hits| !hits.is_empty()).collect();
        if !used.is_empty() {
            self.space.reinforce_hits(used)?;
        }
        self.space.note_shown(of(None).flat_map(|answer| &answer.hits));
        Ok(self)
    }

    /// What each took.
    pub(crate) fn times(&self) -> impl Iterator<Item = Duration> {
        self.answers.iter().map(|answer| answer.took)
    }

    /// Of all.
    pub(crate) fn fetches(&self) -> Fetches {
        let mut sum = Fetches::default();
        self.answers.iter().for_each(|answer| sum.add(answer.fetches));
        sum
    }
}

/// A `RecallManyOut`, most of which is written already.
#[derive(Serialize)]
pub(crate) struct RepliesOut {
    replies: Vec<Box<RawValue>>,
}

impl From<Answered> for RepliesOut {
    fn from(answered: Answered) -> Self {
        RepliesOut { replies: answered.answers.into_iter().map(|answer| answer.reply).collect() }
    }
}

/// Counts what was shown, or strengthens what was of use.
fn settle(space: &Arc<Space>, ask: &Ask, recalled: &Recalled) -> Result<()> {
    let ids = || recalled.hits.iter().map(|hit| &hit.memory.id);
    match ask.reinforce {
        None => space.note_shown(ids()),
        Some(true) if !recalled.hits.is_empty() => {
            space.reinforce_hits(vec![ids().cloned().collect()])?;
        }
        Some(_) => {}
    }
    Ok(())
}

/// Payloads that recalls fetched, by tier in the order of `Tier::ALL`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fetches(pub(crate) [u64; 3]);

impl Fetches {
    fn of(recalled: &Recalled) -> Self {
        Fetches(Tier::ALL.map(|tier| recalled.hits.iter().filter(|hit| hit.tier == tier).count() as u64))
    }

    fn add(&mut self, more: Fetches) {
        self.0.iter_mut().zip(more.0).for_each(|(sum, more)| *sum += more);
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

pub(crate) fn space_name(name: &str) -> Result<SpaceName> {
    SpaceName::new(name).map_err(|error| ApiError::invalid(error.to_string()))
}

fn texts(ids: &[MemoryId]) -> Vec<String> {
    ids.iter().map(MemoryId::to_string).collect()
}

fn milliseconds(watch: Stopwatch) -> f64 {
    // Whole microseconds: further digits would only be noise.
    watch.elapsed().as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn work_is_done_on_as_many_threads_as_are_asked_for() {
        for threads in [1, 2, 5] {
            let (count, all) = (AtomicUsize::new(0), Barrier::new(threads));
            on_threads(threads, || {
                count.fetch_add(1, Ordering::Relaxed);
                all.wait();
            });
            assert_eq!(count.into_inner(), threads);
        }
    }
}
