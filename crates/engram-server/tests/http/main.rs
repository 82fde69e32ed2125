//! The server from outside: real sockets on loopback, a folder of its own for each test.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic like the test itself")]

use engram::clock::Clock;
use engram::config::{Config, Machine};
use engram::{Engine, Options};
use engram_server::{Metrics, Server};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

mod serving;
mod snapshots;

struct Running {
    http: SocketAddr,
    metrics: SocketAddr,
    stop: mpsc::Sender<()>,
    serving: JoinHandle<()>,
    folder: tempfile::TempDir,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

fn start() -> Running {
    start_with(tempfile::tempdir().unwrap(), |_| {})
}

fn start_with(folder: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Running {
    start_by(folder, change, Clock::system())
}

fn start_by(folder: tempfile::TempDir, change: impl FnOnce(&mut Config), clock: Clock) -> Running {
    let mut config = Config::fitting(&Machine::detect());
    config.server.http_addr = "127.0.0.1:0".parse().unwrap();
    config.server.metrics_addr = "127.0.0.1:0".parse().unwrap();
    config.storage.data_dir = folder.path().to_owned();
    change(&mut config);
    let metrics = Metrics::new();
    let mut options = Options { clock, ..Options::from_config(&config).unwrap() };
    options.observe_flush = Some(metrics.flush_observer());
    options.observe_consolidation = Some(metrics.consolidation_observer());
    let engine = Engine::open(options).unwrap();
    let (stop, stopped) = mpsc::channel(2);
    let (addresses, bound) = std::sync::mpsc::channel();
    let serving = std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::bind(config, engine, metrics, false).await.unwrap();
            addresses.send((server.http_addr().unwrap(), server.metrics_addr().unwrap())).unwrap();
            server.run(stopped).await.unwrap();
        });
    });
    let (http, metrics) = bound.recv().unwrap();
    let running = Running { http, metrics, stop, serving, folder };
    while running.call("GET", "/health/ready", "").status != 200 {
        std::thread::yield_now();
    }
    running
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream
}

fn head(method: &str, path: &str, length: usize, more: &str) -> String {
    let json = if length > 0 { "Content-Type: application/json\r\n" } else { "" };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{json}{more}Content-Length: {length}\r\n\r\n"
    )
}

fn reply(mut stream: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply in {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

impl Running {
    fn call(&self, method: &str, path: &str, body: &str) -> Reply {
        self.call_with(method, path, body, "")
    }

    fn call_with(&self, method: &str, path: &str, body: &str, headers: &str) -> Reply {
        let mut stream = connect(self.http);
        let head = head(method, path, body.len(), headers);
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        reply(stream)
    }

    /// Calls below the space `s`, and expects `status`.
    fn ask(&self, status: u16, method: &str, path: &str, body: Value) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let reply = self.call(method, &format!("/api/v1/spaces/s{path}"), &body);
        assert_eq!(reply.status, status, "{method} {path} {body}: {}", reply.body);
        reply.json()
    }

    /// Expects problem+json of this status, and gives its detail.
    fn refused(&self, status: u16, method: &str, path: &str, body: &str) -> String {
        let reply = self.call(method, path, body);
        let shown = &body[..body.len().min(80)];
        assert_eq!(reply.status, status, "{method} {path} {shown}: {}", reply.body);
        assert_problem(&reply)
    }

    fn metrics(&self) -> String {
        let mut stream = connect(self.metrics);
        stream.write_all(head("GET", "/metrics", 0, "").as_bytes()).unwrap();
        let reply = reply(stream);
        assert!(reply.head.contains("content-type: text/plain; version=0.0.4"), "{}", reply.head);
        reply.body
    }

    fn stop(self) -> tempfile::TempDir {
        self.stop.blocking_send(()).unwrap();
        self.serving.join().unwrap();
        self.folder
    }
}

fn assert_problem(reply: &Reply) -> String {
    assert!(reply.head.contains("content-type: application/problem+json"), "{}", reply.head);
    let body = reply.json();
    assert_eq!(body["status"], reply.status);
    assert!(body["type"].as_str().unwrap().starts_with("/problems/"), "{body}");
    assert!(!body["title"].as_str().unwrap().is_empty());
    body["detail"].as_str().unwrap().to_owned()
}

#[test]
fn what_is_used_is_strengthened_and_what_is_shown_is_counted() {
    let server = start();
    server.ask(201, "POST", "/memories", json!({"id": "rain", "content": "It rained in Bath"}));
    let usage = || server.ask(200, "GET", "/memories/rain", Value::Null)["usage"].clone();
    let first = usage();
    assert_eq!((&first["uses"], &first["shown"]), (&json!(1), &json!(0)));
    server.ask(200, "POST", "/recall", json!({"text": "rain"}));
    server.ask(200, "POST", "/recall", json!({"text": "rain", "reinforce": false}));
    let shown = usage();
    assert_eq!((&shown["uses"], &shown["shown"]), (&json!(1), &json!(1)));
    server.ask(200, "POST", "/recall", json!({"text": "rain", "reinforce": true}));
    let done = server.ask(200, "POST", "/reinforce", json!({"ids": ["rain"], "outcome": "confirmed"}));
    assert!(done["position"].as_u64().unwrap() > 1);
    assert_eq!(usage()["uses"], json!(3));
    let before = usage()["stability_days"].as_f64().unwrap();
    server.ask(200, "POST", "/reinforce", json!({"ids": ["rain"], "outcome": "contradicted"}));
    assert!(usage()["stability_days"].as_f64().unwrap() < before);
    for (status, request) in [
        (404, json!({"ids": ["rain", "nobody"], "outcome": "used"})),
        (400, json!({"ids": [], "outcome": "used"})),
        (400, json!({"ids": ["rain"], "outcome": "liked"})),
    ] {
        server.ask(status, "POST", "/reinforce", request);
    }
    assert_eq!(usage()["uses"], json!(2));
}

#[test]
fn a_memory_with_gaps_is_completed() {
    let server = start();
    let memories = json!({"memories": [
        {"id": "a", "content": "Ann found a flat", "embedding": [0.1, 2.0, 0.0], "context": "chat", "metadata": {"by": "Ann"}},
        {"id": "b", "content": "Bob sold a boat", "embedding": [0.0, 0.0, 0.3], "context": "sea", "metadata": {"by": "Bob"}}]});
    server.ask(201, "POST", "/memories", memories);
    let request =
        json!({"embedding": [0.1, null, 0.0], "content": null, "metadata": {"by": null}, "context": "chat"});
    let completed = server.ask(200, "POST", "/complete", request);
    let fields: Vec<&String> = completed["completed"].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["content", "context", "embedding", "metadata.by"]);
    let field = |name: &str| completed["completed"][name].clone();
    assert_eq!(field("content")["value"], "Ann found a flat");
    // Numbers as they were stored, to the digit.
    assert_eq!(field("embedding")["value"], json!([0.1, 2.0, 0.0]));
    assert_eq!(
        (field("context")["given"].clone(), field("content")["given"].clone()),
        (json!(true), json!(false))
    );
    assert_eq!(field("metadata.by")["sources"], json!(["a"]));
    assert!(field("content")["confidence"].as_f64().unwrap() > 0.9, "{completed}");
    assert_eq!((&completed["abstain"], &completed["alternatives"]), (&json!(false), &json!([])));
    // It leaves no trace.
    assert_eq!(server.ask(200, "GET", "/memories/a", Value::Null)["usage"]["shown"], 0);
    for request in [
        json!({"content": null}),
        json!({"content": "all given"}),
        json!({"content": null, "embedding": [1]}),
        json!({"content": null, "embedding": [1, "x", 2]}),
        json!({"content": null, "context": "c", "id": "a"}),
        json!({"content": null, "context": "c", "beta": -1}),
        json!({"content": null, "context": "c", "limit": 101}),
        json!([null]),
    ] {
        server.ask(400, "POST", "/complete", request);
    }
}

#[test]
fn memories_are_stored_recalled_linked_counted_and_deleted() {
    let server = start();
    let stored = server.ask(
        201,
        "POST",
        "/memories",
        json!({"memories": [
            {"id": "rain", "content": "It rained in Bath", "context": "trip", "occurred_at": "2024-05-01T10:00:00Z",
             "metadata": {"speaker": "Ada", "exact": 0.1}, "embedding": [1, 0.1, 0]},
            {"id": "tea", "content": "Ada drank tea under a roof", "context": "trip", "occurred_at": "2024-05-01T10:05:00Z",
             "embedding": [0, 1.1, 0], "links": [{"to": "rain", "kind": "because"}], "confidence": 0.5},
            {"id": "code", "content": "The parser is written in Rust", "embedding": [0, 0, 1]}
        ]}),
    );
    assert_eq!(stored["ids"], json!(["rain", "tea", "code"]));
    assert!(stored["position"].as_u64().unwrap() > 0);

    let got = server.ask(200, "GET", "/memories/rain", Value::Null);
    assert_eq!((&got["content"], &got["metadata"]["exact"]), (&json!("It rained in Bath"), &json!(0.1)));
    assert!(got.get("embedding").is_none());
    let got = server.ask(200, "GET", "/memories/tea?with_embedding=true", Value::Null);
    assert_eq!(got["embedding"], json!([0.0, 1.1, 0.0]));
    assert_eq!(got["links"], json!([{"to": "rain", "kind": "because", "weight": 1.0}]));

    let page = server.ask(200, "GET", "/memories?limit=2", Value::Null);
    assert_eq!(page["memories"].as_array().unwrap().len(), 2);
    let next = format!("/memories?limit=2&cursor={}", page["next"].as_str().unwrap());
    let page = server.ask(200, "GET", &next, Value::Null);
    assert_eq!((&page["memories"][0]["id"], &page["next"]), (&json!("code"), &Value::Null));

    let recalled = server.ask(200, "POST", "/recall", json!({"text": "rain", "limit": 2}));
    let hit = &recalled["hits"][0];
    assert_eq!((&hit["id"], &hit["tier"], &hit["kind"]), (&json!("rain"), &json!("hot"), &json!("episode")));
    for field in
        ["score", "relevance", "retrievability", "confidence", "duplicates", "stored_at", "occurred_at"]
    {
        assert!(hit.get(field).is_some(), "{field} in {hit}");
    }
    assert!(hit.get("parts").is_none() && hit.get("embedding").is_none(), "{hit}");
    for field in ["abstain", "activated", "truncated", "took_ms"] {
        assert!(recalled.get(field).is_some(), "{field}");
    }
    let explained = json!({"text": "rain", "embedding": [1, 0, 0], "explain": true, "with_embedding": true, "exact": true});
    let recalled = server.ask(200, "POST", "/recall", explained);
    assert!(recalled["hits"][0]["parts"]["lexical"].as_f64().unwrap() > 0.0);
    assert!(recalled["hits"][0]["paths"].is_array() && recalled["hits"][0]["embedding"].is_array());
    let of_ada = json!({"field": "metadata.speaker", "equals": "Ada"});
    let recalled =
        server.ask(200, "POST", "/recall", json!({"text": "tea rain", "filter": {"must": [of_ada]}}));
    assert_eq!(recalled["hits"].as_array().unwrap().len(), 1);

    let active = server.ask(200, "POST", "/activate", json!({"seeds": [{"id": "tea", "activation": 1}]}));
    let active: Vec<&str> =
        active["activations"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert!(active.contains(&"rain"), "{active:?}");
    server.ask(200, "POST", "/activate", json!({"text": "rain"}));

    let association = json!({"from": "rain", "to": "code", "kind": "during", "weight": 0.5});
    server.ask(200, "PUT", "/associations", association.clone());
    let rain = server.ask(200, "GET", "/memories/rain", Value::Null);
    assert_eq!(rain["links"], json!([{"to": "code", "kind": "during", "weight": 0.5}]));
    server.ask(200, "DELETE", "/associations", association.clone());
    server.ask(404, "DELETE", "/associations", association);

    let patched = server.ask(200, "PATCH", "/memories/code", json!({"context": "work"}));
    assert_eq!(
        (&patched["context"], &patched["content"]),
        (&json!("work"), &json!("The parser is written in Rust"))
    );

    let in_trip = json!({"filter": {"must": [{"field": "context", "equals": "trip"}]}});
    assert_eq!(server.ask(200, "POST", "/memories/count", in_trip.clone())["count"], 2);
    assert_eq!(server.ask(200, "POST", "/memories/count", json!({}))["count"], 3);
    let times = json!({"filter": {"must": [{"field": "occurred_at", "gte": "2024-05-01T12:00:00+02:00", "lt": "2024-05-01T10:05:00Z"}]}});
    assert_eq!(server.ask(200, "POST", "/memories/count", times)["count"], 1);
    let dry = json!({"ids": ["rain", "tea", "nobody"], "dry_run": true});
    assert_eq!(server.ask(200, "POST", "/memories/delete", dry), json!({"count": 2, "dry_run": true}));
    let deleted = server.ask(200, "POST", "/memories/delete", in_trip);
    assert_eq!((&deleted["count"], deleted["ids"].as_array().unwrap().len()), (&json!(2), 2));
    assert!(server.ask(200, "DELETE", "/memories/code", Value::Null)["position"].is_u64());
    server.ask(404, "GET", "/memories/code", Value::Null);
    server.ask(404, "DELETE", "/memories/code", Value::Null);
    server.stop();
}

#[test]
fn spaces_have_settings_and_can_be_deleted() {
    let server = start();
    let settings = json!({"language": "english", "decay": "none", "decay_from": "occurred_at", "memories_max": 5,
                          "forget_below": 0.5, "embedder": {"provider": "caller", "dimensions": 2}});
    let space = server.ask(201, "PUT", "", settings.clone());
    assert_eq!(space["settings"], settings);
    let space = server.ask(200, "PUT", "", json!({"memories_max": 6}));
    assert_eq!(
        (&space["settings"]["memories_max"], &space["settings"]["decay"]),
        (&json!(6), &json!("none"))
    );
    server.ask(201, "POST", "/memories", json!({"content": "a", "embedding": [1, 2]}));
    assert_eq!(server.ask(200, "GET", "", Value::Null)["memories"], 1);
    // It forgets by no law, so nothing is faded.
    let faded = json!({"faded": true, "dry_run": true});
    let none = json!({"count": 0, "ids": [], "dry_run": true});
    assert_eq!(server.ask(200, "POST", "/memories/delete", faded), none);
    let spaces = server.call("GET", "/api/v1/spaces", "").json();
    assert_eq!(spaces["spaces"][0]["name"], "s");
    let status = server.call("GET", "/api/v1/status", "").json();
    assert_eq!((&status["ready"], &status["spaces"]), (&json!(true), &json!(1)));
    assert_eq!((&status["memories"]["hot"], &status["operations"]["store"]["count"]), (&json!(1), &json!(1)));
    assert_eq!(server.ask(200, "DELETE", "", Value::Null)["memories"], 1);
    server.ask(404, "GET", "", Value::Null);
    server.ask(404, "POST", "/recall", json!({"text": "a"}));
    server.stop();
}

#[test]
fn settings_that_are_changed_at_one_time_are_all_kept() {
    let server = start();
    for at in 0..20 {
        let path = format!("/api/v1/spaces/s{at}");
        let put = |body: &str| assert!(server.call("PUT", &path, body).status < 300);
        std::thread::scope(|scope| {
            scope.spawn(|| put(r#"{"memories_max": 7}"#));
            scope.spawn(|| put(r#"{"decay": "none"}"#));
            scope.spawn(|| put(r#"{"decay_from": "occurred_at"}"#));
        });
        let settings = server.call("GET", &path, "").json()["settings"].clone();
        let found = (&settings["memories_max"], &settings["decay"], &settings["decay_from"]);
        assert_eq!(found, (&json!(7), &json!("none"), &json!("occurred_at")));
    }
    server.stop();
}

#[test]
fn a_damaged_space_hides_no_other() {
    let server = start();
    for space in ["bad", "good"] {
        let path = format!("/api/v1/spaces/{space}/memories");
        assert_eq!(server.call("POST", &path, r#"{"content": "a"}"#).status, 201);
    }
    let folder = server.stop();
    damage(&folder.path().join("spaces/bad"));
    let server = start_with(folder, |_| {});
    let spaces = server.call("GET", "/api/v1/spaces", "").json()["spaces"].clone();
    assert_eq!((&spaces[0]["name"], &spaces[1]["name"]), (&json!("bad"), &json!("good")), "{spaces}");
    assert!(!spaces[0]["error"].as_str().unwrap().is_empty());
    assert_eq!((&spaces[1]["memories"], spaces[1].get("error")), (&json!(1), None));
    let deleted = server.call("DELETE", "/api/v1/spaces/bad", "");
    assert_eq!((deleted.status, &deleted.json()["name"]), (200, &json!("bad")));
    assert_eq!(server.call("GET", "/api/v1/spaces", "").json()["spaces"].as_array().unwrap().len(), 1);
    server.stop();
}

/// Turns over every byte of every file.
fn damage(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damage(&path);
        } else {
            let bytes: Vec<u8> = std::fs::read(&path).unwrap().iter().map(|byte| !byte).collect();
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

#[test]
fn storing_again_is_a_no_op_a_conflict_or_a_replacement() {
    let server = start();
    let one = json!({"id": "m", "content": "first"});
    server.ask(201, "POST", "/memories", one.clone());
    server.ask(201, "POST", "/memories", one);
    server.ask(409, "POST", "/memories", json!({"id": "m", "content": "second"}));
    server.ask(201, "POST", "/memories", json!({"id": "m", "content": "second", "replace": true}));
    server.ask(
        201,
        "POST",
        "/memories",
        json!({"memories": [{"id": "m", "content": "third"}], "replace": true}),
    );
    assert_eq!(server.ask(200, "GET", "/memories/m", Value::Null)["content"], "third");
    assert_eq!(server.ask(200, "POST", "/memories/count", json!({}))["count"], 1);

    let keyed =
        |body: &str| server.call_with("POST", "/api/v1/spaces/s/memories", body, "Idempotency-Key: k1\r\n");
    let (first, second) = (keyed(r#"{"content": "x"}"#), keyed(r#"{"content": "x"}"#));
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.json()["ids"], second.json()["ids"]);
    assert_eq!(server.ask(200, "POST", "/memories/count", json!({}))["count"], 2);
    let other = keyed(r#"{"content": "y"}"#);
    assert_eq!(other.status, 409);
    assert_problem(&other);
    server.stop();
}

#[test]
fn bad_input_is_refused_with_help_and_changes_nothing() {
    let server = start();
    let kept = r#"{"id": "kept", "content": "kept", "embedding": [1, 0]}"#;
    assert_eq!(server.call("POST", "/api/v1/spaces/s/memories", kept).status, 201);
    let long = format!(r#"{{"content": "{}"}}"#, "x".repeat(100 << 10));
    let deep = format!(r#"{{"metadata": {{"a": {}{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let deep_alone = "[".repeat(100_000);
    // Body of a store, and what the detail must say.
    let stores: &[(&str, &str)] = &[
        (r#"{"content": "a", "embedding": [1, 2, 3]}"#, "3 numbers"),
        (r#"{"content": "a", "embedding": [NaN, 1]}"#, "NaN"),
        (r#"{"content": "a", "embedding": [1, Infinity]}"#, "Infinity"),
        (r#"{"content": "a", "embedding": [0, 1e39]}"#, "embedding[1]: 1e39"),
        (
            r#"{"content": "a", "embedding": [0, -340282360000000000000000000000000000000000]}"#,
            "embedding[1]: -3402",
        ),
        (r#"{"content": "a", "embedding": [null, 1]}"#, "embedding[0]: invalid type: null"),
        (r#"{"content": "a", "embedding": ["1", 1]}"#, "embedding[0]"),
        (r#"{"content": "a", "embedding": [0, 0]}"#, "zero"),
        (r#"{"content": "a", "embedding": []}"#, "0 numbers"),
        (r#"{"content": ""}"#, "empty"),
        (r#"{"content": "  "}"#, "empty"),
        (r#"{}"#, "content or an embedding"),
        (&long, "102400 bytes"),
        (r#"{"content": "a", "confidence": 5}"#, "confidence is 5"),
        (r#"{"content": "a", "confidence": -1}"#, "confidence is -1"),
        (r#"{"content": "a", "links": [{"to": "b", "kind": "k", "weight": -3}]}"#, "weight -3"),
        (r#"{"content": "a", "links": [["b", "k"]]}"#, "links[0]: invalid type: sequence"),
        (r#"{"content": "a", "colour": "red"}"#, "unknown field `colour`"),
        (r#"{"content": "a", "stored_at": "2024-01-01T00:00:00Z"}"#, "unknown field `stored_at`"),
        (r#"{"content": "a", "kind": "dream"}"#, "unknown variant `dream`"),
        (r#"{"content": "a", "occurred_at": "yesterday"}"#, "occurred_at"),
        (r#"{"content": "a", "id": "../x"}"#, "memory id"),
        (r#"{"content": "a", "occurred_at": "0000-01-01T00:00:00+02:00"}"#, "is before 0000-01-01T00:00:00Z"),
        (
            r#"{"content": "a", "confidence": "a"}"#,
            "confidence: invalid type: string \"a\", expected a number within 0 and 1",
        ),
        (r#"{"content": "a", "metadata": {"k": 1, "k": 2}}"#, "metadata: duplicate field `k`"),
        (
            r#"{"memories": [{"content": "a", "metadata": {"a": [{"k": 1, "b": 0, "k": 1}]}}]}"#,
            "memories[0].metadata.a[0]: duplicate field `k`",
        ),
        (
            r#"{"content": "a", "metadata": [1]}"#,
            "metadata: invalid type: sequence, expected metadata: an object",
        ),
        (r#"{"content": 5}"#, "content: invalid type: integer `5`, expected a string at line 1"),
        (r#"{"content": "a""#, "EOF"),
        (r#"{"content": "a"} x"#, "trailing"),
        (r#"["a"]"#, "a memory, or"),
        (r#"{"memories": []}"#, "empty"),
        (r#"{"memories": [{"content": "a"}], "content": "b"}"#, "beside"),
        (
            r#"{"memories": [{"content": "a"}, {"content": "b", "confidence": 2}]}"#,
            "memories[1]: confidence is 2",
        ),
        (
            r#"{"memories": [{"content": "a"}, {"content": "b", "embedding": [1e39]}]}"#,
            "memories[1].embedding[0]: 1e39",
        ),
        (&deep, "recursion limit"),
        (&deep_alone, "a memory, or"),
        ("", "no body"),
    ];
    for (body, said) in stores {
        let detail = server.refused(400, "POST", "/api/v1/spaces/s/memories", body);
        assert!(detail.contains(said), "{}: {detail}", &body[..body.len().min(80)]);
    }
    let cues: &[(&str, &str)] = &[
        (r#"{}"#, "needs text"),
        (r#"{"text": ""}"#, "empty"),
        (r#"{"text": "a", "limit": 0}"#, "limit is 0"),
        (r#"{"text": "a", "limit": 1000000000}"#, "limit is 1000000000"),
        (
            r#"{"text": "a", "limit": -1}"#,
            "limit: invalid value: integer `-1`, expected a whole number within 1 and 1000",
        ),
        (
            r#"{"text": "a", "budget": 1.5}"#,
            "budget: invalid type: floating point `1.5`, expected a whole number, 0",
        ),
        (
            r#"{"text": "a", "filter": 5}"#,
            "filter: invalid type: integer `5`, expected a filter: an object such as",
        ),
        (r#"{"text": "a", "filter": []}"#, "expected a filter"),
        (
            r#"{"text": "a", "filter": {"must": [{"field": "speaker", "equals": 1}]}}"#,
            "use metadata.<key>, context",
        ),
        (r#"{"text": "a", "filter": {"must": [{"field": "context"}]}}"#, "exactly one of"),
        (
            r#"{"text": "a", "filter": {"must": [{"field": "context", "equals": "a", "exists": true}]}}"#,
            "exactly one of",
        ),
        (r#"{"text": "a", "filter": {"must": [{"field": "metadata.a", "equals": null}]}}"#, "exists"),
        (
            r#"{"text": "a", "filter": {"should": [{"field": "kind", "equals": "dream"}]}}"#,
            "filter.should[0]: \"kind\"",
        ),
        (r#"{"text": "a", "filter": {"must": [{"field": "stored_at", "gte": 5}]}}"#, "RFC 3339"),
        (
            r#"{"text": "a", "filter": {"must": [{"field": "metadata.a", "gte": [1]}]}}"#,
            "filter.must[0]: \"metadata.a\" is compared with [1]; gte and lt need a number or a text",
        ),
        (r#"{"text": "a", "filter": {"must": [{"field": "metadata.a", "lt": true}]}}"#, "compared with true"),
        (
            r#"{"text": "a", "filter": {"must": [{"field": "metadata.a", "gte": {"b": 1}}]}}"#,
            "compared with {",
        ),
        (r#"{"text": "a", "filter": {"must": [{"field": "occurred_at", "gte": "soon"}]}}"#, "RFC 3339"),
        (r#"{"text": "a", "min_relevance": 2}"#, "min_relevance is 2"),
        (r#"{"embedding": [1, 2, 3]}"#, "3 numbers"),
        (r#"{"text": "a", "querry": 1}"#, "unknown field `querry`"),
    ];
    for (body, said) in cues {
        let detail = server.refused(400, "POST", "/api/v1/spaces/s/recall", body);
        assert!(detail.contains(said), "{body}: {detail}");
    }
    for (path, body, said) in [
        ("/memories/delete", r#"{}"#, "every memory"),
        ("/memories/delete", r#"{"filter": {}}"#, "every memory"),
        ("/activate", r#"{"seeds": [{"id": "kept", "activation": -1}]}"#, "seed \"kept\" has activation -1"),
        ("/activate", r#"{"seeds": [{"id": "kept", "activation": 2}]}"#, "at most 1"),
        ("/activate", r#"{"seeds": [{"id": "kept"}, {"id": "../x"}]}"#, "seeds[1].id: "),
        ("/activate", r#"{"seeds": []}"#, "0 entries"),
        ("/activate", r#"{"seeds": [{"id": "kept"}], "text": "a"}"#, "both"),
    ] {
        let detail = server.refused(400, "POST", &format!("/api/v1/spaces/s{path}"), body);
        assert!(detail.contains(said), "{body}: {detail}");
    }
    for (body, said) in
        [(r#"{"content": null}"#, "content is null"), ("{}", "no field"), (r#"{"id": "b"}"#, "cannot change")]
    {
        let detail = server.refused(400, "PATCH", "/api/v1/spaces/s/memories/kept", body);
        assert!(detail.contains(said), "{body}: {detail}");
    }
    let settings = [
        r#"{"language": "klingon"}"#,
        r#"{"embedder": {"provider": "builtin", "version": 9}}"#,
        r#"{"embedder": {"provider": "builtin", "dimensions": 9}}"#,
        r#"{"embedder": {"provider": "caller"}}"#,
        r#"{"decay": "fast"}"#,
    ];
    for body in settings {
        server.refused(400, "PUT", "/api/v1/spaces/s", body);
    }
    for query in ["?limit=0", "?limit=1000000000", "?limit=x", "?cursor=../..", "?cursor=c%00", "?page=2"] {
        server.refused(400, "GET", &format!("/api/v1/spaces/s/memories{query}"), "");
    }
    let detail = server.refused(400, "GET", "/api/v1/spaces/s/memories?limit=a", "");
    assert_eq!(detail, "limit: found \"a\", expected a whole number within 1 and 1000");
    assert_eq!(server.ask(200, "POST", "/memories/count", json!({}))["count"], 1);
    assert_eq!(server.call("GET", "/api/v1/spaces", "").json()["spaces"].as_array().unwrap().len(), 1);
    server.stop();
}

#[test]
fn bad_paths_methods_and_media_types_are_problems() {
    let server = start();
    server.ask(201, "POST", "/memories", json!({"id": "a", "content": "a"}));
    for id in
        ["..%2f", "..%2Fx", "%2e%2e", "..", "a%00", "a%0a", "a%20b", "%ff", "%zz", &"a".repeat(129), "%C3%A4"]
    {
        server.refused(400, "GET", &format!("/api/v1/spaces/s/memories/{id}"), "");
        server.refused(400, "DELETE", &format!("/api/v1/spaces/s/memories/{id}"), "");
    }
    for space in ["..", "..%2f..%2fx", "a%00", "a:b", ".hidden", "%ff", &"a".repeat(65)] {
        server.refused(400, "GET", &format!("/api/v1/spaces/{space}"), "");
        server.refused(400, "PUT", &format!("/api/v1/spaces/{space}"), "{}");
        server.refused(400, "DELETE", &format!("/api/v1/spaces/{space}"), "");
        server.refused(400, "POST", &format!("/api/v1/spaces/{space}/memories"), r#"{"content": "a"}"#);
    }
    for path in
        ["/", "/api/v1/spaces/s/memories/../x", "/api/v1/spaces//memories/a/b", "/api/v1/jobs/1", "/metrics"]
    {
        server.refused(404, "GET", path, "");
    }
    server.refused(404, "POST", "/api/v1/spaces/s/dream", "{}");
    let detail = server.refused(404, "POST", "/api/v1/spaces/unknown/recall", r#"{"text": "a"}"#);
    assert!(detail.contains("no space \"unknown\""), "{detail}");
    server.refused(404, "GET", "/api/v1/spaces/s/memories/unknown", "");

    let wrong = server.call("PUT", "/api/v1/spaces/s/recall", "{}");
    assert_eq!(wrong.status, 405);
    assert!(wrong.head.contains("allow: post"), "{}", wrong.head);
    assert!(assert_problem(&wrong).contains("Allow"));

    let body = r#"{"content": "a"}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
        let mut stream = connect(server.http);
        let head =
            head("POST", "/api/v1/spaces/s/memories", body.len(), "").replace("application/json", kind);
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let refused = reply(stream);
        assert_eq!(refused.status, 415);
        assert!(assert_problem(&refused).contains("send JSON"));
    }
    let utf8 = head("POST", "/api/v1/spaces/s/memories", body.len(), "")
        .replace("application/json", "application/json; Charset=\"UTF-8\"");
    let mut stream = connect(server.http);
    stream.write_all(format!("{utf8}{body}").as_bytes()).unwrap();
    assert_eq!(reply(stream).status, 201);
    assert_eq!(server.call("GET", "/api/v1/openapi.json", "").json()["openapi"], "3.1.0");
    server.stop();
}

#[test]
fn a_server_on_loopback_answers_to_its_own_names_only() {
    let server = start();
    server.ask(201, "POST", "/memories", json!({"id": "a", "content": "a"}));
    let call = |method: &str, path: &str, host: &str| {
        let mut stream = connect(server.http);
        let more = "Origin: http://evil.example\r\n";
        let head = head(method, path, 0, more).replace("Host: 127.0.0.1\r\n", host);
        stream.write_all(head.as_bytes()).unwrap();
        reply(stream)
    };
    for host in [
        "Host: evil.example\r\n",
        "Host: localhost.evil.example:8080\r\n",
        "Host: 10.0.0.1\r\n",
        "Host: \r\n",
        "",
    ] {
        let refused = call("DELETE", "/api/v1/spaces/s", host);
        assert_eq!(refused.status, 403, "{host}");
        assert!(assert_problem(&refused).contains("localhost"), "{host}");
        assert_eq!(call("GET", "/health/live", host).status, 200, "{host}");
    }
    for host in
        ["Host: localhost\r\n", "Host: LOCALHOST:1\r\n", "Host: 127.0.0.1:8080\r\n", "Host: [::1]:8080\r\n"]
    {
        assert_eq!(call("GET", "/api/v1/spaces/s", host).status, 200, "{host}");
    }
    server.stop();
}

#[test]
fn a_body_that_is_too_large_or_too_late_is_refused() {
    let server = start_with(tempfile::tempdir().unwrap(), |config| {
        config.limits.request_timeout_s = 1;
        config.limits.content_kb_max = 1;
    });
    let path = "/api/v1/spaces/s/memories";
    let mut stream = connect(server.http);
    stream.write_all(head("POST", path, 100 << 20, "").as_bytes()).unwrap();
    let block = vec![b' '; 1 << 20];
    (0..100).for_each(|_| stream.write_all(&block).unwrap());
    let large = reply(stream);
    assert_eq!(large.status, 413, "{}", large.body);
    assert!(assert_problem(&large).contains("104857600 bytes"));

    // One that asks first is told before it has sent anything.
    let mut stream = connect(server.http);
    stream.write_all(head("POST", path, 100 << 20, "Expect: 100-continue\r\n").as_bytes()).unwrap();
    assert_eq!(reply(stream).status, 413);

    let mut stream = connect(server.http);
    stream.write_all(format!("{}{{", head("POST", path, 100, "")).as_bytes()).unwrap();
    let late = reply(stream);
    assert_eq!(late.status, 408);
    assert!(assert_problem(&late).contains("1 s"));

    let text = json!({"content": "x".repeat(1025)}).to_string();
    assert!(server.refused(400, "POST", path, &text).contains("content_kb_max"));
    server.stop();
}

#[test]
fn a_full_server_answers_health_checks_and_says_that_it_is_full() {
    let server = start_with(tempfile::tempdir().unwrap(), |config| {
        config.limits.connections_max = 2;
        config.limits.request_timeout_s = 3;
    });
    // Two that are held open are enough, once the server has seen the ends of those before them.
    let mut silent = Vec::new();
    let full = loop {
        let answer = server.call("GET", "/api/v1/status", "");
        if answer.status != 200 {
            break answer;
        }
        silent.push(connect(server.http));
    };
    assert_eq!(full.status, 503);
    assert!(assert_problem(&full).contains("2 connections are open"));
    assert!(full.head.contains("retry-after") && full.head.contains("connection: close"), "{}", full.head);
    silent.extend((0..200).map(|_| connect(server.http)));
    assert_eq!(server.call("GET", "/health/live", "").body, "live");
    assert_eq!(server.call("GET", "/health/ready", "").body, "ready");
    // Those that never ask lose their places.
    for mut stream in silent {
        // Reset where the server had something to say to it, ended otherwise.
        assert!(!matches!(stream.read(&mut [0; 64]), Ok(1..)));
    }
    while server.call("GET", "/api/v1/status", "").status != 200 {
        std::thread::yield_now();
    }
    server.stop();
}

#[test]
fn large_bodies_share_their_room_and_leave_small_ones_theirs() {
    let server = start_with(tempfile::tempdir().unwrap(), |config| config.limits.body_mb_max = 1);
    let path = "/api/v1/spaces/s/memories";
    let large = format!(r#"{{"content": "a"{}}}"#, " ".repeat(512 << 10));
    assert_eq!(server.call("POST", path, &large).status, 201);
    // Each lacks its last byte. The first 64 KiB of each are free, and the room is for 16 MiB.
    let mut held = Vec::new();
    let refused = loop {
        let answer = server.call("POST", path, &large);
        if answer.status != 201 {
            break answer;
        }
        let mut stream = connect(server.http);
        stream.write_all(head("POST", path, 1 << 20, "").as_bytes()).unwrap();
        stream.write_all(&vec![b' '; (1 << 20) - 1]).unwrap();
        held.push(stream);
        assert!(held.len() < 100);
    };
    assert_eq!(refused.status, 503);
    assert!(assert_problem(&refused).contains("16777216 bytes"));
    assert_eq!(server.call("POST", path, r#"{"content": "a"}"#).status, 201);
    drop(held);
    while server.call("POST", path, &large).status != 201 {
        std::thread::yield_now();
    }
    server.stop();
}

#[test]
fn consolidation_is_a_job_that_makes_concepts() {
    let server = start();
    let runs = ["A run along the river", "Another run along the river", "We ran along the river"];
    let others = [
        "The train was late",
        "My printer is out of ink",
        "Cake for breakfast",
        "Lost my keys",
        "The bank wants a form",
        "Tomatoes in the garden",
        "Grandmother told stories",
    ];
    let memories = runs.iter().chain(&others).enumerate();
    let memories: Vec<_> =
        memories.map(|(at, text)| json!({"id": format!("m{at}"), "content": text})).collect();
    server.ask(201, "POST", "/memories", json!({"memories": memories}));
    server.ask(400, "POST", "/consolidate", json!({"dryrun": true}));
    let mut results = Vec::new();
    for request in [json!({"dry_run": true}), json!({}), json!({"dry_run": false})] {
        let id = server.ask(202, "POST", "/consolidate", request)["job"].as_str().unwrap().to_owned();
        let job = loop {
            let job = server.call("GET", &format!("/api/v1/jobs/{id}"), "").json();
            if job["state"] != "waiting" && job["state"] != "running" {
                break job;
            }
            assert!(job["result"].is_null(), "{job}");
            std::thread::yield_now();
        };
        assert_eq!((&job["job"], &job["state"], &job["progress"]), (&json!(id), &json!("done"), &json!(1.0)));
        let counts =
            ["concepts", "sources", "episodes", "made"].map(|key| job["result"][key].as_u64().unwrap());
        results.push(counts);
    }
    assert_eq!(results, [[1, 3, 10, 1], [1, 3, 10, 1], [1, 3, 10, 0]], "dry, made, nothing left to do");
    let filter = json!({"must": [{"field": "kind", "equals": "concept"}]});
    let found = server.ask(200, "POST", "/recall", json!({"text": "river", "filter": filter}));
    let concept = found["hits"][0]["id"].as_str().unwrap().to_owned();
    assert!(runs.contains(&found["hits"][0]["content"].as_str().unwrap()), "{found}");
    let found = server.ask(200, "POST", "/recall", json!({"text": "along the river", "limit": 4}));
    let concepts = found["hits"].as_array().unwrap().iter().map(|hit| &hit["concept"]);
    assert_eq!(concepts.filter(|id| **id == concept.as_str()).count(), 3, "{found}");
    let summary = json!({"metadata": {"summary": "Runs"}});
    let kept = server.ask(200, "PATCH", &format!("/memories/{concept}"), summary);
    assert_eq!(
        (&kept["metadata"]["summary"], &kept["metadata"]["consolidated"]["count"]),
        (&json!("Runs"), &json!(3))
    );
    server.ask(400, "PATCH", &format!("/memories/{concept}"), json!({"content": "I like running"}));
    server.ask(200, "DELETE", "/memories/m1", Value::Null);
    server.ask(404, "GET", &format!("/memories/{concept}"), Value::Null);
    let metrics = server.metrics();
    assert!(metrics.contains("engram_operations_total{operation=\"consolidate\"} 4"), "{metrics}");
    let detail = server.refused(404, "GET", "/api/v1/jobs/1", "");
    assert!(detail.contains("no job \"1\""), "{detail}");
    server.refused(404, "POST", "/api/v1/spaces/unknown/consolidate", "{}");
    server.stop();
}

#[test]
fn metrics_exist_from_the_start_and_count() {
    let server = start();
    let zero = server.metrics();
    for operation in ["store", "recall", "activate", "complete", "forget"] {
        for line in [
            format!("engram_operations_total{{operation=\"{operation}\"}} 0"),
            format!("engram_operation_errors_total{{operation=\"{operation}\"}} 0"),
            format!("engram_memory_operation_duration_seconds_count{{operation=\"{operation}\"}} 0"),
        ] {
            assert!(zero.contains(&line), "{line} in {zero}");
        }
    }
    for name in [
        "engram_memory_bytes ",
        "engram_data_bytes 0",
        "engram_activation_cache_requests_total 0",
        "engram_activation_cache_hits_total 0",
        "engram_storage_tier_fetches_total{tier=\"cold\"} 0",
        "engram_wal_flush_duration_seconds_bucket{le=\"0.0001\"} ",
        "engram_storage_tier_memories_count{tier=\"hot\"} 0",
        "engram_storage_tier_memories_count{tier=\"warm\"} 0",
        "engram_storage_tier_memories_count{tier=\"cold\"} 0",
        "engram_spaces 0",
        "engram_build_info{version=",
        "process_start_time_seconds ",
        "engram_operation_error_reasons_total{operation=\"store\",reason=\"invalid\"} 0",
    ] {
        assert!(zero.contains(name), "{name} in {zero}");
    }
    server.ask(201, "POST", "/memories", json!({"content": "rain"}));
    server.ask(200, "POST", "/recall", json!({"text": "rain"}));
    server.ask(400, "POST", "/recall", json!({}));
    let counted = server.metrics();
    for line in [
        "engram_operations_total{operation=\"store\"} 1",
        "engram_operations_total{operation=\"recall\"} 2",
        "engram_operation_errors_total{operation=\"recall\"} 0",
        "engram_operation_error_reasons_total{operation=\"recall\",reason=\"invalid\"} 1",
        "engram_memory_operation_duration_seconds_bucket{operation=\"recall\",le=\"+Inf\"} 2",
        "engram_activation_cache_requests_total 1",
        "engram_activation_cache_hits_total 1",
        "engram_storage_tier_fetches_total{tier=\"hot\"} 1",
        "engram_data_bytes 4",
        "engram_storage_tier_memories_count{tier=\"hot\"} 1",
        "engram_spaces 1",
    ] {
        assert!(counted.contains(line), "{line} in {counted}");
    }
    assert!(!counted.contains("engram_wal_flush_duration_seconds_count 0"), "{counted}");
    server.stop();
}

#[test]
fn a_stop_answers_what_was_received_and_keeps_what_was_stored() {
    let server = start();
    let body = |at: usize| format!(r#"{{"id": "m{at}", "content": "memory {at}"}}"#);
    let whole: Vec<TcpStream> = (0..20)
        .map(|at| {
            let mut stream = connect(server.http);
            let request =
                format!("{}{}", head("POST", "/api/v1/spaces/s/memories", body(at).len(), ""), body(at));
            stream.write_all(request.as_bytes()).unwrap();
            stream
        })
        .collect();
    // A request that is still arriving, and a connection that waits for nothing.
    let mut half = connect(server.http);
    let late = body(20);
    half.write_all(
        format!("{}{}", head("POST", "/api/v1/spaces/s/memories", late.len(), ""), &late[..9]).as_bytes(),
    )
    .unwrap();
    let idle = connect(server.http);
    server.stop.blocking_send(()).unwrap();
    for stream in whole {
        assert_eq!(reply(stream).status, 201);
    }
    half.write_all(&late.as_bytes()[9..]).unwrap();
    assert_eq!(reply(half).status, 201);
    server.serving.join().unwrap();
    drop(idle);
    assert!(TcpStream::connect(server.http).is_err());

    let again = start_with(server.folder, |_| {});
    assert_eq!(again.ask(200, "POST", "/memories/count", json!({}))["count"], 21);
    again.stop();
}

#[test]
fn a_second_signal_cuts_what_never_ends() {
    let server = start_with(tempfile::tempdir().unwrap(), |config| {
        config.lifecycle.drain_timeout_s = 300;
        config.lifecycle.shutdown_timeout_s = 600;
    });
    let mut half = connect(server.http);
    half.write_all(format!("{}{{", head("POST", "/api/v1/spaces/s/memories", 100, "")).as_bytes()).unwrap();
    server.stop.blocking_send(()).unwrap();
    server.stop.blocking_send(()).unwrap();
    server.serving.join().unwrap();
}

#[test]
fn beyond_loopback_needs_insecure() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::fitting(&Machine::detect());
    config.server.http_addr = "0.0.0.0:0".parse().unwrap();
    config.server.metrics_addr = "127.0.0.1:0".parse().unwrap();
    let engine = Engine::open(Options::new(folder.path())).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bind =
        |insecure| runtime.block_on(Server::bind(config.clone(), engine.clone(), Metrics::new(), insecure));
    let error = bind(false).err().unwrap().to_string();
    assert!(error.contains("server.http_addr") && error.contains("--insecure"), "{error}");
    assert!(bind(true).is_ok());
    engine.close().unwrap();
}
