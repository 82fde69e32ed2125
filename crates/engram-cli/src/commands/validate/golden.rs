//! Golden values: what FSRS-6 and ACT-R's equations give in their own reference implementations, and here.

use super::report::{Bar, Check, Finding};
use engram::{DecayLaw, Outcome, Strength, Timestamp, actr};
use serde_json::json;

/// Values are given to six decimals.
const PRECISION: f64 = 1e-6;
/// Those of stability and difficulty to four.
const PRECISION_OF_STATES: f64 = 1e-4;

/// A value, what it should be, and what it is.
type Golden = (String, f64, f64);

fn day(days: f64) -> Timestamp {
    Timestamp((days * 86_400e6).round() as i64)
}

fn retrievability(ratio: f64) -> f64 {
    let strength = Strength { stability_days: 1.0, ..Strength::learned(day(0.0)) };
    strength.retrievability(DecayLaw::Fsrs6, day(0.0), day(ratio))
}

fn curve() -> Vec<Golden> {
    let by_ratio = [
        (0.0, 1.0),
        (0.5, 0.940344),
        (1.0, 0.9),
        (2.0, 0.845885),
        (5.0, 0.760528),
        (10.0, 0.692827),
        (100.0, 0.492322),
        (1000.0, 0.345669),
    ];
    let intervals = [(9.28791, 0.7), (3.31596, 0.8), (1.0, 0.9), (0.402559, 0.95)];
    let all = by_ratio.into_iter().chain(intervals);
    all.map(|(ratio, expected)| (format!("R at t/S {ratio}"), expected, retrievability(ratio))).collect()
}

/// Reviews three and then ten days apart, which went well, or were forgotten in between.
fn reviews() -> Vec<Golden> {
    let begun = Strength::learned(day(0.0));
    let good = [begun, begun.used(day(3.0), Outcome::Used)];
    let good = [good[0], good[1], good[1].used(day(13.0), Outcome::Used)];
    // Who was wrong and is told, learns it at that moment: the engine leaves that to whoever stores it again.
    let lapsed = Strength { used_at: day(3.0), ..begun.used(day(3.0), Outcome::Contradicted) };
    let again = [begun, lapsed, lapsed.used(day(13.0), Outcome::Used)];
    let expected_good = [(2.3065, 2.1181), (13.8269, 2.1112), (47.452, 2.1043)];
    let expected_again = [(2.3065, 2.1181), (0.6369, 7.3945), (5.8139, 7.3823)];
    let runs = [("good, good, good", good, expected_good), ("good, again, good", again, expected_again)];
    let mut found = Vec::new();
    for (name, states, expected) in runs {
        for (at, (state, (stability, difficulty))) in states.into_iter().zip(expected).enumerate() {
            let place = format!("{name}, review {at}");
            found.push((format!("{place}: stability"), stability, f64::from(state.stability_days)));
            found.push((format!("{place}: difficulty"), difficulty, f64::from(state.difficulty)));
        }
    }
    found
}

fn levels() -> Vec<Golden> {
    vec![
        ("uses 10, 100, 1000 s ago, exact".into(), -0.803296, actr::base_level_exact(&[10.0, 100.0, 1000.0])),
        ("the same, hybrid with one use exact".into(), -0.841138, actr::base_level(3, 10.0, 1000.0)),
    ]
}

fn equations() -> Vec<Golden> {
    let fans = [(1, 2.0), (2, 1.306853), (3, 0.901388), (10, -0.302585)];
    let mut found: Vec<Golden> =
        fans.map(|(fan, expected)| (format!("S 2, fan {fan}"), expected, actr::association(2.0, fan))).into();
    for (activation, probability, seconds) in
        [(-1.0, 0.017986, std::f64::consts::E), (0.0, 0.5, 1.0), (1.0, 0.982014, 0.367879)]
    {
        let name = format!("A {activation}");
        found.push((format!("{name}: P"), probability, actr::recall_probability(activation, 0.0, 0.25)));
        found.push((format!("{name}: T"), seconds, actr::latency(activation, 1.0)));
    }
    found
}

pub(crate) fn check() -> Check {
    let data = "py-fsrs with its default parameters; ACT-R 7's equations";
    let mut check = Check::new("golden", "Golden values", data);
    check.about =
        "The largest distance of the engine's functions from values that were computed elsewhere.".into();
    let groups = [
        ("FSRS-6: retrievability over time, and intervals", curve(), PRECISION),
        ("FSRS-6: stability and difficulty after reviews", reviews(), PRECISION_OF_STATES),
        ("ACT-R: base level, exact and hybrid", levels(), PRECISION),
        ("ACT-R: association by fan, probability, latency", equations(), PRECISION),
    ];
    let mut raw = Vec::new();
    for (name, values, precision) in groups {
        let farthest = values.iter().map(|(_, expected, got)| (expected - got).abs()).fold(0.0, f64::max);
        let what = format!("{name} ({} values): farthest", values.len());
        check
            .findings
            .push(Finding::held(what, farthest, Bar::AtMost(precision)).shown(format!("{farthest:.1e}")));
        raw.extend(
            values
                .into_iter()
                .map(|(what, expected, got)| json!({"what": what, "expected": expected, "got": got})),
        );
    }
    check.keep("values", raw);
    check
}
