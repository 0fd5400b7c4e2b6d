//! Lay down how a game narrows each kind of accusation, level by level, within fixed sizes.
//!
//! A level is bound to what was named above it (at the top: to the evidence), so that the accused cannot say two
//! things. How, its [`Shape`] says; shapes follow the way in which tensors are digested ([`tessera_canon::tree`]), so
//! that the ledger needs hashes and no arithmetic.
//!
//! ```text
//! Trace     digests of the computation's parts, in order, and last the evidence itself
//! Part      digests of the tensors of that part, in order; some of them make up the digest above
//! Tensor    the top of the tensor's tree: groups of 1024 chunks
//! Node x 2  groups of 32 chunks; chunks
//! Chunk     1 KiB of the tensor itself: words of four bytes
//! Points    what was there after so many steps on the way to the named word
//! ```
//! The proof is then about the steps between two points. Whoever names the evidence itself says that the parts are
//! true but are not what was signed: that is proven at once.
//!
//! Sizes follow `verify` 11.6: at most 8 messages of the accused, 15 kB in all, 32 kB for whole rows.

use tessera_canon::{
    tags,
    tree::{CHUNK, FAN},
};

tags! {
    /// What kind of computation is in dispute.
    pub enum Kind {
        /// A unit of work: part, tensor, chunk, element, accumulators, one fused multiply-add.
        0 => Dot,
        /// The same where the referee judges a whole row: part, tensor, chunk, the row.
        1 => Row,
        /// A state after an optimizer step, narrowed like a unit.
        2 => State,
    }
}

/// How children are bound to the value above them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The last child is that value. Naming it ends the narrowing.
    Trace,
    /// The Merkle root over some children is that value: those whose bits are set in the head's first four bytes
    /// (little-endian, the first child the lowest bit).
    Part,
    /// [`tessera_canon::tree::bind`] of the head and the joined children is that value.
    Tensor,
    /// [`tessera_canon::tree::join`] of the children is that value.
    Node,
    /// [`tessera_canon::tree::chunk_value`] of the children's bytes, as the chunk that the levels above named, is
    /// that value.
    Chunk,
    /// The last child is that value.
    Points,
}

impl Shape {
    /// Whether the message has a head of 32 bytes beside the children.
    pub fn has_head(self) -> bool {
        matches!(self, Self::Part | Self::Tensor)
    }
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

const TRACE: Level = level(Shape::Trace, 64, 32);
const PART: Level = level(Shape::Part, 32, 32);
const TENSOR: Level = level(Shape::Tensor, 96, 32);
const NODE: Level = level(Shape::Node, FAN as u16, 32);
const WORDS: Level = level(Shape::Chunk, (CHUNK / 4) as u16, 4);
const POINTS: Level = level(Shape::Points, 256, 4);

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
            Self::Dot | Self::State => &[TRACE, PART, TENSOR, NODE, NODE, WORDS, POINTS],
            Self::Row => &[TRACE, PART, TENSOR, NODE, NODE],
        }
    }
    /// Most bytes of the proof of the last step.
    pub fn proof(self) -> usize {
        match self {
            Self::Dot | Self::State => 5056,
            Self::Row => 24_512,
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
            let sizes = kind.levels().iter().map(|l| {
                let children = usize::from(l.arity) * usize::from(l.width);
                assert!(children <= MAX_CHILDREN);
                children + if l.shape.has_head() { 32 } else { 0 }
            });
            assert!(sizes.sum::<usize>() + kind.proof() <= most, "{kind:?}");
            let parts = kind.proof().div_ceil(MAX_PROOF_PART);
            assert!(kind.levels().len() + parts <= MAX_MESSAGES, "{kind:?}");
            assert!(kind.levels().iter().all(|l| l.width <= 32 && l.arity > 0));
        }
    }
}
