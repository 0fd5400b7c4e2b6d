//! Name the primitive steps of the arithmetic, take one, and judge one that someone claims to have taken.

use crate::{
    lanes::{Baseline, Fused},
    referee,
};

/// What a step computes from operands a, b, c. Numbers are f32 bits in the low half of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Opcode {
    /// a * b + c, rounded once.
    Fma,
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a * b.
    Mul,
    /// a / b.
    Div,
    /// The square root of a.
    Sqrt,
    /// -a.
    Negate,
    /// |a|.
    Absolute,
    /// a if a > b, else b.
    Max,
    /// 1 if a < b, else 0.
    Less,
    /// 1 if a == b, else 0; both zeros are equal.
    Equal,
    /// b if a is not 0, else c.
    Select,
    /// a + b modulo 2^32, of the bits as integers.
    WordAdd,
    /// a - b modulo 2^32, of the bits as integers.
    WordSub,
    /// The bits common to a and b.
    WordAnd,
    /// The bits of a, moved up by b modulo 32.
    ShiftLeft,
    /// The bits of a as a signed 32-bit integer, moved down by b modulo 32, the sign repeated.
    ShiftRight,
    /// The bits of a as a signed 32-bit integer, rounded to an f32.
    WordToFloat,
    /// The gradient a as steps of 2^b, an i64; b is a signed 32-bit integer. See [`referee::grid_steps`].
    GridSteps,
    /// a + b modulo 2^64, of i64.
    SumAdd,
    /// a - b modulo 2^64, of i64.
    SumSub,
    /// The i64 a, rounded to an f32.
    SumToFloat,
}

impl Opcode {
    /// Every opcode.
    pub const ALL: [Opcode; 22] = [
        Opcode::Fma,
        Opcode::Add,
        Opcode::Sub,
        Opcode::Mul,
        Opcode::Div,
        Opcode::Sqrt,
        Opcode::Negate,
        Opcode::Absolute,
        Opcode::Max,
        Opcode::Less,
        Opcode::Equal,
        Opcode::Select,
        Opcode::WordAdd,
        Opcode::WordSub,
        Opcode::WordAnd,
        Opcode::ShiftLeft,
        Opcode::ShiftRight,
        Opcode::WordToFloat,
        Opcode::GridSteps,
        Opcode::SumAdd,
        Opcode::SumSub,
        Opcode::SumToFloat,
    ];

    /// How many operands count; the others are ignored.
    pub fn arity(self) -> usize {
        use Opcode::*;
        match self {
            Fma | Select => 3,
            Sqrt | Negate | Absolute | WordToFloat | SumToFloat => 1,
            _ => 2,
        }
    }

    /// Whether the result is an f32, so that every NaN is the same result.
    pub fn is_number(self) -> bool {
        use Opcode::*;
        match self {
            Fma | Add | Sub | Mul | Div | Sqrt | Negate | Absolute | Max | Select | WordToFloat
            | SumToFloat => true,
            Less | Equal | WordAdd | WordSub | WordAnd | ShiftLeft | ShiftRight | GridSteps | SumAdd
            | SumSub => false,
        }
    }
}

/// Who computes a step. Both give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// The processor: fast.
    Native,
    /// [`crate::referee`]: integers only, for whoever judges.
    Referee,
}

impl Arithmetic {
    /// Takes one step. A NaN comes out as [`referee::NAN`].
    pub fn compute(self, opcode: Opcode, [a, b, c]: [u64; 3]) -> u64 {
        let number = match self {
            Arithmetic::Native => native(opcode, [a as u32, b as u32, c as u32]),
            Arithmetic::Referee => judged(opcode, [a as u32, b as u32, c as u32]),
        };
        let result = number.map_or_else(|| integers(opcode, [a, b, c]), u64::from);
        if opcode.is_number() && referee::is_nan(result as u32) { u64::from(referee::NAN) } else { result }
    }
}

/// The steps with floating-point operands, on the processor.
fn native(opcode: Opcode, operands: [u32; 3]) -> Option<u32> {
    let [a, b, c] = operands.map(f32::from_bits);
    let result = match opcode {
        Opcode::Fma => Baseline::fma(a, b, c),
        Opcode::Add => a + b,
        Opcode::Sub => a - b,
        Opcode::Mul => a * b,
        Opcode::Div => a / b,
        Opcode::Sqrt => a.sqrt(),
        Opcode::Negate => -a,
        Opcode::Absolute => a.abs(),
        Opcode::Max => {
            if a > b {
                a
            } else {
                b
            }
        }
        Opcode::Less => return Some(u32::from(a < b)),
        Opcode::Equal => return Some(u32::from(a == b)),
        _ => return None,
    };
    Some(result.to_bits())
}

/// The same steps, by the referee.
fn judged(opcode: Opcode, [a, b, c]: [u32; 3]) -> Option<u32> {
    Some(match opcode {
        Opcode::Fma => referee::fma(a, b, c),
        Opcode::Add => referee::add(a, b),
        Opcode::Sub => referee::sub(a, b),
        Opcode::Mul => referee::mul(a, b),
        Opcode::Div => referee::div(a, b),
        Opcode::Sqrt => referee::sqrt(a),
        Opcode::Negate => referee::negate(a),
        Opcode::Absolute => referee::absolute(a),
        Opcode::Max => {
            if referee::less(b, a) {
                a
            } else {
                b
            }
        }
        Opcode::Less => u32::from(referee::less(a, b)),
        Opcode::Equal => u32::from(referee::equal(a, b)),
        _ => return None,
    })
}

/// The steps on integers, which are the same for everyone.
fn integers(opcode: Opcode, [a, b, c]: [u64; 3]) -> u64 {
    let (word_a, word_b) = (a as u32, b as u32);
    match opcode {
        Opcode::Select => u64::from(if word_a != 0 { word_b } else { c as u32 }),
        Opcode::WordAdd => u64::from(word_a.wrapping_add(word_b)),
        Opcode::WordSub => u64::from(word_a.wrapping_sub(word_b)),
        Opcode::WordAnd => u64::from(word_a & word_b),
        Opcode::ShiftLeft => u64::from(word_a.wrapping_shl(word_b)),
        Opcode::ShiftRight => u64::from((word_a as i32).wrapping_shr(word_b) as u32),
        Opcode::WordToFloat => u64::from(referee::from_integer(i64::from(word_a as i32))),
        Opcode::GridSteps => referee::grid_steps(word_a, word_b as i32) as u64,
        Opcode::SumAdd => a.wrapping_add(b),
        Opcode::SumSub => a.wrapping_sub(b),
        Opcode::SumToFloat => u64::from(referee::from_integer(a as i64)),
        // The steps with floating-point operands are computed before.
        _ => 0,
    }
}

/// One element of a named tensor of an operation, by its index in memory order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At {
    pub tensor: &'static str,
    pub index: usize,
}

/// Where an operand comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// It is part of the formula.
    Constant,
    /// An input of the operation, which is committed to.
    Input(At),
    /// A value on the way or another output, which has a trace of its own.
    Inner(At),
    /// The result of an earlier step of the same trace.
    Step(usize),
}

/// An operand: its bits and where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    pub bits: u64,
    pub source: Source,
}

impl Value {
    /// A number of the formula.
    pub const fn number(x: f32) -> Value {
        Value::word(x.to_bits())
    }

    /// A 32-bit word of the formula.
    pub const fn word(bits: u32) -> Value {
        Value { bits: bits as u64, source: Source::Constant }
    }
}

/// One primitive step: what is claimed to come out of known operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub opcode: Opcode,
    /// As many as [`Opcode::arity`] says count.
    pub operands: [Value; 3],
    pub result: u64,
}

impl Step {
    /// Returns the right result, computed by [`crate::referee`].
    pub fn ruling(&self) -> u64 {
        Arithmetic::Referee.compute(self.opcode, self.operands.map(|operand| operand.bits))
    }

    /// Whether the claimed result is right. All NaNs are one result.
    pub fn judge(&self) -> bool {
        let right = self.ruling();
        let both_nan = || referee::is_nan(right as u32) && referee::is_nan(self.result as u32);
        right == self.result || self.opcode.is_number() && self.result >> 32 == 0 && both_nan()
    }
}
