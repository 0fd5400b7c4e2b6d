//! Find out whether this thread's floating-point mode is that of IEEE 754, by computing.
//!
//! A library loaded into the process may have changed the mode (start-up code of `-ffast-math`): subnormal
//! results flushed to zero, subnormal operands read as zero, or another rounding direction. It is told by
//! results, not by control registers, so it works on every machine.

use std::hint::black_box;

/// What the mode was found to be; all must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Environment {
    /// Subnormal operands count (no denormals-are-zero).
    pub subnormal_operands: bool,
    /// Subnormal results are kept (no flush-to-zero).
    pub subnormal_results: bool,
    /// Sums, in f32 and in f64, round to nearest, ties to even.
    pub rounds_to_nearest_even: bool,
}

impl Environment {
    /// Returns whether the exact tier can compute in this mode.
    pub fn is_sound(&self) -> bool {
        self.subnormal_operands && self.subnormal_results && self.rounds_to_nearest_even
    }

    /// Says in words what is wrong with the mode, if anything is.
    pub fn fault(&self) -> Option<&'static str> {
        if !self.subnormal_operands {
            Some("subnormal operands are read as zero")
        } else if !self.subnormal_results {
            Some("subnormal results are flushed to zero")
        } else if !self.rounds_to_nearest_even {
            Some("sums do not round to nearest, ties to even")
        } else {
            None
        }
    }
}

/// Examines the calling thread's mode.
pub fn environment() -> Environment {
    let (one, tiny) = (black_box(1.0f32), black_box(f32::from_bits(3)));
    // Integers tell the bits of a result apart; a comparison of floats would itself read subnormals as zero.
    // 3 * 2^-149 times 2^30 is a normal number, so only the operand can be lost.
    let operand = black_box(tiny * black_box(2f32.powi(30))).to_bits() == (3.0 * 2f32.powi(-119)).to_bits();
    let result = black_box(black_box(f32::MIN_POSITIVE) * black_box(0.5)).to_bits() == 1 << 22
        && black_box(tiny * one).to_bits() == 3;
    let half = black_box(2f32.powi(-24));
    let sums = [(1.0, 0), (1.0 + f32::EPSILON, 2)].into_iter().all(|(x, even)| {
        let x = black_box(x);
        // Half a unit above one stays, half a unit above the next goes up; mirrored for negative numbers.
        (x + half).to_bits() == 1f32.to_bits() + even && (-x - half).to_bits() == (-1f32).to_bits() + even
    });
    let half = black_box(2f64.powi(-53));
    let wide = [(1.0, 0), (1.0 + f64::EPSILON, 2)].into_iter().all(|(x, even)| {
        let x = black_box(x);
        (x + half).to_bits() == 1f64.to_bits() + even && (-x - half).to_bits() == (-1f64).to_bits() + even
    });
    Environment {
        subnormal_operands: operand,
        subnormal_results: result,
        rounds_to_nearest_even: sums && wide,
    }
}
