//! When? Finds the expressions of time in a cue's English text, and the days that each stands for, seen from the
//! present of the recall: "on 7 May 2023", "last week", "two days ago", "before June 2023". Days begin in UTC, weeks on
//! Monday, seasons as in the north. By rules and tables, without a model: words that it does not know say nothing, and
//! nor do those that more often mean something else ("may", "march", "second") without a year, a day or a preposition
//! beside them.

use crate::id::Timestamp;
use crate::lexicon::{Language, Terms};
use std::ops::Range;

/// Time from `from` until before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// Its first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
}

/// What a text says about time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct When {
    /// In the order of the text.
    pub intervals: Vec<Interval>,
    /// The text says nothing else: the rest are words such as "what did we do".
    pub alone: bool,
}

const MICROS_A_DAY: i64 = 86_400_000_000;
/// Days outside an interval at which the fit has fallen to 1/e: as many as the interval has, within these bounds. What
/// somebody tells is often stored some days after it happened.
const FADES_DAYS: [f64; 2] = [3.0, 30.0];

impl When {
    /// How well an instant fits, 0..=1: 1 within one of the intervals, less the farther from all.
    pub fn fit(&self, at: Timestamp) -> f32 {
        self.intervals.iter().map(|interval| interval.fit(at)).fold(0.0, f32::max)
    }
}

impl Interval {
    fn fit(self, at: Timestamp) -> f32 {
        let outside = self.from.days_since(at).max(at.days_since(Timestamp(self.to.0.saturating_sub(1))));
        let fades = self.to.days_since(self.from).clamp(FADES_DAYS[0], FADES_DAYS[1]);
        (-outside.max(0.0) / fades).exp() as f32
    }
}

/// Words that are read for times, and different times that are taken from them: bounds the work that a cue can ask for.
const WORDS_MAX: usize = 256;
const INTERVALS_MAX: usize = 8;

/// Finds what `text` says about time in its first 256 words, seen from `now`. Costs microseconds.
pub fn when(text: &str, now: Timestamp) -> When {
    let mut found = When::default();
    Reader::default().read_all(text, now, &mut found);
    found
}

impl Reader {
    /// Leaves in `found` what `when` finds. Does not allocate once it and `found` have grown.
    pub(crate) fn read_all(&mut self, text: &str, now: Timestamp, found: &mut When) {
        self.take_words(text);
        self.today = now.0.div_euclid(MICROS_A_DAY);
        found.intervals.clear();
        let mut rest = std::mem::take(&mut self.rest);
        rest.clear();
        let mut at = 0;
        while at < self.words.len() {
            let Some((days, next)) = self.read(at) else {
                rest.push_str(self.word(at));
                rest.push(' ');
                at += 1;
                continue;
            };
            if days.from < days.to {
                let instant = |day: i64| Timestamp(day.saturating_mul(MICROS_A_DAY));
                let interval = Interval { from: instant(days.from), to: instant(days.to) };
                if !found.intervals.contains(&interval) && found.intervals.len() < INTERVALS_MAX {
                    found.intervals.push(interval);
                }
            }
            at = next;
        }
        found.alone = !found.intervals.is_empty() && {
            self.terms.read(&rest, Language::Auto);
            self.terms.iter().all(|term| EMPTY_TERMS.contains(&term))
        };
        self.rest = rest;
    }

    fn take_words(&mut self, text: &str) {
        let Self { words, lower, .. } = self;
        words.clear();
        lower.clear();
        let mut is_apart = false;
        for piece in text.split_inclusive(|c: char| !c.is_alphanumeric()) {
            let word = piece.trim_end_matches(|c: char| !c.is_alphanumeric());
            if !word.is_empty() {
                let (from, is_capitalised) = (lower.len(), word.starts_with(char::is_uppercase));
                lower.extend(word.chars().flat_map(char::to_lowercase));
                words.push(Word { text: from..lower.len(), is_capitalised, is_apart });
                is_apart = false;
            }
            is_apart |= piece.ends_with(',');
            if piece.ends_with(['.', '?', '!', ';', ':', '\n']) {
                words.push(Word { text: 0..0, is_capitalised: false, is_apart: true });
            }
            if words.len() >= WORDS_MAX {
                break;
            }
        }
        words.truncate(WORDS_MAX);
    }
}

/// Beside stop words, what asks for anything at all.
const EMPTY_TERMS: &[&str] = &["happen", "go", "us", "tell", "talk", "rememb", "event", "thing"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// Seasons with their first month; 0 is January.
const SEASONS: [(&str, i64); 5] = [("spring", 2), ("summer", 5), ("autumn", 8), ("fall", 8), ("winter", 11)];
/// How many, at least and at most.
const COUNTS: &[(&str, i64, i64)] = &[
    ("a", 1, 1),
    ("an", 1, 1),
    ("one", 1, 1),
    ("two", 2, 2),
    ("three", 3, 3),
    ("four", 4, 4),
    ("five", 5, 5),
    ("six", 6, 6),
    ("seven", 7, 7),
    ("eight", 8, 8),
    ("nine", 9, 9),
    ("ten", 10, 10),
    ("eleven", 11, 11),
    ("twelve", 12, 12),
    ("couple", 2, 3),
    ("few", 2, 5),
    ("several", 3, 8),
];
/// Single days, from today.
const DAYS: &[(&str, i64)] = &[
    ("day before yesterday", -2),
    ("day after tomorrow", 2),
    ("yesterday", -1),
    ("last night", -1),
    ("today", 0),
    ("tonight", 0),
    ("this morning", 0),
    ("this afternoon", 0),
    ("this evening", 0),
    ("tomorrow", 1),
];
const UNITS: &[(&str, Unit)] = &[
    ("day", Unit::Days),
    ("week", Unit::Weeks),
    ("weekend", Unit::Weekends),
    ("month", Unit::Months),
    ("year", Unit::Years),
];
/// Words after which a month or a year means that month or year, even without more beside it.
const WITHIN: &[&str] = &["in", "during", "throughout", "around", "early", "mid", "late"];
const LAST: &[&str] = &["last", "past", "previous"];
const NEXT: &[&str] = &["next", "coming"];

/// Days from 1970-01-01 on, from `from` until before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Days {
    from: i64,
    to: i64,
}

impl Days {
    fn one(day: i64) -> Self {
        Self { from: day, to: day + 1 }
    }

    /// So many months from the month with this number on: twelve times the year, and from 0 in January.
    fn months(first: i64, count: i64) -> Self {
        Self { from: first_of_month(first), to: first_of_month(first + count) }
    }
}

/// A day of a month, where the month has it.
fn day_of_month(month: i64, day: i64) -> Option<Days> {
    let first = first_of_month(month);
    (first + day <= first_of_month(month + 1)).then(|| Days::one(first + day - 1))
}

/// The first day of a month (Hinnant 2013, "days_from_civil").
fn first_of_month(month: i64) -> i64 {
    let (year, month) = ((month - 2).div_euclid(12), (month - 2).rem_euclid(12));
    let of_year = (153 * month + 2) / 5;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

/// The month that a day is in, and its place in it, from 0.
fn month_of(day: i64) -> (i64, i64) {
    // A month has 30.44 days on average; the guess is off by one at most.
    let guess = 1970 * 12 + (day as f64 / 30.436_875).floor() as i64;
    let month = (guess - 1..=guess + 1).rev().find(|month| first_of_month(*month) <= day);
    let month = month.expect("the guess is near");
    (month, day - first_of_month(month))
}

/// A Monday: 5 January 1970.
const MONDAY: i64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Days,
    Weeks,
    Weekends,
    Months,
    Years,
}

/// A word. What ends a sentence is a word without text.
#[derive(Debug)]
struct Word {
    /// Where it stands in `lower`.
    text: Range<usize>,
    is_capitalised: bool,
    /// A comma lies before it.
    is_apart: bool,
}

/// What is found at a word: the days, and the word after it.
type Found = Option<(Days, usize)>;

/// Reads one text at a time.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    words: Vec<Word>,
    /// The words in lower case.
    lower: String,
    /// The words that say nothing of time.
    rest: String,
    terms: Terms,
    today: i64,
}

impl Reader {
    fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", |word| &self.lower[word.text.clone()])
    }

    fn is(&self, at: usize, any: &[&str]) -> bool {
        any.contains(&self.word(at))
    }

    /// The place after the word, if it is one of these.
    fn after(&self, at: usize, any: &[&str]) -> usize {
        at + usize::from(self.is(at, any))
    }

    /// An expression that begins at this word, with what bounds it.
    fn read(&self, at: usize) -> Found {
        let inner = self.after(at + 1, &["the"]);
        let bounded = |named: bool| self.plain(inner, named);
        let open = |from: i64, to: i64, next: usize| Some((Days { from, to }, next));
        match self.word(at) {
            "between" | "from" => self.between(inner),
            "before" => bounded(true).and_then(|(days, next)| open(i64::MIN, days.from, next)),
            "until" | "till" => bounded(true).and_then(|(days, next)| open(i64::MIN, days.to, next)),
            // Not of lone months: "written by May".
            "by" => {
                bounded(self.year(inner).is_some()).and_then(|(days, next)| open(i64::MIN, days.to, next))
            }
            "after" => bounded(true).and_then(|(days, next)| open(days.to, i64::MAX, next)),
            "since" => bounded(true).and_then(|(days, next)| open(days.from, i64::MAX, next)),
            _ => self.plain(at, self.follows(at, WITHIN)),
        }
    }

    /// `between A and B`, `from A to B`: where A has no year, it is the last one before B.
    fn between(&self, at: usize) -> Found {
        let (mut first, middle) = self.plain(at, true)?;
        let (last, next) = match self.is(middle, &["and", "to", "until", "till"]) {
            true => self.plain(self.after(middle + 1, &["the"]), true)?,
            false => return None,
        };
        if !(at..middle).any(|at| self.year(at).is_some()) {
            let (month, place) = month_of(first.from);
            let of_last = month_of(last.from).0.div_euclid(12) * 12 + month.rem_euclid(12);
            let in_years = [of_last, of_last - 12].map(|month| first_of_month(month) + place);
            first.from = in_years.into_iter().find(|from| *from < last.to).unwrap_or(first.from);
        }
        Some((Days { from: first.from, to: last.to }, next))
    }

    /// An expression without bounds. `named`: what comes before tells that a lone month, year or weekday is one.
    fn plain(&self, at: usize, named: bool) -> Found {
        self.day_of_now(at)
            .or_else(|| self.reckoned(at))
            .or_else(|| self.date(at))
            .or_else(|| self.month_or_season(at, named))
            .or_else(|| self.relative(at))
            .or_else(|| {
                let weekday = self.weekday(at).filter(|_| named || self.follows(at, &["on"]))?;
                Some((Days::one(self.today - (self.today - weekday - MONDAY).rem_euclid(7)), at + 1))
            })
            .or_else(|| {
                let year = self.year(at).filter(|_| named || self.follows(at, &["year", "of", "the"]))?;
                Some((Days::months(year * 12, 12), at + 1))
            })
    }

    fn day_of_now(&self, at: usize) -> Found {
        let says =
            |words: &str| words.split(' ').enumerate().all(|(place, word)| self.word(at + place) == word);
        let (words, day) = DAYS.iter().find(|(words, _)| says(words))?;
        Some((Days::one(self.today + day), at + words.split(' ').count()))
    }

    /// `two weeks ago`, `the week before June 3`, `a day after X`. Reckoned from a date, it reaches from the one to the
    /// other: what happened then may have been told on either.
    fn reckoned(&self, at: usize) -> Found {
        let counted = self.count(at);
        let (least, most, next) = counted.unwrap_or((1, 1, self.after(at, LAST)));
        let unit = self.unit(next)?;
        let anchor = self.after(next + 2, &["the"]);
        match self.word(next + 1) {
            "ago" => counted.map(|_| (around(self.today, unit, -most, -least), next + 2)),
            "before" => self.plain(anchor, true).map(|(days, end)| {
                (Days { from: around(days.from, unit, -most, -least).from, to: days.to }, end)
            }),
            "after" => self.plain(anchor, true).map(|(days, end)| {
                (Days { from: days.from, to: around(days.to - 1, unit, least, most).to }, end)
            }),
            _ => None,
        }
    }

    /// `2023-05-08`, `7 May 2023`, `7th of May`, `May 7th, 2023`; without a year, the latest that has come.
    fn date(&self, at: usize) -> Found {
        if let (Some(year), Some(month), Some((day, _))) =
            (self.year(at), self.number(at + 1).filter(|n| (1..=12).contains(n)), self.day(at + 2))
        {
            return Some((day_of_month(year * 12 + month - 1, day)?, at + 3));
        }
        let (month_at, day_at) = match self.month(at) {
            Some(_) => (at, at + 1),
            None => (self.after(at + 1, &["of"]), at),
        };
        let (month, (day, is_ordinal)) = (self.month(month_at)?, self.day(day_at)?);
        let next = month_at.max(day_at) + 1;
        let year = self.year(next);
        if year.is_none() && !is_ordinal && !self.is_clearly_month(month_at) {
            return None;
        }
        let month = match year {
            Some(year) => year * 12 + month,
            None => month_of(self.yearly(month, 1, None).from).0,
        };
        Some((day_of_month(month, day)?, next + usize::from(year.is_some())))
    }

    /// `May 2023`, `the summer of 2022`, and after `in` and the like `May`, `the summer`: the latest that has begun.
    fn month_or_season(&self, at: usize, named: bool) -> Found {
        let (first, count) = self.part_of_year(at)?;
        let year_at = self.after(at + 1, &["of"]);
        if let Some(year) = self.year(year_at) {
            return Some((Days::months(year * 12 + first, count), year_at + 1));
        }
        let in_the = count > 1 && self.follows(at, &["the"]) && self.follows(at - 1, WITHIN);
        let is_one = (named && (count > 1 || self.is_clearly_month(at))) || in_the;
        is_one.then(|| (self.yearly(first, count, None), at + 1))
    }

    /// `last week`, `this month`, `next Friday`, `last summer`, `the past three days`.
    fn relative(&self, at: usize) -> Found {
        let step = [LAST, &["this"], NEXT].iter().position(|words| self.is(at, words))? as i64 - 1;
        if let Some((_, most, next)) = self.count(at + 1) {
            let unit = self.unit(next).filter(|_| step != 0)?;
            let far = around(self.today, unit, step * most, step * most);
            let days = match step {
                -1 => Days { from: far.from, to: self.today + 1 },
                _ => Days { from: self.today, to: far.to },
            };
            return Some((days, next + 1));
        }
        let monday = self.today - (self.today - MONDAY).rem_euclid(7);
        let month = month_of(self.today).0;
        let of_unit = self.unit(at + 1).and_then(|unit| match unit {
            Unit::Days => None,
            Unit::Weeks => Some(Days { from: monday + 7 * step, to: monday + 7 * step + 7 }),
            Unit::Weekends => Some(Days { from: monday + 7 * step + 5, to: monday + 7 * step + 7 }),
            Unit::Months => Some(Days::months(month + step, 1)),
            Unit::Years => Some(Days::months((month.div_euclid(12) + step) * 12, 12)),
        });
        let of_weekday = || {
            let day = monday + self.weekday(at + 1)?;
            let is_behind = |day: i64| if step < 0 { day < self.today } else { day > self.today };
            Some(Days::one(if step == 0 || is_behind(day) { day } else { day + 7 * step }))
        };
        let of_year = || {
            let (first, count) = self.part_of_year(at + 1).filter(|_| self.is_clearly_month(at + 1))?;
            Some(self.yearly(first, count, Some(step)))
        };
        Some((of_unit.or_else(of_weekday).or_else(of_year)?, at + 2))
    }

    /// Months that come every year, from `first` (0 is January) on: the latest that have begun, or the last that are over
    /// (-1), those of this year (0), or the next to begin (1).
    fn yearly(&self, first: i64, count: i64, step: Option<i64>) -> Days {
        let year = month_of(self.today).0.div_euclid(12);
        let years = (year - 2..=year + 1).map(|year| Days::months(year * 12 + first, count));
        let found = match step {
            None => years.rev().find(|days| days.from <= self.today),
            Some(-1) => years.rev().find(|days| days.to <= self.today),
            Some(0) => years.rev().nth(1),
            Some(_) => years.into_iter().find(|days| days.from > self.today),
        };
        found.expect("one of four years is before, and one after today")
    }

    fn follows(&self, at: usize, any: &[&str]) -> bool {
        at > 0 && !self.words[at].is_apart && self.is(at - 1, any)
    }

    fn number(&self, at: usize) -> Option<i64> {
        Some(self.word(at))
            .filter(|word| word.len() <= 4 && word.bytes().all(|b| b.is_ascii_digit()))?
            .parse()
            .ok()
    }

    fn year(&self, at: usize) -> Option<i64> {
        self.number(at).filter(|year| (1900..2100).contains(year))
    }

    /// A day of a month, and whether it is written as `7th`.
    fn day(&self, at: usize) -> Option<(i64, bool)> {
        let word = self.word(at);
        let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let suffix = &word[digits.len()..];
        let day = digits.parse().ok().filter(|day| (1..=31).contains(day))?;
        ["", "st", "nd", "rd", "th"].contains(&suffix).then_some((day, !suffix.is_empty()))
    }

    /// At least, at most, and the place after: `two`, `3`, `a couple of`, `a few`.
    fn count(&self, at: usize) -> Option<(i64, i64, usize)> {
        if let Some(number) = self.number(at).filter(|number| *number < 1000) {
            return Some((number, number, at + 1));
        }
        let at = if self.is(at + 1, &["couple", "few"]) { self.after(at, &["a"]) } else { at };
        let (_, least, most) = COUNTS.iter().find(|(word, ..)| *word == self.word(at))?;
        Some((*least, *most, self.after(at + 1, &["of"])))
    }

    fn unit(&self, at: usize) -> Option<Unit> {
        UNITS
            .iter()
            .find(|(word, _)| self.word(at).strip_suffix('s').unwrap_or(self.word(at)) == *word)
            .map(|(_, unit)| *unit)
    }

    fn weekday(&self, at: usize) -> Option<i64> {
        WEEKDAYS.iter().position(|weekday| *weekday == self.word(at)).map(|place| place as i64)
    }

    /// By its name or its first three letters; 0 is January.
    fn month(&self, at: usize) -> Option<i64> {
        let word = self.word(at);
        let is_short = |month: &str| word.len() == 3 && month.starts_with(word);
        MONTHS.iter().position(|month| *month == word || is_short(month)).map(|place| place as i64)
    }

    /// The first month, from 0, and the number of months of a month or a season.
    fn part_of_year(&self, at: usize) -> Option<(i64, i64)> {
        let season = SEASONS.iter().find(|(name, _)| *name == self.word(at));
        season.map(|(_, first)| (*first, 3)).or_else(|| self.month(at).map(|month| (month, 1)))
    }

    /// Not a word that may mean something else: `may`, `march`, `mar`, `dec`.
    fn is_clearly_month(&self, at: usize) -> bool {
        let word = self.word(at);
        self.words.get(at).is_some_and(|word| word.is_capitalised) || (word.len() > 3 && word != "march")
    }
}

/// So many units from a day: to the day, give or take half a week, or months and years of the calendar.
fn around(day: i64, unit: Unit, least: i64, most: i64) -> Days {
    let month = month_of(day).0;
    match unit {
        Unit::Days => Days { from: day + least, to: day + most + 1 },
        Unit::Weeks | Unit::Weekends => Days { from: day + 7 * least - 3, to: day + 7 * most + 4 },
        Unit::Months => Days::months(month + least, most - least + 1),
        Unit::Years => Days::months((month.div_euclid(12) + least) * 12, 12 * (most - least + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Days as `2023-05-08`, and `..` where there is no bound.
    fn shown(interval: &Interval) -> String {
        let day = |at: Timestamp| match at.0 {
            i64::MIN | i64::MAX => String::new(),
            micros => {
                let (month, place) = month_of(micros / MICROS_A_DAY);
                format!("{}-{:02}-{:02}", month / 12, month % 12 + 1, place + 1)
            }
        };
        format!("{}..{}", day(interval.from), day(interval.to))
    }

    fn read(text: &str, now: i64) -> String {
        let when = when(text, Timestamp(now * MICROS_A_DAY + MICROS_A_DAY / 2));
        when.intervals.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_calendar_is_right() {
        assert_eq!(first_of_month(1970 * 12), 0);
        assert_eq!(first_of_month(2000 * 12 + 2), 11_017, "after a leap day of a century");
        for day in (-800_000..800_000).step_by(7) {
            let (month, place) = month_of(day);
            assert!(first_of_month(month) + place == day && (0..31).contains(&place), "{day}");
        }
    }

    #[test]
    fn expressions_of_time_are_found() {
        // Saturday, 11 November 2023.
        let now = first_of_month(2023 * 12 + 10) + 10;
        for (text, expected) in [
            ("on 7 May 2023", "2023-05-07..2023-05-08"),
            ("May 7th", "2023-05-07..2023-05-08"),
            ("On May 7, 2022 she", "2022-05-07..2022-05-08"),
            ("the 7th of May", "2023-05-07..2023-05-08"),
            ("2023-05-08", "2023-05-08..2023-05-09"),
            ("on 24 December", "2022-12-24..2022-12-25"),
            ("may 7th", "2023-05-07..2023-05-08"),
            ("in Feb 2023", "2023-02-01..2023-03-01"),
            ("Sep 3, 2021", "2021-09-03..2021-09-04"),
            ("in May 2023", "2023-05-01..2023-06-01"),
            ("in may 2023", "2023-05-01..2023-06-01"),
            ("in March", "2023-03-01..2023-04-01"),
            ("in December", "2022-12-01..2023-01-01"),
            ("in november", "2023-11-01..2023-12-01"),
            ("in 2022", "2022-01-01..2023-01-01"),
            ("the year 2020", "2020-01-01..2021-01-01"),
            ("last May", "2023-05-01..2023-06-01"),
            ("last November", "2022-11-01..2022-12-01"),
            ("this March", "2023-03-01..2023-04-01"),
            ("next May", "2024-05-01..2024-06-01"),
            ("in the spring of 2022", "2022-03-01..2022-06-01"),
            ("winter 2022", "2022-12-01..2023-03-01"),
            ("last summer", "2023-06-01..2023-09-01"),
            ("in the summer", "2023-06-01..2023-09-01"),
            ("this fall", "2023-09-01..2023-12-01"),
            ("last fall", "2022-09-01..2022-12-01"),
            ("yesterday's rain", "2023-11-10..2023-11-11"),
            ("Today", "2023-11-11..2023-11-12"),
            ("the day before yesterday", "2023-11-09..2023-11-10"),
            ("last night", "2023-11-10..2023-11-11"),
            ("two days ago", "2023-11-09..2023-11-10"),
            ("a week ago", "2023-11-01..2023-11-08"),
            ("3 months ago", "2023-08-01..2023-09-01"),
            ("a couple of days ago", "2023-11-08..2023-11-10"),
            ("a few days ago", "2023-11-06..2023-11-10"),
            ("two years ago", "2021-01-01..2022-01-01"),
            ("last week", "2023-10-30..2023-11-06"),
            ("this week", "2023-11-06..2023-11-13"),
            ("last weekend", "2023-11-04..2023-11-06"),
            ("this month", "2023-11-01..2023-12-01"),
            ("last month", "2023-10-01..2023-11-01"),
            ("last year", "2022-01-01..2023-01-01"),
            ("next week", "2023-11-13..2023-11-20"),
            ("the last three days", "2023-11-08..2023-11-12"),
            ("last Friday", "2023-11-10..2023-11-11"),
            ("last Saturday", "2023-11-04..2023-11-05"),
            ("on Monday", "2023-11-06..2023-11-07"),
            ("on Saturday", "2023-11-11..2023-11-12"),
            ("next Monday", "2023-11-13..2023-11-14"),
            ("before June 2023", "..2023-06-01"),
            ("after 3 June 2023", "2023-06-04.."),
            ("since May", "2023-05-01.."),
            ("until last week", "..2023-11-06"),
            ("by 2021", "..2022-01-01"),
            ("between March and May 2023", "2023-03-01..2023-06-01"),
            ("between November and January 2023", "2022-11-01..2023-02-01"),
            ("from 2020 to 2022", "2020-01-01..2023-01-01"),
            ("from May 3 to May 5, 2021", "2021-05-03..2021-05-06"),
            ("the week before August 3, 2023", "2023-07-24..2023-08-04"),
            ("two weeks before August 11, 2023", "2023-07-25..2023-08-12"),
            ("a day after 3 June, 2023", "2023-06-03..2023-06-05"),
            ("in May 2022 or June 2023", "2022-05-01..2022-06-01 2023-06-01..2023-07-01"),
        ] {
            assert_eq!(read(text, now), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_about_time_is_left_alone() {
        for text in [
            "I may go",
            "May I come in?",
            "Theresa May spoke in London",
            "they march on",
            "The March on Washington",
            "the second one",
            "wait a second",
            "April said so",
            "with June and August",
            "2001 A Space Odyssey",
            "1984",
            "room 2023",
            "the fall of Rome",
            "spring water",
            "jump in, fall out",
            "the last time",
            "this day",
            "a week",
            "every Friday",
            "Black Friday",
            "next door",
            "it sat there",
            "before noon",
            "last of all",
            "two of them ago",
            "",
            "...",
        ] {
            assert_eq!(read(text, 19_672), "", "{text}");
        }
    }

    #[test]
    fn a_text_may_say_nothing_but_a_time() {
        for (text, alone) in [
            ("What happened in May 2023?", true),
            ("what did we do last week?", true),
            ("last summer", true),
            ("What did Ada do last week?", false),
            ("What happened?", false),
            ("rain", false),
        ] {
            assert_eq!(when(text, Timestamp(0)).alone, alone, "{text}");
        }
    }

    #[test]
    fn the_fit_fades_outside_of_an_interval() {
        let may = when("in May 2023", Timestamp(19_672 * MICROS_A_DAY));
        let day = |day: i64| may.fit(Timestamp((first_of_month(2023 * 12 + 4) + day) * MICROS_A_DAY));
        assert_eq!((day(0), day(30)), (1.0, 1.0));
        assert!(day(32) > 0.9 && day(32) < 1.0 && day(40) < day(35) && day(-5) < 1.0);
        assert!(day(61) < 0.4 && day(365) < 1e-4);
        let before = when("before May 2023", Timestamp(0));
        assert_eq!(before.fit(Timestamp(i64::MIN)), 1.0);
        assert!(before.fit(Timestamp(i64::MAX)) < 1e-6);
    }
}
