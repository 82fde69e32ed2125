//! The fan effect: the more sentences a person or place is in, the longer it takes to know one of them again. Sentences are
//! stored as people studied them; how many hold a name is read from the graph.

use super::chart::{Axis, Chart, Mark, Series};
use super::lab::{Lab, id, memory};
use super::report::{Bar, Check, Finding};
use super::stats::{mean_deviation, pearson};
use crate::fault::Result;
use engram::{MemoryId, NewMemory, Space, actr};
use serde_json::json;
use std::collections::BTreeSet;

const SOURCE: &str = "Anderson 1974; study set and parameters of ACT-R's tutorial, unit 5";
/// What was studied: who is where.
const STUDIED: [(&str, &str); 13] = [
    ("hippie", "park"),
    ("hippie", "church"),
    ("hippie", "bank"),
    ("captain", "park"),
    ("captain", "cave"),
    ("debutante", "bank"),
    ("fireman", "park"),
    ("giant", "beach"),
    ("giant", "castle"),
    ("giant", "dungeon"),
    ("earl", "castle"),
    ("earl", "forest"),
    ("lawyer", "store"),
];
/// What was asked, and seconds until people answered: nine that were studied, nine that were not.
const PROBES: [(&str, &str, f64); 18] = [
    ("lawyer", "store", 1.11),
    ("captain", "cave", 1.17),
    ("hippie", "church", 1.22),
    ("debutante", "bank", 1.17),
    ("earl", "castle", 1.20),
    ("hippie", "bank", 1.22),
    ("fireman", "park", 1.15),
    ("captain", "park", 1.23),
    ("hippie", "park", 1.36),
    ("fireman", "store", 1.20),
    ("captain", "store", 1.22),
    ("giant", "store", 1.26),
    ("fireman", "bank", 1.25),
    ("captain", "bank", 1.36),
    ("giant", "bank", 1.29),
    ("lawyer", "park", 1.26),
    ("earl", "park", 1.47),
    ("giant", "park", 1.47),
];
/// `:mas`, `:lf`, seconds for all but retrieval, and the attention of each of two sources.
const STRONGEST: f64 = 1.6;
const LATENCY_FACTOR: f64 = 0.63;
const OTHER_SECONDS: f64 = 0.85;
const ATTENTION: f64 = 0.5;

/// A probe, and what is said of it.
struct Probe {
    person: &'static str,
    place: &'static str,
    studied: bool,
    /// Sentences that the person and the place are in.
    fans: (usize, usize),
    people: f64,
    /// By ACT-R's equations on the graph's fans.
    seconds: f64,
    /// Inverse of the engine's own activation: what latency grows with.
    resistance: f64,
}

/// The study set: each sentence a memory, and each person and place one of its own, as in ACT-R's model.
struct Study {
    space: std::sync::Arc<Space>,
    words: Vec<&'static str>,
}

impl Study {
    fn new(lab: &Lab) -> Result<Self> {
        let words: BTreeSet<&str> = STUDIED.into_iter().flat_map(|(person, place)| [person, place]).collect();
        let words: Vec<&str> = words.into_iter().collect();
        let mut memories: Vec<NewMemory> = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let entities = Some(vec![(*word).to_owned()]);
            memories.push(NewMemory { entities, ..memory(at, word, word) });
        }
        for (person, place) in STUDIED {
            let sentence = sentence(person, place);
            let entities = Some(vec![person.to_owned(), place.to_owned()]);
            memories.push(NewMemory { entities, ..memory(memories.len(), &sentence, &sentence) });
        }
        Ok(Self { space: lab.space("fan", memories)?, words })
    }

    /// Memories that hold a word: those of the sentences, and its own.
    fn holders(&self, word: &str) -> usize {
        self.space.mentions(word)
    }

    fn id(&self, word: &str) -> MemoryId {
        id(self.words.binary_search(&word).expect("persons and places were stored"))
    }

    fn association(&self, word: &str) -> f64 {
        ATTENTION * actr::association(STRONGEST, self.holders(word))
    }

    /// Seconds by ACT-R's equations. What was not studied is told by recalling a sentence with the same person, or one with
    /// the same place, either half of the time: only one source reaches it.
    fn seconds(&self, person: &str, place: &str, studied: bool) -> f64 {
        let after = |activation: f64| OTHER_SECONDS + actr::latency(activation, LATENCY_FACTOR);
        let (by_person, by_place) = (self.association(person), self.association(place));
        if studied { after(by_person + by_place) } else { f64::midpoint(after(by_person), after(by_place)) }
    }

    /// Inverse of the engine's activation of the sentence that answers.
    fn resistance(&self, lab: &Lab, person: &str, place: &str, studied: bool) -> Result<f64> {
        let reached = |sources: &[&str], sentence: &str| -> Result<f64> {
            let seeds: Vec<MemoryId> = sources.iter().map(|word| self.id(word)).collect();
            let activation = lab.activation(&self.space, &seeds, sentence)?;
            Ok(activation * ATTENTION * seeds.len() as f64)
        };
        if studied {
            return Ok(1.0 / reached(&[person, place], &sentence(person, place))?);
        }
        let best = |word: &str| -> Result<f64> {
            let with = STUDIED.into_iter().filter(|(person, place)| [*person, *place].contains(&word));
            let mut best: f64 = 0.0;
            for (person, place) in with {
                best = best.max(reached(&[word], &sentence(person, place))?);
            }
            Ok(best)
        };
        Ok(f64::midpoint(1.0 / best(person)?, 1.0 / best(place)?))
    }
}

fn sentence(person: &str, place: &str) -> String {
    format!("The {person} is in the {place}")
}

pub(crate) fn check(lab: &Lab) -> Result<Check> {
    let mut check = Check::new("fan", "Fan effect", SOURCE);
    check.about = "Sentences such as \"The hippie is in the park\" are stored with their person and place as names, beside a \
        memory of each person and place. How many memories hold a name, itself included, is read from the graph and goes \
        into ACT-R's latency: T = .85 s + .63 s e^-A, A = sum .5 (1.6 - ln fan). Below that, the engine's own spreading \
        over the same graph from the person and the place, no parameter: r of the inverse of what reaches the sentence."
        .into();
    let study = Study::new(lab)?;
    let mut probes = Vec::new();
    for (person, place, people) in PROBES {
        let studied = STUDIED.contains(&(person, place));
        probes.push(Probe {
            person,
            place,
            studied,
            fans: (study.holders(person) - 1, study.holders(place) - 1),
            people,
            seconds: study.seconds(person, place, studied),
            resistance: study.resistance(lab, person, place, studied)?,
        });
    }
    let people: Vec<f64> = probes.iter().map(|probe| probe.people).collect();
    let seconds: Vec<f64> = probes.iter().map(|probe| probe.seconds).collect();
    let resistance: Vec<f64> = probes.iter().map(|probe| probe.resistance).collect();
    let r = |model: &[f64]| pearson(model, &people).unwrap_or(f64::NAN);
    check.findings = vec![
        Finding::held("ACT-R on the graph's fans: r with people's seconds", r(&seconds), Bar::AtLeast(0.85)),
        Finding::held("  mean deviation, s", mean_deviation(&seconds, &people), Bar::AtMost(0.05)),
        Finding::held(
            "the engine's spreading: share of fan steps that lower it",
            falling(&probes),
            Bar::AtLeast(1.0),
        ),
        Finding::beside("  r of its inverse with people's seconds", r(&resistance)),
    ];
    check.charts = vec![chart(&probes)];
    let raw = probes.iter().map(|probe| {
        json!({
            "person": probe.person, "place": probe.place, "studied": probe.studied, "fans": probe.fans,
            "people_s": probe.people, "actr_s": probe.seconds, "inverse_of_activation": probe.resistance,
        })
    });
    check.keep("probes", raw.collect::<Vec<_>>());
    Ok(check)
}

/// Of the pairs of studied sentences of which one has no smaller fan in either and a larger one in some: how many have
/// less activation.
fn falling(probes: &[Probe]) -> f64 {
    let (mut falls, mut steps) = (0.0, 0.0);
    let studied: Vec<&Probe> = probes.iter().filter(|probe| probe.studied).collect();
    for a in &studied {
        for b in &studied {
            if a.fans != b.fans && a.fans.0 <= b.fans.0 && a.fans.1 <= b.fans.1 {
                steps += 1.0;
                falls += f64::from(a.resistance < b.resistance);
            }
        }
    }
    falls / steps
}

fn chart(probes: &[Probe]) -> Chart {
    let mut series = Vec::new();
    let kinds = [(true, "studied", 0), (false, "not studied", 1)];
    for (studied, name, colour) in kinds {
        let of = |value: fn(&Probe) -> f64| -> Vec<(f64, f64)> {
            let mut sums: Vec<(usize, f64, f64)> = Vec::new();
            for probe in probes.iter().filter(|probe| probe.studied == studied) {
                let fan = probe.fans.0 + probe.fans.1;
                match sums.iter_mut().find(|(own, ..)| *own == fan) {
                    Some((_, sum, count)) => {
                        *sum += value(probe);
                        *count += 1.0;
                    }
                    None => sums.push((fan, value(probe), 1.0)),
                }
            }
            sums.sort_by_key(|(fan, ..)| *fan);
            sums.into_iter().map(|(fan, sum, count)| (fan as f64, sum / count)).collect()
        };
        series.push(Series::new(
            format!("{name}: ACT-R on the graph"),
            colour,
            Mark::Line,
            of(|probe| probe.seconds),
        ));
        series.push(Series::new(format!("{name}: people"), colour, Mark::Points, of(|probe| probe.people)));
    }
    let all = || probes.iter().flat_map(|probe| [probe.seconds, probe.people]);
    Chart {
        title: "Fan effect: time to answer".into(),
        source: SOURCE.into(),
        x: Axis::counts("sentences with the person and with the place (sum)", 2, 6),
        y: Axis::linear("time to answer (s)", all()),
        series,
    }
}
