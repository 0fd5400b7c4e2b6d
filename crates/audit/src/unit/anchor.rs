//! Fix all headers and votes of a stage and window by one hash on the ledger, before the beacon that draws audits.

use tessera_canon::{Domain, Hash, MerklePath, MerkleTree, digest};

use super::StepHeader;

const ENTRY: Domain = Domain::new("tessera/anchor-entry/v1");

/// Generation, step, slot, digest of a header.
type Place = (u32, u64, u16, Hash);

fn place(header: &StepHeader) -> Place {
    (header.generation, header.step, header.slot, header.id())
}

/// The tree below an anchor: the headers in the order of (generation, step, slot), then the state roots that were voted, in the
/// order of steps and roots.
#[derive(Clone, Debug)]
pub struct AnchorTree {
    headers: Vec<Place>,
    tree: MerkleTree,
}

impl AnchorTree {
    /// The tree over `headers` and `votes` (step, root), in any order, repetitions ignored.
    pub fn new<'a>(
        headers: impl IntoIterator<Item = &'a StepHeader>,
        votes: impl IntoIterator<Item = (u64, Hash)>,
    ) -> Self {
        let mut headers: Vec<_> = headers.into_iter().map(place).collect();
        headers.sort_unstable();
        headers.dedup();
        let mut votes: Vec<_> = votes.into_iter().collect();
        votes.sort_unstable();
        votes.dedup();
        let leaves = headers.iter().map(|(_, _, _, id)| digest(ENTRY, &(0u8, *id)));
        let leaves = leaves.chain(votes.iter().map(|(step, root)| digest(ENTRY, &(1u8, (*step, *root)))));
        let tree = MerkleTree::new(leaves.collect());
        Self { headers, tree }
    }
    /// What the stage's window report names.
    pub fn root(&self) -> Hash {
        self.tree.root()
    }
    /// Proof that `header` is anchored.
    pub fn path(&self, header: &StepHeader) -> Option<MerklePath> {
        let at = self.headers.binary_search(&place(header)).ok()?;
        self.tree.path(at as u64)
    }
}

/// Whether `header` stands below `root`.
pub fn is_anchored(header: &StepHeader, path: &MerklePath, root: &Hash) -> bool {
    path.verify(digest(ENTRY, &(0u8, header.id())), root)
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
        let votes = [(1, Hash([5; 32])), (0, Hash([4; 32]))];
        let tree = AnchorTree::new(&headers, votes);
        let again = AnchorTree::new(headers.iter().rev(), votes.into_iter().rev().chain(votes));
        assert_eq!(tree.root(), again.root());
        for header in &headers {
            let path = tree.path(header).unwrap();
            assert!(is_anchored(header, &path, &tree.root()));
            let mut other = header.clone();
            other.grad_root = Hash([1; 32]);
            assert!(!is_anchored(&other, &path, &tree.root()));
            assert!(tree.path(&other).is_none());
        }
        assert_ne!(AnchorTree::new(&headers[1..], votes).root(), tree.root());
    }
}
