//! Associations of words: whether activation that comes on other ways tells which associations are hidden.

use super::chart::{Axis, Chart, Mark, Series};
use super::data::Norms;
use super::lab::{Lab, association, id, memory};
use super::report::{Check, Finding};
use super::stats::{Draw, spearman};
use crate::commands::evaluate::score::auroc;
use crate::fault::Result;
use engram::{Condition, Field, Filter, MemoryId, NewMemory, Operand, RecallOptions, Space, Test};
use serde_json::json;
use std::collections::{HashMap, HashSet};

const SOURCE: &str = "Nelson, McEvoy & Schreiber 1998";
/// One pair in so many is hidden.
const HIDDEN_ONE_IN: usize = 10;
/// Cues that are asked, evenly over all that have something hidden.
const CUES_MAX: usize = 1000;
/// Draws of a word that people do not name at a cue, before its pair is passed over.
const DRAWS_MAX: usize = 100;
/// Associations that a spread may visit: all.
const VISITS: usize = 5_000_000;
/// Groups of hidden pairs in the plot, by how active their target is.
const GROUPS: usize = 12;

/// A hidden pair: its strength, how active its target is, and so for a word that is hidden with another cue.
struct Hidden {
    strength: f64,
    reached: f64,
    elsewhere: f64,
    /// In how many pairs its target is.
    popular: f64,
}

pub(crate) fn check(lab: &Lab, norms: Option<&Norms>) -> Result<Check> {
    let mut check = Check::new("usf", "Associations of words", SOURCE);
    let Some(norms) = norms else {
        check
            .skipped
            .push("the norms are not inside the program; give a FOLDER that has usf/usf_edges.tsv.gz".into());
        return Ok(check);
    };
    check.about = format!(
        "Words and links as above, but one pair in {HIDDEN_ONE_IN} is left out, as a fixed draw has it. From the cue of a \
         hidden pair the engine spreads over what is left. Does more reach its target than reaches the target of \
         another hidden pair (AUROC), and the more, the more people name it (rank correlation)?"
    );
    let hidden = ask(lab, norms)?;
    if hidden.is_empty() {
        check.skipped.push(format!("the {} pairs of the norms are too few to hide some", norms.pairs.len()));
        return Ok(check);
    }
    let of = |value: fn(&Hidden) -> f64| hidden.iter().map(value).collect::<Vec<f64>>();
    let (strength, reached, elsewhere) = (of(|h| h.strength), of(|h| h.reached), of(|h| h.elsewhere));
    let popular = of(|h| h.popular);
    let rho = |model: &[f64]| spearman(model, &strength).unwrap_or(f64::NAN);
    let what = format!("{} hidden pairs: AUROC against targets of other cues", hidden.len());
    check.findings = vec![
        Finding::beside(what, auroc(&reached, &elsewhere).unwrap_or(f64::NAN)),
        Finding::beside("  rank correlation of activation with people's strength", rho(&reached)),
        Finding::beside("  the same of how many cues name the target", rho(&popular)),
        Finding::beside(
            "  hidden targets that any activation reaches (share)",
            reached.iter().filter(|reached| **reached > 0.0).count() as f64 / hidden.len() as f64,
        ),
    ];
    check.charts = vec![chart(&hidden)];
    let raw = hidden.iter().map(|h| json!([h.strength, h.reached, h.elsewhere]));
    check.keep("strength_reached_elsewhere", raw.collect::<Vec<_>>());
    Ok(check)
}

fn ask(lab: &Lab, norms: &Norms) -> Result<Vec<Hidden>> {
    let mut draw = Draw::new(10);
    let is_hidden: Vec<bool> = norms.pairs.iter().map(|_| draw.below(HIDDEN_ONE_IN) == 0).collect();
    let mut popular: HashMap<usize, f64> = HashMap::new();
    let mut memories: Vec<NewMemory> =
        norms.words.iter().enumerate().map(|(at, word)| memory(at, word, word)).collect();
    let mut by_cue: Vec<(usize, Vec<(usize, f64)>)> = Vec::new();
    for ((cue, target, share), hidden) in norms.pairs.iter().zip(is_hidden) {
        if !hidden {
            *popular.entry(*target).or_default() += 1.0;
            memories[*cue].links.get_or_insert_default().push(association(*target, *share));
            continue;
        }
        match by_cue.last_mut().filter(|(own, _)| own == cue) {
            Some((_, targets)) => targets.push((*target, *share)),
            None => by_cue.push((*cue, vec![(*target, *share)])),
        }
    }
    let space = lab.space("usf", memories)?;
    let targets: Vec<usize> =
        by_cue.iter().flat_map(|(_, targets)| targets.iter().map(|(at, _)| *at)).collect();
    let known: HashSet<(usize, usize)> = norms.pairs.iter().map(|(cue, target, _)| (*cue, *target)).collect();
    let step = by_cue.len().div_ceil(CUES_MAX).max(1);
    let mut found = Vec::new();
    for (cue, own) in by_cue.iter().step_by(step) {
        let is_other = |target: &usize| *target != *cue && !known.contains(&(*cue, *target));
        let mut other = || (0..DRAWS_MAX).map(|_| targets[draw.below(targets.len())]).find(is_other);
        let pairs: Vec<(usize, f64, usize)> =
            own.iter().filter_map(|(at, share)| Some((*at, *share, other()?))).collect();
        let active = activations(lab, &space, norms, *cue, &pairs)?;
        let reached = |at: usize| active.get(&id(at)).copied().unwrap_or(0.0);
        found.extend(pairs.iter().map(|(target, strength, other)| Hidden {
            strength: *strength,
            reached: reached(*target),
            elsewhere: reached(*other),
            popular: popular.get(target).copied().unwrap_or(0.0),
        }));
    }
    Ok(found)
}

/// What reaches the targets of some pairs from a cue.
fn activations(
    lab: &Lab,
    space: &Space,
    norms: &Norms,
    cue: usize,
    pairs: &[(usize, f64, usize)],
) -> Result<HashMap<MemoryId, f64>> {
    let names = pairs.iter().flat_map(|(target, _, other)| [*target, *other]);
    let names = names.map(|at| Operand::Json(norms.words[at].as_str().into())).collect();
    let only = Condition { field: Field::Metadata(vec!["name".into()]), test: Test::In(names) };
    let filter = Filter { must: vec![only], ..Filter::default() };
    let options = RecallOptions { filter, budget: Some(VISITS), limit: 1000, ..lab.options() };
    Ok(lab.activations(space, &[id(cue)], options)?.into_iter().collect())
}

fn chart(hidden: &[Hidden]) -> Chart {
    let mut order: Vec<&Hidden> = hidden.iter().filter(|h| h.reached > 0.0).collect();
    order.sort_by(|a, b| a.reached.total_cmp(&b.reached));
    let mut points = Vec::new();
    for group in 0..GROUPS {
        let some = &order[order.len() * group / GROUPS..order.len() * (group + 1) / GROUPS];
        if !some.is_empty() {
            let mean =
                |value: fn(&Hidden) -> f64| some.iter().map(|h| value(h)).sum::<f64>() / some.len() as f64;
            // In the middle of the logarithm, which the axis shows.
            points.push((mean(|h| h.reached.ln()).exp(), mean(|h| h.strength)));
        }
    }
    Chart {
        title: "Hidden associations: human strength by activation".into(),
        source: SOURCE.into(),
        x: Axis::log(
            "activation that reaches the hidden word on other ways (logarithmic)",
            points.iter().map(|p| p.0),
        ),
        y: Axis::linear("people who name it first (share, mean)", points.iter().map(|p| p.1).chain([0.0])),
        series: vec![Series::new(
            format!("{} groups of {} pairs", points.len(), order.len() / GROUPS),
            0,
            Mark::LineAndPoints,
            points,
        )],
    }
}
