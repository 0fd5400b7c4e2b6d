//! Tell what happened to accounts, balances and validators.

use tessera_canon::{PublicKey, record};

record! {
    /// A fee left the sender.
    pub struct FeePaid { pub payer: PublicKey, pub amount: u128 }
}

record! {
    /// U moved between accounts.
    pub struct Transferred { pub from: PublicKey, pub to: PublicKey, pub amount: u128 }
}
