//! See and change the ledger: a validator answers questions, everybody else asks and verifies.
//!
//! ```text
//! LedgerClient --Ask--> channel RPC --> RpcServer --> Answerer --> validator
//!      verifies <------- Answer <------------------------'
//! ```
//! [`LedgerClient`] believes no validator: see [`client`]. [`RpcServer`] shares a validator's time fairly among
//! those who ask. A process that validates asks itself through the same types.

pub mod answer;
pub mod client;
pub mod error;
pub mod rpc;
pub mod run;
pub mod submit;
pub mod view;

pub use answer::Answerer;
pub use client::{LedgerClient, Seen};
pub use error::LedgerError;
pub use rpc::RpcServer;
pub use run::RunView;
pub use submit::Receipt;
pub use view::View;
