//! Check the ledger's past and keep copies of its state, for who has a folder or a connection and no validator running.
//!
//! The work is the validator's crate's; this is the door to it for the command line.

pub use tessera_validator::{
    BlockReceiver, BlockSender, FinalBlock, HistoryError, Progress, Snapshot, SnapshotError, Verified, feed,
    read_folder, verify,
};
