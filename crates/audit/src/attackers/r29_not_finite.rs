//! Send a NaN, an infinity, or the smallest denormals everywhere.
//!
//! What is not finite voids the unit where it arrives; denormals are numbers like others.

use super::Attacker;
use crate::{reexec::Outputs, unit::UnitId};

/// Row 29.
#[derive(Clone, Copy, Debug)]
pub enum NotFinite {
    Nan,
    Infinity,
    Denormals,
}

impl Attacker for NotFinite {
    fn row(&self) -> u8 {
        29
    }
    fn name(&self) -> &'static str {
        match self {
            Self::Nan => "NaN",
            Self::Infinity => "infinity",
            Self::Denormals => "denormals",
        }
    }
    fn outputs(&mut self, _: &UnitId, outputs: &mut Outputs) {
        let first = match self {
            Self::Nan => f32::NAN,
            Self::Infinity => f32::INFINITY,
            Self::Denormals => return outputs.y.fill(f32::from_bits(1)),
        };
        if let Some(value) = outputs.y.first_mut() {
            *value = first;
        }
    }
}
