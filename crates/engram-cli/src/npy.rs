//! Vectors in NumPy's `.npy` files: reads float32 and float16, little endian, C order, one row at a time; writes
//! float32. A file is checked against its header before the first row. Format: numpy.lib.format, versions 1 to 3.

use crate::fault::{Fault, Result, failed};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Headers that we write have this many bytes, which numpy aligns to 64.
const HEADER_BYTES: usize = 128;
/// A header says one type and one shape; whatever is longer is another file.
const HEADER_BYTES_MAX: usize = 64 * 1024;

/// The rows of a file, in order.
pub(crate) struct Rows {
    path: PathBuf,
    file: BufReader<File>,
    element: Element,
    /// Rows in the file.
    pub(crate) count: u64,
    /// Of one row.
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Element {
    F32,
    F16,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}

impl Rows {
    /// Opens a file of n x d numbers; a file of d numbers is one row.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let cannot = |error| Fault::file(path, "cannot read it", &error);
        let mut file = BufReader::new(File::open(path).map_err(cannot)?);
        let total = file.get_ref().metadata().map_err(cannot)?.len();
        let header = read_header(&mut file).map_err(|text| Fault::Failed(text).at(path.display()))?;
        let (element, shape) =
            parse_header(&header).map_err(|text| Fault::Failed(text).at(path.display()))?;
        let (count, dimensions) = match shape[..] {
            [dimensions] => (1, dimensions),
            [count, dimensions] => (count, dimensions),
            _ => {
                return failed(format!(
                    "{}: has shape {shape:?}, needed is rows x dimensions",
                    path.display()
                ));
            }
        };
        if dimensions == 0 {
            return failed(format!(
                "{}: has 0 columns, needed is one for each number of a vector",
                path.display()
            ));
        }
        let wanted =
            count.checked_mul(dimensions).and_then(|numbers| numbers.checked_mul(element.bytes() as u64));
        let found = total - file.stream_position().map_err(cannot)?;
        if wanted != Some(found) {
            return failed(format!(
                "{}: its header promises {count} x {dimensions} numbers, and {found} bytes of them are there; was it cut?",
                path.display()
            ));
        }
        let dimensions =
            usize::try_from(dimensions).expect("a row of a file on this machine fits its addresses");
        let bytes = vec![0; dimensions * element.bytes()];
        Ok(Self { path: path.to_owned(), file, element, count, bytes })
    }

    /// Numbers of the first vector of a file; `None` where all rows are NaN. Reads up to that vector.
    pub(crate) fn dimensions(path: &Path) -> Result<Option<usize>> {
        let mut rows = Self::open(path)?;
        for _ in 0..rows.count {
            if let Some(row) = rows.next()? {
                return Ok(Some(row.len()));
            }
        }
        Ok(None)
    }

    /// The next row; `None` for a row of NaN, which stands for no vector. There must be one.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<f32>>> {
        self.file
            .read_exact(&mut self.bytes)
            .map_err(|error| Fault::file(&self.path, "cannot read it", &error))?;
        let row: Vec<f32> = match self.element {
            Element::F32 => {
                self.bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
            }
            Element::F16 => self
                .bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|bytes| half::f16::from_le_bytes(*bytes).to_f32())
                .collect(),
        };
        Ok(row.iter().any(|number| !number.is_nan()).then_some(row))
    }
}

/// The text of the header; the reader stands behind it.
fn read_header(file: &mut impl Read) -> Result<String, String> {
    let mut start = [0; 8];
    let mut length = [0; 4];
    let short = |_| "is not a .npy file: it ends within its header".to_owned();
    file.read_exact(&mut start).map_err(short)?;
    if &start[..6] != MAGIC {
        return Err("is not a .npy file: it does not begin with \\x93NUMPY; write it with numpy.save".into());
    }
    match start[6] {
        1 => file.read_exact(&mut length[..2]).map_err(short)?,
        2 | 3 => file.read_exact(&mut length).map_err(short)?,
        other => return Err(format!("is a .npy file of version {other}, known are 1 to 3")),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > HEADER_BYTES_MAX {
        return Err(format!("has a header of {length} bytes, at most {HEADER_BYTES_MAX} are read"));
    }
    let mut header = vec![0; length];
    file.read_exact(&mut header).map_err(short)?;
    String::from_utf8(header).map_err(|_| "has a header that is not text".into())
}

/// Type and shape from `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
fn parse_header(header: &str) -> Result<(Element, Vec<u64>), String> {
    let strange = || format!("has a header that numpy would not write: {}", header.trim());
    let value = |key: &str| {
        let (_, rest) = header.split_once(&format!("'{key}'"))?;
        Some(rest.trim_start().strip_prefix(':')?.trim_start())
    };
    let descr = value("descr").ok_or_else(strange)?;
    let descr = descr.strip_prefix('\'').and_then(|rest| rest.split_once('\'')).map(|(descr, _)| descr);
    let element = match descr {
        Some("<f4") => Element::F32,
        Some("<f2") => Element::F16,
        Some(other) => {
            return Err(format!(
                "holds numbers of type \"{other}\"; needed is float32 (\"<f4\") or float16 (\"<f2\"), \
                 as numpy.save(path, array.astype(\"float32\")) writes it"
            ));
        }
        None => return Err("holds records, not rows of numbers".into()),
    };
    let order = value("fortran_order").ok_or_else(strange)?;
    if order.starts_with("True") {
        return Err(
            "is in Fortran order; write it with numpy.save(path, numpy.ascontiguousarray(array))".into()
        );
    }
    if !order.starts_with("False") {
        return Err(strange());
    }
    let shape =
        value("shape").and_then(|rest| rest.strip_prefix('(')?.split_once(')')).ok_or_else(strange)?.0;
    let sizes = shape.split(',').map(str::trim).filter(|size| !size.is_empty());
    let sizes: Result<Vec<u64>, _> = sizes.map(str::parse).collect();
    Ok((element, sizes.map_err(|_| strange())?))
}

/// Writes rows; the header, which counts them, is written last.
pub(crate) struct RowsWriter<W: Write + Seek> {
    out: BufWriter<W>,
    rows: u64,
    /// Unknown until the first vector.
    dimensions: Option<usize>,
}

impl<W: Write + Seek> RowsWriter<W> {
    pub(crate) fn new(out: W) -> std::io::Result<Self> {
        let mut out = BufWriter::new(out);
        out.write_all(&[0; HEADER_BYTES])?;
        Ok(Self { out, rows: 0, dimensions: None })
    }

    /// Writes one row, of NaN for `None`. Every vector has the dimensions of the first.
    pub(crate) fn push(&mut self, row: Option<&[f32]>) -> std::io::Result<()> {
        if let (Some(row), None) = (row, self.dimensions) {
            self.dimensions = Some(row.len());
            for _ in 0..self.rows {
                self.write_nan(row.len())?;
            }
        }
        self.rows += 1;
        match (row, self.dimensions) {
            (Some(row), Some(dimensions)) => {
                assert_eq!(row.len(), dimensions, "a space holds vectors of one dimension");
                row.iter().try_for_each(|number| self.out.write_all(&number.to_le_bytes()))
            }
            (None, Some(dimensions)) => self.write_nan(dimensions),
            (_, None) => Ok(()),
        }
    }

    /// Writes the header and gives the file back. Without any vector there is one column, of NaN: rows without columns
    /// are what a mistake looks like, and are not read.
    pub(crate) fn finish(mut self) -> std::io::Result<W> {
        if self.dimensions.is_none() {
            (0..self.rows).try_for_each(|_| self.write_nan(1))?;
        }
        let shape = format!("({}, {})", self.rows, self.dimensions.unwrap_or(1));
        let dict = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}");
        let length = HEADER_BYTES - MAGIC.len() - 4;
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(MAGIC)?;
        self.out.write_all(&[1, 0])?;
        self.out.write_all(&(length as u16).to_le_bytes())?;
        writeln!(self.out, "{dict:<width$}", width = length - 1)?;
        self.out.into_inner().map_err(std::io::IntoInnerError::into_error)
    }

    fn write_nan(&mut self, dimensions: usize) -> std::io::Result<()> {
        (0..dimensions).try_for_each(|_| self.out.write_all(&f32::NAN.to_le_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn file(header: &str, data: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(MAGIC).unwrap();
        file.write_all(&[1, 0]).unwrap();
        file.write_all(&(header.len() as u16).to_le_bytes()).unwrap();
        file.write_all(header.as_bytes()).unwrap();
        file.write_all(data).unwrap();
        file.flush().unwrap();
        file
    }

    fn refused(header: &str, data: &[u8]) -> String {
        match Rows::open(file(header, data).path()) {
            Err(Fault::Failed(text)) => text,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("{header} was taken"),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = RowsWriter::new(Cursor::new(Vec::new())).unwrap();
        for row in [None, Some(&[1.0_f32, -2.5][..]), None] {
            writer.push(row).unwrap();
        }
        let bytes = writer.finish().unwrap().into_inner();
        assert_eq!(bytes.len(), HEADER_BYTES + 3 * 2 * 4);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        let mut rows = Rows::open(file.path()).unwrap();
        assert_eq!(rows.count, 3);
        assert_eq!(rows.next().unwrap(), None);
        assert_eq!(rows.next().unwrap(), Some(vec![1.0, -2.5]));
        assert_eq!(rows.next().unwrap(), None);
        assert!(rows.next().is_err());
    }

    #[test]
    fn a_file_without_any_vector_is_read() {
        let mut writer = RowsWriter::new(Cursor::new(Vec::new())).unwrap();
        writer.push(None).unwrap();
        writer.push(None).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&writer.finish().unwrap().into_inner()).unwrap();
        assert_eq!(Rows::open(file.path()).unwrap().count, 2);
        assert_eq!(Rows::dimensions(file.path()).unwrap(), None);
    }

    #[test]
    fn half_precision_is_widened() {
        let data = [0x00, 0x3c, 0x00, 0xc1, 0x00, 0x7e, 0x01, 0x00];
        let mut rows =
            Rows::open(file("{'descr':'<f2', 'shape':(2,2),'fortran_order':False}", &data).path()).unwrap();
        assert_eq!(rows.next().unwrap(), Some(vec![1.0, -2.5]));
        let row = rows.next().unwrap().unwrap();
        assert!(row[0].is_nan(), "one NaN of a row is not a row of NaN");
        assert_eq!(row[1], 2.0_f32.powi(-24));
    }

    #[test]
    fn other_files_are_refused_with_a_reason() {
        let header = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n")
        };
        assert!(refused(&header("'<f8'", "False", "(1, 1)"), &[0; 8]).contains("\"<f8\""));
        assert!(refused(&header("'>f4'", "False", "(1, 1)"), &[0; 4]).contains("\">f4\""));
        assert!(refused(&header("[('a', '<f4')]", "False", "(1,)"), &[0; 4]).contains("records"));
        assert!(refused(&header("'<f4'", "True", "(1, 1)"), &[0; 4]).contains("Fortran"));
        assert!(refused(&header("'<f4'", "False", "(1, 1, 1)"), &[0; 4]).contains("shape"));
        assert!(refused(&header("'<f4'", "False", "(2, 1)"), &[0; 4]).contains("promises 2 x 1"));
        assert!(refused(&header("'<f4'", "False", "(2, 0)"), &[]).contains("0 columns"));
        let huge = u64::MAX;
        assert!(refused(&header("'<f4'", "False", &format!("({huge}, {huge})")), &[]).contains("promises"));
        assert!(refused("nonsense", &[]).contains("would not write"));
        let mut text = tempfile::NamedTempFile::new().unwrap();
        text.write_all(b"{\"id\": \"a\"}").unwrap();
        assert!(
            matches!(Rows::open(text.path()), Err(Fault::Failed(text)) if text.contains("not a .npy file"))
        );
    }
}
