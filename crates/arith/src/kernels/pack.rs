//! Copy operands into the panels that the kernels read.
//!
//! A copy is exact, so its order is free; what matters is that memory is read in long runs.

use crate::isa::Isa;

/// Copies `depth` steps of `lanes` values into a panel of `width` values a step; missing lanes are zero.
///
/// # Safety
/// `source` is readable at every `lane * lane_stride + k * depth_stride`; `panel` holds depth * width values;
/// lanes <= width.
#[allow(clippy::too_many_arguments)] // A panel and a source, each with its strides.
pub(crate) unsafe fn pack(
    isa: Isa,
    panel: *mut f32,
    width: usize,
    source: *const f32,
    lanes: usize,
    lane_stride: usize,
    depth: usize,
    depth_stride: usize,
) {
    // SAFETY: promised by the caller.
    unsafe {
        if lanes < width {
            std::slice::from_raw_parts_mut(panel, depth * width).fill(0.0);
        }
        if lane_stride == 1 {
            #[cfg(target_arch = "x86_64")]
            if isa == Isa::Avx512 && width <= 32 {
                return copy32(panel, width, source, lanes, depth, depth_stride);
            }
            for k in 0..depth {
                std::ptr::copy_nonoverlapping(source.add(k * depth_stride), panel.add(k * width), lanes);
            }
            return;
        }
        transpose(isa, panel, width, source, lanes, lane_stride, depth, depth_stride);
    }
}

/// Writes value (lane, k) of `source` to `panel[k * width + lane]`.
///
/// # Safety
/// `source` is readable at every `lane * lane_stride + k * depth_stride`, and `panel` is writable at those places.
#[allow(clippy::too_many_arguments)] // A panel and a source, each with its strides.
pub(crate) unsafe fn transpose(
    isa: Isa,
    panel: *mut f32,
    width: usize,
    source: *const f32,
    lanes: usize,
    lane_stride: usize,
    depth: usize,
    depth_stride: usize,
) {
    // SAFETY: promised by the caller.
    unsafe {
        let mut lane = 0;
        #[cfg(target_arch = "x86_64")]
        if isa >= Isa::Avx2 && depth_stride == 1 {
            while lane + 8 <= lanes {
                transpose8(panel.add(lane), width, source.add(lane * lane_stride), lane_stride, depth);
                lane += 8;
            }
            while lane + 4 <= lanes {
                transpose4(panel.add(lane), width, source.add(lane * lane_stride), lane_stride, depth);
                lane += 4;
            }
        }
        let _ = isa;
        let mut start = 0;
        while start < depth && lane < lanes {
            let end = (start + 16).min(depth);
            for lane in lane..lanes {
                for k in start..end {
                    *panel.add(k * width + lane) = *source.add(lane * lane_stride + k * depth_stride);
                }
            }
            start = end;
        }
    }
}

/// Transposes a square of 8 x 8 values.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
pub(super) fn transposed8(r: [std::arch::x86_64::__m256; 8]) -> [std::arch::x86_64::__m256; 8] {
    use std::arch::x86_64::*;
    let (a0, a1) = (_mm256_unpacklo_ps(r[0], r[1]), _mm256_unpackhi_ps(r[0], r[1]));
    let (a2, a3) = (_mm256_unpacklo_ps(r[2], r[3]), _mm256_unpackhi_ps(r[2], r[3]));
    let (a4, a5) = (_mm256_unpacklo_ps(r[4], r[5]), _mm256_unpackhi_ps(r[4], r[5]));
    let (a6, a7) = (_mm256_unpacklo_ps(r[6], r[7]), _mm256_unpackhi_ps(r[6], r[7]));
    let (b0, b1) = (_mm256_shuffle_ps(a0, a2, 0x44), _mm256_shuffle_ps(a0, a2, 0xee));
    let (b2, b3) = (_mm256_shuffle_ps(a1, a3, 0x44), _mm256_shuffle_ps(a1, a3, 0xee));
    let (b4, b5) = (_mm256_shuffle_ps(a4, a6, 0x44), _mm256_shuffle_ps(a4, a6, 0xee));
    let (b6, b7) = (_mm256_shuffle_ps(a5, a7, 0x44), _mm256_shuffle_ps(a5, a7, 0xee));
    [
        _mm256_permute2f128_ps(b0, b4, 0x20),
        _mm256_permute2f128_ps(b1, b5, 0x20),
        _mm256_permute2f128_ps(b2, b6, 0x20),
        _mm256_permute2f128_ps(b3, b7, 0x20),
        _mm256_permute2f128_ps(b0, b4, 0x31),
        _mm256_permute2f128_ps(b1, b5, 0x31),
        _mm256_permute2f128_ps(b2, b6, 0x31),
        _mm256_permute2f128_ps(b3, b7, 0x31),
    ]
}

/// Transposes eight contiguous rows of `depth` values into columns `width` apart.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn transpose8(panel: *mut f32, width: usize, source: *const f32, stride: usize, depth: usize) {
    use std::arch::x86_64::*;
    // SAFETY: see `pack`.
    unsafe {
        let mut k = 0;
        while k + 8 <= depth {
            let rows = std::array::from_fn(|i| _mm256_loadu_ps(source.add(i * stride + k)));
            for (i, column) in transposed8(rows).into_iter().enumerate() {
                _mm256_storeu_ps(panel.add((k + i) * width), column);
            }
            k += 8;
        }
        while k < depth {
            for lane in 0..8 {
                *panel.add(k * width + lane) = *source.add(lane * stride + k);
            }
            k += 1;
        }
    }
}

/// Transposes four contiguous rows of `depth` values into columns `width` apart.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn transpose4(panel: *mut f32, width: usize, source: *const f32, stride: usize, depth: usize) {
    use std::arch::x86_64::*;
    // SAFETY: see `pack`.
    unsafe {
        let mut k = 0;
        while k + 4 <= depth {
            let row = |i: usize| _mm_loadu_ps(source.add(i * stride + k));
            let (mut r0, mut r1, mut r2, mut r3) = (row(0), row(1), row(2), row(3));
            _MM_TRANSPOSE4_PS(&mut r0, &mut r1, &mut r2, &mut r3);
            for (i, column) in [r0, r1, r2, r3].into_iter().enumerate() {
                _mm_storeu_ps(panel.add((k + i) * width), column);
            }
            k += 4;
        }
        while k < depth {
            for lane in 0..4 {
                *panel.add(k * width + lane) = *source.add(lane * stride + k);
            }
            k += 1;
        }
    }
}

/// Copies up to 32 contiguous lanes a step.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn copy32(
    panel: *mut f32,
    width: usize,
    source: *const f32,
    lanes: usize,
    depth: usize,
    depth_stride: usize,
) {
    use std::arch::x86_64::*;
    let (low, high) = (lanes.min(16), lanes.saturating_sub(16));
    let (low, high) = (((1u32 << low) - 1) as u16, ((1u32 << high) - 1) as u16);
    // SAFETY: see `pack`; masked lanes are not touched in memory.
    unsafe {
        if high == 0 {
            for k in 0..depth {
                let values = _mm512_maskz_loadu_ps(low, source.add(k * depth_stride));
                _mm512_mask_storeu_ps(panel.add(k * width), low, values);
            }
            return;
        }
        for k in 0..depth {
            let from = source.add(k * depth_stride);
            let values = (_mm512_loadu_ps(from), _mm512_maskz_loadu_ps(high, from.add(16)));
            _mm512_storeu_ps(panel.add(k * width), values.0);
            _mm512_mask_storeu_ps(panel.add(k * width + 16), high, values.1);
        }
    }
}
