//! Dot products of f32 slices and of int8 codes. The scalar kernels are the truth; AVX-512 (with VNNI), AVX2 or NEON take
//! their place where the processor has them and `choose` has not said otherwise. With one choice the same slices always
//! give the same bits; between the f32 kernels the last bits differ, because they add in another order; the int8 kernels
//! agree exactly.
//!
//! A code has an int8 c a number, -127..=127, kept as u = c + 128 in two halves of four bits: the upper ones, coarse, are
//! all that most comparisons read; the lower ones, fine, lie elsewhere. A `CodeLine` holds one half of 128 numbers: byte i
//! has number i in its lower bits, and number 64 + i in its upper ones.
#![expect(
    unsafe_code,
    reason = "SIMD and prefetch intrinsics; each block has a scalar twin that tests compare"
)]

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod x86;

use bytemuck::{Pod, Zeroable};
use std::sync::atomic::{AtomicU8, Ordering};

/// The instructions that distances use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Simd {
    /// Those of every processor of this kind.
    Scalar = 1,
    /// 128 bits, aarch64.
    Neon = 2,
    /// 256 bits with FMA, `x86_64`.
    Avx2 = 3,
    /// 512 bits with VNNI (F, BW and VNNI), `x86_64`.
    Avx512 = 4,
}

impl Simd {
    /// As logs and reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Simd::Scalar => "scalar",
            Simd::Neon => "neon",
            Simd::Avx2 => "avx2",
            Simd::Avx512 => "avx512",
        }
    }

    /// The best that this processor has.
    pub fn best() -> Simd {
        #[cfg(target_arch = "x86_64")]
        {
            let has_avx2 = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
            let has_avx512 = std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512bw")
                && std::is_x86_feature_detected!("avx512vnni");
            match (has_avx2, has_avx512) {
                (true, true) => Simd::Avx512,
                (true, false) => Simd::Avx2,
                (false, _) => Simd::Scalar,
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            Simd::Neon
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            Simd::Scalar
        }
    }
}

/// What `choose` chose, or 0.
static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// Sets the instructions of all distances of this process, at most the best that the processor has; returns what is used
/// from now on. Meant for the start: answers from before and after may differ in the last bits of their similarities.
pub fn choose(at_most: Simd) -> Simd {
    let chosen = at_most.min(Simd::best());
    // AVX2 asked for on aarch64, or NEON on x86_64, is nothing that the other has.
    let chosen = if chosen == Simd::Neon && Simd::best() != Simd::Neon { Simd::Scalar } else { chosen };
    CHOSEN.store(chosen as u8, Ordering::Relaxed);
    chosen
}

/// The instructions that distances use now.
#[inline]
pub fn simd() -> Simd {
    match CHOSEN.load(Ordering::Relaxed) {
        4 => Simd::Avx512,
        3 => Simd::Avx2,
        2 => Simd::Neon,
        1 => Simd::Scalar,
        _ => choose(Simd::best()),
    }
}

/// Numbers that the scalar kernel adds side by side; eight lanes let the compiler use whatever vectors there are.
const LANES: usize = 8;

/// Dot product of two slices, which must have the same length.
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    dot_with(simd(), a, b)
}

#[inline]
fn dot_with(simd: Simd, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of one space have one dimension");
    match simd {
        // SAFETY: `choose` found these instructions, and the lengths are equal, as asserted.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => unsafe { x86::dot_avx512(a, b) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => unsafe { x86::dot_avx2(a, b) },
        _ => dot_scalar(a, b),
    }
}

/// Dot product of two slices, which must have the same length, without instructions beyond the target's baseline (which on
/// aarch64 has NEON, and the compiler uses it here).
pub fn dot_scalar(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of one space have one dimension");
    let (a_chunks, a_tail) = a.as_chunks::<LANES>();
    let (b_chunks, b_tail) = b.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f32>() + tail
}

/// Numbers in a line of codes.
pub const LINE_NUMBERS: usize = 128;

/// One cache line of half codes: rows are made of whole lines, the rest of the last one that of zeros, so that a row never
/// touches a line more than it must and the kernels have no tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct CodeLine(pub [u8; 64]);

/// The code of 128 numbers that a row is compared with, whole and signed, -127..=127.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct CueLine(pub [i8; LINE_NUMBERS]);

/// Sum over all numbers of the upper four bits of u (0..=15) times the cue's code. Both have the same number of lines.
#[inline]
pub fn dot_coarse(coarse: &[CodeLine], cue: &[CueLine]) -> i32 {
    dot_coarse_with(simd(), coarse, cue)
}

#[inline]
fn dot_coarse_with(simd: Simd, coarse: &[CodeLine], cue: &[CueLine]) -> i32 {
    assert_eq!(coarse.len(), cue.len(), "vectors of one space have one dimension");
    match simd {
        // SAFETY: `choose` found these instructions, and the lengths are equal, as asserted.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => unsafe { x86::dot_coarse_avx512(coarse, cue) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => unsafe { x86::dot_coarse_avx2(coarse, cue) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Simd::Neon => unsafe { arm::dot_coarse_neon(coarse, cue) },
        _ => dot_coarse_scalar(coarse, cue),
    }
}

/// As `dot_coarse`, without instructions beyond the target's baseline.
pub fn dot_coarse_scalar(coarse: &[CodeLine], cue: &[CueLine]) -> i32 {
    let line_dot = |(line, cue): (&CodeLine, &CueLine)| {
        let (low, high) = cue.0.split_at(64);
        let products = line.0.iter().zip(low).zip(high).map(|((&byte, &low), &high)| {
            i32::from(byte & 15) * i32::from(low) + i32::from(byte >> 4) * i32::from(high)
        });
        products.sum::<i32>()
    };
    coarse.iter().zip(cue).map(line_dot).sum()
}

/// Sum over all numbers of u (1..=255) times the cue's code. All have the same number of lines, at most 32.
#[inline]
pub fn dot_code(coarse: &[CodeLine], fine: &[CodeLine], cue: &[CueLine]) -> i32 {
    dot_code_with(simd(), coarse, fine, cue)
}

#[inline]
fn dot_code_with(simd: Simd, coarse: &[CodeLine], fine: &[CodeLine], cue: &[CueLine]) -> i32 {
    assert!(coarse.len() == fine.len() && fine.len() == cue.len(), "vectors of one space have one dimension");
    match simd {
        // SAFETY: `choose` found these instructions, and the lengths are equal, as asserted.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => unsafe { x86::dot_code_avx512(coarse, fine, cue) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => unsafe { x86::dot_code_avx2(coarse, fine, cue) },
        // u = 16 coarse + fine, and both halves are summed by one kernel.
        _ => 16 * dot_coarse_with(simd, coarse, cue) + dot_coarse_with(simd, fine, cue),
    }
}

/// Writes the two halves of a code. All have the same number of lines.
pub fn halve(cue: &[CueLine], coarse: &mut [CodeLine], fine: &mut [CodeLine]) {
    assert!(coarse.len() == fine.len() && fine.len() == cue.len(), "vectors of one space have one dimension");
    for ((cue, coarse), fine) in cue.iter().zip(coarse).zip(fine) {
        for at in 0..64 {
            let (low, high) = (cue.0[at].cast_unsigned() ^ 128, cue.0[64 + at].cast_unsigned() ^ 128);
            coarse.0[at] = low >> 4 | high & 240;
            fine.0[at] = low & 15 | high << 4;
        }
    }
}

/// Writes the whole, signed code of a row.
#[inline]
pub fn widen(coarse: &[CodeLine], fine: &[CodeLine], cue: &mut [CueLine]) {
    assert!(coarse.len() == fine.len() && fine.len() == cue.len(), "vectors of one space have one dimension");
    for ((coarse, fine), cue) in coarse.iter().zip(fine).zip(cue) {
        let (low, high) = cue.0.split_at_mut(64);
        for (((&coarse, &fine), low), high) in coarse.0.iter().zip(&fine.0).zip(low).zip(high) {
            *low = ((coarse << 4 | fine & 15) ^ 128).cast_signed();
            *high = ((coarse & 240 | fine >> 4) ^ 128).cast_signed();
        }
    }
}

/// Asks the processor to fetch `row` into its caches, up to its first 4 KiB; there its own prefetcher takes over.
#[inline]
pub fn prefetch<T>(row: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start: *const i8 = row.as_ptr().cast();
        for line in 0..size_of_val(row).div_ceil(64).min(PREFETCH_LINES_MAX) {
            // SAFETY: SSE is part of x86-64, and a prefetch reads nothing: any address is allowed.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * 64)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _: &[T] = row;
}

/// Cache lines that `prefetch` asks for: all of a row up to 1024 numbers. While searches compared f32 rows, of the 24 lines
/// of 384 numbers, all made them faster by 23 to 43% in four runs, 8 by 22% in one (`examples/hnsw_measure.md`).
#[cfg(target_arch = "x86_64")]
const PREFETCH_LINES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What this processor has.
    fn here() -> impl Iterator<Item = Simd> {
        let best = Simd::best();
        let all = [Simd::Scalar, Simd::Neon, Simd::Avx2, Simd::Avx512].into_iter();
        all.filter(move |&simd| {
            simd == Simd::Scalar || simd <= best && (simd == Simd::Neon) == (best == Simd::Neon)
        })
    }

    /// The kernels must stay within this many roundings of the exact sum of magnitudes.
    fn check(a: &[f32], b: &[f32]) {
        let exact: f64 = a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
        let magnitude: f64 = a.iter().zip(b).map(|(&x, &y)| (f64::from(x) * f64::from(y)).abs()).sum();
        let bound = magnitude * f64::from(f32::EPSILON) * (a.len() as f64 / 8.0 + 8.0) + 1e-30;
        for simd in here() {
            let got = dot_with(simd, a, b);
            let error = (f64::from(got) - exact).abs();
            assert!(error <= bound, "{}: {got} for {exact}, {} numbers", simd.name(), a.len());
        }
        assert_eq!(dot(a, b).to_bits(), dot(b, a).to_bits());
    }

    #[test]
    fn every_length_agrees_with_f64() {
        let a: Vec<f32> =
            (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8e6 - 1.0).collect();
        let b: Vec<f32> = a.iter().rev().map(|x| x * 3.0 + 0.1).collect();
        for len in 0..=4096 {
            check(&a[..len], &b[..len]);
        }
    }

    /// The code as a cue, and as the halves of a row.
    fn lines(codes: &[i8]) -> (Vec<CueLine>, Vec<CodeLine>, Vec<CodeLine>) {
        let count = codes.len().div_ceil(LINE_NUMBERS);
        let mut cue = vec![CueLine([0; LINE_NUMBERS]); count];
        for (line, codes) in cue.iter_mut().zip(codes.chunks(LINE_NUMBERS)) {
            line.0[..codes.len()].copy_from_slice(codes);
        }
        let (mut coarse, mut fine) = (vec![CodeLine([0; 64]); count], vec![CodeLine([0; 64]); count]);
        halve(&cue, &mut coarse, &mut fine);
        (cue, coarse, fine)
    }

    /// All kernels of codes that this processor has agree with the sums by definition.
    fn check_codes(a: &[i8], b: &[i8]) {
        let sum = |of: fn(u8) -> i32| {
            a.iter().zip(b).map(|(&x, &y)| of(x.cast_unsigned() ^ 128) * i32::from(y)).sum::<i32>()
        };
        let (whole, upper) = (sum(i32::from), sum(|u| i32::from(u >> 4)));
        let ((own, coarse, fine), (cue, ..)) = (lines(a), lines(b));
        let mut widened = vec![CueLine([1; LINE_NUMBERS]); own.len()];
        widen(&coarse, &fine, &mut widened);
        assert_eq!(widened, own);
        assert_eq!(dot_coarse_scalar(&coarse, &cue), upper);
        for simd in here() {
            assert_eq!(dot_coarse_with(simd, &coarse, &cue), upper, "{}", simd.name());
            assert_eq!(dot_code_with(simd, &coarse, &fine, &cue), whole, "{}", simd.name());
        }
    }

    #[test]
    fn the_largest_sums_of_codes_are_exact() {
        for numbers in [1, 31, 32, 63, 64, 65, 128, 129, 384, 768, 4096] {
            for (x, y) in [(127, 127), (127, -127), (-127, 127), (-127, -127), (0, -127)] {
                check_codes(&vec![x; numbers], &vec![y; numbers]);
            }
        }
    }

    /// Any code, the extremes and zero as often as all others together.
    fn code() -> impl Strategy<Value = i8> {
        prop_oneof![-127i8..=127, prop::sample::select(vec![-127i8, -1, 0, 1, 127])]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn kernels_of_codes_agree_exactly(
            codes in prop::collection::vec((code(), code()), 0..1100),
        ) {
            let (a, b): (Vec<i8>, Vec<i8>) = codes.into_iter().unzip();
            check_codes(&a, &b);
        }

        #[test]
        fn kernels_agree_on_unaligned_slices(
            numbers in prop::collection::vec((-1e3f32..1e3, -1e3f32..1e3), 0..700),
            offset in 0usize..9,
        ) {
            let (a, b): (Vec<f32>, Vec<f32>) = numbers.into_iter().unzip();
            let offset = offset.min(a.len());
            check(&a[offset..], &b[offset..]);
            check(&a[..a.len() - offset], &b[offset..]);
        }
    }
}
