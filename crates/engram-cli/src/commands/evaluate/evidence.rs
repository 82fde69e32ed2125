//! The evidence behind the first hits of each cue, with what they were: what `relevance` is fitted to.

use super::ask::Asked;
use super::fit::ObservedSet;
use super::score::Wanted;
use crate::fault::Result;
use crate::files::Draft;
use engram::Evidence;
use serde::Serialize;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Asking {
    /// A cue of the space.
    Own,
    /// A cue of another one: no hit is an answer.
    Foreign,
    /// A cue of the space whose evidence is not stored: no hit is an answer.
    Removed,
}

/// A recall: the evidence of its first hits, and whether each was an answer.
#[derive(Debug, Clone)]
pub(crate) struct Observed {
    pub(crate) cue: String,
    pub(crate) asking: Asking,
    /// It was asked by vector too.
    pub(crate) by_vector: bool,
    /// None where nothing was found.
    pub(crate) hits: Vec<(Evidence, bool)>,
}

impl Observed {
    /// What a cue of the space itself brought; `None` where nothing is known to be an answer.
    pub(crate) fn own(cue: &str, asked: &Asked, by_vector: bool, wanted: &Wanted) -> Option<Self> {
        let evidence: HashSet<&str> = wanted.evidence.iter().map(String::as_str).collect();
        let is_answer = asked.ranked.ids.iter().map(|id| evidence.contains(id.as_str()));
        let hits = asked.evidence.iter().copied().zip(is_answer).collect();
        let own = Self { cue: cue.to_owned(), asking: Asking::Own, by_vector, hits };
        (!evidence.is_empty()).then_some(own)
    }

    /// What a cue without an answer brought.
    pub(crate) fn unanswered(cue: &str, asked: &Asked, by_vector: bool, asking: Asking) -> Self {
        let hits = asked.evidence.iter().map(|evidence| (*evidence, false)).collect();
        Self { cue: cue.to_owned(), asking, by_vector, hits }
    }
}

/// A line of the file: a hit.
#[derive(Serialize)]
struct Line<'a> {
    set: &'a str,
    cue: &'a str,
    asking: Asking,
    rank: usize,
    label: bool,
    by_vector: bool,
    score: f32,
    behind: f32,
    gap: f32,
    cosine: f32,
    cosine_best: f32,
    words: f32,
    words_in_window: f32,
    words_in_context: f32,
    covered: f32,
    unknown: f32,
    terms: usize,
    activation: f32,
}

/// The file in the making.
pub(crate) struct EvidenceFile {
    draft: Draft,
    file: BufWriter<File>,
}

impl EvidenceFile {
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let draft = Draft::new(path)?;
        let file = BufWriter::new(draft.file()?);
        Ok(Self { draft, file })
    }

    /// Adds what was observed with one set.
    pub(crate) fn write(&mut self, set: &ObservedSet) -> Result<()> {
        for Observed { cue, asking, hits, .. } in &set.observed {
            for (evidence, label) in hits {
                let [words, words_in_window, words_in_context] = evidence.words;
                let line = Line {
                    set: &set.name,
                    cue,
                    asking: *asking,
                    rank: evidence.rank,
                    label: *label,
                    by_vector: evidence.by_vector,
                    score: evidence.score,
                    behind: evidence.behind,
                    gap: evidence.gap,
                    cosine: evidence.cosine,
                    cosine_best: evidence.cosine_best,
                    words,
                    words_in_window,
                    words_in_context,
                    covered: evidence.covered,
                    unknown: evidence.unknown,
                    terms: evidence.terms,
                    activation: evidence.activation,
                };
                let json = serde_json::to_string(&line).expect("the fields have text names only");
                writeln!(self.file, "{json}").map_err(|error| self.draft.fault(&error))?;
            }
        }
        Ok(())
    }

    /// Gives the file its name.
    pub(crate) fn publish(self) -> Result<()> {
        let file = self.file.into_inner().map_err(|error| self.draft.fault(error.error()))?;
        self.draft.publish(&file)
    }
}
