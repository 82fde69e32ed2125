//! The ways that activation may take in a recall, and those that it took.

use super::Ranking;
use crate::Slot;
use crate::activation::{Flow, Via, Walk, Way};
use crate::cue::{Path, RecallOptions, Step};
use crate::payloads::Tier;
use crate::state::SpaceState;

/// Whether activation may reach a memory: one that the recall sees, in a tier that is not left out.
pub(super) fn reaches(state: &SpaceState, options: &RecallOptions, slot: Slot) -> bool {
    // Where no tier is left out, its record need not be read.
    state.is_visible(slot, options.now, options.as_of)
        && (!state.hops().contains(&0) || state.hops_of(slot) > 0)
}

/// Whether a tier with memories is left out.
pub(super) fn leaves_out(state: &SpaceState) -> bool {
    let memories = state.tiers().memories;
    Tier::ALL.into_iter().any(|tier| memories[tier as usize] > 0 && state.hops()[tier as usize] == 0)
}

/// The graph as activation walks it in this recall.
pub(super) fn walk<'a>(
    state: &'a SpaceState,
    options: &RecallOptions,
    visible: &'a dyn Fn(Slot) -> bool,
    hops: &'a dyn Fn(Slot) -> u8,
) -> Walk<'a> {
    let flow = Flow::default();
    let [hot, others @ ..] = state.tiers().memories;
    let ends_early = others != [0; 2] || (hot > 0 && state.hops()[0] < flow.hops_max);
    Walk {
        graph: state.graph(),
        memories: state.ranked(),
        visible,
        without: options.without,
        flow,
        severed: &[],
        hops: ends_early.then_some(hops),
    }
}

impl Ranking<'_> {
    pub(super) fn paths(&self, slot: Slot) -> Vec<Path> {
        let (state, options) = (self.state, self.options);
        let (visible, hops) = (|slot| reaches(state, options, slot), |slot| state.hops_of(slot));
        let walk = walk(state, options, &visible, &hops);
        let ways = self.scratch.spread.ways(&walk, slot);
        let step = |from: Option<Slot>, to: Slot, via: Option<Via>, weight: f64| Step {
            via: via.map(|via| self.name(from.unwrap_or(to), &via)),
            weight: weight as f32,
            memory: to,
        };
        let path = |way: Way| {
            let mut before = None;
            let steps =
                way.steps.into_iter().map(|(to, via, weight)| step(before.replace(to), to, via, weight));
            Path { share: way.share as f32, steps: steps.collect() }
        };
        ways.into_iter().map(path).collect()
    }

    /// What users call the association that `via` took from a memory.
    fn name(&self, from: Slot, via: &Via) -> String {
        let graph = self.state.graph();
        match via {
            Via::Order(places) if *places > 0 => "next".into(),
            Via::Order(_) => "previous".into(),
            Via::Learned(_) => "learned".into(),
            Via::Entity(id) => format!("entity:{}", graph.entity(*id).name),
            Via::Link(at) => graph.kind(graph.out(from)[*at as usize].kind).to_string(),
            Via::LinkBack(at) => format!("{}^-1", graph.kind(graph.incoming(from)[*at as usize].kind)),
        }
    }
}
