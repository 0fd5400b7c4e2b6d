//! Run a validator of the ledger.
//!
//! [`Validator::start`] starts one in its own threads: consensus among the committee, the ledger's state in an
//! authenticated store, transactions in, proofs out. The [`ValidatorHandle`] is what an ordinary tokio program
//! talks to. The same parts run in virtual time over simulated links in [`simulation`].
//!
//! Reading order: `application` (the rules of proposing and checking), `execute` (transactions meet state),
//! `pacing`, `beacon`, `mempool`, `desk` (the API's other end), `engine` (the wiring), `node` (real processes),
//! [`committee`] (keys for a new network).
//!
//! Safety rests on the engine: fewer than a third of the committee may be faulty. Validators that crash
//! continue from their folder; one that was away or is new catches up by blocks, or downloads the state.

mod application;
mod beacon;
pub mod committee;
mod desk;
mod engine;
mod execute;
mod journal;
pub mod measure;
mod mempool;
mod node;
mod pacing;
pub mod simulation;
mod verified;

pub use desk::ProveError;
pub use journal::{FEED_BLOCKS, FinalizedBlock, MAX_RECEIPTS};
pub use mempool::{MAX_OF_SENDER, MAX_WAITING, MAX_WAITING_BYTES, SubmitError};
pub use node::{StartError, Status, Validator, ValidatorConfig, ValidatorHandle};
pub use pacing::Timing;
