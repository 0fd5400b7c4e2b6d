//! Say what runs there are, what one is worth, and what it would take to gather its weights.

use crate::context::{Output, Place, nats, percent};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tessera_canon::Hash;
use tessera_client::json::json as record;
use tessera_ledger::{action::Asset, query};
use tessera_node::{
    amount::{self, Amount},
    ledger::{RunView, View},
};

pub(super) async fn list(place: &Place, output: Output) -> Result<()> {
    let visitor = place.enter().await?;
    let read = |view: &View| {
        let runs = query::runs(view.source());
        let all: Vec<_> = runs
            .iter()
            .map(|run| {
                let (terms, state) = (query::run_terms(view.source(), run), query::run(view.source(), run));
                (terms, state, query::credits(view.source(), run))
            })
            .collect();
        let whole = |(terms, state, credits)| Some((terms?, state?, credits?));
        all.into_iter().filter_map(whole).collect::<Vec<_>>()
    };
    let runs: Vec<(
        tessera_ledger::record::RunTerms,
        tessera_ledger::record::Run,
        tessera_ledger::record::Credits,
    )> = visitor.ledger.read(read).await?;
    let items: Vec<Value> = runs
        .iter()
        .map(|(terms, state, credits)| {
            json!({
                "run": terms.run, "creator": terms.creator, "state": format!("{:?}", state.state),
                "window": state.window, "windows": terms.windows(), "loss_min": nats(state.loss_min),
                "work_percent": percent(state.f_done.into(), terms.f_star.into()), "credits": credits.total,
                "active_shares": credits.active.to_string(),
            })
        })
        .collect();
    output.result(&json!({ "runs": items }), || {
        if runs.is_empty() {
            return "no runs; publish one with `tessera run publish`".into();
        }
        let line = |(terms, state, credits): &(
            tessera_ledger::record::RunTerms,
            tessera_ledger::record::Run,
            tessera_ledger::record::Credits,
        )| {
            format!(
                "{}  {:<10} window {} of {}  {:>6.2} % of the work  loss {:.3}  {} cu\n",
                terms.run,
                format!("{:?}", state.state),
                state.window,
                terms.windows(),
                percent(state.f_done.into(), terms.f_star.into()),
                nats(state.loss_min),
                credits.total
            )
        };
        runs.iter().map(line).collect()
    });
    visitor.leave().await;
    Ok(())
}

pub(super) async fn value(place: &Place, run: &Hash, cost: Option<Amount>, output: Output) -> Result<()> {
    let visitor = place.enter().await?;
    // Known to exist, so that a missing run has its own error.
    visitor.ledger.run(run).await?;
    let read = |view: &View| {
        let source = view.source();
        let heads = [Asset::Cu, Asset::Share].map(|asset| query::price_head(source, asset, run));
        let prices = query::price_history(source, Asset::Cu, run);
        let implied = [1, cost.map_or(0, |cost| cost.0)].map(|cost| query::implied_value(source, run, cost));
        let report = query::extraction(source, run);
        Some((RunView::read(view, run)?, heads, prices, implied, report))
    };
    let found = visitor.ledger.read(read).await?;
    let (seen, [credits_head, shares_head], prices, [in_work, in_money], report) =
        found.context("the run changed while it was read; try again")?;
    let credits = seen.credits.as_ref().context("the run has no credits")?;
    let in_money = in_money.filter(|_| cost.is_some());
    // What all shares, or all credits, cost at the last price.
    let market = |head: &Option<tessera_ledger::record::PriceHead>, count: u128| {
        head.as_ref().and_then(|head| head.last.checked_mul(count))
    };
    let (by_shares, by_credits) =
        (market(&shares_head, credits.active), market(&credits_head, credits.total.into()));
    let nano = |amount: Option<u128>| json!({ "u": amount.map(amount::show), "nano": amount.map(|amount| amount.to_string()) });
    let history: Vec<Value> = prices
        .iter()
        .map(|point| {
            json!({
                "epoch": point.epoch, "price": amount::show(point.price),
                "price_nano": point.price.to_string(), "volume": point.volume.to_string(),
            })
        })
        .collect();
    let object = json!({
        "run": run, "height": seen.height, "state": format!("{:?}", seen.run.state),
        "implied_work_units": in_work.map(|work| work.to_string()), "implied_value": nano(in_money),
        "value_of_shares": nano(by_shares), "value_of_credits": nano(by_credits),
        "median_price": nano(credits_head.as_ref().and_then(|head| head.median)), "prices": history,
        "supply": {
            "total": credits.total, "pool": credits.pool, "notes": credits.notes,
            "auctioned": credits.auctioned, "locked": credits.locked, "series": credits.series,
        },
        "weight": f64::from(seen.run.weight) / 65536.0, "active_shares": credits.active.to_string(),
        "pending_shares": credits.pending.to_string(),
        "extraction": report.as_ref().map(|report| json!({
            "epoch": report.epoch, "kappa_percent": f64::from(report.kappa) / 10_000.0,
            "coverage": report.coverage, "stages": report.stages, "breached": report.breached(),
            "warn": report.warn,
        })),
    });
    output.result(&object, || {
        let show = |amount: Option<u128>| {
            amount.map_or("no trade yet".into(), |nano| format!("{} U", amount::show(nano)))
        };
        let mut text = format!("run       {run} ({:?})\n", seen.run.state);
        text += &match in_work {
            Some(work) => format!("implied   the shares stand for {work} work units at today's weight"),
            None => "implied   unknown: no window has a weight yet".into(),
        };
        text += &match in_money {
            Some(money) => format!(", {} U at the given cost\n", amount::show(money)),
            None => "; give --cost to have it in U\n".into(),
        };
        text +=
            &format!("market    all active shares {}, all credits {}\n", show(by_shares), show(by_credits));
        for point in prices.iter().rev().take(8) {
            text += &format!(
                "price     epoch {}: {} U, {} cu\n",
                point.epoch,
                amount::show(point.price),
                point.volume
            );
        }
        text += &format!(
            "supply    {} cu: {} in notes, {} in the market, {} locked, {} in the pool; series {}\n",
            credits.total, credits.notes, credits.auctioned, credits.locked, credits.pool, credits.series
        );
        text += &format!(
            "weight    {:.3} a unit of work; {} active shares, {} pending\n",
            f64::from(seen.run.weight) / 65536.0,
            credits.active,
            credits.pending
        );
        text += &match &report {
            Some(report) => format!(
                "weights   kappa {:.2} % of the work; the largest declared operator covers {} of {} stages\n",
                f64::from(report.kappa) / 10_000.0,
                report.coverage,
                report.stages
            ),
            None => "weights   no extraction report yet\n".into(),
        };
        text
    });
    visitor.leave().await;
    Ok(())
}

pub(super) async fn extraction(place: &Place, run: &Hash, output: Output) -> Result<()> {
    let visitor = place.enter().await?;
    visitor.ledger.run(run).await?;
    let (report, measured) = visitor
        .ledger
        .read(|view| (query::extraction(view.source(), run), query::measurements(view.source(), run)))
        .await?;
    let report = report.with_context(|| {
        format!("run {run} has no extraction report yet: the next epoch brings the first")
    })?;
    let not_measured = |value: Option<Value>| value.unwrap_or_else(|| json!("not measured"));
    let mut object = record(&report);
    object["measured_mu"] = not_measured(report.measured_mu.map(|mu| json!(mu)));
    object["repair"] = not_measured(report.repair.map(|repair| json!(repair)));
    object["breached"] = json!(report.breached());
    object["measurements"] = measured.iter().map(record).collect();
    output.result(&object, || {
        let mut text = format!("{report}\n");
        for found in &measured {
            text += &format!(
                "measured                mu {:.2} %, repair {:.2} % of F, by {} in epoch {}, evidence {}\n",
                f64::from(found.mu) / 100.0,
                f64::from(found.repair) / 10_000.0,
                found.poster.short(),
                found.epoch,
                found.evidence
            );
        }
        text
    });
    visitor.leave().await;
    Ok(())
}
