//! Bond hosts, count the capacity they promise, and post what a stage's work costs (ownership specification 3.9, 5.3).
//!
//! A seated account bonds `bond_per_cu` for each credit per epoch that it promises. The promises of a stage add
//! up; the weakest stage bounds what the run can serve, and so steers the supply. A seat that is lost takes its
//! promise along; the bond comes free only after the run's pending windows, counted in epochs, so that it can
//! still be slashed.
//!
//! The insurance of a run is 2 % of its hosts' pay, kept on an account for each host: a reserve that every host
//! fills by working, bonded or not. A conviction takes it after the bond; whoever leaves has the rest back. The
//! specification would pay a replacing host out of one common pool without evidence that the other failed; a home
//! and a friend could empty such a pool by taking turns. Paying for recomputation waits for attested failures.
//!
//! The posted fee of a stage moves by an eighth every `fee_epochs`: up where more than 70 % of the promised
//! capacity was used, down where less, never above what the owners allow, not at all where nothing is promised.
//! Where hosts sell their capacity by auction ([`StagePrice::auctioned`]) it stays with what the auction found.

use crate::{
    account,
    action::{HostBond, HostExit},
    credits::params::{FEE_STEP, FEE_TARGET, REFUSALS, REPORTER},
    error::TxError,
    event::{FeeMoved, HostBonded, HostLeft, HostSlashed, Reason},
    keys,
    record::{Capacity, Host, Lane, Run, RunTerms, StagePrice},
    run,
    runs::policy,
    seat, series,
    store::{Stop, View},
    supply::MOST_SUPPLY,
};
use tessera_canon::{Hash, PublicKey};

/// The host's cell, or a fresh one of an account that works in `stage`.
pub(crate) fn load(view: &View<'_>, run: &Hash, account: &PublicKey, stage: u16) -> Result<Host, Stop> {
    let none = || Host {
        run: *run,
        account: *account,
        stage,
        bond: 0,
        cu: 0,
        leaves: None,
        insured: 0,
        refusals: 0,
        refused: 0,
    };
    Ok(view.get(&keys::host(run, account))?.unwrap_or_else(none))
}

/// The epoch of this block.
pub(crate) fn epoch(view: &View<'_>) -> Result<u64, Stop> {
    Ok(view.context.height / view.params()?.epoch_blocks.max(1))
}

/// Make `cu` the capacity that `host` promises.
fn promise(view: &mut View<'_>, host: &mut Host, cu: u64) -> Result<(), Stop> {
    let key = keys::capacity(&host.run, host.stage);
    let none = Capacity { run: host.run, stage: host.stage, cu: 0 };
    let mut capacity = view.get(&key)?.unwrap_or(none);
    capacity.cu = capacity.cu - host.cu + cu;
    host.cu = cu;
    view.put(key, capacity);
    Ok(())
}

pub(crate) fn bond(view: &mut View<'_>, sender: &PublicKey, action: &HostBond) -> Result<(), Stop> {
    let id = &action.run;
    view.want([keys::run_terms(id), keys::member(id, sender), keys::host(id, sender), keys::rules()])?;
    let _terms: RunTerms = view.must(&keys::run_terms(id), "run", id)?;
    let none = TxError::NotMember { account: *sender, detail: " and cannot host" };
    let seat = seat::held_by(view, id, sender)?.ok_or(none)?;
    let mut host = load(view, id, sender, seat.stage)?;
    if let Some(until) = host.leaves {
        return Err(TxError::HostLeaves { until }.into());
    }
    let rules = view.rules()?;
    let has = host.bond.checked_add(action.bond).ok_or(TxError::Overflow { what: "the bond" })?;
    let needed = rules.bond_per_cu.saturating_mul(action.cu.into());
    if has < needed || action.cu > MOST_SUPPLY {
        return Err(TxError::HostBond { cu: action.cu, needed, got: has }.into());
    }
    account::charge_for(view, sender, action.bond, (Reason::HostBond, id))?;
    host.bond = has;
    promise(view, &mut host, action.cu)?;
    view.emit(HostBonded { run: *id, host: *sender, bond: has, cu: action.cu });
    view.put(keys::host(id, sender), host);
    seat::heard(view, id, sender)
}

pub(crate) fn exit(view: &mut View<'_>, sender: &PublicKey, action: &HostExit) -> Result<(), Stop> {
    let id = &action.run;
    let key = keys::host(id, sender);
    view.want([key, keys::run_policy(id), keys::params()])?;
    let none = TxError::NotMember { account: *sender, detail: " as a bonded host" };
    let mut host: Host =
        view.get::<Host>(&key)?.filter(|host| host.bond > 0 || host.insured > 0).ok_or(none)?;
    if let Some(until) = host.leaves {
        return Err(TxError::HostLeaves { until }.into());
    }
    promise(view, &mut host, 0)?;
    let leaves = epoch(view)? + 1 + u64::from(policy::of(view, id)?.pending_windows);
    host.leaves = Some(leaves);
    view.list_add(keys::list_of_leaving(leaves), key);
    view.emit(HostBonded { run: *id, host: *sender, bond: host.bond, cu: 0 });
    view.put(key, host);
    Ok(())
}

/// The account lost its seat: it promises nothing any more.
pub(crate) fn seat_lost(view: &mut View<'_>, run: &Hash, account: &PublicKey) -> Result<(), Stop> {
    let key = keys::host(run, account);
    if let Some(mut host) = view.get::<Host>(&key)?
        && host.cu > 0
    {
        promise(view, &mut host, 0)?;
        view.emit(HostBonded { run: *run, host: *account, bond: host.bond, cu: 0 });
        view.put(key, host);
    }
    Ok(())
}

/// Take up to `amount` of a host's bond, then of what it paid into the insurance, on account of `order`; the bond
/// that is left covers less capacity. The caller places what is returned.
pub(crate) fn slash(
    view: &mut View<'_>,
    run: &Hash,
    account: &PublicKey,
    amount: u128,
    order: &Hash,
) -> Result<u128, Stop> {
    let key = keys::host(run, account);
    view.want([key, keys::rules(), keys::lane(run)])?;
    let Some(mut host) = view.get::<Host>(&key)? else { return Ok(0) };
    let from_bond = amount.min(host.bond);
    let from_insured = (amount - from_bond).min(host.insured);
    let taken = from_bond + from_insured;
    if taken == 0 {
        return Ok(0);
    }
    host.bond -= from_bond;
    host.insured -= from_insured;
    let mut lane = series::lane(view, run)?;
    lane.insurance -= from_insured;
    view.put(keys::lane(run), lane);
    let covered = host.bond / view.rules()?.bond_per_cu.max(1);
    if covered < u128::from(host.cu) {
        promise(view, &mut host, covered as u64)?;
    }
    view.put(key, host);
    view.emit(HostSlashed { run: *run, host: *account, amount: taken, order: *order });
    Ok(taken)
}

/// Divide a slashed bond: a tenth to who reported it, the rest to the fund. The reporter's part is so small that
/// reporting oneself only loses.
pub(crate) fn reward(
    view: &mut View<'_>,
    reporter: &PublicKey,
    taken: u128,
    order: &Hash,
) -> Result<(), Stop> {
    let part = taken / REPORTER;
    account::credit_for(view, reporter, part, (Reason::Reported, order))?;
    account::to_fund(view, taken - part)
}

/// How likely a host is drawn as a home, relative to others: halved by each of its last refusals.
pub(crate) fn selection_weight(host: Option<&Host>, epoch: u64, memory: u32) -> u64 {
    let refusals = host.map_or(0, |host| recent_refusals(host, epoch, memory));
    1 << (REFUSALS - refusals.min(REFUSALS))
}

/// Refusals that are not forgotten.
pub(crate) fn recent_refusals(host: &Host, epoch: u64, memory: u32) -> u16 {
    if epoch.saturating_sub(host.refused) > memory.into() { 0 } else { host.refusals }
}

/// Posted prices of all stages, nano-U per credit.
pub(crate) fn prices(view: &View<'_>, terms: &RunTerms) -> Result<Vec<u128>, Stop> {
    let keys = || (0..terms.stages).map(|stage| keys::stage_price(&terms.run, stage));
    view.want(keys().chain([keys::rules(), keys::run_policy(&terms.run)]))?;
    let cap = policy::of(view, &terms.run)?.host_fee_cap;
    let first = view.rules()?.first_fee;
    keys().map(|key| Ok(view.get::<StagePrice>(&key)?.map_or(first, |stage| stage.price).min(cap))).collect()
}

/// A posted fee after `used` of `offered` credits: (5.3).
pub fn moved(price: u128, used: u128, offered: u128, cap: u128) -> u128 {
    if offered == 0 {
        return price.min(cap);
    }
    let (have, want) = (used.saturating_mul(10_000), offered.saturating_mul(FEE_TARGET));
    let next = match have.cmp(&want) {
        std::cmp::Ordering::Greater => price.saturating_add((price / FEE_STEP).max(1)),
        std::cmp::Ordering::Equal => price,
        std::cmp::Ordering::Less => price - price / FEE_STEP,
    };
    next.max(1).min(cap)
}

/// At a boundary of a serving run: count the epoch, and move the posted fees when it is time.
pub(crate) fn move_fees(view: &mut View<'_>, id: &Hash) -> Result<(), Stop> {
    view.want([keys::run_terms(id), keys::run(id), keys::lane(id), keys::rules(), keys::run_policy(id)])?;
    let (terms, run): (RunTerms, Run) = run::load(view, id)?;
    if !run.serves() {
        return Ok(());
    }
    let rules = view.rules()?;
    let mut lane: Lane = series::lane(view, id)?;
    lane.fee_age = lane.fee_age.saturating_add(1);
    if lane.fee_age >= rules.fee_epochs.max(1) {
        let epochs = u128::from(std::mem::take(&mut lane.fee_age));
        let used = u128::from(std::mem::take(&mut lane.used));
        let cap = policy::of(view, id)?.host_fee_cap;
        view.want((0..terms.stages).flat_map(|s| [keys::stage_price(id, s), keys::capacity(id, s)]))?;
        for stage in 0..terms.stages {
            let none = StagePrice { run: *id, stage, price: rules.first_fee, auctioned: false };
            let mut posted = view.get(&keys::stage_price(id, stage))?.unwrap_or(none);
            let promised = view.get::<Capacity>(&keys::capacity(id, stage))?.map_or(0, |c| c.cu);
            let price = moved(posted.price, used, u128::from(promised) * epochs, cap);
            if !posted.auctioned && price != posted.price {
                posted.price = price;
                view.put(keys::stage_price(id, stage), posted);
                view.emit(FeeMoved { run: *id, stage, price });
            }
        }
    }
    view.put(keys::lane(id), lane);
    Ok(())
}

/// At the boundary that opens `epoch`: hosts that left long enough ago have back their bonds and what they paid in.
pub(crate) fn release(view: &mut View<'_>, epoch: u64) -> Result<(), Stop> {
    let list = keys::list_of_leaving(epoch);
    let leaving = view.list_items(&list)?;
    view.want(leaving.iter().copied())?;
    for key in leaving {
        view.list_remove(list, key);
        let Some(mut host) = view.get::<Host>(&key)? else { continue };
        let insured = std::mem::take(&mut host.insured);
        let mut lane = series::lane(view, &host.run)?;
        lane.insurance -= insured;
        view.put(keys::lane(&host.run), lane);
        let bond = std::mem::take(&mut host.bond) + insured;
        host.leaves = None;
        account::credit_for(view, &host.account, bond, (Reason::HostBond, &host.run))?;
        view.emit(HostLeft { run: host.run, host: host.account, bond });
        view.put(key, host);
    }
    Ok(())
}
