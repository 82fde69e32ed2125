//! Kernels of aarch64, for `kernels` only, which says what each computes. The f32 kernel is the scalar one: NEON is part of
//! the target's baseline, so the compiler uses it there.

use super::{CodeLine, CueLine};
use std::arch::aarch64::{
    vaddq_s32, vaddvq_s32, vand_u8, vdup_n_u8, vdupq_n_s32, vld1_s8, vld1_u8, vmull_s8, vpadalq_s16,
    vreinterpret_s8_u8, vshr_n_u8,
};

/// # Safety
/// The slices must have the same length.
#[target_feature(enable = "neon")]
pub(super) unsafe fn dot_coarse_neon(coarse: &[CodeLine], cue: &[CueLine]) -> i32 {
    let nibble = vdup_n_u8(15);
    let mut sums = [vdupq_n_s32(0); 2];
    for (line, cue) in coarse.iter().zip(cue) {
        for at in (0..64).step_by(8) {
            // SAFETY: a line of codes has 64 bytes, a line of a cue 128.
            let (line, low, high) = unsafe {
                (
                    vld1_u8(line.0.as_ptr().add(at)),
                    vld1_s8(cue.0.as_ptr().add(at)),
                    vld1_s8(cue.0.as_ptr().add(64 + at)),
                )
            };
            let first = vreinterpret_s8_u8(vand_u8(line, nibble));
            let second = vreinterpret_s8_u8(vshr_n_u8::<4>(line));
            sums[0] = vpadalq_s16(sums[0], vmull_s8(first, low));
            sums[1] = vpadalq_s16(sums[1], vmull_s8(second, high));
        }
    }
    vaddvq_s32(vaddq_s32(sums[0], sums[1]))
}
