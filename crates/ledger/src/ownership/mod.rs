//! Hold shares and pay what they earn.

pub mod accumulator;
pub mod action;
pub mod event;
pub mod keys;
pub mod record;
pub(crate) mod shares;

use tessera_canon::{Domain, Hash, PublicKey, digest};

const CLASS: Domain = Domain::new("tessera/ledger/class-account/v1");

/// The account without a key that holds shares of `child` for all owners of `parent`.
pub fn class_account(parent: &Hash, child: &Hash) -> PublicKey {
    PublicKey(digest(CLASS, &(*parent, *child)).0)
}
