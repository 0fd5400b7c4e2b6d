//! Check what the network agreed on with nothing but the committee's group key.
//!
//! A block is a [`Header`] and its transactions; its digest is the hash of the header, which binds the
//! transactions, the events and the state. A [`CertifiedHeader`] adds one threshold signature of the
//! committee (about 100 bytes, verified with a 96-byte group key that stays the same when members change).
//! A [`StateProof`] proves cells of the ledger, present or absent, in a final state, with no more of header and
//! certificate than that takes; an [`Inclusion`] proves events and transactions of a block against its certified header.
//! [`LightClient`] verifies all of it; trainers, hosts and users need nothing else.
//!
//! ```text
//! committee key --verifies--> finalization --signs--> header digest --binds--> state_root --proves--> cell
//! ```
//!
//! Block `h` carries the committee's threshold signature over the *round* of block `h - 1` (its seed). Nobody
//! can compute it before a quorum voted in that round and the proposer of `h` cannot choose it; its hash is the
//! block's [beacon](Header::beacon). Whoever commits to something in block `h` must be drawn with the beacon of
//! block `h + 2` or later: members of the committee see a seed a moment before the others.
//!
//! This crate holds the data types and their verification. It produces no blocks: that is
//! `tessera-validator`, and it knows no rule of the ledger.

mod block;
mod certificate;
mod finality;
mod group;
mod inclusion;
mod light;
mod packed;
mod path;
mod proof;

pub use block::{
    Block, BlockDigest, Context, Header, MAX_BLOCK_BYTES, MAX_BLOCK_TXS, SEED_BYTES, SIGNATURE_BYTES, Seed,
    StateHeader, event_leaf, event_root, event_tree, tx_leaf, tx_root, tx_tree,
};
pub use certificate::{
    CertifiedHeader, Finalization, Identity, IdentityError, MAX_LINKS, Scheme, consensus_key,
    consensus_namespace, member_key,
};
pub use finality::{FinalState, Link};
pub use group::Group;
pub use inclusion::{Inclusion, MAX_PROVED_EVENTS, MAX_PROVED_TXS, ProvedEvent, ProvedTx};
pub use light::{LightClient, VerifyError};
pub use packed::PackedCell;
pub use path::{Between, KeyProof, Log, Nothing, Path, Present, ProvedEntry, unfinished};
pub use proof::{
    CHUNK_BYTES, CellEncoding, ExclusionProof, MAX_PROVED_KEYS, PresenceProof, ProvedCells, StateProof,
};
