//! Write which of 256 state changes are in force without what most of them have in common.
//!
//! Most changes of a group are in force, in a young group nearly all. The ones that are not are written as the
//! distances between them, by a Rice code whose parameter is the one that makes the group shortest: a quarter of the
//! group takes 27 bytes, a tenth 16, none 2, where the bitmap takes 32. A group in which it would take more, and one in
//! which few are in force, is written as it is, in 33.
//!
//! ```text
//! first 3 bits   parameter k < 7, or 7: 256 bits follow as they are
//! then           for each change that is not in force, and at last for a 257th place:
//!                the number n of those in force since the last, as n >> k ones, a zero, and the lower k bits of n
//! ```
//!
//! Bits of a byte are written from the highest on; the last byte is filled up with zeros. There is one encoding of a
//! group: the decoder writes what it read again and refuses other bytes.

use crate::proof::CHUNK_BYTES;
use tessera_canon::{
    Describe, Described,
    bytes::BufMut,
    codec::{Buf, EncodeSize, Error, Read, Write},
};

/// Changes in a group.
const PLACES: usize = 8 * CHUNK_BYTES;
/// Says that the bitmap follows.
const PLAIN: u8 = 7;

/// Which changes of a group are in force: bit `i % 8` of byte `i / 8` for the `i`-th.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(pub [u8; CHUNK_BYTES]);

impl Group {
    fn holds(&self, place: usize) -> bool {
        self.0[place / 8] >> (place % 8) & 1 == 1
    }
    /// The bits of its code, first to last.
    fn code(&self) -> Vec<bool> {
        let codes = (0..PLAIN).map(|k| self.distances(k));
        // The first of the shortest.
        let code = codes.min_by_key(Vec::len).filter(|code| code.len() < 3 + PLACES);
        code.unwrap_or_else(|| number(PLAIN, 3).chain((0..PLACES).map(|place| self.holds(place))).collect())
    }
    fn distances(&self, k: u8) -> Vec<bool> {
        let (mut bits, mut since): (Vec<bool>, usize) = (number(k, 3).collect(), 0);
        for place in 0..=PLACES {
            if place < PLACES && self.holds(place) {
                since += 1;
                continue;
            }
            bits.extend(std::iter::repeat_n(true, since >> k));
            bits.push(false);
            bits.extend((0..k).rev().map(|bit| since >> bit & 1 == 1));
            since = 0;
        }
        bits
    }
    fn bytes(&self) -> Vec<u8> {
        let pack =
            |bits: &[bool]| (0..).zip(bits).fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at));
        self.code().chunks(8).map(pack).collect()
    }
    /// The group whose code begins with `bits`; `None` where there is none.
    fn read_code(mut bits: impl FnMut() -> Option<bool>) -> Option<Self> {
        let mut number = |length: u8| (0..length).try_fold(0, |sum, _| Some(sum << 1 | usize::from(bits()?)));
        let (k, mut group) = (number(3)? as u8, [0; CHUNK_BYTES]);
        let mut set = |place: usize| group[place / 8] |= 1 << (place % 8);
        if k == PLAIN {
            for place in 0..PLACES {
                if number(1)? == 1 {
                    set(place);
                }
            }
            return Some(Self(group));
        }
        let mut place = 0;
        loop {
            let mut since = 0;
            while number(1)? == 1 {
                since += 1 << k;
                if since > PLACES {
                    return None;
                }
            }
            since += number(k)?;
            if place + since > PLACES {
                return None;
            }
            (place..place + since).for_each(&mut set);
            place += since;
            if place == PLACES {
                return Some(Self(group));
            }
            place += 1;
        }
    }
}

/// The lower `length` bits of `value`.
fn number(value: u8, length: u8) -> impl Iterator<Item = bool> {
    (0..length).rev().map(move |bit| value >> bit & 1 == 1)
}

impl Write for Group {
    fn write(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.bytes());
    }
}
impl EncodeSize for Group {
    fn encode_size(&self) -> usize {
        self.code().len().div_ceil(8)
    }
}
impl Read for Group {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        let (mut read, mut at) = (Vec::new(), 0);
        let group = Self::read_code(|| {
            if at == 8 * read.len() {
                // One byte after the other, since the code says where it ends.
                read.push(u8::read_cfg(buf, &()).ok()?);
            }
            at += 1;
            Some(read[(at - 1) / 8] >> (7 - (at - 1) % 8) & 1 == 1)
        });
        let group = group.ok_or(Error::Invalid("Group", "bits that are no group"))?;
        if group.bytes() != read {
            return Err(Error::Invalid("Group", "a group is written in one way only"));
        }
        Ok(group)
    }
}
impl Describe for Group {
    fn describe(&self) -> Described {
        Described::Bytes(self.0.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_canon::{decode, encode};

    /// A group in which about `missing` of 1000 changes are not in force.
    fn group(missing: u64, seed: u64) -> Group {
        let mut state = seed;
        let mut bytes = [0; CHUNK_BYTES];
        for place in 0..PLACES {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if (state >> 33) % 1000 >= missing {
                bytes[place / 8] |= 1 << (place % 8);
            }
        }
        Group(bytes)
    }

    #[test]
    fn a_group_comes_back_and_is_written_in_one_way_only() {
        for missing in [0, 2, 10, 50, 100, 250, 400, 500, 700, 950, 1000] {
            for seed in 0..3 {
                let group = group(missing, seed);
                let bytes = encode(&group);
                assert!(bytes.len() <= CHUNK_BYTES + 1);
                assert_eq!(decode::<Group>(&bytes).unwrap(), group);
                for bit in (0..8 * bytes.len()).step_by(3) {
                    let mut other = bytes.to_vec();
                    other[bit / 8] ^= 1 << (bit % 8);
                    if let Ok(found) = decode::<Group>(&other) {
                        assert_ne!(found, group);
                        assert_eq!(encode(&found)[..], other);
                    }
                }
                (0..bytes.len()).for_each(|cut| assert!(decode::<Group>(&bytes[..cut]).is_err()));
            }
        }
    }

    #[test]
    fn groups_are_as_short_as_is_said() {
        let size = |missing| (0..20).map(|seed| encode(&group(missing, seed)).len()).sum::<usize>() / 20;
        assert_eq!([0, 100, 250, 500, 950].map(size), [2, 16, 27, 33, 33]);
    }
}
