//! Simulate how a coalition gathers the stages of a run: real transactions on the real state machine.
//!
//! A run of `S` stages with `R` seats each trains window by window. Seats come free; first those who wait for a seat
//! of their stage take them, then as many newcomers join as seats are free. Each newcomer is the coalition's with
//! probability `share`. Everybody first does exactly the admission work that a seating asks for then, in another run,
//! whose claims must mature. What the coalition contributed is read from the ledger: verified operations of all its
//! identities. What it covers is the union of the stages it was ever seated in.
#![allow(dead_code, unreachable_pub)] // the example and a test each use their own part

use std::collections::BTreeMap;
use tessera_canon::{Blob, Domain, Hash, List, Prf, PublicKey, SecretKey, Text, digest};
use tessera_ledger::{
    Action, BlockContext, FeeSource, Genesis, MemState, Outcome, Parameters, Params, Policy, SignedTx, Tx,
    action::*,
    extraction::admission,
    query,
    record::{Member, MemberState, Seat},
    window::quorum,
};

const CHANCE: Domain = Domain::new("tessera/extraction/chance/v1");
const BEACON: Domain = Domain::new("tessera/extraction/beacon/v1");
/// The run whose weights are wanted, and one in which newcomers do their admission work.
const RUN: Hash = Hash([1; 32]);
const NURSERY: Hash = Hash([2; 32]);
/// Who does whatever nobody else does in the nursery.
const FILLER: usize = 0;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub stages: u16,
    pub seats: u16,
    /// Designers at the start; at most 64.
    pub designers: usize,
    /// Chance that a newcomer is the coalition's, per cent.
    pub share: u64,
    /// Chance that a seat of an honest identity comes free in a window, per cent.
    pub churn: u64,
    /// Admission work, 1/10 000 of an average seat's.
    pub theta: u16,
    /// Windows before the coalition's first newcomer.
    pub start: u32,
    /// Whether the coalition's identities keep their seats; else they leave after one window.
    pub stay: bool,
    /// Most newcomers in a window.
    pub newcomers: usize,
    pub seed: u64,
}

/// The moment at which the coalition covered a part of the stages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    /// Identities of it that did admission work and were drawn, seated or waiting.
    pub identities: u64,
    /// Operations that it was asked for on admission, as a part of all spent on the run until then.
    pub admission: f64,
    /// All its verified operations, those inside the run included, as such a part.
    pub contributed: f64,
    /// Windows since its first newcomer.
    pub windows: u32,
    /// Part of the stages covered if gaps of one count as closed.
    pub closed: f64,
}

struct Swarm {
    setting: Setting,
    state: MemState,
    network: Hash,
    height: u64,
    keys: Vec<SecretKey>,
    by_key: BTreeMap<PublicKey, usize>,
    nonces: Vec<u64>,
    random: Prf,
}

fn list<T, const MAX: usize>(items: Vec<T>) -> List<T, MAX> {
    List::new(items).unwrap_or_else(|_| panic!("the simulation keeps its lists within {MAX}"))
}

impl Swarm {
    fn new(setting: Setting) -> Self {
        let base = Params {
            // Every block is a boundary, free of fees.
            epoch_blocks: 1,
            fee_flat: 0,
            fee_per_byte: 0,
            run_bond: 0,
            min_designer: 0,
            max_exclusive: 10_000,
            lapse_blocks: 1 << 40,
            ..Params::demo()
        };
        let genesis = Genesis {
            name: Text::new("extraction").unwrap_or_default(),
            time_ms: 0,
            validators: List::default(),
            accounts: List::default(),
            params: Parameters::from(base),
            consensus: Blob::default(),
        };
        let mut swarm = Self {
            setting,
            state: MemState::new(&genesis),
            network: genesis.network_id(),
            height: 0,
            keys: vec![],
            by_key: BTreeMap::new(),
            nonces: vec![],
            random: Prf::new(CHANCE, &setting.seed.to_be_bytes()),
        };
        let designers: Vec<usize> = (0..=setting.designers).map(|_| swarm.identity()).collect();
        swarm.publish(&designers);
        swarm
    }
    fn get(&self) -> impl Fn(&Hash) -> Option<tessera_ledger::Cell> + '_ {
        |key| self.state.get(key)
    }
    fn identity(&mut self) -> usize {
        let index = self.keys.len();
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.setting.seed.to_be_bytes());
        seed[8..16].copy_from_slice(&(index as u64).to_be_bytes());
        let key = SecretKey::from_seed(seed);
        self.by_key.insert(key.public(), index);
        self.keys.push(key);
        self.nonces.push(0);
        index
    }
    fn tx(&mut self, sender: usize, action: impl Into<Action>) -> SignedTx {
        let (key, nonce) = (&self.keys[sender], self.nonces[sender]);
        self.nonces[sender] += 1;
        let action = action.into();
        let fee_from = FeeSource::default();
        SignedTx::sign(
            key,
            Tx { network: self.network, sender: key.public(), nonce, fee: 0, fee_from, action },
        )
    }
    /// A block in which every transaction must take effect.
    fn block(&mut self, txs: &[SignedTx]) -> Outcome {
        self.height += 1;
        let context = BlockContext {
            network: self.network,
            height: self.height,
            time_ms: self.height,
            beacon: digest(BEACON, &(self.setting.seed, self.height)),
            proposer: PublicKey::default(),
        };
        let outcome = self.state.run_block(context, txs);
        for receipt in &outcome.receipts {
            assert_eq!(receipt.error, None, "the simulation sends what the ledger accepts");
        }
        outcome
    }
    fn publish(&mut self, designers: &[usize]) {
        let setting = self.setting;
        let policy = Policy { pending_windows: 1, theta: setting.theta, work_price: 0, ..Policy::default() };
        let public = |swarm: &Self, index: usize| swarm.keys[index].public();
        let run = CreateRun {
            run: RUN,
            stage_wu: list(vec![1000; setting.stages.into()]),
            seats: setting.seats,
            microbatches: 4 * u32::from(setting.seats),
            steps: 1 << 16,
            window_steps: 1,
            f_star: 1 << 50,
            f_min: 1,
            f_exclusive: 1,
            exclusive_windows: 1,
            exclusive_blocks: 1 << 20,
            designers: list(designers[1..].iter().map(|index| public(self, *index)).collect()),
            bond: 0,
            rule: RiskRule::LossProportional(LossProportional {}),
            loss_0: 11_000_000,
            price: ChunkPrice { prompt_tokens: 512, generated_tokens: 64 },
            supply: 1,
            supply_epochs: 1,
            policy: Some(policy.clone()),
            wu_flops: 1,
            loss_source: LossSource::LastStage,
            open_stages: 0,
            bootstrap_windows: 0,
            fork_part: 0,
        };
        let nursery = CreateRun {
            run: NURSERY,
            stage_wu: list(vec![1]),
            seats: 64,
            microbatches: 1 << 20,
            steps: 1 << 28,
            window_steps: 1 << 8,
            designers: list(vec![public(self, FILLER)]),
            policy: Some(Policy { theta: 0, ..policy }),
            ..run.clone()
        };
        let mut txs = vec![self.tx(FILLER, run), self.tx(FILLER, nursery)];
        txs.push(self.join(FILLER, NURSERY));
        for designer in &designers[1..] {
            txs.push(self.join(*designer, RUN));
        }
        self.block(&txs);
        self.block(&[]);
        self.train(NURSERY, &BTreeMap::new());
        self.train(RUN, &BTreeMap::new());
    }
    fn join(&mut self, sender: usize, run: Hash) -> SignedTx {
        let endpoint = Text::new("127.0.0.1:1").unwrap_or_default();
        self.tx(sender, JoinRun { run, endpoint })
    }
    /// A report of a stage; `work` names what some do, and the seats share the rest, in the nursery the filler
    /// alone.
    fn report(&mut self, run: Hash, stage: u16, work: &BTreeMap<usize, u32>) -> SignedTx {
        let terms = query::run_terms(self.get(), &run).expect("it was created");
        let now = query::run(self.get(), &run).expect("it was created");
        let seats: Vec<Seat> = query::seats_of_stage(self.get(), &run, stage);
        let rest = terms.window_microbatches(now.window) as u32 - work.values().sum::<u32>();
        let mut parts: BTreeMap<PublicKey, u32> =
            work.iter().map(|(index, part)| (self.keys[*index].public(), *part)).collect();
        let sharers: Vec<PublicKey> = match run {
            NURSERY => vec![self.keys[FILLER].public()],
            _ => seats.iter().map(|seat| seat.account).collect(),
        };
        let count = sharers.len() as u32;
        for (at, account) in (0u32..).zip(sharers) {
            *parts.entry(account).or_default() += rest / count + u32::from(at < rest % count);
        }
        let entries =
            parts.into_iter().map(|(account, microbatches)| WorkEntry { account, microbatches }).collect();
        let loss = (stage + 1 == terms.stages).then_some(10_000_000);
        let (network, window) = (self.network, now.window);
        let report = WindowReport {
            network,
            run,
            window,
            stage,
            entries: list(entries),
            state_root: Hash::ZERO,
            generation: 0,
            anchor: Hash::ZERO,
            loss,
        };
        let signers = quorum(seats.len() as u32) as usize;
        let signatures = seats.iter().take(signers).map(|seat| {
            let signature = self.keys[self.by_key[&seat.account]].sign(REPORT, &report);
            SeatSignature { seat: seat.seat, signature }
        });
        let action = ReportWindow { signatures: list(signatures.collect()), report };
        let sender = self.by_key[&seats[0].account];
        self.tx(sender, action)
    }
    /// Close a window of `run` in a block.
    fn train(&mut self, run: Hash, work: &BTreeMap<usize, u32>) {
        let stages = query::run_terms(self.get(), &run).map_or(0, |terms| terms.stages);
        let txs: Vec<SignedTx> = (0..stages).map(|stage| self.report(run, stage, work)).collect();
        self.block(&txs);
    }
    fn spent(&self) -> u128 {
        query::run(self.get(), &RUN).map_or(0, |run| run.f_done.into())
    }
    /// Let the identities do what they lack of the work that a seating in the run asks for now, up to what is
    /// needed after one more window. Returns the operations done.
    fn qualify(&mut self, joiners: &[usize]) -> BTreeMap<usize, u32> {
        let seats = u32::from(self.setting.stages) * u32::from(self.setting.seats);
        let needed = admission::needed(self.spent(), self.setting.theta, seats);
        let lacking: BTreeMap<usize, u32> = joiners
            .iter()
            .map(|index| {
                let part = needed.saturating_sub(self.work(*index));
                (*index, u32::try_from(part).expect("the nursery's window is large enough"))
            })
            .filter(|(_, part)| *part > 0)
            .collect();
        let joins: Vec<SignedTx> = lacking.keys().map(|index| self.join(*index, NURSERY)).collect();
        self.block(&joins);
        self.block(&[]);
        self.train(NURSERY, &lacking);
        let leaves: Vec<SignedTx> =
            lacking.keys().map(|index| self.tx(*index, LeaveRun { run: NURSERY })).collect();
        self.block(&leaves);
        // Two more windows, and the claims have matured.
        self.train(NURSERY, &BTreeMap::new());
        self.train(NURSERY, &BTreeMap::new());
        self.block(&[]);
        lacking
    }
    fn member(&self, index: usize) -> Option<Member> {
        query::member(self.get(), &RUN, &self.keys[index].public())
    }
    /// Free seats of each stage.
    fn free(&self) -> Vec<u32> {
        let held = |stage| query::stage(self.get(), &RUN, stage).map_or(0, |stage| stage.held.count_ones());
        (0..self.setting.stages).map(|stage| u32::from(self.setting.seats) - held(stage)).collect()
    }
    fn work(&self, index: usize) -> u128 {
        query::verified_work(self.get(), &self.keys[index].public()).map_or(0, |work| work.flops)
    }
    fn seats(&self) -> Vec<Seat> {
        (0..self.setting.stages).flat_map(|stage| query::seats_of_stage(self.get(), &RUN, stage)).collect()
    }
}

/// Let seats come free, but never the last one of a stage: without it nothing is reported.
fn vacate(swarm: &mut Swarm, ours: &[bool]) {
    let mut left = BTreeMap::<u16, usize>::new();
    let seats = swarm.seats();
    for seat in &seats {
        *left.entry(seat.stage).or_default() += 1;
    }
    let mut leaves = vec![];
    for seat in &seats {
        let index = swarm.by_key[&seat.account];
        let goes =
            if ours[index] { !swarm.setting.stay } else { swarm.random.below(100) < swarm.setting.churn };
        let held = left.entry(seat.stage).or_default();
        if goes && *held > 1 {
            *held -= 1;
            leaves.push(swarm.tx(index, LeaveRun { run: RUN }));
        }
    }
    swarm.block(&leaves);
}

/// Run a history until the coalition has covered all stages; returns the moments at which it had covered
/// `levels` per cent of them (ascending).
pub fn simulate(setting: Setting, levels: &[u32]) -> Vec<Reached> {
    let mut swarm = Swarm::new(setting);
    let stages = u32::from(setting.stages);
    // Whose an identity is, by its index; and who waits for a seat of its stage.
    let mut ours = vec![false; swarm.keys.len()];
    let mut waiting: Vec<usize> = vec![];
    let (mut covered, mut drawn, mut asked) = (0u128, 0u64, 0u128);
    let mut reached = vec![];
    for window in 0u32.. {
        vacate(&mut swarm, &ours);
        let mut free = swarm.free();
        let mut joiners = vec![];
        waiting.retain(|index| {
            let stage = swarm.member(*index).and_then(|member| member.stage);
            let place = stage.and_then(|stage| free.get_mut(usize::from(stage))).filter(|free| **free > 0);
            let goes = place.is_some() && joiners.len() < setting.newcomers;
            if goes {
                free[usize::from(stage.unwrap_or(0))] -= 1;
                joiners.push(*index);
            }
            !goes
        });
        let room = (free.iter().sum::<u32>() as usize).min(setting.newcomers - joiners.len());
        let newcomers = joiners.len();
        for _ in 0..room {
            joiners.push(swarm.identity());
            ours.push(window >= setting.start && swarm.random.below(100) < setting.share);
        }
        let done = swarm.qualify(&joiners);
        let joins: Vec<SignedTx> = joiners.iter().map(|index| swarm.join(*index, RUN)).collect();
        swarm.block(&joins);
        swarm.block(&[]);
        // One at a time, in an order that the draw does not depend on, so that each level is met exactly.
        for (at, index) in joiners.iter().enumerate() {
            let member = swarm.member(*index).expect("it has just joined");
            let seated = member.state == MemberState::Seated;
            if !seated {
                waiting.push(*index);
            }
            if !ours[*index] {
                continue;
            }
            drawn += u64::from(at >= newcomers);
            asked += u128::from(done.get(index).copied().unwrap_or(0));
            if let (true, Some(stage)) = (seated, member.stage) {
                covered |= 1 << stage;
            }
            while let Some(level) = levels.get(reached.len())
                && covered.count_ones() * 100 >= level * stages
            {
                let spent = swarm.spent() as f64;
                let all: u128 =
                    (0..ours.len()).filter(|index| ours[*index]).map(|index| swarm.work(index)).sum();
                let closed = tessera_ledger::extraction::kappa::covered(covered, setting.stages);
                reached.push(Reached {
                    identities: drawn,
                    admission: asked as f64 / spent,
                    contributed: all as f64 / spent,
                    windows: window - setting.start,
                    closed: f64::from(closed) / f64::from(stages),
                });
            }
        }
        if reached.len() == levels.len() {
            break;
        }
        swarm.train(RUN, &BTreeMap::new());
    }
    reached
}

/// Identities that independent uniform draws take to reach `wanted` of `stages` distinct ones: mean and variance
/// (coupon collector).
pub fn coupons(stages: u32, wanted: u32) -> (f64, f64) {
    (0..wanted).fold((0.0, 0.0), |(mean, variance), have| {
        let hit = f64::from(stages - have) / f64::from(stages);
        (mean + 1.0 / hit, variance + (1.0 - hit) / (hit * hit))
    })
}
