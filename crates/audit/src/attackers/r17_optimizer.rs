//! Apply another optimizer step than the rule says.
//!
//! All replicas vote their state root: one bit is enough to stand alone.

use super::Attacker;

/// Row 17: one bit of the state's last value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Optimizer;

impl Attacker for Optimizer {
    fn row(&self) -> u8 {
        17
    }
    fn name(&self) -> &'static str {
        "wrong optimizer step"
    }
    fn state(&mut self, bytes: &mut [u8]) {
        // The lowest bit of an f32: little-endian, so the first of its four bytes.
        let at = bytes.len().saturating_sub(4);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1;
        }
    }
}
