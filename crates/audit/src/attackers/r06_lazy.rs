//! Do nothing and send zeros.
//!
//! Found by audits and duplicates, always. Nothing is saved that a first mismatch does not take back.

use super::{Attacker, change_sum};
use crate::{reexec::Outputs, unit::UnitId};

/// Row 6.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lazy;

impl Attacker for Lazy {
    fn row(&self) -> u8 {
        6
    }
    fn name(&self) -> &'static str {
        "lazy zeros"
    }
    fn outputs(&mut self, _: &UnitId, outputs: &mut Outputs) {
        outputs.y.fill(0.0);
        outputs.dx.fill(0.0);
        if let Some(sum) = &mut outputs.dw {
            change_sum(sum, |_| 0);
        }
    }
}
