//! Multiply packed panels: the inner loops of [`crate::gemm()`], one file per instruction set.
//!
//! Every kernel computes, for a tile of outputs, chains `acc = fma(a[k], b[k], acc)` of at most [`BLOCK`] steps
//! in ascending order of k, and joins the chains in order. Tiles differ in size, not in what an output goes
//! through. The tile's values between two chains stay in registers or in the first cache.
//!
//! Panel layout: A holds `rows` values for each k, B holds `b_stride` values for each k.
#![allow(unsafe_code)] // Vector intrinsics and raw tile pointers; the caller in `gemm` bounds every tile.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod portable;
#[cfg(target_arch = "x86_64")]
mod stream;

pub(crate) use pack::{pack, transpose};

use crate::{gemm::BLOCK, isa::Isa};

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
    /// Whether the first chain is added onto C or replaces it; later chains are always added.
    pub(crate) add: bool,
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
/// `rows`, `cols` and `depth` are not zero; `rows` and `cols` are within [`tile_size`].
pub(crate) unsafe fn multiply(isa: Isa, tile: Tile) {
    // SAFETY: as promised by the caller; `tile.rows` selects the instance with that many rows.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::multiply(tile),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::multiply(tile),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => neon::multiply(tile),
            _ => portable::multiply(tile),
        }
    }
}

/// Most rows that [`multiply_stream`] takes.
pub(crate) const MAX_STREAM_ROWS: usize = 4;
/// Most columns of a tile of [`multiply_stream`].
pub(crate) const STREAM_COLS: usize = 16;

/// Whether there is a [`multiply_stream`] for `isa`.
pub(crate) fn has_stream(isa: Isa) -> bool {
    matches!(isa, Isa::Avx2 | Isa::Avx512)
}

/// Computes one tile of few rows whose columns of B are contiguous: `b_stride` is the distance from one column to
/// the next, and consecutive steps of k are neighbours.
///
/// # Safety
/// The CPU has `isa`, and [`has_stream`] is true of it. `a` holds depth * rows values. `b` is readable at each of
/// `cols` columns for `depth` values. `c` is writable for rows by cols outputs. `rows`, `cols` and `depth` are not
/// zero; rows <= [`MAX_STREAM_ROWS`] and cols <= [`STREAM_COLS`].
#[cfg_attr(not(target_arch = "x86_64"), allow(unused_unsafe))] // No kernel to call there.
pub(crate) unsafe fn multiply_stream(isa: Isa, tile: Tile) {
    // SAFETY: as promised by the caller.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => stream::avx512(tile),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => stream::avx2(tile),
            _ => unreachable!("no streaming kernel for {} rows on {isa:?}", tile.rows),
        }
    }
}

/// How the values of a finished chain are joined to the tile.
#[derive(Clone, Copy)]
struct Chain {
    /// The first chain of the tile: it replaces C, or is added onto C where the tile says so.
    first: bool,
    /// The last chain of the tile: the result goes to C.
    last: bool,
}

/// Calls `chain(start, steps, which)` for each chain of a tile of `depth` steps, in order.
#[inline(always)]
fn chains(depth: usize, mut chain: impl FnMut(usize, usize, Chain)) {
    let mut start = 0;
    while start < depth {
        let steps = BLOCK.min(depth - start);
        chain(start, steps, Chain { first: start == 0, last: start + steps == depth });
        start += steps;
    }
}
