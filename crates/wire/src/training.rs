//! The messages of a training run between seats of the same and of neighbouring stages.
//!
//! A *unit* is one microbatch of one step as it passes one stage; indices at and above the run's number of
//! microbatches are *probes*: held-out sequences that only go forward, to measure the loss.

use crate::Tensor;
use tessera_canon::{Blob, Domain, Hash, List, PublicKey, Signature, choice, digest, record};
use tessera_ledger::action::WindowReport;

/// Signature domain of [`Vote`].
pub const VOTE: Domain = Domain::new("tessera/state-vote/v1");
const BRANCH: Domain = Domain::new("tessera/run-branch/v1");
/// Domain of the hash of one piece of a state.
pub const PIECE: Domain = Domain::new("tessera/state-piece/v1");
/// Greatest number of units (microbatches and probes) in one step.
pub const MAX_UNITS: usize = 4096;
/// Greatest number of seats that one stage may have in a message.
pub const MAX_SEATS: usize = 64;
/// Bytes in one piece of a transferred state.
pub const PIECE_BYTES: usize = 256 << 10;
/// Greatest number of pieces: 16 GiB of state.
pub const MAX_PIECES: usize = 1 << 16;
/// Greatest encoding of a gradient sum.
pub const MAX_GRADIENT_BYTES: usize = 63 << 20;
/// Greatest message of the audit protocol: a tensor and what proves whose it is.
pub const MAX_AUDIT_BYTES: usize = (63 << 20) + (1 << 20);
/// Greatest number of steps whose records travel with a state.
pub const MAX_RECORDS: usize = 512;

/// What `run` is called in messages after its rollback number `generation`, so that none of before is mistaken for
/// one of after; the run itself before the first.
pub fn branch(run: &Hash, generation: u32) -> Hash {
    if generation == 0 { *run } else { digest(BRANCH, &(*run, generation)) }
}

record! {
    /// Which unit of which run, or of which branch of it: see [`branch`].
    pub struct UnitId { pub run: Hash, pub step: u64, pub unit: u32 }
}

record! {
    /// Who I am and where I stand; sent when a connection comes up and whenever `progress` changes.
    pub struct Hello {
        pub network: Hash,
        pub run: Hash,
        pub stage: u16,
        pub seat: u16,
        /// Grows with every start of the process: a new value means that what was only in memory is lost.
        pub incarnation: u64,
        /// The step this seat works on; equal to the number of steps it has closed.
        pub progress: u64,
        /// Root of the state that this step starts from.
        pub state_root: Hash,
        /// Whether it has that state and takes work.
        pub ready: bool,
    }
}

record! {
    /// Activations going forward. `replay`: another seat may have had this unit before.
    pub struct Activation {
        pub id: UnitId,
        pub replay: bool,
        pub tensor: Tensor,
        /// The sender's half of the edge receipt; absent for probes.
        pub signature: Option<Signature>,
    }
}

record! {
    /// The gradient with respect to an activation, going back. Empty for probes.
    pub struct Gradient { pub id: UnitId, pub tensor: Tensor, pub signature: Option<Signature> }
}

record! {
    /// Before a replay: has any of you this unit already? If so, its gradient shall come to me.
    pub struct Seek { pub id: UnitId }
}

record! {
    /// Answer to [`Seek`].
    pub struct Sought { pub id: UnitId, pub found: bool }
}

record! {
    /// My stage misses these units of `step` and nobody here is working on them: please send them again.
    pub struct WantUnits { pub run: Hash, pub step: u64, pub units: Blob<{ MAX_UNITS / 8 }> }
}

record! {
    /// Mean loss of a probe in micro-nats, measured by the last stage.
    pub struct Measured { pub unit: u32, pub loss: u64 }
}

record! {
    /// The units of `step` whose gradients are in my sum (bit `u` of byte `u / 8`), and what probes measured.
    pub struct Have {
        pub run: Hash,
        pub step: u64,
        pub incarnation: u64,
        pub units: Blob<{ MAX_UNITS / 8 }>,
        /// Last stage only.
        pub losses: List<Measured, MAX_UNITS>,
    }
}

record! {
    /// Please send your gradient sum over exactly these units.
    pub struct WantPartial { pub run: Hash, pub step: u64, pub units: Blob<{ MAX_UNITS / 8 }> }
}

record! {
    /// My gradient sum over exactly these units.
    pub struct Partial {
        pub run: Hash,
        pub step: u64,
        pub units: Blob<{ MAX_UNITS / 8 }>,
        pub sum: Blob<MAX_GRADIENT_BYTES>,
    }
}

record! {
    /// The root of a stage's state after `progress` closed steps, signed under [`VOTE`].
    pub struct Vote { pub run: Hash, pub stage: u16, pub progress: u64, pub state_root: Hash }
}

record! {
    /// A seat's part of a step: how many microbatches it computed, and the digest of the header that commits to them.
    pub struct StepCredit { pub account: PublicKey, pub microbatches: u32, pub header: Hash }
}

record! {
    /// What a closed step leaves on record: who computed how many microbatches, and what the probes measured.
    pub struct StepRecord {
        pub step: u64,
        /// Root of the state before this step.
        pub state_root: Hash,
        pub credits: List<StepCredit, MAX_SEATS>,
        /// Mean held-out loss in micro-nats before this step, where the step had probes and the stage is the last.
        pub loss: Option<u64>,
    }
}

record! {
    /// What a state of a given progress consists of.
    pub struct StateManifest {
        pub run: Hash,
        pub stage: u16,
        pub progress: u64,
        pub state_root: Hash,
        pub bytes: u64,
        pub pieces: List<Hash, MAX_PIECES>,
        pub records: List<StepRecord, MAX_RECORDS>,
    }
}

record! {
    /// Send me the manifest of your newest state.
    pub struct WantState { pub run: Hash, pub stage: u16 }
}

record! {
    /// Send me piece `index` of the state with this root.
    pub struct WantPiece { pub run: Hash, pub state_root: Hash, pub index: u32 }
}

record! {
    /// One piece of a state.
    pub struct Piece { pub run: Hash, pub state_root: Hash, pub index: u32, pub bytes: Blob<PIECE_BYTES> }
}

record! {
    /// A window report as I see it, with my signature under the ledger's domain.
    pub struct Cosign { pub report: WindowReport, pub signature: Signature }
}

record! {
    /// A signed [`Vote`].
    pub struct SignedVote { pub vote: Vote, pub signature: Signature }
}

record! {
    /// A message of the audit protocol, in that protocol's own encoding.
    pub struct Audit { pub message: Blob<MAX_AUDIT_BYTES> }
}

choice! {
    /// Everything a seat may say to another seat of its run.
    pub enum Message {
        0 => Hello(Hello),
        1 => Activation(Activation),
        2 => Gradient(Gradient),
        3 => Seek(Seek),
        4 => Sought(Sought),
        5 => Have(Have),
        6 => WantPartial(WantPartial),
        7 => Partial(Partial),
        8 => Vote(SignedVote),
        9 => WantState(WantState),
        10 => StateManifest(StateManifest),
        11 => WantPiece(WantPiece),
        12 => Piece(Piece),
        13 => Cosign(Cosign),
        14 => WantUnits(WantUnits),
        15 => Audit(Audit),
    }
}

/// Bytes from which on a message must not hold up small ones.
const LARGE: usize = 8 << 10;

impl Message {
    /// The channel this message travels on.
    pub fn channel(&self) -> u8 {
        match self {
            Self::Activation(_)
            | Self::Gradient(_)
            | Self::Partial(_)
            | Self::StateManifest(_)
            | Self::Piece(_) => crate::TENSORS,
            Self::Audit(audit) if audit.message.len() > LARGE => crate::TENSORS,
            _ => crate::CONTROL,
        }
    }
}
