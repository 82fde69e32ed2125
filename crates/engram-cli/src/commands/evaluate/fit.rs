//! Fits `relevance` to what was observed: a logistic regression by iteratively reweighted least squares with a small
//! ridge. Every set weighs the same. Hits of cues that have no answer count as well, as hits that are none, so that
//! the first hit's relevance tells such cues; then scale and bias are fitted once more to cues that have an answer
//! alone, which changes no order, so that relevance says how often those are right. Prints what to paste into
//! `calibrate.rs`. The same observations give the same constants.

use super::evidence::{Asking, Observed};
use super::report::share;
use super::score::{auroc, calibration};
use crate::fault::{Result, failed};
use crate::screen::{Screen, faint, grouped, strong};
use engram::calibrate::{FEATURE_NAMES, FEATURES, features};

/// What all hits of foreign cues, and of cues whose evidence was taken out, weigh beside those of a set's own cues.
/// Tried were 0 to 2: more separates unknown cues better and known hits worse.
const FOREIGN_WEIGHT: f64 = 0.5;
const REMOVED_WEIGHT: f64 = 0.1;
/// Of a feature in standard deviations, for a weight of 1 in all. Only keeps what is constant or double at rest.
const RIDGE: f64 = 1e-3;
const STEPS_MAX: usize = 50;
const STEP_MIN: f64 = 1e-9;
/// Share of the cues that have an answer that may be abstained on: it sets the threshold.
const ABSTAINED_SHARE: f64 = 0.05;

type Point = [f64; FEATURES];

/// A hit as the regression sees it.
struct Sample {
    point: Point,
    is_answer: bool,
    weight: f64,
}

/// What was observed with one set.
pub(crate) struct ObservedSet {
    pub(crate) name: String,
    pub(crate) observed: Vec<Observed>,
}

/// How the relevance of a model does on one set.
struct Outcome {
    error: f64,
    resolution: f64,
    foreign: Option<f64>,
    removed: Option<f64>,
}

/// Fits to cues with vectors and to cues without, as far as there are any, and shows how well it went.
pub(crate) fn fit_all(screen: &mut Screen, sets: &[ObservedSet]) -> Result<()> {
    for (constant, by_vector) in [("BY_VECTOR", true), ("BY_WORDS", false)] {
        let chosen = |set: &ObservedSet| {
            let of_kind = set.observed.iter().filter(|observed| observed.by_vector == by_vector);
            let observed: Vec<Observed> = of_kind.cloned().collect();
            (!observed.is_empty()).then(|| ObservedSet { name: set.name.clone(), observed })
        };
        let sets: Vec<ObservedSet> = sets.iter().filter_map(chosen).collect();
        if !sets.is_empty() {
            show_fit(screen, constant, &sets.iter().collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

fn show_fit(screen: &mut Screen, constant: &str, sets: &[&ObservedSet]) -> Result<()> {
    let model = fit(sets)?;
    let threshold = threshold(&model, sets);
    let hits: usize = sets.iter().flat_map(|set| &set.observed).map(|observed| observed.hits.len()).sum();
    screen.line("")?;
    let told = format!("relevance, fitted to {} hits of {} sets", grouped(hits as u64), sets.len());
    screen.line(format_args!("{}  {}", strong().apply_to(constant), faint().apply_to(told)))?;
    let head = format!(
        "  {:16}{:>8}{:>12}{:>9}{:>9}{:>10}{:>9}{:>9}{:>9}",
        "", "ECE", "resolution", "foreign", "removed", "left out:", "ECE", "foreign", "removed"
    );
    screen.line(faint().apply_to(head))?;
    let mut without_one = Vec::new();
    for (at, set) in sets.iter().enumerate() {
        let found = judge(&model, set);
        let others: Vec<&ObservedSet> =
            sets.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, set)| *set).collect();
        // Fitted to the other sets, so that this one is new to it.
        without_one.extend((!others.is_empty()).then(|| fit(&others)).transpose()?);
        let left_out = without_one.get(at).map(|model| judge(model, set));
        screen.line(format_args!(
            "  {:16}{:>8}{:>12}{:>9}{:>9}{:>10}{:>9}{:>9}{:>9}",
            set.name,
            share(found.error),
            share(found.resolution),
            shown(found.foreign),
            shown(found.removed),
            "",
            shown(left_out.as_ref().map(|l| l.error)),
            shown(left_out.as_ref().and_then(|l| l.foreign)),
            shown(left_out.as_ref().and_then(|l| l.removed)),
        ))?;
    }
    show_abstained(screen, &model, threshold, sets)?;
    show_constants(screen, constant, &model, &without_one, threshold)
}

/// What share of the cues of each kind has no hit above the threshold.
fn show_abstained(screen: &mut Screen, model: &Point, threshold: f64, sets: &[&ObservedSet]) -> Result<()> {
    screen.line("")?;
    let head = format!("  {:16}{:>8}{:>12}{:>9}", "abstained on", "own", "foreign", "removed");
    screen.line(faint().apply_to(head))?;
    for set in sets {
        let [own, foreign, removed] = [Asking::Own, Asking::Foreign, Asking::Removed].map(|asking| {
            let best = best_of(model, set, asking);
            let below = best.iter().filter(|relevance| **relevance < threshold).count();
            shown((!best.is_empty()).then(|| below as f64 / best.len() as f64))
        });
        screen.line(format_args!("  {:16}{own:>8}{foreign:>12}{removed:>9}", set.name))?;
    }
    Ok(())
}

fn show_constants(
    screen: &mut Screen,
    constant: &str,
    model: &Point,
    without_one: &[Point],
    threshold: f64,
) -> Result<()> {
    screen.line("")?;
    screen.line(format_args!("const {constant}: Model = Model {{"))?;
    screen.line("    weights: [")?;
    for (weight, name) in model.iter().zip(FEATURE_NAMES) {
        screen.line(format_args!("        {weight:.4}, // {name}"))?;
    }
    screen.line("    ],")?;
    screen.line("    without_one: &[")?;
    for weights in without_one {
        screen.line("        [")?;
        for some in weights.chunks(8) {
            let some: Vec<String> = some.iter().map(|weight| format!("{weight:.4}")).collect();
            screen.line(format_args!("            {},", some.join(", ")))?;
        }
        screen.line("        ],")?;
    }
    screen.line("    ],")?;
    screen.line(format_args!("    abstain_below: {threshold:.4},"))?;
    screen.line("};")
}

/// A figure, or a dash for none.
fn shown(figure: Option<f64>) -> String {
    figure.map_or_else(|| "–".into(), share)
}

fn point(evidence: &engram::Evidence) -> Point {
    features(evidence).map(f64::from)
}

fn log_odds(model: &Point, point: &Point) -> f64 {
    model.iter().zip(point).map(|(weight, feature)| weight * feature).sum()
}

fn probability(log_odds: f64) -> f64 {
    1.0 / (1.0 + (-log_odds).exp())
}

fn samples(sets: &[&ObservedSet], weight_of: impl Fn(Asking) -> f64) -> Vec<Sample> {
    let mut samples = Vec::new();
    for set in sets {
        let hits_of = |asking| {
            let of_kind = set.observed.iter().filter(move |observed| observed.asking == asking);
            of_kind.flat_map(|observed| &observed.hits)
        };
        for asking in [Asking::Own, Asking::Foreign, Asking::Removed] {
            let weight = weight_of(asking) / hits_of(asking).count().max(1) as f64;
            if weight > 0.0 {
                let sample = |(evidence, label): &(engram::Evidence, bool)| Sample {
                    point: point(evidence),
                    is_answer: *label,
                    weight,
                };
                samples.extend(hits_of(asking).map(sample));
            }
        }
    }
    let sum: f64 = samples.iter().map(|sample| sample.weight).sum();
    samples.iter_mut().for_each(|sample| sample.weight /= sum);
    samples
}

/// The weights of the features; that of the first, which is always 1, is the bias.
fn fit(sets: &[&ObservedSet]) -> Result<Point> {
    let mixed = samples(sets, |asking| match asking {
        Asking::Own => 1.0,
        Asking::Foreign => FOREIGN_WEIGHT,
        Asking::Removed => REMOVED_WEIGHT,
    });
    let direction = regress(&mixed)?;
    let mut own = samples(sets, |asking| f64::from(asking == Asking::Own));
    for sample in &mut own {
        let along = log_odds(&direction, &sample.point);
        sample.point = std::array::from_fn(|at| match at {
            0 => 1.0,
            1 => along,
            _ => 0.0,
        });
    }
    let scaled = regress(&own)?;
    let mut model = direction.map(|weight| weight * scaled[1]);
    model[0] += scaled[0];
    Ok(model)
}

/// Logistic regression: Newton's method on standardised features.
fn regress(samples: &[Sample]) -> Result<Point> {
    if !samples.iter().any(|s| s.is_answer) || samples.iter().all(|s| s.is_answer) {
        return failed("relevance cannot be fitted: needed are hits that are answers and hits that are none");
    }
    let mean: Point = std::array::from_fn(|at| samples.iter().map(|s| s.weight * s.point[at]).sum());
    let deviation: Point = std::array::from_fn(|at| {
        let squares = samples.iter().map(|s| s.weight * (s.point[at] - mean[at]).powi(2));
        Some(squares.sum::<f64>().sqrt()).filter(|deviation| *deviation > 1e-9).unwrap_or(1.0)
    });
    let standard = |point: &Point| -> Point {
        std::array::from_fn(|at| if at == 0 { 1.0 } else { (point[at] - mean[at]) / deviation[at] })
    };
    let mut weights: Point = [0.0; FEATURES];
    for _ in 0..STEPS_MAX {
        let mut gradient: Point = std::array::from_fn(|at| if at == 0 { 0.0 } else { -RIDGE * weights[at] });
        let mut curvature = [[0.0; FEATURES]; FEATURES];
        (0..FEATURES).for_each(|at| curvature[at][at] = RIDGE);
        for sample in samples {
            let point = standard(&sample.point);
            let p = probability(log_odds(&weights, &point));
            let (miss, slope) = (f64::from(sample.is_answer) - p, p * (1.0 - p));
            for row in 0..FEATURES {
                gradient[row] += sample.weight * miss * point[row];
                for column in 0..FEATURES {
                    curvature[row][column] += sample.weight * slope * point[row] * point[column];
                }
            }
        }
        let step = solve(curvature, gradient);
        weights.iter_mut().zip(step).for_each(|(weight, step)| *weight += step);
        if step.iter().all(|step| step.abs() < STEP_MIN) {
            break;
        }
    }
    let mut plain: Point = std::array::from_fn(|at| weights[at] / deviation[at]);
    plain[0] = weights[0] - (1..FEATURES).map(|at| plain[at] * mean[at]).sum::<f64>();
    Ok(plain)
}

/// Solves a system whose matrix is symmetric and positive definite, by elimination.
fn solve(mut matrix: [Point; FEATURES], mut right: Point) -> Point {
    for pivot in 0..FEATURES {
        let above = matrix[pivot];
        for row in pivot + 1..FEATURES {
            let factor = matrix[row][pivot] / above[pivot];
            matrix[row].iter_mut().zip(above).for_each(|(number, above)| *number -= factor * above);
            right[row] -= factor * right[pivot];
        }
    }
    for row in (0..FEATURES).rev() {
        let known: f64 = (row + 1..FEATURES).map(|column| matrix[row][column] * right[column]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    right
}

fn of_kind(set: &ObservedSet, asking: Asking) -> impl Iterator<Item = &Observed> {
    set.observed.iter().filter(move |observed| observed.asking == asking)
}

/// The highest relevance among the hits of each recall of a kind.
fn best_of(model: &Point, set: &ObservedSet, asking: Asking) -> Vec<f64> {
    let best = |observed: &Observed| {
        let all = observed.hits.iter().map(|(evidence, _)| probability(log_odds(model, &point(evidence))));
        all.fold(0.0, f64::max)
    };
    of_kind(set, asking).map(best).collect()
}

/// The relevance that so many of the cues with an answer stay below, each set weighing the same.
fn threshold(model: &Point, sets: &[&ObservedSet]) -> f64 {
    let weighed = sets.iter().flat_map(|set| {
        let best = best_of(model, set, Asking::Own);
        let weight = 1.0 / best.len().max(1) as f64 / sets.len() as f64;
        best.into_iter().map(move |relevance| (relevance, weight))
    });
    let mut weighed: Vec<(f64, f64)> = weighed.collect();
    weighed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut below = 0.0;
    let first_above = weighed.iter().find(|(_, weight)| {
        below += weight;
        below > ABSTAINED_SHARE
    });
    first_above.map_or(0.0, |(relevance, _)| *relevance)
}

fn judge(model: &Point, set: &ObservedSet) -> Outcome {
    let of = |evidence: &engram::Evidence| probability(log_odds(model, &point(evidence)));
    let hits = of_kind(set, Asking::Own).flat_map(|observed| &observed.hits);
    let found = calibration(hits.map(|(evidence, label)| (of(evidence), *label)).collect());
    // Where nothing was found, nothing is relevant.
    let first = |observed: &Observed| observed.hits.first().map_or(0.0, |(evidence, _)| of(evidence));
    let firsts = |asking| -> Vec<f64> { of_kind(set, asking).map(first).collect() };
    let own = firsts(Asking::Own);
    Outcome {
        error: found.map_or(0.0, |found| found.error),
        resolution: found.map_or(0.0, |found| found.resolution),
        foreign: auroc(&own, &firsts(Asking::Foreign)),
        removed: auroc(&own, &firsts(Asking::Removed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regression_finds_the_odds_it_was_made_from() {
        // Where the second feature is 0, one of four is an answer; where it is 1, three of four are.
        let sample = |feature: f64, is_answer| {
            let mut point = [0.0; FEATURES];
            (point[0], point[1]) = (1.0, feature);
            Sample { point, is_answer, weight: 0.125 }
        };
        let samples: Vec<Sample> =
            (0..8).map(|at| sample(f64::from(at / 4), if at < 4 { at == 0 } else { at != 4 })).collect();
        let model = regress(&samples).unwrap();
        let odds = |feature: f64| probability(model[0] + model[1] * feature);
        assert!((odds(0.0) - 0.25).abs() < 0.01 && (odds(1.0) - 0.75).abs() < 0.01, "{model:?}");
        assert!(model[2..].iter().all(|weight| weight.abs() < 1e-9), "{model:?}");
        assert!(regress(&samples[..1]).is_err());
    }
}
