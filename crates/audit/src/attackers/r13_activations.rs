//! Add noise of a hundredth to the output: poisons all later stages, and no statistic shows it.
//!
//! Found by audits and duplicates, always.

use super::{Attacker, noise, size};
use crate::{reexec::Outputs, unit::UnitId};

/// Row 13.
#[derive(Clone, Copy, Debug, Default)]
pub struct Activations;

impl Attacker for Activations {
    fn row(&self) -> u8 {
        13
    }
    fn name(&self) -> &'static str {
        "subtle activations"
    }
    fn outputs(&mut self, unit: &UnitId, outputs: &mut Outputs) {
        let (mut noise, length) = (noise(unit), size(&outputs.y) / 100.0);
        outputs.y.iter_mut().for_each(|value| *value += length * noise());
    }
}
