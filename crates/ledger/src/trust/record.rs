//! Say what the cells of disputes, audits and penalties hold.

use crate::trust::kind::Kind;
use tessera_canon::{Blob, Hash, List, PublicKey, record, tags};

/// Most auditors of a panel.
pub const MAX_AUDITORS: usize = 3;
/// Bytes of a proof in one cell.
pub const PROOF_CELL: usize = 192;

tags! {
    /// What was found about a claim, by weight.
    pub enum Verdict {
        /// The work is right.
        0 => Innocent,
        /// Out of tolerance but not biased: the claim alone is void.
        1 => HonestError,
        /// The bits differ; hardware may be at fault.
        2 => Mismatch,
        /// Economy or collusion is proven.
        3 => Fraud,
    }
}

tags! {
    /// Whose turn it is in a dispute.
    pub enum DisputePhase {
        /// The panel's, then the loser's who may escalate.
        0 => Panel,
        /// The challenger must bring an accusation.
        1 => Accuse,
        /// The accused must commit to the next level.
        2 => Commit,
        /// The challenger must name a child.
        3 => Name,
        /// The accused must prove the last step.
        4 => Prove,
        /// The accused must show what it committed to.
        5 => Open,
        /// The challenger must say whether that is false.
        6 => Weigh,
    }
}

record! {
    /// An account's record in a run.
    pub struct Conduct {
        pub run: Hash,
        pub account: PublicKey,
        pub mismatches: u16,
        /// Clock of the run (windows, then epochs) of the last mismatch.
        pub last: u64,
        /// Claims of windows up to this one that had not matured are void.
        pub void_through: Option<u32>,
        /// Clock from which the account may work again.
        pub barred_until: u64,
        /// Clock until which it is audited more often.
        pub watched_until: u64,
        /// Shares still to be taken from claims that mature.
        pub debt: u128,
    }
}

record! {
    /// When work was done: how often the run had been rolled back by then, and in which step.
    pub struct Work { pub generation: u32, pub step: u64 }
}

record! {
    /// The run went back to an earlier step, because later ones contained work that was proven false. The newest one
    /// is the run's generation; each has its own cell.
    pub struct Rollback {
        pub run: Hash,
        /// Counts rollbacks, from 1.
        pub generation: u32,
        /// Steps that remain: the state before this step is the one to go on from.
        pub step: u64,
        pub height: u64,
    }
}

record! {
    /// An open dispute; its id is the key of the claim.
    pub struct Dispute {
        pub id: Hash,
        pub run: Hash,
        pub window: u32,
        pub stage: u16,
        pub index: u16,
        pub challenger: PublicKey,
        pub accused: PublicKey,
        /// Of the challenger, and of an accused who escalated.
        pub bond: u128,
        pub counter: u128,
        /// The panel is that of a drawn audit, not one of the dispute's own.
        pub audit: bool,
        /// A panel was asked.
        pub paneled: bool,
        /// Opened after the claim had matured: shares stay untouched.
        pub late: bool,
        pub phase: DisputePhase,
        pub kind: Option<Kind>,
        /// What is false; while it is to be opened, the root it stands below.
        pub evidence: Hash,
        /// Its place below that root.
        pub unit: Option<u32>,
        /// When the work was done.
        pub work: Option<Work>,
        pub level: u8,
        /// Bytes of the proof so far.
        pub proof: u16,
        /// Last height of the turn.
        pub deadline: u64,
    }
}

record! {
    /// A level of a dispute's game.
    pub struct DisputeLevel {
        pub dispute: Hash,
        pub level: u8,
        /// Zeros where the level's shape has none.
        pub head: Hash,
        /// Merkle root over the children.
        pub root: Hash,
        pub count: u16,
        /// What the challenger named.
        pub index: u16,
        pub child: Hash,
        pub before: Option<Hash>,
    }
}

record! {
    /// Bytes of a proof that comes in parts.
    pub struct DisputeProof { pub dispute: Hash, pub at: u16, pub bytes: Blob<PROOF_CELL> }
}

record! {
    /// Auditors of a subject: a claim that the beacon picked, a dispute, a session.
    pub struct Panel {
        pub id: Hash,
        pub run: Hash,
        pub window: u32,
        pub stage: u16,
        pub index: u16,
        /// Not to be drawn, besides operators of theirs.
        pub parties: List<PublicKey, 2>,
        /// Height of the draw; absent before it.
        pub drawn: Option<u64>,
        pub auditors: List<PublicKey, MAX_AUDITORS>,
    }
}

record! {
    /// An auditor's word.
    pub struct AuditVote {
        pub panel: Hash,
        pub auditor: PublicKey,
        pub commit: Hash,
        pub verdict: Option<Verdict>,
        pub digest: Hash,
    }
}

record! {
    /// What audits of a run found.
    pub struct AuditStats {
        pub run: Hash,
        /// Panels drawn, places in them, and words revealed.
        pub panels: u64,
        pub places: u64,
        pub revealed: u64,
        /// Words about canaries, and those that found them.
        pub tested: u64,
        pub found: u64,
        /// Verdicts against and for the accused, and disputes that ended without one.
        pub guilty: u64,
        pub innocent: u64,
        pub open_ended: u64,
    }
}

record! {
    /// A sealed canary.
    pub struct Canary {
        pub run: Hash,
        pub window: u32,
        pub account: PublicKey,
        pub commit: Hash,
        pub deposit: u128,
        pub sealed: u64,
        /// The beacon let it stand.
        pub stands: bool,
    }
}
