//! Send one thing and say it was another.
//!
//! Both sides sign what passes, so the denial contradicts the denier's own signature.

use super::{Attacker, invented};
use crate::unit::UnitLeaf;

/// Row 26: the leaf names another output than the one the next seat has a receipt for.
#[derive(Clone, Copy, Debug, Default)]
pub struct EdgeDenial;

impl Attacker for EdgeDenial {
    fn row(&self) -> u8 {
        26
    }
    fn name(&self) -> &'static str {
        "edge denial"
    }
    fn leaf(&mut self, leaf: &mut UnitLeaf) {
        leaf.x = invented(&leaf.unit);
    }
}
