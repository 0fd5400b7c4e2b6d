//! Lead from one cell to the state root with the engine's proofs, and write them without what is known already.
//!
//! The engine's proof of one cell repeats what all proofs of one state share: the root of the log of state changes,
//! its length, how many of its trees hold nothing in force, and the hash of its last, unfinished group. On the wire
//! these stand once, in a [`Log`], the group itself instead of its hash. The key is not sent: the one who asked knows
//! it. The state root is not sent either: the path leads to it, and the committee's signature says whether it is the
//! right one. What is put together again is judged by the engine's own check; other values do not hold.
//!
//! The neighbour that shows an absence cannot stand as a hash: the engine hashes its key, its cell and the next key
//! in one piece, in this order, and the check needs the first and the last of them.

use crate::{
    group::Group,
    packed::PackedCell,
    proof::{CHUNK_BYTES, CellEncoding, ExclusionProof, MAX_PROOF_DIGESTS, PresenceProof},
};
use commonware_cryptography::{
    Hasher as _,
    blake3::{Blake3, Digest},
};
use commonware_storage::{
    merkle::{Location, Proof as MerkleProof, Unused},
    mmr,
    qmdb::{
        any::ordered::{Operation, Update},
        current::{
            grafting,
            proof::{OpsRootWitness, RangeProof, operation::Proof as OperationProof},
        },
    },
};
use commonware_utils::bitmap::Readable;
use tessera_canon::{Compact, Hash, List, choice, codec::Encode as _, record};
use tessera_ledger::Cell;

/// State changes in one group of the log.
const GROUP: u64 = 8 * CHUNK_BYTES as u64;

/// A key's cell, or that it has none, with the engine's proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyProof {
    /// The key holds this cell.
    Present(Cell, PresenceProof),
    /// The key holds nothing.
    Absent(ExclusionProof),
}

record! {
    /// The log of state changes at one height: what the paths of that height share.
    pub struct Log {
        /// Its root.
        pub root: Hash,
        /// Changes in it.
        pub end: Compact,
        /// Its first trees, in which no change is in force.
        pub inactive: u8,
        /// Which changes of its last, unfinished group are in force; ones for those to come.
        pub unfinished: Group,
    }
}
record! {
    /// Where a state change stands in the log, and the hashes from there to the state root.
    pub struct Path {
        pub place: Compact,
        /// Which changes of its group are in force.
        pub group: Group,
        pub siblings: List<Hash, MAX_PROOF_DIGESTS>,
    }
}
record! {
    /// The key holds the cell; `next` is the next key that holds something.
    pub struct Present { pub cell: PackedCell, pub next: Hash, pub path: Path }
}
record! {
    /// The key lies between two neighbours; the first holds `cell`.
    pub struct Between { pub key: Hash, pub cell: PackedCell, pub next: Hash, pub path: Path }
}
record! {
    /// No key holds anything.
    pub struct Nothing { pub note: Option<PackedCell>, pub path: Path }
}
choice! {
    /// What one key holds, and why. The key is known from the question.
    pub enum ProvedEntry {
        0 => Present(Present),
        1 => Between(Between),
        2 => Nothing(Nothing),
    }
}

type Change = Operation<mmr::Family, Digest, CellEncoding>;
type EnginePath = OperationProof<mmr::Family, Digest, [u8; CHUNK_BYTES]>;

/// The last group of a state's bitmap of changes in force, as [`Log::unfinished`] has it.
pub fn unfinished(bitmap: &impl Readable<CHUNK_BYTES>) -> Group {
    let to_come = to_come(bitmap.len());
    if to_come == ALL {
        return Group(ALL);
    }
    let (last, _) = bitmap.last_chunk();
    Group(std::array::from_fn(|at| last[at] | to_come[at]))
}

/// All changes of a group.
const ALL: [u8; CHUNK_BYTES] = [0xff; CHUNK_BYTES];

/// The changes that the last group of a log of `end` changes has room for; all where no group is unfinished.
fn to_come(end: u64) -> [u8; CHUNK_BYTES] {
    let there = end % GROUP;
    std::array::from_fn(|at| match there.saturating_sub(8 * at as u64) {
        there @ 0..8 => 0xff << there,
        _ => 0,
    })
}

impl Log {
    /// The log that `proofs` are of; `None` where there is no proof, or where they are of different states.
    pub(crate) fn of(unfinished: Group, proofs: &[KeyProof]) -> Option<Self> {
        let mut logs = proofs.iter().map(|proof| {
            let RangeProof { proof, ops_root, .. } = &proof.path().range_proof;
            let inactive = u8::try_from(proof.inactive_peaks).ok()?;
            Some(Self { root: Hash(ops_root.0), end: Compact(proof.leaves.as_u64()), inactive, unfinished })
        });
        let first = logs.next()??;
        logs.all(|log| log.as_ref() == Some(&first)).then_some(first)
    }
    /// The hash of the unfinished group, if there is one.
    fn unfinished_hash(&self) -> Option<Digest> {
        let to_come = to_come(self.end.0);
        let there: [u8; CHUNK_BYTES] = std::array::from_fn(|at| self.unfinished.0[at] & !to_come[at]);
        (to_come != ALL).then(|| Blake3::hash(&[&there]))
    }
    /// Whether it is written in the one way: with ones for the changes to come.
    fn plain(&self) -> bool {
        to_come(self.end.0).iter().zip(self.unfinished.0).all(|(to_come, group)| to_come & !group == 0)
    }
}

impl Path {
    fn pack(path: &EnginePath) -> Option<Self> {
        let siblings = path.range_proof.proof.digests.iter().map(|digest| Hash(digest.0)).collect();
        Some(Self {
            place: Compact(path.loc.as_u64()),
            group: Group(path.chunk),
            siblings: List::new(siblings).ok()?,
        })
    }
    fn unpack(&self, log: &Log) -> EnginePath {
        OperationProof {
            loc: Location::new(self.place.0),
            chunk: self.group.0,
            range_proof: RangeProof {
                proof: MerkleProof {
                    leaves: Location::new(log.end.0),
                    inactive_peaks: log.inactive.into(),
                    digests: self.siblings.iter().map(|hash| Digest(hash.0)).collect(),
                },
                pending_chunk_digest: Unused,
                partial_chunk_digest: log.unfinished_hash(),
                ops_root: Digest(log.root.0),
            },
        }
    }
}

impl ProvedEntry {
    /// The entry as it is sent; `None` where it has more hashes than any state needs.
    pub(crate) fn pack(proof: &KeyProof) -> Option<Self> {
        let path = Path::pack(proof.path())?;
        Some(match proof {
            KeyProof::Present(cell, proof) => {
                Present { cell: PackedCell(*cell), next: Hash(proof.next_key.0), path }.into()
            }
            KeyProof::Absent(ExclusionProof::KeyValue(_, Update { key, value, next_key })) => {
                let (key, cell, next) = (Hash(key.0), PackedCell(*value), Hash(next_key.0));
                Between { key, cell, next, path }.into()
            }
            KeyProof::Absent(ExclusionProof::Commit(_, note)) => {
                Nothing { note: note.map(PackedCell), path }.into()
            }
        })
    }
    /// The engine's proof at the state of `log`; `None` where the log is written in another way than it must be.
    pub(crate) fn unpack(&self, log: &Log) -> Option<KeyProof> {
        log.plain().then(|| match self {
            Self::Present(Present { cell, next, path }) => {
                KeyProof::Present(cell.0, PresenceProof { proof: path.unpack(log), next_key: Digest(next.0) })
            }
            Self::Between(Between { key, cell, next, path }) => KeyProof::Absent(ExclusionProof::KeyValue(
                path.unpack(log),
                Update { key: Digest(key.0), value: cell.0, next_key: Digest(next.0) },
            )),
            Self::Nothing(Nothing { note, path }) => {
                KeyProof::Absent(ExclusionProof::Commit(path.unpack(log), note.as_ref().map(|note| note.0)))
            }
        })
    }
}

impl KeyProof {
    /// The cell, if the key holds one.
    pub(crate) fn cell(&self) -> Option<Cell> {
        match self {
            Self::Present(cell, _) => Some(*cell),
            Self::Absent(_) => None,
        }
    }
    fn path(&self) -> &EnginePath {
        match self {
            Self::Present(_, proof) => &proof.proof,
            Self::Absent(ExclusionProof::KeyValue(path, _) | ExclusionProof::Commit(path, _)) => path,
        }
    }
    /// The entry of the log that shows what `key` holds.
    fn change(&self, key: &Hash) -> Change {
        match self {
            Self::Present(value, proof) => {
                Change::Update(Update { key: Digest(key.0), value: *value, next_key: proof.next_key })
            }
            Self::Absent(ExclusionProof::KeyValue(_, update)) => Change::Update(update.clone()),
            Self::Absent(ExclusionProof::Commit(path, note)) => Change::CommitFloor(*note, path.loc),
        }
    }
    /// The state root that the path leads to; `None` where it leads nowhere. It proves nothing by itself: whether
    /// the root is a final one, and whether [`KeyProof::holds`] against it, are the checks.
    pub(crate) fn root(&self, key: &Hash) -> Option<Hash> {
        let (path, change) = (self.path(), self.change(key));
        let range = &path.range_proof;
        let end = range.proof.leaves.as_u64();
        let verifier = grafting::Verifier::<mmr::Family, Blake3>::new(
            grafting::height::<CHUNK_BYTES>(),
            path.loc.as_u64() / GROUP,
            vec![&path.chunk],
            end / GROUP,
        );
        let grafted_root = range.proof.reconstruct_root(&verifier, &[change.encode()], path.loc).ok()?;
        let witness = OpsRootWitness::<mmr::Family, Digest> {
            grafted_root,
            pending_chunk_digest: Unused,
            partial_chunk: range.partial_chunk_digest.map(|digest| (end % GROUP, digest)),
        };
        Some(Hash(witness.root::<Blake3>(&range.ops_root).0))
    }
    /// Whether it shows what `key` holds in the state with this root.
    pub(crate) fn holds(&self, key: &Hash, root: &Hash) -> bool {
        let (key, root) = (Digest(key.0), Digest(root.0));
        match self {
            Self::Present(cell, proof) => proof.verify::<Blake3, CellEncoding>(key, *cell, &root),
            Self::Absent(proof) => proof.verify::<Blake3>(&key, &root),
        }
    }
}
