//! Spreads activation from seeds over associations: a random walk with restart, pushed forward from the seeds hop by
//! hop (Andersen, Chung & Lang 2006; Collins & Loftus 1975). Mass is conserved: what the seeds start with ends as
//! activation or is reported as residual. Same graph, seeds and budget give the same result, bit for bit. Stops after
//! `visits_max` associations; strongest first, so that a spent budget loses only weak paths.

use crate::Slot;
use crate::graph::{Graph, HubId, mention_weight};
use crate::lexicon::Posting;
use crate::tally::Tally;
use crate::without::{Part, Without};
use rustc_hash::FxHashMap;
use std::collections::BinaryHeap;

/// How far activation flows. Recall uses the default; measurements compare it with other walks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flow {
    /// Part of what reaches a memory that stays there, 0..1; the rest flows on.
    pub stays: f64,
    /// Hops that activation takes.
    pub hops_max: u8,
    /// Mass below which a memory or hub passes nothing on: bounds the work by its inverse whatever the size of the graph.
    pub mass_min: f64,
    /// Mass for each of its links below which a memory passes nothing on: so much work more for a hub is worth little.
    pub mass_a_link_min: f64,
    /// What links get of the mass that flows on, of 1 for all kinds of association.
    pub links: f64,
    /// Strength of a link followed against its direction.
    pub backwards: f64,
}

impl Default for Flow {
    /// `stays` is the restart of HippoRAG's walk. A fourth hop changed nothing on the dev sets; one loses the paths worth
    /// explaining.
    fn default() -> Self {
        Self { stays: 0.5, hops_max: 3, mass_min: 1e-4, mass_a_link_min: 1e-6, links: 0.6, backwards: 0.5 }
    }
}

impl Flow {
    /// The part of so much mass that comes to rest where nothing is passed on, wherever it is; the other part is residual.
    fn ends(&self, graph: &Graph, hop: u8, slot: Slot, mass: f64) -> Option<f64> {
        let links = || (graph.out(slot).len() + graph.incoming(slot).len()) as f64;
        match hop {
            last if last == self.hops_max => Some(1.0),
            _ if mass < self.mass_min || mass < self.mass_a_link_min * links() => Some(self.stays),
            _ => None,
        }
    }
}

/// Associations visited by a recall that sets no budget of its own.
pub const VISITS_DEFAULT: usize = 20_000;

// What each kind of association gets of the mass that flows on, as fitted on the dev sets (LoCoMo, MuSiQue, HotpotQA).
// Where a memory's kinds sum to more than 1, they share it in proportion; where to less, the rest stays.
const NEXT: [f64; 2] = [0.15, 0.1];
const PREVIOUS: [f64; 2] = [0.1, 0.05];
const ENTITIES: f64 = 1.0;
/// What memory was used with it or next, for a weight that sums to 1. Not fitted: no set tells what was used. As links.
const LEARNED: f64 = 0.6;
/// An entity that more memories mention than this share of the space says too little to follow...
const HOLDERS_SHARE_MAX: f64 = 0.05;
/// ... unless the space is so small that the share would be less than this many.
const HOLDERS_FLOOR: usize = 8;

/// How many memories ahead of the one whose mass divides the fetching runs.
const FANS_AHEAD: usize = 3;
/// Paths given for one memory; what came by others is summed up in one more.
const PATHS_MAX: usize = 16;
/// Partial paths looked at for one memory before the rest is summed up.
const PARTIAL_PATHS_MAX: usize = 1024;

/// How activation went from one memory to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// To a memory this many places later (positive) or earlier in the same context.
    Order(i8),
    /// To another memory that mentions the same name.
    Entity(HubId),
    /// Along the `n`-th outgoing link, as the graph orders them.
    Link(u32),
    /// Against the `n`-th incoming link.
    LinkBack(u32),
    /// To the `n`-th memory that was learned to be used with it or next.
    Learned(u32),
}

/// One movement of mass, kept when tracing.
#[derive(Debug, Clone)]
struct Move {
    from: Slot,
    via: Via,
    /// Mass at `from` that left this way, over all mass at `from`.
    fraction: f64,
}

/// The sum of a hub's inflows, so that its members are visited once however many of them feed it.
#[derive(Debug, Clone, Copy)]
struct Inflow {
    hub: HubId,
    /// Sum over the feeding members of mass / (weight of all members - own weight).
    rate: f64,
    /// All mass that came in.
    mass: f64,
    /// The last of its feeds.
    last: u32,
}

/// What one member sent into a hub.
#[derive(Debug, Clone, Copy)]
struct Feed {
    /// The feed before, of the same hub.
    before: u32,
    from: Slot,
    mass: f64,
    /// Its part of the hub's `rate`, over its mass.
    rate: f64,
}

/// What came into the hubs in one hop.
#[derive(Debug, Default)]
struct Inflows {
    /// By hub: where it would stand among `hubs`.
    places: Vec<u32>,
    hubs: Vec<Inflow>,
    feeds: Vec<Feed>,
}

impl Inflows {
    fn clear(&mut self, hubs: usize) {
        self.hubs.clear();
        self.feeds.clear();
        self.places.resize(self.places.len().max(hubs), 0);
    }

    /// Takes `fraction` of the mass of `from`, for members who weigh `others` together.
    fn add(&mut self, hub: HubId, from: Slot, mass: f64, fraction: f64, others: f64) {
        let place = self.places[hub as usize] as usize;
        if self.hubs.get(place).is_none_or(|inflow| inflow.hub != hub) {
            self.places[hub as usize] = self.hubs.len() as u32;
            self.hubs.push(Inflow { hub, rate: 0.0, mass: 0.0, last: u32::MAX });
        }
        let inflow = &mut self.hubs[self.places[hub as usize] as usize];
        let rate = fraction / others;
        self.feeds.push(Feed { before: inflow.last, from, mass, rate });
        inflow.rate += mass * rate;
        inflow.mass += mass * fraction;
        inflow.last = self.feeds.len() as u32 - 1;
    }

    /// Who fed a hub, the last first.
    fn feeds(&self, inflow: &Inflow) -> impl Iterator<Item = &Feed> {
        let last = self.feeds.get(inflow.last as usize);
        std::iter::successors(last, |feed| self.feeds.get(feed.before as usize))
    }
}

/// How the mass that leaves one memory divides.
#[derive(Debug, Default)]
struct Fan {
    /// Sum of all weights.
    sum: f64,
    neighbours: Vec<(Slot, Via, f64)>,
    entities: Vec<Named>,
}

/// A name that a memory mentions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named {
    entity: HubId,
    /// How much it counts among the memory's names.
    weight: f64,
    /// What the memory's own mentions are of the weight of all.
    own: f64,
}

impl Fan {
    /// Part of a memory's mass that flows on.
    fn passing(&self, flow: &Flow) -> f64 {
        (1.0 - flow.stays) * self.sum.min(1.0)
    }
}

/// Where a spread keeps its sums; reuse it to spare allocations. After `spread` it holds the result.
#[derive(Debug, Default)]
pub struct Spread {
    /// Mass that came to rest, by memory.
    activation: Tally,
    /// The part of it that never moved: a seed's own.
    direct: Tally,
    now: Tally,
    then: Tally,
    /// What each member sent into the hub that is being emptied.
    sent: Tally,
    inflows: Inflows,
    /// Memories that pass mass on in this hop, strongest first.
    passing_on: Vec<(Slot, f64)>,
    fan: Fan,
    /// Mass that was neither passed on nor left to rest.
    pub residual: f64,
    /// Associations visited.
    pub visits: usize,
    /// The budget ended before the work did.
    pub truncated: bool,
    /// Moves into a memory at a hop.
    trace: Option<FxHashMap<(u8, Slot), Vec<Move>>>,
    /// Mass of the memories at each hop, when tracing.
    masses: Vec<FxHashMap<Slot, f64>>,
}

/// A way to a memory, with what came by it.
#[derive(Debug, Clone, PartialEq)]
pub struct Way {
    /// Activation that came this way.
    pub share: f64,
    /// The seed, then each memory with how it was reached and the part of the activation that went this way. Empty in
    /// the last way of many: the sum of all that are not listed.
    pub steps: Vec<(Slot, Option<Via>, f64)>,
}

impl Spread {
    /// Makes room for so many memories that activation reaches.
    pub(crate) fn reserve(&mut self, memories: usize) {
        for tally in [&mut self.activation, &mut self.direct, &mut self.now, &mut self.then] {
            tally.reserve(memories);
        }
    }

    /// Spreads `seeds` (memories and masses, which sum to at most 1). With `trace`, `ways` can tell afterwards how
    /// activation came to a memory.
    pub fn spread(&mut self, walk: &Walk<'_>, seeds: &[(Slot, f64)], visits_max: usize, trace: bool) {
        let slots = walk.graph.slots();
        self.inflows.clear(walk.graph.entities_end());
        for tally in [&mut self.activation, &mut self.direct, &mut self.now, &mut self.then] {
            tally.clear(slots);
        }
        (self.residual, self.visits, self.truncated) = (0.0, 0, false);
        self.trace = trace.then(FxHashMap::default);
        self.masses.clear();
        for &(slot, mass) in seeds {
            self.now.add(slot, mass);
        }
        for hop in 0..=walk.flow.hops_max {
            if trace {
                self.masses.push(self.now.iter().collect());
            }
            self.hop(walk, hop, visits_max);
            std::mem::swap(&mut self.now, &mut self.then);
        }
    }

    /// Lets the part that stays come to rest, and moves the rest one hop on.
    fn hop(&mut self, walk: &Walk<'_>, hop: u8, visits_max: usize) {
        self.then.clear(walk.graph.slots());
        let (mut fan, mut passing_on) = (std::mem::take(&mut self.fan), std::mem::take(&mut self.passing_on));
        passing_on.clear();
        for (from, mass) in self.now.iter() {
            // Where it ends anyway there is no need to know where it could go.
            match walk.flow.ends(walk.graph, hop, from, mass) {
                None if walk.hops.is_some_and(|hops| hop >= hops(from)) => {
                    self.truncated = true;
                    self.activation.add(from, mass);
                    if hop == 0 {
                        self.direct.add(from, mass);
                    }
                }
                None => passing_on.push((from, mass)),
                Some(stays) => {
                    self.activation.add(from, mass * stays);
                    if hop == 0 {
                        self.direct.add(from, mass * stays);
                    }
                    self.residual += mass * (1.0 - stays);
                }
            }
        }
        passing_on.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for (at, &(from, mass)) in passing_on.iter().enumerate() {
            // In two steps: where its lists lie has to be there before they can be asked for.
            let ahead = |distance: usize| passing_on.get(at + distance).map(|(slot, _)| *slot);
            ahead(2 * FANS_AHEAD).into_iter().for_each(|slot| walk.graph.prefetch(slot));
            ahead(FANS_AHEAD).into_iter().for_each(|slot| walk.graph.prefetch_lists(slot));
            walk.fan(from, &mut fan);
            let passing = fan.passing(&walk.flow);
            self.rest(hop, from, mass * (1.0 - passing));
            if passing == 0.0 {
                continue;
            }
            if self.visits >= visits_max {
                self.truncated = true;
                self.residual += mass * passing;
                continue;
            }
            self.pass_on(walk, hop, from, mass, &fan);
        }
        (self.fan, self.passing_on) = (fan, passing_on);
        self.empty_hubs(walk, hop, visits_max);
    }

    fn rest(&mut self, hop: u8, slot: Slot, mass: f64) {
        self.activation.add(slot, mass);
        if hop == 0 {
            self.direct.add(slot, mass);
        }
    }

    /// Sends the mass that leaves `from` to its neighbours and into its hubs.
    fn pass_on(&mut self, walk: &Walk<'_>, hop: u8, from: Slot, mass: f64, fan: &Fan) {
        let scale = fan.passing(&walk.flow) / fan.sum;
        self.visits += fan.neighbours.len() + fan.entities.len();
        for (to, via, weight) in &fan.neighbours {
            if walk.severed.contains(&(from, *via)) {
                self.residual += mass * scale * weight;
                continue;
            }
            self.then.add(*to, mass * scale * weight);
            if let Some(trace) = &mut self.trace {
                let fraction = scale * weight;
                trace.entry((hop + 1, *to)).or_default().push(Move { from, via: *via, fraction });
            }
        }
        for &Named { entity, weight, own } in &fan.entities {
            if walk.severed.contains(&(from, Via::Entity(entity))) {
                self.residual += mass * scale * weight;
                continue;
            }
            let others = walk.graph.entity(entity).weight() - own;
            self.inflows.add(entity, from, mass, scale * weight, others);
        }
    }

    /// Sends what came into the hubs to their members, those first that give each member most.
    fn empty_hubs(&mut self, walk: &Walk<'_>, hop: u8, visits_max: usize) {
        let mut inflows = std::mem::take(&mut self.inflows);
        inflows.hubs.sort_unstable_by(|a, b| b.rate.total_cmp(&a.rate).then(a.hub.cmp(&b.hub)));
        for inflow in &inflows.hubs {
            let holders = &walk.graph.entity(inflow.hub).holders;
            if inflow.rate < walk.flow.mass_min || self.visits + holders.len() > visits_max {
                self.truncated |= inflow.rate >= walk.flow.mass_min;
                self.residual += inflow.mass;
                continue;
            }
            self.sent.clear(walk.graph.slots());
            inflows.feeds(inflow).for_each(|feed| self.sent.add(feed.from, feed.mass * feed.rate));
            for holder in holders {
                self.empty_hub(walk, hop, &inflows, inflow, *holder);
            }
        }
        inflows.clear(0);
        self.inflows = inflows;
    }

    /// Sends one member of a hub its part. Nobody gets back what it sent itself.
    fn empty_hub(&mut self, walk: &Walk<'_>, hop: u8, inflows: &Inflows, inflow: &Inflow, to: Posting) {
        self.visits += 1;
        let (Posting { slot, count }, via) = (to, Via::Entity(inflow.hub));
        let weight = mention_weight(count);
        let amount = weight * (inflow.rate - self.sent.get(slot));
        if amount <= f64::EPSILON * inflow.rate {
            return;
        }
        if !(walk.visible)(slot) || walk.severed.contains(&(slot, via)) {
            self.residual += amount;
            return;
        }
        self.then.add(slot, amount);
        if let Some(trace) = &mut self.trace {
            let others = inflows.feeds(inflow).filter(|feed| feed.from != slot);
            let moves = others.map(|feed| Move { from: feed.from, via, fraction: feed.rate * weight });
            trace.entry((hop + 1, slot)).or_default().extend(moves);
        }
    }

    /// All activation of a memory, 0..=1.
    pub fn activation(&self, slot: Slot) -> f64 {
        self.activation.get(slot)
    }

    /// Activation that reached a memory over associations, without what it got as a seed.
    pub fn reached(&self, slot: Slot) -> f64 {
        (self.activation.get(slot) - self.direct.get(slot)).max(0.0)
    }

    /// Memories with any activation.
    pub fn activated(&self) -> &[Slot] {
        self.activation.touched()
    }

    /// The ways by which activation reached `slot`, strongest first, without the seed's own. Their shares sum to
    /// `reached`. Empty unless the spread was traced.
    pub fn ways(&self, walk: &Walk<'_>, slot: Slot) -> Vec<Way> {
        let Some(trace) = &self.trace else { return Vec::new() };
        let mut fan = Fan::default();
        walk.fan(slot, &mut fan);
        let (mut open, mut nodes) = (BinaryHeap::new(), vec![Node { slot, onwards: None }]);
        for hop in 1..=walk.flow.hops_max {
            if let Some(&mass) = self.masses.get(usize::from(hop)).and_then(|masses| masses.get(&slot)) {
                let rests =
                    walk.flow.ends(walk.graph, hop, slot, mass).unwrap_or(1.0 - fan.passing(&walk.flow));
                open.push(Partial { share: mass * rests, rests, hop, at: 0 });
            }
        }
        let (mut ways, mut looked_at, mut rest) = (Vec::new(), 0, 0.0);
        while let Some(partial) = open.pop() {
            looked_at += 1;
            if ways.len() == PATHS_MAX || looked_at > PARTIAL_PATHS_MAX {
                rest += partial.share;
            } else if partial.hop == 0 {
                ways.push(Way { share: partial.share, steps: steps_from(&nodes, partial.at) });
            } else {
                self.back_one_hop(trace, &partial, &mut nodes, &mut open);
            }
        }
        if rest > 0.0 {
            ways.push(Way { share: rest, steps: Vec::new() });
        }
        ways
    }

    /// Opens the partial paths that are one hop longer towards the seeds. Together they carry what `partial` carries.
    fn back_one_hop(
        &self,
        trace: &FxHashMap<(u8, Slot), Vec<Move>>,
        partial: &Partial,
        nodes: &mut Vec<Node>,
        open: &mut BinaryHeap<Partial>,
    ) {
        let hop = partial.hop - 1;
        for step in trace.get(&(partial.hop, nodes[partial.at].slot)).map_or(&[][..], Vec::as_slice) {
            nodes.push(Node { slot: step.from, onwards: Some((step.via, step.fraction, partial.at)) });
            let rests = partial.rests * step.fraction;
            let share = rests * self.masses[hop as usize][&step.from];
            open.push(Partial { share, rests, hop, at: nodes.len() - 1 });
        }
    }
}

/// A memory on a path, with how it goes on and to which node; the end of the path goes nowhere.
#[derive(Debug)]
struct Node {
    slot: Slot,
    onwards: Option<(Via, f64, usize)>,
}

/// The steps of the path that begins at a node.
fn steps_from(nodes: &[Node], at: usize) -> Vec<(Slot, Option<Via>, f64)> {
    let mut steps = vec![(nodes[at].slot, None, 1.0)];
    let mut onwards = nodes[at].onwards;
    while let Some((via, fraction, next)) = onwards {
        steps.push((nodes[next].slot, Some(via), fraction));
        onwards = nodes[next].onwards;
    }
    steps
}

/// A path known from its end back to a memory at some hop.
#[derive(Debug, PartialEq)]
struct Partial {
    /// What it carries: mass of its first memory times `rests`.
    share: f64,
    /// Part of the mass at its first memory that takes this path and comes to rest at its end.
    rests: f64,
    hop: u8,
    /// Node of its first memory.
    at: usize,
}

impl Eq for Partial {}

impl PartialOrd for Partial {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Partial {
    /// By what they carry; then shorter first, then as they were found, so that no tie is left to chance.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.share.total_cmp(&other.share).then(other.hop.cmp(&self.hop)).then(other.at.cmp(&self.at))
    }
}

/// The graph as a random walker sees it: how the mass that leaves a memory divides.
#[derive(Clone, Copy)]
pub struct Walk<'a> {
    /// The associations.
    pub graph: &'a Graph,
    /// Memories in the space.
    pub memories: usize,
    /// Only memories that are visible receive anything.
    pub visible: &'a dyn Fn(Slot) -> bool,
    /// How far it flows.
    pub flow: Flow,
    /// Hops after which a memory passes nothing on, where that may be fewer than `flow` has for all.
    pub hops: Option<&'a dyn Fn(Slot) -> u8>,
    /// Associations that are left out.
    pub without: Without,
    /// Associations that lead nowhere while all weights stay as they are: a memory, and the way that leaves it or, with a
    /// hub, joins the two. What would flow over them becomes residual. Tests ask with it what an association brought.
    pub severed: &'a [(Slot, Via)],
}

impl Walk<'_> {
    /// Works out how what leaves `slot` divides.
    fn fan(&self, slot: Slot, fan: &mut Fan) {
        fan.neighbours.clear();
        fan.entities.clear();
        self.for_each_neighbour(slot, |to, via, weight| fan.neighbours.push((to, via, weight)));
        self.add_entities(slot, &mut fan.entities);
        let from_entities: f64 = fan.entities.iter().map(|named| named.weight).sum();
        let from_neighbours: f64 = fan.neighbours.iter().map(|(_, _, weight)| weight).sum();
        fan.sum = from_neighbours + from_entities;
    }

    /// Neighbours in the same context, what use has taught, and the ends of links, with their weights.
    fn for_each_neighbour(&self, slot: Slot, mut give: impl FnMut(Slot, Via, f64)) {
        let start = Some(slot).filter(|_| !self.without.has(Part::Order));
        let (mut after, mut before) = (start, start);
        for distance in 0..NEXT.len() {
            after = after.and_then(|at| self.graph.next(at));
            before = before.and_then(|at| self.graph.previous(at));
            if let Some(to) = after.filter(|&to| (self.visible)(to)) {
                give(to, Via::Order(distance as i8 + 1), NEXT[distance]);
            }
            if let Some(to) = before.filter(|&to| (self.visible)(to)) {
                give(to, Via::Order(-(distance as i8) - 1), PREVIOUS[distance]);
            }
        }
        self.for_each_learned(slot, &mut give);
        let (out, incoming) = (self.graph.out(slot), self.graph.incoming(slot));
        if (out.is_empty() && incoming.is_empty()) || self.without.has(Part::Links) {
            return;
        }
        let Flow { links, backwards, .. } = self.flow;
        let incoming = if backwards > 0.0 { incoming } else { &[] };
        // The fan divides what links pass on, so that hubs stay quiet; a lone weak link stays weak.
        let fan: f64 = out.iter().map(|edge| f64::from(edge.weight)).sum::<f64>()
            + incoming.iter().map(|edge| backwards * f64::from(edge.weight)).sum::<f64>();
        let scale = links / fan.max(1.0);
        for (at, edge) in out.iter().enumerate().filter(|(_, edge)| (self.visible)(edge.other)) {
            give(edge.other, Via::Link(at as u32), scale * f64::from(edge.weight));
        }
        for (at, edge) in incoming.iter().enumerate().filter(|(_, edge)| (self.visible)(edge.other)) {
            give(edge.other, Via::LinkBack(at as u32), scale * backwards * f64::from(edge.weight));
        }
    }

    /// What use has taught, with weights.
    fn for_each_learned(&self, slot: Slot, mut give: impl FnMut(Slot, Via, f64)) {
        let learned = self.graph.learned();
        if learned.is_empty() || self.without.has(Part::Learned) {
            return;
        }
        for (at, (to, share)) in
            learned.shares_of(slot).enumerate().filter(|(_, (to, _))| (self.visible)(*to))
        {
            give(to, Via::Learned(at as u32), LEARNED * share);
        }
    }

    /// The names that lead somewhere, with the part of the mass that each gets.
    fn add_entities(&self, slot: Slot, entities: &mut Vec<Named>) {
        self.weigh_entities(slot, entities);
        let sum: f64 = entities.iter().map(|named| named.weight).sum();
        entities.iter_mut().for_each(|named| named.weight *= ENTITIES / sum);
    }

    /// The names that lead somewhere, with their weights: rarer names and repeated mentions weigh more (node
    /// specificity: Gutiérrez et al. 2024).
    fn weigh_entities(&self, slot: Slot, entities: &mut Vec<Named>) {
        if self.without.has(Part::Entities) {
            return;
        }
        let holders_max = ((self.memories as f64 * HOLDERS_SHARE_MAX) as usize).max(HOLDERS_FLOOR);
        for &(id, count) in self.graph.entities_of(slot) {
            let entity = self.graph.entity(id);
            let holders = entity.holders.len();
            if (2..=holders_max).contains(&holders) && entity.named > 0 {
                let own = mention_weight(count);
                entities.push(Named { entity: id, weight: own / holders as f64, own });
            }
        }
    }

    /// Gives every memory that shares names with `slot`, with how strongly: its part of each name's weight over the sum
    /// of these weights and 1, so that a lone common name leads nowhere strongly; the parts sum to less than 1. A memory
    /// that shares several names is given several times. Stops after `visits_max`.
    /// `entities` is room to work in.
    pub(crate) fn for_each_namesake(
        &self,
        slot: Slot,
        visits_max: usize,
        entities: &mut Vec<Named>,
        mut give: impl FnMut(Slot, f64),
    ) {
        let mut visits = 0;
        entities.clear();
        self.weigh_entities(slot, entities);
        entities.sort_unstable_by(|a, b| b.weight.total_cmp(&a.weight).then(a.entity.cmp(&b.entity)));
        let sum: f64 = 1.0 + entities.iter().map(|named| named.weight).sum::<f64>();
        for &Named { entity, weight, own } in &*entities {
            let entity = self.graph.entity(entity);
            visits += entity.holders.len();
            if visits > visits_max {
                return;
            }
            let others = entity.weight() - own;
            let holders = entity.holders.iter();
            for holder in holders.filter(|holder| holder.slot != slot && (self.visible)(holder.slot)) {
                give(holder.slot, weight / sum * mention_weight(holder.count) / others);
            }
        }
    }
}
