//! The log's settings, and a disk that is full: on a faulty disk in memory, and on a small real one.

#![expect(clippy::unwrap_used, reason = "a helper of tests that panics fails the test that called it")]

use engram::config::{Config, Machine};
use engram::{
    Cue, Engine, ErrorKind, FaultyVfs, NewMemory, Options, RecallOptions, Selection, Space, SpaceName,
    StoreOptions, SyncMode, Vfs,
};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn options(vfs: &FaultyVfs) -> Options {
    Options { vfs: Arc::new(vfs.clone()), background_threads: 0, embeds_texts: false, ..Options::new("data") }
}

fn space(engine: &Engine, name: &str) -> Arc<Space> {
    engine.space_or_new(&SpaceName::new(name).unwrap()).unwrap()
}

fn text(number: usize, bytes: usize) -> NewMemory {
    let content = format!("note number{number} about rain in Bath {}", "x".repeat(bytes));
    NewMemory { content: Some(content), ..NewMemory::default() }
}

fn store(space: &Arc<Space>, number: usize, bytes: usize) -> Result<(), engram::Error> {
    space.store(vec![text(number, bytes)], &StoreOptions::default()).map(|_| ())
}

fn count(space: &Space) -> usize {
    space.count(&Selection::default()).unwrap()
}

fn recalls(engine: &Engine, space: &Space, number: usize) -> bool {
    let found =
        space.recall(&Cue::text(format!("number{number}")), &RecallOptions::at(engine.now())).unwrap();
    found
        .hits
        .first()
        .is_some_and(|hit| hit.memory.content.as_ref().unwrap().contains(&format!("number{number} ")))
}

#[test]
fn settings_of_the_log_reach_the_engine() {
    let machine = Machine::detect();
    let mut loaded = Config::load(Some("/dev/null".as_ref()), std::iter::empty(), machine).unwrap();
    for (key, value) in [("wal.buffer_size_mb", "7"), ("wal.use_direct_io", "true")] {
        loaded.set("--flag", key, value).unwrap();
    }
    assert_eq!(loaded.notices(), [""; 0]);
    let options = Options::from_config(&loaded.config().unwrap()).unwrap();
    assert_eq!((options.log_buffer_bytes, options.log_direct_io), (7 << 20, true));
}

#[test]
fn no_more_waits_for_the_disk_than_the_buffer_holds() {
    const BUFFER_BYTES: u64 = 20_000;
    let mut lost = 0;
    for stored in 60..100 {
        let vfs = FaultyVfs::new(stored as u64);
        let options = Options { sync: SyncMode::None, log_buffer_bytes: BUFFER_BYTES, ..options(&vfs) };
        let engine = Engine::open(options.clone()).unwrap();
        let spaces = ["a", "b", "c"].map(|name| space(&engine, name));
        // All three are there, and a is asked last long before the buffer is full: what waits of it is synced, too.
        for number in 0..stored {
            store(&spaces[number % if number < 10 { 3 } else { 2 }], number, 1000).unwrap();
        }
        vfs.restart();
        drop((spaces, engine));
        let engine = Engine::open(options).unwrap();
        let left: usize = ["a", "b", "c"].map(|name| count(&space(&engine, name))).iter().sum();
        assert!(((stored - left) * 1000) as u64 <= BUFFER_BYTES, "{left} of {stored} survived a power cut");
        lost += stored - left;
    }
    assert!(lost > 50, "{lost}: some did wait");
}

#[test]
fn without_a_bound_in_reach_nothing_is_synced_in_mode_none() {
    let vfs = FaultyVfs::new(1);
    let engine = Engine::open(Options { sync: SyncMode::None, ..options(&vfs) }).unwrap();
    let notes = space(&engine, "notes");
    store(&notes, 0, 10).unwrap();
    let syncs = vfs.syncs();
    (1..100).for_each(|number| store(&notes, number, 1000).unwrap());
    assert_eq!(vfs.syncs(), syncs);
}

#[test]
fn in_mode_always_the_buffer_bounds_what_shares_a_sync() {
    const WRITERS: usize = 16;
    let vfs = FaultyVfs::new(1);
    let engine = Engine::open(Options { log_buffer_bytes: 1, ..options(&vfs) }).unwrap();
    let notes = space(&engine, "notes");
    store(&notes, 0, 10).unwrap();
    let syncs = vfs.syncs();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let notes = &notes;
            scope.spawn(move || (0..20).for_each(|at| store(notes, 100 * writer + at, 10).unwrap()));
        }
    });
    assert_eq!(vfs.syncs() - syncs, 20 * WRITERS as u64, "one request a sync");
}

/// What a full disk must do, whatever the disk is. `fill` leaves no room, `free` gives some back.
fn fill_and_free(options: Options, fill: impl Fn(), free: impl Fn()) {
    let engine = Engine::open(options.clone()).unwrap();
    let (notes, other) = (space(&engine, "notes"), space(&engine, "other"));
    let mut number = 0;
    store(&other, 0, 1000).unwrap();
    while number < 50 {
        store(&notes, number, 1000).unwrap();
        number += 1;
    }
    fill();
    // What was allocated ahead is used up first.
    let refused = loop {
        match store(&notes, number, 1000) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
        assert!(number < 10_000, "the disk is never full");
        engine.work_off();
    };
    assert_eq!(refused.kind(), ErrorKind::Full);
    let message = refused.to_string();
    assert!(
        message.contains("the disk is full") && message.ends_with("free space and try again"),
        "{message}"
    );
    let written = message.starts_with("cannot write ") && message.contains(" bytes to ");
    assert!(written || message.starts_with("cannot create "), "{message}");
    for _ in 0..3 {
        assert_eq!(store(&notes, number, 1000).unwrap_err().kind(), ErrorKind::Full, "still full");
        assert!(recalls(&engine, &notes, number - 1) && !recalls(&engine, &notes, number));
        engine.work_off();
    }
    let dump = notes.dump();
    free();
    assert_eq!(notes.dump(), dump);
    for _ in 0..20 {
        store(&notes, number, 1000).unwrap();
        number += 1;
        engine.work_off();
    }
    let dump = notes.dump();
    engine.close().unwrap();
    drop((notes, other, engine));
    let engine = Engine::open(options).unwrap();
    let notes = space(&engine, "notes");
    assert_eq!((count(&notes), count(&space(&engine, "other"))), (number, 1));
    assert_eq!(notes.dump(), dump);
    assert!(recalls(&engine, &notes, 0) && recalls(&engine, &notes, number - 1));
}

#[test]
fn a_full_disk_refuses_writes_and_is_used_again_when_space_is_freed() {
    // So that appending, a new log file and a checkpoint each are what finds the disk full.
    for (segment_bytes_max, checkpoint_bytes) in
        [(64 << 20, 64 << 20), (10_000, 64 << 20), (20_000, 30_000), (64 << 20, 50_000)]
    {
        for room in [0, 700, 5000, 30_000] {
            let vfs = FaultyVfs::new(room);
            let options = Options { segment_bytes_max, checkpoint_bytes, ..options(&vfs) };
            let fill = || vfs.set_capacity_bytes(Some(used(&vfs) + room));
            fill_and_free(options, fill, || vfs.set_capacity_bytes(Some(used(&vfs) + 1_000_000)));
        }
    }
}

fn used(vfs: &FaultyVfs) -> u64 {
    let folders = ["data/spaces/notes", "data/spaces/other"].map(Path::new);
    let sizes = folders.iter().filter(|folder| vfs.exists(folder).unwrap()).flat_map(|folder| {
        let names = vfs.list(folder).unwrap();
        names.into_iter().map(|name| vfs.size(&folder.join(name)).unwrap_or(0))
    });
    sizes.sum()
}

#[test]
fn another_space_that_is_deleted_makes_room() {
    let vfs = FaultyVfs::new(1);
    let engine = Engine::open(options(&vfs)).unwrap();
    let (notes, other) = (space(&engine, "notes"), space(&engine, "other"));
    store(&notes, 0, 10).unwrap();
    store(&other, 0, 60_000).unwrap();
    vfs.set_capacity_bytes(Some(used(&vfs)));
    assert_eq!(store(&notes, 1, 20_000).unwrap_err().kind(), ErrorKind::Full);
    engine.delete_space(&SpaceName::new("other").unwrap()).unwrap();
    store(&notes, 1, 20_000).unwrap();
    assert!(recalls(&engine, &notes, 1));
}

#[test]
fn a_checkpoint_that_failed_is_tried_again_when_the_log_has_grown_by_as_much() {
    let vfs = FaultyVfs::new(1);
    let engine = Engine::open(Options { checkpoint_bytes: 100_000, ..options(&vfs) }).unwrap();
    let notes = space(&engine, "notes");
    (0..101).for_each(|number| store(&notes, number, 1000).unwrap());
    vfs.set_capacity_bytes(Some(used(&vfs) + 50_000));
    engine.work_off();
    vfs.set_capacity_bytes(None);
    let checkpoints = || {
        let files = vfs.list(Path::new("data/spaces/notes")).unwrap();
        files.iter().filter(|file| file.starts_with("checkpoint-")).count()
    };
    (101..190).for_each(|number| {
        store(&notes, number, 1000).unwrap();
        engine.work_off();
        assert_eq!(checkpoints(), 0, "after {number}");
    });
    (190..210).for_each(|number| store(&notes, number, 1000).unwrap());
    engine.work_off();
    assert_eq!(checkpoints(), 1);
}

/// A small disk, until it is dropped.
struct Mount<'a>(&'a Path);

impl Mount<'_> {
    fn new(folder: &Path) -> Option<Mount<'_>> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "engram-test"]).arg(folder);
        mount.output().is_ok_and(|output| output.status.success()).then_some(Mount(folder))
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg(self.0).status().unwrap();
    }
}

#[test]
fn a_real_disk_that_is_full_behaves_so_too() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mount) = Mount::new(folder.path()) else {
        println!("skipped: only root may mount a small disk");
        return;
    };
    for (segment_bytes_max, checkpoint_bytes, log_direct_io) in
        [(64 << 20, 64 << 20, false), (100_000, 64 << 20, true), (100_000, 200_000, false)]
    {
        let ballast = folder.path().join("ballast");
        let options = Options {
            segment_bytes_max,
            checkpoint_bytes,
            log_direct_io,
            background_threads: 0,
            embeds_texts: false,
            ..Options::new(folder.path().join("data"))
        };
        let fill = || {
            // Leaves some, so that it is stores that fill the rest.
            std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
        };
        fill_and_free(options, fill, || std::fs::remove_file(&ballast).unwrap());
        std::fs::remove_dir_all(folder.path().join("data")).unwrap();
    }
    drop(mount);
}
