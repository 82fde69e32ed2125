//! What is backed up comes back as it was, whatever happened meanwhile; and what is damaged is found.

#![expect(clippy::unwrap_used, reason = "a helper of tests that panics fails the test that called it")]

use engram::backup::{Backup, Backups, Origin, Source, time_of_id};
use engram::clock::Clock;
use engram::{
    Checked, ColdOptions, ColdStore, Embedder, Engine, Error, ErrorKind, FaultyVfs, MemoryId, NewMemory,
    NotedBackup, Options, Result, Snapshot, Space, SpaceName, StoreOptions, Timestamp, check,
};
use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const DIMENSIONS: usize = 32;
const PAYLOAD_BYTES: u64 = 4 * DIMENSIONS as u64 + 40;

/// A folder with a data folder, a cold tier and a place for backups in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Room in memory for 20 payloads, on disk for another 20; the rest is cold.
    fn options(&self, data: &str, cold: &str) -> Options {
        let endpoint = format!("file://{}", self.path(cold).display());
        let store = ColdStore::open(ColdOptions { endpoint, ..ColdOptions::default() }).unwrap();
        Options {
            background_threads: 0,
            hot_bytes_max: 20 * PAYLOAD_BYTES,
            warm_bytes_max: 20 * PAYLOAD_BYTES,
            settled_bytes_min: 1,
            checkpoint_bytes: 20_000,
            cold: Some(Arc::new(store)),
            ..Options::new(self.path(data))
        }
    }

    fn backups(&self) -> Backups {
        Backups::open(self.path("backups").to_str().unwrap()).unwrap()
    }
}

fn name() -> SpaceName {
    SpaceName::new("diary").unwrap()
}

fn memory(at: usize) -> NewMemory {
    let mut rng = fastrand::Rng::with_seed(at as u64);
    NewMemory {
        id: Some(id(at)),
        content: Some(format!("On day {at} it rained in Bath, for {} hours", at % 24)),
        embedding: Some((0..DIMENSIONS).map(|_| rng.f32() - 0.5).collect()),
        context: Some(format!("c{}", at % 7)),
        ..NewMemory::default()
    }
}

fn id(at: usize) -> MemoryId {
    MemoryId::new(&format!("m{at:04}")).unwrap()
}

fn fill(engine: &Engine, ids: std::ops::Range<usize>) -> Arc<Space> {
    let space = engine.space_or_new(&name()).unwrap();
    for some in ids.collect::<Vec<_>>().chunks(25) {
        space.store(some.iter().map(|&at| memory(at)).collect(), &StoreOptions::default()).unwrap();
        engine.work_off();
    }
    space
}

fn back_up(backups: &Backups, at: i64, snapshot: &Snapshot) -> (String, Backup, engram::backup::Taken) {
    let mut writer = backups.begin(Timestamp(at * 1_000_000)).unwrap();
    writer.add(&name(), snapshot).unwrap();
    writer.finish().unwrap()
}

fn all(space: &Space) -> Vec<engram::Memory> {
    let page = space.list(&engram::Filter::default(), None, 1000).unwrap();
    assert_eq!(page.next, None);
    page.memories
}

#[test]
fn a_snapshot_comes_back_as_it_was_whatever_was_written_moved_and_removed_since() {
    let place = Place::new();
    let engine = Engine::open(place.options("data", "cold")).unwrap();
    let space = fill(&engine, 0..200);
    let (expected, dump) = (all(&space), space.dump());
    assert!(space.summary().tiers.iter().all(|&memories| memories > 0), "{:?}", space.summary().tiers);
    let snapshot = space.snapshot().unwrap();
    assert!(snapshot.files().iter().any(|file| file.is_cold()));
    // All that was there is written anew or removed, but for what the snapshot holds.
    for at in 0..200 {
        space.delete(&id(at)).unwrap();
    }
    fill(&engine, 200..400);
    engine.work_off();
    let (backups, restored) = (place.backups(), place.options("restored", "restored-cold"));
    let (made, backup, taken) = back_up(&backups, 1, &snapshot);
    assert_eq!((taken.files, taken.files_copied), (snapshot.files().len() as u64, taken.files));
    let cold = |folder: &str| walk(&place.path(folder)).len();
    let held = cold("cold");
    drop(snapshot);
    space.delete(&id(200)).unwrap();
    engine.close().unwrap();
    assert!(cold("cold") < held, "what only the snapshot held is removed after it");
    let (found, list) = backups.get(None).unwrap();
    assert_eq!((&found, &list), (&made, &backup));
    let report = backups.restore(&found, &list, None, &restored, &mut |_| {}).unwrap();
    assert_eq!((report.spaces, report.files, report.cold_there), (1, taken.files, 0));
    let engine = Engine::open(restored.clone()).unwrap();
    let space = engine.space(&name()).unwrap();
    assert_eq!((all(&space), space.dump()), (expected, dump));
    let from = NotedBackup { id: made, place: backups.place().to_string() };
    assert_eq!(space.backups().unwrap(), [from]);
    let folder = restored.data_dir.join("spaces").join(name().as_str());
    let noted = fs::read_to_string(folder.join("backups.json")).unwrap();
    assert!(noted.contains("\"format\": 2"), "{noted}");
    engine.close().unwrap();
    let checked = check(&restored, None, false, &mut |_| {}).unwrap();
    assert!(checked.iter().all(Checked::is_sound) && checked[0].notes.is_empty(), "{checked:?}");
    assert!(checked[0].cold[1] > 100 && checked[0].memories == 200, "{checked:?}");
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return vec![dir.to_path_buf()] };
    entries.flat_map(|entry| walk(&entry.unwrap().path())).collect()
}

#[test]
fn a_later_backup_copies_only_what_is_new_and_an_older_one_can_go() {
    let place = Place::new();
    let engine = Engine::open(place.options("data", "cold")).unwrap();
    let space = fill(&engine, 0..200);
    let backups = place.backups();
    let (first, _, taken) = back_up(&backups, 1, &space.snapshot().unwrap());
    assert_eq!(taken.bytes_copied, taken.bytes);
    let (_, _, again) = back_up(&backups, 2, &space.snapshot().unwrap());
    assert_eq!((again.files_copied, again.files), (0, taken.files));
    space.store(vec![memory(999)], &StoreOptions::default()).unwrap();
    let (third, list, more) = back_up(&backups, 3, &space.snapshot().unwrap());
    assert_eq!(more.files_copied, 1, "the end of the log");
    assert_eq!(backups.ids().unwrap().len(), 3);
    assert_eq!(backups.get(Some(&first)).unwrap().0, first);
    let gone = backups.prune(1, &third, Timestamp(4_000_000)).unwrap();
    assert_eq!(gone.first(), Some(&first));
    assert_eq!(backups.ids().unwrap(), [third]);
    assert_eq!(backups.verify(&list, &mut |_| {}).unwrap(), Vec::<String>::new());
    assert_eq!(walk(&place.path("backups")).len(), 1 + list.spaces[0].files.len());
    assert_eq!(backups.get(Some(&first)).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_file_is_hashed_in_as_many_calls_as_it_takes() {
    let place = Place::new();
    let engine = Engine::open(place.options("data", "cold")).unwrap();
    let space = engine.space_or_new(&name()).unwrap();
    let large = NewMemory { content: Some("It rained. ".repeat(5000)), ..memory(1) };
    for at in 0..200 {
        let one = NewMemory { id: Some(id(at)), ..large.clone() };
        space.store(vec![one], &StoreOptions::default()).unwrap();
    }
    let snapshot = space.snapshot().unwrap();
    let (at, file) = snapshot.files().iter().enumerate().max_by_key(|(_, file)| file.bytes()).unwrap();
    let (mut calls, mut hashed) = (1, 0);
    let found = loop {
        match snapshot.sha256_within(at, Duration::ZERO).unwrap() {
            Ok(sha256) => break sha256.to_string(),
            Err(bytes) => {
                assert!(bytes > hashed && bytes < file.bytes(), "{bytes} of {}", file.bytes());
                (calls, hashed) = (calls + 1, bytes);
            }
        }
    };
    assert!(calls > 1, "{} bytes were hashed at once", file.bytes());
    assert_eq!(space.snapshot().unwrap().sha256(at).unwrap(), found);
}

#[test]
fn a_snapshot_after_a_checkpoint_that_failed_at_any_sync_is_whole() {
    let place = Place::new();
    let mut at = 0;
    loop {
        at += 1;
        let vfs = FaultyVfs::new(at);
        let options = || Options { cold: None, vfs: Arc::new(vfs.clone()), ..place.options("data", "cold") };
        let engine =
            Engine::open(Options { segment_bytes_max: 500, checkpoint_bytes: 2000, ..options() }).unwrap();
        vfs.fail_sync_at(vfs.syncs() + at);
        let space = engine.space_or_new(&name()).unwrap();
        let mut store = |at: usize| drop(space.store(vec![memory(at)], &StoreOptions::default()));
        (0..20).for_each(&mut store);
        engine.work_off();
        (20..24).for_each(&mut store);
        if vfs.syncs() < at {
            break;
        }
        let Ok(snapshot) = space.snapshot() else { continue };
        let (id, list, _) = back_up(&place.backups(), at as i64, &snapshot);
        let to = Options { vfs: Arc::new(FaultyVfs::new(0)), ..options() };
        place.backups().restore(&id, &list, None, &to, &mut |_| {}).unwrap();
        let restored = Engine::open(to).unwrap();
        assert_eq!(all(&restored.space(&name()).unwrap()), all(&space), "sync {at} failed");
    }
    assert!(at > 24, "{at} syncs");
}

/// A source of which some spaces cannot be copied, or that ends, while others are at work.
struct Troubled<'a> {
    engine: &'a Engine,
    bad: &'a str,
    /// Spaces that are copied before it answers no more.
    lives_for: Cell<usize>,
    /// What others do before a space is held.
    meanwhile: &'a dyn Fn(),
}

impl Source for Troubled<'_> {
    fn spaces(&self) -> Result<Vec<SpaceName>> {
        match self.lives_for.get() {
            0 => Err(Error::new(ErrorKind::Internal, "nobody answers")),
            _ => Source::spaces(self.engine),
        }
    }

    fn hold<'a>(&'a self, space: &SpaceName) -> Result<Option<Box<dyn Origin + 'a>>> {
        let lives_for = self.lives_for.get();
        if lives_for == 0 || space.as_str() == self.bad {
            return Err(Error::new(ErrorKind::Internal, "no bytes came"));
        }
        self.lives_for.set(lives_for - 1);
        (self.meanwhile)();
        self.engine.hold(space)
    }

    fn note(&self, space: &SpaceName, backup: &NotedBackup) -> Result<Option<Vec<NotedBackup>>> {
        self.engine.note(space, backup)
    }

    fn forget(&self, space: &SpaceName, id: &str) -> Result<()> {
        self.engine.forget(space, id)
    }
}

/// Spaces with a memory each.
fn spaces<const N: usize>(engine: &Engine, names: [&str; N]) -> [SpaceName; N] {
    names.map(|name| {
        let name = SpaceName::new(name).unwrap();
        engine.space_or_new(&name).unwrap().store(vec![memory(0)], &StoreOptions::default()).unwrap();
        name
    })
}

fn clock_at(seconds: i64) -> Clock {
    Clock::driven(move || Timestamp(seconds * 1_000_000))
}

#[test]
fn a_space_that_cannot_be_copied_is_left_out_and_a_source_that_ends_leaves_no_backup() {
    let place = Place::new();
    let engine = Engine::open(place.options("data", "cold")).unwrap();
    let names = spaces(&engine, ["a", "b", "c"]);
    let (backups, ids) = (place.backups(), || place.backups().ids().unwrap());
    let take = |bad: &str, lives_for: usize, at: i64| {
        let lives_for = Cell::new(lives_for);
        let source = Troubled { engine: &engine, bad, lives_for, meanwhile: &|| {} };
        backups.take(&source, &names, vec![], Some(1), &clock_at(at))
    };
    let whole = take("", 9, 1).unwrap();
    assert_eq!((whole.backup.spaces.len(), ids()), (3, vec![whole.id.clone()]));
    let partly = take("b", 9, 2).unwrap();
    let [left_out] = &partly.backup.left_out[..] else { panic!("{partly:?}") };
    assert_eq!((left_out.name.as_str(), left_out.reason.as_str()), ("b", "no bytes came"));
    assert_eq!((partly.backup.spaces.len(), partly.removed.len()), (2, 0), "the last one with b stays");
    assert_eq!(ids(), [whole.id.clone(), partly.id.clone()]);
    for lives_for in 0..3 {
        let error = take("", lives_for, 3).unwrap_err();
        assert!(error.to_string().contains("nobody answers"), "{error}");
        assert_eq!(backups.get(None).unwrap().0, partly.id, "one that has less is no newer one");
    }
    let nothing = backups.take(&engine, &[], vec![], Some(1), &clock_at(4)).unwrap_err();
    assert!(nothing.kind() == ErrorKind::NotFound && ids().len() == 2, "{nothing}");
    let last = take("", 9, 5).unwrap();
    assert_eq!((ids(), last.removed), (vec![last.id.clone()], vec![whole.id, partly.id]));
    let noted = engine.space(&names[1]).unwrap().backups().unwrap();
    assert_eq!(noted, [NotedBackup { id: last.id, place: backups.place().to_string() }]);
}

#[test]
fn what_is_noted_of_a_backup_that_is_under_way_stays() {
    let place = Place::new();
    let engine = Engine::open(place.options("data", "cold")).unwrap();
    let names = spaces(&engine, ["a", "b"]);
    let (backups, now) = (place.backups(), Arc::new(AtomicI64::new(0)));
    let driven = now.clone();
    let clock = Clock::driven(move || Timestamp(driven.load(Ordering::Relaxed)));
    let take = |pause_seconds: i64| {
        now.fetch_add(1_000_000, Ordering::Relaxed);
        let made = RefCell::new(Vec::new());
        let meanwhile = || {
            now.fetch_add(pause_seconds * 1_000_000, Ordering::Relaxed);
            let run = place.backups().take(&engine, &names, vec![], None, &clock).unwrap();
            assert!(run.troubles.is_empty(), "{run:?}");
            made.borrow_mut().push(run.id);
        };
        let source = Troubled { engine: &engine, bad: "", lives_for: Cell::new(9), meanwhile: &meanwhile };
        let outcome = backups.take(&source, &names, vec![], None, &clock);
        (outcome, made.take())
    };
    let noted = |name| {
        let noted = engine.space(name).unwrap().backups().unwrap();
        let mut ids: Vec<String> = noted.into_iter().map(|noted| noted.id).collect();
        ids.sort();
        ids
    };
    let (run, made) = take(1);
    let run = run.unwrap();
    assert!(run.backup.spaces.len() == 2 && run.troubles.is_empty(), "{run:?}");
    assert_eq!(made.len(), 2);
    let all = backups.ids().unwrap();
    assert_eq!(all, [vec![run.id], made].concat());
    names.iter().for_each(|name| assert_eq!(noted(name), all));
    // After a day nobody counts on it any more, and it says so.
    let (late, made) = take(25 * 3600);
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Conflict);
    let all = [all, made].concat();
    assert_eq!(backups.ids().unwrap(), all);
    backups.take(&engine, &names, vec![], None, &clock_at(200 * 3600)).unwrap();
    names.iter().for_each(|name| assert_eq!(noted(name), backups.ids().unwrap()));
}

#[test]
fn after_hours_of_copying_old_backups_are_removed_by_the_time_it_is_then() {
    let place = Place::new();
    let engine = Engine::open(place.options("data", "cold")).unwrap();
    let names = spaces(&engine, ["a"]);
    let (backups, hour) = (place.backups(), 3600 * 1_000_000);
    backups.take(&engine, &names, vec![], None, &clock_at(1)).unwrap();
    engine.space(&names[0]).unwrap().store(vec![memory(1)], &StoreOptions::default()).unwrap();
    // A program that was killed: it counts when the backup begins, and not when it ends.
    fs::create_dir_all(place.path("backups/writing")).unwrap();
    fs::write(place.path("backups/writing").join(format!("{}-0", time_of_id(Timestamp(hour)))), "").unwrap();
    let now = Arc::new(AtomicI64::new(24 * hour));
    let driven = now.clone();
    let clock = Clock::driven(move || Timestamp(driven.load(Ordering::Relaxed)));
    let meanwhile = || {
        now.fetch_add(2 * hour, Ordering::Relaxed);
    };
    let source = Troubled { engine: &engine, bad: "", lives_for: Cell::new(9), meanwhile: &meanwhile };
    let run = backups.take(&source, &names, vec![], Some(1), &clock).unwrap();
    assert_eq!(run.removed.len(), 1, "{run:?}");
    assert_eq!(walk(&place.path("backups/files")).len(), run.backup.spaces[0].files.len());
}

#[test]
fn a_restored_space_knows_every_backup_that_has_it() {
    let place = Place::new();
    let engine = Engine::open(place.options("data", "cold")).unwrap();
    let names = spaces(&engine, ["a", "b"]);
    let backups = place.backups();
    let take = |names: &[SpaceName], at| backups.take(&engine, names, vec![], None, &clock_at(at)).unwrap();
    let (first, second) = (take(&names, 1), take(&names, 2));
    let (_, damaged, last) = (take(&names[1..], 3), take(&names[1..], 4), take(&names[..1], 5));
    fs::write(place.path("backups").join(format!("backups/{}.json", damaged.id)), "{}").unwrap();
    let to = place.options("to", "to-cold");
    backups.restore(&second.id, &second.backup, None, &to, &mut |_| {}).unwrap();
    let receipt = Engine::open(to).unwrap().delete_space(&names[0]).unwrap();
    let noted: Vec<String> = receipt.backups.into_iter().map(|noted| noted.id).collect();
    assert_eq!(noted, [first.id, second.id, damaged.id, last.id], "one that is damaged may have it");
}

#[test]
fn while_one_writes_no_files_are_removed_and_while_one_removes_nobody_begins() {
    let place = Place::new();
    let engine = Engine::open(place.options("data", "cold")).unwrap();
    let space = fill(&engine, 0..200);
    let (backups, hour) = (place.backups(), 3600 * 1_000_000);
    let (first, ..) = back_up(&backups, 1, &space.snapshot().unwrap());
    // Another program copies, and counts on what the first one has.
    let others = place.backups();
    let mut writer = others.begin(Timestamp(hour)).unwrap();
    writer.add(&name(), &space.snapshot().unwrap()).unwrap();
    for at in 0..200 {
        space.delete(&id(at)).unwrap();
    }
    fill(&engine, 200..210);
    let (second, ..) = back_up(&backups, 2, &space.snapshot().unwrap());
    assert_eq!(backups.prune(1, &second, Timestamp(2 * hour)).unwrap(), [first]);
    let (id, list, _) = writer.finish().unwrap();
    assert_eq!(others.verify(&list, &mut |_| {}).unwrap(), Vec::<String>::new(), "its files stayed");
    // One that was killed: for a day, what no backup needs stays; then it counts no longer, and cannot end.
    let left = others.begin(Timestamp(3 * hour)).unwrap();
    let files = walk(&place.path("backups/files")).len();
    assert_eq!(backups.prune(1, &second, Timestamp(4 * hour)).unwrap(), Vec::<String>::new());
    assert_eq!(backups.prune(1, &second, Timestamp(26 * hour)).unwrap(), Vec::<String>::new());
    assert_eq!(walk(&place.path("backups/files")).len(), files);
    fs::remove_file(place.path("backups").join(format!("backups/{id}.json"))).unwrap();
    assert_eq!(backups.prune(1, &second, Timestamp(28 * hour)).unwrap(), Vec::<String>::new());
    assert!(walk(&place.path("backups/files")).len() < files);
    assert_eq!(left.finish().unwrap_err().kind(), ErrorKind::Conflict);
    // While one removes, nobody begins; an hour after it was killed, they do.
    fs::create_dir_all(place.path("backups/removing")).unwrap();
    let claim = place.path("backups/removing").join(format!("{}-0", time_of_id(Timestamp(30 * hour))));
    fs::write(&claim, "").unwrap();
    let refused = backups.begin(Timestamp(30 * hour)).err().unwrap();
    assert!(refused.kind() == ErrorKind::Busy && refused.to_string().contains("removing/"), "{refused}");
    drop(backups.begin(Timestamp(32 * hour)).unwrap());
    assert!(!claim.exists() && walk(&place.path("backups/writing")).is_empty());
}

#[test]
fn cold_files_of_a_restore_that_was_cut_off_are_used_by_the_next_or_removed() {
    let place = Place::new();
    let engine = Engine::open(place.options("data", "cold")).unwrap();
    let space = fill(&engine, 0..200);
    let (backups, expected) = (place.backups(), all(&space));
    let (newest, mut list, _) = back_up(&backups, 1, &space.snapshot().unwrap());
    let to = || place.options("to", "to-cold");
    let cold_files = || walk(&place.path("to-cold")).iter().filter(|path| path.is_file()).count();
    // The last file is damaged, so that a restore ends before it.
    list.spaces[0].files.sort_by_key(|file| file.sha256.is_some());
    let last = place.path("backups").join(list.spaces[0].files.last().unwrap().object());
    let sound = fs::read(&last).unwrap();
    fs::write(&last, flipped(&sound)).unwrap();
    let cut_off = || backups.restore(&newest, &list, None, &to(), &mut |_| {}).unwrap_err();
    assert_eq!((cut_off().kind(), cold_files() > 0), (ErrorKind::Corrupt, true));
    let there = cold_files();
    drop(Engine::open(to()).unwrap());
    assert_eq!(cold_files(), 0, "who opens the folder removes what nothing names");
    cut_off();
    assert_eq!(cold_files(), there);
    fs::write(&last, sound).unwrap();
    let restored = backups.restore(&newest, &list, None, &to(), &mut |_| {}).unwrap();
    assert_eq!((restored.cold_there, cold_files()), (0, there), "they are its own");
    let engine = Engine::open(to()).unwrap();
    assert_eq!(all(&engine.space(&name()).unwrap()), expected);
}

#[test]
fn what_was_damaged_in_a_backup_is_found_and_restores_nothing() {
    let place = Place::new();
    let options = place.options("data", "cold");
    let engine = Engine::open(options).unwrap();
    let space = fill(&engine, 0..200);
    let backups = place.backups();
    let (_, list, _) = back_up(&backups, 1, &space.snapshot().unwrap());
    for file in walk(&place.path("backups")) {
        let bytes = fs::read(&file).unwrap();
        for damaged in [bytes[..bytes.len() - 1].to_vec(), flipped(&bytes), Vec::new()] {
            fs::write(&file, damaged).unwrap();
            let is_list = file.extension().is_some_and(|extension| extension == "json");
            if is_list {
                assert_eq!(backups.get(None).unwrap_err().kind(), ErrorKind::Corrupt, "{file:?}");
                continue;
            }
            assert_eq!(backups.verify(&list, &mut |_| {}).unwrap().len(), 1, "{file:?}");
            let to = place.options("to", "to-cold");
            let error = backups.restore("x", &list, None, &to, &mut |_| {}).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            let engine = Engine::open(to).unwrap();
            assert_eq!(engine.spaces().unwrap(), [], "half a space is none");
            assert!(!place.path("to/spaces/diary").exists(), "and who opens the folder removes it");
        }
        fs::write(&file, bytes).unwrap();
    }
    let to = place.options("to", "to-cold");
    backups.restore("x", &list, None, &to, &mut |_| {}).unwrap();
    let error = backups.restore("x", &list, None, &to, &mut |_| {}).unwrap_err();
    assert!(error.kind() == ErrorKind::Conflict && error.to_string().contains("diary"), "{error}");
    let without = Options { cold: None, ..place.options("other", "to-cold") };
    let error = backups.restore("x", &list, None, &without, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("storage.cold_tier_endpoint"), "{error}");
    assert!(!place.path("other/spaces/diary").exists());
    let again = place.options("again", "to-cold");
    let report = backups.restore("x", &list, Some(&name()), &again, &mut |_| {}).unwrap();
    assert!(report.cold_there > 0, "another folder may be using them");
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    let middle = bytes.len() / 2;
    flipped[middle] ^= 0x40;
    flipped
}

#[test]
fn what_was_to_be_deleted_and_is_restored_stays() {
    let place = Place::new();
    let options = place.options("data", "cold");
    let engine = Engine::open(options.clone()).unwrap();
    let space = fill(&engine, 0..200);
    let (backups, expected) = (place.backups(), all(&space));
    let (id, list, _) = back_up(&backups, 1, &space.snapshot().unwrap());
    drop(space);
    // The object store is away while the space is deleted.
    fs::rename(place.path("cold"), place.path("away")).unwrap();
    engine.delete_space(&name()).unwrap();
    engine.close().unwrap();
    fs::rename(place.path("away"), place.path("cold")).unwrap();
    assert_eq!(walk(&place.path("data/erased")).len(), 1);
    let options = place.options("data", "cold");
    backups.restore(&id, &list, None, &options, &mut |_| {}).unwrap();
    let engine = Engine::open(options).unwrap();
    engine.work_off();
    assert_eq!(all(&engine.space(&name()).unwrap()), expected);
    engine.close().unwrap();
    assert_eq!(walk(&place.path("data/erased")).iter().filter(|path| path.is_file()).count(), 0);
}

#[test]
fn a_restore_beside_the_space_itself_leaves_its_cold_files_alone() {
    let place = Place::new();
    let engine = Engine::open(place.options("data", "cold")).unwrap();
    let space = fill(&engine, 0..200);
    // Some cold files have nothing left in them, and would be deleted next.
    for at in 0..150 {
        space.delete(&id(at)).unwrap();
    }
    let cold_files = || {
        let mut files = walk(&place.path("cold"));
        files.sort();
        files
    };
    let before = cold_files();
    let other = SpaceName::new("other").unwrap();
    let second = engine.space_or_new(&other).unwrap();
    second.store(vec![memory(0)], &StoreOptions::default()).unwrap();
    let backups = place.backups();
    let mut writer = backups.begin(Timestamp(0)).unwrap();
    for (name, space) in [(name(), &space), (other, &second)] {
        let held = space.snapshot().unwrap();
        writer.add(&name, &held).unwrap();
    }
    let (newest, backup, _) = writer.finish().unwrap();
    // Few may be open, so that opening the next may close one.
    let options = Options { spaces_open_max: 1, ..place.options("restored", "cold") };
    let restored = place.backups().restore(&newest, &backup, None, &options, &mut |_| {}).unwrap();
    assert_eq!((restored.memories, restored.cold_there), (51, before.len() as u64));
    assert_eq!(cold_files(), before);
    // Whoever works on the folder would not.
    let engine = Engine::open(options).unwrap();
    engine.space(&name()).unwrap();
    engine.close().unwrap();
    assert_ne!(cold_files(), before);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let place = Place::new();
    let engine = Engine::open(place.options("data", "cold")).unwrap();
    let space = fill(&engine, 0..10);
    let backups = place.backups();
    let (_, list, _) = back_up(&backups, 1, &space.snapshot().unwrap());
    for wrong in ["../../outside", "log-/../../outside", "backups.json", "/tmp/log-1"] {
        let mut list = list.clone();
        list.spaces[0].files[0].name = wrong.to_string();
        let error = backups.restore("x", &list, None, &place.options("to", "cold"), &mut |_| {}).unwrap_err();
        assert!(error.to_string().contains("none of ours"), "{error}");
    }
    let mut twice = list.clone();
    twice.spaces.push(list.spaces[0].clone());
    let error = backups.restore("x", &twice, None, &place.options("to", "cold"), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
    let mut theirs = list.clone();
    theirs.spaces[0].files[0] =
        engram::backup::FileCopy { name: "other/a.parquet".into(), bytes: 1, sha256: None };
    let error = backups.restore("x", &theirs, None, &place.options("to", "cold"), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("none of ours"), "{error}");
    let mut list = list;
    list.spaces[0].name = "../outside".to_string();
    backups.restore("x", &list, None, &place.options("to", "cold"), &mut |_| {}).unwrap_err();
    assert!(!place.path("outside").exists() && !place.path("to/spaces/diary").exists());
}

#[test]
fn a_receipt_says_what_was_erased_and_which_backups_still_hold_it() {
    let place = Place::new();
    let engine = Engine::open(place.options("data", "cold")).unwrap();
    let space = fill(&engine, 0..200);
    let noted = |id: &str| NotedBackup { id: id.into(), place: "s3://bucket".into() };
    for id in ["one", "two", "two", "three"] {
        space.note_backup(noted(id)).unwrap();
    }
    space.forget_backup("one").unwrap();
    let receipt = engine.delete_space(&name()).unwrap();
    assert_eq!(receipt.backups, [noted("two"), noted("three")]);
    assert_eq!((receipt.summary.memories, receipt.concepts), (200, 0));
    assert!(receipt.log[0] > 0 && receipt.log[1] > 0 && receipt.segments[0] > 0, "{receipt:?}");
    assert!(receipt.checkpoints[0] == 1 && receipt.cold_files > 0, "{receipt:?}");
    assert_eq!(walk(&place.path("cold")).iter().filter(|path| path.is_file()).count(), 0);
    assert!(!place.path("data/spaces/diary").exists());
}

#[test]
fn every_file_that_is_damaged_is_found_and_left_as_it_is() {
    let place = Place::new();
    let options = place.options("data", "cold");
    let engine = Engine::open(options.clone()).unwrap();
    fill(&engine, 0..200);
    engine.close().unwrap();
    let sound = check(&options, None, false, &mut |_| {}).unwrap();
    assert!(sound[0].is_sound() && sound[0].files[0] > 2 && sound[0].cold[0] > 0, "{sound:?}");
    let files = [walk(&place.path("data/spaces/diary")), walk(&place.path("cold"))].concat();
    let mut seen = 0;
    for file in files {
        let bytes = fs::read(&file).unwrap();
        if bytes.len() < 100 {
            continue;
        }
        fs::write(&file, flipped(&bytes)).unwrap();
        let found = check(&options, None, true, &mut |_| {}).unwrap();
        let named = file.file_name().unwrap().to_str().unwrap();
        assert!(found[0].damage.iter().any(|text| text.contains(named)), "{named}: {found:?}");
        assert!(!found[0].is_repaired && fs::read(&file).unwrap() == flipped(&bytes), "{named}");
        fs::write(&file, bytes).unwrap();
        seen += 1;
    }
    assert!(seen > 3, "{seen} files");
    assert_eq!(check(&options, None, false, &mut |_| {}).unwrap(), sound);
    let nowhere = SpaceName::new("nowhere").unwrap();
    let error = check(&options, Some(&nowhere), false, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    fs::write(place.path("data/spaces/diary/notes.txt"), "mine").unwrap();
    fs::write(place.path("cold/diary/stray.parquet"), "whose?").unwrap();
    let noted = check(&options, None, false, &mut |_| {}).unwrap();
    assert!(noted[0].is_sound() && noted[0].notes.len() == 2, "{noted:?}");
}

#[test]
fn a_space_that_embeds_texts_is_sound_too() {
    let place = Place::new();
    let options = place.options("data", "cold");
    let engine = Engine::open(options.clone()).unwrap();
    let space = engine.space_or_new(&name()).unwrap();
    assert_eq!(space.settings().embedder, None);
    for at in 0..300 {
        let memory = NewMemory { embedding: None, ..memory(at) };
        space.store(vec![memory], &StoreOptions::default()).unwrap();
        engine.work_off();
    }
    assert_eq!(space.settings().embedder, Some(Embedder::BUILTIN));
    engine.close().unwrap();
    let checked = check(&options, None, false, &mut |_| {}).unwrap();
    assert!(checked[0].is_sound() && checked[0].cold[0] > 0, "{checked:?}");
}
