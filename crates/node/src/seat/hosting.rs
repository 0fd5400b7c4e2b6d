//! Drive a stage host: sessions over the network, cached decode on a thread of its own, settlements to the ledger.

use super::{Events, Seat, SeatError, SeatEvent, worker::WorkerThread};
use crate::ledger::{LedgerClient, RunView};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tessera_canon::PublicKey;
use tessera_chain::LightClient;
use tessera_ledger::{
    action::SettleSession,
    query,
    record::{LockState, SeatState},
};
use tessera_model::StageWeights;
use tessera_net::{NetEvent, Transport};
use tessera_serve::{Effect, GateConfig, Host, HostConfig, Input, Job, JobResult, Note, ServeWorker, Tuning};
use tessera_wire::{SERVING, to_frame};
use tokio::sync::watch;

const TICK: Duration = Duration::from_millis(250);
const QUEUE: usize = 4096;
/// Sessions that one host serves at a time.
const SESSIONS: usize = 64;
/// Memory for key-value caches, bytes.
const CACHE_BYTES: u64 = 256 << 20;
/// Blocks before the end of an order at which it is no longer served.
const MARGIN: u64 = 4;
/// Greatest age of a credential's proof, blocks.
const PROOF_AGE: u64 = 240;

/// Serve the stage until stopped.
pub(super) async fn serve<T: Transport>(
    seat: &Seat<'_, T>,
    light: LightClient,
    weights: Arc<StageWeights>,
    mut watch: watch::Receiver<Option<RunView>>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), SeatError> {
    let Seat { switchboard, ledger, config, place, events, .. } = seat;
    let view = match watch.borrow_and_update().clone() {
        Some(view) => view,
        None => ledger.run(&config.spec.run_id()).await?,
    };
    let mut worker = ServeWorker::new(weights, SESSIONS, CACHE_BYTES)?;
    let gate = GateConfig {
        run: config.spec.run_id(),
        stage: place.stage,
        stages: config.spec.stage_count(),
        me: config.key.public(),
        width: config.spec.model.d_model as usize,
        context: config.spec.model.seq_len,
        vocab: config.spec.model.vocab,
        prices: view.prices.clone(),
        since: view.height,
        margin: MARGIN,
        proof_age: PROOF_AGE,
        max_sessions: worker.max_sessions(),
    };
    let host = HostConfig { key: config.key.clone(), gate, tuning: Tuning::default() };
    let mut host = Host::new(host, Box::new(light), view.height);
    let mut arithmetic = WorkerThread::start("serving", move |job| worker.execute(job))?;
    let mut frames = switchboard.subscribe(&[SERVING], QUEUE);
    events.send(SeatEvent::Hosting { stage: place.stage });
    let begun = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    let mut inputs = vec![Input::Seats(hosts(&view))];
    loop {
        for input in inputs.drain(..) {
            let now = begun.elapsed().as_millis() as u64;
            for effect in host.step(now, input) {
                carry_out(effect, seat, &arithmetic)?;
            }
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
            result = arithmetic.answer() => inputs.push(Input::Done(result?)),
            event = frames.recv() => match event {
                Some(event) => inputs.extend(to_input(event, seat)),
                None => return Ok(()),
            },
            changed = watch.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
                if let Some(view) = watch.borrow_and_update().as_ref() {
                    inputs.push(Input::Seats(hosts(view)));
                    inputs.push(Input::Prices(view.prices.clone()));
                }
            }
            _ = tick.tick() => inputs.push(Input::Tick { height: ledger.seen().height }),
        }
    }
}

/// The hosts of each stage, by seat.
fn hosts(view: &RunView) -> Vec<Vec<PublicKey>> {
    (0..view.terms.stages)
        .map(|stage| {
            let active = |seat: &&tessera_ledger::record::Seat| seat.state == SeatState::Active;
            view.seats
                .iter()
                .filter(|seat| seat.stage == stage)
                .filter(active)
                .map(|seat| seat.account)
                .collect()
        })
        .collect()
}

fn to_input<T: Transport>(event: NetEvent, seat: &Seat<'_, T>) -> Option<Input> {
    match event {
        NetEvent::Up(peer) => Some(Input::Up(peer)),
        NetEvent::Down { peer, .. } => Some(Input::Down(peer)),
        NetEvent::Frame { from, channel, bytes } => {
            Some(Input::Peer { from, message: seat.open(from, channel, &bytes)? })
        }
    }
}

fn carry_out<T: Transport>(
    effect: Effect,
    seat: &Seat<'_, T>,
    arithmetic: &WorkerThread<Job, JobResult>,
) -> Result<(), SeatError> {
    let Seat { switchboard, ledger, config, place, events, .. } = seat;
    match effect {
        Effect::Send { to, message } => {
            if let Err(error) = switchboard.transport().send(to, SERVING, to_frame(&message)) {
                tracing::debug!(%error, "not sent");
            }
        }
        Effect::Run(job) => arithmetic.order(*job)?,
        Effect::Settle(settlement) => {
            let (ledger, key, events) = ((*ledger).clone(), config.key.clone(), (*events).clone());
            tokio::spawn(async move { settle(&ledger, &key, *settlement, &events).await });
        }
        Effect::Note(note) => {
            if let Some(event) = to_event(note, place.stage) {
                events.send(event);
            }
        }
    }
    Ok(())
}

/// Post a settlement until the ledger has it: the host's pay and the owners' credits hang on it.
async fn settle<T: Transport>(
    ledger: &LedgerClient<T>,
    key: &tessera_canon::SecretKey,
    settlement: SettleSession,
    events: &Events,
) {
    let (order, chunks) = (settlement.order, settlement.chunks);
    loop {
        match ledger.submit(key, settlement.clone().into()).await {
            Ok(receipt) => return events.send(SeatEvent::Settled { order, chunks, height: receipt.height }),
            Err(error) => {
                tracing::info!(%error, order = %order, "the settlement was not taken");
                let open = ledger.read(|view| query::lock(view.source(), &order)).await;
                if matches!(open, Ok(Some(lock)) if lock.state != LockState::Open) || !error.may_retry() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
    }
}

fn to_event(note: Note, stage: u16) -> Option<SeatEvent> {
    Some(match note {
        Note::Admitted { order, home } => SeatEvent::Admitted { order, home },
        Note::Opened { .. } => return None,
        Note::Refused { order, peer, refusal } => SeatEvent::Refused {
            order,
            stage,
            peer,
            kind: format!("{:?}", refusal.kind()),
            reason: refusal.to_string(),
        },
        Note::HostFailed { order, stage, reason } => SeatEvent::Trouble {
            what: format!("session {} lost the host of stage {stage}: {reason}", order.short()),
        },
        Note::Ended { order, ending, chunks, fees } => {
            SeatEvent::SessionEnded { order, chunks, fees: fees.to_string(), why: format!("{ending:?}") }
        }
    })
}
