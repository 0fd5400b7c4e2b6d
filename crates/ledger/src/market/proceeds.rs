//! Share U among owners of a run: what runs that descend from it earn for its class of owners (4.10), by a second
//! accumulator beside that of the credits.
//!
//! U that comes in waits until the boundary's auctions are over and is then allotted to the active shares. A run's
//! auto-sell pool is one owner; its part is passed on to its wrappers at once, by the same means under the name
//! [`keys::pool_id`]. An owner has a cell of its own only once its shares changed or it claimed: before that it
//! has earned since the beginning.

use crate::{
    account,
    accumulator::{Part, Pot},
    keys,
    record::{AutoSell, Credits, Owner, OwnerProceeds, Proceeds, Wide},
    store::{Stop, View},
};
use tessera_canon::{Hash, PublicKey};

fn part_of(view: &View<'_>, of: &Hash, account: &PublicKey) -> Result<OwnerProceeds, Stop> {
    let fresh = || OwnerProceeds { of: *of, account: *account, part: Part::at(Wide::default()), due: 0 };
    Ok(view.get(&keys::owner_proceeds(of, account))?.unwrap_or_else(fresh))
}

/// Bring an owner of `shares` up to date; must precede every change of its shares.
pub(crate) fn touch(view: &mut View<'_>, of: &Hash, account: &PublicKey, shares: u128) -> Result<(), Stop> {
    let Some(proceeds) = view.get::<Proceeds>(&keys::proceeds(of))? else { return Ok(()) };
    let mut owner = part_of(view, of, account)?;
    owner.due += owner.part.earn(shares, proceeds.pot.acc);
    view.put(keys::owner_proceeds(of, account), owner);
    Ok(())
}

/// Take what `account` is due after [`touch`].
pub(crate) fn take(view: &mut View<'_>, of: &Hash, account: &PublicKey) -> Result<u128, Stop> {
    let Some(mut proceeds) = view.get::<Proceeds>(&keys::proceeds(of))? else { return Ok(0) };
    let mut owner = part_of(view, of, account)?;
    let due = std::mem::take(&mut owner.due);
    if due > 0 {
        proceeds.held = proceeds.held.saturating_sub(due);
        view.put(keys::proceeds(of), proceeds);
        view.put(keys::owner_proceeds(of, account), owner);
    }
    Ok(due)
}

/// Let `to` take over what `from` earned, which is touched and closed; both are touched.
pub(crate) fn merge(view: &mut View<'_>, of: &Hash, from: &PublicKey, to: &PublicKey) -> Result<(), Stop> {
    if view.get::<Proceeds>(&keys::proceeds(of))?.is_none() {
        return Ok(());
    }
    let (gone, mut owner) = (part_of(view, of, from)?, part_of(view, of, to)?);
    owner.due += gone.due + owner.part.merge(gone.part.frac);
    view.put(keys::owner_proceeds(of, to), owner);
    view.delete(keys::owner_proceeds(of, from));
    Ok(())
}

/// Let `amount` wait for the boundary.
pub(crate) fn pay_in(view: &mut View<'_>, of: &Hash, amount: u128) -> Result<(), Stop> {
    let fresh = || Proceeds { of: *of, pot: Pot::new(), held: 0, waiting: 0 };
    let mut proceeds = view.get(&keys::proceeds(of))?.unwrap_or_else(fresh);
    proceeds.waiting += amount;
    view.put(keys::proceeds(of), proceeds);
    Ok(())
}

fn allot(view: &mut View<'_>, of: &Hash, shares: u128) -> Result<(), Stop> {
    let Some(mut proceeds) = view.get::<Proceeds>(&keys::proceeds(of))? else { return Ok(()) };
    if shares > 0 && proceeds.waiting > 0 {
        let amount = std::mem::take(&mut proceeds.waiting);
        proceeds.pot.allot(amount, shares);
        proceeds.held += amount;
        view.put(keys::proceeds(of), proceeds);
    }
    Ok(())
}

/// After a boundary's auctions: allot what waits to the owners of `run`, and the pool's part to its wrappers.
pub(crate) fn boundary(view: &mut View<'_>, run: &Hash) -> Result<(), Stop> {
    if view.get::<Proceeds>(&keys::proceeds(run))?.is_none() {
        return Ok(());
    }
    let credits: Credits = view.must(&keys::credits(run), "run", run)?;
    allot(view, run, credits.active)?;
    let fund = keys::fund_account();
    if let Some(owner) = view.get::<Owner>(&keys::owner(run, &fund))? {
        touch(view, run, &fund, owner.shares)?;
        let due = take(view, run, &fund)?;
        account::to_fund(view, due)?;
    }
    let Some(pool) = view.get::<AutoSell>(&keys::auto_sell(run))? else { return Ok(()) };
    let holder = keys::auto_sell_account(run);
    touch(view, run, &holder, pool.next)?;
    let due = take(view, run, &holder)?;
    if due > 0 {
        pay_in(view, &keys::pool_id(run), due)?;
    }
    allot(view, &keys::pool_id(run), pool.next)
}
