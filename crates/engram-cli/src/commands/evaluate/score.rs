//! What ranked answers are worth against the evidence that should be among them: shares found, ranks, calibration.
//! Knows nothing of spaces and files. Means are over cues that have evidence. A figure that there is nothing to take it
//! from is absent.

use serde::Serialize;
use std::collections::{BTreeMap, HashSet};

/// Hits of a cue whose relevance is compared with what they are.
pub(crate) const CALIBRATED_HITS: usize = 10;
/// Groups of equal size in which stated and observed rates are compared.
const BINS: usize = 10;

/// What a cue should bring to mind.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wanted {
    /// Ids of memories; without any, nothing is an answer.
    pub(crate) evidence: Vec<String>,
    pub(crate) category: String,
    /// The cue is not a trick.
    pub(crate) answerable: bool,
}

/// What it brought to mind: ids and relevance, best first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ranked {
    pub(crate) ids: Vec<String>,
    pub(crate) relevance: Vec<f32>,
}

impl Ranked {
    /// How sure the answer is that it has one; 0 where it has no hit.
    pub(crate) fn first_relevance(&self) -> f64 {
        self.relevance.first().map_or(0.0, |relevance| f64::from(*relevance))
    }
}

/// Means over some cues.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Row {
    #[serde(rename = "n")]
    pub(crate) cues: usize,
    #[serde(rename = "R@1")]
    pub(crate) recall_at_1: f64,
    #[serde(rename = "R@5")]
    pub(crate) recall_at_5: f64,
    #[serde(rename = "R@10")]
    pub(crate) recall_at_10: f64,
    #[serde(rename = "R@20")]
    pub(crate) recall_at_20: f64,
    /// Cues all of whose evidence is among the first ten.
    #[serde(rename = "all@10")]
    pub(crate) all_at_10: f64,
    #[serde(rename = "nDCG@10")]
    pub(crate) ndcg_at_10: f64,
    /// Mean of 1 / rank of the first evidence.
    #[serde(rename = "MRR")]
    pub(crate) reciprocal_rank: f64,
}

impl Row {
    fn of(wanted: &Wanted, ranked: &Ranked) -> Self {
        let evidence: HashSet<&str> = wanted.evidence.iter().map(String::as_str).collect();
        let is_evidence = |id: &String| evidence.contains(id.as_str());
        let found = |hits: usize| ranked.ids.iter().take(hits).filter(|id| is_evidence(id)).count();
        let share = |hits: usize| found(hits) as f64 / evidence.len() as f64;
        let gain = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
        let first_ten = ranked.ids.iter().take(10).enumerate();
        let gained: f64 = first_ten.filter(|(_, id)| is_evidence(id)).map(|(rank, _)| gain(rank)).sum();
        let ideal: f64 = (0..evidence.len().min(10)).map(gain).sum();
        let first = ranked.ids.iter().position(is_evidence);
        Row {
            cues: 1,
            recall_at_1: share(1),
            recall_at_5: share(5),
            recall_at_10: share(10),
            recall_at_20: share(20),
            all_at_10: f64::from(found(10) == evidence.len()),
            ndcg_at_10: gained / ideal,
            reciprocal_rank: first.map_or(0.0, |rank| 1.0 / (rank + 1) as f64),
        }
    }

    fn figures(&mut self) -> [&mut f64; 7] {
        [
            &mut self.recall_at_1,
            &mut self.recall_at_5,
            &mut self.recall_at_10,
            &mut self.recall_at_20,
            &mut self.all_at_10,
            &mut self.ndcg_at_10,
            &mut self.reciprocal_rank,
        ]
    }

    fn mean(rows: &[Row]) -> Self {
        let mut mean = Row { cues: rows.len(), ..Row::default() };
        for mut row in rows.iter().copied() {
            for (sum, figure) in mean.figures().into_iter().zip(row.figures()) {
                *sum += *figure / rows.len() as f64;
            }
        }
        mean
    }
}

/// The rows of a set: all cues, those that are no trick, those that are, and each category.
pub(crate) fn rows(answers: &[(&Wanted, &Ranked)]) -> Vec<(String, Row)> {
    let scored: Vec<(&Wanted, Row)> = answers
        .iter()
        .filter(|(wanted, _)| !wanted.evidence.is_empty())
        .map(|(wanted, ranked)| (*wanted, Row::of(wanted, ranked)))
        .collect();
    let mut groups: Vec<(String, Vec<Row>)> = vec![
        ("all".into(), scored.iter().map(|(_, row)| *row).collect()),
        ("answerable".into(), scored.iter().filter(|(w, _)| w.answerable).map(|(_, row)| *row).collect()),
        ("trick".into(), scored.iter().filter(|(w, _)| !w.answerable).map(|(_, row)| *row).collect()),
    ];
    let mut categories: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for (wanted, row) in &scored {
        categories.entry(&wanted.category).or_default().push(*row);
    }
    // A category that is named like one of these rows would be a second row of that name.
    categories.retain(|name, _| groups.iter().all(|(group, _)| group != name));
    groups.extend(categories.into_iter().map(|(name, rows)| (name.to_owned(), rows)));
    groups.retain(|(_, rows)| !rows.is_empty());
    groups.into_iter().map(|(name, rows)| (name, Row::mean(&rows))).collect()
}

/// How well relevance says what share of hits is evidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Calibration {
    /// Mean distance of the stated from the observed rate.
    #[serde(rename = "ECE")]
    pub(crate) error: f64,
    /// Mean square of what is wrong with a statement.
    #[serde(rename = "Brier")]
    pub(crate) brier: f64,
    /// Variance of the observed rates: 0 for a constant statement, however true. Murphy 1973.
    pub(crate) resolution: f64,
    /// Share of the hits that is evidence.
    pub(crate) base: f64,
}

/// The first hits of each cue that has evidence: what was stated, and whether the hit was evidence.
pub(crate) fn stated(answers: &[(&Wanted, &Ranked)]) -> Vec<(f64, bool)> {
    let mut pairs = Vec::new();
    for (wanted, ranked) in answers.iter().filter(|(wanted, _)| !wanted.evidence.is_empty()) {
        let hits = ranked.ids.iter().zip(&ranked.relevance).take(CALIBRATED_HITS);
        pairs.extend(hits.map(|(id, stated)| (f64::from(*stated), wanted.evidence.contains(id))));
    }
    pairs
}

/// Compares what was stated with what was observed.
pub(crate) fn calibration(mut pairs: Vec<(f64, bool)>) -> Option<Calibration> {
    if pairs.is_empty() {
        return None;
    }
    pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let rate =
        |pairs: &[(f64, bool)]| pairs.iter().filter(|(_, seen)| *seen).count() as f64 / pairs.len() as f64;
    let base = rate(&pairs);
    let (mut error, mut resolution) = (0.0, 0.0);
    for bin in 0..BINS {
        let some = &pairs[pairs.len() * bin / BINS..pairs.len() * (bin + 1) / BINS];
        if some.is_empty() {
            continue;
        }
        let weight = some.len() as f64 / pairs.len() as f64;
        let said = some.iter().map(|(stated, _)| stated).sum::<f64>() / some.len() as f64;
        let seen = rate(some);
        error += weight * (said - seen).abs();
        resolution += weight * (seen - base).powi(2);
    }
    let miss = |(stated, seen): &(f64, bool)| (stated - f64::from(*seen)).powi(2);
    let brier = pairs.iter().map(miss).sum::<f64>() / pairs.len() as f64;
    Some(Calibration { error, brier, resolution, base })
}

/// The chance that one of `high` exceeds one of `low`; equals count half. Area under the ROC curve.
pub(crate) fn auroc(high: &[f64], low: &[f64]) -> Option<f64> {
    if high.is_empty() || low.is_empty() {
        return None;
    }
    let mut all: Vec<(f64, bool)> = high.iter().map(|value| (*value, true)).collect();
    all.extend(low.iter().map(|value| (*value, false)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut rank_sum, mut at) = (0.0, 0);
    for equals in all.chunk_by(|a, b| a.0 == b.0) {
        let from_high = equals.iter().filter(|(_, is_high)| *is_high).count();
        rank_sum += from_high as f64 * (2 * at + equals.len() + 1) as f64 / 2.0;
        at += equals.len();
    }
    let (high, low) = (high.len() as f64, low.len() as f64);
    Some((rank_sum - high * (high + 1.0) / 2.0) / (high * low))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cue a line: category, evidence, and what was ranked with which relevance. Category `odd` is of trick questions.
    const ANSWERS: &str = "\
single; m4 m12; 
multi; m17; 
odd; m18 m1; m16:0.9 m6:0.7 m1:0.6 m2:0.6 m13:0.6 m20:0.6 m21:0.6 m7:0.6 m18:0.5 m19:0.4 m0:0.2 m15:0.1 m9:0.1 m22:0.0
single; m18; m18:0.9 m20:0.8 m6:0.6 m11:0.5 m3:0.5 m17:0.5 m2:0.4 m1:0.4 m22:0.3 m15:0.3 m10:0.2 m8:0.2 m16:0.1 m5:0.1
multi; m24; m4:0.8 m15:0.7 m13:0.5 m1:0.4 m2:0.3 m17:0.3 m18:0.1 m10:0.1
odd; m1; m20:0.9 m18:0.7 m21:0.6 m14:0.5 m9:0.4 m12:0.4 m11:0.3 m0:0.2
single; m2 m5 m14; m17:1.0 m8:0.7 m4:0.7 m13:0.6 m24:0.6 m23:0.6 m21:0.5 m11:0.5 m12:0.4 m7:0.4 m2:0.3 m1:0.2 m14:0.2 m16:0.0
multi; m14; m12:1.0 m24:0.9 m23:0.8 m22:0.8 m3:0.6 m15:0.5 m21:0.5 m1:0.4 m6:0.4 m2:0.3 m20:0.3 m7:0.3 m19:0.3 m17:0.2 m5:0.1 m9:0.1 m0:0.1 m11:0.1 m8:0.1 m4:0.0
odd; m16; 
single; m16; m4:0.9 m22:0.6 m17:0.6 m0:0.5 m16:0.5 m9:0.5 m2:0.4 m8:0.2
multi; m7; m23:1.0 m7:1.0 m6:1.0 m16:0.9 m15:0.9 m11:0.8 m0:0.6 m18:0.5 m8:0.4 m20:0.4 m4:0.2 m3:0.2 m19:0.2 m9:0.2
odd; ; m20:0.9 m2:0.7 m21:0.7 m3:0.6 m12:0.5 m6:0.4 m15:0.1 m5:0.1
";
    /// What score.py says of them: cues, R@1, R@5, R@10, R@20, all@10, nDCG@10, MRR.
    const ROWS: [(&str, usize, [f64; 7]); 6] = [
        ("all", 11, [0.0909, 0.3182, 0.3636, 0.4242, 0.3636, 0.2281, 0.1931]),
        ("answerable", 8, [0.125, 0.375, 0.375, 0.4583, 0.375, 0.2522, 0.2239]),
        ("trick", 3, [0.0, 0.1667, 0.3333, 0.3333, 0.3333, 0.1637, 0.1111]),
        ("multi", 4, [0.0, 0.25, 0.25, 0.25, 0.25, 0.1577, 0.125]),
        ("odd", 3, [0.0, 0.1667, 0.3333, 0.3333, 0.3333, 0.1637, 0.1111]),
        ("single", 4, [0.25, 0.5, 0.5, 0.6667, 0.5, 0.3467, 0.3227]),
    ];
    /// ECE, Brier, resolution, base.
    const CALIBRATION: [f64; 4] = [0.5054, 0.3505, 0.0106, 0.0676];
    /// Of the first hits against those of five foreign cues.
    const FOREIGN: [f32; 5] = [0.0, 0.0, 0.9, 0.1, 1.0];
    const FOREIGN_AUROC: f64 = 0.6167;

    fn answers() -> Vec<(Wanted, Ranked)> {
        let read = |line: &str| {
            let [category, evidence, ranked] = line.split(';').map(str::trim).collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            let wanted = Wanted {
                evidence: evidence.split_whitespace().map(str::to_owned).collect(),
                category: category.into(),
                answerable: category != "odd",
            };
            let hits = ranked.split_whitespace().map(|hit| hit.split_once(':').unwrap());
            let (ids, relevance) = hits.map(|(id, p)| (id.to_owned(), p.parse::<f32>().unwrap())).unzip();
            (wanted, Ranked { ids, relevance })
        };
        ANSWERS.lines().map(read).collect()
    }

    fn assert_near(found: f64, expected: f64, what: &str) {
        assert!((found - expected).abs() < 1e-4, "{what}: {found}, score.py says {expected}");
    }

    #[test]
    fn figures_are_those_of_score_py() {
        let answers = answers();
        let answers: Vec<(&Wanted, &Ranked)> = answers.iter().map(|(w, r)| (w, r)).collect();
        let mut found = rows(&answers);
        assert_eq!(found.len(), ROWS.len());
        for ((name, row), (expected_name, cues, figures)) in found.iter_mut().zip(ROWS) {
            assert_eq!((name.as_str(), row.cues), (expected_name, cues));
            for (figure, expected) in row.figures().into_iter().zip(figures) {
                assert_near(*figure, expected, name);
            }
        }
        let c = calibration(stated(&answers)).unwrap();
        for (figure, expected) in [c.error, c.brier, c.resolution, c.base].into_iter().zip(CALIBRATION) {
            assert_near(figure, expected, "calibration");
        }
        let own: Vec<f64> = answers.iter().map(|(_, ranked)| ranked.first_relevance()).collect();
        assert_near(auroc(&own, &FOREIGN.map(f64::from)).unwrap(), FOREIGN_AUROC, "AUROC");
    }

    #[test]
    fn equals_count_half() {
        assert_eq!(auroc(&[0.9, 0.5], &[0.5, 0.1]), Some(0.875));
        assert_eq!(auroc(&[0.3], &[0.3]), Some(0.5));
        assert_eq!(auroc(&[], &[0.3]), None);
    }

    #[test]
    fn nothing_has_no_figures() {
        assert!(rows(&[]).is_empty() && calibration(vec![]).is_none());
    }
}
