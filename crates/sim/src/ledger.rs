//! A ledger that executes a block at fixed intervals of virtual time and checks its invariants after each.

use tessera_canon::{Blob, Domain, Hash, List, PublicKey, SecretKey, Text, digest};
use tessera_ledger::{
    Action, BlockContext, Genesis, MemState, Parameters, SignedTx, Tx, TxError,
    action::{ChunkPrice, CreateRun, JoinRun, LossProportional, LossSource, RiskRule},
    genesis::GenesisAccount,
    invariants, query,
    record::{MemberState, SeatState},
};
use tessera_model::RunSpec;
use tessera_swarm::{Roster, SeatInfo};

const BEACON: Domain = Domain::new("tessera/sim/beacon/v1");
/// U that every account begins with, nano.
const FUNDS: u128 = 1_000_000_000_000;

/// The simulated ledger of one network with one run.
pub struct SimLedger {
    state: MemState,
    network: Hash,
    run: Hash,
    seed: u64,
    height: u64,
    waiting: Vec<(SecretKey, Action)>,
    /// Refusals, for tests that expect none or certain ones.
    pub refused: Vec<TxError>,
}

impl SimLedger {
    /// A network whose `accounts` have some U; nothing is published yet.
    pub fn new(seed: u64, spec: &RunSpec, accounts: &[PublicKey]) -> Self {
        let genesis = Genesis {
            name: Text::new("simulation").expect("the name is short"),
            time_ms: 0,
            validators: List::default(),
            accounts: List::new(
                accounts.iter().map(|key| GenesisAccount { key: *key, balance: FUNDS }).collect(),
            )
            .expect("a simulation has at most 4096 accounts"),
            params: Parameters::demo(),
            consensus: Blob::default(),
        };
        Self {
            state: MemState::new(&genesis),
            network: genesis.network_id(),
            run: spec.run_id(),
            seed,
            height: 0,
            waiting: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// The action that publishes `spec`.
    pub fn create_run(spec: &RunSpec, seats: u16, designers: &[PublicKey]) -> Action {
        let stage_wu: Vec<u64> = (0..spec.stage_count()).map(|stage| spec.work_units(stage)).collect();
        let step = stage_wu.iter().sum::<u64>() * u64::from(spec.batch.microbatches);
        let f_star = step * u64::from(spec.steps);
        CreateRun {
            run: spec.run_id(),
            stage_wu: List::new(stage_wu).expect("a run spec has at most 64 stages"),
            seats,
            microbatches: spec.batch.microbatches,
            steps: spec.steps,
            window_steps: spec.window_steps,
            f_star,
            f_min: f_star.div_ceil(100),
            f_exclusive: f_star.div_ceil(50),
            exclusive_windows: 1,
            exclusive_blocks: 1_000_000,
            designers: List::new(designers.to_vec()).expect("at most 64 designers"),
            bond: Parameters::demo().base.run_bond,
            rule: RiskRule::LossProportional(LossProportional {}),
            loss_0: (f64::from(spec.model.vocab).ln() * 1e6) as u32,
            price: ChunkPrice { prompt_tokens: 512, generated_tokens: 64 },
            supply: 1000,
            supply_epochs: 4,
            policy: None,
            wu_flops: spec.wu_flops,
            loss_source: LossSource::LastStage,
            open_stages: 0,
            bootstrap_windows: 0,
            fork_part: 3000,
        }
        .into()
    }

    /// The action by which a trainer asks for a seat.
    pub fn join(run: Hash) -> Action {
        JoinRun { run, endpoint: "127.0.0.1:1".parse().expect("the endpoint is short") }.into()
    }

    pub fn network(&self) -> Hash {
        self.network
    }
    pub fn state(&self) -> &MemState {
        &self.state
    }
    pub fn height(&self) -> u64 {
        self.height
    }
    /// Queue an action for the next block.
    pub fn submit(&mut self, key: &SecretKey, action: Action) {
        self.waiting.push((key.clone(), action));
    }

    /// Execute the next block at `time_ms`.
    ///
    /// # Panics
    /// If an invariant of the ledger is broken.
    pub fn block(&mut self, time_ms: u64) {
        self.height += 1;
        let context = BlockContext {
            network: self.network,
            height: self.height,
            time_ms,
            beacon: digest(BEACON, &(self.seed, self.height)),
            proposer: PublicKey::default(),
        };
        let mut nonces = std::collections::BTreeMap::new();
        let mut txs = Vec::new();
        for (key, action) in std::mem::take(&mut self.waiting) {
            let sender = key.public();
            let nonce = nonces.entry(sender).or_insert_with(|| {
                query::account(|k| self.state.get(k), &sender).map_or(0, |account| account.nonce)
            });
            txs.push(SignedTx::sign(
                &key,
                Tx {
                    network: self.network,
                    sender,
                    nonce: *nonce,
                    fee: 1_000_000,
                    fee_from: tessera_ledger::FeeSource::default(),
                    action,
                },
            ));
            *nonce += 1;
        }
        let outcome = self.state.run_block(context, &txs);
        self.refused.extend(outcome.receipts.into_iter().filter_map(|receipt| receipt.error));
        invariants::check(&self.state).unwrap_or_else(|broken| panic!("at height {}: {broken}", self.height));
    }

    /// The seat of an account: stage and index.
    pub fn seat_of(&self, account: &PublicKey) -> Option<(u16, u16)> {
        let member = query::member(|k| self.state.get(k), &self.run, account)?;
        if member.state != MemberState::Seated {
            return None;
        }
        Some((member.stage?, member.seat?))
    }

    /// What a trainer's light client would read.
    pub fn roster(&self) -> Roster {
        let get = |k: &_| self.state.get(k);
        let Some(terms) = query::run_terms(get, &self.run) else { return Roster::default() };
        let Some(run) = query::run(get, &self.run) else { return Roster::default() };
        let bits = query::window(get, &self.run, run.window).map_or(0, |w| w.reported);
        let mut roster = Roster { open_window: run.window, ..Roster::default() };
        for stage in 0..terms.stages {
            let done = run.window + u32::from(bits >> stage & 1 == 1);
            roster.reported.insert(stage, done);
            roster.seats.extend(query::seats_of_stage(get, &self.run, stage).into_iter().map(|seat| {
                SeatInfo {
                    account: seat.account,
                    stage,
                    index: seat.seat,
                    active: seat.state == SeatState::Active,
                }
            }));
        }
        roster
    }
}
