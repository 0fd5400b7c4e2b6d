//! Run every operation on random inputs, and keep inputs and outputs for the traces to be compared with.

use tessera_arith::{
    Mat, MatMut, Store, attention, elementwise, embed, gemm, gemm_symmetric, grid, loss, norm, optim,
    quantise, reduce, rope, scalar, swiglu,
    trace::{Arithmetic, Data, Operation, Tracer},
};

/// An input that is kept.
pub(crate) enum Owned {
    Numbers(Vec<f32>),
    Indices(Vec<u32>),
    Sums(Vec<i64>),
    Bytes(Vec<u8>),
}

/// An operation that has been run.
pub(crate) struct Case {
    pub(crate) operation: Operation,
    pub(crate) inputs: Vec<(&'static str, Owned)>,
    /// What the operation wrote, as bits.
    pub(crate) outputs: Vec<(&'static str, Vec<u64>)>,
}

impl Case {
    fn new(operation: Operation) -> Case {
        Case { operation, inputs: Vec::new(), outputs: Vec::new() }
    }

    fn given(mut self, name: &'static str, values: &[f32]) -> Case {
        self.inputs.push((name, Owned::Numbers(values.to_vec())));
        self
    }

    fn indices(mut self, name: &'static str, values: &[u32]) -> Case {
        self.inputs.push((name, Owned::Indices(values.to_vec())));
        self
    }

    fn sums(mut self, name: &'static str, values: &[i64]) -> Case {
        self.inputs.push((name, Owned::Sums(values.to_vec())));
        self
    }

    fn bytes(mut self, name: &'static str, values: &[u8]) -> Case {
        self.inputs.push((name, Owned::Bytes(values.to_vec())));
        self
    }

    fn sent(mut self, name: &'static str, values: &[u8]) -> Case {
        self.outputs.push((name, values.iter().map(|byte| u64::from(*byte)).collect()));
        self
    }

    fn wrote(mut self, name: &'static str, values: &[f32]) -> Case {
        self.outputs.push((name, values.iter().map(|x| u64::from(x.to_bits())).collect()));
        self
    }

    fn counted(mut self, name: &'static str, values: &[i64]) -> Case {
        self.outputs.push((name, values.iter().map(|n| *n as u64).collect()));
        self
    }

    /// A tracer of this case.
    pub(crate) fn tracer(&self, arithmetic: Arithmetic) -> Tracer<'_> {
        let inputs: Vec<_> = self
            .inputs
            .iter()
            .map(|(name, owned)| {
                let data = match owned {
                    Owned::Numbers(x) => Data::Numbers(x),
                    Owned::Indices(x) => Data::Indices(x),
                    Owned::Sums(x) => Data::Sums(x),
                    Owned::Bytes(x) => Data::Bytes(x),
                };
                (*name, data)
            })
            .collect();
        Tracer::new(self.operation.clone(), &inputs, arithmetic).unwrap()
    }
}

/// How hard the inputs are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Ordinary,
    /// Zeros of both signs, subnormal numbers, the largest and smallest exponents.
    Hostile,
    /// The same, with infinities and NaN.
    Poisoned,
    /// Ordinary, but in attention the last key and value are infinite. A zero probability times infinity shows which
    /// keys a sum runs over.
    LastKeyInfinite,
    /// Ordinary, but in attention the first query and its gradient are infinite: which rows a sum runs over.
    FirstRowInfinite,
}

/// SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A number whose exponent is within `spread` of that of one.
    fn near_one(&mut self, spread: u32) -> f32 {
        let bits = self.next();
        let exponent = 127 - spread + ((bits >> 32) as u32) % (2 * spread + 1);
        f32::from_bits(bits as u32 & 0x807f_ffff | exponent << 23)
    }

    pub(crate) fn numbers(&mut self, mood: Mood, len: usize) -> Vec<f32> {
        (0..len)
            .map(|_| {
                let bits = self.next();
                let (sign, low) = ((bits >> 63 << 31) as u32, (bits >> 20) as u32);
                match (mood, bits % 16) {
                    (Mood::Ordinary | Mood::LastKeyInfinite | Mood::FirstRowInfinite, _) => self.near_one(3),
                    (_, 0) => f32::from_bits(sign),
                    (_, 1 | 2) => f32::from_bits(sign | low & 0x007f_ffff),
                    (_, 3) => f32::from_bits(sign | 0x7e80_0000 | low & 0x007f_ffff),
                    (_, 4 | 5) => f32::from_bits(sign | 0x0080_0000 | low & 0x00ff_ffff),
                    (_, 6 | 7) => self.near_one(60),
                    (Mood::Poisoned, 8) => f32::from_bits(sign | 0x7f80_0000),
                    (Mood::Poisoned, 9) => f32::from_bits(sign | 0x7f80_0001 | low & 0x007f_ffff),
                    _ => self.near_one(3),
                }
            })
            .collect()
    }

    fn indices_below(&mut self, len: usize, bound: usize) -> Vec<u32> {
        (0..len).map(|_| self.below(bound) as u32).collect()
    }

    fn store(&mut self) -> Store {
        self.pick(&[Store::Set, Store::Add])
    }
}

/// Runs every operation once or more on the instruction set in force.
pub(crate) fn all(random: &mut Random, mood: Mood) -> Vec<Case> {
    let mut cases = Vec::new();
    for part in [
        products,
        orthogonalised,
        reductions,
        functions,
        norms,
        rotations,
        gates,
        losses,
        tables,
        updates,
        norms_of_tensors,
        grids,
        wires,
    ] {
        part(random, mood, &mut cases);
    }
    attentions(random, mood, &mut cases);
    cases
}

fn products(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    for layout in 0..4 {
        let (m, n) = (1 + random.below(20), 1 + random.below(40));
        let k = random.pick(&[1, 7, 255, 256, 257, 600]);
        let (pad, store) = (random.below(3), random.store());
        let a_strides = if layout & 1 == 0 { [k + pad, 1] } else { [1, m + pad] };
        let b_strides = if layout & 2 == 0 { [n + pad, 1] } else { [1, k + pad] };
        let extent = |rows: usize, cols: usize, [row, col]: [usize; 2]| {
            if rows * cols == 0 { 0 } else { (rows - 1) * row + (cols - 1) * col + 1 }
        };
        let c_row = n + pad;
        let (a, b) =
            (random.numbers(mood, extent(m, k, a_strides)), random.numbers(mood, extent(k, n, b_strides)));
        let old = random.numbers(mood, extent(m, n, [c_row, 1]));
        let mut c = old.clone();
        let view_a = Mat::strided(&a, m, k, a_strides[0], a_strides[1]).unwrap();
        let view_b = Mat::strided(&b, k, n, b_strides[0], b_strides[1]).unwrap();
        gemm(MatMut::strided(&mut c, m, n, c_row).unwrap(), view_a, view_b, store).unwrap();
        let out: Vec<f32> = (0..m * n).map(|at| c[at / n * c_row + at % n]).collect();
        let operation = Operation::Gemm { m, n, k, a: a_strides, b: b_strides, c_row, store };
        let case = Case::new(operation).given("a", &a).given("b", &b).wrote("out", &out);
        cases.push(if store == Store::Add { case.given("c", &old) } else { case });
    }
    // Not symmetric in exact arithmetic: the part below the diagonal must be the mirror image all the same.
    let (n, k) = (1 + random.below(20), random.pick(&[1, 5, 256, 300]));
    let (a, b) = (random.numbers(mood, n * k), random.numbers(mood, k * n));
    let mut c = vec![0.0; n * n];
    let (view_a, view_b) = (Mat::new(&a, n, k).unwrap(), Mat::new(&b, n, k).unwrap().t());
    gemm_symmetric(&mut c, view_a, view_b).unwrap();
    let operation = Operation::GemmSymmetric { n, k, a: [k, 1], b: [1, k] };
    cases.push(Case::new(operation).given("a", &a).given("b", &b).wrote("out", &c));
    let (rows, cols) = random.pick(&[(1, 1), (3, 17), (17, 3), (9, 8), (20, 20), (2, 300), (300, 2)]);
    let steps = random.below(4);
    let old = random.numbers(mood, rows * cols);
    let mut m = old.clone();
    optim::newton_schulz(&mut m, rows, cols, steps).unwrap();
    cases.push(Case::new(Operation::NewtonSchulz { rows, cols, steps }).given("m", &old).wrote("out", &m));
    m.copy_from_slice(&old);
    optim::newton_schulz_gram(&mut m, rows, cols, steps).unwrap();
    cases
        .push(Case::new(Operation::NewtonSchulzGram { rows, cols, steps }).given("m", &old).wrote("out", &m));
}

/// One of the two forms, by the ratio of the sides.
fn orthogonalised(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    for (rows, cols, gram) in [(3, 6, true), (11, 5, true), (5, 9, false), (4, 4, false)] {
        let old = random.numbers(mood, rows * cols);
        let mut m = old.clone();
        optim::orthogonalise(&mut m, rows, cols, 2).unwrap();
        let operation = if gram {
            Operation::NewtonSchulzGram { rows, cols, steps: 2 }
        } else {
            Operation::NewtonSchulz { rows, cols, steps: 2 }
        };
        cases.push(Case::new(operation).given("m", &old).wrote("out", &m));
    }
}

fn reductions(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    let len = random.pick(&[0, 1, 5, 15, 16, 17, 40, 255, 1000]);
    let (x, y) = (random.numbers(mood, len), random.numbers(mood, len));
    let one = |operation, value: f32| Case::new(operation).given("x", &x).wrote("out", &[value]);
    cases.push(one(Operation::Sum { len }, reduce::sum(&x)));
    cases.push(one(Operation::SumSquares { len }, reduce::sum_squares(&x)));
    cases.push(one(Operation::Max { len }, reduce::max(&x)));
    cases.push(one(Operation::Dot { len }, reduce::dot(&x, &y).unwrap()).given("y", &y));
    // The sign of a zero depends on the order of comparisons.
    let zeros: Vec<f32> = (0..len).map(|_| random.pick(&[0.0, -0.0, -1.0])).collect();
    cases.push(Case::new(Operation::Max { len }).given("x", &zeros).wrote("out", &[reduce::max(&zeros)]));
    let mut p = x.clone();
    scalar::softmax(&mut p);
    cases.push(Case::new(Operation::Softmax { len }).given("x", &x).wrote("out", &p));
}

fn functions(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    let mut x = random.numbers(mood, 60);
    x.extend([0.0, -0.0, 1.0, 88.73, -87.4, -103.9, -104.1, 1000.0, -1000.0, f32::MIN_POSITIVE]);
    x.extend((0..60).map(|_| random.near_one(7) * 4.0));
    let len = x.len();
    type InPlace = fn(&mut [f32]);
    let functions: [(Operation, InPlace); 5] = [
        (Operation::Exp { len }, scalar::exp_slice),
        (Operation::Log { len }, scalar::log_slice),
        (Operation::Sigmoid { len }, scalar::sigmoid_slice),
        (Operation::Silu { len }, scalar::silu_slice),
        (Operation::Rsqrt { len }, scalar::rsqrt_slice),
    ];
    for (operation, function) in functions {
        let mut out = x.clone();
        function(&mut out);
        cases.push(Case::new(operation).given("x", &x).wrote("out", &out));
    }
}

fn norms(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    let (rows, d) = random.pick(&[(1, 1), (3, 17), (5, 40), (300, 5)]);
    let (x, dy) = (random.numbers(mood, rows * d), random.numbers(mood, rows * d));
    let gain = random.numbers(mood, d);
    let (mut out, mut inverse) = (vec![0.0; rows * d], vec![0.0; rows]);
    norm::rms_forward(&x, &gain, 1e-5, &mut out, &mut inverse).unwrap();
    cases.push(
        Case::new(Operation::RmsForward { rows, d, epsilon: 1e-5 })
            .given("x", &x)
            .given("gain", &gain)
            .wrote("out", &out)
            .wrote("inv_rms", &inverse),
    );
    for store in [Store::Set, Store::Add] {
        let (old_dx, old_dgain) = (random.numbers(mood, rows * d), random.numbers(mood, d));
        let (mut dx, mut dgain) = (old_dx.clone(), old_dgain.clone());
        norm::rms_backward(&x, &gain, &inverse, &dy, &mut dx, &mut dgain, store).unwrap();
        let case = Case::new(Operation::RmsBackward { rows, d, store })
            .given("x", &x)
            .given("gain", &gain)
            .given("inv_rms", &inverse)
            .given("dy", &dy)
            .given("dgain", &old_dgain)
            .wrote("new dx", &dx)
            .wrote("new dgain", &dgain);
        cases.push(if store == Store::Add { case.given("dx", &old_dx) } else { case });
    }
}

fn rotations(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    let (rows, heads, head_dim) = (1 + random.below(5), 1 + random.below(3), 2 * (1 + random.below(20)));
    let positions = 50;
    let table = rope::RopeTable::new(positions, head_dim, 10_000.0).unwrap();
    let position = random.indices_below(rows, positions);
    for back in [false, true] {
        let x = random.numbers(mood, rows * heads * head_dim);
        let mut out = x.clone();
        let turn = if back { rope::rotate_back } else { rope::rotate };
        turn(&mut out, heads, &position, &table).unwrap();
        cases.push(
            Case::new(Operation::Rope { rows, heads, head_dim, positions, back })
                .given("x", &x)
                .indices("position", &position)
                .given("cos", table.cosines())
                .given("sin", table.sines())
                .wrote("out", &out),
        );
    }
}

fn attentions(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    let sizes = [
        (2, 1, 4, 2, 3),
        (2, 17, 2, 1, 5),
        (1, 65, 4, 2, 2),
        (1, 140, 3, 3, 1),
        (1, 270, 2, 1, 1),
        (1, 3, 1, 1, 300),
    ];
    let (batch, seq, heads, kv_heads, head_dim) = random.pick(&sizes);
    attention(random, mood, attention::Shape { batch, seq, heads, kv_heads, head_dim }, cases);
}

/// Runs attention forward, backward, and decoding over all keys as one sequence.
pub(crate) fn attention(random: &mut Random, mood: Mood, shape: attention::Shape, cases: &mut Vec<Case>) {
    let attention::Shape { batch, seq, heads, kv_heads, head_dim } = shape;
    let (many, few) = (batch * seq * heads * head_dim, batch * seq * kv_heads * head_dim);
    let (mut q, mut dout) = (random.numbers(mood, many), random.numbers(mood, many));
    let (mut k, mut v) = (random.numbers(mood, few), random.numbers(mood, few));
    if mood == Mood::LastKeyInfinite {
        k[few - kv_heads * head_dim..].fill(f32::INFINITY);
        v[few - kv_heads * head_dim..].fill(f32::NEG_INFINITY);
    }
    if mood == Mood::FirstRowInfinite {
        q[..heads * head_dim].fill(f32::INFINITY);
        dout[..heads * head_dim].fill(f32::INFINITY);
    }
    let mut out = vec![0.0; many];
    attention::forward(shape, &q, &k, &v, &mut out).unwrap();
    let given = |operation| Case::new(operation).given("k", &k).given("v", &v);
    cases.push(given(Operation::AttentionForward(shape)).given("q", &q).wrote("out", &out));
    let (mut dq, mut dk, mut dv) = (vec![0.0; many], vec![0.0; few], vec![0.0; few]);
    attention::backward(shape, &q, &k, &v, &dout, &mut dq, &mut dk, &mut dv).unwrap();
    cases.push(
        given(Operation::AttentionBackward(shape))
            .given("q", &q)
            .given("dout", &dout)
            .wrote("dq", &dq)
            .wrote("dk", &dk)
            .wrote("dv", &dv),
    );
    let (q, keys) = (random.numbers(mood, heads * head_dim), batch * seq);
    let mut out = vec![0.0; q.len()];
    attention::decode(heads, kv_heads, head_dim, &q, &k, &v, &mut out).unwrap();
    let operation = Operation::AttentionDecode { heads, kv_heads, head_dim, keys };
    cases.push(given(operation).given("q", &q).wrote("out", &out));
}

fn gates(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    let len = 50;
    let (gate, up, dout) = (random.numbers(mood, len), random.numbers(mood, len), random.numbers(mood, len));
    let (mut out, mut dgate, mut dup) = (vec![0.0; len], vec![0.0; len], vec![0.0; len]);
    swiglu::forward(&gate, &up, &mut out).unwrap();
    swiglu::backward(&gate, &up, &dout, &mut dgate, &mut dup).unwrap();
    let given = |operation| Case::new(operation).given("gate", &gate).given("up", &up);
    cases.push(given(Operation::SwigluForward { len }).wrote("out", &out));
    let backward = given(Operation::SwigluBackward { len }).given("dout", &dout);
    cases.push(backward.wrote("dgate", &dgate).wrote("dup", &dup));
    // In place: the gate becomes its gradient, up its own, and the gradient of the output the output.
    let (mut a, mut b, mut c) = (gate.clone(), up.clone(), dout.clone());
    swiglu::backward_in_place(&mut a, &mut b, &mut c).unwrap();
    let backward = given(Operation::SwigluBackward { len }).given("dout", &dout);
    cases.push(backward.wrote("dgate", &a).wrote("dup", &b));
    cases.push(given(Operation::SwigluForward { len }).wrote("out", &c));
    let mut sum = vec![0.0; len];
    elementwise::add(&gate, &up, &mut sum).unwrap();
    cases.push(Case::new(Operation::Add { len }).given("x", &gate).given("y", &up).wrote("out", &sum));
    let mut sum = gate.clone();
    elementwise::add_assign(&mut sum, &dout).unwrap();
    cases.push(Case::new(Operation::Add { len }).given("x", &gate).given("y", &dout).wrote("out", &sum));
    let factor = random.near_one(20);
    elementwise::scale(&mut sum, factor);
    let before = cases[cases.len() - 1].outputs[0].1.iter().map(|bits| f32::from_bits(*bits as u32));
    let before: Vec<f32> = before.collect();
    cases.push(Case::new(Operation::Scale { len, factor }).given("x", &before).wrote("out", &sum));
}

fn losses(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    let (rows, vocab) = random.pick(&[(1, 1), (3, 17), (4, 50), (2, 300)]);
    let logits = random.numbers(mood, rows * vocab);
    let target = random.indices_below(rows, vocab);
    let (mut losses, mut gradient) = (vec![0.0; rows], vec![0.0; rows * vocab]);
    let scale = random.near_one(3);
    loss::cross_entropy(&logits, &target, &mut losses, Some(&mut gradient), scale).unwrap();
    let given = || {
        Case::new(Operation::CrossEntropy { rows, vocab, scale })
            .given("logits", &logits)
            .indices("target", &target)
    };
    cases.push(given().wrote("loss", &losses).wrote("dlogits", &gradient));
    // In place: the gradient replaces the logits.
    let mut replaced = logits.clone();
    loss::cross_entropy_in_place(&mut replaced, &target, &mut losses, scale).unwrap();
    cases.push(given().wrote("loss", &losses).wrote("dlogits", &replaced));
}

fn tables(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    let (vocab, d, tokens) = (1 + random.below(6), 1 + random.below(20), 1 + random.below(30));
    let (table, dout) = (random.numbers(mood, vocab * d), random.numbers(mood, tokens * d));
    let token = random.indices_below(tokens, vocab);
    let mut out = vec![0.0; tokens * d];
    embed::gather(&table, d, &token, &mut out).unwrap();
    let gather = Case::new(Operation::Gather { vocab, d, tokens }).given("table", &table);
    cases.push(gather.indices("token", &token).wrote("out", &out));
    let mut sum = table.clone();
    embed::scatter_add(&mut sum, d, &token, &dout).unwrap();
    let scatter = Case::new(Operation::ScatterAdd { vocab, d, tokens }).given("dtable", &table);
    cases.push(scatter.indices("token", &token).given("dout", &dout).wrote("out", &sum));
}

fn updates(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    let len = 40;
    let gradient = random.numbers(mood, len);
    let old = [0; 3].map(|_| random.numbers(mood, len));
    let [mut weight, mut first, mut second] = old.clone();
    second.iter_mut().for_each(|x| *x = x.abs());
    let old_second = second.clone();
    let step = optim::AdamW {
        learning_rate: 3e-4,
        beta1: 0.9,
        beta2: 0.95,
        epsilon: 1e-8,
        weight_decay: 0.1,
        correction1: 10.0,
        correction2: 20.0,
    };
    optim::adamw(&step, &mut weight, &mut first, &mut second, &gradient).unwrap();
    cases.push(
        Case::new(Operation::AdamW { len, step })
            .given("weight", &old[0])
            .given("first", &old[1])
            .given("second", &old_second)
            .given("gradient", &gradient)
            .wrote("new weight", &weight)
            .wrote("new first", &first)
            .wrote("new second", &second),
    );
    for nesterov in [false, true] {
        let (mut buffer, mut direction) = (old[1].clone(), vec![0.0; len]);
        optim::momentum(&mut buffer, &gradient, 0.95, nesterov, &mut direction).unwrap();
        cases.push(
            Case::new(Operation::Momentum { len, beta: 0.95, nesterov })
                .given("buffer", &old[1])
                .given("gradient", &gradient)
                .wrote("new buffer", &buffer)
                .wrote("direction", &direction),
        );
    }
    let mut weight = old[0].clone();
    optim::descend(&mut weight, &gradient, 0.02, 0.01).unwrap();
    let operation = Operation::Descend { len, learning_rate: 0.02, weight_decay: 0.01 };
    cases.push(
        Case::new(operation).given("weight", &old[0]).given("direction", &gradient).wrote("out", &weight),
    );
}

fn norms_of_tensors(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    let lengths = vec![random.below(50), 0, 1 + random.below(50)];
    // Clipping refuses a norm that is not finite.
    for (mood, scale) in [(mood, 1.0), (Mood::Ordinary, 1.0), (Mood::Ordinary, 1e-30)] {
        let tensors: Vec<Vec<f32>> = lengths
            .iter()
            .map(|len| random.numbers(mood, *len).iter().map(|x| x * scale).collect())
            .collect();
        let slices: Vec<&[f32]> = tensors.iter().map(Vec::as_slice).collect();
        let norm = optim::global_norm(&slices);
        let flat = tensors.concat();
        let lengths = lengths.clone();
        let operation = Operation::GlobalNorm { lengths: lengths.clone() };
        cases.push(Case::new(operation).given("tensors", &flat).wrote("norm", &[norm]));
        let mut clipped = tensors.clone();
        let mut slices: Vec<&mut [f32]> = clipped.iter_mut().map(Vec::as_mut_slice).collect();
        if let Ok(norm) = optim::clip(&mut slices, 0.5) {
            let case = Case::new(Operation::Clip { lengths, max_norm: 0.5 }).given("tensors", &flat);
            cases.push(case.wrote("norm", &[norm]).wrote("out", &clipped.concat()));
        }
    }
}

fn grids(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    let (len, exponent) = (50, random.pick(&[-126, -40, -10, 0, 3, 100, 127]));
    let mood = if mood == Mood::Poisoned { Mood::Hostile } else { mood };
    let gradient = random.numbers(mood, len);
    let old: Vec<i64> = (0..len).map(|_| (random.next() as i64) >> (2 + random.below(62))).collect();
    let other: Vec<i64> = (0..len).map(|_| (random.next() as i64) >> (3 + random.below(60))).collect();
    let (mut added, mut taken, mut merged) = (old.clone(), old.clone(), old.clone());
    grid::quantise_add(&gradient, exponent, &mut added).unwrap();
    grid::quantise_sub(&gradient, exponent, &mut taken).unwrap();
    grid::merge(&mut merged, &other).unwrap();
    let given = |operation| Case::new(operation).sums("sum", &old);
    let add = given(Operation::QuantiseAdd { len, exponent }).given("gradient", &gradient);
    cases.push(add.counted("out", &added));
    let sub = given(Operation::QuantiseSub { len, exponent }).given("gradient", &gradient);
    cases.push(sub.counted("out", &taken));
    cases.push(given(Operation::Merge { len }).sums("other", &other).counted("out", &merged));
    let mut out = vec![0.0; len];
    let scale = random.near_one(10);
    grid::dequantise(&old, exponent, scale, &mut out).unwrap();
    cases.push(given(Operation::Dequantise { len, exponent, scale }).wrote("out", &out));
}

fn wires(random: &mut Random, mood: Mood, cases: &mut Vec<Case>) {
    // An encoder refuses what is not finite.
    let mood = if mood == Mood::Poisoned { Mood::Hostile } else { mood };
    for format in quantise::Format::ALL {
        let (rows, width) = random.pick(&[(1, 1), (3, 17), (2, 64), (2, 65), (1, 130), (3, 129)]);
        let mut x = random.numbers(mood, rows * width);
        // Whole blocks of subnormal numbers, whose scale is the least, and of zeros.
        let faint = random.pick(&[1.0, 1e-38, 1e-43, 0.0]);
        x.chunks_mut(64).step_by(2).flatten().for_each(|x| *x *= faint);
        let mut bytes = vec![0; format.bytes(rows, width).unwrap()];
        quantise::encode(format, &x, width, &mut bytes).unwrap();
        let encode = Case::new(Operation::Encode { format, rows, width }).given("x", &x);
        cases.push(encode.sent("out", &bytes));
        let mut out = vec![0.0; rows * width];
        quantise::decode(format, &bytes, width, &mut out).unwrap();
        let decode = Case::new(Operation::Decode { format, rows, width }).bytes("bytes", &bytes);
        cases.push(decode.wrote("out", &out));
    }
}
