//! Compute one sub-layer, attention or MLP, forward and backward, in canonical arithmetic.
//!
//! A sub-layer maps `x` `[rows, d]` to `x + f(RmsNorm(x))`. The forward pass leaves a tape of what the
//! backward pass needs; stages keep only their input and make the tape again (recomputation). Linear
//! weights are `[out, in]`, so `y = x W^T`. Weight gradients are SET, never added: each microbatch's
//! gradient is computed from zero.

use crate::{
    error::ModelError,
    plan::{SubLayer, SubLayerKind},
    spec::ModelSpec,
    stage::Workspace,
};
use tessera_arith::{ArithError, Mat, MatMut, Store, attention, elementwise, gemm, norm, rope, swiglu};

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

/// `dw = dy^T x` with `dy` `[rows, outer]`, `x` `[rows, inner]`, `dw` `[outer, inner]`.
pub(crate) fn linear_weight_gradient(
    dy: &[f32],
    x: &[f32],
    inner: usize,
    dw: &mut [f32],
) -> Result<(), ArithError> {
    let (rows, outer) = (x.len() / inner, dw.len() / inner);
    gemm(
        MatMut::new(dw, outer, inner)?,
        Mat::new(dy, rows, outer)?.t(),
        Mat::new(x, rows, inner)?,
        Store::Set,
    )
}

/// What the backward pass of a sub-layer needs from its forward pass.
pub(crate) enum Tape {
    Attention(AttentionTape),
    Mlp(MlpTape),
}

pub(crate) struct AttentionTape {
    normed: Vec<f32>,
    inv_rms: Vec<f32>,
    /// Queries and keys before their norm; empty without QK-norm.
    q_raw: Vec<f32>,
    k_raw: Vec<f32>,
    q_inv_rms: Vec<f32>,
    k_inv_rms: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    mixed: Vec<f32>,
}

pub(crate) struct MlpTape {
    normed: Vec<f32>,
    inv_rms: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    inner: Vec<f32>,
}

/// Keys and values of one attention sub-layer for the positions seen so far, `[positions, kv_width]` each.
#[derive(Clone, Debug, Default)]
pub(crate) struct CachedHeads {
    pub(crate) keys: Vec<f32>,
    pub(crate) values: Vec<f32>,
}

/// Weights of one sub-layer, in the order of its plan.
pub(crate) struct Layer<'a> {
    pub(crate) model: &'a ModelSpec,
    pub(crate) sub_layer: SubLayer,
    pub(crate) weights: &'a [Vec<f32>],
}

/// Normalised, rotated queries and keys, and values.
struct Projected {
    tape: AttentionTape,
}

impl Layer<'_> {
    fn d(&self) -> usize {
        self.model.d_model as usize
    }

    fn normed(&self, x: &[f32]) -> Result<(Vec<f32>, Vec<f32>), ArithError> {
        let (mut normed, mut inv_rms) = (vec![0.0; x.len()], vec![0.0; x.len() / self.d()]);
        norm::rms_forward(x, &self.weights[0], self.model.norm_eps.f32(), &mut normed, &mut inv_rms)?;
        Ok((normed, inv_rms))
    }

    /// `x` becomes the sub-layer's output; the tape is for [`Layer::backward`].
    pub(crate) fn forward(&self, x: &mut [f32], workspace: &Workspace) -> Result<Tape, ModelError> {
        match self.sub_layer.kind {
            SubLayerKind::Attention => {
                let seq = self.model.seq_len as usize;
                let rows = x.len() / self.d();
                let positions = workspace.positions(rows);
                let Projected { mut tape } = self.project(x, positions, workspace)?;
                let shape = self.shape(rows / seq);
                attention::forward(shape, &tape.q, &tape.k, &tape.v, &mut tape.mixed)?;
                linear(&tape.mixed, &self.weights[4], self.d(), x, Store::Add)?;
                Ok(Tape::Attention(tape))
            }
            SubLayerKind::Mlp => Ok(Tape::Mlp(self.mlp_forward(x)?)),
        }
    }

    /// The same for new positions of one sequence whose earlier positions are in `cache`, which grows.
    /// `positions` are those of the rows of `x`.
    pub(crate) fn decode(
        &self,
        x: &mut [f32],
        positions: &[u32],
        cache: &mut CachedHeads,
        workspace: &Workspace,
    ) -> Result<(), ModelError> {
        if self.sub_layer.kind == SubLayerKind::Mlp {
            self.mlp_forward(x)?;
            return Ok(());
        }
        let Projected { mut tape } = self.project(x, positions, workspace)?;
        cache.keys.extend_from_slice(&tape.k);
        cache.values.extend_from_slice(&tape.v);
        let (heads, kv_heads) = (self.model.heads as usize, self.model.kv_heads as usize);
        let (d, width) = (self.d(), self.model.kv_width());
        for (row, position) in positions.iter().enumerate() {
            let seen = (*position as usize + 1) * width;
            let (keys, values) = (&cache.keys[..seen], &cache.values[..seen]);
            let (q, out) = (&tape.q[row * d..(row + 1) * d], &mut tape.mixed[row * d..(row + 1) * d]);
            attention::decode(heads, kv_heads, self.model.head_dim(), q, keys, values, out)?;
        }
        linear(&tape.mixed, &self.weights[4], d, x, Store::Add)?;
        Ok(())
    }

    fn shape(&self, batch: usize) -> attention::Shape {
        attention::Shape {
            batch,
            seq: self.model.seq_len as usize,
            heads: self.model.heads as usize,
            kv_heads: self.model.kv_heads as usize,
            head_dim: self.model.head_dim(),
        }
    }

    fn project(&self, x: &[f32], positions: &[u32], workspace: &Workspace) -> Result<Projected, ArithError> {
        let (d, width, model) = (self.d(), self.model.kv_width(), self.model);
        let rows = x.len() / d;
        let (normed, inv_rms) = self.normed(x)?;
        let mut q = vec![0.0; x.len()];
        let mut k = vec![0.0; rows * width];
        let mut v = vec![0.0; rows * width];
        linear(&normed, &self.weights[1], d, &mut q, Store::Set)?;
        linear(&normed, &self.weights[2], d, &mut k, Store::Set)?;
        linear(&normed, &self.weights[3], d, &mut v, Store::Set)?;
        let (mut q_raw, mut k_raw, mut q_inv_rms, mut k_inv_rms) = (vec![], vec![], vec![], vec![]);
        if model.qk_norm {
            let eps = model.norm_eps.f32();
            (q_raw, k_raw) = (q.clone(), k.clone());
            q_inv_rms = vec![0.0; q.len() / model.head_dim()];
            k_inv_rms = vec![0.0; k.len() / model.head_dim()];
            norm::rms_forward(&q_raw, &self.weights[5], eps, &mut q, &mut q_inv_rms)?;
            norm::rms_forward(&k_raw, &self.weights[6], eps, &mut k, &mut k_inv_rms)?;
        }
        rope::rotate(&mut q, model.heads as usize, positions, &workspace.rope)?;
        rope::rotate(&mut k, model.kv_heads as usize, positions, &workspace.rope)?;
        let mixed = vec![0.0; x.len()];
        let tape = AttentionTape { normed, inv_rms, q_raw, k_raw, q_inv_rms, k_inv_rms, q, k, v, mixed };
        Ok(Projected { tape })
    }

    fn mlp_forward(&self, x: &mut [f32]) -> Result<MlpTape, ArithError> {
        let (d, ff) = (self.d(), self.model.d_ff as usize);
        let rows = x.len() / d;
        let (normed, inv_rms) = self.normed(x)?;
        let (mut gate, mut up, mut inner) =
            (vec![0.0; rows * ff], vec![0.0; rows * ff], vec![0.0; rows * ff]);
        linear(&normed, &self.weights[1], d, &mut gate, Store::Set)?;
        linear(&normed, &self.weights[2], d, &mut up, Store::Set)?;
        swiglu::forward(&gate, &up, &mut inner)?;
        linear(&inner, &self.weights[3], ff, x, Store::Add)?;
        Ok(MlpTape { normed, inv_rms, gate, up, inner })
    }

    /// `dy`, the gradient of the output, becomes the gradient of the input `x`; the gradients of the
    /// weights are written to `gradients`, in the order of the plan, which must hold zeros for gains.
    pub(crate) fn backward(
        &self,
        x: &[f32],
        tape: Tape,
        dy: &mut [f32],
        gradients: &mut [Vec<f32>],
        workspace: &Workspace,
    ) -> Result<(), ModelError> {
        let (dnormed, inv_rms) = match tape {
            Tape::Attention(tape) => self.attention_backward(tape, dy, gradients, workspace)?,
            Tape::Mlp(tape) => self.mlp_backward(tape, dy, gradients)?,
        };
        norm::rms_backward(x, &self.weights[0], &inv_rms, &dnormed, dy, &mut gradients[0], Store::Add)?;
        Ok(())
    }

    fn attention_backward(
        &self,
        tape: AttentionTape,
        dy: &[f32],
        gradients: &mut [Vec<f32>],
        workspace: &Workspace,
    ) -> Result<(Vec<f32>, Vec<f32>), ArithError> {
        let (d, model) = (self.d(), self.model);
        let rows = dy.len() / d;
        let mut dmixed = vec![0.0; dy.len()];
        linear_input_gradient(dy, &self.weights[4], d, &mut dmixed, Store::Set)?;
        linear_weight_gradient(dy, &tape.mixed, d, &mut gradients[4])?;
        let (mut dq, mut dk, mut dv) =
            (vec![0.0; dy.len()], vec![0.0; tape.k.len()], vec![0.0; tape.v.len()]);
        let shape = self.shape(rows / model.seq_len as usize);
        attention::backward(shape, &tape.q, &tape.k, &tape.v, &dmixed, &mut dq, &mut dk, &mut dv)?;
        let positions = workspace.positions(rows);
        rope::rotate_back(&mut dq, model.heads as usize, positions, &workspace.rope)?;
        rope::rotate_back(&mut dk, model.kv_heads as usize, positions, &workspace.rope)?;
        if model.qk_norm {
            let (rotated_dq, rotated_dk) = (dq.clone(), dk.clone());
            let (q_gain, k_gain) = (&self.weights[5], &self.weights[6]);
            norm::rms_backward(
                &tape.q_raw,
                q_gain,
                &tape.q_inv_rms,
                &rotated_dq,
                &mut dq,
                &mut gradients[5],
                Store::Set,
            )?;
            norm::rms_backward(
                &tape.k_raw,
                k_gain,
                &tape.k_inv_rms,
                &rotated_dk,
                &mut dk,
                &mut gradients[6],
                Store::Set,
            )?;
        }
        // The mixed buffer's gradient is no longer needed: reuse it for the gradient of the normed input.
        let mut dnormed = dmixed;
        for (index, dout) in [(1, &dq), (2, &dk), (3, &dv)] {
            linear_weight_gradient(dout, &tape.normed, d, &mut gradients[index])?;
            let store = if index == 1 { Store::Set } else { Store::Add };
            linear_input_gradient(dout, &self.weights[index], d, &mut dnormed, store)?;
        }
        Ok((dnormed, tape.inv_rms))
    }

    fn mlp_backward(
        &self,
        tape: MlpTape,
        dy: &[f32],
        gradients: &mut [Vec<f32>],
    ) -> Result<(Vec<f32>, Vec<f32>), ArithError> {
        let (d, ff) = (self.d(), self.model.d_ff as usize);
        let mut dinner = vec![0.0; tape.inner.len()];
        linear_input_gradient(dy, &self.weights[3], ff, &mut dinner, Store::Set)?;
        linear_weight_gradient(dy, &tape.inner, ff, &mut gradients[3])?;
        let (mut dgate, mut dup) = (vec![0.0; dinner.len()], vec![0.0; dinner.len()]);
        swiglu::backward(&tape.gate, &tape.up, &dinner, &mut dgate, &mut dup)?;
        let mut dnormed = vec![0.0; dy.len()];
        linear_weight_gradient(&dgate, &tape.normed, d, &mut gradients[1])?;
        linear_weight_gradient(&dup, &tape.normed, d, &mut gradients[2])?;
        linear_input_gradient(&dgate, &self.weights[1], d, &mut dnormed, Store::Set)?;
        linear_input_gradient(&dup, &self.weights[2], d, &mut dnormed, Store::Add)?;
        Ok((dnormed, tape.inv_rms))
    }
}

/// The mean of `values`, by the canonical sum.
pub(crate) fn mean(values: &[f32]) -> f32 {
    tessera_arith::reduce::sum(values) / values.len() as f32
}

/// Scale `values` in place.
pub(crate) fn scale(values: &mut [f32], factor: f32) {
    elementwise::scale(values, factor);
}
