//! Deletion of spaces. It is decided by a mark in the space's folder, and carried out after; what a crash leaves of it is
//! done when the engine is opened. The mark names the space's cold files. Those that cannot be deleted, as the object
//! store is away, are listed in the folder `erased` until they are.

use crate::cold::Cold;
use crate::engine::Shared;
use crate::error::{ErrorKind, Result};
use engram_core::id::SpaceName;
use engram_storage::{Vfs, names};
use std::path::{Path, PathBuf};

/// In a space's folder: its deletion has been decided, whatever else is still there.
pub(crate) const DELETED: &str = "DELETED";
/// In the data folder: lists of cold files that are still to be deleted.
pub(crate) const ERASED: &str = "erased";

impl Shared {
    /// Erases the folder of a space that nobody uses, and its cold files. What a failed deletion left is taken further.
    pub(crate) fn erase_space(&self, name: &SpaceName, cold_files: &[String]) -> Result<()> {
        let (vfs, dir) = (&self.options.vfs, self.dir_of(name));
        self.idle.forget(name);
        if vfs.exists(&dir)? {
            let mark = dir.join(DELETED);
            if !vfs.exists(&mark)? {
                self.mark(&mark, cold_files)?;
            }
            vfs.sync_dir(&dir)?;
            self.erase(&dir)?;
        }
        Ok(vfs.sync_dir(&self.spaces_dir())?)
    }

    /// Decides a deletion.
    fn mark(&self, mark: &Path, cold_files: &[String]) -> Result<()> {
        let vfs = &self.options.vfs;
        if !cold_files.is_empty() {
            match names::write(vfs, mark, cold_files).map_err(crate::error::Error::from) {
                // Whoever deletes to make room must be able to.
                Err(error) if error.kind() == ErrorKind::Full => {
                    tracing::warn!(%error, files = ?cold_files, "cold files of a deleted space stay: their names cannot be kept");
                }
                written => return written,
            }
        }
        drop(vfs.create(mark)?);
        Ok(())
    }

    /// Erases the spaces whose deletion a crash interrupted, and cold files that could not be deleted before.
    pub(crate) fn finish_deletions(&self) -> Result<()> {
        let (vfs, spaces) = (&self.options.vfs, self.spaces_dir());
        for folder in vfs.list(&spaces)? {
            let dir = spaces.join(&folder);
            if SpaceName::new(&folder).is_ok() && vfs.exists(&dir.join(DELETED))? {
                self.erase(&dir)?;
            }
        }
        // Also of those that were erased before, but perhaps not synced: the mark must not come back beside new files.
        vfs.sync_dir(&spaces)?;
        *self.has_erased.lock() = vfs.exists(&self.erased_dir())?;
        self.erase_cold_files();
        Ok(())
    }

    /// Removes the folder of a space that is marked as deleted; the mark goes last, so that no crash brings the rest back.
    /// Durable after a sync of the parent.
    fn erase(&self, dir: &Path) -> Result<()> {
        let vfs = &self.options.vfs;
        let cold_files = names::read(&**vfs, &dir.join(DELETED))?;
        empty(&**vfs, dir)?;
        let left = self.delete_cold(&cold_files);
        if let Some(first) = left.first() {
            let mut has_erased = self.has_erased.lock();
            vfs.create_dir_all(&self.erased_dir())?;
            // Whoever is interrupted here writes the same list again.
            names::write(vfs, &self.erased_dir().join(first.replace('/', "-")), &left)?;
            *has_erased = true;
        }
        Ok(vfs.remove_dir_all(dir)?)
    }

    /// Deletes the cold files of erased spaces that could not be deleted before, where the object store is back.
    pub(crate) fn erase_cold_files(&self) {
        let mut has_erased = self.has_erased.lock();
        if *has_erased && self.tiers.cold.as_ref().is_some_and(Cold::is_there) {
            match self.erase_listed() {
                Ok(left) => *has_erased = left > 0,
                Err(error) => tracing::warn!(%error, "cold files of erased spaces stay"),
            }
        }
    }

    /// Returns how many lists are left.
    fn erase_listed(&self) -> Result<usize> {
        let (vfs, dir) = (&self.options.vfs, self.erased_dir());
        let mut left = 0;
        for list in vfs.list(&dir)? {
            let list = dir.join(list);
            let is_done = list.extension().is_none_or(|ending| ending != "parquet")
                || self.delete_cold(&names::read(&**vfs, &list)?).is_empty();
            if is_done {
                vfs.remove_file(&list)?;
            } else {
                left += 1;
            }
        }
        vfs.sync_dir(&dir)?;
        Ok(left)
    }

    /// Deletes cold files of an erased space, and returns those that it cannot.
    fn delete_cold(&self, files: &[String]) -> Vec<String> {
        let Some(cold) = &self.tiers.cold else {
            if !files.is_empty() {
                tracing::warn!(?files, "cold files of an erased space stay: there is no cold tier");
            }
            return files.to_vec();
        };
        let mut failure = None;
        let mut is_left = |name: &&String| match cold.delete(name) {
            Ok(()) => false,
            Err(error) => {
                failure = Some(error);
                true
            }
        };
        let left: Vec<String> = files.iter().filter(|name| is_left(name)).cloned().collect();
        if let Some(error) = failure {
            tracing::warn!(%error, files = left.len(), "cold files of an erased space stay until they can be deleted");
        }
        left
    }

    fn spaces_dir(&self) -> PathBuf {
        self.options.data_dir.join("spaces")
    }

    fn erased_dir(&self) -> PathBuf {
        self.options.data_dir.join(ERASED)
    }
}

/// Removes all from the folder of a space but the mark of its deletion.
pub(crate) fn empty(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    for file in vfs.list(dir)?.into_iter().filter(|file| file != DELETED) {
        vfs.remove_file(&dir.join(file))?;
    }
    Ok(vfs.sync_dir(dir)?)
}
