//! Name the digests of the tensors of a unit: which kind and dimensions each is bound to.
//!
//! The digests themselves are [`tessera_dispute::tensor`]'s. What has none, because it is empty or holds a NaN or an
//! infinity, gets [`Hash::ZERO`]: "no such tensor", which no valid unit shows where its stage has one.

use std::ops::Range;
use tessera_canon::Hash;
use tessera_dispute::{
    claim::{self, gradients_root},
    tensor::{Values, digest},
};
use tessera_model::{GradSum, StagePlan, StageWeights, TensorPlan};

fn or_none(dims: &[usize], values: Values<'_>) -> Hash {
    digest(dims, values).unwrap_or(Hash::ZERO)
}

/// A boundary tensor `[rows, columns]`.
pub fn boundary(values: &[f32], columns: usize) -> Hash {
    or_none(&[values.len() / columns.max(1), columns], Values::Numbers(values))
}

/// The loss of every token of the last stage: `[rows]`.
pub fn losses(values: &[f32]) -> Hash {
    or_none(&[values.len()], Values::Numbers(values))
}

/// Tokens or labels of a microbatch: `[sequences * seq_len]`.
pub fn tokens(values: &[u32]) -> Hash {
    or_none(&[values.len()], Values::Indices(values))
}

/// A microbatch's gradient: the root over the digests of its tensors, each in the plan's shape.
pub fn gradient(sum: &GradSum, plan: &StagePlan) -> Hash {
    let offsets = plan.offsets();
    let tensor = |(tensor, range): (&TensorPlan, Range<usize>)| {
        sum.values().get(range).map_or(Hash::ZERO, |values| or_none(&tensor.shape(), Values::Sums(values)))
    };
    gradients_root(&plan.tensors.iter().zip(offsets).map(tensor).collect::<Vec<Hash>>())
}

/// The root over a stage's weights and the exponents of their gradients' grids, which disputes start from.
pub fn weights_root(weights: &StageWeights) -> Hash {
    let tensors = weights.plan().tensors.iter().zip(weights.tensors());
    let digests = tensors.map(|(tensor, values)| or_none(&tensor.shape(), Values::Numbers(values)));
    claim::weights_root(weights.exponents(), &digests.collect::<Vec<Hash>>())
}

/// Integers of a gradient sum, the stage's parameters laid end to end: `[parameters]`.
pub fn integers(values: &[i64]) -> Hash {
    or_none(&[values.len()], Values::Sums(values))
}
