//! The HTTP server of Engram, and the wire types and operations that all its entrances share.
//! `api` owns the wire types, `json` how they are read, `error` the table of errors, `service` the operations, `http` the
//! routes, `call` how requests arrive, `workers` where they run, `health` the warm-up, `metrics` what is counted,
//! `process` what the operating system says of us, `server` start and stop. Nothing below this crate knows the wire.

pub mod api;
mod call;
mod error;
mod health;
mod http;
mod json;
mod log;
mod metrics;
mod process;
mod server;
mod service;
mod snapshots;
mod workers;

pub use error::{ApiError, Problem, ProblemOut};
pub use log::init_log;
pub use metrics::Metrics;
pub use process::Process;
pub use server::{ServeError, Server, stop_on_signals};
pub use service::{IDEMPOTENCY_KEY_CHARS_MAX, Service};
