//! Cold files through the public API: what goes in comes out, in every codec; every bit that turns is noticed; and a
//! store that fails, loses answers or answers twice loses nothing.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use engram_storage::Error;
use engram_storage::cold::{
    ColdOptions, ColdRow, ColdStore, Compression, Fault, FaultyObjects, MULTIPART_BYTES,
};
use object_store::ObjectStore;
use object_store::memory::InMemory;

const NAME: &str = "notes/cold-00000000000000000007.parquet";

fn options() -> ColdOptions {
    ColdOptions { endpoint: "memory".into(), ..ColdOptions::default() }
}

fn over(objects: Arc<dyn ObjectStore>) -> ColdStore {
    ColdStore::with_store(objects, options()).unwrap()
}

fn in_memory() -> ColdStore {
    over(Arc::new(InMemory::new()))
}

/// A store whose requests meet the faults that `plan` names.
fn faulty(plan: impl FnMut(&'static str, &str) -> Option<Fault> + Send + 'static) -> ColdStore {
    let objects = FaultyObjects::new(Arc::new(InMemory::new()), plan);
    let options = ColdOptions { patience: Duration::from_millis(100), ..options() };
    ColdStore::with_store(Arc::new(objects), options).unwrap()
}

/// A fault for every request of one kind as long as the switch is on.
fn switched(operation: &'static str, fault: Fault) -> (ColdStore, Arc<AtomicBool>) {
    let on = Arc::new(AtomicBool::new(false));
    let switch = on.clone();
    let plan = move |asked: &'static str, _: &str| {
        (asked == operation && switch.load(Ordering::Relaxed)).then_some(fault)
    };
    (faulty(plan), on)
}

/// Rows with everything that a row can have and lack.
fn rows(count: usize, dimensions: usize, seed: u64) -> Vec<ColdRow> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut text = |words: usize| {
        let words: Vec<String> = (0..words).map(|_| format!("{:x}", random.u16(..))).collect();
        words.join(" ")
    };
    let row = |at: usize| ColdRow {
        id: format!("memory-{at}"),
        arrival: at as u64,
        version: u64::MAX - at as u64,
        content: (at % 5 != 1).then(|| format!("Grüße {at}: {}", text(at % 60))),
        embedding: None,
        occurred_at: 1_700_000_000_000_000 - at as i64 * 1_000_003,
        stored_at: -(at as i64),
        context: at.is_multiple_of(3).then(|| format!("context {}", at / 10)),
        kind: if at.is_multiple_of(7) { "concept".into() } else { "episode".into() },
        confidence: at as f32 / 1000.0,
        expires_at: at.is_multiple_of(11).then_some(at as i64),
        entities: (0..at % 4).map(|entity| format!("entity {entity}")).collect(),
        links: "[]".into(),
        metadata: format!("{{\"n\":{at}}}"),
    };
    let mut rows: Vec<ColdRow> = (0..count).map(row).collect();
    for (at, row) in rows.iter_mut().enumerate() {
        let vector = (0..dimensions).map(|_| random.f32() - 0.5).collect();
        row.embedding = (dimensions > 0 && at % 13 != 2).then_some(vector);
    }
    rows
}

fn all(store: &ColdStore, name: &str) -> Vec<ColdRow> {
    let mut found = Vec::new();
    store
        .read_all(name, &mut |row| {
            found.push(row);
            Ok(())
        })
        .unwrap();
    found
}

#[test]
fn what_goes_in_comes_out() {
    for compression in [Compression::Zstd(3), Compression::Zstd(19), Compression::Lz4, Compression::None] {
        for (count, dimensions) in [(0, 0), (1, 0), (1, 768), (2_500, 0), (700, 3), (300, 768), (70, 1536)] {
            let store =
                ColdStore::with_store(Arc::new(InMemory::new()), ColdOptions { compression, ..options() })
                    .unwrap();
            let rows = rows(count, dimensions, 1);
            let bytes = store.put(NAME, &rows).unwrap();
            assert_eq!(store.list("").unwrap(), [(NAME.to_string(), bytes)]);
            assert!(all(&store, NAME) == rows, "{compression:?} {count} {dimensions}");
            assert_eq!(store.verify(NAME).unwrap(), count as u64);
            let mut random = fastrand::Rng::with_seed(2);
            let some: Vec<u32> = (0..40.min(count)).map(|_| random.u32(..count as u32)).collect();
            let wanted: Vec<ColdRow> = some.iter().map(|row| rows[*row as usize].clone()).collect();
            assert!(store.read(NAME, &some).unwrap() == wanted, "{compression:?} {count} {dimensions}");
        }
    }
}

#[test]
fn every_bit_of_a_vector_is_kept() {
    let store = in_memory();
    let strange =
        [f32::NAN, -f32::NAN, f32::INFINITY, -0.0, f32::MIN_POSITIVE / 2.0, f32::from_bits(0x7f80_0001)];
    let row = ColdRow { embedding: Some(strange.to_vec()), ..ColdRow::default() };
    store.put(NAME, &[row]).unwrap();
    let found = store.read(NAME, &[0]).unwrap().remove(0).embedding.unwrap();
    assert_eq!(found.iter().map(|v| v.to_bits()).collect::<Vec<_>>(), strange.map(f32::to_bits));
}

#[test]
fn a_name_is_given_once() {
    let store = in_memory();
    let first = rows(200, 64, 1);
    let bytes = store.put(NAME, &first).unwrap();
    assert_eq!(store.put(NAME, &first).unwrap(), bytes, "the same rows again are no other file");
    for others in [rows(200, 64, 2), rows(199, 64, 1), vec![]] {
        let error = store.put(NAME, &others).unwrap_err();
        assert!(matches!(error, Error::Exists { .. }), "{error}");
    }
    assert_eq!(all(&store, NAME), first);
    store.delete(NAME).unwrap();
    store.put(NAME, &[]).unwrap();
}

#[test]
fn what_is_not_there_is_said() {
    let store = in_memory();
    assert!(matches!(store.read(NAME, &[0]), Err(Error::Absent { .. })));
    assert!(matches!(store.verify(NAME), Err(Error::Absent { .. })));
    assert!(matches!(store.read_all(NAME, &mut |_| Ok(())), Err(Error::Absent { .. })));
    store.delete(NAME).unwrap();
    assert_eq!(store.list("notes/").unwrap(), []);
    store.put(NAME, &rows(10, 4, 1)).unwrap();
    let error = store.read(NAME, &[9, 10]).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("row 10 was asked for, it has 10"), "{error}");
    for name in ["", "/notes/a", "notes//a", "../a", "notes/"] {
        assert!(matches!(store.put(name, &[]), Err(Error::Name { .. })), "{name}");
    }
}

#[test]
fn names_are_listed_by_what_they_begin_with() {
    let store = in_memory();
    let names = ["diary/cold-1", "notes/cold-1", "notes/cold-12", "notes/warm-1", "notes2/cold-1"];
    for name in names {
        store.put(name, &[]).unwrap();
    }
    for (prefix, found) in
        [("", &names[..]), ("notes/", &names[1..4]), ("notes/cold-1", &names[1..3]), ("no", &names[1..])]
    {
        let listed: Vec<String> = store.list(prefix).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(listed, found, "{prefix}");
    }
}

#[test]
fn what_the_caller_says_ends_a_read_of_all() {
    let store = in_memory();
    store.put(NAME, &rows(10, 4, 1)).unwrap();
    let mut seen = 0;
    let ended = store.read_all(NAME, &mut |_| {
        seen += 1;
        if seen == 3 { Err(Error::Payload { reason: "enough".into() }) } else { Ok(()) }
    });
    assert!(matches!(ended, Err(Error::Payload { .. })));
    assert_eq!(seen, 3);
}

/// A folder with one file of a few rows, its path and its bytes.
fn one_file(folder: &Path) -> (std::path::PathBuf, Vec<u8>, Vec<ColdRow>) {
    let rows = rows(3, 2, 1);
    in_folder(folder).put(NAME, &rows).unwrap();
    let path = folder.join(NAME);
    let bytes = fs::read(&path).unwrap();
    (path, bytes, rows)
}

/// A store in a folder, which keeps nothing of its files in RAM.
fn in_folder(folder: &Path) -> ColdStore {
    let endpoint = format!("file://{}", folder.display());
    ColdStore::open(ColdOptions { endpoint, tails_bytes_max: 0, ..ColdOptions::default() }).unwrap()
}

#[test]
fn every_bit_that_turns_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes, rows) = one_file(folder.path());
    let store = in_folder(folder.path());
    for at in 0..bytes.len() {
        let mut turned = bytes.clone();
        turned[at] ^= 1 << (at % 8);
        fs::write(&path, turned).unwrap();
        if at < 4 {
            assert_eq!(store.read(NAME, &[0, 1, 2]).unwrap(), rows, "the magic holds nothing");
            continue;
        }
        for error in [store.verify(NAME).unwrap_err(), store.read(NAME, &[1]).unwrap_err()] {
            assert!(matches!(error, Error::Damaged { .. }), "byte {at}: {error}");
        }
    }
}

#[test]
fn every_cut_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, bytes, _) = one_file(folder.path());
    let store = in_folder(folder.path());
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = store.verify(NAME).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{length} bytes: {error}");
    }
    fs::write(&path, [&bytes[..], b"more"].concat()).unwrap();
    assert!(matches!(store.verify(NAME), Err(Error::Damaged { .. })));
}

#[test]
fn a_folder_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(&folder.path().join("made/here"));
    store.probe().unwrap();
    assert_eq!(store.list("").unwrap(), [], "the probe leaves nothing");
    let rows = rows(500, 16, 1);
    store.put(NAME, &rows).unwrap();
    assert_eq!(all(&in_folder(&folder.path().join("made/here")), NAME), rows);
    // A disk that is not mounted is no reason to call a file lost.
    fs::rename(folder.path().join("made"), folder.path().join("away")).unwrap();
    assert!(matches!(store.verify(NAME), Err(Error::Unreachable { .. })));
    assert!(matches!(store.list(""), Err(Error::Unreachable { .. })));
    assert!(matches!(store.put("notes/other", &[]), Err(Error::Unreachable { .. })));
    assert!(!folder.path().join("made").exists());
    fs::rename(folder.path().join("away"), folder.path().join("made")).unwrap();
    store.delete(NAME).unwrap();
    store.delete(NAME).unwrap();
    assert_eq!(store.list("").unwrap(), []);
}

#[test]
fn a_put_that_meets_a_fault_can_be_repeated() {
    let rows = rows(300, 64, 1);
    for (fault, at_once) in
        [(Fault::Fail, false), (Fault::LoseAnswer, true), (Fault::Twice, true), (Fault::Hang, false)]
    {
        let (store, on) = switched("put", fault);
        on.store(true, Ordering::Relaxed);
        let answer = store.put(NAME, &rows);
        assert_eq!(answer.is_ok(), at_once, "{fault:?}: {answer:?}");
        if let Err(error) = answer {
            assert!(matches!(error, Error::Unreachable { .. }), "{fault:?}: {error}");
        }
        on.store(false, Ordering::Relaxed);
        store.put(NAME, &rows).unwrap();
        assert_eq!(all(&store, NAME), rows, "{fault:?}");
        assert!(matches!(store.put(NAME, &rows[1..]), Err(Error::Exists { .. })), "{fault:?}");
    }
}

#[test]
fn a_put_whose_answer_is_lost_and_cannot_be_read_back_is_unreachable_and_there() {
    let on = Arc::new(AtomicBool::new(true));
    let switch = on.clone();
    let store = faulty(move |asked, _| match asked {
        _ if !switch.load(Ordering::Relaxed) => None,
        "put" => Some(Fault::LoseAnswer),
        _ => Some(Fault::Fail),
    });
    let rows = rows(30, 8, 1);
    let error = store.put(NAME, &rows).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    on.store(false, Ordering::Relaxed);
    assert_eq!(all(&store, NAME), rows);
    store.put(NAME, &rows).unwrap();
}

#[test]
fn a_read_that_meets_a_fault_gives_rows_or_an_error() {
    let rows = rows(300, 64, 1);
    for (fault, wanted) in [
        (Fault::Fail, "cannot read"),
        (Fault::LoseAnswer, "cannot read"),
        (Fault::Twice, ""),
        (Fault::Hang, "no answer within 0.1 s"),
        (Fault::Flip, "is damaged"),
    ] {
        let (store, on) = switched("get", fault);
        store.put(NAME, &rows).unwrap();
        on.store(true, Ordering::Relaxed);
        // Twice: without what is known of the file, and with it.
        for _ in 0..2 {
            let read = store.read(NAME, &[7, 299]);
            match read {
                Ok(found) => assert!(wanted.is_empty() && found == [rows[7].clone(), rows[299].clone()]),
                Err(error) => assert!(!wanted.is_empty() && error.to_string().contains(wanted), "{error}"),
            }
            on.store(false, Ordering::Relaxed);
            assert_eq!(store.read(NAME, &[7]).unwrap()[0], rows[7], "{fault:?}");
            on.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_bit_that_turns_on_the_way_is_asked_for_again() {
    let mut gets = 0;
    let store = faulty(move |asked, _| {
        gets += usize::from(asked == "get");
        (asked == "get" && gets % 2 == 1).then_some(Fault::Flip)
    });
    let rows = rows(300, 64, 1);
    store.put(NAME, &rows).unwrap();
    assert_eq!(store.read(NAME, &[7]).unwrap()[0], rows[7]);
    assert_eq!(all(&store, NAME), rows);
}

#[test]
fn a_deletion_that_meets_a_fault_can_be_repeated() {
    for fault in [Fault::Fail, Fault::LoseAnswer, Fault::Twice, Fault::Hang] {
        let (store, on) = switched("delete", fault);
        store.put(NAME, &rows(30, 8, 1)).unwrap();
        on.store(true, Ordering::Relaxed);
        let answer = store.delete(NAME);
        assert_eq!(answer.is_ok(), fault == Fault::Twice, "{fault:?}: {answer:?}");
        on.store(false, Ordering::Relaxed);
        store.delete(NAME).unwrap();
        assert!(matches!(store.read(NAME, &[0]), Err(Error::Absent { .. })), "{fault:?}");
    }
}

#[test]
fn a_listing_that_fails_is_no_empty_listing() {
    for fault in [Fault::Fail, Fault::Hang] {
        let (store, on) = switched("list", fault);
        store.put(NAME, &[]).unwrap();
        on.store(true, Ordering::Relaxed);
        assert!(matches!(store.list(""), Err(Error::Unreachable { .. })), "{fault:?}");
    }
}

#[test]
fn a_store_that_replaces_what_it_should_only_create_is_refused() {
    let error = faulty(|asked, _| (asked == "put").then_some(Fault::Overwrite)).probe().unwrap_err();
    assert!(matches!(error, Error::UnsafeStore { .. }), "{error}");
    assert!(error.to_string().contains("16 of 16 were told"), "{error}");
    // One that mostly keeps its promise is as bad.
    let mut puts = 0;
    let mostly = faulty(move |asked, _| {
        puts += usize::from(asked == "put");
        (puts == 40).then_some(Fault::Overwrite)
    });
    assert!(matches!(mostly.probe(), Err(Error::UnsafeStore { .. })));
    in_memory().probe().unwrap();
}

#[test]
fn a_store_that_cannot_be_asked_is_not_called_unsafe() {
    for (operation, fault) in
        [("put", Fault::Fail), ("put", Fault::Hang), ("get", Fault::Fail), ("delete", Fault::Fail)]
    {
        let error = faulty(move |asked, _| (asked == operation).then_some(fault)).probe().unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }), "{operation} {fault:?}: {error}");
    }
    let twice = faulty(|asked, _| (asked == "put").then_some(Fault::Twice));
    twice.probe().unwrap();
}

#[test]
fn a_large_file_goes_up_in_parts_under_a_name_that_was_free() {
    let large = |letter: &str| {
        let content = Some(letter.repeat(MULTIPART_BYTES + 100_000));
        vec![ColdRow { content, ..ColdRow::default() }, rows(1, 8, 1).remove(0)]
    };
    for (operation, fault, at_once) in [
        ("begin", Fault::Fail, false),
        ("part", Fault::Fail, false),
        ("part", Fault::LoseAnswer, false),
        ("complete", Fault::Fail, false),
        ("complete", Fault::LoseAnswer, true),
    ] {
        let on = Arc::new(AtomicBool::new(true));
        let switch = on.clone();
        let plan =
            move |asked, _: &str| (asked == operation && switch.load(Ordering::Relaxed)).then_some(fault);
        let objects = FaultyObjects::new(Arc::new(InMemory::new()), plan);
        let store = ColdStore::with_store(
            Arc::new(objects),
            ColdOptions { compression: Compression::None, ..options() },
        )
        .unwrap();
        let rows = large("a");
        let answer = store.put(NAME, &rows);
        assert_eq!(answer.is_ok(), at_once, "{operation} {fault:?}: {answer:?}");
        if !at_once {
            assert!(matches!(answer, Err(Error::Unreachable { .. })));
            assert!(matches!(store.read(NAME, &[0]), Err(Error::Absent { .. })), "a claim is no file");
        }
        assert!(matches!(store.put(NAME, &[]), Err(Error::Exists { .. })), "the name is taken");
        if operation == "begin" {
            assert!(matches!(store.put(NAME, &large("b")), Err(Error::Exists { .. })), "the name is taken");
        }
        on.store(false, Ordering::Relaxed);
        store.put(NAME, &rows).unwrap();
        assert!(store.read(NAME, &[0, 1]).unwrap() == rows);
        if operation == "begin" {
            assert!(matches!(store.put(NAME, &large("b")), Err(Error::Exists { .. })));
        }
    }
}

fn cached_files(folder: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut files: Vec<_> = files.map(|file| (file.path(), file.metadata().unwrap().len())).collect();
    files.sort();
    files
}

#[test]
fn what_was_read_is_kept_on_a_disk_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let rows = rows(1000, 384, 1);
    let open = |cache_bytes_max| {
        let cache_dir = Some(cache.clone());
        // Nothing of the tails fits in RAM, so that they come from the cache, too.
        let options = ColdOptions { cache_dir, cache_bytes_max, tails_bytes_max: 0, ..options() };
        ColdStore::with_store(objects.clone(), options).unwrap()
    };
    let store = open(100 << 20);
    store.put(NAME, &rows).unwrap();
    for round in 1..4u64 {
        assert_eq!(store.read(NAME, &[5, 999]).unwrap(), [rows[5].clone(), rows[999].clone()]);
        assert_eq!((store.stats().fetched, store.stats().cached), (3, 3 * (round - 1)));
    }
    // Torn or turned, a cached file is as good as none.
    for (path, bytes) in cached_files(&cache) {
        fs::write(path, vec![7; bytes as usize / 2]).unwrap();
    }
    assert_eq!(store.read(NAME, &[5, 999]).unwrap(), [rows[5].clone(), rows[999].clone()]);
    assert_eq!((store.stats().fetched, store.stats().cache_failures), (6, 3));
    cached_files(&cache).iter().for_each(|(path, _)| fs::remove_file(path).unwrap());
    assert_eq!(store.read(NAME, &[5]).unwrap()[0], rows[5]);
    assert_eq!(all(&store, NAME), rows);
    // What is deleted is deleted here, too.
    store.read(NAME, &(0..1000).collect::<Vec<u32>>()).unwrap();
    assert!(!cached_files(&cache).is_empty());
    store.delete(NAME).unwrap();
    assert_eq!(cached_files(&cache), []);
    assert!(matches!(store.read(NAME, &[5]), Err(Error::Absent { .. })));
    // A start finds what the last run left, and deletes it, but nothing else.
    store.put(NAME, &rows).unwrap();
    store.read(NAME, &[5]).unwrap();
    fs::write(cache.join("mine.txt"), "mine").unwrap();
    drop(store);
    let store = open(600_000);
    assert_eq!(cached_files(&cache), [(cache.join("mine.txt"), 4)]);
    fs::remove_file(cache.join("mine.txt")).unwrap();
    for _ in 0..2 {
        for row in 0..1000 {
            assert_eq!(store.read(NAME, &[row]).unwrap()[0], rows[row as usize]);
            let bytes: u64 = cached_files(&cache).iter().map(|(_, bytes)| bytes).sum();
            assert!(bytes <= 600_000, "{bytes}");
        }
    }
    assert!(store.stats().cached > 1500, "{:?}", store.stats());
    assert_eq!(store.stats().cache_failures, 0);
}

#[test]
fn a_cache_that_cannot_be_written_costs_no_read() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let options = ColdOptions { cache_dir: Some(cache.clone()), cache_bytes_max: 1 << 20, ..options() };
    let store = ColdStore::with_store(Arc::new(InMemory::new()), options).unwrap();
    let rows = rows(10, 4, 1);
    store.put(NAME, &rows).unwrap();
    fs::remove_dir_all(cache).unwrap();
    assert_eq!(store.read(NAME, &[3]).unwrap()[0], rows[3]);
    assert!(store.stats().cache_failures > 0);
}

#[test]
fn several_threads_read_at_once() {
    let store = in_memory();
    let rows = rows(1000, 64, 1);
    store.put(NAME, &rows).unwrap();
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let (store, rows) = (&store, &rows);
            threads.spawn(move || {
                for row in (thread..1000).step_by(37) {
                    assert_eq!(store.read(NAME, &[row as u32]).unwrap()[0], rows[row]);
                }
            });
        }
    });
}

#[test]
fn a_level_that_does_not_exist_is_refused() {
    for level in [0, 23] {
        let options = ColdOptions { compression: Compression::Zstd(level), ..options() };
        let error = ColdStore::with_store(Arc::new(InMemory::new()), options).err().unwrap();
        assert!(matches!(error, Error::Setting { .. }), "{error}");
        assert!(error.to_string().contains("levels are 1 to 22"), "{error}");
    }
}

/// A file as format 1 was written, its vectors in one column.
const FORMAT_1: &[u8] = include_bytes!("data/format-1.parquet");

/// Its rows.
fn format_1_rows() -> Vec<ColdRow> {
    let row = |at: u8| ColdRow {
        id: format!("memory-{at}"),
        arrival: at.into(),
        version: u64::MAX - u64::from(at),
        content: (at != 3).then(|| format!("Grüße {at}")),
        embedding: (at != 2).then(|| (0..6u8).map(|n| f32::from(at) / 7.0 - f32::from(n)).collect()),
        occurred_at: 1_700_000_000_000_000 - i64::from(at) * 1_000_003,
        stored_at: -i64::from(at),
        context: (at > 4).then(|| "context".into()),
        kind: "episode".into(),
        confidence: f32::from(at) / 10.0,
        expires_at: (at == 5).then_some(5),
        entities: (0..at % 4).map(|entity| format!("entity {entity}")).collect(),
        links: "[]".into(),
        metadata: format!("{{\"n\":{at}}}"),
    };
    (0..10).map(row).collect()
}

#[test]
fn a_file_of_the_first_format_is_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("old.parquet"), FORMAT_1).unwrap();
    let store = in_folder(folder.path());
    assert_eq!(all(&store, "old.parquet"), format_1_rows());
    assert_eq!(store.verify("old.parquet").unwrap(), 10);
    let some = store.read("old.parquet", &[7, 2, 3]).unwrap();
    assert_eq!(some, [7, 2, 3].map(|row| format_1_rows()[row].clone()));
}

/// Reads a cold file as others do and prints what they find, those of them that are installed. No Engram is asked.
const PYTHON: &str = r#"
import datetime, importlib, json, sys
import numpy
path = sys.argv[1]

def with_pyarrow(pyarrow):
    import pyarrow.parquet
    table = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True).read()
    for name, type in zip(table.schema.names, table.schema.types):
        print("column", name, type)
    return table.to_pylist()

def with_pandas(pandas):
    return pandas.read_parquet(path).to_dict("records")

def with_polars(polars):
    return polars.read_parquet(path).to_dicts()

def with_duckdb(duckdb):
    found = duckdb.connect().execute(
        "select * replace (epoch_us(occurred_at) as occurred_at, epoch_us(stored_at) as stored_at,"
        " epoch_us(expires_at) as expires_at) from read_parquet(?)", [path])
    names = [column[0] for column in found.description]
    return [dict(zip(names, row)) for row in found.fetchall()]

def some(value):
    return None if value is None or value != value else value

def numbers(row):
    planes = [row[f"embedding_{byte}"] for byte in range(4)]
    if planes == [None] * 4:
        return None
    return numpy.stack([numpy.frombuffer(plane, "u1") for plane in planes], -1).view("<u4").ravel().tolist()

def microseconds(time):
    start = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return time if isinstance(time, int) else (time - start) // datetime.timedelta(microseconds=1)

for name, rows in dict(pyarrow=with_pyarrow, pandas=with_pandas, polars=with_polars, duckdb=with_duckdb).items():
    try:
        reader = importlib.import_module(name)
    except ImportError:
        print("skipped", name)
        continue
    print("reader", name, reader.__version__)
    for row in rows(reader):
        print(json.dumps([row["id"], row["arrival"], row["version"], some(row["content"]), numbers(row),
            some(row["context"]), row["kind"], list(row["entities"]), json.loads(row["links"]),
            json.loads(row["metadata"])["n"], some(row["expires_at"]) is None, microseconds(row["occurred_at"])]))
"#;

#[test]
fn others_read_the_file() {
    let python = std::env::var("ENGRAM_TEST_PYTHON").unwrap_or("python3".into());
    let has = Command::new(&python).args(["-c", "import numpy, pyarrow"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        writeln!(std::io::stderr(), "skipped: {python} has no pyarrow and numpy").unwrap();
        return;
    }
    for compression in [Compression::Zstd(3), Compression::Lz4, Compression::None] {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = format!("file://{}", folder.path().display());
        let store = ColdStore::open(ColdOptions { endpoint, compression, ..ColdOptions::default() }).unwrap();
        let rows = rows(400, 96, 1);
        store.put(NAME, &rows).unwrap();
        let ran = Command::new(&python).args(["-c", PYTHON]).arg(folder.path().join(NAME)).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let said = String::from_utf8(ran.stdout).unwrap();
        let columns: Vec<&str> = said.lines().filter(|line| line.starts_with("column ")).collect();
        assert_eq!(columns, COLUMNS_FOR_OTHERS);
        for skipped in said.lines().filter(|line| line.starts_with("skipped ")) {
            writeln!(std::io::stderr(), "{skipped}: {python} does not have it").unwrap();
        }
        for said in said.split("reader ").skip(1) {
            let reader = said.lines().next().unwrap();
            let found: Vec<&str> = said.lines().filter(|line| line.starts_with('[')).collect();
            assert_eq!(found.len(), rows.len(), "{reader}");
            for (found, row) in found.into_iter().zip(&rows) {
                let found: serde_json::Value = serde_json::from_str(found).unwrap();
                assert_eq!(found, for_others(row), "{reader}, {compression:?}");
            }
        }
    }
}

const COLUMNS_FOR_OTHERS: [&str; 17] = [
    "column id string",
    "column arrival uint64",
    "column version uint64",
    "column content string",
    "column embedding_0 fixed_size_binary[96]",
    "column embedding_1 fixed_size_binary[96]",
    "column embedding_2 fixed_size_binary[96]",
    "column embedding_3 fixed_size_binary[96]",
    "column occurred_at timestamp[us, tz=UTC]",
    "column stored_at timestamp[us, tz=UTC]",
    "column context string",
    "column kind string",
    "column confidence float",
    "column expires_at timestamp[us, tz=UTC]",
    "column entities list<element: string not null>",
    "column links string",
    "column metadata string",
];

/// What the program above should print of a row.
fn for_others(row: &ColdRow) -> serde_json::Value {
    let bits = |vector: &Vec<f32>| vector.iter().map(|v| v.to_bits()).collect::<Vec<u32>>();
    serde_json::json!([
        row.id,
        row.arrival,
        row.version,
        row.content,
        row.embedding.as_ref().map(bits),
        row.context,
        row.kind,
        row.entities,
        [],
        row.arrival,
        row.expires_at.is_none(),
        row.occurred_at,
    ])
}

#[test]
fn what_was_known_of_a_deleted_file_does_not_stand_for_its_successor() {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (reader, writer) = (over(objects.clone()), over(objects));
    let (old, new) = (rows(300, 64, 1), rows(400, 96, 2));
    writer.put(NAME, &old).unwrap();
    assert_eq!(reader.read(NAME, &[7]).unwrap()[0], old[7]);
    writer.delete(NAME).unwrap();
    writer.put(NAME, &new).unwrap();
    assert_eq!(reader.read(NAME, &[399, 7]).unwrap(), [new[399].clone(), new[7].clone()]);
}

/// All of it against a real server. `.ci/full` starts one.
#[test]
fn a_real_object_store_keeps_cold_files() {
    let Ok(endpoint) = std::env::var("ENGRAM_TEST_S3") else {
        writeln!(std::io::stderr(), "skipped: ENGRAM_TEST_S3 names no bucket").unwrap();
        return;
    };
    let endpoint = format!("{endpoint}/test-{}", std::process::id());
    let folder = tempfile::tempdir().unwrap();
    let open = |endpoint: &str, compression| {
        let cache_dir = Some(folder.path().to_path_buf());
        let options =
            ColdOptions { cache_dir, cache_bytes_max: 8 << 20, compression, ..ColdOptions::default() };
        ColdStore::open(ColdOptions { endpoint: endpoint.into(), ..options }).unwrap()
    };
    let store = open(&endpoint, Compression::Zstd(3));
    store.probe().unwrap();
    assert_eq!(store.list("").unwrap(), [], "the probe leaves nothing");
    assert!(matches!(store.read(NAME, &[0]), Err(Error::Absent { .. })));
    let some = rows(3000, 768, 1);
    let bytes = store.put(NAME, &some).unwrap();
    store.put(NAME, &some).unwrap();
    assert!(matches!(store.put(NAME, &some[1..]), Err(Error::Exists { .. })));
    for _ in 0..2 {
        assert_eq!(store.read(NAME, &[2999, 7, 1500]).unwrap(), [2999, 7, 1500].map(|row| some[row].clone()));
    }
    assert!(all(&store, NAME) == some);
    assert_eq!(store.verify(NAME).unwrap(), 3000);
    // Above the size at which a file goes up in parts, under a claim.
    let plain = open(&endpoint, Compression::None);
    let content = Some("a".repeat(MULTIPART_BYTES));
    let large = [ColdRow { content, ..ColdRow::default() }, some[0].clone()];
    let large_bytes = plain.put("notes/large.parquet", &large).unwrap();
    plain.put("notes/large.parquet", &large).unwrap();
    assert!(matches!(plain.put("notes/large.parquet", &large[1..]), Err(Error::Exists { .. })));
    assert!(all(&plain, "notes/large.parquet") == large);
    let listed = [(NAME.to_string(), bytes), ("notes/large.parquet".to_string(), large_bytes)];
    assert_eq!(store.list("notes/").unwrap(), listed);
    for (name, _) in listed {
        store.delete(&name).unwrap();
        store.delete(&name).unwrap();
    }
    assert_eq!(store.list("").unwrap(), []);
    // A bucket that is not there says nothing of its files.
    let nowhere = open("s3://no-such-bucket-of-engram/x", Compression::Zstd(3));
    for error in [
        nowhere.read(NAME, &[0]).unwrap_err(),
        nowhere.put(NAME, &[]).unwrap_err(),
        nowhere.probe().unwrap_err(),
    ] {
        assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    }
}
