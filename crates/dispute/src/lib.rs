//! Turn "a digest of your unit is wrong" into one judged step of arithmetic (`verify` section 11.6).
//!
//! - [`tensor`]: digests of tensors, and openings of single chunks of them.
//! - [`program`]: the operations of a unit, and where each input comes from.
//! - [`claim`]: what a unit signs, which is the evidence of a dispute.
//! - [`account`]: a unit computed as its program says, every tensor kept.
//! - [`player`]: both roles of the ledger's game, from an account.
//! - [`proof`], [`judge`]: what the accused brings for the last step, and the referee that validators run.
//!
//! This crate knows no network and no clock.

pub mod account;
pub mod claim;
pub mod judge;
mod last;
pub mod player;
pub mod program;
pub mod proof;
pub mod tensor;
mod walk;
