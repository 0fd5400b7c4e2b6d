//! Be a trainer's seat in a run, as a pure state machine: `step(now, input) -> effects`.
//!
//! # The protocol
//! A run has stages `0..S`; each stage has seats, which hold equal copies of the stage's state. Step `t` has
//! `M` microbatches and, at window boundaries, some *probes* (held-out sequences that only go forward). Both
//! are *units*. All weights are at version `t` while step `t` runs.
//!
//! ```text
//! stage 0   for its units u (shared out over the live seats): x from the data, y = forward(x), send y
//! stage s   on activation (t, u, x): keep x; y = forward(x); keep and send y to one seat of stage s+1
//! last      on activation (t, u, x): loss and gradient against the labels; send dx back
//! stage s   on gradient (t, u, dy):  backward(x, dy): add the rounded gradient to an integer sum,
//!           send dx to everyone who sent this unit, tell the stage "I have u"
//! barrier   when the stage's live seats together have all units: the lowest seat that has a unit keeps it,
//!           the others take it out of their sums again; sums are exchanged; each seat adds them, applies the
//!           optimizer, saves, announces its progress and signs the new state root
//! ```
//!
//! # Why crashes cost nothing but time
//! Gradient sums are integers, so any division of the units among seats gives the same total; forward and
//! backward are exact, so computing a unit twice gives the same bytes. Messages may therefore be repeated
//! freely, and every repair is "do it again elsewhere":
//! - *A seat is lost* (connection gone for a while, or back with a new incarnation): whoever had sent it units
//!   of a step that its stage has not closed sends them to another seat, marked as replays.
//! - *A replayed unit* does not run again further down: its new holder first asks the next stage who has it
//!   ([`Seek`](tessera_wire::training::Seek)); the one that does sends the kept gradient there.
//! - *A step that does not fill* asks the stage above for the units it misses.
//! - *A seat that is behind its stage* downloads the state in hashed pieces from all replicas that have it.
//! - *A stage that is ahead* (it closed `t` before everybody stopped) serves units of `t` with the weights of
//!   version `t`, without counting them again. States of the last two steps are therefore kept on disk; no
//!   stage can be further ahead, because a step only starts at stage 0 after stage 0 has closed the one before.
//!
//! # Safety
//! A seat enters step `t+1` only after its state of version `t+1` is on disk. Replicas compare signed state
//! roots; a minority fetches the majority's state; an even split does the step again, and halts with both roots named if
//! that does not help. What this crate
//! does not do: catch lies about single units (the audit's work), open sockets, read clocks.

pub mod roster;
pub mod routing;
pub mod shape;
pub mod store;
mod tapes;
pub mod trainer;
pub mod units;
pub mod view;
pub mod worker;

pub use roster::{Anchored, OpenDispute, RolledBack, Roster, SeatInfo};
pub use shape::Shape;
pub use store::{HISTORY, MemoryStore, Saved, StateStore, StoreError};
pub use tapes::DEFAULT_TAPE_BYTES;
pub use trainer::{
    Accuse, Demand, Effect, Found, Input, Note, Phase, Trainer, TrainerConfig, TrustConfig, Tuning, number_of,
};
pub use units::UnitSet;
pub use worker::{AuditJob, Extra, Job, JobResult, Made, PlayJob, Share, Worker, WorkerError};
