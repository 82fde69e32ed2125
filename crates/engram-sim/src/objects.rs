//! The object store of a simulation: another machine, whose objects outlive every crash of the simulated one. Requests to
//! it fail, lose their answers, are done twice or never answered, under a seed and in the order in which they are made;
//! now and then it is away for many in a row.

use engram::{ColdOptions, ColdStore, Compression};
use engram_storage::cold::{Fault, FaultyObjects};
use fastrand::Rng;
use object_store::memory::InMemory;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long an answer is waited for that never comes. All others come at once, however slow this machine is: they are
/// there before the clock is looked at.
const PATIENCE: Duration = Duration::from_millis(1);
/// Of so many requests some have a fault.
const OF_REQUESTS: u32 = 1000;
/// A probe of the store makes 72 requests, and fails with any of them.
const PROBE_SHARE: u32 = 40;

/// An object store in trouble, or not.
pub(crate) struct Objects {
    pub(crate) store: Arc<ColdStore>,
    is_troubled: Arc<AtomicBool>,
    /// Requests while in trouble, and the one from which on all fail, as whoever makes them is dead.
    requests: Arc<AtomicU64>,
    dies_at: Arc<AtomicU64>,
}

/// What goes wrong.
struct Trouble {
    rng: Rng,
    /// Of `OF_REQUESTS`.
    faults: u32,
    /// Requests for which it is still away.
    away: u32,
}

impl Objects {
    /// An empty store. It is not in trouble before `set_trouble`.
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let is_troubled = Arc::new(AtomicBool::new(false));
        // One store in four does as it is asked, one fails at every other request.
        let faults = [0, 50, 200, 500][rng.usize(..4)];
        let mut trouble = Trouble { rng: rng.fork(), faults, away: 0 };
        let (requests, dies_at) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(u64::MAX)));
        let (is_on, counted, end) = (is_troubled.clone(), requests.clone(), dies_at.clone());
        let plan = move |_: &'static str, name: &str| {
            if !is_on.load(Ordering::Relaxed) {
                return None;
            }
            let is_dead = counted.fetch_add(1, Ordering::Relaxed) + 1 >= end.load(Ordering::Relaxed);
            if is_dead { Some(Fault::Fail) } else { trouble.fault(name) }
        };
        let objects = Arc::new(FaultyObjects::new(Arc::new(InMemory::new()), plan));
        let options = ColdOptions {
            endpoint: "memory".into(),
            compression: Compression::None,
            patience: PATIENCE,
            ..ColdOptions::default()
        };
        let store = ColdStore::with_store(objects, options).expect("there is nothing to refuse");
        Self { store: Arc::new(store), is_troubled, requests, dies_at }
    }

    /// Requests so far, while it was in trouble.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// From this request on all fail while it is in trouble.
    pub(crate) fn die_at(&self, request: u64) {
        self.dies_at.store(request, Ordering::Relaxed);
    }

    /// Begins or ends the trouble, and says whether there was any before.
    pub(crate) fn set_trouble(&self, is_on: bool) -> bool {
        self.is_troubled.swap(is_on, Ordering::Relaxed)
    }

    /// Names of the cold files in it.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let all = self.store.list("").expect("it is not in trouble");
        // What a probe that was interrupted left is no cold file.
        all.into_iter().map(|(name, _)| name).filter(|name| !is_probe(name)).collect()
    }
}

fn is_probe(name: &str) -> bool {
    name.contains("engram-probe-")
}

impl Trouble {
    fn fault(&mut self, name: &str) -> Option<Fault> {
        if self.away > 0 {
            self.away -= 1;
            return Some(Fault::Fail);
        }
        let of = OF_REQUESTS * if is_probe(name) { PROBE_SHARE } else { 1 };
        if self.rng.u32(..of) >= self.faults {
            return None;
        }
        Some(match self.rng.u8(..16) {
            0..=3 => Fault::Fail,
            4..=7 => Fault::LoseAnswer,
            8..=12 => Fault::Twice,
            13 => Fault::Hang,
            _ => {
                self.away = self.rng.u32(5..50);
                Fault::Fail
            }
        })
    }
}
