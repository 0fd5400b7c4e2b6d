//! Run a formula step by step, keeping the steps if asked: every formula of the traces is written over this.

use super::step::{Arithmetic, Opcode, Source, Step, Value};
use crate::scalar::{EXP, LN2_HIGH, LN2_LOW, LOG, ROUND};

pub(super) const ZERO: Value = Value::number(0.0);
pub(super) const ONE: Value = Value::number(1.0);

/// Takes the steps of a formula in order.
pub(super) struct Machine {
    arithmetic: Arithmetic,
    count: usize,
    kept: Option<Vec<Step>>,
}

impl Machine {
    /// A machine that keeps its steps if `keep`.
    pub(super) fn new(arithmetic: Arithmetic, keep: bool) -> Machine {
        Machine { arithmetic, count: 0, kept: keep.then(Vec::new) }
    }

    /// Returns the steps kept.
    pub(super) fn steps(self) -> Vec<Step> {
        self.kept.unwrap_or_default()
    }

    fn run(&mut self, opcode: Opcode, operands: [Value; 3]) -> Value {
        let result = self.arithmetic.compute(opcode, operands.map(|operand| operand.bits));
        if let Some(steps) = &mut self.kept {
            steps.push(Step { opcode, operands, result });
        }
        self.count += 1;
        Value { bits: result, source: Source::Step(self.count - 1) }
    }

    fn two(&mut self, opcode: Opcode, a: Value, b: Value) -> Value {
        self.run(opcode, [a, b, ZERO])
    }

    fn one(&mut self, opcode: Opcode, a: Value) -> Value {
        self.run(opcode, [a, ZERO, ZERO])
    }

    pub(super) fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.run(Opcode::Fma, [a, b, c])
    }

    pub(super) fn add(&mut self, a: Value, b: Value) -> Value {
        self.two(Opcode::Add, a, b)
    }

    pub(super) fn sub(&mut self, a: Value, b: Value) -> Value {
        self.two(Opcode::Sub, a, b)
    }

    pub(super) fn mul(&mut self, a: Value, b: Value) -> Value {
        self.two(Opcode::Mul, a, b)
    }

    pub(super) fn div(&mut self, a: Value, b: Value) -> Value {
        self.two(Opcode::Div, a, b)
    }

    pub(super) fn sqrt(&mut self, a: Value) -> Value {
        self.one(Opcode::Sqrt, a)
    }

    pub(super) fn negate(&mut self, a: Value) -> Value {
        self.one(Opcode::Negate, a)
    }

    /// a if a > b, else b.
    pub(super) fn max(&mut self, a: Value, b: Value) -> Value {
        self.two(Opcode::Max, a, b)
    }

    pub(super) fn less(&mut self, a: Value, b: Value) -> Value {
        self.two(Opcode::Less, a, b)
    }

    /// yes if condition is not 0, else no.
    pub(super) fn select(&mut self, condition: Value, yes: Value, no: Value) -> Value {
        self.run(Opcode::Select, [condition, yes, no])
    }

    pub(super) fn equal(&mut self, a: Value, b: Value) -> Value {
        self.two(Opcode::Equal, a, b)
    }

    pub(super) fn word_add(&mut self, a: Value, b: Value) -> Value {
        self.two(Opcode::WordAdd, a, b)
    }

    pub(super) fn word_sub(&mut self, a: Value, b: Value) -> Value {
        self.two(Opcode::WordSub, a, b)
    }

    pub(super) fn word_and(&mut self, a: Value, b: Value) -> Value {
        self.two(Opcode::WordAnd, a, b)
    }

    pub(super) fn shift_left(&mut self, a: Value, bits: u32) -> Value {
        self.two(Opcode::ShiftLeft, a, Value::word(bits))
    }

    /// The sign is repeated.
    pub(super) fn shift_right(&mut self, a: Value, bits: u32) -> Value {
        self.two(Opcode::ShiftRight, a, Value::word(bits))
    }

    pub(super) fn word_to_float(&mut self, a: Value) -> Value {
        self.one(Opcode::WordToFloat, a)
    }

    pub(super) fn absolute(&mut self, a: Value) -> Value {
        self.one(Opcode::Absolute, a)
    }

    pub(super) fn grid_steps(&mut self, gradient: Value, exponent: i32) -> Value {
        self.two(Opcode::GridSteps, gradient, Value::word(exponent as u32))
    }

    pub(super) fn sum_add(&mut self, a: Value, b: Value) -> Value {
        self.two(Opcode::SumAdd, a, b)
    }

    pub(super) fn sum_sub(&mut self, a: Value, b: Value) -> Value {
        self.two(Opcode::SumSub, a, b)
    }

    pub(super) fn sum_to_float(&mut self, a: Value) -> Value {
        self.one(Opcode::SumToFloat, a)
    }

    /// Folds 16 lanes: lane l becomes join(l, l + h) for h = 8, 4, 2, 1.
    pub(super) fn fold(
        &mut self,
        mut lanes: [Value; 16],
        join: impl Fn(&mut Machine, Value, Value) -> Value,
    ) -> Value {
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                lanes[lane] = join(self, lanes[lane], lanes[lane + half]);
            }
        }
        lanes[0]
    }

    fn horner(&mut self, coefficients: &[f32], x: Value) -> Value {
        let mut p = coefficients.first().map_or(ZERO, |first| Value::number(*first));
        for coefficient in coefficients.iter().skip(1) {
            p = self.fma(p, x, Value::number(*coefficient));
        }
        p
    }

    /// exp, as [`crate::scalar`] defines it.
    pub(super) fn exp(&mut self, x: Value) -> Value {
        let (low, high, round) = (Value::number(-105.0), Value::number(89.0), Value::number(ROUND));
        let below = self.less(x, low);
        let x = self.select(below, low, x);
        let above = self.less(high, x);
        let x = self.select(above, high, x);
        let shifted = self.fma(x, Value::number(std::f32::consts::LOG2_E), round);
        let n = self.sub(shifted, round);
        let r = self.fma(n, Value::number(-LN2_HIGH), x);
        let r = self.fma(n, Value::number(-LN2_LOW), r);
        let p = self.horner(&EXP, r);
        let square = self.mul(r, r);
        let y = self.fma(p, square, r);
        let y = self.add(y, ONE);
        let n = self.word_sub(shifted, round);
        let half = self.shift_right(n, 1);
        let rest = self.word_sub(n, half);
        let first = self.power(half);
        let y = self.mul(y, first);
        let second = self.power(rest);
        self.mul(y, second)
    }

    /// 2^n of a signed word n.
    fn power(&mut self, n: Value) -> Value {
        let biased = self.word_add(n, Value::word(127));
        self.shift_left(biased, 23)
    }

    /// log, as [`crate::scalar`] defines it.
    pub(super) fn log(&mut self, x: Value) -> Value {
        let root = Value::number(std::f32::consts::FRAC_1_SQRT_2);
        let tiny = self.less(x, Value::number(f32::MIN_POSITIVE));
        let larger = self.mul(x, Value::number(8_388_608.0));
        let scaled = self.select(tiny, larger, x);
        let offset = self.word_sub(scaled, root);
        let exponent = self.shift_right(offset, 23);
        let fraction = self.word_and(offset, Value::word(0x007f_ffff));
        let m = self.word_add(fraction, root);
        let e = self.word_to_float(exponent);
        let correction = self.select(tiny, Value::number(23.0), ZERO);
        let e = self.sub(e, correction);
        let f = self.sub(m, ONE);
        let z = self.mul(f, f);
        let p = self.horner(&LOG, f);
        let y = self.mul(f, z);
        let y = self.mul(y, p);
        let y = self.fma(e, Value::number(LN2_LOW), y);
        let y = self.fma(Value::number(-0.5), z, y);
        let y = self.add(f, y);
        let y = self.fma(e, Value::number(LN2_HIGH), y);
        let finite = self.less(x, Value::number(f32::INFINITY));
        let y = self.select(finite, y, x);
        let zero = self.equal(x, ZERO);
        let y = self.select(zero, Value::number(f32::NEG_INFINITY), y);
        let negative = self.less(x, ZERO);
        self.select(negative, Value::number(f32::NAN), y)
    }

    /// 1 / (1 + exp(-x)), as [`crate::scalar`] defines it.
    pub(super) fn sigmoid(&mut self, x: Value) -> Value {
        let size = self.absolute(x);
        let size = self.negate(size);
        let e = self.exp(size);
        let negative = self.less(x, ZERO);
        let numerator = self.select(negative, e, ONE);
        let denominator = self.add(ONE, e);
        self.div(numerator, denominator)
    }

    /// 1 / sqrt(x).
    pub(super) fn rsqrt(&mut self, x: Value) -> Value {
        let root = self.sqrt(x);
        self.div(ONE, root)
    }
}
