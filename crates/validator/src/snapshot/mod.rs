//! Write a validator's state to a file, and make a validator's folder from one, believing only the committee's key.
//!
//! ```text
//! magic  part(head)  part(boundary)?  part(changes)...  part(nothing)
//! part = length (4 bytes, big-endian) | bytes | checksum of these bytes and of the checksum before
//! ```
//! The head holds a final block with its certificate. Its header binds the log of state changes (`ops_root`, from
//! `ops_start` to `ops_end`), of which the parts after it carry every entry that a new validator needs, in batches,
//! each with its proof against that root: what state sync downloads, in the order in which it asks. So the file is
//! checked part by part, in bounded memory, and nothing of it is used before its proof holds.
//!
//! A snapshot holds no votes and no blocks but one. Who starts from it begins at its height and takes the blocks since
//! then from the others.

mod file;

use crate::{
    committee::CommitteeError,
    history::{HistoryError, hold},
    stores::{self, Blocks, Finalizations, NAME},
};
use commonware_consensus::marshal::standard::Standard;
use commonware_cryptography::blake3::Digest;
use commonware_glue::stateful::SyncPlan;
use commonware_runtime::{Runner as _, Supervisor as _, tokio as engine_runtime};
use commonware_storage::{
    archive::{Archive as _, Identifier},
    mmr::{self, Location},
    qmdb::{
        any::ordered::fixed::Operation,
        sync::{self, Request, Source as _},
    },
};
use commonware_utils::{NZU64, NZUsize, range::NonEmptyRange};
use file::{FileSource, Reader, Store, Writer};
use std::{
    fs, io,
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::Arc,
};
use tessera_canon::{Domain, Hash, codec::Encode as _, encode, record};
use tessera_chain::{Block, CertifiedHeader, Header, Scheme, VerifyError};
use tessera_ledger::{Genesis, MemState, invariants};

const PART_SUM: Domain = Domain::new("tessera/snapshot-part/v1");
/// State changes in one part.
const BATCH: NonZeroU64 = NZU64!(256);
/// Most bytes of one part: a block with its certificate, or a batch with its proof.
const MAX_PART: usize = 1 << 20;
/// Most state changes in one snapshot.
const MAX_CHANGES: u64 = 1 << 32;

/// Why a snapshot was not written, or is not to be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file cannot be used.
    #[error("cannot use the file {}: {cause}; give access, make room, or choose another", path.display())]
    File { path: PathBuf, cause: io::Error },
    /// It is not a snapshot, or of another version.
    #[error("{}: expected a snapshot, which begins with \"tessera/snapshot/v1\", got something else", path.display())]
    NotASnapshot { path: PathBuf },
    /// It ends early, or bytes changed.
    #[error(
        "{}: part {part}, at byte {at}, is damaged: expected {expected}, got {got}; get the file again",
        path.display()
    )]
    Damaged { path: PathBuf, part: u64, at: u64, expected: String, got: String },
    /// It is of another network.
    #[error("{}: expected a snapshot of network {expected}, got one of {got}", path.display())]
    OtherNetwork { path: PathBuf, expected: Hash, got: Hash },
    /// Its certificate does not hold.
    #[error("{}: the committee did not sign its header: {cause}; do not trust where it came from", path.display())]
    Certificate { path: PathBuf, cause: VerifyError },
    /// State changes do not follow from the header.
    #[error(
        "{}: state changes {from} to {to} do not follow from the certified root {root}; do not trust where it came from",
        path.display()
    )]
    Unproved { path: PathBuf, from: u64, to: u64, root: Hash },
    /// The state that it gives breaks an invariant.
    #[error("{}: {violation}; the validators that signed it are wrong", path.display())]
    Invariant { path: PathBuf, violation: invariants::Violation },
    /// The last block has no certificate of its own.
    #[error(
        "expected a certificate for block {height}, the last one that was applied, got none: start the validator, \
         stop it a moment later, and save again"
    )]
    Uncertified { height: u64 },
    /// There is no state yet.
    #[error("expected a state in {}, got an empty store; start the validator first", folder.display())]
    Empty { folder: PathBuf },
    /// The folder has a ledger already.
    #[error(
        "expected no ledger in {}, got one; restore into a new folder, or move this one away (its votes are in it: never \
         start two copies)",
        folder.display()
    )]
    NotEmpty { folder: PathBuf },
    /// A folder cannot be used.
    #[error(transparent)]
    Folder(#[from] HistoryError),
    /// The genesis has no usable committee.
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    /// A store failed.
    #[error("a store failed: {reason}")]
    Store { reason: String },
}

record! {
    /// What a snapshot is of.
    struct Head {
        network: Hash,
        /// The block after which the state is.
        block: Block,
        certificate: CertifiedHeader,
    }
}

/// A snapshot that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Header of the block after which the state is.
    pub header: Header,
    /// State changes in the file.
    pub changes: u64,
    /// Cells that they give.
    pub cells: u64,
    /// Length of the file.
    pub bytes: u64,
    /// The state.
    pub state: MemState,
}

impl Snapshot {
    /// Write the state of the stopped validator in `folder` to `path`, which must not exist.
    pub fn save(folder: &Path, genesis: &Genesis, path: &Path) -> Result<Self, SnapshotError> {
        let _lock = hold(folder)?;
        let store = folder.join("store");
        run(&store, |context| async move {
            let cache = stores::cache();
            let place = |kind| stores::archive(NAME, kind, &cache);
            let blocks = Blocks::init(context.child("blocks"), place("blocks")).await.map_err(failed)?;
            let certificates = Finalizations::init(context.child("finalizations"), place("finalizations"))
                .await
                .map_err(failed)?;
            let db = Store::init(context.child("state"), stores::state(NAME, &cache), None)
                .await
                .map_err(failed)?;
            let root = Hash(db.root().0);
            // The state is that of one of the last blocks.
            let mut height = blocks.last_index().unwrap_or(0);
            let block = loop {
                if height == 0 {
                    return Err(SnapshotError::Empty { folder: folder.to_path_buf() });
                }
                let block: Option<Arc<Block>> =
                    blocks.get(Identifier::Index(height)).await.map_err(failed)?;
                match block {
                    Some(block) if block.header().state_root == root => break block,
                    _ => height -= 1,
                }
            };
            let certificate = certificates
                .get(Identifier::Index(height))
                .await
                .map_err(failed)?
                .ok_or(SnapshotError::Uncertified { height })?;
            let header = block.header().clone();
            let certificate =
                CertifiedHeader { header: header.clone(), links: Default::default(), certificate };
            let head = Head { network: genesis.network_id(), block: Block::clone(&block), certificate };
            let fresh = path.with_extension("part");
            let mut writer = Writer::create(&fresh)?;
            writer.part(&encode(&head))?;
            let shared = commonware_glue::stateful::db::Shared::new("snapshot", db);
            for request in requests(&header) {
                let (answer, _) = shared.serve(request).await.map_err(|error| failed(format!("{error}")))?;
                writer.part(&answer.encode())?;
            }
            writer.finish(path)
        })?;
        Self::read(path, genesis)
    }

    /// Read and check the file at `path` against the committee of `genesis`.
    pub fn read(path: &Path, genesis: &Genesis) -> Result<Self, SnapshotError> {
        let mut reader = Reader::open(path)?;
        let head = reader.head(genesis)?;
        let header = head.block.header();
        let mut state = MemState::default();
        let mut changes = 0;
        for request in requests(header) {
            for change in reader.changes(header, request)? {
                changes += 1;
                match change {
                    Operation::Update(update) => drop(state.0.insert(Hash(update.key.0), update.value)),
                    Operation::Delete(key) => drop(state.0.remove(&Hash(key.0))),
                    Operation::CommitFloor(..) => {}
                }
            }
        }
        let bytes = reader.end()?;
        invariants::check(&state)
            .map_err(|violation| SnapshotError::Invariant { path: path.to_path_buf(), violation })?;
        let cells = state.0.len() as u64;
        Ok(Self { header: header.clone(), changes, cells, bytes, state })
    }

    /// Make the ledger of a new validator in `folder` from the file at `path`, checked before anything is written.
    pub fn restore(path: &Path, genesis: &Genesis, folder: &Path) -> Result<Self, SnapshotError> {
        let snapshot = Self::read(path, genesis)?;
        let file = |cause| SnapshotError::File { path: folder.to_path_buf(), cause };
        fs::create_dir_all(folder.join("store")).map_err(file)?;
        let _lock = hold(folder)?;
        let store = folder.join("store");
        if fs::read_dir(&store).map_err(file)?.next().is_some() {
            return Err(SnapshotError::NotEmpty { folder: folder.to_path_buf() });
        }
        let (head, source) = FileSource::open(path, genesis)?;
        run(&store, |context| async move {
            let cache = stores::cache();
            let header = head.block.header().clone();
            let range = Location::new(header.ops_start)..Location::new(header.ops_end);
            let range = NonEmptyRange::new(range).map_err(|_| failed("a block with an empty range"))?;
            let db: Store = sync::sync(sync::engine::Config {
                context: context.child("state"),
                source,
                target: sync::Target::new(Digest(header.ops_root.0), range),
                max_outstanding_requests: NZUsize!(1),
                fetch_batch_size: BATCH,
                apply_batch_size: NZU64!(1024),
                db_config: stores::state(NAME, &cache),
                update_rx: None,
                finish_rx: None,
                reached_target_tx: None,
            })
            .await
            .map_err(|error| failed(format!("{error:?}")))?;
            let got = Hash(db.root().0);
            if got != header.state_root {
                let (expected, got) = (header.state_root, got);
                return Err(failed(format!("the rebuilt state has root {got}, expected {expected}")));
            }
            drop(db.sync().await.map_err(failed)?);
            let place = |kind| stores::archive(NAME, kind, &cache);
            let digest = Digest(header.digest().0);
            let blocks = Blocks::init(context.child("blocks"), place("blocks")).await.map_err(failed)?;
            drop(
                blocks
                    .put_sync(header.height, digest, &Arc::new(head.block.clone()))
                    .await
                    .map_err(failed)?,
            );
            let certificates = Finalizations::init(context.child("finalizations"), place("finalizations"))
                .await
                .map_err(failed)?;
            let certificate = head.certificate.certificate;
            drop(certificates.put_sync(header.height, digest, &certificate).await.map_err(failed)?);
            let plan = SyncPlan::<_, Scheme, Standard<Block>>::init(context.child("plan"), NAME).await;
            drop(plan.set_floor(certificate).await);
            Ok(())
        })?;
        Ok(snapshot)
    }
}

fn failed(reason: impl ToString) -> SnapshotError {
    SnapshotError::Store { reason: reason.to_string() }
}

/// Run `work` in the engine's runtime over the stores in `store`.
fn run<T, F>(store: &Path, work: impl FnOnce(engine_runtime::Context) -> F) -> Result<T, SnapshotError>
where
    F: Future<Output = Result<T, SnapshotError>>,
{
    let config = engine_runtime::Config::new().with_worker_threads(1).with_storage_directory(store);
    engine_runtime::Runner::new(config).start(work)
}

/// What state sync asks for, one after the other, to reach the state of `header`.
fn requests(header: &Header) -> impl Iterator<Item = Request<mmr::Family>> {
    let (start, end) = (header.ops_start, header.ops_end);
    let size = Location::new(end);
    let boundary = (start > 0).then(|| Request::Boundary { size, start: Location::new(start) });
    // The boundary brings its own entry.
    let first = start + u64::from(start > 0);
    let batches = (first..end).step_by(BATCH.get() as usize).filter_map(move |from| {
        let max_ops = NonZeroU64::new((end - from).min(BATCH.get()))?;
        Some(Request::Operations { size, start: Location::new(from), max_ops })
    });
    boundary.into_iter().chain(batches)
}
