//! The suite gives the committed rows everywhere, and each kind of wrong kernel fails it.

mod attention;
mod layers;
mod orthogonal;
mod updates;
mod wire;

use super::*;
use crate::{Isa, Mat, Store, norm, reduce, with_isa, with_threads};

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_instruction_set_and_thread_count_gives_the_committed_rows() {
    for isa in Isa::available() {
        for threads in [1, 2, 3] {
            let report = with_isa(isa, || with_threads(threads, run));
            for (row, expected) in report.rows.iter().zip(&ROWS) {
                let place = format!("{} on {isa:?} with {threads} threads", row.operation);
                assert_eq!(row.operation, expected.operation);
                assert_eq!(hex(&row.digest), hex(&expected.digest), "{place}: the arithmetic has changed");
            }
            assert!(report.conforms() && report.mismatches().is_empty());
        }
    }
}

#[test]
fn the_root_is_that_of_the_rows() {
    assert_eq!(hex(&root(&ROWS)), hex(&ROOT));
}

/// Runs the suite with `operations` and returns the rows that differ.
fn found_out(operations: &Operations) -> Vec<&'static str> {
    let report = suite(operations);
    let rows: Vec<&str> = report.mismatches().iter().map(|mismatch| mismatch.operation).collect();
    assert_eq!(rows.is_empty(), report.root == ROOT);
    assert_eq!(report.conforms(), rows.is_empty());
    rows
}

type Step = fn(f32, f32, f32) -> f32;

fn fused(a: f32, b: f32, acc: f32) -> f32 {
    a.mul_add(b, acc)
}

fn unfused(a: f32, b: f32, acc: f32) -> f32 {
    a * b + acc
}

/// Zero in place of a subnormal number.
fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0.0f32.copysign(x) } else { x }
}

/// A product by any rule: blocks of k, the order within a block, and the step of the chain.
fn product(c: &mut [f32], a: Mat, b: Mat, store: Store, block: usize, descending: bool, step: Step) {
    let (n, k) = (b.cols(), a.cols());
    for (at, c) in c.iter_mut().enumerate() {
        let mut total = (store == Store::Add).then_some(*c);
        for start in (0..k).step_by(block) {
            let (end, mut acc) = ((start + block).min(k), 0.0);
            for offset in 0..end - start {
                let k = if descending { end - 1 - offset } else { start + offset };
                acc = step(a.get(at / n, k), b.get(k, at % n), acc);
            }
            total = Some(total.map_or(acc, |total| total + acc));
        }
        *c = total.unwrap_or(0.0);
    }
}

fn with_product(gemm: fn(&mut [f32], Mat, Mat, Store) -> Result<(), ArithError>) -> Operations {
    Operations { gemm, ..CANON }
}

/// The rows that depend on a product given to the suite.
const PRODUCTS: [&str; 3] = ["gemm", "special values", "training"];

#[test]
fn a_plain_loop_that_follows_the_specification_passes() {
    let right = with_product(|c, a, b, store| {
        product(c, a, b, store, 256, false, fused);
        Ok(())
    });
    assert_eq!(found_out(&right), [""; 0]);
}

#[test]
fn wrong_products_are_found_out() {
    let wrong: [(&str, Operations); 4] = [
        (
            "k descending",
            with_product(|c, a, b, store| {
                product(c, a, b, store, 256, true, fused);
                Ok(())
            }),
        ),
        (
            "product and sum rounded apart",
            with_product(|c, a, b, store| {
                product(c, a, b, store, 256, false, unfused);
                Ok(())
            }),
        ),
        (
            "blocks of 128",
            with_product(|c, a, b, store| {
                product(c, a, b, store, 128, false, fused);
                Ok(())
            }),
        ),
        (
            "flush to zero",
            with_product(|c, a, b, store| {
                product(c, a, b, store, 256, false, |a, b, acc| {
                    flush(flush(a).mul_add(flush(b), flush(acc)))
                });
                Ok(())
            }),
        ),
    ];
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert!(rows.contains(&"gemm"), "{what} passes");
        assert!(
            rows.iter().all(|row| PRODUCTS.contains(row)),
            "{what}: only products were replaced: {rows:?}"
        );
    }
    // Too few terms for a second block of 128 there: only a different order or rounding reaches training.
    let descending = with_product(|c, a, b, store| {
        product(c, a, b, store, 256, true, fused);
        Ok(())
    });
    assert!(found_out(&descending).contains(&"training"));
}

/// A sum over `LANES` lanes, with any step.
fn lanes<const LANES: usize>(x: &[f32], y: &[f32], step: Step) -> f32 {
    let mut lanes = [0.0; LANES];
    for (at, (x, y)) in x.iter().zip(y).enumerate() {
        lanes[at % LANES] = step(*x, *y, lanes[at % LANES]);
    }
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

fn ones(len: usize) -> Vec<f32> {
    vec![1.0; len]
}

#[test]
fn wrong_sums_are_found_out() {
    // Sixteen lanes are right: the helper itself changes nothing, as x * 1 is exact.
    let right = Operations {
        sum: |x| lanes::<16>(x, &ones(x.len()), unfused),
        sum_squares: |x| lanes::<16>(x, x, fused),
        dot: |x, y| Ok(lanes::<16>(x, y, fused)),
        ..CANON
    };
    assert_eq!(found_out(&right), [""; 0]);
    let wrong: [(&str, Operations); 7] = [
        ("sum over 8 lanes", Operations { sum: |x| lanes::<8>(x, &ones(x.len()), unfused), ..CANON }),
        ("sum in order", Operations { sum: |x| x.iter().fold(0.0, |sum, x| sum + x), ..CANON }),
        ("squares over 8 lanes", Operations { sum_squares: |x| lanes::<8>(x, x, fused), ..CANON }),
        ("squares not fused", Operations { sum_squares: |x| lanes::<16>(x, x, unfused), ..CANON }),
        ("dot not fused", Operations { dot: |x, y| Ok(lanes::<16>(x, y, unfused)), ..CANON }),
        ("dot over 32 lanes", Operations { dot: |x, y| Ok(lanes::<32>(x, y, fused)), ..CANON }),
        (
            "sum that flushes",
            Operations {
                sum: |x| lanes::<16>(x, &ones(x.len()), |x, _, acc| flush(flush(x) + flush(acc))),
                ..CANON
            },
        ),
    ];
    for (what, operations) in wrong {
        let rows = found_out(&operations);
        assert!(rows.contains(&"reduce"), "{what} passes: {rows:?}");
    }
}

fn each(x: &mut [f32], function: fn(f32) -> f32) {
    x.iter_mut().for_each(|x| *x = function(*x));
}

#[test]
fn other_functions_and_expressions_are_found_out() {
    let wrong: [(&str, &str, Operations); 12] = [
        ("exp of a library", "scalar", Operations { exp: |x| each(x, libm::expf), ..CANON }),
        ("log of a library", "scalar", Operations { log: |x| each(x, libm::logf), ..CANON }),
        (
            "exp that flushes",
            "scalar",
            Operations {
                exp: |x| {
                    (CANON.exp)(x);
                    each(x, flush);
                },
                ..CANON
            },
        ),
        (
            "softmax by division",
            "softmax",
            Operations {
                softmax: |x| {
                    let largest = reduce::max(x);
                    x.iter_mut().for_each(|x| *x -= largest);
                    (CANON.exp)(x);
                    let sum = reduce::sum(x);
                    x.iter_mut().for_each(|x| *x /= sum);
                },
                ..CANON
            },
        ),
        (
            "norm that multiplies by the gain first",
            "norm",
            Operations {
                rms_forward: |x, gain, epsilon, out, inverse| {
                    norm::rms_forward(x, gain, epsilon, out, inverse)?;
                    for (row, (out, x)) in out.chunks_mut(gain.len()).zip(x.chunks(gain.len())).enumerate() {
                        for ((out, x), gain) in out.iter_mut().zip(x).zip(gain) {
                            *out = x * (inverse[row] * gain);
                        }
                    }
                    Ok(())
                },
                ..CANON
            },
        ),
        (
            "gate times up first",
            "swiglu",
            Operations {
                swiglu: |gate, up, out| {
                    for ((gate, up), out) in gate.iter().zip(up).zip(out) {
                        *out = crate::scalar::sigmoid(*gate) * (gate * up);
                    }
                    Ok(())
                },
                ..CANON
            },
        ),
        (
            "scatter in another order",
            "embed",
            Operations {
                scatter_add: |table, d, tokens, dout| {
                    for (dout, token) in dout.chunks(d).zip(tokens).rev() {
                        let row = &mut table[*token as usize * d..][..d];
                        row.iter_mut().zip(dout).for_each(|(sum, value)| *sum += value);
                    }
                    Ok(())
                },
                ..CANON
            },
        ),
        (
            "addition that flushes",
            "elementwise",
            Operations {
                add: |x, y, out| {
                    out.iter_mut().zip(x.iter().zip(y)).for_each(|(out, (x, y))| *out = flush(x + y));
                    Ok(())
                },
                ..CANON
            },
        ),
        (
            "momentum not fused",
            "momentum",
            Operations {
                momentum: |buffer, grad, beta, nesterov, out| {
                    for ((b, g), out) in buffer.iter_mut().zip(grad).zip(out) {
                        *b = beta * *b + g;
                        *out = if nesterov { beta * *b + g } else { *b };
                    }
                    Ok(())
                },
                ..CANON
            },
        ),
        (
            "one step of Newton-Schulz too few",
            "newton_schulz",
            Operations {
                newton_schulz: |m, rows, cols, steps| (CANON.newton_schulz)(m, rows, cols, steps - 1),
                ..CANON
            },
        ),
        (
            "grid that rounds ties away from zero",
            "grid",
            Operations {
                quantise_add: |g, exponent, sum| {
                    let step = 2f64.powi(exponent);
                    let limit = crate::grid::MAX_STEPS as f64;
                    for (sum, g) in sum.iter_mut().zip(g) {
                        let n = (f64::from(*g) / step).clamp(-limit, limit).round() as i64;
                        *sum = sum.wrapping_add(n);
                    }
                    Ok(())
                },
                ..CANON
            },
        ),
        (
            "bf16 that cuts instead of rounding",
            "quantise",
            Operations {
                encode: |format, x, width, bytes| {
                    (CANON.encode)(format, x, width, bytes)?;
                    if format == crate::quantise::Format::Bf16 {
                        for (bytes, x) in bytes.chunks_mut(2).zip(x) {
                            bytes.copy_from_slice(&x.to_le_bytes()[2..]);
                        }
                    }
                    Ok(())
                },
                ..CANON
            },
        ),
    ];
    for (what, row, operations) in wrong {
        let rows = found_out(&operations);
        assert!(rows.contains(&row), "{what} passes: {rows:?}");
    }
}

/// Work that is divided over threads is large enough for a piece to be missed.
#[test]
fn a_forgotten_piece_of_work_is_found_out() {
    const PIECE: usize = 1 << 15;
    let forgetful: [(&str, Operations); 7] = [
        (
            "gemm",
            with_product(|c, a, b, store| {
                let before = c.to_vec();
                (CANON.gemm)(c, a, b, store)?;
                if a.rows() * a.cols() * b.cols() > 1 << 22 {
                    let last = c.len() - b.cols();
                    c[last..].copy_from_slice(&before[last..]);
                }
                Ok(())
            }),
        ),
        (
            "gemm_symmetric",
            Operations {
                gemm_symmetric: |c, a, b| {
                    (CANON.gemm_symmetric)(c, a, b)?;
                    if a.rows() * a.rows() * a.cols() > 1 << 23 {
                        c[1] += 1.0;
                    }
                    Ok(())
                },
                ..CANON
            },
        ),
        (
            "elementwise",
            Operations {
                add: |x, y, out| {
                    let len = x.len().min(2 * PIECE);
                    (CANON.add)(&x[..len], &y[..len], &mut out[..len])
                },
                ..CANON
            },
        ),
        (
            "elementwise",
            Operations {
                scale: |x, factor| {
                    let len = x.len().min(2 * PIECE);
                    (CANON.scale)(&mut x[..len], factor);
                },
                ..CANON
            },
        ),
        (
            "grid",
            Operations {
                quantise_add: |g, exponent, sum| {
                    let len = g.len().min(2 * PIECE);
                    (CANON.quantise_add)(&g[..len], exponent, &mut sum[..len])
                },
                ..CANON
            },
        ),
        (
            "grid",
            Operations {
                merge: |sum, other| {
                    let len = sum.len().min(2 * PIECE);
                    (CANON.merge)(&mut sum[..len], &other[..len])
                },
                ..CANON
            },
        ),
        (
            "grid",
            Operations {
                dequantise: |sum, exponent, scale, out| {
                    let len = sum.len().min(2 * PIECE);
                    (CANON.dequantise)(&sum[..len], exponent, scale, &mut out[..len])
                },
                ..CANON
            },
        ),
    ];
    for (row, operations) in forgetful {
        assert_eq!(found_out(&operations), [row]);
    }
}

#[test]
fn hidden_infinities_are_found_out() {
    let lenient = Operations {
        quantise_add: |g, exponent, sum| {
            let finite: Vec<f32> = g.iter().map(|g| if g.is_finite() { *g } else { 0.0 }).collect();
            (CANON.quantise_add)(&finite, exponent, sum)
        },
        ..CANON
    };
    assert_eq!(found_out(&lenient), ["special values"]);
}

#[test]
fn inputs_hold_the_hard_cases() {
    let x = Inputs(1).hostile(1000);
    assert!(x.iter().any(|x| x.to_bits() == 1 << 31) && x.iter().any(|x| x.to_bits() == 0));
    assert!(x.iter().any(|x| x.is_subnormal()) && x.iter().any(|x| x.abs() > 1e38));
}

#[test]
fn this_environment_is_sound() {
    assert_eq!((environment().fault(), environment().is_sound()), (None, true));
}

/// The control register of this thread's floating-point mode, and bits in it that a library built with `-ffast-math`, or
/// any other, may set: with each, a word of what must be found wrong.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[allow(unsafe_code)] // The register can be read and written by assembly only.
mod mode {
    use std::arch::asm;

    #[cfg(target_arch = "x86_64")]
    pub(super) const FLAWS: [(u64, &str); 6] = [
        (1 << 15, "results"),
        (1 << 6, "operands"),
        (1 << 15 | 1 << 6, "operands"),
        (1 << 13, "round"),
        (2 << 13, "round"),
        (3 << 13, "round"),
    ];
    /// Flushing to zero takes operands and results alike.
    #[cfg(target_arch = "aarch64")]
    pub(super) const FLAWS: [(u64, &str); 4] =
        [(1 << 24, "operands"), (1 << 22, "round"), (2 << 22, "round"), (3 << 22, "round")];

    #[cfg(target_arch = "x86_64")]
    fn read() -> u64 {
        let mut bits = 0u32;
        // SAFETY: the instruction only writes `bits`.
        unsafe { asm!("stmxcsr [{}]", in(reg) &mut bits, options(nostack)) };
        u64::from(bits)
    }

    #[cfg(target_arch = "x86_64")]
    fn write(bits: u64) {
        let bits = bits as u32;
        // SAFETY: only mode bits of `read` and of FLAWS are set, all of which exist.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &bits, options(nostack)) };
    }

    #[cfg(target_arch = "aarch64")]
    fn read() -> u64 {
        let bits: u64;
        // SAFETY: the instruction only writes a register.
        unsafe { asm!("mrs {}, fpcr", out(reg) bits, options(nomem, nostack)) };
        bits
    }

    #[cfg(target_arch = "aarch64")]
    fn write(bits: u64) {
        // SAFETY: only mode bits of `read` and of FLAWS are set, all of which exist.
        unsafe { asm!("msr fpcr, {}", in(reg) bits, options(nostack)) };
    }

    /// Runs `body`, which must not unwind, with `bits` set.
    pub(super) fn with<T>(bits: u64, body: impl FnOnce() -> T) -> T {
        let before = read();
        write(before | bits);
        let result = body();
        write(before);
        result
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[test]
fn changed_modes_are_noticed() {
    for (bits, word) in mode::FLAWS {
        let found = mode::with(bits, environment);
        assert!(!found.is_sound());
        assert!(found.fault().is_some_and(|fault| fault.contains(word)), "{bits:#x}: {found:?}");
        // The rows notice too.
        let report = mode::with(bits, || with_threads(1, run));
        assert!(!report.conforms() && !report.mismatches().is_empty(), "{bits:#x}");
    }
    assert!(environment().is_sound());
}
