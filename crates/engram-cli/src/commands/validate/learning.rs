//! Learning: memories that are used together, as often as people name one word at another, become associated as strongly;
//! what is used in an order leads forwards.

use super::chart::{Axis, Chart, Mark, Series};
use super::data::{Norms, StudyList};
use super::lab::{Lab, id, memory};
use super::report::{Bar, Check, Finding, decimals};
use super::stats::{Draw, mean, pearson};
use crate::fault::Result;
use engram::{NewMemory, Outcome, Space};
use std::collections::HashMap;
use std::sync::Arc;

/// Times that each cue is used.
const TRIALS: usize = 200;
/// Cues of the norms that are used, evenly over all.
const CUES_MAX: usize = 50;
/// Times that a sequence is replayed.
const REPLAYS: usize = 20;
/// Pairs whose course is drawn.
const COURSES: usize = 5;
/// Beyond ten minutes, what is used next does not follow.
const APART_DAYS: f64 = 15.0 / 1440.0;
const MINUTE_DAYS: f64 = 1.0 / 1440.0;

/// A word, and how often each other is named at it.
struct CueWord {
    word: String,
    targets: Vec<(String, f64)>,
}

/// Cues of the norms; where they are absent, lures and what people name at them.
fn cues(lists: &[StudyList], norms: Option<&Norms>) -> Vec<CueWord> {
    let Some(norms) = norms else {
        let of = |list: &StudyList| {
            let strength = |word: &super::data::Associate| Some((word.word.clone(), word.fas_usf?));
            let targets = list.associates.iter().filter_map(strength);
            let targets = targets.filter(|(word, share)| *share > 0.0 && *word != list.lure);
            CueWord { word: list.lure.clone(), targets: targets.collect() }
        };
        return lists.iter().map(of).filter(|cue| !cue.targets.is_empty()).collect();
    };
    let by_cue: Vec<&[(usize, usize, f64)]> = norms.pairs.chunk_by(|a, b| a.0 == b.0).collect();
    let step = by_cue.len().div_ceil(CUES_MAX).max(1);
    let of = |pairs: &&[(usize, usize, f64)]| CueWord {
        word: norms.words[pairs[0].0].clone(),
        targets: pairs.iter().map(|(_, target, share)| (norms.words[*target].clone(), *share)).collect(),
    };
    by_cue.iter().step_by(step).map(of).collect()
}

/// What one cue has learned.
struct Course {
    name: String,
    strength: f64,
    /// After each trial.
    weights: Vec<f64>,
}

/// Uses each cue with one of its targets, or alone, as often as people name them. Each has a space of its own, so that
/// nothing is learned of a word as another's target.
fn learn(lab: &Lab, cues: &[CueWord]) -> Result<Vec<Course>> {
    let mut draw = Draw::new(6);
    let mut courses = Vec::new();
    for (at, cue) in cues.iter().enumerate() {
        let words = std::iter::once(&cue.word).chain(cue.targets.iter().map(|(word, _)| word));
        let memories = words.enumerate().map(|(at, word)| memory(at, word, word)).collect();
        let space = lab.space(&format!("learning-{at}"), memories)?;
        let mut own: Vec<Course> = cue
            .targets
            .iter()
            .map(|(word, strength)| Course {
                name: format!("{} → {word}", cue.word),
                strength: *strength,
                weights: Vec::new(),
            })
            .collect();
        for _ in 0..TRIALS {
            lab.wait(APART_DAYS);
            let drawn = draw.share();
            let mut sum = 0.0;
            let named = cue.targets.iter().position(|(_, share)| {
                sum += share;
                drawn < sum
            });
            let used: Vec<_> = std::iter::once(id(0)).chain(named.map(|at| id(at + 1))).collect();
            space.reinforce(&used, Outcome::Used)?;
            let learned: HashMap<_, _> = space.usage(&id(0))?.learned.into_iter().collect();
            for (at, course) in own.iter_mut().enumerate() {
                course.weights.push(learned.get(&id(at + 1)).copied().unwrap_or(0.0));
            }
        }
        courses.extend(own);
    }
    Ok(courses)
}

/// Weights that a replayed sequence of three leaves: from the first to the second, back, and from the first to the third.
fn replay(lab: &Lab) -> Result<(Arc<Space>, [f64; 3])> {
    let memories: Vec<NewMemory> =
        ["first", "second", "third"].iter().enumerate().map(|(at, word)| memory(at, word, word)).collect();
    let space = lab.space("replay", memories)?;
    for _ in 0..REPLAYS {
        for at in 0..3 {
            space.reinforce(&[id(at)], Outcome::Used)?;
            lab.wait(MINUTE_DAYS);
        }
        lab.wait(APART_DAYS);
    }
    let weights = [weight(&space, 0, 1)?, weight(&space, 1, 0)?, weight(&space, 0, 2)?];
    Ok((space, weights))
}

fn weight(space: &Space, from: usize, to: usize) -> Result<f64> {
    let learned = space.usage(&id(from))?.learned;
    Ok(learned.iter().find(|(own, _)| *own == id(to)).map_or(0.0, |(_, weight)| *weight))
}

pub(crate) fn check(lab: &Lab, lists: &[StudyList], norms: Option<&Norms>) -> Result<Check> {
    let source = "drawn from associations of Nelson, McEvoy & Schreiber 1998";
    let mut check = Check::new("learning", "Learning", source);
    let cues = cues(lists, norms);
    check.about = format!(
        "Each of {} words is used {TRIALS} times, with one of the words that people name at it, as often as they do (a fixed \
         draw), or alone. What the engine has learned of the pairs is compared with people's strengths. Then three memories \
         are used in one order, a minute apart, {REPLAYS} times.",
        cues.len()
    );
    let courses = learn(lab, &cues)?;
    let last = |course: &Course| course.weights.last().copied().unwrap_or(0.0);
    let learned: Vec<f64> = courses.iter().map(last).collect();
    let strength: Vec<f64> = courses.iter().map(|course| course.strength).collect();
    let off: Vec<f64> = courses.iter().map(|course| (last(course) - course.strength).abs()).collect();
    let near = off.iter().filter(|off| **off <= 0.05).count() as f64 / off.len() as f64;
    let (space, [forth, back, over]) = replay(lab)?;
    space.delete(&id(1))?;
    let left = space.usage(&id(0))?.learned.iter().filter(|(own, _)| *own == id(1)).count();
    let r = pearson(&learned, &strength).unwrap_or(f64::NAN);
    let pairs = courses.len();
    check.findings = vec![
        Finding::held(
            format!("{pairs} pairs after {TRIALS} uses: r of weight with strength"),
            r,
            Bar::AtLeast(0.9),
        ),
        Finding::held("  mean distance from the strength", mean(&off).unwrap_or(f64::NAN), Bar::AtMost(0.05)),
        Finding::beside("  pairs within .05 of it (share)", near),
        Finding::held(
            "replayed in order: weight back over weight forth",
            back / forth,
            Bar::AtMost(1.0 / 3.0),
        ),
        Finding::beside("  weight forth", forth),
        Finding::beside("  weight over one in between", over),
        Finding::held("weights to a memory that was deleted", left as f64, Bar::AtMost(0.0))
            .shown(left.to_string()),
    ];
    check.charts = vec![scatter(&courses, r), course_chart(&courses)];
    check.keep("pairs", courses.iter().map(|c| (&c.name, c.strength, last(c))).collect::<Vec<_>>());
    check.keep("replayed", [forth, back, over]);
    Ok(check)
}

fn scatter(courses: &[Course], r: f64) -> Chart {
    let points = courses.iter().filter_map(|course| Some((course.strength, *course.weights.last()?)));
    let points: Vec<(f64, f64)> = points.collect();
    let high = points.iter().map(|(strength, weight)| strength.max(*weight)).fold(0.0, f64::max);
    Chart {
        title: format!("Learning: weights after {TRIALS} uses (r {})", decimals(r)),
        source: "strengths of Nelson, McEvoy & Schreiber 1998".into(),
        x: Axis::linear("people who name the word first (share)", [0.0, high]),
        y: Axis::linear("learned weight", [0.0, high]),
        series: vec![
            Series::new("weight = strength", 6, Mark::Dashes, [(0.0, 0.0), (high, high)]),
            Series::new(format!("{} pairs", courses.len()), 0, Mark::Points, points),
        ],
    }
}

/// How the weights of some strong pairs come to where they are.
fn course_chart(courses: &[Course]) -> Chart {
    let highest = courses.iter().map(|course| course.strength).fold(0.0, f64::max);
    let mut left: Vec<&Course> = courses.iter().collect();
    let mut series = Vec::new();
    // From strong to weak in even steps, so that the curves keep apart.
    for at in 0..COURSES.min(left.len()) {
        let wanted = highest * (COURSES - at) as f64 / COURSES as f64;
        let off = |course: &Course| (course.strength - wanted).abs();
        let nearest = (0..left.len()).min_by(|a, b| off(left[*a]).total_cmp(&off(left[*b])));
        let course = left.swap_remove(nearest.expect("as many are left as are drawn"));
        let weights = course.weights.iter().enumerate().map(|(at, weight)| ((at + 1) as f64, *weight));
        series.push(Series::new(course.name.clone(), at, Mark::Line, weights));
        let strength = [(1.0, course.strength), (TRIALS as f64, course.strength)];
        series.push(Series::new("", at, Mark::Dashes, strength));
    }
    let high = series.iter().flat_map(|series| &series.points).map(|(_, y)| *y).fold(0.0, f64::max);
    Chart {
        title: "Learning: weights over uses (dashed: people's strength)".into(),
        source: "strengths of Nelson, McEvoy & Schreiber 1998".into(),
        x: Axis::linear("uses of the cue", [0.0, TRIALS as f64]),
        y: Axis::linear("learned weight", [0.0, high]),
        series,
    }
}
