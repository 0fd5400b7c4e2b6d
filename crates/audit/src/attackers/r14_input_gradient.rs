//! Send a right output and a right weight gradient, but another gradient upstream.
//!
//! An audit compares all three.

use super::Attacker;
use crate::{reexec::Outputs, unit::UnitId};

/// Row 14.
#[derive(Clone, Copy, Debug, Default)]
pub struct InputGradient;

impl Attacker for InputGradient {
    fn row(&self) -> u8 {
        14
    }
    fn name(&self) -> &'static str {
        "wrong dx only"
    }
    fn outputs(&mut self, _: &UnitId, outputs: &mut Outputs) {
        outputs.dx.iter_mut().for_each(|value| *value = -*value);
    }
}
