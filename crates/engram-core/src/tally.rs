//! A sum a slot, for few slots at a time out of many: constant-time access without hashing, emptied in constant time.
//! Four bytes a slot, and what was added to lies close together (Briggs & Torczon 1993).

use crate::Slot;

/// Sums by slot. Slots that were never added to since the last `clear` count as zero.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// By slot: where it would stand among the touched. It stands there only if it is found there.
    places: Vec<u32>,
    touched: Vec<Slot>,
    sums: Vec<f64>,
}

impl Tally {
    /// Empties it and makes room for `slots` slots.
    pub(crate) fn clear(&mut self, slots: usize) {
        self.touched.clear();
        self.sums.clear();
        if self.places.len() < slots {
            self.places.resize(slots, 0);
        }
    }

    /// Makes room for so many slots to be added to.
    pub(crate) fn reserve(&mut self, slots: usize) {
        self.touched.reserve(slots);
        self.sums.reserve(slots);
    }

    fn place(&self, slot: Slot) -> Option<usize> {
        let place = *self.places.get(slot as usize)? as usize;
        (self.touched.get(place) == Some(&slot)).then_some(place)
    }

    /// Adds to the sum of `slot`.
    pub(crate) fn add(&mut self, slot: Slot, amount: f64) {
        match self.place(slot) {
            Some(place) => self.sums[place] += amount,
            None => {
                self.places[slot as usize] = self.touched.len() as u32;
                self.touched.push(slot);
                self.sums.push(amount);
            }
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
        self.place(slot).map(|place| self.sums[place])
    }

    /// Slots that were added to, in the order of their first addition.
    pub(crate) fn touched(&self) -> &[Slot] {
        &self.touched
    }

    /// Slots that were added to with their sums, in the order of `touched`.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (Slot, f64)> {
        self.touched.iter().copied().zip(self.sums.iter().copied())
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
