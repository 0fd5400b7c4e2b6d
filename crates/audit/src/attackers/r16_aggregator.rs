//! Add up a shard for the others, and change one value of the total.
//!
//! The random-vector check is exact over integers, so the smallest change is found in the same step.

use super::Attacker;

/// Row 16: one value, by one grid step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Aggregator {
    pub at: usize,
}

impl Attacker for Aggregator {
    fn row(&self) -> u8 {
        16
    }
    fn name(&self) -> &'static str {
        "shard aggregator"
    }
    fn total(&mut self, total: &mut [i64]) {
        let at = self.at % total.len().max(1);
        if let Some(value) = total.get_mut(at) {
            *value += 1;
        }
    }
}
