//! Show what a market did and holds: the open batch, prices, what hosts are paid.

use crate::context::{Output, Place};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tessera_canon::Hash;
use tessera_client::trade;
use tessera_ledger::{
    action::{Asset, MarketId, Side},
    keys, query,
    record::{Batch, RunPolicy},
};
use tessera_node::{amount, ledger::View};

fn unit(asset: Asset) -> &'static str {
    if asset == Asset::Cu { "cu" } else { "shares" }
}
fn absent(run: &Hash) -> String {
    format!("run {run} is not on the ledger; see `tessera run list`")
}

pub(super) async fn book(place: &Place, run: &Hash, asset: Asset, output: Output) -> Result<()> {
    let visitor = place.enter().await?;
    let now = trade::moment(&visitor.ledger, asset).await?;
    let read = |view: &View| {
        let credits = query::credits(view.source(), run)?;
        let series = if asset == Asset::Cu { credits.series } else { 0 };
        let market = MarketId { asset, run: *run, series };
        let batch = view.read::<Batch>(&keys::batch(&market.id(), now.batch));
        let open = query::book(view.source(), &market, now.batch);
        Some((market, batch.map_or(0, |batch| batch.orders), open))
    };
    let (market, orders, mut open) = visitor.ledger.read(read).await?.with_context(|| absent(run))?;
    let side = |bid| {
        move |order: &&tessera_ledger::record::MarketOrder| {
            order.terms.as_ref().is_some_and(|terms| (terms.side == Side::Bid) == bid)
        }
    };
    open.sort_by_key(|order| std::cmp::Reverse(order.terms.as_ref().map_or(0, |terms| terms.limit)));
    let line = |order: &tessera_ledger::record::MarketOrder| {
        let terms = order.terms.as_ref();
        let (limit, quantity) = terms.map_or((0, 0), |terms| (terms.limit, terms.quantity));
        json!({
            "order": order.id, "owner": order.owner, "quantity": quantity.to_string(),
            "limit": amount::show(limit), "limit_nano": limit.to_string(),
        })
    };
    let bids: Vec<Value> = open.iter().filter(side(true)).map(line).collect();
    let asks: Vec<Value> = open.iter().filter(side(false)).map(line).collect();
    let sealed = (orders as usize).saturating_sub(open.len());
    let half = if now.opening { "orders are opened" } else { "orders are put in" };
    let object = json!({
        "run": run, "asset": unit(asset), "series": market.series, "batch": now.batch, "opening": now.opening,
        "blocks_left": now.left, "orders": orders, "sealed": sealed, "bids": bids, "asks": asks,
    });
    output.result(&object, || {
        let mut text = format!("batch {} ({half}, {} blocks more): {sealed} sealed\n", now.batch, now.left);
        for order in &open {
            let Some(terms) = &order.terms else { continue };
            let way = if terms.side == Side::Bid { "buy " } else { "sell" };
            let (quantity, limit) = (terms.quantity, amount::show(terms.limit));
            text +=
                &format!("{way} {quantity:>12} {} at {limit:>12} U  {}\n", unit(asset), order.owner.short());
        }
        text
    });
    visitor.leave().await;
    Ok(())
}

pub(super) async fn history(place: &Place, run: &Hash, asset: Asset, output: Output) -> Result<()> {
    let visitor = place.enter().await?;
    let points = visitor.ledger.read(|view| query::price_history(view.source(), asset, run)).await?;
    let list: Vec<Value> = points
        .iter()
        .map(|point| {
            json!({
                "epoch": point.epoch, "price": amount::show(point.price),
                "price_nano": point.price.to_string(), "volume": point.volume.to_string(),
            })
        })
        .collect();
    output.result(&json!({ "run": run, "asset": unit(asset), "prices": list }), || {
        if points.is_empty() {
            return format!("no {} of run {run} were traded yet", unit(asset));
        }
        let line = |point: &tessera_ledger::record::PricePoint| {
            let price = amount::show(point.price);
            format!("epoch {:>8}  {price:>14} U  {:>12} {}\n", point.epoch, point.volume, unit(asset))
        };
        points.iter().map(line).collect()
    });
    visitor.leave().await;
    Ok(())
}

pub(super) async fn price(place: &Place, run: &Hash, output: Output) -> Result<()> {
    let visitor = place.enter().await?;
    let read = |view: &View| {
        let policy = view.read::<RunPolicy>(&keys::run_policy(run));
        let heads = [Asset::Cu, Asset::Share].map(|asset| query::price_head(view.source(), asset, run));
        let stages = query::run_terms(view.source(), run).map_or(0, |terms| terms.stages);
        let hosts: Vec<_> = (0..stages).map(|stage| query::stage_price(view.source(), run, stage)).collect();
        Some((policy?.policy, heads, query::reserve_bound(view.source(), run), hosts))
    };
    let (policy, heads, bound, hosts) = visitor.ledger.read(read).await?.with_context(|| absent(run))?;
    let nano =
        |price: Option<u128>| json!({ "u": price.map(amount::show), "nano": price.map(|p| p.to_string()) });
    let [credits, shares] = heads.map(|head| {
        let (last, median) =
            (head.as_ref().map(|head| head.last), head.as_ref().and_then(|head| head.median));
        (last, median, head.map_or(0, |head| head.batches))
    });
    let market = |(last, median, batches): (Option<u128>, Option<u128>, u64)| json!({ "last": nano(last), "median": nano(median), "trading_batches": batches });
    let stages: Vec<Value> = hosts
        .iter()
        .enumerate()
        .map(|(stage, host)| {
            let price = host.as_ref().map(|host| host.price);
            json!({ "stage": stage, "price": nano(price), "auctioned": host.as_ref().map(|host| host.auctioned) })
        })
        .collect();
    let object = json!({
        "run": run, "credits": market(credits), "shares": market(shares), "reserve": nano(Some(policy.reserve)),
        "reserve_bound": nano(bound), "host_fee_cap": nano(Some(policy.host_fee_cap)), "stages": stages,
    });
    output.result(&object, || {
        let text_of = |price: Option<u128>| {
            price.map_or("none yet".into(), |price| format!("{} U", amount::show(price)))
        };
        let mut text = String::new();
        for (name, (last, median, batches)) in [("credit", credits), ("share ", shares)] {
            text += &format!(
                "{name}    last {}, median {} ({batches} batches with trades)\n",
                text_of(last),
                text_of(median)
            );
        }
        text += &format!(
            "reserve   {} U, voters may set at most {}\n",
            amount::show(policy.reserve),
            text_of(bound)
        );
        text += &format!("hosts     at most {} U a credit and stage\n", amount::show(policy.host_fee_cap));
        for (stage, host) in hosts.iter().enumerate() {
            if let Some(host) = host {
                let how = if host.auctioned { "auctioned" } else { "follows use" };
                text += &format!("stage {stage:<3} {} U a credit, {how}\n", amount::show(host.price));
            }
        }
        text
    });
    visitor.leave().await;
    Ok(())
}
