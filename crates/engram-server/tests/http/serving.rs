//! What makes serving fast: vectors as bytes, many cues at once, requests one after the other on one connection, and
//! the settings of threads.

use crate::{Reply, Running, assert_problem, connect, reply, start, start_by};
use engram::clock::Clock;
use engram::config::Config;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

const PATH: &str = "/api/v1/spaces/s";

fn ids(recalled: &Value) -> Vec<&str> {
    recalled["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
}

fn all(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

fn with_three() -> Running {
    let server = start();
    // 1, 0 and 0.5, 1 and -2, 3e-7 in base64; the last without its padding.
    let memories = json!({"memories": [
        {"id": "a", "embedding": "AACAPwAAAAA="},
        {"id": "b", "embedding": [0.5, 1]},
        {"id": "c", "embedding": "AAAAwLAPoTQ"}]});
    server.ask(201, "POST", "/memories", memories);
    server
}

#[test]
fn embeddings_go_in_and_out_as_base64() {
    let server = with_three();
    let got = |path: &str| server.ask(200, "GET", path, Value::Null)["embedding"].clone();
    assert_eq!(got("/memories/a?with_embedding=true"), json!([1.0, 0.0]));
    assert_eq!(got("/memories/a?with_embedding=base64"), "AACAPwAAAAA=");
    assert_eq!(got("/memories/b?with_embedding=base64"), "AAAAPwAAgD8=");
    assert_eq!(got("/memories/c?with_embedding=true"), json!([-2.0, 3e-7]));
    assert_eq!(got("/memories/c?with_embedding=false"), Value::Null);
    let page = server.ask(200, "GET", "/memories?with_embedding=base64", Value::Null);
    assert_eq!(page["memories"][2]["embedding"], "AAAAwLAPoTQ=");
    let cue = json!({"embedding": "AACAPwAAAAA=", "with_embedding": "base64"});
    let recalled = server.ask(200, "POST", "/recall", cue);
    assert_eq!(ids(&recalled), ["a", "b", "c"]);
    assert_eq!(recalled["hits"][1]["embedding"], "AAAAPwAAgD8=");
    server.ask(200, "PATCH", "/memories/c", json!({"embedding": "AACAPwAAgD8="}));
    assert_eq!(got("/memories/c?with_embedding=true"), json!([1.0, 1.0]));
    server.ask(200, "POST", "/activate", json!({"embedding": "AACAPwAAAAA="}));
    let completed =
        server.ask(200, "POST", "/complete", json!({"embedding": "AACAPwAAAAA=", "content": null}));
    assert_eq!(completed["completed"]["embedding"]["value"], json!([1.0, 0.0]));

    let recall = &format!("{PATH}/recall");
    for (body, expected) in [
        (r#"{"embedding": "AACAPw=A"}"#, "embedding: \"AACAPw=A\" is no base64 of little-endian"),
        (r#"{"embedding": "AACAPé=="}"#, "it cannot have 'é' at 5"),
        (r#"{"embedding": "AACAP"}"#, "it cannot have 5 characters"),
        (r#"{"embedding": "AACA"}"#, "3 bytes are no whole count of 32-bit floats"),
        (r#"{"embedding": ""}"#, "0 numbers"),
        (r#"{"embedding": "AACAPw=="}"#, "has 1 numbers"),
        (r#"{"embedding": "AADAfwAAAAA="}"#, "NaN"),
        (r#"{"embedding": 3}"#, "expected an array of numbers, or base64"),
        (r#"{"embedding": [1, 0], "with_embedding": "hex"}"#, "expected true, false or \"base64\""),
        (r#"{"embedding": [1, 0], "with_embedding": 1}"#, "expected true, false or \"base64\""),
    ] {
        let detail = server.refused(400, "POST", recall, body);
        assert!(detail.contains(expected), "{body}: {detail}");
    }
    let detail = server.refused(400, "GET", &format!("{PATH}/memories/a?with_embedding=1"), "");
    assert!(detail.contains("expected true, false or base64"), "{detail}");
    server.stop();
}

/// Recalls by the bytes of an embedding.
fn recall_bytes(server: &Running, query: &str, body: &[u8]) -> Reply {
    let mut stream = connect(server.http);
    let head = format!(
        "POST {PATH}/recall{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: Application/Octet-Stream\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    reply(stream)
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn the_bytes_of_an_embedding_are_a_cue() {
    let server = with_three();
    let recalled = recall_bytes(&server, "", &bytes(&[0.5, 1.0]));
    assert_eq!(recalled.status, 200, "{}", recalled.body);
    assert_eq!(ids(&recalled.json()), ["b", "a", "c"]);
    let query = "?limit=1&exact=true&explain=true&with_embedding=base64&now=2026-03-01T09:30:00Z&budget=0&reinforce=false";
    let recalled = recall_bytes(&server, query, &bytes(&[-1.0, 0.0])).json();
    assert_eq!(ids(&recalled), ["c"]);
    assert_eq!(recalled["hits"][0]["embedding"], "AAAAwLAPoTQ=");
    assert!(recalled["hits"][0]["parts"]["dense"].as_f64().unwrap() > 0.99, "{recalled}");
    for (query, body, expected) in [
        (
            "",
            &bytes(&[1.0, 0.0])[..7],
            "the body is an embedding: 7 bytes are no whole count of 32-bit floats",
        ),
        ("", &[], "0 numbers"),
        ("", &bytes(&[1.0, 0.0, 2.0]), "3 numbers"),
        ("", &bytes(&[f32::INFINITY, 0.0]), "inf"),
        ("", &bytes(&[0.0, 0.0]), "zero"),
        ("", br#"{"text":"tea"}."#, "15 bytes"),
        ("?limit=0", &bytes(&[1.0, 0.0]), "limit is 0"),
        ("?limit=ten", &bytes(&[1.0, 0.0]), "limit"),
        ("?text=tea", &bytes(&[1.0, 0.0]), "unknown field `text`"),
        ("?with_embedding=yes", &bytes(&[1.0, 0.0]), "expected true, false or base64"),
    ] {
        let refused = recall_bytes(&server, query, body);
        assert_eq!(refused.status, 400, "{query} {}", refused.body);
        let detail = assert_problem(&refused);
        assert!(detail.contains(expected), "{query} {body:?}: {detail}");
    }
    let detail = server.refused(400, "POST", &format!("{PATH}/recall?limit=1"), r#"{"embedding": [1, 0]}"#);
    assert!(detail.contains("\"limit=1\" is for a body of application/octet-stream"), "{detail}");
    // Bytes mean an embedding to recall by, and nothing else.
    let mut stream = connect(server.http);
    let head = "POST /api/v1/spaces/s/memories HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
        Content-Type: application/octet-stream\r\nContent-Length: 8\r\n\r\n";
    stream.write_all(&[head.as_bytes(), &bytes(&[1.0, 0.0])].concat()).unwrap();
    assert_eq!(reply(stream).status, 415);
    server.stop();
}

#[test]
fn many_cues_are_answered_in_their_order() {
    let server = with_three();
    let cues: Vec<Value> = (0..200)
        .map(|at| match at % 4 {
            0 => json!({"embedding": [1, 0]}),
            1 => json!({"embedding": "AAAAPwAAgD8=", "limit": 2}),
            2 => json!({"embedding": [-1, 0], "limit": 1, "reinforce": false}),
            _ => json!({"ids": ["a"], "explain": true, "reinforce": false}),
        })
        .collect();
    let recalled = server.ask(200, "POST", "/recall", json!({"cues": cues}));
    let replies = recalled["replies"].as_array().unwrap();
    assert_eq!(replies.len(), 200);
    for (cue, answer) in cues.iter().zip(replies) {
        let mut alone = server.ask(200, "POST", "/recall", json!({"cues": [cue]}))["replies"][0].take();
        let mut answer = answer.clone();
        // Time goes on between the two.
        for reply in [&mut alone, &mut answer] {
            assert!(reply["took_ms"].take().as_f64().unwrap() > 0.0);
            for hit in reply["hits"].as_array_mut().unwrap() {
                hit["retrievability"].take();
                hit["score"].take();
            }
        }
        assert_eq!(alone, answer, "{cue}");
    }
    // Each counts: those of the first request, and those that were asked again.
    let shown = server.ask(200, "GET", "/memories/a", Value::Null)["usage"]["shown"].clone();
    assert_eq!(shown, 200);
    let metrics = server.metrics();
    assert!(metrics.contains("engram_operations_total{operation=\"recall\"} 400"), "{metrics}");
    assert!(metrics.contains("engram_memory_operation_duration_seconds_count{operation=\"recall\"} 400"));

    let many = |count: usize, cue: &str| format!(r#"{{"cues": [{}]}}"#, vec![cue; count].join(","));
    for (body, expected) in [
        (r#"{"cues": []}"#.to_owned(), "cues is empty"),
        (
            r#"{"cues": [{"embedding": [1, 0]}, {"embeding": [1, 0]}]}"#.to_owned(),
            "cues[1].embeding: unknown field",
        ),
        (
            r#"{"cues": [{"embedding": [1, 0]}, {"embedding": [1, "0"]}]}"#.to_owned(),
            "cues[1].embedding[1]: invalid type",
        ),
        (r#"{"cues": [{"embedding": [1, 0]}, {}]}"#.to_owned(), "cues[1]: a cue needs text"),
        (
            r#"{"cues": [{"embedding": [1, 0]}, {"embedding": [1]}, {"ids": ["x"]}]}"#.to_owned(),
            "cues[1]: embedding has 1 numbers",
        ),
        (r#"{"cues": [{"embedding": [1, 0], "limit": 1001}]}"#.to_owned(), "cues[0]: limit is 1001"),
        (
            r#"{"cues": [{"embedding": [1, 0]}], "limit": 3}"#.to_owned(),
            "unknown field `limit`, expected `cues`",
        ),
        (
            r#"{"limit": 3, "cues": [{"embedding": [1, 0]}]}"#.to_owned(),
            "unknown field `cues`, expected one of",
        ),
        (r#"{"cues": [{"cues": []}]}"#.to_owned(), "cues[0].cues: unknown field"),
        (many(1001, r#"{"text": "a", "limit": 1}"#), "cues: more than 1000 cues, at most 1000"),
        // What follows the first that is too many is not even read.
        (many(1001, "{}").replace("]}", ", {3"), "cues: more than 1000 cues, at most 1000"),
        (r#"{"cues": 3}"#.to_owned(), "cues: invalid type: integer `3`, expected an array of cues"),
        (many(101, r#"{"text": "a", "limit": 100}"#), "are 10100 together, at most 10000"),
    ] {
        let detail = server.refused(400, "POST", &format!("{PATH}/recall"), &body);
        assert!(detail.contains(expected), "{}: {detail}", &body[..body.len().min(80)]);
    }
    assert!(
        server
            .refused(404, "POST", &format!("{PATH}/recall"), r#"{"cues": [{"ids": ["x"]}]}"#)
            .contains("cues[0]: ")
    );
    // What cannot be asked as a whole leaves no trace.
    assert_eq!(server.ask(200, "GET", "/memories/a", Value::Null)["usage"]["shown"], 200);
    assert_eq!(server.call("POST", &format!("{PATH}/recall"), &many(1000, r#"{"text": "a"}"#)).status, 200);
    server.stop();
}

#[test]
fn requests_that_come_together_are_answered_in_order() {
    let server = with_three();
    let mut requests = Vec::new();
    for at in 0..300 {
        let last = if at == 299 { "Connection: close\r\n" } else { "" };
        let body = json!({"embedding": [1, 0], "limit": at % 3 + 1}).to_string();
        let (method, path, body) = match at % 10 {
            3 => ("POST", "/memories", json!({"id": format!("n{at}"), "content": "new"}).to_string()),
            5 => ("GET", "/memories/b", String::new()),
            7 => ("POST", "/recall", "not JSON".to_owned()),
            _ => ("POST", "/recall", body),
        };
        requests.push(format!(
            "{method} {PATH}{path} HTTP/1.1\r\nHost: localhost\r\n{last}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
    let mut stream = connect(server.http);
    stream.write_all(requests.concat().as_bytes()).unwrap();
    let mut rest = &*String::from_utf8(all(stream)).unwrap();
    for at in 0..300 {
        let (head, after) = rest.split_once("\r\n\r\n").unwrap();
        let head = head.to_ascii_lowercase();
        let length = head.split_once("content-length: ").unwrap().1.lines().next().unwrap().parse().unwrap();
        let (body, after) = after.split_at(length);
        rest = after;
        let status = head.split(' ').nth(1).unwrap();
        let body: Value = serde_json::from_str(body).unwrap();
        match at % 10 {
            3 => assert_eq!((status, &body["ids"]), ("201", &json!([format!("n{at}")])), "{at}"),
            5 => assert_eq!((status, &body["id"]), ("200", &json!("b")), "{at}"),
            7 => assert_eq!(status, "400", "{at}"),
            _ => assert_eq!((status, ids(&body).len()), ("200", at % 3 + 1), "{at}"),
        }
    }
    assert_eq!(rest, "");
    server.stop();
}

#[test]
fn the_replies_to_many_cues_have_a_bound() {
    let server = start();
    let note = "x".repeat(60 << 10);
    let memories: Vec<Value> =
        (0..20).map(|at| json!({"embedding": [1, at], "metadata": {"note": note}})).collect();
    server.ask(201, "POST", "/memories", json!({"memories": memories}));
    let many = |count: usize| {
        json!({"cues": vec![json!({"embedding": [1, 0], "limit": 20, "exact": true}); count]}).to_string()
    };
    let replies = server.call("POST", &format!("{PATH}/recall"), &many(50));
    assert_eq!((replies.status, replies.body.len() > 50 * 20 * note.len()), (200, true));
    let shown = server.ask(200, "GET", "/memories", Value::Null)["memories"][0]["id"].clone();
    let shown = || {
        let path = format!("/memories/{}", shown.as_str().unwrap());
        server.ask(200, "GET", &path, Value::Null)["usage"]["shown"].clone()
    };
    assert_eq!(shown(), 50);
    let detail = server.refused(400, "POST", &format!("{PATH}/recall"), &many(60));
    assert!(detail.contains("more than 64 MiB together"), "{detail}");
    assert_eq!(shown(), 50);
    server.stop();
}

#[test]
fn what_many_cues_used_is_written_at_once() {
    let server = with_three();
    let position = |id: &str| {
        server.ask(201, "POST", "/memories", json!({"id": id, "embedding": [0, 1]}))["position"]
            .as_u64()
            .unwrap()
    };
    let before = position("x");
    let cue = |embedding: [f32; 2]| json!({"embedding": embedding, "limit": 1, "reinforce": true});
    let cues = [cue([1.0, 0.0]), cue([-2.0, 0.0]), json!({"embedding": [1, 0], "limit": 1}), cue([1.0, 0.0])];
    let recalled = server.ask(200, "POST", "/recall", json!({"cues": cues}));
    assert_eq!(recalled["replies"][1]["hits"][0]["id"], "c");
    assert_eq!(position("y"), before + 2);
    let usage = |id: &str| server.ask(200, "GET", &format!("/memories/{id}"), Value::Null)["usage"].clone();
    assert_eq!(usage("a")["shown"], 1);
    assert_eq!((usage("a")["uses"].clone(), usage("c")["uses"].clone()), (json!(3), json!(2)));
    server.stop();
}

/// A clock that threads of some name wait at while it is stopped.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Stopped>, Condvar)>);

#[derive(Default)]
struct Stopped {
    name: Option<&'static str>,
    waiting: usize,
}

impl Gate {
    fn clock(&self) -> Clock {
        let gate = self.clone();
        Clock::driven(move || {
            let (stopped, moved) = &*gate.0;
            let mut stopped = stopped.lock().unwrap();
            let is_meant = |stopped: &Stopped| {
                stopped
                    .name
                    .is_some_and(|name| thread::current().name().is_some_and(|own| own.starts_with(name)))
            };
            if is_meant(&stopped) {
                stopped.waiting += 1;
                while is_meant(&stopped) {
                    stopped = moved.wait(stopped).unwrap();
                }
                stopped.waiting -= 1;
            }
            Clock::system().now()
        })
    }

    /// From now on threads whose names begin so wait.
    fn stop(&self, name: &'static str) {
        self.0.0.lock().unwrap().name = Some(name);
    }

    fn waiting(&self) -> usize {
        self.0.0.lock().unwrap().waiting
    }

    fn go_on(&self) {
        self.0.0.lock().unwrap().name = None;
        self.0.1.notify_all();
    }
}

#[test]
fn recalls_and_stores_have_as_many_places_as_are_configured() {
    let gate = Gate::default();
    let change = |config: &mut Config| {
        config.thread_pools.recall_workers = 2;
        config.thread_pools.store_workers = 1;
        config.limits.request_timeout_s = 1;
    };
    let server = start_by(tempfile::tempdir().unwrap(), change, gate.clock());
    server.ask(201, "POST", "/memories", json!({"id": "tea", "content": "tea"}));
    for (path, body, places) in
        [("/recall", r#"{"text": "tea"}"#, 2), ("/memories", r#"{"content": "rain"}"#, 1)]
    {
        gate.stop("tokio-rt-worker");
        thread::scope(|scope| {
            let ask = || server.refused(503, "POST", &format!("{PATH}{path}"), body);
            for asked in [scope.spawn(ask), scope.spawn(ask), scope.spawn(ask), scope.spawn(ask)] {
                assert!(asked.join().unwrap().contains("request_timeout_s"));
            }
        });
        // Those that got in are still there; the others never were.
        assert_eq!(gate.waiting(), places, "{path}");
        assert_eq!(server.call("GET", "/health/live", "").status, 200);
        gate.go_on();
        while gate.waiting() > 0 {
            thread::yield_now();
        }
    }
    assert_eq!(server.ask(200, "POST", "/recall", json!({"text": "tea"}))["hits"][0]["id"], "tea");
    server.stop();
}

#[test]
fn many_cues_that_nobody_waits_for_are_given_up() {
    let gate = Gate::default();
    let change = |config: &mut Config| config.limits.request_timeout_s = 1;
    let server = start_by(tempfile::tempdir().unwrap(), change, gate.clock());
    server.ask(201, "POST", "/memories", json!({"id": "tea", "content": "tea"}));
    let cues = r#"{"cues": [{"text": "tea"}, {"text": "tea", "reinforce": true}]}"#;
    gate.stop("tokio-rt-worker");
    let detail = server.refused(503, "POST", &format!("{PATH}/recall"), cues);
    assert!(detail.contains("request_timeout_s"), "{detail}");
    gate.go_on();
    // Each cue would count as a recall had it been answered.
    let failed = "engram_operations_total{operation=\"recall\"} 1\n";
    while !server.metrics().contains(failed) {
        assert!(!server.metrics().contains("engram_operations_total{operation=\"recall\"} 2\n"));
        thread::yield_now();
    }
    assert_eq!(server.ask(200, "GET", "/memories/tea", Value::Null)["usage"]["shown"], 0);
    server.ask(200, "POST", "/recall", json!({"cues": [{"text": "tea"}]}));
    assert_eq!(server.ask(200, "GET", "/memories/tea", Value::Null)["usage"]["shown"], 1);
    server.stop();
}

#[test]
fn as_many_spaces_are_consolidated_at_one_time_as_are_configured() {
    for workers in [1, 2] {
        let gate = Gate::default();
        let change = |config: &mut Config| config.thread_pools.consolidation_workers = workers;
        let server = start_by(tempfile::tempdir().unwrap(), change, gate.clock());
        gate.stop("engram-concepts");
        let texts =
            ["a run by the river", "run by the river", "the river run", "late train", "no ink", "cake"];
        let memories: Vec<Value> = texts.iter().map(|text| json!({"content": text})).collect();
        let jobs: Vec<String> = ["one", "two"]
            .map(|space| {
                let body = json!({"memories": memories}).to_string();
                assert_eq!(
                    server.call("POST", &format!("/api/v1/spaces/{space}/memories"), &body).status,
                    201
                );
                let begun = server.call("POST", &format!("/api/v1/spaces/{space}/consolidate"), "{}");
                begun.json()["job"].as_str().unwrap().to_owned()
            })
            .into();
        let state =
            |job: &String| server.call("GET", &format!("/api/v1/jobs/{job}"), "").json()["state"].clone();
        while gate.waiting() < workers {
            thread::yield_now();
        }
        assert_eq!(state(&jobs[0]), "running");
        assert_eq!(state(&jobs[1]), if workers == 1 { "waiting" } else { "running" });
        gate.go_on();
        while jobs.iter().any(|job| state(job) != "done") {
            thread::yield_now();
        }
        server.stop();
    }
}
