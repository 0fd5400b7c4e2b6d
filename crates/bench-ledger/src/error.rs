//! Say what kept a measurement from being made.

use std::path::{Path, PathBuf};
use tessera_bench::BenchError;
use tessera_validator::{StartError, committee::CommitteeError, measure::MeasureError};

/// Why there is no result. Stored results are unchanged; processes that were started have been ended.
#[derive(Debug, thiserror::Error)]
pub enum LedgerBenchError {
    /// A flag has a value it cannot have.
    #[error("--{flag}: expected {expected}, got {got}")]
    Flag { flag: &'static str, expected: &'static str, got: String },
    /// The disk, a socket or a pipe failed.
    #[error("cannot {action}: {cause}")]
    Io { action: String, cause: std::io::Error },
    /// A process that was started ended or said something unexpected.
    #[error("{what}: expected {expected}, got {got}; its messages are in {}", log.display())]
    Child { what: String, expected: &'static str, got: String, log: PathBuf },
    /// A validator did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The committee cannot be dealt.
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    /// The large state failed.
    #[error(transparent)]
    State(#[from] MeasureError),
    /// Not every transaction that was taken became final.
    #[error(
        "{lost} of {taken} transactions that were taken are not final at every validator {seconds} s after the last was offered; that is a fault of the ledger, or the machine is far too busy"
    )]
    Lost { lost: usize, taken: usize, seconds: u64 },
    /// Comparing or storing failed.
    #[error(transparent)]
    Report(#[from] BenchError),
}

impl LedgerBenchError {
    /// The error of `action`, to be filled with its cause.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |cause| Self::Io { action, cause }
    }
    /// The error of doing something with `path`.
    pub(crate) fn at(action: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        Self::io(format!("{action} {}", path.display()))
    }
}
