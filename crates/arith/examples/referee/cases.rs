//! Draw operands that are hard to round, one distribution at a time, and compute with referee and processor.

use tessera_arith::referee;

/// A function of the referee.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Fma,
    Add,
    Sub,
    Mul,
    Div,
    Sqrt,
}

impl Function {
    pub(crate) const ALL: [Function; 6] =
        [Function::Fma, Function::Add, Function::Sub, Function::Mul, Function::Div, Function::Sqrt];

    /// The referee's result for operands a, b, c.
    pub(crate) fn software(self, [a, b, c]: [u32; 3]) -> u32 {
        match self {
            Function::Fma => referee::fma(a, b, c),
            Function::Add => referee::add(a, b),
            Function::Sub => referee::sub(a, b),
            Function::Mul => referee::mul(a, b),
            Function::Div => referee::div(a, b),
            Function::Sqrt => referee::sqrt(a),
        }
    }

    /// The processor's result for operands a, b, c.
    pub(crate) fn hardware(self, operands: [u32; 3]) -> u32 {
        let [a, b, c] = operands.map(f32::from_bits);
        let result = match self {
            Function::Fma => a.mul_add(b, c),
            Function::Add => a + b,
            Function::Sub => a - b,
            Function::Mul => a * b,
            Function::Div => a / b,
            Function::Sqrt => a.sqrt(),
        };
        result.to_bits()
    }
}

/// A distribution of operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Any bits at all: half of all pairs are far apart, one in 256 is infinite or NaN.
    Raw,
    /// Terms of the same size: a and b, and the product and c.
    EqualExponents,
    /// Terms that cancel up to a few units in the last place.
    Cancellation,
    /// Results below 2^-126, and on either side of it.
    Subnormal,
    /// Exact results halfway between two neighbours, or next to halfway.
    Ties,
    /// Results near the largest number.
    Overflow,
}

impl Class {
    pub(crate) const ALL: [Class; 6] = [
        Class::Raw,
        Class::EqualExponents,
        Class::Cancellation,
        Class::Subnormal,
        Class::Ties,
        Class::Overflow,
    ];
}

/// SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bits(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    /// A number from `from..=to`.
    fn between(&mut self, from: i32, to: i32) -> i32 {
        from + ((u64::from(self.bits()) * (to - from + 1) as u64) >> 32) as i32
    }

    /// A significand of random length, so that short ones are frequent, with a random sign: 23 bits and bit 31.
    fn significand(&mut self) -> u32 {
        let bits = self.bits();
        let dropped = if bits & 1 == 0 { 0 } else { self.between(0, 23) as u32 };
        (bits & 0x8000_0000) | ((bits >> 1 & 0x007f_ffff) >> dropped << dropped)
    }

    /// A number of the binade of 2^exponent, or a subnormal one if that is below -126.
    fn of_exponent(&mut self, exponent: i32) -> u32 {
        let significand = self.significand();
        if exponent >= -126 {
            significand | ((exponent.min(127) + 127) as u32) << 23
        } else {
            let hidden = 0x0080_0000 | significand & 0x007f_ffff;
            significand & 0x8000_0000 | hidden.checked_shr((-126 - exponent) as u32).unwrap_or(0)
        }
    }

    fn ulps(&mut self, x: u32, most: i32) -> u32 {
        x.wrapping_add_signed(self.between(-most, most))
    }

    /// Operands for `function` from `class`; those it does not take are random.
    pub(crate) fn operands(&mut self, function: Function, class: Class) -> [u32; 3] {
        match class {
            Class::Raw => [self.bits(), self.bits(), self.bits()],
            Class::EqualExponents => {
                let (a, shift) = (self.between(-126, 127), self.between(-1, 1));
                match function {
                    Function::Fma => {
                        let b = self.between(-126, 127);
                        [self.of_exponent(a), self.of_exponent(b), self.of_exponent(a + b + shift)]
                    }
                    _ => [self.of_exponent(a), self.of_exponent(a + shift), 0],
                }
            }
            Class::Cancellation => self.cancellation(function),
            Class::Subnormal => self.near_exponent(function, -160, -120),
            Class::Ties => self.tie(function),
            Class::Overflow => self.near_exponent(function, 125, 130),
        }
    }

    fn cancellation(&mut self, function: Function) -> [u32; 3] {
        let (low, high) = (self.between(-149, 127), self.between(-70, 70));
        let (a, b) = (self.of_exponent(low), self.of_exponent(high));
        match function {
            Function::Fma => {
                let product = referee::mul(a, b);
                [a, b, self.ulps(referee::negate(product), 4)]
            }
            Function::Add => [a, self.ulps(referee::negate(a), 4), 0],
            Function::Sub => [a, self.ulps(a, 4), 0],
            // Quotients next to one, products next to one.
            Function::Div => [a, self.ulps(a, 4), 0],
            Function::Mul => [b, self.ulps(referee::div(referee::ONE, b), 4), 0],
            // Squares and their neighbours.
            Function::Sqrt => [self.ulps(referee::absolute(referee::mul(b, b)), 4), 0, 0],
        }
    }

    /// Operands whose result has an exponent in a range or so.
    fn near_exponent(&mut self, function: Function, low: i32, high: i32) -> [u32; 3] {
        let result = self.between(low, high);
        match function {
            Function::Fma => {
                let (a, near) = (self.between(-126, 127), self.between(-30, 30));
                [
                    self.of_exponent(a),
                    self.of_exponent((result - a).clamp(-149, 127)),
                    self.of_exponent(result + near),
                ]
            }
            Function::Mul => {
                let a = self.between(-126, 127);
                [self.of_exponent(a), self.of_exponent((result - a).clamp(-149, 127)), 0]
            }
            Function::Div => {
                let b = self.between(-149, 127);
                [self.of_exponent((result + b).clamp(-149, 127)), self.of_exponent(b), 0]
            }
            Function::Add | Function::Sub => {
                let near = self.between(-3, 3);
                [self.of_exponent(result), self.of_exponent(result + near), 0]
            }
            Function::Sqrt => [self.of_exponent(result) & 0x7fff_ffff, 0, 0],
        }
    }

    /// An exact result halfway between two neighbours; every second one is moved by one unit of an operand.
    fn tie(&mut self, function: Function) -> [u32; 3] {
        let nudge = self.between(-1, 1) * self.between(0, 1);
        match function {
            Function::Fma => {
                // c plus an odd number of halves of its last place; the halves are split into two factors.
                let c_exponent = self.between(-126, 127);
                let c = self.of_exponent(c_exponent);
                let odd = self.between(0, 1 << 11) * 2 + 1;
                let half = c_exponent - 24;
                let split = self.between((half - 100).max(-126), (half + 100).min(100));
                let a = referee::mul(referee::from_integer(i64::from(odd)), power(split));
                let b = power((half - split).clamp(-149, 127)) | self.bits() & 0x8000_0000;
                [a.wrapping_add_signed(nudge), b, c]
            }
            Function::Add | Function::Sub => {
                let exponent = self.between(-120, 127);
                let odd = referee::from_integer(i64::from(self.between(0, 1 << 11) * 2 + 1));
                let b = referee::mul(odd, power(exponent - 24)) | self.bits() & 0x8000_0000;
                [self.of_exponent(exponent), b.wrapping_add_signed(nudge), 0]
            }
            Function::Mul => {
                // Odd significands of 12 and 13 bits: their product has 24 or 25 bits and is odd.
                let a = referee::from_integer(i64::from(self.between(1 << 10, (1 << 11) - 1) * 2 + 1));
                let b = referee::from_integer(i64::from(self.between(1 << 11, (1 << 12) - 1) * 2 + 1));
                let (up, down) = (self.between(-126, 100), self.between(-60, 20));
                [referee::mul(a, power(up)), referee::mul(b, power(down)).wrapping_add_signed(nudge), 0]
            }
            Function::Div => {
                // Only a subnormal quotient can be a tie: an odd multiple of 2^-150.
                let odd = self.between(0, 1 << 12) * 2 + 1;
                let b = self.between(10, 127);
                let a = referee::mul(referee::from_integer(i64::from(odd)), power((b - 150).max(-149)));
                [a, power(b).wrapping_add_signed(nudge), 0]
            }
            Function::Sqrt => {
                // A root is never a tie; squares of halfway points come closest.
                let root = f64::from(self.between(1 << 23, (1 << 24) - 1)) + 0.5;
                let exponent = 2 * self.between(-74, 30);
                let square = ((root * root) as f32).to_bits();
                [referee::mul(square, power(exponent)).wrapping_add_signed(nudge), 0, 0]
            }
        }
    }
}

/// 2^exponent for -149..=127.
fn power(exponent: i32) -> u32 {
    if exponent >= -126 { ((exponent + 127) as u32) << 23 } else { 1 << (exponent + 149) }
}
