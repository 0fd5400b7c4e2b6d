//! Refuse a request in one form: what was expected, what came, what to do.

use crate::LedgerError;
use serde_json::{Value, json};

/// Longest part of a request that a refusal repeats.
const MAX_GOT: usize = 128;

/// Why a request was not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{error}: expected {expected}, got {got}; {todo}")]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Its name, for programs.
    pub error: &'static str,
    pub expected: String,
    pub got: String,
    pub todo: String,
}

/// `text` or its beginning.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_GOT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

impl Problem {
    /// A refusal.
    pub fn new(
        status: u16,
        error: &'static str,
        expected: impl Into<String>,
        got: &str,
        todo: impl Into<String>,
    ) -> Self {
        Self { status, error, expected: expected.into(), got: cut(got), todo: todo.into() }
    }
    /// The body that says so.
    pub fn json(&self) -> Value {
        let Self { error, expected, got, todo, .. } = self;
        json!({ "error": error, "expected": expected, "got": got, "todo": todo })
    }
    pub(super) fn no_route(path: &str) -> Self {
        Self::new(404, "no_route", "a path of /openapi.json", path, "see GET /openapi.json for all of them")
    }
    pub(super) fn method(path: &str, posted: bool) -> Self {
        let (expected, got) = if posted { ("GET", "POST") } else { ("POST", "GET") };
        Self::new(405, "method", expected, got, format!("ask {path} with {expected}"))
    }
    pub(super) fn argument(name: &str, expected: &str, got: &str) -> Self {
        let expected = format!("{name} to be {expected}");
        Self::new(400, "argument", expected, got, "correct the request; see GET /openapi.json")
    }
    pub(super) fn absent(path: &str) -> Self {
        let todo = "check the id; what was added a moment ago may need another block";
        Self::new(404, "absent", "something on the ledger", path, todo)
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        let text = error.to_string();
        let (status, name, expected, todo) = match &error {
            LedgerError::NotHere { .. } => {
                (404, "absent", "something on the ledger", "check the id; a new one may need another block")
            }
            LedgerError::Rejected { .. } => {
                (422, "rejected", "a transaction that a block can include", "correct it and sign it again")
            }
            LedgerError::TooMany { .. } => {
                (413, "too_many", "fewer values at once", "ask for a smaller page")
            }
            LedgerError::Wrong { .. } | LedgerError::Forked { .. } | LedgerError::Older { .. } => (
                502,
                "unproved",
                "an answer that its proof supports",
                "ask again: another validator is tried",
            ),
            _ => (503, "unavailable", "an answer of a validator", "ask again later"),
        };
        let mut problem = Self::new(status, name, expected, "", todo);
        // Our own text, longer than what is repeated of a request.
        problem.got = text;
        problem
    }
}
