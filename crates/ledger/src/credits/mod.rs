//! Make, use and absorb credits: notes, sessions, supply.

pub mod action;
pub mod event;
pub mod keys;
pub(crate) mod note;
pub mod payword;
pub mod record;
pub mod session;
pub(crate) mod supply;
