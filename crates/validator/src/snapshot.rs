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

use crate::{
    application::State,
    committee::{Committee, CommitteeError},
    history::{HistoryError, hold},
    stores::{self, Blocks, Finalizations, NAME},
};
use commonware_consensus::marshal::standard::Standard;
use commonware_cryptography::blake3::{Blake3, Digest};
use commonware_glue::stateful::SyncPlan;
use commonware_runtime::{Runner as _, Supervisor as _, tokio as engine_runtime};
use commonware_storage::{
    archive::{Archive as _, Identifier},
    mmr::{self, Location},
    qmdb::{
        self,
        any::ordered::fixed::Operation,
        sync::{self, Request, Response, Source as _, source},
    },
};
use commonware_utils::{NZU64, NZUsize, range::NonEmptyRange};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _},
    num::NonZeroU64,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tessera_canon::{Domain, Hash, bytes::Bytes, codec::Decode as _, decode, digest_parts, encode, record};
use tessera_chain::{Block, BlockDigest, CertifiedHeader, Header, LightClient, Scheme, VerifyError};
use tessera_ledger::{Cell, Genesis, MemState, invariants};

const PART_SUM: Domain = Domain::new("tessera/snapshot-part/v1");
const MAGIC: &[u8; 20] = b"tessera/snapshot/v1\n";
/// State changes in one part.
const BATCH: NonZeroU64 = NZU64!(256);
/// Most bytes of one part: a block with its certificate, or a batch with its proof.
const MAX_PART: usize = 1 << 20;
/// Most state changes in one snapshot.
const MAX_CHANGES: u64 = 1 << 32;
const SUM: usize = 32;

/// The state's store under the real runtime.
type Store = State<engine_runtime::Context>;
type Change = Operation<mmr::Family, BlockDigest, Cell>;
type Answer = Response<mmr::Family, Change, Digest>;

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
                writer.part(&tessera_canon::codec::Encode::encode(&answer))?;
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

struct Writer {
    file: BufWriter<fs::File>,
    path: PathBuf,
    sum: [u8; SUM],
}

impl Writer {
    fn create(path: &Path) -> Result<Self, SnapshotError> {
        let failed = |cause| SnapshotError::File { path: path.to_path_buf(), cause };
        let mut file = BufWriter::new(fs::File::create(path).map_err(failed)?);
        file.write_all(MAGIC).map_err(failed)?;
        Ok(Self { file, path: path.to_path_buf(), sum: [0; SUM] })
    }
    fn part(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        let failed = |cause| SnapshotError::File { path: self.path.clone(), cause };
        if bytes.len() > MAX_PART {
            return Err(failed(io::Error::other(format!(
                "a part of {} bytes, at most {MAX_PART} fit",
                bytes.len()
            ))));
        }
        let length = (bytes.len() as u32).to_be_bytes();
        self.sum = digest_parts(PART_SUM, [&self.sum[..], bytes]).0;
        for bytes in [&length[..], bytes, &self.sum] {
            self.file.write_all(bytes).map_err(failed)?;
        }
        Ok(())
    }
    /// Write the last part, and give the file its name.
    fn finish(mut self, path: &Path) -> Result<(), SnapshotError> {
        self.part(&[])?;
        let failed = |cause| SnapshotError::File { path: path.to_path_buf(), cause };
        let file = self.file.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        if path.exists() {
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, "it exists")));
        }
        fs::rename(&self.path, path).map_err(failed)
    }
}

struct Reader {
    file: BufReader<fs::File>,
    path: PathBuf,
    sum: [u8; SUM],
    part: u64,
    at: u64,
}

impl Reader {
    fn open(path: &Path) -> Result<Self, SnapshotError> {
        let failed = |cause| SnapshotError::File { path: path.to_path_buf(), cause };
        let mut file = BufReader::new(fs::File::open(path).map_err(failed)?);
        let mut magic = [0; MAGIC.len()];
        if file.read_exact(&mut magic).is_err() || magic != *MAGIC {
            return Err(SnapshotError::NotASnapshot { path: path.to_path_buf() });
        }
        Ok(Self { file, path: path.to_path_buf(), sum: [0; SUM], part: 0, at: MAGIC.len() as u64 })
    }
    fn damaged(&self, expected: impl ToString, got: impl ToString) -> SnapshotError {
        let (expected, got) = (expected.to_string(), got.to_string());
        SnapshotError::Damaged { path: self.path.clone(), part: self.part, at: self.at, expected, got }
    }
    /// The next part; its length is checked before memory is taken for it.
    fn part(&mut self) -> Result<Bytes, SnapshotError> {
        let mut length = [0; 4];
        self.file.read_exact(&mut length).map_err(|_| self.damaged("another part", "the end of the file"))?;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_PART {
            return Err(self.damaged(format!("a part of at most {MAX_PART} bytes"), length));
        }
        let mut bytes = vec![0; length + SUM];
        self.file
            .read_exact(&mut bytes)
            .map_err(|_| self.damaged(format!("a part of {length} bytes"), "the end of the file"))?;
        let sum = bytes.split_off(length);
        let expected = digest_parts(PART_SUM, [&self.sum[..], &bytes]).0;
        if sum != expected {
            return Err(self.damaged("the checksum of these bytes", "another"));
        }
        self.sum = expected;
        self.part += 1;
        self.at += (4 + length + SUM) as u64;
        Ok(bytes.into())
    }
    /// The head, which must be certified by the committee of `genesis`.
    fn head(&mut self, genesis: &Genesis) -> Result<Head, SnapshotError> {
        let bytes = self.part()?;
        let head: Head = decode(&bytes).map_err(|error| self.damaged("a head", error))?;
        let (path, expected) = (self.path.clone(), genesis.network_id());
        if head.network != expected {
            return Err(SnapshotError::OtherNetwork { path, expected, got: head.network });
        }
        let committee = Committee::from_bytes(genesis.consensus.bytes())?;
        let identity = committee.identity()?;
        let light = LightClient::new(expected, &identity).map_err(failed)?;
        light.verify_header(&head.certificate).map_err(|cause| SnapshotError::Certificate { path, cause })?;
        let header = head.block.header();
        if head.certificate.header != *header || !head.certificate.links.is_empty() {
            return Err(self.damaged("a certificate of the block itself", "one of another block"));
        }
        if header.ops_end - header.ops_start > MAX_CHANGES {
            return Err(self.damaged(format!("at most {MAX_CHANGES} state changes"), header.ops_end));
        }
        Ok(head)
    }
    /// The answer to `request` in the next part, proved.
    fn changes(
        &mut self,
        header: &Header,
        request: Request<mmr::Family>,
    ) -> Result<Vec<Change>, SnapshotError> {
        let bytes = self.part()?;
        let answer =
            answer(bytes).map_err(|reason| self.damaged("state changes with their proof", reason))?;
        let (root, from) = (Digest(header.ops_root.0), request.start());
        let to = from.as_u64() + request.max_ops().get() - 1;
        let unproved = || SnapshotError::Unproved {
            path: self.path.clone(),
            from: from.as_u64(),
            to,
            root: header.ops_root,
        };
        let of_this_size = answer.proof().leaves == request.size();
        match (&request, answer) {
            (Request::Operations { max_ops, .. }, Response::Operations { proof, operations })
                if of_this_size
                    && operations.len() as u64 == max_ops.get()
                    && qmdb::verify_proof::<Blake3, _, _>(&proof, from, &operations, &root) =>
            {
                Ok(operations)
            }
            (Request::Boundary { .. }, Response::Boundary { proof, op, pinned_nodes })
                if of_this_size
                    && qmdb::verify_proof_and_pinned_nodes::<Blake3, _, _>(
                        &proof,
                        from,
                        std::slice::from_ref(&op),
                        &pinned_nodes,
                        &root,
                    ) =>
            {
                Ok(vec![op])
            }
            _ => Err(unproved()),
        }
    }
    /// The file must end here; returns its length.
    fn end(mut self) -> Result<u64, SnapshotError> {
        if !self.part()?.is_empty() {
            return Err(self.damaged("the last part", "one more"));
        }
        let mut more = [0; 1];
        match self.file.read(&mut more) {
            Ok(0) => Ok(self.at),
            _ => Err(self.damaged("the end of the file", "more bytes")),
        }
    }
}

fn answer(bytes: Bytes) -> Result<Answer, String> {
    Answer::decode_cfg(bytes, &(BATCH.get() as usize, ())).map_err(|error| error.to_string())
}

/// Answers state sync from a file.
struct FileSource {
    reader: Arc<Mutex<fs::File>>,
    /// Where the answer to each request begins, and its length.
    places: BTreeMap<Request<mmr::Family>, (u64, usize)>,
}

/// A request that the file does not answer, or a file that changed under way.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot does not answer {0}")]
struct NotThere(String);

impl FileSource {
    fn open(path: &Path, genesis: &Genesis) -> Result<(Head, Self), SnapshotError> {
        let mut reader = Reader::open(path)?;
        let head = reader.head(genesis)?;
        let mut places = BTreeMap::new();
        for request in requests(head.block.header()) {
            let at = reader.at + 4;
            let length = reader.part()?.len();
            places.insert(request, (at, length));
        }
        let file =
            fs::File::open(path).map_err(|cause| SnapshotError::File { path: path.to_path_buf(), cause })?;
        Ok((head, Self { reader: Arc::new(Mutex::new(file)), places }))
    }
    fn read(&self, request: &Request<mmr::Family>) -> Option<Answer> {
        let (at, length) = *self.places.get(request)?;
        let mut file = self.reader.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut bytes = vec![0; length];
        file.seek(io::SeekFrom::Start(at)).ok()?;
        file.read_exact(&mut bytes).ok()?;
        answer(bytes.into()).ok()
    }
}

impl source::Source for FileSource {
    type Family = mmr::Family;
    type Digest = Digest;
    type Op = Change;
    type Error = NotThere;

    async fn serve(&self, request: Request<mmr::Family>) -> source::Result<Self> {
        let answer = self.read(&request).ok_or_else(|| NotThere(request.to_string()))?;
        Ok((answer, None))
    }
}
