//! What is told of a space that is deleted: what was erased from where, and which backups still hold it.

use crate::error::{Error, ErrorKind, Result};
use crate::space::{Space, SpaceSummary};
use engram_core::id::Timestamp;
use engram_storage::replace_file;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// In a space's folder: the backups that hold it, as far as they were noted.
pub(crate) const BACKUPS: &str = "backups.json";

/// Version of that file. The first was a list alone; a newer one is refused.
const FORMAT: u32 = 2;

/// What that file holds.
#[derive(Serialize, Deserialize)]
struct Noted {
    format: u32,
    backups: Vec<NotedBackup>,
}

/// A backup that holds a space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedBackup {
    /// Its id.
    pub id: String,
    /// Where it is, as a URL.
    pub place: String,
}

/// What was erased with a space.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The space as it was.
    pub summary: SpaceSummary,
    /// When.
    pub erased_at: Timestamp,
    /// Concepts that consolidation had made of its episodes.
    pub concepts: usize,
    /// Files of the log, and their bytes.
    pub log: [u64; 2],
    /// Checkpoints, and their bytes.
    pub checkpoints: [u64; 2],
    /// Segments of the warm tier, and their bytes.
    pub segments: [u64; 2],
    /// Files in the cold tier.
    pub cold_files: usize,
    /// Backups that still hold it.
    pub backups: Vec<NotedBackup>,
}

/// That file, of these backups.
pub(crate) fn noted(backups: Vec<NotedBackup>) -> Vec<u8> {
    serde_json::to_vec_pretty(&Noted { format: FORMAT, backups }).expect("texts can be written")
}

impl Space {
    /// Notes that a backup holds this space.
    pub fn note_backup(&self, backup: NotedBackup) -> Result<()> {
        self.change_backups(|noted| {
            if !noted.contains(&backup) {
                noted.push(backup);
            }
        })
    }

    /// Notes that a backup is gone. One that is not known is no error.
    pub fn forget_backup(&self, id: &str) -> Result<()> {
        self.change_backups(|noted| noted.retain(|backup| backup.id != id))
    }

    /// The backups that hold this space, as far as they were noted, oldest first.
    pub fn backups(&self) -> Result<Vec<NotedBackup>> {
        let (vfs, path) = (&self.shared.options.vfs, self.dir.join(BACKUPS));
        if !vfs.exists(&path)? {
            return Ok(Vec::new());
        }
        let file = vfs.open_read(&path)?;
        let mut json = vec![0; file.size()? as usize];
        let read = file.read_at(0, &mut json)?;
        let fault = |what: String| Error::new(ErrorKind::Internal, format!("{} {what}", path.display()));
        let damaged = |error: serde_json::Error| {
            fault(format!(
                "is damaged: {error}; remove it, and nobody knows here which backups hold the space"
            ))
        };
        let value: Value = serde_json::from_slice(&json[..read]).map_err(damaged)?;
        match value.get("format").and_then(Value::as_u64) {
            Some(newer) if newer > u64::from(FORMAT) => Err(fault(format!(
                "has format {newer}, this program reads up to {FORMAT}; use a newer engram"
            ))),
            None if value.is_array() => serde_json::from_value(value).map_err(damaged),
            _ => serde_json::from_value(value).map(|noted: Noted| noted.backups).map_err(damaged),
        }
    }

    fn change_backups(&self, change: impl FnOnce(&mut Vec<NotedBackup>)) -> Result<()> {
        let _alone = self.noting.lock();
        self.check_open()?;
        let mut backups = self.backups()?;
        change(&mut backups);
        Ok(replace_file(self.shared.options.vfs.clone(), &self.dir.join(BACKUPS), &noted(backups))?)
    }

    /// What erasing it now would erase.
    pub(crate) fn receipt(&self) -> Result<Receipt> {
        let summary = self.summary();
        let (concepts, cold_files) = {
            let state = self.read();
            (state.len() - state.ranked(), state.files().len())
        };
        let vfs = &self.shared.options.vfs;
        let names = vfs.list(&self.dir)?;
        let files = |kind: &str| -> Result<[u64; 2]> {
            let of_kind = names.iter().filter(|name| name.starts_with(kind));
            let sizes =
                of_kind.map(|name| vfs.size(&self.dir.join(name))).collect::<Result<Vec<u64>, _>>()?;
            Ok([sizes.len() as u64, sizes.iter().sum()])
        };
        Ok(Receipt {
            erased_at: self.now(),
            concepts,
            log: files("log-")?,
            checkpoints: files("checkpoint-")?,
            segments: files("payloads-")?,
            cold_files,
            backups: self.backups()?,
            summary,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, Options};
    use crate::space::StoreOptions;
    use engram_core::id::SpaceName;
    use engram_core::memory::NewMemory;

    #[test]
    fn noted_backups_of_the_first_version_are_read_and_of_a_newer_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(Options { background_threads: 0, ..Options::new(folder.path()) }).unwrap();
        let space = engine.space_or_new(&SpaceName::new("notes").unwrap()).unwrap();
        let memory = NewMemory { content: Some("It rained".into()), ..NewMemory::default() };
        space.store(vec![memory], &StoreOptions::default()).unwrap();
        let path = space.dir.join(BACKUPS);
        let [first, second] =
            ["a", "b"].map(|id| NotedBackup { id: id.into(), place: "file:///backups".into() });
        std::fs::write(&path, r#"[{"id": "a", "place": "file:///backups"}]"#).unwrap();
        assert_eq!(space.backups().unwrap(), std::slice::from_ref(&first));
        space.note_backup(second.clone()).unwrap();
        assert_eq!(space.backups().unwrap(), [first, second]);
        let written = std::fs::read_to_string(&path).unwrap();
        for (file, says) in [
            (written.replace("\"format\": 2", "\"format\": 3"), "has format 3, this program reads up to 2"),
            (written.replace("\"id\"", "\"name\""), "is damaged: missing field `id`"),
            ("{}".to_string(), "is damaged: missing field `format`"),
        ] {
            std::fs::write(&path, file).unwrap();
            let error = space.backups().unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
