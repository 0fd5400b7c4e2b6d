//! Name the jobs of a seat's arithmetic and what they give.

use crate::{OpenDispute, StoreError, UnitSet};
use tessera_audit::{audit::Computed, unit::UnitId};
use tessera_canon::{Hash, PublicKey};
use tessera_dispute::claim::UnitClaim;
use tessera_ledger::action::Step;
use tessera_model::ModelError;
use tessera_wire::{
    Tensor, TensorError,
    training::{StateManifest, StepRecord},
};

/// Work for a seat's arithmetic.
#[derive(Clone, Debug)]
pub enum Job {
    /// Read the newest state from the store, or make the first one.
    Load,
    /// Activations of a unit; `input` is `None` at stage 0, where it comes from the data.
    Forward { step: u64, unit: u32, input: Option<Tensor> },
    /// Gradient of a unit; `output_gradient` is `None` in the last stage, where the labels take its place.
    Backward {
        step: u64,
        unit: u32,
        input: Option<Tensor>,
        output_gradient: Option<Tensor>,
        accumulate: bool,
    },
    /// Loss of a probe, last stage only.
    Measure { step: u64, unit: u32, input: Option<Tensor> },
    /// The gradient sum over `units`; `extra` are units in the sum that must be taken out.
    Sum { step: u64, units: UnitSet, extra: Vec<Extra> },
    /// Close a step: own sum over `units` plus the others' sums; optimizer; save.
    Close { record: StepRecord, units: UnitSet, extra: Vec<Extra>, others: Vec<Share>, keep: Vec<StepRecord> },
    /// Try again to save what could not be saved.
    Save,
    /// Cut the present state into pieces for a replica.
    Export,
    /// Replace the state by a downloaded one.
    Install {
        progress: u64,
        state_root: Hash,
        generation: u32,
        pieces: Vec<bytes::Bytes>,
        records: Vec<StepRecord>,
    },
    /// Go back to the state before `step`, or to the newest one before it that is here.
    RollBack { step: u64, generation: u32 },
    /// Compute another seat's unit again.
    Audit(Box<AuditJob>),
    /// Find the next message of a dispute about a unit.
    Play(Box<PlayJob>),
}

/// What another seat says of its units.
#[derive(Clone, Debug)]
pub struct Share {
    pub account: PublicKey,
    /// Its gradient sum.
    pub sum: bytes::Bytes,
    /// What its header says the sum's root is.
    pub root: Hash,
}

/// A unit to be computed again.
#[derive(Clone, Debug)]
pub struct AuditJob {
    pub unit: UnitId,
    /// Its number in the step.
    pub number: u32,
    /// Root over the weights that it was computed from.
    pub weights: Hash,
    /// `[rows, width]`; `None` at stage 0.
    pub input: Option<Vec<f32>>,
    /// `[rows, width]`; `None` in the last stage.
    pub gradient: Option<Vec<f32>>,
    pub auditor: PublicKey,
    pub beacon: Hash,
    /// Whose audit this one repeats.
    pub repeats: Option<PublicKey>,
}

/// A dispute whose turn is this seat's, with what its unit was computed from.
#[derive(Clone, Debug)]
pub struct PlayJob {
    pub open: OpenDispute,
    pub claim: UnitClaim,
    /// Of the unit in its step.
    pub number: u32,
    pub input: Option<Vec<f32>>,
    pub gradient: Option<Vec<f32>>,
}

/// The digests of a unit that only the worker can make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Of the tokens at stage 0.
    pub x: Option<Hash>,
    /// Of the losses and labels in the last stage.
    pub y: Option<Hash>,
    pub dy: Option<Hash>,
    /// Root over the unit's weight gradient.
    pub dw: Hash,
}

/// A unit in the seat's sum that another seat keeps, with what its gradient is computed from again.
#[derive(Clone, Debug)]
pub struct Extra {
    pub unit: u32,
    /// `None` at stage 0.
    pub input: Option<Tensor>,
    /// `None` in the last stage.
    pub output_gradient: Option<Tensor>,
}

/// What a job gave.
#[derive(Clone, Debug)]
pub enum JobResult {
    Loaded {
        progress: u64,
        state_root: Hash,
        /// Root over the weights alone, that units and disputes start from.
        weights: Hash,
        generation: u32,
        records: Vec<StepRecord>,
        damaged: Vec<String>,
    },
    Forwarded {
        step: u64,
        unit: u32,
        tensor: Tensor,
    },
    /// `tensor` is `None` at stage 0. `loss`: mean training loss in micro-nats, last stage only.
    Backwarded {
        step: u64,
        unit: u32,
        tensor: Option<Tensor>,
        accumulated: bool,
        loss: Option<u64>,
        made: Made,
    },
    Measured {
        step: u64,
        unit: u32,
        loss: u64,
    },
    Summed {
        step: u64,
        units: UnitSet,
        sum: bytes::Bytes,
        /// Root over the sum's tensors.
        root: Hash,
    },
    /// `saved` is false when the disk refused: the step is computed but must not be announced yet.
    Closed {
        progress: u64,
        state_root: Hash,
        weights: Hash,
        saved: Result<(), StoreError>,
    },
    Saved(Result<(), StoreError>),
    Exported {
        manifest: StateManifest,
        pieces: Vec<bytes::Bytes>,
    },
    Installed {
        progress: u64,
        state_root: Hash,
        weights: Hash,
    },
    /// The step was not closed: a seat's sum is not the one that its header commits to.
    Refused {
        step: u64,
        account: PublicKey,
    },
    RolledBack {
        generation: u32,
        progress: u64,
        state_root: Hash,
        weights: Hash,
        records: Vec<StepRecord>,
    },
    /// `None`: the unit is void.
    Audited {
        unit: UnitId,
        result: Option<Computed>,
    },
    /// `None`: there is nothing to say.
    Played {
        dispute: Hash,
        step: Option<Box<Step>>,
    },
    /// The job could not be done.
    Failed {
        job: &'static str,
        unit: Option<(u64, u32)>,
        error: WorkerError,
    },
}

/// Why a job could not be done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WorkerError {
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error("{0}")]
    Model(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("no state of step {step} is kept here; this seat is at step {progress}")]
    NoState { step: u64, progress: u64 },
    #[error("the weights of step {step} that are kept here are not those that the unit was computed from")]
    OtherWeights { step: u64 },
    #[error("the dispute cannot be played: {0}")]
    Play(String),
    #[error("this stage needs the run's data, which was not loaded")]
    NoData,
    #[error("the downloaded state has root {got}, its manifest promised {expected}")]
    WrongRoot { expected: Hash, got: Hash },
}

impl WorkerError {
    /// Whether whoever sent the unit's tensor is to blame.
    pub fn is_senders_fault(&self) -> bool {
        matches!(self, Self::Tensor(_))
    }
}
impl From<ModelError> for WorkerError {
    fn from(error: ModelError) -> Self {
        Self::Model(error.to_string())
    }
}
