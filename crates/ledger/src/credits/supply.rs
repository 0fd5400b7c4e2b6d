//! Move credits between the places they can be in, and set how many there are (ownership specification 3.9).
//!
//! ```text
//! the first V epochs of serving   S_0 is minted in V equal parts into the pool
//! Constant                        nothing more
//! Capacity, each epoch            S* = 0.8 x capacity of the weakest stage x V
//!                                 S* > S: mint min(S* - S, S/4096);  S* < S: retire min(S - S*, pool/4)
//! ```
//! Nothing but the pool is ever retired: notes in hands are never touched. The invariant CU (the places sum to
//! the total) is kept by [`shift`], [`issue`] and [`boundary`] alone.

use crate::{
    credits::params::{CAPACITY_PART, POOL_STEP, SUPPLY_STEP},
    event::SupplyChanged,
    keys,
    record::{Capacity, Credits, Run, RunTerms},
    run,
    runs::policy::{self, SupplyMode},
    series,
    store::{Stop, View},
};
use tessera_canon::Hash;

/// Most credits of a run: after 2^24 uses of each of them the sums still stay within `u64`.
pub const MOST_SUPPLY: u64 = 1 << 40;

/// Where credits of a run can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In unspent notes of live series.
    Notes,
    /// In the market's hands.
    Auctioned,
    /// In locked notes.
    Locked,
    /// Waiting for the next distribution.
    Pool,
    /// Set aside for the public lane.
    Public,
}

fn place(credits: &mut Credits, place: Place) -> Option<&mut u64> {
    match place {
        Place::Notes => Some(&mut credits.notes),
        Place::Auctioned => Some(&mut credits.auctioned),
        Place::Locked => Some(&mut credits.locked),
        Place::Pool => Some(&mut credits.pool),
        Place::Public => None,
    }
}

/// Move `cu` credits of a series. The caller moved the notes; what `from` holds covers it. Credits of an ended
/// series that come free go to the pool instead of into a note.
pub(crate) fn shift(
    view: &mut View<'_>,
    run: &Hash,
    series: u16,
    from: Place,
    to: Place,
    cu: u64,
) -> Result<(), Stop> {
    let key = keys::credits(run);
    view.want([key, keys::series(run, series), keys::lane(run), keys::run_terms(run)])?;
    let mut credits: Credits = view.must(&key, "run", run)?;
    let (mut sums, mut lane) = (series::load(view, run, series)?, series::lane(view, run)?);
    let ended = !series::live(credits.series, series);
    let to = if ended && to == Place::Notes { Place::Pool } else { to };
    for (at, gains) in [(from, false), (to, true)] {
        let of_series = match at {
            Place::Notes => Some(&mut sums.notes),
            Place::Auctioned => Some(&mut sums.auctioned),
            Place::Locked => Some(&mut sums.locked),
            Place::Pool => None,
            Place::Public => Some(&mut lane.public_pot),
        };
        for sum in of_series.into_iter().chain(place(&mut credits, at)) {
            *sum = if gains { *sum + cu } else { *sum - cu };
        }
    }
    view.put(key, credits);
    view.put(keys::series(run, series), sums);
    view.put(keys::lane(run), lane);
    Ok(())
}

/// Hand `cu` credits that owners had to claim into `to`, as credits of the current series. `credits` is the
/// caller's working copy, which it stores.
pub(crate) fn issue(view: &mut View<'_>, credits: &mut Credits, to: Place, cu: u64) -> Result<(), Stop> {
    let key = keys::series(&credits.run, credits.series);
    view.want([key, keys::run_terms(&credits.run)])?;
    let mut sums = series::load(view, &credits.run, credits.series)?;
    credits.owner_out += cu;
    match to {
        Place::Notes => (sums.notes, credits.notes) = (sums.notes + cu, credits.notes + cu),
        Place::Auctioned => {
            (sums.auctioned, credits.auctioned) = (sums.auctioned + cu, credits.auctioned + cu)
        }
        Place::Locked => (sums.locked, credits.locked) = (sums.locked + cu, credits.locked + cu),
        Place::Pool | Place::Public => credits.pool += cu,
    }
    view.put(key, sums);
    Ok(())
}

/// Credits of the first `parts` of `of` equal parts.
fn minted(supply: u64, parts: u32, of: u32) -> u64 {
    (u128::from(supply) * u128::from(parts) / u128::from(of.max(1))) as u64
}

/// What an epoch does to a supply of `total` of which `pool` is in the pool: (minted, retired).
pub fn step(total: u64, pool: u64, target: u64) -> (u64, u64) {
    if target > total {
        ((target - total).min(total / SUPPLY_STEP), 0)
    } else {
        (0, (total - target).min(pool / POOL_STEP))
    }
}

/// The supply that `capacity` credits per epoch of the weakest stage call for, over `horizon` epochs.
pub fn target(capacity: u64, horizon: u32) -> u64 {
    let exact = u128::from(capacity) * u128::from(horizon) * CAPACITY_PART / 10_000;
    exact.min(MOST_SUPPLY.into()) as u64
}

/// Bonded credits per epoch of the weakest stage.
pub(crate) fn weakest(view: &View<'_>, terms: &RunTerms) -> Result<u64, Stop> {
    view.want((0..terms.stages).map(|stage| keys::capacity(&terms.run, stage)))?;
    let mut least = u64::MAX;
    for stage in 0..terms.stages {
        let held = view.get::<Capacity>(&keys::capacity(&terms.run, stage))?;
        least = least.min(held.map_or(0, |capacity| capacity.cu));
    }
    Ok(if terms.stages == 0 { 0 } else { least })
}

/// At a boundary of a serving run: the next part of the first supply, afterwards what its mode says.
pub(crate) fn boundary(view: &mut View<'_>, id: &Hash) -> Result<(), Stop> {
    view.want([keys::run_terms(id), keys::run(id), keys::credits(id), keys::run_policy(id)])?;
    let (terms, mut run) = run::load(view, id)?;
    if !run.serves() {
        return Ok(());
    }
    let mut credits: Credits = view.must(&keys::credits(id), "run", id)?;
    let (more, less) = change(view, &terms, &mut run, &credits)?;
    credits.pool = credits.pool + more - less;
    credits.total = credits.total + more - less;
    if more + less > 0 {
        view.emit(SupplyChanged { run: *id, minted: more, retired: less, total: credits.total });
    }
    view.put(keys::credits(id), credits);
    view.put(keys::run(id), run);
    Ok(())
}

fn change(view: &View<'_>, terms: &RunTerms, run: &mut Run, credits: &Credits) -> Result<(u64, u64), Stop> {
    if run.minted_parts < terms.supply_epochs {
        let before = minted(terms.supply, run.minted_parts, terms.supply_epochs);
        run.minted_parts += 1;
        return Ok((minted(terms.supply, run.minted_parts, terms.supply_epochs) - before, 0));
    }
    let policy = policy::of(view, &run.run)?;
    Ok(match policy.supply_mode {
        SupplyMode::Constant => (0, 0),
        SupplyMode::Capacity => {
            let target = target(weakest(view, terms)?, policy.supply_horizon);
            step(credits.total, credits.pool, target)
        }
    })
}
