//! Bind consensus types to ours: keys, the committee's group key, finalization certificates.

use crate::block::{BlockDigest, Header};
use commonware_consensus::simplex::{scheme::bls12381_threshold::vrf, types};
use commonware_cryptography::{
    bls12381::primitives::variant::{MinSig, Variant},
    ed25519,
};
use std::{fmt, str::FromStr};
use tessera_canon::{
    Describe, Described, Hash, List, PublicKey,
    bytes::BufMut,
    codec::{Buf, EncodeSize, Error, FixedSize, Read, Write},
    decode, encode,
};

/// Most headers between a block and the certificate that finalized it through a descendant.
pub const MAX_LINKS: usize = 16;

/// Threshold BLS12-381 with a verifiable random function, members identified by Ed25519 keys.
pub type Scheme = vrf::Scheme<ed25519::PublicKey, MinSig>;
/// One threshold signature of more than two thirds of the committee over a block's digest and round.
pub type Finalization = types::Finalization<Scheme, BlockDigest>;

/// Domain of every consensus signature of one network.
pub fn consensus_namespace(network: &Hash) -> Vec<u8> {
    [b"tessera/consensus/v1/".as_slice(), &network.0].concat()
}

/// `key` as the consensus library holds it; `None` where the bytes are no point of the curve.
pub fn consensus_key(key: &PublicKey) -> Option<ed25519::PublicKey> {
    decode(&key.0).ok()
}

/// `key` as the rest of the system holds it.
pub fn member_key(key: &ed25519::PublicKey) -> PublicKey {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(key.as_ref());
    PublicKey(bytes)
}

/// The committee's group key: what a light client trusts. Constant while members change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity(pub [u8; 96]);

/// Bytes or digits that are no group key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the committee's group key (96 bytes, 192 hexadecimal digits, a point of BLS12-381 G2), got {got}"
)]
pub struct IdentityError {
    /// What came instead.
    pub got: String,
}

impl Identity {
    /// From the curve point.
    pub fn from_point(point: &<MinSig as Variant>::Public) -> Self {
        let mut bytes = [0; 96];
        bytes.copy_from_slice(&encode(point));
        Self(bytes)
    }
    /// The curve point, checked to lie in the right group.
    pub fn point(&self) -> Result<<MinSig as Variant>::Public, IdentityError> {
        decode(&self.0).map_err(|_| IdentityError { got: self.to_string() })
    }
}
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:02x}{:02x}{:02x}{:02x})", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}
impl FromStr for Identity {
    type Err = IdentityError;
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let bad = || IdentityError { got: format!("{text:?}") };
        if text.len() != 192 || !text.is_ascii() {
            return Err(bad());
        }
        let mut bytes = [0; 96];
        for (slot, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *slot = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| bad())?;
        }
        let identity = Self(bytes);
        identity.point().map(|_| identity)
    }
}
impl Write for Identity {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}
impl FixedSize for Identity {
    const SIZE: usize = 96;
}
impl Read for Identity {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        Ok(Self(<[u8; 96]>::read_cfg(buf, &())?))
    }
}

/// A header and what proves that it is final.
///
/// Most blocks have a certificate of their own; one that was finalized by a descendant's carries the
/// headers between (`links`, oldest first, the last one certified). On the wire the certificate is its two
/// signatures only: what they sign, round and digest, follows from the certified header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedHeader {
    /// The header that is final.
    pub header: Header,
    /// Its descendants up to the certified one; empty where `certificate` is for `header` itself.
    pub links: List<Header, MAX_LINKS>,
    /// The committee's signature.
    pub certificate: Finalization,
}

impl Describe for CertifiedHeader {
    fn describe(&self) -> Described {
        Described::Record(vec![
            ("header", self.header.describe()),
            ("links", self.links.describe()),
            ("certificate", Described::Bytes(encode(&self.certificate.certificate).to_vec())),
        ])
    }
}
impl Write for CertifiedHeader {
    fn write(&self, buf: &mut impl BufMut) {
        self.header.write(buf);
        self.links.write(buf);
        self.certificate.certificate.write(buf);
    }
}
impl EncodeSize for CertifiedHeader {
    fn encode_size(&self) -> usize {
        let certificate = &self.certificate.certificate;
        self.header.encode_size() + self.links.encode_size() + certificate.encode_size()
    }
}
impl Read for CertifiedHeader {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        let (header, links) = (Header::read_cfg(buf, &())?, List::<Header, MAX_LINKS>::read_cfg(buf, &())?);
        let proposal = links.last().unwrap_or(&header).proposal();
        let certificate = Finalization { proposal, certificate: Read::read_cfg(buf, &())? };
        Ok(Self { header, links, certificate })
    }
}

impl CertifiedHeader {
    /// The header that the certificate signs.
    pub fn certified(&self) -> &Header {
        self.links.last().unwrap_or(&self.header)
    }
}
