//! Join the claims of a window's units to the statement that a trainer signs on the ledger, and accuse from it.
//!
//! The ledger's evidence is a claim's digest below a signed statement ([`tessera_ledger::trust`]). The tree holds the
//! claims in the order of (step, label): anyone to whom the leaves were opened can make it again.

use crate::unit::UnitLeaf;
use tessera_canon::{Hash, MerklePath, MerkleTree, PublicKey, SecretKey, Signature};
use tessera_ledger::{
    action::{Accusation, STATEMENT, Statement},
    trust::kind::Kind,
};

/// The claims of a seat's units of a window.
#[derive(Clone, Debug)]
pub struct StatementTree {
    /// (step, label, claim) in order.
    claims: Vec<(u64, [u8; 16], Hash)>,
    tree: MerkleTree,
}

impl StatementTree {
    /// The tree over the leaves of a window, in any order.
    pub fn new<'a>(leaves: impl IntoIterator<Item = &'a UnitLeaf>) -> Self {
        let claim = |leaf: &UnitLeaf| (leaf.unit.step, leaf.unit.label, leaf.claim().digest());
        let mut claims: Vec<_> = leaves.into_iter().map(claim).collect();
        claims.sort_unstable();
        let tree = MerkleTree::new(claims.iter().map(|(_, _, digest)| *digest).collect());
        Self { claims, tree }
    }
    /// What the trainer signs.
    pub fn statement(
        &self,
        network: Hash,
        run: Hash,
        window: u32,
        stage: u16,
        account: PublicKey,
    ) -> Statement {
        Statement { network, run, window, stage, account, root: self.tree.root() }
    }
    /// The trainer's signature of it.
    pub fn sign(key: &SecretKey, statement: &Statement) -> Signature {
        key.sign(STATEMENT, statement)
    }
    /// Where a leaf's claim stands.
    pub fn path(&self, leaf: &UnitLeaf) -> Option<MerklePath> {
        let place = (leaf.unit.step, leaf.unit.label, leaf.claim().digest());
        self.tree.path(self.claims.binary_search(&place).ok()? as u64)
    }
    /// The accusation that `leaf`, which the accused opened, is false; `signature` is of its statement.
    pub fn accuse(&self, leaf: &UnitLeaf, kind: Kind, signature: Signature) -> Option<Accusation> {
        let (evidence, path) = (leaf.claim().digest(), self.path(leaf)?);
        Some(Accusation { kind, evidence, path, root: self.tree.root(), signature })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::tests::leaf;

    #[test]
    fn an_opened_leaf_is_evidence_below_the_signed_statement() {
        let key = SecretKey::from_seed([1; 32]);
        let leaves: Vec<UnitLeaf> =
            (0..3).flat_map(|step| (0..4).map(move |n| (step, n))).map(|(s, n)| leaf(&key, s, n)).collect();
        let tree = StatementTree::new(&leaves);
        let again = StatementTree::new(leaves.iter().rev());
        let statement = tree.statement(Hash([1; 32]), leaves[0].unit.run, 2, 1, key.public());
        assert_eq!(statement, again.statement(Hash([1; 32]), leaves[0].unit.run, 2, 1, key.public()));
        let signature = StatementTree::sign(&key, &statement);
        for leaf in &leaves {
            let accusation = tree.accuse(leaf, Kind::Dot, signature).unwrap();
            assert!(accusation.path.verify(accusation.evidence, &statement.root));
            assert!(key.public().verify(STATEMENT, &statement, &accusation.signature));
        }
        let mut other = leaves[3].clone();
        other.dw = Hash([99; 32]);
        assert!(tree.accuse(&other, Kind::Dot, signature).is_none(), "it did not say that");
    }
}
