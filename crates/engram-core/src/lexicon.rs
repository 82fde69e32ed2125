//! Words: how text becomes terms, and which memories hold which terms. Scores are BM25 (Robertson & Zaragoza 2009).
//! Holds nothing of a memory that was removed: a term without postings is gone, too.

use crate::Slot;
use crate::by_name::ByName;
use rust_stemmers::{Algorithm, Stemmer};
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::sync::Arc;
use unicode_normalization::{UnicodeNormalization, is_nfc};
use unicode_segmentation::UnicodeSegmentation;

/// BM25's saturation of repeated terms. Lower than the usual 1.2: memories are short, and a word said twice in one says
/// little more.
pub const K1: f32 = 0.8;
/// BM25's correction for length. Lower than the usual .75: a longer turn is one that says more, not one that wanders.
pub const B: f32 = 0.4;

/// English words that say how, not what. They are left out of memories and cues alike.
const STOP_WORDS: &[&str] = &[
    "a", "about", "also", "an", "and", "any", "are", "as", "at", "be", "been", "being", "but", "by", "can",
    "could", "d", "did", "do", "does", "for", "from", "had", "has", "have", "he", "her", "here", "his",
    "how", "i", "if", "in", "into", "is", "it", "its", "just", "ll", "m", "many", "me", "more", "most",
    "much", "my", "no", "not", "of", "on", "or", "our", "out", "re", "s", "she", "should", "so", "some",
    "such", "t", "than", "that", "the", "their", "then", "there", "these", "they", "this", "those", "to",
    "too", "up", "ve", "very", "was", "we", "were", "what", "when", "where", "which", "who", "whom", "why",
    "will", "with", "would", "you", "your",
];

/// Which stemmer a space uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Language {
    /// By the script of each word: English for Latin letters, Russian for Cyrillic, Greek, Arabic, Tamil; others as
    /// they stand.
    #[default]
    Auto,
    /// No stemming and no stop words.
    None,
    /// One of the Snowball stemmers for every word.
    Fixed(Algorithm),
}

/// The Snowball languages by name.
const LANGUAGES: &[(&str, Algorithm)] = &[
    ("arabic", Algorithm::Arabic),
    ("danish", Algorithm::Danish),
    ("dutch", Algorithm::Dutch),
    ("english", Algorithm::English),
    ("finnish", Algorithm::Finnish),
    ("french", Algorithm::French),
    ("german", Algorithm::German),
    ("greek", Algorithm::Greek),
    ("hungarian", Algorithm::Hungarian),
    ("italian", Algorithm::Italian),
    ("norwegian", Algorithm::Norwegian),
    ("portuguese", Algorithm::Portuguese),
    ("romanian", Algorithm::Romanian),
    ("russian", Algorithm::Russian),
    ("spanish", Algorithm::Spanish),
    ("swedish", Algorithm::Swedish),
    ("tamil", Algorithm::Tamil),
    ("turkish", Algorithm::Turkish),
];

impl Language {
    /// By name: `auto`, `none`, or a Snowball language such as `english`.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "auto" => Some(Self::Auto),
            "none" => Some(Self::None),
            _ => LANGUAGES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, algorithm)| Self::Fixed(*algorithm)),
        }
    }

    /// The name that `parse` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Fixed(algorithm) => LANGUAGES
                .iter()
                .find(|(_, known)| *known == algorithm)
                .map(|(name, _)| *name)
                .expect("every algorithm that parse gives is in the table"),
        }
    }

    /// Every name that `parse` takes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ["auto", "none"].into_iter().chain(LANGUAGES.iter().map(|(name, _)| *name))
    }

    fn stemmer_of(self, word: &str) -> Option<Algorithm> {
        match self {
            Self::None => None,
            Self::Fixed(algorithm) => Some(algorithm),
            Self::Auto => match word.chars().find(|c| c.is_alphabetic())? {
                'a'..='z' | '\u{c0}'..='\u{24f}' => Some(Algorithm::English),
                '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => Some(Algorithm::Greek),
                '\u{400}'..='\u{52f}' => Some(Algorithm::Russian),
                '\u{600}'..='\u{6ff}' => Some(Algorithm::Arabic),
                '\u{b80}'..='\u{bff}' => Some(Algorithm::Tamil),
                _ => None,
            },
        }
    }

    fn stops(self, word: &str) -> bool {
        matches!(self, Self::Auto | Self::Fixed(Algorithm::English))
            && STOP_WORDS.binary_search(&word).is_ok()
    }
}

/// The terms of a text, in order, with repeats: Unicode words, in lower case, split at apostrophes and underscores,
/// without stop words, stemmed.
pub fn terms(text: &str, language: Language) -> Vec<Box<str>> {
    // Stemming a word takes longer than finding what it became the last time.
    thread_local!(static READ: RefCell<Terms> = RefCell::default());
    READ.with_borrow_mut(|read| {
        read.read(text, language);
        read.iter().map(Box::from).collect()
    })
}

/// The same letter may be written as one character or as two; here it is one, in lower case.
fn push_lower(text: &str, lower: &mut String) {
    if text.is_ascii() {
        let from = lower.len();
        lower.push_str(text);
        lower[from..].make_ascii_lowercase();
    } else if text.contains('Σ') {
        // Only a whole text tells whether it ends a word.
        lower.push_str(&text.nfc().collect::<String>().to_lowercase());
    } else if is_nfc(text) {
        lower.extend(text.chars().flat_map(char::to_lowercase));
    } else {
        lower.extend(text.nfc().flat_map(char::to_lowercase));
    }
}

/// Gives what terms are made of, with the stemmer for it.
fn each_part(lower: &str, language: Language, mut give: impl FnMut(&str, Option<Algorithm>)) {
    let parts =
        lower.unicode_words().flat_map(|word| word.split(['\'', '’', '_'])).filter(|part| !part.is_empty());
    parts.filter(|part| !language.stops(part)).for_each(|part| give(part, language.stemmer_of(part)));
}

/// Words whose stems are kept; then it begins anew.
const STEMS_MAX: usize = 8192;
/// Bytes of a word whose stem is kept: longer ones hardly come again.
const STEM_KEPT_BYTES: usize = 64;

/// The terms of one text at a time, as `terms` has them. Reuse it: it allocates for words only that it has not met, or
/// that are very long.
#[derive(Debug, Default)]
pub struct Terms {
    lower: String,
    /// One after the other, with a space between.
    joined: String,
    /// Where each begins and ends in `joined`.
    spans: Vec<(u32, u32)>,
    stems: FxHashMap<Box<str>, Box<str>>,
    language: Language,
}

impl Terms {
    /// Reads a text.
    pub fn read(&mut self, text: &str, language: Language) {
        let Self { lower, joined, spans, stems, language: known } = self;
        if *known != language || stems.len() >= STEMS_MAX {
            stems.clear();
        }
        *known = language;
        lower.clear();
        joined.clear();
        spans.clear();
        push_lower(text, lower);
        each_part(lower, language, |part, stemmer| {
            if !joined.is_empty() {
                joined.push(' ');
            }
            let from = joined.len() as u32;
            match stemmer {
                None => joined.push_str(part),
                Some(algorithm) => match stems.get(part) {
                    Some(stem) => joined.push_str(stem),
                    None => {
                        let stem = Stemmer::create(algorithm).stem(part);
                        joined.push_str(&stem);
                        if part.len() <= STEM_KEPT_BYTES {
                            stems.insert(part.into(), stem.into());
                        }
                    }
                },
            }
            spans.push((from, joined.len() as u32));
        });
    }

    /// How many there are, repeats included.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Some that follow one another, joined by spaces.
    pub fn run(&self, from: usize, count: usize) -> &str {
        &self.joined[self.spans[from].0 as usize..self.spans[from + count - 1].1 as usize]
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|at| self.run(at, 1))
    }
}

/// Terms with their counts, ordered by term.
pub fn counted(mut terms: Vec<Box<str>>) -> Vec<(Box<str>, u32)> {
    terms.sort_unstable();
    let mut counts: Vec<(Box<str>, u32)> = Vec::new();
    for term in terms {
        match counts.last_mut() {
            Some((last, count)) if *last == term => *count += 1,
            _ => counts.push((term, 1)),
        }
    }
    counts
}

/// One memory that holds a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting {
    /// The memory.
    pub slot: Slot,
    /// How often.
    pub count: u32,
}

/// Who holds a term: four bytes a memory, as nearly all hold it once.
#[derive(Debug, Clone, Default)]
pub struct Postings {
    /// Ordered.
    slots: Vec<Slot>,
    /// Those who hold it more than once, ordered by slot.
    repeats: Vec<Posting>,
}

/// Lists at least so long grow by an eighth of their length, not by all of it.
const GROWS_SLOWLY_FROM: usize = 64;

/// Slots that are looked for one by one from the one before on.
const NEAR: Slot = 8;

impl Postings {
    const NONE: &Self = &Self { slots: Vec::new(), repeats: Vec::new() };

    /// Memories that hold the term.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether nobody holds it.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Everyone who holds it, ordered by slot.
    pub fn iter(&self) -> impl Iterator<Item = Posting> {
        let mut repeats = self.repeats.iter().peekable();
        self.slots.iter().map(move |&slot| match repeats.next_if(|repeat| repeat.slot == slot) {
            Some(repeat) => *repeat,
            None => Posting { slot, count: 1 },
        })
    }

    /// How often the memory in `slot` holds it. Costs the logarithm of their number.
    pub fn count(&self, slot: Slot) -> u32 {
        self.slots.binary_search(&slot).map_or(0, |_| self.repeats_of(slot))
    }

    fn repeats_of(&self, slot: Slot) -> u32 {
        let repeat = self.repeats.binary_search_by_key(&slot, |repeat| repeat.slot);
        repeat.map_or(1, |at| self.repeats[at].count)
    }

    /// How often the memories in some slots hold it, together. Cheap where the slots lie side by side.
    pub fn count_all(&self, mut slots: [Option<Slot>; 3]) -> u32 {
        slots.sort_unstable();
        let (mut at, mut after, mut sum) = (0, None, 0);
        for slot in slots.into_iter().flatten() {
            at = match after {
                Some(before) if slot - before <= NEAR => {
                    at + self.slots[at..].iter().take_while(|&&held| held < slot).count()
                }
                _ => at + self.slots[at..].partition_point(|&held| held < slot),
            };
            after = Some(slot);
            if self.slots.get(at) == Some(&slot) {
                sum += self.repeats_of(slot);
            }
        }
        sum
    }

    fn insert(&mut self, posting: Posting) {
        let Self { slots, repeats } = self;
        if slots.len() == slots.capacity() && slots.len() >= GROWS_SLOWLY_FROM {
            slots.reserve_exact(slots.len() / 8);
        }
        // Nearly always at the end, which is known without looking at the rest.
        let is_last = slots.last().is_none_or(|&last| last < posting.slot);
        let at = if is_last { slots.len() } else { slots.partition_point(|&slot| slot < posting.slot) };
        slots.insert(at, posting.slot);
        if posting.count != 1 {
            repeats.insert(repeats.partition_point(|repeat| repeat.slot < posting.slot), posting);
        }
    }

    fn remove(&mut self, slot: Slot) {
        let at = self.slots.binary_search(&slot).expect("its terms were inserted with it");
        self.slots.remove(at);
        if let Ok(at) = self.repeats.binary_search_by_key(&slot, |repeat| repeat.slot) {
            self.repeats.remove(at);
        }
    }
}

/// Index of a term in the lexicon's arrays; reused after nobody holds it.
pub type TermId = u32;

/// The terms of a memory: their ids in order, each as what it is more than the one before, seven bits a byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TermList(Box<[u8]>);

impl TermList {
    fn new(mut ids: Vec<TermId>) -> Self {
        ids.sort_unstable();
        let (mut bytes, mut before) = (Vec::new(), 0);
        for id in ids {
            let mut more = id - before;
            while more >= 128 {
                bytes.push(more as u8 | 128);
                more >>= 7;
            }
            bytes.push(more as u8);
            before = id;
        }
        Self(bytes.into())
    }

    /// The ids, in order.
    pub fn iter(&self) -> impl Iterator<Item = TermId> {
        let (mut bytes, mut before) = (self.0.iter(), 0);
        std::iter::from_fn(move || {
            let (mut more, mut shift) = (0, 0);
            loop {
                let byte = *bytes.next()?;
                more |= TermId::from(byte & 127) << shift;
                shift += 7;
                if byte < 128 {
                    before += more;
                    return Some(before);
                }
            }
        })
    }
}

/// The inverted index.
#[derive(Debug, Clone, Default)]
pub struct Lexicon {
    ids: ByName,
    /// By id.
    names: Vec<Arc<str>>,
    /// By id.
    postings: Vec<Postings>,
    free: Vec<TermId>,
    lengths_sum: u64,
    memories: usize,
    /// Terms that nobody holds stay until `drop_bare`.
    keeps_bare: bool,
}

impl Lexicon {
    /// Adds the terms of the memory in `slot`, which holds none yet: each once, with how often. Returns how many they
    /// are, with repeats, and which.
    pub fn insert(&mut self, slot: Slot, counts: &[(TermId, u32)]) -> (u32, TermList) {
        let length = counts.iter().map(|(_, count)| count).sum::<u32>();
        self.lengths_sum += u64::from(length);
        self.memories += usize::from(length > 0);
        for &(id, count) in counts {
            self.postings[id as usize].insert(Posting { slot, count });
        }
        (length, TermList::new(counts.iter().map(|(id, _)| *id).collect()))
    }

    /// The id of a term, for a memory that is inserted next.
    pub fn id(&mut self, term: &str) -> TermId {
        match self.term(term) {
            Some(id) => id,
            None => self.add(term.into()),
        }
    }

    /// The id of a term, which stays its own until `drop_bare`, whoever holds it or does not.
    pub fn lasting_id(&mut self, term: Arc<str>) -> TermId {
        self.keeps_bare = true;
        match self.term(&term) {
            Some(id) => id,
            None => self.add(term),
        }
    }

    /// Drops the terms that nobody holds.
    pub fn drop_bare(&mut self) {
        if std::mem::take(&mut self.keeps_bare) {
            let bare = |id: &TermId| {
                let is_named = self.term(&self.names[*id as usize]) == Some(*id);
                is_named && self.postings[*id as usize].is_empty()
            };
            let bare: Vec<TermId> = (0..self.postings.len() as TermId).filter(bare).collect();
            bare.into_iter().for_each(|id| self.drop_term(id));
        }
    }

    fn drop_term(&mut self, id: TermId) {
        self.postings[id as usize] = Postings::default();
        self.ids.remove(&self.names[id as usize], id);
        self.free.push(id);
    }

    /// Takes the memory in `slot` out, which has these terms.
    pub fn remove(&mut self, slot: Slot, terms: &TermList) {
        let length = terms.iter().map(|id| self.postings(id).count(slot)).sum::<u32>();
        self.lengths_sum -= u64::from(length);
        self.memories -= usize::from(length > 0);
        for id in terms.iter() {
            let list = &mut self.postings[id as usize];
            list.remove(slot);
            if list.is_empty() && !self.keeps_bare {
                self.drop_term(id);
            }
        }
    }

    fn add(&mut self, name: Arc<str>) -> TermId {
        let id = self.free.pop().unwrap_or(self.postings.len() as TermId);
        if id as usize == self.postings.len() {
            self.postings.push(Postings::default());
            self.names.push(name.clone());
        }
        self.ids.insert(&name, id, |id| &self.names[id as usize]);
        self.names[id as usize] = name;
        id
    }

    /// The terms of these ids with their names and how often the memory in `slot` has them, ordered by id.
    pub fn counts(&self, slot: Slot, terms: &TermList) -> impl Iterator<Item = (TermId, &Arc<str>, u32)> {
        terms.iter().map(move |id| (id, &self.names[id as usize], self.postings(id).count(slot)))
    }

    /// The id of a term that memories hold.
    pub fn term(&self, term: &str) -> Option<TermId> {
        self.ids.get(term, |id| &self.names[id as usize])
    }

    /// Who holds the term of this id.
    pub fn postings(&self, id: TermId) -> &Postings {
        &self.postings[id as usize]
    }

    /// Who holds `term`.
    pub fn postings_of(&self, term: &str) -> &Postings {
        self.term(term).map_or(Postings::NONE, |id| self.postings(id))
    }

    /// Bytes that it takes, without what an allocator adds.
    pub fn bytes(&self) -> usize {
        let postings = |list: &Postings| {
            list.slots.capacity() * size_of::<Slot>() + list.repeats.capacity() * size_of::<Posting>()
        };
        let terms = self.ids.numbers().map(|id| self.names[id as usize].len()).sum::<usize>()
            + self.ids.bytes()
            + self.names.capacity() * size_of::<Arc<str>>();
        terms
            + self.postings.iter().map(postings).sum::<usize>()
            + self.postings.capacity() * size_of::<Postings>()
    }

    /// Mean length of the memories that have words; at least 1.
    pub fn length_mean(&self) -> f32 {
        (self.lengths_sum as f32 / self.memories.max(1) as f32).max(1.0)
    }

    /// Memories that have words.
    pub fn memories(&self) -> usize {
        self.memories
    }

    /// Different terms.
    pub fn terms(&self) -> usize {
        self.ids.len()
    }

    /// Every term with its postings, ordered by term: for comparing two lexicons.
    pub fn dump(&self) -> Vec<(&str, Vec<Posting>)> {
        let term = |id: TermId| (&*self.names[id as usize], self.postings(id).iter().collect());
        let mut all: Vec<_> = self.ids.numbers().map(term).collect();
        all.sort_unstable_by_key(|(term, _)| *term);
        all
    }
}

/// Weight, above 0, of a term that `holders` of `units` units hold. There are at least as many units as holders, even
/// where units without words were not counted.
pub fn idf(units: usize, holders: usize) -> f32 {
    let units = units.max(holders);
    (1.0 + (units as f32 - holders as f32 + 0.5) / (holders as f32 + 0.5)).ln()
}

/// BM25's factor for a term that stands `count` times in a unit `length / length_mean` times as long as the mean.
/// Below `K1 + 1`, which it approaches.
pub fn saturation(count: f32, length: f32, length_mean: f32) -> f32 {
    count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length / length_mean))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(text: &str, language: Language) -> String {
        terms(text, language).join(" ")
    }

    #[test]
    fn text_becomes_terms() {
        assert!(STOP_WORDS.is_sorted());
        assert_eq!(
            joined("The dogs weren't running to Caroline's house_boat!", Language::Auto),
            "dog weren run carolin hous boat"
        );
        assert_eq!(
            joined("Was ist mit den Häusern?", Language::parse("german").unwrap()),
            "was ist mit den haus"
        );
        assert_eq!(joined("The dogs", Language::None), "the dogs");
        assert_eq!(joined("кошки и the cats", Language::Auto), "кошк и cat");
        assert_eq!(joined("日本 3.5 😀", Language::Auto), "日 本 3.5");
        assert_eq!(joined("cafe\u{301}", Language::Auto), joined("caf\u{e9}", Language::Auto));
        for name in Language::names() {
            assert_eq!(Language::parse(name).unwrap().name(), name);
        }
    }

    #[test]
    fn terms_are_read_as_they_are_stemmed_one_by_one() {
        let stemmed = |text: &str, language| {
            let (mut lower, mut terms): (String, Vec<Box<str>>) = Default::default();
            push_lower(text, &mut lower);
            each_part(&lower, language, |part, stemmer| {
                let stem = stemmer.map(|algorithm| Stemmer::create(algorithm).stem(part));
                terms.push(stem.as_deref().unwrap_or(part).into());
            });
            terms
        };
        let mut read = Terms::default();
        for text in
            ["", "The dogs weren't running to Caroline's house_boat!", "ΟΔΟΣ οδός", "cafe\u{301} ÉTÉ", "dogs"]
        {
            for language in [Language::Auto, Language::None, Language::Auto] {
                read.read(text, language);
                assert_eq!(read.iter().map(Into::into).collect::<Vec<Box<str>>>(), stemmed(text, language));
                assert_eq!(terms(text, language), stemmed(text, language));
            }
        }
        read.read("The dogs run", Language::Auto);
        assert_eq!((read.len(), read.run(0, 2)), (2, "dog run"));
        let kept = read.stems.len();
        let long = "run".repeat(STEM_KEPT_BYTES) + "s";
        read.read(&long, Language::Auto);
        assert_eq!(read.iter().map(Into::into).collect::<Vec<Box<str>>>(), stemmed(&long, Language::Auto));
        assert_eq!(read.stems.len(), kept);
    }

    #[test]
    fn removal_leaves_no_trace() {
        let mut lexicon = Lexicon::default();
        let insert = |lexicon: &mut Lexicon, slot, text: &str| {
            let counts = counted(terms(text, Language::Auto));
            let ids: Vec<_> = counts.iter().map(|(term, count)| (lexicon.id(term), *count)).collect();
            lexicon.insert(slot, &ids).1
        };
        let third = insert(&mut lexicon, 3, "rain rain snow");
        let first = insert(&mut lexicon, 1, "rain");
        let counts: Vec<_> = lexicon.counts(3, &third).map(|(_, term, count)| (&**term, count)).collect();
        assert_eq!(counts, [("rain", 2), ("snow", 1)]);
        assert_eq!(lexicon.dump()[0].1, [Posting { slot: 1, count: 1 }, Posting { slot: 3, count: 2 }]);
        let rain = lexicon.postings_of("rain");
        assert_eq!([0, 1, 2, 3].map(|slot| rain.count(slot)), [0, 1, 0, 2]);
        assert!(lexicon.postings_of("sun").is_empty());
        assert_eq!((lexicon.memories(), lexicon.length_mean()), (2, 2.0));
        lexicon.remove(3, &third);
        assert_eq!(lexicon.dump(), [("rain", vec![Posting { slot: 1, count: 1 }])]);
        lexicon.remove(1, &first);
        assert_eq!((lexicon.terms(), lexicon.memories(), lexicon.length_mean()), (0, 0, 1.0));
    }

    #[test]
    fn ids_last_until_bare_terms_are_dropped() {
        let mut lexicon = Lexicon::default();
        let [rain, snow, sun] = ["rain", "snow", "sun"].map(|term| lexicon.lasting_id(term.into()));
        let terms = lexicon.insert(0, &[(rain, 1), (sun, 1)]).1;
        lexicon.remove(0, &terms);
        assert_eq!([lexicon.id("hail"), lexicon.id("rain")], [3, rain]);
        lexicon.insert(1, &[(sun, 2)]);
        lexicon.drop_bare();
        assert_eq!(lexicon.dump(), [("sun", vec![Posting { slot: 1, count: 2 }])]);
        assert!([rain, snow, 3].contains(&lexicon.id("fog")));
        lexicon.drop_bare();
        assert_eq!(lexicon.terms(), 2, "only while ids were to last");
    }

    #[test]
    fn term_lists_give_back_what_they_were_made_of() {
        for ids in [vec![], vec![0], vec![5, 3, 700, 128, 127, u32::MAX, 1 << 14, 1 << 21, (1 << 28) - 1]] {
            let mut sorted = ids.clone();
            sorted.sort_unstable();
            assert_eq!(TermList::new(ids).iter().collect::<Vec<_>>(), sorted);
        }
    }

    #[test]
    fn saturation_is_bm25() {
        // Golden values by hand from the formula with k1 = .8, b = .4.
        assert!((saturation(1.0, 10.0, 10.0) - 1.0).abs() < 1e-6);
        assert!((saturation(3.0, 10.0, 10.0) - 5.4 / 3.8).abs() < 1e-6);
        assert!((idf(100, 1) - (1.0f32 + 99.5 / 1.5).ln()).abs() < 1e-6);
    }
}
