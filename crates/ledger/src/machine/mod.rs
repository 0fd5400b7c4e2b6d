//! Run blocks over cells: the frame that every room of the ledger works in.

pub mod block;
pub mod cell;
pub(crate) mod epoch;
pub mod event;
pub mod keys;
pub mod memory;
pub mod record;
pub(crate) mod store;
pub mod tx;
