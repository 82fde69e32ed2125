//! A backup from its begin to the removal of old ones. A space that cannot be copied is left out and named, and the others
//! are copied; where the source does not answer any more there is no backup, and none where nothing could be copied. A
//! space notes every backup that may hold it before there is such a backup, so that what is told when it is deleted leaves
//! out none; notes of backups that are not there are taken away by the next.

use super::{Backup, BackupWriter, Backups, LeftOut, Origin, Taken, claims, time_of_id};
use crate::clock::Clock;
use crate::engine::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::receipt::NotedBackup;
use engram_core::id::SpaceName;
use std::collections::{BTreeMap, BTreeSet};

/// Whose spaces are copied: an engine in this process, or a server.
pub trait Source {
    /// The spaces that are there. Fails where it does not answer any more.
    fn spaces(&self) -> Result<Vec<SpaceName>>;
    /// Holds a space as it is now; none where it is not there.
    fn hold<'a>(&'a self, space: &SpaceName) -> Result<Option<Box<dyn Origin + 'a>>>;
    /// Notes that a backup holds a space, and gives all that are noted; none where it is not there.
    fn note(&self, space: &SpaceName, backup: &NotedBackup) -> Result<Option<Vec<NotedBackup>>>;
    /// Notes that a backup is gone. A space that is not there is no error.
    fn forget(&self, space: &SpaceName, id: &str) -> Result<()>;
}

impl Source for Engine {
    fn spaces(&self) -> Result<Vec<SpaceName>> {
        Engine::spaces(self)
    }

    fn hold<'a>(&'a self, space: &SpaceName) -> Result<Option<Box<dyn Origin + 'a>>> {
        let held = self.space(space).and_then(|space| space.snapshot());
        Ok(found(held)?.map(|snapshot| Box::new(snapshot) as Box<dyn Origin>))
    }

    fn note(&self, space: &SpaceName, backup: &NotedBackup) -> Result<Option<Vec<NotedBackup>>> {
        found(self.space(space).and_then(|space| {
            space.note_backup(backup.clone())?;
            space.backups()
        }))
    }

    fn forget(&self, space: &SpaceName, id: &str) -> Result<()> {
        found(self.space(space).and_then(|space| space.forget_backup(id))).map(drop)
    }
}

/// None where there is no such thing.
fn found<T>(outcome: Result<T>) -> Result<Option<T>> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        outcome => outcome.map(Some),
    }
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// Its list, which names what was left out.
    pub backup: Backup,
    /// What it took.
    pub taken: Taken,
    /// Older ones that were removed.
    pub removed: Vec<String>,
    /// What did not work, and harms no backup: notes, and removals.
    pub troubles: Vec<String>,
}

impl Backups {
    /// Copies spaces, notes it in them and, if all are in the backup, removes all but the newest `keep`. `left_out` are
    /// those of which it is known that they cannot be copied. Spaces that are deleted meanwhile are no failure.
    ///
    /// # Errors
    /// `NotFound` where there is nothing to copy; `Busy` where the store does not answer, or another program removes
    /// backups; `Conflict` where it took so long that others no longer counted on it; those of the source, where it does
    /// not answer, or no space could be copied.
    pub fn take(
        &self,
        source: &dyn Source,
        spaces: &[SpaceName],
        left_out: Vec<LeftOut>,
        keep: Option<usize>,
        clock: &Clock,
    ) -> Result<Run> {
        let mut writer = self.begin(clock.now())?;
        writer.backup.left_out = left_out;
        let mut notes = Notes { source, place: &self.place, noted: BTreeMap::new(), troubles: Vec::new() };
        let begun = time_of_id(writer.begun_at);
        let mut failure = None;
        for space in spaces {
            if notes.note(space, &begun)?
                && let Err(error) = copy(source, space, &mut writer)?
            {
                let reason = error.to_string();
                writer.backup.left_out.push(LeftOut { name: space.to_string(), reason });
                failure = failure.or(Some(error));
            }
        }
        notes.agree(&mut writer, &begun)?;
        if writer.backup.spaces.is_empty() {
            // Others may have taken the notes away.
            writer.check_claim()?;
            let nothing = || {
                let reasons = writer
                    .backup
                    .left_out
                    .iter()
                    .map(|space| format!("\nspace {}: {}", space.name, space.reason));
                let message = format!(
                    "there is no space to copy, so there is no backup{}",
                    reasons.collect::<String>()
                );
                Error::new(ErrorKind::NotFound, message)
            };
            return Err(failure.unwrap_or_else(nothing));
        }
        let (id, backup, taken) = writer.finish()?;
        // What is left out of this one may be in no other that stays.
        let keep = keep.filter(|_| backup.left_out.is_empty());
        // The copying may have taken hours.
        let removed = keep.map_or(Ok(Vec::new()), |keep| self.prune(keep, &id, clock.now()));
        let removed = removed.unwrap_or_else(|error| {
            notes.troubles.push(format!("older backups stay: {error}"));
            Vec::new()
        });
        // In this order: who is not writing any more has made its backup, or makes none.
        let begun = claims::begun(&self.store, clock.now());
        match begun.and_then(|begun| Ok((begun, self.ids()?))) {
            Ok((begun, ids)) => notes.forget_all_but(&begun, &ids.into_iter().chain([id.clone()]).collect()),
            Err(error) => notes.troubles.push(format!("old notes stay in the spaces: {error}")),
        }
        Ok(Run { id, backup, taken, removed, troubles: notes.troubles })
    }
}

/// Copies a space, unless it was deleted. The errors outside end the backup.
fn copy(source: &dyn Source, space: &SpaceName, writer: &mut BackupWriter<'_>) -> Result<Result<()>> {
    let error = match source.hold(space) {
        Ok(None) => return Ok(Ok(())),
        Ok(Some(origin)) => match writer.try_add(space, &*origin)? {
            Ok(()) => return Ok(Ok(())),
            Err(error) => error,
        },
        Err(error) => error,
    };
    // A deletion takes cold files from under a snapshot.
    if source.spaces()?.contains(space) { Ok(Err(error)) } else { Ok(Ok(())) }
}

/// What is noted in the spaces.
struct Notes<'a> {
    source: &'a dyn Source,
    place: &'a str,
    /// By space, all that it notes.
    noted: BTreeMap<SpaceName, Vec<NotedBackup>>,
    troubles: Vec<String>,
}

impl Notes<'_> {
    /// Returns whether the space is there. One that cannot note it is in the backup all the same: it may be what has to be
    /// saved from a full disk.
    fn note(&mut self, space: &SpaceName, id: &str) -> Result<bool> {
        let backup = NotedBackup { id: id.to_string(), place: self.place.to_string() };
        match self.source.note(space, &backup) {
            Ok(Some(all)) => drop(self.noted.insert(space.clone(), all)),
            Ok(None) => return Ok(false),
            Err(error) => {
                if !self.source.spaces()?.contains(space) {
                    return Ok(false);
                }
                self.noted.remove(space);
                self.troubles.push(format!("space {space} could not note backup {id}: {error}"));
            }
        }
        Ok(true)
    }

    /// Notes the id of the backup in all spaces that are in it, and takes out of it those that were deleted since it
    /// `begun`, though there may be another of the same name: it does not have the first note.
    fn agree(&mut self, writer: &mut BackupWriter<'_>, begun: &str) -> Result<()> {
        loop {
            let (id, _) = writer.named();
            let mut gone = BTreeSet::new();
            for copy in &writer.backup.spaces {
                let space = SpaceName::new(&copy.name)?;
                if !self.noted.contains_key(&space) {
                    continue;
                }
                if !self.note(&space, &id)? {
                    gone.insert(copy.name.clone());
                } else if let Some(all) = self.noted.get(&space)
                    && !all.iter().any(|noted| noted.id == begun)
                {
                    gone.insert(copy.name.clone());
                    self.forget(&space, &id);
                }
            }
            if gone.is_empty() {
                return Ok(());
            }
            writer.backup.spaces.retain(|copy| !gone.contains(&copy.name));
        }
    }

    /// Takes away the notes of backups that are not at this place, and not `begun` there either.
    fn forget_all_but(&mut self, begun: &[String], ids: &BTreeSet<String>) {
        let place = self.place;
        let is_gone = |noted: &&NotedBackup| {
            let is_begun = begun.iter().any(|begun| noted.id.starts_with(begun));
            noted.place == place && !is_begun && !ids.contains(&noted.id)
        };
        for (space, noted) in std::mem::take(&mut self.noted) {
            for backup in noted.iter().filter(is_gone) {
                self.forget(&space, &backup.id);
            }
        }
    }

    fn forget(&mut self, space: &SpaceName, id: &str) {
        if let Err(error) = self.source.forget(space, id) {
            self.troubles.push(format!("space {space} still notes backup {id}: {error}"));
        }
    }
}
