//! Sell credits and shares.

pub mod action;
pub mod event;
pub mod keys;
pub(crate) mod offer;
pub mod record;
