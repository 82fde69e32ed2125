//! Vectors: checked on the way in, kept verbatim, compared by cosine. `Vectors` is the flat array that the index and
//! recall read; row `slot` belongs to the memory in that slot. Beside each row lies its code, a quarter of its size: one
//! int8 a number, in two halves, which is what the index compares, because reading rows is what limits it. Codes depend on
//! the direction of a row only, up to rounding, so copies of a vector have one code; equal codes have cosine 1 up to rounding.
//! Every code is in memory; a row is in memory, in a region, or away (`payloads`), and is then known by its code.

use crate::Slot;
use crate::error::{Error, Result};
use crate::kernels::{CodeLine, CueLine, LINE_NUMBERS, dot, dot_coarse, dot_code, halve, prefetch, widen};
use crate::limits::DIMENSIONS_MAX;
use crate::payloads::Regions;
use crate::platform::BlockFiles;
pub use crate::platform::Paging;
use crate::rows::Rows;
use std::sync::Arc;

/// Checks a caller's vector: 1 to 4096 finite numbers whose length is neither 0 nor beyond f32.
pub fn check_embedding(embedding: &[f32]) -> Result<()> {
    if embedding.is_empty() || embedding.len() > DIMENSIONS_MAX {
        return Err(Error::Invalid(format!(
            "embedding has {} numbers, it must have 1 to {DIMENSIONS_MAX}",
            embedding.len()
        )));
    }
    if let Some(at) = embedding.iter().position(|x| !x.is_finite()) {
        return Err(Error::Invalid(format!(
            "embedding[{at}] is {}, every number must be finite in 32-bit floating point",
            embedding[at]
        )));
    }
    let norm = norm(embedding);
    if norm == 0.0 {
        return Err(Error::Invalid(
            "embedding is all zeros, which has no direction; leave it out instead".into(),
        ));
    }
    if !(1.0 / norm).is_normal() || !norm.is_normal() {
        return Err(Error::Invalid(format!("embedding has length {norm:e}; scale it to about 1")));
    }
    Ok(())
}

/// `embedding` scaled to length 1. It must have passed `check_embedding`.
pub fn unit(embedding: &[f32]) -> Vec<f32> {
    let scale = 1.0 / norm(embedding);
    embedding.iter().map(|x| x * scale).collect()
}

/// Euclidean length, summed in f64 so that 4096 large numbers do not overflow on the way.
fn norm(embedding: &[f32]) -> f32 {
    embedding.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32
}

/// The code of a row: its two halves, as `kernels` has them.
#[derive(Debug, Clone, Copy)]
pub struct Code<'a> {
    coarse: &'a [CodeLine],
    fine: &'a [CodeLine],
    inverse_norm: f32,
}

/// The code of a vector that rows are compared with, kept whole, and memory for it.
#[derive(Debug, Clone, Default)]
pub struct CueCode {
    lines: Vec<CueLine>,
    /// Sum of the code.
    sum: i32,
    inverse_norm: f32,
}

impl CueCode {
    /// Makes it the code of a vector that has passed `check_embedding`, of whatever length.
    pub fn set(&mut self, embedding: &[f32]) {
        self.lines.resize(lines_of(embedding.len()), EMPTY_CUE_LINE);
        encode(embedding, &mut self.lines);
        self.finish();
    }

    /// Makes it the code of a row.
    pub fn set_row(&mut self, code: Code<'_>) {
        self.lines.resize(code.coarse.len(), EMPTY_CUE_LINE);
        widen(code.coarse, code.fine, &mut self.lines);
        self.finish();
        // Not worked out anew, so that it is the row's to the last bit.
        self.inverse_norm = code.inverse_norm;
    }

    /// Becomes the code of these bytes, a signed number each.
    fn set_bytes(&mut self, bytes: &[u8]) {
        self.lines.clear();
        self.lines.resize(lines_of(bytes.len()), EMPTY_CUE_LINE);
        for (line, bytes) in self.lines.iter_mut().zip(bytes.chunks(LINE_NUMBERS)) {
            line.0.iter_mut().zip(bytes).for_each(|(number, byte)| *number = byte.cast_signed());
        }
        self.finish();
    }

    fn finish(&mut self) {
        let numbers = || self.lines.iter().flat_map(|line| &line.0).map(|&number| i32::from(number));
        self.sum = numbers().sum();
        self.inverse_norm = 1.0 / (numbers().map(|number| number * number).sum::<i32>() as f32).sqrt();
    }

    /// Cosine of two codes: that of the vectors within about .001, for embeddings of some hundred numbers. The same
    /// whichever of two rows is the cue.
    #[inline]
    pub fn similarity(&self, code: Code<'_>) -> f32 {
        // The row's numbers are u = c + 128.
        let dot = dot_code(code.coarse, code.fine, &self.lines) - 128 * self.sum;
        dot as f32 * (self.inverse_norm * code.inverse_norm)
    }

    /// About the same from the upper halves of the row's numbers: within about .01.
    #[inline]
    fn coarse_similarity(&self, coarse: &[CodeLine], inverse_norm: f32) -> f32 {
        // What u's lower half may be is 0 to 15, on average 7.5.
        let dot = (16 * dot_coarse(coarse, &self.lines) - 128 * self.sum) as f32 + 7.5 * self.sum as f32;
        dot * (self.inverse_norm * inverse_norm)
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.lines.capacity() * size_of::<CueLine>()
    }
}

const EMPTY_CUE_LINE: CueLine = CueLine([0; LINE_NUMBERS]);

fn lines_of(dimensions: usize) -> usize {
    dimensions.div_ceil(LINE_NUMBERS)
}

/// Writes the whole code of a vector, its largest number becoming 127 or -127. Similarities are divided by the length of the
/// code and not by that of the vector: it takes away the part of the rounding that lies along the vector, and gives equal
/// codes the cosine 1.
fn encode(embedding: &[f32], lines: &mut [CueLine]) {
    let largest = embedding.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    for (line, numbers) in lines.iter_mut().zip(embedding.chunks(LINE_NUMBERS)) {
        *line = EMPTY_CUE_LINE;
        for (code, x) in line.0.iter_mut().zip(numbers) {
            // Divided, because a factor of 127 / largest would be infinite for the smallest vectors. Half away from zero,
            // so that opposite vectors have opposite codes.
            let scaled = x / largest * 127.0;
            *code = (scaled + 0.5f32.copysign(scaled)) as i8;
        }
    }
}

/// The vectors of a space, one row a slot, verbatim, with the factor that makes each row unit length, and the code.
#[derive(Debug, Clone)]
pub struct Vectors {
    /// By `RowAt::Here`.
    rows: Rows<f32>,
    /// Rows that nothing stands in.
    free: Vec<u32>,
    /// By slot.
    places: Vec<RowAt>,
    regions: Regions,
    /// 1 / length of the row; 0 where the slot has no vector.
    inverse_norms: Vec<f32>,
    /// The upper halves of the codes, which most comparisons read alone.
    coarse: Rows<CodeLine>,
    /// The lower halves.
    fine: Rows<CodeLine>,
    /// 1 / length of the code; 0 where the slot has no vector.
    code_inverse_norms: Vec<f32>,
    /// Memory for making a code.
    code: CueCode,
    spread: Spread,
}

/// Where a row lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum RowAt {
    /// In memory, at this number.
    Here(u32),
    /// In a region.
    Region { region: u32, at: u32 },
    /// Where it cannot be read at once; or the slot has no vector.
    #[default]
    Away,
}

/// Sums over all codes of a space, which say how far apart its vectors are. Integers, so that the order does not matter.
#[derive(Debug, Clone, Default)]
struct Spread {
    /// By number, of the codes.
    codes: Vec<i64>,
    /// Of 1 / length of the codes, in steps of 2^-32.
    inverse_norms: i64,
    vectors: i64,
    /// Whether the upper halves of codes tell the vectors apart.
    coarse_suffices: bool,
}

impl Spread {
    /// Counts a code in (`sign` 1) or out (-1).
    fn count(&mut self, code: &CueCode, dimensions: usize, sign: i64) {
        self.codes.resize(dimensions, 0);
        let numbers = code.lines.iter().flat_map(|line| &line.0);
        self.codes.iter_mut().zip(numbers).for_each(|(sum, &number)| *sum += sign * i64::from(number));
        self.inverse_norms += sign * (f64::from(code.inverse_norm) * f64::from(u32::MAX)) as i64;
        self.vectors += sign;
    }

    /// Works out what follows from the sums.
    fn settle(&mut self) {
        let inverse_norm = self.inverse_norms as f64 / f64::from(u32::MAX) / self.vectors.max(1) as f64;
        let square: f64 = self.codes.iter().map(|&sum| (sum as f64).powi(2)).sum();
        let alike = square * (inverse_norm / self.vectors.max(1) as f64).powi(2);
        self.coarse_suffices = COARSE_DEVIATION * inverse_norm <= COARSE_ERROR_MAX * (1.0 - alike);
    }
}

/// Standard deviation of what the upper half of a code leaves out: 16 / sqrt(12). Over the length of the code it is the error
/// of a cosine.
const COARSE_DEVIATION: f64 = 4.62;

/// The largest such error with which a search still comes near, where the vectors' mean cosine is 0. Where they are alike,
/// so that differences of cosines are smaller by 1 - that mean, as much smaller. Of 100,000 clustered vectors of 768
/// numbers the error is .0042, of MiniLM's with 384 .0055, and recall@10 at any `ef` from 16 on that of whole codes.
const COARSE_ERROR_MAX: f64 = 0.01;

impl Vectors {
    /// An empty array of rows of `dimensions` (1 to 4096) numbers.
    pub fn new(dimensions: usize, paging: Paging) -> Self {
        Self::in_files(dimensions, paging, None)
    }

    /// The same, with the rows in files, where there are any.
    pub(crate) fn in_files(dimensions: usize, paging: Paging, files: Option<Arc<BlockFiles>>) -> Self {
        assert!((1..=DIMENSIONS_MAX).contains(&dimensions), "checked when the space was made");
        Self {
            rows: Rows::in_files(dimensions, paging, files),
            free: Vec::new(),
            places: Vec::new(),
            regions: Regions::default(),
            inverse_norms: Vec::new(),
            coarse: Rows::new(lines_of(dimensions), paging),
            fine: Rows::new(lines_of(dimensions), paging),
            code_inverse_norms: Vec::new(),
            code: CueCode::default(),
            spread: Spread::default(),
        }
    }

    /// Numbers a row.
    pub fn dimensions(&self) -> usize {
        self.rows.width()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.rows.bytes()
            + self.coarse.bytes()
            + self.fine.bytes()
            + (self.inverse_norms.capacity() + self.code_inverse_norms.capacity()) * size_of::<f32>()
            + self.places.capacity() * size_of::<RowAt>()
            + self.free.capacity() * size_of::<u32>()
            + self.spread.codes.capacity() * size_of::<i64>()
    }

    /// One more than the largest slot that there is a row for.
    pub fn slots_end(&self) -> usize {
        self.inverse_norms.len()
    }

    /// Makes room for the vector of `slot`.
    pub fn reserve(&mut self, slot: Slot) {
        let slots = slot as usize + 1;
        if slots > self.inverse_norms.len() {
            self.inverse_norms.resize(slots, 0.0);
            self.code_inverse_norms.resize(slots, 0.0);
            self.places.resize(slots, RowAt::Away);
            self.coarse.grow(slots);
            self.fine.grow(slots);
        }
    }

    /// Sets the vector of `slot`, its row in memory. The embedding has passed `check_embedding` and has the right dimension.
    pub fn set(&mut self, slot: Slot, embedding: &[f32]) {
        self.clear(slot);
        self.reserve(slot);
        self.code.set(embedding);
        self.set_code(slot, 1.0 / norm(embedding));
        self.spread.settle();
        self.bring(slot, embedding);
    }

    /// Sets the vector of `slot` to one whose row lies elsewhere: by its code, as `code_bytes` gave it, and 1 / length of
    /// the row. Leaves the slot without a vector where these are no code of this space. `coarse_suffices` is as it was until
    /// `settle`.
    pub(crate) fn set_away(&mut self, slot: Slot, code: &[u8], inverse_norm: f32) {
        let fits = code.len() == self.dimensions() && code.iter().any(|&byte| byte != 0);
        if !fits || !inverse_norm.is_normal() || inverse_norm < 0.0 {
            return;
        }
        self.clear(slot);
        self.reserve(slot);
        self.code.set_bytes(code);
        self.set_code(slot, inverse_norm);
    }

    /// Ends a row of `set_away`.
    pub(crate) fn settle(&mut self) {
        self.spread.settle();
    }

    fn set_code(&mut self, slot: Slot, inverse_norm: f32) {
        self.inverse_norms[slot as usize] = inverse_norm;
        self.code_inverse_norms[slot as usize] = self.code.inverse_norm;
        halve(&self.code.lines, self.coarse.row_mut(slot), self.fine.row_mut(slot));
        self.spread.count(&self.code, self.rows.width(), 1);
    }

    /// The code of a vector, a byte a number, and 1 / length of its row.
    pub(crate) fn code_bytes(&self, slot: Slot) -> Option<(Vec<u8>, f32)> {
        self.has(slot)
            .then(|| (self.numbers(slot).map(i8::cast_unsigned).collect(), self.inverse_norms[slot as usize]))
    }

    /// The numbers of a code.
    fn numbers(&self, slot: Slot) -> impl Iterator<Item = i8> {
        let mut code = CueCode::default();
        code.set_row(self.code(slot));
        let count = self.dimensions();
        code.lines.into_iter().flat_map(|line| line.0).take(count)
    }

    /// Puts the row of a vector into memory.
    pub(crate) fn bring(&mut self, slot: Slot, embedding: &[f32]) {
        assert_eq!(embedding.len(), self.dimensions(), "checked before the change was logged");
        let row = match self.places[slot as usize] {
            RowAt::Here(row) => row,
            RowAt::Region { .. } | RowAt::Away => self.free.pop().unwrap_or_else(|| {
                let row = self.rows.len() as u32;
                self.rows.grow(row as usize + 1);
                row
            }),
        };
        self.rows.row_mut(row).copy_from_slice(embedding);
        self.places[slot as usize] = RowAt::Here(row);
    }

    /// Leaves the row of a vector to `place`, which has it, and frees its memory for others.
    pub(crate) fn leave(&mut self, slot: Slot, place: RowAt) {
        if let RowAt::Here(row) = self.places[slot as usize] {
            self.rows.row_mut(row).fill(0.0);
            self.free.push(row);
        }
        self.places[slot as usize] = place;
    }

    /// Where rows that are not in memory may lie.
    pub(crate) fn regions_mut(&mut self) -> &mut Regions {
        &mut self.regions
    }

    /// Forgets the vector of `slot`.
    pub fn clear(&mut self, slot: Slot) {
        if !self.has(slot) {
            return;
        }
        let mut code = std::mem::take(&mut self.code);
        code.set_row(self.code(slot));
        self.spread.count(&code, self.dimensions(), -1);
        self.spread.settle();
        self.code = code;
        self.inverse_norms[slot as usize] = 0.0;
        self.code_inverse_norms[slot as usize] = 0.0;
        self.leave(slot, RowAt::Away);
    }

    /// Whether the slot has a vector, wherever its row is.
    #[inline]
    pub fn has(&self, slot: Slot) -> bool {
        self.inverse_norms.get(slot as usize).is_some_and(|&scale| scale > 0.0)
    }

    /// The row as given, or `None` where the slot has no vector or its row is away.
    pub fn get(&self, slot: Slot) -> Option<&[f32]> {
        match *self.places.get(slot as usize)? {
            RowAt::Here(row) => Some(self.rows.row(row)),
            RowAt::Region { region, at } => self.regions.row(region, at, self.dimensions()),
            RowAt::Away => None,
        }
    }

    /// The vector scaled to length 1: of its row, or where that is away, of its code.
    pub fn unit(&self, slot: Slot) -> Option<Vec<f32>> {
        if !self.has(slot) {
            return None;
        }
        Some(self.get(slot).map_or_else(|| self.unit_of_code(slot), unit))
    }

    /// The code of a vector scaled to length 1: the same whether the row is here or not, off by .004 at most as a direction.
    pub fn unit_of_code(&self, slot: Slot) -> Vec<f32> {
        let scale = self.code_inverse_norms[slot as usize];
        self.numbers(slot).map(|number| f32::from(number) * scale).collect()
    }

    /// Cosine of the row with a unit vector, or where the row is away, of its code. The slot must have a vector.
    #[inline]
    pub fn similarity(&self, slot: Slot, unit: &[f32]) -> f32 {
        match self.get(slot) {
            Some(row) => scaled_dot(row, unit, self.inverse_norms[slot as usize], 1.0),
            None => dot(&self.unit_of_code(slot), unit),
        }
    }

    /// Cosine of the codes of two vectors, whichever comes first. Both slots must have one.
    pub fn similarity_of_codes(&self, a: Slot, b: Slot) -> f32 {
        let mut code = CueCode::default();
        code.set_row(self.code(a));
        code.similarity(self.code(b))
    }

    /// Asks the processor to fetch the row, which will be compared soon.
    #[inline]
    pub fn prefetch(&self, slot: Slot) {
        if let Some(&RowAt::Here(row)) = self.places.get(slot as usize) {
            prefetch(self.rows.row(row));
        }
    }

    /// Whether the upper halves of codes tell these vectors apart well enough to walk by them: not where a few numbers
    /// are much longer than the others, and not where all vectors are alike.
    pub fn coarse_suffices(&self) -> bool {
        self.spread.coarse_suffices
    }

    /// The code of the row. The slot must have a vector.
    #[inline]
    pub fn code(&self, slot: Slot) -> Code<'_> {
        let inverse_norm = self.code_inverse_norms[slot as usize];
        Code { coarse: self.coarse.row(slot), fine: self.fine.row(slot), inverse_norm }
    }

    /// Cosine of the row's code, as far as its upper half tells, with the cue's.
    #[inline]
    pub fn coarse_similarity(&self, slot: Slot, cue: &CueCode) -> f32 {
        cue.coarse_similarity(self.coarse.row(slot), self.code_inverse_norms[slot as usize])
    }

    /// Asks the processor to fetch the upper half of the row's code, which will be compared soon.
    #[inline]
    pub fn prefetch_coarse(&self, slot: Slot) {
        prefetch(self.coarse.row(slot));
        prefetch(std::slice::from_ref(&self.code_inverse_norms[slot as usize]));
    }

    /// Asks the processor to fetch the lower half.
    #[inline]
    pub fn prefetch_fine(&self, slot: Slot) {
        prefetch(self.fine.row(slot));
    }

    /// Asks the processor to fetch both.
    #[inline]
    pub fn prefetch_code(&self, slot: Slot) {
        self.prefetch_coarse(slot);
        self.prefetch_fine(slot);
    }
}

/// Scales whose product lies in this range leave room for every sum on the way to the dot product in f32.
const PLAIN_SCALES: std::ops::Range<f32> = 1e-24..1e24;

/// Dot product of two rows times the scale of each. Rows of extreme length, whose products leave the range of f32, are
/// multiplied in f64 instead: slower, but never infinite or NaN.
#[inline]
fn scaled_dot(a: &[f32], b: &[f32], a_scale: f32, b_scale: f32) -> f32 {
    let scale = a_scale * b_scale;
    if PLAIN_SCALES.contains(&scale) {
        return dot(a, b) * scale;
    }
    let exact: f64 = a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
    (exact * f64::from(a_scale) * f64::from(b_scale)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_of_extreme_length_compare_as_any_other() {
        let mut vectors = Vectors::new(2, Paging::Ordinary);
        for (slot, length) in [1e-37, 1e-20, 1.0, 1e20, 1e37].into_iter().enumerate() {
            vectors.set(slot as Slot, &[3.0 * length, 4.0 * length]);
        }
        for a in 0..5 {
            for b in 0..5 {
                assert!((vectors.similarity_of_codes(a, b) - 1.0).abs() < 1e-6, "{a} {b}");
                assert!((vectors.similarity(a, &vectors.unit(b).unwrap()) - 1.0).abs() < 1e-6, "{a} {b}");
            }
            assert!((vectors.similarity(a, &[1.0, 0.0]) - 0.6).abs() < 1e-6, "{a}");
        }
    }

    #[test]
    fn vectors_are_kept_verbatim_and_compared_by_cosine() {
        let mut vectors = Vectors::new(3, Paging::Ordinary);
        vectors.set(2, &[3.0, 0.0, 4.0]);
        vectors.set(0, &[0.0, 0.0, 0.5]);
        assert_eq!(vectors.get(2), Some(&[3.0, 0.0, 4.0][..]));
        assert_eq!(vectors.get(1), None);
        assert!((vectors.similarity(0, &vectors.unit(2).unwrap()) - 0.8).abs() < 1e-6);
        assert!((vectors.similarity(2, &unit(&[6.0, 0.0, 0.0])) - 0.6).abs() < 1e-6);
        vectors.clear(2);
        assert_eq!(vectors.get(2), None);
    }

    #[test]
    fn codes_compare_as_their_vectors_do() {
        let mut vectors = Vectors::new(100, Paging::Huge);
        let number =
            |slot: u32, at: u32| ((slot * 100 + at + 1).wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0;
        let row = |slot, length: f32| (0..100).map(|at| number(slot, at) * length).collect::<Vec<_>>();
        for (slot, length) in (0..).zip([1e-37, 1e-20, 1.0, 1e20, 1e36]) {
            vectors.set(slot, &row(slot, length));
        }
        let (mut cue, mut row_cue) = (CueCode::default(), CueCode::default());
        for a in 0..5 {
            let unit = unit(&row(a, 1.0));
            cue.set(&unit);
            row_cue.set_row(vectors.code(a));
            assert_eq!(row_cue.lines, cue.lines, "of any length");
            assert!((row_cue.similarity(vectors.code(a)) - 1.0).abs() < 1e-6);
            for b in 0..5 {
                let (got, exact) = (cue.similarity(vectors.code(b)), vectors.similarity(b, &unit));
                assert!((got - exact).abs() < 3e-3, "{a} {b}: {got} for {exact}");
                let coarse = vectors.coarse_similarity(b, &cue);
                assert!((coarse - exact).abs() < 3e-2, "{a} {b}: {coarse} for {exact}");
                row_cue.set_row(vectors.code(a));
                assert_eq!(got, row_cue.similarity(vectors.code(b)));
                let mut other = CueCode::default();
                other.set_row(vectors.code(b));
                assert_eq!(got, other.similarity(vectors.code(a)), "the same from either side");
            }
        }
        vectors.clear(0);
        row_cue.set_row(vectors.code(1));
        assert_eq!(row_cue.similarity(vectors.code(0)), 0.0);
    }

    #[test]
    fn upper_halves_suffice_only_where_vectors_are_spread() {
        let number = |at: u32| (at.wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0;
        for (common, peak, suffices) in [(0.0, 0.0, true), (3.0, 0.0, false), (0.0, 30.0, false)] {
            let mut vectors = Vectors::new(256, Paging::Ordinary);
            let row = |slot: u32| -> Vec<f32> {
                (0..256)
                    .map(|at| number(slot * 256 + at) + common + if at == 5 { peak } else { 0.0 })
                    .collect()
            };
            (0..50).for_each(|slot| vectors.set(slot, &row(slot)));
            assert_eq!(vectors.coarse_suffices(), suffices, "{common} {peak}");
            (0..50).for_each(|slot| vectors.set(slot, &row(slot + 7)));
            (0..25).for_each(|slot| vectors.clear(slot));
            (0..25).for_each(|slot| vectors.clear(slot));
            assert_eq!(
                (vectors.coarse_suffices(), vectors.spread.vectors),
                (suffices, 25),
                "{common} {peak}"
            );
        }
    }

    #[test]
    fn codes_round_to_the_nearest_and_stay_in_range() {
        let mut code = CueCode::default();
        code.set(&[-2.0, 2.0, 0.0, 1.0, -1.0, 0.001]);
        assert_eq!(code.lines[0].0[..7], [-127, 127, 0, 64, -64, 0, 0]);
    }

    #[test]
    fn embeddings_are_checked() {
        let bad: [&[f32]; 6] =
            [&[], &[f32::NAN], &[1.0, f32::INFINITY], &[0.0, -0.0], &[1e-44], &[0.1; 4097]];
        for embedding in bad {
            assert!(check_embedding(embedding).is_err(), "{:?}", embedding.first());
        }
        assert!(check_embedding(&[0.1; 4096]).is_ok());
    }
}
