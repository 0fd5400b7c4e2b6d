//! Keep accounts, their keys and balances, who is bonded as a validator, what is issued, and the beginning.

pub mod account;
pub mod action;
pub mod event;
pub mod evidence;
pub mod genesis;
pub mod issuance;
pub mod keys;
pub mod record;
pub(crate) mod validator;
