//! Answer queries about markets and trust from proved cells; like [`super::reads`], each function runs several times.

use super::{
    Args,
    reads::{Found, one, page},
};
use crate::{
    View,
    json::{exact, json},
};
use serde_json::{Value, json as object};
use tessera_canon::Hash;
use tessera_ledger::{
    action::{Asset, MarketId},
    keys, query,
    record::{Batch, StagePrice},
};

/// The market of a run's shares, or of the current series of its credits.
fn market(view: &View, asset: Asset, run: &Hash) -> Option<MarketId> {
    let credits = query::credits(view.source(), run)?;
    let series = if asset == Asset::Cu { credits.series } else { 0 };
    Some(MarketId { asset, run: *run, series })
}

fn book(view: &View, args: &Args, asset: Asset) -> Found {
    let Some(market) = market(view, asset, &args.hash("run")?) else { return Ok(None) };
    let (batch, opening) = query::batch_at(view.source(), asset, view.height + 1);
    let id = market.id();
    let count = view.read::<Batch>(&keys::batch(&id, batch)).map_or(0, |batch| batch.orders);
    let orders = page(view, args, &keys::list_of_orders(&id, batch), |id| {
        query::order(view.source(), id).as_ref().map(json)
    })?;
    Ok(Some(object!({
        "market": json(&market), "batch": exact(batch), "half": if opening { "opening" } else { "sealed" },
        "orders": count, "page": orders,
    })))
}
pub(super) fn credit_book(view: &View, args: &Args) -> Found {
    book(view, args, Asset::Cu)
}
pub(super) fn share_book(view: &View, args: &Args) -> Found {
    book(view, args, Asset::Share)
}

fn prices(view: &View, args: &Args, asset: Asset) -> Found {
    let run = args.hash("run")?;
    let head = query::price_head(view.source(), asset, &run);
    let points: Vec<Value> = query::price_history(view.source(), asset, &run).iter().map(json).collect();
    let bound = query::reserve_bound(view.source(), &run).filter(|_| asset == Asset::Cu).map(exact);
    Ok(head.map(|head| object!({ "head": json(&head), "items": points, "reserve_bound": bound })))
}
pub(super) fn credit_prices(view: &View, args: &Args) -> Found {
    prices(view, args, Asset::Cu)
}
pub(super) fn share_prices(view: &View, args: &Args) -> Found {
    prices(view, args, Asset::Share)
}

pub(super) fn stage_prices(view: &View, args: &Args) -> Found {
    let run = args.hash("run")?;
    let Some(terms) = query::run_terms(view.source(), &run) else { return Ok(None) };
    let prices: Vec<Option<StagePrice>> =
        (0..terms.stages).map(|stage| query::stage_price(view.source(), &run, stage)).collect();
    let items: Vec<Value> = prices.iter().flatten().map(json).collect();
    Ok(Some(object!({ "run": run, "stages": terms.stages, "items": items })))
}

pub(super) fn auto_sell(view: &View, args: &Args) -> Found {
    one(query::auto_sell(view.source(), &args.hash("run")?))
}
pub(super) fn wrap(view: &View, args: &Args) -> Found {
    one(query::wrap(view.source(), &args.hash("run")?, &args.key("account")?))
}
pub(super) fn proceeds(view: &View, args: &Args) -> Found {
    let (run, account) = (args.hash("run")?, args.key("account")?);
    let (known, due) = (query::run(view.source(), &run), query::due_proceeds(view.source(), &run, &account));
    Ok(known.map(|_| {
        object!({
            "run": run, "account": account, "amount": exact(due), "amount_u": crate::amount::show(due),
        })
    }))
}
pub(super) fn order(view: &View, args: &Args) -> Found {
    one(query::order(view.source(), &args.hash("order")?))
}

pub(super) fn audits(view: &View, args: &Args) -> Found {
    one(query::audit_stats(view.source(), &args.hash("run")?))
}
pub(super) fn conduct(view: &View, args: &Args) -> Found {
    one(query::conduct(view.source(), &args.hash("run")?, &args.key("account")?))
}
pub(super) fn vesting(view: &View, args: &Args) -> Found {
    let (run, account) = (args.hash("run")?, args.key("account")?);
    let blocks = query::params(view.source()).map_or(1, |params| params.epoch_blocks.max(1));
    let epoch = u32::try_from(view.height / blocks).unwrap_or(u32::MAX);
    let (owner, vesting) =
        (query::owner(view.source(), &run, &account), query::vesting(view.source(), &run, &account));
    let movable = query::movable_shares(view.source(), &run, &account, epoch);
    Ok(owner.map(|owner| {
        object!({
            "run": run, "account": account, "shares": exact(owner.shares), "movable": exact(movable),
            "locked": exact(owner.shares.saturating_sub(movable)), "vesting": vesting.as_ref().map(json),
        })
    }))
}
pub(super) fn disputes(view: &View, args: &Args) -> Found {
    page(view, args, &keys::list_of_disputes(), |id| query::dispute(view.source(), id).as_ref().map(json))
}
pub(super) fn dispute(view: &View, args: &Args) -> Found {
    one(query::dispute(view.source(), &args.hash("dispute")?))
}
