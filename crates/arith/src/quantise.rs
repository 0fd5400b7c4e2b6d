//! Shrink rows of numbers for the wire, so that every machine sends and reads the same bytes.
//!
//! A receiver computes from the decoded values and hashes cover the bytes, so both directions are exact
//! formulas. Values are [rows, width]; rows follow one another and nothing crosses a row.
//!
//! [`Format::Bf16`] (Kalamkar et al. 2019, "A Study of BFLOAT16 for Deep Learning Training"): the upper half of the
//! bits of x, rounded to nearest even, subnormals and the sign of zero kept: with b the bits of x,
//! (b + 0x7fff + (b >> 16 & 1)) >> 16, two bytes, low byte first. Decoding puts the bits back, zeros below.
//!
//! [`Format::Int8`] and [`Format::Int4`]: a row is cut into blocks of [`BLOCK`] = 64 values, the last may be shorter.
//! With L = 127 or 7 and m the largest magnitude of a block, e is the least integer from -127 on with
//! m <= L * 2^e, and n = x * 2^-e rounded to the nearest integer, ties to even; so |n| <= L and nothing needs
//! clamping. Decoding: x = n * 2^e, which is exact; zero comes back as +0. In bytes a block is e + 127 and then
//! - int8: each n in two's complement;
//! - int4: pairs of n in two's complement of four bits, the first in the low half; the half left over at the
//!   end of a row is zero.
//!
//! Why powers of two, as in the OCP Microscaling Formats (MX, version 1.0, 2023), and not m / L: decoding has no
//! rounding, a scale is one byte, and encoding what was decoded gives the same bytes (m / L rounded does
//! not promise that), so a relay or a replay cannot drift. The price is at most one bit of the step. MX rounds
//! e down and clamps; here e is rounded up, so the largest value of a block is as exact as the others.
//! The block is 64, not MX's 32, for half the scales: 1.6 % of int8, 3.1 % of int4.
//!
//! Largest error, with m of the block:
//!
//! | format | error of x | bytes of a row |
//! |---|---|---|
//! | bf16 | 2^-8 * abs(x), or 2^-134 if that is more | 2 * width |
//! | int8 | 2^(e - 1), which is at most m / 127, or 2^-128 if that is more | width + ceil(width / 64) |
//! | int4 | 2^(e - 1), which is at most m / 7, or 2^-128 if that is more | ceil(width / 2) + ceil(width / 64) |
//!
//! NaN, infinity and what would come back infinite are refused (bf16 above 0x7f7f7fff in bits, int8 above
//! 127 * 2^121, int4 above 7 * 2^125), as are bytes no encoder writes. On any error nothing is written.
//!
//! It knows no messages: lengths and formats travel elsewhere.

use crate::{
    error::{ArithError, length, rows},
    isa::isa,
    lanes::{Fused, Kernel, LANES, dispatch},
};
use std::marker::PhantomData;

/// How many values of a row share one scale.
pub const BLOCK: usize = 64;

pub(crate) const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to an integer.
const MAGNITUDE: u32 = 0x7fff_ffff;
const FRACTION: u32 = 0x007f_ffff;

/// A form of numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Two bytes a value.
    Bf16,
    /// One byte a value and one a block.
    Int8,
    /// Half a byte a value and one byte a block.
    Int4,
}

impl Format {
    /// All formats, widest first.
    pub const ALL: [Format; 3] = [Format::Bf16, Format::Int8, Format::Int4];

    /// Returns how many bytes a row of `width` values takes; none if they are too many to count.
    pub fn row_bytes(self, width: usize) -> Option<usize> {
        match self {
            Format::Bf16 => width.checked_mul(2),
            Format::Int8 => width.checked_add(width.div_ceil(BLOCK)),
            Format::Int4 => width.div_ceil(2).checked_add(width.div_ceil(BLOCK)),
        }
    }

    /// Returns how many bytes `rows` rows of `width` values take; none if they are too many to count.
    pub fn bytes(self, rows: usize, width: usize) -> Option<usize> {
        self.row_bytes(width)?.checked_mul(rows)
    }

    /// The bits of the largest magnitude that comes back finite.
    const fn largest(self) -> u32 {
        match self {
            Format::Bf16 => 0x7f7f_7fff,
            Format::Int8 => 0x7f7e_0000,
            Format::Int4 => 0x7f60_0000,
        }
    }
}

/// An integer format: its L is `LIMIT`.
trait Integers {
    const LIMIT: i8;
    const FORMAT: Format;

    /// Returns e + 127 for a block whose largest magnitude has these bits.
    #[inline(always)]
    fn scale_of(largest: u32) -> u32 {
        let limit = f32::from(Self::LIMIT).to_bits();
        // A fraction beyond that of L carries into the exponent.
        let exponent = (largest + (FRACTION - (limit & FRACTION))) >> 23;
        exponent.saturating_sub((limit >> 23) - 127)
    }

    /// Writes integers as bytes.
    fn put(n: &[i8], bytes: &mut [u8]);

    /// Reads as many integers as `n` holds.
    fn get(bytes: &[u8], n: &mut [i8]);

    /// Returns whether bits that stand for no value are zero.
    fn tidy(bytes: &[u8], width: usize) -> bool;

    /// Returns how many bytes `width` values of a block take without their scale.
    fn packed(width: usize) -> usize;
}

struct Int8;
impl Integers for Int8 {
    const LIMIT: i8 = 127;
    const FORMAT: Format = Format::Int8;

    #[inline(always)]
    fn put(n: &[i8], bytes: &mut [u8]) {
        for (byte, n) in bytes.iter_mut().zip(n) {
            *byte = *n as u8;
        }
    }

    #[inline(always)]
    fn get(bytes: &[u8], n: &mut [i8]) {
        for (n, byte) in n.iter_mut().zip(bytes) {
            *n = *byte as i8;
        }
    }

    fn tidy(_: &[u8], _: usize) -> bool {
        true
    }

    #[inline(always)]
    fn packed(width: usize) -> usize {
        width
    }
}

struct Int4;
impl Integers for Int4 {
    const LIMIT: i8 = 7;
    const FORMAT: Format = Format::Int4;

    #[inline(always)]
    fn put(n: &[i8], bytes: &mut [u8]) {
        for (byte, pair) in bytes.iter_mut().zip(n.chunks(2)) {
            *byte = match pair {
                [low, high] => (*low as u8 & 15) | ((*high as u8) << 4),
                rest => rest[0] as u8 & 15,
            };
        }
    }

    #[inline(always)]
    fn get(bytes: &[u8], n: &mut [i8]) {
        for (pair, byte) in n.chunks_mut(2).zip(bytes) {
            pair[0] = ((byte << 4) as i8) >> 4;
            if let [_, high] = pair {
                *high = (*byte as i8) >> 4;
            }
        }
    }

    fn tidy(bytes: &[u8], width: usize) -> bool {
        width.is_multiple_of(2) || bytes.last().is_none_or(|last| last >> 4 == 0)
    }

    #[inline(always)]
    fn packed(width: usize) -> usize {
        width.div_ceil(2)
    }
}

/// The largest magnitude, as bits: integers, so NaN and infinity count as the largest.
#[inline(always)]
fn largest_in(x: &[f32]) -> u32 {
    let mut lanes = [0u32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = lanes[lane].max(chunk[lane].to_bits() & MAGNITUDE);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = (*lane).max(x.to_bits() & MAGNITUDE);
    }
    lanes.into_iter().fold(0, u32::max)
}

struct Largest<'a>(&'a [f32]);
impl Kernel for Largest<'_> {
    type Output = u32;
    #[inline(always)]
    fn run<F: Fused>(self) -> u32 {
        largest_in(self.0)
    }
}

struct Narrow<'a>(&'a [f32], &'a mut [u8]);
impl Kernel for Narrow<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let (bytes, _) = self.1.as_chunks_mut::<2>();
        for (bytes, x) in bytes.iter_mut().zip(self.0) {
            let bits = x.to_bits();
            // The caller has bounded the magnitude, so the sum stays below infinity.
            *bytes = (((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16).to_le_bytes();
        }
    }
}

struct Widen<'a>(&'a [u8], &'a mut [f32]);
impl Kernel for Widen<'_> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let (bytes, _) = self.0.as_chunks::<2>();
        for (x, bytes) in self.1.iter_mut().zip(bytes) {
            *x = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
        }
    }
}

/// Rows to bytes.
struct Pack<'a, I> {
    x: &'a [f32],
    width: usize,
    bytes: &'a mut [u8],
    integers: PhantomData<I>,
}

impl<I: Integers> Kernel for Pack<'_, I> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let mut bytes = self.bytes;
        for row in self.x.chunks_exact(self.width) {
            for block in row.chunks(BLOCK) {
                let (coded, rest) = bytes.split_at_mut(1 + I::packed(block.len()));
                bytes = rest;
                let scale = I::scale_of(largest_in(block));
                // 2^-e is a normal number: the caller has bounded the magnitude, so the byte is at most 252.
                let inverse = f32::from_bits((254 - scale) << 23);
                let mut n = [0i8; BLOCK];
                for (n, x) in n.iter_mut().zip(block) {
                    *n = ((x * inverse + ROUND).to_bits() as i32 - ROUND.to_bits() as i32) as i8;
                }
                coded[0] = scale as u8;
                I::put(&n[..block.len()], &mut coded[1..]);
            }
        }
    }
}

/// Bytes to rows.
struct Unpack<'a, I> {
    bytes: &'a [u8],
    width: usize,
    x: &'a mut [f32],
    integers: PhantomData<I>,
}

impl<I: Integers> Kernel for Unpack<'_, I> {
    type Output = ();
    #[inline(always)]
    fn run<F: Fused>(self) {
        let mut bytes = self.bytes;
        for row in self.x.chunks_exact_mut(self.width) {
            for block in row.chunks_mut(BLOCK) {
                let (coded, rest) = bytes.split_at(1 + I::packed(block.len()));
                bytes = rest;
                let mut n = [0i8; BLOCK];
                I::get(&coded[1..], &mut n[..block.len()]);
                let power = power(coded[0]);
                for (x, n) in block.iter_mut().zip(n) {
                    *x = f32::from(n) * power;
                }
            }
        }
    }
}

/// Returns 2^(scale - 127); the least is subnormal.
#[inline(always)]
fn power(scale: u8) -> f32 {
    f32::from_bits(if scale == 0 { 0x0040_0000 } else { u32::from(scale) << 23 })
}

/// Checks what an encoder of `I` promises of its bytes, so that equal values have equal bytes.
fn check_blocks<I: Integers>(bytes: &[u8], width: usize, rows: usize) -> Result<(), ArithError> {
    let refuse = |index, problem| Err(ArithError::Encoding { operation: "quantise decode", index, problem });
    let mut at = 0;
    for _ in 0..rows {
        for start in (0..width).step_by(BLOCK) {
            let count = BLOCK.min(width - start);
            let (scale, coded) = (bytes[at], &bytes[at + 1..][..I::packed(count)]);
            let mut n = [0i8; BLOCK];
            I::get(coded, &mut n[..count]);
            if u32::from(scale) > I::scale_of(I::FORMAT.largest()) {
                return refuse(at, "is a scale beyond the largest");
            }
            if n.contains(&(-I::LIMIT - 1)) {
                return refuse(at + 1, "starts a block that holds the unused least integer");
            }
            // With a smaller largest integer the encoder would have chosen a smaller scale.
            if scale > 0 && n.iter().all(|n| n.unsigned_abs() <= I::LIMIT as u8 / 2) {
                return refuse(at, "is a larger scale than its block needs");
            }
            if !I::tidy(coded, count) {
                return refuse(at + coded.len(), "has bits that stand for no value");
            }
            at += 1 + coded.len();
        }
    }
    Ok(())
}

/// Checks the sizes of values and bytes and returns how many rows there are.
fn check_sizes(
    operation: &'static str,
    format: Format,
    values: usize,
    width: usize,
    bytes: usize,
) -> Result<usize, ArithError> {
    let count = rows(operation, "values", values, width)?;
    length(operation, "bytes", bytes, format.bytes(count, width).unwrap_or(usize::MAX))?;
    Ok(count)
}

/// Writes `x` [rows, width] as `bytes` of [`Format::bytes`].
///
/// # Errors
/// Sizes that do not fit; [`ArithError::NonFinite`] for a NaN or infinity, [`ArithError::Unrepresentable`] for what
/// would come back infinite. `bytes` are then as they were.
pub fn encode(format: Format, x: &[f32], width: usize, bytes: &mut [u8]) -> Result<(), ArithError> {
    const NAME: &str = "quantise encode";
    check_sizes(NAME, format, x.len(), width, bytes.len())?;
    let isa = isa();
    if dispatch(isa, Largest(x)) > format.largest() {
        let index = x.iter().position(|x| x.to_bits() & MAGNITUDE > format.largest()).unwrap_or(0);
        return Err(if x[index].is_finite() {
            ArithError::Unrepresentable { operation: NAME, index }
        } else {
            ArithError::NonFinite { operation: NAME, index }
        });
    }
    match format {
        Format::Bf16 => dispatch(isa, Narrow(x, bytes)),
        Format::Int8 => dispatch(isa, Pack::<Int8> { x, width, bytes, integers: PhantomData }),
        Format::Int4 => dispatch(isa, Pack::<Int4> { x, width, bytes, integers: PhantomData }),
    }
    Ok(())
}

/// Reads `x` [rows, width] from what [`encode`] wrote; no rounding happens.
///
/// # Errors
/// Sizes that do not fit; [`ArithError::NonFinite`] for an encoded NaN or infinity; [`ArithError::Encoding`] for
/// bytes that [`encode`] never writes. `x` is then as it was.
pub fn decode(format: Format, bytes: &[u8], width: usize, x: &mut [f32]) -> Result<(), ArithError> {
    const NAME: &str = "quantise decode";
    let count = check_sizes(NAME, format, x.len(), width, bytes.len())?;
    let isa = isa();
    match format {
        Format::Bf16 => {
            let infinite = |bytes: &[u8; 2]| u16::from_le_bytes(*bytes) & 0x7f80 == 0x7f80;
            if let Some(index) = bytes.as_chunks::<2>().0.iter().position(infinite) {
                return Err(ArithError::NonFinite { operation: NAME, index });
            }
            dispatch(isa, Widen(bytes, x));
        }
        Format::Int8 => {
            check_blocks::<Int8>(bytes, width, count)?;
            dispatch(isa, Unpack::<Int8> { bytes, width, x, integers: PhantomData });
        }
        Format::Int4 => {
            check_blocks::<Int4>(bytes, width, count)?;
            dispatch(isa, Unpack::<Int4> { bytes, width, x, integers: PhantomData });
        }
    }
    Ok(())
}
