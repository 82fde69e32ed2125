//! Reads settings from a file, from the environment and from flags. Every problem of a source becomes a line of its
//! own, in the order of the source; nothing is guessed, and nothing unknown is passed over.

use std::fmt;
use std::path::{Path, PathBuf};

use toml_edit::{Document, Item};

use super::kind::{Kind, Value};
use super::schema::{ALIASES, KEYS, SECTIONS, VARIABLES};

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    File { path: PathBuf, line: usize },
    Variable(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line } => write!(f, "{}:{line}", path.display()),
            Origin::Variable(name) | Origin::Flag(name) => write!(f, "{name}"),
        }
    }
}

/// A setting that somebody gave.
#[derive(Debug, Clone)]
pub(super) struct Given {
    /// Row of `KEYS`.
    pub(super) key: usize,
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// The path it was given by: the key's own, or an alias.
    spelling: String,
    /// As it was written, fit to be shown.
    written: String,
}

/// Reads a file's text. Problems come in the order of the lines.
pub(super) fn read_file(path: &Path, text: &str, problems: &mut Vec<String>) -> Vec<Given> {
    let at = |offset: usize| Origin::File { path: path.to_owned(), line: line_of(text, offset) };
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            problems.push(format!("{}: {}", at(offset), error.message().replace('\n', ", ")));
            return Vec::new();
        }
    };
    let mut found: Vec<(usize, Result<Given, String>)> = Vec::new();
    for (section, item) in document.iter() {
        let offset = offset_of(document.as_table(), section);
        if let Err(problem) = known_section(section, item) {
            found.push((offset, Err(format!("{}: {problem}", at(offset)))));
            continue;
        }
        let Some(table) = item.as_table_like() else { continue };
        for (name, item) in table.iter() {
            let offset = offset_of(table, name);
            found.push((offset, read_item(section, name, item, at(offset))));
        }
    }
    found.sort_by_key(|(offset, _)| *offset);
    let (given, refused): (Vec<_>, Vec<_>) =
        found.into_iter().map(|(_, result)| result).partition(Result::is_ok);
    problems.extend(refused.into_iter().filter_map(Result::err));
    given.into_iter().flatten().collect()
}

/// Reads the variables that name settings: `ENGRAM_<SECTION>__<KEY>`, in any case, and the few short names. Other names
/// with a single underscore are not ours: Kubernetes injects ENGRAM_PORT_8080_TCP and its like.
pub(super) fn read_environment(variables: &[(String, String)], problems: &mut Vec<String>) -> Vec<Given> {
    let mut variables: Vec<&(String, String)> = variables.iter().collect();
    variables.sort();
    let mut given = Vec::new();
    for (variable, text) in variables {
        let short = VARIABLES.iter().find(|(name, _)| name == variable).map(|(_, key)| *key);
        let long = variable.strip_prefix("ENGRAM_").and_then(|rest| rest.split_once("__"));
        let (section, name) = match (short.and_then(|key| key.split_once('.')), long) {
            (Some(short), _) => short,
            (None, Some((section, name))) if !section.is_empty() => (section, name),
            _ => continue,
        };
        let (section, name) = (section.to_ascii_lowercase(), name.to_ascii_lowercase());
        let same_name = |known: &&Known| known.section == section && known.name.eq_ignore_ascii_case(&name);
        let result = match every_known().iter().find(same_name) {
            Some(known) => read_text(known, text, Origin::Variable(variable.clone())),
            None => Err(format!(
                "{variable}: unknown setting \"{section}.{name}\"{}",
                hint_variable(&section, &name)
            )),
        };
        match result {
            Ok(setting) => given.push(setting),
            Err(problem) => problems.push(problem),
        }
    }
    given
}

/// Reads what a flag of the command line gives for a key path such as `server.http_addr`.
pub(super) fn read_flag(flag: &str, path: &str, text: &str) -> Result<Given, String> {
    let (section, name) = path.split_once('.').unwrap_or((path, ""));
    match every_known().iter().find(|known| known.section == section && known.name == name) {
        Some(known) => read_text(known, text, Origin::Flag(flag.to_owned())),
        None => Err(format!("{flag}: unknown setting \"{path}\"{}", hint_key(section, name))),
    }
}

/// Puts one source's settings over those of weaker sources. Within a source, spellings that disagree are a problem.
pub(super) fn lay_over(settings: &mut [Option<Given>], layer: Vec<Given>, problems: &mut Vec<String>) {
    let mut fresh: Vec<Option<Given>> = vec![None; settings.len()];
    for given in layer {
        match &fresh[given.key] {
            Some(other) if other.value != given.value => problems.push(format!(
                "{}: {} = {} disagrees with {} = {} ({}); keep one of them",
                given.origin, given.spelling, given.written, other.spelling, other.written, other.origin
            )),
            Some(_) => {}
            None => {
                let key = given.key;
                fresh[key] = Some(given);
            }
        }
    }
    for (setting, fresh) in settings.iter_mut().zip(fresh) {
        if fresh.is_some() {
            *setting = fresh;
        }
    }
}

/// Hides the user and password of every address in a text.
pub(super) fn masked(text: &str) -> String {
    let mut parts = text.split("://");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['/', '?', '"', '\'', ' ']).unwrap_or(part.len());
        let (host, rest) = part.split_at(end);
        out.push_str("://");
        match host.rsplit_once('@') {
            Some((_, host)) => out.push_str(&format!("***@{host}")),
            None => out.push_str(host),
        }
        out.push_str(rest);
    }
    out
}

/// A spelling of a setting: a key or an alias.
struct Known {
    section: &'static str,
    name: &'static str,
    kind: &'static Kind,
    key: usize,
}

fn every_known() -> Vec<Known> {
    let own = KEYS.iter().enumerate();
    let own = own.map(|(key, row)| Known { section: row.section, name: row.name, kind: &row.kind, key });
    let aliases = ALIASES.iter().map(|alias| Known {
        section: alias.section,
        name: alias.name,
        kind: &alias.kind,
        key: KEYS.iter().position(|key| key.path() == alias.key).expect("an alias stands for a key"),
    });
    own.chain(aliases).collect()
}

fn read_item(section: &str, name: &str, item: &Item, origin: Origin) -> Result<Given, String> {
    let known = every_known();
    let Some(known) = known.iter().find(|known| known.section == section && known.name == name) else {
        return Err(format!("{origin}: unknown key \"{section}.{name}\"{}", hint_key(section, name)));
    };
    // `[activation.visit_budget_per_tier]` and `visit_budget_per_tier = { ... }` are the same to TOML and to us.
    let value = item.clone().into_value().map_err(|_| format!("{origin}: {section}.{name} has no value"))?;
    let written = shown(value.clone().decorated("", "").to_string());
    accept(known, &value, written, origin)
}

/// Reads a bare text, from the environment or a flag, as the kind of the setting wants it.
fn read_text(known: &Known, text: &str, origin: Origin) -> Result<Given, String> {
    let as_text = toml_edit::Value::from(text);
    let written = shown(as_text.to_string());
    let value = if known.kind.is_text() { Ok(as_text.clone()) } else { text.trim().parse() };
    // What is no TOML at all is refused as the text that it is.
    accept(known, &value.unwrap_or(as_text), written, origin)
}

fn accept(known: &Known, value: &toml_edit::Value, written: String, origin: Origin) -> Result<Given, String> {
    let spelling = format!("{}.{}", known.section, known.name);
    match known.kind.read(value) {
        Some(value) => Ok(Given { key: known.key, value, origin, spelling, written }),
        None => Err(format!("{origin}: {spelling}: found {written}; allowed: {}", known.kind)),
    }
}

/// A value fit for one line of a message.
fn shown(written: String) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    let line = masked(&written.split_whitespace().collect::<Vec<_>>().join(" "));
    match line.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

fn known_section(section: &str, item: &Item) -> Result<(), String> {
    let known = every_known().iter().any(|known| known.section == section);
    match (known, item.is_table_like()) {
        (true, true) => Ok(()),
        (true, false) if item.is_array_of_tables() => {
            Err(format!("{section}: found [[{section}]]; allowed: [{section}]"))
        }
        (true, false) => {
            Err(format!("{section}: found {}; allowed: a section [{section}]", shown(item.to_string())))
        }
        (false, true) => {
            let names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
            let hint = match nearest(section, names.iter().copied()) {
                Some(near) => format!("did you mean [{near}]?"),
                None => format!("the sections are {}", names.join(", ")),
            };
            Err(format!("unknown section [{section}]; {hint}"))
        }
        (false, false) => {
            Err(format!("unknown key \"{section}\" outside of any section{}", hint_key("", section)))
        }
    }
}

/// The nearest key: in the same section, or else under nearly the same name elsewhere, or else all of the section.
fn hint_key(section: &str, name: &str) -> String {
    let known = every_known();
    let names = || known.iter().filter(|known| known.section == section).map(|known| known.name);
    if let Some(near) = nearest(name, names()) {
        return format!("; did you mean \"{section}.{near}\"?");
    }
    if let Some(near) = nearest(name, known.iter().map(|known| known.name)) {
        let home = known.iter().find(|known| known.name == near).map_or("", |known| known.section);
        return format!("; did you mean \"{home}.{near}\"?");
    }
    match names().collect::<Vec<_>>().join(", ") {
        all if all.is_empty() => String::new(),
        all => format!("; the keys of [{section}] are {all}"),
    }
}

fn hint_variable(section: &str, name: &str) -> String {
    let paths: Vec<String> = KEYS.iter().map(|key| format!("{}__{}", key.section, key.name)).collect();
    match nearest(&format!("{section}__{name}"), paths.iter().map(String::as_str)) {
        Some(near) => format!("; did you mean ENGRAM_{}?", near.to_ascii_uppercase()),
        None => String::new(),
    }
}

/// The candidate most like the word, if any is alike. Jaro-Winkler rewards a common beginning, so that "hnsw" finds
/// "hnsw_index".
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE_MIN: f64 = 0.8;
    let likeness = |candidate: &str| strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase());
    candidates
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(alike, _)| *alike >= ALIKE_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

fn offset_of(table: &dyn toml_edit::TableLike, name: &str) -> usize {
    let span = table.get_key_value(name).and_then(|(key, item)| key.span().or_else(|| item.span()));
    span.map_or(0, |span| span.start)
}

/// Counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
