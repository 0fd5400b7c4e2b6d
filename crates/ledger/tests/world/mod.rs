//! Drive a ledger in memory for tests: accounts, blocks, a run from creation to serving. Every block ends
//! with the invariant scan.
#![allow(dead_code, unreachable_pub)] // each test file uses its own part

pub mod market;

use std::{collections::BTreeMap, sync::Arc};
use tessera_canon::{Blob, Domain, Hash, List, PublicKey, SecretKey, Signature, Text, digest};
use tessera_ledger::{
    action::*,
    block::{BlockContext, Outcome, Receipt},
    genesis::{Genesis, GenesisAccount, GenesisValidator, Parameters, Params},
    invariants, keys,
    memory::MemState,
    query,
    record::{RunState, Seat},
    referee::{NoReferee, Referee},
    tx::{FeeSource, SignedTx, Tx},
};

pub const RUN: Hash = Hash([9; 32]);
/// Validators 0.. have the keys 1000..
pub const VALIDATORS: u32 = 4;
pub const RICH: u128 = 1_000_000_000_000;
const BEACON: Domain = Domain::new("tessera/test/beacon/v1");

/// Account number `index`.
pub fn key(index: u32) -> SecretKey {
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&index.to_be_bytes());
    SecretKey::from_seed(seed)
}
pub fn public(index: u32) -> PublicKey {
    key(index).public()
}
pub fn owner(index: u32) -> Hash {
    keys::owner_hash(&public(index))
}
pub fn params() -> Params {
    Params { epoch_blocks: 4, lapse_blocks: 6, settle_delay: 3, lock_blocks: 40, ..Params::demo() }
}
pub fn list<T, const MAX: usize>(items: Vec<T>) -> List<T, MAX> {
    List::new(items).expect("the test stays within the bound")
}

/// The beginning of a network of `accounts` rich accounts.
pub fn genesis(accounts: u32, params: impl Into<Parameters>) -> Genesis {
    let validator =
        |i| GenesisValidator { key: public(1000 + i), endpoint: Text::new("127.0.0.1:1").expect("short") };
    Genesis {
        name: Text::new("test").expect("short"),
        time_ms: 0,
        validators: list((0..VALIDATORS).map(validator).collect()),
        accounts: list((0..accounts).map(|i| GenesisAccount { key: public(i), balance: RICH }).collect()),
        params: params.into(),
        consensus: Blob::default(),
    }
}

#[derive(Clone)]
pub struct World {
    pub state: MemState,
    pub network: Hash,
    pub height: u64,
    pub keys: Vec<SecretKey>,
    /// Who judges disputes.
    pub referee: Arc<dyn Referee>,
    /// Transactions of the block being made, by sender.
    used: BTreeMap<PublicKey, u64>,
}

impl World {
    /// `accounts` rich accounts.
    pub fn new(accounts: u32, params: impl Into<Parameters>) -> Self {
        let genesis = genesis(accounts, params);
        let state = MemState::new(&genesis);
        invariants::check(&state).expect("genesis holds");
        let keys = (0..accounts).map(key).collect();
        let referee = Arc::new(NoReferee);
        Self { state, network: genesis.network_id(), height: 0, keys, referee, used: BTreeMap::new() }
    }
    pub fn get(&self) -> impl Fn(&Hash) -> Option<tessera_ledger::Cell> + '_ {
        |key| self.state.get(key)
    }
    pub fn context(&self) -> BlockContext {
        BlockContext {
            network: self.network,
            height: self.height,
            time_ms: self.height * 1000,
            beacon: digest(BEACON, &self.height),
            proposer: public(1000),
        }
    }
    /// A signed transaction with the next nonce.
    pub fn tx(&mut self, sender: u32, action: impl Into<Action>) -> SignedTx {
        self.tx_from(sender, action, FeeSource::default())
    }
    /// As `tx`, with another source of the fee.
    pub fn tx_from(&mut self, sender: u32, action: impl Into<Action>, fee_from: FeeSource) -> SignedTx {
        let public = self.keys[sender as usize].public();
        let used = self.used.entry(public).or_default();
        let nonce = query::account(|k| self.state.get(k), &public).map_or(0, |a| a.nonce) + *used;
        *used += 1;
        let action = action.into();
        let body = Tx { network: self.network, sender: public, nonce, fee: 500_000, fee_from, action };
        SignedTx::sign(&self.keys[sender as usize], body)
    }
    pub fn block(&mut self, txs: &[SignedTx]) -> Outcome {
        self.height += 1;
        self.used.clear();
        let outcome = self.state.run_block_with(self.context(), self.referee.clone(), txs);
        if let Err(violation) = invariants::check(&self.state) {
            panic!("at height {}: {violation}", self.height);
        }
        outcome
    }
    /// One transaction in a block of its own.
    pub fn run(&mut self, sender: u32, action: impl Into<Action>) -> Receipt {
        let tx = self.tx(sender, action);
        self.block(&[tx]).receipts.remove(0)
    }
    /// As `run`, and it must succeed.
    pub fn ok(&mut self, sender: u32, action: impl Into<Action>) -> Receipt {
        let receipt = self.run(sender, action);
        assert_eq!(receipt.error, None);
        receipt
    }
    pub fn blocks(&mut self, count: u64) {
        for _ in 0..count {
            self.block(&[]);
        }
    }
    pub fn balance(&self, of: u32) -> u128 {
        query::account(self.get(), &public(of)).map_or(0, |account| account.balance)
    }
    /// Number of the account with this key.
    pub fn index_of(&self, account: &PublicKey) -> u32 {
        self.keys.iter().position(|key| key.public() == *account).expect("a test account") as u32
    }

    /// Lock `order` in a block of its own and let the next one draw its home; returns the order's id and the home.
    pub fn lock(&mut self, of: u32, order: LockOrder) -> (Hash, u32) {
        let id = order.id();
        self.ok(of, LockNotes { order, owners: List::default() });
        self.blocks(1);
        let lock = query::lock(self.get(), &id).expect("it was locked");
        assert_eq!(lock.state, tessera_ledger::record::LockState::Open);
        (id, self.index_of(&lock.home))
    }
    /// Attempt `at` of an order served by its home and the first seats of the other stages.
    pub fn leg(&self, order: &Hash, at: u16) -> Leg {
        let lock = query::lock(self.get(), order).expect("a locked order");
        let stages = query::run_terms(self.get(), &lock.run).expect("a run").stages;
        let home = query::attempts(self.get(), order).expect("drawn").homes[usize::from(at)].home;
        let others = (1..stages).map(|s| query::seats_of_stage(self.get(), &lock.run, s)[0].account);
        Leg { attempt: at, hosts: list([home].into_iter().chain(others).collect()) }
    }
    /// A settlement of `chunks` chunks that names the hosts of [`World::leg`] for the present attempt.
    pub fn settlement(
        &self,
        order: Hash,
        chunks: u32,
        chain: &tessera_ledger::payword::Chain,
    ) -> SettleSession {
        let at = query::lock(self.get(), &order).expect("a locked order").attempt;
        let payword = chain.word(chunks).expect("within the chain");
        SettleSession { order, chunks, payword, legs: list(vec![self.leg(&order, at)]) }
    }
    pub fn fund(&self) -> u128 {
        query::globals(self.get()).map_or(0, |globals| globals.fund)
    }

    pub fn report(&self, run: Hash, stage: u16, entries: Vec<WorkEntry>, loss: Option<u32>) -> WindowReport {
        let window = query::run(self.get(), &run).map_or(0, |run| run.window);
        WindowReport {
            network: self.network,
            run,
            window,
            stage,
            entries: list(entries),
            state_root: digest(BEACON, &(window, stage)),
            generation: query::rollback(self.get(), &run).map_or(0, |newest| newest.generation),
            anchor: Hash::ZERO,
            loss,
        }
    }
    pub fn sign_report(&self, report: WindowReport, seats: &[Seat]) -> ReportWindow {
        let signatures = seats
            .iter()
            .map(|seat| {
                let key = &self.keys[self.index_of(&seat.account) as usize];
                SeatSignature { seat: seat.seat, signature: key.sign(REPORT, &report) }
            })
            .collect();
        ReportWindow { report, signatures: list(signatures) }
    }
    /// A complete report of `stage` by its held seats, who share the work as evenly as integers allow.
    pub fn full_report(&self, run: Hash, stage: u16, loss: Option<u32>) -> Option<(u32, ReportWindow)> {
        let terms = query::run_terms(self.get(), &run)?;
        let window = query::run(self.get(), &run)?.window;
        let mut seats = query::seats_of_stage(self.get(), &run, stage);
        if seats.is_empty() {
            return None;
        }
        let work = terms.window_microbatches(window) as u32;
        let count = seats.len() as u32;
        let mut entries: Vec<WorkEntry> = (0u32..)
            .zip(&seats)
            .map(|(i, seat)| WorkEntry {
                account: seat.account,
                microbatches: work / count + u32::from(i < work % count),
            })
            .collect();
        entries.sort_by_key(|entry| entry.account);
        seats.sort_by_key(|seat| seat.seat);
        let sender = self.index_of(&seats[0].account);
        Some((sender, self.sign_report(self.report(run, stage, entries, loss), &seats)))
    }
    /// All stages report the current window in one block.
    pub fn close_window(&mut self, run: Hash, loss: u32) {
        let stages = query::run_terms(self.get(), &run).expect("the run exists").stages;
        let mut txs = Vec::new();
        for stage in 0..stages {
            let loss = (stage + 1 == stages).then_some(loss);
            let (sender, report) = self.full_report(run, stage, loss).expect("the stage has seats");
            txs.push(self.tx(sender, report));
        }
        let outcome = self.block(&txs);
        assert!(outcome.receipts.iter().all(Receipt::ok), "{:?}", outcome.receipts);
    }
    /// A run of `designers` seats over `stages` stages, all designers, joined and seated.
    pub fn seated_run(&mut self, run: Hash, stages: u16, designers: u32) {
        self.ok(0, create_run(run, stages, designers));
        let joins: Vec<SignedTx> = (0..designers).map(|i| self.tx(i, join(run, i))).collect();
        let outcome = self.block(&joins);
        assert!(outcome.receipts.iter().all(Receipt::ok), "{:?}", outcome.receipts);
        self.blocks(1);
    }
    /// A run of 2 stages and 4 designers that has been trained and has handed out all its credits.
    pub fn serving_run(accounts: u32) -> Self {
        Self::serving_run_with(accounts, params())
    }
    /// As [`World::serving_run`], with other parameters.
    pub fn serving_run_with(accounts: u32, params: impl Into<Parameters>) -> Self {
        let mut world = Self::new(accounts, params);
        world.seated_run(RUN, 2, 4);
        for window in 0..4 {
            world.close_window(RUN, 10_000_000 - window * 1_000_000);
        }
        let state = query::run(world.get(), &RUN).expect("the run exists").state;
        assert_eq!(state, RunState::Serving);
        world.blocks(12);
        world
    }
    /// A note of `cu` credits in the hands of account `to`, made from designer 0's credits.
    pub fn note_for(&mut self, to: u32, cu: u64) -> Hash {
        if query::due_credits(self.get(), &RUN, &public(0)) > 0 {
            self.ok(0, ClaimCredits { run: RUN, to: owner(0) });
        }
        let note = query::notes_of(self.get(), &public(0))
            .into_iter()
            .find(|n| n.cu > cu && n.state == tessera_ledger::record::NoteState::Unspent)
            .expect("designer 0 has credits left");
        let outputs =
            vec![NoteOutput { owner: owner(to), cu }, NoteOutput { owner: owner(0), cu: note.cu - cu }];
        let receipt = self.ok(0, reshape(self.network, vec![note.id], outputs));
        keys::note_id(&receipt.tx, 0)
    }
    /// An order over `notes` of account `of`, open for 10 blocks.
    pub fn order(&self, of: u32, mut notes: Vec<Hash>, chain: &tessera_ledger::payword::Chain) -> LockOrder {
        notes.sort_unstable();
        let cu = notes.iter().filter_map(|n| query::note(self.get(), n)).map(|n| n.cu as u32).sum();
        LockOrder {
            network: self.network,
            run: RUN,
            series: query::credits(self.get(), &RUN).map_or(0, |credits| credits.series),
            notes: list(notes),
            cu,
            session_key: public(of),
            payword_root: chain.root(),
            fee_per_cu: 1000,
            open_until: self.height + 10,
            refund_to: owner(of),
            salt: self.height,
        }
    }
}

pub fn create_run(run: Hash, stages: u16, designers: u32) -> CreateRun {
    // 8 steps of 6 microbatches, 2 steps a window: 4 windows of 12 microbatches.
    let stage_wu: Vec<u64> = (1..=u64::from(stages)).map(|stage| 10 * stage).collect();
    let planned = stage_wu.iter().sum::<u64>() * 48;
    CreateRun {
        run,
        stage_wu: list(stage_wu),
        seats: 3,
        microbatches: 6,
        steps: 8,
        window_steps: 2,
        f_star: planned,
        f_min: planned / 8,
        f_exclusive: planned / 4,
        exclusive_windows: 1,
        exclusive_blocks: 1000,
        designers: list((0..designers).map(public).collect()),
        bond: 1_000_000,
        rule: RiskRule::LossProportional(LossProportional {}),
        loss_0: 11_000_000,
        price: ChunkPrice { prompt_tokens: 512, generated_tokens: 64 },
        supply: 10_000,
        supply_epochs: 2,
        policy: None,
        wu_flops: 1_000_000,
        loss_source: LossSource::LastStage,
        open_stages: 0,
        bootstrap_windows: 0,
        fork_part: 3000,
    }
}
pub fn join(run: Hash, index: u32) -> JoinRun {
    JoinRun { run, endpoint: Text::new(format!("127.0.0.1:{}", 4000 + index)).expect("short") }
}
pub fn reshape(network: Hash, inputs: Vec<Hash>, outputs: Vec<NoteOutput>) -> Reshape {
    Reshape {
        reshaping: Reshaping { network, inputs: list(inputs), outputs: list(outputs) },
        owners: List::default(),
    }
}
pub fn proof<T: tessera_canon::codec::Encode>(index: u32, domain: Domain, value: &T) -> OwnerProof {
    OwnerProof { key: public(index), signature: key(index).sign(domain, value) }
}
/// Signatures of the first `count` validators.
pub fn witnesses<T: tessera_canon::codec::Encode>(
    count: u32,
    domain: Domain,
    value: &T,
) -> List<Witness, MAX_WITNESSES> {
    let sign = |i| Witness { validator: i, signature: key(1000 + i).sign(domain, value) };
    list((0..count).map(sign).collect())
}
pub const NO_SIGNATURE: Signature = Signature([0; 64]);
