//! What this process may use: the cores, memory and instruction sets that the defaults fit.
//! Reads the cgroup (version 2 and 1) before the host, since a container sees the whole host in /proc.
//! A figure that cannot be read is absent, never guessed here.

use crate::numa::nodes_under;
use engram_core::kernels::Simd;
use std::fs;
use std::path::{Path, PathBuf};

/// What the process may use, as far as it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Cores: the smaller of the CPU affinity and the cgroup's quota, which is rounded down; at least 1.
    pub cores: usize,
    /// Bytes of memory: the smallest of the host's and the limits of the cgroup and its parents. `None`: unreadable.
    pub memory_bytes: Option<u64>,
    /// NUMA nodes whose memory and processors it may use, at least 1.
    pub numa_nodes: usize,
    /// The processor has AVX2 and FMA.
    pub avx2: bool,
    /// The processor has AVX-512 with F, BW and VNNI.
    pub avx512: bool,
    /// The system gives huge pages: reserved ones, or transparent ones to who asks.
    pub huge_pages: bool,
}

/// Memory that defaults are made for where the machine's cannot be read; a notice then says so.
const MEMORY_MB_ASSUMED: u64 = 1024;

impl Machine {
    /// Looks at the machine that this process runs on. Reads a few small files.
    pub fn detect() -> Machine {
        let affinity = std::thread::available_parallelism().map_or(1, usize::from);
        let mut machine = Machine::detect_under(Path::new("/"), affinity);
        #[cfg(target_arch = "x86_64")]
        {
            machine.avx2 = Simd::best() >= Simd::Avx2;
            machine.avx512 = Simd::best() == Simd::Avx512;
        }
        machine.memory_bytes = machine.memory_bytes.or_else(memory_bytes_of_macos);
        machine
    }

    /// The same from the files under `root` (`/` in life), for a process whose affinity is `cores_host` cores.
    /// Instruction sets are not in these files: none is reported.
    pub fn detect_under(root: &Path, cores_host: usize) -> Machine {
        let limits = Limits::of_own_cgroup(root);
        let memory_bytes = [memory_bytes_of_host(root), limits.memory_bytes].into_iter().flatten().min();
        let cores = limits.cores.unwrap_or(cores_host).min(cores_host).max(1);
        Machine {
            cores,
            memory_bytes,
            numa_nodes: nodes_under(root).len().max(1),
            avx2: false,
            avx512: false,
            huge_pages: huge_pages(root),
        }
    }

    /// Memory in MB (MiB), or what is assumed where it cannot be read.
    pub(super) fn memory_mb(&self) -> u64 {
        self.memory_bytes.map_or(MEMORY_MB_ASSUMED, |bytes| bytes >> 20)
    }
}

/// The tightest limits of a cgroup and its parents; a child cannot exceed its parent.
#[derive(Default)]
struct Limits {
    memory_bytes: Option<u64>,
    cores: Option<usize>,
}

impl Limits {
    fn of_own_cgroup(root: &Path) -> Limits {
        let mut limits = Limits::default();
        // Lines are `0::/path` (version 2) and `4:memory:/path` (version 1); a hybrid host has both.
        for line in fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default().lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            for mount in mounts(root, controllers) {
                // Without a cgroup namespace the path is the host's, which may not be mounted here: then only the
                // ancestors that exist count. A path out of the namespace ("/..") means its root.
                let path = Path::new(if path.contains("..") { "/" } else { path });
                for ancestor in path.ancestors() {
                    limits.tighten(&mount.join(ancestor.strip_prefix("/").unwrap_or(ancestor)));
                }
            }
        }
        limits
    }

    fn tighten(&mut self, cgroup: &Path) {
        for file in ["memory.max", "memory.high", "memory.limit_in_bytes"] {
            let bytes = word(&cgroup.join(file), 0).and_then(|word| word.parse().ok());
            self.memory_bytes = [self.memory_bytes, bytes].into_iter().flatten().min();
        }
        let v2 = (word(&cgroup.join("cpu.max"), 0), word(&cgroup.join("cpu.max"), 1));
        let v1 = (word(&cgroup.join("cpu.cfs_quota_us"), 0), word(&cgroup.join("cpu.cfs_period_us"), 0));
        for (quota, period) in [v2, v1] {
            // "max" and -1, no limit, do not parse.
            let quota: Option<usize> = quota.and_then(|word| word.parse().ok());
            let period: Option<usize> = period.and_then(|word| word.parse().ok());
            let cores = quota.zip(period).and_then(|(quota, period)| quota.checked_div(period));
            self.cores = [self.cores, cores].into_iter().flatten().min();
        }
    }
}

/// Where the hierarchy of these controllers is mounted, by convention; version 2 has an empty list of controllers.
fn mounts(root: &Path, controllers: &str) -> Vec<PathBuf> {
    let base = root.join("sys/fs/cgroup");
    if controllers.is_empty() {
        return vec![base];
    }
    let ours = controllers.split(',').filter(|name| ["memory", "cpu"].contains(name));
    ours.flat_map(|name| [base.join(name), base.join(controllers)]).collect()
}

/// The n-th word of a small file; a file that is not there has none.
fn word(file: &Path, n: usize) -> Option<String> {
    fs::read_to_string(file).ok()?.split_whitespace().nth(n).map(str::to_owned)
}

fn memory_bytes_of_host(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

fn huge_pages(root: &Path) -> bool {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let transparent = read("sys/kernel/mm/transparent_hugepage/enabled");
    let reserved = read("proc/sys/vm/nr_hugepages");
    (!transparent.is_empty() && !transparent.contains("[never]"))
        || reserved.trim().parse::<u64>().is_ok_and(|pages| pages > 0)
}

#[cfg(target_os = "macos")]
fn memory_bytes_of_macos() -> Option<u64> {
    let output = std::process::Command::new("sysctl").args(["-n", "hw.memsize"]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

#[cfg(not(target_os = "macos"))]
fn memory_bytes_of_macos() -> Option<u64> {
    None
}
