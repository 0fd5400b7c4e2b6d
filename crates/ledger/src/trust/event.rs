//! Tell what happened in disputes and audits: every verdict is here.

use crate::trust::record::{DisputePhase, Verdict};
use tessera_canon::{Hash, PublicKey, record};

record! {
    pub struct DisputeOpened {
        pub dispute: Hash,
        pub run: Hash,
        pub window: u32,
        pub stage: u16,
        pub challenger: PublicKey,
        pub accused: PublicKey,
        pub bond: u128,
    }
}

record! {
    /// A message was taken; the turn is now `phase`'s until `deadline`.
    pub struct DisputeMoved { pub dispute: Hash, pub phase: DisputePhase, pub level: u8, pub deadline: u64 }
}

record! {
    /// A dispute ended; without a verdict both sides have their bonds back.
    pub struct DisputeClosed {
        pub dispute: Hash,
        pub run: Hash,
        pub accused: PublicKey,
        pub verdict: Option<Verdict>,
        /// The referee judged, or a turn of the game was let pass; else a panel.
        pub game: bool,
    }
}

record! {
    /// A verdict took effect.
    pub struct Slashed {
        pub run: Hash,
        pub account: PublicKey,
        pub verdict: Verdict,
        /// Pending shares that are void from now on, and shares to be taken when claims mature.
        pub voided: u128,
        pub debt: u128,
        pub bond: u128,
        pub to_challenger: u128,
        pub barred_until: u64,
    }
}

record! {
    pub struct PanelDrawn { pub panel: Hash, pub run: Hash, pub stage: u16, pub auditors: u16 }
}

record! {
    pub struct AuditRevealed { pub panel: Hash, pub auditor: PublicKey, pub verdict: Verdict }
}

record! {
    /// A canary was opened: how many words told of it, how many of them found it.
    pub struct CanaryOpened { pub run: Hash, pub window: u32, pub account: PublicKey, pub tested: u16, pub found: u16 }
}

record! {
    /// The run goes back to the state before `step`.
    pub struct RolledBack { pub run: Hash, pub generation: u32, pub step: u64 }
}

record! {
    /// The accused signed something else than it claims of a unit, in a step of a generation.
    pub struct Contradicted { pub dispute: Hash, pub generation: u32, pub step: u64 }
}

record! {
    /// An auditor's word was proven false.
    pub struct FalseAudit { pub panel: Hash, pub auditor: PublicKey, pub bond: u128 }
}
