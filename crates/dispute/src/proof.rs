//! Lay down the bytes of a proof: the run, the unit's claim, and what the last step rests on with its place in what
//! both sides agreed on.
//!
//! Decoding bounds everything; [`crate::judge`] checks it.

use crate::{claim::UnitClaim, tensor::Opening};
use tessera_canon::{Blob, Hash, List, MerklePath, choice, record};
use tessera_ledger::action::Child;

/// Most bytes of a run spec in a proof.
pub const MAX_SPEC: usize = 1024;
/// Most chunks that a step rests on.
pub const MAX_OPERANDS: usize = 6;
/// Most parts that hold results.
pub const MAX_RESULTS: usize = 63;

record! {
    /// The unit's claim names it.
    pub struct Claimed {}
}
record! {
    /// In the claim's root over the weights.
    pub struct OfWeights { pub exponent: i32, pub path: MerklePath }
}
record! {
    /// Among the tensors of the disputed part, before the disputed one.
    pub struct Beside { pub path: MerklePath }
}
record! {
    /// Among those that an earlier part told.
    pub struct Told {
        pub path: MerklePath,
        /// The part's value, and its place in the trace.
        pub value: Hash,
        pub part: MerklePath,
    }
}
choice! {
    /// Where a tensor's digest stands.
    pub enum Place {
        0 => Claimed(Claimed),
        1 => OfWeights(OfWeights),
        2 => Beside(Beside),
        3 => Told(Told),
    }
}
record! {
    /// A chunk of an input of the step.
    pub struct Operand { pub place: Place, pub opening: Opening }
}
record! {
    /// The exponent of a gradient's grid: its place beside the digest of the weight.
    pub struct Grid { pub exponent: i32, pub tensor: Hash, pub path: MerklePath }
}
record! {
    /// The results as the trace tells them are those of the claim: the parts that copy them, in order.
    pub struct Results { pub parts: List<Child, MAX_RESULTS> }
}
record! {
    /// The disputed tensor is a copy: the digest of its original.
    pub struct CopyOf { pub digest: Hash, pub place: Place }
}
record! {
    /// The steps between two points.
    pub struct Steps {
        pub grid: Option<Grid>,
        pub operands: List<Operand, MAX_OPERANDS>,
        /// Results of earlier steps of a formula: points of the last level.
        pub earlier: List<Child, 2>,
    }
}
record! {
    /// Units of this run do not fit the game: nothing can be narrowed, and nobody is convicted.
    pub struct Beyond {}
}
choice! {
    /// What is proven.
    pub enum Body {
        0 => Results(Results),
        1 => CopyOf(CopyOf),
        2 => Steps(Steps),
        3 => Beyond(Beyond),
    }
}
record! {
    /// The proof of the last step.
    pub struct Proof {
        /// The canonical bytes of the run spec; their hash is the run.
        pub spec: Blob<MAX_SPEC>,
        /// Its digest is the evidence.
        pub claim: UnitClaim,
        pub body: Body,
    }
}
