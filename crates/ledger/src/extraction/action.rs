//! List what an account can do about admission and the extraction report.

use tessera_canon::{Domain, Hash, PublicKey, Signature, record};

/// Signed by an operator: [`Affiliated`].
pub const AFFILIATED: Domain = Domain::new("tessera/ledger/affiliated/v1");

record! {
    /// What an operator signs for an identity of its own.
    pub struct Affiliated { pub network: Hash, pub run: Hash, pub account: PublicKey, pub operator: PublicKey }
}

record! {
    /// Declare, for good, that the sender is run by `operator` in `run`. Both sides sign: nobody can be counted
    /// as somebody else's without his consent.
    pub struct DeclareOperator { pub run: Hash, pub operator: PublicKey, pub signature: Signature }
}

record! {
    /// Post what a red team measured on a run; a bond is held while the figures count.
    pub struct PostMeasurement {
        pub run: Hash,
        /// Part of the stages that can be missing while the rest is still worth having, 1/10 000.
        pub mu: u16,
        /// Compute that repairs the missing part, in millionths of the run's.
        pub repair: u32,
        /// Hash of the method, its inputs and its results.
        pub evidence: Hash,
    }
}
