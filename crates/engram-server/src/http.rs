//! The routes: from an HTTP request to an operation of `Service` and back. What fails, fails as problem+json.
//! Bodies are read under a limit of bytes and of time; parsing, work and writing happen on the blocking pool, in as
//! many places as `thread_pools` allows.

use crate::api::{
    ActivateIn, AssociationIn, CompleteIn, ConsolidateIn, CountIn, CueIn, DeleteIn, GetQuery, ListQuery,
    MemoryOut, ReinforceIn, StatusOut, StoreIn, from_json, patch_from_json, shortened,
};
use crate::error::{ApiError, Problem};
use crate::health::Health;
use crate::metrics::{Held, Metrics, Operation};
use crate::process::Process;
use crate::service::Service;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use engram::clock::Stopwatch;
use engram::config::{Config, Machine};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

type Result<T> = std::result::Result<T, ApiError>;

/// A body that is too large is read on up to here, and thrown away, so that its sender gets to see the answer.
const DISCARDED_BYTES_MAX: u64 = 256 << 20;
/// Bodies of `limits.body_mb_max` that there is room for at one time, whatever the number of connections.
const LARGE_BODIES_MAX: usize = 16;
/// So much of each body needs no such room, so that large bodies, even ones that never end, do not turn small ones away.
const SMALL_BODY_BYTES_MAX: usize = 64 << 10;
/// Seconds that a caller waits before asking a busy server again.
const RETRY_AFTER_S: &str = "1";
const OPENAPI: &str = include_str!("openapi.json");

/// What the handlers share.
pub(crate) struct App {
    pub(crate) service: Service,
    pub(crate) metrics: Metrics,
    pub(crate) health: Health,
    machine: Machine,
    recalls: Arc<Semaphore>,
    stores: Arc<Semaphore>,
    body_bytes_max: usize,
    /// Bytes that bodies may take beyond their first `SMALL_BODY_BYTES_MAX`.
    body_room: Arc<Semaphore>,
    request_timeout: Duration,
    slow: Duration,
    is_for_this_machine: bool,
}

impl App {
    pub(crate) fn new(config: &Config, service: Service, metrics: Metrics) -> Self {
        App {
            service: service.with_content_bytes_max(config.limits.content_kb_max << 10),
            metrics,
            health: Health::starting(),
            machine: Machine::detect(),
            recalls: Arc::new(Semaphore::new(config.thread_pools.recall_workers)),
            stores: Arc::new(Semaphore::new(config.thread_pools.store_workers)),
            body_bytes_max: config.limits.body_mb_max << 20,
            body_room: Arc::new(Semaphore::new((config.limits.body_mb_max << 20) * LARGE_BODIES_MAX)),
            request_timeout: Duration::from_secs(config.limits.request_timeout_s),
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
            spaces: held.spaces as usize,
            memories: [("hot", held.memories), ("warm", 0), ("cold", 0)]
                .map(|(tier, count)| (tier.to_owned(), count))
                .into(),
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

    /// Runs blocking work in its pool, within the request's time, and counts, times and logs it.
    async fn run<T: Serialize + 'static>(
        self: Arc<Self>,
        operation: Operation,
        work: impl FnOnce(&App) -> Result<(StatusCode, T)> + Send + 'static,
    ) -> Response {
        let watch = Stopwatch::start();
        let pool = match operation {
            Operation::Recall
            | Operation::Activate
            | Operation::Complete
            | Operation::Get
            | Operation::Administer => &self.recalls,
            Operation::Store
            | Operation::Forget
            | Operation::Consolidate
            | Operation::Reinforce
            | Operation::Associate => &self.stores,
        };
        let (app, pool, metrics) = (self.clone(), pool.clone(), self.metrics.clone());
        let answer = async move {
            let permit = pool.acquire_owned().await.expect("the pools are never closed");
            let blocking = tokio::task::spawn_blocking(move || {
                // Given back when the work is done, even if nobody waits for it any more.
                let _permit = permit;
                let outcome = work(&app).and_then(|(status, value)| Ok((status, to_json(&value)?)));
                app.account(operation, watch.elapsed(), outcome.as_ref().err());
                outcome
            });
            blocking.await.unwrap_or_else(|panic| {
                metrics.observe_failure(operation, Problem::Internal);
                Err(panicked(&panic))
            })
        };
        match timeout(self.request_timeout, answer).await {
            Ok(Ok((status, body))) => json(status, body),
            Ok(Err(error)) => {
                if error.problem == Problem::Internal {
                    tracing::error!(operation = operation.name(), %error, "an operation failed");
                }
                error.into_response()
            }
            Err(_) => {
                self.metrics.observe_failure(operation, Problem::Timeout);
                ApiError::new(
                    Problem::Timeout,
                    format!(
                        "{} took longer than {} s (limits.request_timeout_s); it may still be carried out, ask again to see",
                        operation.name(),
                        self.request_timeout.as_secs()
                    ),
                )
                .into_response()
            }
        }
    }

    fn account(&self, operation: Operation, took: Duration, error: Option<&ApiError>) {
        // A consolidation that began is observed when it ends.
        if operation != Operation::Consolidate || error.is_some() {
            self.metrics.observe(operation, took, error);
        }
        if took > self.slow {
            let latency_ms = took.as_secs_f64() * 1000.0;
            let reason = error.map(|error| error.problem.reason());
            tracing::warn!(operation = operation.name(), latency_ms, reason, "slow operation");
        }
    }
}

fn panicked(panic: &tokio::task::JoinError) -> ApiError {
    tracing::error!(%panic, "an operation panicked");
    ApiError::new(Problem::Internal, "the operation failed by a fault of the server; its log says more")
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
    json(StatusCode::OK, OPENAPI)
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let rendering = tokio::task::spawn_blocking(move || app.metrics.render(app.service.engine()));
    match rendering.await.unwrap_or_else(|panic| Err(panicked(&panic))) {
        Ok(body) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], body).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn status(State(app): State<Arc<App>>) -> Response {
    app.run(Operation::Administer, |app| ok(app.status())).await
}

async fn spaces(State(app): State<Arc<App>>) -> Response {
    app.run(Operation::Administer, |app| ok(app.service.spaces()?)).await
}

async fn space(State(app): State<Arc<App>>, call: Call) -> Response {
    app.run(Operation::Administer, move |app| ok(app.service.space_summary(call.space())?)).await
}

async fn put_space(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| {
        let (space, is_new) = app.service.put_space(call.space(), call.json()?)?;
        Ok((if is_new { StatusCode::CREATED } else { StatusCode::OK }, space))
    };
    app.run(Operation::Administer, work).await
}

async fn delete_space(State(app): State<Arc<App>>, call: Call) -> Response {
    app.run(Operation::Forget, move |app| ok(app.service.delete_space(call.space())?)).await
}

async fn list(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.list(call.space(), &call.query::<ListQuery>()?)?);
    app.run(Operation::Get, work).await
}

async fn store(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| {
        let stored = app.service.store(call.space(), call.json::<StoreIn>()?, call.idempotency_key()?)?;
        Ok((StatusCode::CREATED, stored))
    };
    app.run(Operation::Store, work).await
}

async fn count(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.count(call.space(), call.json::<CountIn>()?)?);
    app.run(Operation::Get, work).await
}

async fn delete_matching(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.delete_matching(call.space(), call.json::<DeleteIn>()?)?);
    app.run(Operation::Forget, work).await
}

async fn memory(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.get(call.space(), call.id(), &call.query::<GetQuery>()?)?);
    app.run(Operation::Get, work).await
}

async fn patch_memory(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| -> Result<(StatusCode, MemoryOut)> {
        ok(app.service.patch(call.space(), call.id(), patch_from_json(call.json_body()?)?)?)
    };
    app.run(Operation::Store, work).await
}

async fn delete_memory(State(app): State<Arc<App>>, call: Call) -> Response {
    app.run(Operation::Forget, move |app| ok(app.service.delete(call.space(), call.id())?)).await
}

async fn recall(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| {
        let (recalled, fetches) = app.service.recall_counted(call.space(), call.json::<CueIn>()?)?;
        app.metrics.observe_fetches(fetches);
        ok(recalled)
    };
    app.run(Operation::Recall, work).await
}

async fn activate(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.activate(call.space(), call.json::<ActivateIn>()?)?);
    app.run(Operation::Activate, work).await
}

async fn reinforce(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.reinforce(call.space(), call.json::<ReinforceIn>()?)?);
    app.run(Operation::Reinforce, work).await
}

async fn complete(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.complete(call.space(), call.json::<CompleteIn>()?)?);
    app.run(Operation::Complete, work).await
}

async fn consolidate(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| {
        let started = app.service.consolidate(call.space(), call.json::<ConsolidateIn>()?)?;
        Ok((StatusCode::ACCEPTED, started))
    };
    app.run(Operation::Consolidate, work).await
}

async fn job(State(app): State<Arc<App>>, call: Call) -> Response {
    app.run(Operation::Get, move |app| ok(app.service.job(call.id())?)).await
}

async fn link(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.link(call.space(), call.json::<AssociationIn>()?)?);
    app.run(Operation::Associate, work).await
}

async fn unlink(State(app): State<Arc<App>>, call: Call) -> Response {
    let work = move |app: &App| ok(app.service.unlink(call.space(), call.json::<AssociationIn>()?)?);
    app.run(Operation::Associate, work).await
}

fn ok<T>(value: T) -> Result<(StatusCode, T)> {
    Ok((StatusCode::OK, value))
}

/// A request, read in full and not looked at yet.
struct Call {
    space: String,
    id: String,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
    /// Held until the request is done with.
    _room: Option<OwnedSemaphorePermit>,
}

impl Call {
    /// The space in the path, as given.
    fn space(&self) -> &str {
        &self.space
    }

    /// The memory id in the path, as given.
    fn id(&self) -> &str {
        &self.id
    }

    fn query<T: DeserializeOwned>(&self) -> Result<T> {
        let query = Query::try_from_uri(&self.uri);
        query.map(|Query(value)| value).map_err(|rejection| {
            let text = rejection.body_text();
            ApiError::invalid(text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text))
        })
    }

    /// Only bodies that are said to be JSON: a page in a browser cannot send those to a server that did not ask.
    fn json_body(&self) -> Result<&[u8]> {
        let given = self.headers.get(header::CONTENT_TYPE).map_or(Ok(""), |value| value.to_str());
        let (media_type, parameters) =
            given.map_or(("unreadable", ""), |given| given.split_once(';').unwrap_or((given, "")));
        let media_type = media_type.trim();
        let charset = parameters.split(';').filter_map(|parameter| parameter.split_once('=')).find_map(
            |(name, value)| {
                name.trim().eq_ignore_ascii_case("charset").then_some(value.trim().trim_matches('"'))
            },
        );
        if let Some(charset) = charset.filter(|charset| !charset.eq_ignore_ascii_case("utf-8")) {
            let detail = format!("the body is of charset {charset:?}; send JSON as UTF-8");
            return Err(ApiError::new(Problem::MediaType, detail));
        }
        let is_json = media_type.eq_ignore_ascii_case("application/json")
            || (media_type.starts_with("application/") && media_type.ends_with("+json"));
        if is_json || self.body.is_empty() {
            return Ok(&self.body);
        }
        let found =
            if media_type.is_empty() { "has no Content-Type".into() } else { format!("is {media_type:?}") };
        Err(ApiError::new(
            Problem::MediaType,
            format!("the body {found}; send JSON with \"Content-Type: application/json\""),
        ))
    }

    fn json<T: DeserializeOwned>(&self) -> Result<T> {
        from_json(self.json_body()?)
    }

    fn idempotency_key(&self) -> Result<Option<String>> {
        let key = self.headers.get("idempotency-key").map(|value| value.to_str().map(str::to_owned));
        key.transpose().map_err(|_| ApiError::invalid("Idempotency-Key must be printable ASCII"))
    }
}

impl FromRequest<Arc<App>> for Call {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self> {
        let (mut parts, body) = request.into_parts();
        let params = RawPathParams::from_request_parts(&mut parts, app).await.map_err(|rejection| {
            ApiError::invalid(format!("the path {:?} cannot be read: {rejection}", parts.uri.path()))
        })?;
        let param = |name| params.iter().find(|(own, _)| *own == name).map(|(_, value)| value.to_owned());
        let (space, id) = (param("space").unwrap_or_default(), param("id").unwrap_or_default());
        let (body, room) = match parts.method {
            Method::GET | Method::HEAD => (Bytes::new(), None),
            _ => read_body(app, &parts.headers, body).await?,
        };
        Ok(Call { space, id, uri: parts.uri, headers: parts.headers, body, _room: room })
    }
}

async fn read_body(
    app: &App,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>)> {
    let most = app.body_bytes_max as u64;
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let too_large = || {
        let found = declared.map_or("more".to_owned(), |bytes| format!("{bytes} bytes"));
        ApiError::new(
            Problem::TooLarge,
            format!(
                "the body has {found}, at most {most} bytes are allowed (limits.body_mb_max); send it in parts"
            ),
        )
    };
    // Who waits for leave to send needs no answer to the body; anybody else has begun to send.
    let is_waiting = headers.contains_key(header::EXPECT);
    if declared.is_some_and(|bytes| bytes > most) && (is_waiting || declared > Some(DISCARDED_BYTES_MAX)) {
        return Err(too_large());
    }
    let reading = async {
        let (mut bytes, mut read, mut room, mut is_crowded) = (Vec::new(), 0, None, false);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ApiError::invalid(format!("the body broke off: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            read += data.len() as u64;
            is_crowded = is_crowded || !make_room(app, &mut room, bytes.len() + data.len());
            if declared.unwrap_or(read).max(read) <= most && !is_crowded {
                bytes.extend_from_slice(&data);
            } else {
                (bytes, room) = (Vec::new(), None);
            }
            if read > DISCARDED_BYTES_MAX {
                break;
            }
        }
        match (read > most, is_crowded) {
            (true, _) => Err(too_large()),
            (false, true) => Err(crowded(app)),
            (false, false) => Ok((Bytes::from(bytes), room)),
        }
    };
    let late = |_| {
        let detail = format!(
            "the body did not arrive within {} s (limits.request_timeout_s); send it faster or in parts",
            app.request_timeout.as_secs()
        );
        Err(ApiError::new(Problem::RequestTimeout, detail))
    };
    timeout(app.request_timeout, reading).await.unwrap_or_else(late)
}

/// Makes `room` enough for a body of `bytes`, unless other bodies have it.
fn make_room(app: &App, room: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> bool {
    let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let missing = bytes.saturating_sub(SMALL_BODY_BYTES_MAX).saturating_sub(held);
    let Ok(missing) = u32::try_from(missing) else { return false };
    let Ok(more) = app.body_room.clone().try_acquire_many_owned(missing) else { return false };
    match room {
        Some(room) => room.merge(more),
        None => *room = Some(more),
    }
    true
}

fn crowded(app: &App) -> ApiError {
    let detail = format!(
        "there is room for {} bytes of bodies at one time, and others have it; ask again in a moment, or send less at once",
        app.body_bytes_max * LARGE_BODIES_MAX
    );
    ApiError::new(Problem::Busy, detail)
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value)
        .map_err(|error| ApiError::new(Problem::Internal, format!("the reply cannot be written: {error}")))
}

fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}

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
