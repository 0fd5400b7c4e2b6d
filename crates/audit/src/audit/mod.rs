//! Audit one unit: fetch what it was computed from, compute it, commit, see what the worker committed, judge (`verify` 11.5).
//!
//! ```text
//! auditor                          neighbours of the worker           audited worker
//! fetch x, dy  ------------------> tensor + receipt (both signed)
//!   (after half the time) -------------------------------------------> the same, as holder of last resort
//! compute; commit H(y, dx, dw, trace, nonce)  ------------------------> opens the leaf: path
//! reveal digests and verdict  ----------------------------------------> a canary? opens its seal
//! MATCH, or CANARY, or a dispute on the first digest that differs
//! ```
//! The auditor commits before it sees the leaf, so it cannot echo it. What it fetches is checked against receipts that
//! the worker signed, so nobody can feed it other inputs. Only what the worker fails to give counts against the worker;
//! a neighbour that does not serve is a fault of its own.
//!
//! Both sides are pure: [`Auditor::step`] and [`Served::serve`]. Time is counted in steps of the run. Neither knows
//! the dispute that follows a mismatch, nor draws: it is told what was drawn.
//!
//! What a seat refuses, whoever asks: see [`Refusal`].

mod auditor;
mod messages;
mod retention;
mod served;

pub use auditor::{Auditor, Computed, Effect, FaultKind, Ignored, Input, MAX_TASKS, Task};
pub use messages::{
    AuditCommitment, AuditReport, AuditReveal, AuditVerdict, COMMITMENT, REVEAL, UnitOpen, compare,
};
pub use retention::{Committed, KeepError, Kept, Place, Retention, numbers};
pub use served::{Answer, Refusal, Request, Served};
