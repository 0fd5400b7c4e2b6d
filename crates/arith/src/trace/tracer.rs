//! Hold an operation with its inputs, and hand out the trace of any element asked for.

use super::{
    element::{Definition, Trace},
    operation::Operation,
    step::{Arithmetic, At, Source, Value},
    tensor::{Kind, Role, Tensor},
};
use crate::{ArithError, error::length, referee};
use std::{cell::RefCell, collections::BTreeMap};

/// The elements of a tensor.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// f32.
    Numbers(&'a [f32]),
    /// f32 in several slices, one after another.
    Parts(&'a [&'a [f32]]),
    /// u32: tokens, targets, positions.
    Indices(&'a [u32]),
    /// i64: counts of grid steps.
    Sums(&'a [i64]),
    /// u8: what came over the wire.
    Bytes(&'a [u8]),
}

impl Data<'_> {
    fn len(&self) -> usize {
        match self {
            Data::Numbers(x) => x.len(),
            Data::Parts(parts) => parts.iter().map(|part| part.len()).sum(),
            Data::Indices(x) => x.len(),
            Data::Sums(x) => x.len(),
            Data::Bytes(x) => x.len(),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Data::Numbers(_) | Data::Parts(_) => Kind::Number,
            Data::Indices(_) => Kind::Index,
            Data::Sums(_) => Kind::Sum,
            Data::Bytes(_) => Kind::Byte,
        }
    }

    fn get(&self, index: usize) -> Option<u64> {
        // The payload of a NaN is outside the promise.
        let number = |x: &f32| {
            let bits = x.to_bits();
            u64::from(if referee::is_nan(bits) { referee::NAN } else { bits })
        };
        match self {
            Data::Numbers(x) => x.get(index).map(number),
            Data::Parts(parts) => {
                let mut index = index;
                for part in *parts {
                    match part.get(index) {
                        Some(x) => return Some(number(x)),
                        None => index -= part.len(),
                    }
                }
                None
            }
            Data::Indices(x) => x.get(index).map(|x| u64::from(*x)),
            Data::Sums(x) => x.get(index).map(|x| *x as u64),
            Data::Bytes(x) => x.get(index).map(|x| u64::from(*x)),
        }
    }
}

/// Traces the elements of one operation on given inputs.
///
/// Inner values are computed when needed, and kept: memory and time are proportional to the inner values
/// below the elements asked for. A whole [`Operation::NewtonSchulz`] is below each of its outputs; whoever still has
/// its intermediate matrices should [`supply`](Tracer::supply) them.
pub struct Tracer<'a> {
    operation: Operation,
    arithmetic: Arithmetic,
    inputs: BTreeMap<&'static str, Data<'a>>,
    tensors: Vec<Tensor>,
    kept: RefCell<BTreeMap<At, u64>>,
    /// Numbers are not known: every one reads as 0.
    blank: bool,
}

impl<'a> Tracer<'a> {
    /// Checks that `inputs` are those of [`Operation::tensors`], of the right kind and size.
    pub fn new(
        operation: Operation,
        inputs: &[(&'static str, Data<'a>)],
        arithmetic: Arithmetic,
    ) -> Result<Tracer<'a>, ArithError> {
        Tracer::with(operation, inputs, arithmetic, false)
    }

    /// A tracer for whoever has none of the numbers, such as a validator of a ledger: only inputs that are
    /// indices are needed. Steps have the right opcodes and sources, but the bits of inputs and inner values are
    /// 0; put those that were opened in their place, and the claimed result, before [`super::Step::judge`].
    pub fn blank(
        operation: Operation,
        indices: &[(&'static str, Data<'a>)],
    ) -> Result<Tracer<'a>, ArithError> {
        Tracer::with(operation, indices, Arithmetic::Referee, true)
    }

    fn with(
        operation: Operation,
        inputs: &[(&'static str, Data<'a>)],
        arithmetic: Arithmetic,
        blank: bool,
    ) -> Result<Tracer<'a>, ArithError> {
        operation.check()?;
        let tensors = operation.tensors();
        // Sizes count their tensors' elements without overflow, so the formulas' indices cannot overflow either.
        if let Some(tensor) = tensors.iter().find(|tensor| tensor.len == usize::MAX) {
            let (operation, argument) = (operation.name(), tensor.name);
            let allowed = "numbers of elements that can be counted";
            return Err(ArithError::Parameter { operation, argument, got: i64::MAX, allowed });
        }
        let inputs: BTreeMap<_, _> = inputs.iter().copied().collect();
        let needed = |tensor: &&Tensor| tensor.role == Role::Input && (!blank || tensor.kind == Kind::Index);
        for tensor in tensors.iter().filter(needed) {
            let given = inputs.get(tensor.name).filter(|data| data.kind() == tensor.kind);
            let got = given.map_or(0, |data| data.len());
            length(operation.name(), tensor.name, got, tensor.len)?;
        }
        let tracer = Tracer { operation, arithmetic, inputs, tensors, kept: RefCell::default(), blank };
        tracer.check_indices()?;
        Ok(tracer)
    }

    /// Checks that tokens, targets and positions are within the tables they index.
    fn check_indices(&self) -> Result<(), ArithError> {
        let (argument, below) = match &self.operation {
            Operation::Rope { positions, .. } => ("position", *positions),
            Operation::CrossEntropy { vocab, .. } => ("target", *vocab),
            Operation::Gather { vocab, .. } | Operation::ScatterAdd { vocab, .. } => ("token", *vocab),
            _ => return Ok(()),
        };
        match self.indices(argument).iter().find(|index| **index as usize >= below) {
            None => Ok(()),
            Some(index) => Err(ArithError::Parameter {
                operation: self.operation.name(),
                argument,
                got: i64::from(*index),
                allowed: "the table",
            }),
        }
    }

    /// The operation.
    pub fn operation(&self) -> &Operation {
        &self.operation
    }

    /// Takes the values of an inner or output tensor from the caller, who has computed them already. They are
    /// believed.
    pub fn supply(&mut self, tensor: &'static str, data: Data<'_>) -> Result<(), ArithError> {
        let known = self.computed(tensor).filter(|known| known.kind == data.kind());
        length(self.operation.name(), tensor, data.len(), known.map_or(0, |known| known.len))?;
        let kept = self.kept.get_mut();
        for index in 0..data.len() {
            if let Some(bits) = data.get(index) {
                kept.insert(At { tensor, index }, bits);
            }
        }
        Ok(())
    }

    fn computed(&self, tensor: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|known| known.name == tensor && known.role != Role::Input)
    }

    /// Returns the steps of one element of an output or inner tensor.
    pub fn trace(&self, at: At) -> Result<Trace<'_>, ArithError> {
        Ok(Trace::new(self.checked(at)?, self.arithmetic))
    }

    /// Returns one element of an output or inner tensor: f32 bits, an i64, or a byte.
    pub fn value(&self, at: At) -> Result<u64, ArithError> {
        self.checked(at).map(|definition| definition.value(self.arithmetic))
    }

    fn checked(&self, at: At) -> Result<Definition<'_>, ArithError> {
        let operation = self.operation.name();
        let outside =
            |allowed| ArithError::Parameter { operation, argument: at.tensor, got: at.index as i64, allowed };
        match self.computed(at.tensor) {
            Some(tensor) if at.index < tensor.len => {
                self.define(at).ok_or_else(|| outside("the outputs and inner tensors of the operation"))
            }
            Some(_) => Err(outside("the indices of this tensor")),
            None => Err(outside("the outputs and inner tensors of the operation")),
        }
    }

    /// An input as an operand.
    pub(super) fn input(&self, tensor: &'static str, index: usize) -> Value {
        let source = Source::Input(At { tensor, index });
        if self.blank {
            return Value { bits: 0, source };
        }
        let bits = self.inputs.get(tensor).and_then(|data| data.get(index));
        // Sizes were checked when the tracer was made; a formula that reads beyond them is a defect.
        let bits = bits.unwrap_or_else(|| unreachable!("{tensor}[{index}] of {}", self.operation.name()));
        Value { bits, source }
    }

    /// Indices among the inputs.
    pub(super) fn indices(&self, tensor: &'static str) -> &[u32] {
        match self.inputs.get(tensor) {
            Some(Data::Indices(indices)) => indices,
            _ => &[],
        }
    }

    /// An element with a trace of its own as an operand.
    pub(super) fn inner(&self, tensor: &'static str, index: usize) -> Value {
        let at = At { tensor, index };
        let source = Source::Inner(at);
        let kept = if self.blank { Some(0) } else { self.kept.borrow().get(&at).copied() };
        if let Some(bits) = kept {
            return Value { bits, source };
        }
        // Formulas name tensors defined beside them; one that does not is a defect.
        let definition = self
            .define(at)
            .unwrap_or_else(|| unreachable!("{} has no tensor {tensor}", self.operation.name()));
        let bits = definition.value(self.arithmetic);
        self.kept.borrow_mut().insert(at, bits);
        Value { bits, source }
    }
}
