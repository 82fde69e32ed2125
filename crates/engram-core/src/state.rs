//! The state of a space: its memories and everything derived from them. Changes only by `apply`, which live writes and
//! recovery share; the same changes give the same state. What `apply` is given has been checked against the state
//! (`admit`), so it cannot fail. Vectors enter the index later (`unindexed`); until then they are compared one by one.

use crate::Slot;
use crate::associate::Analysis;
use crate::by_name::ByName;
use crate::concepts::{self, Concepts};
use crate::confidence::superseding;
use crate::decay::{DecayFrom, DecayLaw, Outcome, Strength};
use crate::embed;
use crate::error::{Error, Result};
use crate::facts::Facts;
use crate::graph::{Graph, Place};
use crate::hnsw::{HnswParams, Tuning};
use crate::id::{MemoryId, Timestamp};
use crate::learned::{LastUse, Row, TOGETHER_MAX, Used, one_more_trial};
use crate::lexicon::{Language, Lexicon, TermList};
use crate::memory::{Link, Memory};
use crate::payloads::{Heat, Home, Moves, Regions};
use crate::platform::BlockFiles;
use crate::speech::Speeches;
use crate::vector::{Vectors, check_embedding, unit};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

mod indexing;
mod numbers;
mod payload;
mod placing;

pub use indexing::Growing;
use indexing::VectorIndex;
pub use numbers::{Names, NewNames, Numbered, Numbers};
use payload::{Kept, Payloads};
pub use payload::{Stub, Tiers, Use, fingerprint};

/// Idempotency keys that a space remembers; the oldest make room.
pub const KEYS_MAX: usize = 10_000;

/// Where a space's vectors come from. The first memory decides, unless the settings did before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Embedder {
    /// Callers give them, of this dimension; a text without one is found by its words and associations.
    Caller {
        /// Numbers a vector.
        dimensions: usize,
    },
    /// The one inside the program makes them from texts. They are derived: neither kept nor given out.
    Builtin {
        /// Which one made the vectors; in a state, always that of this program.
        version: u32,
    },
    /// There are none: memories are found by their words and associations.
    None,
}

impl Embedder {
    /// The built-in embedder of this program.
    pub const BUILTIN: Self = Self::Builtin { version: embed::VERSION };

    /// Numbers a vector, where there are vectors.
    pub fn dimensions(self) -> Option<usize> {
        match self {
            Self::Caller { dimensions } => Some(dimensions),
            Self::Builtin { .. } => Some(embed::DIMENSIONS),
            Self::None => None,
        }
    }
}

/// What is settled for a whole space.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct SpaceSettings {
    /// Undecided until the first memory.
    pub embedder: Option<Embedder>,
    /// By which law it forgets.
    pub decay: DecayLaw,
    /// From which time on.
    pub decay_from: DecayFrom,
    /// How words are stemmed. Fixed once there are memories.
    pub language: Language,
    /// Memories that it may hold.
    pub memories_max: Option<u64>,
    /// Retrievability, in 0..1, under which a memory is faded: who asks to delete the faded means those. 0: none is.
    /// Nothing is deleted by itself.
    pub forget_below: f32,
}

/// One step of a space's state.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A new memory, or another one in the place of that with its id.
    Stored(Box<Memory>),
    /// A memory is gone.
    Deleted(MemoryId),
    /// A memory's link is new, or has another weight.
    Linked {
        /// The memory that the link belongs to.
        from: MemoryId,
        /// The link.
        link: Link,
    },
    /// A memory's link is gone.
    Unlinked {
        /// The memory that the link belonged to.
        from: MemoryId,
        /// Where it led.
        to: MemoryId,
        /// Its kind.
        kind: String,
    },
    /// Memories were used, and it turned out so.
    Reinforced {
        /// Which.
        ids: Vec<MemoryId>,
        /// How it turned out.
        outcome: Outcome,
        /// When.
        at: Timestamp,
    },
    /// Other settings.
    Settings(SpaceSettings),
    /// A request that carried an idempotency key was carried out.
    Keyed(Keyed),
    /// Payloads have other homes. The memories are what they were.
    Moved(Moves),
}

/// What is remembered of a request with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The caller's key.
    pub key: String,
    /// Hash of the request, so that the key is not taken for another one.
    pub fingerprint: u64,
    /// Ids that were stored.
    pub ids: Vec<MemoryId>,
}

/// A memory in its slot. Its vector lies in `Vectors`, its content here as long as it is hot.
#[derive(Debug, Clone)]
pub struct Record {
    facts: Facts,
    kept: Kept,
    /// Version of the store that brought the id; it stays when the memory is replaced.
    pub arrival: u64,
    /// Version of the change that brought these values.
    pub version: u64,
    /// How it was used.
    pub uses: Uses,
}

/// How a memory was used since it was learned: 32 bytes.
#[derive(Debug, Default)]
pub struct Uses {
    // The fields of a `Strength`; none until the memory is used for the first time, as 0 uses say.
    stability_days: f32,
    difficulty: f32,
    used_at: Timestamp,
    uses: u16,
    /// Uses that served, and taught, as `learned` counts them.
    trials: u16,
    /// How often a recall showed it. Counted while others read, and kept by checkpoints alone: what was counted since
    /// the newest is lost when the engine ends, for a recall is no reason to write one.
    shown: AtomicU32,
    /// Version of the newest change that reinforced it, 0 before.
    reinforced: u64,
}

const _: () = assert!(size_of::<Uses>() == 32);

impl Uses {
    /// As a checkpoint kept them.
    pub fn saved(strength: Option<Strength>, trials: u16, reinforced: u64, shown: u32) -> Self {
        let mut uses = Self { trials, shown: AtomicU32::new(shown), reinforced, ..Self::default() };
        if let Some(strength) = strength {
            uses.set(strength);
        }
        uses
    }

    fn set(&mut self, strength: Strength) {
        (self.stability_days, self.difficulty) = (strength.stability_days, strength.difficulty);
        self.used_at = strength.used_at;
        self.uses = u16::try_from(strength.uses.get()).unwrap_or(u16::MAX);
    }

    /// How well the memory is learned; none until it is used for the first time.
    pub fn strength(&self) -> Option<Strength> {
        let uses = NonZeroU32::new(u32::from(self.uses))?;
        let Self { stability_days, difficulty, used_at, .. } = *self;
        Some(Strength { stability_days, difficulty, used_at, uses })
    }

    /// Uses that served, as `learned` counts them.
    pub fn trials(&self) -> u16 {
        self.trials
    }

    /// Version of the newest change that reinforced it, 0 before.
    pub fn reinforced(&self) -> u64 {
        self.reinforced
    }

    /// How often a recall showed the memory.
    pub fn shown(&self) -> u32 {
        self.shown.load(Ordering::Relaxed)
    }
}

impl Clone for Uses {
    fn clone(&self) -> Self {
        Self::saved(self.strength(), self.trials, self.reinforced, self.shown())
    }
}

impl Record {
    /// The memory without its embedding, and without its content where that is not hot.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}

/// Where a checkpoint had a memory, and what it was worth then.
#[derive(Debug, Clone)]
pub struct Saved {
    /// Its slot.
    pub slot: Slot,
    /// Version of the store that brought the id.
    pub arrival: u64,
    /// Version of the change that brought its values.
    pub version: u64,
    /// How it was used.
    pub uses: Uses,
    /// How its payload was fetched.
    pub heat: Heat,
}

/// Everything that is known of a space.
#[derive(Debug, Clone)]
pub struct SpaceState {
    settings: SpaceSettings,
    /// By id.
    slots: ByName,
    records: Vec<Option<Record>>,
    free: Vec<Slot>,
    /// By arrival: the order of lists and exports.
    arrivals: BTreeMap<u64, Slot>,
    /// By the time they happened.
    times: BTreeSet<(Timestamp, Slot)>,
    vectors: Option<Vectors>,
    /// What warm payloads lie in.
    regions: Regions,
    payloads: Payloads,
    /// Hops that activation may take through the memories of each tier; 0 leaves it out.
    hops: [u8; 3],
    /// What the rows of hot vectors lie in; none: the memory of the process.
    row_files: Option<Arc<BlockFiles>>,
    /// By slot: 1 / length of the sum of the unit vectors of a memory and its neighbours in context.
    window_scales: Vec<f32>,
    serving: VectorIndex,
    successor: Option<Box<VectorIndex>>,
    lexicon: Lexicon,
    graph: Graph,
    speeches: Speeches,
    concepts: Concepts,
    keys: FxHashMap<String, (u64, Keyed)>,
    keys_in_order: VecDeque<String>,
    /// Bytes that users gave: text, vectors at 4 bytes a number, metadata.
    data_bytes: u64,
    /// Memories that expire, so that spaces without any need not ask.
    expiring: usize,
}

impl SpaceState {
    /// An empty space.
    pub fn new(params: HnswParams) -> Self {
        Self {
            settings: SpaceSettings::default(),
            slots: ByName::default(),
            records: Vec::new(),
            free: Vec::new(),
            arrivals: BTreeMap::new(),
            times: BTreeSet::new(),
            vectors: None,
            regions: Regions::default(),
            payloads: Payloads::default(),
            hops: [3, 2, 1],
            row_files: None,
            window_scales: Vec::new(),
            serving: VectorIndex::new(params, Tuning::default()),
            successor: None,
            lexicon: Lexicon::default(),
            graph: Graph::default(),
            speeches: Speeches::default(),
            concepts: Concepts::default(),
            keys: FxHashMap::default(),
            keys_in_order: VecDeque::new(),
            data_bytes: 0,
            expiring: 0,
        }
    }

    /// The same, tuned.
    pub fn tuned(params: HnswParams, tuning: Tuning) -> Self {
        Self { serving: VectorIndex::new(params, tuning), ..Self::new(params) }
    }

    /// Applies a change. `version` is the position of the change, larger than any before. Recovery may repeat changes
    /// that are in the state already: what is older than a memory's values does not change them. `analysis` is that of
    /// the memory stored, and is not asked for otherwise.
    pub fn apply(&mut self, version: u64, change: Change, analysis: Option<&Analysis>) {
        match change {
            Change::Stored(memory) => {
                self.store(version, *memory, analysis.expect("a stored memory was analysed"))
            }
            Change::Deleted(id) => {
                if let Some(slot) = self.slot_before(&id, version) {
                    let arrival = self.record(slot).arrival;
                    self.graph.learned_mut().forget(version, arrival);
                    self.delete(&id);
                }
            }
            Change::Linked { from, link } => self.link(version, &from, link),
            Change::Unlinked { from, to, kind } => self.unlink(version, &from, &to, &kind),
            Change::Reinforced { ids, outcome, at } => {
                let teaches = outcome != Outcome::Contradicted && ids.len() <= TOGETHER_MAX;
                ids.iter().for_each(|id| self.reinforce(version, id, outcome, at, teaches));
                if outcome != Outcome::Contradicted {
                    self.learn(version, if teaches { &ids } else { &[] }, at);
                }
            }
            Change::Settings(settings) => self.settle(settings),
            Change::Keyed(keyed) => self.remember_key(version, keyed),
            Change::Moved(moves) => self.move_homes(moves),
        }
    }

    fn settle(&mut self, mut settings: SpaceSettings) {
        // Vectors of another version are not kept anywhere: they are made anew.
        if let Some(Embedder::Builtin { .. }) = settings.embedder {
            settings.embedder = Some(Embedder::BUILTIN);
        }
        if let (Some(dimensions), None) = (settings.embedder.and_then(Embedder::dimensions), &self.vectors) {
            let paging = self.index().tuning().paging;
            let mut vectors = Vectors::in_files(dimensions, paging, self.row_files.clone());
            *vectors.regions_mut() = self.regions.clone();
            self.vectors = Some(vectors);
        }
        if settings.language == self.settings.language || self.is_empty() {
            self.settings = settings;
            return;
        }
        // Only in recovery, from a checkpoint that was written while the space was emptied and settled anew. What cannot be
        // read at once is deleted: the log does the same, for otherwise the language could not have changed.
        self.derive_orders();
        let all: Vec<Slot> = self.arrivals.values().copied().collect();
        let places: Vec<_> = all
            .into_iter()
            .map(|slot| {
                let Record { arrival, version, ref uses, .. } = *self.record(slot);
                (slot, arrival, version, self.memory(slot), uses.clone(), self.record(slot).facts.id.clone())
            })
            .collect();
        places.iter().for_each(|(.., id)| self.delete(id));
        self.settings = settings;
        for (slot, arrival, version, memory, uses, _) in places {
            let Ok(memory) = memory else { continue };
            let analysis = Analysis::of(&memory, &settings);
            let heat = Heat::new(&self.payloads.clock);
            self.place_saved(Saved { slot, arrival, version, uses, heat }, memory, &analysis);
        }
        self.derive_orders();
    }

    fn remember_key(&mut self, version: u64, keyed: Keyed) {
        if self.keys.contains_key(&keyed.key) {
            return;
        }
        self.keys_in_order.push_back(keyed.key.clone());
        self.keys.insert(keyed.key.clone(), (version, keyed));
        if self.keys_in_order.len() > KEYS_MAX {
            let oldest = self.keys_in_order.pop_front().expect("there are more than KEYS_MAX");
            self.keys.remove(&oldest);
        }
    }

    fn store(&mut self, version: u64, mut memory: Memory, analysis: &Analysis) {
        if memory.is_made() {
            // Its vector is derived, whatever an export gave it.
            memory.embedding = None;
        }
        let known = self.slot(&memory.id);
        let arrival = match known.map(|slot| self.record(slot)) {
            Some(record) if record.version >= version => return,
            Some(record) => record.arrival,
            None => version,
        };
        // What says the same as before was learned before.
        let own = fingerprint(memory.content.as_deref(), memory.embedding.as_deref());
        let kept = known.filter(|&slot| self.record(slot).kept.fingerprint == own);
        let uses = kept.map(|slot| self.record(slot).uses.clone());
        if let Some(slot) = known {
            self.clear(slot);
            if kept.is_none() {
                self.graph.learned_mut().forget(version, arrival);
            }
        }
        let slot = known.or_else(|| self.free.pop()).unwrap_or(self.records.len() as Slot);
        let heat = Heat::new(&self.payloads.clock);
        let uses = uses.unwrap_or_default();
        self.place(Saved { slot, arrival, version, uses, heat }, memory, analysis);
    }

    fn reinforce(&mut self, version: u64, id: &MemoryId, outcome: Outcome, at: Timestamp, teaches: bool) {
        let Some(slot) = self.slot_before(id, version) else { return };
        let learned = self.learned_at(slot);
        let uses = &mut self.record_mut(slot).uses;
        if uses.reinforced < version {
            let strength = uses.strength().unwrap_or_else(|| Strength::learned(learned));
            uses.set(strength.used(at, outcome));
            uses.reinforced = version;
            if teaches {
                uses.trials = one_more_trial(uses.trials);
            }
        }
    }

    fn learn(&mut self, version: u64, ids: &[MemoryId], at: Timestamp) {
        let (records, arrivals) = (&self.records, &self.arrivals);
        let used = |slot: Slot| {
            let record = records[slot as usize].as_ref().expect("the slot was taken from this state");
            Used { arrival: record.arrival, slot, trials: record.uses.trials }
        };
        // One that came later under the same id is another.
        let slots = ids.iter().filter_map(|id| slot_of(&self.slots, records, id));
        let members: Vec<Used> = slots.map(used).filter(|member| member.arrival < version).collect();
        let find = |arrival: u64| arrivals.get(&arrival).copied().map(used);
        self.graph.learned_mut().learn(version, at, &members, find);
    }

    /// Takes over what a checkpoint kept of what was learned, before `finish_placing` or changes say where its memories are.
    pub fn restore_learned(&mut self, last: LastUse, rows: &[Row]) {
        self.graph.learned_mut().restore(last, rows);
    }

    /// Notes that a recall showed these memories. Changes nothing else, and needs no lock but that of a reader.
    pub fn note_shown(&self, slots: impl IntoIterator<Item = Slot>) {
        for slot in slots {
            self.record(slot).uses.shown.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn place(&mut self, at: Saved, memory: Memory, analysis: &Analysis) {
        let (slot, arrival) = (at.slot, at.arrival);
        let numbered = self.number(analysis);
        self.put(at, memory, &numbered, analysis.embedding.as_deref(), None);
        self.arrivals.insert(arrival, slot);
        self.graph.learned_mut().place(arrival, slot);
        let facts = &self.record(slot).facts;
        let is_concept = facts.is_made();
        if !is_concept {
            self.times.insert((facts.occurred_at, slot));
        }
        if self.has_vector(slot) {
            self.await_index(slot);
        }
        self.rescale_around(slot);
        let concepts: Vec<Slot> = self.concepts.all_of(slot).chain(is_concept.then_some(slot)).collect();
        concepts.into_iter().for_each(|concept| self.direct(concept));
    }

    /// Puts a memory into a slot that is free, with all that does not depend on its order among others.
    fn put(
        &mut self,
        at: Saved,
        mut memory: Memory,
        numbered: &Numbered,
        derived: Option<&[f32]>,
        stub: Option<&Stub>,
    ) {
        let Saved { slot, arrival, version, uses, heat } = at;
        if self.records.len() <= slot as usize {
            self.records.resize_with(slot as usize + 1, || None);
            self.window_scales.resize(slot as usize + 1, 0.0);
            self.graph.reserve(slot);
        }
        let is_concept = memory.is_made();
        if is_concept {
            memory.embedding = None;
            let slot_of = |id: &MemoryId| slot_of(&self.slots, &self.records, id);
            self.concepts.insert(slot, &memory.links, slot_of);
        }
        self.expiring += usize::from(memory.expires_at.is_some());
        let given = memory.embedding.take();
        let mut kept = kept(&memory, given.as_deref(), stub, heat);
        self.set_vector(slot, given.as_deref().or(derived), stub);
        let (words, terms) = self.lexicon.insert(slot, &numbered.terms);
        self.graph.set_words(slot, words);
        kept.terms = terms;
        self.graph.mention(slot, &numbered.entities);
        self.speeches.insert(slot, &numbered.speech);
        for link in associations(&memory.links, is_concept) {
            let target = if link.to == memory.id { Some(slot) } else { self.slot(&link.to) };
            self.graph.link(slot, &link.to, target, &link.kind, link.weight);
        }
        self.graph.arrive(&memory.id, slot);
        if let Some(name) = &memory.context {
            let occurred_at = memory.occurred_at;
            self.graph.join_context(name, Place { occurred_at, arrival, slot });
        }
        self.concepts.arrive(&memory.id, slot);
        self.records[slot as usize] = Some(Record { facts: memory.into(), kept, arrival, version, uses });
        let name_of = |slot| id_in(&self.records, slot);
        self.slots.insert(name_of(slot), slot, name_of);
        if stub.is_some() {
            self.leave(slot);
        }
        self.count_payload(slot, true);
        if !is_concept {
            self.data_bytes += self.data_bytes_of(slot);
        }
    }

    fn set_vector(&mut self, slot: Slot, embedding: Option<&[f32]>, stub: Option<&Stub>) {
        let code = stub.and_then(|stub| stub.code.as_ref());
        if embedding.is_none() && code.is_none() {
            return;
        }
        let vectors = self.vectors.as_mut().expect("the settings say that this space has vectors");
        match (embedding, code) {
            (Some(embedding), _) => vectors.set(slot, embedding),
            (None, Some((code, inverse_norm))) => vectors.set_away(slot, code, *inverse_norm),
            (None, None) => {}
        }
    }

    /// What a memory counts for: its text, its vector at 4 bytes a number, its metadata as JSON.
    fn data_bytes_of(&self, slot: Slot) -> u64 {
        let record = self.record(slot);
        let is_given = matches!(self.settings.embedder, Some(Embedder::Caller { .. }));
        let payload = if is_given { self.payload_bytes(slot) } else { u64::from(record.kept.content_bytes) };
        let metadata = record.facts.metadata();
        let metadata = match metadata.is_empty() {
            true => 0,
            false => serde_json::to_vec(metadata).expect("a JSON value always serialises").len() as u64,
        };
        payload + metadata
    }

    /// Derives the direction of a concept from its sources, in the order of their ids.
    fn direct(&mut self, concept: Slot) {
        let links = concepts::sources(self.record(concept).facts.links());
        let sources: Vec<Slot> = links.filter_map(|link| self.slot(&link.to)).collect();
        // By codes, so that it is the same wherever the rows lie.
        let vectors = self.vectors.as_ref();
        let of_code =
            |source: &Slot| vectors.filter(|all| all.has(*source)).map(|all| all.unit_of_code(*source));
        let mut rows = sources.iter().filter_map(of_code);
        let sum = rows.next().map(|first| {
            rows.fold(first, |mut sum, row| {
                sum.iter_mut().zip(row).for_each(|(a, b)| *a += b);
                sum
            })
        });
        // Sources that cancel each other out leave no direction.
        let direction = sum.filter(|sum| check_embedding(sum).is_ok()).map(|sum| unit(&sum));
        self.concepts.set(concept, sources, direction);
    }

    /// Takes the memory in `slot` out, and all that is derived from it.
    fn clear(&mut self, slot: Slot) {
        self.count_payload(slot, false);
        let data_bytes = self.data_bytes_of(slot);
        let record = self.records[slot as usize].take().expect("the slot is taken");
        let facts = &record.facts;
        self.slots.remove(facts.id.as_str(), slot);
        let is_concept = facts.is_made();
        if is_concept {
            let slot_of = |id: &MemoryId| slot_of(&self.slots, &self.records, id);
            self.concepts.remove(slot, facts.links(), slot_of);
        } else {
            self.data_bytes -= data_bytes;
            self.times.remove(&(facts.occurred_at, slot));
        }
        let concepts = self.concepts.depart(&facts.id, slot);
        self.expiring -= usize::from(facts.expires_at().is_some());
        self.lexicon.remove(slot, &record.kept.terms);
        self.graph.unmention(slot);
        self.speeches.remove(slot);
        for link in associations(facts.links(), is_concept) {
            let target = if link.to == facts.id { Some(slot) } else { self.slot(&link.to) };
            self.graph.unlink(slot, &link.to, target, &link.kind);
        }
        self.graph.depart(&facts.id, slot);
        self.arrivals.remove(&record.arrival);
        self.leave_index(slot);
        if let Some(vectors) = &mut self.vectors {
            vectors.clear(slot);
        }
        let around = [self.graph.previous(slot), self.graph.next(slot)];
        self.graph.leave_context(Place { occurred_at: facts.occurred_at, arrival: record.arrival, slot });
        self.graph.set_words(slot, 0);
        around.into_iter().flatten().for_each(|neighbour| self.rescale(neighbour));
        concepts.into_iter().for_each(|concept| self.direct(concept));
    }

    fn delete(&mut self, id: &MemoryId) {
        if let Some(slot) = self.slot(id) {
            self.clear(slot);
            self.free.push(slot);
        }
    }

    /// The slot of a memory, unless its values are newer than `version`.
    fn slot_before(&self, id: &MemoryId, version: u64) -> Option<Slot> {
        self.slot(id).filter(|&slot| self.record(slot).version < version)
    }

    fn link(&mut self, version: u64, from: &MemoryId, link: Link) {
        let Some(slot) = self.slot_before(from, version) else { return };
        let target = self.slot(&link.to);
        self.graph.link(slot, &link.to, target, &link.kind, link.weight);
        self.record_mut(slot).facts.change_links(|links| {
            match links.binary_search_by(|own| (&own.to, &own.kind).cmp(&(&link.to, &link.kind))) {
                Ok(at) => links[at] = link,
                Err(at) => links.insert(at, link),
            }
        });
    }

    fn unlink(&mut self, version: u64, from: &MemoryId, to: &MemoryId, kind: &str) {
        let Some(slot) = self.slot_before(from, version) else { return };
        self.graph.unlink(slot, to, self.slot(to), kind);
        let is_other = |link: &Link| (&link.to, link.kind.as_str()) != (to, kind);
        self.record_mut(slot).facts.change_links(|links| links.retain(is_other));
    }

    fn rescale_around(&mut self, slot: Slot) {
        let around = [Some(slot), self.graph.previous(slot), self.graph.next(slot)];
        around.into_iter().flatten().for_each(|at| self.rescale(at));
    }

    fn rescale(&mut self, slot: Slot) {
        let Some(vectors) = &self.vectors else { return };
        let window = [self.graph.previous(slot), Some(slot), self.graph.next(slot)];
        if window == [None, Some(slot), None] {
            self.window_scales[slot as usize] = f32::from(u8::from(vectors.has(slot)));
            return;
        }
        let members: Vec<Slot> = window.into_iter().flatten().filter(|&at| vectors.has(at)).collect();
        let mut square = members.len() as f32;
        for (at, &a) in members.iter().enumerate() {
            square += members[at + 1..].iter().map(|&b| 2.0 * vectors.similarity_of_codes(a, b)).sum::<f32>();
        }
        // Vectors that cancel each other out leave no direction; such a window then says nothing.
        self.window_scales[slot as usize] = if square > 1e-6 { square.sqrt().recip() } else { 0.0 };
    }

    /// What would be wrong with these settings.
    pub fn admit_settings(&self, settings: &SpaceSettings) -> Result<()> {
        let fixed = |what: &str| {
            Err(Error::Conflict(format!(
                "{what} of a space with {} memories cannot change; create another space and import into it",
                self.len()
            )))
        };
        if settings.language != self.settings.language && !self.is_empty() {
            return fixed("the language");
        }
        if !(0.0..1.0).contains(&settings.forget_below) {
            return Err(Error::Invalid(format!(
                "forget_below is {}, it must be at least 0 (nothing is faded) and below 1",
                settings.forget_below
            )));
        }
        if self.settings.embedder.is_some() && settings.embedder != self.settings.embedder {
            return fixed("the embedder");
        }
        Ok(())
    }

    /// What is settled.
    pub fn settings(&self) -> &SpaceSettings {
        &self.settings
    }

    /// Memories held.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// One more than the largest slot in use.
    pub fn slots_end(&self) -> usize {
        self.records.len()
    }

    /// The slot of a memory.
    pub fn slot(&self, id: &MemoryId) -> Option<Slot> {
        slot_of(&self.slots, &self.records, id)
    }

    /// What a slot holds.
    pub fn get(&self, slot: Slot) -> Option<&Record> {
        self.records.get(slot as usize)?.as_ref()
    }

    /// What a slot holds that is known to hold something.
    pub fn record(&self, slot: Slot) -> &Record {
        self.get(slot).expect("the slot was taken from this state")
    }

    fn record_mut(&mut self, slot: Slot) -> &mut Record {
        self.records[slot as usize].as_mut().expect("the slot was taken from this state")
    }

    /// Whether a memory has a vector of its own, given or derived, wherever it lies.
    pub fn has_vector(&self, slot: Slot) -> bool {
        self.vectors.as_ref().is_some_and(|vectors| vectors.has(slot))
    }

    /// The vector of a memory, given (then verbatim) or derived, or the direction of a concept; none where it has none, or
    /// is away.
    pub fn row(&self, slot: Slot) -> Option<&[f32]> {
        self.vectors.as_ref().and_then(|vectors| vectors.get(slot)).or_else(|| self.concepts.direction(slot))
    }

    /// The same scaled to length 1; by its code where it is away.
    pub fn unit(&self, slot: Slot) -> Option<Vec<f32>> {
        match self.concepts.direction(slot) {
            Some(direction) => Some(direction.to_vec()),
            None => self.vectors.as_ref()?.unit(slot),
        }
    }

    /// Slots in order of arrival, from the first that arrived after `after` on.
    pub fn in_order(&self, after: Option<u64>) -> impl Iterator<Item = (u64, Slot)> {
        let from = after.map_or(0, |arrival| arrival.saturating_add(1));
        self.arrivals.range(from..).map(|(arrival, slot)| (*arrival, *slot))
    }

    /// Slots by the time that their memories happened, from `from` until before `to`.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> impl DoubleEndedIterator<Item = Slot> {
        let bounds = (from, 0)..(to.max(from), 0);
        self.times.range(bounds).map(|(_, slot)| *slot)
    }

    /// All vectors, where the space has any.
    pub fn vectors(&self) -> Option<&Vectors> {
        self.vectors.as_ref()
    }

    /// The words.
    pub fn lexicon(&self) -> &Lexicon {
        &self.lexicon
    }

    /// The associations.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The concepts that consolidation made.
    pub fn concepts(&self) -> &Concepts {
        &self.concepts
    }

    /// Memories but for the concepts that consolidation made: what recall ranks.
    pub fn ranked(&self) -> usize {
        self.len() - self.concepts.len()
    }

    /// How memories are told.
    pub fn speeches(&self) -> &Speeches {
        &self.speeches
    }

    /// 1 / length of the sum of the unit vectors of a memory and its neighbours; 0 where there is none.
    pub fn window_scale(&self, slot: Slot) -> f32 {
        self.window_scales.get(slot as usize).copied().unwrap_or(0.0)
    }

    /// What is remembered of an idempotency key, with the position at which it was used.
    pub fn key(&self, key: &str) -> Option<&(u64, Keyed)> {
        self.keys.get(key)
    }

    /// The idempotency keys, oldest first.
    pub fn keys(&self) -> impl Iterator<Item = &(u64, Keyed)> {
        self.keys_in_order.iter().filter_map(|key| self.keys.get(key))
    }

    /// Bytes that users gave: text, vectors at 4 bytes a number, metadata.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Whether a memory can be recalled at `now`, and was there at `as_of`.
    pub fn is_visible(&self, slot: Slot, now: Timestamp, as_of: Option<Timestamp>) -> bool {
        if !self.hides(as_of) {
            return true;
        }
        let facts = &self.record(slot).facts;
        let alive = facts.expires_at().is_none_or(|at| at > now);
        alive && as_of.is_none_or(|then| facts.stored_at <= then && !self.was_superseded(slot, then))
    }

    /// Whether there may be memories that a recall does not see.
    pub fn hides(&self, as_of: Option<Timestamp>) -> bool {
        self.expiring > 0 || as_of.is_some()
    }

    fn was_superseded(&self, slot: Slot, then: Timestamp) -> bool {
        let was_there = |newer: Slot| {
            let newer = &self.record(newer).facts;
            newer.stored_at <= then && newer.expires_at().is_none_or(|at| at > then)
        };
        superseding(self, slot, was_there).next().is_some()
    }

    /// Probability, 0..=1, that a memory is still remembered at `now`.
    pub fn retrievability(&self, slot: Slot, now: Timestamp) -> f64 {
        self.strength(slot).retrievability(self.settings.decay, self.learned_at(slot), now)
    }

    /// How well the memory is learned.
    pub fn strength(&self, slot: Slot) -> Strength {
        self.record(slot).uses.strength().unwrap_or_else(|| Strength::learned(self.learned_at(slot)))
    }

    /// From when on the space forgets the memory.
    fn learned_at(&self, slot: Slot) -> Timestamp {
        let facts = &self.record(slot).facts;
        match self.settings.decay_from {
            DecayFrom::StoredAt => facts.stored_at,
            DecayFrom::OccurredAt => facts.occurred_at,
        }
    }

    /// Everything in the state, derived things included, as sorted lines that do not depend on slots or on the order
    /// of changes: two states with the same lines hold the same. The index is checked and counted; its links depend on
    /// the order of insertion.
    pub fn dump(&self) -> Vec<String> {
        let name = |slot: Slot| self.record(slot).facts.id.to_string();
        let mut lines = self.graph.dump(name);
        for slot in self.slots.numbers() {
            let (id, record) = (name(slot), self.record(slot));
            lines.push(format!(
                "{id}: {:?} {:x} {:?} {:?} {} {} {:?}",
                record.facts.with(None, None),
                record.kept.fingerprint,
                self.vectors.as_ref().and_then(|vectors| vectors.code_bytes(slot)),
                self.concepts.direction(slot),
                self.window_scale(slot),
                self.speeches.dump(slot),
                record.uses.strength()
            ));
        }
        let id = |arrival: &u64| self.arrivals.get(arrival).map_or("nobody".into(), |slot| name(*slot));
        for row in self.graph.learned().rows().iter().filter(|row| !row.pairs.is_empty()) {
            let mut pairs: Vec<_> =
                row.pairs.iter().map(|(to, count)| format!("{}*{count}", id(to))).collect();
            pairs.sort();
            lines.push(format!("learned {} in {}: {}", id(&row.arrival), row.trials, pairs.join(" ")));
        }
        let last = self.graph.learned().last();
        let mut used: Vec<_> = last.arrivals.iter().map(id).collect();
        used.sort();
        lines.push(format!("used last, at {}: {}", last.at.0, used.join(" ")));
        for (term, postings) in self.lexicon.dump() {
            let mut holders: Vec<_> =
                postings.iter().map(|p| format!("{}*{}", name(p.slot), p.count)).collect();
            holders.sort();
            lines.push(format!("term {term}: {}", holders.join(" ")));
        }
        let order: Vec<_> = self.in_order(None).map(|(_, slot)| name(slot)).collect();
        lines.push(format!("order: {}", order.join(" ")));
        let mut times: Vec<_> =
            self.times.iter().map(|(at, slot)| format!("{} {}", at.0, name(*slot))).collect();
        times.sort();
        lines.push(format!("times: {}", times.join(", ")));
        lines.push(format!("{} bytes, {} words on average", self.data_bytes, self.lexicon.length_mean()));
        let with_vector = self.slots.numbers().filter(|slot| self.has_vector(*slot)).count();
        self.assert_indexed();
        lines.push(format!("{with_vector} vectors, {:?}", self.settings));
        lines.sort();
        lines
    }
}

/// How the payload of a memory that comes is kept; `given` is its vector.
fn kept(memory: &Memory, given: Option<&[f32]>, stub: Option<&Stub>, heat: Heat) -> Kept {
    let content = memory.content.as_deref();
    Kept {
        home: stub.map_or(Home::Log, |stub| stub.home),
        is_here: stub.is_none(),
        content_bytes: stub.map_or(content.map_or(0, str::len) as u32, |stub| stub.content_bytes),
        fingerprint: stub.map_or_else(|| fingerprint(content, given), |stub| stub.fingerprint),
        heat,
        terms: TermList::default(),
    }
}

/// The links over which activation flows: not those of a concept to its sources, which must not change how they rank.
fn associations(links: &[Link], is_concept: bool) -> impl Iterator<Item = &Link> {
    links.iter().filter(move |link| !is_concept || link.kind != concepts::DERIVED_FROM)
}

fn slot_of(slots: &ByName, records: &[Option<Record>], id: &MemoryId) -> Option<Slot> {
    slots.get(id.as_str(), |slot| id_in(records, slot))
}

/// The id of the memory in a slot that has one.
fn id_in(records: &[Option<Record>], slot: Slot) -> &str {
    records[slot as usize].as_ref().expect("a slot is found as long as it holds something").facts.id.as_str()
}
