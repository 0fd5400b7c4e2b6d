//! Do a host's arithmetic: feed positions to the stage with a key-value cache per session, sample at the end.
//!
//! The weights are shared and never change here. The worker trusts its host that a job was admitted, and
//! nobody about values. It is synchronous and deterministic.

use crate::sample::choose;
use std::{collections::BTreeMap, sync::Arc};
use tessera_canon::Hash;
use tessera_model::{KvCache, ModelError, RunSpec, StageInput, StageWeights, Workspace};
use tessera_wire::{Tensor, serving::Sampling};

/// What a job feeds to the stage.
#[derive(Clone, Debug, PartialEq)]
pub enum RowInput {
    /// At stage 0.
    Tokens(Vec<u32>),
    /// `[rows, d_model]`, elsewhere.
    Hidden(Vec<f32>),
}

/// Work for a host's arithmetic.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    /// Feed the positions from `pos` on; the last stage samples the token after them.
    Rows { order: Hash, pos: u32, input: RowInput, sampling: Sampling },
    /// Drop the session's cache. Has no result that matters.
    Forget { order: Hash },
}

/// What a job gave.
#[derive(Clone, Debug, PartialEq)]
pub enum JobResult {
    /// Hidden states `[rows, d_model]` for the next stage.
    Rows {
        order: Hash,
        pos: u32,
        tensor: Tensor,
    },
    /// From the last stage: the token at `pos`, the position after the ones fed.
    Token {
        order: Hash,
        pos: u32,
        token: u32,
    },
    Forgotten {
        order: Hash,
    },
    Failed {
        order: Hash,
        pos: u32,
        reason: String,
    },
}

/// Bytes that the cache of one session of `spec`'s stage may grow to.
pub fn cache_bytes(weights: &StageWeights) -> u64 {
    let model = &weights.spec().model;
    let head_dim = u64::from(model.d_model / model.heads.max(1));
    let attentions = weights
        .plan()
        .sub_layers
        .iter()
        .filter(|sub_layer| sub_layer.kind == tessera_model::SubLayerKind::Attention)
        .count() as u64;
    // Keys and values, four bytes each.
    attentions * u64::from(model.seq_len) * u64::from(model.kv_heads) * head_dim * 8
}

/// The arithmetic of one stage host.
pub struct ServeWorker {
    weights: Arc<StageWeights>,
    caches: BTreeMap<Hash, KvCache>,
    max_sessions: usize,
    workspace: Workspace,
}

impl ServeWorker {
    /// A worker with room for `max_sessions` caches, and for fewer where they would pass `max_bytes`.
    pub fn new(weights: Arc<StageWeights>, max_sessions: usize, max_bytes: u64) -> Result<Self, ModelError> {
        let spec: &RunSpec = weights.spec();
        let fit = max_bytes / cache_bytes(&weights).max(1);
        Ok(Self {
            workspace: Workspace::new(spec)?,
            max_sessions: max_sessions.min(usize::try_from(fit).unwrap_or(usize::MAX)),
            weights,
            caches: BTreeMap::new(),
        })
    }
    /// Caches it has room for: the greatest [`GateConfig::max_sessions`](crate::GateConfig::max_sessions).
    pub fn max_sessions(&self) -> usize {
        self.max_sessions
    }
    /// Bytes that caches hold now.
    pub fn held_bytes(&self) -> usize {
        self.caches.values().map(KvCache::bytes).sum()
    }

    /// Do `job`.
    pub fn execute(&mut self, job: Job) -> JobResult {
        match job {
            Job::Forget { order } => {
                self.caches.remove(&order);
                JobResult::Forgotten { order }
            }
            Job::Rows { order, pos, input, sampling } => self
                .rows(order, pos, &input, &sampling)
                .unwrap_or_else(|reason| JobResult::Failed { order, pos, reason }),
        }
    }

    fn rows(
        &mut self,
        order: Hash,
        pos: u32,
        input: &RowInput,
        sampling: &Sampling,
    ) -> Result<JobResult, String> {
        if pos == 0 && !self.caches.contains_key(&order) {
            if self.caches.len() >= self.max_sessions {
                return Err(format!(
                    "{} key-value caches are held, there is room for no more",
                    self.max_sessions
                ));
            }
            self.caches.insert(order, self.weights.new_cache());
        }
        let cache = self.caches.get_mut(&order).ok_or("the session's key-value cache is gone")?;
        if cache.len() != pos as usize {
            return Err(format!("the cache holds {} positions, the job starts at {pos}", cache.len()));
        }
        let width = self.weights.spec().model.d_model as usize;
        let (input, rows) = match input {
            RowInput::Tokens(tokens) => (StageInput::Tokens(tokens), tokens.len()),
            RowInput::Hidden(hidden) => (StageInput::Hidden(hidden), hidden.len() / width),
        };
        let values =
            self.weights.decode(input, cache, &mut self.workspace).map_err(|error| error.to_string())?;
        if !self.weights.plan().last {
            let tensor = Tensor::from_f32(&values, rows, width).map_err(|error| error.to_string())?;
            return Ok(JobResult::Rows { order, pos, tensor });
        }
        let vocab = self.weights.spec().model.vocab as usize;
        let next = pos + rows as u32;
        let last = &values[values.len().saturating_sub(vocab)..];
        if let Some(at) = last.iter().position(|logit| !logit.is_finite()) {
            return Err(format!("the logit of token {at} is not finite"));
        }
        let token = choose(last, sampling, next).ok_or("the stage gave no logits")?;
        Ok(JobResult::Token { order, pos: next, token })
    }
}
