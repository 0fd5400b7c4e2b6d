//! List what an account can do. Numbers, names and meaning follow the ownership specification, section 9.3;
//! actions that it does not have are numbered from 60.

use tessera_canon::choice;

pub use crate::{
    accounts::action::*, credits::action::*, extraction::action::*, governance::action::*, market::action::*,
    ownership::action::*, runs::action::*,
};

choice! {
    /// Everything an account can do.
    pub enum Action {
        // Accounts and validators.
        1 => Transfer(Transfer),
        2 => RotateKey(RotateKey),
        3 => ValidatorBond(ValidatorBond),
        4 => ValidatorUnbond(ValidatorUnbond),
        5 => ReportDoubleSign(ReportDoubleSign),
        // Runs.
        9 => CreateRun(CreateRun),
        10 => JoinRun(JoinRun),
        11 => LeaveRun(LeaveRun),
        12 => EvalCommit(EvalCommit),
        13 => EvalReveal(EvalReveal),
        14 => ReportWindow(ReportWindow),
        20 => AbortRun(AbortRun),
        21 => ForkRun(ForkRun),
        60 => UpdateEndpoint(UpdateEndpoint),
        61 => LapseSeat(LapseSeat),
        122 => WithdrawBond(WithdrawBond),
        // Trust.
        // Shares.
        22 => TransferShares(TransferShares),
        26 => ClaimCredits(ClaimCredits),
        // Credits.
        28 => Reshape(Reshape),
        30 => LockNotes(LockNotes),
        32 => SettleSession(SettleSession),
        33 => RaiseSettle(RaiseSettle),
        34 => ExpireLock(ExpireLock),
        62 => FinalizeSession(FinalizeSession),
        // Market.
        63 => PostOffer(PostOffer),
        64 => BuyOffer(BuyOffer),
        65 => CancelOffer(CancelOffer),
        // Governance.
        48 => Propose(Propose),
        49 => Vote(Vote),
        50 => Delegate(Delegate),
        51 => Execute(Execute),
        // Extraction.
        120 => DeclareOperator(DeclareOperator),
        121 => PostMeasurement(PostMeasurement),
    }
}
