//! Objects of any bytes, beside cold files: what backups are made of.

use std::ops::Range;

use bytes::Bytes;
use object_store::{Error as StoreError, ObjectStoreExt, PutMode, PutOptions};

use super::MULTIPART_BYTES;
use super::store::{ColdStore, Trouble, is_absent};
use crate::error::Result;

impl ColdStore {
    /// Bytes of an object; none where there is no such object.
    ///
    /// # Errors
    /// `Unreachable`.
    pub fn object_bytes(&self, name: &str) -> Result<Option<u64>> {
        let path = self.path(name)?;
        match self.wait(async { Ok(self.place.store.head(&path).await?) }) {
            Err(Trouble::Store(error)) if is_absent(&error) => Ok(None),
            found => found.map(|found| Some(found.size)).map_err(|trouble| self.error("read", name, trouble)),
        }
    }

    /// Some bytes of an object, as they come: fewer at its end. Nothing checks them.
    ///
    /// # Errors
    /// `Absent`, `Unreachable`.
    pub fn read_object(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        let path = self.path(name)?;
        let read = async { Ok(self.place.store.get_range(&path, range).await?) };
        self.wait(read).map_err(|trouble| self.error("read", name, trouble))
    }

    /// Writes an object of so many bytes, in the place of one that has its name, from what `part` gives of them. Holds
    /// up to 64 MiB of it in RAM, or a hundredth of a percent for each of four parts where that is more.
    ///
    /// # Errors
    /// Those of `part`; `Unreachable`, after which it may be there or not.
    pub fn write_object(
        &self,
        name: &str,
        bytes: u64,
        part: &mut dyn FnMut(Range<u64>) -> Result<Bytes>,
    ) -> Result<()> {
        let path = self.path(name)?;
        self.forget(name);
        let written = match bytes > MULTIPART_BYTES as u64 {
            true => self.upload(&path, bytes, part),
            false => {
                let all = part(0..bytes)?;
                self.wait(async { Ok(self.place.store.put(&path, all.into()).await.map(drop)?) })
            }
        };
        written.map_err(|trouble| self.error("write", name, trouble))
    }

    /// Writes a small object whose name is free, and returns whether it was.
    ///
    /// # Errors
    /// `Unreachable`, after which it may be there or not.
    pub fn create_object(&self, name: &str, bytes: Bytes) -> Result<bool> {
        let path = self.path(name)?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let created = async { Ok(self.place.store.put_opts(&path, bytes.into(), options).await?) };
        match self.wait(created) {
            Err(Trouble::Store(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. })) => {
                Ok(false)
            }
            created => created.map(|_| true).map_err(|trouble| self.error("write", name, trouble)),
        }
    }
}
