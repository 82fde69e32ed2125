//! What the checks found: as a table for people, as JSON with all that is needed to repeat it, and as a page with plots.

use super::chart::{Chart, escaped};
use crate::fault::{Fault, Result};
use crate::files::Draft;
use crate::made::Made;
use crate::screen::{Screen, bad, faint, good, strong};
use serde::Serialize;
use serde_json::{Map, Value};
use std::io::Write;
use std::path::Path;

/// The page in the folder of a report.
pub(crate) const PAGE: &str = "index.html";
const FIGURES: &str = "figures.json";

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) made: Made,
    pub(crate) met: usize,
    pub(crate) missed: usize,
    pub(crate) skipped: usize,
    pub(crate) checks: Vec<Check>,
}

/// What one check found.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    /// A word; the names of its plots begin with it.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Whose data.
    pub(crate) data: String,
    /// What was done, in some sentences.
    pub(crate) about: String,
    pub(crate) findings: Vec<Finding>,
    /// What was not asked, and what it would need.
    pub(crate) skipped: Vec<String>,
    /// Raw numbers.
    pub(crate) raw: Map<String, Value>,
    #[serde(skip)]
    pub(crate) charts: Vec<Chart>,
}

/// A figure, and how it stands to its bar.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Finding {
    pub(crate) what: String,
    pub(crate) figure: f64,
    /// As people read it.
    pub(crate) shown: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bar: Option<Bar>,
    /// Absent where there is no bar: a figure to compare with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) met: Option<bool>,
}

/// What a figure must reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bar {
    AtLeast(f64),
    AtMost(f64),
}

impl Bar {
    fn is_met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(least) => figure >= least,
            Self::AtMost(most) => figure <= most,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::AtLeast(least) => format!("≥ {}", short(least)),
            Self::AtMost(most) => format!("≤ {}", short(most)),
        }
    }
}

/// A number without what says nothing: `.94`, `0`, `1e-6`, `10`.
fn short(number: f64) -> String {
    if number != 0.0 && number.abs() < 1e-3 {
        return format!("{number:e}");
    }
    let text = format!("{number:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.strip_prefix('0').filter(|rest| !rest.is_empty()).unwrap_or(text).to_owned()
}

impl Finding {
    /// A figure of three decimals that has to reach a bar.
    pub(crate) fn held(what: impl Into<String>, figure: f64, bar: Bar) -> Self {
        Self { bar: Some(bar), met: Some(bar.is_met(figure)), ..Self::beside(what, figure) }
    }

    /// A figure of three decimals to compare with.
    pub(crate) fn beside(what: impl Into<String>, figure: f64) -> Self {
        Self { what: what.into(), figure, shown: decimals(figure), bar: None, met: None }
    }

    /// The same, shown otherwise.
    pub(crate) fn shown(self, shown: impl Into<String>) -> Self {
        Self { shown: shown.into(), ..self }
    }
}

/// `.942`, `-3.690`, and `–` for what has no value.
pub(crate) fn decimals(figure: f64) -> String {
    if figure.is_nan() {
        return "–".to_owned();
    }
    let text = format!("{:.3}", figure.abs());
    let text = text.strip_prefix('0').unwrap_or(&text);
    format!("{}{text}", if figure < -0.0005 { "-" } else { "" })
}

impl Check {
    pub(crate) fn new(name: &'static str, title: &'static str, data: impl Into<String>) -> Self {
        Self {
            name,
            title,
            data: data.into(),
            about: String::new(),
            findings: Vec::new(),
            skipped: Vec::new(),
            raw: Map::new(),
            charts: Vec::new(),
        }
    }

    /// Keeps raw numbers under a name.
    pub(crate) fn keep(&mut self, name: &str, value: impl Serialize) {
        let value = serde_json::to_value(value).expect("numbers and names are JSON");
        self.raw.insert(name.to_owned(), value);
    }

    pub(crate) fn show(&self, screen: &mut Screen) -> Result<()> {
        screen.line("")?;
        screen.line(format_args!("{}  {}", strong().apply_to(self.title), faint().apply_to(&self.data)))?;
        let width = self.findings.iter().map(|f| f.what.chars().count()).max().unwrap_or(0).max(60);
        for finding in &self.findings {
            let Finding { what, shown, bar, met, .. } = finding;
            let bar = bar.map(Bar::shown).unwrap_or_default();
            let line = format!("  {what:width$}{shown:>12}{bar:>10}");
            match met {
                Some(true) => screen.line(format_args!("{line}  {}", good().apply_to("met")))?,
                Some(false) => screen.line(format_args!("{line}  {}", bad().apply_to("missed")))?,
                None => screen.line(line.trim_end())?,
            }
        }
        for reason in &self.skipped {
            screen.line(faint().apply_to(format!("  skipped: {reason}")))?;
        }
        Ok(())
    }

    fn chart_file(&self, at: usize) -> String {
        if at == 0 { format!("{}.svg", self.name) } else { format!("{}-{}.svg", self.name, at + 1) }
    }
}

impl Report {
    pub(crate) fn new(made: Made, checks: Vec<Check>) -> Self {
        let count = |wanted| {
            checks.iter().flat_map(|check| &check.findings).filter(|found| found.met == Some(wanted)).count()
        };
        let skipped = checks.iter().map(|check| check.skipped.len()).sum();
        Self { made, met: count(true), missed: count(false), skipped, checks }
    }

    /// The page, its plots and the figures, in a folder that is made where it is not.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder)
            .map_err(|error| Fault::file(folder, "cannot make this folder", &error))?;
        for check in &self.checks {
            for (at, chart) in check.charts.iter().enumerate() {
                write(&folder.join(check.chart_file(at)), chart.svg().as_bytes())?;
            }
        }
        let mut json = serde_json::to_vec_pretty(self).expect("numbers and names are JSON");
        json.push(b'\n');
        write(&folder.join(FIGURES), &json)?;
        write(&folder.join(PAGE), self.page().as_bytes())
    }

    /// All in one file, plots included, so that it can be sent to somebody.
    fn page(&self) -> String {
        let verdict = format!("{} bars met, {} missed, {} skipped", self.met, self.missed, self.skipped);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>engram validate</title>\n<style>{STYLE}</style>\n\
             <h1>Dynamics of memory against published data</h1>\n<p>{verdict}. {}</p>\n",
            escaped(&self.made.line())
        );
        for check in &self.checks {
            page += &format!(
                "<section id=\"{}\">\n<h2>{}</h2>\n<p class=\"source\">{}</p>\n<p>{}</p>\n",
                check.name,
                escaped(check.title),
                escaped(&check.data),
                escaped(&check.about)
            );
            if !check.findings.is_empty() {
                page += "<table>\n<tr><th>what<th>figure<th>bar<th>\n";
                page.extend(check.findings.iter().map(row));
                page += "</table>\n";
            }
            page.extend(
                check
                    .skipped
                    .iter()
                    .map(|reason| format!("<p class=\"source\">skipped: {}</p>\n", escaped(reason))),
            );
            page.extend(check.charts.iter().map(|chart| format!("<figure>\n{}</figure>\n", chart.svg())));
            page += "</section>\n";
        }
        page += &format!("<p>Raw numbers: <a href=\"{FIGURES}\">{FIGURES}</a></p>\n</html>\n");
        page
    }
}

fn row(finding: &Finding) -> String {
    let (class, verdict) = match finding.met {
        Some(true) => ("met", "met"),
        Some(false) => ("missed", "missed"),
        None => ("", ""),
    };
    format!(
        "<tr class=\"{class}\"><td>{}<td>{}<td>{}<td>{verdict}\n",
        escaped(&finding.what),
        escaped(&finding.shown),
        escaped(&finding.bar.map(Bar::shown).unwrap_or_default())
    )
}

const STYLE: &str = "body{font:15px/1.5 Helvetica,Arial,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222;\
background:#fff}h2{margin:2.5em 0 0}.source{color:#666;margin:.2em 0}table{border-collapse:collapse;margin:1em 0}\
td,th{padding:.2em 1em .2em 0;text-align:left;border-bottom:1px solid #e4e4e4}td:nth-child(2),td:nth-child(3)\
{text-align:right;font-variant-numeric:tabular-nums}.met td:last-child{color:#060}.missed td:last-child{color:#b00;\
font-weight:bold}figure{margin:1em 0}svg{max-width:100%;height:auto}";

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let draft = Draft::new(path)?;
    let mut file = draft.file()?;
    file.write_all(bytes).map_err(|error| draft.fault(&error))?;
    draft.publish(&file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_beside_their_bars() {
        assert_eq!(
            [0.9416, -3.6904, 0.0, 12.5, f64::NAN].map(decimals),
            [".942", "-3.690", ".000", "12.500", "–"]
        );
        let bars = [
            Bar::AtLeast(0.94),
            Bar::AtMost(0.05),
            Bar::AtMost(0.0),
            Bar::AtMost(1e-6),
            Bar::AtMost(1.0 / 3.0),
        ];
        assert_eq!(bars.map(Bar::shown), ["≥ .94", "≤ .05", "≤ 0", "≤ 1e-6", "≤ .333"]);
        assert_eq!(Finding::held("r", 0.95, Bar::AtLeast(0.94)).met, Some(true));
        assert_eq!(Finding::held("d", 0.06, Bar::AtMost(0.05)).met, Some(false));
        assert_eq!(Finding::held("r", f64::NAN, Bar::AtLeast(0.94)).met, Some(false));
        assert_eq!(Finding::beside("r", 0.5).met, None);
    }
}
