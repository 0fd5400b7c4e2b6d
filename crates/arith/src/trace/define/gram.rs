//! Trace Newton-Schulz iterations on the Gram matrix, whose products are computed by their upper half.

use super::{Definition, Link, Tracer, Value};
use crate::{
    gemm::BLOCK,
    optim::NEWTON_SCHULZ,
    trace::{machine::ONE, step::At},
};

impl Tracer<'_> {
    /// An element of a stack of symmetric matrices `tensor` [.., side, side]: on and above the diagonal the sum of
    /// `count` blocks, of `stride` to each element; below it the mirror image.
    pub(super) fn symmetric<'t>(
        &'t self,
        tensor: &'static str,
        block: &'static str,
        index: usize,
        side: usize,
        (count, stride): (usize, usize),
    ) -> Definition<'t> {
        let (i, j) = (index / side % side, index % side);
        if i > j {
            return Definition::is(self.inner(tensor, index - i * side - j + j * side + i));
        }
        self.blocks(block, index * stride, count, None)
    }

    pub(super) fn define_newton_schulz_gram(
        &self,
        at: At,
        rows: usize,
        cols: usize,
        steps: usize,
    ) -> Option<Definition<'_>> {
        let (side, long, tall) = (rows.min(cols), rows.max(cols), rows > cols);
        let (a, b, c) = NEWTON_SCHULZ;
        let index = at.index;
        let (short_blocks, long_blocks) = (side.div_ceil(BLOCK), long.div_ceil(BLOCK));
        let short = (short_blocks, short_blocks);
        // Matrix `step` of a stack.
        let element = move |tensor: &'static str, step: usize, row: usize, col: usize| {
            self.inner(tensor, (step * side + row) * side + col)
        };
        // A block of the product of two stacks of square matrices, at the steps given.
        let square_block = move |stride: usize, left: &'static str, right: &'static str, back: [usize; 2]| {
            let (entry, block) = (index / stride, index % stride);
            let (step, i, j) = (entry / (side * side), entry / side % side, entry % side);
            self.block(block, side, move |k| {
                [element(left, step - back[0], i, k), element(right, step - back[1], k, j)]
            })
        };
        Some(match at.tensor {
            "square lane" => self.lane(Link::Fma, index, rows * cols, move |i| [self.input("m", i); 2]),
            "factor" => self.define_factor(),
            "x" => Definition::program(move |machine| {
                machine.mul(self.input("m", index), self.inner("factor", 0))
            }),
            "gram block" if index < side * side * long_blocks => {
                let (entry, block) = (index / long_blocks, index % long_blocks);
                let (i, j) = (entry / side, entry % side);
                self.block(block, long, move |k| {
                    let x = |i: usize| if tall { k * cols + i } else { i * cols + k };
                    [self.inner("x", x(i)), self.inner("x", x(j))]
                })
            }
            "gram block" => square_block(long_blocks, "turned", "polynomial", [1, 1]),
            "gram" => {
                let count = if index < side * side { long_blocks } else { short_blocks };
                self.symmetric("gram", "gram block", index, side, (count, long_blocks))
            }
            "square block" => square_block(short_blocks, "gram", "gram", [0, 0]),
            "square" => self.symmetric("square", "square block", index, side, short),
            "polynomial" => Definition::program(move |machine| {
                let term = machine.mul(Value::number(b), self.inner("gram", index));
                let value = machine.fma(Value::number(c), self.inner("square", index), term);
                if index / side % side == index % side { machine.add(value, Value::number(a)) } else { value }
            }),
            // Of the first step there is no product: the polynomial itself.
            "accumulated block" if index < side * side * short_blocks => Definition::is(super::ZERO),
            "accumulated block" => square_block(short_blocks, "polynomial", "accumulated", [0, 1]),
            "accumulated" if index < side * side => Definition::is(self.inner("polynomial", index)),
            "accumulated" => self.symmetric("accumulated", "accumulated block", index, side, short),
            "turned block" => square_block(short_blocks, "polynomial", "gram", [0, 0]),
            "turned" => self.symmetric("turned", "turned block", index, side, short),
            "out block" => {
                let (entry, block) = (index / short_blocks, index % short_blocks);
                let (i, j) = (entry / cols, entry % cols);
                let last = steps.saturating_sub(1);
                self.block(block, side, move |k| {
                    let x = |row: usize, col: usize| self.inner("x", row * cols + col);
                    if tall {
                        [x(i, k), element("accumulated", last, k, j)]
                    } else {
                        [element("accumulated", last, i, k), x(k, j)]
                    }
                })
            }
            "out" if steps == 0 => Definition::is(self.inner("x", index)),
            "out" => self.blocks("out block", index * short_blocks, short_blocks, None),
            _ => return None,
        })
    }

    /// What the matrix is first scaled by: 1 / (norm + 1e-7).
    pub(super) fn define_factor(&self) -> Definition<'_> {
        Definition::program(move |machine| {
            let total = self.folded(machine, "square lane", 0);
            let root = machine.sqrt(total);
            let root = machine.add(root, Value::number(1e-7));
            machine.div(ONE, root)
        })
    }
}
