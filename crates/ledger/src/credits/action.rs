//! List what an account can do with notes and sessions.

use crate::{
    action::MAX_STAGES,
    credits::{
        params::MAX_ATTEMPTS,
        ticket::{SignedRoute, SignedTicket},
    },
};
use tessera_canon::{Domain, Hash, List, PublicKey, Signature, choice, digest, record};

/// Signed by each owner of a locked note: [`LockOrder`]; its hash is the order id.
pub const ORDER: Domain = Domain::new("tessera/ledger/lock-order/v1");

/// Signed by each owner of a reshaped note: [`Reshaping`].
pub const RESHAPE: Domain = Domain::new("tessera/ledger/reshape/v1");

/// Most notes in one order or reshaping.
pub const MAX_NOTES: usize = 16;

/// Most credits one order may lock (a settlement walks the payword chain once).
pub const MAX_ORDER_CU: u32 = 65_536;

/// Signed by the session key of an order: [`FailoverRequest`].
pub const FAILOVER: Domain = Domain::new("tessera/ledger/failover/v1");

/// Signed by a validator: [`Refusal`].
pub const REFUSAL: Domain = Domain::new("tessera/ledger/refusal/v1");

/// Signed by a validator: [`SessionJudgement`].
pub const JUDGEMENT: Domain = Domain::new("tessera/ledger/session-judgement/v1");

/// Most validators that sign one statement.
pub const MAX_WITNESSES: usize = 128;

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
    /// The client's wish for another home: what was delivered of chunks past `j_start` is the next home's work.
    pub struct FailoverRequest { pub network: Hash, pub order: Hash, pub attempt: u16, pub j_start: u32 }
}

record! {
    /// Hand a session on to another home; signed by the order's session key, sent by anybody.
    pub struct Failover { pub request: FailoverRequest, pub signature: Signature }
}

record! {
    /// Who served an attempt, one host per stage. Which chunks they were follows from the session's failovers.
    pub struct Leg { pub attempt: u16, pub hosts: List<PublicKey, MAX_STAGES> }
}

record! {
    /// State that `chunks` chunks were delivered, proved by the payword, and who served them. The hosts' pay is
    /// the posted price of their stage for each chunk. The sender posts a bond.
    pub struct SettleSession {
        pub order: Hash,
        pub chunks: u32,
        /// w_j with j = `chunks`.
        pub payword: Hash,
        /// Ascending by attempt.
        pub legs: List<Leg, MAX_ATTEMPTS>,
    }
}

record! {
    /// Replace a posted settlement: by more chunks, or by the hosts of an attempt as its home named them.
    pub struct RaiseSettle {
        pub order: Hash,
        pub chunks: u32,
        pub payword: Hash,
        /// Hosts of attempts whose home the sender is; they replace what others said.
        pub legs: List<Leg, MAX_ATTEMPTS>,
        /// The home's word for the hosts of one attempt.
        pub route: Option<SignedRoute>,
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

record! {
    /// Move the sender's note of the series before the current one into the current one, for a part of it.
    pub struct RollNote { pub note: Hash }
}

record! {
    /// Doubt a chunk that one stage computed for the sender's session; the bond is `CreditRules::dispute_bond`.
    pub struct DisputeSession {
        pub order: Hash,
        /// From 1.
        pub chunk: u32,
        pub stage: u16,
        /// To the activations that went in and came out.
        pub commitment: Hash,
    }
}

record! {
    /// What an audit of a disputed session found; under [`JUDGEMENT`].
    pub struct SessionJudgement { pub network: Hash, pub order: Hash, pub guilty: bool }
}

record! {
    /// A validator's signature.
    pub struct Witness { pub validator: u32, pub signature: Signature }
}

record! {
    /// End a session's dispute by the word of more than two thirds of the validators, ascending by index.
    pub struct JudgeSession { pub judgement: SessionJudgement, pub witnesses: List<Witness, MAX_WITNESSES> }
}

record! {
    /// Two tickets of one number.
    pub struct TwoTickets { pub a: SignedTicket, pub b: SignedTicket }
}

record! {
    /// Two routes of one attempt.
    pub struct TwoRoutes { pub a: SignedRoute, pub b: SignedRoute }
}

choice! {
    /// Two statements of which a home may sign one.
    pub enum Equivocation { 0 => Tickets(TwoTickets), 1 => Routes(TwoRoutes) }
}

record! {
    /// Show that a home signed two different tickets of one number, or two routes of one attempt.
    pub struct ReportHomeEquivocation { pub evidence: Equivocation }
}

record! {
    /// An order and the signature of the owner of one of its notes.
    pub struct SignedOrder { pub order: LockOrder, pub owner: OwnerProof }
}

record! {
    /// Show that a note's owner signed two orders over it that could both be locked now.
    pub struct ReportClientEquivocation { pub note: Hash, pub a: SignedOrder, pub b: SignedOrder }
}

record! {
    /// A validator relayed a valid opening to a session's home, which refused it; under [`REFUSAL`].
    pub struct Refusal { pub network: Hash, pub order: Hash, pub attempt: u16, pub host: PublicKey, pub height: u64 }
}

record! {
    /// Report that a home refused a session, by the word of two validators.
    pub struct ReportRefusal { pub refusal: Refusal, pub witnesses: List<Witness, MAX_WITNESSES> }
}

record! {
    /// Ask for a note of a run's public lane for `owner` (an owner hash); the deposit is returned at the lottery.
    pub struct PublicApply { pub run: Hash, pub owner: Hash }
}

record! {
    /// Add `bond` nano-U to the sender's bond as a host, and state how many credits per epoch it covers from now on.
    pub struct HostBond { pub run: Hash, pub cu: u64, pub bond: u128 }
}

record! {
    /// Offer no capacity any more; the bond comes free after the run's pending windows, counted in epochs.
    pub struct HostExit { pub run: Hash }
}

impl LockOrder {
    /// The order id.
    pub fn id(&self) -> Hash {
        digest(ORDER, self)
    }
}
