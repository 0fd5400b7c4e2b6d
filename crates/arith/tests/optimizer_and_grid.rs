//! Optimizer steps against f64, and the integer grid's promises.

use proptest::prelude::*;
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

#[test]
fn adamw_matches_f64_over_several_steps() {
    let len = 33;
    let mut weight = values(1, len);
    let (mut first, mut second) = (vec![0.0; len], vec![0.0; len]);
    let mut exact: Vec<[f64; 3]> = weight.iter().map(|w| [f64::from(*w), 0.0, 0.0]).collect();
    let (rate, beta1, beta2, epsilon, decay) = (0.01f64, 0.9f64, 0.95f64, 1e-8f64, 0.1f64);
    for t in 1..=5 {
        let grad = values(100 + t as u64, len);
        let (c1, c2) = (1.0 / (1.0 - beta1.powi(t)), 1.0 / (1.0 - beta2.powi(t)));
        let step = optim::AdamW {
            learning_rate: rate as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            epsilon: epsilon as f32,
            weight_decay: decay as f32,
            correction1: c1 as f32,
            correction2: c2 as f32,
        };
        optim::adamw(&step, &mut weight, &mut first, &mut second, &grad).unwrap();
        for ([w, m, v], g) in exact.iter_mut().zip(&grad) {
            let g = f64::from(*g);
            *m = beta1 * *m + (1.0 - beta1) * g;
            *v = beta2 * *v + (1.0 - beta2) * g * g;
            *w = *w * (1.0 - rate * decay) - rate * (*m * c1) / ((*v * c2).sqrt() + epsilon);
        }
    }
    for (w, [exact, ..]) in weight.iter().zip(&exact) {
        assert!((f64::from(*w) - exact).abs() < 1e-6, "weight {w}, exact {exact}");
    }
    let step = optim::AdamW {
        learning_rate: 0.0,
        beta1: 0.0,
        beta2: 0.0,
        epsilon: 0.0,
        weight_decay: 0.0,
        correction1: 1.0,
        correction2: 1.0,
    };
    assert!(optim::adamw(&step, &mut weight, &mut first[1..], &mut second, &[0.0; 33]).is_err());
}

#[test]
fn momentum_and_descent_are_their_formulas() {
    let (mut buffer, grad) = (vec![1.0, -2.0], [0.5, 0.25]);
    let mut out = vec![0.0; 2];
    optim::momentum(&mut buffer, &grad, 0.5, false, &mut out).unwrap();
    assert_eq!((buffer.as_slice(), out.as_slice()), (&[1.0, -0.75][..], &[1.0, -0.75][..]));
    optim::momentum(&mut buffer, &grad, 0.5, true, &mut out).unwrap();
    assert_eq!((buffer.as_slice(), out.as_slice()), (&[1.0, -0.125][..], &[1.0, 0.1875][..]));
    let mut weight = [8.0];
    optim::descend(&mut weight, &[2.0], 0.5, 0.5).unwrap();
    assert_eq!(weight, [8.0 * 0.75 - 1.0]);
}

/// Five steps of the published iteration in f64.
fn orthogonalised(original: &[f32], rows: usize, cols: usize) -> Vec<f64> {
    let mut x: Vec<f64> = original.iter().map(|x| f64::from(*x)).collect();
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt() + 1e-7;
    x.iter_mut().for_each(|x| *x /= norm);
    for _ in 0..5 {
        let gram = |i: usize, j: usize| (0..cols).map(|k| x[i * cols + k] * x[j * cols + k]).sum::<f64>();
        let a: Vec<f64> = (0..rows * rows).map(|at| gram(at / rows, at % rows)).collect();
        let times = |a: &[f64], y: &[f64]| -> Vec<f64> {
            let one = |at: usize| (0..rows).map(|k| a[at / cols * rows + k] * y[k * cols + at % cols]).sum();
            (0..rows * cols).map(one).collect()
        };
        let ax = times(&a, &x);
        let aax = times(&a, &ax);
        for at in 0..x.len() {
            x[at] = 3.4445 * x[at] - 4.7750 * ax[at] + 2.0315 * aax[at];
        }
    }
    x
}

/// A matrix [rows, cols], rows <= cols, whose singular values fall evenly over `decades`: orthonormal rows (Gram and
/// Schmidt) scaled, and mixed by a rotation of every pair of neighbours.
fn graded(rows: usize, cols: usize, decades: f64) -> Vec<f32> {
    let mut x: Vec<Vec<f64>> =
        values(31, rows * cols).chunks(cols).map(|row| row.iter().map(|x| f64::from(*x)).collect()).collect();
    for i in 0..rows {
        let (done, rest) = x.split_at_mut(i);
        for other in done.iter() {
            let along: f64 = other.iter().zip(&rest[0]).map(|(a, b)| a * b).sum();
            rest[0].iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
        }
        let norm = rest[0].iter().map(|x| x * x).sum::<f64>().sqrt();
        rest[0].iter_mut().for_each(|x| *x /= norm);
    }
    for (i, row) in x.iter_mut().enumerate() {
        row.iter_mut().for_each(|x| *x *= 10f64.powf(-decades * i as f64 / (rows - 1) as f64));
    }
    for turn in 0..4 * rows {
        let i = turn % (rows - 1);
        let (above, below) = x.split_at_mut(i + 1);
        for (a, b) in above[i].iter_mut().zip(&mut below[0]) {
            (*a, *b) = (0.8 * *a - 0.6 * *b, 0.6 * *a + 0.8 * *b);
        }
    }
    x.concat().iter().map(|x| *x as f32).collect()
}

/// What is rounded in a step can grow by nearly 4 in each later one, so a derived bound would say nothing; these are
/// about twice the largest errors of an element that were measured, against f64.
#[test]
fn newton_schulz_keeps_its_measured_error() {
    let (rows, cols) = (48, 160);
    let even = values(7, rows * cols);
    let (wide, square) = ((rows, cols), (rows, rows));
    let cases = [
        ("random, wide", wide, even.clone(), 1e-6, 1e-6),
        ("random, square", square, even[..rows * rows].to_vec(), 1.6e-6, 2e-5),
        ("four decades, wide", wide, graded(rows, cols, 4.0), 1e-6, 6e-6),
        ("four decades, square", square, graded(rows, rows, 4.0), 1.6e-6, 6e-6),
    ];
    for (what, (rows, cols), original, bound, gram_bound) in cases {
        let exact = orthogonalised(&original, rows, cols);
        let (mut m, mut by_gram) = (original.clone(), original);
        optim::newton_schulz(&mut m, rows, cols, 5).unwrap();
        optim::newton_schulz_gram(&mut by_gram, rows, cols, 5).unwrap();
        for (form, got, bound) in [("newton_schulz", m, bound), ("newton_schulz_gram", by_gram, gram_bound)] {
            let error = |(got, exact): (&f32, &f64)| (f64::from(*got) - exact).abs();
            let worst = got.iter().zip(&exact).map(error).fold(0.0, f64::max);
            println!("{form}, {what}: largest error of an element {worst:.1e}");
            assert!(worst < bound, "{form}, {what}: {worst:e}");
            assert!(worst > bound / 20.0, "{form}, {what}: {worst:e}, the bound says nothing");
        }
    }
}

/// The five-step quintic brings singular values near one, so X X' is near the identity.
#[test]
fn newton_schulz_orthogonalises_and_commutes_with_the_transpose() {
    for (rows, cols) in [(8, 24), (24, 8), (17, 40), (5, 5)] {
        let original = values(7, rows * cols);
        let (mut m, mut by_gram) = (original.clone(), original.clone());
        optim::newton_schulz(&mut m, rows, cols, 5).unwrap();
        optim::newton_schulz_gram(&mut by_gram, rows, cols, 5).unwrap();
        let x = orthogonalised(&original, rows, cols);
        for (name, got) in [("newton_schulz", &m), ("newton_schulz_gram", &by_gram)] {
            for (got, x) in got.iter().zip(&x) {
                assert!((f64::from(*got) - x).abs() < 1e-4, "{name} {rows}x{cols}: {got} against {x}");
            }
        }
        if rows != cols {
            let side = rows.min(cols);
            let view = Mat::new(&m, rows, cols).unwrap();
            let (left, right) = if rows < cols { (view, view.t()) } else { (view.t(), view) };
            let mut gram = vec![0.0; side * side];
            gemm(MatMut::new(&mut gram, side, side).unwrap(), left, right, Store::Set).unwrap();
            for at in 0..side {
                let diagonal = gram[at * side + at];
                assert!((0.4..1.6).contains(&diagonal), "{rows}x{cols}: {diagonal} on the diagonal");
            }
        }
    }
    // An exactly rank-one matrix stays finite, and so does zero.
    let mut zero = [0.0; 6];
    optim::newton_schulz(&mut zero, 2, 3, 5).unwrap();
    optim::newton_schulz_gram(&mut zero, 2, 3, 5).unwrap();
    assert_eq!(zero, [0.0; 6]);
    let mut scaled = [3.0, 4.0];
    optim::newton_schulz_gram(&mut scaled, 1, 2, 0).unwrap();
    assert!((scaled[0] - 0.6).abs() < 1e-6 && (scaled[1] - 0.8).abs() < 1e-6);
    assert!(optim::newton_schulz_gram(&mut scaled, 2, 2, 5).is_err());
}

#[test]
fn instruction_sets_and_threads_orthogonalise_alike() {
    for (rows, cols) in [(130, 300), (300, 130), (97, 97)] {
        let original = values(rows as u64, rows * cols);
        let run = |orthogonalise: fn(&mut [f32], usize, usize, usize) -> Result<(), ArithError>| {
            let mut m = original.clone();
            orthogonalise(&mut m, rows, cols, 5).unwrap();
            m.iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
        };
        for orthogonalise in [optim::newton_schulz, optim::newton_schulz_gram] {
            let expected = with_isa(Isa::Portable, || with_threads(1, || run(orthogonalise)));
            for isa in Isa::available() {
                for threads in [1, 2, 3] {
                    let got = with_isa(isa, || with_threads(threads, || run(orthogonalise)));
                    assert!(got == expected, "{rows}x{cols} on {isa:?} with {threads} threads");
                }
            }
        }
    }
}

#[test]
fn clipping_scales_to_the_limit_and_refuses_what_is_not_finite() {
    let (mut a, mut b) = ([3.0, 0.0], [0.0, 4.0, 0.0]);
    assert_eq!(optim::clip(&mut [&mut a, &mut b], 10.0).unwrap(), 5.0);
    assert_eq!((a, b), ([3.0, 0.0], [0.0, 4.0, 0.0]));
    assert_eq!(optim::clip(&mut [&mut a, &mut b], 2.5).unwrap(), 5.0);
    assert_eq!((a, b), ([1.5, 0.0], [0.0, 2.0, 0.0]));
    assert_eq!(optim::global_norm(&[&a, &b]), 2.5);
    let mut bad = [1.0, f32::INFINITY];
    assert!(matches!(optim::clip(&mut [&mut bad], 1.0), Err(ArithError::NonFinite { .. })));
    assert_eq!(bad[0], 1.0);
}

#[test]
fn the_grid_rounds_to_even_and_clamps() {
    let cases = [
        (0.5, 0, 0),
        (1.5, 0, 2),
        (2.5, 0, 2),
        (-0.5, 0, 0),
        (-1.5, 0, -2),
        (0.75, -2, 3),
        (f32::MAX, -126, (1 << 31) - 1),
        (f32::MIN, -126, -((1 << 31) - 1)),
        (f32::MAX, 127, 2),
        (f32::from_bits(1), -126, 0),
        (f32::MIN_POSITIVE, -126, 1),
        (2_147_483_648.0, 0, (1 << 31) - 1),
        (-2_147_483_520.0, 0, -2_147_483_520),
    ];
    for isa in Isa::available() {
        for (g, exponent, expected) in cases {
            let mut sum = [0];
            with_isa(isa, || grid::quantise_add(&[g], exponent, &mut sum)).unwrap();
            assert_eq!(sum, [expected], "{g:e} on the grid of 2^{exponent}, {isa:?}");
        }
    }
}

#[test]
fn the_grid_refuses_without_touching_the_sum() {
    let mut sum = [7, 8];
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let refused = grid::quantise_add(&[1.0, bad], 0, &mut sum).unwrap_err();
        assert_eq!(refused, ArithError::NonFinite { operation: "quantise_add", index: 1 });
    }
    assert!(matches!(grid::quantise_sub(&[1.0, 1.0], -127, &mut sum), Err(ArithError::Parameter { .. })));
    assert!(matches!(grid::quantise_add(&[1.0], 0, &mut sum), Err(ArithError::Length { .. })));
    assert_eq!(sum, [7, 8]);
    let mut large = [0, grid::MAX_SUM + 1];
    assert!(matches!(
        grid::quantise_add(&[1.0, 1.0], 0, &mut large),
        Err(ArithError::Overflow { index: 1, .. })
    ));
    let mut least = [i64::MIN];
    assert!(matches!(grid::quantise_add(&[-1.0], 0, &mut least), Err(ArithError::Overflow { .. })));
    let mut edge = [grid::MAX_SUM];
    assert!(matches!(grid::merge(&mut edge, &[grid::MAX_SUM]), Err(ArithError::Overflow { .. })));
    assert_eq!(edge, [grid::MAX_SUM]);
}

#[test]
fn dequantised_values_are_rounded_as_written() {
    let sums = [0, 1, -3, (1 << 24) + 1, (1 << 24) + 3, i64::MAX, i64::MIN];
    for isa in Isa::available() {
        let mut out = [f32::NAN; 7];
        with_isa(isa, || grid::dequantise(&sums, -4, 3.0, &mut out)).unwrap();
        for (out, n) in out.iter().zip(sums) {
            assert_eq!(*out, n as f32 * 0.0625 * 3.0, "{n} on {isa:?}");
        }
        assert_eq!(out[3], 16_777_216.0 * 0.0625 * 3.0, "2^24 + 1 rounds to even");
    }
}

proptest! {
    /// Integers make the order of microbatches, and leaving one out again, exact.
    #[test]
    fn sums_do_not_depend_on_order_and_subtraction_is_exact(
        a in prop::collection::vec(-1e6f32..1e6, 20), b in prop::collection::vec(-1e-3f32..1e-3, 20),
        c in prop::collection::vec(prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL, 20), exponent in -60i32..20,
    ) {
        let total = |order: [&[f32]; 3]| {
            let mut sum = vec![0; 20];
            for g in order {
                grid::quantise_add(g, exponent, &mut sum).unwrap();
            }
            sum
        };
        let mut sum = total([&a, &b, &c]);
        prop_assert_eq!(&sum, &total([&c, &a, &b]));
        grid::quantise_sub(&c, exponent, &mut sum).unwrap();
        prop_assert_eq!(&sum, &total([&a, &b, &[0.0; 20]]));
        let (mut left, mut right) = (vec![0; 20], vec![0; 20]);
        grid::quantise_add(&a, exponent, &mut left).unwrap();
        grid::quantise_add(&b, exponent, &mut right).unwrap();
        grid::merge(&mut left, &right).unwrap();
        prop_assert_eq!(left, sum);
    }

    /// Rounding to the grid is off by at most half a step, unless clamped.
    #[test]
    fn a_value_comes_back_within_half_a_step(x in -1000f32..1000.0, exponent in -20i32..5) {
        let mut sum = [0];
        grid::quantise_add(&[x], exponent, &mut sum).unwrap();
        let step = 2f64.powi(exponent);
        prop_assert!((sum[0] as f64 * step - f64::from(x)).abs() <= step / 2.0);
    }
}

#[test]
fn overrides_are_per_thread_and_end_with_their_scope() {
    let before = (isa(), threads());
    with_isa(Isa::Portable, || {
        with_threads(3, || {
            assert_eq!((isa(), threads()), (Isa::Portable, 3));
            assert_eq!(std::thread::spawn(|| (isa(), threads())).join().unwrap(), before);
        })
    });
    assert_eq!((isa(), threads()), before);
}
