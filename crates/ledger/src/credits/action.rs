//! List what an account can do with notes and sessions.

use tessera_canon::{Domain, Hash, List, PublicKey, Signature, digest, record};

/// Signed by each owner of a locked note: [`LockOrder`]; its hash is the order id.
pub const ORDER: Domain = Domain::new("tessera/ledger/lock-order/v1");

/// Signed by each owner of a reshaped note: [`Reshaping`].
pub const RESHAPE: Domain = Domain::new("tessera/ledger/reshape/v1");

/// Most notes in one order or reshaping.
pub const MAX_NOTES: usize = 16;

/// Most credits one order may lock (a settlement walks the payword chain once).
pub const MAX_ORDER_CU: u32 = 65_536;

/// Most hosts paid by one settlement.
pub const MAX_FEE_SHARES: usize = 64;

record! {
    /// Tokens per credit.
    pub struct ChunkPrice { pub prompt_tokens: u32, pub generated_tokens: u32 }
}

record! {
    /// The key behind a note's owner hash, with its signature.
    pub struct OwnerProof { pub key: PublicKey, pub signature: Signature }
}

record! {
    /// A note to make.
    pub struct NoteOutput { pub owner: Hash, pub cu: u64 }
}

record! {
    /// Spend notes whole and make others of the same sum: split, merge, transfer.
    pub struct Reshaping {
        pub network: Hash,
        pub inputs: List<Hash, MAX_NOTES>,
        pub outputs: List<NoteOutput, MAX_NOTES>,
    }
}

record! {
    /// A reshaping with the proofs of every input's owner but the sender.
    pub struct Reshape { pub reshaping: Reshaping, pub owners: List<OwnerProof, MAX_NOTES> }
}

record! {
    /// The right to a session, in exchange for notes (ownership specification 3.3).
    pub struct LockOrder {
        pub network: Hash,
        pub run: Hash,
        pub series: u16,
        /// Strictly ascending.
        pub notes: List<Hash, MAX_NOTES>,
        /// Their sum.
        pub cu: u32,
        pub session_key: PublicKey,
        /// w_0 of the payword chain ([`crate::payword`]).
        pub payword_root: Hash,
        /// Most nano-U per credit for the hosts.
        pub fee_per_cu: u128,
        /// Last height of the session.
        pub open_until: u64,
        /// Owner hash of the change note.
        pub refund_to: Hash,
        pub salt: u64,
    }
}

record! {
    /// Lock notes for a session; the sender escrows `cu * fee_per_cu`. Proofs of every owner but the sender.
    pub struct LockNotes { pub order: LockOrder, pub owners: List<OwnerProof, MAX_NOTES> }
}

record! {
    /// Nano-U for one host.
    pub struct FeeShare { pub host: PublicKey, pub amount: u128 }
}

record! {
    /// State that `chunks` chunks were delivered, proved by the payword, and who served them.
    pub struct SettleSession {
        pub order: Hash,
        pub chunks: u32,
        /// w_j with j = `chunks`.
        pub payword: Hash,
        /// Hosts to pay, strictly ascending; at most `fee_per_cu * chunks` together.
        pub hosts: List<FeeShare, MAX_FEE_SHARES>,
    }
}

record! {
    /// Replace a posted settlement by one of more chunks.
    pub struct RaiseSettle {
        pub order: Hash,
        pub chunks: u32,
        pub payword: Hash,
        pub hosts: List<FeeShare, MAX_FEE_SHARES>,
    }
}

record! {
    /// Make a settlement final once it can no longer be raised (an epoch boundary does it too).
    pub struct FinalizeSession { pub order: Hash }
}

record! {
    /// Return the notes of a lock that ran out unused (an epoch boundary does it too).
    pub struct ExpireLock { pub order: Hash }
}

impl LockOrder {
    /// The order id.
    pub fn id(&self) -> Hash {
        digest(ORDER, self)
    }
}
