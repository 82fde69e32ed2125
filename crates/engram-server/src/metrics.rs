//! What operators count and time, in the text format 0.0.4 of Prometheus. Every series exists from the start with 0.
//! Operators build alarms on these names: they stay.

use crate::api::OperationOut;
use crate::error::{ApiError, Problem};
use crate::process::Process;
use crate::service::Fetches;
use engram::clock::{Clock, Stopwatch};
use engram::{Engine, Tier};
use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Upper bounds in seconds: a recall takes tenths of a millisecond, a sync of a slow disk tens of milliseconds.
const BUCKETS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What a request does. The first six are counted and timed by name; the others only appear in the log when slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Store,
    Recall,
    Activate,
    Complete,
    Forget,
    /// Timed from the beginning of the job to its end.
    Consolidate,
    /// Recalls by many cues; each counts as a recall.
    RecallMany,
    /// Reads of memories by id or page.
    Get,
    /// Outcomes of uses.
    Reinforce,
    /// Changes of associations.
    Associate,
    /// Spaces, settings and status.
    Administer,
}

impl Operation {
    const MEASURED: [Operation; 6] = [
        Operation::Store,
        Operation::Recall,
        Operation::Activate,
        Operation::Complete,
        Operation::Forget,
        Operation::Consolidate,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Operation::Store => "store",
            Operation::Recall => "recall",
            Operation::Activate => "activate",
            Operation::Complete => "complete",
            Operation::Forget => "forget",
            Operation::Consolidate => "consolidate",
            Operation::RecallMany => "recall_many",
            Operation::Get => "get",
            Operation::Reinforce => "reinforce",
            Operation::Associate => "associate",
            Operation::Administer => "administer",
        }
    }

    fn is_measured(self) -> bool {
        Self::MEASURED.contains(&self)
    }
}

/// The metrics of one server. Made before the engine is opened, so that the engine can report its syncs and so that
/// `engram_memory_bytes` counts from an empty process. Clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Series>);

struct Series {
    registry: Registry,
    duration: HistogramVec,
    operations: IntCounterVec,
    errors: IntCounterVec,
    reasons: IntCounterVec,
    memory_bytes: IntGauge,
    data_bytes: IntGauge,
    cache_requests: IntCounter,
    cache_hits: IntCounter,
    tier_fetches: IntCounterVec,
    flush: Histogram,
    tiers: IntGaugeVec,
    spaces: IntGauge,
    rss_at_start: Option<u64>,
    started: Stopwatch,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything at 0; the process's memory of now is the baseline.
    pub fn new() -> Self {
        let registry = Registry::new();
        let series = Series {
            duration: registered(&registry, || {
                let help = "Time of an operation in the server, from the body read to the reply made";
                let options = HistogramOpts::new("engram_memory_operation_duration_seconds", help);
                HistogramVec::new(options.buckets(BUCKETS.to_vec()), &["operation"])
            }),
            operations: counters(
                &registry,
                "engram_operations_total",
                "Operations asked for",
                &["operation"],
            ),
            errors: counters(
                &registry,
                "engram_operation_errors_total",
                "Operations that failed for a reason on the server's side; a caller's mistake is not counted here",
                &["operation"],
            ),
            reasons: counters(
                &registry,
                "engram_operation_error_reasons_total",
                "Operations that failed, by reason, callers' mistakes among them",
                &["operation", "reason"],
            ),
            memory_bytes: registered(&registry, || {
                let help =
                    "Resident memory of the process above that at its start, before any memory was loaded";
                IntGauge::new("engram_memory_bytes", help)
            }),
            data_bytes: registered(&registry, || {
                let help = "What users gave: text, embeddings at 4 bytes a dimension, metadata";
                IntGauge::new("engram_data_bytes", help)
            }),
            cache_requests: registered(&registry, || {
                let help = "Memories that recalls fetched";
                IntCounter::new("engram_activation_cache_requests_total", help)
            }),
            cache_hits: registered(&registry, || {
                let help = "Memories that recalls fetched from the hot tier";
                IntCounter::new("engram_activation_cache_hits_total", help)
            }),
            tier_fetches: counters(
                &registry,
                "engram_storage_tier_fetches_total",
                "Memories that recalls fetched, by the tier that had them",
                &["tier"],
            ),
            flush: registered(&registry, || {
                let help = "Time of a sync of the write-ahead log";
                let options = HistogramOpts::new("engram_wal_flush_duration_seconds", help);
                Histogram::with_opts(options.buckets(BUCKETS.to_vec()))
            }),
            tiers: registered(&registry, || {
                IntGaugeVec::new(
                    Opts::new("engram_storage_tier_memories_count", "Memories by tier"),
                    &["tier"],
                )
            }),
            spaces: registered(&registry, || IntGauge::new("engram_spaces", "Spaces opened since the start")),
            rss_at_start: Process::now().resident_bytes,
            started: Stopwatch::start(),
            registry,
        };
        series.start();
        Metrics(Arc::new(series))
    }

    /// For `Options::observe_flush` of the engine.
    pub fn flush_observer(&self) -> engram::ObserveFlush {
        let flush = self.0.flush.clone();
        Arc::new(move |took| flush.observe(took.as_secs_f64()))
    }

    /// For `Options::observe_consolidation` of the engine.
    pub fn consolidation_observer(&self) -> engram::ObserveConsolidation {
        let metrics = self.clone();
        Arc::new(move |took, error| {
            let error = error.map(|error| ApiError::from(error.clone()));
            metrics.observe(Operation::Consolidate, took, error.as_ref());
        })
    }

    /// Counts and times one operation.
    pub(crate) fn observe(&self, operation: Operation, took: Duration, error: Option<&ApiError>) {
        if !operation.is_measured() {
            return;
        }
        self.0.operations.with_label_values(&[operation.name()]).inc();
        self.0.duration.with_label_values(&[operation.name()]).observe(took.as_secs_f64());
        if let Some(error) = error {
            self.observe_failure(operation, error.problem);
        }
    }

    /// Counts a failure of an operation that is timed elsewhere, or never ends.
    pub(crate) fn observe_failure(&self, operation: Operation, problem: Problem) {
        if !operation.is_measured() {
            return;
        }
        if !problem.is_callers() {
            self.0.errors.with_label_values(&[operation.name()]).inc();
        }
        self.0.reasons.with_label_values(&[operation.name(), problem.reason()]).inc();
    }

    /// Counts what a recall fetched.
    pub(crate) fn observe_fetches(&self, fetches: Fetches) {
        for (tier, fetched) in Tier::ALL.iter().zip(fetches.0) {
            self.0.tier_fetches.with_label_values(&[tier.as_str()]).inc_by(fetched);
            self.0.cache_requests.inc_by(fetched);
        }
        self.0.cache_hits.inc_by(fetches.0[0]);
    }

    /// The text for a scrape. Blocks on each space for a moment.
    pub(crate) fn render(&self, engine: &Engine) -> Result<String, ApiError> {
        let held = Held::of(engine);
        self.0.data_bytes.set(i64::try_from(held.data_bytes).unwrap_or(i64::MAX));
        for (tier, memories) in Tier::ALL.iter().zip(held.memories) {
            let gauge = self.0.tiers.with_label_values(&[tier.as_str()]);
            gauge.set(i64::try_from(memories).unwrap_or(i64::MAX));
        }
        self.0.spaces.set(i64::try_from(held.spaces).unwrap_or(i64::MAX));
        if let Some(bytes) = self.memory_bytes() {
            self.0.memory_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        TextEncoder::new().encode_to_string(&self.0.registry.gather()).map_err(|error| {
            ApiError::new(Problem::Internal, format!("the metrics cannot be written: {error}"))
        })
    }

    /// Resident memory above that at start; `None` where the system does not tell.
    pub(crate) fn memory_bytes(&self) -> Option<u64> {
        Some(Process::now().resident_bytes?.saturating_sub(self.0.rss_at_start?))
    }

    /// Time since start.
    pub(crate) fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// Fetches served hot, of all; `None` before the first.
    pub(crate) fn hit_rate(&self) -> Option<f64> {
        let requests = self.0.cache_requests.get();
        (requests > 0).then(|| self.0.cache_hits.get() as f64 / requests as f64)
    }

    /// What each kind of operation did.
    pub(crate) fn operations(&self) -> BTreeMap<String, OperationOut> {
        let of = |operation: Operation| {
            let labels = &[operation.name()];
            let histogram = self.0.duration.with_label_values(labels);
            let out = OperationOut {
                count: self.0.operations.with_label_values(labels).get(),
                errors: self.0.errors.with_label_values(labels).get(),
                p50_ms: quantile(&histogram, 0.5).map(|seconds| seconds * 1000.0),
                p99_ms: quantile(&histogram, 0.99).map(|seconds| seconds * 1000.0),
            };
            (operation.name().to_owned(), out)
        };
        Operation::MEASURED.into_iter().map(of).collect()
    }
}

impl Series {
    /// Makes every series, so that a rate over the first event is right.
    fn start(&self) {
        for operation in Operation::MEASURED {
            let name = operation.name();
            self.duration.with_label_values(&[name]);
            self.operations.with_label_values(&[name]);
            self.errors.with_label_values(&[name]);
            for problem in Problem::all() {
                self.reasons.with_label_values(&[name, problem.reason()]);
            }
        }
        for tier in Tier::ALL {
            self.tiers.with_label_values(&[tier.as_str()]).set(0);
            self.tier_fetches.with_label_values(&[tier.as_str()]);
        }
        let start = Clock::system().now().0 as f64 / 1e6 - self.started.elapsed().as_secs_f64();
        registered(&self.registry, || {
            Gauge::new("process_start_time_seconds", "Start, in seconds since 1970")
        })
        .set(start);
        registered(&self.registry, || {
            let options = Opts::new("engram_build_info", "The build; always 1");
            IntGauge::with_opts(options.const_label("version", env!("CARGO_PKG_VERSION")))
        })
        .set(1);
    }
}

/// What the spaces hold together that were opened since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    pub(crate) spaces: u64,
    /// By tier.
    pub(crate) memories: [u64; 3],
    pub(crate) data_bytes: u64,
    pub(crate) log_bytes: u64,
    pub(crate) unindexed: u64,
}

impl Held {
    /// Opens and wakes none: a look must cost the same however many spaces there are on disk.
    pub(crate) fn of(engine: &Engine) -> Held {
        engine.summaries().into_iter().fold(Held::default(), |held, summary| Held {
            spaces: held.spaces + 1,
            memories: Tier::ALL
                .map(|tier| held.memories[tier as usize] + summary.tiers[tier as usize] as u64),
            data_bytes: held.data_bytes + summary.data_bytes,
            log_bytes: held.log_bytes + summary.log_bytes,
            unindexed: held.unindexed + summary.unindexed as u64,
        })
    }
}

/// Estimated as Prometheus does: linear within the bucket that holds the rank.
fn quantile(histogram: &Histogram, share: f64) -> Option<f64> {
    let families = histogram.collect();
    let metric = families.first()?.get_metric().first()?;
    let buckets = metric.get_histogram().get_bucket();
    let count = metric.get_histogram().get_sample_count();
    if count == 0 {
        return None;
    }
    let rank = share * count as f64;
    let (mut below, mut lower) = (0, 0.0);
    for bucket in buckets {
        let upto = bucket.cumulative_count();
        if upto as f64 >= rank && bucket.upper_bound().is_finite() {
            return Some(
                lower + (bucket.upper_bound() - lower) * (rank - below as f64) / (upto - below) as f64,
            );
        }
        (below, lower) = (upto, bucket.upper_bound());
    }
    BUCKETS.last().copied()
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, || IntCounterVec::new(Opts::new(name, help), labels))
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    make: impl FnOnce() -> prometheus::Result<C>,
) -> C {
    let collector = make().expect("names and labels are constants in the right form");
    registry.register(Box::new(collector.clone())).expect("each name is registered once");
    collector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_in_the_bucket_of_their_rank() {
        let metrics = Metrics::new();
        assert_eq!(metrics.operations()["recall"].p50_ms, None);
        for _ in 0..99 {
            metrics.observe(Operation::Recall, Duration::from_micros(300), None);
        }
        metrics.observe(Operation::Recall, Duration::from_secs(60), None);
        let recall = &metrics.operations()["recall"];
        assert_eq!((recall.count, recall.errors), (100, 0));
        assert!((0.25..=0.5).contains(&recall.p50_ms.unwrap()), "{recall:?}");
        assert!((0.25..=0.5).contains(&recall.p99_ms.unwrap()), "{recall:?}");
    }

    #[test]
    fn a_callers_mistake_is_a_reason_and_no_error() {
        let metrics = Metrics::new();
        metrics.observe(Operation::Store, Duration::ZERO, Some(&ApiError::invalid("x")));
        assert_eq!(metrics.operations()["store"].errors, 0);
        assert_eq!(metrics.0.reasons.with_label_values(&["store", "invalid"]).get(), 1);
        metrics.observe(Operation::Store, Duration::ZERO, Some(&ApiError::new(Problem::Full, "x")));
        assert_eq!(metrics.operations()["store"].errors, 1);
    }
}
