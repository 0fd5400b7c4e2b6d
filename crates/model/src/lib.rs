//! Define a run and compute any stage of it: specification, data order, forward, backward, decode, optimizer.
//!
//! Everything here is a pure function of a [`RunSpec`] and a text, in the canonical arithmetic of
//! `tessera-arith`: two machines that hold the same specification hold the same bits after every step.
//!
//! - [`RunSpec`]: a designer's TOML, validated field by field and hashed to the `run_id`; presets `tiny`,
//!   `nano`, `micro`, `base`. [`StagePlan`] says what one stage holds, [`flops`] what its work is worth.
//! - [`Dataset`], [`Tokenizer`]: a corpus committed by a Merkle root, and the microbatches drawn from it.
//! - [`StageState`]: one stage in training. [`StageWeights`] (also named [`WeightsOnly`]) is what a past step is replayed and
//!   audited with, [`KvCache`] what a completion grows.
//! - [`Workspace`], [`Kept`]: the memory of a stage's computations, and what a unit keeps between its forward and
//!   its backward pass.
//! - [`GradSum`]: gradients summed as integers, so that no result depends on who computed what, or when.
//! - [`central`]: the whole run in one process, the reference for every swarm.
//!
//! ```
//! use tessera_model::{Dataset, RunSpec, central};
//! let spec = RunSpec::preset("tiny")?;
//! let data = Dataset::embedded(&spec)?;
//! let trained = central::train(&spec, &data, 1, |view| assert_eq!(view.losses.len(), 4))?;
//! assert_eq!(trained.roots.len(), spec.stage_count() as usize);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate knows no network, no peers and no ledger.

mod backward;
pub mod central;
mod checkpoint;
pub mod corpus;
pub mod data;
mod error;
pub mod flops;
mod gradient;
#[cfg(test)]
mod gradient_check;
mod initial;
mod layer;
mod memory;
mod plan;
mod preset;
mod real;
pub mod schedule;
mod sink;
mod spec;
mod stage;
mod state;
mod tokenizer;
mod validate;
mod workspace;

pub use data::{DataError, Dataset, Manifest, Microbatch};
pub use error::ModelError;
pub use gradient::{EXPONENT_RANGE, GradPart, GradSum, HEADROOM_BITS, INITIAL_EXPONENT, Sign};
pub use plan::{Role, StagePlan, SubLayer, SubLayerKind, TensorPlan};
pub use preset::NAMES as PRESETS;
pub use real::Real;
pub use spec::{
    ArithmeticSpec, BatchSpec, DataSpec, EvaluationSpec, MAX_SPEC_TOML_BYTES, MAX_STAGES, ModelSpec,
    OptimizerKind, OptimizerSpec, RunSpec, Schedule, SpecError, WireCodec,
};
pub use stage::{BackwardOut, KvCache, StageInput, StageTarget, StageWeights, StageWeights as WeightsOnly};
pub use state::{StageState, StepReport};
pub use tokenizer::{TextStream, Tokenizer, TokenizerError};
pub use workspace::{Kept, Workspace};

/// Version of the canonical arithmetic this program computes with (`tessera-arith`, canon v1).
pub const ARITHMETIC_VERSION: u32 = 1;

/// Root of the conformance vectors of that arithmetic.
fn conformance_root() -> tessera_canon::Hash {
    tessera_canon::Hash(tessera_arith::conform::ROOT)
}
