//! Add gradients as integers, so that their order does not matter.
//!
//! A gradient g is rounded once to the grid of multiples of 2^exponent: n = g / 2^exponent, clamped to
//! +-(2^31 - 1), rounded to the nearest integer, ties to even. The division is exact, because it is done in
//! f64 by a power of two, so there is one rounding. Integers are added in i64.
//!
//! A sum may not exceed 2^62 before a value is added or subtracted: then i64 cannot overflow, and adding and
//! subtracting are exact inverses. Fewer than 2^31 gradients never reach that bound.
//!
//! Back: x = ((n as f32) * 2^exponent) * scale, where `n as f32` rounds to nearest even, the power of two is
//! exact, and each product rounds once.

use crate::{
    error::{ArithError, length},
    isa::isa,
    lanes::{Fused, Kernel, dispatch},
};

/// The exponents a grid may have: 2^exponent is a normal f32.
pub const EXPONENTS: std::ops::RangeInclusive<i32> = -126..=127;

/// The largest number of grid steps a single gradient counts for.
pub const MAX_STEPS: i64 = (1 << 31) - 1;

/// The largest size of a sum that can still be added to.
pub const MAX_SUM: i64 = 1 << 62;

const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 * 2^52: adding it rounds to an integer.

struct Quantise<'a> {
    g: &'a [f32],
    step: f64,
    sum: &'a mut [i64],
    subtract: bool,
}

impl Kernel for Quantise<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let limit = MAX_STEPS as f64;
        for (sum, g) in self.sum.iter_mut().zip(self.g) {
            let n = f64::from(*g) * self.step;
            let n = if n > limit { limit } else { n };
            let n = if n < -limit { -limit } else { n };
            let n = ((n + ROUND).to_bits() as i64).wrapping_sub(ROUND.to_bits() as i64);
            // Wrapping only in name: `check` has bounded both terms.
            *sum = if self.subtract { sum.wrapping_sub(n) } else { sum.wrapping_add(n) };
        }
    }
}

struct Finite<'a>(&'a [f32]);
impl Kernel for Finite<'_> {
    type Output = bool;
    #[inline(always)]
    fn run<F: Fused>(self) -> bool {
        const EXPONENT: u32 = 0x7f80_0000;
        self.0.iter().fold(0, |bad, x| bad | u32::from(x.to_bits() & EXPONENT == EXPONENT)) == 0
    }
}

struct Bounded<'a>(&'a [i64]);
impl Kernel for Bounded<'_> {
    type Output = bool;
    #[inline(always)]
    fn run<F: Fused>(self) -> bool {
        self.0.iter().fold(0, |bad, n| bad | u32::from(!(-MAX_SUM..=MAX_SUM).contains(n))) == 0
    }
}

fn check_exponent(operation: &'static str, exponent: i32) -> Result<(), ArithError> {
    if EXPONENTS.contains(&exponent) {
        return Ok(());
    }
    let got = i64::from(exponent);
    Err(ArithError::Parameter { operation, argument: "exponent", got, allowed: "-126..=127" })
}

fn check_sum(operation: &'static str, sum: &[i64]) -> Result<(), ArithError> {
    if dispatch(isa(), Bounded(sum)) {
        return Ok(());
    }
    let index = sum.iter().position(|n| !(-MAX_SUM..=MAX_SUM).contains(n)).unwrap_or(0);
    Err(ArithError::Overflow { operation, index })
}

fn quantise(
    operation: &'static str,
    g: &[f32],
    exponent: i32,
    sum: &mut [i64],
    subtract: bool,
) -> Result<(), ArithError> {
    length(operation, "sum", sum.len(), g.len())?;
    check_exponent(operation, exponent)?;
    check_sum(operation, sum)?;
    if !dispatch(isa(), Finite(g)) {
        let index = g.iter().position(|x| !x.is_finite()).unwrap_or(0);
        return Err(ArithError::NonFinite { operation, index });
    }
    let step = f64::from_bits(((1023 - exponent) as u64) << 52);
    dispatch(isa(), Quantise { g, step, sum, subtract });
    Ok(())
}

/// Adds `g`, rounded to multiples of 2^`exponent`, onto `sum`, which counts those multiples.
/// On an error (sizes, exponent, a NaN or infinity, a sum beyond 2^62) `sum` is unchanged.
pub fn quantise_add(g: &[f32], exponent: i32, sum: &mut [i64]) -> Result<(), ArithError> {
    quantise("quantise_add", g, exponent, sum, false)
}

/// Takes away exactly what [`quantise_add`] with the same arguments added.
pub fn quantise_sub(g: &[f32], exponent: i32, sum: &mut [i64]) -> Result<(), ArithError> {
    quantise("quantise_sub", g, exponent, sum, true)
}

/// Adds the sum `other` onto `sum`; both must be within +-2^62.
pub fn merge(sum: &mut [i64], other: &[i64]) -> Result<(), ArithError> {
    length("merge", "other", other.len(), sum.len())?;
    check_sum("merge", sum)?;
    check_sum("merge", other)?;
    // 2^62 + 2^62 = 2^63 is one too many.
    match sum.iter().zip(other).position(|(a, b)| a.checked_add(*b).is_none()) {
        Some(index) => return Err(ArithError::Overflow { operation: "merge", index }),
        None => sum.iter_mut().zip(other).for_each(|(a, b)| *a += b),
    }
    Ok(())
}

struct Dequantise<'a>(&'a [i64], f32, f32, &'a mut [f32]);
impl Kernel for Dequantise<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let (step, scale) = (self.1, self.2);
        for (out, n) in self.3.iter_mut().zip(self.0) {
            *out = ((*n as f32) * step) * scale;
        }
    }
}

/// Sets `out` to `sum` * 2^`exponent` * `scale`.
pub fn dequantise(sum: &[i64], exponent: i32, scale: f32, out: &mut [f32]) -> Result<(), ArithError> {
    length("dequantise", "out", out.len(), sum.len())?;
    check_exponent("dequantise", exponent)?;
    let step = f32::from_bits(((127 + exponent) as u32) << 23);
    dispatch(isa(), Dequantise(sum, step, scale, out));
    Ok(())
}
