//! Make the validators of a simulated committee, and the clients that send them transactions.

use super::{
    Misdeeds, Scenario, Slot, Summary, Trouble,
    byzantine::{Liar, Wire},
    check::Inspect,
    lock, torn,
};
use crate::{
    committee::deal,
    desk::Query,
    engine::{self, CHANNELS, Parts, QUOTA, max_message},
    journal::Journal,
    mempool::{Mempool, SubmitError},
    votes::VoteNotes,
};
use commonware_cryptography::ed25519;
use commonware_glue::simulate::{
    engine::{EngineDefinition, InitContext},
    reporter::MonitorReporter,
};
use commonware_runtime::{Clock as _, Handle, Quota, Spawner as _, Supervisor as _, deterministic};
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tessera_canon::{Blob, List, PublicKey, SecretKey};
use tessera_chain::{Scheme, consensus_key};
use tessera_ledger::{Genesis, Parameters, SignedTx, Tx, action, genesis::GenesisAccount};
use tokio::sync::{mpsc, oneshot};

/// What every simulated sender pays per transaction.
const FEE: u128 = 1_000_000;

/// A committee, as the harness starts and restarts it.
#[derive(Clone)]
pub(super) struct Committee {
    pub(super) scenario: Scenario,
    pub(super) genesis: Genesis,
    members: Vec<PublicKey>,
    schemes: Vec<Scheme>,
    clients: Vec<SecretKey>,
    /// One for each validator; like a disk, they outlive it.
    notes: Vec<VoteNotes>,
    /// Troubles with files that have happened.
    torn: Slot<BTreeSet<usize>>,
    pub(super) misdeeds: Misdeeds,
    pub(super) refusals: Slot<Vec<String>>,
    pub(super) found: Slot<Option<Summary>>,
}

impl Committee {
    pub(super) fn new(scenario: &Scenario) -> Result<Self, String> {
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
        Ok(Self {
            scenario: scenario.clone(),
            genesis,
            notes: members.iter().map(|_| VoteNotes::in_memory()).collect(),
            members,
            schemes,
            clients,
            torn: Slot::default(),
            misdeeds: Misdeeds::default(),
            refusals: Slot::default(),
            found: Slot::default(),
        })
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
    /// The liar at `index`; the last of the committee lie.
    fn liar(&self, index: usize) -> Option<Liar> {
        let kind = *self.scenario.byzantine.get(index.checked_sub(self.scenario.honest())?)?;
        let me = self.members[index];
        let peers = self.participants().into_iter().enumerate().filter(|(at, _)| *at != index);
        Some(Liar::new(
            kind,
            self.schemes[index].clone(),
            me,
            peers.map(|(_, peer)| peer).collect(),
            self.scenario.seed ^ index as u64,
            self.misdeeds.clone(),
        ))
    }
    /// Cut the files of validator `index` if its scenario says so and it has not happened yet.
    async fn tear(&self, context: &deterministic::Context, index: usize, name: &str) {
        for (at, trouble) in self.scenario.troubles.iter().enumerate() {
            if let Trouble::TornFile { index: whose, at_ms, store, .. } = trouble
                && *whose == index
                && engine_ms(context) >= *at_ms
                && lock(&self.torn).insert(at)
            {
                torn::tear(context, name, *store).await;
            }
        }
    }
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

/// Virtual time since the run began.
fn engine_ms(context: &deterministic::Context) -> u64 {
    crate::application::now_ms(context)
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
        let name = format!("validator-{index}");
        self.tear(&init.context, index, &name).await;
        let parts = Parts {
            name,
            network: self.genesis.network_id(),
            genesis_time_ms: self.genesis.time_ms,
            cells: Arc::new(self.genesis.cells().into_iter().collect()),
            scheme: self.schemes[index].clone(),
            me: me.clone(),
            pool: Mempool::default(),
            journal: Journal::new(),
            timing: self.scenario.timing,
            state_sync: init.delayed,
            notes: self.notes[index].clone(),
            keep_blocks: self.scenario.keep_blocks.filter(|_| index == 0),
            queries: waiting,
        };
        let monitor = init.monitor;
        let (senders, receivers): (Vec<_>, Vec<_>) = init.channels.into_iter().unzip();
        let channels: Vec<_> = Wire::all(senders, self.liar(index)).into_iter().zip(receivers).collect();
        let channels = channels.try_into().unwrap_or_else(|_| panic!("eight channels were asked for"));
        let (control, manager) = (init.oracle.control(me.clone()), init.oracle.manager());
        let starting =
            engine::start(init.context.child("engine"), parts, control, manager, channels, |state| {
                MonitorReporter::new(me, monitor, state)
            });
        // A store that does not open panics; a real validator then ends and says why.
        let started = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(starting)).await;
        let refused = match started {
            Ok(Ok(running)) => {
                let (this, context) = (self.clone(), init.context.child("client"));
                context.spawn(move |context| async move { this.submit(context, index, queries).await });
                let inspect = Inspect::new(index, self, Some((running.marshal, running.stateful)));
                return (running.consensus, inspect);
            }
            Ok(Err(lost)) => lost.to_string(),
            Err(panic) => {
                panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a store does not open".into())
            }
        };
        lock(&self.refusals).push(format!("validator {index}: {refused}"));
        let idle = init.context.child("refused").spawn(|_| std::future::pending());
        (idle, Inspect::new(index, self, None))
    }
    fn start(engine: Handle<()>) -> Handle<()> {
        engine
    }
}
