//! Hold transactions that wait for a block, in bounded space.
//!
//! Ordered by sender and nonce, one transaction for each; a higher fee replaces. Proposals take the first of
//! every sender, then the second, so one sender cannot fill a block while others wait. What a final block
//! included or made impossible is removed; what nobody could include expires. What stands in a block that may
//! yet be abandoned stays, and is only not offered again on top of that block.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};
use tessera_canon::{Hash, PublicKey};
use tessera_chain::{MAX_BLOCK_BYTES, MAX_BLOCK_TXS};
use tessera_ledger::{MAX_TX_BYTES, SignedTx};
use tokio::sync::Notify;

/// Most transactions that wait: what arrives in some seconds without a block, at several thousand a second.
pub const MAX_WAITING: usize = 16_384;
/// Most bytes of waiting transactions.
pub const MAX_WAITING_BYTES: usize = 16 << 20;
/// Most waiting transactions of one sender, which is also how far a nonce may be ahead of the ledger.
pub const MAX_OF_SENDER: usize = 64;
/// Blocks after which a transaction that was never included is dropped.
const EXPIRY_BLOCKS: u64 = 1200;

/// Why a validator did not take a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// For another network.
    #[error("expected a transaction for network {expected}, got one for {got}")]
    OtherNetwork { expected: Hash, got: Hash },
    /// Too many bytes.
    #[error("a transaction has at most {MAX_TX_BYTES} bytes, got {got}")]
    TooBig { got: usize },
    /// The signature is not the sender's.
    #[error("the signature is not that of the sender {sender}")]
    BadSignature { sender: PublicKey },
    /// The nonce was used already.
    #[error("nonce {got} is used: the next one of this sender is {expected}")]
    NonceUsed { expected: u64, got: u64 },
    /// The nonce is too far ahead.
    #[error(
        "nonce {got} is too far ahead: the next one of this sender is {expected}, at most {MAX_OF_SENDER} may wait"
    )]
    NonceTooFar { expected: u64, got: u64 },
    /// Another transaction with this nonce waits.
    #[error("another transaction with nonce {nonce} waits; offer a higher fee than {fee} to replace it")]
    NonceTaken { nonce: u64, fee: u128 },
    /// The ledger would not include it.
    #[error("the ledger refuses it: {reason}")]
    Refused { reason: String },
    /// No room.
    #[error(
        "the validator holds {MAX_WAITING} waiting transactions already: try again later or offer it to another"
    )]
    Full,
    /// The validator is still downloading the ledger.
    #[error("the validator is still catching up: try again later or offer it to another")]
    NotReady,
    /// The validator has ended.
    #[error("the validator has stopped")]
    Stopped,
}

impl SubmitError {
    /// Whether the same transaction may be taken later or by another validator.
    pub fn may_retry(&self) -> bool {
        matches!(self, Self::Full | Self::NotReady | Self::Stopped | Self::NonceTooFar { .. })
    }
}

#[derive(Debug)]
struct Waiting {
    tx: SignedTx,
    id: Hash,
    bytes: usize,
    since: u64,
}

#[derive(Debug, Default)]
struct Pool {
    senders: BTreeMap<PublicKey, BTreeMap<u64, Waiting>>,
    count: usize,
    bytes: usize,
    height: u64,
}

/// The pool, shared between the API, gossip and the proposer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mempool {
    pool: Arc<Mutex<Pool>>,
    arrived: Arc<Notify>,
}

impl Mempool {
    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
    /// Add a transaction whose signature was checked; `expected` is its sender's next nonce on the ledger.
    /// Returns whether it is new.
    pub(crate) fn insert(&self, tx: SignedTx, expected: u64) -> Result<bool, SubmitError> {
        let (sender, nonce, id, bytes) = (tx.body.sender, tx.body.nonce, tx.id(), tx.size());
        if nonce < expected {
            return Err(SubmitError::NonceUsed { expected, got: nonce });
        }
        if nonce - expected >= MAX_OF_SENDER as u64 {
            return Err(SubmitError::NonceTooFar { expected, got: nonce });
        }
        let mut guard = self.lock();
        let pool = &mut *guard;
        let known = pool.senders.get(&sender).and_then(|queue| queue.get(&nonce));
        let freed = match known {
            Some(old) if old.id == id => return Ok(false),
            Some(old) if old.tx.body.fee >= tx.body.fee => {
                return Err(SubmitError::NonceTaken { nonce, fee: old.tx.body.fee });
            }
            Some(old) => (1, old.bytes),
            None => (0, 0),
        };
        let (count, total) = (pool.count - freed.0 + 1, pool.bytes - freed.1 + bytes);
        if count > MAX_WAITING || total > MAX_WAITING_BYTES {
            return Err(SubmitError::Full);
        }
        let since = pool.height;
        pool.senders.entry(sender).or_default().insert(nonce, Waiting { tx, id, bytes, since });
        (pool.count, pool.bytes) = (count, total);
        drop(guard);
        self.arrived.notify_waiters();
        Ok(true)
    }
    /// Transactions to offer to a block, within a block's bounds. `next` has the next nonce of senders whose
    /// transactions stand in blocks between the newest final one and this block.
    pub(crate) fn candidates(&self, next: &BTreeMap<PublicKey, u64>) -> Vec<SignedTx> {
        let pool = self.lock();
        let mut queues: Vec<_> = pool
            .senders
            .iter()
            .map(|(sender, queue)| queue.range(next.get(sender).copied().unwrap_or(0)..))
            .collect();
        let (mut chosen, mut bytes) = (Vec::new(), 0);
        while !queues.is_empty() {
            let mut full = false;
            queues.retain_mut(|queue| {
                let Some((_, waiting)) = queue.next().filter(|_| !full) else { return false };
                full = chosen.len() == MAX_BLOCK_TXS || bytes + waiting.bytes > MAX_BLOCK_BYTES;
                if !full {
                    bytes += waiting.bytes;
                    chosen.push(waiting.tx.clone());
                }
                !full
            });
        }
        chosen
    }
    /// Forget what a final block included and what it made impossible or too old.
    pub(crate) fn settle(&self, height: u64, included: &[SignedTx]) {
        let mut pool = self.lock();
        pool.height = height;
        for tx in included {
            if let Some(queue) = pool.senders.get_mut(&tx.body.sender) {
                *queue = queue.split_off(&tx.body.nonce.saturating_add(1));
            }
        }
        for queue in pool.senders.values_mut() {
            queue.retain(|_, waiting| height.saturating_sub(waiting.since) < EXPIRY_BLOCKS);
        }
        pool.senders.retain(|_, queue| !queue.is_empty());
        pool.count = pool.senders.values().map(BTreeMap::len).sum();
        pool.bytes = pool.senders.values().flat_map(BTreeMap::values).map(|waiting| waiting.bytes).sum();
    }
    /// Remove one transaction that can never be included.
    pub(crate) fn forget(&self, tx: &SignedTx) {
        let mut pool = self.lock();
        let removed = pool.senders.get_mut(&tx.body.sender).and_then(|queue| queue.remove(&tx.body.nonce));
        if let Some(waiting) = removed {
            pool.count -= 1;
            pool.bytes -= waiting.bytes;
        }
    }
    /// Number of waiting transactions.
    pub(crate) fn len(&self) -> usize {
        self.lock().count
    }
    /// Wait until something arrives. Create the future before looking at [`Mempool::len`].
    pub(crate) fn arrival(&self) -> impl Future<Output = ()> + Send + use<> {
        let arrived = self.arrived.clone();
        async move { arrived.notified().await }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_canon::SecretKey;
    use tessera_ledger::{Tx, action};

    fn tx(sender: u8, nonce: u64, fee: u128) -> SignedTx {
        let key = SecretKey::from_seed([sender; 32]);
        let action = action::Transfer { to: key.public(), amount: 1 }.into();
        let fee_from = tessera_ledger::FeeSource::default();
        SignedTx::sign(&key, Tx { network: Hash::ZERO, sender: key.public(), nonce, fee, fee_from, action })
    }

    #[test]
    fn one_transaction_a_nonce_and_the_higher_fee_stays() {
        let pool = Mempool::default();
        assert_eq!(pool.insert(tx(1, 0, 5), 0), Ok(true));
        assert_eq!(pool.insert(tx(1, 0, 5), 0), Ok(false));
        assert_eq!(pool.insert(tx(1, 0, 4), 0), Err(SubmitError::NonceTaken { nonce: 0, fee: 5 }));
        assert_eq!(pool.insert(tx(1, 0, 6), 0), Ok(true));
        assert_eq!(pool.candidates(&BTreeMap::new()), vec![tx(1, 0, 6)]);
        assert_eq!(pool.insert(tx(1, 3, 5), 4), Err(SubmitError::NonceUsed { expected: 4, got: 3 }));
        assert_eq!(pool.insert(tx(1, 64, 5), 0), Err(SubmitError::NonceTooFar { expected: 0, got: 64 }));
        assert_eq!(pool.len(), 1);
    }

    #[test]
    fn senders_take_turns_and_final_blocks_clear_them() {
        let pool = Mempool::default();
        for (sender, nonce) in [(1, 1), (1, 0), (2, 7), (1, 2)] {
            pool.insert(tx(sender, nonce, 1), nonce.saturating_sub(2)).unwrap();
        }
        let nonces: Vec<u64> = pool.candidates(&BTreeMap::new()).iter().map(|tx| tx.body.nonce).collect();
        let own: Vec<u64> = nonces.iter().copied().filter(|nonce| *nonce < 7).collect();
        assert_eq!(own, [0, 1, 2]);
        assert!(
            nonces[..2].contains(&7),
            "the second sender comes before the first one's second: {nonces:?}"
        );
        pool.settle(5, &[tx(1, 1, 9)]);
        assert_eq!(pool.len(), 2);
        pool.forget(&tx(1, 2, 1));
        assert_eq!(pool.candidates(&BTreeMap::new()), vec![tx(2, 7, 1)]);
        pool.settle(5 + EXPIRY_BLOCKS, &[]);
        assert_eq!((pool.len(), pool.lock().bytes), (0, 0));
    }

    /// A block that is not final yet may be abandoned: what stands in it is not offered on top of it, and is
    /// offered again beside it.
    #[test]
    fn what_stands_in_an_unfinished_block_waits_on() {
        let pool = Mempool::default();
        for nonce in 0..3 {
            pool.insert(tx(1, nonce, 1), 0).unwrap();
        }
        pool.insert(tx(2, 0, 1), 0).unwrap();
        let next = BTreeMap::from([(tx(1, 0, 1).body.sender, 2), (tx(2, 0, 1).body.sender, 1)]);
        assert_eq!(pool.candidates(&next), vec![tx(1, 2, 1)]);
        assert_eq!(pool.candidates(&BTreeMap::new()).len(), 4);
    }

    #[test]
    fn the_pool_is_bounded() {
        let pool = Mempool::default();
        let mut taken = 0;
        'all: for sender in 0..=255 {
            for nonce in 0..MAX_OF_SENDER as u64 {
                match pool.insert(tx(sender, nonce, 1), 0) {
                    Ok(new) => taken += usize::from(new),
                    Err(error) => {
                        assert_eq!(error, SubmitError::Full);
                        break 'all;
                    }
                }
            }
        }
        assert_eq!((taken, pool.len()), (MAX_WAITING, MAX_WAITING));
        assert!(pool.candidates(&BTreeMap::new()).len() <= MAX_BLOCK_TXS);
    }
}
