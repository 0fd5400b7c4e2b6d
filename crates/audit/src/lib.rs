//! Catch false work: units committed, drawn for audit by a beacon, computed again, judged (`verify` sections 7, 11).
//!
//! ```text
//! work      every unit leaves a leaf; a seat signs one header a step before gradients are exchanged   `unit`
//! edges     both sides of an edge sign what passed; receivers watch for what is unlike                 `unit`, `monitor`
//! anchor    the ledger fixes all headers of a stage and window; the next beacon draws audits                   `draw`
//! audit     a seat of another operator fetches, computes, commits, sees the leaf, says what differs  `audit`, `reexec`
//! dispute   a difference goes to the ledger's game, from the leaf's claim                          `tessera_dispute`
//! sums      integers, checked exactly; bounded against the worst while a cheat is not yet convicted `averaging`, `guard`
//! ends      tokens and labels are checked against the run's data by anyone                                 `data_end`
//! ```
//! The arithmetic is exact, so an audit compares digests and knows no tolerance: an honest seat is never condemned, and
//! a bad unit that is looked at always is found. Only the share that is looked at is left to chance, and no seat can
//! steer it. The two sides of an audit are pure state machines; this crate opens no socket, reads no clock, and takes
//! no penalties: that is the ledger's.

#[cfg(feature = "attackers")]
pub mod attackers;
pub mod audit;
pub mod averaging;
pub mod data_end;
pub mod draw;
pub mod exchange;
pub mod guard;
pub mod monitor;
pub mod params;
pub mod reexec;
pub mod referee;
pub mod tensors;
pub mod unit;

pub use params::AuditParams;
pub use reexec::{UnitDigests, Work, execute, reexec};
