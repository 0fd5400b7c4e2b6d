//! List the operations of a unit of work in order, each with where its inputs come from (`verify` section 11.2).
//!
//! A [`Program`] follows from the run spec and the stage alone: anyone who knows the run knows every operation that
//! forward and backward perform, without weights. Its *entries* are all tensors that the operations make, inner ones
//! included ([`tessera_arith::trace`]), each after those that it rests on. They are cut into *parts* of at most 32
//! entries, as the ledger's game narrows them ([`tessera_ledger::trust::kind`]). Of a part, those entries are *told*
//! that another part reads; the digests of the others are needed only if that part is in dispute.
//!
//! ```text
//! parts 0..n     the operations, in the order of `tessera_model`'s forward and backward passes
//! part n         y: the output, or on the last stage the loss of every token
//! part n + 1     dx, but not of the first stage
//! parts ..       gradients of the weights on their grid, in the order of the stage's plan, 32 a part
//! ```
//! The last parts copy what the unit signs ([`crate::claim`]).
//!
//! What the model keeps or makes again, and in which tiles it holds the logits, leaves no trace in the bits, so here
//! every value exists once. A test runs both and compares.
//!
//! Not every run fits the game: [`ProgramError`] says why. Of a stage with the embedding, a unit may have at most
//! 512 rows, because the gradient of one row of the table reads the tokens of all of them. No tensor, inner ones
//! included, may have more than 96 MiB. Of the presets `tiny`, `nano` and the middle and last stages of `micro` fit; the
//! blocks of `base`'s widest product have 144 MiB.

use crate::tensor::TensorKind;
use std::ops::Range;
use tessera_arith::{
    Store, attention,
    trace::{Kind as Elements, Operation, Role},
};
use tessera_canon::tree::CHUNK;
use tessera_ledger::trust::kind::{Kind, Shape};
use tessera_model::{RunSpec, StagePlan, SubLayerKind};

/// Most entries of a part.
pub const MAX_PART: usize = 32;
/// Most rows of a unit of the stage with the embedding.
pub const MAX_EMBEDDED_ROWS: usize = 512;
/// Most rows of any unit.
pub const MAX_ROWS: usize = 1 << 16;

/// Where an input of an operation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Zeros: a sum that begins.
    Zero,
    /// The unit's input: activations, or tokens on the first stage.
    X,
    /// What backward starts from: the gradient of y, or labels on the last stage.
    Dy,
    /// A weight of the stage, by its place in the plan.
    Weight(usize),
    /// The tables of rotary positions.
    Cosines,
    Sines,
    /// The position of each row.
    Positions,
    /// An entry of the program.
    Made(usize),
}

/// An operation of the unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub operation: Operation,
    /// By the names of [`Operation::tensors`].
    pub inputs: Vec<(&'static str, Origin)>,
    /// Its entries: all of its tensors but the inputs, in their order.
    pub entries: Range<usize>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// A tensor of a step.
    By { step: usize, tensor: &'static str, output: bool },
    /// A copy of another entry.
    Copy(usize),
}

/// A tensor of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub made: Made,
    pub kind: TensorKind,
    pub dims: Vec<usize>,
    /// Whether another part reads it.
    pub told: bool,
}

/// What a unit signs, as entries of the program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Results {
    pub y: usize,
    pub dx: Option<usize>,
    /// In the order of the plan.
    pub dw: Vec<usize>,
}

/// The operations of a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub steps: Vec<Step>,
    pub entries: Vec<Entry>,
    /// Entries of each part.
    pub parts: Vec<Range<usize>>,
    /// The first of the parts that copy the results: y, dx if there is one, the weights' gradients.
    pub results_from: usize,
    pub results: Results,
    /// Shapes of what comes from outside.
    pub x: (TensorKind, Vec<usize>),
    pub dy: (TensorKind, Vec<usize>),
    pub weights: Vec<Vec<usize>>,
    /// Half the width of a head, and the base of rotary positions.
    pub(crate) rope: (usize, f64),
    pub(crate) seq_len: usize,
}

/// Why the units of a run cannot be narrowed to one step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    #[error("the run has {count} stages, there is no stage {got}")]
    NoSuchStage { got: u16, count: u16 },
    #[error("a unit may have {most} {what} to be disputed step by step, this one has {got}")]
    TooLarge { what: &'static str, most: usize, got: usize },
    #[error("the state has {expected} tensors, got {got} exponents")]
    Exponents { expected: usize, got: usize },
}

/// Most children of a level of this shape.
fn arity(shape: Shape) -> usize {
    let level = Kind::Dot.levels().iter().find(|level| level.shape == shape);
    level.map_or(0, |level| level.arity.into())
}

struct Builder {
    steps: Vec<Step>,
    entries: Vec<Entry>,
}

impl Builder {
    /// Add an operation. Its entries are named by [`Builder::made`].
    fn step(&mut self, operation: Operation, inputs: &[(&'static str, Origin)]) -> usize {
        let (step, first) = (self.steps.len(), self.entries.len());
        for tensor in operation.tensors().iter().filter(|tensor| tensor.role != Role::Input) {
            let kind = match tensor.kind {
                Elements::Sum => TensorKind::Sum,
                // No operation of a unit makes indices or bytes.
                Elements::Number | Elements::Index | Elements::Byte => TensorKind::Number,
            };
            let made = Made::By { step, tensor: tensor.name, output: tensor.role == Role::Output };
            self.entries.push(Entry { made, kind, dims: vec![tensor.len], told: false });
        }
        self.steps.push(Step { operation, inputs: inputs.to_vec(), entries: first..self.entries.len() });
        step
    }
    /// The entry of a step's tensor.
    fn made(&self, step: usize, tensor: &str) -> Origin {
        Origin::Made(entry_of(&self.steps, &self.entries, step, tensor).unwrap_or(usize::MAX))
    }
    /// The only output of a new step.
    fn out(&mut self, operation: Operation, inputs: &[(&'static str, Origin)]) -> Origin {
        let step = self.step(operation, inputs);
        self.made(step, "out")
    }
    fn gemm(&mut self, shape: Product, a: Origin, b: Origin, onto: Option<Origin>) -> Origin {
        let Product { m, n, k, a: rows, b: cols } = shape;
        let store = if onto.is_some() { Store::Add } else { Store::Set };
        let mut inputs = vec![("a", a), ("b", b)];
        inputs.extend(onto.map(|c| ("c", c)));
        self.out(Operation::Gemm { m, n, k, a: rows, b: cols, c_row: n, store }, &inputs)
    }
    /// The norm of rows of width `d`: what it gives, and the inverse root mean squares.
    fn norm(&mut self, rows: usize, d: usize, epsilon: f32, x: Origin, gain: Origin) -> (Origin, Origin) {
        let step = self.step(Operation::RmsForward { rows, d, epsilon }, &[("x", x), ("gain", gain)]);
        (self.made(step, "out"), self.made(step, "inv_rms"))
    }
}

/// Sizes and strides of a product.
struct Product {
    m: usize,
    n: usize,
    k: usize,
    a: [usize; 2],
    b: [usize; 2],
}

impl Product {
    /// y [rows, outer] = x [rows, inner] times the transpose of w [outer, inner].
    fn linear(rows: usize, inner: usize, outer: usize) -> Self {
        Self { m: rows, n: outer, k: inner, a: [inner, 1], b: [1, inner] }
    }
    /// dx [rows, inner] = dy [rows, outer] times w [outer, inner].
    fn input_gradient(rows: usize, inner: usize, outer: usize) -> Self {
        Self { m: rows, n: inner, k: outer, a: [outer, 1], b: [inner, 1] }
    }
    /// dw [outer, inner] = the transpose of dy [rows, outer] times x [rows, inner].
    fn weight_gradient(rows: usize, inner: usize, outer: usize) -> Self {
        Self { m: outer, n: inner, k: rows, a: [1, outer], b: [inner, 1] }
    }
}

fn entry_of(steps: &[Step], entries: &[Entry], step: usize, tensor: &str) -> Option<usize> {
    let named =
        |entry: &usize| matches!(entries[*entry].made, Made::By { tensor: name, .. } if name == tensor);
    steps.get(step)?.entries.clone().find(named)
}

/// What a sub-layer's forward pass leaves for its backward pass.
enum Kept {
    Attention {
        x: Origin,
        norm: (Origin, Origin),
        raw: [Origin; 2],
        inverse: [Option<Origin>; 2],
        turned: [Origin; 2],
        v: Origin,
        mixed: Origin,
    },
    Mlp {
        x: Origin,
        norm: (Origin, Origin),
        gate: Origin,
        up: Origin,
        inner: Origin,
    },
}

/// Builds the passes of one stage.
struct Passes<'a> {
    spec: &'a RunSpec,
    plan: &'a StagePlan,
    exponents: &'a [i32],
    b: Builder,
    rows: usize,
    /// Entries of the weights' gradients on their grid.
    dw: Vec<usize>,
}

impl Passes<'_> {
    fn d(&self) -> usize {
        self.spec.model.d_model as usize
    }
    fn epsilon(&self) -> f32 {
        self.spec.model.norm_eps.f32()
    }
    fn rope(&mut self, x: Origin, heads: usize, back: bool) -> Origin {
        let (rows, head_dim) = (self.rows, self.spec.model.head_dim());
        let positions = self.spec.model.seq_len as usize;
        let inputs =
            [("x", x), ("position", Origin::Positions), ("cos", Origin::Cosines), ("sin", Origin::Sines)];
        self.b.out(Operation::Rope { rows, heads, head_dim, positions, back }, &inputs)
    }
    /// Round the gradient of weight `index` to the step's grid.
    fn grid(&mut self, index: usize, gradient: Origin) {
        let len = self.plan.tensors[index].len();
        let operation = Operation::QuantiseAdd { len, exponent: self.exponents[index] };
        let step = self.b.step(operation, &[("gradient", gradient), ("sum", Origin::Zero)]);
        if let Origin::Made(entry) = self.b.made(step, "out") {
            self.b.entries[entry].dims = self.plan.tensors[index].shape();
            self.dw[index] = entry;
        }
    }
    /// The gradient of linear weight `index`, rounded to the grid.
    fn weight(&mut self, index: usize, dy: Origin, x: Origin) {
        let tensor = &self.plan.tensors[index];
        let shape = Product::weight_gradient(self.rows, tensor.cols, tensor.rows);
        let gradient = self.b.gemm(shape, dy, x, None);
        self.grid(index, gradient);
    }
    fn linear(&mut self, index: usize, x: Origin, onto: Option<Origin>) -> Origin {
        let tensor = &self.plan.tensors[index];
        self.b.gemm(Product::linear(self.rows, tensor.cols, tensor.rows), x, Origin::Weight(index), onto)
    }
    fn input_gradient(&mut self, index: usize, dy: Origin, onto: Option<Origin>) -> Origin {
        let tensor = &self.plan.tensors[index];
        let shape = Product::input_gradient(self.rows, tensor.cols, tensor.rows);
        self.b.gemm(shape, dy, Origin::Weight(index), onto)
    }
    fn shape(&self) -> attention::Shape {
        let model = &self.spec.model;
        attention::Shape {
            batch: self.spec.batch.sequences as usize,
            seq: model.seq_len as usize,
            heads: model.heads as usize,
            kv_heads: model.kv_heads as usize,
            head_dim: model.head_dim(),
        }
    }

    /// Returns the sub-layer's output. `at` is its first tensor.
    fn forward(&mut self, kind: SubLayerKind, at: usize, x: Origin) -> (Origin, Kept) {
        let (rows, d, epsilon) = (self.rows, self.d(), self.epsilon());
        let norm = self.b.norm(rows, d, epsilon, x, Origin::Weight(at));
        if kind == SubLayerKind::Mlp {
            let (gate, up) = (self.linear(at + 1, norm.0, None), self.linear(at + 2, norm.0, None));
            let len = rows * self.spec.model.d_ff as usize;
            let inner = self.b.out(Operation::SwigluForward { len }, &[("gate", gate), ("up", up)]);
            let out = self.linear(at + 3, inner, Some(x));
            return (out, Kept::Mlp { x, norm, gate, up, inner });
        }
        let shape = self.shape();
        let raw = [self.linear(at + 1, norm.0, None), self.linear(at + 2, norm.0, None)];
        let v = self.linear(at + 3, norm.0, None);
        let (mut turned, mut inverse) = (raw, [None; 2]);
        for (side, heads) in [shape.heads, shape.kv_heads].into_iter().enumerate() {
            if self.spec.model.qk_norm {
                let gain = Origin::Weight(at + 5 + side);
                let (normed, inverses) = self.b.norm(rows * heads, shape.head_dim, epsilon, raw[side], gain);
                (turned[side], inverse[side]) = (normed, Some(inverses));
            }
            turned[side] = self.rope(turned[side], heads, false);
        }
        let inputs = [("q", turned[0]), ("k", turned[1]), ("v", v)];
        let mixed = self.b.out(Operation::AttentionForward(shape), &inputs);
        let out = self.linear(at + 4, mixed, Some(x));
        (out, Kept::Attention { x, norm, raw, inverse, turned, v, mixed })
    }

    /// Backward of a norm: the gradient of its input, added to `onto` if there is one; the gain's goes to the grid.
    fn norm_backward(
        &mut self,
        (rows, d): (usize, usize),
        index: usize,
        [x, inverse, dy]: [Origin; 3],
        onto: Option<Origin>,
    ) -> Origin {
        let store = if onto.is_some() { Store::Add } else { Store::Set };
        let mut inputs = vec![
            ("x", x),
            ("gain", Origin::Weight(index)),
            ("inv_rms", inverse),
            ("dy", dy),
            ("dgain", Origin::Zero),
        ];
        inputs.extend(onto.map(|dx| ("dx", dx)));
        let step = self.b.step(Operation::RmsBackward { rows, d, store }, &inputs);
        let gain = self.b.made(step, "new dgain");
        self.grid(index, gain);
        self.b.made(step, "new dx")
    }

    /// Returns the gradient of the sub-layer's input from `dy`, that of its output.
    fn backward(&mut self, kept: &Kept, at: usize, dy: Origin) -> Origin {
        let (rows, d) = (self.rows, self.d());
        let (x, inverse, dnormed) = match *kept {
            Kept::Mlp { x, norm, gate, up, inner } => {
                let dinner = self.input_gradient(at + 3, dy, None);
                let len = rows * self.spec.model.d_ff as usize;
                let inputs = [("gate", gate), ("up", up), ("dout", dinner)];
                let step = self.b.step(Operation::SwigluBackward { len }, &inputs);
                let sides = [self.b.made(step, "dgate"), self.b.made(step, "dup")];
                self.weight(at + 3, dy, inner);
                self.weight(at + 1, sides[0], norm.0);
                self.weight(at + 2, sides[1], norm.0);
                let part = self.input_gradient(at + 1, sides[0], None);
                (x, norm.1, self.input_gradient(at + 2, sides[1], Some(part)))
            }
            Kept::Attention { x, norm, raw, inverse, turned, v, mixed } => {
                let shape = self.shape();
                let dmixed = self.input_gradient(at + 4, dy, None);
                self.weight(at + 4, dy, mixed);
                let inputs = [("q", turned[0]), ("k", turned[1]), ("v", v), ("dout", dmixed)];
                let step = self.b.step(Operation::AttentionBackward(shape), &inputs);
                let mut sides = [self.b.made(step, "dq"), self.b.made(step, "dk")];
                let dv = self.b.made(step, "dv");
                for (side, heads) in [shape.heads, shape.kv_heads].into_iter().enumerate() {
                    sides[side] = self.rope(sides[side], heads, true);
                    if let Some(inverse) = inverse[side] {
                        let inputs = [raw[side], inverse, sides[side]];
                        sides[side] =
                            self.norm_backward((rows * heads, shape.head_dim), at + 5 + side, inputs, None);
                    }
                }
                let mut dnormed = None;
                for (index, dout) in [(1, sides[0]), (2, sides[1]), (3, dv)] {
                    self.weight(at + index, dout, norm.0);
                    dnormed = Some(self.input_gradient(at + index, dout, dnormed));
                }
                // Three products were just added up.
                (x, norm.1, dnormed.unwrap_or(Origin::Zero))
            }
        };
        self.norm_backward((rows, d), at, [x, inverse, dnormed], Some(dy))
    }

    /// The head: per-token losses, and the gradient of the last sub-layer's output `x`.
    fn head(&mut self, x: Origin) -> (Origin, Origin) {
        let (rows, d, vocab) = (self.rows, self.d(), self.spec.model.vocab as usize);
        let (norm_at, head_at) = (self.plan.tensors.len() - 2, self.plan.tensors.len() - 1);
        let norm = self.b.norm(rows, d, self.epsilon(), x, Origin::Weight(norm_at));
        let logits = self.linear(head_at, norm.0, None);
        let operation = Operation::CrossEntropy { rows, vocab, scale: 1.0 / rows as f32 };
        let step = self.b.step(operation, &[("logits", logits), ("target", Origin::Dy)]);
        let (loss, dlogits) = (self.b.made(step, "loss"), self.b.made(step, "dlogits"));
        self.weight(head_at, dlogits, norm.0);
        let dnormed = self.input_gradient(head_at, dlogits, None);
        (loss, self.norm_backward((rows, d), norm_at, [x, norm.1, dnormed], None))
    }
}

impl Program {
    /// The operations of a unit of `stage` of a valid run, at a step whose gradient grids have these exponents.
    ///
    /// # Errors
    /// The game cannot hold units of this run; then a panel's word is all there is.
    pub fn new(spec: &RunSpec, stage: u16, exponents: &[i32]) -> Result<Self, ProgramError> {
        let count = spec.stage_count();
        let plan = spec.stage_plan(stage).ok_or(ProgramError::NoSuchStage { got: stage, count })?;
        if exponents.len() != plan.tensors.len() {
            return Err(ProgramError::Exponents { expected: plan.tensors.len(), got: exponents.len() });
        }
        let limit = |what, most, got| {
            if got <= most { Ok(()) } else { Err(ProgramError::TooLarge { what, most, got }) }
        };
        let rows = spec.microbatch_tokens();
        limit("rows", if plan.first { MAX_EMBEDDED_ROWS } else { MAX_ROWS }, rows)?;
        limit("sub-layers", arity(Shape::Trace), plan.sub_layers.len())?;
        let d = spec.model.d_model as usize;
        let b = Builder { steps: Vec::new(), entries: Vec::new() };
        let dw = vec![usize::MAX; plan.tensors.len()];
        let mut passes = Passes { spec, plan: &plan, exponents, b, rows, dw };

        let mut x = Origin::X;
        if plan.first {
            let vocab = spec.model.vocab as usize;
            let inputs = [("table", Origin::Weight(0)), ("token", Origin::X)];
            x = passes.b.out(Operation::Gather { vocab, d, tokens: rows }, &inputs);
        }
        let (mut at, mut kept) = (usize::from(plan.first), Vec::new());
        for sub_layer in &plan.sub_layers {
            let (out, left) = passes.forward(sub_layer.kind, at, x);
            kept.push((at, left));
            x = out;
            at += match sub_layer.kind {
                SubLayerKind::Attention if spec.model.qk_norm => 7,
                SubLayerKind::Attention => 5,
                SubLayerKind::Mlp => 4,
            };
        }
        let (y, mut dx) = if plan.last { passes.head(x) } else { (x, Origin::Dy) };
        for (at, kept) in kept.iter().rev() {
            dx = passes.backward(kept, *at, dx);
        }
        if plan.first {
            let operation = Operation::ScatterAdd { vocab: spec.model.vocab as usize, d, tokens: rows };
            let inputs = [("dtable", Origin::Zero), ("token", Origin::X), ("dout", dx)];
            let gradient = passes.b.out(operation, &inputs);
            passes.grid(0, gradient);
        }
        let made = |origin| if let Origin::Made(entry) = origin { entry } else { usize::MAX };
        let results = Results { y: made(y), dx: (!plan.first).then_some(made(dx)), dw: passes.dw };
        let Builder { steps, mut entries } = passes.b;
        let all = [results.y].into_iter().chain(results.dx).chain(results.dw.iter().copied());
        // A stage with no sub-layer could have a result that nothing makes.
        if let Some(missing) = all.clone().find(|entry| *entry >= entries.len()) {
            return Err(ProgramError::TooLarge {
                what: "results without an operation",
                most: 0,
                got: missing,
            });
        }
        let boundary = vec![rows, d];
        entries[results.y].dims = if plan.last { vec![rows] } else { boundary.clone() };
        if let Some(dx) = results.dx {
            entries[dx].dims = boundary.clone();
        }

        let mut parts = Vec::new();
        for step in &steps {
            limit("tensors of an operation", MAX_PART, step.entries.len())?;
            match parts.last_mut() {
                Some(Range { start, end }) if step.entries.end - *start <= MAX_PART => {
                    *end = step.entries.end
                }
                _ => parts.push(step.entries.clone()),
            }
        }
        let results_from = parts.len();
        let groups = [vec![results.y]].into_iter().chain(results.dx.map(|dx| vec![dx]));
        for group in groups.chain(results.dw.chunks(MAX_PART).map(<[usize]>::to_vec)) {
            let start = entries.len();
            for of in group {
                let Entry { kind, dims, .. } = entries[of].clone();
                entries.push(Entry { made: Made::Copy(of), kind, dims, told: true });
            }
            parts.push(start..entries.len());
        }
        // One child of the trace is the evidence itself.
        limit("parts", arity(Shape::Trace) - 1, parts.len())?;
        let most = arity(Shape::Tensor) * 1024 * CHUNK;
        for entry in &entries {
            let elements = entry.dims.iter().fold(1usize, |all, dim| all.saturating_mul(*dim));
            limit("bytes of a tensor", most, elements.saturating_mul(entry.kind.width()))?;
        }
        let weights: Vec<Vec<usize>> = plan.tensors.iter().map(|tensor| tensor.shape()).collect();
        for weight in &weights {
            limit("bytes of a tensor", most, weight.iter().product::<usize>().saturating_mul(4))?;
        }
        let x =
            if plan.first { (TensorKind::Index, vec![rows]) } else { (TensorKind::Number, boundary.clone()) };
        let dy = if plan.last { (TensorKind::Index, vec![rows]) } else { (TensorKind::Number, boundary) };
        let rope = (spec.model.head_dim() / 2, spec.model.rope_theta.get());
        let seq_len = spec.model.seq_len as usize;
        let mut program =
            Self { steps, entries, parts, results_from, results, x, dy, weights, rope, seq_len };
        program.tell();
        Ok(program)
    }

    /// Mark what other parts read.
    fn tell(&mut self) {
        let mut told = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            let reads: Vec<usize> = match entry.made {
                Made::Copy(of) => vec![of],
                Made::By { step, .. } => {
                    let made = |origin| if let Origin::Made(entry) = origin { Some(entry) } else { None };
                    self.steps[step].inputs.iter().filter_map(|(_, origin)| made(*origin)).collect()
                }
            };
            let part = self.part_of(at);
            told.extend(reads.into_iter().filter(|entry| self.part_of(*entry) != part));
        }
        for entry in told {
            self.entries[entry].told = true;
        }
    }

    /// The part of an entry.
    pub fn part_of(&self, entry: usize) -> usize {
        self.parts.partition_point(|part| part.end <= entry)
    }
    /// The told entries of a part as bits, the first entry the lowest: [`Shape::Part`].
    pub fn mask(&self, part: usize) -> u32 {
        let told = self.entries[self.parts[part].clone()].iter().enumerate();
        told.filter(|(_, entry)| entry.told).fold(0, |mask, (at, _)| mask | 1 << at)
    }
    /// The entry of a step's tensor.
    pub fn entry(&self, step: usize, tensor: &str) -> Option<usize> {
        entry_of(&self.steps, &self.entries, step, tensor)
    }
    /// Kind and dimensions of what an origin gives; `None` for what no digest holds.
    pub fn shape_of(&self, origin: Origin) -> Option<(TensorKind, &[usize])> {
        match origin {
            Origin::X => Some((self.x.0, &self.x.1)),
            Origin::Dy => Some((self.dy.0, &self.dy.1)),
            Origin::Weight(index) => Some((TensorKind::Number, self.weights.get(index)?)),
            Origin::Made(entry) => self.entries.get(entry).map(|entry| (entry.kind, &entry.dims[..])),
            Origin::Zero | Origin::Cosines | Origin::Sines | Origin::Positions => None,
        }
    }
    /// The position of a row.
    pub fn position(&self, row: usize) -> u32 {
        (row % self.seq_len) as u32
    }
    /// Bits of an entry of the tables of rotary positions: the recipe of [`tessera_arith::rope`].
    pub fn rotary(&self, origin: Origin, index: usize) -> Option<u64> {
        let (half, theta) = self.rope;
        let (position, i) = (index / half, index % half);
        let angle = position as f64 * libm::pow(theta, -((2 * i) as f64) / (2 * half) as f64);
        let value = match origin {
            Origin::Cosines => libm::cos(angle) as f32,
            Origin::Sines => libm::sin(angle) as f32,
            _ => return None,
        };
        Some(u64::from(value.to_bits()))
    }
}
