//! Parts of recall that can be left out, to see what each is worth. For research: an answer without a part is an answer
//! to the same cue by a simpler system, everything else being equal.

/// A part of recall that can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The cue's words.
    Words,
    /// The cue's vector.
    Vectors,
    /// A memory with its neighbours: it counts as if it stood alone, and brings no neighbours along as candidates.
    Windows,
    /// The words of a memory's context.
    Contexts,
    /// Spreading to those before and after in context.
    Order,
    /// Spreading over shared names.
    Entities,
    /// Spreading over links.
    Links,
    /// Spreading over what use has taught.
    Learned,
    /// That a cue which says when is after what happened then.
    When,
    /// Spreading as a whole, bridges included.
    Spreading,
    /// What a memory adds over shared names to what the first hits leave unexplained.
    Bridges,
    /// That a cue which names a speaker is after what that one said.
    Speakers,
    /// That a question rarely answers another.
    Questions,
    /// That who asks when is after a memory that says when.
    Times,
    /// What forgetting takes from a score.
    Retrievability,
    /// That what says the same takes one place.
    Duplicates,
}

impl Part {
    /// All of them.
    pub const ALL: [Part; 16] = [
        Part::Words,
        Part::Vectors,
        Part::Windows,
        Part::Contexts,
        Part::Order,
        Part::Entities,
        Part::Links,
        Part::Learned,
        Part::When,
        Part::Spreading,
        Part::Bridges,
        Part::Speakers,
        Part::Questions,
        Part::Times,
        Part::Retrievability,
        Part::Duplicates,
    ];

    /// Its name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Part::Words => "words",
            Part::Vectors => "vectors",
            Part::Windows => "windows",
            Part::Contexts => "contexts",
            Part::Order => "order",
            Part::Entities => "entities",
            Part::Links => "links",
            Part::Learned => "learned",
            Part::When => "when",
            Part::Spreading => "spreading",
            Part::Bridges => "bridges",
            Part::Speakers => "speakers",
            Part::Questions => "questions",
            Part::Times => "times",
            Part::Retrievability => "retrievability",
            Part::Duplicates => "duplicates",
        }
    }

    /// The part of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }
}

/// A set of parts. Empty by default: nothing is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Without(u16);

impl Without {
    /// Leaves out everything but these.
    pub fn all_but(kept: &[Part]) -> Self {
        Part::ALL.into_iter().filter(|part| !kept.contains(part)).collect()
    }

    /// Whether this part is left out.
    pub fn has(self, part: Part) -> bool {
        self.0 & 1 << part as u16 != 0
    }

    /// Whether nothing is left out.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The parts that are left out.
    pub fn parts(self) -> impl Iterator<Item = Part> {
        Part::ALL.into_iter().filter(move |part| self.has(*part))
    }
}

impl FromIterator<Part> for Without {
    fn from_iter<I: IntoIterator<Item = Part>>(parts: I) -> Self {
        Self(parts.into_iter().fold(0, |set, part| set | 1 << part as u16))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_the_parts_that_it_was_made_of() {
        for part in Part::ALL {
            assert_eq!(Part::parse(part.name()), Some(part));
            let without: Without = [part].into_iter().collect();
            assert_eq!(without.parts().collect::<Vec<_>>(), [part]);
        }
        let words_alone = Without::all_but(&[Part::Words]);
        assert!(!words_alone.has(Part::Words) && words_alone.has(Part::Vectors));
        assert!(Without::default().is_empty() && Part::parse("Words").is_none());
    }
}
