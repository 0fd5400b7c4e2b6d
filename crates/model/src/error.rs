//! Name everything that can go wrong while computing with a stage.

use tessera_arith::ArithError;
use tessera_canon::Hash;

/// Why a computation or a stored state was refused. A refused call changes nothing unless its
/// documentation says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// An operation refused its arguments.
    #[error(transparent)]
    Arithmetic(#[from] ArithError),
    /// The run has no such stage.
    #[error("stage {got} does not exist: the run has {count} stages, counted from 0")]
    NoSuchStage { got: u16, count: u16 },
    /// The stage got the other kind of input, target or call.
    #[error("stage {stage} of {count} {problem}; {advice}")]
    WrongKind { stage: u16, count: u16, problem: &'static str, advice: &'static str },
    /// A tensor of the wrong size.
    #[error("stage {stage}: {what} has {got} values, expected {expected}")]
    Size { stage: u16, what: &'static str, expected: String, got: usize },
    /// A NaN or infinity: the unit of work is void.
    #[error(
        "stage {stage}: {what} holds a NaN or an infinity, so the unit is void; the sender's values or the state are bad"
    )]
    NotFinite { stage: u16, what: &'static str },
    /// Two gradient sums, or a sum and a state, that do not belong together.
    #[error(
        "gradient sum: {what} is {got}, expected {expected}; sums belong to one stage, step and set of exponents"
    )]
    SumMismatch { what: &'static str, expected: String, got: String },
    /// A sum with too many or too few microbatches.
    #[error("gradient sum holds {got} microbatches, expected {expected}")]
    Count { expected: String, got: String },
    /// Bytes that are not what they should be.
    #[error("cannot decode {what}: expected {expected}, got {got}")]
    Decode { what: &'static str, expected: String, got: String },
    /// A stored state whose contents do not have the root it claims.
    #[error(
        "stored state is corrupt: its root is {got}, it claims {expected}; fetch the state from a replica"
    )]
    Corrupt { expected: Hash, got: Hash },
    /// The cache is full.
    #[error(
        "key-value cache: {held} positions held and {more} more asked for, the run's sequences have {limit}; start a new session"
    )]
    CacheFull { held: usize, more: usize, limit: usize },
    /// A cache of another stage or run shape.
    #[error(
        "key-value cache has {got} attention sub-layers, this stage has {expected}; use the cache made for it"
    )]
    WrongCache { expected: usize, got: usize },
    /// A tape of another forward pass.
    #[error("the tape is of {got}, expected {expected}; run backward from the input instead")]
    WrongTape { expected: String, got: String },
    /// The disk failed.
    #[error("{action} {path}: {cause}")]
    Io { action: &'static str, path: String, cause: std::io::Error },
    /// A corpus or microbatch was refused.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
}
