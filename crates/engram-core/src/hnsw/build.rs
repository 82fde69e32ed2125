//! Changing the graph: which links a new node makes, how nodes take them, and how the neighbours of a removed node are
//! linked among themselves. Every change leaves both ends of each link in agreement.

use super::links::{NO_ROW, Ranked};
use super::search::{ByCode, Compare, Scratch};
use super::{ABSENT, Hnsw, LEVEL_MAX};
use crate::Slot;
use crate::vector::{CueCode, Vectors};

/// Cosines that differ by less are equal up to rounding and what `preference` takes off. Copies of one vector must
/// count as dominating each other, or they would fill their links with copies and turn into an island. Codes are wrong by
/// about .001 anyway.
const ROUNDING: f32 = 1e-5;

/// Whether two nodes of this similarity have one code.
fn is_copy(similarity: f32) -> bool {
    similarity >= 1.0 - ROUNDING
}

/// How a node takes a link to a newcomer.
#[derive(Debug, Clone, Copy)]
struct Admission {
    /// The neighbour that must go first, where the node is full.
    victim: Option<Slot>,
    /// Whether no diverse link of the node dominates the newcomer.
    diverse: bool,
    /// Diverse links, by place, that the newcomer dominates: they become filler.
    dominates: u128,
}

#[derive(Debug, Clone, Copy)]
struct PlannedLink {
    to: Ranked,
    diverse: bool,
    /// Of the node `to` when this was planned: another value means that its slot was emptied since.
    generation: u32,
    /// Of the links of `to`, likewise: another value means that the admission must be worked out again.
    edits: u32,
    /// How `to` takes the link; none for a peer, which was not in the graph.
    admission: Option<Admission>,
}

/// Where a new node will be linked, worked out without changing the graph.
#[derive(Debug)]
pub struct InsertPlan {
    slot: Slot,
    level: u8,
    /// For each layer from 0 up that other nodes were on.
    layers: Vec<Vec<PlannedLink>>,
}

/// How many codes ahead the fetching runs when what was found is compared once more.
const CODES_AHEAD: usize = 4;

impl Hnsw {
    /// Prepares and commits in one step.
    pub fn insert(&mut self, vectors: &Vectors, slot: Slot, level: u8, scratch: &mut Scratch) {
        let plan = self.prepare(vectors, slot, level, &[], scratch);
        self.commit(vectors, plan);
    }

    /// Works out the links of a new node, which is nearly all the work of inserting it (algorithm 1 up to the first
    /// change). `slot` has a row and is not a node. `peers` are slots with rows that are being prepared at the same
    /// time: those that are nodes by the time of the commit will be linked, the rest is ignored.
    pub fn prepare(
        &self,
        vectors: &Vectors,
        slot: Slot,
        level: u8,
        peers: &[Slot],
        scratch: &mut Scratch,
    ) -> InsertPlan {
        assert!(level <= LEVEL_MAX, "level_for draws the levels");
        let mut plan = InsertPlan { slot, level, layers: Vec::new() };
        let Some(entry) = self.entry else { return plan };
        let mut cue = std::mem::take(&mut scratch.cue);
        let own = ByCode::new(vectors, slot, &mut cue);
        if vectors.coarse_suffices() {
            self.plan(vectors, &own, &own.coarse(), entry, peers, scratch, &mut plan);
        } else {
            self.plan(vectors, &own, &own, entry, peers, scratch, &mut plan);
        }
        scratch.cue = cue;
        plan
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of an insertion")]
    fn plan<C: Compare>(
        &self,
        vectors: &Vectors,
        own: &ByCode<'_>,
        probe: &C,
        entry: Slot,
        peers: &[Slot],
        scratch: &mut Scratch,
        plan: &mut InsertPlan,
    ) {
        let top = self.levels[entry as usize];
        self.descend(probe, entry, plan.level, scratch);
        let mut candidates = std::mem::take(&mut scratch.candidates);
        for layer in (0..=plan.level.min(top)).rev() {
            self.search_layer(probe, layer, self.params.ef_construction, |_| true, scratch);
            // The whole of what was found is where the next layer starts, as in the paper, so peers go elsewhere.
            candidates.clear();
            if C::KEEPS {
                candidates.extend(&scratch.found);
            } else {
                scratch.found.iter().take(CODES_AHEAD).for_each(|ahead| own.prefetch(ahead.slot()));
                for (at, found) in scratch.found.iter().enumerate() {
                    if let Some(ahead) = scratch.found.get(at + CODES_AHEAD) {
                        own.prefetch(ahead.slot());
                    }
                    candidates.push(Ranked::new(own.similarity(found.slot()), found.slot()));
                }
            }
            if layer == 0 {
                let peers = peers.iter().filter(|&&peer| peer != own.slot() && !self.contains(peer));
                candidates.extend(peers.map(|&peer| Ranked::new(own.similarity(peer), peer)));
            }
            candidates.sort_unstable_by(|a, b| b.cmp(a));
            plan.layers.push(self.select(vectors, layer, own, &candidates, scratch));
        }
        scratch.candidates = candidates;
        plan.layers.reverse();
    }

    /// Links the node as planned (the rest of algorithm 1), in microseconds. Neighbours that have left since are passed
    /// over, also where their slot has been taken by another; if too many have, the plan is made again. The slot still
    /// has the row that it had when prepared, and is not a node.
    pub fn commit(&mut self, vectors: &Vectors, mut plan: InsertPlan) {
        assert!(!self.contains(plan.slot), "slot {} is a node already; remove it first", plan.slot);
        if !self.still_holds(&plan) {
            let mut scratch = std::mem::take(&mut self.scratch);
            plan = self.prepare(vectors, plan.slot, plan.level, &[], &mut scratch);
            self.scratch = scratch;
        }
        self.add_node(plan.slot, plan.level);
        for (layer, links) in (0..=plan.level).zip(&plan.layers) {
            for link in links {
                self.link_planned(vectors, layer, plan.slot, link);
            }
            self.attach_if_alone(vectors, layer, plan.slot);
        }
        if self.entry.is_none_or(|entry| self.levels[entry as usize] < plan.level) {
            self.entry = Some(plan.slot);
        }
    }

    /// Removes a node without a trace: no link to it is left on any layer, and its neighbours are linked among
    /// themselves. Costs about m^2 comparisons.
    pub fn remove(&mut self, vectors: &Vectors, slot: Slot) {
        assert!(self.contains(slot), "slot {slot} is not a node");
        let level = self.levels[slot as usize];
        let mut orphans = Vec::new();
        for layer in 0..=level {
            let neighbours = self.links(layer, slot).to_vec();
            for &neighbour in &neighbours {
                self.unlink(layer, slot, neighbour);
            }
            orphans.push(neighbours);
        }
        self.drop_node(slot);
        if self.entry == Some(slot) {
            self.entry = self.highest_except(slot);
        }
        for (layer, orphans) in (0..=level).zip(&orphans) {
            self.reconnect(vectors, layer, orphans);
            for &orphan in orphans {
                self.attach_if_alone(vectors, layer, orphan);
            }
        }
    }

    // Choosing links.

    /// Algorithm 4, keeping pruned connections: up to m of the candidates (best first), of those that take the link
    /// the diverse ones, then the nearest others.
    fn select(
        &self,
        vectors: &Vectors,
        layer: u8,
        own: &ByCode<'_>,
        candidates: &[Ranked],
        scratch: &mut Scratch,
    ) -> Vec<PlannedLink> {
        let m = self.params.m;
        let mut side = std::mem::take(&mut scratch.side);
        let mut links: Vec<PlannedLink> = Vec::with_capacity(m);
        let mut dominated: Vec<Ranked> = Vec::with_capacity(candidates.len());
        for (at, &candidate) in candidates.iter().enumerate() {
            if links.len() == m {
                break;
            }
            if let Some(next) = candidates.get(at + 1) {
                vectors.prefetch_code(next.slot());
            }
            let other = ByCode::new(vectors, candidate.slot(), &mut side);
            let is_dominated = links
                .iter()
                .any(|link| other.similarity(link.to.slot()) >= candidate.similarity() - ROUNDING);
            if is_dominated {
                dominated.push(candidate);
            } else {
                links.extend(self.plan_link(layer, own, candidate, true, scratch));
            }
        }
        for &candidate in &dominated {
            if links.len() == m {
                break;
            }
            links.extend(self.plan_link(layer, own, candidate, false, scratch));
        }
        scratch.side = side;
        links
    }

    /// The link, unless `to` would not take it. A peer, not yet a node, is asked at the commit.
    fn plan_link(
        &self,
        layer: u8,
        own: &ByCode<'_>,
        to: Ranked,
        diverse: bool,
        scratch: &Scratch,
    ) -> Option<PlannedLink> {
        let at = to.slot() as usize;
        if !self.contains(to.slot()) {
            let generation = self.generations.get(at).copied().unwrap_or(0);
            return Some(PlannedLink { to, diverse, generation, edits: 0, admission: None });
        }
        let newcomer = Ranked::new(to.similarity(), own.slot());
        let admission = self.admit(layer, to.slot(), newcomer, |other| {
            scratch.known(other).unwrap_or_else(|| own.similarity(other))
        })?;
        let (generation, edits) = (self.generations[at], self.edits[at]);
        Some(PlannedLink { to, diverse, generation, edits, admission: Some(admission) })
    }

    /// Algorithm 4 for one newcomer at the node `at`: whether and how it takes the link. `similarity` is that of a
    /// neighbour to the newcomer.
    fn admit(
        &self,
        layer: u8,
        at: Slot,
        newcomer: Ranked,
        similarity: impl Fn(Slot) -> f32,
    ) -> Option<Admission> {
        let (block, row) = self.row(layer, at);
        let (slots, similarities) = (block.slots(row), block.similarities(row));
        let mut admission = Admission { victim: None, diverse: true, dominates: 0 };
        for place in 0..usize::from(block.diverse[row]) {
            let between = similarity(slots[place]);
            if Ranked::new(similarities[place], slots[place]) > newcomer {
                if between >= newcomer.similarity() - ROUNDING {
                    admission = Admission { victim: None, diverse: false, dominates: 0 };
                    break;
                }
            } else if between >= similarities[place] - ROUNDING {
                admission.dominates |= 1 << place;
            }
        }
        if slots.len() < block.width() {
            return Some(admission);
        }
        let diverse = usize::from(block.diverse[row]);
        let is_filler = |place: usize| place >= diverse || admission.dominates >> place & 1 == 1;
        // One more copy of the node itself must not cost it a link to anything else: that may be the last way out.
        let copies_only = !admission.diverse && is_copy(newcomer.similarity());
        let filler =
            self.worst(layer, at, |place| is_filler(place) && (!copies_only || is_copy(similarities[place])));
        let victim = match filler {
            Some(filler) if admission.diverse || filler < newcomer => filler,
            None if admission.diverse => self.worst(layer, at, |_| true).filter(|&worst| worst < newcomer)?,
            _ => return None,
        };
        admission.victim = Some(victim.slot());
        Some(admission)
    }

    /// The same where nothing of the newcomer is at hand.
    fn admit_anew(&self, vectors: &Vectors, layer: u8, at: Slot, newcomer: Ranked) -> Option<Admission> {
        let mut memory = CueCode::default();
        let own = ByCode::new(vectors, newcomer.slot(), &mut memory);
        self.admit(layer, at, newcomer, |other| own.similarity(other))
    }

    /// The worst neighbour of `at`, among the places that count, that can do without the link.
    fn worst(&self, layer: u8, at: Slot, counts: impl Fn(usize) -> bool) -> Option<Ranked> {
        let (block, row) = self.row(layer, at);
        let mut worst: Option<Ranked> = None;
        for (place, (&slot, &similarity)) in block.slots(row).iter().zip(block.similarities(row)).enumerate()
        {
            let ranked = Ranked::new(similarity, slot);
            if worst.is_none_or(|worst| ranked < worst) && counts(place) && self.can_spare(layer, slot) {
                worst = Some(ranked);
            }
        }
        worst
    }

    fn can_spare(&self, layer: u8, slot: Slot) -> bool {
        self.links(layer, slot).len() > self.links_min(layer)
    }

    // Changing links.

    fn still_holds(&self, plan: &InsertPlan) -> bool {
        let Some(entry) = self.entry else { return true };
        (0..=plan.level.min(self.levels[entry as usize])).all(|layer| {
            let Some(links) = plan.layers.get(usize::from(layer)) else { return false };
            let current = links.iter().filter(|link| self.is_current(link)).count();
            let lost = links.iter().filter(|link| link.admission.is_some() && !self.is_current(link)).count();
            current > 0 && lost <= links.len() / 2
        })
    }

    fn is_current(&self, link: &PlannedLink) -> bool {
        self.contains(link.to.slot()) && self.generations[link.to.slot() as usize] == link.generation
    }

    fn link_planned(&mut self, vectors: &Vectors, layer: u8, slot: Slot, link: &PlannedLink) {
        if !self.is_current(link) {
            return;
        }
        let at = link.to.slot();
        // An eviction a moment ago may have taken from the victim what it could spare.
        let planned = link.admission.filter(|admission| {
            self.edits[at as usize] == link.edits
                && admission.victim.is_none_or(|victim| self.can_spare(layer, victim))
        });
        let newcomer = Ranked::new(link.to.similarity(), slot);
        let admission = planned.or_else(|| self.admit_anew(vectors, layer, at, newcomer));
        if let Some(admission) = admission {
            self.take_in(layer, at, newcomer, admission);
            self.add_half(layer, slot, link.to, link.diverse);
        }
    }

    /// Links two nodes unless they are or one of them does not take it.
    fn connect(&mut self, vectors: &Vectors, layer: u8, a: Slot, b: Slot, similarity: f32) -> bool {
        if a == b || self.links(layer, a).contains(&b) {
            return false;
        }
        let (to_a, to_b) = (Ranked::new(similarity, a), Ranked::new(similarity, b));
        let Some(at_a) = self.admit_anew(vectors, layer, a, to_b) else { return false };
        let Some(at_b) = self.admit_anew(vectors, layer, b, to_a) else { return false };
        // One neighbour that would have to go on both sides may be able to spare only one link.
        if at_a.victim.is_some() && at_a.victim == at_b.victim {
            return false;
        }
        self.take_in(layer, a, to_b, at_a);
        self.take_in(layer, b, to_a, at_b);
        true
    }

    /// The half of a link that `at` keeps, as admitted.
    fn take_in(&mut self, layer: u8, at: Slot, newcomer: Ranked, admission: Admission) {
        // From the last place down, because demoting fills a place from behind.
        for place in (0..self.diverse(layer, at)).rev() {
            if admission.dominates >> place & 1 == 1 {
                let (block, row) = self.row_mut(layer, at);
                block.demote(row, place);
            }
        }
        if let Some(victim) = admission.victim {
            self.unlink(layer, at, victim);
        }
        self.add_half(layer, at, newcomer, admission.diverse);
    }

    fn add_half(&mut self, layer: u8, at: Slot, to: Ranked, diverse: bool) {
        let (block, row) = self.row_mut(layer, at);
        block.push(row, to, diverse);
        self.touch(at);
    }

    fn unlink(&mut self, layer: u8, a: Slot, b: Slot) {
        for (at, gone) in [(a, b), (b, a)] {
            let (block, row) = self.row_mut(layer, at);
            block.take(row, gone);
            self.touch(at);
        }
    }

    fn touch(&mut self, slot: Slot) {
        let edits = &mut self.edits[slot as usize];
        *edits = edits.wrapping_add(1);
    }

    /// Links the former neighbours of a removed node among themselves: first so that those that now hang together only
    /// through others do so directly, then so that each has one link in place of the one it lost; nearest pairs first.
    fn reconnect(&mut self, vectors: &Vectors, layer: u8, orphans: &[Slot]) {
        let mut groups: Vec<usize> = (0..orphans.len()).collect();
        let merge = |groups: &mut Vec<usize>, a: usize, b: usize| {
            let (from, to) = (groups[a], groups[b]);
            groups.iter_mut().filter(|group| **group == from).for_each(|group| *group = to);
        };
        let mut pairs = Vec::with_capacity(orphans.len() * orphans.len() / 2);
        let mut memory = CueCode::default();
        for a in 0..orphans.len() {
            let own = ByCode::new(vectors, orphans[a], &mut memory);
            for b in a + 1..orphans.len() {
                if self.links(layer, orphans[a]).contains(&orphans[b]) {
                    merge(&mut groups, a, b);
                } else {
                    pairs.push((own.similarity(orphans[b]), a, b));
                }
            }
        }
        pairs.sort_by(|x, y| y.0.total_cmp(&x.0));
        let mut lacks = vec![true; orphans.len()];
        for &(similarity, a, b) in &pairs {
            if groups[a] != groups[b] && self.connect(vectors, layer, orphans[a], orphans[b], similarity) {
                merge(&mut groups, a, b);
                (lacks[a], lacks[b]) = (false, false);
            }
        }
        for &(similarity, a, b) in &pairs {
            if lacks[a] && lacks[b] && self.connect(vectors, layer, orphans[a], orphans[b], similarity) {
                (lacks[a], lacks[b]) = (false, false);
            }
        }
    }

    /// Searches links for a node that has none on a layer where there are others: to the nearest that have room.
    fn attach_if_alone(&mut self, vectors: &Vectors, layer: u8, slot: Slot) {
        if !self.links(layer, slot).is_empty() || self.counts[usize::from(layer)] < 2 {
            return;
        }
        let start = self.highest_except(slot).expect("the layer has another node");
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut cue = std::mem::take(&mut scratch.cue);
        let probe = ByCode::new(vectors, slot, &mut cue);
        let width = self.row_width(layer);
        for has_room in [true, false] {
            let breadth = if has_room { self.links_min(layer) } else { 1 };
            scratch.found.clear();
            scratch.found.push(Ranked::new(probe.similarity(start), start));
            let wanted = |other| other != slot && (!has_room || self.links(layer, other).len() < width);
            self.search_layer(&probe, layer, breadth, wanted, &mut scratch);
            for &candidate in &scratch.found {
                if has_room {
                    self.connect(vectors, layer, slot, candidate.slot(), candidate.similarity());
                } else {
                    self.link_between(vectors, layer, slot, candidate);
                }
            }
            if !scratch.found.is_empty() {
                break;
            }
        }
        scratch.cue = cue;
        self.scratch = scratch;
    }

    /// Puts `slot` in the middle of the worst link of `to`, which is full: what hung together still does.
    fn link_between(&mut self, vectors: &Vectors, layer: u8, slot: Slot, to: Ranked) {
        let (block, row) = self.row(layer, to.slot());
        let links = block.slots(row).iter().zip(block.similarities(row));
        let worst = links.map(|(&slot, &similarity)| Ranked::new(similarity, slot)).min();
        let end = worst.expect("a node without room has links").slot();
        self.unlink(layer, to.slot(), end);
        let mut memory = CueCode::default();
        let own = ByCode::new(vectors, slot, &mut memory);
        for (other, similarity) in [(to.slot(), to.similarity()), (end, own.similarity(end))] {
            self.add_half(layer, slot, Ranked::new(similarity, other), true);
            self.add_half(layer, other, Ranked::new(similarity, slot), true);
        }
    }

    pub(super) fn add_node(&mut self, slot: Slot, level: u8) {
        let at = slot as usize;
        if at >= self.levels.len() {
            self.levels.resize(at + 1, ABSENT);
            self.generations.resize(at + 1, 0);
            self.edits.resize(at + 1, 0);
            self.ground.resize(at + 1);
        }
        self.levels[at] = level;
        // From the top down, so that each row knows the one above.
        let mut above = NO_ROW;
        for _ in 0..level {
            let row = self.upper_free.pop().unwrap_or_else(|| {
                let row = self.upper.rows();
                self.upper.resize(row + 1);
                row as u32
            });
            self.upper.clear(row as usize, above);
            above = row;
        }
        self.ground.clear(at, above);
        self.counts[..=usize::from(level)].iter_mut().for_each(|count| *count += 1);
    }

    /// The node has no links any more.
    fn drop_node(&mut self, slot: Slot) {
        let at = slot as usize;
        let level = std::mem::replace(&mut self.levels[at], ABSENT);
        let mut row = self.ground.above[at];
        self.ground.clear(at, NO_ROW);
        while row != NO_ROW {
            self.upper_free.push(row);
            let above = self.upper.above[row as usize];
            self.upper.clear(row as usize, NO_ROW);
            row = above;
        }
        self.counts[..=usize::from(level)].iter_mut().for_each(|count| *count -= 1);
        self.generations[at] = self.generations[at].wrapping_add(1);
    }
}
