//! Multiply few rows by columns that are contiguous in memory, reading each column once.
//!
//! A decoding step multiplies one row by every weight matrix, so its time is that of reading the weights. Squares of
//! weights are transposed in registers: a vector then holds one step of k for 16 (or 8) outputs, and each output
//! goes through the same chain as anywhere else.

use super::{Tile, chains, portable::join};
use crate::kernels::{STREAM_COLS, pack::transposed8};
use std::arch::x86_64::*;

/// How far ahead of use the columns are fetched into the second cache, values: sixteen columns a power of two apart
/// would push each other out of the first.
const AHEAD: usize = 256;

/// # Safety
/// As for [`super::multiply_stream`], on a CPU with AVX-512 F.
pub(super) unsafe fn avx512(tile: Tile) {
    // SAFETY: as promised by the caller; `tile.rows` selects the instance with that many rows.
    unsafe {
        match tile.rows {
            1 => rows512::<1>(tile),
            2 => rows512::<2>(tile),
            3 => rows512::<3>(tile),
            _ => rows512::<4>(tile),
        }
    }
}

/// # Safety
/// As for [`super::multiply_stream`], on a CPU with AVX2 and FMA.
pub(super) unsafe fn avx2(tile: Tile) {
    // SAFETY: as promised by the caller; `tile.rows` selects the instance with that many rows.
    unsafe {
        match tile.rows {
            1 => rows256::<1>(tile),
            2 => rows256::<2>(tile),
            3 => rows256::<3>(tile),
            _ => rows256::<4>(tile),
        }
    }
}

/// How far from step `k` of a column lies what shall be fetched now: the same column further on, or at its end the
/// column in its place of a later tile.
#[inline(always)]
fn ahead(k: usize, tile: &Tile) -> usize {
    let next_tile = STREAM_COLS * tile.b_stride;
    if k + AHEAD < tile.depth {
        AHEAD
    } else if AHEAD < tile.depth {
        (next_tile + AHEAD).wrapping_sub(tile.depth)
    } else {
        AHEAD / tile.depth * next_tile
    }
}

/// Transposes a square of 16 x 16 values.
#[target_feature(enable = "avx512f")]
fn transpose16(r: [__m512; 16]) -> [__m512; 16] {
    let mut pairs = r;
    for i in 0..8 {
        pairs[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    // Row 4 i + j of `fours` holds, in its 128-bit part q, values 4 q + j of rows 4 i .. 4 i + 4.
    let mut fours = r;
    for i in 0..4 {
        for j in 0..2 {
            let (a, b) = (_mm512_castps_pd(pairs[4 * i + j]), _mm512_castps_pd(pairs[4 * i + 2 + j]));
            fours[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            fours[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    }
    let mut out = r;
    for j in 0..4 {
        let (a, b, c, d) = (fours[j], fours[4 + j], fours[8 + j], fours[12 + j]);
        let (ab_low, ab_high) = (_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
        let (cd_low, cd_high) = (_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
        out[j] = _mm512_shuffle_f32x4(ab_low, cd_low, 0x88);
        out[4 + j] = _mm512_shuffle_f32x4(ab_low, cd_low, 0xdd);
        out[8 + j] = _mm512_shuffle_f32x4(ab_high, cd_high, 0x88);
        out[12 + j] = _mm512_shuffle_f32x4(ab_high, cd_high, 0xdd);
    }
    out
}

/// Where the columns of a tile begin. Those that are not there are read as the last one; their outputs are not
/// written.
#[inline(always)]
fn columns(tile: &Tile) -> [*const f32; STREAM_COLS] {
    std::array::from_fn(|lane| tile.b.wrapping_add(lane.min(tile.cols - 1) * tile.b_stride))
}

/// Continues the chains of up to 16 columns by `steps` steps from `k`; `steps` is 16 if `WHOLE`. What lies `ahead`
/// of them is fetched.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn square<const ROWS: usize, const WHOLE: bool>(
    columns: &[*const f32; STREAM_COLS],
    a: *const f32,
    k: usize,
    (steps, ahead): (usize, usize),
    acc: &mut [__m512; ROWS],
) {
    let mask = ((1u32 << steps) - 1) as u16;
    let mut values = [_mm512_setzero_ps(); 16];
    // SAFETY: see `multiply_stream`; loads stay within `depth` values of a column, masked lanes are not touched.
    unsafe {
        for (values, column) in values.iter_mut().zip(columns) {
            let at = column.wrapping_add(k);
            _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(ahead).cast());
            *values = if WHOLE { _mm512_loadu_ps(at) } else { _mm512_maskz_loadu_ps(mask, at) };
        }
        let values = transpose16(values);
        for (step, b) in values.iter().enumerate() {
            if !WHOLE && step == steps {
                break;
            }
            let a = a.add((k + step) * ROWS);
            for (row, acc) in acc.iter_mut().enumerate() {
                *acc = _mm512_fmadd_ps(_mm512_set1_ps(*a.add(row)), *b, *acc);
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn rows512<const ROWS: usize>(tile: Tile) {
    let live = ((1u32 << tile.cols) - 1) as u16;
    let columns = columns(&tile);
    let mut held = [_mm512_setzero_ps(); ROWS];
    chains(tile.depth, |start, steps, which| {
        let mut acc = [_mm512_setzero_ps(); ROWS];
        // SAFETY: see `multiply_stream`.
        unsafe {
            // Whole cache lines, where the columns lie alike in them.
            let offset = tile.b.wrapping_add(start).addr() / 4 % 16;
            let (mut k, end) = (start, start + steps);
            if offset > 0 {
                let short = steps.min(16 - offset);
                square::<ROWS, false>(&columns, tile.a, k, (short, ahead(k, &tile)), &mut acc);
                k += short;
            }
            while k + 16 <= end {
                square::<ROWS, true>(&columns, tile.a, k, (16, ahead(k, &tile)), &mut acc);
                k += 16;
            }
            if k < end {
                square::<ROWS, false>(&columns, tile.a, k, (end - k, ahead(k, &tile)), &mut acc);
            }
            for (row, (acc, held)) in acc.iter().zip(&mut held).enumerate() {
                let c = tile.c.wrapping_add(row * tile.c_stride);
                let value = match (which.first, tile.add) {
                    (true, false) => *acc,
                    (true, true) => _mm512_add_ps(_mm512_maskz_loadu_ps(live, c), *acc),
                    (false, _) => _mm512_add_ps(*held, *acc),
                };
                if which.last {
                    _mm512_mask_storeu_ps(c, live, value);
                } else {
                    *held = value;
                }
            }
        }
    });
}

#[target_feature(enable = "avx2,fma")]
unsafe fn rows256<const ROWS: usize>(tile: Tile) {
    let columns = columns(&tile);
    let mut held = [[_mm256_setzero_ps(); 2]; ROWS];
    chains(tile.depth, |start, steps, which| {
        let mut acc = [[_mm256_setzero_ps(); 2]; ROWS];
        // SAFETY: see `multiply_stream`; loads stay within `depth` values of a column.
        unsafe {
            let whole = start + steps / 8 * 8;
            for k in (start..whole).step_by(8) {
                for half in 0..2 {
                    let mut square = [_mm256_setzero_ps(); 8];
                    let ahead = ahead(k, &tile);
                    for (lane, values) in square.iter_mut().enumerate() {
                        let at = columns[8 * half + lane].wrapping_add(k);
                        _mm_prefetch::<_MM_HINT_T1>(at.wrapping_add(ahead).cast());
                        *values = _mm256_loadu_ps(at);
                    }
                    for (step, b) in transposed8(square).iter().enumerate() {
                        let a = tile.a.add((k + step) * ROWS);
                        for (row, acc) in acc.iter_mut().enumerate() {
                            acc[half] = _mm256_fmadd_ps(_mm256_set1_ps(*a.add(row)), *b, acc[half]);
                        }
                    }
                }
            }
            for k in whole..start + steps {
                let values: [f32; STREAM_COLS] = std::array::from_fn(|lane| *columns[lane].add(k));
                for (row, acc) in acc.iter_mut().enumerate() {
                    let a = _mm256_set1_ps(*tile.a.add(k * ROWS + row));
                    for (half, acc) in acc.iter_mut().enumerate() {
                        *acc = _mm256_fmadd_ps(a, _mm256_loadu_ps(values.as_ptr().add(8 * half)), *acc);
                    }
                }
            }
            join(tile, which, STREAM_COLS, acc.as_ptr().cast(), held.as_mut_ptr().cast());
        }
    });
}
