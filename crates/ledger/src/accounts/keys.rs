//! Name the cells of accounts, balances and validators.

use crate::{
    cell::Key,
    keys::{LIST, key},
};
use tessera_canon::{Hash, PublicKey, digest};

/// [`crate::record::Globals`].
pub fn globals() -> Key {
    key(1, 0u8)
}

/// [`crate::genesis::Params`].
pub fn params() -> Key {
    key(2, 0u8)
}

/// [`crate::record::NetworkPolicy`].
pub fn defaults() -> Key {
    key(5, 0u8)
}
/// [`crate::record::Account`].
pub fn account(of: &PublicKey) -> Key {
    key(3, *of)
}

/// [`crate::record::Validator`] number `index`.
pub fn validator(index: u32) -> Key {
    key(4, index)
}
/// [`crate::genesis::SecurityTerms`].
pub fn security() -> Key {
    key(6, 0u8)
}
/// [`crate::record::Bond`].
pub fn validator_bond(account: &PublicKey) -> Key {
    key(7, *account)
}
/// [`crate::record::ValidatorKey`] of a consensus key.
pub fn validator_key(consensus: &PublicKey) -> Key {
    key(8, *consensus)
}
/// [`crate::record::ValidatorSet`] of this epoch.
pub fn validator_set() -> Key {
    key(9, 0u8)
}
/// [`crate::record::ValidatorTotals`].
pub fn validator_totals() -> Key {
    key(9, 1u8)
}
/// [`crate::record::Issuance`].
pub fn issuance() -> Key {
    key(9, 2u8)
}
/// [`crate::record::AuditBudget`].
pub fn audit_budget(run: &Hash) -> Key {
    key(9, (3u8, *run))
}
/// [`crate::record::AuditCount`].
pub fn audit_count(run: &Hash, account: &PublicKey) -> Key {
    key(9, (4u8, (*run, *account)))
}
/// [`crate::record::SignerTerms`].
pub fn signer_terms(account: &PublicKey) -> Key {
    key(9, (5u8, *account))
}
/// [`crate::record::SignerTerm`] number `number` of an account.
pub fn signer_term(account: &PublicKey, number: u32) -> Key {
    key(9, (6u8, (*account, number)))
}
/// Accounts with a bond; the ids are their keys.
pub fn list_of_bonds() -> Hash {
    digest(LIST, &(1u8, Hash::ZERO))
}
/// Auditors with an accepted audit since the last epoch boundary; the ids are keys of [`crate::record::AuditCount`] cells.
pub fn list_of_auditors() -> Hash {
    digest(LIST, &(2u8, Hash::ZERO))
}
