//! An engine on a faulty disk beside the model of what it acknowledged. A step does the same to both and compares the
//! answers; `recover` opens the engine after a fault and finds out which of the possible states it has.

use crate::backups::Place;
use crate::model::{Answer, Habit, Model, ModelSpace, check_concepts, is_made};
use crate::objects::Objects;
use crate::workload::{Request, Step, Store, Workload};
use engram::clock::Clock;
use engram::{
    Condition, Cue, Engine, Error, ErrorKind, FaultyVfs, Field, Filter, HnswParams, Memory, MemoryId,
    NotedBackup, Operand, Options, RecallOptions, RecalledHit, Result, Selection, Space, SpaceName,
    StoreOptions, SyncMode, Test, Tier, Timestamp, Vfs,
};
use engram_core::associate::Analysis;
use engram_core::learned::{LastUse, Row};
use engram_core::payloads::Heat;
use engram_core::state::{Change, Saved, SpaceState, Uses};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const FOLDER: &str = "data";
const MEMORIES_MAX: usize = 1000;
const PARAMS: HnswParams = HnswParams { m: 4, ef_construction: 8, ef_search: 8 };

/// What a fault may have cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing but the request in flight.
    InFlight,
    /// In each space the newest requests that nothing made durable.
    Unsynced,
}

/// A request that got no answer worth anything: it was carried out, or it was not.
#[derive(Debug, Clone)]
struct InFlight {
    space: SpaceName,
    after: Option<ModelSpace>,
}

pub(crate) struct World {
    pub(crate) vfs: FaultyVfs,
    /// The cold tier, where there is one. In trouble while steps are run.
    pub(crate) objects: Option<Objects>,
    /// Where backups go.
    pub(crate) place: Place,
    /// The disk refuses something without a crash.
    pub(crate) disk_fails: bool,
    pub(crate) model: Model,
    in_flight: Option<InFlight>,
    /// For each space the states since it was last known to be durable, oldest first.
    history: BTreeMap<SpaceName, Vec<Option<ModelSpace>>>,
    engine: Option<Engine>,
    pub(crate) options: Options,
    now: Arc<AtomicI64>,
    rng: Rng,
}

impl World {
    /// An empty disk. `seed` shapes the engine; `fault_seed` decides what faults leave.
    pub(crate) fn new(seed: u64, fault_seed: u64, sync: SyncMode) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x5eed);
        let vfs = FaultyVfs::new(fault_seed);
        let now = Arc::new(AtomicI64::new(0));
        let clock = now.clone();
        // Two of three seeds put payloads into segments, and have little room in memory for them.
        let has_tiers = rng.u8(..3) > 0;
        // Two of three of these have little room on the disk as well.
        let objects = (has_tiers && rng.u8(..3) > 0).then(|| Objects::new(&mut rng));
        let options = Options {
            sync,
            hnsw: PARAMS,
            background_threads: 0,
            checkpoint_bytes: rng.u64(300..3000),
            segment_bytes_max: rng.u64(200..2500),
            log_direct_io: rng.bool(),
            hot_bytes_max: if has_tiers { rng.u64(0..600) } else { u64::MAX },
            warm_bytes_max: if objects.is_some() { rng.u64(0..400) } else { u64::MAX },
            cold: objects.as_ref().map(|objects| objects.store.clone()),
            retry_after: Duration::ZERO,
            settled_bytes_min: if has_tiers { rng.u64(0..300) } else { u64::MAX },
            spaces_open_max: rng.usize(1..4),
            spaces_sleep_after: Duration::from_secs(if rng.bool() { 0 } else { 300 }),
            vfs: Arc::new(vfs.clone()),
            clock: Clock::driven(move || Timestamp(clock.load(Ordering::Relaxed))),
            ..Options::new(FOLDER)
        };
        let (model, history) = (Model::default(), BTreeMap::new());
        let place = Place::new(&mut Rng::with_seed(seed ^ 0xbac));
        let (disk_fails, in_flight, engine) = (false, None, None);
        Self { vfs, objects, place, disk_fails, model, in_flight, history, engine, options, now, rng }
    }

    /// Another machine with the settings of this one and nothing on its disk, that should hold this.
    pub(crate) fn beside(&self, fault_seed: u64, model: Model) -> Self {
        let (vfs, mut rng) = (FaultyVfs::new(fault_seed), Rng::with_seed(fault_seed));
        let objects = self.objects.as_ref().map(|_| Objects::new(&mut rng));
        let options = Options {
            vfs: Arc::new(vfs.clone()),
            cold: objects.as_ref().map(|objects| objects.store.clone()),
            ..self.options.clone()
        };
        let (place, history, now) = (Place::new(&mut rng), BTreeMap::new(), self.now.clone());
        let (disk_fails, in_flight, engine) = (false, None, None);
        Self { vfs, objects, place, disk_fails, model, in_flight, history, engine, options, now, rng }
    }

    /// Lets no space sleep, so that a look at one needs no disk.
    pub(crate) fn keep_awake(&mut self) {
        self.options.spaces_open_max = usize::MAX;
        self.options.spaces_sleep_after = Duration::MAX;
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("the engine is open")
    }

    /// Opens the engine, without looking into its spaces.
    pub(crate) fn open(&mut self) -> Result<()> {
        self.engine = None;
        self.engine = Some(Engine::open(self.options.clone())?);
        Ok(())
    }

    /// Drops the engine as a process does that dies.
    pub(crate) fn kill(&mut self) {
        self.engine = None;
    }

    /// Closes the engine. All that it holds is durable after.
    pub(crate) fn close(&mut self) -> Result<()> {
        let closed = self.engine().close();
        self.engine = None;
        if closed.is_ok() {
            self.history.clear();
        }
        closed
    }

    /// Does the steps until the disk crashes. Anything unexpected before is a panic.
    pub(crate) fn run(&mut self, steps: &[Step]) {
        self.set_trouble(true);
        self.run_in_trouble(steps);
        self.set_trouble(false);
    }

    /// Begins or ends the trouble of the object store, and says whether there was any before.
    pub(crate) fn set_trouble(&self, is_on: bool) -> bool {
        self.objects.as_ref().is_some_and(|objects| objects.set_trouble(is_on))
    }

    fn run_in_trouble(&mut self, steps: &[Step]) {
        for step in steps {
            if self.vfs.crashed() {
                return;
            }
            self.run_one(step);
        }
    }

    /// Does a step. Anything unexpected, but what a crash makes of it, is a panic.
    pub(crate) fn run_one(&mut self, step: &Step) {
        let outcome = match step {
            Step::Request(request) => self.request(request),
            Step::WorkOff => {
                self.engine().work_off();
                Ok(())
            }
            Step::Reopen => self.close().and_then(|()| self.open()),
            Step::Look(space) => self.look(space),
            Step::BackUp { meanwhile, keep } => self.back_up(meanwhile, *keep),
        };
        if let Err(error) = outcome
            && !self.vfs.crashed()
        {
            panic!("{step:?}: {error}");
        }
    }

    /// Does a request and compares the answers. An error means that the disk got in the way: it has what the engine
    /// said, and the request is in flight unless `refused` says otherwise. What is refused as the object store is away has
    /// not happened, and is asked for again when it is back.
    pub(crate) fn request(&mut self, request: &Request) -> Result<()> {
        let now = Timestamp(self.now.fetch_add(1_000_000, Ordering::Relaxed) + 1_000_000);
        let mut after = self.model.clone();
        let expected = after.carry_out(request, now);
        let mut told = None;
        let mut found = carry_out(self.engine(), request, &mut told);
        if let Err(error) = &found
            && error.kind() == ErrorKind::Busy
            && self.set_trouble(false)
        {
            self.compare()?;
            found = carry_out(self.engine(), request, &mut told);
            self.set_trouble(true);
        }
        let space = request.space().clone();
        if let Err(error) = &found
            && Err(error.kind()) != expected
        {
            let after = after.spaces.remove(&space);
            self.in_flight = Some(InFlight { space, after });
            return Err(error.clone());
        }
        let found: Answer = found.map_err(|error| error.kind());
        assert_eq!(found, expected, "{request:?}");
        let before = self.model.spaces.get(&space).cloned();
        self.model = after;
        match self.model.spaces.get(&space).cloned() {
            // A deletion is durable in every mode.
            None => {
                if before.is_some() {
                    self.place.deleted(&space, told);
                }
                self.history.insert(space, vec![None]);
            }
            Some(after) => self.history.entry(space).or_insert_with(|| vec![before]).push(Some(after)),
        }
        Ok(())
    }

    /// Takes the last failed request as not carried out.
    pub(crate) fn refused(&mut self) {
        self.in_flight = None;
    }

    /// Opens the engine after a fault, finds out which state it has, and compares everything. An error is a further
    /// fault; damage is a panic.
    pub(crate) fn recover(&mut self, loss: Loss) -> Result<()> {
        self.open().and_then(|()| self.settle(loss)).inspect_err(|error| {
            assert_ne!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert_ne!(error.kind(), ErrorKind::Locked, "{error}");
        })
    }

    fn settle(&mut self, loss: Loss) -> Result<()> {
        let found = self.observe()?;
        for space in self.model.spaces.keys().filter(|space| !found.spaces.contains_key(space)) {
            self.place.deleted(space, None);
        }
        if loss == Loss::Unsynced {
            self.choose_among_history(&found);
        } else if !self.model.looks_like(&found) {
            let InFlight { space, after } = self.in_flight.take().unwrap_or_else(|| {
                panic!("no request was in flight; found\n{found:#?}\nexpected\n{:#?}", self.model)
            });
            set(&mut self.model, &space, after);
        }
        let in_flight = self.in_flight.take();
        assert!(
            self.model.looks_like(&found),
            "found\n{found:#?}\nexpected\n{:#?}\nor with {in_flight:#?}",
            self.model
        );
        // Recovery made durable what it found.
        self.history.clear();
        self.compare()
    }

    /// Takes for each space the newest state that looks like what was found.
    fn choose_among_history(&mut self, found: &Model) {
        let mut history = std::mem::take(&mut self.history);
        if let Some(InFlight { space, after }) = self.in_flight.take() {
            let before = self.model.spaces.get(&space).cloned();
            history.entry(space).or_insert_with(|| vec![before]).push(after);
        }
        for (space, states) in history {
            let seen = found.spaces.get(&space);
            let same = |state: &Option<ModelSpace>| match (state, seen) {
                (Some(state), Some(seen)) => state.looks_like(seen),
                (state, seen) => state.is_none() && seen.is_none(),
            };
            let state = states.iter().rev().find(|state| same(state)).unwrap_or_else(|| {
                panic!("space {space} is in none of the states it had; found\n{seen:#?}\nhad\n{states:#?}")
            });
            set(&mut self.model, &space, state.clone());
        }
    }

    /// What the engine holds, as a model.
    pub(crate) fn observe(&self) -> Result<Model> {
        let mut model = Model::default();
        for name in self.engine().spaces()? {
            let space = self.engine().space(&name)?;
            let page = space.list(&Filter::default(), None, MEMORIES_MAX)?;
            let (concepts, memories): (Vec<_>, Vec<_>) = page.memories.into_iter().partition(is_made);
            check_concepts(&concepts, &memories, self.objects.is_some());
            let strength = |memory: &Memory| Ok((memory.id.clone(), space.usage(&memory.id)?.strength));
            let strengths = memories.iter().map(strength).collect::<Result<_>>()?;
            model.spaces.insert(name, ModelSpace::new(space.settings(), memories, strengths));
        }
        Ok(model)
    }

    /// Compares everything that the engine holds with the model, derived things included.
    pub(crate) fn compare(&mut self) -> Result<()> {
        assert_eq!(self.engine().spaces()?, self.model.spaces.keys().cloned().collect::<Vec<_>>());
        for (name, expected) in &self.model.spaces {
            let space = self.engine().space(name)?;
            let found = space.list(&Filter::default(), None, MEMORIES_MAX)?.memories;
            assert_eq!(space.dump(), rebuilt(expected, &found).dump(), "in space {name}");
            let (concepts, memories): (Vec<_>, Vec<_>) = found.into_iter().partition(is_made);
            assert_eq!(memories, expected.memories, "in space {name}");
            check_concepts(&concepts, &memories, self.objects.is_some());
        }
        let names: Vec<SpaceName> = self.model.spaces.keys().cloned().collect();
        names.iter().try_for_each(|name| self.look(name))
    }

    /// Recalls a memory by its words and by its vector, and by chance words: what is there is found, and nothing else.
    fn look(&mut self, name: &SpaceName) -> Result<()> {
        let space = match (self.engine().space(name), self.model.spaces.get(name)) {
            (Ok(space), Some(_)) => space,
            (Ok(space), None) => panic!("space {name} should not be there: {:?}", space.dump()),
            (Err(error), None) if error.kind() == ErrorKind::NotFound => return Ok(()),
            (Err(error), _) => return Err(error),
        };
        let now = self.engine().now();
        let memories = &self.model.spaces[name].memories;
        let Some(memory) = self.rng.choice(memories) else { return Ok(()) };
        let text = memory.content.as_ref().map(Cue::text);
        let vector = memory
            .embedding
            .as_ref()
            .map(|embedding| Cue { embedding: Some(embedding.clone()), ..Cue::default() });
        for cue in [text, vector].into_iter().flatten() {
            let options = RecallOptions { limit: MEMORIES_MAX, ..RecallOptions::at(now) };
            let mut found = space.recall(&cue, &options)?;
            if found.hits.iter().any(|hit| !memories.contains(&hit.memory)) && self.set_trouble(false) {
                // Some are given without their payloads. With the object store back, they have them.
                assert!(found.truncated, "{cue:?} recalls {:?}", found.hits);
                let without = |memory: &Memory| Memory { content: None, embedding: None, ..memory.clone() };
                let is_there = |hit: &RecalledHit| {
                    memories.contains(&hit.memory)
                        || hit.tier == Tier::Cold
                            && memories.iter().any(|memory| without(memory) == hit.memory)
                };
                assert!(found.hits.iter().all(is_there), "{cue:?} recalls {:?}", found.hits);
                found = space.recall(&cue, &options)?;
                self.set_trouble(true);
            }
            for hit in &found.hits {
                assert!(memories.contains(&hit.memory), "{cue:?} recalls {:?}", hit.memory);
            }
            let there =
                found.hits.iter().any(|h| h.memory.id == memory.id || h.duplicates.contains(&memory.id));
            let expired = memory.expires_at.is_some_and(|at| at <= now);
            assert_eq!(there, !expired, "{cue:?} in space {name} at {now:?}: {memory:?}");
        }
        Ok(())
    }

    /// Lets the engine take its turns, and looks that the object store holds what payloads lie in, and nothing else.
    pub(crate) fn check_objects(&mut self) -> Result<()> {
        let Some(objects) = &self.objects else { return Ok(()) };
        for name in self.engine().spaces()? {
            // Those that are open take a turn when they are closed.
            self.engine().space(&name)?;
        }
        self.engine().close()?;
        let engine = Engine::open(self.options.clone())?;
        let mut used = BTreeSet::new();
        for name in engine.spaces()? {
            let files = engine.space(&name)?.cold_files().into_iter();
            used.extend(files.filter(|(_, memories)| *memories > 0).map(|(file, _)| file));
        }
        assert_eq!(objects.names(), used, "cold files that are there, and those that payloads lie in");
        self.history.clear();
        self.engine = Some(engine);
        Ok(())
    }

    /// Every space that is there is as it should be, though others may be missing.
    pub(crate) fn check_parts(&mut self) {
        self.open().expect("no fault is left");
        let there = self.engine().spaces().expect("no fault is left");
        let whole = self.model.clone();
        self.model.spaces.retain(|name, _| there.contains(name));
        self.compare().expect("no fault is left");
        self.check_objects().expect("no fault is left");
        self.model = whole;
        self.kill();
    }

    /// Every file of every space with its size.
    pub(crate) fn files(&self) -> Result<Vec<(PathBuf, u64)>> {
        let spaces = Path::new(FOLDER).join("spaces");
        let mut files = Vec::new();
        for space in self.vfs.list(&spaces).map_err(Error::from)? {
            for file in self.vfs.list(&spaces.join(&space)).map_err(Error::from)? {
                let path = spaces.join(&space).join(file);
                let bytes = self.vfs.size(&path).map_err(Error::from)?;
                files.push((path, bytes));
            }
        }
        Ok(files)
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files().expect("the disk is whole").iter().map(|(_, bytes)| bytes).sum()
    }

    /// Tries a write after one was refused. If it goes through, the refused one has not happened; otherwise that may
    /// come to light when the engine is opened again.
    pub(crate) fn probe(&mut self, workload: &mut Workload, space: &SpaceName) -> Result<()> {
        let in_flight = self.in_flight.clone();
        loop {
            let request = workload.request(space.clone());
            let mut copy = self.model.clone();
            let changes = copy.carry_out(&request, self.engine().now()).is_ok() && copy != self.model;
            if changes && !matches!(request, Request::DeleteSpace { .. }) {
                let outcome = self.request(&request);
                self.in_flight = if outcome.is_ok() { None } else { in_flight };
                return outcome;
            }
        }
    }
}

fn set(model: &mut Model, space: &SpaceName, state: Option<ModelSpace>) {
    match state {
        Some(state) => drop(model.spaces.insert(space.clone(), state)),
        None => drop(model.spaces.remove(space)),
    }
}

/// A state that only ever saw these memories, which are those of the model and the concepts made of them.
fn rebuilt(space: &ModelSpace, memories: &[Memory]) -> SpaceState {
    let mut state = SpaceState::new(PARAMS);
    state.apply(1, Change::Settings(space.settings), None);
    for (slot, memory) in (0..).zip(memories) {
        let analysis = Analysis::of(memory, &space.settings);
        let trials = space.habits.get(&memory.id).map_or(0, |habit| habit.trials);
        let uses = Uses::saved(space.strengths.get(&memory.id).copied(), trials, 0, 0);
        let version = u64::from(slot) + 2;
        let at = Saved { slot, arrival: version, version, uses, heat: Heat::default() };
        state.place_saved(at, memory.clone(), &analysis);
    }
    let arrival = |id: &MemoryId| {
        let at = memories.iter().position(|memory| memory.id == *id);
        at.expect("what was used is there still") as u64 + 2
    };
    let row = |(id, habit): (&MemoryId, &Habit)| Row {
        arrival: arrival(id),
        trials: habit.trials,
        pairs: habit.counts.iter().map(|(to, count)| (arrival(to), *count)).collect(),
    };
    let rows: Vec<Row> = space.habits.iter().map(row).collect();
    let (at, used) = &space.last;
    let last = LastUse { version: u64::MAX, at: *at, arrivals: used.iter().map(arrival).collect() };
    state.restore_learned(last, &rows);
    state.finish_placing();
    state
}

/// `told` becomes the backups that hold a space that is deleted.
fn carry_out(
    engine: &Engine,
    request: &Request,
    told: &mut Option<Vec<NotedBackup>>,
) -> Result<Vec<MemoryId>> {
    let space = || engine.space(request.space());
    match request {
        Request::Store(store) => {
            let Store { memories, replace, key, .. } = store.clone();
            let options = StoreOptions { replace, idempotency_key: key };
            Ok(engine.space_or_new(&store.space)?.store(memories, &options)?.ids)
        }
        Request::Patch { id, patch, .. } => Ok(vec![space()?.patch(id, patch.clone())?.id]),
        Request::Delete { id, .. } => space()?.delete(id).map(|_| vec![id.clone()]),
        Request::DeleteMatching { ids, context, .. } => {
            let equals = Test::Equals(Operand::Json(context.as_str().into()));
            let filter =
                Filter { must: vec![Condition { field: Field::Context, test: equals }], ..Filter::default() };
            let mut gone = space()?.delete_matching(&Selection { ids: ids.clone(), filter, faded: false })?;
            gone.sort();
            Ok(gone)
        }
        Request::Link { from, link, .. } => space()?.link(from, link.clone()).map(|_| vec![]),
        Request::Unlink { from, to, kind, .. } => space()?.unlink(from, to, kind).map(|_| vec![]),
        Request::Reinforce { ids, outcome, .. } => {
            space()?.reinforce(ids, *outcome)?;
            Ok(ids.iter().collect::<BTreeSet<_>>().into_iter().cloned().collect())
        }
        Request::Settings(settings) => {
            let space: Arc<Space> = engine.space_or_new(&settings.space)?;
            space.set_settings(settings.laid_over(space.settings())).map(|_| vec![])
        }
        Request::Consolidate { .. } => space()?.consolidate(false, |_| true).map(|_| vec![]),
        Request::DeleteSpace { space } => {
            *told = Some(engine.delete_space(space)?.backups);
            Ok(vec![])
        }
    }
}
