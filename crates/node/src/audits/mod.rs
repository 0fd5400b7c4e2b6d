//! Keep what this participant's seats audited, and tell what the ledger holds of a run's audits and disputes.
//!
//! [`record`] is one's own book: a line for each audit, with the digests that were compared and the proof that the unit
//! was anchored, so that it can be checked against the ledger long afterwards. [`trail`] reads the ledger: anchors,
//! disputes message by message, penalties and rollbacks, each proved. Nothing here decides anything.

pub mod record;
pub mod trail;
