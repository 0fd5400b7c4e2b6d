//! Make bytes in one way only: the canonical encoding, hashing and signing that everything else uses.
//!
//! A value that is hashed, signed, stored by consensus or sent to a peer is a whole struct, written by
//! [`record!`] or [`choice!`]. There is exactly one encoding of a value (`encode(decode(b)) == b`), every
//! list and blob carries its bound in its type, and every hash and signature carries a [`Domain`], so bytes
//! made for one purpose are never valid for another.
//!
//! ```
//! use tessera_canon::{Domain, SecretKey, decode, digest, encode, record};
//! record! {
//!     /// A greeting.
//!     pub struct Hello { pub from: u16, pub words: tessera_canon::Text<32> }
//! }
//! const HELLO: Domain = Domain::new("tessera/doc/hello/v1");
//! let hello = Hello { from: 7, words: "good day".parse().unwrap() };
//! let bytes = encode(&hello);
//! assert_eq!(decode::<Hello>(&bytes).unwrap(), hello);
//! let key = SecretKey::from_seed([1; 32]);
//! let signature = key.sign(HELLO, &hello);
//! assert!(key.public().verify(HELLO, &hello, &signature));
//! assert_ne!(digest(HELLO, &hello), digest(Domain::new("tessera/doc/other/v1"), &hello));
//! ```
//!
//! This crate knows no message, no ledger and no network.

mod bounded;
pub mod describe;
mod hash;
mod merkle;
mod prf;
mod record;
mod sign;
mod tags;
pub mod tree;

pub use bounded::{Blob, List, Text, TooLong};
pub use bytes;
pub use commonware_codec as codec;
pub use describe::{Describe, Described, hex, unhex};
pub use hash::{Domain, Hash, HexError, digest, digest_bytes, digest_parts};
pub use merkle::{MAX_MERKLE_DEPTH, MerklePath, MerkleTree, merkle_root};
pub use prf::Prf;
pub use record::{DecodeError, decode, encode};
pub use sign::{PublicKey, SecretKey, Signature, Signed};
