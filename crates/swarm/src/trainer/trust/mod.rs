//! Keep what audits need, and carry out those that fall to this seat.
//!
//! ```text
//! unit passes     both sides of each edge sign; the tensors are kept                              `edges`
//! step closes     the seat commits to its units before sums are exchanged                         `commit`
//! window closes   the report anchors the commitments; the next beacon draws audits                `audits`
//! audit differs   the commitment is the evidence of a dispute, which this room plays to its end   `disputes`
//! ```
//! The room holds both generations of a step that was done again, so work that was undone can still be judged. What a
//! dispute costs whom is the ledger's; how far the run goes back is [`super::rollback`]'s.

mod audits;
mod commit;
mod disputes;
mod edges;

pub(super) use commit::Committed;
pub use edges::number_of;

use super::TrainerConfig;
use crate::{Job, store::HISTORY};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use tessera_audit::{
    AuditParams,
    audit::{Auditor, Retention, Served},
    exchange::{Commit, Ticket},
    unit::{AnchorTree, SignedHeader, UnitLeaf},
};
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::action::Accusation;

/// How a seat takes part in audits.
#[derive(Clone, Debug)]
pub struct TrustConfig {
    pub params: AuditParams,
    /// Most bytes of boundary tensors and receipts that are kept for auditors.
    pub retention_bytes: usize,
}

impl Default for TrustConfig {
    /// Without canaries: the ledger's dispute game does not know of them yet, so a hidden one would convict its seat.
    fn default() -> Self {
        let params =
            AuditParams { canary_rate: 0, retention_steps: HISTORY as u32, ..AuditParams::default() };
        Self { params, retention_bytes: 256 << 20 }
    }
}

/// That a seat's statement is false, for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accuse {
    pub window: u32,
    pub stage: u16,
    pub account: PublicKey,
    pub accusation: Accusation,
}

/// What a unit in dispute was computed from.
#[derive(Clone, Debug)]
struct Case {
    leaf: UnitLeaf,
    /// Bit patterns of `f32`, little-endian; absent where the run's data takes their place.
    input: Option<Bytes>,
    gradient: Option<Bytes>,
    /// Opened on the ledger once it was seen there.
    seen: bool,
    /// The turn that was played last (phase, level), and when.
    played: Option<(u8, u8, u64)>,
}

/// The audit that a ticket is for.
#[derive(Clone, Debug)]
struct Assigned {
    ticket: Ticket,
    header: SignedHeader,
    /// x and dy once they are here.
    material: [Option<Bytes>; 2],
}

/// The seat's part of the audit protocol.
pub(super) struct TrustRoom {
    params: AuditParams,
    served: Served,
    auditor: Auditor,
    /// Commitments of this stage by header: what anchors are made of and audits are drawn from.
    known: BTreeMap<Hash, Commit>,
    /// Own leaves by the digest of their claim.
    own: BTreeMap<Hash, UnitLeaf>,
    /// Own reports whose draw has not come.
    windows: BTreeMap<u32, AnchorTree>,
    assigned: BTreeMap<Hash, Assigned>,
    cases: BTreeMap<Hash, Case>,
    jobs: VecDeque<Job>,
    /// Whether the last job was one of this room's.
    had_turn: bool,
    ticked: u64,
}

impl TrustRoom {
    pub(super) fn new(config: &TrainerConfig) -> Self {
        let TrustConfig { params, retention_bytes } = config.trust.clone();
        let retention = Retention::new(params.retention_steps, retention_bytes);
        Self {
            served: Served::new(config.key.clone(), config.stage, 0, retention),
            auditor: Auditor::new(config.key.clone(), params.clone()),
            params,
            known: BTreeMap::new(),
            own: BTreeMap::new(),
            windows: BTreeMap::new(),
            assigned: BTreeMap::new(),
            cases: BTreeMap::new(),
            jobs: VecDeque::new(),
            had_turn: false,
            ticked: 0,
        }
    }
    /// Bytes held for audits: retention, and audits under way.
    pub(super) fn bytes(&mut self) -> usize {
        self.served.retention().bytes() + self.auditor.bytes()
    }
    /// The run was rolled back to `step`. Reports that the ledger has not taken are made anew.
    pub(super) fn enter(&mut self, generation: u32, step: u64) {
        self.served.enter_generation(generation, step);
    }
    /// Await the draw of a window that this seat reports.
    pub(super) fn anchor(&mut self, window: u32, tree: AnchorTree) {
        self.windows.insert(window, tree);
    }
    /// The next job of this room: at most every second one, unless nothing else is to be done.
    pub(super) fn job(&mut self, urgent: bool) -> Option<Job> {
        if urgent && self.had_turn {
            self.had_turn = false;
            return None;
        }
        let job = self.jobs.pop_front();
        self.had_turn = job.is_some();
        job
    }
    /// The run has come to `step`: forget what is too old to be asked for.
    pub(super) fn advance(&mut self, step: u64) {
        self.served.advance(step);
        let oldest = step.saturating_sub(HISTORY as u64);
        self.known.retain(|_, commit| commit.header.value.step >= oldest);
        self.own.retain(|_, leaf| leaf.unit.step >= oldest);
    }
}
