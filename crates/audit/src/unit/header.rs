//! Sign what a seat did in a step, once: every unit, the gradient sum, and the header before.
//!
//! Two different headers of one seat for one step are a proof of fraud that needs no re-execution: [`Equivocation`].

use crate::unit::{Label, UnitId, UnitLeaf};
use tessera_canon::{
    Domain, Hash, List, MerklePath, MerkleTree, PublicKey, SecretKey, Signature, digest, record,
};
use tessera_ledger::action::{STATEMENT, Statement};

const EDGES: Domain = Domain::new("tessera/unit-edges/v1");
const HEADER: Domain = Domain::new("tessera/step-header/v1");
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

impl UnitList {
    fn tree(&self) -> MerkleTree {
        MerkleTree::new(self.units.iter().map(UnitEdges::leaf).collect())
    }
    /// What [`StepHeader::edges`] is.
    pub fn root(&self) -> Hash {
        self.tree().root()
    }
    /// That unit `at` stands in the list.
    pub fn path(&self, at: usize) -> Option<MerklePath> {
        self.tree().path(at as u64)
    }
}

impl UnitEdges {
    fn leaf(&self) -> Hash {
        digest(EDGES, self)
    }
}

record! {
    /// What a seat commits to before gradients are exchanged.
    pub struct StepHeader {
        pub network: Hash,
        pub run: Hash,
        /// In which the step is reported.
        pub window: u32,
        pub stage: u16,
        pub worker: PublicKey,
        /// How often the run had been rolled back.
        pub generation: u32,
        pub step: u64,
        pub slot: u16,
        /// Counts the headers of this seat and step: a seat that takes over another's units commits anew. The one that
        /// is anchored counts.
        pub attempt: u16,
        /// State root that the step started from, and the root over its weights.
        pub w_root: Hash,
        pub weights: Hash,
        /// Merkle root over what the seat claims: its units' [`UnitLeaf::claim`] in the order of their labels, then
        /// what it claims of sums and optimizer steps.
        pub units_root: Hash,
        pub units: u16,
        /// [`UnitList::root`].
        pub edges: Hash,
        /// Root over the tensors of the seat's gradient sum: the integers over its units.
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
    /// What the seat signs: the header as the ledger reads it.
    pub fn statement(&self) -> Statement {
        Statement {
            network: self.network,
            run: self.run,
            window: self.window,
            stage: self.stage,
            account: self.worker,
            generation: self.generation,
            step: self.step,
            root: self.units_root,
            rest: self.id(),
        }
    }
    /// The unit that `edges` is about, if `path` proves that it is in the header's list, and its place there.
    pub fn unit_id(&self, edges: &UnitEdges, path: &MerklePath) -> Option<UnitId> {
        let listed = path.count == u64::from(self.units) && path.verify(edges.leaf(), &self.edges);
        listed.then(|| self.unit(edges))
    }
    fn unit(&self, edges: &UnitEdges) -> UnitId {
        UnitId {
            run: self.run,
            generation: self.generation,
            step: self.step,
            stage: self.stage,
            label: edges.label,
            slot: self.slot,
            worker: self.worker,
        }
    }
    /// The units that the header commits to, if `list` is the one it was signed with.
    pub fn unit_ids(&self, list: &UnitList) -> Result<Vec<UnitId>, HeaderError> {
        let sorted = list.units.windows(2).all(|pair| pair[0].label < pair[1].label);
        if !sorted || list.units.len() != usize::from(self.units) || list.root() != self.edges {
            return Err(HeaderError::Units { got: list.units.len(), expected: self.units.into() });
        }
        Ok(list.units.iter().map(|edges| self.unit(edges)).collect())
    }
    /// What two headers may not share if they differ.
    fn committed_at(&self) -> (Hash, u32, u64, u16, u16, u16, PublicKey) {
        (self.run, self.generation, self.step, self.stage, self.slot, self.attempt, self.worker)
    }
}

record! {
    /// A header with its seat's signature of [`StepHeader::statement`].
    pub struct SignedHeader { pub value: StepHeader, pub signature: Signature }
}

impl SignedHeader {
    /// Sign `value` with `key`, its worker's.
    pub fn new(key: &SecretKey, value: StepHeader) -> Self {
        let signature = key.sign(STATEMENT, &value.statement());
        Self { value, signature }
    }
    /// Whether the worker signed it.
    pub fn verify(&self) -> bool {
        self.value.worker.verify(STATEMENT, &self.value.statement(), &self.signature)
    }
}

/// What everybody in a stage knows of a step before it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepContext {
    pub network: Hash,
    pub run: Hash,
    pub window: u32,
    pub stage: u16,
    pub generation: u32,
    pub step: u64,
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
    #[error("the opened leaf does not stand in the header's tree; the leaf or the path is wrong")]
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
    pub fn admit(&self, header: &SignedHeader, previous: Option<Hash>) -> Result<(), HeaderError> {
        let value = &header.value;
        if !header.verify() {
            return Err(HeaderError::Signature { worker: value.worker, step: value.step });
        }
        same("network", self.network, value.network)?;
        same("run", self.run, value.run)?;
        same("window", self.window, value.window)?;
        same("generation", self.generation, value.generation)?;
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

/// Check that an opened leaf is the one that `header` commits to, belongs to its step, seat and state, and has the
/// labels of the header's `edges`.
pub fn check_leaf(
    header: &StepHeader,
    edges: &UnitEdges,
    leaf: &UnitLeaf,
    path: &MerklePath,
) -> Result<(), HeaderError> {
    let unit = &leaf.unit;
    let wrong = |what, expected: String, got: String| Err(HeaderError::Leaf { what, expected, got });
    let (place, expected) = (
        (unit.run, unit.generation, unit.step, unit.stage),
        (header.run, header.generation, header.step, header.stage),
    );
    if place != expected {
        return wrong("run, generation, step or stage", format!("{expected:?}"), format!("{place:?}"));
    }
    if (unit.slot, unit.worker) != (header.slot, header.worker) {
        return wrong("seat", header.worker.to_string(), unit.worker.to_string());
    }
    if (unit.label, leaf.out) != (edges.label, edges.out) {
        return wrong("labels", format!("{:?}", edges.label), format!("{:?}", unit.label));
    }
    if leaf.w_root != header.w_root {
        return wrong("state root", header.w_root.to_string(), leaf.w_root.to_string());
    }
    if leaf.weights != header.weights {
        return wrong("root over weights", header.weights.to_string(), leaf.weights.to_string());
    }
    if leaf.arithmetic != tessera_model::ARITHMETIC_VERSION {
        let expected = tessera_model::ARITHMETIC_VERSION.to_string();
        return wrong("version of the arithmetic", expected, leaf.arithmetic.to_string());
    }
    // Behind the units stand claims of sums and steps.
    let of_a_unit = path.index < u64::from(header.units);
    if !of_a_unit || !path.verify(leaf.claim().digest(), &header.units_root) {
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
    claims: Vec<Hash>,
}

impl Commitment {
    /// Commit to leaves, all of one seat and step, each with the seats above and below that it was exchanged with, and
    /// to `further` claims of the seat about sums and optimizer steps.
    pub fn new(units: Vec<(UnitLeaf, PublicKey, PublicKey)>, further: &[Hash]) -> Result<Self, HeaderError> {
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
        let claims: Vec<Hash> = leaves.iter().map(|leaf| leaf.claim().digest()).collect();
        let all = claims.iter().chain(further).copied().collect();
        let got = edges.len();
        let units = List::new(edges).map_err(|_| HeaderError::TooMany { got })?;
        Ok(Self { leaves, list: UnitList { units }, tree: MerkleTree::new(all), claims: further.to_vec() })
    }
    /// The header of the step.
    pub fn header(
        &self,
        key: &SecretKey,
        (slot, attempt): (u16, u16),
        context: &StepContext,
        grad_root: Hash,
        canary: Hash,
        previous: Hash,
    ) -> SignedHeader {
        let StepContext { network, run, window, stage, generation, step, w_root, weights } = context.clone();
        let header = StepHeader {
            network,
            run,
            window,
            stage,
            worker: key.public(),
            generation,
            step,
            slot,
            attempt,
            w_root,
            weights,
            units_root: self.tree.root(),
            units: self.leaves.len() as u16,
            edges: self.list.root(),
            grad_root,
            canary,
            previous,
        };
        SignedHeader::new(key, header)
    }
    /// The public list of the units.
    pub fn list(&self) -> &UnitList {
        &self.list
    }
    /// The leaves.
    pub fn leaves(&self) -> &[UnitLeaf] {
        &self.leaves
    }
    /// Where further claim `digest` stands, if it was committed.
    pub fn open_claim(&self, digest: &Hash) -> Option<MerklePath> {
        let at = self.claims.iter().position(|claim| claim == digest)?;
        self.tree.path((self.leaves.len() + at) as u64)
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
    pub struct Equivocation { pub first: SignedHeader, pub second: SignedHeader }
}

impl Equivocation {
    /// Whether the proof holds; who is convicted is [`StepHeader::worker`].
    pub fn verify(&self) -> bool {
        let (first, second) = (&self.first, &self.second);
        first.value.committed_at() == second.value.committed_at()
            && first.value != second.value
            && first.verify()
            && second.verify()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::tests::{leaf, unit};
    use tessera_canon::{decode, encode};

    const FURTHER: Hash = Hash([6; 32]);

    fn context() -> StepContext {
        StepContext {
            network: Hash([3; 32]),
            run: Hash([1; 32]),
            window: 0,
            stage: 1,
            generation: 0,
            step: 4,
            w_root: Hash([9; 32]),
            weights: Hash([8; 32]),
        }
    }

    fn key() -> SecretKey {
        SecretKey::from_seed([1; 32])
    }

    fn committed(count: u8) -> Commitment {
        let units = (0..count).map(|n| (leaf(&key(), 4, n), PublicKey([8; 32]), PublicKey([9; 32])));
        Commitment::new(units.collect(), &[FURTHER]).unwrap()
    }

    #[test]
    fn a_leaf_opens_in_its_header_and_nowhere_else() {
        let (key, commitment) = (key(), committed(5));
        let header = commitment.header(&key, (0, 0), &context(), Hash::ZERO, Hash::ZERO, Hash::ZERO);
        context().admit(&header, Some(Hash::ZERO)).unwrap();
        for number in 0..5 {
            let id = unit(&key, 4, number);
            let (leaf, path) = commitment.open(&id).unwrap();
            let edges = &commitment.list().units[usize::from(number)];
            check_leaf(&header.value, edges, &leaf, &path).unwrap();
            let mut lie = leaf.clone();
            lie.dw = Hash([77; 32]);
            assert_eq!(check_leaf(&header.value, edges, &lie, &path), Err(HeaderError::Opening));
        }
        assert!(commitment.open(&unit(&key, 4, 9)).is_none());
        let path = commitment.open_claim(&FURTHER).unwrap();
        assert!(path.verify(FURTHER, &header.value.units_root) && path.index == 5);
        assert!(commitment.open_claim(&Hash::ZERO).is_none());
        for (at, edges) in commitment.list().units.iter().enumerate() {
            let path = commitment.list().path(at).unwrap();
            assert_eq!(header.value.unit_id(edges, &path).as_ref(), Some(&commitment.leaves()[at].unit));
            let other = UnitEdges { up: PublicKey([77; 32]), ..edges.clone() };
            assert_eq!(header.value.unit_id(&other, &path), None);
        }
        let bytes = encode(&header);
        assert_eq!(decode::<SignedHeader>(&bytes).unwrap(), header);
        assert!(bytes.len() <= 450, "about 330 bytes in the specification, got {}", bytes.len());
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
        let header = committed(2).header(&key, (0, 0), &context(), Hash::ZERO, Hash::ZERO, Hash([3; 32]));
        let refused = |context: StepContext, what: &str| match context.admit(&header, Some(Hash([3; 32]))) {
            Err(HeaderError::Other { what: got, .. }) => assert_eq!(got, what),
            other => panic!("{what}: {other:?}"),
        };
        refused(StepContext { step: 5, ..context() }, "step");
        refused(StepContext { generation: 1, ..context() }, "generation");
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
            committed(2).header(key, (0, 0), &context, Hash([grad; 32]), Hash::ZERO, Hash::ZERO)
        };
        let first = make(4, 1, &key);
        let proof = |second: SignedHeader| Equivocation { first: first.clone(), second };
        assert!(proof(make(4, 2, &key)).verify());
        assert!(!proof(make(4, 1, &key)).verify(), "the same header twice is no crime");
        assert!(!proof(make(5, 2, &key)).verify(), "two steps, two headers");
        let again = StepHeader { attempt: 1, ..make(4, 2, &key).value };
        assert!(!proof(SignedHeader::new(&key, again)).verify(), "the seat took over another's units");
        assert!(!proof(make(4, 2, &SecretKey::from_seed([2; 32]))).verify(), "another seat");
        let mut forged = make(4, 2, &key);
        forged.value.canary = Hash([5; 32]);
        assert!(!proof(forged).verify(), "an unsigned header");
    }

    #[test]
    fn a_seat_cannot_commit_to_a_label_twice() {
        let twice = vec![(leaf(&key(), 4, 1), PublicKey::default(), PublicKey::default()); 2];
        assert_eq!(Commitment::new(twice, &[]).err(), Some(HeaderError::Label));
    }
}
