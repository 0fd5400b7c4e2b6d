//! Train one stage: weights, optimizer moments and step, moved only by agreed gradient sums.
//!
//! **Update.** The mean gradient is the integer sum on its grid over the number of microbatches, scaled down
//! if the stage's Euclidean norm exceeds `clip`. With `kind = "muon"`, hidden matrices take momentum with
//! Nesterov's look-ahead, orthogonalised by five Newton-Schulz iterations (Jordan 2024; [`optim::orthogonalise`]),
//! and move by `learning_rate * 0.2 * sqrt(max(rows, cols))` times it, which gives the update AdamW's root mean
//! square (Liu et al. 2025, "Muon is scalable"). Everything else, or everything with `kind = "adamw"`, takes
//! AdamW (Loshchilov and Hutter 2019). Decay is decoupled, and gains never decay. `beta^t` are running
//! products kept in the state, so no power is ever evaluated.
//!
//! **Root.** [`StageState::state_root`] is a Merkle root over one digest per (tensor name, kind), sorted,
//! after a first leaf with run, stage, step, running products and exponents.

use crate::{
    error::ModelError,
    gradient::{GradSum, MAX_TENSORS, Sign, next_exponent},
    plan::{Role, TensorPlan},
    schedule::{self, Rates},
    spec::{OptimizerKind, RunSpec},
    stage::{BackwardOut, KvCache, StageInput, StageTarget, StageWeights},
    workspace::{Kept, Workspace},
};
use std::sync::Arc;
use tessera_arith::{
    ArithError, elementwise, grid,
    optim::{self, AdamW},
    reduce,
};
use tessera_canon::{Domain, Hash, List, digest, digest_parts, merkle_root, record};

const TENSOR: Domain = Domain::new("tessera/tensor/v1");
const STATE: Domain = Domain::new("tessera/stage-state/v1");
const NEWTON_SCHULZ_STEPS: usize = 5;

/// A stage in training.
#[derive(Clone, Debug, PartialEq)]
pub struct StageState {
    pub(crate) weights: StageWeights,
    /// Muon's momentum or AdamW's first moment, per tensor.
    pub(crate) first: Vec<Vec<f32>>,
    /// AdamW's second moment; empty for tensors that Muon moves.
    pub(crate) second: Vec<Vec<f32>>,
    /// `beta1^step` and `beta2^step`.
    pub(crate) powers: [f32; 2],
}

/// What an optimizer step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// Steps applied so far, this one included.
    pub step: u64,
    /// Norm of the stage's mean gradient before clipping.
    pub gradient_norm: f32,
    /// The rates used.
    pub rates: Rates,
}

record! {
    /// Everything in a state that is not a tensor.
    pub(crate) struct StateHeader {
        pub(crate) run_id: Hash,
        pub(crate) stage: u16,
        pub(crate) step: u64,
        pub(crate) powers: [u32; 2],
        pub(crate) exponents: List<i32, MAX_TENSORS>,
    }
}

pub(crate) fn moved_by_muon(spec: &RunSpec, tensor: &TensorPlan) -> bool {
    spec.optimizer.kind == OptimizerKind::Muon && matches!(tensor.role, Role::Hidden | Role::ResidualOutput)
}

impl StageState {
    /// The state of `stage` before the first step; the same bits for everybody.
    pub fn init(spec: &RunSpec, stage: u16) -> Result<Self, ModelError> {
        let weights = StageWeights::init(spec, stage)?;
        let zeros = |tensor: &TensorPlan| vec![0.0; tensor.len()];
        let first = weights.plan.tensors.iter().map(zeros).collect();
        let second = weights.plan.tensors.iter();
        let second = second.map(|t| if moved_by_muon(spec, t) { Vec::new() } else { zeros(t) }).collect();
        Ok(Self { weights, first, second, powers: [1.0; 2] })
    }
    /// The weights, to compute with.
    pub fn weights(&self) -> &StageWeights {
        &self.weights
    }
    /// A copy of the weights at this step, to replay or audit it later.
    pub fn snapshot(&self) -> StageWeights {
        self.weights.clone()
    }
    /// Optimizer steps already applied.
    pub fn step(&self) -> u64 {
        self.weights.step
    }
    /// Index of the stage.
    pub fn stage(&self) -> u16 {
        self.weights.plan.stage
    }
    /// See [`StageWeights::forward`].
    pub fn forward(&self, input: StageInput, workspace: &mut Workspace) -> Result<Vec<f32>, ModelError> {
        self.weights.forward(input, workspace)
    }
    /// See [`StageWeights::evaluate`].
    pub fn evaluate(
        &self,
        input: StageInput,
        labels: &[u32],
        workspace: &mut Workspace,
    ) -> Result<Vec<f32>, ModelError> {
        self.weights.evaluate(input, labels, workspace)
    }
    /// See [`StageWeights::backward`]; the microbatch's gradient is added to `sum`.
    pub fn backward(
        &self,
        input: StageInput,
        target: StageTarget,
        workspace: &mut Workspace,
        sum: &mut GradSum,
    ) -> Result<BackwardOut, ModelError> {
        self.weights.backward(input, target, workspace, Some((sum, Sign::Add)))
    }
    /// See [`StageWeights::forward_keep`].
    pub fn forward_keep(
        &self,
        input: StageInput,
        workspace: &mut Workspace,
    ) -> Result<(Vec<f32>, Kept), ModelError> {
        self.weights.forward_keep(input, workspace)
    }
    /// See [`StageWeights::backward_kept`]; the microbatch's gradient is added to `sum`.
    pub fn backward_kept(
        &self,
        kept: Kept,
        target: StageTarget,
        workspace: &mut Workspace,
        sum: &mut GradSum,
    ) -> Result<BackwardOut, ModelError> {
        self.weights.backward_kept(kept, target, workspace, Some((sum, Sign::Add)))
    }
    /// Take a microbatch out of `sum` exactly, by computing it again.
    pub fn unadd(
        &self,
        input: StageInput,
        target: StageTarget,
        workspace: &mut Workspace,
        sum: &mut GradSum,
    ) -> Result<BackwardOut, ModelError> {
        self.weights.backward(input, target, workspace, Some((sum, Sign::Subtract)))
    }
    /// See [`StageWeights::decode`].
    pub fn decode(
        &self,
        rows: StageInput,
        cache: &mut KvCache,
        workspace: &mut Workspace,
    ) -> Result<Vec<f32>, ModelError> {
        self.weights.decode(rows, cache, workspace)
    }

    /// Apply the agreed sum of `microbatches` gradients: one optimizer step.
    ///
    /// # Errors
    /// A sum of another stage, step or number of microbatches, or a gradient whose norm is not finite:
    /// nothing changed. [`ModelError::NotFinite`] on a weight: the run has diverged, and this state must be
    /// loaded again.
    pub fn apply(&mut self, sum: &GradSum, microbatches: u32) -> Result<StepReport, ModelError> {
        sum.check_state(&self.weights)?;
        if microbatches == 0 || sum.microbatches() != microbatches {
            let expected = format!("{} and at least one", microbatches);
            return Err(ModelError::Count { expected, got: sum.microbatches().to_string() });
        }
        let spec = self.weights.spec.clone();
        let plan = self.weights.plan.clone();
        let mean = 1.0 / microbatches as f32;
        // One tensor's gradient exists at a time: once for the norm, and once more for its update.
        let largest = |moved: bool| {
            let tensors = plan.tensors.iter().filter(|tensor| !moved || moved_by_muon(&spec, tensor));
            tensors.map(TensorPlan::len).max().unwrap_or(0)
        };
        let (mut gradient, mut direction) = (vec![0.0; largest(false)], vec![0.0; largest(true)]);
        let mut total = 0.0;
        for (index, tensor) in plan.tensors.iter().enumerate() {
            let gradient = &mut gradient[..tensor.len()];
            grid::dequantise(sum.tensor(index), sum.exponents()[index], mean, gradient)?;
            total += reduce::sum_squares(gradient);
        }
        // `optim::clip` with its tensors one after the other.
        let gradient_norm = total.sqrt();
        if !gradient_norm.is_finite() {
            return Err(ArithError::NonFinite { operation: "clip", index: 0 }.into());
        }
        let limit = spec.optimizer.clip.f32();
        let clip = (gradient_norm > limit).then(|| limit / gradient_norm);

        let rates = schedule::rates(&spec, self.weights.step);
        let optimizer = &spec.optimizer;
        let (beta1, beta2) = (optimizer.beta1.f32(), optimizer.beta2.f32());
        self.powers = [self.powers[0] * beta1, self.powers[1] * beta2];
        for (index, tensor) in plan.tensors.iter().enumerate() {
            let (weight, gradient) = (&mut self.weights.tensors[index], &mut gradient[..tensor.len()]);
            grid::dequantise(sum.tensor(index), sum.exponents()[index], mean, gradient)?;
            if let Some(factor) = clip {
                elementwise::scale(gradient, factor);
            }
            let decay = if tensor.role == Role::Gain { 0.0 } else { optimizer.weight_decay.f32() };
            if moved_by_muon(&spec, tensor) {
                let direction = &mut direction[..gradient.len()];
                let momentum = optimizer.momentum.f32();
                optim::momentum(&mut self.first[index], gradient, momentum, true, direction)?;
                optim::orthogonalise(direction, tensor.rows, tensor.cols, NEWTON_SCHULZ_STEPS)?;
                elementwise::scale(direction, 0.2 * (tensor.rows.max(tensor.cols) as f32).sqrt());
                optim::descend(weight, direction, rates.hidden, decay)?;
            } else {
                let hidden = matches!(tensor.role, Role::Hidden | Role::ResidualOutput);
                let step = AdamW {
                    learning_rate: if hidden { rates.hidden } else { rates.outer },
                    beta1,
                    beta2,
                    epsilon: optimizer.epsilon.f32(),
                    weight_decay: decay,
                    correction1: 1.0 / (1.0 - self.powers[0]),
                    correction2: 1.0 / (1.0 - self.powers[1]),
                };
                optim::adamw(&step, weight, &mut self.first[index], &mut self.second[index], gradient)?;
            }
        }
        self.weights.step += 1;
        let exponents = sum.exponents().iter().enumerate();
        let exponents = exponents.map(|(index, &exponent)| next_exponent(exponent, sum.tensor(index)));
        self.weights.exponents = Arc::new(exponents.collect());
        for tensor in &self.weights.tensors {
            self.weights.finite("a weight after the step", tensor)?;
        }
        Ok(StepReport { step: self.weights.step, gradient_norm, rates })
    }

    /// The hash that all replicas of the stage must agree on after a step.
    pub fn state_root(&self) -> Hash {
        let mut leaves: Vec<(&str, u8, Hash)> = Vec::new();
        for (index, tensor) in self.weights.plan.tensors.iter().enumerate() {
            let kinds = [
                (b'w', &self.weights.tensors[index]),
                (b'm', &self.first[index]),
                (b'v', &self.second[index]),
            ];
            for (kind, values) in kinds {
                leaves.push((&tensor.name, kind, tensor_digest(tensor, kind, values)));
            }
        }
        leaves.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        let mut hashes = vec![digest(STATE, &self.header())];
        hashes.extend(leaves.into_iter().map(|(_, _, hash)| hash));
        merkle_root(hashes)
    }

    pub(crate) fn header(&self) -> StateHeader {
        StateHeader {
            run_id: self.weights.spec.run_id(),
            stage: self.stage(),
            step: self.weights.step,
            powers: self.powers.map(f32::to_bits),
            exponents: List::new(self.weights.exponents.to_vec()).expect(
                "a valid spec has at most 2 * 1024 sub-layers in 64 stages, so under 16384 tensors a stage",
            ),
        }
    }
}

/// Digest of one tensor: name, kind, type, rank, dimensions, then the values, little-endian. Moments that do
/// not exist have rank 0.
fn tensor_digest(tensor: &TensorPlan, kind: u8, values: &[f32]) -> Hash {
    let shape = if values.is_empty() { Vec::new() } else { tensor.shape() };
    let mut head = (tensor.name.len() as u32).to_be_bytes().to_vec();
    head.extend_from_slice(tensor.name.as_bytes());
    head.extend_from_slice(b"f32");
    head.push(kind);
    head.push(shape.len() as u8);
    shape.iter().for_each(|&dimension| head.extend_from_slice(&(dimension as u64).to_be_bytes()));
    digest_parts(TENSOR, [head.as_slice(), &little_endian(values)])
}

/// The bytes of `values`, little-endian.
pub(crate) fn little_endian(values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; 4 * values.len()];
    for (slot, value) in bytes.chunks_exact_mut(4).zip(values) {
        slot.copy_from_slice(&value.to_le_bytes());
    }
    bytes
}
