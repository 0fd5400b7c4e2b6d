//! Say what happens in a seat, one JSON object a line for scripts and one sentence for people.

use serde::Serialize;
use tessera_canon::{Hash, PublicKey};
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
