//! Multiply and pack with NEON, the vectors that every 64-bit ARM processor has.
//!
//! It exists so that an ARM machine joins the exact tier at its own speed. A tile is 12 rows by 8 columns: 24
//! accumulators, three vectors of A and two of B fill 29 of the 32 registers, and 24 independent chains cover the
//! latency of the multiply-add on cores with four pipes. Eight columns divide the widths of models; rows, which
//! count tokens, may be any number, and each count up to 12 has its own instance.
//!
//! Tiles of other sizes and the layout of panels are the business of the parent module.

use super::{Tile, chains, portable::join};
use std::arch::aarch64::*;

/// Rows and columns of a full tile.
pub(super) const TILE: (usize, usize) = (12, 8);

/// How many values a vector holds.
const QUAD: usize = 4;

/// Computes one tile.
///
/// # Safety
/// As for [`super::multiply`], with [`TILE`] as the size of a tile.
#[target_feature(enable = "neon")]
pub(super) unsafe fn multiply(tile: Tile) {
    // SAFETY: promised by the caller; `tile.rows` selects the instance with that many rows.
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

#[target_feature(enable = "neon")]
unsafe fn rows<const ROWS: usize>(tile: Tile) {
    let mut held = [[0.0f32; TILE.1]; ROWS];
    chains(tile.depth, |start, steps, which| {
        let mut acc = [[vdupq_n_f32(0.0); 2]; ROWS];
        // SAFETY: see `multiply`. A panel of A has just `ROWS` values a step, so only whole vectors of it are loaded
        // as such, and the rows left are read one by one.
        unsafe {
            let (mut a, mut b) = (tile.a.add(start * ROWS), tile.b.add(start * tile.b_stride));
            for _ in 0..steps {
                let b_now = [vld1q_f32(b), vld1q_f32(b.add(QUAD))];
                let (quads, rest) = acc.as_chunks_mut::<QUAD>();
                for (quad, acc) in quads.iter_mut().enumerate() {
                    let a = vld1q_f32(a.add(QUAD * quad));
                    for (half, b) in b_now.into_iter().enumerate() {
                        acc[0][half] = vfmaq_laneq_f32::<0>(acc[0][half], b, a);
                        acc[1][half] = vfmaq_laneq_f32::<1>(acc[1][half], b, a);
                        acc[2][half] = vfmaq_laneq_f32::<2>(acc[2][half], b, a);
                        acc[3][half] = vfmaq_laneq_f32::<3>(acc[3][half], b, a);
                    }
                }
                for (row, acc) in rest.iter_mut().enumerate() {
                    let a = *a.add(ROWS / QUAD * QUAD + row);
                    acc[0] = vfmaq_n_f32(acc[0], b_now[0], a);
                    acc[1] = vfmaq_n_f32(acc[1], b_now[1], a);
                }
                a = a.add(ROWS);
                b = b.add(tile.b_stride);
            }
            if tile.cols < TILE.1 {
                // A buffer of its own, so that the accumulators of a full tile never leave their registers.
                let mut values = [[0.0; TILE.1]; ROWS];
                for (values, acc) in values.iter_mut().zip(acc) {
                    vst1q_f32(values.as_mut_ptr(), acc[0]);
                    vst1q_f32(values[QUAD..].as_mut_ptr(), acc[1]);
                }
                return join(tile, which, TILE.1, values.as_ptr().cast(), held.as_mut_ptr().cast());
            }
            for (row, (acc, held)) in acc.iter().zip(&mut held).enumerate() {
                for (half, acc) in acc.iter().enumerate() {
                    let c = tile.c.add(row * tile.c_stride + QUAD * half);
                    let held = held.as_mut_ptr().add(QUAD * half);
                    let value = match (which.first, tile.add) {
                        (true, false) => *acc,
                        (true, true) => vaddq_f32(vld1q_f32(c), *acc),
                        (false, _) => vaddq_f32(vld1q_f32(held), *acc),
                    };
                    vst1q_f32(if which.last { c } else { held }, value);
                }
            }
        }
    });
}

/// Copies `depth` steps of `lanes` values into a panel of `width` values a step, and tells whether it did: it is
/// for sources whose lanes or whose steps are contiguous. Lanes beyond `lanes` are not written.
///
/// # Safety
/// As for [`super::pack`].
#[target_feature(enable = "neon")]
pub(super) unsafe fn pack(
    panel: *mut f32,
    width: usize,
    source: *const f32,
    lanes: usize,
    lane_stride: usize,
    depth: usize,
    depth_stride: usize,
) -> bool {
    let whole = lanes / QUAD * QUAD;
    // SAFETY: every access is to a lane below `lanes` and a step below `depth`.
    unsafe {
        if lane_stride == 1 {
            for k in 0..depth {
                let (from, to) = (source.add(k * depth_stride), panel.add(k * width));
                for lane in (0..whole).step_by(QUAD) {
                    vst1q_f32(to.add(lane), vld1q_f32(from.add(lane)));
                }
                for lane in whole..lanes {
                    *to.add(lane) = *from.add(lane);
                }
            }
        } else if depth_stride == 1 {
            for lane in (0..whole).step_by(QUAD) {
                transpose(panel.add(lane), width, source.add(lane * lane_stride), lane_stride, depth);
            }
            for lane in whole..lanes {
                for k in 0..depth {
                    *panel.add(k * width + lane) = *source.add(lane * lane_stride + k);
                }
            }
        } else {
            return false;
        }
    }
    true
}

/// Transposes four contiguous rows of `depth` values into columns `width` apart.
#[target_feature(enable = "neon")]
unsafe fn transpose(panel: *mut f32, width: usize, source: *const f32, stride: usize, depth: usize) {
    let whole = depth / QUAD * QUAD;
    // SAFETY: see `pack`.
    unsafe {
        for k in (0..whole).step_by(QUAD) {
            let row = |i: usize| vld1q_f32(source.add(i * stride + k));
            let (r0, r1, r2, r3) = (row(0), row(1), row(2), row(3));
            // Pairs of rows first, then pairs of those, each pair of values moved as one of 64 bits.
            let (even_01, odd_01) = (pair(vtrn1q_f32(r0, r1)), pair(vtrn2q_f32(r0, r1)));
            let (even_23, odd_23) = (pair(vtrn1q_f32(r2, r3)), pair(vtrn2q_f32(r2, r3)));
            let columns = [
                vtrn1q_u64(even_01, even_23),
                vtrn1q_u64(odd_01, odd_23),
                vtrn2q_u64(even_01, even_23),
                vtrn2q_u64(odd_01, odd_23),
            ];
            for (i, column) in columns.into_iter().enumerate() {
                vst1q_f32(panel.add((k + i) * width), vreinterpretq_f32_u64(column));
            }
        }
        for k in whole..depth {
            for lane in 0..QUAD {
                *panel.add(k * width + lane) = *source.add(lane * stride + k);
            }
        }
    }
}

/// Two pairs of values.
#[target_feature(enable = "neon")]
fn pair(values: float32x4_t) -> uint64x2_t {
    vreinterpretq_u64_f32(values)
}
