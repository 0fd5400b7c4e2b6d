//! The state machine of one seat: what it knows, what comes in, what goes out.
//!
//! See the crate's head for the protocol. The parts live in their own files: `peers` (who is alive),
//! `work` (units through this stage), `barrier` (closing a step), `transfer` (state to and from
//! replicas), `reports` (votes and window reports). Every input may add effects; the order of effects is
//! the order in which the driver must carry them out.

mod barrier;
mod peers;
mod reports;
mod rollback;
mod transfer;
mod trust;
mod work;

pub use trust::{Accuse, Demand, Found, TrustConfig, number_of};

use crate::{Job, JobResult, Roster, Shape, routing::Router};
use peers::Peer;
use reports::PendingReport;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tessera_audit::audit::AuditVerdict;
use tessera_canon::{Hash, List, PublicKey, SecretKey};
use tessera_ledger::action::{DisputeStep, ReportWindow, WindowReport};
use tessera_wire::training::{Activation, Message, StepRecord};
use transfer::{Export, Fetch};
use trust::TrustRoom;
use work::StepWork;

/// Times and limits, milliseconds unless said otherwise.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// How long a connection may be gone before the seat behind it counts as lost.
    pub grace: u64,
    /// How long to wait for an answer before asking again.
    pub retry: u64,
    /// How long a starting seat waits for replicas that may be ahead of it.
    pub settle: u64,
    /// How long a seat may be one step behind a replica before it fetches the state instead.
    pub lag: u64,
    /// How often a seat repeats its [`Hello`](tessera_wire::training::Hello).
    pub hello: u64,
    /// Units in flight to one seat of the next stage.
    pub credits: u32,
    /// State pieces in flight to one replica.
    pub pieces: usize,
    /// One tick of an audit's clock: an audit may take `AuditParams::audit_steps` of them.
    pub audit_tick: u64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            grace: 1_000,
            retry: 4_000,
            settle: 2_000,
            lag: 2_500,
            hello: 1_000,
            credits: 4,
            pieces: 4,
            audit_tick: 4_000,
        }
    }
}

/// Who this seat is.
#[derive(Clone, Debug)]
pub struct TrainerConfig {
    pub network: Hash,
    pub shape: Shape,
    pub key: SecretKey,
    pub stage: u16,
    pub seat: u16,
    /// Must grow with every start of the process.
    pub incarnation: u64,
    pub tuning: Tuning,
    pub trust: TrustConfig,
}

/// What the driver tells the seat.
#[derive(Clone, Debug)]
pub enum Input {
    /// The process has started: load the state.
    Start,
    /// A message of an authenticated peer.
    Peer { from: PublicKey, message: Message },
    /// A connection came up.
    Up(PublicKey),
    /// A connection went down.
    Down(PublicKey),
    /// The ledger's view has changed.
    Roster(Roster),
    /// The job of the last [`Effect::Run`] is done.
    Done(JobResult),
    /// Time has passed; send one at least every 250 ms.
    Tick,
}

/// What the seat wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send a message; losing it is allowed.
    Send { to: PublicKey, message: Message },
    /// Do this job; at most one is outstanding.
    Run(Box<Job>),
    /// Post this report on the ledger.
    Report(Box<ReportWindow>),
    /// Open a dispute on the ledger.
    Accuse(Box<Accuse>),
    /// Have the ledger make a seat open what it committed to.
    Demand(Box<Demand>),
    /// Send the next message of a dispute to the ledger.
    Move(Box<DisputeStep>),
    /// Close the connection to a peer that broke the rules.
    Drop { peer: PublicKey, reason: String },
    /// Tell the operator.
    Note(Note),
}

/// Something an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// The seat takes part from this step on.
    Working {
        step: u64,
        state_root: Hash,
    },
    /// A step is closed; `state_root` is the state after it.
    Closed {
        step: u64,
        state_root: Hash,
        credits: Vec<(PublicKey, u32)>,
        /// Mean held-out loss before the step, micro-nats; last stage at window boundaries.
        held_out_loss: Option<u64>,
        /// Mean training loss of the microbatches that this seat computed, micro-nats; last stage.
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
    /// A unit ran or was fetched again for a seat that was lost.
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
    /// The beacon drew audits of a window's units of this stage.
    Drawn {
        window: u32,
        units: u32,
        audits: u32,
    },
    /// This seat audited a unit.
    Audited {
        worker: PublicKey,
        step: u64,
        unit: u32,
        verdict: AuditVerdict,
        found: Box<Found>,
    },
    /// This seat takes a false unit to the ledger.
    Accused {
        account: PublicKey,
        step: u64,
        unit: u32,
        verdict: AuditVerdict,
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
    Refused {
        peer: PublicKey,
        why: String,
    },
    /// The run went back to the state before `step`; `lost` steps of this seat are done again.
    RolledBack {
        generation: u32,
        step: u64,
        lost: u64,
    },
    /// A job failed; the seat goes on where it can.
    Trouble {
        what: String,
    },
    /// The seat has stopped because going on could do harm.
    Halted {
        why: String,
    },
    /// The run is trained to its last step.
    Finished {
        state_root: Hash,
        loss: Option<u64>,
    },
}

/// Where the seat stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before the state is loaded.
    Loading,
    /// Loaded; waiting for replicas that may be ahead.
    Settling { since: u64 },
    /// Downloading the state.
    Fetching,
    /// The ledger ordered the run back; the state before `step` is being loaded.
    RollingBack { generation: u32, step: u64 },
    /// Taking part. Also after the last step, when only late neighbours need anything.
    Working,
    /// Stopped for good.
    Halted,
}

/// One seat of one run.
pub struct Trainer {
    config: TrainerConfig,
    me: PublicKey,
    now: u64,
    phase: Phase,
    roster: Roster,
    peers: BTreeMap<PublicKey, Peer>,
    /// Everyone with a connection, whether the ledger has given them a seat or not.
    connected: BTreeSet<PublicKey>,
    /// Steps closed; the step being worked on.
    progress: u64,
    state_root: Hash,
    /// Root over the weights alone.
    weights: Hash,
    /// Rollbacks of the run that this seat has followed, and what messages call the run since.
    generation: u32,
    branch: Hash,
    trust: TrustRoom,
    /// Own header before the next one.
    trust_previous: Hash,
    current: StepWork,
    /// The step closed last: kept for neighbours that have not closed it.
    previous: Option<StepWork>,
    /// Activations of the next step that came before this seat closed its own.
    early: VecDeque<(PublicKey, Activation)>,
    router: Router,
    records: Vec<StepRecord>,
    roots: BTreeMap<u64, BTreeMap<PublicKey, Hash>>,
    reports: BTreeMap<u32, PendingReport>,
    /// Reports of replicas for windows that this seat has not finished yet.
    foreign: BTreeMap<u32, BTreeMap<PublicKey, (WindowReport, tessera_canon::Signature)>>,
    fetch: Option<Fetch>,
    export: Option<Export>,
    export_wanted: Vec<PublicKey>,
    busy: bool,
    unsaved_since: Option<u64>,
    closed: Option<(u64, Hash, Hash)>,
    behind_since: Option<u64>,
    /// The step that was last done again because replicas differed, and how often.
    reopened: Option<(u64, u32)>,
    last_hello: u64,
    effects: Vec<Effect>,
}

impl Trainer {
    /// A seat that has not started.
    pub fn new(config: TrainerConfig) -> Self {
        Self {
            me: config.key.public(),
            now: 0,
            phase: Phase::Loading,
            roster: Roster::default(),
            peers: BTreeMap::new(),
            connected: BTreeSet::new(),
            progress: 0,
            state_root: Hash::ZERO,
            weights: Hash::ZERO,
            generation: 0,
            branch: config.shape.run,
            trust: TrustRoom::new(&config),
            trust_previous: Hash::ZERO,
            current: StepWork::new(0, 0),
            previous: None,
            early: VecDeque::new(),
            router: Router::default(),
            records: Vec::new(),
            roots: BTreeMap::new(),
            reports: BTreeMap::new(),
            foreign: BTreeMap::new(),
            fetch: None,
            export: None,
            export_wanted: Vec::new(),
            busy: false,
            unsaved_since: None,
            closed: None,
            behind_since: None,
            reopened: None,
            last_hello: 0,
            effects: Vec::new(),
            config,
        }
    }

    /// Take one input at time `now` (milliseconds, never going back) and return what is to be done.
    pub fn step(&mut self, now: u64, input: Input) -> Vec<Effect> {
        self.now = self.now.max(now);
        if self.phase == Phase::Halted && !matches!(input, Input::Done(_)) {
            return Vec::new();
        }
        match input {
            Input::Start => self.run(Job::Load),
            Input::Peer { from, message } => self.on_message(from, message),
            Input::Up(peer) => self.on_up(peer),
            Input::Down(peer) => self.on_down(peer),
            Input::Roster(roster) => self.on_roster(roster),
            Input::Done(result) => {
                self.busy = false;
                if self.is_stale(&result) {
                    self.start_rollback();
                } else {
                    self.on_done(result);
                }
            }
            Input::Tick => self.on_tick(),
        }
        self.advance();
        std::mem::take(&mut self.effects)
    }

    /// Where the seat stands.
    pub fn phase(&self) -> &Phase {
        &self.phase
    }
    /// Steps closed.
    pub fn progress(&self) -> u64 {
        self.progress
    }
    /// Rollbacks of the run that this seat has followed.
    pub fn generation(&self) -> u32 {
        self.generation
    }
    /// Bytes held for audits.
    pub fn audit_bytes(&mut self) -> usize {
        self.trust.bytes()
    }
    /// Root of the present state.
    pub fn state_root(&self) -> Hash {
        self.state_root
    }
    /// Whether the last step, which only measures, is closed.
    pub fn finished(&self) -> bool {
        self.progress > self.config.shape.steps
    }
    /// Whether the ledger has every report of this stage.
    pub fn all_reported(&self) -> bool {
        self.roster.reported(self.config.stage) >= self.config.shape.windows()
    }

    fn on_message(&mut self, from: PublicKey, message: Message) {
        let Some(seat) = self.roster.seat_of(&from).filter(|seat| seat.active) else {
            // The ledger may know it before we do: not an offence, but nobody to listen to yet.
            return;
        };
        let (theirs, mine) = (seat.stage, self.config.stage);
        let index = seat.index;
        if matches!(self.phase, Phase::RollingBack { .. }) && !matches!(message, Message::Audit(_)) {
            return;
        }
        match message {
            Message::Hello(hello) if hello.stage == theirs && hello.seat == index => {
                self.on_hello(from, hello)
            }
            Message::Activation(m) if theirs + 1 == mine => self.on_activation(from, m),
            Message::Seek(m) if theirs + 1 == mine => self.on_seek(from, m),
            Message::Gradient(m) if theirs == mine + 1 => self.on_gradient(from, m),
            Message::Sought(m) if theirs == mine + 1 => self.on_sought(from, m),
            Message::WantUnits(m) if theirs == mine + 1 => self.on_want_units(from, m),
            Message::Have(m) if theirs == mine => self.on_have(from, m),
            Message::WantPartial(m) if theirs == mine => self.on_want_partial(from, m),
            Message::Partial(m) if theirs == mine => self.on_partial(from, m),
            Message::Vote(m) if theirs == mine => self.on_vote(from, m),
            Message::WantState(m) if theirs == mine => self.on_want_state(from, m),
            Message::StateManifest(m) if theirs == mine => self.on_manifest(from, m),
            Message::WantPiece(m) if theirs == mine => self.on_want_piece(from, m),
            Message::Piece(m) if theirs == mine => self.on_piece(from, m),
            Message::Cosign(m) if theirs == mine => self.on_cosign(from, m),
            Message::Audit(m) if theirs.abs_diff(mine) <= 1 => self.on_audit(from, m, theirs),
            other => self.offence(
                from,
                format!("{} from stage {theirs} is not for a seat of stage {mine}", other.kind()),
            ),
        }
    }

    fn on_done(&mut self, result: JobResult) {
        match result {
            JobResult::Loaded { progress, state_root, weights, generation, records, damaged } => {
                for what in damaged {
                    self.note(Note::Damaged { what });
                }
                self.set_generation(generation);
                self.adopt(progress, state_root, weights, records);
                self.phase = Phase::Settling { since: self.now };
                self.greet_all();
                self.notice_rollback();
            }
            JobResult::Forwarded { step, unit, tensor } => self.on_forwarded(step, unit, tensor),
            JobResult::Backwarded { step, unit, tensor, accumulated, loss, made } => {
                self.on_backwarded(step, unit, tensor, accumulated, loss, made);
            }
            JobResult::Measured { step, unit, loss } => self.on_measured(step, unit, loss),
            JobResult::Summed { step, units, sum, root } => self.on_summed(step, units, sum, root),
            JobResult::Closed { progress, state_root, weights, saved } => {
                self.closed = Some((progress, state_root, weights));
                self.on_saved(saved);
            }
            JobResult::Saved(saved) => self.on_saved(saved),
            JobResult::Exported { manifest, pieces } => self.on_exported(manifest, pieces),
            JobResult::Installed { progress, state_root, weights } => {
                self.on_installed(progress, state_root, weights);
            }
            JobResult::Refused { step, account } => self.on_refused(step, account),
            JobResult::RolledBack { generation, progress, state_root, weights, records } => {
                self.on_rolled_back(generation, progress, state_root, weights, records);
            }
            JobResult::Audited { unit, result } => self.on_audited(unit, result),
            JobResult::Played { dispute, step } => self.on_played(dispute, step.map(|step| *step)),
            JobResult::Failed { job, unit, error } => self.on_failed(job, unit, error),
        }
    }

    fn on_tick(&mut self) {
        if self.now >= self.last_hello + self.config.tuning.hello {
            self.greet_all();
            self.repeat_have();
        }
        self.notice_losses();
        self.notice_lag();
        self.retry_units();
        self.retry_barrier();
        self.retry_fetch();
        self.retry_reports();
        self.tick_audits();
        self.review_disputes();
    }

    /// Do everything that has become possible.
    fn advance(&mut self) {
        if let Phase::Settling { since } = self.phase {
            let ahead = self.replicas().any(|(_, peer)| peer.progress() > self.progress);
            if !ahead && self.now >= since + self.config.tuning.settle {
                self.start_working();
            }
        }
        if self.phase == Phase::Working {
            self.dispatch_units();
            self.try_close();
        }
        self.start_job();
    }

    fn start_working(&mut self) {
        self.phase = Phase::Working;
        self.current = StepWork::new(self.progress, self.now);
        self.previous = None;
        self.note(Note::Working { step: self.progress, state_root: self.state_root });
        self.greet_all();
        self.vote();
        self.begin_step();
        self.ensure_reports();
    }

    /// Choose the most urgent job, if none is running.
    fn start_job(&mut self) {
        if self.busy || !matches!(self.phase, Phase::Working | Phase::Settling { .. }) {
            return;
        }
        let job = if self.unsaved_since.is_some() {
            self.save_job()
        } else {
            self.barrier_job()
                .or_else(|| self.export_job())
                .or_else(|| self.trust.job(true))
                .or_else(|| self.unit_job())
                .or_else(|| self.trust.job(false))
        };
        if let Some(job) = job {
            self.run(job);
        }
    }

    /// Take over a state with its records.
    fn adopt(&mut self, progress: u64, state_root: Hash, weights: Hash, records: Vec<StepRecord>) {
        self.progress = progress;
        self.state_root = state_root;
        self.weights = weights;
        self.records = records;
        self.current = StepWork::new(progress, self.now);
        self.previous = None;
        self.early.clear();
        self.behind_since = None;
        self.roots.retain(|at, _| *at >= progress);
    }

    fn run(&mut self, job: Job) {
        self.busy = true;
        self.effects.push(Effect::Run(Box::new(job)));
    }
    fn send(&mut self, to: PublicKey, message: impl Into<Message>) {
        self.effects.push(Effect::Send { to, message: message.into() });
    }
    fn note(&mut self, note: Note) {
        self.effects.push(Effect::Note(note));
    }
    fn offence(&mut self, peer: PublicKey, reason: String) {
        self.effects.push(Effect::Drop { peer, reason });
    }
    fn halt(&mut self, why: String) {
        self.phase = Phase::Halted;
        self.note(Note::Halted { why });
    }
    fn on_failed(&mut self, job: &'static str, unit: Option<(u64, u32)>, error: crate::WorkerError) {
        let sources = unit.and_then(|(step, unit)| self.forget_unit(step, unit)).unwrap_or_default();
        if error.is_senders_fault() {
            for peer in sources {
                self.offence(peer, error.to_string());
            }
        }
        match job {
            "load" | "close" | "roll back" => self.halt(format!("{job} failed: {error}")),
            "install" => {
                self.note(Note::Trouble { what: format!("{job} failed: {error}") });
                self.restart_fetch();
            }
            _ => self.note(Note::Trouble { what: format!("{job} failed: {error}") }),
        }
    }
    /// The newest `max` records, as a message or a file carries them.
    fn kept_records<const MAX: usize>(&self) -> List<StepRecord, MAX> {
        let from = self.records.len().saturating_sub(MAX);
        List::new(self.records[from..].to_vec()).unwrap_or_default()
    }
}
