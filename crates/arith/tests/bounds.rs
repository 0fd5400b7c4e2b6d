//! The a-priori error bounds of the module documentation, each measured against f64.

use tessera_arith::*;

const U: f64 = 1.0 / (1u64 << 24) as f64;

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

fn within(what: &str, got: f32, exact: f64, bound: f64) {
    let error = (f64::from(got) - exact).abs();
    assert!(error <= bound, "{what}: got {got:e}, exact {exact:e}, error {error:e} > {bound:e}");
}

#[test]
fn sums() {
    for len in [1, 16, 17, 255, 1000, 10_007] {
        let (x, y) = (values(1, len), values(2, len));
        let rounds = (len as f64 / 16.0 + 5.0) * U;
        let exact = |terms: &[f64]| (terms.iter().sum::<f64>(), terms.iter().map(|t| t.abs()).sum::<f64>());
        let (sum, size) = exact(&wide(&x));
        within("sum", reduce::sum(&x), sum, rounds * size);
        let products: Vec<f64> = wide(&x).iter().zip(wide(&y)).map(|(x, y)| x * y).collect();
        let (dot, size) = exact(&products);
        within("dot", reduce::dot(&x, &y).unwrap(), dot, rounds * size);
    }
}

#[test]
fn softmax_of_logits_far_apart() {
    for len in [1, 17, 1000] {
        let mut x = values(3, len);
        x.iter_mut().for_each(|x| *x *= 20.0);
        let z = wide(&x);
        let largest = z.iter().copied().fold(f64::MIN, f64::max);
        let spread = largest - z.iter().copied().fold(f64::MAX, f64::min);
        let total: f64 = z.iter().map(|z| (z - largest).exp()).sum();
        scalar::softmax(&mut x);
        for (got, z) in x.iter().zip(&z) {
            let exact = (z - largest).exp() / total;
            within("softmax", *got, exact, (2.0 * spread + len as f64 / 16.0 + 11.0) * U * exact);
        }
    }
}

#[test]
fn norm_forward_and_backward() {
    for (rows, d) in [(5, 37), (300, 17), (3, 1000)] {
        let (x, gain, dy) = (values(4, rows * d), values(5, d), values(6, rows * d));
        let (mut out, mut inverse) = (vec![0.0; rows * d], vec![0.0; rows]);
        norm::rms_forward(&x, &gain, 1e-5, &mut out, &mut inverse).unwrap();
        let (mut dx, mut dgain) = (vec![0.0; rows * d], vec![0.0; d]);
        norm::rms_backward(&x, &gain, &inverse, &dy, &mut dx, &mut dgain, Store::Set).unwrap();
        let (x, gain, dy, n) = (wide(&x), wide(&gain), wide(&dy), d as f64);
        for row in 0..rows {
            let at = row * d..(row + 1) * d;
            let (x, dy) = (&x[at.clone()], &dy[at.clone()]);
            let r = 1.0 / (x.iter().map(|x| x * x).sum::<f64>() / n + f64::from(1e-5f32)).sqrt();
            // The backward pass takes the computed 1 / rms as given.
            let given = f64::from(inverse[row]);
            let u: Vec<f64> = x.iter().map(|x| x * given).collect();
            let w: Vec<f64> = dy.iter().zip(&gain).map(|(dy, gain)| dy * gain).collect();
            let products: Vec<f64> = u.iter().zip(&w).map(|(u, w)| u * w).collect();
            let t = products.iter().sum::<f64>() / n;
            let size = products.iter().map(|p| p.abs()).sum::<f64>() / n;
            for j in 0..d {
                let exact = x[j] * r * gain[j];
                within("out", out[row * d + j], exact, (n / 32.0 + 8.0) * U * exact.abs());
                let bound = (n / 16.0 + 12.0) * U * given * (w[j].abs() + u[j].abs() * size);
                within("dx", dx[row * d + j], given * (w[j] - u[j] * t), bound);
            }
        }
        for j in 0..d {
            let terms = (0..rows).map(|row| dy[row * d + j] * x[row * d + j] * f64::from(inverse[row]));
            let size: f64 = terms.clone().map(f64::abs).sum();
            let rounds = (rows.min(256) + rows / 256 + 3) as f64;
            within("dgain", dgain[j], terms.sum(), rounds * U * size);
        }
    }
}

#[test]
fn gates() {
    let len = 4000;
    let (mut gate, up, dout) = (values(7, len), values(8, len), values(9, len));
    gate.iter_mut().for_each(|gate| *gate *= 20.0);
    let (mut out, mut dgate, mut dup) = (vec![0.0; len], vec![0.0; len], vec![0.0; len]);
    swiglu::forward(&gate, &up, &mut out).unwrap();
    swiglu::backward(&gate, &up, &dout, &mut dgate, &mut dup).unwrap();
    for i in 0..len {
        let (g, up, dout) = (f64::from(gate[i]), f64::from(up[i]), f64::from(dout[i]));
        let s = 1.0 / (1.0 + (-g).exp());
        within("out", out[i], g * s * up, 8.0 * U * (g * s * up).abs());
        within("dup", dup[i], dout * g * s, 8.0 * U * (dout * g * s).abs());
        let exact = dout * up * s * (1.0 + g * (1.0 - s));
        within("dgate", dgate[i], exact, 12.0 * U * (dout * up).abs() * s * (1.0 + g.abs()));
    }
}

#[test]
fn loss_and_its_gradient() {
    for (rows, vocab) in [(6, 50), (3, 1003)] {
        let mut logits = values(10, rows * vocab);
        logits.iter_mut().for_each(|z| *z *= 15.0);
        let targets: Vec<u32> = (0..rows as u32).map(|row| row * 7).collect();
        let (mut losses, mut gradient) = (vec![0.0; rows], vec![0.0; rows * vocab]);
        loss::cross_entropy(&logits, &targets, &mut losses, Some(&mut gradient), 0.25).unwrap();
        for row in 0..rows {
            let (z, target) = (wide(&logits[row * vocab..][..vocab]), targets[row] as usize);
            let largest = z.iter().copied().fold(f64::MIN, f64::max);
            let spread = largest - z.iter().copied().fold(f64::MAX, f64::min);
            let (n, total) = (vocab as f64, z.iter().map(|z| (z - largest).exp()).sum::<f64>());
            let bound = (3.0 * spread + 3.0 * n.ln() + n / 16.0 + 8.0) * U;
            within("loss", losses[row], total.ln() - (z[target] - largest), bound);
            for j in 0..vocab {
                let (p, hit) = ((z[j] - largest).exp() / total, f64::from(u8::from(j == target)));
                let bound = (2.0 * spread + n / 16.0 + 13.0) * U * 0.25 * (p + hit);
                within("dlogits", gradient[row * vocab + j], 0.25 * (p - hit), bound);
            }
        }
    }
}

#[test]
fn adamw_step() {
    let len = 1000;
    let (grad, before) = (values(11, len), values(12, len));
    let (mut weight, mut first) = (before.clone(), values(13, len));
    let mut second: Vec<f32> = values(14, len).iter().map(|v| v.abs()).collect();
    let (m, v) = (wide(&first), wide(&second));
    let step = optim::AdamW {
        learning_rate: 0.01,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        correction1: 2.5,
        correction2: 3.5,
    };
    optim::adamw(&step, &mut weight, &mut first, &mut second, &grad).unwrap();
    let (rate, decay) = (f64::from(0.01f32), f64::from(0.1f32));
    let (beta1, beta2) = (f64::from(0.9f32), f64::from(0.95f32));
    for i in 0..len {
        let g = f64::from(grad[i]);
        let (old, new) = (beta1 * m[i], (1.0 - beta1) * g);
        within("m", first[i], old + new, 3.0 * U * (old.abs() + new.abs()));
        let (old, new) = (beta2 * v[i], (1.0 - beta2) * g * g);
        within("v", second[i], old + new, 4.0 * U * (old + new));
        // The weight takes the computed moments as given.
        let root = (f64::from(second[i]) * 3.5).sqrt() + f64::from(1e-8f32);
        let (kept, moved) =
            (f64::from(before[i]) * (1.0 - rate * decay), rate * f64::from(first[i]) * 2.5 / root);
        within("w", weight[i], kept - moved, U * (3.0 * kept.abs() + 6.0 * moved.abs()));
    }
}

#[test]
fn rotations() {
    let (heads, head_dim, positions) = (2, 34, 2000u32);
    let table = rope::RopeTable::new(positions as usize, head_dim, 10_000.0).unwrap();
    let at: Vec<u32> = (0..positions).step_by(37).collect();
    let x = values(15, at.len() * heads * head_dim);
    let mut y = x.clone();
    rope::rotate(&mut y, heads, &at, &table).unwrap();
    for (index, (x, y)) in x.chunks(head_dim).zip(y.chunks(head_dim)).enumerate() {
        for i in 0..head_dim / 2 {
            let angle = f64::from(at[index / heads]) * 10_000f64.powf(-((2 * i) as f64) / head_dim as f64);
            let (a, b) = (f64::from(x[i]), f64::from(x[i + head_dim / 2]));
            let bound = 3.0 * U * a.hypot(b);
            within("first half", y[i], a * angle.cos() - b * angle.sin(), bound);
            within("second half", y[i + head_dim / 2], b * angle.cos() + a * angle.sin(), bound);
        }
    }
}
