//! Threads and large blocks over the memory nodes of a machine. Threads of each kind take the nodes in turn, and stay. A
//! block lies on the node of the thread that makes it, or, where local memory is not preferred, in pages on all nodes in
//! turn, because threads of all nodes read it. Each node takes blocks up to its share of bytes; where no share is left,
//! blocks lie where the system likes. Holds for the whole process, as whoever said so last: threads and memory are the
//! process's.

use crate::platform;
use std::cell::Cell;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// A memory node, as far as this process may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number; below `platform::NODES_MAX`.
    pub number: u32,
    /// Its processors; at least one.
    pub cpus: Vec<u32>,
    /// Bytes of large blocks that may lie on it.
    pub bytes_max: u64,
}

/// Is told what could not be done about a thread or a block, which then are where the system likes.
pub type Note = Box<dyn Fn(&io::Error) + Send + Sync>;

/// The nodes that a process is divided over.
pub struct Nodes {
    nodes: Vec<Node>,
    prefers_local: bool,
    note: Note,
    /// Bytes of blocks on each.
    used: Vec<AtomicU64>,
    /// Threads without a number that came.
    threads: AtomicUsize,
}

static NODES: RwLock<Option<Arc<Nodes>>> = RwLock::new(None);

thread_local! {
    /// Which of the nodes the thread is pinned to.
    static OWN: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Divides threads and blocks that are yet to come over these nodes, or no more over any.
pub fn divide(nodes: Option<Nodes>) {
    *NODES.write().unwrap_or_else(PoisonError::into_inner) = nodes.map(Arc::new);
}

fn nodes() -> Option<Arc<Nodes>> {
    NODES.read().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Pins the calling thread to a node, if the process is divided over several. What it allocates is that node's, too, if
/// local memory is preferred.
pub fn settle_thread() {
    let Some(nodes) = nodes() else { return };
    let at = nodes.of_thread(std::thread::current().name());
    let Node { number, cpus, .. } = &nodes.nodes[at];
    match platform::pin_thread(cpus) {
        Ok(()) => OWN.set(Some(at)),
        Err(error) => return (nodes.note)(&error),
    }
    if nodes.prefers_local
        && let Err(error) = platform::prefer_node(*number)
    {
        (nodes.note)(&error);
    }
}

/// Asks for the pages of a large block, none of which was touched yet, to lie where they should.
pub(crate) fn settle_block(start: std::ptr::NonNull<u8>, bytes: usize) -> Option<Lease> {
    let nodes = nodes()?;
    let lease = nodes.lease(bytes as u64, OWN.get());
    let on: Vec<u32> = lease.shares.iter().map(|&(at, _)| lease.nodes.nodes[at].number).collect();
    let settled = match on.is_empty() {
        true => Err(io::Error::other(
            "the nodes have no more of the memory that numa.socket_memory_mb gives them",
        )),
        false => platform::place_pages(start, bytes, &on),
    };
    if let Err(error) = settled {
        (lease.nodes.note)(&error);
    }
    Some(lease)
}

/// What a block takes of the shares of nodes, until it is dropped.
pub(crate) struct Lease {
    nodes: Arc<Nodes>,
    /// Nodes by place, with bytes.
    shares: Vec<(usize, u64)>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        for &(at, bytes) in &self.shares {
            self.nodes.used[at].fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

impl Nodes {
    /// At least one. `prefers_local`: what a thread makes is its node's, and not divided over all.
    pub fn new(nodes: Vec<Node>, prefers_local: bool, note: Note) -> Self {
        assert!(!nodes.is_empty(), "a machine has a node");
        let used = nodes.iter().map(|_| AtomicU64::new(0)).collect();
        Self { nodes, prefers_local, note, used, threads: AtomicUsize::new(0) }
    }

    /// The node of a thread of this name: by the number at its end, so that the threads of each kind take turns, or else
    /// by how many came before.
    fn of_thread(&self, name: Option<&str>) -> usize {
        let number = name.and_then(|name| name.rsplit('-').next()?.parse::<usize>().ok());
        number.unwrap_or_else(|| self.threads.fetch_add(1, Ordering::Relaxed)) % self.nodes.len()
    }

    /// Takes the shares of a block. Two at once may take a little more than there is.
    fn lease(self: Arc<Self>, bytes: u64, own: Option<usize>) -> Lease {
        let left =
            |(node, used): (&Node, &AtomicU64)| node.bytes_max.saturating_sub(used.load(Ordering::Relaxed));
        let room: Vec<u64> = self.nodes.iter().zip(&self.used).map(left).collect();
        let shares = if self.prefers_local { local(&room, bytes, own) } else { spread(&room, bytes) };
        for &(at, bytes) in &shares {
            self.used[at].fetch_add(bytes, Ordering::Relaxed);
        }
        Lease { nodes: self, shares }
    }
}

/// All on one node: its own, or the next that has room; of a thread without a node, the one with the most room.
fn local(room: &[u64], bytes: u64, own: Option<usize>) -> Vec<(usize, u64)> {
    let most = || (0..room.len()).max_by_key(|&at| (room[at], room.len() - at)).unwrap_or(0);
    let first = own.filter(|&own| own < room.len()).unwrap_or_else(most);
    let in_turn = (first..room.len()).chain(0..first);
    in_turn.filter(|&at| room[at] >= bytes).map(|at| (at, bytes)).take(1).collect()
}

/// Equal parts on as many nodes as have room for theirs.
fn spread(room: &[u64], bytes: u64) -> Vec<(usize, u64)> {
    for count in (1..=room.len()).rev() {
        let part = bytes.div_ceil(count as u64);
        let takes: Vec<(usize, u64)> =
            (0..room.len()).filter(|&at| room[at] >= part).map(|at| (at, part)).collect();
        if takes.len() == count {
            return takes;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(shares: &[u64], prefers_local: bool) -> Arc<Nodes> {
        let node = |(number, &bytes_max)| Node { number, cpus: vec![number], bytes_max };
        Arc::new(Nodes::new((0..).zip(shares).map(node).collect(), prefers_local, Box::new(|_| ())))
    }

    #[test]
    fn threads_take_the_nodes_in_turn() {
        let nodes = nodes(&[1, 1, 1], true);
        let names = ["idle", "work-0", "work-1", "call-7", "flush", "work-3", "main", "work-x"];
        let taken: Vec<usize> = names.iter().map(|name| nodes.of_thread(Some(name))).collect();
        assert_eq!(taken, [0, 0, 1, 1, 1, 0, 2, 0]);
        assert_eq!(nodes.of_thread(None), 1);
    }

    #[test]
    fn blocks_are_local_until_the_share_is_used_up() {
        let nodes = nodes(&[100, 200], true);
        let take = |bytes, own| nodes.clone().lease(bytes, own);
        let first = take(60, Some(0));
        assert_eq!(first.shares, [(0, 60)]);
        let second = take(60, Some(0));
        assert_eq!(second.shares, [(1, 60)], "40 are left of the own");
        let small = take(40, Some(0));
        assert_eq!(small.shares, [(0, 40)]);
        let foreign = take(100, None);
        assert_eq!(foreign.shares, [(1, 100)], "where most is left");
        let none = take(60, Some(1));
        assert!(none.shares.is_empty());
        drop(first);
        assert_eq!(take(60, Some(1)).shares, [(0, 60)], "what is dropped is given back");
    }

    #[test]
    fn blocks_are_divided_over_the_nodes_that_have_room() {
        assert_eq!(spread(&[100, 100, 100], 90), [(0, 30), (1, 30), (2, 30)]);
        assert_eq!(spread(&[100, 10, 100], 90), [(0, 45), (2, 45)]);
        assert_eq!(spread(&[100, 10, 40], 90), [(0, 90)]);
        assert_eq!(spread(&[10, 10], 90), []);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_is_divided_until_it_is_told_otherwise() {
        let allowed = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
            list.trim().to_string()
        };
        let pinned = move || {
            std::thread::spawn(move || {
                settle_thread();
                allowed()
            })
        };
        let cpu = allowed().split([',', '-']).next().unwrap().parse().unwrap();
        let node = Node { number: 0, cpus: vec![cpu], bytes_max: 1 << 40 };
        divide(Some(Nodes::new(vec![node], true, Box::new(|error| println!("skipped in part: {error}")))));
        let divided = super::nodes().unwrap();
        assert_eq!(pinned().join().unwrap(), cpu.to_string());
        let block: platform::Block<u8> = platform::Block::zeroed(8 << 20, platform::Paging::Ordinary);
        // Tests beside this one make blocks, too.
        assert!(divided.used[0].load(Ordering::Relaxed) >= 8 << 20);
        divide(None);
        drop(block);
        assert_eq!(pinned().join().unwrap(), allowed());
    }

    #[test]
    fn the_share_bounds_what_is_divided() {
        let nodes = nodes(&[100, 40], false);
        let taken: Vec<Lease> = (0..4).map(|_| nodes.clone().lease(40, Some(1))).collect();
        let shares: Vec<&[(usize, u64)]> = taken.iter().map(|lease| &lease.shares[..]).collect();
        assert_eq!(shares, [&[(0, 20), (1, 20)][..], &[(0, 20), (1, 20)], &[(0, 40)], &[]]);
    }
}
