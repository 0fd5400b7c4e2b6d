//! Remember what was paid: the last 32 prices of a run's credits and shares, their median, and what follows from it.
//!
//! Prices feed nothing that issues, slashes or votes. They bound the reserve that owners may set and value credits
//! that pay a fee; both use the median, so that one print moves neither (ownership specification 5.2, attack 1).

use crate::{
    action::{Asset, MarketId},
    keys,
    record::{MarketParams, PriceHead, PricePart, PricePoint},
    store::{Stop, View},
};
use tessera_canon::{Hash, List};

/// Prices kept.
pub const KEPT: u64 = 32;
/// Prices that the median is taken over.
pub const MEDIAN_OF: usize = 30;
const IN_CELL: u64 = 4;

/// The median; of an even number the mean of the middle two, rounded down. `None` of nothing.
pub fn median(prices: &[u128]) -> Option<u128> {
    let mut sorted = prices.to_vec();
    sorted.sort_unstable();
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(low + (high - low) / 2)
}

/// The most that owners may set as reserve where credits were traded: 1.25 times the median.
pub fn bound(median: u128) -> u128 {
    median.saturating_add(median / 4)
}

/// Where price number `number` stands: part and place.
pub fn place(number: u64) -> (u8, usize) {
    let at = number % KEPT;
    ((at / IN_CELL) as u8, (at % IN_CELL) as usize)
}

/// Numbers of the last `most` prices, oldest first.
pub fn last(batches: u64, most: u64) -> std::ops::Range<u64> {
    batches.saturating_sub(most)..batches
}

fn point(view: &View<'_>, asset: Asset, run: &Hash, number: u64) -> Result<Option<PricePoint>, Stop> {
    let (part, at) = place(number);
    let cell = view.get::<PricePart>(&keys::price_part(asset, run, part))?;
    Ok(cell.and_then(|cell| cell.points.get(at).cloned()))
}

/// Add a batch with trades.
pub(crate) fn note(
    view: &mut View<'_>,
    params: &MarketParams,
    market: &MarketId,
    epoch: u64,
    price: u128,
    volume: u128,
) -> Result<(), Stop> {
    let (asset, run) = (market.asset, market.run);
    let head_key = keys::price_head(asset, &run);
    view.want((0..8).map(|part| keys::price_part(asset, &run, part)).chain([head_key]))?;
    let mut head = view.get(&head_key)?.unwrap_or(PriceHead {
        asset,
        run,
        batches: 0,
        last: 0,
        median: None,
        fees: 0,
        fees_at: 0,
    });
    let (part, at) = place(head.batches);
    let key = keys::price_part(asset, &run, part);
    let mut points = view.get::<PricePart>(&key)?.map(|cell| cell.points.into_inner()).unwrap_or_default();
    points.truncate(if points.len() > at { points.len() } else { at });
    let new = PricePoint { epoch, price, volume };
    match points.get_mut(at) {
        Some(old) => *old = new,
        None => points.push(new),
    }
    view.put(key, PricePart { asset, run, part, points: List::new(points).unwrap_or_default() });
    head.batches += 1;
    head.last = price;
    let mut prices = Vec::new();
    for number in last(head.batches, MEDIAN_OF as u64) {
        prices.extend(point(view, asset, &run, number)?.map(|point| point.price));
    }
    let enough = prices.len() >= usize::from(params.median_batches).clamp(1, MEDIAN_OF);
    head.median = if enough { median(&prices) } else { None };
    view.put(head_key, head);
    Ok(())
}

/// The median price of the run's credits over the last trading batches; `None` before there were enough.
pub(crate) fn last_median(view: &View<'_>, run: &Hash) -> Result<Option<u128>, Stop> {
    Ok(view.get::<PriceHead>(&keys::price_head(Asset::Cu, run))?.and_then(|head| head.median))
}

/// The greatest reserve that the owners of `run` may vote for; `None` while no price bounds it.
pub(crate) fn reserve_bound(view: &View<'_>, run: &Hash) -> Result<Option<u128>, Stop> {
    Ok(last_median(view, run)?.map(bound))
}

/// What the crowd's work implies a run is worth, in units of `cost`, what one more work unit costs: a trainer
/// enters while `value * w / T > cost`, so `value = cost * T / w` (ownership specification 4.9).
pub fn implied_value(cost: u128, active_shares: u128, weight: u32) -> Option<u128> {
    cost.checked_mul(active_shares)?.checked_div(weight.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7]), Some(7));
        assert_eq!(median(&[9, 2]), Some(5));
        assert_eq!(median(&[9, 2, 4]), Some(4));
        assert_eq!(median(&[u128::MAX, u128::MAX - 1]), Some(u128::MAX - 1));
        assert_eq!((bound(100), bound(3), bound(u128::MAX)), (125, 3, u128::MAX));
    }
}
