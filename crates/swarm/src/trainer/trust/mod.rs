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
    reexec::UnitDigests,
    referee::Contradiction,
    unit::{AnchorTree, Direction, Label, SignedHeader, UnitId, UnitLeaf},
};
use tessera_canon::{Hash, PublicKey};
use tessera_dispute::claim::UnitClaim;
use tessera_ledger::action::Accusation;

/// How a seat takes part in audits.
#[derive(Clone, Debug)]
pub struct TrustConfig {
    pub params: AuditParams,
    /// Most bytes of boundary tensors and receipts that are kept for auditors.
    pub retention_bytes: usize,
    /// Whether to have the ledger open what a worker keeps from this auditor. Off until commitments survive a restart: a
    /// seat that crashed has lost what it would have to show, and would be convicted for that.
    pub demands: bool,
}

impl Default for TrustConfig {
    /// Without canaries: the ledger's dispute game does not know of them yet, so a hidden one would convict its seat.
    fn default() -> Self {
        let params =
            AuditParams { canary_rate: 0, retention_steps: HISTORY as u32, ..AuditParams::default() };
        Self { params, retention_bytes: 256 << 20, demands: false }
    }
}

/// That a seat's statement is false, for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accuse {
    pub window: u32,
    pub stage: u16,
    pub account: PublicKey,
    pub accusation: Accusation,
    /// Where two things that it signed contradict each other: what shows it, and no game is needed.
    pub contradiction: Option<Box<Contradiction>>,
}

/// That a seat does not open what it committed to, for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    pub window: u32,
    pub stage: u16,
    pub account: PublicKey,
    pub header: SignedHeader,
    /// The unit's place in the header's tree.
    pub unit: u32,
}

/// What an audit rests on, for whoever wants to check it later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// That the unit is anchored on the ledger.
    pub ticket: Ticket,
    /// What this seat computed; absent if it could not.
    pub mine: Option<UnitDigests>,
    /// What the worker's leaf says; absent if it was not opened.
    pub told: Option<UnitDigests>,
}

/// What a unit in dispute was computed from.
#[derive(Clone, Debug)]
struct Case {
    claim: UnitClaim,
    number: u32,
    /// Bit patterns of `f32`, little-endian; absent where the run's data takes their place.
    input: Option<Bytes>,
    gradient: Option<Bytes>,
    /// Opened on the ledger once it was seen there.
    seen: bool,
    /// The turn that was played last (phase, level), and when.
    played: Option<(u8, u8, u64)>,
}

/// A unit that its worker is made to open on the ledger.
#[derive(Clone, Debug)]
struct Demanded {
    unit: UnitId,
    mine: UnitDigests,
    input: Option<Bytes>,
    gradient: Option<Bytes>,
}

/// The audit that a ticket is for.
#[derive(Clone, Debug)]
struct Assigned {
    ticket: Ticket,
    header: SignedHeader,
    /// x and dy once they are here.
    material: [Option<Bytes>; 2],
    mine: Option<UnitDigests>,
    told: Option<UnitDigests>,
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
    /// What this seat has countersigned: one digest for each tensor of a unit and generation.
    countersigned: BTreeMap<(u32, u64, Label, Direction), Hash>,
    /// Own reports whose draw has not come.
    windows: BTreeMap<u32, AnchorTree>,
    assigned: BTreeMap<Hash, Assigned>,
    cases: BTreeMap<Hash, Case>,
    /// By window, worker and the unit's place in its header.
    demanded: BTreeMap<(u32, PublicKey, u32), Demanded>,
    /// When this seat answered a turn that needs no computing (dispute, phase).
    answered: BTreeMap<(Hash, u8), u64>,
    jobs: VecDeque<Job>,
    /// Whether the last job was one of this room's.
    had_turn: bool,
    ticked: u64,
    #[cfg(feature = "attackers")]
    withholds: bool,
}

#[cfg(feature = "attackers")]
impl super::Trainer {
    /// Do not open leaves to auditors from now on, only on the ledger.
    pub fn withhold(&mut self) {
        self.trust.withholds = true;
    }
}

impl TrustRoom {
    pub(super) fn new(config: &TrainerConfig) -> Self {
        let TrustConfig { params, retention_bytes, .. } = config.trust.clone();
        let retention = Retention::new(params.retention_steps, retention_bytes);
        Self {
            served: Served::new(config.key.clone(), config.stage, 0, retention),
            auditor: Auditor::new(config.key.clone(), params.clone()),
            params,
            known: BTreeMap::new(),
            own: BTreeMap::new(),
            countersigned: BTreeMap::new(),
            windows: BTreeMap::new(),
            assigned: BTreeMap::new(),
            cases: BTreeMap::new(),
            demanded: BTreeMap::new(),
            answered: BTreeMap::new(),
            jobs: VecDeque::new(),
            had_turn: false,
            ticked: 0,
            #[cfg(feature = "attackers")]
            withholds: false,
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
        self.countersigned.retain(|(_, at, _, _), _| *at >= oldest);
    }
}
