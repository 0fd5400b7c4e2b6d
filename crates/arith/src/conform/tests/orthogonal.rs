//! Break one rule each of symmetric products and of both forms of Newton-Schulz.

use super::{each, flush, found_out, fused, product};
use crate::{
    ArithError, Mat, Store,
    conform::operations::{CANON, Operations},
    optim::NEWTON_SCHULZ,
    reduce,
};

/// A product of which only the half below the diagonal is computed.
fn from_below(c: &mut [f32], a: Mat, b: Mat) {
    let n = a.rows();
    product(c, a, b, Store::Set, 256, false, fused);
    for row in 0..n {
        for col in 0..row {
            c[col * n + row] = c[row * n + col];
        }
    }
}

#[test]
fn wrong_symmetric_products_are_found_out() {
    let right = Operations {
        gemm_symmetric: |c, a, b| {
            // The part above is that of the transposed product's part below.
            from_below(c, b.t(), a.t());
            Ok(())
        },
        ..CANON
    };
    assert_eq!(found_out(&right), [""; 0]);
    let wrong: [(&str, Operations); 4] = [
        (
            "mirrored from below",
            Operations {
                gemm_symmetric: |c, a, b| {
                    from_below(c, a, b);
                    Ok(())
                },
                ..CANON
            },
        ),
        ("not mirrored", Operations { gemm_symmetric: |c, a, b| (CANON.gemm)(c, a, b, Store::Set), ..CANON }),
        (
            "added to what was there",
            Operations {
                gemm_symmetric: |c, a, b| {
                    let before = c.to_vec();
                    (CANON.gemm_symmetric)(c, a, b)?;
                    c.iter_mut().zip(before).for_each(|(c, before)| *c += before);
                    Ok(())
                },
                ..CANON
            },
        ),
        (
            "flush to zero",
            Operations {
                gemm_symmetric: |c, a, b| {
                    (CANON.gemm_symmetric)(c, a, b)?;
                    each(c, flush);
                    Ok(())
                },
                ..CANON
            },
        ),
    ];
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert_eq!(rows, ["gemm_symmetric"], "{what}");
    }
}

/// C = A B of row-major squares, in full or one half mirrored.
fn square(a: &[f32], b: &[f32], side: usize, symmetric: bool) -> Result<Vec<f32>, ArithError> {
    let mut c = vec![0.0; side * side];
    let (a, b) = (Mat::new(a, side, side)?, Mat::new(b, side, side)?);
    if symmetric {
        (CANON.gemm_symmetric)(&mut c, a, b)?;
    } else {
        (CANON.gemm)(&mut c, a, b, Store::Set)?;
    }
    Ok(c)
}

/// x = fma(a, x, b y).
fn combined(a: f32, x: &[f32], b: f32, y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(x, y)| a.mul_add(*x, b * y)).collect()
}

/// Scales `m`, and returns its Gram matrix and the short side.
fn normalised(m: &mut [f32], rows: usize, cols: usize) -> Result<(Vec<f32>, usize), ArithError> {
    (CANON.scale)(m, 1.0 / (reduce::sum_squares(m).sqrt() + 1e-7));
    let side = rows.min(cols);
    let mut gram = vec![0.0; side * side];
    let x = Mat::new(m, rows, cols)?;
    let (left, right) = if rows > cols { (x.t(), x) } else { (x, x.t()) };
    (CANON.gemm)(&mut gram, left, right, Store::Set)?;
    Ok((gram, side))
}

/// Multiplies X [rows, cols] by a polynomial of its short side.
fn applied(m: &[f32], q: &[f32], rows: usize, cols: usize) -> Result<Vec<f32>, ArithError> {
    let mut out = vec![0.0; m.len()];
    let side = rows.min(cols);
    let (x, q) = (Mat::new(m, rows, cols)?, Mat::new(q, side, side)?);
    let (left, right) = if rows > cols { (x, q) } else { (q, x) };
    (CANON.gemm)(&mut out, left, right, Store::Set)?;
    Ok(out)
}

/// How the Gram form of Newton-Schulz is computed.
#[derive(Clone, Copy)]
struct Gram {
    symmetric: bool,
    /// Whether Q becomes P Q, and not Q P.
    left: bool,
    /// Whether G becomes (P G) P, and not P (G P).
    grouped: bool,
    /// Whether the diagonal gains a after the rest is rounded, and not fused with it.
    after: bool,
}

const GRAM: Gram = Gram { symmetric: true, left: true, grouped: true, after: true };

fn gram(rule: Gram, m: &mut [f32], rows: usize, cols: usize, steps: usize) -> Result<(), ArithError> {
    let (a, b, c) = NEWTON_SCHULZ;
    let (mut g, side) = normalised(m, rows, cols)?;
    let by = |x: &[f32], y: &[f32]| square(x, y, side, rule.symmetric);
    let mut q: Option<Vec<f32>> = None;
    for step in 0..steps {
        let mut p = combined(c, &by(&g, &g)?, b, &g);
        for at in (0..p.len()).step_by(side + 1) {
            p[at] = if rule.after { p[at] + a } else { c.mul_add(by(&g, &g)?[at], b.mul_add(g[at], a)) };
        }
        q = Some(match q {
            None => p.clone(),
            Some(q) => {
                if rule.left {
                    by(&p, &q)?
                } else {
                    by(&q, &p)?
                }
            }
        });
        if step + 1 < steps {
            g = if rule.grouped { by(&by(&p, &g)?, &p)? } else { by(&p, &by(&g, &p)?)? };
        }
    }
    if let Some(q) = q {
        m.copy_from_slice(&applied(m, &q, rows, cols)?);
    }
    Ok(())
}

#[test]
fn wrong_gram_orthogonalisations_are_found_out() {
    let right = Operations { newton_schulz_gram: |m, rows, cols, n| gram(GRAM, m, rows, cols, n), ..CANON };
    assert_eq!(found_out(&right), [""; 0]);
    let wrong: [(&str, Operations); 5] = [
        (
            "products that are not mirrored",
            Operations {
                newton_schulz_gram: |m, rows, cols, n| {
                    gram(Gram { symmetric: false, ..GRAM }, m, rows, cols, n)
                },
                ..CANON
            },
        ),
        (
            "Q P",
            Operations {
                newton_schulz_gram: |m, rows, cols, n| gram(Gram { left: false, ..GRAM }, m, rows, cols, n),
                ..CANON
            },
        ),
        (
            "P (G P)",
            Operations {
                newton_schulz_gram: |m, rows, cols, n| {
                    gram(Gram { grouped: false, ..GRAM }, m, rows, cols, n)
                },
                ..CANON
            },
        ),
        (
            "a diagonal of one rounding less",
            Operations {
                newton_schulz_gram: |m, rows, cols, n| gram(Gram { after: false, ..GRAM }, m, rows, cols, n),
                ..CANON
            },
        ),
        ("the long form", Operations { newton_schulz_gram: CANON.newton_schulz, ..CANON }),
    ];
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert_eq!(rows, ["newton_schulz_gram"], "{what}");
    }
}

/// Newton-Schulz by a plain loop; `polynomial` makes B of A and A A, `next` makes X of X and B X.
fn long(
    m: &mut [f32],
    (rows, cols, steps): (usize, usize, usize),
    polynomial: fn(&[f32], &[f32]) -> Vec<f32>,
    next: fn(&[f32], &[f32]) -> Vec<f32>,
) -> Result<(), ArithError> {
    (CANON.scale)(m, 1.0 / (reduce::sum_squares(m).sqrt() + 1e-7));
    let side = rows.min(cols);
    for _ in 0..steps {
        let mut gram = vec![0.0; side * side];
        let x = Mat::new(m, rows, cols)?;
        let (left, right) = if rows > cols { (x.t(), x) } else { (x, x.t()) };
        (CANON.gemm)(&mut gram, left, right, Store::Set)?;
        let b = polynomial(&gram, &square(&gram, &gram, side, false)?);
        let product = applied(m, &b, rows, cols)?;
        m.copy_from_slice(&next(m, &product));
    }
    Ok(())
}

fn quintic(gram: &[f32], square: &[f32]) -> Vec<f32> {
    combined(NEWTON_SCHULZ.2, square, NEWTON_SCHULZ.1, gram)
}

fn advanced(x: &[f32], product: &[f32]) -> Vec<f32> {
    combined(NEWTON_SCHULZ.0, x, 1.0, product)
}

#[test]
fn wrong_orthogonalisations_are_found_out() {
    let right =
        Operations { newton_schulz: |m, rows, cols, n| long(m, (rows, cols, n), quintic, advanced), ..CANON };
    assert_eq!(found_out(&right), [""; 0]);
    let wrong: [(&str, Operations); 3] = [
        (
            "b A fused in place of c A A",
            Operations {
                newton_schulz: |m, rows, cols, n| {
                    let other = |gram: &[f32], square: &[f32]| {
                        combined(NEWTON_SCHULZ.1, gram, NEWTON_SCHULZ.2, square)
                    };
                    long(m, (rows, cols, n), other, advanced)
                },
                ..CANON
            },
        ),
        (
            "a X not fused",
            Operations {
                newton_schulz: |m, rows, cols, n| {
                    let plain = |x: &[f32], product: &[f32]| {
                        x.iter().zip(product).map(|(x, y)| NEWTON_SCHULZ.0 * x + y).collect()
                    };
                    long(m, (rows, cols, n), quintic, plain)
                },
                ..CANON
            },
        ),
        ("by way of the Gram matrix", Operations { newton_schulz: CANON.newton_schulz_gram, ..CANON }),
    ];
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert!(rows.contains(&"newton_schulz"), "{what} passes: {rows:?}");
    }
}

#[test]
fn the_form_chosen_wrongly_is_found_out() {
    fn by(m: &mut [f32], rows: usize, cols: usize, n: usize, gram: bool) -> Result<(), ArithError> {
        let form = if gram { CANON.newton_schulz_gram } else { CANON.newton_schulz };
        form(m, rows, cols, n)
    }
    let right = Operations {
        orthogonalise: |m, rows, cols, n| by(m, rows, cols, n, rows >= 2 * cols || cols >= 2 * rows),
        ..CANON
    };
    assert_eq!(found_out(&right), [""; 0]);
    let wrong: [(&str, Operations); 4] = [
        ("always long", Operations { orthogonalise: CANON.newton_schulz, ..CANON }),
        ("always by the Gram matrix", Operations { orthogonalise: CANON.newton_schulz_gram, ..CANON }),
        (
            "beyond twice only",
            Operations {
                orthogonalise: |m, rows, cols, n| by(m, rows, cols, n, rows > 2 * cols || cols > 2 * rows),
                ..CANON
            },
        ),
        (
            "wide matrices only",
            Operations { orthogonalise: |m, rows, cols, n| by(m, rows, cols, n, cols >= 2 * rows), ..CANON },
        ),
    ];
    for (what, operations) in wrong {
        assert_eq!(found_out(&operations), ["orthogonalise"], "{what}");
    }
}
