//! The a-priori error bounds of the module documentation, each measured against f64.
//!
//! `cargo test -p tessera-arith --test bounds -- --nocapture` prints how much of each bound the largest error takes: the
//! figures of `docs/arithmetic.md`. Attention has a file of its own.

use std::collections::BTreeMap;
use tessera_arith::*;

const U: f64 = 1.0 / (1u64 << 24) as f64;

/// Values within +-1 over eight exponents: on one grid, sums would be exact.
fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) / (1 << (state >> 37 & 7)) as f32
        })
        .collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|x| f64::from(*x)).collect()
}

/// The largest error over its bound, of each output.
#[derive(Default)]
struct Slack(BTreeMap<&'static str, f64>);

impl Slack {
    fn within(&mut self, what: &'static str, got: f32, exact: f64, bound: f64) {
        let error = (f64::from(got) - exact).abs();
        assert!(error <= bound, "{what}: got {got:e}, exact {exact:e}, error {error:e} > {bound:e}");
        let largest = self.0.entry(what).or_default();
        *largest = largest.max(if bound > 0.0 { error / bound } else { 0.0 });
    }

    /// Prints the figures. An operation without any error was not measured.
    fn report(self, operation: &str) {
        for (what, largest) in self.0 {
            println!("{operation} {what}: largest error {largest:.2} of its bound");
            assert!(largest > 0.0, "{operation} {what}: no error at all");
        }
    }
}

#[test]
fn sums() {
    let mut slack = Slack::default();
    for len in [1, 16, 17, 255, 1000, 10_007] {
        let (x, y) = (values(1, len), values(2, len));
        let rounds = (len as f64 / 16.0 + 5.0) * U;
        let exact = |terms: &[f64]| (terms.iter().sum::<f64>(), terms.iter().map(|t| t.abs()).sum::<f64>());
        let (sum, size) = exact(&wide(&x));
        slack.within("sum", reduce::sum(&x), sum, rounds * size);
        let products: Vec<f64> = wide(&x).iter().zip(wide(&y)).map(|(x, y)| x * y).collect();
        let (dot, size) = exact(&products);
        slack.within("dot", reduce::dot(&x, &y).unwrap(), dot, rounds * size);
    }
    slack.report("sums");
}

#[test]
fn softmax_of_logits_far_apart() {
    let mut slack = Slack::default();
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
            slack.within("softmax", *got, exact, (2.0 * spread + len as f64 / 16.0 + 11.0) * U * exact);
        }
    }
    slack.report("softmax of logits far apart");
}

#[test]
fn norm_forward_and_backward() {
    let mut slack = Slack::default();
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
                slack.within("out", out[row * d + j], exact, (n / 32.0 + 8.0) * U * exact.abs());
                let bound = (n / 16.0 + 12.0) * U * given * (w[j].abs() + u[j].abs() * size);
                slack.within("dx", dx[row * d + j], given * (w[j] - u[j] * t), bound);
            }
        }
        for j in 0..d {
            let terms = (0..rows).map(|row| dy[row * d + j] * x[row * d + j] * f64::from(inverse[row]));
            let size: f64 = terms.clone().map(f64::abs).sum();
            let rounds = (rows.min(256) + rows / 256 + 3) as f64;
            slack.within("dgain", dgain[j], terms.sum(), rounds * U * size);
        }
    }
    slack.report("norm forward and backward");
}

#[test]
fn gates() {
    let mut slack = Slack::default();
    let len = 4000;
    let (mut gate, up, dout) = (values(7, len), values(8, len), values(9, len));
    gate.iter_mut().for_each(|gate| *gate *= 20.0);
    let (mut out, mut dgate, mut dup) = (vec![0.0; len], vec![0.0; len], vec![0.0; len]);
    swiglu::forward(&gate, &up, &mut out).unwrap();
    swiglu::backward(&gate, &up, &dout, &mut dgate, &mut dup).unwrap();
    for i in 0..len {
        let (g, up, dout) = (f64::from(gate[i]), f64::from(up[i]), f64::from(dout[i]));
        let s = 1.0 / (1.0 + (-g).exp());
        slack.within("out", out[i], g * s * up, 8.0 * U * (g * s * up).abs());
        slack.within("dup", dup[i], dout * g * s, 8.0 * U * (dout * g * s).abs());
        let exact = dout * up * s * (1.0 + g * (1.0 - s));
        slack.within("dgate", dgate[i], exact, 12.0 * U * (dout * up).abs() * s * (1.0 + g.abs()));
    }
    slack.report("gates");
}

#[test]
fn loss_and_its_gradient() {
    let mut slack = Slack::default();
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
            slack.within("loss", losses[row], total.ln() - (z[target] - largest), bound);
            for j in 0..vocab {
                let (p, hit) = ((z[j] - largest).exp() / total, f64::from(u8::from(j == target)));
                let bound = (2.0 * spread + n / 16.0 + 13.0) * U * 0.25 * (p + hit);
                slack.within("dlogits", gradient[row * vocab + j], 0.25 * (p - hit), bound);
            }
        }
    }
    slack.report("loss and its gradient");
}

#[test]
fn adamw_step() {
    let mut slack = Slack::default();
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
        slack.within("m", first[i], old + new, 3.0 * U * (old.abs() + new.abs()));
        let (old, new) = (beta2 * v[i], (1.0 - beta2) * g * g);
        slack.within("v", second[i], old + new, 4.0 * U * (old + new));
        // The weight takes the computed moments as given.
        let root = (f64::from(second[i]) * 3.5).sqrt() + f64::from(1e-8f32);
        let (kept, moved) =
            (f64::from(before[i]) * (1.0 - rate * decay), rate * f64::from(first[i]) * 2.5 / root);
        slack.within("w", weight[i], kept - moved, U * (3.0 * kept.abs() + 6.0 * moved.abs()));
    }
    slack.report("adamw step");
}

#[test]
fn rotations() {
    let mut slack = Slack::default();
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
            slack.within("first half", y[i], a * angle.cos() - b * angle.sin(), bound);
            slack.within("second half", y[i + head_dim / 2], b * angle.cos() + a * angle.sin(), bound);
        }
    }
    slack.report("rotations");
}

#[test]
fn single_roundings() {
    let mut slack = Slack::default();
    let len = 4000;
    let (x, y) = (values(16, len), values(17, len));
    let (mut sum, mut scaled) = (vec![0.0; len], x.clone());
    elementwise::add(&x, &y, &mut sum).unwrap();
    elementwise::scale(&mut scaled, 0.3);
    let (mut buffer, mut direction) = (x.clone(), vec![0.0; len]);
    optim::momentum(&mut buffer, &y, 0.95, true, &mut direction).unwrap();
    let mut weight = x.clone();
    optim::descend(&mut weight, &y, 0.02, 0.1).unwrap();
    let (beta, rate, decay) = (f64::from(0.95f32), f64::from(0.02f32), f64::from(0.1f32));
    for i in 0..len {
        let (x, y) = (f64::from(x[i]), f64::from(y[i]));
        slack.within("sum", sum[i], x + y, U * (x + y).abs());
        let exact = x * f64::from(0.3f32);
        slack.within("scaled", scaled[i], exact, U * exact.abs());
        let exact = beta * x + y;
        slack.within("buffer", buffer[i], exact, U * exact.abs());
        // The direction takes the computed buffer as given.
        let exact = beta * f64::from(buffer[i]) + y;
        slack.within("direction", direction[i], exact, U * exact.abs());
        let (kept, moved) = (x * (1.0 - rate * decay), rate * y);
        slack.within("descended", weight[i], kept - moved, U * (3.0 * kept.abs() + moved.abs()));
    }
    slack.report("elements");
}

#[test]
fn norms_of_tensors_and_clipping() {
    let mut slack = Slack::default();
    for lengths in [vec![5], vec![1000, 3, 170], vec![40; 30]] {
        let mut tensors: Vec<Vec<f32>> =
            lengths.iter().enumerate().map(|(seed, len)| values(seed as u64 + 18, *len)).collect();
        let all: Vec<f64> = wide(&tensors.concat());
        let exact = all.iter().map(|x| x * x).sum::<f64>().sqrt();
        let longest = *lengths.iter().max().unwrap() as f64;
        let rounds = (longest / 16.0 + 5.0 + lengths.len() as f64) / 2.0 + 1.0;
        let slices: Vec<&[f32]> = tensors.iter().map(Vec::as_slice).collect();
        slack.within("norm", optim::global_norm(&slices), exact, rounds * U * exact);
        let mut slices: Vec<&mut [f32]> = tensors.iter_mut().map(Vec::as_mut_slice).collect();
        optim::clip(&mut slices, 0.1).unwrap();
        for (got, x) in tensors.concat().into_iter().zip(all) {
            let exact = x * f64::from(0.1f32) / exact;
            slack.within("clipped", got, exact, (rounds + 2.0) * U * exact.abs());
        }
    }
    slack.report("tensors");
}

#[test]
fn scattered_rows_and_values_of_the_grid() {
    let mut slack = Slack::default();
    let (vocab, d, count) = (3, 7, 60);
    let (before, dout) = (values(19, vocab * d), values(20, count * d));
    let tokens: Vec<u32> = (0..count as u32).map(|i| i * i % 3).collect();
    let mut table = before.clone();
    embed::scatter_add(&mut table, d, &tokens, &dout).unwrap();
    for (at, got) in table.iter().enumerate() {
        let rows = (0..count).filter(|row| tokens[*row] as usize == at / d);
        let terms: Vec<f64> = rows.map(|row| f64::from(dout[row * d + at % d])).collect();
        let old = f64::from(before[at]);
        let size = old.abs() + terms.iter().map(|t| t.abs()).sum::<f64>();
        if !terms.is_empty() {
            slack.within("scattered", *got, old + terms.iter().sum::<f64>(), terms.len() as f64 * U * size);
        }
    }
    let sums: Vec<i64> = (1..2000).map(|i: i64| i.pow(4) * 7919 - 3).collect();
    let mut out = vec![0.0; sums.len()];
    grid::dequantise(&sums, -30, 1.0 / 3.0, &mut out).unwrap();
    for (got, n) in out.iter().zip(&sums) {
        let exact = *n as f64 * 2f64.powi(-30) * f64::from(1.0f32 / 3.0);
        slack.within("dequantised", *got, exact, 2.0 * U * exact.abs() * (1.0 + U));
    }
    slack.report("integers and rows:");
}

/// Products, with blocks of k added.
#[test]
fn products() {
    let mut slack = Slack::default();
    for k in [1, 17, 256, 257, 1300, 4096] {
        let (m, n) = (7, 9);
        let (a, b) = (values(21, m * k), values(22, k * n));
        let mut c = vec![0.0; m * n];
        let (view_a, view_b) = (Mat::new(&a, m, k).unwrap(), Mat::new(&b, k, n).unwrap());
        gemm(MatMut::new(&mut c, m, n).unwrap(), view_a, view_b, Store::Set).unwrap();
        for (at, got) in c.iter().enumerate() {
            let term = |k_at: usize| f64::from(a[at / n * k + k_at]) * f64::from(b[k_at * n + at % n]);
            let size: f64 = (0..k).map(|k_at| term(k_at).abs()).sum();
            let rounds = (k.min(256) + k / 256 + 1) as f64;
            slack.within("C", *got, (0..k).map(term).sum(), rounds * U * size);
        }
    }
    slack.report("gemm");
}
