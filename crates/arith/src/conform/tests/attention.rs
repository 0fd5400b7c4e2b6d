//! Put attention by a plain loop in place of the right one, and then loops that each break one rule of it.

use super::{flush, found_out, fused, lanes, unfused};
use crate::{
    ArithError,
    attention::Shape,
    conform::operations::{CANON, Operations},
    reduce, scalar,
};

/// How attention is computed; the defaults are the specification.
trait Rule {
    /// Rows of a tile in the backward pass.
    const TILE: usize = 64;
    /// Steps of one chain.
    const BLOCK: usize = 256;
    /// Whether the largest score is subtracted before the exponential.
    const SUBTRACT: bool = true;
    /// Whether the score is scaled, and not the query.
    const SCALE_SCORE: bool = true;
    /// Whether a probability is e * (1 / s), and not e / s.
    const RECIPROCAL: bool = true;
    /// Keys that a row sees beyond its own.
    const AHEAD: usize = 0;
    /// Keys that a row's output runs over with a probability of zero.
    const HIDDEN: usize = 0;
    /// Whether the last query head of a group comes first in dk and dv.
    const HEADS_REVERSED: bool = false;

    fn step(a: f32, b: f32, acc: f32) -> f32 {
        fused(a, b, acc)
    }

    /// What becomes of a result.
    fn keep(x: f32) -> f32 {
        x
    }

    /// r, of p and dp.
    fn dot(p: &[f32], dp: &[f32]) -> f32 {
        lanes::<16>(p, dp, fused)
    }
}

/// The sum of `term(0..len)` by the rule of products.
fn chain<R: Rule>(len: usize, term: impl Fn(usize) -> (f32, f32)) -> f32 {
    let mut total = None;
    for start in (0..len).step_by(R::BLOCK) {
        let block = (start..(start + R::BLOCK).min(len)).fold(0.0, |acc, at| {
            let (a, b) = term(at);
            R::keep(R::step(a, b, acc))
        });
        total = Some(total.map_or(block, |total: f32| R::keep(total + block)));
    }
    total.unwrap_or(0.0)
}

/// The probabilities of one row over the keys it sees.
fn probabilities<R: Rule>(q: &[f32], keys: &[&[f32]]) -> Vec<f32> {
    let scale = 1.0 / (q.len() as f32).sqrt();
    let score = |key: &&[f32]| {
        if R::SCALE_SCORE {
            R::keep(chain::<R>(q.len(), |at| (q[at], key[at])) * scale)
        } else {
            chain::<R>(q.len(), |at| (q[at] * scale, key[at]))
        }
    };
    let mut p: Vec<f32> = keys.iter().map(score).collect();
    if R::SUBTRACT {
        let largest = reduce::max(&p);
        p.iter_mut().for_each(|p| *p -= largest);
    }
    scalar::exp_slice(&mut p);
    p.iter_mut().for_each(|p| *p = R::keep(*p));
    let sum = reduce::sum(&p);
    let inverse = 1.0 / sum;
    p.iter_mut().for_each(|p| *p = R::keep(if R::RECIPROCAL { *p * inverse } else { *p / sum }));
    p
}

/// Row `at` of `x` [.., width], the part of head `head`.
fn head(x: &[f32], width: usize, at: usize, head: usize, head_dim: usize) -> &[f32] {
    &x[at * width + head * head_dim..][..head_dim]
}

/// One row of one query head over `keys` rows of a sequence's keys and values.
fn attend<R: Rule>(q: &[f32], k: &[&[f32]], v: &[&[f32]], seen: usize, out: &mut [f32]) {
    let seen = (seen + R::AHEAD).min(k.len());
    let mut p = probabilities::<R>(q, &k[..seen]);
    p.resize((seen + R::HIDDEN).min(k.len()), 0.0);
    for (column, out) in out.iter_mut().enumerate() {
        *out = chain::<R>(p.len(), |key| (p[key], v[key][column]));
    }
}

fn forward<R: Rule>(
    shape: Shape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
) -> Result<(), ArithError> {
    let Shape { batch, seq, heads, kv_heads, head_dim } = shape;
    let (q_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    for sequence in 0..batch {
        for query in 0..heads {
            let shared = query / (heads / kv_heads);
            let of = |x| (0..seq).map(move |row| head(x, kv_width, sequence * seq + row, shared, head_dim));
            let (k, v): (Vec<_>, Vec<_>) = (of(k).collect(), of(v).collect());
            for row in 0..seq {
                let at = sequence * seq + row;
                let out = &mut out[at * q_width + query * head_dim..][..head_dim];
                attend::<R>(head(q, q_width, at, query, head_dim), &k, &v, row + 1, out);
            }
        }
    }
    Ok(())
}

fn decode<R: Rule>(
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    out: &mut [f32],
) -> Result<(), ArithError> {
    let width = kv_heads * head_dim;
    let keys = k.len() / width;
    for (query, out) in out.chunks_mut(head_dim).enumerate() {
        let shared = query / (heads / kv_heads);
        let of = |x| (0..keys).map(move |row| head(x, width, row, shared, head_dim));
        let (k, v): (Vec<_>, Vec<_>) = (of(k).collect(), of(v).collect());
        attend::<R>(head(q, heads * head_dim, 0, query, head_dim), &k, &v, keys, out);
    }
    Ok(())
}

#[allow(clippy::too_many_arguments)] // As the operation has.
fn backward<R: Rule>(
    shape: Shape,
    q: &[f32],
    k: &[f32],
    v: &[f32],
    dout: &[f32],
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) -> Result<(), ArithError> {
    let Shape { batch, seq, heads, kv_heads, head_dim } = shape;
    let (q_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    let (group, scale) = (heads / kv_heads, 1.0 / (head_dim as f32).sqrt());
    dk.fill(0.0);
    dv.fill(0.0);
    for sequence in 0..batch {
        for turn in 0..heads {
            let shared = turn / group;
            let within = turn % group;
            let query = shared * group + if R::HEADS_REVERSED { group - 1 - within } else { within };
            let at = |row: usize| sequence * seq + row;
            let of = |x| (0..seq).map(move |row| head(x, kv_width, sequence * seq + row, shared, head_dim));
            let (k, v): (Vec<_>, Vec<_>) = (of(k).collect(), of(v).collect());
            for first in (0..seq).step_by(R::TILE) {
                let end = (first + R::TILE).min(seq);
                let (mut p, mut ds) = (Vec::new(), Vec::new());
                for row in first..end {
                    let q = head(q, q_width, at(row), query, head_dim);
                    let dout = head(dout, q_width, at(row), query, head_dim);
                    let mut row_p = probabilities::<R>(q, &k[..=row]);
                    let dp: Vec<f32> =
                        v[..=row].iter().map(|v| chain::<R>(head_dim, |at| (dout[at], v[at]))).collect();
                    let r = R::dot(&row_p, &dp);
                    let mut row_ds: Vec<f32> =
                        row_p.iter().zip(&dp).map(|(p, dp)| R::keep((p * (dp - r)) * scale)).collect();
                    row_p.resize(end, 0.0);
                    row_ds.resize(end, 0.0);
                    let dq = &mut dq[at(row) * q_width + query * head_dim..][..head_dim];
                    for (column, dq) in dq.iter_mut().enumerate() {
                        *dq = chain::<R>(end, |key| (row_ds[key], k[key][column]));
                    }
                    p.push(row_p);
                    ds.push(row_ds);
                }
                for key in 0..end {
                    for column in 0..head_dim {
                        let to = at(key) * kv_width + shared * head_dim + column;
                        let from =
                            |x: &[f32], row| head(x, q_width, at(first + row), query, head_dim)[column];
                        let value = chain::<R>(end - first, |row| (p[row][key], from(dout, row)));
                        dv[to] = R::keep(dv[to] + value);
                        let value = chain::<R>(end - first, |row| (ds[row][key], from(q, row)));
                        dk[to] = R::keep(dk[to] + value);
                    }
                }
            }
        }
    }
    Ok(())
}

struct Right;
impl Rule for Right {}
struct Small;
impl Rule for Small {
    const TILE: usize = 32;
}
struct Blocks;
impl Rule for Blocks {
    const BLOCK: usize = 128;
}
struct Unsubtracted;
impl Rule for Unsubtracted {
    const SUBTRACT: bool = false;
}
struct ScaledQuery;
impl Rule for ScaledQuery {
    const SCALE_SCORE: bool = false;
}
struct Divided;
impl Rule for Divided {
    const RECIPROCAL: bool = false;
}
struct Ahead;
impl Rule for Ahead {
    const AHEAD: usize = 1;
}
struct Hidden;
impl Rule for Hidden {
    const HIDDEN: usize = 1;
}
struct Reversed;
impl Rule for Reversed {
    const HEADS_REVERSED: bool = true;
}
struct Unfused;
impl Rule for Unfused {
    fn step(a: f32, b: f32, acc: f32) -> f32 {
        unfused(a, b, acc)
    }
}
struct Flushed;
impl Rule for Flushed {
    fn keep(x: f32) -> f32 {
        flush(x)
    }
}
struct DotInOrder;
impl Rule for DotInOrder {
    fn dot(p: &[f32], dp: &[f32]) -> f32 {
        p.iter().zip(dp).fold(0.0, |r, (p, dp)| fused(*p, *dp, r))
    }
}

#[test]
fn plain_attention_that_follows_the_specification_passes() {
    let right = Operations {
        attention: forward::<Right>,
        attention_backward: backward::<Right>,
        decode: decode::<Right>,
        ..CANON
    };
    assert_eq!(found_out(&right), [""; 0]);
}

#[test]
fn wrong_attention_is_found_out() {
    let with = |attention| Operations { attention, ..CANON };
    let wrong: [(&str, Operations); 8] = [
        ("softmax without its largest element", with(forward::<Unsubtracted>)),
        ("softmax by division", with(forward::<Divided>)),
        ("the next key", with(forward::<Ahead>)),
        ("a chain that runs on with probability zero", with(forward::<Hidden>)),
        ("blocks of 128 keys", with(forward::<Blocks>)),
        ("query scaled", with(forward::<ScaledQuery>)),
        ("not fused", with(forward::<Unfused>)),
        ("flush to zero", with(forward::<Flushed>)),
    ];
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert!(rows.contains(&"attention"), "{what} passes: {rows:?}");
    }
}

#[test]
fn wrong_gradients_of_attention_are_found_out() {
    let with = |attention_backward| Operations { attention_backward, ..CANON };
    let wrong: [(&str, Operations); 7] = [
        ("tiles of 32 rows", with(backward::<Small>)),
        ("softmax without its largest element", with(backward::<Unsubtracted>)),
        ("softmax by division", with(backward::<Divided>)),
        ("r in order", with(backward::<DotInOrder>)),
        ("the last head first", with(backward::<Reversed>)),
        ("not fused", with(backward::<Unfused>)),
        ("flush to zero", with(backward::<Flushed>)),
    ];
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert!(rows.contains(&"attention"), "{what} passes: {rows:?}");
    }
}

#[test]
fn wrong_decoding_is_found_out() {
    let with = |decode| Operations { decode, ..CANON };
    let wrong: [(&str, Operations); 6] = [
        ("softmax without its largest element", with(decode::<Unsubtracted>)),
        ("softmax by division", with(decode::<Divided>)),
        ("blocks of 128 keys", with(decode::<Blocks>)),
        ("query scaled", with(decode::<ScaledQuery>)),
        ("not fused", with(decode::<Unfused>)),
        ("flush to zero", with(decode::<Flushed>)),
    ];
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert!(rows.contains(&"attention decode"), "{what} passes: {rows:?}");
    }
}
