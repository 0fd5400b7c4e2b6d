//! Compare bit patterns, and turn integers into f32 and gradients into steps of their grid.

use super::{
    INFINITY, SIGN,
    float::{round, shift_nearest, unpack},
    is_nan,
};
use crate::grid::MAX_STEPS;

/// Returns the place of x in the order of numbers; both zeros are at 0.
fn place(x: u32) -> i64 {
    let size = i64::from(x & !SIGN);
    if x & SIGN == 0 { size } else { -size }
}

/// Whether a < b; false if either is NaN.
pub fn less(a: u32, b: u32) -> bool {
    !is_nan(a) && !is_nan(b) && place(a) < place(b)
}

/// Whether a == b: +0 and -0 are equal, NaN equals nothing.
pub fn equal(a: u32, b: u32) -> bool {
    !is_nan(a) && !is_nan(b) && place(a) == place(b)
}

/// Returns -a.
pub fn negate(a: u32) -> u32 {
    a ^ SIGN
}

/// Returns |a|.
pub fn absolute(a: u32) -> u32 {
    a & !SIGN
}

/// Returns n as an f32, rounded to nearest even; zero is +0.
pub fn from_integer(n: i64) -> u32 {
    round(if n < 0 { SIGN } else { 0 }, u128::from(n.unsigned_abs()), 0)
}

/// Returns how many steps of 2^`exponent` the gradient g counts for: g / 2^exponent rounded to nearest even, at
/// most [`MAX_STEPS`] in size, as in [`crate::grid`]. Infinities count as the largest number of steps and
/// NaN as none, so that the function is total; [`crate::grid::quantise_add`] refuses both.
pub fn grid_steps(g: u32, exponent: i32) -> i64 {
    let size = if is_nan(g) {
        0
    } else if absolute(g) == INFINITY {
        MAX_STEPS
    } else {
        let (m, e) = unpack(g);
        let shift = i64::from(e) - i64::from(exponent);
        match u32::try_from(shift) {
            // Any m but 0 is beyond the limit from 2^31 on.
            Ok(up) => (m << up.min(32)).min(MAX_STEPS as u128) as i64,
            // Below 2^24, so within the limit. From 2^26 on everything is less than half a step.
            Err(_) => shift_nearest(m, shift.unsigned_abs().min(26) as u32) as i64,
        }
    };
    if g & SIGN == 0 { size } else { -size }
}
