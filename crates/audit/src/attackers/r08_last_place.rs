//! Change one value by one unit in the last place: below any tolerance.
//!
//! There is no tolerance on the exact tier: every audit finds it.

use super::{Attacker, invented};
use crate::{reexec::Outputs, unit::UnitId};

/// Row 8.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastPlace;

impl Attacker for LastPlace {
    fn row(&self) -> u8 {
        8
    }
    fn name(&self) -> &'static str {
        "one unit in the last place"
    }
    fn outputs(&mut self, unit: &UnitId, outputs: &mut Outputs) {
        let values = if outputs.dx.is_empty() { &mut outputs.y } else { &mut outputs.dx };
        let at = invented(unit).low_u64() as usize % values.len().max(1);
        if let Some(value) = values.get_mut(at) {
            *value = f32::from_bits(value.to_bits() ^ 1);
        }
    }
}
