//! How memories are told: who speaks, whether they ask or tell, and whether they say when. Found by rules, in English
//! beyond the speaker. A cue that names a speaker is after what that speaker said; a question rarely answers another;
//! and who asks when something was is after a memory that says when. A headword ("heifer: young cow") stands where a
//! speaker does, and counts like one: what a memory begins with before a colon is what it is of.

use crate::Slot;
use crate::lexicon::{Language, Terms, terms};
use crate::memory::Memory;
use rustc_hash::FxHashMap;
use serde_json::Value;
use unicode_segmentation::UnicodeSegmentation;

/// Words of a name before a colon; longer beginnings are text.
const SPEAKER_WORDS_MAX: usize = 3;
/// Terms of a speaker that is looked for in a cue.
const SPEAKER_TERMS_MAX: usize = 3;

/// Words that place something in time wherever they stand.
const TIME_WORDS: &[&str] = &[
    "ago",
    "april",
    "august",
    "december",
    "february",
    "friday",
    "january",
    "july",
    "june",
    "monday",
    "november",
    "october",
    "recently",
    "saturday",
    "september",
    "sunday",
    "thursday",
    "today",
    "tomorrow",
    "tonight",
    "tuesday",
    "wednesday",
    "weekend",
    "yesterday",
];
/// Words that place something in time after one of `RELATIVE_WORDS`.
const PERIODS: &[&str] = &[
    "autumn", "fall", "fri", "mon", "month", "morning", "night", "spring", "summer", "thurs", "tues", "week",
    "winter", "year",
];
const RELATIVE_WORDS: &[&str] = &["last", "next", "this"];
/// What, after "what" or "which", asks for a time.
const TIMES_ASKED_FOR: &[&str] = &["date", "day", "month", "time", "year"];

const QUESTION_MARKS: [char; 3] = ['?', '？', '؟'];

/// How one memory is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Speech {
    /// Who speaks: the terms of the name before a colon, or of `metadata.speaker`.
    pub speaker: Option<Box<str>>,
    /// Share of its sentences that ask, 0..=1.
    pub questions: f32,
    /// It says when something was or will be.
    pub tells_time: bool,
}

impl Speech {
    /// Of a memory in a space of this language.
    pub fn of(memory: &Memory, language: Language) -> Self {
        let content = memory.content.as_deref().unwrap_or("");
        let given = memory.metadata.get("speaker").and_then(Value::as_str);
        let speaker = given.or_else(|| Some(spoken(content)?.0)).map(|name| terms(name, language));
        let speaker = speaker.filter(|terms| (1..=SPEAKER_TERMS_MAX).contains(&terms.len()));
        Self {
            speaker: speaker.map(|terms| terms.join(" ").into()),
            questions: questions(content),
            tells_time: tells_time(content),
        }
    }
}

/// The name and the words in "Name: what they say".
pub(crate) fn spoken(content: &str) -> Option<(&str, &str)> {
    let (name, words) = content.split_once(':')?;
    let is_name = name.starts_with(char::is_alphabetic)
        && !name.contains('\n')
        && name.split_whitespace().count() <= SPEAKER_WORDS_MAX
        && words.starts_with(char::is_whitespace);
    is_name.then_some((name, words))
}

/// Share of the sentences of a text that end with a question mark.
fn questions(content: &str) -> f32 {
    // Most ask nothing, which is much faster to see than where their sentences end.
    if !content.contains(QUESTION_MARKS) {
        return 0.0;
    }
    let sentences = content.unicode_sentences().filter(|sentence| sentence.contains(char::is_alphanumeric));
    let (mut all, mut asking) = (0, 0);
    for sentence in sentences {
        all += 1;
        asking += usize::from(sentence.trim_end().ends_with(QUESTION_MARKS));
    }
    if all == 0 { 0.0 } else { asking as f32 / all as f32 }
}

fn tells_time(content: &str) -> bool {
    let lower = content.to_lowercase();
    let mut before = "";
    lower.unicode_words().any(|word| {
        let is_year = word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit());
        let relative = RELATIVE_WORDS.contains(&before) && PERIODS.contains(&word);
        before = word;
        is_year || relative || TIME_WORDS.binary_search(&word).is_ok()
    })
}

/// Whether a cue asks when something was, or for how long.
pub fn asks_when(text: &str) -> bool {
    let mut before = "";
    text.unicode_words().any(|word| {
        let is = |word: &str, known: &str| word.eq_ignore_ascii_case(known);
        let asks = is(word, "when")
            || (is(before, "how") && is(word, "long"))
            || ((is(before, "what") || is(before, "which"))
                && TIMES_ASKED_FOR.iter().any(|time| is(word, time)));
        before = word;
        asks
    })
}

/// Index of a speaker; reused after the last of its memories is gone.
pub type SpeakerId = u32;

#[derive(Debug, Clone, Default)]
struct Speaker {
    name: Box<str>,
    memories: usize,
}

/// How the memories of a space are told, by slot.
#[derive(Debug, Clone, Default)]
pub struct Speeches {
    by_slot: Vec<Told>,
    ids: FxHashMap<Box<str>, SpeakerId>,
    speakers: Vec<Speaker>,
    free: Vec<SpeakerId>,
}

/// How the memory in a slot is told.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Told {
    /// Who speaks.
    pub speaker: Option<SpeakerId>,
    /// Share of its sentences that ask, 0..=1.
    pub questions: f32,
    /// It says when something was or will be.
    pub tells_time: bool,
}

impl Speeches {
    /// Notes how the memory in `slot` is told; nothing is noted of that slot yet.
    pub fn insert(&mut self, slot: Slot, speech: &Speech) {
        if self.by_slot.len() <= slot as usize {
            self.by_slot.resize(slot as usize + 1, Told::default());
        }
        let speaker = speech.speaker.as_deref().map(|name| {
            let id = self.ids.get(name).copied().unwrap_or_else(|| self.add(name));
            self.speakers[id as usize].memories += 1;
            id
        });
        self.by_slot[slot as usize] =
            Told { speaker, questions: speech.questions, tells_time: speech.tells_time };
    }

    fn add(&mut self, name: &str) -> SpeakerId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.speakers.push(Speaker::default());
            self.speakers.len() as SpeakerId - 1
        });
        self.speakers[id as usize].name = name.into();
        self.ids.insert(name.into(), id);
        id
    }

    /// Forgets the memory in `slot`.
    pub fn remove(&mut self, slot: Slot) {
        let Some(told) = self.by_slot.get_mut(slot as usize) else { return };
        let Some(id) = std::mem::take(told).speaker else { return };
        let speaker = &mut self.speakers[id as usize];
        speaker.memories -= 1;
        if speaker.memories == 0 {
            self.ids.remove(&std::mem::take(&mut speaker.name));
            self.free.push(id);
        }
    }

    /// How the memory in `slot` is told.
    pub fn get(&self, slot: Slot) -> Told {
        self.by_slot.get(slot as usize).copied().unwrap_or_default()
    }

    /// How the memory in `slot` is told, by name.
    pub fn speech(&self, slot: Slot) -> Speech {
        let Told { speaker, questions, tells_time } = self.get(slot);
        let speaker = speaker.map(|id| self.speakers[id as usize].name.clone());
        Speech { speaker, questions, tells_time }
    }

    /// Adds to `named` the speakers of at least two memories that the terms of a cue name.
    pub fn add_named(&self, terms: &Terms, named: &mut Vec<SpeakerId>) {
        if self.ids.is_empty() {
            return;
        }
        for from in 0..terms.len() {
            for words in 1..=SPEAKER_TERMS_MAX.min(terms.len() - from) {
                let id = self.ids.get(terms.run(from, words)).copied();
                named.extend(id.filter(|&id| self.speakers[id as usize].memories > 1));
            }
        }
    }

    /// The memory's speech by names, for comparing two states.
    pub fn dump(&self, slot: Slot) -> String {
        let told = self.get(slot);
        let speaker = told.speaker.map(|id| {
            let speaker = &self.speakers[id as usize];
            format!("{} of {} ", speaker.name, speaker.memories)
        });
        format!("{}{} {}", speaker.unwrap_or_default(), told.questions, told.tells_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted() {
        assert!(TIME_WORDS.is_sorted() && PERIODS.is_sorted());
    }

    #[test]
    fn speakers_stand_before_a_colon() {
        let cases = [
            ("Caroline: I went out.", Some("Caroline")),
            ("Dr. Ada King: hello", Some("Dr. Ada King")),
            ("at 10:30 we left", None),
            ("One thing that is true: it rains", None),
            ("http://a.example", None),
            ("no colon", None),
        ];
        for (text, expected) in cases {
            assert_eq!(spoken(text).map(|(name, _)| name), expected, "{text}");
        }
    }

    #[test]
    fn asking_and_telling_when_are_told_apart() {
        assert_eq!(questions("Ada: Hi! How are you? And Bob?"), 2.0 / 3.0);
        assert_eq!(questions("It rains. It pours"), 0.0);
        assert_eq!(questions("..."), 0.0);
        for text in
            ["I left yesterday.", "two weeks ago", "In 1888 we met", "see you next month", "last year"]
        {
            assert!(tells_time(text), "{text}");
        }
        for text in ["I left.", "the last straw", "12 monkeys", "a year of rain"] {
            assert!(!tells_time(text), "{text}");
        }
        for text in ["When did Ada leave?", "Which year was it?", "For how long did it rain?"] {
            assert!(asks_when(text), "{text}");
        }
        for text in ["What did Ada do?", "How did the long day end?", "Whenever it rains"] {
            assert!(!asks_when(text), "{text}");
        }
    }

    #[test]
    fn speakers_go_with_the_last_of_their_memories() {
        let by = |name: &str| Speech { speaker: Some(name.into()), questions: 0.0, tells_time: false };
        let mut speeches = Speeches::default();
        for slot in 0..3 {
            speeches.insert(slot, &by("ada king"));
        }
        speeches.insert(3, &by("bob"));
        let mut cue = Terms::default();
        cue.read("did ada king see bob", Language::None);
        let named = |speeches: &Speeches| {
            let mut named = Vec::new();
            speeches.add_named(&cue, &mut named);
            named
        };
        assert_eq!(named(&speeches), [0], "a speaker of one memory says nothing");
        speeches.remove(0);
        speeches.remove(1);
        assert!(named(&speeches).is_empty());
        speeches.remove(2);
        speeches.remove(3);
        assert!(speeches.ids.is_empty());
        speeches.insert(7, &by("eve"));
        assert_eq!((speeches.speakers.len(), speeches.dump(7).as_str()), (2, "eve of 1 0 false"));
    }
}
