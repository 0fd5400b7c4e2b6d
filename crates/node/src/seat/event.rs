//! Say what happens in a seat, one JSON object a line for scripts and one sentence for people.

use super::meter::{TrustFigures, verdict_name};
use crate::audits::record::Digests;
use serde::Serialize;
use tessera_canon::{Hash, PublicKey};
use tessera_swarm::Note;
use tokio::sync::mpsc;

/// Work of one account in one step.
#[derive(Clone, Debug, Serialize)]
pub struct Credit {
    pub account: PublicKey,
    pub microbatches: u32,
}

/// Something that happened. Losses are micro-nats per token.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum SeatEvent {
    /// Waiting for the ledger: for a draw, or for the designers' exclusive period to end.
    Waiting {
        run: Hash,
        reason: String,
    },
    Seated {
        run: Hash,
        stage: u16,
        seat: u16,
    },
    Working {
        step: u64,
        state_root: Hash,
    },
    Closed {
        step: u64,
        state_root: Hash,
        credits: Vec<Credit>,
        held_out_loss: Option<u64>,
        training_loss: Option<u64>,
    },
    Lost {
        peer: PublicKey,
        stage: u16,
        units: u32,
    },
    Back {
        peer: PublicKey,
        stage: u16,
    },
    Replayed {
        step: u64,
        unit: u32,
    },
    Fetching {
        progress: u64,
        from: PublicKey,
        bytes: u64,
    },
    Fetched {
        progress: u64,
        state_root: Hash,
    },
    Damaged {
        what: String,
    },
    Trouble {
        what: String,
    },
    /// The beacon drew audits of a window's units of this stage.
    Drawn {
        window: u32,
        units: u32,
        audits: u32,
    },
    /// This seat audited a unit of `worker`.
    Audited {
        worker: PublicKey,
        step: u64,
        unit: u32,
        verdict: &'static str,
        /// What this seat computed and what the worker claims, where both are known.
        #[serde(skip_serializing_if = "Option::is_none")]
        computed: Option<Digests>,
        #[serde(skip_serializing_if = "Option::is_none")]
        claimed: Option<Digests>,
    },
    /// This seat takes a false unit to the ledger.
    Accused {
        account: PublicKey,
        step: u64,
        unit: u32,
        verdict: &'static str,
    },
    /// This seat's own unit is in dispute.
    Disputed {
        step: u64,
        unit: u32,
    },
    /// Another seat failed in an audit, by something that no game can judge.
    Fault {
        account: PublicKey,
        step: u64,
        unit: u32,
        what: String,
    },
    /// A peer asked or sent what it may not, or not now.
    Denied {
        peer: PublicKey,
        why: String,
    },
    /// The run went back to the state before `step`; `lost` steps of this seat are done again.
    RolledBack {
        generation: u32,
        step: u64,
        lost: u64,
    },
    /// A message of a dispute that this seat sent is on the ledger.
    Said {
        /// `opens`, `demands`, `commits`, `names`, `proves`, `shows` or `goes on`.
        act: &'static str,
        height: u64,
    },
    /// What audits did in this seat and cost it so far; told at the end of each window.
    Trust {
        figures: TrustFigures,
    },
    /// This seat cheats, because it was told to.
    Cheats {
        how: String,
    },
    Halted {
        why: String,
    },
    Finished {
        state_root: Hash,
        loss: Option<u64>,
    },
    Reported {
        window: u32,
        stage: u16,
        height: u64,
    },
    /// A peer broke the rules and was disconnected.
    Dropped {
        peer: PublicKey,
        reason: String,
    },
    /// The run is trained and this seat serves it.
    Hosting {
        stage: u16,
    },
    Admitted {
        order: Hash,
        home: PublicKey,
    },
    Refused {
        order: Hash,
        stage: u16,
        peer: PublicKey,
        kind: String,
        reason: String,
    },
    SessionEnded {
        order: Hash,
        chunks: u32,
        fees: String,
        why: String,
    },
    Settled {
        order: Hash,
        chunks: u32,
        height: u64,
    },
}

impl SeatEvent {
    /// One sentence for a person.
    pub fn sentence(&self) -> String {
        let nats = |loss: &u64| format!("{:.3} nats", *loss as f64 / 1e6);
        match self {
            Self::Waiting { reason, .. } => reason.clone(),
            Self::Seated { run, stage, seat } => {
                format!("seat {seat} of stage {stage} in run {}", run.short())
            }
            Self::Working { step, .. } => format!("takes part from step {step}"),
            Self::Closed { step, held_out_loss: Some(loss), .. } => {
                format!("step {step} closed; held-out loss before it {}", nats(loss))
            }
            Self::Closed { step, training_loss: Some(loss), .. } => {
                format!("step {step} closed; training loss {}", nats(loss))
            }
            Self::Closed { step, .. } => format!("step {step} closed"),
            Self::Lost { peer, stage, units } => {
                format!("lost {} of stage {stage}; {units} units go to other seats", peer.short())
            }
            Self::Back { peer, stage } => format!("connected to {} of stage {stage}", peer.short()),
            Self::Replayed { step, unit } => format!("took over unit {unit} of step {step}"),
            Self::Fetching { progress, from, bytes } => {
                format!("downloads the state of step {progress} ({bytes} bytes) from {}", from.short())
            }
            Self::Fetched { progress, .. } => format!("has the state of step {progress}"),
            Self::Damaged { what } | Self::Trouble { what } => what.clone(),
            Self::Drawn { window, units, audits } => {
                format!("{audits} of {units} units of window {window} were drawn for audits")
            }
            Self::Audited { worker, step, unit, verdict, .. } => {
                format!("audited unit {unit} of step {step} of {}: {verdict}", worker.short())
            }
            Self::Accused { account, step, unit, verdict } => {
                format!("unit {unit} of step {step} of {} is false ({verdict}); accuses it", account.short())
            }
            Self::Disputed { step, unit } => format!("own unit {unit} of step {step} is in dispute"),
            Self::Fault { account, step, unit, what } => {
                format!("{} {what} (unit {unit} of step {step})", account.short())
            }
            Self::Denied { peer, why } => format!("did not serve {}: {why}", peer.short()),
            Self::RolledBack { generation, step, lost } => {
                format!("rollback {generation}: goes on from step {step}, {lost} steps are done again")
            }
            Self::Said { act, height } => format!("dispute: this seat {act}, in block {height}"),
            Self::Trust { figures } => format!(
                "audits so far: {} done here, {} of {} units drawn, {} accusations; {} of {} ms of arithmetic",
                figures.audited.values().sum::<u64>(),
                figures.drawn,
                figures.units,
                figures.accused,
                figures.audit_ms,
                figures.all_ms
            ),
            Self::Cheats { how } => format!("this seat cheats, because it was told to: {how}"),
            Self::Halted { why } => format!("stopped: {why}"),
            Self::Finished { .. } => "the run is trained".into(),
            Self::Reported { window, height, .. } => format!("window {window} reported in block {height}"),
            Self::Dropped { peer, reason } => format!("disconnected {}: {reason}", peer.short()),
            Self::Hosting { stage } => format!("serves stage {stage}"),
            Self::Admitted { order, .. } => format!("session {} admitted", order.short()),
            Self::Refused { order, reason, .. } => format!("session {} refused: {reason}", order.short()),
            Self::SessionEnded { order, chunks, why, .. } => {
                format!("session {} ended after {chunks} chunks: {why}", order.short())
            }
            Self::Settled { order, height, .. } => {
                format!("session {} settled in block {height}", order.short())
            }
        }
    }
}

/// What a seat's state machine notes, as an event.
pub(super) fn to_event(note: Note) -> SeatEvent {
    match note {
        Note::Working { step, state_root } => SeatEvent::Working { step, state_root },
        Note::Closed { step, state_root, credits, held_out_loss, training_loss } => SeatEvent::Closed {
            step,
            state_root,
            credits: credits
                .into_iter()
                .map(|(account, microbatches)| Credit { account, microbatches })
                .collect(),
            held_out_loss,
            training_loss,
        },
        Note::Lost { peer, stage, units } => SeatEvent::Lost { peer, stage, units },
        Note::Back { peer, stage } => SeatEvent::Back { peer, stage },
        Note::Replayed { step, unit } => SeatEvent::Replayed { step, unit },
        Note::Fetching { progress, from, bytes } => SeatEvent::Fetching { progress, from, bytes },
        Note::Fetched { progress, state_root } => SeatEvent::Fetched { progress, state_root },
        Note::Damaged { what } => SeatEvent::Damaged { what },
        Note::Trouble { what } => SeatEvent::Trouble { what },
        Note::Drawn { window, units, audits } => SeatEvent::Drawn { window, units, audits },
        Note::Audited { worker, step, unit, verdict, found } => SeatEvent::Audited {
            worker,
            step,
            unit,
            verdict: verdict_name(verdict),
            computed: found.mine.as_ref().map(Digests::from),
            claimed: found.told.as_ref().map(Digests::from),
        },
        Note::Accused { account, step, unit, verdict } => {
            SeatEvent::Accused { account, step, unit, verdict: verdict_name(verdict) }
        }
        Note::Disputed { step, unit } => SeatEvent::Disputed { step, unit },
        Note::Fault { account, step, unit, what } => SeatEvent::Fault { account, step, unit, what },
        Note::Refused { peer, why } => SeatEvent::Denied { peer, why },
        Note::RolledBack { generation, step, lost } => SeatEvent::RolledBack { generation, step, lost },
        Note::Halted { why } => SeatEvent::Halted { why },
        Note::Finished { state_root, loss } => SeatEvent::Finished { state_root, loss },
    }
}

/// Where events go. Cheap to clone; an event that nobody takes is dropped, never waited for.
#[derive(Clone)]
pub struct Events(mpsc::Sender<SeatEvent>);

impl Events {
    /// A sink and the queue of `capacity` events it fills.
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<SeatEvent>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self(sender), receiver)
    }
    /// Say that something happened.
    pub fn send(&self, event: SeatEvent) {
        tracing::debug!("{}", event.sentence());
        if self.0.try_send(event).is_err() {
            tracing::warn!("an event was not taken and is lost");
        }
    }
}
