//! False memory, both ways: a word that was never studied, but that all studied words suggest, is the more active the more
//! people believe that they studied it; and a space that holds only what was studied never gives it.

use super::chart::{Axis, Chart, Mark, Series};
use super::data::{Norms, StudyList};
use super::lab::{Lab, association, id, memory};
use super::report::{Bar, Check, Finding, decimals};
use super::stats::{interval, pearson, spearman};
use crate::fault::Result;
use engram::{Cue, Link, MemoryId, NewMemory, RecallOptions, Space};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const SOURCE: &str =
    "Roediger, Watson, McDermott & Gallo 2001; associations of Nelson, McEvoy & Schreiber 1998";
/// Mass below which the engine passes nothing on; added to what reaches a lure, so that none has a logarithm of nothing.
const MASS_MIN: f64 = 1e-4;
/// Associations that a spread may visit: all.
const VISITS: usize = 5_000_000;

/// What an associate's own strength to the lure is called in a graph of words.
type Strengths = BTreeMap<(String, String), f64>;

/// Words as memories, linked as people associate them.
pub(crate) struct Words {
    pub(crate) space: Arc<Space>,
    /// Ordered.
    words: Vec<String>,
}

impl Words {
    /// Each strength is a link from the word that reminds to the one that it reminds of.
    pub(crate) fn new(lab: &Lab, name: &str, strengths: &Strengths) -> Result<Self> {
        let words: BTreeSet<&String> = strengths.keys().flat_map(|(from, to)| [from, to]).collect();
        let words: Vec<String> = words.into_iter().cloned().collect();
        let place = |word: &String| words.binary_search(word).expect("every word is among them");
        let mut links: Vec<Vec<Link>> = vec![Vec::new(); words.len()];
        for ((from, to), strength) in strengths {
            links[place(from)].push(association(place(to), *strength));
        }
        let memories: Vec<NewMemory> = words
            .iter()
            .zip(links)
            .enumerate()
            .map(|(at, (word, links))| NewMemory { links: Some(links), ..memory(at, word, word) })
            .collect();
        Ok(Self { space: lab.space(name, memories)?, words })
    }

    pub(crate) fn id(&self, word: &str) -> Option<MemoryId> {
        self.words.binary_search_by(|own| own.as_str().cmp(word)).ok().map(id)
    }
}

/// The strengths of the norms, and where they lack a pair those that the lists give.
fn strengths(lists: &[StudyList], norms: Option<&Norms>) -> Strengths {
    let mut found = Strengths::new();
    if let Some(norms) = norms {
        let word = |at: usize| norms.words[at].clone();
        found.extend(norms.pairs.iter().map(|(cue, target, share)| ((word(*cue), word(*target)), *share)));
    }
    for list in lists {
        for associate in &list.associates {
            let (word, lure) = (associate.word.clone(), list.lure.clone());
            if word == lure {
                continue;
            }
            if let Some(strength) = associate.bas.filter(|strength| *strength > 0.0) {
                found.entry((word.clone(), lure.clone())).or_insert(strength.min(1.0));
            }
            if let (None, Some(strength)) = (norms, associate.fas_usf.filter(|strength| *strength > 0.0)) {
                found.insert((lure, word), strength.min(1.0));
            }
        }
    }
    found
}

/// A list, and how active its lure is.
struct Asked<'a> {
    list: &'a StudyList,
    /// Mass that reaches the lure, 0..=1.
    reached: f64,
    /// The lure is the most active word of those that were not studied.
    is_first: bool,
}

fn ask<'a>(lab: &Lab, words: &Words, lists: &'a [StudyList]) -> Result<Vec<Asked<'a>>> {
    let ask = |list: &'a StudyList| {
        let studied: BTreeSet<&str> = list.associates.iter().map(|word| word.word.as_str()).collect();
        let seeds: Vec<MemoryId> = studied.iter().filter_map(|word| words.id(word)).collect();
        let (mut reached, mut is_first) = (0.0, false);
        if let (Some(lure), false) = (words.id(&list.lure), seeds.is_empty()) {
            let options = || RecallOptions { budget: Some(VISITS), limit: 1000, ..lab.options() };
            let active = lab.activations(&words.space, &seeds, options())?;
            let first = active.iter().find(|(id, _)| !seeds.contains(id));
            is_first = first.is_some_and(|(id, _)| *id == lure);
            // A word that no norms have would take its part of the mass nowhere: seeds share it all, whatever their number.
            reached = match active.iter().find(|(id, _)| *id == lure) {
                Some((_, activation)) => *activation,
                None => lab.activation(&words.space, &seeds, &list.lure)?,
            };
            reached *= seeds.len() as f64 / studied.len() as f64;
        }
        Ok(Asked { list, reached, is_first })
    };
    lists.iter().map(ask).collect()
}

pub(crate) fn check(lab: &Lab, lists: &[StudyList], norms: Option<&Norms>) -> Result<Check> {
    let mut check = Check::new("drm", "False memory", SOURCE);
    check.about = "Words are memories; a link leads from a word to each that it reminds people of, as strong as the share of \
        people who say so first. Where the norms lack the strength of a studied word to the lure, the lists give it. All \
        studied words are seeds of the same mass, and the engine spreads as it always does: three hops, divided by the \
        fan, links against their direction at half their weight. In ACT-R activation is the logarithm of the odds that \
        something is needed, and what is spread here are such odds; so the logarithm of what reaches the lure is compared \
        with how often people recalled it falsely. The raw mass stands beside it. In the product a space holds only what \
        was stored: its recalls must never give the lure."
        .into();
    if norms.is_none() {
        check.skipped.push(
            "spreading over the whole norms; give a FOLDER that has usf/usf_edges.tsv.gz (here: the lists' own strengths)"
                .into(),
        );
    }
    let words = Words::new(lab, "drm", &strengths(lists, norms))?;
    let asked = ask(lab, &words, lists)?;
    let people: Vec<f64> = lists.iter().map(|list| list.false_recall).collect();
    let raw: Vec<f64> = asked.iter().map(|asked| asked.reached).collect();
    let active: Vec<f64> = raw.iter().map(|reached| (reached + MASS_MIN).ln()).collect();
    let backward: Vec<f64> = lists.iter().map(StudyList::mean_bas).collect();
    let r = |model: &[f64]| pearson(model, &people).unwrap_or(f64::NAN);
    let what = format!("{} lists: r of the lure's activation with false recall", lists.len());
    check.findings.push(Finding::held(what, r(&active), Bar::AtLeast(0.6)));
    if let Some([low, high]) = interval(&active, &people, pearson) {
        let shown = format!("{} – {}", decimals(low), decimals(high));
        check.findings.push(Finding::beside("  95 % of resampled sets of lists, from", low).shown(shown));
    }
    let rank = spearman(&active, &people).unwrap_or(f64::NAN);
    check.findings.push(Finding::beside("  rank correlation", rank));
    check.findings.push(Finding::beside("  r of the raw mass", r(&raw)));
    check
        .findings
        .push(Finding::beside("  r of mean backward strength, which needs no memory", r(&backward)));
    let first = asked.iter().filter(|asked| asked.is_first).count();
    let what = "  lists whose lure is the most active of all words not studied";
    check.findings.push(Finding::beside(what, first as f64).shown(format!("{first} of {}", lists.len())));
    let (fabricated, recalls) = fabricated(lab, lists)?;
    let what = format!("lures given as stored, over {recalls} recalls of studied lists");
    check.findings.push(Finding::beside(what, fabricated as f64).shown(fabricated.to_string()));
    check.charts = vec![chart(&asked, &active, r(&active))];
    let raw = asked.iter().zip(&active).zip(&backward).map(|((asked, active), backward)| {
        json!({
            "lure": asked.list.lure, "false_recall": asked.list.false_recall, "mass": asked.reached,
            "activation": active, "mean_bas": backward, "first": asked.is_first,
        })
    });
    check.keep("lists", raw.collect::<Vec<_>>());
    Ok(check)
}

/// Hits that were never stored, or say the lure: each list in a space of its own, asked by the lure and by its words.
fn fabricated(lab: &Lab, lists: &[StudyList]) -> Result<(usize, usize)> {
    let (mut fabricated, mut recalls) = (0, 0);
    for (at, list) in lists.iter().enumerate() {
        // A list that holds its own lure has none to fabricate.
        let studied: Vec<&str> =
            list.associates.iter().map(|word| word.word.as_str()).filter(|word| *word != list.lure).collect();
        let memories = studied
            .iter()
            .enumerate()
            .map(|(at, word)| NewMemory { context: Some("studied".into()), ..memory(at, word, word) });
        let space = lab.embedding_space(&format!("studied-{at}"), memories.collect())?;
        for cue in [list.lure.clone(), format!("did you hear {}?", list.lure), studied.join(" ")] {
            recalls += 1;
            for hit in space.recall(&Cue::text(cue), &lab.options())?.hits {
                let content = hit.memory.content.unwrap_or_default();
                fabricated += usize::from(!studied.contains(&content.as_str()));
            }
        }
    }
    Ok((fabricated, recalls))
}

fn chart(asked: &[Asked<'_>], active: &[f64], r: f64) -> Chart {
    let points: Vec<(f64, f64)> =
        asked.iter().zip(active).map(|(asked, active)| (*active, asked.list.false_recall)).collect();
    let names = asked.iter().map(|asked| asked.list.lure.clone()).collect();
    let high = points.iter().map(|(_, recall)| *recall).fold(0.0, f64::max);
    Chart {
        title: format!("False recall of words that were never studied (r {})", decimals(r)),
        source: SOURCE.into(),
        x: Axis::linear(
            "activation of the lure (logarithm of the mass that reaches it)",
            active.iter().copied(),
        ),
        y: Axis::linear("people who recalled the lure (share)", [0.0, high]),
        series: vec![Series::new(format!("{} lures", asked.len()), 0, Mark::Named(names), points)],
    }
}
