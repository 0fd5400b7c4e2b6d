//! Tell what happened to the machine itself.

use tessera_canon::{Hash, PublicKey, Text, record};

record! {
    /// A transaction was included but refused.
    pub struct TxRefused { pub tx: Hash, pub sender: PublicKey, pub reason: Text<256> }
}
