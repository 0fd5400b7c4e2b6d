//! Name every cell: the hash of what it is and whose it is, so that no two kinds of cell can meet.
//!
//! Every room names its own cells. Classes of cells and numbers of lists are ranges: accounts 1, runs 10,
//! ownership 30, credits 40, market 60, trust 80, governance 100, extraction 120, machine 240.

use crate::cell::Key;
use tessera_canon::{Domain, Hash, digest};

pub use crate::{
    accounts::keys::*, credits::keys::*, extraction::keys::*, governance::keys::*, machine::keys::*,
    market::keys::*, ownership::keys::*, runs::keys::*, trust::keys::*,
};

const KEY: Domain = Domain::new("tessera/ledger/key/v1");
pub(crate) const LIST: Domain = Domain::new("tessera/ledger/list/v1");

/// The name of a cell of `class` that is told from others of its class by `ids`.
pub(crate) fn key<T: tessera_canon::codec::Encode>(class: u8, ids: T) -> Key {
    digest(KEY, &(class, Hash(*blake3::hash(&ids.encode()).as_bytes())))
}
