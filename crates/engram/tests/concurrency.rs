//! Many threads on one engine with its background threads: what a thread was told is stored, it finds; the rest is as if
//! requests had come one by one.

#![expect(clippy::unwrap_used, reason = "a helper of tests that panics fails the test that called it")]

use engram::{
    Cue, Engine, ErrorKind, Filter, HnswParams, Link, MemoryId, NewMemory, Options, RecallOptions, Selection,
    Space, SpaceName, StoreOptions,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

const WRITERS: usize = 8;
const DIMENSIONS: usize = 16;

fn options(folder: &tempfile::TempDir) -> Options {
    let hnsw = HnswParams { m: 8, ef_construction: 40, ef_search: 40 };
    Options { hnsw, background_threads: 2, ..Options::new(folder.path()) }
}

fn space(engine: &Engine, name: &str) -> Arc<Space> {
    engine.space_or_new(&SpaceName::new(name).unwrap()).unwrap()
}

fn id(text: &str) -> MemoryId {
    MemoryId::new(text).unwrap()
}

fn text(name: &str, content: &str) -> NewMemory {
    NewMemory { id: Some(id(name)), content: Some(content.into()), ..NewMemory::default() }
}

/// A direction like no other.
fn vector(number: usize) -> Vec<f32> {
    let mut random = numbers(number as u64);
    (0..DIMENSIONS).map(|_| random()).collect()
}

/// SplitMix64 as numbers in -1..1.
fn numbers(mut state: u64) -> impl FnMut() -> f32 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = state;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ x >> 31) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn best(space: &Space, engine: &Engine, cue: &Cue) -> Vec<String> {
    let found = space.recall(cue, &RecallOptions::at(engine.now())).unwrap();
    found.hits.iter().map(|hit| hit.memory.id.to_string()).collect()
}

#[test]
fn every_thread_recalls_what_it_has_just_stored() {
    const EACH: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(&folder)).unwrap();
    let notes = space(&engine, "notes");
    let (done, recalls) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (engine, notes) = (&engine, &notes);
                scope.spawn(move || {
                    for number in 0..EACH {
                        let name = format!("w{writer}n{number}");
                        let unique = writer * EACH + number;
                        let memory = NewMemory {
                            embedding: Some(vector(unique)),
                            context: Some(format!("c{}", unique % 30)),
                            ..text(&name, &format!("note {name} about rain"))
                        };
                        notes.store(vec![memory], &StoreOptions::default()).unwrap();
                        let by_text = best(notes, engine, &Cue::text(&name));
                        assert!(by_text.contains(&name), "{name} by text: {by_text:?}");
                        let cue = Cue { embedding: Some(vector(unique)), ..Cue::default() };
                        let by_vector = best(notes, engine, &cue);
                        assert!(by_vector.contains(&name), "{name} by vector: {by_vector:?}");
                        if number % 5 == 4 {
                            let gone = format!("w{writer}n{}", number - 2);
                            notes.delete(&id(&gone)).unwrap();
                            assert!(!best(notes, engine, &Cue::text(&gone)).contains(&gone));
                        }
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    best(&notes, &engine, &Cue::text("rain"));
                    recalls.fetch_add(1, Ordering::Relaxed);
                    thread::yield_now();
                }
            });
        }
        let outcomes: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Release);
        assert!(outcomes.iter().all(Result::is_ok), "a writer failed");
    });
    assert!(recalls.load(Ordering::Relaxed) > 0);
    let left = WRITERS * EACH / 5 * 4;
    assert_eq!(notes.count(&Selection::default()).unwrap(), left);
    let dump = notes.dump();
    engine.close().unwrap();
    drop((engine, notes));
    let engine = Engine::open(options(&folder)).unwrap();
    assert_eq!(space(&engine, "notes").dump(), dump);
}

#[test]
fn concurrent_writers_share_syncs() {
    const EACH: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let syncs = Arc::new(AtomicUsize::new(0));
    let waiting = Arc::new(AtomicUsize::new(0));
    let (count, queued) = (syncs.clone(), waiting.clone());
    // Memory that poses as a disk syncs at once. This makes it as slow as one: the others get time to queue up.
    let observe = move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        for _ in 0..1000 {
            if queued.load(Ordering::Relaxed) == WRITERS {
                break;
            }
            thread::yield_now();
        }
    };
    let engine =
        Engine::open(Options { observe_flush: Some(Arc::new(observe)), ..options(&folder) }).unwrap();
    let notes = space(&engine, "notes");
    notes.store(vec![text("first", "note")], &StoreOptions::default()).unwrap();
    let start = Barrier::new(WRITERS);
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (notes, start, waiting) = (&notes, &start, &waiting);
            scope.spawn(move || {
                start.wait();
                for number in 0..EACH {
                    let memory = text(&format!("w{writer}n{number}"), "note");
                    waiting.fetch_add(1, Ordering::Relaxed);
                    notes.store(vec![memory], &StoreOptions::default()).unwrap();
                    waiting.fetch_sub(1, Ordering::Relaxed);
                }
            });
        }
    });
    let (syncs, writes) = (syncs.load(Ordering::Relaxed), WRITERS * EACH + 1);
    assert_eq!(notes.summary().memories, writes);
    assert!(syncs > 0 && syncs < writes / 2, "{syncs} syncs for {writes} writes");
}

#[test]
fn of_concurrent_stores_of_an_id_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(&folder)).unwrap();
    let notes = space(&engine, "notes");
    for round in 0..20 {
        let name = format!("m{round}");
        let start = Barrier::new(WRITERS);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let spawn = |writer: usize| {
                let (notes, start, name) = (&notes, &start, &name);
                scope.spawn(move || {
                    start.wait();
                    // In every second round all store the same.
                    let content = if round % 2 == 0 { "same".into() } else { format!("from {writer}") };
                    let outcome = notes.store(vec![text(name, &content)], &StoreOptions::default());
                    (content, outcome)
                })
            };
            let threads: Vec<_> = (0..WRITERS).map(spawn).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let kept = notes.get(&id(&name)).unwrap().content.unwrap();
        let won: Vec<&String> =
            outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).map(|(content, _)| content).collect();
        assert_eq!(won.len(), if round % 2 == 0 { WRITERS } else { 1 });
        assert!(won.iter().all(|content| **content == kept));
        let refused = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err());
        assert!(refused.into_iter().all(|error| error.kind() == ErrorKind::Conflict));
    }
    assert_eq!(notes.count(&Selection::default()).unwrap(), 20);
}

#[test]
fn a_key_is_used_once_however_many_ask() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(&folder)).unwrap();
    let notes = space(&engine, "notes");
    let options = StoreOptions { idempotency_key: Some("key".into()), ..StoreOptions::default() };
    let memory = NewMemory { content: Some("note".into()), ..NewMemory::default() };
    let start = Barrier::new(WRITERS);
    let answers: Vec<_> = thread::scope(|scope| {
        let spawn = |_| {
            scope.spawn(|| {
                start.wait();
                notes.store(vec![memory.clone()], &options).unwrap().ids
            })
        };
        let threads: Vec<_> = (0..WRITERS).map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|ids| *ids == answers[0]), "{answers:?}");
    assert_eq!(notes.count(&Selection::default()).unwrap(), 1);
}

#[test]
fn the_first_vector_settles_the_dimension_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(options(&folder)).unwrap();
    for round in 0..10 {
        let notes = space(&engine, &format!("s{round}"));
        let start = Barrier::new(WRITERS);
        let outcomes: Vec<_> = thread::scope(|scope| {
            let spawn = |writer: usize| {
                let (notes, start) = (&notes, &start);
                scope.spawn(move || {
                    let embedding = Some(vec![1.0; 2 + writer]);
                    let memory = NewMemory { embedding, ..text(&format!("m{writer}"), "note") };
                    start.wait();
                    notes.store(vec![memory], &StoreOptions::default())
                })
            };
            let threads: Vec<_> = (0..WRITERS).map(spawn).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(
                error.to_string().contains("dimensions") || error.to_string().contains("numbers"),
                "{error}"
            );
        }
        assert_eq!(notes.list(&Filter::default(), None, 10).unwrap().memories.len(), 1);
    }
}

/// Checkpoints are written while requests go on; what they leave must be what was acknowledged.
#[test]
fn checkpoints_beside_writers_lose_nothing() {
    const EACH: usize = 80;
    let folder = tempfile::tempdir().unwrap();
    let small = || Options { checkpoint_bytes: 2000, segment_bytes_max: 3000, ..options(&folder) };
    let engine = Engine::open(small()).unwrap();
    let notes = space(&engine, "notes");
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let notes = &notes;
            scope.spawn(move || {
                let replace = StoreOptions { replace: true, ..StoreOptions::default() };
                for number in 0..EACH {
                    let name = format!("w{writer}n{}", number % 7);
                    let link = |to: usize| Link {
                        to: id(&format!("w{}n{to}", (writer + 1) % WRITERS)),
                        kind: "next".into(),
                        weight: 0.5,
                    };
                    let memory = NewMemory {
                        embedding: Some(vector(number)),
                        ..text(&name, &format!("note {number} of {writer}"))
                    };
                    notes.store(vec![memory], &replace).unwrap();
                    notes.link(&id(&name), link(number % 5)).unwrap();
                    match number % 6 {
                        3 => drop(notes.delete(&id(&name)).unwrap()),
                        5 => {
                            notes.unlink(&id(&name), &link(number % 5).to, "next").unwrap();
                        }
                        _ => {}
                    }
                }
            });
        }
    });
    let dump = notes.dump();
    // No `close`: what is read again is a checkpoint that was written beside writers, and the log after it.
    drop((engine, notes));
    let files = std::fs::read_dir(folder.path().join("spaces/notes")).unwrap();
    let names: Vec<String> =
        files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect();
    assert!(names.iter().any(|name| name.ends_with(".ckpt")), "no checkpoint was written: {names:?}");
    let engine = Engine::open(small()).unwrap();
    assert_eq!(space(&engine, "notes").dump(), dump);
}

/// A deleted space stays deleted, and one made anew keeps what it acknowledged, whatever runs beside.
#[test]
fn deletions_beside_writers_and_checkpoints_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let small = || Options { checkpoint_bytes: 300, segment_bytes_max: 500, ..options(&folder) };
    let engine = Engine::open(small()).unwrap();
    let name = SpaceName::new("notes").unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (engine, name) = (&engine, &name);
            scope.spawn(move || {
                for number in 0..60 {
                    let memory = text(&format!("t{thread}n{number}"), "note");
                    let stored =
                        engine.space_or_new(name).unwrap().store(vec![memory], &StoreOptions::default());
                    if let Err(error) = stored {
                        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                    }
                    if number % 10 == 9
                        && let Err(error) = engine.delete_space(name)
                    {
                        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                    }
                }
            });
        }
    });
    // The last word is a deletion, then a store.
    if engine.space(&name).is_ok() {
        engine.delete_space(&name).unwrap();
    }
    engine.work_off();
    assert!(engine.spaces().unwrap().is_empty());
    assert!(!folder.path().join("spaces/notes").exists());
    let notes = space(&engine, "notes");
    notes.store(vec![text("last", "note")], &StoreOptions::default()).unwrap();
    engine.close().unwrap();
    drop((engine, notes));
    let engine = Engine::open(small()).unwrap();
    assert_eq!(space(&engine, "notes").count(&Selection::default()).unwrap(), 1);
}
