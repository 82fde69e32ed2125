//! `engram benchmark` and `engram compare-benchmarks` as their users run them. Nothing here depends on how fast it goes.

#![expect(clippy::unwrap_used, reason = "a helper of tests that panics fails the test that called it")]

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
    command.args(args).stdin(Stdio::null()).env("NO_COLOR", "1");
    for name in ["ENGRAM_URL", "ENGRAM_API_KEY", "ENGRAM_CONFIG", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

/// What a command printed that had to end with this code.
fn ends(code: i32, args: &[&str]) -> (String, String) {
    let output = run(args);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {out}{error}");
    (out, error)
}

/// A short benchmark of few memories, as JSON.
fn measured(more: &[&str]) -> Value {
    let short = ["benchmark", "--duration", "200ms", "--warmup", "0", "--concurrency", "2", "--json"];
    serde_json::from_str(&ends(0, &[&short[..], more].concat()).0).unwrap()
}

const SMALL: [&str; 4] = ["--memories", "120", "--dimensions", "16"];

fn name(folder: &Path, file: &str) -> String {
    folder.join(file).to_str().unwrap().to_owned()
}

/// A .npy file of version 1.
fn npy(rows: &[[f32; 2]]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 2), }}", rows.len());
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(118u16.to_le_bytes());
    bytes.extend(format!("{header:<117}\n").bytes());
    bytes.extend(rows.iter().flatten().flat_map(|number| number.to_le_bytes()));
    bytes
}

#[test]
fn every_operation_of_the_mix_is_measured() {
    let mix = "recall=40,activate=20,store=20,get=10,reinforce=10";
    let report = measured(&[&SMALL[..], &["--mix", mix]].concat());
    assert_eq!(report["setup"]["memories"], 120);
    assert_eq!(report["setup"]["dimensions"], 16);
    assert_eq!(report["setup"]["mix"], mix);
    assert_eq!(report["made"]["command"][1], "benchmark");
    // Codes may order near ties otherwise than rows do.
    let accuracy = report["accuracy"]["recall_at_10"].as_f64().unwrap();
    assert!((0.98..=1.0).contains(&accuracy), "120 vectors are few: {accuracy}");
    assert!(report["stored"]["per_second"].as_f64().unwrap() > 0.0);
    assert!(report["memory"]["data_bytes"].as_u64().unwrap() > 120 * 16 * 4);
    let load = &report["loads"][0];
    assert_eq!((load["loop"].as_str(), load["clients"].as_u64()), (Some("closed"), Some(2)));
    let all = &load["all"];
    assert_eq!(all["errors"], 0, "{}", load["failure"]);
    let counted: u64 =
        load["operations"].as_object().unwrap().values().map(|one| one["count"].as_u64().unwrap()).sum();
    assert_eq!(all["count"].as_u64(), Some(counted));
    assert!(counted > 0);
    let time = |name: &str| all[name].as_f64().unwrap();
    let rising = ["p50_ms", "p90_ms", "p95_ms", "p99_ms", "p99_9_ms", "max_ms"].map(time);
    assert!(rising[0] > 0.0 && rising.is_sorted(), "{rising:?}");
    if load["operations"].get("recall").is_some() {
        assert!(load["hits_by_tier"]["hot"].as_u64().unwrap() > 0);
    }
}

#[test]
fn loads_are_swept_and_plotted() {
    let folder = tempfile::tempdir().unwrap();
    let (plot, output) = (name(folder.path(), "load.svg"), name(folder.path(), "load.json"));
    let short = ["benchmark", "--duration", "100ms", "--warmup", "0", "--plot", &plot, "--output", &output];
    let (shown, _) = ends(0, &[&short[..], &SMALL, &["--sweep", "rate=50,200"]].concat());
    assert!(shown.contains("\nopen loop of 50/s, 8 clients, 0."), "{shown}");
    assert!(shown.contains("\nopen loop of 200/s, 8 clients, 0."), "{shown}");
    assert!(shown.contains("began more than 1 ms late: "), "{shown}");
    let svg = fs::read_to_string(&plot).unwrap();
    assert!(svg.contains("Latency against load, open loop") && svg.contains(">200/s</text>"), "{svg}");
    let report: Value = serde_json::from_slice(&fs::read(&output).unwrap()).unwrap();
    assert_eq!(report["loads"][1]["rate"], 200.0);

    // A plot of one load would be a point.
    let clients: Vec<Value> = measured(&[&SMALL[..], &["--plot", &plot]].concat())["loads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|load| load["clients"].clone())
        .collect();
    assert_eq!(clients, [1, 2]);
}

#[test]
fn memories_of_files_are_stored_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let vectors = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]];
    let (rows, cues) = (name(folder.path(), "rows.npy"), name(folder.path(), "cues.npy"));
    fs::write(&rows, npy(&vectors)).unwrap();
    fs::write(&cues, npy(&vectors[..2])).unwrap();
    let lines = name(folder.path(), "lines.jsonl");
    fs::write(&lines, "{\"content\": \"It rained\"}\n{\"content\": \"Snow\"}\n\n{\"content\": \"Wind\"}\n")
        .unwrap();
    let data = name(folder.path(), "data");
    let kept = ["--data-dir", &data, "--keep", "--mix", "recall=50,get=50"];

    let report = measured(&[&kept[..], &["--data", &rows, "--cues", &cues, "--cue", "vector"]].concat());
    assert_eq!((&report["setup"]["memories"], &report["setup"]["dimensions"]), (&json!(3), &json!(2)));
    assert_eq!((&report["setup"]["data"], &report["setup"]["cue"]), (&json!("rows.npy"), &json!("vector")));
    assert!(report["stored"].is_object());
    let again = measured(&[&kept[..], &["--data", &rows]].concat());
    assert!(again["stored"].is_null(), "they are there");
    let (_, error) = ends(2, &["benchmark", "--data-dir", &data, "--data", &rows]);
    assert!(error.contains("a space benchmark is there already, with 3 memories; --keep uses it"), "{error}");

    let with_text = ["--data-dir", &data, "--space", "lines", "--data", &lines];
    let report = measured(&[&with_text[..], &["--embeddings", &rows]].concat());
    assert_eq!((&report["setup"]["memories"], &report["setup"]["dimensions"]), (&json!(3), &json!(2)));
    assert_eq!(report["loads"][0]["all"]["errors"], 0, "{}", report["loads"][0]["failure"]);
    // It was deleted again; now the embedder inside makes the vectors.
    let report = measured(&with_text);
    assert_eq!(
        (&report["setup"]["dimensions"], &report["stored"]["seconds"].is_number()),
        (&json!(0), &true)
    );
    let spaces: Value =
        serde_json::from_str(&ends(0, &["space", "list", "--data-dir", &data, "--json"]).0).unwrap();
    let names: Vec<&Value> =
        spaces["spaces"].as_array().unwrap().iter().map(|space| &space["name"]).collect();
    assert_eq!(names, ["benchmark"]);
}

#[test]
fn what_cannot_be_measured_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let data = name(folder.path(), "data");
    let cases: [(&[&str], &str); 14] = [
        (&["--binary", "--cue", "vector"], "--binary is for --cue vector and a server"),
        (&["--mix", "recall=80,store=5"], "the shares sum to 85, they must sum to 100 percent"),
        (&["--mix", "remember=100"], "no operation \"remember\"; known are recall, activate, store"),
        (&["--rate", "0"], "\"0\" must be a number of operations a second, from 0.1"),
        (&["--duration", "0"], "nothing can be measured in no time"),
        (&["--duration", "soon"], "write it as 60s, 500ms, 2m or 1h"),
        (&["--concurrency", "0"], "\"0\" must be a whole number from 1 to 1024"),
        (&["--sweep", "1,2", "--rate", "5"], "cannot be used with"),
        (&["--data", "m.jsonl", "--memories", "5"], "cannot be used with"),
        (&["--keep"], "--keep is for --data-dir or --url"),
        (&["--url", "http://127.0.0.1:1"], "no server answers at http://127.0.0.1:1"),
        (&["--url", "http://127.0.0.1:1", "--set", "wal.sync_mode=none"], "has settings of its own"),
        (&["--data", "v.npy", "--embeddings", "w.npy"], "--data names vectors already"),
        (&["--cue", "vector", "--data-dir", &data, "--data", "LINES"], "nothing that --cue asks for"),
    ];
    let lines = name(folder.path(), "lines.jsonl");
    fs::write(&lines, "{\"content\": \"It rained\"}\n").unwrap();
    for (args, text) in cases {
        let args: Vec<&str> = args.iter().map(|arg| if *arg == "LINES" { &lines } else { *arg }).collect();
        let (_, error) = ends(2, &[&["benchmark"], &args[..]].concat());
        assert!(error.contains(text), "{args:?}: {error}");
    }
    let (_, error) = ends(1, &["benchmark", "--data", &name(folder.path(), "absent.npy")]);
    assert!(error.contains("absent.npy: cannot read it"), "{error}");
}

/// A report with one load of recalls, with this throughput, median and accuracy.
fn report(folder: &Path, file: &str, change: impl Fn(&mut Value)) -> String {
    let times = json!({"mean_ms": 2.0, "p50_ms": 1.0, "p90_ms": 2.0, "p95_ms": 3.0, "p99_ms": 4.0, "p99_9_ms": 8.0, "max_ms": 9.0});
    let mut figures = json!({"count": 1000, "per_second": 100.0, "errors": 0, "late": 0, "not_begun": 0});
    figures.as_object_mut().unwrap().extend(times.as_object().unwrap().clone());
    let mut report = json!({
        "made": {"command": ["engram", "benchmark"], "version": "0.1.0", "build": "release", "date": "2026-01-01T00:00:00Z", "processor": "P", "cores": 2, "system": "linux", "simd": "avx2"},
        "setup": {"subject": "engine in this process", "is_server": false, "data": "generated", "memories": 10, "dimensions": 4, "seed": 42, "mix": "recall=100", "cue": "both", "is_binary": false, "limit": 10, "seconds": 10.0, "warmup_seconds": 1.0, "set": []},
        "stored": null,
        "accuracy": {"recall_at_10": 0.99, "cues": 100},
        "loads": [{"clients": 8, "rate": null, "loop": "closed", "seconds": 10.0, "all": figures, "operations": {"recall": figures}, "failure": null, "cores": {"benchmark": 1.5, "server": null}, "cpu_ms": 15.0, "resident_bytes": 1000, "hits_by_tier": {"hot": 1}}],
        "memory": {"memory_bytes": 2000, "data_bytes": 1000, "memory_of_data": 2.0},
    });
    change(&mut report);
    let path = name(folder, file);
    fs::write(&path, serde_json::to_vec(&report).unwrap()).unwrap();
    path
}

#[test]
fn two_benchmarks_are_held_against_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let before = report(folder, "before.json", |_| ());
    let faster =
        report(folder, "faster.json", |report| report["loads"][0]["all"]["per_second"] = json!(120.0));
    let slower = report(folder, "slower.json", |report| {
        report["loads"][0]["all"]["per_second"] = json!(120.0);
        report["loads"][0]["operations"]["recall"]["p99_ms"] = json!(4.4);
    });
    let vaguer = report(folder, "vaguer.json", |report| report["accuracy"]["recall_at_10"] = json!(0.98));
    let failing = report(folder, "failing.json", |report| report["loads"][0]["all"]["errors"] = json!(1));

    let (same, _) = ends(0, &["compare-benchmarks", &before, &before]);
    assert!(same.ends_with("revert: nothing is better by more than 5 %\n"), "{same}");
    let (shown, _) = ends(0, &["compare-benchmarks", &before, &faster]);
    assert!(shown.contains("operations/s                       100         120     1.20  keep"), "{shown}");
    assert!(shown.ends_with("keep: something is better by more than 5 %, and nothing is worse\n"), "{shown}");
    let (shown, _) = ends(1, &["compare-benchmarks", &before, &slower]);
    assert!(
        shown.contains("recall p99 (ms)                   4.00        4.40     1.10  REGRESSION"),
        "{shown}"
    );
    assert!(shown.contains("  keep\n"), "what gained is shown beside: {shown}");
    ends(1, &["compare-benchmarks", &before, &vaguer]);
    ends(1, &["compare-benchmarks", &before, &failing]);
    let compared: Value =
        serde_json::from_str(&ends(1, &["compare-benchmarks", &before, &slower, "--json"]).0).unwrap();
    assert_eq!(compared["verdict"], "regression");
    assert_eq!(compared["figures"][0]["ratio"], 1.2);
}

#[test]
fn what_is_not_comparable_is_not_compared_unless_forced() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let before = report(folder, "before.json", |_| ());
    let other = report(folder, "other.json", |report| {
        report["made"]["processor"] = json!("Q");
        report["setup"]["mix"] = json!("store=100");
        report["setup"]["warmup_seconds"] = json!(0.0);
        report["setup"]["set"] = json!([["wal.sync_mode", "none"], ["index.ef_search", "50"]]);
        report["loads"][0]["clients"] = json!(4);
    });
    let (_, error) = ends(2, &["compare-benchmarks", &before, &other]);
    for text in [
        "processor: P and Q",
        "mix: recall=100 and store=100",
        "seconds before, uncounted: 1 and 0",
        "settings: defaults and index.ef_search=50, wal.sync_mode=none",
        "8 clients and closed loop, 4 clients",
    ] {
        assert!(error.contains(text), "{text}: {error}");
    }
    let (shown, _) = ends(0, &["compare-benchmarks", &before, &other, "--force"]);
    assert!(shown.contains("not comparable: processor: P and Q\n"), "{shown}");
    let text = name(folder, "text.json");
    fs::write(&text, "[]").unwrap();
    let (_, error) = ends(2, &["compare-benchmarks", &before, &text]);
    assert!(error.contains("text.json: is no report of `engram benchmark --output`"), "{error}");
    let (_, error) = ends(2, &["compare-benchmarks", &before, &name(folder, "absent.json")]);
    assert!(error.contains("absent.json: cannot read it"), "{error}");
}
