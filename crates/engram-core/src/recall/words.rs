//! What a cue's words say of memories: BM25 in the memory itself, in the window of it and its neighbours in context, and in
//! its context; and which memories they say most of.
//!
//! Words are looked up from the rarest on, until their holders number `LOOKED_UP_MAX`: of these all holders are known. Of
//! the common words beyond, only what is asked for is: what a memory and its neighbours hold counts, and what a context
//! holds does not. For the best, memories are scored in the order of a bound of their score, until the bound falls below
//! the last of the best (Fagin, Lotem & Naor 2003), so the result is that of scoring all of them; where the bounds cannot
//! tell this, `is_cut` says so. Where too few are found so, as a filter lets few pass, all holders are scored.

use super::keep_best;
use crate::Slot;
use crate::graph::{Graph, HubId};
use crate::id::Timestamp;
use crate::kernels::prefetch;
use crate::lexicon::{K1, Lexicon, Posting, TermId, idf, saturation};
use crate::state::SpaceState;
use crate::tally::Tally;

/// Holders of words that a recall looks up, those of its rarest word included whatever their number.
pub(super) const LOOKED_UP_MAX: usize = 8192;
/// Common words that are asked for, however many hold them; of more, only those with `ASKED_FROM` holders or more.
const ASKED_MAX: usize = 16;
/// With fewer holders, looking them all up costs no more than asking each scored memory and its neighbours.
const ASKED_FROM: usize = 4096;
/// Memories with a score, where common words keep the bounds from deciding sooner; or twice the best, if more are asked for.
const SCORED_MAX: usize = 1024;
/// Memories that are scored before the bounds are compared with the last of the best.
const SCORED_FIRST: usize = if cfg!(test) { 4 } else { 256 };
/// How far ahead of the holder that is looked at the fetching runs.
const HOLDERS_AHEAD: usize = 16;
/// Bounds are sums in another order than scores are.
const ROUNDING: f32 = 1e-3;
const NONE: u32 = u32::MAX;
/// Entries that room is kept for between recalls.
const ENTRIES_KEPT_MAX: usize = 1 << 18;

/// A term of the cue.
#[derive(Debug, Clone, Copy)]
struct Term {
    /// None where nobody holds it.
    id: Option<TermId>,
    /// Its place among the cue's terms.
    at: u32,
    holders: usize,
    /// In a memory, and in a window.
    weights: [f32; 2],
}

/// A memory that holds a term that was looked up.
#[derive(Debug, Clone, Copy)]
struct Held {
    slot: Slot,
    /// Its last entry.
    last: u32,
    /// BM25 of the terms that were looked up.
    own: f32,
    /// At least what these add to any window that it is in.
    in_window_max: f32,
    /// Which of the cue's first 64 terms, of those looked up.
    terms: u64,
}

/// A term that a memory holds.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The entry before, of the same memory.
    before: u32,
    /// Its place in `looked_up`, above that of the entry before.
    term: u16,
    count: u16,
}

/// What words are looked up in.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) state: &'a SpaceState,
    pub(super) now: Timestamp,
    pub(super) as_of: Option<Timestamp>,
    /// Score windows and contexts, where there are any.
    pub(super) with_windows: bool,
    pub(super) looked_up_max: usize,
}

impl<'a> Text<'a> {
    fn lexicon(self) -> &'a Lexicon {
        self.state.lexicon()
    }

    fn graph(self) -> &'a Graph {
        self.state.graph()
    }

    fn is_visible(self, slot: Slot) -> bool {
        self.state.is_visible(slot, self.now, self.as_of)
    }

    /// How often a memory that may be seen holds a term.
    fn count(self, term: &Term, slot: Slot) -> u32 {
        match term.id {
            Some(id) if self.is_visible(slot) => self.lexicon().postings(id).count(slot),
            _ => 0,
        }
    }

    /// How often those of some memories that may be seen hold a term.
    fn count_in(self, term: &Term, window: [Option<Slot>; 3]) -> u32 {
        let seen = window.map(|slot| slot.filter(|&slot| self.is_visible(slot)));
        term.id.map_or(0, |id| self.lexicon().postings(id).count_all(seen))
    }

    /// Contexts and memories that stand alone.
    fn contexts(self) -> usize {
        let graph = self.graph();
        let lone = self.lexicon().memories().saturating_sub(graph.adjacent_pairs() + graph.contexts());
        graph.contexts() + lone
    }
}

/// What the words of a cue say. Reuse it to spare allocations.
#[derive(Debug, Default)]
pub(super) struct Words {
    looked_up: Vec<Term>,
    common: Vec<Term>,
    /// By slot: where it would stand in `held`.
    places: Vec<u32>,
    held: Vec<Held>,
    entries: Vec<Entry>,
    /// By context: BM25 of the terms that were looked up.
    contexts: Tally,
    /// Of one term, by context: how often it stands there.
    counts: Tally,
    /// Of one term.
    postings: Vec<Posting>,
    /// What the words could reach at most: in a memory, a window, a context.
    pub(super) max: [f32; 3],
    /// The weights of the cue's terms.
    pub(super) weights: Vec<f32>,
    with_windows: bool,
    length_mean: f32,
    window_length_mean: f32,
}

impl Words {
    /// Makes room for so many memories that hold words.
    pub(super) fn reserve(&mut self, memories: usize) {
        self.held.reserve(memories);
        self.entries.reserve(memories);
        self.postings.reserve(memories);
    }

    /// Gives back what only a cue of very many words needs: all else is bounded by the memories of a space.
    pub(super) fn trim(&mut self) {
        self.entries.clear();
        self.entries.shrink_to(ENTRIES_KEPT_MAX);
    }

    /// Looks up the terms of a cue, each once.
    pub(super) fn look_up(&mut self, text: Text<'_>, terms: &[Option<TermId>]) {
        let (lexicon, graph) = (text.lexicon(), text.graph());
        self.held.clear();
        self.entries.clear();
        self.places.resize(self.places.len().max(text.state.slots_end()), 0);
        self.contexts.clear(graph.contexts_end());
        self.max = [0.0; 3];
        self.with_windows = text.with_windows && graph.adjacent_pairs() > 0;
        let members = lexicon.memories().max(1) as f32;
        let in_window = 1.0 + 2.0 * graph.adjacent_pairs() as f32 / members;
        self.length_mean = lexicon.length_mean();
        self.window_length_mean = self.length_mean * in_window;
        self.divide(text, terms);
        for at in 0..self.looked_up.len() {
            self.look_up_term(text, at);
        }
        for term in &mut self.common {
            // Too many to ask each of them: as if they were spread evenly.
            let share = (term.holders as f32 / members).min(1.0);
            let windows = members * (1.0 - (1.0 - share).powf(in_window));
            let own = idf(lexicon.memories(), term.holders);
            term.weights = [own, idf(lexicon.memories(), windows as usize).min(own)];
            self.max[0] += term.weights[0] * (K1 + 1.0);
            self.max[1] += term.weights[1] * (K1 + 1.0);
        }
        self.weights.clear();
        self.weights.resize(terms.len(), 0.0);
        for term in self.looked_up.iter().chain(&self.common) {
            self.weights[term.at as usize] = term.weights[0];
        }
        self.bound_windows(graph);
    }

    /// Divides the terms into those that are looked up, in their order, and the common ones.
    fn divide(&mut self, text: Text<'_>, terms: &[Option<TermId>]) {
        let holders = |id: Option<TermId>| id.map_or(0, |id| text.lexicon().postings(id).len());
        let all = terms.iter().zip(0..);
        self.common.clear();
        self.looked_up.clear();
        self.looked_up.extend(all.map(|(&id, at)| Term { id, at, holders: holders(id), weights: [0.0; 2] }));
        if self.looked_up.iter().map(|term| term.holders).sum::<usize>() <= text.looked_up_max {
            return;
        }
        self.looked_up.sort_unstable_by_key(|term| (term.holders, term.at));
        let (mut sum, mut kept) = (0, 0);
        for term in &self.looked_up {
            sum += term.holders;
            let is_cheap = self.looked_up.len() - kept > ASKED_MAX && term.holders < ASKED_FROM;
            // The rarest word that is known is always looked up.
            if sum > text.looked_up_max && sum > term.holders && !is_cheap {
                break;
            }
            kept += 1;
        }
        self.common.extend(self.looked_up.drain(kept..));
        self.looked_up.sort_unstable_by_key(|term| term.at);
    }

    fn look_up_term(&mut self, text: Text<'_>, at: usize) {
        let (lexicon, graph) = (text.lexicon(), text.graph());
        let term = self.looked_up[at];
        let mut postings = std::mem::take(&mut self.postings);
        postings.clear();
        if let Some(id) = term.id {
            let all = lexicon.postings(id).iter();
            if text.state.hides(text.as_of) {
                postings.extend(all.filter(|posting| text.is_visible(posting.slot)));
            } else {
                postings.extend(all);
            }
        }
        let own = idf(lexicon.memories(), postings.len());
        self.max[0] += own * (K1 + 1.0);
        let first = self.entries.len() as u32;
        for (nth, &posting) in postings.iter().enumerate() {
            if let Some(ahead) = postings.get(nth + HOLDERS_AHEAD) {
                graph.prefetch_around(ahead.slot);
                self.places.get(ahead.slot as usize).map(std::slice::from_ref).into_iter().for_each(prefetch);
            }
            self.hold(graph, &term, at as u16, own, posting);
        }
        let mut in_window = own;
        if self.with_windows {
            in_window = idf(lexicon.memories(), self.windows(graph, &postings, first));
            self.max[1] += in_window * (K1 + 1.0);
            self.add_to_contexts(text, &postings);
        }
        self.looked_up[at].weights = [own, in_window];
        self.postings = postings;
    }

    fn hold(&mut self, graph: &Graph, term: &Term, nth: u16, weight: f32, posting: Posting) {
        let Posting { slot, count } = posting;
        let place = self.places[slot as usize] as usize;
        let held = match self.held.get_mut(place) {
            Some(held) if held.slot == slot => held,
            _ => {
                self.places[slot as usize] = self.held.len() as u32;
                self.held.push(Held { slot, last: NONE, own: 0.0, in_window_max: 0.0, terms: 0 });
                self.held.last_mut().expect("one was just pushed")
            }
        };
        held.own += weight * saturation(count as f32, graph.words(slot) as f32, self.length_mean);
        held.terms |= 1u64.checked_shl(term.at).unwrap_or(0);
        // A text of 64 KiB has no more words than that.
        self.entries.push(Entry {
            before: held.last,
            term: nth,
            count: count.min(u32::from(u16::MAX)) as u16,
        });
        held.last = self.entries.len() as u32 - 1;
    }

    fn find(&self, slot: Slot) -> Option<&Held> {
        let place = *self.places.get(slot as usize)?;
        self.held.get(place as usize).filter(|held| held.slot == slot)
    }

    /// Windows that hold the term whose entries begin at `first`.
    fn windows(&self, graph: &Graph, postings: &[Posting], first: u32) -> usize {
        let holds = |slot: Option<Slot>| {
            slot.and_then(|slot| self.find(slot)).is_some_and(|held| held.last != NONE && held.last >= first)
        };
        let mut windows = postings.len();
        for &Posting { slot, .. } in postings {
            let (before, after) = (graph.previous(slot), graph.next(slot));
            // The window of a memory that does not hold it counts for the holder before it, or else for that after it.
            windows += usize::from(after.is_some() && !holds(after));
            windows += usize::from(before.is_some_and(|at| !holds(before) && !holds(graph.previous(at))));
        }
        windows
    }

    fn add_to_contexts(&mut self, text: Text<'_>, postings: &[Posting]) {
        let graph = text.graph();
        self.counts.clear(graph.contexts_end());
        let mut lone_holders = 0;
        for posting in postings {
            match graph.context_of(posting.slot) {
                Some(context) => self.counts.add(context, f64::from(posting.count)),
                None => lone_holders += 1,
            }
        }
        let contexts = text.contexts();
        let length_mean = self.length_mean * text.lexicon().memories() as f32 / contexts.max(1) as f32;
        let weight = idf(contexts, self.counts.touched().len() + lone_holders);
        self.max[2] += weight * (K1 + 1.0);
        for (context, count) in self.counts.iter() {
            let length = graph.words_of_context(context) as f32;
            self.contexts.add(context, f64::from(weight * saturation(count as f32, length, length_mean)));
        }
    }

    /// Bounds what each memory adds to a window: no more than if its words stood there alone, in a window no longer than
    /// the memory itself, as saturation is concave in the count and falls with the length.
    fn bound_windows(&mut self, graph: &Graph) {
        let ratio = |term: &Term| term.weights[1] / term.weights[0];
        let heaviest = self.looked_up.iter().map(ratio).fold(0.0, f32::max);
        let (mean, window_mean) = (self.length_mean, self.window_length_mean);
        for held in &mut self.held {
            let length = graph.words(held.slot) as f32;
            // The ratio of the two is largest at a count of 1, if it is above 1 at all.
            let longer = saturation(1.0, length, window_mean) / saturation(1.0, length, mean);
            held.in_window_max = held.own * heaviest * longer.max(1.0);
        }
    }

    /// BM25 of the cue's words in a memory.
    pub(super) fn own(&self, text: Text<'_>, slot: Slot) -> f32 {
        let length = || text.graph().words(slot) as f32;
        let common = self.common.iter().map(|term| match text.count(term, slot) {
            0 => 0.0,
            count => term.weights[0] * saturation(count as f32, length(), self.length_mean),
        });
        self.find(slot).map_or(0.0, |held| held.own) + common.sum::<f32>()
    }

    /// BM25 of the cue's words in a memory with its neighbours.
    pub(super) fn in_window(&self, text: Text<'_>, slot: Slot) -> f32 {
        let graph = text.graph();
        let window = [graph.previous(slot), Some(slot), graph.next(slot)];
        let mut last = window.map(|at| at.and_then(|at| self.find(at)).map_or(NONE, |held| held.last));
        if self.common.is_empty() && last == [NONE; 3] {
            return 0.0;
        }
        let length = window.iter().flatten().map(|&at| graph.words(at)).sum::<u32>() as f32;
        let saturated = |count: u32| saturation(count as f32, length, self.window_length_mean);
        let mut sum = 0.0;
        loop {
            let terms = last.map(|at| self.entries.get(at as usize).map(|entry| entry.term));
            let Some(term) = terms.into_iter().flatten().max() else { break };
            let mut count = 0;
            for at in &mut last {
                if let Some(entry) = self.entries.get(*at as usize).filter(|entry| entry.term == term) {
                    count += u32::from(entry.count);
                    *at = entry.before;
                }
            }
            sum += self.looked_up[usize::from(term)].weights[1] * saturated(count);
        }
        for term in &self.common {
            let count = text.count_in(term, window);
            sum += if count == 0 { 0.0 } else { term.weights[1] * saturated(count) };
        }
        sum
    }

    /// BM25 of the cue's words in a context, but for the common ones.
    pub(super) fn in_context(&self, context: HubId) -> f32 {
        self.contexts.get(context) as f32
    }

    /// Which of the cue's first 64 terms a memory holds, but for the common ones.
    pub(super) fn terms_of(&self, slot: Slot) -> u64 {
        self.find(slot).map_or(0, |held| held.terms)
    }
}

/// How much the words count in a memory, in its window and in its context, for each unit of BM25.
#[derive(Debug, Clone, Copy)]
pub(super) struct Worth {
    pub(super) own: f32,
    pub(super) window: f32,
    pub(super) context: f32,
    /// In a memory that has no neighbours.
    pub(super) alone: f32,
    /// What else may count, at most.
    pub(super) beside_max: f32,
}

/// What the search for the best works in. Reuse it to spare allocations.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// By place in `held`: a bound of the score of the memory there, and of those neighbours that hold nothing themselves.
    of_held: Vec<(u32, f32)>,
    /// Memories that were offered though nothing that was looked up stands in their window.
    unheld: Tally,
}

/// The search for the best.
struct Search<'a, F> {
    text: Text<'a>,
    most: usize,
    score: F,
    found: &'a mut Vec<(Slot, f32)>,
    /// No score below it is among the best.
    least: f32,
    /// Memories with a score.
    scored: usize,
    unheld: &'a mut Tally,
}

impl<F: Fn(Slot) -> Option<f32>> Search<'_, F> {
    fn offer(&mut self, slot: Slot) {
        let Some(score) = (self.score)(slot) else { return };
        self.scored += 1;
        if score >= self.least {
            self.found.push((slot, score));
            if self.found.len() >= 2 * self.most {
                self.keep();
            }
        }
    }

    fn is_tired(&self) -> bool {
        self.scored >= SCORED_MAX.max(2 * self.most)
    }

    fn keep(&mut self) {
        keep_best(self.found, self.most);
        if self.found.len() == self.most {
            self.least = self.found[self.most - 1].1;
        }
    }
}

impl Words {
    /// The `most` memories that the words and `score` say most of, of those that it gives a score: leaves them in `found`,
    /// best first. No other that holds a word or has a neighbour that does is better, unless it returns true: then common
    /// words may have hidden one.
    pub(super) fn best(
        &self,
        text: Text<'_>,
        worth: Worth,
        most: usize,
        score: impl Fn(Slot) -> Option<f32>,
        bounds: &mut Bounds,
        found: &mut Vec<(Slot, f32)>,
    ) -> bool {
        found.clear();
        let common =
            [0, 1].map(|at| self.common.iter().map(|term| term.weights[at] * (K1 + 1.0)).sum::<f32>());
        let besides = worth.beside_max + ROUNDING;
        let unheld = worth.own * common[0] + worth.window * common[1] + besides;
        let unheld_alone = worth.alone * common[0] + besides;
        let bound = |held: &Held| match self.windows_of(text.graph(), held) {
            None => worth.alone * held.own + unheld_alone,
            Some(windows) => {
                let context = text.graph().context_of(held.slot).map_or(0.0, |at| self.in_context(at));
                let memory = worth.own * held.own + worth.window * windows[0];
                memory.max(worth.window * windows[1]) + worth.context * context + unheld
            }
        };
        let Bounds { of_held, unheld: offered } = bounds;
        of_held.clear();
        of_held.extend((0..).zip(&self.held).map(|(place, held)| (place, bound(held))));
        offered.clear(text.state.slots_end());
        let least = f32::NEG_INFINITY;
        let mut search = Search { text, most, score, found, least, scored: 0, unheld: offered };
        let is_cut = !self.score_bounded(of_held, &mut search);
        let is_hidden = !self.common.is_empty() && {
            let is_in_contexts = self.score_contexts(worth, unheld, &mut search);
            search.keep();
            if search.found.len() < most {
                !self.score_common(&mut search)
            } else {
                !is_in_contexts || unheld.max(unheld_alone) >= search.least
            }
        };
        search.keep();
        is_cut || is_hidden
    }

    /// Bounds of what the words looked up are worth in the window of a memory, and in that of its neighbours that hold none
    /// and are not looked after by another; none where it has no neighbours.
    fn windows_of(&self, graph: &Graph, held: &Held) -> Option<[f32; 2]> {
        let (before, after) = (graph.previous(held.slot), graph.next(held.slot));
        if before.is_none() && after.is_none() {
            return None;
        }
        let of = |slot: Option<Slot>| slot.and_then(|at| self.find(at));
        let adds = |held: Option<&Held>| held.map_or(0.0, |held| held.in_window_max);
        let (held_before, held_after) = (of(before), of(after));
        let mut around = 0.0f32;
        if let (Some(at), None) = (after, held_after) {
            around = held.in_window_max + adds(of(graph.next(at)));
        }
        if held_before.is_none() && before.is_some_and(|at| of(graph.previous(at)).is_none()) {
            around = around.max(held.in_window_max);
        }
        Some([held.in_window_max + adds(held_before) + adds(held_after), around])
    }

    /// Scores memories in the order of their bounds until no other can be among the best. Returns whether it came so far.
    fn score_bounded<F: Fn(Slot) -> Option<f32>>(
        &self,
        bounds: &mut [(u32, f32)],
        search: &mut Search<'_, F>,
    ) -> bool {
        let mut rest = bounds;
        let mut turn = SCORED_FIRST.max(2 * search.most);
        while !rest.is_empty() {
            let more = rest.len() > turn;
            if more {
                rest.select_nth_unstable_by(turn, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            }
            let (now, then) = rest.split_at_mut(turn.min(rest.len()));
            for &mut (place, bound) in now {
                if bound >= search.least {
                    self.offer_with_neighbours(&self.held[place as usize], search);
                }
            }
            search.keep();
            if then.first().is_some_and(|(_, bound)| *bound < search.least) {
                return true;
            }
            if !then.is_empty() && !self.common.is_empty() && search.is_tired() {
                return false;
            }
            (rest, turn) = (then, 2 * turn);
        }
        true
    }

    fn offer_with_neighbours<F: Fn(Slot) -> Option<f32>>(&self, held: &Held, search: &mut Search<'_, F>) {
        search.offer(held.slot);
        let graph = search.text.graph();
        let holds = |slot: Slot| self.find(slot).is_some();
        if let Some(after) = graph.next(held.slot).filter(|&at| !holds(at)) {
            search.offer(after);
        }
        if let Some(before) = graph.previous(held.slot).filter(|&at| !holds(at))
            && !graph.previous(before).is_some_and(holds)
        {
            search.offer(before);
        }
    }

    /// Scores memories without words that were looked up, nor neighbours with such, of contexts that hold enough of them.
    /// Returns whether it scored all that can be among the best.
    fn score_contexts<F: Fn(Slot) -> Option<f32>>(
        &self,
        worth: Worth,
        unheld: f32,
        search: &mut Search<'_, F>,
    ) -> bool {
        let graph = search.text.graph();
        for (context, sum) in self.contexts.iter() {
            if worth.context * sum as f32 + unheld < search.least {
                continue;
            }
            for member in graph.members(context) {
                if search.is_tired() {
                    return false;
                }
                self.offer_unheld(member.slot, search);
            }
        }
        true
    }

    /// Scores those who hold common words, and their neighbours, where all that hold others were too few. Returns whether
    /// it scored all.
    fn score_common<F: Fn(Slot) -> Option<f32>>(&self, search: &mut Search<'_, F>) -> bool {
        let Text { state, .. } = search.text;
        let (lexicon, graph) = (state.lexicon(), state.graph());
        for posting in
            self.common.iter().filter_map(|term| term.id).flat_map(|id| lexicon.postings(id).iter())
        {
            if search.is_tired() {
                return false;
            }
            let slot = posting.slot;
            let window = [Some(slot), graph.previous(slot), graph.next(slot)];
            window.into_iter().flatten().for_each(|slot| self.offer_unheld(slot, search));
        }
        true
    }

    /// Offers a memory once, where nothing that was looked up stands in its window: what else there is, was offered before.
    fn offer_unheld<F: Fn(Slot) -> Option<f32>>(&self, slot: Slot, search: &mut Search<'_, F>) {
        let graph = search.text.graph();
        let holds = |slot: Option<Slot>| slot.is_some_and(|slot| self.find(slot).is_some());
        let is_held = holds(Some(slot)) || holds(graph.previous(slot)) || holds(graph.next(slot));
        if !is_held && search.unheld.find(slot).is_none() {
            search.unheld.add(slot, 1.0);
            search.offer(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::associate::Analysis;
    use crate::hnsw::HnswParams;
    use crate::id::MemoryId;
    use crate::memory::NewMemory;
    use crate::state::{Change, Embedder, SpaceSettings};
    use fastrand::Rng;

    const TERMS: [&str; 8] = ["ba", "ko", "mu", "ti", "ra", "zo", "lu", "pi"];
    const NOW: Timestamp = Timestamp(1_000_000);

    /// Memories of common and of rare words, some alone and some in contexts, among them some that are gone again.
    fn state(rng: &mut Rng) -> SpaceState {
        let mut state = SpaceState::new(HnswParams::default());
        let settings = SpaceSettings { embedder: Some(Embedder::None), ..SpaceSettings::default() };
        state.apply(1, Change::Settings(settings), None);
        for version in 2..rng.u64(20..150) {
            let id = MemoryId::new(&format!("m{}", rng.usize(..100))).unwrap();
            if rng.usize(..8) == 0 {
                state.apply(version, Change::Deleted(id), None);
                continue;
            }
            let word = |_| TERMS[rng.usize(..TERMS.len()).min(rng.usize(..TERMS.len()))];
            let words: Vec<_> = (0..6).map(word).take(1 + version as usize % 6).collect();
            let memory = NewMemory {
                content: Some(words.join(" ")),
                context: (rng.usize(..4) > 0).then(|| format!("c{}", rng.usize(..8))),
                expires_at: (rng.usize(..9) == 0).then(|| Timestamp(rng.i64(..2 * NOW.0))),
                ..NewMemory::default()
            };
            let memory = memory.complete(id, Timestamp(0));
            let analysis = Analysis::of(&memory, &settings);
            state.apply(version, Change::Stored(Box::new(memory)), Some(&analysis));
        }
        state
    }

    fn count(text: Text<'_>, slot: Slot, term: &str) -> u32 {
        let record = text.state.get(slot).filter(|_| text.is_visible(slot));
        let content = record.and_then(|record| record.facts().content()).unwrap_or("");
        content.split(' ').filter(|word| *word == term).count() as u32
    }

    /// BM25 in a memory, its window and its context, with what each could be at most, by looking at every memory.
    fn by_hand(text: Text<'_>, slot: Slot, cue: &[&str]) -> [[f32; 2]; 3] {
        let (state, graph, lexicon) = (text.state, text.graph(), text.lexicon());
        let all: Vec<Slot> =
            (0..state.slots_end() as Slot).filter(|&slot| state.get(slot).is_some()).collect();
        let window = |slot: Slot| [graph.previous(slot), Some(slot), graph.next(slot)].into_iter().flatten();
        let words = |of: &mut dyn Iterator<Item = Slot>| of.map(|slot| graph.words(slot)).sum::<u32>() as f32;
        let [memories, mean] = [lexicon.memories() as f32, lexicon.length_mean()];
        let window_mean = mean * (1.0 + 2.0 * graph.adjacent_pairs() as f32 / memories.max(1.0));
        let mut sums = [[0.0; 2]; 3];
        for term in cue {
            let holders: Vec<Slot> =
                all.iter().copied().filter(|&slot| count(text, slot, term) > 0).collect();
            let windows = all.iter().filter(|&&slot| window(slot).any(|at| holders.contains(&at))).count();
            let mut units: Vec<_> = holders.iter().map(|&slot| graph.context_of(slot).ok_or(slot)).collect();
            units.sort_unstable();
            units.dedup();
            let weights = [
                idf(lexicon.memories(), holders.len()),
                idf(lexicon.memories(), windows),
                idf(text.contexts(), units.len()),
            ];
            let members: Vec<Slot> = match graph.context_of(slot) {
                Some(context) => graph.members(context).iter().map(|member| member.slot).collect(),
                None => Vec::new(),
            };
            let counts = [vec![slot], window(slot).collect(), members.clone()]
                .map(|of| of.iter().map(|&at| count(text, at, term)).sum::<u32>() as f32);
            let lengths =
                [words(&mut [slot].into_iter()), words(&mut window(slot)), words(&mut members.into_iter())];
            let means = [mean, window_mean, mean * memories / text.contexts().max(1) as f32];
            for at in 0..3 {
                sums[at][0] += weights[at] * saturation(counts[at], lengths[at], means[at]);
                sums[at][1] += weights[at] * (K1 + 1.0);
            }
        }
        sums
    }

    fn near(a: f32, b: f32) -> bool {
        (a - b).abs() < 1e-3 * (1.0 + a.abs())
    }

    /// The best by bounds are those of scoring every memory, whatever is looked up and whatever is asked for.
    #[test]
    fn bounds_lose_nothing() {
        let (mut words, mut bounds, mut found) = (Words::default(), Bounds::default(), Vec::new());
        let (mut cut, mut pruned) = (0, 0);
        for seed in 0..400 {
            let mut rng = Rng::with_seed(seed);
            let state = state(&mut rng);
            let looked_up_max = [1, 20, usize::MAX][seed as usize % 3];
            let text = Text { state: &state, now: NOW, as_of: None, with_windows: true, looked_up_max };
            let mut cue = TERMS.to_vec();
            rng.shuffle(&mut cue);
            cue.truncate(1 + rng.usize(..5));
            let ids: Vec<_> = cue.iter().map(|term| state.lexicon().term(term)).collect();
            words.look_up(text, &ids);
            let over =
                |weight: f32, at: usize| if words.max[at] > 0.0 { weight / words.max[at] } else { 0.0 };
            let worth = Worth {
                own: over(8.5, 0),
                window: over(4.5, 1),
                context: over(4.8, 2),
                alone: over(17.8, 0),
                beside_max: 0.0,
            };
            let graph = state.graph();
            let scored = std::cell::Cell::new(0);
            let score = |slot: Slot| {
                scored.set(scored.get() + 1);
                let own = words.own(text, slot);
                let context = graph.context_of(slot).map_or(0.0, |at| words.in_context(at));
                let is_alone = graph.next(slot).is_none() && graph.previous(slot).is_none();
                let inside =
                    worth.own * own + worth.window * words.in_window(text, slot) + worth.context * context;
                (text.is_visible(slot) && !slot.is_multiple_of(7)).then_some(if is_alone {
                    worth.alone * own
                } else {
                    inside
                })
            };
            let all = (0..state.slots_end() as Slot).filter(|&slot| state.get(slot).is_some());
            let mut best: Vec<(Slot, f32)> =
                all.clone().filter_map(|slot| Some((slot, score(slot)?))).collect();
            best.retain(|(_, score)| *score > 0.0);
            let most = 1 + rng.usize(..6);
            keep_best(&mut best, most);
            let every = scored.replace(0);
            let is_cut = words.best(text, worth, most, score, &mut bounds, &mut found);
            found.retain(|(_, score)| *score > 0.0);
            // A context alone makes no candidate; what has words in its window does.
            best.retain(|(slot, _)| words.in_window(text, *slot) > 0.0 || words.own(text, *slot) > 0.0);
            found.retain(|(slot, _)| words.in_window(text, *slot) > 0.0 || words.own(text, *slot) > 0.0);
            if is_cut {
                cut += 1;
            } else if best.len() == most {
                assert_eq!(found, best, "seed {seed}");
            }
            pruned += usize::from(scored.get() < every);
            if looked_up_max == usize::MAX {
                assert!(!is_cut, "seed {seed}: all holders are known");
                for slot in all {
                    let hand = by_hand(text, slot, &cue);
                    let context = graph.context_of(slot).map_or(0.0, |at| words.in_context(at));
                    let got = [words.own(text, slot), words.in_window(text, slot), context];
                    for at in 0..3 {
                        let with = at == 0 || words.with_windows;
                        let fits = near(hand[at][0], got[at]) && near(hand[at][1], words.max[at]);
                        let applies = with && (at < 2 || graph.context_of(slot).is_some());
                        assert!(
                            !applies || fits,
                            "seed {seed}, slot {slot}: {hand:?} {got:?} {:?}",
                            words.max
                        );
                    }
                }
            }
        }
        assert!(cut < 250 && pruned > 200, "{cut} cut, {pruned} pruned");
    }

    /// Memories that stand alone, with these contents.
    fn state_of(contents: impl Iterator<Item = String>) -> SpaceState {
        let mut state = SpaceState::new(HnswParams::default());
        let settings = SpaceSettings { embedder: Some(Embedder::None), ..SpaceSettings::default() };
        state.apply(1, Change::Settings(settings), None);
        for (at, content) in contents.enumerate() {
            let memory = NewMemory { content: Some(content), ..NewMemory::default() };
            let memory = memory.complete(MemoryId::new(&format!("m{at}")).unwrap(), Timestamp(0));
            let analysis = Analysis::of(&memory, &settings);
            state.apply(2 + at as u64, Change::Stored(Box::new(memory)), Some(&analysis));
        }
        state
    }

    fn worth_alone(alone: f32) -> Worth {
        Worth { own: 0.0, window: 0.0, context: 0.0, alone, beside_max: 0.0 }
    }

    /// However few a filter lets pass, those are found that common words say most of: all, where they are fewer than asked.
    #[test]
    fn a_filter_loses_nothing() {
        let mut rng = Rng::with_seed(5);
        let memories = 6 * SCORED_MAX;
        let said =
            |rng: &mut Rng| ["ba", "ko"].map(|word| if rng.f32() < 0.3 { word } else { "mu" }).join(" ");
        let state = state_of((0..memories).map(|_| said(&mut rng)));
        let (mut words, mut bounds, mut found) = (Words::default(), Bounds::default(), Vec::new());
        let text = Text { state: &state, now: NOW, as_of: None, with_windows: true, looked_up_max: 20 };
        words.look_up(text, &["ba", "ko"].map(|term| state.lexicon().term(term)));
        assert_eq!(words.common.len(), 1);
        for (one_in, most) in [(600, 100), (600, 3), (40, 100), (7, 10)] {
            let passes = |slot: Slot| slot.is_multiple_of(one_in) && words.own(text, slot) > 0.0;
            let score = |slot: Slot| passes(slot).then(|| words.own(text, slot));
            let mut best: Vec<_> =
                (0..memories as Slot).filter_map(|slot| Some((slot, score(slot)?))).collect();
            keep_best(&mut best, most);
            let is_cut = words.best(text, worth_alone(1.0), most, score, &mut bounds, &mut found);
            assert_eq!(found.len(), best.len(), "one in {one_in}, {most} wanted");
            assert!(best.len() == most || (found == best && !is_cut), "one in {one_in}, {most} wanted");
        }
    }

    /// Of many common words only some are asked for in each memory: the others, unless very many hold them, are looked up.
    #[test]
    fn few_words_are_asked_for() {
        let said: Vec<String> = (0..3 * ASKED_MAX).map(|at| format!("word{at}")).collect();
        let state = state_of((0..9).map(|_| said.join(" ")));
        let ids: Vec<_> = said.iter().map(|term| state.lexicon().term(term)).collect();
        let mut words = Words::default();
        for (count, asked) in [(1, 0), (ASKED_MAX, ASKED_MAX - 1), (3 * ASKED_MAX, ASKED_MAX)] {
            let text = Text { state: &state, now: NOW, as_of: None, with_windows: true, looked_up_max: 1 };
            words.look_up(text, &ids[..count]);
            assert_eq!((words.looked_up.len(), words.common.len()), (count - asked, asked));
        }
    }

    #[test]
    fn room_for_very_many_words_is_not_kept() {
        let mut words = Words::default();
        words.entries.reserve_exact(3 * ENTRIES_KEPT_MAX);
        words.trim();
        assert!(words.entries.capacity() < 2 * ENTRIES_KEPT_MAX);
    }
}
