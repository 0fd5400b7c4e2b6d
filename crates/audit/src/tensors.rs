//! Name the digests of the tensors of a unit: which kind and dimensions each is bound to.
//!
//! The digests themselves are [`tessera_dispute::tensor`]'s. What has none, because it is empty or holds a NaN or an
//! infinity, gets [`Hash::ZERO`]: "no such tensor", which no valid unit shows where its stage has one.

use tessera_canon::Hash;
use tessera_dispute::tensor::{Values, digest};

fn or_none(dims: &[usize], values: Values<'_>) -> Hash {
    digest(dims, values).unwrap_or(Hash::ZERO)
}

/// A boundary tensor `[rows, columns]`.
pub fn boundary(values: &[f32], columns: usize) -> Hash {
    or_none(&[values.len() / columns.max(1), columns], Values::Numbers(values))
}

/// The mean loss of a unit of the last stage, or the loss of each token of a probe: `[n]`.
pub fn losses(values: &[f32]) -> Hash {
    or_none(&[values.len()], Values::Numbers(values))
}

/// Tokens or labels of a microbatch: `[sequences * seq_len]`.
pub fn tokens(values: &[u32]) -> Hash {
    or_none(&[values.len()], Values::Indices(values))
}

/// Integers of a gradient or gradient sum, the stage's parameters laid end to end: `[parameters]`.
pub fn integers(values: &[i64]) -> Hash {
    or_none(&[values.len()], Values::Sums(values))
}
