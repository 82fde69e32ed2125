//! Kernels of `x86_64`, for `kernels` only, which says what each computes.

use super::{CodeLine, CueLine};
use std::arch::x86_64::{
    __m256i, __m512i, _mm_add_epi32, _mm_add_ps, _mm_add_ss, _mm_cvtsi128_si32, _mm_cvtss_f32,
    _mm_movehdup_ps, _mm_movehl_ps, _mm_shuffle_epi32, _mm256_abs_epi8, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_si256, _mm256_andnot_si256, _mm256_castps256_ps128, _mm256_castsi256_si128,
    _mm256_extractf128_ps, _mm256_extracti128_si256, _mm256_fmadd_ps, _mm256_load_si256, _mm256_loadu_ps,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_sign_epi8, _mm256_slli_epi16, _mm256_srli_epi16,
    _mm256_xor_si256, _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_dpbusd_epi32,
    _mm512_fmadd_ps, _mm512_load_si512, _mm512_loadu_ps, _mm512_maskz_loadu_ps, _mm512_reduce_add_epi32,
    _mm512_reduce_add_ps, _mm512_set1_epi8, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi16,
    _mm512_srli_epi16, _mm512_ternarylogic_epi32,
};

/// # Safety
/// The processor must have AVX2 and FMA, and the slices the same length.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn dot_avx2(a: &[f32], b: &[f32]) -> f32 {
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
/// The processor must have AVX-512 F, and the slices the same length.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn dot_avx512(a: &[f32], b: &[f32]) -> f32 {
    let len = a.len();
    let (a_start, b_start) = (a.as_ptr(), b.as_ptr());
    let mut sums = [_mm512_setzero_ps(); 4];
    let mut at = 0;
    while at + 64 <= len {
        for (lane, sum) in sums.iter_mut().enumerate() {
            // SAFETY: at + 16 * lane + 16 <= at + 64 <= len, the length of both slices.
            let (x, y) = unsafe {
                (_mm512_loadu_ps(a_start.add(at + 16 * lane)), _mm512_loadu_ps(b_start.add(at + 16 * lane)))
            };
            *sum = _mm512_fmadd_ps(x, y, *sum);
        }
        at += 64;
    }
    while at < len {
        let left = (len - at).min(16);
        let mask = (u32::MAX >> (32 - left)) as u16;
        // SAFETY: the mask leaves out what lies beyond the length of both slices.
        let (x, y) = unsafe {
            (_mm512_maskz_loadu_ps(mask, a_start.add(at)), _mm512_maskz_loadu_ps(mask, b_start.add(at)))
        };
        sums[0] = _mm512_fmadd_ps(x, y, sums[0]);
        at += left;
    }
    let sum = _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
    _mm512_reduce_add_ps(sum)
}

/// # Safety
/// The processor must have AVX-512 F, BW and VNNI, and the slices the same length.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn dot_coarse_avx512(coarse: &[CodeLine], cue: &[CueLine]) -> i32 {
    let nibble = _mm512_set1_epi8(15);
    let mut sums = [_mm512_setzero_si512(); 2];
    for (line, cue) in coarse.iter().zip(cue) {
        // SAFETY: a line of codes is one aligned vector of 64 bytes, a line of a cue two.
        let (line, low, high) = unsafe { (load_512(&line.0), load_512(&cue.0), load_512(&cue.0[64..])) };
        sums[0] = _mm512_dpbusd_epi32(sums[0], _mm512_and_si512(line, nibble), low);
        sums[1] = _mm512_dpbusd_epi32(sums[1], _mm512_and_si512(_mm512_srli_epi16::<4>(line), nibble), high);
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]))
}

/// # Safety
/// As for `dot_coarse_avx512`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) unsafe fn dot_code_avx512(coarse: &[CodeLine], fine: &[CodeLine], cue: &[CueLine]) -> i32 {
    // Picks the bits of the second operand where the first has ones, and else those of the third.
    const PICK: i32 = 0xca;
    let nibble = _mm512_set1_epi8(15);
    let mut sums = [_mm512_setzero_si512(); 2];
    for ((coarse, fine), cue) in coarse.iter().zip(fine).zip(cue) {
        // SAFETY: a line of codes is one aligned vector of 64 bytes, a line of a cue two.
        let (coarse, fine, low, high) =
            unsafe { (load_512(&coarse.0), load_512(&fine.0), load_512(&cue.0), load_512(&cue.0[64..])) };
        let first = _mm512_ternarylogic_epi32::<PICK>(nibble, fine, _mm512_slli_epi16::<4>(coarse));
        let second = _mm512_ternarylogic_epi32::<PICK>(nibble, _mm512_srli_epi16::<4>(fine), coarse);
        sums[0] = _mm512_dpbusd_epi32(sums[0], first, low);
        sums[1] = _mm512_dpbusd_epi32(sums[1], second, high);
    }
    _mm512_reduce_add_epi32(_mm512_add_epi32(sums[0], sums[1]))
}

/// # Safety
/// There must be 64 bytes, aligned to 64.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load_512<T>(bytes: &[T]) -> __m512i {
    // SAFETY: as the caller says.
    unsafe { _mm512_load_si512(bytes.as_ptr().cast()) }
}

/// # Safety
/// The processor must have AVX2, and the slices the same length.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dot_coarse_avx2(coarse: &[CodeLine], cue: &[CueLine]) -> i32 {
    let (nibble, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let mut sums = [_mm256_setzero_si256(); 2];
    for (line, cue) in coarse.iter().zip(cue) {
        for half in [0, 32] {
            // SAFETY: a line of codes is two aligned vectors of 32 bytes, a line of a cue four.
            let (line, low, high) = unsafe {
                (load_256(&line.0[half..]), load_256(&cue.0[half..]), load_256(&cue.0[64 + half..]))
            };
            // A pair adds up to at most 2 * 15 * 127 = 3,810, and two of them do not saturate either.
            let low = _mm256_maddubs_epi16(_mm256_and_si256(line, nibble), low);
            let high = _mm256_maddubs_epi16(_mm256_and_si256(_mm256_srli_epi16::<4>(line), nibble), high);
            sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(low, ones));
            sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(high, ones));
        }
    }
    sum_256(_mm256_add_epi32(sums[0], sums[1]))
}

/// # Safety
/// As for `dot_coarse_avx2`.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dot_code_avx2(coarse: &[CodeLine], fine: &[CodeLine], cue: &[CueLine]) -> i32 {
    let (nibble, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let (offset, one) = (_mm256_set1_epi8(-128), _mm256_set1_epi8(1));
    let mut sums = [_mm256_setzero_si256(); 4];
    for ((coarse, fine), cue) in coarse.iter().zip(fine).zip(cue) {
        for half in [0, 32] {
            // SAFETY: a line of codes is two aligned vectors of 32 bytes, a line of a cue four.
            let (coarse, fine, low, high) = unsafe {
                (
                    load_256(&coarse.0[half..]),
                    load_256(&fine.0[half..]),
                    load_256(&cue.0[half..]),
                    load_256(&cue.0[64 + half..]),
                )
            };
            let shifted = (_mm256_slli_epi16::<4>(coarse), _mm256_srli_epi16::<4>(fine));
            let first =
                _mm256_or_si256(_mm256_andnot_si256(nibble, shifted.0), _mm256_and_si256(nibble, fine));
            let second =
                _mm256_or_si256(_mm256_andnot_si256(nibble, coarse), _mm256_and_si256(nibble, shifted.1));
            for (at, (u, cue)) in [(first, low), (second, high)].into_iter().enumerate() {
                // The instruction takes one side unsigned, but u would saturate it: so c, whose signs go over to the cue.
                // Without -128 a pair adds up to at most 2 * 127 * 127 = 32,258.
                let c = _mm256_xor_si256(u, offset);
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(c), _mm256_sign_epi8(cue, c));
                sums[at] = _mm256_add_epi32(sums[at], _mm256_madd_epi16(pairs, ones));
                let cues = _mm256_maddubs_epi16(one, cue);
                sums[2 + at] = _mm256_add_epi32(sums[2 + at], _mm256_madd_epi16(cues, ones));
            }
        }
    }
    sum_256(_mm256_add_epi32(sums[0], sums[1])) + 128 * sum_256(_mm256_add_epi32(sums[2], sums[3]))
}

/// # Safety
/// There must be 32 bytes, aligned to 32.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn load_256<T>(bytes: &[T]) -> __m256i {
    // SAFETY: as the caller says.
    unsafe { _mm256_load_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_256(sum: __m256i) -> i32 {
    let four = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
    let two = _mm_add_epi32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two)))
}
