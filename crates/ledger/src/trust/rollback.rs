//! Order a run back to the step before work that was proven false, so that nothing of it stays in the weights.
//!
//! ```text
//! work of (generation g, step t) is proven false
//! undone already  iff some rollback r with r.generation > g has r.step <= t
//! otherwise       generation := newest + 1; the run goes on from the state before step t
//! fraud           t := the first step of the oldest window whose claims have not matured, `evidence_windows` back at most
//! ```
//! One false unit may be a fault of hardware, and nothing else of the seat is doubted. With a fraud all that is pending
//! of the seat is forfeited unseen (`verify` 11.9, the retroactive rule), so all of it is undone as well.
//! The arithmetic is exact, so a run that goes back and does those steps again without the false work ends with the
//! weights of one in which it never was. Windows that were reported stay reported and their claims stay: who worked
//! on poisoned weights in good faith did the work. The steps that are done again are anchored with the window that is
//! open then; those of windows that were paid are not paid twice. Reports of an older generation are refused, so none
//! can bring poisoned roots after the order. A run that has trained its last window stays as it is.
//!
//! Tolerating some false units is left to [`TrustParams::tolerated_units`](crate::trust::TrustParams); it is 0 where
//! a run promises to equal one process.

use crate::{
    event::RolledBack,
    keys,
    record::{Rollback, Run, RunTerms, Work},
    seat,
    store::{Stop, View},
    trust::params,
};
use tessera_canon::Hash;

/// Rollbacks that are looked through; a run with more since the work was done is rolled back once too often.
const LOOKED_THROUGH: u32 = 256;

/// The newest rollback of a run.
pub(crate) fn newest(view: &View<'_>, run: &Hash) -> Result<Option<Rollback>, Stop> {
    view.get(&keys::rollback(run, 0))
}

/// Whether work is no longer part of the run.
fn is_undone(view: &View<'_>, run: &Hash, work: &Work, generation: u32) -> Result<bool, Stop> {
    let from = work.generation.saturating_add(1).max(generation.saturating_sub(LOOKED_THROUGH));
    view.want((from..=generation).map(|at| keys::rollback(run, at)))?;
    for at in from..=generation {
        let step = view.get::<Rollback>(&keys::rollback(run, at))?.map(|rollback| rollback.step);
        if step.is_some_and(|step| step <= work.step) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The step from which work is in doubt when a seat that cheated in `step` is caught.
fn doubted_from(view: &View<'_>, run: &Run, step: u64) -> Result<u64, Stop> {
    let terms: RunTerms = view.must(&keys::run_terms(&run.run), "run", run.run)?;
    let deepest = run.window.saturating_sub(params::load(view)?.evidence_windows);
    Ok(step.min(u64::from(run.matured.max(deepest)) * u64::from(terms.window_steps)))
}

/// Order the run back, if false `work` is still part of it. `fraud`: what else is pending of the seat goes too.
/// `proven`: false units of this run so far.
pub(crate) fn order(
    view: &mut View<'_>,
    run: &Hash,
    work: &Work,
    fraud: bool,
    proven: u64,
) -> Result<(), Stop> {
    let Some(now) = view.get::<Run>(&keys::run(run))? else { return Ok(()) };
    let step = if fraud { doubted_from(view, &now, work.step)? } else { work.step };
    let work = &Work { step, ..work.clone() };
    let generation = newest(view, run)?.map_or(0, |newest| newest.generation);
    let tolerated = u64::from(params::load(view)?.tolerated_units);
    // Work of a generation that was never ordered is of no run.
    if proven <= tolerated || work.generation > generation || is_undone(view, run, work, generation)? {
        return Ok(());
    }
    let Some(generation) = generation.checked_add(1).filter(|_| seat::in_training(&now)) else {
        return Ok(());
    };
    let rollback = Rollback { run: *run, generation, step: work.step, height: view.context.height };
    view.put(keys::rollback(run, 0), rollback.clone());
    view.put(keys::rollback(run, generation), rollback);
    view.emit(RolledBack { run: *run, generation, step: work.step });
    Ok(())
}
