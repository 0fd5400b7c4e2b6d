//! List what an account can do. Numbers, names and meaning follow the ownership specification, section 9.3;
//! actions that it does not have are numbered from 60.

use tessera_canon::choice;

pub use crate::{
    accounts::action::*, credits::action::*, market::action::*, ownership::action::*, runs::action::*,
};

choice! {
    /// Everything an account can do.
    pub enum Action {
        // Accounts and validators.
        1 => Transfer(Transfer),
        // Runs.
        9 => CreateRun(CreateRun),
        10 => JoinRun(JoinRun),
        14 => ReportWindow(ReportWindow),
        60 => UpdateEndpoint(UpdateEndpoint),
        61 => LapseSeat(LapseSeat),
        // Trust.
        // Shares.
        22 => TransferShares(TransferShares),
        26 => ClaimCredits(ClaimCredits),
        // Credits.
        28 => Reshape(Reshape),
        29 => RollNote(RollNote),
        30 => LockNotes(LockNotes),
        32 => SettleSession(SettleSession),
        31 => Failover(Failover),
        33 => RaiseSettle(RaiseSettle),
        34 => ExpireLock(ExpireLock),
        35 => DisputeSession(DisputeSession),
        36 => ReportHomeEquivocation(ReportHomeEquivocation),
        37 => ReportClientEquivocation(ReportClientEquivocation),
        40 => PublicApply(PublicApply),
        44 => HostBond(HostBond),
        45 => HostExit(HostExit),
        47 => ReportRefusal(ReportRefusal),
        70 => JudgeSession(JudgeSession),
        62 => FinalizeSession(FinalizeSession),
        // Market.
        63 => PostOffer(PostOffer),
        64 => BuyOffer(BuyOffer),
        65 => CancelOffer(CancelOffer),
        // Governance.
        // Extraction.
    }
}
