//! Clear the batches that end at an epoch boundary: forfeits, the auction itself, payment and delivery.
//!
//! Holders without a key sell with the others: the auto-sell pool, the class of a parent run and the public fund (which
//! gets the shares that sellers forfeit) ask for all credits they are due at the reserve, in the market of the current
//! series. Nothing here refuses: an order that makes no sense gets its escrow back.
//!
//! Deviations: the reserve is at least 1 nano-U, because a price of 0 would make the median 0, which no vote
//! could raise again. Forfeited credits go to the run's pool, as the fund holds U and shares only.

use crate::{
    account,
    accounts::issuance,
    accumulator,
    action::{Asset, MarketId, Side},
    cell::Key,
    event::{Absorbed, AuctionCleared, AutoSold, OrderFilled, OrderForfeited, OrderReturned},
    keys,
    market::{
        clearing::{self, Cleared, MAX_QUANTITY},
        order, pool, price, proceeds,
    },
    note::{self, NewNote},
    ownership::class_account,
    record::{AutoSell, Batch, Credits, Held, Lineage, MarketOrder, MarketParams, OrderNotes, Owner},
    runs::policy,
    shares,
    store::{Stop, View},
    supply::{self, Place},
};
use tessera_canon::{Hash, PublicKey};

/// Who sells without a key.
#[derive(Clone, Copy)]
enum Holder {
    Pool,
    /// The owners of this run, as a class.
    Class(Hash),
    Fund,
}

/// `ceil(amount * part / 10 000)`; at most `amount` while `part` is at most 10 000.
pub(crate) fn part_up(amount: u128, part: u16) -> u128 {
    let part = u128::from(part.min(10_000));
    amount / 10_000 * part + (amount % 10_000 * part).div_ceil(10_000)
}

/// Step 3 of the boundary that opens `epoch`.
pub(crate) fn boundary(view: &mut View<'_>, epoch: u64, runs: &[Hash]) -> Result<(), Stop> {
    let list = keys::list_of_clearings(epoch);
    view.want([keys::list_length(&list), keys::market_params(), keys::globals()])?;
    let params = order::params(view)?;
    let batches = view.list_items(&list)?;
    view.want(batches.iter().copied())?;
    prepare(view, &batches, runs)?;
    for key in batches {
        view.list_remove(list, key);
        if let Some(batch) = view.get::<Batch>(&key)? {
            clear(view, &params, &batch, epoch)?;
            view.delete(key);
        }
    }
    for run in runs {
        pool::boundary(view, run)?;
        proceeds::boundary(view, run)?;
    }
    Ok(())
}

/// Ask for all that does not hang on orders before any order is read: a key that is missing repeats the boundary.
fn prepare(view: &View<'_>, batches: &[Key], runs: &[Hash]) -> Result<(), Stop> {
    let mut wanted = Vec::new();
    for run in runs {
        let accounts = [keys::auto_sell_account(run), keys::fund_account()];
        wanted.extend(accounts.map(|account| keys::owner(run, &account)));
        wanted.extend([keys::run_policy(run), keys::auto_sell(run), keys::proceeds(run)]);
        wanted.push(keys::lineage(run));
    }
    for key in batches {
        let Some(batch) = view.get::<Batch>(key)? else { continue };
        let (asset, run, market) = (batch.market.asset, batch.market.run, batch.market.id());
        wanted.push(keys::list_length(&keys::list_of_orders(&market, batch.batch)));
        wanted.push(keys::price_head(asset, &run));
        wanted.extend((0..8).map(|part| keys::price_part(asset, &run, part)));
    }
    view.want(wanted)?;
    let mut lots = Vec::new();
    for run in runs {
        let pool = view.get::<AutoSell>(&keys::auto_sell(run))?;
        lots.extend(pool.iter().flat_map(|pool| [keys::lot(run, pool.front), keys::lot(run, pool.version)]));
    }
    view.want(lots)
}

fn clear(view: &mut View<'_>, params: &MarketParams, batch: &Batch, epoch: u64) -> Result<(), Stop> {
    let market = &batch.market;
    let ids = view.list_items(&keys::list_of_orders(&market.id(), batch.batch))?;
    view.want(ids.iter().map(keys::order))?;
    let mut orders = Vec::with_capacity(ids.len());
    for id in &ids {
        orders.extend(view.get::<MarketOrder>(&keys::order(id))?);
    }
    want_all(view, &market.run, &orders)?;
    let credits: Credits = view.must(&keys::credits(&market.run), "run", market.run)?;
    let dead = market.asset == Asset::Cu && !crate::series::live(credits.series, market.series);
    let mut entries = Vec::with_capacity(orders.len());
    let mut open = Vec::with_capacity(orders.len());
    for order in orders {
        match &order.terms {
            _ if dead => {
                order::give_back(view, &order, 0)?;
                view.emit(OrderReturned { order: order.id });
                order::remove(view, &order);
            }
            None => forfeit(view, params, &order)?,
            Some(terms) => {
                let (side, limit, quantity) = (terms.side, terms.limit, terms.quantity);
                entries.push(clearing::Order { id: order.id, side, limit, quantity });
                open.push(order);
            }
        }
    }
    if dead {
        return Ok(());
    }
    let current = market.asset == Asset::Cu && market.series == credits.series;
    let policy = policy::of(view, &market.run)?;
    let reserve = if market.asset == Asset::Cu { policy.reserve.max(1) } else { 1 };
    let holders = if current { keyless(view, &market.run)? } else { Vec::new() };
    for (_, account, cu) in &holders {
        let id = keys::auto_sell_order(account, &market.id(), batch.batch);
        let quantity = u128::from(*cu).min(MAX_QUANTITY);
        entries.push(clearing::Order { id, side: Side::Ask, limit: reserve, quantity });
    }
    let cleared = clearing::clear(&entries, reserve, &view.context.beacon);
    let price = cleared.price.unwrap_or(0);
    let mut fees = 0;
    for (order, filled) in open.iter().zip(&cleared.fills) {
        fees += settle(view, params, order, price, *filled)?;
    }
    for ((holder, account, _), filled) in holders.iter().zip(cleared.fills.iter().skip(open.len())) {
        fees += settle_keyless(view, params, market, (*holder, account), price, *filled)?;
    }
    deliver(view, market, &open, &cleared)?;
    account::burn(view, fees / 2)?;
    account::to_fund(view, fees - fees / 2)?;
    issuance::lost(view, &market.run, fees)?;
    if let Some(price) = cleared.price
        && (current || market.asset == Asset::Share)
    {
        price::note(view, params, market, epoch, price, cleared.volume)?;
    }
    view.emit(AuctionCleared {
        market: market.clone(),
        batch: batch.batch,
        price: cleared.price,
        volume: cleared.volume,
        fees,
    });
    Ok(())
}

/// Ask at once for what settling the orders reads: one key at a time would repeat the boundary for each.
fn want_all(view: &View<'_>, run: &Hash, orders: &[MarketOrder]) -> Result<(), Stop> {
    let of = |held| orders.iter().filter(move |order| order.held == held);
    let shares = |order: &MarketOrder| {
        let escrow = keys::escrow_account(&order.id);
        [
            keys::owner(run, &escrow),
            keys::owner(run, &order.owner),
            keys::owner_proceeds(run, &escrow),
            keys::owner_proceeds(run, &order.owner),
        ]
    };
    let market = orders.iter().map(|order| order.market.asset).next();
    let movers = orders.iter().filter(|_| market == Some(Asset::Share)).flat_map(shares);
    view.want(
        orders
            .iter()
            .map(|order| keys::account(&order.owner))
            .chain(of(Held::Notes).map(|order| keys::order_notes(&order.id)))
            .chain(movers),
    )?;
    let mut notes = Vec::new();
    for order in of(Held::Notes) {
        notes.extend(view.get::<OrderNotes>(&keys::order_notes(&order.id))?.map(|notes| notes.notes));
    }
    view.want(notes.iter().flat_map(|notes| notes.iter()).map(keys::note))
}

/// An order that was not opened is void and loses part of its escrow.
fn forfeit(view: &mut View<'_>, params: &MarketParams, order: &MarketOrder) -> Result<(), Stop> {
    let lost = part_up(order.amount, params.forfeit);
    let run = &order.market.run;
    match order.held {
        Held::Money => account::to_fund(view, lost)?,
        Held::Notes => {
            let series = order.market.series;
            supply::shift(view, run, series, Place::Auctioned, Place::Pool, lost as u64)?;
            view.emit(Absorbed { run: *run, source: order.id, cu: lost as u64 });
        }
        Held::Shares => {}
    }
    order::give_back(view, order, lost)?;
    if order.held == Held::Shares {
        let credits: Credits = view.must(&keys::credits(run), "run", run)?;
        shares::give(view, &credits, &keys::fund_account(), lost)?;
    }
    view.emit(OrderForfeited { order: order.id, amount: lost });
    order::remove(view, order);
    Ok(())
}

/// The run whose owners hold shares of `child` as a class.
fn parent_of(view: &View<'_>, child: &Hash) -> Result<Option<Hash>, Stop> {
    Ok(view.get::<Lineage>(&keys::lineage(child))?.map(|lineage| lineage.parent))
}

/// Holders without a key that have credits to sell in the market of the run's current series.
fn keyless(view: &mut View<'_>, run: &Hash) -> Result<Vec<(Holder, PublicKey, u64)>, Stop> {
    let mut holders = Vec::new();
    let cu = pool::offered(view, run)?;
    if cu > 0 {
        holders.push((Holder::Pool, keys::auto_sell_account(run), cu));
    }
    let mut others = vec![(Holder::Fund, keys::fund_account())];
    if let Some(parent) = parent_of(view, run)? {
        others.push((Holder::Class(parent), class_account(&parent, run)));
    }
    let credits: Credits = view.must(&keys::credits(run), "run", run)?;
    for (holder, account) in others {
        let key = keys::owner(run, &account);
        let Some(mut owner) = view.get::<Owner>(&key)? else { continue };
        accumulator::touch(&mut owner, &credits);
        let cu = owner.due;
        view.put(key, owner);
        if cu > 0 {
            holders.push((holder, account, cu));
        }
    }
    Ok(holders)
}

/// Pay one order and give back what it did not use. Returns the seller's fee.
fn settle(
    view: &mut View<'_>,
    params: &MarketParams,
    order: &MarketOrder,
    price: u128,
    filled: u128,
) -> Result<u128, Stop> {
    // At most the buyer's escrow: the price is within every filled limit. For sellers it sums to the buyers' payments.
    let money = price * filled;
    let (side, fee) = match order.held {
        Held::Money => {
            order::give_back(view, order, money)?;
            (Side::Bid, 0)
        }
        Held::Notes | Held::Shares => {
            if order.held == Held::Notes {
                let series = order.market.series;
                supply::shift(
                    view,
                    &order.market.run,
                    series,
                    Place::Auctioned,
                    Place::Notes,
                    filled as u64,
                )?;
            }
            order::give_back(view, order, filled)?;
            let fee = part_up(money, params.fee);
            account::credit(view, &order.owner, money - fee)?;
            (Side::Ask, fee)
        }
    };
    view.emit(OrderFilled { order: order.id, by: order.owner, side, filled, money, fee });
    order::remove(view, order);
    Ok(fee)
}

/// Take the sold credits from a holder without a key and pass the money on. Returns the fee.
fn settle_keyless(
    view: &mut View<'_>,
    params: &MarketParams,
    market: &MarketId,
    (holder, account): (Holder, &PublicKey),
    price: u128,
    filled: u128,
) -> Result<u128, Stop> {
    let (run, cu) = (&market.run, filled as u64);
    if cu == 0 {
        return Ok(0);
    }
    let key = keys::owner(run, account);
    let Some(mut owner) = view.get::<Owner>(&key)? else { return Ok(0) };
    owner.due -= cu;
    view.put(key, owner);
    // By way of the pool, which ends as it was: out of the owners' claims, into notes.
    let mut credits: Credits = view.must(&keys::credits(run), "run", run)?;
    credits.owner_out += cu;
    credits.pool += cu;
    view.put(keys::credits(run), credits);
    supply::shift(view, run, market.series, Place::Pool, Place::Notes, cu)?;
    let money = price * filled;
    let fee = part_up(money, params.fee);
    match holder {
        Holder::Pool => pool::sold(view, run, cu, money - fee)?,
        Holder::Class(parent) => proceeds::pay_in(view, &parent, money - fee)?,
        Holder::Fund => account::to_fund(view, money - fee)?,
    }
    view.emit(AutoSold { run: *run, holder: *account, cu, money: money - fee });
    Ok(fee)
}

/// Hand the buyers their notes or shares; the sellers' are gone.
fn deliver(
    view: &mut View<'_>,
    market: &MarketId,
    open: &[MarketOrder],
    cleared: &Cleared,
) -> Result<(), Stop> {
    let credits: Credits = view.must(&keys::credits(&market.run), "run", market.run)?;
    for (order, filled) in open.iter().zip(&cleared.fills) {
        if order.held != Held::Money || *filled == 0 {
            continue;
        }
        match market.asset {
            Asset::Cu => {
                let to = order.terms.as_ref().map_or(keys::owner_hash(&order.owner), |terms| terms.to);
                let (run, series, cu) = (market.run, market.series, *filled as u64);
                note::create(view, NewNote { run, series, cu, owner: to, flags: 0 }, &order.id, 0);
            }
            Asset::Share => shares::give(view, &credits, &order.owner, *filled)?,
        }
    }
    Ok(())
}
