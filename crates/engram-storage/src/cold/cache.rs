//! What was fetched, kept on a disk nearby. Nothing of it is ever needed: it is deleted at every start, written without
//! a sync, and each of its files is checked against the checksum of the cold file it is a part of, by whoever reads it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::Hash;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::error::{Error, Result};

/// Ending of the cache's files; all others in its folder are left alone.
const ENDING: &str = "cached";

/// Which part of which cold file: its name and the first byte; `u64::MAX` for the tail.
pub(super) type Part = (String, u64);

/// A bounded folder of parts.
pub(super) struct Cache {
    folder: PathBuf,
    /// The numbers in the names of the files.
    parts: Mutex<Recent<Part, u64>>,
    next: AtomicU64,
    pub(super) failures: AtomicU64,
}

impl Cache {
    /// An empty cache in a folder, which is made if need be.
    pub(super) fn open(folder: &Path, bytes_max: u64) -> Result<Cache> {
        let refused = |operation, source| Error::io(operation, folder, source);
        fs::create_dir_all(folder).map_err(|e| refused("create", e))?;
        for entry in fs::read_dir(folder).map_err(|e| refused("list", e))? {
            let path = entry.map_err(|e| refused("list", e))?.path();
            if path.extension().is_some_and(|ending| ending == ENDING) {
                fs::remove_file(&path).map_err(|e| Error::io("delete", &path, e))?;
            }
        }
        Ok(Cache {
            folder: folder.to_path_buf(),
            parts: Mutex::new(Recent::new(bytes_max)),
            next: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// A part, if it is there; the caller checks its bytes.
    pub(super) fn get(&self, part: &Part) -> Option<Bytes> {
        let number = *self.parts().get(part)?;
        match fs::read(self.file(number)) {
            Ok(bytes) => Some(bytes.into()),
            Err(_) => {
                self.drop_bad(part);
                None
            }
        }
    }

    /// Keeps a part. What was used longest ago makes room.
    pub(super) fn put(&self, part: Part, bytes: &[u8]) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        // Room is made first, and the part is known only when it is written: nobody reads half of it.
        let room = self.parts().make_room(bytes.len() as u64);
        let Some(room) = room else { return };
        room.iter().for_each(|number| self.delete(*number));
        if fs::write(self.file(number), bytes).is_err() {
            self.failures.fetch_add(1, Ordering::Relaxed);
            self.delete(number);
            return;
        }
        let gone = self.parts().insert(part, number, bytes.len() as u64);
        gone.iter().for_each(|number| self.delete(*number));
    }

    /// Forgets a part that is not what it should be.
    pub(super) fn drop_bad(&self, part: &Part) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let number = self.parts().remove(part);
        number.into_iter().for_each(|number| self.delete(number));
    }

    /// Forgets all of a cold file.
    pub(super) fn drop_file(&self, name: &str) {
        let mut parts = self.parts();
        let its: Vec<Part> = parts.keys().filter(|(own, _)| own == name).cloned().collect();
        let numbers: Vec<u64> = its.iter().filter_map(|part| parts.remove(part)).collect();
        drop(parts);
        numbers.into_iter().for_each(|number| self.delete(number));
    }

    fn file(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016x}.{ENDING}"))
    }

    fn delete(&self, number: u64) {
        match fs::remove_file(self.file(number)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                self.failures.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Recent<Part, u64>> {
        self.parts.lock().expect("nothing panics while it holds the lock")
    }
}

/// Values up to a number of bytes; what was asked for longest ago goes first.
pub(super) struct Recent<K, V> {
    entries: HashMap<K, (V, u64, u64)>,
    /// Keys by when they were last asked for.
    order: BTreeMap<u64, K>,
    bytes: u64,
    bytes_max: u64,
    asked: u64,
}

impl<K: Clone + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(bytes_max: u64) -> Recent<K, V> {
        Recent { entries: HashMap::new(), order: BTreeMap::new(), bytes: 0, bytes_max, asked: 0 }
    }

    pub(super) fn get(&mut self, key: &K) -> Option<&V> {
        self.asked += 1;
        let (value, _, last) = self.entries.get_mut(key)?;
        let key = self.order.remove(last).expect("every entry has a place in the order");
        *last = self.asked;
        self.order.insert(self.asked, key);
        Some(value)
    }

    /// Makes room for so many bytes: gives what had to go, or nothing where they cannot ever fit.
    fn make_room(&mut self, bytes: u64) -> Option<Vec<V>> {
        if bytes > self.bytes_max {
            return None;
        }
        let mut gone = Vec::new();
        while self.bytes + bytes > self.bytes_max {
            let (_, key) = self.order.first_key_value()?;
            gone.extend(self.remove(&key.clone()));
        }
        Some(gone)
    }

    /// Keeps a value, and gives what had to go, which is the value itself where it is too large.
    pub(super) fn insert(&mut self, key: K, value: V, bytes: u64) -> Vec<V> {
        let mut gone: Vec<V> = self.remove(&key).into_iter().collect();
        let Some(more) = self.make_room(bytes) else {
            gone.push(value);
            return gone;
        };
        gone.extend(more);
        self.asked += 1;
        self.bytes += bytes;
        self.order.insert(self.asked, key.clone());
        self.entries.insert(key, (value, bytes, self.asked));
        gone
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (value, bytes, last) = self.entries.remove(key)?;
        self.order.remove(&last);
        self.bytes -= bytes;
        Some(value)
    }

    fn keys(&self) -> impl Iterator<Item = &K> {
        self.entries.keys()
    }
}
