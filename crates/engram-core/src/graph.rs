//! The associations between memories: order and membership in contexts, shared entities, and explicit links. Helper
//! nodes (contexts, entities) exist as long as a memory needs them; a link to a memory that is not stored waits for
//! it. Nothing of a removed memory stays.

use crate::Slot;
use crate::id::{MemoryId, Timestamp};
use crate::kernels::prefetch;
use crate::learned::Learned;
use crate::lexicon::Posting;
use crate::ragged::Ragged;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Index of a context or an entity in the graph's arrays; reused after removal.
pub type HubId = u32;
/// "None" in the arrays that hold one neighbour a slot.
const NOBODY: Slot = Slot::MAX;

/// Where a memory stands in its context: by the time it happened, then by arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When it happened.
    pub occurred_at: Timestamp,
    /// Grows with every memory stored.
    pub arrival: u64,
    /// The memory.
    pub slot: Slot,
}

/// A session, conversation or document with its memories in order.
#[derive(Debug, Clone, Default)]
pub struct Context {
    name: Arc<str>,
    /// Ordered.
    members: Vec<Place>,
    /// Terms of all members, with repeats.
    words: u64,
}

/// A name that memories mention.
#[derive(Debug, Clone, Default)]
pub struct Entity {
    /// As compared: lower case, single spaces.
    pub name: Arc<str>,
    /// Memories in which it stands as a name, and does not only open a sentence.
    pub named: u32,
    /// Who mentions it how often, ordered by slot; 0 where it only opens a sentence.
    pub holders: Vec<Posting>,
    /// Sum of the holders' weights, in `WEIGHT_UNIT`s: whole numbers, so that what comes and goes leaves nothing behind.
    weight: u64,
}

impl Entity {
    /// Sum of the weights of all that mention it.
    pub fn weight(&self) -> f64 {
        self.weight as f64 * WEIGHT_UNIT
    }
}

/// What the weights of mentions are counted in.
const WEIGHT_UNIT: f64 = 1.0 / (1 << 20) as f64;

/// How much so many mentions of a name weigh. Repeated ones weigh more, but ever less so. Nearly all names are mentioned
/// once; 0 is one that opens a sentence.
pub fn mention_weight(count: u32) -> f64 {
    weight_units(count) as f64 * WEIGHT_UNIT
}

fn weight_units(count: u32) -> u64 {
    let weight = if count <= 1 { 1.0 } else { 1.0 + f64::from(count).ln() };
    (weight / WEIGHT_UNIT) as u64
}

/// What stands around a memory. Together, because a recall asks for all of it of many memories.
#[derive(Debug, Clone, Copy)]
struct Around {
    next: Slot,
    previous: Slot,
    context: HubId,
    /// Terms of the memory, with repeats.
    words: u32,
}

const NOTHING_AROUND: Around = Around { next: NOBODY, previous: NOBODY, context: HubId::MAX, words: 0 };

/// Index of a kind of link, for `Graph::kind`; reused after no link is of that kind.
pub type KindId = u32;

/// An explicit link as seen from one of its ends.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Edge {
    /// The memory at the other end.
    pub other: Slot,
    /// Strength in (0, 1].
    pub weight: f32,
    /// What relates the two.
    pub kind: KindId,
}

/// The kinds of links that there are.
#[derive(Debug, Clone, Default)]
struct Kinds {
    ids: FxHashMap<Arc<str>, KindId>,
    names: Vec<Arc<str>>,
    free: Vec<KindId>,
    /// By id: links of that kind, each once.
    links: Vec<usize>,
}

impl Kinds {
    /// The kind of one more link.
    fn take(&mut self, name: &str) -> KindId {
        let id = hub(&mut self.ids, &mut self.names, &mut self.free, name, |own, name| *own = name);
        self.links.resize(self.names.len(), 0);
        self.links[id as usize] += 1;
        id
    }

    /// There are so many links less of that kind.
    fn release(&mut self, id: KindId, links: usize) {
        self.links[id as usize] -= links;
        if links > 0 && self.links[id as usize] == 0 {
            self.ids.remove(&std::mem::take(&mut self.names[id as usize]));
            self.free.push(id);
        }
    }
}

/// A link whose target is not stored.
#[derive(Debug, Clone, PartialEq)]
struct Waiting {
    from: Slot,
    weight: f32,
    kind: KindId,
}

/// The association graph of a space.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    context_ids: FxHashMap<Arc<str>, HubId>,
    contexts: Vec<Context>,
    contexts_free: Vec<HubId>,
    /// By slot.
    around: Vec<Around>,
    /// Pairs of neighbours over all contexts.
    adjacent_pairs: usize,

    entity_ids: FxHashMap<Arc<str>, HubId>,
    entities: Vec<Entity>,
    entities_free: Vec<HubId>,
    /// Entities that nobody mentions stay until `drop_bare`.
    keeps_bare: bool,
    /// By slot: entity and mentions, ordered by entity.
    entities_of: Ragged<(HubId, u32)>,

    /// By slot, ordered by the other end, then kind.
    out: Ragged<Edge>,
    incoming: Ragged<Edge>,
    kinds: Kinds,
    waiting: FxHashMap<MemoryId, Vec<Waiting>>,
    links: usize,

    learned: Learned,
}

impl Graph {
    /// Makes room for `slot`.
    pub fn reserve(&mut self, slot: Slot) {
        let slots = slot as usize + 1;
        if self.around.len() < slots {
            self.around.resize(slots, NOTHING_AROUND);
            self.entities_of.reserve(slots);
            self.out.reserve(slots);
            self.incoming.reserve(slots);
        }
    }

    /// One more than the largest slot that there is room for.
    pub fn slots(&self) -> usize {
        self.around.len()
    }

    /// Notes how many terms the memory in `slot` has, with repeats.
    pub fn set_words(&mut self, slot: Slot, words: u32) {
        self.around[slot as usize].words = words;
    }

    /// Terms of the memory in `slot`, with repeats.
    pub fn words(&self, slot: Slot) -> u32 {
        self.around.get(slot as usize).map_or(0, |around| around.words)
    }

    /// Puts the memory at `place`, whose words are noted, into the context `name`.
    pub fn join_context(&mut self, name: &str, place: Place) {
        let id =
            hub(&mut self.context_ids, &mut self.contexts, &mut self.contexts_free, name, |context, name| {
                context.name = name;
            });
        let context = &mut self.contexts[id as usize];
        context.words += u64::from(self.around[place.slot as usize].words);
        let members = &mut context.members;
        let at = members.partition_point(|member| *member < place);
        members.insert(at, place);
        self.adjacent_pairs += usize::from(members.len() > 1);
        self.around[place.slot as usize].context = id;
        let before = at.checked_sub(1).map_or(NOBODY, |at| members[at].slot);
        let after = members.get(at + 1).map_or(NOBODY, |member| member.slot);
        self.chain(before, place.slot);
        self.chain(place.slot, after);
    }

    /// Takes the memory at `place` out of its context, which closes the gap.
    pub fn leave_context(&mut self, place: Place) {
        let slot = place.slot as usize;
        let Around { next: after, previous: before, context: id, words } = self.around[slot];
        if id == HubId::MAX {
            return;
        }
        let context = &mut self.contexts[id as usize];
        let at = context.members.binary_search(&place).expect("it joined with this place");
        context.members.remove(at);
        context.words -= u64::from(words);
        if context.members.is_empty() {
            self.context_ids.remove(&std::mem::take(&mut context.name));
            self.contexts_free.push(id);
        } else {
            self.adjacent_pairs -= 1;
        }
        self.chain(before, NOBODY);
        self.chain(NOBODY, after);
        if before != NOBODY && after != NOBODY {
            self.chain(before, after);
        }
        self.around[slot] = Around { words, ..NOTHING_AROUND };
    }

    fn chain(&mut self, before: Slot, after: Slot) {
        if before != NOBODY {
            self.around[before as usize].next = after;
        }
        if after != NOBODY {
            self.around[after as usize].previous = before;
        }
    }

    /// The memory after this one in its context.
    pub fn next(&self, slot: Slot) -> Option<Slot> {
        self.around.get(slot as usize).map(|around| around.next).filter(|&other| other != NOBODY)
    }

    /// The memory before this one in its context.
    pub fn previous(&self, slot: Slot) -> Option<Slot> {
        self.around.get(slot as usize).map(|around| around.previous).filter(|&other| other != NOBODY)
    }

    /// The context of a memory.
    pub fn context_of(&self, slot: Slot) -> Option<HubId> {
        self.around.get(slot as usize).map(|around| around.context).filter(|&id| id != HubId::MAX)
    }

    /// Members of a context, in order.
    pub fn members(&self, context: HubId) -> &[Place] {
        &self.contexts[context as usize].members
    }

    /// Terms of all members of a context, with repeats.
    pub fn words_of_context(&self, context: HubId) -> u64 {
        self.contexts[context as usize].words
    }

    /// Contexts that have members.
    pub fn contexts(&self) -> usize {
        self.context_ids.len()
    }

    /// One more than the largest `HubId` of a context.
    pub fn contexts_end(&self) -> usize {
        self.contexts.len()
    }

    /// Pairs of neighbours over all contexts.
    pub fn adjacent_pairs(&self) -> usize {
        self.adjacent_pairs
    }

    /// The id of a name, for a memory that is noted to mention it next.
    pub fn entity_id(&mut self, name: &str) -> HubId {
        hub(&mut self.entity_ids, &mut self.entities, &mut self.entities_free, name, |entity, name| {
            entity.name = name;
        })
    }

    /// The id of a name, which stays its own until `drop_bare`, whoever mentions it or does not.
    pub fn lasting_entity_id(&mut self, name: &str) -> HubId {
        self.keeps_bare = true;
        self.entity_id(name)
    }

    /// Drops the names that nobody mentions.
    pub fn drop_bare(&mut self) {
        if std::mem::take(&mut self.keeps_bare) {
            let ids = self.entity_ids.values().copied();
            let mut bare: Vec<HubId> =
                ids.filter(|id| self.entities[*id as usize].holders.is_empty()).collect();
            bare.sort_unstable();
            bare.into_iter().for_each(|id| self.drop_entity(id));
        }
    }

    fn drop_entity(&mut self, id: HubId) {
        self.entity_ids.remove(&std::mem::take(&mut self.entities[id as usize].name));
        self.entities_free.push(id);
    }

    /// Notes that the memory in `slot` mentions these names, each once.
    pub fn mention(&mut self, slot: Slot, mentions: &[(HubId, u32)]) {
        for &(id, count) in mentions {
            let entity = &mut self.entities[id as usize];
            entity.named += u32::from(count > 0);
            entity.weight += weight_units(count);
            let holders = &mut entity.holders;
            // Nearly always the last.
            let is_last = holders.last().is_none_or(|last| last.slot < slot);
            let at = match is_last {
                true => holders.len(),
                false => holders.partition_point(|holder| holder.slot < slot),
            };
            holders.insert(at, Posting { slot, count });
            let own = self.entities_of.get(slot);
            self.entities_of.insert(slot, own.partition_point(|(other, _)| *other < id), (id, count));
        }
    }

    /// Forgets what the memory in `slot` mentions.
    pub fn unmention(&mut self, slot: Slot) {
        while let Some(last) = self.entities_of.get(slot).len().checked_sub(1) {
            let (id, _) = self.entities_of.remove(slot, last);
            let entity = &mut self.entities[id as usize];
            let at = entity.holders.binary_search_by_key(&slot, |holder| holder.slot);
            let gone = entity.holders.remove(at.expect("who mentions it is among its holders"));
            entity.named -= u32::from(gone.count > 0);
            entity.weight -= weight_units(gone.count);
            if entity.holders.is_empty() && !self.keeps_bare {
                self.drop_entity(id);
            }
        }
    }

    /// What the memory mentions, and how often.
    pub fn entities_of(&self, slot: Slot) -> &[(HubId, u32)] {
        self.entities_of.get(slot)
    }

    /// An entity that a memory mentions.
    pub fn entity(&self, id: HubId) -> &Entity {
        &self.entities[id as usize]
    }

    /// The entity of this name, as compared: lower case, single spaces.
    pub fn entity_named(&self, name: &str) -> Option<&Entity> {
        self.entity_ids.get(name).map(|id| self.entity(*id))
    }

    /// Entities that memories mention.
    pub fn entities(&self) -> usize {
        self.entity_ids.len()
    }

    /// One more than the largest `HubId` of an entity.
    pub fn entities_end(&self) -> usize {
        self.entities.len()
    }

    /// Links `from` to `to`, which stands in `target` or is not stored yet. A link of the same kind is replaced.
    pub fn link(&mut self, from: Slot, to: &MemoryId, target: Option<Slot>, kind: &str, weight: f32) {
        self.unlink(from, to, target, kind);
        let kind = self.kinds.take(kind);
        match target {
            None => self.waiting.entry(to.clone()).or_default().push(Waiting { from, weight, kind }),
            Some(target) => self.connect(from, target, kind, weight),
        }
        self.links += 1;
    }

    /// Removes a link, if it is there.
    pub fn unlink(&mut self, from: Slot, to: &MemoryId, target: Option<Slot>, kind: &str) {
        let Some(&kind) = self.kinds.ids.get(kind) else { return };
        let before = self.links;
        match target {
            None => self.unwait(from, to, kind),
            Some(target) => {
                let edges = self.out.get(from).len();
                self.out.retain(from, |edge| (edge.other, edge.kind) != (target, kind));
                self.links -= edges - self.out.get(from).len();
                self.incoming.retain(target, |edge| (edge.other, edge.kind) != (from, kind));
            }
        }
        self.kinds.release(kind, before - self.links);
    }

    fn unwait(&mut self, from: Slot, to: &MemoryId, kind: KindId) {
        let Some(list) = self.waiting.get_mut(to) else { return };
        let before = list.len();
        list.retain(|waiting| (waiting.from, waiting.kind) != (from, kind));
        self.links -= before - list.len();
        if list.is_empty() {
            self.waiting.remove(to);
        }
    }

    /// Connects the links that were waiting for `id`, which now stands in `slot`.
    pub fn arrive(&mut self, id: &MemoryId, slot: Slot) {
        if self.waiting.is_empty() {
            return;
        }
        for waiting in self.waiting.remove(id).unwrap_or_default() {
            self.connect(waiting.from, slot, waiting.kind, waiting.weight);
        }
    }

    /// The memory `id` leaves `slot`: links to it wait again. Its own links must have been unlinked before.
    pub fn depart(&mut self, id: &MemoryId, slot: Slot) {
        while let Some(last) = self.incoming.get(slot).len().checked_sub(1) {
            let Edge { other, weight, kind } = self.incoming.remove(slot, last);
            self.out.retain(other, |out| (out.other, out.kind) != (slot, kind));
            self.waiting.entry(id.clone()).or_default().push(Waiting { from: other, weight, kind });
        }
    }

    fn connect(&mut self, from: Slot, to: Slot, kind: KindId, weight: f32) {
        let names = &self.kinds.names;
        let name = |kind: KindId| &*names[kind as usize];
        let put = |rows: &mut Ragged<Edge>, of: Slot, other: Slot| {
            let edges = rows.get(of);
            let at = edges.partition_point(|edge| (edge.other, name(edge.kind)) < (other, name(kind)));
            rows.insert(of, at, Edge { other, weight, kind });
        };
        put(&mut self.out, from, to);
        put(&mut self.incoming, to, from);
    }

    /// The name of a kind of link.
    pub fn kind(&self, kind: KindId) -> &str {
        &self.kinds.names[kind as usize]
    }

    /// Links that leave a memory and whose target is stored, ordered by target, then kind.
    pub fn out(&self, slot: Slot) -> &[Edge] {
        self.out.get(slot)
    }

    /// Links that lead to a memory, ordered by source, then kind.
    pub fn incoming(&self, slot: Slot) -> &[Edge] {
        self.incoming.get(slot)
    }

    /// Asks the processor to fetch where it stands what a memory is associated with.
    #[inline]
    pub(crate) fn prefetch(&self, slot: Slot) {
        self.prefetch_around(slot);
        [&self.out, &self.incoming].into_iter().for_each(|edges| edges.prefetch(slot));
        self.entities_of.prefetch(slot);
    }

    /// Asks the processor to fetch what stands around a memory.
    #[inline]
    pub(crate) fn prefetch_around(&self, slot: Slot) {
        self.around.get(slot as usize).map(std::slice::from_ref).into_iter().for_each(prefetch);
    }

    /// Asks the processor to fetch the links and names of a memory.
    #[inline]
    pub(crate) fn prefetch_lists(&self, slot: Slot) {
        [&self.out, &self.incoming].into_iter().for_each(|edges| edges.prefetch_list(slot));
        self.entities_of.prefetch_list(slot);
    }

    /// Bytes that it takes, without what an allocator adds, and without what use has taught.
    pub fn bytes(&self) -> usize {
        let rows = self.out.bytes() + self.incoming.bytes() + self.entities_of.bytes();
        let contexts = self.contexts.iter();
        let contexts = contexts.map(|c| {
            2 * c.name.len() + 28 + size_of::<Context>() + c.members.capacity() * size_of::<Place>()
        });
        let entities = self.entities.iter();
        let entities = entities.map(|e| {
            2 * e.name.len() + 28 + size_of::<Entity>() + e.holders.capacity() * size_of::<Posting>()
        });
        rows + contexts.sum::<usize>()
            + entities.sum::<usize>()
            + size_of::<Around>() * self.around.capacity()
    }

    /// What use has taught.
    pub fn learned(&self) -> &Learned {
        &self.learned
    }

    /// What use has taught, to teach it more.
    pub fn learned_mut(&mut self) -> &mut Learned {
        &mut self.learned
    }

    /// Explicit links, those that wait included.
    pub fn links(&self) -> usize {
        self.links
    }

    /// Links whose target is not stored.
    pub fn links_waiting(&self) -> usize {
        self.waiting.values().map(Vec::len).sum()
    }

    /// Everything in the graph as sorted lines in which `name` stands for a slot: for comparing two graphs.
    pub fn dump(&self, name: impl Fn(Slot) -> String) -> Vec<String> {
        let mut lines = Vec::new();
        for id in self.context_ids.values() {
            let context = &self.contexts[*id as usize];
            let members: Vec<_> = context.members.iter().map(|member| name(member.slot)).collect();
            lines.push(format!("context {:?}, {} words: {}", context.name, context.words, members.join(" ")));
            for pair in context.members.windows(2) {
                assert_eq!(self.next(pair[0].slot), Some(pair[1].slot), "the chain follows the members");
                assert_eq!(self.previous(pair[1].slot), Some(pair[0].slot), "the chain follows the members");
            }
        }
        for id in self.entity_ids.values() {
            let entity = &self.entities[*id as usize];
            let mut holders: Vec<_> =
                entity.holders.iter().map(|h| format!("{}*{}", name(h.slot), h.count)).collect();
            holders.sort();
            let weights = entity.holders.iter().map(|holder| weight_units(holder.count));
            assert_eq!(weights.sum::<u64>(), entity.weight, "an entity weighs what its holders do");
            lines.push(format!("entity {:?}: {}", entity.name, holders.join(" ")));
        }
        for slot in 0..self.slots() as Slot {
            for edge in self.out.get(slot) {
                let back = self.incoming.get(edge.other).iter();
                let back = back.filter(|other| other.other == slot && other.kind == edge.kind);
                assert_eq!(back.count(), 1, "every link is seen from both ends");
                let kind = self.kind(edge.kind);
                lines.push(format!("{} -{kind} {}-> {}", name(slot), edge.weight, name(edge.other)));
            }
        }
        for (to, list) in &self.waiting {
            lines.extend(
                list.iter().map(|w| {
                    format!("{} -{} {}-> {to} (waiting)", name(w.from), self.kind(w.kind), w.weight)
                }),
            );
        }
        assert_eq!(self.kinds.links.iter().sum::<usize>(), self.links, "every link is of a kind");
        lines.push(format!("{} links, {} adjacent pairs", self.links, self.adjacent_pairs));
        lines.sort();
        lines
    }
}

/// Finds the hub called `name` or makes it, in a freed place where there is one.
fn hub<T: Default>(
    ids: &mut FxHashMap<Arc<str>, HubId>,
    hubs: &mut Vec<T>,
    free: &mut Vec<HubId>,
    name: &str,
    rename: impl FnOnce(&mut T, Arc<str>),
) -> HubId {
    if let Some(id) = ids.get(name) {
        return *id;
    }
    let id = free.pop().unwrap_or_else(|| {
        hubs.push(T::default());
        hubs.len() as HubId - 1
    });
    let name: Arc<str> = name.into();
    rename(&mut hubs[id as usize], name.clone());
    ids.insert(name, id);
    id
}
