//! Trace matrix products, and Newton-Schulz iterations, which are made of them.

use super::{Definition, Link, Operation, Tracer, Value, ZERO};
use crate::{
    Store,
    gemm::BLOCK,
    optim::NEWTON_SCHULZ,
    trace::{machine::ONE, step::At},
};

impl Tracer<'_> {
    /// The sum, in order, of `count` blocks that start at `first` in `tensor`; onto `onto` if there is one.
    pub(super) fn blocks<'t>(
        &'t self,
        tensor: &'static str,
        first: usize,
        count: usize,
        onto: Option<Value>,
    ) -> Definition<'t> {
        let (start, used) = match onto {
            Some(onto) => (onto, 0),
            None if count == 0 => (ZERO, 0),
            None => (self.inner(tensor, first), 1),
        };
        Definition::chain(Link::Add, start, count - used.min(count), move |n| {
            [self.inner(tensor, first + used + n), ZERO]
        })
    }

    /// Block `block` of a product over `k` terms.
    pub(super) fn block<'t>(
        &'t self,
        block: usize,
        k: usize,
        term: impl Fn(usize) -> [Value; 2] + 't,
    ) -> Definition<'t> {
        let start = block * BLOCK;
        let count = k.saturating_sub(start).min(BLOCK);
        Definition::chain(Link::Fma, ZERO, count, move |n| term(start + n))
    }

    pub(super) fn define_product(&self, at: At) -> Option<Definition<'_>> {
        match *self.operation() {
            Operation::Gemm { n, k, a, b, c_row, store, .. } => {
                let count = k.div_ceil(BLOCK);
                Some(match at.tensor {
                    "block" => {
                        let (i, j) = (at.index / count / n, at.index / count % n);
                        self.block(at.index % count, k, move |k| {
                            [self.input("a", i * a[0] + k * a[1]), self.input("b", k * b[0] + j * b[1])]
                        })
                    }
                    "out" => {
                        let (i, j) = (at.index / n, at.index % n);
                        let onto = (store == Store::Add).then(|| self.input("c", i * c_row + j));
                        self.blocks("block", at.index * count, count, onto)
                    }
                    _ => return None,
                })
            }
            Operation::GemmSymmetric { n, k, a, b } => {
                let count = k.div_ceil(BLOCK);
                Some(match at.tensor {
                    "block" => {
                        let (i, j) = (at.index / count / n, at.index / count % n);
                        self.block(at.index % count, k, move |k| {
                            [self.input("a", i * a[0] + k * a[1]), self.input("b", k * b[0] + j * b[1])]
                        })
                    }
                    "out" => self.symmetric("out", "block", at.index, n, (count, count)),
                    _ => return None,
                })
            }
            Operation::NewtonSchulzGram { rows, cols, steps } => {
                self.define_newton_schulz_gram(at, rows, cols, steps)
            }
            Operation::NewtonSchulz { rows, cols, steps } => self.define_newton_schulz(at, rows, cols, steps),
            _ => None,
        }
    }

    fn define_newton_schulz(&self, at: At, rows: usize, cols: usize, steps: usize) -> Option<Definition<'_>> {
        let (len, side, long) = (rows * cols, rows.min(cols), rows.max(cols));
        let (a, b, c) = NEWTON_SCHULZ;
        let tall = rows > cols;
        let index = at.index;
        Some(match at.tensor {
            "square lane" => self.lane(Link::Fma, index, len, move |i| [self.input("m", i); 2]),
            "factor" => self.define_factor(),
            "x" if index < len => Definition::program(move |machine| {
                machine.mul(self.input("m", index), self.inner("factor", 0))
            }),
            // X after a step, from X and the product of that step.
            "x" => Definition::program(move |machine| {
                let term = machine.mul(ONE, self.inner("product", index - len));
                machine.fma(Value::number(a), self.inner("x", index - len), term)
            }),
            "gram block" => {
                let count = long.div_ceil(BLOCK);
                let (element, block) = (index / count, index % count);
                let (step, i, j) = (element / (side * side), element / side % side, element % side);
                self.block(block, long, move |k| {
                    // Row i of X (column i if it is tall).
                    let x = |i: usize| step * len + if tall { k * cols + i } else { i * cols + k };
                    [self.inner("x", x(i)), self.inner("x", x(j))]
                })
            }
            "gram" => self.blocks("gram block", index * long.div_ceil(BLOCK), long.div_ceil(BLOCK), None),
            "square block" => {
                let count = side.div_ceil(BLOCK);
                let (element, block) = (index / count, index % count);
                let (first, i, j) =
                    (element / (side * side) * side * side, element / side % side, element % side);
                self.block(block, side, move |k| {
                    [self.inner("gram", first + i * side + k), self.inner("gram", first + k * side + j)]
                })
            }
            "square" => self.blocks("square block", index * side.div_ceil(BLOCK), side.div_ceil(BLOCK), None),
            "polynomial" => Definition::program(move |machine| {
                let term = machine.mul(Value::number(b), self.inner("gram", index));
                machine.fma(Value::number(c), self.inner("square", index), term)
            }),
            "product block" => {
                let count = side.div_ceil(BLOCK);
                let (element, block) = (index / count, index % count);
                let (step, i, j) = (element / len, element / cols % rows, element % cols);
                self.block(block, side, move |k| {
                    let polynomial = |row: usize, col: usize| {
                        self.inner("polynomial", step * side * side + row * side + col)
                    };
                    let x = |row: usize, col: usize| self.inner("x", step * len + row * cols + col);
                    if tall { [x(i, k), polynomial(k, j)] } else { [polynomial(i, k), x(k, j)] }
                })
            }
            "product" => {
                self.blocks("product block", index * side.div_ceil(BLOCK), side.div_ceil(BLOCK), None)
            }
            "out" => Definition::is(self.inner("x", steps * len + index)),
            _ => return None,
        })
    }
}
