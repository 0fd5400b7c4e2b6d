//! Say what the cells of markets hold.

use crate::{
    accumulator::{Part, Pot},
    market::action::{Asset, MAX_ORDER_NOTES, MarketId, OrderTerms},
    record::Wide,
};
use tessera_canon::{Hash, List, PublicKey, record, tags};

record! {
    /// Parameters of the markets. Spans in epochs, ratios in 1/10 000.
    pub struct MarketParams {
        /// Epochs of a batch of credits.
        pub credit_batch: u32,
        /// Epochs of a batch of shares.
        pub share_batch: u32,
        /// Part of the seller's receipts that the network takes (`phi`).
        pub fee: u16,
        /// Part of the collateral that an order loses which is not opened.
        pub forfeit: u16,
        /// Trading batches that a median takes, at most 30.
        pub median_batches: u16,
        /// Epochs between two auctions of hosts' capacity.
        pub host_batch: u32,
        /// Most orders of a batch.
        pub max_orders: u32,
        /// Most nano-U of fees that credits of one run pay in an epoch.
        pub credit_fees: u128,
    }
}
impl Default for MarketParams {
    fn default() -> Self {
        Self {
            credit_batch: 1,
            share_batch: 6,
            fee: 30,
            forfeit: 500,
            median_batches: 30,
            host_batch: 144,
            max_orders: 10_000,
            credit_fees: 1_000_000_000,
        }
    }
}
impl MarketParams {
    /// Values small enough for a demonstration of a few minutes.
    pub fn demo() -> Self {
        Self { share_batch: 2, median_batches: 3, host_batch: 4, max_orders: 1000, ..Self::default() }
    }
    /// Epochs of a batch.
    pub fn batch(&self, asset: Asset) -> u64 {
        let epochs = match asset {
            Asset::Cu => self.credit_batch,
            Asset::Share => self.share_batch,
        };
        u64::from(epochs.max(1))
    }
}
tags! {
    /// What an order escrowed.
    pub enum Held {
        /// Nano-U, counted in the order's cell.
        0 => Money,
        /// Credits in notes that are marked as offered.
        1 => Notes,
        /// Shares, kept by the account [`crate::keys::escrow_account`].
        2 => Shares,
    }
}
record! {
    /// An order of a batch that is not cleared yet.
    pub struct MarketOrder {
        pub id: Hash,
        pub market: MarketId,
        pub batch: u64,
        pub owner: PublicKey,
        pub seal: Hash,
        pub held: Held,
        /// Nano-U, credits or shares.
        pub amount: u128,
        /// Known once it is opened.
        pub terms: Option<OrderTerms>,
    }
}
record! {
    /// Notes that an order sells.
    pub struct OrderNotes { pub order: Hash, pub notes: List<Hash, MAX_ORDER_NOTES> }
}
record! {
    /// A batch that has orders.
    pub struct Batch { pub market: MarketId, pub batch: u64, pub orders: u32 }
}
record! {
    /// The last prices of a run's credits (of the current series) or shares.
    pub struct PriceHead {
        pub asset: Asset,
        pub run: Hash,
        /// Batches with trades so far.
        pub batches: u64,
        pub last: u128,
        /// Median of the last 30 trading batches (fewer at first); absent before `MarketParams::median_batches`.
        pub median: Option<u128>,
        /// Nano-U of fees that credits paid in the epoch `fees_at`.
        pub fees: u128,
        pub fees_at: u64,
    }
}
record! {
    /// What a batch traded. Price in nano-U for a unit.
    pub struct PricePoint { pub epoch: u64, pub price: u128, pub volume: u128 }
}
record! {
    /// Four of the last 32 prices: batch number n stands at n mod 32.
    pub struct PricePart { pub asset: Asset, pub run: Hash, pub part: u8, pub points: List<PricePoint, 4> }
}
record! {
    /// A run's auto-sell pool. Its shares belong to the account [`crate::keys::auto_sell_account`].
    pub struct AutoSell {
        pub run: Hash,
        /// The newest lot, and the one being sold.
        pub version: u32,
        pub front: u32,
        /// Wrapped shares, which count from the next boundary on.
        pub next: u128,
        /// Whether any was wrapped or unwrapped since the last boundary.
        pub changed: bool,
        /// Credits in lots, not sold yet.
        pub unsold: u64,
        /// U for each wrapped share.
        pub pot: Pot,
        /// U that wrappers have not claimed.
        pub held: u128,
    }
}
record! {
    /// Credits that one and the same set of wrappers earned.
    pub struct Lot {
        pub run: Hash,
        pub version: u32,
        /// Shares of that set.
        pub wrapped: u128,
        /// Credits not sold yet.
        pub left: u64,
        /// The pot when the lot was sold out and followed by another.
        pub end: Option<Wide>,
    }
}
record! {
    /// An account's shares in a pool.
    pub struct Wrap {
        pub run: Hash,
        pub account: PublicKey,
        /// Shares that earn from lots up to `pending`; from all lots if it is absent.
        pub counted: u128,
        pub pending: Option<u32>,
        /// Shares now; they earn from lots after `pending`.
        pub now: u128,
        pub part: Part,
        /// Nano-U to claim (besides what the pot has not handed over yet).
        pub due: u128,
    }
}
record! {
    /// U that came in for the owners of `of` (a run, or its pool) from runs that descend from it.
    pub struct Proceeds {
        pub of: Hash,
        pub pot: Pot,
        /// U that was allotted and not claimed.
        pub held: u128,
        /// U that waits for the next boundary.
        pub waiting: u128,
    }
}
record! {
    /// An owner's part of [`Proceeds`].
    pub struct OwnerProceeds { pub of: Hash, pub account: PublicKey, pub part: Part, pub due: u128 }
}
record! {
    /// A host's ask in the next auction of its stage.
    pub struct HostOffer {
        pub run: Hash,
        pub stage: u16,
        pub account: PublicKey,
        pub price: u128,
        pub capacity: u64,
        /// The auction it stands for.
        pub round: u64,
    }
}
