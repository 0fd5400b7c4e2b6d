//! Trace the bytes of the wire's formats, and the numbers read from them.

use super::{Definition, Link, Operation, Tracer, Value, ZERO};
use crate::{
    quantise::{self, BLOCK, Format},
    trace::{machine::Machine, step::At},
};

const FRACTION: u32 = 0x007f_ffff;

/// The sizes of an integer format's rows.
#[derive(Clone, Copy)]
struct Layout {
    format: Format,
    width: usize,
    /// L: the largest integer.
    limit: f32,
}

impl Layout {
    /// None for bf16, which has no blocks.
    fn of(format: Format, width: usize) -> Option<Layout> {
        let limit = match format {
            Format::Bf16 => return None,
            Format::Int8 => 127.0,
            Format::Int4 => 7.0,
        };
        Some(Layout { format, width, limit })
    }

    /// Blocks of a row.
    fn blocks(&self) -> usize {
        self.width.div_ceil(BLOCK)
    }

    /// Bytes of a whole block, its scale included.
    fn block_bytes(&self) -> usize {
        self.format.row_bytes(BLOCK).unwrap_or(usize::MAX)
    }

    /// Bytes of a row.
    fn row_bytes(&self) -> usize {
        self.format.row_bytes(self.width).unwrap_or(usize::MAX)
    }

    /// Returns where the scale of element `index` of the rows is, and where the byte of the element.
    fn bytes_of(&self, index: usize) -> (usize, usize) {
        let (row, column) = (index / self.width, index % self.width);
        let scale = row * self.row_bytes() + column / BLOCK * self.block_bytes();
        let within = column % BLOCK;
        (scale, scale + 1 + if self.format == Format::Int4 { within / 2 } else { within })
    }
}

impl Tracer<'_> {
    pub(super) fn define_wire(&self, at: At) -> Option<Definition<'_>> {
        let i = at.index;
        match (self.operation(), at.tensor) {
            (Operation::Encode { format: Format::Bf16, .. }, "out") => Some(self.narrow(i)),
            (Operation::Decode { format: Format::Bf16, .. }, "out") => {
                Some(Definition::program(move |machine| {
                    let low = machine.shift_left(self.input("bytes", 2 * i), 16);
                    let high = machine.shift_left(self.input("bytes", 2 * i + 1), 24);
                    machine.word_add(low, high)
                }))
            }
            (Operation::Encode { format, width, .. }, tensor) => {
                self.define_encode(tensor, i, Layout::of(*format, *width)?)
            }
            (Operation::Decode { format, width, .. }, "out") => {
                Some(self.unpacked(i, Layout::of(*format, *width)?))
            }
            _ => None,
        }
    }

    /// A byte of bf16: (b + 0x7fff + (b >> 16 & 1)) >> 16, low byte first.
    fn narrow(&self, index: usize) -> Definition<'_> {
        Definition::program(move |machine| {
            let x = self.input("x", index / 2);
            let upper = machine.shift_right(x, 16);
            let odd = machine.word_and(upper, Value::word(1));
            let sum = machine.word_add(x, Value::word(0x7fff));
            let sum = machine.word_add(sum, odd);
            let byte = machine.shift_right(sum, if index.is_multiple_of(2) { 16 } else { 24 });
            machine.word_and(byte, Value::word(0xff))
        })
    }

    fn define_encode(&self, tensor: &'static str, index: usize, layout: Layout) -> Option<Definition<'_>> {
        let blocks = layout.blocks();
        Some(match tensor {
            "magnitude" => Definition::program(move |machine| machine.absolute(self.input("x", index))),
            "largest" => {
                let start = index % blocks * BLOCK;
                let first = index / blocks * layout.width + start;
                Definition::chain(Link::Max, ZERO, BLOCK.min(layout.width - start), move |n| {
                    [self.inner("magnitude", first + n), ZERO]
                })
            }
            "scale" => Definition::program(move |machine| {
                let limit = layout.limit.to_bits();
                // A fraction beyond that of L carries into the exponent.
                let carry = Value::word(FRACTION - (limit & FRACTION));
                let sum = machine.word_add(self.inner("largest", index), carry);
                let exponent = machine.shift_right(sum, 23);
                let scale = machine.word_sub(exponent, Value::word((limit >> 23) - 127));
                // Zero in place of a negative scale.
                let negative = machine.shift_right(scale, 31);
                let keep = machine.word_sub(Value::word(u32::MAX), negative);
                machine.word_and(scale, keep)
            }),
            "out" => {
                let (row, byte) = (index / layout.row_bytes(), index % layout.row_bytes());
                let (block, byte) = (byte / layout.block_bytes(), byte % layout.block_bytes());
                let scale = self.inner("scale", row * blocks + block);
                let Some(byte) = byte.checked_sub(1) else { return Some(Definition::is(scale)) };
                let (first, end) = (row * layout.width, (row + 1) * layout.width);
                let element = first + block * BLOCK;
                if layout.format == Format::Int8 {
                    return Some(Definition::program(move |machine| {
                        let n = self.integer(machine, element + byte, scale);
                        machine.word_and(n, Value::word(0xff))
                    }));
                }
                let low = element + 2 * byte;
                Definition::program(move |machine| {
                    let n = self.integer(machine, low, scale);
                    let half = machine.word_and(n, Value::word(15));
                    if low + 1 >= end {
                        return half;
                    }
                    let n = self.integer(machine, low + 1, scale);
                    let other = machine.word_and(n, Value::word(15));
                    let other = machine.shift_left(other, 4);
                    machine.word_add(half, other)
                })
            }
            _ => return None,
        })
    }

    /// x * 2^-e rounded to the nearest integer, as a word.
    fn integer(&self, machine: &mut Machine, index: usize, scale: Value) -> Value {
        let round = Value::number(quantise::ROUND);
        let inverse = machine.word_sub(Value::word(254), scale);
        let inverse = machine.shift_left(inverse, 23);
        let n = machine.mul(self.input("x", index), inverse);
        let n = machine.add(n, round);
        machine.word_sub(n, round)
    }

    /// n * 2^e of an integer format.
    fn unpacked(&self, index: usize, layout: Layout) -> Definition<'_> {
        let (scale, byte) = layout.bytes_of(index);
        let (scale, byte) = (self.input("bytes", scale), self.input("bytes", byte));
        // Moved to the top of the word and back down, so that the sign is repeated.
        let (up, down) = match (layout.format, index % layout.width % 2) {
            (Format::Int4, 0) => (28, 28),
            (Format::Int4, _) => (24, 28),
            _ => (24, 24),
        };
        Definition::program(move |machine| {
            let n = machine.shift_left(byte, up);
            let n = machine.shift_right(n, down);
            let n = machine.word_to_float(n);
            // The least power is subnormal: 2^-127.
            let least = machine.equal(scale, ZERO);
            let normal = machine.shift_left(scale, 23);
            let power = machine.select(least, Value::word(0x0040_0000), normal);
            machine.mul(n, power)
        })
    }
}
