//! Order a run back to the step before work that was proven false, so that nothing of it stays in the weights.
//!
//! ```text
//! work of (generation g, step t) is proven false
//! undone already  iff some rollback r with r.generation > g has r.step <= t
//! otherwise       generation := newest + 1; the run goes on from the state before step t
//! ```
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
    record::{Rollback, Run, Work},
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

/// Order the run back, if false `work` is still part of it. `proven`: false units of this run so far.
pub(crate) fn order(view: &mut View<'_>, run: &Hash, work: &Work, proven: u64) -> Result<(), Stop> {
    let generation = newest(view, run)?.map_or(0, |newest| newest.generation);
    let tolerated = u64::from(params::load(view)?.tolerated_units);
    // Work of a generation that was never ordered is of no run.
    if proven <= tolerated || work.generation > generation || is_undone(view, run, work, generation)? {
        return Ok(());
    }
    let in_training = view.get::<Run>(&keys::run(run))?.is_some_and(|run| seat::in_training(&run));
    let Some(generation) = generation.checked_add(1).filter(|_| in_training) else { return Ok(()) };
    let rollback = Rollback { run: *run, generation, step: work.step, height: view.context.height };
    view.put(keys::rollback(run, 0), rollback.clone());
    view.put(keys::rollback(run, generation), rollback);
    view.emit(RolledBack { run: *run, generation, step: work.step });
    Ok(())
}
