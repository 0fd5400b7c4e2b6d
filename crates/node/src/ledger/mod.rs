//! See and change the ledger: a validator answers questions, everybody else asks and verifies.
//!
//! ```text
//! LedgerClient --Ask--> channel RPC --> RpcServer --> Answerer --> validator, index of events
//!      verifies <------- Answer <------------------------'
//! ```
//! [`LedgerClient`] believes no validator: see [`tessera_client`]. [`RpcServer`] shares a validator's time fairly
//! among those who ask. A process that validates asks itself through the same types. [`index`] remembers where
//! in final blocks something is named, for `tessera explain`.

pub mod answer;
pub mod client;
pub mod follow;
pub mod index;
pub mod rpc;
pub mod run;

pub use answer::Answerer;
pub use client::LedgerClient;
pub use rpc::RpcServer;
pub use run::RunView;
pub use tessera_client::{LedgerError, Receipt, Seen, View};
