//! List what an account can do. Numbers, names and meaning follow the ownership specification, section 9.3;
//! actions that it does not have are numbered from 60.

use tessera_canon::choice;

pub use crate::{
    accounts::action::*, credits::action::*, extraction::action::*, governance::action::*, market::action::*,
    ownership::action::*, runs::action::*, trust::action::*,
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
        15 => OpenDispute(OpenDispute),
        16 => DisputeStep(DisputeStep),
        17 => ResolveDispute(ResolveDispute),
        18 => AuditCommit(AuditCommit),
        19 => AuditReveal(AuditReveal),
        90 => SealCanary(SealCanary),
        91 => OpenCanary(OpenCanary),
        92 => DemandOpening(DemandOpening),
        93 => Contradict(Contradict),
        // Shares.
        22 => TransferShares(TransferShares),
        23 => BasketTransfer(BasketTransfer),
        24 => AutoSellWrap(AutoSellWrap),
        25 => AutoSellUnwrap(AutoSellUnwrap),
        26 => ClaimCredits(ClaimCredits),
        27 => ClaimProceeds(ClaimProceeds),
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
        41 => OrderCommit(OrderCommit),
        42 => OrderReveal(OrderReveal),
        43 => OrderCancel(OrderCancel),
        46 => HostAsk(HostAsk),
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
