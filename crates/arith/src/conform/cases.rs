//! Put every operation through its hard cases.
//!
//! Sizes cross what an implementation may cut by: vectors of 16 and their rests, tiles, blocks of 256, and the
//! least amounts of work that are divided over threads. Beyond that they are small, so that a build without
//! optimisation and without a fused multiply-add instruction still finishes in seconds.

use super::{
    inputs::{Inputs, Leaf},
    operations::Operations,
};
use crate::{ArithError, Mat, Store, attention, optim, quantise::Format, rope};

type Done = Result<(), ArithError>;

const SIZES: [usize; 5] = [1, 3, 17, 255, 257];

/// Values times `factor`: with 1e-39 subnormal, with 1e-20 of subnormal products. Beside large ones, as among hostile
/// values, what becomes of them would not show.
fn times(factor: f32, mut x: Vec<f32>) -> Vec<f32> {
    x.iter_mut().for_each(|x| *x *= factor);
    x
}

pub(super) fn products(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    let mut shapes = Vec::new();
    for m in [1, 3, 17] {
        for n in [1, 3, 17, 33] {
            shapes.extend(SIZES.map(|k| (m, n, k)));
        }
    }
    // Rows and columns beyond one tile, one panel and one thread; several blocks of k.
    shapes.extend([(255, 3, 17), (3, 257, 17), (197, 34, 65), (13, 1541, 5), (26, 65, 65)]);
    shapes.extend([(2, 9, 512), (13, 33, 513), (40, 70, 300), (1, 40, 1025)]);
    // Enough work for eight threads.
    shapes.push((129, 513, 257));
    for (case, (m, n, k)) in shapes.into_iter().enumerate() {
        let hostile = case % 4 == 3;
        let (a, b) = (inputs.either(hostile, m * k), inputs.either(hostile, k * n));
        let mut c = inputs.either(hostile, m * n);
        // nn, tn as in dW = dY' X, and nt as in Y = X W'.
        let a = if case % 3 == 1 { Mat::new(&a, k, m)?.t() } else { Mat::new(&a, m, k)? };
        let b = if case % 3 == 2 { Mat::new(&b, n, k)?.t() } else { Mat::new(&b, k, n)? };
        let store = if case % 2 == 0 { Store::Set } else { Store::Add };
        (ops.gemm)(&mut c, a, b, store)?;
        leaf.add(&c);
    }
    Ok(())
}

/// Products that are not symmetric show which half is computed; thin, square and long ones, beyond one block of k.
pub(super) fn symmetric_products(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    let shapes = [(1, 1), (2, 3), (3, 17), (17, 256), (33, 257), (40, 40), (65, 5), (97, 600), (130, 33)];
    for (case, (n, k)) in shapes.into_iter().enumerate() {
        let hostile = case % 4 == 3;
        let (a, b) = (inputs.either(hostile, n * k), inputs.either(hostile, n * k));
        let mut c = inputs.ordinary(n * n);
        // A A' and A' A as in Newton-Schulz, and a product of two operands.
        let (rows, columns) = (Mat::new(&a, n, k)?, Mat::new(&a, k, n)?);
        for (a, b) in [(rows, rows.t()), (columns.t(), columns), (rows, Mat::new(&b, k, n)?)] {
            (ops.gemm_symmetric)(&mut c, a, b)?;
            leaf.add(&c);
        }
    }
    // Products that are subnormal, and enough work for eight threads.
    for (n, k, factor) in [(9, 5, 1e-20), (193, 460, 1.0)] {
        let (a, mut c) = (times(factor, inputs.ordinary(n * k)), vec![0.0; n * n]);
        let a = Mat::new(&a, n, k)?;
        (ops.gemm_symmetric)(&mut c, a, a.t())?;
        leaf.add(&c);
    }
    Ok(())
}

pub(super) fn reductions(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for len in SIZES.into_iter().chain([0, 16, 5003]) {
        for hostile in [false, true] {
            let (x, y) = (inputs.either(hostile, len), inputs.either(hostile, len));
            leaf.add(&[(ops.sum)(&x), (ops.sum_squares)(&x), (ops.dot)(&x, &y)?, (ops.max)(&x)]);
        }
    }
    // In long vectors the last rounding hides that of a product; short ones of few terms a lane show it.
    for len in 18..82 {
        let (x, y) = (inputs.ordinary(len), inputs.ordinary(len));
        leaf.add(&[(ops.sum)(&x), (ops.sum_squares)(&x), (ops.dot)(&x, &y)?, (ops.max)(&x)]);
        // Terms, and then products, that are subnormal.
        let (tiny, small) = (times(1e-39, x.clone()), times(1e-20, x));
        leaf.add(&[(ops.sum)(&tiny), (ops.max)(&tiny), (ops.sum_squares)(&small), (ops.dot)(&tiny, &y)?]);
    }
    Ok(())
}

pub(super) fn functions(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    let mut x = vec![0.0, -0.0, 1.0, -1.0, 88.72, 88.73, -87.3, -87.4, -103.9, -104.1, f32::MAX, f32::MIN];
    x.extend([f32::MIN_POSITIVE, f32::from_bits(1), f32::INFINITY, f32::NEG_INFINITY, f32::NAN]);
    // Every 2^17th bit pattern: all exponents and signs.
    x.extend((0..1 << 15).map(|high: u32| f32::from_bits(high << 17 | inputs.next() as u32 & 0x1_ffff)));
    // Where the functions bend.
    x.extend(inputs.ordinary(5000));
    for function in [ops.exp, ops.log, ops.sigmoid, ops.silu, ops.rsqrt] {
        let mut y = x.clone();
        function(&mut y);
        leaf.add(&y);
    }
    Ok(())
}

pub(super) fn softmaxes(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for len in SIZES {
        // Scores far apart have subnormal exponentials.
        for mut x in [inputs.ordinary(len), inputs.hostile(len), times(16.0, inputs.ordinary(len))] {
            (ops.softmax)(&mut x);
            leaf.add(&x);
        }
    }
    Ok(())
}

pub(super) fn norms(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for (rows, d) in [(1, 1), (3, 17), (17, 257), (515, 33)] {
        for hostile in [false, true] {
            let x = inputs.either(hostile, rows * d);
            let (gain, dy) = (inputs.ordinary(d), inputs.ordinary(rows * d));
            let (mut out, mut inverse) = (vec![0.0; rows * d], vec![0.0; rows]);
            (ops.rms_forward)(&x, &gain, 1e-5, &mut out, &mut inverse)?;
            leaf.add(&out);
            leaf.add(&inverse);
            let (mut dx, mut dgain) = (inputs.ordinary(rows * d), inputs.ordinary(d));
            for store in [Store::Add, Store::Set] {
                (ops.rms_backward)(&x, &gain, &inverse, &dy, &mut dx, &mut dgain, store)?;
                leaf.add(&dx);
                leaf.add(&dgain);
            }
        }
    }
    // Gains and gradients that are subnormal, and sums of subnormal numbers.
    for (rows, d) in [(3, 17), (17, 5)] {
        let (x, gain, dy) = (inputs.ordinary(rows * d), inputs.ordinary(d), inputs.ordinary(rows * d));
        let (faint_gain, faint_dy) = (times(1e-39, gain.clone()), times(1e-39, dy));
        let (mut out, mut inverse) = (vec![0.0; rows * d], vec![0.0; rows]);
        (ops.rms_forward)(&x, &faint_gain, 1e-5, &mut out, &mut inverse)?;
        leaf.add(&out);
        let (mut dx, mut dgain) = (times(1e-39, inputs.ordinary(rows * d)), times(1e-39, inputs.ordinary(d)));
        for store in [Store::Add, Store::Set] {
            (ops.rms_backward)(&x, &gain, &inverse, &faint_dy, &mut dx, &mut dgain, store)?;
            leaf.add(&dx);
            leaf.add(&dgain);
        }
        // Without epsilon, squares that are subnormal.
        (ops.rms_forward)(&times(1e-20, x), &gain, 0.0, &mut out, &mut inverse)?;
        leaf.add(&out);
        leaf.add(&inverse);
    }
    Ok(())
}

pub(super) fn rotations(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for (positions, heads, head_dim, theta) in
        [(1, 1, 2, 10_000.0), (257, 3, 34, 10_000.0), (97, 2, 64, 500_000.0)]
    {
        let table = rope::RopeTable::new(positions, head_dim, theta)?;
        let at: Vec<u32> = (0..positions as u32).rev().collect();
        for hostile in [false, true] {
            let mut x = inputs.either(hostile, positions * heads * head_dim);
            (ops.rotate)(&mut x, heads, &at, &table)?;
            leaf.add(&x);
            (ops.rotate_back)(&mut x, heads, &at, &table)?;
            leaf.add(&x);
        }
    }
    Ok(())
}

pub(super) fn attentions(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for (batch, seq, heads, kv_heads, head_dim) in
        [(1, 1, 1, 1, 1), (3, 17, 2, 1, 3), (2, 65, 4, 2, 17), (1, 290, 2, 1, 5)]
    {
        let shape = attention::Shape { batch, seq, heads, kv_heads, head_dim };
        let (many, few) = (batch * seq * heads * head_dim, batch * seq * kv_heads * head_dim);
        let (q, k, dout) = (inputs.ordinary(many), inputs.ordinary(few), inputs.ordinary(many));
        let mut v = inputs.ordinary(few);
        v.iter_mut().step_by(5).for_each(|v| *v = -v.abs() * 1e-40);
        attention_case(ops, leaf, shape, [&q, &k, &v, &dout])?;
        // Probabilities, gradients of scores and their sums that are subnormal.
        let (apart, faint) = (times(32.0, q), times(1e-39, dout));
        attention_case(ops, leaf, shape, [&apart, &k, &v, &faint])?;
    }
    // All probabilities of a row are equal and its products vanish, so a row is -0, unless a chain runs on to the first
    // positive value: a row must not depend on the rows after it, even by a zero's sign.
    let shape = attention::Shape { batch: 1, seq: 66, heads: 1, kv_heads: 1, head_dim: 11 };
    let len = shape.seq * shape.head_dim;
    let (q, k) = (vec![0.0; len], inputs.ordinary(len));
    let least = |at: usize| if at / 11 < 2 + at % 11 * 6 { -f32::from_bits(1) } else { 1.0 };
    let v: Vec<f32> = (0..len).map(least).collect();
    attention_case(ops, leaf, shape, [&q, &k, &v, &v])
}

/// Attention of q, k and v, and its gradients for dout.
fn attention_case(ops: &Operations, leaf: &mut Leaf, shape: attention::Shape, given: [&[f32]; 4]) -> Done {
    let [q, k, v, dout] = given;
    let mut out = vec![0.0; q.len()];
    (ops.attention)(shape, q, k, v, &mut out)?;
    leaf.add(&out);
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; k.len()]);
    (ops.attention_backward)(shape, q, k, v, dout, &mut dq, &mut dk, &mut dv)?;
    for values in [&dq, &dk, &dv] {
        leaf.add(values);
    }
    Ok(())
}

pub(super) fn decodes(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for (heads, kv_heads, head_dim) in [(1, 1, 1), (6, 2, 17), (4, 4, 33)] {
        for keys in [1, 16, 255, 256, 257, 515] {
            let (q, mut k) = (inputs.ordinary(heads * head_dim), inputs.ordinary(keys * kv_heads * head_dim));
            let v = inputs.hostile(k.len());
            // Scores far apart: most probabilities vanish.
            k.iter_mut().step_by(7).for_each(|k| *k *= 64.0);
            let mut row = vec![0.0; q.len()];
            (ops.decode)(heads, kv_heads, head_dim, &q, &k, &v, &mut row)?;
            leaf.add(&row);
        }
    }
    Ok(())
}

pub(super) fn gates(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for len in [1, 17, 33_001] {
        for hostile in [false, true] {
            let mut fill = || inputs.either(hostile, len);
            let (gate, up, dout) = (fill(), fill(), fill());
            let (mut out, mut dgate, mut dup) = (vec![0.0; len], vec![0.0; len], vec![0.0; len]);
            (ops.swiglu)(&gate, &up, &mut out)?;
            (ops.swiglu_backward)(&gate, &up, &dout, &mut dgate, &mut dup)?;
            for values in [&out, &dgate, &dup] {
                leaf.add(values);
            }
        }
    }
    Ok(())
}

pub(super) fn losses(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for (rows, vocab) in [(1, 1), (3, 17), (17, 257), (9, 1003)] {
        for hostile in [false, true] {
            let logits = inputs.either(hostile, rows * vocab);
            let targets = inputs.indices(rows, vocab as u64);
            let (mut losses, mut gradient) = (vec![0.0; rows], vec![0.0; rows * vocab]);
            (ops.cross_entropy)(&logits, &targets, &mut losses, Some(&mut gradient), 1.0 / 3.0)?;
            leaf.add(&losses);
            leaf.add(&gradient);
            (ops.cross_entropy)(&logits, &targets, &mut losses, None, 1.0)?;
            leaf.add(&losses);
        }
        // Logits far apart have subnormal probabilities; a small scale makes subnormal gradients.
        for (spread, scale) in [(16.0, 1.0), (1.0, 1e-38)] {
            let logits = times(spread, inputs.ordinary(rows * vocab));
            let targets = inputs.indices(rows, vocab as u64);
            let (mut losses, mut gradient) = (vec![0.0; rows], vec![0.0; rows * vocab]);
            (ops.cross_entropy)(&logits, &targets, &mut losses, Some(&mut gradient), scale)?;
            leaf.add(&losses);
            leaf.add(&gradient);
        }
    }
    Ok(())
}

pub(super) fn embeddings(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for (vocab, d, count) in [(1, 1, 3), (17, 33, 255)] {
        let mut table = inputs.hostile(vocab * d);
        let tokens = inputs.indices(count, vocab as u64);
        let mut out = vec![0.0; count * d];
        (ops.gather)(&table, d, &tokens, &mut out)?;
        leaf.add(&out);
        (ops.scatter_add)(&mut table, d, &tokens, &inputs.ordinary(count * d))?;
        leaf.add(&table);
    }
    Ok(())
}

pub(super) fn elements(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    // The last is divided over three threads.
    for len in SIZES.into_iter().chain([80_003]) {
        for hostile in [false, true] {
            let (mut x, y) = (inputs.either(hostile, len), inputs.either(hostile, len));
            let mut out = vec![0.0; len];
            (ops.add)(&x, &y, &mut out)?;
            leaf.add(&out);
            (ops.add_assign)(&mut x, &y)?;
            leaf.add(&x);
            // Ordinary values become subnormal, subnormal ones normal.
            for factor in [1e-38, 1.0 / 3.0, 3e38] {
                let mut scaled = y.clone();
                (ops.scale)(&mut scaled, factor);
                leaf.add(&scaled);
            }
        }
    }
    Ok(())
}

pub(super) fn adamws(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    let step = optim::AdamW {
        learning_rate: 3e-4,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        correction1: 10.0,
        correction2: 20.0,
    };
    for len in SIZES.into_iter().chain([33_001]) {
        let (mut weight, mut first) = (inputs.ordinary(len), inputs.ordinary(len));
        let mut second: Vec<f32> = inputs.ordinary(len).iter().map(|x| x.abs()).collect();
        for grad in [inputs.ordinary(len), inputs.hostile(len)] {
            (ops.adamw)(&step, &mut weight, &mut first, &mut second, &grad)?;
            leaf.add(&weight);
            leaf.add(&first);
            leaf.add(&second);
        }
    }
    // Where epsilon counts, and where moments and weights are subnormal.
    for factor in [1e-8, 1e-20, 1e-39] {
        let len = 65;
        let (mut weight, mut first) =
            (times(factor, inputs.ordinary(len)), times(factor, inputs.ordinary(len)));
        let square = |x: f32| (x * factor) * (x * factor);
        let mut second: Vec<f32> = inputs.ordinary(len).into_iter().map(square).collect();
        let grad = times(factor, inputs.ordinary(len));
        (ops.adamw)(&step, &mut weight, &mut first, &mut second, &grad)?;
        leaf.add(&weight);
        leaf.add(&first);
        leaf.add(&second);
    }
    Ok(())
}

pub(super) fn momenta(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for len in SIZES {
        for hostile in [false, true] {
            let (mut buffer, mut direction) = (inputs.ordinary(len), vec![0.0; len]);
            for nesterov in [false, true] {
                let grad = inputs.either(hostile, len);
                (ops.momentum)(&mut buffer, &grad, 0.95, nesterov, &mut direction)?;
                leaf.add(&buffer);
                leaf.add(&direction);
            }
            let mut weight = inputs.ordinary(len);
            (ops.descend)(&mut weight, &direction, 0.02, 0.01)?;
            leaf.add(&weight);
        }
        let (mut buffer, mut direction) = (times(1e-39, inputs.ordinary(len)), vec![0.0; len]);
        (ops.momentum)(&mut buffer, &times(1e-39, inputs.ordinary(len)), 0.95, true, &mut direction)?;
        leaf.add(&buffer);
        leaf.add(&direction);
        let mut weight = times(1e-38, inputs.ordinary(len));
        (ops.descend)(&mut weight, &direction, 0.02, 0.01)?;
        leaf.add(&weight);
    }
    Ok(())
}

pub(super) fn clips(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for len in SIZES {
        let (mut a, mut b) = (inputs.ordinary(len), inputs.ordinary(7));
        leaf.add(&[(ops.global_norm)(&[&a, &b]), (ops.global_norm)(&[])]);
        // Within the limit, beyond it, and by much.
        for limit in [1e6, 0.5, 1e-38] {
            leaf.add(&[(ops.clip)(&mut [&mut a, &mut b], limit)?]);
            leaf.add(&a);
            leaf.add(&b);
        }
        // The order of tensors, the last of them empty.
        let mut x =
            [inputs.ordinary(len), inputs.ordinary(5), inputs.ordinary(33), inputs.ordinary(1), vec![]];
        let mut tensors: Vec<&mut [f32]> = x.iter_mut().map(Vec::as_mut_slice).collect();
        leaf.add(&[(ops.clip)(&mut tensors, 0.1)?]);
        let tensors: Vec<&[f32]> = x.iter().map(Vec::as_slice).collect();
        leaf.add(&[(ops.global_norm)(&tensors)]);
        x.iter().for_each(|x| leaf.add(x));
    }
    Ok(())
}

pub(super) fn orthogonalisations(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for (rows, cols) in [(1, 1), (3, 17), (17, 3), (33, 33), (20, 67), (67, 20), (5, 300)] {
        let mut m = inputs.ordinary(rows * cols);
        (ops.newton_schulz)(&mut m, rows, cols, 5)?;
        leaf.add(&m);
    }
    // Rank one, zero, and values whose squares vanish.
    for mut m in [vec![0.5; 15], vec![0.0; 15], inputs.hostile(15).iter().map(|x| x * 1e-30).collect()] {
        (ops.newton_schulz)(&mut m, 3, 5, 5)?;
        leaf.add(&m);
    }
    Ok(())
}

pub(super) fn gram_orthogonalisations(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for (rows, cols) in [(1, 1), (3, 17), (17, 3), (33, 33), (20, 67), (67, 20), (5, 300), (300, 5)] {
        for steps in [1, 2, 5] {
            let mut m = inputs.ordinary(rows * cols);
            (ops.newton_schulz_gram)(&mut m, rows, cols, steps)?;
            leaf.add(&m);
        }
    }
    // Rank one, zero, values whose squares vanish, and no step at all.
    let faint: Vec<f32> = inputs.hostile(15).iter().map(|x| x * 1e-30).collect();
    for (mut m, steps) in [(vec![0.5; 15], 5), (vec![0.0; 15], 5), (faint, 5), (inputs.ordinary(15), 0)] {
        (ops.newton_schulz_gram)(&mut m, 3, 5, steps)?;
        leaf.add(&m);
    }
    Ok(())
}

/// Which of the two forms a matrix takes: at, below and beyond the ratio of its sides where they change.
pub(super) fn chosen_orthogonalisations(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for (rows, cols) in [(1, 1), (1, 2), (9, 18), (9, 17), (17, 9), (18, 9), (19, 9), (7, 7), (5, 40)] {
        let mut m = inputs.ordinary(rows * cols);
        (ops.orthogonalise)(&mut m, rows, cols, 5)?;
        leaf.add(&m);
    }
    Ok(())
}

/// The forms that replace their operands.
pub(super) fn in_place(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for (rows, vocab) in [(1, 1), (3, 17), (17, 257)] {
        for hostile in [false, true] {
            let mut logits = inputs.either(hostile, rows * vocab);
            let (targets, mut losses) = (inputs.indices(rows, vocab as u64), vec![0.0; rows]);
            (ops.cross_entropy_in_place)(&mut logits, &targets, &mut losses, 1.0 / 3.0)?;
            leaf.add(&losses);
            leaf.add(&logits);
            let mut fill = || inputs.either(hostile, rows * vocab);
            let (mut gate, mut up, mut dout) = (fill(), fill(), fill());
            (ops.swiglu_in_place)(&mut gate, &mut up, &mut dout)?;
            for values in [&gate, &up, &dout] {
                leaf.add(values);
            }
        }
    }
    Ok(())
}

pub(super) fn grids(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for exponent in [-126, -40, -10, 0, 100, 127] {
        let mut sum = vec![0; 257];
        for g in [inputs.ordinary(257), inputs.hostile(257)] {
            (ops.quantise_add)(&g, exponent, &mut sum)?;
            leaf.add_integers(&sum);
        }
        let mut other = vec![-3; 257];
        (ops.quantise_sub)(&inputs.ordinary(257), exponent, &mut other)?;
        (ops.merge)(&mut sum, &other)?;
        leaf.add_integers(&sum);
        let mut out = vec![0.0; 257];
        (ops.dequantise)(&sum, exponent, 1.0 / 3.0, &mut out)?;
        leaf.add(&out);
        sum.iter_mut().for_each(|n| *n = n.wrapping_mul(0x1234_5678_9abc));
        (ops.dequantise)(&sum, exponent, 0.1, &mut out)?;
        leaf.add(&out);
    }
    // Divided over three threads.
    let (g, mut sum, mut out) = (inputs.hostile(80_003), vec![5; 80_003], vec![0.0; 80_003]);
    (ops.quantise_add)(&g, -20, &mut sum)?;
    leaf.add_integers(&sum);
    (ops.quantise_sub)(&inputs.ordinary(80_003), -20, &mut sum)?;
    (ops.merge)(&mut sum, &vec![11; 80_003])?;
    leaf.add_integers(&sum);
    (ops.dequantise)(&sum, -20, 1.0 / 3.0, &mut out)?;
    leaf.add(&out);
    // Ties, in both directions.
    let mut sum = vec![0; 65];
    let ties: Vec<f32> = (-32..33).map(|n| n as f32 * 0.5).collect();
    (ops.quantise_add)(&ties, 0, &mut sum)?;
    leaf.add_integers(&sum);
    Ok(())
}

pub(super) fn quantisers(ops: &Operations, inputs: &mut Inputs, leaf: &mut Leaf) -> Done {
    for format in Format::ALL {
        for (rows, width) in [(1, 1), (3, 17), (2, 64), (3, 65), (1, 257)] {
            for hostile in [false, true] {
                let mut x = inputs.either(hostile, rows * width);
                // The largest exponents come back finite only up to a limit.
                x.iter_mut().filter(|x| x.abs() > 1e38).for_each(|x| *x *= 0.5);
                x.iter_mut().step_by(11).for_each(|x| *x *= 1e-39);
                let mut bytes = vec![0; format.bytes(rows, width).unwrap_or(0)];
                (ops.encode)(format, &x, width, &mut bytes)?;
                leaf.add_bytes(&bytes);
                (ops.decode_wire)(format, &bytes, width, &mut x)?;
                leaf.add(&x);
            }
        }
        // Ties: halves and quarters of every integer.
        let x: Vec<f32> = (-508..=508).map(|n| n as f32 * 0.25).collect();
        let mut bytes = vec![0; format.bytes(1, x.len()).unwrap_or(0)];
        (ops.encode)(format, &x, x.len(), &mut bytes)?;
        leaf.add_bytes(&bytes);
    }
    Ok(())
}
