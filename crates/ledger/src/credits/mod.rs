//! Make, use and absorb credits: notes, series, sessions, hosts, the public lane, supply.

pub mod action;
pub(crate) mod dispute;
pub mod event;
pub(crate) mod evidence;
pub mod host;
pub mod keys;
pub(crate) mod note;
#[cfg(test)]
mod oracle;
pub mod params;
pub mod payword;
pub mod public;
pub mod record;
pub mod series;
pub mod session;
pub mod settle;
pub mod supply;
pub mod ticket;
