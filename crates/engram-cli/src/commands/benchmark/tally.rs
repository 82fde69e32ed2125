//! What clients count while a load runs, and the figures that come of it.

use super::mix::Operation;
use super::pace::{Ended, Event};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Digits to which a latency is kept.
const DIGITS: u8 = 3;

/// What one kind of operation did. Merged over clients.
#[derive(Debug, Clone)]
struct Counts {
    /// Nanoseconds of those that were answered, and waits of those that nobody had begun.
    latencies: Histogram<u64>,
    answered: u64,
    failed: u64,
    late: u64,
    not_begun: u64,
}

/// What all kinds of operations did.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    counts: [Counts; Operation::ALL.len()],
    /// The first failure, in words.
    pub(crate) failure: Option<String>,
    /// Hits of recalls by the tier that they came from.
    pub(crate) tiers: BTreeMap<String, u64>,
}

/// The figures of one kind of operation, or of all. Times are in milliseconds; absent where nothing was timed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// That were answered.
    pub(crate) count: u64,
    /// Answered in a second.
    pub(crate) per_second: f64,
    pub(crate) errors: u64,
    /// In an open loop: that began more than 1 ms after they were planned.
    pub(crate) late: u64,
    /// In an open loop: that nobody had begun at the end; their waits are among the times.
    pub(crate) not_begun: u64,
    #[serde(flatten)]
    pub(crate) times: Option<Times>,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) mean_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p99_9_ms: f64,
    pub(crate) max_ms: f64,
}

impl Counts {
    fn new() -> Self {
        let latencies = Histogram::new(DIGITS).expect("three digits are within what it takes");
        Self { latencies, answered: 0, failed: 0, late: 0, not_begun: 0 }
    }

    fn add(&mut self, event: &Event) {
        self.late += u64::from(event.is_late);
        let took = match event.ended {
            Ended::Answered(took) => {
                self.answered += 1;
                took
            }
            Ended::NotBegun(waited) => {
                self.not_begun += 1;
                waited
            }
            Ended::Failed(_) => {
                self.failed += 1;
                return;
            }
        };
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / 4);
        self.latencies.record(nanoseconds).expect("the histogram grows with its values");
    }

    fn merge(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).expect("the histogram grows with its values");
        self.answered += other.answered;
        self.failed += other.failed;
        self.late += other.late;
        self.not_begun += other.not_begun;
    }

    fn figures(&self, seconds: f64) -> Figures {
        let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        let at = |quantile| ms(self.latencies.value_at_quantile(quantile));
        let times = (!self.latencies.is_empty()).then(|| Times {
            mean_ms: self.latencies.mean() / 1e6,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            p99_9_ms: at(0.999),
            max_ms: ms(self.latencies.max()),
        });
        Figures {
            count: self.answered,
            per_second: self.answered as f64 / seconds,
            errors: self.failed,
            late: self.late,
            not_begun: self.not_begun,
            times,
        }
    }

    fn is_empty(&self) -> bool {
        self.answered + self.failed + self.not_begun == 0
    }
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { counts: std::array::from_fn(|_| Counts::new()), failure: None, tiers: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, event: Event) {
        self.counts[event.operation as usize].add(&event);
        if let Ended::Failed(text) = event.ended {
            self.failure.get_or_insert(text);
        }
    }

    pub(crate) fn hit(&mut self, tier: &str) {
        match self.tiers.get_mut(tier) {
            Some(count) => *count += 1,
            None => drop(self.tiers.insert(tier.to_owned(), 1)),
        }
    }

    pub(crate) fn merge(mut self, other: Self) -> Self {
        for (own, other) in self.counts.iter_mut().zip(&other.counts) {
            own.merge(other);
        }
        for (tier, count) in other.tiers {
            *self.tiers.entry(tier).or_default() += count;
        }
        self.failure = self.failure.or(other.failure);
        self
    }

    /// Of all operations together, over so long.
    pub(crate) fn all(&self, lasted: Duration) -> Figures {
        let mut all = Counts::new();
        self.counts.iter().for_each(|counts| all.merge(counts));
        all.figures(lasted.as_secs_f64())
    }

    /// Of each operation that was asked for, by name.
    pub(crate) fn operations(&self, lasted: Duration) -> BTreeMap<String, Figures> {
        let asked = Operation::ALL.into_iter().zip(&self.counts).filter(|(_, counts)| !counts.is_empty());
        asked
            .map(|(operation, counts)| (operation.name().to_owned(), counts.figures(lasted.as_secs_f64())))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_all_clients() {
        let event = |operation, ended| Event { operation, ended, is_late: false };
        let answered = |ms| Ended::Answered(Duration::from_millis(ms));
        let mut clients = [Tally::new(), Tally::new()];
        for ms in 1..=100 {
            clients[ms as usize % 2].add(event(Operation::Recall, answered(ms)));
        }
        clients[0].add(event(Operation::Store, Ended::Failed("disk full".into())));
        clients[1].add(event(Operation::Store, Ended::NotBegun(Duration::from_secs(1))));
        clients.iter_mut().for_each(|client| client.hit("hot"));
        let [one, other] = clients;
        let tally = one.merge(other);
        let operations = tally.operations(Duration::from_secs(10));
        assert_eq!(operations.keys().collect::<Vec<_>>(), ["recall", "store"]);
        let recall = &operations["recall"];
        let times = recall.times.unwrap();
        assert_eq!((recall.count, recall.per_second, recall.errors), (100, 10.0, 0));
        assert!((times.p50_ms - 50.0).abs() < 0.1 && (times.p99_ms - 99.0).abs() < 0.1, "{times:?}");
        assert!((times.mean_ms - 50.5).abs() < 0.1 && (times.max_ms - 100.0).abs() < 0.1, "{times:?}");
        let store = &operations["store"];
        assert_eq!((store.count, store.errors, store.not_begun), (0, 1, 1));
        assert!((store.times.unwrap().p50_ms - 1000.0).abs() < 1.0, "what waited counts");
        assert_eq!(tally.all(Duration::from_secs(10)).count, 100);
        assert_eq!((tally.failure.as_deref(), tally.tiers["hot"]), (Some("disk full"), 2));
    }
}
