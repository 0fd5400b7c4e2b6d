//! Send random numbers of the right size as gradients: saves the backward pass, and pushes nowhere.
//!
//! Found by audits and duplicates, always; monitors see the directions, the guard bounds the push.

use super::{Attacker, change_sum, noise, size};
use crate::{reexec::Outputs, unit::UnitId};

/// Row 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomGradients;

impl Attacker for RandomGradients {
    fn row(&self) -> u8 {
        1
    }
    fn name(&self) -> &'static str {
        "random gradients"
    }
    fn outputs(&mut self, unit: &UnitId, outputs: &mut Outputs) {
        let (mut noise, length) = (noise(unit), size(&outputs.dx));
        outputs.dx.iter_mut().for_each(|value| *value = length * noise());
        if let Some(sum) = &mut outputs.dw {
            let length =
                sum.values().iter().map(|value| value.unsigned_abs()).max().unwrap_or(0) as f32 / 4.0;
            change_sum(sum, |_| (length * noise()) as i64);
        }
    }
}
