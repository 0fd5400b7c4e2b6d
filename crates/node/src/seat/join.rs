//! Get a seat from the ledger, keep it, and let go of those of seats that are gone.

use super::{Events, SeatConfig, SeatError, SeatEvent};
use crate::{
    ledger::{LedgerClient, LedgerError, RunView},
    switchboard::Switchboard,
};
use std::{net::SocketAddr, time::Duration};
use tessera_canon::{Hash, SecretKey};
use tessera_ledger::{
    Action,
    action::{JoinRun, LapseSeat, UpdateEndpoint},
    query,
    record::{Endpoint, MemberState, RunState, SeatState},
};
use tessera_net::Transport;
use tokio::sync::watch;

/// A seat that the ledger has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub stage: u16,
    pub seat: u16,
}

/// Ask for a seat and wait for it; `None` if stopped before.
pub async fn take_seat<T: Transport>(
    ledger: &LedgerClient<T>,
    config: &SeatConfig,
    mut watch: watch::Receiver<Option<RunView>>,
    events: &Events,
    stop: &mut watch::Receiver<bool>,
) -> Result<Option<Place>, SeatError> {
    let (run, me) = (config.spec.run_id(), config.key.public());
    let mut said = String::new();
    loop {
        let view = watch.borrow_and_update().clone();
        let reason = match view {
            None => "waiting for the run to appear on the ledger".to_string(),
            Some(view) => {
                check_terms(&view, config)?;
                if view.run.state == RunState::Aborted {
                    return Err(SeatError::Aborted("its designers did less than their minimum"));
                }
                if let Some(seat) = view.seat_of(&me) {
                    let place = Place { stage: seat.stage, seat: seat.seat };
                    if *seat.endpoint != *config.endpoint.to_string() {
                        ledger.submit(&config.key, update(run, config.endpoint)).await?;
                    }
                    return Ok(Some(place));
                }
                match ask(ledger, config, run).await {
                    Ok(true) => "asked for a seat; waiting for the draw".into(),
                    Ok(false) => "waiting for the designers' exclusive period to end".into(),
                    // No free place now, or no answer: both may change.
                    Err(error @ LedgerError::Refused { .. }) => error.to_string(),
                    Err(error) if error.may_retry() => error.to_string(),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        if reason != said {
            events.send(SeatEvent::Waiting { run, reason: reason.clone() });
            said = reason;
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return Ok(None),
            changed = watch.changed() => if changed.is_err() { return Ok(None) },
            // A draw can leave the view as it was (no free place); look again.
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
        }
    }
}

/// Ask for a seat unless that was done already; false while only designers may.
async fn ask<T: Transport>(
    ledger: &LedgerClient<T>,
    config: &SeatConfig,
    run: Hash,
) -> Result<bool, LedgerError> {
    let me = config.key.public();
    let (state, open, designer) = ledger
        .read(|view| {
            let state = query::member(view.source(), &run, &me).map(|member| member.state);
            let open = query::run(view.source(), &run).is_some_and(|run| run.state != RunState::Exclusive);
            (state, open, query::designer(view.source(), &run, &me).is_some())
        })
        .await?;
    match state {
        Some(MemberState::Waiting | MemberState::Seated) => Ok(true),
        // Asking now would cost a fee and be refused.
        _ if !open && !designer => Ok(false),
        _ => {
            let endpoint = endpoint(config.endpoint);
            ledger.submit(&config.key, JoinRun { run, endpoint }.into()).await.map(|_| true)
        }
    }
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::new(address.to_string()).expect("a socket address has at most 58 characters")
}
fn update(run: Hash, address: SocketAddr) -> Action {
    UpdateEndpoint { run, endpoint: endpoint(address) }.into()
}

/// The ledger's terms must be those of the specification: the run id alone does not bind them.
fn check_terms(view: &RunView, config: &SeatConfig) -> Result<(), SeatError> {
    let (terms, spec) = (&view.terms, &config.spec);
    let differ = |what, expected: u64, got: u64| {
        if expected == got {
            return Ok(());
        }
        let run = terms.run.short();
        Err(SeatError::Terms { run, what, expected: expected.to_string(), got: got.to_string() })
    };
    differ("number of stages", spec.stage_count().into(), terms.stages.into())?;
    differ("number of steps", spec.steps.into(), terms.steps.into())?;
    differ("length of a window", spec.window_steps.into(), terms.window_steps.into())?;
    differ("number of microbatches", spec.batch.microbatches.into(), terms.microbatches.into())?;
    for stage in &view.stages {
        differ("work of a microbatch", spec.work_units(stage.stage), stage.wu)?;
    }
    Ok(())
}

/// Tell every peer's address to the transport, give signs of life, take a lapsed seat again, and free the seats
/// of replicas that have been silent too long, so that a quorum of the living can report.
pub async fn keep_seat<T: Transport>(
    ledger: LedgerClient<T>,
    key: SecretKey,
    run: Hash,
    address: SocketAddr,
    mut watch: watch::Receiver<Option<RunView>>,
    switchboard: Switchboard<T>,
) {
    let me = key.public();
    let lapse = match ledger.read(|view| query::params(view.source())).await {
        Ok(Some(params)) => params.lapse_blocks,
        _ => u64::MAX,
    };
    let mut pause = tokio::time::interval(Duration::from_secs(2));
    loop {
        tokio::select! {
            changed = watch.changed() => if changed.is_err() { return },
            _ = pause.tick() => {}
        }
        let Some(view) = watch.borrow().clone() else { continue };
        for seat in view.seats.iter().filter(|seat| seat.account != me) {
            if let Ok(address) = seat.endpoint.parse() {
                switchboard.transport().learn(seat.account, address);
            }
        }
        let Some(own) = view.seats.iter().find(|seat| seat.account == me) else { continue };
        let height = ledger.seen().height;
        let action: Option<Action> = if own.state == SeatState::Lapsed {
            Some(JoinRun { run, endpoint: endpoint(address) }.into())
        } else if height > own.heard.saturating_add(lapse / 2) {
            Some(update(run, address))
        } else {
            let connected = switchboard.connected();
            view.seats
                .iter()
                .find(|seat| {
                    seat.stage == own.stage
                        && seat.account != me
                        && seat.state == SeatState::Active
                        && height > seat.heard.saturating_add(lapse)
                        && !connected.contains(&seat.account)
                })
                .map(|seat| LapseSeat { run, stage: seat.stage, seat: seat.seat }.into())
        };
        if let Some(action) = action
            && let Err(error) = ledger.submit(&key, action).await
        {
            tracing::debug!(%error, "the seat's sign of life was not taken");
        }
    }
}
