//! Sign what a seat did in a step, once: every unit, the gradient sum, and the header before.
//!
//! Two different headers of one seat for one step are a proof of fraud that needs no re-execution: [`Equivocation`].

use crate::unit::{Label, UnitId, UnitLeaf, UnitSecret};
use tessera_canon::{
    Domain, Hash, List, MerklePath, MerkleTree, PublicKey, SecretKey, Signed, digest, record,
};

const EDGES: Domain = Domain::new("tessera/unit-list/v1");
/// Signature domain of [`StepHeader`].
pub const HEADER: Domain = Domain::new("tessera/step-header/v1");
/// Most units that one seat commits to in a step.
pub const MAX_UNITS: usize = 4096;

record! {
    /// Where a unit came from and went to: public with the header, so that everybody can draw audits of the units and
    /// auditors know whom to ask for their tensors. Tells nothing of the digests.
    pub struct UnitEdges {
        pub label: Label,
        pub out: Label,
        /// Seat that sent the input; the default key on the first stage.
        pub up: PublicKey,
        /// Seat that was sent the output; the default key on the last stage.
        pub down: PublicKey,
    }
}

record! {
    /// The units of a header, in the order of their labels.
    pub struct UnitList { pub units: List<UnitEdges, MAX_UNITS> }
}

record! {
    /// What a seat commits to before gradients are exchanged.
    pub struct StepHeader {
        pub run: Hash,
        pub epoch: u32,
        pub step: u64,
        pub stage: u16,
        pub slot: u16,
        pub worker: PublicKey,
        /// State root that the step started from, and the root over its weights.
        pub w_root: Hash,
        pub weights: Hash,
        /// Merkle root over the sealed leaves, in the order of their labels.
        pub units_root: Hash,
        pub units: u16,
        /// Digest of the [`UnitList`].
        pub edges: Hash,
        /// Digest of the seat's gradient sum: the integers over its units.
        pub grad_root: Hash,
        /// Commitment of a canary, or a random hash.
        pub canary: Hash,
        /// Digest of the seat's header before this one; zero for its first.
        pub previous: Hash,
    }
}

impl StepHeader {
    /// What the next header's `previous` is.
    pub fn id(&self) -> Hash {
        digest(HEADER, self)
    }
    /// The units that the header commits to, if `list` is the one it was signed with.
    pub fn unit_ids(&self, list: &UnitList) -> Result<Vec<UnitId>, HeaderError> {
        let sorted = list.units.windows(2).all(|pair| pair[0].label < pair[1].label);
        if !sorted || list.units.len() != usize::from(self.units) || digest(EDGES, list) != self.edges {
            return Err(HeaderError::Units { got: list.units.len(), expected: self.units.into() });
        }
        let id = |edges: &UnitEdges| UnitId {
            run: self.run,
            epoch: self.epoch,
            step: self.step,
            stage: self.stage,
            label: edges.label,
            slot: self.slot,
            worker: self.worker,
        };
        Ok(list.units.iter().map(id).collect())
    }
    /// What two headers may not share if they differ.
    fn place(&self) -> (Hash, u64, u16, u16, PublicKey) {
        (self.run, self.step, self.stage, self.slot, self.worker)
    }
}

/// What everybody in a stage knows of a step before it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepContext {
    pub run: Hash,
    pub epoch: u32,
    pub step: u64,
    pub stage: u16,
    /// The root that the stage voted for, and [`crate::tensors::weights_root`] of that state.
    pub w_root: Hash,
    pub weights: Hash,
}

/// Why a header or an opened leaf was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the header of {worker} for step {step} is not signed by it; ask the seat for it again")]
    Signature { worker: PublicKey, step: u64 },
    #[error("the header's {what} is {got}, expected {expected}: it belongs to other work, or is old")]
    Other { what: &'static str, expected: String, got: String },
    #[error("a seat commits to at most {MAX_UNITS} units a step, got {got}")]
    TooMany { got: usize },
    #[error(
        "the list of {got} units is not the one of the header, which has {expected}; ask the seat for it"
    )]
    Units { expected: usize, got: usize },
    #[error("two units of one header have the same label; each unit needs its own")]
    Label,
    #[error("the leaf's {what} is {got}, its header says {expected}")]
    Leaf { what: &'static str, expected: String, got: String },
    #[error("the opened leaf does not stand in the header's tree; the salt, the leaf or the path is wrong")]
    Opening,
}

fn same<T: PartialEq + std::fmt::Debug>(what: &'static str, expected: T, got: T) -> Result<(), HeaderError> {
    if expected == got {
        return Ok(());
    }
    Err(HeaderError::Other { what, expected: format!("{expected:?}"), got: format!("{got:?}") })
}

impl StepContext {
    /// Check a header before its gradients are taken: signature, place, and that it starts from the state that the
    /// stage agreed on. `previous` is the digest of the seat's last header, if this receiver knows it. Work of an
    /// old step or on old weights ends here, without re-execution (`verify` 14 row 4).
    pub fn admit(&self, header: &Signed<StepHeader>, previous: Option<Hash>) -> Result<(), HeaderError> {
        let value = &header.value;
        if header.by != value.worker || !header.verify(HEADER) {
            return Err(HeaderError::Signature { worker: value.worker, step: value.step });
        }
        same("run", self.run, value.run)?;
        same("epoch", self.epoch, value.epoch)?;
        same("step", self.step, value.step)?;
        same("stage", self.stage, value.stage)?;
        same("state root", self.w_root, value.w_root)?;
        same("root over weights", self.weights, value.weights)?;
        if let Some(previous) = previous {
            same("previous header", previous, value.previous)?;
        }
        if usize::from(value.units) > MAX_UNITS {
            return Err(HeaderError::TooMany { got: value.units.into() });
        }
        Ok(())
    }
}

/// Check that an opened leaf is the one that `header` commits to, and belongs to its step, seat and state.
pub fn check_leaf(
    header: &StepHeader,
    leaf: &UnitLeaf,
    salt: &Hash,
    path: &MerklePath,
) -> Result<(), HeaderError> {
    let unit = &leaf.unit;
    let wrong = |what, expected: String, got: String| Err(HeaderError::Leaf { what, expected, got });
    let (place, expected) = (
        (unit.run, unit.epoch, unit.step, unit.stage),
        (header.run, header.epoch, header.step, header.stage),
    );
    if place != expected {
        return wrong("run, epoch, step or stage", format!("{expected:?}"), format!("{place:?}"));
    }
    if (unit.slot, unit.worker) != (header.slot, header.worker) {
        return wrong("seat", header.worker.to_string(), unit.worker.to_string());
    }
    if leaf.w_root != header.w_root {
        return wrong("state root", header.w_root.to_string(), leaf.w_root.to_string());
    }
    if leaf.weights != header.weights {
        return wrong("root over weights", header.weights.to_string(), leaf.weights.to_string());
    }
    if path.count != u64::from(header.units) || !path.verify(leaf.sealed(salt), &header.units_root) {
        return Err(HeaderError::Opening);
    }
    Ok(())
}

/// A seat's commitment to its units of a step, with what opens it.
#[derive(Clone, Debug)]
pub struct Commitment {
    /// In the order of their labels.
    leaves: Vec<UnitLeaf>,
    list: UnitList,
    tree: MerkleTree,
}

impl Commitment {
    /// Seal `leaves`, all of one seat and step; each with the seats above and below that it was exchanged with.
    pub fn new(
        secret: &UnitSecret,
        units: Vec<(UnitLeaf, PublicKey, PublicKey)>,
    ) -> Result<Self, HeaderError> {
        let edges = units.iter().map(|(leaf, up, down)| UnitEdges {
            label: leaf.unit.label,
            out: leaf.out,
            up: *up,
            down: *down,
        });
        let mut edges: Vec<UnitEdges> = edges.collect();
        edges.sort_unstable_by_key(|edges| edges.label);
        let mut leaves: Vec<UnitLeaf> = units.into_iter().map(|(leaf, _, _)| leaf).collect();
        if leaves.len() > MAX_UNITS {
            return Err(HeaderError::TooMany { got: leaves.len() });
        }
        leaves.sort_unstable_by_key(|leaf| leaf.unit.label);
        if leaves.windows(2).any(|pair| pair[0].unit.label == pair[1].unit.label) {
            return Err(HeaderError::Label);
        }
        let sealed = leaves.iter().map(|leaf| leaf.sealed(&secret.salt(&leaf.unit))).collect();
        let got = edges.len();
        let units = List::new(edges).map_err(|_| HeaderError::TooMany { got })?;
        Ok(Self { leaves, list: UnitList { units }, tree: MerkleTree::new(sealed) })
    }
    /// The header of the step.
    pub fn header(
        &self,
        key: &SecretKey,
        slot: u16,
        context: &StepContext,
        grad_root: Hash,
        canary: Hash,
        previous: Hash,
    ) -> Signed<StepHeader> {
        let StepContext { run, epoch, step, stage, w_root, weights } = context.clone();
        let header = StepHeader {
            run,
            epoch,
            step,
            stage,
            slot,
            worker: key.public(),
            w_root,
            weights,
            units_root: self.tree.root(),
            units: self.leaves.len() as u16,
            edges: digest(EDGES, &self.list),
            grad_root,
            canary,
            previous,
        };
        Signed::new(key, HEADER, header)
    }
    /// The public list of the units.
    pub fn list(&self) -> &UnitList {
        &self.list
    }
    /// The leaves.
    pub fn leaves(&self) -> &[UnitLeaf] {
        &self.leaves
    }
    /// The leaf of `unit` and its path, if it was committed.
    pub fn open(&self, unit: &UnitId) -> Option<(UnitLeaf, MerklePath)> {
        let at = self.leaves.binary_search_by_key(&unit.label, |leaf| leaf.unit.label).ok()?;
        let leaf = self.leaves.get(at).filter(|leaf| leaf.unit == *unit)?;
        Some((leaf.clone(), self.tree.path(at as u64)?))
    }
}

record! {
    /// Two signed headers of one seat for one step (`verify` 14 row 23).
    pub struct Equivocation { pub first: Signed<StepHeader>, pub second: Signed<StepHeader> }
}

impl Equivocation {
    /// Whether the proof holds; who is convicted is [`StepHeader::worker`].
    pub fn verify(&self) -> bool {
        let (first, second) = (&self.first, &self.second);
        first.value.place() == second.value.place()
            && first.value != second.value
            && [first, second].iter().all(|header| header.by == header.value.worker && header.verify(HEADER))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::tests::{leaf, unit};
    use tessera_canon::{decode, encode};

    fn context() -> StepContext {
        StepContext {
            run: Hash([1; 32]),
            epoch: 0,
            step: 4,
            stage: 1,
            w_root: Hash([9; 32]),
            weights: Hash([8; 32]),
        }
    }

    fn key() -> SecretKey {
        SecretKey::from_seed([1; 32])
    }

    fn committed(count: u8) -> Commitment {
        let units = (0..count).map(|n| (leaf(&key(), 4, n), PublicKey([8; 32]), PublicKey([9; 32])));
        Commitment::new(&UnitSecret::of(&key()), units.collect()).unwrap()
    }

    #[test]
    fn a_leaf_opens_in_its_header_and_nowhere_else() {
        let (key, secret, commitment) = (key(), UnitSecret::of(&key()), committed(5));
        let header = commitment.header(&key, 0, &context(), Hash::ZERO, Hash::ZERO, Hash::ZERO);
        context().admit(&header, Some(Hash::ZERO)).unwrap();
        for number in 0..5 {
            let id = unit(&key, 4, number);
            let (leaf, path) = commitment.open(&id).unwrap();
            let salt = secret.salt(&id);
            check_leaf(&header.value, &leaf, &salt, &path).unwrap();
            let mut lie = leaf.clone();
            lie.dw = Hash([77; 32]);
            assert_eq!(check_leaf(&header.value, &lie, &salt, &path), Err(HeaderError::Opening));
            assert_eq!(check_leaf(&header.value, &leaf, &Hash::ZERO, &path), Err(HeaderError::Opening));
        }
        assert!(commitment.open(&unit(&key, 4, 9)).is_none());
        let bytes = encode(&header);
        assert_eq!(decode::<Signed<StepHeader>>(&bytes).unwrap(), header);
        assert!(bytes.len() <= 410, "about 330 bytes in the specification, got {}", bytes.len());
        let ids = header.value.unit_ids(commitment.list()).unwrap();
        assert_eq!(ids, commitment.leaves().iter().map(|leaf| leaf.unit.clone()).collect::<Vec<_>>());
        let mut other = commitment.list().units.to_vec();
        other[0].down = PublicKey([1; 32]);
        let other = UnitList { units: List::new(other).unwrap() };
        assert!(header.value.unit_ids(&other).is_err(), "edges are bound");
    }

    #[test]
    fn stale_or_foreign_work_is_refused_by_the_header_alone() {
        let key = key();
        let header = committed(2).header(&key, 0, &context(), Hash::ZERO, Hash::ZERO, Hash([3; 32]));
        let refused = |context: StepContext, what: &str| match context.admit(&header, Some(Hash([3; 32]))) {
            Err(HeaderError::Other { what: got, .. }) => assert_eq!(got, what),
            other => panic!("{what}: {other:?}"),
        };
        refused(StepContext { step: 5, ..context() }, "step");
        refused(StepContext { epoch: 1, ..context() }, "epoch");
        refused(StepContext { stage: 2, ..context() }, "stage");
        refused(StepContext { run: Hash([2; 32]), ..context() }, "run");
        refused(StepContext { w_root: Hash([8; 32]), ..context() }, "state root");
        refused(StepContext { weights: Hash([7; 32]), ..context() }, "root over weights");
        assert!(context().admit(&header, Some(Hash([4; 32]))).is_err(), "a header is missing in between");
        let mut forged = header.clone();
        forged.value.units += 1;
        assert!(matches!(context().admit(&forged, None), Err(HeaderError::Signature { .. })));
    }

    #[test]
    fn two_headers_of_one_step_convict_and_nothing_less_does() {
        let key = key();
        let make = |step, grad: u8, key: &SecretKey| {
            let context = StepContext { step, ..context() };
            committed(2).header(key, 0, &context, Hash([grad; 32]), Hash::ZERO, Hash::ZERO)
        };
        let first = make(4, 1, &key);
        let proof = |second: Signed<StepHeader>| Equivocation { first: first.clone(), second };
        assert!(proof(make(4, 2, &key)).verify());
        assert!(!proof(make(4, 1, &key)).verify(), "the same header twice is no crime");
        assert!(!proof(make(5, 2, &key)).verify(), "two steps, two headers");
        assert!(!proof(make(4, 2, &SecretKey::from_seed([2; 32]))).verify(), "another seat");
        let mut forged = make(4, 2, &key);
        forged.value.canary = Hash([5; 32]);
        assert!(!proof(forged).verify(), "an unsigned header");
    }

    #[test]
    fn a_seat_cannot_commit_to_a_label_twice() {
        let twice = vec![(leaf(&key(), 4, 1), PublicKey::default(), PublicKey::default()); 2];
        assert_eq!(Commitment::new(&UnitSecret::of(&key()), twice).err(), Some(HeaderError::Label));
    }
}
