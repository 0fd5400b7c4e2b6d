//! Say what a unit of work claims, in the form that a dispute starts from: [`UnitClaim`] is the evidence of the game.
//!
//! Whatever else is kept of a unit, its leaf in the trainer's statement is [`UnitClaim::digest`]. What tensors a unit
//! signs, and in what shapes, [`crate::program`] says; absent ones are zeros.
//!
//! Whether the weights are those that the stage agreed on, and x and dy what the neighbours sent, is not for the
//! game: it takes the claim's word for what went in, and judges what came out.

use tessera_canon::{Domain, Hash, digest, merkle_root, record};
use tessera_ledger::trust::game::{leaf, part_value};

const UNIT: Domain = Domain::new("tessera/unit-claim/v1");
const WEIGHT: Domain = Domain::new("tessera/unit-weight/v1");

record! {
    /// What a trainer says a unit's inputs and results are.
    pub struct UnitClaim {
        pub run: Hash,
        pub stage: u16,
        pub step: u64,
        /// Which unit of the step: the microbatch, or the edge's label for it.
        pub unit: Hash,
        /// [`weights_root`] of the stage at the step.
        pub weights: Hash,
        /// Digests of what came in: activations `[rows, d_model]` or tokens `[rows]`, and the output's gradient
        /// `[rows, d_model]` or labels `[rows]`.
        pub x: Hash,
        pub dy: Hash,
        /// The output `[rows, d_model]`; on the last stage the loss of every token `[rows]`.
        pub y: Hash,
        /// The gradient of x; zeros on the first stage.
        pub dx: Hash,
        /// [`gradients_root`] of the weights' gradients on their grid.
        pub dw: Hash,
    }
}

impl UnitClaim {
    /// The leaf in the trainer's statement, and the evidence of a dispute.
    pub fn digest(&self) -> Hash {
        digest(UNIT, self)
    }
}

/// The value of a part of the trace that tells one tensor.
pub fn single(digest: &Hash) -> Hash {
    merkle_root(vec![leaf(digest)])
}

/// The values of the parts that hold the weights' gradients, 32 a part.
pub fn gradient_parts(digests: &[Hash]) -> Vec<Hash> {
    let all = |group: &[Hash]| u32::MAX >> (32 - group.len() as u32);
    // The mask names no child that is not there.
    digests.chunks(32).map(|group| part_value(group, all(group)).unwrap_or_default()).collect()
}

/// The root over the gradients of all tensors of the plan, in its order.
pub fn gradients_root(digests: &[Hash]) -> Hash {
    parts_root(&gradient_parts(digests))
}

pub(crate) fn parts_root(parts: &[Hash]) -> Hash {
    merkle_root(parts.iter().map(leaf).collect())
}

/// The leaf of a weight in [`weights_root`].
pub fn weight_leaf(exponent: i32, tensor: &Hash) -> Hash {
    digest(WEIGHT, &(exponent as u32, *tensor))
}

/// The leaves over a stage's weights at a step: each tensor's digest with the exponent of its gradient's grid.
pub fn weight_leaves(exponents: &[i32], digests: &[Hash]) -> Vec<Hash> {
    exponents.iter().zip(digests).map(|(exponent, digest)| weight_leaf(*exponent, digest)).collect()
}

/// The root over [`weight_leaves`].
pub fn weights_root(exponents: &[i32], digests: &[Hash]) -> Hash {
    merkle_root(weight_leaves(exponents, digests))
}
