//! Consolidation: which episodes recur, and what stands for them. Episodes that are more alike than the nearest of as
//! many random memories would be make a concept, if each of them is predicted better by the others than by the space's
//! mean: what is not predictable stays an episode (Go-CLS, Sun et al. 2023). A concept says nothing of its own: its text
//! is that of its medoid.
//!
//! A `Search` walks the episodes in the order of arrival, over and over until a whole pass changes nothing, so that a
//! second search finds nothing. It only reads, a few episodes at a time; whoever writes what it proposes checks that
//! the sources still are what they were.

use crate::Slot;
use crate::concepts;
use crate::confidence::{CONTRADICTS, SUPERSEDES};
use crate::facts::Facts;
use crate::hnsw::{self, Wanted};
use crate::id::{MemoryId, Timestamp};
use crate::limits::NAME_BYTES_MAX;
use crate::memory::{Memory, MemoryKind};
use crate::state::SpaceState;
use crate::vector::{Vectors, check_embedding, unit};
use rustc_hash::FxHashMap;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Two episodes are a repetition, three begin to recur; and of two, each alone would have to predict the other.
pub const SOURCES_MIN: usize = 3;
/// Sources of one concept.
pub const SOURCES_MAX: usize = 256;
/// Names of one concept, the most mentioned.
const NAMES_MAX: usize = 32;
/// Sources that must mention a name for it to be the concept's.
const MENTIONS_MIN: usize = 2;
/// Cosine of a source and the mean of the others below which they have too little in common, however much less the rest
/// of the space has.
const FIT_MIN: f32 = 0.45;
/// Cosine from which two memories of a sample count as one, so that what recurs most is not taken for what all memories
/// have in common.
const SAME_MIN: f32 = 0.9;
/// Neighbours of an episode that are looked at.
const NEAR_MAX: usize = 64;
/// Spaces with no more episodes are compared in full; a search of the index costs as much.
const COMPARED_MAX: usize = 1024;
/// Vectors whose mean is taken for the space's.
const MEAN_SAMPLE_MAX: usize = 256;
/// Vectors whose pairs tell what two random memories have in common: some 32,000 pairs.
const PAIRS_SAMPLE_MAX: usize = 256;
/// Kinds of links between memories that must not be taken for one.
const OPPOSING: [&str; 2] = [CONTRADICTS, SUPERSEDES];

/// Whether a link of this kind keeps its two ends from sharing a concept.
pub fn is_opposing(kind: &str) -> bool {
    OPPOSING.contains(&kind)
}

/// What the memories of a space have in common.
#[derive(Debug, Clone)]
pub struct Ground {
    /// Sum of the unit vectors of a sample, and how many these are.
    sum: Vec<f32>,
    count: f32,
}

impl Ground {
    /// Of a sample of up to 256 of the episodes of a state; none where no episode has a vector.
    pub fn of(state: &SpaceState) -> Option<Self> {
        let mut rows = sample(state, MEAN_SAMPLE_MAX).into_iter();
        let mut ground = Self { sum: rows.next()?, count: 1.0 };
        for row in rows {
            add(&mut ground.sum, &row);
            ground.count += 1.0;
        }
        Some(ground)
    }

    /// The direction in which a vector of length 1 leaves the mean; none where it hardly does.
    fn beyond(&self, row: &[f32]) -> Option<Vec<f32>> {
        let rest: Vec<f32> = row.iter().zip(&self.sum).map(|(x, sum)| x - sum / self.count).collect();
        // Below that only rounding is left.
        (dot(&rest, &rest) > 1e-6).then(|| unit(&rest))
    }

    /// Cosine of a vector of length 1 with the mean of the others in the sample.
    fn predicts(&self, row: &[f32]) -> f32 {
        let others: Vec<f32> = self.sum.iter().zip(row).map(|(sum, x)| sum - x).collect();
        if check_embedding(&others).is_ok() { dot(&unit(&others), row) } else { 0.0 }
    }
}

/// How alike two episodes must be beyond the mean, as a cosine of at least 0: what the nearest of so many random memories
/// would hardly reach. That is the universal threshold of Donoho & Johnstone 1994, the median plus s sqrt(2 ln n); s is
/// measured below the median, where recurring episodes do not widen it.
fn threshold(state: &SpaceState, ground: &Ground, episodes: usize) -> f32 {
    let rows = sample(state, PAIRS_SAMPLE_MAX).into_iter();
    let rows: Vec<Vec<f32>> = rows.filter_map(|row| ground.beyond(&row)).collect();
    let pairs = rows.iter().enumerate().flat_map(|(at, a)| rows[at + 1..].iter().map(|b| dot(a, b)));
    let mut pairs: Vec<f32> = pairs.collect();
    if pairs.is_empty() {
        return 1.0;
    }
    pairs.sort_unstable_by(f32::total_cmp);
    // A normal variable lies below its mean minus its deviation in 16 of 100 cases.
    let (median, low) = (pairs[pairs.len() / 2], pairs[pairs.len() * 16 / 100]);
    let far = (2.0 * (episodes as f32).ln()).sqrt();
    (median + (median - low) * far).max(0.0)
}

/// Vectors, of length 1, of at most so many episodes, spread evenly over the rows of vectors, so that concepts do not
/// change which they are; of those that are nearly the same, one.
fn sample(state: &SpaceState, most: usize) -> Vec<Vec<f32>> {
    let end = state.vectors().map_or(0, Vectors::slots_end);
    let step = end.div_ceil(most).max(1);
    let mut rows: Vec<Vec<f32>> = Vec::new();
    for slot in (0..end as Slot).step_by(step).filter(|&slot| is_source(state, slot)) {
        let row = unit_of(state, slot);
        if rows.iter().all(|known| dot(known, &row) < SAME_MIN) {
            rows.push(row);
        }
    }
    rows
}

/// Whether the slot holds an episode that a concept may be made of: one with a vector, that nothing superseded.
fn is_source(state: &SpaceState, slot: Slot) -> bool {
    let Some(record) = state.get(slot) else { return false };
    let graph = state.graph();
    let is_superseded = || graph.incoming(slot).iter().any(|edge| graph.kind(edge.kind) == SUPERSEDES);
    let has_vector = || state.has_vector(slot);
    is_episode(record.facts().kind, record.facts().expires_at()) && has_vector() && !is_superseded()
}

/// The vector of a source, scaled to length 1.
fn unit_of(state: &SpaceState, slot: Slot) -> Vec<f32> {
    state.unit(slot).expect("a source has a vector")
}

/// Whether a memory is of the kind that concepts are made of: not one that is to be gone by a time.
fn is_episode(kind: MemoryKind, expires_at: Option<Timestamp>) -> bool {
    kind == MemoryKind::Episode && expires_at.is_none()
}

fn add(sum: &mut [f32], row: &[f32]) {
    sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    crate::kernels::dot(a, b)
}

/// A memory that a concept is made of, as it is or is about to be.
#[derive(Debug, Clone)]
pub struct Source<'a> {
    /// Its id.
    pub id: &'a MemoryId,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// How sure its own source was, 0..=1.
    pub confidence: f32,
    /// Its text, where it has one that is at hand.
    pub content: Option<&'a str>,
    /// It has a text, which is away.
    pub is_away: bool,
    /// Its vector, of any length.
    pub vector: Cow<'a, [f32]>,
    /// Names that it mentions.
    pub names: Vec<&'a str>,
}

impl<'a> Source<'a> {
    /// The memory in a slot as it is; none where it cannot be a source.
    pub fn of(state: &'a SpaceState, slot: Slot) -> Option<Self> {
        let Facts { id, occurred_at, confidence, kind, .. } = state.record(slot).facts();
        let graph = state.graph();
        let named = graph.entities_of(slot).iter().filter(|(_, count)| *count > 0);
        let names = named.map(|(id, _)| &*graph.entity(*id).name).collect();
        if !is_episode(*kind, state.record(slot).facts().expires_at()) {
            return None;
        }
        let row = state.row(slot).map(Cow::Borrowed);
        let vector = row.or_else(|| state.unit(slot).map(Cow::Owned))?;
        let content = state.content(slot);
        let (is_away, content) = (content.is_err(), content.unwrap_or(None));
        Some(Self { id, occurred_at: *occurred_at, confidence: *confidence, content, is_away, vector, names })
    }

    /// The same of a memory that is about to be stored.
    pub fn coming(memory: &'a Memory, vector: &'a [f32], names: Vec<&'a str>) -> Option<Self> {
        let content = memory.content.as_deref();
        let vector = Cow::Borrowed(vector);
        let Memory { id, occurred_at, confidence, .. } = memory;
        let (occurred_at, confidence) = (*occurred_at, *confidence);
        is_episode(memory.kind, memory.expires_at).then_some(Self {
            id,
            occurred_at,
            confidence,
            content,
            is_away: false,
            vector,
            names,
        })
    }
}

/// What a concept says: all of it is taken from its sources.
#[derive(Debug, Clone, PartialEq)]
pub struct Gist {
    /// The sources, ordered by id, each with how well the others predict it: a cosine within .001 and 1.
    pub sources: Vec<(MemoryId, f32)>,
    /// The source that is most like all of them.
    pub medoid: MemoryId,
    /// Its text, word for word.
    pub content: Option<String>,
    /// Where no text is at hand: the sources that have one, which is away.
    pub away: Vec<MemoryId>,
    /// How sure its source was.
    pub confidence: f32,
    /// When the first of them happened.
    pub from: Timestamp,
    /// When the last of them happened.
    pub to: Timestamp,
    /// Names that at least two of them mention, the most mentioned first.
    pub names: Vec<String>,
}

/// What stands for these sources. Those that the others predict no better than the space's mean does are left out; none
/// where too few are left.
pub fn gist(mut sources: Vec<Source<'_>>, ground: &Ground) -> Option<Gist> {
    sources.sort_unstable_by(|a, b| a.id.cmp(b.id));
    let mut rows: Vec<Vec<f32>> = sources.iter().map(|source| unit(&source.vector)).collect();
    let fits = loop {
        let fits = predicted(&rows);
        let gain = |at: usize| (fits[at] - ground.predicts(&rows[at])).min(fits[at] - FIT_MIN);
        let worst = (0..rows.len()).min_by(|&a, &b| gain(a).total_cmp(&gain(b)))?;
        if rows.len() < SOURCES_MIN {
            return None;
        }
        if gain(worst) > 0.0 {
            break fits;
        }
        sources.remove(worst);
        rows.remove(worst);
    };
    // Of what has no text, or none at hand, only a vector can be told.
    let has_text = sources.iter().any(|source| source.content.is_some());
    let told = |at: &usize| !has_text || sources[*at].content.is_some();
    let away = sources.iter().filter(|source| source.is_away).map(|source| source.id.clone());
    let best = |a: &usize, b: &usize| fits[*a].total_cmp(&fits[*b]).then(b.cmp(a));
    let medoid = &sources[(0..rows.len()).filter(told).max_by(best)?];
    let times = || sources.iter().map(|source| source.occurred_at);
    let weight = |fit: f32| (fit.clamp(0.001, 1.0) * 1000.0).round() / 1000.0;
    Some(Gist {
        sources: sources.iter().zip(&fits).map(|(s, fit)| (s.id.clone(), weight(*fit))).collect(),
        medoid: medoid.id.clone(),
        content: medoid.content.map(str::to_string),
        away: if has_text { Vec::new() } else { away.collect() },
        confidence: medoid.confidence,
        from: times().min()?,
        to: times().max()?,
        names: shared_names(&sources),
    })
}

/// For each row the cosine with the direction of the others; -1 where they have none.
fn predicted(rows: &[Vec<f32>]) -> Vec<f32> {
    let Some(first) = rows.first() else { return Vec::new() };
    let mut sum = vec![0.0; first.len()];
    rows.iter().for_each(|row| add(&mut sum, row));
    let of_others = |row: &Vec<f32>| {
        let others: Vec<f32> = sum.iter().zip(row).map(|(sum, x)| sum - x).collect();
        if dot(&others, &others) > 1e-6 { dot(&unit(&others), row) } else { -1.0 }
    };
    rows.iter().map(of_others).collect()
}

fn shared_names(sources: &[Source<'_>]) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    sources.iter().flat_map(|source| &source.names).for_each(|name| *counts.entry(name).or_default() += 1);
    let mut shared: Vec<(&str, usize)> =
        counts.into_iter().filter(|(_, count)| *count >= MENTIONS_MIN).collect();
    shared.sort_by_key(|(name, count)| (usize::MAX - count, *name));
    shared
        .into_iter()
        .filter(|(name, _)| name.len() <= NAME_BYTES_MAX)
        .take(NAMES_MAX)
        .map(|(name, _)| name.to_string())
        .collect()
}

/// Sources that shall share a concept: a new one, or one that is there and has others already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The concept, where there is one.
    pub concept: Option<MemoryId>,
    /// All of its sources, with the versions that were looked at.
    pub sources: Vec<(MemoryId, u64)>,
}

/// What a step of a search comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// There is more to look at.
    More,
    /// These belong together; there may be more.
    Found(Proposal),
    /// A whole pass changed nothing.
    Done,
}

/// A search for concepts that goes on over many calls. It knows what it proposed, so it finds the same whether or not
/// that is written meanwhile.
#[derive(Debug)]
pub struct Search {
    ground: Ground,
    threshold: f32,
    episodes: usize,
    groups: Vec<Group>,
    group_of: FxHashMap<Slot, usize>,
    /// Whether this pass lets episodes join groups, or found new ones.
    joins: bool,
    /// The next to look at arrived after this.
    after: Option<u64>,
    looked_at: usize,
    passes: u32,
    has_changed: bool,
    /// Groups that somebody joined in this pass.
    joined: Vec<usize>,
    index: hnsw::Scratch,
}

#[derive(Debug)]
struct Group {
    concept: Option<MemoryId>,
    /// In the order in which they came.
    members: Vec<Slot>,
}

impl Search {
    /// Begins; none where no episode has a vector. Looks at 256 vectors and their 32,000 pairs.
    pub fn new(state: &SpaceState) -> Option<Self> {
        let ground = Ground::of(state)?;
        let episodes = (0..state.slots_end() as Slot).filter(|&slot| is_source(state, slot)).count();
        let mut search = Self {
            threshold: threshold(state, &ground, episodes),
            ground,
            episodes,
            groups: Vec::new(),
            group_of: FxHashMap::default(),
            joins: false,
            after: None,
            looked_at: 0,
            passes: 0,
            has_changed: false,
            joined: Vec::new(),
            index: hnsw::Scratch::new(),
        };
        for slot in state.concepts().slots() {
            let concept = Some(state.record(slot).facts().id.clone());
            search.add_group(Group { concept, members: state.concepts().sources(slot).to_vec() });
        }
        Some(search)
    }

    /// Episodes that there are.
    pub fn episodes(&self) -> usize {
        self.episodes
    }

    /// Concepts, those that were there and those proposed.
    pub fn concepts(&self) -> usize {
        self.groups.len()
    }

    /// Episodes that have a concept, or that one is proposed for.
    pub fn grouped(&self) -> usize {
        self.group_of.len()
    }

    /// The concept that was proposed last is there now, under this id.
    pub fn named(&mut self, id: MemoryId) {
        if let Some(group) = self.groups.last_mut() {
            group.concept.get_or_insert(id);
        }
    }

    /// How far it is, 0..=1. How many passes there will be is not known, so that each takes half of what is left.
    pub fn progress(&self) -> f64 {
        let done = self.looked_at.min(self.episodes) as f64 / self.episodes.max(1) as f64;
        1.0 - 0.5f64.powi(self.passes as i32) * (1.0 - done / 2.0)
    }

    fn add_group(&mut self, group: Group) {
        let at = self.groups.len();
        self.group_of.extend(group.members.iter().map(|&slot| (slot, at)));
        self.groups.push(group);
    }

    /// Looks at up to `most` episodes, fewer where something is found on the way. Each costs a search of the index.
    pub fn step(&mut self, state: &SpaceState, most: usize) -> Step {
        if let Some(at) = self.joined.pop_if(|_| self.after == Some(u64::MAX)) {
            return Step::Found(self.proposal(state, at));
        }
        if self.after == Some(u64::MAX) {
            return self.next_pass();
        }
        let next: Vec<(u64, Slot)> = state.in_order(self.after).take(most).collect();
        for &(arrival, slot) in &next {
            self.after = Some(arrival);
            self.looked_at += 1;
            if self.group_of.contains_key(&slot) || !is_source(state, slot) {
                continue;
            }
            if self.joins {
                self.join(state, slot);
            } else if let Some(group) = self.found(state, slot) {
                self.has_changed = true;
                self.add_group(group);
                return Step::Found(self.proposal(state, self.groups.len() - 1));
            }
        }
        if next.len() < most {
            self.after = Some(u64::MAX);
            self.joined.sort_unstable_by(|a, b| b.cmp(a));
            self.joined.dedup();
        }
        Step::More
    }

    fn next_pass(&mut self) -> Step {
        if self.joins && !self.has_changed {
            return Step::Done;
        }
        self.has_changed &= !self.joins;
        self.joins = !self.joins;
        (self.after, self.looked_at) = (None, 0);
        self.passes += 1;
        Step::More
    }

    fn proposal(&self, state: &SpaceState, at: usize) -> Proposal {
        let Group { concept, members } = &self.groups[at];
        let source = |slot: &Slot| {
            let record = state.get(*slot)?;
            Some((record.facts().id.clone(), record.version))
        };
        Proposal { concept: concept.clone(), sources: members.iter().filter_map(source).collect() }
    }

    /// The group that this episode founds with those near it that have none.
    fn found(&mut self, state: &SpaceState, slot: Slot) -> Option<Group> {
        let own = self.beyond(state, slot)?;
        let mut members = vec![(slot, own)];
        for (near, _) in self.near(state, slot) {
            if self.group_of.contains_key(&near) || is_opposed(state, near, members.iter().map(|(s, _)| *s)) {
                continue;
            }
            if let Some(row) = self.beyond(state, near)
                && dot(&row, &members[0].1) >= self.threshold
            {
                members.push((near, row));
            }
        }
        // The one that the others predict worst leaves, until all are predicted well enough.
        while members.len() >= SOURCES_MIN {
            let rows: Vec<Vec<f32>> = members.iter().map(|(_, row)| row.clone()).collect();
            let fits = predicted(&rows);
            let slots: Vec<Slot> = members.iter().map(|(slot, _)| *slot).collect();
            let gains = self.gains(state, &slots);
            let short = |at: usize| (fits[at] - self.threshold).min(gains[at]);
            let worst = (0..members.len()).min_by(|&a, &b| short(a).total_cmp(&short(b)))?;
            if fits[worst] >= self.threshold && gains[worst] > 0.0 {
                return Some(Group { concept: None, members: slots });
            }
            members.remove(worst);
        }
        None
    }

    /// How much better each is predicted by the others than by the mean.
    fn gains(&self, state: &SpaceState, members: &[Slot]) -> Vec<f32> {
        let rows: Vec<Vec<f32>> = members.iter().map(|&slot| unit_of(state, slot)).collect();
        let gain = |(fit, row): (&f32, &Vec<f32>)| (fit - self.ground.predicts(row)).min(fit - FIT_MIN);
        predicted(&rows).iter().zip(&rows).map(gain).collect()
    }

    /// Lets an episode join the group of one of its neighbours that predicts it best.
    fn join(&mut self, state: &SpaceState, slot: Slot) {
        let Some(own) = self.beyond(state, slot) else { return };
        let near = self.near(state, slot);
        let mut groups: Vec<usize> =
            near.iter().filter_map(|(near, _)| self.group_of.get(near).copied()).collect();
        groups.sort_unstable();
        groups.dedup();
        let fit = |at: usize| {
            let rows = self.groups[at].members.iter().filter_map(|&member| self.beyond(state, member));
            let sum = rows.reduce(|mut sum, row| {
                add(&mut sum, &row);
                sum
            });
            sum.filter(|sum| dot(sum, sum) > 1e-6).map_or(-1.0, |sum| dot(&unit(&sum), &own))
        };
        let best = groups.into_iter().map(|at| (fit(at), at)).max_by(|a, b| a.0.total_cmp(&b.0));
        let Some((_, at)) = best.filter(|(fit, _)| *fit >= self.threshold) else { return };
        let mut members = self.groups[at].members.clone();
        let concept = self.groups[at].concept.as_ref().and_then(|id| state.slot(id));
        let others = members.iter().copied().chain(concept);
        if members.len() >= SOURCES_MAX || is_opposed(state, slot, others) {
            return;
        }
        members.push(slot);
        members.retain(|&member| is_source(state, member));
        if self.gains(state, &members).iter().all(|gain| *gain > 0.0) {
            self.has_changed = true;
            self.joined.push(at);
            self.groups[at].members = members;
            self.group_of.insert(slot, at);
        }
    }

    fn beyond(&self, state: &SpaceState, slot: Slot) -> Option<Vec<f32>> {
        self.ground.beyond(&state.unit(slot)?)
    }

    /// The episodes nearest to this one, best first.
    fn near(&mut self, state: &SpaceState, slot: Slot) -> Vec<(Slot, f32)> {
        let (Some(vectors), Some(own)) = (state.vectors(), state.unit(slot)) else { return Vec::new() };
        let mut found = Vec::new();
        let passes = |near: Slot| near != slot && is_source(state, near);
        let mut compare = |near: Slot| {
            if passes(near) {
                found.push((near, vectors.similarity(near, &own)));
            }
        };
        if self.episodes <= COMPARED_MAX {
            (0..state.slots_end() as Slot).for_each(&mut compare);
        } else {
            state.unindexed().iter().copied().for_each(&mut compare);
            let (index, mut indexed) = (state.index(), Vec::new());
            let ef = index.params().ef_search;
            index.search(vectors, &own, Wanted::new(NEAR_MAX, ef), passes, &mut self.index, &mut indexed);
            found.extend(indexed);
        }
        found.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(NEAR_MAX);
        found
    }
}

/// Whether this memory may be a source beside these others: an episode that nothing superseded, and that contradicts none
/// of them.
pub fn may_join(state: &SpaceState, slot: Slot, others: &[Slot]) -> bool {
    is_source(state, slot) && !is_opposed(state, slot, others.iter().copied().filter(|&other| other != slot))
}

/// Whether a memory contradicts one of these, or takes its place.
fn is_opposed(state: &SpaceState, slot: Slot, others: impl Iterator<Item = Slot>) -> bool {
    let graph = state.graph();
    let edges = graph.out(slot).iter().chain(graph.incoming(slot));
    let opposed: Vec<Slot> =
        edges.filter(|edge| is_opposing(graph.kind(edge.kind))).map(|edge| edge.other).collect();
    !opposed.is_empty() && others.into_iter().any(|other| opposed.contains(&other))
}

/// The id of a concept that these sources found; another one for each attempt, where the first is taken.
pub fn concept_id<'a>(founders: impl IntoIterator<Item = &'a MemoryId>, attempt: u32) -> MemoryId {
    let mut ids: Vec<&MemoryId> = founders.into_iter().collect();
    ids.sort_unstable();
    let hash = ids.iter().fold(u64::from(attempt), |hash, id| {
        (hash ^ id.stable_hash()).wrapping_mul(0x100_0000_01b3).rotate_left(23)
    });
    MemoryId::new(&format!("{}{hash:016x}", concepts::ID_PREFIX)).expect("letters and digits")
}
