//! Prove cells of the ledger's state, present or absent, at one final height.
//!
//! A [`StateProof`] is what is sent; it names neither the network nor the keys, which the one who asked knows, and is
//! nothing without them. [`LightClient::verify_state`](crate::LightClient::verify_state) puts them back, and what
//! holds comes out as [`ProvedCells`].

use crate::{
    block::StateHeader,
    certificate::CertifiedHeader,
    finality::FinalState,
    group::Group,
    path::{KeyProof, Log, ProvedEntry},
};
use commonware_cryptography::blake3;
use commonware_storage::{
    mmr,
    qmdb::{any::value::FixedEncoding, current::ordered::proof::constant},
};
use tessera_canon::{Hash, List, record};
use tessera_ledger::Cell;

/// Bytes of one group of the bitmap of changes in force; fixed by the state's format. The engine takes no less.
pub const CHUNK_BYTES: usize = 32;
/// Most keys in one proof.
pub const MAX_PROVED_KEYS: usize = 128;
/// Most hashes in one entry's proof.
pub(crate) const MAX_PROOF_DIGESTS: usize = 192;

/// How cells lie in the state database.
pub type CellEncoding = FixedEncoding<Cell>;
/// Proof that a key holds a cell.
pub type PresenceProof = constant::KeyValueProof<mmr::Family, blake3::Digest, blake3::Digest, CHUNK_BYTES>;
/// Proof that a key holds nothing.
pub type ExclusionProof =
    constant::ExclusionProof<mmr::Family, blake3::Digest, CellEncoding, blake3::Digest, CHUNK_BYTES>;

record! {
    /// What several keys hold at one height, as it is sent.
    pub struct StateProof {
        /// Why the state is final.
        pub finality: FinalState,
        /// What all paths share.
        pub log: Log,
        /// What each key holds, in the order asked for.
        pub entries: List<ProvedEntry, MAX_PROVED_KEYS>,
    }
}

impl StateProof {
    /// Write the engine's proofs against the state of `certified`. `None` where there is none, where there are more
    /// than [`MAX_PROVED_KEYS`], or where they are of different states or the headers are no chain. That they are of
    /// the header's state is the caller's care: else the proof does not hold.
    pub fn pack(certified: &CertifiedHeader, unfinished: Group, proofs: &[KeyProof]) -> Option<Self> {
        let entries = proofs.iter().map(ProvedEntry::pack).collect::<Option<Vec<_>>>()?;
        Some(Self {
            finality: FinalState::of(certified)?,
            log: Log::of(unfinished, proofs)?,
            entries: List::new(entries).ok()?,
        })
    }
}

/// Cells that a proof established.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedCells {
    /// The final header of their block, as far as it was shown.
    pub header: StateHeader,
    /// Every key that was asked for, in that order, with its cell; `None` where it holds nothing.
    pub cells: Vec<(Hash, Option<Cell>)>,
}
