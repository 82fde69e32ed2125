//! Leaving out parts of recall: each takes away what it stands for, and nothing else.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use engram::{Cue, Engine, Link, MemoryId, NewMemory, Options, Part, RecallOptions, SpaceName, StoreOptions};
use std::sync::Arc;

fn memory(id: &str, content: &str, context: Option<&str>) -> NewMemory {
    NewMemory {
        id: Some(MemoryId::new(id).unwrap()),
        content: Some(content.into()),
        context: context.map(str::to_owned),
        ..NewMemory::default()
    }
}

/// `rain` is what the cue says. The others share a context, a name, a link or a vector with it, or its content.
fn diary(engine: &Engine) -> Arc<engram::Space> {
    let space = engine.space_or_new(&SpaceName::new("diary").unwrap()).unwrap();
    let link = Link { to: MemoryId::new("linked").unwrap(), kind: "because".into(), weight: 1.0 };
    let memories = vec![
        NewMemory {
            links: Some(vec![link]),
            entities: Some(vec!["Ada".into()]),
            embedding: Some(vec![1.0, 0.0]),
            ..memory("rain", "wet weather", Some("trip"))
        },
        NewMemory { embedding: Some(vec![0.0, 1.0]), ..memory("next", "tea", Some("trip")) },
        NewMemory { embedding: Some(vec![0.0, 1.0]), ..memory("far", "biscuits", Some("trip")) },
        NewMemory { embedding: Some(vec![0.0, 1.0]), ..memory("third", "scones", Some("trip")) },
        NewMemory { embedding: Some(vec![0.0, -1.0]), ..memory("linked", "umbrella", None) },
        NewMemory {
            entities: Some(vec!["Ada".into()]),
            embedding: Some(vec![0.0, -1.0]),
            ..memory("named", "poem", None)
        },
        NewMemory { embedding: Some(vec![1.0, 0.01]), ..memory("like", "storm", None) },
        NewMemory { embedding: Some(vec![-1.0, 0.0]), ..memory("twin", "wet weather", None) },
    ];
    space.store(memories, &StoreOptions::default()).unwrap();
    space
}

/// Ids of what the cue "weather" brings to mind without these parts, and of what is known with them as a duplicate.
fn recalled(space: &engram::Space, engine: &Engine, vector: bool, without: &[Part]) -> Vec<String> {
    let cue = Cue { embedding: vector.then(|| vec![1.0, 0.0]), ..Cue::text("weather") };
    let without = without.iter().copied().collect();
    let options = RecallOptions { without, ..RecallOptions::at(engine.now()) };
    let mut ids: Vec<String> = space
        .recall(&cue, &options)
        .unwrap()
        .hits
        .iter()
        .flat_map(|hit| {
            let twins = hit.duplicates.iter().map(|id| format!("={id}"));
            [hit.memory.id.to_string()].into_iter().chain(twins).collect::<Vec<_>>()
        })
        .collect();
    ids.sort();
    ids
}

#[test]
fn each_part_takes_away_what_it_stands_for() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(Options::new(folder.path())).unwrap();
    let space = diary(&engine);
    let with = |parts: &[Part]| recalled(&space, &engine, false, parts);
    let everything = with(&[]);
    assert_eq!(everything, ["=twin", "far", "linked", "named", "next", "rain", "third"]);
    assert!(!with(&[Part::Links]).contains(&"linked".into()));
    assert!(!with(&[Part::Entities]).contains(&"named".into()));
    // Neighbours come by their window and by their order.
    assert!(with(&[Part::Windows]).contains(&"far".into()));
    assert!(with(&[Part::Order]).contains(&"far".into()));
    assert!(!with(&[Part::Windows, Part::Order]).contains(&"next".into()));
    assert_eq!(with(&[Part::Windows, Part::Spreading]), ["=rain", "twin"]);
    assert_eq!(with(&[Part::Windows, Part::Spreading, Part::Duplicates]), ["rain", "twin"]);
    assert!(with(&[Part::Words]).is_empty());

    let by_vector = |parts: &[Part]| recalled(&space, &engine, true, parts);
    assert!(by_vector(&[]).contains(&"like".into()));
    assert_eq!(by_vector(&[Part::Vectors]), everything);
    assert!(by_vector(&[Part::Words, Part::Spreading]).contains(&"like".into()));
}
