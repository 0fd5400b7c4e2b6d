//! Drive a trainer's state machine: frames in, effects out, arithmetic on a thread of its own.

use super::{
    LEDGER_PAUSE, Seat, SeatError, SeatEvent,
    event::to_event,
    meter::{Meter, is_audit, verdict_name},
    store::StateFiles,
    trust::{self, Order as TrustOrder},
    worker::WorkerThread,
};
use crate::{
    audits::record::{AuditBook, AuditRecord, UnitName},
    ledger::RunView,
};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tessera_canon::Hash;
use tessera_ledger::record::RunState;
use tessera_model::{Dataset, RunSpec, StageWeights};
use tessera_net::{NetEvent, Transport};
use tessera_swarm::{
    Effect, Input, Job, JobResult, Note, Phase, Shape, Trainer, TrainerConfig, TrustConfig, Tuning, Worker,
};
use tessera_wire::{CONTROL, TENSORS, to_frame, training::Message};
use tokio::sync::{mpsc, oneshot, watch};

const TICK: Duration = Duration::from_millis(100);
/// Events of the network that may wait for this seat.
const QUEUE: usize = 4096;

/// A job for the thread, or the wish for its weights.
enum Order {
    Job(Job),
    Weights,
}
enum Answer {
    /// The result, whether the job was for audits, and how long it took.
    Done(Box<JobResult>, bool, Duration),
    Weights(Arc<StageWeights>),
}

type Arithmetic = WorkerThread<Order, Answer>;

/// Why training ended.
pub(super) enum Trained {
    /// The ledger has moved this account to another seat of its stage.
    Moved,
    Stopped,
}

/// Train. Once the run is trained and the ledger has all its reports, the weights are handed to `ready`; the
/// seat goes on answering, because replicas and neighbours that are behind need its state and its units.
pub(super) async fn train<T: Transport>(
    seat: &Seat<'_, T>,
    spec: Arc<RunSpec>,
    data: Option<Arc<Dataset>>,
    mut watch: watch::Receiver<Option<RunView>>,
    mut stop: watch::Receiver<bool>,
    ready: oneshot::Sender<Arc<StageWeights>>,
) -> Result<Trained, SeatError> {
    let Seat { switchboard, ledger, folder, config, place, events } = seat;
    let path = folder.run_path(&spec.run_id()).join(format!("stage-{}", place.stage));
    let store = StateFiles::open(&path)
        .map_err(|cause| SeatError::Store { folder: path.display().to_string(), cause })?;
    let mut worker = new_worker(&spec, place.stage, data, store, config.tape_bytes)?;
    #[cfg(feature = "cheat")]
    if let Some(cheat) = config.cheat {
        events.send(SeatEvent::Cheats { how: cheat.to_string() });
        worker.corrupt(cheat.attacker(), &config.key);
    }
    let mut arithmetic = start_worker(worker)?;
    let book = AuditBook::of(&folder.run_path(&spec.run_id()));
    let mut meter = Meter::default();
    let mut trainer = Trainer::new(TrainerConfig {
        network: ledger.network(),
        shape: Shape::of(&spec),
        key: config.key.clone(),
        stage: place.stage,
        seat: place.seat,
        incarnation: incarnation(),
        tuning: Tuning::default(),
        trust: TrustConfig { retention_bytes: config.retention_bytes, ..TrustConfig::default() },
    });
    let (run, me) = (spec.run_id(), config.key.public());
    let mut roster = trust::watch_roster((*ledger).clone(), run, me, LEDGER_PAUSE);
    let clerk = trust::start_clerk((*ledger).clone(), config.key.clone(), run, (*events).clone());
    let mut frames = switchboard.subscribe(&[CONTROL, TENSORS], QUEUE);
    let begun = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut ready, mut asked) = (Some(ready), false);
    let mut inputs = Vec::new();
    inputs.push(Input::Start);
    loop {
        for input in inputs.drain(..) {
            let now = begun.elapsed().as_millis() as u64;
            for effect in trainer.step(now, input) {
                if let Effect::Note(note) = &effect {
                    meter.noted(note);
                    write_down(note, &book, run, place.stage);
                }
                let window_ends = matches!(&effect, Effect::Note(Note::Closed { step, .. })
                    if (step + 1).is_multiple_of(spec.window_steps.into()));
                carry_out(effect, seat, &arithmetic, &clerk, &mut meter)?;
                if window_ends {
                    events.send(SeatEvent::Trust { figures: meter.figures(trainer.audit_bytes()) });
                }
            }
        }
        if *trainer.phase() == Phase::Halted {
            return Err(SeatError::Halted("the seat's state machine has stopped; see its last event".into()));
        }
        let serving = watch.borrow().as_ref().is_some_and(|view| view.run.state == RunState::Serving);
        if trainer.finished() && serving && !asked {
            asked = true;
            arithmetic.order(Order::Weights)?;
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return Ok(Trained::Stopped),
            answer = arithmetic.answer() => match answer? {
                Answer::Done(result, audit, time) => {
                    meter.worked(audit, time);
                    inputs.push(Input::Done(*result));
                }
                Answer::Weights(weights) => {
                    if let Some(ready) = ready.take() {
                        // Nobody takes them where the seat does not serve.
                        ready.send(weights).ok();
                    }
                }
            },
            changed = watch.changed() => {
                if changed.is_err() {
                    return Ok(Trained::Stopped);
                }
                if let Some(view) = watch.borrow_and_update().as_ref() {
                    if view.run.state == RunState::Aborted {
                        return Err(SeatError::Aborted("its designers did less than their minimum"));
                    }
                    let moved = |seat: &tessera_ledger::record::Seat| (seat.stage, seat.seat) != (place.stage, place.seat);
                    if view.seat_of(&config.key.public()).is_some_and(moved) {
                        return Ok(Trained::Moved);
                    }
                }
            }
            changed = roster.changed() => {
                if changed.is_err() {
                    return Ok(Trained::Stopped);
                }
                inputs.extend(roster.borrow_and_update().clone().map(Input::Roster));
            }
            event = frames.recv() => match event {
                Some(event) => inputs.extend(to_input(event, seat)),
                None => return Ok(Trained::Stopped),
            },
            _ = tick.tick() => inputs.push(Input::Tick),
        }
    }
}

/// Milliseconds since 1970: grows with every start of the process.
fn incarnation() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64)
}

fn to_input<T: Transport>(event: NetEvent, seat: &Seat<'_, T>) -> Option<Input> {
    match event {
        NetEvent::Up(peer) => Some(Input::Up(peer)),
        NetEvent::Down { peer, .. } => Some(Input::Down(peer)),
        NetEvent::Frame { from, channel, bytes } => {
            let message: Message = seat.open(from, channel, &bytes)?;
            if message.channel() != channel {
                seat.drop_peer(from, format!("{} on channel {channel}", message.kind()));
                return None;
            }
            Some(Input::Peer { from, message })
        }
    }
}

fn carry_out<T: Transport>(
    effect: Effect,
    seat: &Seat<'_, T>,
    arithmetic: &Arithmetic,
    clerk: &mpsc::Sender<TrustOrder>,
    meter: &mut Meter,
) -> Result<(), SeatError> {
    let Seat { switchboard, ledger, config, events, .. } = seat;
    match effect {
        Effect::Send { to, message } => {
            let frame = to_frame(&message);
            meter.sent(&message, frame.len());
            if let Err(error) = switchboard.transport().send(to, message.channel(), frame) {
                // The state machine asks again for everything that does not arrive.
                tracing::debug!(%error, kind = message.kind(), "not sent");
            }
        }
        Effect::Run(job) => arithmetic.order(Order::Job(*job))?,
        Effect::Report(report) => {
            let (ledger, key, events) = ((*ledger).clone(), config.key.clone(), (*events).clone());
            let (window, stage) = (report.report.window, report.report.stage);
            tokio::spawn(async move {
                match ledger.submit(&key, (*report).into()).await {
                    Ok(receipt) => events.send(SeatEvent::Reported { window, stage, height: receipt.height }),
                    // Another seat may have been quicker; if not, the state machine posts it again.
                    Err(error) => tracing::info!(%error, window, "a window report was not taken"),
                }
            });
        }
        Effect::Accuse(accuse) => order(clerk, TrustOrder::Accuse(accuse)),
        Effect::Demand(demand) => order(clerk, TrustOrder::Demand(demand)),
        Effect::Move(step) => order(clerk, TrustOrder::Move(step)),
        Effect::Drop { peer, reason } => seat.drop_peer(peer, reason),
        Effect::Note(note) => events.send(to_event(note)),
    }
    Ok(())
}

/// Hand a move to the clerk. One that finds no room is repeated by the state machine.
fn order(clerk: &mpsc::Sender<TrustOrder>, order: TrustOrder) {
    if clerk.try_send(order).is_err() {
        tracing::warn!("too many moves wait for the ledger; one is left to be repeated");
    }
}

/// Keep an audit in this participant's book. A disk that refuses costs the record and nothing else.
fn write_down(note: &Note, book: &AuditBook, run: Hash, stage: u16) {
    let Note::Audited { worker, step, unit, verdict, found } = note else { return };
    let unit = UnitName { run, stage, step: *step, unit: *unit };
    let record = AuditRecord::new(unit, worker.to_string(), verdict_name(*verdict), found);
    if let Err(error) = book.add(&record) {
        tracing::warn!(%error, "an audit could not be written down");
    }
}

/// Start the thread of arithmetic.
fn start_worker(mut worker: Worker) -> Result<Arithmetic, SeatError> {
    WorkerThread::start("arithmetic", move |order| match order {
        Order::Job(job) => {
            let (audit, begun) = (is_audit(&job), Instant::now());
            let result = Box::new(worker.execute(job));
            Answer::Done(result, audit, begun.elapsed())
        }
        Order::Weights => Answer::Weights(Arc::new(worker.state().snapshot())),
    })
}

/// A worker that holds at most `tape_bytes` of tapes.
fn new_worker(
    spec: &Arc<RunSpec>,
    stage: u16,
    data: Option<Arc<Dataset>>,
    store: StateFiles,
    tape_bytes: usize,
) -> Result<Worker, SeatError> {
    let mut worker = Worker::new(spec.clone(), stage, data, Box::new(store))?;
    worker.set_tape_budget(tape_bytes);
    Ok(worker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_wire::Tensor;

    #[test]
    fn a_seats_worker_holds_no_more_tapes_than_it_was_given_memory_for() {
        let spec = Arc::new(RunSpec::preset("tiny").unwrap());
        let one_tape = StageWeights::init(&spec, 1).unwrap().tape_bytes();
        let zeros = vec![0.0; spec.boundary_values()];
        let input = Tensor::from_f32(&zeros, spec.microbatch_tokens(), spec.model.d_model as usize).unwrap();
        for (tape_bytes, held) in [(0, 0), (one_tape, one_tape), (usize::MAX, 2 * one_tape)] {
            let folder = tempfile::tempdir().unwrap();
            let store = StateFiles::open(folder.path()).unwrap();
            let mut worker = new_worker(&spec, 1, None, store, tape_bytes).unwrap();
            assert!(matches!(worker.execute(Job::Load), JobResult::Loaded { .. }));
            for unit in 0..2 {
                let forwarded = worker.execute(Job::Forward { step: 0, unit, input: Some(input.clone()) });
                assert!(matches!(forwarded, JobResult::Forwarded { .. }), "{forwarded:?}");
            }
            assert_eq!(worker.tape_bytes(), held, "with {tape_bytes} bytes");
        }
    }
}
