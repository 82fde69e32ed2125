//! Segments: files of payloads that never change, `payloads-<number, 10 digits>.seg`, read through a memory map. Written
//! under a `.tmp` name, synced and renamed, so that a file with its final name is whole. Opening one reads its ends, not
//! its payloads; each payload is checked when it is first read. Little endian.
//!
//! | bytes | what |
//! |---|---|
//! | 64 | file header (as in `record.rs`, with the segment's number), then zeros |
//! | multiples of 64 | entries |
//! | 64 | footer: `ENGREND1`, entries (8), bytes of the file (8), CRC-32C of these (4), then zeros |
//!
//! An entry begins at a multiple of 64 bytes, which is its place times 64: CRC-32C of the rest without the padding (4), bytes
//! of the front (4), bytes of the back (4), zeros (4), two keys of the caller (8 each), the front, the back, zeros.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::limits::PAYLOAD_BYTES_MAX;
use crate::mapped::Mapped;
use crate::record::{FILE_HEADER_BYTES, check_file_header, encode_file_header, read_u32, read_u64};
use crate::vfs::Vfs;

const MAGIC: [u8; 8] = *b"ENGRSEG1";
const FOOTER_MAGIC: [u8; 8] = *b"ENGREND1";
/// What entries begin at a multiple of.
const UNIT_BYTES: usize = 64;
const ENTRY_HEADER_BYTES: usize = 32;
const FOOTER_USED_BYTES: usize = 28;

/// Writes a segment, a chunk at a time. Dropped without `finish`, it leaves none.
#[derive(Debug)]
pub struct SegmentWriter {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    number: u32,
    draft: Draft,
    entries: u64,
}

impl SegmentWriter {
    /// Starts the segment of a number that no other in the folder has.
    pub fn create(vfs: Arc<dyn Vfs>, dir: &Path, number: u32) -> Result<Self> {
        let mut draft = Draft::create(vfs.clone(), path(dir, number))?;
        draft.push(|out| {
            out.extend_from_slice(&encode_file_header(MAGIC, u64::from(number)));
            out.resize(UNIT_BYTES, 0);
        })?;
        Ok(Self { vfs, dir: dir.to_path_buf(), number, draft, entries: 0 })
    }

    /// Adds an entry and returns its place. The front is aligned for any number.
    pub fn push(&mut self, keys: [u64; 2], front: &[u8], back: &[u8]) -> Result<u32> {
        let bytes = front.len() + back.len();
        if bytes > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLarge { what: "payload", bytes, bytes_max: PAYLOAD_BYTES_MAX });
        }
        let at = self.draft.bytes() / UNIT_BYTES as u64;
        self.draft.push(|out| encode_entry(out, keys, front, back))?;
        self.entries += 1;
        Ok(u32::try_from(at).expect("callers end a segment long before 256 GiB"))
    }

    /// Makes the segment durable under its name, and opens it.
    pub fn finish(mut self) -> Result<Segment> {
        let (entries, bytes) = (self.entries, self.draft.bytes() + UNIT_BYTES as u64);
        self.draft.push(|out| {
            let start = out.len();
            out.extend_from_slice(&FOOTER_MAGIC);
            out.extend_from_slice(&entries.to_le_bytes());
            out.extend_from_slice(&bytes.to_le_bytes());
            let crc = crc32c::crc32c(&out[start..]);
            out.extend_from_slice(&crc.to_le_bytes());
            out.resize(start + UNIT_BYTES, 0);
        })?;
        self.draft.finish()?;
        Segment::open(&*self.vfs, &self.dir, self.number)
    }
}

fn encode_entry(out: &mut Vec<u8>, keys: [u64; 2], front: &[u8], back: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(front.len() as u32).to_le_bytes());
    out.extend_from_slice(&(back.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    keys.iter().for_each(|key| out.extend_from_slice(&key.to_le_bytes()));
    out.extend_from_slice(front);
    out.extend_from_slice(back);
    let crc = crc32c::crc32c(&out[start + 4..]);
    out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + (out.len() - start).next_multiple_of(UNIT_BYTES), 0);
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Of the caller.
    pub keys: [u64; 2],
    /// Aligned for any number.
    pub front: &'a [u8],
    /// What follows.
    pub back: &'a [u8],
}

/// An open segment.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    mapped: Mapped,
    entries: u64,
    /// A bit a unit: the entry that begins there was checked.
    checked: Box<[AtomicU64]>,
}

impl Segment {
    /// Opens a segment, reading no more than its ends.
    pub fn open(vfs: &dyn Vfs, dir: &Path, number: u32) -> Result<Self> {
        let path = path(dir, number);
        let mapped = vfs.map(&path)?;
        let bytes = mapped.as_ref();
        check_file_header(&path, &bytes[..bytes.len().min(FILE_HEADER_BYTES)], MAGIC, u64::from(number))?;
        let corrupt = |reason: &str| Error::Corrupt {
            file: path.clone(),
            offset: bytes.len().saturating_sub(UNIT_BYTES) as u64,
            reason: reason.to_string(),
        };
        if bytes.len() < 2 * UNIT_BYTES || !bytes.len().is_multiple_of(UNIT_BYTES) {
            return Err(corrupt("the file ends too early"));
        }
        let footer = &bytes[bytes.len() - UNIT_BYTES..];
        let crc = crc32c::crc32c(&footer[..FOOTER_USED_BYTES - 4]);
        if footer[..8] != FOOTER_MAGIC || crc != read_u32(footer, FOOTER_USED_BYTES - 4) {
            return Err(corrupt("the footer fails its checksum"));
        }
        if read_u64(footer, 16) != bytes.len() as u64 {
            return Err(corrupt("the file has another size than when it was written"));
        }
        let entries = read_u64(footer, 8);
        let units = bytes.len() / UNIT_BYTES;
        let checked = (0..units.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { path, mapped, entries, checked })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Entries in it.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// The entry at a place. Its checksum is worked out when it is first read.
    pub fn get(&self, at: u32) -> Result<Entry<'_>> {
        let unit = at as usize;
        let is_checked = self
            .checked
            .get(unit / 64)
            .is_some_and(|bits| bits.load(Ordering::Relaxed) >> (unit % 64) & 1 == 1);
        let (entry, _) = self.read(unit * UNIT_BYTES, !is_checked)?;
        if !is_checked {
            self.checked[unit / 64].fetch_or(1 << (unit % 64), Ordering::Relaxed);
        }
        Ok(entry)
    }

    /// Reads every entry, checks it, and gives it with its place. Returns how many there are.
    pub fn for_each<'a>(&'a self, each: &mut dyn FnMut(u32, Entry<'a>)) -> Result<u64> {
        let (mut offset, mut entries) = (UNIT_BYTES, 0);
        while offset + UNIT_BYTES < self.mapped.as_ref().len() {
            let (entry, next) = self.read(offset, true)?;
            each((offset / UNIT_BYTES) as u32, entry);
            (offset, entries) = (next, entries + 1);
        }
        match entries == self.entries {
            true => Ok(entries),
            false => Err(self.corrupt(offset, "there are not as many entries as the footer counts")),
        }
    }

    /// The entry at an offset, and where the next begins.
    fn read(&self, offset: usize, checks: bool) -> Result<(Entry<'_>, usize)> {
        let all = self.mapped.as_ref();
        let end = all.len() - UNIT_BYTES;
        if offset < UNIT_BYTES || offset + ENTRY_HEADER_BYTES > end {
            return Err(self.corrupt(offset, "no entry begins here"));
        }
        let header = &all[offset..offset + ENTRY_HEADER_BYTES];
        let (front, back) = (read_u32(header, 4) as usize, read_u32(header, 8) as usize);
        let length = ENTRY_HEADER_BYTES + front + back;
        if length > end - offset {
            return Err(self.corrupt(offset, "the entry is longer than the file"));
        }
        let entry = &all[offset..offset + length];
        if checks && crc32c::crc32c(&entry[4..]) != read_u32(entry, 0) {
            return Err(self.corrupt(offset, "the entry fails its checksum"));
        }
        let keys = [read_u64(header, 16), read_u64(header, 24)];
        let (front, back) = entry[ENTRY_HEADER_BYTES..].split_at(front);
        Ok((Entry { keys, front, back }, offset + length.next_multiple_of(UNIT_BYTES)))
    }

    fn corrupt(&self, offset: usize, reason: &str) -> Error {
        Error::Corrupt { file: self.path.clone(), offset: offset as u64, reason: reason.to_string() }
    }
}

/// Numbers of the segments in the folder, in order. Removes what unfinished ones left.
pub fn numbers(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for name in vfs.list(dir)? {
        let Some(rest) = name.strip_prefix("payloads-") else { continue };
        if rest.ends_with(".tmp") {
            vfs.remove_file(&dir.join(&name))?;
        } else if let Some(digits) = rest.strip_suffix(".seg").filter(|digits| digits.len() == 10) {
            numbers.extend(digits.parse::<u32>());
        }
    }
    Ok(numbers)
}

/// Removes a segment. Durable after a sync of the folder. One that is open stays readable.
pub fn remove(vfs: &dyn Vfs, dir: &Path, number: u32) -> Result<()> {
    vfs.remove_file(&path(dir, number))
}

/// The name of the segment of a number.
pub fn file_name(number: u32) -> String {
    format!("payloads-{number:010}.seg")
}

fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(file_name(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::RealVfs;

    fn payload(at: usize) -> (Vec<u8>, Vec<u8>) {
        let front = (0..4 * (at % 40)).map(|byte| (byte * 7 + at) as u8).collect();
        (front, format!("text {at} {}", "x".repeat(at % 300)).into_bytes())
    }

    fn written(dir: &Path, entries: usize) -> (Segment, Vec<u32>) {
        let mut writer = SegmentWriter::create(Arc::new(RealVfs), dir, 7).unwrap();
        let push = |at: usize| {
            let (front, back) = payload(at);
            writer.push([at as u64, 9], &front, &back).unwrap()
        };
        let places = (0..entries).map(push).collect();
        (writer.finish().unwrap(), places)
    }

    #[test]
    fn entries_come_back_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        for entries in [0, 1, 5000] {
            let (segment, places) = written(dir.path(), entries);
            assert_eq!(numbers(&RealVfs, dir.path()).unwrap(), [7]);
            for (at, place) in places.iter().enumerate() {
                let (front, back) = payload(at);
                let entry = segment.get(*place).unwrap();
                assert_eq!(entry, Entry { keys: [at as u64, 9], front: &front, back: &back });
                assert_eq!(entry.front.as_ptr().align_offset(4), 0);
            }
            let mut seen = Vec::new();
            assert_eq!(segment.for_each(&mut |place, _| seen.push(place)).unwrap(), entries as u64);
            assert_eq!(seen, places);
            assert!(segment.get(0).is_err() && segment.get(u32::MAX).is_err());
            remove(&RealVfs, dir.path(), 7).unwrap();
        }
    }

    #[test]
    fn damage_is_found_when_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (segment, places) = written(dir.path(), 20);
        let path = segment.path().to_path_buf();
        let bytes = std::fs::read(&path).unwrap();
        let damaged = |at: usize| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 4;
            std::fs::write(&path, bytes).unwrap();
            Segment::open(&RealVfs, dir.path(), 7)
        };
        let third = places[3] as usize * UNIT_BYTES;
        let (front, back) = payload(3);
        for at in third..third + ENTRY_HEADER_BYTES + front.len() + back.len() {
            let segment = damaged(at).unwrap();
            let error = segment.get(places[3]).unwrap_err();
            assert!(matches!(&error, Error::Corrupt { offset, .. } if *offset == third as u64), "{error}");
            assert!(segment.get(places[4]).is_ok() && segment.for_each(&mut |_, _| {}).is_err());
        }
        for at in [0, 13, bytes.len() - UNIT_BYTES, bytes.len() - 40] {
            assert!(damaged(at).is_err(), "{at}");
        }
        std::fs::write(&path, &bytes[..bytes.len() - UNIT_BYTES]).unwrap();
        assert!(Segment::open(&RealVfs, dir.path(), 7).is_err());
        std::fs::write(&path, b"").unwrap();
        assert!(Segment::open(&RealVfs, dir.path(), 7).is_err());
    }

    #[test]
    fn what_was_not_finished_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = SegmentWriter::create(Arc::new(RealVfs), dir.path(), 3).unwrap();
        writer.push([1, 2], b"abcd", b"e").unwrap();
        std::mem::forget(writer);
        assert_eq!(RealVfs.list(dir.path()).unwrap().len(), 1);
        assert!(numbers(&RealVfs, dir.path()).unwrap().is_empty());
        assert!(RealVfs.list(dir.path()).unwrap().is_empty());
    }
}
