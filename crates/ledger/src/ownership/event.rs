//! Tell what happened to shares and what they earn.

use tessera_canon::{Hash, PublicKey, record};

record! {
    /// A claim matured: its shares count.
    pub struct Activated { pub run: Hash, pub window: u32, pub stage: u16, pub account: PublicKey, pub shares: u128 }
}

record! {
    pub struct ClaimVoided { pub run: Hash, pub window: u32, pub stage: u16, pub account: PublicKey, pub shares: u128 }
}

record! {
    /// The pool was allotted to the owners.
    pub struct CreditsDistributed { pub run: Hash, pub cu: u64, pub shares: u128 }
}

record! {
    pub struct CreditsClaimed { pub run: Hash, pub account: PublicKey, pub cu: u64, pub note: Hash }
}

record! {
    pub struct SharesMoved { pub run: Hash, pub from: PublicKey, pub to: PublicKey, pub amount: u128 }
}
