//! Reads well-formed JSON fast: numbers of an embedding go from the text into its vector in one step.
//! It explains nothing. Whatever it stumbles over is read again by serde_json, which alone decides what is refused, and
//! in which words; a test holds that the two never differ in what they take. Of 768 numbers in 9.4 KB the cost is 8
//! microseconds, where serde_json takes 20 and 26 while it keeps track of paths for errors (bench/README.md).

use serde::Deserializer;
use serde::de::value::BorrowedStrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use std::fmt;

/// Deeper values are left to serde_json, which has a bound of its own.
const DEPTH_MAX: usize = 64;
/// Digits that a `u64` surely holds.
const DIGITS_MAX: usize = 19;
/// The powers of ten that a `f64` holds exactly.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// The value that `json` holds, and nothing else; `None` where serde_json shall say.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
    let mut reader = Reader { text: std::str::from_utf8(json).ok()?, at: 0, depth: 0 };
    let value = T::deserialize(&mut reader).ok()?;
    reader.skip_whitespace();
    (reader.at == json.len()).then_some(value)
}

/// Something is not as expected; what, is serde_json's to say.
#[derive(Debug)]
struct Stuck;

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not read")
    }
}

impl std::error::Error for Stuck {}

impl de::Error for Stuck {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Stuck
    }
}

type Result<T> = std::result::Result<T, Stuck>;

struct Reader<'de> {
    text: &'de str,
    at: usize,
    depth: usize,
}

impl<'de> Reader<'de> {
    fn bytes(&self) -> &'de [u8] {
        self.text.as_bytes()
    }

    #[inline]
    fn skip_whitespace(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes().get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is no whitespace, which stays.
    #[inline]
    fn peek(&mut self) -> Result<u8> {
        self.skip_whitespace();
        self.bytes().get(self.at).copied().ok_or(Stuck)
    }

    /// Passes over `wanted`.
    fn take(&mut self, wanted: &str) -> Result<()> {
        let is_there = self.bytes()[self.at..].starts_with(wanted.as_bytes());
        self.at += wanted.len();
        if is_there { Ok(()) } else { Err(Stuck) }
    }

    /// Passes over a number; where its digits, its fraction and its exponent begin is for the caller to see.
    #[inline]
    fn number(&mut self) -> Result<Number<'de>> {
        self.skip_whitespace();
        let number = Number::first(&self.text[self.at..]).ok_or(Stuck)?;
        self.at += number.text.len();
        Ok(number)
    }

    /// Reads a string, whose opening quote is next.
    fn string<V: Visitor<'de>>(&mut self, visitor: V) -> Result<V::Value> {
        let start = self.at + 1;
        let mut at = start;
        loop {
            match self.bytes().get(at).ok_or(Stuck)? {
                b'"' => break,
                b'\\' => return self.escaped(at, visitor),
                0..0x20 => return Err(Stuck),
                _ => at += 1,
            }
        }
        self.at = at + 1;
        visitor.visit_borrowed_str(&self.text[start..at])
    }

    /// Reads a string that has a backslash at `at`, and none before.
    fn escaped<V: Visitor<'de>>(&mut self, mut at: usize, visitor: V) -> Result<V::Value> {
        let start = self.at;
        loop {
            match self.bytes().get(at).ok_or(Stuck)? {
                b'"' => break,
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        visitor.visit_string(serde_json::from_str(&self.text[start..=at]).map_err(|_| Stuck)?)
    }

    fn within<T>(&mut self, read: impl FnOnce(Items<'_, 'de>) -> Result<T>, end: u8) -> Result<T> {
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Stuck);
        }
        let value = read(Items { reader: self, is_first: true, end })?;
        self.depth -= 1;
        // What the visitor left over.
        if self.peek()? != end {
            return Err(Stuck);
        }
        self.at += 1;
        Ok(value)
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Stuck;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek()? {
            b'"' => self.string(visitor),
            b'{' => self.within(|items| visitor.visit_map(items), b'}'),
            b'[' => self.within(|items| visitor.visit_seq(items), b']'),
            b'n' => self.take("null").and_then(|()| visitor.visit_unit()),
            b't' => self.take("true").and_then(|()| visitor.visit_bool(true)),
            b'f' => self.take("false").and_then(|()| visitor.visit_bool(false)),
            _ => {
                let number = self.number()?;
                match (number.is_whole, number.is_negative) {
                    (true, false) if let Ok(whole) = number.text.parse() => visitor.visit_u64(whole),
                    (true, true) if let Ok(whole @ ..0) = number.text.parse() => visitor.visit_i64(whole),
                    _ => visitor.visit_f64(
                        number.text.parse().ok().filter(|value: &f64| value.is_finite()).ok_or(Stuck)?,
                    ),
                }
            }
        }
    }

    #[inline]
    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        visitor.visit_f32(self.number()?.to_f32().ok_or(Stuck)?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value> {
        match self.peek()? {
            b'n' => self.take("null").and_then(|()| visitor.visit_none()),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// An enum whose variants hold nothing, which is a string.
impl<'de> EnumAccess<'de> for &mut Reader<'de> {
    type Error = Stuck;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self)> {
        match self.peek()? {
            b'"' => Ok((seed.deserialize(&mut *self)?, self)),
            _ => Err(Stuck),
        }
    }
}

impl<'de> VariantAccess<'de> for &mut Reader<'de> {
    type Error = Stuck;

    fn unit_variant(self) -> Result<()> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, _: T) -> Result<T::Value> {
        Err(Stuck)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value> {
        Err(Stuck)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value> {
        Err(Stuck)
    }
}

/// The items of an array, or the fields of an object.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    is_first: bool,
    end: u8,
}

impl Items<'_, '_> {
    /// Whether there is one more, to which the reader goes.
    #[inline]
    fn has_more(&mut self) -> Result<bool> {
        match self.reader.peek()? {
            byte if byte == self.end => return Ok(false),
            b',' if !self.is_first => self.reader.at += 1,
            _ if self.is_first => {}
            _ => return Err(Stuck),
        }
        self.is_first = false;
        Ok(true)
    }
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Stuck;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>> {
        if self.has_more()? { seed.deserialize(&mut *self.reader).map(Some) } else { Ok(None) }
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Stuck;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>> {
        if !self.has_more()? {
            return Ok(None);
        }
        match self.reader.peek()? {
            b'"' => self.reader.string(Key(seed)).map(Some),
            _ => Err(Stuck),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value> {
        match self.reader.peek()? {
            b':' => self.reader.at += 1,
            _ => return Err(Stuck),
        }
        seed.deserialize(&mut *self.reader)
    }
}

/// Gives a key to whoever asks for it, as a text alone.
struct Key<K>(K);

impl<'de, K: DeserializeSeed<'de>> Visitor<'de> for Key<K> {
    type Value = K::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: de::Error>(self, key: &'de str) -> std::result::Result<K::Value, E> {
        self.0.deserialize(BorrowedStrDeserializer::new(key))
    }

    fn visit_str<E: de::Error>(self, key: &str) -> std::result::Result<K::Value, E> {
        self.0.deserialize(de::value::StrDeserializer::new(key))
    }
}

/// A number as it stands in the text, and what it is made of.
struct Number<'a> {
    text: &'a str,
    is_negative: bool,
    is_whole: bool,
    /// The digits as one number, where there are `DIGITS_MAX` at most.
    digits: u64,
    digits_count: usize,
    /// The power of ten that `digits` is to be multiplied with.
    exponent: i32,
}

impl<'a> Number<'a> {
    /// The number that `text` begins with, if it does, in JSON's grammar.
    #[inline]
    fn first(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let is_negative = *bytes.first()? == b'-';
        let start = usize::from(is_negative);
        let mut digits = 0;
        let mut at = few_digits_from(bytes, start, &mut digits);
        if at == start || (bytes[start] == b'0' && at > start + 1) {
            return None;
        }
        // A lone 0 before the point is none of the digits that count.
        let (mut digits_count, mut exponent) = (at - start - usize::from(digits == 0), 0);
        let whole_end = at;
        if bytes.get(at) == Some(&b'.') {
            let fraction = at + 1;
            at = many_digits_from(bytes, fraction, &mut digits);
            if at == fraction {
                return None;
            }
            digits_count += at - fraction;
            exponent = -i32::try_from(at - fraction).ok()?;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            let sign = bytes.get(at + 1);
            let start = at + 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
            let mut power = 0;
            at = few_digits_from(bytes, start, &mut power);
            if at == start || at - start > DIGITS_MAX {
                return None;
            }
            let power = i32::try_from(power).ok()?;
            exponent = exponent.checked_add(if sign == Some(&b'-') { -power } else { power })?;
        }
        let text = &text[..at];
        Some(Number { text, is_negative, is_whole: at == whole_end, digits, digits_count, exponent })
    }

    /// The nearest `f32`, as the standard library has it.
    #[inline]
    fn to_f32(&self) -> Option<f32> {
        let power = POWERS_OF_TEN.get(self.exponent.unsigned_abs() as usize);
        if let (Some(power), 0..=DIGITS_MAX) = (power, self.digits_count) {
            let value = self.digits as f64;
            // Rounded twice, so within two steps of a `f64` of what is written.
            let value = if self.exponent < 0 { value / power } else { value * power };
            // Of a step of `f32`, `f64` has 2^29 between, and only what is near the middle could go either way.
            let beyond = value.to_bits() & ((1 << 29) - 1);
            let is_decided = beyond.abs_diff(1 << 28) > 4 && (1e-37..3e38).contains(&value);
            if is_decided || self.digits == 0 {
                let value = value as f32;
                return Some(if self.is_negative { -value } else { value });
            }
        }
        self.text.parse().ok().filter(|value: &f32| value.is_finite())
    }
}

/// Appends the digits from `at` on to `digits`, and says where they end.
#[inline]
fn few_digits_from(bytes: &[u8], mut at: usize, digits: &mut u64) -> usize {
    while let Some(digit @ b'0'..=b'9') = bytes.get(at) {
        *digits = digits.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
        at += 1;
    }
    at
}

/// The same, faster from eight digits on.
#[inline]
fn many_digits_from(bytes: &[u8], mut at: usize, digits: &mut u64) -> usize {
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>)
        && let Some(value) = eight_digits(u64::from_le_bytes(*eight))
    {
        *digits = digits.wrapping_mul(100_000_000).wrapping_add(value);
        at += 8;
    }
    few_digits_from(bytes, at, digits)
}

/// The number that eight ASCII digits write, the first in the lowest byte; all at once, by Lemire and Muła's way.
#[inline]
fn eight_digits(text: u64) -> Option<u64> {
    const HIGH: u64 = 0xF0F0_F0F0_F0F0_F0F0;
    let over_nine = text.wrapping_add(0x0606_0606_0606_0606);
    if text & HIGH != 0x3030_3030_3030_3030 || over_nine & HIGH != 0x3030_3030_3030_3030 {
        return None;
    }
    let ones = text - 0x3030_3030_3030_3030;
    let pairs = ones * 10 + (ones >> 8);
    let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    Some(low.wrapping_add(high) >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{CompleteIn, CueIn, SpaceSettingsIn, StoreIn, Time};
    use serde_json::Value;
    use std::collections::BTreeMap;

    /// SplitMix64: seeded, so that a failure can be repeated.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        }

        fn below(&mut self, end: usize) -> usize {
            (self.next() % end as u64) as usize
        }
    }

    /// As serde_json reads it, which has the last word.
    fn expected<T: DeserializeOwned>(json: &[u8]) -> Option<T> {
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let value = T::deserialize(&mut deserializer).ok()?;
        deserializer.end().ok().map(|()| value)
    }

    /// Holds that the two agree, but that this reader may leave something to the other. Whether it did read.
    fn agrees<T: DeserializeOwned + fmt::Debug>(json: &[u8]) -> bool {
        // By their texts, in which -0 is not 0.
        let read = read::<T>(json).map(|value| format!("{value:?}"));
        if read.is_some() {
            let expected = expected::<T>(json).map(|value| format!("{value:?}"));
            assert_eq!(read, expected, "{}", String::from_utf8_lossy(json));
        }
        read.is_some()
    }

    fn agrees_on_all(json: &[u8]) -> bool {
        let read = [
            agrees::<Value>(json),
            agrees::<CueIn>(json),
            agrees::<StoreIn>(json),
            agrees::<CompleteIn>(json),
            agrees::<SpaceSettingsIn>(json),
            agrees::<Vec<f32>>(json),
            agrees::<Vec<(u8, Option<f64>, Time)>>(json),
            agrees::<BTreeMap<String, Option<de::IgnoredAny>>>(json),
        ];
        read.contains(&true)
    }

    const TEXTS: &[&str] = &[
        r#"{"text": "r\u00e4in \"\\ud83d\\ude00\" é", "embedding": [0.1, -2e-3, 7], "ids": ["a", "b"], "limit": 3}"#,
        r#"{"filter":{"must":[{"field":"metadata.a.b","in":[1,-2,3.5,null,"x",{"y":[]}]},{"field":"kind","equals":null}]},"exact":true,"explain":false,"min_relevance":0.25,"now":"2026-03-01T09:30:00Z","budget":0}"#,
        r#"{"memories":[{"id":"a","content":"rain","embedding":[1,2.5,-3E2],"metadata":{"n":18446744073709551615,"m":-9223372036854775808,"z":-0,"f":1e300},"kind":"concept","links":[{"to":"b","kind":"next"}]},{}],"replace":true}"#,
        r#"{"content":null,"embedding":[0.5,null,-0.0],"metadata":{"a":null},"kind":"episode","beta":64}"#,
        r#"{"embedder":{"provider":"caller","dimensions":768},"decay":"actr","memories_max":10,"forget_below":0.1}"#,
        "\t[1.5, -0, 0.000000119, 123456789012345678901234567890, 1e-45, 3.4028235e38, 16777217]\r\n",
        r#"[[1, null, "2026-03-01T09:30:00Z"], [2, 1e-7, "2026-03-01T09:30:00Z"]]"#,
        r#""lone""#,
        "-12.25e+3",
        "null",
    ];

    #[test]
    fn what_is_well_formed_is_read_and_all_else_is_left_to_serde_json() {
        for text in TEXTS {
            assert!(agrees_on_all(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "[,1]",
            "[1 2]",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\" 1}",
            "{1:2}",
            "[1]]",
            "nul",
            "truefalse",
            "01",
            "1.",
            ".5",
            "-",
            "+1",
            "1e",
            "1e+",
            "1e400",
            "\"a",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\n\"",
            "\u{feff}1",
            "NaN",
            "[1]x",
        ] {
            assert!(!agrees_on_all(text.as_bytes()), "{text}");
        }
        assert!(!agrees_on_all(b"\"\xff\""));
        assert!(read::<Vec<f32>>(b"[1e39]").is_none());
        assert!(read::<CueIn>(br#"{"limit": 1, "limit": 2}"#).is_none());
        assert!(read::<CueIn>(br#"{"limits": 1}"#).is_none());
        let deep = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();
        assert!(agrees_on_all(deep(DEPTH_MAX).as_bytes()));
        assert!(!agrees_on_all(deep(100_000).as_bytes()));
    }

    #[test]
    fn texts_with_random_changes_are_read_as_serde_json_reads_them() {
        const SEED: u64 = 20_261_121;
        let mut random = Random(SEED);
        let mut read = 0;
        for _ in 0..40_000 {
            let mut json = TEXTS[random.below(TEXTS.len())].as_bytes().to_vec();
            for _ in 0..=random.below(3) {
                let at = random.below(json.len());
                match random.below(4) {
                    0 => json[at] = b"0123456789-+.eE\",:[]{} \\ntfu\x1f\xc3"[random.below(30)],
                    1 => drop(json.remove(at)),
                    2 => json.insert(at, json[random.below(json.len())]),
                    _ => json.truncate(at + 1),
                }
                if json.is_empty() {
                    break;
                }
            }
            read += usize::from(!json.is_empty() && agrees_on_all(&json));
        }
        assert!(read > 5_000, "seed {SEED}: {read}");
    }

    #[test]
    fn numbers_become_the_nearest_f32() {
        const SEED: u64 = 768;
        let mut random = Random(SEED);
        let check = |text: &str| {
            let wanted: f32 = text.parse().unwrap();
            let number = Number::first(text).unwrap();
            let found = number.to_f32();
            assert_eq!(
                found.map(f32::to_bits),
                wanted.is_finite().then(|| wanted.to_bits()),
                "seed {SEED}: {text}"
            );
        };
        for _ in 0..100_000 {
            let value = f32::from_bits(random.next() as u32);
            if !value.is_finite() {
                continue;
            }
            // As short as can be, as a client writes it that takes it for a f64, and in the middle of two.
            check(&format!("{value}"));
            check(&format!("{value:e}"));
            check(&format!("{}", f64::from(value)));
            let near = f64::from((value as f64 / 1e30) as f32);
            check(&format!("{near:.17e}"));
            let next = f32::from_bits(value.to_bits() ^ 1);
            if next.is_finite() {
                let middle = (f64::from(value) + f64::from(next)) / 2.0;
                check(&format!("{middle}"));
                check(&format!("{middle:.18e}"));
            }
            let small = (random.next() % 2_000_001) as f64 / 1e6 - 1.0;
            check(&format!("{small}"));
            check(&format!("{}.{}", random.next() % 1000, random.next()));
        }
    }
}
