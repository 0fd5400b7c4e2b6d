//! (being written)
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
mod plan;
mod preset;
mod real;
pub mod schedule;
mod spec;
mod stage;
mod state;
mod tokenizer;
mod validate;
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
pub use stage::{
    BackwardOut, KvCache, StageInput, StageTarget, StageWeights, StageWeights as WeightsOnly, Workspace,
};
pub use state::{StageState, StepReport};
pub use tokenizer::{TextStream, Tokenizer, TokenizerError};

/// Version of the canonical arithmetic this program computes with (`tessera-arith`, canon v1).
pub const ARITHMETIC_VERSION: u32 = 1;

fn conformance_root() -> tessera_canon::Hash {
    tessera_canon::Hash(tessera_arith::conform::ROOT)
}
