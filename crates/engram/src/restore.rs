//! From a backup to a folder that an engine opens.

use crate::backup::{Backup, Backups, FileCopy, SpaceCopy, verify_cold};
use crate::deletion::{DELETED, ERASED, empty};
use crate::engine::{Engine, Held, Options, held};
use crate::error::{Error, ErrorKind, Result};
use crate::receipt::{BACKUPS, NotedBackup, noted};
use engram_core::error::shown;
use engram_core::id::SpaceName;
use engram_storage::cold::ColdStore;
use engram_storage::{Vfs, names};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a restore wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Restored {
    /// Spaces.
    pub spaces: u64,
    /// Memories in them: each was read.
    pub memories: u64,
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of the cold tier that were there already: another folder may be using them.
    pub cold_there: u64,
}

/// Where a space goes.
struct Destination<'a> {
    vfs: &'a dyn Vfs,
    dir: &'a Path,
    cold: Option<&'a ColdStore>,
    /// Cold files that are its own where they are there already.
    own: BTreeSet<String>,
}

impl Backups {
    /// Brings the spaces of a backup, or one of them, back into the folder and the cold tier of `options`, telling
    /// `progress` of the bytes of each piece. Each space is there as a whole or not at all, also after a crash.
    ///
    /// # Errors
    /// `Locked` where the folder is in use; `Conflict` where it has such a space; `NotFound` where the backup has not;
    /// `Invalid` where it has cold files and `options` no cold tier; `Corrupt` where a file is not what was written; those
    /// of the disk.
    pub fn restore(
        &self,
        id: &str,
        backup: &Backup,
        only: Option<&SpaceName>,
        options: &Options,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Restored> {
        let (vfs, folder) = (&*options.vfs, options.data_dir.join("spaces"));
        let chosen = chosen(backup, only)?;
        vfs.create_dir_all(&folder)?;
        let lock = vfs.try_lock(&options.data_dir.join("lock"), "engram restore")?;
        for (name, copy) in &chosen {
            if held(vfs, &folder.join(name.as_str()))? != Held::Nothing {
                let message = format!(
                    "space \"{name}\" is in {} already; delete it first, or restore into another folder",
                    options.data_dir.display()
                );
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            let is_cold = |file: &&FileCopy| file.sha256.is_none();
            if options.cold.is_none() && copy.files.iter().any(|file| is_cold(&file)) {
                let message = format!(
                    "space \"{name}\" has {} files in the cold tier, and this configuration has none; set \
                     storage.cold_tier_endpoint to where they shall go",
                    copy.files.iter().filter(is_cold).count()
                );
                return Err(Error::new(ErrorKind::Invalid, message));
            }
        }
        let mut restored = Restored::default();
        let holders = self.holders(id, &chosen)?;
        for ((name, copy), holders) in chosen.iter().zip(&holders) {
            let dir = folder.join(name.as_str());
            let own = begin_space(options, &dir, copy, holders)?;
            let to = Destination { vfs, dir: &dir, cold: options.cold.as_deref(), own };
            self.restore_space(copy, &to, &mut restored, progress)?;
            // It is a space from here on.
            vfs.sync_dir(&dir)?;
            vfs.remove_file(&dir.join(DELETED))?;
            vfs.sync_dir(&dir)?;
            vfs.sync_dir(&folder)?;
            restored.spaces += 1;
        }
        drop(lock);
        restored.memories = count(options, &chosen)?;
        Ok(restored)
    }

    /// For each space, the backups here that have it, `from` among them. One whose list is damaged may have it.
    fn holders(&self, from: &str, chosen: &[(SpaceName, &SpaceCopy)]) -> Result<Vec<Vec<NotedBackup>>> {
        let mut holders = vec![Vec::new(); chosen.len()];
        for id in self.ids()?.into_iter().chain([from.to_string()]).collect::<BTreeSet<_>>() {
            let listed = match self.get(Some(&id)) {
                _ if id == from => None,
                Ok((_, backup)) => Some(backup.spaces),
                Err(error) if error.kind() == ErrorKind::Corrupt => None,
                // Removed since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for ((name, _), holders) in chosen.iter().zip(&mut holders) {
                let has_it = |spaces: &Vec<SpaceCopy>| spaces.iter().any(|copy| copy.name == name.as_str());
                if listed.as_ref().is_none_or(has_it) {
                    holders.push(NotedBackup { id: id.clone(), place: self.place().to_string() });
                }
            }
        }
        Ok(holders)
    }

    fn restore_space(
        &self,
        copy: &SpaceCopy,
        to: &Destination<'_>,
        restored: &mut Restored,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        for file in &copy.files {
            match (&file.sha256, to.cold) {
                (None, Some(cold)) => {
                    let is_there = self.restore_cold(file, cold, progress)?;
                    restored.cold_there += u64::from(is_there && !to.own.contains(&file.name));
                }
                _ => self.restore_file(file, to.vfs, &to.dir.join(&file.name), progress)?,
            }
            restored.files += 1;
            restored.bytes += file.bytes;
        }
        Ok(())
    }

    fn restore_file(
        &self,
        file: &FileCopy,
        vfs: &dyn Vfs,
        path: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let to = vfs.create(path)?;
        let mut offset = 0;
        self.read(file, &mut |piece| {
            to.write_at(offset, piece)?;
            offset += piece.len() as u64;
            progress(piece.len() as u64);
            Ok(())
        })?;
        Ok(to.sync()?)
    }

    /// Returns whether it was there.
    fn restore_cold(&self, file: &FileCopy, cold: &ColdStore, progress: &mut dyn FnMut(u64)) -> Result<bool> {
        // Before anything is written, and of one that is there: what is damaged is put right.
        self.verify_cold(file)?;
        let is_there =
            cold.object_bytes(&file.name)? == Some(file.bytes) && verify_cold(cold, &file.name).is_ok();
        if !is_there {
            let object = file.object();
            cold.write_object(&file.name, file.bytes, &mut |range| self.store.read_object(&object, range))?;
            verify_cold(cold, &file.name)?;
        }
        progress(file.bytes);
        Ok(is_there)
    }
}

/// Reads the restored spaces, and counts their memories. None of them is closed, which would delete or write anew what
/// another folder may be using of the cold files.
fn count(options: &Options, chosen: &[(SpaceName, &SpaceCopy)]) -> Result<u64> {
    let options = Options { background_threads: 0, consolidation_threads: 0, ..options.clone() };
    let engine = Engine::open(options)?;
    let memories = chosen.iter().map(|(name, _)| {
        let memories = engine.space(name)?.summary().memories;
        engine.abandon_space(name);
        Ok(memories as u64)
    });
    let memories = memories.sum();
    engine.abandon();
    memories
}

/// Makes the folder of a space that is to come, with a mark: while that is there, it is no space, and who opens the folder
/// after a crash erases it. The mark names the cold files that go with it then, which are given: those that are not there
/// yet, those that an earlier try wrote, and those that were still to be deleted.
fn begin_space(
    options: &Options,
    dir: &Path,
    copy: &SpaceCopy,
    holders: &[NotedBackup],
) -> Result<BTreeSet<String>> {
    let (vfs, erased) = (&options.vfs, options.data_dir.join(ERASED));
    vfs.create_dir_all(dir)?;
    let mark = dir.join(DELETED);
    let is_marked = vfs.exists(&mark)?;
    let of_mark = if is_marked { names::read(&**vfs, &mark)? } else { Vec::new() };
    let lists = erased_lists(&**vfs, &erased)?;
    let listed: BTreeSet<&String> = of_mark.iter().chain(lists.values().flatten()).collect();
    let mut own = BTreeSet::new();
    for FileCopy { name, sha256, .. } in &copy.files {
        let is_there = |cold: &Arc<ColdStore>| Ok::<_, Error>(cold.object_bytes(name)?.is_some());
        if sha256.is_none() && (listed.contains(name) || !options.cold.as_ref().map_or(Ok(true), is_there)?) {
            own.insert(name.clone());
        }
    }
    let left: Vec<String> = of_mark.into_iter().filter(|name| !own.contains(name)).collect();
    if let Some(first) = left.first() {
        vfs.create_dir_all(&erased)?;
        names::write(vfs, &erased.join(first.replace('/', "-")), &left)?;
    }
    if !own.is_empty() || is_marked {
        names::write(vfs, &mark, &own.iter().cloned().collect::<Vec<_>>())?;
    } else {
        drop(vfs.create(&mark)?);
    }
    vfs.sync_dir(dir)?;
    // They are known here now, and must not be deleted once this is a space.
    for (path, listed) in lists {
        let left: Vec<String> = listed.iter().filter(|name| !own.contains(*name)).cloned().collect();
        if left.len() < listed.len() {
            names::write(vfs, &path, &left)?;
        }
    }
    empty(&**vfs, dir)?;
    let file = vfs.create(&dir.join(BACKUPS))?;
    file.write_at(0, &noted(holders.to_vec()))?;
    file.sync()?;
    Ok(own)
}

/// The lists of cold files that are still to be deleted.
fn erased_lists(vfs: &dyn Vfs, erased: &Path) -> Result<BTreeMap<PathBuf, Vec<String>>> {
    let mut lists = BTreeMap::new();
    if vfs.exists(erased)? {
        for list in vfs.list(erased)?.into_iter().filter(|list| list.ends_with(".parquet")) {
            let path = erased.join(list);
            let listed = names::read(vfs, &path)?;
            lists.insert(path, listed);
        }
    }
    Ok(lists)
}

/// The spaces to bring back. Names come from a file, and lead to places on this disk.
fn chosen<'a>(backup: &'a Backup, only: Option<&SpaceName>) -> Result<Vec<(SpaceName, &'a SpaceCopy)>> {
    let mut chosen = Vec::new();
    for copy in &backup.spaces {
        let name = SpaceName::new(&copy.name)?;
        if only.is_some_and(|only| *only != name) {
            continue;
        }
        let is_ours = |file: &FileCopy| {
            let begins = ["log-", "checkpoint-", "payloads-"].iter().any(|kind| file.name.starts_with(kind));
            let is_cold = file.name.starts_with(&format!("{name}/")) && file.name.ends_with(".parquet");
            if file.sha256.is_none() { is_cold } else { begins && !file.name.contains('/') }
        };
        if let Some(file) = copy.files.iter().find(|file| !is_ours(file)) {
            let message = format!(
                "space \"{name}\" of the backup has a file \"{}\", which is none of ours",
                shown(&file.name)
            );
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        if chosen.iter().any(|(chosen, _)| *chosen == name) {
            return Err(Error::new(ErrorKind::Corrupt, format!("space \"{name}\" is in the backup twice")));
        }
        chosen.push((name, copy));
    }
    match (only, chosen.is_empty()) {
        (Some(only), true) => {
            let message = format!("the backup has {} spaces, none of them \"{only}\"", backup.spaces.len());
            Err(Error::new(ErrorKind::NotFound, message))
        }
        _ => Ok(chosen),
    }
}
