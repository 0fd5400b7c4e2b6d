//! Multiply tiles of up to 4 x 16 outputs in plain Rust, and join the chains of tiles with odd widths.

use super::{Chain, Tile, chains};
use crate::lanes::{Baseline, Fused};

const WIDTH: usize = 16;

/// # Safety
/// As for [`super::multiply`].
pub(super) unsafe fn multiply(tile: Tile) {
    // SAFETY: as promised by the caller; `tile.rows` selects the instance with that many rows.
    unsafe {
        match tile.rows {
            1 => rows::<Baseline, 1>(tile),
            2 => rows::<Baseline, 2>(tile),
            3 => rows::<Baseline, 3>(tile),
            _ => rows::<Baseline, 4>(tile),
        }
    }
}

#[inline(always)]
unsafe fn rows<F: Fused, const ROWS: usize>(tile: Tile) {
    let mut held = [[0.0f32; WIDTH]; ROWS];
    chains(tile.depth, |start, steps, which| {
        let mut acc = [[0.0f32; WIDTH]; ROWS];
        // SAFETY: see `multiply`.
        unsafe {
            for k in start..start + steps {
                let b = &*tile.b.add(k * tile.b_stride).cast::<[f32; WIDTH]>();
                let a = &*tile.a.add(k * ROWS).cast::<[f32; ROWS]>();
                for (acc, a) in acc.iter_mut().zip(a) {
                    for (acc, b) in acc.iter_mut().zip(b) {
                        *acc = F::fma(*a, *b, *acc);
                    }
                }
            }
            join(tile, which, WIDTH, acc.as_ptr().cast(), held.as_mut_ptr().cast());
        }
    });
}

/// Joins a finished chain to the tile, value by value; rows of `acc` and `held` are `stride` long.
///
/// # Safety
/// The tile is as [`super::multiply`] wants it; `acc` is readable and `held` writable for its rows and columns.
#[inline(always)]
pub(super) unsafe fn join(tile: Tile, which: Chain, stride: usize, acc: *const f32, held: *mut f32) {
    // SAFETY: promised by the caller.
    unsafe {
        for row in 0..tile.rows {
            for col in 0..tile.cols {
                let c = tile.c.add(row * tile.c_stride + col);
                let (acc, held) = (*acc.add(row * stride + col), held.add(row * stride + col));
                let value = match (which.first, tile.add) {
                    (true, false) => acc,
                    (true, true) => *c + acc,
                    (false, _) => *held + acc,
                };
                *(if which.last { c } else { held }) = value;
            }
        }
    }
}
