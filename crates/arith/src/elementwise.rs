//! Add, scale and check vectors, one rounding per operation and element.
//!
//! x + y and x * factor as IEEE 754 defines them: off by at most 2^-24 of the result, or half the least subnormal
//! number. Elements do not interact, so threads take pieces of any size. Empty vectors are allowed.

use crate::{
    error::{ArithError, length},
    isa::isa,
    lanes::{Fused, Kernel, dispatch},
    parallel,
};
use std::sync::atomic::{AtomicBool, Ordering};

/// Fewer elements than this are not worth waking a thread.
pub(crate) const LEAST: usize = 1 << 15;

struct AddAssign<'a>(&'a mut [f32], &'a [f32]);
impl Kernel for AddAssign<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        for (x, y) in self.0.iter_mut().zip(self.1) {
            *x += y;
        }
    }
}

struct Add<'a>(&'a [f32], &'a [f32], &'a mut [f32]);
impl Kernel for Add<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        for ((x, y), out) in self.0.iter().zip(self.1).zip(self.2) {
            *out = x + y;
        }
    }
}

struct Scale<'a>(&'a mut [f32], f32);
impl Kernel for Scale<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        for x in self.0 {
            *x *= self.1;
        }
    }
}

/// Whether all values are finite.
pub(crate) struct Finite<'a>(pub(crate) &'a [f32]);
impl Kernel for Finite<'_> {
    type Output = bool;
    #[inline(always)]
    fn run<F: Fused>(self) -> bool {
        const EXPONENT: u32 = 0x7f80_0000;
        self.0.iter().fold(0, |bad, x| bad | u32::from(x.to_bits() & EXPONENT == EXPONENT)) == 0
    }
}

/// x = x + y.
pub fn add_assign(x: &mut [f32], y: &[f32]) -> Result<(), ArithError> {
    length("add_assign", "y", y.len(), x.len())?;
    let (isa, share) = (isa(), parallel::share(x.len(), LEAST));
    parallel::each(x.chunks_mut(share).zip(y.chunks(share)).collect(), |(x, y)| {
        dispatch(isa, AddAssign(x, y));
    });
    Ok(())
}

/// out = x + y.
pub fn add(x: &[f32], y: &[f32], out: &mut [f32]) -> Result<(), ArithError> {
    length("add", "y", y.len(), x.len())?;
    length("add", "out", out.len(), x.len())?;
    let (isa, share) = (isa(), parallel::share(x.len(), LEAST));
    let pieces = x.chunks(share).zip(y.chunks(share)).zip(out.chunks_mut(share)).collect();
    parallel::each(pieces, |((x, y), out)| dispatch(isa, Add(x, y, out)));
    Ok(())
}

/// x = x * factor.
pub fn scale(x: &mut [f32], factor: f32) {
    let (isa, share) = (isa(), parallel::share(x.len(), LEAST));
    parallel::each(x.chunks_mut(share).collect(), |x| dispatch(isa, Scale(x, factor)));
}

/// Returns whether no value is NaN or infinite.
pub fn finite(x: &[f32]) -> bool {
    let (isa, share) = (isa(), parallel::share(x.len(), LEAST));
    if x.len() <= share {
        return dispatch(isa, Finite(x));
    }
    let all = AtomicBool::new(true);
    parallel::each(x.chunks(share).collect(), |x| {
        if !dispatch(isa, Finite(x)) {
            all.store(false, Ordering::Relaxed);
        }
    });
    all.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, with_isa, with_threads};

    fn values(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f32::from_bits(state >> 2)
        };
        (0..len).map(|_| next()).collect()
    }

    #[test]
    fn pieces_and_instruction_sets_leave_no_trace() {
        let len = 3 * LEAST + 17;
        let (x, y) = (values(len, 1), values(len, 2));
        let sum: Vec<u32> = x.iter().zip(&y).map(|(x, y)| (x + y).to_bits()).collect();
        let scaled: Vec<u32> = x.iter().map(|x| (x * 0.3).to_bits()).collect();
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
        for isa in Isa::available() {
            for threads in [1, 3] {
                let run = || {
                    let (mut out, mut onto, mut factor) = (vec![0.0; len], x.clone(), x.clone());
                    add(&x, &y, &mut out).unwrap();
                    add_assign(&mut onto, &y).unwrap();
                    scale(&mut factor, 0.3);
                    (bits(&out), bits(&onto), bits(&factor))
                };
                let got = with_threads(threads, || with_isa(isa, run));
                assert!(got == (sum.clone(), sum.clone(), scaled.clone()), "{isa:?}, {threads} threads");
            }
        }
        assert!(add(&x, &y[1..], &mut vec![0.0; len]).is_err());
        assert!(add_assign(&mut values(len, 1), &y[1..]).is_err());
    }

    #[test]
    fn a_value_that_is_not_finite_is_found_anywhere() {
        let len = 2 * LEAST + 5;
        for threads in [1, 4] {
            with_threads(threads, || {
                assert!(finite(&[]) && finite(&[f32::MAX, -0.0, f32::MIN_POSITIVE / 2.0]));
                for at in [0, 15, LEAST, len - 1] {
                    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                        let mut x = vec![1.0; len];
                        x[at] = bad;
                        assert!(!finite(&x), "{bad} at {at}, {threads} threads");
                    }
                }
            });
        }
    }
}
