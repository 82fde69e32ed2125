//! What follows the last row group of a cold file: Parquet's footer, with what is needed to find and check each group.
//! It is believed only after its checksum. What is kept of it is small: some 100 bytes a group.

use std::mem::size_of;
use std::sync::Arc;

use parquet::basic::Compression as Codec;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor};

use super::columns;

/// Key of the format's number.
pub(super) const FORMAT: &str = "engram.format";
/// Key of the groups' checksums.
pub(super) const GROUPS: &str = "engram.groups";
/// Key of the tail's own checksum.
pub(super) const CHECKSUM: &str = "engram.tail";

/// Newest format that this program reads, and the one it writes.
pub(super) const FORMAT_MAX: u32 = 2;

const MAGIC: &[u8] = b"PAR1";
/// Length of the footer and the magic, at the end of every Parquet file.
pub(super) const END_BYTES: usize = 8;

/// Where the rows of a file lie.
pub(super) struct Tail {
    pub(super) format: u32,
    pub(super) schema: SchemaDescPtr,
    /// Numbers in each vector; none has one in a file without vectors.
    pub(super) dimensions: Option<usize>,
    pub(super) codec: Codec,
    pub(super) rows: u32,
    pub(super) groups: Vec<Group>,
    /// Bytes of each column of each group, in order.
    column_bytes: Vec<u32>,
}

/// A row group: rows that follow each other, in a range of bytes of their own.
#[derive(Clone, Copy)]
pub(super) struct Group {
    number: u32,
    pub(super) first_row: u32,
    pub(super) rows: u32,
    pub(super) start: u64,
    pub(super) bytes: u32,
    /// CRC-32C of those bytes.
    pub(super) checksum: u32,
}

/// Why a tail is of no use.
pub(super) enum Unusable {
    /// Bytes are not what was written.
    Damaged(String),
    /// It was written by a later version.
    Newer(u32),
}

impl<E: std::fmt::Display> From<E> for Unusable {
    fn from(error: E) -> Unusable {
        Unusable::Damaged(error.to_string())
    }
}

impl Tail {
    /// Bytes of RAM that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        // A schema's columns, paths and names were counted to be under 8 KiB.
        (8 << 10) + self.groups.len() * size_of::<Group>() + self.column_bytes.len() * size_of::<u32>()
    }

    /// Bytes of each column of a group.
    pub(super) fn column_bytes(&self, group: &Group) -> &[u32] {
        let columns = self.schema.num_columns();
        &self.column_bytes[group.number as usize * columns..][..columns]
    }

    /// The group that holds a row, if the file has the row.
    pub(super) fn group_of(&self, row: u32) -> Option<&Group> {
        let after = self.groups.partition_point(|group| group.first_row <= row);
        self.groups[..after].last().filter(|group| row - group.first_row < group.rows)
    }

    /// Takes a whole tail apart. `size`: bytes of the whole file.
    pub(super) fn parse(bytes: &[u8], size: u64) -> Result<Tail, Unusable> {
        check(bytes)?;
        let footer = &bytes[..bytes.len() - END_BYTES];
        let metadata = ParquetMetaDataReader::decode_metadata(footer)?;
        let format: u32 = value(&metadata, FORMAT)?.parse()?;
        if format > FORMAT_MAX {
            return Err(Unusable::Newer(format));
        }
        let found = metadata.file_metadata().schema_descr();
        let dimensions = columns::dimensions(format, found);
        let schema = columns::schema(format, dimensions)?;
        if !same(found, &schema) {
            return Err("its columns are not those of a cold file".into());
        }
        let mut tail = Tail {
            format,
            schema: Arc::new(schema),
            dimensions,
            codec: Codec::UNCOMPRESSED,
            rows: 0,
            groups: Vec::new(),
            column_bytes: Vec::new(),
        };
        tail.add_groups(&metadata, size - bytes.len() as u64)?;
        Ok(tail)
    }

    /// Notes the groups, which must lie one behind the other from the magic up to `end`.
    fn add_groups(&mut self, metadata: &ParquetMetaData, end: u64) -> Result<(), Unusable> {
        let checksums = value(metadata, GROUPS)?;
        let mut start = MAGIC.len() as u64;
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let mut at = start;
            for column in group.columns() {
                self.codec = column.compression();
                let (from, bytes) = column.byte_range();
                if from != at {
                    return Err(format!("row group {number} has a gap at byte {at}").into());
                }
                self.column_bytes.push(bytes.try_into()?);
                at += bytes;
            }
            let digits = checksums.get(8 * number..8 * number + 8).ok_or("a checksum is missing")?;
            let rows = group.num_rows().try_into()?;
            self.groups.push(Group {
                number: number.try_into()?,
                first_row: self.rows,
                rows,
                start,
                bytes: (at - start).try_into()?,
                checksum: u32::from_str_radix(digits, 16)?,
            });
            self.rows = self.rows.checked_add(rows).ok_or("it has more rows than 2^32")?;
            start = at;
        }
        if start != end {
            return Err(format!("its rows end at byte {start}, its footer begins at {end}").into());
        }
        Ok(())
    }
}

/// Whether two schemas have the same columns.
fn same(found: &SchemaDescriptor, wanted: &SchemaDescriptor) -> bool {
    found.columns().len() == wanted.columns().len()
        && found.columns().iter().zip(wanted.columns()).all(|(found, wanted)| {
            found.path() == wanted.path()
                && found.physical_type() == wanted.physical_type()
                && found.max_def_level() == wanted.max_def_level()
                && found.max_rep_level() == wanted.max_rep_level()
                && found.type_length() == wanted.type_length()
        })
}

fn value<'a>(metadata: &'a ParquetMetaData, key: &str) -> Result<&'a str, Unusable> {
    let values = metadata.file_metadata().key_value_metadata();
    let value = values.into_iter().flatten().find(|entry| entry.key == key);
    let value = value.and_then(|entry| entry.value.as_deref());
    value.ok_or_else(|| Unusable::Damaged(format!("it lacks the key {key}")))
}

/// Bytes that a tail has, by the end of a file; none where that is not the end of a Parquet file.
pub(super) fn tail_bytes(end: &[u8]) -> Option<u64> {
    let (length, magic) = end.last_chunk::<END_BYTES>()?.split_at(4);
    let length = u32::from_le_bytes(*length.first_chunk::<4>()?);
    (magic == MAGIC).then_some(u64::from(length) + END_BYTES as u64)
}

/// Writes the checksum of a tail into it.
pub(super) fn seal(tail: &mut [u8]) {
    let at = digits(tail).expect("the writer put the key there");
    let digits = format!("{:08x}", crc32c::crc32c(tail));
    tail[at..at + 8].copy_from_slice(digits.as_bytes());
}

/// Compares a tail with its checksum.
fn check(tail: &[u8]) -> Result<(), Unusable> {
    let at = digits(tail).ok_or("its footer has no checksum of Engram's")?;
    let before = crc32c::crc32c(&tail[..at]);
    let found = crc32c::crc32c_append(crc32c::crc32c_append(before, b"00000000"), &tail[at + 8..]);
    let (stored, found) = (&tail[at..at + 8], format!("{found:08x}"));
    // As text: 0A and 0a are one number, but not the same bytes.
    if stored != found.as_bytes() {
        let stored = String::from_utf8_lossy(stored);
        return Err(format!("its footer has checksum {found}, it says {stored}").into());
    }
    Ok(())
}

/// Where the digits of the checksum begin: behind the key, and thrift's head of a string of eight bytes.
fn digits(tail: &[u8]) -> Option<usize> {
    let key = [CHECKSUM.as_bytes(), &[0x18, 8]].concat();
    let at = tail.windows(key.len()).rposition(|window| window == key)? + key.len();
    (at + 8 <= tail.len()).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cold::{ColdRow, Compression};

    #[test]
    fn a_file_of_a_later_format_is_told_from_a_damaged_one() {
        let mut file = columns::encode(&[ColdRow::default()], Compression::None).expect("it is small");
        let size = file.len() as u64;
        let start = file.len() - tail_bytes(&file).expect("it ends as Parquet does") as usize;
        let key = [FORMAT.as_bytes(), &[0x18, 1]].concat();
        let at =
            file.windows(key.len()).position(|window| window == key).expect("it has a format") + key.len();
        assert_eq!(file[at], b'2');
        file[at] = b'3';
        assert!(matches!(Tail::parse(&file[start..], size), Err(Unusable::Damaged(_))));
        let digits = start + digits(&file[start..]).expect("it has a checksum");
        file[digits..digits + 8].copy_from_slice(b"00000000");
        seal(&mut file[start..]);
        assert!(matches!(Tail::parse(&file[start..], size), Err(Unusable::Newer(3))));
    }
}
