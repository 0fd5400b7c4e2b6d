//! Sell what wrapped shares earn, at the market and for all of them at once (ownership specification 5.2, auto-sell).
//!
//! Wrapped shares belong to one account without a key, so that the run pays one owner whatever the number of
//! wrappers. At each boundary its credits are asked for at the reserve; the U is shared by a second accumulator.
//!
//! Nobody may earn from credits of the time before he wrapped, although some wait unsold for a buyer. Credits
//! therefore lie in lots, one for each set of wrappers, sold first in, first out; a boundary opens a new lot
//! if the set changed, after the auction and before the run hands out credits:
//! ```text
//! wrap, unwrap     shares move at once; they count from the next lot on (`pending` names the last lot they miss)
//! boundary         1 what the account earned since the last boundary joins the newest lot
//!                  2 the auction sells from the front; U / the lot's shares is added to the pot
//!                  3 if the set changed, a new lot begins
//! ```
//! While a wrapper's last change waits for an unsold lot, it cannot make another one ([`TxError::PoolBusy`]).
//! Work at a boundary does not grow with the number of wrappers.

use crate::{
    account,
    accumulator::{self, Part, Pot},
    action::{AutoSellUnwrap, AutoSellWrap, ClaimProceeds},
    error::TxError,
    event::{AutoSellChanged, ProceedsClaimed},
    keys,
    market::proceeds,
    record::{AutoSell, Credits, Lot, Owner, Wide, Wrap},
    shares,
    store::{Stop, View},
};
use tessera_canon::{Hash, PublicKey};

/// Most lots that one boundary sells or closes.
const LOTS: u32 = 32;

fn load(view: &mut View<'_>, run: &Hash) -> Result<AutoSell, Stop> {
    if let Some(pool) = view.get(&keys::auto_sell(run))? {
        return Ok(pool);
    }
    view.put(keys::lot(run, 0), Lot { run: *run, version: 0, wrapped: 0, left: 0, end: None });
    let pot = Pot::new();
    Ok(AutoSell { run: *run, version: 0, front: 0, next: 0, changed: false, unsold: 0, pot, held: 0 })
}

/// Count what a wrapper earned until now. `end` is the pot's value at the end of lot `pending`.
pub(crate) fn settle(wrap: &mut Wrap, pool: &AutoSell, end: Option<Wide>) {
    if let (Some(last), Some(end)) = (wrap.pending, end)
        && pool.front > last
    {
        wrap.due = wrap.due.saturating_add(wrap.part.earn(wrap.counted, end));
        wrap.counted = wrap.now;
        wrap.pending = None;
    }
    wrap.due = wrap.due.saturating_add(wrap.part.earn(wrap.counted, pool.pot.acc));
}

/// The wrapper's cell, settled.
fn settled(view: &View<'_>, pool: &AutoSell, account: &PublicKey) -> Result<Option<Wrap>, Stop> {
    let Some(mut wrap) = view.get::<Wrap>(&keys::wrap(&pool.run, account))? else { return Ok(None) };
    let end = match wrap.pending {
        Some(last) => view.get::<Lot>(&keys::lot(&pool.run, last))?.and_then(|lot| lot.end),
        None => None,
    };
    settle(&mut wrap, pool, end);
    Ok(Some(wrap))
}

/// Let `account`'s wrapped shares become `change(now)` from the next lot on.
fn change(
    view: &mut View<'_>,
    run: &Hash,
    account: &PublicKey,
    change: impl Fn(u128) -> Option<u128>,
) -> Result<(), Stop> {
    let mut pool = load(view, run)?;
    let fresh = || Wrap {
        run: *run,
        account: *account,
        counted: 0,
        pending: None,
        now: 0,
        part: Part::at(pool.pot.acc),
        due: 0,
    };
    let mut wrap = settled(view, &pool, account)?.unwrap_or_else(fresh);
    if wrap.pending.is_some_and(|last| last != pool.version) {
        return Err(TxError::PoolBusy { unsold: pool.unsold }.into());
    }
    proceeds::touch(view, &keys::pool_id(run), account, wrap.now)?;
    let after = change(wrap.now).ok_or(TxError::Shares { needed: 1, got: wrap.now })?;
    pool.next = pool.next - wrap.now + after;
    pool.changed = true;
    wrap.now = after;
    wrap.pending = Some(pool.version);
    view.put(keys::wrap(run, account), wrap);
    view.put(keys::auto_sell(run), pool);
    Ok(())
}

fn some(amount: u128) -> Result<(), Stop> {
    if amount == 0 {
        let (what, expected, got) = ("the number of shares", "at least 1".into(), "0".into());
        return Err(TxError::Parameter { what, expected, got }.into());
    }
    Ok(())
}

pub(crate) fn wrap(view: &mut View<'_>, sender: &PublicKey, action: &AutoSellWrap) -> Result<(), Stop> {
    move_shares(view, sender, &action.run, action.amount, true)
}

pub(crate) fn unwrap(view: &mut View<'_>, sender: &PublicKey, action: &AutoSellUnwrap) -> Result<(), Stop> {
    move_shares(view, sender, &action.run, action.amount, false)
}

/// Move `amount` of the sender's shares into the pool, or out of it.
fn move_shares(
    view: &mut View<'_>,
    sender: &PublicKey,
    run: &Hash,
    amount: u128,
    into: bool,
) -> Result<(), Stop> {
    let holder = keys::auto_sell_account(run);
    view.want([
        keys::credits(run),
        keys::owner(run, sender),
        keys::owner(run, &holder),
        keys::auto_sell(run),
        keys::wrap(run, sender),
    ])?;
    some(amount)?;
    let credits: Credits = view.must(&keys::credits(run), "run", run)?;
    let got = wrapped(view, run, sender)?;
    if !into && got < amount {
        return Err(TxError::Shares { needed: amount, got }.into());
    }
    let (from, to) = if into { (sender, &holder) } else { (&holder, sender) };
    // The sender's vote counts both kinds of shares: whoever notes what it was sees it before either changes.
    shares::take(view, &credits, from, amount)?;
    shares::give(view, &credits, to, amount)?;
    change(view, run, sender, |now| if into { now.checked_add(amount) } else { now.checked_sub(amount) })?;
    view.emit(AutoSellChanged { run: *run, account: *sender, amount, wrapped: into });
    Ok(())
}

/// Shares with which an owner votes: its own and those it has in the pool; the pool itself has no vote.
pub(crate) fn voting_shares(view: &View<'_>, owner: &Owner) -> Result<u128, Stop> {
    if owner.account == keys::auto_sell_account(&owner.run) {
        return Ok(0);
    }
    Ok(owner.shares + wrapped(view, &owner.run, &owner.account)?)
}

/// Shares that `account` has in the pool of `run`.
fn wrapped(view: &View<'_>, run: &Hash, account: &PublicKey) -> Result<u128, Stop> {
    Ok(view.get::<Wrap>(&keys::wrap(run, account))?.map_or(0, |wrap| wrap.now))
}

/// Put what was earned since the last boundary into the newest lot; returns the credits to ask for.
pub(crate) fn offered(view: &mut View<'_>, run: &Hash) -> Result<u64, Stop> {
    let Some(mut pool) = view.get::<AutoSell>(&keys::auto_sell(run))? else { return Ok(0) };
    let holder = keys::owner(run, &keys::auto_sell_account(run));
    view.want([holder, keys::credits(run), keys::lot(run, pool.version)])?;
    let credits: Credits = view.must(&keys::credits(run), "run", run)?;
    let (Some(mut owner), Some(mut newest)) =
        (view.get::<Owner>(&holder)?, view.get::<Lot>(&keys::lot(run, pool.version))?)
    else {
        return Ok(0);
    };
    accumulator::touch(&mut owner, &credits);
    newest.left += owner.due - pool.unsold;
    pool.unsold = owner.due;
    view.put(holder, owner);
    view.put(keys::lot(run, pool.version), newest);
    let mut sum = 0;
    for version in pool.front..=pool.version.min(pool.front.saturating_add(LOTS - 1)) {
        sum += view.get::<Lot>(&keys::lot(run, version))?.map_or(0, |lot| lot.left);
    }
    view.put(keys::auto_sell(run), pool);
    Ok(sum)
}

/// The auction sold `cu` of what was [`offered`] for `money` after the fee: pay the wrappers.
pub(crate) fn sold(view: &mut View<'_>, run: &Hash, cu: u64, money: u128) -> Result<(), Stop> {
    let Some(mut pool) = view.get::<AutoSell>(&keys::auto_sell(run))? else { return Ok(()) };
    let (mut left, mut unpaid) = (cu, money);
    while left > 0 {
        let Some(mut lot) = view.get::<Lot>(&keys::lot(run, pool.front))? else { break };
        let part = left.min(lot.left);
        // In proportion, rounded down; the last lot gets what is left. Both factors are below 2^64 and 2^128.
        let pay = if part == left { unpaid } else { share_of(unpaid, part, left) };
        left -= part;
        unpaid -= pay;
        lot.left -= part;
        pool.unsold -= part;
        if lot.wrapped > 0 {
            pool.pot.allot(pay, lot.wrapped);
            pool.held += pay;
        } else {
            // A lot without wrappers earns nothing; were it to, nobody else has a right to it.
            account::to_fund(view, pay)?;
        }
        let done = lot.left == 0 && pool.front < pool.version;
        if done {
            lot.end = Some(pool.pot.acc);
            pool.front += 1;
        }
        view.put(keys::lot(run, lot.version), lot);
        if part == 0 && !done {
            break;
        }
    }
    view.put(keys::auto_sell(run), pool);
    Ok(())
}

fn share_of(money: u128, part: u64, of: u64) -> u128 {
    use ruint::aliases::U256;
    (U256::from(money) * U256::from(part) / U256::from(of.max(1))).to::<u128>()
}

/// After a boundary's auctions: close lots that are sold out, and begin a new one if the set of wrappers changed.
pub(crate) fn boundary(view: &mut View<'_>, run: &Hash) -> Result<(), Stop> {
    let Some(pool) = view.get::<AutoSell>(&keys::auto_sell(run))? else { return Ok(()) };
    if !pool.changed && pool.front == pool.version {
        return Ok(());
    }
    // What was earned belongs to the old set, whether or not there was an auction.
    offered(view, run)?;
    let Some(mut pool) = view.get::<AutoSell>(&keys::auto_sell(run))? else { return Ok(()) };
    if pool.changed {
        pool.changed = false;
        pool.version += 1;
        let lot = Lot { run: *run, version: pool.version, wrapped: pool.next, left: 0, end: None };
        view.put(keys::lot(run, pool.version), lot);
    }
    for _ in 0..LOTS {
        let Some(mut lot) = view.get::<Lot>(&keys::lot(run, pool.front))? else { break };
        if lot.left > 0 || pool.front >= pool.version {
            break;
        }
        lot.end = Some(pool.pot.acc);
        view.put(keys::lot(run, pool.front), lot);
        pool.front += 1;
    }
    view.put(keys::auto_sell(run), pool);
    Ok(())
}

pub(crate) fn claim(view: &mut View<'_>, sender: &PublicKey, action: &ClaimProceeds) -> Result<(), Stop> {
    let run = &action.run;
    let pool_id = keys::pool_id(run);
    view.want([
        keys::auto_sell(run),
        keys::wrap(run, sender),
        keys::owner(run, sender),
        keys::proceeds(run),
        keys::proceeds(&pool_id),
    ])?;
    let mut sum = 0;
    if let Some(mut pool) = view.get::<AutoSell>(&keys::auto_sell(run))?
        && let Some(mut wrap) = settled(view, &pool, sender)?
    {
        sum += std::mem::take(&mut wrap.due);
        pool.held = pool.held.saturating_sub(sum);
        proceeds::touch(view, &pool_id, sender, wrap.now)?;
        view.put(keys::wrap(run, sender), wrap);
        view.put(keys::auto_sell(run), pool);
        sum += proceeds::take(view, &pool_id, sender)?;
    }
    if let Some(owner) = view.get::<Owner>(&keys::owner(run, sender))? {
        proceeds::touch(view, run, sender, owner.shares)?;
        sum += proceeds::take(view, run, sender)?;
    }
    if sum == 0 {
        return Err(TxError::NothingDue.into());
    }
    account::credit(view, sender, sum)?;
    view.emit(ProceedsClaimed { run: *run, account: *sender, amount: sum });
    Ok(())
}
