//! What a text means, as a vector: the sum of the vectors of its words, scaled to length 1. English; no word order, no
//! negation. A pure function of the text and of a table inside the binary, which `tools/embedder/distill.py` has distilled
//! from all-MiniLM-L6-v2 and describes. The table is read when a text is first embedded.

use crate::vector::unit;
use rustc_hash::FxHashMap;
use std::sync::OnceLock;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::canonical_combining_class;

/// Which table: vectors of different versions do not compare.
pub const VERSION: u32 = 1;
/// Numbers a vector.
pub const DIMENSIONS: usize = 256;

/// Its layout is written down in `distill.py`, at `write`.
static TABLE: &[u8] = include_bytes!("embed/words.bin");
/// Longer words are no words; the table has none.
const WORD_BYTES_MAX: usize = 32;
/// Sums shorter than this are words that cancelled each other out.
const LENGTH_MIN: f32 = 1e-6;

/// The vector of a text, of length 1; none where the text has no word that is known, not even in pieces. Some
/// microseconds a sentence; the first call takes some milliseconds more.
pub fn embed(text: &str) -> Option<Vec<f32>> {
    let (mut sum, mut word) = (Vec::new(), String::new());
    add_up(text, &mut word, &mut sum).then(|| unit(&sum))
}

/// Leaves in `sum` a vector of the direction that `embed` gives; returns whether there is one. `word` is room to work in.
pub(crate) fn add_up(text: &str, word: &mut String, sum: &mut Vec<f32>) -> bool {
    static WORDS: OnceLock<Words> = OnceLock::new();
    let words = WORDS.get_or_init(Words::read);
    sum.clear();
    sum.resize(DIMENSIONS, 0.0);
    each_word(text, word, |word| words.add(word, sum));
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt();
    length > LENGTH_MIN
}

/// Runs of letters and digits, in lower case and without accents: what the table was made for.
fn each_word(text: &str, word: &mut String, mut take: impl FnMut(&str)) {
    word.clear();
    let mut push = |c: char| {
        if c.is_alphanumeric() {
            word.push(c);
        } else if !word.is_empty() {
            take(word);
            word.clear();
        }
    };
    if text.is_ascii() {
        text.chars().for_each(|c| push(c.to_ascii_lowercase()));
    } else {
        let bare = text.nfkd().filter(|c| canonical_combining_class(*c) == 0);
        bare.flat_map(char::to_lowercase).for_each(&mut push);
    }
    push(' ');
}

/// The table.
struct Words {
    /// Whole words, and the first pieces of others.
    whole: FxHashMap<&'static str, u32>,
    /// Pieces that go on with a word.
    further: FxHashMap<&'static str, u32>,
    /// What the first piece of a word that is not in the table counts for.
    opening: f32,
    /// By row.
    scales: Vec<f32>,
    /// Rows of four bits a number: byte i holds number i below and number i + DIMENSIONS / 2 above.
    codes: &'static [[u8; DIMENSIONS / 2]],
}

impl Words {
    fn read() -> Self {
        const WHOLE: &str = "the table is part of the program, and a test reads it";
        let mut rest = TABLE;
        let mut take = |bytes: usize| {
            let (taken, after) = rest.split_at_checked(bytes).expect(WHOLE);
            rest = after;
            taken
        };
        let four = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).expect("four were taken");
        assert_eq!(take(4), b"EGW1", "{WHOLE}");
        let [version, count, dimensions] = [(); 3].map(|()| u32::from_le_bytes(four(take(4))) as usize);
        assert_eq!((version, dimensions), (VERSION as usize, DIMENSIONS), "{WHOLE}");
        let opening = f32::from_le_bytes(four(take(4)));
        let (mut whole, mut further) = (FxHashMap::default(), FxHashMap::default());
        for (row, &bytes) in (0..).zip(take(count)) {
            let word = std::str::from_utf8(take(usize::from(bytes))).expect(WHOLE);
            match word.strip_prefix("##") {
                Some(piece) => further.insert(piece, row),
                None => whole.insert(word, row),
            };
        }
        let scales = take(4 * count).chunks_exact(4).map(|bytes| f32::from_le_bytes(four(bytes))).collect();
        let (codes, after) = take(count * DIMENSIONS / 2).as_chunks();
        assert!(after.is_empty() && rest.is_empty(), "{WHOLE}");
        Self { whole, further, opening, scales, codes }
    }

    /// Adds the vector of a word to `sum`; of a word that is not in the table, those of the longest pieces that make
    /// it up, from the left. A word that cannot be made up adds nothing.
    fn add(&self, word: &str, sum: &mut [f32]) {
        if let Some(&row) = self.whole.get(word) {
            return self.add_row(row, 1.0, sum);
        }
        // Only words of ASCII are in the table.
        if word.len() > WORD_BYTES_MAX || !word.is_ascii() {
            return;
        }
        let (mut pieces, mut count, mut at) = ([0; WORD_BYTES_MAX], 0, 0);
        while at < word.len() {
            let known = if at == 0 { &self.whole } else { &self.further };
            let longest =
                (at + 1..=word.len()).rev().find_map(|end| Some((*known.get(&word[at..end])?, end)));
            let Some((row, end)) = longest else { return };
            pieces[count] = row;
            (count, at) = (count + 1, end);
        }
        for (nth, &row) in pieces[..count].iter().enumerate() {
            self.add_row(row, if nth == 0 { self.opening } else { 1.0 }, sum);
        }
    }

    fn add_row(&self, row: u32, weight: f32, sum: &mut [f32]) {
        let weight = self.scales[row as usize] * weight;
        let (below, above) = sum.split_at_mut(DIMENSIONS / 2);
        for ((below, above), byte) in below.iter_mut().zip(above).zip(&self.codes[row as usize]) {
            *below += (f32::from(byte & 15) - 7.5) * weight;
            *above += (f32::from(byte >> 4) - 7.5) * weight;
        }
    }
}
