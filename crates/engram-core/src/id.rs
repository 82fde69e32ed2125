//! Names and instants. A value of these types has been checked once and needs no check again.

use crate::error::{Error, Result, shown};
use crate::limits::{ID_CHARS_MAX, SPACE_NAME_CHARS_MAX};
use std::fmt;
use std::hash::Hasher;

/// A memory's id: 1 to 128 characters of `[A-Za-z0-9._:-]`, not starting with a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoryId(Box<str>);

impl MemoryId {
    /// Checks and takes `text`.
    pub fn new(text: &str) -> Result<Self> {
        check("memory id", text, ID_CHARS_MAX, |c| c.is_ascii_alphanumeric() || b"._:-".contains(&c))?;
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A 64-bit hash that is the same on every machine and in every version; the index draws levels from it.
    pub fn stable_hash(&self) -> u64 {
        let mut hasher = rustc_hash::FxHasher::default();
        hasher.write(self.0.as_bytes());
        mix(hasher.finish())
    }
}

/// A space's name: 1 to 64 characters of `[A-Za-z0-9._-]`, not starting with a dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceName(Box<str>);

impl SpaceName {
    /// Checks and takes `text`.
    pub fn new(text: &str) -> Result<Self> {
        check("space name", text, SPACE_NAME_CHARS_MAX, |c| {
            c.is_ascii_alphanumeric() || b"._-".contains(&c)
        })?;
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MemoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SpaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An instant: microseconds since 1970-01-01T00:00:00Z, leap seconds left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Days from `earlier` to `self`; negative when `self` comes first.
    pub fn days_since(self, earlier: Timestamp) -> f64 {
        (self.0 as f64 - earlier.0 as f64) / 86_400e6
    }
}

/// FxHash leaves its high bits poorly mixed for short inputs; this is the finaliser of SplitMix64 (Steele 2014).
fn mix(mut x: u64) -> u64 {
    x ^= x >> 30;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 27;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn check(what: &str, text: &str, chars_max: usize, allowed: impl Fn(u8) -> bool) -> Result<()> {
    let fault = if text.is_empty() {
        "is empty".to_string()
    } else if text.len() > chars_max {
        format!("has {} characters, at most {chars_max} are allowed", text.chars().count())
    } else if text.starts_with('.') {
        "starts with a dot".to_string()
    } else if let Some(bad) = text.chars().find(|c| !c.is_ascii() || !allowed(*c as u8)) {
        format!("contains {bad:?}")
    } else {
        return Ok(());
    };
    let class = if what == "memory id" { "A-Z a-z 0-9 . _ : -" } else { "A-Z a-z 0-9 . _ -" };
    Err(Error::Invalid(format!(
        "{what} \"{}\" {fault}; use 1 to {chars_max} characters of {class}, not starting with a dot",
        shown(text)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "D1:1", "x.y-z_0", &"a".repeat(128)] {
            assert!(MemoryId::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "../x", "a/b", "a b", "a\n", "ä", &"a".repeat(129)] {
            assert!(MemoryId::new(bad).is_err(), "{bad}");
        }
        assert!(SpaceName::new("a:b").is_err());
        assert_eq!(
            MemoryId::new("a/b").unwrap_err().to_string(),
            "memory id \"a/b\" contains '/'; use 1 to 128 characters of A-Z a-z 0-9 . _ : -, not starting with a dot"
        );
    }

    #[test]
    fn the_hash_never_changes() {
        // Stored index levels depend on it: a new value here means every stored index is rebuilt.
        assert_eq!(MemoryId::new("m1").unwrap().stable_hash(), MemoryId::new("m1").unwrap().stable_hash());
        let mut seen: Vec<u64> =
            (0..1000).map(|i| MemoryId::new(&format!("m{i}")).unwrap().stable_hash()).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
    }
}
