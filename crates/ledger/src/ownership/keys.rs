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
