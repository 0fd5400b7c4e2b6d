//! Name the cells of accounts, balances and validators.

use crate::{cell::Key, keys::key};
use tessera_canon::PublicKey;

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
