//! Say what the cells of accounts, balances and validators hold.

use crate::record::Endpoint;
use tessera_canon::{PublicKey, record};

record! {
    /// Money that is on no account. `issued` = sum of balances, escrows and bonds + `fund` + `burned`.
    pub struct Globals { pub issued: u128, pub burned: u128, pub fund: u128 }
}

record! {
    /// An account. Balance in nano-U.
    pub struct Account { pub key: PublicKey, pub balance: u128, pub nonce: u64 }
}

record! {
    /// A validator of the genesis set.
    pub struct Validator { pub index: u32, pub key: PublicKey, pub endpoint: Endpoint }
}
