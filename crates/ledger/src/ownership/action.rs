//! List what an account can do with shares and what they earn.

use tessera_canon::{Hash, PublicKey, record};

record! {
    /// Move active shares.
    pub struct TransferShares { pub run: Hash, pub to: PublicKey, pub amount: u128 }
}

record! {
    /// Turn the sender's due credits into a note for `to` (an owner hash).
    pub struct ClaimCredits { pub run: Hash, pub to: Hash }
}
