//! Backups of the simulated machine, in a store of their own that fails as the cold tier's does, and what each of them must
//! hold. Whoever makes them can die between any two requests to the store. What is listed is restored to another machine,
//! and compared with what the model had when each space was held; the newest also to machines that crash meanwhile.

use crate::model::{Model, ModelSpace};
use crate::named;
use crate::objects::Objects;
use crate::workload::Step;
use crate::world::World;
use engram::backup::{Backup, Backups, FileCopy, Origin, Run, Source, time_of_id};
use engram::clock::Clock;
use engram::{Engine, ErrorKind, NotedBackup, Result, SpaceName, Timestamp, check};
use fastrand::Rng;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

/// Between the begins of two backups: what a dead program has claimed counts for 24 hours.
const PAUSE_MICROS: i64 = 7 * 3600 * 1_000_000;
const PLACE: &str = "memory:backups";

/// A place of backups, and what is known of them.
pub(crate) struct Place {
    pub(crate) objects: Objects,
    now: i64,
    attempts: Vec<Attempt>,
    /// How often a space of this name was deleted, and what was told of the deletions whose answers came.
    deletions: BTreeMap<SpaceName, usize>,
    receipts: BTreeMap<(SpaceName, usize), Vec<NotedBackup>>,
}

/// A backup that was begun.
struct Attempt {
    begun: String,
    /// Each as it was when it was held, and how many of its name had been deleted before.
    held: BTreeMap<SpaceName, (ModelSpace, usize)>,
    /// No space failed to note it.
    is_noted: bool,
}

impl Place {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self {
            objects: Objects::new(rng),
            now: 0,
            attempts: Vec::new(),
            deletions: BTreeMap::new(),
            receipts: BTreeMap::new(),
        }
    }

    fn backups(&self) -> Backups {
        Backups::with_store(self.objects.store.clone(), PLACE.into())
    }

    fn ids(&self) -> Vec<String> {
        self.backups().ids().expect("it is not in trouble")
    }

    /// A space is gone, with what was told of it if an answer came.
    pub(crate) fn deleted(&mut self, space: &SpaceName, told: Option<Vec<NotedBackup>>) {
        let deletions = self.deletions.entry(space.clone()).or_default();
        if let Some(told) = told {
            self.receipts.insert((space.clone(), *deletions), told);
        }
        *deletions += 1;
    }

    /// A backup that is listed, and what it must hold. Whatever is listed was begun, and has nothing that was not held.
    fn get(&self, id: &str) -> (Backup, Model, &Attempt) {
        let (_, backup) = self.backups().get(Some(id)).expect("what is listed can be read");
        let attempt = self.attempts.iter().find(|attempt| id.starts_with(&attempt.begun));
        let attempt = attempt.unwrap_or_else(|| panic!("nobody began {id}"));
        let mut model = Model::default();
        for copy in &backup.spaces {
            let space = SpaceName::new(&copy.name).expect("a valid name");
            let (state, _) =
                attempt.held.get(&space).unwrap_or_else(|| panic!("{space} in {id} was not held"));
            model.spaces.insert(space, state.clone());
        }
        (backup, model, attempt)
    }
}

/// A world while it is backed up: does steps in between, as others go on writing.
struct Watched<'a> {
    world: RefCell<&'a mut World>,
    engine: Engine,
    steps: RefCell<Vec<Step>>,
    held: RefCell<BTreeMap<SpaceName, (ModelSpace, usize)>>,
    is_noted: Cell<bool>,
}

impl Watched<'_> {
    fn go_on(&self) {
        let mut world = self.world.borrow_mut();
        let step = self.steps.borrow_mut().pop();
        if let Some(step) = step.filter(|_| !world.vfs.crashed()) {
            world.run_one(&step);
        }
    }
}

impl Source for Watched<'_> {
    fn spaces(&self) -> Result<Vec<SpaceName>> {
        self.engine.spaces()
    }

    fn hold<'a>(&'a self, space: &SpaceName) -> Result<Option<Box<dyn Origin + 'a>>> {
        self.go_on();
        let held = match self.engine.space(space).and_then(|space| space.snapshot()) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            held => Some(Box::new(held?) as Box<dyn Origin>),
        };
        if held.is_some() {
            let world = self.world.borrow();
            let state = world.model.spaces.get(space).cloned();
            let state = state.unwrap_or_else(|| panic!("space {space} is held, and should not be there"));
            let deletions = world.place.deletions.get(space).copied().unwrap_or_default();
            self.held.borrow_mut().insert(space.clone(), (state, deletions));
        }
        self.go_on();
        Ok(held)
    }

    fn note(&self, space: &SpaceName, backup: &NotedBackup) -> Result<Option<Vec<NotedBackup>>> {
        self.go_on();
        let noted = self.engine.note(space, backup);
        self.is_noted.set(self.is_noted.get() && noted.is_ok());
        self.go_on();
        noted
    }

    fn forget(&self, space: &SpaceName, id: &str) -> Result<()> {
        self.engine.forget(space, id)
    }
}

impl World {
    /// Takes a backup while the steps are done, and looks at what is listed then. An error means that the disk got in the
    /// way.
    pub(crate) fn back_up(&mut self, steps: &[Step], keep: Option<usize>) -> Result<()> {
        let spaces = self.engine().spaces()?;
        self.place.now += PAUSE_MICROS;
        let (now, before, backups) = (Timestamp(self.place.now), self.place.ids(), self.place.backups());
        self.place.objects.set_trouble(true);
        let watched = Watched {
            engine: self.engine().clone(),
            world: RefCell::new(self),
            steps: RefCell::new(steps.iter().rev().cloned().collect()),
            held: RefCell::default(),
            is_noted: Cell::new(true),
        };
        let outcome = backups.take(&watched, &spaces, vec![], keep, &Clock::driven(move || now));
        let (held, is_noted) = (watched.held.take(), watched.is_noted.get());
        self.place.objects.set_trouble(false);
        let begun = time_of_id(now);
        let after = self.place.ids();
        let made = after.iter().filter(|id| !before.contains(id)).count();
        assert!(
            made <= 1 && after.iter().all(|id| before.contains(id) || id.starts_with(&begun)),
            "{after:?}"
        );
        self.place.attempts.push(Attempt { begun, held, is_noted });
        let is_whole = !self.vfs.crashed();
        match outcome {
            Ok(run) => {
                check_run(&run, &before, &after, keep);
                let can_fail = self.objects.is_some() || self.disk_fails;
                assert!(can_fail || run.backup.left_out.is_empty(), "{:?}", run.backup.left_out);
                Ok(())
            }
            Err(error) => {
                assert!(before.iter().all(|id| after.contains(id)), "{before:?}, then {after:?}: {error}");
                // The place, or the cold tier, is away; or all spaces are gone.
                let is_away = is_whole && [ErrorKind::Busy, ErrorKind::NotFound].contains(&error.kind());
                if is_away { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Looks at every backup that is listed, or at the newest: it comes back as it was held, and those of the spaces in it
    /// that are there know it.
    pub(crate) fn check_backups(&self, how_many: usize) -> Result<()> {
        for id in self.place.ids().into_iter().rev().take(how_many) {
            named(|| format!("backup {id}"), || self.check_backup(&id))?;
        }
        Ok(())
    }

    fn check_backup(&self, id: &str) -> Result<()> {
        let (backup, model, attempt) = self.place.get(id);
        for (space, (_, deletions)) in &attempt.held {
            if !attempt.is_noted || !model.spaces.contains_key(space) {
                continue;
            }
            let noted = if self.place.deletions.get(space).copied().unwrap_or_default() > *deletions {
                self.place.receipts.get(&(space.clone(), *deletions)).cloned()
            } else {
                Some(self.engine().space(space)?.backups()?)
            };
            let is_known = noted.as_ref().is_none_or(|noted| noted.iter().any(|noted| noted.id == id));
            assert!(is_known, "space {space} is in {id}, and knows {noted:?}");
        }
        let mut world = self.beside(0, model);
        self.place.backups().restore(id, &backup, None, &world.options, &mut |_| {})?;
        world.check_restored();
        Ok(())
    }

    /// The backups that are listed.
    #[cfg(test)]
    pub(crate) fn listed(&self) -> Vec<Backup> {
        self.place.ids().iter().map(|id| self.place.get(id).0).collect()
    }

    /// All of a restored world is as it should be.
    fn check_restored(&mut self) {
        self.open().expect("no fault is left");
        self.compare().expect("no fault is left");
        self.check_objects().expect("no fault is left");
        self.close().expect("no fault is left");
        for checked in check(&self.options, None, false, &mut |_| {}).expect("no fault is left") {
            assert!(checked.is_sound() && checked.notes.is_empty(), "{checked:?}");
        }
    }

    /// After whatever happened, a backup is taken that is the only one, and the place has its files and no other. A day
    /// later, as what dead programs have claimed counts no longer then.
    pub(crate) fn check_last_backup(&mut self) {
        self.place.now += 25 * 3600 * 1_000_000;
        let spaces = self.engine().spaces().expect("the disk is whole");
        if spaces.is_empty() {
            return;
        }
        let now = Timestamp(self.place.now);
        let clock = Clock::driven(move || now);
        let run = self.place.backups().take(self.engine(), &spaces, vec![], Some(1), &clock);
        let run = run.expect("no fault is left");
        assert!(run.troubles.is_empty() && run.backup.left_out.is_empty(), "{run:?}");
        let files = run.backup.spaces.iter().flat_map(|space| &space.files);
        let files: BTreeSet<String> =
            files.map(FileCopy::object).chain([format!("backups/{}.json", run.id)]).collect();
        assert_eq!(self.place.objects.names(), files, "what is at the place, and what belongs there");
        for space in &spaces {
            let space = self.engine().space(space).expect("the disk is whole");
            let noted = NotedBackup { id: run.id.clone(), place: PLACE.into() };
            assert_eq!(space.backups().expect("the disk is whole"), [noted], "all others are gone");
        }
    }

    /// Restores the newest backup to machines that crash at every operation, and then again until it is there.
    pub(crate) fn crash_restores(&self, seed: u64) {
        let Some(id) = self.place.ids().pop() else { return };
        let (backup, model, _) = self.place.get(&id);
        let restore = |world: &World, only: Option<&SpaceName>| {
            self.place.backups().restore(&id, &backup, only, &world.options, &mut |_| {})
        };
        let world = self.beside(0, model.clone());
        restore(&world, None).expect("no fault is there");
        for operation in 1..=world.vfs.operations() {
            let mut world = self.beside(seed ^ operation, model.clone());
            world.vfs.crash_at(operation);
            // Every second machine has its cold tier in trouble before it crashes, or instead.
            let is_troubled = operation % 2 == 1;
            named(
                || format!("restore of {id}, crash at operation {operation}"),
                || {
                    world.set_trouble(is_troubled);
                    let failed = restore(&world, None);
                    world.set_trouble(false);
                    let is_busy = failed.as_ref().is_err_and(|error| error.kind() == ErrorKind::Busy);
                    assert!(world.vfs.crashed() || is_troubled && is_busy, "{failed:?}");
                    if operation % 3 == 0 {
                        world.vfs.restart_process()
                    } else {
                        world.vfs.restart()
                    }
                    if operation % 2 == 0 {
                        // Whoever opens the folder finds whole spaces, and nothing of the others.
                        world.check_parts();
                    }
                    for space in model.spaces.keys() {
                        match restore(&world, Some(space)) {
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict, "{error}"),
                            Ok(restored) => assert_eq!(restored.spaces, 1),
                        }
                    }
                    world.check_restored();
                },
            );
        }
    }
}

fn check_run(run: &Run, before: &[String], after: &[String], keep: Option<usize>) {
    let all: Vec<&String> = before.iter().chain([&run.id]).collect();
    let kept = keep.filter(|_| run.backup.left_out.is_empty()).map_or(all.len(), |keep| keep.min(all.len()));
    let (gone, kept) = all.split_at(all.len() - kept);
    assert!(kept.iter().all(|id| after.contains(id)), "{run:?}: {before:?}, then {after:?}");
    if run.troubles.is_empty() {
        assert!(run.removed.iter().eq(gone.iter().copied()), "{run:?}: {before:?}, then {after:?}");
        assert_eq!(after.len(), kept.len(), "{run:?}: {before:?}, then {after:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram::{ColdOptions, ColdStore, SyncMode};
    use engram_storage::cold::FaultyObjects;
    use object_store::memory::InMemory;
    use std::sync::Arc;

    /// Another program removes files, and has seen neither the claim nor the list.
    #[test]
    fn a_claim_that_goes_while_the_list_is_written_takes_the_list_along() {
        let objects = Arc::new(InMemory::new());
        let options = || ColdOptions { endpoint: "memory".into(), ..ColdOptions::default() };
        let others = Arc::new(ColdStore::with_store(objects.clone(), options()).expect("it is there"));
        let mut is_taken = false;
        let plan = move |operation: &'static str, name: &str| {
            if operation == "put" && name.starts_with("backups/") && !is_taken {
                is_taken = true;
                let seen = others.clone();
                // A thread of its own, as requests must not be made within one.
                let taking = std::thread::spawn(move || {
                    let claims = seen.list("writing/").expect("it answers");
                    claims.iter().for_each(|(name, _)| seen.delete(name).expect("it answers"));
                });
                taking.join().expect("it answers");
            }
            None
        };
        let store = ColdStore::with_store(Arc::new(FaultyObjects::new(objects, plan)), options());
        let backups = Backups::with_store(Arc::new(store.expect("it is there")), PLACE.into());
        let mut world = World::new(1, 1, SyncMode::Always);
        world.open().expect("the disk is whole");
        let space = SpaceName::new("a").expect("a valid name");
        let memory = engram::NewMemory { content: Some("rain".into()), ..engram::NewMemory::default() };
        let stored = world
            .engine()
            .space_or_new(&space)
            .and_then(|space| space.store(vec![memory], &Default::default()));
        stored.expect("the disk is whole");
        let take = |now| {
            let clock = Clock::driven(move || Timestamp(now));
            backups.take(world.engine(), std::slice::from_ref(&space), vec![], None, &clock)
        };
        assert_eq!(take(1_000_000).expect_err("it is taken away").kind(), ErrorKind::Conflict);
        assert_eq!(backups.ids().expect("it answers"), [""; 0]);
        let run = take(2_000_000).expect("it is not taken away again");
        assert_eq!(backups.ids().expect("it answers"), [run.id]);
    }
}
