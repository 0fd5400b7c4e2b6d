//! Compute a stage in the plainest way, every value in a vector of its own: what the planned memory must equal.

use tessera_arith::{
    Mat, MatMut, Store, attention, embed, gemm, grid, loss, norm, reduce,
    rope::{self, RopeTable},
    swiglu,
};
use tessera_model::{StageInput, StageTarget, StageWeights, SubLayerKind};

/// What one microbatch gives.
#[derive(Debug, PartialEq)]
pub(crate) struct Plain {
    pub(crate) output: Vec<f32>,
    pub(crate) dx: Vec<f32>,
    pub(crate) loss: Option<f32>,
    /// Rounded weight gradients, the tensors of the plan laid end to end.
    pub(crate) sum: Vec<i64>,
}

fn linear(x: &[f32], w: &[f32], inner: usize, onto: Option<&[f32]>) -> Vec<f32> {
    let (rows, outer) = (x.len() / inner, w.len() / inner);
    let (mut y, store) = match onto {
        Some(onto) => (onto.to_vec(), Store::Add),
        None => (vec![0.0; rows * outer], Store::Set),
    };
    let (x, w) = (Mat::new(x, rows, inner).unwrap(), Mat::new(w, outer, inner).unwrap());
    gemm(MatMut::new(&mut y, rows, outer).unwrap(), x, w.t(), store).unwrap();
    y
}

/// Adds `dy W` onto `dx`, or replaces it.
fn input_gradient(dy: &[f32], w: &[f32], inner: usize, dx: &mut [f32], store: Store) {
    let (rows, outer) = (dx.len() / inner, w.len() / inner);
    let (dy, w) = (Mat::new(dy, rows, outer).unwrap(), Mat::new(w, outer, inner).unwrap());
    gemm(MatMut::new(dx, rows, inner).unwrap(), dy, w, store).unwrap();
}

fn weight_gradient(dy: &[f32], x: &[f32], inner: usize) -> Vec<f32> {
    let rows = x.len() / inner;
    let outer = dy.len() / rows;
    let mut dw = vec![0.0; outer * inner];
    let (dy, x) = (Mat::new(dy, rows, outer).unwrap(), Mat::new(x, rows, inner).unwrap());
    gemm(MatMut::new(&mut dw, outer, inner).unwrap(), dy.t(), x, Store::Set).unwrap();
    dw
}

struct Normed {
    values: Vec<f32>,
    inverse: Vec<f32>,
}

fn normed(x: &[f32], gain: &[f32], eps: f32) -> Normed {
    let (mut values, mut inverse) = (vec![0.0; x.len()], vec![0.0; x.len() / gain.len()]);
    norm::rms_forward(x, gain, eps, &mut values, &mut inverse).unwrap();
    Normed { values, inverse }
}

struct Kept {
    x: Vec<f32>,
    normed: Normed,
    /// q, k before the norm; q, k, v, mixed; or gate, up, inner.
    parts: Vec<Vec<f32>>,
    head_norms: Vec<Normed>,
}

/// Forward and backward of one whole microbatch.
pub(crate) fn run(weights: &StageWeights, input: StageInput, target: StageTarget) -> Plain {
    let (spec, plan, tensors) = (weights.spec(), weights.plan(), weights.tensors());
    let model = &spec.model;
    let (d, ff, head_dim, eps) =
        (model.d_model as usize, model.d_ff as usize, model.head_dim(), model.norm_eps.f32());
    let (heads, kv_heads, seq) = (model.heads as usize, model.kv_heads as usize, model.seq_len as usize);
    let table = RopeTable::new(seq, head_dim, model.rope_theta.get()).unwrap();
    let positions: Vec<u32> = (0..spec.batch.sequences).flat_map(|_| 0..model.seq_len).collect();
    let shape = attention::Shape { batch: spec.batch.sequences as usize, seq, heads, kv_heads, head_dim };
    let mut x = match input {
        StageInput::Tokens(tokens) => {
            let mut x = vec![0.0; tokens.len() * d];
            embed::gather(&tensors[0], d, tokens, &mut x).unwrap();
            x
        }
        StageInput::Hidden(x) => x.to_vec(),
    };
    let count = |kind| match kind {
        SubLayerKind::Attention if model.qk_norm => 7,
        SubLayerKind::Attention => 5,
        SubLayerKind::Mlp => 4,
    };
    let (mut at, mut kept, mut starts) = (usize::from(plan.first), Vec::new(), Vec::new());
    for sub_layer in &plan.sub_layers {
        let w = &tensors[at..at + count(sub_layer.kind)];
        starts.push(at);
        at += w.len();
        let n = normed(&x, &w[0], eps);
        let (parts, head_norms, out) = if sub_layer.kind == SubLayerKind::Attention {
            let raw: Vec<Vec<f32>> = (1..4).map(|i| linear(&n.values, &w[i], d, None)).collect();
            let (mut q, mut k, mut norms) = (raw[0].clone(), raw[1].clone(), Vec::new());
            if model.qk_norm {
                norms = vec![normed(&q, &w[5], eps), normed(&k, &w[6], eps)];
                (q, k) = (norms[0].values.clone(), norms[1].values.clone());
            }
            rope::rotate(&mut q, heads, &positions, &table).unwrap();
            rope::rotate(&mut k, kv_heads, &positions, &table).unwrap();
            let mut mixed = vec![0.0; x.len()];
            attention::forward(shape, &q, &k, &raw[2], &mut mixed).unwrap();
            let out = linear(&mixed, &w[4], d, Some(&x));
            let [raw_q, raw_k, v] = raw.try_into().unwrap();
            (vec![raw_q, raw_k, q, k, v, mixed], norms, out)
        } else {
            let (gate, up) = (linear(&n.values, &w[1], d, None), linear(&n.values, &w[2], d, None));
            let mut inner = vec![0.0; gate.len()];
            swiglu::forward(&gate, &up, &mut inner).unwrap();
            let out = linear(&inner, &w[3], ff, Some(&x));
            (vec![gate, up, inner], Vec::new(), out)
        };
        kept.push(Kept { x: std::mem::replace(&mut x, out), normed: n, parts, head_norms });
    }
    let mut gradients: Vec<Vec<f32>> = tensors.iter().map(|tensor| vec![0.0; tensor.len()]).collect();
    let (mut output, mut mean_loss) = (x.clone(), None);
    let mut dx = match target {
        StageTarget::Grad(dy) => dy.to_vec(),
        StageTarget::Labels(labels) => {
            let (gain, head) = (at, at + 1);
            let n = normed(&x, &tensors[gain], eps);
            output = linear(&n.values, &tensors[head], d, None);
            let (mut losses, mut dlogits) = (vec![0.0; labels.len()], vec![0.0; output.len()]);
            let scale = 1.0 / labels.len() as f32;
            loss::cross_entropy(&output, labels, &mut losses, Some(&mut dlogits), scale).unwrap();
            mean_loss = Some(reduce::sum(&losses) / losses.len() as f32);
            gradients[head] = weight_gradient(&dlogits, &n.values, d);
            let (mut dn, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            input_gradient(&dlogits, &tensors[head], d, &mut dn, Store::Set);
            let dgain = &mut gradients[gain];
            norm::rms_backward(&x, &tensors[gain], &n.inverse, &dn, &mut dx, dgain, Store::Set).unwrap();
            dx
        }
    };
    for ((kept, start), sub_layer) in kept.iter().zip(starts).zip(&plan.sub_layers).rev() {
        let w = &tensors[start..start + count(sub_layer.kind)];
        let g = &mut gradients[start..start + count(sub_layer.kind)];
        let mut dnormed = vec![0.0; dx.len()];
        if let [raw_q, raw_k, q, k, v, mixed] = &kept.parts[..] {
            let mut dmixed = vec![0.0; dx.len()];
            input_gradient(&dx, &w[4], d, &mut dmixed, Store::Set);
            g[4] = weight_gradient(&dx, mixed, d);
            let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
            attention::backward(shape, q, k, v, &dmixed, &mut dq, &mut dk, &mut dv).unwrap();
            rope::rotate_back(&mut dq, heads, &positions, &table).unwrap();
            rope::rotate_back(&mut dk, kv_heads, &positions, &table).unwrap();
            if let [q_norm, k_norm] = &kept.head_norms[..] {
                let (after_q, after_k) = (dq.clone(), dk.clone());
                norm::rms_backward(raw_q, &w[5], &q_norm.inverse, &after_q, &mut dq, &mut g[5], Store::Set)
                    .unwrap();
                norm::rms_backward(raw_k, &w[6], &k_norm.inverse, &after_k, &mut dk, &mut g[6], Store::Set)
                    .unwrap();
            }
            for (index, dout) in [(1, &dq), (2, &dk), (3, &dv)] {
                g[index] = weight_gradient(dout, &kept.normed.values, d);
                let store = if index == 1 { Store::Set } else { Store::Add };
                input_gradient(dout, &w[index], d, &mut dnormed, store);
            }
        } else if let [gate, up, inner] = &kept.parts[..] {
            let (mut dinner, mut dgate, mut dup) =
                (vec![0.0; gate.len()], vec![0.0; gate.len()], vec![0.0; gate.len()]);
            input_gradient(&dx, &w[3], ff, &mut dinner, Store::Set);
            g[3] = weight_gradient(&dx, inner, ff);
            swiglu::backward(gate, up, &dinner, &mut dgate, &mut dup).unwrap();
            g[1] = weight_gradient(&dgate, &kept.normed.values, d);
            g[2] = weight_gradient(&dup, &kept.normed.values, d);
            input_gradient(&dgate, &w[1], d, &mut dnormed, Store::Set);
            input_gradient(&dup, &w[2], d, &mut dnormed, Store::Add);
        }
        norm::rms_backward(&kept.x, &w[0], &kept.normed.inverse, &dnormed, &mut dx, &mut g[0], Store::Add)
            .unwrap();
    }
    if let StageInput::Tokens(tokens) = input {
        embed::scatter_add(&mut gradients[0], d, tokens, &dx).unwrap();
    }
    let mut sum = Vec::new();
    for (gradient, exponent) in gradients.iter().zip(weights.exponents()) {
        let mut part = vec![0; gradient.len()];
        grid::quantise_add(gradient, *exponent, &mut part).unwrap();
        sum.extend(part);
    }
    Plain { output, dx, loss: mean_loss, sum }
}
