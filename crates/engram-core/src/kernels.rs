//! Dot products of f32 slices and of int8 codes: `dot_scalar` and `dot_i8_scalar` are the truth, and AVX2 versions are
//! used where the processor has it. On one machine the same slices always give the same bits; between the f32 kernels the
//! last bits differ, because they add in another order; the int8 kernels agree exactly. The only module of the crate that
//! may use `unsafe`.
#![expect(
    unsafe_code,
    reason = "SIMD and prefetch intrinsics; each block has a scalar twin that tests compare"
)]

/// Numbers that the scalar kernel adds side by side; eight lanes let the compiler use whatever vectors there are.
const LANES: usize = 8;

/// Dot product of two slices, which must have the same length.
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of one space have one dimension");
    #[cfg(target_arch = "x86_64")]
    // The macro remembers what it found in a static: the price here is one load and a branch that is always right.
    if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
        // SAFETY: the processor has AVX2 and FMA, as just checked, and the lengths are equal, as asserted.
        return unsafe { dot_avx2(a, b) };
    }
    dot_scalar(a, b)
}

/// Dot product of two slices, which must have the same length, without instructions beyond the target's baseline.
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

/// One cache line of codes, -127..=127: rows are made of whole lines, the rest of the last one zero, so that a row never
/// touches a line more than it must and the kernels have no tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct CodeLine(pub [i8; 64]);

/// Dot product of two rows of codes, which must have the same length of at most 2048 lines. No code is -128.
#[inline]
pub fn dot_i8(a: &[CodeLine], b: &[CodeLine]) -> i32 {
    assert_eq!(a.len(), b.len(), "vectors of one space have one dimension");
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as just checked, and the lengths are equal, as asserted.
        return unsafe { dot_i8_avx2(a, b) };
    }
    dot_i8_scalar(a, b)
}

/// Dot product of two rows of codes as in `dot_i8`, without instructions beyond the target's baseline.
pub fn dot_i8_scalar(a: &[CodeLine], b: &[CodeLine]) -> i32 {
    assert_eq!(a.len(), b.len(), "vectors of one space have one dimension");
    let product = |(&x, &y): (&i8, &i8)| i32::from(x) * i32::from(y);
    a.iter().zip(b).map(|(x, y)| x.0.iter().zip(&y.0).map(product).sum::<i32>()).sum()
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

/// # Safety
/// The processor must have AVX2 and FMA, and the slices the same length.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn dot_avx2(a: &[f32], b: &[f32]) -> f32 {
    use std::arch::x86_64::{
        _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps, _mm256_add_ps,
        _mm256_castps256_ps128, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps,
    };
    let len = a.len();
    let (a_start, b_start) = (a.as_ptr(), b.as_ptr());
    // Four sums hide the latency of the multiply-add: two loads a step are what limits it then.
    let mut sums = [_mm256_setzero_ps(); 4];
    let mut at = 0;
    while at + 32 <= len {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: at + 8 * lane + 8 <= at + 32 <= len, the length of both slices.
            let (x, y) = unsafe {
                (_mm256_loadu_ps(a_start.add(at + 8 * lane)), _mm256_loadu_ps(b_start.add(at + 8 * lane)))
            };
            *sum = _mm256_fmadd_ps(x, y, *sum);
        }
        at += 32;
    }
    while at + 8 <= len {
        // SAFETY: at + 8 <= len, the length of both slices.
        let (x, y) = unsafe { (_mm256_loadu_ps(a_start.add(at)), _mm256_loadu_ps(b_start.add(at))) };
        sums[0] = _mm256_fmadd_ps(x, y, sums[0]);
        at += 8;
    }
    let sum = _mm256_add_ps(_mm256_add_ps(sums[0], sums[1]), _mm256_add_ps(sums[2], sums[3]));
    let four = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    let mut total = _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
    for (x, y) in a[at..].iter().zip(&b[at..]) {
        total = x.mul_add(*y, total);
    }
    total
}

/// # Safety
/// The processor must have AVX2, and the slices the same length.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn dot_i8_avx2(a: &[CodeLine], b: &[CodeLine]) -> i32 {
    use std::arch::x86_64::{
        __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_shuffle_epi32, _mm256_abs_epi8, _mm256_add_epi32,
        _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_load_si256, _mm256_madd_epi16,
        _mm256_maddubs_epi16, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_sign_epi8,
    };
    let ones = _mm256_set1_epi16(1);
    let mut sums = [_mm256_setzero_si256(); 2];
    for (x, y) in a.iter().zip(b) {
        let (x, y): (*const __m256i, *const __m256i) = (x.0.as_ptr().cast(), y.0.as_ptr().cast());
        for (half, sum) in sums.iter_mut().enumerate() {
            // SAFETY: a line is two aligned vectors of 32 bytes.
            let (x, y) = unsafe { (_mm256_load_si256(x.add(half)), _mm256_load_si256(y.add(half))) };
            // The instruction takes one side unsigned, so the signs of x go over to y. Without -128 a pair adds up to at
            // most 2 * 127 * 127 = 32,258: it does not saturate.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(x), _mm256_sign_epi8(y, x));
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        }
    }
    let sum = _mm256_add_epi32(sums[0], sums[1]);
    let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The kernels must stay within this many roundings of the exact sum of magnitudes.
    fn check(a: &[f32], b: &[f32]) {
        let exact: f64 = a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
        let magnitude: f64 = a.iter().zip(b).map(|(&x, &y)| (f64::from(x) * f64::from(y)).abs()).sum();
        let bound = magnitude * f64::from(f32::EPSILON) * (a.len() as f64 / 8.0 + 8.0) + 1e-30;
        for (kernel, got) in [("scalar", dot_scalar(a, b)), ("picked", dot(a, b))] {
            let error = (f64::from(got) - exact).abs();
            assert!(error <= bound, "{kernel}: {got} for {exact}, {} numbers", a.len());
        }
        assert_eq!(dot(a, b).to_bits(), dot(a, b).to_bits());
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

    fn lines(codes: &[i8]) -> Vec<CodeLine> {
        let mut lines = vec![CodeLine([0; 64]); codes.len().div_ceil(64)];
        for (line, codes) in lines.iter_mut().zip(codes.chunks(64)) {
            line.0[..codes.len()].copy_from_slice(codes);
        }
        lines
    }

    #[test]
    fn the_largest_sums_of_codes_are_exact() {
        for numbers in [1, 31, 32, 63, 64, 65, 384, 4096] {
            for (x, y) in [(127, 127), (127, -127), (-127, 127), (-127, -127), (0, -127)] {
                let (a, b) = (lines(&vec![x; numbers]), lines(&vec![y; numbers]));
                let exact = numbers as i32 * i32::from(x) * i32::from(y);
                assert_eq!((dot_i8(&a, &b), dot_i8_scalar(&a, &b)), (exact, exact), "{numbers} of {x} * {y}");
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
            let exact: i32 = a.iter().zip(&b).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum();
            let (a, b) = (lines(&a), lines(&b));
            prop_assert_eq!(dot_i8_scalar(&a, &b), exact);
            prop_assert_eq!(dot_i8(&a, &b), exact);
            prop_assert_eq!(dot_i8(&b, &a), exact);
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
