//! Run a validator of the ledger.
//!
//! [`Validator::start`] starts one in its own threads: consensus among the committee, the ledger's state in an
//! authenticated store, transactions in, proofs out. The [`ValidatorHandle`] is what an ordinary tokio program
//! talks to. The same parts run in virtual time over simulated links in [`simulation`].
//!
//! Reading order: `application` (the rules of proposing and checking), `execute` (transactions meet state),
//! `pacing`, `beacon`, `mempool`, `desk` (the API's other end), `votes` (what was signed last), `engine` (the wiring),
//! `stores` (what lies where), `node` (real processes), [`committee`] (keys for a new network), `history` and `snapshot`
//! (what outlives a validator).
//!
//! Safety rests on the engine: fewer than a third of the committee may be faulty. Validators that crash
//! continue from their folder; one that was away or is new catches up by blocks, or downloads the state.

mod application;
mod beacon;
pub mod committee;
mod desk;
mod engine;
mod execute;
mod history;
mod journal;
pub mod measure;
mod mempool;
mod node;
mod pacing;
pub mod simulation;
mod snapshot;
mod stores;
mod verified;
mod votes;

pub use desk::ProveError;
pub use engine::MIN_KEPT_BLOCKS;
pub use history::{
    BlockReceiver, BlockSender, FinalBlock, HistoryError, Progress, Verified, feed, read_folder, verify,
};
pub use journal::{FEED_BLOCKS, FinalizedBlock, MAX_RECEIPTS};
pub use mempool::{MAX_OF_SENDER, MAX_WAITING, MAX_WAITING_BYTES, SubmitError};
pub use node::{StartError, Status, VOTE_NOTES, Validator, ValidatorConfig, ValidatorHandle};
pub use pacing::Timing;
pub use snapshot::{Snapshot, SnapshotError};
pub use votes::VotesLost;
