//! `engram evaluate` as its users run it, on small sets; beside score.py, where that and python3 are.

#![expect(clippy::unwrap_used, reason = "a helper of tests that panics fails the test that called it")]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Memories, cues and answers of two spaces that have nothing to do with each other.
const WEATHER: [&str; 3] = [
    r#"{"id": "w1", "content": "It rained in Bath all day", "context": "trip"}
{"id": "w2", "content": "Ada took an umbrella along", "context": "trip"}
{"id": "w3", "content": "The sun came out over the sea", "context": "trip"}
{"id": "w4", "content": "Storms sink ships", "links": [{"to": "w3", "kind": "near"}]}
{"id": "w5", "content": "Snow fell on the hills"}"#,
    r#"{"id": "q1", "text": "where did it rain?"}
{"id": "q2", "text": "who took an umbrella?"}
{"id": "q3", "text": "what do storms do to ships at sea?"}
{"id": "q4", "text": "did it hail?"}"#,
    r#"{"id": "q1", "evidence": ["w1"], "category": "single", "answerable": true}
{"id": "q3", "evidence": ["w4", "w3"], "category": "multi", "answerable": true}
{"id": "q2", "evidence": ["w2"], "category": 2, "answerable": false}
{"id": "q4", "evidence": [], "category": "none", "answerable": true}"#,
];
const KITCHEN: [&str; 3] = [
    r#"{"id": "k1", "content": "Bread rises because of yeast"}
{"id": "k2", "content": "Salt keeps butter from browning"}
{"id": "k3", "content": "Sugar browns in the pan"}"#,
    r#"{"id": "k-q1", "text": "why does bread rise?"}
{"id": "k-q2", "text": "what browns in the sun?"}"#,
    r#"{"id": "k-q1", "evidence": ["k1"], "category": "single", "answerable": true}
{"id": "k-q2", "evidence": ["k3"], "category": "single", "answerable": true}"#,
];

/// A folder that goes away, with sets in it.
struct Sets(tempfile::TempDir);

impl Sets {
    fn new() -> Self {
        let sets = Self(tempfile::tempdir().unwrap());
        sets.write("both/kitchen", KITCHEN);
        sets.write("both/weather", WEATHER);
        sets
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, files: [&str; 3]) {
        let folder = self.path(name);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in ["memories.jsonl", "cues.jsonl", "answers.jsonl"].iter().zip(files) {
            fs::write(folder.join(file), text).unwrap();
        }
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
        command.arg("evaluate").args(args).current_dir(self.0.path()).env("NO_COLOR", "1");
        command.output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a run that must end with this code.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {told}");
        told
    }
}

/// A .npy file of version 1 with these rows.
fn npy(rows: &[[f32; 2]]) -> Vec<u8> {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, 2), }}", rows.len());
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(118u16.to_le_bytes());
    bytes.extend(format!("{header:<117}\n").bytes());
    bytes.extend(rows.iter().flatten().flat_map(|number| number.to_le_bytes()));
    bytes
}

/// Concepts stand in for their episodes, beside the whole of recall.
#[test]
fn recall_through_concepts_is_asked_where_they_are_made() {
    let sets = Sets::new();
    let shown = sets.ok(&["both", "--consolidate"]);
    assert!(
        shown.contains("both  2 spaces · 8 memories · 6 cues · by text alone · 0 concepts for 0, made in "),
        "{shown}"
    );
    assert!(shown.contains("looked at") && shown.contains("through concepts"), "{shown}");
    assert!(!sets.ok(&["both"]).contains("through concepts"), "nobody asked for it");
    let report: Value = serde_json::from_str(&sets.ok(&["both", "--consolidate", "--json"])).unwrap();
    let ways = report["sets"][0]["ways"].as_array().unwrap();
    let of = |name: &str| ways.iter().find(|way| way["name"] == name).unwrap();
    // Without concepts both look at the same, and rank it alike.
    assert_eq!(of("through concepts")["rows"], of("everything")["rows"]);
    assert_eq!(of("through concepts")["looked_at"], of("everything")["looked_at"]);
    assert!(of("everything")["looked_at"].as_f64().unwrap() > 2.0);
}

/// Where a person reads them: rows, ways side by side, and the figures of relevance.
#[test]
fn figures_are_shown_for_people() {
    let sets = Sets::new();
    let shown = sets.ok(&["both", "--ablate", "--without", "order,links"]);
    for line in [
        "both  2 spaces · 8 memories · 6 cues · by text alone",
        "cues     R@1     R@5    R@10    R@20  all@10  nDCG@10     MRR",
        "all                  5   .9000  1.0000",
        "words alone (BM25)",
        "vectors alone",
        "without order, links",
        "evidence taken out (5)",
        "foreign cues (6)",
        "parts taken out",
        "retrievability",
        "latency     median",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    assert!(shown.lines().all(|line| line == line.trim_end()), "{shown}");
}

#[test]
fn figures_are_written_for_programs() {
    let sets = Sets::new();
    let printed: Value = serde_json::from_str(&sets.ok(&["both", "--json", "--output", "out.json"])).unwrap();
    let written: Value = serde_json::from_slice(&fs::read(sets.path("out.json")).unwrap()).unwrap();
    assert_eq!(printed, written);
    assert_eq!(printed["made"]["command"][1], "evaluate");
    assert_eq!(printed["limit"], 20);
    let set = &printed["sets"][0];
    assert_eq!((&set["name"], &set["memories"], &set["cues"]), (&"both".into(), &8.into(), &6.into()));
    let ways: Vec<&str> =
        set["ways"].as_array().unwrap().iter().map(|way| way["name"].as_str().unwrap()).collect();
    assert_eq!(ways, ["everything", "words alone (BM25)", "vectors alone", "no spreading"]);
    assert_eq!(set["ways"][0]["rows"]["trick"]["n"], 1);
    assert_eq!(set["ways"][0]["rows"]["2"]["n"], 1);
    assert_eq!(set["ways"][3]["without"][0], "spreading");
    assert!(set["unknown"]["foreign_auroc"].as_f64().unwrap() > 0.5);
    // Doing it again gives the same.
    let again: Value = serde_json::from_str(&sets.ok(&["both", "--json"])).unwrap();
    assert_eq!(again["sets"][0]["ways"], set["ways"]);
}

#[test]
fn what_relevance_rests_on_is_written_and_fitted() {
    let sets = Sets::new();
    let shown = sets.ok(&["both", "--evidence", "evidence.jsonl", "--fit"]);
    for line in [
        "BY_VECTOR  relevance, fitted to",
        "BY_WORDS  relevance, fitted to",
        "const BY_WORDS: Model = Model {",
        "    abstain_below: 0.",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    let lines = fs::read_to_string(sets.path("evidence.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |asking: &str| lines.iter().filter(|line| line["asking"] == asking).collect::<Vec<_>>();
    let first = of("own").into_iter().find(|line| line["cue"] == "q2").unwrap();
    assert_eq!((&first["set"], &first["rank"], &first["label"]), (&"both".into(), &0.into(), &true.into()));
    assert!(first["score"].as_f64().unwrap() > 0.0 && first["covered"] == 1.0, "{first}");
    // Of cues that have no answer no hit is one; a cue without evidence says nothing.
    for asking in ["foreign", "removed"] {
        assert!(!of(asking).is_empty() && of(asking).iter().all(|line| line["label"] == false), "{asking}");
    }
    assert!(of("own").iter().all(|line| line["cue"] != "q4"));
}

#[test]
fn vectors_count_unless_they_are_left_out() {
    let sets = Sets::new();
    let rows = [[1.0, 0.1], [0.2, 1.0], [-1.0, 0.3]];
    fs::write(sets.path("both/kitchen/memories.npy"), npy(&rows)).unwrap();
    fs::write(sets.path("both/kitchen/cues.npy"), npy(&[rows[1], rows[2]])).unwrap();
    let with = sets.ok(&["both/kitchen", "--foreign", "both/kitchen"]);
    assert!(with.contains("with vectors") && with.contains("vectors alone"), "{with}");
    let without = sets.ok(&["both/kitchen", "--text-only"]);
    assert!(without.contains("by text alone") && without.contains("vectors alone"), "{without}");
    assert!(without.contains("foreign cues: give --foreign FOLDER"), "{without}");
    // Vectors of another length can be no foreign cues.
    let shown = sets.ok(&["both/weather", "--foreign", "both/kitchen"]);
    assert!(shown.contains("differ in length"), "{shown}");
}

#[test]
fn bad_sets_are_told_with_file_and_value() {
    let sets = Sets::new();
    fs::create_dir(sets.path("empty")).unwrap();
    assert!(sets.fails(2, &["empty"]).contains("empty: has no memories.jsonl"));
    assert!(sets.fails(2, &["nowhere"]).contains("nowhere: cannot read this folder"));
    assert!(sets.fails(2, &["both", "--without", "luck"]).contains("parts are words, vectors"));

    let [memories, cues, answers] = KITCHEN;
    sets.write("odd", [memories, cues, &answers.replace("k3", "k9")]);
    let told = sets.fails(1, &["odd"]);
    assert!(told.contains("answers.jsonl: the evidence \"k9\" of cue \"k-q2\" is not among"), "{told}");
    sets.write("odd", [memories, cues, answers.lines().next().unwrap()]);
    let told = sets.fails(1, &["odd"]);
    assert!(told.contains("answers.jsonl: has no line for the cue \"k-q2\" of cues.jsonl"), "{told}");
    sets.write("odd", [memories, cues.lines().next().unwrap(), answers]);
    let told = sets.fails(1, &["odd"]);
    assert!(told.contains("answers.jsonl:2: answers the cue \"k-q2\", which is not in cues.jsonl"), "{told}");
    sets.write("odd", [memories, &cues.replace("k-q2", "k-q1"), answers]);
    let told = sets.fails(1, &["odd"]);
    assert!(told.contains("cues.jsonl:2: has the id \"k-q1\" of the cue at"), "{told}");
    fs::remove_file(sets.path("odd/answers.jsonl")).unwrap();
    sets.write("odd2", [memories, cues, answers]);
    fs::remove_file(sets.path("odd2/answers.jsonl")).unwrap();
    assert!(sets.fails(1, &["odd2"]).contains("odd2/answers.jsonl: cannot read it"));
    fs::write(sets.path("odd2/answers.jsonl"), "{\"id\": 1}").unwrap();
    assert!(sets.fails(1, &["odd2"]).contains("odd2/answers.jsonl:1: "));
}

/// The script that the figures are defined by, where the data sets are.
#[test]
fn figures_are_those_of_score_py_where_it_is() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/eval/score.py");
    let has_python = Command::new("python3").arg("--version").output().is_ok_and(|out| out.status.success());
    if !script.is_file() || !has_python {
        eprintln!("skipped, for want of {} or python3", script.display());
        return;
    }
    let sets = Sets::new();
    let report: Value = serde_json::from_str(&sets.ok(&["both", "--json", "--ranked", "ranked"])).unwrap();
    let mut command = Command::new("python3");
    command.arg(&script).arg("--json").current_dir(sets.0.path());
    for space in ["kitchen", "weather"] {
        command.args([format!("both/{space}/answers.jsonl"), format!("ranked/both-{space}.jsonl")]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected: Value = serde_json::from_slice(&output.stdout).unwrap();
    let whole = &report["sets"][0]["ways"][0];
    let mut figures = 0;
    for (row, expected) in expected.as_object().unwrap() {
        let found = if row == "calibration" { &whole["calibration"] } else { &whole["rows"][row] };
        for (name, value) in expected.as_object().unwrap() {
            let (found, value) = (found[name].as_f64().unwrap(), value.as_f64().unwrap());
            assert!((found - value).abs() < 1e-4, "{row} {name}: {found}, score.py says {value}");
            figures += 1;
        }
    }
    assert_eq!(figures, 6 * 8 + 4);
}
