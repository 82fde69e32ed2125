//! What an engine must hold: maps and lists, changed one request at a time by rules written anew from the contract, so
//! that a mistake in the engine is not repeated here. Small and slow on purpose.

use crate::workload::{Request, Settings, Store};
use engram::{
    Embedder, ErrorKind, Link, Memory, MemoryId, NewMemory, Outcome, SpaceName, SpaceSettings, Strength,
    Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};

/// All spaces that exist.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) spaces: BTreeMap<SpaceName, ModelSpace>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ModelSpace {
    pub(crate) settings: SpaceSettings,
    /// In order of arrival.
    pub(crate) memories: Vec<Memory>,
    /// How well those that were used are learned.
    pub(crate) strengths: BTreeMap<MemoryId, Strength>,
    /// How often those that were used served, and which others took part how often.
    pub(crate) habits: BTreeMap<MemoryId, Habit>,
    /// When memories were used last, and which.
    pub(crate) last: (Timestamp, BTreeSet<MemoryId>),
    /// Idempotency keys with what was asked and answered.
    keys: BTreeMap<String, (Vec<NewMemory>, Vec<MemoryId>)>,
}

/// What use has taught of a memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Habit {
    pub(crate) trials: u16,
    pub(crate) counts: BTreeMap<MemoryId, u16>,
}

/// What a request is answered: ids, or why not.
pub(crate) type Answer = Result<Vec<MemoryId>, ErrorKind>;

impl Model {
    /// Carries out a request. An error changes nothing.
    pub(crate) fn carry_out(&mut self, request: &Request, now: Timestamp) -> Answer {
        let name = request.space();
        if let Request::DeleteSpace { .. } = request {
            return self.spaces.remove(name).map(|_| vec![]).ok_or(ErrorKind::NotFound);
        }
        let known = self.spaces.get(name);
        if known.is_none() && !matches!(request, Request::Store(_) | Request::Settings(_)) {
            return Err(ErrorKind::NotFound);
        }
        let mut space = known.cloned().unwrap_or_default();
        let answer = space.carry_out(request, now)?;
        self.spaces.insert(name.clone(), space);
        Ok(answer)
    }

    /// The same but for what cannot be seen from outside.
    pub(crate) fn looks_like(&self, other: &Model) -> bool {
        self.spaces.len() == other.spaces.len()
            && self
                .spaces
                .iter()
                .all(|(name, space)| other.spaces.get(name).is_some_and(|other| space.looks_like(other)))
    }
}

impl ModelSpace {
    pub(crate) fn new(
        settings: SpaceSettings,
        memories: Vec<Memory>,
        strengths: BTreeMap<MemoryId, Strength>,
    ) -> Self {
        Self { settings, memories, strengths, ..Self::default() }
    }

    /// The same but for what cannot be seen from outside.
    pub(crate) fn looks_like(&self, other: &Self) -> bool {
        let strengths = |space: &Self| -> Vec<Strength> {
            let learned = |memory: &Memory| Strength::learned(memory.stored_at);
            let of =
                |memory: &Memory| space.strengths.get(&memory.id).copied().unwrap_or_else(|| learned(memory));
            space.memories.iter().map(of).collect()
        };
        self.settings == other.settings
            && self.memories == other.memories
            && strengths(self) == strengths(other)
    }

    fn carry_out(&mut self, request: &Request, now: Timestamp) -> Answer {
        let before = self.memories.clone();
        let answer = self.change(request, now)?;
        // What is gone or says something else was not used yet.
        let now = &self.memories;
        let is_kept = |id: &MemoryId| {
            let of = |memories: &[Memory]| {
                let memory = memories.iter().find(|memory| memory.id == *id)?;
                Some((memory.content.clone(), memory.embedding.clone()))
            };
            of(now).is_some() && of(now) == of(&before)
        };
        self.strengths.retain(|id, _| is_kept(id));
        self.habits.retain(|id, _| is_kept(id));
        self.habits.values_mut().for_each(|habit| habit.counts.retain(|id, _| is_kept(id)));
        self.last.1.retain(is_kept);
        Ok(answer)
    }

    fn reinforce(&mut self, ids: &[MemoryId], outcome: Outcome, now: Timestamp) -> Answer {
        let ids: BTreeSet<&MemoryId> = ids.iter().collect();
        if ids.iter().any(|&id| self.find(id).is_err()) {
            return Err(ErrorKind::NotFound);
        }
        for &id in &ids {
            let learned = Strength::learned(self.find(id)?.stored_at);
            let strength = self.strengths.entry(id.clone()).or_insert(learned);
            *strength = strength.used(now, outcome);
        }
        if outcome != Outcome::Contradicted {
            self.learn(&ids, now);
        }
        Ok(ids.into_iter().cloned().collect())
    }

    /// Each memory learns which others were used with it, and those used before which follow within ten minutes.
    fn learn(&mut self, ids: &BTreeSet<&MemoryId>, now: Timestamp) {
        let used: BTreeSet<MemoryId> = ids.iter().copied().cloned().collect();
        let (at, before) = std::mem::replace(&mut self.last, (now, used.clone()));
        for id in &used {
            self.habits.entry(id.clone()).or_default().trials += 1;
        }
        let follows = now.0 - at.0 <= 600_000_000;
        for from in used.union(&before) {
            let habit = self.habits.entry(from.clone()).or_default();
            let together = used.iter().filter(|to| used.contains(from) && *to != from);
            let next = used.iter().filter(|to| follows && before.contains(from) && !before.contains(to));
            for to in together.chain(next) {
                *habit.counts.entry(to.clone()).or_default() += 1;
            }
        }
    }

    fn change(&mut self, request: &Request, now: Timestamp) -> Answer {
        match request {
            Request::Store(store) => self.store(store, now),
            Request::Patch { id, patch, .. } => self.patch(id, patch),
            Request::Delete { id, .. } => {
                self.find(id)?;
                self.memories.retain(|memory| memory.id != *id);
                Ok(vec![id.clone()])
            }
            Request::DeleteMatching { ids, context, .. } => self.delete_matching(ids.as_deref(), context),
            Request::Link { from, link, .. } => self.link(from, link),
            Request::Unlink { from, to, kind, .. } => {
                let links = &mut self.find(from)?.links;
                let before = links.len();
                links.retain(|link| (&link.to, &link.kind) != (to, kind));
                if links.len() < before { Ok(vec![]) } else { Err(ErrorKind::NotFound) }
            }
            Request::Reinforce { ids, outcome, .. } => self.reinforce(ids, *outcome, now),
            Request::Settings(settings) => self.settle(settings),
            // What it makes is no memory of the model: `check_concepts` says what must be true of it.
            Request::Consolidate { .. } => Ok(vec![]),
            Request::DeleteSpace { .. } => unreachable!("the model takes the whole space away"),
        }
    }

    fn find(&mut self, id: &MemoryId) -> Result<&mut Memory, ErrorKind> {
        self.memories.iter_mut().find(|memory| memory.id == *id).ok_or(ErrorKind::NotFound)
    }

    fn store(&mut self, store: &Store, now: Timestamp) -> Answer {
        let ids: Vec<MemoryId> = store.memories.iter().filter_map(|memory| memory.id.clone()).collect();
        let different: BTreeSet<&MemoryId> = ids.iter().collect();
        if different.len() < ids.len() || store.memories.iter().any(|memory| !is_sound(memory)) {
            return Err(ErrorKind::Invalid);
        }
        if let Some((asked, answered)) = store.key.as_ref().and_then(|key| self.keys.get(key)) {
            return if *asked == store.memories { Ok(answered.clone()) } else { Err(ErrorKind::Conflict) };
        }
        let mut changed = false;
        for (id, new) in ids.iter().zip(&store.memories) {
            let kept = self.memories.iter().position(|memory| memory.id == *id);
            if let Some(at) = kept {
                if says_the_same(new, &self.memories[at]) {
                    continue;
                }
                if !store.replace {
                    return Err(ErrorKind::Conflict);
                }
            }
            self.settings.embedder.get_or_insert(match &new.embedding {
                Some(embedding) => Embedder::Caller { dimensions: embedding.len() },
                None => Embedder::BUILTIN,
            });
            let memory = completed(new, id, now);
            self.check_fit(&memory)?;
            changed = true;
            match kept {
                Some(at) => self.memories[at] = memory,
                None => self.memories.push(memory),
            }
        }
        if self.settings.memories_max.is_some_and(|max| changed && self.memories.len() as u64 > max) {
            return Err(ErrorKind::Conflict);
        }
        if let Some(key) = &store.key {
            self.keys.insert(key.clone(), (store.memories.clone(), ids.clone()));
        }
        Ok(ids)
    }

    fn patch(&mut self, id: &MemoryId, patch: &NewMemory) -> Answer {
        let kept = self.find(id)?.clone();
        let patched = overlaid(&kept, patch);
        if patch.content.as_ref().is_some_and(|content| content.trim().is_empty()) {
            return Err(ErrorKind::Invalid);
        }
        self.check_fit(&patched)?;
        *self.find(id)? = patched;
        Ok(vec![id.clone()])
    }

    fn delete_matching(&mut self, ids: Option<&[MemoryId]>, context: &str) -> Answer {
        let passes = |memory: &Memory| {
            memory.context.as_deref() == Some(context) && ids.is_none_or(|ids| ids.contains(&memory.id))
        };
        let mut gone: Vec<MemoryId> =
            self.memories.iter().filter(|m| passes(m)).map(|m| m.id.clone()).collect();
        gone.sort();
        self.memories.retain(|memory| !passes(memory));
        Ok(gone)
    }

    fn link(&mut self, from: &MemoryId, link: &Link) -> Answer {
        if link.to == *from {
            return Err(ErrorKind::Invalid);
        }
        let links = &mut self.find(from)?.links;
        links.retain(|own| (&own.to, &own.kind) != (&link.to, &link.kind));
        links.push(link.clone());
        links.sort_by(|a, b| (&a.to, &a.kind).cmp(&(&b.to, &b.kind)));
        Ok(vec![])
    }

    fn settle(&mut self, settings: &Settings) -> Answer {
        let new = settings.laid_over(self.settings);
        let fixed = new.language != self.settings.language && !self.memories.is_empty()
            || self.settings.embedder.is_some() && new.embedder != self.settings.embedder;
        if fixed {
            return Err(ErrorKind::Conflict);
        }
        self.settings = new;
        Ok(vec![])
    }

    /// Whether vector and links suit the space.
    fn check_fit(&self, memory: &Memory) -> Result<(), ErrorKind> {
        let dimensions = match self.settings.embedder {
            Some(Embedder::Caller { dimensions }) => dimensions,
            Some(Embedder::Builtin { .. } | Embedder::None) | None => 0,
        };
        let fits = memory.embedding.as_ref().is_none_or(|embedding| embedding.len() == dimensions);
        let to_itself = memory.links.iter().any(|link| link.to == memory.id);
        if fits && !to_itself { Ok(()) } else { Err(ErrorKind::Invalid) }
    }
}

/// Whether consolidation made this memory.
pub(crate) fn is_made(memory: &Memory) -> bool {
    memory.id.as_str().starts_with("concept:")
}

/// Concepts say what their sources say and nothing else: all of these are stored, each has one concept, at least three
/// share one, and every word is of one of them. Whatever was deleted or replaced is in none. One may have no words where
/// those of its sources can be cold.
pub(crate) fn check_concepts(concepts: &[Memory], memories: &[Memory], can_be_cold: bool) {
    let mut sources_of_all = BTreeSet::new();
    for concept in concepts {
        let sources: Vec<&Memory> = concept
            .links
            .iter()
            .map(|link| {
                assert_eq!(link.kind, "derived_from", "{concept:?}");
                let source = memories.iter().find(|memory| memory.id == link.to);
                source.unwrap_or_else(|| panic!("{} is not there, and a source of {concept:?}", link.to))
            })
            .collect();
        assert!(sources.len() >= 3, "{concept:?}");
        let times = || sources.iter().map(|source| source.occurred_at);
        assert_eq!(Some(concept.occurred_at), times().max(), "{concept:?}");
        let own = &concept.metadata["consolidated"];
        let medoid = sources.iter().find(|source| own["medoid"] == source.id.as_str());
        let medoid = medoid.unwrap_or_else(|| panic!("its medoid is no source: {concept:?}"));
        let is_silent = can_be_cold && concept.content.is_none();
        assert!(is_silent || concept.content == medoid.content, "{concept:?} of {medoid:?}");
        assert_eq!(own["count"], sources.len(), "{concept:?}");
        for source in sources {
            assert!(sources_of_all.insert(&source.id), "{} has two concepts: {concepts:?}", source.id);
            assert!(source.kind == engram::MemoryKind::Episode && source.expires_at.is_none(), "{source:?}");
            let superseded = |memory: &Memory| {
                memory.links.iter().any(|link| link.kind == "supersedes" && link.to == source.id)
            };
            assert!(!memories.iter().any(superseded), "{source:?} of {concept:?} is superseded");
        }
        for name in &concept.entities {
            let says = |memory: &&Memory| {
                let words = format!("{:?} {:?}", memory.content, memory.entities).to_lowercase();
                name.split(' ').all(|word| words.contains(word))
            };
            assert!(memories.iter().filter(says).count() >= 2, "{name} of {concept:?}");
        }
    }
}

fn is_sound(memory: &NewMemory) -> bool {
    memory.content.as_ref().is_none_or(|content| !content.trim().is_empty())
        && (memory.content.is_some() || memory.embedding.is_some())
}

fn completed(new: &NewMemory, id: &MemoryId, now: Timestamp) -> Memory {
    let blank = Memory {
        id: id.clone(),
        content: None,
        embedding: None,
        occurred_at: now,
        stored_at: now,
        context: None,
        entities: vec![],
        links: vec![],
        confidence: 1.0,
        metadata: serde_json::Map::new(),
        kind: engram::MemoryKind::Episode,
        expires_at: None,
    };
    overlaid(&blank, new)
}

/// `memory` with the fields that `new` gives.
fn overlaid(memory: &Memory, new: &NewMemory) -> Memory {
    let new = new.clone();
    let mut links = new.links.unwrap_or_else(|| memory.links.clone());
    links.sort_by(|a, b| (&a.to, &a.kind).cmp(&(&b.to, &b.kind)));
    Memory {
        id: memory.id.clone(),
        content: new.content.or_else(|| memory.content.clone()),
        embedding: new.embedding.or_else(|| memory.embedding.clone()),
        occurred_at: new.occurred_at.unwrap_or(memory.occurred_at),
        stored_at: memory.stored_at,
        context: new.context.or_else(|| memory.context.clone()),
        entities: new.entities.unwrap_or_else(|| memory.entities.clone()),
        links,
        confidence: new.confidence.unwrap_or(memory.confidence),
        metadata: new.metadata.unwrap_or_else(|| memory.metadata.clone()),
        kind: new.kind.unwrap_or(memory.kind),
        expires_at: new.expires_at.or(memory.expires_at),
    }
}

/// Whether storing would change nothing: links that the kept memory has beyond those given do not count.
fn says_the_same(new: &NewMemory, kept: &Memory) -> bool {
    let links_there = new.links.iter().flatten().all(|link| kept.links.contains(link));
    let new = NewMemory { links: None, ..new.clone() };
    links_there && overlaid(kept, &new) == *kept
}
