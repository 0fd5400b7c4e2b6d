//! Hold a whole state in memory and run blocks on it: for tests, oracles and tools.

use crate::{
    block::{BlockContext, BlockSession, Need, Outcome},
    cell::{Cell, Key},
    genesis::Genesis,
    referee::{NoReferee, Referee},
    tx::SignedTx,
};
use std::{collections::BTreeMap, sync::Arc};
use tessera_canon::{Domain, Hash, digest_parts, merkle_root};

const LEAF: Domain = Domain::new("tessera/ledger/memory-leaf/v1");

/// Every cell of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemState(pub BTreeMap<Key, Cell>);

impl MemState {
    pub fn new(genesis: &Genesis) -> Self {
        Self(genesis.cells().into_iter().collect())
    }
    /// The cell at `key`, in the form that [`crate::query`] takes.
    pub fn get(&self, key: &Key) -> Option<Cell> {
        self.0.get(key).copied()
    }
    /// Run a block and keep its result. Transactions that must not be included change nothing.
    pub fn run_block(&mut self, context: BlockContext, txs: &[SignedTx]) -> Outcome {
        self.run_block_with(context, Arc::new(NoReferee), txs)
    }
    /// As [`Self::run_block`], with a referee for disputes.
    pub fn run_block_with(
        &mut self,
        context: BlockContext,
        referee: Arc<dyn Referee>,
        txs: &[SignedTx],
    ) -> Outcome {
        let mut session = BlockSession::with_referee(context, referee);
        self.drive(&mut session, BlockSession::begin);
        for tx in txs {
            self.drive(&mut session, |session| session.apply(tx));
        }
        self.drive(&mut session, BlockSession::end);
        let outcome = session.finish();
        self.commit(&outcome);
        outcome
    }
    /// Repeat `call` until it needs nothing more.
    pub fn drive<T>(
        &self,
        session: &mut BlockSession,
        mut call: impl FnMut(&mut BlockSession) -> Result<T, Need>,
    ) -> T {
        loop {
            match call(session) {
                Ok(value) => return value,
                Err(Need(keys)) => {
                    assert!(!keys.is_empty(), "a call that cannot finish names the keys it needs");
                    for key in keys {
                        session.supply(key, self.get(&key));
                    }
                }
            }
        }
    }
    /// Write a block's result.
    pub fn commit(&mut self, outcome: &Outcome) {
        for (key, cell) in &outcome.writes {
            match cell {
                Some(cell) => self.0.insert(*key, *cell),
                None => self.0.remove(key),
            };
        }
    }
    /// A hash of the whole state. Not the root that consensus certifies: that one belongs to its store.
    pub fn root(&self) -> Hash {
        merkle_root(self.0.iter().map(|(key, cell)| digest_parts(LEAF, [&key.0[..], &cell.0[..]])).collect())
    }
}
