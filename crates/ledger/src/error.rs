//! Say why a transaction was refused: what was expected, what came.

use tessera_canon::{Hash, PublicKey};

/// Why a transaction was refused. The first group makes it impossible to include the transaction in a block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TxError {
    #[error("the transaction is for network {got}, this is {expected}")]
    WrongNetwork { expected: Hash, got: Hash },
    #[error("the signature is not {sender}'s over this transaction")]
    BadSignature { sender: PublicKey },
    #[error("the sender's next nonce is {expected}, the transaction has {got}")]
    WrongNonce { expected: u64, got: u64 },
    #[error("a transaction takes at most {max} bytes, this one {got}")]
    TooBig { max: usize, got: usize },
    #[error("the fee must be at least {expected} nano-U, {got} were offered")]
    FeeTooSmall { expected: u128, got: u128 },
    #[error("the balance of {got} nano-U does not cover the fee of {expected}")]
    FeeFunds { expected: u128, got: u128 },

    #[error("{needed} nano-U are needed, the balance is {got}")]
    Funds { needed: u128, got: u128 },
    #[error("{what} must be {expected}, got {got}")]
    Parameter { what: &'static str, expected: String, got: String },
    #[error("{what} {id} exists already")]
    Duplicate { what: &'static str, id: String },
    #[error("{what} {id} is not on the ledger")]
    Unknown { what: &'static str, id: String },
    #[error("run {run} must be {expected} for this, it is {got}")]
    RunState { run: Hash, expected: &'static str, got: &'static str },
    #[error("only designers may join while the run is exclusive; {got} is none")]
    NotDesigner { got: PublicKey },
    #[error("{account} holds no place in this run{detail}")]
    NotMember { account: PublicKey, detail: &'static str },
    #[error("the account is {got} in this run already")]
    AlreadyMember { got: &'static str },
    #[error("every seat that this account may hold is taken ({held} of {seats})")]
    NoSeat { held: u32, seats: u32 },
    #[error("the endpoint must be an address like 127.0.0.1:4000, got {got:?}")]
    Endpoint { got: String },
    #[error("the seat was heard of {silent} blocks ago; it lapses after {needed}")]
    NotSilent { silent: u64, needed: u64 },
    #[error("the next report is for window {expected}, this one is for {got}")]
    WindowOrder { expected: u32, got: u32 },
    #[error("the report accounts for {got} microbatches, the window has {expected}")]
    WorkSum { expected: u64, got: u64 },
    #[error("{what} must be strictly ascending; item {at} is not")]
    NotAscending { what: &'static str, at: usize },
    #[error("a quorum takes {expected} signatures of held seats, {got} are valid")]
    Quorum { expected: u32, got: u32 },
    #[error("the signature of seat {seat} does not hold for this report")]
    SeatSignature { seat: u16 },
    #[error("{what} is for network {got}, this is {expected}")]
    SignedForOtherNetwork { what: &'static str, expected: Hash, got: Hash },
    #[error("there are {got} active shares, {needed} are needed")]
    Shares { needed: u128, got: u128 },
    #[error("no credit is due")]
    NothingDue,
    #[error("note {note} is spent (by {by})")]
    Spent { note: Hash, by: Hash },
    #[error("note {note} is locked by order {order}")]
    Locked { note: Hash, order: Hash },
    #[error("note {note} is on offer {offer}")]
    Offered { note: Hash, offer: Hash },
    #[error("note {note} has no valid proof of its owner {owner}")]
    NotOwner { note: Hash, owner: Hash },
    #[error("the notes must be of one run and series; note {note} is not")]
    Mixed { note: Hash },
    #[error("the {what} must sum to {expected}, they sum to {got}")]
    Sum { what: &'static str, expected: u128, got: u128 },
    #[error("only {expected} may do this, {got} sent it")]
    Role { expected: String, got: PublicKey },
    #[error("{got} credits are left of the {wanted} wanted")]
    OfferTooSmall { wanted: u64, got: u64 },
    #[error("the price is {price} nano-U per credit, above the limit of {limit}")]
    Price { limit: u128, price: u128 },
    #[error("series {got} is not live; the run is in series {expected}")]
    Series { expected: u16, got: u16 },
    #[error("the lock must end after height {from} and by {to}, got {got}")]
    OpenUntil { from: u64, to: u64, got: u64 },
    #[error("no seat of stage 0 is held, so no host can be the session's home")]
    NoHome,
    #[error("the order is {got}, it must be {expected}")]
    OrderState { expected: &'static str, got: &'static str },
    #[error("{got} chunks were stated, the order covers 1 to {max}")]
    Chunks { max: u32, got: u32 },
    #[error("hashing the payword {chunks} times does not give the order's root")]
    Payword { chunks: u32 },
    #[error("a higher settlement than {settled} chunks is needed, got {got}")]
    NotBetter { settled: u32, got: u32 },
    #[error("{what} was possible until height {until}, this is {now}")]
    Late { what: &'static str, until: u64, now: u64 },
    #[error("{what} is possible after height {after}, this is {now}")]
    Early { what: &'static str, after: u64, now: u64 },
    #[error("{what} went past the largest number the ledger keeps")]
    Overflow { what: &'static str },

    // Runs.
    #[error("the evaluation of window {window} is not over; its phase ends at height {until} at the latest")]
    Evaluating { window: u32, until: u64 },
    #[error("the evaluation must be {expected}, it is {got}")]
    Phase { expected: &'static str, got: &'static str },
    #[error("the reveal hashes to {got}, the commitment is {expected:?}")]
    Reveal { expected: Option<Hash>, got: Hash },
    #[error(
        "the bond is held until {until} windows and epochs have passed, {now} have; {pending} shares are pending"
    )]
    BondLocked { until: u64, now: u64, pending: u128 },
    #[error("the bond stays while the account is {got} in this run; leave it first")]
    BondInUse { got: &'static str },
    #[error("the designers did {got} work units of the {f_min} needed, so the run opens")]
    DesignersDidEnough { f_min: u64, got: u64 },
    #[error("a report without a fee counts only if it takes effect: {reason}")]
    Waived { reason: String },

    // Extraction.
    #[error("a seating takes {needed} operations of verified work, this account has {got} that count")]
    Admission { needed: u128, got: u128 },
    #[error("{operator} did not sign that {account} is an identity of its own")]
    Affiliation { account: PublicKey, operator: PublicKey },
    #[error(
        "all {count} measurements that count have a mu of at least {mu} / 10 000; post a worse one or wait"
    )]
    Measurements { count: usize, mu: u16 },
}

impl TxError {
    /// Whether the transaction may stand in a block (and pay its fee) although it fails.
    pub fn includable(&self) -> bool {
        !matches!(
            self,
            Self::WrongNetwork { .. }
                | Self::BadSignature { .. }
                | Self::WrongNonce { .. }
                | Self::TooBig { .. }
                | Self::FeeTooSmall { .. }
                | Self::FeeFunds { .. }
                | Self::Waived { .. }
        )
    }
    /// Whether the same action may succeed later without being changed.
    pub fn worth_retrying(&self) -> bool {
        matches!(
            self,
            Self::WrongNonce { .. }
                | Self::FeeFunds { .. }
                | Self::Funds { .. }
                | Self::RunState { .. }
                | Self::NoSeat { .. }
                | Self::NotSilent { .. }
                | Self::WindowOrder { .. }
                | Self::Quorum { .. }
                | Self::NothingDue
                | Self::NoHome
                | Self::Early { .. }
                | Self::Evaluating { .. }
                | Self::Phase { .. }
                | Self::BondLocked { .. }
                | Self::Admission { .. }
                | Self::Waived { .. }
        )
    }
}
