//! Name the cells of disputes, audits and penalties.

use crate::{
    cell::Key,
    keys::{LIST, key},
};
use tessera_canon::{Hash, PublicKey, digest};

/// [`crate::trust::TrustParams`].
pub fn trust_params() -> Key {
    key(80, 0u8)
}

/// [`crate::record::Conduct`].
pub fn conduct(run: &Hash, account: &PublicKey) -> Key {
    key(81, (*run, *account))
}

/// [`crate::record::Dispute`]; its id is the key of the claim.
pub fn dispute(id: &Hash) -> Key {
    key(83, *id)
}

/// [`crate::record::DisputeLevel`].
pub fn dispute_level(id: &Hash, level: u8) -> Key {
    key(84, (*id, level))
}

/// [`crate::record::DisputeProof`].
pub fn dispute_proof(id: &Hash, at: u16) -> Key {
    key(85, (*id, at))
}

/// [`crate::record::Rollback`] number `generation`, and at 0 the newest.
pub fn rollback(run: &Hash, generation: u32) -> Key {
    key(90, (*run, generation))
}

/// [`crate::record::Panel`].
pub fn panel(id: &Hash) -> Key {
    key(86, *id)
}

/// [`crate::record::AuditVote`].
pub fn audit_vote(panel: &Hash, auditor: &PublicKey) -> Key {
    key(87, (*panel, *auditor))
}

/// [`crate::record::AuditStats`].
pub fn audit_stats(run: &Hash) -> Key {
    key(88, *run)
}

/// [`crate::record::Canary`].
pub fn canary(run: &Hash, window: u32, account: &PublicKey) -> Key {
    key(89, (*run, (window, *account)))
}

/// The id of the panel of a drawn audit of the claim at `claim`.
pub fn audit_id(claim: &Key) -> Hash {
    digest(LIST, &(80u8, *claim))
}

/// Open disputes.
pub fn list_of_disputes() -> Hash {
    digest(LIST, &(81u8, Hash::ZERO))
}

/// Panels to be drawn; the ids are theirs.
pub fn list_of_panels() -> Hash {
    digest(LIST, &(82u8, Hash::ZERO))
}

/// Stage reports of the last block; the ids are keys of [`crate::record::StageReport`] cells.
pub fn list_of_reports() -> Hash {
    digest(LIST, &(83u8, Hash::ZERO))
}

/// Canaries that wait for the beacon; the ids are keys of [`crate::record::Canary`] cells.
pub fn list_of_canaries() -> Hash {
    digest(LIST, &(84u8, Hash::ZERO))
}
