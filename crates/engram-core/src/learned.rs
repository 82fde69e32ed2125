//! What use teaches: memories that were used together, or one after the other, are associated.
//!
//! A trial of a memory is a use of it that served (`Outcome::Used` or `Confirmed`). Another memory takes part in the
//! trial when the same request used it, or the next one within ten minutes. The weight of the association from i to j is
//! `count / (trials + 1)`: the share of i's trials that j took part in, which converges to P(j | i); the 1 keeps a single
//! coincidence at a half. It is directed: what follows is learned, not what went before. Counts, not a running average,
//! because they vary least, tell why, and can be taken back: what a memory took part in goes with it. (The probabilistic
//! delta rule, w += (took part - w) / n, is the same in the limit.)
//!
//! Memories are named by their arrival here, which no other memory ever has, because a checkpoint may hold what was
//! learned of a memory that only the log after it brings.

use crate::Slot;
use crate::id::Timestamp;
use rustc_hash::FxHashMap;

/// A request that uses more memories than this says too little about any two of them.
pub const TOGETHER_MAX: usize = 32;
/// Associations that one memory has to others; beyond, a new one takes the place of that seen least.
pub const PAIRS_MAX: usize = 64;
/// Trials counted; then trials and counts are halved, so that old habits give way to new ones.
pub const TRIALS_MAX: u16 = 1024;
/// What is used so long after the use before follows it, in microseconds: ten minutes.
const FOLLOWS_MAX_MICROS: i64 = 600_000_000;

/// Trials after one more.
pub fn one_more_trial(trials: u16) -> u16 {
    if trials < TRIALS_MAX { trials + 1 } else { (trials + 1).div_ceil(2) }
}

/// A memory that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Which.
    pub arrival: u64,
    /// Where it stands.
    pub slot: Slot,
    /// Its trials, this one included.
    pub trials: u16,
}

type NodeId = u32;

/// A memory that has an association. One that has none has no node.
#[derive(Debug, Clone)]
struct Node {
    arrival: u64,
    /// None in recovery, until the memory is placed.
    slot: Option<Slot>,
    trials: u16,
    /// In the order in which they were learned.
    out: Vec<Pair>,
    incoming: Vec<NodeId>,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    to: NodeId,
    count: u16,
}

/// The newest request that used memories.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastUse {
    /// Version of its change; 0 before the first.
    pub version: u64,
    /// When.
    pub at: Timestamp,
    /// Which memories, by arrival.
    pub arrivals: Vec<u64>,
}

/// What was learned of one memory, as a checkpoint keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which memory.
    pub arrival: u64,
    /// Its trials.
    pub trials: u16,
    /// Memories that took part, with the number of trials that they did.
    pub pairs: Vec<(u64, u16)>,
}

/// The associations that use has taught.
#[derive(Debug, Clone, Default)]
pub struct Learned {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    by_arrival: FxHashMap<u64, NodeId>,
    by_slot: FxHashMap<Slot, NodeId>,
    pairs: usize,
    last: LastUse,
}

impl Learned {
    /// Associations learned.
    pub fn len(&self) -> usize {
        self.pairs
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs == 0
    }

    /// What the memory in `slot` leads to, with weights in 0..=1, in the order learned; none that is not placed yet.
    pub fn of(&self, slot: Slot) -> impl Iterator<Item = (Slot, f64)> {
        self.scaled(slot, |node| f64::from(node.trials) + 1.0)
    }

    /// As `of`, with each weight divided by the sum of them where that is above 1, so that they sum to at most 1.
    pub fn shares_of(&self, slot: Slot) -> impl Iterator<Item = (Slot, f64)> {
        self.scaled(slot, |node| {
            let counts: u32 = node.out.iter().map(|pair| u32::from(pair.count)).sum();
            f64::from(counts.max(u32::from(node.trials) + 1))
        })
    }

    fn scaled(&self, slot: Slot, scale: impl Fn(&Node) -> f64) -> impl Iterator<Item = (Slot, f64)> {
        let node = self.by_slot.get(&slot).map(|&id| &self.nodes[id as usize]);
        node.into_iter().flat_map(move |node| {
            let scale = scale(node);
            node.out.iter().filter_map(move |pair| {
                self.nodes[pair.to as usize].slot.map(|slot| (slot, f64::from(pair.count) / scale))
            })
        })
    }

    /// Learns from one request that used `members`. `find` tells where a memory that was used before stands, if it is
    /// there still. A version that was learned from already teaches nothing more.
    pub fn learn(
        &mut self,
        version: u64,
        at: Timestamp,
        members: &[Used],
        find: impl Fn(u64) -> Option<Used>,
    ) {
        if version <= self.last.version {
            return;
        }
        let members = if members.len() > TOGETHER_MAX { &[] } else { members };
        let arrivals = members.iter().map(|member| member.arrival).collect();
        let before = std::mem::replace(&mut self.last, LastUse { version, at, arrivals });
        for member in members {
            self.count_trial(member);
        }
        for from in members {
            for to in members.iter().filter(|to| to.arrival != from.arrival) {
                self.count(from, to);
            }
        }
        if at.0.saturating_sub(before.at.0) > FOLLOWS_MAX_MICROS {
            return;
        }
        for from in before.arrivals.iter().filter_map(|&arrival| find(arrival)) {
            for to in members.iter().filter(|to| !before.arrivals.contains(&to.arrival)) {
                self.count(&from, to);
            }
        }
    }

    fn count_trial(&mut self, member: &Used) {
        let Some(&id) = self.by_arrival.get(&member.arrival) else { return };
        let node = &mut self.nodes[id as usize];
        if member.trials < node.trials {
            node.out.iter_mut().for_each(|pair| pair.count /= 2);
        }
        node.trials = member.trials;
    }

    fn count(&mut self, from: &Used, to: &Used) {
        let (from, to) = (self.node(from), self.node(to));
        let out = &mut self.nodes[from as usize].out;
        if let Some(pair) = out.iter_mut().find(|pair| pair.to == to) {
            pair.count += 1;
            return;
        }
        if out.len() == PAIRS_MAX {
            let least = (0..PAIRS_MAX).min_by_key(|&at| out[at].count).expect("there are PAIRS_MAX");
            let gone = out.remove(least);
            self.pairs -= 1;
            self.nodes[gone.to as usize].incoming.retain(|&other| other != from);
            self.drop_if_bare(gone.to);
        }
        self.nodes[from as usize].out.push(Pair { to, count: 1 });
        self.nodes[to as usize].incoming.push(from);
        self.pairs += 1;
    }

    /// The node of a memory, made where there is none.
    fn node(&mut self, used: &Used) -> NodeId {
        let id = self.node_of(used.arrival, used.trials);
        self.settle(id, used.slot);
        id
    }

    fn node_of(&mut self, arrival: u64, trials: u16) -> NodeId {
        if let Some(&id) = self.by_arrival.get(&arrival) {
            return id;
        }
        let node = Node { arrival, slot: None, trials, out: Vec::new(), incoming: Vec::new() };
        let id = self.free.pop().unwrap_or(self.nodes.len() as NodeId);
        match self.nodes.get_mut(id as usize) {
            Some(place) => *place = node,
            None => self.nodes.push(node),
        }
        self.by_arrival.insert(arrival, id);
        id
    }

    fn settle(&mut self, id: NodeId, slot: Slot) {
        if self.nodes[id as usize].slot != Some(slot) {
            self.nodes[id as usize].slot = Some(slot);
            self.by_slot.insert(slot, id);
        }
    }

    /// The memory that arrived then stands in `slot`.
    pub fn place(&mut self, arrival: u64, slot: Slot) {
        if let Some(&id) = self.by_arrival.get(&arrival) {
            self.settle(id, slot);
        }
    }

    /// Takes back all that a memory took part in, unless that was learned after `version`.
    pub fn forget(&mut self, version: u64, arrival: u64) {
        if version <= self.last.version {
            return;
        }
        self.last.arrivals.retain(|&other| other != arrival);
        let Some(&id) = self.by_arrival.get(&arrival) else { return };
        let node = &mut self.nodes[id as usize];
        let (out, incoming) = (std::mem::take(&mut node.out), std::mem::take(&mut node.incoming));
        self.pairs -= out.len() + incoming.len();
        for &Pair { to, .. } in &out {
            self.nodes[to as usize].incoming.retain(|&other| other != id);
        }
        for &from in &incoming {
            self.nodes[from as usize].out.retain(|pair| pair.to != id);
        }
        let others = out.iter().map(|pair| pair.to).chain(incoming);
        others.for_each(|other| self.drop_if_bare(other));
        self.drop_if_bare(id);
    }

    fn drop_if_bare(&mut self, id: NodeId) {
        let node = &mut self.nodes[id as usize];
        if !node.out.is_empty()
            || !node.incoming.is_empty()
            || self.by_arrival.remove(&node.arrival).is_none()
        {
            return;
        }
        if let Some(slot) = node.slot.take() {
            self.by_slot.remove(&slot);
        }
        self.free.push(id);
    }

    /// The newest request learned from.
    pub fn last(&self) -> &LastUse {
        &self.last
    }

    /// All that was learned, in order of arrival, for `restore`.
    pub fn rows(&self) -> Vec<Row> {
        let pairs = |node: &Node| -> Vec<(u64, u16)> {
            node.out.iter().map(|pair| (self.nodes[pair.to as usize].arrival, pair.count)).collect()
        };
        let nodes = self.by_arrival.values().map(|&id| &self.nodes[id as usize]);
        let mut rows: Vec<Row> = nodes
            .map(|node| Row { arrival: node.arrival, trials: node.trials, pairs: pairs(node) })
            .collect();
        rows.sort_unstable_by_key(|row| row.arrival);
        rows
    }

    /// Takes over rows from a checkpoint; `place` tells after it where memories stand. More pairs of a memory than
    /// `PAIRS_MAX`, and pairs that are there already, are passed over.
    pub fn restore(&mut self, last: LastUse, rows: &[Row]) {
        self.last = last;
        for row in rows {
            let from = self.node_of(row.arrival, row.trials);
            self.nodes[from as usize].trials = row.trials;
            for &(arrival, count) in &row.pairs {
                let to = self.node_of(arrival, 0);
                let out = &mut self.nodes[from as usize].out;
                if to != from && out.len() < PAIRS_MAX && out.iter().all(|pair| pair.to != to) {
                    out.push(Pair { to, count });
                    self.nodes[to as usize].incoming.push(from);
                    self.pairs += 1;
                }
            }
        }
    }
}
