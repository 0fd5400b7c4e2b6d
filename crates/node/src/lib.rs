//! Be the daemon: wire the pure parts to runtime, disk and sockets.
//!
//! One process has one folder ([`folder`]), one key ([`keyfile`]), one QUIC endpoint shared by all its roles
//! ([`switchboard`]) and one view of the ledger that it verifies itself ([`ledger`]). The roles are modules:
//! [`validator`] keeps the ledger; the others train and serve. [`network`] describes the network that a
//! process takes part in and makes new ones. [`audits`] tells what was audited and what it cost whom.
//!
//! What is computed and decided lies in the protocol crates; this crate only carries bytes and time to them.

pub mod audits;
pub mod chat;
pub mod daemon;
pub mod endpoint;
pub mod folder;
pub mod history;
pub mod keyfile;
pub mod ledger;
pub mod network;
pub mod orders;
pub mod seat;
pub mod switchboard;
pub mod validator;

pub use tessera_client::amount;
