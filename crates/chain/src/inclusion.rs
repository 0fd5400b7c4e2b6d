//! Prove that an event happened, or that a transaction was included, against one final header.
//!
//! The header binds the events and the transactions of its block by one Merkle root each. A proof carries the
//! item and its path: 32 bytes for each doubling of the block's length, where the whole block would be needed
//! without it. Several items of one block share the header and its certificate.
//!
//! That an included transaction was *not* refused follows from an event that only its success causes; the
//! absence of an event needs all events of the block.

use crate::{
    block::{event_tree, tx_tree},
    certificate::CertifiedHeader,
};
use tessera_canon::{List, MerklePath, record};
use tessera_ledger::{Event, SignedTx};

/// Most events in one proof.
pub const MAX_PROVED_EVENTS: usize = 256;
/// Most transactions in one proof.
pub const MAX_PROVED_TXS: usize = 16;

record! {
    /// An event and where it stands among the events of its block.
    pub struct ProvedEvent { pub event: Event, pub path: MerklePath }
}
record! {
    /// A transaction and where it stands among those of its block.
    pub struct ProvedTx { pub tx: SignedTx, pub path: MerklePath }
}
record! {
    /// Events and transactions of one block.
    pub struct Inclusion {
        /// The final header of that block.
        pub header: CertifiedHeader,
        /// The events, in the order asked for.
        pub events: List<ProvedEvent, MAX_PROVED_EVENTS>,
        /// The transactions, in the order asked for.
        pub txs: List<ProvedTx, MAX_PROVED_TXS>,
    }
}

impl Inclusion {
    /// Prove the items at these places of a block; `None` where there is no such place or too many are wanted.
    /// `events` and `txs` must be those that `header` binds, else the proof does not hold.
    pub fn prove(
        header: CertifiedHeader,
        events: (&[Event], &[u32]),
        txs: (&[SignedTx], &[u32]),
    ) -> Option<Self> {
        let (event_tree, tx_tree) = (event_tree(events.0), tx_tree(txs.0));
        let proved = events.1.iter().map(|at| {
            let event = events.0.get(*at as usize)?.clone();
            Some(ProvedEvent { event, path: event_tree.path(u64::from(*at))? })
        });
        let events = List::new(proved.collect::<Option<Vec<_>>>()?).ok()?;
        let proved = txs.1.iter().map(|at| {
            let tx = txs.0.get(*at as usize)?.clone();
            Some(ProvedTx { tx, path: tx_tree.path(u64::from(*at))? })
        });
        Some(Self { header, events, txs: List::new(proved.collect::<Option<Vec<_>>>()?).ok()? })
    }
}
