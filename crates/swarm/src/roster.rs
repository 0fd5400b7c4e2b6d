//! Hold what the ledger says about a run's seats, reports, rollbacks and disputes.

use std::collections::BTreeMap;
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{
    action::{Commit, Opening},
    record::{Dispute, DisputeLevel},
};

/// One seat as the ledger records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatInfo {
    pub account: PublicKey,
    pub stage: u16,
    pub index: u16,
    /// False once the seat has lapsed.
    pub active: bool,
    /// Whom the ledger counts as its operator.
    pub operator: PublicKey,
    /// How many of its units are audited, in 1/10 000.
    pub audit_rate: u16,
    /// Whether it is too new to audit others.
    pub on_probation: bool,
}

impl SeatInfo {
    /// A seat of an account on its own, of which nothing is audited.
    pub fn new(account: PublicKey, stage: u16, index: u16) -> Self {
        Self { account, stage, index, active: true, operator: account, audit_rate: 0, on_probation: false }
    }
}

/// What a stage reported of a window, as far as audits need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchored {
    /// Root over the headers of its seats.
    pub root: Hash,
    /// The beacon that draws audits; zeros before it is known.
    pub seed: Hash,
    /// Rollbacks that the report knew of.
    pub generation: u32,
}

/// The run went back to the state before `step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// Counts rollbacks, from 1.
    pub generation: u32,
    pub step: u64,
}

/// An open dispute of this seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenDispute {
    pub dispute: Dispute,
    pub levels: Vec<DisputeLevel>,
    /// What the accused committed to last.
    pub said: Option<Commit>,
    /// The claim that the accused was made to open.
    pub opened: Option<Opening>,
}

/// The seats of a run and what became of their work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    pub seats: Vec<SeatInfo>,
    /// The window that the ledger takes reports for.
    pub open_window: u32,
    /// Stage -> number of windows already reported.
    pub reported: BTreeMap<u16, u32>,
    /// (stage, window) -> anchor of the newest windows of this seat's stage and its neighbours.
    pub anchors: BTreeMap<(u16, u32), Anchored>,
    /// All rollbacks of the run, ascending.
    pub rollbacks: Vec<RolledBack>,
    /// Disputes in which this seat is a party.
    pub disputes: Vec<OpenDispute>,
}

impl Roster {
    /// The seat of `account`, if it has one; an active one before one that has lapsed.
    pub fn seat_of(&self, account: &PublicKey) -> Option<&SeatInfo> {
        let own = || self.seats.iter().filter(|seat| seat.account == *account);
        own().find(|seat| seat.active).or_else(|| own().next())
    }
    /// Signatures that a report of `stage` needs: a majority of its active seats.
    pub fn quorum(&self, stage: u16) -> usize {
        self.seats.iter().filter(|seat| seat.stage == stage && seat.active).count() / 2 + 1
    }
    /// Windows of `stage` that the ledger has accepted.
    pub fn reported(&self, stage: u16) -> u32 {
        self.reported.get(&stage).copied().unwrap_or(0)
    }
    /// Rollbacks so far.
    pub fn generation(&self) -> u32 {
        self.rollbacks.last().map_or(0, |newest| newest.generation)
    }
    /// The first step that was done again after generation `known`, if any was.
    pub fn undone_since(&self, known: u32) -> Option<u64> {
        self.rollbacks.iter().filter(|back| back.generation > known).map(|back| back.step).min()
    }
}
