//! The command as its users run it: the built binary, on folders of its own and a server on a free port.

#![expect(clippy::unwrap_used, reason = "a helper of tests that panics fails the test that called it")]

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const ENGRAM: &str = env!("CARGO_BIN_EXE_engram");

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(ENGRAM);
    command.args(args).stdin(Stdio::null()).env("NO_COLOR", "1");
    // What the machine that runs the tests is set up with must not matter.
    for name in ["ENGRAM_URL", "ENGRAM_API_KEY", "ENGRAM_CONFIG", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// Standard output of a command that must succeed.
fn ok(args: &[&str]) -> String {
    let output = run(args);
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn ok_json(args: &[&str]) -> Value {
    serde_json::from_str(&ok(args)).unwrap()
}

/// Standard error of a command that must end with this code.
fn fails(code: i32, args: &[&str]) -> String {
    let output = run(args);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{args:?}: {}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stderr)
}

/// A folder that goes away, with a data folder and files in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), contents).unwrap();
        self.name(name)
    }

    fn data(&self) -> String {
        self.name("data")
    }
}

/// A .npy file of version 1 with these rows.
fn npy(rows: &[&[f32]]) -> Vec<u8> {
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}", rows.len(), rows[0].len());
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend(118u16.to_le_bytes());
    bytes.extend(format!("{header:<117}\n").bytes());
    bytes.extend(rows.iter().flat_map(|row| row.iter().flat_map(|number| number.to_le_bytes())));
    bytes
}

const MEMORIES: &str = r#"{"id": "m1", "content": "It rained in Bath", "context": "trip", "occurred_at": "2024-05-08T13:56:00Z", "metadata": {"speaker": "Ada", "turn": 1, "a": {"z": [1, 2.5], "b": null}}}
{"id": "m2", "content": "Ada caught a cold", "context": "trip", "links": [{"to": "m1", "kind": "because", "weight": 0.9}], "confidence": 0.8, "entities": ["Ada"]}

{"content": "Bread rises because of yeast", "kind": "concept", "expires_at": "2999-01-01T00:00:00Z"}
"#;

#[test]
fn a_memory_is_stored_and_recalled_with_its_paths() {
    let folder = Folder::new();
    let data = folder.data();
    let stored = ok(&[
        "store",
        "--data-dir",
        &data,
        "--space",
        "diary",
        "--id",
        "d1",
        "--context",
        "trip",
        "It rained in Bath",
    ]);
    assert_eq!(stored, "stored d1 in space diary\n");
    let stored = ok_json(&[
        "store",
        "--data-dir",
        &data,
        "-s",
        "diary",
        "--id",
        "d2",
        "--link",
        "d1:because:0.9",
        "--metadata",
        "turn=2",
        "--json",
        "She caught a cold",
    ]);
    assert_eq!(stored["ids"], json!(["d2"]));
    let mut piped = command(&["store", "--data-dir", &data, "-s", "diary", "--id", "d3", "-"]);
    let mut child = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all("Piped text\n".as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());

    let shown = ok(&["recall", "--data-dir", &data, "-s", "diary", "rained", "--explain"]);
    assert!(shown.contains("It rained in Bath\n"), "{shown}");
    assert!(shown.contains("d1 · trip · 20"), "{shown}");
    assert!(shown.contains("── this memory") && shown.contains("because"), "{shown}");
    let recalled =
        ok_json(&["recall", "--data-dir", &data, "-s", "diary", "piped", "--json", "--limit", "1"]);
    assert_eq!(recalled["hits"][0]["content"], "Piped text");
    assert!(recalled["hits"][0].get("paths").is_none());
    let filter = r#"{"must": [{"field": "metadata.turn", "equals": 2}]}"#;
    let recalled =
        ok_json(&["recall", "--data-dir", &data, "-s", "diary", "cold", "--filter", filter, "--json"]);
    assert_eq!(recalled["hits"][0]["id"], "d2");

    let activated = ok_json(&["activate", "--data-dir", &data, "-s", "diary", "--seed", "d2:0.5", "--json"]);
    let ids: Vec<&str> =
        activated["activations"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"d1"), "{ids:?}");
    assert!(ok(&["activate", "--data-dir", &data, "-s", "diary", "cold"]).contains("She caught a cold"));
}

#[test]
fn a_memory_with_gaps_is_completed_from_argument_and_file() {
    let folder = Folder::new();
    let (data, memories) = (folder.data(), folder.write("in.jsonl", MEMORIES));
    ok(&["import", "--data-dir", &data, "-s", "diary", &memories]);
    let pattern = r#"{"content": "caught a cold", "context": null, "kind": null}"#;
    let place = ["complete", "--data-dir", &data, "-s", "diary"];
    let shown = ok(&[&place[..], &[pattern]].concat());
    assert!(shown.contains("given, as in m2") && shown.contains("kind     episode"), "{shown}");
    assert!(
        shown.contains("context  trip\n         reconstructed, ") && shown.contains(" sure, from m2"),
        "{shown}"
    );
    let file = folder.write("pattern.json", pattern);
    let json = ok_json(&[&place[..], &[&file, "--json", "--limit", "0"]].concat());
    assert_eq!(json["completed"]["content"]["given"], true, "{json}");
    assert_eq!(json["completed"]["kind"]["sources"][0], "m2", "{json}");
    assert_eq!(json["alternatives"], serde_json::json!([]), "{json}");
    let shown = ok(&[&place[..], &[r#"{"content": "qqq", "context": null}"#]].concat());
    assert!(shown.contains("Probably nothing here is right"), "{shown}");
    for (code, pattern, said) in [
        (1, r#"{"content": "x"}"#, "nothing is wanted"),
        (1, r#"{"content": null}"#, "nothing is given"),
        (2, r#"{"id": "d1", "content": null}"#, "unknown field `id`"),
        (1, "no-such-file", "neither JSON nor a file"),
    ] {
        let told = fails(code, &[&place[..], &[pattern]].concat());
        assert!(told.contains(said), "{told}");
    }
}

#[test]
fn export_import_export_gives_the_same_bytes() {
    let folder = Folder::new();
    let memories = folder.write("in.jsonl", MEMORIES);
    let vectors = folder.write("in.npy", npy(&[&[1.0, 0.5], &[f32::NAN, f32::NAN], &[0.1, -3.0e-8]]));
    let data = folder.data();
    for _ in 0..2 {
        let said = ok(&["import", "--data-dir", &data, "-s", "a", &memories, "--embeddings", &vectors]);
        assert!(said.starts_with("3 memories in "), "{said}");
    }
    assert_eq!(ok_json(&["space", "show", "a", "--data-dir", &data, "--json"])["memories"], 3);
    let (first, second) = (folder.name("1.jsonl"), folder.name("2.jsonl"));
    let (first_npy, second_npy) = (folder.name("1.npy"), folder.name("2.npy"));
    ok(&["export", "--data-dir", &data, "-s", "a", &first, "--embeddings", &first_npy]);
    ok(&["import", "--data-dir", &data, "-s", "b", &first, "--embeddings", &first_npy]);
    ok(&["export", "--data-dir", &data, "-s", "b", &second, "--embeddings", &second_npy]);
    let exported = fs::read_to_string(&first).unwrap();
    assert_eq!(exported, fs::read_to_string(&second).unwrap());
    assert_eq!(fs::read(&first_npy).unwrap(), fs::read(&second_npy).unwrap());
    // Rows of NaN may differ in the bits of their NaN; these do not.
    assert_eq!(fs::read(&first_npy).unwrap(), fs::read(&vectors).unwrap());
    let lines: Vec<Value> = exported.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["metadata"]["a"], json!({"z": [1, 2.5], "b": null}));
    assert!(lines[0].get("embedding").is_none() && lines[0].get("stored_at").is_none());
    assert!(lines[2]["id"].as_str().unwrap().starts_with("line4-"), "{}", lines[2]);

    // Without a file for them, vectors stand in the lines; state is added when asked for, and read past.
    let whole = folder.name("whole.jsonl");
    ok(&["export", "--data-dir", &data, "-s", "a", &whole, "--with-state"]);
    let exported = fs::read_to_string(&whole).unwrap();
    assert!(exported.contains("\"embedding\":[1.0,0.5]") && exported.contains("\"stored_at\""), "{exported}");
    ok(&["import", "--data-dir", &data, "-s", "a", &whole]);
    ok(&["import", "--data-dir", &data, "-s", "c", &whole]);
    let again = folder.name("again.jsonl");
    ok(&["export", "--data-dir", &data, "-s", "c", &again]);
    ok(&["export", "--data-dir", &data, "-s", "a", &whole]);
    assert_eq!(fs::read(&again).unwrap(), fs::read(&whole).unwrap());
    let left: Vec<_> = fs::read_dir(folder.0.path())
        .unwrap()
        .filter(|entry| text(entry.as_ref().unwrap().file_name().as_encoded_bytes()).starts_with('.'))
        .collect();
    assert!(left.is_empty(), "drafts are left: {left:?}");
}

#[test]
fn a_bad_line_is_named_and_nothing_after_its_batch_is_stored() {
    let folder = Folder::new();
    let mut lines: String =
        (1..=300).map(|i| format!("{{\"id\": \"m{i}\", \"content\": \"note {i}\"}}\n")).collect();
    lines.push_str("{\"id\": \"m301\", \"contnet\": \"note\"}\n{\"id\": \"m302\", \"content\": \"note\"}\n");
    let memories = folder.write("bad.jsonl", lines);
    let data = folder.data();
    let said = fails(1, &["import", "--data-dir", &data, "-s", "a", &memories]);
    assert!(said.contains("bad.jsonl:301: ") && said.contains("contnet"), "{said}");
    assert!(said.contains("256 memories before it stored"), "{said}");
    assert_eq!(ok_json(&["space", "show", "a", "--data-dir", &data, "--json"])["memories"], 256);

    let other = folder.write(
        "other.jsonl",
        "{\"id\": \"x\", \"content\": \"new\"}\n{\"id\": \"m1\", \"content\": \"other\"}\n",
    );
    let said = fails(1, &["import", "--data-dir", &data, "-s", "a", &other]);
    assert!(said.contains("other.jsonl:2: ") && said.contains("--replace"), "{said}");
    assert_eq!(ok_json(&["space", "show", "a", "--data-dir", &data, "--json"])["memories"], 256);
    ok(&["import", "--data-dir", &data, "-s", "a", &other, "--replace"]);

    let vectors = folder.write("short.npy", npy(&[&[1.0, 2.0]]));
    let said = fails(1, &["import", "--data-dir", &data, "-s", "b", &other, "--embeddings", &vectors]);
    assert!(said.contains("2 memories") && said.contains("1 row"), "{said}");
    fails(1, &["space", "show", "b", "--data-dir", &data]);
}

#[test]
fn a_first_memory_without_a_vector_decides_nothing() {
    let folder = Folder::new();
    let (data, nan) = (folder.data(), f32::NAN);
    let memories = folder.write("in.jsonl", MEMORIES);
    let vectors = folder.write("in.npy", npy(&[&[nan, nan], &[1.0, 0.5], &[0.1, 0.2]]));
    ok(&["import", "--data-dir", &data, "-s", "a", &memories, "--embeddings", &vectors]);
    assert_eq!(ok_json(&["space", "show", "a", "--data-dir", &data, "--json"])["vectors"], 2);
    let (first, first_npy) = (folder.name("1.jsonl"), folder.name("1.npy"));
    ok(&["export", "--data-dir", &data, "-s", "a", &first, "--embeddings", &first_npy]);
    ok(&["import", "--data-dir", &data, "-s", "b", &first, "--embeddings", &first_npy]);
    let whole = ok(&["export", "--data-dir", &data, "-s", "b", "-"]);
    assert!(!whole.lines().next().unwrap().contains("embedding"), "{whole}");
    let lines = folder.write("whole.jsonl", &whole);
    ok(&["import", "--data-dir", &data, "-s", "c", &lines]);
    let mut piped = command(&["import", "--data-dir", &data, "-s", "d", "-"]);
    let mut child = piped.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(whole.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    for space in ["c", "d"] {
        assert_eq!(ok(&["export", "--data-dir", &data, "-s", space, "-"]), whole);
    }

    // A space without any vector goes round too, and stays without.
    ok(&["import", "--data-dir", &data, "-s", "text", &memories]);
    ok(&["export", "--data-dir", &data, "-s", "text", &first, "--embeddings", &first_npy]);
    ok(&["import", "--data-dir", &data, "-s", "again", &first, "--embeddings", &first_npy]);
    let text = ok(&["export", "--data-dir", &data, "-s", "text", "-"]);
    assert_eq!(ok(&["export", "--data-dir", &data, "-s", "again", "-"]), text);
}

#[test]
fn an_id_twice_is_told_at_any_distance_and_what_was_done_is_counted() {
    let folder = Folder::new();
    let data = folder.data();
    let line = |id: usize, text: &str| format!("{{\"id\": \"m{id}\", \"content\": \"{text}\"}}\n");
    for distance in [1, 600] {
        let space = format!("s{distance}");
        let before: String = (0..distance).map(|id| line(id, "note")).collect();
        // Some editors begin a file with a mark of their own.
        let same = folder.write("same.jsonl", format!("\u{feff}{before}{}", line(0, "note")));
        let said = ok_json(&["import", "--data-dir", &data, "-s", &space, &same, "--json"]);
        assert_eq!(
            (&said["memories"], &said["new"], &said["unchanged"]),
            (&json!(distance + 1), &json!(distance), &json!(1))
        );
        let said = ok(&["import", "--data-dir", &data, "-s", &space, &same]);
        assert!(said.ends_with(&format!(": 0 new, {} unchanged\n", distance + 1)), "{said}");
        let other = folder.write("other.jsonl", format!("{before}{}", line(0, "other")));
        let said = fails(1, &["import", "--data-dir", &data, "-s", &space, &other]);
        let place = format!("other.jsonl:{}: has the id \"m0\" of line 1 ", distance + 1);
        assert!(said.contains(&place), "{said}");
    }
    let bad = folder.write("typo.jsonl", "{\"content\": \"note\"}\n{\"content\": \n");
    let said = fails(1, &["import", "--data-dir", &data, "-s", "typo", &bad]);
    assert!(said.contains("typo.jsonl:2: ") && !said.contains("?:") && !said.contains("line "), "{said}");
}

#[test]
fn a_folder_that_no_server_holds_is_not_said_to_be_served() {
    let folder = Folder::new();
    let data = folder.data();
    // This process holds it, as an import would: it has no address either.
    let engine = engram::Engine::open(engram::Options::new(&data)).unwrap();
    let said = fails(1, &["space", "list", "--data-dir", &data]);
    engine.close().unwrap();
    assert!(said.contains("wait until it is done") && !said.contains("--url"), "{said}");
    ok(&["space", "list", "--data-dir", &data]);
}

#[test]
fn what_was_of_use_is_remembered_better() {
    let folder = Folder::new();
    let data = folder.data();
    let memories = folder.write("in.jsonl", MEMORIES);
    ok(&["import", "--data-dir", &data, "-s", "a", &memories]);
    let said = ok(&["consolidate", "--data-dir", &data, "-s", "a"]);
    assert!(said.starts_with("space a: nothing to do\n0 concepts stand for 0 of "), "{said}");
    let said = ok(&["reinforce", "--data-dir", &data, "-s", "a", "m1", "m2", "m1"]);
    assert_eq!(said, "strengthened 2 memories of space a\n");
    let said = ok(&["reinforce", "--data-dir", &data, "-s", "a", "m1", "--outcome", "contradicted"]);
    assert_eq!(said, "weakened 1 memory of space a\n");
    let said = fails(1, &["reinforce", "--data-dir", &data, "-s", "a", "m1", "nobody"]);
    assert!(said.contains("memory \"nobody\" is not stored in space \"a\""), "{said}");
    // Bulk recall leaves no trace, unless it is told that the hits were of use.
    let position =
        || ok_json(&["space", "show", "a", "--data-dir", &data, "--json"])["position"].as_u64().unwrap();
    let cues = folder.write("cues.jsonl", "{\"id\": \"q\", \"text\": \"rained\"}\n");
    let before = position();
    ok(&["recall", "--data-dir", &data, "-s", "a", "--cues", &cues]);
    assert_eq!(position(), before);
    ok(&["recall", "--data-dir", &data, "-s", "a", "--cues", &cues, "--reinforce"]);
    assert_eq!(position(), before + 1);

    // Recalling counts what is shown, which is no reason to write a checkpoint.
    let checkpoints = || -> Vec<_> {
        let files = fs::read_dir(folder.0.path().join("data/spaces/a")).unwrap().map(Result::unwrap);
        let checkpoints = files.filter(|file| file.file_name().to_string_lossy().starts_with("checkpoint"));
        checkpoints.map(|file| (file.file_name(), file.metadata().unwrap().modified().unwrap())).collect()
    };
    let before = checkpoints();
    assert_eq!(before.len(), 1);
    ok(&["recall", "--data-dir", &data, "-s", "a", "rained"]);
    assert_eq!(checkpoints(), before);
}

#[test]
fn many_cues_are_answered_in_their_order() {
    let folder = Folder::new();
    let data = folder.data();
    let memories = folder.write(
        "in.jsonl",
        (0..40)
            .map(|i| format!("{{\"id\": \"m{i}\", \"content\": \"tide number{i} rises\"}}\n"))
            .collect::<String>(),
    );
    // By words alone, so that a cue can have no answer.
    ok(&["space", "set", "a", "--data-dir", &data, "--embedder", "none"]);
    ok(&["import", "--data-dir", &data, "-s", "a", &memories]);
    let mut cues: String =
        (0..1200).map(|i| format!("{{\"id\": \"q{i}\", \"text\": \"number{}\"}}\n", i % 40)).collect();
    cues.push_str("{\"id\": \"none\", \"text\": \"zebra\"}\n{\"id\": \"ids\", \"ids\": [\"m1\"]}\n");
    let cues = folder.write("cues.jsonl", cues);
    let output = folder.name("ranked.jsonl");
    let run = run(&[
        "recall",
        "--data-dir",
        &data,
        "-s",
        "a",
        "--cues",
        &cues,
        "--limit",
        "5",
        "--output",
        &output,
        "--threads",
        "4",
    ]);
    assert!(run.status.success() && run.stdout.is_empty(), "{}", text(&run.stderr));
    assert!(text(&run.stderr).starts_with("1,202 cues in "), "{}", text(&run.stderr));
    let ranked = fs::read_to_string(&output).unwrap();
    let lines: Vec<Value> = ranked.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1202);
    for (i, line) in lines[..1200].iter().enumerate() {
        assert_eq!(line["id"], format!("q{i}"));
        assert_eq!(line["ranked"][0], format!("m{}", i % 40));
        assert_eq!(line["ranked"].as_array().unwrap().len(), line["relevance"].as_array().unwrap().len());
    }
    assert_eq!(lines[1200], json!({"id": "none", "ranked": [], "relevance": [], "abstain": true}));

    let bad = folder.write("bad.jsonl", "{\"id\": \"q\", \"text\": \"tide\"}\n{\"text\": \"tide\"}\n");
    let said =
        fails(1, &["recall", "--data-dir", &data, "-s", "a", "--cues", &bad, "--output", &folder.name("no")]);
    assert!(said.contains("bad.jsonl:2: "), "{said}");
    assert!(!folder.path("no").exists());
}

#[test]
fn forgetting_asks_first_and_a_dry_run_deletes_nothing() {
    let folder = Folder::new();
    let data = folder.data();
    let memories = folder.write("in.jsonl", MEMORIES);
    ok(&["import", "--data-dir", &data, "-s", "a", &memories]);
    let filter = folder.write("filter.json", r#"{"must": [{"field": "context", "equals": "trip"}]}"#);
    let count = || ok_json(&["space", "show", "a", "--data-dir", &data, "--json"])["memories"].clone();
    let said = ok(&["forget", "--data-dir", &data, "-s", "a", "--filter", &filter, "--dry-run"]);
    assert_eq!(said, "would delete 2 memories of space a\n");
    let said = fails(2, &["forget", "--data-dir", &data, "-s", "a", "--filter", &filter]);
    assert!(said.contains("Delete 2 memories of space a?") && said.contains("--yes"), "{said}");
    assert_eq!(count(), 3);
    let said = ok(&["forget", "--data-dir", &data, "-s", "a", "m1", "m9"]);
    assert_eq!(said, "deleted 1 memory of space a\nnot there: m9\n");
    let none = run(&["forget", "--data-dir", &data, "-s", "a", "m8", "m9"]);
    assert_eq!(none.status.code(), Some(1));
    assert_eq!(text(&none.stdout), "deleted 0 memories of space a\nnot there: m8, m9\n");
    assert_eq!(
        ok_json(&["forget", "--data-dir", &data, "-s", "a", "--filter", &filter, "--yes", "--json"])["ids"],
        json!(["m2"])
    );
    assert_eq!(count(), 1);
    fails(2, &["space", "delete", "a", "--data-dir", &data]);
    ok(&["space", "delete", "a", "--data-dir", &data, "--yes"]);
    assert!(ok(&["space", "list", "--data-dir", &data]).starts_with("no spaces yet"));
}

#[test]
fn a_space_is_set_up_and_shown() {
    let folder = Folder::new();
    let data = folder.data();
    let args = [
        "space",
        "set",
        "v",
        "--data-dir",
        &data,
        "--embedder",
        "caller:2",
        "--decay",
        "none",
        "--language",
        "english",
    ];
    let shown = ok(&args);
    assert!(shown.contains("caller, 2 dimensions") && shown.contains("nothing is forgotten"), "{shown}");
    ok(&["store", "--data-dir", &data, "-s", "v", "--id", "x", "--embedding", "[1, 0]"]);
    let shown = ok(&["recall", "--data-dir", &data, "-s", "v", "--embedding", "[1, 0]"]);
    assert!(shown.contains("(a vector without text)"), "{shown}");
    let said = fails(1, &["store", "--data-dir", &data, "-s", "v", "--embedding", "[1, 0, 0]"]);
    assert!(said.contains('3') && said.contains('2'), "{said}");
    fails(2, &["space", "set", "v", "--data-dir", &data]);
    fails(2, &["space", "set", "v", "--data-dir", &data, "--embedder", "caller"]);
    assert!(
        ok(&["space", "set", "t", "--data-dir", &data, "--embedder", "builtin"])
            .contains("builtin, version 1")
    );
    ok(&["store", "--data-dir", &data, "-s", "t", "--id", "x", "my dog barks"]);
    let shown = ok(&["recall", "--data-dir", &data, "-s", "t", "puppy"]);
    assert!(shown.contains("my dog barks"), "{shown}");
    let said = fails(1, &["recall", "--data-dir", &data, "-s", "t", "--embedding", "[1, 0]"]);
    assert!(said.contains("built-in embedder"), "{said}");
    assert!(ok(&["space", "list", "--data-dir", &data]).contains("v "));
}

#[test]
fn every_problem_of_a_configuration_is_listed() {
    let folder = Folder::new();
    let bad = folder.write("bad.toml", "[wal]\nsync_mod = \"always\"\n[server]\nhttp_addr = 7\n");
    let said = fails(1, &["config", "check", &bad]);
    assert!(said.contains("2 problems"), "{said}");
    assert!(
        said.contains("bad.toml:2") && said.contains("sync_mode") && said.contains("http_addr"),
        "{said}"
    );
    let good = folder.write("good.toml", "[wal]\nsync_mode = \"batch\"\n");
    assert!(ok(&["config", "check", &good]).contains("no problems"));
    assert!(ok(&["config", "show", "--config", &good]).contains("http_addr"));
    let given = ok(&["config", "show", "--given", "--config", &good]);
    assert!(given.contains("sync_mode = \"batch\"") && !given.contains("http_addr"), "{given}");
    let open = folder.write("open.toml", "[server]\nhttp_addr = \"0.0.0.0:8080\"\n");
    assert!(fails(1, &["config", "check", &open]).contains("--insecure"));
}

#[test]
fn the_demo_draws_paths_and_leaves_nothing() {
    let folder = Folder::new();
    let output = command(&["demo"]).env("TMPDIR", folder.0.path()).output().unwrap();
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}{}", text(&output.stderr));
    assert!(shown.contains("Stored 5,8") && shown.contains("median"), "{shown}");
    assert!(shown.contains("└─ ") && shown.contains("─▶ this memory"), "{shown}");
    assert!(shown.contains("no word of the cue"), "{shown}");
    assert!(shown.contains("engram import --space") && shown.contains("Princeton"), "{shown}");
    let widest = shown.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{shown}");
    assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 0, "the temporary folder is gone");

    let kept = folder.name("kept");
    let shown = ok(&["demo", "--keep", &kept, "what barks at night"]);
    assert!(shown.contains("? what barks at night") && !shown.contains("violinist"), "{shown}");
    assert!(ok(&["recall", "--data-dir", &kept, "-s", "wordnet", "dog"]).contains("dog"));
    assert!(fails(2, &["demo", "--keep", &kept]).contains("name another folder"));
}

#[test]
fn every_help_text_has_examples() {
    let commands: [&[&str]; 24] = [
        &[],
        &["backup"],
        &["restore"],
        &["check"],
        &["demo"],
        &["serve"],
        &["store"],
        &["recall"],
        &["activate"],
        &["complete"],
        &["forget"],
        &["import"],
        &["export"],
        &["space"],
        &["space", "list"],
        &["space", "show"],
        &["space", "set"],
        &["space", "delete"],
        &["status"],
        &["test"],
        &["config"],
        &["config", "check"],
        &["config", "show"],
        &["help", "recall"],
    ];
    for args in commands {
        let mut args = args.to_vec();
        if args.first() != Some(&"help") {
            args.push("--help");
        }
        let help = ok(&args);
        let (_, examples) = help.split_once("\nExamples:\n").unwrap_or_else(|| panic!("{args:?}: {help}"));
        assert!(examples.contains("engram "), "{args:?}: {help}");
        let widest = help.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(80), "{args:?}: {help}");
    }
}

#[test]
fn a_wrong_command_line_and_a_missing_server_have_code_2() {
    let said = fails(2, &["recall", "--space", "a", "text", "--url", "http://127.0.0.1:1"]);
    assert!(said.contains("no server answers at http://127.0.0.1:1"), "{said}");
    assert!(said.contains("engram serve") && said.contains("--data-dir"), "{said}");
    fails(2, &["status", "--url", "http://127.0.0.1:1"]);
    fails(2, &["test", "--quick", "--url", "http://127.0.0.1:1"]);
    fails(2, &["status", "--url", "nonsense"]);
    fails(2, &["recal"]);
    fails(2, &["recall", "--space", "a/b", "text"]);
    fails(2, &["recall", "--space", "a", "text", "--now", "yesterday"]);
    fails(2, &["recall", "--space", "a", "text", "--data-dir", "/nonexistent/folder"]);
    fails(2, &["recall", "--space", "a", "text", "--data-dir", ".", "--url", "http://127.0.0.1:1"]);
    let said = fails(2, &["store", "--space", "a", "It", "rained"]);
    assert!(said.contains("in quotes"), "{said}");
    let said = fails(2, &["--data-dir", "x", "space", "list"]);
    assert!(said.contains("goes after the command"), "{said}");
    let said = fails(2, &["status", "--url", "https://127.0.0.1:1"]);
    assert!(said.contains("speaks http"), "{said}");

    let folder = Folder::new();
    let (data, file) = (folder.data(), folder.write("file", ""));
    for command in ["store", "recall"] {
        let said = fails(2, &[command, "--space", "a", "text", "--data-dir", &file]);
        assert!(said.contains("is a file"), "{said}");
    }
    ok(&["store", "--space", "a", "--data-dir", &data, "--id", "m1", "note"]);
    let said = fails(1, &["store", "--space", "a", "--data-dir", &data, ""]);
    assert!(!said.contains("memories[0]"), "{said}");
    let out = folder.name("missing/out.jsonl");
    let said = fails(1, &["export", "--space", "a", "--data-dir", &data, &out]);
    assert!(said.contains("no folder") && !said.contains(".part"), "{said}");
    let id = "an-id-that-is-longer-than-any-uuid-of-36-characters";
    ok(&["store", "--space", "a", "--data-dir", &data, "--id", id, "other"]);
    let shown = ok(&["activate", "--space", "a", "--data-dir", &data, "--seed", id]);
    assert!(shown.contains(&format!("{id}  other\n")), "{shown}");
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let folder = Folder::new();
    let data = folder.data();
    let memories = folder.write(
        "in.jsonl",
        (0..20_000).map(|i| format!("{{\"id\": \"m{i}\", \"content\": \"note {i}\"}}\n")).collect::<String>(),
    );
    ok(&["import", "--data-dir", &data, "-s", "a", &memories]);
    let mut child = command(&["export", "--data-dir", &data, "-s", "a", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("note 0"), "{line}");
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}

/// What a server still has to say.
type Log = BufReader<std::process::ChildStderr>;

/// A server in a process of its own.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    /// Starts a server and waits until it is ready.
    fn start(data: &Path, binary: &str, args: &[&str]) -> (Self, Log) {
        let mut command = Command::new(binary);
        command.args(args).args([
            "--http",
            "127.0.0.1:0",
            "--metrics",
            "127.0.0.1:0",
            "--set",
            "server.grpc_addr=127.0.0.1:0",
        ]);
        command.args(["--set", "log.format=json", "--data-dir"]).arg(data).env_remove("ENGRAM_CONFIG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut server = Self { child: command.spawn().unwrap(), url: String::new() };
        let mut log = BufReader::new(server.child.stderr.take().unwrap());
        let (mut seen, mut ready) = (String::new(), false);
        while server.url.is_empty() || !ready {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the server ended: {seen}");
            seen.push_str(&line);
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(address) = event["http_addr"].as_str() {
                server.url = format!("http://{address}");
            }
            ready |= event["message"] == "ready";
        }
        (server, log)
    }

    /// Sends SIGTERM and gives the exit code and the rest of the log.
    fn stop(mut self, mut log: Log) -> (Option<i32>, String) {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

/// A test that fails leaves no server.
impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_server_is_served_tested_asked_and_stopped() {
    let folder = Folder::new();
    let (server, log) = Server::start(&folder.path("data"), ENGRAM, &["serve"]);
    let url = server.url.clone();
    let tested = run(&["test", "--quick", "--url", &url]);
    assert!(tested.status.success(), "{}", text(&tested.stdout));
    for check in ["store", "recall", "activate", "delete", "durability"] {
        assert!(
            text(&tested.stdout).lines().any(|line| line.starts_with("ok") && line.contains(check)),
            "{check}"
        );
    }
    let tested = run(&["test", "--url", &url, "--json"]);
    let outcome: Value = serde_json::from_slice(&tested.stdout).unwrap();
    assert!(tested.status.success() && outcome["ok"] == true, "{outcome:#}");
    assert_eq!(
        ok_json(&["space", "list", "--url", &url, "--json"])["spaces"],
        json!([]),
        "the test removes its space"
    );

    let status = ok_json(&["status", "--url", &url, "--json"]);
    assert_eq!((status["ready"].clone(), status["memories"]["hot"].clone()), (json!(true), json!(0)));
    let shown = text(&command(&["status"]).env("ENGRAM_URL", &url).output().unwrap().stdout);
    assert!(shown.contains(": ready") && shown.contains("CPUs"), "{shown}");

    // The same commands as on a folder.
    let memories = folder.write("in.jsonl", MEMORIES);
    ok(&["import", "--url", &url, "-s", "a", &memories]);
    let cues = folder.write("cues.jsonl", "{\"id\": \"q\", \"text\": \"rain in Bath\"}\n");
    let ranked: Value =
        serde_json::from_str(&ok(&["recall", "--url", &url, "-s", "a", "--cues", &cues])).unwrap();
    assert_eq!(ranked["ranked"][0], "m1");
    // In several requests of several cues.
    let mut lines: Vec<String> = (0..70)
        .map(|i| format!("{{\"id\": \"q{i}\", \"text\": \"{}\"}}\n", ["rain", "cold", "Bath"][i % 3]))
        .collect();
    let many = folder.write("many.jsonl", lines.concat());
    let ranked_by_url = ok(&["recall", "--url", &url, "-s", "a", "--cues", &many]);
    assert_eq!(ranked_by_url.lines().count(), 70);
    lines[40] = "{\"id\": \"q40\", \"ids\": [\"nobody\"]}\n".into();
    let bad = folder.write("bad.jsonl", lines.concat());
    let said = fails(1, &["recall", "--url", &url, "-s", "a", "--cues", &bad]);
    assert!(said.contains("bad.jsonl:41: ") && said.contains("nobody"), "{said}");
    let explained = ok(&["recall", "--url", &url, "-s", "a", "rained", "--explain"]);
    assert!(explained.contains("Ada caught a cold"), "{explained}");
    let by_url = ok(&["export", "--url", &url, "-s", "a", "-"]);
    assert_eq!(by_url.lines().count(), 3);
    assert!(
        fails(1, &["recall", "--url", &url, "-s", "nowhere", "x"]).contains("there is no space \"nowhere\"")
    );
    let data = folder.data();
    assert!(fails(1, &["recall", "--data-dir", &data, "-s", "a", "x"]).contains("--url"));

    let (code, log) = server.stop(log);
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(ok(&["export", "--data-dir", &data, "-s", "a", "-"]), by_url);
    let ids = |text: &str| {
        let ranked = |line: &str| serde_json::from_str::<Value>(line).unwrap()["ranked"].clone();
        text.lines().map(ranked).collect::<Vec<Value>>()
    };
    let ranked = ok(&["recall", "--data-dir", &data, "-s", "a", "--cues", &many]);
    assert_eq!(ids(&ranked), ids(&ranked_by_url));
}

#[test]
fn a_busy_server_is_not_asked_cue_by_cue() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap() > 2 {
                let line = std::mem::take(&mut line).to_ascii_lowercase();
                length = line.strip_prefix("content-length: ").map_or(length, |l| l.trim().parse().unwrap());
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            count.fetch_add(1, Ordering::Relaxed);
            let body = r#"{"type": "/problems/busy", "title": "t", "status": 503, "detail": "full"}"#;
            let length = body.len();
            let head = format!("HTTP/1.1 503 -\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            reader.get_mut().write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        }
    });
    let folder = Folder::new();
    let lines: Vec<String> =
        (0..9).map(|at| json!({"id": at.to_string(), "text": "a"}).to_string()).collect();
    let cues = folder.write("cues.jsonl", lines.join("\n"));
    let said = fails(1, &["recall", "--url", &url, "-s", "a", "--cues", &cues]);
    assert!(said.contains("full"), "{said}");
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn a_benchmark_of_a_server_leaves_nothing_there() {
    let folder = Folder::new();
    let (server, log) = Server::start(&folder.path("data"), ENGRAM, &["serve"]);
    let short =
        ["benchmark", "--duration", "200ms", "--warmup", "0", "--memories", "50", "--dimensions", "8"];
    let more = ["--rate", "100", "--cue", "vector", "--binary", "--json"];
    let mut benchmark = command(&[&short[..], &more].concat());
    let output = benchmark.env("ENGRAM_URL", &server.url).output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["setup"]["subject"], format!("server at {}", server.url));
    let load = &report["loads"][0];
    assert_eq!((&load["loop"], &load["all"]["errors"]), (&json!("open"), &json!(0)), "{}", load["failure"]);
    assert!(load["cores"]["server"].is_number() && load["resident_bytes"].is_u64(), "{load}");
    assert_eq!(ok_json(&["space", "list", "--url", &server.url, "--json"])["spaces"], json!([]));
    let (code, log) = server.stop(log);
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn under_the_name_of_the_server_it_serves() {
    let folder = Folder::new();
    let link = folder.path("engram-server");
    std::os::unix::fs::symlink(ENGRAM, &link).unwrap();
    let (server, log) =
        Server::start(&folder.path("data"), link.to_str().unwrap(), &["--set", "wal.sync_mode=batch"]);
    ok(&["status", "--url", &server.url]);
    let (code, log) = server.stop(log);
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_running_server_is_backed_up_and_comes_back_elsewhere() {
    let folder = Folder::new();
    let (server, log) = Server::start(&folder.path("data"), ENGRAM, &["serve"]);
    let (url, place) = (server.url.clone(), folder.name("backups"));
    for (space, text) in
        [("diary", "It rained in Bath"), ("notes", "Bread rises"), ("notes", "Yeast is alive")]
    {
        ok(&["store", "--space", space, text, "--url", &url]);
    }
    let first = ok_json(&["backup", "--to", &place, "--url", &url, "--json"]);
    assert_eq!((&first["spaces"], &first["files_copied"]), (&json!(2), &first["files"]), "{first}");
    ok(&["store", "--space", "notes", "Bread is baked", "--url", &url]);
    let said = ok(&["backup", "--to", &place, "--space", "notes", "--url", &url]);
    assert!(said.contains(" of 1 space to file://") && said.contains("1 file, "), "{said}");
    let deleted = ok(&["space", "delete", "notes", "--yes", "--url", &url]);
    let first = first["id"].as_str().unwrap();
    assert!(
        deleted.contains("3 memories") && deleted.contains(&format!("still in backup {first}")),
        "{deleted}"
    );
    let (code, log) = server.stop(log);
    assert_eq!(code, Some(0), "{log}");
    let listed = ok_json(&["restore", "--from", &place, "--list", "--json"]);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["memories"], &listed[1]["memories"]),
        (&json!(first), &json!(3), &json!(3))
    );
    let data = folder.data();
    let only = ["restore", "--from", &place, "--space", "notes", "--data-dir", &data];
    let said = ok(&only);
    assert!(said.starts_with("restored 1 space with 3 memories from backup "), "{said}");
    assert!(fails(1, &only).contains("space \"notes\" is in "));
    let spaces = ok_json(&["space", "list", "--data-dir", &data, "--json"]);
    assert_eq!(spaces["spaces"].as_array().unwrap().len(), 2);
    let elsewhere =
        ["restore", "--from", &place, "--space", "diary", "--data-dir", &folder.name("elsewhere")];
    let said = fails(1, &elsewhere);
    assert!(said.contains(&format!("bring it back with --backup {first} --space diary")), "{said}");
    let old = folder.name("old");
    ok(&["restore", "--from", &place, "--backup", first, "--data-dir", &old]);
    let then = ok_json(&["space", "show", "notes", "--data-dir", &old, "--json"]);
    assert_eq!(then["memories"], 2, "as it was then");
    let at = listed[1]["created_at"].as_str().unwrap();
    let newest =
        ok_json(&["restore", "--from", &place, "--at", at, "--data-dir", &folder.name("at"), "--json"]);
    assert_eq!(newest["backup"], listed[1]["id"], "the last one that was begun by then");
    let before =
        ["restore", "--from", &place, "--at", "2020-01-01T00:00:00Z", "--data-dir", &folder.name("before")];
    assert!(fails(1, &before).contains("was begun by 2020-01-01T00:00:00Z"));
    for said in [ok(&["check", "--data-dir", &data]), ok(&["check", "--from", &place])] {
        assert!(said.lines().count() == 2 && said.lines().all(|line| line.starts_with("sound")), "{said}");
    }
    let kept = ok_json(&["backup", "--to", &place, "--keep", "1", "--data-dir", &data, "--json"]);
    assert_eq!(kept["removed"].as_array().unwrap().len(), 2, "{kept}");
    assert_eq!(ok_json(&["restore", "--from", &place, "--list", "--json"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_damaged_folder_is_found_and_named() {
    let folder = Folder::new();
    let data = folder.data();
    ok(&["store", "--space", "diary", "It rained in Bath", "--data-dir", &data]);
    ok(&["store", "--space", "notes", "Bread rises because of yeast", "--data-dir", &data]);
    let file = fs::read_dir(folder.path("data/spaces/diary"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "ckpt"))
        .unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[60] ^= 1;
    fs::write(&file, bytes).unwrap();
    let output = run(&["check", "--data-dir", &data]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("wrong  space diary") && said.contains("is damaged at byte"), "{said}");
    assert!(said.contains("sound  space notes: 1 memory"), "{said}");
    let backup = run(&["backup", "--to", &folder.name("backups"), "--data-dir", &data]);
    assert_eq!(backup.status.code(), Some(1));
    let (told, warned) = (text(&backup.stdout), text(&backup.stderr));
    assert!(
        told.contains("of 1 space") && warned.contains("not in the backup: space diary"),
        "{told}{warned}"
    );
    // What is left out may be in no other.
    run(&["backup", "--to", &folder.name("backups"), "--data-dir", &data, "--keep", "1"]);
    let listed = ok_json(&["restore", "--from", &folder.name("backups"), "--list", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    assert_eq!((&listed[0]["left_out"], &listed[1]["left_out"]), (&json!(["diary"]), &json!(["diary"])));
    let said = ok(&["restore", "--from", &folder.name("backups"), "--list"]);
    assert_eq!(said.matches("without diary, which could not be copied").count(), 2, "{said}");
    let restored = run(&["restore", "--from", &folder.name("backups"), "--data-dir", &folder.name("to")]);
    assert_eq!(restored.status.code(), Some(1), "a space is missing");
    let (told, warned) = (text(&restored.stdout), text(&restored.stderr));
    assert!(
        told.contains("restored 1 space") && warned.contains("space diary is not in this backup"),
        "{warned}"
    );
    assert!(warned.contains("no earlier one at this place has it"), "{warned}");
    let left_out = ["restore", "--from", &folder.name("backups"), "--space", "diary", "--data-dir", &data];
    let said = fails(1, &left_out);
    assert!(said.contains("could not be copied: ") && said.contains("no earlier one"), "{said}");
    let nothing = ["backup", "--to", &folder.name("nothing"), "--data-dir", &data, "--space", "diary"];
    assert!(fails(1, &nothing).contains("no space to copy"));
    assert!(ok_json(&["restore", "--from", &folder.name("nothing"), "--list", "--json"]) == json!([]));
    fails(2, &["check", "--data-dir", &folder.name("nowhere")]);
    fails(2, &["check", "--from", &folder.name("b"), "--repair"]);
    fails(2, &["restore", "--from", &folder.name("backups")]);
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let folder = Folder::new();
    let data = folder.data();
    let said = fails(1, &["serve", "--data-dir", &data, "--http", "0.0.0.0:0"]);
    assert!(said.contains("server.http_addr") && said.contains("--insecure"), "{said}");
    let said = fails(1, &["serve", "--data-dir", &data, "--set", "wal.sync_mode=never"]);
    assert!(said.contains("--set") && said.contains("never"), "{said}");
    fails(2, &["serve", "--set", "nonsense"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_server_has_the_threads_that_are_configured() {
    let folder = Folder::new();
    let args = ["serve", "--set", "runtime.worker_threads=3", "--set", "thread_pools.background_workers=5"];
    let (server, log) = Server::start(&folder.path("data"), ENGRAM, &args);
    let names = || -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap();
        // A thread may end while the others are looked at.
        tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok()).collect()
    };
    // A thread names itself when it begins; the first one has the name of the program.
    while names().iter().filter(|name| *name == "engram\n").count() > 1 {
        std::thread::yield_now();
    }
    let names = names();
    let count = |prefix: &str| names.iter().filter(|name| name.starts_with(prefix)).count();
    assert_eq!((count("engram-http-"), count("engram-work-")), (3, 5), "{names:?}");
    assert_eq!(server.stop(log).0, Some(0));
}
