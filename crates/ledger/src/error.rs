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
    #[error("note {note} is for sale by order {offer}")]
    Offered { note: Hash, offer: Hash },
    #[error("note {note} has no valid proof of its owner {owner}")]
    NotOwner { note: Hash, owner: Hash },
    #[error("the notes must be of one run and series; note {note} is not")]
    Mixed { note: Hash },
    #[error("the {what} must sum to {expected}, they sum to {got}")]
    Sum { what: &'static str, expected: u128, got: u128 },
    #[error("only {expected} may do this, {got} sent it")]
    Role { expected: String, got: PublicKey },
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

    // Accounts, validators and governance.
    #[error("the signature is not {key}'s over this statement")]
    KeySignature { key: PublicKey },
    #[error("the consensus key {key} was slashed")]
    Slashed { key: PublicKey },
    #[error("{what} do not contradict each other")]
    NotConflict { what: &'static str },
    #[error("nobody may vote {what}")]
    Forbidden { what: &'static str },
    #[error("{what} was to change from {old}, it is {now}")]
    Stale { what: &'static str, old: u128, now: u128 },
    #[error("at most {max} {what} are allowed at a time")]
    TooMany { what: &'static str, max: u64 },
    #[error("proposal {proposal} is {got}")]
    Closed { proposal: Hash, got: &'static str },
    #[error("{account} had no votes and no verified work just before block {posted}")]
    NoPower { account: PublicKey, posted: u64 },
    #[error("{account} does not let {got} vote for it")]
    NotDelegate { account: PublicKey, got: PublicKey },
    #[error("{locked} shares have voted and cannot move until the vote ends; {movable} can, not {needed}")]
    VoteLocked { locked: u128, movable: u128, needed: u128 },
    // Trust.
    #[error("{account} is barred from the run until window {until}, this is {now}")]
    Barred { account: PublicKey, until: u64, now: u64 },
    #[error("the claim must be {expected} for this, it is {got}")]
    ClaimState { expected: &'static str, got: &'static str },
    #[error("{needed} shares are to be moved, the transfer lock leaves {movable}")]
    SharesLocked { needed: u128, movable: u128 },
    #[error("the dispute waits for {expected}, this is {got}")]
    Turn { expected: &'static str, got: &'static str },
    #[error("this network has no referee for accusations of kind {kind}, so none is taken")]
    NoReferee { kind: String },
    #[error("the referee cannot judge this step: {reason}")]
    Referee { reason: String },
    #[error("the evidence does not count: {detail}")]
    Evidence { detail: &'static str },
    #[error("level {level} of the dispute: {detail}")]
    Child { level: u8, detail: &'static str },
    #[error(
        "audits that find {audit_rate}/10000, {windows} pending windows and a bond of {bond} claims do not deter fakes"
    )]
    Deterrence { audit_rate: u16, windows: u32, bond: u16 },

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
    // Market.
    #[error("orders can be {got} now; wait until they can be {expected}")]
    AuctionPhase { expected: &'static str, got: &'static str },
    #[error("the batch has {most} orders already; wait for the next one")]
    BookFull { most: u32 },
    #[error("the terms and the salt are not those that order {order} was sealed with")]
    Seal { order: Hash },
    #[error("the order needs {needed} of escrow, it has {got}")]
    Collateral { needed: u128, got: u128 },
    #[error("note {note} is bound to its owner and cannot be sold")]
    NotForSale { note: Hash },
    #[error("the last change of these shares waits until the pool has sold {unsold} older credits")]
    PoolBusy { unsold: u64 },
    #[error("the owners of the run allow at most {most} nano-U, got {got}")]
    Cap { most: u128, got: u128 },
    #[error("note {note} cannot pay the fee: it {problem}")]
    FeeNote { note: Hash, problem: &'static str },
    #[error("the fee takes {expected} credits, {got} are there")]
    FeeCredits { expected: u64, got: u64 },
    #[error("run {run} has no median price yet, so its credits pay no fee")]
    NoMedian { run: Hash },
    #[error("credits of run {run} pay at most {most} nano-U of fees in an epoch, and have")]
    FeeQuota { run: Hash, most: u128 },

    // Credits.
    #[error("note {note} is of series {series}, which has ended; the run is in series {now}")]
    NoteExpired { note: Hash, series: u16, now: u16 },
    #[error("note {note} is bound to its owner and kept as it is")]
    Bound { note: Hash },
    #[error(
        "only notes of the series before the current one, {expected}, can be rolled over; this one is of {got}"
    )]
    NotToRoll { expected: u16, got: u16 },
    #[error("the hosts of all stages cost {posted} nano-U per credit, the order allows {got}")]
    FeeCap { posted: u128, got: u128 },
    #[error("the session key of order {order} did not sign this")]
    SessionSignature { order: Hash },
    #[error("home {home} did not sign this")]
    HomeSignature { home: PublicKey },
    #[error("the attempt must be {expected} and below {most}, got {got}")]
    Attempt { expected: u16, most: u16, got: u16 },
    #[error("the next home begins after chunk {from} at least and {to} at most, got {got}")]
    JStart { from: u32, to: u32, got: u32 },
    #[error(
        "an attempt is served by one host for each of {stages} stages, the home {home} first; {got} are named"
    )]
    LegHosts { stages: u16, home: PublicKey, got: usize },
    #[error("a capacity of {cu} credits per epoch takes a bond of {needed} nano-U, there are {got}")]
    HostBond { cu: u64, needed: u128, got: u128 },
    #[error("the host is leaving; its bond comes free in epoch {until}")]
    HostLeaves { until: u64 },
    #[error("{needed} validators must have signed this, {got} have")]
    Witnesses { needed: usize, got: usize },
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
                | Self::FeeNote { .. }
                | Self::FeeCredits { .. }
                | Self::NoMedian { .. }
                | Self::FeeQuota { .. }
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
                | Self::FeeCap { .. }
                | Self::Early { .. }
                | Self::TooMany { .. }
                | Self::VoteLocked { .. }
                | Self::Barred { .. }
                | Self::SharesLocked { .. }
                | Self::Evaluating { .. }
                | Self::Phase { .. }
                | Self::BondLocked { .. }
                | Self::Admission { .. }
                | Self::Waived { .. }
                | Self::AuctionPhase { .. }
                | Self::BookFull { .. }
                | Self::PoolBusy { .. }
                | Self::FeeCredits { .. }
                | Self::NoMedian { .. }
                | Self::FeeQuota { .. }
        )
    }
}
