//! Sum the gradients of microbatches exactly, so that the sum depends on nothing but which ones it holds.
//!
//! Each microbatch's f32 gradient is rounded once, nearest-even, to multiples of `2^exponent`, one exponent
//! per tensor and step, clamped to +-(2^31 - 1) multiples, and added in i64. Integer addition is
//! associative: who computed what, in which order, and in how many partial sums leaves no trace, and a
//! microbatch can be taken out again exactly.
//!
//! The exponent of a tensor is [`INITIAL_EXPONENT`] in the first step: a range of +-2 in steps of 2^-30.
//! Afterwards it follows the last agreed sum: with `m` the greatest magnitude in it and `b` the bits of
//! `m`, the next exponent is `exponent + b + HEADROOM_BITS - 31`. A single microbatch may then exceed the
//! whole last sum's greatest value 2^8 times before it is clamped, and the grid is still as fine as f32 at
//! that value. A sum of zeros keeps the exponent.
//!
//! Bytes: header, then blocks of up to 256 values, each with the least two's-complement width (0 to 48
//! bits) that holds it, packed from the low bit. There is one encoding of a sum.

use crate::{error::ModelError, plan::StagePlan, spec::RunSpec, stage::StageWeights};
use std::{ops::Range, sync::Arc};
use tessera_arith::{ArithError, grid};
use tessera_canon::{List, decode, encode, record};

/// Exponent of every tensor's grid in the first step.
pub const INITIAL_EXPONENT: i32 = -30;
/// Powers of two between the last sum's greatest value and the clamp.
pub const HEADROOM_BITS: i32 = 8;
/// Exponents stay in this range: with it, no sum can overflow f32 or fall below its normal numbers.
pub const EXPONENT_RANGE: (i32, i32) = (-100, 0);
const BLOCK: usize = 256;
const MAX_WIDTH: u32 = 48;
pub(crate) const MAX_TENSORS: usize = 16_384;

/// Whether a microbatch is put into a sum or taken out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    Add,
    Subtract,
}

impl Sign {
    /// The sign that undoes this one.
    pub(crate) fn opposite(self) -> Self {
        match self {
            Self::Add => Self::Subtract,
            Self::Subtract => Self::Add,
        }
    }
}

/// An exact sum of microbatch gradients of one stage at one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GradSum {
    stage: u16,
    step: u64,
    exponents: Arc<Vec<i32>>,
    offsets: Arc<Vec<Range<usize>>>,
    microbatches: u32,
    values: Vec<i64>,
}

record! {
    struct Header {
        stage: u16,
        step: u64,
        microbatches: u32,
        start: u64,
        end: u64,
        exponents: List<i32, MAX_TENSORS>,
    }
}

impl GradSum {
    /// The empty sum for the state's stage and step.
    pub fn zero(weights: &StageWeights) -> Self {
        let offsets = weights.plan.offsets();
        let len = weights.plan.parameters();
        Self {
            stage: weights.plan.stage,
            step: weights.step,
            exponents: weights.exponents.clone(),
            offsets: Arc::new(offsets),
            microbatches: 0,
            values: vec![0; len],
        }
    }
    /// Make it the empty sum again, without new memory.
    pub fn clear(&mut self) {
        self.microbatches = 0;
        self.values.fill(0);
    }
    /// Microbatches in the sum.
    pub fn microbatches(&self) -> u32 {
        self.microbatches
    }
    /// Step the gradients belong to.
    pub fn step(&self) -> u64 {
        self.step
    }
    /// Stage the gradients belong to.
    pub fn stage(&self) -> u16 {
        self.stage
    }
    /// Number of values: the stage's parameters.
    pub fn len(&self) -> usize {
        self.values.len()
    }
    /// Whether no microbatch is in the sum.
    pub fn is_empty(&self) -> bool {
        self.microbatches == 0
    }
    /// The integers, the tensors of the plan laid end to end.
    pub fn values(&self) -> &[i64] {
        &self.values
    }

    /// Add `other`, a sum of other microbatches of the same stage and step.
    pub fn add(&mut self, other: &GradSum) -> Result<(), ModelError> {
        self.check_same(other)?;
        let microbatches = self.microbatches.checked_add(other.microbatches).ok_or_else(too_many)?;
        grid::merge(&mut self.values, &other.values)?;
        self.microbatches = microbatches;
        Ok(())
    }
    /// Take `other`, part of this sum, out of it.
    pub fn subtract(&mut self, other: &GradSum) -> Result<(), ModelError> {
        self.check_same(other)?;
        let negated: Vec<i64> = other.values.iter().map(|value| -value).collect();
        let microbatches =
            self.microbatches.checked_sub(other.microbatches).ok_or_else(|| ModelError::Count {
                expected: format!("at most {}, to take out", self.microbatches),
                got: other.microbatches.to_string(),
            })?;
        grid::merge(&mut self.values, &negated)?;
        self.microbatches = microbatches;
        Ok(())
    }

    /// Encode the values in `range` (of the parameters laid end to end) with everything that identifies them.
    pub fn encode_range(&self, range: Range<usize>) -> Result<Vec<u8>, ModelError> {
        let values = self.values.get(range.clone()).ok_or_else(|| self.bad_range(&range))?;
        let exponents = List::new(self.exponents.to_vec())
            .map_err(|e| bad("gradient sum", format!("at most {MAX_TENSORS} tensors"), e.got))?;
        let header = Header {
            stage: self.stage,
            step: self.step,
            microbatches: self.microbatches,
            start: range.start as u64,
            end: range.end as u64,
            exponents,
        };
        let header = encode(&header);
        let mut bytes = (header.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&header);
        values.chunks(BLOCK).for_each(|block| pack(block, &mut bytes));
        Ok(bytes)
    }
    /// Encode the whole sum.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        self.encode_range(0..self.values.len())
    }
    /// Decode a whole sum that belongs to the stage and step of `weights`. The memory used is bounded by the
    /// plan, whatever the bytes say.
    pub fn from_bytes(weights: &StageWeights, bytes: &[u8]) -> Result<Self, ModelError> {
        let mut sum = Self::zero(weights);
        let part = sum.decode_part(&weights.spec, bytes)?;
        if part.range != (0..sum.len()) {
            return Err(bad("gradient sum", format!("values 0..{}", sum.len()), format!("{:?}", part.range)));
        }
        sum.values = part.values;
        sum.microbatches = part.microbatches;
        Ok(sum)
    }
    /// Decode part of a sum of the same stage and step as this one.
    pub fn decode_part(&self, spec: &RunSpec, bytes: &[u8]) -> Result<GradPart, ModelError> {
        let (length, rest) = bytes
            .split_first_chunk::<4>()
            .ok_or_else(|| bad("gradient sum", "a header".to_string(), format!("{} bytes", bytes.len())))?;
        let length = u32::from_be_bytes(*length) as usize;
        let header = rest
            .get(..length)
            .ok_or_else(|| bad("gradient sum", format!("a header of {length} bytes"), rest.len()))?;
        let mut body = &rest[length..];
        let header: Header =
            decode(header).map_err(|e| bad("gradient sum header", "its fields".to_string(), e.cause))?;
        let mismatch = |what, expected: String, got: String| ModelError::SumMismatch { what, expected, got };
        if header.stage != self.stage {
            return Err(mismatch("stage", self.stage.to_string(), header.stage.to_string()));
        }
        if header.step != self.step {
            return Err(mismatch("step", self.step.to_string(), header.step.to_string()));
        }
        if *header.exponents != **self.exponents {
            return Err(mismatch("exponents", "those of the state".into(), "others".into()));
        }
        if header.microbatches > spec.batch.microbatches {
            return Err(ModelError::Count {
                expected: format!("at most {}", spec.batch.microbatches),
                got: header.microbatches.to_string(),
            });
        }
        if header.start > header.end || header.end > self.len() as u64 {
            return Err(self.bad_range(&(header.start as usize..header.end as usize)));
        }
        let range = header.start as usize..header.end as usize;
        let most = i64::from(header.microbatches) * i64::from(i32::MAX);
        // Every block costs at least one byte, so this reserves at most 2 KiB per byte received.
        if body.len() < range.len().div_ceil(BLOCK) {
            return Err(bad("gradient sum", format!("{} blocks", range.len().div_ceil(BLOCK)), body.len()));
        }
        let mut values = Vec::with_capacity(range.len());
        while values.len() < range.len() {
            let count = BLOCK.min(range.len() - values.len());
            unpack(&mut body, count, most, &mut values)?;
        }
        if !body.is_empty() {
            return Err(bad("gradient sum", "nothing after the last block".to_string(), body.len()));
        }
        Ok(GradPart { range, microbatches: header.microbatches, values })
    }
    /// Replace the values of `part`'s range by it: how a sum is put together from reduced shards. The number
    /// of microbatches becomes the part's; shards of one sum agree on it.
    pub fn set_part(&mut self, part: &GradPart) -> Result<(), ModelError> {
        let range = part.range.clone();
        let slot = self.values.get_mut(range.clone()).filter(|slot| slot.len() == part.values.len());
        let Some(slot) = slot else { return Err(self.bad_range(&range)) };
        slot.copy_from_slice(&part.values);
        self.microbatches = part.microbatches;
        Ok(())
    }
    /// The values in `range` as a part.
    pub fn part(&self, range: Range<usize>) -> Result<GradPart, ModelError> {
        let values = self.values.get(range.clone()).ok_or_else(|| self.bad_range(&range))?.to_vec();
        Ok(GradPart { range, microbatches: self.microbatches, values })
    }

    pub(crate) fn exponents(&self) -> &[i32] {
        &self.exponents
    }
    pub(crate) fn tensor(&self, index: usize) -> &[i64] {
        &self.values[self.offsets[index].clone()]
    }
    pub(crate) fn check_state(&self, weights: &StageWeights) -> Result<(), ModelError> {
        self.check(weights.plan.stage, weights.step, &weights.exponents, &weights.plan)
    }
    /// Microbatches in the sum after one is put in or taken out.
    pub(crate) fn next_count(&self, sign: Sign) -> Result<u32, ModelError> {
        match sign {
            Sign::Add => self.microbatches.checked_add(1).ok_or_else(too_many),
            Sign::Subtract => self.microbatches.checked_sub(1).ok_or_else(|| ModelError::Count {
                expected: "at least one, to take one out".into(),
                got: "none".into(),
            }),
        }
    }
    pub(crate) fn set_microbatches(&mut self, microbatches: u32) {
        self.microbatches = microbatches;
    }
    /// Round the gradient of tensor `index` and add or subtract it. On an error nothing changed.
    pub(crate) fn put(&mut self, index: usize, gradient: &[f32], sign: Sign) -> Result<(), ArithError> {
        quantise(gradient, self.exponents[index], &mut self.values[self.offsets[index].clone()], sign)
    }
    /// [`GradSum::put`] where only `rows` of a table have a gradient: `[rows, width]`, and zero elsewhere.
    pub(crate) fn put_rows(
        &mut self,
        index: usize,
        rows: &[u32],
        gradient: &[f32],
        sign: Sign,
    ) -> Result<(), ArithError> {
        let (exponent, table) = (self.exponents[index], &mut self.values[self.offsets[index].clone()]);
        let width = gradient.len() / rows.len().max(1);
        let at = |row: u32| row as usize * width..(row as usize + 1) * width;
        for (done, (&row, values)) in rows.iter().zip(gradient.chunks_exact(width.max(1))).enumerate() {
            let Err(error) = quantise(values, exponent, &mut table[at(row)], sign) else { continue };
            for (&row, values) in rows[..done].iter().zip(gradient.chunks_exact(width)) {
                quantise(values, exponent, &mut table[at(row)], sign.opposite())?;
            }
            return Err(error);
        }
        Ok(())
    }

    fn check_same(&self, other: &GradSum) -> Result<(), ModelError> {
        let mismatch = |what, expected: String, got: String| ModelError::SumMismatch { what, expected, got };
        if self.len() != other.len() {
            return Err(mismatch("length", self.len().to_string(), other.len().to_string()));
        }
        if (self.stage, self.step) != (other.stage, other.step) {
            let show = |sum: &GradSum| format!("stage {} step {}", sum.stage, sum.step);
            return Err(mismatch("origin", show(self), show(other)));
        }
        if self.exponents != other.exponents {
            return Err(mismatch(
                "exponents",
                format!("{:?}", self.exponents),
                format!("{:?}", other.exponents),
            ));
        }
        Ok(())
    }
    fn check(&self, stage: u16, step: u64, exponents: &[i32], plan: &StagePlan) -> Result<(), ModelError> {
        let mismatch = |what, expected: String, got: String| ModelError::SumMismatch { what, expected, got };
        if self.stage != stage {
            return Err(mismatch("stage", stage.to_string(), self.stage.to_string()));
        }
        if self.step != step {
            return Err(mismatch("step", step.to_string(), self.step.to_string()));
        }
        if self.len() != plan.parameters() {
            return Err(mismatch("length", plan.parameters().to_string(), self.len().to_string()));
        }
        if **self.exponents != *exponents {
            return Err(mismatch("exponents", "those of the state".into(), "others".into()));
        }
        Ok(())
    }
    fn bad_range(&self, range: &Range<usize>) -> ModelError {
        bad("gradient sum", format!("a range within 0..{}", self.len()), format!("{range:?}"))
    }
}

/// Some values of a gradient sum: what seats exchange when each adds up one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GradPart {
    /// Which parameters, of the stage's laid end to end.
    pub range: Range<usize>,
    /// Microbatches in the sum.
    pub microbatches: u32,
    /// The integers.
    pub values: Vec<i64>,
}

impl GradPart {
    /// Add another part of the same range.
    pub fn add(&mut self, other: &GradPart) -> Result<(), ModelError> {
        if self.range != other.range {
            let (expected, got) = (format!("{:?}", self.range), format!("{:?}", other.range));
            return Err(ModelError::SumMismatch { what: "range", expected, got });
        }
        let microbatches = self.microbatches.checked_add(other.microbatches).ok_or_else(too_many)?;
        grid::merge(&mut self.values, &other.values)?;
        self.microbatches = microbatches;
        Ok(())
    }
}

/// The exponent of the next step for a tensor with this sum, see the module.
pub(crate) fn next_exponent(exponent: i32, sum: &[i64]) -> i32 {
    let greatest = grid::greatest(sum);
    if greatest == 0 {
        return exponent;
    }
    let bits = (u64::BITS - greatest.leading_zeros()) as i32;
    (exponent + bits + HEADROOM_BITS - 31).clamp(EXPONENT_RANGE.0, EXPONENT_RANGE.1)
}

fn quantise(gradient: &[f32], exponent: i32, sum: &mut [i64], sign: Sign) -> Result<(), ArithError> {
    match sign {
        Sign::Add => grid::quantise_add(gradient, exponent, sum),
        Sign::Subtract => grid::quantise_sub(gradient, exponent, sum),
    }
}

fn too_many() -> ModelError {
    ModelError::Count { expected: "fewer than 2^32".into(), got: "more".into() }
}

fn bad(what: &'static str, expected: String, got: impl ToString) -> ModelError {
    ModelError::Decode { what, expected, got: got.to_string() }
}

/// Bits of the shortest two's complement that holds `value`; 0 for 0.
fn width(value: i64) -> u32 {
    if value == 0 { 0 } else { 65 - (value ^ (value >> 63)).leading_zeros() }
}

fn pack(block: &[i64], bytes: &mut Vec<u8>) {
    let width = block.iter().map(|&value| width(value)).max().unwrap_or(0);
    bytes.push(width as u8);
    let (mut held, mut bits) = (0u128, 0);
    for &value in block {
        held |= ((value as u64 & (u64::MAX >> (64 - width.max(1)))) as u128) << bits;
        bits += width;
        while bits >= 8 {
            bytes.push(held as u8);
            held >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        bytes.push(held as u8);
    }
}

fn unpack(body: &mut &[u8], count: usize, most: i64, values: &mut Vec<i64>) -> Result<(), ModelError> {
    let refuse = |expected: String, got: String| bad("gradient sum block", expected, got);
    let (&bits, rest) =
        body.split_first().ok_or_else(|| refuse("a width".into(), "the end of the bytes".into()))?;
    let bits = u32::from(bits);
    if bits > MAX_WIDTH {
        return Err(refuse(format!("a width of at most {MAX_WIDTH} bits"), bits.to_string()));
    }
    let length = (count * bits as usize).div_ceil(8);
    let packed =
        rest.get(..length).ok_or_else(|| refuse(format!("{length} bytes"), rest.len().to_string()))?;
    *body = &rest[length..];
    let (mut held, mut have, mut bytes, mut widest) = (0u128, 0, packed.iter(), 0);
    for _ in 0..count {
        while have < bits {
            // `length` covers count * bits, so a byte is left whenever bits are missing.
            held |= u128::from(bytes.next().copied().unwrap_or(0)) << have;
            have += 8;
        }
        let raw = if bits == 0 { 0 } else { held as u64 & (u64::MAX >> (64 - bits)) };
        let value = if bits == 0 { 0 } else { ((raw << (64 - bits)) as i64) >> (64 - bits) };
        if value.unsigned_abs() > most.unsigned_abs() {
            return Err(refuse(format!("values of at most {most}"), value.to_string()));
        }
        held >>= bits;
        have -= bits;
        widest = widest.max(width(value));
        values.push(value);
    }
    if widest != bits || held != 0 {
        return Err(refuse("the least width and zero padding".into(), "another encoding".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MOST: i64 = 1 << 47;

    fn small() -> impl Strategy<Value = Vec<i64>> {
        (0u32..47).prop_flat_map(|bits| prop::collection::vec(-(1i64 << bits)..=1 << bits, 1..=BLOCK))
    }

    proptest! {
        #[test]
        fn a_block_has_one_encoding_of_the_least_width(block in small()) {
            let mut bytes = Vec::new();
            pack(&block, &mut bytes);
            let widest = block.iter().map(|&v| width(v)).max().unwrap() as usize;
            prop_assert_eq!(bytes.len(), 1 + (block.len() * widest).div_ceil(8));
            let (mut body, mut back) = (&bytes[..], Vec::new());
            unpack(&mut body, block.len(), MOST, &mut back).unwrap();
            prop_assert!(body.is_empty());
            prop_assert_eq!(back, block);
        }
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in prop::collection::vec(any::<u8>(), 1..80), count in 1usize..20) {
            let (mut body, mut values) = (&bytes[..], Vec::new());
            if unpack(&mut body, count, MOST, &mut values).is_ok() {
                let mut again = Vec::new();
                pack(&values, &mut again);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - body.len()]);
            }
        }
    }

    #[test]
    fn exponents_follow_the_last_sum() {
        assert_eq!(next_exponent(-30, &[0, 0]), -30, "nothing learned, nothing changed");
        // The greatest value, 2^20 * 2^-30, lies 2^8 below the new clamp, 2^31 * 2^-32.
        assert_eq!(next_exponent(-30, &[3, -(1 << 20)]), -32);
        assert_eq!(next_exponent(-90, &[1]), EXPONENT_RANGE.0);
        assert_eq!(next_exponent(-2, &[1 << 46]), EXPONENT_RANGE.1);
    }
}
