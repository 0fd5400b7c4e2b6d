//! Turn a proof that a peer sent into a lock that the ledger holds.
//!
//! [`LightClient`] is the one implementation that a node uses: it verifies the committee's certificate and the
//! cell's path. The trait exists so that tests of the protocol can prove cells against a ledger state in
//! memory; what a [`ProvedLock`] says is never checked more weakly because of it.

use crate::Refusal;
use tessera_canon::{Hash, decode};
use tessera_chain::{LightClient, StateProof};
use tessera_ledger::{Cell, keys, query, record::Lock};

/// Cells of the ledger at one height, as a proof established them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedCells {
    /// Height of the block whose state was proved.
    pub height: u64,
    /// Every proved key with what it holds.
    pub cells: Vec<(Hash, Option<Cell>)>,
}

/// Verifies proofs against the network that this host follows.
pub trait CellProofs: Send {
    /// The cells of `keys` that `proof`, an encoded [`StateProof`], establishes; or why it establishes nothing.
    fn verify(&self, proof: &[u8], keys: &[Hash]) -> Result<ProvedCells, Refusal>;
}

impl CellProofs for LightClient {
    fn verify(&self, proof: &[u8], keys: &[Hash]) -> Result<ProvedCells, Refusal> {
        let proof: StateProof =
            decode(proof).map_err(|error| Refusal::Proof { reason: error.to_string() })?;
        let proved =
            self.verify_state(&proof, keys).map_err(|error| Refusal::Proof { reason: error.to_string() })?;
        Ok(ProvedCells { height: proved.header.height, cells: proved.cells })
    }
}

/// A lock and the height at which it stood so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedLock {
    pub height: u64,
    pub lock: Lock,
}

/// The lock of `order` among proved cells.
pub(crate) fn find_lock(proved: &ProvedCells, order: &Hash) -> Result<ProvedLock, Refusal> {
    let key = keys::lock(order);
    let cell = |wanted: &Hash| proved.cells.iter().find(|(key, _)| key == wanted).and_then(|(_, cell)| *cell);
    match query::read::<Lock>(cell, &key) {
        Some(lock) if lock.order == *order => Ok(ProvedLock { height: proved.height, lock }),
        _ => Err(Refusal::NoLock { order: *order }),
    }
}
