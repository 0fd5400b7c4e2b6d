//! Bond validators, keep the set of each epoch, pay bonds back, and slash who signed twice (9.3, rows 3 to 5).
//!
//! The set says who is bonded and paid. It does not choose the consensus committee: that one is dealt at the
//! network's beginning and its threshold key is all that a light client knows (see the design decisions). No
//! header commits to this set; a proof of the [`ValidatorSet`] cell against the state root does the same.

use crate::{
    account,
    action::{BONDING, Bonding, ReportDoubleSign, ValidatorBond},
    error::TxError,
    event::{BondChanged, BondReleased, ValidatorSetChanged, ValidatorSlashed},
    genesis::SecurityTerms,
    governance::history,
    keys,
    record::{Bond, BondState, SetMember, ValidatorKey, ValidatorSet, ValidatorTotals},
    store::{Stop, View},
};
use ruint::aliases::U256;
use tessera_canon::{Domain, Hash, PublicKey, digest, merkle_root};

const MEMBER: Domain = Domain::new("tessera/ledger/validator-set/v1");

pub(crate) fn terms(view: &View<'_>) -> Result<SecurityTerms, Stop> {
    Ok(view.get(&keys::security())?.unwrap_or_default())
}

/// Write a bond, or none, and keep the history of the power that it gives.
fn change(
    view: &mut View<'_>,
    account: &PublicKey,
    before: Option<&Bond>,
    after: Option<Bond>,
) -> Result<(), Stop> {
    let network = Hash::ZERO;
    let key = keys::validator_totals();
    let mut totals = view.get::<ValidatorTotals>(&key)?.unwrap_or(ValidatorTotals { bonded: 0 });
    let (old, new) = (before.map_or(0, Bond::power), after.as_ref().map_or(0, Bond::power));
    history::before_change(view, &network, history::shares_of(&network, account), U256::from(old))?;
    history::before_change(view, &network, history::all_shares(&network), U256::from(totals.bonded))?;
    totals.bonded = totals.bonded - old + new;
    view.put(key, totals);
    match after {
        Some(bond) => view.put(keys::validator_bond(account), bond),
        None => view.delete(keys::validator_bond(account)),
    }
    Ok(())
}

pub(crate) fn bond(view: &mut View<'_>, sender: &PublicKey, action: &ValidatorBond) -> Result<(), Stop> {
    view.want([
        keys::security(),
        keys::validator_bond(sender),
        keys::validator_key(&action.key),
        keys::validator_totals(),
    ])?;
    let statement = Bonding { network: view.context.network, account: *sender, key: action.key };
    if !action.key.verify(BONDING, &statement, &action.signature) {
        return Err(TxError::KeySignature { key: action.key }.into());
    }
    let of_key = view.get::<ValidatorKey>(&keys::validator_key(&action.key))?;
    if of_key.as_ref().is_some_and(|key| key.slashed) {
        return Err(TxError::Slashed { key: action.key }.into());
    }
    let before = view.get::<Bond>(&keys::validator_bond(sender))?;
    let usual = before.as_ref().is_none_or(|bond| bond.key == action.key && !bond.is_leaving());
    if !usual || of_key.is_some_and(|key| key.account != *sender) {
        return Err(TxError::Duplicate { what: "bond of", id: action.key.to_string() }.into());
    }
    let least = terms(view)?.min_bond;
    let amount = before.as_ref().map_or(0, |bond| bond.amount).saturating_add(action.amount);
    if amount < least || action.amount == 0 {
        return Err(TxError::Parameter {
            what: "the bond",
            expected: format!("at least {least}, by more than 0"),
            got: amount.to_string(),
        }
        .into());
    }
    account::debit(view, sender, action.amount)?;
    let state = before.as_ref().map_or(BondState::Joining, |bond| bond.state);
    let proposed = before.as_ref().map_or(0, |bond| bond.proposed);
    if before.is_none() {
        view.list_add(keys::list_of_bonds(), Hash(sender.0));
        let key = ValidatorKey { key: action.key, account: *sender, slashed: false };
        view.put(keys::validator_key(&action.key), key);
    }
    let after = Bond { account: *sender, key: action.key, amount, state, release: 0, proposed };
    change(view, sender, before.as_ref(), Some(after))?;
    view.emit(BondChanged { account: *sender, key: action.key, state, amount });
    Ok(())
}

pub(crate) fn unbond(view: &mut View<'_>, sender: &PublicKey) -> Result<(), Stop> {
    view.want([keys::security(), keys::validator_bond(sender), keys::validator_totals()])?;
    let before: Bond = view.must(&keys::validator_bond(sender), "bond of", sender)?;
    if before.is_leaving() {
        return Err(TxError::Duplicate { what: "leave of", id: sender.to_string() }.into());
    }
    let release = view.context.height.saturating_add(terms(view)?.unbond_blocks);
    let after = Bond { state: BondState::Leaving, release, ..before.clone() };
    view.emit(BondChanged {
        account: *sender,
        key: before.key,
        state: BondState::Leaving,
        amount: before.amount,
    });
    change(view, sender, Some(&before), Some(after))
}

pub(crate) fn report_double_sign(
    view: &mut View<'_>,
    sender: &PublicKey,
    action: &ReportDoubleSign,
) -> Result<(), Stop> {
    let (first, second) = (&action.first, &action.second);
    if let Some(what) = first.excuse(second) {
        return Err(TxError::NotConflict { what }.into());
    }
    if first.network != view.context.network {
        return Err(TxError::SignedForOtherNetwork {
            what: "the statement",
            expected: view.context.network,
            got: first.network,
        }
        .into());
    }
    if !first.verify(&action.first_signature) || !second.verify(&action.second_signature) {
        return Err(TxError::KeySignature { key: first.validator }.into());
    }
    let key = keys::validator_key(&first.validator);
    let mut of_key: ValidatorKey = view.must(&key, "bonded consensus key", first.validator)?;
    if of_key.slashed {
        return Err(TxError::Slashed { key: of_key.key }.into());
    }
    let owner = of_key.account;
    view.want([keys::validator_bond(&owner), keys::validator_totals()])?;
    let bond: Bond = view.must(&keys::validator_bond(&owner), "bond of", owner)?;
    let amount = bond.amount;
    // Within an unbonding period the bond is still here, so it can always be taken.
    change(view, &owner, Some(&bond), None)?;
    view.list_remove(keys::list_of_bonds(), Hash(owner.0));
    of_key.slashed = true;
    view.put(key, of_key);
    let reward = amount / 20;
    account::credit(view, sender, reward)?;
    account::to_fund(view, amount - reward)?;
    view.emit(ValidatorSlashed { account: owner, amount, reporter: *sender, reward });
    Ok(())
}

/// At the start of each block: count it for its proposer, if bonded.
pub(crate) fn count_block(view: &mut View<'_>) -> Result<(), Stop> {
    let proposer = view.context.proposer;
    let Some(of_key) = view.get::<ValidatorKey>(&keys::validator_key(&proposer))? else { return Ok(()) };
    let Some(mut bond) = view.get::<Bond>(&keys::validator_bond(&of_key.account))? else { return Ok(()) };
    if bond.key == proposer && matches!(bond.state, BondState::Active | BondState::Leaving) {
        bond.proposed = bond.proposed.saturating_add(1);
        view.put(keys::validator_bond(&of_key.account), bond);
    }
    Ok(())
}

/// Every bond, ascending by account.
pub(crate) fn bonds(view: &View<'_>) -> Result<Vec<Bond>, Stop> {
    let list = keys::list_of_bonds();
    view.want([keys::list_length(&list)])?;
    let mut ids = view.list_items(&list)?;
    ids.sort_unstable();
    let key_of = |id: &Hash| keys::validator_bond(&PublicKey(id.0));
    view.want(ids.iter().map(key_of))?;
    let mut bonds = Vec::with_capacity(ids.len());
    for id in &ids {
        bonds.extend(view.get::<Bond>(&key_of(id))?);
    }
    Ok(bonds)
}

/// Step 1 of an epoch boundary: bonds that have waited long enough are paid back, and the set is made anew.
pub(crate) fn boundary(view: &mut View<'_>, epoch: u64) -> Result<(), Stop> {
    view.want([keys::validator_set(), keys::validator_totals()])?;
    let mut members = Vec::new();
    let mut bonded = 0u128;
    for mut bond in bonds(view)? {
        let account = bond.account;
        if bond.state == BondState::Left && view.context.height >= bond.release {
            account::credit(view, &account, bond.amount)?;
            view.list_remove(keys::list_of_bonds(), Hash(account.0));
            view.delete(keys::validator_key(&bond.key));
            view.emit(BondReleased { account, amount: bond.amount });
            change(view, &account, Some(&bond), None)?;
            continue;
        }
        // Both give the same power as before, so no history is due.
        match bond.state {
            BondState::Joining => bond.state = BondState::Active,
            BondState::Leaving => bond.state = BondState::Left,
            BondState::Active | BondState::Left => {}
        }
        view.put(keys::validator_bond(&account), bond.clone());
        if bond.state == BondState::Active {
            bonded += bond.amount;
            members.push(SetMember { account, key: bond.key, amount: bond.amount });
        }
    }
    let root = merkle_root(members.iter().map(|member| digest(MEMBER, member)).collect());
    let set = ValidatorSet { epoch, size: members.len() as u32, bonded, root };
    let before = view.get::<ValidatorSet>(&keys::validator_set())?;
    if before.is_none_or(|before| before.root != root) {
        view.emit(ValidatorSetChanged { epoch, size: set.size, bonded, root });
    }
    view.put(keys::validator_set(), set);
    Ok(())
}
