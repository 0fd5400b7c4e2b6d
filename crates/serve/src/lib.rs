//! Serve a trained run to holders of credentials, and to nobody else.
//!
//! ```text
//! user            home = drawn host of stage 0       hosts of the other stages
//! ChatClient      Host (home part + stage 0)         Host ... Host (last: samples)
//!     |                 |  Gate                           |  Gate
//!     +--- credential --+---- proof, tickets, rows -------+
//! ```
//! * [`Gate`]: what every stage host checks before it computes anything, and counts when it refuses.
//! * [`Host`]: the state machine of one stage host; on stage 0 it is also the home of the sessions that the
//!   ledger draws for it: it signs tickets, streams tokens to the client and settles.
//! * [`ServeWorker`]: the arithmetic a host orders: cached decode and deterministic sampling.
//! * [`ChatClient`]: the user's side; reveals the payword of a chunk only when the one before has arrived.
//!
//! Everything is `step(now, input) -> effects`: no socket, clock, thread or entropy. The driver carries
//! messages on [`tessera_wire::SERVING`], runs jobs one after the other and posts settlements.
//!
//! Who pays when something fails (ownership specification 3.7): chunks that arrived are settled. A chunk that
//! a client leaves in the middle is charged, for its payword was revealed; a chunk that a host breaks is not.
//! Resuming a session on another host, countersigned fee splits and disputes come later.

// Inputs and effects are moved once and not stored; boxing each message would only add allocations.
#![allow(clippy::large_enum_variant)]

mod client;
mod gate;
mod home;
mod host;
mod lock;
mod refusal;
mod sample;
mod worker;

pub use client::{ChatClient, ChatConfig, ChatEffect, ChatError, ChatInput, ChatSummary};
pub use gate::{Admission, Gate, GateConfig, Session};
pub use home::Ending;
pub use host::{Effect, Host, HostConfig, Input, Note, Tuning};
pub use lock::{CellProofs, ProvedCells, ProvedLock};
pub use refusal::Refusal;
pub use sample::choose;
pub use worker::{Job, JobResult, RowInput, ServeWorker, cache_bytes};
