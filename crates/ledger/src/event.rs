//! Tell what happened, typed and hashed, so that "why was I not paid" has an answer that can be proved.
//!
//! Numbers are ranges by room: machine 1, accounts 2, runs 10, ownership 30, credits 50, market 80, trust 110,
//! governance 140, extraction 170, and 200 for accounts again.

use crate::record::ExtractionReport;
use tessera_canon::{Domain, Hash, MerkleTree, choice, digest, merkle_root};

pub use crate::{
    accounts::event::*, credits::event::*, extraction::event::*, governance::event::*, machine::event::*,
    market::event::*, ownership::event::*, runs::event::*, trust::event::*,
};

const EVENT: Domain = Domain::new("tessera/ledger/event/v1");

choice! {
    /// Everything that can happen.
    pub enum Event {
        1 => TxRefused(TxRefused),
        // Accounts and validators.
        2 => FeePaid(FeePaid),
        3 => Transferred(Transferred),
        4 => KeyRotated(KeyRotated),
        5 => BondChanged(BondChanged),
        6 => BondReleased(BondReleased),
        7 => ValidatorSlashed(ValidatorSlashed),
        8 => ValidatorSetChanged(ValidatorSetChanged),
        9 => Issued(Issued),
        // Runs.
        10 => RunCreated(RunCreated),
        11 => RunStateChanged(RunStateChanged),
        12 => SeatChanged(SeatChanged),
        13 => EndpointChanged(EndpointChanged),
        14 => StageReported(StageReported),
        15 => WindowClosed(WindowClosed),
        16 => RunAborted(RunAborted),
        17 => BondReturned(BondReturned),
        18 => RunPaused(RunPaused),
        19 => TrainingResumed(TrainingResumed),
        20 => TargetRaised(TargetRaised),
        21 => EvaluationDrawn(EvaluationDrawn),
        22 => EvaluationClosed(EvaluationClosed),
        23 => MemberBond(MemberBond),
        24 => RunForked(RunForked),
        // Shares.
        30 => Activated(Activated),
        31 => ClaimVoided(ClaimVoided),
        32 => CreditsDistributed(CreditsDistributed),
        33 => CreditsClaimed(CreditsClaimed),
        34 => SharesMoved(SharesMoved),
        // Credits.
        50 => SupplyChanged(SupplyChanged),
        51 => NoteCreated(NoteCreated),
        52 => NoteSpent(NoteSpent),
        53 => Locked(Locked),
        54 => Settling(Settling),
        55 => Settled(Settled),
        56 => HostPaid(HostPaid),
        57 => Expired(Expired),
        58 => HomeDrawn(HomeDrawn),
        59 => NoHomeDrawn(NoHomeDrawn),
        60 => PosterSlashed(PosterSlashed),
        61 => SeriesChanged(SeriesChanged),
        62 => NoteRolled(NoteRolled),
        63 => HostBonded(HostBonded),
        64 => HostLeft(HostLeft),
        65 => HostSlashed(HostSlashed),
        66 => FeeMoved(FeeMoved),
        67 => PublicDraw(PublicDraw),
        68 => RefusalReported(RefusalReported),
        69 => ClientEquivocated(ClientEquivocated),
        70 => SessionDisputed(SessionDisputed),
        71 => Absorbed(Absorbed),
        72 => EscrowReleased(EscrowReleased),
        // Market.
        80 => OrderCommitted(OrderCommitted),
        81 => OrderRevealed(OrderRevealed),
        82 => OrderReturned(OrderReturned),
        83 => OrderForfeited(OrderForfeited),
        84 => OrderFilled(OrderFilled),
        85 => AuctionCleared(AuctionCleared),
        86 => AutoSold(AutoSold),
        87 => AutoSellChanged(AutoSellChanged),
        88 => ProceedsClaimed(ProceedsClaimed),
        89 => HostAsked(HostAsked),
        90 => StagePriced(StagePriced),
        91 => FeePaidInCredits(FeePaidInCredits),
        // Trust.
        110 => DisputeOpened(DisputeOpened),
        111 => DisputeMoved(DisputeMoved),
        112 => DisputeClosed(DisputeClosed),
        113 => Slashed(Slashed),
        114 => PanelDrawn(PanelDrawn),
        115 => AuditRevealed(AuditRevealed),
        116 => CanaryOpened(CanaryOpened),
        117 => FalseAudit(FalseAudit),
        118 => RolledBack(RolledBack),
        119 => Contradicted(Contradicted),
        // Governance.
        140 => Proposed(Proposed),
        141 => VoteCast(VoteCast),
        142 => VotingExtended(VotingExtended),
        143 => DelegationChanged(DelegationChanged),
        144 => VotingEnded(VotingEnded),
        145 => Executed(Executed),
        146 => ParameterChanged(ParameterChanged),
        // Extraction.
        170 => OperatorDeclared(OperatorDeclared),
        171 => MeasurementPosted(MeasurementPosted),
        172 => MeasurementEnded(MeasurementEnded),
        173 => ExtractionReported(ExtractionReport),
        174 => ThetaRaised(ThetaRaised),
        // Accounts, further.
        200 => Charged(Charged),
        201 => Credited(Credited),
    }
}

/// The hash of an event, the leaf of [`root`].
pub fn leaf(event: &Event) -> Hash {
    digest(EVENT, event)
}
/// The Merkle root over a block's events in order.
pub fn root(events: &[Event]) -> Hash {
    merkle_root(events.iter().map(leaf).collect())
}
/// The tree over a block's events, to prove that one of them happened.
pub fn tree(events: &[Event]) -> MerkleTree {
    MerkleTree::new(events.iter().map(leaf).collect())
}
