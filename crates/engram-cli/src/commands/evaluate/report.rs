//! The figures of an evaluation: as tables for people, and as JSON with all that is needed to repeat them.

use super::ask::Concepts;
use super::score::{Calibration, Row};
use crate::fault::Result;
use crate::made::Made;
use crate::screen::{Screen, counted, faint, grouped, strong};
use engram::{Part, Without};
use serde::{Serialize, Serializer};

/// Everything that an evaluation found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) made: Made,
    pub(crate) limit: usize,
    pub(crate) sets: Vec<SetReport>,
}

/// What was found with one set.
#[derive(Debug, Serialize)]
pub(crate) struct SetReport {
    pub(crate) name: String,
    pub(crate) spaces: usize,
    pub(crate) memories: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) concepts: Option<Concepts>,
    pub(crate) cues: usize,
    /// Whether the memories were stored with vectors.
    pub(crate) vectors: bool,
    /// The first is the whole of recall.
    pub(crate) ways: Vec<WayReport>,
    /// Each with one part taken out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ablations: Vec<WayReport>,
    /// Of what the whole of recall says on cues that have an answer here, and on those that have none.
    pub(crate) unknown: Unknown,
    pub(crate) latency: Latency,
}

/// What one way of recall reached.
#[derive(Debug, Serialize)]
pub(crate) struct WayReport {
    pub(crate) name: String,
    #[serde(serialize_with = "part_names")]
    pub(crate) without: Without,
    /// Memories that the ranking looked at, on average over all cues.
    pub(crate) looked_at: f64,
    #[serde(serialize_with = "as_map")]
    pub(crate) rows: Vec<(String, Row)>,
    pub(crate) calibration: Option<Calibration>,
}

/// How well the relevance of the first hit tells cues that have an answer from others. Areas under the ROC curve.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Unknown {
    /// Against cues of other spaces.
    pub(crate) foreign_auroc: Option<f64>,
    pub(crate) foreign_cues: usize,
    /// Against the same cues while their evidence is not stored.
    pub(crate) hard_auroc: Option<f64>,
    pub(crate) hard_cues: usize,
    /// Why one of the two is absent.
    pub(crate) skipped: Vec<String>,
    /// Share of the own, of the foreign, and of the cues without their evidence that recall abstained on.
    pub(crate) abstained: [Option<f64>; 3],
}

/// Milliseconds within the library, one cue after the other.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Latency {
    pub(crate) median_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Latency {
    pub(crate) fn of(mut seconds: Vec<f64>) -> Self {
        seconds.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (seconds.len() as f64 * share).ceil() as usize;
            seconds.get(rank.saturating_sub(1)).map_or(0.0, |seconds| seconds * 1e3)
        };
        Self { median_ms: at(0.5), p99_ms: at(0.99) }
    }
}

fn part_names<S: Serializer>(without: &Without, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(without.parts().map(Part::name))
}

fn as_map<S: Serializer>(rows: &[(String, Row)], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(rows.iter().map(|(name, row)| (name, row)))
}

impl WayReport {
    /// The row that counts: without trick questions.
    pub(crate) fn headline(&self) -> Row {
        let named = |wanted: &str| self.rows.iter().find(|(name, _)| name == wanted).map(|(_, row)| *row);
        named("answerable").or_else(|| named("all")).unwrap_or_default()
    }
}

impl SetReport {
    pub(crate) fn show(&self, screen: &mut Screen) -> Result<()> {
        let count = |number: usize, one, many| counted(number as u64, one, many);
        let mut facts = vec![
            count(self.spaces, "space", "spaces"),
            count(self.memories, "memory", "memories"),
            count(self.cues, "cue", "cues"),
            if self.vectors { "with vectors".to_owned() } else { "by text alone".to_owned() },
        ];
        facts.extend(self.concepts.map(|made| {
            let concepts = count(made.concepts, "concept", "concepts");
            format!("{concepts} for {}, made in {:.2} s", grouped(made.sources as u64), made.seconds)
        }));
        screen.line("")?;
        screen.line(format_args!(
            "{}  {}",
            strong().apply_to(&self.name),
            faint().apply_to(facts.join(" · "))
        ))?;
        self.show_rows(screen)?;
        screen.line("")?;
        self.show_ways(screen)?;
        screen.line("")?;
        self.show_relevance(screen)
    }

    fn show_rows(&self, screen: &mut Screen) -> Result<()> {
        let Some(whole) = self.ways.first() else { return Ok(()) };
        let head = format!(
            "  {:16}{:>6}{:>8}{:>8}{:>8}{:>8}{:>8}{:>9}{:>8}",
            "", "cues", "R@1", "R@5", "R@10", "R@20", "all@10", "nDCG@10", "MRR"
        );
        screen.line(faint().apply_to(head))?;
        for (name, row) in &whole.rows {
            screen.line(format_args!(
                "  {name:16}{:>6}{:>8}{:>8}{:>8}{:>8}{:>8}{:>9}{:>8}",
                grouped(row.cues as u64),
                share(row.recall_at_1),
                share(row.recall_at_5),
                share(row.recall_at_10),
                share(row.recall_at_20),
                share(row.all_at_10),
                share(row.ndcg_at_10),
                share(row.reciprocal_rank),
            ))?;
        }
        Ok(())
    }

    /// The ways side by side, on the cues that are no trick.
    fn show_ways(&self, screen: &mut Screen) -> Result<()> {
        let Some(whole) = self.ways.first().map(WayReport::headline) else { return Ok(()) };
        let width = self.ways.iter().map(|way| way.name.chars().count()).max().unwrap_or(0).max(20);
        let head = format!(
            "  {:width$}{:>8}{:>8}{:>9}{:>11}{:>10}{:>8}",
            "answerable", "R@5", "R@10", "nDCG@10", "looked at", "±R@5", "±R@10"
        );
        screen.line(faint().apply_to(head))?;
        for (at, way) in self.ways.iter().enumerate() {
            let row = way.headline();
            let beside = |part: f64, all: f64| if at == 0 { String::new() } else { difference(part - all) };
            let line = format!(
                "  {:width$}{:>8}{:>8}{:>9}{:>11.1}{:>10}{:>8}",
                way.name,
                share(row.recall_at_5),
                share(row.recall_at_10),
                share(row.ndcg_at_10),
                way.looked_at,
                beside(row.recall_at_5, whole.recall_at_5),
                beside(row.recall_at_10, whole.recall_at_10),
            );
            screen.line(line.trim_end())?;
        }
        Ok(())
    }

    fn show_relevance(&self, screen: &mut Screen) -> Result<()> {
        if let Some(c) = self.ways.first().and_then(|way| way.calibration) {
            screen.line(format_args!(
                "  relevance   ECE {}  Brier {}  resolution {}  base {}",
                share(c.error),
                share(c.brier),
                share(c.resolution),
                share(c.base)
            ))?;
        }
        let Unknown { foreign_auroc, foreign_cues, hard_auroc, hard_cues, skipped, abstained } =
            &self.unknown;
        let mut told = Vec::new();
        if let Some(auroc) = foreign_auroc {
            told.push(format!("foreign cues ({}) {}", grouped(*foreign_cues as u64), share(*auroc)));
        }
        if let Some(auroc) = hard_auroc {
            told.push(format!("evidence taken out ({}) {}", grouped(*hard_cues as u64), share(*auroc)));
        }
        if !told.is_empty() {
            screen.line(format_args!("  AUROC       {}", told.join("  ")))?;
        }
        let whose = ["own", "foreign", "evidence taken out"];
        let shares =
            whose.iter().zip(abstained).filter_map(|(name, s)| Some(format!("{name} {}", share((*s)?))));
        screen.line(format_args!("  abstained   {}", shares.collect::<Vec<_>>().join("  ")))?;
        for reason in skipped {
            screen.line(faint().apply_to(format!("  not there   {reason}")))?;
        }
        let Latency { median_ms, p99_ms } = self.latency;
        screen.line(format_args!("  latency     median {median_ms:.2} ms  p99 {p99_ms:.2} ms"))
    }
}

/// What each part is worth: the difference that taking it out makes, in each set.
pub(crate) fn show_ablation(screen: &mut Screen, sets: &[SetReport]) -> Result<()> {
    screen.line("")?;
    screen.line(format_args!(
        "{}  {}",
        strong().apply_to("parts taken out"),
        faint().apply_to("one at a time: R@5 and R@10 of answerable cues, and what the others change")
    ))?;
    let titles: String = sets.iter().map(|set| format!("  {:>16}", fitted(&set.name))).collect();
    screen.line(format_args!("  {:16}{titles}", ""))?;
    let heads: String = sets.iter().map(|_| format!("  {:>8}{:>8}", "R@5", "R@10")).collect();
    screen.line(faint().apply_to(format!("  {:16}{heads}", "")))?;
    let cells: String = sets
        .iter()
        .filter_map(|set| set.ways.first().map(WayReport::headline))
        .map(|row| format!("  {:>8}{:>8}", share(row.recall_at_5), share(row.recall_at_10)))
        .collect();
    screen.line(format_args!("  {:16}{cells}", "everything"))?;
    for part in Part::ALL.map(Part::name) {
        let cell = |set: &SetReport| {
            let whole = set.ways.first()?.headline();
            let row = set.ablations.iter().find(|way| way.name == part)?.headline();
            let beside = [row.recall_at_5 - whole.recall_at_5, row.recall_at_10 - whole.recall_at_10];
            Some(format!("  {:>8}{:>8}", difference(beside[0]), difference(beside[1])))
        };
        let cells: String = sets.iter().filter_map(cell).collect();
        screen.line(format_args!("  {part:16}{cells}"))?;
    }
    Ok(())
}

fn fitted(name: &str) -> String {
    console::truncate_str(name, 16, "…").into_owned()
}

/// `.7692`, `1.0000`.
pub(crate) fn share(share: f64) -> String {
    let text = format!("{share:.4}");
    text.strip_prefix('0').unwrap_or(&text).to_owned()
}

/// `+.0123`, `−.0123`, and `·` for nothing.
fn difference(difference: f64) -> String {
    match format!("{:.4}", difference.abs()).as_str() {
        "0.0000" => "·".into(),
        text => {
            let sign = if difference < 0.0 { '−' } else { '+' };
            format!("{sign}{}", text.strip_prefix('0').unwrap_or(text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!([0.0, 0.76919, 1.0].map(share), [".0000", ".7692", "1.0000"]);
        assert_eq!([0.0, 0.01234, -0.5, -0.000_01].map(difference), ["·", "+.0123", "−.5000", "·"]);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let latency = Latency::of((1..=200).map(|i| f64::from(i) / 1e3).collect());
        assert_eq!((latency.median_ms.round(), latency.p99_ms.round()), (100.0, 198.0));
        assert_eq!(Latency::of(vec![]).p99_ms, 0.0);
    }
}
