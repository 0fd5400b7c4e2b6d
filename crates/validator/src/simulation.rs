//! Run a whole committee in virtual time: lossy links, crashes, partitions, late joiners; one seed, one history.
//!
//! The validators are the real ones, only runtime and network are simulated. Every run ends with the same
//! checks: all validators have the same block at every height; replaying those blocks on a plain map gives,
//! cell for cell, the state that the validators store; the ledger's invariants hold after every block.
//!
//! ```no_run
//! use tessera_validator::simulation::{Scenario, Trouble, run};
//! let calm = Scenario { seed: 1, ..Scenario::default() };
//! let rough = Scenario { loss_percent: 20, trouble: Trouble::Crashes { every_ms: 3000, down_ms: 1000 }, ..calm.clone() };
//! assert_eq!(run(&calm).unwrap(), run(&calm).unwrap());
//! println!("{:?}", run(&rough).unwrap());
//! ```

use crate::{
    application::App,
    committee::deal,
    desk::Query,
    engine::{self, CHANNELS, Parts, QUOTA, max_message},
    journal::Journal,
    mempool::{Mempool, SubmitError},
    pacing::Timing,
};
use commonware_consensus::{
    marshal::{self, Identifier, standard::Standard},
    types::{Epoch, Height, Round, View},
};
use commonware_cryptography::{blake3, ed25519};
use commonware_glue::{
    simulate::{
        action::{Action, Crash, Schedule},
        engine::{EngineDefinition, InitContext},
        exit::ProcessedHeightAtLeast,
        plan::PlanBuilder,
        processed::ProcessedHeight,
        property::Property,
        reporter::MonitorReporter,
        tracker::ProgressTracker,
    },
    stateful::Mailbox as Stateful,
};
use commonware_p2p::simulated::Link;
use commonware_runtime::{Clock as _, Handle, Quota, Spawner as _, Supervisor as _, deterministic};
use commonware_utils::Probability;
use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use tessera_canon::{Blob, Hash, List, PublicKey, SecretKey};
use tessera_chain::{Block, Scheme, consensus_key};
use tessera_ledger::{
    Genesis, MemState, Parameters, SignedTx, Tx, action, genesis::GenesisAccount, invariants,
};
use tokio::sync::{mpsc, oneshot};

/// Virtual time after which a run counts as stuck.
const LONGEST_RUN: Duration = Duration::from_secs(600);
/// What every simulated sender pays per transaction.
const FEE: u128 = 1_000_000;

/// What disturbs a run beside the links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Every `every_ms` one validator is killed; it starts again on its folder after `down_ms`.
    Crashes { every_ms: u64, down_ms: u64 },
    /// All are killed at once at `at_ms` and start again after `down_ms`.
    Blackout { at_ms: u64, down_ms: u64 },
    /// The first validator starts when the others reach `view`, with an empty folder, by state sync.
    LateJoiner { view: u64 },
    /// From `from_ms` to `to_ms` the first half cannot hear the second half.
    Partition { from_ms: u64, to_ms: u64 },
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Everything random follows from it.
    pub seed: u64,
    /// Size of the committee.
    pub validators: u8,
    /// Where the run ends: every validator that is up has applied this many blocks.
    pub height: u64,
    /// One-way delay of every link.
    pub latency_ms: u64,
    /// Greatest deviation from it.
    pub jitter_ms: u64,
    /// Messages lost.
    pub loss_percent: u64,
    /// What else happens.
    pub trouble: Trouble,
    /// Transfers that every validator's client submits, one each 200 ms.
    pub transfers: u64,
    /// When blocks are due.
    pub timing: Timing,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 0,
            validators: 4,
            height: 12,
            latency_ms: 20,
            jitter_ms: 5,
            loss_percent: 0,
            trouble: Trouble::None,
            transfers: 10,
            timing: Timing { interval_ms: 200, idle_ms: 400 },
        }
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Hash over everything that happened, in order: equal for equal scenarios.
    pub history: String,
    /// Digest of the block at the scenario's height.
    pub digest: Hash,
    /// Transactions in the blocks up to there.
    pub transactions: u64,
    /// Validators killed.
    pub crashes: u64,
    /// Time between the first block and the one at the scenario's height.
    pub virtual_ms: u64,
}

/// Run a scenario; the error says which check failed.
pub fn run(scenario: &Scenario) -> Result<Summary, String> {
    let committee = Committee::new(scenario)?;
    let participants = committee.participants();
    let link = |loss: u64| Link {
        latency: Duration::from_millis(scenario.latency_ms),
        jitter: Duration::from_millis(scenario.jitter_ms),
        success_rate: Probability::new(100 - loss.min(100), 100).expect("at most 100 of 100"),
    };
    let normal = link(scenario.loss_percent);
    let ms = Duration::from_millis;
    let mut plan = PlanBuilder::new(committee.clone())
        .seed(scenario.seed)
        .link(normal.clone())
        .timeout(LONGEST_RUN)
        .exit_condition(ProcessedHeightAtLeast::new(scenario.height))
        .property(SameHistory { committee: committee.clone(), height: scenario.height });
    plan =
        match scenario.trouble {
            Trouble::None => plan,
            Trouble::Crashes { every_ms, down_ms } => {
                plan.crash(Crash::Random { frequency: ms(every_ms), downtime: ms(down_ms), count: 1 })
            }
            Trouble::Blackout { at_ms, down_ms } => {
                let down = participants.iter().fold(Schedule::new(), |schedule, who| {
                    schedule.at(ms(at_ms), Action::Crash(who.clone()))
                });
                plan.crash(Crash::Schedule(participants.iter().fold(down, |schedule, who| {
                    schedule.at(ms(at_ms + down_ms), Action::Restart(who.clone()))
                })))
            }
            Trouble::LateJoiner { view } => plan.crash(Crash::DelayRound {
                participants: vec![participants[0].clone()],
                round: Round::new(Epoch::zero(), View::new(view)),
            }),
            Trouble::Partition { from_ms, to_ms } => {
                let (left, right) = participants.split_at(participants.len() / 2);
                let mut schedule = Schedule::new();
                for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (a, b))) {
                    for (from, to) in [(a, b), (b, a)] {
                        let cut = Action::UpdateLink { from: from.clone(), to: to.clone(), link: link(100) };
                        schedule = schedule.at(ms(from_ms), cut);
                    }
                }
                plan.crash(Crash::Schedule(schedule.at(ms(to_ms), Action::Heal(normal))))
            }
        };
    let result = plan.run()?.pop().ok_or("the plan ran no seed")?;
    let found = *committee.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (digest, transactions, virtual_ms) = found.ok_or("no block to compare")?;
    Ok(Summary { history: result.state, digest, transactions, crashes: result.crashes, virtual_ms })
}

/// Digest, transactions and time at the scenario's height.
type Found = (Hash, u64, u64);

#[derive(Clone)]
struct Committee {
    scenario: Scenario,
    genesis: Genesis,
    members: Vec<PublicKey>,
    schemes: Vec<Scheme>,
    clients: Vec<SecretKey>,
    found: Arc<Mutex<Option<Found>>>,
}

impl Committee {
    fn new(scenario: &Scenario) -> Result<Self, String> {
        let mut keys: Vec<SecretKey> =
            (0..scenario.validators).map(|index| SecretKey::from_seed([index + 1; 32])).collect();
        keys.sort_by_key(SecretKey::public);
        let members: Vec<PublicKey> = keys.iter().map(SecretKey::public).collect();
        let (committee, shares) = deal(&members, [9; 32]).map_err(|error| error.to_string())?;
        let clients: Vec<SecretKey> =
            (0..scenario.validators).map(|index| SecretKey::from_seed([index + 129; 32])).collect();
        let accounts =
            clients.iter().map(|client| GenesisAccount { key: client.public(), balance: 1 << 60 }).collect();
        let genesis = Genesis {
            name: "simulation".parse().expect("a short name"),
            time_ms: 1,
            validators: List::default(),
            accounts: List::new(accounts).map_err(|error| error.to_string())?,
            params: Parameters::demo(),
            consensus: Blob::new(committee.to_bytes()).map_err(|error| error.to_string())?,
        };
        let network = genesis.network_id();
        let schemes = shares
            .iter()
            .map(|(member, share)| {
                committee.signer(&network, member, share).map_err(|error| error.to_string())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { scenario: scenario.clone(), genesis, members, schemes, clients, found: Arc::default() })
    }
    fn transfer(&self, from: usize, nonce: u64) -> SignedTx {
        let to = self.clients[(from + 1) % self.clients.len()].public();
        let body = Tx {
            network: self.genesis.network_id(),
            sender: self.clients[from].public(),
            nonce,
            fee: FEE,
            fee_from: tessera_ledger::FeeSource::default(),
            action: action::Transfer { to, amount: 1000 + u128::from(nonce) }.into(),
        };
        SignedTx::sign(&self.clients[from], body)
    }
}

/// One simulated validator, for the checks.
#[derive(Clone)]
struct Inspect {
    marshal: marshal::core::Mailbox<Scheme, Standard<Block>>,
    stateful: Stateful<deterministic::Context, App>,
}

impl ProcessedHeight for Inspect {
    async fn processed_height(&self) -> u64 {
        self.marshal.get_processed().await.map_or(0, |processed| processed.height().get())
    }
}

impl EngineDefinition for Committee {
    type PublicKey = ed25519::PublicKey;
    type Engine = Handle<()>;
    type State = Inspect;

    fn participants(&self) -> Vec<ed25519::PublicKey> {
        self.members.iter().filter_map(consensus_key).collect()
    }
    fn channels(&self) -> Vec<(u64, Quota)> {
        CHANNELS.map(|channel| (channel, QUOTA)).to_vec()
    }
    fn max_message_size(&self) -> u32 {
        max_message(self.members.len() as u32)
    }
    async fn init(&self, init: InitContext<'_, ed25519::PublicKey>) -> (Handle<()>, Inspect) {
        let index = init.index;
        let (queries, waiting) = mpsc::channel(16);
        let me = init.public_key.clone();
        let parts = Parts {
            name: format!("validator-{index}"),
            network: self.genesis.network_id(),
            genesis_time_ms: self.genesis.time_ms,
            cells: Arc::new(self.genesis.cells().into_iter().collect()),
            scheme: self.schemes[index].clone(),
            me: me.clone(),
            pool: Mempool::default(),
            journal: Journal::new(),
            timing: self.scenario.timing,
            state_sync: init.delayed,
            queries: waiting,
        };
        let monitor = init.monitor;
        let channels = init.channels.try_into().unwrap_or_else(|_| panic!("eight channels were asked for"));
        let (control, manager) = (init.oracle.control(me.clone()), init.oracle.manager());
        let running =
            engine::start(init.context.child("engine"), parts, control, manager, channels, |state| {
                MonitorReporter::new(me, monitor, state)
            })
            .await;
        let (this, context) = (self.clone(), init.context.child("client"));
        context.spawn(move |context| async move { this.submit(context, index, queries).await });
        (running.consensus, Inspect { marshal: running.marshal, stateful: running.stateful })
    }
    fn start(engine: Handle<()>) -> Handle<()> {
        engine
    }
}

impl Committee {
    /// A client of validator `index`: submits its transfers in order and follows the ledger's nonce.
    async fn submit(self, context: deterministic::Context, index: usize, queries: mpsc::Sender<Query>) {
        let mut nonce = 0;
        while nonce < self.scenario.transfers {
            context.sleep(Duration::from_millis(200)).await;
            let (reply, answer) = oneshot::channel();
            if queries.send(Query::Submit(Box::new(self.transfer(index, nonce)), reply)).await.is_err() {
                return;
            }
            match answer.await {
                Ok(Ok(_)) => nonce += 1,
                Ok(Err(SubmitError::NonceUsed { expected, .. })) => nonce = expected,
                Ok(Err(_)) => {}
                Err(_) => return,
            }
        }
        // The desk ends when nobody can ask it any more: stay for the gossip of the others.
        std::future::pending::<()>().await;
        drop(queries);
    }
}

/// All validators have one history, and it replays to the state that they store.
#[derive(Clone)]
struct SameHistory {
    committee: Committee,
    height: u64,
}

impl SameHistory {
    async fn compare(&self, validators: &[&Inspect]) -> Result<(), String> {
        let network = self.committee.genesis.network_id();
        let mut state = MemState::new(&self.committee.genesis);
        let (mut transactions, mut first_ms, mut last) = (0, 0, None::<Block>);
        for height in 1..=self.height {
            let mut agreed: Option<Block> = None;
            for (index, validator) in validators.iter().enumerate() {
                let Some(found) = validator.marshal.get_block(Identifier::Height(Height::new(height))).await
                else {
                    continue; // A validator that synced its state does not have the blocks before.
                };
                let block = found.inner();
                if let Some(other) = &agreed
                    && other.header().digest() != block.header().digest()
                {
                    return Err(format!("validator {index} has another block at height {height}"));
                }
                agreed.get_or_insert_with(|| block.clone());
            }
            let block = agreed.ok_or_else(|| format!("nobody has block {height}"))?;
            let header = block.header();
            if header.network != network || header.height != height {
                return Err(format!(
                    "the header at height {height} says {} of {}",
                    header.height, header.network
                ));
            }
            if (header.seed.is_some()) != (height > 1) {
                return Err(format!("block {height} has a wrong seed"));
            }
            if let Some(parent) = &last
                && (header.time_ms <= parent.header().time_ms || header.parent != parent.header().digest())
            {
                return Err(format!("block {height} does not follow its parent"));
            }
            let outcome = state.run_block(header.execution(), block.txs());
            if tessera_chain::event_root(&outcome.events) != header.event_root {
                return Err(format!("the events of block {height} are not those of its header"));
            }
            invariants::check(&state).map_err(|violation| format!("after block {height}: {violation:?}"))?;
            transactions += block.txs().len() as u64;
            if height == 1 {
                first_ms = header.time_ms;
            }
            last = Some(block);
        }
        let last = last.ok_or("a scenario has at least one block")?;
        for (index, validator) in validators.iter().enumerate() {
            self.compare_state(index, validator, &state, &last).await?;
        }
        *self.committee.found.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) =
            Some((last.header().digest(), transactions, last.header().time_ms - first_ms));
        Ok(())
    }
    /// Compare every cell, if the validator's state is still at the last compared block.
    async fn compare_state(
        &self,
        index: usize,
        validator: &Inspect,
        state: &MemState,
        last: &Block,
    ) -> Result<(), String> {
        let mut expected = state.clone();
        let databases = validator.stateful.subscribe_databases().await;
        let stored = databases.read().await;
        let root = Hash(stored.root().0);
        // It may have applied more blocks since: replay those too.
        let mut header = last.header().clone();
        while header.state_root != root {
            let next = Identifier::Height(Height::new(header.height + 1));
            let Some(found) = validator.marshal.get_block(next).await else {
                return Err(format!("validator {index} stores a state that no block has"));
            };
            header = found.inner().header().clone();
            expected.run_block(header.execution(), found.inner().txs());
        }
        for (key, cell) in &expected.0 {
            let got = stored.get(&blake3::Digest(key.0)).await.map_err(|error| error.to_string())?;
            if got != Some(*cell) {
                return Err(format!("validator {index} stores {got:?} at {key}, replay gives {cell:?}"));
            }
        }
        Ok(())
    }
}

impl Property<ed25519::PublicKey, Inspect> for SameHistory {
    fn name(&self) -> &str {
        "one history, equal to its replay"
    }
    fn check<'a>(
        &'a self,
        _: &'a ProgressTracker<ed25519::PublicKey>,
        states: &'a [&'a Inspect],
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(self.compare(states))
    }
}
