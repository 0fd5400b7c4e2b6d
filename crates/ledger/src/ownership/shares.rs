//! Hold, move and cash in active shares.

use crate::{
    accumulator::touch,
    action::{ClaimCredits, TransferShares},
    error::TxError,
    event::{CreditsClaimed, SharesMoved},
    governance, keys,
    market::proceeds,
    note::{self, NewNote},
    ownership::vesting,
    record::{Credits, Owner},
    seat,
    store::{Stop, View},
    supply::{self, Place},
};
use tessera_canon::{Hash, PublicKey};

/// The owner record, or a fresh one that is also put on the account's list of holdings.
pub(crate) fn load_or_new(
    view: &mut View<'_>,
    credits: &Credits,
    account: &PublicKey,
) -> Result<Owner, Stop> {
    if let Some(owner) = view.get(&keys::owner(&credits.run, account))? {
        return Ok(owner);
    }
    view.list_add(keys::list_of_holdings(account), credits.run);
    Ok(Owner {
        run: credits.run,
        account: *account,
        shares: 0,
        pending: 0,
        acc_seen: credits.acc,
        frac: 0,
        due: 0,
    })
}

/// Take `amount` active shares from `account`, whose holding must cover it.
pub(crate) fn take(
    view: &mut View<'_>,
    credits: &Credits,
    account: &PublicKey,
    amount: u128,
) -> Result<(), Stop> {
    let key = keys::owner(&credits.run, account);
    let none = TxError::Shares { needed: amount, got: 0 };
    let mut owner: Owner = view.get(&key)?.ok_or(none)?;
    if owner.shares < amount {
        return Err(TxError::Shares { needed: amount, got: owner.shares }.into());
    }
    let locked = governance::lock::locked(view, &credits.run, account)?;
    // Shares in the auto-sell pool vote too, so they may be what the lock is about.
    let voting = governance::history::voting_shares(view, &owner)?;
    if voting.saturating_sub(amount) < locked {
        let movable = voting.saturating_sub(locked).min(owner.shares);
        return Err(TxError::VoteLocked { locked, movable, needed: amount }.into());
    }
    governance::history::shares_change(view, &owner)?;
    vesting::check_movable(view, &credits.run, account, owner.shares, amount)?;
    proceeds::touch(view, &credits.run, account, owner.shares)?;
    touch(&mut owner, credits);
    owner.shares -= amount;
    view.put(key, owner);
    Ok(())
}

/// Give `amount` active shares to `account`; they come from [`take`] or are counted in `credits.active`.
pub(crate) fn give(
    view: &mut View<'_>,
    credits: &Credits,
    account: &PublicKey,
    amount: u128,
) -> Result<(), Stop> {
    let mut owner = load_or_new(view, credits, account)?;
    governance::history::shares_change(view, &owner)?;
    proceeds::touch(view, &credits.run, account, owner.shares)?;
    touch(&mut owner, credits);
    owner.shares += amount;
    view.put(keys::owner(&credits.run, account), owner);
    Ok(())
}

pub(crate) fn transfer(view: &mut View<'_>, sender: &PublicKey, action: &TransferShares) -> Result<(), Stop> {
    let run = &action.run;
    let (from_key, to_key) = (keys::owner(run, sender), keys::owner(run, &action.to));
    view.want([keys::credits(run), from_key, to_key, keys::member(run, sender), keys::vesting(run, sender)])?;
    let credits: Credits = view.must(&keys::credits(run), "run", run)?;
    if action.to == *sender || action.amount == 0 {
        return Err(TxError::Parameter {
            what: "a transfer of shares",
            expected: "at least one share to another account".into(),
            got: format!("{} shares to {}", action.amount, action.to.short()),
        }
        .into());
    }
    take(view, &credits, sender, action.amount)?;
    give(view, &credits, &action.to, action.amount)?;
    view.emit(SharesMoved { run: *run, from: *sender, to: action.to, amount: action.amount });
    seat::heard(view, run, sender)
}

pub(crate) fn claim(
    view: &mut View<'_>,
    tx: &Hash,
    sender: &PublicKey,
    action: &ClaimCredits,
) -> Result<(), Stop> {
    let run = &action.run;
    let key = keys::owner(run, sender);
    view.want([keys::credits(run), key, keys::member(run, sender)])?;
    let mut credits: Credits = view.must(&keys::credits(run), "run", run)?;
    let mut owner: Owner = view.get(&key)?.ok_or(TxError::NothingDue)?;
    touch(&mut owner, &credits);
    let due = std::mem::take(&mut owner.due);
    if due == 0 {
        return Err(TxError::NothingDue.into());
    }
    supply::issue(view, &mut credits, Place::Notes, due)?;
    let new = NewNote { run: *run, series: credits.series, cu: due, owner: action.to, flags: 0 };
    let note = note::create(view, new, tx, 0);
    view.put(keys::credits(run), credits);
    view.put(key, owner);
    view.emit(CreditsClaimed { run: *run, account: *sender, cu: due, note });
    seat::heard(view, run, sender)
}
