//! List what an account can do with runs, their seats and their windows.

use crate::{credits::action::ChunkPrice, record::Endpoint, runs::policy::Policy};
use tessera_canon::{Domain, Hash, List, PublicKey, Signature, choice, record, tags};

/// Signed by each seat of a quorum: [`WindowReport`].
pub const REPORT: Domain = Domain::new("tessera/ledger/window-report/v1");

/// Hashed by a member of an evaluation committee: [`Evaluated`].
pub const EVALUATED: Domain = Domain::new("tessera/ledger/evaluated/v1");

/// Most stages of a run.
pub const MAX_STAGES: usize = 128;

/// Most seats of a stage.
pub const MAX_SEATS: usize = 64;

/// Most designers of a run.
pub const MAX_DESIGNERS: usize = 64;

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

tags! {
    /// Whose word on the held-out loss sets the risk weight.
    pub enum LossSource {
        /// The quorum of the last stage, which computes the probes' loss exactly.
        0 => LastStage,
        /// A committee drawn for each window from the other stages; the last stage's word where none can be drawn.
        1 => Committee,
    }
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
        /// What the owners may change later; the network's default if absent. Its `price` is replaced by `price`.
        pub policy: Option<Policy>,
        /// Floating-point operations in a work unit: makes work of different runs comparable.
        pub wu_flops: u64,
        pub loss_source: LossSource,
        /// Bit s: stage s is open. Its weights are public, so it takes newcomers without admission work.
        pub open_stages: u128,
        /// Windows after the opening in which newcomers need no admission work.
        pub bootstrap_windows: u32,
        /// Part of a child run, in 1/10 000, that belongs to this run's owners (`iota`).
        pub fork_part: u16,
    }
}

record! {
    /// Publish a run that begins with the weights of `parent`, whose owners as a class hold a part of it.
    pub struct ForkRun { pub parent: Hash, pub run: CreateRun }
}

record! {
    /// Abort a run whose exclusive phase is over by height and whose designers did too little.
    pub struct AbortRun { pub run: Hash }
}

record! {
    /// Give up the sender's seat or place. The bond can be taken out after the pending windows.
    pub struct LeaveRun { pub run: Hash }
}

record! {
    /// Take the bond of a place given up out.
    pub struct WithdrawBond { pub run: Hash }
}

record! {
    /// What a member of an evaluation committee measured; its digest is committed first.
    pub struct Evaluated {
        pub network: Hash,
        pub run: Hash,
        pub window: u32,
        pub account: PublicKey,
        /// Held-out loss, micro-nats per token.
        pub loss: u32,
        pub salt: Hash,
    }
}

record! {
    /// Commit to a measurement: the digest of [`Evaluated`] under [`EVALUATED`].
    pub struct EvalCommit { pub run: Hash, pub window: u32, pub hash: Hash }
}

record! {
    /// Open the commitment.
    pub struct EvalReveal { pub run: Hash, pub window: u32, pub loss: u32, pub salt: Hash }
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
        /// Rollbacks of the run that the stage knew of.
        pub generation: u32,
        /// Merkle root over the headers that the stage's seats signed for the window's steps, and for steps that were
        /// done again since the window before.
        pub anchor: Hash,
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
