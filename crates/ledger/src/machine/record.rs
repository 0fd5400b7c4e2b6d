//! Say what the cells of the machine itself hold.

use tessera_canon::{Hash, record};

record! {
    /// Length of a list.
    pub struct ListLength { pub list: Hash, pub count: u64 }
}

record! {
    /// An item of a list.
    pub struct ListSlot { pub list: Hash, pub at: u64, pub id: Hash }
}

record! {
    /// Where an item of a list stands.
    pub struct ListPosition { pub list: Hash, pub id: Hash, pub at: u64 }
}
