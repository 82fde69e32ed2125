//! What is planted is found, and nothing is made of what does not recur.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use engram_core::Slot;
use engram_core::associate::Analysis;
use engram_core::consolidate::{Ground, SOURCES_MIN, Search, Source, Step, gist};
use engram_core::hnsw::HnswParams;
use engram_core::id::{MemoryId, Timestamp};
use engram_core::memory::{Link, NewMemory};
use engram_core::state::{Change, Embedder, SpaceSettings, SpaceState};
use engram_core::vector::unit;
use fastrand::Rng;

const DIMENSIONS: usize = 64;

fn random(rng: &mut Rng) -> Vec<f32> {
    // Near enough to normal: the sum of twelve uniform numbers.
    let number = |rng: &mut Rng| (0..12).map(|_| rng.f32()).sum::<f32>() - 6.0;
    unit(&(0..DIMENSIONS).map(|_| number(rng)).collect::<Vec<_>>())
}

fn near(center: &[f32], noise: f32, rng: &mut Rng) -> Vec<f32> {
    center.iter().zip(random(rng)).map(|(x, y)| x + noise * y).collect()
}

fn state(rows: &[Vec<f32>]) -> SpaceState {
    let mut state = SpaceState::new(HnswParams::default());
    let embedder = Some(Embedder::Caller { dimensions: DIMENSIONS });
    let settings = SpaceSettings { embedder, ..SpaceSettings::default() };
    state.apply(1, Change::Settings(settings), None);
    for (at, row) in (0u64..).zip(rows) {
        store(&mut state, at + 2, &format!("m{at}"), row, vec![]);
    }
    state
}

fn store(state: &mut SpaceState, version: u64, id: &str, row: &[f32], links: Vec<Link>) {
    let new = NewMemory { embedding: Some(row.to_vec()), links: Some(links), ..NewMemory::default() };
    let memory = new.complete(MemoryId::new(id).unwrap(), Timestamp(version as i64));
    let analysis = Analysis::of(&memory, state.settings());
    state.apply(version, Change::Stored(Box::new(memory)), Some(&analysis));
}

/// The sources of what a search proposes in the end, each list in order, without writing any of it.
fn proposed(state: &SpaceState) -> Vec<Vec<String>> {
    let mut search = Search::new(state).unwrap();
    let mut groups: Vec<Vec<String>> = Vec::new();
    loop {
        match search.step(state, 7) {
            Step::Done => break,
            Step::More => {}
            Step::Found(proposal) => {
                search.named(MemoryId::new(&format!("concept:{}", groups.len())).unwrap());
                let mut ids: Vec<String> = proposal.sources.iter().map(|(id, _)| id.to_string()).collect();
                ids.sort();
                // A group that others joined is proposed again, with all of them.
                groups.retain(|group| !group.iter().all(|id| ids.contains(id)));
                groups.push(ids);
            }
        }
        assert!((0.0..=1.0).contains(&search.progress()));
    }
    assert_eq!(search.grouped(), groups.iter().map(Vec::len).sum::<usize>());
    groups.sort();
    groups
}

#[test]
fn what_recurs_is_found_among_what_does_not() {
    let mut rng = Rng::with_seed(3);
    let centers: Vec<Vec<f32>> = (0..4).map(|_| random(&mut rng)).collect();
    // Every tenth memory, round the four centers in turn.
    let planted = |at: usize| at.is_multiple_of(10).then_some(at / 10 % 4);
    let row = |at: usize| match planted(at) {
        Some(center) => near(&centers[center], 0.5, &mut rng),
        None => random(&mut rng),
    };
    let rows: Vec<Vec<f32>> = (0..200).map(row).collect();
    let mut expected: Vec<Vec<String>> = (0..4)
        .map(|center| {
            let ids = (0..200).filter(|&at| planted(at) == Some(center)).map(|at| format!("m{at}"));
            let mut ids: Vec<String> = ids.collect();
            ids.sort();
            ids
        })
        .collect();
    expected.sort();
    assert_eq!(proposed(&state(&rows)), expected);
}

#[test]
fn random_memories_make_hardly_any_concept() {
    let of_seed = |seed| {
        let mut rng = Rng::with_seed(seed);
        let rows: Vec<Vec<f32>> = (0..300).map(|_| random(&mut rng)).collect();
        proposed(&state(&rows))
    };
    let found: Vec<Vec<String>> = (0..5).flat_map(of_seed).collect();
    // Three of 1,500 may be near each other by chance.
    assert!(found.len() <= 1 && found.iter().all(|concept| concept.len() == SOURCES_MIN), "{found:?}");
}

#[test]
fn what_recurs_often_is_not_taken_for_what_all_have_in_common() {
    let mut rng = Rng::with_seed(9);
    for repeats in [15, 60] {
        let mut rows = vec![random(&mut rng); repeats];
        rows.extend((0..10).map(|_| random(&mut rng)));
        let mut expected: Vec<String> = (0..repeats).map(|at| format!("m{at}")).collect();
        expected.sort();
        assert_eq!(proposed(&state(&rows)), [expected]);
    }
}

#[test]
fn memories_that_are_all_alike_have_nothing_in_common_beyond_the_mean() {
    let rows = vec![vec![1.0; DIMENSIONS]; 20];
    assert_eq!(proposed(&state(&rows)), Vec::<Vec<String>>::new());
    let empty = SpaceState::new(HnswParams::default());
    assert!(Search::new(&empty).is_none(), "there are no vectors");
}

#[test]
fn two_that_contradict_each_other_do_not_share_a_concept() {
    let mut rng = Rng::with_seed(9);
    let center = random(&mut rng);
    let row = |at| if at < 6 { near(&center, 0.4, &mut rng) } else { random(&mut rng) };
    let rows: Vec<Vec<f32>> = (0..60).map(row).collect();
    let mut state = state(&rows);
    assert_eq!(proposed(&state), [["m0", "m1", "m2", "m3", "m4", "m5"]]);
    let link = |kind: &str| Link { to: MemoryId::new("m1").unwrap(), kind: kind.into(), weight: 1.0 };
    store(&mut state, 1000, "m0", &rows[0], vec![link("contradicts")]);
    assert_eq!(proposed(&state), [["m0", "m2", "m3", "m4", "m5"]]);
    store(&mut state, 1001, "m0", &rows[0], vec![link("supersedes")]);
    assert_eq!(proposed(&state), [["m0", "m2", "m3", "m4", "m5"]], "what is superseded is no source");
}

#[test]
fn who_is_not_predicted_is_left_out_of_the_gist() {
    let mut rng = Rng::with_seed(5);
    let center = random(&mut rng);
    let mut rows: Vec<Vec<f32>> = (0..4).map(|_| near(&center, 0.4, &mut rng)).collect();
    rows.extend((0..50).map(|_| random(&mut rng)));
    let state = state(&rows);
    let ground = Ground::of(&state).unwrap();
    let of =
        |slots: &[Slot]| gist(slots.iter().filter_map(|slot| Source::of(&state, *slot)).collect(), &ground);
    let whole = of(&[0, 1, 2, 3]).unwrap();
    let minus: Vec<f32> = center.iter().map(|x| -x).collect();
    let ids: Vec<String> = whole.sources.iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(ids, ["m0", "m1", "m2", "m3"]);
    assert!(whole.sources.iter().all(|(_, fit)| (0.5..1.0).contains(fit)), "{whole:?}");
    assert_eq!((whole.from, whole.to), (Timestamp(2), Timestamp(5)));
    // One that points away from the others is predicted worse by them than by anything.
    let mut with_one_more = rows.clone();
    with_one_more[3] = minus;
    let state = self::state(&with_one_more);
    let sources = (0..4).filter_map(|slot| Source::of(&state, slot)).collect();
    let ids: Vec<String> =
        gist(sources, &ground).unwrap().sources.iter().map(|(id, _)| id.to_string()).collect();
    assert_eq!(ids, ["m0", "m1", "m2"]);
    assert_eq!(of(&[0, 1]), None, "two are too few");
}
