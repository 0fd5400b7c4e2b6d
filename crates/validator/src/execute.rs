//! Run a block's transactions on the ledger, fetching cells as it asks for them.
//!
//! One routine serves proposing and checking, so that both give the same root: the ledger's session decides
//! what a transaction writes, a refused one leaves nothing behind, and writes come out sorted by key. Cells that
//! almost every transaction needs are fetched for all of them at once: one read of many cells is much cheaper
//! than many reads, and a cell too many changes nothing. The network's genesis cells enter the state in block 1, before
//! anything else, so state sync and restart never see a state that no block made.

use crate::verified::Verified;
use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
};
use tessera_audit::referee::TrustReferee;
use tessera_ledger::{
    Action, BlockContext, BlockSession, Cell, Event, Key, Need, Outcome, Receipt, SignedTx, keys,
};

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

/// Cells that `offered` will surely or probably ask for.
fn foreseen(offered: &[SignedTx]) -> Vec<Key> {
    let mut wanted = BTreeSet::new();
    for tx in offered {
        wanted.insert(keys::account(&tx.body.sender));
        if let Action::Transfer(transfer) = &tx.body.action {
            wanted.insert(keys::account(&transfer.to));
        }
    }
    if !wanted.is_empty() {
        wanted.extend([keys::params(), keys::globals()]);
    }
    wanted.into_iter().collect()
}

/// Execute `offered` in `context`, leaving out what may not be included. Signatures that `verified` knows are
/// not checked again.
///
/// A verifier refuses the block if anything was left out.
pub(crate) async fn execute<C: Cells>(
    context: BlockContext,
    genesis: &GenesisCells,
    cells: &C,
    verified: &Verified,
    offered: Vec<SignedTx>,
) -> Result<Executed, C::Error> {
    let first = context.height == 1;
    let initial = if first { genesis.clone() } else { GenesisCells::new() };
    let mut session = BlockSession::with_referee(context, Arc::new(TrustReferee));
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
    supply(&mut session, Need(foreseen(&offered))).await?;
    while let Err(need) = session.begin() {
        supply(&mut session, need).await?;
    }
    let (mut txs, mut receipts, mut refused) = (Vec::with_capacity(offered.len()), Vec::new(), Vec::new());
    for tx in offered {
        if verified.check(&tx, &tx.body.sender) {
            session.vouch(&tx, &tx.body.sender);
        }
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
    let mut all: BTreeMap<Key, Option<Cell>> =
        initial.into_iter().map(|(key, cell)| (key, Some(cell))).collect();
    all.extend(writes);
    Ok(Executed { writes: all.into_iter().collect(), events, txs, receipts, refused })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tessera_canon::{Hash, List, SecretKey};
    use tessera_ledger::{Genesis, MemState, Parameters, Tx, action, genesis::GenesisAccount};

    impl Cells for MemState {
        type Error = std::convert::Infallible;
        async fn fetch(&self, keys: &[Key]) -> Result<Vec<Option<Cell>>, Self::Error> {
            Ok(keys.iter().map(|key| self.get(key)).collect())
        }
    }

    fn key(index: u8) -> SecretKey {
        SecretKey::from_seed([index + 1; 32])
    }

    fn genesis() -> Genesis {
        let accounts =
            (0..3).map(|index| GenesisAccount { key: key(index).public(), balance: 1 << 40 }).collect();
        Genesis {
            name: "execute".parse().unwrap(),
            time_ms: 0,
            validators: List::default(),
            accounts: List::new(accounts).unwrap(),
            params: Parameters::demo(),
            consensus: Default::default(),
        }
    }

    fn run(context: &BlockContext, genesis: &GenesisCells, state: &MemState, txs: Vec<SignedTx>) -> Executed {
        futures::executor::block_on(execute(context.clone(), genesis, state, &Verified::default(), txs))
            .unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// A proposer drops what it may not include; a verifier that runs only the rest reaches the same state.
        /// Senders, nonces, amounts, fees and networks are arbitrary, so most offers are refused somewhere.
        #[test]
        fn propose_then_process_gives_the_same_state(
            offers in proptest::collection::vec((0u8..4, 0u8..4, 0u64..4, any::<bool>(), 0u128..1 << 41, any::<bool>()), 0..24),
        ) {
            let genesis = genesis();
            let initial: GenesisCells = genesis.cells().into_iter().collect();
            let network = genesis.network_id();
            let mut state = MemState::default();
            for height in 1..=2 {
                let context = BlockContext {
                    network, height, time_ms: height, beacon: Hash([height as u8; 32]), proposer: key(0).public(),
                };
                let txs: Vec<SignedTx> = offers.iter().map(|(from, to, nonce, cheap, amount, foreign)| {
                    SignedTx::sign(&key(*from), Tx {
                        network: if *foreign { Hash::ZERO } else { network },
                        sender: key(*from).public(),
                        nonce: *nonce,
                        fee: if *cheap { 0 } else { 1_000_000 },
                        fee_from: tessera_ledger::FeeSource::default(),
                        action: action::Transfer { to: key(*to).public(), amount: *amount }.into(),
                    })
                }).collect();
                let proposed = run(&context, &initial, &state, txs.clone());
                prop_assert_eq!(proposed.txs.len() + proposed.refused.len(), txs.len());
                let processed = run(&context, &initial, &state, proposed.txs.clone());
                prop_assert!(processed.refused.is_empty());
                prop_assert_eq!(&processed.writes, &proposed.writes);
                prop_assert_eq!(&processed.events, &proposed.events);
                prop_assert_eq!(&processed.receipts, &proposed.receipts);
                prop_assert!(proposed.writes.windows(2).all(|pair| pair[0].0 < pair[1].0));
                for (key, cell) in &proposed.writes {
                    match cell {
                        Some(cell) => state.0.insert(*key, *cell),
                        None => state.0.remove(key),
                    };
                }
                tessera_ledger::invariants::check(&state).map_err(|v| TestCaseError::fail(format!("{v:?}")))?;
            }
        }
    }

    #[test]
    fn block_one_opens_the_ledger() {
        let genesis = genesis();
        let initial: GenesisCells = genesis.cells().into_iter().collect();
        let context = |height| BlockContext {
            network: genesis.network_id(),
            height,
            time_ms: 1,
            beacon: Hash::ZERO,
            proposer: key(0).public(),
        };
        let opened = run(&context(1), &initial, &MemState::default(), vec![]);
        for (key, cell) in &initial {
            assert!(
                opened.writes.iter().any(|(have, value)| have == key && value.is_some()),
                "{cell:?} is missing"
            );
        }
        let state = MemState::new(&genesis);
        assert!(run(&context(2), &initial, &state, vec![]).writes.len() < initial.len());
    }
}
