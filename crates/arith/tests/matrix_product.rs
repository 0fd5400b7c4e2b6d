//! The matrix product against an independent implementation, against f64, and against its own specification.

#![allow(unsafe_code)] // The oracle's interface is unsafe.

use proptest::prelude::*;
use tessera_arith::{ArithError, Isa, Mat, MatMut, Store, gemm, gemm_symmetric, with_isa, with_threads};

fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// The specification, one output at a time.
fn specified(m: usize, n: usize, k: usize, a: &[f32], b: &[f32], c: &mut [f32], store: Store) {
    for i in 0..m {
        for j in 0..n {
            let mut total = (store == Store::Add).then_some(c[i * n + j]);
            for start in (0..k).step_by(256) {
                let mut acc = 0.0f32;
                for k_at in start..(start + 256).min(k) {
                    acc = a[i * k + k_at].mul_add(b[k_at * n + j], acc);
                }
                total = Some(total.map_or(acc, |total| total + acc));
            }
            c[i * n + j] = total.unwrap_or(0.0);
        }
    }
}

/// `matrixmultiply` 0.3.11 uses the same order wherever it uses fused multiply-adds; on an x86 CPU without
/// them it does not, and this test then checks nothing.
#[test]
fn matrixmultiply_agrees_bit_for_bit_where_the_cpu_has_fma() {
    if cfg!(target_arch = "x86_64") && Isa::available() == [Isa::Portable] {
        return;
    }
    for (case, (m, n, k)) in
        [(1, 1, 1), (5, 7, 255), (12, 32, 256), (13, 33, 257), (96, 96, 700), (64, 688, 512), (31, 100, 1025)]
            .into_iter()
            .enumerate()
    {
        let (a, b) = (values(case as u64, m * k), values(case as u64 + 100, k * n));
        for (store, beta) in [(Store::Set, 0.0), (Store::Add, 1.0)] {
            let mut ours = values(case as u64 + 200, m * n);
            let mut theirs = ours.clone();
            let (a_view, b_view) = (Mat::new(&a, m, k).unwrap(), Mat::new(&b, k, n).unwrap());
            gemm(MatMut::new(&mut ours, m, n).unwrap(), a_view, b_view, store).unwrap();
            // SAFETY: the strides describe row-major matrices that fill the slices.
            unsafe {
                let (k, n) = (k as isize, n as isize);
                let (a, b, c) = (a.as_ptr(), b.as_ptr(), theirs.as_mut_ptr());
                matrixmultiply::sgemm(m, k as usize, n as usize, 1.0, a, k, 1, b, n, 1, beta, c, n, 1);
            }
            assert_eq!(bits(&ours), bits(&theirs), "{m}x{n}x{k} {store:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Any shape, layout, stride, store, instruction set and thread count: the bits of the specification.
    #[test]
    fn every_path_follows_the_specification(
        m in 1usize..40, n in 1usize..70, k in 1usize..600, a_t: bool, b_t: bool, add: bool,
        gap in 0usize..5, threads in 1usize..4, seed: u64,
    ) {
        let store = if add { Store::Add } else { Store::Set };
        let (a, b, c) = (values(seed, m * k), values(seed ^ 1, k * n), values(seed ^ 2, m * n));
        let mut expected = c.clone();
        specified(m, n, k, &a, &b, &mut expected, store);
        // Lay the operands out with a gap after each row, as parts of wider matrices.
        let spread = |x: &[f32], rows: usize, cols: usize, turned: bool| -> Vec<f32> {
            let (outer, inner) = if turned { (cols, rows) } else { (rows, cols) };
            let mut out = vec![f32::NAN; outer * (inner + gap)];
            for i in 0..rows {
                for j in 0..cols {
                    let (o, l) = if turned { (j, i) } else { (i, j) };
                    out[o * (inner + gap) + l] = x[i * cols + j];
                }
            }
            out
        };
        let (wide_a, wide_b) = (spread(&a, m, k, a_t), spread(&b, k, n, b_t));
        let view = |x, rows, cols, turned| if turned {
            Mat::strided(x, cols, rows, rows + gap, 1).unwrap().t()
        } else {
            Mat::strided(x, rows, cols, cols + gap, 1).unwrap()
        };
        for isa in Isa::available() {
            let mut wide_c = spread(&c, m, n, false);
            with_isa(isa, || with_threads(threads, || {
                let target = MatMut::strided(&mut wide_c, m, n, n + gap).unwrap();
                gemm(target, view(&wide_a, m, k, a_t), view(&wide_b, k, n, b_t), store).unwrap();
            }));
            for i in 0..m {
                let row = &wide_c[i * (n + gap)..];
                prop_assert_eq!(bits(&row[..n]), bits(&expected[i * n..][..n]), "row {} on {:?}", i, isa);
                prop_assert!(row[n..n + gap].iter().all(|x| x.is_nan()), "wrote beyond row {}", i);
            }
        }
    }
}

#[test]
fn large_products_split_over_threads_follow_the_specification() {
    for (m, n, k) in [(203, 1600, 40), (450, 33, 600), (30, 3100, 50), (1, 700, 1500), (97, 40, 1100)] {
        let (a, b) = (values(1, m * k), values(2, k * n));
        let mut expected = vec![0.0; m * n];
        specified(m, n, k, &a, &b, &mut expected, Store::Set);
        for isa in Isa::available() {
            for threads in [1, 3, 4] {
                let mut c = vec![f32::NAN; m * n];
                with_isa(isa, || {
                    with_threads(threads, || {
                        let (a, b) = (Mat::new(&a, m, k).unwrap(), Mat::new(&b, k, n).unwrap());
                        gemm(MatMut::new(&mut c, m, n).unwrap(), a, b, Store::Set).unwrap();
                    })
                });
                assert!(bits(&c) == bits(&expected), "{m}x{n}x{k} on {isa:?}, {threads} threads");
            }
        }
    }
}

#[test]
fn the_error_is_within_the_documented_bound() {
    for k in [1, 100, 256, 257, 4096] {
        let (m, n) = (7, 9);
        let (a, b) = (values(k as u64, m * k), values(k as u64 + 1, k * n));
        let mut c = vec![0.0; m * n];
        let (a_view, b_view) = (Mat::new(&a, m, k).unwrap(), Mat::new(&b, k, n).unwrap());
        gemm(MatMut::new(&mut c, m, n).unwrap(), a_view, b_view, Store::Set).unwrap();
        for i in 0..m {
            for j in 0..n {
                let terms = (0..k).map(|at| f64::from(a[i * k + at]) * f64::from(b[at * n + j]));
                let exact: f64 = terms.clone().sum();
                let size: f64 = terms.map(f64::abs).sum();
                let steps = (k.min(256) + k / 256 + 1) as f64;
                let error = (f64::from(c[i * n + j]) - exact).abs();
                assert!(error <= steps * size / f64::from(1 << 24), "k {k}: error {error:e}");
            }
        }
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let x = [0.0; 12];
    let mut c = [0.0; 12];
    assert!(matches!(Mat::new(&x, 3, 5), Err(ArithError::Length { .. })));
    assert!(Mat::new(&x, usize::MAX, 2).is_err());
    assert!(Mat::strided(&x, 3, 4, 5, 1).is_err());
    assert!(Mat::strided(&x, 2, 2, usize::MAX, 1).is_err());
    assert!(Mat::strided(&x, 0, 4, usize::MAX, 1).is_ok());
    assert!(MatMut::strided(&mut c, 3, 4, 3).is_err());
    let a = Mat::new(&x, 3, 4).unwrap();
    let wrong = gemm(MatMut::new(&mut c, 3, 4).unwrap(), a, a, Store::Set).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "gemm: C is (3, 4), A is (3, 4), B is (3, 4); C must be [m, n], A [m, k], B [k, n], none of them zero"
    );
}

#[test]
fn signed_zeros_and_infinities_come_through() {
    // A chain starts at +0, so a product of -0 alone gives +0; NaN and infinity stay.
    let cases = [(0.0, -1.0, 0u32), (f32::MAX, 2.0, f32::INFINITY.to_bits()), (-1e-38, 1e-38, 0x8000_0000)];
    for (a, b, expected) in cases {
        for isa in Isa::available() {
            let mut c = [1.0];
            let (a, b) = ([a], [b]);
            with_isa(isa, || {
                let (a, b) = (Mat::new(&a, 1, 1).unwrap(), Mat::new(&b, 1, 1).unwrap());
                gemm(MatMut::new(&mut c, 1, 1).unwrap(), a, b, Store::Set).unwrap();
            });
            assert_eq!(c[0].to_bits(), expected, "{a:?} * {b:?} on {isa:?}");
        }
    }
}

/// Few rows by columns that are contiguous in memory take a kernel of their own: decoding.
#[test]
fn products_of_few_rows_follow_the_specification() {
    for (m, n, k) in [(1, 1, 1), (1, 37, 100), (2, 16, 256), (3, 50, 257), (4, 33, 1000), (5, 40, 300)] {
        let a = values(k as u64, m * k);
        for gap in [0, 1, 16] {
            // Columns start at every place in a cache line.
            for start in 0..17 {
                let wide = values(n as u64, start + n * (k + gap));
                let packed: Vec<f32> =
                    (0..k * n).map(|at| wide[start + at % n * (k + gap) + at / n]).collect();
                let b = Mat::strided(&wide[start..], n, k, k + gap, 1).unwrap().t();
                for store in [Store::Set, Store::Add] {
                    let before = values(7, m * n);
                    let mut expected = before.clone();
                    specified(m, n, k, &a, &packed, &mut expected, store);
                    for isa in Isa::available() {
                        let mut c = before.clone();
                        with_isa(isa, || {
                            let a = Mat::new(&a, m, k).unwrap();
                            gemm(MatMut::new(&mut c, m, n).unwrap(), a, b, store).unwrap();
                        });
                        assert!(
                            bits(&c) == bits(&expected),
                            "{m}x{n}x{k} from {start} on {isa:?}, {store:?}"
                        );
                    }
                }
            }
        }
    }
}

/// Half the work, the same bits: both halves of A A' and of a symmetric matrix' square go through the same chains.
#[test]
fn symmetric_products_equal_general_ones() {
    for (n, k) in [(1, 1), (13, 5), (40, 300), (97, 97), (130, 1030), (513, 70)] {
        let a = values(n as u64, n * k);
        let view = Mat::new(&a, n, k).unwrap();
        let mut gram = vec![0.0; n * n];
        gemm(MatMut::new(&mut gram, n, n).unwrap(), view, view.t(), Store::Set).unwrap();
        let square_of = Mat::new(&gram, n, n).unwrap();
        let mut square = vec![0.0; n * n];
        gemm(MatMut::new(&mut square, n, n).unwrap(), square_of, square_of, Store::Set).unwrap();
        for isa in Isa::available() {
            for threads in [1, 2, 5] {
                with_isa(isa, || {
                    with_threads(threads, || {
                        let mut c = vec![f32::NAN; n * n];
                        gemm_symmetric(&mut c, view, view.t()).unwrap();
                        assert!(bits(&c) == bits(&gram), "A A' of {n} x {k} on {isa:?}, {threads} threads");
                        gemm_symmetric(&mut c, square_of, square_of).unwrap();
                        assert!(bits(&c) == bits(&square), "square of {n} on {isa:?}, {threads} threads");
                    })
                });
            }
        }
    }
    let a = values(1, 12);
    let view = Mat::new(&a, 3, 4).unwrap();
    let wrong = gemm_symmetric(&mut [0.0; 16], view, view.t()).unwrap_err();
    assert!(wrong.to_string().starts_with("gemm_symmetric: C is (4, 4), A is (3, 4)"), "{wrong}");
}
