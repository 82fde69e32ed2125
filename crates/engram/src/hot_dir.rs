//! The folder that the vectors of the hot tier lie in, where `storage.hot_tier_dir` names one: a file for each block of
//! rows, without a name from the moment it is made, so that nothing is left of it whatever happens. What the folder has no
//! room for lies in the memory of the process, and a line in the log says so. Passes `vfs` by: nothing here outlives the
//! process.

use crate::error::{Error, ErrorKind, Result};
use engram_core::platform::{BlockFiles, memory_file_system_bytes};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Ending of a file in the moment in which it has a name. A crash in it leaves an empty file, which the next start removes.
const ENDING: &str = "hot";

/// Files in a folder, which must be there. Says once where they would be better elsewhere.
pub(crate) fn block_files(dir: &Path, hot_bytes_max: u64) -> Result<Arc<BlockFiles>> {
    let folder = dir.display().to_string();
    let refused = |error: io::Error| {
        let message = format!(
            "storage.hot_tier_dir = \"{folder}\" cannot be used: {error}; make it a folder that this process may write to, \
             such as with `mount -t tmpfs -o size=4g tmpfs {folder}`, or leave the setting empty for the memory of the process"
        );
        Error::new(ErrorKind::Invalid, message)
    };
    remove_left(dir).map_err(&refused)?;
    let probe = nameless(dir).map_err(&refused)?;
    match memory_file_system_bytes(&probe).map_err(&refused)? {
        None => tracing::warn!(
            folder,
            "storage.hot_tier_dir is on no tmpfs: vectors that are hot wait for its disk"
        ),
        Some(bytes) if bytes < hot_bytes_max => {
            let (tmpfs_mb, hot_tier_mb) = (bytes >> 20, hot_bytes_max >> 20);
            tracing::warn!(
                folder,
                tmpfs_mb,
                hot_tier_mb,
                "storage.hot_tier_dir is smaller than the hot tier: what it has no room for lies in the memory of the process"
            );
        }
        Some(_) => {}
    }
    let own = dir.to_path_buf();
    let is_refused = AtomicBool::new(false);
    let note = move |outcome: io::Result<()>| match outcome {
        // Said when it begins, not for every block.
        Err(error) if !is_refused.swap(true, Ordering::Relaxed) => tracing::warn!(
            folder, %error,
            "storage.hot_tier_dir takes no more: vectors lie in the memory of the process; make the tmpfs larger"
        ),
        Err(_) => {}
        Ok(()) => is_refused.store(false, Ordering::Relaxed),
    };
    Ok(Arc::new(BlockFiles { open: Box::new(move || nameless(&own)), note: Box::new(note) }))
}

/// A new file whose name is gone again.
fn nameless(dir: &Path) -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = dir.join(format!("engram-{process}-{number}.{ENDING}"));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    match fs::remove_file(&path) {
        // Another process that starts has removed it as left over.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(file),
    }
}

/// Removes what crashes have left.
fn remove_left(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("engram-") && name.ends_with(&format!(".{ENDING}")) {
            match fs::remove_file(dir.join(&*name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}
