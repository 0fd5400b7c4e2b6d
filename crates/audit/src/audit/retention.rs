//! Keep boundary tensors, receipts and openings for as long as audits may need them, within a budget of bytes.
//!
//! Sender, receiver and worker each keep theirs for `retention_steps` steps and not into another generation. Where memory
//! does not suffice the oldest whole step goes first; [`Retention::reach`] says how far back a seat can still serve,
//! so that an operator sees a budget that is too small before it costs a fault.

use crate::{
    draw::canary::{Canary, CanaryInput},
    unit::{Commitment, Direction, Label, Receipt, SignedHeader},
};
use bytes::Bytes;
use std::collections::BTreeMap;
use tessera_canon::PublicKey;

/// Bytes that a receipt and its place in the index take.
const RECEIPT_BYTES: usize = 512;

/// Seats that one tensor may be exchanged with: a unit goes to another seat when one is lost.
const MOST_RECEIPTS: usize = 8;

/// A tensor that passed one of this seat's edges.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Bit patterns of `f32`, little-endian.
    pub values: Bytes,
    /// With each seat that it was exchanged with and that has signed too.
    pub receipts: Vec<Receipt>,
}

impl Kept {
    /// The receipt of its passing from or to `seat`.
    pub fn receipt_of(&self, seat: &PublicKey) -> Option<&Receipt> {
        self.receipts.iter().find(|held| held.receipt.from == *seat || held.receipt.to == *seat)
    }
    /// The numbers that `values` holds.
    pub fn numbers(&self) -> Vec<f32> {
        numbers(&self.values)
    }
    fn bytes(&self) -> usize {
        self.values.len() + RECEIPT_BYTES * (1 + self.receipts.len())
    }
}

/// The numbers of which `bytes` are the bit patterns, little-endian; a rest below four bytes is dropped.
pub fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// What this seat committed to in a step.
#[derive(Clone, Debug)]
pub struct Committed {
    pub header: SignedHeader,
    pub commitment: Commitment,
    pub canary: Option<(Canary, CanaryInput)>,
}

#[derive(Clone, Debug, Default)]
struct Step {
    tensors: BTreeMap<(Label, Direction), Kept>,
    committed: Option<Committed>,
    bytes: usize,
}

/// Why something was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    #[error(
        "{bytes} bytes of step {step} do not fit a retention of {budget} bytes; allow more memory, or audits will find nothing here"
    )]
    NoRoom { step: u64, bytes: usize, budget: usize },
    #[error("step {step} is older than the {oldest} that is still kept")]
    Old { step: u64, oldest: u64 },
}

/// Step and generation: a step that is done again after a rollback is another one.
pub type Place = (u64, u32);

/// The store.
#[derive(Clone, Debug)]
pub struct Retention {
    steps: BTreeMap<Place, Step>,
    span: u64,
    oldest: u64,
    budget: usize,
    bytes: usize,
}

impl Retention {
    /// Keep `span` steps in at most `budget` bytes.
    pub fn new(span: u32, budget: usize) -> Self {
        Self { steps: BTreeMap::new(), span: span.into(), oldest: 0, budget, bytes: 0 }
    }
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// The oldest step that is still whole here.
    pub fn reach(&self) -> u64 {
        self.oldest
    }

    /// Keep a tensor of an edge. A second one for the same edge and direction replaces the first.
    pub fn keep(
        &mut self,
        place: Place,
        label: Label,
        direction: Direction,
        kept: Kept,
    ) -> Result<(), KeepError> {
        let bytes = kept.bytes();
        self.make_room(place.0, bytes)?;
        let entry = self.steps.entry(place).or_default();
        let replaced = entry.tensors.insert((label, direction), kept).map_or(0, |old| old.bytes());
        entry.bytes = entry.bytes + bytes - replaced;
        self.bytes = self.bytes + bytes - replaced;
        Ok(())
    }
    /// Add a receipt of a tensor that is kept.
    pub fn countersigned(&mut self, place: Place, label: &Label, direction: Direction, receipt: Receipt) {
        let kept = self.steps.get_mut(&place).and_then(|step| step.tensors.get_mut(&(*label, direction)));
        if let Some(kept) = kept {
            let other = |held: &Receipt| {
                (held.receipt.from, held.receipt.to) != (receipt.receipt.from, receipt.receipt.to)
            };
            if kept.receipts.len() < MOST_RECEIPTS && kept.receipts.iter().all(other) {
                kept.receipts.push(receipt);
            }
        }
    }
    /// Keep what the seat committed to in a step.
    pub fn keep_commitment(&mut self, place: Place, committed: Committed) -> Result<(), KeepError> {
        let bytes = committed_bytes(&committed);
        self.make_room(place.0, bytes)?;
        let entry = self.steps.entry(place).or_default();
        let replaced = entry.committed.replace(committed).as_ref().map_or(0, committed_bytes);
        entry.bytes = entry.bytes + bytes - replaced;
        self.bytes = self.bytes + bytes - replaced;
        Ok(())
    }
    /// A tensor that is still here.
    pub fn tensor(&self, place: Place, label: &Label, direction: Direction) -> Option<&Kept> {
        self.steps.get(&place)?.tensors.get(&(*label, direction))
    }
    /// A commitment that is still here.
    pub fn committed(&self, place: Place) -> Option<&Committed> {
        self.steps.get(&place)?.committed.as_ref()
    }
    /// The run has come to `step`: what is older than the span goes.
    pub fn advance(&mut self, step: u64) {
        self.forget_before((step + 1).saturating_sub(self.span));
    }
    /// The run was rolled back to `step` and does it again.
    pub fn rewind(&mut self, step: u64) {
        self.oldest = self.oldest.min(step);
    }

    fn forget_before(&mut self, oldest: u64) {
        self.oldest = self.oldest.max(oldest);
        let kept = self.steps.split_off(&(self.oldest, 0));
        self.steps = kept;
        self.bytes = self.steps.values().map(|step| step.bytes).sum();
    }

    fn make_room(&mut self, step: u64, bytes: usize) -> Result<(), KeepError> {
        if step < self.oldest {
            return Err(KeepError::Old { step, oldest: self.oldest });
        }
        while self.bytes + bytes > self.budget {
            match self.steps.keys().next() {
                Some((first, _)) if *first < step => self.forget_before(first + 1),
                _ => return Err(KeepError::NoRoom { step, bytes, budget: self.budget }),
            }
        }
        Ok(())
    }
}

fn committed_bytes(committed: &Committed) -> usize {
    // Leaf, edges and tree of each unit.
    RECEIPT_BYTES + committed.commitment.leaves().len() * 768
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::{receipt_for_tests, tests::leaf};
    use tessera_canon::SecretKey;

    fn kept(step: u64, values: usize) -> Kept {
        let key = SecretKey::from_seed([1; 32]);
        let leaf = leaf(&key, step, 1);
        let receipt = receipt_for_tests(&leaf, &key, &key, [1; 16], Direction::Forward, leaf.x);
        Kept { values: vec![0; 4 * values].into(), receipts: vec![receipt] }
    }

    #[test]
    fn old_steps_go_by_age_and_by_memory() {
        let each = 4 * 1000 + 2 * RECEIPT_BYTES;
        let mut store = Retention::new(8, 10 * each);
        for step in 0..8 {
            store.keep((step, 0), [1; 16], Direction::Forward, kept(step, 1000)).unwrap();
        }
        assert_eq!(store.bytes(), 8 * each);
        store.advance(8);
        assert!(store.tensor((0, 0), &[1; 16], Direction::Forward).is_none());
        assert!(store.tensor((1, 0), &[1; 16], Direction::Forward).is_some());
        assert_eq!((store.bytes(), store.reach()), (7 * each, 1));
        assert!(matches!(
            store.keep((0, 0), [1; 16], Direction::Forward, kept(0, 1)),
            Err(KeepError::Old { step: 0, oldest: 1 })
        ));
        for label in 2..9 {
            store.keep((8, 0), [label; 16], Direction::Forward, kept(8, 1000)).unwrap();
        }
        assert_eq!(store.bytes(), 10 * each, "the budget is never exceeded");
        assert_eq!(store.reach(), 5, "whole steps went, the oldest first");
        store.keep((8, 0), [8; 16], Direction::Forward, kept(8, 1000)).unwrap();
        let before = store.bytes();
        store.keep((8, 0), [8; 16], Direction::Forward, kept(8, 1000)).unwrap();
        assert_eq!(store.bytes(), before, "a repetition takes no more");
        let huge = store.keep((8, 0), [20; 16], Direction::Forward, kept(8, 100_000));
        assert!(matches!(huge, Err(KeepError::NoRoom { step: 8, .. })));
        store.rewind(3);
        store.keep((3, 1), [8; 16], Direction::Forward, kept(3, 1)).unwrap();
        store.advance(12);
        store.keep((6, 0), [1; 16], Direction::Forward, kept(6, 1)).unwrap();
        store.keep((6, 1), [8; 16], Direction::Forward, kept(6, 1)).unwrap();
        assert!(store.tensor((6, 1), &[8; 16], Direction::Forward).is_some());
        assert!(store.tensor((6, 0), &[1; 16], Direction::Forward).is_some(), "both generations are kept");
        assert!(store.tensor((6, 1), &[1; 16], Direction::Forward).is_none(), "and told apart");
    }
}
