//! Trace what looks at whole rows: sums, maxima, softmax, cross-entropy, norms.

use super::{Definition, LANES, Link, Machine, Operation, Tracer, Value, ZERO};
use crate::{
    Store,
    gemm::BLOCK,
    referee,
    trace::{machine::ONE, step::At},
};

/// A size as a number of a formula.
pub(super) fn size(n: usize) -> Value {
    Value::word(referee::from_integer(n as i64))
}

impl Tracer<'_> {
    pub(super) fn define_row(&self, at: At) -> Option<Definition<'_>> {
        let index = at.index;
        let x = |i: usize| self.input("x", i);
        Some(match (self.operation(), at.tensor) {
            (Operation::Sum { len }, "lane") => {
                self.lane(Link::Add, index, *len, move |i| [self.input("x", i), ZERO])
            }
            (Operation::SumSquares { len }, "lane") => {
                self.lane(Link::Fma, index, *len, move |i| [self.input("x", i); 2])
            }
            (Operation::Dot { len }, "lane") => {
                self.lane(Link::Fma, index, *len, move |i| [self.input("x", i), self.input("y", i)])
            }
            (Operation::Max { len }, "lane") => {
                self.lane(Link::Max, index, *len, move |i| [self.input("x", i), ZERO])
            }
            (Operation::Max { .. }, "out") => self.largest("lane", 0),
            (Operation::Sum { .. } | Operation::SumSquares { .. } | Operation::Dot { .. }, "out") => {
                Definition::program(move |machine| self.folded(machine, "lane", 0))
            }
            (Operation::Softmax { .. }, "scaled") => {
                let x = x(index);
                Definition::program(move |machine| machine.mul(x, ONE))
            }
            (Operation::Softmax { len }, "out") => self.normalised(0, index, *len),
            (Operation::Softmax { len }, tensor) => {
                return self.exponentials("scaled", true, tensor, index, *len, *len);
            }
            (Operation::CrossEntropy { vocab, scale, .. }, tensor) => {
                let (vocab, scale) = (*vocab, *scale);
                let target = |row: usize| self.indices("target").get(row).copied().unwrap_or(0) as usize;
                match tensor {
                    "loss" => {
                        let at = index * vocab + target(index);
                        Definition::program(move |machine| {
                            let log = machine.log(self.inner("total", index));
                            let shifted = machine.sub(self.input("logits", at), self.inner("largest", index));
                            machine.sub(log, shifted)
                        })
                    }
                    "dlogits" => {
                        let row = index / vocab;
                        let at_target = index % vocab == target(row);
                        Definition::program(move |machine| {
                            let p = machine.mul(self.inner("exponential", index), self.inner("inverse", row));
                            let p = if at_target { machine.sub(p, ONE) } else { p };
                            machine.mul(p, Value::number(scale))
                        })
                    }
                    "total" => Definition::program(move |machine| self.folded(machine, "total lane", index)),
                    "inverse" => {
                        Definition::program(move |machine| machine.div(ONE, self.inner("total", index)))
                    }
                    _ => return self.exponentials("logits", false, tensor, index, vocab, vocab),
                }
            }
            (Operation::GlobalNorm { lengths } | Operation::Clip { lengths, .. }, "square lane") => {
                let (tensor, lane) = (index / LANES, index % LANES);
                let first: usize = lengths.iter().take(tensor).sum();
                let len = lengths.get(tensor).copied().unwrap_or(0);
                self.lane(Link::Fma, lane, len, move |i| [self.input("tensors", first + i); 2])
            }
            (_, "square") => Definition::program(move |machine| self.folded(machine, "square lane", index)),
            (Operation::GlobalNorm { lengths } | Operation::Clip { lengths, .. }, "total") => {
                Definition::chain(Link::Add, ZERO, lengths.len(), move |n| [self.inner("square", n), ZERO])
            }
            (_, "norm") => Definition::program(move |machine| machine.sqrt(self.inner("total", 0))),
            (Operation::Clip { max_norm, .. }, "factor") => {
                let max_norm = Value::number(*max_norm);
                Definition::program(move |machine| machine.div(max_norm, self.inner("norm", 0)))
            }
            (Operation::Clip { max_norm, .. }, "out") => {
                let max_norm = Value::number(*max_norm);
                Definition::program(move |machine| {
                    let x = self.input("tensors", index);
                    let over = machine.less(max_norm, self.inner("norm", 0));
                    let scaled = machine.mul(x, self.inner("factor", 0));
                    machine.select(over, scaled, x)
                })
            }
            _ => return None,
        })
    }

    /// The tensors between the scores of rows and their exponentials' sum: row r has `len` scores in `scores`
    /// (inner values, or inputs), `stride` apart from the next row's.
    pub(super) fn exponentials<'t>(
        &'t self,
        scores: &'static str,
        inner: bool,
        tensor: &'static str,
        index: usize,
        len: usize,
        stride: usize,
    ) -> Option<Definition<'t>> {
        let score = move |at: usize| if inner { self.inner(scores, at) } else { self.input(scores, at) };
        let row = index / LANES;
        Some(match tensor {
            "largest lane" => {
                self.lane(Link::Max, index % LANES, len, move |i| [score(row * stride + i), ZERO])
            }
            "largest" => self.largest("largest lane", index),
            "exponential" => Definition::program(move |machine| {
                let x = machine.sub(score(index), self.inner("largest", index / stride));
                machine.exp(x)
            }),
            "total lane" => self.lane(Link::Add, index % LANES, len, move |i| {
                [self.inner("exponential", row * stride + i), ZERO]
            }),
            "inverse" => Definition::program(move |machine| {
                let total = self.folded(machine, "total lane", index);
                machine.div(ONE, total)
            }),
            _ => return None,
        })
    }

    /// Element `index` of a softmax row.
    pub(super) fn normalised<'t>(&'t self, row: usize, index: usize, stride: usize) -> Definition<'t> {
        Definition::program(move |machine: &mut Machine| {
            machine.mul(self.inner("exponential", row * stride + index), self.inner("inverse", row))
        })
    }

    pub(super) fn define_norm(&self, at: At) -> Option<Definition<'_>> {
        let index = at.index;
        Some(match (self.operation(), at.tensor) {
            (Operation::RmsForward { d, .. }, "square lane") => {
                let (row, d) = (index / LANES, *d);
                self.lane(Link::Fma, index % LANES, d, move |i| [self.input("x", row * d + i); 2])
            }
            (Operation::RmsForward { d, epsilon, .. }, "inv_rms") => {
                let (d, epsilon) = (*d, *epsilon);
                Definition::program(move |machine| {
                    let total = self.folded(machine, "square lane", index);
                    let mean = machine.div(total, size(d));
                    let mean = machine.add(mean, Value::number(epsilon));
                    machine.rsqrt(mean)
                })
            }
            (Operation::RmsForward { d, .. }, "out") => {
                let d = *d;
                Definition::program(move |machine| {
                    let unit = machine.mul(self.input("x", index), self.inner("inv_rms", index / d));
                    machine.mul(unit, self.input("gain", index % d))
                })
            }
            (Operation::RmsBackward { d, rows, store }, tensor) => {
                return self.define_norm_backward(tensor, index, *d, *rows, *store);
            }
            _ => return None,
        })
    }

    fn define_norm_backward(
        &self,
        tensor: &'static str,
        index: usize,
        d: usize,
        rows: usize,
        store: Store,
    ) -> Option<Definition<'_>> {
        let count = rows.div_ceil(BLOCK);
        Some(match tensor {
            "unit" => Definition::program(move |machine| {
                machine.mul(self.input("x", index), self.input("inv_rms", index / d))
            }),
            "weighted" => Definition::program(move |machine| {
                machine.mul(self.input("dy", index), self.input("gain", index % d))
            }),
            "dot lane" => {
                let row = index / LANES;
                self.lane(Link::Fma, index % LANES, d, move |i| {
                    [self.inner("unit", row * d + i), self.inner("weighted", row * d + i)]
                })
            }
            "mean dot" => Definition::program(move |machine| {
                let total = self.folded(machine, "dot lane", index);
                machine.div(total, size(d))
            }),
            "new dx" => Definition::program(move |machine| {
                let unit = machine.negate(self.inner("unit", index));
                let part =
                    machine.fma(unit, self.inner("mean dot", index / d), self.inner("weighted", index));
                let value = machine.mul(self.input("inv_rms", index / d), part);
                match store {
                    Store::Set => value,
                    Store::Add => machine.add(self.input("dx", index), value),
                }
            }),
            "gain block" => {
                let (column, block) = (index / count, index % count);
                self.block(block, rows, move |row| {
                    [self.input("dy", row * d + column), self.inner("unit", row * d + column)]
                })
            }
            "new dgain" => self.blocks("gain block", index * count, count, Some(self.input("dgain", index))),
            _ => return None,
        })
    }
}
