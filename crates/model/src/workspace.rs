//! Lend memory to the computations of one thread, and take back what they are done with.
//!
//! A [`Workspace`] grows to what its stage's plan asks for ([`crate::memory`]) on first use and then stays: a
//! microbatch's forward and backward pass allocate nothing but the tensors they return and what the arithmetic's
//! own operations take for a moment. Used for several stages, it grows to the largest.

use crate::{
    error::ModelError,
    memory::Buffer,
    spec::RunSpec,
    stage::{StageInput, StageWeights},
};
use std::sync::Arc;
use tessera_arith::rope::RopeTable;

/// What every computation of a run looks things up in.
pub(crate) struct Tables {
    pub(crate) rope: RopeTable,
    positions: Vec<u32>,
}

impl Tables {
    /// The position of each of the first `rows` rows of a microbatch.
    pub(crate) fn positions(&self, rows: usize) -> &[u32] {
        &self.positions[..rows]
    }
}

/// Tables and scratch memory that calls on one thread share.
pub struct Workspace {
    pub(crate) tables: Tables,
    pub(crate) scratch: Buffer,
    /// Tokens of a microbatch, each once, and for each position the place of its token among them.
    pub(crate) vocabulary: Vec<u32>,
    pub(crate) places: Vec<u32>,
    free: Vec<TapeMemory>,
}

/// Memory for what one microbatch keeps.
#[derive(Debug, Default)]
pub(crate) struct TapeMemory {
    pub(crate) values: Buffer,
    /// The input of the first stage.
    pub(crate) tokens: Vec<u32>,
}

impl Workspace {
    /// A workspace for any stage of the run `spec`, which must be valid.
    pub fn new(spec: &RunSpec) -> Result<Self, ModelError> {
        let seq = spec.model.seq_len;
        let tables = Tables {
            rope: RopeTable::new(seq as usize, spec.model.head_dim(), spec.model.rope_theta.get())?,
            positions: (0..spec.batch.sequences).flat_map(|_| 0..seq).collect(),
        };
        Ok(Self {
            tables,
            scratch: Buffer::default(),
            vocabulary: Vec::new(),
            places: Vec::new(),
            free: Vec::new(),
        })
    }
    /// Take back the memory of a tape that is no longer wanted: the next one uses it. Dropping the tape instead
    /// frees the memory.
    pub fn recycle(&mut self, kept: Kept) {
        self.free.push(kept.memory);
    }
    /// Bytes of scratch memory and of tapes that wait to be used again.
    pub fn held_bytes(&self) -> usize {
        4 * (self.scratch.len() + self.free.iter().map(|tape| tape.values.len()).sum::<usize>())
    }
    /// Give the memory of recycled tapes back to the system.
    pub fn release(&mut self) {
        self.free.clear();
    }
    /// The smallest recycled tape with `len` values, or a new one.
    pub(crate) fn tape(&mut self, len: usize) -> TapeMemory {
        let fitting = self.free.iter().enumerate().filter(|(_, tape)| tape.values.len() >= len);
        let best = fitting.min_by_key(|(_, tape)| tape.values.len()).map(|(index, _)| index);
        match best {
            Some(index) => self.free.swap_remove(index),
            None => TapeMemory { values: Buffer::new(len), tokens: Vec::new() },
        }
    }
    pub(crate) fn give_back(&mut self, tape: TapeMemory) {
        self.free.push(tape);
    }
}

/// What a stage keeps of one microbatch between its forward and its backward pass: see
/// [`StageWeights::forward_keep`].
pub struct Kept {
    spec: Arc<RunSpec>,
    stage: u16,
    step: u64,
    exponents: Arc<Vec<i32>>,
    pub(crate) memory: TapeMemory,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { stage, step, .. } = self;
        f.debug_struct("Kept")
            .field("stage", stage)
            .field("step", step)
            .field("bytes", &self.bytes())
            .finish()
    }
}

impl Kept {
    pub(crate) fn new(weights: &StageWeights, memory: TapeMemory) -> Self {
        let (spec, exponents) = (weights.spec.clone(), weights.exponents.clone());
        Self { spec, stage: weights.plan.stage, step: weights.step, exponents, memory }
    }
    /// Stage that made it.
    pub fn stage(&self) -> u16 {
        self.stage
    }
    /// Step of the weights that made it.
    pub fn step(&self) -> u64 {
        self.step
    }
    /// Bytes of memory it holds.
    pub fn bytes(&self) -> usize {
        4 * (self.memory.values.len() + self.memory.tokens.capacity())
    }
    /// Whether it was made from exactly this input.
    pub fn is_of(&self, input: StageInput) -> bool {
        match input {
            StageInput::Tokens(tokens) => *tokens == self.memory.tokens,
            StageInput::Hidden(x) => {
                self.memory.tokens.is_empty() && {
                    // The input is what the tape starts with.
                    let kept = self.memory.values.values().get(..x.len());
                    kept.is_some_and(|kept| kept.iter().zip(x).all(|(a, b)| a.to_bits() == b.to_bits()))
                }
            }
        }
    }
    /// Refuse a tape that `weights` did not make. Weights of one run, stage and step are equal wherever training
    /// is honest; the exponents, which follow from the gradients so far, tell most others apart.
    pub(crate) fn check(&self, weights: &StageWeights) -> Result<(), ModelError> {
        let show = |stage: u16, step: u64| format!("stage {stage} step {step}");
        let (expected, got) = (show(weights.plan.stage, weights.step), show(self.stage, self.step));
        if expected != got {
            return Err(ModelError::WrongTape { expected, got });
        }
        let same_run = Arc::ptr_eq(&self.spec, &weights.spec) || self.spec == weights.spec;
        if !same_run || self.exponents != weights.exponents {
            return Err(ModelError::WrongTape { expected, got: format!("{got} of another run or course") });
        }
        Ok(())
    }
}
