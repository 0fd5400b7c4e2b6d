//! Rotate queries and keys by their position (RoPE, Su et al. 2021), pairing the halves of a head.
//!
//! Element i of the first half of a head is paired with element i of the second, as in the published Llama
//! weights. The table is computed in f64 with the crate `libm` (pure Rust, so the same everywhere):
//! angle = position * pow(theta, -(2 i) / head_dim); cos and sin of it are rounded once to f32.
//!
//! Rotating (a, b): a' = fma(a, cos, -(b * sin)), b' = fma(b, cos, a * sin). Rotating back:
//! a' = fma(a, cos, b * sin), b' = fma(b, cos, -(a * sin)). With the table taken as given, the error is
//! below 3 * 2^-24 * |(a, b)|.

use crate::{
    error::{ArithError, length, positive},
    isa::isa,
    lanes::{Fused, Kernel, dispatch},
    parallel,
};

/// Cosines and sines for positions 0..positions, [positions, head_dim / 2] each.
#[derive(Debug, Clone)]
pub struct RopeTable {
    head_dim: usize,
    positions: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl RopeTable {
    /// Computes the table for `positions` from 1 to 2^32. `head_dim` must be even and not zero, `theta` positive and
    /// finite.
    pub fn new(positions: usize, head_dim: usize, theta: f64) -> Result<RopeTable, ArithError> {
        let parameter = |argument, got, allowed| {
            Err(ArithError::Parameter { operation: "rope table", argument, got, allowed })
        };
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            return parameter("head_dim", head_dim as i64, "even numbers from 2");
        }
        // Positions are u32.
        if positions == 0 || positions as u64 > 1 << 32 {
            return parameter("positions", i64::try_from(positions).unwrap_or(i64::MAX), "1..=2^32");
        }
        if !(theta > 0.0 && theta.is_finite()) {
            return Err(ArithError::Number {
                operation: "rope table",
                argument: "theta",
                got: theta.to_string(),
                allowed: "positive finite numbers",
            });
        }
        let half = head_dim / 2;
        let frequencies: Vec<f64> =
            (0..half).map(|i| libm::pow(theta, -((2 * i) as f64) / head_dim as f64)).collect();
        let angles = || (0..positions).flat_map(|p| frequencies.iter().map(move |f| p as f64 * f));
        let cos = angles().map(|angle| libm::cos(angle) as f32).collect();
        let sin = angles().map(|angle| libm::sin(angle) as f32).collect();
        Ok(RopeTable { head_dim, positions, cos, sin })
    }

    /// How many positions the table covers.
    pub fn positions(&self) -> usize {
        self.positions
    }

    /// Cosines [positions, head_dim / 2].
    pub fn cosines(&self) -> &[f32] {
        &self.cos
    }

    /// Sines [positions, head_dim / 2].
    pub fn sines(&self) -> &[f32] {
        &self.sin
    }

    /// The width of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }
}

struct Rotate<'a> {
    x: &'a mut [f32],
    heads: usize,
    positions: &'a [u32],
    table: &'a RopeTable,
    back: bool,
}

impl Kernel for Rotate<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let half = self.table.head_dim / 2;
        let rows = self.x.chunks_exact_mut(self.heads * self.table.head_dim).zip(self.positions);
        for (row, position) in rows {
            let at = *position as usize * half;
            let (cos, sin) = (&self.table.cos[at..at + half], &self.table.sin[at..at + half]);
            for head in row.chunks_exact_mut(self.table.head_dim) {
                let (first, second) = head.split_at_mut(half);
                for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                    // Negation is exact, so one form serves both directions.
                    let sin = if self.back { -sin } else { *sin };
                    let (old_a, old_b) = (*a, *b);
                    *a = F::fma(old_a, *cos, -(old_b * sin));
                    *b = F::fma(old_b, *cos, old_a * sin);
                }
            }
        }
    }
}

fn turn(
    x: &mut [f32],
    heads: usize,
    positions: &[u32],
    table: &RopeTable,
    back: bool,
) -> Result<(), ArithError> {
    let operation = if back { "rotate_back" } else { "rotate" };
    positive(operation, "heads", heads)?;
    positive(operation, "rows", positions.len())?;
    length(operation, "x", x.len(), positions.len().saturating_mul(heads).saturating_mul(table.head_dim))?;
    if let Some(&position) = positions.iter().find(|p| **p as usize >= table.positions) {
        return Err(ArithError::Parameter {
            operation,
            argument: "position",
            got: i64::from(position),
            allowed: "the positions of the table",
        });
    }
    let (isa, share) = (isa(), parallel::share(positions.len(), 16));
    let pieces = x.chunks_mut(share * heads * table.head_dim).zip(positions.chunks(share)).collect();
    parallel::each(pieces, |(x, positions)| dispatch(isa, Rotate { x, heads, positions, table, back }));
    Ok(())
}

/// Rotates each row of `x` [rows, heads * head_dim] by its position; `positions` has one entry per row.
pub fn rotate(x: &mut [f32], heads: usize, positions: &[u32], table: &RopeTable) -> Result<(), ArithError> {
    turn(x, heads, positions, table, false)
}

/// Undoes [`rotate`] up to rounding; it is also its gradient.
pub fn rotate_back(
    x: &mut [f32],
    heads: usize,
    positions: &[u32],
    table: &RopeTable,
) -> Result<(), ArithError> {
    turn(x, heads, positions, table, true)
}
