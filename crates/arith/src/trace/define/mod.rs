//! Write the formula of every tensor of every operation, over the inputs and the tensors before it.

mod attention;
mod gram;
mod pointwise;
mod product;
mod row;
mod wire;

use super::{
    element::{Definition, Link},
    machine::{Machine, ZERO},
    operation::Operation,
    step::{At, Value},
    tracer::Tracer,
};

pub(super) const LANES: usize = 16;

impl Tracer<'_> {
    /// Returns the formula of an element of an output or inner tensor; None if there is no such tensor. The index
    /// must be within the tensor.
    pub(super) fn define(&self, at: At) -> Option<Definition<'_>> {
        use Operation::*;
        match self.operation() {
            Gemm { .. } | GemmSymmetric { .. } | NewtonSchulz { .. } | NewtonSchulzGram { .. } => {
                self.define_product(at)
            }
            Sum { .. }
            | SumSquares { .. }
            | Dot { .. }
            | Max { .. }
            | Softmax { .. }
            | CrossEntropy { .. }
            | GlobalNorm { .. }
            | Clip { .. } => self.define_row(at),
            RmsForward { .. } | RmsBackward { .. } => self.define_norm(at),
            AttentionForward(_) | AttentionDecode { .. } | AttentionBackward(_) => self.define_attention(at),
            Encode { .. } | Decode { .. } => self.define_wire(at),
            Exp { .. }
            | Log { .. }
            | Sigmoid { .. }
            | Silu { .. }
            | Rsqrt { .. }
            | Rope { .. }
            | SwigluForward { .. }
            | SwigluBackward { .. }
            | Gather { .. }
            | ScatterAdd { .. }
            | Add { .. }
            | Scale { .. }
            | AdamW { .. }
            | Momentum { .. }
            | Descend { .. }
            | QuantiseAdd { .. }
            | QuantiseSub { .. }
            | Merge { .. }
            | Dequantise { .. } => self.define_pointwise(at),
        }
    }

    /// A lane of a 16-lane sum or maximum of `len` elements.
    fn lane<'t>(
        &'t self,
        link: Link,
        lane: usize,
        len: usize,
        term: impl Fn(usize) -> [Value; 2] + 't,
    ) -> Definition<'t> {
        let start = if link == Link::Max { Value::number(f32::NEG_INFINITY) } else { ZERO };
        let count = len.saturating_sub(lane).div_ceil(LANES);
        Definition::chain(link, start, count, move |n| term(n * LANES + lane))
    }

    /// The 16 lanes of a row.
    fn lanes(&self, tensor: &'static str, row: usize) -> [Value; LANES] {
        std::array::from_fn(|lane| self.inner(tensor, row * LANES + lane))
    }

    /// The sum of the 16 lanes of a row.
    fn folded(&self, machine: &mut Machine, tensor: &'static str, row: usize) -> Value {
        machine.fold(self.lanes(tensor, row), |machine, a, b| machine.add(a, b))
    }

    /// The largest of the 16 lanes of a row.
    fn largest<'t>(&'t self, tensor: &'static str, row: usize) -> Definition<'t> {
        // As in `reduce`: the upper lane replaces the lower one only if it is larger.
        Definition::program(move |machine| {
            machine.fold(self.lanes(tensor, row), |machine, a, b| machine.max(b, a))
        })
    }
}
