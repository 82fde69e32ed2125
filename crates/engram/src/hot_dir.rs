//! The folder that the vectors of the hot tier lie in, where `storage.hot_tier_dir` names one: a file for each block of
//! rows, without a name from the moment it is made, so that nothing is left of it whatever happens, and for nobody else to
//! read. What the folder has no room for lies in the memory of the process, and a line in the log says so. Passes `vfs` by:
//! nothing here outlives the process.

use crate::clock::Stopwatch;
use crate::error::{Error, ErrorKind, Result};
use engram_core::platform::{BlockFiles, memory_file_system_bytes};
use parking_lot::Mutex;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Ending of a file in the moment in which it has a name. A crash in it leaves an empty file, which the next start removes.
const ENDING: &str = "hot";
/// How often it is said that the folder takes no block, however often it takes one in between.
const SAYS_EVERY: Duration = Duration::from_secs(3600);

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
    let said: Mutex<Option<Stopwatch>> = Mutex::default();
    let note = move |outcome: io::Result<()>| {
        let Err(error) = outcome else { return };
        let mut said = said.lock();
        if said.is_none_or(|since| since.elapsed() >= SAYS_EVERY) {
            *said = Some(Stopwatch::start());
            let advice = advice(error.kind());
            tracing::warn!(
                folder, %error, advice,
                "storage.hot_tier_dir takes no block: what does not lie there lies in the memory of the process"
            );
        }
    };
    Ok(Arc::new(BlockFiles { open: Box::new(move || nameless(&own)), note: Box::new(note) }))
}

/// What to do where the folder takes no block.
fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make the tmpfs larger, or the hot tier smaller"
        }
        io::ErrorKind::OutOfMemory => {
            "let this process have more memory: what lies in a tmpfs counts; or make the hot tier smaller"
        }
        io::ErrorKind::NotFound => "make the folder again",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "let this process write to it",
        _ => "mend what the error says, or leave the setting empty",
    }
}

/// A new file whose name is gone again.
fn nameless(dir: &Path) -> io::Result<File> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = dir.join(format!("engram-{process}-{number}.{ENDING}"));
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    // While it has a name, nobody else may open it, either.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path)?;
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn files_are_empty_nameless_and_for_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let found = nameless(folder.path()).unwrap().metadata().unwrap();
        assert_eq!((found.len(), found.nlink(), found.mode() & 0o077), (0, 0, 0));
        assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}
