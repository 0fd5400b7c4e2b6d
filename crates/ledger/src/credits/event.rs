//! Tell what happened to notes and sessions.

use tessera_canon::{Hash, PublicKey, record};

record! {
    /// Credits were minted into the pool.
    pub struct SupplyChanged { pub run: Hash, pub minted: u64, pub total: u64 }
}

record! {
    pub struct NoteCreated { pub note: Hash, pub run: Hash, pub cu: u64, pub owner: Hash }
}

record! {
    pub struct NoteSpent { pub note: Hash, pub by: Hash }
}

record! {
    pub struct Locked { pub order: Hash, pub run: Hash, pub cu: u32, pub home: PublicKey }
}

record! {
    /// A settlement was posted or raised.
    pub struct Settling { pub order: Hash, pub chunks: u32, pub by: PublicKey }
}

record! {
    /// A session is settled for good: the chunks went to the pool.
    pub struct Settled { pub order: Hash, pub run: Hash, pub chunks: u32, pub fees: u128 }
}

record! {
    pub struct HostPaid { pub order: Hash, pub host: PublicKey, pub amount: u128 }
}

record! {
    pub struct Expired { pub order: Hash, pub run: Hash, pub lock_fee: u64 }
}
