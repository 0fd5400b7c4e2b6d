//! Hold what the ledger says about a run's seats and reports.

use std::collections::BTreeMap;
use tessera_canon::PublicKey;

/// One seat as the ledger records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeatInfo {
    pub account: PublicKey,
    pub stage: u16,
    pub index: u16,
    /// False once the seat has lapsed.
    pub active: bool,
}

/// The seats of a run and, per stage, the next window to be reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    pub seats: Vec<SeatInfo>,
    /// The window that the ledger takes reports for.
    pub open_window: u32,
    /// Stage -> number of windows already reported.
    pub reported: BTreeMap<u16, u32>,
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
}
