//! List what an account can do with markets.

use tessera_canon::{Domain, Hash, List, PublicKey, choice, digest, record, tags};

/// What a sealed order commits to: its owner, its terms and a secret.
pub const SEAL: Domain = Domain::new("tessera/ledger/order-seal/v1");

/// Most notes that one order sells; merge them first.
pub const MAX_ORDER_NOTES: usize = 6;

/// Most runs in one basket.
pub const MAX_BASKET: usize = 16;

tags! {
    /// What is traded.
    pub enum Asset {
        /// Credits of a series, whole.
        0 => Cu,
        /// Active shares.
        1 => Share,
    }
}
tags! {
    /// Which way an order trades.
    pub enum Side { 0 => Bid, 1 => Ask }
}
record! {
    /// A market. `series` is 0 for shares.
    pub struct MarketId { pub asset: Asset, pub run: Hash, pub series: u16 }
}
record! {
    /// What an order wants, sealed until the reveal phase.
    pub struct OrderTerms {
        pub side: Side,
        /// Most (bid) or least (ask) nano-U for a unit; at least 1.
        pub limit: u128,
        pub quantity: u128,
        /// Owner hash of the note that a bid for credits buys; anything for other orders.
        pub to: Hash,
    }
}
record! {
    /// U behind a bid: at least limit x quantity; more hides the size.
    pub struct MoneyCollateral { pub amount: u128 }
}
record! {
    /// The sender's notes behind an ask, strictly ascending.
    pub struct NoteCollateral { pub notes: List<Hash, MAX_ORDER_NOTES> }
}
record! {
    /// The sender's active, movable shares behind an ask.
    pub struct ShareCollateral { pub amount: u128 }
}
choice! {
    /// What is escrowed with an order; excess comes back when the batch is cleared.
    pub enum Collateral { 0 => Money(MoneyCollateral), 1 => Notes(NoteCollateral), 2 => Shares(ShareCollateral) }
}
record! {
    /// Put a sealed order into the current batch of a market; its id is the transaction's.
    pub struct OrderCommit { pub market: MarketId, pub seal: Hash, pub collateral: Collateral }
}
record! {
    /// Open the sender's sealed order in the second half of its batch.
    pub struct OrderReveal { pub order: Hash, pub terms: OrderTerms, pub salt: Hash }
}
record! {
    /// Withdraw the sender's order in the first half of its batch. The transaction's fee is all it costs.
    pub struct OrderCancel { pub order: Hash }
}
record! {
    /// Active shares of one run.
    pub struct BasketPart { pub run: Hash, pub amount: u128 }
}
record! {
    /// Move active shares of several runs, all or none. Strictly ascending by run.
    pub struct BasketTransfer { pub parts: List<BasketPart, MAX_BASKET>, pub to: PublicKey }
}
record! {
    /// Let the run's auto-sell pool sell what these shares earn; votes stay with the sender.
    pub struct AutoSellWrap { pub run: Hash, pub amount: u128 }
}
record! {
    /// Take shares back from the auto-sell pool.
    pub struct AutoSellUnwrap { pub run: Hash, pub amount: u128 }
}
record! {
    /// Pay out the U that the sender's shares earned: by auto-sell, and from runs that descend from this one.
    pub struct ClaimProceeds { pub run: Hash }
}
record! {
    /// Offer to serve up to `capacity` credits an epoch in the sender's stage at `price` nano-U for each.
    pub struct HostAsk { pub run: Hash, pub stage: u16, pub price: u128, pub capacity: u64 }
}

impl MarketId {
    /// The hash that stands for the market.
    pub fn id(&self) -> Hash {
        digest(MARKET, self)
    }
}
const MARKET: Domain = Domain::new("tessera/ledger/market/v1");

/// The commitment to `owner`'s order. It names the owner, so that a copied seal cannot be opened by another.
pub fn seal(owner: &PublicKey, terms: &OrderTerms, salt: &Hash) -> Hash {
    digest(SEAL, &(*owner, Sealed { terms: terms.clone(), salt: *salt }))
}
record! {
    struct Sealed { terms: OrderTerms, salt: Hash }
}
