//! The published data that models are held against: tables inside the program, whose place files of a folder take. Read
//! and checked before anything is asked.
//!
//! Savings: Murre & Dros 2015, table 3 (Ebbinghaus 1885, Mack and Seitz 1991, Dros 2015). Spacing: Cepeda et al. 2009.
//! False recall: Roediger, Watson, McDermott & Gallo 2001, with association strengths of Nelson, McEvoy & Schreiber 1998.

use crate::fault::{Fault, Result, failed, usage};
use crate::files::{Lines, json_of_line};
use flate2::read::GzDecoder;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const SAVINGS: (&str, &str) = ("forgetting/savings.tsv", include_str!("../../../data/savings.tsv"));
const SPACING: (&str, &str) =
    ("forgetting/cepeda_spacing_recall.csv", include_str!("../../../data/spacing.csv"));
const LISTS: (&str, &str) = ("drm/drm_lists.jsonl", include_str!("../../../data/drm-lists.jsonl"));
/// Too large for the program, and not free to be given away.
const NORMS: [&str; 2] = ["usf/usf_edges.tsv.gz", "usf/usf_edges.tsv"];
/// A table beyond that is none of these.
const BYTES_MAX: u64 = 256 << 20;

/// Everything that is asked about.
pub(crate) struct Data {
    pub(crate) savings: Savings,
    pub(crate) spacing: Vec<Experiment>,
    pub(crate) lists: Vec<StudyList>,
    /// Strengths of associations; absent where no folder has them.
    pub(crate) norms: Option<Norms>,
}

/// What relearning saved, by the time since learning.
pub(crate) struct Savings {
    pub(crate) hours: Vec<f64>,
    /// By who learned; the first is Ebbinghaus.
    pub(crate) by_learner: Vec<(String, Vec<f64>)>,
}

/// Two study sessions, a gap apart, and a test after a delay.
pub(crate) struct Experiment {
    pub(crate) name: String,
    /// Days between the sessions, and the share recalled at the second.
    pub(crate) forgetting: Vec<(f64, f64)>,
    /// By the delay in days: gaps in days, and the share recalled at the test.
    pub(crate) spacing: Vec<(f64, Vec<(f64, f64)>)>,
}

/// Words that were studied, and the word that was not, which they suggest.
#[derive(Debug, Deserialize)]
pub(crate) struct StudyList {
    pub(crate) lure: String,
    /// Share of people who recalled the lure, 0..=1.
    pub(crate) false_recall: f64,
    pub(crate) associates: Vec<Associate>,
}

/// A studied word.
#[derive(Debug, Deserialize)]
pub(crate) struct Associate {
    pub(crate) word: String,
    /// Backward strength: share of people whom the word reminds of the lure first. Absent where nobody measured it.
    pub(crate) bas: Option<f64>,
    /// Forward strength: share of people whom the lure reminds of the word first.
    #[serde(default)]
    pub(crate) fas_usf: Option<f64>,
}

impl StudyList {
    /// Mean backward strength of the words; one that nobody measured counts as none.
    pub(crate) fn mean_bas(&self) -> f64 {
        let sum: f64 = self.associates.iter().filter_map(|word| word.bas).sum();
        sum / self.associates.len() as f64
    }
}

/// Which words remind people of which.
pub(crate) struct Norms {
    /// Ordered.
    pub(crate) words: Vec<String>,
    /// Cue, target (as places in `words`), and share of people who named the target first, above 0.
    pub(crate) pairs: Vec<(usize, usize, f64)>,
}

impl Data {
    /// The tables inside, or those of `folder`.
    pub(crate) fn read(folder: Option<&Path>) -> Result<Self> {
        if let Some(folder) = folder {
            if !folder.is_dir() {
                return usage(format!("{}: is no folder", folder.display()));
            }
            let known = [SAVINGS.0, SPACING.0, LISTS.0, NORMS[0], NORMS[1]];
            if !known.iter().any(|name| folder.join(name).is_file()) {
                return usage(format!(
                    "{}: has none of {}; without a folder the tables inside the program are used",
                    folder.display(),
                    known.join(", ")
                ));
            }
        }
        let (place, text) = table(folder, SAVINGS)?;
        let savings = savings(&text).map_err(|fault| fault.at(place))?;
        let (place, text) = table(folder, SPACING)?;
        let spacing = spacing(&text).map_err(|fault| fault.at(place))?;
        let (place, text) = table(folder, LISTS)?;
        let lists = lists(&place, text)?;
        let norms = folder.into_iter().flat_map(|folder| NORMS.map(|name| folder.join(name)));
        let norms = norms.into_iter().find(|path| path.is_file()).map(|path| norms_of(&path)).transpose()?;
        Ok(Self { savings, spacing, lists, norms })
    }
}

/// A table, and where it is.
fn table(folder: Option<&Path>, (name, inside): (&str, &str)) -> Result<(String, String)> {
    match folder.map(|folder| folder.join(name)).filter(|path| path.is_file()) {
        Some(path) => Ok((path.display().to_string(), text_of(&path)?)),
        None => Ok((format!("{name} (inside the program)"), inside.to_owned())),
    }
}

fn text_of(path: &Path) -> Result<String> {
    let cannot = |error: io::Error| Fault::file(path, "cannot read it", &error);
    let file = File::open(path).map_err(cannot)?;
    let is_packed = path.extension().is_some_and(|end| end == "gz");
    let reader: Box<dyn Read> = if is_packed { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
    let mut text = String::new();
    reader.take(BYTES_MAX).read_to_string(&mut text).map_err(cannot)?;
    Ok(text)
}

/// The lines of a table after its head, as cells by the names of the head.
fn rows<'a>(
    text: &'a str,
    split: fn(&str) -> Vec<String>,
) -> (Vec<String>, impl Iterator<Item = (usize, Vec<String>)> + 'a) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate();
    let head = lines.next().map(|(_, line)| split(line)).unwrap_or_default();
    let rows = lines.filter(|(_, line)| !line.trim().is_empty()).map(move |(at, line)| (at + 1, split(line)));
    (head, rows)
}

fn by_tab(line: &str) -> Vec<String> {
    line.split('\t').map(|cell| cell.trim().to_owned()).collect()
}

/// Cells between commas; one in double quotes may hold commas.
fn by_comma(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(std::mem::take(&mut cell)),
            _ => cell.push(c),
        }
    }
    cells.push(cell);
    cells.iter().map(|cell| cell.trim().to_owned()).collect()
}

/// The places of columns by their names.
fn columns<const N: usize>(head: &[String], names: [&str; N]) -> Result<[usize; N]> {
    let mut found = [0; N];
    for (place, name) in found.iter_mut().zip(names) {
        match head.iter().position(|own| own == name) {
            Some(at) => *place = at,
            None => return failed(format!("line 1: has no column {name}; it has {}", head.join(", "))),
        }
    }
    Ok(found)
}

fn number(cells: &[String], at: usize, line: usize, what: &str) -> Result<f64> {
    let cell = cells.get(at).map_or("", String::as_str);
    let number = cell.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| Fault::Failed(format!("line {line}: {what} is \"{cell}\", it must be 0 or more")))
}

fn savings(text: &str) -> Result<Savings> {
    const TIME: &str = "minutes_corrected";
    let (head, rows) = rows(text, by_tab);
    let [time] = columns(&head, [TIME])?;
    let is_learner = |name: &str| {
        !["interval_label", "minutes_nominal", TIME, "ebbinghaus_probable_error"].contains(&name)
    };
    let learners: Vec<usize> = (0..head.len()).filter(|at| is_learner(&head[*at])).collect();
    let mut found = Savings { hours: Vec::new(), by_learner: Vec::new() };
    found.by_learner = learners.iter().map(|at| (title(&head[*at]), Vec::new())).collect();
    for (line, cells) in rows {
        found.hours.push(number(&cells, time, line, TIME)? / 60.0);
        for (at, (_, savings)) in learners.iter().zip(&mut found.by_learner) {
            savings.push(number(&cells, *at, line, &head[*at])?);
        }
    }
    if found.hours.len() < 3 || found.hours.contains(&0.0) || found.by_learner.is_empty() {
        return failed("needs a learner, and at least three times above 0");
    }
    Ok(found)
}

/// `ebbinghaus_1885` as `Ebbinghaus 1885`.
fn title(name: &str) -> String {
    let mut chars = name.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    first + &chars.as_str().replace('_', " ")
}

fn spacing(text: &str) -> Result<Vec<Experiment>> {
    let (head, rows) = rows(text, by_comma);
    let names = ["panel", "experiment", "function", "isi_days", "ri_days", "recall_pct"];
    let [panel, name, function, gap, delay, recall] = columns(&head, names)?;
    let mut found: Vec<(String, Experiment)> = Vec::new();
    for (line, cells) in rows {
        let cell = |at: usize| cells.get(at).cloned().unwrap_or_default();
        let key = format!("{} {}", cell(panel), cell(name));
        let at = found.iter().position(|(own, _)| *own == key).unwrap_or_else(|| {
            let experiment = Experiment { name: cell(name), forgetting: vec![], spacing: vec![] };
            found.push((key, experiment));
            found.len() - 1
        });
        let experiment = &mut found[at].1;
        let point =
            (number(&cells, gap, line, "isi_days")?, number(&cells, recall, line, "recall_pct")? / 100.0);
        match cell(function).as_str() {
            "forgetting" => experiment.forgetting.push(point),
            "spacing" => {
                let delay = number(&cells, delay, line, "ri_days")?;
                match experiment.spacing.iter_mut().find(|(own, _)| *own == delay) {
                    Some((_, points)) => points.push(point),
                    None => experiment.spacing.push((delay, vec![point])),
                }
            }
            other => {
                return failed(format!(
                    "line {line}: function is \"{other}\", known are forgetting and spacing"
                ));
            }
        }
    }
    let mut found: Vec<Experiment> = found.into_iter().map(|(_, experiment)| experiment).collect();
    for experiment in &mut found {
        experiment.forgetting.sort_by(|a, b| a.0.total_cmp(&b.0));
        experiment.spacing.sort_by(|a, b| a.0.total_cmp(&b.0));
        experiment.spacing.iter_mut().for_each(|(_, points)| points.sort_by(|a, b| a.0.total_cmp(&b.0)));
    }
    if found.is_empty() { failed("has no experiment") } else { Ok(found) }
}

fn lists(place: &str, text: String) -> Result<Vec<StudyList>> {
    let mut lines = Lines::of(place, text.into_bytes());
    let (mut line, mut found) = (Vec::new(), Vec::new());
    while let Some(number) = lines.next(&mut line)? {
        let mut list: StudyList = json_of_line(&line).map_err(|fault| fault.at(lines.place(number)))?;
        list.lure = list.lure.to_lowercase();
        list.associates.iter_mut().for_each(|associate| associate.word = associate.word.to_lowercase());
        if list.associates.is_empty() {
            return Err(Fault::Failed("associates is empty".into()).at(lines.place(number)));
        }
        found.push(list);
    }
    if found.is_empty() { failed(format!("{place}: has no list")) } else { Ok(found) }
}

fn norms_of(path: &Path) -> Result<Norms> {
    let text = text_of(path)?;
    let parse = || {
        let (head, rows) = rows(&text, by_tab);
        let [cue, target, strength] = columns(&head, ["cue", "target", "fsg"])?;
        let mut pairs: Vec<(String, String, f64)> = Vec::new();
        for (line, cells) in rows {
            let share = number(&cells, strength, line, "fsg")?;
            let [cue, target] =
                [cue, target].map(|at| cells.get(at).map(|word| word.to_lowercase()).unwrap_or_default());
            if share > 0.0 && share <= 1.0 && cue != target {
                pairs.push((cue, target, share));
            }
        }
        Ok(pairs)
    };
    let named = parse().map_err(|fault: Fault| fault.at(path.display()))?;
    let mut words: Vec<String> =
        named.iter().flat_map(|(cue, target, _)| [cue.clone(), target.clone()]).collect();
    words.sort();
    words.dedup();
    let place = |word: &String| words.binary_search(word).expect("every word is among them");
    let mut pairs: Vec<_> =
        named.iter().map(|(cue, target, share)| (place(cue), place(target), *share)).collect();
    pairs.sort_by_key(|(cue, target, _)| (*cue, *target));
    pairs.dedup_by_key(|(cue, target, _)| (*cue, *target));
    Ok(Norms { words, pairs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_inside_are_read() {
        let data = Data::read(None).unwrap();
        let learners: Vec<&str> = data.savings.by_learner.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(learners, ["Ebbinghaus 1885", "Mack 1991", "Seitz 1991", "Dros 2015"]);
        assert_eq!(data.savings.hours.len(), 7);
        let shape: Vec<(usize, f64)> =
            data.spacing.iter().map(|e| (e.forgetting.len(), e.spacing[0].0)).collect();
        assert_eq!(shape, [(6, 10.0), (6, 168.0)]);
        assert_eq!(data.lists.iter().map(|list| list.associates.len()).sum::<usize>(), 18 * 15);
        assert!((data.lists[0].mean_bas() - 0.431).abs() < 5e-4);
        assert!(data.norms.is_none());
    }

    #[test]
    fn bad_cells_are_told_with_line_and_value() {
        let told = |text: &str| spacing(text).err().unwrap().verdict().0.unwrap().to_owned();
        let head = "panel,experiment,function,isi_days,ri_days,recall_pct\n";
        assert_eq!(told("a,b\n"), "line 1: has no column panel; it has a, b");
        assert_eq!(
            told(&format!("{head}a,\"X, 1\",spacing,1,,50\n")),
            "line 2: ri_days is \"\", it must be 0 or more"
        );
        assert_eq!(
            told(&format!("{head}a,X,sleeping,1,2,50\n")),
            "line 2: function is \"sleeping\", known are forgetting and spacing"
        );
        assert!(lists("x", r#"{"lure": "a", "false_recall": 0.1, "associates": []}"#.into()).is_err());
    }

    #[test]
    fn a_word_that_nobody_measured_counts_as_none() {
        let line = r#"{"lure": "a", "false_recall": 0.1, "associates": [{"word": "b", "bas": null}, {"word": "c", "bas": 0.5}]}"#;
        assert_eq!(lists("x", line.into()).unwrap()[0].mean_bas(), 0.25);
    }
}
