//! What a memory's text is made of: terms for the lexicon, names for the graph, and the vector that the built-in embedder
//! gives it. Found by rules and a table; the same text always gives the same. For a new memory they are found outside
//! every lock.

use crate::embed::embed;
use crate::lexicon::{counted, terms};
use crate::memory::Memory;
use crate::speech::{Speech, spoken};
use crate::state::{Embedder, SpaceSettings};
use rustc_hash::FxHashSet;

/// Small words that may stand inside a name, between capitalised ones.
const JOINERS: &[&str] = &["da", "de", "del", "der", "di", "du", "la", "le", "of", "the", "van", "von"];
/// Capitalised words that open a sentence rather than a name.
const OPENERS: &[&str] = &[
    "A", "After", "All", "Also", "An", "And", "As", "At", "Before", "But", "By", "During", "For", "From",
    "He", "Her", "His", "How", "However", "I", "If", "In", "It", "Its", "My", "No", "On", "Our", "She", "So",
    "Some", "That", "The", "Their", "There", "These", "They", "This", "Those", "To", "We", "What", "When",
    "Where", "Which", "While", "Who", "Why", "With", "Yes", "You", "Your",
];
/// Capitalised words before a name that opens a sentence: "Thanks Anna", "Did Anna", "Although Anna".
const OPENERS_BEFORE_NAMES: &[&str] = &[
    "Although", "Are", "Because", "Between", "Both", "Bye", "Can", "Congrats", "Could", "Dear", "Despite",
    "Did", "Do", "Does", "Had", "Has", "Have", "Hello", "Hey", "Hi", "Is", "Like", "Ok", "Okay", "Oh",
    "Once", "Only", "Over", "Should", "Since", "Now", "Sorry", "Thank", "Thanks", "Then", "Through", "Under",
    "Unlike", "Until", "Was", "Well", "Were", "Will", "Would", "Wow", "Yeah", "Yep", "Yup",
];
/// What somebody whose name opens a sentence does; so does every word in -ed.
const VERBS_AFTER_NAMES: &[&str] = &[
    "bought", "came", "did", "does", "found", "gave", "goes", "got", "had", "has", "is", "knew", "left",
    "likes", "lives", "lost", "loves", "made", "met", "ran", "said", "saw", "says", "sent", "sold", "spent",
    "took", "told", "wants", "was", "went", "will", "won", "works", "would", "wrote",
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
    /// Names in lower case with their mentions, ordered by name. 0 mentions: a word that only opens sentences here, and
    /// is a name if another memory has it as one.
    pub entities: Vec<(Box<str>, u32)>,
    /// How it is told.
    pub speech: Speech,
    /// The content's vector, in a space that is embedded by the built-in embedder.
    pub embedding: Option<Vec<f32>>,
}

impl Analysis {
    /// Of a memory in a space with these settings. Costs some microseconds a sentence.
    pub fn of(memory: &Memory, settings: &SpaceSettings) -> Self {
        if memory.is_made() {
            // It is found through its sources.
            return Self::default();
        }
        let content = memory.content.as_deref().unwrap_or("");
        // Who speaks is not mentioned thereby.
        let Names { mut mentions, openings } = names(spoken(content).map_or(content, |(_, words)| words));
        for name in &memory.entities {
            let name = folded(name);
            if !name.is_empty() {
                mentions.extend(std::iter::repeat_n(name, GIVEN_MENTIONS as usize));
            }
        }
        let mut entities = counted(mentions);
        let are_names = |word: &str| entities.binary_search_by(|(name, _)| (**name).cmp(word)).is_ok();
        let openings: Vec<_> = counted(openings)
            .into_iter()
            .filter(|(word, _)| !are_names(word))
            .map(|(word, _)| (word, 0))
            .collect();
        entities.extend(openings);
        entities.sort_unstable();
        let embeds = matches!(settings.embedder, Some(Embedder::Builtin { .. }));
        Self {
            terms: counted(terms(content, settings.language)),
            entities,
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

/// What a text mentions, in lower case, with repeats.
#[derive(Debug, Default)]
struct Names {
    /// Runs of capitalised words, years, and a heading.
    mentions: Vec<Box<str>>,
    /// Single words that are capitalised because they open a sentence, as far as this place tells.
    openings: Vec<Box<str>>,
}

fn names(content: &str) -> Names {
    let mut found = Names::default();
    if let Some((heading, rest)) = content.split_once('\n')
        && !rest.trim().is_empty()
        && heading.split_whitespace().count() <= NAME_WORDS_MAX
    {
        let heading = folded(heading);
        if !heading.is_empty() {
            found.mentions.extend(std::iter::repeat_n(heading, HEADING_MENTIONS as usize));
        }
    }
    content.lines().for_each(|line| found.add_line(line));
    // A word that is a name elsewhere in the text, or part of one, is one here, too.
    let parts: FxHashSet<&str> = found.mentions.iter().flat_map(|name| name.split(' ')).collect();
    let is_name = |word: &str| parts.contains(word);
    let (names, openings): (Vec<_>, Vec<_>) = found.openings.into_iter().partition(|word| is_name(word));
    found.mentions.extend(names);
    Names { mentions: found.mentions, openings }
}

impl Names {
    /// Collects the names of one line: words are joined as long as only spaces lie between them.
    fn add_line(&mut self, line: &str) {
        let mut run: Vec<&str> = Vec::new();
        // Whether the next word opens a sentence, and whether the first word of the run does.
        let (mut is_opening, mut run_opens) = (true, false);
        for word in line.split_whitespace() {
            let opens = word.starts_with(['(', '"', '\'', '[', '“', '‘']);
            let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
            let closes = word.ends_with(|c: char| !c.is_alphanumeric());
            if opens {
                self.finish(&mut run, run_opens, "");
            }
            if is_name_word(bare) || (!run.is_empty() && JOINERS.contains(&bare)) {
                run_opens = if run.is_empty() { is_opening } else { run_opens };
                run.push(bare);
            } else {
                self.finish(&mut run, run_opens, bare);
            }
            if closes {
                self.finish(&mut run, run_opens, "");
            }
            let ends =
                word.trim_end_matches(['"', '\'', ')', ']', '”', '’']).ends_with(['.', '?', '!', ':', '…']);
            is_opening = ends || (is_opening && bare.is_empty());
        }
        self.finish(&mut run, run_opens, "");
    }

    /// Ends a run of name words, which the word `next` follows: what opens a sentence and what only joins is cut off at
    /// its ends.
    fn finish(&mut self, run: &mut Vec<&str>, opens: bool, next: &str) {
        while run.last().is_some_and(|word| JOINERS.contains(word)) {
            run.pop();
        }
        let is_opener = |word: &str| {
            // "It's" opens as "It" does.
            let stem = word.split(['\'', '’']).next().unwrap_or(word);
            OPENERS.contains(&stem)
                || (opens && OPENERS_BEFORE_NAMES.contains(&stem))
                || JOINERS.contains(&word)
        };
        let from = run.iter().take_while(|word| is_opener(word)).count();
        let name = &run[from..];
        if !name.is_empty() && name.len() <= NAME_WORDS_MAX {
            let text = folded(&name.join(" "));
            let acts = next.ends_with("ed") || VERBS_AFTER_NAMES.contains(&next);
            let only_opens =
                opens && run.len() == 1 && !acts && !text.starts_with(|c: char| c.is_ascii_digit());
            if text.chars().count() > 1 {
                if only_opens { self.openings.push(text) } else { self.mentions.push(text) }
            }
        }
        run.clear();
    }
}

fn is_name_word(word: &str) -> bool {
    word.starts_with(char::is_uppercase) || (word.len() == 4 && word.bytes().all(|b| b.is_ascii_digit()))
}

/// A name as it is compared: lower case, single spaces, no punctuation around it, no possessive.
pub fn folded(name: &str) -> Box<str> {
    let words =
        name.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase());
    let joined = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    joined.strip_suffix("'s").or_else(|| joined.strip_suffix("’s")).unwrap_or(&joined).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> String {
        let Names { mentions, openings } = names(text);
        let openings = openings.iter().map(|word| format!("{word}?"));
        mentions.iter().map(|name| name.to_string()).chain(openings).collect::<Vec<_>>().join(" | ")
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
            ("Caroline: I love Paris (France)", "paris | france | caroline?"),
            ("Ärzte aus Köln", "köln | ärzte?"),
            ("Losing it. Wow! Paris by night", "losing? | paris?"),
            ("Paris by night. We love Paris.", "paris | paris"),
            ("Ada danced. Bob has a dog. Ada, no", "ada | bob | ada"),
            ("Smith again. Then Anna Smith left", "anna smith | smith"),
            ("Hey Mel! Did Anna Bell call? It's late, I'm off", "mel | anna bell"),
            ("We heard Good Morning on the radio", "good morning"),
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
        assert_eq!(entities, ["bath 1", "rain 0", "wet weather 3"]);
    }
}
