//! `engram complete`: fills the gaps of a memory, and says what each value rests on.

use crate::args::{InSpace, Target, filter, json_or_file, time};
use crate::backend::{Backend, Folder};
use crate::fault::{Fault, Result};
use crate::files::read_stdin;
use crate::screen::{Screen, accent, faint, fitted, good, percent, strong};
use clap::Args;
use engram_server::api::{CompleteIn, CompleteOut, FilterIn, Time, from_json};
use serde_json::Value;

/// The largest pattern is a text and metadata of 64 KiB each and 4,096 numbers, all escaped.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// Numbers of a vector that are shown.
const NUMBERS_SHOWN: usize = 4;

/// Fill the gaps of a memory from those that are like it
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram complete --space talks '{\"content\": \"we swam in the lake\",
    \"context\": null, \"metadata\": {\"speaker\": null}}'
  engram complete --space talks '{\"content\": \"Anna: … a flat in …\"}'
  engram complete --space talks '{\"content\": null,
    \"occurred_at\": \"2024-03-01T10:00:00Z\", \"metadata\": {\"speaker\": \"Anna\"}}'
  engram complete --space talks pattern.json --json

null is what is wanted; a field that is left out is not asked for. Fields:
content, embedding (null for each unknown number), context, occurred_at,
entities, metadata, kind. In a content, ... stands for what is missing.")]
pub(crate) struct Complete {
    #[command(flatten)]
    space: InSpace,
    /// The memory with gaps: JSON, or a file; - for standard input
    #[arg(value_name = "JSON|FILE")]
    pattern: String,
    /// Alternatives wanted, 0 to 100 [default: 3]
    #[arg(long, short = 'n')]
    limit: Option<usize>,
    /// Only memories that pass count: JSON or a file
    #[arg(long, value_name = "JSON|FILE", value_parser = filter)]
    filter: Option<FilterIn>,
    /// The present, as RFC 3339
    #[arg(long, value_name = "TIME", value_parser = time)]
    now: Option<Time>,
    /// Only what was stored, and not superseded, by then
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<Time>,
    /// How sharply weights fall, up to 1000; low: what several memories have in common [default: 64]
    #[arg(long)]
    beta: Option<f32>,
    /// Look at every memory, however many there are
    #[arg(long)]
    exact: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Complete {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<()> {
        let request = self.request()?;
        let backend = Backend::open(&self.target, Folder::MustExist)?;
        backend.with(|backend| {
            let completed = backend.complete(&self.space.space, request)?;
            if self.json { screen.json(&completed) } else { show(screen, &completed) }
        })
    }

    /// What the pattern says, with the flags over it.
    fn request(&self) -> Result<CompleteIn> {
        let json = match self.pattern.as_str() {
            "-" => read_stdin(PATTERN_BYTES_MAX)?.into_bytes(),
            pattern => json_or_file(pattern, '{')?,
        };
        let pattern: CompleteIn =
            from_json(&json).map_err(|error| Fault::Usage(format!("the pattern: {}", error.detail)))?;
        Ok(CompleteIn {
            limit: self.limit.or(pattern.limit),
            filter: self.filter.clone().or(pattern.filter),
            now: self.now.or(pattern.now),
            as_of: self.as_of.or(pattern.as_of),
            beta: self.beta.or(pattern.beta),
            exact: self.exact.then_some(true).or(pattern.exact),
            ..pattern
        })
    }
}

fn show(screen: &mut Screen, completed: &CompleteOut) -> Result<()> {
    if completed.abstain {
        screen.line(faint().apply_to("Probably nothing here is right. The nearest:"))?;
    }
    let widths = completed.completed.keys().map(|field| console::measure_text_width(field));
    let columns = widths.max().unwrap_or(0);
    let room = screen.columns().map(|all| all.saturating_sub(columns + 2));
    for (field, one) in &completed.completed {
        let name = console::pad_str(field, columns, console::Alignment::Left, None).into_owned();
        let value = fitted(&shown(&one.value), room);
        let value = if one.given { faint().apply_to(value) } else { strong().apply_to(value) };
        screen.line(format_args!("{}  {value}", accent().apply_to(name)))?;
        let sources = one.sources.join(" ");
        let basis = match (one.given, one.sources.is_empty()) {
            (true, true) => "given, in no memory near it".to_owned(),
            (true, false) => format!("given, as in {sources}"),
            (false, true) => "no memory tells".to_owned(),
            (false, false) => format!("reconstructed, {} sure, from {sources}", percent(one.confidence)),
        };
        let style = if one.given || one.confidence < 0.5 { faint() } else { good() };
        let basis = style.apply_to(fitted(&basis, room));
        screen.line(format_args!("{:columns$}  {basis}", ""))?;
    }
    for other in &completed.alternatives {
        let fields = other.fields.iter().map(|(field, value)| format!("{field} {}", shown(value)));
        let line = format!(
            "or {}, fits {}: {}",
            other.id,
            percent(other.fit),
            fields.collect::<Vec<_>>().join("; ")
        );
        screen.line(faint().apply_to(fitted(&line, screen.columns())))?;
    }
    Ok(())
}

/// A value on one line: texts as they are, the first numbers of a vector.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_number) && items.len() > NUMBERS_SHOWN => {
            let first: Vec<String> = items[..NUMBERS_SHOWN].iter().map(Value::to_string).collect();
            format!("[{}, … {} numbers]", first.join(", "), items.len())
        }
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}
