//! The state machine of one stage host: messages in, admitted work out.
//!
//! A job leaves this machine only after the [`Gate`] admitted its positions. At most one job is outstanding;
//! the others wait in order of arrival, and tickets bound their number. On stage 0 the host is also the home
//! of the sessions that the ledger draws for it ([`crate::home`]).
//!
//! The driver sends [`Input`]s with the present time in milliseconds and carries out the [`Effect`]s in
//! order. Messages to oneself never leave the machine.

use crate::{
    Admission, CellProofs, Ending, Gate, GateConfig, Job, JobResult, Refusal, RowInput, home::HomeSession,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tessera_canon::{Hash, PublicKey, SecretKey};
use tessera_ledger::{action::SettleSession, record::ChunkPrice};
use tessera_wire::serving::*;

/// Times in milliseconds.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// How long a session may stand still in the middle of a chunk or while it is being opened.
    pub hop: u64,
    /// How long the home waits for the client's next chunk before it settles.
    pub silence: u64,
    /// How long a host keeps a session in which nothing happens: longer than `silence`.
    pub idle: u64,
}
impl Default for Tuning {
    fn default() -> Self {
        Self { hop: 15_000, silence: 120_000, idle: 300_000 }
    }
}

/// Who this host is. `gate.me` must be the public half of `key`.
pub struct HostConfig {
    pub key: SecretKey,
    pub gate: GateConfig,
    pub tuning: Tuning,
}

/// What the driver tells the host.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message of an authenticated peer.
    Peer { from: PublicKey, message: ServingMessage },
    /// The job of the last [`Effect::Run`] is done.
    Done(JobResult),
    /// A connection came up.
    Up(PublicKey),
    /// A connection went down.
    Down(PublicKey),
    /// The hosts that may serve each stage, from the ledger; in the order of preference.
    Seats(Vec<Vec<PublicKey>>),
    /// Tokens per credit of each live series, from the ledger.
    Prices(BTreeMap<u16, ChunkPrice>),
    /// The ledger says that this order is settled or expired.
    Settled(Hash),
    /// Time has passed and the ledger stands at `height`; send one at least every second.
    Tick { height: u64 },
}

/// What the host wants done.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send a message on [`SERVING`](tessera_wire::SERVING).
    Send { to: PublicKey, message: ServingMessage },
    /// Do this job; at most one is outstanding.
    Run(Box<Job>),
    /// Post this settlement on the ledger, and again until it is there.
    Settle(Box<SettleSession>),
    /// Tell the operator.
    Note(Note),
}

/// Something an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A session was admitted here.
    Admitted { order: Hash, home: PublicKey },
    /// All hosts of a session of this home have agreed.
    Opened { order: Hash, hosts: Vec<PublicKey> },
    /// Something was refused, before anything was computed.
    Refused { order: Hash, peer: PublicKey, refusal: Refusal },
    /// A session of this home cannot go on.
    HostFailed { order: Hash, stage: u16, reason: String },
    /// A session of this home is over.
    Ended { order: Hash, ending: Ending, chunks: u32, fees: u128 },
}

/// Positions on their way through this stage.
pub(crate) struct Work {
    pub(crate) order: Hash,
    pub(crate) j: u32,
    pub(crate) pos: u32,
    pub(crate) rows: u32,
    /// Travels on with the rows.
    pub(crate) ticket: Option<SignedTicket>,
    pub(crate) input: RowInput,
}

/// What is remembered of a session besides what the gate knows.
struct Served {
    heard: u64,
    /// Last stage: the token after the positions computed, until a ticket covers it.
    held: Option<(u32, u32)>,
}

/// One host of one stage.
pub struct Host {
    pub(crate) key: SecretKey,
    pub(crate) me: PublicKey,
    pub(crate) gate: Gate,
    pub(crate) tuning: Tuning,
    pub(crate) now: u64,
    pub(crate) seats: Vec<Vec<PublicKey>>,
    pub(crate) down: BTreeSet<PublicKey>,
    pub(crate) home: BTreeMap<Hash, HomeSession>,
    pub(crate) effects: Vec<Effect>,
    served: BTreeMap<Hash, Served>,
    queue: VecDeque<Work>,
    forgetting: VecDeque<Hash>,
    /// The outstanding job: the positions it is for, or `None` while a cache is being dropped.
    running: Option<Option<Work>>,
    to_self: VecDeque<ServingMessage>,
}

impl Host {
    /// A host that has heard of nothing yet; `height` is that of the ledger now.
    pub fn new(config: HostConfig, proofs: Box<dyn CellProofs>, height: u64) -> Self {
        Self {
            me: config.key.public(),
            key: config.key,
            gate: Gate::new(config.gate, proofs, height),
            tuning: config.tuning,
            now: 0,
            seats: Vec::new(),
            down: BTreeSet::new(),
            home: BTreeMap::new(),
            effects: Vec::new(),
            served: BTreeMap::new(),
            queue: VecDeque::new(),
            forgetting: VecDeque::new(),
            running: None,
            to_self: VecDeque::new(),
        }
    }
    /// The gate, for its counters and open sessions.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }
    /// Number of sessions open here.
    pub fn sessions(&self) -> usize {
        self.served.len()
    }

    /// Take `input` at time `now` (milliseconds, never falling) and say what is to be done.
    pub fn step(&mut self, now: u64, input: Input) -> Vec<Effect> {
        self.now = self.now.max(now);
        match input {
            Input::Peer { from, message } => self.message(from, message),
            Input::Done(result) => self.done(result),
            Input::Up(peer) => {
                self.down.remove(&peer);
            }
            Input::Down(peer) => {
                self.down.insert(peer);
                self.lost(&peer);
            }
            Input::Seats(seats) => self.seats = seats,
            Input::Prices(prices) => self.gate.set_prices(prices),
            Input::Settled(order) => {
                self.finish(order, Ending::HostFailed);
                self.forget(order);
            }
            Input::Tick { height } => self.tick(height),
        }
        while let Some(message) = self.to_self.pop_front() {
            self.message(self.me, message);
        }
        self.start_next();
        std::mem::take(&mut self.effects)
    }

    fn message(&mut self, from: PublicKey, message: ServingMessage) {
        match message {
            ServingMessage::Begin(begin) => self.begin(from, begin),
            ServingMessage::Open(open) => self.open(from, &open),
            ServingMessage::Admitted(admitted) => self.admitted(from, &admitted),
            ServingMessage::ChunkRequest(request) => self.chunk_request(from, request),
            ServingMessage::Ticket(ticket) => self.ticket(from, &ticket),
            ServingMessage::Rows(rows) => self.rows(from, rows),
            ServingMessage::Next(next) => self.next_token(from, &next),
            ServingMessage::Delivered(delivered) => self.delivered(from, &delivered),
            ServingMessage::Refused(refused) => self.host_refused(from, refused),
            ServingMessage::Close(close) => self.close(from, &close),
            ServingMessage::Done(done) => self.session_done(from, &done),
            // For clients only.
            ServingMessage::Opened(_) | ServingMessage::Token(_) => {}
        }
    }

    fn open(&mut self, from: PublicKey, open: &Open) {
        let order = open.route.order;
        match self.gate.admit_session(&from, open) {
            Ok(admission) => {
                if admission == Admission::New {
                    self.note(Note::Admitted { order, home: from });
                }
                self.served(order);
                let stage = self.gate.config().stage;
                self.send(from, Admitted { order, stage });
            }
            Err(refusal) => self.send_refusal(from, order, &refusal),
        }
    }

    fn ticket(&mut self, from: PublicKey, signed: &SignedTicket) {
        let order = signed.ticket.order;
        match self.gate.admit_chunk(signed) {
            Ok(_) => {
                self.served(order);
                self.release(order);
            }
            Err(refusal) => self.send_refusal(from, order, &refusal),
        }
    }

    fn rows(&mut self, from: PublicKey, rows: Rows) {
        let order = rows.order;
        match self.gate.admit_rows(&from, &rows) {
            Ok(values) => {
                self.served(order);
                self.release(order);
                let count = rows.tensor.rows;
                let input = RowInput::Hidden(values);
                self.enqueue(Work {
                    order,
                    j: rows.j,
                    pos: rows.pos,
                    rows: count,
                    ticket: rows.ticket,
                    input,
                });
            }
            Err(refusal) => {
                self.send_refusal(from, order, &refusal);
                // The home leads the session: it must hear that its chunk does not pass here. What a stranger
                // sends is no reason to trouble it.
                let stranger = matches!(refusal, Refusal::Sender { .. });
                let home = self.gate.session(&order).map(|session| session.route.home);
                if let Some(home) = home.filter(|home| !stranger && *home != from && *home != self.me) {
                    self.send(home, refusal.message(order, self.gate.config().stage));
                }
            }
        }
    }

    /// The home says that the session is over.
    fn session_done(&mut self, from: PublicKey, done: &Done) {
        if self.gate.session(&done.order).is_some_and(|session| session.route.home == from) {
            self.forget(done.order);
        }
    }

    /// Note that something happened in a session.
    pub(crate) fn served(&mut self, order: Hash) {
        let now = self.now;
        self.served.entry(order).or_insert(Served { heard: now, held: None }).heard = now;
    }

    /// Drop everything of a session.
    pub(crate) fn forget(&mut self, order: Hash) {
        self.gate.end(&order);
        self.queue.retain(|work| work.order != order);
        if self.served.remove(&order).is_some() {
            self.forgetting.push_back(order);
        }
    }

    pub(crate) fn enqueue(&mut self, work: Work) {
        self.queue.push_back(work);
    }

    fn start_next(&mut self) {
        if self.running.is_some() {
            return;
        }
        // Room first: a new session must not find the cache of a finished one.
        if let Some(order) = self.forgetting.pop_front() {
            self.running = Some(None);
            self.effects.push(Effect::Run(Box::new(Job::Forget { order })));
            return;
        }
        while let Some(mut work) = self.queue.pop_front() {
            let Some(session) = self.gate.session(&work.order) else { continue };
            let sampling = session.consent.sampling.clone();
            let input = std::mem::replace(&mut work.input, RowInput::Tokens(Vec::new()));
            let job = Job::Rows { order: work.order, pos: work.pos, input, sampling };
            self.running = Some(Some(work));
            self.effects.push(Effect::Run(Box::new(job)));
            return;
        }
    }

    fn done(&mut self, result: JobResult) {
        let Some(Some(work)) = self.running.take() else { return };
        let order = work.order;
        let Some(session) = self.gate.session(&order) else { return };
        let (route, j) = (session.route.clone(), session.j);
        let read = session.chunk.is_some_and(|(kind, _)| kind == TicketKind::Prefill)
            && work.pos + work.rows == session.pos;
        self.served(order);
        match result {
            JobResult::Rows { tensor, .. } => {
                let stage = usize::from(self.gate.config().stage);
                if let Some(next) = route.hosts.get(stage + 1) {
                    self.send(*next, Rows { order, pos: work.pos, j: work.j, ticket: work.ticket, tensor });
                }
            }
            JobResult::Token { pos, token, .. } => {
                if let Some(served) = self.served.get_mut(&order) {
                    served.held = Some((pos, token));
                }
                if read {
                    self.send(route.home, Delivered { order, j });
                }
                self.release(order);
            }
            JobResult::Forgotten { .. } => {}
            JobResult::Failed { reason, .. } => {
                let refusal = Refusal::Trouble { reason };
                let stage = self.gate.config().stage;
                if route.home == self.me {
                    self.abort(order, stage, refusal);
                } else {
                    self.send(route.home, refusal.message(order, stage));
                    self.forget(order);
                }
            }
        }
    }

    /// Hand out the held token if a ticket for generation covers its position.
    pub(crate) fn release(&mut self, order: Hash) {
        let Some(served) = self.served.get_mut(&order) else { return };
        let Some((pos, token)) = served.held else { return };
        if !self.gate.may_release(&order, pos) {
            return;
        }
        served.held = None;
        if let Some(home) = self.gate.session(&order).map(|session| session.route.home) {
            self.send(home, Next { order, pos, token });
        }
    }

    fn tick(&mut self, height: u64) {
        // Sessions of this home first: they settle before their orders run out.
        let known = self.gate.height().max(height);
        for order in self.gate.set_height(known) {
            self.finish(order, Ending::RanOut);
            self.forget(order);
        }
        self.watch_sessions();
        let idle = self.tuning.idle;
        let stale: Vec<Hash> = self
            .served
            .iter()
            .filter(|(order, served)| {
                !self.home.contains_key(*order) && self.now.saturating_sub(served.heard) > idle
            })
            .map(|(order, _)| *order)
            .collect();
        stale.into_iter().for_each(|order| self.forget(order));
    }

    /// Why no session of `order` runs here.
    pub(crate) fn unknown(&self, order: &Hash) -> Refusal {
        self.gate.why_not(order)
    }

    /// Count a refusal that the gate did not make, note it and send it.
    pub(crate) fn refuse(&mut self, to: PublicKey, order: Hash, refusal: Refusal) {
        let _ = self.gate.count::<()>(Err(refusal.clone()));
        self.send_refusal(to, order, &refusal);
    }

    pub(crate) fn send_refusal(&mut self, to: PublicKey, order: Hash, refusal: &Refusal) {
        self.note(Note::Refused { order, peer: to, refusal: refusal.clone() });
        let message = refusal.message(order, self.gate.config().stage);
        self.send(to, message);
    }

    pub(crate) fn send(&mut self, to: PublicKey, message: impl Into<ServingMessage>) {
        if to == self.me {
            self.to_self.push_back(message.into());
        } else {
            self.effects.push(Effect::Send { to, message: message.into() });
        }
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.effects.push(Effect::Note(note));
    }
}
