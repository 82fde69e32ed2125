//! A test for each bug that was found by reading rather than by another test.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use engram_core::associate::Analysis;
use engram_core::cue::{Cue, RecallOptions};
use engram_core::hnsw::{HnswParams, Scratch};
use engram_core::id::{MemoryId, Timestamp};
use engram_core::memory::{Memory, NewMemory};
use engram_core::recall::recall;
use engram_core::state::{Change, Embedder, Growing, SpaceSettings, SpaceState};

fn memory(id: &str, content: &str) -> Memory {
    let new = NewMemory { content: Some(content.into()), ..NewMemory::default() };
    new.complete(MemoryId::new(id).unwrap(), Timestamp(0))
}

fn store(state: &mut SpaceState, version: u64, memory: Memory) {
    let analysis = Analysis::of(&memory, state.settings());
    state.apply(version, Change::Stored(Box::new(memory)), Some(&analysis));
}

fn recalled(state: &SpaceState, text: &str, now: Timestamp) -> Vec<String> {
    let answer = recall(state, &Cue::text(text), &RecallOptions::at(now), &mut Default::default()).unwrap();
    answer.hits.iter().map(|hit| state.record(hit.slot).facts().id.to_string()).collect()
}

#[test]
fn an_index_that_is_newer_than_the_memories_is_adopted_without_what_it_lacks() {
    let settings =
        SpaceSettings { embedder: Some(Embedder::Caller { dimensions: 4 }), ..SpaceSettings::default() };
    let (mut older, mut newer) =
        (SpaceState::new(HnswParams::default()), SpaceState::new(HnswParams::default()));
    for state in [&mut older, &mut newer] {
        state.apply(0, Change::Settings(settings), None);
        (0..200).for_each(|n| store(state, n + 1, memory(&format!("m{n}"), "words alone")));
    }
    // Vectors that came after the memories were read for a checkpoint, and before its index was.
    let (mut scratch, mut versions) = (Scratch::new(), Vec::new());
    for n in 0..200u64 {
        let turn = n as f32 / 10.0;
        let embedding = Some(vec![turn.sin(), turn.cos(), 1.0, 0.1]);
        store(&mut newer, 1000 + n, Memory { embedding, ..memory(&format!("m{n}"), "words alone") });
        let slot = newer.slot(&MemoryId::new(&format!("m{n}")).unwrap()).unwrap();
        let plan = newer.index().prepare(newer.vectors().unwrap(), slot, 0, &[], &mut scratch);
        newer.commit_index(Growing::Serving, slot, 1000 + n, plan);
        versions.push((slot, 1000 + n));
    }
    older.adopt_index(newer.index().clone(), &versions);
    assert!(older.index().is_empty());
    assert_eq!(recalled(&older, "words", Timestamp(0)).len(), 1, "equal contents take one place");
}

#[test]
fn expired_memories_do_not_crowd_out_live_ones() {
    let mut state = SpaceState::new(HnswParams::default());
    for n in 0..300 {
        let expired =
            Memory { expires_at: Some(Timestamp(5)), ..memory(&format!("old{n}"), "temperature is 20") };
        store(&mut state, n + 1, expired);
    }
    store(&mut state, 1000, memory("live", "temperature is 20"));
    assert_eq!(recalled(&state, "temperature", Timestamp(10)), ["live"]);
}

#[test]
fn windows_with_more_holders_than_memories_with_words_keep_a_positive_weight() {
    let settings =
        SpaceSettings { embedder: Some(Embedder::Caller { dimensions: 2 }), ..SpaceSettings::default() };
    let mut state = SpaceState::new(HnswParams::default());
    state.apply(0, Change::Settings(settings), None);
    for n in 0..30u64 {
        let content = (n % 3 == 1).then(|| format!("rain on day {n}"));
        let embedding = Some(vec![1.0, n as f32]);
        let base = memory(&format!("m{n:02}"), "x");
        store(&mut state, n + 1, Memory { content, embedding, context: Some("c".into()), ..base });
    }
    let answer =
        recall(&state, &Cue::text("rain"), &RecallOptions::at(Timestamp(0)), &mut Default::default())
            .unwrap();
    assert!(answer.hits.iter().all(|hit| hit.score.is_finite() && hit.score >= 0.0), "{:?}", answer.hits[0]);
    assert!(state.record(answer.hits[0].slot).facts().content().is_some(), "who has the word comes first");
}

#[test]
fn names_without_letters_are_no_names() {
    let mut smile = memory("a", "it rained");
    smile.entities = vec!["🎉".into(), "???".into()];
    assert_eq!(Analysis::of(&smile, &SpaceSettings::default()).entities, []);
}
