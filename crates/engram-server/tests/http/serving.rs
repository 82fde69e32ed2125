//! What makes serving fast: vectors as bytes, many cues at once, requests one after the other on one connection, and
//! the settings of threads.

use crate::{Running, start};
use serde_json::{Value, json};

const PATH: &str = "/api/v1/spaces/s";

fn ids(recalled: &Value) -> Vec<&str> {
    recalled["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap()).collect()
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
