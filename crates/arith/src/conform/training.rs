//! Train a very small decoder for three steps with nothing but this crate's operations.
//!
//! One block (attention and SwiGLU), an embedding and a head; all sizes odd or nearly so. Two microbatches meet
//! on the integer grid; Muon moves the matrices of the block, AdamW the rest. A mistake in any operation
//! that the single cases let through must survive three steps of use to stay hidden.

use super::{
    inputs::{Inputs, Leaf},
    operations::Operations,
};
use crate::{ArithError, Mat, Store, attention::Shape, optim, rope::RopeTable};

const VOCAB: usize = 37;
const WIDTH: usize = 18;
const HEADS: usize = 3;
const KV_HEADS: usize = 1;
const HEAD_DIM: usize = WIDTH / HEADS;
const KV_WIDTH: usize = KV_HEADS * HEAD_DIM;
const GATED: usize = 29;
const BATCH: usize = 2;
const SEQ: usize = 11;
const ROWS: usize = BATCH * SEQ;
const STEPS: i32 = 3;
const MICROBATCHES: usize = 2;
const EXPONENT: i32 = -30;
const EPSILON: f32 = 1e-5;

/// Shapes [out, in] of the weights; a gain has one row. `Muon` matrices are those from Q to DOWN.
const SHAPES: [(usize, usize); 12] = [
    (VOCAB, WIDTH),
    (WIDTH, WIDTH),
    (KV_WIDTH, WIDTH),
    (KV_WIDTH, WIDTH),
    (WIDTH, WIDTH),
    (GATED, WIDTH),
    (GATED, WIDTH),
    (WIDTH, GATED),
    (1, WIDTH),
    (1, WIDTH),
    (1, WIDTH),
    (VOCAB, WIDTH),
];
const EMBED: usize = 0;
const Q: usize = 1;
const K: usize = 2;
const V: usize = 3;
const OUT: usize = 4;
const GATE: usize = 5;
const UP: usize = 6;
const DOWN: usize = 7;
const GAIN_ATTENTION: usize = 8;
const GAIN_GATED: usize = 9;
const GAIN_HEAD: usize = 10;
const HEAD: usize = 11;

type Tensors = Vec<Vec<f32>>;

fn zeros() -> Tensors {
    SHAPES.iter().map(|(rows, cols)| vec![0.0; rows * cols]).collect()
}

/// A pass over one microbatch: weights, and where their gradients go.
struct Pass<'a> {
    ops: &'a Operations,
    weights: &'a Tensors,
    grads: Tensors,
}

impl Pass<'_> {
    /// y = x W'.
    fn project(&self, x: &[f32], weight: usize) -> Result<Vec<f32>, ArithError> {
        let (rows, cols) = SHAPES[weight];
        let mut y = vec![0.0; ROWS * rows];
        let w = Mat::new(&self.weights[weight], rows, cols)?;
        (self.ops.gemm)(&mut y, Mat::new(x, ROWS, cols)?, w.t(), Store::Set)?;
        Ok(y)
    }

    /// dW = dW + dy' x, and dx = dy W or dx + dy W.
    fn project_back(
        &mut self,
        x: &[f32],
        dy: &[f32],
        weight: usize,
        dx: &mut [f32],
        store: Store,
    ) -> Result<(), ArithError> {
        let (rows, cols) = SHAPES[weight];
        let dy = Mat::new(dy, ROWS, rows)?;
        (self.ops.gemm)(&mut self.grads[weight], dy.t(), Mat::new(x, ROWS, cols)?, Store::Add)?;
        let w = Mat::new(&self.weights[weight], rows, cols)?;
        (self.ops.gemm)(dx, dy, w, store)
    }

    fn norm(&self, x: &[f32], gain: usize) -> Result<(Vec<f32>, Vec<f32>), ArithError> {
        let (mut out, mut inverse) = (vec![0.0; x.len()], vec![0.0; ROWS]);
        (self.ops.rms_forward)(x, &self.weights[gain], EPSILON, &mut out, &mut inverse)?;
        Ok((out, inverse))
    }

    fn norm_back(
        &mut self,
        x: &[f32],
        inverse: &[f32],
        gain: usize,
        dy: &[f32],
        dx: &mut [f32],
    ) -> Result<(), ArithError> {
        let dgain = &mut self.grads[gain];
        (self.ops.rms_backward)(x, &self.weights[gain], inverse, dy, dx, dgain, Store::Add)
    }

    /// Computes the losses of the rows and adds up the gradients.
    fn run(&mut self, tokens: &[u32], targets: &[u32], table: &RopeTable) -> Result<Vec<f32>, ArithError> {
        let ops = *self.ops;
        let positions: Vec<u32> = (0..ROWS).map(|row| (row % SEQ) as u32).collect();
        let shape = Shape { batch: BATCH, seq: SEQ, heads: HEADS, kv_heads: KV_HEADS, head_dim: HEAD_DIM };
        let mut x = vec![0.0; ROWS * WIDTH];
        (ops.gather)(&self.weights[EMBED], WIDTH, tokens, &mut x)?;

        let (seen, seen_inverse) = self.norm(&x, GAIN_ATTENTION)?;
        let (mut q, mut k) = (self.project(&seen, Q)?, self.project(&seen, K)?);
        let v = self.project(&seen, V)?;
        (ops.rotate)(&mut q, HEADS, &positions, table)?;
        (ops.rotate)(&mut k, KV_HEADS, &positions, table)?;
        let mut mixed = vec![0.0; ROWS * WIDTH];
        (ops.attention)(shape, &q, &k, &v, &mut mixed)?;
        let mut y = vec![0.0; ROWS * WIDTH];
        (ops.add)(&x, &self.project(&mixed, OUT)?, &mut y)?;

        let (fed, fed_inverse) = self.norm(&y, GAIN_GATED)?;
        let (gate, up) = (self.project(&fed, GATE)?, self.project(&fed, UP)?);
        let mut gated = vec![0.0; ROWS * GATED];
        (ops.swiglu)(&gate, &up, &mut gated)?;
        let mut z = self.project(&gated, DOWN)?;
        (ops.add_assign)(&mut z, &y)?;

        let (last, last_inverse) = self.norm(&z, GAIN_HEAD)?;
        let logits = self.project(&last, HEAD)?;
        let (mut losses, mut dlogits) = (vec![0.0; ROWS], vec![0.0; logits.len()]);
        (ops.cross_entropy)(&logits, targets, &mut losses, Some(&mut dlogits), 1.0 / ROWS as f32)?;

        let mut dlast = vec![0.0; last.len()];
        self.project_back(&last, &dlogits, HEAD, &mut dlast, Store::Set)?;
        // The gradient of the residual stream; each norm adds its part onto it.
        let mut stream = vec![0.0; z.len()];
        self.norm_back(&z, &last_inverse, GAIN_HEAD, &dlast, &mut stream)?;

        let mut dgated = vec![0.0; gated.len()];
        self.project_back(&gated, &stream, DOWN, &mut dgated, Store::Set)?;
        let (mut dgate, mut dup) = (vec![0.0; gate.len()], vec![0.0; up.len()]);
        (ops.swiglu_backward)(&gate, &up, &dgated, &mut dgate, &mut dup)?;
        let mut dfed = vec![0.0; fed.len()];
        self.project_back(&fed, &dgate, GATE, &mut dfed, Store::Set)?;
        self.project_back(&fed, &dup, UP, &mut dfed, Store::Add)?;
        self.norm_back(&y, &fed_inverse, GAIN_GATED, &dfed, &mut stream)?;

        let mut dmixed = vec![0.0; mixed.len()];
        self.project_back(&mixed, &stream, OUT, &mut dmixed, Store::Set)?;
        let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
        (ops.attention_backward)(shape, &q, &k, &v, &dmixed, &mut dq, &mut dk, &mut dv)?;
        (ops.rotate_back)(&mut dq, HEADS, &positions, table)?;
        (ops.rotate_back)(&mut dk, KV_HEADS, &positions, table)?;
        let mut dseen = vec![0.0; seen.len()];
        self.project_back(&seen, &dq, Q, &mut dseen, Store::Set)?;
        self.project_back(&seen, &dk, K, &mut dseen, Store::Add)?;
        self.project_back(&seen, &dv, V, &mut dseen, Store::Add)?;
        self.norm_back(&x, &seen_inverse, GAIN_ATTENTION, &dseen, &mut stream)?;
        (ops.scatter_add)(&mut self.grads[EMBED], WIDTH, tokens, &stream)?;
        Ok(losses)
    }
}

/// Trains and adds losses and weights to `leaf` after each step.
pub(super) fn training(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    let table = RopeTable::new(SEQ, HEAD_DIM, 10_000.0)?;
    let mut weights = zeros();
    for (weight, (rows, _)) in weights.iter_mut().zip(SHAPES) {
        *weight = if rows == 1 { vec![1.0; weight.len()] } else { inputs.ordinary(weight.len()) };
        (ops.scale)(weight, if rows == 1 { 1.0 } else { 0.25 });
    }
    let (mut first, mut second) = (zeros(), zeros());
    for t in 1..=STEPS {
        let mut sums: Vec<Vec<i64>> = SHAPES.iter().map(|(rows, cols)| vec![0; rows * cols]).collect();
        for _ in 0..MICROBATCHES {
            let tokens = inputs.indices(ROWS, VOCAB as u64);
            let targets = inputs.indices(ROWS, VOCAB as u64);
            let mut pass = Pass { ops, weights: &weights, grads: zeros() };
            leaf.add(&pass.run(&tokens, &targets, &table)?);
            for (sum, grad) in sums.iter_mut().zip(&pass.grads) {
                (ops.quantise_add)(grad, EXPONENT, sum)?;
            }
        }
        let mut grads = zeros();
        for (grad, sum) in grads.iter_mut().zip(&sums) {
            (ops.dequantise)(sum, EXPONENT, 1.0 / MICROBATCHES as f32, grad)?;
        }
        let mut all: Vec<&mut [f32]> = grads.iter_mut().map(Vec::as_mut_slice).collect();
        leaf.add(&[(ops.clip)(&mut all, 0.75)?]);
        // Powers by repeated products, in f64: no mathematics library.
        let power = |beta: f64| (0..t).fold(1.0, |power, _| power * beta);
        let step = optim::AdamW {
            learning_rate: 3e-3,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
            correction1: (1.0 / (1.0 - power(0.9))) as f32,
            correction2: (1.0 / (1.0 - power(0.95))) as f32,
        };
        for (at, grad) in grads.iter().enumerate() {
            let weight = &mut weights[at];
            if (Q..=DOWN).contains(&at) {
                let (rows, cols) = SHAPES[at];
                let mut direction = vec![0.0; grad.len()];
                (ops.momentum)(&mut first[at], grad, 0.95, true, &mut direction)?;
                (ops.newton_schulz)(&mut direction, rows, cols, 5)?;
                (ops.descend)(weight, &direction, 0.02, 0.01)?;
            } else {
                (ops.adamw)(&step, weight, &mut first[at], &mut second[at], grad)?;
            }
            leaf.add(weight);
        }
    }
    Ok(())
}
