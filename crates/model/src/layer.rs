//! Compute one sub-layer, attention or MLP, forward and backward, in canonical arithmetic.
//!
//! A sub-layer maps `x` `[rows, d]` to `x + f(RmsNorm(x))`. The forward pass writes a tape of what the backward
//! pass needs and what is dear to make again, see [`crate::memory`]; the backward pass uses the tape up. Linear
//! weights are `[out, in]`, so `y = x W^T`. Weight gradients are SET, never added: each microbatch's gradient is
//! computed from zero, one tensor at a time, and handed to a [`Sink`] before the next is made.
//!
//! Nothing here allocates: tapes and scratch are lent by the caller.

use crate::{
    error::ModelError,
    memory::{Dims, Room},
    plan::SubLayerKind,
    sink::Sink,
    spec::ModelSpec,
    workspace::Tables,
};
use tessera_arith::{ArithError, Mat, MatMut, Store, attention, gemm, norm, rope, swiglu};

/// `y (+)= x W^T` with `x` `[rows, inner]`, `w` `[outer, inner]`, `y` `[rows, outer]`.
pub(crate) fn linear(
    x: &[f32],
    w: &[f32],
    inner: usize,
    y: &mut [f32],
    store: Store,
) -> Result<(), ArithError> {
    let (rows, outer) = (x.len() / inner, w.len() / inner);
    gemm(MatMut::new(y, rows, outer)?, Mat::new(x, rows, inner)?, Mat::new(w, outer, inner)?.t(), store)
}

/// `dx (+)= dy W` with `dy` `[rows, outer]`, `w` `[outer, inner]`, `dx` `[rows, inner]`.
pub(crate) fn linear_input_gradient(
    dy: &[f32],
    w: &[f32],
    inner: usize,
    dx: &mut [f32],
    store: Store,
) -> Result<(), ArithError> {
    let (rows, outer) = (dx.len() / inner, w.len() / inner);
    gemm(MatMut::new(dx, rows, inner)?, Mat::new(dy, rows, outer)?, Mat::new(w, outer, inner)?, store)
}

/// `dw (+)= dy^T x` with `dy` `[rows, outer]`, `x` `[rows, inner]`, `dw` `[outer, inner]`.
pub(crate) fn linear_weight_gradient(
    dy: &[f32],
    x: &[f32],
    inner: usize,
    dw: &mut [f32],
    store: Store,
) -> Result<(), ArithError> {
    let (rows, outer) = (x.len() / inner, dw.len() / inner);
    gemm(MatMut::new(dw, outer, inner)?, Mat::new(dy, rows, outer)?.t(), Mat::new(x, rows, inner)?, store)
}

/// What the backward pass of a sub-layer needs from its forward pass, besides its input.
pub(crate) enum Tape<'a> {
    Attention(AttentionTape<'a>),
    Mlp(MlpTape<'a>),
}

pub(crate) struct AttentionTape<'a> {
    /// Queries `[rows, d]` and keys `[rows, kv_width]`: rotated, or with QK-norm as they were before the norm.
    q: &'a mut [f32],
    k: &'a mut [f32],
    v: &'a mut [f32],
    /// Attention's output `[rows, d]`.
    mixed: &'a mut [f32],
}

pub(crate) struct MlpTape<'a> {
    gate: &'a mut [f32],
    up: &'a mut [f32],
}

impl<'a> Tape<'a> {
    /// Take the tape's memory from `room`: [`Dims::tape`] values.
    pub(crate) fn take(kind: SubLayerKind, dims: &Dims, room: &mut Room<'a>) -> Self {
        match kind {
            SubLayerKind::Attention => {
                let (stream, width) = (dims.stream(), dims.rows * dims.kv);
                let (q, k, v) = (room.take(stream), room.take(width), room.take(width));
                Self::Attention(AttentionTape { q, k, v, mixed: room.take(stream) })
            }
            SubLayerKind::Mlp => {
                let width = dims.rows * dims.ff;
                Self::Mlp(MlpTape { gate: room.take(width), up: room.take(width) })
            }
        }
    }
}

/// Keys and values of one attention sub-layer for the positions seen so far, `[positions, kv_width]` each.
#[derive(Clone, Debug, Default)]
pub(crate) struct CachedHeads {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

/// Weights of one sub-layer, in the order of its plan, and the sizes of what it computes on.
pub(crate) struct Layer<'a> {
    pub(crate) model: &'a ModelSpec,
    pub(crate) dims: Dims,
    pub(crate) weights: &'a [Vec<f32>],
}

/// Queries and keys as attention reads them: normed, with QK-norm, and rotated.
struct Heads<'a> {
    q: &'a [f32],
    k: &'a [f32],
}

impl Layer<'_> {
    fn epsilon(&self) -> f32 {
        self.model.norm_eps.f32()
    }

    fn shape(&self) -> attention::Shape {
        let Dims { rows, heads, kv_heads, head_dim, .. } = self.dims;
        let seq = self.model.seq_len as usize;
        attention::Shape { batch: rows / seq, seq, heads, kv_heads, head_dim }
    }

    /// Compute the tape from the input `x`; with `finish`, `x` then becomes the sub-layer's output. `room` has
    /// [`Dims::forward`] values.
    pub(crate) fn forward(
        &self,
        x: &mut [f32],
        tape: Tape,
        finish: bool,
        tables: &Tables,
        room: Room,
    ) -> Result<(), ArithError> {
        match tape {
            Tape::Attention(AttentionTape { q, k, v, mixed }) => {
                let positions = tables.positions(self.dims.rows);
                let heads = self.project(x, positions, q, k, v, tables, room)?;
                attention::forward(self.shape(), heads.q, heads.k, v, mixed)?;
                if finish {
                    linear(mixed, &self.weights[4], self.dims.d, x, Store::Add)?;
                }
                Ok(())
            }
            Tape::Mlp(tape) => self.mlp_forward(x, tape, finish, room),
        }
    }

    /// [`Layer::forward`] for new positions of one sequence whose earlier positions are in `cache`, which grows.
    /// `positions` are those of the rows of `x`.
    pub(crate) fn decode(
        &self,
        x: &mut [f32],
        positions: &[u32],
        cache: &mut CachedHeads,
        tape: Tape,
        tables: &Tables,
        room: Room,
    ) -> Result<(), ArithError> {
        let AttentionTape { q, k, v, mixed } = match tape {
            Tape::Attention(tape) => tape,
            Tape::Mlp(tape) => return self.mlp_forward(x, tape, true, room),
        };
        let Heads { q, k } = self.project(x, positions, q, k, v, tables, room)?;
        cache.keys.extend_from_slice(k);
        cache.values.extend_from_slice(v);
        let Dims { d, kv, heads, kv_heads, head_dim, .. } = self.dims;
        for (row, position) in positions.iter().enumerate() {
            let seen = (*position as usize + 1) * kv;
            let (keys, values) = (&cache.keys[..seen], &cache.values[..seen]);
            let (q, out) = (&q[row * d..(row + 1) * d], &mut mixed[row * d..(row + 1) * d]);
            attention::decode(heads, kv_heads, head_dim, q, keys, values, out)?;
        }
        linear(mixed, &self.weights[4], d, x, Store::Add)
    }

    #[allow(clippy::too_many_arguments)]
    fn project<'t>(
        &self,
        x: &[f32],
        positions: &[u32],
        q: &'t mut [f32],
        k: &'t mut [f32],
        v: &mut [f32],
        tables: &Tables,
        mut room: Room<'t>,
    ) -> Result<Heads<'t>, ArithError> {
        let d = self.dims.d;
        let (normed, inv_rms) = (room.take(self.dims.stream()), room.take(self.dims.rows));
        norm::rms_forward(x, &self.weights[0], self.epsilon(), normed, inv_rms)?;
        linear(normed, &self.weights[1], d, q, Store::Set)?;
        linear(normed, &self.weights[2], d, k, Store::Set)?;
        linear(normed, &self.weights[3], d, v, Store::Set)?;
        if !self.dims.qk_norm {
            rope::rotate(q, self.dims.heads, positions, &tables.rope)?;
            rope::rotate(k, self.dims.kv_heads, positions, &tables.rope)?;
            return Ok(Heads { q, k });
        }
        // The normed input is no longer needed: the queries take its place.
        let keys = room.take(k.len());
        let inverses =
            (room.take(self.dims.rows * self.dims.heads), room.take(self.dims.rows * self.dims.kv_heads));
        self.norm_heads((q, k), (normed, keys), inverses, positions, tables)?;
        Ok(Heads { q: normed, k: keys })
    }

    /// With QK-norm: sets `outs` to the normed and rotated queries and keys of `raws`.
    fn norm_heads(
        &self,
        raws: (&[f32], &[f32]),
        outs: (&mut [f32], &mut [f32]),
        inverses: (&mut [f32], &mut [f32]),
        positions: &[u32],
        tables: &Tables,
    ) -> Result<(), ArithError> {
        norm::rms_forward(raws.0, &self.weights[5], self.epsilon(), outs.0, inverses.0)?;
        norm::rms_forward(raws.1, &self.weights[6], self.epsilon(), outs.1, inverses.1)?;
        rope::rotate(outs.0, self.dims.heads, positions, &tables.rope)?;
        rope::rotate(outs.1, self.dims.kv_heads, positions, &tables.rope)
    }

    fn mlp_forward(
        &self,
        x: &mut [f32],
        tape: MlpTape,
        finish: bool,
        mut room: Room,
    ) -> Result<(), ArithError> {
        let Dims { rows, d, ff, .. } = self.dims;
        let MlpTape { gate, up } = tape;
        let (normed, inv_rms) = (room.take(self.dims.stream()), room.take(rows));
        norm::rms_forward(x, &self.weights[0], self.epsilon(), normed, inv_rms)?;
        linear(normed, &self.weights[1], d, gate, Store::Set)?;
        linear(normed, &self.weights[2], d, up, Store::Set)?;
        if finish {
            let inner = room.take(rows * ff);
            swiglu::forward(gate, up, inner)?;
            linear(inner, &self.weights[3], ff, x, Store::Add)?;
        }
        Ok(())
    }

    /// `dx`, the gradient of the output, becomes the gradient of the input `x`. The tape is used up. `gradient`
    /// has room for the largest weight, `room` has [`Dims::backward`] values.
    #[allow(clippy::too_many_arguments)] // One unit, its tape, and where each result goes.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        tape: Tape,
        dx: &mut [f32],
        tables: &Tables,
        sink: &mut Sink,
        gradient: &mut [f32],
        mut room: Room,
    ) -> Result<(), ModelError> {
        let inv_rms = room.take(self.dims.rows);
        let dnormed = match tape {
            Tape::Attention(tape) => {
                self.attention_backward(x, tape, dx, inv_rms, tables, sink, gradient, room)?
            }
            Tape::Mlp(tape) => self.mlp_backward(x, tape, dx, inv_rms, sink, gradient, room)?,
        };
        let dgain = &mut gradient[..self.dims.d];
        dgain.fill(0.0);
        norm::rms_backward(x, &self.weights[0], inv_rms, dnormed, dx, dgain, Store::Add)?;
        sink.take(0, dgain)
    }

    /// Makes the gradient of weight `index` and hands it over.
    fn weight(
        &self,
        index: usize,
        dy: &[f32],
        x: &[f32],
        inner: usize,
        sink: &mut Sink,
        gradient: &mut [f32],
    ) -> Result<(), ModelError> {
        let gradient = &mut gradient[..self.weights[index].len()];
        linear_weight_gradient(dy, x, inner, gradient, Store::Set)?;
        sink.take(index, gradient)
    }

    /// Returns the gradient of the normed input; `inv_rms` is filled.
    #[allow(clippy::too_many_arguments)]
    fn attention_backward<'t>(
        &self,
        x: &[f32],
        tape: AttentionTape,
        dy: &[f32],
        inv_rms: &mut [f32],
        tables: &Tables,
        sink: &mut Sink,
        gradient: &mut [f32],
        mut room: Room<'t>,
    ) -> Result<&'t [f32], ModelError> {
        let Dims { rows, d, heads, kv_heads, qk_norm, .. } = self.dims;
        let AttentionTape { q, k, v, mixed } = tape;
        let positions = tables.positions(rows);
        let dmixed = room.take(self.dims.stream());
        let (dq, dk, dv) = (room.take(q.len()), room.take(k.len()), room.take(v.len()));
        linear_input_gradient(dy, &self.weights[4], d, dmixed, Store::Set)?;
        self.weight(4, dy, mixed, d, sink, gradient)?;
        let (dq, dk): (&[f32], &[f32]) = if qk_norm {
            let (turned_q, turned_k) = (room.take(q.len()), room.take(k.len()));
            let (q_inverse, k_inverse) = (room.take(rows * heads), room.take(rows * kv_heads));
            self.norm_heads((q, k), (turned_q, turned_k), (q_inverse, k_inverse), positions, tables)?;
            attention::backward(self.shape(), turned_q, turned_k, v, dmixed, dq, dk, dv)?;
            rope::rotate_back(dq, heads, positions, &tables.rope)?;
            rope::rotate_back(dk, kv_heads, positions, &tables.rope)?;
            // Attention is done with the normed queries and keys: the gradients before the norm take their place.
            let sides =
                [(5, &*q, &*q_inverse, &*dq, &mut *turned_q), (6, &*k, &*k_inverse, &*dk, &mut *turned_k)];
            for (index, raw, inverse, dout, out) in sides {
                let dgain = &mut gradient[..self.dims.head_dim];
                dgain.fill(0.0);
                norm::rms_backward(raw, &self.weights[index], inverse, dout, out, dgain, Store::Set)?;
                sink.take(index, dgain)?;
            }
            (turned_q, turned_k)
        } else {
            attention::backward(self.shape(), q, k, v, dmixed, dq, dk, dv)?;
            rope::rotate_back(dq, heads, positions, &tables.rope)?;
            rope::rotate_back(dk, kv_heads, positions, &tables.rope)?;
            (dq, dk)
        };
        // Attention's output has served: the normed input takes its place, and that of its gradient the normed
        // input's gradient.
        let (normed, dnormed) = (mixed, dmixed);
        norm::rms_forward(x, &self.weights[0], self.epsilon(), normed, inv_rms)?;
        for (index, dout) in [(1, dq), (2, dk), (3, &*dv)] {
            self.weight(index, dout, normed, d, sink, gradient)?;
            let store = if index == 1 { Store::Set } else { Store::Add };
            linear_input_gradient(dout, &self.weights[index], d, dnormed, store)?;
        }
        Ok(dnormed)
    }

    /// Returns the gradient of the normed input; `inv_rms` is filled.
    #[allow(clippy::too_many_arguments)]
    fn mlp_backward<'t>(
        &self,
        x: &[f32],
        tape: MlpTape,
        dy: &[f32],
        inv_rms: &mut [f32],
        sink: &mut Sink,
        gradient: &mut [f32],
        mut room: Room<'t>,
    ) -> Result<&'t [f32], ModelError> {
        let Dims { rows, d, ff, .. } = self.dims;
        let MlpTape { gate, up } = tape;
        let (inner, normed) = (room.take(rows * ff), room.take(self.dims.stream()));
        linear_input_gradient(dy, &self.weights[3], ff, inner, Store::Set)?;
        swiglu::backward_in_place(gate, up, inner)?;
        self.weight(3, dy, inner, ff, sink, gradient)?;
        let (dgate, dup) = (gate, up);
        norm::rms_forward(x, &self.weights[0], self.epsilon(), normed, inv_rms)?;
        self.weight(1, dgate, normed, d, sink, gradient)?;
        self.weight(2, dup, normed, d, sink, gradient)?;
        // The normed input has served: its gradient takes its place.
        let dnormed = normed;
        linear_input_gradient(dgate, &self.weights[1], d, dnormed, Store::Set)?;
        linear_input_gradient(dup, &self.weights[2], d, dnormed, Store::Add)?;
        Ok(dnormed)
    }
}

/// The mean of `values`, by the canonical sum.
pub(crate) fn mean(values: &[f32]) -> f32 {
    tessera_arith::reduce::sum(values) / values.len() as f32
}
