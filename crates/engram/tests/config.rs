//! The configuration, text in and text out: what users write, and exactly what they are told.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use engram::config::{Config, Loaded, LogLevel, Machine, SyncMode, VisitBudget};

const MACHINE: Machine = Machine {
    cores: 8,
    memory_bytes: Some(32 << 30),
    numa_nodes: 1,
    avx2: true,
    avx512: false,
    huge_pages: true,
};

/// A folder of its own for a case.
fn folder() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    // Test runners may give each test a process of its own.
    let name = format!("config-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    fs::create_dir_all(&path).unwrap();
    path
}

/// Loads a file of this text under these variables (`NAME=value` lines). Folders are cut out of what is reported.
fn load(toml: &str, env: &str) -> Result<Loaded, String> {
    let folder = folder();
    let file = folder.join("engram.toml");
    fs::write(&file, toml).unwrap();
    let variables = env.lines().filter_map(|line| line.trim().split_once('='));
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let hidden = format!("{}/", folder.display());
    Config::load(Some(&file), variables, MACHINE).map_err(|error| error.to_string().replace(&hidden, ""))
}

fn config(toml: &str, env: &str) -> Config {
    load(toml, env).unwrap().config().unwrap()
}

/// The error, or the notices.
fn report(toml: &str, env: &str) -> String {
    let cut = |line: String| {
        line.rsplit_once("/engram.toml:").map_or(line.clone(), |(_, rest)| format!("engram.toml:{rest}"))
    };
    match load(toml, env) {
        Err(error) => error,
        Ok(loaded) => match loaded.config() {
            Err(error) => error.problems.into_iter().map(cut).collect::<Vec<_>>().join("\n"),
            Ok(_) => loaded.notices().into_iter().map(cut).collect::<Vec<_>>().join("\n"),
        },
    }
}

/// Runs cases divided by `====`: a file, then `--- env` with variables if there are any, then `---` and the report.
fn cases(text: &str) {
    for case in text.split("====\n") {
        let (input, expected) = case.split_once("\n---\n").expect("a case has a report");
        let (toml, env) = input.split_once("--- env\n").unwrap_or((input, ""));
        assert_eq!(report(toml, env), expected.trim_end(), "\nin the case\n{case}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_what_is_allowed() {
    cases(
        r#"[log]
level = "loud"
---
engram.toml:2: log.level: found "loud"; allowed: "error", "warn", "info", "debug", "trace"
====
[storage]
hot_tier_shards = 100
---
engram.toml:2: storage.hot_tier_shards: found 100; allowed: a power of two from 1 to 65536
====
[storage]
hot_tier_shards = 0
hot_tier_size_mb = "4GB"
cold_tier_compression_level = 3.5
use_huge_pages = "yes"
cold_tier_endpoint = "s3:/bucket"
data_dir = ""
---
engram.toml:2: storage.hot_tier_shards: found 0; allowed: a power of two from 1 to 65536
engram.toml:3: storage.hot_tier_size_mb: found "4GB"; allowed: a whole number of MB from 16 to 16777216
engram.toml:4: storage.cold_tier_compression_level: found 3.5; allowed: a whole number from 1 to 22
engram.toml:5: storage.use_huge_pages: found "yes"; allowed: true or false
engram.toml:6: storage.cold_tier_endpoint: found "s3:/bucket"; allowed: "s3://bucket/prefix", "file:///path", or "" for none
engram.toml:7: storage.data_dir: found ""; allowed: a path
====
[server]
http_addr = "engram.example:8080"
metrics_addr = 9090
---
engram.toml:2: server.http_addr: found "engram.example:8080"; allowed: an IP address and port such as "127.0.0.1:8080" or "[::1]:8080"
engram.toml:3: server.metrics_addr: found 9090; allowed: an IP address and port such as "127.0.0.1:8080" or "[::1]:8080"
====
[wal]
flush_interval_ms = -1

[activation]
visit_budget_per_tier = { hot = 3, wram = 2 }
[numa]
socket_memory_mb = [65536,
  "all"]
---
engram.toml:2: wal.flush_interval_ms: found -1; allowed: a whole number of ms from 1 to 60000
engram.toml:5: activation.visit_budget_per_tier: found { hot = 3, wram = 2 }; allowed: { hot = 3, warm = 2, cold = 1 }, each a whole number from 0 to 16
engram.toml:7: numa.socket_memory_mb: found [65536, "all"]; allowed: a list of at most 1024 whole numbers of MB from 1 to 16777216
====
[memory]
fast_tier_size = "4 bananas"
[graph]
shard_count = 3
---
engram.toml:2: memory.fast_tier_size: found "4 bananas"; allowed: a size such as "512MB" or "4GB", from 16MB to 16777216MB
engram.toml:4: graph.shard_count: found 3; allowed: a power of two from 1 to 65536
====
[embedder]
url = ["http://me:secret@host/v1"]
---
engram.toml:2: embedder.url: found ["http://***@host/v1"]; allowed: an http:// or https:// address, or "" for none
"#,
    );
}

#[test]
fn what_is_unknown_is_named_with_the_nearest_known() {
    cases(
        r#"[storage]
hot_teir_size_mb = 64
---
engram.toml:2: unknown key "storage.hot_teir_size_mb"; did you mean "storage.hot_tier_size_mb"?
====
[hnsw_index]
m = 32
---
engram.toml:2: unknown key "hnsw_index.m"; did you mean "hnsw_index.M"?
====
[hnsw]
M = 32
[sotrage]
data_dir = "/var/lib/engram"
---
engram.toml:1: unknown section [hnsw]; did you mean [hnsw_index]?
engram.toml:3: unknown section [sotrage]; did you mean [storage]?
====
[replication]
factor = 3
---
engram.toml:1: unknown section [replication]; the sections are server, storage, wal, hnsw_index, activation, thread_pools, numa, performance, runtime, log, auth, tls, limits, embedder, lifecycle
====
data_dir = "/var/lib/engram"
log = "info"
---
engram.toml:1: unknown key "data_dir" outside of any section; did you mean "storage.data_dir"?
engram.toml:2: log: found "info"; allowed: a section [log]
====
[server]
slow_operation_ms = 5
---
engram.toml:2: unknown key "server.slow_operation_ms"; did you mean "log.slow_operation_ms"?
====
[log]
xyzzy = 1
[[wal]]
buffer_size_mb = 8
---
engram.toml:2: unknown key "log.xyzzy"; the keys of [log] are level, format, slow_operation_ms
engram.toml:3: wal: found [[wal]]; allowed: [wal]
====
[log]
level = "info"
level = "warn"
---
engram.toml:3: duplicate key
====
[log
---
engram.toml:1: unclosed table, expected `]`
"#,
    );
}

#[test]
fn variables_are_held_to_the_same_and_named() {
    cases(
        r#"--- env
ENGRAM_LOG_LEVEL=loud
ENGRAM_STORAGE__HOT_TIER_SHARDS=many
ENGRAM_STORAGE__HOT_TEIR_SHARDS=8
ENGRAM_THREAD_POOLS__RECALL_WORKERS=0
ENGRAM_WAL__USE_DIRECT_IO=1
---
ENGRAM_LOG_LEVEL: log.level: found "loud"; allowed: "error", "warn", "info", "debug", "trace"
ENGRAM_STORAGE__HOT_TEIR_SHARDS: unknown setting "storage.hot_teir_shards"; did you mean ENGRAM_STORAGE__HOT_TIER_SHARDS?
ENGRAM_STORAGE__HOT_TIER_SHARDS: storage.hot_tier_shards: found "many"; allowed: a power of two from 1 to 65536
ENGRAM_THREAD_POOLS__RECALL_WORKERS: thread_pools.recall_workers: found "0"; allowed: a whole number from 1 to 1024
ENGRAM_WAL__USE_DIRECT_IO: wal.use_direct_io: found "1"; allowed: true or false
====
[log]
format = "yaml"
--- env
ENGRAM_LOG__FORMAT=xml
---
engram.toml:2: log.format: found "yaml"; allowed: "auto", "json", "text"
ENGRAM_LOG__FORMAT: log.format: found "xml"; allowed: "auto", "json", "text"
====
--- env
ENGRAM_SERVICE_HOST=10.0.0.7
ENGRAM_SERVICE_PORT_HTTP=8080
ENGRAM_PORT=tcp://10.0.0.7:8080
ENGRAM_PORT_8080_TCP=tcp://10.0.0.7:8080
ENGRAM_PORT_8080_TCP_ADDR=10.0.0.7
ENGRAM__HEADLESS_SERVICE_HOST=None
ENGRAM_URL=http://127.0.0.1:8080
ENGRAM_API_KEY=secret
OTHER__THING=1
---

"#,
    );
}

#[test]
fn spellings_that_disagree_are_an_error() {
    cases(
        r#"[memory]
fast_tier_size = "4GB"
[storage]
hot_tier_size_mb = 2048
---
engram.toml:4: storage.hot_tier_size_mb = 2048 disagrees with memory.fast_tier_size = "4GB" (engram.toml:2); keep one of them
====
[storage]
hot_tier_size_mb = 4096
[memory]
fast_tier_size = "4GB"
---

====
--- env
ENGRAM_LOG_LEVEL=info
ENGRAM_LOG__LEVEL=warn
---
ENGRAM_LOG__LEVEL: log.level = "warn" disagrees with log.level = "info" (ENGRAM_LOG_LEVEL); keep one of them
====
[memory]
fast_tier_size = "4GB"
--- env
ENGRAM_STORAGE__HOT_TIER_SIZE_MB=2048
---
"#,
    );
}

#[test]
fn settings_that_contradict_each_other_are_an_error() {
    cases(
        r#"[server]
http_addr = "127.0.0.1:9090"
[tls]
cert_file = "cert.pem"
[embedder]
provider = "openai"
url = "http://127.0.0.1:11434/v1"
[hnsw_index]
M = 48
ef_construction = 32
[lifecycle]
drain_timeout_s = 60
---
server.metrics_addr: "127.0.0.1:9090" is the address of server.http_addr too; give each its own port
engram.toml:4: tls.cert_file: is set and tls.key_file is not; set both or neither
engram.toml:6: embedder.provider: "openai" needs embedder.model
engram.toml:10: hnsw_index.ef_construction: 32 is less than hnsw_index.M = 48; set it to 48 or more
engram.toml:12: lifecycle.drain_timeout_s: 60 is more than lifecycle.shutdown_timeout_s = 30, which it is a part of
"#,
    );
}

#[test]
fn what_this_machine_cannot_do_is_a_notice() {
    cases(
        r#"[storage]
hot_tier_size_mb = 65536
---
engram.toml:2: storage.hot_tier_size_mb = 65536 is more than the 32768 MB that this process may use
"#,
    );
    let unknown = Machine { memory_bytes: None, ..MACHINE };
    let loaded = Config::load(Some(Path::new("/dev/null")), std::iter::empty(), unknown).unwrap();
    assert_eq!(
        loaded.notices(),
        ["cannot read how much memory there is; defaults assume 1024 MB, set storage.hot_tier_size_mb"]
    );
}

/// Every key of the contract, with its figures.
const CONTRACT: &str = r#"
[server]
http_addr = "127.0.0.1:8080"
metrics_addr = "127.0.0.1:9090"
grpc_addr = "127.0.0.1:50051"
[storage]
data_dir = "./engram-data"
hot_tier_dir = ""
hot_tier_size_mb = 4096
hot_tier_shards = 128
warm_tier_size_mb = 12288
cold_tier_endpoint = "s3://engram-cold-tier"
cold_tier_compression = "zstd"
cold_tier_compression_level = 3
use_huge_pages = false
[wal]
buffer_size_mb = 128
flush_interval_ms = 1000
sync_mode = "always"
use_direct_io = false
[hnsw_index]
M = 32
ef_construction = 400
ef_search = 200
[activation]
prefetch_distance = 12
simd_enabled = true
simd_batch_size = 8
avx_version = "auto"
visit_budget_per_tier = { hot = 3, warm = 2, cold = 1 }
[thread_pools]
recall_workers = 64
store_workers = 32
consolidation_workers = 2
background_workers = 4
[numa]
numa_aware = false
prefer_local_node = true
socket_memory_mb = [65536]
[performance]
result_pool_size = 100
result_pool_capacity = 1000
[runtime]
worker_threads = 8
[log]
level = "info"
format = "auto"
slow_operation_ms = 10
[auth]
keys_file = ""
[tls]
cert_file = ""
key_file = ""
[limits]
body_mb_max = 16
content_kb_max = 64
connections_max = 1024
request_timeout_s = 30
[embedder]
provider = "builtin"
url = ""
model = ""
[lifecycle]
warmup_patterns = 1000
drain_timeout_s = 5
shutdown_timeout_s = 30
"#;

#[test]
fn the_contract_is_accepted_whole_and_covers_every_key() {
    let loaded = load(CONTRACT, "").unwrap();
    let config = loaded.config().unwrap();
    assert_eq!((config.hnsw_index.m, config.thread_pools.recall_workers), (32, 64));
    assert_eq!(config.storage.cold_tier_endpoint, "s3://engram-cold-tier");
    assert_eq!(config.numa.socket_memory_mb, [65536]);
    assert!(!loaded.effective().contains("# default"), "a key that the contract lacks");
}

#[test]
fn the_settings_of_the_tuning_guides_are_accepted() {
    let config = config(
        "[wal]\nsync_mode = \"batch\"\nuse_direct_io = true\n\
         [activation]\navx_version = \"avx512\"\nsimd_batch_size = 16\n\
         [graph]\nshard_count = 256\n[memory]\nfast_tier_size = \"4GB\"\n",
        "",
    );
    assert_eq!((config.storage.hot_tier_shards, config.storage.hot_tier_size_mb), (256, 4096));
    assert_eq!(config.wal.sync_mode, SyncMode::Batch);
}

#[test]
fn sizes_have_many_spellings() {
    for text in ["4GB", "4 GiB", "4Gi", "4g", "4096MB", "4096 MiB"] {
        let config = config(&format!("[memory]\nfast_tier_size = \"{text}\"\n"), "");
        assert_eq!(config.storage.hot_tier_size_mb, 4096, "{text}");
    }
}

#[test]
fn a_section_may_be_written_in_any_way_that_toml_allows() {
    let config = config(
        "log = { level = \"WARN\" }\nwal.buffer_size_mb = 8\n[activation.visit_budget_per_tier]\ncold = 0\n",
        "",
    );
    assert_eq!((config.log.level, config.wal.buffer_size_mb), (LogLevel::Warn, 8));
    assert_eq!(config.activation.visit_budget_per_tier, VisitBudget { hot: 3, warm: 2, cold: 0 });
}

#[test]
fn the_environment_goes_over_the_file() {
    let file = "[hnsw_index]\nM = 16\nef_search = 50\n[log]\nlevel = \"warn\"\n";
    let env = "ENGRAM_HNSW_INDEX__M=24
        engram_hnsw_index__ef_search=1
        ENGRAM_Log__Slow_Operation_Ms=25
        ENGRAM_LOG_LEVEL=Debug
        ENGRAM_COLD_TIER_ENDPOINT=s3://bucket/engram
        ENGRAM_ACTIVATION__VISIT_BUDGET_PER_TIER={ hot = 1, cold = 0 }
        ENGRAM_NUMA__SOCKET_MEMORY_MB=[1024, 2048]
        ENGRAM_WAL__USE_DIRECT_IO=true
        ENGRAM_SERVER__HTTP_ADDR=localhost:8088
        ENGRAM_MEMORY__FAST_TIER_SIZE=1GB";
    let config = config(file, env);
    assert_eq!((config.hnsw_index.m, config.hnsw_index.ef_search), (24, 50));
    assert_eq!((config.log.level, config.log.slow_operation_ms), (LogLevel::Debug, 25));
    assert_eq!(config.storage.cold_tier_endpoint, "s3://bucket/engram");
    assert_eq!(config.activation.visit_budget_per_tier, VisitBudget { hot: 1, warm: 2, cold: 0 });
    assert_eq!(config.numa.socket_memory_mb, [1024, 2048]);
    assert!(config.wal.use_direct_io);
    assert_eq!(config.server.http_addr.to_string(), "127.0.0.1:8088");
    assert_eq!(config.storage.hot_tier_size_mb, 1024);
}

#[test]
fn flags_go_over_everything() {
    let mut loaded = load("[storage]\ndata_dir = \"file\"\n", "ENGRAM_STORAGE__DATA_DIR=env").unwrap();
    assert_eq!(loaded.config().unwrap().storage.data_dir, Path::new("env"));
    loaded.set("--data-dir", "storage.data_dir", "flag").unwrap();
    assert_eq!(loaded.config().unwrap().storage.data_dir, Path::new("flag"));
    let refused = loaded.set("--http-addr", "server.http_addr", "8080").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "--http-addr: server.http_addr: found \"8080\"; allowed: an IP address and port such as \"127.0.0.1:8080\" or \"[::1]:8080\""
    );
    let refused = loaded.set("--set", "server.htp_addr", "8080").unwrap_err();
    assert_eq!(
        refused.to_string(),
        "--set: unknown setting \"server.htp_addr\"; did you mean \"server.http_addr\"?"
    );
}

#[test]
fn the_file_may_be_named_by_a_variable_and_must_then_exist() {
    let file = folder().join("named.toml");
    let env = || [("ENGRAM_CONFIG".to_owned(), file.display().to_string())].into_iter();
    let missing = Config::load(None, env(), MACHINE).unwrap_err().to_string();
    assert_eq!(
        missing,
        format!("{}: cannot read it: No such file or directory (os error 2)", file.display())
    );
    fs::write(&file, "[wal]\nbuffer_size_mb = 7\n").unwrap();
    let loaded = Config::load(None, env(), MACHINE).unwrap();
    assert_eq!((loaded.file.clone(), loaded.config().unwrap().wal.buffer_size_mb), (Some(file), 7));
}

#[test]
fn the_settings_in_force_are_shown_with_their_origin_and_read_back_the_same() {
    let env = "ENGRAM_LOG_LEVEL=warn\nENGRAM_EMBEDDER__URL=https://me:secret@host/v1";
    let mut loaded = load("[hnsw_index]\n\nM = 16\n", env).unwrap();
    loaded.set("--http-addr", "server.http_addr", "[::1]:8080").unwrap();
    let shown = loaded.effective();
    let file = loaded.file.clone().unwrap();
    for line in [
        "http_addr = \"[::1]:8080\"                     # flag --http-addr",
        "metrics_addr = \"127.0.0.1:9090\"              # default",
        &format!("M = 16                                       # {}:3", file.display()),
        "level = \"warn\"                               # env ENGRAM_LOG_LEVEL",
        "url = \"https://***@host/v1\"                  # env ENGRAM_EMBEDDER__URL",
        "hot_tier_size_mb = 6553                      # default",
        "visit_budget_per_tier = { hot = 3, warm = 2, cold = 1 } # default",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\nis not in\n{shown}");
    }
    let mut again = config(&shown, "");
    again.embedder.url = "https://me:secret@host/v1".to_owned();
    assert_eq!(again, loaded.config().unwrap());
}

#[test]
fn beyond_loopback_nobody_listens_unprotected() {
    let exposure = |address: &str, insecure| {
        let config = config(&format!("[server]\nhttp_addr = \"{address}\"\n"), "");
        config.check_exposure(insecure).map_err(|error| error.to_string())
    };
    for address in
        ["127.0.0.1:8080", "127.9.9.9:8080", "[::1]:8080", "[::ffff:127.0.0.1]:8080", "localhost:8080"]
    {
        assert_eq!(exposure(address, false), Ok(()), "{address}");
    }
    for address in ["0.0.0.0:8080", "[::]:8080", "10.0.0.7:8080", "[::ffff:10.0.0.7]:8080"] {
        let refused = exposure(address, false).unwrap_err();
        assert!(
            refused.starts_with(&format!("server.http_addr = \"{address}\" can be reached")),
            "{refused}"
        );
        assert!(refused.contains("--insecure"), "{refused}");
        assert_eq!(exposure(address, true), Ok(()), "{address}");
        // As long as keys are not checked, naming a file of them protects nothing.
        let file = format!("[server]\ngrpc_addr = \"{address}\"\n[auth]\nkeys_file = \"keys\"\n");
        let keys_are_checked = refused.contains("auth.keys_file");
        assert_eq!(config(&file, "").check_exposure(false).is_ok(), keys_are_checked);
    }
}

#[test]
fn each_numa_node_has_a_share() {
    let file = folder().join("engram.toml");
    let outcome = |toml: &str, numa_nodes| {
        fs::write(&file, format!("[numa]\n{toml}")).unwrap();
        let loaded =
            Config::load(Some(&file), std::iter::empty(), Machine { numa_nodes, ..MACHINE }).unwrap();
        let problem = loaded.config().err().map(|error| error.to_string());
        problem.unwrap_or_else(|| loaded.notices().join("\n")).replace(file.to_str().unwrap(), "engram.toml")
    };
    let aware = "numa_aware = true\nprefer_local_node = false\n";
    for nodes in [2, 100, 1024] {
        assert_eq!(outcome(aware, nodes), "");
    }
    assert_eq!(outcome(&format!("{aware}socket_memory_mb = [1024, 2048]"), 2), "");
    assert_eq!(
        outcome(&format!("{aware}socket_memory_mb = [1024]"), 2),
        "engram.toml:4: numa.socket_memory_mb: has 1 entries; NUMA nodes that this process may use: 2; give a size in MB for \
         each, the first node first, or leave it out to divide memory evenly"
    );
    assert_eq!(
        outcome(&format!("{aware}socket_memory_mb = [1024, 2048]"), 1),
        "engram.toml:2: numa.numa_aware = true has no effect: there is one NUMA node\n\
         engram.toml:4: numa.socket_memory_mb = [1024, 2048] has 2 entries; NUMA nodes: 1"
    );
}

/// Writes the files of a pretended root (`path: text` lines; `\n` in the text) and reads the machine from it.
fn machine(files: &str) -> (usize, Option<u64>, usize) {
    let root = folder();
    for line in files.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (path, text) = line.split_once(": ").unwrap();
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("\\n", "\n")).unwrap();
    }
    let machine = Machine::detect_under(&root, 16);
    (machine.cores, machine.memory_bytes.map(|bytes| bytes >> 20), machine.numa_nodes)
}

#[test]
fn the_machine_is_what_the_cgroup_allows() {
    assert_eq!(machine(""), (16, None, 1), "nothing to read");
    let host = "proc/meminfo: MemTotal:       33554432 kB\\nMemFree: 1 kB\\n\n";
    assert_eq!(machine(host), (16, Some(32768), 1), "no cgroup");
    let v2 = format!(
        "{host}proc/self/cgroup: 0::/\\n
         sys/fs/cgroup/memory.max: 2147483648\\n
         sys/fs/cgroup/cpu.max: 250000 100000\\n
         sys/devices/system/node/node0/cpulist: 0-7
         sys/devices/system/node/node1/cpulist: 8-15
         sys/devices/system/node/possible: 0-1"
    );
    assert_eq!(machine(&v2), (2, Some(2048), 2), "version 2 in its own namespace");
    let nested = format!(
        "{host}proc/self/cgroup: 0::/system.slice/engram.service\\n
         sys/fs/cgroup/system.slice/memory.max: 4294967296
         sys/fs/cgroup/system.slice/cpu.max: 50000 100000
         sys/fs/cgroup/system.slice/engram.service/memory.max: max
         sys/fs/cgroup/system.slice/engram.service/memory.high: 3221225472
         sys/fs/cgroup/system.slice/engram.service/cpu.max: max 100000"
    );
    assert_eq!(machine(&nested), (1, Some(3072), 1), "version 2, a parent's quota under one core");
    let v1 = format!(
        "{host}proc/self/cgroup: 12:memory:/docker/abc\\n4:cpu,cpuacct:/docker/abc\\n1:name=systemd:/docker/abc\\n0::/\\n
         sys/fs/cgroup/memory/memory.limit_in_bytes: 1073741824
         sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us: 400000
         sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us: 100000"
    );
    assert_eq!(machine(&v1), (4, Some(1024), 1), "version 1 in a container, seen from inside");
    let unlimited = format!(
        "{host}proc/self/cgroup: 12:memory:/a\\n4:cpu:/a\\n
         sys/fs/cgroup/memory/a/memory.limit_in_bytes: 9223372036854771712
         sys/fs/cgroup/cpu/a/cpu.cfs_quota_us: -1
         sys/fs/cgroup/cpu/a/cpu.cfs_period_us: 100000"
    );
    assert_eq!(machine(&unlimited), (16, Some(32768), 1), "version 1 without limits");
}

#[test]
fn defaults_fit_the_machine() {
    let fit = |cores, memory_mb: u64| {
        let config = Config::fitting(&Machine { cores, memory_bytes: Some(memory_mb << 20), ..MACHINE });
        let pools = config.thread_pools;
        (
            (config.storage.hot_tier_size_mb, config.storage.warm_tier_size_mb, config.wal.buffer_size_mb),
            config.storage.hot_tier_shards,
            (
                pools.recall_workers,
                pools.store_workers,
                pools.consolidation_workers,
                pools.background_workers,
            ),
            config.runtime.worker_threads,
        )
    };
    assert_eq!(fit(2, 8192), ((1638, 3276, 128), 16, (4, 32, 1, 1), 2));
    assert_eq!(fit(32, 131_072), ((26214, 52428, 128), 128, (64, 32, 2, 4), 32));
    assert_eq!(fit(1, 256), ((51, 102, 4), 16, (2, 32, 1, 1), 1));
    assert_eq!(fit(12, 2048), ((409, 819, 32), 64, (24, 32, 2, 4), 12));
}

#[test]
fn this_machine_can_be_looked_at() {
    let machine = Machine::detect();
    assert!(machine.cores >= 1 && machine.numa_nodes >= 1);
    assert!(machine.memory_bytes.is_some_and(|bytes| bytes > 64 << 20), "{machine:?}");
}

#[test]
fn the_reference_is_rendered_from_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/configuration.md");
    let rendered = engram::config::reference();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &rendered).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap() == rendered,
        "run UPDATE=1 cargo test -p engram --test config"
    );
}
