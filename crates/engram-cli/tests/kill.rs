//! kill -9 in the middle of eight concurrent writers, twenty times over on the same folder: every acknowledged memory is
//! there after each restart, readable, recallable by text and by vector. Also while payloads move between tiers, down to
//! the object store that `ENGRAM_TEST_S3` names (else a folder), while backups are made, and amid a checkpoint.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a helper of tests that panics fails the test that called it, and says where it kept its data"
)]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const KILLS: usize = 20;
const WRITERS: usize = 8;
const DIMENSIONS: usize = 64;

/// A server in a process of its own.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(data: &Path, settings: &[String]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
        command.args(["serve", "--http", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
        command.args(["--set", "server.grpc_addr=127.0.0.1:0", "--set", "log.format=json", "--data-dir"]);
        command.arg(data).env_remove("ENGRAM_CONFIG");
        command.args(settings.iter().flat_map(|setting| ["--set", setting]));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut server = Self { child: command.spawn().unwrap(), url: String::new() };
        let mut log = BufReader::new(server.child.stderr.take().unwrap());
        let mut seen = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the server ended: {seen}");
            seen.push_str(&line);
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            if let Some(address) = event["http_addr"].as_str() {
                break address.to_string();
            }
        };
        // Reads on, so that the server never waits for room in the pipe.
        thread::spawn(move || for _ in log.lines().map_while(Result::ok) {});
        server.url = format!("http://{address}/api/v1/spaces/notes");
        server
    }

    /// Asks it to stop, and kills it as soon as its folder holds a half checkpoint. Returns whether it did.
    fn kill_amid_checkpoint(mut self, folder: &Path) -> bool {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        let is_half = |name: &str| name.starts_with("checkpoint-") && name.ends_with(".tmp");
        while self.child.try_wait().unwrap().is_none() {
            if names(folder).iter().any(|name| is_half(name)) {
                self.kill();
                return names(folder).iter().any(|name| is_half(name));
            }
        }
        false
    }

    fn kill(mut self) {
        // SIGKILL.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A test that fails leaves no server.
impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn names(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Answers of the server, or why there was none.
fn ask(agent: &ureq::Agent, url: &str, body: Option<&Value>) -> Result<Value, ureq::Error> {
    let mut response = match body {
        Some(body) => {
            agent.post(url).header("content-type", "application/json").send(body.to_string().as_bytes())?
        }
        None => agent.get(url).call()?,
    };
    Ok(serde_json::from_str(&response.body_mut().read_to_string()?).unwrap())
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(20))).build().into()
}

/// A memory like no other, by its words and its vector.
fn memory(id: &str) -> Value {
    memory_of(id, DIMENSIONS)
}

fn memory_of(id: &str, dimensions: usize) -> Value {
    let mut seed = fnv(id);
    let embedding: Vec<f32> = (0..dimensions)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    json!({"id": id, "content": format!("note {id} of the day"), "embedding": embedding, "context": &id[..4]})
}

fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

/// Eight writers until so many memories are acknowledged, then kill -9. Returns the ids that were acknowledged.
fn write_and_kill(server: Server, kill: usize, count: usize, memory: fn(&str) -> Value) -> Vec<String> {
    write_until(server, kill, count, memory, Server::kill)
}

/// The same with another end.
fn write_until(
    server: Server,
    kill: usize,
    count: usize,
    memory: fn(&str) -> Value,
    end: impl FnOnce(Server),
) -> Vec<String> {
    let url = format!("{}/memories", server.url);
    let killed = AtomicBool::new(false);
    let (acknowledge, acknowledged) = mpsc::channel::<String>();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (acknowledge, killed, url) = (acknowledge.clone(), &killed, &url);
            scope.spawn(move || {
                let agent = agent();
                for number in 0.. {
                    let batch = if number % 4 == 3 { 3 } else { 1 };
                    let ids: Vec<String> =
                        (0..batch).map(|at| format!("k{kill:02}w{writer}n{number}b{at}")).collect();
                    let memories: Vec<Value> = ids.iter().map(|id| memory(id)).collect();
                    match ask(&agent, url, Some(&json!({"memories": memories}))) {
                        Ok(_) => ids.into_iter().for_each(|id| acknowledge.send(id).unwrap()),
                        Err(error) => {
                            assert!(killed.load(Ordering::Acquire), "writer {writer}: {error}");
                            return;
                        }
                    }
                }
            });
        }
        drop(acknowledge);
        let mut ids: Vec<String> = acknowledged.iter().take(count).collect();
        killed.store(true, Ordering::Release);
        end(server);
        // What was acknowledged before the writers noticed.
        ids.extend(acknowledged.iter());
        ids
    })
}

/// All memories of the space, by id.
fn read_all(agent: &ureq::Agent, url: &str) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let page = ask(agent, &format!("{url}/memories?limit=60&with_embedding=true{cursor}"), None).unwrap();
        for memory in page["memories"].as_array().unwrap() {
            all.insert(memory["id"].as_str().unwrap().to_string(), memory.clone());
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// Whether what was read has the values that were stored.
fn is_whole(read: &Value, stored: &Value) -> bool {
    let numbers = |value: &Value| -> Vec<f32> {
        value["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
    };
    let same = |field: &str| read[field] == stored[field];
    same("id") && same("content") && same("context") && numbers(read) == numbers(stored)
}

fn check(server: &Server, acknowledged: &[String], recent: &[String], memory: fn(&str) -> Value) {
    let agent = agent();
    let stored = if acknowledged.is_empty() { BTreeMap::new() } else { read_all(&agent, &server.url) };
    for id in acknowledged {
        let found = stored.get(id).unwrap_or_else(|| panic!("{id} was acknowledged and is lost"));
        assert!(is_whole(found, &memory(id)), "{found}");
    }
    for id in recent {
        let expected = memory(id);
        let url = format!("{}/memories/{id}?with_embedding=true", server.url);
        assert!(is_whole(&ask(&agent, &url, None).unwrap(), &expected), "{id}");
        let cues =
            [json!({"text": id, "limit": 10}), json!({"embedding": expected["embedding"], "limit": 10})];
        for cue in cues {
            let found = ask(&agent, &format!("{}/recall", server.url), Some(&cue)).unwrap();
            let mut ids = found["hits"].as_array().unwrap().iter().map(|hit| &hit["id"]);
            assert!(ids.any(|found| found == id.as_str()), "{cue} recalls {found:#}");
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed_twenty_times() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    let mut server = Server::start(folder.path(), &[]);
    for kill in 0..KILLS {
        let recent = write_and_kill(server, kill, 20 + 13 * kill % 90, memory);
        acknowledged.extend(recent.iter().cloned());
        server = Server::start(folder.path(), &[]);
        check(&server, &acknowledged, &recent, memory);
    }
    let some: Vec<String> = acknowledged.iter().step_by(7).cloned().collect();
    check(&server, &acknowledged, &some, memory);
    server.kill();
}

/// 16 KB, so that some thousands of them do not fit into the tiers.
fn large_memory(id: &str) -> Value {
    memory_of(id, 4096)
}

/// How often to kill, where the cold tier is, and settings with which some thousands of large memories get there.
fn tiers(folder: &Path, name: &str) -> (usize, String, [String; 3]) {
    let (kills, cold) = match std::env::var("ENGRAM_TEST_S3") {
        Ok(store) => (KILLS, format!("{store}/{name}-{}", std::process::id())),
        Err(_) => {
            println!("the cold tier is a folder: ENGRAM_TEST_S3 names no bucket");
            (KILLS / 2, format!("file://{}", folder.join("cold").display()))
        }
    };
    let settings = ["hot_tier_size_mb=16", "warm_tier_size_mb=16", &format!("cold_tier_endpoint={cold}")];
    let settings = settings.map(|setting| format!("storage.{setting}"));
    (kills, cold, settings)
}

#[test]
fn nothing_is_lost_when_the_server_is_killed_amid_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (kills, _, settings) = tiers(folder.path(), "checkpoint");
    let (mut acknowledged, mut amid) = (Vec::<String>::new(), 0);
    let mut server = Server::start(&data, &settings);
    for kill in 0..kills {
        let recent = write_until(server, kill, 100 + 37 * kill % 100, large_memory, |server| {
            amid += usize::from(server.kill_amid_checkpoint(&data.join("spaces/notes")));
        });
        acknowledged.extend(recent.iter().cloned());
        server = Server::start(&data, &settings);
        let some: Vec<String> = recent.iter().step_by(19).cloned().collect();
        check(&server, &[], &some, large_memory);
    }
    check(&server, &acknowledged, &[], large_memory);
    server.kill();
    println!("{} memories, {amid} of {kills} kills amid a checkpoint", acknowledged.len());
    assert!(amid > 0, "no checkpoint was met half written");
}

#[test]
fn nothing_is_lost_when_the_server_is_killed_while_payloads_move_and_backups_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let (data, place) = (folder.path().join("data"), folder.path().join("backups"));
    let (kills, cold, settings) = tiers(folder.path(), "kill");
    let engram = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
        command.args(args).stdin(Stdio::null()).env_remove("ENGRAM_CONFIG");
        command.env("ENGRAM_STORAGE__COLD_TIER_ENDPOINT", &cold).output().unwrap()
    };
    let (mut acknowledged, mut in_backup) = (Vec::<String>::new(), 0);
    let (mut halves, mut broken) = (0, 0);
    let mut server = Server::start(&data, &settings);
    for kill in 0..kills {
        let base = server.url.split("/api/").next().unwrap().to_string();
        let before = acknowledged.len();
        let (recent, backed_up) = thread::scope(|scope| {
            let args = ["backup", "--to", place.to_str().unwrap(), "--url", &base];
            let backup = scope.spawn(move || engram(&args));
            (write_and_kill(server, kill, 200 + 37 * kill % 300, large_memory), backup.join().unwrap())
        });
        match backed_up.status.success() && !backed_up.stdout.is_empty() {
            true => in_backup = before,
            false => broken += 1,
        }
        halves += names(&data.join("spaces/notes")).iter().filter(|name| name.ends_with(".tmp")).count();
        acknowledged.extend(recent.iter().cloned());
        server = Server::start(&data, &settings);
        let some: Vec<String> = recent.iter().step_by(19).cloned().collect();
        check(&server, &[], &some, large_memory);
    }
    check(&server, &acknowledged, &[], large_memory);
    let metrics = ask(&agent(), &server.url, None).unwrap();
    server.kill();
    println!("{} memories, {halves} half files, {broken} backups cut off: {metrics}", acknowledged.len());
    let checked = engram(&["check", "--data-dir", data.to_str().unwrap()]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    // The last backup has all that was acknowledged before it was begun.
    let restored = folder.path().join("restored");
    let all = [place.to_str().unwrap(), restored.to_str().unwrap()];
    let outcome = engram(&["restore", "--from", all[0], "--data-dir", all[1]]);
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
    let server = Server::start(&restored, &settings);
    check(&server, &acknowledged[..in_backup], &[], large_memory);
    server.kill();
}
