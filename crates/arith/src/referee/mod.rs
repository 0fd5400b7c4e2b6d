//! Judge a single operation on f32 bit patterns with integers only, as a ledger does in a dispute.
//!
//! Two parties that disagree about a result are led to one primitive step (see [`crate::trace`]); whoever
//! validates the ledger computes that step here and compares bits. No floating-point instruction is used, so
//! neither the processor, nor its rounding mode, nor a compiler has a say. Every function is total: any bits
//! give a result, and nothing panics.
//!
//! # What is computed
//! IEEE 754-2019 binary32, rounding to nearest with ties to even, subnormal numbers kept: [`fma`], [`add`],
//! [`sub`], [`mul`], [`div`], [`sqrt`], conversions from integers and to the gradient grid, and comparisons.
//! A NaN result is always [`NAN`]; sign and payload of a NaN are outside the promise of canon v1, so compare
//! results with [`same`], for which all NaNs are one value.
//!
//! # Why it is correct
//! A finite pattern is a sign and an integer m < 2^24 times 2^e, e >= -149.
//! Each operation forms its result as an exact integer, or an integer whose last bit stands for whatever was
//! cut off (*sticky*), and rounds once.
//!
//! 1. *Rounding.* For m > 0 the spacing of f32 around m * 2^e is 2^q with q = max(position of the leading
//!    bit + e - 23, -149). Dividing m by 2^(q - e) and rounding the quotient n to nearest even is the
//!    definition of the correctly rounded result, as long as n <= 2^24. The encoding (q + 149) * 2^23 + n is
//!    right for normal numbers (n in [2^23, 2^24]: the hidden bit carries into the exponent field), for
//!    subnormal ones (q = -149, n < 2^23), and where rounding carries into the next binade. Anything from
//!    the encoding of infinity upwards is infinity.
//! 2. *Sticky.* Call the values where the rounded result changes breakpoints: the f32 numbers and the points
//!    halfway between neighbours. If a positive exact value lies strictly between 2j and 2j + 2 (in units of the
//!    integer), then replacing it by 2j + 1 changes nothing, provided that all breakpoints there are even:
//!    both lie in the same open interval. With at least 27 significant bits they are, because breakpoints are
//!    multiples of 2^(leading bit - 25), counting the finer binade just below a power of two.
//! 3. *fma.* The product of two integers below 2^24 is exact. Let `high` be the term with the larger exponent and
//!    d the difference. If d <= 64 both terms fit on the smaller exponent (48 + 64 < 127 bits) and the sum is
//!    exact. Otherwise `high` is moved up by 64 bits and `low` down by d - 64, its lost bits made sticky. The
//!    leading bit of the sum is then at 63 or above, since `low` is below 2^48: point 2 holds.
//! 4. *add, sub, mul.* a + b = fma(a, 1, b), because a * 1 is exact and keeps the sign of zero.
//!    a * b = fma(a, b, -0), because adding -0 changes neither a number nor the sign of a zero product.
//! 5. *div.* floor(m_a * 2^64 / m_b) >= 2^64 / 2^24 has at least 41 bits; the remainder is made sticky.
//! 6. *sqrt.* With an even exponent the root of m * 2^64 (or 2^65) is floored; it has at least 33 bits, and is
//!    sticky unless its square is the radicand.
//!
//! Tests compare every function with the processor on all combinations of a set of hard values and on random
//! ones; `just referee` does so on 10^8 cases of each (outcome in `docs/referee.md`).
//!
//! ```
//! use tessera_arith::referee;
//! let (a, b, c) = (0.1f32, 3.0f32, -0.3f32);
//! assert_eq!(referee::fma(a.to_bits(), b.to_bits(), c.to_bits()), a.mul_add(b, c).to_bits());
//! ```
//!
//! This module knows single numbers only: which operands belong to a step is the business of [`crate::trace`].

mod convert;
mod float;

pub use convert::{absolute, equal, from_integer, grid_steps, less, negate};
pub use float::{add, div, fma, mul, sqrt, sub};

/// The NaN every function returns.
pub const NAN: u32 = 0x7fc0_0000;
/// Positive infinity.
pub const INFINITY: u32 = 0x7f80_0000;
/// One.
pub const ONE: u32 = 0x3f80_0000;

const SIGN: u32 = 1 << 31;

/// Whether `bits` is a NaN.
pub fn is_nan(bits: u32) -> bool {
    bits & !SIGN > INFINITY
}

/// Whether two results are the same: equal bits, or both NaN.
pub fn same(a: u32, b: u32) -> bool {
    a == b || is_nan(a) && is_nan(b)
}
