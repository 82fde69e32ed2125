//! A checkpoint stands for the log up to a position: frames in a file `checkpoint-<position, 20 digits>.ckpt`, closed
//! by a footer frame with their count. It is written under a `.tmp` name, synced, and renamed, so that a file with its
//! final name is whole; damage in one is always `Corrupt`. Remove log segments and older checkpoints only after
//! `finish` returned or `newest` named it: both made the name durable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::log::LogPosition;
use crate::record::{
    FILE_HEADER_BYTES, FRAME_HEADER_BYTES, FrameReader, Step, check_file_header, encode_file_header,
    encode_frame, read_u64,
};
use crate::vfs::Vfs;

const MAGIC: [u8; 8] = *b"ENGRCKP1";

/// Sequence of the footer; those of other frames start at 1.
const FOOTER_SEQUENCE: u64 = 0;

/// Writes a checkpoint, a chunk at a time. Dropped without `finish`, it leaves no checkpoint.
#[derive(Debug)]
pub struct CheckpointWriter {
    draft: Draft,
    frames: u64,
}

impl CheckpointWriter {
    /// Starts the checkpoint that stands for the log through `position`, which must be durable in the log.
    pub fn create(vfs: Arc<dyn Vfs>, dir: &Path, position: LogPosition) -> Result<CheckpointWriter> {
        vfs.create_dir_all(dir)?;
        let mut draft = Draft::create(vfs, path(dir, position))?;
        draft.push(|out| out.extend_from_slice(&encode_file_header(MAGIC, position.0)))?;
        Ok(CheckpointWriter { draft, frames: 0 })
    }

    /// Adds a payload.
    pub fn push(&mut self, payload: &[u8]) -> Result<()> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            let bytes = payload.len();
            return Err(Error::TooLarge { what: "payload", bytes, bytes_max: PAYLOAD_BYTES_MAX });
        }
        self.frames += 1;
        self.encode(self.frames, payload)
    }

    /// Makes the checkpoint durable under its name and returns its size in bytes. After an error it may or may not be
    /// there; `newest` after a restart tells.
    pub fn finish(mut self) -> Result<u64> {
        self.encode(FOOTER_SEQUENCE, &self.frames.to_le_bytes())?;
        self.draft.finish()
    }

    fn encode(&mut self, sequence: u64, payload: &[u8]) -> Result<()> {
        let offset = self.draft.bytes();
        self.draft.push(|out| encode_frame(out, offset, sequence, 0, payload))
    }
}

/// Position of the newest checkpoint in the folder, which is made if missing. Call it before using the folder: removes
/// what unfinished checkpoints left, and makes the names found durable.
pub fn newest(vfs: &dyn Vfs, dir: &Path) -> Result<Option<LogPosition>> {
    vfs.create_dir_all(dir)?;
    for name in vfs.list(dir)? {
        if name.starts_with("checkpoint-") && name.ends_with(".tmp") {
            vfs.remove_file(&dir.join(name))?;
        }
    }
    // A process may have died between rename and sync: without this, a crash after segments were removed could take
    // the checkpoint back that stands for them.
    vfs.sync_dir(dir)?;
    Ok(positions(vfs, dir)?.last().copied())
}

/// Positions of the checkpoints in the folder, oldest first.
pub fn positions(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<LogPosition>> {
    let position = |name: &String| {
        let digits = name.strip_prefix("checkpoint-")?.strip_suffix(".ckpt")?;
        if digits.len() == 20 { digits.parse().ok().map(LogPosition) } else { None }
    };
    Ok(vfs.list(dir)?.iter().filter_map(position).collect())
}

/// Reads the checkpoint at `position` and returns how many payloads it has. Payloads reach `each` as they are verified;
/// what they built counts only if this returns Ok. An `Error::Payload` of `each` becomes `Corrupt`.
pub fn read(
    vfs: &dyn Vfs,
    dir: &Path,
    position: LogPosition,
    each: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let path = path(dir, position);
    let file = vfs.open_read(&path)?;
    let mut reader = FrameReader::new(&*file)?;
    check_file_header(&path, reader.bytes(0, FILE_HEADER_BYTES)?, MAGIC, position.0)?;
    let mut offset = FILE_HEADER_BYTES as u64;
    let mut frames = 0;
    let corrupt =
        |offset, reason: &str| Error::Corrupt { file: path.clone(), offset, reason: reason.to_string() };
    loop {
        let (header, payload) = match reader.frame(offset)? {
            Step::Frame(header, payload) => (header, payload),
            Step::End => return Err(corrupt(offset, "the file ends without its footer")),
            Step::Damaged(damage) => return Err(corrupt(offset, damage.reason)),
        };
        let next = offset + (FRAME_HEADER_BYTES + payload.len()) as u64;
        if header.sequence == FOOTER_SEQUENCE {
            let counted = payload.len() == 8 && read_u64(payload, 0) == frames;
            return match counted && next == reader.size() {
                true => Ok(frames),
                false => Err(corrupt(offset, "the footer does not fit the file")),
            };
        }
        frames += 1;
        if header.sequence != frames {
            return Err(corrupt(offset, "frames are missing"));
        }
        each(payload).map_err(|error| error.at(&path, offset))?;
        offset = next;
    }
}

/// Removes all checkpoints older than `keep`.
pub fn remove_older(vfs: &dyn Vfs, dir: &Path, keep: LogPosition) -> Result<()> {
    for position in positions(vfs, dir)? {
        if position < keep {
            vfs.remove_file(&path(dir, position))?;
        }
    }
    vfs.sync_dir(dir)
}

/// The name of the checkpoint at a position.
pub fn file_name(position: LogPosition) -> String {
    format!("checkpoint-{:020}.ckpt", position.0)
}

fn path(dir: &Path, position: LogPosition) -> PathBuf {
    dir.join(file_name(position))
}
