//! How sure the sources of a hit are, taken together: its own, others that say the same, and those that speak against it.
//!
//! Evidence adds up in log-odds (Good 1985, "weight of evidence"): `logit c = logit c_own + sum of what others add - sum
//! of what speaks against it`, each `logit c_k`, against it times the weight of the link and never below 0. Nobody counts
//! for surer than .99, so that two who are sure of opposite things leave a half. Memories of one context are one source
//! and count once, as the surest of them. Retrievability and relevance have no part in it.

use crate::Slot;
use crate::state::SpaceState;

/// The kind of a link from a memory to one that it says is wrong. Both count against each other.
pub const CONTRADICTS: &str = "contradicts";
/// The kind of a link from a memory to one that it takes the place of. It counts twice, and against the older alone.
pub const SUPERSEDES: &str = "supersedes";

/// As sure as anybody counts.
const CERTAIN: f32 = 0.99;

/// A memory that speaks against another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objection {
    /// Where it stands.
    pub slot: Slot,
    /// Whether it takes the place of the other; otherwise it contradicts it.
    pub supersedes: bool,
    /// Weight of the link, 0..=1.
    pub weight: f32,
}

/// The visible memories that speak against the one in `slot`, in the order of the links; each once. What has been
/// superseded itself has no say.
pub fn objections(state: &SpaceState, slot: Slot, is_visible: impl Fn(Slot) -> bool) -> Vec<Objection> {
    let graph = state.graph();
    let incoming = graph.incoming(slot).iter().filter_map(|edge| match &*edge.kind {
        SUPERSEDES => Some(Objection { slot: edge.other, supersedes: true, weight: edge.weight }),
        CONTRADICTS => Some(Objection { slot: edge.other, supersedes: false, weight: edge.weight }),
        _ => None,
    });
    let out = graph.out(slot).iter().filter(|edge| &*edge.kind == CONTRADICTS);
    let out = out.map(|edge| Objection { slot: edge.other, supersedes: false, weight: edge.weight });
    let mut all: Vec<Objection> = Vec::new();
    for objection in incoming.chain(out).filter(|objection| is_visible(objection.slot)) {
        match all.iter_mut().find(|known| known.slot == objection.slot) {
            Some(known) if objection.supersedes => *known = objection,
            Some(_) => {}
            None => all.push(objection),
        }
    }
    let holds = |objection: &Objection| superseding(state, objection.slot, &is_visible).next().is_none();
    all.retain(holds);
    all
}

/// The visible memories that supersede the one in `slot`.
pub fn superseding(
    state: &SpaceState,
    slot: Slot,
    is_visible: impl Fn(Slot) -> bool,
) -> impl Iterator<Item = Slot> {
    let incoming = state.graph().incoming(slot).iter().filter(|edge| &*edge.kind == SUPERSEDES);
    incoming.map(|edge| edge.other).filter(move |&newer| is_visible(newer))
}

/// How sure the sources of the memory in `slot` are, 0..=1, given what says the same and what speaks against it.
pub fn combined(state: &SpaceState, slot: Slot, same: &[Slot], against: &[Objection]) -> f32 {
    let own = state.record(slot).memory().confidence;
    // By source: a context, or a memory that has none.
    let source = |slot: Slot| state.graph().context_of(slot).ok_or(slot);
    let sure = |slot: Slot| logit(state.record(slot).memory().confidence);
    let mut added = 0.0;
    for (at, &other) in same.iter().enumerate() {
        let is_first = same[..at].iter().all(|&before| source(before) != source(other));
        if source(other) != source(slot) && is_first {
            let of_source = same[at..].iter().filter(|&&each| source(each) == source(other));
            added += of_source.map(|&each| sure(each)).fold(f32::MIN, f32::max);
        }
    }
    let speaks = |objection: &Objection| {
        let times = if objection.supersedes { 2.0 } else { 1.0 };
        times * objection.weight * sure(objection.slot).max(0.0)
    };
    added -= against.iter().map(speaks).sum::<f32>();
    if added == 0.0 || (added > 0.0 && own >= CERTAIN) {
        return own;
    }
    1.0 / (1.0 + (-(logit(own) + added)).exp())
}

fn logit(confidence: f32) -> f32 {
    let bounded = confidence.clamp(1.0 - CERTAIN, CERTAIN);
    (bounded / (1.0 - bounded)).ln()
}
