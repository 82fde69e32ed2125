//! Snapshots are read piece by piece, and let go.

use super::*;

#[test]
fn a_snapshot_is_read_piece_by_piece_while_the_space_goes_on() {
    let server = start();
    let store = |id: &str| {
        server.ask(201, "POST", "/memories", json!({"id": id, "content": "It rained"}));
    };
    store("m1");
    let taken = server.ask(201, "POST", "/snapshots", json!({}));
    assert_eq!(
        (&taken["space"], &taken["position"], &taken["memories"]),
        (&json!("s"), &json!(1), &json!(1))
    );
    let file = &taken["files"][0];
    assert_eq!((file["name"].as_str().unwrap().starts_with("log-"), &file["cold"]), (true, &json!(false)));
    store("m2");
    let below = format!("/snapshots/{}", taken["id"].as_str().unwrap());
    let path = format!("/api/v1/spaces/s{below}");
    let sha256 = server.ask(200, "GET", &format!("{below}/sha256"), Value::Null);
    let read = |query: &str| raw(&server, &format!("{path}/bytes?{query}"));
    let all = read("file=0");
    assert_eq!(all.len() as u64, file["bytes"].as_u64().unwrap(), "as it was, without m2");
    let in_two = [read("file=0&offset=0&bytes=10"), read("file=0&offset=10")].concat();
    assert_eq!((in_two, &all[..8]), (all.clone(), &b"ENGRLOG1"[..]));
    assert_eq!(sha256["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(sha256["hashed_bytes"], file["bytes"]);
    for (status, query, said) in [
        (404, "file=7", "there is none at 7"),
        (400, "file=0&offset=0&bytes=99999999", "at most 16777216"),
        (400, "file=0&offset=99999&bytes=1", "byte 100000 was asked for"),
        (400, "part=1", "part"),
    ] {
        let detail = server.refused(status, "GET", &format!("{path}/bytes?{query}"), "");
        assert!(detail.contains(said), "{query}: {detail}");
    }
    let other = path.replace("/spaces/s/", "/spaces/b/");
    assert!(server.refused(404, "GET", &format!("{other}/sha256"), "").contains("has no snapshot"));
    server.ask(200, "DELETE", &below, Value::Null);
    let detail = server.refused(404, "GET", &format!("{path}/bytes"), "");
    assert!(detail.contains("those that nobody reads"), "{detail}");
    assert!(server.refused(404, "POST", "/api/v1/spaces/none/snapshots", "{}").contains("no space"));
    server.stop();
}

#[test]
fn snapshots_are_bounded() {
    let server = start();
    server.ask(201, "POST", "/memories", json!({"content": "It rained"}));
    let take = || server.ask(201, "POST", "/snapshots", json!({}));
    let taken: Vec<Value> = (0..16).map(|_| take()).collect();
    let detail = server.refused(503, "POST", "/api/v1/spaces/s/snapshots", "{}");
    assert!(detail.contains("16 snapshots are held"), "{detail}");
    let path = format!("/snapshots/{}", taken[3]["id"].as_str().unwrap());
    server.ask(200, "DELETE", &path, Value::Null);
    take();
    server.stop();
}

#[test]
fn backups_are_noted_and_told_of_in_the_receipt() {
    let server = start();
    server.ask(201, "POST", "/memories", json!({"content": "It rained"}));
    let path = "/backups";
    server.ask(200, "PUT", &format!("{path}/one"), json!({"place": "file:///b"}));
    server.ask(200, "PUT", &format!("{path}/two"), json!({"place": "s3://b"}));
    let detail = server.refused(400, "PUT", "/api/v1/spaces/s/backups/two", "{\"place\": \"\"}");
    assert!(detail.contains("place has 0 bytes"), "{detail}");
    server.ask(200, "DELETE", &format!("{path}/one"), Value::Null);
    let two = json!([{"id": "two", "place": "s3://b"}]);
    assert_eq!(server.ask(200, "GET", path, Value::Null)["backups"], two);
    let deleted = server.ask(200, "DELETE", "", Value::Null);
    let receipt = &deleted["receipt"];
    assert_eq!((&receipt["memories"], &receipt["backups"]), (&json!(1), &two));
    assert!(receipt["log"]["bytes"].as_u64() > Some(24) && receipt["cold_files"] == 0, "{receipt}");
    server.refused(404, "GET", "/api/v1/spaces/s/backups", "");
    server.stop();
}

/// The body of an answer that is bytes.
fn raw(server: &Running, path: &str) -> Vec<u8> {
    let mut stream = connect(server.http);
    stream.write_all(head("GET", path, 0, "").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..at]).to_ascii_lowercase();
    assert!(head.contains("200 ok") && head.contains("application/octet-stream"), "{head}");
    answer.split_off(at + 4)
}
