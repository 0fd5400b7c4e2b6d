//! Name the cells of markets.

use crate::{
    cell::Key,
    keys::{LIST, key},
};
use tessera_canon::{Hash, digest};

/// [`crate::record::Offer`].
pub fn offer(id: &Hash) -> Key {
    key(60, *id)
}

/// Open offers of a run, by id.
pub fn list_of_offers(run: &Hash) -> Hash {
    digest(LIST, &(60u8, *run))
}
