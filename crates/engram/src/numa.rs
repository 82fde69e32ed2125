//! The memory nodes of this machine that the process may use, and how the settings divide it over them. What is divided is
//! the process, not an engine: whoever opens one last decides. A node counts if it has memory and processors that the
//! process may use; memory without processors, such as that behind CXL, is left to the system.

use crate::error::{Error, ErrorKind, Result};
use engram_core::nodes::{self, Node, Nodes};
use engram_core::platform::NODES_MAX;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Processors that a list may name.
const CPUS_MAX: u32 = 1 << 16;

/// How a process is divided over memory nodes, where there are several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numa {
    /// Memory is taken from the node of the thread that asks for it. Otherwise large arrays are divided over all.
    pub prefers_local: bool,
    /// Bytes of large arrays that each node takes.
    pub share_bytes: Vec<u64>,
}

/// The nodes by number, each with its processors, from the files under `root` (`/` in life). None where they cannot be read.
pub(crate) fn nodes_under(root: &Path) -> Vec<(u32, Vec<u32>)> {
    let folder = root.join("sys/devices/system/node");
    let status = fs::read_to_string(root.join("proc/self/status")).unwrap_or_default();
    let allowed = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(|list| numbers(list, CPUS_MAX))
    };
    let (cpus_allowed, mems_allowed) = (allowed("Cpus_allowed_list:"), allowed("Mems_allowed_list:"));
    let has_memory = fs::read_to_string(folder.join("has_memory")).ok().map(|list| numbers(&list, NODES_MAX));
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("node")?.parse::<u32>().ok());
        let Some(number) = number.filter(|number| *number < NODES_MAX) else { continue };
        let is_in = |list: &Option<Vec<u32>>| list.as_ref().is_none_or(|list| list.contains(&number));
        let cpus = fs::read_to_string(entry.path().join("cpulist")).unwrap_or_default();
        let mut cpus = numbers(&cpus, CPUS_MAX);
        cpus.retain(|cpu| cpus_allowed.as_ref().is_none_or(|allowed| allowed.contains(cpu)));
        if !cpus.is_empty() && is_in(&has_memory) && is_in(&mems_allowed) {
            found.push((number, cpus));
        }
    }
    found.sort_unstable();
    found
}

/// The numbers below `end` of a list such as `0-3,8`.
fn numbers(list: &str, end: u32) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse::<u32>().ok()?.min(end - 1))
    };
    list.trim().split(',').filter_map(|part| range(part.trim())).flatten().collect()
}

/// What to do where the shares are not one for each node.
pub(crate) fn other_count(shares: usize, nodes: usize) -> String {
    format!(
        "has {shares} entries; NUMA nodes that this process may use: {nodes}; give a size in MB for each, the first node first, \
         or leave it out to divide memory evenly"
    )
}

/// Divides the process over its nodes, from now on. Where there is one, there is nothing to divide.
pub(crate) fn divide(numa: Option<&Numa>) -> Result<()> {
    let found = nodes_under(Path::new("/"));
    let Some(numa) = numa.filter(|_| found.len() > 1) else {
        nodes::divide(None);
        return Ok(());
    };
    if numa.share_bytes.len() != found.len() {
        let message = format!("numa.socket_memory_mb {}", other_count(numa.share_bytes.len(), found.len()));
        return Err(Error::new(ErrorKind::Invalid, message));
    }
    let nodes = found.into_iter().zip(&numa.share_bytes);
    let nodes: Vec<Node> =
        nodes.map(|((number, cpus), &bytes_max)| Node { number, cpus, bytes_max }).collect();
    for Node { number, cpus, bytes_max } in &nodes {
        tracing::info!(
            node = number,
            ?cpus,
            share_mb = bytes_max >> 20,
            prefer_local_node = numa.prefers_local,
            "threads and large arrays are divided over NUMA nodes"
        );
    }
    let is_told = AtomicBool::new(false);
    let note = move |error: &std::io::Error| {
        if !is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "a thread or an array is where the system likes, not on the NUMA node it should be on");
        }
    };
    nodes::divide(Some(Nodes::new(nodes, numa.prefers_local, Box::new(note))));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nodes of a pretended root: `path: text` lines.
    fn found(files: &str) -> Vec<(u32, Vec<u32>)> {
        let root = tempfile::tempdir().unwrap();
        for line in files.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (path, text) = line.split_once(": ").unwrap();
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("\\n", "\n")).unwrap();
        }
        nodes_under(root.path())
    }

    const TWO: &str = "
        sys/devices/system/node/node0/cpulist: 0-2,8\\n
        sys/devices/system/node/node1/cpulist: 4-5\\n
        sys/devices/system/node/possible: 0-1\\n
        sys/devices/system/node/has_memory: 0-1\\n";

    #[test]
    fn nodes_are_those_that_the_process_may_use() {
        assert_eq!(found(""), []);
        assert_eq!(found(TWO), [(0, vec![0, 1, 2, 8]), (1, vec![4, 5])]);
        let status = |cpus: &str, mems: &str| {
            let line = format!("Cpus_allowed_list: {cpus}\\nMems_allowed_list: {mems}\\n");
            found(&format!("{TWO}\n proc/self/status: Name: engram\\n{line}"))
        };
        assert_eq!(status("0-63", "0-1"), found(TWO));
        assert_eq!(status("1,4-63", "0-1"), [(0, vec![1, 8]), (1, vec![4, 5])]);
        assert_eq!(status("0-3", "0-1"), [(0, vec![0, 1, 2])], "no processor of the second");
        assert_eq!(status("0-63", "1"), [(1, vec![4, 5])], "no memory of the first");
        let without_cpus = TWO.replace(": 4-5", ": ");
        assert_eq!(found(&without_cpus), [(0, vec![0, 1, 2, 8])]);
        let without_memory = TWO.replace("has_memory: 0-1", "has_memory: 1");
        assert_eq!(found(&without_memory), [(1, vec![4, 5])]);
        assert_eq!(found("sys/devices/system/node/node0/cpulist: x, 3-, 7, 9-8, 5-6"), [(0, vec![7, 5, 6])]);
    }

    #[test]
    fn each_node_has_a_share() {
        let nodes = nodes_under(Path::new("/"));
        if nodes.len() < 2 {
            println!("skipped: there are not several NUMA nodes");
            return;
        }
        let numa = Numa { prefers_local: true, share_bytes: vec![1 << 30; nodes.len() + 1] };
        let error = divide(Some(&numa)).unwrap_err().to_string();
        assert!(error.contains(&format!("{} entries", nodes.len() + 1)), "{error}");
    }
}
