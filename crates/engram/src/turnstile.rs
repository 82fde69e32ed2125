//! How many recalls compute at a time: as many as there are cores. More would only share the cores, each stopped in its midst
//! with the state of its space locked, so that a writer would wait for all of them, and whoever reads next for the writer.
//!
//! Who leaves and comes again at once may go first, before one that waits has woken up: a core that changes threads for each
//! recall stands still in between. But each place goes to the one who has waited longest about once in `TURN`.

use crate::clock::Stopwatch;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::thread::{self, Thread};
use std::time::Duration;

/// How long a thread that comes again and again may keep a place while others wait: some recalls. Seven who wait for two
/// places do so for some milliseconds then.
const TURN: Duration = Duration::from_millis(1);

/// Lets a number of threads in at a time.
pub(crate) struct Turnstile {
    queue: Mutex<Queue>,
    /// How often a place is handed over where others wait.
    turn: Duration,
}

struct Queue {
    /// Places that nobody has. Where somebody waits, too, the first of them has been woken.
    free: usize,
    /// Those outside, in the order in which they came, and how many of them were let in since the beginning.
    waiting: VecDeque<Thread>,
    let_in: u64,
    /// The first of them was woken and has not looked yet.
    is_waking: bool,
    /// Since a place was handed over.
    handed_over: Stopwatch,
}

/// The right to be inside, until it is dropped.
pub(crate) struct Inside<'a>(&'a Turnstile);

impl Turnstile {
    /// For at least one at a time.
    pub(crate) fn new(places: usize) -> Self {
        let free = places.max(1);
        let queue = Queue {
            free,
            waiting: VecDeque::new(),
            let_in: 0,
            is_waking: false,
            handed_over: Stopwatch::start(),
        };
        Self { queue: Mutex::new(queue), turn: TURN / free as u32 }
    }

    /// Waits until there is a place. A thread that is inside must not ask again.
    pub(crate) fn enter(&self) -> Inside<'_> {
        let mut queue = self.queue.lock();
        if queue.free > 0 {
            queue.free -= 1;
            return Inside(self);
        }
        let number = queue.let_in + queue.waiting.len() as u64;
        queue.waiting.push_back(thread::current());
        loop {
            drop(queue);
            thread::park();
            queue = self.queue.lock();
            if number < queue.let_in {
                return Inside(self);
            }
            if number == queue.let_in {
                queue.is_waking = false;
                if queue.free > 0 {
                    queue.free -= 1;
                    queue.waiting.pop_front();
                    queue.let_in += 1;
                    queue.wake_first();
                    return Inside(self);
                }
            }
        }
    }
}

impl Queue {
    /// Wakes the first of those who wait, if there is a place for it.
    fn wake_first(&mut self) {
        if let Some(first) = self.waiting.front().filter(|_| self.free > 0 && !self.is_waking) {
            first.unpark();
            self.is_waking = true;
        }
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        if !queue.waiting.is_empty() && queue.handed_over.elapsed() >= self.0.turn {
            let next = queue.waiting.pop_front().expect("somebody waits");
            queue.let_in += 1;
            queue.is_waking = false;
            queue.handed_over = Stopwatch::start();
            drop(queue);
            next.unpark();
        } else {
            queue.free += 1;
            queue.wake_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn as_many_are_inside_as_there_are_places() {
        for places in [0, 1, 3] {
            for turn in [Duration::ZERO, TURN, Duration::MAX] {
                let turnstile = Turnstile { turn, ..Turnstile::new(places) };
                let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
                thread::scope(|scope| {
                    for _ in 0..8 {
                        scope.spawn(|| {
                            for _ in 0..500 {
                                let _inside = turnstile.enter();
                                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                                thread::yield_now();
                                inside.fetch_sub(1, Ordering::SeqCst);
                            }
                        });
                    }
                });
                assert!((1..=places.max(1)).contains(&most.into_inner()), "{places} places, {turn:?}");
                let queue = turnstile.queue.into_inner();
                assert_eq!((queue.free, queue.waiting.len(), queue.is_waking), (places.max(1), 0, false));
            }
        }
    }

    #[test]
    fn who_waits_goes_in_the_order_of_coming() {
        for turn in [Duration::ZERO, Duration::MAX] {
            let turnstile = Turnstile { turn, ..Turnstile::new(1) };
            let order = Mutex::new(Vec::new());
            thread::scope(|scope| {
                let first = turnstile.enter();
                for number in 0..5 {
                    let (turnstile, order) = (&turnstile, &order);
                    scope.spawn(move || {
                        let _inside = turnstile.enter();
                        order.lock().push(number);
                    });
                    while turnstile.queue.lock().waiting.len() <= number {
                        thread::yield_now();
                    }
                }
                drop(first);
            });
            assert_eq!(order.into_inner(), [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn who_comes_again_and_again_does_not_keep_others_out() {
        let turnstile = Turnstile::new(1);
        let is_done = AtomicUsize::new(0);
        thread::scope(|scope| {
            let first = turnstile.enter();
            scope.spawn(|| {
                drop(turnstile.enter());
                is_done.store(1, Ordering::SeqCst);
            });
            while turnstile.queue.lock().waiting.is_empty() {
                thread::yield_now();
            }
            drop(first);
            while is_done.load(Ordering::SeqCst) == 0 {
                drop(turnstile.enter());
            }
        });
    }

    #[test]
    fn who_panics_leaves() {
        let turnstile = Turnstile::new(1);
        thread::scope(|scope| {
            let panicked = scope.spawn(|| {
                let _inside = turnstile.enter();
                panic!("inside");
            });
            assert!(panicked.join().is_err());
        });
        drop(turnstile.enter());
    }
}
