//! Say what the cells of markets hold.

use tessera_canon::{Hash, PublicKey, record};

record! {
    /// Credits for sale at a posted price.
    pub struct Offer {
        pub id: Hash,
        pub run: Hash,
        pub series: u16,
        pub note: Hash,
        pub seller: PublicKey,
        /// Credits left.
        pub cu: u64,
        /// Nano-U per credit.
        pub price: u128,
    }
}
