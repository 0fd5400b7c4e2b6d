//! Run one validator as a real process part: own threads, TCP to the others, a folder on disk.
//!
//! The engine has its own runtime, in a thread of its own; the handle talks to it through bounded channels, so
//! it works from any tokio program. A failed disk ends the validator (it never continues on a state that may
//! be lost); [`ValidatorHandle::stopped`] says why, and starting again on the same folder continues.

use crate::{
    committee::{Committee, CommitteeError, SecretShare},
    desk::{ProveError, Query},
    engine::{self, CHANNELS, Parts, QUOTA, max_message},
    journal::{FinalizedBlock, Journal},
    mempool::{Mempool, SubmitError},
    pacing::Timing,
    votes::{VoteNotes, VotesLost},
};
use commonware_cryptography::{ChaCha20Poly1305, ed25519};
use commonware_p2p::{
    Address, AddressableManager as _,
    authenticated::lookup::{self, Network},
};
use commonware_runtime::{Runner as _, Spawner as _, Supervisor as _, tokio as engine_runtime};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{NZUsize, ordered::Map};
use std::{
    any::Any,
    fs, io,
    net::SocketAddr,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tessera_canon::{Hash, PublicKey, SecretKey, decode};
use tessera_chain::{Block, CertifiedHeader, Header, Identity, StateProof, consensus_key};
use tessera_ledger::{Genesis, Key, Receipt, SignedTx};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

/// Questions that may wait for the desk.
const QUERIES: usize = 256;
/// How long `start` waits for the parts to come up before it returns with the validator still starting.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that must be free on the disk for a validator to start.
const ROOM: usize = 1 << 20;
/// The file in a validator's folder that holds its last votes.
pub const VOTE_NOTES: &str = "votes";
/// Stack of the engine's first thread: its futures are large, in builds without optimisation beyond the usual.
const STACK: usize = 16 << 20;
/// How long open work may take to end when the validator is stopped.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What a validator needs to know.
#[derive(Clone, Debug)]
pub struct ValidatorConfig {
    /// Its identity.
    pub key: SecretKey,
    /// Its part of the group key, dealt with the genesis.
    pub share: SecretShare,
    /// The network's beginning; its `consensus` field holds the encoded [`Committee`].
    pub genesis: Genesis,
    /// Where every member listens, itself included.
    pub committee: Vec<(PublicKey, SocketAddr)>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where to store; made if missing.
    pub data_dir: PathBuf,
    /// Download the state from the others if the folder is new, instead of replaying every block.
    /// Not for the first start of a network: there is nothing to download yet, and it would wait.
    pub state_sync: bool,
    /// When blocks are due.
    pub timing: Timing,
    /// Blocks to keep, at least [`crate::MIN_KEPT_BLOCKS`]; older ones and the state changes that nobody needs any
    /// more are dropped. `None` keeps everything, from the first block on.
    pub keep_blocks: Option<usize>,
}

/// Why a validator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The committee, its addresses or the share do not fit together.
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    /// The address list is not the committee's.
    #[error(
        "expected one address for each of the committee's {expected} members, got {got} (unknown or missing: {which:?})"
    )]
    Addresses { expected: usize, got: usize, which: Vec<PublicKey> },
    /// Cannot listen.
    #[error("cannot listen on {address}: {cause}; stop the other program or choose another port")]
    Listen { address: SocketAddr, cause: io::Error },
    /// The folder cannot be used.
    #[error(
        "cannot use the folder {}: {cause}; make room or give access there and start again: nothing that was stored is lost",
        folder.display()
    )]
    Folder { folder: PathBuf, cause: io::Error },
    /// Another process uses the folder.
    #[error("the folder {} is in use by another validator", folder.display())]
    FolderInUse { folder: PathBuf },
    /// The folder is of another network or another validator.
    #[error("the folder {} belongs to {got}, expected {expected}; give this validator a folder of its own", folder.display())]
    OtherFolder { folder: PathBuf, expected: String, got: String },
    /// What is stored does not open.
    #[error("the store in {} does not open ({reason}); move it away and start with state sync", folder.display())]
    Damaged { folder: PathBuf, reason: String },
    /// Votes that it cast are missing from what is stored.
    #[error("the validator in {} must not vote: {cause}", folder.display())]
    Votes { folder: PathBuf, cause: VotesLost },
}

/// How a validator is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it still runs.
    pub running: bool,
    /// Why it ended, if something went wrong.
    pub failure: Option<String>,
    /// The newest final header whose state it applied; `None` until it has caught up for the first time.
    pub tip: Option<Header>,
    /// Transactions that wait for a block.
    pub waiting: usize,
    /// Transactions made final since it started.
    pub transactions: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    /// It refused to start.
    Refused(VotesLost),
    Ended(Option<String>),
}

impl Phase {
    /// Why it ended, if something went wrong.
    fn failure(&self) -> Option<String> {
        match self {
            Self::Ended(failure) => failure.clone(),
            Self::Refused(cause) => Some(cause.to_string()),
            Self::Starting | Self::Running => None,
        }
    }
}

#[derive(Debug)]
struct Shared {
    network: Hash,
    identity: Identity,
    queries: mpsc::Sender<Query>,
    journal: Journal,
    pool: Mempool,
    phase: watch::Receiver<Phase>,
    stop: watch::Sender<bool>,
}

/// Talks to a running validator; cheap to clone. The validator runs until [`ValidatorHandle::stop`].
#[derive(Clone, Debug)]
pub struct ValidatorHandle(Arc<Shared>);

/// Starts validators.
#[derive(Debug)]
pub struct Validator;

impl Validator {
    /// Check everything that can be checked, then start the validator in its own threads.
    pub async fn start(config: ValidatorConfig) -> Result<ValidatorHandle, StartError> {
        let network = config.genesis.network_id();
        let committee = Committee::from_bytes(config.genesis.consensus.bytes())?;
        let me = config.key.public();
        let scheme = committee.signer(&network, &me, &config.share)?;
        let addresses = addresses(&committee, &config.committee)?;
        let lock = claim_folder(&config.data_dir, &network, &me)?;
        drop(
            std::net::TcpListener::bind(config.listen)
                .map_err(|cause| StartError::Listen { address: config.listen, cause })?,
        );
        let (queries, waiting) = mpsc::channel(QUERIES);
        let (phase_sender, mut phase) = watch::channel(Phase::Starting);
        let (stop, stopped) = watch::channel(false);
        let (journal, pool) = (Journal::new(), Mempool::default());
        let notes = VoteNotes::open(&config.data_dir.join(VOTE_NOTES))
            .map_err(|cause| notes_failed(&config.data_dir, cause))?;
        let signer: ed25519::PrivateKey = decode(&config.key.seed())
            .map_err(|_| CommitteeError::Members { got: committee.members.len() })?;
        let public = consensus_key(&me).ok_or(CommitteeError::Members { got: committee.members.len() })?;
        let shared = Shared {
            network,
            identity: committee.identity()?,
            queries,
            journal: journal.clone(),
            pool: pool.clone(),
            phase: phase.clone(),
            stop,
        };
        let parts = Parts {
            name: "validator".into(),
            network,
            genesis_time_ms: config.genesis.time_ms,
            cells: Arc::new(config.genesis.cells().into_iter().collect()),
            scheme,
            me: public,
            pool,
            journal,
            timing: config.timing,
            state_sync: config.state_sync,
            notes,
            keep_blocks: config.keep_blocks,
            queries: waiting,
        };
        let folder = config.data_dir.clone();
        let store = config.data_dir.join("store");
        let listen = config.listen;
        let thread = std::thread::Builder::new().name("validator".into()).stack_size(STACK);
        let spawned = thread.spawn(move || {
            let running = phase_sender.clone();
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                run(store, listen, signer, addresses, parts, running, stopped)
            }));
            let end = match outcome {
                Ok(Ok(clean)) => Phase::Ended((!clean).then(|| "consensus ended by itself".to_string())),
                Ok(Err(cause)) => Phase::Refused(cause),
                Err(panic) => Phase::Ended(Some(panic_text(&*panic))),
            };
            if !matches!(end, Phase::Ended(None)) {
                tracing::error!(?end, "the validator ended");
            }
            drop(lock);
            phase_sender.send_replace(end);
        });
        spawned.map_err(|cause| StartError::Folder { folder: folder.clone(), cause })?;
        let come_up = phase.wait_for(|phase| *phase != Phase::Starting);
        // Still starting after a while is no error: with state sync it waits for the others.
        if let Ok(Ok(phase)) = tokio::time::timeout(START_PATIENCE, come_up).await {
            let phase = phase.clone();
            if let Phase::Refused(cause) = phase {
                return Err(StartError::Votes { folder, cause });
            }
            if let Phase::Ended(reason) = phase {
                // A disk that has just become full must not pass for a damaged store.
                make_room(&folder).map_err(|cause| StartError::Folder { folder: folder.clone(), cause })?;
                let reason = reason.unwrap_or_else(|| "it ended at once".into());
                return Err(StartError::Damaged { folder, reason });
            }
        }
        Ok(ValidatorHandle(Arc::new(shared)))
    }
}

/// Run the engine until it is told to stop; true if it was. An error if it must not start.
fn run(
    store: PathBuf,
    listen: SocketAddr,
    signer: ed25519::PrivateKey,
    addresses: Map<ed25519::PublicKey, Address>,
    parts: Parts,
    phase: watch::Sender<Phase>,
    mut stop: watch::Receiver<bool>,
) -> Result<bool, VotesLost> {
    let members = addresses.len() as u32;
    let namespace = [b"tessera/validators/v1/".as_slice(), &parts.network.0].concat();
    let runtime = engine_runtime::Config::new()
        .with_worker_threads(2)
        .with_max_blocking_threads(16)
        .with_tcp_nodelay(Some(true))
        .with_storage_directory(store);
    engine_runtime::Runner::new(runtime).start(|context| async move {
        let handshake = Cups::<_, ChaCha20Poly1305>::new(
            Sake {
                signer,
                synchrony_bound: Duration::from_secs(5),
                max_handshake_age: Duration::from_secs(10),
                version: sake::Version::V1,
            },
            cups::Version::V1,
        );
        // Queues are sized by this number times the quota, and reserved at once.
        let peers = NonZeroUsize::new(addresses.len()).expect("a committee has members");
        let config = lookup::Config {
            tracked_peer_sets: NZUsize!(1),
            ..lookup::Config::local(handshake, &namespace, listen, peers, max_message(members), NZUsize!(512))
        };
        let (mut net, mut oracle) = Network::new(context.child("network"), config);
        let channels = CHANNELS.map(|channel| net.register(channel, QUOTA));
        oracle.track(0, addresses);
        net.start();
        let starting =
            engine::start(context.child("engine"), parts, oracle.clone(), oracle, channels, |state| state);
        let running = async {
            let running = starting.await?;
            // A store that was cut is found when its parts look for the last block: only then is it up.
            let _ = running.stateful.subscribe_databases().await;
            phase.send_replace(Phase::Running);
            // Ends only when consensus does.
            let _ = running.consensus.await;
            Ok(false)
        };
        let clean = tokio::select! {
            clean = running => clean,
            _ = stop.wait_for(|stop| *stop) => Ok(true),
        };
        // An error means that some part took longer to end; the runtime drops it.
        let _ = context.stop(0, Some(STOP_PATIENCE)).await;
        clean
    })
}

fn addresses(
    committee: &Committee,
    given: &[(PublicKey, SocketAddr)],
) -> Result<Map<ed25519::PublicKey, Address>, StartError> {
    let mut which: Vec<PublicKey> =
        given.iter().map(|(key, _)| *key).filter(|key| !committee.members.contains(key)).collect();
    which.extend(committee.members.iter().filter(|member| !given.iter().any(|(key, _)| key == *member)));
    let wrong = |which| StartError::Addresses { expected: committee.members.len(), got: given.len(), which };
    if !which.is_empty() {
        return Err(wrong(which));
    }
    let pairs: Option<Vec<(ed25519::PublicKey, Address)>> =
        given.iter().map(|(key, address)| Some((consensus_key(key)?, (*address).into()))).collect();
    pairs.and_then(|pairs| pairs.try_into().ok()).ok_or_else(|| wrong(Vec::new()))
}

/// Take the folder for this validator of this network, and hold it while the returned file is open.
fn claim_folder(folder: &Path, network: &Hash, me: &PublicKey) -> Result<fs::File, StartError> {
    let failed = |cause| StartError::Folder { folder: folder.to_path_buf(), cause };
    fs::create_dir_all(folder.join("store")).map_err(failed)?;
    let lock = fs::File::create(folder.join("lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            return Err(StartError::FolderInUse { folder: folder.to_path_buf() });
        }
        Err(fs::TryLockError::Error(cause)) => return Err(failed(cause)),
    }
    make_room(folder).map_err(failed)?;
    let expected = format!("network {network} validator {me}\n");
    let marker = folder.join("network");
    match fs::read_to_string(&marker) {
        Ok(got) if got == expected => Ok(lock),
        Ok(got) => {
            let (expected, got) = (expected.trim().to_string(), got.trim().to_string());
            Err(StartError::OtherFolder { folder: folder.to_path_buf(), expected, got })
        }
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let fresh = folder.join("network.new");
            fs::write(&fresh, &expected).and_then(|()| fs::File::open(&fresh)?.sync_all()).map_err(failed)?;
            fs::rename(&fresh, &marker).map_err(failed)?;
            Ok(lock)
        }
        Err(cause) => Err(failed(cause)),
    }
}

/// Notes that are damaged, apart from a disk that refuses.
fn notes_failed(folder: &Path, cause: io::Error) -> StartError {
    let folder = folder.to_path_buf();
    match cause.kind() {
        io::ErrorKind::InvalidData => {
            StartError::Votes { folder, cause: VotesLost::Unreadable { reason: cause.to_string() } }
        }
        _ => StartError::Folder { folder, cause },
    }
}

/// Whether the disk takes as much as a store needs to open.
fn make_room(folder: &Path) -> io::Result<()> {
    let path = folder.join("room");
    let written = fs::write(&path, vec![0; ROOM]).and_then(|()| fs::File::open(&path)?.sync_all());
    let removed = fs::remove_file(&path);
    written.and(removed)
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "it panicked".into())
}

impl ValidatorHandle {
    /// The network it validates.
    pub fn network(&self) -> Hash {
        self.0.network
    }
    /// The group key of its committee, for light clients.
    pub fn identity(&self) -> Identity {
        self.0.identity
    }
    async fn ask<T>(&self, query: impl FnOnce(oneshot::Sender<T>) -> Query) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.0.queries.send(query(reply)).await.ok()?;
        answer.await.ok()
    }
    /// Offer a transaction; returns its id. It is passed on to the other validators.
    pub async fn submit(&self, tx: SignedTx) -> Result<Hash, SubmitError> {
        self.ask(|reply| Query::Submit(Box::new(tx), reply)).await.unwrap_or(Err(SubmitError::Stopped))
    }
    /// The newest final header, with what proves it.
    pub async fn latest(&self) -> Option<CertifiedHeader> {
        self.ask(|reply| Query::Header(None, reply)).await.flatten()
    }
    /// The final header at `height`, with what proves it; `None` if it is not final or not kept any more.
    pub async fn header_at(&self, height: u64) -> Option<CertifiedHeader> {
        self.ask(|reply| Query::Header(Some(height), reply)).await.flatten()
    }
    /// The final block at `height`; `None` if it is not final or not kept any more.
    pub async fn block_at(&self, height: u64) -> Option<Block> {
        self.ask(|reply| Query::Block(height, reply)).await.flatten()
    }
    /// Prove what `keys` hold, or that they hold nothing, against the newest final header.
    pub async fn prove(&self, keys: Vec<Key>) -> Result<StateProof, ProveError> {
        self.ask(|reply| Query::Prove(keys, reply)).await.unwrap_or(Err(ProveError::Stopped))
    }
    /// Height and receipt of a transaction that this process saw become final.
    pub fn receipt(&self, id: &Hash) -> Option<(u64, Receipt)> {
        self.0.journal.receipt(id)
    }
    /// Final blocks from now on. A subscriber that lags too far behind is told how many it lost.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<FinalizedBlock>> {
        self.0.journal.subscribe()
    }
    /// How the validator is doing.
    pub fn status(&self) -> Status {
        let phase = self.0.phase.borrow().clone();
        Status {
            running: matches!(phase, Phase::Starting | Phase::Running),
            failure: phase.failure(),
            tip: self.0.journal.tip(),
            waiting: self.0.pool.len(),
            transactions: self.0.journal.transactions(),
        }
    }
    /// Ask the validator to end, and wait until it has. Returns why it failed, if it did.
    pub async fn stop(&self) -> Option<String> {
        self.0.stop.send_replace(true);
        self.stopped().await
    }
    /// Wait until the validator ends for whatever reason. Returns why it failed, if it did.
    pub async fn stopped(&self) -> Option<String> {
        let mut phase = self.0.phase.clone();
        match phase.wait_for(|phase| matches!(phase, Phase::Ended(_) | Phase::Refused(_))).await.as_deref() {
            Ok(phase) => phase.failure(),
            Err(_) => Some("its thread vanished".into()),
        }
    }
}
