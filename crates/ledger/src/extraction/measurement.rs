//! Keep what red teams measured on a run: each figure with its evidence, a poster, a bond and an end.
//!
//! Anybody may post. A measurement counts at once, because the report takes the worst of those that count: it
//! can only make the published cost smaller and the admission work (within its bound) greater. It counts for
//! `ExtractionParams::measurement_epochs`; then its bond goes back. Owners can strike a false one out by vote
//! ([`strike`]); its bond goes to the public fund. About [`MOST`] measurements of a run count at a time: while so
//! many did at the start of a block, a new one must be worse than the mildest, which ends and gets its bond back.

use crate::{
    account,
    action::PostMeasurement,
    error::TxError,
    event::{MeasurementEnded, MeasurementPosted, Reason},
    keys,
    record::{ExtractionParams, Measurement},
    run::{self, within},
    seat,
    store::{Stop, View},
};
use std::cmp::Reverse;
use tessera_canon::{Hash, PublicKey};

/// Measurements of a run that count before a new one must be worse than one of them.
pub const MOST: usize = 8;

pub(crate) fn params(view: &View<'_>) -> Result<ExtractionParams, Stop> {
    Ok(view.get(&keys::extraction_params())?.unwrap_or_default())
}

/// The measurements of `run` that counted at the start of the block and still do.
pub(crate) fn counting(view: &View<'_>, run: &Hash) -> Result<Vec<Measurement>, Stop> {
    let ids = view.list_items(&keys::list_of_measurements(run))?;
    view.want(ids.iter().map(keys::measurement))?;
    let mut all = Vec::new();
    for id in ids {
        all.extend(view.get::<Measurement>(&keys::measurement(&id))?);
    }
    Ok(all)
}

pub(crate) fn post(view: &mut View<'_>, sender: &PublicKey, action: &PostMeasurement) -> Result<(), Stop> {
    let run = action.run;
    let id = keys::measurement_id(&run, sender, &action.evidence);
    run::load(view, &run)?;
    view.want([keys::extraction_params(), keys::params(), keys::measurement(&id)])?;
    within("mu", action.mu.into(), 1, 10_000)?;
    if view.get::<Measurement>(&keys::measurement(&id))?.is_some() {
        return Err(TxError::Duplicate { what: "measurement", id: id.to_string() }.into());
    }
    let live = counting(view, &run)?;
    if live.len() >= MOST {
        // Mildest: the least mu, then the greatest repair cost, then by id.
        let mildest = live.into_iter().min_by_key(|found| (found.mu, Reverse(found.repair), found.id));
        let Some(mildest) = mildest else { return Ok(()) };
        if (action.mu, Reverse(action.repair)) <= (mildest.mu, Reverse(mildest.repair)) {
            return Err(TxError::Measurements { count: MOST, mu: mildest.mu }.into());
        }
        end(view, mildest, false)?;
    }
    let params = params(view)?;
    account::charge_for(view, sender, params.measurement_bond, (Reason::MeasurementBond, &id))?;
    let epoch = view.context.height / view.params()?.epoch_blocks.max(1);
    let (poster, mu, repair, evidence) = (*sender, action.mu, action.repair, action.evidence);
    let bond = params.measurement_bond;
    view.put(keys::measurement(&id), Measurement { run, id, poster, mu, repair, evidence, epoch, bond });
    view.list_add(keys::list_of_measurements(&run), id);
    view.emit(MeasurementPosted { run, id, poster, mu, repair, evidence });
    seat::heard(view, &run, sender)
}

/// A measurement no longer counts; its event is what is left of it.
fn end(view: &mut View<'_>, measurement: Measurement, struck: bool) -> Result<(), Stop> {
    let Measurement { run, id, poster, bond, .. } = measurement;
    if struck {
        account::to_fund(view, bond)?;
    } else {
        account::credit_for(view, &poster, bond, (Reason::MeasurementBond, &id))?;
    }
    view.emit(MeasurementEnded { run, id, poster, struck, bond });
    view.delete(keys::measurement(&id));
    view.list_remove(keys::list_of_measurements(&run), id);
    Ok(())
}

/// At a boundary: measurements past their time end. Returns those that count.
pub(crate) fn expire(view: &mut View<'_>, run: &Hash, epoch: u64) -> Result<Vec<Measurement>, Stop> {
    let span = params(view)?.measurement_epochs;
    let (live, old): (Vec<_>, Vec<_>) =
        counting(view, run)?.into_iter().partition(|found| epoch < found.epoch.saturating_add(span));
    for measurement in old {
        end(view, measurement, false)?;
    }
    Ok(live)
}

/// A measurement of `run` that counts.
pub(crate) fn of_run(view: &View<'_>, run: &Hash, id: &Hash) -> Result<Measurement, Stop> {
    let found: Measurement = view.must(&keys::measurement(id), "measurement", id)?;
    if found.run != *run {
        return Err(TxError::Unknown { what: "measurement of this run", id: id.to_string() }.into());
    }
    Ok(found)
}

/// Strike a measurement out by the owners' decision (a vote of class C): its bond goes to the public fund.
pub(crate) fn strike(view: &mut View<'_>, run: &Hash, id: &Hash) -> Result<(), Stop> {
    let found = of_run(view, run, id)?;
    end(view, found, true)
}
