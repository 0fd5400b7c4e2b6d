//! Catch false work and make it cost more than it saves: disputes, audits, penalties (ownership specification
//! 4.5, 4.6, 9.3 rows 15-19; dispute game after `verify` section 11.6).
//!
//! ```text
//! OpenDispute with an accusation --> game: accused commits, challenger names, ... accused proves --> Referee
//! OpenDispute without one --> panel: drawn auditors commit and reveal; 2/3 rule --> the loser may escalate --> game
//! Contradict, with all that is needed --> the Referee says what must be signed; it is --> fraud at once
//! audit drawn by the beacon --> panel; 2/3 against the claim --> provisional ruling, the accused may escalate --> game
//! ```
//! Who does not open a claim to its auditor is made to do so here first: [`opening`].
//!
//! A claim in dispute is frozen: it does not mature, the others of its window do. Whoever lets a turn pass loses.
//! Every verdict is an event.
//!
//! Penalties follow a ladder ([`slashing`]). Where `ownership` 4.5 and the design's section 7 differ, the design
//! decides: a first mismatch voids the claim and costs `first_units` microbatches of pending shares; a second one
//! within `forgive_windows`, or proven fraud, costs everything pending, bond and a ban as 4.5 says.
//! Active shares are never taken back.
//!
//! This room does not know any arithmetic: [`referee::Referee`] judges the one step that a game ends with. Nor does
//! it take bonds: the runs' room holds those of members.

pub mod action;
pub mod canary;
pub mod catch;
pub mod contradiction;
pub mod deterrence;
pub mod dispute;
pub mod event;
pub mod game;
#[cfg(test)]
mod games;
pub mod keys;
pub mod kind;
pub mod opening;
pub mod panel;
pub mod params;
pub mod record;
pub mod referee;
pub mod rollback;
pub mod slashing;

pub use catch::deterrence_of;
pub use deterrence::{deterrence, minimum_bond};
pub use params::TrustParams;
pub(crate) use slashing::barred;
