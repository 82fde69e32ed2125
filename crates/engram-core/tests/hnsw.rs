//! The index beside its exact twin: what it must find, and what must hold while the graph changes.

use engram_core::Slot;
use engram_core::hnsw::{Hnsw, HnswParams, Scratch, Tuning, Wanted, exact_search};
use engram_core::vector::{Paging, Vectors, unit};
use proptest::prelude::*;
use std::collections::BTreeSet;

const DIMENSIONS: usize = 24;
const SMALL: HnswParams = HnswParams { m: 8, ef_construction: 64, ef_search: 64 };

/// SplitMix64: numbers that are the same in every run.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Roughly normal, variance 1.
    fn normal(&mut self) -> f32 {
        let sum: f64 = (0..12).map(|_| (self.next() >> 11) as f64 / (1u64 << 53) as f64).sum();
        (sum - 6.0) as f32
    }

    fn vector(&mut self) -> Vec<f32> {
        (0..DIMENSIONS).map(|_| self.normal()).collect()
    }

    /// A point near one of `centres`, of a length that is not 1.
    fn near(&mut self, centres: &[Vec<f32>]) -> Vec<f32> {
        let centre = &centres[self.below(centres.len())];
        let length = 0.5 + self.below(100) as f32 / 25.0;
        centre.iter().map(|x| (x + 0.35 * self.normal()) * length).collect()
    }
}

/// A graph, its rows, and the truth about what is in it.
struct World {
    random: Seeded,
    centres: Vec<Vec<f32>>,
    vectors: Vectors,
    graph: Hnsw,
    live: BTreeSet<Slot>,
    scratch: Scratch,
}

impl World {
    fn new(seed: u64, params: HnswParams) -> Self {
        let mut random = Seeded(seed);
        let centres = (0..30).map(|_| random.vector()).collect();
        Self {
            random,
            centres,
            vectors: Vectors::new(DIMENSIONS, Paging::Ordinary),
            graph: Hnsw::new(params),
            live: BTreeSet::new(),
            scratch: Scratch::new(),
        }
    }

    fn with_clusters(seed: u64, params: HnswParams, count: Slot) -> Self {
        let mut world = Self::new(seed, params);
        for slot in 0..count {
            world.insert(slot);
        }
        world
    }

    fn set_row(&mut self, slot: Slot) -> u8 {
        let row = self.random.near(&self.centres);
        self.vectors.set(slot, &row);
        self.graph.level_for(self.random.next())
    }

    fn insert(&mut self, slot: Slot) {
        let level = self.set_row(slot);
        self.graph.insert(&self.vectors, slot, level, &mut self.scratch);
        self.live.insert(slot);
    }

    fn remove(&mut self, slot: Slot) {
        self.graph.remove(&self.vectors, slot);
        self.vectors.clear(slot);
        self.live.remove(&slot);
    }

    fn search(
        &mut self,
        cue: &[f32],
        k: usize,
        ef: usize,
        filter: impl Fn(Slot) -> bool,
    ) -> Vec<(Slot, f32)> {
        let mut out = Vec::new();
        let found =
            self.graph.search(&self.vectors, cue, Wanted::new(k, ef), filter, &mut self.scratch, &mut out);
        assert_eq!(found, out.len());
        out
    }

    /// Mean share of the exact ten that a search finds, over 100 cues.
    fn recall(&mut self, filter: impl Fn(Slot) -> bool + Copy) -> f64 {
        let (mut hits, mut wanted) = (0, 0);
        for _ in 0..100 {
            let cue = unit(&self.random.near(&self.centres));
            let exact = exact_search(&self.vectors, &cue, 10, self.live.iter().copied(), filter);
            let found = self.search(&cue, 10, self.graph.params().ef_search, filter);
            assert!(found.is_sorted_by(|a, b| a.1 > b.1 || a.1 == b.1 && a.0 < b.0));
            assert!(found.iter().all(|(slot, _)| self.live.contains(slot) && filter(*slot)));
            hits += found.iter().filter(|hit| exact.contains(hit)).count();
            wanted += exact.len();
        }
        hits as f64 / wanted as f64
    }

    fn check(&self) {
        assert_eq!(self.graph.validate(&self.vectors), Ok(()));
        assert_eq!(self.graph.len(), self.live.len());
        assert_eq!(self.graph.unreachable(), Vec::<Slot>::new());
    }
}

#[test]
fn an_empty_graph_finds_nothing() {
    let mut world = World::new(1, SMALL);
    assert_eq!(world.search(&unit(&[1.0; DIMENSIONS]), 10, 50, |_| true), vec![]);
    assert!(world.graph.is_empty() && !world.graph.contains(0));
    world.check();
    world.insert(3);
    assert_eq!(world.search(&unit(&[1.0; DIMENSIONS]), 10, 50, |_| true).len(), 1);
    world.remove(3);
    assert_eq!(world.search(&unit(&[1.0; DIMENSIONS]), 10, 50, |_| true), vec![]);
    world.check();
}

#[test]
fn levels_thin_out_by_m_and_stop() {
    let graph = Hnsw::new(SMALL);
    let mut random = Seeded(2);
    let mut counts = [0; 17];
    for _ in 0..64_000 {
        counts[usize::from(graph.level_for(random.next()))] += 1;
    }
    assert!((54_500..57_500).contains(&counts[0]), "{counts:?}");
    assert!((6_500..7_500).contains(&counts[1]), "{counts:?}");
    assert_eq!(Hnsw::new(HnswParams { m: 2, ..SMALL }).level_for(0), 16);
}

#[test]
fn clustered_vectors_are_found() {
    let mut world = World::with_clusters(3, SMALL, 3_000);
    world.check();
    let recall = world.recall(|_| true);
    assert!(recall >= 0.98, "{recall}");
}

#[test]
fn spread_vectors_are_found() {
    let mut world = World::new(4, HnswParams { m: 16, ef_construction: 100, ef_search: 150 });
    world.centres = (0..100_000).map(|_| world.random.vector()).collect();
    for slot in 0..3_000 {
        world.insert(slot);
    }
    world.check();
    let recall = world.recall(|_| true);
    assert!(recall >= 0.95, "{recall}");
}

#[test]
fn vectors_with_one_long_number_in_common_are_found() {
    // Codes are as fine as the longest number allows: a step is then a sixth of what the others vary by.
    let mut world = World::new(15, SMALL);
    world.centres.iter_mut().for_each(|centre| centre[3] = 20.0);
    for slot in 0..3_000 {
        world.insert(slot);
    }
    world.check();
    let recall = world.recall(|_| true);
    assert!(recall >= 0.98, "{recall}");
}

#[test]
fn filters_hold_and_say_when_they_are_too_narrow() {
    let mut world = World::with_clusters(5, SMALL, 3_000);
    for (divisor, recall_min) in [(2, 0.98), (10, 0.98), (100, 0.98)] {
        let recall = world.recall(|slot| slot % divisor == 0);
        assert!(recall >= recall_min, "1 in {divisor} passes: {recall}");
    }
    let cue = unit(&world.random.vector());
    assert_eq!(world.search(&cue, 10, 64, |slot| slot < 5).len(), 5);
    // The bound on visits: of so few neither this search nor one with a smaller breadth can find all.
    assert!(world.search(&cue, 10, 1, |slot| slot % 300 == 0).len() < 10);
    assert_eq!(world.search(&cue, 10, 64, |_| false), vec![]);
}

#[test]
fn any_filter_finds_what_a_comparison_with_all_finds() {
    let mut world = World::with_clusters(16, SMALL, 3_000);
    for slot in 3_000..3_200 {
        world.vectors.set(slot, &world.random.near(&world.centres));
    }
    for divisor in [1, 2, 10, 100, 1_000] {
        let (mut hits, mut wanted) = (0, 0);
        for _ in 0..50 {
            let cue = unit(&world.random.near(&world.centres));
            let filter = |slot: Slot| slot.is_multiple_of(divisor);
            let exact = exact_search(&world.vectors, &cue, 10, 0..3_200, filter);
            let mut found = Vec::new();
            let beside = (3_000..3_200).filter(|&slot| filter(slot));
            let World { graph, vectors, scratch, .. } = &mut world;
            graph.nearest(vectors, &cue, Wanted::new(10, 64), filter, beside, scratch, &mut found);
            assert!(found.len() == exact.len() && found.iter().all(|(slot, _)| filter(*slot)));
            hits += found.iter().filter(|hit| exact.contains(hit)).count();
            wanted += exact.len();
        }
        assert!(hits as f64 >= 0.98 * wanted as f64, "1 in {divisor}: {hits} of {wanted}");
    }
}

#[test]
fn churn_leaves_no_trace_and_no_hole() {
    let mut world = World::with_clusters(6, SMALL, 800);
    for step in 0..6_000 {
        let slot = world.random.below(1_000) as Slot;
        if world.live.contains(&slot) {
            world.remove(slot)
        } else {
            world.insert(slot)
        }
        if step % 500 == 0 {
            world.check();
        }
    }
    world.check();
    let recall = world.recall(|_| true);
    assert!(recall >= 0.98, "{recall}");
}

#[test]
fn removing_all_but_a_few_keeps_those() {
    for seed in 0..20 {
        let mut world =
            World::with_clusters(100 + seed, HnswParams { m: 2, ef_construction: 8, ef_search: 8 }, 300);
        world.check_but_unreachable();
        while world.live.len() > 1 {
            let at = world.random.below(world.live.len());
            let slot = *world.live.iter().nth(at).unwrap();
            world.remove(slot);
            world.check_but_unreachable();
        }
    }
}

impl World {
    /// With m = 2 a graph may come apart, but all else must hold.
    fn check_but_unreachable(&self) {
        assert_eq!(self.graph.validate(&self.vectors), Ok(()));
        assert_eq!(self.graph.len(), self.live.len());
    }
}

#[test]
fn many_copies_of_one_vector_do_not_become_an_island() {
    // Copies of the same length have the same cosines to the last bit; those of others differ in their rounding.
    for (seed, stretch) in [(7, 0.0), (7, 1.0 / 777.0), (20, 0.0), (21, 0.0), (24, 0.0), (26, 0.0)] {
        let mut world = World::new(seed, SMALL);
        let copy = world.random.vector();
        for slot in 0..2_500 {
            let level = world.set_row(slot);
            if (500..2_000).contains(&slot) {
                let length = 1.0 + slot as f32 * stretch;
                world.vectors.set(slot, &copy.iter().map(|x| x * length).collect::<Vec<_>>());
            }
            world.graph.insert(&world.vectors, slot, level, &mut world.scratch);
            world.live.insert(slot);
        }
        world.check();
        let others = world.recall(|slot| !(500..2_000).contains(&slot));
        assert!(others >= 0.95, "{others}");
        let all = world.search(&unit(&copy), 1_000, 1_000, |_| true);
        assert_eq!(all.len(), 1_000);
        assert!(all.iter().all(|(slot, _)| (500..2_000).contains(slot)));
        for slot in 500..1_990 {
            world.remove(slot);
        }
        world.check();
    }
}

#[test]
fn only_copies() {
    let mut world = World::new(8, SMALL);
    for slot in 0..1_000 {
        world.vectors.set(slot, &[1.0; DIMENSIONS]);
        let level = world.graph.level_for(world.random.next());
        world.graph.insert(&world.vectors, slot, level, &mut world.scratch);
        world.live.insert(slot);
    }
    world.check();
    assert_eq!(world.search(&unit(&[1.0; DIMENSIONS]), 1_000, 1_000, |_| true).len(), 1_000);
}

#[test]
fn a_plan_survives_what_happens_before_its_commit() {
    let mut world = World::with_clusters(9, SMALL, 600);
    for round in 0..60 {
        // Slots of the plans stay out of the changes in between.
        let planned: Vec<Slot> = (0..8).map(|at| 1_000 + round * 8 + at).collect();
        let levels: Vec<u8> = planned.iter().map(|&slot| world.set_row(slot)).collect();
        let plans: Vec<_> = planned
            .iter()
            .zip(&levels)
            .map(|(&slot, &level)| {
                world.graph.prepare(&world.vectors, slot, level, &planned, &mut world.scratch)
            })
            .collect();
        for _ in 0..world.random.below(400) {
            let slot = world.random.below(600) as Slot;
            if world.live.contains(&slot) {
                world.remove(slot);
            }
            if world.random.below(2) == 0 && !world.live.contains(&slot) {
                world.insert(slot);
            }
        }
        for (plan, &slot) in plans.into_iter().zip(&planned) {
            world.graph.commit(&world.vectors, plan);
            world.live.insert(slot);
        }
        world.check();
    }
    let recall = world.recall(|_| true);
    assert!(recall >= 0.98, "{recall}");
}

#[test]
fn plans_for_an_empty_graph_and_for_one_that_was_emptied() {
    let mut world = World::new(10, SMALL);
    for round in 0..3 {
        let planned: Vec<Slot> = (0..40).map(|at| round * 100 + at).collect();
        let levels: Vec<u8> = planned.iter().map(|&slot| world.set_row(slot)).collect();
        let mut plans = Vec::new();
        for (&slot, &level) in planned.iter().zip(&levels) {
            plans.push(world.graph.prepare(&world.vectors, slot, level, &[], &mut world.scratch));
        }
        while let Some(&slot) = world.live.first() {
            world.remove(slot);
        }
        for (plan, &slot) in plans.into_iter().zip(&planned) {
            world.graph.commit(&world.vectors, plan);
            world.live.insert(slot);
        }
        world.check();
    }
}

#[test]
fn batches_are_as_good_as_single_insertions() {
    let mut world = World::new(11, SMALL);
    for first in (0..3_000).step_by(16) {
        let batch: Vec<Slot> = (first..first + 16).collect();
        let levels: Vec<u8> = batch.iter().map(|&slot| world.set_row(slot)).collect();
        let mut plans = Vec::new();
        for (&slot, &level) in batch.iter().zip(&levels) {
            plans.push(world.graph.prepare(&world.vectors, slot, level, &batch, &mut world.scratch));
        }
        for plan in plans {
            world.graph.commit(&world.vectors, plan);
        }
        world.live.extend(batch);
    }
    world.check();
    let recall = world.recall(|_| true);
    assert!(recall >= 0.98, "{recall}");
}

#[test]
fn the_same_calls_give_the_same_graph() {
    let build = || {
        let mut world = World::with_clusters(12, SMALL, 500);
        (0..100).for_each(|slot| world.remove(slot * 3));
        world.graph.encode()
    };
    assert!(build() == build());
}

#[test]
fn a_decoded_graph_answers_and_grows_the_same() {
    let mut world = World::with_clusters(13, SMALL, 1_000);
    (0..300).for_each(|slot| world.remove(slot * 3));
    let bytes = world.graph.encode();
    let mut decoded = Hnsw::decode(&bytes, Tuning::default()).unwrap();
    decoded.validate(&world.vectors).unwrap();
    assert!(decoded.encode() == bytes);
    for _ in 0..50 {
        let cue = unit(&world.random.near(&world.centres));
        let before = world.search(&cue, 10, 20, |_| true);
        std::mem::swap(&mut world.graph, &mut decoded);
        assert_eq!(before, world.search(&cue, 10, 20, |_| true));
    }
    let twin_random = world.random.0;
    (0..200).for_each(|slot| world.insert(slot * 3));
    let grown = world.graph.encode();
    world.random = Seeded(twin_random);
    world.graph = decoded;
    (0..200).for_each(|slot| world.insert(slot * 3));
    assert!(world.graph.encode() == grown);
    let empty = Hnsw::decode(&Hnsw::new(SMALL).encode(), Tuning::default()).unwrap();
    assert!(empty.is_empty());
}

#[test]
fn params_are_checked() {
    assert!(HnswParams::default().check().is_ok());
    let error = HnswParams { m: 1, ..SMALL }.check().unwrap_err().to_string();
    assert_eq!(error, "hnsw_index.M is 1, it must be 2 to 64");
    assert!(HnswParams { m: 65, ef_construction: 400, ..SMALL }.check().is_err());
    assert!(HnswParams { ef_construction: 4, ..SMALL }.check().is_err());
    assert!(HnswParams { ef_search: 0, ..SMALL }.check().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_bytes_are_refused_or_make_a_whole_graph(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        static GOOD: std::sync::LazyLock<(Vec<u8>, Vectors)> = std::sync::LazyLock::new(|| {
            let mut world = World::with_clusters(14, HnswParams { m: 3, ef_construction: 8, ef_search: 8 }, 60);
            (0..10).for_each(|slot| world.remove(slot * 5));
            (world.graph.encode(), world.vectors)
        });
        let (mut bytes, vectors) = GOOD.clone();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(graph) = Hnsw::decode(&bytes, Tuning::default()) {
            prop_assert!(graph.encode() == bytes);
            let mut out = Vec::new();
            let cue = unit(&[1.0; DIMENSIONS]);
            graph.search(&vectors, &cue, Wanted::new(10, 20), |_| true, &mut Scratch::new(), &mut out);
        }
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Hnsw::decode(&bytes, Tuning::default()).is_err());
    }

    #[test]
    fn small_graphs_hold_through_any_changes(
        steps in prop::collection::vec((0u32..12, 0u8..3, -2i8..3, -2i8..3), 1..80),
    ) {
        let mut graph = Hnsw::new(HnswParams { m: 2, ef_construction: 4, ef_search: 4 });
        let (mut vectors, mut scratch) = (Vectors::new(2, Paging::Ordinary), Scratch::new());
        for (slot, level, x, y) in steps {
            if graph.contains(slot) {
                graph.remove(&vectors, slot);
                vectors.clear(slot);
            } else if (x, y) != (0, 0) {
                vectors.set(slot, &[f32::from(x), f32::from(y)]);
                graph.insert(&vectors, slot, level, &mut scratch);
            }
            graph.validate(&vectors).unwrap();
            prop_assert!(Hnsw::decode(&graph.encode(), Tuning::default()).is_ok());
        }
    }
}
