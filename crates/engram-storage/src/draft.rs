//! A file that gets its name when it is whole: written a chunk at a time under a `.tmp` name, synced, and renamed. Dropped
//! before, it leaves no file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Result;
use crate::limits::CHUNK_BYTES;
use crate::vfs::{File, Vfs};

/// Puts a small file in the place of another, or of none: a crash leaves the one or the other.
pub fn replace_file(vfs: Arc<dyn Vfs>, path: &Path, bytes: &[u8]) -> Result<()> {
    let mut draft = Draft::create(vfs, path.to_path_buf())?;
    draft.push(|out| out.extend_from_slice(bytes))?;
    draft.finish().map(drop)
}

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Draft {
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
    file: Box<dyn File>,
    /// Bytes in the file, without the buffer.
    written: u64,
    buffer: Vec<u8>,
    finished: bool,
}

impl Draft {
    /// Starts the file that will be called `path`. What an earlier draft of it left is removed.
    pub(crate) fn create(vfs: Arc<dyn Vfs>, path: PathBuf) -> Result<Draft> {
        let temporary = temporary(&path);
        if vfs.exists(&temporary)? {
            vfs.remove_file(&temporary)?;
        }
        let file = vfs.create(&temporary)?;
        Ok(Draft { vfs, path, file, written: 0, buffer: Vec::new(), finished: false })
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Adds what `encode` appends.
    pub(crate) fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        encode(&mut self.buffer);
        if self.buffer.len() >= CHUNK_BYTES { self.flush() } else { Ok(()) }
    }

    /// Makes the file durable under its name and returns its size. After an error it may or may not be there.
    pub(crate) fn finish(mut self) -> Result<u64> {
        self.flush()?;
        self.file.sync()?;
        self.vfs.rename(&temporary(&self.path), &self.path)?;
        self.finished = true;
        self.vfs.sync_dir(self.path.parent().unwrap_or(Path::new("")))?;
        Ok(self.written)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_at(self.written, &self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(2 * CHUNK_BYTES);
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            // A full disk gets its space back at once. If this fails, too, who lists the folder at the next start removes it.
            drop(self.vfs.remove_file(&temporary(&self.path)));
        }
    }
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}
