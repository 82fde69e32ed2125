//! `engram reinforce`: says how the use of memories turned out.

use crate::args::{InSpace, Target, memory_id};
use crate::backend::{Backend, Folder};
use crate::fault::Result;
use crate::screen::{Screen, counted};
use clap::{Args, ValueEnum};
use engram_server::api::{OutcomeIn, ReinforceIn};

/// Strengthen memories that were used, weaken those that turned out wrong
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram reinforce --space diary d1 d2
  engram reinforce --space diary d3 --outcome contradicted

A use long after the one before strengthens most; many in a day hardly do.
What a recall only showed is counted, and strengthens nothing. Memories that one
call names, or the next within ten minutes, are associated from then on; more
than 32 at once are not.")]
pub(crate) struct Reinforce {
    #[command(flatten)]
    space: InSpace,
    /// Memories that the outcome is about
    #[arg(required = true, value_parser = memory_id)]
    ids: Vec<String>,
    /// How it turned out
    #[arg(long, value_enum, default_value = "used")]
    outcome: OutcomeName,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OutcomeName {
    Used,
    Confirmed,
    Contradicted,
}

impl Reinforce {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<()> {
        let backend = Backend::open(&self.target, Folder::MustExist)?;
        let outcome = match self.outcome {
            OutcomeName::Used => OutcomeIn::Used,
            OutcomeName::Confirmed => OutcomeIn::Confirmed,
            OutcomeName::Contradicted => OutcomeIn::Contradicted,
        };
        let verb = if outcome == OutcomeIn::Contradicted { "weakened" } else { "strengthened" };
        let ids = self.ids.iter().collect::<std::collections::BTreeSet<_>>().len();
        backend.with(|backend| {
            let done = backend.reinforce(&self.space.space, ReinforceIn { ids: self.ids, outcome })?;
            if self.json {
                return screen.json(&done);
            }
            let memories = counted(ids as u64, "memory", "memories");
            screen.line(format_args!("{verb} {memories} of space {}", self.space.space))
        })
    }
}
