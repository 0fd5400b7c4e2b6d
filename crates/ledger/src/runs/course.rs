//! Change the course of a run by its owners' decision: pause, resume, serve, train on, retire, raise F*.
//!
//! Governance calls these functions once a proposal is through (ownership specification 4.10, 6.1); nothing
//! else may. Each refuses a state from which its step is not possible and then has no effect. How long a pause
//! may last and how soon another may follow is the caller's rule; `Run::paused_until` keeps the last one's end.
//!
//! ```text
//! Open   -- pause --> Paused -- resume, or the end of the pause --> Open
//! Open   -- start_serving --> Serving -- resume_training --> Open (notes stay usable) -- last window --> Serving
//! Open, Paused, Serving -- retire --> Retired
//! ```
//! A pause halts training, never the use of notes: no vote can take from a user what he holds.

use crate::{
    event::{RunPaused, TargetRaised, TrainingResumed},
    keys,
    record::{Run, RunState, RunTerms, Stage},
    run::{self, MOST, within},
    store::{Stop, View},
    window,
};
use tessera_canon::Hash;

fn expect(run: &Run, states: &[RunState], expected: &'static str) -> Result<(), Stop> {
    if states.contains(&run.state) { Ok(()) } else { Err(run::wrong_state(run, expected)) }
}

/// The epoch of the block being run.
fn epoch(view: &View<'_>) -> Result<u64, Stop> {
    view.want([keys::params()])?;
    Ok(view.context.height / view.params()?.epoch_blocks.max(1))
}

/// Halt the training of an open run until the boundary that opens `until_epoch`, which must be a later epoch.
pub(crate) fn pause(view: &mut View<'_>, id: &Hash, until_epoch: u64) -> Result<(), Stop> {
    let (_, mut run) = run::load(view, id)?;
    expect(&run, &[RunState::Open], "open")?;
    within("the end of the pause", until_epoch.into(), u128::from(epoch(view)?) + 1, u64::MAX.into())?;
    run.paused_until = until_epoch;
    run::enter(view, &mut run, RunState::Paused);
    view.put(keys::run(id), run);
    view.emit(RunPaused { run: *id, until: until_epoch });
    Ok(())
}

/// End a pause now.
pub(crate) fn resume(view: &mut View<'_>, id: &Hash) -> Result<(), Stop> {
    let (_, mut run) = run::load(view, id)?;
    expect(&run, &[RunState::Paused], "paused")?;
    run.paused_until = epoch(view)?;
    run::enter(view, &mut run, RunState::Open);
    view.put(keys::run(id), run);
    Ok(())
}

/// End the training of an open or paused run, whose window in progress is closed as it is.
fn end_training(view: &mut View<'_>, terms: &RunTerms, run: &mut Run) -> Result<(), Stop> {
    // A window that closes as the last one returns the rest of the designers' bond and enters `Serving`.
    if run.state == RunState::Paused {
        run.state = RunState::Open;
    }
    run.windows = run.window.saturating_add(1);
    window::close_early(view, terms, run)?;
    run.windows = run.window;
    window::return_bond(view, terms, run, true)
}

/// Serve with the weights as they are: training ends before its last window.
pub(crate) fn start_serving(view: &mut View<'_>, id: &Hash) -> Result<(), Stop> {
    let (terms, mut run) = run::load(view, id)?;
    expect(&run, &[RunState::Open, RunState::Paused], "open or paused")?;
    end_training(view, &terms, &mut run)?;
    if run.state != RunState::Serving {
        run::enter(view, &mut run, RunState::Serving);
    }
    view.put(keys::run(id), run);
    Ok(())
}

/// Train on for as many whole windows as fit into `max_wu` work units, at the weight of now (4.10). Notes stay
/// usable meanwhile.
pub(crate) fn resume_training(view: &mut View<'_>, id: &Hash, max_wu: u64) -> Result<(), Stop> {
    let (terms, mut run) = run::load(view, id)?;
    expect(&run, &[RunState::Serving], "serving")?;
    let of = |stage| keys::stage(id, stage);
    view.want((0..terms.stages).map(of))?;
    let mut per_microbatch = 0u128;
    for stage in 0..terms.stages {
        per_microbatch += u128::from(view.must::<Stage>(&of(stage), "stage", stage)?.wu);
    }
    // Creation bounds the product over all planned steps by 2^62.
    let per_window = per_microbatch * u128::from(terms.window_steps) * u128::from(terms.microbatches);
    let room = u128::from(MOST.saturating_sub(run.f_done));
    within("the new work of resumed training", max_wu.into(), per_window.max(1), room)?;
    let windows = u128::from(max_wu) / per_window.max(1);
    let most = u128::from(u32::MAX - run.windows);
    within("the windows of resumed training", windows, 1, most)?;
    run.windows += windows as u32;
    run::enter(view, &mut run, RunState::Open);
    view.emit(TrainingResumed { run: *id, windows: run.windows, max_wu });
    view.put(keys::run(id), run);
    Ok(())
}

/// Wind the run down: no more training and no new credits. Notes can be used until their series ends, pending
/// claims mature, and shares earn what is still used.
pub(crate) fn retire(view: &mut View<'_>, id: &Hash) -> Result<(), Stop> {
    let (terms, mut run) = run::load(view, id)?;
    expect(&run, &[RunState::Open, RunState::Paused, RunState::Serving], "open, paused or serving")?;
    if run.state != RunState::Serving {
        end_training(view, &terms, &mut run)?;
    }
    run::enter(view, &mut run, RunState::Retired);
    view.put(keys::run(id), run);
    Ok(())
}

/// Raise the declared total work; it can never fall (4.3). The weight of work done so far does not change, and
/// no later weight is above the present one.
pub(crate) fn raise_f_star(view: &mut View<'_>, id: &Hash, f_star: u64) -> Result<(), Stop> {
    let (_, mut run) = run::load(view, id)?;
    let living = [RunState::Open, RunState::Paused, RunState::Serving];
    expect(&run, &living, "open, paused or serving")?;
    within("the declared work F*", f_star.into(), u128::from(run.f_star) + 1, MOST.into())?;
    run.f_star = f_star;
    view.put(keys::run(id), run);
    view.emit(TargetRaised { run: *id, f_star });
    Ok(())
}
