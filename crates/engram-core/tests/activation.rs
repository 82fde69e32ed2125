//! Spreading activation through its public API, on graphs small enough to work out by hand.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use engram_core::Slot;
use engram_core::activation::{Flow, Spread, Via, Walk};
use engram_core::graph::{Graph, Place};
use engram_core::id::{MemoryId, Timestamp};
use engram_core::learned::Used;
use engram_core::without::Without;

/// A graph of links, given as pairs of slots.
fn linked(slots: Slot, links: &[(Slot, Slot)]) -> Graph {
    let mut graph = Graph::default();
    (0..slots).for_each(|slot| graph.reserve(slot));
    for &(from, to) in links {
        let id = MemoryId::new(&format!("m{to}")).unwrap();
        graph.link(from, &id, Some(to), "near", 1.0);
    }
    graph
}

fn walk(graph: &Graph) -> Walk<'_> {
    Walk {
        graph,
        memories: graph.slots(),
        visible: &|_| true,
        without: Without::default(),
        flow: Flow::default(),
        hops: None,
        severed: &[],
    }
}

fn spread(graph: &Graph, seeds: &[(Slot, f64)]) -> Spread {
    let mut spread = Spread::default();
    spread.spread(&walk(graph), seeds, 100_000, true);
    spread
}

/// A pseudo-random graph with contexts, names, links and habits.
fn tangled(seed: u64) -> Graph {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut graph = Graph::default();
    for slot in 0..40 {
        graph.reserve(slot);
        if random.bool() {
            let occurred_at = Timestamp(random.i64(0..10));
            let place = Place { occurred_at, arrival: u64::from(slot), slot };
            graph.join_context(["c1", "c2", "c3"][random.usize(0..3)], place);
        }
        let mut names: Vec<(Box<str>, u32)> =
            (0..3).map(|_| (format!("n{}", random.u8(0..12)).into(), random.u32(1..4))).collect();
        names.sort();
        names.dedup_by(|a, b| a.0 == b.0);
        let names: Vec<_> = names.iter().map(|(name, count)| (graph.entity_id(name), *count)).collect();
        graph.mention(slot, &names);
    }
    for _ in 0..30 {
        let (from, to) = (random.u32(0..40), random.u32(0..40));
        let id = MemoryId::new(&format!("m{to}")).unwrap();
        if from != to {
            graph.link(from, &id, Some(to), ["a", "b"][random.usize(0..2)], random.f32() * 0.9 + 0.1);
        }
    }
    for version in 1..20 {
        let used = |slot: Slot| Used { arrival: u64::from(slot), slot, trials: 1 };
        let members: Vec<Used> = (0..random.usize(1..4)).map(|_| used(random.u32(0..40))).collect();
        let at = Timestamp(version as i64);
        graph.learned_mut().learn(version, at, &members, |arrival| Some(used(arrival as Slot)));
    }
    graph
}

#[test]
fn mass_divides_as_worked_out_by_hand() {
    // 0 -> 1 -> 2: links get .6 of what flows on, against their direction half; half of everything stays.
    let graph = linked(3, &[(0, 1), (1, 2)]);
    let result = spread(&graph, &[(0, 1.0)]);
    // Memory 0 passes .5 * .6 on. Memory 1 has a fan of 1 + .5, so .6 * 2/3 forwards, .6 * 1/3 back.
    let at_one = 0.3;
    let at_two = at_one * 0.5 * 0.4;
    let back_at_zero = at_one * 0.5 * 0.2;
    // Third hop: 2 passes .5 * .3 back (a lone link against its direction), 0 passes .3 on again.
    let again_at_one = back_at_zero * 0.3 + at_two * 0.15;
    assert!((result.activation(0) - (0.7 + back_at_zero * 0.7)).abs() < 1e-12);
    assert!((result.activation(1) - (at_one * 0.7 + again_at_one)).abs() < 1e-12);
    assert!((result.activation(2) - at_two * 0.85).abs() < 1e-12);
    assert!((result.reached(0) - back_at_zero * 0.7).abs() < 1e-12, "its own seed is not what reached it");
}

#[test]
fn mass_is_conserved_and_the_shares_of_paths_sum_to_what_reached() {
    for seed in 0..50 {
        let graph = tangled(seed);
        let seeds = [(3, 0.5), (17, 0.3), (30, 0.2)];
        let result = spread(&graph, &seeds);
        let sum: f64 = (0..40).map(|slot| result.activation(slot)).sum();
        assert!((sum + result.residual - 1.0).abs() < 1e-9, "seed {seed}: {sum} + {}", result.residual);
        for slot in 0..40 {
            let ways = result.ways(&walk(&graph), slot);
            let shares: f64 = ways.iter().map(|way| way.share).sum();
            assert!((shares - result.reached(slot)).abs() < 1e-9, "seed {seed}, memory {slot}: {shares}");
            for way in ways.iter().filter(|way| !way.steps.is_empty()) {
                assert!(seeds.iter().any(|(seed, _)| *seed == way.steps[0].0), "paths start at seeds");
                assert_eq!(way.steps.last().unwrap().0, slot, "and end at the memory");
            }
        }
    }
}

/// The associations that a step of a path goes over, in both directions: one between two memories, or that of each with
/// the hub between them.
fn associations(graph: &Graph, from: Slot, via: Via, to: Slot) -> Vec<Vec<(Slot, Via)>> {
    match via {
        Via::Order(places) => vec![vec![(from, via), (to, Via::Order(-places))]],
        Via::Entity(_) => vec![vec![(from, via)], vec![(to, via)]],
        // What is learned is seen from the memory that leads on alone.
        Via::Learned(_) => vec![vec![(from, via)]],
        Via::Link(at) => {
            let kind = &graph.out(from)[at as usize].kind;
            let back = graph.incoming(to).iter().position(|edge| edge.other == from && edge.kind == *kind);
            vec![vec![(from, via), (to, Via::LinkBack(back.unwrap() as u32))]]
        }
        Via::LinkBack(at) => {
            let kind = &graph.incoming(from)[at as usize].kind;
            let out = graph.out(to).iter().position(|edge| edge.other == from && edge.kind == *kind);
            vec![vec![(from, via), (to, Via::Link(out.unwrap() as u32))]]
        }
    }
}

#[test]
fn without_an_association_that_a_path_names_at_least_its_share_is_missing() {
    let (mut checked, mut kinds) = (0, std::collections::BTreeSet::new());
    for seed in 0..25 {
        let graph = tangled(seed);
        let seeds = [(3, 0.5), (17, 0.3), (30, 0.2)];
        let whole = spread(&graph, &seeds);
        let mut poorer = Spread::default();
        for slot in (0..40).step_by(3) {
            for way in whole.ways(&walk(&graph), slot) {
                for pair in way.steps.windows(2) {
                    let ((from, ..), (to, via, _)) = (pair[0], pair[1]);
                    let via = via.unwrap();
                    for severed in associations(&graph, from, via, to) {
                        let walk = Walk { severed: &severed, ..walk(&graph) };
                        poorer.spread(&walk, &seeds, 100_000, false);
                        let sum: f64 = (0..40).map(|slot| poorer.activation(slot)).sum();
                        assert!((sum + poorer.residual - 1.0).abs() < 1e-9, "what is lost is reported");
                        let missing = whole.activation(slot) - poorer.activation(slot);
                        assert!(
                            missing >= way.share - 1e-9,
                            "seed {seed}, memory {slot}: without {severed:?} {missing} is missing, the path had {}",
                            way.share
                        );
                        checked += 1;
                    }
                    kinds.insert(format!("{via:?}").split('(').next().unwrap().to_string());
                }
            }
        }
    }
    assert!(checked > 10_000, "only {checked} associations were named");
    assert_eq!(kinds.len(), 5, "every kind of association was on a path: {kinds:?}");
}

#[test]
fn the_same_graph_and_seeds_give_the_same_bits() {
    for seed in 0..10 {
        let bits = |graph: &Graph| {
            let result = spread(graph, &[(3, 0.6), (21, 0.4)]);
            let ways = (0..40).flat_map(|slot| result.ways(&walk(graph), slot)).collect::<Vec<_>>();
            let shares = ways.iter().map(|way| way.share.to_bits()).collect::<Vec<_>>();
            let activations = (0..40).map(|slot| result.activation(slot).to_bits()).collect::<Vec<_>>();
            (activations, shares, ways)
        };
        let graph = tangled(seed);
        assert_eq!(bits(&graph), bits(&graph), "seed {seed}: in a second run");
        assert_eq!(bits(&graph), bits(&tangled(seed)), "seed {seed}: in a graph built by the same changes");
    }
}

#[test]
fn hubs_stay_quiet_and_activation_falls_with_the_fan() {
    // Memory 0 leads to 1 (which leads to 2 alone) and to a hub with 50 leaves.
    let mut links = vec![(0, 1), (1, 2), (0, 3)];
    links.extend((4..54).map(|leaf| (3, leaf)));
    let graph = linked(54, &links);
    let result = spread(&graph, &[(0, 1.0)]);
    assert!((4..54).all(|leaf| result.activation(leaf) < result.activation(2) / 5.0));
    assert!(result.activation(3) < result.activation(0), "the hub does not overtake its seed");
    let mut before = f64::INFINITY;
    for fan in 1..10 {
        let links: Vec<_> = (1..=fan).map(|to| (0, to)).collect();
        let activation = spread(&linked(fan + 1, &links), &[(0, 1.0)]).activation(1);
        assert!(activation < before, "fan {fan}");
        before = activation;
    }
}

#[test]
fn a_budget_holds_back_the_weak_and_says_so() {
    let graph = tangled(7);
    let mut full = Spread::default();
    full.spread(&walk(&graph), &[(3, 1.0)], 100_000, false);
    assert!(!full.truncated);
    let mut none = Spread::default();
    none.spread(&walk(&graph), &[(3, 1.0)], 0, false);
    assert!(none.truncated && none.visits == 0 && none.activated().len() == 1);
    let mut some = Spread::default();
    some.spread(&walk(&graph), &[(3, 1.0)], full.visits / 3, false);
    assert!(some.truncated && some.visits <= full.visits / 3 + 40, "{} of {}", some.visits, full.visits);
    let sum: f64 = (0..40).map(|slot| some.activation(slot)).sum();
    assert!((sum + some.residual - 1.0).abs() < 1e-9, "what was held back is reported");
}
