//! Follow an order through its batch: put it in, open it, say what it got.

use super::{Quantity, counted};
use crate::{
    context::{Output, Place},
    wallet::{enter, is_live, with_receipt},
};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tessera_canon::{Hash, List, SecretKey};
use tessera_client::trade::{self, Filled, OrderSecret, Outcome};
use tessera_ledger::{
    action::{
        Asset, Collateral, MAX_ORDER_NOTES, MarketId, MoneyCollateral, NoteCollateral, OrderTerms,
        ShareCollateral, Side,
    },
    keys, query,
    record::{Note, NoteState},
};
use tessera_node::{
    amount::{self, Amount},
    daemon::{Ledger, Visitor},
    folder::Folder,
    orders,
};

/// Progress for people, on standard error.
fn tell(text: &str) {
    eprintln!("{text}");
}

fn unit(asset: Asset) -> &'static str {
    if asset == Asset::Cu { "cu" } else { "shares" }
}

/// The order's own facts.
fn order_json(secret: &OrderSecret) -> Value {
    let terms = &secret.terms;
    json!({
        "order": (secret.order != Hash::ZERO).then_some(secret.order), "run": secret.market.run,
        "asset": unit(secret.market.asset), "series": secret.market.series, "batch": secret.batch,
        "side": if terms.side == Side::Bid { "buy" } else { "sell" },
        "quantity": terms.quantity.to_string(), "limit": amount::show(terms.limit),
        "limit_nano": terms.limit.to_string(),
    })
}

fn order_text(secret: &OrderSecret) -> String {
    let (terms, unit) = (&secret.terms, unit(secret.market.asset));
    let (way, bound) = if terms.side == Side::Bid { ("buy", "at most") } else { ("sell", "at least") };
    format!("{way} {} {unit} at {bound} {} U each", terms.quantity, amount::show(terms.limit))
}

/// What an order got, as an object and as a line.
fn outcome_json(secret: &OrderSecret, outcome: &Outcome) -> Value {
    let mut object = order_json(secret);
    let (state, height) = match outcome {
        Outcome::Filled(filled) => ("cleared", filled.height),
        Outcome::Returned { height } => ("returned", *height),
        Outcome::Forfeited { height, .. } => ("forfeited", *height),
    };
    (object["state"], object["height"]) = (json!(state), json!(height));
    match outcome {
        Outcome::Filled(Filled { filled, money, fee, price, note, .. }) => {
            object["filled"] = json!(filled.to_string());
            if secret.market.asset == Asset::Cu {
                object["cu"] = json!(u64::try_from(*filled).unwrap_or(u64::MAX));
            }
            object["price"] = json!(price.map(amount::show));
            object["price_nano"] = json!(price.map(|price| price.to_string()));
            object["total"] = json!(amount::show(*money));
            object["total_nano"] = json!(money.to_string());
            object["fee"] = json!(amount::show(*fee));
            object["fee_nano"] = json!(fee.to_string());
            object["note"] = json!(note);
        }
        Outcome::Returned { .. } => {}
        Outcome::Forfeited { lost, .. } => object["lost"] = json!(lost.to_string()),
    }
    object
}

fn outcome_text(secret: &OrderSecret, outcome: &Outcome) -> String {
    let (terms, unit, order) = (&secret.terms, unit(secret.market.asset), secret.order);
    match outcome {
        Outcome::Filled(got) => match (got.price, terms.side) {
            (None, _) => format!("order {order}: nothing was traded within its limit; the escrow is back"),
            (Some(price), Side::Bid) => {
                let note = got.note.map_or_else(String::new, |note| format!(" as note {note}"));
                format!(
                    "bought {} of {} {unit} at {} U each ({} U){note}",
                    got.filled,
                    terms.quantity,
                    amount::show(price),
                    amount::show(got.money)
                )
            }
            (Some(price), Side::Ask) => format!(
                "sold {} of {} {unit} at {} U each ({} U, less a fee of {} U)",
                got.filled,
                terms.quantity,
                amount::show(price),
                amount::show(got.money),
                amount::show(got.fee)
            ),
        },
        Outcome::Returned { .. } => format!("order {order} was withdrawn; its escrow is back"),
        Outcome::Forfeited { lost, .. } => {
            format!("order {order} was not opened in time: it is void, and {lost} of its escrow are lost")
        }
    }
}

/// Put an order in and, unless `no_wait`, follow it to its end.
async fn place_order(
    place: &Place,
    (key, visitor): (SecretKey, Visitor),
    market: MarketId,
    terms: OrderTerms,
    collateral: Collateral,
    no_wait: bool,
    output: Output,
) -> Result<()> {
    let folder = place.folder()?;
    let mut secret = OrderSecret::new(key.public(), market, terms)?;
    let keep = |secret: &OrderSecret| orders::keep(&folder, secret).map_err(|error| error.to_string());
    let committed = trade::commit(&visitor.ledger, &key, &mut secret, collateral, keep, tell).await;
    let receipt = match committed {
        Ok(receipt) => receipt,
        Err(error) => {
            if error.not_taken() {
                orders::forget(&folder, &secret);
            }
            return Err(error.into());
        }
    };
    tell(&format!("order {} is in batch {}: {}", secret.order, secret.batch, order_text(&secret)));
    if no_wait {
        let object = with_receipt(order_json(&secret), &receipt);
        output.result(&object, || {
            format!("order {}\nopen it in time with: tessera market reveal {}", secret.order, secret.order)
        });
    } else {
        let outcome = follow(&visitor.ledger, &folder, &key, &mut secret).await?;
        output.result(&outcome_json(&secret, &outcome), || outcome_text(&secret, &outcome));
    }
    visitor.leave().await;
    Ok(())
}

/// Open an order and wait for its end.
async fn follow(
    ledger: &Ledger,
    folder: &Folder,
    key: &SecretKey,
    secret: &mut OrderSecret,
) -> Result<Outcome> {
    trade::reveal(ledger, key, secret, tell).await?;
    let outcome = trade::cleared(ledger, secret, tell).await?;
    orders::forget(folder, secret);
    Ok(outcome)
}

/// The current series of a run's credits, and its active shares.
async fn market_of(ledger: &Ledger, run: &Hash, asset: Asset) -> Result<MarketId> {
    let credits = ledger.read(|view| query::credits(view.source(), run)).await?;
    let credits =
        credits.with_context(|| format!("run {run} is not on the ledger; see `tessera run list`"))?;
    Ok(MarketId { asset, run: *run, series: if asset == Asset::Cu { credits.series } else { 0 } })
}

fn bid(limit: Amount, quantity: u128) -> Result<Collateral> {
    let amount = limit.0.checked_mul(quantity).with_context(|| {
        format!("expected quantity x limit to be at most 2^128 nano-U, got {quantity} x {limit} U; lower one")
    })?;
    Ok(Collateral::Money(MoneyCollateral { amount }))
}

pub(super) async fn buy(
    place: &Place,
    run: &Hash,
    cu: u64,
    limit: Amount,
    no_wait: bool,
    output: Output,
) -> Result<()> {
    let (key, visitor) = enter(place).await?;
    let market = market_of(&visitor.ledger, run, Asset::Cu).await?;
    let to = keys::owner_hash(&key.public());
    let terms = OrderTerms { side: Side::Bid, limit: limit.0, quantity: cu.into(), to };
    let collateral = bid(limit, cu.into())?;
    place_order(place, (key, visitor), market, terms, collateral, no_wait, output).await
}

pub(super) async fn sell(
    place: &Place,
    run: &Hash,
    notes: Vec<Hash>,
    cu: Option<u64>,
    limit: Amount,
    no_wait: bool,
    output: Output,
) -> Result<()> {
    let (key, visitor) = enter(place).await?;
    let mut market = market_of(&visitor.ledger, run, Asset::Cu).await?;
    let chosen = match notes.is_empty() {
        true => choose(&visitor.ledger, &key, run, market.series, cu.unwrap_or(u64::MAX)).await?,
        false => named(&visitor.ledger, &notes).await?,
    };
    market.series = chosen.first().map_or(market.series, |note| note.series);
    let held = chosen.iter().fold(0u64, |sum, note| sum.saturating_add(note.cu));
    let quantity = cu.unwrap_or(held);
    if quantity > held {
        bail!("expected notes of at least {quantity} cu, these hold {held}; name more notes or sell less");
    }
    let mut ids: Vec<Hash> = chosen.iter().map(|note| note.id).collect();
    ids.sort_unstable();
    ids.dedup();
    let got = ids.len();
    let ids = List::new(ids).map_err(|_| {
        anyhow::anyhow!(
            "expected at most {MAX_ORDER_NOTES} notes, got {got}; merge some with `tessera wallet split NOTE...`"
        )
    })?;
    let to = keys::owner_hash(&key.public());
    let terms = OrderTerms { side: Side::Ask, limit: limit.0, quantity: quantity.into(), to };
    let collateral = Collateral::Notes(NoteCollateral { notes: ids });
    place_order(place, (key, visitor), market, terms, collateral, no_wait, output).await
}

async fn named(ledger: &Ledger, ids: &[Hash]) -> Result<Vec<Note>> {
    let found: Vec<Option<Note>> =
        ledger.read(|view| ids.iter().map(|id| query::note(view.source(), id)).collect()).await?;
    let one = |(id, note): (&Hash, Option<Note>)| {
        note.with_context(|| format!("note {id} is not on the ledger; see `tessera wallet notes`"))
    };
    ids.iter().zip(found).map(one).collect()
}

/// The largest free notes of the account, of one usable series, that hold `cu`.
async fn choose(ledger: &Ledger, key: &SecretKey, run: &Hash, series: u16, cu: u64) -> Result<Vec<Note>> {
    let mut notes = ledger.read(|view| query::notes_of(view.source(), &key.public())).await?;
    notes.retain(|note| {
        note.run == *run
            && note.state == NoteState::Unspent
            && note.flags & Note::BOUND == 0
            && is_live(note, series)
    });
    notes.sort_by_key(|note| (std::cmp::Reverse(note.cu), note.id));
    let mut most = 0;
    for series in [series, series.wrapping_sub(1)] {
        let (mut chosen, mut sum) = (Vec::new(), 0u64);
        for note in notes.iter().filter(|note| note.series == series).take(MAX_ORDER_NOTES) {
            sum = sum.saturating_add(note.cu);
            chosen.push(note.clone());
            if sum >= cu {
                return Ok(chosen);
            }
        }
        most = most.max(sum);
    }
    bail!(
        "expected {cu} cu of run {run} in at most {MAX_ORDER_NOTES} free notes of one series, this wallet has {most}; claim with `tessera wallet claim`, merge with `tessera wallet split`, or sell less"
    )
}

pub(super) async fn shares(
    place: &Place,
    run: &Hash,
    buy: bool,
    shares: Quantity,
    limit: Amount,
    no_wait: bool,
    output: Output,
) -> Result<()> {
    let (key, visitor) = enter(place).await?;
    let quantity = counted(&visitor.ledger, run, shares).await?;
    let market = MarketId { asset: Asset::Share, run: *run, series: 0 };
    let side = if buy { Side::Bid } else { Side::Ask };
    let terms = OrderTerms { side, limit: limit.0, quantity, to: keys::owner_hash(&key.public()) };
    let collateral = match buy {
        true => bid(limit, quantity)?,
        false => Collateral::Shares(ShareCollateral { amount: quantity }),
    };
    place_order(place, (key, visitor), market, terms, collateral, no_wait, output).await
}

pub(super) async fn reveal(place: &Place, order: Option<Hash>, no_wait: bool, output: Output) -> Result<()> {
    let folder = place.folder()?;
    let secrets = match &order {
        Some(order) => vec![orders::find(&folder, order)?],
        None => orders::all(&folder)?,
    };
    if secrets.is_empty() {
        output.result(&json!({ "orders": [] }), || "no order of this folder waits".into());
        return Ok(());
    }
    let (key, visitor) = enter(place).await?;
    let (mut shown, mut lines, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    let mut opened = Vec::new();
    // Open all before waiting for any: their batches may be the same.
    for mut secret in secrets {
        match trade::reveal(&visitor.ledger, &key, &mut secret, tell).await {
            Ok(_) => opened.push(secret),
            Err(trade::TradeError::Gone { .. }) if secret.order == Hash::ZERO => {
                lines.push(format!("an order of batch {} never reached the ledger", secret.batch));
                orders::forget(&folder, &secret);
            }
            // Cleared, withdrawn or void by now: its end is told below.
            Err(trade::TradeError::Gone { .. } | trade::TradeError::Late { .. }) => opened.push(secret),
            Err(error) => failed.push(error),
        }
    }
    for secret in opened {
        if no_wait {
            shown.push(order_json(&secret));
            lines.push(format!("order {} is open: {}", secret.order, order_text(&secret)));
            continue;
        }
        match trade::cleared(&visitor.ledger, &secret, tell).await {
            Ok(outcome) => {
                orders::forget(&folder, &secret);
                shown.push(outcome_json(&secret, &outcome));
                lines.push(outcome_text(&secret, &outcome));
            }
            Err(error) => failed.push(error),
        }
    }
    output.result(&json!({ "orders": shown }), || lines.join("\n"));
    visitor.leave().await;
    match failed.into_iter().next() {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}

pub(super) async fn cancel(place: &Place, order: &Hash, output: Output) -> Result<()> {
    let (key, visitor) = enter(place).await?;
    let receipt = trade::cancel(&visitor.ledger, &key, order).await?;
    let folder = place.folder()?;
    if let Ok(secret) = orders::find(&folder, order) {
        orders::forget(&folder, &secret);
    }
    output.result(&with_receipt(json!({ "order": order }), &receipt), || {
        format!("withdrew order {order}; its escrow is back")
    });
    visitor.leave().await;
    Ok(())
}

pub(super) async fn list(place: &Place, output: Output) -> Result<()> {
    let secrets = orders::all(&place.folder()?)?;
    let (_, visitor) = enter(place).await?;
    let (mut shown, mut text) = (Vec::new(), String::new());
    for mut secret in secrets {
        let found = trade::find(&visitor.ledger, &mut secret).await?;
        let now = trade::moment(&visitor.ledger, secret.market.asset).await?;
        let state = match &found {
            None => "gone: cleared, withdrawn, or never taken; see `tessera market reveal`".to_string(),
            Some(order) if order.terms.is_some() => {
                format!("open; its batch is cleared in {} blocks", now.left)
            }
            Some(_) if now.opening => format!("sealed; open it within {} blocks", now.left),
            Some(_) => format!("sealed; it can be opened in {} blocks", now.left),
        };
        let mut object = order_json(&secret);
        object["state"] = json!(state);
        shown.push(object);
        text += &format!("{}  batch {}  {}  {state}\n", secret.order, secret.batch, order_text(&secret));
    }
    output.result(&json!({ "orders": shown }), || {
        if text.is_empty() { "no order of this folder waits".into() } else { text }
    });
    visitor.leave().await;
    Ok(())
}
