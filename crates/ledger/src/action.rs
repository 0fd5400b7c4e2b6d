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
        23 => BasketTransfer(BasketTransfer),
        24 => AutoSellWrap(AutoSellWrap),
        25 => AutoSellUnwrap(AutoSellUnwrap),
        26 => ClaimCredits(ClaimCredits),
        27 => ClaimProceeds(ClaimProceeds),
        // Credits.
        28 => Reshape(Reshape),
        30 => LockNotes(LockNotes),
        32 => SettleSession(SettleSession),
        33 => RaiseSettle(RaiseSettle),
        34 => ExpireLock(ExpireLock),
        62 => FinalizeSession(FinalizeSession),
        // Market.
        41 => OrderCommit(OrderCommit),
        42 => OrderReveal(OrderReveal),
        43 => OrderCancel(OrderCancel),
        46 => HostAsk(HostAsk),
        // Governance.
        // Extraction.
    }
}
