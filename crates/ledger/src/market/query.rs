//! Read what markets did and hold, from any source of cells.

use crate::{
    action::{Asset, MarketId},
    cell::{Cell, Key},
    keys,
    market::{pool, price},
    query::{list, owner, read},
    record::*,
};
use tessera_canon::{Hash, PublicKey};

/// Parameters of the markets.
pub fn market_params(get: impl Fn(&Key) -> Option<Cell>) -> MarketParams {
    read(get, &keys::market_params()).unwrap_or_default()
}
/// An order of a batch that is not cleared yet.
pub fn order(get: impl Fn(&Key) -> Option<Cell>, id: &Hash) -> Option<MarketOrder> {
    read(get, &keys::order(id))
}
/// All orders of a batch: its list, then one cell each.
pub fn orders(get: impl Fn(&Key) -> Option<Cell>, market: &MarketId, batch: u64) -> Vec<MarketOrder> {
    let ids = list(&get, &keys::list_of_orders(&market.id(), batch));
    ids.iter().filter_map(|id| order(&get, id)).collect()
}
/// The opened orders of a batch.
pub fn book(get: impl Fn(&Key) -> Option<Cell>, market: &MarketId, batch: u64) -> Vec<MarketOrder> {
    let mut orders = orders(get, market, batch);
    orders.retain(|order| order.terms.is_some());
    orders
}
/// The batch that a block of this height belongs to, and whether its orders may be opened (else put in).
pub fn batch_at(get: impl Fn(&Key) -> Option<Cell>, asset: Asset, height: u64) -> (u64, bool) {
    let epoch_blocks = crate::query::params(&get).unwrap_or_default().epoch_blocks.max(1);
    let span = market_params(&get).batch(asset).saturating_mul(epoch_blocks);
    (height / span, height % span >= span / 2)
}
/// Last price and median.
pub fn price_head(get: impl Fn(&Key) -> Option<Cell>, asset: Asset, run: &Hash) -> Option<PriceHead> {
    read(get, &keys::price_head(asset, run))
}
/// The last 32 prices with their volumes, oldest first: the head's cell, then eight.
pub fn price_history(get: impl Fn(&Key) -> Option<Cell>, asset: Asset, run: &Hash) -> Vec<PricePoint> {
    let batches = price_head(&get, asset, run).map_or(0, |head| head.batches);
    let point = |number| {
        let (part, at) = price::place(number);
        let cell: PricePart = read(&get, &keys::price_part(asset, run, part))?;
        cell.points.get(at).cloned()
    };
    price::last(batches, price::KEPT).filter_map(point).collect()
}
/// The median price of a credit, nano-U; `None` before there were enough trading batches.
pub fn last_median(get: impl Fn(&Key) -> Option<Cell>, run: &Hash) -> Option<u128> {
    price_head(get, Asset::Cu, run)?.median
}
/// The greatest reserve that owners may vote for; `None` while no price bounds it.
pub fn reserve_bound(get: impl Fn(&Key) -> Option<Cell>, run: &Hash) -> Option<u128> {
    last_median(get, run).map(price::bound)
}
/// What the crowd's work implies that a run is worth, if one more work unit costs `cost` (4.9).
pub fn implied_value(get: impl Fn(&Key) -> Option<Cell>, run: &Hash, cost: u128) -> Option<u128> {
    let weight = crate::query::run(&get, run)?.weight;
    price::implied_value(cost, crate::query::credits(&get, run)?.active, weight)
}
/// A run's auto-sell pool.
pub fn auto_sell(get: impl Fn(&Key) -> Option<Cell>, run: &Hash) -> Option<AutoSell> {
    read(get, &keys::auto_sell(run))
}
/// An account's shares in a run's auto-sell pool.
pub fn wrap(get: impl Fn(&Key) -> Option<Cell>, run: &Hash, account: &PublicKey) -> Option<Wrap> {
    read(get, &keys::wrap(run, account))
}
/// Shares with which an owner votes: its own and those it has in the auto-sell pool; the pool itself has no vote.
pub fn voting_shares(get: impl Fn(&Key) -> Option<Cell>, owner: &Owner) -> u128 {
    if owner.account == keys::auto_sell_account(&owner.run) {
        return 0;
    }
    owner.shares + wrap(get, &owner.run, &owner.account).map_or(0, |wrap| wrap.now)
}
/// U that `account` could claim now from `run`: by auto-sell, and from runs that descend from it.
pub fn due_proceeds(get: impl Fn(&Key) -> Option<Cell>, run: &Hash, account: &PublicKey) -> u128 {
    let mut sum = 0;
    if let (Some(pool), Some(mut wrap)) = (auto_sell(&get, run), wrap(&get, run, account)) {
        let lot = |last| read::<Lot>(&get, &keys::lot(run, last));
        let end = wrap.pending.and_then(lot).and_then(|lot| lot.end);
        pool::settle(&mut wrap, &pool, end);
        sum += wrap.due + class_due(&get, &keys::pool_id(run), account, wrap.now);
    }
    if let Some(owner) = owner(&get, run, account) {
        sum += class_due(&get, run, account, owner.shares);
    }
    sum
}
fn class_due(get: impl Fn(&Key) -> Option<Cell>, of: &Hash, account: &PublicKey, shares: u128) -> u128 {
    let Some(proceeds) = read::<Proceeds>(&get, &keys::proceeds(of)) else { return 0 };
    let fresh = || OwnerProceeds {
        of: *of,
        account: *account,
        part: crate::accumulator::Part::at(Wide::default()),
        due: 0,
    };
    let mut owner = read(&get, &keys::owner_proceeds(of, account)).unwrap_or_else(fresh);
    owner.due + owner.part.earn(shares, proceeds.pot.acc)
}
