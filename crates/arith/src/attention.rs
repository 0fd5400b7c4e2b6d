//! Let each position attend to itself and those before it (causal grouped-query attention).
//!
//! Query head h reads key and value head h / (heads / kv_heads). For row i of one head, with
//! c = 1 / sqrt(head_dim):
//! - s_j = (q_i . k_j) * c for keys j = 0..=i, the product by [`crate::gemm()`]'s rule over head_dim;
//! - p = softmax of s over j = 0..=i, as in [`crate::scalar`];
//! - out_i = p V by `gemm`'s rule over keys 0..=i: chains over blocks of 256 keys, blocks added in order.
//!
//! Nothing in it depends on the rows after i, so [`decode`] equals row i of [`forward`] bit for bit.
//!
//! [`backward`] computes p again. With dp_j = dout_i . v_j (chain over head_dim) and
//! r = 16-lane dot of p and dp over j = 0..=i: ds_j = (p_j * (dp_j - r)) * c. Rows are taken in tiles of 64
//! from row 0; in a tile that ends before row e, p_j = ds_j = +0 for i < j < e. Then, with `gemm`'s rule:
//! - dq_i = sum over keys 0..e of ds_ij * k_j;
//! - dv_j = sum of p_ij * dout_i and dk_j = sum of ds_ij * q_i: one chain per tile over its rows, ascending, from
//!   +0; tiles with e > j are added in ascending order onto +0, for each query head of the group in order.
//!
//! Memory is a tile of rows by seq; probabilities are not kept. Threads partition sequences.

use crate::{
    error::{ArithError, length, positive},
    gemm::{BLOCK, Mat, MatMut, Store, product},
    isa::{Isa, isa},
    lanes::{Fused, Kernel, LANES, dispatch},
    parallel,
    reduce::dot_in,
    scalar::softmax_in,
};

/// Rows of queries handled together in the forward pass; it divides [`BLOCK`]. The result does not depend on it.
const FORWARD_ROWS: usize = 32;
/// Rows of queries handled together in the backward pass; the result depends on it.
pub(crate) const BACKWARD_ROWS: usize = 64;

/// Sizes of an attention layer's inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Sequences, which do not see each other.
    pub batch: usize,
    /// Positions per sequence.
    pub seq: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
}

impl Shape {
    pub(crate) fn check(&self) -> Result<(), ArithError> {
        positive("attention", "heads", self.heads)?;
        positive("attention", "kv_heads", self.kv_heads)?;
        positive("attention", "head_dim", self.head_dim)?;
        positive("attention", "seq", self.seq)?;
        if self.heads.is_multiple_of(self.kv_heads) {
            return Ok(());
        }
        let got = self.kv_heads as i64;
        Err(ArithError::Parameter {
            operation: "attention",
            argument: "kv_heads",
            got,
            allowed: "divisors of heads",
        })
    }

    /// Values in a row of queries.
    fn q_width(&self) -> usize {
        self.heads.saturating_mul(self.head_dim)
    }

    /// Values in a row of keys.
    fn kv_width(&self) -> usize {
        self.kv_heads.saturating_mul(self.head_dim)
    }

    /// Values per sequence of queries and of keys. A product too large for usize fits no slice, and the check
    /// of lengths refuses it.
    fn sequence_lengths(&self) -> (usize, usize) {
        (self.seq.saturating_mul(self.q_width()), self.seq.saturating_mul(self.kv_width()))
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// Row r of `scores` [rows, width] becomes the softmax of its first `first + r + 1` values times `scale`; the
/// rest becomes +0.
struct CausalSoftmax<'a> {
    scores: &'a mut [f32],
    width: usize,
    first: usize,
    scale: f32,
}

impl Kernel for CausalSoftmax<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        for (row, scores) in self.scores.chunks_exact_mut(self.width).enumerate() {
            let (seen, hidden) = scores.split_at_mut(self.first + row + 1);
            softmax_in::<F>(seen, self.scale);
            hidden.fill(0.0);
        }
    }
}

/// Continues the chain of each row r of `acc` [rows, head_dim] over the keys `first..=first + r`.
struct Diagonal<'a> {
    acc: &'a mut [f32],
    probabilities: &'a [f32],
    width: usize,
    first: usize,
    /// Values of key j start at `j * stride`.
    v: &'a [f32],
    stride: usize,
    head_dim: usize,
}

impl Kernel for Diagonal<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let rows = self.acc.chunks_exact_mut(self.head_dim).zip(self.probabilities.chunks_exact(self.width));
        for (row, (acc, probabilities)) in rows.enumerate() {
            let weights = &probabilities[self.first..=self.first + row];
            for (index, acc) in acc.chunks_mut(LANES).enumerate() {
                let mut lanes = [0.0; LANES];
                lanes[..acc.len()].copy_from_slice(acc);
                for (key, weight) in weights.iter().enumerate() {
                    let v = &self.v[(self.first + key) * self.stride + index * LANES..][..acc.len()];
                    if let Ok(v) = <&[f32; LANES]>::try_from(v) {
                        for lane in 0..LANES {
                            lanes[lane] = F::fma(*weight, v[lane], lanes[lane]);
                        }
                    } else {
                        for (lane, v) in lanes.iter_mut().zip(v) {
                            *lane = F::fma(*weight, *v, *lane);
                        }
                    }
                }
                acc.copy_from_slice(&lanes[..acc.len()]);
            }
        }
    }
}

/// Turns `dp` [rows, width] into ds, given `p`; row r sees `first + r + 1` keys.
struct ScoreGradient<'a> {
    p: &'a [f32],
    dp: &'a mut [f32],
    width: usize,
    first: usize,
    scale: f32,
}

impl Kernel for ScoreGradient<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let rows = self.p.chunks_exact(self.width).zip(self.dp.chunks_exact_mut(self.width));
        for (row, (p, dp)) in rows.enumerate() {
            let (seen, hidden) = dp.split_at_mut(self.first + row + 1);
            let p = &p[..seen.len()];
            let r = dot_in::<F>(p, seen);
            for (dp, p) in seen.iter_mut().zip(p) {
                *dp = (p * (*dp - r)) * self.scale;
            }
            hidden.fill(0.0);
        }
    }
}

/// Computes `out` [batch * seq, heads * head_dim] from `q` of that shape and `k`, `v`
/// [batch * seq, kv_heads * head_dim].
pub fn forward(shape: Shape, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]) -> Result<(), ArithError> {
    const NAME: &str = "attention forward";
    shape.check()?;
    let (q_len, kv_len) = shape.sequence_lengths();
    length(NAME, "q", q.len(), shape.batch.saturating_mul(q_len))?;
    length(NAME, "k", k.len(), shape.batch.saturating_mul(kv_len))?;
    length(NAME, "v", v.len(), shape.batch.saturating_mul(kv_len))?;
    length(NAME, "out", out.len(), shape.batch.saturating_mul(q_len))?;
    let isa = isa();
    let inputs = q.chunks(q_len).zip(k.chunks(kv_len)).zip(v.chunks(kv_len));
    let failures = std::sync::Mutex::new(None);
    parallel::each(inputs.zip(out.chunks_mut(q_len)).collect(), |(((q, k), v), out)| {
        if let Err(error) = forward_sequence(isa, shape, q, k, v, out) {
            *failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
        }
    });
    failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
}

fn forward_sequence(
    isa: Isa,
    shape: Shape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
) -> Result<(), ArithError> {
    let Shape { seq, heads, kv_heads, head_dim, .. } = shape;
    let (q_width, kv_width) = (shape.q_width(), shape.kv_width());
    let mut scores = vec![0.0; FORWARD_ROWS.min(seq) * seq];
    let mut last = vec![0.0; FORWARD_ROWS.min(seq) * head_dim];
    for head in 0..heads {
        let kv_offset = head / (heads / kv_heads) * head_dim;
        for first in (0..seq).step_by(FORWARD_ROWS) {
            let rows = FORWARD_ROWS.min(seq - first);
            let keys = first + rows;
            let at = first * q_width + head * head_dim;
            let q = Mat::strided(&q[at..], rows, head_dim, q_width, 1)?;
            let k = Mat::strided(&k[kv_offset..], keys, head_dim, kv_width, 1)?;
            let scores = &mut scores[..rows * keys];
            product(isa, MatMut::new(scores, rows, keys)?, q, k.t(), Store::Set);
            dispatch(isa, CausalSoftmax { scores, width: keys, first, scale: shape.scale() });
            // Whole blocks of keys that every row sees, then the last block: its part before the tile, and on
            // the diagonal each row's own number of keys.
            let whole = first / BLOCK * BLOCK;
            let weights = |from: usize, count| Mat::strided(&scores[from..], rows, count, keys, 1);
            let values = |from: usize, count| {
                Mat::strided(&v[(from * kv_width + kv_offset).min(v.len())..], count, head_dim, kv_width, 1)
            };
            let last = &mut last[..rows * head_dim];
            let before = first - whole;
            let target = MatMut::new(last, rows, head_dim)?;
            product(isa, target, weights(whole, before)?, values(whole, before)?, Store::Set);
            let v = &v[kv_offset..];
            let diagonal = Diagonal {
                acc: last,
                probabilities: scores,
                width: keys,
                first,
                v,
                stride: kv_width,
                head_dim,
            };
            dispatch(isa, diagonal);
            if whole > 0 {
                let target = MatMut::strided(&mut out[at..], rows, head_dim, q_width)?;
                product(isa, target, weights(0, whole)?, values(0, whole)?, Store::Set);
            }
            for (row, last) in last.chunks_exact(head_dim).enumerate() {
                let out = &mut out[at + row * q_width..][..head_dim];
                for (out, last) in out.iter_mut().zip(last) {
                    *out = if whole > 0 { *out + last } else { *last };
                }
            }
        }
    }
    Ok(())
}

/// Computes the attention of one row that comes after all the rows in the caches but the last, which is its
/// own: `q_row` [heads * head_dim], caches [len, kv_heads * head_dim], `out_row` like `q_row`.
pub fn decode(
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    q_row: &[f32],
    k_cache: &[f32],
    v_cache: &[f32],
    out_row: &mut [f32],
) -> Result<(), ArithError> {
    const NAME: &str = "attention decode";
    let shape = Shape { batch: 1, seq: 1, heads, kv_heads, head_dim };
    shape.check()?;
    let width = shape.kv_width();
    let keys = crate::error::rows(NAME, "k_cache", k_cache.len(), width)?;
    positive(NAME, "rows of k_cache", keys)?;
    length(NAME, "v_cache", v_cache.len(), k_cache.len())?;
    length(NAME, "q_row", q_row.len(), shape.q_width())?;
    length(NAME, "out_row", out_row.len(), shape.q_width())?;
    let isa = isa();
    let group = heads / kv_heads;
    let mut scores = vec![0.0; group * keys];
    let queries = q_row.chunks_exact(group * head_dim).zip(out_row.chunks_exact_mut(group * head_dim));
    for (kv_head, (q, out)) in queries.enumerate() {
        let q = Mat::new(q, group, head_dim)?;
        let k = Mat::strided(&k_cache[kv_head * head_dim..], keys, head_dim, width, 1)?;
        let v = Mat::strided(&v_cache[kv_head * head_dim..], keys, head_dim, width, 1)?;
        product(isa, MatMut::new(&mut scores, group, keys)?, q, k.t(), Store::Set);
        for scores in scores.chunks_exact_mut(keys) {
            dispatch(isa, CausalSoftmax { scores, width: keys, first: keys - 1, scale: shape.scale() });
        }
        product(isa, MatMut::new(out, group, head_dim)?, Mat::new(&scores, group, keys)?, v, Store::Set);
    }
    Ok(())
}

/// Sets `dq`, `dk`, `dv` (shaped like `q`, `k`, `v`) from the gradient `dout` of [`forward`]'s output.
#[allow(clippy::too_many_arguments)]
pub fn backward(
    shape: Shape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    dout: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) -> Result<(), ArithError> {
    const NAME: &str = "attention backward";
    shape.check()?;
    let (q_len, kv_len) = shape.sequence_lengths();
    for (argument, got) in [("q", q.len()), ("dout", dout.len()), ("dq", dq.len())] {
        length(NAME, argument, got, shape.batch.saturating_mul(q_len))?;
    }
    for (argument, got) in [("k", k.len()), ("v", v.len()), ("dk", dk.len()), ("dv", dv.len())] {
        length(NAME, argument, got, shape.batch.saturating_mul(kv_len))?;
    }
    let isa = isa();
    let inputs = q.chunks(q_len).zip(k.chunks(kv_len)).zip(v.chunks(kv_len)).zip(dout.chunks(q_len));
    let outputs = dq.chunks_mut(q_len).zip(dk.chunks_mut(kv_len)).zip(dv.chunks_mut(kv_len));
    let failures = std::sync::Mutex::new(None);
    parallel::each(inputs.zip(outputs).collect(), |((((q, k), v), dout), ((dq, dk), dv))| {
        let sequence = Sequence { q, k, v, dout, dq, dk, dv };
        if let Err(error) = backward_sequence(isa, shape, sequence) {
            *failures.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(error);
        }
    });
    failures.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
}

/// The slices of one sequence.
struct Sequence<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    dout: &'a [f32],
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
}

fn backward_sequence(isa: Isa, shape: Shape, s: Sequence) -> Result<(), ArithError> {
    let Shape { seq, heads, kv_heads, head_dim, .. } = shape;
    let (q_width, kv_width) = (shape.q_width(), shape.kv_width());
    let mut probabilities = vec![0.0; BACKWARD_ROWS.min(seq) * seq];
    let mut gradients = vec![0.0; BACKWARD_ROWS.min(seq) * seq];
    s.dk.fill(0.0);
    s.dv.fill(0.0);
    for head in 0..heads {
        let kv_offset = head / (heads / kv_heads) * head_dim;
        for first in (0..seq).step_by(BACKWARD_ROWS) {
            let rows = BACKWARD_ROWS.min(seq - first);
            let keys = first + rows;
            let at = first * q_width + head * head_dim;
            let q = Mat::strided(&s.q[at..], rows, head_dim, q_width, 1)?;
            let dout = Mat::strided(&s.dout[at..], rows, head_dim, q_width, 1)?;
            let k = Mat::strided(&s.k[kv_offset..], keys, head_dim, kv_width, 1)?;
            let v = Mat::strided(&s.v[kv_offset..], keys, head_dim, kv_width, 1)?;
            let (p, ds) = (&mut probabilities[..rows * keys], &mut gradients[..rows * keys]);
            product(isa, MatMut::new(p, rows, keys)?, q, k.t(), Store::Set);
            dispatch(isa, CausalSoftmax { scores: p, width: keys, first, scale: shape.scale() });
            product(isa, MatMut::new(ds, rows, keys)?, dout, v.t(), Store::Set);
            dispatch(isa, ScoreGradient { p, dp: ds, width: keys, first, scale: shape.scale() });
            let (p, ds) = (Mat::new(p, rows, keys)?, Mat::new(ds, rows, keys)?);
            let target = MatMut::strided(&mut s.dq[at..], rows, head_dim, q_width)?;
            product(isa, target, ds, k, Store::Set);
            let target = MatMut::strided(&mut s.dk[kv_offset..], keys, head_dim, kv_width)?;
            product(isa, target, ds.t(), q, Store::Add);
            let target = MatMut::strided(&mut s.dv[kv_offset..], keys, head_dim, kv_width)?;
            product(isa, target, p.t(), dout, Store::Add);
        }
    }
    Ok(())
}
