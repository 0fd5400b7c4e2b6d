//! Write a cell's path to the root without what the header says already.
//!
//! The engine's proofs repeat, for every cell, the root of the log of state changes and the log's length. Both
//! are in the header, which every proof comes with: the client puts them back before it checks, so a proof with
//! other values does not hold. Nothing else is changed: the check is the engine's own.

use crate::{
    block::Header,
    proof::{CHUNK_BYTES, ExclusionProof, MAX_PROOF_DIGESTS, PresenceProof},
};
use commonware_cryptography::blake3::Digest;
use commonware_storage::{
    merkle::{Location, Proof as MerkleProof, Unused},
    mmr,
    qmdb::{
        any::ordered::Update,
        current::proof::{RangeProof, operation::Proof as OperationProof},
    },
};
use tessera_canon::{Hash, List, bytes::Bytes, choice, decode, encode, record};
use tessera_ledger::Cell;

record! {
    /// Where a state change stands in the log, and the hashes from there to the state root.
    struct Path {
        place: u64,
        /// Which of its 256 neighbours in the log are still in force.
        chunk: [u8; CHUNK_BYTES],
        /// Trees of the log without any change in force.
        inactive: u16,
        siblings: List<Hash, MAX_PROOF_DIGESTS>,
        /// Hash of the last, unfinished group of 256, if there is one.
        unfinished: Option<Hash>,
    }
}
record! {
    /// The key holds the cell; `next` is the next key that holds something.
    struct Present { path: Path, next: Hash }
}
record! {
    /// The key lies between two neighbours; the first holds `cell`.
    struct Between { path: Path, key: Hash, cell: PackedCell, next: Hash }
}
record! {
    /// No key holds anything.
    struct Nothing { path: Path, note: Option<PackedCell> }
}
choice! {
    /// What the path shows.
    enum Shown {
        0 => Present(Present),
        1 => Between(Between),
        2 => Nothing(Nothing),
    }
}

/// A cell without the zeros at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackedCell(pub(crate) Cell);

mod packed {
    use super::PackedCell;
    use tessera_canon::{
        Blob,
        bytes::BufMut,
        codec::{Buf, EncodeSize, Error, Read, Write},
    };
    use tessera_ledger::{Cell, cell::CELL};

    impl PackedCell {
        fn trimmed(&self) -> &[u8] {
            let end = self.0.0.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            &self.0.0[..end]
        }
        fn blob(&self) -> Blob<CELL> {
            // No longer than a cell.
            Blob::new(self.trimmed().to_vec()).unwrap_or_default()
        }
    }
    impl Write for PackedCell {
        fn write(&self, buf: &mut impl BufMut) {
            self.blob().write(buf);
        }
    }
    impl EncodeSize for PackedCell {
        fn encode_size(&self) -> usize {
            self.blob().encode_size()
        }
    }
    impl Read for PackedCell {
        type Cfg = ();
        fn read_cfg(buf: &mut impl Buf, _: &()) -> Result<Self, Error> {
            let blob = Blob::<CELL>::read_cfg(buf, &())?;
            if blob.last() == Some(&0) {
                return Err(Error::Invalid("PackedCell", "zeros at the end are left out"));
            }
            let mut cell = [0; CELL];
            cell[..blob.len()].copy_from_slice(&blob);
            Ok(Self(Cell(cell)))
        }
    }
}

type Operation = OperationProof<mmr::Family, Digest, [u8; CHUNK_BYTES]>;

impl Path {
    fn pack(proof: &Operation) -> Option<Self> {
        let RangeProof { proof: merkle, partial_chunk_digest, .. } = &proof.range_proof;
        Some(Self {
            place: proof.loc.as_u64(),
            chunk: proof.chunk,
            inactive: merkle.inactive_peaks.try_into().ok()?,
            siblings: List::new(merkle.digests.iter().map(|digest| Hash(digest.0)).collect()).ok()?,
            unfinished: partial_chunk_digest.map(|digest| Hash(digest.0)),
        })
    }
    fn unpack(self, header: &Header) -> Operation {
        OperationProof {
            loc: Location::new(self.place),
            chunk: self.chunk,
            range_proof: RangeProof {
                proof: MerkleProof {
                    leaves: Location::new(header.ops_end),
                    inactive_peaks: self.inactive.into(),
                    digests: self.siblings.iter().map(|hash| Digest(hash.0)).collect(),
                },
                pending_chunk_digest: Unused,
                partial_chunk_digest: self.unfinished.map(|hash| Digest(hash.0)),
                ops_root: Digest(header.ops_root.0),
            },
        }
    }
}

/// The bytes of a proof that a key holds a cell; `None` where it has more hashes than any state needs.
pub fn pack_presence(proof: &PresenceProof) -> Option<Bytes> {
    Some(encode(&Shown::Present(Present { path: Path::pack(&proof.proof)?, next: Hash(proof.next_key.0) })))
}

/// The bytes of a proof that a key holds nothing; `None` as above.
pub fn pack_absence(proof: &ExclusionProof) -> Option<Bytes> {
    Some(encode(&match proof {
        ExclusionProof::KeyValue(path, Update { key, value, next_key }) => Shown::Between(Between {
            path: Path::pack(path)?,
            key: Hash(key.0),
            cell: PackedCell(*value),
            next: Hash(next_key.0),
        }),
        ExclusionProof::Commit(path, note) => {
            Shown::Nothing(Nothing { path: Path::pack(path)?, note: note.map(PackedCell) })
        }
    }))
}

/// The engine's proof of presence at the state of `header`; `None` where the bytes are none.
pub(crate) fn unpack_presence(bytes: &[u8], header: &Header) -> Option<PresenceProof> {
    match decode(bytes).ok()? {
        Shown::Present(Present { path, next }) => {
            Some(PresenceProof { proof: path.unpack(header), next_key: Digest(next.0) })
        }
        Shown::Between(_) | Shown::Nothing(_) => None,
    }
}

/// The engine's proof of absence at the state of `header`; `None` where the bytes are none.
pub(crate) fn unpack_absence(bytes: &[u8], header: &Header) -> Option<ExclusionProof> {
    match decode(bytes).ok()? {
        Shown::Present(_) => None,
        Shown::Between(Between { path, key, cell, next }) => Some(ExclusionProof::KeyValue(
            path.unpack(header),
            Update { key: Digest(key.0), value: cell.0, next_key: Digest(next.0) },
        )),
        Shown::Nothing(Nothing { path, note }) => {
            Some(ExclusionProof::Commit(path.unpack(header), note.map(|cell| cell.0)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_written_without_its_zeros_and_in_one_way_only() {
        for cell in [Cell([0; 256]), Cell([7; 256]), Cell(std::array::from_fn(|at| u8::from(at == 3)))] {
            let bytes = encode(&PackedCell(cell));
            assert_eq!(decode::<PackedCell>(&bytes).unwrap(), PackedCell(cell));
        }
        assert_eq!(encode(&PackedCell(Cell([0; 256]))).len(), 1);
        assert!(decode::<PackedCell>(&[2, 1, 0]).is_err(), "a zero at the end");
        assert!(decode::<PackedCell>(&[0x81, 0x02]).is_err(), "longer than a cell");
    }
}
