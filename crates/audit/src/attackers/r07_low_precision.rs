//! Compute in bf16: cheaper on most hardware, and close to the truth.
//!
//! Close is not equal: on the exact tier every audit finds it. Rounding the results stands for rounding all along, which
//! differs from the truth in more places still.

use super::{Attacker, change_sum};
use crate::{reexec::Outputs, unit::UnitId};

/// Row 7.
#[derive(Clone, Copy, Debug, Default)]
pub struct LowPrecision;

/// The nearest bf16, ties to even.
fn bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

impl Attacker for LowPrecision {
    fn row(&self) -> u8 {
        7
    }
    fn name(&self) -> &'static str {
        "bf16 arithmetic"
    }
    fn outputs(&mut self, _: &UnitId, outputs: &mut Outputs) {
        outputs.y.iter_mut().chain(&mut outputs.dx).for_each(|value| *value = bf16(*value));
        if let Some(sum) = &mut outputs.dw {
            change_sum(sum, |value| bf16(value as f32) as i64);
        }
    }
}
