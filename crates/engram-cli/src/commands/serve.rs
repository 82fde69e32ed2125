//! `engram serve`: configuration, log, engine, server, in this order, until SIGTERM or Ctrl-C.

use crate::commands::config::{load, refused};
use crate::fault::{Fault, Result};
use crate::screen::{Screen, faint, strong};
use clap::Args;
use engram::config::{Config, Loaded};
use engram::{Engine, Options};
use engram_server::{Metrics, ServeError, Server, init_log, stop_on_signals};
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc};

/// Threads that may block beside those of recalls and stores.
const SPARE_THREADS: usize = 16;
/// From this signal on nothing is waited for.
const SIGNALS_MAX: u32 = 3;

/// Run a server
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  engram serve
  engram serve --data-dir /var/lib/engram --http 127.0.0.1:9000
  engram serve --config engram.toml --set wal.sync_mode=batch
  ENGRAM_LOG_LEVEL=debug engram serve

Without --config: ENGRAM_CONFIG, or /etc/engram/engram.toml if it exists. Over
it go variables ENGRAM_<SECTION>__<KEY>, then flags; see `engram config show`.
SIGTERM or Ctrl-C: answers what it received, then stops. A second one cuts what
is open, and the exit code is 1. A third one leaves at once.")]
pub(crate) struct Serve {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the memories (storage.data_dir)
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address of the API (server.http_addr)
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// Address of the metrics (server.metrics_addr)
    #[arg(long, value_name = "ADDR")]
    metrics: Option<String>,
    /// Detail of the log (log.level): error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Any other setting, as in the file; may be repeated
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Let everyone in who can reach the address
    #[arg(long)]
    insecure: bool,
}

impl Serve {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<ExitCode> {
        let loaded = self.load()?;
        let config = loaded.config().map_err(refused)?;
        config.check_exposure(self.insecure).map_err(refused)?;
        init_log(&config.log);
        for notice in loaded.notices() {
            tracing::warn!("{notice}");
        }
        let metrics = Metrics::new();
        let options = Options {
            observe_flush: Some(metrics.flush_observer()),
            observe_consolidation: Some(metrics.consolidation_observer()),
            ..Options::from_config(&config)?
        };
        let engine = Engine::open(options)?;
        let runtime = runtime(&config)
            .map_err(|error| Fault::Failed(format!("cannot start the threads of the server: {error}")))?;
        let outcome = runtime.block_on(serve(config, engine, metrics, self.insecure, screen));
        // What still runs after a third signal is not waited for.
        runtime.shutdown_background();
        outcome
    }

    fn load(&self) -> Result<Loaded> {
        let mut loaded = load(self.config.as_deref())?;
        let flags = [
            ("--data-dir", "storage.data_dir", &self.data_dir),
            ("--http", "server.http_addr", &self.http),
            ("--metrics", "server.metrics_addr", &self.metrics),
            ("--log-level", "log.level", &self.log_level),
        ];
        for (key, value) in &self.set {
            loaded.set("--set", key, value).map_err(refused)?;
        }
        for (flag, key, value) in flags {
            if let Some(value) = value {
                loaded.set(flag, key, value).map_err(refused)?;
            }
        }
        Ok(loaded)
    }
}

/// The threads of the network, and those that block in place of it: as many as there are places for, and some that warm
/// up, scrape and stop. They are named, so that `top -H` tells who is busy.
fn runtime(config: &Config) -> io::Result<Runtime> {
    let workers = config.runtime.worker_threads;
    let begun = AtomicUsize::new(0);
    let name = move || match begun.fetch_add(1, Ordering::Relaxed) {
        at if at < workers => format!("engram-http-{at}"),
        at => format!("engram-call-{}", at - workers),
    };
    Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(
            config.thread_pools.recall_workers + config.thread_pools.store_workers + SPARE_THREADS,
        )
        .thread_name_fn(name)
        .on_thread_start(engram::settle_thread)
        .enable_all()
        .build()
}

async fn serve(
    config: Config,
    engine: Engine,
    metrics: Metrics,
    insecure: bool,
    screen: &mut Screen,
) -> Result<ExitCode> {
    // Before the address is told: who knows it may send a signal.
    let mut signals = stop_on_signals().map_err(fault)?;
    let data_dir = config.storage.data_dir.display().to_string();
    let server = Server::bind(config, engine, metrics, insecure).await.map_err(fault)?;
    let unknown = |error| Fault::Failed(format!("cannot tell the address that was given: {error}"));
    let http = server.http_addr().map_err(unknown)?;
    let metrics = server.metrics_addr().map_err(unknown)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), http_addr = %http, metrics_addr = %metrics, data_dir, "listening");
    if screen.columns().is_some() {
        let url = strong().apply_to(format!("http://{http}")).to_string();
        screen.line(format_args!("Engram listens on {url}, memories in {data_dir}"))?;
        screen.line(faint().apply_to("Try it, from another terminal:"))?;
        screen.line(faint().apply_to(format!("  export ENGRAM_URL=http://{http}")))?;
        screen.line(faint().apply_to("  engram store --space diary \"It rained in Bath\""))?;
        screen.line(faint().apply_to("Ctrl-C stops it."))?;
    }
    let (stop, stops) = mpsc::channel(2);
    let count = Arc::new(AtomicU32::new(0));
    let at_once = Arc::new(Notify::new());
    let (counting, leaving) = (Arc::clone(&count), Arc::clone(&at_once));
    tokio::spawn(async move {
        while signals.recv().await.is_some() {
            if counting.fetch_add(1, Ordering::Relaxed) + 1 >= SIGNALS_MAX {
                leaving.notify_one();
            } else if stop.send(()).await.is_err() {
                return;
            }
        }
    });
    tokio::select! {
        outcome = server.run(stops) => outcome.map_err(fault)?,
        () = at_once.notified() => return Err(Fault::Failed("left at once; the next start replays the log".into())),
    }
    let hastened = count.load(Ordering::Relaxed) > 1;
    Ok(ExitCode::from(u8::from(hastened)))
}

fn fault(error: ServeError) -> Fault {
    match error {
        ServeError::Exposed(error) => refused(error),
        other => Fault::Failed(other.to_string()),
    }
}

pub(crate) fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if key.contains('.') => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write SECTION.KEY=VALUE, such as wal.sync_mode=batch".into()),
    }
}
