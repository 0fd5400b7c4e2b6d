//! Take from the bonds of members what a verdict costs. Who posts bonds and when they come back is the runs' part.

use crate::{
    keys,
    record::TrainerBond,
    store::{Stop, View},
};
use tessera_canon::{Hash, PublicKey};

/// Take up to `amount` from the bond of `account`; returns what was there. The caller puts it somewhere.
pub(crate) fn slash(
    view: &mut View<'_>,
    run: &Hash,
    account: &PublicKey,
    amount: u128,
) -> Result<u128, Stop> {
    let key = keys::bond(run, account);
    let Some(mut bond) = view.get::<TrainerBond>(&key)? else { return Ok(0) };
    let taken = bond.held.min(amount);
    bond.held -= taken;
    if bond.held == 0 {
        view.delete(key);
    } else {
        view.put(key, bond);
    }
    Ok(taken)
}
