//! A read-write lock whose readers write to no common cache line: each thread reads through a gate of its own, or one
//! that it shares with few. Whoever writes locks the door and all gates. After BRAVO (Dice & Kogan 2019), with a lock
//! as each gate, so that a writer sleeps while it waits.
//!
//! A reader holds the door or a gate; a writer holds the door and every gate there is; gates are made under the door.
//! So a writer is alone. While one waits, whoever comes to read queues at the door, which is fair to both sides: neither
//! starves. As with any such lock, a thread that reads must not ask again.
//!
//! Gates are made for threads that have met others at the door often enough: what few threads read has none.
#![expect(
    unsafe_code,
    reason = "one value behind several locks; no lock of the standard library, parking_lot or crossbeam has as many as asked for"
)]

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// How often readers meet at the door of a value before they get gates: a hundred waits for a cache line cost less than
/// the memory of gates that are hardly used.
const MEETINGS: u32 = 100;

/// Alone on its cache line, and on the one that processors fetch with it.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// What a thread passes by to read.
type Gate = Padded<RwLock<()>>;

/// A value that many threads read and few write.
pub(crate) struct Sharded<T> {
    door: Gate,
    /// How often a reader met others at the door.
    meetings: Padded<AtomicU32>,
    /// A place for each gate that there may be.
    gates: OnceLock<Box<[OnceLock<Box<Gate>>]>>,
    gates_max: usize,
    /// Writers, those who wait included: while there are any, readers pass by the door.
    writers: AtomicUsize,
    value: UnsafeCell<T>,
}

// SAFETY: it lends the value as a lock does, to many who read (`T: Sync`) or to one who writes and may take it (`T: Send`).
unsafe impl<T: Send + Sync> Sync for Sharded<T> {}

/// The right to read, until it is dropped.
pub(crate) struct ReadGuard<'a, T> {
    sharded: &'a Sharded<T>,
    /// Of a gate or of the door.
    _lock: RwLockReadGuard<'a, ()>,
}

/// The right to read and write, until it is dropped.
pub(crate) struct WriteGuard<'a, T> {
    sharded: &'a Sharded<T>,
    gates: Vec<RwLockWriteGuard<'a, ()>>,
    door: RwLockWriteGuard<'a, ()>,
    writer: Writer<'a>,
}

/// Counts as a writer until it is dropped.
struct Writer<'a>(&'a AtomicUsize);

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<T> Sharded<T> {
    /// With at most `gates_max` gates. One would be no better than the door, so none is made then.
    pub(crate) fn new(gates_max: usize, value: T) -> Self {
        Self {
            door: Padded::default(),
            meetings: Padded::default(),
            gates: OnceLock::new(),
            gates_max,
            writers: AtomicUsize::new(0),
            value: UnsafeCell::new(value),
        }
    }

    /// Waits for who writes, and for those who waited to write before.
    pub(crate) fn read(&self) -> ReadGuard<'_, T> {
        let at = number_of_thread() % self.gates_max.max(1);
        let gate = self.gates.get().and_then(|gates| gates[at].get());
        // The count only keeps readers from delaying a writer further; who misses it finds the gate locked.
        let open = gate.filter(|_| self.writers.load(Ordering::Relaxed) == 0);
        let lock = open.and_then(|gate| gate.0.try_read()).unwrap_or_else(|| {
            let door = &self.door.0;
            let meets = gate.is_none() && door.is_locked() && !door.is_locked_exclusive();
            let lock = door.read();
            if meets {
                self.meet(at);
            }
            lock
        });
        ReadGuard { sharded: self, _lock: lock }
    }

    /// Counts a meeting, and makes the gate for the next ones. Only for who holds the door.
    fn meet(&self, at: usize) {
        if self.gates_max > 1 && self.meetings.0.fetch_add(1, Ordering::Relaxed) >= MEETINGS {
            let gates = self.gates.get_or_init(|| (0..self.gates_max).map(|_| OnceLock::new()).collect());
            gates[at].get_or_init(Box::default);
        }
    }

    /// Waits for who reads or writes. Costs a lock for each gate.
    pub(crate) fn write(&self) -> WriteGuard<'_, T> {
        self.writers.fetch_add(1, Ordering::Relaxed);
        let writer = Writer(&self.writers);
        let door = self.door.0.write();
        let gates = self.gates.get().into_iter().flatten().filter_map(OnceLock::get);
        WriteGuard { sharded: self, gates: gates.map(|gate| gate.0.write()).collect(), door, writer }
    }
}

impl<T> WriteGuard<'_, T> {
    /// Gives way to those who wait.
    pub(crate) fn unlock_fair(guard: Self) {
        let Self { gates, door, writer, .. } = guard;
        // Nobody but a writer, who holds the door, ever waits at a gate.
        drop(gates);
        RwLockWriteGuard::unlock_fair(door);
        drop(writer);
    }
}

impl<T> Deref for ReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the guard holds the door or a gate for reading. Whoever has `&mut T` holds the door and all gates: a
        // gate is made by who reads through the door, so none appears while somebody writes.
        unsafe { &*self.sharded.value.get() }
    }
}

impl<T> Deref for WriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: as in `deref_mut`.
        unsafe { &*self.sharded.value.get() }
    }
}

impl<T> DerefMut for WriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard holds the door and every gate for writing, and each other guard holds one of them.
        unsafe { &mut *self.sharded.value.get() }
    }
}

/// Threads by the order in which they first came here.
pub(crate) fn number_of_thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static NUMBER: usize = THREADS.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

#[cfg(test)]
impl<T> Sharded<T> {
    /// Gates that there are.
    pub(crate) fn gates(&self) -> usize {
        self.gates.get().into_iter().flatten().filter_map(OnceLock::get).count()
    }

    /// Has threads read at the same time until each met the others often.
    pub(crate) fn crowd(&self, threads: usize)
    where
        T: Send + Sync,
    {
        let inside = std::sync::Barrier::new(threads);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..2 * MEETINGS {
                        let _guard = self.read();
                        inside.wait();
                    }
                });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    #[test]
    fn readers_who_meet_get_as_many_gates_as_allowed() {
        let gates = |gates_max, threads| {
            let sharded = Sharded::new(gates_max, ());
            sharded.crowd(threads);
            sharded.gates()
        };
        assert_eq!((gates(0, 4), gates(1, 4)), (0, 0));
        assert_eq!(gates(2, 8), 2);
        assert!((3..=4).contains(&gates(1 << 16, 4)), "the first of them to come may have the door alone");
        assert_eq!(gates(16, 1), 0);
    }

    #[test]
    fn who_writes_is_alone() {
        const EACH: u64 = if cfg!(miri) { 20 } else { 2000 };
        for gates_max in [1, 2, 16, 128] {
            let sharded = Sharded::new(gates_max, (0u64, 0u64));
            sharded.crowd(4);
            thread::scope(|scope| {
                for number in 0..4 {
                    let sharded = &sharded;
                    scope.spawn(move || {
                        for _ in 0..EACH {
                            let mut both = sharded.write();
                            both.0 += 1;
                            thread::yield_now();
                            both.1 += 1;
                            if number % 2 == 0 {
                                WriteGuard::unlock_fair(both);
                            }
                        }
                    });
                    scope.spawn(move || {
                        for _ in 0..EACH {
                            let both = sharded.read();
                            assert_eq!(both.0, both.1);
                        }
                    });
                }
            });
            assert_eq!(*sharded.read(), (4 * EACH, 4 * EACH));
        }
    }

    #[test]
    fn who_comes_after_a_waiting_writer_reads_what_it_wrote() {
        let sharded = Sharded::new(16, 0);
        sharded.crowd(8);
        let (inside, waits) = mpsc::channel();
        let (leave, left) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let sharded = &sharded;
            for _ in 0..8 {
                let inside = inside.clone();
                scope.spawn(move || {
                    let before = sharded.read();
                    inside.send(*before).unwrap();
                    while sharded.door.0.try_read().is_some() {
                        thread::yield_now();
                    }
                    drop(before);
                    inside.send(*sharded.read()).unwrap();
                });
            }
            let first: Vec<i32> = (0..8).map(|_| waits.recv().unwrap()).collect();
            assert_eq!(first, [0; 8]);
            let kept = sharded.read();
            scope.spawn(move || {
                *sharded.write() = 1;
                leave.send(()).unwrap();
            });
            while sharded.door.0.try_read().is_some() {
                thread::yield_now();
            }
            assert!(waits.try_recv().is_err() && left.try_recv().is_err(), "all wait for the one inside");
            drop(kept);
            assert_eq!((0..8).map(|_| waits.recv().unwrap()).collect::<Vec<i32>>(), [1; 8]);
        });
    }

    #[test]
    fn neither_side_starves() {
        const EACH: usize = if cfg!(miri) { 10 } else { 300 };
        let sharded = Sharded::new(16, 0);
        sharded.crowd(4);
        let (reads, writes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let finished = || reads.load(Ordering::Relaxed) >= EACH && writes.load(Ordering::Relaxed) >= EACH;
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !finished() {
                        let guard = sharded.read();
                        thread::yield_now();
                        drop(guard);
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    while !finished() {
                        WriteGuard::unlock_fair(sharded.write());
                        writes.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
    }
}
