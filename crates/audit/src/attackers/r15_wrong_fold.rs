//! Commit to right units and add something else to their sum.
//!
//! Found when the beacon draws the seat's whole step: its units are computed again and added up. The guard bounds it
//! meanwhile.

use super::{Attacker, change_sum};
use tessera_model::GradSum;

/// Row 15.
#[derive(Clone, Copy, Debug, Default)]
pub struct WrongFold;

impl Attacker for WrongFold {
    fn row(&self) -> u8 {
        15
    }
    fn name(&self) -> &'static str {
        "wrong gradient sum"
    }
    fn sum(&mut self, sum: &mut GradSum) {
        change_sum(sum, |value| -value);
    }
}
