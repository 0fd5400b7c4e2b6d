//! Call every operation with arguments it must refuse: the error names the operation and what is wrong with it, nothing
//! panics, and no output changes by a bit.
//!
//! Empty vectors are no mistake where elements do not interact (`elementwise`, `reduce`, `optim` but for the
//! orthogonalisations, `grid`), and are not refused.

use std::{collections::BTreeSet, path::Path};
use tessera_arith::{
    ArithError, Mat, MatMut, Store, attention, elementwise, embed, gemm, gemm_symmetric, grid, loss, norm,
    optim,
    quantise::{self, Format},
    reduce,
    rope::{self, RopeTable},
    swiglu, with_threads,
};

/// An element of an output, by its bits.
trait Bits: Copy + PartialEq {
    fn bits(self) -> u64;
    fn sample(at: usize) -> Self;
}

impl Bits for f32 {
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }

    /// Numbers that any operation would change.
    fn sample(at: usize) -> f32 {
        1.25 + at as f32 * 0.375
    }
}

impl Bits for i64 {
    fn bits(self) -> u64 {
        self as u64
    }

    fn sample(at: usize) -> i64 {
        7 - at as i64 * 3
    }
}

impl Bits for u8 {
    fn bits(self) -> u64 {
        u64::from(self)
    }

    fn sample(at: usize) -> u8 {
        (at % 251) as u8 + 1
    }
}

fn some<T: Bits>(len: usize) -> Vec<T> {
    (0..len).map(T::sample).collect()
}

fn bits<T: Bits>(buffers: &[Vec<T>]) -> Vec<Vec<u64>> {
    buffers.iter().map(|buffer| buffer.iter().map(|x| x.bits()).collect()).collect()
}

/// The operation an error names.
fn operation(error: &ArithError) -> &'static str {
    match error {
        ArithError::Length { operation, .. }
        | ArithError::Shape { operation, .. }
        | ArithError::Parameter { operation, .. }
        | ArithError::Number { operation, .. }
        | ArithError::NonFinite { operation, .. }
        | ArithError::Overflow { operation, .. }
        | ArithError::Unrepresentable { operation, .. }
        | ArithError::Encoding { operation, .. } => operation,
    }
}

/// Requires that `call` refuses `given` on one thread and on three, with an error that names `name` and holds `says`,
/// and leaves all of `given` as it was.
fn refused<T: Bits, const N: usize>(
    name: &str,
    says: &str,
    given: [Vec<T>; N],
    call: impl Fn(&mut [Vec<T>; N]) -> Result<(), ArithError> + Sync,
) {
    for threads in [1, 3] {
        let mut buffers = given.clone();
        let error = with_threads(threads, || call(&mut buffers)).err();
        let lengths: Vec<usize> = given.iter().map(Vec::len).collect();
        let Some(error) = error else { panic!("{name} accepts lengths {lengths:?} ({says})") };
        let text = error.to_string();
        assert_eq!(operation(&error), name, "{text}");
        assert!(text.starts_with(name) && text.contains(says), "{name}, {says}: {text}");
        let sized = text.contains(|c: char| c.is_ascii_digit());
        assert!(sized || ["NaN", "inf"].iter().any(|bad| text.contains(bad)), "no sizes: {text}");
        assert!(bits(&buffers) == bits(&given), "{name} wrote something on {lengths:?} ({says})");
    }
}

/// Requires that `call` accepts buffers of these lengths, and refuses each of them one shorter, one longer and empty.
fn lengths<T: Bits, const N: usize>(
    name: &str,
    right: [usize; N],
    call: impl Fn(&mut [Vec<T>; N]) -> Result<(), ArithError> + Sync,
) {
    call(&mut right.map(some)).unwrap();
    for index in 0..N {
        for len in [right[index] - 1, right[index] + 1, 0] {
            let mut wrong = right;
            wrong[index] = len;
            refused(name, "", wrong.map(some), &call);
        }
    }
}

const BAD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

#[test]
fn products() {
    let call = |c: &mut [f32], (m, n, k): (usize, usize, usize), a: &[f32], b: &[f32]| {
        gemm(MatMut::new(c, m, n)?, Mat::new(a, m, k)?, Mat::new(b, k, n)?, Store::Add)
    };
    for (m, n, k) in [(0, 3, 4), (2, 0, 4), (2, 3, 0), (0, 0, 0)] {
        let says = format!("C is ({m}, {n}), A is ({m}, {k}), B is ({k}, {n})");
        refused("gemm", &says, [some(m * n)], |[c]| {
            call(c, (m, n, k), &some::<f32>(m * k), &some::<f32>(k * n))
        });
    }
    let (a, b): (Vec<f32>, Vec<f32>) = (some(8), some(12));
    // A [2, 4], B [4, 3]: C of another size, operands the other way round, inner sizes that differ.
    for (rows, cols) in [(2, 4), (3, 3), (3, 2), (1, 3)] {
        refused("gemm", "A is (2, 4), B is (4, 3)", [some(rows * cols)], |[c]| {
            gemm(MatMut::new(c, rows, cols)?, Mat::new(&a, 2, 4)?, Mat::new(&b, 4, 3)?, Store::Set)
        });
    }
    refused("gemm", "C is (2, 3), A is (2, 4), B is (3, 4)", [some(6)], |[c]| {
        gemm(MatMut::new(c, 2, 3)?, Mat::new(&a, 2, 4)?, Mat::new(&b, 3, 4)?, Store::Set)
    });
    // Views that do not fit their data.
    refused("matrix", "data holds 8 values, but 9", [some(6)], |[c]| {
        gemm(MatMut::new(c, 2, 3)?, Mat::new(&a, 3, 3)?, Mat::new(&b, 4, 3)?, Store::Set)
    });
    refused("matrix", "data holds 6 values, but 8", [some(6)], |[c]| {
        gemm(MatMut::new(c, 2, 4)?, Mat::new(&a, 2, 4)?, Mat::new(&b, 4, 3)?, Store::Set)
    });
    refused("matrix", "row_stride is 2", [some(6)], |[c]| {
        gemm(MatMut::strided(c, 2, 3, 2)?, Mat::new(&a, 2, 4)?, Mat::new(&b, 4, 3)?, Store::Set)
    });
    for (stride, expected) in [(5, "9"), (usize::MAX, "18446744073709551615")] {
        refused("matrix", &format!("8 values, but {expected}"), [some(6)], |[c]| {
            gemm(MatMut::new(c, 2, 3)?, Mat::strided(&a, 2, 4, stride, 1)?, Mat::new(&b, 4, 3)?, Store::Set)
        });
    }
    refused("matrix", "data holds 8 values", [some(6)], |[c]| {
        gemm(MatMut::new(c, 2, 3)?, Mat::new(&a, usize::MAX, 2)?, Mat::new(&b, 4, 3)?, Store::Set)
    });
}

#[test]
fn symmetric_products() {
    let a: Vec<f32> = some(12);
    for len in [8, 10, 0, 16] {
        refused("gemm_symmetric", "A is (3, 4), B is (4, 3)", [some(len)], |[c]| {
            let a = Mat::new(&a, 3, 4)?;
            gemm_symmetric(c, a, a.t())
        });
    }
    refused("gemm_symmetric", "A is (3, 4), B is (3, 4)", [some(9)], |[c]| {
        let a = Mat::new(&a, 3, 4)?;
        gemm_symmetric(c, a, a)
    });
    for (n, k) in [(0, 4), (3, 0), (0, 0)] {
        refused("gemm_symmetric", &format!("A is ({n}, {k})"), [some(n * n)], |[c]| {
            let empty = Mat::new(&[], n, k)?;
            gemm_symmetric(c, empty, empty.t())
        });
    }
}

#[test]
fn sums() {
    lengths("dot", [5, 5], |[x, y]: &mut [Vec<f32>; 2]| reduce::dot(x, y).map(|_| ()));
    assert_eq!(reduce::dot(&[], &[]), Ok(0.0));
    assert_eq!((reduce::sum(&[]), reduce::sum_squares(&[]), reduce::max(&[])), (0.0, 0.0, f32::NEG_INFINITY));
}

#[test]
fn elements() {
    lengths("add", [5, 5, 5], |[x, y, out]| elementwise::add(x, y, out));
    lengths("add_assign", [5, 5], |[x, y]| elementwise::add_assign(x, y));
    assert_eq!(elementwise::add(&[], &[], &mut []), Ok(()));
    assert_eq!(elementwise::add_assign(&mut [], &[]), Ok(()));
    elementwise::scale(&mut [], 2.0);
}

#[test]
fn norms() {
    // x [3, 2], gain, out, inv_rms.
    lengths("rms_forward", [6, 2, 6, 3], |[x, gain, out, inverse]| {
        norm::rms_forward(x, gain, 1e-5, out, inverse)
    });
    refused("rms_forward", "x holds 0 values, but 2", [vec![], some(2), vec![], vec![]], |b| {
        let [x, gain, out, inverse] = b;
        norm::rms_forward(x, gain, 1e-5, out, inverse)
    });
    refused("rms_forward", "width is 0", [vec![], vec![], vec![], vec![]], |b: &mut [Vec<f32>; 4]| {
        let [x, gain, out, inverse] = b;
        norm::rms_forward(x, gain, 1e-5, out, inverse)
    });
    for store in [Store::Set, Store::Add] {
        lengths("rms_backward", [6, 2, 3, 6, 6, 2], |[x, gain, inverse, dy, dx, dgain]| {
            norm::rms_backward(x, gain, inverse, dy, dx, dgain, store)
        });
        refused("rms_backward", "x holds 0 values, but 2", [vec![], some(2), vec![], some(2)], |b| {
            let [x, gain, inverse, dgain] = b;
            norm::rms_backward(x, gain, inverse, &[], &mut [], dgain, store)
        });
    }
}

#[test]
fn rotations() {
    let table = RopeTable::new(5, 4, 10_000.0).unwrap();
    type Turn = fn(&mut [f32], usize, &[u32], &RopeTable) -> Result<(), ArithError>;
    let turns: [(&str, Turn); 2] = [("rotate", rope::rotate), ("rotate_back", rope::rotate_back)];
    for (name, turn) in turns {
        lengths(name, [16], |[x]| turn(x, 2, &[4, 0], &table));
        refused(name, "x holds 16 values, but 24", [some(16)], |[x]| turn(x, 2, &[0, 1, 2], &table));
        refused(name, "heads is 0", [some(16)], |[x]| turn(x, 0, &[0, 1], &table));
        refused(name, "rows is 0", [some(0)], |[x]| turn(x, 2, &[], &table));
        refused(name, "position is 5", [some(16)], |[x]| turn(x, 2, &[4, 5], &table));
        refused(name, "x holds 16 values", [some(16)], |[x]| turn(x, usize::MAX, &[0, 1], &table));
    }
    let none: [Vec<f32>; 0] = [];
    let new = |positions, head_dim, theta| RopeTable::new(positions, head_dim, theta).map(|_| ());
    refused("rope table", "positions is 0", none.clone(), |_| new(0, 4, 1e4));
    refused("rope table", "positions is", none.clone(), |_| new(usize::MAX, 2, 1e4));
    refused("rope table", "head_dim is 0", none.clone(), |_| new(5, 0, 1e4));
    refused("rope table", "head_dim is 3", none.clone(), |_| new(5, 3, 1e4));
    for theta in [0.0, -1.5, f64::NAN, f64::INFINITY] {
        refused("rope table", &format!("theta is {theta}"), none.clone(), |_| new(5, 4, theta));
    }
}

const SHAPE: attention::Shape = attention::Shape { batch: 2, seq: 3, heads: 4, kv_heads: 2, head_dim: 5 };

/// Shapes that are refused, and what the error says.
fn bad_shapes() -> [(attention::Shape, &'static str); 7] {
    [
        (attention::Shape { batch: 0, ..SHAPE }, "batch is 0"),
        (attention::Shape { seq: 0, ..SHAPE }, "seq is 0"),
        (attention::Shape { heads: 0, ..SHAPE }, "heads is 0"),
        (attention::Shape { kv_heads: 0, ..SHAPE }, "kv_heads is 0"),
        (attention::Shape { head_dim: 0, ..SHAPE }, "head_dim is 0"),
        (attention::Shape { kv_heads: 3, ..SHAPE }, "kv_heads is 3"),
        (attention::Shape { seq: usize::MAX, ..SHAPE }, "q holds 120 values, but 18446744073709551615"),
    ]
}

#[test]
fn attentions() {
    let call = |shape, [q, k, v, out]: &mut [Vec<f32>; 4]| attention::forward(shape, q, k, v, out);
    lengths("attention forward", [120, 60, 60, 120], |b| call(SHAPE, b));
    for (shape, says) in bad_shapes() {
        refused("attention forward", says, [120, 60, 60, 120].map(some), |b| call(shape, b));
        let empty: [Vec<f32>; 4] = [0; 4].map(some);
        refused("attention forward", says.split(" holds").next().unwrap(), empty, |b| call(shape, b));
    }
}

#[test]
fn gradients_of_attention() {
    let call = |shape, [q, k, v, dout, dq, dk, dv]: &mut [Vec<f32>; 7]| {
        attention::backward(shape, q, k, v, dout, dq, dk, dv)
    };
    let right = [120, 60, 60, 120, 120, 60, 60];
    lengths("attention backward", right, |b| call(SHAPE, b));
    for (shape, says) in bad_shapes() {
        refused("attention backward", says, right.map(some), |b| call(shape, b));
    }
}

#[test]
fn decoding() {
    let call = |heads, kv_heads, head_dim, [q, k, v, out]: &mut [Vec<f32>; 4]| {
        attention::decode(heads, kv_heads, head_dim, q, k, v, out)
    };
    const NAME: &str = "attention decode";
    let right = [20, 30, 30, 20];
    lengths(NAME, right, |b| call(4, 2, 5, b));
    refused(NAME, "heads is 0", right.map(some), |b| call(0, 2, 5, b));
    refused(NAME, "kv_heads is 0", right.map(some), |b| call(4, 0, 5, b));
    refused(NAME, "head_dim is 0", right.map(some), |b| call(4, 2, 0, b));
    refused(NAME, "kv_heads is 3", right.map(some), |b| call(4, 3, 5, b));
    refused(NAME, "k_cache holds 30 values", right.map(some), |b| call(4, 2, usize::MAX, b));
    refused(NAME, "k_cache holds 0 values, but 10", [20, 0, 0, 20].map(some), |b| call(4, 2, 5, b));
}

#[test]
fn gates() {
    lengths("swiglu forward", [5, 5, 5], |[gate, up, out]| swiglu::forward(gate, up, out));
    lengths("swiglu backward", [5; 5], |[gate, up, dout, dgate, dup]| {
        swiglu::backward(gate, up, dout, dgate, dup)
    });
    lengths("swiglu backward in place", [5, 5, 5], |[gate, up, dout]| {
        swiglu::backward_in_place(gate, up, dout)
    });
    let empty: [Vec<f32>; 0] = [];
    refused("swiglu forward", "length is 0", empty.clone(), |_| swiglu::forward(&[], &[], &mut []));
    refused("swiglu backward", "length is 0", empty.clone(), |_| {
        swiglu::backward(&[], &[], &[], &mut [], &mut [])
    });
    refused("swiglu backward in place", "length is 0", empty, |_| {
        swiglu::backward_in_place(&mut [], &mut [], &mut [])
    });
}

#[test]
fn losses() {
    const NAME: &str = "cross_entropy";
    let call = |targets: &[u32], [logits, losses, gradient]: &mut [Vec<f32>; 3]| {
        loss::cross_entropy(logits, targets, losses, Some(gradient), 0.5)
    };
    lengths(NAME, [15, 3, 15], |b| call(&[0, 4, 2], b));
    lengths(NAME, [15, 3], |[logits, losses]| loss::cross_entropy(logits, &[0, 4, 2], losses, None, 0.5));
    refused(NAME, "rows is 0", [15, 3, 15].map(some), |b| call(&[], b));
    refused(NAME, "target is 5", [15, 3, 15].map(some), |b| call(&[0, 5, 2], b));
    refused(NAME, "logits holds 2 values, but 3", [2, 3, 2].map(some), |b| call(&[0, 0, 0], b));
    refused(NAME, "losses holds 3 values, but 2", [15, 3, 15].map(some), |b| {
        b[0].pop();
        let outcome = call(&[0, 0], b);
        b[0].push(f32::sample(14));
        outcome
    });
    let in_place = |targets: &[u32], [logits, losses]: &mut [Vec<f32>; 2]| {
        loss::cross_entropy_in_place(logits, targets, losses, 0.5)
    };
    const IN_PLACE: &str = "cross_entropy_in_place";
    lengths(IN_PLACE, [15, 3], |b| in_place(&[0, 4, 2], b));
    refused(IN_PLACE, "rows is 0", [15, 3].map(some), |b| in_place(&[], b));
    refused(IN_PLACE, "target is 9", [15, 3].map(some), |b| in_place(&[9, 0, 2], b));
    refused(IN_PLACE, "logits holds 0 values, but 3", [0, 3].map(some), |b| in_place(&[0, 0, 0], b));
}

#[test]
fn tables() {
    let gather = |tokens: &[u32], d, [table, out]: &mut [Vec<f32>; 2]| embed::gather(table, d, tokens, out);
    let scatter =
        |tokens: &[u32], d, [table, dout]: &mut [Vec<f32>; 2]| embed::scatter_add(table, d, tokens, dout);
    lengths("gather", [12, 6], |b| gather(&[3, 0], 3, b));
    lengths("scatter_add", [12, 6], |b| scatter(&[3, 0], 3, b));
    type Call<'a> =
        (&'a str, &'a (dyn Fn(&[u32], usize, &mut [Vec<f32>; 2]) -> Result<(), ArithError> + Sync));
    let calls: [Call; 2] = [("gather", &gather), ("scatter_add", &scatter)];
    for (name, call) in calls {
        refused(name, "token is 4", [12, 6].map(some), |b| call(&[0, 4], 3, b));
        refused(name, "width is 0", [12, 6].map(some), |b| call(&[0, 1], 0, b));
        refused(name, "table holds 0 values, but 3", [0, 6].map(some), |b| call(&[0, 1], 3, b));
        refused(name, "tokens is 0", [12, 0].map(some), |b| call(&[], 3, b));
        refused(name, "rows holds 6 values, but 9", [12, 6].map(some), |b| call(&[0, 1, 2], 3, b));
        refused(name, "table holds 12 values", [12, 6].map(some), |b| call(&[0, 1], usize::MAX, b));
    }
}

#[test]
fn optimizers() {
    let step = optim::AdamW {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        correction1: 10.0,
        correction2: 20.0,
    };
    lengths("adamw", [5; 4], |[w, m, v, g]| optim::adamw(&step, w, m, v, g));
    lengths("momentum", [5; 3], |[buffer, grad, out]| optim::momentum(buffer, grad, 0.9, true, out));
    lengths("descend", [5; 2], |[w, direction]| optim::descend(w, direction, 0.1, 0.1));
    assert_eq!(optim::adamw(&step, &mut [], &mut [], &mut [], &[]), Ok(()));
    assert_eq!(optim::momentum(&mut [], &[], 0.9, true, &mut []), Ok(()));
    assert_eq!(optim::descend(&mut [], &[], 0.1, 0.1), Ok(()));
}

#[test]
fn orthogonalisations() {
    type Form = fn(&mut [f32], usize, usize, usize) -> Result<(), ArithError>;
    let forms: [(&str, Form); 3] = [
        ("newton_schulz", optim::newton_schulz),
        ("newton_schulz_gram", optim::newton_schulz_gram),
        ("orthogonalise", optim::orthogonalise),
    ];
    for (name, form) in forms {
        for (rows, cols) in [(2, 3), (3, 2)] {
            lengths(name, [6], |[m]| form(m, rows, cols, 2));
        }
        refused(name, "rows is 0", [some(6)], |[m]| form(m, 0, 6, 5));
        refused(name, "cols is 0", [some(6)], |[m]| form(m, 6, 0, 5));
        refused(name, "rows is 0", [some(0)], |[m]| form(m, 0, 0, 5));
        refused(name, "m holds 6 values", [some(6)], |[m]| form(m, usize::MAX, 2, 5));
    }
}

#[test]
fn clipping() {
    let clip = |[a, b]: &mut [Vec<f32>; 2], limit| optim::clip(&mut [a, b], limit).map(|_| ());
    for at in [0, 6] {
        for bad in BAD {
            let mut poisoned: [Vec<f32>; 2] = [3, 7].map(some);
            poisoned[1][at] = bad;
            refused("clip", "NaN or infinite", poisoned, |b| clip(b, 0.5));
        }
    }
    // Finite values whose squares are not.
    refused("clip", "NaN or infinite", [vec![f32::MAX], some(2)], |b| clip(b, 0.5));
    for (limit, says) in [(-0.5, "max_norm is -0.5"), (f32::NAN, "max_norm is NaN")] {
        refused("clip", says, [3, 7].map(some), |b| clip(b, limit));
    }
    assert_eq!(optim::clip(&mut [], 1.0), Ok(0.0));
    assert_eq!(optim::global_norm(&[]), 0.0);
}

#[test]
fn grids() {
    type Quantise = fn(&[f32], i32, &mut [i64]) -> Result<(), ArithError>;
    let forms: [(&str, Quantise); 2] =
        [("quantise_add", grid::quantise_add), ("quantise_sub", grid::quantise_sub)];
    for (name, quantise) in forms {
        let g: Vec<f32> = some(5);
        lengths(name, [5], |[sum]| quantise(&g, -3, sum));
        for exponent in [-127, 128, i32::MIN, i32::MAX] {
            let says = format!("exponent is {exponent}");
            refused(name, &says, [some(5)], |[sum]| quantise(&g, exponent, sum));
        }
        for bad in BAD {
            let mut poisoned = g.clone();
            poisoned[4] = bad;
            refused(name, "value 4 is NaN or infinite", [some(5)], |[sum]| quantise(&poisoned, -3, sum));
        }
        for full in [grid::MAX_SUM + 1, i64::MIN, i64::MAX] {
            let mut sum: Vec<i64> = some(5);
            sum[3] = full;
            refused(name, "sum 3 is beyond", [sum], |[sum]| quantise(&g, -3, sum));
        }
        assert_eq!(quantise(&[], 0, &mut []), Ok(()));
    }
    lengths("merge", [5, 5], |[sum, other]| grid::merge(sum, other));
    for (mine, other) in [(grid::MAX_SUM + 1, 0), (0, i64::MIN), (grid::MAX_SUM, grid::MAX_SUM)] {
        refused("merge", "sum 1 is beyond", [vec![1, mine, 3], vec![1, other, 3]], |[sum, other]| {
            grid::merge(sum, other)
        });
    }
    assert_eq!(grid::merge(&mut [], &[]), Ok(()));
    let sum: Vec<i64> = some(5);
    lengths("dequantise", [5], |[out]| grid::dequantise(&sum, -3, 0.5, out));
    for exponent in [-127, 128] {
        refused("dequantise", &format!("exponent is {exponent}"), [some(5)], |[out]| {
            grid::dequantise(&sum, exponent, 0.5, out)
        });
    }
    assert_eq!(grid::dequantise(&[], 0, 1.0, &mut []), Ok(()));
}

#[test]
fn wires() {
    let (rows, width) = (3, 65);
    let x: Vec<f32> = some(rows * width);
    for format in Format::ALL {
        let len = format.bytes(rows, width).unwrap();
        const ENCODE: &str = "quantise encode";
        lengths(ENCODE, [len], |[bytes]| quantise::encode(format, &x, width, bytes));
        refused(ENCODE, "width is 0", [some(len)], |[bytes]| quantise::encode(format, &x, 0, bytes));
        refused(ENCODE, "values holds 195 values", [some(len)], |[bytes]| {
            quantise::encode(format, &x, width + 1, bytes)
        });
        refused(ENCODE, "values holds 0 values, but 65", [some(len)], |[bytes]| {
            quantise::encode(format, &[], width, bytes)
        });
        refused(ENCODE, "values holds 195 values", [some(len)], |[bytes]| {
            quantise::encode(format, &x, usize::MAX, bytes)
        });
        for (bad, says) in BAD.map(|bad| (bad, "NaN or infinite")).into_iter().chain([(f32::MAX, "largest")])
        {
            let mut poisoned = x.clone();
            poisoned[rows * width - 1] = bad;
            refused(ENCODE, says, [some(len)], |[bytes]| quantise::encode(format, &poisoned, width, bytes));
        }
        let mut bytes = vec![0; len];
        quantise::encode(format, &x, width, &mut bytes).unwrap();
        const DECODE: &str = "quantise decode";
        lengths(DECODE, [rows * width], |[x]| quantise::decode(format, &bytes, width, x));
        refused(DECODE, "width is 0", [some(195)], |[x]| quantise::decode(format, &bytes, 0, x));
        refused(DECODE, "values holds 0 values, but 65", [some(0)], |[x]| {
            quantise::decode(format, &bytes, width, x)
        });
        for wrong in [&bytes[1..], &bytes[..0], &[bytes.as_slice(), &[1]].concat()] {
            refused(DECODE, &format!("bytes holds {} values, but {len}", wrong.len()), [some(195)], |[x]| {
                quantise::decode(format, wrong, width, x)
            });
        }
        // The last row holds what no encoder writes.
        let mut wrong = bytes.clone();
        wrong[len - 2..].fill(0xff);
        let says = if format == Format::Bf16 { "NaN or infinite" } else { "does not follow the format" };
        refused(DECODE, says, [some(195)], |[x]| quantise::decode(format, &wrong, width, x));
    }
}

/// The functions called above.
const CALLED: [&str; 32] = [
    "attention::backward",
    "attention::decode",
    "attention::forward",
    "elementwise::add",
    "elementwise::add_assign",
    "embed::gather",
    "embed::scatter_add",
    "gemm::gemm",
    "gemm::gemm_symmetric",
    "grid::dequantise",
    "grid::merge",
    "grid::quantise_add",
    "grid::quantise_sub",
    "loss::cross_entropy",
    "loss::cross_entropy_in_place",
    "norm::rms_backward",
    "norm::rms_forward",
    "optim::adamw",
    "optim::clip",
    "optim::descend",
    "optim::momentum",
    "optim::newton_schulz",
    "optim::newton_schulz_gram",
    "optim::orthogonalise",
    "quantise::decode",
    "quantise::encode",
    "reduce::dot",
    "rope::rotate",
    "rope::rotate_back",
    "swiglu::backward",
    "swiglu::backward_in_place",
    "swiglu::forward",
];

/// Collects the public functions of the files under `folder` that may refuse their arguments, as module::function.
fn fallible(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            fallible(&path, found);
            continue;
        }
        let folder = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let module = if stem == "mod" { folder } else { stem };
        let text = std::fs::read_to_string(&path).unwrap();
        for function in text.split("\npub fn ").skip(1) {
            let signature = function.split('{').next().unwrap();
            let name = signature.split(['(', '<']).next().unwrap();
            if signature.contains("-> Result<") {
                found.insert(format!("{module}::{name}"));
            }
        }
    }
}

#[test]
fn every_operation_that_can_refuse_is_called_here() {
    let mut found = BTreeSet::new();
    fallible(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    let called: BTreeSet<String> = CALLED.map(str::to_owned).into();
    let missing: Vec<_> = found.difference(&called).collect();
    assert!(missing.is_empty(), "give these bad input, and list them: {missing:?}");
    let gone: Vec<_> = called.difference(&found).collect();
    assert!(gone.is_empty(), "these no longer exist: {gone:?}");
}
