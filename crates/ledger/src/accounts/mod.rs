//! Keep accounts and their balances, and the beginning of a network.

pub mod account;
pub mod action;
pub mod event;
pub mod genesis;
pub mod keys;
pub mod record;
