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

/// Objections that count, and are given with a hit.
pub const OBJECTIONS_MAX: usize = 16;
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

/// The visible memories that speak against the one in `slot`, each once; of more than `OBJECTIONS_MAX` those that weigh
/// most. What has been superseded itself has no say. Costs a look at every link of the memory.
pub fn objections(state: &SpaceState, slot: Slot, is_visible: impl Fn(Slot) -> bool) -> Vec<Objection> {
    let graph = state.graph();
    let incoming = graph.incoming(slot).iter().filter_map(|edge| match graph.kind(edge.kind) {
        SUPERSEDES => Some(Objection { slot: edge.other, supersedes: true, weight: edge.weight }),
        CONTRADICTS => Some(Objection { slot: edge.other, supersedes: false, weight: edge.weight }),
        _ => None,
    });
    let out = graph.out(slot).iter().filter(|edge| graph.kind(edge.kind) == CONTRADICTS);
    let out = out.map(|edge| Objection { slot: edge.other, supersedes: false, weight: edge.weight });
    let holds = |objection: &Objection| {
        is_visible(objection.slot) && superseding(state, objection.slot, &is_visible).next().is_none()
    };
    let mut all: Vec<Objection> = incoming.chain(out).filter(holds).collect();
    // Of two by the same memory the one that says more.
    all.sort_by(|a, b| a.slot.cmp(&b.slot).then(b.supersedes.cmp(&a.supersedes)));
    all.dedup_by_key(|objection| objection.slot);
    let weight = |objection: &Objection| weight_of(state, objection);
    all.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then(a.slot.cmp(&b.slot)));
    all.truncate(OBJECTIONS_MAX);
    all
}

/// What an objection takes from the log-odds.
fn weight_of(state: &SpaceState, objection: &Objection) -> f32 {
    let times = if objection.supersedes { 2.0 } else { 1.0 };
    times * objection.weight * logit(state.record(objection.slot).facts().confidence).max(0.0)
}

/// The visible memories that supersede the one in `slot`.
pub fn superseding(
    state: &SpaceState,
    slot: Slot,
    is_visible: impl Fn(Slot) -> bool,
) -> impl Iterator<Item = Slot> {
    let graph = state.graph();
    let incoming = graph.incoming(slot).iter().filter(|edge| graph.kind(edge.kind) == SUPERSEDES);
    incoming.map(|edge| edge.other).filter(move |&newer| is_visible(newer))
}

/// How sure the sources of the memory in `slot` are, 0..=1, given what says the same, none of it superseded, and what
/// speaks against it.
pub fn combined(state: &SpaceState, slot: Slot, same: &[Slot], against: &[Objection]) -> f32 {
    let own = state.record(slot).facts().confidence;
    // By source: a context, or a memory that has none.
    let source = |slot: Slot| state.graph().context_of(slot).ok_or(slot);
    let sure = |slot: Slot| logit(state.record(slot).facts().confidence);
    let mut added = 0.0;
    for (at, &other) in same.iter().enumerate() {
        let is_first = same[..at].iter().all(|&before| source(before) != source(other));
        if source(other) != source(slot) && is_first {
            let of_source = same[at..].iter().filter(|&&each| source(each) == source(other));
            added += of_source.map(|&each| sure(each)).fold(f32::MIN, f32::max);
        }
    }
    added -= against.iter().map(|objection| weight_of(state, objection)).sum::<f32>();
    if added == 0.0 || (added > 0.0 && own >= CERTAIN) {
        return own;
    }
    1.0 / (1.0 + (-(logit(own) + added)).exp())
}

fn logit(confidence: f32) -> f32 {
    let bounded = confidence.clamp(1.0 - CERTAIN, CERTAIN);
    (bounded / (1.0 - bounded)).ln()
}
