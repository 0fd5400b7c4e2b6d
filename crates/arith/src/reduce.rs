//! Reduce a vector to one number in an order that is fixed for every machine.
//!
//! Sixteen virtual lanes start at +0 (at the first element for [`max`]); element i goes to lane i mod 16, in
//! ascending order of i; then lane l gains lane l + h for h = 8, 4, 2, 1. With n elements the error of a sum is
//! below (n / 16 + 5) * 2^-24 times the sum of the magnitudes of its terms. Empty vectors are allowed.
//!
//! | function | step of a lane |
//! |---|---|
//! | [`sum`] | `lane + x` |
//! | [`sum_squares`] | `fma(x, x, lane)` |
//! | [`dot`] | `fma(x, y, lane)` |
//! | [`max`] | `if x > lane { x } else { lane }`, lanes start at -infinity |

use crate::{
    error::{ArithError, length},
    isa::isa,
    lanes::{Fused, Kernel, LANES, dispatch, fold},
};

#[inline(always)]
pub(crate) fn sum_in(x: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += x;
    }
    fold(lanes, |a, b| a + b)
}

#[inline(always)]
pub(crate) fn dot_in<F: Fused>(x: &[f32], y: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((x, x_rest), (y, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for (x, y) in x.iter().zip(y) {
        for lane in 0..LANES {
            lanes[lane] = F::fma(x[lane], y[lane], lanes[lane]);
        }
    }
    for (lane, (x, y)) in lanes.iter_mut().zip(x_rest.iter().zip(y_rest)) {
        *lane = F::fma(*x, *y, *lane);
    }
    fold(lanes, |a, b| a + b)
}

/// `x` if it is larger than `lane`, else `lane`: a NaN in `x` is passed over.
#[inline(always)]
pub(crate) fn larger(x: f32, lane: f32) -> f32 {
    if x > lane { x } else { lane }
}

#[inline(always)]
pub(crate) fn max_in(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = larger(chunk[lane], lanes[lane]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = larger(*x, *lane);
    }
    fold(lanes, |a, b| larger(b, a))
}

struct Sum<'a>(&'a [f32]);
impl Kernel for Sum<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<F: Fused>(self) -> f32 {
        sum_in(self.0)
    }
}

struct Dot<'a>(&'a [f32], &'a [f32]);
impl Kernel for Dot<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<F: Fused>(self) -> f32 {
        dot_in::<F>(self.0, self.1)
    }
}

struct Max<'a>(&'a [f32]);
impl Kernel for Max<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<F: Fused>(self) -> f32 {
        max_in(self.0)
    }
}

/// Returns the sum of `x`; +0 if it is empty.
pub fn sum(x: &[f32]) -> f32 {
    dispatch(isa(), Sum(x))
}

/// Returns the sum of the squares of `x`; +0 if it is empty.
pub fn sum_squares(x: &[f32]) -> f32 {
    dispatch(isa(), Dot(x, x))
}

/// Returns the sum of the products of `x` and `y`, which must be equally long.
pub fn dot(x: &[f32], y: &[f32]) -> Result<f32, ArithError> {
    length("dot", "y", y.len(), x.len())?;
    Ok(dispatch(isa(), Dot(x, y)))
}

/// Returns the largest element of `x`, passing over NaN; -infinity if there is none.
pub fn max(x: &[f32]) -> f32 {
    dispatch(isa(), Max(x))
}
