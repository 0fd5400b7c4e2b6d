//! Sign whole structs with Ed25519 under a domain; verify strictly.

use crate::{
    Domain, Hash, HexError,
    codec::{Buf, Encode, EncodeSize, Error, FixedSize, Read, Write},
    digest,
    hash::{parse_hex, write_hex},
};
use bytes::BufMut;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use std::{fmt, str::FromStr};

/// An Ed25519 public key: the identity of an account, a trainer, a host or a validator.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Whether `signature` is this key's over `value` under `domain` (RFC 8032, strict: no small-order keys).
    pub fn verify<T: Encode>(&self, domain: Domain, value: &T, signature: &Signature) -> bool {
        self.verify_digest(&digest(domain, value), signature)
    }
    /// Whether `signature` is this key's over a digest that was made under the right domain.
    pub fn verify_digest(&self, digest: &Hash, signature: &Signature) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            key.verify_strict(&digest.0, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
        })
    }
    /// The first eight hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_string()
    }
}
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}
impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.short())
    }
}
impl FromStr for PublicKey {
    type Err = HexError;
    fn from_str(text: &str) -> Result<Self, HexError> {
        parse_hex(text).map(Self)
    }
}
impl serde::Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> serde::Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
impl Write for PublicKey {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}
impl FixedSize for PublicKey {
    const SIZE: usize = 32;
}
impl Read for PublicKey {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        Ok(Self(<[u8; 32]>::read_cfg(buf, &())?))
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({:02x}{:02x}..)", self.0[0], self.0[1])
    }
}
impl Write for Signature {
    fn write(&self, buf: &mut impl BufMut) {
        self.0.write(buf);
    }
}
impl FixedSize for Signature {
    const SIZE: usize = 64;
}
impl Read for Signature {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        Ok(Self(<[u8; 64]>::read_cfg(buf, &())?))
    }
}

/// An Ed25519 secret key, wiped from memory when dropped. Never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(Self::from_seed(seed))
    }
    /// The key of a 32-byte seed (RFC 8032 private key).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from_bytes(&seed))
    }
    /// The seed, for the key file and for the transport that shares this identity.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }
    /// Sign the digest of `value` under `domain`.
    pub fn sign<T: Encode>(&self, domain: Domain, value: &T) -> Signature {
        Signature(self.0.sign(&digest(domain, value).0).to_bytes())
    }
}
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public().short())
    }
}

/// A value with its author's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed<T> {
    pub value: T,
    pub by: PublicKey,
    pub signature: Signature,
}

impl<T: Encode> Signed<T> {
    /// Sign `value` with `key` under `domain`.
    pub fn new(key: &SecretKey, domain: Domain, value: T) -> Self {
        let signature = key.sign(domain, &value);
        Self { value, by: key.public(), signature }
    }
    /// Whether the signature holds under `domain`.
    pub fn verify(&self, domain: Domain) -> bool {
        self.by.verify(domain, &self.value, &self.signature)
    }
}
impl<T: Write> Write for Signed<T> {
    fn write(&self, buf: &mut impl BufMut) {
        self.value.write(buf);
        self.by.write(buf);
        self.signature.write(buf);
    }
}
impl<T: EncodeSize> EncodeSize for Signed<T> {
    fn encode_size(&self) -> usize {
        self.value.encode_size() + PublicKey::SIZE + Signature::SIZE
    }
}
impl<T: Read<Cfg = ()>> Read for Signed<T> {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        Ok(Self {
            value: T::read_cfg(buf, &())?,
            by: PublicKey::read_cfg(buf, &())?,
            signature: Signature::read_cfg(buf, &())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032 section 7.1, test 1: the key pair, which other implementations must share.
    #[test]
    fn public_key_matches_rfc_8032() {
        let seed = parse_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let want = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(SecretKey::from_seed(seed).public().to_string(), want);
    }

    #[test]
    fn a_signature_holds_for_one_value_one_key_and_one_domain() {
        let (a, b) = (Domain::new("tessera/test-a/v1"), Domain::new("tessera/test-b/v1"));
        let signed = Signed::new(&SecretKey::from_seed([3; 32]), a, 5u64);
        assert!(signed.verify(a));
        assert!(!signed.verify(b));
        assert!(!Signed { value: 6, ..signed.clone() }.verify(a));
        assert!(!Signed { by: SecretKey::from_seed([4; 32]).public(), ..signed }.verify(a));
    }
}
