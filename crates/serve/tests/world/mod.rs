//! A ledger in memory with a serving run, locked credentials, and hosts and clients wired without a network.
//!
//! Locks are made and settled by real ledger transactions. The run itself is placed as if training had ended:
//! `tessera-ledger` tests the way there.
// Each test binary compiles this file for itself and uses a part of it.
#![allow(dead_code, unreachable_pub)]

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};
use tessera_canon::{Hash, List, PublicKey, SecretKey, Text, decode, encode};
use tessera_ledger::{
    Action, BlockContext, Cell, Genesis, MemState, Outcome, Parameters, Policy, Record, SignedTx, Tx,
    action::{LockNotes, LockOrder, LossProportional, LossSource},
    genesis::GenesisAccount,
    keys,
    payword::Chain,
    query,
    record::*,
};
use tessera_model::{RunSpec, StageWeights};
use tessera_serve::{Host, *};
use tessera_wire::serving::*;

pub const PRICE: ChunkPrice = ChunkPrice { prompt_tokens: 4, generated_tokens: 4 };
pub const CU: u32 = 6;
pub const FEE: u128 = 100;
pub const GREEDY: Sampling = Sampling { temperature_milli: 0, top_k: 0, seed: 1 };

pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

tessera_canon::record! {
    /// Stands for a state proof.
    struct Claimed { height: u64, key: Hash }
}

/// Every state of the ledger by height; what proofs are checked against.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<BTreeMap<u64, MemState>>>);

impl CellProofs for History {
    /// A proof names a height and a key; the state of that height is the judge.
    fn verify(&self, proof: &[u8], _: &[Hash]) -> Result<ProvedCells, Refusal> {
        let Claimed { height, key } =
            decode::<Claimed>(proof).map_err(|error| Refusal::Proof { reason: error.to_string() })?;
        let states = self.0.lock().unwrap();
        let state =
            states.get(&height).ok_or_else(|| Refusal::Proof { reason: "no such header".to_string() })?;
        Ok(ProvedCells { height, cells: vec![(key, state.get(&key))] })
    }
}

/// A locked credential with its secrets.
pub struct Credential {
    pub order: LockOrder,
    pub chain: Chain,
    pub session_key: SecretKey,
    pub home: PublicKey,
}
impl Credential {
    pub fn id(&self) -> Hash {
        self.order.id()
    }
}

pub struct World {
    pub spec: RunSpec,
    pub run: Hash,
    pub network: Hash,
    /// Keys of the hosts by stage and seat.
    pub hosts: Vec<Vec<SecretKey>>,
    pub user: SecretKey,
    pub state: MemState,
    pub history: History,
    pub height: u64,
    notes: u8,
}

impl World {
    /// A run of the `tiny` preset with `seats` hosts per stage, cut into the stages given.
    pub fn new(stages: &[u16], seats: u8) -> Self {
        let mut spec = RunSpec::preset("tiny").unwrap();
        spec.stages = List::new(stages.to_vec()).unwrap();
        let run = spec.run_id();
        let hosts: Vec<Vec<SecretKey>> =
            (0..stages.len() as u8).map(|s| (0..seats).map(|i| key(10 + s * 10 + i)).collect()).collect();
        let user = key(200);
        let rich = |key: &SecretKey| GenesisAccount { key: key.public(), balance: 1_000_000_000 };
        let accounts = hosts.iter().flatten().chain([&user]).map(rich).collect();
        let genesis = Genesis {
            name: Text::new("serve-test").unwrap(),
            time_ms: 0,
            validators: List::default(),
            accounts: List::new(accounts).unwrap(),
            params: Parameters::demo(),
            consensus: Default::default(),
        };
        let mut world = Self {
            network: genesis.network_id(),
            state: MemState::new(&genesis),
            history: History::default(),
            height: 0,
            notes: 0,
            spec,
            run,
            hosts,
            user,
        };
        world.place_run();
        world.block(&[]);
        world
    }

    fn put(&mut self, key: Hash, record: impl Into<Record>) {
        self.state.0.insert(key, Cell::pack(&record.into()));
    }

    fn place_run(&mut self) {
        let (run, stages) = (self.run, self.hosts.len() as u16);
        let creator = self.user.public();
        self.put(
            keys::run_terms(&run),
            RunTerms {
                run,
                creator,
                stages,
                seats: 8,
                microbatches: 4,
                steps: 1,
                window_steps: 1,
                f_star: 1,
                f_min: 0,
                f_exclusive: 0,
                exclusive_windows: 0,
                exclusive_until: 0,
                rule: LossProportional {}.into(),
                loss_0: 1,
                bond: 0,
                price: PRICE,
                supply: 0,
                supply_epochs: 1,
                designers: 0,
                created: 0,
                wu_flops: 1,
                loss_source: LossSource::LastStage,
                open_stages: 0,
                bootstrap_windows: 0,
                fork_part: 0,
            },
        );
        self.put(keys::run_policy(&run), RunPolicy { run, policy: Policy::default() });
        for stage in 0..stages {
            // The order's fee of 100 in equal parts.
            let price = FEE / u128::from(stages);
            self.put(keys::stage_price(&run, stage), StagePrice { run, stage, price, auctioned: true });
        }
        self.put(
            keys::run(&run),
            Run {
                run,
                state: RunState::Serving,
                bond: 0,
                f_done: 1,
                f_designer: 0,
                loss_min: 1,
                weight: 1,
                window: 1,
                matured: 1,
                serving_epochs: 0,
                minted_parts: 1,
                f_star: 1,
                windows: 1,
                opened: 0,
                serving: true,
                paused_until: 0,
            },
        );
        self.put(keys::credits(&run), Credits { active: 1, ..Credits::new(run) });
        for stage in 0..stages {
            let accounts: Vec<PublicKey> =
                self.hosts[usize::from(stage)].iter().map(SecretKey::public).collect();
            let held = (1 << accounts.len()) - 1;
            self.put(
                keys::stage(&run, stage),
                Stage { run, stage, wu: 1, held, used: accounts.len() as u16, identities: 0 },
            );
            for (seat, account) in (0u16..).zip(accounts) {
                let endpoint = Text::default();
                let state = SeatState::Active;
                self.put(
                    keys::seat(&run, stage, seat),
                    Seat { run, stage, seat, account, endpoint: endpoint.clone(), state, since: 0, heard: 0 },
                );
                self.put(
                    keys::member(&run, &account),
                    Member {
                        run,
                        account,
                        state: MemberState::Seated,
                        stage: Some(stage),
                        seat: Some(seat),
                        endpoint,
                        asked: 0,
                        bond: 0,
                        wu: 0,
                        away: None,
                        left: 0,
                        admitted: true,
                        seated: true,
                    },
                );
            }
        }
    }

    /// A free note of `cu` credits for the user.
    fn place_note(&mut self, cu: u64) -> Hash {
        self.notes += 1;
        let (id, run, owner) = (Hash([self.notes; 32]), self.run, keys::owner_hash(&self.user.public()));
        let list = keys::list_of_notes(&owner);
        let count = query::read::<ListLength>(|k| self.state.get(k), &keys::list_length(&list))
            .map_or(0, |length| length.count);
        self.put(keys::list_length(&list), ListLength { list, count: count + 1 });
        self.put(keys::list_slot(&list, count), ListSlot { list, at: count, id });
        self.put(keys::list_position(&list, &id), ListPosition { list, id, at: count });
        let state = NoteState::Unspent;
        self.put(
            keys::note(&id),
            tessera_ledger::record::Note {
                id,
                run,
                series: 0,
                cu,
                flags: 0,
                owner,
                state,
                bound_to: Hash::ZERO,
                until: 0,
            },
        );
        let mut credits = query::credits(|k| self.state.get(k), &run).unwrap();
        credits.notes += cu;
        credits.total += cu;
        self.put(keys::credits(&run), credits);
        let series = query::series(|k| self.state.get(k), &run, 0);
        let (locked, notes) = series.map_or((0, 0), |series| (series.locked, series.notes));
        let notes = notes + cu;
        self.put(
            keys::series(&run, 0),
            Series { run, series: 0, price: PRICE, notes, auctioned: 0, locked, began: 0 },
        );
        id
    }

    /// Run one block; every action must take effect.
    pub fn block(&mut self, actions: &[(&SecretKey, Action)]) -> Outcome {
        self.height += 1;
        let mut nonces = BTreeMap::<PublicKey, u64>::new();
        let mut txs = Vec::new();
        for (sender, action) in actions {
            let public = sender.public();
            let at = query::account(|k| self.state.get(k), &public).map_or(0, |account| account.nonce);
            let nonce = nonces.entry(public).or_insert(at);
            let body = Tx {
                network: self.network,
                sender: public,
                nonce: *nonce,
                fee: 1_000_000,
                fee_from: tessera_ledger::FeeSource::default(),
                action: action.clone(),
            };
            *nonce += 1;
            txs.push(SignedTx::sign(sender, body));
        }
        let context = BlockContext {
            network: self.network,
            height: self.height,
            time_ms: self.height * 1000,
            beacon: Hash([self.height as u8; 32]),
            proposer: self.user.public(),
        };
        let outcome = self.state.run_block(context, &txs);
        assert!(outcome.receipts.iter().all(|receipt| receipt.ok()), "{:?}", outcome.receipts);
        self.history.0.lock().unwrap().insert(self.height, self.state.clone());
        outcome
    }

    /// Lock a note of `cu` credits for a session that may last `blocks`.
    pub fn lock(&mut self, cu: u32, blocks: u64) -> Credential {
        let note = self.place_note(cu.into());
        let session_key = key(100 + self.notes);
        let chain = Chain::new([150 + self.notes; 32], cu);
        let order = LockOrder {
            network: self.network,
            run: self.run,
            series: 0,
            notes: List::new(vec![note]).unwrap(),
            cu,
            session_key: session_key.public(),
            payword_root: chain.root(),
            fee_per_cu: FEE,
            open_until: self.height + blocks,
            refund_to: keys::owner_hash(&self.user.public()),
            salt: 0,
        };
        let user = self.user.clone();
        let action = LockNotes { order: order.clone(), owners: List::default() };
        self.block(&[(&user, action.into())]);
        // The next block draws the home.
        self.block(&[]);
        let home = self.cell_of_lock(&order.id()).home;
        Credential { order, chain, session_key, home }
    }

    pub fn cell_of_lock(&self, order: &Hash) -> Lock {
        query::lock(|k| self.state.get(k), order).unwrap()
    }
    pub fn credits(&self) -> Credits {
        query::credits(|k| self.state.get(k), &self.run).unwrap()
    }
    pub fn balance(&self, of: &PublicKey) -> u128 {
        query::account(|k| self.state.get(k), of).unwrap().balance
    }
    /// A proof of the lock as it stands now.
    pub fn proof(&self, order: &Hash) -> Vec<u8> {
        self.proof_at(self.height, order)
    }
    pub fn proof_at(&self, height: u64, order: &Hash) -> Vec<u8> {
        encode(&Claimed { height, key: keys::lock(order) }).to_vec()
    }

    pub fn gate_config(&self, stage: u16, me: PublicKey) -> GateConfig {
        GateConfig {
            run: self.run,
            stage,
            stages: self.hosts.len() as u16,
            me,
            width: self.spec.model.d_model as usize,
            context: self.spec.model.seq_len,
            vocab: self.spec.model.vocab,
            prices: [(0, PRICE)].into(),
            since: 0,
            margin: 5,
            proof_age: 20,
            max_sessions: 4,
        }
    }
    pub fn host(&self, stage: u16, seat: usize) -> Host {
        let key = self.hosts[usize::from(stage)][seat].clone();
        let gate = self.gate_config(stage, key.public());
        let mut host = Host::new(
            HostConfig { key, gate, tuning: Tuning::default() },
            Box::new(self.history.clone()),
            self.height,
        );
        host.step(0, Input::Seats(self.seats()));
        host
    }
    pub fn seats(&self) -> Vec<Vec<PublicKey>> {
        self.hosts.iter().map(|stage| stage.iter().map(SecretKey::public).collect()).collect()
    }
    pub fn worker(&self, stage: u16) -> ServeWorker {
        let weights = Arc::new(StageWeights::init(&self.spec, stage).unwrap());
        ServeWorker::new(weights, 4, 1 << 30).unwrap()
    }
    pub fn client(&self, credential: &Credential, sampling: Sampling) -> ChatClient {
        ChatClient::new(ChatConfig {
            order: credential.order.clone(),
            chain: credential.chain.clone(),
            session_key: credential.session_key.clone(),
            me: self.user.public(),
            home: credential.home,
            proof: self.proof(&credential.id()),
            sampling,
            price: PRICE,
            context: self.spec.model.seq_len,
            vocab: self.spec.model.vocab,
            patience: 30_000,
        })
        .unwrap()
    }

    /// What one process that holds every stage generates greedily, by whole forward passes of decode.
    pub fn completion_in_one_process(&self, prompt: &[u32], count: usize) -> Vec<u32> {
        use tessera_model::{StageInput, Workspace};
        let stages: Vec<StageWeights> =
            (0..self.spec.stage_count()).map(|s| StageWeights::init(&self.spec, s).unwrap()).collect();
        let mut workspace = Workspace::new(&self.spec).unwrap();
        let mut text = prompt.to_vec();
        for _ in 0..count {
            // No cache is kept: every token is computed from the whole text.
            let mut caches: Vec<_> = stages.iter().map(StageWeights::new_cache).collect();
            let mut x = stages[0].decode(StageInput::Tokens(&text), &mut caches[0], &mut workspace).unwrap();
            for (stage, cache) in stages.iter().zip(&mut caches).skip(1) {
                x = stage.decode(StageInput::Hidden(&x), cache, &mut workspace).unwrap();
            }
            let vocab = self.spec.model.vocab as usize;
            let logits = &x[x.len() - vocab..];
            let best = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            text.push(logits.iter().position(|l| *l == best).unwrap() as u32);
        }
        text.split_off(prompt.len())
    }
}

/// One host with its arithmetic.
pub struct Node {
    pub host: Host,
    pub worker: ServeWorker,
    /// Jobs that computed positions.
    pub computed: u32,
}

type Tamper = Box<dyn FnMut(PublicKey, PublicKey, &ServingMessage) -> bool>;

/// Hosts and one client, every message delivered in order.
pub struct Net {
    pub nodes: BTreeMap<PublicKey, Node>,
    pub client: Option<ChatClient>,
    pub user: PublicKey,
    pub now: u64,
    pub tokens: Vec<u32>,
    pub turns: u32,
    pub turn_refusals: Vec<ChatError>,
    pub summary: Option<ChatSummary>,
    pub settlements: Vec<(PublicKey, tessera_ledger::action::SettleSession)>,
    pub notes: Vec<(PublicKey, tessera_serve::Note)>,
    queue: VecDeque<(PublicKey, PublicKey, ServingMessage)>,
    /// Whether a message is delivered.
    pub pass: Tamper,
}

impl Net {
    pub fn new(world: &World) -> Self {
        let mut nodes = BTreeMap::new();
        for (stage, seats) in (0u16..).zip(&world.hosts) {
            for (seat, key) in seats.iter().enumerate() {
                let node = Node { host: world.host(stage, seat), worker: world.worker(stage), computed: 0 };
                nodes.insert(key.public(), node);
            }
        }
        Self {
            nodes,
            client: None,
            user: world.user.public(),
            now: 1,
            tokens: Vec::new(),
            turns: 0,
            turn_refusals: Vec::new(),
            summary: None,
            settlements: Vec::new(),
            notes: Vec::new(),
            queue: VecDeque::new(),
            pass: Box::new(|_, _, _| true),
        }
    }

    /// Give the client something to do and run until nothing moves.
    pub fn client(&mut self, input: ChatInput) {
        let now = self.now;
        let Some(client) = &mut self.client else { return };
        let effects = client.step(now, input);
        self.client_effects(effects);
        self.settle_down();
    }
    /// Give a host something to do and run until nothing moves.
    pub fn host(&mut self, at: PublicKey, input: Input) {
        self.host_step(at, input);
        self.settle_down();
    }
    /// Let time pass for everybody.
    pub fn wait(&mut self, ms: u64, height: u64) {
        self.now += ms;
        for at in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.host_step(at, Input::Tick { height });
        }
        self.client(ChatInput::Tick);
        self.settle_down();
    }

    fn host_step(&mut self, at: PublicKey, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let Some(node) = self.nodes.get_mut(&at) else { return };
            for effect in node.host.step(self.now, input) {
                match effect {
                    Effect::Send { to, message } => self.queue.push_back((at, to, message)),
                    Effect::Run(job) => {
                        node.computed += u32::from(matches!(*job, Job::Rows { .. }));
                        inputs.push_back(Input::Done(node.worker.execute(*job)));
                    }
                    Effect::Settle(settlement) => self.settlements.push((at, *settlement)),
                    Effect::Note(note) => self.notes.push((at, note)),
                }
            }
        }
    }

    fn client_effects(&mut self, effects: Vec<ChatEffect>) {
        for effect in effects {
            match effect {
                ChatEffect::Send { to, message } => self.queue.push_back((self.user, to, message)),
                ChatEffect::Token { token, .. } => self.tokens.push(token),
                ChatEffect::TurnDone => self.turns += 1,
                ChatEffect::TurnRefused(error) => self.turn_refusals.push(error),
                ChatEffect::Finished(summary) => self.summary = Some(*summary),
                ChatEffect::Opened { .. } => {}
            }
        }
    }

    fn settle_down(&mut self) {
        while let Some((from, to, message)) = self.queue.pop_front() {
            if !(self.pass)(from, to, &message) {
                continue;
            }
            // Through the bytes, as on a real link.
            let frame = tessera_wire::to_frame(&message);
            let message = tessera_wire::from_frame(tessera_wire::SERVING, &frame).unwrap();
            if to == self.user {
                let now = self.now;
                if let Some(client) = &mut self.client {
                    let effects = client.step(now, ChatInput::Peer { from, message });
                    self.client_effects(effects);
                }
            } else {
                self.host_step(to, Input::Peer { from, message });
            }
        }
    }
    pub fn computed(&self) -> u32 {
        self.nodes.values().map(|node| node.computed).sum()
    }
}
