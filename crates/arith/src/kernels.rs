//! Multiply packed panels: the inner loops of [`crate::gemm()`], one per instruction set.
//!
//! Every kernel computes, for a tile of outputs, `acc = fma(a[k], b[k], acc)` over one block of k in ascending
//! order, and then sets or adds the result. Tiles differ in size, not in what an output goes through.
//!
//! Panel layout: A holds `rows` values for each k, B holds `stride` values for each k.
#![allow(unsafe_code)] // Vector intrinsics and raw tile pointers; the caller in `gemm` bounds every tile.

#[cfg(target_arch = "aarch64")]
mod neon;

use crate::{
    isa::Isa,
    lanes::{Baseline, Fused},
};

/// What happens to the finished chain of an output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Finish {
    Set,
    Add,
}

/// One tile: `rows` by `cols` outputs at `c`, over `depth` steps of k.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub(crate) depth: usize,
    pub(crate) a: *const f32,
    pub(crate) b: *const f32,
    pub(crate) b_stride: usize,
    pub(crate) c: *mut f32,
    pub(crate) c_stride: usize,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) finish: Finish,
}

/// Returns the largest (rows, columns) of a tile on `isa`.
pub(crate) fn tile_size(isa: Isa) -> (usize, usize) {
    match isa {
        Isa::Avx512 => (12, 32),
        Isa::Avx2 => (6, 16),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => neon::TILE,
        _ => (4, 16),
    }
}

/// Computes one tile.
///
/// # Safety
/// The CPU has `isa`. `a` holds depth * rows values. `b` is readable for the full tile width (of
/// [`tile_size`]) at each of `depth` steps of `b_stride`. `c` is writable for rows by cols outputs.
/// `rows` and `cols` are within [`tile_size`] and not zero.
pub(crate) unsafe fn multiply(isa: Isa, tile: Tile) {
    // SAFETY: as promised by the caller; `tile.rows` selects the instance with that many rows.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => match tile.rows {
                1 => avx512::<1>(tile),
                2 => avx512::<2>(tile),
                3 => avx512::<3>(tile),
                4 => avx512::<4>(tile),
                5 => avx512::<5>(tile),
                6 => avx512::<6>(tile),
                7 => avx512::<7>(tile),
                8 => avx512::<8>(tile),
                9 => avx512::<9>(tile),
                10 => avx512::<10>(tile),
                11 => avx512::<11>(tile),
                _ => avx512::<12>(tile),
            },
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => match tile.rows {
                1 => avx2::<1>(tile),
                2 => avx2::<2>(tile),
                3 => avx2::<3>(tile),
                4 => avx2::<4>(tile),
                5 => avx2::<5>(tile),
                _ => avx2::<6>(tile),
            },
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => neon::multiply(tile),
            _ => match tile.rows {
                1 => portable::<Baseline, 1>(tile),
                2 => portable::<Baseline, 2>(tile),
                3 => portable::<Baseline, 3>(tile),
                _ => portable::<Baseline, 4>(tile),
            },
        }
    }
}

#[inline(always)]
unsafe fn portable<F: Fused, const ROWS: usize>(tile: Tile) {
    const WIDTH: usize = 16;
    let mut acc = [[0.0f32; WIDTH]; ROWS];
    // SAFETY: see `multiply`.
    unsafe {
        for k in 0..tile.depth {
            let b = &*tile.b.add(k * tile.b_stride).cast::<[f32; WIDTH]>();
            let a = &*tile.a.add(k * ROWS).cast::<[f32; ROWS]>();
            for (acc, a) in acc.iter_mut().zip(a) {
                for (acc, b) in acc.iter_mut().zip(b) {
                    *acc = F::fma(*a, *b, *acc);
                }
            }
        }
        finish(tile, acc.as_ptr().cast(), WIDTH);
    }
}

/// Stores a tile from a buffer whose rows are `stride` long.
#[inline(always)]
unsafe fn finish(tile: Tile, acc: *const f32, stride: usize) {
    // SAFETY: see `multiply`.
    unsafe {
        for row in 0..tile.rows {
            for col in 0..tile.cols {
                let c = tile.c.add(row * tile.c_stride + col);
                let value = *acc.add(row * stride + col);
                *c = if tile.finish == Finish::Add { *c + value } else { value };
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<const ROWS: usize>(tile: Tile) {
    use std::arch::x86_64::*;
    const WIDTH: usize = 16;
    let mut acc = [[_mm256_setzero_ps(); 2]; ROWS];
    let (mut a, mut b) = (tile.a, tile.b);
    // SAFETY: see `multiply`.
    unsafe {
        for _ in 0..tile.depth {
            let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
            for (row, acc) in acc.iter_mut().enumerate() {
                let a = _mm256_set1_ps(*a.add(row));
                acc[0] = _mm256_fmadd_ps(a, b0, acc[0]);
                acc[1] = _mm256_fmadd_ps(a, b1, acc[1]);
            }
            a = a.add(ROWS);
            b = b.add(tile.b_stride);
        }
        if tile.cols == WIDTH {
            for (row, acc) in acc.iter().enumerate() {
                for (half, acc) in acc.iter().enumerate() {
                    let c = tile.c.add(row * tile.c_stride + 8 * half);
                    let value = match tile.finish {
                        Finish::Add => _mm256_add_ps(_mm256_loadu_ps(c), *acc),
                        Finish::Set => *acc,
                    };
                    _mm256_storeu_ps(c, value);
                }
            }
        } else {
            finish(tile, acc.as_ptr().cast(), WIDTH);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<const ROWS: usize>(tile: Tile) {
    use std::arch::x86_64::*;
    let mut acc = [[_mm512_setzero_ps(); 2]; ROWS];
    let (mut a, mut b) = (tile.a, tile.b);
    // SAFETY: see `multiply`; masked lanes are not touched in memory.
    unsafe {
        for _ in 0..tile.depth {
            let (b0, b1) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
            for (row, acc) in acc.iter_mut().enumerate() {
                let a = _mm512_set1_ps(*a.add(row));
                acc[0] = _mm512_fmadd_ps(a, b0, acc[0]);
                acc[1] = _mm512_fmadd_ps(a, b1, acc[1]);
            }
            a = a.add(ROWS);
            b = b.add(tile.b_stride);
        }
        for (row, acc) in acc.iter().enumerate() {
            for (half, acc) in acc.iter().enumerate() {
                let live = tile.cols.saturating_sub(16 * half).min(16);
                if live == 0 {
                    break;
                }
                let mask = ((1u32 << live) - 1) as u16;
                let c = tile.c.add(row * tile.c_stride + 16 * half);
                let value = match tile.finish {
                    Finish::Add => _mm512_add_ps(_mm512_maskz_loadu_ps(mask, c), *acc),
                    Finish::Set => *acc,
                };
                _mm512_mask_storeu_ps(c, mask, value);
            }
        }
    }
}

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
        #[cfg(target_arch = "aarch64")]
        if isa == Isa::Neon && neon::pack(panel, width, source, lanes, lane_stride, depth, depth_stride) {
            return;
        }
        if lane_stride == 1 {
            for k in 0..depth {
                std::ptr::copy_nonoverlapping(source.add(k * depth_stride), panel.add(k * width), lanes);
            }
            return;
        }
        // Only x86-64 transposes lanes before this.
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))]
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

/// Transposes eight contiguous rows of `depth` values into columns `width` apart.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn transpose8(panel: *mut f32, width: usize, source: *const f32, stride: usize, depth: usize) {
    use std::arch::x86_64::*;
    // SAFETY: see `pack`.
    unsafe {
        let mut k = 0;
        while k + 8 <= depth {
            let row = |i: usize| _mm256_loadu_ps(source.add(i * stride + k));
            let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
            let (r4, r5, r6, r7) = (row(4), row(5), row(6), row(7));
            let (a0, a1) = (_mm256_unpacklo_ps(r0, r1), _mm256_unpackhi_ps(r0, r1));
            let (a2, a3) = (_mm256_unpacklo_ps(r2, r3), _mm256_unpackhi_ps(r2, r3));
            let (a4, a5) = (_mm256_unpacklo_ps(r4, r5), _mm256_unpackhi_ps(r4, r5));
            let (a6, a7) = (_mm256_unpacklo_ps(r6, r7), _mm256_unpackhi_ps(r6, r7));
            let (b0, b1) = (_mm256_shuffle_ps(a0, a2, 0x44), _mm256_shuffle_ps(a0, a2, 0xee));
            let (b2, b3) = (_mm256_shuffle_ps(a1, a3, 0x44), _mm256_shuffle_ps(a1, a3, 0xee));
            let (b4, b5) = (_mm256_shuffle_ps(a4, a6, 0x44), _mm256_shuffle_ps(a4, a6, 0xee));
            let (b6, b7) = (_mm256_shuffle_ps(a5, a7, 0x44), _mm256_shuffle_ps(a5, a7, 0xee));
            let columns = [
                _mm256_permute2f128_ps(b0, b4, 0x20),
                _mm256_permute2f128_ps(b1, b5, 0x20),
                _mm256_permute2f128_ps(b2, b6, 0x20),
                _mm256_permute2f128_ps(b3, b7, 0x20),
                _mm256_permute2f128_ps(b0, b4, 0x31),
                _mm256_permute2f128_ps(b1, b5, 0x31),
                _mm256_permute2f128_ps(b2, b6, 0x31),
                _mm256_permute2f128_ps(b3, b7, 0x31),
            ];
            for (i, column) in columns.into_iter().enumerate() {
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
