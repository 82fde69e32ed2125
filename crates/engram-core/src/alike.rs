//! Which texts say the same? Those of the same words in the same order, whatever their case, punctuation and spacing;
//! and longer ones of which one leaves out, in the same order, at most a word in ten of the other's, if none of these is
//! a number, a negation or a name: a meeting at 5 is not the one at 6. Where words are exchanged, even few, mostly facts
//! are. Symbols such as `+`, `$` and emoji are words.

use rustc_hash::{FxBuildHasher, FxHashMap};
use std::hash::BuildHasher;

/// Share of the different words of a text that one which says the same has, too, while it has no others. That is
/// Jaccard's index of the two.
const SHARED_MIN: f64 = 0.9;
/// Texts that are compared for one word that they have in common, the best ranked: bounds the work.
const COMPARED_MAX: usize = 32;
/// Words that turn a text into its opposite; apostrophes are left out.
const NEGATIONS: &[&str] = &[
    "aint", "arent", "cannot", "cant", "couldnt", "didnt", "doesnt", "dont", "hadnt", "hasnt", "havent",
    "isnt", "mustnt", "neither", "never", "no", "nobody", "none", "nor", "not", "nothing", "shouldnt",
    "wasnt", "werent", "without", "wont", "wouldnt",
];
/// Numbers in words, beside those in digits.
const NUMBERS: &[&str] = &[
    "eight",
    "eighteen",
    "eighty",
    "eleven",
    "fifteen",
    "fifty",
    "first",
    "five",
    "forty",
    "four",
    "fourteen",
    "hundred",
    "million",
    "nine",
    "nineteen",
    "ninety",
    "one",
    "second",
    "seven",
    "seventeen",
    "seventy",
    "six",
    "sixteen",
    "sixty",
    "ten",
    "third",
    "thirteen",
    "thirty",
    "thousand",
    "three",
    "twelve",
    "twenty",
    "two",
    "zero",
];

/// Texts by what they say; each has a place. Reuse it to spare allocations.
#[derive(Debug, Default)]
pub(crate) struct Alike {
    /// Of the first `taken`; beyond them, room for more.
    texts: Vec<Sketch>,
    taken: usize,
    /// By the hash of all words.
    by_words: FxHashMap<u64, usize>,
    /// By each of the few words of which a text that says the same has one, too: the first and the last of `texts_with`.
    by_word: FxHashMap<u64, [usize; 2]>,
    /// A text with a word, and the next such.
    texts_with: Vec<(usize, Option<usize>)>,
}

/// A text with its words, as hashes.
#[derive(Debug, Default)]
struct Sketch {
    place: usize,
    /// In order.
    words: Vec<u64>,
    /// Each once, ordered.
    set: Vec<u64>,
}

impl Alike {
    /// Forgets all texts.
    pub(crate) fn clear(&mut self) {
        self.taken = 0;
        self.by_words.clear();
        self.by_word.clear();
        self.texts_with.clear();
    }

    /// The place of the first text that says the same as this one. Where there is none, it takes `place`. `text_at` gives
    /// the text at a place. Costs some microseconds for a hundred words.
    pub(crate) fn find_or_take<'a>(
        &mut self,
        text: &'a str,
        place: usize,
        text_at: impl Fn(usize) -> &'a str,
    ) -> Option<usize> {
        if self.texts.len() == self.taken {
            self.texts.push(Sketch::default());
        }
        self.texts[self.taken].read(text, place);
        let (texts, new) = self.texts.split_at(self.taken);
        let sketch = &new[0];
        let all_words = FxBuildHasher.hash_one(&sketch.words);
        let same = self.by_words.get(&all_words).map(|at| &texts[*at]);
        let same = same.filter(|other| other.words == sketch.words);
        if let Some(found) = same.or_else(|| self.find_near(texts, sketch, text, text_at)) {
            return Some(found.place);
        }
        for &word in sketch.telling() {
            let here = self.texts_with.len();
            self.texts_with.push((self.taken, None));
            let ends = self.by_word.entry(word).or_insert([here; 2]);
            if ends[1] != here {
                self.texts_with[ends[1]].1 = Some(here);
                ends[1] = here;
            }
        }
        self.by_words.insert(all_words, self.taken);
        self.taken += 1;
        None
    }

    fn find_near<'t, 'a>(
        &self,
        texts: &'t [Sketch],
        sketch: &Sketch,
        text: &'a str,
        text_at: impl Fn(usize) -> &'a str,
    ) -> Option<&'t Sketch> {
        let with_word = sketch.telling().iter().filter_map(|word| self.by_word.get(word));
        let near = with_word.flat_map(|ends| {
            let all = std::iter::successors(Some(ends[0]), |&at| self.texts_with[at].1);
            all.take(COMPARED_MAX).map(|at| &texts[self.texts_with[at].0])
        });
        near.filter(|other| sketch.is_near(text, other, text_at(other.place))).min_by_key(|other| other.place)
    }
}

impl Sketch {
    fn read(&mut self, text: &str, place: usize) {
        let Self { words, set, .. } = self;
        words.clear();
        for_each_word(text, |hash, _| words.push(hash));
        if words.is_empty() {
            // Nothing but punctuation: only the very same says the same.
            words.push(FxBuildHasher.hash_one(text));
        }
        set.clone_from(words);
        set.sort_unstable();
        set.dedup();
        self.place = place;
    }

    fn has(&self, word: u64) -> bool {
        self.set.binary_search(&word).is_ok()
    }

    /// The first words of the set, one of which every text that is near has among its own first: of two ordered sets
    /// that share enough, so much of the beginnings cannot all be missing (Chaudhuri, Ganti & Kaushik 2006).
    fn telling(&self) -> &[u64] {
        let shared_min = (self.set.len() as f64 * SHARED_MIN).ceil() as usize;
        &self.set[..self.set.len() - shared_min + 1]
    }

    /// Whether one is the other but for a few words that it leaves out.
    fn is_near(&self, text: &str, other: &Self, other_text: &str) -> bool {
        if self.set.len() > other.set.len() {
            return other.is_near(other_text, self, text);
        }
        let leaves_out_little = self.set.len() as f64 >= SHARED_MIN * other.set.len() as f64
            && self.set.iter().all(|word| other.has(*word))
            && other.words.iter().filter(|word| self.has(**word)).eq(&self.words);
        leaves_out_little && {
            let mut leaves_out_nothing_that_matters = true;
            for_each_word(other_text, |hash, word| {
                leaves_out_nothing_that_matters &= self.has(hash) || !matters(word);
            });
            leaves_out_nothing_that_matters
        }
    }
}

/// Gives each word with a hash of its letters in lower case. Apostrophes do not divide words, and do not count.
fn for_each_word<'a>(text: &'a str, mut give: impl FnMut(u64, &'a str)) {
    let (mut hash, mut start) = (0, None);
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let add =
            |hash: u64, c: char| (hash.rotate_left(5) ^ u64::from(c)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let is_next_digit = || text.as_bytes().get(at + c.len_utf8()).is_some_and(u8::is_ascii_digit);
        let is_in_number = || match c {
            '-' => before.is_whitespace() && is_next_digit(),
            '.' | ',' | ':' => before.is_ascii_digit() && is_next_digit(),
            _ => false,
        };
        if c.is_ascii_alphanumeric() || !is_punctuation(c) || is_in_number() {
            start = start.or(Some(at));
            if c.is_ascii() {
                hash = add(hash, c.to_ascii_lowercase());
            } else {
                hash = c.to_lowercase().fold(hash, add);
            }
        } else if !matches!(c, '\'' | '’')
            && let Some(start) = start.take()
        {
            give(std::mem::take(&mut hash), &text[start..at]);
        }
        before = c;
    }
    if let Some(start) = start {
        give(hash, &text[start..]);
    }
}

/// Whether a text without this word says something else: it is a number, a negation or a name.
fn matters(word: &str) -> bool {
    let lower: String = word.to_lowercase().chars().filter(|c| !matches!(c, '\'' | '’')).collect();
    word.starts_with(char::is_uppercase)
        || word.bytes().any(|b| b.is_ascii_digit())
        || NUMBERS.contains(&lower.as_str())
        || NEGATIONS.contains(&lower.as_str())
}

/// What may differ between texts that say the same. Other signs carry meaning: C++, $5, 👍.
fn is_punctuation(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_whitespace() || (c.is_ascii_punctuation() && !"#$%&*+/<=>@\\^".contains(c));
    }
    c.is_whitespace() || "´…–—‘’‚“”„«»‹›¿¡。、，！？：；・".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says_the_same(one: &str, other: &str) -> bool {
        let mut alike = Alike::default();
        let text_at = |place: usize| if place == 7 { one } else { other };
        assert_eq!(alike.find_or_take(one, 7, text_at), None);
        alike.find_or_take(other, 8, text_at) == Some(7)
    }

    const LONG: &str =
        "the river rose in the night and we carried all our books up to the attic before it came in";

    #[test]
    fn what_says_the_same_is_found() {
        let near = LONG.replace("all our", "our");
        for (one, other) in [
            ("It rained", "It rained"),
            ("It rained.", "it  RAINED!"),
            ("Don't go; it's late", "dont go - its late"),
            ("Ada: well-known", "ada, well known"),
            ("Größe", "GRÖSSE".to_lowercase().replace("ss", "ß").as_str()),
            (LONG, &near),
            (&near, LONG),
        ] {
            assert!(says_the_same(one, other), "{one} / {other}");
        }
    }

    #[test]
    fn what_differs_in_what_matters_is_not() {
        let at = |word: &str| LONG.replace("night", word);
        for (one, other) in [
            ("the meeting is at 5", "the meeting is at 6"),
            ("it costs 3.5", "it costs 35"),
            ("-5 degrees", "5 degrees"),
            ("I like C++", "I like C"),
            ("good 👍", "good 👎"),
            ("it is rain", "it is not rain"),
            ("the dog bit the man", "the man bit the dog"),
            ("a small dog", "a small cat"),
            ("Ada: it rained", "Bob: it rained"),
            ("!!!", "???"),
            (LONG, &LONG.replace("we carried", "we never carried")),
            (LONG, &LONG.replace("we carried", "we didn't carried")),
            (LONG, &LONG.replace("all our", "12")),
            (&at("night of 5"), &at("night of 6")),
            (&at("tenth"), &at("night of six")),
            (&format!("Ada: {LONG}"), &format!("Bob: {LONG}")),
            (
                LONG,
                "the night rose in the river and we carried all our books up to the attic before it came in",
            ),
            (LONG, &LONG.replace("books", "papers")),
            (LONG, &LONG[..LONG.len() / 2]),
        ] {
            assert!(!says_the_same(one, other), "{one} / {other}");
        }
    }

    /// The shortcut over a few words finds what comparing all with all finds.
    #[test]
    fn nothing_near_is_overlooked() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..1000 {
            let words: Vec<String> =
                (0..random.usize(5..60)).map(|n| format!("w{}", "x".repeat(n))).collect();
            let mut other = words.clone();
            for _ in 0..random.usize(0..4) {
                let at = random.usize(..other.len());
                if random.bool() {
                    other.remove(at);
                } else {
                    other[at] = format!("y{}", "x".repeat(at));
                }
            }
            let (one, other) = (words.join(" "), other.join(" "));
            let (mut a, mut b) = (Sketch::default(), Sketch::default());
            a.read(&one, 0);
            b.read(&other, 1);
            let near = a.is_near(&one, &b, &other);
            assert_eq!(says_the_same(&one, &other), near || one == other, "{one} / {other}");
        }
    }
}
