//! Sign what passes this seat's edges, check what others signed, and keep the tensors.
//!
//! A unit's input and the gradient of its output are taken only with their sender's signature, and countersigned at
//! once. Afterwards neither side can say that it was something else.

use crate::trainer::Trainer;
use tessera_audit::{
    audit::Kept,
    exchange::{AuditMessage, Countersign},
    tensors,
    unit::{Direction, EdgeReceipt, Label},
};
use tessera_canon::{Blob, Hash, PublicKey, Signature, encode};
use tessera_wire::{Tensor, training::Audit};

/// The label of unit `number` of `step` on the edge below stage `edge`; `None` above the first stage.
///
/// The specification's labels are opaque to middle stages. Here they are not: unit numbers are what the stage's seats
/// divide work by, and they tell a middle stage no more than the step, whose tokens are public, already does.
pub(super) fn label_of(edge: Option<u16>, step: u64, number: u32) -> Label {
    let mut label = [0; 16];
    label[..2].copy_from_slice(&edge.unwrap_or(u16::MAX).to_be_bytes());
    label[2..10].copy_from_slice(&step.to_be_bytes());
    label[10..14].copy_from_slice(&number.to_be_bytes());
    label
}

/// The number of the unit that has this label.
pub fn number_of(label: &Label) -> u32 {
    u32::from_be_bytes([label[10], label[11], label[12], label[13]])
}

impl Trainer {
    /// The labels under which this stage's unit `number` comes in and goes out.
    pub(super) fn labels(&self, step: u64, number: u32) -> (Label, Label) {
        let stage = self.config.stage;
        (label_of(stage.checked_sub(1), step, number), label_of(Some(stage), step, number))
    }

    fn receipt(
        &self,
        (step, label, direction): (u64, Label, Direction),
        from: PublicKey,
        to: PublicKey,
        digest: Hash,
    ) -> EdgeReceipt {
        let (run, generation) = (self.config.shape.run, self.generation);
        EdgeReceipt { run, generation, step, label, from, to, direction, digest }
    }

    /// The digest of a boundary tensor of this run's shape; `None` for any other, or one that is not finite.
    pub(in crate::trainer) fn digest_of(&self, tensor: &Tensor) -> Option<Hash> {
        let (rows, width) = (self.config.shape.rows, self.config.shape.width);
        let values = tensor.to_f32(rows, width).ok()?;
        Some(tensors::boundary(&values, width))
    }

    /// Take a tensor that `from` sent for unit `number`: check its signature, keep it, countersign. The digest, or
    /// `None` if it was refused.
    pub(in crate::trainer) fn take_delivery(
        &mut self,
        from: PublicKey,
        (step, number, direction): (u64, u32, Direction),
        tensor: &Tensor,
        signature: Option<Signature>,
    ) -> Option<Hash> {
        let (label_in, label_out) = self.labels(step, number);
        let label = if direction == Direction::Forward { label_in } else { label_out };
        let Some(digest) = self.digest_of(tensor) else {
            self.offence(from, "a tensor with a value that is not finite, or of another shape".into());
            return None;
        };
        let receipt = self.receipt((step, label, direction), from, self.me, digest);
        let Some(receipt) = signature.and_then(|half| receipt.received(half, &self.config.key).ok()) else {
            self.offence(from, format!("a tensor of unit {number} without its sender's signature"));
            return None;
        };
        // Two signatures for one tensor would convict this seat, so whoever sends another one is refused.
        let signed = (self.generation, step, label, direction);
        if *self.trust.countersigned.entry(signed).or_insert(digest) != digest {
            self.offence(from, format!("another tensor of unit {number} than this seat has signed for"));
            return None;
        }
        let signature = receipt.receiver;
        let kept = Kept { values: tensor.data.bytes().clone(), receipts: vec![receipt] };
        self.keep(step, label, direction, kept);
        let generation = self.generation;
        self.tell(from, Countersign { generation, step, label, direction, signature });
        Some(digest)
    }

    /// Sign a tensor of unit `number` for `to`.
    pub(in crate::trainer) fn sign_delivery(
        &self,
        to: PublicKey,
        (step, number, direction): (u64, u32, Direction),
        digest: Hash,
    ) -> Option<Signature> {
        if self.config.shape.is_probe(number) {
            return None;
        }
        let (label_in, label_out) = self.labels(step, number);
        let label = if direction == Direction::Forward { label_out } else { label_in };
        Some(self.receipt((step, label, direction), self.me, to, digest).sent(&self.config.key))
    }

    /// Keep what this seat made of unit `number`; receipts follow when it was sent.
    pub(in crate::trainer) fn keep_made(
        &mut self,
        (step, number, direction): (u64, u32, Direction),
        tensor: &Tensor,
    ) {
        if self.config.shape.is_probe(number) {
            return;
        }
        let (label_in, label_out) = self.labels(step, number);
        let label = if direction == Direction::Forward { label_out } else { label_in };
        let kept = Kept { values: tensor.data.bytes().clone(), receipts: Vec::new() };
        self.keep(step, label, direction, kept);
    }

    fn keep(&mut self, step: u64, label: Label, direction: Direction, kept: Kept) {
        let place = (step, self.generation);
        // Where there is no room, audits fall back on the other sides of the edge, which keep the same.
        let _ = self.trust.served.retention().keep(place, label, direction, kept);
    }

    pub(in crate::trainer) fn on_countersign(&mut self, from: PublicKey, message: Countersign) {
        let Countersign { generation, step, label, direction, signature } = message;
        if generation != self.generation {
            return;
        }
        let number = number_of(&label);
        let (label_in, label_out) = self.labels(step, number);
        let expected = if direction == Direction::Forward { label_out } else { label_in };
        let digest = self.unit(step, number).and_then(|unit| match direction {
            Direction::Forward => unit.y,
            Direction::Backward => unit.dx,
        });
        let Some(digest) = digest.filter(|_| label == expected) else { return };
        let receipt = self.receipt((step, label, direction), self.me, from, digest);
        let sender = receipt.sent(&self.config.key);
        let receipt = tessera_audit::unit::Receipt { receipt, sender, receiver: signature };
        if receipt.verify().is_err() {
            return self.offence(from, format!("a false countersignature of unit {number}"));
        }
        self.trust.served.retention().countersigned((step, generation), &label, direction, receipt);
    }

    /// Send a message of the audit protocol.
    pub(in crate::trainer) fn tell(&mut self, to: PublicKey, message: impl Into<AuditMessage>) {
        // Every message of the protocol is smaller than a wire message may be.
        if let Ok(message) = Blob::new(encode(&message.into())) {
            self.send(to, Audit { message });
        }
    }
}
