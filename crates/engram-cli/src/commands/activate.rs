//! `engram activate`: spreads activation from seeds or a cue and shows how active memories became.

use crate::args::{InSpace, Target, embedding, filter, memory_id};
use crate::backend::{Backend, Folder, is_not_found};
use crate::fault::{Result, usage};
use crate::screen::{Screen, faint, fitted, good, grouped, strong};
use clap::Args;
use engram_server::api::{ActivateIn, ActivateOut, FilterIn, SeedIn};

/// Columns of an activation, with the gap after it.
const ACTIVATION_COLUMNS: usize = 10;

/// Spread activation from memories or a cue
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram activate --space diary \"rain\"
  engram activate --space diary --seed d1 --seed d7:0.5 --limit 20
  engram activate --space diary --seed d1 --json")]
pub(crate) struct Activate {
    #[command(flatten)]
    space: InSpace,
    /// Words to start from
    #[arg(conflicts_with = "seed")]
    text: Option<String>,
    /// Memory to start from and how active it is, ID or ID:ACTIVATION; may be repeated
    #[arg(long, value_name = "ID:ACTIVATION", value_parser = seed)]
    seed: Vec<SeedIn>,
    /// Vector to start from: JSON, or a .json or .npy file
    #[arg(long, value_name = "JSON|FILE", conflicts_with = "seed")]
    embedding: Option<String>,
    /// Memories wanted, 1 to 1000 [default: 10]
    #[arg(long, short = 'n')]
    limit: Option<usize>,
    /// Only memories that pass: JSON or a file
    #[arg(long, value_name = "JSON|FILE", value_parser = filter)]
    filter: Option<FilterIn>,
    /// Associations that spreading may visit
    #[arg(long, value_name = "COUNT")]
    budget: Option<usize>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Activate {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<()> {
        if self.text.is_none() && self.embedding.is_none() && self.seed.is_empty() {
            return usage("where shall activation start? Give a text, --seed or --embedding");
        }
        let request = ActivateIn {
            seeds: (!self.seed.is_empty()).then_some(self.seed),
            text: self.text,
            embedding: self.embedding.as_deref().map(embedding).transpose()?,
            limit: self.limit,
            filter: self.filter,
            budget: self.budget,
            ..ActivateIn::default()
        };
        let space = &self.space.space;
        let backend = Backend::open(&self.target, Folder::MustExist)?;
        backend.with(|backend| {
            let activated = backend.activate(space, request)?;
            if self.json { screen.json(&activated) } else { show(screen, backend, space, &activated) }
        })
    }
}

fn show(screen: &mut Screen, backend: &Backend, space: &str, activated: &ActivateOut) -> Result<()> {
    let widths = activated.activations.iter().map(|one| console::measure_text_width(&one.id));
    let id_columns = widths.max().unwrap_or(0);
    let before = ACTIVATION_COLUMNS + id_columns + 2;
    let room = screen.columns().map(|columns| columns.saturating_sub(before));
    for one in &activated.activations {
        let memory = backend.get(space, &one.id);
        let content = if is_not_found(&memory) { None } else { memory?.content };
        let content = fitted(content.as_deref().unwrap_or("(a vector without text)"), room);
        let id = console::pad_str(&one.id, id_columns, console::Alignment::Left, None).into_owned();
        let activation = format!("{:<8.4}", one.activation);
        screen.line(format_args!(
            "{}  {}  {}",
            good().apply_to(activation),
            faint().apply_to(id),
            strong().apply_to(content)
        ))?;
    }
    let mut foot = format!(
        "{} associations visited, {:.4} of activation not passed on, {:.1} ms",
        grouped(activated.visited as u64),
        activated.residual,
        activated.took_ms
    );
    if activated.truncated {
        foot.push_str("; a budget left something out");
    }
    screen.line(faint().apply_to(foot))
}

/// An id may hold colons and digits, so that only a number with a point, as in `d7:0.5`, is an activation.
fn seed(text: &str) -> Result<SeedIn, String> {
    let (id, activation) = match text.rsplit_once(':').map(|(id, last)| (id, last, last.parse())) {
        Some((id, last, Ok(activation))) if last.contains('.') => (id, activation),
        _ => (text, 1.0),
    };
    Ok(SeedIn { id: memory_id(id)?, activation })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_read_from_the_right() {
        let read = |text| seed(text).map(|seed| (seed.id, seed.activation));
        assert_eq!(read("d7:0.5"), Ok(("d7".into(), 0.5)));
        assert_eq!(read("D1:7"), Ok(("D1:7".into(), 1.0)));
        assert_eq!(read("D1:7:.25"), Ok(("D1:7".into(), 0.25)));
        assert!(read("d 7").is_err());
    }
}
