//! Rows as the columns of a Parquet file, and back. The same rows make the same bytes, whatever the time and place, so
//! that a file that was written twice can be told from a name that was used twice. `cold.rs` says how the file looks.

use std::mem::size_of;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression as Codec, Encoding, PageType, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriteSpec, PageWriter};
use parquet::column::reader::{ColumnReaderImpl, get_column_reader, get_typed_column_reader};
use parquet::column::writer::{ColumnCloseResult, get_column_writer, get_typed_column_writer};
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, FloatType, Int64Type,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::{ColumnDescPtr, ColumnPath, SchemaDescriptor};

use super::tail::{self, Group, Tail};
use super::{ColdRow, Compression, GROUP_BYTES};

/// Rows in a group at most, however small they are.
const GROUP_ROWS_MAX: usize = 1024;

/// Level of zstd for the bytes of vectors. Levels 2 to 12 find repetitions in them that are none: 3 takes twice as long,
/// for .853 of the bytes of normal deviates where 1 gives .845.
const VECTORS_LEVEL: u32 = 1;
/// The first level that knows better: .837, in thirty times as long.
const VECTORS_LEVEL_BETTER: u32 = 13;

/// A column of a file.
#[derive(Clone, Copy)]
enum Column {
    Id,
    Arrival,
    Version,
    Content,
    /// Whole vectors, which only format 1 has.
    Embedding,
    /// One byte of each number of the vectors: 0 is the least significant, 3 has sign and exponent.
    EmbeddingByte(usize),
    OccurredAt,
    StoredAt,
    Context,
    Kind,
    Confidence,
    ExpiresAt,
    Entities,
    Links,
    Metadata,
}

/// The columns of a file, in its order. Its vectors have this many numbers, or it has none.
fn columns(format: u32, dimensions: Option<usize>) -> impl Iterator<Item = Column> {
    use Column::*;
    let vectors: &[Column] = match (dimensions, format) {
        (None, _) => &[],
        (Some(_), 1) => &[Embedding],
        (Some(_), _) => &[EmbeddingByte(0), EmbeddingByte(1), EmbeddingByte(2), EmbeddingByte(3)],
    };
    let before = [Id, Arrival, Version, Content];
    let after = [OccurredAt, StoredAt, Context, Kind, Confidence, ExpiresAt, Entities, Links, Metadata];
    before.into_iter().chain(vectors.iter().copied()).chain(after)
}

/// Names of the columns that have the bytes of vectors, from the least significant.
const EMBEDDING_BYTES: [&str; size_of::<f32>()] =
    ["embedding_0", "embedding_1", "embedding_2", "embedding_3"];

/// The schema of such a file.
pub(super) fn schema(format: u32, dimensions: Option<usize>) -> Result<SchemaDescriptor> {
    let vectors = match (dimensions, format) {
        (None, _) => String::new(),
        (Some(d), 1) => format!("optional fixed_len_byte_array({}) embedding;", d * size_of::<f32>()),
        (Some(d), _) => {
            EMBEDDING_BYTES.map(|name| format!("optional fixed_len_byte_array({d}) {name};")).concat()
        }
    };
    let text = format!(
        "message memories {{
            required binary id (STRING);
            required int64 arrival (INTEGER(64,false));
            required int64 version (INTEGER(64,false));
            optional binary content (STRING);
            {vectors}
            required int64 occurred_at (TIMESTAMP(MICROS,true));
            required int64 stored_at (TIMESTAMP(MICROS,true));
            optional binary context (STRING);
            required binary kind (STRING);
            required float confidence;
            optional int64 expires_at (TIMESTAMP(MICROS,true));
            required group entities (LIST) {{ repeated group list {{ required binary element (STRING); }} }}
            required binary links (STRING);
            required binary metadata (STRING);
        }}"
    );
    Ok(SchemaDescriptor::new(Arc::new(parse_message_type(&text)?)))
}

/// The numbers in each vector of a file with this schema; none where it has no vectors.
pub(super) fn dimensions(format: u32, schema: &SchemaDescriptor) -> Option<usize> {
    let (name, number_bytes) =
        if format == 1 { ("embedding", size_of::<f32>()) } else { (EMBEDDING_BYTES[0], 1) };
    let column = schema.columns().iter().find(|column| column.name() == name)?;
    Some(column.type_length() as usize / number_bytes)
}

/// The file that holds `rows`, whose vectors have one length.
pub(super) fn encode(rows: &[ColdRow], compression: Compression) -> Result<Vec<u8>> {
    encode_columns(|_| rows, compression)
}

/// The same, with the rows that each column is of.
fn encode_columns<'a>(
    rows_of: impl Fn(Column) -> &'a [ColdRow],
    compression: Compression,
) -> Result<Vec<u8>> {
    let rows = rows_of(Column::Id);
    let dimensions = rows.iter().find_map(|row| row.embedding.as_ref()).map(Vec::len);
    let uniform = rows.iter().all(|row| row.embedding.as_ref().is_none_or(|v| Some(v.len()) == dimensions));
    assert!(uniform && dimensions != Some(0), "the vectors of one space have one dimension");
    let schema = schema(tail::FORMAT_MAX, dimensions)?;
    let properties = Arc::new(properties(compression)?);
    let mut file = SerializedFileWriter::new(Vec::new(), schema.root_schema_ptr(), properties.clone())?;
    let mut checksums = String::new();
    for range in groups(rows) {
        file.flush()?;
        let start = file.inner().len();
        let mut group = file.next_row_group()?;
        for (at, column) in columns(tail::FORMAT_MAX, dimensions).enumerate() {
            let (bytes, closed) =
                write_column(column, &rows_of(column)[range.clone()], schema.column(at), &properties)?;
            group.append_column(&Bytes::from(bytes), closed)?;
        }
        group.close()?;
        file.flush()?;
        checksums += &format!("{:08x}", crc32c::crc32c(&file.inner()[start..]));
    }
    let format = tail::FORMAT_MAX.to_string();
    for (key, value) in [(tail::FORMAT, &*format), (tail::GROUPS, &checksums), (tail::CHECKSUM, "00000000")] {
        file.append_key_value_metadata(KeyValue::new(key.to_string(), value.to_string()));
    }
    file.flush()?;
    let end = file.inner().len();
    let mut bytes = file.into_inner()?;
    tail::seal(&mut bytes[end..]);
    Ok(bytes)
}

fn properties(compression: Compression) -> Result<WriterProperties> {
    let zstd = |level: u32| Ok::<_, ParquetError>(Codec::ZSTD(ZstdLevel::try_new(level as i32)?));
    let (codec, vectors_codec) = match compression {
        Compression::Zstd(level) if level < VECTORS_LEVEL_BETTER => (zstd(level)?, zstd(VECTORS_LEVEL)?),
        Compression::Zstd(level) => (zstd(level)?, zstd(level)?),
        Compression::Lz4 => (Codec::LZ4_RAW, Codec::LZ4_RAW),
        Compression::None => (Codec::UNCOMPRESSED, Codec::UNCOMPRESSED),
    };
    let mut properties = WriterProperties::builder()
        // No version of ours: a later program must make the same bytes of the same rows.
        .set_created_by("engram".into())
        .set_compression(codec)
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        // A group is small, and read as a whole: one page a column.
        .set_data_page_size_limit(usize::MAX)
        .set_data_page_row_count_limit(usize::MAX)
        .set_encoding(Encoding::PLAIN);
    for bytes in EMBEDDING_BYTES {
        properties = properties.set_column_compression(ColumnPath::from(bytes), vectors_codec);
    }
    for integers in ["arrival", "version", "occurred_at", "stored_at", "expires_at"] {
        properties =
            properties.set_column_encoding(ColumnPath::from(integers), Encoding::DELTA_BINARY_PACKED);
    }
    Ok(properties.build())
}

/// Bytes of a row before compression, nearly.
pub(super) fn row_bytes(row: &ColdRow) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let entities: usize = row.entities.iter().map(|entity| entity.len() + 4).sum();
    let vector = row.embedding.as_ref().map_or(0, |vector| vector.len() * size_of::<f32>());
    let texts = text(&row.content) + text(&row.context) + row.id.len() + row.kind.len();
    texts + entities + vector + row.links.len() + row.metadata.len() + 64
}

/// Which rows make a group each.
fn groups(rows: &[ColdRow]) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (at, row) in rows.iter().enumerate() {
        bytes += row_bytes(row);
        if bytes >= GROUP_BYTES || at + 1 - start == GROUP_ROWS_MAX || at + 1 == rows.len() {
            groups.push(start..at + 1);
            (start, bytes) = (at + 1, 0);
        }
    }
    groups
}

type Written = (Vec<u8>, ColumnCloseResult);

fn write_column(
    column: Column,
    rows: &[ColdRow],
    descr: ColumnDescPtr,
    properties: &WriterPropertiesPtr,
) -> Result<Written> {
    let text = |of: fn(&ColdRow) -> &String| {
        let values: Vec<ByteArray> = rows.iter().map(|row| of(row).as_str().into()).collect();
        write::<ByteArrayType>(&descr, properties, &values, None, None)
    };
    let some_text = |of: fn(&ColdRow) -> Option<&String>| {
        let values: Vec<ByteArray> = rows.iter().filter_map(of).map(|text| text.as_str().into()).collect();
        write::<ByteArrayType>(&descr, properties, &values, Some(&given(rows, |row| of(row).is_some())), None)
    };
    let integer = |of: fn(&ColdRow) -> i64| {
        let values: Vec<i64> = rows.iter().map(of).collect();
        write::<Int64Type>(&descr, properties, &values, None, None)
    };
    match column {
        Column::Id => text(|row| &row.id),
        Column::Arrival => integer(|row| row.arrival.cast_signed()),
        Column::Version => integer(|row| row.version.cast_signed()),
        Column::Content => some_text(|row| row.content.as_ref()),
        Column::Embedding => unreachable!("format 1 is read, never written"),
        Column::EmbeddingByte(byte) => {
            let vectors = rows.iter().filter_map(|row| row.embedding.as_ref());
            let values: Vec<FixedLenByteArray> = vectors
                .map(|vector| vector.iter().map(|v| v.to_le_bytes()[byte]).collect::<Vec<u8>>().into())
                .collect();
            let given = given(rows, |row| row.embedding.is_some());
            write::<FixedLenByteArrayType>(&descr, properties, &values, Some(&given), None)
        }
        Column::OccurredAt => integer(|row| row.occurred_at),
        Column::StoredAt => integer(|row| row.stored_at),
        Column::Context => some_text(|row| row.context.as_ref()),
        Column::Kind => text(|row| &row.kind),
        Column::Confidence => {
            let values: Vec<f32> = rows.iter().map(|row| row.confidence).collect();
            write::<FloatType>(&descr, properties, &values, None, None)
        }
        Column::ExpiresAt => {
            let values: Vec<i64> = rows.iter().filter_map(|row| row.expires_at).collect();
            let given = given(rows, |row| row.expires_at.is_some());
            write::<Int64Type>(&descr, properties, &values, Some(&given), None)
        }
        Column::Entities => {
            let all = rows.iter().flat_map(|row| &row.entities);
            let values: Vec<ByteArray> = all.map(|entity| entity.as_str().into()).collect();
            // A level a value, and one for each row without any.
            let (mut given, mut follows) = (Vec::new(), Vec::new());
            for row in rows {
                for at in 0..row.entities.len().max(1) {
                    given.push(i16::from(!row.entities.is_empty()));
                    follows.push(i16::from(at > 0));
                }
            }
            write::<ByteArrayType>(&descr, properties, &values, Some(&given), Some(&follows))
        }
        Column::Links => text(|row| &row.links),
        Column::Metadata => text(|row| &row.metadata),
    }
}

/// The definition levels of a column that may be null.
fn given(rows: &[ColdRow], is_given: impl Fn(&ColdRow) -> bool) -> Vec<i16> {
    rows.iter().map(|row| i16::from(is_given(row))).collect()
}

fn write<T: DataType>(
    descr: &ColumnDescPtr,
    properties: &WriterPropertiesPtr,
    values: &[T::T],
    given: Option<&[i16]>,
    follows: Option<&[i16]>,
) -> Result<Written> {
    let mut bytes = Vec::new();
    let pages = Box::new(CheckedPages { sink: &mut bytes });
    let mut writer =
        get_typed_column_writer::<T>(get_column_writer(descr.clone(), properties.clone(), pages));
    writer.write_batch(values, given, follows)?;
    let mut closed = writer.close()?;
    // What encodings the pages have stands there twice; without this a fifth of the footer goes.
    closed.metadata = closed.metadata.into_builder().clear_page_encoding_stats().build()?;
    Ok((bytes, closed))
}

/// Writes pages with their CRC-32, which the writer of the crate leaves out.
struct CheckedPages<'a> {
    sink: &'a mut Vec<u8>,
}

impl PageWriter for CheckedPages<'_> {
    fn write_page(&mut self, page: CompressedPage) -> Result<PageWriteSpec> {
        let header = page_header(&page)?;
        let mut spec = PageWriteSpec::new();
        spec.page_type = PageType::DATA_PAGE;
        spec.uncompressed_size = page.uncompressed_size() + header.len();
        spec.compressed_size = page.compressed_size() + header.len();
        spec.offset = self.sink.len() as u64;
        spec.bytes_written = spec.compressed_size as u64;
        spec.num_values = page.num_values();
        self.sink.extend_from_slice(&header);
        self.sink.extend_from_slice(page.data());
        Ok(spec)
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Thrift's compact form of the struct `PageHeader` in parquet.thrift.
fn page_header(page: &CompressedPage) -> Result<Vec<u8>> {
    let Page::DataPage { num_values, encoding, def_level_encoding, rep_level_encoding, .. } =
        page.compressed_page()
    else {
        return Err(ParquetError::General("a page of another kind than version 1's data".into()));
    };
    let mut header = Vec::with_capacity(32);
    put_field(&mut header, 0);
    put_field(&mut header, size(page.uncompressed_size())?);
    put_field(&mut header, size(page.compressed_size())?);
    put_field(&mut header, crc32fast::hash(page.data()).cast_signed());
    // The next field, a struct.
    header.push(0x1c);
    put_field(&mut header, size(*num_values as usize)?);
    for encoding in [encoding, def_level_encoding, rep_level_encoding] {
        put_field(&mut header, *encoding as i32);
    }
    header.extend([0, 0]);
    Ok(header)
}

fn size(bytes: usize) -> Result<i32> {
    i32::try_from(bytes).map_err(|_| ParquetError::General(format!("a page of {bytes} bytes is too large")))
}

/// The next field, a 32-bit integer: zigzag, seven bits a byte.
fn put_field(header: &mut Vec<u8>, value: i32) {
    header.push(0x15);
    let mut rest = ((value << 1) ^ (value >> 31)).cast_unsigned();
    while rest > 0x7f {
        header.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    header.push(rest as u8);
}

/// The rows of `wanted`, by their number in the group. `bytes` are the group's, whose checksum is right.
pub(super) fn decode(
    tail: &Tail,
    group: &Group,
    bytes: &Bytes,
    wanted: Range<usize>,
) -> Result<Vec<ColdRow>> {
    let mut rows = vec![ColdRow::default(); wanted.len()];
    let mut start = 0;
    for (at, column) in columns(tail.format, tail.dimensions).enumerate() {
        let end = start + tail.column_bytes(group)[at] as usize;
        let chunk = Chunk { tail, group, descr: tail.schema.column(at), bytes: bytes.slice(start..end) };
        read_column(column, &chunk, wanted.clone(), &mut rows)?;
        start = end;
    }
    Ok(rows)
}

/// One column of one group.
struct Chunk<'a> {
    tail: &'a Tail,
    group: &'a Group,
    descr: ColumnDescPtr,
    bytes: Bytes,
}

fn read_column(column: Column, chunk: &Chunk<'_>, wanted: Range<usize>, rows: &mut [ColdRow]) -> Result<()> {
    match column {
        Column::Id => read_texts(chunk, wanted, rows, |row, text| row.id = text),
        Column::Arrival => read_integers(chunk, wanted, rows, |row, n| row.arrival = n.cast_unsigned()),
        Column::Version => read_integers(chunk, wanted, rows, |row, n| row.version = n.cast_unsigned()),
        Column::Content => read_texts(chunk, wanted, rows, |row, text| row.content = Some(text)),
        Column::Embedding => {
            let read = read::<FixedLenByteArrayType>(chunk, wanted)?;
            read.give(rows, |row, value| {
                let numbers = value.data().as_chunks::<4>().0;
                row.embedding = Some(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect());
                Ok(())
            })
        }
        Column::EmbeddingByte(byte) => read_embedding_byte(byte, chunk, wanted, rows),
        Column::OccurredAt => read_integers(chunk, wanted, rows, |row, n| row.occurred_at = n),
        Column::StoredAt => read_integers(chunk, wanted, rows, |row, n| row.stored_at = n),
        Column::Context => read_texts(chunk, wanted, rows, |row, text| row.context = Some(text)),
        Column::Kind => read_texts(chunk, wanted, rows, |row, text| row.kind = text),
        Column::Confidence => {
            let read = read::<FloatType>(chunk, wanted)?;
            read.give(rows, |row, value| {
                row.confidence = value;
                Ok(())
            })
        }
        Column::ExpiresAt => read_integers(chunk, wanted, rows, |row, n| row.expires_at = Some(n)),
        Column::Entities => read_texts(chunk, wanted, rows, |row, text| row.entities.push(text)),
        Column::Links => read_texts(chunk, wanted, rows, |row, text| row.links = text),
        Column::Metadata => read_texts(chunk, wanted, rows, |row, text| row.metadata = text),
    }
}

/// Adds one byte to each number of the vectors. The bytes before it have been added: the first says which rows have one.
fn read_embedding_byte(
    byte: usize,
    chunk: &Chunk<'_>,
    wanted: Range<usize>,
    rows: &mut [ColdRow],
) -> Result<()> {
    let read = read::<FixedLenByteArrayType>(chunk, wanted)?;
    let (found, name) = (read.values.len(), chunk.descr.name());
    read.give(rows, |row, value| {
        if byte == 0 {
            row.embedding = Some(vec![0.0; value.len()]);
        }
        let Some(numbers) = &mut row.embedding else {
            return Err(ParquetError::General(format!("column {name} has a vector that others lack")));
        };
        for (number, found) in numbers.iter_mut().zip(value.data()) {
            *number = f32::from_bits(number.to_bits() | u32::from(*found) << (8 * byte));
        }
        Ok(())
    })?;
    // A row that has some bytes of a vector but not all would count here.
    let vectors = rows.iter().filter(|row| row.embedding.is_some()).count();
    if found != vectors {
        return Err(ParquetError::General(format!("column {name} has {found} of {vectors} vectors")));
    }
    Ok(())
}

fn read_texts(
    chunk: &Chunk<'_>,
    wanted: Range<usize>,
    rows: &mut [ColdRow],
    mut set: impl FnMut(&mut ColdRow, String),
) -> Result<()> {
    read::<ByteArrayType>(chunk, wanted)?.give(rows, |row, value| {
        set(row, value.as_utf8()?.to_string());
        Ok(())
    })
}

fn read_integers(
    chunk: &Chunk<'_>,
    wanted: Range<usize>,
    rows: &mut [ColdRow],
    mut set: impl FnMut(&mut ColdRow, i64),
) -> Result<()> {
    read::<Int64Type>(chunk, wanted)?.give(rows, |row, value| {
        set(row, value);
        Ok(())
    })
}

/// Values as Parquet has them: those that are not null, and levels that say whose they are.
struct Read<T> {
    values: Vec<T>,
    /// 0 where there is no value; empty where every row has one.
    given: Vec<i16>,
    /// 1 where a value belongs to the row of the one before; empty where a row has one at most.
    follows: Vec<i16>,
}

impl<T> Read<T> {
    /// Hands each value to its row.
    fn give(self, rows: &mut [ColdRow], mut set: impl FnMut(&mut ColdRow, T) -> Result<()>) -> Result<()> {
        let entries = if self.given.is_empty() { self.values.len() } else { self.given.len() };
        let mut values = self.values.into_iter();
        let mut row = 0;
        for entry in 0..entries {
            if entry > 0 && self.follows.get(entry).is_none_or(|follows| *follows == 0) {
                row += 1;
            }
            if self.given.get(entry).is_none_or(|given| *given > 0) {
                let value = values.next();
                let (Some(row), Some(value)) = (rows.get_mut(row), value) else {
                    return Err(ParquetError::General(format!("values for more rows than {}", rows.len())));
                };
                set(row, value)?;
            }
        }
        Ok(())
    }
}

fn read<T: DataType>(chunk: &Chunk<'_>, wanted: Range<usize>) -> Result<Read<T::T>> {
    let meta = ColumnChunkMetaData::builder(chunk.descr.clone())
        .set_compression(chunk.tail.codec)
        .set_num_values(i64::from(chunk.group.rows))
        .set_data_page_offset(0)
        .set_total_compressed_size(chunk.bytes.len() as i64)
        .build()?;
    let rows = chunk.group.rows as usize;
    let pages = SerializedPageReader::new(Arc::new(chunk.bytes.clone()), &meta, rows, None)?;
    let mut reader: ColumnReaderImpl<T> =
        get_typed_column_reader(get_column_reader(chunk.descr.clone(), Box::new(pages)));
    let mut read = Read { values: Vec::new(), given: Vec::new(), follows: Vec::new() };
    let skipped = reader.skip_records(wanted.start)?;
    let (found, _, _) = reader.read_records(
        wanted.len(),
        Some(&mut read.given),
        Some(&mut read.follows),
        &mut read.values,
    )?;
    if (skipped, found) != (wanted.start, wanted.len()) {
        let name = chunk.descr.name();
        return Err(ParquetError::General(format!("column {name} ends at row {}", skipped + found)));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_whose_bytes_are_of_different_rows_are_damaged() {
        let rows = |given: [bool; 3]| {
            given.map(|given| ColdRow { embedding: given.then(|| vec![1.5, -0.3]), ..ColdRow::default() })
        };
        let decoded = |byte: usize, others: [bool; 3]| {
            let (rows, others) = (rows([true, true, false]), rows(others));
            let of = |column| match column {
                Column::EmbeddingByte(at) if at == byte => &others[..],
                _ => &rows[..],
            };
            let file = Bytes::from(encode_columns(of, Compression::None).expect("it is small"));
            let start = file.len() - tail::tail_bytes(&file).expect("it ends as Parquet does") as usize;
            let Ok(tail) = Tail::parse(&file[start..], file.len() as u64) else {
                panic!("it was written so")
            };
            let group = tail.groups[0];
            let bytes = file.slice(group.start as usize..group.start as usize + group.bytes as usize);
            (decode(&tail, &group, &bytes, 0..3), rows)
        };
        for byte in 0..4 {
            let (same, rows) = decoded(byte, [true, true, false]);
            assert_eq!(same.expect("all bytes are of the same rows"), rows);
            for others in [[true, true, true], [true, false, false], [true, false, true], [false; 3]] {
                let (found, _) = decoded(byte, others);
                let error = found.expect_err("they are not").to_string();
                assert!(error.contains("column embedding_"), "byte {byte} of {others:?}: {error}");
            }
        }
    }
}
