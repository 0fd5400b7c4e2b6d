//! Lay down how a game narrows each kind of accusation, level by level, within fixed sizes.
//!
//! A level is bound to what was named above it (at the top: to the evidence), so that the accused cannot say two
//! things. `Tree`: the Merkle root over the children is that value. `Chain`: the children are successive states and
//! the last of them is that value.
//!
//! Sizes follow `verify` 11.6: at most 8 messages of the accused, 15 kB in all, 32 kB for whole rows.

use tessera_canon::tags;

tags! {
    /// What kind of computation is in dispute.
    pub enum Kind {
        /// A dot product: operation, tensor chunk, element, accumulators, one fused multiply-add.
        0 => Dot,
        /// An operation on a whole row: operation, tensor chunk, the row.
        1 => Row,
        /// A state after an optimizer step: tensor, chunk, 256 elements.
        2 => State,
    }
}

/// How children are bound to the value above them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Tree,
    Chain,
}

/// One narrowing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub shape: Shape,
    /// Most children.
    pub arity: u16,
    /// Bytes of a child as it is sent.
    pub width: u16,
}

const fn level(shape: Shape, arity: u16, width: u16) -> Level {
    Level { shape, arity, width }
}

const OPERATION: Level = level(Shape::Chain, 128, 32);
const TENSOR: Level = level(Shape::Tree, 128, 32);
const NODE: Level = level(Shape::Tree, 32, 32);
const ELEMENT: Level = level(Shape::Tree, 256, 4);
const PREFIX: Level = level(Shape::Chain, 91, 4);

/// Most bytes that the accused sends, but for rows.
pub const MAX_BYTES: usize = 15_360;
/// Most bytes that the accused sends for rows.
pub const MAX_ROW_BYTES: usize = 32_768;
/// Most messages of the accused.
pub const MAX_MESSAGES: usize = 8;

impl Kind {
    /// The levels from the top.
    pub fn levels(self) -> &'static [Level] {
        match self {
            Self::Dot => &[OPERATION, NODE, NODE, NODE, ELEMENT, PREFIX, PREFIX],
            Self::Row => &[OPERATION, NODE, NODE, NODE],
            Self::State => &[TENSOR, NODE, NODE, NODE],
        }
    }
    /// Most bytes of the proof of the last step.
    pub fn proof(self) -> usize {
        match self {
            Self::Dot => 6144,
            Self::Row => 25_600,
            Self::State => 8192,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{MAX_CHILDREN, MAX_PROOF_PART};

    #[test]
    fn the_accused_sends_no_more_than_the_design_says() {
        for (kind, most) in [(Kind::Dot, MAX_BYTES), (Kind::Row, MAX_ROW_BYTES), (Kind::State, MAX_BYTES)] {
            let sizes = kind.levels().iter().map(|l| usize::from(l.arity) * usize::from(l.width));
            assert!(sizes.clone().all(|size| size <= MAX_CHILDREN));
            assert!(sizes.sum::<usize>() + kind.proof() <= most, "{kind:?}");
            let parts = kind.proof().div_ceil(MAX_PROOF_PART);
            assert!(kind.levels().len() + parts <= MAX_MESSAGES, "{kind:?}");
            assert!(kind.levels().iter().all(|l| l.width <= 32 && l.arity > 0));
        }
    }
}
