//! Tell what happened to accounts, balances and validators.

use crate::accounts::record::BondState;
use tessera_canon::{Hash, PublicKey, record};

record! {
    /// A fee left the sender.
    pub struct FeePaid { pub payer: PublicKey, pub amount: u128 }
}

record! {
    /// U moved between accounts.
    pub struct Transferred { pub from: PublicKey, pub to: PublicKey, pub amount: u128 }
}
record! {
    /// `key` signs for `account` from height `from` on.
    pub struct KeyRotated { pub account: PublicKey, pub key: PublicKey, pub from: u64 }
}
record! {
    /// A bond grew, began to leave, or was paid back; `amount` is what is bonded then.
    pub struct BondChanged { pub account: PublicKey, pub key: PublicKey, pub state: BondState, pub amount: u128 }
}
record! {
    pub struct BondReleased { pub account: PublicKey, pub amount: u128 }
}
record! {
    /// A validator lost its bond: `reward` to the reporter, the rest to the public fund.
    pub struct ValidatorSlashed { pub account: PublicKey, pub amount: u128, pub reporter: PublicKey, pub reward: u128 }
}
record! {
    /// The set of an epoch, where it differs from the one before.
    pub struct ValidatorSetChanged { pub epoch: u64, pub size: u32, pub bonded: u128, pub root: Hash }
}
record! {
    /// What the schedule allowed in an epoch, and what was issued of it to validators, auditors, the public fund.
    pub struct Issued { pub epoch: u64, pub allowed: u128, pub validators: u128, pub auditors: u128, pub fund: u128 }
}
