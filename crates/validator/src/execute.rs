//! Run a block's transactions on the ledger, fetching cells as it asks for them.
//!
//! One routine serves proposing and checking, so that both give the same root: the ledger's session decides
//! what a transaction writes, a refused one leaves nothing behind, and writes come out sorted by key. The
//! network's genesis cells enter the state in block 1, before anything else, so state sync and restart never
//! see a state that no block made.

use std::{collections::BTreeMap, future::Future};
use tessera_ledger::{BlockContext, BlockSession, Cell, Event, Key, Need, Outcome, Receipt, SignedTx};

/// Where cells come from: the authenticated store, or a map in tests.
pub(crate) trait Cells: Send + Sync {
    /// Why a read failed; for the store, that the chain moved on.
    type Error: Send;
    /// The cells of `keys`, in order.
    fn fetch(&self, keys: &[Key]) -> impl Future<Output = Result<Vec<Option<Cell>>, Self::Error>> + Send;
}

/// Initial cells of a network, by key.
pub(crate) type GenesisCells = BTreeMap<Key, Cell>;

/// What a block did.
#[derive(Debug)]
pub(crate) struct Executed {
    /// Writes, ascending by key.
    pub(crate) writes: Vec<(Key, Option<Cell>)>,
    /// Events, in order.
    pub(crate) events: Vec<Event>,
    /// Transactions in the block, in order.
    pub(crate) txs: Vec<SignedTx>,
    /// Their receipts.
    pub(crate) receipts: Vec<Receipt>,
    /// Offered transactions that may not be in a block, with the reason.
    pub(crate) refused: Vec<(SignedTx, Receipt)>,
}

/// Execute `offered` in `context`, leaving out what may not be included.
///
/// A verifier refuses the block if anything was left out.
pub(crate) async fn execute<C: Cells>(
    context: BlockContext,
    genesis: &GenesisCells,
    cells: &C,
    offered: Vec<SignedTx>,
) -> Result<Executed, C::Error> {
    let first = context.height == 1;
    let initial = if first { genesis.clone() } else { GenesisCells::new() };
    let mut session = BlockSession::new(context);
    let supply = async |session: &mut BlockSession, Need(keys): Need| {
        let wanted: Vec<Key> = keys.iter().filter(|key| !initial.contains_key(*key)).copied().collect();
        for (key, cell) in wanted.iter().zip(cells.fetch(&wanted).await?) {
            session.supply(*key, cell);
        }
        for key in keys {
            if let Some(cell) = initial.get(&key) {
                session.supply(key, Some(*cell));
            }
        }
        Ok(())
    };
    while let Err(need) = session.begin() {
        supply(&mut session, need).await?;
    }
    let (mut txs, mut receipts, mut refused) = (Vec::with_capacity(offered.len()), Vec::new(), Vec::new());
    for tx in offered {
        let receipt = loop {
            match session.apply(&tx) {
                Ok(receipt) => break receipt,
                Err(need) => supply(&mut session, need).await?,
            }
        };
        if receipt.includable() {
            txs.push(tx);
            receipts.push(receipt);
        } else {
            refused.push((tx, receipt));
        }
    }
    while let Err(need) = session.end() {
        supply(&mut session, need).await?;
    }
    let Outcome { writes, events, .. } = session.finish();
    let mut all: BTreeMap<Key, Option<Cell>> = initial.into_iter().map(|(key, cell)| (key, Some(cell))).collect();
    all.extend(writes);
    Ok(Executed { writes: all.into_iter().collect(), events, txs, receipts, refused })
}
