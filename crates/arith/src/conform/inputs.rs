//! Generate the suite's inputs from integers, and hash its outputs.

use super::Row;
use crate::ArithError;

/// SplitMix64 (Steele, Lea and Flood 2014): integers only, so the same everywhere.
pub(super) struct Inputs(pub(super) u64);

impl Inputs {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A value of full precision whose exponent is within `spread` of that of one.
    fn value(&mut self, spread: u64) -> f32 {
        let bits = self.next();
        let exponent = 127 - spread as u32 + ((bits >> 32) % (2 * spread + 1)) as u32;
        f32::from_bits((bits as u32 & 0x807f_ffff) | (exponent << 23))
    }

    /// Ordinary values: magnitudes from 2^-6 to 2^3.
    pub(super) fn ordinary(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value(4) * 0.25).collect()
    }

    /// Values that find mistakes: zeros of both signs, subnormals, the largest and smallest exponents.
    pub(super) fn hostile(&mut self, len: usize) -> Vec<f32> {
        let one = |inputs: &mut Inputs| {
            let bits = inputs.next();
            let sign = (bits >> 63 << 31) as u32;
            match bits % 8 {
                0 => f32::from_bits(sign),
                1 => f32::from_bits(sign | (bits >> 20) as u32 & 0x007f_ffff),
                2 => f32::from_bits(sign | 0x7e80_0000 | (bits >> 20) as u32 & 0x00ff_ffff),
                3 => f32::from_bits(sign | 0x0080_0000 | (bits >> 20) as u32 & 0x00ff_ffff),
                4 | 5 => inputs.value(60),
                _ => inputs.value(3),
            }
        };
        (0..len).map(|_| one(self)).map(|x| if x.is_finite() { x } else { f32::MAX }).collect()
    }

    pub(super) fn either(&mut self, hostile: bool, len: usize) -> Vec<f32> {
        if hostile { self.hostile(len) } else { self.ordinary(len) }
    }

    pub(super) fn indices(&mut self, len: usize, below: u64) -> Vec<u32> {
        (0..len).map(|_| (self.next() % below) as u32).collect()
    }
}

/// The hash of one operation's outputs so far.
pub(super) struct Leaf(&'static str, blake3::Hasher);

impl Leaf {
    pub(super) fn new(operation: &'static str) -> Leaf {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"tessera/arith/conform/v2\0").update(operation.as_bytes()).update(&[0]);
        Leaf(operation, hasher)
    }

    /// Adds values; every NaN counts as the same one.
    pub(super) fn add(&mut self, values: &[f32]) {
        let canonical = |x: &f32| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() };
        let bytes: Vec<u8> = values.iter().flat_map(|x| canonical(x).to_le_bytes()).collect();
        self.1.update(&(values.len() as u64).to_le_bytes()).update(&bytes);
    }

    pub(super) fn add_integers(&mut self, values: &[i64]) {
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.1.update(&(values.len() as u64).to_le_bytes()).update(&bytes);
    }

    pub(super) fn add_bytes(&mut self, bytes: &[u8]) {
        self.1.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
    }

    /// Adds whether an operation refused its arguments, and at which value.
    pub(super) fn add_refusal<T>(&mut self, outcome: &Result<T, ArithError>) {
        let (kind, index) = match outcome {
            Ok(_) => (0, 0),
            Err(ArithError::NonFinite { index, .. }) => (1, *index),
            Err(ArithError::Overflow { index, .. }) => (2, *index),
            Err(ArithError::Unrepresentable { index, .. }) => (3, *index),
            Err(ArithError::Encoding { index, .. }) => (4, *index),
            Err(_) => (5, 0),
        };
        self.add_integers(&[kind, index as i64]);
    }

    pub(super) fn row(self) -> Row {
        Row { operation: self.0, digest: self.1.finalize().into() }
    }
}
