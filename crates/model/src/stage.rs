//! Run one stage of the decoder forward: whole sequences, loss, and cached decode.
//!
//! [`StageWeights`] is all that these need: the weights at one step, with the gradient exponents of that
//! step. [`StageState`](crate::StageState) adds the optimizer; the backward pass has a module of its own.
//! Activations are `[sequences * seq_len, d_model]`, row-major, sequence after sequence. A call that fails
//! changes no gradient sum and no cache.
//!
//! Nothing here knows of wires or peers; the bytes of an activation are whatever the wire codec decoded.

use crate::{
    error::ModelError,
    gradient::INITIAL_EXPONENT,
    initial,
    layer::{self, CachedHeads, Layer, Tape},
    memory::{Dims, Plan, Room},
    plan::{StagePlan, SubLayer, SubLayerKind},
    spec::RunSpec,
    workspace::Workspace,
};
use std::{ops::Range, sync::Arc};
use tessera_arith::{Store, elementwise, embed, loss, norm};

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
    /// Loss of every token in nats `[rows]`; empty but on the last stage.
    pub losses: Vec<f32>,
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
        let plan = self.memory(self.check_input(input, false)?);
        let stream = plan.dims.stream();
        let mut room = workspace.scratch.room(plan.forward());
        let mut out = if self.plan.last { Vec::new() } else { vec![0.0; stream] };
        let x = if self.plan.last { room.take(stream) } else { &mut out[..] };
        self.enter(input, x)?;
        for (at, sub_layer) in self.plan.sub_layers.iter().enumerate() {
            let mut room = room.lend();
            let tape = Tape::take(sub_layer.kind, &plan.dims, &mut room);
            self.layer(at, plan.dims).forward(x, tape, true, &workspace.tables, room)?;
        }
        if self.plan.last {
            out = self.logits(x, room)?;
        }
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
        let values = self.check_kind(rows)?;
        let (count, held, limit) = (values / self.d(), cache.positions, self.spec.model.seq_len as usize);
        if values == 0 || !values.is_multiple_of(self.d()) {
            return Err(self.size(
                "the decode input",
                format!("a positive multiple of {}", self.d()),
                values,
            ));
        }
        if held + count > limit {
            return Err(ModelError::CacheFull { held, more: count, limit });
        }
        let result = self.decode_rows(rows, count, cache, workspace);
        match &result {
            Ok(_) => cache.positions = held + count,
            Err(_) => cache.truncate(held, &self.spec),
        }
        result
    }

    fn decode_rows(
        &self,
        input: StageInput,
        count: usize,
        cache: &mut KvCache,
        workspace: &mut Workspace,
    ) -> Result<Vec<f32>, ModelError> {
        let plan = self.memory(count);
        let stream = plan.dims.stream();
        let mut room = workspace.scratch.room(plan.forward());
        let mut out = if self.plan.last { Vec::new() } else { vec![0.0; stream] };
        let x = if self.plan.last { room.take(stream) } else { &mut out[..] };
        self.enter(input, x)?;
        let first = cache.positions as u32;
        let positions: Vec<u32> = (first..first + count as u32).collect();
        let mut heads = cache.heads.iter_mut();
        let mut none = CachedHeads::default();
        for (at, sub_layer) in self.plan.sub_layers.iter().enumerate() {
            let cached = match sub_layer.kind {
                SubLayerKind::Attention => heads.next(),
                SubLayerKind::Mlp => None,
            };
            let cached = cached.unwrap_or(&mut none);
            let mut room = room.lend();
            let tape = Tape::take(sub_layer.kind, &plan.dims, &mut room);
            self.layer(at, plan.dims).decode(x, &positions, cached, tape, &workspace.tables, room)?;
        }
        if self.plan.last {
            out = self.logits(x, room)?;
        }
        self.finite("the output", &out)?;
        Ok(out)
    }

    fn d(&self) -> usize {
        self.spec.model.d_model as usize
    }

    /// The tensors of sub-layer `at` of the plan.
    pub(crate) fn tensors_of(&self, at: usize) -> Range<usize> {
        let count = |sub_layer: &SubLayer| match sub_layer.kind {
            SubLayerKind::Attention if self.spec.model.qk_norm => 7,
            SubLayerKind::Attention => 5,
            SubLayerKind::Mlp => 4,
        };
        let before: usize = self.plan.sub_layers[..at].iter().map(count).sum();
        let start = usize::from(self.plan.first) + before;
        start..start + count(&self.plan.sub_layers[at])
    }

    /// Sub-layer `at` of the plan, to compute with sizes `dims`.
    pub(crate) fn layer(&self, at: usize, dims: Dims) -> Layer<'_> {
        Layer { model: &self.spec.model, dims, weights: &self.tensors[self.tensors_of(at)] }
    }

    /// The memory plan for so many rows.
    pub(crate) fn memory(&self, rows: usize) -> Plan<'_> {
        Plan::new(&self.plan, &self.spec.model, rows)
    }

    /// Check that the input is of the stage's kind and finite; returns how many values it becomes.
    fn check_kind(&self, input: StageInput) -> Result<usize, ModelError> {
        match (input, self.plan.first) {
            (StageInput::Tokens(tokens), true) => Ok(tokens.len() * self.d()),
            (StageInput::Hidden(x), false) => {
                self.finite("the input", x)?;
                Ok(x.len())
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

    /// Check kind, values and size of the input; returns its rows.
    pub(crate) fn check_input(&self, input: StageInput, whole: bool) -> Result<usize, ModelError> {
        let values = self.check_kind(input)?;
        self.check_rows(values, whole)?;
        Ok(values / self.d())
    }

    /// Set `x` `[rows, d_model]` to the input, whose kind and size were checked.
    pub(crate) fn enter(&self, input: StageInput, x: &mut [f32]) -> Result<(), ModelError> {
        match input {
            StageInput::Tokens(tokens) => embed::gather(&self.tensors[0], self.d(), tokens, x)?,
            StageInput::Hidden(hidden) => x.copy_from_slice(hidden),
        }
        Ok(())
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

    /// The logits `[rows, vocab]` of the last sub-layer's output `x`.
    pub(crate) fn logits(&self, x: &[f32], mut room: Room) -> Result<Vec<f32>, ModelError> {
        let (gain, table) = (&self.tensors[self.tensors.len() - 2], &self.tensors[self.tensors.len() - 1]);
        let rows = x.len() / self.d();
        let (normed, inv_rms) = (room.take(x.len()), room.take(rows));
        norm::rms_forward(x, gain, self.spec.model.norm_eps.f32(), normed, inv_rms)?;
        let mut logits = vec![0.0; rows * self.spec.model.vocab as usize];
        layer::linear(normed, table, self.d(), &mut logits, Store::Set)?;
        Ok(logits)
    }

    pub(crate) fn finite(&self, what: &'static str, values: &[f32]) -> Result<(), ModelError> {
        if elementwise::finite(values) {
            return Ok(());
        }
        Err(ModelError::NotFinite { stage: self.plan.stage, what })
    }
    pub(crate) fn wrong(&self, problem: &'static str, advice: &'static str) -> ModelError {
        ModelError::WrongKind { stage: self.plan.stage, count: self.spec.stage_count(), problem, advice }
    }
    pub(crate) fn size(&self, what: &'static str, expected: String, got: usize) -> ModelError {
        ModelError::Size { stage: self.plan.stage, what, expected, got }
    }
}
