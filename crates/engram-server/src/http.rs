//! The routes: from an HTTP request to an operation of `Service` and back. What fails, fails as problem+json.
//! `call.rs` reads requests, `workers.rs` runs operations and writes what they give.

use crate::api::{
    ActivateIn, AssociationIn, CompleteIn, ConsolidateIn, CountIn, CueIn, CuesIn, DeleteIn, GetQuery,
    ListQuery, MemoryOut, RecallIn, ReinforceIn, StatusOut, StoreIn, patch_from_json, shortened,
};
use crate::call::{BodyLimits, Call};
use crate::error::{ApiError, Problem};
use crate::health::Health;
use crate::metrics::{Held, Metrics, Operation};
use crate::process::Process;
use crate::service::{RepliesOut, Service, TimeLimit};
use crate::snapshots::answers_within;
use crate::workers::{Task, Workers, panicked};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use engram::Tier;
use engram::clock::Stopwatch;
use engram::config::{Config, Machine};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

type Result<T> = std::result::Result<T, ApiError>;

/// Fewer cues are no reason to start another thread.
const CUES_PER_THREAD: usize = 4;
/// Seconds that a caller waits before asking a busy server again.
const RETRY_AFTER_S: &str = "1";
const OPENAPI: &str = include_str!("openapi.json");

/// What the handlers share.
pub(crate) struct App {
    pub(crate) service: Service,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    machine: Machine,
    pub(crate) workers: Workers,
    pub(crate) body_limits: BodyLimits,
    pub(crate) request_timeout: Duration,
    pub(crate) slow: Duration,
    is_for_this_machine: bool,
}

impl App {
    pub(crate) fn new(config: &Config, service: Service, metrics: Metrics) -> Self {
        let machine = Machine::detect();
        let request_timeout = Duration::from_secs(config.limits.request_timeout_s);
        App {
            service: service.with_content_bytes_max(config.limits.content_kb_max << 10),
            metrics,
            health: Health::starting(),
            workers: Workers::new(&config.thread_pools, machine.cores),
            machine,
            body_limits: BodyLimits::new(config.limits.body_mb_max << 20, request_timeout),
            request_timeout,
            slow: Duration::from_millis(config.log.slow_operation_ms),
            is_for_this_machine: config.server.http_addr.ip().to_canonical().is_loopback()
                && config.auth.keys_file.as_os_str().is_empty(),
        }
    }

    fn status(&self) -> StatusOut {
        let held = Held::of(self.service.engine());
        let reason = self.health.reason();
        let process = Process::now();
        StatusOut {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.metrics.uptime().as_millis() as f64 / 1000.0,
            ready: reason.is_none(),
            reason,
            cpus: self.machine.cores,
            numa_nodes: self.machine.numa_nodes,
            // Those that were not opened yet count, too.
            spaces: self.service.engine().spaces().map_or(held.spaces as usize, |names| names.len()),
            memories: Tier::ALL.map(|tier| (tier.as_str().to_owned(), held.memories[tier as usize])).into(),
            data_bytes: held.data_bytes,
            memory_bytes: self.metrics.memory_bytes(),
            resident_bytes: process.resident_bytes,
            cpu_s: process.cpu.map(|time| time.as_secs_f64()),
            hit_rate: self.metrics.hit_rate(),
            log_bytes: held.log_bytes,
            unindexed: held.unindexed,
            operations: self.metrics.operations(),
        }
    }

    /// Recalls by all cues, on this thread and on others where cores are free. Each counts as a recall. `asked` runs
    /// since the request was read; what nobody waits for any more is not gone on with.
    fn recall_many(
        &self,
        space: &str,
        cues: Vec<CueIn>,
        asked: Stopwatch,
    ) -> Result<(StatusCode, RepliesOut)> {
        let watch = Stopwatch::start();
        let limit = TimeLimit { watch: asked, time_max: self.request_timeout };
        let spare = self.workers.spare(cues.len() / CUES_PER_THREAD);
        let threads = 1 + spare.as_ref().map_or(0, |spare| spare.num_permits());
        let answered = self.service.answer_many(space, cues, threads, limit);
        // Free for others while the log is waited for.
        drop(spare);
        match answered.and_then(|answered| answered.settled()) {
            Ok(answered) => {
                answered.times().for_each(|took| self.account(Operation::Recall, took, None));
                self.metrics.observe_fetches(answered.fetches());
                ok(answered.into())
            }
            Err(error) => {
                self.account(Operation::Recall, watch.elapsed(), Some(&error));
                Err(error)
            }
        }
    }
}

/// Registers the routes and lists them, so that the OpenAPI document can be held to them.
macro_rules! routes {
    ($($method:ident $path:literal => $handler:ident;)*) => {
        /// Method and path of every route.
        #[cfg(test)]
        pub(crate) const ROUTES: &[(&str, &str)] = &[$((stringify!($method), $path)),*];

        fn routed() -> Router<Arc<App>> {
            Router::new()$(.route($path, $method($handler)))*
        }
    };
}

routes! {
    get "/health/live" => live;
    get "/health/ready" => ready;
    get "/api/v1/openapi.json" => openapi;
    get "/api/v1/status" => status;
    get "/api/v1/spaces" => spaces;
    get "/api/v1/spaces/{space}" => space;
    put "/api/v1/spaces/{space}" => put_space;
    delete "/api/v1/spaces/{space}" => delete_space;
    get "/api/v1/spaces/{space}/memories" => list;
    post "/api/v1/spaces/{space}/memories" => store;
    post "/api/v1/spaces/{space}/memories/count" => count;
    post "/api/v1/spaces/{space}/memories/delete" => delete_matching;
    get "/api/v1/spaces/{space}/memories/{id}" => memory;
    patch "/api/v1/spaces/{space}/memories/{id}" => patch_memory;
    delete "/api/v1/spaces/{space}/memories/{id}" => delete_memory;
    post "/api/v1/spaces/{space}/recall" => recall;
    post "/api/v1/spaces/{space}/activate" => activate;
    post "/api/v1/spaces/{space}/reinforce" => reinforce;
    post "/api/v1/spaces/{space}/complete" => complete;
    post "/api/v1/spaces/{space}/consolidate" => consolidate;
    get "/api/v1/jobs/{id}" => job;
    post "/api/v1/spaces/{space}/snapshots" => take_snapshot;
    delete "/api/v1/spaces/{space}/snapshots/{id}" => delete_snapshot;
    get "/api/v1/spaces/{space}/snapshots/{id}/sha256" => snapshot_sha256;
    get "/api/v1/spaces/{space}/snapshots/{id}/bytes" => snapshot_bytes;
    get "/api/v1/spaces/{space}/backups" => backups;
    put "/api/v1/spaces/{space}/backups/{id}" => note_backup;
    delete "/api/v1/spaces/{space}/backups/{id}" => forget_backup;
    put "/api/v1/spaces/{space}/associations" => link;
    delete "/api/v1/spaces/{space}/associations" => unlink;
}

/// The API and the health checks.
pub(crate) fn router(app: Arc<App>) -> Router {
    let is_for_this_machine = app.is_for_this_machine;
    let router = routed().fallback(no_route).method_not_allowed_fallback(wrong_method).with_state(app);
    if is_for_this_machine { router.layer(from_fn(own_names_only)) } else { router }
}

/// A server without keys on loopback trusts who reaches it. A page in a browser on this machine would, by a name of its
/// own that it lets lead to loopback (DNS rebinding); but such a request bears that name.
async fn own_names_only(request: Request, next: Next) -> Response {
    let hosts = request.headers().get_all(header::HOST);
    let foreign = hosts.iter().map(|host| host.to_str().unwrap_or("unreadable")).find(|host| !is_own(host));
    let found = match foreign {
        Some(host) => format!("its Host is {:?}", shortened(host)),
        None if hosts.iter().next().is_none() => "it names no Host".to_owned(),
        None => return next.run(request).await,
    };
    if request.uri().path().starts_with("/health/") {
        return next.run(request).await;
    }
    let detail = format!(
        "the request is not addressed to this machine, {found}; a server that asks for no key and listens on loopback \
         answers to localhost, 127.0.0.1 and [::1] only, so that no page in a browser reaches it by another name"
    );
    ApiError::new(Problem::Forbidden, detail).into_response()
}

/// Whether a Host, with or without a port, is this machine. Addresses cannot be made to lead elsewhere, names can.
fn is_own(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

/// What a server answers that has `connections_max` connections already.
pub(crate) fn full_router(app: Arc<App>, connections_max: usize) -> Router {
    let full = move || async move {
        let detail = format!(
            "{connections_max} connections are open (limits.connections_max); close some, or ask again in a moment"
        );
        ApiError::new(Problem::Busy, detail)
    };
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .fallback(full)
        .with_state(app)
}

/// `/metrics` alone.
pub(crate) fn metrics_router(app: Arc<App>) -> Router {
    let router = Router::new().route("/metrics", get(metrics));
    router.fallback(no_route).method_not_allowed_fallback(wrong_method).with_state(app)
}

async fn no_route(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        Problem::NotFound,
        format!("nothing answers {method} {}; /api/v1/openapi.json lists what does", uri.path()),
    )
}

/// The router adds `Allow`.
async fn wrong_method(method: Method) -> ApiError {
    let detail =
        format!("this path does not take {method}; the Allow header of this reply names what it takes");
    ApiError::new(Problem::MethodNotAllowed, detail)
}

async fn live() -> Response {
    text(StatusCode::OK, "live")
}

async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.health.reason() {
        None => text(StatusCode::OK, "ready"),
        Some(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
}

async fn openapi() -> Response {
    body(StatusCode::OK, JSON, OPENAPI)
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let rendering = tokio::task::spawn_blocking(move || {
        app.service.snapshots.tidy();
        app.metrics.render(app.service.engine())
    });
    match rendering.await.unwrap_or_else(|unfinished| Err(panicked(&unfinished))) {
        Ok(body) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], body).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn status(State(app): State<Arc<App>>) -> Response {
    app.run(Task::of(Operation::Administer), |app| ok(app.status())).await
}

async fn spaces(State(app): State<Arc<App>>) -> Response {
    app.run(Task::of(Operation::Administer), |app| ok(app.service.spaces()?)).await
}

async fn space(State(app): State<Arc<App>>, call: Call) -> Response {
    app.run(Task::of(Operation::Administer), move |app| ok(app.service.space_summary(call.space())?)).await
}

async fn put_space(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| {
        let (space, is_new) = app.service.put_space(call.space(), call.json()?)?;
        Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, space))
    };
    app.run(Task::of(Operation::Administer), work).await
}

async fn delete_space(State(app): State<Arc<App>>, call: Call) -> Response {
    app.run(Task::of(Operation::Forget), move |app| ok(app.service.delete_space(call.space())?)).await
}

async fn list(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.list(call.space(), &call.query::<ListQuery>()?)?);
    app.run(Task::of(Operation::Get), work).await
}

async fn store(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| {
        let stored = app.service.store(call.space(), call.json::<StoreIn>()?, call.idempotency_key()?)?;
        Ok((StatusCode::CREATED, stored))
    };
    app.run(Task::of(Operation::Store), work).await
}

async fn count(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.count(call.space(), call.json::<CountIn>()?)?);
    app.run(Task::of(Operation::Get), work).await
}

async fn delete_matching(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.delete_matching(call.space(), call.json::<DeleteIn>()?)?);
    app.run(Task::of(Operation::Forget), work).await
}

async fn memory(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.get(call.space(), call.id(), &call.query::<GetQuery>()?)?);
    app.run(Task::of(Operation::Get), work).await
}

async fn patch_memory(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| -> Result<(StatusCode, MemoryOut)> {
        ok(app.service.patch(call.space(), call.id(), patch_from_json(call.json_body()?)?)?)
    };
    app.run(Task::of(Operation::Store), work).await
}

async fn delete_memory(State(app): State<Arc<App>>, call: Call) -> Response {
    app.run(Task::of(Operation::Forget), move |app| ok(app.service.delete(call.space(), call.id())?)).await
}

async fn recall(State(app): State<Arc<App>>, call: Call) -> Response {
    let task = Task::of(Operation::Recall);
    match call.read(Call::cues).await {
        Err(error) => app.refuse(task, error),
        Ok((call, RecallIn::One(cue))) => {
            let work = move |app: &App| {
                let (recalled, fetches) = app.service.recall_counted(call.space(), *cue)?;
                app.metrics.observe_fetches(fetches);
                ok(recalled)
            };
            app.run(task, work).await
        }
        Ok((call, RecallIn::Many(CuesIn { cues }))) => {
            let task = Task::of(Operation::RecallMany);
            let asked = task.watch();
            app.run(task, move |app| app.recall_many(call.space(), cues, asked)).await
        }
    }
}

async fn activate(State(app): State<Arc<App>>, call: Call) -> Response {
    let task = Task::of(Operation::Activate);
    match call.read(Call::json::<ActivateIn>).await {
        Err(error) => app.refuse(task, error),
        Ok((call, request)) => {
            app.run(task, move |app| ok(app.service.activate(call.space(), request)?)).await
        }
    }
}

async fn reinforce(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.reinforce(call.space(), call.json::<ReinforceIn>()?)?);
    app.run(Task::of(Operation::Reinforce), work).await
}

async fn complete(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.complete(call.space(), call.json::<CompleteIn>()?)?);
    app.run(Task::of(Operation::Complete), work).await
}

async fn consolidate(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| {
        let started = app.service.consolidate(call.space(), call.json::<ConsolidateIn>()?)?;
        Ok((StatusCode::ACCEPTED, started))
    };
    app.run(Task::of(Operation::Consolidate), work).await
}

async fn job(State(app): State<Arc<App>>, call: Call) -> Response {
    app.run(Task::of(Operation::Get), move |app| ok(app.service.job(call.id())?)).await
}

async fn take_snapshot(State(app): State<Arc<App>>, call: Call) -> Response {
    let limit = TimeLimit { watch: Stopwatch::start(), time_max: app.request_timeout };
    let work = move |app: &App| {
        Ok((StatusCode::CREATED, app.service.take_snapshot_within(call.space(), Some(limit))?))
    };
    app.run(Task::of(Operation::Administer), work).await
}

async fn delete_snapshot(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.delete_snapshot(call.space(), call.id())?);
    app.run(Task::of(Operation::Administer), work).await
}

async fn snapshot_sha256(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| {
        let time_max = answers_within(app.request_timeout);
        ok(app.service.snapshot_sha256(call.space(), call.id(), &call.query()?, time_max)?)
    };
    app.run(Task::of(Operation::Administer), work).await
}

async fn snapshot_bytes(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| app.service.snapshot_bytes(call.space(), call.id(), &call.query()?);
    app.run_for_bytes(Task::of(Operation::Administer), work).await
}

async fn backups(State(app): State<Arc<App>>, call: Call) -> Response {
    app.run(Task::of(Operation::Administer), move |app| ok(app.service.backups(call.space())?)).await
}

async fn note_backup(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.note_backup(call.space(), call.id(), call.json()?)?);
    app.run(Task::of(Operation::Administer), work).await
}

async fn forget_backup(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.forget_backup(call.space(), call.id())?);
    app.run(Task::of(Operation::Administer), work).await
}

async fn link(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.link(call.space(), call.json::<AssociationIn>()?)?);
    app.run(Task::of(Operation::Associate), work).await
}

async fn unlink(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.unlink(call.space(), call.json::<AssociationIn>()?)?);
    app.run(Task::of(Operation::Associate), work).await
}

fn ok<T>(value: T) -> Result<(StatusCode, T)> {
    Ok((StatusCode::OK, value))
}

pub(crate) fn body(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, media_type)], body.into()).into_response()
}

pub(crate) const JSON: &str = "application/json";
pub(crate) const BYTES: &str = "application/octet-stream";

fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body.into()).into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status()).expect("the table holds HTTP statuses");
        let body = serde_json::to_vec(&self.body()).expect("texts and numbers can be written");
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_openapi_document_has_exactly_the_routes() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        let mut documented = Vec::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
            documented.extend(methods.map(|method| (method.as_str(), path.as_str())));
        }
        let mut routed = ROUTES.to_vec();
        documented.sort_unstable();
        routed.sort_unstable();
        assert_eq!(documented, routed);
    }
}
