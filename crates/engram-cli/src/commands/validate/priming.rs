//! Priming: with one memory of a context in mind, its neighbours there come to mind before others.

use super::chart::{Axis, Chart, Mark, Series};
use super::data::StudyList;
use super::lab::{Lab, id, memory};
use super::report::{Bar, Check, Finding};
use super::stats::{Draw, mean};
use crate::fault::Result;
use engram::{Cue, MemoryId, NewMemory, RecallOptions, Space};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Places before and after the primed memory that are looked at.
const LAG_MAX: i64 = 5;

pub(crate) fn check(lab: &Lab, lists: &[StudyList]) -> Result<Check> {
    let mut check = Check::new("priming", "Priming", "words of the false-recall lists, as contexts");
    check.about = "Each list is a context in which its words were heard one after the other; in other contexts, in another \
        order, each word was seen. A cue that is the word alone fits both alike. With the memory before one of them in mind \
        (an id of the cue), recall must give that one first. Below: where activation from one memory goes in its context. \
        People recall what came next about twice as often as what came before (Howard & Kahana 2002)."
        .into();
    let heard = Heard::new(lab, lists)?;
    let by_lag = by_lag(lab, &heard)?;
    let at = |lag: i64| by_lag.iter().find(|(own, _)| *own == lag).map_or(0.0, |(_, activation)| *activation);
    let (forward, backward) = (at(1) + at(2), at(-1) + at(-2));
    let [primed, unprimed] = resolved(lab, &heard)?;
    check.findings = vec![
        Finding::held(
            "recalls that give the primed context's memory first (share)",
            primed,
            Bar::AtLeast(0.9),
        ),
        Finding::beside("  without the prime", unprimed),
        Finding::held(
            "activation of the next two over that of the two before",
            forward / backward,
            Bar::AtLeast(1.0),
        ),
    ];
    check.charts = vec![Chart {
        title: "Priming: activation by place in the context".into(),
        source: format!("{} contexts of words; mean over all seeds", lists.len()),
        x: Axis::counts("place after (+) or before (-) the seed", -LAG_MAX as i32, LAG_MAX as i32),
        y: Axis::linear("activation (share of the seed's)", by_lag.iter().map(|(_, activation)| *activation)),
        series: [("before", -LAG_MAX..=-1), ("after", 1..=LAG_MAX)]
            .into_iter()
            .enumerate()
            .map(|(colour, (name, lags))| {
                let points = by_lag.iter().filter(|(lag, _)| lags.contains(lag));
                let points = points.map(|(lag, activation)| (*lag as f64, *activation));
                Series::new(name, colour, Mark::LineAndPoints, points)
            })
            .collect(),
    }];
    check.keep("activation_by_lag", &by_lag);
    Ok(check)
}

/// Every word heard in one context and seen in another.
struct Heard {
    space: Arc<Space>,
    /// By place: the context, where in it, and the place of the same word in the other context.
    places: Vec<(usize, i64, usize)>,
    words: Vec<String>,
}

impl Heard {
    fn new(lab: &Lab, lists: &[StudyList]) -> Result<Self> {
        let mut known = HashSet::new();
        let mut contexts: Vec<Vec<&str>> = Vec::new();
        for list in lists {
            let words = list.associates.iter().map(|associate| associate.word.as_str());
            contexts.push(words.filter(|word| known.insert(*word)).collect());
        }
        let words: Vec<&str> = contexts.iter().flatten().copied().collect();
        let mut order: Vec<usize> = (0..words.len()).collect();
        Draw::new(3).shuffle(&mut order);
        let (mut memories, mut places) = (Vec::new(), Vec::new());
        let mut put = |context: usize, at: usize, content: String, other: usize| {
            let context_name = Some(format!("context-{context}"));
            memories.push(NewMemory { context: context_name, ..memory(memories.len(), &content, &content) });
            places.push((context, at as i64, other));
        };
        let seen_at: HashMap<usize, usize> = order.iter().enumerate().map(|(at, word)| (*word, at)).collect();
        let mut place = 0;
        for (context, own) in contexts.iter().enumerate() {
            for (at, word) in own.iter().enumerate() {
                put(context, at, format!("heard {word}"), words.len() + seen_at[&place]);
                place += 1;
            }
        }
        let size = words.len() / contexts.len();
        for (at, word) in order.iter().enumerate() {
            put(contexts.len() + at / size, at % size, format!("saw {}", words[*word]), *word);
        }
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Ok(Self { space: lab.space("priming", memories)?, places, words })
    }

    /// Memories of the contexts in which words were heard, with so many others on both sides.
    fn middles(&self, room: i64) -> impl Iterator<Item = usize> + '_ {
        let last: HashMap<usize, i64> = self.places.iter().map(|(context, at, _)| (*context, *at)).collect();
        (0..self.words.len()).filter(move |place| {
            let (context, at, _) = self.places[*place];
            at >= room && at + room <= last[&context]
        })
    }
}

/// Mean activation by place relative to the seed.
fn by_lag(lab: &Lab, heard: &Heard) -> Result<Vec<(i64, f64)>> {
    let lags: Vec<i64> = (-LAG_MAX..=LAG_MAX).filter(|lag| *lag != 0).collect();
    let mut found: Vec<Vec<f64>> = vec![Vec::new(); lags.len()];
    for seed in heard.middles(LAG_MAX) {
        let options = RecallOptions { limit: 1000, ..lab.options() };
        let active: HashMap<MemoryId, f64> =
            lab.activations(&heard.space, &[id(seed)], options)?.into_iter().collect();
        for (lag, found) in lags.iter().zip(&mut found) {
            let other = id((seed as i64 + lag) as usize);
            found.push(active.get(&other).copied().unwrap_or(0.0));
        }
    }
    Ok(lags.into_iter().zip(found).map(|(lag, found)| (lag, mean(&found).unwrap_or(0.0))).collect())
}

/// Share of recalls that give the memory first whose context is primed: with the memory before it in mind, and without.
/// Each word is asked for in both of its contexts, so that without a prime half are right.
fn resolved(lab: &Lab, heard: &Heard) -> Result<[f64; 2]> {
    let mut right = [Vec::new(), Vec::new()];
    for place in heard.middles(1) {
        let (_, _, other) = heard.places[place];
        for wanted in [place, other] {
            if heard.places[wanted].1 == 0 {
                continue;
            }
            let word = &heard.words[place];
            let cues = [Cue { ids: vec![id(wanted - 1)], ..Cue::text(word) }, Cue::text(word)];
            for (cue, right) in cues.iter().zip(&mut right) {
                let hits = lab.recall(&heard.space, cue, 1)?;
                right.push(f64::from(hits.first() == Some(&id(wanted))));
            }
        }
    }
    Ok(right.map(|right| mean(&right).unwrap_or(f64::NAN)))
}
