//! Where operations run. All block, so they have threads of their own, in as many places as `thread_pools` allows. But
//! going to another thread and back costs as much as a small recall; so what reads, and has been quick of late, runs
//! where it was received. It holds up other connections no longer than a time slice of the system would.

use crate::error::{ApiError, Problem};
use crate::http::{App, json};
use crate::metrics::Operation;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engram::clock::Stopwatch;
use engram::config::ThreadPools;
use serde::Serialize;
use std::any::Any;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

type Result<T> = std::result::Result<T, ApiError>;

/// What takes longer on the mean goes to a thread of its own: about the time slice that the system gives a thread.
const QUICK_US_MAX: u32 = 4000;
/// Kinds of requests that are told apart. Where two fall together, the slower one decides for both.
const PACES: usize = 1024;
/// The newest time counts for one in so many.
const PACE_WINDOW: u32 = 8;

/// Places for work, and how long it takes.
pub(crate) struct Workers {
    recalls: Arc<Semaphore>,
    recalls_max: usize,
    stores: Arc<Semaphore>,
    cores: usize,
    /// Mean time of each kind of request, microseconds; 0 where it is not known.
    paces: Vec<AtomicU32>,
}

/// A kind of requests that take about equally long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace(usize);

/// An operation that a request asks for, timed from when it was made.
pub(crate) struct Task {
    operation: Operation,
    watch: Stopwatch,
    pace: Option<Pace>,
}

impl Task {
    /// One that has a thread of its own.
    pub(crate) fn of(operation: Operation) -> Self {
        Task { operation, watch: Stopwatch::start(), pace: None }
    }

    /// The same, in place where those were quick that have all of `kind` in common.
    pub(crate) fn paced(self, kind: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        kind.hash(&mut hasher);
        Task { pace: Some(Pace(hasher.finish() as usize % PACES)), ..self }
    }
}

impl Workers {
    pub(crate) fn new(pools: &ThreadPools, cores: usize) -> Self {
        Workers {
            recalls: Arc::new(Semaphore::new(pools.recall_workers)),
            recalls_max: pools.recall_workers,
            stores: Arc::new(Semaphore::new(pools.store_workers)),
            cores,
            paces: (0..PACES).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    fn places(&self, operation: Operation) -> &Arc<Semaphore> {
        match operation {
            Operation::Recall
            | Operation::RecallMany
            | Operation::Activate
            | Operation::Complete
            | Operation::Get
            | Operation::Administer => &self.recalls,
            Operation::Store
            | Operation::Forget
            | Operation::Consolidate
            | Operation::Reinforce
            | Operation::Associate => &self.stores,
        }
    }

    /// Places of recalls that are free, for as many cores as no recall has; one is held already. At most `wanted`.
    pub(crate) fn spare(&self, wanted: usize) -> Option<SemaphorePermit<'_>> {
        let busy = self.recalls_max - self.recalls.available_permits();
        let count = wanted.min(self.cores.saturating_sub(busy));
        self.recalls.try_acquire_many(u32::try_from(count).ok().filter(|count| *count > 0)?).ok()
    }

    fn is_quick(&self, pace: Pace) -> bool {
        (1..=QUICK_US_MAX).contains(&self.paces[pace.0].load(Ordering::Relaxed))
    }

    /// Threads may overwrite each other's times: it is a mean, and the next one follows.
    fn took(&self, pace: Pace, time: Duration) {
        let time = u32::try_from(time.as_micros()).unwrap_or(u32::MAX).max(1);
        let mean = match self.paces[pace.0].load(Ordering::Relaxed) {
            0 => time,
            mean => mean - mean / PACE_WINDOW + time / PACE_WINDOW,
        };
        self.paces[pace.0].store(mean.max(1), Ordering::Relaxed);
    }
}

impl App {
    /// Carries out a task within the request's time, and counts, times and logs it.
    pub(crate) async fn run<T: Serialize + 'static>(
        self: Arc<Self>,
        task: Task,
        work: impl FnOnce(&App) -> Result<(StatusCode, T)> + Send + 'static,
    ) -> Response {
        let Task { operation, watch, pace } = task;
        let app = self.clone();
        let carry_out = move || {
            let own = Stopwatch::start();
            let outcome = work(&app).and_then(|(status, value)| Ok((status, to_json(&value)?)));
            if let Some(pace) = pace {
                app.workers.took(pace, own.elapsed());
            }
            app.account(operation, watch.elapsed(), outcome.as_ref().err());
            outcome
        };
        let places = self.workers.places(operation);
        if pace.is_some_and(|pace| self.workers.is_quick(pace))
            && let Ok(_place) = places.try_acquire()
        {
            let outcome = catch_unwind(AssertUnwindSafe(carry_out)).unwrap_or_else(|panic| {
                self.metrics.observe_failure(operation, Problem::Internal);
                Err(fault(&*panic))
            });
            return self.answer(operation, outcome);
        }
        let places = places.clone();
        let outcome = async move {
            let place = places.acquire_owned().await.expect("the places are never closed");
            let blocking = spawn_blocking(move || {
                // Given back when the work is done, even if nobody waits for it any more.
                let _place = place;
                carry_out()
            });
            blocking.await
        };
        match timeout(self.request_timeout, outcome).await {
            Ok(Ok(outcome)) => self.answer(operation, outcome),
            Ok(Err(unfinished)) => {
                self.metrics.observe_failure(operation, Problem::Internal);
                self.answer(operation, Err(panicked(unfinished)))
            }
            Err(_) => {
                self.metrics.observe_failure(operation, Problem::Timeout);
                self.late(operation).into_response()
            }
        }
    }

    fn answer(&self, operation: Operation, outcome: Result<(StatusCode, Vec<u8>)>) -> Response {
        match outcome {
            Ok((status, body)) => json(status, body),
            Err(error) => {
                if error.problem == Problem::Internal {
                    tracing::error!(operation = operation.name(), %error, "an operation failed");
                }
                error.into_response()
            }
        }
    }

    fn late(&self, operation: Operation) -> ApiError {
        let detail = format!(
            "{} took longer than {} s (limits.request_timeout_s); it may still be carried out, ask again to see",
            operation.name(),
            self.request_timeout.as_secs()
        );
        ApiError::new(Problem::Timeout, detail)
    }

    /// Answers a task that was not begun.
    pub(crate) fn refuse(&self, task: Task, error: ApiError) -> Response {
        self.account(task.operation, task.watch.elapsed(), Some(&error));
        self.answer(task.operation, Err(error))
    }

    pub(crate) fn account(&self, operation: Operation, took: Duration, error: Option<&ApiError>) {
        // A consolidation that began is observed when it ends.
        if operation != Operation::Consolidate || error.is_some() {
            self.metrics.observe(operation, took, error);
        }
        // Of many cues, each is timed.
        if took > self.slow && operation != Operation::RecallMany {
            let latency_ms = took.as_secs_f64() * 1000.0;
            let reason = error.map(|error| error.problem.reason());
            tracing::warn!(operation = operation.name(), latency_ms, reason, "slow operation");
        }
    }
}

/// What a caller is told of work on another thread that did not end.
pub(crate) fn panicked(unfinished: JoinError) -> ApiError {
    fault(&*unfinished.try_into_panic().unwrap_or_else(|stopped| Box::new(stopped.to_string())))
}

/// What a caller is told of a panic. The hook of the process has said where.
fn fault(panic: &(dyn Any + Send)) -> ApiError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text, "an operation panicked");
    ApiError::new(Problem::Internal, "the operation failed by a fault of the server; its log says more")
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| ApiError::new(Problem::Internal, format!("the reply cannot be written: {error}")))
}
