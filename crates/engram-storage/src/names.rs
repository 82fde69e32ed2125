//! Files of names, such as of what is still to be deleted. Written whole or not at all: a file header (as in `record.rs`)
//! with the number of names, then one frame with the names, a line each. An empty file has no names.

use std::path::Path;
use std::sync::Arc;

use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::record::{
    FILE_HEADER_BYTES, FrameReader, Step, check_file_header, encode_file_header, encode_frame,
};
use crate::vfs::Vfs;

const MAGIC: [u8; 8] = *b"ENGRNAM1";

/// Makes a file of these names, none of which has a line break, durable at `path`.
pub fn write(vfs: &Arc<dyn Vfs>, path: &Path, names: &[String]) -> Result<()> {
    let payload = names.join("\n");
    let bytes = payload.len();
    if bytes > PAYLOAD_BYTES_MAX {
        return Err(Error::TooLarge { what: "list of names", bytes, bytes_max: PAYLOAD_BYTES_MAX });
    }
    let mut draft = Draft::create(vfs.clone(), path.to_path_buf())?;
    draft.push(|out| {
        out.extend_from_slice(&encode_file_header(MAGIC, names.len() as u64));
        encode_frame(out, FILE_HEADER_BYTES as u64, 1, 0, payload.as_bytes());
    })?;
    draft.finish().map(drop)
}

/// The names in a file.
pub fn read(vfs: &dyn Vfs, path: &Path) -> Result<Vec<String>> {
    let file = vfs.open_read(path)?;
    let mut reader = FrameReader::new(&*file)?;
    if reader.size() == 0 {
        return Ok(Vec::new());
    }
    let offset = FILE_HEADER_BYTES as u64;
    let corrupt =
        |reason: &str| Error::Corrupt { file: path.to_path_buf(), offset, reason: reason.to_string() };
    let header = reader.bytes(0, FILE_HEADER_BYTES)?.to_vec();
    let names: Vec<String> = match reader.frame(offset)? {
        Step::Frame(_, payload) => {
            let text = std::str::from_utf8(payload).map_err(|_| corrupt("names that are no text"))?;
            text.lines().map(str::to_string).collect()
        }
        Step::End => return Err(corrupt("the file ends before its names")),
        Step::Damaged(damage) => return Err(corrupt(damage.reason)),
    };
    check_file_header(path, &header, MAGIC, names.len() as u64)?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::RealVfs;

    #[test]
    fn names_come_back_and_damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("GONE");
        let vfs: Arc<dyn Vfs> = Arc::new(RealVfs);
        let names = |count: usize| (0..count).map(|at| format!("space/{at}.parquet")).collect::<Vec<_>>();
        for count in [0, 1, 3000] {
            write(&vfs, &path, &names(count)).unwrap();
            assert_eq!(read(&RealVfs, &path).unwrap(), names(count));
        }
        let whole = std::fs::read(&path).unwrap();
        for at in [0, 9, 15, 22, 30, 70, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 8;
            std::fs::write(&path, bytes).unwrap();
            read(&RealVfs, &path).unwrap_err();
        }
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        read(&RealVfs, &path).unwrap_err();
        std::fs::write(&path, b"").unwrap();
        assert!(read(&RealVfs, &path).unwrap().is_empty());
    }
}
