//! Frames: checksummed payloads in a file, the same in log segments and checkpoints. Little endian.
//!
//! | bytes | frame header |
//! |---|---|
//! | 2 | `EF` |
//! | 4 | payload length |
//! | 8 | sequence: the position in a log; 1, 2, .. in a checkpoint |
//! | 8 | durable_through: the last position known to be synced when this frame was written |
//! | 4 | zero_pieces: how many sector pieces of the payload are all zeros as written |
//! | 4 | CRC-32C of the payload |
//! | 4 | CRC-32C of the frame's offset in the file and the header bytes before this one |
//! | 2 | `FE` |
//!
//! A file starts with magic (8 bytes), format version (4), a number (8: first position, or position of the checkpoint)
//! and the CRC-32C of these (4). That header is the same in every format version.
//!
//! An unfinished write leaves either a file that ends too early or 512-byte sectors of zeros. A frame header begins and
//! ends with bytes that are not zero, and counts the zero pieces its payload has by itself; so a missing sector is told
//! exactly from a payload of zeros with a flipped bit. The offset in the header checksum keeps a frame that was stored
//! inside another's payload, or written to the wrong place, from being taken for one of this file.

use std::path::Path;

use crate::error::{Error, Result};
use crate::limits::{CHUNK_BYTES, PAYLOAD_BYTES_MAX};
use crate::vfs::File;

/// Size of a frame header.
pub(crate) const FRAME_HEADER_BYTES: usize = 36;
/// Size of a file header.
pub(crate) const FILE_HEADER_BYTES: usize = 24;
/// The format version this program writes, and the newest it reads.
pub(crate) const FORMAT_VERSION: u32 = 1;

const SECTOR_BYTES: u64 = 512;
const FRAME_START: [u8; 2] = *b"EF";
const FRAME_END: [u8; 2] = *b"FE";

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) payload_bytes: u32,
    pub(crate) sequence: u64,
    pub(crate) durable_through: u64,
    zero_pieces: u32,
    payload_crc: u32,
}

/// What was found at an offset of a file.
pub(crate) enum Step<'a> {
    /// The file ends here, after whole frames.
    End,
    /// A sound frame.
    Frame(FrameHeader, &'a [u8]),
    /// A frame that fails its checks.
    Damaged(Damage),
}

/// How a frame fails its checks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Damage {
    pub(crate) reason: &'static str,
    /// The file ends before the frame does, or a sector of it was never written.
    pub(crate) looks_unfinished: bool,
    /// Where frames after this one may begin.
    pub(crate) next: u64,
}

/// Appends a frame that will stand at `offset` of its file. The payload is within `PAYLOAD_BYTES_MAX`.
pub(crate) fn encode_frame(
    out: &mut Vec<u8>,
    offset: u64,
    sequence: u64,
    durable_through: u64,
    payload: &[u8],
) {
    assert!(payload.len() <= PAYLOAD_BYTES_MAX, "callers refuse larger payloads");
    let header = FrameHeader {
        payload_bytes: payload.len() as u32,
        sequence,
        durable_through,
        zero_pieces: zero_pieces(payload, offset + FRAME_HEADER_BYTES as u64),
        payload_crc: crc32c::crc32c(payload),
    };
    out.extend_from_slice(&header.encode(offset));
    out.extend_from_slice(payload);
}

/// The header of a file.
pub(crate) fn encode_file_header(magic: [u8; 8], number: u64) -> [u8; FILE_HEADER_BYTES] {
    let mut bytes = [0; FILE_HEADER_BYTES];
    bytes[..8].copy_from_slice(&magic);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..20]);
    bytes[20..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Checks the header of a file whose name says `number`.
pub(crate) fn check_file_header(path: &Path, bytes: &[u8], magic: [u8; 8], number: u64) -> Result<()> {
    let corrupt = |reason: &str| {
        Err(Error::Corrupt { file: path.to_path_buf(), offset: 0, reason: format!("file header {reason}") })
    };
    if bytes.len() < FILE_HEADER_BYTES {
        return corrupt("ends too early");
    }
    if bytes[..8] != magic {
        return corrupt("does not begin as it should");
    }
    if crc32c::crc32c(&bytes[..20]) != read_u32(bytes, 20) {
        return corrupt("fails its checksum");
    }
    let found = read_u32(bytes, 8);
    if found > FORMAT_VERSION {
        return Err(Error::NewerFormat { file: path.to_path_buf(), found, supported: FORMAT_VERSION });
    }
    if read_u64(bytes, 12) != number {
        return corrupt(&format!("is for position {}, unlike the file name", read_u64(bytes, 12)));
    }
    Ok(())
}

impl FrameHeader {
    fn encode(&self, offset: u64) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..2].copy_from_slice(&FRAME_START);
        bytes[2..6].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[6..14].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[14..22].copy_from_slice(&self.durable_through.to_le_bytes());
        bytes[22..26].copy_from_slice(&self.zero_pieces.to_le_bytes());
        bytes[26..30].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = header_crc(&bytes, offset);
        bytes[30..34].copy_from_slice(&crc.to_le_bytes());
        bytes[34..].copy_from_slice(&FRAME_END);
        bytes
    }

    fn decode(bytes: &[u8], offset: u64) -> Option<FrameHeader> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES)?;
        let framed = bytes[..2] == FRAME_START && bytes[34..] == FRAME_END;
        if !framed || header_crc(bytes, offset) != read_u32(bytes, 30) {
            return None;
        }
        let header = FrameHeader {
            payload_bytes: read_u32(bytes, 2),
            sequence: read_u64(bytes, 6),
            durable_through: read_u64(bytes, 14),
            zero_pieces: read_u32(bytes, 22),
            payload_crc: read_u32(bytes, 26),
        };
        (header.payload_bytes as usize <= PAYLOAD_BYTES_MAX).then_some(header)
    }
}

/// Reads the frames of one file, a chunk at a time. It holds the larger of a chunk and a frame.
pub(crate) struct FrameReader<'a> {
    file: &'a dyn File,
    size: u64,
    /// Offset of the first byte of `window`.
    start: u64,
    window: Vec<u8>,
}

impl<'a> FrameReader<'a> {
    pub(crate) fn new(file: &'a dyn File) -> Result<FrameReader<'a>> {
        Ok(FrameReader { file, size: file.size()?, start: 0, window: Vec::new() })
    }

    /// Size of the file when the reader was made.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The `bytes` at `offset`, or as many as there are.
    pub(crate) fn bytes(&mut self, offset: u64, bytes: usize) -> Result<&[u8]> {
        let bytes = (bytes as u64).min(self.size.saturating_sub(offset)) as usize;
        let held = self.start..self.start + self.window.len() as u64;
        if offset < held.start || offset + bytes as u64 > held.end {
            let wanted = (bytes.max(CHUNK_BYTES) as u64).min(self.size.saturating_sub(offset)) as usize;
            self.window.resize(wanted, 0);
            let read = self.file.read_at(offset, &mut self.window)?;
            self.window.truncate(read);
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        let to = (from + bytes).min(self.window.len());
        Ok(&self.window[from..to])
    }

    /// The frame at `offset`.
    pub(crate) fn frame(&mut self, offset: u64) -> Result<Step<'_>> {
        if offset >= self.size {
            return Ok(Step::End);
        }
        let bytes = self.bytes(offset, FRAME_HEADER_BYTES)?;
        let Some(header) = FrameHeader::decode(bytes, offset) else {
            let ends = bytes.len() < FRAME_HEADER_BYTES;
            // Sound headers have no zero piece at all: they begin and end with other bytes.
            let looks_unfinished = ends || pieces(bytes, offset).any(is_zero);
            let reason =
                if ends { "the file ends within a frame header" } else { "a frame header fails its checks" };
            return Ok(Step::Damaged(Damage { reason, looks_unfinished, next: offset + 1 }));
        };
        let start = offset + FRAME_HEADER_BYTES as u64;
        let next = start + u64::from(header.payload_bytes);
        if next > self.size {
            let reason = "the file ends within a frame";
            return Ok(Step::Damaged(Damage { reason, looks_unfinished: true, next: self.size }));
        }
        let payload = self.bytes(start, header.payload_bytes as usize)?;
        if crc32c::crc32c(payload) != header.payload_crc {
            let looks_unfinished = zero_pieces(payload, start) > header.zero_pieces;
            let reason = "a payload fails its checksum";
            return Ok(Step::Damaged(Damage { reason, looks_unfinished, next }));
        }
        Ok(Step::Frame(header, payload))
    }

    /// Where the last byte from `offset` on ends that is not zero; `offset` where all are zeros, or none is left.
    pub(crate) fn written_end(&mut self, offset: u64) -> Result<u64> {
        let (mut at, mut end) = (offset, offset);
        while at < self.size {
            let bytes = self.bytes(at, CHUNK_BYTES)?;
            if bytes.is_empty() {
                break;
            }
            let len = bytes.len() as u64;
            if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
                end = at + last as u64 + 1;
            }
            at += len;
        }
        Ok(end)
    }

    /// Looks from `offset` on for a sound header that says `position` had been synced when it was written, wherever
    /// it begins. Returns where.
    pub(crate) fn find_witness(&mut self, mut offset: u64, position: u64) -> Result<Option<u64>> {
        while offset + FRAME_HEADER_BYTES as u64 <= self.size {
            let bytes = self.bytes(offset, CHUNK_BYTES)?;
            if bytes.len() < FRAME_HEADER_BYTES {
                break;
            }
            let starts = bytes.len() - FRAME_HEADER_BYTES + 1;
            for at in 0..starts {
                if bytes[at..at + 2] != FRAME_START {
                    continue;
                }
                let header = FrameHeader::decode(&bytes[at..], offset + at as u64);
                if header.is_some_and(|h| h.sequence > h.durable_through && h.durable_through >= position) {
                    return Ok(Some(offset + at as u64));
                }
            }
            offset += starts as u64;
        }
        Ok(None)
    }
}

/// Whether all bytes are zeros.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// `bytes`, which stand at `offset`, cut at the sector boundaries of the file.
fn pieces(bytes: &[u8], offset: u64) -> impl Iterator<Item = &[u8]> {
    let (head, rest) = bytes.split_at(bytes.len().min(head_bytes(offset)));
    Some(head).filter(|head| !head.is_empty()).into_iter().chain(rest.chunks(SECTOR_BYTES as usize))
}

/// How many sector pieces of a payload at `offset` are all zeros. The piece that shares its sector with the end of the
/// frame header does not count: a sound header proves that this sector was written.
fn zero_pieces(payload: &[u8], offset: u64) -> u32 {
    let rest = &payload[payload.len().min(head_bytes(offset))..];
    rest.chunks(SECTOR_BYTES as usize).filter(|piece| is_zero(piece)).count() as u32
}

/// Bytes from `offset` to the next sector boundary.
fn head_bytes(offset: u64) -> usize {
    (offset.next_multiple_of(SECTOR_BYTES) - offset) as usize
}

fn header_crc(bytes: &[u8], offset: u64) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&offset.to_le_bytes()), &bytes[..30])
}

pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were sliced"))
}

pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were sliced"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faulty::FaultyVfs;
    use crate::vfs::Vfs;

    fn file(bytes: &[u8]) -> Box<dyn File> {
        let vfs = FaultyVfs::new(0);
        vfs.create_dir_all(Path::new("d")).unwrap();
        let file = vfs.create(Path::new("d/f")).unwrap();
        file.write_at(0, bytes).unwrap();
        file
    }

    fn damage(bytes: &[u8], offset: u64) -> Damage {
        let file = file(bytes);
        let mut reader = FrameReader::new(&*file).unwrap();
        match reader.frame(offset).unwrap() {
            Step::Damaged(damage) => damage,
            Step::Frame(..) => panic!("sound frame"),
            Step::End => panic!("end"),
        }
    }

    #[test]
    fn a_frame_reads_back() {
        let mut bytes = vec![9; 100];
        encode_frame(&mut bytes, 100, 7, 5, b"payload");
        let file = file(&bytes);
        let mut reader = FrameReader::new(&*file).unwrap();
        let Step::Frame(header, payload) = reader.frame(100).unwrap() else { panic!("no frame") };
        assert_eq!((header.sequence, header.durable_through, payload), (7, 5, &b"payload"[..]));
        assert!(matches!(reader.frame(143).unwrap(), Step::End));
    }

    #[test]
    fn a_missing_sector_is_told_from_a_flipped_bit_in_a_payload_of_zeros() {
        // Every alignment of the frame to sectors, with a payload that has zero sectors by itself.
        for offset in (0..520).step_by(3) {
            let mut payload = vec![0; 1600];
            payload[700..1100].fill(3);
            let mut sound = vec![1; offset];
            encode_frame(&mut sound, offset as u64, 1, 0, &payload);
            for byte in (offset..sound.len()).step_by(5) {
                let mut flipped = sound.clone();
                flipped[byte] ^= 0x10;
                assert!(!damage(&flipped, offset as u64).looks_unfinished, "offset {offset} byte {byte}");
            }
            for sector in (offset / 512)..sound.len().div_ceil(512) {
                let mut torn = sound.clone();
                let end = torn.len();
                torn[(sector * 512).max(offset)..((sector + 1) * 512).min(end)].fill(0);
                if torn != sound {
                    assert!(damage(&torn, offset as u64).looks_unfinished, "offset {offset} sector {sector}");
                }
            }
            for end in (offset + 1..sound.len()).step_by(7) {
                assert!(damage(&sound[..end], offset as u64).looks_unfinished);
            }
        }
    }

    #[test]
    fn witnesses_are_found_wherever_they_begin_but_not_inside_payloads() {
        let mut inner = Vec::new();
        encode_frame(&mut inner, 0, 99, 98, b"x");
        let mut bytes = vec![0; CHUNK_BYTES - 20];
        let offset = bytes.len() as u64;
        encode_frame(&mut bytes, offset, 9, 4, &inner);
        let file = file(&bytes);
        let mut reader = FrameReader::new(&*file).unwrap();
        assert_eq!(reader.find_witness(3, 4).unwrap(), Some(offset));
        assert_eq!(reader.find_witness(3, 5).unwrap(), None);
    }

    #[test]
    fn file_headers_are_checked() {
        let path = Path::new("f");
        let header = encode_file_header(*b"ENGTEST1", 5);
        check_file_header(path, &header, *b"ENGTEST1", 5).unwrap();
        assert!(matches!(check_file_header(path, &header, *b"ENGTEST1", 6), Err(Error::Corrupt { .. })));
        assert!(matches!(check_file_header(path, &header[..9], *b"ENGTEST1", 5), Err(Error::Corrupt { .. })));
        let mut newer = header;
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..20]);
        newer[20..].copy_from_slice(&crc.to_le_bytes());
        let error = check_file_header(path, &newer, *b"ENGTEST1", 5).unwrap_err().to_string();
        assert_eq!(error, "f has format 2, this program reads up to 1; use a newer engram");
    }
}
