//! The life of the server: bind, warm up, serve, and stop so that every request received in full is answered.
//! Connections are bounded. The next one is not left waiting, which would make a full server look like a dead one: it
//! goes to a small reserve that answers the health checks, and all else with 503.

use crate::health::warm_up;
use crate::http::{App, full_router, metrics_router, router};
use crate::metrics::Metrics;
use crate::service::Service;
use axum::Router;
use engram::Engine;
use engram::clock::Stopwatch;
use engram::config::{Config, ConfigError};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// Scrapers and people who look at the metrics.
const METRICS_CONNECTIONS_MAX: usize = 64;
/// Connections beyond the bound that are told so at one time; one more cuts the oldest. A request that is here already
/// is answered in far less time than it takes to open as many.
const RESERVE_MAX: usize = 64;
/// How long a connection of the reserve may take to ask.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection may take to its first byte: those that never ask keep their place no longer than this.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(5);
/// After a failed accept, which means that the process has no more file descriptors or the like.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// How long a connection may take at a stop to read what has arrived for it already.
const LAST_READ: Duration = Duration::from_millis(10);

/// Why a server did not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It would listen beyond this machine without protection.
    #[error(transparent)]
    Exposed(#[from] ConfigError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}; stop what listens there, or set {key} to another address")]
    Bind {
        /// The setting.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Signals cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
    /// The engine did not close well.
    #[error(transparent)]
    Close(#[from] engram::Error),
    /// The engine did not close in time.
    #[error("the engine did not close within lifecycle.shutdown_timeout_s; the next start replays the log")]
    CloseTimeout,
}

/// A server that has its addresses and serves when `run`.
pub struct Server {
    app: Arc<App>,
    http: TcpListener,
    metrics: TcpListener,
    config: Config,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Draining,
    /// Connections are dropped as they are.
    Cutting,
}

/// What arrives for each SIGTERM or Ctrl-C: the first stops the server, the second hastens it.
pub fn stop_on_signals() -> Result<mpsc::Receiver<()>, ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

impl Server {
    /// Listens on the configured addresses, of which port 0 lets the system choose. `insecure`: even beyond loopback.
    pub async fn bind(
        config: Config,
        engine: Engine,
        metrics: Metrics,
        insecure: bool,
    ) -> Result<Server, ServeError> {
        config.check_exposure(insecure)?;
        let http = listen("server.http_addr", config.server.http_addr).await?;
        let metrics_listener = listen("server.metrics_addr", config.server.metrics_addr).await?;
        let app = Arc::new(App::new(&config, Service::new(engine), metrics));
        Ok(Server { app, http, metrics: metrics_listener, config })
    }

    /// Where the API listens.
    pub fn http_addr(&self) -> io::Result<SocketAddr> {
        self.http.local_addr()
    }

    /// Where the metrics are.
    pub fn metrics_addr(&self) -> io::Result<SocketAddr> {
        self.metrics.local_addr()
    }

    /// Serves until something arrives in `stop`, or its sender is gone. Then: not ready, no new connections, answers to
    /// what was received, the engine closed. A second arrival cuts what is still open.
    pub async fn run(self, mut stop: mpsc::Receiver<()>) -> Result<(), ServeError> {
        let Server { app, http, metrics, config } = self;
        let (phase, phases) = watch::channel(Phase::Serving);
        let (metrics_phase, metrics_phases) = watch::channel(Phase::Serving);
        let header_timeout = Duration::from_secs(config.limits.request_timeout_s);
        let connections = Connections::new(config.limits.connections_max, header_timeout, phases);
        let scrapes = Connections::new(METRICS_CONNECTIONS_MAX, header_timeout, metrics_phases);
        let serving = tokio::spawn(connections.clone().accept(
            http,
            router(app.clone()),
            full_router(app.clone(), config.limits.connections_max),
        ));
        let scraped = metrics_router(app.clone());
        let scraping = tokio::spawn(scrapes.accept(metrics, scraped.clone(), scraped));
        let warm = app.clone();
        let patterns = config.lifecycle.warmup_patterns;
        let warming =
            tokio::task::spawn_blocking(move || warm_up(warm.service.engine(), &warm.health, patterns));

        stop.recv().await;
        let watch = Stopwatch::start();
        app.health.drain();
        tracing::info!(operation = "stop", "draining");
        phase.send_replace(Phase::Draining);
        let drain = Duration::from_secs(config.lifecycle.drain_timeout_s);
        let drained = async {
            join(serving, "the listener").await;
            connections.all_done().await;
        };
        let hastened = async {
            if stop.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = drained => {}
            () = sleep(drain) => tracing::warn!(operation = "stop", "lifecycle.drain_timeout_s is over; open connections are cut"),
            () = hastened => tracing::warn!(operation = "stop", "hastened; open connections are cut"),
        }
        phase.send_replace(Phase::Cutting);
        log_step("drained", watch);
        let shutdown = Duration::from_secs(config.lifecycle.shutdown_timeout_s);
        let engine = app.service.engine().clone();
        let closing = async {
            join(warming, "the warm-up").await;
            tokio::task::spawn_blocking(move || engine.close()).await
        };
        let closed = timeout(shutdown.saturating_sub(watch.elapsed()), closing).await;
        metrics_phase.send_replace(Phase::Cutting);
        join(scraping, "the listener of the metrics").await;
        log_step("stopped", watch);
        match closed {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            Err(_) => Err(ServeError::CloseTimeout),
        }
    }
}

/// Waits for `phase` or a later one. A sender that is gone has nothing more to say, which counts as the last.
async fn reached(phases: &mut watch::Receiver<Phase>, phase: Phase) {
    drop(phases.wait_for(|now| *now >= phase).await);
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(|error| ServeError::Bind { key, address, error })
}

async fn join(task: tokio::task::JoinHandle<()>, what: &str) {
    if let Err(error) = task.await {
        tracing::error!(%error, "{what} failed");
    }
}

fn log_step(step: &str, watch: Stopwatch) {
    tracing::info!(operation = "stop", latency_ms = watch.elapsed().as_secs_f64() * 1000.0, "{step}");
}

/// The connections of one listener.
#[derive(Clone)]
struct Connections {
    free: Arc<Semaphore>,
    most: u32,
    header_timeout: Duration,
    phases: watch::Receiver<Phase>,
}

impl Connections {
    fn new(most: usize, header_timeout: Duration, phases: watch::Receiver<Phase>) -> Self {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        Connections { free: Arc::new(Semaphore::new(most as usize)), most, header_timeout, phases }
    }

    /// Accepts until the phase changes; connections go on by themselves. Those beyond the bound get `full`.
    async fn accept(self, listener: TcpListener, router: Router, full: Router) {
        let mut phases = self.phases.clone();
        let mut reserve = VecDeque::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => match self.free.clone().try_acquire_owned() {
                        Ok(permit) => self.serve(permit, stream, &router),
                        Err(_) => self.serve_from_reserve(&mut reserve, stream, &full),
                    },
                    Err(error) => {
                        tracing::warn!(%error, "a connection cannot be accepted");
                        sleep(ACCEPT_RETRY).await;
                    }
                },
                () = reached(&mut phases, Phase::Draining) => break,
            }
        }
        // Connections that the system has made already count as accepted: their requests may be here in full.
        while let Ok(permit) = self.free.clone().try_acquire_owned()
            && let Ok(Ok((stream, _))) = timeout(Duration::ZERO, listener.accept()).await
        {
            self.serve(permit, stream, &router);
        }
    }

    fn serve(&self, permit: OwnedSemaphorePermit, stream: TcpStream, router: &Router) {
        let connection = Self::connection(&stream, self.header_timeout);
        let (first_byte, phases) = (self.header_timeout.min(FIRST_BYTE_TIMEOUT), self.phases.clone());
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _permit = permit;
            if has_asked(&stream, first_byte, phases.clone()).await {
                log_end(until_cut(connection.serve_connection(TokioIo::new(stream), service), phases).await);
            }
        });
    }

    fn serve_from_reserve(&self, reserve: &mut VecDeque<AbortHandle>, stream: TcpStream, full: &Router) {
        let mut connection = Self::connection(&stream, RESERVE_TIMEOUT);
        connection.keep_alive(false);
        let (service, phases) = (TowerToHyperService::new(full.clone()), self.phases.clone());
        reserve.retain(|task| !task.is_finished());
        if reserve.len() == RESERVE_MAX
            && let Some(oldest) = reserve.pop_front()
        {
            oldest.abort();
        }
        let serving = tokio::spawn(async move {
            log_end(until_cut(connection.serve_connection(TokioIo::new(stream), service), phases).await);
        });
        reserve.push_back(serving.abort_handle());
    }

    fn connection(stream: &TcpStream, header_timeout: Duration) -> http1::Builder {
        // Replies are written whole; waiting for more to send would only delay them.
        log_end(stream.set_nodelay(true));
        let mut connection = http1::Builder::new();
        connection.timer(TokioTimer::new()).header_read_timeout(header_timeout);
        connection
    }

    async fn all_done(&self) {
        drop(self.free.acquire_many(self.most).await.expect("the connections are never closed to all"));
    }
}

fn log_end<E: fmt::Display>(outcome: Result<(), E>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Whether something has arrived within `time`. A drain does not wait for that; what it finds is `until_cut`'s to see.
async fn has_asked(stream: &TcpStream, time: Duration, mut phases: watch::Receiver<Phase>) -> bool {
    tokio::select! {
        readable = stream.readable() => readable.is_ok(),
        () = reached(&mut phases, Phase::Draining) => true,
        () = sleep(time) => false,
    }
}

type Connection = http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>>;

/// Serves a connection: to its end, or from a drain on to the end of the request at hand, or until it is cut.
async fn until_cut(connection: Connection, mut phases: watch::Receiver<Phase>) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        outcome = connection.as_mut() => return outcome,
        () = reached(&mut phases, Phase::Draining) => {}
    }
    // A request that lies in the socket is received in full, though hyper has not seen it.
    if let Ok(outcome) = timeout(LAST_READ, connection.as_mut()).await {
        return outcome;
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = reached(&mut phases, Phase::Cutting) => Ok(()),
    }
}
