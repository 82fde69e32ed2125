//! Paired associates: how often and how fast people know a digit that goes with a word, over eight trials.

use super::chart::{Axis, Chart, Mark, Series};
use super::report::{Bar, Check, Finding};
use super::stats::{Draw, mean, mean_deviation, pearson};
use engram::actr;

const SOURCE: &str = "Anderson 1981, as in ACT-R's tutorial, unit 4";
const PAIRS: usize = 20;
const TRIALS: usize = 8;
/// Share of right answers, and mean seconds of those from the second trial on.
const ACCURACY: [f64; TRIALS] = [0.0, 0.526, 0.667, 0.798, 0.887, 0.924, 0.958, 0.954];
const SECONDS: [f64; TRIALS - 1] = [2.158, 1.967, 1.762, 1.680, 1.552, 1.467, 1.402];
/// `:rt`, `:lf`, `:ans`; decay is the engine's, .5.
const THRESHOLD: f64 = -2.0;
const LATENCY_FACTOR: f64 = 0.4;
const NOISE: f64 = 0.5;
/// Seconds to answer, then seconds to study.
const ANSWER: f64 = 5.0;
const STUDY: f64 = 5.0;
/// People that are simulated.
const RUNS: usize = 100;

/// Base-level activation of a pair from the seconds since each use, newest last.
type Level = fn(&[f64]) -> f64;

fn hybrid(seconds_ago: &[f64]) -> f64 {
    let newest = seconds_ago.last().copied().unwrap_or(0.0);
    let first = seconds_ago.first().copied().unwrap_or(0.0);
    actr::base_level(seconds_ago.len() as u32, newest, first)
}

/// What simulated people reach: share of right answers by trial, and mean seconds to recall.
struct Simulated {
    accuracy: Vec<f64>,
    seconds: Vec<f64>,
}

fn simulate(level: Level) -> Simulated {
    let mut draw = Draw::new(4);
    let (mut right, mut took) = ([0.0; TRIALS], [0.0; TRIALS]);
    for _ in 0..RUNS {
        let mut used: Vec<Vec<f64>> = vec![Vec::new(); PAIRS];
        let mut now = 0.0;
        let mut order: Vec<usize> = (0..PAIRS).collect();
        for trial in 0..TRIALS {
            draw.shuffle(&mut order);
            for pair in &order {
                let uses = &mut used[*pair];
                if !uses.is_empty() {
                    let ago: Vec<f64> = uses.iter().map(|then| now - then).collect();
                    let activation = level(&ago) + draw.logistic(NOISE);
                    if activation > THRESHOLD {
                        let seconds = actr::latency(activation, LATENCY_FACTOR);
                        right[trial] += 1.0;
                        took[trial] += seconds;
                        // What is recalled is used by that.
                        uses.push(now + seconds);
                    }
                }
                uses.push(now + ANSWER);
                now += ANSWER + STUDY;
            }
        }
    }
    let accuracy = right.iter().map(|right| right / (RUNS * PAIRS) as f64).collect();
    let seconds = took.iter().zip(right).skip(1).map(|(took, right)| took / right).collect();
    Simulated { accuracy, seconds }
}

pub(crate) fn check() -> Check {
    let mut check = Check::new("paired", "Paired associates", SOURCE);
    check.about = format!(
        "{RUNS} simulated people see {PAIRS} pairs in a new order in each of {TRIALS} trials: 5 s to answer, then 5 s to \
         study, so that a pair comes back after 200 s in the mean. A pair is used when it is studied and when it is \
         recalled. Its base level comes from the engine (the newest use exactly, the others as if evenly spread), with \
         ACT-R's parameters: threshold -2, noise .5, latency .4 s. Seconds for all but retrieval are one constant, the \
         mean difference; no other number is fitted. Beside it the same with every use counted exactly."
    );
    let [by_engine, exact] = [simulate(hybrid), simulate(actr::base_level_exact)];
    let r = |model: &[f64], data: &[f64]| pearson(model, data).unwrap_or(f64::NAN);
    let other = mean(&SECONDS).unwrap_or(0.0) - mean(&by_engine.seconds).unwrap_or(0.0);
    let seconds: Vec<f64> = by_engine.seconds.iter().map(|seconds| seconds + other).collect();
    check.findings = vec![
        Finding::held("accuracy over 8 trials: r", r(&by_engine.accuracy, &ACCURACY), Bar::AtLeast(0.95)),
        Finding::beside("  mean deviation of the share", mean_deviation(&by_engine.accuracy, &ACCURACY)),
        Finding::held("latency over trials 2 to 8: r", r(&by_engine.seconds, &SECONDS), Bar::AtLeast(0.95)),
        Finding::beside("  mean deviation, s", mean_deviation(&seconds, &SECONDS)),
        Finding::beside("  seconds for all but retrieval", other),
        Finding::beside("every use counted exactly: r of accuracy", r(&exact.accuracy, &ACCURACY)),
        Finding::beside("every use counted exactly: r of latency", r(&exact.seconds, &SECONDS)),
    ];
    let trials = |from: usize, values: &[f64]| -> Vec<(f64, f64)> {
        values.iter().enumerate().map(|(at, value)| ((at + from) as f64, *value)).collect()
    };
    let x = || Axis::counts("trial", 1, TRIALS as i32);
    check.charts = vec![
        Chart {
            title: "Paired associates: right answers".into(),
            source: SOURCE.into(),
            x: x(),
            y: Axis::linear("right answers (share)", [0.0, 1.0]),
            series: vec![
                Series::new("engine's base level", 0, Mark::Line, trials(1, &by_engine.accuracy)),
                Series::new("every use counted exactly", 6, Mark::Dashes, trials(1, &exact.accuracy)),
                Series::new("people", 7, Mark::Points, trials(1, &ACCURACY)),
            ],
        },
        Chart {
            title: "Paired associates: time to answer".into(),
            source: SOURCE.into(),
            x: x(),
            y: Axis::linear("time to a right answer (s)", SECONDS.into_iter().chain(seconds.iter().copied())),
            series: vec![
                Series::new("engine's base level", 0, Mark::Line, trials(2, &seconds)),
                Series::new("people", 7, Mark::Points, trials(2, &SECONDS)),
            ],
        },
    ];
    check.keep("accuracy", &by_engine.accuracy);
    check.keep("seconds", &seconds);
    check.keep("people", (ACCURACY, SECONDS));
    check
}
