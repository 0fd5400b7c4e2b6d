//! Turn gradients round, as they are or `factor` times as long: pushes the model backwards.
//!
//! Found by audits and duplicates, always; the guard caps the length and screens the direction.

use super::{Attacker, change_sum};
use crate::{reexec::Outputs, unit::UnitId};

/// Row 2; `factor` is 1 or 1000.
#[derive(Clone, Copy, Debug)]
pub struct SignFlip {
    pub factor: i32,
}

impl Attacker for SignFlip {
    fn row(&self) -> u8 {
        2
    }
    fn name(&self) -> &'static str {
        if self.factor == 1 { "sign flip" } else { "sign flip, longer" }
    }
    fn outputs(&mut self, _: &UnitId, outputs: &mut Outputs) {
        let factor = -self.factor;
        outputs.dx.iter_mut().for_each(|value| *value *= factor as f32);
        if let Some(sum) = &mut outputs.dw {
            change_sum(sum, |value| value * i64::from(factor));
        }
    }
}
