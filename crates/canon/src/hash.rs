//! Hash with BLAKE3 under a purpose: a hash made for one domain never equals one made for another.

use crate::codec::{Buf, Encode, Error, FixedSize, Read, Write};
use bytes::BufMut;
use std::{fmt, str::FromStr};

/// The purpose of a hash or signature, for example `tessera/unit/v1`. The BLAKE3 key-derivation context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain(&'static str);

impl Domain {
    /// Name a domain; by convention `tessera/<what>/v<n>`.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }
    /// The name itself.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

/// A 256-bit BLAKE3 hash. Ordered as bytes; printed and parsed as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// All zero bytes: stands for "none" where a hash must be present.
    pub const ZERO: Self = Self([0; 32]);
    /// The first eight hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_string()
    }
    /// The first eight bytes as a little-endian integer: a uniform draw.
    pub fn low_u64(&self) -> u64 {
        u64::from_le_bytes(self.0[..8].try_into().expect("a hash has 32 bytes"))
    }
}
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({})", self.short())
    }
}
impl FromStr for Hash {
    type Err = HexError;
    fn from_str(text: &str) -> Result<Self, HexError> {
        parse_hex(text).map(Self)
    }
}
impl serde::Serialize for Hash {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> serde::Deserialize<'de> for Hash {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
impl Write for Hash {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}
impl FixedSize for Hash {
    const SIZE: usize = 32;
}
impl Read for Hash {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        Ok(Self(<[u8; 32]>::read_cfg(buf, &())?))
    }
}

/// A text that should have been a number of hexadecimal digits was not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} hexadecimal digits, got {got:?}")]
pub struct HexError {
    pub expected: usize,
    pub got: String,
}

pub(crate) fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

pub(crate) fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let bad = || HexError { expected: 2 * N, got: text.to_string() };
    if text.len() != 2 * N || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let mut out = [0u8; N];
    for (slot, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| bad())?;
        *slot = u8::from_str_radix(pair, 16).map_err(|_| bad())?;
    }
    Ok(out)
}

/// Hash the canonical encoding of `value` under `domain`.
pub fn digest<T: Encode>(domain: Domain, value: &T) -> Hash {
    digest_bytes(domain, &value.encode())
}

/// Hash raw bytes (a tensor, a file) under `domain`.
pub fn digest_bytes(domain: Domain, bytes: &[u8]) -> Hash {
    digest_parts(domain, [bytes])
}

/// Hash the concatenation of `parts` under `domain`; the caller makes sure that the cut points are fixed.
pub fn digest_parts<'a>(domain: Domain, parts: impl IntoIterator<Item = &'a [u8]>) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(domain.name());
    for part in parts {
        hasher.update(part);
    }
    Hash(*hasher.finalize().as_bytes())
}
