//! Prove cells of the ledger's state, present or absent, against the state root of one final header.

use crate::{certificate::CertifiedHeader, path::PackedCell};
use commonware_cryptography::blake3;
use commonware_storage::{
    mmr,
    qmdb::{any::value::FixedEncoding, current::ordered::proof::constant},
};
use tessera_canon::{
    Blob, Describe, Described, Hash, List,
    bytes::BufMut,
    codec::{Buf, EncodeSize, Error, Read, Write},
    encode, record,
};
use tessera_ledger::Cell;

/// Bytes of the activity bitmap that one proof carries; fixed by the state's format.
pub const CHUNK_BYTES: usize = 32;
/// Greatest length of one entry's proof in bytes.
pub const MAX_PROOF_BYTES: usize = 8 << 10;
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

/// One key, what it holds, and why. On the wire the cell is without the zeros at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedEntry {
    /// The key that was asked for.
    pub key: Hash,
    /// Its cell; `None` where the key holds nothing.
    pub cell: Option<Cell>,
    /// Bytes of [`pack_presence`](crate::pack_presence) or [`pack_absence`](crate::pack_absence), as `cell` says.
    pub proof: Blob<MAX_PROOF_BYTES>,
}

impl Describe for ProvedEntry {
    fn describe(&self) -> Described {
        let cell =
            self.cell.map_or(Described::None, |cell| Described::Bytes(encode(&PackedCell(cell)).to_vec()));
        Described::Record(vec![
            ("key", self.key.describe()),
            ("cell", cell),
            ("proof", self.proof.describe()),
        ])
    }
}
impl Write for ProvedEntry {
    fn write(&self, buf: &mut impl BufMut) {
        self.key.write(buf);
        self.cell.map(PackedCell).write(buf);
        self.proof.write(buf);
    }
}
impl EncodeSize for ProvedEntry {
    fn encode_size(&self) -> usize {
        self.key.encode_size() + self.cell.map(PackedCell).encode_size() + self.proof.encode_size()
    }
}
impl Read for ProvedEntry {
    type Cfg = ();
    fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
        Ok(Self {
            key: Hash::read_cfg(buf, &())?,
            cell: Option::<PackedCell>::read_cfg(buf, &())?.map(|cell| cell.0),
            proof: Blob::read_cfg(buf, &())?,
        })
    }
}

record! {
    /// Several cells at one height.
    pub struct StateProof {
        /// The final header that they are proved against.
        pub header: CertifiedHeader,
        /// The entries, in the order asked for.
        pub entries: List<ProvedEntry, MAX_PROVED_KEYS>,
    }
}
