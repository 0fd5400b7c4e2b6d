//! Fix all headers of a stage and window by one hash on the ledger, before the beacon that draws audits.

use tessera_canon::{Domain, Hash, MerklePath, MerkleTree, PublicKey, digest};

use super::StepHeader;

const ENTRY: Domain = Domain::new("tessera/anchor-entry/v1");

/// Step, seat and digest of a header.
pub type Place = (u64, PublicKey, Hash);

impl StepHeader {
    /// Where the header stands in an [`AnchorTree`].
    pub fn place(&self) -> Place {
        (self.step, self.worker, self.id())
    }
}

/// The tree below an anchor: the headers in the order of step and seat. What states the stage voted for they say
/// themselves.
#[derive(Clone, Debug)]
pub struct AnchorTree {
    places: Vec<Place>,
    tree: MerkleTree,
}

impl AnchorTree {
    /// The tree over headers, in any order, repetitions ignored.
    pub fn new(headers: impl IntoIterator<Item = Place>) -> Self {
        let mut places: Vec<Place> = headers.into_iter().collect();
        places.sort_unstable();
        places.dedup();
        let tree = MerkleTree::new(places.iter().map(|(_, _, id)| digest(ENTRY, id)).collect());
        Self { places, tree }
    }
    /// What the stage's window report names.
    pub fn root(&self) -> Hash {
        self.tree.root()
    }
    /// The headers that are in it, in order.
    pub fn places(&self) -> &[Place] {
        &self.places
    }
    /// Proof that `header` is anchored.
    pub fn path(&self, header: &StepHeader) -> Option<MerklePath> {
        let at = self.places.binary_search(&header.place()).ok()?;
        self.tree.path(at as u64)
    }
}

/// Whether `header` stands below `root`.
pub fn is_anchored(header: &StepHeader, path: &MerklePath, root: &Hash) -> bool {
    path.verify(digest(ENTRY, &header.id()), root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::{Commitment, StepContext, tests::leaf};
    use tessera_canon::SecretKey;

    #[test]
    fn an_anchor_holds_every_header_whatever_the_order() {
        let header = |slot: u16, step: u64| {
            let key = SecretKey::from_seed([slot as u8 + 1; 32]);
            let context = StepContext {
                network: Hash([3; 32]),
                run: Hash([1; 32]),
                window: 0,
                stage: 1,
                generation: 0,
                step,
                w_root: Hash([9; 32]),
                weights: Hash([8; 32]),
            };
            let leaves = vec![(leaf(&key, step, 1), key.public(), key.public())];
            let commitment = Commitment::new(leaves, &[]).unwrap();
            commitment.header(&key, (slot, 0), &context, Hash::ZERO, Hash::ZERO, Hash::ZERO).value
        };
        let headers: Vec<StepHeader> =
            (0..3).flat_map(|slot| (0..4).map(move |step| header(slot, step))).collect();
        let places: Vec<Place> = headers.iter().map(StepHeader::place).collect();
        let tree = AnchorTree::new(places.clone());
        let again = AnchorTree::new(places.iter().rev().chain(&places[3..5]).copied());
        assert_eq!(tree.root(), again.root());
        for header in &headers {
            let path = tree.path(header).unwrap();
            assert!(is_anchored(header, &path, &tree.root()));
            let mut other = header.clone();
            other.grad_root = Hash([1; 32]);
            assert!(!is_anchored(&other, &path, &tree.root()));
            assert!(tree.path(&other).is_none());
        }
        assert_ne!(AnchorTree::new(places[1..].to_vec()).root(), tree.root());
    }
}
