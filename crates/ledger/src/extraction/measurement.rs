//! Keep what red teams measured on a run: each figure with its evidence, a poster, a bond and an end.
//!
//! Anybody may post. A measurement counts at once, because the report takes the worst of those that count: it
//! can only make the published cost smaller and the admission work (within its bound) greater. It counts for
//! `ExtractionParams::measurement_epochs`; then its bond goes back. Owners can strike a false one out by vote
//! ([`strike`]); its bond goes to the public fund. A run has [`SLOTS`] places; while all are taken a new
//! measurement must be worse than the mildest, which ends and gets its bond back.

use crate::{
    account,
    action::PostMeasurement,
    error::TxError,
    event::{MeasurementEnded, MeasurementPosted},
    keys,
    record::{ExtractionParams, Measurement},
    run::{self, within},
    seat,
    store::{Stop, View},
};
use std::cmp::Reverse;
use tessera_canon::{Hash, PublicKey};

/// Measurements of a run that can count at a time.
pub const SLOTS: u8 = 8;

pub(crate) fn params(view: &View<'_>) -> Result<ExtractionParams, Stop> {
    Ok(view.get(&keys::extraction_params())?.unwrap_or_default())
}

/// The measurements of `run` that count.
pub(crate) fn counting(view: &View<'_>, run: &Hash) -> Result<Vec<Measurement>, Stop> {
    view.want((0..SLOTS).map(|slot| keys::measurement(run, slot)))?;
    let mut all = Vec::new();
    for slot in 0..SLOTS {
        all.extend(view.get::<Measurement>(&keys::measurement(run, slot))?.filter(|found| found.counts));
    }
    Ok(all)
}

pub(crate) fn post(view: &mut View<'_>, sender: &PublicKey, action: &PostMeasurement) -> Result<(), Stop> {
    let run = action.run;
    run::load(view, &run)?;
    view.want([keys::extraction_params(), keys::params()])?;
    within("mu", action.mu.into(), 1, 10_000)?;
    let live = counting(view, &run)?;
    let free = (0..SLOTS).find(|slot| live.iter().all(|found| found.slot != *slot));
    // Mildest: the least mu, then the greatest repair cost, then the last slot.
    let mildness = |mu, repair, slot| (mu, Reverse(repair), Reverse(slot));
    let slot = match free {
        Some(slot) => slot,
        None => {
            let mildest = live.iter().min_by_key(|found| mildness(found.mu, found.repair, found.slot));
            let Some(mildest) = mildest.cloned() else { return Ok(()) };
            if (action.mu, Reverse(action.repair)) <= (mildest.mu, Reverse(mildest.repair)) {
                return Err(TxError::Measurements { slots: SLOTS.into(), mu: mildest.mu }.into());
            }
            let slot = mildest.slot;
            end(view, mildest, false)?;
            slot
        }
    };
    let params = params(view)?;
    account::debit(view, sender, params.measurement_bond)?;
    let epoch = view.context.height / view.params()?.epoch_blocks.max(1);
    view.put(
        keys::measurement(&run, slot),
        Measurement {
            run,
            slot,
            poster: *sender,
            mu: action.mu,
            repair: action.repair,
            evidence: action.evidence,
            epoch,
            bond: params.measurement_bond,
            counts: true,
        },
    );
    let (poster, mu, repair, evidence) = (*sender, action.mu, action.repair, action.evidence);
    view.emit(MeasurementPosted { run, slot, poster, mu, repair, evidence });
    seat::heard(view, &run, sender)
}

fn end(view: &mut View<'_>, mut measurement: Measurement, struck: bool) -> Result<(), Stop> {
    let bond = std::mem::take(&mut measurement.bond);
    if struck {
        account::to_fund(view, bond)?;
    } else {
        account::credit(view, &measurement.poster, bond)?;
    }
    let (run, slot, poster) = (measurement.run, measurement.slot, measurement.poster);
    view.emit(MeasurementEnded { run, slot, poster, struck, bond });
    measurement.counts = false;
    view.put(keys::measurement(&run, slot), measurement);
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

/// Strike a measurement out by the owners' decision (a vote of class C): its bond goes to the public fund.
#[allow(dead_code)] // governance calls it
pub(crate) fn strike(view: &mut View<'_>, run: &Hash, slot: u8) -> Result<(), Stop> {
    let found = view.get::<Measurement>(&keys::measurement(run, slot))?.filter(|found| found.counts);
    let found = found.ok_or(TxError::Unknown { what: "measurement in slot", id: slot.to_string() })?;
    end(view, found, true)
}
