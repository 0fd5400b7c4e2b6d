//! Cheat in every tenth unit only.
//!
//! What counts is the number of bad units until one is picked, and that is the same however they are spread.

use super::{Attacker, r06_lazy::Lazy};
use crate::{reexec::Outputs, unit::UnitId};

/// Row 10: lazy in one of `period` units.
#[derive(Clone, Copy, Debug)]
pub struct Intermittent {
    pub period: u64,
    units: u64,
}

impl Intermittent {
    /// Lazy in one of `period` units, which is at least 1.
    pub fn new(period: u64) -> Self {
        Self { period: period.max(1), units: 0 }
    }
}

impl Attacker for Intermittent {
    fn row(&self) -> u8 {
        10
    }
    fn name(&self) -> &'static str {
        "every tenth unit"
    }
    fn cheats(&mut self) -> bool {
        self.units += 1;
        self.units.is_multiple_of(self.period)
    }
    fn outputs(&mut self, unit: &UnitId, outputs: &mut Outputs) {
        Lazy.outputs(unit, outputs);
    }
}
