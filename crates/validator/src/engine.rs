//! Wire one validator: consensus, block store, state store, state sync, gossip, and the desk that answers.
//!
//! ```text
//!  gossip --> mempool --> App::propose          simplex (votes, certificates: 3 channels)
//!                            |                     ^  |reports
//!                         stateful <-- deferred ---+  +--> seed book
//!                            |  ^                  |
//!                        QMDB state  marshal (blocks, finalizations: 2 channels) <--+
//!                            |
//!            state sync (1 channel), probe for a recent final block (1 channel)
//! ```
//! Generic over the runtime and the network, and instantiated twice: over tokio and TCP in `node`, over virtual
//! time and simulated links in `simulation`. A storage failure is fatal by design: the process ends and starts again.

use crate::{
    application::{App, Databases, State, genesis_block},
    beacon::SeedBook,
    desk::{Desk, MAX_PASSED_BYTES, Query},
    execute::GenesisCells,
    journal::Journal,
    mempool::Mempool,
    pacing::{Paced, Timing},
    stores::{self, BUFFER, Blocks, Finalizations},
    verified::Verified,
    votes::{self, Noting, VoteNotes, VotesLost},
};
use commonware_broadcast::buffered;
use commonware_consensus::{
    Reporter, Reporters,
    marshal::{
        self, Update,
        core::Actor as MarshalActor,
        resolver::p2p as marshal_resolver,
        standard::{Deferred, Standard},
    },
    simplex::{
        self,
        config::{ForwardPolicy, SkipPolicy},
        elector::{Random, RandomVersion},
    },
    types::{Epoch, FixedEpocher, ViewDelta},
};
use commonware_cryptography::{Digested, Digestible, blake3::Blake3, certificate::ConstantProvider, ed25519};
use commonware_glue::stateful::{
    Config as StatefulConfig, Mailbox as StatefulMailbox, PruneConfig, Stateful, SyncPlan,
    db::{DatabaseSet, SyncEngineConfig, p2p as state_resolver},
    probe::{self, Config as ProbeConfig, Probe},
};
use commonware_p2p::{Blocker, Provider, Receiver, Sender, max_message_size};
use commonware_parallel::Sequential;
use commonware_runtime::{Handle, Quota, Spawner};
use commonware_storage::{Context as StorageContext, mmr, qmdb::any::ordered::fixed::Operation};
use commonware_utils::{NZDuration, NZU32, NZU64, NZUsize};
use rand::CryptoRng;
use std::{
    num::{NonZeroU64, NonZeroUsize},
    sync::Arc,
    time::Duration,
};
use tessera_canon::{Hash, codec::FixedSize};
use tessera_chain::{Block, BlockDigest, Scheme};
use tessera_ledger::Cell;
use tokio::sync::mpsc;

/// Numbers of the channels between validators; the last one carries transactions.
pub(crate) const CHANNELS: [u64; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
/// Messages a second that one peer may send on one channel.
pub(crate) const QUOTA: Quota = Quota::per_second(NZU32!(256));
/// One consensus epoch forever: committees do not change yet.
const EPOCH: NonZeroU64 = NZU64!(u64::MAX);
/// State changes in one answer of state sync.
const SYNC_BATCH: NonZeroU64 = NZU64!(256);
/// Mailbox size of the engine's actors.
const MAILBOX: NonZeroUsize = NZUsize!(512);
/// Blocks' worth of state changes kept for those who download the state.
const KEPT_STATE_CHANGES: usize = 64;
/// How long the others may take to name a newer block than the one to begin with.
const FLOOR_PATIENCE: Duration = Duration::from_secs(3);
/// Blocks between two attempts to drop old ones.
const PRUNE_EVERY: usize = 1024;

/// Greatest message between `members` validators, bytes.
pub(crate) fn max_message(members: u32) -> u32 {
    let operation = <Operation<mmr::Family, BlockDigest, Cell> as FixedSize>::SIZE;
    max_message_size(&[
        simplex::max_payload_size::<Scheme, BlockDigest>(members),
        marshal::max_payload_size::<Standard<Block>, Scheme>(members, &()),
        probe::max_payload_size::<Standard<Block>, Scheme>(members),
        state_resolver::max_payload_size::<mmr::Family, BlockDigest>(SYNC_BATCH, operation),
        MAX_PASSED_BYTES,
    ])
}

/// Fewest blocks that a validator keeps.
pub const MIN_KEPT_BLOCKS: usize = 2 * KEPT_STATE_CHANGES;

/// What is dropped of old blocks, and when; nothing where all are kept.
fn pruning(keep_blocks: Option<usize>) -> Option<PruneConfig> {
    let keep = keep_blocks?.max(MIN_KEPT_BLOCKS);
    Some(PruneConfig {
        maintenance_interval: NonZeroUsize::new((keep / 4).min(PRUNE_EVERY)).unwrap_or(NonZeroUsize::MIN),
        retained_marshal_blocks: keep,
        retained_qmdb_blocks: KEPT_STATE_CHANGES,
    })
}

/// What makes one validator of one network.
pub(crate) struct Parts {
    /// Prefix of the names of its stores.
    pub(crate) name: String,
    pub(crate) network: Hash,
    pub(crate) genesis_time_ms: u64,
    pub(crate) cells: Arc<GenesisCells>,
    pub(crate) scheme: Scheme,
    pub(crate) me: ed25519::PublicKey,
    pub(crate) pool: Mempool,
    pub(crate) journal: Journal,
    pub(crate) timing: Timing,
    /// Download the state instead of replaying all blocks, where the folder is new.
    pub(crate) state_sync: bool,
    /// Which votes it cast last.
    pub(crate) notes: VoteNotes,
    /// Blocks to keep, at least [`MIN_KEPT_BLOCKS`]; `None` keeps every block and every state change.
    pub(crate) keep_blocks: Option<usize>,
    pub(crate) queries: mpsc::Receiver<Query>,
}

/// A running validator.
pub(crate) struct Running<E: Spawner + StorageContext> {
    pub(crate) consensus: Handle<()>,
    pub(crate) marshal: marshal::core::Mailbox<Scheme, Standard<Block>>,
    pub(crate) stateful: StatefulMailbox<E, App>,
}

/// Start all parts, unless votes that this validator cast are missing from its files. `wrap` may put an observer
/// between the block store and the state.
pub(crate) async fn start<E, B, P, S, R, W, WR>(
    context: E,
    parts: Parts,
    blocker: B,
    peers: P,
    channels: [(S, R); 8],
    wrap: W,
) -> Result<Running<E>, VotesLost>
where
    E: StorageContext + Spawner + CryptoRng,
    B: Blocker<PublicKey = ed25519::PublicKey> + Clone,
    P: Provider<PublicKey = ed25519::PublicKey> + Clone,
    S: Sender<PublicKey = ed25519::PublicKey>,
    R: Receiver<PublicKey = ed25519::PublicKey>,
    W: FnOnce(StatefulMailbox<E, App>) -> WR,
    WR: Reporter<Activity = Update<Block>>,
{
    let Parts {
        name,
        network,
        genesis_time_ms,
        cells,
        scheme,
        me,
        pool,
        journal,
        timing,
        state_sync,
        notes,
        keep_blocks,
        queries,
    } = parts;
    let cache = stores::cache();
    let [votes, certificates, resolution, backfill, blocks, state_net, probe_net, gossip] = channels;
    let vote_store = format!("{name}-simplex");
    let cast = votes::journaled(context.child("cast"), vote_store.clone(), cache.clone(), BUFFER).await?;

    let resolver = marshal_resolver::init(
        context.child("marshal_resolver"),
        marshal_resolver::Config {
            public_key: me.clone(),
            peer_provider: peers.clone(),
            blocker: blocker.clone(),
            mailbox_size: MAILBOX,
            fetch_timeout: NZDuration!(Duration::from_secs(2)),
            fetch_retry_delay: Duration::from_millis(100),
            priority_requests: false,
            priority_responses: false,
        },
        backfill,
    );
    let (broadcast, buffer) = buffered::Engine::new(
        context.child("broadcast"),
        buffered::Config {
            public_key: me.clone(),
            mailbox_size: MAILBOX,
            deque_size: 8,
            priority: true,
            codec_config: (),
            peer_provider: peers.clone(),
            strategy: Sequential,
        },
    );
    broadcast.start(blocks);

    let place = |kind| stores::archive(&name, kind, &cache);
    let finalizations = Finalizations::init(context.child("finalizations"), place("finalizations"))
        .await
        .expect("the store of finalizations opens");
    let finalized =
        Blocks::init(context.child("blocks"), place("blocks")).await.expect("the store of blocks opens");

    let empty = <Databases<E> as DatabaseSet<E>>::initial_sync_targets();
    let genesis = genesis_block(network, genesis_time_ms, &empty);

    let mut plan = SyncPlan::init(context.child("plan"), name.clone()).await;
    let must_sync = plan.should_sync(state_sync);
    let provider = ConstantProvider::new(scheme.clone());
    let (probe, probe_mailbox) = Probe::new(ProbeConfig {
        context: context.child("probe"),
        provider: provider.clone(),
        strategy: Sequential,
        mailbox_size: NZUsize!(100),
        blocker: blocker.clone(),
        minimum_epoch: Epoch::zero(),
        retry_timeout: NZDuration!(Duration::from_millis(250)),
    });
    probe.start(probe_net);
    if must_sync {
        let newest = probe_mailbox.subscribe();
        // Who has a block to begin with, from a snapshot or an earlier attempt, does not wait for the others for long.
        let floor = match plan.floor() {
            Some(_) => tokio::select! {
                newest = newest => newest.ok(),
                () = context.sleep(FLOOR_PATIENCE) => None,
            },
            None => newest.await.ok(),
        };
        if let Some(floor) = floor {
            plan = plan.set_floor(floor).await;
        }
    }
    let begin = plan.floor().cloned();
    notes.check(&cast, begin.as_ref().map(|floor| floor.proposal.round.view().get()))?;

    let digest = genesis.digest();
    let (marshal_actor, marshal, floor) = MarshalActor::<_, Standard<Block>, _, _, _, _, _>::init(
        context.child("marshal"),
        finalizations,
        finalized,
        marshal::Config {
            provider,
            epocher: FixedEpocher::new(EPOCH),
            start: plan.marshal_start(Digested::precomputed(genesis.clone(), digest)),
            partition_prefix: name.clone(),
            mailbox_size: MAILBOX,
            view_retention: ViewDelta::new(64),
            prunable_items_per_section: NZU64!(1024),
            page_cache: cache.clone(),
            replay_buffer: BUFFER,
            key_write_buffer: BUFFER,
            value_write_buffer: BUFFER,
            block_codec_config: (),
            max_repair: NZUsize!(64),
            max_pending_acks: NZUsize!(16),
            strategy: Sequential,
        },
    )
    .await;

    let (sync_server, sync_client) =
        state_resolver::Actor::<_, ed25519::PublicKey, _, _, mmr::Family, State<E>>::new(
            context.child("state_resolver"),
            state_resolver::Config {
                peer_provider: peers,
                blocker: blocker.clone(),
                database: None,
                mailbox_size: NZUsize!(100),
                me: Some(me),
                fetch_timeout: NZDuration!(Duration::from_secs(2)),
                fetch_retry_delay: Duration::from_millis(100),
                max_serve_ops: SYNC_BATCH,
                priority_requests: false,
                priority_responses: false,
            },
        );
    sync_server.start(state_net);

    let seeds = SeedBook::default();
    let application = App {
        network,
        genesis,
        cells,
        scheme: scheme.clone(),
        seeds: seeds.clone(),
        marshal: marshal.clone(),
        journal: journal.clone(),
        pool: pool.clone(),
        verified: Verified::default(),
    };
    let (actor, stateful) = Stateful::new(
        context.child("stateful"),
        StatefulConfig {
            application: application.clone(),
            db_config: stores::state(&name, &cache),
            provider: (),
            marshal: (marshal.clone(), floor),
            mailbox_size: MAILBOX,
            plan,
            resolvers: sync_client,
            sync_config: SyncEngineConfig {
                fetch_batch_size: SYNC_BATCH,
                apply_batch_size: NZU64!(1024),
                max_outstanding_requests: NZUsize!(8),
            },
            prune_config: pruning(keep_blocks),
            strategy: Sequential,
        },
    );
    let deferred = Deferred::new(
        context.child("deferred"),
        Paced::new(stateful.clone(), pool, timing),
        marshal.clone(),
        FixedEpocher::new(EPOCH),
    );
    marshal_actor.start(wrap(stateful.clone()), buffer, resolver);
    probe_mailbox.attach(marshal.clone());
    actor.start();

    Desk::new(application, stateful.clone()).start(context.child("desk"), queries, gossip);

    // A view must outlast the idle wait of its leader and a slow machine's execution.
    let patience = Duration::from_millis(timing.idle_ms.max(timing.interval_ms));
    let engine = simplex::Engine::new(
        context,
        simplex::Config {
            scheme,
            elector: Random::<Blake3>::new(RandomVersion::V1),
            blocker,
            automaton: deferred.clone(),
            relay: deferred.clone(),
            reporter: Reporters::from((seeds, deferred)),
            strategy: Sequential,
            partition: vote_store,
            mailbox_size: MAILBOX,
            epoch: Epoch::zero(),
            // Who begins in the middle has no business in the views before.
            floor: begin.map_or(simplex::config::Floor::Genesis(digest), simplex::config::Floor::Finalized),
            replay_buffer: BUFFER,
            write_buffer: BUFFER,
            page_cache: cache,
            leader_timeout: patience + Duration::from_millis(1500),
            certification_timeout: patience + Duration::from_millis(3000),
            timeout_retry: Duration::from_millis(1000),
            view_retention: ViewDelta::new(64),
            skip: SkipPolicy::Enabled {
                timeout: Duration::from_secs(5),
                budget: simplex::SkipBudget::Participants,
            },
            fetch_timeout: NZDuration!(Duration::from_secs(2)),
            fetch_retry_delay: Duration::from_millis(500),
            forward: ForwardPolicy::Disabled,
            track_historical_votes: false,
        },
    );
    let votes = (Noting::new(votes.0, notes), votes.1);
    Ok(Running { consensus: engine.start(votes, certificates, resolution), marshal, stateful })
}
