//! Clear one batch of a market: one integer price for all, exact totals, no gain from splitting or from being early.
//!
//! ```text
//! asks' = max(ask, reserve)
//! V*    = max over order prices p of min(D(p), S(p))          D: bids at p or more, S: asks at p or less
//! C     = order prices that attain V* with least |D - S|
//! p*    = some of C without imbalance: floor((least + most of them) / 2)
//!         both pressures in C:         floor((most with D > S + least with D < S) / 2)
//!         only buyers press:           most of C;      only sellers press: least of C
//! fills = better price levels first; the last level that gets anything is rationed
//! ```
//! (ownership specification 5.2). Rationing is systematic sampling: the level's orders stand in the order of a hash
//! of beacon and order id, and an order at unit positions [a, b) of t gets
//! `floor((b*rest + u)/t) - floor((a*rest + u)/t)`, with one u below t from the beacon. The total is exact, each order
//! gets the floor or ceiling of its proportional part, and what is expected does not depend on how it was split.
//!
//! The beacon must be unknown while orders can change. Orders are opened up to the last block before an epoch
//! boundary, and the boundary's block carries the seed of the view that decided that block (decision record 5): a
//! quorum had voted for the last reveals before the seed could be computed. A leader that sees its own view's seed
//! early can only withhold a block, not change an order: ids and terms are fixed by the seals of the first half.
//!
//! Pure: it knows no cell, account or escrow. Orders above [`MAX_QUANTITY`] are left out.

use crate::market::action::Side;
use ruint::aliases::U256;
use tessera_canon::{Domain, Hash, digest};

const RANK: Domain = Domain::new("tessera/ledger/ration-rank/v1");
const PHASE: Domain = Domain::new("tessera/ledger/ration-phase/v1");

/// Most units of an order: sums of 2^31 orders stay within `u128`.
pub const MAX_QUANTITY: u128 = 1 << 96;

/// An opened order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Different for every order of the batch.
    pub id: Hash,
    pub side: Side,
    /// Nano-U for a unit.
    pub limit: u128,
    pub quantity: u128,
}

/// The result of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cleared {
    /// Nano-U for a unit; `None` if nothing is traded.
    pub price: Option<u128>,
    /// Units traded.
    pub volume: u128,
    /// Units of each order, in the orders' order.
    pub fills: Vec<u128>,
}

/// Where the chance of rationing comes from.
pub trait Luck {
    /// Orders stand by it within a price level.
    fn rank(&self, order: &Hash) -> Hash;
    /// The phase u, below `total`, which is not 0.
    fn phase(&self, side: Side, total: u128) -> u128;
}
impl Luck for Hash {
    fn rank(&self, order: &Hash) -> Hash {
        digest(RANK, &(*self, *order))
    }
    fn phase(&self, side: Side, total: u128) -> u128 {
        // 256 bits reduced to fewer than 128: the bias is below 2^-128.
        let draw = U256::from_be_bytes(digest(PHASE, &(*self, side)).0);
        (draw % U256::from(total.max(1))).to::<u128>()
    }
}

/// Clear `orders`, none of which sells below `reserve`; `beacon` decides who gets odd units.
pub fn clear(orders: &[Order], reserve: u128, beacon: &Hash) -> Cleared {
    clear_by(orders, reserve, beacon)
}

/// Units at one price.
struct Level {
    price: u128,
    bids: u128,
    asks: u128,
}

/// As [`clear`], with any source of chance.
pub fn clear_by(orders: &[Order], reserve: u128, luck: &impl Luck) -> Cleared {
    let mut fills = vec![0; orders.len()];
    let counts = |order: &Order| (1..=MAX_QUANTITY).contains(&order.quantity);
    let price_of = |order: &Order| match order.side {
        Side::Bid => order.limit,
        Side::Ask => order.limit.max(reserve),
    };
    // By price, lowest first; orders of one price stay together.
    let mut sorted: Vec<(u128, usize)> =
        (0..orders.len()).filter(|at| counts(&orders[*at])).map(|at| (price_of(&orders[at]), at)).collect();
    sorted.sort_unstable();
    let mut levels: Vec<Level> = Vec::new();
    for (price, at) in &sorted {
        if levels.last().is_none_or(|level| level.price != *price) {
            levels.push(Level { price: *price, bids: 0, asks: 0 });
        }
        let Some(level) = levels.last_mut() else { continue };
        match orders[*at].side {
            Side::Bid => level.bids += orders[*at].quantity,
            Side::Ask => level.asks += orders[*at].quantity,
        }
    }
    let Some((price, volume)) = find_price(&levels) else {
        return Cleared { price: None, volume: 0, fills };
    };
    let bids: Vec<(u128, usize)> =
        sorted.iter().rev().copied().filter(|(p, at)| *p >= price && orders[*at].side == Side::Bid).collect();
    let asks: Vec<(u128, usize)> =
        sorted.iter().copied().filter(|(p, at)| *p <= price && orders[*at].side == Side::Ask).collect();
    for (side, eligible) in [(Side::Bid, bids), (Side::Ask, asks)] {
        fill(orders, &eligible, side, volume, luck, &mut fills);
    }
    Cleared { price: Some(price), volume, fills }
}

/// The price and the volume; `None` if no bid meets an ask.
fn find_price(levels: &[Level]) -> Option<(u128, u128)> {
    let mut demand: u128 = levels.iter().map(|level| level.bids).sum();
    let mut supply = 0u128;
    // (price, demand, supply) at every order price.
    let mut curve = Vec::with_capacity(levels.len());
    for level in levels {
        supply += level.asks;
        curve.push((level.price, demand, supply));
        demand -= level.bids;
    }
    let volume = curve.iter().map(|(_, d, s)| *d.min(s)).max().filter(|volume| *volume > 0)?;
    let best = || curve.iter().filter(|(_, d, s)| *d.min(s) == volume);
    let least = best().map(|(_, d, s)| d.abs_diff(*s)).min()?;
    let candidates: Vec<_> = best().filter(|(_, d, s)| d.abs_diff(*s) == least).collect();
    let even = || candidates.iter().filter(|(_, d, s)| d == s).map(|(p, ..)| *p);
    let buyers = candidates.iter().filter(|(_, d, s)| d > s).map(|(p, ..)| *p).max();
    let sellers = candidates.iter().filter(|(_, d, s)| d < s).map(|(p, ..)| *p).min();
    let between = |low: u128, high: u128| low.min(high) + low.abs_diff(high) / 2;
    let price = match (even().min(), even().max(), buyers, sellers) {
        (Some(low), Some(high), ..) => between(low, high),
        (_, _, Some(low), Some(high)) => between(low, high),
        (_, _, Some(price), None) | (_, _, None, Some(price)) => price,
        (_, _, None, None) => return None,
    };
    Some((price, volume))
}

/// Give `volume` units to the orders of one side, the best price first.
fn fill(
    orders: &[Order],
    eligible: &[(u128, usize)],
    side: Side,
    volume: u128,
    luck: &impl Luck,
    fills: &mut [u128],
) {
    let mut rest = volume;
    for level in eligible.chunk_by(|a, b| a.0 == b.0) {
        let total: u128 = level.iter().map(|(_, at)| orders[*at].quantity).sum();
        if total <= rest {
            level.iter().for_each(|(_, at)| fills[*at] = orders[*at].quantity);
            rest -= total;
            continue;
        }
        if rest == 0 {
            return;
        }
        let mut queue: Vec<(Hash, Hash, usize)> =
            level.iter().map(|(_, at)| (luck.rank(&orders[*at].id), orders[*at].id, *at)).collect();
        queue.sort_unstable();
        let quantities: Vec<u128> = queue.iter().map(|(.., at)| orders[*at].quantity).collect();
        let parts = ration(&quantities, rest, luck.phase(side, total));
        for ((.., at), part) in queue.iter().zip(parts) {
            fills[*at] = part;
        }
        return;
    }
}

/// Give `rest` units to orders of `quantities`, which sum to more, in proportion: systematic sampling with phase
/// `phase` below their sum.
pub fn ration(quantities: &[u128], rest: u128, phase: u128) -> Vec<u128> {
    let total = U256::from(quantities.iter().sum::<u128>().max(1));
    let before = |position: u128| {
        // Below the sum of quantities, which is a u128.
        ((U256::from(position) * U256::from(rest) + U256::from(phase)) / total).to::<u128>()
    };
    let (mut position, mut given) = (0, before(0));
    let next = |quantity: &u128| {
        position += quantity;
        let until = before(position);
        std::mem::replace(&mut given, until).abs_diff(until)
    };
    quantities.iter().map(next).collect()
}
