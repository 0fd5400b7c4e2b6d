//! Say where a stage's time goes, by replaying its operations one by one.
//!
//! The stage itself carries no clocks. A replay calls the public operations of `arith` in the order, at the
//! shapes and as often as forward and backward do, on buffers of its own for every block, and adds their times
//! up by kind. What the stage takes beyond the replay (allocation, copies, checks for NaN, cold caches) is the
//! row `other`; should the stage ever fuse operations, it becomes negative.

use crate::{
    data,
    error::BenchError,
    measure::{Sample, Timing, progress, time},
    report::Row,
    shape::Subject,
    stage::Pass,
};
use tessera_arith::{ArithError, Mat, MatMut, Store, attention, gemm, grid, loss, norm, rope, swiglu};
use tessera_model::{ModelSpec, Role, SubLayerKind};

/// Kinds of operation, in the order of the report.
const KINDS: [&str; 7] = ["gemm", "attention", "norm", "rope", "swiglu", "loss", "gradient-rounding"];
const GEMM: usize = 0;
const ATTENTION: usize = 1;
const NORM: usize = 2;
const ROPE: usize = 3;
const SWIGLU: usize = 4;
const LOSS: usize = 5;
const ROUNDING: usize = 6;

/// Time by kind.
type Times = [Sample; KINDS.len()];

/// One sub-layer's buffers, by what the stage calls them.
struct Buffers {
    kind: SubLayerKind,
    /// Linear weights in the order of the plan, `[out, in]`, and their gradients.
    weights: Vec<(Vec<f32>, usize)>,
    gradients: Vec<Vec<f32>>,
    x: Vec<f32>,
    normed: Vec<f32>,
    inv_rms: Vec<f32>,
    /// Queries, keys and values, or gate, up and inner; then their gradients.
    parts: [Vec<f32>; 3],
    grads: [Vec<f32>; 3],
    mixed: Vec<f32>,
    /// One inverse for each head of each row.
    head_inv_rms: Vec<f32>,
}

/// Calls `body` and adds its time to `kind`.
fn clock(
    times: &mut Times,
    kind: usize,
    body: impl FnOnce() -> Result<(), ArithError>,
) -> Result<(), ArithError> {
    times[kind] += time(body)?;
    Ok(())
}

/// `y (+)= x W^T`.
fn linear(x: &[f32], (w, inner): &(Vec<f32>, usize), y: &mut [f32], store: Store) -> Result<(), ArithError> {
    let (rows, outer) = (x.len() / inner, w.len() / inner);
    gemm(MatMut::new(y, rows, outer)?, Mat::new(x, rows, *inner)?, Mat::new(w, outer, *inner)?.t(), store)
}

/// `dx (+)= dy W` and `dw = dy^T x`.
fn linear_back(
    (dy, x): (&[f32], &[f32]),
    (w, inner): &(Vec<f32>, usize),
    dx: &mut [f32],
    dw: &mut [f32],
    store: Store,
) -> Result<(), ArithError> {
    let (rows, outer, inner) = (x.len() / inner, w.len() / inner, *inner);
    gemm(MatMut::new(dx, rows, inner)?, Mat::new(dy, rows, outer)?, Mat::new(w, outer, inner)?, store)?;
    gemm(
        MatMut::new(dw, outer, inner)?,
        Mat::new(dy, rows, outer)?.t(),
        Mat::new(x, rows, inner)?,
        Store::Set,
    )
}

/// What all sub-layers share.
struct Replay<'a> {
    model: &'a ModelSpec,
    shape: attention::Shape,
    positions: Vec<u32>,
    table: rope::RopeTable,
    gain: Vec<f32>,
    dgain: Vec<f32>,
    head_gain: Vec<f32>,
    head_dgain: Vec<f32>,
    dx: Vec<f32>,
    dnormed: Vec<f32>,
}

impl Replay<'_> {
    fn forward(&self, b: &mut Buffers, times: &mut Times) -> Result<(), ArithError> {
        let eps = self.model.norm_eps.f32();
        clock(times, NORM, || norm::rms_forward(&b.x, &self.gain, eps, &mut b.normed, &mut b.inv_rms))?;
        if b.kind == SubLayerKind::Mlp {
            let [gate, up, inner] = &mut b.parts;
            clock(times, GEMM, || {
                linear(&b.normed, &b.weights[0], gate, Store::Set)?;
                linear(&b.normed, &b.weights[1], up, Store::Set)
            })?;
            clock(times, SWIGLU, || swiglu::forward(gate, up, inner))?;
            return clock(times, GEMM, || linear(inner, &b.weights[2], &mut b.mixed, Store::Add));
        }
        for (part, weights) in b.parts.iter_mut().zip(&b.weights) {
            clock(times, GEMM, || linear(&b.normed, weights, part, Store::Set))?;
        }
        let [q, k, v] = &mut b.parts;
        if self.model.qk_norm {
            for (part, grad) in [(&mut *q, &b.grads[0]), (&mut *k, &b.grads[1])] {
                let inverses = &mut b.head_inv_rms[..part.len() / self.shape.head_dim];
                clock(times, NORM, || norm::rms_forward(grad, &self.head_gain, eps, part, inverses))?;
            }
        }
        clock(times, ROPE, || {
            rope::rotate(q, self.shape.heads, &self.positions, &self.table)?;
            rope::rotate(k, self.shape.kv_heads, &self.positions, &self.table)
        })?;
        clock(times, ATTENTION, || attention::forward(self.shape, q, k, v, &mut b.mixed))?;
        clock(times, GEMM, || linear(&b.mixed, &b.weights[3], &mut b.normed, Store::Add))
    }

    fn backward(&mut self, b: &mut Buffers, times: &mut Times) -> Result<(), ArithError> {
        let last = b.weights.len() - 1;
        let Buffers { weights, gradients, parts, grads, .. } = b;
        if b.kind == SubLayerKind::Mlp {
            let [gate, up, inner] = &*parts;
            let [dgate, dup, dinner] = grads;
            clock(times, GEMM, || {
                linear_back((&self.dx, inner), &weights[last], dinner, &mut gradients[last], Store::Set)
            })?;
            clock(times, SWIGLU, || swiglu::backward(gate, up, dinner, dgate, dup))?;
            for (index, grad) in [&*dgate, &*dup].into_iter().enumerate() {
                let store = if index == 0 { Store::Set } else { Store::Add };
                let (weights, gradient) = (&weights[index], &mut gradients[index]);
                clock(times, GEMM, || {
                    linear_back((grad, &b.normed), weights, &mut self.dnormed, gradient, store)
                })?;
            }
        } else {
            clock(times, GEMM, || {
                let (w, dw) = (&weights[last], &mut gradients[last]);
                linear_back((&self.dx, &b.mixed), w, &mut self.dnormed, dw, Store::Set)
            })?;
            let [q, k, v] = &*parts;
            let [dq, dk, dv] = &mut *grads;
            clock(times, ATTENTION, || attention::backward(self.shape, q, k, v, &self.dnormed, dq, dk, dv))?;
            clock(times, ROPE, || {
                rope::rotate_back(dq, self.shape.heads, &self.positions, &self.table)?;
                rope::rotate_back(dk, self.shape.kv_heads, &self.positions, &self.table)
            })?;
            if self.model.qk_norm {
                for (raw, grad) in [(q, &mut *dq), (k, &mut *dk)] {
                    let inverses = &b.head_inv_rms[..raw.len() / self.shape.head_dim];
                    let (gain, dgain) = (&self.head_gain, &mut self.head_dgain);
                    clock(times, NORM, || {
                        norm::rms_backward(raw, gain, inverses, raw, grad, dgain, Store::Set)
                    })?;
                }
            }
            for (index, grad) in grads.iter().enumerate() {
                let store = if index == 0 { Store::Set } else { Store::Add };
                let (weights, gradient) = (&weights[index], &mut gradients[index]);
                clock(times, GEMM, || {
                    linear_back((grad, &b.normed), weights, &mut self.dnormed, gradient, store)
                })?;
            }
        }
        clock(times, NORM, || {
            let (gain, dgain) = (&self.gain, &mut self.dgain);
            norm::rms_backward(&b.x, gain, &b.inv_rms, &self.dnormed, &mut self.dx, dgain, Store::Set)
        })
    }
}

/// The output head of a last stage: its table, the table's gradient, logits and their gradient.
struct Head {
    table: (Vec<f32>, usize),
    gradient: Vec<f32>,
    logits: Vec<f32>,
    dlogits: Vec<f32>,
}

/// Final norm, head and loss of a last stage.
fn top(
    subject: &Subject,
    replay: &mut Replay,
    head: &mut Head,
    forward: &mut Times,
    backward: &mut Times,
) -> Result<(), ArithError> {
    let (rows, eps) = (subject.rows, replay.model.norm_eps.f32());
    let Replay { gain, dgain, dx, dnormed, .. } = replay;
    let Head { table, gradient, logits, dlogits } = head;
    let (mut inv_rms, mut losses, mut below) = (vec![0.0; rows], vec![0.0; rows], vec![0.0; dnormed.len()]);
    clock(forward, NORM, || norm::rms_forward(dx, gain, eps, dnormed, &mut inv_rms))?;
    clock(forward, GEMM, || linear(dnormed, table, logits, Store::Set))?;
    let scale = 1.0 / rows as f32;
    clock(backward, LOSS, || {
        loss::cross_entropy(logits, &subject.labels, &mut losses, Some(dlogits), scale)
    })?;
    clock(backward, GEMM, || linear_back((dlogits, dnormed), table, &mut below, gradient, Store::Set))?;
    clock(backward, NORM, || norm::rms_backward(dnormed, gain, &inv_rms, &below, dx, dgain, Store::Set))
}

/// Times of one microbatch by kind, one sample for each round.
pub(crate) fn replay(subject: &Subject, pass: Pass, rounds: u32) -> Result<Vec<Timing>, BenchError> {
    let spec = subject.weights.spec();
    let (model, plan, rows) = (&spec.model, subject.weights.plan(), subject.rows);
    let (d, ff, kv) = (model.d_model as usize, model.d_ff as usize, model.kv_width());
    let (seq, sequences) = (model.seq_len, spec.batch.sequences);
    let mut replay = Replay {
        model,
        shape: attention::Shape {
            batch: sequences as usize,
            seq: seq as usize,
            heads: model.heads as usize,
            kv_heads: model.kv_heads as usize,
            head_dim: model.head_dim(),
        },
        positions: (0..sequences).flat_map(|_| 0..seq).collect(),
        table: rope::RopeTable::new(seq as usize, model.head_dim(), model.rope_theta.get())?,
        gain: vec![1.0; d],
        dgain: vec![0.0; d],
        head_gain: vec![1.0; model.head_dim()],
        head_dgain: vec![0.0; model.head_dim()],
        dx: data::numbers(1, rows * d, 0.02),
        dnormed: vec![0.0; rows * d],
    };
    let numbers = |width: usize, deviation| data::numbers(width as u64, rows * width, deviation);
    let mut buffers = Vec::new();
    for sub_layer in &plan.sub_layers {
        let (sizes, widths) = match sub_layer.kind {
            SubLayerKind::Attention => (vec![(d, d), (kv, d), (kv, d), (d, d)], [d, kv, kv]),
            SubLayerKind::Mlp => (vec![(ff, d), (ff, d), (d, ff)], [ff, ff, ff]),
        };
        buffers.push(Buffers {
            kind: sub_layer.kind,
            weights: sizes.iter().map(|&(out, inner)| (data::numbers(9, out * inner, 0.05), inner)).collect(),
            gradients: sizes.iter().map(|&(out, inner)| vec![0.0; out * inner]).collect(),
            x: numbers(d, 1.0),
            normed: numbers(d, 1.0),
            inv_rms: vec![1.0; rows],
            parts: widths.map(|width| numbers(width, 1.0)),
            grads: widths.map(|width| numbers(width, 0.02)),
            mixed: numbers(d, 1.0),
            head_inv_rms: vec![1.0; rows * model.heads as usize],
        });
    }
    let vocab = model.vocab as usize;
    let size = |values: usize| if plan.last { values } else { 0 };
    let mut head = Head {
        table: (data::numbers(8, size(vocab * d), 0.05), d),
        gradient: vec![0.0; size(vocab * d)],
        logits: vec![0.0; size(rows * vocab)],
        dlogits: vec![0.0; size(rows * vocab)],
    };
    let tensors: Vec<Vec<f32>> = plan
        .tensors
        .iter()
        .filter(|t| t.role != Role::Embedding)
        .map(|t| data::numbers(6, t.len(), 0.01))
        .collect();
    let mut sum = vec![0i64; tensors.iter().map(Vec::len).max().unwrap_or(0)];
    let mut samples = vec![Vec::new(); KINDS.len()];
    for round in 0..=rounds {
        progress(&format!("replay {round}/{rounds}"));
        let (mut forward, mut backward) = (Times::default(), Times::default());
        for buffers in &mut buffers {
            replay.forward(buffers, &mut forward)?;
            // Residual outputs pile up on these: keep them ordinary.
            buffers
                .normed
                .iter_mut()
                .chain(&mut buffers.mixed)
                .for_each(|value| *value = value.clamp(-3.0, 3.0));
        }
        if plan.last {
            top(subject, &mut replay, &mut head, &mut forward, &mut backward)?;
        }
        for buffers in buffers.iter_mut().rev() {
            replay.backward(buffers, &mut backward)?;
        }
        for tensor in &tensors {
            let sum = &mut sum[..tensor.len()];
            clock(&mut backward, ROUNDING, || grid::quantise_add(tensor, -30, sum))?;
        }
        replay.dx.iter_mut().for_each(|value| *value = value.clamp(-1.0, 1.0));
        // The first round only warms up.
        for (kind, samples) in samples.iter_mut().enumerate().filter(|_| round > 0) {
            let mut total = forward[kind] * pass.forwards();
            total += backward[kind];
            samples.push(total);
        }
    }
    progress("");
    Ok(samples.into_iter().map(Timing::new).collect())
}

/// Rows of the kinds that took time, and of the rest of the stage's time.
pub(crate) fn rows(stage: &str, parts: &[Timing], whole: &Timing, tokens: f64) -> Vec<Row> {
    let whole = whole.median();
    let mut rest = whole;
    let mut rows = Vec::new();
    for (kind, timing) in KINDS.iter().zip(parts) {
        let median = timing.median();
        rest += median * -1.0;
        if median.wall > 0.0 {
            let row = Row::rate(format!("{stage}/operation={kind}"), "tokens/s", tokens, timing);
            rows.push(row.with("share_%", 100.0 * median.wall / whole.wall));
        }
    }
    let share = 100.0 * rest.wall / whole.wall;
    let row = Row::rate(format!("{stage}/operation=other"), "tokens/s", tokens, &Timing::new(vec![rest]));
    rows.push(row.with("share_%", share));
    rows
}
