//! How many compute at a time with the state of a space locked to read: as many as there are cores. More would only share
//! the cores, each stopped in its midst, so that a writer would wait for all of them, and whoever reads next for the writer.
//! Recalls, activations and the search for a new vector's place in the index pass it; completions do not.
//!
//! Who leaves hands its place to one that last ran on the same processor, where there is one: woken on another, that one
//! would wait there behind who is inside, while this processor stands still. That is why places are not taken in the
//! plain order of coming.
//!
//! A place is held while its thread waits for a writer, too, or for a page of a mapped file.

use engram_core::platform::processor;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::thread::{self, Thread};

/// How many may go before the one that has waited longest, because they are on the processor of who leaves.
const PASSED_BY_MAX: u32 = 1;

/// Lets a number of threads in at a time.
pub(crate) struct Turnstile {
    queue: Mutex<Queue>,
}

struct Queue {
    /// Places that nobody has; none while somebody waits.
    free: usize,
    /// Threads that had to wait, since the beginning.
    came: u64,
    /// Those who wait, in the order in which they came.
    waiting: VecDeque<Waiting>,
    /// Those who got a place and have not woken up yet.
    let_in: Vec<u64>,
}

struct Waiting {
    number: u64,
    thread: Thread,
    processor: i32,
    passed_by: u32,
}

/// The right to be inside, until it is dropped.
pub(crate) struct Inside<'a>(&'a Turnstile);

impl Turnstile {
    /// For at least one at a time.
    pub(crate) fn new(places: usize) -> Self {
        let (waiting, let_in) = Default::default();
        Self { queue: Mutex::new(Queue { free: places.max(1), came: 0, waiting, let_in }) }
    }

    /// Waits until there is a place. A thread that is inside must not ask again.
    pub(crate) fn enter(&self) -> Inside<'_> {
        let mut queue = self.queue.lock();
        if queue.free > 0 {
            queue.free -= 1;
            return Inside(self);
        }
        let number = queue.came;
        queue.came += 1;
        let (thread, processor) = (thread::current(), processor());
        queue.waiting.push_back(Waiting { number, thread, processor, passed_by: 0 });
        loop {
            drop(queue);
            thread::park();
            queue = self.queue.lock();
            if let Some(at) = queue.let_in.iter().position(|own| *own == number) {
                queue.let_in.swap_remove(at);
                return Inside(self);
            }
        }
    }
}

impl Queue {
    /// Takes out who gets the place that is left on this processor.
    fn next(&mut self, here: i32) -> Option<Waiting> {
        let first = self.waiting.front_mut()?;
        if first.passed_by < PASSED_BY_MAX
            && let Some(at) = self.waiting.iter().position(|waiting| waiting.processor == here)
        {
            self.waiting[0].passed_by += u32::from(at > 0);
            return self.waiting.remove(at);
        }
        self.waiting.pop_front()
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        match queue.next(processor()) {
            Some(next) => {
                queue.let_in.push(next.number);
                drop(queue);
                next.thread.unpark();
            }
            None => queue.free += 1,
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
            let turnstile = Turnstile::new(places);
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
            assert!((1..=places.max(1)).contains(&most.into_inner()), "{places} places");
            let queue = turnstile.queue.into_inner();
            assert_eq!((queue.free, queue.waiting.len(), queue.let_in.len()), (places.max(1), 0, 0));
        }
    }

    #[test]
    fn those_of_the_same_processor_go_first_but_pass_nobody_by_for_ever() {
        let mut queue = Turnstile::new(1).queue.into_inner();
        let come = |queue: &mut Queue, number, processor| {
            queue.waiting.push_back(Waiting { number, thread: thread::current(), processor, passed_by: 0 });
        };
        come(&mut queue, 0, 7);
        (1..12).for_each(|number| come(&mut queue, number, 5));
        let order: Vec<u64> = std::iter::from_fn(|| queue.next(5)).map(|next| next.number).collect();
        assert_eq!(order, [1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        (0..3).for_each(|number| come(&mut queue, number, 5));
        let order: Vec<u64> = std::iter::from_fn(|| queue.next(4)).map(|next| next.number).collect();
        assert_eq!(order, [0, 1, 2], "of another processor, in the order of coming");
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
