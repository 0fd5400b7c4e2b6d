//! Let credits end: validity classes by time, roll-over, and a price that holds for a whole class (ownership
//! specification 1.3, 3.2, 3.9).
//!
//! A run's credits belong to *series*. The current series and the one before are live. When a series begins,
//! the one two before it ends: its free credits go to the pool in one step, because a cell for each series
//! keeps their sum. No note is touched: a note of an ended series *counts as* expired. Credits that come free
//! later (from the market's hands or from a lock) find their series ended and go to the pool as well.
//!
//! The clock counts epochs of the run in which a session could have been opened: the run serves (or is being
//! wound down) and every stage has a held seat. The specification extends a series by an outage, "no settlement
//! in X epochs". That definition can be gamed: whoever holds all the credits of a quiet run decides whether
//! anything is settled, and could keep his notes for ever without the haircut of rolling them. A stage without
//! any seat is an outage that the ledger sees for itself; to bring it about, all hosts of the stage must give up
//! their seats and their pay, and any newcomer ends it.
//!
//! Not here: what the owners may set as the next price ([`crate::runs::policy`]).

use crate::{
    action::{ChunkPrice, RollNote},
    credits::params::PRICE_STEP,
    error::TxError,
    event::{NoteRolled, SeriesChanged},
    keys,
    note::{self, NewNote},
    record::{Credits, Lane, Run, RunTerms, Series, Stage},
    run,
    runs::policy,
    store::{Stop, View},
    supply::{self, Place},
};
use tessera_canon::{Hash, PublicKey};

/// Whether credits of `series` can be used while `current` is the current series.
pub fn live(current: u16, series: u16) -> bool {
    series == current || series.checked_add(1) == Some(current)
}

/// The run's cell of sums and clocks.
pub(crate) fn lane(view: &View<'_>, run: &Hash) -> Result<Lane, Stop> {
    Ok(view.get(&keys::lane(run))?.unwrap_or_else(|| Lane::new(*run)))
}

/// A series; without sums if nothing of it has been made.
pub(crate) fn load(view: &View<'_>, run: &Hash, series: u16) -> Result<Series, Stop> {
    let key = keys::series(run, series);
    if let Some(found) = view.get(&key)? {
        return Ok(found);
    }
    let terms: RunTerms = view.must(&keys::run_terms(run), "run", run)?;
    Ok(Series { run: *run, series, price: terms.price, notes: 0, auctioned: 0, locked: 0, began: 0 })
}

/// `wanted`, held within a fifth of `before`.
fn near(before: u32, wanted: u32) -> u32 {
    let step = before / PRICE_STEP;
    wanted.clamp(before - step, before.saturating_add(step))
}

/// The price of the series after one that had `before`, if the owners want `wanted`.
pub fn next_price(before: &ChunkPrice, wanted: &ChunkPrice) -> ChunkPrice {
    ChunkPrice {
        prompt_tokens: near(before.prompt_tokens, wanted.prompt_tokens),
        generated_tokens: near(before.generated_tokens, wanted.generated_tokens),
    }
}

/// Whether a session of the run could be opened: it serves, and every stage has a host.
fn in_service(view: &View<'_>, terms: &RunTerms, run: &Run) -> Result<bool, Stop> {
    if !run.serving {
        return Ok(false);
    }
    view.want((0..terms.stages).map(|stage| keys::stage(&terms.run, stage)))?;
    for stage in 0..terms.stages {
        if view.get::<Stage>(&keys::stage(&terms.run, stage))?.is_none_or(|stage| stage.held == 0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// At a boundary: count the epoch; begin a series when the current one is over, and end the one two before.
pub(crate) fn boundary(view: &mut View<'_>, id: &Hash, epoch: u64) -> Result<(), Stop> {
    view.want([keys::run_terms(id), keys::run(id), keys::credits(id), keys::lane(id), keys::rules()])?;
    let (terms, run) = run::load(view, id)?;
    if !in_service(view, &terms, &run)? {
        return Ok(());
    }
    let mut credits: Credits = view.must(&keys::credits(id), "run", id)?;
    let mut lane = lane(view, id)?;
    lane.series_age = lane.series_age.saturating_add(1);
    if lane.series_age <= view.rules()?.series_epochs.max(1) {
        view.put(keys::lane(id), lane);
        return Ok(());
    }
    // 2^16 series of a day are 179 years; the last one stays.
    let Some(next) = credits.series.checked_add(1) else { return Ok(()) };
    let before = load(view, id, credits.series)?;
    let price = next_price(&before.price, &policy::of(view, id)?.price);
    let mut expired = 0;
    if let Some(gone) = credits.series.checked_sub(1) {
        let mut old = load(view, id, gone)?;
        expired = std::mem::take(&mut old.notes);
        credits.notes -= expired;
        credits.pool += expired;
        view.put(keys::series(id, gone), old);
    }
    credits.series = next;
    lane.series_age = 1;
    view.put(
        keys::series(id, next),
        Series {
            run: *id,
            series: next,
            price: price.clone(),
            notes: 0,
            auctioned: 0,
            locked: 0,
            began: epoch,
        },
    );
    view.put(keys::credits(id), credits);
    view.put(keys::lane(id), lane);
    view.emit(SeriesChanged { run: *id, series: next, price, expired });
    Ok(())
}

/// Move a note of the series before the current one into the current one, for a part of it.
pub(crate) fn roll(
    view: &mut View<'_>,
    tx: &Hash,
    sender: &PublicKey,
    action: &RollNote,
) -> Result<(), Stop> {
    let note = note::unspent(view, &action.note)?;
    if note.owner != keys::owner_hash(sender) {
        return Err(TxError::NotOwner { note: note.id, owner: note.owner }.into());
    }
    note::unbound(&note)?;
    let run = note.run;
    view.want([keys::credits(&run), keys::run_policy(&run), keys::series(&run, note.series)])?;
    let credits: Credits = view.must(&keys::credits(&run), "run", run)?;
    if note.series.checked_add(1) != Some(credits.series) {
        let expected = credits.series.saturating_sub(1);
        return Err(TxError::NotToRoll { expected, got: note.series }.into());
    }
    let part = u128::from(policy::of(view, &run)?.roll_haircut);
    let haircut = (u128::from(note.cu) * part).div_ceil(10_000).min(note.cu.into()) as u64;
    let (rest, owner, series) = (note.cu - haircut, note.owner, credits.series);
    supply::shift(view, &run, note.series, Place::Notes, Place::Pool, note.cu)?;
    supply::shift(view, &run, series, Place::Pool, Place::Notes, rest)?;
    view.emit(NoteRolled { note: note.id, run, cu: rest, haircut });
    note::spend(view, note, tx);
    if rest > 0 {
        note::create(view, NewNote { run, series, cu: rest, owner, flags: 0 }, tx, 0);
    }
    Ok(())
}
