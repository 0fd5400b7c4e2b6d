//! Break one rule each of the normalisation, the rotation, the gate and the loss.

use super::{each, flush, found_out, fused, lanes, unfused};
use crate::{
    ArithError, Store,
    conform::operations::{CANON, Operations},
    reduce,
    rope::RopeTable,
    scalar,
};

type Step = fn(f32, f32, f32) -> f32;
type Keep = fn(f32) -> f32;

fn same(x: f32) -> f32 {
    x
}

/// Requires that each of `wrong` differs in `row`.
fn all_found_out(row: &str, wrong: impl IntoIterator<Item = (&'static str, Operations)>) {
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert!(rows.contains(&row), "{what} passes: {rows:?}");
    }
}

/// RMSNorm by a plain loop; `mean` makes q / d from q and d.
fn norm(
    (x, gain, epsilon): (&[f32], &[f32], f32),
    (out, inverse): (&mut [f32], &mut [f32]),
    step: Step,
    mean: fn(f32, f32) -> f32,
    keep: Keep,
) -> Result<(), ArithError> {
    let d = gain.len();
    for ((x, out), inverse) in x.chunks(d).zip(out.chunks_mut(d)).zip(inverse) {
        let q = keep(lanes::<16>(x, x, step));
        *inverse = 1.0 / (mean(q, d as f32) + epsilon).sqrt();
        for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
            *out = keep(keep(x * *inverse) * gain);
        }
    }
    Ok(())
}

fn divide(q: f32, d: f32) -> f32 {
    q / d
}

#[test]
fn wrong_norms_are_found_out() {
    let right = Operations {
        rms_forward: |x, gain, eps, out, inv| norm((x, gain, eps), (out, inv), fused, divide, same),
        ..CANON
    };
    assert_eq!(found_out(&right), [""; 0]);
    all_found_out(
        "norm",
        [
            (
                "squares not fused",
                Operations {
                    rms_forward: |x, gain, eps, out, inv| {
                        norm((x, gain, eps), (out, inv), unfused, divide, same)
                    },
                    ..CANON
                },
            ),
            (
                "times 1 / d",
                Operations {
                    rms_forward: |x, gain, eps, out, inv| {
                        norm((x, gain, eps), (out, inv), fused, |q, d| q * (1.0 / d), same)
                    },
                    ..CANON
                },
            ),
            (
                "flush to zero",
                Operations {
                    rms_forward: |x, gain, eps, out, inv| {
                        norm((x, gain, eps), (out, inv), fused, divide, flush)
                    },
                    ..CANON
                },
            ),
        ],
    );
}

type Given<'a> = (&'a [f32], &'a [f32], &'a [f32], &'a [f32]);

/// The gradients of RMSNorm by a plain loop.
fn norm_backward(
    (x, gain, inverse, dy): Given,
    (dx, dgain): (&mut [f32], &mut [f32]),
    store: Store,
    block: usize,
    step: Step,
    keep: Keep,
) -> Result<(), ArithError> {
    let d = gain.len();
    let rows = inverse.len();
    let unit: Vec<f32> = x.iter().enumerate().map(|(at, x)| keep(x * inverse[at / d])).collect();
    for row in 0..rows {
        let (u, r) = (&unit[row * d..][..d], inverse[row]);
        let w: Vec<f32> = dy[row * d..][..d].iter().zip(gain).map(|(dy, gain)| keep(dy * gain)).collect();
        let t = lanes::<16>(u, &w, step) / d as f32;
        for (at, dx) in dx[row * d..][..d].iter_mut().enumerate() {
            let value = keep(r * step(-u[at], t, w[at]));
            *dx = keep(if store == Store::Add { *dx + value } else { value });
        }
    }
    for (column, dgain) in dgain.iter_mut().enumerate() {
        for start in (0..rows).step_by(block) {
            let end = (start + block).min(rows);
            let terms = (start..end).map(|row| row * d + column);
            let value = terms.fold(0.0, |acc, at| keep(step(dy[at], unit[at], acc)));
            *dgain = keep(*dgain + value);
        }
    }
    Ok(())
}

#[test]
fn wrong_gradients_of_norms_are_found_out() {
    let right = Operations {
        rms_backward: |x, gain, inv, dy, dx, dgain, store| {
            norm_backward((x, gain, inv, dy), (dx, dgain), store, 256, fused, same)
        },
        ..CANON
    };
    assert_eq!(found_out(&right), [""; 0]);
    all_found_out(
        "norm",
        [
            (
                "not fused",
                Operations {
                    rms_backward: |x, gain, inv, dy, dx, dgain, store| {
                        norm_backward((x, gain, inv, dy), (dx, dgain), store, 256, unfused, same)
                    },
                    ..CANON
                },
            ),
            (
                "blocks of 128 rows",
                Operations {
                    rms_backward: |x, gain, inv, dy, dx, dgain, store| {
                        norm_backward((x, gain, inv, dy), (dx, dgain), store, 128, fused, same)
                    },
                    ..CANON
                },
            ),
            (
                "flush to zero",
                Operations {
                    rms_backward: |x, gain, inv, dy, dx, dgain, store| {
                        norm_backward((x, gain, inv, dy), (dx, dgain), store, 256, fused, flush)
                    },
                    ..CANON
                },
            ),
        ],
    );
}

/// The rotation of a pair (a, b) by (cos, sin).
type Pair = fn(f32, f32, f32, f32) -> (f32, f32);

/// Rotates with `pair`, the elements of a pair being `apart` from each other if not half a head.
fn rotate(
    x: &mut [f32],
    heads: usize,
    positions: &[u32],
    table: &RopeTable,
    pair: Pair,
    neighbours: bool,
) -> Result<(), ArithError> {
    let (width, half) = (table.head_dim(), table.head_dim() / 2);
    for (row, x) in x.chunks_mut(heads * width).enumerate() {
        let at = positions[row] as usize * half;
        for x in x.chunks_mut(width) {
            for i in 0..half {
                let (first, second) = if neighbours { (2 * i, 2 * i + 1) } else { (i, i + half) };
                let (cos, sin) = (table.cosines()[at + i], table.sines()[at + i]);
                (x[first], x[second]) = pair(x[first], x[second], cos, sin);
            }
        }
    }
    Ok(())
}

fn turned(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a.mul_add(cos, -(b * sin)), b.mul_add(cos, a * sin))
}

fn turned_unfused(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    (a * cos - b * sin, b * cos + a * sin)
}

fn turned_otherwise(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    ((-b).mul_add(sin, a * cos), a.mul_add(sin, b * cos))
}

fn turned_flushed(a: f32, b: f32, cos: f32, sin: f32) -> (f32, f32) {
    let (a, b) = turned(flush(a), flush(b), cos, sin);
    (flush(a), flush(b))
}

#[test]
fn wrong_rotations_are_found_out() {
    let right = Operations {
        rotate: |x, heads, at, table| rotate(x, heads, at, table, turned, false),
        rotate_back: |x, heads, at, table| {
            rotate(x, heads, at, table, |a, b, cos, sin| turned(a, b, cos, -sin), false)
        },
        ..CANON
    };
    assert_eq!(found_out(&right), [""; 0]);
    all_found_out(
        "rope",
        [
            (
                "not fused",
                Operations {
                    rotate: |x, heads, at, table| rotate(x, heads, at, table, turned_unfused, false),
                    ..CANON
                },
            ),
            (
                "the other product fused",
                Operations {
                    rotate: |x, heads, at, table| rotate(x, heads, at, table, turned_otherwise, false),
                    ..CANON
                },
            ),
            (
                "neighbours paired",
                Operations {
                    rotate: |x, heads, at, table| rotate(x, heads, at, table, turned, true),
                    ..CANON
                },
            ),
            (
                "flush to zero",
                Operations {
                    rotate: |x, heads, at, table| rotate(x, heads, at, table, turned_flushed, false),
                    ..CANON
                },
            ),
            ("back as forth", Operations { rotate_back: CANON.rotate, ..CANON }),
            (
                "back, not fused",
                Operations {
                    rotate_back: |x, heads, at, table| {
                        rotate(x, heads, at, table, |a, b, cos, sin| turned_unfused(a, b, cos, -sin), false)
                    },
                    ..CANON
                },
            ),
        ],
    );
}

/// How the loss of a row and its gradient are computed.
#[derive(Clone, Copy)]
struct Loss {
    subtract: bool,
    /// Whether a probability is e * (1 / s), and not e / s.
    reciprocal: bool,
    /// Whether the loss is log(s) - (z_t - m), and not (log(s) + m) - z_t.
    grouped: bool,
    /// Whether the gradient of the target is ((p - 1) * scale), and not p * scale - scale.
    less_one_first: bool,
    keep: Keep,
}

const LOSS: Loss = Loss { subtract: true, reciprocal: true, grouped: true, less_one_first: true, keep: same };

fn cross_entropy(
    rule: Loss,
    logits: &[f32],
    targets: &[u32],
    losses: &mut [f32],
    mut gradient: Option<&mut [f32]>,
    scale: f32,
) -> Result<(), ArithError> {
    let vocab = logits.len() / targets.len();
    for (row, target) in targets.iter().enumerate() {
        let (logits, target) = (&logits[row * vocab..][..vocab], *target as usize);
        let largest = if rule.subtract { reduce::max(logits) } else { 0.0 };
        let mut e: Vec<f32> = logits.iter().map(|z| z - largest).collect();
        scalar::exp_slice(&mut e);
        each(&mut e, rule.keep);
        let total = reduce::sum(&e);
        let log = scalar::log(total);
        losses[row] = (rule.keep)(if rule.grouped {
            log - (logits[target] - largest)
        } else {
            (log + largest) - logits[target]
        });
        let Some(gradient) = gradient.as_deref_mut() else { continue };
        let inverse = 1.0 / total;
        for (at, e) in e.iter().enumerate() {
            let p = (rule.keep)(if rule.reciprocal { e * inverse } else { e / total });
            gradient[row * vocab + at] = (rule.keep)(match (at == target, rule.less_one_first) {
                (false, _) => p * scale,
                (true, true) => (p - 1.0) * scale,
                (true, false) => p * scale - scale,
            });
        }
    }
    Ok(())
}

#[test]
fn wrong_losses_are_found_out() {
    let right =
        Operations { cross_entropy: |z, t, l, dz, scale| cross_entropy(LOSS, z, t, l, dz, scale), ..CANON };
    assert_eq!(found_out(&right), [""; 0]);
    all_found_out(
        "loss",
        [
            (
                "without its largest element",
                Operations {
                    cross_entropy: |z, t, l, dz, scale| {
                        cross_entropy(Loss { subtract: false, ..LOSS }, z, t, l, dz, scale)
                    },
                    ..CANON
                },
            ),
            (
                "by division",
                Operations {
                    cross_entropy: |z, t, l, dz, scale| {
                        cross_entropy(Loss { reciprocal: false, ..LOSS }, z, t, l, dz, scale)
                    },
                    ..CANON
                },
            ),
            (
                "log of the sum and the largest first",
                Operations {
                    cross_entropy: |z, t, l, dz, scale| {
                        cross_entropy(Loss { grouped: false, ..LOSS }, z, t, l, dz, scale)
                    },
                    ..CANON
                },
            ),
            (
                "scaled before one is taken away",
                Operations {
                    cross_entropy: |z, t, l, dz, scale| {
                        cross_entropy(Loss { less_one_first: false, ..LOSS }, z, t, l, dz, scale)
                    },
                    ..CANON
                },
            ),
            (
                "flush to zero",
                Operations {
                    cross_entropy: |z, t, l, dz, scale| {
                        cross_entropy(Loss { keep: flush, ..LOSS }, z, t, l, dz, scale)
                    },
                    ..CANON
                },
            ),
        ],
    );
    all_found_out(
        "in place",
        [(
            "a gradient that is not scaled",
            Operations {
                cross_entropy_in_place: |z, t, l, _| (CANON.cross_entropy_in_place)(z, t, l, 1.0),
                ..CANON
            },
        )],
    );
}

#[test]
fn softmax_that_flushes_or_does_not_subtract_is_found_out() {
    fn softmax(x: &mut [f32], subtract: bool, keep: Keep) {
        let largest = if subtract { reduce::max(x) } else { 0.0 };
        x.iter_mut().for_each(|x| *x -= largest);
        scalar::exp_slice(x);
        each(x, keep);
        let inverse = 1.0 / reduce::sum(x);
        x.iter_mut().for_each(|x| *x = keep(*x * inverse));
    }
    assert_eq!(found_out(&Operations { softmax: |x| softmax(x, true, same), ..CANON }), [""; 0]);
    all_found_out(
        "softmax",
        [
            ("flush to zero", Operations { softmax: |x| softmax(x, true, flush), ..CANON }),
            ("without its largest element", Operations { softmax: |x| softmax(x, false, same), ..CANON }),
        ],
    );
}

#[test]
fn wrong_gradients_of_the_gate_are_found_out() {
    /// dgate, by any grouping of the three factors.
    fn gate(
        gate: &[f32],
        up: &[f32],
        dout: &[f32],
        dgate: &mut [f32],
        dup: &mut [f32],
        slope: fn(f32, f32, f32) -> f32,
        keep: Keep,
    ) -> Result<(), ArithError> {
        for at in 0..gate.len() {
            let s = scalar::sigmoid(gate[at]);
            dup[at] = keep(dout[at] * keep(gate[at] * s));
            dgate[at] = keep(slope(keep(dout[at] * up[at]), s, gate[at]));
        }
        Ok(())
    }
    fn specified(outer: f32, s: f32, gate: f32) -> f32 {
        outer * (s * gate.mul_add(1.0 - s, 1.0))
    }
    let right =
        Operations { swiglu_backward: |g, u, d, dg, du| gate(g, u, d, dg, du, specified, same), ..CANON };
    assert_eq!(found_out(&right), [""; 0]);
    all_found_out(
        "swiglu",
        [
            (
                "not fused",
                Operations {
                    swiglu_backward: |g, u, d, dg, du| {
                        gate(g, u, d, dg, du, |outer, s, g| outer * (s * (g * (1.0 - s) + 1.0)), same)
                    },
                    ..CANON
                },
            ),
            (
                "from the left",
                Operations {
                    swiglu_backward: |g, u, d, dg, du| {
                        gate(g, u, d, dg, du, |outer, s, g| (outer * s) * g.mul_add(1.0 - s, 1.0), same)
                    },
                    ..CANON
                },
            ),
            (
                "flush to zero",
                Operations {
                    swiglu_backward: |g, u, d, dg, du| gate(g, u, d, dg, du, specified, flush),
                    ..CANON
                },
            ),
        ],
    );
    all_found_out(
        "in place",
        [(
            "the output from the left",
            Operations {
                swiglu_in_place: |g, u, d| {
                    let out: Vec<f32> =
                        g.iter().zip(&*u).map(|(g, u)| scalar::sigmoid(*g) * (g * u)).collect();
                    (CANON.swiglu_in_place)(g, u, d)?;
                    d.copy_from_slice(&out);
                    Ok(())
                },
                ..CANON
            },
        )],
    );
}
