//! Show that this machine computes the canonical bits: hard cases of every operation, hashed into one root.
//!
//! Inputs come from an integer generator and include odd sizes, signed zeros, subnormals and the largest
//! exponents. Each operation's outputs are hashed into one [`Row`]; the rows are the leaves of a binary tree
//! of blake3 hashes. A machine whose root is not [`ROOT`] must not take part in the exact tier.
//!
//! A NaN counts as one value whatever its payload; elsewhere every bit counts.
//!
//! ```no_run
//! assert_eq!(tessera_arith::conform::run().root, tessera_arith::conform::ROOT);
//! ```

use crate::{
    ArithError, Mat, MatMut, Store, attention, elementwise, embed, gemm, grid, loss, norm, optim, reduce,
    rope, scalar, swiglu,
};

/// The root every conforming machine computes.
pub const ROOT: [u8; 32] = [
    0x6d, 0xfb, 0xb7, 0xe7, 0x29, 0x1a, 0xf3, 0x1a, 0x64, 0xa5, 0x38, 0xc6, 0x66, 0xfc, 0x70, 0xbc, 0xf5,
    0x2b, 0x64, 0xe2, 0x35, 0x37, 0x76, 0x32, 0x59, 0xa8, 0x40, 0xe3, 0xf5, 0xaf, 0xd8, 0x13,
];

/// The hash over all outputs of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub operation: &'static str,
    pub digest: [u8; 32],
}

/// What a machine computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub root: [u8; 32],
    pub rows: Vec<Row>,
}

/// Computes all cases with the instruction set and threads in force, in about a second at most.
pub fn run() -> Report {
    suite(&gemm)
}

type Operation = fn(&mut Inputs, &mut Leaf) -> Result<(), ArithError>;
type Gemm = dyn Fn(MatMut, Mat, Mat, Store) -> Result<(), ArithError>;

const SIZES: [usize; 5] = [1, 3, 17, 255, 257];

/// SplitMix64 (Steele, Lea and Flood 2014): integers only, so the same everywhere.
struct Inputs(u64);

impl Inputs {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A value of full precision whose exponent is within `spread` of that of one.
    fn value(&mut self, spread: u64) -> f32 {
        let bits = self.next();
        let exponent = 127 - spread as u32 + ((bits >> 32) % (2 * spread + 1)) as u32;
        f32::from_bits((bits as u32 & 0x807f_ffff) | (exponent << 23))
    }

    /// Ordinary values: magnitudes from 2^-6 to 2^2 or so.
    fn ordinary(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value(4) * 0.25).collect()
    }

    /// Values that find mistakes: zeros of both signs, subnormals, the largest and smallest exponents.
    fn hostile(&mut self, len: usize) -> Vec<f32> {
        (0..len)
            .map(|_| {
                let bits = self.next();
                let sign = (bits >> 63 << 31) as u32;
                match bits % 8 {
                    0 => f32::from_bits(sign),
                    1 => f32::from_bits(sign | (bits >> 20) as u32 & 0x007f_ffff),
                    2 => f32::from_bits(sign | 0x7e80_0000 | (bits >> 20) as u32 & 0x00ff_ffff),
                    3 => f32::from_bits(sign | 0x0080_0000 | (bits >> 20) as u32 & 0x00ff_ffff),
                    4 | 5 => self.value(60),
                    _ => self.value(3),
                }
            })
            .map(|x| if x.is_finite() { x } else { f32::MAX })
            .collect()
    }

    fn indices(&mut self, len: usize, below: u64) -> Vec<u32> {
        (0..len).map(|_| (self.next() % below) as u32).collect()
    }
}

/// The hash of one operation's outputs so far.
struct Leaf(&'static str, blake3::Hasher);

impl Leaf {
    fn new(operation: &'static str) -> Leaf {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"tessera/arith/conform/v1\0").update(operation.as_bytes()).update(&[0]);
        Leaf(operation, hasher)
    }

    fn add(&mut self, values: &[f32]) {
        self.1.update(&(values.len() as u64).to_le_bytes());
        let canonical = |x: &f32| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() };
        let bytes: Vec<u8> = values.iter().flat_map(|x| canonical(x).to_le_bytes()).collect();
        self.1.update(&bytes);
    }

    fn add_integers(&mut self, values: &[i64]) {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.1.update(&(values.len() as u64).to_le_bytes()).update(&bytes);
    }

    fn row(self) -> Row {
        Row { operation: self.0, digest: self.1.finalize().into() }
    }
}

fn root(rows: &[Row]) -> [u8; 32] {
    let mut level: Vec<[u8; 32]> = rows.iter().map(|row| row.digest).collect();
    while level.len() > 1 {
        let pair = |pair: &[[u8; 32]]| match pair {
            [left, right] => blake3::Hasher::new().update(&[1]).update(left).update(right).finalize().into(),
            rest => rest[0],
        };
        level = level.chunks(2).map(pair).collect();
    }
    level.first().copied().unwrap_or([0; 32])
}

fn suite(gemm: &Gemm) -> Report {
    const SHAPES: &str = "the shapes of the conformance suite fit";
    let mut inputs = Inputs(0x7465_7373_6572_6121);
    let operations: [Operation; 11] = [
        reductions, functions, softmaxes, norms, rotations, attentions, gates, losses, embeddings,
        optimizers, grids,
    ];
    let names = [
        "reduce",
        "scalar",
        "softmax",
        "norm",
        "rope",
        "attention",
        "swiglu",
        "loss",
        "embed",
        "optim",
        "grid",
    ];
    let mut leaf = Leaf::new("gemm");
    products(gemm, &mut inputs, &mut leaf).expect(SHAPES);
    let mut rows = vec![leaf.row()];
    for (name, operation) in names.into_iter().zip(operations) {
        let mut leaf = Leaf::new(name);
        operation(&mut inputs, &mut leaf).expect(SHAPES);
        rows.push(leaf.row());
    }
    Report { root: root(&rows), rows }
}

fn products(gemm: &Gemm, inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    let mut case = 0;
    let mut one = |m: usize, n: usize, k: usize| -> Result<(), ArithError> {
        case += 1;
        let fill = |inputs: &mut Inputs, len| {
            if case % 4 == 3 { inputs.hostile(len) } else { inputs.ordinary(len) }
        };
        let (a, b) = (fill(inputs, m * k), fill(inputs, k * n));
        let mut c = fill(inputs, m * n);
        let a = if case % 3 == 1 { Mat::new(&a, k, m)?.t() } else { Mat::new(&a, m, k)? };
        let b = if case % 3 == 2 { Mat::new(&b, n, k)?.t() } else { Mat::new(&b, k, n)? };
        let store = if case % 2 == 0 { Store::Set } else { Store::Add };
        gemm(MatMut::new(&mut c, m, n)?, a, b, store)?;
        leaf.add(&c);
        Ok(())
    };
    for m in SIZES {
        for n in SIZES {
            for k in SIZES {
                one(m, n, k)?;
            }
        }
    }
    for (m, n, k) in [(5, 7, 0), (2, 9, 512), (13, 33, 513), (40, 70, 1000)] {
        one(m, n, k)?;
    }
    Ok(())
}

fn reductions(inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    for len in SIZES.into_iter().chain([0, 16, 10_000]) {
        for (x, y) in
            [(inputs.ordinary(len), inputs.ordinary(len)), (inputs.hostile(len), inputs.hostile(len))]
        {
            leaf.add(&[reduce::sum(&x), reduce::sum_squares(&x), reduce::dot(&x, &y)?, reduce::max(&x)]);
        }
    }
    Ok(())
}

fn functions(inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    let edges = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        88.72,
        88.73,
        -87.3,
        -87.4,
        -103.9,
        -104.1,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
    ];
    let mut x = edges.to_vec();
    // Every 2^16th bit pattern: all exponents and signs.
    x.extend((0..1 << 16).map(|high: u32| f32::from_bits(high << 16 | inputs.next() as u32 & 0xffff)));
    for function in
        [scalar::exp_slice, scalar::log_slice, scalar::sigmoid_slice, scalar::silu_slice, scalar::rsqrt_slice]
    {
        let mut y = x.clone();
        function(&mut y);
        leaf.add(&y);
    }
    Ok(())
}

fn softmaxes(inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    for len in SIZES {
        for mut x in [inputs.ordinary(len), inputs.hostile(len)] {
            scalar::softmax(&mut x);
            leaf.add(&x);
        }
    }
    Ok(())
}

fn norms(inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    for (rows, d) in [(1, 1), (3, 17), (17, 257), (513, 33)] {
        for hostile in [false, true] {
            let x = if hostile { inputs.hostile(rows * d) } else { inputs.ordinary(rows * d) };
            let (gain, dy) = (inputs.ordinary(d), inputs.ordinary(rows * d));
            let (mut out, mut inverse) = (vec![0.0; rows * d], vec![0.0; rows]);
            norm::rms_forward(&x, &gain, 1e-5, &mut out, &mut inverse)?;
            leaf.add(&out);
            let (mut dx, mut dgain) = (inputs.ordinary(rows * d), inputs.ordinary(d));
            for store in [Store::Add, Store::Set] {
                norm::rms_backward(&x, &gain, &inverse, &dy, &mut dx, &mut dgain, store)?;
                leaf.add(&dx);
                leaf.add(&dgain);
            }
        }
    }
    Ok(())
}

fn rotations(inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    for (positions, heads, head_dim) in [(1, 1, 2), (257, 3, 34), (600, 2, 64)] {
        let table = rope::RopeTable::new(positions, head_dim, 10_000.0)?;
        let at: Vec<u32> = (0..positions as u32).rev().collect();
        let mut x = inputs.ordinary(positions * heads * head_dim);
        rope::rotate(&mut x, heads, &at, &table)?;
        leaf.add(&x);
        rope::rotate_back(&mut x, heads, &at, &table)?;
        leaf.add(&x);
    }
    Ok(())
}

fn attentions(inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    for (batch, seq, heads, kv_heads, head_dim) in
        [(1, 1, 1, 1, 1), (3, 17, 2, 1, 3), (2, 65, 4, 2, 16), (1, 300, 3, 1, 17)]
    {
        let shape = attention::Shape { batch, seq, heads, kv_heads, head_dim };
        let (many, few) = (batch * seq * heads * head_dim, batch * seq * kv_heads * head_dim);
        let (q, k, v) = (inputs.ordinary(many), inputs.ordinary(few), inputs.ordinary(few));
        let dout = inputs.ordinary(many);
        let mut out = vec![0.0; many];
        attention::forward(shape, &q, &k, &v, &mut out)?;
        leaf.add(&out);
        let (mut dq, mut dk, mut dv) = (vec![0.0; many], vec![0.0; few], vec![0.0; few]);
        attention::backward(shape, &q, &k, &v, &dout, &mut dq, &mut dk, &mut dv)?;
        leaf.add(&dq);
        leaf.add(&dk);
        leaf.add(&dv);
        let (q_width, kv_len) = (heads * head_dim, seq * kv_heads * head_dim);
        let last = (seq - 1) * q_width..seq * q_width;
        let mut row = vec![0.0; q_width];
        attention::decode(heads, kv_heads, head_dim, &q[last], &k[..kv_len], &v[..kv_len], &mut row)?;
        leaf.add(&row);
    }
    Ok(())
}

fn gates(inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    for len in [1, 17, 40_001] {
        for hostile in [false, true] {
            let mut fill = || if hostile { inputs.hostile(len) } else { inputs.ordinary(len) };
            let (gate, up, dout) = (fill(), fill(), fill());
            let (mut out, mut dgate, mut dup) = (vec![0.0; len], vec![0.0; len], vec![0.0; len]);
            swiglu::forward(&gate, &up, &mut out)?;
            swiglu::backward(&gate, &up, &dout, &mut dgate, &mut dup)?;
            for values in [&out, &dgate, &dup] {
                leaf.add(values);
            }
        }
    }
    Ok(())
}

fn losses(inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    for (rows, vocab) in [(1, 1), (3, 17), (17, 257), (9, 1000)] {
        for hostile in [false, true] {
            let logits = if hostile { inputs.hostile(rows * vocab) } else { inputs.ordinary(rows * vocab) };
            let targets = inputs.indices(rows, vocab as u64);
            let (mut losses, mut gradient) = (vec![0.0; rows], vec![0.0; rows * vocab]);
            loss::cross_entropy(&logits, &targets, &mut losses, Some(&mut gradient), 1.0 / 3.0)?;
            leaf.add(&losses);
            leaf.add(&gradient);
            loss::cross_entropy(&logits, &targets, &mut losses, None, 1.0)?;
            leaf.add(&losses);
        }
    }
    Ok(())
}

fn embeddings(inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    for (vocab, d, count) in [(1, 1, 3), (17, 33, 255)] {
        let mut table = inputs.hostile(vocab * d);
        let tokens = inputs.indices(count, vocab as u64);
        let mut out = vec![0.0; count * d];
        embed::gather(&table, d, &tokens, &mut out)?;
        leaf.add(&out);
        embed::scatter_add(&mut table, d, &tokens, &inputs.ordinary(count * d))?;
        leaf.add(&table);
    }
    Ok(())
}

fn optimizers(inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    let step = optim::AdamW {
        learning_rate: 3e-4,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        correction1: 10.0,
        correction2: 20.0,
    };
    for len in SIZES.into_iter().chain([40_001]) {
        let (mut weight, mut first) = (inputs.ordinary(len), inputs.ordinary(len));
        let mut second: Vec<f32> = inputs.ordinary(len).iter().map(|x| x.abs()).collect();
        for grad in [inputs.ordinary(len), inputs.hostile(len)] {
            optim::adamw(&step, &mut weight, &mut first, &mut second, &grad)?;
            leaf.add(&weight);
        }
        let (mut buffer, mut direction) = (inputs.ordinary(len), vec![0.0; len]);
        for nesterov in [false, true] {
            optim::momentum(&mut buffer, &inputs.ordinary(len), 0.95, nesterov, &mut direction)?;
            leaf.add(&direction);
        }
        let mut weight = inputs.ordinary(len);
        optim::descend(&mut weight, &direction, 0.02, 0.01)?;
        elementwise::add_assign(&mut weight, &buffer)?;
        leaf.add(&weight);
        let mut other = inputs.ordinary(7);
        leaf.add(&[optim::global_norm(&[&weight, &other])]);
        leaf.add(&[optim::clip(&mut [&mut weight, &mut other], 0.5)?]);
        leaf.add(&weight);
        leaf.add(&other);
    }
    for (rows, cols) in [(1, 1), (3, 17), (17, 3), (65, 65), (130, 48)] {
        let mut m = inputs.ordinary(rows * cols);
        optim::newton_schulz(&mut m, rows, cols, 5)?;
        leaf.add(&m);
    }
    Ok(())
}

fn grids(inputs: &mut Inputs, leaf: &mut Leaf) -> Result<(), ArithError> {
    for exponent in [-126, -40, -10, 0, 100, 127] {
        let mut sum = vec![0; 257];
        for g in [inputs.ordinary(257), inputs.hostile(257)] {
            grid::quantise_add(&g, exponent, &mut sum)?;
            leaf.add_integers(&sum);
        }
        grid::quantise_sub(&inputs.ordinary(257), exponent, &mut sum)?;
        let mut out = vec![0.0; 257];
        grid::dequantise(&sum, exponent, 1.0 / 3.0, &mut out)?;
        leaf.add(&out);
        sum.iter_mut().for_each(|n| *n = n.wrapping_mul(0x1234_5678_9abc));
        grid::dequantise(&sum, exponent, 0.1, &mut out)?;
        leaf.add(&out);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Isa, with_isa, with_threads};

    fn hex(digest: &[u8; 32]) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn every_instruction_set_and_thread_count_gives_the_committed_root() {
        let reference = with_isa(Isa::Portable, || with_threads(1, run));
        for isa in Isa::available() {
            for threads in [1, 2, 3] {
                let report = with_isa(isa, || with_threads(threads, run));
                for (row, expected) in report.rows.iter().zip(&reference.rows) {
                    assert_eq!(row, expected, "{} on {isa:?} with {threads} threads", row.operation);
                }
            }
        }
        assert_eq!(hex(&reference.root), hex(&ROOT), "the arithmetic has changed: it needs a new version");
    }

    /// k descending: another order of the same sums.
    fn backwards(c: MatMut, a: Mat, b: Mat, store: Store) -> Result<(), ArithError> {
        let (m, n, k) = (a.rows(), b.cols(), a.cols());
        let turned_a: Vec<f32> = (0..m * k).map(|at| a.get(at / k, k - 1 - at % k)).collect();
        let turned_b: Vec<f32> = (0..k * n).map(|at| b.get(k - 1 - at / n, at % n)).collect();
        gemm(c, Mat::new(&turned_a, m, k)?, Mat::new(&turned_b, k, n)?, store)
    }

    #[test]
    fn a_reordered_kernel_is_found_out() {
        let report = suite(&backwards);
        assert_ne!(report.root, ROOT);
        assert_ne!(report.rows[0], run().rows[0]);
        assert_eq!(report.rows[1..], run().rows[1..], "only gemm was replaced");
    }

    #[test]
    fn inputs_hold_the_hard_cases() {
        let x = Inputs(1).hostile(1000);
        assert!(x.iter().any(|x| x.to_bits() == 1 << 31) && x.iter().any(|x| x.to_bits() == 0));
        assert!(x.iter().any(|x| x.is_subnormal()) && x.iter().any(|x| x.abs() > 1e38));
    }
}
