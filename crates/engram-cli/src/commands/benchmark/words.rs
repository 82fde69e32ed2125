//! Texts of real words: pieces of the demo's data, put together anew so that no two memories say the same.

use crate::commands::demo::wordnet_lines;
use crate::fault::{Fault, Result};
use fastrand::Rng;
use serde::Deserialize;

/// Words of a cue.
const CUE_WORDS: usize = 6;

/// Words and their meanings, in the order of WordNet, where neighbours are alike.
pub(crate) struct Words(Vec<String>);

#[derive(Deserialize)]
struct Line {
    content: String,
}

impl Words {
    pub(crate) fn read() -> Result<Self> {
        let lines = wordnet_lines()?;
        let content = |line| serde_json::from_slice::<Line>(line).map(|line| line.content);
        let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let words: Result<Vec<_>, _> = lines.map(content).collect();
        let words = words
            .map_err(|error| Fault::Failed(format!("the data inside this program is damaged: {error}")))?;
        Ok(Self(words))
    }

    /// Two meanings, of one part of so many where a part is named.
    pub(crate) fn text(&self, part: Option<(usize, usize)>, random: &mut Rng) -> String {
        let (at, parts) = part.unwrap_or((0, 1));
        let size = self.0.len() / parts;
        let mut pick = || self.0[at * size + random.usize(0..size)].as_str();
        let (one, other) = (pick(), pick());
        format!("{one}; {other}")
    }
}

/// Some words of a text in their order, as somebody asks who remembers a piece.
pub(crate) fn piece(text: &str, random: &mut Rng) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let first = random.usize(0..=words.len().saturating_sub(CUE_WORDS));
    words.iter().skip(first).take(CUE_WORDS).copied().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cue_is_a_piece_of_the_text() {
        let mut random = Rng::with_seed(1);
        let words = Words::read().unwrap();
        let text = words.text(Some((3, 128)), &mut random);
        assert!(text.contains("; "), "{text}");
        let cue = piece(&text, &mut random);
        assert_eq!(cue.split(' ').count(), CUE_WORDS, "{text}");
        assert!(text.split_whitespace().collect::<Vec<_>>().join(" ").contains(&cue), "{cue}: {text}");
        assert_eq!(piece("one two", &mut random), "one two");
    }
}
