//! Consolidation as requests: each concept that `engram_core::consolidate` proposes is written as one, decided against
//! the state under the writer. Whatever else changes a source changes its concept within the same request (`follow`), so
//! that at no time, and after no crash, a concept says what no source of it says.

use crate::clock::format_rfc3339;
use crate::error::{Error, ErrorKind, Result};
use crate::space::Space;
use crate::writer::{Plan, Prepared, Reads};
use engram_core::Slot;
use engram_core::associate::Analysis;
use engram_core::concepts::{self, DERIVED_FROM, METADATA_KEY};
use engram_core::confidence::SUPERSEDES;
use engram_core::consolidate::{
    Gist, Ground, Proposal, SOURCES_MIN, Search, Source, Step, concept_id, gist, is_opposing, may_join,
};
use engram_core::facts::Facts;
use engram_core::id::{MemoryId, Timestamp};
use engram_core::memory::{Link, Memory, MemoryKind, NewMemory};
use engram_core::state::{Change, Embedder, SpaceState};
use serde_json::{Map, Value, json};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

/// Episodes that one step looks at while it holds the state for reading: some milliseconds.
const EPISODES_PER_STEP: usize = 16;
/// Ids that are tried for a new concept before it is given up: only a caller's memories can have taken one.
const ID_ATTEMPTS_MAX: u32 = 8;

/// What a consolidation came to. In a dry run, what it would have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Consolidated {
    /// Nothing was written.
    pub dry_run: bool,
    /// It was stopped before its end; the next one goes on.
    pub stopped: bool,
    /// Episodes that have a vector and may be sources.
    pub episodes: usize,
    /// Concepts that there are now.
    pub concepts: usize,
    /// Episodes that have a concept now.
    pub sources: usize,
    /// Concepts that are new.
    pub made: usize,
    /// Concepts whose sources are others now.
    pub changed: usize,
    /// Concepts that were taken away, as too few of their sources recur.
    pub deleted: usize,
    /// Concepts that were given up because a source changed meanwhile.
    pub given_up: usize,
    /// The space has no vectors, so that there is nothing to compare episodes by.
    pub without_vectors: bool,
}

impl Space {
    /// Looks for episodes that recur and makes concepts of them; deletes what is a concept no more. Reads go on, and each
    /// concept is a write of its own. `go_on` is told how far it is, 0..=1, every few milliseconds, and says whether to.
    pub fn consolidate(&self, dry_run: bool, mut go_on: impl FnMut(f64) -> bool) -> Result<Consolidated> {
        let mut done = Consolidated { dry_run, ..Consolidated::default() };
        done.stopped = !self.renew_concepts(&mut done, &mut go_on)?;
        let search = Search::new(&self.read());
        let Some(mut search) = search else {
            let state = self.read();
            done.without_vectors = matches!(state.settings().embedder, None | Some(Embedder::None));
            done.concepts = state.concepts().len();
            return Ok(done);
        };
        let mut made: BTreeSet<MemoryId> = BTreeSet::new();
        while !done.stopped {
            let step = search.step(&self.read(), EPISODES_PER_STEP);
            match step {
                Step::Done => break,
                Step::More => {}
                Step::Found(proposal) => {
                    let is_new = proposal.concept.is_none();
                    let written = if dry_run {
                        let founders = || proposal.sources.iter().map(|(id, _)| id);
                        Some(proposal.concept.clone().unwrap_or_else(|| concept_id(founders(), 0)))
                    } else {
                        self.write_concept(proposal)?
                    };
                    match written {
                        None => done.given_up += 1,
                        Some(id) if is_new => {
                            search.named(id.clone());
                            made.insert(id);
                        }
                        Some(id) => done.changed += usize::from(!made.contains(&id)),
                    }
                }
            }
            done.stopped = !go_on(search.progress());
        }
        done.made = made.len();
        done.episodes = search.episodes();
        if dry_run {
            (done.concepts, done.sources) = (search.concepts() - done.deleted, search.grouped());
        } else {
            let state = self.read();
            let sources =
                state.concepts().slots().into_iter().map(|concept| state.concepts().sources(concept).len());
            (done.concepts, done.sources) = (state.concepts().len(), sources.sum());
        }
        Ok(done)
    }

    /// Mends concepts that are not what their sources say, which only a caller's own store or a change of the rules
    /// leaves behind. Returns whether to go on.
    fn renew_concepts(&self, done: &mut Consolidated, go_on: &mut dyn FnMut(f64) -> bool) -> Result<bool> {
        let ids: Vec<MemoryId> = {
            let state = self.read();
            state.concepts().slots().into_iter().map(|slot| state.record(slot).facts().id.clone()).collect()
        };
        let ground = OnceCell::new();
        for id in ids {
            let now = self.now();
            let silent = silent_medoid(&self.read(), &id);
            if let Some(Err(error)) = silent.map(|medoid| self.bring_by_id(&[medoid])) {
                tracing::debug!(concept = id.as_str(), %error, "a concept stays without words");
            }
            let change = renewed(&self.read(), &ground, &BTreeMap::new(), &id, None, now);
            match &change {
                None => {}
                Some(Change::Deleted(_)) => done.deleted += 1,
                Some(_) => done.changed += 1,
            }
            if change.is_some() && !done.dry_run {
                // Over all of them, as sources of several concepts are mended here, too.
                self.submit(Reads::Everything, move |state, now| {
                    let change = renewed(state, &OnceCell::new(), &BTreeMap::new(), &id, None, now);
                    Ok(Plan { changes: change.map(prepared).into_iter().collect(), ids: vec![id] })
                })?;
            }
            if !go_on(0.0) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes one concept, unless a source changed since it was looked at. Returns its id where it did.
    fn write_concept(&self, proposal: Proposal) -> Result<Option<MemoryId>> {
        let mut reads: Vec<MemoryId> = proposal.sources.iter().map(|(id, _)| id.clone()).collect();
        reads.extend(proposal.concept.clone());
        let ack = self.submit(Reads::Ids(reads), move |state, now| {
            let change = decided(state, &proposal, now);
            let ids = match &change {
                Some(Change::Stored(memory)) => vec![memory.id.clone()],
                _ => vec![],
            };
            Ok(Plan { changes: change.map(prepared).into_iter().collect(), ids })
        })?;
        Ok(ack.ids.into_iter().next())
    }
}

fn prepared(change: Change) -> Prepared {
    // A concept has nothing to find it by but its sources.
    let analysis = matches!(change, Change::Stored(_)).then(Analysis::default);
    (change, analysis)
}

/// What a proposal changes; nothing where a source is not what it was, or has another concept by now.
fn decided(state: &SpaceState, proposal: &Proposal, now: Timestamp) -> Option<Change> {
    let own = match &proposal.concept {
        Some(id) => Some(state.slot(id).filter(|&slot| state.concepts().contains(slot))?),
        None => None,
    };
    let is_as_seen = |(id, version): &(MemoryId, u64)| {
        let slot = state.slot(id).filter(|&slot| state.record(slot).version == *version)?;
        state.concepts().all_of(slot).all(|concept| Some(concept) == own).then_some(slot)
    };
    let slots = proposal.sources.iter().map(is_as_seen).collect::<Option<Vec<Slot>>>()?;
    // A link may have come meanwhile that changes no source.
    let slots: Vec<Slot> = slots.iter().copied().filter(|&slot| may_join(state, slot, &slots)).collect();
    let sources = slots.iter().map(|&slot| Source::of(state, slot)).collect::<Option<Vec<_>>>()?;
    let gist = gist(sources, &Ground::of(state)?)?;
    let before = own.map(|slot| state.record(slot).facts());
    // One is made when a text is at hand that it can say.
    if before.is_none() && !gist.away.is_empty() {
        return None;
    }
    let id = match before {
        Some(facts) => facts.id.clone(),
        None => free_id(state, &gist)?,
    };
    let memory = written(gist, id, before, now);
    Some(Change::Stored(Box::new(memory)))
}

fn free_id(state: &SpaceState, gist: &Gist) -> Option<MemoryId> {
    let founders = || gist.sources.iter().map(|(id, _)| id);
    let mut ids = (0..ID_ATTEMPTS_MAX).map(|attempt| concept_id(founders(), attempt));
    ids.find(|id| state.slot(id).is_none())
}

/// The medoid of a concept that has no words because none were at hand when it got its sources.
fn silent_medoid(state: &SpaceState, concept: &MemoryId) -> Option<MemoryId> {
    let concept = state.slot(concept).filter(|&slot| !state.record(slot).has_content())?;
    let medoid = state.record(concept).facts().metadata().get(METADATA_KEY)?["medoid"].as_str()?;
    let medoid = MemoryId::new(medoid).ok()?;
    state.slot(&medoid).filter(|&slot| state.record(slot).has_content()).map(|_| medoid)
}

/// Where no text is at hand, a concept goes on saying what it says, as long as who said it is among its sources and may say
/// it still.
fn keep_words(gist: &mut Gist, before: Option<&Facts>) {
    let Some(before) = before else { return };
    let medoid = before.metadata().get(METADATA_KEY).and_then(|own| own["medoid"].as_str());
    // One whose text is not away has none by now.
    if let Some(id) = gist.away.iter().find(|id| Some(id.as_str()) == medoid) {
        gist.medoid = id.clone();
        gist.content = before.content().map(str::to_string);
    }
}

/// The memory that says a gist. Of the concept that it takes the place of, what callers added stays: other metadata and
/// other links. `stale` says that the sources are others since a caller last wrote the metadata.
fn written(mut gist: Gist, id: MemoryId, before: Option<&Facts>, now: Timestamp) -> Memory {
    keep_words(&mut gist, before);
    let mut metadata = before.map_or_else(Map::new, |facts| facts.metadata().clone());
    let was_stale = metadata.remove(METADATA_KEY).is_some_and(|own| own["stale"] == true);
    let source = |(to, weight): (MemoryId, f32)| Link { to, kind: DERIVED_FROM.to_string(), weight };
    let count = gist.sources.len();
    let mut links: Vec<Link> = gist.sources.into_iter().map(source).collect();
    let before_links = before.map_or(&[][..], Facts::links);
    let sources_before = before_links.iter().filter(|link| link.kind == DERIVED_FROM).map(|link| &link.to);
    let is_same = before.is_some_and(|facts| facts.content() == gist.content.as_deref())
        && sources_before.eq(links.iter().map(|link| &link.to));
    links.extend(before_links.iter().filter(|link| link.kind != DERIVED_FROM).cloned());
    links.sort_by(|a, b| (&a.to, &a.kind).cmp(&(&b.to, &b.kind)));
    let mut own = json!({
        "count": count,
        "medoid": gist.medoid.as_str(),
        "from": format_rfc3339(gist.from),
        "to": format_rfc3339(gist.to),
    });
    if !metadata.is_empty() && (was_stale || !is_same) {
        own["stale"] = Value::Bool(true);
    }
    metadata.insert(METADATA_KEY.to_string(), own);
    Memory {
        id,
        content: gist.content,
        embedding: None,
        occurred_at: gist.to,
        stored_at: now,
        context: None,
        entities: gist.names,
        links,
        confidence: gist.confidence,
        metadata,
        kind: MemoryKind::Concept,
        expires_at: None,
    }
}

/// Memories that a request is about to store, or to delete where there is no value.
type Coming<'a> = BTreeMap<&'a MemoryId, Option<(&'a Memory, &'a Analysis)>>;

/// What must change about a concept so that it says what its sources say, as they are or are about to be; `None` where
/// nothing must. `without` is no source any more.
fn renewed(
    state: &SpaceState,
    ground: &OnceCell<Option<Ground>>,
    coming: &Coming<'_>,
    concept: &MemoryId,
    without: Option<&BTreeSet<MemoryId>>,
    now: Timestamp,
) -> Option<Change> {
    let slot = state.slot(concept).filter(|&slot| state.concepts().contains(slot))?;
    let before = state.record(slot).facts();
    let source = |link: &Link| -> Option<Source<'_>> {
        if without.is_some_and(|ids| ids.contains(&link.to)) {
            return None;
        }
        match coming.get(&link.to) {
            Some(None) => None,
            Some(Some((memory, analysis))) => {
                let vector = memory.embedding.as_ref().or(analysis.embedding.as_ref())?;
                let named = analysis.entities.iter().filter(|(_, count)| *count > 0);
                Source::coming(memory, vector, named.map(|(name, _)| &**name).collect())
            }
            // A source of several concepts, which only callers can make, stays with the first.
            None => {
                let source = state.slot(&link.to)?;
                let is_own = state.concepts().of(source) == Some(slot) && may_join(state, source, &[]);
                is_own.then(|| Source::of(state, source))?
            }
        }
    };
    let sources: Vec<Source<'_>> = concepts::sources(before.links()).filter_map(source).collect();
    let has_enough = sources.len() >= SOURCES_MIN;
    let ground = has_enough.then(|| ground.get_or_init(|| Ground::of(state)).as_ref()).flatten();
    let Some(gist) = ground.and_then(|ground| gist(sources, ground)) else {
        return Some(Change::Deleted(concept.clone()));
    };
    let memory = written(gist, concept.clone(), Some(before), now);
    let said_before = before.with(before.content().map(str::to_string), None);
    let unchanged = Memory { stored_at: before.stored_at, ..memory.clone() } == said_before;
    (!unchanged).then(|| Change::Stored(Box::new(memory)))
}

/// Adds to a request's changes what they change about concepts. Costs a look-up for each memory that is changed, and a
/// sample of the space's vectors where one is a source.
pub(crate) fn follow(state: &SpaceState, changes: &mut Vec<Prepared>, now: Timestamp) {
    if state.concepts().is_empty() {
        return;
    }
    let mut coming = Coming::new();
    let mut opposed: BTreeSet<MemoryId> = BTreeSet::new();
    for (change, analysis) in changes.iter() {
        match change {
            Change::Stored(memory) => {
                let analysis = analysis.as_ref().expect("a stored memory was analysed");
                coming.insert(&memory.id, Some((memory, analysis)));
                opposed.extend(opposed_by(state, &memory.id, &memory.links));
            }
            Change::Deleted(id) => drop(coming.insert(id, None)),
            Change::Linked { from, link } => {
                opposed.extend(opposed_by(state, from, std::slice::from_ref(link)))
            }
            _ => {}
        }
    }
    let touched = coming.keys().copied().chain(&opposed).filter_map(|id| state.slot(id));
    let of: BTreeSet<Slot> = touched.flat_map(|slot| state.concepts().all_of(slot)).collect();
    let ids = of.into_iter().map(|slot| &state.record(slot).facts().id);
    // A concept that the request itself changes is not what it was in any case.
    let ids = ids.filter(|id| !coming.contains_key(id));
    let ground = OnceCell::new();
    let follow: Vec<Prepared> = ids
        .filter_map(|id| renewed(state, &ground, &coming, id, Some(&opposed), now))
        .map(prepared)
        .collect();
    changes.extend(follow);
}

/// Sources that a new link of a memory takes out of their concepts: what is superseded, and what it contradicts beside
/// it.
fn opposed_by(state: &SpaceState, from: &MemoryId, links: &[Link]) -> Vec<MemoryId> {
    let concept = |id: &MemoryId| state.slot(id).and_then(|slot| state.concepts().of(slot));
    let takes_out = |link: &&Link| {
        is_opposing(&link.kind)
            && concept(&link.to).is_some_and(|of| link.kind == SUPERSEDES || concept(from) == Some(of))
    };
    links.iter().filter(takes_out).map(|link| link.to.clone()).collect()
}

/// `ids` with all memories on which a decision about them depends: their concepts, and the other sources of these.
pub(crate) fn with_kin<'a>(state: &'a SpaceState, ids: &'a [MemoryId]) -> impl Iterator<Item = &'a MemoryId> {
    let id = move |slot: Slot| &state.record(slot).facts().id;
    let concepts = ids.iter().filter_map(|id| state.slot(id)).flat_map(move |slot| {
        let own = state.concepts().contains(slot).then_some(slot);
        state.concepts().all_of(slot).chain(own)
    });
    let kin = concepts.flat_map(move |concept| {
        let sources = concepts::sources(state.record(concept).facts().links()).map(|link| &link.to);
        sources.chain([id(concept)])
    });
    ids.iter().chain(kin)
}

/// A concept with the metadata of a caller, who may change nothing else of it: the rest is what its sources say.
pub(crate) fn patched(concept: Memory, patch: NewMemory) -> Result<NewMemory> {
    let given = NewMemory { id: None, metadata: None, ..patch.clone() };
    if given != NewMemory::default() {
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "memory \"{}\" is a concept that consolidation made, and says what its sources say; only its metadata can \
                 be changed: attach a text of your own as metadata, or store a memory of kind concept under another id",
                concept.id
            ),
        ));
    }
    let mut metadata = patch.metadata.unwrap_or_default();
    let mut own = concept.metadata.get(METADATA_KEY).cloned().unwrap_or_default();
    if let Some(own) = own.as_object_mut() {
        own.remove("stale");
    }
    metadata.insert(METADATA_KEY.to_string(), own);
    Ok(NewMemory { metadata: Some(metadata), id: None, ..concept.into() })
}

/// Refuses to link or unlink a concept and its sources by hand.
pub(crate) fn check_unowned(state: &SpaceState, from: Slot, kind: &str) -> Result<()> {
    if kind == DERIVED_FROM && state.concepts().contains(from) {
        let id = &state.record(from).facts().id;
        return Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "links of kind \"{DERIVED_FROM}\" of concept \"{id}\" are kept by consolidation; delete the concept to be rid \
                 of it, or use another kind"
            ),
        ));
    }
    Ok(())
}
