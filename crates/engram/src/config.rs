//! The configuration: one file, then the environment, then flags, over defaults that fit the machine.
//! A `Config` is always complete and in range. What a user wrote is either in force, or named in an error with its
//! place, or, where this version or machine cannot act on it, named in a notice. `schema.rs` is the table of settings.

mod kind;
mod machine;
mod read;
mod render;
mod schema;

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use kind::VisitBudget;
pub use machine::Machine;
pub use schema::{
    Activation, Auth, AvxVersion, Compression, Config, Embedder, EmbedderProvider, HnswIndex, Lifecycle,
    Limits, Log, LogFormat, LogLevel, Numa, Performance, Runtime, Server, Storage, SyncMode, ThreadPools,
    Tls, Wal,
};

use crate::numa::other_count;
use kind::Value;
use read::Given;
use schema::KEYS;

/// The file that is read when nobody names one, if it exists.
pub const DEFAULT_FILE: &str = "/etc/engram/engram.toml";
/// A configuration is a few kilobytes; whatever is larger is another file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything wrong with what the user configured. Displayed, a line for each problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct ConfigError {
    /// One line each: place, key, what was found, what is allowed.
    pub problems: Vec<String>,
}

impl From<String> for ConfigError {
    fn from(problem: String) -> ConfigError {
        ConfigError { problems: vec![problem] }
    }
}

fn unless_any(problems: Vec<String>) -> Result<(), ConfigError> {
    if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
}

/// The variables of this process, for `Config::load`. Bytes that are no UTF-8 become U+FFFD, where `std::env::vars`
/// would panic.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()))
}

/// docs/reference/configuration.md, which a test holds to this.
pub fn reference() -> String {
    render::reference()
}

impl Config {
    /// Reads the file and the environment. `file`: the argument of `--config`; without one, `ENGRAM_CONFIG` names the
    /// file, and without that `DEFAULT_FILE` is read if it exists. Every problem of both is in the error.
    pub fn load(
        file: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        machine: Machine,
    ) -> Result<Loaded, ConfigError> {
        let variables: Vec<(String, String)> = env.filter(|(name, _)| name.starts_with("ENGRAM_")).collect();
        let file = choose_file(file, &variables, Path::new(DEFAULT_FILE))?;
        let mut loaded = Loaded { file, machine, given: vec![None; KEYS.len()] };
        let mut problems = Vec::new();
        if let Some(path) = &loaded.file {
            match read_whole(path) {
                Ok(text) => {
                    let layer = read::read_file(path, &text, &mut problems);
                    read::lay_over(&mut loaded.given, layer, &mut problems);
                }
                Err(problem) => problems.push(format!("{}: {problem}", path.display())),
            }
        }
        let layer = read::read_environment(&variables, &mut problems);
        read::lay_over(&mut loaded.given, layer, &mut problems);
        unless_any(problems)?;
        Ok(loaded)
    }

    /// Refuses to listen beyond this machine while no API key is asked for, unless the user insists.
    pub fn check_exposure(&self, insecure: bool) -> Result<(), ConfigError> {
        let keys_served = schema::unserved("auth", "keys_file", None).is_none();
        let protected = keys_served && !self.auth.keys_file.as_os_str().is_empty();
        if insecure || protected {
            return Ok(());
        }
        let go_on = if keys_served {
            "no API key is asked for; make one with `engram key` and name its file in auth.keys_file"
        } else {
            "this version does not check API keys yet; keep others out with a firewall or proxy"
        };
        let exposed = self.listeners().into_iter().filter(|(_, address)| !is_loopback(address));
        unless_any(
            exposed
                .map(|(key, address)| {
                    format!(
                        "{key} = \"{address}\" can be reached from other machines, and {go_on}, \
                         or listen on 127.0.0.1, or start with --insecure to let everyone in"
                    )
                })
                .collect(),
        )
    }

    fn listeners(&self) -> [(&'static str, SocketAddr); 3] {
        let Server { http_addr, metrics_addr, grpc_addr } = self.server;
        [
            ("server.http_addr", http_addr),
            ("server.metrics_addr", metrics_addr),
            ("server.grpc_addr", grpc_addr),
        ]
    }

    /// Problems between settings that are each in range.
    fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let [http, metrics, grpc] = self.listeners();
        for (a, b) in [(http, metrics), (http, grpc), (metrics, grpc)] {
            if a.1 == b.1 && a.1.port() != 0 {
                found.push((
                    b.0,
                    format!("\"{}\" is the address of {} too; give each its own port", b.1, a.0),
                ));
            }
        }
        let (cert, key) =
            (self.tls.cert_file.as_os_str().is_empty(), self.tls.key_file.as_os_str().is_empty());
        if cert != key {
            let (given, missing) =
                if cert { ("tls.key_file", "tls.cert_file") } else { ("tls.cert_file", "tls.key_file") };
            found.push((given, format!("is set and {missing} is not; set both or neither")));
        }
        if self.embedder.provider == EmbedderProvider::Openai {
            for (key, value) in
                [("embedder.url", &self.embedder.url), ("embedder.model", &self.embedder.model)]
            {
                if value.is_empty() {
                    found.push(("embedder.provider", format!("\"openai\" needs {key}")));
                }
            }
        }
        let HnswIndex { m, ef_construction, .. } = self.hnsw_index;
        if ef_construction < m {
            let why = format!("{ef_construction} is less than hnsw_index.M = {m}; set it to {m} or more");
            found.push(("hnsw_index.ef_construction", why));
        }
        let Lifecycle { drain_timeout_s: drain, shutdown_timeout_s: shutdown, .. } = self.lifecycle;
        if drain > shutdown {
            let why = format!(
                "{drain} is more than lifecycle.shutdown_timeout_s = {shutdown}, which it is a part of"
            );
            found.push(("lifecycle.drain_timeout_s", why));
        }
        found
    }
}

/// What the user configured, before the flags are laid over it. `config` gives the settings in force.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    machine: Machine,
    /// By row of `KEYS`.
    given: Vec<Option<Given>>,
}

impl Loaded {
    /// Lays a flag's value over everything else: `set("--http-addr", "server.http_addr", "0.0.0.0:8080")`. Typed as in
    /// the environment: text without quotes. A later flag wins over an earlier one.
    pub fn set(&mut self, flag: &str, key: &str, value: &str) -> Result<(), ConfigError> {
        let given = read::read_flag(flag, key, value)?;
        let key = given.key;
        self.given[key] = Some(given);
        Ok(())
    }

    /// The settings in force. Fails where settings contradict each other.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let config = self.in_force();
        let mut problems = config.contradictions();
        let (shares, nodes) = (config.numa.socket_memory_mb.len(), self.machine.numa_nodes);
        if config.numa.numa_aware && nodes > 1 && shares != nodes {
            problems.push(("numa.socket_memory_mb", other_count(shares, nodes)));
        }
        let lines = problems.into_iter().map(|(path, why)| match self.given_for(path) {
            Some(given) => format!("{}: {path}: {why}", given.origin),
            None => format!("{path}: {why}"),
        });
        unless_any(lines.collect())?;
        Ok(config)
    }

    /// Settings that were given and have no effect, in this version or on this machine; to be logged once at start.
    pub fn notices(&self) -> Vec<String> {
        let mut notices: Vec<String> =
            self.given.iter().flatten().filter_map(|given| self.notice(given)).collect();
        let sized = ["storage.hot_tier_size_mb", "storage.warm_tier_size_mb"];
        if self.machine.memory_bytes.is_none() && sized.iter().any(|path| self.given_for(path).is_none()) {
            let assumed = self.machine.memory_mb();
            notices.push(format!(
                "cannot read how much memory there is; defaults assume {assumed} MB, set {}",
                sized[0]
            ));
        }
        notices
    }

    /// The settings in force as TOML, each with where it came from; passwords in addresses are masked.
    pub fn effective(&self) -> String {
        render::effective(self, &self.in_force())
    }

    fn in_force(&self) -> Config {
        let mut config = Config::fitting(&self.machine);
        for given in self.given.iter().flatten() {
            (KEYS[given.key].put)(&mut config, &given.value);
        }
        config
    }

    fn given_for(&self, path: &str) -> Option<&Given> {
        self.given.iter().flatten().find(|given| KEYS[given.key].path() == path)
    }

    fn notice(&self, given: &Given) -> Option<String> {
        let key = &KEYS[given.key];
        let place = format!("{}: {} = {}", given.origin, key.path(), read::masked(&given.value.to_string()));
        if schema::unserved(key.section, key.name, Some(&given.value)).is_some() {
            return Some(format!("{place} has no effect in this version"));
        }
        let Machine { numa_nodes, avx2, avx512, huge_pages, .. } = self.machine;
        let memory_mb = self.machine.memory_mb();
        let why = match (key.path().as_str(), &given.value) {
            ("numa.numa_aware", Value::Switch(true)) if numa_nodes == 1 => {
                "has no effect: there is one NUMA node".to_owned()
            }
            ("numa.socket_memory_mb", Value::Wholes(sizes)) if sizes.len() != numa_nodes => {
                format!("has {} entries; NUMA nodes: {numa_nodes}", sizes.len())
            }
            ("storage.use_huge_pages", Value::Switch(true)) if !huge_pages => {
                "has no effect: this system reserves no huge pages, and gives no transparent ones".to_owned()
            }
            ("activation.avx_version", Value::Text(name)) if name == "avx512" && !avx512 => {
                "has no effect: this processor has no AVX-512 with VNNI".to_owned()
            }
            ("activation.avx_version", Value::Text(name)) if name == "avx2" && !avx2 => {
                "has no effect: this processor has no AVX2".to_owned()
            }
            ("storage.hot_tier_size_mb", Value::Whole(mb)) if *mb > memory_mb => {
                format!("is more than the {memory_mb} MB that this process may use")
            }
            _ => return None,
        };
        Some(format!("{place} {why}"))
    }
}

/// `--config`, or `ENGRAM_CONFIG`, or the default file if it exists. An empty variable counts as unset.
fn choose_file(
    argument: Option<&Path>,
    variables: &[(String, String)],
    default: &Path,
) -> Result<Option<PathBuf>, ConfigError> {
    let variable = variables.iter().find(|(name, value)| name == "ENGRAM_CONFIG" && !value.is_empty());
    if let Some(path) = argument.or(variable.map(|(_, path)| Path::new(path))) {
        return Ok(Some(path.to_owned()));
    }
    match default.try_exists() {
        Ok(exists) => Ok(exists.then(|| default.to_owned())),
        Err(error) => Err(format!("{}: cannot tell whether it exists: {error}", default.display()).into()),
    }
}

fn read_whole(path: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot read it: {error}");
    let mut text = String::new();
    let file = fs::File::open(path).map_err(cannot)?;
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes; is it a configuration?"));
    }
    Ok(text)
}

fn is_loopback(address: &SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_argument_goes_before_the_variable_and_the_variable_before_the_default() {
        let variables = [("ENGRAM_CONFIG".to_owned(), "variable.toml".to_owned())];
        let unset = [("ENGRAM_CONFIG".to_owned(), String::new())];
        let (there, absent) = (Path::new("/"), Path::new("/no such file"));
        let choose = |argument: Option<&str>, variables: &[(String, String)], default| {
            choose_file(argument.map(Path::new), variables, default)
                .unwrap()
                .map(|path| path.display().to_string())
        };
        assert_eq!(choose(Some("argument.toml"), &variables, there).as_deref(), Some("argument.toml"));
        assert_eq!(choose(None, &variables, there).as_deref(), Some("variable.toml"));
        assert_eq!(choose(None, &unset, there).as_deref(), Some("/"));
        assert_eq!(choose(None, &[], absent), None);
    }

    #[test]
    fn every_default_is_allowed_and_fits_its_field() {
        for (cores, memory_bytes) in
            [(1, None), (1, Some(64 << 20)), (2, Some(8 << 30)), (4096, Some(1 << 45))]
        {
            let mut config = Config::fitting(&Machine {
                cores,
                memory_bytes,
                numa_nodes: 2,
                avx2: true,
                avx512: true,
                huge_pages: true,
            });
            let fitted = config.clone();
            for key in KEYS {
                let value = (key.get)(&config);
                let written: toml_edit::Value = value.to_string().parse().unwrap();
                assert_eq!(key.kind.read(&written), Some(value.clone()), "{} = {value}", key.path());
                (key.put)(&mut config, &value);
            }
            assert_eq!(config, fitted);
            assert!(config.contradictions().is_empty());
            assert!(config.check_exposure(false).is_ok());
        }
    }
}
