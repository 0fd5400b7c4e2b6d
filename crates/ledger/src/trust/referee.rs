//! Judge the one step that a game narrowed a dispute to: the place where arithmetic meets the ledger.
//!
//! A referee is a pure function of the step; every validator must run the same one, because its word changes the
//! state. [`NoReferee`] supports nothing: with it no game can begin, so that nobody is convicted by its absence.

use crate::{
    action::Statement,
    trust::kind::{Kind, Shape},
};
use tessera_canon::{Hash, PublicKey, Signature};

/// What the challenger named on a level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelStep {
    pub shape: Shape,
    /// Zeros where the shape has none.
    pub head: Hash,
    /// Merkle root over the children ([`crate::trust::game::leaf`]).
    pub root: Hash,
    /// Children, and which of them is disputed.
    pub count: u16,
    pub index: u16,
    /// The disputed child, filled up with zeros to 32 bytes.
    pub child: Hash,
    /// The child before it, which both sides agree on; absent for the first.
    pub before: Option<Hash>,
}

/// The last step of a game, with all that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalStep {
    pub kind: Kind,
    pub run: Hash,
    pub window: u32,
    pub stage: u16,
    pub accused: PublicKey,
    /// What the accused signed and the challenger disputed.
    pub evidence: Hash,
    /// From the top; of the kind's shapes. Only the first where the evidence itself was named there.
    pub levels: Vec<LevelStep>,
    /// What the accused brings for the last step: inputs with paths to agreed digests.
    pub proof: Vec<u8>,
}

/// What the referee found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// The step gives the disputed value.
    Innocent,
    /// It gives another one within the tolerance that the run's tier names.
    HonestError,
    /// It gives another one.
    Mismatch,
    /// The step itself shows economy, such as zeros or a copy.
    Fraud,
}

/// What an accused signed, as a digest under its domain, and its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub digest: Hash,
    pub signature: Signature,
}

/// Why a proof cannot be judged. The transaction is refused; in a game the turn remains the accused's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefereeError {
    #[error("the proof is malformed: {0}")]
    Malformed(String),
    #[error("an input of the step is not the agreed one: {0}")]
    Input(String),
}

/// A pure judge of last steps. Integers only; same step, same judgement, on every machine.
pub trait Referee: Send + Sync {
    /// Whether it can judge steps of `kind`.
    fn supports(&self, kind: Kind) -> bool;
    /// The digest of a claim in the encoding in which an accused opens it.
    fn claim_digest(&self, kind: Kind, claim: &[u8]) -> Result<Hash, RefereeError> {
        let _ = claim;
        Err(RefereeError::Malformed(format!("this referee reads no claims of kind {kind:?}")))
    }
    /// Compute the step and compare.
    fn judge(&self, step: &FinalStep) -> Result<Judgement, RefereeError>;
    /// What the account of `statement` must have signed for `proof` to show that its claim `evidence` is not what it did.
    /// Whether it did sign that, the ledger checks: it knows the keys that accounts had.
    fn contradicts(
        &self,
        statement: &Statement,
        evidence: &Hash,
        proof: &[u8],
    ) -> Result<Signed, RefereeError> {
        let _ = (statement, evidence, proof);
        Err(RefereeError::Malformed("this network judges no contradictions".into()))
    }
}

/// Judges nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReferee;
impl Referee for NoReferee {
    fn supports(&self, _: Kind) -> bool {
        false
    }
    fn judge(&self, _: &FinalStep) -> Result<Judgement, RefereeError> {
        Err(RefereeError::Malformed("this network has no referee".into()))
    }
}
