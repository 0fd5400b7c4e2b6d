//! List what an account can do. Names and meaning follow the ownership specification, section 9.3.

use crate::record::Endpoint;
use tessera_canon::{Domain, Hash, List, PublicKey, Signature, choice, digest, record};

/// Signed by each seat of a quorum: [`WindowReport`].
pub const REPORT: Domain = Domain::new("tessera/ledger/window-report/v1");
/// Signed by each owner of a locked note: [`LockOrder`]; its hash is the order id.
pub const ORDER: Domain = Domain::new("tessera/ledger/lock-order/v1");
/// Signed by each owner of a reshaped note: [`Reshaping`].
pub const RESHAPE: Domain = Domain::new("tessera/ledger/reshape/v1");

/// Most stages of a run.
pub const MAX_STAGES: usize = 128;
/// Most seats of a stage.
pub const MAX_SEATS: usize = 64;
/// Most designers of a run.
pub const MAX_DESIGNERS: usize = 64;
/// Most notes in one order or reshaping.
pub const MAX_NOTES: usize = 16;
/// Most credits one order may lock (a settlement walks the payword chain once).
pub const MAX_ORDER_CU: u32 = 65_536;
/// Most hosts paid by one settlement.
pub const MAX_FEE_SHARES: usize = 64;

record! {
    /// Move U.
    pub struct Transfer { pub to: PublicKey, pub amount: u128 }
}

record! {
    /// Weight of a window = running minimum of the loss / initial loss.
    pub struct LossProportional {}
}
record! {
    /// `percent` % of the loss ratio and the rest of `2^(-F / (half_life_percent % of F*))`.
    pub struct Blend { pub percent: u8, pub half_life_percent: u8 }
}
choice! {
    /// How the risk weight falls as a run proves itself (ownership specification 4.2).
    pub enum RiskRule { 0 => LossProportional(LossProportional), 1 => Blend(Blend) }
}
record! {
    /// Tokens per credit.
    pub struct ChunkPrice { pub prompt_tokens: u32, pub generated_tokens: u32 }
}
record! {
    /// Publish a run; its bond is escrowed.
    pub struct CreateRun {
        /// The hash of the full run spec.
        pub run: Hash,
        /// Work units of one microbatch in each stage; the length is the number of stages.
        pub stage_wu: List<u64, MAX_STAGES>,
        /// Most seats in a stage.
        pub seats: u16,
        /// Microbatches in a step.
        pub microbatches: u32,
        pub steps: u32,
        /// Steps in a window; the last window may be shorter.
        pub window_steps: u32,
        /// Declared total work.
        pub f_star: u64,
        pub f_min: u64,
        pub f_exclusive: u64,
        pub exclusive_windows: u32,
        /// Blocks after which exclusivity ends whatever was reported.
        pub exclusive_blocks: u64,
        pub designers: List<PublicKey, MAX_DESIGNERS>,
        pub bond: u128,
        pub rule: RiskRule,
        /// Micro-nats per token before training.
        pub loss_0: u32,
        pub price: ChunkPrice,
        /// Credits, minted in equal parts over `supply_epochs` epochs of serving.
        pub supply: u64,
        pub supply_epochs: u32,
    }
}
record! {
    /// Ask for a seat, for the first time or again; the stage is drawn in a later block and kept for life.
    pub struct JoinRun { pub run: Hash, pub endpoint: Endpoint }
}
record! {
    /// Say where the sender's seat is reached; also a sign of life.
    pub struct UpdateEndpoint { pub run: Hash, pub endpoint: Endpoint }
}
record! {
    /// Free a seat that was silent for `Params::lapse_blocks`.
    pub struct LapseSeat { pub run: Hash, pub stage: u16, pub seat: u16 }
}
record! {
    /// Work of one account.
    pub struct WorkEntry { pub account: PublicKey, pub microbatches: u32 }
}
record! {
    /// What happened in a stage during a window. No work units: those follow from the run's terms.
    pub struct WindowReport {
        pub network: Hash,
        pub run: Hash,
        pub window: u32,
        pub stage: u16,
        /// Strictly ascending by account.
        pub entries: List<WorkEntry, MAX_SEATS>,
        /// Root of the stage's state after the window.
        pub state_root: Hash,
        /// Held-out loss in micro-nats per token; from the last stage only.
        pub loss: Option<u32>,
    }
}
record! {
    /// A seat's signature of a report.
    pub struct SeatSignature { pub seat: u16, pub signature: Signature }
}
record! {
    /// Post a report with the signatures of a majority of the stage's held seats, ascending by seat.
    pub struct ReportWindow { pub report: WindowReport, pub signatures: List<SeatSignature, MAX_SEATS> }
}
record! {
    /// Move active shares.
    pub struct TransferShares { pub run: Hash, pub to: PublicKey, pub amount: u128 }
}
record! {
    /// Turn the sender's due credits into a note for `to` (an owner hash).
    pub struct ClaimCredits { pub run: Hash, pub to: Hash }
}
record! {
    /// The key behind a note's owner hash, with its signature.
    pub struct OwnerProof { pub key: PublicKey, pub signature: Signature }
}
record! {
    /// A note to make.
    pub struct NoteOutput { pub owner: Hash, pub cu: u64 }
}
record! {
    /// Spend notes whole and make others of the same sum: split, merge, transfer.
    pub struct Reshaping {
        pub network: Hash,
        pub inputs: List<Hash, MAX_NOTES>,
        pub outputs: List<NoteOutput, MAX_NOTES>,
    }
}
record! {
    /// A reshaping with the proofs of every input's owner but the sender.
    pub struct Reshape { pub reshaping: Reshaping, pub owners: List<OwnerProof, MAX_NOTES> }
}
record! {
    /// Offer the sender's note at `price` nano-U per credit.
    pub struct PostOffer { pub note: Hash, pub price: u128 }
}
record! {
    /// Withdraw the sender's offer.
    pub struct CancelOffer { pub offer: Hash }
}
record! {
    /// Buy `cu` credits at no more than `max_price` each, as a note for `to` (an owner hash).
    pub struct BuyOffer { pub offer: Hash, pub cu: u64, pub max_price: u128, pub to: Hash }
}
record! {
    /// The right to a session, in exchange for notes (ownership specification 3.3).
    pub struct LockOrder {
        pub network: Hash,
        pub run: Hash,
        pub series: u16,
        /// Strictly ascending.
        pub notes: List<Hash, MAX_NOTES>,
        /// Their sum.
        pub cu: u32,
        pub session_key: PublicKey,
        /// w_0 of the payword chain ([`crate::payword`]).
        pub payword_root: Hash,
        /// Most nano-U per credit for the hosts.
        pub fee_per_cu: u128,
        /// Last height of the session.
        pub open_until: u64,
        /// Owner hash of the change note.
        pub refund_to: Hash,
        pub salt: u64,
    }
}
impl LockOrder {
    /// The order id.
    pub fn id(&self) -> Hash {
        digest(ORDER, self)
    }
}
record! {
    /// Lock notes for a session; the sender escrows `cu * fee_per_cu`. Proofs of every owner but the sender.
    pub struct LockNotes { pub order: LockOrder, pub owners: List<OwnerProof, MAX_NOTES> }
}
record! {
    /// Nano-U for one host.
    pub struct FeeShare { pub host: PublicKey, pub amount: u128 }
}
record! {
    /// State that `chunks` chunks were delivered, proved by the payword, and who served them.
    pub struct SettleSession {
        pub order: Hash,
        pub chunks: u32,
        /// w_j with j = `chunks`.
        pub payword: Hash,
        /// Hosts to pay, strictly ascending; at most `fee_per_cu * chunks` together.
        pub hosts: List<FeeShare, MAX_FEE_SHARES>,
    }
}
record! {
    /// Replace a posted settlement by one of more chunks.
    pub struct RaiseSettle {
        pub order: Hash,
        pub chunks: u32,
        pub payword: Hash,
        pub hosts: List<FeeShare, MAX_FEE_SHARES>,
    }
}
record! {
    /// Make a settlement final once it can no longer be raised (an epoch boundary does it too).
    pub struct FinalizeSession { pub order: Hash }
}
record! {
    /// Return the notes of a lock that ran out unused (an epoch boundary does it too).
    pub struct ExpireLock { pub order: Hash }
}

choice! {
    /// Everything an account can do.
    pub enum Action {
        1 => Transfer(Transfer),
        9 => CreateRun(CreateRun),
        10 => JoinRun(JoinRun),
        11 => UpdateEndpoint(UpdateEndpoint),
        12 => LapseSeat(LapseSeat),
        14 => ReportWindow(ReportWindow),
        22 => TransferShares(TransferShares),
        26 => ClaimCredits(ClaimCredits),
        28 => Reshape(Reshape),
        30 => LockNotes(LockNotes),
        32 => SettleSession(SettleSession),
        33 => RaiseSettle(RaiseSettle),
        34 => ExpireLock(ExpireLock),
        35 => FinalizeSession(FinalizeSession),
        41 => PostOffer(PostOffer),
        42 => BuyOffer(BuyOffer),
        43 => CancelOffer(CancelOffer),
    }
}
