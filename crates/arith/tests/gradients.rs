//! Backward operations against central differences of f64 forward references.

use tessera_arith::*;

fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// Compares `gradient` with the central differences of `objective` around `x`.
fn check(what: &str, gradient: &[f32], x: &[f32], objective: impl Fn(&[f64]) -> f64) {
    const STEP: f64 = 1e-5;
    let mut x = wide(x);
    for i in 0..x.len() {
        let middle = x[i];
        x[i] = middle + STEP;
        let above = objective(&x);
        x[i] = middle - STEP;
        let below = objective(&x);
        x[i] = middle;
        let slope = (above - below) / (2.0 * STEP);
        let error = (f64::from(gradient[i]) - slope).abs();
        assert!(error < 5e-6 * (1.0 + slope.abs()), "{what}[{i}]: gradient {}, slope {slope}", gradient[i]);
    }
}

fn weigh(out: &[f64], dout: &[f32]) -> f64 {
    out.iter().zip(dout).map(|(out, dout)| out * f64::from(*dout)).sum()
}

fn norm_reference(x: &[f64], gain: &[f64], epsilon: f64) -> Vec<f64> {
    let row = |x: &[f64]| {
        let r = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64 + epsilon).sqrt();
        x.iter().zip(gain).map(|(x, gain)| x * r * gain).collect::<Vec<_>>()
    };
    x.chunks(gain.len()).flat_map(row).collect()
}

#[test]
fn norm() {
    let (rows, d) = (4, 19);
    let (x, gain, dy) = (values(1, rows * d), values(2, d), values(3, rows * d));
    let (mut out, mut inverse) = (vec![0.0; rows * d], vec![0.0; rows]);
    norm::rms_forward(&x, &gain, 0.01, &mut out, &mut inverse).unwrap();
    let (mut dx, mut dgain) = (vec![f32::NAN; rows * d], vec![0.0; d]);
    norm::rms_backward(&x, &gain, &inverse, &dy, &mut dx, &mut dgain, Store::Set).unwrap();
    let epsilon = f64::from(0.01f32);
    check("dx", &dx, &x, |x| weigh(&norm_reference(x, &wide(&gain), epsilon), &dy));
    check("dgain", &dgain, &gain, |gain| weigh(&norm_reference(&wide(&x), gain, epsilon), &dy));
    let before = values(4, rows * d);
    let (mut added, mut twice) = (before.clone(), dgain.clone());
    norm::rms_backward(&x, &gain, &inverse, &dy, &mut added, &mut twice, Store::Add).unwrap();
    for i in 0..rows * d {
        assert_eq!(added[i], before[i] + dx[i]);
    }
    assert!(twice.iter().zip(&dgain).all(|(twice, once)| *twice == once + once), "dgain is added to");
}

fn attention_reference(shape: attention::Shape, q: &[f64], k: &[f64], v: &[f64]) -> Vec<f64> {
    let attention::Shape { batch, seq, heads, kv_heads, head_dim } = shape;
    let (q_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
    let mut out = vec![0.0; q.len()];
    for b in 0..batch {
        for head in 0..heads {
            let offset = head / (heads / kv_heads) * head_dim;
            for i in 0..seq {
                let q_at = (b * seq + i) * q_width + head * head_dim;
                let kv_at = |j: usize| (b * seq + j) * kv_width + offset;
                let scores: Vec<f64> = (0..=i)
                    .map(|j| {
                        let dot: f64 = (0..head_dim).map(|d| q[q_at + d] * k[kv_at(j) + d]).sum();
                        (dot / (head_dim as f64).sqrt()).exp()
                    })
                    .collect();
                let total: f64 = scores.iter().sum();
                for d in 0..head_dim {
                    out[q_at + d] = (0..=i).map(|j| scores[j] * v[kv_at(j) + d]).sum::<f64>() / total;
                }
            }
        }
    }
    out
}

#[test]
fn causal_attention() {
    for (batch, seq, heads, kv_heads, head_dim) in [(2, 5, 4, 2, 3), (1, 67, 2, 1, 2)] {
        let shape = attention::Shape { batch, seq, heads, kv_heads, head_dim };
        let (many, few) = (batch * seq * heads * head_dim, batch * seq * kv_heads * head_dim);
        let (q, k, v, dout) = (values(5, many), values(6, few), values(7, few), values(8, many));
        let (mut dq, mut dk, mut dv) = (vec![f32::NAN; many], vec![f32::NAN; few], vec![f32::NAN; few]);
        attention::backward(shape, &q, &k, &v, &dout, &mut dq, &mut dk, &mut dv).unwrap();
        let objective = |q: &[f64], k: &[f64], v: &[f64]| weigh(&attention_reference(shape, q, k, v), &dout);
        let (wide_q, wide_k, wide_v) = (wide(&q), wide(&k), wide(&v));
        check("dq", &dq, &q, |q| objective(q, &wide_k, &wide_v));
        check("dk", &dk, &k, |k| objective(&wide_q, k, &wide_v));
        check("dv", &dv, &v, |v| objective(&wide_q, &wide_k, v));
    }
}

#[test]
fn gates() {
    let (gate, up, dout) = (values(9, 40), values(10, 40), values(11, 40));
    let (mut dgate, mut dup) = (vec![0.0; 40], vec![0.0; 40]);
    swiglu::backward(&gate, &up, &dout, &mut dgate, &mut dup).unwrap();
    let reference = |gate: &[f64], up: &[f64]| {
        let out: Vec<f64> = gate.iter().zip(up).map(|(g, up)| g / (1.0 + (-g).exp()) * up).collect();
        weigh(&out, &dout)
    };
    check("dgate", &dgate, &gate, |gate| reference(gate, &wide(&up)));
    check("dup", &dup, &up, |up| reference(&wide(&gate), up));
}

#[test]
fn cross_entropy() {
    let (rows, vocab, scale) = (3, 21, 0.25);
    let logits = values(12, rows * vocab);
    let targets = [20, 0, 7];
    let (mut losses, mut gradient) = (vec![0.0; rows], vec![0.0; rows * vocab]);
    loss::cross_entropy(&logits, &targets, &mut losses, Some(&mut gradient), scale).unwrap();
    check("dlogits", &gradient, &logits, |z| {
        let row =
            |(z, target): (&[f64], &u32)| z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[*target as usize];
        z.chunks(vocab).zip(&targets).map(row).sum::<f64>() * f64::from(scale)
    });
}

#[test]
fn rotation() {
    let table = rope::RopeTable::new(10, 8, 10_000.0).unwrap();
    let (x, dy) = (values(13, 32), values(14, 32));
    let positions = [3, 9];
    let mut gradient = dy.clone();
    rope::rotate_back(&mut gradient, 2, &positions, &table).unwrap();
    check("dx", &gradient, &x, |x| {
        let mut out = Vec::new();
        for (at, head) in x.chunks(8).enumerate() {
            let angle = |i: usize| f64::from(positions[at / 2]) * 10_000f64.powf(-2.0 * i as f64 / 8.0);
            out.extend((0..4).map(|i| head[i] * angle(i).cos() - head[i + 4] * angle(i).sin()));
            out.extend((0..4).map(|i| head[i + 4] * angle(i).cos() + head[i] * angle(i).sin()));
        }
        weigh(&out, &dy)
    });
}
