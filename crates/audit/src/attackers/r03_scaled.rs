//! Scale gradients: less than is due, or more.
//!
//! Found by audits and duplicates, always; a longer one is capped at 1.5 times the usual.

use super::{Attacker, change_sum};
use crate::{reexec::Outputs, unit::UnitId};

/// Row 3; the gradient becomes `tenths` tenths of itself.
#[derive(Clone, Copy, Debug)]
pub struct Scaled {
    pub tenths: i32,
}

impl Attacker for Scaled {
    fn row(&self) -> u8 {
        3
    }
    fn name(&self) -> &'static str {
        if self.tenths < 10 { "scaled x0.1" } else { "scaled x10" }
    }
    fn outputs(&mut self, _: &UnitId, outputs: &mut Outputs) {
        let tenths = self.tenths;
        outputs.dx.iter_mut().for_each(|value| *value *= tenths as f32 / 10.0);
        if let Some(sum) = &mut outputs.dw {
            change_sum(sum, |value| value * i64::from(tenths) / 10);
        }
    }
}
