//! The wire types of every interface, and the one place where they become types of the engine and back.
//! Requests refuse unknown fields, and arrays in the place of objects. A field that is `null` counts as not given, but
//! in a completion, where it is wanted.
//! HTTP, the files of the CLI and embedded use read and write exactly these; `openapi.json` of a running server describes them.

use crate::error::ApiError;
use crate::json;
use engram::{MemoryId, Timestamp, clock};
use serde::de::{self, DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

type Result<T> = std::result::Result<T, ApiError>;

/// Reads one JSON value and nothing after it. The error names the field, the line and column, and what stands there.
pub fn from_json<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    json::read(json).map_or_else(|| from_json_explained(json), Ok)
}

/// The same, slower, for what may be at fault.
fn from_json_explained<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Err(ApiError::invalid("the request has no body; send a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!("{path}: ") };
        ApiError::invalid(format!("{place}{}", in_words(explained(error.inner(), json), &path)))
    })?;
    deserializer.end().map_err(|error| ApiError::invalid(explained(&error, json)))?;
    Ok(value)
}

/// The message of serde_json, with the text that it stumbled over.
fn explained(error: &serde_json::Error, json: &[u8]) -> String {
    const SHOWN_BYTES_MAX: usize = 40;
    let (message, line, column) = (error.to_string(), error.line(), error.column());
    let is_of_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    let text = json.split(|&byte| byte == b'\n').nth(line.saturating_sub(1)).unwrap_or_default();
    let (before, after) = text.split_at(column.saturating_sub(1).min(text.len()));
    let start = before.len() - before.iter().rev().take_while(is_of_token).count();
    let length = before.len() - start + after.iter().take_while(is_of_token).count().max(1);
    let token = &text[start..(start + length).min(text.len())];
    let more = if token.len() > SHOWN_BYTES_MAX { "..." } else { "" };
    let token = String::from_utf8_lossy(&token[..token.len().min(SHOWN_BYTES_MAX)]);
    if message.starts_with("number out of range") {
        return format!(
            "{token}{more} is beyond what its floating point type holds, at line {line} column {column}"
        );
    }
    match error.classify() {
        serde_json::error::Category::Syntax if !token.trim().is_empty() => {
            format!("not JSON: {message}, at \"{token}{more}\"")
        }
        serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
            format!("not JSON: {message}")
        }
        serde_json::error::Category::Data | serde_json::error::Category::Io => message,
    }
}

/// The message, with what the field at `path` takes in the place of the type that holds it.
fn in_words(message: String, path: &str) -> String {
    let Some((before, expected)) = message.rsplit_once(", expected ") else { return message };
    let (kind, rest) = expected.split_at(expected.find(' ').unwrap_or(expected.len()));
    let wanted = match (kind, path.rsplit('.').next().unwrap_or_default()) {
        ("usize", "limit") => "a whole number within 1 and 1000",
        ("usize", "dimensions") => "a whole number within 1 and 4096",
        ("usize" | "u64", _) => "a whole number, 0 or more",
        ("f32", "confidence" | "min_relevance") => "a number within 0 and 1",
        ("f32" | "f64", "weight" | "activation") => "a number above 0 and at most 1",
        ("f32" | "f64", _) => "a number",
        _ => return message,
    };
    format!("{before}, expected {wanted}{rest}")
}

/// Makes request types readable from JSON objects alone: serde's derive takes arrays too, by position.
macro_rules! objects {
    ($($type:ident: $what:literal,)*) => { $(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                struct Object;
                impl<'de> Visitor<'de> for Object {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($what)
                    }
                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<$type, A::Error> {
                        $type::deserialize(MapAccessDeserializer::new(map))
                    }
                }
                deserializer.deserialize_map(Object)
            }
        }
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                $type::serialize(self, serializer)
            }
        }
    )* };
}

mod backup;
mod complete;
mod consolidate;
mod embedding;
mod filter;
mod memory;
mod recall;
mod reinforce;
mod space;

pub use backup::*;
pub use complete::*;
pub use consolidate::*;
pub(crate) use embedding::numbers_of;
pub use embedding::{EmbeddingOut, WithEmbedding};
pub use filter::*;
pub use memory::*;
pub use recall::*;
pub use reinforce::*;
pub use space::*;

/// An instant, RFC 3339 on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&clock::format_rfc3339(self.0))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Time;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time as RFC 3339, such as \"2026-03-01T09:30:00Z\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> std::result::Result<Time, E> {
                clock::parse_rfc3339(text).map(Time).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Checks and takes an id.
pub(crate) fn memory_id(text: &str) -> Result<MemoryId> {
    MemoryId::new(text).map_err(|error| ApiError::invalid(error.to_string()))
}

/// The same, of many.
pub(crate) fn memory_ids(ids: Option<Vec<String>>) -> Result<Vec<MemoryId>> {
    ids.unwrap_or_default().iter().map(|id| memory_id(id)).collect()
}

/// A value for an error message, so that a large one does not fill it.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
