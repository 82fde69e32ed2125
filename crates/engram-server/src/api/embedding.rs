//! Embeddings on the wire: an array of numbers, or a text of base64 that holds them as little-endian 32-bit floats,
//! which is a third of the size and a tenth of the work. As body or as base64, the bytes are the same.

use super::shortened;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{DecodeError, Engine};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;

/// Padding is written, and not missed in what others write.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Bytes of a number.
const NUMBER_BYTES: usize = size_of::<f32>();

/// The numbers that `bytes` hold. Fails where they are no whole count of them.
pub(crate) fn numbers_of(bytes: &[u8]) -> Result<Vec<f32>, String> {
    match bytes.as_chunks::<NUMBER_BYTES>() {
        (numbers, []) => Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
        _ => Err(format!(
            "{} bytes are no whole count of 32-bit floats; send 4 bytes for each number, the lowest first",
            bytes.len()
        )),
    }
}

/// A vector of `T`, in either shape.
struct Numbers<T>(Vec<T>);

impl<'de, T: Deserialize<'de> + From<f32>> Deserialize<'de> for Numbers<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + From<f32>> Visitor<'de> for Either<T> {
            type Value = Numbers<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of numbers, or base64 of little-endian 32-bit floats")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Numbers<T>, A::Error> {
                let mut numbers = Vec::new();
                while let Some(number) = items.next_element()? {
                    numbers.push(number);
                }
                Ok(Numbers(numbers))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Numbers<T>, E> {
                let fault = |why: String| {
                    let shown = shortened(text);
                    E::custom(format_args!("\"{shown}\" is no base64 of little-endian 32-bit floats: {why}"))
                };
                let bytes = BASE64.decode(text).map_err(|error| fault(in_words(error, text)))?;
                Ok(Numbers(numbers_of(&bytes).map_err(fault)?.into_iter().map(T::from).collect()))
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

fn in_words(error: DecodeError, text: &str) -> String {
    match error {
        DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol { offset: at, .. } => {
            let found = text.get(at..).and_then(|rest| rest.chars().next()).unwrap_or_default();
            format!("it cannot have {found:?} at {at}")
        }
        DecodeError::InvalidLength(length) => format!("it cannot have {length} characters"),
        other => other.to_string(),
    }
}

/// For `deserialize_with`: a field that may be absent or null.
pub(super) fn embedding<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<f32>>, D::Error> {
    Ok(Option::<Numbers<f32>>::deserialize(deserializer)?.map(|numbers| numbers.0))
}

/// A vector with gaps; null as a whole.
type Gaps = Option<Vec<Option<f32>>>;

/// For `deserialize_with`: a field that is there, with gaps or null.
pub(super) fn embedding_gap<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Gaps>, D::Error> {
    Ok(Some(Option::<Numbers<Option<f32>>>::deserialize(deserializer)?.map(|numbers| numbers.0)))
}

/// The embedding of a reply, in the shape that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum EmbeddingOut {
    /// As an array.
    Numbers(Vec<f32>),
    /// As a text.
    Base64(Vec<f32>),
}

impl EmbeddingOut {
    /// The numbers, whatever the shape.
    pub fn into_numbers(self) -> Vec<f32> {
        match self {
            EmbeddingOut::Numbers(numbers) | EmbeddingOut::Base64(numbers) => numbers,
        }
    }
}

impl Serialize for EmbeddingOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            EmbeddingOut::Numbers(numbers) => numbers.serialize(serializer),
            EmbeddingOut::Base64(numbers) => {
                let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
                serializer.serialize_str(&BASE64.encode(bytes))
            }
        }
    }
}

/// For clients, to whom the shape is all one.
impl<'de> Deserialize<'de> for EmbeddingOut {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Numbers::deserialize(deserializer).map(|numbers| EmbeddingOut::Numbers(numbers.0))
    }
}

/// Whether a reply gives embeddings, and in which shape: `true`, `false` or `"base64"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WithEmbedding {
    /// It does not.
    #[default]
    No,
    /// As arrays of numbers.
    Numbers,
    /// As base64 of little-endian 32-bit floats.
    Base64,
}

impl WithEmbedding {
    /// Whether it does not; for leaving the field out.
    pub(super) fn is_no(&self) -> bool {
        *self == WithEmbedding::No
    }

    /// The embedding, if it is wanted.
    pub(super) fn shape(self, embedding: Option<Vec<f32>>) -> Option<EmbeddingOut> {
        match self {
            WithEmbedding::No => None,
            WithEmbedding::Numbers => embedding.map(EmbeddingOut::Numbers),
            WithEmbedding::Base64 => embedding.map(EmbeddingOut::Base64),
        }
    }
}

impl Serialize for WithEmbedding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            WithEmbedding::No => serializer.serialize_bool(false),
            WithEmbedding::Numbers => serializer.serialize_bool(true),
            WithEmbedding::Base64 => serializer.serialize_str("base64"),
        }
    }
}

impl<'de> Deserialize<'de> for WithEmbedding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;
        impl Visitor<'_> for Choice {
            type Value = WithEmbedding;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or \"base64\"")
            }
            fn visit_bool<E>(self, wanted: bool) -> Result<WithEmbedding, E> {
                Ok(if wanted { WithEmbedding::Numbers } else { WithEmbedding::No })
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<WithEmbedding, E> {
                match text {
                    "base64" => Ok(WithEmbedding::Base64),
                    _ => Err(E::invalid_value(de::Unexpected::Str(&shortened(text)), &self)),
                }
            }
        }
        deserializer.deserialize_any(Choice)
    }
}

/// For `deserialize_with`: the same in a query string, where all is text.
pub(super) fn with_embedding_text<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<WithEmbedding, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "true" => Ok(WithEmbedding::Numbers),
        "false" => Ok(WithEmbedding::No),
        "base64" => Ok(WithEmbedding::Base64),
        _ => Err(de::Error::custom(format_args!(
            "found {:?}, expected true, false or base64",
            shortened(&text)
        ))),
    }
}
