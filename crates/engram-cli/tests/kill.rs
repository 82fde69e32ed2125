//! kill -9 in the middle of eight concurrent writers, twenty times over on the same folder: every acknowledged memory is
//! there after each restart, readable, recallable by text and by vector.

#![expect(clippy::unwrap_used, reason = "a helper of tests that panics fails the test that called it")]

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
    fn start(data: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_engram"));
        command.args(["serve", "--http", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
        command.args(["--set", "server.grpc_addr=127.0.0.1:0", "--set", "log.format=json", "--data-dir"]);
        command.arg(data).env_remove("ENGRAM_CONFIG");
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
    let mut seed = fnv(id);
    let embedding: Vec<f32> = (0..DIMENSIONS)
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
fn write_and_kill(server: Server, kill: usize) -> Vec<String> {
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
        let mut ids: Vec<String> = acknowledged.iter().take(20 + 13 * kill % 90).collect();
        killed.store(true, Ordering::Release);
        server.kill();
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
        let page =
            ask(agent, &format!("{url}/memories?limit=1000&with_embedding=true{cursor}"), None).unwrap();
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

fn check(server: &Server, acknowledged: &[String], recent: &[String]) {
    let agent = agent();
    let stored = read_all(&agent, &server.url);
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
    let mut server = Server::start(folder.path());
    for kill in 0..KILLS {
        let recent = write_and_kill(server, kill);
        acknowledged.extend(recent.iter().cloned());
        server = Server::start(folder.path());
        check(&server, &acknowledged, &recent);
    }
    let some: Vec<String> = acknowledged.iter().step_by(7).cloned().collect();
    check(&server, &acknowledged, &some);
    server.kill();
}
