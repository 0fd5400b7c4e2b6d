//! Let owners decide about their run, and validators with workers about the network (ownership specification 6).
//!
//! ```text
//! Propose  -> Open     voting delay, then the voting period (longer if the quorum came late)
//!          -> Rejected | Passed    deposit back, or burned at more than 80 % "no"
//!          -> Executed | Stale | Failed   after the delay of the class, by `Execute` or at an epoch boundary
//! ```
//! Votes count what was held at the end of the block before the proposal ([`history`]). Two chambers: active
//! shares (for the network: bonded U), and verified work that nobody can sell ([`work`]); classes C and P need
//! both. What a vote may change is a closed list ([`parameter`]); what it must never change has no name there.
//!
//! Not here: delegation of bonded U (it is the validators' own), and anything that suspends a run's income,
//! removes owners, bars keys or takes shares back. No action for these exists.

pub mod action;
pub(crate) mod enact;
pub mod event;
pub mod history;
pub mod keys;
pub(crate) mod lock;
pub mod parameter;
pub(crate) mod proposal;
pub mod record;
pub mod tally;
pub mod terms;
pub(crate) mod vote;
pub mod work;
