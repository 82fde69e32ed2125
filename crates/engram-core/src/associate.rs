//! What a memory's text is made of: terms for the lexicon, names for the graph, and the vector that the built-in embedder
//! gives it. Found by rules and a table; the same text always gives the same. For a new memory they are found outside
//! every lock.

use crate::embed::embed;
use crate::lexicon::{counted, terms};
use crate::memory::Memory;
use crate::speech::{Speech, spoken};
use crate::state::{Embedder, SpaceSettings};

/// Small words that may stand inside a name, between capitalised ones.
const JOINERS: &[&str] = &["da", "de", "del", "der", "di", "du", "la", "le", "of", "the", "van", "von"];
/// Capitalised words that open a sentence rather than a name.
const OPENERS: &[&str] = &[
    "A", "After", "All", "Also", "An", "And", "As", "At", "Before", "But", "By", "During", "For", "From",
    "He", "Her", "His", "How", "However", "I", "If", "In", "It", "Its", "My", "No", "On", "Our", "She", "So",
    "Some", "That", "The", "Their", "There", "These", "They", "This", "Those", "To", "We", "What", "When",
    "Where", "Which", "While", "Who", "Why", "With", "Yes", "You", "Your",
];
/// A heading (a first line of its own) names what the whole memory is about, so it counts as several mentions.
const HEADING_MENTIONS: u32 = 3;
/// The same for a name that the caller gave.
const GIVEN_MENTIONS: u32 = 3;
/// Longer runs of capitalised words are shouting, not a name.
const NAME_WORDS_MAX: usize = 8;

/// What `apply` needs to know of a memory's text.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Analysis {
    /// Terms of the content with their counts, ordered by term.
    pub terms: Vec<(Box<str>, u32)>,
    /// Names in lower case with their mentions, ordered by name.
    pub entities: Vec<(Box<str>, u32)>,
    /// How it is told.
    pub speech: Speech,
    /// The content's vector, in a space that is embedded by the built-in embedder.
    pub embedding: Option<Vec<f32>>,
}

impl Analysis {
    /// Of a memory in a space with these settings. Costs some microseconds a sentence.
    pub fn of(memory: &Memory, settings: &SpaceSettings) -> Self {
        let content = memory.content.as_deref().unwrap_or("");
        // Who speaks is not mentioned thereby.
        let mut mentions = names(spoken(content).map_or(content, |(_, words)| words));
        for name in &memory.entities {
            let name = folded(name);
            if !name.is_empty() {
                mentions.extend(std::iter::repeat_n(name, GIVEN_MENTIONS as usize));
            }
        }
        let embeds = matches!(settings.embedder, Some(Embedder::Builtin { .. }));
        Self {
            terms: counted(terms(content, settings.language)),
            entities: counted(mentions),
            speech: Speech::of(memory, settings.language),
            embedding: if embeds { embed(content) } else { None },
        }
    }

    /// Whether an analysis under one of these settings holds under the other.
    pub fn is_same_under(one: &SpaceSettings, other: &SpaceSettings) -> bool {
        let embeds = |settings: &SpaceSettings| matches!(settings.embedder, Some(Embedder::Builtin { .. }));
        one.language == other.language && embeds(one) == embeds(other)
    }
}

/// Names that a text mentions, in lower case, with repeats: runs of capitalised words, years, and a heading.
pub fn names(content: &str) -> Vec<Box<str>> {
    let mut found = Vec::new();
    if let Some((heading, rest)) = content.split_once('\n')
        && !rest.trim().is_empty()
        && heading.split_whitespace().count() <= NAME_WORDS_MAX
    {
        let heading = folded(heading);
        if !heading.is_empty() {
            found.extend(std::iter::repeat_n(heading, HEADING_MENTIONS as usize));
        }
    }
    content.lines().for_each(|line| names_in_line(line, &mut found));
    found
}

/// Collects the names of one line: words are joined as long as only spaces lie between them.
fn names_in_line(line: &str, found: &mut Vec<Box<str>>) {
    let mut run: Vec<&str> = Vec::new();
    for word in line.split_whitespace() {
        let opens = word.starts_with(['(', '"', '\'', '[', '“', '‘']);
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let closes = word.ends_with(|c: char| !c.is_alphanumeric());
        if opens {
            finish(&mut run, found);
        }
        if is_name_word(bare) || (!run.is_empty() && JOINERS.contains(&bare)) {
            run.push(bare);
        } else {
            finish(&mut run, found);
        }
        if closes {
            finish(&mut run, found);
        }
    }
    finish(&mut run, found);
}

fn is_name_word(word: &str) -> bool {
    word.starts_with(char::is_uppercase) || (word.len() == 4 && word.bytes().all(|b| b.is_ascii_digit()))
}

/// Ends a run of name words: what opens a sentence and what only joins is cut off at its ends.
fn finish(run: &mut Vec<&str>, found: &mut Vec<Box<str>>) {
    while run.last().is_some_and(|word| JOINERS.contains(word)) {
        run.pop();
    }
    let from = run.iter().take_while(|word| OPENERS.contains(word) || JOINERS.contains(word)).count();
    let name = &run[from..];
    if !name.is_empty() && name.len() <= NAME_WORDS_MAX {
        let text = folded(&name.join(" "));
        if text.chars().count() > 1 {
            found.push(text);
        }
    }
    run.clear();
}

/// A name as it is compared: lower case, single spaces, no punctuation around it, no possessive.
fn folded(name: &str) -> Box<str> {
    let words =
        name.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase());
    let joined = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    joined.strip_suffix("'s").or_else(|| joined.strip_suffix("’s")).unwrap_or(&joined).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> String {
        names(text).join(" | ")
    }

    #[test]
    fn names_are_found_by_their_shape() {
        let cases = [
            ("The Journal of Physics is published in London.", "journal of physics | london"),
            ("He met Vincent van Gogh, Paul Gauguin and Emile.", "vincent van gogh | paul gauguin | emile"),
            ("In 1888 Anna's friend left", "1888 anna"),
            ("nothing here, 12 or 12345", ""),
            (
                "Demon Dice\nDemon Dice is a game.",
                "demon dice | demon dice | demon dice | demon dice | demon dice",
            ),
            ("Caroline: I love Paris (France)", "caroline | paris | france"),
            ("Ärzte aus Köln", "ärzte | köln"),
        ];
        for (text, expected) in cases {
            assert_eq!(found(text), expected, "{text}");
        }
        assert_eq!(found("We saw Anna's"), "anna");
    }

    #[test]
    fn names_that_a_caller_gives_count_more() {
        let memory = Memory {
            id: crate::id::MemoryId::new("m").unwrap(),
            content: Some("Rain in Bath".into()),
            embedding: None,
            occurred_at: Default::default(),
            stored_at: Default::default(),
            context: None,
            entities: vec!["Wet  Weather".into()],
            links: vec![],
            confidence: 1.0,
            metadata: Default::default(),
            kind: Default::default(),
            expires_at: None,
        };
        let analysis = Analysis::of(&memory, &SpaceSettings::default());
        let entities: Vec<_> =
            analysis.entities.iter().map(|(name, count)| format!("{name} {count}")).collect();
        assert_eq!(entities, ["bath 1", "rain 1", "wet weather 3"]);
    }
}
