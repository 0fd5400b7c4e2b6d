//! Multiply tiles of up to 12 x 32 outputs with AVX-512.
//!
//! 24 accumulators, two vectors of B and a broadcast of A fill the 32 registers; two multiply-adds start for each
//! load of A, so the loads hide behind them.

use super::{Tile, chains};
use std::arch::x86_64::*;

/// # Safety
/// As for [`super::multiply`], on a CPU with AVX-512 F.
pub(super) unsafe fn multiply(tile: Tile) {
    // SAFETY: as promised by the caller; `tile.rows` selects the instance with that many rows.
    unsafe {
        match tile.rows {
            1 => rows::<1>(tile),
            2 => rows::<2>(tile),
            3 => rows::<3>(tile),
            4 => rows::<4>(tile),
            5 => rows::<5>(tile),
            6 => rows::<6>(tile),
            7 => rows::<7>(tile),
            8 => rows::<8>(tile),
            9 => rows::<9>(tile),
            10 => rows::<10>(tile),
            11 => rows::<11>(tile),
            _ => rows::<12>(tile),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn rows<const ROWS: usize>(tile: Tile) {
    // The tile of C is needed at the end: fetched now, its lines arrive while the chains run.
    for row in 0..ROWS {
        let c = tile.c.wrapping_add(row * tile.c_stride).cast::<i8>();
        _mm_prefetch::<_MM_HINT_ET0>(c);
        _mm_prefetch::<_MM_HINT_ET0>(c.wrapping_add(4 * (tile.cols - 1)));
    }
    let masks = [tile.cols.min(16), tile.cols.saturating_sub(16)].map(|live| ((1u32 << live) - 1) as u16);
    let mut held = [[_mm512_setzero_ps(); 2]; ROWS];
    chains(tile.depth, |start, steps, which| {
        let mut acc = [[_mm512_setzero_ps(); 2]; ROWS];
        // SAFETY: see `multiply`; masked lanes are not touched in memory.
        unsafe {
            let (mut a, mut b) = (tile.a.add(start * ROWS), tile.b.add(start * tile.b_stride));
            for _ in 0..steps {
                if ROWS <= 2 {
                    // Few rows read B in place, in steps too long for the processor to foresee.
                    let ahead = b.wrapping_add(16 * tile.b_stride);
                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(16).cast());
                }
                let (b0, b1) = (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16)));
                for (row, acc) in acc.iter_mut().enumerate() {
                    let a = _mm512_set1_ps(*a.add(row));
                    acc[0] = _mm512_fmadd_ps(a, b0, acc[0]);
                    acc[1] = _mm512_fmadd_ps(a, b1, acc[1]);
                }
                a = a.add(ROWS);
                b = b.add(tile.b_stride);
            }
            for (row, (acc, held)) in acc.iter().zip(&mut held).enumerate() {
                for half in 0..2 {
                    let c = tile.c.wrapping_add(row * tile.c_stride + 16 * half);
                    let value = match (which.first, tile.add) {
                        (true, false) => acc[half],
                        (true, true) => _mm512_add_ps(_mm512_maskz_loadu_ps(masks[half], c), acc[half]),
                        (false, _) => _mm512_add_ps(held[half], acc[half]),
                    };
                    if which.last {
                        _mm512_mask_storeu_ps(c, masks[half], value);
                    } else {
                        held[half] = value;
                    }
                }
            }
        }
    });
}
