//! Commit to another seat's digests instead of computing.
//!
//! Every seat has other microbatches and claims name their worker, so there is nothing to copy before the commitment. Whoever
//! sells its digests privately sells those of other inputs: the leaf then contradicts a receipt that the copier
//! signed itself.

use super::Attacker;
use crate::{reexec::UnitDigests, unit::UnitLeaf};

/// Row 5: the digests of a peer, bought after it had computed them.
#[derive(Clone, Debug)]
pub struct Copied {
    pub peer: UnitDigests,
}

impl Attacker for Copied {
    fn row(&self) -> u8 {
        5
    }
    fn name(&self) -> &'static str {
        "copied digests"
    }
    fn leaf(&mut self, leaf: &mut UnitLeaf) {
        let UnitDigests { x, y, dy, dx, dw } = self.peer.clone();
        (leaf.x, leaf.y, leaf.dy, leaf.dx, leaf.dw) = (x, y, dy, dx, dw);
    }
}
