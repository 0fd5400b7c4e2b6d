//! Name the cells of markets, and the accounts without a key that hold shares for others.

use crate::{
    cell::Key,
    keys::{LIST, key},
    market::action::Asset,
};
use tessera_canon::{Domain, Hash, PublicKey, digest};

const ESCROW: Domain = Domain::new("tessera/ledger/share-escrow/v1");
const AUTO_SELL: Domain = Domain::new("tessera/ledger/auto-sell/v1");
const AUTO_SELL_ORDER: Domain = Domain::new("tessera/ledger/auto-sell-order/v1");
const FUND: Domain = Domain::new("tessera/ledger/public-fund/v1");

/// [`crate::record::MarketOrder`].
pub fn order(id: &Hash) -> Key {
    key(60, *id)
}
/// [`crate::record::OrderNotes`].
pub fn order_notes(order: &Hash) -> Key {
    key(61, *order)
}
/// [`crate::record::Batch`] of the market with this id.
pub fn batch(market: &Hash, batch: u64) -> Key {
    key(62, (*market, batch))
}
/// [`crate::record::PriceHead`].
pub fn price_head(asset: Asset, run: &Hash) -> Key {
    key(63, (asset, *run))
}
/// [`crate::record::PricePart`], 0 to 7.
pub fn price_part(asset: Asset, run: &Hash, part: u8) -> Key {
    key(64, (asset, *run, part))
}
/// [`crate::record::AutoSell`].
pub fn auto_sell(run: &Hash) -> Key {
    key(65, *run)
}
/// [`crate::record::Lot`].
pub fn lot(run: &Hash, version: u32) -> Key {
    key(66, (*run, version))
}
/// [`crate::record::Wrap`].
pub fn wrap(run: &Hash, account: &PublicKey) -> Key {
    key(67, (*run, *account))
}
/// [`crate::record::Proceeds`] of a run, or of [`pool_id`].
pub fn proceeds(of: &Hash) -> Key {
    key(68, *of)
}
/// [`crate::record::OwnerProceeds`].
pub fn owner_proceeds(of: &Hash, account: &PublicKey) -> Key {
    key(69, (*of, *account))
}
/// [`crate::record::HostOffer`].
pub fn host_offer(run: &Hash, stage: u16, account: &PublicKey) -> Key {
    key(70, (*run, stage, *account))
}
/// [`crate::record::MarketParams`].
pub fn market_params() -> Key {
    key(73, 0u8)
}

fn numbered(list: u8, of: &Hash, number: u64) -> Hash {
    digest(LIST, &(list, *of, number))
}
/// Orders of a batch, by id.
pub fn list_of_orders(market: &Hash, batch: u64) -> Hash {
    numbered(60, market, batch)
}
/// Batches to clear at the boundary that opens `epoch`; the ids are keys of [`crate::record::Batch`] cells.
pub fn list_of_clearings(epoch: u64) -> Hash {
    numbered(61, &Hash::ZERO, epoch)
}
/// Hosts' asks of an auction; the ids are keys of [`crate::record::HostOffer`] cells.
pub fn list_of_host_offers(round: u64) -> Hash {
    numbered(62, &Hash::ZERO, round)
}

/// The account that holds the shares of an ask; what they earn meanwhile goes to the seller.
pub fn escrow_account(order: &Hash) -> PublicKey {
    PublicKey(digest(ESCROW, order).0)
}
/// The account that holds the shares of a run's auto-sell pool.
pub fn auto_sell_account(run: &Hash) -> PublicKey {
    PublicKey(digest(AUTO_SELL, run).0)
}
/// The id of the ask of a holder without a key in a batch.
pub fn auto_sell_order(holder: &PublicKey, market: &Hash, batch: u64) -> Hash {
    digest(AUTO_SELL_ORDER, &(*holder, *market, batch))
}
/// The name under which a pool's wrappers share what their run's descendants earn.
pub fn pool_id(run: &Hash) -> Hash {
    Hash(auto_sell_account(run).0)
}
/// The public fund as a wrapper of auto-sell pools: it gets the shares that sellers forfeit.
pub fn fund_account() -> PublicKey {
    PublicKey(digest(FUND, &0u8).0)
}
