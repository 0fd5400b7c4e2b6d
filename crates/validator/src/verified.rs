//! Remember whose signatures were verified, so that each is verified once in a process.
//!
//! A transaction is met when it is offered, when it is proposed, and when the block is checked. The cache holds
//! hashes of whole signed transactions (body and signature), so a known id with another signature is no hit. It
//! is bounded, the oldest go first, and only valid ones enter: garbage costs its sender's time, not room. Batch
//! verification would be cheaper still, but accepts signatures that strict verification refuses, and validators
//! must agree.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex},
};
use tessera_canon::{Domain, Hash, PublicKey, digest};
use tessera_ledger::SignedTx;

const SEEN: Domain = Domain::new("tessera/validator/verified-signature/v1");
/// Signatures remembered: 32 blocks of the greatest number of transactions, several times what may wait.
const KEPT: usize = 65_536;

#[derive(Debug, Default)]
struct Inner {
    known: HashSet<Hash>,
    order: VecDeque<Hash>,
}

/// The cache, shared by the desk and the application.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verified(Arc<Mutex<Inner>>);

impl Verified {
    /// Whether `tx`'s signature is by `signer`, the key that signs for its sender now.
    pub(crate) fn check(&self, tx: &SignedTx, signer: &PublicKey) -> bool {
        let id = digest(SEEN, &(digest(SEEN, tx), *signer));
        let lock = || self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if lock().known.contains(&id) {
            return true;
        }
        // Not under the lock: this is the slow part.
        if !tx.verify_by(signer) {
            return false;
        }
        let mut inner = lock();
        if inner.known.insert(id) {
            inner.order.push_back(id);
            if inner.order.len() > KEPT
                && let Some(oldest) = inner.order.pop_front()
            {
                inner.known.remove(&oldest);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_canon::SecretKey;
    use tessera_ledger::{Tx, action};

    #[test]
    fn a_known_transaction_with_another_signature_is_still_refused() {
        let (key, other) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
        let action = action::Transfer { to: other.public(), amount: 1 }.into();
        let body = Tx {
            network: Hash::ZERO,
            sender: key.public(),
            nonce: 0,
            fee: 1,
            fee_from: Default::default(),
            action,
        };
        let good = SignedTx::sign(&key, body.clone());
        let forged = SignedTx { body, signature: SignedTx::sign(&other, good.body.clone()).signature };
        let cache = Verified::default();
        assert!(!cache.check(&forged, &key.public()));
        assert!(cache.check(&good, &key.public()) && cache.check(&good, &key.public()));
        assert!(!cache.check(&forged, &key.public()));
        let inner = cache.0.lock().unwrap();
        assert_eq!((inner.known.len(), inner.order.len()), (1, 1));
    }
}
