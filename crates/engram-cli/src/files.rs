//! Files that commands read by the line and write as a whole: a file that is written appears under its name only when
//! it is complete.

use crate::fault::{Fault, Result, failed};
use engram_server::api::from_json;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A line holds at most a memory: 64 KiB of text and of metadata, 1,024 links, 4,096 numbers, all escaped.
const LINE_BYTES_MAX: u64 = 4 << 20;

/// What some editors put before the first line.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The lines of a file or of standard input (`-`) that are not blank, with their numbers.
pub(crate) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    /// Number of the line that was read last, from 1.
    number: u64,
}

impl Lines {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let reader: Box<dyn BufRead + Send> = if is_stdin(path) {
            Box::new(BufReader::new(io::stdin()))
        } else {
            let file = File::open(path).map_err(|error| Fault::file(path, "cannot read it", &error))?;
            Box::new(BufReader::with_capacity(1 << 16, file))
        };
        Ok(Self { path: path.to_owned(), reader, number: 0 })
    }

    /// Lines that are in memory already; messages call them `name`.
    pub(crate) fn of(name: &str, text: Vec<u8>) -> Self {
        Self { path: name.into(), reader: Box::new(io::Cursor::new(text)), number: 0 }
    }

    /// The number of lines that are not blank, each of which `look` sees; `None` where they can be read only once.
    pub(crate) fn count(path: &Path, mut look: impl FnMut(&[u8])) -> Result<Option<u64>> {
        if is_stdin(path) || !path.is_file() {
            return Ok(None);
        }
        let mut lines = Self::open(path)?;
        let mut count = 0;
        let mut line = Vec::new();
        while lines.next(&mut line)?.is_some() {
            look(&line);
            count += 1;
        }
        Ok(Some(count))
    }

    /// Reads the next line that is not blank into `line` and gives its number.
    pub(crate) fn next(&mut self, line: &mut Vec<u8>) -> Result<Option<u64>> {
        while self.read(line)? {
            if !line.trim_ascii().is_empty() {
                return Ok(Some(self.number));
            }
        }
        Ok(None)
    }

    /// Reads the next line, blank or not; false at the end.
    fn read(&mut self, line: &mut Vec<u8>) -> Result<bool> {
        line.clear();
        let mut limited = (&mut self.reader).take(LINE_BYTES_MAX + 1);
        let read = limited
            .read_until(b'\n', line)
            .map_err(|error| Fault::file(&self.path, "cannot read it", &error))?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        if line.len() as u64 > LINE_BYTES_MAX {
            let text =
                format!("is longer than {} MB; is this a file of lines of JSON?", LINE_BYTES_MAX >> 20);
            return Err(Fault::Failed(text).at(self.place(self.number)));
        }
        if self.number == 1 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(true)
    }

    /// Reads the first lines until `found` one, and begins again at the first. What was read waits in a temporary file:
    /// standard input comes only once.
    pub(crate) fn look_ahead(&mut self, mut found: impl FnMut(&[u8]) -> bool) -> Result<()> {
        let cannot = |error: io::Error| {
            Fault::Failed(format!("cannot keep lines in {}: {error}", std::env::temp_dir().display()))
        };
        let mut kept = BufWriter::new(tempfile::tempfile().map_err(cannot)?);
        let mut line = Vec::new();
        while self.read(&mut line)? {
            kept.write_all(&line).map_err(cannot)?;
            if found(&line) {
                break;
            }
        }
        let mut kept = kept.into_inner().map_err(|error| cannot(error.into_error()))?;
        kept.rewind().map_err(cannot)?;
        let rest = std::mem::replace(&mut self.reader, Box::new(io::empty()));
        self.reader = Box::new(BufReader::new(kept).chain(rest));
        self.number = 0;
        Ok(())
    }

    /// Where line `number` is, for a message.
    pub(crate) fn place(&self, number: u64) -> String {
        if is_stdin(&self.path) {
            format!("standard input, line {number}")
        } else {
            format!("{}:{number}", self.path.display())
        }
    }
}

/// The value of one line of JSON. Errors tell the column only; which line it is, the caller knows.
pub(crate) fn json_of_line<T: DeserializeOwned>(line: &[u8]) -> Result<T> {
    from_json(line.trim_ascii_end()).map_err(|mut error| {
        let text = error.detail.strip_prefix("?: ").unwrap_or(&error.detail);
        error.detail = text.replace(" at line 1 column ", " at column ");
        error.into()
    })
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// A file in the making, under a temporary name in the folder where it shall be. Dropped, it is gone.
pub(crate) struct Draft {
    path: PathBuf,
    file: NamedTempFile,
}

impl Draft {
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return failed(format!(
                "{}: cannot write it: there is no folder {}; make it first",
                path.display(),
                folder.display()
            ));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".engram-").suffix(".part");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // Like any file that a program writes: as open as the umask allows.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file =
            builder.tempfile_in(folder).map_err(|error| Fault::file(path, "cannot write it", &error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The file, to be written.
    pub(crate) fn file(&self) -> Result<File> {
        self.file.reopen().map_err(|error| self.fault(&error))
    }

    pub(crate) fn fault(&self, error: &io::Error) -> Fault {
        Fault::file(&self.path, "cannot write it", error)
    }

    /// Gives the file, all of it written through `file`, its name.
    pub(crate) fn publish(self, file: &File) -> Result<()> {
        file.sync_all().map_err(|error| self.fault(&error))?;
        self.file
            .persist(&self.path)
            .map_err(|error| Fault::file(&self.path, "cannot write it", &error.error))?;
        Ok(())
    }
}

/// Standard input as a whole, as text.
pub(crate) fn read_stdin(bytes_max: usize) -> Result<String> {
    let mut text = String::new();
    let read = io::stdin().take(bytes_max as u64 + 1).read_to_string(&mut text);
    read.map_err(|error| Fault::Failed(format!("cannot read standard input: {error}")))?;
    Ok(text)
}
