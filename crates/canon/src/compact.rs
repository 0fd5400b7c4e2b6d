//! Write integers that are mostly small in few bytes, still in one way only.

use crate::{
    Describe, Described,
    bytes::BufMut,
    codec::{Buf, EncodeSize, Error, Read, Write, varint::UInt},
};

/// An integer in groups of seven bits, lowest first: 1 byte below 128, 3 below 2,097,152, 10 at most. Longer forms
/// of the same integer are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Compact(pub u64);

impl Write for Compact {
    fn write(&self, buf: &mut impl BufMut) {
        UInt(self.0).write(buf);
    }
}
impl EncodeSize for Compact {
    fn encode_size(&self) -> usize {
        UInt(self.0).encode_size()
    }
}
impl Read for Compact {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        Ok(Self(UInt::<u64>::read_cfg(buf, &())?.into()))
    }
}
impl Describe for Compact {
    fn describe(&self) -> Described {
        self.0.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{decode, encode};

    #[test]
    fn an_integer_has_one_encoding_and_a_short_one_where_it_is_small() {
        for (value, bytes) in [(0, 1), (127, 1), (128, 2), (2_097_151, 3), (2_097_152, 4), (u64::MAX, 10)] {
            let encoded = encode(&Compact(value));
            assert_eq!(encoded.len(), bytes, "{value}");
            assert_eq!(decode::<Compact>(&encoded).unwrap(), Compact(value));
        }
        for longer in [&[0x80, 0x00][..], &[0xff, 0x80, 0x00], &[0xff; 11], &[0x80]] {
            assert!(decode::<Compact>(longer).is_err(), "{longer:?}");
        }
    }
}
