//! Commit to a list with one hash and prove one item with a short path.
//!
//! Binary tree, leaves and inner nodes hashed under different domains, an odd node is carried up
//! unchanged, and the root binds the number of leaves, so no list has two shapes.

use crate::{Domain, Hash, List, digest, digest_parts, record};

const NODE: Domain = Domain::new("tessera/merkle-node/v1");
const ROOT: Domain = Domain::new("tessera/merkle-root/v1");
/// Greatest depth of a path: enough for 2^40 leaves.
pub const MAX_MERKLE_DEPTH: usize = 40;

record! {
    /// The siblings from a leaf to the top.
    pub struct MerklePath {
        /// Position of the leaf.
        pub index: u64,
        /// Number of leaves.
        pub count: u64,
        /// Siblings, bottom up; levels where the node is carried up have none.
        pub siblings: List<Hash, MAX_MERKLE_DEPTH>,
    }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    digest_parts(NODE, [&left.0[..], &right.0[..]])
}

/// All levels of a Merkle tree over given leaf hashes.
#[derive(Clone, Debug)]
pub struct MerkleTree {
    levels: Vec<Vec<Hash>>,
}

impl MerkleTree {
    /// Build the tree over `leaves`, which are already hashed under their own domain.
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = vec![leaves];
        while levels[levels.len() - 1].len() > 1 {
            let below = &levels[levels.len() - 1];
            levels.push(
                below.chunks(2).map(|pair| if let [l, r] = pair { node(l, r) } else { pair[0] }).collect(),
            );
        }
        Self { levels }
    }
    /// The root, which also binds the number of leaves.
    pub fn root(&self) -> Hash {
        let top = self.levels[self.levels.len() - 1].first().copied().unwrap_or(Hash::ZERO);
        digest(ROOT, &(self.levels[0].len() as u64, top))
    }
    /// The path of leaf `index`; `None` where there is no such leaf.
    pub fn path(&self, index: u64) -> Option<MerklePath> {
        let count = self.levels[0].len() as u64;
        if index >= count {
            return None;
        }
        let mut at = index as usize;
        let mut siblings = Vec::new();
        for level in &self.levels[..self.levels.len() - 1] {
            siblings.extend(level.get(at ^ 1));
            at /= 2;
        }
        Some(MerklePath { index, count, siblings: List::new(siblings).ok()? })
    }
}

/// The root over `leaves`.
pub fn merkle_root(leaves: Vec<Hash>) -> Hash {
    MerkleTree::new(leaves).root()
}

impl MerklePath {
    /// Whether `leaf` stands at this path's index in the tree with this `root`.
    pub fn verify(&self, leaf: Hash, root: &Hash) -> bool {
        if self.index >= self.count {
            return false;
        }
        let (mut at, mut width, mut hash) = (self.index, self.count, leaf);
        let mut siblings = self.siblings.iter();
        while width > 1 {
            if at ^ 1 < width {
                let Some(sibling) = siblings.next() else { return false };
                hash = if at.is_multiple_of(2) { node(&hash, sibling) } else { node(sibling, &hash) };
            }
            at /= 2;
            width = width.div_ceil(2);
        }
        siblings.next().is_none() && digest(ROOT, &(self.count, hash)) == *root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_leaf_proves_itself_and_nothing_else() {
        for count in 1..40u64 {
            let leaves: Vec<Hash> = (0..count).map(|i| Hash([i as u8; 32])).collect();
            let tree = MerkleTree::new(leaves.clone());
            for (i, leaf) in leaves.iter().enumerate() {
                let path = tree.path(i as u64).unwrap();
                assert!(path.verify(*leaf, &tree.root()), "leaf {i} of {count}");
                assert!(!path.verify(Hash([200; 32]), &tree.root()));
                let moved = MerklePath { index: (i as u64 + 1) % count, ..path.clone() };
                assert!(count == 1 || !moved.verify(*leaf, &tree.root()));
                let grown = MerklePath { count: count + 1, ..path };
                assert!(!grown.verify(*leaf, &tree.root()));
            }
            assert!(tree.path(count).is_none());
        }
    }
}
