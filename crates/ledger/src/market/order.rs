//! Take sealed orders with their whole escrow, open them, and give escrows back (ownership specification 5.2).
//!
//! ```text
//! first half of a batch    OrderCommit(seal, escrow)   OrderCancel -> escrow back
//! second half              OrderReveal(terms, salt)
//! boundary                 cleared (batch.rs); what was not opened is void and loses part of its escrow
//! ```
//! A batch is 1 epoch of blocks for credits and 6 for shares; the block of the boundary belongs to the next batch.
//! Cancelling costs the transaction's fee and nothing else: before the second half nobody has shown anything that a
//! withdrawal could exploit.
//!
//! Shares for sale stand on an account of their own, so that nobody else can hold them; what they earn meanwhile
//! follows to the seller.

use crate::{
    account,
    accumulator::Part,
    action::{Asset, Collateral, MarketId, NoteCollateral, OrderCancel, OrderCommit, OrderReveal, Side},
    error::TxError,
    event::{Absorbed, OrderCommitted, OrderReturned, OrderRevealed},
    governance, keys,
    market::{action::seal, clearing::MAX_QUANTITY, proceeds},
    note::{self, NewNote},
    record::{Batch, Credits, Held, MarketOrder, MarketParams, Note, NoteState, OrderNotes, Owner, RunState},
    run, series, shares,
    store::{Stop, View},
    supply::{self, Place},
};
use tessera_canon::{Hash, PublicKey};

/// Where a height stands in the batches of a market.
pub(crate) struct Clock {
    pub(crate) batch: u64,
    /// Whether orders may be opened; else they may be put in and withdrawn.
    pub(crate) reveal: bool,
    /// The epoch whose boundary clears the batch.
    pub(crate) cleared_at: u64,
}

pub(crate) fn params(view: &View<'_>) -> Result<MarketParams, Stop> {
    Ok(view.get(&keys::market_params())?.unwrap_or_default())
}

pub(crate) fn clock(view: &View<'_>, asset: Asset) -> Result<Clock, Stop> {
    let length = params(view)?.batch(asset);
    let span = length.saturating_mul(view.params()?.epoch_blocks.max(1));
    let (batch, at) = (view.context.height / span, view.context.height % span);
    Ok(Clock { batch, reveal: at >= span / 2, cleared_at: batch.saturating_add(1).saturating_mul(length) })
}

fn parameter(what: &'static str, expected: impl ToString, got: impl ToString) -> Stop {
    TxError::Parameter { what, expected: expected.to_string(), got: got.to_string() }.into()
}

fn phase(clock: &Clock, reveal: bool) -> Result<(), Stop> {
    let name = |reveal| if reveal { "opened" } else { "put in or withdrawn" };
    if clock.reveal != reveal {
        return Err(TxError::AuctionPhase { expected: name(reveal), got: name(clock.reveal) }.into());
    }
    Ok(())
}

pub(crate) fn commit(
    view: &mut View<'_>,
    tx: &Hash,
    sender: &PublicKey,
    action: &OrderCommit,
) -> Result<(), Stop> {
    let market = &action.market;
    let market_id = market.id();
    view.want([keys::params(), keys::market_params(), keys::credits(&market.run), keys::run(&market.run)])?;
    let (_, run) = run::load(view, &market.run)?;
    let credits: Credits = view.must(&keys::credits(&market.run), "run", market.run)?;
    if run.state == RunState::Aborted {
        return Err(run::wrong_state(&run, "not aborted"));
    }
    let live = match market.asset {
        Asset::Cu => series::live(credits.series, market.series),
        Asset::Share => market.series == 0,
    };
    if !live {
        let expected = if market.asset == Asset::Cu { credits.series } else { 0 };
        return Err(TxError::Series { expected, got: market.series }.into());
    }
    let clock = clock(view, market.asset)?;
    phase(&clock, false)?;
    let batch_key = keys::batch(&market_id, clock.batch);
    let known = view.get::<Batch>(&batch_key)?;
    let mut batch = known.clone().unwrap_or(Batch { market: market.clone(), batch: clock.batch, orders: 0 });
    let most = params(view)?.max_orders;
    if batch.orders >= most {
        return Err(TxError::BookFull { most }.into());
    }
    let (held, amount) = match (&action.collateral, market.asset) {
        (Collateral::Money(money), _) => {
            if money.amount == 0 {
                return Err(parameter("the collateral", "at least 1 nano-U", 0));
            }
            account::debit(view, sender, money.amount)?;
            (Held::Money, money.amount)
        }
        (Collateral::Notes(notes), Asset::Cu) => {
            (Held::Notes, escrow_notes(view, tx, sender, market, notes)?)
        }
        (Collateral::Shares(shares), Asset::Share) => {
            if shares.amount == 0 {
                return Err(parameter("the collateral", "at least 1 share", 0));
            }
            let escrow = keys::escrow_account(tx);
            view.want([keys::owner(&market.run, sender), keys::owner(&market.run, &escrow)])?;
            shares::take(view, &credits, sender, shares.amount)?;
            shares::give(view, &credits, &escrow, shares.amount)?;
            (Held::Shares, shares.amount)
        }
        (other, Asset::Cu) => return Err(parameter("the collateral", "U or notes", other.kind())),
        (other, Asset::Share) => return Err(parameter("the collateral", "U or shares", other.kind())),
    };
    if known.is_none() {
        view.list_add(keys::list_of_clearings(clock.cleared_at), batch_key);
    }
    batch.orders += 1;
    view.put(batch_key, batch);
    view.list_add(keys::list_of_orders(&market_id, clock.batch), *tx);
    view.emit(OrderCommitted { order: *tx, market: market.clone(), batch: clock.batch, by: *sender });
    view.put(
        keys::order(tx),
        MarketOrder {
            id: *tx,
            market: market.clone(),
            batch: clock.batch,
            owner: *sender,
            seal: action.seal,
            held,
            amount,
            terms: None,
        },
    );
    Ok(())
}

/// Mark the sender's notes as offered; returns their credits.
fn escrow_notes(
    view: &mut View<'_>,
    tx: &Hash,
    sender: &PublicKey,
    market: &MarketId,
    collateral: &NoteCollateral,
) -> Result<u128, Stop> {
    let ids = &collateral.notes;
    view.want(ids.iter().map(keys::note))?;
    if ids.is_empty() {
        return Err(parameter("the number of notes", "at least 1", 0));
    }
    if let Some(at) = ids.windows(2).position(|pair| pair[0] >= pair[1]) {
        return Err(TxError::NotAscending { what: "the notes", at: at + 1 }.into());
    }
    let mut sum = 0u64;
    for id in ids.iter() {
        let mut note = note::unspent(view, id)?;
        if note.owner != keys::owner_hash(sender) {
            return Err(TxError::NotOwner { note: note.id, owner: note.owner }.into());
        }
        if note.run != market.run || note.series != market.series {
            return Err(TxError::Mixed { note: note.id }.into());
        }
        if note.flags & Note::BOUND != 0 {
            return Err(TxError::NotForSale { note: note.id }.into());
        }
        sum += note.cu;
        note.state = NoteState::Offered;
        note.bound_to = *tx;
        view.put(keys::note(id), note);
    }
    supply::shift(view, &market.run, market.series, Place::Notes, Place::Auctioned, sum)?;
    view.put(keys::order_notes(tx), OrderNotes { order: *tx, notes: ids.clone() });
    Ok(sum.into())
}

/// The sender's order, in the phase it must be in.
fn own(view: &View<'_>, id: &Hash, sender: &PublicKey, reveal: bool) -> Result<MarketOrder, Stop> {
    view.want([keys::order(id), keys::params(), keys::market_params()])?;
    let order: MarketOrder = view.must(&keys::order(id), "order", id)?;
    if order.owner != *sender {
        return Err(TxError::Role { expected: format!("the owner {}", order.owner), got: *sender }.into());
    }
    // An order is gone once its batch is cleared, so the phase is that of its own batch.
    phase(&clock(view, order.market.asset)?, reveal)?;
    Ok(order)
}

pub(crate) fn reveal(view: &mut View<'_>, sender: &PublicKey, action: &OrderReveal) -> Result<(), Stop> {
    let mut order = own(view, &action.order, sender, true)?;
    let terms = &action.terms;
    if order.terms.is_some() {
        return Err(TxError::Duplicate { what: "opening of order", id: order.id.to_string() }.into());
    }
    if seal(sender, terms, &action.salt) != order.seal {
        return Err(TxError::Seal { order: order.id }.into());
    }
    let expected = if order.held == Held::Money { Side::Bid } else { Side::Ask };
    if terms.side != expected {
        return Err(parameter("the side of the order", format!("{expected:?}"), format!("{:?}", terms.side)));
    }
    if terms.limit == 0 {
        return Err(parameter("the limit", "at least 1 nano-U for a unit", 0));
    }
    if !(1..=MAX_QUANTITY).contains(&terms.quantity) {
        return Err(parameter("the quantity", format!("1 to {MAX_QUANTITY}"), terms.quantity));
    }
    let needed = match terms.side {
        Side::Bid => terms
            .limit
            .checked_mul(terms.quantity)
            .ok_or(TxError::Overflow { what: "the worth of the order" })?,
        Side::Ask => terms.quantity,
    };
    if needed > order.amount {
        return Err(TxError::Collateral { needed, got: order.amount }.into());
    }
    view.emit(OrderRevealed {
        order: order.id,
        side: terms.side,
        limit: terms.limit,
        quantity: terms.quantity,
    });
    order.terms = Some(terms.clone());
    view.put(keys::order(&order.id), order);
    Ok(())
}

pub(crate) fn cancel(view: &mut View<'_>, sender: &PublicKey, action: &OrderCancel) -> Result<(), Stop> {
    let order = own(view, &action.order, sender, false)?;
    let batch_key = keys::batch(&order.market.id(), order.batch);
    let mut batch: Batch = view.must(&batch_key, "batch", order.batch)?;
    give_back(view, &order, 0)?;
    batch.orders = batch.orders.saturating_sub(1);
    view.put(batch_key, batch);
    remove(view, &order);
    view.emit(OrderReturned { order: order.id });
    Ok(())
}

/// Take an order off its batch; its escrow is settled.
pub(crate) fn remove(view: &mut View<'_>, order: &MarketOrder) {
    view.list_remove(keys::list_of_orders(&order.market.id(), order.batch), order.id);
    view.delete(keys::order(&order.id));
    if order.held == Held::Notes {
        view.delete(keys::order_notes(&order.id));
    }
}

/// Give the escrow back but for `gone`, which the caller has put elsewhere: U, credits (already shifted out of
/// `Auctioned`) or shares.
pub(crate) fn give_back(view: &mut View<'_>, order: &MarketOrder, gone: u128) -> Result<(), Stop> {
    let rest = order.amount.saturating_sub(gone);
    match order.held {
        Held::Money => account::credit(view, &order.owner, rest),
        Held::Notes => return_notes(view, order, gone as u64, rest as u64),
        Held::Shares => return_shares(view, order, rest),
    }
}

/// Spend notes for `gone` credits, in their order; free the others; a note used in part leaves a change note.
fn return_notes(view: &mut View<'_>, order: &MarketOrder, gone: u64, rest: u64) -> Result<(), Stop> {
    let (run, series) = (order.market.run, order.market.series);
    let Some(escrow) = view.get::<OrderNotes>(&keys::order_notes(&order.id))? else { return Ok(()) };
    view.want(escrow.notes.iter().map(keys::note).chain([keys::credits(&run)]))?;
    supply::shift(view, &run, series, Place::Auctioned, Place::Notes, rest)?;
    let credits: Credits = view.must(&keys::credits(&run), "run", run)?;
    if rest > 0 && !series::live(credits.series, series) {
        view.emit(Absorbed { run, source: order.id, cu: rest });
    }
    let mut left = gone;
    for id in escrow.notes.iter() {
        let Some(mut note) = view.get::<Note>(&keys::note(id))? else { continue };
        if left == 0 {
            note.state = NoteState::Unspent;
            note.bound_to = Hash::ZERO;
            view.put(keys::note(id), note);
            continue;
        }
        let used = left.min(note.cu);
        left -= used;
        let (owner, flags, change) = (note.owner, note.flags, note.cu - used);
        note::spend(view, note, &order.id);
        if change > 0 {
            note::create(view, NewNote { run, series, cu: change, owner, flags }, &order.id, 1);
        }
    }
    Ok(())
}

/// Close the escrow account: `rest` shares and everything earned go to the seller; the caller gives away the others.
fn return_shares(view: &mut View<'_>, order: &MarketOrder, rest: u128) -> Result<(), Stop> {
    let (run, escrow) = (order.market.run, keys::escrow_account(&order.id));
    let (from, to) = (keys::owner(&run, &escrow), keys::owner(&run, &order.owner));
    view.want([keys::credits(&run), from, to])?;
    let credits: Credits = view.must(&keys::credits(&run), "run", run)?;
    let Some(mut held) = view.get::<Owner>(&from)? else { return Ok(()) };
    // The cell goes, and what was held at a proposal's snapshot must still add up.
    governance::history::shares_change(view, &held)?;
    proceeds::touch(view, &run, &escrow, held.shares)?;
    crate::accumulator::touch(&mut held, &credits);
    shares::give(view, &credits, &order.owner, rest)?;
    let mut owner = shares::load_or_new(view, &credits, &order.owner)?;
    let mut part = Part { seen: owner.acc_seen, frac: owner.frac };
    owner.due += held.due + part.merge(held.frac) as u64;
    owner.frac = part.frac;
    view.put(to, owner);
    view.delete(from);
    view.list_remove(keys::list_of_holdings(&escrow), run);
    proceeds::merge(view, &run, &escrow, &order.owner)
}
