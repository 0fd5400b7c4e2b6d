//! Name the cells of shares and what they earn.

use crate::{
    cell::Key,
    keys::{LIST, key},
};
use tessera_canon::{Hash, PublicKey, digest};

/// [`crate::record::Credits`]: shares and credits in total.
pub fn credits(run: &Hash) -> Key {
    key(30, *run)
}

/// [`crate::record::Claim`] number `index` of a stage report.
pub fn claim(run: &Hash, window: u32, stage: u16, index: u16) -> Key {
    key(31, (*run, (window, (stage, index))))
}

/// [`crate::record::Owner`]: an account's shares in a run.
pub fn owner(run: &Hash, account: &PublicKey) -> Key {
    key(32, (*run, *account))
}

/// Runs in which an account has shares, by run id.
pub fn list_of_holdings(account: &PublicKey) -> Hash {
    digest(LIST, &(30u8, Hash(account.0)))
}

/// [`crate::record::Vesting`]: what the transfer lock holds of an owner's shares.
pub fn vesting(run: &Hash, account: &PublicKey) -> Key {
    key(33, (*run, *account))
}

/// [`crate::record::Unlocking`].
pub fn unlocking(run: &Hash) -> Key {
    key(34, *run)
}

/// Claims of a run that a dispute kept from maturing with their window; the ids are their keys.
pub fn list_of_ripe(run: &Hash) -> Hash {
    digest(LIST, &(31u8, *run))
}
