//! Time: the one place that reads clocks, and RFC 3339.

use engram_core::id::Timestamp;
use jiff::SignedDuration;
use jiff::civil::{DateTime, date};
use jiff::fmt::temporal::Pieces;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// Where an engine takes the present from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self(Arc::new(|| Timestamp(jiff::Timestamp::now().as_microsecond())))
    }

    /// A clock that the caller drives.
    pub fn driven(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({:?})", self.now())
    }
}

/// Measures how long something takes.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "this is the place that the lint sends others to")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// What RFC 3339 can write: from 0000-01-01T00:00:00Z to the end of 9999, in microseconds.
const RFC3339_RANGE: RangeInclusive<i64> = -62_167_219_200_000_000..=253_402_300_799_999_999;

/// Reads an RFC 3339 time such as `2023-05-08T13:56:00Z`, of the years 0000 to 9999 in UTC. Digits beyond microseconds
/// are cut off. The error says what was found.
pub fn parse_rfc3339(text: &str) -> Result<Timestamp, String> {
    let found = engram_core::error::shown(text);
    let microseconds = microseconds(text).ok_or_else(|| {
        format!(
            "\"{found}\" is not an RFC 3339 time; write it as 2023-05-08T13:56:00Z or with an offset, 2023-05-08T15:56:00+02:00"
        )
    })?;
    if RFC3339_RANGE.contains(&microseconds) {
        return Ok(Timestamp(microseconds));
    }
    let beyond =
        if microseconds < 0 { "before 0000-01-01T00:00:00Z" } else { "after 9999-12-31T23:59:59.999999Z" };
    Err(format!("\"{found}\" is {beyond}; times are kept in UTC, within the years 0000 to 9999"))
}

/// By the civil calendar: `jiff::Timestamp` ends 26 hours before the year 9999 does.
fn microseconds(text: &str) -> Option<i64> {
    let pieces = Pieces::parse(text).ok()?;
    let offset = SignedDuration::from_secs(pieces.to_numeric_offset()?.seconds().into());
    let local = DateTime::from_parts(pieces.date(), pieces.time()?);
    i64::try_from((local.duration_since(EPOCH) - offset).as_micros()).ok()
}

/// Writes a time as RFC 3339 in UTC, with as many digits of the second as it needs. Times beyond the calendar, which
/// only code can give, are written as its ends.
pub fn format_rfc3339(time: Timestamp) -> String {
    let end = if time.0 < 0 { DateTime::MIN } else { DateTime::MAX };
    format!("{}Z", EPOCH.checked_add(SignedDuration::from_micros(time.0)).unwrap_or(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (text, written) in [
            ("2023-05-08T13:56:00Z", "2023-05-08T13:56:00Z"),
            ("2023-05-08T15:56:00+02:00", "2023-05-08T13:56:00Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.5Z"),
            ("2024-02-29T00:00:00.1234567Z", "2024-02-29T00:00:00.123456Z"),
            ("2023-05-08T13:56:00.000001Z", "2023-05-08T13:56:00.000001Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
            ("0000-01-01T00:00:00-02:00", "0000-01-01T02:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ] {
            let time = parse_rfc3339(text).unwrap();
            assert_eq!(format_rfc3339(time), written);
            assert_eq!(parse_rfc3339(written), Ok(time));
        }
        for (text, said) in [
            ("0000-01-01T00:00:00+02:00", "before 0000-01-01T00:00:00Z"),
            ("-000001-01-01T00:00:00Z", "before 0000-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59-00:01", "after 9999-12-31T23:59:59.999999Z"),
        ] {
            assert!(parse_rfc3339(text).unwrap_err().contains(said), "{text}");
        }
        for time in [i64::MIN, -1, 0, i64::MAX] {
            assert!(format_rfc3339(Timestamp(time)).ends_with('Z'));
        }
        for bad in ["yesterday", "2023-13-01T00:00:00Z", "2023-05-08", "2023-05-08T13:56:00"] {
            assert!(parse_rfc3339(bad).is_err(), "{bad}");
        }
    }
}
