//! Say what seats tell each other about receipts, commitments and audits, as it travels.
//!
//! Whoever asks for material of a unit brings a [`Ticket`]: that the unit is anchored on the ledger. With the ledger's
//! beacon the asked seat then repeats the draw, so it needs to remember no draws and can be asked by strangers.

use crate::{
    audit::{AuditCommitment, AuditReveal, UnitOpen},
    unit::{Direction, Label, Receipt, SignedHeader, StepHeader, UnitEdges, UnitId, UnitList, is_anchored},
};
use tessera_canon::{Blob, Hash, MerklePath, Signature, Signed, choice, record};

/// Most bytes of a boundary tensor.
pub const MAX_VALUES: usize = 63 << 20;

record! {
    /// The receiver's half of an [`EdgeReceipt`](crate::unit::EdgeReceipt), for its sender.
    pub struct Countersign {
        pub generation: u32,
        pub step: u64,
        pub label: Label,
        pub direction: Direction,
        pub signature: Signature,
    }
}

record! {
    /// What a seat commits to in a step, for its replicas; before gradient sums are exchanged.
    pub struct Commit { pub header: SignedHeader, pub list: UnitList }
}

record! {
    /// That a unit was committed to and anchored.
    pub struct Ticket {
        /// Window whose report holds the anchor.
        pub window: u32,
        pub header: StepHeader,
        pub anchor: MerklePath,
        pub edges: UnitEdges,
        pub listed: MerklePath,
    }
}

impl Ticket {
    /// The unit, if it stands below the anchor `root`.
    pub fn unit(&self, root: &Hash) -> Option<UnitId> {
        let anchored = is_anchored(&self.header, &self.anchor, root);
        anchored.then(|| self.header.unit_id(&self.edges, &self.listed)).flatten()
    }
}

record! {
    /// Please send a tensor of a unit that I was drawn to audit.
    pub struct WantTensor { pub ticket: Ticket, pub direction: Direction }
}

record! {
    /// A tensor that passed an edge, with what both sides signed; and the receipt of what passed the same edge the other
    /// way, if it is here.
    pub struct GivenTensor {
        /// [`UnitId::id`].
        pub unit: Hash,
        pub direction: Direction,
        /// Bit patterns of `f32`, little-endian.
        pub values: Blob<MAX_VALUES>,
        pub receipt: Receipt,
        pub other: Option<Receipt>,
    }
}

record! {
    /// I have computed your unit and committed to what it gave: open your leaf.
    pub struct WantOpening { pub ticket: Ticket, pub commitment: Signed<AuditCommitment> }
}

record! {
    /// The leaf of a unit.
    pub struct GivenOpening { pub open: UnitOpen }
}

record! {
    /// What an audit found, for the replicas.
    pub struct Revealed { pub reveal: Signed<AuditReveal> }
}

choice! {
    /// Everything seats tell each other about audits.
    pub enum AuditMessage {
        0 => Countersign(Countersign),
        1 => Commit(Commit),
        2 => WantTensor(WantTensor),
        3 => GivenTensor(GivenTensor),
        4 => WantOpening(WantOpening),
        5 => GivenOpening(GivenOpening),
        6 => Revealed(Revealed),
    }
}
