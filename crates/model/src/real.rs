//! Carry a real number through TOML, comparison and the canonical codec without losing a bit.
//!
//! Run specifications are hashed, so their real fields need one encoding: the bits of the nearest f64, with
//! NaN, the infinities and negative zero excluded.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tessera_canon::{
    bytes::BufMut,
    codec::{Buf, Error, FixedSize, Read, Write},
};

/// A finite f64 that is not negative zero. Equal exactly when its bits are equal.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Real(f64);

impl Eq for Real {}

impl Real {
    /// Wrap `value`; `None` for NaN and the infinities. Negative zero becomes zero.
    pub fn new(value: f64) -> Option<Self> {
        value.is_finite().then_some(Self(value + 0.0))
    }
    /// The value.
    pub const fn get(self) -> f64 {
        self.0
    }
    /// The value rounded once to f32, nearest, ties to even.
    pub const fn f32(self) -> f32 {
        self.0 as f32
    }
    /// Wrap a literal of a preset; the tests of the presets validate every one of them.
    pub(crate) const fn literal(value: f64) -> Self {
        Self(value)
    }
}
impl std::fmt::Display for Real {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
impl Serialize for Real {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0)
    }
}
impl<'de> Deserialize<'de> for Real {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        Self::new(value).ok_or_else(|| de::Error::custom(format!("expected a finite number, got {value}")))
    }
}
impl Write for Real {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.to_bits().write(buf);
    }
}
impl FixedSize for Real {
    const SIZE: usize = 8;
}
impl Read for Real {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        let bits = u64::read_cfg(buf, &())?;
        match Self::new(f64::from_bits(bits)) {
            Some(real) if real.0.to_bits() == bits => Ok(real),
            _ => Err(Error::Invalid("Real", "not a finite number in its only encoding")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_canon::{decode, encode};

    #[test]
    fn there_is_one_encoding_of_a_value() {
        for value in [0.0, 1.5, -3e-7, f64::MAX, f64::MIN_POSITIVE / 4.0] {
            let real = Real::new(value).unwrap();
            assert_eq!(decode::<Real>(&encode(&real)).unwrap(), real);
        }
        assert_eq!(encode(&Real::new(-0.0).unwrap()), encode(&Real::new(0.0).unwrap()));
        for bits in [(-0.0f64).to_bits(), f64::NAN.to_bits(), f64::INFINITY.to_bits()] {
            assert!(decode::<Real>(&bits.to_be_bytes()).is_err());
        }
    }
}
