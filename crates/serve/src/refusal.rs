//! Name every reason to refuse, with what was expected and what came.

use tessera_canon::{Hash, PublicKey, Text};
use tessera_wire::{
    TensorError,
    serving::{RefusalKind, Refused},
};

/// Why a host did not do what it was asked to. Nothing was computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the proof of the lock does not hold: {reason}; fetch a new proof from a validator of this network"
    )]
    Proof { reason: String },
    #[error("the proof shows no lock of order {order}; lock notes on the ledger first and prove that cell")]
    NoLock { order: Hash },
    #[error("the lock was proved at height {proved}, expected {from} to {to}; fetch a new proof")]
    StaleProof { proved: u64, from: u64, to: u64 },
    #[error("expected an open lock, the order is {got}: its credential is used up; lock another note")]
    Spent { got: &'static str },
    #[error(
        "the order ends at height {open_until}, the height is {height} and {margin} blocks must remain; lock another note"
    )]
    Expired { open_until: u64, height: u64, margin: u64 },
    #[error("expected an order of run {expected}, got one of run {got}")]
    OtherRun { expected: Hash, got: Hash },
    #[error("expected series {expected}, the locked notes are of series {got}")]
    OtherSeries { expected: u16, got: u16 },
    #[error("{problem}: expected {expected}, got {got}")]
    Route { problem: &'static str, expected: String, got: String },
    #[error("expected the session home {expected} that the ledger drew, got {got}")]
    WrongHome { expected: PublicKey, got: PublicKey },
    #[error("the signature of the {what} by {by} does not hold")]
    Signature { what: &'static str, by: PublicKey },
    #[error("expected attempt {expected} of the session, got {got}")]
    Attempt { expected: u16, got: u16 },
    #[error("a session of this order runs here already with another {what}")]
    OtherOpening { what: &'static str },
    #[error("no session of order {order} is open here; open it with the proof of its lock first")]
    UnknownSession { order: Hash },
    #[error("ticket {got} was used already, the next is {expected}")]
    Replayed { expected: u32, got: u32 },
    #[error("expected ticket {expected}, got {got}")]
    OutOfOrder { expected: u32, got: u32 },
    #[error("expected a ticket that continues {expected}, got one that continues {got}")]
    Previous { expected: Hash, got: Hash },
    #[error("the order has {cu} credits, chunk {got} is beyond them; lock another note")]
    Allowance { cu: u32, got: u32 },
    #[error("the payword of chunk {j} is not the next of the order's chain")]
    Payword { j: u32 },
    #[error("expected position {expected} next and none past {end}, got {got} and {rows} rows")]
    Position { expected: u32, end: u32, got: u32, rows: u32 },
    #[error("one credit buys 1 to {max} {what} tokens, the chunk has {got}")]
    ChunkLength { what: &'static str, max: u32, got: u64 },
    #[error("the model attends to {max} positions, the chunk would end at {got}; start a new session")]
    Context { max: u32, got: u64 },
    #[error("{what} must come from {expected}, it came from {got}")]
    Sender { what: &'static str, expected: PublicKey, got: PublicKey },
    #[error(transparent)]
    Shape(#[from] TensorError),
    #[error("token {got} does not exist, the vocabulary has {vocab}")]
    Token { vocab: u32, got: u32 },
    #[error("{max} sessions are open here, which is all this host has room for; try again later")]
    Busy { max: usize },
    #[error(
        "the order was locked at height {locked_at}, this host knows what was served since height {since}; lock another note"
    )]
    BeforeStart { locked_at: u64, since: u64 },
    #[error("the host could not compute: {reason}")]
    Trouble { reason: String },
    #[error("the host of stage {stage} is lost: {reason}")]
    HostLost { stage: u16, reason: String },
}

impl Refusal {
    /// The reason in one byte.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::Proof { .. } => RefusalKind::Proof,
            Self::NoLock { .. } => RefusalKind::NoLock,
            Self::StaleProof { .. } => RefusalKind::StaleProof,
            Self::Spent { .. } => RefusalKind::Spent,
            Self::Expired { .. } => RefusalKind::Expired,
            Self::OtherRun { .. } => RefusalKind::OtherRun,
            Self::OtherSeries { .. } => RefusalKind::OtherSeries,
            Self::Route { .. } => RefusalKind::Route,
            Self::WrongHome { .. } => RefusalKind::WrongHome,
            Self::Signature { .. } => RefusalKind::Signature,
            Self::Attempt { .. } | Self::OtherOpening { .. } => RefusalKind::Attempt,
            Self::UnknownSession { .. } => RefusalKind::UnknownSession,
            Self::Replayed { .. } => RefusalKind::Replayed,
            Self::OutOfOrder { .. } | Self::Previous { .. } => RefusalKind::OutOfOrder,
            Self::Allowance { .. } => RefusalKind::Allowance,
            Self::Payword { .. } => RefusalKind::Payword,
            Self::Position { .. } => RefusalKind::Position,
            Self::ChunkLength { .. } => RefusalKind::ChunkLength,
            Self::Context { .. } => RefusalKind::Context,
            Self::Sender { .. } => RefusalKind::Sender,
            Self::Shape(_) | Self::Token { .. } => RefusalKind::Shape,
            Self::Busy { .. } => RefusalKind::Busy,
            Self::BeforeStart { .. } => RefusalKind::BeforeStart,
            Self::Trouble { .. } => RefusalKind::Trouble,
            Self::HostLost { .. } => RefusalKind::HostLost,
        }
    }

    /// Whether the same request may succeed later or elsewhere without a new credential.
    pub fn may_retry(&self) -> bool {
        matches!(
            self.kind(),
            RefusalKind::Proof
                | RefusalKind::StaleProof
                | RefusalKind::Busy
                | RefusalKind::Trouble
                | RefusalKind::HostLost
        )
    }

    /// The message for whoever asked.
    pub fn message(&self, order: Hash, stage: u16) -> Refused {
        let mut text = self.to_string();
        let mut end = text.len().min(512);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        Refused { order, stage, kind: self.kind(), text: Text::new(text).unwrap_or_default() }
    }
}
