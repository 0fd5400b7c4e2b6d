//! Say what auditor and worker send each other, and how a report is compared with a leaf.

use crate::{
    reexec::UnitDigests,
    unit::{Receipt, UnitId, UnitLeaf},
};
use tessera_canon::{Domain, Hash, MerklePath, PublicKey, digest, record, tags};

const REPORT: Domain = Domain::new("tessera/audit/report/v1");
/// Signature domain of [`AuditCommitment`].
pub const COMMITMENT: Domain = Domain::new("tessera/audit/commitment/v1");
/// Signature domain of [`AuditReveal`].
pub const REVEAL: Domain = Domain::new("tessera/audit/reveal/v1");

tags! {
    /// What an audit found. A mismatch names the first digest that differs, in the order in which they are computed.
    pub enum AuditVerdict {
        0 => Match,
        /// The leaf names another input or gradient than the worker signed for.
        1 => Inputs,
        2 => Y,
        3 => Dx,
        4 => Dw,
        /// The worker did not open its leaf, or did not give what nobody else had.
        5 => NoData,
        /// The wrong digest was sealed beforehand, and the auditor found the true one.
        6 => Canary,
        /// The worker sent another tensor than it claims.
        7 => Sent,
    }
}

impl AuditVerdict {
    /// Whether it counts as a first mismatch of the worker.
    pub fn is_mismatch(self) -> bool {
        !matches!(self, Self::Match | Self::Canary)
    }
}

record! {
    /// What an auditor computed. Its hash is sent first.
    pub struct AuditReport {
        /// [`UnitId::id`].
        pub unit: Hash,
        pub auditor: PublicKey,
        pub digests: UnitDigests,
        /// [`crate::reexec::Outputs::trace`] under this auditor's key.
        pub trace: Hash,
        pub nonce: Hash,
    }
}

impl AuditReport {
    /// The commitment to it.
    pub fn commit(&self) -> Hash {
        digest(REPORT, self)
    }
}

record! {
    /// That an auditor has computed a unit; signed.
    pub struct AuditCommitment { pub unit: UnitId, pub auditor: PublicKey, pub commit: Hash }
}

record! {
    /// A report and what it says of the worker; signed. Without a report where the audit lacked data.
    pub struct AuditReveal {
        pub unit: UnitId,
        pub auditor: PublicKey,
        pub report: Option<AuditReport>,
        pub verdict: AuditVerdict,
    }
}

record! {
    /// The worker's opening of a unit, after the auditor's commitment.
    pub struct UnitOpen {
        pub leaf: UnitLeaf,
        pub path: MerklePath,
        /// Of the input; absent on the first stage.
        pub x: Option<Receipt>,
        /// Of the output's gradient; absent on the last stage.
        pub dy: Option<Receipt>,
    }
}

/// Compare an auditor's digests with a leaf.
pub fn compare(leaf: &UnitLeaf, mine: &UnitDigests) -> AuditVerdict {
    if (leaf.x, leaf.dy) != (mine.x, mine.dy) {
        AuditVerdict::Inputs
    } else if leaf.y != mine.y {
        AuditVerdict::Y
    } else if leaf.dx != mine.dx {
        AuditVerdict::Dx
    } else if leaf.dw != mine.dw {
        AuditVerdict::Dw
    } else {
        AuditVerdict::Match
    }
}
