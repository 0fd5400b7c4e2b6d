//! List what an account can do with markets.

use tessera_canon::{Hash, record};

record! {
    /// Offer the sender's note at `price` nano-U per credit.
    pub struct PostOffer { pub note: Hash, pub price: u128 }
}

record! {
    /// Withdraw the sender's offer.
    pub struct CancelOffer { pub offer: Hash }
}

record! {
    /// Buy `cu` credits at no more than `max_price` each, as a note for `to` (an owner hash).
    pub struct BuyOffer { pub offer: Hash, pub cu: u64, pub max_price: u128, pub to: Hash }
}
