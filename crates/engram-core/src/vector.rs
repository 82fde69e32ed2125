//! Vectors: checked on the way in, kept verbatim, compared by cosine. `Vectors` is the flat array that the index and
//! recall read; row `slot` belongs to the memory in that slot. Beside each row lies its code, a quarter of its size: one
//! int8 a number, which is what the index compares, because reading rows is what limits it. Codes depend on the direction
//! of a row only, up to rounding, so copies of a vector have one code; equal codes have cosine 1 up to rounding.

use crate::Slot;
use crate::error::{Error, Result};
use crate::kernels::{CodeLine, dot, dot_i8, prefetch};
use crate::limits::DIMENSIONS_MAX;

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

/// The code of a vector, for `Code::similarity` only.
#[derive(Debug, Clone, Copy)]
pub struct Code<'a> {
    lines: &'a [CodeLine],
    inverse_norm: f32,
}

impl Code<'_> {
    /// Cosine of two codes: that of the vectors within about .001, for embeddings of some hundred numbers.
    #[inline]
    pub fn similarity(self, other: Code<'_>) -> f32 {
        dot_i8(self.lines, other.lines) as f32 * (self.inverse_norm * other.inverse_norm)
    }
}

/// Memory for the code of one vector that has no slot.
#[derive(Debug, Clone, Default)]
pub struct CodeBuffer {
    lines: Vec<CodeLine>,
}

impl CodeBuffer {
    /// The code of a vector that has passed `check_embedding`, of whatever length.
    pub fn encode(&mut self, embedding: &[f32]) -> Code<'_> {
        self.lines.resize(lines_of(embedding.len()), EMPTY_LINE);
        let inverse_norm = encode(embedding, &mut self.lines);
        Code { lines: &self.lines, inverse_norm }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.lines.capacity() * size_of::<CodeLine>()
    }
}

const EMPTY_LINE: CodeLine = CodeLine([0; 64]);

fn lines_of(dimensions: usize) -> usize {
    dimensions.div_ceil(64)
}

/// Writes the code of a vector, its largest number becoming 127 or -127; returns 1 / length of the code. That, and not the
/// length of the vector, is what similarities are divided by: it takes away the part of the rounding that lies along the
/// vector, and gives equal codes the cosine 1.
fn encode(embedding: &[f32], lines: &mut [CodeLine]) -> f32 {
    assert_eq!(lines.len(), lines_of(embedding.len()), "vectors of one space have one dimension");
    let largest = embedding.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    for (line, numbers) in lines.iter_mut().zip(embedding.chunks(64)) {
        *line = EMPTY_LINE;
        for (code, x) in line.0.iter_mut().zip(numbers) {
            // Divided, because a factor of 127 / largest would be infinite for the smallest vectors. Half away from zero,
            // so that opposite vectors have opposite codes.
            let scaled = x / largest * 127.0;
            *code = (scaled + 0.5f32.copysign(scaled)) as i8;
        }
    }
    1.0 / (dot_i8(lines, lines) as f32).sqrt()
}

/// The vectors of a space, one row a slot, verbatim, with the factor that makes each row unit length, and the code.
#[derive(Debug, Clone, Default)]
pub struct Vectors {
    dimensions: usize,
    rows: Vec<f32>,
    /// 1 / length of the row; 0 where the slot has no vector.
    inverse_norms: Vec<f32>,
    codes: Vec<CodeLine>,
    /// 1 / length of the code; 0 where the slot has no vector.
    code_inverse_norms: Vec<f32>,
}

impl Vectors {
    /// An empty array of rows of `dimensions` (1 to 4096) numbers.
    pub fn new(dimensions: usize) -> Self {
        assert!((1..=DIMENSIONS_MAX).contains(&dimensions), "checked when the space was made");
        Self { dimensions, ..Self::default() }
    }

    /// Numbers a row.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        (self.rows.capacity() + self.inverse_norms.capacity() + self.code_inverse_norms.capacity())
            * size_of::<f32>()
            + self.codes.capacity() * size_of::<CodeLine>()
    }

    /// One more than the largest slot that there is a row for.
    pub fn slots_end(&self) -> usize {
        self.inverse_norms.len()
    }

    /// Makes room for the row of `slot`.
    pub fn reserve(&mut self, slot: Slot) {
        let slots = slot as usize + 1;
        if slots > self.inverse_norms.len() {
            self.inverse_norms.resize(slots, 0.0);
            self.rows.resize(slots * self.dimensions, 0.0);
            self.code_inverse_norms.resize(slots, 0.0);
            self.codes.resize(slots * lines_of(self.dimensions), EMPTY_LINE);
        }
    }

    /// Sets the row of `slot`. The embedding has passed `check_embedding` and has the right dimension.
    pub fn set(&mut self, slot: Slot, embedding: &[f32]) {
        assert_eq!(embedding.len(), self.dimensions, "checked before the change was logged");
        self.reserve(slot);
        let slot = slot as usize;
        self.rows[slot * self.dimensions..][..self.dimensions].copy_from_slice(embedding);
        self.inverse_norms[slot] = 1.0 / norm(embedding);
        let lines = lines_of(self.dimensions);
        self.code_inverse_norms[slot] = encode(embedding, &mut self.codes[slot * lines..][..lines]);
    }

    /// Forgets the row of `slot`.
    pub fn clear(&mut self, slot: Slot) {
        if let Some(inverse_norm) = self.inverse_norms.get_mut(slot as usize) {
            *inverse_norm = 0.0;
            self.rows[slot as usize * self.dimensions..][..self.dimensions].fill(0.0);
            self.code_inverse_norms[slot as usize] = 0.0;
            let lines = lines_of(self.dimensions);
            self.codes[slot as usize * lines..][..lines].fill(EMPTY_LINE);
        }
    }

    /// The row as given, or `None` where the slot has no vector.
    pub fn get(&self, slot: Slot) -> Option<&[f32]> {
        (*self.inverse_norms.get(slot as usize)? > 0.0).then(|| self.row(slot))
    }

    /// Cosine of the row with a unit vector. The slot must have a vector.
    #[inline]
    pub fn similarity(&self, slot: Slot, unit: &[f32]) -> f32 {
        scaled_dot(self.row(slot), unit, self.inverse_norms[slot as usize], 1.0)
    }

    /// Cosine of two rows. Both slots must have a vector.
    #[inline]
    pub fn similarity_between(&self, a: Slot, b: Slot) -> f32 {
        scaled_dot(self.row(a), self.row(b), self.inverse_norms[a as usize], self.inverse_norms[b as usize])
    }

    /// Asks the processor to fetch the row, which will be compared soon.
    #[inline]
    pub fn prefetch(&self, slot: Slot) {
        prefetch(self.row(slot));
    }

    /// The code of the row. The slot must have a vector.
    #[inline]
    pub fn code(&self, slot: Slot) -> Code<'_> {
        Code { lines: self.code_lines(slot), inverse_norm: self.code_inverse_norms[slot as usize] }
    }

    /// Asks the processor to fetch the code of the row, which will be compared soon.
    #[inline]
    pub fn prefetch_code(&self, slot: Slot) {
        prefetch(self.code_lines(slot));
        prefetch(std::slice::from_ref(&self.code_inverse_norms[slot as usize]));
    }

    #[inline]
    fn code_lines(&self, slot: Slot) -> &[CodeLine] {
        let lines = lines_of(self.dimensions);
        &self.codes[slot as usize * lines..][..lines]
    }

    #[inline]
    fn row(&self, slot: Slot) -> &[f32] {
        &self.rows[slot as usize * self.dimensions..][..self.dimensions]
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
        let mut vectors = Vectors::new(2);
        for (slot, length) in [1e-37, 1e-20, 1.0, 1e20, 1e37].into_iter().enumerate() {
            vectors.set(slot as Slot, &[3.0 * length, 4.0 * length]);
        }
        for a in 0..5 {
            for b in 0..5 {
                assert!((vectors.similarity_between(a, b) - 1.0).abs() < 1e-6, "{a} {b}");
            }
            assert!((vectors.similarity(a, &[1.0, 0.0]) - 0.6).abs() < 1e-6, "{a}");
        }
    }

    #[test]
    fn vectors_are_kept_verbatim_and_compared_by_cosine() {
        let mut vectors = Vectors::new(3);
        vectors.set(2, &[3.0, 0.0, 4.0]);
        vectors.set(0, &[0.0, 0.0, 0.5]);
        assert_eq!(vectors.get(2), Some(&[3.0, 0.0, 4.0][..]));
        assert_eq!(vectors.get(1), None);
        assert!((vectors.similarity_between(0, 2) - 0.8).abs() < 1e-6);
        assert!((vectors.similarity(2, &unit(&[6.0, 0.0, 0.0])) - 0.6).abs() < 1e-6);
        vectors.clear(2);
        assert_eq!(vectors.get(2), None);
    }

    #[test]
    fn codes_compare_as_their_vectors_do() {
        let mut vectors = Vectors::new(100);
        let number =
            |slot: u32, at: u32| ((slot * 100 + at + 1).wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0;
        let row = |slot, length: f32| (0..100).map(|at| number(slot, at) * length).collect::<Vec<_>>();
        for (slot, length) in (0..).zip([1e-37, 1e-20, 1.0, 1e20, 1e36]) {
            vectors.set(slot, &row(slot, length));
        }
        let mut buffer = CodeBuffer::default();
        for a in 0..5 {
            let cue = unit(&row(a, 1.0));
            assert_eq!(vectors.code(a).lines, buffer.encode(&cue).lines, "of any length");
            assert!((vectors.code(a).similarity(vectors.code(a)) - 1.0).abs() < 1e-6);
            for b in 0..5 {
                let (got, exact) =
                    (vectors.code(b).similarity(buffer.encode(&cue)), vectors.similarity(b, &cue));
                assert!((got - exact).abs() < 3e-3, "{a} {b}: {got} for {exact}");
                assert_eq!(got, vectors.code(a).similarity(vectors.code(b)));
            }
        }
        vectors.clear(0);
        assert_eq!(vectors.code(0).similarity(vectors.code(1)), 0.0);
    }

    #[test]
    fn codes_round_to_the_nearest_and_stay_in_range() {
        let mut buffer = CodeBuffer::default();
        let code = buffer.encode(&[-2.0, 2.0, 0.0, 1.0, -1.0, 0.001]);
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
