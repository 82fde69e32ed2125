//! Completion: how much of a pattern may be unknown or wrong before it no longer comes back.

use super::chart::{Axis, Chart, Mark, Series};
use super::report::{Bar, Check, Finding};
use crate::fault::Result;
use engram::BETA_DEFAULT;
use engram::sweep::{Corruption, Patterns};
use serde_json::json;

/// Numbers of a pattern.
const DIMENSIONS: usize = 256;
/// Patterns stored, and how many of them are asked for at each share of noise.
const STORES: [(usize, usize); 2] = [(1_000, 100), (10_000, 50)];
/// Of the numbers, how many are corrupted.
const SHARES: [f64; 10] = [0.1, 0.2, 0.3, 0.35, 0.4, 0.45, 0.6, 0.7, 0.8, 0.9];
/// Where the bar is.
const SHARE_HELD: f64 = 0.3;
const KINDS: [(Corruption, &str); 3] =
    [(Corruption::Unknown, "unknown"), (Corruption::Redrawn, "drawn anew"), (Corruption::Flipped, "flipped")];

pub(crate) fn check() -> Result<Check> {
    let mut check = Check::new("completion", "Completion", "random patterns; Ramsauer et al. 2021");
    check.about = format!(
        "Random patterns of {DIMENSIONS} numbers, each +1 or -1, are stored, and some of them asked for with a share of \
         their numbers unknown, drawn anew or flipped. One comes back when every number is the stored one and the memory is \
         named as its source. Half of the \
         numbers flipped leave nothing of a pattern, and more leave its opposite; half of them unknown leave half."
    );
    let mut series = Vec::new();
    let mut raw = Vec::new();
    for (store, (count, cues)) in STORES.into_iter().enumerate() {
        let mut patterns = Patterns::new(count, DIMENSIONS, 5);
        for (at, (corruption, name)) in KINDS.into_iter().enumerate() {
            let mut points = Vec::new();
            for share in SHARES {
                let found =
                    patterns.sweep(corruption, share, cues, BETA_DEFAULT).map_err(engram::Error::from)?;
                let recovered = found.recovered as f64 / found.cues as f64;
                points.push((share, recovered));
                raw.push(json!({
                    "patterns": count, "numbers": name, "share": share,
                    "recovered": recovered, "confidence": found.confidence,
                }));
                if share == SHARE_HELD {
                    let what = format!("{count} patterns, {share} of the numbers {name}: come back exactly");
                    check.findings.push(Finding::held(what, recovered, Bar::AtLeast(0.99)));
                }
            }
            let mark = if store == 0 { Mark::LineAndPoints } else { Mark::Dashes };
            series.push(Series::new(format!("{name}, among {count}"), at, mark, points));
        }
    }
    check.charts = vec![Chart {
        title: "Completion: patterns that come back exactly".into(),
        source: format!("random patterns of {DIMENSIONS} numbers"),
        x: Axis::linear("numbers that are unknown or wrong (share)", SHARES.into_iter().chain([0.0])),
        y: Axis::linear("come back exactly (share)", [0.0, 1.0]),
        series,
    }];
    check.keep("recovered", raw);
    Ok(check)
}
