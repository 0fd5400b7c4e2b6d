//! Compile one body of code for every instruction set.
//!
//! A [`Kernel`] is written once, without intrinsics; [`dispatch`] instantiates it under each set of target
//! features, so the instances cannot differ in meaning. The compiler may vectorise but never fuses,
//! reorders or approximates floating-point operations.
#![allow(unsafe_code)] // Calling a function compiled for a target feature is unsafe; `isa` has checked the CPU.

use crate::isa::Isa;

/// How many virtual lanes a sum has, on every machine.
pub(crate) const LANES: usize = 16;

/// A source of correctly rounded fused multiply-adds.
pub(crate) trait Fused {
    /// Returns a * b + c, rounded once.
    fn fma(a: f32, b: f32, c: f32) -> f32;
}

/// The target's own instruction.
pub(crate) struct Native;

impl Fused for Native {
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// Software, exact, for targets that are not known to have the instruction.
#[cfg_attr(any(target_feature = "fma", target_arch = "aarch64"), allow(dead_code))] // Then only tests use it.
pub(crate) struct Soft;

impl Fused for Soft {
    /// The product is exact in f64 (48 of 53 bits). Its sum with `c` is rounded to odd, using the exact
    /// rounding error (TwoSum, Knuth), so that rounding once more to f32 is correct: 53 >= 2 * 24 + 2
    /// (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        let product = f64::from(a) * f64::from(b);
        let c = f64::from(c);
        let sum = product + c;
        let part = sum - product;
        let error = (product - (sum - part)) + (c - part);
        let bits = sum.to_bits();
        // Written so that it is false when `error` is NaN: infinities and NaN pass through untouched.
        let inexact = error.abs() > 0.0;
        let step = if (error > 0.0) == (sum > 0.0) { 1 } else { u64::MAX };
        let odd = if inexact && bits & 1 == 0 { bits.wrapping_add(step) } else { bits };
        f64::from_bits(odd) as f32
    }
}

/// The fused multiply-add of [`Isa::Portable`].
#[cfg(any(target_feature = "fma", target_arch = "aarch64"))]
pub(crate) type Baseline = Native;
/// The fused multiply-add of [`Isa::Portable`].
#[cfg(not(any(target_feature = "fma", target_arch = "aarch64")))]
pub(crate) type Baseline = Soft;

/// A computation to be compiled for every instruction set. `run` must be `#[inline(always)]`.
pub(crate) trait Kernel {
    type Output;
    fn run<F: Fused>(self) -> Self::Output;
}

/// Runs `kernel` as compiled for `isa`, which must come from [`crate::isa()`].
#[inline]
pub(crate) fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    match isa {
        // NEON is what every aarch64 target is compiled for, so its instance is the portable one.
        Isa::Portable | Isa::Neon => kernel.run::<Baseline>(),
        // SAFETY: `isa` never exceeds what the CPU was found to have.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(kernel) },
        #[cfg(not(target_arch = "x86_64"))]
        Isa::Avx2 | Isa::Avx512 => kernel.run::<Baseline>(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Native>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Native>()
}

/// Folds 16 lanes into one value: lane l gains lane l + h for h = 8, 4, 2, 1.
#[inline(always)]
pub(crate) fn fold(mut lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] = join(lanes[lane], lanes[lane + half]);
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// glibc, musl and the instruction itself are all correctly rounded here.
    fn check(a: u32, b: u32, c: u32) {
        let (a, b, c) = (f32::from_bits(a), f32::from_bits(b), f32::from_bits(c));
        let (soft, native) = (Soft::fma(a, b, c), Native::fma(a, b, c));
        assert!(
            soft.to_bits() == native.to_bits() || (soft.is_nan() && native.is_nan()),
            "fma({a:e}, {b:e}, {c:e}): software {soft:e}, native {native:e}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200_000))]
        #[test]
        fn software_fma_is_exact_on_any_bits(a: u32, b: u32, c: u32) {
            check(a, b, c);
        }

        /// Nearly cancelling sums and results near the subnormal range: where double rounding would show.
        #[test]
        fn software_fma_is_exact_where_rounding_is_hard(
            a in 0x2000_0000u32..0x2020_0000, b in 0x1f80_0000u32..0x2080_0000, c in 0u32..0x0200_0000, flip: bool, ulps in -3i32..4,
        ) {
            check(a, b, c | u32::from(flip) << 31);
            let near = -(f32::from_bits(a) * f32::from_bits(b));
            check(a, b, near.to_bits().wrapping_add_signed(ulps));
        }
    }
}
