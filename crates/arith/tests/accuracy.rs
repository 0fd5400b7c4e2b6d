//! Forward operations against f64.

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

fn close(got: f32, exact: f64, tolerance: f64, what: &str) {
    let error = (f64::from(got) - exact).abs();
    assert!(error <= tolerance, "{what}: got {got}, exact {exact}, error {error:e} > {tolerance:e}");
}

/// The distance in units in the last place of the exact result as an f32.
fn ulps(got: f32, exact: f64) -> f64 {
    let exponent = (exact.abs().log2().floor() as i32).clamp(-126, 127);
    (f64::from(got) - exact).abs() / 2f64.powi(exponent - 23)
}

/// Applies `function` to about 2^20 inputs spread over all floats and returns its largest error.
fn worst(function: fn(&mut [f32]), exact: fn(f64) -> f64) -> (f64, f32) {
    let x: Vec<f32> = (0..u32::MAX / 4093).map(|i| f32::from_bits(i * 4093)).collect();
    let mut y = x.clone();
    function(&mut y);
    let mut worst = (0.0, 0.0);
    for (x, y) in x.into_iter().zip(y) {
        let exact = exact(f64::from(x));
        if exact.is_nan() {
            assert!(y.is_nan(), "f({x:e}) = {y:e} hides NaN");
        } else if !(exact as f32).is_finite() {
            assert_eq!(y, exact as f32, "f({x:e}) must overflow");
        } else if exact.abs() < 2e-36 {
            let error = (f64::from(y) - exact).abs();
            assert!(
                error <= 104.0 * 2f64.powi(-149) || ulps(y, exact) < 4.0,
                "f({x:e}) = {y:e}, exact {exact:e}"
            );
        } else if ulps(y, exact) > worst.0 {
            worst = (ulps(y, exact), x);
        }
    }
    worst
}

#[test]
fn elementary_functions_keep_their_documented_error() {
    type Case = (&'static str, fn(&mut [f32]), fn(f64) -> f64, f64);
    let cases: [Case; 5] = [
        ("exp", scalar::exp_slice, f64::exp, 1.0),
        ("log", scalar::log_slice, f64::ln, 1.0),
        ("sigmoid", scalar::sigmoid_slice, |x| 1.0 / (1.0 + (-x).exp()), 2.5),
        ("silu", scalar::silu_slice, |x| x * (1.0 / (1.0 + (-x).exp())), 3.0),
        ("rsqrt", scalar::rsqrt_slice, |x| 1.0 / x.sqrt(), 1.5),
    ];
    for (name, function, exact, bound) in cases {
        let (error, at) = worst(function, exact);
        println!("{name}: largest error {error:.3} ulp, at {at:e}");
        assert!(error < bound, "{name}({at:e}) is {error} ulp off");
        assert!(error > 0.0);
    }
}

#[test]
fn elementary_functions_are_exact_at_the_edges() {
    assert_eq!(scalar::exp(0.0), 1.0);
    assert_eq!(scalar::exp(f32::NEG_INFINITY), 0.0);
    assert_eq!(scalar::exp(f32::INFINITY), f32::INFINITY);
    assert!(scalar::exp(-103.0) > 0.0, "underflow is gradual");
    assert_eq!(scalar::log(1.0), 0.0);
    assert_eq!(scalar::log(0.0), f32::NEG_INFINITY);
    assert_eq!(scalar::log(f32::INFINITY), f32::INFINITY);
    assert!(scalar::log(-1.0).is_nan() && scalar::log(f32::NAN).is_nan() && scalar::exp(f32::NAN).is_nan());
    assert_eq!(scalar::sigmoid(0.0), 0.5);
    assert_eq!(scalar::rsqrt(4.0), 0.5);
}

#[test]
fn reductions_match_f64() {
    for len in [0, 1, 15, 16, 17, 1000] {
        let (x, y) = (values(1, len), values(2, len));
        let sum: f64 = x.iter().map(|x| f64::from(*x)).sum();
        let dot: f64 = x.iter().zip(&y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        close(reduce::sum(&x), sum, 1e-5, "sum");
        close(reduce::dot(&x, &y).unwrap(), dot, 1e-5, "dot");
        assert_eq!(reduce::sum_squares(&x), reduce::dot(&x, &x).unwrap());
        assert_eq!(reduce::max(&x), x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    }
    assert!(reduce::dot(&[1.0], &[]).is_err());
    // The order is observable: lanes 0 and 16 meet first, so the large terms cancel before the small one joins.
    let mut x = [0.0; 17];
    (x[0], x[1], x[16]) = (1e8, 1.0, -1e8);
    assert_eq!(reduce::sum(&x), 1.0);
    (x[1], x[2], x[16]) = (-1e8, 1.0, 0.0);
    assert_eq!(reduce::sum(&x), 0.0);
}

#[test]
fn softmax_matches_f64_and_keeps_nan() {
    let mut x = values(3, 77);
    x.iter_mut().for_each(|x| *x *= 10.0);
    let exact: Vec<f64> = x.iter().map(|x| f64::from(*x).exp()).collect();
    let total: f64 = exact.iter().sum();
    scalar::softmax(&mut x);
    for (x, e) in x.iter().zip(exact) {
        close(*x, e / total, 4e-6 * e / total, "softmax");
    }
    let mut bad = [1.0, f32::NAN, 0.0];
    scalar::softmax(&mut bad);
    assert!(bad.iter().all(|x| x.is_nan()));
}

#[test]
fn norm_matches_f64() {
    let (rows, d) = (5, 37);
    let (x, gain) = (values(4, rows * d), values(5, d));
    let (mut out, mut inverse) = (vec![0.0; rows * d], vec![0.0; rows]);
    norm::rms_forward(&x, &gain, 1e-5, &mut out, &mut inverse).unwrap();
    for row in 0..rows {
        let x = &x[row * d..][..d];
        let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / d as f64;
        let r = 1.0 / (mean + f64::from(1e-5f32)).sqrt();
        close(inverse[row], r, 1e-6 * r, "inv_rms");
        for j in 0..d {
            close(out[row * d + j], f64::from(x[j]) * r * f64::from(gain[j]), 2e-6, "norm");
        }
    }
}

#[test]
fn rotation_matches_f64_and_back_undoes_it() {
    let (heads, head_dim) = (2, 16);
    let positions = [0u32, 1, 7, 99];
    let table = rope::RopeTable::new(100, head_dim, 10_000.0).unwrap();
    let x = values(6, positions.len() * heads * head_dim);
    let mut y = x.clone();
    rope::rotate(&mut y, heads, &positions, &table).unwrap();
    for (row, position) in positions.iter().enumerate() {
        for head in 0..heads {
            let at = (row * heads + head) * head_dim;
            for i in 0..head_dim / 2 {
                let angle = f64::from(*position) * 10_000f64.powf(-2.0 * i as f64 / head_dim as f64);
                let (a, b) = (f64::from(x[at + i]), f64::from(x[at + i + head_dim / 2]));
                close(y[at + i], a * angle.cos() - b * angle.sin(), 3e-7, "rope first half");
                close(y[at + i + head_dim / 2], b * angle.cos() + a * angle.sin(), 3e-7, "rope second half");
            }
        }
    }
    rope::rotate_back(&mut y, heads, &positions, &table).unwrap();
    for (x, y) in x.iter().zip(&y) {
        close(*y, f64::from(*x), 5e-7, "rotated back");
    }
    assert!(rope::rotate(&mut y, heads, &[0, 1, 2, 100], &table).is_err(), "position beyond the table");
    assert!(rope::RopeTable::new(4, 3, 1e4).is_err() && rope::RopeTable::new(4, 2, f64::NAN).is_err());
}

#[test]
fn attention_matches_f64_and_decode_equals_forward() {
    for (batch, seq, heads, kv_heads, head_dim) in
        [(2, 1, 1, 1, 4), (1, 33, 4, 2, 8), (2, 70, 2, 2, 33), (1, 530, 3, 1, 16)]
    {
        let shape = attention::Shape { batch, seq, heads, kv_heads, head_dim };
        let (q_width, kv_width) = (heads * head_dim, kv_heads * head_dim);
        let (q, k) = (values(7, batch * seq * q_width), values(8, batch * seq * kv_width));
        // Tiny and signed values: a row's end must not depend on the rows after it, even by the sign of a zero.
        let mut v = values(9, batch * seq * kv_width);
        v.iter_mut().step_by(3).for_each(|v| *v *= -1e-40);
        let mut out = vec![0.0; q.len()];
        attention::forward(shape, &q, &k, &v, &mut out).unwrap();
        for b in 0..batch {
            let (k, v) =
                (&k[b * seq * kv_width..][..seq * kv_width], &v[b * seq * kv_width..][..seq * kv_width]);
            for i in 0..seq {
                let at = (b * seq + i) * q_width;
                let mut row = vec![0.0; q_width];
                let (k, v) = (&k[..(i + 1) * kv_width], &v[..(i + 1) * kv_width]);
                attention::decode(heads, kv_heads, head_dim, &q[at..at + q_width], k, v, &mut row).unwrap();
                let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&row), bits(&out[at..at + q_width]), "row {i} of {shape:?}");
                for head in 0..heads {
                    let offset = head / (heads / kv_heads) * head_dim;
                    let q = &q[at + head * head_dim..][..head_dim];
                    let scores: Vec<f64> = (0..=i)
                        .map(|j| {
                            let k = &k[j * kv_width + offset..][..head_dim];
                            let dot: f64 = q.iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
                            (dot / (head_dim as f64).sqrt()).exp()
                        })
                        .collect();
                    let total: f64 = scores.iter().sum();
                    for d in 0..head_dim {
                        let sum: f64 =
                            (0..=i).map(|j| scores[j] * f64::from(v[j * kv_width + offset + d])).sum();
                        close(row[head * head_dim + d], sum / total, 2e-6, "attention");
                    }
                }
            }
        }
    }
    let shape = attention::Shape { batch: 1, seq: 2, heads: 3, kv_heads: 2, head_dim: 1 };
    assert!(attention::forward(shape, &[0.0; 6], &[0.0; 4], &[0.0; 4], &mut [0.0; 6]).is_err());
}

#[test]
fn loss_matches_f64() {
    let (rows, vocab) = (6, 50);
    let mut logits = values(10, rows * vocab);
    logits.iter_mut().for_each(|x| *x *= 20.0);
    let targets: Vec<u32> = (0..rows as u32).map(|i| i * 7).collect();
    let mut losses = vec![0.0; rows];
    loss::cross_entropy(&logits, &targets, &mut losses, None, 1.0).unwrap();
    for (row, target) in targets.iter().enumerate() {
        let z = &logits[row * vocab..][..vocab];
        let total: f64 = z.iter().map(|z| f64::from(*z).exp()).sum();
        close(losses[row], total.ln() - f64::from(z[*target as usize]), 5e-6, "loss");
    }
    let mut uniform = [0.0];
    loss::cross_entropy(&[0.5; 512], &[3], &mut uniform, None, 1.0).unwrap();
    close(uniform[0], 512f64.ln(), 1e-6, "uniform loss");
    assert!(loss::cross_entropy(&[0.5; 4], &[4], &mut uniform, None, 1.0).is_err());
}

#[test]
fn swiglu_and_embedding_match() {
    let (gate, up) = (values(11, 100), values(12, 100));
    let mut out = vec![0.0; 100];
    swiglu::forward(&gate, &up, &mut out).unwrap();
    for i in 0..100 {
        let g = f64::from(gate[i]);
        close(out[i], g / (1.0 + (-g).exp()) * f64::from(up[i]), 1e-6, "swiglu");
    }
    let table = values(13, 12);
    let mut rows = [0.0; 9];
    embed::gather(&table, 3, &[3, 0, 3], &mut rows).unwrap();
    assert_eq!(rows[..3], table[9..]);
    assert_eq!(rows[3..6], table[..3]);
    assert!(embed::gather(&table, 3, &[4, 0, 0], &mut rows).is_err());
    let mut sums = vec![0.0; 12];
    embed::scatter_add(&mut sums, 3, &[3, 0, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]).unwrap();
    assert_eq!(sums, [4.0, 5.0, 6.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 8.0, 10.0, 12.0]);
}
