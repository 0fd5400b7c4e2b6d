//! A ledger that executes a block at fixed intervals of virtual time and checks its invariants after each.

use std::{collections::BTreeMap, sync::Arc};
use tessera_audit::referee::TrustReferee;
use tessera_audit::unit::StepHeader;
use tessera_canon::{Blob, Domain, Hash, List, PublicKey, SecretKey, Text, digest, encode};
use tessera_ledger::{
    Action, BlockContext, Event, Genesis, MemState, Parameters, SignedTx, Tx, TxError,
    action::{
        ChunkPrice, Commit, Contradict, CreateRun, DemandOpening, DisputeStep, JoinRun, LossProportional,
        LossSource, OpenDispute, Opening, RiskRule, Step,
    },
    genesis::GenesisAccount,
    invariants, keys, query,
    record::MemberState,
    trust::TrustParams,
};
use tessera_model::RunSpec;
use tessera_swarm::{Accuse, Demand, Roster, view};

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
    /// Invariants are checked after every so many blocks.
    pub(crate) check_blocks: u64,
    waiting: Vec<(SecretKey, Action)>,
    /// Refusals, for tests that expect none or certain ones.
    pub refused: Vec<TxError>,
    /// What the accused committed to last, by dispute.
    said: BTreeMap<Hash, Commit>,
    opened: BTreeMap<Hash, Opening>,
    /// Everything that happened.
    pub events: Vec<Event>,
}

impl SimLedger {
    /// A network whose `accounts` have some U; nothing is published yet.
    pub fn new(seed: u64, spec: &RunSpec, accounts: &[PublicKey], parameters: Parameters) -> Self {
        let genesis = Genesis {
            name: Text::new("simulation").expect("the name is short"),
            time_ms: 0,
            validators: List::default(),
            accounts: List::new(
                accounts.iter().map(|key| GenesisAccount { key: *key, balance: FUNDS }).collect(),
            )
            .expect("a simulation has at most 4096 accounts"),
            params: parameters,
            consensus: Blob::default(),
        };
        Self {
            state: MemState::new(&genesis),
            network: genesis.network_id(),
            run: spec.run_id(),
            seed,
            height: 0,
            check_blocks: 1,
            waiting: Vec::new(),
            refused: Vec::new(),
            said: BTreeMap::new(),
            opened: BTreeMap::new(),
            events: Vec::new(),
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
        let mut nonces = BTreeMap::new();
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
        let outcome = self.state.run_block_with(context, Arc::new(TrustReferee), &txs);
        for (tx, receipt) in txs.iter().zip(&outcome.receipts) {
            let Action::DisputeStep(DisputeStep { dispute, step }) = &tx.body.action else { continue };
            match step {
                _ if receipt.error.is_some() => {}
                Step::Commit(commit) => {
                    self.said.insert(*dispute, commit.clone());
                }
                Step::Open(opening) => {
                    self.opened.insert(*dispute, opening.clone());
                }
                _ => {}
            }
        }
        self.events.extend(outcome.events);
        self.refused.extend(outcome.receipts.into_iter().filter_map(|receipt| receipt.error));
        if self.height.is_multiple_of(self.check_blocks) {
            self.check();
        }
    }

    /// Check the ledger's invariants.
    ///
    /// # Panics
    /// If one is broken.
    pub fn check(&self) {
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

    /// What the light client of the trainer `me` would read.
    pub fn roster(&self, me: &PublicKey) -> Roster {
        let mut roster = view::roster(|key| self.state.get(key), &self.run, me).unwrap_or_default();
        for open in &mut roster.disputes {
            open.said = self.said.get(&open.dispute.id).cloned();
            open.opened = self.opened.get(&open.dispute.id).cloned();
        }
        roster
    }

    /// [`SimLedger::roster`] of many: seats of one stage that are in no dispute read the same cells.
    pub fn rosters(&self, accounts: &[PublicKey]) -> Vec<Roster> {
        let disputes = query::disputes(|key| self.state.get(key));
        let mut of_stage: BTreeMap<Option<u16>, Roster> = BTreeMap::new();
        let mut rosters: Vec<Roster> = Vec::with_capacity(accounts.len());
        for account in accounts {
            if disputes.iter().any(|open| [open.accused, open.challenger].contains(account)) {
                rosters.push(self.roster(account));
                continue;
            }
            let stage = rosters.first().map(|any| any.seat_of(account).map(|seat| seat.stage));
            let known = stage.and_then(|stage| of_stage.get(&stage)).cloned();
            let roster = known.unwrap_or_else(|| self.roster(account));
            of_stage.entry(roster.seat_of(account).map(|seat| seat.stage)).or_insert_with(|| roster.clone());
            rosters.push(roster);
        }
        rosters
    }

    /// The index of an account's claim of a window, and the least bond of a dispute about it.
    fn claim_of(&self, window: u32, stage: u16, account: &PublicKey) -> Option<(u16, u128)> {
        let get = |key: &_| self.state.get(key);
        let claims = query::claims_of_stage(get, &self.run, window, stage);
        let index = claims.iter().position(|claim| claim.account == *account)? as u16;
        let params: TrustParams = query::read(get, &keys::trust_params()).unwrap_or_default();
        Some((index, params.dispute_bond))
    }

    /// Queue an accusation for the next block; false if there is no such claim.
    pub fn accuse(&mut self, key: &SecretKey, accuse: Accuse) -> bool {
        let Accuse { window, stage, account, accusation, contradiction } = accuse;
        let Some((index, bond)) = self.claim_of(window, stage, &account) else { return false };
        let (run, accusation) = (self.run, Some(accusation));
        let dispute = OpenDispute { run, window, stage, index, bond, accusation };
        let proof = contradiction.map(|proof| Blob::new(encode(&*proof)).expect("a proof is short"));
        self.submit(
            key,
            match proof {
                Some(proof) => Contradict { dispute, proof }.into(),
                None => dispute.into(),
            },
        );
        true
    }

    /// Queue a demand for the next block; false if there is no such claim.
    pub fn demand(&mut self, key: &SecretKey, demand: Demand) -> bool {
        let Demand { window, stage, account, header, unit } = demand;
        let Some((index, bond)) = self.claim_of(window, stage, &account) else { return false };
        let (run, rest, signature) = (self.run, header.value.id(), header.signature);
        let StepHeader { generation, step, units_root: root, .. } = header.value;
        let demand =
            DemandOpening { run, window, stage, index, bond, generation, step, root, rest, unit, signature };
        self.submit(key, demand.into());
        true
    }
}
