//! Elementary functions as fixed polynomials: no mathematics library, no approximate instructions.
//!
//! `exp(x)`, after Cephes `expf` (Moshier): with x clamped to [-105, 89],
//! n = fma(x, log2 e, 1.5 * 2^23) - 1.5 * 2^23, r = fma(n, -0.693359375, x), r = fma(n, 2.12194440e-4, r),
//! p = Horner by `fma` over the six coefficients of `EXP`, y = fma(p, r * r, r) + 1, and the result is
//! (y * 2^a) * 2^(n - a) with a = floor(n / 2). Overflow gives infinity, underflow a subnormal or zero.
//!
//! `log(x)`, after Cephes `logf`: subnormal x is first multiplied by 2^23; x = m * 2^e with m in
//! [sqrt 1/2, sqrt 2), f = m - 1, z = f * f, p = Horner by `fma` over the nine coefficients of `LOG`,
//! y = (f * z) * p, y = fma(e, -2.12194440e-4, y), y = fma(-0.5, z, y), result fma(e, 0.693359375, f + y).
//! log 0 is -infinity, the log of a negative number is NaN.
//!
//! `sigmoid(x)` = (e if x < 0, else 1) / (1 + e) with e = exp(-|x|); `silu(x)` = x * sigmoid(x);
//! `rsqrt(x)` = 1 / sqrt(x).
//! `softmax`: with m the largest element, e = exp(x - m), s the 16-lane sum of e, the result is e * (1 / s).
//!
//! Largest error against f64, in units in the last place of the result, found by the tests
//! (which fail above these bounds): exp 1, log 1, sigmoid 2.5, silu 3, rsqrt 1.5. Results below 2e-36 may be off
//! by a further 104 * 2^-149, because an exponential on the way to them is subnormal. Softmax of n values that
//! lie within a range D: relative error below (2 D + n / 16 + 11) * 2^-24, with the same exception.

use crate::{
    isa::isa,
    lanes::{Fused, Kernel, LANES, dispatch, fold},
    reduce::larger,
};

pub(crate) const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer.
pub(crate) const EXP: [f32; 6] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
pub(crate) const LOG: [f32; 9] = [
    7.037_683_6e-2,
    -1.151_461e-1,
    1.167_699_87e-1,
    -1.242_014_1e-1,
    1.424_932_3e-1,
    -1.666_805_8e-1,
    2.000_071_5e-1,
    -2.499_999_4e-1,
    3.333_333e-1,
];
pub(crate) const LN2_HIGH: f32 = 0.693_359_4;
pub(crate) const LN2_LOW: f32 = -2.121_944_4e-4;

#[inline(always)]
pub(crate) fn exp_in<F: Fused>(x: f32) -> f32 {
    // Comparisons with NaN are false, so NaN stays.
    let x = if x < -105.0 { -105.0 } else { x };
    let x = if x > 89.0 { 89.0 } else { x };
    let shifted = F::fma(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = F::fma(n, -LN2_HIGH, x);
    let r = F::fma(n, -LN2_LOW, r);
    let mut p = EXP[0];
    for coefficient in &EXP[1..] {
        p = F::fma(p, r, *coefficient);
    }
    let y = F::fma(p, r * r, r) + 1.0;
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    (y * power(half)) * power(n.wrapping_sub(half))
}

#[inline(always)]
pub(crate) fn log_in<F: Fused>(x: f32) -> f32 {
    let tiny = x < f32::MIN_POSITIVE;
    let scaled = if tiny { x * 8_388_608.0 } else { x };
    // Subtracting the bits of sqrt(1/2) makes the exponent field count from that point.
    let offset = scaled.to_bits().wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits());
    let exponent = (offset as i32) >> 23;
    let m = f32::from_bits((offset & 0x007f_ffff).wrapping_add(std::f32::consts::FRAC_1_SQRT_2.to_bits()));
    let e = exponent as f32 - if tiny { 23.0 } else { 0.0 };
    let f = m - 1.0;
    let z = f * f;
    let mut p = LOG[0];
    for coefficient in &LOG[1..] {
        p = F::fma(p, f, *coefficient);
    }
    let y = (f * z) * p;
    let y = F::fma(e, LN2_LOW, y);
    let y = F::fma(-0.5, z, y);
    let y = F::fma(e, LN2_HIGH, f + y);
    let y = if x < f32::INFINITY { y } else { x };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    if x < 0.0 { f32::NAN } else { y }
}

#[inline(always)]
pub(crate) fn sigmoid_in<F: Fused>(x: f32) -> f32 {
    // The exponential of a negative number cannot overflow.
    let e = exp_in::<F>(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

#[inline(always)]
pub(crate) fn silu_in<F: Fused>(x: f32) -> f32 {
    x * sigmoid_in::<F>(x)
}

#[inline(always)]
pub(crate) fn rsqrt_in<F: Fused>(x: f32) -> f32 {
    1.0 / x.sqrt()
}

/// Softmax of `scale * x`, in place: the passes of [`max_in`](crate::reduce) and of the 16-lane sum go along with those
/// that make their terms.
#[inline(always)]
pub(crate) fn softmax_in<F: Fused>(x: &mut [f32], scale: f32) {
    let (chunks, rest) = x.as_chunks_mut::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks.iter_mut() {
        for lane in 0..LANES {
            chunk[lane] *= scale;
            lanes[lane] = larger(chunk[lane], lanes[lane]);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest.iter_mut()) {
        *x *= scale;
        *lane = larger(*x, *lane);
    }
    let largest = fold(lanes, |a, b| larger(b, a));
    let mut lanes = [0.0; LANES];
    for chunk in chunks.iter_mut() {
        for lane in 0..LANES {
            chunk[lane] = exp_in::<F>(chunk[lane] - largest);
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest.iter_mut()) {
        *x = exp_in::<F>(*x - largest);
        *lane += *x;
    }
    let inverse = 1.0 / fold(lanes, |a, b| a + b);
    for x in x.iter_mut() {
        *x *= inverse;
    }
}

macro_rules! functions {
    ($($kernel:ident $one:ident $slice:ident $inner:ident $text:literal;)*) => {$(
        struct $kernel<'a>(&'a mut [f32]);
        impl Kernel for $kernel<'_> {
            type Output = ();
            #[inline(always)]
            fn run<F: Fused>(self) {
                for x in self.0 {
                    *x = $inner::<F>(*x);
                }
            }
        }

        #[doc = concat!("Returns ", $text, ".")]
        pub fn $one(x: f32) -> f32 {
            let mut x = [x];
            $slice(&mut x);
            x[0]
        }

        #[doc = concat!("Replaces each x by ", $text, ".")]
        pub fn $slice(x: &mut [f32]) {
            dispatch(isa(), $kernel(x));
        }
    )*};
}

functions! {
    Exp exp exp_slice exp_in "e to the power x";
    Log log log_slice log_in "the natural logarithm of x";
    Sigmoid sigmoid sigmoid_slice sigmoid_in "1 / (1 + exp(-x))";
    Silu silu silu_slice silu_in "x * sigmoid(x)";
    Rsqrt rsqrt rsqrt_slice rsqrt_in "1 / sqrt(x)";
}

struct Softmax<'a>(&'a mut [f32]);
impl Kernel for Softmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        softmax_in::<F>(self.0, 1.0);
    }
}

/// Replaces `x` by its softmax: positive numbers that sum to one.
pub fn softmax(x: &mut [f32]) {
    dispatch(isa(), Softmax(x));
}
