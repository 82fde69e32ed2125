//! Wherever payloads lie, nothing is lost, and what cannot be read is said.

#![expect(clippy::unwrap_used, reason = "a helper of tests that panics fails the test that called it")]

use engram::clock::Stopwatch;
use engram::{
    Blank, ColdOptions, ColdStore, CompleteOptions, Cue, Embedder, Engine, ErrorKind, Filter, Memory,
    MemoryId, NewMemory, Options, Pattern, RecallOptions, Selection, Space, SpaceName, StoreOptions, Tier,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const MEMORIES: usize = 300;
const DIMENSIONS: usize = 32;
const PAYLOAD_BYTES: u64 = 4 * DIMENSIONS as u64 + 40;

/// Room in memory for a tenth, on disk for another fifth.
fn options(data_dir: &Path, cold: Option<&Path>) -> Options {
    let store = |folder: &Path| {
        let endpoint = format!("file://{}", folder.display());
        let patience = Duration::from_secs(5);
        Arc::new(ColdStore::open(ColdOptions { endpoint, patience, ..ColdOptions::default() }).unwrap())
    };
    Options {
        background_threads: 0,
        hot_bytes_max: PAYLOAD_BYTES * MEMORIES as u64 / 10,
        warm_bytes_max: PAYLOAD_BYTES * MEMORIES as u64 / 5,
        settled_bytes_min: 1,
        cold: cold.map(store),
        retry_after: Duration::from_millis(100),
        ..Options::new(data_dir)
    }
}

fn open(options: Options) -> (Engine, Arc<Space>) {
    let engine = Engine::open(options).unwrap();
    let space = engine.space_or_new(&SpaceName::new("diary").unwrap()).unwrap();
    (engine, space)
}

fn id(at: usize) -> MemoryId {
    MemoryId::new(&format!("m{at:04}")).unwrap()
}

fn memory(at: usize) -> NewMemory {
    let mut rng = fastrand::Rng::with_seed(at as u64);
    NewMemory {
        id: Some(id(at)),
        content: Some(format!("On day {at} it rained in Bath, for {} hours", at % 24)),
        embedding: Some((0..DIMENSIONS).map(|_| rng.f32() - 0.5).collect()),
        context: Some(format!("c{}", at % 7)),
        metadata: serde_json::json!({"day": at}).as_object().cloned(),
        ..NewMemory::default()
    }
}

fn filled(options: Options) -> (Engine, Arc<Space>) {
    let (engine, space) = open(options);
    for some in (0..MEMORIES).collect::<Vec<_>>().chunks(50) {
        space.store(some.iter().map(|&at| memory(at)).collect(), &StoreOptions::default()).unwrap();
        engine.work_off();
    }
    (engine, space)
}

fn check(space: &Space, at: usize) {
    let found = space.get(&id(at)).unwrap();
    let expected = memory(at).complete(id(at), found.stored_at);
    assert_eq!(found, Memory { occurred_at: found.occurred_at, ..expected }, "memory {at}");
}

/// Asks until it is so, for ten seconds at most.
fn soon(mut is_so: impl FnMut() -> bool) {
    let watch = Stopwatch::start();
    while !is_so() {
        assert!(watch.elapsed() < Duration::from_secs(10), "it is not so after ten seconds");
        std::thread::yield_now();
    }
}

fn recall(space: &Space, at: usize) -> engram::Recalled {
    let cue = Cue { embedding: memory(at).embedding, ..Cue::default() };
    space.recall(&cue, &RecallOptions::at(engram::Timestamp(0))).unwrap()
}

#[test]
fn memories_are_the_same_in_every_tier_and_after_a_restart() {
    let (data, cold) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (engine, space) = filled(options(data.path(), Some(cold.path())));
    let [hot, warm, away] = space.summary().tiers;
    assert_eq!(hot + warm + away, MEMORIES);
    assert!((10..=30).contains(&hot) && (30..=60).contains(&warm) && away > 200, "{hot} {warm} {away}");
    let twin_dir = tempfile::tempdir().unwrap();
    let (_twin, twin) = filled(Options { background_threads: 0, ..Options::new(twin_dir.path()) });
    let (mut tiers, mut same) = ([0; 3], 0);
    for at in 0..MEMORIES {
        let (found, expected) = (recall(&space, at), recall(&twin, at));
        let first = &found.hits[0];
        assert_eq!(first.memory.content, memory(at).content);
        assert_eq!(first.memory.embedding, memory(at).embedding);
        tiers[first.tier as usize] += 1;
        let ids = |recalled: &engram::Recalled| {
            recalled.hits.iter().map(|hit| hit.memory.id.clone()).collect::<Vec<_>>()
        };
        let known = ids(&expected);
        same += ids(&found).iter().filter(|id| known.contains(id)).count();
    }
    assert!(tiers.iter().all(|&hits| hits > 0), "{tiers:?}");
    assert!(same * 100 >= 98 * 10 * MEMORIES, "{same} of {} hits", 10 * MEMORIES);
    engine.work_off();
    (0..MEMORIES).for_each(|at| check(&space, at));
    let dump = space.dump();
    engine.close().unwrap();
    let (engine, space) = open(options(data.path(), Some(cold.path())));
    assert_eq!(space.dump(), dump);
    (0..MEMORIES).rev().for_each(|at| check(&space, at));
    drop((engine, space));
    // Not closed: the log says where payloads are.
    let (_engine, space) = open(options(data.path(), Some(cold.path())));
    assert_eq!(space.dump(), dump);
    (0..MEMORIES).for_each(|at| check(&space, at));
}

/// Payloads move all the while: up as they are asked for, down as others come, and out of files that are mostly empty.
#[test]
fn recalls_find_every_payload_while_payloads_move() {
    let (data, cold) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (engine, space) = open(options(data.path(), Some(cold.path())));
    // A turn for some at a time makes many small files.
    for some in (0..MEMORIES).collect::<Vec<_>>().chunks(10) {
        space.store(some.iter().map(|&at| memory(at)).collect(), &StoreOptions::default()).unwrap();
        engine.work_off();
    }
    let (begun, ended) = (space.cold_files(), AtomicBool::new(false));
    let gone = || {
        let now = space.cold_files();
        begun.iter().filter(|(name, _)| now.iter().all(|(other, _)| other != name)).count()
    };
    std::thread::scope(|scope| {
        let recalls = |seed| {
            let (space, gone) = (&space, &gone);
            move || {
                let mut random = fastrand::Rng::with_seed(seed);
                for round in 0..20_000 {
                    // Until much has moved.
                    if round % 400 == 399 && gone() > 5 {
                        break;
                    }
                    let at = random.usize(..MEMORIES);
                    let found = recall(space, at);
                    assert_eq!(found.hits[0].memory.id, id(at));
                    for hit in &found.hits {
                        let at = hit.memory.metadata["day"].as_u64().unwrap() as usize;
                        let payload = (&hit.memory.content, &hit.memory.embedding);
                        assert_eq!(payload, (&memory(at).content, &memory(at).embedding), "{at}");
                    }
                }
            }
        };
        let recalling = [1, 2, 3].map(|seed| scope.spawn(recalls(seed)));
        let (engine, space, ended) = (&engine, &space, &ended);
        scope.spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                engine.work_off();
            }
        });
        // Versions that take the place of others empty files, too.
        scope.spawn(move || {
            let mut random = fastrand::Rng::with_seed(4);
            while !ended.load(Ordering::Relaxed) {
                let at = random.usize(..MEMORIES);
                let patch = NewMemory { confidence: Some(random.f32()), ..NewMemory::default() };
                // Also where its payload has moved between the look and the decision.
                let patched = space.patch(&id(at), patch).unwrap();
                assert_eq!(patched.content, memory(at).content);
            }
        });
        let failed = recalling.map(|thread| thread.join().is_err());
        ended.store(true, Ordering::Relaxed);
        assert_eq!(failed, [false; 3]);
    });
    assert!(gone() > 5, "{} files of {}", gone(), begun.len());
}

/// Bytes of this process that are mapped to files of a folder.
#[cfg(target_os = "linux")]
fn mapped_bytes(folder: &Path) -> u64 {
    let number = |hex: &str| u64::from_str_radix(hex, 16).unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let lines = maps.lines().filter(|line| line.contains(folder.to_str().unwrap()));
    let range = |line: &str| {
        let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        number(to) - number(from)
    };
    lines.map(range).sum()
}

#[cfg(target_os = "linux")]
#[test]
fn hot_vectors_lie_in_the_folder_that_is_named() {
    let (data, twin_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let shm = Path::new("/dev/shm");
    let fast = tempfile::tempdir_in(if shm.is_dir() { shm } else { data.path() }).unwrap();
    let left = fast.path().join("engram-1-0.hot");
    std::fs::write(&left, "").unwrap();
    let plain = |dir: &Path| Options { background_threads: 0, settled_bytes_min: 1, ..Options::new(dir) };
    let on_fast = || Options { hot_dir: Some(fast.path().into()), ..plain(data.path()) };
    let (engine, space) = filled(on_fast());
    let (_twin, twin) = filled(plain(twin_dir.path()));
    let row_bytes = 4 * DIMENSIONS as u64;
    let (least, most) = (row_bytes * MEMORIES as u64, row_bytes * 2 * MEMORIES as u64);
    assert!((least..=most).contains(&mapped_bytes(fast.path())), "{}", mapped_bytes(fast.path()));
    let is_empty = || std::fs::read_dir(fast.path()).unwrap().next().is_none();
    assert!(is_empty(), "not even what a crash left is there");
    for at in 0..MEMORIES {
        check(&space, at);
        assert_eq!(recall(&space, at).hits[0].memory.embedding, recall(&twin, at).hits[0].memory.embedding);
    }
    engine.close().unwrap();
    drop((engine, space));
    assert_eq!(mapped_bytes(fast.path()), 0);
    let (engine, space) = open(on_fast());
    (0..MEMORIES).for_each(|at| check(&space, at));
    assert!((least..=most).contains(&mapped_bytes(fast.path())) && is_empty());
    // What finds no room there lies elsewhere, and nobody notices.
    let path = fast.path().to_path_buf();
    fast.close().unwrap();
    for some in (MEMORIES..2 * MEMORIES).collect::<Vec<_>>().chunks(100) {
        space.store(some.iter().map(|&at| memory(at)).collect(), &StoreOptions::default()).unwrap();
    }
    engine.work_off();
    (0..2 * MEMORIES).for_each(|at| check(&space, at));
    assert_eq!(mapped_bytes(&path), 0);
    drop((engine, space));
    let file = data.path().join("a file");
    std::fs::write(&file, "").unwrap();
    for folder in [path, file, "/proc".into()] {
        let error = Engine::open(Options { hot_dir: Some(folder), ..plain(data.path()) }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("mount -t tmpfs"), "{error}");
    }
}

#[test]
fn what_is_fetched_often_is_hot() {
    let (data, cold) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (engine, space) = filled(options(data.path(), Some(cold.path())));
    let popular = [3, 77, 150, 299];
    for _ in 0..5 {
        popular.iter().for_each(|&at| check(&space, at));
        engine.work_off();
    }
    let tier = |at: usize| recall(&space, at).hits[0].tier;
    assert!(popular.iter().all(|&at| tier(at) == Tier::Hot), "{:?}", popular.map(tier));
    engine.close().unwrap();
    let (_engine, space) = open(options(data.path(), Some(cold.path())));
    let tier = |at: usize| recall(&space, at).hits[0].tier;
    assert!(popular.iter().all(|&at| tier(at) == Tier::Hot), "also after a restart: {:?}", popular.map(tier));
}

#[test]
fn a_cold_tier_that_is_away_is_said_and_costs_nothing_else() {
    let (data, cold) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = cold.path().join("objects");
    let (engine, space) = filled(options(data.path(), Some(&folder)));
    let aside = cold.path().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    let (mut whole, mut without) = (0, 0);
    for at in 0..MEMORIES {
        let found = recall(&space, at);
        let hit = &found.hits[0];
        assert_eq!(hit.memory.id, id(at));
        match (&hit.memory.content, hit.tier) {
            (Some(_), Tier::Hot | Tier::Warm) => whole += 1,
            (None, Tier::Cold) => without += usize::from(found.truncated),
            other => panic!("{other:?}"),
        }
    }
    assert!(whole > 40 && without > 200, "{whole} {without}");
    let error = (0..MEMORIES).find_map(|at| space.get(&id(at)).err()).unwrap();
    assert!(matches!(error.kind(), ErrorKind::Busy | ErrorKind::Corrupt), "{error}");
    // Stores and deletions go on.
    for at in MEMORIES..MEMORIES + 50 {
        space.store(vec![memory(at)], &StoreOptions::default()).unwrap();
    }
    engine.work_off();
    for at in 0..20 {
        space.delete(&id(at)).unwrap();
    }
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    let cold = (20..MEMORIES).find(|&at| recall(&space, at).hits[0].tier == Tier::Cold).unwrap();
    // Left alone for a moment.
    soon(|| space.get(&id(cold)).is_ok());
    engine.work_off();
    (20..MEMORIES + 50).for_each(|at| check(&space, at));
    assert_eq!(space.summary().memories, MEMORIES + 30);
}

#[test]
fn what_is_cold_is_changed_and_deleted_as_anything_is() {
    let (data, cold) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (engine, space) = filled(options(data.path(), Some(cold.path())));
    for at in 0..MEMORIES {
        match at % 3 {
            0 => {
                space.delete(&id(at)).unwrap();
            }
            1 => {
                let patch = NewMemory { confidence: Some(0.5), ..NewMemory::default() };
                let patched = space.patch(&id(at), patch).unwrap();
                assert_eq!((patched.content, patched.confidence), (memory(at).content, 0.5));
            }
            _ => {
                // The same again changes nothing, whatever tier it is in.
                let before = space.summary().position;
                space.store(vec![memory(at)], &StoreOptions::default()).unwrap();
                assert_eq!(space.summary().position, before);
            }
        }
    }
    engine.work_off();
    assert_eq!(space.summary().memories, 200);
    engine.close().unwrap();
    let (engine, space) = open(options(data.path(), Some(cold.path())));
    (0..MEMORIES).filter(|at| at % 3 == 2).for_each(|at| check(&space, at));
    let all = Selection { ids: None, ..Selection::default() };
    space.delete_matching(&all).unwrap();
    engine.work_off();
    engine.close().unwrap();
    let files = |folder: &Path| {
        let names = std::fs::read_dir(folder).map(|all| all.map(|one| one.unwrap().file_name()).collect());
        names.unwrap_or_else(|_| Vec::new())
    };
    let segments = files(&data.path().join("spaces/diary"));
    assert!(!segments.iter().any(|name| name.to_string_lossy().ends_with(".seg")), "{segments:?}");
    assert_eq!(files(&cold.path().join("diary")), Vec::<std::ffi::OsString>::new());
}

#[test]
fn a_deleted_space_leaves_nothing_behind() {
    let (data, cold) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (engine, space) = filled(options(data.path(), Some(cold.path())));
    let objects = || std::fs::read_dir(cold.path().join("diary")).map_or(0, Iterator::count);
    assert!(objects() > 0 && space.summary().tiers[Tier::Cold as usize] > 0);
    engine.delete_space(space.name()).unwrap();
    assert_eq!(objects(), 0);
    assert!(!data.path().join("spaces/diary").exists());
}

#[test]
fn a_space_is_deleted_while_the_cold_tier_is_away_and_its_files_after() {
    let (data, cold) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (folder, aside) = (cold.path().join("objects"), cold.path().join("aside"));
    let (engine, space) = filled(options(data.path(), Some(&folder)));
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    engine.delete_space(space.name()).unwrap();
    assert!(!data.path().join("spaces/diary").exists());
    let objects = |folder: &Path| std::fs::read_dir(folder.join("diary")).map_or(0, Iterator::count);
    assert!(objects(&aside) > 0);
    // One of the same name keeps its own.
    let (id, memory) = (id(0), memory(0));
    let space = engine.space_or_new(&SpaceName::new("diary").unwrap()).unwrap();
    space.store(vec![memory], &StoreOptions::default()).unwrap();
    engine.close().unwrap();
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    let (_engine, space) = open(options(data.path(), Some(&folder)));
    assert_eq!(objects(&folder), 0);
    space.get(&id).unwrap();
}

#[test]
fn texts_that_are_embedded_here_move_too() {
    let (data, cold) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let small =
        |cold| Options { hot_bytes_max: 4000, warm_bytes_max: 4000, ..options(data.path(), Some(cold)) };
    let (engine, space) = open(small(cold.path()));
    for at in 0..60 {
        let memory = NewMemory { embedding: None, ..memory(at) };
        space.store(vec![memory], &StoreOptions::default()).unwrap();
        engine.work_off();
    }
    assert_eq!(space.settings().embedder, Some(Embedder::BUILTIN));
    assert!(space.summary().tiers.iter().all(|&memories| memories > 0), "{:?}", space.summary().tiers);
    // Their vectors are derived, and nothing that a completion would have to wait for.
    let day = Pattern {
        content: Blank::Given("On day 7 it rained in Bath".into()),
        metadata: Blank::Wanted,
        ..Pattern::default()
    };
    let completed = space.complete(&day, &CompleteOptions::at(engine.now())).unwrap();
    assert!(completed.completed.iter().any(|part| part.sources.contains(&id(7))), "{completed:?}");
    engine.work_off();
    let dump = space.dump();
    engine.close().unwrap();
    let (_engine, space) = open(small(cold.path()));
    assert_eq!(space.dump(), dump);
    for at in 0..60 {
        assert_eq!(space.get(&id(at)).unwrap().content, memory(at).content);
    }
}

#[test]
fn what_was_fetched_before_a_restart_leaves_the_disk_last() {
    let (data, cold) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let without_memory = |warm_bytes_max| Options {
        hot_bytes_max: 0,
        warm_bytes_max,
        ..options(data.path(), Some(cold.path()))
    };
    let (engine, space) = filled(without_memory(u64::MAX));
    let popular = |at: &usize| at % 3 == 1;
    (0..3).for_each(|_| (0..MEMORIES).filter(popular).for_each(|at| check(&space, at)));
    engine.work_off();
    assert_eq!(space.summary().tiers, [0, MEMORIES, 0]);
    engine.close().unwrap();
    let (engine, space) = open(without_memory(PAYLOAD_BYTES * MEMORIES as u64 / 2));
    engine.work_off();
    let tiers: Vec<Tier> = (0..MEMORIES).map(|at| recall(&space, at).hits[0].tier).collect();
    assert!((0..MEMORIES).filter(popular).all(|at| tiers[at] == Tier::Warm), "{tiers:?}");
    assert!(tiers.contains(&Tier::Cold), "{tiers:?}");
}

/// A concept of memories about rain and another about tea, five sources each, all of them cold.
fn with_cold_concepts(options: Options) -> (Engine, Arc<Space>) {
    let (engine, space) = open(options);
    let memory = |at: usize| {
        let along = |axis: usize| if axis == at % 2 { 2.0 } else { 0.01 * (at + axis) as f32 };
        let text = ["Anna walked in the rain", "We had tea at the station"][at % 2];
        NewMemory {
            id: Some(id(at)),
            content: Some(format!("{text}, {at}")),
            embedding: Some((0..3).map(along).collect()),
            ..NewMemory::default()
        }
    };
    space.store((0..10).map(memory).collect(), &StoreOptions::default()).unwrap();
    space.consolidate(false, |_| true).unwrap();
    engine.work_off();
    let summary = space.summary();
    assert_eq!((summary.memories, summary.tiers[Tier::Cold as usize]), (12, 10), "{summary:?}");
    (engine, space)
}

/// The source that a concept speaks by.
fn medoid(concept: &Memory) -> MemoryId {
    MemoryId::new(concept.metadata["consolidated"]["medoid"].as_str().unwrap()).unwrap()
}

fn concepts(space: &Space) -> Vec<Memory> {
    let all = space.list(&Filter::default(), None, 100).unwrap().memories;
    all.into_iter().filter(|memory| memory.metadata.contains_key("consolidated")).collect()
}

#[test]
fn a_concept_of_cold_sources_says_what_one_of_them_says() {
    let (data, cold) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let nothing_here =
        Options { hot_bytes_max: 0, warm_bytes_max: 0, ..options(data.path(), Some(cold.path())) };
    let (engine, space) = with_cold_concepts(nothing_here);
    let before = concepts(&space);
    for concept in &before {
        assert_eq!(concept.content, space.get(&medoid(concept)).unwrap().content);
        let other = concept.links.iter().map(|link| &link.to).find(|id| **id != medoid(concept));
        space.delete(other.unwrap()).unwrap();
    }
    let after = concepts(&space);
    let words = |concepts: &[Memory]| concepts.iter().map(|one| one.content.clone()).collect::<Vec<_>>();
    assert_eq!(words(&after), words(&before), "their medoids are still there, though nowhere near");
    assert!(after.iter().all(|concept| concept.links.len() == 4), "{after:?}");
    // Nothing that was deleted is said. What is said instead is fetched by the next consolidation.
    space.delete(&medoid(&after[0])).unwrap();
    assert_eq!(concepts(&space).iter().filter(|concept| concept.content.is_none()).count(), 1);
    engine.work_off();
    space.consolidate(false, |_| true).unwrap();
    for concept in concepts(&space) {
        assert!(concept.content.is_some() && concept.content != after[0].content, "{concept:?}");
        assert_eq!(concept.content, space.get(&medoid(&concept)).unwrap().content);
    }
}

#[test]
fn a_concept_of_cold_sources_does_not_say_what_one_of_them_said() {
    let (data, cold) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let nothing_here =
        Options { hot_bytes_max: 0, warm_bytes_max: 0, ..options(data.path(), Some(cold.path())) };
    let (_engine, space) = with_cold_concepts(nothing_here);
    for before in concepts(&space) {
        let mut embedding = space.get(&medoid(&before)).unwrap().embedding.unwrap();
        embedding[2] += 0.001;
        let without_words =
            NewMemory { id: Some(medoid(&before)), embedding: Some(embedding), ..NewMemory::default() };
        space.store(vec![without_words], &StoreOptions { replace: true, ..StoreOptions::default() }).unwrap();
        let after = space.get(&before.id).unwrap();
        assert_ne!(after.content, before.content, "{after:?}");
    }
}
