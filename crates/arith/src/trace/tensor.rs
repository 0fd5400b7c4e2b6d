//! List the tensors of every operation: what it reads, what it writes, and what it computes on the way.

use super::operation::Operation;
use crate::{
    Store,
    attention::{self, BACKWARD_ROWS},
    gemm::BLOCK,
    quantise::{self, Format},
};

/// What the elements of a tensor are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// f32.
    Number,
    /// u32: tokens, targets, positions.
    Index,
    /// i64: counts of grid steps.
    Sum,
    /// u8: what goes over the wire.
    Byte,
}

/// What a tensor is to its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Given.
    Input,
    /// What the operation writes.
    Output,
    /// A value on the way, which the operation need not keep.
    Inner,
}

/// A tensor of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    pub name: &'static str,
    pub role: Role,
    pub kind: Kind,
    /// How many elements it has.
    pub len: usize,
}

/// A number too large for usize fits no slice, so the check of lengths refuses it.
fn times(sizes: &[usize]) -> usize {
    sizes.iter().fold(1, |product, size| product.saturating_mul(*size))
}

/// The sizes of attention: `rows` queries of each sequence attend to `keys` keys, the last row to all of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) batch: usize,
    pub(super) rows: usize,
    pub(super) keys: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
}

impl From<attention::Shape> for Heads {
    fn from(shape: attention::Shape) -> Heads {
        let attention::Shape { batch, seq, heads, kv_heads, head_dim } = shape;
        Heads { batch, rows: seq, keys: seq, heads, kv_heads, head_dim }
    }
}

impl Heads {
    /// The tensors of a forward pass up to the probabilities.
    fn tensors(&self) -> Vec<Tensor> {
        let rows = times(&[self.batch, self.heads, self.rows]);
        let pairs = times(&[rows, self.keys]);
        let (queries, keys) = (times(&[rows, self.head_dim]), self.key_values());
        let blocks = self.head_dim.div_ceil(BLOCK);
        vec![
            input("q", queries),
            input("k", keys),
            input("v", keys),
            inner("scale", 1),
            inner("score block", times(&[pairs, blocks])),
            inner("score", pairs),
            inner("scaled", pairs),
            inner("largest lane", times(&[rows, 16])),
            inner("largest", rows),
            inner("exponential", pairs),
            inner("total lane", times(&[rows, 16])),
            inner("inverse", rows),
            inner("probability", pairs),
        ]
    }

    /// How many values the keys have.
    pub(super) fn key_values(&self) -> usize {
        times(&[self.batch, self.keys, self.kv_heads, self.head_dim])
    }

    /// How many tiles of rows the backward pass takes.
    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(BACKWARD_ROWS)
    }

    /// How many query heads share a key head.
    pub(super) fn group(&self) -> usize {
        self.heads / self.kv_heads
    }
}

fn input(name: &'static str, len: usize) -> Tensor {
    Tensor { name, role: Role::Input, kind: Kind::Number, len }
}

fn indices(name: &'static str, len: usize) -> Tensor {
    Tensor { name, role: Role::Input, kind: Kind::Index, len }
}

fn sums(name: &'static str, role: Role, len: usize) -> Tensor {
    Tensor { name, role, kind: Kind::Sum, len }
}

fn bytes(name: &'static str, role: Role, len: usize) -> Tensor {
    Tensor { name, role, kind: Kind::Byte, len }
}

fn output(name: &'static str, len: usize) -> Tensor {
    Tensor { name, role: Role::Output, kind: Kind::Number, len }
}

fn inner(name: &'static str, len: usize) -> Tensor {
    Tensor { name, role: Role::Inner, kind: Kind::Number, len }
}

impl Operation {
    /// The tensors of the operation, by the names [`super::At`] takes; elements count in memory order.
    ///
    /// Inputs and outputs have the shapes their operation documents, without the gaps of strides in `out` of a
    /// product. Of inner tensors, a *lane* is [rows, 16]; a *block* is its tensor with one more dimension, the
    /// blocks of 256 terms; scores, probabilities and their gradients are [batch, heads, queries, keys];
    /// `magnitude` of an encoder is [rows, width], its `largest` and `scale` [rows, blocks of 64];
    /// `dk tile` and `dv tile` are [those of k, query heads that share the key head, tiles of 64 rows]; matrices
    /// of Newton-Schulz have the steps first, and `x` one more than there are steps.
    ///
    /// Inputs are what [`super::Tracer::new`] wants; outputs and inner tensors
    /// are what it can trace.
    pub fn tensors(&self) -> Vec<Tensor> {
        use Operation::*;
        match self {
            Gemm { m, n, k, a, b, c_row, store } => {
                let mut tensors =
                    vec![input("a", extent(*m, *k, a[0], a[1])), input("b", extent(*k, *n, b[0], b[1]))];
                if *store == Store::Add {
                    tensors.push(input("c", extent(*m, *n, *c_row, 1)));
                }
                tensors.push(inner("block", times(&[*m, *n, k.div_ceil(BLOCK)])));
                tensors.push(output("out", times(&[*m, *n])));
                tensors
            }
            GemmSymmetric { n, k, a, b } => vec![
                input("a", extent(*n, *k, a[0], a[1])),
                input("b", extent(*k, *n, b[0], b[1])),
                inner("block", times(&[*n, *n, k.div_ceil(BLOCK)])),
                output("out", times(&[*n, *n])),
            ],
            Sum { len } | SumSquares { len } | Max { len } => {
                vec![input("x", *len), inner("lane", 16), output("out", 1)]
            }
            Dot { len } => vec![input("x", *len), input("y", *len), inner("lane", 16), output("out", 1)],
            Exp { len }
            | Log { len }
            | Sigmoid { len }
            | Silu { len }
            | Rsqrt { len }
            | Scale { len, .. } => {
                vec![input("x", *len), output("out", *len)]
            }
            Softmax { len } => vec![
                input("x", *len),
                inner("scaled", *len),
                inner("largest lane", 16),
                inner("largest", 1),
                inner("exponential", *len),
                inner("total lane", 16),
                inner("inverse", 1),
                output("out", *len),
            ],
            RmsForward { rows, d, .. } => vec![
                input("x", times(&[*rows, *d])),
                input("gain", *d),
                inner("square lane", times(&[*rows, 16])),
                output("inv_rms", *rows),
                output("out", times(&[*rows, *d])),
            ],
            RmsBackward { rows, d, store } => {
                let len = times(&[*rows, *d]);
                let mut tensors = vec![
                    input("x", len),
                    input("gain", *d),
                    input("inv_rms", *rows),
                    input("dy", len),
                    input("dgain", *d),
                    inner("unit", len),
                    inner("weighted", len),
                    inner("dot lane", times(&[*rows, 16])),
                    inner("mean dot", *rows),
                    inner("gain block", times(&[*d, rows.div_ceil(BLOCK)])),
                    output("new dx", len),
                    output("new dgain", *d),
                ];
                if *store == Store::Add {
                    tensors.push(input("dx", len));
                }
                tensors
            }
            Rope { rows, heads, head_dim, positions, .. } => {
                let len = times(&[*rows, *heads, *head_dim]);
                let table = times(&[*positions, *head_dim / 2]);
                vec![
                    input("x", len),
                    indices("position", *rows),
                    input("cos", table),
                    input("sin", table),
                    output("out", len),
                ]
            }
            AttentionForward(shape) => attended(Heads::from(*shape)),
            AttentionDecode { heads, kv_heads, head_dim, keys } => attended(Heads {
                batch: 1,
                rows: 1,
                keys: *keys,
                heads: *heads,
                kv_heads: *kv_heads,
                head_dim: *head_dim,
            }),
            AttentionBackward(shape) => {
                let heads = Heads::from(*shape);
                let rows = times(&[heads.batch, heads.heads, heads.rows]);
                let pairs = times(&[rows, heads.keys]);
                let queries = times(&[rows, heads.head_dim]);
                let keys = heads.key_values();
                let tiles = times(&[keys, heads.group(), heads.tiles()]);
                let mut tensors = heads.tensors();
                tensors.extend([
                    input("dout", queries),
                    inner("dprobability block", times(&[pairs, heads.head_dim.div_ceil(BLOCK)])),
                    inner("dprobability", pairs),
                    inner("dot lane", times(&[rows, 16])),
                    inner("dot", rows),
                    inner("dscore", pairs),
                    inner("dq block", times(&[queries, heads.keys.div_ceil(BLOCK)])),
                    inner("dk tile", tiles),
                    inner("dv tile", tiles),
                    output("dq", queries),
                    output("dk", keys),
                    output("dv", keys),
                ]);
                tensors
            }
            SwigluForward { len } => vec![input("gate", *len), input("up", *len), output("out", *len)],
            SwigluBackward { len } => vec![
                input("gate", *len),
                input("up", *len),
                input("dout", *len),
                output("dgate", *len),
                output("dup", *len),
            ],
            CrossEntropy { rows, vocab, .. } => vec![
                input("logits", times(&[*rows, *vocab])),
                indices("target", *rows),
                inner("largest lane", times(&[*rows, 16])),
                inner("largest", *rows),
                inner("exponential", times(&[*rows, *vocab])),
                inner("total lane", times(&[*rows, 16])),
                inner("total", *rows),
                inner("inverse", *rows),
                output("loss", *rows),
                output("dlogits", times(&[*rows, *vocab])),
            ],
            Gather { vocab, d, tokens } => vec![
                input("table", times(&[*vocab, *d])),
                indices("token", *tokens),
                output("out", times(&[*tokens, *d])),
            ],
            ScatterAdd { vocab, d, tokens } => vec![
                input("dtable", times(&[*vocab, *d])),
                indices("token", *tokens),
                input("dout", times(&[*tokens, *d])),
                output("out", times(&[*vocab, *d])),
            ],
            Add { len } => vec![input("x", *len), input("y", *len), output("out", *len)],
            AdamW { len, .. } => vec![
                input("weight", *len),
                input("first", *len),
                input("second", *len),
                input("gradient", *len),
                inner("keep", 1),
                output("new first", *len),
                output("new second", *len),
                output("new weight", *len),
            ],
            Momentum { len, .. } => vec![
                input("buffer", *len),
                input("gradient", *len),
                output("new buffer", *len),
                output("direction", *len),
            ],
            Descend { len, .. } => {
                vec![input("weight", *len), input("direction", *len), inner("keep", 1), output("out", *len)]
            }
            NewtonSchulz { rows, cols, steps } => {
                let (len, side) = (times(&[*rows, *cols]), *rows.min(cols));
                let (all, squares) = (times(&[*steps, len]), times(&[*steps, side, side]));
                let (long, short) = (rows.max(cols).div_ceil(BLOCK), side.div_ceil(BLOCK));
                vec![
                    input("m", len),
                    inner("square lane", 16),
                    inner("factor", 1),
                    inner("x", all.saturating_add(len)),
                    inner("gram block", times(&[squares, long])),
                    inner("gram", squares),
                    inner("square block", times(&[squares, short])),
                    inner("square", squares),
                    inner("polynomial", squares),
                    inner("product block", times(&[all, short])),
                    inner("product", all),
                    output("out", len),
                ]
            }
            NewtonSchulzGram { rows, cols, steps } => {
                let (len, side) = (times(&[*rows, *cols]), *rows.min(cols));
                let squares = times(&[*steps, side, side]);
                let (long, short) = (rows.max(cols).div_ceil(BLOCK), side.div_ceil(BLOCK));
                vec![
                    input("m", len),
                    inner("square lane", 16),
                    inner("factor", 1),
                    inner("x", len),
                    inner("gram block", times(&[squares, long])),
                    inner("gram", squares),
                    inner("square block", times(&[squares, short])),
                    inner("square", squares),
                    inner("polynomial", squares),
                    inner("accumulated block", times(&[squares, short])),
                    inner("accumulated", squares),
                    inner("turned block", times(&[squares, short])),
                    inner("turned", squares),
                    inner("out block", if *steps == 0 { 0 } else { times(&[len, short]) }),
                    output("out", len),
                ]
            }
            GlobalNorm { lengths } => normed(lengths),
            Clip { lengths, .. } => {
                let mut tensors = normed(lengths);
                let len = lengths.iter().fold(0usize, |sum, len| sum.saturating_add(*len));
                tensors.extend([inner("factor", 1), output("out", len)]);
                tensors
            }
            QuantiseAdd { len, .. } | QuantiseSub { len, .. } => {
                vec![input("gradient", *len), sums("sum", Role::Input, *len), sums("out", Role::Output, *len)]
            }
            Merge { len } => vec![
                sums("sum", Role::Input, *len),
                sums("other", Role::Input, *len),
                sums("out", Role::Output, *len),
            ],
            Dequantise { len, .. } => vec![sums("sum", Role::Input, *len), output("out", *len)],
            Encode { format, rows, width } => {
                let len = times(&[*rows, *width]);
                let mut tensors = vec![input("x", len)];
                if *format != Format::Bf16 {
                    let blocks = times(&[*rows, width.div_ceil(quantise::BLOCK)]);
                    tensors.extend([
                        inner("magnitude", len),
                        inner("largest", blocks),
                        bytes("scale", Role::Inner, blocks),
                    ]);
                }
                tensors.push(bytes("out", Role::Output, wire(*format, *rows, *width)));
                tensors
            }
            Decode { format, rows, width } => vec![
                bytes("bytes", Role::Input, wire(*format, *rows, *width)),
                output("out", times(&[*rows, *width])),
            ],
        }
    }
}

/// The bytes of rows on the wire.
fn wire(format: Format, rows: usize, width: usize) -> usize {
    format.bytes(rows, width).unwrap_or(usize::MAX)
}

/// The elements a strided matrix reaches over.
fn extent(rows: usize, cols: usize, row: usize, col: usize) -> usize {
    match (rows, cols) {
        (0, _) | (_, 0) => 0,
        _ => times(&[rows - 1, row]).saturating_add(times(&[cols - 1, col])).saturating_add(1),
    }
}

fn attended(heads: Heads) -> Vec<Tensor> {
    let queries = times(&[heads.batch, heads.heads, heads.rows, heads.head_dim]);
    let mut tensors = heads.tensors();
    tensors.push(inner("out block", times(&[queries, heads.keys.div_ceil(BLOCK)])));
    tensors.push(output("out", queries));
    tensors
}

fn normed(lengths: &[usize]) -> Vec<Tensor> {
    let len = lengths.iter().fold(0usize, |sum, len| sum.saturating_add(*len));
    vec![
        input("tensors", len),
        inner("square lane", times(&[lengths.len(), 16])),
        inner("square", lengths.len()),
        inner("total", 1),
        output("norm", 1),
    ]
}
