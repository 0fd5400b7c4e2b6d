//! Hold, move and cash in active shares.

use crate::{
    accumulator::touch,
    action::{ClaimCredits, TransferShares},
    error::TxError,
    event::{CreditsClaimed, SharesMoved},
    keys, note,
    record::{Credits, Owner},
    seat,
    store::{Stop, View},
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

pub(crate) fn transfer(view: &mut View<'_>, sender: &PublicKey, action: &TransferShares) -> Result<(), Stop> {
    let run = &action.run;
    let (from_key, to_key) = (keys::owner(run, sender), keys::owner(run, &action.to));
    view.want([keys::credits(run), from_key, to_key, keys::member(run, sender)])?;
    let credits: Credits = view.must(&keys::credits(run), "run", run)?;
    if action.to == *sender || action.amount == 0 {
        return Err(TxError::Parameter {
            what: "a transfer of shares",
            expected: "at least one share to another account".into(),
            got: format!("{} shares to {}", action.amount, action.to.short()),
        }
        .into());
    }
    let none = TxError::Shares { needed: action.amount, got: 0 };
    let mut from: Owner = view.get(&from_key)?.ok_or(none)?;
    if from.shares < action.amount {
        return Err(TxError::Shares { needed: action.amount, got: from.shares }.into());
    }
    let mut to = load_or_new(view, &credits, &action.to)?;
    touch(&mut from, &credits);
    touch(&mut to, &credits);
    from.shares -= action.amount;
    to.shares += action.amount;
    view.put(from_key, from);
    view.put(to_key, to);
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
    credits.owner_out += due;
    credits.notes += due;
    let note = note::create(view, &credits, due, action.to, tx, 0);
    view.put(keys::credits(run), credits);
    view.put(key, owner);
    view.emit(CreditsClaimed { run: *run, account: *sender, cu: due, note });
    seat::heard(view, run, sender)
}
