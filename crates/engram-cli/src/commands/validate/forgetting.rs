//! The curves by which spaces forget, against what relearning saved Ebbinghaus and those who repeated his experiment.

use super::chart::{Axis, Chart, Mark, Series};
use super::data::Savings;
use super::report::{Bar, Check, Finding, decimals};
use super::stats::{cheapest, r_squared, scaled, squares};
use engram::{DecayLaw, Strength, Timestamp};
use serde_json::json;

const SOURCE: &str = "Ebbinghaus 1885 and three replications; Murre & Dros 2015, table 3";
const HOURS_A_DAY: f64 = 24.0;
/// Hours that a scale may have: from a tenth of a second to ten thousand years.
const SCALES: (f64, f64) = (3e-5, 1e8);
const CURVE_POINTS: usize = 160;

/// A law with its parameters found.
struct Fitted {
    name: String,
    curve: Box<dyn Fn(f64) -> f64>,
}

impl Fitted {
    fn new(name: impl Into<String>, curve: impl Fn(f64) -> f64 + 'static) -> Self {
        Self { name: name.into(), curve: Box::new(curve) }
    }

    fn at(&self, hours: &[f64]) -> Vec<f64> {
        hours.iter().map(|t| (self.curve)(*t)).collect()
    }
}

/// What the engine says is still remembered after `hours` of what was learned with this stability, by a law.
fn remembered(law: DecayLaw, stability_days: f64, hours: f64) -> f64 {
    let learned = Timestamp(0);
    let strength = Strength { stability_days: stability_days as f32, ..Strength::learned(learned) };
    strength.retrievability(law, learned, Timestamp((hours * 3600e6) as i64))
}

/// FSRS-6's curve with the stability that comes nearest, in days.
fn fit_fsrs(hours: &[f64], data: &[f64]) -> f64 {
    let model = |scale: f64| {
        hours.iter().map(|t| remembered(DecayLaw::Fsrs6, scale / HOURS_A_DAY, *t)).collect::<Vec<_>>()
    };
    cheapest(SCALES.0, SCALES.1, |scale| squares(&model(scale), data)) / HOURS_A_DAY
}

/// Laws that no space has, each fitted as well as it can be.
fn rivals(hours: &[f64], data: &[f64]) -> Vec<Fitted> {
    let each = |curve: &dyn Fn(f64) -> f64| hours.iter().map(|t| curve(*t)).collect::<Vec<f64>>();
    let power = cheapest(1e-3, 10.0, |b| scaled(&each(&|t| t.powf(-b)), data).1);
    let power_factor = scaled(&each(&|t| t.powf(-power)), data).0;
    let exponent =
        |rate: f64| cheapest(1e-3, 10.0, |psi| squares(&each(&|t| (1.0 + rate * t).powf(-psi)), data));
    let rate = cheapest(1e-4, 1e6, |rate| {
        let psi = exponent(rate);
        squares(&each(&|t| (1.0 + rate * t).powf(-psi)), data)
    });
    let psi = exponent(rate);
    let decay = |scale: f64| each(&|t| (-t / scale).exp());
    let scale = cheapest(SCALES.0, SCALES.1, |scale| squares(&decay(scale), data));
    let scale_free = cheapest(SCALES.0, SCALES.1, |scale| scaled(&decay(scale), data).1);
    let factor = scaled(&decay(scale_free), data).0;
    vec![
        Fitted::new("power law, two parameters", move |t| power_factor * t.powf(-power)),
        Fitted::new("Wickelgren, two parameters", move |t| (1.0 + rate * t).powf(-psi)),
        Fitted::new("exponential, one parameter", move |t| (-t / scale).exp()),
        Fitted::new("exponential, two parameters", move |t| factor * (-t / scale_free).exp()),
    ]
}

pub(crate) fn check(savings: &Savings) -> Check {
    let mut check = Check::new("forgetting", "Forgetting", SOURCE);
    check.about = "The engine's own curve (FSRS-6), with its stability alone fitted, against the share of time that \
        relearning saved. The engine's ACT-R law is asked as it is: its two constants were fitted to Ebbinghaus. The \
        other laws are no part of the engine and stand here to compare with. Savings of nonsense syllables fall faster \
        than memories do: it is the shape that is asked about."
        .into();
    let hours = &savings.hours;
    let (learner, data) = &savings.by_learner[0];
    let days = fit_fsrs(hours, data);
    let mut laws = vec![
        Fitted::new("FSRS-6, one parameter", move |t| remembered(DecayLaw::Fsrs6, days, t)),
        Fitted::new("the engine's ACT-R law as it is", |t| remembered(DecayLaw::ActR, 1.0, t)),
    ];
    laws.extend(rivals(hours, data));
    for law in &laws {
        let r2 = r_squared(&law.at(hours), data).unwrap_or(f64::NAN);
        let what = format!("{learner}: R² of {}", law.name);
        check.findings.push(match law.name.as_str() {
            "FSRS-6, one parameter" => Finding::held(what, r2, Bar::AtLeast(0.94)),
            // That it cannot fit is what is shown.
            "exponential, one parameter" | "exponential, two parameters" => {
                Finding::held(what + " (it must fail)", r2, Bar::AtMost(0.5))
            }
            _ => Finding::beside(what, r2),
        });
    }
    let mut charts = vec![against_laws(savings, &laws)];
    let mut stabilities = vec![(learner.clone(), days)];
    for (other, data) in &savings.by_learner[1..] {
        let days = fit_fsrs(hours, data);
        let model: Vec<f64> = hours.iter().map(|t| remembered(DecayLaw::Fsrs6, days, *t)).collect();
        let r2 = r_squared(&model, data).unwrap_or(f64::NAN);
        check.findings.push(Finding::beside(format!("{other}: R² of FSRS-6, one parameter"), r2));
        stabilities.push((other.clone(), days));
    }
    charts.push(replications(savings, &stabilities));
    check.charts = charts;
    check.keep("hours", hours);
    check.keep("savings", &savings.by_learner);
    check.keep("stability_days", stabilities);
    check.keep(
        "curves",
        laws.iter().map(|law| json!({"law": law.name, "savings": law.at(hours)})).collect::<Vec<_>>(),
    );
    check
}

fn time_axis(hours: &[f64]) -> Axis {
    Axis::hours("time since learning (logarithmic)", hours.iter().copied())
}

fn against_laws(savings: &Savings, laws: &[Fitted]) -> Chart {
    let (learner, data) = &savings.by_learner[0];
    let x = time_axis(&savings.hours);
    let mut series = Vec::new();
    for (at, law) in laws.iter().enumerate() {
        let r2 = r_squared(&law.at(&savings.hours), data).unwrap_or(f64::NAN);
        let mark = if at == 0 { Mark::Line } else { Mark::Dashes };
        let points: Vec<(f64, f64)> =
            x.steps(CURVE_POINTS).into_iter().map(|t| (t, (law.curve)(t))).collect();
        series.push(Series::new(format!("{}: R² {}", law.name, decimals(r2)), at, mark, points));
    }
    let points = savings.hours.iter().copied().zip(data.iter().copied());
    series.push(Series::new(learner.clone(), 7, Mark::Points, points));
    let y = Axis::linear("savings in relearning (share of the time)", [0.0, 0.7]);
    Chart { title: "Forgetting: laws against Ebbinghaus".into(), source: SOURCE.into(), x, y, series }
}

fn replications(savings: &Savings, stabilities: &[(String, f64)]) -> Chart {
    let x = time_axis(&savings.hours);
    let mut series = Vec::new();
    for (at, ((name, data), (_, days))) in savings.by_learner.iter().zip(stabilities).enumerate() {
        let curve: Vec<(f64, f64)> =
            x.steps(CURVE_POINTS).into_iter().map(|t| (t, remembered(DecayLaw::Fsrs6, *days, t))).collect();
        series.push(Series::new("", at, Mark::Line, curve));
        let points = savings.hours.iter().copied().zip(data.iter().copied());
        series.push(Series::new(name.clone(), at, Mark::Points, points));
    }
    let y = Axis::linear("savings in relearning (share of the time)", [0.0, 0.7]);
    let title = "Forgetting: FSRS-6's curve and the replications".into();
    Chart { title, source: SOURCE.into(), x, y, series }
}
