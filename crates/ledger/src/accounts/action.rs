//! List what an account can do with accounts, balances and validators.

use tessera_canon::{PublicKey, record};

record! {
    /// Move U.
    pub struct Transfer { pub to: PublicKey, pub amount: u128 }
}
