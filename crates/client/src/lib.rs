//! Read the ledger and change it without keeping it and without trusting anybody: the light client.
//!
//! ```text
//! Client --Ask--> Source (sockets, or a validator in this process) --> validators
//!   verifies <----- Answer <-----------------------------------------------'
//! ```
//! [`Client`] asks validators through a [`Source`] and believes only what follows from the committee's group
//! key: headers, cells present and absent, events, transactions ([`tessera_chain::LightClient`]). On top of it
//! - [`routes`]: the table of queries (ownership specification 9.7), which HTTP and the command line share; a
//!   query is one entry there;
//! - [`explain`]: why a balance is what it is, from proved events, with a sum that must come out;
//! - [`trade`]: the sealed auctions, from an order to what it got;
//! - [`json`]: any record or event as JSON.
//!
//! What it does not: hold sockets, keep state but for one trusted header ([`TrustFile`]), or depend on the
//! validator and its engine.

pub mod amount;
pub mod client;
pub mod error;
pub mod explain;
pub mod json;
pub mod routes;
pub mod source;
pub mod submit;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trade;
pub mod trust;
pub mod view;

pub use client::{Client, LAG, Seen};
pub use error::LedgerError;
pub use source::Source;
pub use submit::Receipt;
pub use trust::{TrustError, TrustFile, Trusted};
pub use view::View;
