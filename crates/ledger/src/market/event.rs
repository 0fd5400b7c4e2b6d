//! Tell what happened to markets.

use tessera_canon::{Hash, PublicKey, record};

record! {
    pub struct OfferPosted { pub offer: Hash, pub run: Hash, pub cu: u64, pub price: u128 }
}

record! {
    pub struct OfferCancelled { pub offer: Hash, pub cu: u64 }
}

record! {
    pub struct Sold { pub offer: Hash, pub run: Hash, pub buyer: PublicKey, pub seller: PublicKey, pub cu: u64, pub price: u128 }
}
