//! The error bounds of attention, forward and backward, measured against f64.
//!
//! The bounds are those at the head of `attention`, and hold for any inputs; those here are hard ones: scores far
//! apart, several blocks of keys and of a head's width, groups of heads, several tiles of rows.

use tessera_arith::attention::{self, Shape};

const U: f64 = 1.0 / (1u64 << 24) as f64;

/// Values within +-size over eight exponents: on one grid, sums would be exact.
fn values(seed: u64, len: usize, size: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * size / (1 << (state >> 37 & 7)) as f32
        })
        .collect()
}

/// The factor of a product's error over k terms, in units of 2^-24.
fn chain(k: usize) -> f64 {
    (k.min(256) + k / 256 + 1) as f64
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn size(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (x * y).abs()).sum()
}

/// The largest error over its bound.
#[derive(Default)]
struct Slack(f64);

impl Slack {
    fn check(&mut self, what: &str, got: f32, exact: f64, bound: f64) {
        let error = (f64::from(got) - exact).abs();
        // Products of subnormal probabilities lose up to half the least number each.
        assert!(error <= bound + 1e-42, "{what}: got {got:e}, exact {exact:e}, error {error:e} > {bound:e}");
        if bound > 1e-30 {
            self.0 = self.0.max(error / bound);
        }
    }
}

/// One row of one head in f64, with the parts of its bounds.
struct Row {
    p: Vec<f64>,
    /// eta: the relative error of p, in units of 2^-24.
    eta: f64,
}

fn row(q: &[f64], keys: &[Vec<f64>]) -> Row {
    let c = 1.0 / (q.len() as f64).sqrt();
    let scores: Vec<f64> = keys.iter().map(|k| dot(q, k) * c).collect();
    let largest = scores.iter().copied().fold(f64::MIN, f64::max);
    let spread = largest - scores.iter().copied().fold(f64::MAX, f64::min);
    let a = keys.iter().map(|k| size(q, k) * c).fold(0.0, f64::max);
    let total: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
    let p = scores.iter().map(|s| (s - largest).exp() / total).collect();
    let n = keys.len() as f64;
    Row { p, eta: 2.0 * (chain(q.len()) + 3.0) * a + 2.0 * spread + n / 16.0 + 11.0 }
}

const SHAPES: [Shape; 5] = [
    Shape { batch: 2, seq: 17, heads: 4, kv_heads: 2, head_dim: 8 },
    Shape { batch: 1, seq: 70, heads: 2, kv_heads: 2, head_dim: 33 },
    Shape { batch: 1, seq: 150, heads: 3, kv_heads: 1, head_dim: 16 },
    Shape { batch: 1, seq: 530, heads: 1, kv_heads: 1, head_dim: 4 },
    Shape { batch: 1, seq: 9, heads: 2, kv_heads: 1, head_dim: 300 },
];

/// Row `row` of a sequence's heads, widened.
fn part(x: &[f32], width: usize, row: usize, head: usize, head_dim: usize) -> Vec<f64> {
    x[row * width + head * head_dim..][..head_dim].iter().map(|x| f64::from(*x)).collect()
}

#[test]
fn forward_and_backward() {
    let (mut out_slack, mut dq_slack, mut dk_slack, mut dv_slack) =
        (Slack::default(), Slack::default(), Slack::default(), Slack::default());
    for (case, shape) in SHAPES.into_iter().enumerate() {
        for spread in [1.0, 40.0] {
            let Shape { batch, seq, heads, kv_heads, head_dim } = shape;
            let (q_width, kv_width, group) = (heads * head_dim, kv_heads * head_dim, heads / kv_heads);
            let (many, few) = (batch * seq * q_width, batch * seq * kv_width);
            let seed = 10 * case as u64;
            let (q, k) = (values(seed + 1, many, spread), values(seed + 2, few, 1.0));
            let (v, dout) = (values(seed + 3, few, 1.0), values(seed + 4, many, 1.0));
            let mut out = vec![0.0; many];
            attention::forward(shape, &q, &k, &v, &mut out).unwrap();
            let (mut dq, mut dk, mut dv) = (vec![0.0; many], vec![0.0; few], vec![0.0; few]);
            attention::backward(shape, &q, &k, &v, &dout, &mut dq, &mut dk, &mut dv).unwrap();

            let c = 1.0 / (head_dim as f64).sqrt();
            let adds = 64.0 + (group * seq.div_ceil(64)) as f64;
            for b in 0..batch {
                for kv_head in 0..kv_heads {
                    let of = |x: &[f32]| -> Vec<Vec<f64>> {
                        (0..seq).map(|j| part(x, kv_width, b * seq + j, kv_head, head_dim)).collect()
                    };
                    let (keys, vs) = (of(&k), of(&v));
                    // Exact gradients of keys and values, and their bounds.
                    let zero = || vec![vec![0.0; head_dim]; seq];
                    let (mut dk_exact, mut dk_bound, mut dv_exact, mut dv_bound) =
                        (zero(), zero(), zero(), zero());
                    for head in kv_head * group..(kv_head + 1) * group {
                        for i in 0..seq {
                            let at = b * seq + i;
                            let (q, dout) = (
                                part(&q, q_width, at, head, head_dim),
                                part(&dout, q_width, at, head, head_dim),
                            );
                            let Row { p, eta } = row(&q, &keys[..=i]);
                            let n = (i + 1) as f64;
                            let dp: Vec<f64> = vs[..=i].iter().map(|v| dot(&dout, v)).collect();
                            let dp_size: Vec<f64> = vs[..=i].iter().map(|v| size(&dout, v)).collect();
                            let (r, r_size) = (dot(&p, &dp), dot(&p, &dp_size));
                            let sigma = 2.0 * eta + chain(head_dim) + n / 16.0 + 10.0;
                            let ds: Vec<f64> = (0..=i).map(|j| p[j] * (dp[j] - r) * c).collect();
                            let s: Vec<f64> = (0..=i).map(|j| p[j] * (dp_size[j] + r_size) * c).collect();
                            let end = (i / 64 + 1) * 64;
                            for d in 0..head_dim {
                                let place = at * q_width + head * head_dim + d;
                                let column =
                                    |x: &[Vec<f64>]| -> Vec<f64> { x[..=i].iter().map(|x| x[d]).collect() };
                                let (kd, vd) = (column(&keys), column(&vs));
                                let bound = (eta + chain(i + 1)) * U * size(&p, &vd);
                                out_slack.check("out", out[place], dot(&p, &vd), bound);
                                let bound = (sigma + chain(end.min(seq))) * U * size(&s, &kd);
                                dq_slack.check("dq", dq[place], dot(&ds, &kd), bound);
                                for j in 0..=i {
                                    dk_exact[j][d] += ds[j] * q[d];
                                    dk_bound[j][d] += (sigma + adds) * U * s[j] * q[d].abs();
                                    dv_exact[j][d] += p[j] * dout[d];
                                    dv_bound[j][d] += (eta + adds) * U * p[j] * dout[d].abs();
                                }
                            }
                        }
                    }
                    for j in 0..seq {
                        for d in 0..head_dim {
                            let place = (b * seq + j) * kv_width + kv_head * head_dim + d;
                            dk_slack.check("dk", dk[place], dk_exact[j][d], dk_bound[j][d]);
                            dv_slack.check("dv", dv[place], dv_exact[j][d], dv_bound[j][d]);
                        }
                    }
                }
            }
        }
    }
    for (what, slack) in [("out", out_slack), ("dq", dq_slack), ("dk", dk_slack), ("dv", dv_slack)] {
        println!("attention {what}: largest error {:.3} of its bound", slack.0);
        assert!(slack.0 > 0.0, "{what} was not measured");
    }
}
