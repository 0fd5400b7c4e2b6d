//! Keep what the last blocks did, for those who ask: receipts, events, the newest header.
//!
//! Everything here can be lost without harm; the chain itself is in the engine's storage.

use crate::execute::Executed;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
};
use tessera_canon::Hash;
use tessera_chain::{Block, Header};
use tessera_ledger::{Event, Receipt, SignedTx};
use tokio::sync::broadcast;

/// Receipts kept: the newest.
pub const MAX_RECEIPTS: usize = 16_384;
/// Final blocks that a slow subscriber may lag behind before it loses some.
pub const FEED_BLOCKS: usize = 256;
/// Executed but not yet final blocks kept.
const MAX_EXECUTED: usize = 128;

/// A block that is final, with what it did.
#[derive(Clone, Debug)]
pub struct FinalizedBlock {
    /// Its header.
    pub header: Header,
    /// Its transactions, in order.
    pub txs: Vec<SignedTx>,
    /// Their receipts, in the same order.
    pub receipts: Vec<Receipt>,
    /// The events of the block, in order.
    pub events: Vec<Event>,
}

/// Receipts and events of one executed block.
type Effects = (Vec<Receipt>, Vec<Event>);

#[derive(Debug, Default)]
struct Inner {
    executed: BTreeMap<(u64, Hash), Effects>,
    receipts: BTreeMap<Hash, (u64, Receipt)>,
    order: VecDeque<Hash>,
    tip: Option<Header>,
    transactions: u64,
}

/// The record, shared between the application and those who ask.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    inner: Arc<Mutex<Inner>>,
    feed: broadcast::Sender<Arc<FinalizedBlock>>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { inner: Arc::default(), feed: broadcast::Sender::new(FEED_BLOCKS) }
    }
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
    /// Note what a block that may become final did.
    pub(crate) fn executed(&self, header: &Header, executed: Executed) {
        let mut inner = self.lock();
        inner.executed.insert((header.height, header.digest()), (executed.receipts, executed.events));
        while inner.executed.len() > MAX_EXECUTED {
            inner.executed.pop_first();
        }
    }
    /// Note that a block is final and its state applied.
    pub(crate) fn finalized(&self, block: &Block) {
        let header = block.header();
        let mut inner = self.lock();
        let effects = inner.executed.remove(&(header.height, header.digest()));
        inner.executed = inner.executed.split_off(&(header.height + 1, Hash::ZERO));
        if effects.is_none() {
            tracing::warn!(height = header.height, "effects of a final block were forgotten");
        }
        let (receipts, events) = effects.unwrap_or_default();
        for (tx, receipt) in block.txs().iter().zip(&receipts) {
            let id = tx.id();
            if inner.receipts.insert(id, (header.height, receipt.clone())).is_none() {
                inner.order.push_back(id);
            }
        }
        while inner.order.len() > MAX_RECEIPTS {
            if let Some(oldest) = inner.order.pop_front() {
                inner.receipts.remove(&oldest);
            }
        }
        inner.tip = Some(header.clone());
        inner.transactions += block.txs().len() as u64;
        drop(inner);
        let news = FinalizedBlock { header: header.clone(), txs: block.txs().to_vec(), receipts, events };
        // An error means that nobody listens.
        let _ = self.feed.send(Arc::new(news));
    }
    /// Start from a header that was applied before this process began.
    pub(crate) fn resume(&self, header: Header) {
        let mut inner = self.lock();
        if inner.tip.as_ref().is_none_or(|tip| tip.height < header.height) {
            inner.tip = Some(header);
        }
    }
    /// The newest final header whose state is applied.
    pub(crate) fn tip(&self) -> Option<Header> {
        self.lock().tip.clone()
    }
    /// Height and receipt of an included transaction.
    pub(crate) fn receipt(&self, id: &Hash) -> Option<(u64, Receipt)> {
        self.lock().receipts.get(id).cloned()
    }
    /// Transactions made final since this process began.
    pub(crate) fn transactions(&self) -> u64 {
        self.lock().transactions
    }
    /// Listen to final blocks from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<FinalizedBlock>> {
        self.feed.subscribe()
    }
}
