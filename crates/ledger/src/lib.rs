//! Keep who did which work, who owns which run, and who may use it: the ledger as a pure integer state machine.
//!
//! ```text
//! driver                         this crate
//! BlockSession::new(context) ->  .begin()   epoch boundary, seat draws     -> Ok | Need(keys)
//!                                .apply(tx) one transaction, atomically    -> Receipt | Need(keys)
//!                                .end()     indexes are brought up to date -> Ok | Need(keys)
//!                                .finish()  writes, events, receipts
//! ```
//! State is a map from 32-byte keys to 256-byte cells. Code reaches a cell by its key only. A call that meets
//! a key it was not given returns [`Need`] without any effect; the driver supplies the cells (or their
//! absence) and repeats the call. Because of that an authenticated store, a plain map and a light client's
//! proofs serve equally.
//!
//! Rules of this crate
//! - integers only; no input or output, clock, float, entropy or hash-map order;
//! - nothing a transaction says can cause a panic; a refused transaction changes only its fee and nonce;
//! - who earns what is a product of integers: shares = microbatches x work units x risk weight;
//! - the order of independent transactions in a block does not show in the state.
//!
//! Places kept for later, on purpose without code: the referee that judges the last step of a dispute
//! (`trust::referee`), blind redemption (`credits`).

#[cfg(test)]
extern crate self as tessera_ledger; // so that tests here and in tests/ share a file

pub mod accounts;
pub mod action;
pub mod credits;
pub mod error;
pub mod event;
pub mod extraction;
pub mod governance;
pub mod invariants;
pub mod keys;
pub mod machine;
pub mod market;
pub mod ownership;
pub mod query;
pub mod record;
pub mod runs;
pub mod trust;

pub use accounts::{account, evidence, genesis, issuance};
pub use action::Action;
pub use block::{BlockContext, BlockSession, Need, Outcome, Receipt};
pub use cell::{CELL, Cell, Key};
pub(crate) use credits::note;
pub use credits::{params::CreditRules, payword, series, session, supply, ticket};
pub use error::TxError;
pub use event::Event;
pub use genesis::{Genesis, Parameters, Params};
pub(crate) use machine::store;
pub use machine::{block, cell, memory, tx};
pub use memory::MemState;
pub use ownership::accumulator;
pub(crate) use ownership::shares;
pub use record::Record;
pub use runs::policy::Policy;
pub(crate) use runs::seat;
pub use runs::{run, window};
pub use trust::referee;
pub use tx::{FeeSource, MAX_TX_BYTES, SignedTx, Tx};
