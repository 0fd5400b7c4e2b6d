//! Define what a validator can be convicted of signing twice (ownership specification 9.3, row 5).
//!
//! Finality is a threshold signature. Its parts prove nothing about who made them: the consensus library calls
//! the scheme non-attributable, because any quorum of parts lets anyone compute the part of every other member.
//! Evidence that could be forged against an innocent validator must not cost him his bond. So evidence is over
//! statements that a validator signs with its own Ed25519 consensus key, beside its part of the threshold
//! signature: one for each block that it proposes or votes for.
//!
//! What is missing outside of this crate: validators do not sign and keep such statements yet. Until they do,
//! nobody can be convicted, and nobody innocent ever is.

use tessera_canon::{Domain, Hash, PublicKey, Signature, record, tags};

/// Signed by a validator's consensus key: [`Statement`].
pub const STATEMENT: Domain = Domain::new("tessera/ledger/consensus-statement/v1");

tags! {
    /// What a validator does with a block.
    pub enum StatementKind {
        0 => Propose,
        /// First vote: this is the block of the view.
        1 => Notarize,
        /// Second vote: it is final.
        2 => Finalize,
    }
}
record! {
    /// `validator` did `kind` with `block` in consensus view `view`.
    pub struct Statement {
        pub network: Hash,
        pub validator: PublicKey,
        pub view: u64,
        pub kind: StatementKind,
        pub block: Hash,
    }
}
impl Statement {
    /// Why two statements do not convict; `None` if no honest validator signs both.
    pub fn excuse(&self, other: &Self) -> Option<&'static str> {
        if self.network != other.network || self.validator != other.validator {
            Some("statements by two validators or for two networks")
        } else if self.view != other.view || self.kind != other.kind {
            Some("statements of two views or kinds")
        } else if self.block == other.block {
            Some("statements about one block")
        } else {
            None
        }
    }
    /// Whether the validator signed it.
    pub fn verify(&self, signature: &Signature) -> bool {
        self.validator.verify(STATEMENT, self, signature)
    }
}
