//! Who works at a place of backups. Many may write to it at the same time: files are named by what is in them. Only the
//! removal of files that no list names would harm who has just copied them, or counts on them, and has not written a list
//! yet. So each says what it does with an object of its own before it looks at what others do: who removes does not begin
//! while another writes, and who writes not while another removes; of two that begin at the same time, one sees the other.
//! What a killed program leaves counts no longer after a while. Clocks may differ by half an hour: a removal ends
//! after so long, and is counted on for twice that.

use super::time_of_id;
use crate::error::{Error, ErrorKind, Result};
use engram_core::id::Timestamp;
use engram_storage::cold::ColdStore;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// What is done at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Writing,
    Removing,
}

impl Work {
    fn folder(self) -> &'static str {
        match self {
            Self::Writing => "writing/",
            Self::Removing => "removing/",
        }
    }

    /// How long it counts. A first copy of terabytes takes hours; a removal ends by itself in half of this.
    pub(crate) fn counts_for(self) -> Duration {
        match self {
            Self::Writing => Duration::from_secs(24 * 3600),
            Self::Removing => Duration::from_secs(3600),
        }
    }
}

/// Says at a place that something is done there, until it is dropped.
pub(crate) struct Claim<'a> {
    store: &'a ColdStore,
    name: String,
}

impl<'a> Claim<'a> {
    /// Says it from now on.
    pub(crate) fn put(store: &'a ColdStore, work: Work, now: Timestamp) -> Result<Self> {
        // Two programs that begin at the same time must not meet.
        let random = RandomState::new().hash_one(std::process::id());
        let name = format!("{}{}-{random:016x}", work.folder(), time_of_id(now));
        // Also where the answer is lost, and the object is there.
        let claim = Self { store, name };
        store.create_object(&claim.name, b"engram backup\n".as_slice().into())?;
        Ok(claim)
    }

    /// Whether it is still said: who comes after it counted removes it.
    pub(crate) fn is_there(&self) -> Result<bool> {
        Ok(self.store.object_bytes(&self.name)?.is_some())
    }

    /// Another who does this, and removes what counts no longer.
    pub(crate) fn other(&self, work: Work, now: Timestamp) -> Result<Option<String>> {
        Ok(counting(self.store, work, now)?.into_iter().rfind(|name| *name != self.name))
    }
}

/// How the ids begin of the backups that are written at a place.
pub(crate) fn begun(store: &ColdStore, now: Timestamp) -> Result<Vec<String>> {
    let time =
        |name: String| Some(name.strip_prefix(Work::Writing.folder())?.rsplit_once('-')?.0.to_string());
    Ok(counting(store, Work::Writing, now)?.into_iter().filter_map(time).collect())
}

/// Names of the claims that count. Removes the others, so that who put one learns that nobody counts on it.
fn counting(store: &ColdStore, work: Work, now: Timestamp) -> Result<Vec<String>> {
    let since = Timestamp(now.0 - work.counts_for().as_micros() as i64);
    let oldest = format!("{}{}", work.folder(), time_of_id(since));
    let mut counting = Vec::new();
    for (name, _) in store.list(work.folder())? {
        if name < oldest {
            store.delete(&name)?;
        } else {
            counting.push(name);
        }
    }
    Ok(counting)
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.store.delete(&self.name) {
            tracing::warn!(%error, name = self.name, "it counts for a while though nobody works there");
        }
    }
}

/// What to say to who would write while another removes.
pub(crate) fn refused(name: &str, place: &str) -> Error {
    let message = format!(
        "another program removes old backups at {place}; try again in a moment or, if there is none, delete {name} there"
    );
    Error::new(ErrorKind::Busy, message)
}
