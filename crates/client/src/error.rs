//! Say why the ledger could not be read or changed.

use tessera_canon::{Hash, PublicKey};
use tessera_chain::VerifyError;

/// Why a question or a transaction failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Nobody answered.
    #[error(
        "none of the {validators} validators of network {network} answered ({last}); check that they run and that the addresses in the network file are right"
    )]
    NoAnswer { network: Hash, validators: usize, last: String },
    /// What a validator said does not hold.
    #[error("validator {} gave a wrong answer: {cause}", validator.short())]
    Wrong { validator: PublicKey, cause: VerifyError },
    /// A rollback: what a validator showed is older than what was seen before.
    #[error(
        "validator {} showed an old state: expected height {expected} or later, got {got}; it lags, or hides what happened since", validator.short()
    )]
    Older { validator: PublicKey, expected: u64, got: u64 },
    /// Two final headers at one height: more than a third of the committee is dishonest.
    #[error(
        "the committee signed two blocks at height {height}: {expected} was seen before, now {got}; do not use this network, and show both headers to its members"
    )]
    Forked { height: u64, expected: Hash, got: Hash },
    /// No validator's index reaches the state that it shall explain.
    #[error(
        "expected an index of events up to height {expected}, the validator's ends at {got}; it is being built, ask again later"
    )]
    IndexBehind { expected: u64, got: u64 },
    /// Nothing there.
    #[error("{what} is not on the ledger of network {network}")]
    NotHere { what: String, network: Hash },
    /// Cells kept changing while they were read.
    #[error("the ledger moved on {tries} times while {keys} values were read; try again")]
    Moving { tries: usize, keys: usize },
    /// A read asked for ever more keys.
    #[error("a read asked for more than {max} values")]
    TooMany { max: usize },
    /// The sender has no money for the fee.
    #[error("account {account} has {balance} nano-U, the fee is {fee}; fund the account first")]
    Funds { account: PublicKey, balance: u128, fee: u128 },
    /// A validator will never take this transaction.
    #[error("the transaction was not taken: {reason}")]
    Rejected { reason: String },
    /// Other transactions of this account were always quicker.
    #[error(
        "another program sends from account {account} at the same time: {tries} attempts lost the race; stop it or try again"
    )]
    Race { account: PublicKey, tries: usize },
    /// Not in a block in time.
    #[error(
        "transaction {tx} was not included within {seconds} s; the validators may have lost their quorum. It may still be included: look at the account before you repeat it"
    )]
    NotIncluded { tx: Hash, seconds: u64 },
    /// In a block, but nobody remembers what it did.
    #[error(
        "transaction {tx} was included at height {height}, but no validator remembers its outcome; look at what it should have changed"
    )]
    Forgotten { tx: Hash, height: u64 },
    /// The transaction had no effect.
    #[error("the ledger refused the transaction: {reason}")]
    Refused { tx: Hash, height: u64, reason: String },
    /// The system has no randomness.
    #[error("the system gave no random bytes: {cause}")]
    Entropy { cause: String },
}

impl LedgerError {
    /// Whether doing the same again later may succeed.
    pub fn may_retry(&self) -> bool {
        matches!(
            self,
            Self::NoAnswer { .. }
                | Self::Moving { .. }
                | Self::Wrong { .. }
                | Self::Race { .. }
                | Self::Older { .. }
                | Self::IndexBehind { .. }
        )
    }
}
