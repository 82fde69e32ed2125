//! Measures cold files: bytes against raw, the rate of writing and reading a whole file, and the time of one row.
//! `cargo run --release -p engram-storage --example cold_measure -- ENDPOINT VECTORS.npy ROWS [zstd:LEVEL|lz4|none]
//! [cache=FOLDER]`, where VECTORS holds little-endian f32 in rows. Each row gets some 200 bytes of made-up text. Raw:
//! vectors, texts, ids and the numbers of a row as they are in RAM.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, run by hand: it reads the clock, prints, and may stop on any fault"
)]

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use engram_storage::cold::{ColdOptions, ColdRow, ColdStore, Compression};

const NAME: &str = "measure/cold-00000000000000000001.parquet";
const READS: usize = 2000;
const FIRST_READS: usize = 50;

fn main() {
    let mut args = std::env::args().skip(1);
    let endpoint = args.next().expect("which endpoint?");
    let vectors = args.next().expect("which file of vectors?");
    let count: usize = args.next().expect("how many rows?").parse().unwrap();
    let (mut compression, mut cache_dir) = (Compression::Zstd(3), None);
    for arg in args {
        match arg.split_once(['=', ':']) {
            Some(("cache", folder)) => cache_dir = Some(PathBuf::from(folder)),
            Some(("zstd", level)) => compression = Compression::Zstd(level.parse().unwrap()),
            _ if arg == "lz4" => compression = Compression::Lz4,
            _ => compression = Compression::None,
        }
    }
    let cached = cache_dir.is_some();
    let options = ColdOptions {
        endpoint: endpoint.clone(),
        compression,
        cache_dir,
        cache_bytes_max: 16 << 30,
        ..ColdOptions::default()
    };
    let rows = rows(&vectors, count);
    let vectors_bytes: usize = rows.iter().filter_map(|row| Some(row.embedding.as_ref()?.len() * 4)).sum();
    let raw: usize = vectors_bytes + rows.iter().map(other_bytes).sum::<usize>();
    let store = ColdStore::open(options.clone()).unwrap();
    store.delete(NAME).unwrap();

    let start = Instant::now();
    let bytes = store.put(NAME, &rows).unwrap();
    let took = start.elapsed();
    println!("{endpoint}, {compression:?}, {count} rows, {} numbers each", vectors_bytes / 4 / count);
    println!(
        "file {bytes} bytes: {:.4} of the vectors and texts ({raw}), {:.4} of the vectors alone ({vectors_bytes})",
        bytes as f64 / raw as f64,
        bytes as f64 / vectors_bytes as f64
    );
    rate("write the file", raw, took);
    let start = Instant::now();
    assert_eq!(store.verify(NAME).unwrap(), count as u64);
    rate("verify the file", raw, start.elapsed());

    let firsts = (0..FIRST_READS).map(|_| {
        let store = ColdStore::open(options.clone()).unwrap();
        // Then there is a connection.
        store.list("measure/").unwrap();
        let start = Instant::now();
        assert!(store.read(NAME, &[0]).unwrap()[0] == rows[0]);
        start.elapsed()
    });
    times("first row of an unknown file", firsts.collect());
    let store = ColdStore::open(options).unwrap();
    store.read(NAME, &[0]).unwrap();
    for round in 0..1 + usize::from(cached) {
        let reads = (0..READS).map(|read| {
            let row = (read * 7919 + 13) % count;
            let start = Instant::now();
            let found = store.read(NAME, &[row as u32]).unwrap();
            let took = start.elapsed();
            assert!(found[0] == rows[row]);
            took
        });
        times(&format!("one row, round {round}"), reads.collect());
    }
    let some: Vec<u32> = (0..64).map(|read| (read * 7907 % count) as u32).collect();
    let start = Instant::now();
    assert_eq!(store.read(NAME, &some).unwrap().len(), 64);
    println!("64 rows at once: {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    println!("{:?}", store.stats());
    store.delete(NAME).unwrap();
}

fn times(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("{what}: p50 {:.3} ms, p99 {:.3} ms, max {:.3} ms", at(0.5), at(0.99), at(1.0));
}

fn rate(what: &str, raw: usize, took: Duration) {
    let seconds = took.as_secs_f64();
    println!("{what}: {seconds:.2} s, {:.0} MB/s of raw bytes", raw as f64 / 1e6 / seconds);
}

fn other_bytes(row: &ColdRow) -> usize {
    let texts =
        [row.content.as_ref(), row.context.as_ref()].into_iter().flatten().map(String::len).sum::<usize>();
    texts + row.id.len() + row.kind.len() + row.links.len() + row.metadata.len() + 4 * 8 + 4
}

/// Vectors of a file of NumPy's, with texts of words by Zipf's law.
fn rows(path: &str, count: usize) -> Vec<ColdRow> {
    let mut file = File::open(path).unwrap();
    let mut head = [0; 10];
    file.read_exact(&mut head).unwrap();
    let mut header = vec![0; usize::from(u16::from_le_bytes([head[8], head[9]]))];
    file.read_exact(&mut header).unwrap();
    let header = String::from_utf8(header).unwrap();
    assert!(header.contains("<f4") && header.contains("'fortran_order': False"), "{header}");
    let shape = header.split("'shape': (").nth(1).unwrap();
    let dimensions: usize = shape.split([',', ')']).nth(1).unwrap().trim().parse().unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let mut bytes = vec![0; dimensions * 4];
    let mut row = |at: usize| {
        file.read_exact(&mut bytes).unwrap();
        let vector = bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect();
        let mut text = String::new();
        while text.len() < 200 {
            // The word's number falls off as frequencies of words do; its letters follow from the number.
            let word = (20_000f64.powf(random.f64()) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let letters = 2 + word as usize % 8;
            let letter = |at: usize| char::from(b'a' + (word >> (5 * at + 3)) as u8 % 26);
            text.extend((0..letters).map(letter));
            text.push(' ');
        }
        ColdRow {
            id: format!("{:016x}", random.u64(..)),
            arrival: at as u64,
            version: (at as u64) << 20,
            content: Some(text),
            embedding: Some(vector),
            occurred_at: 1_700_000_000_000_000 + at as i64 * 7_000_003,
            stored_at: 1_760_000_000_000_000 + at as i64 * 431,
            context: Some(format!("session-{}", at / 20)),
            kind: "episode".into(),
            confidence: 1.0,
            expires_at: None,
            entities: Vec::new(),
            links: "[]".into(),
            metadata: format!("{{\"source\":\"measure\",\"n\":{at}}}"),
        }
    };
    (0..count).map(&mut row).collect()
}
