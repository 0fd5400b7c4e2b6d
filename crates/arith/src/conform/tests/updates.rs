//! Break one rule each of AdamW, of descent and of clipping.

use super::{each, flush, found_out, fused, unfused};
use crate::{
    ArithError,
    conform::operations::{CANON, Operations},
    optim::AdamW,
    reduce,
};

/// How AdamW is computed.
#[derive(Clone, Copy)]
struct Adam {
    step: fn(f32, f32, f32) -> f32,
    keep: fn(f32) -> f32,
    /// Whether the new part of v is ((1 - beta2) g) g, and not (1 - beta2) (g g).
    left: bool,
    /// Whether epsilon is added to the root, and not under it.
    outside: bool,
    /// Whether the weight decays before the step is taken, and not after.
    before: bool,
    /// Whether the moments are multiplied by their corrections, and not divided by the inverses.
    multiplied: bool,
}

const ADAM: Adam =
    Adam { step: fused, keep: |x| x, left: true, outside: true, before: true, multiplied: true };

fn adamw(
    rule: Adam,
    p: &AdamW,
    (weight, first, second): (&mut [f32], &mut [f32], &mut [f32]),
    gradient: &[f32],
) -> Result<(), ArithError> {
    let (step, keep) = (rule.step, rule.keep);
    let rest = step(-p.learning_rate, p.weight_decay, 1.0);
    for (at, g) in gradient.iter().enumerate() {
        let (w, m, v) = (&mut weight[at], &mut first[at], &mut second[at]);
        *m = keep(step(p.beta1, *m, keep((1.0 - p.beta1) * g)));
        let new = if rule.left { keep(keep((1.0 - p.beta2) * g) * g) } else { (1.0 - p.beta2) * (g * g) };
        *v = keep(step(p.beta2, *v, new));
        let correct = |x: f32, factor: f32| if rule.multiplied { x * factor } else { x / (1.0 / factor) };
        let (m, v) = (keep(correct(*m, p.correction1)), keep(correct(*v, p.correction2)));
        let root = if rule.outside { v.sqrt() + p.epsilon } else { (v + p.epsilon).sqrt() };
        let direction = keep(m / root);
        *w = keep(if rule.before {
            step(-p.learning_rate, direction, keep(*w * rest))
        } else {
            step(-p.learning_rate, direction, *w) * rest
        });
    }
    Ok(())
}

#[test]
fn wrong_adamw_is_found_out() {
    let right = Operations { adamw: |p, w, m, v, g| adamw(ADAM, p, (w, m, v), g), ..CANON };
    assert_eq!(found_out(&right), [""; 0]);
    let wrong: [(&str, Operations); 6] = [
        (
            "not fused",
            Operations {
                adamw: |p, w, m, v, g| adamw(Adam { step: unfused, ..ADAM }, p, (w, m, v), g),
                ..CANON
            },
        ),
        (
            "the gradient squared first",
            Operations {
                adamw: |p, w, m, v, g| adamw(Adam { left: false, ..ADAM }, p, (w, m, v), g),
                ..CANON
            },
        ),
        (
            "epsilon under the root",
            Operations {
                adamw: |p, w, m, v, g| adamw(Adam { outside: false, ..ADAM }, p, (w, m, v), g),
                ..CANON
            },
        ),
        (
            "decay after the step",
            Operations {
                adamw: |p, w, m, v, g| adamw(Adam { before: false, ..ADAM }, p, (w, m, v), g),
                ..CANON
            },
        ),
        (
            "corrections by division",
            Operations {
                adamw: |p, w, m, v, g| adamw(Adam { multiplied: false, ..ADAM }, p, (w, m, v), g),
                ..CANON
            },
        ),
        (
            "flush to zero",
            Operations {
                adamw: |p, w, m, v, g| adamw(Adam { keep: flush, ..ADAM }, p, (w, m, v), g),
                ..CANON
            },
        ),
    ];
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert!(rows.contains(&"adamw"), "{what} passes: {rows:?}");
    }
}

#[test]
fn wrong_descent_is_found_out() {
    fn descend(w: &mut [f32], direction: &[f32], rest: f32, rate: f32, step: fn(f32, f32, f32) -> f32) {
        for (w, direction) in w.iter_mut().zip(direction) {
            *w = step(-rate, *direction, *w * rest);
        }
    }
    let wrong: [(&str, Operations); 2] = [
        (
            "not fused",
            Operations {
                descend: |w, direction, rate, decay| {
                    descend(w, direction, fused(-rate, decay, 1.0), rate, unfused);
                    Ok(())
                },
                ..CANON
            },
        ),
        (
            "a direction that flushes",
            Operations {
                descend: |w, direction, rate, decay| {
                    (CANON.descend)(w, direction, rate, decay)?;
                    each(w, flush);
                    Ok(())
                },
                ..CANON
            },
        ),
    ];
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert!(rows.contains(&"momentum"), "{what} passes: {rows:?}");
    }
}

/// Clips by any rule for the total of squares, and for what becomes of a value.
fn clip(
    tensors: &mut [&mut [f32]],
    limit: f32,
    total: fn(&[&mut [f32]]) -> f32,
    value: fn(f32, f32, f32) -> f32,
) -> Result<f32, ArithError> {
    let norm = total(tensors).sqrt();
    if !norm.is_finite() {
        return Err(ArithError::NonFinite { operation: "clip", index: 0 });
    }
    if norm > limit {
        for x in tensors.iter_mut().flat_map(|tensor| tensor.iter_mut()) {
            *x = value(*x, limit, norm);
        }
    }
    Ok(norm)
}

fn squares(tensors: &[&mut [f32]]) -> f32 {
    tensors.iter().fold(0.0, |total, tensor| total + reduce::sum_squares(tensor))
}

fn scaled(x: f32, limit: f32, norm: f32) -> f32 {
    x * (limit / norm)
}

#[test]
fn wrong_clipping_is_found_out() {
    let right = Operations { clip: |t, limit| clip(t, limit, squares, scaled), ..CANON };
    assert_eq!(found_out(&right), [""; 0]);
    let wrong: [(&str, Operations); 5] = [
        (
            "one sum over all tensors",
            Operations {
                clip: |t, limit| clip(t, limit, |t| reduce::sum_squares(&t.concat()), scaled),
                ..CANON
            },
        ),
        (
            "the last tensor first",
            Operations {
                clip: |t, limit| {
                    let backwards =
                        |t: &[&mut [f32]]| t.iter().rev().fold(0.0, |sum, t| sum + reduce::sum_squares(t));
                    clip(t, limit, backwards, scaled)
                },
                ..CANON
            },
        ),
        (
            "product before quotient",
            Operations {
                clip: |t, limit| clip(t, limit, squares, |x, limit, norm| (x * limit) / norm),
                ..CANON
            },
        ),
        (
            "an epsilon beside the norm",
            Operations {
                clip: |t, limit| clip(t, limit, squares, |x, limit, norm| x * (limit / (norm + 1e-6))),
                ..CANON
            },
        ),
        (
            "flush to zero",
            Operations {
                clip: |t, limit| clip(t, limit, squares, |x, limit, norm| flush(scaled(x, limit, norm))),
                ..CANON
            },
        ),
    ];
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert!(rows.contains(&"clip"), "{what} passes: {rows:?}");
    }
}
