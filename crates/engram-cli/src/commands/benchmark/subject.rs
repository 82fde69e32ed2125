//! What is measured: a running server, or an engine in this process on a folder.

use super::report::Memory;
use crate::backend::Backend;
use crate::commands::config::{load, refused};
use crate::fault::{Fault, Result, failed};
use crate::remote::{Remote, URL_VARIABLE, variable};
use engram::Options;
use engram_server::Process;
use engram_server::api::StatusOut;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// What is measured.
pub(crate) struct Subject {
    pub(crate) backend: Backend,
    /// Of the server, where there is one.
    url: Option<String>,
    /// Of this process, before an engine was in it.
    resident_bytes_before: Option<u64>,
    /// Goes away with its memories.
    folder: Option<TempDir>,
}

/// What it uses now; absent where the system does not tell.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    /// Seconds on all cores of this process, which the engine is a part of where there is no server.
    own_cpu_s: Option<f64>,
    server_cpu_s: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) data_bytes: u64,
}

/// Cores in use on average.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cores {
    /// By this process: the clients, and the engine where there is no server.
    pub(crate) benchmark: Option<f64>,
    pub(crate) server: Option<f64>,
}

impl Cores {
    /// Of the server and its clients together.
    pub(crate) fn sum(&self) -> Option<f64> {
        Some(self.benchmark? + self.server.unwrap_or_default())
    }
}

impl Used {
    /// Cores between `before` and now.
    pub(crate) fn cores_since(&self, before: &Self, seconds: f64) -> Cores {
        let between = |now: Option<f64>, before: Option<f64>| {
            now.zip(before).map(|(now, before)| (now - before) / seconds)
        };
        Cores {
            benchmark: between(self.own_cpu_s, before.own_cpu_s),
            server: between(self.server_cpu_s, before.server_cpu_s),
        }
    }
}

impl Subject {
    /// The server at `url` or of the environment; the engine on `data_dir` where one is given, or on a folder that goes
    /// away where neither is.
    pub(crate) fn open(
        url: Option<&str>,
        data_dir: Option<&Path>,
        config: Option<&Path>,
        set: &[(String, String)],
    ) -> Result<Self> {
        let url = url.map(str::to_owned).or_else(|| variable(URL_VARIABLE).filter(|_| data_dir.is_none()));
        if let Some(url) = url {
            if config.is_some() || !set.is_empty() {
                return Err(Fault::Usage(format!(
                    "--config and --set are for an engine in this process, and {url} has settings of its own"
                )));
            }
            return Self::server(url);
        }
        let mut loaded = load(config)?;
        for (key, value) in set {
            loaded.set("--set", key, value).map_err(refused)?;
        }
        let settings = loaded.config().map_err(refused)?;
        let folder = match data_dir {
            Some(_) => None,
            None => Some(temporary_folder()?),
        };
        let data_dir: PathBuf =
            data_dir.or(folder.as_ref().map(TempDir::path)).expect("one of the two is there").to_owned();
        let resident_bytes_before = Process::now().resident_bytes;
        let backend = Backend::open_engine(Options { data_dir, ..Options::from_config(&settings)? })?;
        Ok(Self { backend, url: None, resident_bytes_before, folder })
    }

    fn server(url: String) -> Result<Self> {
        let remote = Remote::new(Some(&url))?;
        let status: StatusOut = remote.get("status", &[])?;
        if let Some(reason) = status.reason {
            return failed(format!("the server at {url} is not ready: {reason}; try again when it is"));
        }
        let backend = Backend::Remote(remote);
        Ok(Self { backend, url: Some(url), resident_bytes_before: None, folder: None })
    }

    /// A way to ask it that shares no connection with others.
    pub(crate) fn client(&self) -> Result<Backend> {
        match &self.backend {
            Backend::Remote(remote) => Ok(Backend::Remote(Remote::new(Some(remote.url()))?)),
            Backend::Local(service) => Ok(Backend::Local(service.clone())),
        }
    }

    /// Runs `work`, then closes what was opened.
    pub(crate) fn with<T>(self, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let outcome = work(&self);
        let closed = self.backend.with(|_| Ok(()));
        let value = outcome?;
        closed.map(|()| value)
    }

    pub(crate) fn is_server(&self) -> bool {
        self.url.is_some()
    }

    /// Whether everything goes away by itself.
    pub(crate) fn is_temporary(&self) -> bool {
        self.folder.is_some()
    }

    /// As people read it.
    pub(crate) fn name(&self) -> String {
        match &self.url {
            Some(url) => format!("server at {url}"),
            None => "engine in this process".into(),
        }
    }

    /// Memory and data after a load.
    pub(crate) fn memory(&self, space: &str) -> Result<Memory> {
        let Used { memory_bytes, data_bytes, .. } = self.used(space)?;
        let ratio = |bytes: u64| bytes as f64 / data_bytes.max(1) as f64;
        Ok(Memory { memory_bytes, data_bytes, memory_of_data: memory_bytes.map(ratio) })
    }

    /// What is in use now. Memory and data of a server are of all its spaces.
    pub(crate) fn used(&self, space: &str) -> Result<Used> {
        let own = Process::now();
        let own_cpu_s = own.cpu.map(|time| time.as_secs_f64());
        match &self.backend {
            Backend::Remote(remote) => {
                let status: StatusOut = remote.get("status", &[])?;
                Ok(Used {
                    own_cpu_s,
                    server_cpu_s: status.cpu_s,
                    resident_bytes: status.resident_bytes,
                    memory_bytes: status.memory_bytes,
                    data_bytes: status.data_bytes,
                })
            }
            Backend::Local(_) => {
                let before = self.resident_bytes_before;
                let above = |(now, before): (u64, u64)| now.saturating_sub(before);
                Ok(Used {
                    own_cpu_s,
                    server_cpu_s: None,
                    resident_bytes: own.resident_bytes,
                    memory_bytes: own.resident_bytes.zip(before).map(above),
                    data_bytes: self.backend.space(space)?.data_bytes,
                })
            }
        }
    }
}

fn temporary_folder() -> Result<TempDir> {
    tempfile::Builder::new()
        .prefix("engram-benchmark-")
        .tempdir()
        .map_err(|error| Fault::Failed(format!("cannot make a temporary folder: {error}")))
}
