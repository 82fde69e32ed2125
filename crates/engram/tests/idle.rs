//! Spaces by the thousand: those that nobody asks for leave memory and close their files, and come back as they were.

#![expect(clippy::unwrap_used, reason = "a helper of tests that panics fails the test that called it")]

use engram::clock::Clock;
use engram::{
    Cue, Engine, ErrorKind, NewMemory, Options, RecallOptions, Selection, Space, SpaceName, StoreOptions,
    Timestamp,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const MINUTE: i64 = 60_000_000;

/// An engine whose clock stands at what `now` says, and that puts spaces to sleep when it works off what waits.
fn open(folder: &Path, now: &Arc<AtomicI64>) -> Engine {
    let now = now.clone();
    Engine::open(Options {
        background_threads: 0,
        spaces_open_max: 8,
        spaces_sleep_after: Duration::from_secs(300),
        clock: Clock::driven(move || Timestamp(now.load(Ordering::Relaxed))),
        ..Options::new(folder)
    })
    .unwrap()
}

fn name(number: usize) -> SpaceName {
    SpaceName::new(&format!("s{number}")).unwrap()
}

fn store(space: &Arc<Space>, content: &str) {
    let memory = NewMemory { content: Some(content.into()), ..NewMemory::default() };
    space.store(vec![memory], &StoreOptions::default()).unwrap();
}

fn fill(engine: &Engine, numbers: std::ops::Range<usize>) {
    for number in numbers {
        store(&engine.space_or_new(&name(number)).unwrap(), &format!("It rained on day{number}"));
        engine.work_off();
    }
}

/// Files below the folder that this process has open, but for its lock.
fn open_files(folder: &Path) -> usize {
    let folder = folder.canonicalize().unwrap().join("spaces");
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|entry| {
        let target = std::fs::read_link(entry.as_ref().unwrap().path());
        target.is_ok_and(|target| target.starts_with(&folder) && target.is_file())
    })
    .count()
}

#[test]
fn who_is_not_asked_sleeps_and_wakes_as_it_was() {
    let (folder, now) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(0)));
    let engine = open(folder.path(), &now);
    fill(&engine, 0..3);
    let dumps: Vec<_> = (0..3).map(|number| engine.space(&name(number)).unwrap().dump()).collect();
    let summaries: Vec<_> = (0..3).map(|number| engine.summary(&name(number)).unwrap()).collect();
    let held = engine.space(&name(1)).unwrap();
    now.store(4 * MINUTE, Ordering::Relaxed);
    engine.work_off();
    assert_eq!(open_files(folder.path()), 3, "not yet");
    engine.space(&name(2)).unwrap();
    now.store(9 * MINUTE, Ordering::Relaxed);
    engine.work_off();
    assert_eq!(open_files(folder.path()), 2, "one is held, and one was just asked for");
    assert!(Arc::ptr_eq(&held, &engine.space(&name(1)).unwrap()));
    store(&held, "What is held can be written to");
    drop(held);
    for minute in [30, 60] {
        now.store(minute * MINUTE, Ordering::Relaxed);
        engine.work_off();
    }
    assert_eq!(open_files(folder.path()), 0);
    // Listing wakes none.
    assert_eq!(engine.spaces().unwrap(), [name(0), name(1), name(2)]);
    assert_eq!(engine.summaries().len(), 3);
    for number in [0, 2] {
        let summary = engine.summary(&name(number)).unwrap();
        assert_eq!((summary.memories, summary.data_bytes), (1, summaries[number].data_bytes));
    }
    assert_eq!(open_files(folder.path()), 0);
    for number in [0, 2] {
        let space = engine.space(&name(number)).unwrap();
        assert_eq!(space.dump(), dumps[number]);
        let cue = Cue::text(format!("day{number}"));
        assert_eq!(space.recall(&cue, &RecallOptions::at(engine.now())).unwrap().hits.len(), 1);
    }
    assert_eq!(engine.space(&name(1)).unwrap().count(&Selection::default()).unwrap(), 2);
    assert_eq!(open_files(folder.path()), 3);
    for minute in [90, 120] {
        now.store(minute * MINUTE, Ordering::Relaxed);
        engine.work_off();
    }
    let erased = engine.delete_space(&name(0)).unwrap();
    assert_eq!(
        (erased.summary.memories, engine.spaces().unwrap().len(), engine.summaries().len()),
        (1, 2, 2)
    );
    assert!(engine.summary(&name(0)).is_err());
}

#[test]
fn only_so_many_are_open_and_those_asked_last_stay() {
    let (folder, now) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(0)));
    let engine = open(folder.path(), &now);
    for number in 0..100 {
        now.store(number as i64, Ordering::Relaxed);
        store(&engine.space_or_new(&name(number)).unwrap(), "rain");
        if number > 20 {
            // Asked for all the while, so it stays.
            engine.space(&name(20)).unwrap();
        }
        assert!(open_files(folder.path()) <= 11, "at most a quarter too many");
    }
    engine.work_off();
    assert!(open_files(folder.path()) <= 8);
    let left = open_files(folder.path());
    for number in [20, 99, 98] {
        engine.space(&name(number)).unwrap();
    }
    assert_eq!(open_files(folder.path()), left, "they were open");
    assert_eq!((engine.spaces().unwrap().len(), engine.summaries().len()), (100, 100));
    engine.close().unwrap();
    drop(engine);
    let engine = open(folder.path(), &now);
    assert_eq!((engine.spaces().unwrap().len(), open_files(folder.path())), (100, 0), "starting opens none");
    assert_eq!(engine.largest_spaces(3).unwrap().len(), 3);
}

#[test]
fn writers_that_meet_sleepers_lose_nothing() {
    const SPACES: usize = 12;
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        background_threads: 0,
        spaces_open_max: 2,
        spaces_sleep_after: Duration::ZERO,
        embeds_texts: false,
        ..Options::new(folder.path())
    };
    let engine = Engine::open(options.clone()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let engine = &engine;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(writer);
                for at in 0..60 {
                    let space = engine.space_or_new(&name(random.usize(..SPACES))).unwrap();
                    store(&space, &format!("note {writer} {at}"));
                    drop(space);
                    if random.bool() {
                        engine.work_off();
                    }
                }
            });
        }
    });
    let count = |engine: &Engine| -> usize {
        let spaces = engine.spaces().unwrap();
        spaces.iter().map(|name| engine.space(name).unwrap().count(&Selection::default()).unwrap()).sum()
    };
    assert_eq!(count(&engine), 240);
    drop(engine);
    assert_eq!(count(&Engine::open(options).unwrap()), 240);
}

#[test]
fn one_whose_deletion_failed_stays_awake_and_takes_nothing_in() {
    let (folder, now) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(0)));
    let engine = open(folder.path(), &now);
    fill(&engine, 0..1);
    let dir = folder.path().join("spaces/s0");
    // What is in the way: a folder is not removed as files are.
    std::fs::create_dir(dir.join("mine")).unwrap();
    engine.delete_space(&name(0)).unwrap_err();
    now.store(6 * MINUTE, Ordering::Relaxed);
    engine.work_off();
    assert!(engine.summaries().iter().any(|summary| summary.name == name(0)), "it does not sleep");
    let space = engine.space(&name(0)).unwrap();
    let memory = NewMemory { content: Some("too late".into()), ..NewMemory::default() };
    let refused = space.store(vec![memory], &StoreOptions::default()).unwrap_err();
    assert!(refused.kind() == ErrorKind::Closed && refused.to_string().contains("deletion"), "{refused:?}");
    drop(space);
    let mut left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["DELETED", "mine"], "nothing was written beside its mark");
    std::fs::remove_dir(dir.join("mine")).unwrap();
    engine.delete_space(&name(0)).unwrap();
    assert!(!dir.exists());
}

#[test]
fn a_check_has_one_space_open_at_a_time() {
    let (folder, now) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(0)));
    let engine = open(folder.path(), &now);
    fill(&engine, 0..20);
    engine.close().unwrap();
    let mut looked = 0;
    let checked = engram::check(&Options::new(folder.path()), None, false, &mut |_| {
        assert_eq!(open_files(folder.path()), 0, "of those before");
        looked += 1;
    });
    assert!(checked.unwrap().iter().all(|space| space.is_sound() && space.memories == 1));
    assert_eq!(looked, 20);
}
