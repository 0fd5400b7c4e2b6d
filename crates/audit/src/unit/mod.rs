//! Commit to every unit of work before anyone knows which of them will be audited (`verify` 11.3).
//!
//! ```text
//! UnitLeaf      what one unit was computed from and what it gave: seven digests
//! UnitList      public: the labels of the seat's units and whom they were exchanged with
//! StepHeader    signed by the seat before gradients are exchanged: Merkle root over its claims, its gradient sum
//! Anchor        on the ledger: Merkle root over the headers of a stage and window
//! ```
//! The audit draw uses the first beacon after the anchor, so nothing in a leaf or header can be chosen to
//! avoid it.
//!
//! **Where this differs from the specification.** A leaf names two labels: `label`, under which its input came, and
//! `out`, under which its output left. Without `out` a worker could pair the input of one unit with the gradient
//! of another, and every digest would still be right; the four receipts of a unit bind the pair. The first stage
//! has no sender above it and the last none below: there the label is the seat's own. No tier is recorded: there
//! is only the exact one.
//!
//! This module only carries digests; [`mod@crate::reexec`] makes them.

mod anchor;
mod header;
mod receipt;

#[cfg(test)]
pub(crate) use receipt::tests::receipt as receipt_for_tests;

pub use anchor::{AnchorTree, Place, is_anchored};
pub use header::{
    Commitment, Equivocation, HeaderError, MAX_UNITS, SignedHeader, StepContext, StepHeader, UnitEdges,
    UnitList, check_leaf,
};
pub use receipt::{Direction, EdgeReceipt, RECEIPT, Receipt, ReceiptError};

use tessera_canon::{Domain, Hash, PublicKey, SecretKey, digest, digest_parts, record};
use tessera_dispute::claim::UnitClaim;

const UNIT: Domain = Domain::new("tessera/unit/v1");
const LABEL: Domain = Domain::new("tessera/unit-label/v1");
const SECRET: Domain = Domain::new("tessera/unit-secret/v1");

/// An opaque name of a microbatch on one edge: tells the receiver nothing about which tokens it is.
pub type Label = [u8; 16];

record! {
    /// One microbatch of one step as it passes one stage in one seat.
    #[derive(PartialOrd, Ord, Hash)]
    pub struct UnitId {
        pub run: Hash,
        /// How often the run had been rolled back: steps that are done again are other work.
        pub generation: u32,
        pub step: u64,
        pub stage: u16,
        /// Under which the sender gave it.
        pub label: Label,
        pub slot: u16,
        pub worker: PublicKey,
    }
}

impl UnitId {
    /// Step and generation, under which its tensors are kept.
    pub fn place(&self) -> crate::audit::Place {
        (self.step, self.generation)
    }
    /// The hash that draws are made on.
    pub fn id(&self) -> Hash {
        digest(UNIT, self)
    }
}

record! {
    /// What a unit was computed from and what it gave. [`Hash::ZERO`] where a stage has no such tensor.
    pub struct UnitLeaf {
        pub unit: UnitId,
        /// Label under which the output left.
        pub out: Label,
        /// State root of the stage before the step, and the root over its weights alone that disputes start from.
        pub w_root: Hash,
        pub weights: Hash,
        /// Input `[rows, d_model]`; the tokens on the first stage.
        pub x: Hash,
        /// Output `[rows, d_model]`; the loss of every token `[rows]` on the last stage.
        pub y: Hash,
        /// Gradient of the output `[rows, d_model]`; the labels on the last stage.
        pub dy: Hash,
        /// Gradient of the input `[rows, d_model]`; none on the first stage.
        pub dx: Hash,
        /// Weight gradient on the step's integer grid: the root over the digests of the plan's tensors.
        pub dw: Hash,
        /// Version of the arithmetic.
        pub arithmetic: u32,
    }
}

/// What a seat makes labels from; derived from its key, so that a restart finds the same ones.
#[derive(Clone)]
pub struct UnitSecret(Hash);

impl UnitSecret {
    /// The secret of `key`'s owner.
    pub fn of(key: &SecretKey) -> Self {
        Self(digest_parts(SECRET, [&key.seed()[..]]))
    }
    /// The label of copy `copy` of a microbatch on the edge out of `stage` (`verify` 11.4 step 1). Copies above 0 are
    /// blind duplicates.
    pub fn label(&self, run: &Hash, step: u64, stage: u16, microbatch: u32, copy: u8) -> Label {
        label(&self.label_key(run, step, stage), microbatch, copy)
    }
    /// What opens all labels of one edge and step: given out after aggregation, and worth nothing for another step.
    pub fn label_key(&self, run: &Hash, step: u64, stage: u16) -> Hash {
        digest(LABEL, &(self.0, (*run, step, stage)))
    }
}

impl std::fmt::Debug for UnitSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnitSecret")
    }
}

/// The label that an opened [`UnitSecret::label_key`] gives.
pub fn label(key: &Hash, microbatch: u32, copy: u8) -> Label {
    let hash = digest(LABEL, &(*key, (microbatch, copy)));
    let mut label = [0; 16];
    label.copy_from_slice(&hash.0[..16]);
    label
}

impl UnitLeaf {
    /// What stands in a header's tree, and what a dispute is about. It names the worker, so nobody can pass off a
    /// claim that he has not computed as his own. What it leaves out, the header says.
    pub fn claim(&self) -> UnitClaim {
        UnitClaim {
            run: self.unit.run,
            stage: self.unit.stage,
            step: self.unit.step,
            unit: self.unit.id(),
            weights: self.weights,
            x: self.x,
            dy: self.dy,
            y: self.y,
            dx: self.dx,
            dw: self.dw,
        }
    }
}

/// A digest of a leaf that can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    Y,
    Dx,
    Dw,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn unit(worker: &SecretKey, step: u64, number: u8) -> UnitId {
        UnitId {
            run: Hash([1; 32]),
            generation: 0,
            step,
            stage: 1,
            label: [number; 16],
            slot: 0,
            worker: worker.public(),
        }
    }

    pub(crate) fn leaf(worker: &SecretKey, step: u64, number: u8) -> UnitLeaf {
        let hash = |kind: u8| Hash([kind.wrapping_add(number.wrapping_mul(10)); 32]);
        UnitLeaf {
            unit: unit(worker, step, number),
            out: [number ^ 255; 16],
            w_root: Hash([9; 32]),
            weights: Hash([8; 32]),
            x: hash(1),
            y: hash(2),
            dy: hash(3),
            dx: hash(4),
            dw: hash(5),
            arithmetic: 1,
        }
    }

    #[test]
    fn a_label_opens_for_its_step_only() {
        let secret = UnitSecret::of(&SecretKey::from_seed([1; 32]));
        let run = Hash([4; 32]);
        let key = secret.label_key(&run, 5, 2);
        assert_eq!(label(&key, 3, 0), secret.label(&run, 5, 2, 3, 0));
        let others =
            [secret.label(&run, 6, 2, 3, 0), secret.label(&run, 5, 3, 3, 0), secret.label(&run, 5, 2, 3, 1)];
        assert!(others.iter().all(|other| *other != label(&key, 3, 0)));
    }
}
