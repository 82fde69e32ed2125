//! The OpenAPI document against the wire types: the same fields, and every reference leads somewhere.

#![expect(clippy::unwrap_used, reason = "a helper of a test may panic like the test itself")]

use engram_server::api::*;
use engram_server::{ApiError, ProblemOut};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

fn document() -> Value {
    serde_json::from_str(include_str!("../src/openapi.json")).unwrap()
}

/// `value` is an instance with every field given.
fn assert_fields(schema: &str, value: impl Serialize) {
    let value = serde_json::to_value(value).unwrap();
    let fields: BTreeSet<&String> = value.as_object().unwrap().keys().collect();
    let document = document();
    let properties = document["components"]["schemas"][schema]["properties"].as_object();
    let documented: BTreeSet<&String> =
        properties.unwrap_or_else(|| panic!("no schema {schema}")).keys().collect();
    assert_eq!(documented, fields, "{schema}");
}

/// Requests refuse what they do not know, so a request of all documented fields that is read holds no field too many.
fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    from_json(value.to_string().as_bytes()).unwrap()
}

#[test]
fn schemas_have_exactly_the_fields_of_the_wire_types() {
    let time = "2024-01-01T00:00:00Z";
    let link = json!({"to": "b", "kind": "k", "weight": 0.5});
    let condition = json!({"field": "context", "equals": 1, "in": [1], "gte": 1, "lt": 1, "exists": true});
    let filter = json!({"must": [condition], "should": [condition], "must_not": [condition]});
    let mut memory = json!({"id": "a", "content": "a", "embedding": [1], "occurred_at": time, "context": "c",
        "entities": ["e"], "links": [link], "confidence": 0.5, "metadata": {"a": 1}, "kind": "concept", "expires_at": time});
    assert_fields("MemoryIn", read::<MemoryIn>(memory.clone()));
    memory["memories"] = json!([{}]);
    memory["replace"] = json!(true);
    assert_fields("StoreIn", read::<StoreIn>(memory));
    assert_fields("LinkIn", read::<LinkIn>(link.clone()));
    assert_fields("ConditionIn", read::<ConditionIn>(condition));
    assert_fields("FilterIn", read::<FilterIn>(filter.clone()));
    let cue = json!({"text": "a", "embedding": [1], "ids": ["a"], "limit": 1, "filter": filter, "now": time, "as_of": time,
        "min_relevance": 0.5, "budget": 1, "exact": true, "through_concepts": true, "explain": true, "with_embedding": true, "reinforce": false});
    assert_fields("CueIn", read::<CueIn>(cue.clone()));
    assert_fields("CueIn", read::<RecallIn>(cue.clone()));
    assert_fields("CuesIn", read::<RecallIn>(json!({"cues": [cue]})));
    let seed = json!({"id": "a", "activation": 1});
    let activate = json!({"seeds": [seed], "text": "a", "embedding": [1], "ids": ["a"], "limit": 1, "filter": filter,
        "now": time, "as_of": time, "budget": 1});
    assert_fields("ActivateIn", read::<ActivateIn>(activate));
    assert_fields("SeedIn", read::<SeedIn>(seed));
    assert_fields("CountIn", read::<CountIn>(json!({"filter": filter, "ids": ["a"]})));
    assert_fields(
        "DeleteIn",
        read::<DeleteIn>(json!({"filter": filter, "ids": ["a"], "faded": true, "dry_run": true})),
    );
    let association = json!({"from": "a", "to": "b", "kind": "k", "weight": 0.5});
    assert_fields("AssociationIn", read::<AssociationIn>(association));
    assert_fields("ReinforceIn", read::<ReinforceIn>(json!({"ids": ["a"], "outcome": "used"})));
    let complete = json!({"content": null, "embedding": [1, null], "context": null, "occurred_at": null, "entities": null,
        "metadata": {"a": null}, "kind": null, "limit": 1, "filter": filter, "now": time, "as_of": time, "beta": 8, "exact": true});
    let given = json!({"content": "a", "embedding": null, "context": "c", "occurred_at": time, "entities": ["e"],
        "metadata": null, "kind": "concept"});
    assert_eq!(serde_json::to_value(read::<CompleteIn>(given.clone())).unwrap(), given);
    assert_fields("CompleteIn", read::<CompleteIn>(complete));
    assert_fields("ConsolidateIn", read::<ConsolidateIn>(json!({"dry_run": true})));
    let embedder = json!({"provider": "caller", "dimensions": 3, "version": 1});
    assert_fields("EmbedderIn", read::<EmbedderIn>(embedder.clone()));
    let settings = json!({"embedder": embedder, "decay": "none", "decay_from": "stored_at", "language": "auto", "memories_max": 1, "forget_below": 0.5});
    assert_fields("BackupIn", read::<BackupIn>(json!({"place": "a"})));
    assert_fields("SpaceSettingsIn", read::<SpaceSettingsIn>(settings));
}

#[test]
fn reply_schemas_have_exactly_the_fields_of_the_wire_types() {
    let text = || "a".to_owned();
    let time: Time = read(json!("2024-01-01T00:00:00Z"));
    let learned = LearnedOut { to: text(), weight: 0.5 };
    assert_fields("LearnedOut", learned.clone());
    let usage = UsageOut {
        learned: vec![learned],
        uses: 1,
        used_at: time,
        shown: 0,
        stability_days: 1.0,
        difficulty: 1.0,
        retrievability: 1.0,
    };
    assert_fields("UsageOut", usage.clone());
    let memory = MemoryOut {
        id: text(),
        content: Some(text()),
        embedding: Some(EmbeddingOut::Numbers(vec![1.0])),
        occurred_at: time,
        stored_at: time,
        context: Some(text()),
        entities: vec![],
        links: vec![],
        confidence: 1.0,
        metadata: Map::new(),
        kind: Kind::Episode,
        expires_at: Some(time),
        usage: Some(usage),
    };
    let step = StepOut { via: Some(text()), weight: Some(1.0), memory: text() };
    let objection = ObjectionOut { id: text(), kind: text(), confidence: 1.0 };
    assert_fields("ObjectionOut", objection.clone());
    let path = PathOut { share: 1.0, steps: vec![step.clone()] };
    let parts = PartsOut { dense: 0.0, lexical: 0.0, activation: 0.0, bridge: 0.0, time: 0.0 };
    let hit = HitOut {
        memory: MemoryOut { usage: None, ..memory.clone() },
        score: 1.0,
        relevance: 1.0,
        relevance_range: Some([0.5, 1.0]),
        retrievability: 1.0,
        tier: text(),
        duplicates: vec![],
        objections: vec![objection],
        concept: Some(text()),
        parts: Some(parts),
        paths: Some(vec![path.clone()]),
    };
    assert_fields("MemoryOut", &memory);
    assert_fields("StepOut", step);
    assert_fields("PathOut", path);
    assert_fields("PartsOut", parts);
    assert_fields("HitOut", &hit);
    let recalled =
        RecallOut { hits: vec![hit], abstain: false, activated: 1, truncated: false, took_ms: 0.1 };
    // A client reads what the server writes.
    assert_eq!(read::<RecallOut>(serde_json::to_value(&recalled).unwrap()), recalled);
    assert_fields("RecallOut", recalled.clone());
    assert_fields("RecallManyOut", RecallManyOut { replies: vec![recalled] });
    let with_embedding = WithEmbedding::Base64;
    let query = CueQuery {
        limit: Some(1),
        now: Some(time),
        as_of: Some(time),
        min_relevance: Some(0.5),
        budget: Some(1),
        exact: Some(true),
        through_concepts: Some(true),
        explain: Some(true),
        with_embedding,
        reinforce: Some(false),
    };
    let query = serde_json::to_value(query).unwrap();
    let fields: BTreeSet<&str> = query.as_object().unwrap().keys().map(String::as_str).collect();
    let document = document();
    let parameters = &document["paths"]["/api/v1/spaces/{space}/recall"]["post"]["parameters"];
    let documented =
        parameters.as_array().unwrap().iter().map(|parameter| parameter["name"].as_str().unwrap());
    assert_eq!(documented.collect::<BTreeSet<&str>>(), fields);
    assert_fields("ListOut", ListOut { memories: vec![memory], next: None });
    assert_fields("StoreOut", StoreOut { ids: vec![], position: 1 });
    let result = ConsolidatedOut {
        dry_run: true,
        episodes: 1,
        sources: 1,
        concepts: 1,
        made: 1,
        changed: 1,
        deleted: 1,
        given_up: 1,
        note: Some(text()),
    };
    assert_fields("ConsolidatedOut", &result);
    let job = JobOut {
        job: text(),
        space: text(),
        state: JobStateOut::Failed,
        progress: 0.5,
        result: Some(result),
        error: Some(text()),
    };
    assert_fields("JobOut", job);
    assert_fields("StartedOut", StartedOut { job: text() });
    assert_fields("PositionOut", PositionOut { position: 1 });
    let activation = ActivationOut { id: text(), activation: 1.0 };
    assert_fields("ActivationOut", activation.clone());
    let (activations, visited, residual, truncated, took_ms) = (vec![activation], 1, 0.0, false, 0.1);
    assert_fields("ActivateOut", ActivateOut { activations, visited, residual, truncated, took_ms });
    let part = CompletedOut { value: json!("a"), given: false, confidence: 0.5, sources: vec![text()] };
    let other = AlternativeOut { id: text(), fit: 0.5, fields: [("content".to_owned(), json!("b"))].into() };
    assert_fields("CompletedOut", part.clone());
    assert_fields("AlternativeOut", other.clone());
    let (completed, alternatives) = ([("content".to_owned(), part)].into(), vec![other]);
    assert_fields("CompleteOut", CompleteOut { completed, alternatives, abstain: false });
    assert_fields("CountOut", CountOut { count: 1 });
    assert_fields("DeleteOut", DeleteOut { count: 1, ids: Some(vec![]), dry_run: false });
    let settings = SpaceSettingsOut {
        embedder: None,
        decay: Decay::Fsrs6,
        decay_from: DecayStart::StoredAt,
        language: text(),
        memories_max: None,
        forget_below: 0.5,
    };
    assert_fields("SpaceSettingsOut", settings.clone());
    let erased = ErasedOut { files: 0, bytes: 0 };
    assert_fields("ErasedOut", erased);
    let backup = BackupOut { id: text(), place: text() };
    assert_fields("BackupOut", backup.clone());
    assert_fields("BackupsOut", BackupsOut { backups: vec![backup.clone()] });
    assert_fields("Sha256Out", Sha256Out { sha256: Some(text()), hashed_bytes: 1 });
    let file = SnapshotFileOut { name: text(), bytes: 0, cold: false };
    assert_fields("SnapshotFileOut", file.clone());
    let snapshot = SnapshotOut { id: text(), space: text(), position: 0, memories: 0, files: vec![file] };
    assert_fields("SnapshotOut", snapshot);
    let receipt = ReceiptOut {
        erased_at: time,
        memories: 0,
        concepts: 0,
        log: erased,
        checkpoints: erased,
        segments: erased,
        cold_files: 0,
        backups: vec![backup],
    };
    assert_fields("ReceiptOut", receipt.clone());
    let space = SpaceOut {
        receipt: Some(receipt),
        name: text(),
        memories: 0,
        links: 0,
        links_waiting: 0,
        learned: 0,
        contexts: 0,
        entities: 0,
        terms: 0,
        vectors: 0,
        unindexed: 0,
        data_bytes: 0,
        log_bytes: 0,
        position: 0,
        settings,
        error: Some(text()),
    };
    assert_fields("SpaceOut", space.clone());
    assert_fields("SpacesOut", SpacesOut { spaces: vec![space] });
    let operation = OperationOut { count: 0, errors: 0, p50_ms: None, p99_ms: None };
    assert_fields("OperationOut", operation.clone());
    let status = StatusOut {
        version: text(),
        uptime_s: 0.0,
        ready: true,
        reason: None,
        cpus: 1,
        numa_nodes: 1,
        spaces: 0,
        memories: [("hot".to_owned(), 1)].into(),
        data_bytes: 0,
        memory_bytes: None,
        resident_bytes: None,
        cpu_s: None,
        hit_rate: None,
        log_bytes: 0,
        unindexed: 0,
        operations: [("store".to_owned(), operation)].into(),
    };
    assert_fields("StatusOut", status);
    assert_fields("ProblemOut", ProblemOut { ..ApiError::invalid("x").body() });
}

#[test]
fn every_reference_leads_to_a_schema() {
    fn walk(value: &Value, document: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(target) = fields.get("$ref") {
                    let pointer = target.as_str().unwrap().strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{pointer}");
                }
                fields.values().for_each(|field| walk(field, document));
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, document)),
            _ => {}
        }
    }
    walk(&document(), &document());
}

#[test]
fn a_memory_survives_a_file_unchanged() {
    let line = r#"{"id":"a","content":"x","embedding":[0.1,1.17549435e-38,-3.4028235e38],"occurred_at":"2024-01-01T00:00:00.5Z","links":[{"to":"b","kind":"k","weight":0.3}],"confidence":0.7,"metadata":{"z":0.1,"a":[1,null,-2,18446744073709551615,1e300,true,{"b":"\u00e9"}]},"kind":"concept"}"#;
    let memory: MemoryIn = from_json(line.as_bytes()).unwrap();
    assert_eq!(memory.embedding, Some(vec![0.1, 1.175_494_4e-38, -f32::MAX]));
    let written = serde_json::to_string(&memory).unwrap();
    assert_eq!(from_json::<MemoryIn>(written.as_bytes()).unwrap(), memory);
    let metadata = serde_json::from_str::<Value>(line).unwrap()["metadata"].clone();
    assert_eq!(memory.metadata.map(Value::Object), Some(metadata));
    // Just above half way between two f32, where rounding to f64 first would end at the lower one.
    let cue: CueIn = from_json(br#"{"embedding": [1.00000005960464477540]}"#).unwrap();
    assert_eq!(cue.embedding, Some(vec![f32::from_bits(0x3f80_0001)]));
}
