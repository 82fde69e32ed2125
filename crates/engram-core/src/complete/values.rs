//! What the candidates say of each field, and how sure that is.
//!
//! ```text
//! certainty     = 1 / (1 + exp(3.5 - 30 (fit of the source - fit of the best that says otherwise, at least .2)))
//! vote          = certainty [is the best] + (1 - certainty) softmax(beta / 4 energy), one of fit .2 among them
//! ```
//! What only one memory can say (its content, its vector) is as sure as it is certain which memory is meant; a vector
//! between several, times the length of their mean, which is 1 where they are the same. What many
//! share (context, metadata, names, time, kind) is voted on: the best counts as far as it is certain to be meant, and for
//! the rest memories that are alike are taken to have alike fields. What goes to the one of fit .2, which stands for
//! memories unlike any here, is nobody's vote: few and poor candidates are not sure however much they agree.

use super::candidates::{Candidates, are_equal, names_of, nearness, weights};
use super::settle::{Settled, are_same};
use super::{
    Alternative, Blank, CompleteOptions, Completed, CompletedField, CompletedValue, Completion, Pattern,
    known_numbers, pieces,
};
use crate::Slot;
use crate::state::SpaceState;
use crate::vector::unit;
use std::collections::BTreeSet;

/// How certain it is that a candidate is meant, by how far the next lies behind it: log-odds. Chosen on LoCoMo's and
/// WordNet's memories with words or numbers missing or wrong, half of which were not stored (bench/README.md).
const CERTAINTY_OF_MARGIN: f64 = 30.0;
const CERTAINTY_OF_NONE: f64 = -3.5;
/// Votes are wider than what settles a vector: memories that share a field are less alike than a memory and its own
/// noisy vector. At a quarter, which is 16, the share of the votes came nearest to how often they were right.
const BETA_OF_VOTES: f32 = 0.25;
/// The fit of the candidate that stands for what is like no memory here.
const FIT_OF_NONE: f32 = 0.2;
/// Sources named for a field.
const SOURCES_MAX: usize = 10;
/// A source with less of the vote is not named beside others.
const SOURCE_VOTE_MIN: f64 = 0.01;
/// Below, a value is more likely wrong than right; names and fields that are less likely than this are left out.
const LIKELY: f64 = 0.5;

/// The candidates with their votes.
pub(super) struct Ballot<'a> {
    state: &'a SpaceState,
    pattern: &'a Pattern,
    candidates: &'a Candidates<'a>,
    settled: Option<Settled>,
    /// The candidate that is meant, as far as one is: where a given vector settled, otherwise of the highest energy.
    best: Option<usize>,
    /// By candidate; with what is nobody's they sum to 1.
    votes: Vec<f64>,
}

/// A field on its way, before it is known who holds it.
struct Found {
    value: CompletedValue,
    confidence: f64,
    sources: Vec<usize>,
}

impl<'a> Ballot<'a> {
    pub(super) fn new(
        state: &'a SpaceState,
        pattern: &'a Pattern,
        candidates: &'a Candidates<'a>,
        settled: Option<Settled>,
        options: &CompleteOptions,
    ) -> Self {
        let best = match (&settled, &pattern.embedding) {
            (Some(settled), Blank::Given(_)) => settled.sources.first().copied(),
            _ => (!candidates.all.is_empty()).then_some(0),
        };
        let mut ballot = Self { state, pattern, candidates, settled, best, votes: Vec::new() };
        let Some(best) = best else { return ballot };
        let content = candidates.content(best);
        let certainty =
            ballot.certainty(|at| at == best || (content.is_some() && candidates.content(at) == content));
        let energies = candidates.all.iter().map(|candidate| candidate.energy);
        let none = std::iter::once(FIT_OF_NONE * candidates.energy_max);
        ballot.votes = weights(energies.chain(none), options.beta * BETA_OF_VOTES);
        ballot.votes.truncate(candidates.all.len());
        ballot.votes.iter_mut().for_each(|vote| *vote *= 1.0 - certainty);
        ballot.votes[best] += certainty;
        ballot
    }

    pub(super) fn completion(self, limit: usize) -> Completion {
        let (mut completed, mut is_likely) = (Vec::new(), false);
        for field in self.fields() {
            let given = self.as_given(&field);
            let (found, is_given) = match (given, self.found(&field)) {
                (Some(given), Some(found)) if self.is_unchanged(&field) => {
                    is_likely |= found.confidence >= LIKELY;
                    (Found { value: given, confidence: 1.0, ..found }, true)
                }
                (_, Some(found)) => {
                    is_likely |= found.confidence >= LIKELY;
                    (found, false)
                }
                // A gap that nothing fills.
                (Some(CompletedValue::Text(text)), None)
                    if field == CompletedField::Content && !pieces(&text).is_empty() =>
                {
                    (Found { value: CompletedValue::Nothing, confidence: 0.0, sources: vec![] }, false)
                }
                (Some(value), None) => {
                    (Found { sources: self.agreeing(&field), value, confidence: 1.0 }, true)
                }
                (None, None) => {
                    (Found { value: CompletedValue::Nothing, confidence: 0.0, sources: vec![] }, false)
                }
            };
            let sources = self.slots(&found.sources);
            let confidence = found.confidence as f32;
            completed.push(Completed { field, value: found.value, given: is_given, confidence, sources });
        }
        let alternatives = self.alternatives(&completed, limit);
        Completion { completed, alternatives, abstain: !is_likely }
    }

    /// What the pattern names, given or wanted.
    fn fields(&self) -> BTreeSet<CompletedField> {
        let Pattern { content, embedding, context, occurred_at, entities, metadata, kind } = self.pattern;
        let mut fields = BTreeSet::new();
        fields.extend((*content != Blank::Absent).then_some(CompletedField::Content));
        fields.extend((*embedding != Blank::Absent).then_some(CompletedField::Embedding));
        fields.extend((*context != Blank::Absent).then_some(CompletedField::Context));
        fields.extend((*occurred_at != Blank::Absent).then_some(CompletedField::OccurredAt));
        fields.extend((*entities != Blank::Absent).then_some(CompletedField::Entities));
        fields.extend((*kind != Blank::Absent).then_some(CompletedField::Kind));
        let keys = metadata.given().into_iter().flat_map(|fields| fields.keys());
        fields.extend(keys.map(|key| CompletedField::Metadata(key.clone())));
        if metadata.is_wanted() {
            fields.extend(self.keys().into_iter().map(CompletedField::Metadata));
        }
        fields
    }

    /// Metadata that what is meant more likely has than not.
    fn keys(&self) -> Vec<String> {
        let voting = (0..self.votes.len()).filter(|&at| self.votes[at] >= SOURCE_VOTE_MIN);
        let keys: BTreeSet<&String> =
            voting.flat_map(|at| self.candidates.facts(at).metadata().keys()).collect();
        let share = |key: &str| -> f64 {
            let holds = |at: &usize| self.candidates.facts(*at).metadata().contains_key(key);
            (0..self.votes.len()).filter(holds).map(|at| self.votes[at]).sum()
        };
        keys.into_iter().filter(|key| share(key) >= LIKELY).cloned().collect()
    }

    /// The value that the caller gave, if any; of a vector only where no number is missing.
    fn as_given(&self, field: &CompletedField) -> Option<CompletedValue> {
        let pattern = self.pattern;
        match field {
            CompletedField::Content => pattern.content.given().cloned().map(CompletedValue::Text),
            CompletedField::Embedding => {
                let numbers = pattern.embedding.given()?;
                numbers.iter().copied().collect::<Option<Vec<f32>>>().map(CompletedValue::Numbers)
            }
            CompletedField::Context => pattern.context.given().cloned().map(CompletedValue::Text),
            CompletedField::OccurredAt => pattern.occurred_at.given().copied().map(CompletedValue::Time),
            CompletedField::Entities => pattern.entities.given().cloned().map(CompletedValue::Names),
            CompletedField::Metadata(key) => {
                let value = pattern.metadata.given()?.get(key)?;
                (!value.is_null()).then(|| CompletedValue::Json(value.clone()))
            }
            CompletedField::Kind => pattern.kind.given().copied().map(CompletedValue::Kind),
        }
    }

    /// Whether what was found of a vector is what was given.
    fn is_unchanged(&self, field: &CompletedField) -> bool {
        let (CompletedField::Embedding, Some(settled)) = (field, &self.settled) else { return false };
        let given = self.pattern.embedding.given();
        given.is_some_and(|numbers| are_same(&unit(&known_numbers(numbers)), &settled.unit))
    }

    /// The reconstructed value of a field; none where it is given without a gap, or no candidate tells.
    fn found(&self, field: &CompletedField) -> Option<Found> {
        self.best?;
        match field {
            CompletedField::Content => match self.pattern.content.given() {
                Some(content) => self.gap_filled(content),
                None => self.content(),
            },
            CompletedField::Embedding => self.vector(),
            field if self.as_given(field).is_some() => None,
            CompletedField::OccurredAt => Some(self.time()),
            CompletedField::Entities => Some(self.names()),
            field => Some(self.voted(field)),
        }
    }

    /// How sure it is that one of the candidates that `is_meant` picks is meant, and none of the others.
    fn certainty(&self, is_meant: impl Fn(usize) -> bool) -> f64 {
        let (mut meant, mut other) = (0.0f32, FIT_OF_NONE);
        for (at, candidate) in self.candidates.all.iter().enumerate() {
            let best = if is_meant(at) { &mut meant } else { &mut other };
            *best = best.max(self.candidates.fit(candidate));
        }
        certainty_at(meant - other)
    }

    /// The content of the best, as it stands.
    fn content(&self) -> Option<Found> {
        let content = self.candidates.content(self.best?);
        let holds = |at: usize| self.candidates.content(at) == content;
        let sources = (0..self.votes.len()).filter(|&at| holds(at)).collect();
        let value =
            content.map_or(CompletedValue::Nothing, |content| CompletedValue::Text(content.to_string()));
        Some(Found { value, confidence: self.certainty(holds), sources })
    }

    /// The content of the first that holds all pieces of one with gaps.
    fn gap_filled(&self, content: &str) -> Option<Found> {
        let pieces: Vec<String> = pieces(content).into_iter().map(folded).collect();
        if pieces.is_empty() {
            return None;
        }
        let text = |at: usize| self.candidates.content(at);
        let holding: Vec<usize> = (0..self.votes.len())
            .filter(|&at| text(at).is_some_and(|text| holds_in_order(&folded(text), &pieces)))
            .collect();
        let first = *holding.iter().find(|&&at| Some(at) == self.best).or(holding.first())?;
        // A memory that does not hold the pieces cannot be meant.
        let fit = |at: &usize| self.candidates.fit(&self.candidates.all[*at]);
        let others = holding.iter().filter(|&&at| text(at) != text(first));
        let margin = fit(&first) - others.map(fit).fold(0.0, f32::max);
        let confidence = certainty_at(margin);
        let sources = holding.iter().copied().filter(|&at| text(at) == text(first)).collect();
        let value = CompletedValue::Text(text(first)?.to_string());
        Some(Found { value, confidence, sources })
    }

    fn vector(&self) -> Option<Found> {
        let settled = self.settled.as_ref()?;
        let confidence = settled.unity * self.certainty(|at| settled.sources.contains(&at));
        let value = CompletedValue::Numbers(settled.numbers.clone());
        Some(Found { value, confidence, sources: settled.sources.clone() })
    }

    /// The value with most votes; of equals that of the better candidate.
    fn voted(&self, field: &CompletedField) -> Found {
        let mut values: Vec<(CompletedValue, f64)> = Vec::new();
        for (at, vote) in self.votes.iter().enumerate() {
            let own = self.value_of(field, at);
            match values.iter_mut().find(|(value, _)| is_same_value(value, &own)) {
                Some((_, votes)) => *votes += vote,
                None => values.push((own, *vote)),
            }
        }
        let won = values.into_iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
        let (value, confidence) = won.expect("who is asked has candidates");
        let sources = self.voting(|at| is_same_value(&self.value_of(field, at), &value));
        Found { value, confidence, sources }
    }

    /// The time that half of the votes lie before, and how many lie within a day of it.
    fn time(&self) -> Found {
        let at = |candidate: usize| self.candidates.facts(candidate).occurred_at;
        let mut order: Vec<usize> = (0..self.votes.len()).collect();
        order.sort_by_key(|&candidate| at(candidate));
        let (mut before, all) = (0.0, self.votes.iter().sum::<f64>());
        let middle = order.iter().find(|&&candidate| {
            before += self.votes[candidate];
            before >= 0.5 * all
        });
        let time = at(*middle.or(order.last()).expect("who is asked has candidates"));
        let is_near = |candidate: usize| nearness(at(candidate), time) >= 0.5;
        let near: f64 = (0..self.votes.len()).filter(|&c| is_near(c)).map(|c| self.votes[c]).sum();
        Found { value: CompletedValue::Time(time), confidence: near, sources: self.voting(is_near) }
    }

    /// The names that are more likely mentioned than not, as sure as the least sure of them.
    fn names(&self) -> Found {
        let mut votes: std::collections::BTreeMap<&str, f64> = std::collections::BTreeMap::new();
        for (at, vote) in self.votes.iter().enumerate() {
            names_of(self.state, self.candidates.all[at].slot)
                .for_each(|name| *votes.entry(name).or_default() += vote);
        }
        let is_likely = |vote: &f64| *vote >= LIKELY;
        let names: Vec<&str> =
            votes.iter().filter(|(_, vote)| is_likely(vote)).map(|(name, _)| *name).collect();
        let all: f64 = self.votes.iter().sum();
        let likely: std::collections::HashSet<&str> = names.iter().copied().collect();
        let sure = |vote: &f64| if is_likely(vote) { *vote } else { all - vote };
        let least = votes.values().map(sure).fold(all, f64::min);
        let mentions = |at: usize| {
            let mut own = names_of(self.state, self.candidates.all[at].slot).peekable();
            if names.is_empty() { own.peek().is_none() } else { own.any(|name| likely.contains(name)) }
        };
        let sources = self.voting(mentions);
        let value = CompletedValue::Names(names.iter().map(|name| (*name).to_owned()).collect());
        Found { value, confidence: least, sources }
    }

    /// Candidates that hold a value, those with most votes first.
    fn voting(&self, holds: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut holding: Vec<usize> = (0..self.votes.len()).filter(|&at| holds(at)).collect();
        holding.sort_by(|&a, &b| self.votes[b].total_cmp(&self.votes[a]).then(a.cmp(&b)));
        let named = holding.iter().take_while(|&&at| self.votes[at] >= SOURCE_VOTE_MIN).count();
        holding.truncate(named.max(1));
        holding
    }

    /// Candidates that have what was given.
    fn agreeing(&self, field: &CompletedField) -> Vec<usize> {
        let Some(given) = self.as_given(field) else { return Vec::new() };
        let given_text = match &given {
            CompletedValue::Text(text) => folded(text),
            _ => String::new(),
        };
        let agrees = |at: &usize| match (&given, self.value_of(field, *at)) {
            (CompletedValue::Text(_), CompletedValue::Text(own)) if *field == CompletedField::Content => {
                folded(&own).contains(&given_text)
            }
            (CompletedValue::Time(given), CompletedValue::Time(own)) => nearness(*given, own) >= 0.5,
            (CompletedValue::Names(given), CompletedValue::Names(own)) => {
                given.iter().all(|name| own.contains(&String::from(crate::associate::folded(name))))
            }
            (given, own) => is_same_value(given, &own),
        };
        (0..self.votes.len()).filter(agrees).collect()
    }

    /// What a candidate has in a field.
    fn value_of(&self, field: &CompletedField, at: usize) -> CompletedValue {
        let (facts, slot) = (self.candidates.facts(at), self.candidates.all[at].slot);
        let or_nothing = |value: Option<CompletedValue>| value.unwrap_or(CompletedValue::Nothing);
        match field {
            CompletedField::Content => {
                let content = self.candidates.content(at);
                or_nothing(content.map(|content| CompletedValue::Text(content.to_string())))
            }
            CompletedField::Embedding => {
                or_nothing(self.state.row(slot).map(|row| CompletedValue::Numbers(row.to_vec())))
            }
            CompletedField::Context => {
                or_nothing(facts.context().map(|name| CompletedValue::Text(name.to_string())))
            }
            CompletedField::OccurredAt => CompletedValue::Time(facts.occurred_at),
            CompletedField::Entities => {
                CompletedValue::Names(names_of(self.state, slot).map(|name| name.to_string()).collect())
            }
            CompletedField::Metadata(key) => {
                let value = facts.metadata().get(key).filter(|value| !value.is_null());
                or_nothing(value.cloned().map(CompletedValue::Json))
            }
            CompletedField::Kind => CompletedValue::Kind(facts.kind),
        }
    }

    /// The next candidates that have other values in what was reconstructed, each than all before.
    fn alternatives(&self, completed: &[Completed], limit: usize) -> Vec<Alternative> {
        let wanted: Vec<&Completed> = completed.iter().filter(|one| !one.given).collect();
        let mut known: Vec<Vec<CompletedValue>> = vec![wanted.iter().map(|one| one.value.clone()).collect()];
        let mut alternatives = Vec::new();
        let gaps = self.pattern.content.given().map_or(Vec::new(), |content| pieces(content));
        let gaps: Vec<String> = gaps.into_iter().map(folded).collect();
        for (at, candidate) in self.candidates.all.iter().enumerate() {
            let fit = self.candidates.fit(candidate);
            if alternatives.len() >= limit || wanted.is_empty() || fit < FIT_OF_NONE {
                break;
            }
            let content = self.candidates.content(at).unwrap_or("");
            let values: Vec<_> = wanted.iter().map(|one| self.value_of(&one.field, at)).collect();
            if Some(at) == self.best || known.contains(&values) || !holds_in_order(&folded(content), &gaps) {
                continue;
            }
            let fields = wanted.iter().map(|one| one.field.clone()).zip(values.iter().cloned()).collect();
            known.push(values);
            alternatives.push(Alternative {
                slot: candidate.slot,
                fit: self.candidates.fit(candidate),
                fields,
            });
        }
        alternatives
    }

    fn slots(&self, sources: &[usize]) -> Vec<Slot> {
        sources.iter().take(SOURCES_MAX).map(|&at| self.candidates.all[at].slot).collect()
    }
}

fn is_same_value(a: &CompletedValue, b: &CompletedValue) -> bool {
    match (a, b) {
        (CompletedValue::Json(a), CompletedValue::Json(b)) => are_equal(a, b),
        (a, b) => a == b,
    }
}

/// The probability of being meant that a margin in fit gives.
fn certainty_at(margin: f32) -> f64 {
    let log_odds = CERTAINTY_OF_NONE + CERTAINTY_OF_MARGIN * f64::from(margin);
    1.0 / (1.0 + (-log_odds).exp())
}

/// A text as it is searched: lower case, single spaces.
fn folded(text: &str) -> String {
    text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// Whether a text holds the pieces one after the other.
fn holds_in_order(text: &str, pieces: &[String]) -> bool {
    let mut rest = text;
    pieces.iter().all(|piece| match rest.split_once(piece.as_str()) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}
