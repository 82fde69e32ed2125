//! Wherever payloads lie, a state holds the same memories, and what it cannot read it says is away.

#![expect(clippy::unwrap_used, reason = "a helper of tests that panics fails the test that called it")]

use engram_core::associate::Analysis;
use engram_core::cue::{Cue, RecallOptions};
use engram_core::hnsw::HnswParams;
use engram_core::id::{MemoryId, Timestamp};
use engram_core::memory::{Memory, NewMemory};
use engram_core::payloads::{Away, HeatClock, Home, Move, Moves, Region, Tier};
use engram_core::recall::{Scratch, recall};
use engram_core::state::{Change, Embedder, Names, NewNames, Numbers, Saved, SpaceSettings, SpaceState};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const DIMENSIONS: usize = 24;
const TEXTS: [&str; 6] = [
    "Ann: When did it rain in Bath?",
    "Ben: It rained in Bath on Monday, and Anna saw the river.",
    "The river Avon runs through Bath and Bristol.",
    "heifer: a young cow that has no calf yet",
    "Anna likes the garden by the river, and so does Ben Smith.",
    "It rained in Bath on Monday, and Anna saw the river.",
];

#[derive(Debug, Default)]
struct Shelf(HashMap<u32, (Vec<f32>, String)>);

impl Region for Shelf {
    fn row(&self, at: u32) -> Option<&[f32]> {
        Some(&self.0.get(&at)?.0)
    }
    fn content(&self, at: u32) -> Option<&str> {
        Some(&self.0.get(&at)?.1)
    }
}

fn settings() -> SpaceSettings {
    let embedder = Some(Embedder::Caller { dimensions: DIMENSIONS });
    SpaceSettings { embedder, ..SpaceSettings::default() }
}

fn memory(at: usize) -> Memory {
    let number = |n: usize| ((at * 31 + n * 7) as f32 * 0.7).sin();
    let memory = NewMemory {
        content: Some(format!("{} No. {}", TEXTS[at % TEXTS.len()], at / TEXTS.len())),
        embedding: Some((0..DIMENSIONS).map(number).collect()),
        context: Some(format!("c{}", at % 4)),
        ..NewMemory::default()
    };
    memory.complete(MemoryId::new(&format!("m{at}")).unwrap(), Timestamp(at as i64 * 1_000_000))
}

fn state(memories: usize) -> SpaceState {
    let mut state = SpaceState::new(HnswParams::default());
    state.apply(1, Change::Settings(settings()), None);
    for at in 0..memories {
        let memory = memory(at);
        let analysis = Analysis::of(&memory, &settings());
        state.apply(at as u64 + 2, Change::Stored(Box::new(memory)), Some(&analysis));
    }
    state
}

fn slot(state: &SpaceState, at: usize) -> u32 {
    state.slot(&MemoryId::new(&format!("m{at}")).unwrap()).unwrap()
}

/// Moves every third memory's payload into a region, and every third into a cold file; the rest stays where it is.
fn spread_out(state: &mut SpaceState, memories: usize) {
    let mut shelf = Shelf::default();
    let mut moves = Vec::new();
    for at in 0..memories {
        let record = state.record(slot(state, at));
        let home = match at % 3 {
            0 => Home::Region { region: 4, at: at as u32 },
            1 => Home::Away { file: 9, row: at as u32 },
            _ => continue,
        };
        let memory = memory(at);
        shelf.0.insert(at as u32, (memory.embedding.unwrap(), memory.content.unwrap()));
        moves.push(Move { arrival: record.arrival, version: record.version, home });
    }
    state.add_region(4, Arc::new(shelf));
    let file = Some((9, "cold".to_string()));
    state.apply(memories as u64 + 2, Change::Moved(Moves { file, moves }), None);
    for at in 0..memories {
        let slot = slot(state, at);
        assert_eq!(state.evict(slot), at % 3 != 2, "what has no home stays");
    }
}

#[test]
fn what_lies_elsewhere_is_the_same_memory() {
    let (mut spread, twin) = (state(60), state(60));
    spread_out(&mut spread, 60);
    assert_eq!(spread.dump(), twin.dump());
    let tiers = spread.tiers();
    assert_eq!(tiers.memories, [20, 20, 20]);
    let bytes = |at: usize| (memory(at).content.unwrap().len() + 4 * DIMENSIONS) as u64;
    assert_eq!(tiers.bytes, [2, 0, 1].map(|third| (third..60).step_by(3).map(bytes).sum::<u64>()));
    assert_eq!(tiers.homeless_bytes, tiers.bytes[0]);
    assert_eq!((spread.use_of_region(4).memories, spread.use_of_file(9).memories), (20, 20));
    for at in 0..60 {
        let (slot, whole) = (slot(&spread, at), memory(at));
        let mut new = NewNames::default();
        let numbered = spread.numbered(slot, &mut Numbers::default(), &mut new);
        let named = |numbers: &[(u32, u32)], names: &[Arc<str>]| {
            let name = |(number, count): &(u32, u32)| (Box::from(&*names[*number as usize]), *count);
            let mut counts: Vec<(Box<str>, u32)> = numbers.iter().map(name).collect();
            counts.sort();
            counts
        };
        let analysis = Analysis {
            terms: named(&numbered.terms, &new.terms),
            entities: named(&numbered.entities, &new.entities),
            speech: numbered.speech,
            embedding: None,
        };
        assert_eq!(analysis, Analysis { embedding: None, ..Analysis::of(&whole, &settings()) });
        assert_eq!(spread.is_at_hand(slot), spread.memory(slot).is_ok());
        match at % 3 {
            1 => assert_eq!(spread.memory(slot), Err(Away(slot))),
            _ => assert_eq!(spread.memory(slot), Ok(whole)),
        }
    }
}

#[test]
fn recall_finds_the_same_wherever_payloads_lie() {
    let (mut spread, mut twin) = (state(60), state(60));
    spread_out(&mut spread, 60);
    // Fewer hops through what is not hot would be another walk.
    spread.set_hops([3; 3]);
    twin.set_hops([3; 3]);
    let mut scratch = Scratch::default();
    for at in 0..60 {
        let cue = Cue { embedding: memory(at).embedding, ..Cue::text("When did it rain in Bath?") };
        let ask = |state: &SpaceState, scratch: &mut Scratch| {
            let answer = recall(state, &cue, &RecallOptions::at(Timestamp(0)), scratch).unwrap();
            assert!(!answer.truncated);
            let of = |hit: &engram_core::cue::Hit| (hit.slot, (hit.score * 20.0).round());
            answer.hits.iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(ask(&spread, &mut scratch)[..3], ask(&twin, &mut scratch)[..3], "cue {at}");
    }
}

#[test]
fn hops_are_counted_by_tier_and_what_they_leave_out_is_said() {
    let mut scratch = Scratch::default();
    let mut ask = |hops: [u8; 3]| {
        let mut state = state(60);
        spread_out(&mut state, 60);
        state.set_hops(hops);
        let options = RecallOptions { limit: 60, ..RecallOptions::at(Timestamp(0)) };
        let answer = recall(&state, &Cue::text("rain in Bath"), &options, &mut scratch).unwrap();
        let reached = answer.hits.iter().filter(|hit| hit.parts.activation > 0.0);
        let tiers: Vec<Tier> = reached.map(|hit| state.record(hit.slot).tier()).collect();
        (tiers, answer.truncated)
    };
    let (all, truncated) = ask([3; 3]);
    assert!(all.contains(&Tier::Cold) && !truncated);
    let (fewer, truncated) = ask([3, 3, 0]);
    assert!(!fewer.contains(&Tier::Cold) && fewer.contains(&Tier::Warm) && truncated);
    assert!(ask([3, 2, 1]).1, "what may not be passed on is said");
}

#[test]
fn a_payload_comes_back_only_as_it_was() {
    let (mut spread, twin) = (state(60), state(60));
    spread_out(&mut spread, 60);
    let cold = slot(&spread, 1);
    let version = spread.record(cold).version;
    let whole = memory(1);
    let (content, row) = (whole.content.clone(), whole.embedding.as_deref());
    assert!(!spread.bring(cold, version + 1, content.clone(), row), "of another version");
    assert!(!spread.bring(cold, version, Some("else".into()), row), "another content");
    assert!(!spread.bring(cold, version, content.clone(), None), "another vector");
    assert!(spread.bring(cold, version, content, row));
    assert_eq!(spread.memory(cold), Ok(whole));
    assert_eq!(spread.record(cold).tier(), Tier::Hot);
    assert_eq!(spread.dump(), twin.dump());
    assert!(spread.evict(cold), "it still has its home");
}

#[test]
fn what_is_away_is_deleted_and_replaced_without_a_trace() {
    let (mut spread, mut twin) = (state(60), state(60));
    spread_out(&mut spread, 60);
    spread.remove_region(4);
    for (version, at) in (1000..).zip(0..30) {
        for state in [&mut spread, &mut twin] {
            let id = MemoryId::new(&format!("m{at}")).unwrap();
            if at % 2 == 0 {
                state.apply(version, Change::Deleted(id), None);
            } else {
                let memory = Memory { id, ..memory(at + 100) };
                let analysis = Analysis::of(&memory, &settings());
                state.apply(version, Change::Stored(Box::new(memory)), Some(&analysis));
            }
        }
    }
    assert_eq!(spread.dump(), twin.dump());
}

#[test]
fn a_state_that_was_saved_without_payloads_is_the_same() {
    let mut spread = state(60);
    spread_out(&mut spread, 60);
    let mut loaded = SpaceState::new(HnswParams::default());
    loaded.apply(0, Change::Settings(settings()), None);
    let (mut told, mut names) = (Numbers::default(), Names::default());
    // Twice: a checkpoint that is written while changes go on may hold a memory more than once.
    for (arrival, slot) in spread.in_order(None).chain(spread.in_order(Some(20))) {
        let record = spread.record(slot);
        let at = Saved {
            slot,
            arrival,
            version: record.version,
            uses: record.uses.clone(),
            heat: record.heat().clone(),
        };
        let Some(stub) = spread.stub(slot) else {
            let memory = spread.memory(slot).unwrap();
            let analysis = Analysis::of(&memory, &settings());
            loaded.place_saved(at, memory, &analysis);
            continue;
        };
        let mut new = NewNames::default();
        let mut numbered = spread.numbered(slot, &mut told, &mut new);
        loaded.take_names(&mut names, new);
        names.translate(&mut numbered).unwrap();
        let memory = record.facts().with(None, None);
        loaded.place_numbered(at, memory, &numbered, None, &stub);
    }
    loaded
        .take_names(&mut names, NewNames { terms: vec!["nobodys".into()], entities: vec!["nobody".into()] });
    loaded.finish_placing();
    assert_eq!(loaded.dump(), spread.dump());
    assert_eq!(loaded.tiers(), spread.tiers());
    let warm = slot(&loaded, 3);
    assert_eq!(loaded.memory(warm), Err(Away(warm)), "the region is not there yet");
}

#[test]
fn names_that_are_dropped_and_told_again_while_a_state_is_saved_come_back() {
    let mut saved = SpaceState::new(HnswParams::default());
    saved.apply(1, Change::Settings(settings()), None);
    let mut loaded = SpaceState::new(HnswParams::default());
    loaded.apply(0, Change::Settings(settings()), None);
    let (mut told, mut names) = (Numbers::default(), Names::default());
    let (mut distinct, mut told_in_all, mut deletions) = (HashSet::new(), 0, Vec::new());
    // Each second one has the same text, whose words nobody holds any more when it comes.
    for (version, at) in (10..).step_by(10).zip([0, 1, 6, 7, 12]) {
        let new = memory(at);
        let analysis = Analysis::of(&new, &settings());
        let id = new.id.clone();
        saved.apply(version, Change::Stored(Box::new(new)), Some(&analysis));
        let (arrival, slot) = saved.in_order(None).last().unwrap();
        let moves = vec![Move { arrival, version, home: Home::Away { file: 9, row: at as u32 } }];
        let moved = Change::Moved(Moves { file: Some((9, "cold".to_string())), moves });
        saved.apply(version + 1, moved, None);
        assert!(saved.evict(slot));
        let (record, stub) = (saved.record(slot), saved.stub(slot).unwrap());
        let (uses, heat) = (record.uses.clone(), record.heat().clone());
        let place = Saved { slot, arrival, version: record.version, uses, heat };
        let mut new = NewNames::default();
        let mut numbered = saved.numbered(slot, &mut told, &mut new);
        told_in_all += new.terms.len();
        distinct.extend(new.terms.clone());
        loaded.take_names(&mut names, new);
        names.translate(&mut numbered).unwrap();
        loaded.place_numbered(place, record.facts().with(None, None), &numbered, None, &stub);
        if at < 12 {
            let deletion = Change::Deleted(id);
            saved.apply(version + 2, deletion.clone(), None);
            deletions.push((version + 2, deletion));
        }
    }
    assert!(
        told_in_all > distinct.len(),
        "{told_in_all} words were told, of {} different ones",
        distinct.len()
    );
    loaded.finish_placing();
    // The log, which comes after it.
    deletions.into_iter().for_each(|(version, deletion)| loaded.apply(version, deletion, None));
    assert_eq!(loaded.dump(), saved.dump());
}

#[test]
fn the_coolest_leave_first() {
    let mut state = state(30);
    let clock = Arc::new(HeatClock::default());
    clock.set_memories(1000);
    state.share_heat(clock);
    let hot: Vec<u32> = [7, 11, 19].map(|at| slot(&state, at)).to_vec();
    (0..50).for_each(|_| state.note_fetched(hot.iter().copied()));
    let mut order = Vec::new();
    while let Some((_, slot)) = state.take_coolest(Tier::Hot) {
        order.push(slot);
    }
    assert_eq!(order.len(), 30);
    let mut last = order[27..].to_vec();
    last.sort_unstable();
    assert_eq!(last, hot);
    assert_eq!(state.take_coolest(Tier::Warm), None);
}
