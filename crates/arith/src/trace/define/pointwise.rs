//! Trace what treats each element alone: functions, gates, rotations, table rows, optimizer steps, the grid.

use super::{Definition, Link, Operation, Tracer, Value, ZERO};
use crate::trace::{machine::ONE, step::At};

impl Tracer<'_> {
    pub(super) fn define_pointwise(&self, at: At) -> Option<Definition<'_>> {
        let i = at.index;
        let own = move |tensor: &'static str| self.input(tensor, i);
        Some(match (self.operation(), at.tensor) {
            (Operation::Exp { .. }, "out") => Definition::program(move |machine| machine.exp(own("x"))),
            (Operation::Log { .. }, "out") => Definition::program(move |machine| machine.log(own("x"))),
            (Operation::Sigmoid { .. }, "out") => {
                Definition::program(move |machine| machine.sigmoid(own("x")))
            }
            (Operation::Silu { .. }, "out") => Definition::program(move |machine| {
                let s = machine.sigmoid(own("x"));
                machine.mul(own("x"), s)
            }),
            (Operation::Rsqrt { .. }, "out") => Definition::program(move |machine| machine.rsqrt(own("x"))),
            (Operation::Add { .. }, "out") => {
                Definition::program(move |machine| machine.add(own("x"), own("y")))
            }
            (Operation::Scale { factor, .. }, "out") => {
                let factor = Value::number(*factor);
                Definition::program(move |machine| machine.mul(own("x"), factor))
            }
            (Operation::Rope { heads, head_dim, back, .. }, "out") => {
                self.rotation(i, *heads, *head_dim, *back)
            }
            (Operation::SwigluForward { .. }, "out") => Definition::program(move |machine| {
                let s = machine.sigmoid(own("gate"));
                let silu = machine.mul(own("gate"), s);
                machine.mul(silu, own("up"))
            }),
            (Operation::SwigluBackward { .. }, "dup") => Definition::program(move |machine| {
                let s = machine.sigmoid(own("gate"));
                let silu = machine.mul(own("gate"), s);
                machine.mul(own("dout"), silu)
            }),
            (Operation::SwigluBackward { .. }, "dgate") => Definition::program(move |machine| {
                let s = machine.sigmoid(own("gate"));
                let rest = machine.sub(ONE, s);
                let slope = machine.fma(own("gate"), rest, ONE);
                let slope = machine.mul(s, slope);
                let outer = machine.mul(own("dout"), own("up"));
                machine.mul(outer, slope)
            }),
            (Operation::Gather { d, .. }, "out") => {
                let token = self.indices("token").get(i / d).copied().unwrap_or(0) as usize;
                Definition::is(self.input("table", token * d + i % d))
            }
            (Operation::ScatterAdd { d, .. }, "out") => {
                let (d, row) = (*d, i / d);
                let tokens = self.indices("token").iter().enumerate();
                let hits: Vec<usize> =
                    tokens.filter(|(_, token)| **token as usize == row).map(|(at, _)| at).collect();
                Definition::chain(Link::Add, own("dtable"), hits.len(), move |n| {
                    [self.input("dout", hits[n] * d + i % d), ZERO]
                })
            }
            (Operation::AdamW { .. } | Operation::Momentum { .. } | Operation::Descend { .. }, tensor) => {
                return self.define_update(tensor, i);
            }
            (Operation::QuantiseAdd { exponent, .. }, "out") => {
                let exponent = *exponent;
                Definition::program(move |machine| {
                    let steps = machine.grid_steps(own("gradient"), exponent);
                    machine.sum_add(own("sum"), steps)
                })
            }
            (Operation::QuantiseSub { exponent, .. }, "out") => {
                let exponent = *exponent;
                Definition::program(move |machine| {
                    let steps = machine.grid_steps(own("gradient"), exponent);
                    machine.sum_sub(own("sum"), steps)
                })
            }
            (Operation::Merge { .. }, "out") => {
                Definition::program(move |machine| machine.sum_add(own("sum"), own("other")))
            }
            (Operation::Dequantise { exponent, scale, .. }, "out") => {
                let step = Value::word(((127 + exponent) as u32) << 23); // 2^exponent, which is normal.
                let scale = Value::number(*scale);
                Definition::program(move |machine| {
                    let n = machine.sum_to_float(own("sum"));
                    let x = machine.mul(n, step);
                    machine.mul(x, scale)
                })
            }
            _ => return None,
        })
    }

    fn rotation(&self, index: usize, heads: usize, head_dim: usize, back: bool) -> Definition<'_> {
        let half = head_dim / 2;
        let (row, column) = (index / (heads * head_dim), index % head_dim);
        let position = self.indices("position").get(row).copied().unwrap_or(0) as usize;
        let at = position * half + column % half;
        Definition::program(move |machine| {
            let (cos, sin) = (self.input("cos", at), self.input("sin", at));
            let sin = if back { machine.negate(sin) } else { sin };
            let own = self.input("x", index);
            if column < half {
                let other = machine.mul(self.input("x", index + half), sin);
                let other = machine.negate(other);
                machine.fma(own, cos, other)
            } else {
                let other = machine.mul(self.input("x", index - half), sin);
                machine.fma(own, cos, other)
            }
        })
    }

    fn define_update(&self, tensor: &'static str, i: usize) -> Option<Definition<'_>> {
        let own = move |tensor: &'static str| self.input(tensor, i);
        Some(match (self.operation(), tensor) {
            (Operation::AdamW { step, .. }, "keep") => keep(step.learning_rate, step.weight_decay),
            (Operation::AdamW { step, .. }, "new first") => {
                let beta = Value::number(step.beta1);
                Definition::program(move |machine| {
                    let rest = machine.sub(ONE, beta);
                    let new = machine.mul(rest, own("gradient"));
                    machine.fma(beta, own("first"), new)
                })
            }
            (Operation::AdamW { step, .. }, "new second") => {
                let beta = Value::number(step.beta2);
                Definition::program(move |machine| {
                    let rest = machine.sub(ONE, beta);
                    let new = machine.mul(rest, own("gradient"));
                    let new = machine.mul(new, own("gradient"));
                    machine.fma(beta, own("second"), new)
                })
            }
            (Operation::AdamW { step, .. }, "new weight") => {
                let step = *step;
                Definition::program(move |machine| {
                    let first = machine.mul(self.inner("new first", i), Value::number(step.correction1));
                    let second = machine.mul(self.inner("new second", i), Value::number(step.correction2));
                    let root = machine.sqrt(second);
                    let root = machine.add(root, Value::number(step.epsilon));
                    let direction = machine.div(first, root);
                    let kept = machine.mul(own("weight"), self.inner("keep", 0));
                    let rate = machine.negate(Value::number(step.learning_rate));
                    machine.fma(rate, direction, kept)
                })
            }
            (Operation::Momentum { beta, .. }, "new buffer") => {
                let beta = Value::number(*beta);
                Definition::program(move |machine| machine.fma(beta, own("buffer"), own("gradient")))
            }
            (Operation::Momentum { beta, nesterov: true, .. }, "direction") => {
                let beta = Value::number(*beta);
                Definition::program(move |machine| {
                    machine.fma(beta, self.inner("new buffer", i), own("gradient"))
                })
            }
            (Operation::Momentum { nesterov: false, .. }, "direction") => {
                Definition::is(self.inner("new buffer", i))
            }
            (Operation::Descend { learning_rate, weight_decay, .. }, "keep") => {
                keep(*learning_rate, *weight_decay)
            }
            (Operation::Descend { learning_rate, .. }, "out") => {
                let rate = Value::number(*learning_rate);
                Definition::program(move |machine| {
                    let kept = machine.mul(own("weight"), self.inner("keep", 0));
                    let rate = machine.negate(rate);
                    machine.fma(rate, own("direction"), kept)
                })
            }
            _ => return None,
        })
    }
}

/// The factor of decoupled weight decay: fma(-rate, decay, 1).
fn keep<'t>(rate: f32, decay: f32) -> Definition<'t> {
    let (rate, decay) = (Value::number(rate), Value::number(decay));
    Definition::program(move |machine| {
        let rate = machine.negate(rate);
        machine.fma(rate, decay, ONE)
    })
}
