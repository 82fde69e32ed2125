//! Spacing: how long to wait before studying again, so that most is recalled later; and what a hundred uses in a day bring.

use super::chart::{Axis, Chart, Mark, Series};
use super::data::Experiment;
use super::report::{Bar, Check, Finding, decimals};
use super::stats::{cheapest, mean_deviation, spearman, squares};
use crate::screen::counted;
use engram::{DecayLaw, Outcome, Strength, Timestamp};
use serde_json::json;

/// Days of stability that a fit may find.
const STABILITIES: (f64, f64) = (1e-4, 1e3);
/// What lies closer together is one session.
const SESSION_DAYS: f64 = 1.0;
/// Gaps that a curve needs to have a best one between others.
const GAPS_MIN: usize = 3;
const CURVE_POINTS: usize = 240;

fn day(days: f64) -> Timestamp {
    Timestamp((days * 86_400e6) as i64)
}

fn learned(stability_days: f64) -> Strength {
    Strength { stability_days: stability_days as f32, ..Strength::learned(day(0.0)) }
}

fn remembered(strength: Strength, law: DecayLaw, at: f64) -> f64 {
    strength.retrievability(law, day(0.0), day(at))
}

/// Share recalled `delay` days after a second study session, which is `gap` days after the first: some recall at the second
/// session and gain by that; those who do not have forgotten it, and learn it again then.
fn expected(first: Strength, gap: f64, delay: f64) -> f64 {
    let known = remembered(first, DecayLaw::Fsrs6, gap);
    let gained = first.used(day(gap), Outcome::Used);
    let relearned = Strength { used_at: day(gap), ..first.used(day(gap), Outcome::Contradicted) };
    let later = |strength| remembered(strength, DecayLaw::Fsrs6, gap + delay);
    known * later(gained) + (1.0 - known) * later(relearned)
}

/// The same by the engine's ACT-R law, for which all uses are alike.
fn expected_actr(gap: f64, delay: f64) -> f64 {
    remembered(learned(1.0).used(day(gap), Outcome::Used), DecayLaw::ActR, gap + delay)
}

/// How stable what was learned first is, in an experiment.
#[derive(Clone, Copy)]
enum First {
    /// As the engine takes it, for every experiment.
    Engine,
    /// By the first interval of a day or more after which the experiment tested: stability is how recall begins to fall, and
    /// FSRS-6 takes what lies within a day for one session.
    Onset,
    /// By all of the experiment's forgetting, in least squares.
    Curve,
}

impl First {
    const ALL: [Self; 3] = [Self::Engine, Self::Onset, Self::Curve];

    fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine as it is",
            Self::Onset => "stability from the first interval",
            Self::Curve => "stability from all forgetting",
        }
    }

    /// `None` where the experiment does not say.
    fn of(self, experiment: &Experiment) -> Option<Strength> {
        let rows = &experiment.forgetting;
        let rows = match self {
            Self::Engine => return Some(Strength::learned(day(0.0))),
            Self::Onset => rows.iter().filter(|(gap, _)| *gap >= SESSION_DAYS).take(1).copied().collect(),
            Self::Curve => rows.clone(),
        };
        if rows.is_empty() {
            return None;
        }
        let (gaps, recalled): (Vec<f64>, Vec<f64>) = rows.into_iter().unzip();
        let model = |days: f64| {
            gaps.iter().map(|gap| remembered(learned(days), DecayLaw::Fsrs6, *gap)).collect::<Vec<_>>()
        };
        Some(learned(cheapest(STABILITIES.0, STABILITIES.1, |days| squares(&model(days), &recalled))))
    }
}

/// One experiment at one delay, as people did and as the engine says.
struct Curve<'a> {
    experiment: &'a Experiment,
    delay: f64,
    gaps: Vec<f64>,
    data: Vec<f64>,
    first: Strength,
    model: Vec<f64>,
}

impl Curve<'_> {
    fn best(&self, of: &[f64]) -> usize {
        (0..of.len()).max_by(|a, b| of[*a].total_cmp(&of[*b]).then(b.cmp(a))).expect("a curve has points")
    }

    fn best_gaps(&self) -> (f64, f64) {
        (self.gaps[self.best(&self.model)], self.gaps[self.best(&self.data)])
    }

    /// Neither the shortest nor the longest gap is best.
    fn is_inverted_u(&self) -> bool {
        (1..self.gaps.len() - 1).contains(&self.best(&self.model))
    }

    fn label(&self) -> String {
        format!("{}, test after {} d", self.experiment.name, self.delay)
    }
}

fn curves(experiments: &[Experiment], first: First) -> Vec<Curve<'_>> {
    let mut found = Vec::new();
    for experiment in experiments {
        let Some(strength) = first.of(experiment) else { continue };
        for (delay, points) in experiment.spacing.iter().filter(|(_, points)| points.len() >= GAPS_MIN) {
            let (gaps, data): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
            let model = gaps.iter().map(|gap| expected(strength, *gap, *delay)).collect();
            found.push(Curve { experiment, delay: *delay, gaps, data, first: strength, model });
        }
    }
    found
}

/// Pairs of delays whose best gaps differ in the data: how many stand the same way round in the model, of how many.
fn order(curves: &[Curve<'_>]) -> (usize, usize) {
    let (mut kept, mut pairs) = (0, 0);
    for (at, a) in curves.iter().enumerate() {
        for b in &curves[at + 1..] {
            let ((model_a, data_a), (model_b, data_b)) = (a.best_gaps(), b.best_gaps());
            if a.delay != b.delay && data_a != data_b {
                pairs += 1;
                kept += usize::from((model_a < model_b) == (data_a < data_b) && model_a != model_b);
            }
        }
    }
    (kept, pairs)
}

pub(crate) fn check(experiments: &[Experiment]) -> Check {
    let mut names: Vec<&str> = experiments.iter().map(|experiment| experiment.name.as_str()).collect();
    names.dedup();
    let mut check = Check::new("spacing", "Spacing", names.join("; "));
    check.about = "Two study sessions, a gap apart, and a test after a delay. Recall is expected to be R(gap) times what is \
        remembered after a success at the second session, and the rest times what is after a lapse, all by the engine's \
        FSRS-6. The stability of the first study is the engine's own (no parameter), or one number an experiment: from the \
        first interval of a day or more that its forgetting was tested after, or from all of its forgetting. The latter is far too small, \
        because FSRS-6's tail is flatter than the forgetting of word pairs, and then the best gap hardly grows. The law \
        is that of reviews by people who want to remember; levels are not fitted, gaps are what is asked about."
        .into();
    for experiment in experiments {
        for (delay, points) in experiment.spacing.iter().filter(|(_, points)| points.len() < GAPS_MIN) {
            let (name, gaps) = (&experiment.name, counted(points.len() as u64, "gap", "gaps"));
            check.skipped.push(format!("{name}, test after {delay} d: {gaps}, needed are {GAPS_MIN}"));
        }
    }
    let mut raw = Vec::new();
    for first in First::ALL {
        let curves = curves(experiments, first);
        if curves.is_empty() {
            check.skipped.push(format!("{}: no experiment has the rows that it needs", first.name()));
            continue;
        }
        findings(&mut check, &curves, first);
        raw.extend(curves.iter().map(|curve| {
            json!({
                "first_study": first.name(),
                "experiment": curve.experiment.name,
                "delay_days": curve.delay,
                "stability_days": curve.first.stability_days,
                "gaps_days": curve.gaps,
                "recalled": curve.data,
                "expected": curve.model,
            })
        }));
    }
    massed(&mut check);
    check.charts = charts(experiments);
    check.keep("curves", raw);
    check
}

fn findings(check: &mut Check, curves: &[Curve<'_>], first: First) {
    let name = first.name();
    let count = |what: String, kept: usize, of: usize| {
        let share = if of == 0 { f64::NAN } else { kept as f64 / of as f64 };
        Finding::held(what, share, Bar::AtLeast(1.0)).shown(format!("{kept} of {of}"))
    };
    let bent = curves.iter().filter(|curve| curve.is_inverted_u()).count();
    check.findings.push(count(
        format!("{name}: best gap is neither the shortest nor longest"),
        bent,
        curves.len(),
    ));
    match order(curves) {
        (_, 0) => check.skipped.push(format!("{name}: order of best gaps; no two delays differ in it")),
        (kept, pairs) => {
            check.findings.push(count(
                format!("{name}: best gaps stand in the order of the data"),
                kept,
                pairs,
            ));
        }
    }
    for curve in curves {
        let (model, data) = curve.best_gaps();
        let lost = curve.data[curve.best(&curve.data)] - curve.data[curve.best(&curve.model)];
        let what = format!("  {}: best gap, data {data} d", curve.label());
        check.findings.push(Finding::beside(what, model).shown(format!("{model} d")));
        check
            .findings
            .push(Finding::beside("    recall that people lose by taking that gap".to_owned(), lost));
        let rank = spearman(&curve.model, &curve.data).unwrap_or(f64::NAN);
        check.findings.push(Finding::beside("    rank correlation over its gaps".to_owned(), rank));
        let off = mean_deviation(&curve.model, &curve.data);
        check.findings.push(Finding::beside("    mean deviation of recall".to_owned(), off));
    }
}

/// A fact that is confirmed a hundred times within a day.
fn massed(check: &mut Check) {
    const TIMES: u32 = 100;
    let first = Strength::learned(day(0.0));
    let mut massed = first;
    for at in 1..=TIMES {
        massed = massed.used(day(f64::from(at) / f64::from(TIMES + 1)), Outcome::Confirmed);
    }
    let spaced = first.used(day(3.0), Outcome::Confirmed);
    let [once, massed, spaced] = [first, massed, spaced].map(|strength| f64::from(strength.stability_days));
    check.findings.push(
        Finding::beside(
            format!("{TIMES} confirmations within a day: stability, {} d before", decimals(once)),
            massed,
        )
        .shown(format!("{massed:.2} d")),
    );
    let what = format!("  over that of one confirmation three days later, {spaced:.2} d");
    check.findings.push(Finding::held(what, massed / spaced, Bar::AtMost(1.0)));
    check
        .keep("massed", json!({"stability_days": {"learned": once, "massed": massed, "one_spaced": spaced}}));
}

fn charts(experiments: &[Experiment]) -> Vec<Chart> {
    let mut charts = Vec::new();
    for curve in curves(experiments, First::Engine) {
        let x = Axis::days("gap between the two sessions (days, logarithmic)", curve.gaps.iter().copied());
        let steps = x.steps(CURVE_POINTS);
        let mut series: Vec<Series> = Vec::new();
        for (at, first) in First::ALL.into_iter().enumerate() {
            let Some(strength) = first.of(curve.experiment) else { continue };
            let points: Vec<(f64, f64)> =
                steps.iter().map(|gap| (*gap, expected(strength, *gap, curve.delay))).collect();
            let name = format!("FSRS-6, {} ({:.2} d)", first.name(), strength.stability_days);
            let mark = if at == 0 { Mark::Line } else { Mark::Dashes };
            series.push(Series::new(name, at, mark, points));
        }
        let actr: Vec<(f64, f64)> =
            steps.iter().map(|gap| (*gap, expected_actr(*gap, curve.delay))).collect();
        series.push(Series::new("ACT-R's law: no spacing effect", 6, Mark::Dashes, actr));
        let data = curve.gaps.iter().copied().zip(curve.data.iter().copied());
        series.push(Series::new("people", 7, Mark::LineAndPoints, data));
        charts.push(Chart {
            title: format!("Spacing: recall {} days after the second session", curve.delay),
            source: curve.experiment.name.clone(),
            x,
            y: Axis::linear("recalled (share)", [0.0, 1.0]),
            series,
        });
    }
    charts
}
