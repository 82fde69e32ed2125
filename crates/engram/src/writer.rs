//! Writes to one space: requests queue up, one of the waiting callers leads, and carries out all that wait with one
//! write and one sync. The order of the log is the order in which requests were decided. A request is decided against
//! a state that holds everything before it that it depends on; it is applied, and acknowledged, only when the log has
//! it. No thread of its own, so an idle space costs none.

use crate::codec::encode_changes;
use crate::consolidation::{follow, with_kin};
use crate::error::{Error, ErrorKind, Result};
use crate::sharded::WriteGuard;
use crate::space::{LogState, Space};
use engram_core::associate::Analysis;
use engram_core::concepts;
use engram_core::id::{MemoryId, Timestamp};
use engram_core::state::{Change, SpaceState};
use engram_storage::PAYLOAD_BYTES_MAX;
use parking_lot::{Condvar, Mutex};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

/// Requests that may wait; more are `Busy`.
const WAITING_MAX: usize = 4096;
/// Requests that share one sync.
const BATCH_REQUESTS_MAX: usize = 1024;
/// Bytes after which a batch takes no more requests.
const BATCH_BYTES_MAX: usize = 16 << 20;
/// Changes of small requests that are made under one lock: some hundred microseconds for which readers wait.
const CHANGES_A_LOCK: usize = 8;
/// Changes of one request: their versions are the position of the request, followed by this many bits.
const CHANGE_BITS: u32 = 20;
/// Changes of one request.
const CHANGES_MAX: usize = 1 << CHANGE_BITS;

/// A change, and what `apply` needs with it.
pub(crate) type Prepared = (Change, Option<Analysis>);

/// What a request wants to change, and what to answer once it is done.
pub(crate) struct Plan {
    pub(crate) changes: Vec<Prepared>,
    pub(crate) ids: Vec<MemoryId>,
}

/// What a request is answered.
#[derive(Debug, Clone)]
pub(crate) struct Ack {
    pub(crate) ids: Vec<MemoryId>,
    /// Position of the request in the log; of the newest one for a request that changed nothing.
    pub(crate) position: u64,
}

/// On which memories a decision depends.
pub(crate) enum Reads {
    Ids(Vec<MemoryId>),
    /// And on whether this idempotency key was used.
    IdsAndKey(Vec<MemoryId>, String),
    Everything,
}

type Decide = Box<dyn FnOnce(&SpaceState, Timestamp) -> Result<Plan> + Send>;

struct Pending {
    reads: Reads,
    decide: Decide,
    ticket: Ticket,
}

/// Where the caller of a request finds its answer.
type Answer = Arc<Mutex<Option<Result<Ack>>>>;

/// Whoever holds it owes the answer.
struct Ticket(Answer);

impl Ticket {
    fn answer(&self, result: Result<Ack>) {
        *self.0.lock() = Some(result);
    }
}

impl Drop for Ticket {
    /// A leader that panics must not leave others waiting.
    fn drop(&mut self) {
        self.0.lock().get_or_insert_with(|| {
            Err(Error::new(ErrorKind::Internal, "a write panicked, and this one with it; see the log"))
        });
    }
}

/// The lead over a queue, which ends when it is dropped.
struct Lead<'a> {
    writer: &'a Writer,
    space: &'a Space,
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The state may hold half a change; the log is right, and opening it again mends the rest.
            *self.space.log.lock() = LogState::Closed("a write panicked; open the folder again");
        }
        self.writer.queue.lock().led = false;
        self.writer.turn.notify_all();
    }
}

/// The queue of a space.
#[derive(Default)]
pub(crate) struct Writer {
    queue: Mutex<Queue>,
    turn: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Pending>,
    led: bool,
}

/// A request that has been decided.
struct Decided {
    plan: Plan,
    ticket: Ticket,
}

impl Writer {
    /// Carries out one request, or waits while another caller does. `decide` says what it changes, given the state and
    /// the time.
    pub(crate) fn submit(
        &self,
        space: &Space,
        reads: Reads,
        decide: impl FnOnce(&SpaceState, Timestamp) -> Result<Plan> + Send + 'static,
    ) -> Result<Ack> {
        let answer = Answer::default();
        let mut queue = self.queue.lock();
        if queue.waiting.len() >= WAITING_MAX {
            return Err(Error::new(
                ErrorKind::Busy,
                format!(
                    "{WAITING_MAX} writes to space \"{}\" are waiting already; try again in a moment",
                    space.name()
                ),
            ));
        }
        let ticket = Ticket(answer.clone());
        queue.waiting.push_back(Pending { reads, decide: Box::new(decide), ticket });
        loop {
            if let Some(result) = answer.lock().take() {
                return result;
            }
            if queue.led {
                self.turn.wait(&mut queue);
                continue;
            }
            queue.led = true;
            drop(queue);
            let lead = Lead { writer: self, space };
            self.carry_out(space);
            drop(lead);
            queue = self.queue.lock();
        }
    }

    /// Carries out one batch of what waits.
    fn carry_out(&self, space: &Space) {
        let now = space.now();
        let mut batch: Vec<Decided> = Vec::new();
        let mut touched = Touched::default();
        let mut bytes = Vec::new();
        let bytes_max = BATCH_BYTES_MAX.min(space.shared.options.log_buffer_bytes as usize);
        let mut bytes_sum = 0;
        let mut unchanged = Vec::new();
        {
            let state = space.read();
            let has_quota = state.settings().memories_max.is_some();
            while batch.len() < BATCH_REQUESTS_MAX && bytes_sum < bytes_max {
                let mut queue = self.queue.lock();
                match queue.waiting.front() {
                    Some(next) if !touched.concerns(&next.reads, has_quota, &state) => {}
                    _ => break,
                }
                let next = queue.waiting.pop_front().expect("there is a front");
                drop(queue);
                match (next.decide)(&state, now) {
                    Err(error) => next.ticket.answer(Err(error)),
                    Ok(plan) if plan.changes.is_empty() => {
                        // It may depend on a change before it in this batch that is not durable yet, but never on the
                        // ids that this one names: such a request would have ended the batch.
                        unchanged.push((next.ticket, Ack { ids: plan.ids, position: space.position() }));
                    }
                    Ok(mut plan) => {
                        follow(&state, &mut plan.changes, now);
                        let encoded = encode_changes(plan.changes.iter().map(|(change, _)| change));
                        if encoded.len() > PAYLOAD_BYTES_MAX || plan.changes.len() > CHANGES_MAX {
                            next.ticket.answer(Err(too_large(encoded.len(), plan.changes.len())));
                            continue;
                        }
                        touched.add(&plan.changes, &state);
                        bytes_sum += encoded.len();
                        bytes.push(encoded);
                        batch.push(Decided { plan, ticket: next.ticket });
                    }
                }
            }
        }
        if !unchanged.is_empty() {
            // What is there already counts only as long as the space does. Asked without holding the state, because
            // the log may be at the disk.
            let open = space.check_open();
            unchanged.into_iter().for_each(|(ticket, ack)| ticket.answer(open.clone().map(|()| ack)));
        }
        if batch.is_empty() {
            return;
        }
        match space.append(&bytes) {
            Err(error) => batch.into_iter().for_each(|decided| decided.ticket.answer(Err(error.clone()))),
            Ok(first) => apply(space, first, batch),
        }
    }
}

fn too_large(bytes: usize, changes: usize) -> Error {
    let message = format!(
        "the request has {bytes} bytes and makes {changes} changes, at most {PAYLOAD_BYTES_MAX} and {CHANGES_MAX} are \
         allowed; divide it"
    );
    Error::new(ErrorKind::Invalid, message)
}

/// Makes logged requests visible and acknowledges them. Each request becomes visible as a whole, small ones together: each
/// time that the state is locked, whoever writes waits for all who read, and whoever reads next for the writer.
fn apply(space: &Space, first: u64, batch: Vec<Decided>) {
    let mut state = space.write();
    let mut applied = 0;
    for (position, decided) in (first..).zip(batch) {
        if applied >= CHANGES_A_LOCK {
            WriteGuard::unlock_fair(state);
            state = space.write();
            applied = 0;
        }
        applied += decided.plan.changes.len();
        for (version, (change, analysis)) in (version_of(position)..).zip(decided.plan.changes) {
            state.apply(version, change, analysis.as_ref());
        }
        space.applied(position);
        decided.ticket.answer(Ok(Ack { ids: decided.plan.ids, position }));
    }
    WriteGuard::unlock_fair(state);
    space.schedule_work();
}

/// Version of the first change of the request at `position`.
pub(crate) fn version_of(position: u64) -> u64 {
    position << CHANGE_BITS
}

/// What the requests of a batch change.
#[derive(Default)]
struct Touched {
    ids: HashSet<MemoryId>,
    keys: HashSet<String>,
    everything: bool,
    anything: bool,
}

impl Touched {
    /// Whether a decision that reads these must wait until what is touched is applied. With a quota, every decision
    /// depends on how many memories there are.
    fn concerns(&self, reads: &Reads, has_quota: bool, state: &SpaceState) -> bool {
        let concerns_ids = |ids: &[MemoryId]| with_kin(state, ids).any(|id| self.ids.contains(id));
        match reads {
            _ if self.everything => true,
            _ if has_quota => self.anything,
            Reads::Everything => self.anything,
            Reads::Ids(ids) => concerns_ids(ids),
            Reads::IdsAndKey(ids, key) => concerns_ids(ids) || self.keys.contains(key),
        }
    }

    fn add(&mut self, changes: &[Prepared], state: &SpaceState) {
        for (change, _) in changes {
            self.anything = true;
            match change {
                Change::Stored(memory) => {
                    // Whoever changes a source of a new concept must know of it.
                    let is_concept = memory.is_made();
                    let sources = concepts::sources(&memory.links).filter(|_| is_concept);
                    self.ids.extend(sources.map(|link| link.to.clone()).chain([memory.id.clone()]));
                }
                Change::Deleted(id) => self.ids.extend(with_kin(state, std::slice::from_ref(id)).cloned()),
                Change::Linked { from, .. } | Change::Unlinked { from, .. } => {
                    self.ids.extend([from.clone()])
                }
                Change::Reinforced { ids, .. } => self.ids.extend(ids.iter().cloned()),
                Change::Keyed(keyed) => drop(self.keys.insert(keyed.key.clone())),
                Change::Settings(_) => self.everything = true,
                Change::Moved(_) => {}
            }
        }
    }
}
