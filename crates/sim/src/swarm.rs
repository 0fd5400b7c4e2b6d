//! Drive seats over simulated links with simulated disks, and break them on request.

use crate::SimLedger;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
};
use tessera_audit::attackers::Attacker;
use tessera_canon::{Domain, Hash, Prf, PublicKey, SecretKey, digest_bytes, encode};
use tessera_ledger::{Parameters, query, record::RunState};
use tessera_model::{Dataset, RunSpec};
use tessera_net::sim::{Delivery, Links, Profile};
use tessera_swarm::{
    Effect, Input, Job, JobResult, MemoryStore, Note, Phase, Roster, Shape, Trainer, TrainerConfig,
    TrustConfig, Tuning, Worker,
};
use tessera_wire::training::Message;

const KEYS: Domain = Domain::new("tessera/sim/keys/v1");
const DRAWS: Domain = Domain::new("tessera/sim/draws/v1");
const LOG: Domain = Domain::new("tessera/sim/log/v1");
/// How long a dead or unreachable peer goes unnoticed, microseconds.
const NOTICE_US: u64 = 1_500_000;
const CONNECT_US: u64 = 100_000;
/// Accounts that a run may be published with; the others join once it is open to all.
const DESIGNERS: usize = 64;
const TICK_US: u64 = 200_000;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct SimConfig {
    pub seed: u64,
    pub spec: RunSpec,
    pub seats_per_stage: u16,
    pub links: Profile,
    pub tuning: Tuning,
    pub trust: TrustConfig,
    /// The network's numbers.
    pub parameters: Parameters,
    /// What one forward takes on seat `i`: `unit_us + i * unit_step_us`; a backward takes twice that.
    pub unit_us: u64,
    pub unit_step_us: u64,
    /// Time between two blocks of the ledger.
    pub block_us: u64,
    /// The ledger's invariants are checked after every so many blocks; each check reads the whole state.
    pub check_blocks: u64,
}

impl SimConfig {
    /// The `tiny` run on `seats_per_stage` seats a stage with home links.
    pub fn tiny(seed: u64, seats_per_stage: u16) -> Self {
        Self {
            seed,
            spec: RunSpec::preset("tiny").expect("the preset is part of the program"),
            seats_per_stage,
            links: Profile::HOME,
            tuning: Tuning::default(),
            trust: TrustConfig::default(),
            parameters: Parameters::demo(),
            unit_us: 20_000,
            unit_step_us: 3_000,
            block_us: 500_000,
            check_blocks: 1,
        }
    }
}

enum Event {
    Deliver { from: PublicKey, from_life: u64, to: PublicKey, digest: Hash, message: Box<Message> },
    JobDone { seat: PublicKey, life: u64, result: Box<JobResult> },
    Tick { seat: PublicKey, life: u64 },
    Up { at: PublicKey, peer: PublicKey, life: u64 },
    Down { at: PublicKey, peer: PublicKey },
    Block,
}

/// Makes the attacker of a seat that cheats.
pub type Conduct = fn() -> Box<dyn Attacker>;

struct Seat {
    key: SecretKey,
    index: u64,
    /// Stage and place in it, as the ledger drew them; they outlive a ban.
    home: Option<(u16, u16)>,
    /// It has asked for a seat.
    asked: bool,
    disk: MemoryStore,
    /// Counts starts; 0 before the first.
    life: u64,
    process: Option<(Trainer, Worker)>,
    /// How it cheats, made anew at every start.
    conduct: Option<Conduct>,
    roster: Roster,
    notes: Vec<Note>,
}

/// A swarm in virtual time.
pub struct SwarmSim {
    config: SimConfig,
    spec: Arc<RunSpec>,
    data: Arc<Dataset>,
    links: Links,
    ledger: SimLedger,
    draws: Prf,
    seats: BTreeMap<PublicKey, Seat>,
    connected: BTreeSet<(PublicKey, PublicKey)>,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    sequence: u64,
    now_us: u64,
    log: Hash,
    offences: Vec<String>,
    traffic: BTreeMap<&'static str, (u64, u64)>,
}

impl SwarmSim {
    /// Publish the run, seat everyone by the ledger's draw, start all processes. Of more than 64 accounts the rest come
    /// when the first window is reported: until then a run is its designers' alone.
    pub fn new(config: SimConfig) -> Self {
        let count = u64::from(config.spec.stage_count()) * u64::from(config.seats_per_stage);
        let mut keys = Prf::new(KEYS, &config.seed.to_be_bytes());
        let keys: Vec<SecretKey> = (0..count)
            .map(|_| {
                let mut seed = [0; 32];
                seed.chunks_exact_mut(8).for_each(|c| c.copy_from_slice(&keys.next_u64().to_be_bytes()));
                SecretKey::from_seed(seed)
            })
            .collect();
        let accounts: Vec<PublicKey> = keys.iter().map(SecretKey::public).collect();
        let mut ledger = SimLedger::new(config.seed, &config.spec, &accounts, config.parameters.clone());
        ledger.check_blocks = config.check_blocks.max(1);
        ledger.submit(
            &keys[0],
            SimLedger::create_run(
                &config.spec,
                config.seats_per_stage,
                &accounts[..accounts.len().min(DESIGNERS)],
            ),
        );
        ledger.block(0);
        for key in keys.iter().take(DESIGNERS) {
            ledger.submit(key, SimLedger::join(config.spec.run_id()));
        }
        for _ in 0..30 {
            ledger.block(0);
        }
        assert!(ledger.refused.is_empty(), "the run was not set up: {:?}", ledger.refused);
        let spec = Arc::new(config.spec.clone());
        let data = Arc::new(Dataset::embedded(&spec).expect("the preset's corpus is embedded"));
        let mut sim = Self {
            links: Links::new(config.seed, config.links),
            draws: Prf::new(DRAWS, &config.seed.to_be_bytes()),
            spec,
            data,
            seats: keys
                .into_iter()
                .zip(0..)
                .map(|(key, index)| {
                    let seat = Seat {
                        key: key.clone(),
                        index,
                        home: ledger.seat_of(&key.public()),
                        asked: index < DESIGNERS as u64,
                        disk: MemoryStore::default(),
                        life: 0,
                        process: None,
                        conduct: None,
                        roster: Roster::default(),
                        notes: Vec::new(),
                    };
                    (key.public(), seat)
                })
                .collect(),
            ledger,
            connected: BTreeSet::new(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            now_us: 0,
            log: Hash::ZERO,
            offences: Vec::new(),
            traffic: BTreeMap::new(),
            config,
        };
        sim.push(sim.config.block_us, Event::Block);
        for account in accounts.into_iter().take(DESIGNERS) {
            sim.start(account);
        }
        sim
    }

    /// The account that the set-up put in a seat.
    pub fn account(&self, stage: u16, index: u16) -> PublicKey {
        let found = self.seats.iter().find(|(_, seat)| seat.home == Some((stage, index)));
        *found.expect("every stage is filled once all are seated").0
    }
    /// Whether every account has had a seat.
    pub fn all_seated(&self) -> bool {
        self.seats.values().all(|seat| seat.home.is_some())
    }
    /// Let those join that could not while the run was its designers', and start those that have got a seat.
    fn admit(&mut self) {
        let run = self.run();
        let open = query::run(|key| self.ledger.state().get(key), &run)
            .is_some_and(|run| run.state != RunState::Exclusive);
        let mut seated = Vec::new();
        for (account, seat) in self.seats.iter_mut().filter(|(_, seat)| seat.home.is_none()) {
            if open && !seat.asked {
                seat.asked = true;
                self.ledger.submit(&seat.key, SimLedger::join(run));
            }
            seat.home = self.ledger.seat_of(account);
            seated.extend(seat.home.map(|_| *account));
        }
        seated.into_iter().for_each(|account| self.start(account));
    }
    /// The run that is trained.
    pub fn run(&self) -> Hash {
        self.spec.run_id()
    }
    /// Units that a cheating seat falsified since its last start.
    pub fn falsified(&self, account: &PublicKey) -> u64 {
        self.seats[account].process.as_ref().map_or(0, |(_, worker)| worker.falsified())
    }
    /// Stage and place that the ledger gave an account first.
    pub fn home(&self, account: &PublicKey) -> Option<(u16, u16)> {
        self.seats[account].home
    }
    /// All accounts.
    pub fn accounts(&self) -> impl Iterator<Item = PublicKey> + '_ {
        self.seats.keys().copied()
    }
    /// Messages sent, by kind: how many, and their bytes.
    pub fn traffic(&self) -> &BTreeMap<&'static str, (u64, u64)> {
        &self.traffic
    }
    pub fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }
    pub fn ledger(&self) -> &SimLedger {
        &self.ledger
    }
    pub fn trainer(&self, account: &PublicKey) -> Option<&Trainer> {
        self.seats[account].process.as_ref().map(|(trainer, _)| trainer)
    }
    /// Notes of a seat over all its lives.
    pub fn notes(&self, account: &PublicKey) -> &[Note] {
        &self.seats[account].notes
    }
    /// Hash over everything that happened.
    pub fn log_hash(&self) -> Hash {
        self.log
    }
    /// Complaints of seats about peers; honest swarms have none.
    pub fn offences(&self) -> &[String] {
        &self.offences
    }
    /// Roots per stage, one per distinct root among its seats.
    pub fn roots(&self) -> Vec<BTreeSet<Hash>> {
        let mut roots = vec![BTreeSet::new(); usize::from(self.config.spec.stage_count())];
        for (account, seat) in &self.seats {
            if let (Some((stage, _)), Some((trainer, _))) = (self.ledger.seat_of(account), &seat.process) {
                roots[usize::from(stage)].insert(trainer.state_root());
            }
        }
        roots
    }
    /// Whether every running seat that the ledger has not taken away has closed the last step.
    pub fn finished(&self) -> bool {
        let done = |seat: &Seat| seat.process.as_ref().is_none_or(|(trainer, _)| trainer.finished());
        self.seats.iter().all(|(account, seat)| done(seat) || self.ledger.seat_of(account).is_none())
    }
    /// Steps closed by the slowest running seat that the ledger has not taken away.
    pub fn slowest(&self) -> u64 {
        let seated = self.seats.iter().filter(|(account, _)| self.ledger.seat_of(account).is_some());
        let running = seated.filter_map(|(_, seat)| seat.process.as_ref());
        running.map(|(trainer, _)| trainer.progress()).min().unwrap_or(0)
    }

    /// Let a seat cheat from now on, as `conduct` makes its attacker.
    pub fn corrupt(&mut self, account: PublicKey, conduct: Conduct) {
        if let Some(seat) = self.seats.get_mut(&account) {
            seat.conduct = Some(conduct);
            if let Some((_, worker)) = &mut seat.process {
                worker.corrupt(conduct(), &seat.key);
            }
        }
    }
    /// Let a seat open its leaves to no auditor, only on the ledger.
    pub fn withhold(&mut self, account: PublicKey) {
        if let Some((trainer, _)) = self.seats.get_mut(&account).and_then(|seat| seat.process.as_mut()) {
            trainer.withhold();
        }
    }
    /// Kill a seat's process at once.
    pub fn kill(&mut self, account: PublicKey) {
        self.record(format!("kill {account}"));
        self.links.crash(account);
        if let Some(seat) = self.seats.get_mut(&account) {
            seat.process = None;
        }
        self.review_connections();
    }
    /// Start a killed seat again on its disk.
    pub fn restart(&mut self, account: PublicKey) {
        self.links.restart(account);
        self.start(account);
    }
    /// Forget a killed seat's disk.
    pub fn wipe(&mut self, account: PublicKey) {
        if let Some(seat) = self.seats.get_mut(&account) {
            seat.disk = MemoryStore::default();
        }
    }
    /// Cut the network between these and all others.
    pub fn isolate(&mut self, accounts: &[PublicKey]) {
        self.links.partition(vec![accounts.iter().copied().collect()]);
        self.review_connections();
    }
    /// Undo [`SwarmSim::isolate`].
    pub fn heal(&mut self) {
        self.links.heal();
        self.review_connections();
    }

    /// Go on until `done` holds; false if it does not within `limit_ms` of virtual time.
    pub fn run_until(&mut self, limit_ms: u64, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now_us + limit_ms * 1000;
        while !done(self) {
            let Some(Reverse((at, sequence))) = self.queue.pop() else { return false };
            if at > end {
                self.queue.push(Reverse((at, sequence)));
                self.now_us = end;
                return false;
            }
            self.now_us = at;
            if let Some(event) = self.events.remove(&sequence) {
                self.handle(event);
            }
        }
        true
    }

    fn push(&mut self, at_us: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse((at_us, self.sequence)));
        self.events.insert(self.sequence, event);
    }
    fn record(&mut self, line: impl AsRef<[u8]>) {
        let mut bytes = self.log.0.to_vec();
        bytes.extend_from_slice(&self.now_us.to_be_bytes());
        bytes.extend_from_slice(line.as_ref());
        self.log = digest_bytes(LOG, &bytes);
    }

    fn start(&mut self, account: PublicKey) {
        let Some(seat) = self.seats.get_mut(&account) else { return };
        let Some((stage, index)) = seat.home else { return };
        let ends = stage == 0 || stage + 1 == self.spec.stage_count();
        let data = ends.then(|| self.data.clone());
        seat.life += 1;
        let mut worker = Worker::new(self.spec.clone(), stage, data, Box::new(seat.disk.clone()))
            .unwrap_or_else(|error| panic!("the worker of a valid spec starts: {error}"));
        if let Some(conduct) = seat.conduct {
            worker.corrupt(conduct(), &seat.key);
        }
        let trainer = Trainer::new(TrainerConfig {
            network: self.ledger.network(),
            shape: Shape::of(&self.spec),
            key: seat.key.clone(),
            stage,
            seat: index,
            incarnation: seat.life,
            tuning: self.config.tuning.clone(),
            trust: self.config.trust.clone(),
        });
        seat.process = Some((trainer, worker));
        seat.roster = Roster::default();
        let (life, roster) = (seat.life, self.ledger.roster(&account));
        self.record(format!("start {account} {life}"));
        self.give(account, Input::Roster(roster));
        self.give(account, Input::Start);
        self.push(self.now_us + TICK_US, Event::Tick { seat: account, life });
        self.review_connections();
    }

    /// Connections follow what the links allow, after a delay. Seats connect within their stage and to its neighbours.
    fn review_connections(&mut self) {
        let accounts: Vec<(PublicKey, u16)> =
            self.seats.iter().filter_map(|(key, seat)| Some((*key, seat.home?.0))).collect();
        for &(a, stage) in &accounts {
            for &(b, _) in accounts.iter().filter(|(b, other)| *b != a && stage.abs_diff(*other) <= 1) {
                let open = self.links.obstacle(a, b).is_none()
                    && self.seats[&a].process.is_some()
                    && self.seats[&b].process.is_some();
                if open && self.connected.insert((a, b)) {
                    let life = self.seats[&b].life;
                    self.push(self.now_us + CONNECT_US, Event::Up { at: a, peer: b, life });
                } else if !open && self.connected.remove(&(a, b)) {
                    self.push(self.now_us + NOTICE_US, Event::Down { at: a, peer: b });
                }
            }
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Deliver { from, from_life, to, digest, message } => {
                // A connection does not outlive the process at its other end.
                if self.seats[&from].life == from_life {
                    self.record(digest.0);
                    self.give(to, Input::Peer { from, message: *message });
                }
            }
            Event::JobDone { seat, life, result } => {
                if self.seats[&seat].life == life {
                    self.give(seat, Input::Done(*result));
                }
            }
            Event::Tick { seat, life } => {
                if self.seats[&seat].life == life && self.seats[&seat].process.is_some() {
                    self.give(seat, Input::Tick);
                    self.push(self.now_us + TICK_US, Event::Tick { seat, life });
                }
            }
            Event::Up { at, peer, life } => {
                if self.connected.contains(&(at, peer)) && self.seats[&peer].life == life {
                    self.give(at, Input::Up(peer));
                }
            }
            Event::Down { at, peer } => {
                if !self.connected.contains(&(at, peer)) {
                    self.give(at, Input::Down(peer));
                }
            }
            Event::Block => {
                self.ledger.block(self.now_us / 1000);
                self.admit();
                let accounts: Vec<PublicKey> = self.seats.keys().copied().collect();
                for (account, roster) in accounts.iter().copied().zip(self.ledger.rosters(&accounts)) {
                    let known = self.seats.get_mut(&account).filter(|seat| seat.roster != roster);
                    if let Some(seat) = known {
                        seat.roster = roster.clone();
                        self.give(account, Input::Roster(roster));
                    }
                }
                self.push(self.now_us + self.config.block_us, Event::Block);
            }
        }
    }

    fn give(&mut self, account: PublicKey, input: Input) {
        let now_ms = self.now_us / 1000;
        let Some(seat) = self.seats.get_mut(&account) else { return };
        let (life, key) = (seat.life, seat.key.clone());
        let unit_us = self.config.unit_us + seat.index * self.config.unit_step_us;
        let Some((trainer, worker)) = seat.process.as_mut() else { return };
        for effect in trainer.step(now_ms, input) {
            match effect {
                Effect::Send { to, message } => {
                    let bytes = encode(&message);
                    let sent = self.traffic.entry(message.kind()).or_default();
                    *sent = (sent.0 + 1, sent.1 + bytes.len() as u64);
                    if self.connected.contains(&(account, to))
                        && let Delivery::At { at_us } =
                            self.links.deliver(self.now_us, account, to, bytes.len())
                    {
                        let (message, digest) = (Box::new(message), digest_bytes(LOG, &bytes));
                        let deliver = Event::Deliver { from: account, from_life: life, to, digest, message };
                        self.sequence += 1;
                        self.queue.push(Reverse((at_us, self.sequence)));
                        self.events.insert(self.sequence, deliver);
                    }
                }
                Effect::Run(job) => {
                    let took = match &*job {
                        Job::Backward { .. } => 2 * unit_us,
                        Job::Forward { .. } | Job::Measure { .. } | Job::Close { .. } => unit_us,
                        _ => unit_us / 4,
                    };
                    let result = Box::new(worker.execute(*job));
                    let jitter = self.draws.below(unit_us / 4 + 1);
                    self.sequence += 1;
                    self.queue.push(Reverse((self.now_us + took + jitter, self.sequence)));
                    self.events.insert(self.sequence, Event::JobDone { seat: account, life, result });
                }
                Effect::Report(report) => self.ledger.submit(&key, (*report).into()),
                Effect::Accuse(accuse) => {
                    let what = format!("{} accuses {}", account.short(), accuse.account.short());
                    if !self.ledger.accuse(&key, *accuse) {
                        self.offences.push(format!("{what} of work that was never reported"));
                    }
                }
                Effect::Demand(demand) => {
                    let what = format!("{} demands of {}", account.short(), demand.account.short());
                    if !self.ledger.demand(&key, *demand) {
                        self.offences.push(format!("{what} work that was never reported"));
                    }
                }
                Effect::Move(step) => self.ledger.submit(&key, (*step).into()),
                Effect::Drop { peer, reason } => {
                    self.offences.push(format!("{} about {}: {reason}", account.short(), peer.short()));
                }
                Effect::Note(note) => seat.notes.push(note),
            }
        }
        if *trainer.phase() == Phase::Halted {
            self.offences.push(format!("{} halted: {:?}", account.short(), seat.notes.last()));
        }
    }
}
