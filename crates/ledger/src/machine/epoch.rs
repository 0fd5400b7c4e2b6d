//! Do the work of a block's start: epoch boundaries in their fixed order, then the draws of seats, evaluations,
//! auditors and homes.
//!
//! Order (ownership specification 9.2): 1 validator set, 2 locks run out, settlements become final and series
//! end, 3 auctions, 4 claims mature, 5 supply, 6 public lane, 7 the pool is distributed, 8 issuance, 9 proposals,
//! 10 hosts, 11 extraction report, 12 public lottery. Shares activate
//! before credits are distributed, and both happen only here, so that no transaction's timing can matter.

use crate::{
    accounts::{issuance, validator},
    accumulator,
    credits::{dispute as session_dispute, host, public},
    event::CreditsDistributed,
    extraction::report,
    governance::proposal,
    keys, market,
    ownership::vesting,
    record::{Credits, RunState},
    run,
    runs::{draw, evaluation},
    series, session,
    store::{Stop, View},
    supply,
    trust::{dispute, panel},
    window,
};
use tessera_canon::Hash;

pub(crate) fn begin(view: &mut View<'_>) -> Result<(), Stop> {
    view.want([
        keys::params(),
        keys::list_length(&keys::list_of_joins()),
        keys::validator_key(&view.context.proposer),
        keys::list_length(&keys::list_of_locking()),
    ])?;
    validator::count_block(view)?;
    let epoch_blocks = view.params()?.epoch_blocks.max(1);
    let height = view.context.height;
    if height > 0 && height.is_multiple_of(epoch_blocks) {
        boundary(view, height / epoch_blocks)?;
    }
    draw::draw(view)?;
    evaluation::step(view)?;
    panel::draw(view)?;
    session::draw(view)
}

/// Open `epoch`.
fn boundary(view: &mut View<'_>, epoch: u64) -> Result<(), Stop> {
    let runs = view.list_items(&keys::list_of_runs())?;
    view.want(runs.iter().flat_map(|run| [keys::run(run), keys::run_terms(run), keys::credits(run)]))?;
    // 1 validator set.
    validator::boundary(view, epoch)?;
    // 2 locks, settlements, series.
    session::boundary(view, epoch)?;
    for run in &runs {
        series::boundary(view, run, epoch)?;
    }
    public::end_notes(view, epoch)?;
    session_dispute::lapse(view, epoch)?;
    // 3 auctions.
    market::batch::boundary(view, epoch, &runs)?;
    // 4 claims mature, after disputes whose time is over.
    dispute::sweep(view)?;
    for run in &runs {
        vesting::note_serving(view, run)?;
        progress(view, run, epoch)?;
    }
    for run in &runs {
        // 5 supply.
        supply::boundary(view, run)?;
        // 6 public lane.
        public::set_aside(view, run)?;
        // 7 the pool is distributed.
        distribute(view, run)?;
    }
    // 8 issuance.
    issuance::boundary(view, epoch)?;
    // 9 proposals.
    proposal::boundary(view)?;
    // 10 hosts.
    for run in &runs {
        host::move_fees(view, run)?;
    }
    host::release(view, epoch)?;
    market::host::boundary(view, epoch)?;
    // 11 extraction report.
    for run in &runs {
        report::boundary(view, run, epoch)?;
    }
    // 12 public lottery.
    for run in &runs {
        public::lottery(view, run, epoch)?;
    }
    Ok(())
}

fn progress(view: &mut View<'_>, id: &Hash, epoch: u64) -> Result<(), Stop> {
    let (terms, mut run) = run::load(view, id)?;
    if run.state == RunState::Exclusive && view.context.height > terms.exclusive_until {
        run::end_exclusive(view, &terms, &mut run)?;
    }
    if run.state == RunState::Paused && epoch >= run.paused_until {
        run::enter(view, &mut run, RunState::Open);
    }
    if matches!(run.state, RunState::Serving | RunState::Retired) {
        run.serving_epochs = run.serving_epochs.saturating_add(1);
    }
    window::mature(view, &terms, &mut run)?;
    view.put(keys::run(id), run);
    Ok(())
}

fn distribute(view: &mut View<'_>, id: &Hash) -> Result<(), Stop> {
    let (_, run) = run::load(view, id)?;
    if run.serving {
        let mut credits: Credits = view.must(&keys::credits(id), "run", id)?;
        let cu = accumulator::distribute(&mut credits);
        if cu > 0 {
            view.emit(CreditsDistributed { run: *id, cu, shares: credits.active });
        }
        view.put(keys::credits(id), credits);
    }
    Ok(())
}
