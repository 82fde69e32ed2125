//! Opening again, on real files: after a close, without one, after kill -9, with damage, with other parameters.

#![expect(clippy::unwrap_used, reason = "a helper of tests that panics fails the test that called it")]

use engram::{
    Cue, Engine, ErrorKind, Filter, HnswParams, MemoryId, NewMemory, Options, RecallOptions, Selection,
    Space, SpaceName, StoreOptions, SyncMode,
};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const DIMENSIONS: usize = 8;
/// Set for the process that `a_killed_process_loses_nothing` starts: the folder to write to.
const WRITE_TO: &str = "ENGRAM_TEST_WRITE_TO";

fn options(folder: &Path) -> Options {
    Options {
        hnsw: HnswParams { m: 4, ef_construction: 16, ef_search: 16 },
        background_threads: 0,
        ..Options::new(folder)
    }
}

fn name(text: &str) -> SpaceName {
    SpaceName::new(text).unwrap()
}

fn space(engine: &Engine, text: &str) -> Arc<Space> {
    engine.space_or_new(&name(text)).unwrap()
}

fn memory(number: usize) -> NewMemory {
    let direction = |at: usize| ((number * 31 + at * 17) % 23) as f32 - 11.5;
    NewMemory {
        id: Some(MemoryId::new(&format!("m{number}")).unwrap()),
        content: Some(format!("note number{number} about rain in Bath")),
        embedding: Some((0..DIMENSIONS).map(direction).collect()),
        context: Some(format!("c{}", number % 3)),
        ..NewMemory::default()
    }
}

fn store(space: &Arc<Space>, numbers: std::ops::Range<usize>) {
    for number in numbers {
        space.store(vec![memory(number)], &StoreOptions::default()).unwrap();
    }
}

/// Every memory is there with its values, and found by its words.
fn check(engine: &Engine, space: &Space, numbers: std::ops::Range<usize>) {
    assert_eq!(space.count(&Selection::default()).unwrap(), numbers.len());
    for number in numbers {
        let expected = memory(number);
        let id = expected.id.clone().unwrap();
        assert_eq!(expected.differs_from(&space.get(&id).unwrap()), None);
        let options = RecallOptions::at(engine.now());
        let found = space.recall(&Cue::text(format!("number{number}")), &options).unwrap();
        assert_eq!(found.hits[0].memory.id, id);
    }
}

fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix));
    paths.sort();
    paths
}

#[test]
fn closed_or_dropped_it_opens_as_it_was() {
    for closes in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let mut dump = Vec::new();
        for round in 0..4 {
            // Also with threads: dropping waits for them, and gives the folder back.
            let options = Options { background_threads: round % 2, ..options(folder.path()) };
            let engine = Engine::open(options).unwrap();
            let notes = space(&engine, "notes");
            assert_eq!(notes.dump(), if round == 0 { notes.dump() } else { dump });
            check(&engine, &notes, 0..10 * round);
            store(&notes, 10 * round..10 * (round + 1));
            dump = notes.dump();
            if closes {
                engine.close().unwrap();
                engine.close().unwrap();
                let refused = notes.store(vec![memory(99)], &StoreOptions::default()).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::Closed);
                assert_eq!(engine.space(&name("notes")).unwrap_err().kind(), ErrorKind::Closed);
            }
        }
    }
}

#[test]
fn a_folder_has_one_engine_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    let refused = Engine::open(options(folder.path())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Locked);
    let process = std::process::id().to_string();
    assert!(refused.to_string().contains(&process), "{refused} names process {process}");
    assert!(refused.to_string().contains("recovery"), "{refused} names the program");
    fs::remove_file(folder.path().join("lock")).unwrap();
    let refused = Engine::open(options(folder.path())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Locked, "removing the lock file lets nobody in");
    // A clone keeps it open; what is left of a space does not.
    let clone = engine.clone();
    drop(engine);
    assert_eq!(Engine::open(options(folder.path())).unwrap_err().kind(), ErrorKind::Locked);
    let notes = space(&clone, "notes");
    store(&notes, 0..1);
    drop(clone);
    let engine = Engine::open(options(folder.path())).unwrap();
    assert_eq!(notes.store(vec![memory(1)], &StoreOptions::default()).unwrap_err().kind(), ErrorKind::Closed);
    check(&engine, &space(&engine, "notes"), 0..1);
}

/// The other half of `a_killed_process_loses_nothing`; does nothing on its own.
#[test]
fn write_until_killed() {
    let Ok(folder) = std::env::var(WRITE_TO) else { return };
    let engine = Engine::open(Options { checkpoint_bytes: 4000, ..Options::new(folder) }).unwrap();
    let notes = space(&engine, "notes");
    let mut out = std::io::stderr();
    for number in notes.count(&Selection::default()).unwrap().. {
        store(&notes, number..number + 1);
        writeln!(out, "stored {number}").unwrap();
    }
}

#[test]
fn a_killed_process_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for kill in 1..=5 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "write_until_killed", "--nocapture"])
            .env(WRITE_TO, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let stored = lines.filter_map(|line| line.strip_prefix("stored ")?.parse::<usize>().ok());
        let acknowledged = stored.take(30).last().unwrap() + 1;
        child.kill().unwrap();
        child.wait().unwrap();
        let engine = Engine::open(options(folder.path())).unwrap();
        let notes = space(&engine, "notes");
        let there = notes.count(&Selection::default()).unwrap();
        assert!(there >= acknowledged, "kill {kill}: {acknowledged} acknowledged, {there} there");
        check(&engine, &notes, 0..there);
    }
}

#[test]
fn a_checkpoint_and_the_log_after_it_make_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let small = || Options { checkpoint_bytes: 3000, segment_bytes_max: 1000, ..options(folder.path()) };
    let engine = Engine::open(small()).unwrap();
    let notes = space(&engine, "notes");
    store(&notes, 0..40);
    assert!(files(&notes_dir(folder.path()), "log-").len() > 3);
    engine.work_off();
    let dir = notes_dir(folder.path());
    assert_eq!((files(&dir, "checkpoint-").len(), files(&dir, "log-").len()), (1, 1));
    store(&notes, 40..50);
    let dump = notes.dump();
    drop((engine, notes));
    let engine = Engine::open(small()).unwrap();
    let notes = space(&engine, "notes");
    assert_eq!(notes.dump(), dump);
    check(&engine, &notes, 0..50);
    // What was indexed when the checkpoint was written is indexed.
    assert!(notes.summary().vectors == 50 && (10..50).contains(&notes.summary().unindexed));
}

fn notes_dir(folder: &Path) -> PathBuf {
    folder.join("spaces/notes")
}

#[test]
fn the_index_is_kept_over_a_close_and_serves_until_one_of_other_parameters_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    let notes = space(&engine, "notes");
    store(&notes, 0..30);
    assert_eq!(notes.summary().unindexed, 30);
    engine.work_off();
    assert_eq!(notes.summary().unindexed, 0);
    engine.close().unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    let notes = space(&engine, "notes");
    assert_eq!((notes.summary().vectors, notes.summary().unindexed), (30, 0));
    engine.close().unwrap();
    let hnsw = HnswParams { ef_search: 9, ..options(folder.path()).hnsw };
    let engine = Engine::open(Options { hnsw, ..options(folder.path()) }).unwrap();
    let notes = space(&engine, "notes");
    assert_eq!(notes.summary().unindexed, 0, "how broad a search is does not concern what is built");
    drop(notes);
    engine.close().unwrap();
    let hnsw = HnswParams { m: 6, ..options(folder.path()).hnsw };
    let engine = Engine::open(Options { hnsw, ..options(folder.path()) }).unwrap();
    let notes = space(&engine, "notes");
    assert_eq!((notes.summary().vectors, notes.summary().unindexed), (30, 0), "the old one serves");
    check(&engine, &notes, 0..30);
    engine.work_off();
    assert_eq!(notes.summary().unindexed, 0);
    check(&engine, &notes, 0..30);
}

#[test]
fn a_flipped_byte_is_reported_with_file_and_offset() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    store(&space(&engine, "notes"), 0..20);
    store(&space(&engine, "others"), 0..5);
    drop(engine);
    let log = files(&notes_dir(folder.path()), "log-").remove(0);
    let sound = fs::read(&log).unwrap();
    let mut damaged = sound.clone();
    damaged[sound.len() / 2] ^= 0x10;
    fs::write(&log, &damaged).unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    assert_eq!(engine.spaces().unwrap(), [name("notes"), name("others")]);
    for _ in 0..2 {
        let error = engine.space(&name("notes")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let message = error.to_string();
        assert!(message.contains(&log.display().to_string()), "{message}");
        let offset = message.split("byte ").nth(1).unwrap().split(':').next().unwrap();
        let offset: usize = offset.parse().unwrap();
        assert!(offset <= sound.len() / 2 && offset + 400 > sound.len() / 2, "{message}");
    }
    assert_eq!(fs::read(&log).unwrap(), damaged, "nothing was changed");
    // The damage of one space is not another's.
    check(&engine, &space(&engine, "others"), 0..5);
    engine.close().unwrap();
    fs::write(&log, &sound).unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    check(&engine, &space(&engine, "notes"), 0..20);
}

#[test]
fn a_deleted_space_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    let notes = space(&engine, "notes");
    store(&notes, 0..10);
    let was = engine.delete_space(&name("notes")).unwrap().summary;
    assert_eq!((was.memories, was.name), (10, name("notes")));
    assert_eq!(fs::read_dir(folder.path().join("spaces")).unwrap().count(), 0);
    assert_eq!(engine.spaces().unwrap(), []);
    assert_eq!(engine.space(&name("notes")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(engine.delete_space(&name("notes")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(notes.store(vec![memory(1)], &StoreOptions::default()).unwrap_err().kind(), ErrorKind::Closed);
    store(&space(&engine, "notes"), 0..3);
    drop((engine, notes));
    let engine = Engine::open(options(folder.path())).unwrap();
    check(&engine, &space(&engine, "notes"), 0..3);
}

#[test]
fn a_deletion_that_a_crash_cut_off_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    store(&space(&engine, "notes"), 0..3);
    drop(engine);
    fs::write(notes_dir(folder.path()).join("DELETED"), b"").unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    assert_eq!(engine.spaces().unwrap(), []);
    assert!(!notes_dir(folder.path()).exists());
}

#[test]
fn names_that_differ_in_case_are_two_spaces() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    store(&space(&engine, "notes"), 0..1);
    store(&space(&engine, "Notes"), 0..2);
    engine.delete_space(&name("notes")).unwrap();
    engine.close().unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    assert_eq!(engine.spaces().unwrap(), [name("Notes")]);
    check(&engine, &space(&engine, "Notes"), 0..2);
}

#[test]
fn asking_for_a_space_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    let nowhere = space(&engine, "nowhere");
    assert!(nowhere.list(&Filter::default(), None, 1).unwrap().memories.is_empty());
    let blank = NewMemory { content: Some(" ".into()), ..NewMemory::default() };
    let refused = nowhere.store(vec![blank], &StoreOptions::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    assert_eq!(engine.space(&name("nowhere")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(engine.spaces().unwrap(), []);
    assert_eq!(fs::read_dir(folder.path().join("spaces")).unwrap().count(), 0);
}

#[test]
fn a_patch_is_checked_like_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    let notes = space(&engine, "notes");
    store(&notes, 0..1);
    let id = memory(0).id.unwrap();
    let patches = [
        NewMemory { embedding: Some(vec![f32::NAN; DIMENSIONS]), ..NewMemory::default() },
        NewMemory { content: Some(" ".into()), ..NewMemory::default() },
        NewMemory { confidence: Some(5.0), ..NewMemory::default() },
    ];
    for patch in patches {
        assert_eq!(notes.patch(&id, patch.clone()).unwrap_err().kind(), ErrorKind::Invalid, "{patch:?}");
    }
    drop((engine, notes));
    let engine = Engine::open(options(folder.path())).unwrap();
    check(&engine, &space(&engine, "notes"), 0..1);
}

#[test]
fn in_batch_mode_the_disk_follows_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (synced, syncs) = std::sync::mpsc::channel();
    let observe = move |took: Duration| {
        // The test may have what it waits for already.
        synced.send(took).unwrap_or_default();
    };
    let options = Options {
        sync: SyncMode::Batch,
        flush_interval: Duration::from_millis(5),
        observe_flush: Some(Arc::new(observe)),
        ..options(folder.path())
    };
    let engine = Engine::open(options.clone()).unwrap();
    let notes = space(&engine, "notes");
    store(&notes, 0..20);
    syncs.recv_timeout(Duration::from_secs(20)).unwrap();
    drop((engine, notes));
    let engine = Engine::open(options).unwrap();
    check(&engine, &space(&engine, "notes"), 0..20);
}

#[test]
fn a_damaged_space_can_be_deleted_and_hurts_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(folder.path())).unwrap();
    store(&space(&engine, "notes"), 0..5);
    store(&space(&engine, "other"), 0..5);
    engine.close().unwrap();
    fs::write(folder.path().join("spaces/.DS_Store"), "not a space").unwrap();
    fs::write(folder.path().join("spaces/notes.txt"), "nor is this").unwrap();
    let checkpoint = files(&folder.path().join("spaces/notes"), "checkpoint-").remove(0);
    fs::remove_file(checkpoint).unwrap();

    let engine = Engine::open(options(folder.path())).unwrap();
    assert_eq!(engine.spaces().unwrap(), [name("notes"), name("other")]);
    assert_eq!(
        engine.space(&name("notes")).unwrap_err().kind(),
        ErrorKind::Corrupt,
        "a lost checkpoint is no empty space"
    );
    check(&engine, &space(&engine, "other"), 0..5);
    engine.delete_damaged_space(&name("notes")).unwrap();
    assert_eq!(engine.spaces().unwrap(), [name("other")]);
    assert_eq!(engine.space(&name("notes")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(engine.delete_damaged_space(&name("other")).unwrap_err().kind(), ErrorKind::Conflict);
    engine.close().unwrap();
}
