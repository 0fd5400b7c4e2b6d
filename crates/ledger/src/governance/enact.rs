//! Check what a motion asks for, when it is posted and again when it is carried out; and carry it out.

use crate::{
    error::TxError,
    event::ParameterChanged,
    extraction::measurement,
    governance::{
        action::{Change, Motion},
        history,
        parameter::{self, Network, Parameter},
        terms,
    },
    keys, market,
    record::{AuditStats, Issuance, RunPolicy, RunState, SecurityTerms},
    run,
    runs::{course, policy},
    store::{Stop, View},
};
use std::collections::BTreeSet;
use tessera_canon::Hash;

fn network(view: &View<'_>) -> Result<Network, Stop> {
    view.want([keys::params(), keys::security(), keys::issuance()])?;
    Ok(Network {
        base: view.params()?,
        security: view.get::<SecurityTerms>(&keys::security())?.unwrap_or_default(),
        issuance: view.get::<Issuance>(&keys::issuance())?.unwrap_or_default(),
    })
}

fn refuse(what: &'static str, expected: &str, got: impl ToString) -> Stop {
    TxError::Parameter { what, expected: expected.into(), got: got.to_string() }.into()
}

/// Whether `motion` may be posted: its bounds, and that nobody is asked for what nobody may vote.
pub(crate) fn check(view: &View<'_>, run: &Hash, motion: &Motion) -> Result<(), Stop> {
    if *run != Hash::ZERO {
        let (_, state) = run::load(view, run)?;
        if matches!(state.state, RunState::Aborted | RunState::Retired) {
            return Err(run::wrong_state(&state, "neither aborted nor retired"));
        }
    } else if !matches!(motion, Motion::Changes(_)) {
        return Err(refuse("the scope of the motion", "a run", "the network"));
    }
    match motion {
        Motion::Changes(list) => check_changes(view, run, &list.changes, false),
        Motion::PauseRun(_) => check_pause(view, run),
        Motion::ResumeTraining(action) if action.max_wu == 0 || action.max_wu > run::MOST => {
            Err(refuse("the new work", "1 to 2^62 work units", action.max_wu))
        }
        Motion::RaiseTarget(action) if action.new <= action.old || action.new > run::MOST => {
            Err(refuse("the declared work F*", "above the old one, at most 2^62", action.new))
        }
        Motion::AmendPlan(action) if action.new == action.old => {
            Err(refuse("the training plan", "another than before", action.new))
        }
        Motion::StrikeMeasurement(action) => measurement::of_run(view, run, &action.measurement).map(drop),
        _ => Ok(()),
    }
}

fn check_changes(view: &View<'_>, run: &Hash, changes: &[Change], matching: bool) -> Result<(), Stop> {
    let mut seen = BTreeSet::new();
    if changes.is_empty() {
        return Err(refuse("the number of changes", "at least 1", 0));
    }
    if let Some(twice) = changes.iter().find(|change| !seen.insert(change.parameter)) {
        return Err(TxError::Duplicate { what: "change of", id: twice.parameter.what().into() }.into());
    }
    if *run == Hash::ZERO {
        parameter::changed_network(&network(view)?, changes, matching)?;
    } else {
        view.want([keys::run_policy(run), keys::defaults()])?;
        let reserve = changes.iter().find(|change| change.parameter == Parameter::Reserve);
        if let (Some(change), Some(most)) = (reserve, market::reserve_bound(view, run)?)
            && change.new > most
        {
            let expected = format!("at most {most} nano-U, a quarter above the median price");
            return Err(refuse("the reserve price", &expected, change.new));
        }
        let network = view.defaults()?;
        let after = parameter::changed_policy(&policy::of(view, run)?, &network, changes, matching)?;
        if network.bounds.deterrence && changes.iter().any(|change| change.parameter.deters()) {
            // At the rate at which audits of this run did find what was false.
            after.deters(view.get::<AuditStats>(&keys::audit_stats(run))?.as_ref())?;
        }
    }
    Ok(())
}

fn check_pause(view: &View<'_>, run: &Hash) -> Result<(), Stop> {
    let (from, now) = (history::assembly(view, run)?.no_pause_before, view.context.height);
    if now < from {
        return Err(TxError::Early { what: "another pause", after: from - 1, now }.into());
    }
    Ok(())
}

/// Carry out a motion that has passed; refused as a whole if anything no longer fits.
pub(crate) fn enact(view: &mut View<'_>, run: &Hash, motion: &Motion) -> Result<(), Stop> {
    match motion {
        Motion::Changes(list) => change(view, run, &list.changes),
        Motion::PauseRun(_) => pause(view, run),
        Motion::ResumeRun(_) => course::resume(view, run),
        Motion::StartServing(_) => course::start_serving(view, run),
        Motion::ResumeTraining(action) => course::resume_training(view, run, action.max_wu),
        Motion::RetireRun(_) => course::retire(view, run),
        Motion::RaiseTarget(action) => {
            let (_, now) = run::load(view, run)?;
            if now.f_star != action.old {
                let what = "the declared work F*";
                return Err(TxError::Stale { what, old: action.old.into(), now: now.f_star.into() }.into());
            }
            course::raise_f_star(view, run, action.new)
        }
        Motion::AmendPlan(action) => {
            let mut assembly = history::assembly(view, run)?;
            if assembly.plan != action.old {
                // Hashes do not fit the error's figures; their first bytes tell them apart.
                let (old, now) = (action.old.low_u64().into(), assembly.plan.low_u64().into());
                return Err(TxError::Stale { what: "the training plan", old, now }.into());
            }
            assembly.plan = action.new;
            view.put(keys::assembly(run), assembly);
            Ok(())
        }
        Motion::StrikeMeasurement(action) => measurement::strike(view, run, &action.measurement),
    }
}

fn change(view: &mut View<'_>, run: &Hash, changes: &[Change]) -> Result<(), Stop> {
    check_changes(view, run, changes, true)?;
    if *run == Hash::ZERO {
        let after = parameter::changed_network(&network(view)?, changes, true)?;
        view.put(keys::params(), after.base);
        view.put(keys::security(), after.security);
        view.put(keys::issuance(), after.issuance);
    } else {
        let policy = parameter::changed_policy(&policy::of(view, run)?, &view.defaults()?, changes, true)?;
        view.put(keys::run_policy(run), RunPolicy { run: *run, policy });
    }
    for change in changes {
        view.emit(ParameterChanged {
            run: *run,
            parameter: change.parameter,
            old: change.old,
            new: change.new,
        });
    }
    Ok(())
}

fn pause(view: &mut View<'_>, run: &Hash) -> Result<(), Stop> {
    check_pause(view, run)?;
    let (terms, blocks) = (terms::of(view)?, view.params()?.epoch_blocks.max(1));
    let until = (view.context.height / blocks).saturating_add(terms.pause_epochs.max(1));
    course::pause(view, run, until)?;
    let mut assembly = history::assembly(view, run)?;
    assembly.no_pause_before = until.saturating_mul(blocks).saturating_add(terms.pause_gap);
    view.put(keys::assembly(run), assembly);
    Ok(())
}
