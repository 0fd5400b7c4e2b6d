//! Tell what happened to markets.

use crate::market::action::{MarketId, Side};
use tessera_canon::{Hash, PublicKey, record};

record! {
    pub struct OrderCommitted { pub order: Hash, pub market: MarketId, pub batch: u64, pub by: PublicKey }
}
record! {
    pub struct OrderRevealed { pub order: Hash, pub side: Side, pub limit: u128, pub quantity: u128 }
}
record! {
    /// The escrow went back: the order was withdrawn, or the series died before its batch was cleared.
    pub struct OrderReturned { pub order: Hash }
}
record! {
    /// The order was not opened: `amount` nano-U, credits or shares of the escrow are lost.
    pub struct OrderForfeited { pub order: Hash, pub amount: u128 }
}
record! {
    /// What an order got. `money`: nano-U paid (bid) or received before the fee (ask).
    pub struct OrderFilled { pub order: Hash, pub by: PublicKey, pub side: Side, pub filled: u128, pub money: u128, pub fee: u128 }
}
record! {
    /// A batch was cleared; without trades the price is absent. Fees are those of all sellers.
    pub struct AuctionCleared { pub market: MarketId, pub batch: u64, pub price: Option<u128>, pub volume: u128, pub fees: u128 }
}
record! {
    /// A holder without a key (auto-sell pool, class of a parent run) sold credits; `money` after the fee.
    pub struct AutoSold { pub run: Hash, pub holder: PublicKey, pub cu: u64, pub money: u128 }
}
record! {
    /// Shares went into (`wrapped`) or out of the auto-sell pool.
    pub struct AutoSellChanged { pub run: Hash, pub account: PublicKey, pub amount: u128, pub wrapped: bool }
}
record! {
    pub struct ProceedsClaimed { pub run: Hash, pub account: PublicKey, pub amount: u128 }
}
record! {
    pub struct HostAsked { pub run: Hash, pub stage: u16, pub account: PublicKey, pub price: u128, pub capacity: u64 }
}
record! {
    /// Hosts' capacity was auctioned: a stage's hosts are paid `price` for a credit from now on.
    pub struct StagePriced { pub run: Hash, pub stage: u16, pub price: u128, pub offered: u64, pub needed: u64 }
}
record! {
    /// A fee of `fee` nano-U was paid with `cu` credits, which went to the run's pool.
    pub struct FeePaidInCredits { pub payer: PublicKey, pub run: Hash, pub cu: u64, pub fee: u128 }
}
