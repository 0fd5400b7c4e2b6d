//! Be honest on a machine that flips one bit once.
//!
//! No cheat, and no way to tell it from one by one unit: the first mismatch costs 100 units and nothing else.

use super::Attacker;
use crate::{reexec::Outputs, unit::UnitId};

/// Row 31: the fault happens in unit `at`, counted from 0.
#[derive(Clone, Copy, Debug)]
pub struct BitFlip {
    pub at: u64,
    units: u64,
}

impl BitFlip {
    /// One fault in unit `at`.
    pub fn new(at: u64) -> Self {
        Self { at, units: 0 }
    }
}

impl Attacker for BitFlip {
    fn row(&self) -> u8 {
        31
    }
    fn name(&self) -> &'static str {
        "honest bit flip"
    }
    fn cheats(&mut self) -> bool {
        self.units += 1;
        self.units == self.at + 1
    }
    fn outputs(&mut self, _: &UnitId, outputs: &mut Outputs) {
        if let Some(value) = outputs.y.first_mut() {
            *value = f32::from_bits(value.to_bits() ^ 1 << 20);
        }
    }
}
