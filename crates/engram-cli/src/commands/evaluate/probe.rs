//! What one way of recall says to cues that have an answer in a space, and to cues that have none: those of another
//! space, and the same cues while their evidence is not stored.

use super::ask::{Asked, HARD_MEMORIES_MAX, Stored};
use super::evidence::{Asking, Observed};
use super::report::Unknown;
use super::score::{Wanted, auroc};
use super::sets::{AskedCue, Set};
use crate::fault::Result;
use crate::screen::grouped;
use engram::{Part, Without};
use indicatif::ProgressBar;

/// Cues that have no answer, for each space of a set; or why there are none.
pub(crate) type Foreign<'a> = Result<Vec<&'a [AskedCue]>, String>;

/// Answers to cues of all three kinds.
pub(crate) struct Probe {
    by_vector: bool,
    /// By space.
    pub(crate) own: Vec<Vec<Asked>>,
    foreign: Result<Vec<Asked>, String>,
    removed: Result<Vec<Vec<Option<Asked>>>, String>,
}

/// Recalls that a probe takes.
pub(crate) fn recalls(stored: &Stored<'_>, foreign: &Foreign<'_>) -> usize {
    let strange = foreign.as_ref().map_or(0, |others| others.iter().map(|cues| cues.len()).sum());
    stored.set.cues() * (1 + usize::from(is_small(stored))) + strange
}

fn is_small(stored: &Stored<'_>) -> bool {
    stored.spaces.iter().all(|(_, space)| space.summary().memories <= HARD_MEMORIES_MAX)
}

impl Probe {
    pub(crate) fn new(
        stored: &Stored<'_>,
        foreign: &Foreign<'_>,
        without: Without,
        bar: &ProgressBar,
    ) -> Result<Self> {
        let by_vector = stored.has_vectors() && !without.has(Part::Vectors);
        let own = stored.ask_own(without, false, bar)?;
        let foreign = match foreign {
            Ok(others) => Ok(stored.ask_foreign(others, without, bar)?),
            Err(reason) => Err(reason.clone()),
        };
        let removed = match is_small(stored) {
            true => Ok(stored.ask_without_evidence(without, bar)?),
            false => Err(format!(
                "evidence taken out: only up to {} memories a space",
                grouped(HARD_MEMORIES_MAX as u64)
            )),
        };
        Ok(Self { by_vector, own, foreign, removed })
    }

    /// How well the relevance of the first hit tells the kinds apart.
    pub(crate) fn unknown(&self) -> Unknown {
        let own: Vec<&Asked> = self.own.iter().flatten().collect();
        let first = |asked: &&Asked| asked.ranked.first_relevance();
        let abstained = |asked: &[&Asked]| {
            let abstained = asked.iter().filter(|asked| asked.abstain).count();
            (!asked.is_empty()).then(|| abstained as f64 / asked.len() as f64)
        };
        let mut unknown = Unknown { abstained: [abstained(&own), None, None], ..Unknown::default() };
        match &self.foreign {
            Ok(asked) => {
                let asked: Vec<&Asked> = asked.iter().collect();
                let [known, strange] = [&own, &asked].map(|some| some.iter().map(first).collect::<Vec<_>>());
                unknown.foreign_auroc = auroc(&known, &strange);
                unknown.foreign_cues = asked.len();
                unknown.abstained[1] = abstained(&asked);
            }
            Err(reason) => unknown.skipped.push(reason.clone()),
        }
        match &self.removed {
            Ok(removed) => {
                let asked = own.iter().zip(removed.iter().flatten());
                let both = asked.filter_map(|(with, without)| Some((*with, without.as_ref()?)));
                let (with, without): (Vec<&Asked>, Vec<&Asked>) = both.unzip();
                let [known, strange] =
                    [&with, &without].map(|some| some.iter().map(first).collect::<Vec<_>>());
                unknown.hard_auroc = auroc(&known, &strange);
                unknown.hard_cues = without.len();
                unknown.abstained[2] = abstained(&without);
            }
            Err(reason) => unknown.skipped.push(reason.clone()),
        }
        unknown
    }

    /// The evidence behind the first hits of all of them.
    pub(crate) fn observed(&self, set: &Set, foreign: &Foreign<'_>) -> Vec<Observed> {
        let by_vector = self.by_vector;
        let mut observed = Vec::new();
        for (folder, asked) in set.spaces.iter().zip(&self.own) {
            let all = folder.cues.iter().zip(&folder.wanted).zip(asked);
            let of = |((cue, wanted), asked): ((&AskedCue, &Wanted), &Asked)| {
                Observed::own(&cue.id, asked, by_vector, wanted)
            };
            observed.extend(all.filter_map(of));
        }
        let unanswered =
            |cue: &AskedCue, asked: &Asked, asking| Observed::unanswered(&cue.id, asked, by_vector, asking);
        if let (Ok(others), Ok(asked)) = (foreign, &self.foreign) {
            let all = others.iter().copied().flatten().zip(asked);
            observed.extend(all.map(|(cue, asked)| unanswered(cue, asked, Asking::Foreign)));
        }
        if let Ok(removed) = &self.removed {
            let all = set.spaces.iter().flat_map(|folder| &folder.cues).zip(removed.iter().flatten());
            let all = all.filter_map(|(cue, asked)| Some((cue, asked.as_ref()?)));
            observed.extend(all.map(|(cue, asked)| unanswered(cue, asked, Asking::Removed)));
        }
        observed
    }
}
