//! Set what hosts are paid: a reverse auction of capacity for each stage (ownership specification 5.3).
//!
//! Seated hosts of a stage ask, for at most the capacity that their bond covers ([`Host::cu`]); every `MarketParams::host_batch` epochs the asks are taken, cheapest first, until their
//! capacity covers what the run's supply can ask for in an epoch (credits in existence / the policy's supply
//! horizon). All hosts of the stage are then paid the last ask taken; if all of them do not cover it, the dearest. The
//! owners' cap holds for every ask and for the price. Without asks the price stays as it was.
//!
//! The price says what is paid, not who serves: sessions are drawn (`session`). A host that is alone in its stage
//! can ask the cap; more hosts, not this auction, are the remedy.

use crate::{
    action::HostAsk,
    error::TxError,
    event::{HostAsked, StagePriced},
    keys,
    market::order,
    record::{Credits, Host, HostOffer, StagePrice},
    runs::policy,
    seat,
    store::{Stop, View},
};
use std::collections::BTreeMap;
use tessera_canon::{Hash, PublicKey};

/// Whether `account` may ask for work in the stage: it holds a seat there.
fn is_host(view: &View<'_>, run: &Hash, stage: u16, account: &PublicKey) -> Result<bool, Stop> {
    view.want([keys::member(run, account)])?;
    Ok(seat::held_by(view, run, account)?.is_some_and(|seat| seat.stage == stage))
}

/// The price at which asks of (price, capacity) cover `needed`; of the dearest if they do not. `None` without asks.
pub fn clear(asks: &[(u128, u64)], needed: u64) -> Option<u128> {
    let mut sorted = asks.to_vec();
    sorted.sort_unstable();
    let mut offered = 0u64;
    for (price, capacity) in &sorted {
        offered = offered.saturating_add(*capacity);
        if offered >= needed {
            return Some(*price);
        }
    }
    sorted.last().map(|(price, _)| *price)
}

pub(crate) fn ask(view: &mut View<'_>, sender: &PublicKey, action: &HostAsk) -> Result<(), Stop> {
    let (run, stage) = (&action.run, action.stage);
    let key = keys::host_offer(run, stage, sender);
    view.want([keys::params(), keys::market_params(), keys::run_policy(run), key, keys::host(run, sender)])?;
    let most = policy::of(view, run)?.host_fee_cap;
    if !is_host(view, run, stage, sender)? {
        return Err(TxError::NotMember { account: *sender, detail: " in the stage that it asks for" }.into());
    }
    if action.price > most {
        return Err(TxError::Cap { most, got: action.price }.into());
    }
    let bonded = view.get::<Host>(&keys::host(run, sender))?;
    let (covered, got) = bonded.map_or((0, 0), |host| (host.cu, host.bond));
    if action.capacity > covered {
        let needed = view.rules()?.bond_per_cu.saturating_mul(action.capacity.into());
        return Err(TxError::HostBond { cu: action.capacity, needed, got }.into());
    }
    if action.capacity == 0 {
        let (what, expected, got) = ("the capacity", "at least 1 credit an epoch".into(), "0".into());
        return Err(TxError::Parameter { what, expected, got }.into());
    }
    let length = u64::from(order::params(view)?.host_batch.max(1));
    let round = view.context.height / view.params()?.epoch_blocks.max(1) / length;
    if view.get::<HostOffer>(&key)?.is_none() {
        view.list_add(keys::list_of_host_offers(round), key);
    }
    let (price, capacity) = (action.price, action.capacity);
    view.put(key, HostOffer { run: *run, stage, account: *sender, price, capacity, round });
    view.emit(HostAsked { run: *run, stage, account: *sender, price, capacity });
    seat::heard(view, run, sender)
}

/// Step 10 of the boundary that opens `epoch`.
pub(crate) fn boundary(view: &mut View<'_>, epoch: u64) -> Result<(), Stop> {
    let length = u64::from(order::params(view)?.host_batch.max(1));
    if !epoch.is_multiple_of(length) {
        return Ok(());
    }
    let list = keys::list_of_host_offers((epoch / length).saturating_sub(1));
    let offers = view.list_items(&list)?;
    view.want(offers.iter().copied())?;
    let mut stages = BTreeMap::<(Hash, u16), Vec<(u128, u64)>>::new();
    for key in offers {
        view.list_remove(list, key);
        let Some(offer) = view.get::<HostOffer>(&key)? else { continue };
        view.delete(key);
        // The seat or a part of the bond may have been lost since the ask.
        let bonded = view.get::<Host>(&keys::host(&offer.run, &offer.account))?.map_or(0, |host| host.cu);
        let capacity = offer.capacity.min(bonded);
        if capacity > 0 && is_host(view, &offer.run, offer.stage, &offer.account)? {
            stages.entry((offer.run, offer.stage)).or_default().push((offer.price, capacity));
        }
    }
    for ((run, stage), asks) in stages {
        let policy = policy::of(view, &run)?;
        let credits: Credits = view.must(&keys::credits(&run), "run", run)?;
        let needed = credits.total.div_ceil(u64::from(policy.supply_horizon.max(1)));
        // The cap may have fallen since the asks.
        let Some(price) = clear(&asks, needed).map(|price| price.min(policy.host_fee_cap)) else { continue };
        view.put(keys::stage_price(&run, stage), StagePrice { run, stage, price, auctioned: true });
        let offered = asks.iter().fold(0u64, |sum, (_, capacity)| sum.saturating_add(*capacity));
        view.emit(StagePriced { run, stage, price, offered, needed });
    }
    Ok(())
}
