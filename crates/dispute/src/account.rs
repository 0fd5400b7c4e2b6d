//! Compute a unit as its program says and keep every tensor: what a party of a dispute tells.
//!
//! An [`Account`] starts from [`Material`], which both sides hold. Operations are run by the fast kernels; the
//! inner values of an operation are computed one by one, when its part is in dispute, and kept. Of a
//! large attention layer these are too many to keep (8 sequences of 512: two hundred million), so that an account cannot
//! play such a part, though the game can.
//!
//! [`Account::replace`] makes an account of what somebody else says, or of a lie.

use crate::{
    claim::{self, UnitClaim},
    program::{Made, Origin, Program, ProgramError, Step},
    tensor::{self, TensorError, TensorKind, TensorTree, Values},
    walk::{Walk, points},
};
use std::collections::{BTreeMap, BTreeSet};
use tessera_arith::{
    ArithError, Mat, MatMut, Store, attention, embed, grid, loss, norm, rope, swiglu,
    trace::{Arithmetic, At, Data, Operation, Role, Tracer},
};
use tessera_canon::Hash;
use tessera_ledger::trust::game::part_value;
use tessera_model::RunSpec;

/// Elements of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    Numbers(Vec<f32>),
    Sums(Vec<i64>),
    Indices(Vec<u32>),
}

impl Tensor {
    /// The elements, to be digested.
    pub fn values(&self) -> Values<'_> {
        match self {
            Self::Numbers(x) => Values::Numbers(x),
            Self::Sums(x) => Values::Sums(x),
            Self::Indices(x) => Values::Indices(x),
        }
    }
    fn data(&self) -> Data<'_> {
        match self {
            Self::Numbers(x) => Data::Numbers(x),
            Self::Sums(x) => Data::Sums(x),
            Self::Indices(x) => Data::Indices(x),
        }
    }
    fn numbers(&self) -> &[f32] {
        if let Self::Numbers(x) = self { x } else { &[] }
    }
    fn indices(&self) -> &[u32] {
        if let Self::Indices(x) = self { x } else { &[] }
    }
    fn from_bits(kind: TensorKind, bits: Vec<u64>) -> Self {
        match kind {
            TensorKind::Number => Self::Numbers(bits.iter().map(|x| f32::from_bits(*x as u32)).collect()),
            TensorKind::Sum => Self::Sums(bits.iter().map(|x| *x as i64).collect()),
            TensorKind::Index => Self::Indices(bits.iter().map(|x| *x as u32).collect()),
        }
    }
}

/// Why a unit cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error(transparent)]
    Arithmetic(#[from] ArithError),
    #[error("{what}: expected {expected}, got {got}; give the unit's own")]
    Material { what: &'static str, expected: String, got: String },
    #[error("the program has no {what} {got}")]
    Unknown { what: &'static str, got: usize },
}

/// What went into a unit.
pub struct Material {
    pub program: Program,
    pub spec: RunSpec,
    pub stage: u16,
    pub step: u64,
    pub unit: Hash,
    pub x: Tensor,
    pub dy: Tensor,
    pub weights: Vec<Tensor>,
    pub exponents: Vec<i32>,
    table: rope::RopeTable,
    tables: [Tensor; 2],
    positions: Tensor,
    /// Digests of the weights.
    digests: Vec<Hash>,
}

impl Material {
    /// Check that all that a unit of the stage needs is there, in its shapes.
    pub fn new(
        spec: &RunSpec,
        (stage, step, unit): (u16, u64, Hash),
        x: Tensor,
        dy: Tensor,
        weights: &[Vec<f32>],
        exponents: &[i32],
    ) -> Result<Self, AccountError> {
        let program = Program::new(spec, stage, exponents)?;
        for (what, got, (kind, dims)) in [("x", &x, &program.x), ("dy", &dy, &program.dy)] {
            let (len, values) = (dims.iter().product::<usize>(), got.values());
            if values.kind() != *kind || values.len() != len {
                let (expected, got) =
                    (format!("{kind:?} {dims:?}"), format!("{:?} {}", values.kind(), values.len()));
                return Err(AccountError::Material { what, expected, got });
            }
        }
        if weights.len() != program.weights.len() {
            let (expected, got) = (program.weights.len().to_string(), weights.len().to_string());
            return Err(AccountError::Material { what: "weights", expected, got });
        }
        let mut digests = Vec::new();
        for (weight, dims) in weights.iter().zip(&program.weights) {
            digests.push(tensor::digest(dims, Values::Numbers(weight))?);
        }
        let table = rope::RopeTable::new(program.seq_len, 2 * program.rope.0, program.rope.1)?;
        let tables = [table.cosines(), table.sines()].map(|table| Tensor::Numbers(table.to_vec()));
        let positions = (0..spec.microbatch_tokens()).map(|row| program.position(row)).collect();
        Ok(Self {
            spec: spec.clone(),
            stage,
            step,
            unit,
            x,
            dy,
            weights: weights.iter().map(|weight| Tensor::Numbers(weight.clone())).collect(),
            exponents: exponents.to_vec(),
            table,
            tables,
            positions: Tensor::Indices(positions),
            digests,
            program,
        })
    }
    /// The leaves of the root over the weights.
    pub fn weight_leaves(&self) -> Vec<Hash> {
        claim::weight_leaves(&self.exponents, &self.digests)
    }
    /// The digest of a weight.
    pub fn weight(&self, index: usize) -> Option<Hash> {
        self.digests.get(index).copied()
    }
}

/// All tensors of a unit as somebody tells them.
#[derive(Clone)]
pub struct Account<'a> {
    pub material: &'a Material,
    made: Vec<Option<Tensor>>,
    /// Entries that are not what their step gives: what rests on them must be computed from them.
    replaced: BTreeSet<usize>,
    trees: BTreeMap<usize, TensorTree>,
    digests: BTreeMap<usize, Hash>,
    claimed: Option<UnitClaim>,
}

impl<'a> Account<'a> {
    /// Run all operations.
    ///
    /// # Errors
    /// A tensor is not finite: the unit is void.
    pub fn new(material: &'a Material) -> Result<Self, AccountError> {
        let made = vec![None; material.program.entries.len()];
        let (replaced, trees, digests) = Default::default();
        let mut account = Self { material, made, replaced, trees, digests, claimed: None };
        account.run_from(0)?;
        Ok(account)
    }

    /// Run the operations from `step` on again; what was replaced stays.
    pub fn run_from(&mut self, step: usize) -> Result<(), AccountError> {
        for at in step..self.material.program.steps.len() {
            for (entry, tensor) in self.run(at)? {
                if !self.replaced.contains(&entry) {
                    self.put(entry, tensor);
                }
            }
            // Inner values are computed anew when they are asked for.
            for entry in self.material.program.steps[at].entries.clone() {
                let inner =
                    matches!(self.material.program.entries[entry].made, Made::By { output: false, .. });
                if inner && !self.replaced.contains(&entry) {
                    self.made[entry] = None;
                    self.forget(entry);
                }
            }
        }
        Ok(())
    }
    fn forget(&mut self, entry: usize) {
        self.trees.remove(&entry);
        self.digests.remove(&entry);
    }
    fn put(&mut self, entry: usize, tensor: Tensor) {
        self.made[entry] = Some(tensor);
        self.forget(entry);
    }
    /// Say that an entry is `tensor`, whatever its step gives. Nothing else changes: see [`Account::run_from`].
    pub fn replace(&mut self, entry: usize, tensor: Tensor) {
        self.put(entry, tensor);
        self.replaced.insert(entry);
    }
    /// Claim something else than the account tells.
    pub fn claim_instead(&mut self, claim: UnitClaim) {
        self.claimed = Some(claim);
    }

    /// What an origin gives; zeros have no tensor.
    fn origin(&self, origin: Origin) -> Option<&Tensor> {
        let material = self.material;
        match origin {
            Origin::Zero => None,
            Origin::X => Some(&material.x),
            Origin::Dy => Some(&material.dy),
            Origin::Weight(index) => material.weights.get(index),
            Origin::Cosines => Some(&material.tables[0]),
            Origin::Sines => Some(&material.tables[1]),
            Origin::Positions => Some(&material.positions),
            Origin::Made(entry) => match material.program.entries[entry].made {
                Made::Copy(of) if self.made[entry].is_none() => self.made[of].as_ref(),
                _ => self.made[entry].as_ref(),
            },
        }
    }
    /// The bits of an element of what an origin gives; `None` if it was not computed.
    pub(crate) fn bits(&self, origin: Origin, index: usize) -> Option<u64> {
        self.origin(origin)?.values().bits(index)
    }
    fn input(&self, step: &Step, name: &str) -> &[f32] {
        let origin = step.inputs.iter().find(|(input, _)| *input == name);
        origin.and_then(|(_, origin)| self.origin(*origin)).map_or(&[], Tensor::numbers)
    }

    /// The outputs of a step, by the kernels.
    fn run(&self, at: usize) -> Result<Vec<(usize, Tensor)>, AccountError> {
        let (program, material) = (&self.material.program, self.material);
        let step = &program.steps[at];
        let x = |name: &str| self.input(step, name);
        let zeros = |len: usize| vec![0.0f32; len];
        let outputs: Vec<(&str, Vec<f32>)> = match &step.operation {
            Operation::Gemm { m, n, k, a, b, store, .. } => {
                let mut out = if *store == Store::Add { x("c").to_vec() } else { zeros(m * n) };
                let (left, right) =
                    (Mat::strided(x("a"), *m, *k, a[0], a[1])?, Mat::strided(x("b"), *k, *n, b[0], b[1])?);
                tessera_arith::gemm(MatMut::new(&mut out, *m, *n)?, left, right, *store)?;
                vec![("out", out)]
            }
            Operation::RmsForward { rows, d, epsilon } => {
                let (mut out, mut inverse) = (zeros(rows * d), zeros(*rows));
                norm::rms_forward(x("x"), x("gain"), *epsilon, &mut out, &mut inverse)?;
                vec![("out", out), ("inv_rms", inverse)]
            }
            Operation::RmsBackward { rows, d, store } => {
                let mut dx = if *store == Store::Add { x("dx").to_vec() } else { zeros(rows * d) };
                let mut gain = zeros(*d);
                norm::rms_backward(x("x"), x("gain"), x("inv_rms"), x("dy"), &mut dx, &mut gain, *store)?;
                vec![("new dx", dx), ("new dgain", gain)]
            }
            Operation::Rope { heads, back, .. } => {
                let mut out = x("x").to_vec();
                let turn = if *back { rope::rotate_back } else { rope::rotate };
                turn(&mut out, *heads, material.positions.indices(), &material.table)?;
                vec![("out", out)]
            }
            Operation::AttentionForward(shape) => {
                let mut out = zeros(x("q").len());
                attention::forward(*shape, x("q"), x("k"), x("v"), &mut out)?;
                vec![("out", out)]
            }
            Operation::AttentionBackward(shape) => {
                let (mut dq, mut dk, mut dv) =
                    (zeros(x("q").len()), zeros(x("k").len()), zeros(x("v").len()));
                attention::backward(*shape, x("q"), x("k"), x("v"), x("dout"), &mut dq, &mut dk, &mut dv)?;
                vec![("dq", dq), ("dk", dk), ("dv", dv)]
            }
            Operation::SwigluForward { len } => {
                let mut out = zeros(*len);
                swiglu::forward(x("gate"), x("up"), &mut out)?;
                vec![("out", out)]
            }
            Operation::SwigluBackward { .. } => {
                let (mut gate, mut up, mut dout) = (x("gate").to_vec(), x("up").to_vec(), x("dout").to_vec());
                swiglu::backward_in_place(&mut gate, &mut up, &mut dout)?;
                vec![("dgate", gate), ("dup", up)]
            }
            Operation::CrossEntropy { rows, vocab, scale } => {
                let (mut losses, mut dlogits) = (zeros(*rows), zeros(rows * vocab));
                loss::cross_entropy(
                    x("logits"),
                    material.dy.indices(),
                    &mut losses,
                    Some(&mut dlogits),
                    *scale,
                )?;
                vec![("loss", losses), ("dlogits", dlogits)]
            }
            Operation::Gather { d, tokens, .. } => {
                let mut out = zeros(tokens * d);
                embed::gather(x("table"), *d, material.x.indices(), &mut out)?;
                vec![("out", out)]
            }
            Operation::ScatterAdd { vocab, d, .. } => {
                let mut out = zeros(vocab * d);
                embed::scatter_add(&mut out, *d, material.x.indices(), x("dout"))?;
                vec![("out", out)]
            }
            Operation::QuantiseAdd { len, exponent } => {
                let mut sum = vec![0; *len];
                grid::quantise_add(x("gradient"), *exponent, &mut sum)?;
                let entry = program.entry(at, "out").unwrap_or_default();
                return Ok(vec![(entry, Tensor::Sums(sum))]);
            }
            // No unit has any other.
            _ => return Err(AccountError::Unknown { what: "kernel of operation", got: at }),
        };
        let entry = |name| {
            program.entry(at, name).ok_or(AccountError::Unknown { what: "output of operation", got: at })
        };
        outputs.into_iter().map(|(name, out)| Ok((entry(name)?, Tensor::Numbers(out)))).collect()
    }

    /// A tracer of a step on this account's inputs. `zeros` are for sums that begin.
    fn tracer<'t>(
        &'t self,
        at: usize,
        zeros: &'t (Vec<f32>, Vec<i64>),
        arithmetic: Arithmetic,
    ) -> Result<Tracer<'t>, AccountError> {
        let step = &self.material.program.steps[at];
        let mut inputs = Vec::new();
        for tensor in step.operation.tensors().iter().filter(|tensor| tensor.role == Role::Input) {
            let origin = step.inputs.iter().find(|(name, _)| *name == tensor.name).map(|(_, origin)| *origin);
            let data = match origin.and_then(|origin| self.origin(origin)) {
                Some(given) => given.data(),
                None if tensor.kind == tessera_arith::trace::Kind::Sum => Data::Sums(&zeros.1[..tensor.len]),
                None => Data::Numbers(&zeros.0[..tensor.len]),
            };
            inputs.push((tensor.name, data));
        }
        let mut tracer = Tracer::new(step.operation.clone(), &inputs, arithmetic)?;
        for entry in step.entries.clone().filter(|entry| self.replaced.contains(entry)) {
            if let (Made::By { tensor, .. }, Some(told)) =
                (self.material.program.entries[entry].made, &self.made[entry])
            {
                tracer.supply(tensor, told.data())?;
            }
        }
        Ok(tracer)
    }
    fn zeros(&self, at: usize) -> (Vec<f32>, Vec<i64>) {
        let tensors = self.material.program.steps[at].operation.tensors();
        let most = |sum: bool| {
            let of = tensors.iter().filter(|tensor| (tensor.kind == tessera_arith::trace::Kind::Sum) == sum);
            of.map(|tensor| tensor.len).max().unwrap_or(0)
        };
        (vec![0.0; most(false)], vec![0; most(true)])
    }

    /// Compute the inner values of a step that are not there yet.
    fn complete(&mut self, at: usize) -> Result<(), AccountError> {
        let missing: Vec<usize> = self.material.program.steps[at]
            .entries
            .clone()
            .filter(|entry| self.made[*entry].is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let zeros = self.zeros(at);
        let mut found = Vec::new();
        {
            let tracer = self.tracer(at, &zeros, Arithmetic::Native)?;
            for entry in missing {
                let described = &self.material.program.entries[entry];
                if let Made::By { tensor, .. } = described.made {
                    let len = described.dims.iter().product();
                    let bits: Result<Vec<u64>, ArithError> =
                        (0..len).map(|index| tracer.value(At { tensor, index })).collect();
                    found.push((entry, Tensor::from_bits(described.kind, bits?)));
                }
            }
        }
        found.into_iter().for_each(|(entry, tensor)| self.put(entry, tensor));
        Ok(())
    }

    /// What this account says an entry is.
    pub fn entry(&mut self, entry: usize) -> Result<&Tensor, AccountError> {
        let unknown = AccountError::Unknown { what: "entry", got: entry };
        if let Some(Made::By { step, .. }) = self.material.program.entries.get(entry).map(|entry| entry.made)
        {
            self.complete(step)?;
        }
        self.origin(Origin::Made(entry)).ok_or(unknown)
    }
    /// The digest of an entry.
    pub fn digest(&mut self, entry: usize) -> Result<Hash, AccountError> {
        if let Some(digest) = self.digests.get(&entry) {
            return Ok(*digest);
        }
        let described = self.material.program.entries.get(entry);
        let dims = described.map(|entry| entry.dims.clone()).unwrap_or_default();
        let inner = matches!(described.map(|entry| entry.made), Some(Made::By { output: false, .. }));
        let hash = if inner { tensor::digest_inner } else { tensor::digest };
        let digest = hash(&dims, self.entry(entry)?.values())?;
        self.digests.insert(entry, digest);
        Ok(digest)
    }
    /// The tree of an entry.
    pub fn tree(&mut self, entry: usize) -> Result<&TensorTree, AccountError> {
        if !self.trees.contains_key(&entry) {
            let dims =
                self.material.program.entries.get(entry).map(|entry| entry.dims.clone()).unwrap_or_default();
            let tree = TensorTree::new(&dims, self.entry(entry)?.values())?;
            self.trees.insert(entry, tree);
        }
        self.trees.get(&entry).ok_or(AccountError::Unknown { what: "entry", got: entry })
    }
    /// A chunk of what an origin gives.
    pub(crate) fn open(&mut self, origin: Origin, chunk: usize) -> Result<tensor::Opening, AccountError> {
        let unknown = AccountError::Unknown { what: "chunk", got: chunk };
        if let Origin::Made(entry) = origin {
            self.tree(entry)?;
            let values = self.origin(origin).map(Tensor::values);
            return values.and_then(|values| self.trees[&entry].open(values, chunk)).ok_or(unknown);
        }
        let dims = self.material.program.shape_of(origin).map(|(_, dims)| dims.to_vec()).unwrap_or_default();
        let Some(values) = self.origin(origin).map(Tensor::values) else { return Err(unknown) };
        TensorTree::new(&dims, values)?.open(values, chunk).ok_or(unknown)
    }

    /// The value of a part of the trace.
    pub fn part_value(&mut self, part: usize) -> Result<Hash, AccountError> {
        let program = &self.material.program;
        let range =
            program.parts.get(part).cloned().ok_or(AccountError::Unknown { what: "part", got: part })?;
        let told: Vec<usize> = range.filter(|entry| program.entries[*entry].told).collect();
        let mut digests = Vec::new();
        for entry in told {
            digests.push(self.digest(entry)?);
        }
        let all = u32::MAX.checked_shr(32 - digests.len() as u32).unwrap_or(0);
        Ok(part_value(&digests, all).unwrap_or_default())
    }
    /// The digests of all tensors of a part.
    pub fn part(&mut self, part: usize) -> Result<Vec<Hash>, AccountError> {
        let range = self.material.program.parts.get(part).cloned();
        let range = range.ok_or(AccountError::Unknown { what: "part", got: part })?;
        range.map(|entry| self.digest(entry)).collect()
    }
    /// The values of all parts, and last the evidence.
    pub fn trace(&mut self) -> Result<Vec<Hash>, AccountError> {
        let mut values = Vec::new();
        for part in 0..self.material.program.parts.len() {
            values.push(self.part_value(part)?);
        }
        values.push(self.claim()?.digest());
        Ok(values)
    }
    /// What the account signs.
    pub fn claim(&mut self) -> Result<UnitClaim, AccountError> {
        if let Some(claim) = &self.claimed {
            return Ok(claim.clone());
        }
        let material = self.material;
        let results = material.program.results.clone();
        let mut dw = Vec::new();
        for entry in results.dw {
            dw.push(self.digest(entry)?);
        }
        Ok(UnitClaim {
            run: material.spec.run_id(),
            stage: material.stage,
            step: material.step,
            unit: material.unit,
            weights: tessera_canon::merkle_root(material.weight_leaves()),
            x: tensor::digest(&material.program.x.1, material.x.values())?,
            dy: tensor::digest(&material.program.dy.1, material.dy.values())?,
            y: self.digest(results.y)?,
            dx: results.dx.map_or(Ok(Hash::ZERO), |dx| self.digest(dx))?,
            dw: claim::gradients_root(&dw),
        })
    }

    /// An element as its step gives it from this account's inputs, by its trace.
    pub fn value(&self, entry: usize, index: usize, arithmetic: Arithmetic) -> Result<u64, AccountError> {
        let Some(Made::By { step, tensor, .. }) =
            self.material.program.entries.get(entry).map(|entry| entry.made)
        else {
            return Err(AccountError::Unknown { what: "traced entry", got: entry });
        };
        let zeros = self.zeros(step);
        Ok(self.tracer(step, &zeros, arithmetic)?.value(At { tensor, index })?)
    }

    /// What was there on the way to an element, as words of 32 bits: [`crate::walk::points`].
    pub(crate) fn points(&mut self, entry: usize, index: usize) -> Result<Vec<u32>, AccountError> {
        let walk = Walk::of(&self.material.program, entry, index);
        match walk.ok_or(AccountError::Unknown { what: "entry", got: entry })? {
            Walk::Copy(of) => Ok(vec![self.entry(of)?.values().bits(index).unwrap_or(0) as u32]),
            Walk::Scatter { step, rows, width, row, column } => {
                let dout = self.input(&self.material.program.steps[step], "dout");
                let (mut acc, mut all) = (0u32, vec![0u32]);
                for (at, token) in self.material.x.indices().iter().enumerate().take(rows) {
                    if *token as usize == row {
                        acc = (f32::from_bits(acc) + dout[at * width + column]).to_bits();
                    }
                    all.push(acc);
                }
                Ok(points(rows).into_iter().map(|at| all[at]).collect())
            }
            Walk::Formula { step, at } => {
                self.complete(step)?;
                let zeros = self.zeros(step);
                let tracer = self.tracer(step, &zeros, Arithmetic::Native)?;
                let trace = tracer.trace(at)?;
                if trace.is_empty() {
                    return Ok(vec![trace.output().bits as u32]);
                }
                let results: Vec<u32> = trace.steps().map(|step| step.result as u32).collect();
                Ok(points(results.len()).into_iter().map(|at| results[at - 1]).collect())
            }
        }
    }
}
