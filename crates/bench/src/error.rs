//! Say what kept a measurement from being made, compared or stored.

use tessera_arith::ArithError;
use tessera_model::{ModelError, SpecError};

/// Why there is no result. Stored results are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A flag has a value it cannot have.
    #[error("--{flag}: expected {expected}, got {got:?}; {advice}")]
    Flag { flag: &'static str, expected: String, got: String, advice: &'static str },
    /// A flag's text is no value of it; the command line says which flag and which text.
    #[error("expected {expected}; {advice}")]
    Value { expected: String, advice: &'static str },
    /// Sizes that make no model.
    #[error(transparent)]
    Shape(#[from] SpecError),
    /// An operation refused its arguments.
    #[error(transparent)]
    Arithmetic(#[from] ArithError),
    /// A stage refused its arguments.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The disk or a pipe failed.
    #[error("cannot {action} {path}: {cause}")]
    Io { action: &'static str, path: String, cause: std::io::Error },
    /// A file of results that this version cannot read.
    #[error(
        "stored results {path}: expected the JSON that `--store` writes, got: {cause}; move the file away"
    )]
    Stored { path: String, cause: serde_json::Error },
    /// The other program asked for something unknown.
    #[error("standard input: expected a line `run`, or the end, got {got:?}")]
    Request { got: String },
}

impl BenchError {
    /// The error of `action` on `path`, to be filled with its cause.
    pub(crate) fn io(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |cause| Self::Io { action, path, cause }
    }
}
