//! Add gradients as integers, so that their order does not matter.
//!
//! A gradient g is rounded once to the grid of multiples of 2^exponent: n = g / 2^exponent, clamped to
//! +-(2^31 - 1), rounded to the nearest integer, ties to even. The division is exact, because it is done in
//! f64 by a power of two, so there is one rounding: n is off by at most half a step where it is not clamped. Integers
//! are added in i64, exactly. Empty vectors are allowed.
//!
//! A sum may not exceed 2^62 before a value is added or subtracted: then i64 cannot overflow, and adding and
//! subtracting are exact inverses. Fewer than 2^31 gradients never reach that bound.
//!
//! Back: x = ((n as f32) * 2^exponent) * scale, where `n as f32` rounds to nearest even, the power of two is
//! exact, and each product rounds once: where nothing is subnormal, x is off by at most 2 * 2^-24 relative.

use crate::{
    elementwise::{Finite, LEAST},
    error::{ArithError, length},
    isa::{Isa, isa},
    lanes::{Fused, Kernel, dispatch},
    parallel,
};
use std::sync::atomic::{AtomicUsize, Ordering};

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
            // Wrapping only in name: both terms are bounded.
            *sum = if self.subtract { sum.wrapping_sub(n) } else { sum.wrapping_add(n) };
        }
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

/// Values checked and then added while they are still in the first cache.
const CHECKED: usize = 1 << 11;

/// One thread's part of a sum.
struct Piece<'a> {
    g: &'a [f32],
    sum: &'a mut [i64],
    /// Values added, a multiple of [`CHECKED`] or all of them.
    done: usize,
    /// Index within the piece of what stopped it, and whether that is a value or its sum.
    refused: Option<(usize, bool)>,
}

impl Piece<'_> {
    /// Rounds and adds block by block, and stops before the first block that holds a value or sum that must be
    /// refused.
    fn add(&mut self, isa: Isa, step: f64, subtract: bool) {
        for (g, sum) in self.g.chunks(CHECKED).zip(self.sum.chunks_mut(CHECKED)) {
            if !dispatch(isa, Finite(g)) {
                let index = g.iter().position(|x| !x.is_finite()).unwrap_or(0);
                self.refused = Some((self.done + index, true));
                return;
            }
            if !dispatch(isa, Bounded(sum)) {
                let index = sum.iter().position(|n| !(-MAX_SUM..=MAX_SUM).contains(n)).unwrap_or(0);
                self.refused = Some((self.done + index, false));
                return;
            }
            dispatch(isa, Quantise { g, step, sum, subtract });
            self.done += g.len();
        }
    }

    /// Takes away what [`Piece::add`] added: the same integers, so exactly.
    fn undo(&mut self, isa: Isa, step: f64, subtract: bool) {
        let (g, sum) = (&self.g[..self.done], &mut self.sum[..self.done]);
        dispatch(isa, Quantise { g, step, sum, subtract: !subtract });
    }
}

/// One pass over memory: a block is checked and added while it is near. When a block is refused, what was
/// added before it is taken away again.
fn quantise(
    operation: &'static str,
    g: &[f32],
    exponent: i32,
    sum: &mut [i64],
    subtract: bool,
) -> Result<(), ArithError> {
    length(operation, "sum", sum.len(), g.len())?;
    check_exponent(operation, exponent)?;
    let step = f64::from_bits(((1023 - exponent) as u64) << 52);
    let (isa, share) = (isa(), parallel::share(g.len(), LEAST));
    let error = |(index, value): (usize, bool)| match value {
        true => ArithError::NonFinite { operation, index },
        false => ArithError::Overflow { operation, index },
    };
    if g.len() <= share {
        let mut piece = Piece { g, sum, done: 0, refused: None };
        piece.add(isa, step, subtract);
        return piece.refused.map_or(Ok(()), |refused| {
            piece.undo(isa, step, subtract);
            Err(error(refused))
        });
    }
    let mut pieces: Vec<Piece> = g
        .chunks(share)
        .zip(sum.chunks_mut(share))
        .map(|(g, sum)| Piece { g, sum, done: 0, refused: None })
        .collect();
    parallel::each(pieces.iter_mut().collect(), |piece| piece.add(isa, step, subtract));
    let first = pieces
        .iter()
        .enumerate()
        .find_map(|(at, piece)| piece.refused.map(|(index, value)| (at * share + index, value)));
    first.map_or(Ok(()), |refused| {
        pieces.iter_mut().for_each(|piece| piece.undo(isa, step, subtract));
        Err(error(refused))
    })
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

struct Merged<'a>(&'a [i64], &'a [i64]);
impl Kernel for Merged<'_> {
    type Output = bool;
    #[inline(always)]
    fn run<F: Fused>(self) -> bool {
        let bounds = -MAX_SUM..=MAX_SUM;
        let refused = |a: &i64, b: &i64| {
            // 2^62 + 2^62 = 2^63 is one too many.
            !bounds.contains(a) | !bounds.contains(b) | ((*a == MAX_SUM) & (*b == MAX_SUM))
        };
        self.0.iter().zip(self.1).fold(0, |bad, (a, b)| bad | u32::from(refused(a, b))) == 0
    }
}

struct Merge<'a>(&'a mut [i64], &'a [i64]);
impl Kernel for Merge<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        for (a, b) in self.0.iter_mut().zip(self.1) {
            *a = a.wrapping_add(*b);
        }
    }
}

/// Adds the sum `other` onto `sum`; both must be within +-2^62.
/// On an error `sum` is unchanged.
pub fn merge(sum: &mut [i64], other: &[i64]) -> Result<(), ArithError> {
    const NAME: &str = "merge";
    length(NAME, "other", other.len(), sum.len())?;
    let (isa, share) = (isa(), parallel::share(sum.len(), LEAST));
    let refused = AtomicUsize::new(usize::MAX);
    parallel::each(sum.chunks(share).zip(other.chunks(share)).enumerate().collect(), |(at, (sum, other))| {
        if !dispatch(isa, Merged(sum, other)) {
            refused.fetch_min(at, Ordering::Relaxed);
        }
    });
    if refused.into_inner() < usize::MAX {
        check_sum(NAME, sum)?;
        check_sum(NAME, other)?;
        let index = sum.iter().zip(other).position(|(a, b)| a.checked_add(*b).is_none()).unwrap_or(0);
        return Err(ArithError::Overflow { operation: NAME, index });
    }
    parallel::each(sum.chunks_mut(share).zip(other.chunks(share)).collect(), |(sum, other)| {
        dispatch(isa, Merge(sum, other));
    });
    Ok(())
}

struct Greatest<'a>(&'a [i64]);
impl Kernel for Greatest<'_> {
    type Output = u64;
    #[inline(always)]
    fn run<F: Fused>(self) -> u64 {
        self.0
            .iter()
            .fold(0, |greatest, n| if n.unsigned_abs() > greatest { n.unsigned_abs() } else { greatest })
    }
}

/// Returns the greatest magnitude in `sum`; 0 if it is empty.
pub fn greatest(sum: &[i64]) -> u64 {
    dispatch(isa(), Greatest(sum))
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
    let (isa, share) = (isa(), parallel::share(sum.len(), LEAST));
    parallel::each(sum.chunks(share).zip(out.chunks_mut(share)).collect(), |(sum, out)| {
        dispatch(isa, Dequantise(sum, step, scale, out));
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::with_threads;

    /// What is refused must leave no trace, wherever it stands and however the work was cut.
    #[test]
    fn a_refused_gradient_changes_nothing() {
        let len = 3 * LEAST + 11;
        let g: Vec<f32> = (0..len).map(|i| (i % 97) as f32 * 0.37 - 9.0).collect();
        let start: Vec<i64> = (0..len as i64).map(|i| i * 1_000_003 - 7).collect();
        let mut expected = start.clone();
        quantise_add(&g, -20, &mut expected).unwrap();
        for threads in [1, 2, 5] {
            with_threads(threads, || {
                let mut sum = start.clone();
                quantise_add(&g, -20, &mut sum).unwrap();
                assert!(sum == expected, "{threads} threads");
                quantise_sub(&g, -20, &mut sum).unwrap();
                assert!(sum == start, "{threads} threads");
                for at in [0, CHECKED - 1, CHECKED, LEAST + 1, len - 1] {
                    let mut poisoned = g.clone();
                    poisoned[at] = f32::NAN;
                    let refused = quantise_add(&poisoned, -20, &mut sum);
                    let expected = ArithError::NonFinite { operation: "quantise_add", index: at };
                    assert_eq!(refused, Err(expected), "{threads} threads");
                    assert!(sum == start, "a NaN at {at} left a trace, {threads} threads");
                    let mut full = start.clone();
                    full[at] = -MAX_SUM - 1;
                    let before = full.clone();
                    let refused = quantise_sub(&g, -20, &mut full);
                    let expected = ArithError::Overflow { operation: "quantise_sub", index: at };
                    assert_eq!(refused, Err(expected), "{threads} threads");
                    assert!(full == before, "an overflow at {at} left a trace, {threads} threads");
                }
            });
        }
    }

    #[test]
    fn sums_merge_alike_in_pieces_and_refuse_what_overflows() {
        let len = 2 * LEAST + 3;
        let (a, b): (Vec<i64>, Vec<i64>) = (0..len as i64).map(|i| (i * 7919 - 3, i * -104_729)).unzip();
        let expected: Vec<i64> = a.iter().zip(&b).map(|(a, b)| a + b).collect();
        for threads in [1, 3] {
            with_threads(threads, || {
                let mut sum = a.clone();
                merge(&mut sum, &b).unwrap();
                assert!(sum == expected, "{threads} threads");
                for (mine, other) in [(MAX_SUM, MAX_SUM), (MAX_SUM + 1, 0), (0, -MAX_SUM - 1)] {
                    let (mut sum, mut more) = (a.clone(), b.clone());
                    (sum[len - 2], more[len - 2]) = (mine, other);
                    let before = sum.clone();
                    let expected = ArithError::Overflow { operation: "merge", index: len - 2 };
                    assert_eq!(merge(&mut sum, &more), Err(expected));
                    assert!(sum == before);
                }
            });
        }
        let mut lowest = [-MAX_SUM];
        merge(&mut lowest, &[-MAX_SUM]).unwrap();
        assert_eq!(lowest, [i64::MIN], "-2^63 is still an i64");
        assert_eq!((greatest(&[]), greatest(&[3, -9, i64::MIN])), (0, 1 << 63));
    }
}
