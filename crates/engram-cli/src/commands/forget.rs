//! `engram forget`: deletes memories by id or filter.

use crate::args::{InSpace, Target, filter, memory_id};
use crate::backend::{Backend, Folder};
use crate::fault::{Result, usage};
use crate::screen::{Screen, confirm, counted};
use clap::Args;
use engram_server::api::{DeleteIn, DeleteOut, FilterIn};
use std::collections::BTreeSet;
use std::process::ExitCode;

/// So many ids that are not there are named.
const MISSING_SHOWN_MAX: usize = 5;
/// So many ids that would be deleted are named.
const FADED_SHOWN_MAX: usize = 20;

/// Delete memories
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram forget --space diary d1 d2
  engram forget --space diary --dry-run \\
    --filter '{\"must\": [{\"field\": \"context\", \"equals\": \"trip\"}]}'
  engram forget --space diary --filter filter.json --yes
  engram forget --space diary --faded --dry-run

Faded is what is remembered with a smaller probability than the space's
forget-below (engram space set). Nothing is forgotten by itself.

To delete a whole space: engram space delete NAME
Exit codes: 1 where none of the ids is there.")]
pub(crate) struct Forget {
    #[command(flatten)]
    space: InSpace,
    /// Memories to delete
    #[arg(value_parser = memory_id)]
    ids: Vec<String>,
    /// Delete the memories that pass (with ids: those of them that pass): JSON or a file
    #[arg(long, value_name = "JSON|FILE", value_parser = filter)]
    filter: Option<FilterIn>,
    /// Delete only what is faded, by the policy of the space
    #[arg(long)]
    faded: bool,
    /// Say how many, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

impl Forget {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<ExitCode> {
        if self.ids.is_empty() && self.filter.is_none() && !self.faded {
            return usage("what shall be forgotten? Give ids, --filter or --faded");
        }
        let space = &self.space.space;
        let asked = self.ids.clone();
        let ids = (!self.ids.is_empty()).then_some(self.ids);
        let backend = Backend::open(&self.target, Folder::MustExist)?;
        backend.with(|backend| {
            let request = DeleteIn { filter: self.filter, ids, faded: self.faded, dry_run: self.dry_run };
            let by_id_only = request.filter.is_none() && !request.faded;
            if !(by_id_only || self.dry_run || self.yes) {
                let dry = DeleteIn { dry_run: true, ..request.clone() };
                let count = backend.delete_matching(space, dry)?.count as u64;
                if count == 0 {
                    return screen
                        .line(format_args!("nothing to delete in space {space}"))
                        .map(|()| ExitCode::SUCCESS);
                }
                confirm(&format!("Delete {} of space {space}?", counted(count, "memory", "memories")))?;
            }
            let deleted = backend.delete_matching(space, request)?;
            let none_there = by_id_only && deleted.count == 0;
            let code = ExitCode::from(u8::from(none_there));
            if self.json {
                return screen.json(&deleted).map(|()| code);
            }
            let verb = if deleted.dry_run { "would delete" } else { "deleted" };
            screen.line(format_args!(
                "{verb} {} of space {space}",
                counted(deleted.count as u64, "memory", "memories")
            ))?;
            if deleted.dry_run && self.faded {
                for id in deleted.ids.iter().flatten().take(FADED_SHOWN_MAX) {
                    screen.line(format_args!("  {id}"))?;
                }
                if deleted.count > FADED_SHOWN_MAX {
                    screen.line(format_args!(
                        "  and {} more; --json has all",
                        deleted.count - FADED_SHOWN_MAX
                    ))?;
                }
            }
            if by_id_only && let Some(missing) = missing(&asked, &deleted) {
                screen.line(missing)?;
            }
            Ok(code)
        })
    }
}

/// Names the ids that were asked for and are not there; `None` where all are.
fn missing(asked: &[String], deleted: &DeleteOut) -> Option<String> {
    let all: BTreeSet<&String> = asked.iter().collect();
    let count = all.len().saturating_sub(deleted.count);
    // A dry run counts and does not say which.
    let found = match &deleted.ids {
        Some(ids) => ids.as_slice(),
        None if deleted.count == 0 => &[],
        None if count > 0 => return Some(format!("not there: {}", counted(count as u64, "id", "ids"))),
        None => return None,
    };
    let found: BTreeSet<&String> = found.iter().collect();
    let missing: Vec<&str> = all.difference(&found).map(|id| id.as_str()).collect();
    let shown = missing.iter().take(MISSING_SHOWN_MAX).copied().collect::<Vec<_>>().join(", ");
    match missing.len().saturating_sub(MISSING_SHOWN_MAX) {
        _ if missing.is_empty() => None,
        0 => Some(format!("not there: {shown}")),
        more => Some(format!("not there: {shown} and {more} more")),
    }
}
