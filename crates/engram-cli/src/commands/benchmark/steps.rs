//! Which loads a benchmark runs, and the values of its flags.

use super::Benchmark;
use super::load::Step;
use engram::limits::DIMENSIONS_MAX;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

const CLIENTS: RangeInclusive<u64> = 1..=1024;
const RATES: RangeInclusive<f64> = 0.1..=1_000_000.0;
/// Of the load that a plot ends with, those it begins with.
const RATES_OF_PLOT: [f64; 4] = [0.25, 0.5, 0.75, 1.0];
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// Several loads, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sweep {
    Clients(Vec<usize>),
    Rates(Vec<f64>),
}

impl FromStr for Sweep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("rate=") {
            Some(rates) => {
                rates.split(',').map(|text| rate(text.trim())).collect::<Result<_, _>>().map(Self::Rates)
            }
            None => {
                text.split(',').map(|text| clients(text.trim())).collect::<Result<_, _>>().map(Self::Clients)
            }
        }
    }
}

impl Benchmark {
    /// One load, or those of the sweep; a plot without a sweep gets one up to the load that was asked for.
    pub(super) fn steps(&self) -> Vec<Step> {
        let clients = self.concurrency;
        let of_rate = |rate: f64| Step { clients, rate: Some(rate) };
        match (&self.sweep, self.rate) {
            (Some(Sweep::Clients(counts)), _) => {
                counts.iter().map(|clients| Step { clients: *clients, rate: None }).collect()
            }
            (Some(Sweep::Rates(rates)), _) => rates.iter().copied().map(of_rate).collect(),
            (None, Some(rate)) if self.plot.is_some() => {
                RATES_OF_PLOT.iter().map(|share| of_rate(share * rate)).collect()
            }
            (None, None) if self.plot.is_some() => doubled(clients),
            (None, rate) => vec![Step { clients, rate }],
        }
    }
}

/// 1, 2, 4 and so on, up to `clients`.
fn doubled(clients: usize) -> Vec<Step> {
    let below =
        std::iter::successors(Some(1), |clients| Some(clients * 2)).take_while(|count| *count < clients);
    below.chain([clients]).map(|clients| Step { clients, rate: None }).collect()
}

/// A time above 0.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    duration_or_none(text).and_then(|time| {
        if time.is_zero() { Err("it is 0, and nothing can be measured in no time".into()) } else { Ok(time) }
    })
}

/// A time; a number alone is of seconds.
pub(super) fn duration_or_none(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("write it as 60s, 500ms, 2m or 1h".into()),
    };
    let number: f64 = number.parse().map_err(|_| "write it as 60s, 500ms, 2m or 1h".to_owned())?;
    let time = Duration::try_from_secs_f64(number * seconds).ok().filter(|time| *time <= DURATION_MAX);
    time.ok_or_else(|| "it must be at most 24h".into())
}

pub(super) fn clients(text: &str) -> Result<usize, String> {
    whole(text, CLIENTS).map(|count| count as usize)
}

pub(super) fn limit(text: &str) -> Result<usize, String> {
    whole(text, 1..=1000).map(|limit| limit as usize)
}

pub(super) fn dimensions(text: &str) -> Result<usize, String> {
    whole(text, 1..=DIMENSIONS_MAX as u64).map(|dimensions| dimensions as usize)
}

pub(super) fn memories(text: &str) -> Result<u64, String> {
    whole(text, 1..=100_000_000)
}

fn whole(text: &str, range: RangeInclusive<u64>) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("\"{text}\" must be a whole number from {} to {}", range.start(), range.end()))
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|rate| RATES.contains(rate)).ok_or_else(|| {
        format!(
            "\"{text}\" must be a number of operations a second, from {} to {}",
            RATES.start(),
            RATES.end()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let seconds = |text: &str| duration(text).map(|time| time.as_secs_f64());
        assert_eq!(
            ["60s", "500ms", "2m", "1.5", "1h"].map(|text| seconds(text).unwrap()),
            [60.0, 0.5, 120.0, 1.5, 3600.0]
        );
        assert_eq!(duration_or_none("0"), Ok(Duration::ZERO));
        for text in ["0s", "", "s", "60 parsecs", "-1s", "1.2.3s", "25h", "nan"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sweeps_are_of_clients_or_rates() {
        assert_eq!("1,2, 4".parse(), Ok(Sweep::Clients(vec![1, 2, 4])));
        assert_eq!("rate=500,1000".parse(), Ok(Sweep::Rates(vec![500.0, 1000.0])));
        assert!("1,0".parse::<Sweep>().unwrap_err().contains("\"0\" must be a whole number from 1 to 1024"));
        assert!(
            "rate=0".parse::<Sweep>().unwrap_err().contains("\"0\" must be a number of operations a second")
        );
        assert!("rate=inf".parse::<Sweep>().is_err() && "rate=nan".parse::<Sweep>().is_err());
        assert!("".parse::<Sweep>().is_err());
    }

    #[test]
    fn a_plot_has_several_loads() {
        let clients = |steps: Vec<Step>| steps.iter().map(|step| step.clients).collect::<Vec<_>>();
        assert_eq!(clients(doubled(8)), [1, 2, 4, 8]);
        assert_eq!(clients(doubled(6)), [1, 2, 4, 6]);
        assert_eq!(clients(doubled(1)), [1]);
    }
}
