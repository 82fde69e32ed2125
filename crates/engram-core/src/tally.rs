//! A sum a slot, for few slots at a time out of many: constant-time access without hashing, emptied in constant time.

use crate::Slot;

/// Sums by slot. Slots that were never added to since the last `clear` count as zero.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    sums: Vec<f64>,
    /// The epoch in which a slot was last added to.
    epochs: Vec<u32>,
    epoch: u32,
    touched: Vec<Slot>,
}

impl Tally {
    /// Empties it and makes room for `slots` slots.
    pub(crate) fn clear(&mut self, slots: usize) {
        self.touched.clear();
        if self.sums.len() < slots {
            self.sums.resize(slots, 0.0);
            self.epochs.resize(slots, 0);
        }
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.epochs.fill(0);
            self.epoch = 1;
        }
    }

    /// Adds to the sum of `slot`.
    pub(crate) fn add(&mut self, slot: Slot, amount: f64) {
        let at = slot as usize;
        if self.epochs[at] == self.epoch {
            self.sums[at] += amount;
        } else {
            self.epochs[at] = self.epoch;
            self.sums[at] = amount;
            self.touched.push(slot);
        }
    }

    /// Makes the sum of `slot` at least `amount`.
    pub(crate) fn raise(&mut self, slot: Slot, amount: f64) {
        let short = amount - self.get(slot);
        if short > 0.0 {
            self.add(slot, short);
        }
    }

    /// The sum of `slot`.
    pub(crate) fn get(&self, slot: Slot) -> f64 {
        self.find(slot).unwrap_or(0.0)
    }

    /// The sum of `slot`, or `None` where nothing was added.
    pub(crate) fn find(&self, slot: Slot) -> Option<f64> {
        (*self.epochs.get(slot as usize)? == self.epoch).then(|| self.sums[slot as usize])
    }

    /// Slots that were added to, in the order of their first addition.
    pub(crate) fn touched(&self) -> &[Slot] {
        &self.touched
    }

    /// Sorts what `touched` gives.
    pub(crate) fn sort_by(&mut self, order: impl Fn((Slot, f64), (Slot, f64)) -> std::cmp::Ordering) {
        let sums = &self.sums;
        self.touched.sort_unstable_by(|&a, &b| order((a, sums[a as usize]), (b, sums[b as usize])));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clearing_forgets_everything() {
        let mut tally = Tally::default();
        tally.clear(4);
        tally.add(3, 1.0);
        tally.add(1, 2.0);
        tally.add(3, 0.5);
        assert_eq!((tally.get(3), tally.get(0), tally.find(0)), (1.5, 0.0, None));
        assert_eq!(tally.touched(), [3, 1]);
        tally.clear(4);
        assert_eq!((tally.find(3), tally.touched().len()), (None, 0));
    }
}
