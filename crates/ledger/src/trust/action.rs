//! List what an account can do about false work: dispute it, judge it, and test those who judge.

use crate::trust::{kind::Kind, record::Verdict};
use tessera_canon::{Blob, Domain, Hash, MerklePath, PublicKey, Signature, choice, record};

/// Signed by a trainer over what its work of a step gave: [`Statement`].
pub const STATEMENT: Domain = Domain::new("tessera/ledger/statement/v1");
/// Hashed by an auditor before anybody may know its verdict: [`AuditOpening`].
pub const AUDIT: Domain = Domain::new("tessera/ledger/audit/v1");
/// Hashed by a trainer before it shows a wrong digest on purpose: [`SealedCanary`].
pub const CANARY: Domain = Domain::new("tessera/ledger/canary/v1");

/// Most bytes of the children that one message commits to.
pub const MAX_CHILDREN: usize = 8192;
/// Most bytes of a claim.
pub const MAX_CLAIM: usize = 1024;
/// Most bytes of a proof that an account contradicts itself.
pub const MAX_CONTRADICTION: usize = 2048;
/// Most bytes of one part of a proof.
pub const MAX_PROOF_PART: usize = 12_288;

record! {
    /// What a trainer signs of its work in a step: the Merkle root over the digests of what it claims.
    pub struct Statement {
        pub network: Hash,
        pub run: Hash,
        /// The window in which the work is reported.
        pub window: u32,
        pub stage: u16,
        pub account: PublicKey,
        /// How often the run had been rolled back ([`crate::record::Rollback`]).
        pub generation: u32,
        pub step: u64,
        pub root: Hash,
        /// Digest of what else the trainer says of the step, which the ledger does not read.
        pub rest: Hash,
    }
}

record! {
    /// Something the accused signed that the challenger says is false.
    pub struct Accusation {
        pub kind: Kind,
        /// The digest that is false.
        pub evidence: Hash,
        /// Where it stands below `root`.
        pub path: MerklePath,
        /// Of the [`Statement`], with the fields below.
        pub generation: u32,
        pub step: u64,
        pub root: Hash,
        pub rest: Hash,
        /// The accused's signature of it.
        pub signature: Signature,
    }
}

record! {
    /// Dispute claim `index` of a stage report. With an accusation the game begins, without one a panel is drawn.
    pub struct OpenDispute {
        pub run: Hash,
        pub window: u32,
        pub stage: u16,
        pub index: u16,
        pub bond: u128,
        pub accusation: Option<Accusation>,
    }
}

record! {
    /// Make the accused of claim `index` of a stage report show what it committed to at place `unit` below `root`.
    pub struct DemandOpening {
        pub run: Hash,
        pub window: u32,
        pub stage: u16,
        pub index: u16,
        pub bond: u128,
        /// Of the accused's [`Statement`], with the fields below.
        pub generation: u32,
        pub step: u64,
        pub root: Hash,
        pub rest: Hash,
        pub unit: u32,
        /// The accused's signature of it.
        pub signature: Signature,
    }
}

record! {
    /// The claim that stands at the demanded place, in the encoding that the referee reads.
    pub struct Opening { pub claim: Blob<MAX_CLAIM>, pub path: MerklePath }
}

record! {
    /// The opened claim is false: the game begins.
    pub struct Proceed {}
}

record! {
    /// Convict an account that signed two things which cannot both be true. `dispute` has an accusation; the evidence is
    /// the claim of a unit.
    pub struct Contradict { pub dispute: OpenDispute, pub proof: Blob<MAX_CONTRADICTION> }
}

record! {
    /// The accused commits to a level: its children, packed in the level's width.
    pub struct Commit {
        /// Of the shapes that have one: [`crate::trust::kind::Shape::has_head`].
        pub head: Option<Hash>,
        pub children: Blob<MAX_CHILDREN>,
    }
}

record! {
    /// A child, filled up with zeros to 32 bytes, and its path to the level's root.
    pub struct Child { pub value: Hash, pub path: MerklePath }
}

record! {
    /// The challenger names the first child that is false; the one before it (if any) is agreed.
    pub struct NameChild { pub child: Child, pub before: Option<Child> }
}

record! {
    /// Part `at` of the proof of the last step; part 0 begins anew.
    pub struct Prove { pub at: u8, pub part: Blob<MAX_PROOF_PART>, pub last: bool }
}

record! {
    /// The loser of a panel's ruling asks for the game; `bond` as for a dispute.
    pub struct Escalate { pub bond: u128 }
}

choice! {
    /// A message of a dispute.
    pub enum Step {
        0 => Commit(Commit),
        1 => NameChild(NameChild),
        2 => Prove(Prove),
        3 => Escalate(Escalate),
        4 => Accuse(Accusation),
        5 => Open(Opening),
        6 => Proceed(Proceed),
    }
}

record! {
    /// Send the next message of a dispute.
    pub struct DisputeStep { pub dispute: Hash, pub step: Step }
}

record! {
    /// Close a dispute whose turn was let pass or whose panel has ruled and nobody escalated.
    pub struct ResolveDispute { pub dispute: Hash }
}

record! {
    /// What an auditor's commitment hashes.
    pub struct AuditOpening {
        pub panel: Hash,
        pub auditor: PublicKey,
        pub verdict: Verdict,
        /// The digest that the auditor computed itself.
        pub digest: Hash,
        pub salt: Hash,
    }
}

record! {
    /// A drawn auditor commits to its verdict.
    pub struct AuditCommit { pub panel: Hash, pub commit: Hash }
}

record! {
    /// A drawn auditor reveals its verdict.
    pub struct AuditReveal { pub panel: Hash, pub verdict: Verdict, pub digest: Hash, pub salt: Hash }
}

record! {
    /// What a canary's commitment hashes.
    pub struct SealedCanary {
        pub run: Hash,
        pub window: u32,
        pub account: PublicKey,
        /// The digest that the work gave.
        pub truth: Hash,
        /// The wrong digest that will be shown.
        pub shown: Hash,
        pub salt: Hash,
    }
}

record! {
    /// Announce, sealed, that the sender's work in a window may hold a wrong digest on purpose.
    pub struct SealCanary { pub run: Hash, pub window: u32, pub commit: Hash }
}

record! {
    /// Open a canary after the audit of claim `index` of a stage report, or after none was drawn.
    pub struct OpenCanary {
        pub run: Hash,
        pub window: u32,
        pub stage: u16,
        pub index: u16,
        pub truth: Hash,
        pub shown: Hash,
        pub salt: Hash,
    }
}
