//! Name the digests of the tensors of a unit: which kind and dimensions each is bound to.

use tessera_canon::{Domain, Hash, digest_parts};

const T: Domain = Domain::new("tessera/placeholder/v0");

/// A boundary tensor `[rows, columns]`.
pub fn boundary(values: &[f32], columns: usize) -> Hash {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    digest_parts(T, [&columns.to_le_bytes()[..], &bytes])
}

/// The mean loss of a unit of the last stage, or the loss of each token of a probe.
pub fn losses(values: &[f32]) -> Hash {
    boundary(values, 1)
}

/// Tokens or labels of a microbatch.
pub fn tokens(values: &[u32]) -> Hash {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    digest_parts(T, [&b"tokens"[..], &bytes])
}

/// Integers of a gradient or gradient sum, the stage's parameters laid end to end.
pub fn integers(values: &[i64]) -> Hash {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    digest_parts(T, [&b"i64"[..], &bytes])
}
