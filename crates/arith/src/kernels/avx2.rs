//! Multiply tiles of up to 6 x 16 outputs with AVX2 and FMA.
//!
//! 12 accumulators, two vectors of B and a broadcast of A fill 15 of the 16 registers.

use super::{Tile, chains, portable::join};
use std::arch::x86_64::*;

const WIDTH: usize = 16;

/// # Safety
/// As for [`super::multiply`], on a CPU with AVX2 and FMA.
pub(super) unsafe fn multiply(tile: Tile) {
    // SAFETY: as promised by the caller; `tile.rows` selects the instance with that many rows.
    unsafe {
        match tile.rows {
            1 => rows::<1>(tile),
            2 => rows::<2>(tile),
            3 => rows::<3>(tile),
            4 => rows::<4>(tile),
            5 => rows::<5>(tile),
            _ => rows::<6>(tile),
        }
    }
}

#[target_feature(enable = "avx2,fma")]
unsafe fn rows<const ROWS: usize>(tile: Tile) {
    // The tile of C is needed at the end: fetched now, its lines arrive while the chains run.
    for row in 0..ROWS {
        let c = tile.c.wrapping_add(row * tile.c_stride).cast::<i8>();
        _mm_prefetch::<_MM_HINT_ET0>(c);
        _mm_prefetch::<_MM_HINT_ET0>(c.wrapping_add(4 * (tile.cols - 1)));
    }
    let mut held = [[_mm256_setzero_ps(); 2]; ROWS];
    chains(tile.depth, |start, steps, which| {
        let mut acc = [[_mm256_setzero_ps(); 2]; ROWS];
        // SAFETY: see `multiply`; a narrow tile goes through `join`, which touches its columns only.
        unsafe {
            let (mut a, mut b) = (tile.a.add(start * ROWS), tile.b.add(start * tile.b_stride));
            for _ in 0..steps {
                let (b0, b1) = (_mm256_loadu_ps(b), _mm256_loadu_ps(b.add(8)));
                for (row, acc) in acc.iter_mut().enumerate() {
                    let a = _mm256_set1_ps(*a.add(row));
                    acc[0] = _mm256_fmadd_ps(a, b0, acc[0]);
                    acc[1] = _mm256_fmadd_ps(a, b1, acc[1]);
                }
                a = a.add(ROWS);
                b = b.add(tile.b_stride);
            }
            if tile.cols < WIDTH {
                return join(tile, which, WIDTH, acc.as_ptr().cast(), held.as_mut_ptr().cast());
            }
            for (row, (acc, held)) in acc.iter().zip(&mut held).enumerate() {
                for half in 0..2 {
                    let c = tile.c.add(row * tile.c_stride + 8 * half);
                    let value = match (which.first, tile.add) {
                        (true, false) => acc[half],
                        (true, true) => _mm256_add_ps(_mm256_loadu_ps(c), acc[half]),
                        (false, _) => _mm256_add_ps(held[half], acc[half]),
                    };
                    if which.last {
                        _mm256_storeu_ps(c, value);
                    } else {
                        held[half] = value;
                    }
                }
            }
        }
    });
}
