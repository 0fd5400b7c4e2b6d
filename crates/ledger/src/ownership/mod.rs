//! Hold shares and pay what they earn.

pub mod accumulator;
pub mod action;
pub mod class;
pub mod event;
pub mod keys;
pub mod record;
pub(crate) mod shares;
pub mod vesting;

pub use class::class_account;
