//! Begin a run with the weights of another, whose owners as a class hold a part of it (ownership specification 4.10).
//!
//! At its creation the child counts `P = floor(iota x F*_child x 65536 / (1 - iota))` active shares for the
//! parent's class: if the child does exactly its declared work at full weight, the class owns `iota` of it.
//! `iota` is one of the parent's terms, which never change. The child's initial loss is the parent's present
//! one, so that its weight begins at 1. What the class earns is sold and handed on by the market.
//!
//! The work that went into the parent's weights counts as the child's own for admission: a fork is no way to hold
//! them for less (`extraction::admission`).
//!
//! A parent exists before its child and a run has one parent, so there are no cycles.

use crate::{
    action::ForkRun,
    event::RunForked,
    governance, keys,
    ownership::class_account,
    record::{Credits, Lineage, Owner, Run, RunState},
    run::{self, WEIGHT_MAX, within},
    shares,
    store::{Stop, View},
};
use tessera_canon::PublicKey;

/// Most ancestors of a run.
pub const MAX_DEPTH: u8 = 8;

/// Shares of a parent's class in a child with declared work `f_star`; `part` (`iota`) in 1/10 000.
pub fn class_shares(f_star: u64, part: u16) -> u128 {
    let (part, rest) = (u128::from(part), 10_000u128.saturating_sub(part.into()).max(1));
    // Below 2^62 x 2^16 x 2^14.
    part * u128::from(f_star) * u128::from(WEIGHT_MAX) / rest
}

pub(crate) fn fork(view: &mut View<'_>, sender: &PublicKey, action: &ForkRun) -> Result<(), Stop> {
    let (parent, child) = (action.parent, action.run.run);
    view.want([keys::lineage(&parent), keys::lineage(&child), keys::run_terms(&child)])?;
    let (terms, state) = run::load(view, &parent)?;
    if !matches!(state.state, RunState::Open | RunState::Paused | RunState::Serving) {
        return Err(run::wrong_state(&state, "open, paused or serving"));
    }
    let before = view.get::<Lineage>(&keys::lineage(&parent))?;
    let depth = before.as_ref().map_or(0, |lineage| lineage.depth) + 1;
    let inherited = run::flops(&terms, &state, before.as_ref());
    within("the number of ancestors", depth.into(), 1, MAX_DEPTH.into())?;
    let loss = u128::from(state.loss_min);
    within("the initial loss, which is the parent's present one,", action.run.loss_0.into(), loss, loss)?;
    run::create(view, sender, &action.run)?;

    let holding = class_shares(action.run.f_star, terms.fork_part);
    view.put(keys::lineage(&child), Lineage { child, parent, depth, shares: holding, inherited });
    let mut credits: Credits = view.must(&keys::credits(&child), "run", child)?;
    governance::history::active_change(view, &credits)?;
    credits.active += holding;
    view.put(keys::credits(&child), credits.clone());
    shares::give(view, &credits, &class_account(&parent, &child), holding)?;
    view.list_add(keys::list_of_children(&parent), child);
    view.emit(RunForked { parent, child, depth, shares: holding });
    Ok(())
}

/// Drop the class's holding in a child that was aborted: no share of it is worth anything (P11).
pub(crate) fn drop_class(view: &mut View<'_>, run: &Run) -> Result<(), Stop> {
    let key = keys::lineage(&run.run);
    let Some(mut lineage) = view.get::<Lineage>(&key)? else { return Ok(()) };
    let owner_key = keys::owner(&run.run, &class_account(&lineage.parent, &run.run));
    let mut credits: Credits = view.must(&keys::credits(&run.run), "run", run.run)?;
    if let Some(mut owner) = view.get::<Owner>(&owner_key)? {
        credits.active = credits.active.saturating_sub(owner.shares);
        owner.shares = 0;
        view.put(owner_key, owner);
        view.put(keys::credits(&run.run), credits);
    }
    lineage.shares = 0;
    view.put(key, lineage);
    Ok(())
}
