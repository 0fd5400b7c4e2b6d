//! Let each position attend to itself and those before it (causal attention, Vaswani et al. 2017, with grouped queries,
//! Ainslie et al. 2023).
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
//! Errors, to first order in u = 2^-24, for row i with n = i + 1 keys whose scores lie within a range D: let
//! g(k) = min(k, 256) + k / 256 + 1 be the factor of [`crate::gemm()`], h = head_dim and
//! a = the largest c * sum abs(q k) of the row's keys. A score is off by at most (g(h) + 3) a u, and so, as an error of
//! all scores by e changes a softmax by at most 2 e relative,
//! - p_j by at most eta u p_j with eta = 2 (g(h) + 3) a + 2 D + n / 16 + 11 (see [`crate::scalar`]);
//! - out by at most (eta + g(n)) u sum p_j abs(v_j).
//!
//! Backward, with b_j = sum abs(dout v_j), R = sum p_j b_j, S_j = c p_j (b_j + R), which is no less than abs(ds_j), and
//! sigma = 2 eta + g(h) + n / 16 + 10: ds_j is off by at most sigma u S_j; with e the rows up to the end of the tile
//! and t = 64 + the number of tiles times that of the group's heads,
//! - dq by at most (sigma + g(e)) u sum S_j abs(k_j);
//! - dk by at most the sum over rows and heads of (sigma + t) u S abs(q), dv of (eta + t) u p abs(dout).
//!
//! Exponentials and products that are subnormal add up to 104 * 2^-149 each.
//!
//! Memory is a tile of rows by seq and one head's keys and values in panels, for each thread; probabilities are not
//! kept. Threads partition sequences and key heads.

use crate::{
    error::{ArithError, length, positive},
    gemm::{BLOCK, Mat, MatMut, Packed, Store, product},
    isa::{Isa, isa},
    lanes::{Fused, Kernel, LANES, dispatch},
    parallel,
    reduce::dot_in,
    scalar::softmax_in,
};
use std::{
    cell::RefCell,
    sync::{Mutex, PoisonError},
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
    /// Checks that no size is zero and the key heads divide the query heads.
    pub(crate) fn check(&self, operation: &'static str) -> Result<(), ArithError> {
        positive(operation, "batch", self.batch)?;
        positive(operation, "seq", self.seq)?;
        positive(operation, "heads", self.heads)?;
        positive(operation, "kv_heads", self.kv_heads)?;
        positive(operation, "head_dim", self.head_dim)?;
        if self.heads.is_multiple_of(self.kv_heads) {
            return Ok(());
        }
        let got = self.kv_heads as i64;
        Err(ArithError::Parameter { operation, argument: "kv_heads", got, allowed: "divisors of heads" })
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
            // Several chains at a time hide each other's latency.
            const WIDTH: usize = 4 * LANES;
            for (index, acc) in acc.chunks_mut(WIDTH).enumerate() {
                let mut lanes = [0.0; WIDTH];
                lanes[..acc.len()].copy_from_slice(acc);
                for (key, weight) in weights.iter().enumerate() {
                    let v = &self.v[(self.first + key) * self.stride + index * WIDTH..][..acc.len()];
                    if let Ok(v) = <&[f32; WIDTH]>::try_from(v) {
                        for lane in 0..WIDTH {
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

/// Memory of one thread for one head, kept between calls.
struct Scratch {
    /// K' [head_dim, seq], K [seq, head_dim], and of V what the pass multiplies by.
    keys_across: Packed,
    keys: Packed,
    values: Packed,
    /// A tile of rows by keys: probabilities, and gradients of scores.
    probabilities: Vec<f32>,
    gradients: Vec<f32>,
    /// The last block of keys of a tile's output.
    last: Vec<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch {
            keys_across: Packed::new(),
            keys: Packed::new(),
            values: Packed::new(),
            probabilities: Vec::new(),
            gradients: Vec::new(),
            last: Vec::new(),
        })
    };
}

/// The first `len` values of `buffer`, which grows if need be.
fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// Runs `work` for every item on the threads in force; returns an error if there was one.
fn each<I: Send>(
    items: Vec<I>,
    work: impl Fn(I, &mut Scratch) -> Result<(), ArithError> + Sync,
) -> Result<(), ArithError> {
    let failure = Mutex::new(None);
    parallel::each(items, |item| {
        if let Err(error) = SCRATCH.with_borrow_mut(|scratch| work(item, scratch)) {
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// What one key and value head and the query heads that read it take from one sequence.
#[derive(Clone, Copy)]
struct Group<'a> {
    shape: Shape,
    isa: Isa,
    index: usize,
    /// The sequence's queries [seq, heads * head_dim], keys and values [seq, kv_heads * head_dim].
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
}

impl<'a> Group<'a> {
    /// All groups of all sequences: sequence after sequence, group after group.
    fn all(shape: Shape, q: &'a [f32], k: &'a [f32], v: &'a [f32]) -> impl Iterator<Item = Group<'a>> {
        let isa = isa();
        let (q_len, kv_len) = shape.sequence_lengths();
        let sequences = q.chunks(q_len).zip(k.chunks(kv_len)).zip(v.chunks(kv_len));
        sequences.flat_map(move |((q, k), v)| {
            (0..shape.kv_heads).map(move |index| Group { shape, isa, index, q, k, v })
        })
    }

    /// Query heads of the group.
    fn heads(&self) -> usize {
        self.shape.heads / self.shape.kv_heads
    }

    /// Rows `first..first + rows` of query head `head` of the group, in `from`, which is laid out like the queries.
    fn rows_of(
        &self,
        from: &'a [f32],
        head: usize,
        first: usize,
        rows: usize,
    ) -> Result<Mat<'a>, ArithError> {
        let (width, head_dim) = (self.shape.q_width(), self.shape.head_dim);
        let at = first * width + (self.index * self.heads() + head) * head_dim;
        Mat::strided(&from[at..], rows, head_dim, width, 1)
    }

    /// The keys or values of the group [seq, head_dim].
    fn shared(&self, from: &'a [f32]) -> Result<Mat<'a>, ArithError> {
        let (seq, head_dim) = (self.shape.seq, self.shape.head_dim);
        Mat::strided(&from[self.index * head_dim..], seq, head_dim, self.shape.kv_width(), 1)
    }

    /// Sets `p` [rows, first + rows] to the probabilities of rows from `first` on.
    fn probabilities(&self, q: Mat, keys_across: &mut Packed, p: &mut [f32]) -> Result<(), ArithError> {
        let (rows, keys) = (q.rows(), p.len() / q.rows());
        keys_across.multiply(MatMut::new(p, rows, keys)?, q, 0, Store::Set);
        let softmax = CausalSoftmax { scores: p, width: keys, first: keys - rows, scale: self.shape.scale() };
        dispatch(self.isa, softmax);
        Ok(())
    }

    /// `out` [seq, heads of the group * head_dim].
    fn forward(&self, mut out: MatMut, scratch: &mut Scratch) -> Result<(), ArithError> {
        let Shape { seq, head_dim, .. } = self.shape;
        let Scratch { keys_across, values, probabilities, last, .. } = scratch;
        keys_across.set(self.isa, self.shared(self.k)?.t());
        values.set(self.isa, self.shared(self.v)?);
        for head in 0..self.heads() {
            let columns = head * head_dim..(head + 1) * head_dim;
            for first in (0..seq).step_by(FORWARD_ROWS) {
                let rows = FORWARD_ROWS.min(seq - first);
                let keys = first + rows;
                let p = room(probabilities, rows * keys);
                self.probabilities(self.rows_of(self.q, head, first, rows)?, keys_across, p)?;
                // Whole blocks of keys that every row sees, then the last block: its part before the tile, and on
                // the diagonal each row's own number of keys.
                let whole = first / BLOCK * BLOCK;
                let last = room(last, rows * head_dim);
                let before = Mat::strided(&p[whole..], rows, first - whole, keys, 1)?;
                values.multiply(MatMut::new(last, rows, head_dim)?, before, whole, Store::Set);
                let diagonal = Diagonal {
                    acc: last,
                    probabilities: p,
                    width: keys,
                    first,
                    v: &self.v[self.index * head_dim..],
                    stride: self.shape.kv_width(),
                    head_dim,
                };
                dispatch(self.isa, diagonal);
                let mut out = out.part(first..keys, columns.clone());
                if whole > 0 {
                    let seen = Mat::strided(p, rows, whole, keys, 1)?;
                    values.multiply(out.part(0..rows, 0..head_dim), seen, 0, Store::Set);
                }
                for (row, last) in last.chunks_exact(head_dim).enumerate() {
                    for (out, last) in out.row(row).iter_mut().zip(last) {
                        *out = if whole > 0 { *out + last } else { *last };
                    }
                }
            }
        }
        Ok(())
    }

    /// `dout` is laid out like the queries; `dq` [seq, heads of the group * head_dim], `dk` and `dv` [seq, head_dim].
    fn backward(
        &self,
        dout: &'a [f32],
        (mut dq, mut dk, mut dv): (MatMut, MatMut, MatMut),
        scratch: &mut Scratch,
    ) -> Result<(), ArithError> {
        let Shape { seq, head_dim, .. } = self.shape;
        let Scratch { keys_across, keys, values, probabilities, gradients, .. } = scratch;
        keys_across.set(self.isa, self.shared(self.k)?.t());
        keys.set(self.isa, self.shared(self.k)?);
        values.set(self.isa, self.shared(self.v)?.t());
        for row in 0..seq {
            dk.row(row).fill(0.0);
            dv.row(row).fill(0.0);
        }
        for head in 0..self.heads() {
            let columns = head * head_dim..(head + 1) * head_dim;
            for first in (0..seq).step_by(BACKWARD_ROWS) {
                let rows = BACKWARD_ROWS.min(seq - first);
                let seen = first + rows;
                let q = self.rows_of(self.q, head, first, rows)?;
                let dout = self.rows_of(dout, head, first, rows)?;
                let p = room(probabilities, rows * seen);
                self.probabilities(q, keys_across, p)?;
                let ds = room(gradients, rows * seen);
                values.multiply(MatMut::new(ds, rows, seen)?, dout, 0, Store::Set);
                let gradient = ScoreGradient { p, dp: ds, width: seen, first, scale: self.shape.scale() };
                dispatch(self.isa, gradient);
                let (p, ds) = (Mat::new(p, rows, seen)?, Mat::new(ds, rows, seen)?);
                keys.multiply(dq.part(first..seen, columns.clone()), ds, 0, Store::Set);
                product(self.isa, dk.part(0..seen, 0..head_dim), ds.t(), q, Store::Add);
                product(self.isa, dv.part(0..seen, 0..head_dim), p.t(), dout, Store::Add);
            }
        }
        Ok(())
    }
}

/// Cuts `values`, sequences of [seq, groups * width], into the groups' columns, in the order of [`Group::all`].
fn by_group(
    values: &mut [f32],
    shape: Shape,
    width: usize,
) -> Result<impl Iterator<Item = MatMut<'_>>, ArithError> {
    let row = shape.kv_heads * width;
    let sequences: Result<Vec<MatMut>, ArithError> =
        values.chunks_mut(shape.seq * row).map(|sequence| MatMut::new(sequence, shape.seq, row)).collect();
    Ok(sequences?.into_iter().flat_map(move |sequence| sequence.columns(width)))
}

/// Computes `out` [batch * seq, heads * head_dim] from `q` of that shape and `k`, `v`
/// [batch * seq, kv_heads * head_dim].
pub fn forward(shape: Shape, q: &[f32], k: &[f32], v: &[f32], out: &mut [f32]) -> Result<(), ArithError> {
    const NAME: &str = "attention forward";
    shape.check(NAME)?;
    let (q_len, kv_len) = shape.sequence_lengths();
    length(NAME, "q", q.len(), shape.batch.saturating_mul(q_len))?;
    length(NAME, "k", k.len(), shape.batch.saturating_mul(kv_len))?;
    length(NAME, "v", v.len(), shape.batch.saturating_mul(kv_len))?;
    length(NAME, "out", out.len(), shape.batch.saturating_mul(q_len))?;
    let width = shape.heads / shape.kv_heads * shape.head_dim;
    let items = Group::all(shape, q, k, v).zip(by_group(out, shape, width)?).collect();
    each(items, |(group, out), scratch| group.forward(out, scratch))
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
    shape.check(NAME)?;
    let width = shape.kv_width();
    let keys = crate::error::rows(NAME, "k_cache", k_cache.len(), width)?;
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
    shape.check(NAME)?;
    let (q_len, kv_len) = shape.sequence_lengths();
    for (argument, got) in [("q", q.len()), ("dout", dout.len()), ("dq", dq.len())] {
        length(NAME, argument, got, shape.batch.saturating_mul(q_len))?;
    }
    for (argument, got) in [("k", k.len()), ("v", v.len()), ("dk", dk.len()), ("dv", dv.len())] {
        length(NAME, argument, got, shape.batch.saturating_mul(kv_len))?;
    }
    let width = shape.heads / shape.kv_heads * shape.head_dim;
    let outputs = by_group(dq, shape, width)?.zip(by_group(dk, shape, shape.head_dim)?).zip(by_group(
        dv,
        shape,
        shape.head_dim,
    )?);
    let dout = dout.chunks(q_len).flat_map(|dout| std::iter::repeat_n(dout, shape.kv_heads));
    let items = Group::all(shape, q, k, v).zip(dout).zip(outputs).collect();
    each(items, |((group, dout), ((dq, dk), dv)), scratch| group.backward(dout, (dq, dk, dv), scratch))
}
