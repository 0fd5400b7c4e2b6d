//! Execute a whole history again, from genesis, and compare every root on the way.
//!
//! Each block is checked as a verifier would check it, and more: network, height, parent, time and seed of its header;
//! its certificate; each transaction; the events' root; the state's root, by an authenticated store in a folder that
//! is thrown away. At each epoch and at the end every invariant of the ledger is checked on all cells. Whoever runs
//! it believes nobody but the genesis.
//!
//! A block may be final through a descendant and have no certificate of its own; the chain of parents then binds it, so
//! the last block must have one.

use crate::{
    application::{Databases, Speculative, genesis_block},
    beacon::seed_holds,
    committee::Committee,
    execute::{Executed, GenesisCells, execute},
    stores::{self, Blocks, Finalizations, NAME},
};
use commonware_glue::stateful::db::{DatabaseSet, Merkleized as _, Unmerkleized as _};
use commonware_runtime::{Runner as _, Spawner, Supervisor as _, tokio as engine_runtime};
use commonware_storage::{
    Context as StorageContext,
    archive::{Archive as _, Identifier},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tessera_canon::{Hash, List};
use tessera_chain::{
    Block, CertifiedHeader, Header, LightClient, Scheme, VerifyError, consensus_namespace, event_root,
};
use tessera_ledger::{Genesis, MemState, invariants};
use tokio::sync::mpsc;

/// Blocks applied before the store is synced.
const SYNC_EVERY: u64 = 64;
/// Blocks that may wait between who reads and who executes.
const WAITING: usize = 32;

/// A block of the history, with its certificate if it has one.
#[derive(Clone, Debug)]
pub struct FinalBlock {
    /// The block.
    pub block: Block,
    /// Its header and what makes it final.
    pub certificate: Option<CertifiedHeader>,
}

/// Why a history does not hold, or could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// A block is not there.
    #[error(
        "expected block {height}, the source has none ({oldest}); use a validator that keeps every block \
         (`keep_blocks: \"all\"` in its node.json from its first start on)"
    )]
    Missing { height: u64, oldest: String },
    /// A header contradicts its predecessor or the network.
    #[error("block {height}: expected {what} {expected}, got {got}; the history is false from here on")]
    Header { height: u64, what: &'static str, expected: String, got: String },
    /// A certificate is not the committee's.
    #[error("block {height}: its certificate does not hold: {cause}")]
    Certificate { height: u64, cause: VerifyError },
    /// The last blocks lack a certificate.
    #[error(
        "expected a certificate for the last block, {height}, got none since block {certified}; \
         verify up to block {certified}"
    )]
    Uncertified { height: u64, certified: u64 },
    /// A transaction in a block may not be in one.
    #[error("block {height}: transaction {tx} may not be included: {reason}")]
    Transaction { height: u64, tx: Hash, reason: String },
    /// What the block did is not what its header says.
    #[error(
        "block {height}: executing it gives {what} {expected}, its header says {got}; \
         this program or the validators that signed it are wrong"
    )]
    Outcome { height: u64, what: &'static str, expected: Hash, got: Hash },
    /// An invariant of the ledger is broken.
    #[error("after block {height}: {violation}")]
    Invariant { height: u64, violation: invariants::Violation },
    /// The genesis is not usable.
    #[error("the genesis cannot be used: {reason}")]
    Genesis { reason: String },
    /// The scratch folder or the validator's folder cannot be used.
    #[error("cannot use the folder {}: {cause}; give access, make room, or choose another", folder.display())]
    Folder { folder: PathBuf, cause: io::Error },
    /// A validator runs on the folder.
    #[error("the folder {} is in use by a running validator; stop it, or ask it over the network", folder.display())]
    InUse { folder: PathBuf },
    /// A store failed.
    #[error("a store failed: {reason}")]
    Store { reason: String },
    /// Who was to bring the blocks failed.
    #[error("the blocks stopped coming at height {height}: {reason}")]
    Source { height: u64, reason: String },
}

/// How far a verification is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Blocks executed.
    pub height: u64,
    /// Transactions in them.
    pub transactions: u64,
    /// Events that they caused.
    pub events: u64,
    /// Certificates checked.
    pub certificates: u64,
    /// Times that all invariants were checked.
    pub checks: u64,
}

/// A history that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What was done.
    pub progress: Progress,
    /// Header of the last block.
    pub last: Header,
    /// Cells at the end.
    pub cells: u64,
}

/// A replay under way, on a store of its own.
pub(crate) struct Replay<E: Spawner + StorageContext> {
    network: Hash,
    genesis: Header,
    epoch_blocks: u64,
    cells: GenesisCells,
    light: LightClient,
    scheme: Scheme,
    store: Databases<E>,
    state: MemState,
    last: Option<Header>,
    certified: u64,
    progress: Progress,
}

impl<E: Spawner + StorageContext> Replay<E> {
    /// Begin before block 1, on an empty store.
    pub(crate) async fn begin(context: E, genesis: &Genesis) -> Result<Self, HistoryError> {
        let bad = |reason: String| HistoryError::Genesis { reason };
        let network = genesis.network_id();
        let committee = Committee::from_bytes(genesis.consensus.bytes()).map_err(|e| bad(e.to_string()))?;
        let identity = committee.identity().map_err(|e| bad(e.to_string()))?;
        let point = identity.point().map_err(|e| bad(e.to_string()))?;
        let empty = <Databases<E> as DatabaseSet<E>>::initial_sync_targets();
        let config = stores::state("replay", &stores::cache());
        Ok(Self {
            network,
            genesis: genesis_block(network, genesis.time_ms, &empty).header().clone(),
            epoch_blocks: genesis.params.base.epoch_blocks.max(1),
            cells: genesis.cells().into_iter().collect(),
            light: LightClient::new(network, &identity).map_err(|e| bad(e.to_string()))?,
            scheme: Scheme::certificate_verifier(&consensus_namespace(&network), point),
            store: <Databases<E> as DatabaseSet<E>>::init(context, config, None).await,
            state: MemState::new(genesis),
            last: None,
            certified: 0,
            progress: Progress::default(),
        })
    }
    /// What was done so far.
    pub(crate) fn progress(&self) -> Progress {
        self.progress
    }
    /// Check the next block and execute it.
    pub(crate) async fn step(&mut self, next: &FinalBlock) -> Result<(), HistoryError> {
        let (block, height) = (&next.block, self.progress.height + 1);
        let header = block.header();
        self.check_header(header)?;
        if let Some(certificate) = &next.certificate {
            compare(height, "a certificate of block", header.digest(), certificate.header.digest())?;
            self.light
                .verify_header(certificate)
                .map_err(|cause| HistoryError::Certificate { height, cause })?;
            self.certified = height;
            self.progress.certificates += 1;
        }
        let batch = <Databases<E> as DatabaseSet<E>>::new_batches(&self.store).await;
        let failed = |reason: String| HistoryError::Store { reason };
        let executed = execute(
            header.execution(),
            &self.cells,
            &Speculative::<E>(&batch),
            &crate::verified::Verified::default(),
            block.txs().to_vec(),
        )
        .await
        .map_err(|_| failed("a cell cannot be read".into()))?;
        if let Some((tx, receipt)) = executed.refused.first() {
            let reason = receipt.error.as_ref().map_or_else(String::new, ToString::to_string);
            return Err(HistoryError::Transaction { height, tx: tx.id(), reason });
        }
        outcome(height, "the event root", event_root(&executed.events), header.event_root)?;
        let written = executed.writes.iter().fold(batch, |batch, (key, cell)| {
            batch.write(commonware_cryptography::blake3::Digest(key.0), *cell)
        });
        let sealed = written.merkleize().await.map_err(|error| failed(error.to_string()))?;
        outcome(height, "the state root", Hash(sealed.root().0), header.state_root)?;
        outcome(height, "the root of state changes", Hash(sealed.ops_root().0), header.ops_root)?;
        let (start, end) = (sealed.sync_boundary().as_u64(), sealed.bounds().tip.size.as_u64());
        compare(height, "the first needed state change", start, header.ops_start)?;
        compare(height, "the number of state changes", end, header.ops_end)?;
        <Databases<E> as DatabaseSet<E>>::apply(&self.store, sealed).await;
        if height % SYNC_EVERY == 0
            && !<Databases<E> as DatabaseSet<E>>::finalize(&self.store).await.durable().await
        {
            return Err(failed("the store was closed".into()));
        }
        self.keep(&executed);
        self.progress.height = height;
        self.progress.transactions += executed.txs.len() as u64;
        self.progress.events += executed.events.len() as u64;
        self.last = Some(header.clone());
        if height % self.epoch_blocks == 0 {
            self.check_invariants()?;
        }
        Ok(())
    }
    fn keep(&mut self, executed: &Executed) {
        for (key, cell) in &executed.writes {
            match cell {
                Some(cell) => self.state.0.insert(*key, *cell),
                None => self.state.0.remove(key),
            };
        }
    }
    fn check_invariants(&mut self) -> Result<(), HistoryError> {
        let height = self.progress.height;
        self.progress.checks += 1;
        invariants::check(&self.state).map_err(|violation| HistoryError::Invariant { height, violation })
    }
    fn check_header(&self, header: &Header) -> Result<(), HistoryError> {
        let height = self.progress.height + 1;
        compare(height, "network", self.network, header.network)?;
        compare(height, "height", height, header.height)?;
        let before = self.last.as_ref().unwrap_or(&self.genesis);
        compare(height, "parent", before.digest(), header.parent)?;
        compare(height, "the parent's view", before.view, header.parent_view)?;
        if header.time_ms <= before.time_ms {
            let (expected, got) = (format!("after {} ms", before.time_ms), format!("{} ms", header.time_ms));
            return Err(HistoryError::Header { height, what: "a time", expected, got });
        }
        let seed = match &header.seed {
            None => height == 1,
            Some(seed) => height > 1 && seed_holds(&self.scheme, header.seed_round(), seed),
        };
        if !seed {
            let (expected, got) = ("of the parent's round".to_string(), "another".to_string());
            return Err(HistoryError::Header { height, what: "the seed", expected, got });
        }
        Ok(())
    }
    /// Check what can only be checked at the end.
    pub(crate) fn end(mut self) -> Result<Verified, HistoryError> {
        let height = self.progress.height;
        self.check_invariants()?;
        let Some(last) = self.last else {
            return Err(HistoryError::Missing { height: 1, oldest: "it has no block at all".into() });
        };
        if self.certified < height {
            return Err(HistoryError::Uncertified { height, certified: self.certified });
        }
        Ok(Verified { progress: self.progress, last, cells: self.state.0.len() as u64 })
    }
}

fn compare<T: PartialEq + ToString>(
    height: u64,
    what: &'static str,
    expected: T,
    got: T,
) -> Result<(), HistoryError> {
    match expected == got {
        true => Ok(()),
        false => {
            Err(HistoryError::Header { height, what, expected: expected.to_string(), got: got.to_string() })
        }
    }
}

fn outcome(height: u64, what: &'static str, expected: Hash, got: Hash) -> Result<(), HistoryError> {
    if expected == got { Ok(()) } else { Err(HistoryError::Outcome { height, what, expected, got }) }
}

/// Where to put blocks.
pub type BlockSender = mpsc::Sender<Result<FinalBlock, HistoryError>>;
/// Where they come out.
pub type BlockReceiver = mpsc::Receiver<Result<FinalBlock, HistoryError>>;

/// A bounded feed of blocks, for [`verify`].
pub fn feed() -> (BlockSender, BlockReceiver) {
    mpsc::channel(WAITING)
}

/// Execute the blocks that come through `blocks` (from height 1 on, until it closes), with a store in the folder
/// `scratch`, which must be empty and is not removed. Blocks the thread: call it outside of an asynchronous task.
pub fn verify(
    genesis: &Genesis,
    scratch: &Path,
    mut blocks: BlockReceiver,
    mut tell: impl FnMut(Progress),
) -> Result<Verified, HistoryError> {
    fs::create_dir_all(scratch)
        .map_err(|cause| HistoryError::Folder { folder: scratch.to_path_buf(), cause })?;
    let config = engine_runtime::Config::new().with_worker_threads(2).with_storage_directory(scratch);
    engine_runtime::Runner::new(config).start(|context| async move {
        let mut replay = Replay::begin(context.child("replay"), genesis).await?;
        while let Some(next) = blocks.recv().await {
            replay.step(&next?).await?;
            tell(replay.progress());
        }
        replay.end()
    })
}

/// Read the blocks 1 to `last` (all where `None`) in a stopped validator's folder into `feed`, until it closes.
/// Blocks the thread.
pub fn read_folder(folder: &Path, last: Option<u64>, feed: &BlockSender) -> Result<(), HistoryError> {
    let _lock = hold(folder)?;
    let config =
        engine_runtime::Config::new().with_worker_threads(1).with_storage_directory(folder.join("store"));
    engine_runtime::Runner::new(config).start(|context| async move {
        let failed =
            |error: commonware_storage::archive::Error| HistoryError::Store { reason: error.to_string() };
        let cache = stores::cache();
        let place = |kind| stores::archive(NAME, kind, &cache);
        let blocks = Blocks::init(context.child("blocks"), place("blocks")).await.map_err(failed)?;
        let certificates = Finalizations::init(context.child("finalizations"), place("finalizations"))
            .await
            .map_err(failed)?;
        let end = blocks.last_index().unwrap_or(0).min(last.unwrap_or(u64::MAX));
        // Marshal keeps final blocks only, but the last ones may have no certificate yet.
        let mut tail = end;
        while tail > 0 && !certificates.has(Identifier::Index(tail)).await.map_err(failed)? {
            tail -= 1;
        }
        for height in 1..=tail {
            let block = blocks.get(Identifier::Index(height)).await.map_err(failed)?;
            let certificate = certificates.get(Identifier::Index(height)).await.map_err(failed)?;
            let next = match block {
                Some(block) => {
                    let header = block.header().clone();
                    let certificate = certificate.map(|certificate| CertifiedHeader {
                        header,
                        links: List::default(),
                        certificate,
                    });
                    Ok(FinalBlock { block: Block::clone(&block), certificate })
                }
                None => {
                    let oldest = blocks.first_index().map_or_else(
                        || "it has no block at all".to_string(),
                        |first| format!("its oldest is block {first}"),
                    );
                    Err(HistoryError::Missing { height, oldest })
                }
            };
            let stop = next.is_err();
            if feed.send(next).await.is_err() || stop {
                break;
            }
        }
        Ok(())
    })
}

/// Take the folder of a validator that does not run.
pub(crate) fn hold(folder: &Path) -> Result<fs::File, HistoryError> {
    let failed = |cause| HistoryError::Folder { folder: folder.to_path_buf(), cause };
    let lock = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(folder.join("lock"))
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(HistoryError::InUse { folder: folder.to_path_buf() }),
        Err(fs::TryLockError::Error(cause)) => Err(failed(cause)),
    }
}
