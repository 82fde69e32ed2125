//! Draws hits, and under a hit the ways that activation took to it, as a tree of box-drawing characters:
//! ```text
//! ├─ 71 %  Ada moved to Lisbon
//! │        └─ next 0.50 ─▶ this memory
//! ```
//! An arrow that points left is a link that was followed against its direction.

use crate::backend::Backend;
use crate::fault::Result;
use crate::screen::{accent, faint, fitted, good, percent, strong};
use engram_server::api::{HitOut, MemoryOut, PathOut, StepOut};
use std::collections::HashMap;

/// Spaces before what belongs to a hit.
const INDENT: usize = 10;
/// Columns of `71 %` and the spaces after it.
const SHARE_COLUMNS: usize = 7;

/// A path that brought less of a hit's activation is not worth its lines where few shall be drawn.
const SHARE_WORTH: f32 = 0.05;

/// Contents of memories that paths pass through, by id.
pub(crate) type Contents = HashMap<String, String>;

/// How much to show of each hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Detail {
    /// The content, and of the paths those that teach something: strong ones, without detours.
    Short,
    /// Also id, context, time and what else there is to say, and weak paths too.
    Full,
}

/// The paths to draw, at most `paths_max`, strongest first. A path without steps stands for all that are not told.
fn drawn(hit: &HitOut, detail: Detail, paths_max: usize) -> Vec<&PathOut> {
    let told = hit.paths.iter().flatten().filter(|path| !path.steps.is_empty());
    if detail == Detail::Full {
        let (there_and_back, straight): (Vec<_>, Vec<_>) = told.partition(|path| returns(path));
        let paths = if straight.is_empty() { there_and_back } else { straight };
        return paths.into_iter().take(paths_max).collect();
    }
    let worth = SHARE_WORTH * whole(hit);
    let mut drawn: Vec<&PathOut> = Vec::new();
    for path in told.filter(|path| path.share >= worth && !returns(path)) {
        if drawn.len() < paths_max && !drawn.iter().any(|other| way(other).eq(way(path))) {
            drawn.push(path);
        }
    }
    drawn
}

/// All activation that paths brought to a hit.
fn whole(hit: &HitOut) -> f32 {
    hit.paths.iter().flatten().map(|path| path.share).sum()
}

fn way(path: &PathOut) -> impl Iterator<Item = &str> {
    path.steps.iter().map(|step| step.memory.as_str())
}

/// Whether the path comes to a memory twice.
fn returns(path: &PathOut) -> bool {
    way(path).enumerate().any(|(i, id)| way(path).take(i).any(|before| before == id))
}

/// Fetches what the drawn paths of these hits pass through. A memory that was deleted meanwhile is shown by its id.
pub(crate) fn contents_on_paths(
    backend: &Backend,
    space: &str,
    hits: &[HitOut],
    detail: Detail,
    paths_max: usize,
) -> Result<Contents> {
    let mut contents: Contents =
        hits.iter().filter_map(|hit| Some((hit.memory.id.clone(), hit.memory.content.clone()?))).collect();
    for step in hits.iter().flat_map(|hit| drawn(hit, detail, paths_max)).flat_map(|path| &path.steps) {
        if contents.contains_key(&step.memory) {
            continue;
        }
        let memory = backend.get(space, &step.memory);
        if crate::backend::is_not_found(&memory) {
            continue;
        }
        if let Some(content) = memory?.content {
            contents.insert(step.memory.clone(), content);
        }
    }
    Ok(contents)
}

/// A hit, by lines: rank, relevance and content; where it is from.
pub(crate) fn hit_lines(rank: usize, hit: &HitOut, detail: Detail, columns: Option<usize>) -> Vec<String> {
    let head = format!("{rank:>2}  {:>4}  ", percent(hit.relevance));
    let room = columns.map(|columns| columns.saturating_sub(INDENT));
    let content = match &hit.memory.content {
        Some(content) => strong().apply_to(fitted(content, room)).to_string(),
        None => faint().apply_to("(a vector without text)").to_string(),
    };
    let mut lines = vec![format!("{}{content}", good().apply_to(head))];
    if detail == Detail::Full {
        let origin = fitted(&origin(hit), room);
        lines.push(format!("{:INDENT$}{}", "", faint().apply_to(origin)));
    }
    lines
}

fn origin(hit: &HitOut) -> String {
    let MemoryOut { id, context, occurred_at, confidence, .. } = &hit.memory;
    let mut parts = vec![id.clone()];
    parts.extend(context.clone());
    parts.push(minute(&engram::clock::format_rfc3339(occurred_at.0)));
    if hit.retrievability < 0.995 {
        parts.push(format!("remembered {}", percent(hit.retrievability)));
    }
    if *confidence < 0.995 {
        parts.push(format!("confidence {}", percent(*confidence)));
    }
    if !hit.duplicates.is_empty() {
        parts.push(format!("also {}", hit.duplicates.join(", ")));
    }
    parts.join(" · ")
}

/// `2023-05-08T13:56:00Z` as `2023-05-08 13:56`.
fn minute(time: &str) -> String {
    time.get(..16).map_or_else(|| time.to_owned(), |minute| minute.replacen('T', " ", 1))
}

/// What made the score of a hit, and at most `paths_max` of its paths, by lines.
pub(crate) fn why_lines(
    hit: &HitOut,
    contents: &Contents,
    detail: Detail,
    paths_max: usize,
    columns: Option<usize>,
) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(parts) = hit.parts {
        let named = [
            ("words", parts.lexical),
            ("vector", parts.dense),
            ("activation", parts.activation),
            ("bridge", parts.bridge),
            ("time", parts.time),
        ];
        let mut shown: Vec<String> = named
            .iter()
            .filter(|(_, value)| *value != 0.0)
            .map(|(name, value)| format!("{name} {value:.2}"))
            .collect();
        if detail == Detail::Short && parts.lexical == 0.0 && parts.dense == 0.0 {
            shown.insert(0, "no word of the cue".into());
        }
        if !shown.is_empty() {
            lines.push(format!("{:INDENT$}{}", "", faint().apply_to(shown.join("   "))));
        }
    }
    let total = whole(hit);
    let part = |share: f32| if total > 0.0 { share / total } else { 0.0 };
    let drawn = drawn(hit, detail, paths_max);
    let rest = part(total - drawn.iter().map(|path| path.share).sum::<f32>());
    let has_rest = detail == Detail::Full && !drawn.is_empty() && rest >= 0.005;
    for (i, path) in drawn.iter().enumerate() {
        let is_last = i + 1 == drawn.len() && !has_rest;
        let stem = if is_last { ["└─ ", "   "] } else { ["├─ ", "│  "] };
        lines.extend(path_lines(path, part(path.share), contents, stem, columns));
    }
    if has_rest {
        let share = accent().apply_to(format!("{:<SHARE_COLUMNS$}", percent(rest)));
        lines.push(format!(
            "{:INDENT$}{}{share}{}",
            "",
            faint().apply_to("└─ "),
            faint().apply_to("other ways")
        ));
    }
    lines
}

/// `stem`: what stands before the first line and before the others.
fn path_lines(
    path: &PathOut,
    part: f32,
    contents: &Contents,
    stem: [&str; 2],
    columns: Option<usize>,
) -> Vec<String> {
    let (Some((seed, steps)), Some(end)) = (path.steps.split_first(), path.steps.last()) else {
        return Vec::new();
    };
    let named = |id: &str, used: usize| {
        let room = columns.map(|columns| columns.saturating_sub(used));
        let text = || fitted(contents.get(id).map_or(id, String::as_str), room);
        if id == end.memory { "this memory".to_owned() } else { text() }
    };
    let start = INDENT + stem[0].chars().count() + SHARE_COLUMNS;
    let share = accent().apply_to(format!("{:<SHARE_COLUMNS$}", percent(part)));
    let mut lines =
        vec![format!("{:INDENT$}{}{share}{}", "", faint().apply_to(stem[0]), named(&seed.memory, start))];
    for (depth, step) in steps.iter().enumerate() {
        let (before, label, after) = arrow(step);
        let used = start
            + 3 * depth
            + 1
            + [before, &label, after].map(console::measure_text_width).iter().sum::<usize>();
        lines.push(format!(
            "{:INDENT$}{}{:width$}{}{}{}{}",
            "",
            faint().apply_to(stem[1]),
            "",
            faint().apply_to(format!("└{before}")),
            accent().apply_to(label),
            faint().apply_to(after),
            named(&step.memory, used),
            width = SHARE_COLUMNS + 3 * depth,
        ));
    }
    lines
}

/// The association as an arrow: what stands before its name, its name and weight, what stands after.
fn arrow(step: &StepOut) -> (&'static str, String, &'static str) {
    let via = step.via.as_deref().unwrap_or("?");
    let weight = step.weight.map_or_else(String::new, |weight| format!(" {weight:.2}"));
    match via.strip_suffix("^-1") {
        Some(kind) => ("◀ ", format!("{kind}{weight}"), " ── "),
        None => ("─ ", format!("{via}{weight}"), " ─▶ "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(via: Option<&str>, memory: &str) -> StepOut {
        StepOut { via: via.map(str::to_owned), weight: via.map(|_| 0.5), memory: memory.into() }
    }

    #[test]
    fn paths_are_drawn_as_a_tree() {
        let contents: Contents = [("m1", "It rained in Bath"), ("m2", "Ada took\nher umbrella and left")]
            .map(|(id, content)| (id.to_owned(), content.to_owned()))
            .into();
        let long = PathOut {
            share: 0.1,
            steps: vec![step(None, "m1"), step(Some("next"), "m2"), step(Some("cause^-1"), "m3")],
        };
        let short = PathOut { share: 0.1, steps: vec![step(None, "gone"), step(Some("entity:Ada"), "m3")] };
        let mut lines = path_lines(&long, 0.71, &contents, ["├─ ", "│  "], Some(60));
        lines.extend(path_lines(&short, 0.29, &contents, ["└─ ", "   "], Some(60)));
        let drawn: Vec<&str> = lines.iter().map(|line| &line[INDENT..]).collect();
        assert_eq!(
            drawn,
            [
                "├─ 71 %   It rained in Bath",
                "│         └─ next 0.50 ─▶ Ada took her umbrella a…",
                "│            └◀ cause 0.50 ── this memory",
                "└─ 29 %   gone",
                "          └─ entity:Ada 0.50 ─▶ this memory",
            ]
        );
        assert!(lines.iter().all(|line| console::measure_text_width(line) <= 60));
    }
}
