//! Run one stage of the decoder: forward, backward from the kept input, loss, and cached decode.
//!
//! [`StageWeights`] is all that these need: the weights at one step, with the gradient exponents of that
//! step. [`StageState`](crate::StageState) adds the optimizer. Activations are `[sequences * seq_len,
//! d_model]`, row-major, sequence after sequence. A call that fails changes no gradient sum and no cache.
//!
//! Nothing here knows of wires or peers; the bytes of an activation are whatever the wire codec decoded.

use crate::{
    error::ModelError,
    gradient::{GradSum, INITIAL_EXPONENT, Sign},
    initial,
    layer::{self, CachedHeads, Layer, Tape},
    plan::{StagePlan, SubLayerKind},
    spec::RunSpec,
};
use std::{ops::Range, sync::Arc};
use tessera_arith::{Store, embed, loss, norm, rope::RopeTable};

/// What a stage computes on.
#[derive(Clone, Copy, Debug)]
pub enum StageInput<'a> {
    /// Tokens `[sequences * seq_len]`, for the first stage.
    Tokens(&'a [u32]),
    /// The previous stage's output `[sequences * seq_len, d_model]`, for every other stage.
    Hidden(&'a [f32]),
}

/// What a stage's backward pass starts from.
#[derive(Clone, Copy, Debug)]
pub enum StageTarget<'a> {
    /// Gradient of the output `[sequences * seq_len, d_model]`, for every stage but the last.
    Grad(&'a [f32]),
    /// Labels `[sequences * seq_len]`, for the last stage.
    Labels(&'a [u32]),
}

/// What a backward pass yields besides weight gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct BackwardOut {
    /// Gradient of the input; `None` on the first stage.
    pub dx: Option<Vec<f32>>,
    /// Mean loss in nats per token; only on the last stage.
    pub loss: Option<f32>,
}

/// Tables and scratch memory that calls on one thread share.
pub struct Workspace {
    pub(crate) rope: RopeTable,
    positions: Vec<u32>,
    gradients: Vec<Vec<f32>>,
}

impl Workspace {
    /// A workspace for any stage of the run `spec`, which must be valid.
    pub fn new(spec: &RunSpec) -> Result<Self, ModelError> {
        let seq = spec.model.seq_len;
        Ok(Self {
            rope: RopeTable::new(seq as usize, spec.model.head_dim(), spec.model.rope_theta.get())?,
            positions: (0..spec.batch.sequences).flat_map(|_| 0..seq).collect(),
            gradients: Vec::new(),
        })
    }
    pub(crate) fn positions(&self, rows: usize) -> &[u32] {
        &self.positions[..rows]
    }
}

/// The weights of one stage at one step: enough to compute, not to train on.
///
/// Keep a clone of a past step's weights to replay or audit that step.
#[derive(Clone, Debug, PartialEq)]
pub struct StageWeights {
    pub(crate) spec: Arc<RunSpec>,
    pub(crate) plan: Arc<StagePlan>,
    pub(crate) step: u64,
    pub(crate) exponents: Arc<Vec<i32>>,
    pub(crate) tensors: Vec<Vec<f32>>,
}

/// Keys and values of one stage for one session, grown by [`StageWeights::decode`].
#[derive(Clone, Debug)]
pub struct KvCache {
    heads: Vec<CachedHeads>,
    positions: usize,
}

impl KvCache {
    /// An empty cache for the stage.
    pub fn new(plan: &StagePlan) -> Self {
        let attentions = plan.sub_layers.iter().filter(|s| s.kind == SubLayerKind::Attention).count();
        Self { heads: vec![CachedHeads::default(); attentions], positions: 0 }
    }
    /// Positions held.
    pub fn len(&self) -> usize {
        self.positions
    }
    /// Whether no position is held.
    pub fn is_empty(&self) -> bool {
        self.positions == 0
    }
    /// Bytes of keys and values held.
    pub fn bytes(&self) -> usize {
        self.heads.iter().map(|h| 4 * (h.keys.len() + h.values.len())).sum()
    }
    /// Forget all positions from `positions` on; a longer request changes nothing.
    pub fn truncate(&mut self, positions: usize, spec: &RunSpec) {
        self.positions = self.positions.min(positions);
        let values = self.positions * spec.model.kv_width();
        for heads in &mut self.heads {
            heads.keys.truncate(values);
            heads.values.truncate(values);
        }
    }
}

impl StageWeights {
    /// The initial weights of `stage`, drawn from the run's identity.
    pub fn init(spec: &RunSpec, stage: u16) -> Result<Self, ModelError> {
        let count = spec.stage_count();
        let plan = spec.stage_plan(stage).ok_or(ModelError::NoSuchStage { got: stage, count })?;
        let run_id = spec.run_id();
        let tensors: Vec<Vec<f32>> =
            plan.tensors.iter().map(|tensor| initial::values(spec, &run_id, tensor)).collect();
        let exponents = Arc::new(vec![INITIAL_EXPONENT; tensors.len()]);
        Ok(Self { spec: Arc::new(spec.clone()), plan: Arc::new(plan), step: 0, exponents, tensors })
    }
    /// What the stage holds.
    pub fn plan(&self) -> &StagePlan {
        &self.plan
    }
    /// The run.
    pub fn spec(&self) -> &RunSpec {
        &self.spec
    }
    /// Optimizer steps already applied.
    pub fn step(&self) -> u64 {
        self.step
    }
    /// The weights of each tensor of the plan, in its order.
    pub fn tensors(&self) -> &[Vec<f32>] {
        &self.tensors
    }
    /// Exponent of each tensor's gradient grid in this step.
    pub fn exponents(&self) -> &[i32] {
        &self.exponents
    }
    /// An empty cache for this stage.
    pub fn new_cache(&self) -> KvCache {
        KvCache::new(&self.plan)
    }

    /// The stage's output for whole sequences: `[rows, d_model]`, or the logits `[rows, vocab]` on the last
    /// stage. At most one microbatch.
    pub fn forward(&self, input: StageInput, workspace: &mut Workspace) -> Result<Vec<f32>, ModelError> {
        let mut x = self.enter(input)?;
        self.check_rows(x.len(), false)?;
        for (sub_layer, range) in self.sub_layers() {
            self.layer(sub_layer, range).forward(&mut x, workspace)?;
        }
        let out = if self.plan.last { self.head(&x)?.logits } else { x };
        self.finite("the output", &out)?;
        Ok(out)
    }

    /// Loss of every token in nats, `[rows]`. Last stage only.
    pub fn evaluate(
        &self,
        input: StageInput,
        labels: &[u32],
        workspace: &mut Workspace,
    ) -> Result<Vec<f32>, ModelError> {
        if !self.plan.last {
            return Err(self.wrong("has no loss", "ask the last stage, and forward() of this one"));
        }
        let logits = self.forward(input, workspace)?;
        let mut losses = vec![0.0; labels.len()];
        loss::cross_entropy(&logits, labels, &mut losses, None, 1.0)?;
        self.finite("the loss", &losses)?;
        Ok(losses)
    }

    /// Recompute the forward pass of one microbatch from its input and run backward.
    ///
    /// The gradient of the microbatch's mean loss is computed from zero, rounded to the step's grid, and
    /// added to (or exactly taken from) the sum, if there is one.
    pub fn backward(
        &self,
        input: StageInput,
        target: StageTarget,
        workspace: &mut Workspace,
        accumulate: Option<(&mut GradSum, Sign)>,
    ) -> Result<BackwardOut, ModelError> {
        if let Some((sum, _)) = &accumulate {
            sum.check_state(self)?;
        }
        let mut x = self.enter(input)?;
        self.check_rows(x.len(), true)?;
        let mut gradients = std::mem::take(&mut workspace.gradients);
        gradients.resize_with(self.tensors.len(), Vec::new);
        for (gradient, weights) in gradients.iter_mut().zip(&self.tensors) {
            gradient.clear();
            gradient.resize(weights.len(), 0.0);
        }
        let mut kept: Vec<(Vec<f32>, Tape)> = Vec::new();
        for (sub_layer, range) in self.sub_layers() {
            let before = x.clone();
            let tape = self.layer(sub_layer, range).forward(&mut x, workspace)?;
            kept.push((before, tape));
        }
        let (mut dx, loss) = self.backward_top(&x, target, &mut gradients)?;
        for ((sub_layer, range), (before, tape)) in
            self.sub_layers().into_iter().rev().zip(kept.into_iter().rev())
        {
            let layer = self.layer(sub_layer, range.clone());
            layer.backward(&before, tape, &mut dx, &mut gradients[range], workspace)?;
        }
        if let StageInput::Tokens(tokens) = input {
            embed::scatter_add(&mut gradients[0], self.d(), tokens, &dx)?;
        }
        self.finite("the input's gradient", &dx)?;
        for gradient in &gradients {
            self.finite("a weight's gradient", gradient)?;
        }
        if let Some((sum, sign)) = accumulate {
            sum.accumulate(&gradients, sign)?;
        }
        workspace.gradients = gradients;
        Ok(BackwardOut { dx: (!self.plan.first).then_some(dx), loss })
    }

    /// Compute `n` new positions of one sequence whose earlier positions are in `cache`, which grows by `n`
    /// (a prompt at once, or one token). Returns `[n, d_model]`, or the logits `[n, vocab]` on the last
    /// stage: bit for bit the rows that [`StageWeights::forward`] computes for the same positions.
    pub fn decode(
        &self,
        rows: StageInput,
        cache: &mut KvCache,
        workspace: &mut Workspace,
    ) -> Result<Vec<f32>, ModelError> {
        let attentions = KvCache::new(&self.plan).heads.len();
        if cache.heads.len() != attentions {
            return Err(ModelError::WrongCache { expected: attentions, got: cache.heads.len() });
        }
        let mut x = self.enter(rows)?;
        let (count, held, limit) = (x.len() / self.d(), cache.positions, self.spec.model.seq_len as usize);
        if x.is_empty() || !x.len().is_multiple_of(self.d()) {
            return Err(self.size(
                "the decode input",
                format!("a positive multiple of {}", self.d()),
                x.len(),
            ));
        }
        if held + count > limit {
            return Err(ModelError::CacheFull { held, more: count, limit });
        }
        let result = self.decode_rows(&mut x, cache, workspace);
        match result {
            Ok(()) => cache.positions = held + count,
            Err(_) => cache.truncate(held, &self.spec),
        }
        result?;
        let out = if self.plan.last { self.head(&x)?.logits } else { x };
        if let Err(error) = self.finite("the output", &out) {
            cache.truncate(held, &self.spec);
            return Err(error);
        }
        Ok(out)
    }

    fn decode_rows(
        &self,
        x: &mut [f32],
        cache: &mut KvCache,
        workspace: &Workspace,
    ) -> Result<(), ModelError> {
        let first = cache.positions as u32;
        let positions: Vec<u32> = (first..first + (x.len() / self.d()) as u32).collect();
        let mut heads = cache.heads.iter_mut();
        let mut none = CachedHeads::default();
        for (sub_layer, range) in self.sub_layers() {
            let cached = match sub_layer {
                at if self.plan.sub_layers[at].kind == SubLayerKind::Attention => heads.next(),
                _ => None,
            };
            let cached = cached.unwrap_or(&mut none);
            self.layer(sub_layer, range).decode(x, &positions, cached, workspace)?;
        }
        Ok(())
    }

    fn d(&self) -> usize {
        self.spec.model.d_model as usize
    }

    /// The stage's sub-layers: position in the plan and range of tensors.
    fn sub_layers(&self) -> Vec<(usize, Range<usize>)> {
        let mut at = usize::from(self.plan.first);
        let attention = if self.spec.model.qk_norm { 7 } else { 5 };
        let counts = self.plan.sub_layers.iter().map(|s| match s.kind {
            SubLayerKind::Attention => attention,
            SubLayerKind::Mlp => 4,
        });
        counts
            .enumerate()
            .map(|(position, count)| {
                at += count;
                (position, at - count..at)
            })
            .collect()
    }

    fn layer(&self, position: usize, range: Range<usize>) -> Layer<'_> {
        Layer {
            model: &self.spec.model,
            sub_layer: self.plan.sub_layers[position],
            weights: &self.tensors[range],
        }
    }

    fn enter(&self, input: StageInput) -> Result<Vec<f32>, ModelError> {
        match (input, self.plan.first) {
            (StageInput::Tokens(tokens), true) => {
                let mut x = vec![0.0; tokens.len() * self.d()];
                embed::gather(&self.tensors[0], self.d(), tokens, &mut x)?;
                Ok(x)
            }
            (StageInput::Hidden(x), false) => {
                self.finite("the input", x)?;
                Ok(x.to_vec())
            }
            (StageInput::Tokens(_), false) => {
                Err(self
                    .wrong("got tokens", "only stage 0 takes tokens; send it the previous stage's output"))
            }
            (StageInput::Hidden(_), true) => {
                Err(self.wrong("got activations", "stage 0 takes the tokens of the microbatch"))
            }
        }
    }

    fn check_rows(&self, values: usize, whole: bool) -> Result<(), ModelError> {
        let sequence = self.spec.model.seq_len as usize * self.d();
        let most = sequence * self.spec.batch.sequences as usize;
        let good = if whole {
            values == most
        } else {
            values > 0 && values <= most && values.is_multiple_of(sequence)
        };
        if good {
            return Ok(());
        }
        let expected = if whole {
            format!("{most} ([sequences * seq_len, d_model] of one microbatch)")
        } else {
            format!("a multiple of {sequence} ([seq_len, d_model]), at most {most}")
        };
        Err(self.size("the input", expected, values))
    }

    fn head(&self, x: &[f32]) -> Result<Head, ModelError> {
        let (gain, table) = (&self.tensors[self.tensors.len() - 2], &self.tensors[self.tensors.len() - 1]);
        let (mut normed, mut inv_rms) = (vec![0.0; x.len()], vec![0.0; x.len() / self.d()]);
        norm::rms_forward(x, gain, self.spec.model.norm_eps.f32(), &mut normed, &mut inv_rms)?;
        let mut logits = vec![0.0; inv_rms.len() * self.spec.model.vocab as usize];
        layer::linear(&normed, table, self.d(), &mut logits, Store::Set)?;
        Ok(Head { normed, inv_rms, logits })
    }

    /// The gradient of the last sub-layer's output, and the mean loss where there is one.
    fn backward_top(
        &self,
        x: &[f32],
        target: StageTarget,
        gradients: &mut [Vec<f32>],
    ) -> Result<(Vec<f32>, Option<f32>), ModelError> {
        let labels = match (target, self.plan.last) {
            (StageTarget::Grad(dy), false) if dy.len() == x.len() => {
                self.finite("the output's gradient", dy)?;
                return Ok((dy.to_vec(), None));
            }
            (StageTarget::Grad(dy), false) => {
                return Err(self.size("the output's gradient", x.len().to_string(), dy.len()));
            }
            (StageTarget::Labels(labels), true) => labels,
            (StageTarget::Grad(_), true) => {
                return Err(self.wrong("got a gradient", "the last stage starts from labels"));
            }
            (StageTarget::Labels(_), false) => {
                return Err(self.wrong("got labels", "only the last stage takes labels; send it a gradient"));
            }
        };
        let Head { normed, inv_rms, logits } = self.head(x)?;
        let (mut losses, mut dlogits) = (vec![0.0; inv_rms.len()], vec![0.0; logits.len()]);
        let scale = 1.0 / labels.len() as f32;
        loss::cross_entropy(&logits, labels, &mut losses, Some(&mut dlogits), scale)?;
        self.finite("the loss", &losses)?;
        let (norm_at, head_at) = (gradients.len() - 2, gradients.len() - 1);
        layer::linear_weight_gradient(&dlogits, &normed, self.d(), &mut gradients[head_at])?;
        let mut dnormed = vec![0.0; x.len()];
        layer::linear_input_gradient(&dlogits, &self.tensors[head_at], self.d(), &mut dnormed, Store::Set)?;
        let mut dx = vec![0.0; x.len()];
        let gain = &self.tensors[norm_at];
        norm::rms_backward(x, gain, &inv_rms, &dnormed, &mut dx, &mut gradients[norm_at], Store::Set)?;
        Ok((dx, Some(layer::mean(&losses))))
    }

    pub(crate) fn finite(&self, what: &'static str, values: &[f32]) -> Result<(), ModelError> {
        if values.iter().all(|value| value.is_finite()) {
            return Ok(());
        }
        Err(ModelError::NotFinite { stage: self.plan.stage, what })
    }
    fn wrong(&self, problem: &'static str, advice: &'static str) -> ModelError {
        ModelError::WrongKind { stage: self.plan.stage, count: self.spec.stage_count(), problem, advice }
    }
    fn size(&self, what: &'static str, expected: String, got: usize) -> ModelError {
        ModelError::Size { stage: self.plan.stage, what, expected, got }
    }
}

struct Head {
    normed: Vec<f32>,
    inv_rms: Vec<f32>,
    logits: Vec<f32>,
}
