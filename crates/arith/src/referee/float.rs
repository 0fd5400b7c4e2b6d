//! Add, multiply, divide and take roots of bit patterns; the argument is at the head of [`crate::referee`].

use super::{INFINITY, NAN, ONE, SIGN, is_nan};

/// The smallest exponent: that of subnormal numbers, counted at the last bit of the significand.
pub(super) const MIN_EXPONENT: i32 = -149;

/// Returns (m, e) with |x| = m * 2^e and m < 2^24, for finite x.
pub(super) fn unpack(x: u32) -> (u128, i32) {
    let fraction = x & 0x007f_ffff;
    match x >> 23 & 0xff {
        0 => (u128::from(fraction), MIN_EXPONENT),
        biased => (u128::from(fraction | 1 << 23), biased as i32 - 1 + MIN_EXPONENT),
    }
}

/// Returns floor(m / 2^shift), with the last bit set if the division leaves a rest.
fn shift_sticky(m: u128, shift: u32) -> u128 {
    let quotient = m.checked_shr(shift).unwrap_or(0);
    let exact = quotient.checked_shl(shift).unwrap_or(0) == m;
    quotient | u128::from(!exact)
}

/// Returns m / 2^shift rounded to the nearest integer, ties to even.
pub(super) fn shift_nearest(m: u128, shift: u32) -> u128 {
    // Two more bits than the integer: the half and everything below it.
    let quarters = match shift {
        0 => m << 2,
        1 => m << 1,
        _ => shift_sticky(m, shift - 2),
    };
    let (quotient, rest) = (quarters >> 2, quarters & 3);
    quotient + u128::from(rest == 3 || rest == 2 && quotient & 1 == 1)
}

/// Rounds m * 2^e, with the given sign bit, to the nearest f32. `m` is below 2^126, and exact or at least 27 bits
/// long with a sticky last bit.
pub(super) fn round(sign: u32, m: u128, e: i32) -> u32 {
    if m == 0 {
        return sign;
    }
    let leading = m.ilog2() as i32 + e;
    if leading > 127 {
        return sign | INFINITY;
    }
    let spacing = (leading - 23).max(MIN_EXPONENT);
    let n = if spacing >= e { shift_nearest(m, (spacing - e) as u32) } else { m << (e - spacing) };
    // At most 254 - 1 in the exponent field, plus 2^24: infinity when that carries.
    sign | ((((spacing - MIN_EXPONENT) as u32) << 23) + n as u32)
}

/// Returns a * b + c, rounded once.
pub fn fma(a: u32, b: u32, c: u32) -> u32 {
    let sign = (a ^ b) & SIGN;
    let (size_a, size_b, size_c) = (a & !SIGN, b & !SIGN, c & !SIGN);
    if is_nan(a) || is_nan(b) || is_nan(c) {
        return NAN;
    }
    if size_a == INFINITY || size_b == INFINITY {
        let undefined = size_a == 0 || size_b == 0 || size_c == INFINITY && c & SIGN != sign;
        return if undefined { NAN } else { sign | INFINITY };
    }
    if size_c == INFINITY {
        return c;
    }
    let ((m_a, e_a), (m_b, e_b), (m_c, e_c)) = (unpack(a), unpack(b), unpack(c));
    let (product, e_product) = (m_a * m_b, e_a + e_b);
    if product == 0 {
        // -0 only if both terms are; otherwise zero changes nothing.
        return if size_c == 0 { sign & c } else { c };
    }
    if m_c == 0 {
        return round(sign, product, e_product);
    }
    let (first, second) = ((sign, product, e_product), (c & SIGN, m_c, e_c));
    let (low, high) = if e_product < e_c { (first, second) } else { (second, first) };
    let ((sign_low, low, e_low), (sign_high, high, e_high)) = (low, high);
    let apart = (e_high - e_low) as u32;
    let up = apart.min(64);
    let (high, low, e) = (high << up, shift_sticky(low, apart - up), e_high - up as i32);
    if sign_low == sign_high {
        round(sign_high, high + low, e)
    } else if high >= low {
        // An exact zero is +0.
        round(if high == low { 0 } else { sign_high }, high - low, e)
    } else {
        round(sign_low, low - high, e)
    }
}

/// Returns a + b.
pub fn add(a: u32, b: u32) -> u32 {
    fma(a, ONE, b)
}

/// Returns a - b.
pub fn sub(a: u32, b: u32) -> u32 {
    add(a, b ^ SIGN)
}

/// Returns a * b.
pub fn mul(a: u32, b: u32) -> u32 {
    fma(a, b, SIGN)
}

/// Returns a / b.
pub fn div(a: u32, b: u32) -> u32 {
    let sign = (a ^ b) & SIGN;
    let (size_a, size_b) = (a & !SIGN, b & !SIGN);
    if is_nan(a) || is_nan(b) || size_a == INFINITY && size_b == INFINITY || size_a == 0 && size_b == 0 {
        return NAN;
    }
    if size_a == INFINITY || size_b == 0 {
        return sign | INFINITY;
    }
    if size_b == INFINITY || size_a == 0 {
        return sign;
    }
    let ((m_a, e_a), (m_b, e_b)) = (unpack(a), unpack(b));
    let dividend = m_a << 64;
    let quotient = (dividend / m_b) | u128::from(dividend % m_b != 0);
    round(sign, quotient, e_a - e_b - 64)
}

/// Returns the square root of a; NaN if a < 0, and -0 for -0.
pub fn sqrt(a: u32) -> u32 {
    if a & !SIGN == 0 || a == INFINITY {
        return a;
    }
    if is_nan(a) || a & SIGN != 0 {
        return NAN;
    }
    let (m, e) = unpack(a);
    let odd = e & 1;
    let radicand = m << (64 + odd);
    let root = radicand.isqrt();
    round(0, root | u128::from(root * root != radicand), (e - odd - 64) / 2)
}
