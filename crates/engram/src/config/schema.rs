//! The one table of settings: section, key, type, what is allowed, default and meaning. The structs of `Config`, the
//! parser, the error messages and docs/reference/configuration.md all come from it, so that they cannot disagree.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::kind::{Kind, Value, VisitBudget};
use super::machine::Machine;
use engram_core::platform::NODES_MAX;

/// A row of the table.
pub(super) struct Key {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) doc: &'static str,
    /// In words, where the default depends on the machine.
    pub(super) default_words: Option<&'static str>,
    pub(super) put: fn(&mut Config, &Value),
    pub(super) get: fn(&Config) -> Value,
}

impl Key {
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

/// A section of the table.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
}

/// Another spelling of a setting, from the tuning guides.
pub(super) struct Alias {
    pub(super) section: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// The path of the key that it stands for.
    pub(super) key: &'static str,
}

pub(super) const ALIASES: &[Alias] = &[
    Alias { section: "memory", name: "fast_tier_size", kind: HOT_TIER_SIZE, key: "storage.hot_tier_size_mb" },
    Alias { section: "graph", name: "shard_count", kind: SHARDS, key: "storage.hot_tier_shards" },
];
const HOT_TIER_SIZE: Kind = Kind::Size { mb_min: TIER_MB_MIN, mb_max: MEMORY_MB_MAX };

/// Environment variables that are no `ENGRAM_<SECTION>__<KEY>` and yet set a key.
pub(super) const VARIABLES: &[(&str, &str)] =
    &[("ENGRAM_LOG_LEVEL", "log.level"), ("ENGRAM_COLD_TIER_ENDPOINT", "storage.cold_tier_endpoint")];

/// A setting that this version accepts without acting on it.
pub(super) struct NotServed {
    /// Path of a key, or `section.*`.
    key: &'static str,
    /// Only this value is not served.
    only: Option<&'static str>,
}

/// Delete a line when its part arrives: notices, the reference and the exposure check follow.
const NOT_SERVED: &[NotServed] = &[
    not_served("server.grpc_addr"),
    not_served("auth.keys_file"),
    not_served("tls.*"),
    not_served("embedder.url"),
    not_served("embedder.model"),
    NotServed { key: "embedder.provider", only: Some("openai") },
];

const fn not_served(key: &'static str) -> NotServed {
    NotServed { key, only: None }
}

/// The row for this key, if something about it is not served by this version. `value`: only if this value is not.
pub(super) fn unserved(section: &str, name: &str, value: Option<&Value>) -> Option<&'static NotServed> {
    NOT_SERVED.iter().find(|row| {
        let matches = row.key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.'));
        let value_matches = match (row.only, value) {
            (Some(only), Some(value)) => *value == Value::Text(only.to_owned()),
            _ => true,
        };
        matches.is_some_and(|rest| rest == "*" || rest == name) && value_matches
    })
}

impl NotServed {
    /// The one value that is not served, if the others are.
    pub(super) fn only(&self) -> Option<&'static str> {
        self.only
    }
}

/// How a checked `Value` becomes the type of a field, and back.
trait Field {
    fn of(value: &Value) -> Self;
    fn value(&self) -> Value;
}

/// `Kind::read` has checked the value and the table pairs kinds with types; a test reads every row back.
const MISMATCH: &str = "a checked value fits its field";

macro_rules! fields {
    ($($type:ty, $variant:ident, |$held:ident| $of:expr, |$field:ident| $value:expr;)*) => { $(
        impl Field for $type {
            fn of(value: &Value) -> Self {
                let Value::$variant($held) = value else { panic!("{MISMATCH}: {value:?}") };
                $of
            }
            fn value(&self) -> Value {
                let $field = self;
                Value::$variant($value)
            }
        }
    )* };
}

fields! {
    bool, Switch, |held| *held, |field| *field;
    u64, Whole, |held| *held, |field| *field;
    u32, Whole, |held| u32::try_from(*held).expect(MISMATCH), |field| u64::from(*field);
    usize, Whole, |held| usize::try_from(*held).expect(MISMATCH), |field| *field as u64;
    String, Text, |held| held.clone(), |field| field.clone();
    PathBuf, Text, |held| PathBuf::from(held), |field| field.display().to_string();
    SocketAddr, Text, |held| held.parse().expect(MISMATCH), |field| field.to_string();
    Vec<u64>, Wholes, |held| held.clone(), |field| field.clone();
    VisitBudget, Hops, |held| *held, |field| *field;
}

macro_rules! choices {
    ($($(#[doc = $doc:literal])* $Choice:ident { $($(#[doc = $variant_doc:literal])* $Variant:ident = $name:literal,)* })*) => { $(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $Choice { $($(#[doc = $variant_doc])* $Variant,)* }

        impl $Choice {
            const KIND: Kind = Kind::Choice(&[$($name),*]);

            /// As it is written in the file.
            pub fn name(self) -> &'static str {
                match self { $($Choice::$Variant => $name,)* }
            }
        }

        impl Field for $Choice {
            fn of(value: &Value) -> Self {
                match value {
                    $(Value::Text(text) if text == $name => $Choice::$Variant,)*
                    _ => panic!("{MISMATCH}: {value:?}"),
                }
            }
            fn value(&self) -> Value {
                Value::Text(self.name().to_owned())
            }
        }
    )* };
}

choices! {
    /// When a write is acknowledged.
    SyncMode {
        /// After its bytes are on disk; concurrent writers share one flush.
        Always = "always",
        /// When it is logged; `flush_interval_ms` bounds what a power failure loses.
        Batch = "batch",
        /// When it is logged; the operating system decides when it reaches the disk.
        None = "none",
    }
    /// How cold files are compressed.
    Compression {
        /// Zstandard, at a level.
        Zstd = "zstd",
        /// LZ4: faster, larger.
        Lz4 = "lz4",
        /// Not at all.
        None = "none",
    }
    /// Which vector instructions distances use on x86_64.
    AvxVersion {
        /// The best that the processor has.
        Auto = "auto",
        /// 256 bits.
        Avx2 = "avx2",
        /// 512 bits.
        Avx512 = "avx512",
    }
    /// The least severe message that is logged.
    LogLevel {
        /// Something was lost or refused that should not have been.
        Error = "error",
        /// An operator should look.
        Warn = "warn",
        /// What an operator wants to have read afterwards.
        Info = "info",
        /// For finding a fault.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
    /// The shape of a log line.
    LogFormat {
        /// Text on a terminal, JSON elsewhere.
        Auto = "auto",
        /// One JSON object a line.
        Json = "json",
        /// For reading.
        Text = "text",
    }
    /// Who turns text into vectors.
    EmbedderProvider {
        /// The one inside the binary.
        Builtin = "builtin",
        /// Nobody: callers bring vectors, or text and associations do without.
        None = "none",
        /// An endpoint of OpenAI's shape.
        Openai = "openai",
    }
}

/// The name in the file, which Rust's conventions allow to be the field's but for `M`.
macro_rules! name_of {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $name:literal) => {
        $name
    };
}

macro_rules! in_words {
    () => {
        None
    };
    ($words:literal) => {
        Some($words)
    };
}

macro_rules! settings {
    ($($(#[doc = $section_doc:literal])* $section:ident: $Section:ident { $(
        $(#[doc = $doc:literal])*
        $field:ident $(as $name:literal)?: $type:ty = $kind:expr, $default:expr $(, in words $words:literal)?;
    )* })*) => {
        $(
            $(#[doc = $section_doc])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $Section { $(
                $(#[doc = $doc])*
                #[doc = concat!("\n\nAllowed: `", stringify!($kind), "`.")]
                pub $field: $type,
            )* }
        )*

        /// Every setting, checked. `Config::fitting` makes the defaults, `Config::load` reads what the user set.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config { $( $(#[doc = $section_doc])* pub $section: $Section, )* }

        impl Config {
            /// The defaults for a machine.
            pub fn fitting(machine: &Machine) -> Config {
                Config { $( $section: $Section { $(
                    $field: { let fit: fn(&Machine) -> $type = $default; fit(machine) },
                )* }, )* }
            }
        }

        pub(super) const SECTIONS: &[Section] =
            &[$(Section { name: stringify!($section), doc: concat!($($section_doc),*) }),*];

        pub(super) const KEYS: &[Key] = &[$($(Key {
            section: stringify!($section),
            name: name_of!($field $($name)?),
            kind: $kind,
            doc: concat!($($doc),*),
            default_words: in_words!($($words)?),
            put: |config, value| config.$section.$field = <$type as Field>::of(value),
            get: |config| config.$section.$field.value(),
        },)*)*];
    };
}

const TIER_MB_MIN: u64 = 16;
/// 16 TiB: more memory than a machine of today holds.
const MEMORY_MB_MAX: u64 = 1 << 24;
/// 1 PiB.
const DISK_MB_MAX: u64 = 1 << 30;
const SHARDS: Kind = Kind::PowerOfTwo { max: 1 << 16 };
const WORKERS: Kind = whole(1, 1024, "");

const fn whole(min: u64, max: u64, unit: &'static str) -> Kind {
    Kind::Whole { min, max, unit }
}

fn at_loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

settings! {
    /// Where Engram listens. Beyond loopback it wants `auth.keys_file`, or `--insecure`.
    server: Server {
        /// Address of the REST API and of `/health`. Port 0 lets the system choose.
        http_addr: SocketAddr = Kind::Address, |_| at_loopback(8080);
        /// Address of `/metrics`.
        metrics_addr: SocketAddr = Kind::Address, |_| at_loopback(9090);
        /// Address of the gRPC API.
        grpc_addr: SocketAddr = Kind::Address, |_| at_loopback(50051);
    }
    /// Where memories live. Hot: in RAM. Warm: in mapped files on a local disk. Cold: in an object store.
    storage: Storage {
        /// Folder of the log, the checkpoints and the warm tier.
        data_dir: PathBuf = Kind::Path { required: true }, |_| PathBuf::from("./engram-data");
        /// A folder on a tmpfs for the vectors of the hot tier; empty: the memory of the process. It must be there. What it has no room for, and texts, are in the memory of the process.
        hot_tier_dir: PathBuf = Kind::Path { required: false }, |_| PathBuf::new();
        /// Size of the hot tier, MB. 10 to 20 % of memory is usual; raise it while the cache hit rate is under 0.8. It counts texts and vectors; index, codes, words and links of all memories, in whatever tier, come on top.
        hot_tier_size_mb: u64 = whole(TIER_MB_MIN, MEMORY_MB_MAX, "MB"), |machine| (machine.memory_mb() / 5).max(TIER_MB_MIN),
            in words "20 % of memory";
        /// Locks that the readers of a space are divided over at most; they are made as threads meet. 2 to 4 for each core.
        hot_tier_shards: usize = SHARDS, |machine| (4 * machine.cores).next_power_of_two().clamp(16, 1 << 16),
            in words "4 x cores, rounded up to a power of two, at least 16";
        /// Size of the warm tier on disk, MB. Its pages share memory with everything else: 30 to 40 % of memory is usual. Without a cold tier nothing leaves the warm one, whatever its size. With one, the cache of what was read from it takes a sixteenth as much beside.
        warm_tier_size_mb: u64 = whole(TIER_MB_MIN, DISK_MB_MAX, "MB"), |machine| (2 * machine.memory_mb() / 5).max(TIER_MB_MIN),
            in words "40 % of memory";
        /// Where the cold tier is kept; empty: there is none. Credentials come from the `AWS_*` variables.
        cold_tier_endpoint: String = Kind::Bucket, |_| String::new();
        /// How cold files are compressed.
        cold_tier_compression: Compression = Compression::KIND, |_| Compression::Zstd;
        /// Level of zstd; more is smaller and slower.
        cold_tier_compression_level: u32 = whole(1, 22, ""), |_| 3;
        /// Ask for huge pages for vectors and the index: reserved ones of 2 MiB (`vm.nr_hugepages`), else transparent ones. Leave it off in a container that may use none of those reserved.
        use_huge_pages: bool = Kind::Switch, |_| false;
    }
    /// The write-ahead log.
    wal: Wal {
        /// Log records of all spaces together that may wait in memory for the disk under `batch` and `none`, MB: what a power failure may lose. When it is full, stores wait until they are on disk. Under `always`, what shares a flush, 16 MB at most.
        buffer_size_mb: u64 = whole(1, 4096, "MB"), |machine| (machine.memory_mb() / 64).clamp(4, 128),
            in words "1/64 of memory, 4 to 128";
        /// Longest time between flushes under `sync_mode = "batch"`, ms: what a power failure may lose.
        flush_interval_ms: u64 = whole(1, 60_000, "ms"), |_| 1000;
        /// When a write is acknowledged: `always`, when its bytes are on disk; `batch`, when it is logged, with a flush at least every `flush_interval_ms`; `none`, when it is logged, and the system decides when to flush.
        sync_mode: SyncMode = SyncMode::KIND, |_| SyncMode::Always;
        /// Write the log past the page cache, in whole blocks. Where the file system cannot, a line in the log says so once.
        use_direct_io: bool = Kind::Switch, |_| false;
    }
    /// The index over vectors (HNSW). Changing `M` or `ef_construction` builds a new one in the background when a space is opened, while the old one serves; both take memory until it is done, and a restart meanwhile begins anew.
    hnsw_index: HnswIndex {
        /// Neighbours of a vector in the index; 16 to 32 is usual. More finds more and takes more memory.
        m as "M": usize = whole(4, 64, ""), |_| 16;
        /// Candidates weighed when a vector is added; 200 to 400 is usual, and at least `M` is needed. More finds more and stores slower.
        ef_construction: usize = whole(8, 4096, ""), |_| 200;
        /// Candidates weighed when a cue is looked up; 100 to 200 is usual. More finds more and recalls slower.
        ef_search: usize = whole(1, 4096, ""), |_| 100;
    }
    /// How activation spreads from what a cue finds to what is associated with it.
    activation: Activation {
        /// Nodes fetched ahead of the traversal of the index; 4 to 16 is usual, 0 fetches none.
        prefetch_distance: usize = whole(0, 64, "nodes"), |_| 12;
        /// Use vector instructions (AVX2, AVX-512, NEON).
        simd_enabled: bool = Kind::Switch, |_| true;
        /// Vectors compared in one go, before what came out is ranked.
        simd_batch_size: usize = whole(1, 64, "vectors"), |machine| if machine.avx512 { 16 } else { 8 },
            in words "8, or 16 with AVX-512";
        /// Which vector instructions to use on x86_64.
        avx_version: AvxVersion = AvxVersion::KIND, |_| AvxVersion::Auto;
        /// Hops that spreading may take through memories of each tier; 0 leaves the tier out. A tier that is not named keeps its default.
        visit_budget_per_tier: VisitBudget = Kind::Hops, |_| VisitBudget::DEFAULT;
    }
    /// Threads for each kind of work.
    thread_pools: ThreadPools {
        /// Recalls at the same time. As many of these compute as there are cores; the others wait for their turn, or for the cold tier. Activations, completions, reads, snapshots and questions about spaces count, too.
        recall_workers: usize = WORKERS, |machine| (2 * machine.cores).min(1024), in words "2 x cores";
        /// Stores at the same time; those that wait together share one sync of the disk. Deletions, reinforcements, associations and starts of consolidations count, too.
        store_workers: usize = WORKERS, |machine| machine.cores.clamp(32, 1024), in words "32, or the cores where they are more";
        /// Consolidations at the same time, one a space; each works for at most half of the time.
        consolidation_workers: usize = WORKERS, |machine| (machine.cores / 4).clamp(1, 2), in words "a quarter of the cores, 1 to 2";
        /// Threads for checkpoints, moves between tiers and index building.
        background_workers: usize = WORKERS, |machine| (machine.cores / 2).clamp(1, 4), in words "half the cores, 1 to 4";
    }
    /// Machines with several memory nodes.
    numa: Numa {
        /// Divide threads and large arrays (vectors, their codes, the index) over the nodes that this process may use: each thread is pinned to the processors of one, in turn.
        numa_aware: bool = Kind::Switch, |_| false;
        /// With `numa_aware`: a thread takes memory from its node first, and large arrays with it. Otherwise large arrays are divided over the nodes page by page, as threads of all nodes read them.
        prefer_local_node: bool = Kind::Switch, |_| true;
        /// With `numa_aware`: how much of the large arrays may lie on each node, MB, the first node first. When a node has its share, the next one takes what comes; when all have, the system does.
        socket_memory_mb: Vec<u64> = Kind::Wholes { min: 1, max: MEMORY_MB_MAX, unit: "MB", count_max: NODES_MAX as usize },
            |machine| vec![(machine.memory_mb() / machine.numa_nodes as u64).max(1); machine.numa_nodes],
            in words "memory, divided evenly over the nodes";
    }
    /// What recalls work in, kept for reuse.
    performance: Performance {
        /// Result lists and working memories that are kept; twice the requests at the same time is usual.
        result_pool_size: usize = whole(0, 100_000, "lists"), |_| 100;
        /// Memories found that a new one has room for; it grows where a recall finds more.
        result_pool_capacity: usize = whole(1, 100_000, "results"), |_| 1000;
    }
    /// Threads that serve the network.
    runtime: Runtime {
        /// Threads of the network runtime; more than there are cores does not help.
        worker_threads: usize = WORKERS, |machine| machine.cores.min(1024), in words "cores";
    }
    /// What is logged, to standard error.
    log: Log {
        /// The least severe message that is logged.
        level: LogLevel = LogLevel::KIND, |_| LogLevel::Info;
        /// Shape of a line: `auto` is text on a terminal and JSON elsewhere.
        format: LogFormat = LogFormat::KIND, |_| LogFormat::Auto;
        /// An operation slower than this, ms, gets a line in the log with its name and how long it took.
        slow_operation_ms: u64 = whole(0, 3_600_000, "ms"), |_| 10;
    }
    /// Who may call.
    auth: Auth {
        /// File of hashed keys with their scopes, written by `engram key`; empty: no key is asked for.
        keys_file: PathBuf = Kind::Path { required: false }, |_| PathBuf::new();
    }
    /// Encryption of the REST and gRPC APIs. Both files or neither.
    tls: Tls {
        /// Certificate chain, PEM.
        cert_file: PathBuf = Kind::Path { required: false }, |_| PathBuf::new();
        /// Private key, PEM.
        key_file: PathBuf = Kind::Path { required: false }, |_| PathBuf::new();
    }
    /// What one caller may ask for.
    limits: Limits {
        /// Largest request body, MB.
        body_mb_max: usize = whole(1, 1024, "MB"), |_| 16;
        /// Largest text of one memory or cue, KB (KiB).
        content_kb_max: usize = whole(1, 64, "KB"), |_| 64;
        /// Connections at the same time; beyond, health checks are answered, and all else gets 503.
        connections_max: usize = whole(1, 1_000_000, ""), |_| 1024;
        /// Longest time that a request may take, s.
        request_timeout_s: u64 = whole(1, 3600, "s"), |_| 30;
    }
    /// Who turns text into vectors, in spaces whose callers bring none.
    embedder: Embedder {
        /// `builtin`: the embedder inside the binary; `none`: nobody; `openai`: an endpoint of that shape.
        provider: EmbedderProvider = EmbedderProvider::KIND, |_| EmbedderProvider::Builtin;
        /// Base address of an endpoint of OpenAI's shape, such as `http://127.0.0.1:11434/v1`.
        url: String = Kind::Url, |_| String::new();
        /// Name of the model at that endpoint.
        model: String = Kind::Text, |_| String::new();
    }
    /// Starting and stopping.
    lifecycle: Lifecycle {
        /// Memories fetched most of those in the hot tier that serve as cues before the server is ready, for a third of a second at a time.
        warmup_patterns: usize = whole(0, 1_000_000, "memories"), |_| 1000;
        /// Longest time for answering what was received before a stop, s.
        drain_timeout_s: u64 = whole(0, 300, "s"), |_| 5;
        /// Longest time for the whole stop, s.
        shutdown_timeout_s: u64 = whole(1, 600, "s"), |_| 30;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Loaded;
    use super::*;

    #[test]
    fn what_is_not_served_is_a_setting_and_noticed_only_when_given() {
        let machine = Machine {
            cores: 2,
            memory_bytes: Some(8 << 30),
            numa_nodes: 1,
            avx2: true,
            avx512: true,
            huge_pages: true,
        };
        let load = || Config::load(Some("/dev/null".as_ref()), std::iter::empty(), machine.clone());
        assert_eq!(load().unwrap().notices(), [""; 0]);
        for row in NOT_SERVED {
            let rows =
                KEYS.iter().filter(|key| row.key == key.path() || row.key == format!("{}.*", key.section));
            let keys: Vec<&Key> = rows.collect();
            assert!(!keys.is_empty(), "{} is no setting", row.key);
            for key in keys {
                let value = match (row.only, (key.get)(&Config::fitting(&machine))) {
                    (Some(only), _) => only.to_owned(),
                    (None, Value::Text(text)) => text,
                    (None, value) => value.to_string(),
                };
                let mut loaded: Loaded = load().unwrap();
                loaded.set("--flag", &key.path(), &value).unwrap();
                let notices = loaded.notices().join("\n");
                assert!(notices.starts_with(&format!("--flag: {} = ", key.path())), "{notices}");
                assert!(notices.ends_with(" has no effect in this version"), "{notices}");
            }
        }
    }
}
