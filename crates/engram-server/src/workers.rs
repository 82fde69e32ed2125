//! Where operations run. All block, so they have threads of their own, in as many places as `thread_pools` allows.
//! Recalls on the thread that serves the connection were tried: that saves the way there and back, a sixth of what a
//! small one costs, but while it lasts nobody may look for what arrives on other connections. With 8 clients on two busy
//! cores that cost half of the throughput and more (bench/README.md).

use crate::error::{ApiError, Problem};
use crate::http::{App, BYTES, JSON, body};
use crate::metrics::Operation;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use engram::clock::Stopwatch;
use engram::config::ThreadPools;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

type Result<T> = std::result::Result<T, ApiError>;

/// Places for work.
pub(crate) struct Workers {
    recalls: Arc<Semaphore>,
    recalls_max: usize,
    stores: Arc<Semaphore>,
    cores: usize,
}

/// An operation that a request asks for, timed from when it was made.
pub(crate) struct Task {
    operation: Operation,
    watch: Stopwatch,
}

impl Task {
    /// One that begins now.
    pub(crate) fn of(operation: Operation) -> Self {
        Task { operation, watch: Stopwatch::start() }
    }

    /// Runs since it was made.
    pub(crate) fn watch(&self) -> Stopwatch {
        self.watch
    }
}

impl Workers {
    pub(crate) fn new(pools: &ThreadPools, cores: usize) -> Self {
        Workers {
            recalls: Arc::new(Semaphore::new(pools.recall_workers)),
            recalls_max: pools.recall_workers,
            stores: Arc::new(Semaphore::new(pools.store_workers)),
            cores,
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
        let free = self.recalls.available_permits();
        let busy = self.recalls_max - free;
        let count = wanted.min(self.cores.saturating_sub(busy)).min(free);
        self.recalls.try_acquire_many(u32::try_from(count).ok().filter(|count| *count > 0)?).ok()
    }
}

impl App {
    /// Carries out a task within the request's time, and counts, times and logs it.
    pub(crate) async fn run<T: Serialize + 'static>(
        self: Arc<Self>,
        task: Task,
        work: impl FnOnce(&App) -> Result<(StatusCode, T)> + Send + 'static,
    ) -> Response {
        let work = move |app: &App| work(app).and_then(|(status, value)| Ok((status, to_json(&value)?)));
        self.carry_out(task, JSON, work).await
    }

    /// The same, with an answer that is bytes.
    pub(crate) async fn run_for_bytes(
        self: Arc<Self>,
        task: Task,
        work: impl FnOnce(&App) -> Result<Vec<u8>> + Send + 'static,
    ) -> Response {
        self.carry_out(task, BYTES, move |app| Ok((StatusCode::OK, work(app)?))).await
    }

    async fn carry_out(
        self: Arc<Self>,
        task: Task,
        media_type: &'static str,
        work: impl FnOnce(&App) -> Result<(StatusCode, Vec<u8>)> + Send + 'static,
    ) -> Response {
        let Task { operation, watch } = task;
        let (app, places) = (self.clone(), self.workers.places(operation).clone());
        let outcome = async move {
            let place = places.acquire_owned().await.expect("the places are never closed");
            let blocking = spawn_blocking(move || {
                // Given back when the work is done, even if nobody waits for it any more.
                let _place = place;
                let outcome = work(&app);
                app.account(operation, watch.elapsed(), outcome.as_ref().err());
                outcome
            });
            blocking.await
        };
        match timeout(self.request_timeout, outcome).await {
            Ok(Ok(outcome)) => self.answer(operation, media_type, outcome),
            Ok(Err(unfinished)) => {
                self.metrics.observe_failure(operation, Problem::Internal);
                self.answer(operation, JSON, Err(panicked(&unfinished)))
            }
            Err(_) => {
                self.metrics.observe_failure(operation, Problem::Timeout);
                self.late(operation).into_response()
            }
        }
    }

    fn answer(
        &self,
        operation: Operation,
        media_type: &'static str,
        outcome: Result<(StatusCode, Vec<u8>)>,
    ) -> Response {
        match outcome {
            Ok((status, bytes)) => body(status, media_type, bytes),
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
        self.answer(task.operation, JSON, Err(error))
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

/// What a caller is told of work that did not end. The hook of the process has said where.
pub(crate) fn panicked(unfinished: &JoinError) -> ApiError {
    tracing::error!(panic = %unfinished, "an operation panicked");
    ApiError::new(Problem::Internal, "the operation failed by a fault of the server; its log says more")
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| ApiError::new(Problem::Internal, format!("the reply cannot be written: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engram::config::{Config, Machine};

    #[test]
    fn what_is_spare_is_free_in_places_and_in_cores() {
        for (places, held, cores, wanted, expected) in [
            (2, 1, 16, 8, 1),
            (8, 1, 16, 3, 3),
            (8, 1, 16, 200, 7),
            (8, 3, 4, 8, 1),
            (64, 1, 2, 8, 1),
            (64, 2, 2, 8, 0),
            (64, 9, 2, 8, 0),
            (1, 1, 16, 8, 0),
            (8, 1, 16, 0, 0),
        ] {
            let pools =
                ThreadPools { recall_workers: places, ..Config::fitting(&Machine::detect()).thread_pools };
            let workers = Workers::new(&pools, cores);
            let _held = workers.recalls.try_acquire_many(held).unwrap();
            let spare = workers.spare(wanted).map_or(0, |spare| spare.num_permits());
            assert_eq!(spare, expected, "{places} places, {held} held, {cores} cores, {wanted} wanted");
        }
    }
}
