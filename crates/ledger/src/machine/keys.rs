//! Name the cells of the machine itself.

use crate::{cell::Key, keys::key};
use tessera_canon::Hash;

/// [`crate::record::ListLength`].
pub fn list_length(list: &Hash) -> Key {
    key(240, *list)
}

/// [`crate::record::ListSlot`].
pub fn list_slot(list: &Hash, at: u64) -> Key {
    key(241, (*list, at))
}

/// [`crate::record::ListPosition`].
pub fn list_position(list: &Hash, id: &Hash) -> Key {
    key(242, (*list, *id))
}
