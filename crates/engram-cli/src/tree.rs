//! Draws hits, and under a hit the ways that activation took to it, as a tree of box-drawing characters:
//! ```text
//! ├─ 71 %  from Ada moved to Lisbon
//! │        └─ “lisbon” 0.50, next 0.10 ─▶ this memory
//! ```
//! First the part of the hit's activation that came this way, and the seed; then each association by its name, with the
//! part of the activation that it passed on. A name in quotes is one that both memories mention. Ways over the same
//! memories are drawn as one. An arrow that points left is a link that was followed against its direction.

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
/// The same where all shall be drawn that tells anything.
const SHARE_TOLD: f32 = 0.01;
/// Associations named of those that lead from one memory to the next.
const NAMED_MAX: usize = 3;
/// Words of a first line that stands for a whole memory on a path.
const HEADING_WORDS_MAX: usize = 8;

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

/// Paths over the same memories, strongest first, and what they brought together.
struct Ways<'a> {
    share: f32,
    paths: Vec<&'a PathOut>,
}

/// The ways to draw, at most `ways_max`, strongest first: without detours, and strong enough to tell something.
fn drawn(hit: &HitOut, detail: Detail, ways_max: usize) -> Vec<Ways<'_>> {
    let mut all: Vec<Ways<'_>> = Vec::new();
    for path in hit.paths.iter().flatten().filter(|path| !path.steps.is_empty() && !returns(path)) {
        match all.iter_mut().find(|ways| way(ways.paths[0]).eq(way(path))) {
            Some(ways) => {
                ways.share += path.share;
                ways.paths.push(path);
            }
            None => all.push(Ways { share: path.share, paths: vec![path] }),
        }
    }
    let worth = if detail == Detail::Full { SHARE_TOLD } else { SHARE_WORTH } * whole(hit);
    all.retain(|ways| ways.share >= worth);
    all.sort_by(|a, b| b.share.total_cmp(&a.share));
    all.truncate(ways_max);
    all
}

/// All activation that paths brought to a hit.
fn whole(hit: &HitOut) -> f32 {
    hit.paths.iter().flatten().map(|path| path.share).sum()
}

/// The memories of a path, and whether each was reached against the direction of a link.
fn way(path: &PathOut) -> impl Iterator<Item = (&str, bool)> {
    path.steps.iter().map(|step| (step.memory.as_str(), is_back(step)))
}

fn is_back(step: &StepOut) -> bool {
    step.via.as_deref().is_some_and(|via| via.ends_with("^-1"))
}

/// Whether the path comes to a memory twice.
fn returns(path: &PathOut) -> bool {
    path.steps
        .iter()
        .enumerate()
        .any(|(i, step)| path.steps[..i].iter().any(|before| before.memory == step.memory))
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
    for step in
        hits.iter().flat_map(|hit| drawn(hit, detail, paths_max)).flat_map(|ways| &ways.paths[0].steps)
    {
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
    if let Some([low, high]) = hit.relevance_range {
        parts.push(format!("relevance {} to {}", percent(low), percent(high)));
    }
    if hit.retrievability < 0.995 {
        parts.push(format!("remembered {}", percent(hit.retrievability)));
    }
    if *confidence < 0.995 {
        parts.push(format!("confidence {}", percent(*confidence)));
    }
    parts.extend(hit.concept.as_ref().map(|concept| format!("of {concept}")));
    for objection in &hit.objections {
        let verb = if objection.kind == "supersedes" { "superseded" } else { "contradicted" };
        parts.push(format!("{verb} by {}", objection.id));
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
    let paths = || hit.paths.iter().flatten();
    let returned: f32 = paths().filter(|path| returns(path)).map(|path| path.share).sum();
    let other = total - returned - drawn.iter().map(|ways| ways.share).sum::<f32>();
    let mut rest = vec![("there and back", part(returned)), ("other ways", part(other))];
    rest.retain(|(_, part)| detail == Detail::Full && *part >= 0.005);
    for (i, ways) in drawn.iter().enumerate() {
        let is_last = i + 1 == drawn.len() && rest.is_empty();
        let stem = if is_last { ["└─ ", "   "] } else { ["├─ ", "│  "] };
        lines.extend(ways_lines(ways, part(ways.share), contents, stem, columns));
    }
    for (i, (name, part)) in rest.iter().enumerate() {
        let share = accent().apply_to(format!("{:<SHARE_COLUMNS$}", percent(*part)));
        let stem = faint().apply_to(if i + 1 == rest.len() { "└─ " } else { "├─ " });
        lines.push(format!("{:INDENT$}{stem}{share}{}", "", faint().apply_to(name)));
    }
    lines
}

/// `stem`: what stands before the first line and before the others.
fn ways_lines(
    ways: &Ways<'_>,
    part: f32,
    contents: &Contents,
    stem: [&str; 2],
    columns: Option<usize>,
) -> Vec<String> {
    let strongest = &ways.paths[0].steps;
    let (Some((seed, steps)), Some(end)) = (strongest.split_first(), strongest.last()) else {
        return Vec::new();
    };
    let named = |id: &str, used: usize| {
        let room = columns.map(|columns| columns.saturating_sub(used));
        let text = || fitted(contents.get(id).map_or(id, |content| heading(content)), room);
        if id == end.memory { "this memory".to_owned() } else { text() }
    };
    let start = INDENT + stem[0].chars().count() + SHARE_COLUMNS;
    let share = accent().apply_to(format!("{:<SHARE_COLUMNS$}", percent(part)));
    let from = faint().apply_to("from ");
    let text = named(&seed.memory, start + 5);
    let mut lines = vec![format!("{:INDENT$}{}{share}{from}{text}", "", faint().apply_to(stem[0]))];
    for (depth, step) in steps.iter().enumerate() {
        let (before, after) = if is_back(step) { ("◀ ", " ── ") } else { ("─ ", " ─▶ ") };
        // What leaves room for "this memory".
        let room = columns.map(|columns| columns.saturating_sub(start + 3 * depth + 18));

        let label = fitted(&associations(ways, depth + 1), room);
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

/// A heading stands for the text under it.
fn heading(content: &str) -> &str {
    match content.split_once('\n') {
        Some((heading, _)) if (1..=HEADING_WORDS_MAX).contains(&heading.split_whitespace().count()) => {
            heading
        }
        _ => content,
    }
}

/// The associations that lead to the memory at a step, by name and weight, strongest first.
fn associations(ways: &Ways<'_>, at: usize) -> String {
    let mut named: Vec<String> = Vec::new();
    for step in ways.paths.iter().map(|path| &path.steps[at]) {
        let via = step.via.as_deref().unwrap_or("?");
        let name = match via.strip_prefix("entity:") {
            Some(name) => format!("“{name}”"),
            None => via.strip_suffix("^-1").unwrap_or(via).to_owned(),
        };
        let name = step.weight.map_or_else(|| name.clone(), |weight| format!("{name} {weight:.2}"));
        if !named.contains(&name) {
            named.push(name);
        }
    }
    if named.len() > NAMED_MAX {
        named.truncate(NAMED_MAX);
        named.push("…".into());
    }
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(via: Option<&str>, memory: &str) -> StepOut {
        StepOut { via: via.map(str::to_owned), weight: via.map(|_| 0.5), memory: memory.into() }
    }

    #[test]
    fn paths_are_drawn_as_a_tree() {
        let contents: Contents =
            [("m1", "Bath\nIt rained all day"), ("m2", "Ada took her umbrella\tand left")]
                .map(|(id, content)| (id.to_owned(), content.to_owned()))
                .into();
        let long = PathOut {
            share: 0.1,
            steps: vec![step(None, "m1"), step(Some("next"), "m2"), step(Some("cause^-1"), "m3")],
        };
        let short = PathOut { share: 0.1, steps: vec![step(None, "gone"), step(Some("entity:ada"), "m3")] };
        let by_order = PathOut { share: 0.1, steps: vec![step(None, "gone"), step(Some("next"), "m3")] };
        let ways = |paths: Vec<_>| Ways { share: 0.1, paths };
        let mut lines = ways_lines(&ways(vec![&long]), 0.71, &contents, ["├─ ", "│  "], Some(60));
        lines.extend(ways_lines(&ways(vec![&short, &by_order]), 0.29, &contents, ["└─ ", "   "], Some(60)));
        let drawn: Vec<&str> = lines.iter().map(|line| &line[INDENT..]).collect();
        assert_eq!(
            drawn,
            [
                "├─ 71 %   from Bath",
                "│         └─ next 0.50 ─▶ Ada took her umbrella a…",
                "│            └◀ cause 0.50 ── this memory",
                "└─ 29 %   from gone",
                "          └─ “ada” 0.50, next 0.50 ─▶ this memory",
            ]
        );
        assert!(lines.iter().all(|line| console::measure_text_width(line) <= 60));
    }
}
