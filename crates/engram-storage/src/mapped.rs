//! Files as memory: the bytes of a file that nobody changes, mapped where the system maps files.
#![expect(unsafe_code, reason = "a memory map is only as constant as the file behind it")]

use std::fmt;
use std::fs;
use std::io;

/// The bytes of a file that is not changed as long as they are used.
pub struct Mapped(Bytes);

enum Bytes {
    File(memmap2::Mmap),
    /// Words, so that numbers in it are aligned; and how many of their bytes count.
    Memory(Box<[u64]>, usize),
}

impl Mapped {
    /// Maps a file. Reading it may touch the disk.
    pub(crate) fn file(file: &fs::File) -> io::Result<Self> {
        // SAFETY: the files that are mapped were renamed to their names when they were whole, and only this process, which
        // has the folder's lock, touches them: it removes them, which leaves a map as it is, and never writes to them. Who
        // cuts one from outside ends the process, and so does a disk that fails under a read.
        let map = unsafe { memmap2::Mmap::map(file)? };
        Ok(Self(Bytes::File(map)))
    }

    /// Bytes in memory, for file systems that are simulated.
    pub fn memory(bytes: &[u8]) -> Self {
        let word = |eight: &[u8]| {
            let mut word = [0; 8];
            word[..eight.len()].copy_from_slice(eight);
            u64::from_ne_bytes(word)
        };
        Self(Bytes::Memory(bytes.chunks(8).map(word).collect(), bytes.len()))
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Bytes::File(map) => map,
            Bytes::Memory(words, len) => &bytemuck::cast_slice(words)[..*len],
        }
    }
}

impl fmt::Debug for Mapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapped({} bytes)", self.as_ref().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_mapped_file_has_the_bytes_of_the_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        for mapped in [Mapped::file(&file).unwrap(), Mapped::memory(b"0123456789")] {
            assert_eq!(mapped.as_ref(), b"0123456789");
            assert_eq!(mapped.as_ref().as_ptr().align_offset(8), 0);
        }
    }
}
