//! Working memory of recalls, kept for the next ones, so that a recall allocates for what it gives and for nothing else.

use engram_core::cue::Answer;
use engram_core::recall::Scratch;
use parking_lot::Mutex;

/// What one recall at a time works in.
pub(crate) struct Work {
    pub(crate) scratch: Scratch,
    pub(crate) answer: Answer,
}

/// Working memory that is kept.
pub(crate) struct Pool {
    kept: Mutex<Vec<Work>>,
    size: usize,
    capacity: usize,
}

impl Pool {
    /// Keeps at most `size`, each with room for `capacity` memories that a recall finds.
    pub(crate) fn new(size: usize, capacity: usize) -> Self {
        Self { kept: Mutex::default(), size, capacity }
    }

    pub(crate) fn take(&self) -> Work {
        let kept = self.kept.lock().pop();
        kept.unwrap_or_else(|| Work {
            scratch: Scratch::with_capacity(self.capacity),
            answer: Answer::default(),
        })
    }

    pub(crate) fn give(&self, mut work: Work) {
        work.answer.hits.clear();
        work.scratch.trim();
        let mut kept = self.kept.lock();
        if kept.len() < self.size {
            kept.push(work);
        }
    }
}

#[cfg(test)]
impl Pool {
    pub(crate) fn kept(&self) -> usize {
        self.kept.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_kept_as_asked_for() {
        let pool = Pool::new(2, 10);
        let all: Vec<_> = (0..5).map(|_| pool.take()).collect();
        all.into_iter().for_each(|work| pool.give(work));
        assert_eq!(pool.kept(), 2);
        let work = pool.take();
        assert_eq!(pool.kept(), 1);
        pool.give(work);
        let none = Pool::new(0, 10);
        none.give(none.take());
        assert_eq!(none.kept(), 0);
    }
}
