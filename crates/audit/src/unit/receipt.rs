//! Sign, on both sides of an edge, which bytes passed it: afterwards neither can say that it was something else.
//!
//! The sender signs what it sends and the receiver countersigns on arrival. A worker answers for `y` given the `x`
//! it countersigned, so blame stops at the first edge where the bytes are wrong (`verify` 11.4 step 3). Receipts stay
//! off the ledger and are kept for as long as the bytes.

use crate::unit::{Label, UnitLeaf};
use tessera_canon::{Domain, Hash, PublicKey, SecretKey, Signature, record, tags};

/// Signature domain of [`EdgeReceipt`].
pub const RECEIPT: Domain = Domain::new("tessera/edge-receipt/v1");

tags! {
    /// Which way a tensor went.
    pub enum Direction {
        /// Activations, to the next stage.
        0 => Forward,
        /// Gradients, to the stage before.
        1 => Backward,
    }
}

record! {
    /// That a tensor passed from one seat to another.
    pub struct EdgeReceipt {
        pub run: Hash,
        pub generation: u32,
        pub step: u64,
        /// The label of the edge, the same in both directions.
        pub label: Label,
        pub from: PublicKey,
        pub to: PublicKey,
        pub direction: Direction,
        /// Digest of the tensor as the receiver decodes it; with the lossless codec these are the bytes sent.
        pub digest: Hash,
    }
}

record! {
    /// A receipt with both signatures.
    pub struct Receipt { pub receipt: EdgeReceipt, pub sender: Signature, pub receiver: Signature }
}

/// Why a receipt proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error("the receipt is not signed by its {side} {key}")]
    Signature { side: &'static str, key: PublicKey },
    #[error("the receipt of {which} has the {what} of another transfer")]
    Other { which: &'static str, what: &'static str },
}

impl EdgeReceipt {
    /// The sender's half.
    pub fn sent(&self, key: &SecretKey) -> Signature {
        key.sign(RECEIPT, self)
    }
    /// The receiver's half, once it holds bytes with this digest and has checked the sender's half.
    pub fn received(self, sender: Signature, key: &SecretKey) -> Result<Receipt, ReceiptError> {
        if !self.from.verify(RECEIPT, &self, &sender) {
            return Err(ReceiptError::Signature { side: "sender", key: self.from });
        }
        let receiver = key.sign(RECEIPT, &self);
        Ok(Receipt { receipt: self, sender, receiver })
    }
}

impl Receipt {
    /// Check both signatures.
    pub fn verify(&self) -> Result<(), ReceiptError> {
        let Self { receipt, sender, receiver } = self;
        for (side, key, signature) in [("sender", receipt.from, sender), ("receiver", receipt.to, receiver)] {
            if !key.verify(RECEIPT, receipt, signature) {
                return Err(ReceiptError::Signature { side, key });
            }
        }
        Ok(())
    }
    /// Check that this is the transfer of `leaf`'s input (`Forward`) or of its output's gradient (`Backward`) to
    /// `leaf`'s worker.
    pub fn delivers(&self, leaf: &UnitLeaf, direction: Direction) -> Result<(), ReceiptError> {
        let (which, label, digest) = match direction {
            Direction::Forward => ("x", leaf.unit.label, leaf.x),
            Direction::Backward => ("dy", leaf.out, leaf.dy),
        };
        self.fits(leaf, which, label, direction, digest)?;
        if self.receipt.to != leaf.unit.worker {
            return Err(ReceiptError::Other { which, what: "receiver" });
        }
        self.verify()
    }
    /// Check that this is the transfer of `leaf`'s output (`Forward`) or of its input's gradient (`Backward`) from
    /// `leaf`'s worker.
    pub fn carries(&self, leaf: &UnitLeaf, direction: Direction) -> Result<(), ReceiptError> {
        let (which, label, digest) = match direction {
            Direction::Forward => ("y", leaf.out, leaf.y),
            Direction::Backward => ("dx", leaf.unit.label, leaf.dx),
        };
        self.fits(leaf, which, label, direction, digest)?;
        if self.receipt.from != leaf.unit.worker {
            return Err(ReceiptError::Other { which, what: "sender" });
        }
        self.verify()
    }

    /// Whether it is of a tensor that `leaf`'s worker sent over that edge, but not of the one that the leaf claims.
    pub fn denies(&self, leaf: &UnitLeaf, direction: Direction) -> bool {
        matches!(self.carries(leaf, direction), Err(ReceiptError::Other { what: "digest", .. }))
            && self.receipt.from == leaf.unit.worker
            && self.verify().is_ok()
    }

    fn fits(
        &self,
        leaf: &UnitLeaf,
        which: &'static str,
        label: Label,
        direction: Direction,
        digest: Hash,
    ) -> Result<(), ReceiptError> {
        let receipt = &self.receipt;
        let wrong = |what| Err(ReceiptError::Other { which, what });
        if (receipt.run, receipt.generation, receipt.step)
            != (leaf.unit.run, leaf.unit.generation, leaf.unit.step)
        {
            return wrong("run, generation or step");
        }
        if receipt.label != label {
            return wrong("label");
        }
        if receipt.direction != direction {
            return wrong("direction");
        }
        if receipt.digest != digest {
            return wrong("digest");
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::unit::tests::leaf;

    pub(crate) fn receipt(
        leaf: &UnitLeaf,
        from: &SecretKey,
        to: &SecretKey,
        label: Label,
        direction: Direction,
        digest: Hash,
    ) -> Receipt {
        let receipt = EdgeReceipt {
            run: leaf.unit.run,
            generation: leaf.unit.generation,
            step: leaf.unit.step,
            label,
            from: from.public(),
            to: to.public(),
            direction,
            digest,
        };
        let half = receipt.sent(from);
        receipt.received(half, to).unwrap()
    }

    #[test]
    fn receipts_bind_each_tensor_of_a_unit_to_its_edge() {
        let [up, worker, down] = [1, 2, 3].map(|n| SecretKey::from_seed([n; 32]));
        let leaf = leaf(&worker, 4, 7);
        let label = leaf.unit.label;
        let x = receipt(&leaf, &up, &worker, label, Direction::Forward, leaf.x);
        let y = receipt(&leaf, &worker, &down, leaf.out, Direction::Forward, leaf.y);
        let dy = receipt(&leaf, &down, &worker, leaf.out, Direction::Backward, leaf.dy);
        let dx = receipt(&leaf, &worker, &up, label, Direction::Backward, leaf.dx);
        x.delivers(&leaf, Direction::Forward).unwrap();
        dy.delivers(&leaf, Direction::Backward).unwrap();
        y.carries(&leaf, Direction::Forward).unwrap();
        dx.carries(&leaf, Direction::Backward).unwrap();
        assert!(y.delivers(&leaf, Direction::Forward).is_err());
        assert!(x.carries(&leaf, Direction::Forward).is_err());

        let other = UnitLeaf { out: [0; 16], ..leaf.clone() };
        let paired = dy.delivers(&other, Direction::Backward);
        assert_eq!(
            paired,
            Err(ReceiptError::Other { which: "dy", what: "label" }),
            "the gradient of another unit"
        );
        let mut denied = x.clone();
        denied.receipt.digest = Hash([8; 32]);
        assert!(denied.verify().is_err(), "neither side can change what passed");
        let half = x.receipt.sent(&down);
        let forged = x.receipt.clone().received(half, &worker);
        assert!(matches!(forged, Err(ReceiptError::Signature { side: "sender", .. })));
    }
}
