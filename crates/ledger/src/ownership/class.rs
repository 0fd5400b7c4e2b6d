//! Name the account that holds shares of a forked run for all owners of its parent. It has no key: nobody signs for it.

use tessera_canon::{Domain, Hash, PublicKey, digest};

const CLASS: Domain = Domain::new("tessera/ledger/parent-class/v1");

/// The account of `parent`'s owners, as a class, in `child`.
pub fn class_account(parent: &Hash, child: &Hash) -> PublicKey {
    PublicKey(digest(CLASS, &(*parent, *child)).0)
}
