//! Read and write the parts of a snapshot file, each checked before it is used.

use super::{BATCH, Head, MAX_CHANGES, MAX_PART, PART_SUM, SnapshotError, failed, requests};
use crate::{application::State, committee::Committee};
use commonware_cryptography::blake3::{Blake3, Digest};
use commonware_runtime::tokio as engine_runtime;
use commonware_storage::{
    mmr,
    qmdb::{
        self,
        any::ordered::fixed::Operation,
        sync::{Request, Response, source},
    },
};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use tessera_canon::{bytes::Bytes, codec::Decode as _, decode, digest_parts};
use tessera_chain::{BlockDigest, Header, LightClient};
use tessera_ledger::{Cell, Genesis};

const MAGIC: &[u8; 20] = b"tessera/snapshot/v1\n";
const SUM: usize = 32;

/// The state's store under the real runtime.
pub(super) type Store = State<engine_runtime::Context>;
/// One entry of the log of state changes.
pub(super) type Change = Operation<mmr::Family, BlockDigest, Cell>;
/// A batch of them with its proof.
type Answer = Response<mmr::Family, Change, Digest>;

/// A file being written.
pub(super) struct Writer {
    file: BufWriter<fs::File>,
    path: PathBuf,
    sum: [u8; SUM],
}

impl Writer {
    /// Begin a file.
    pub(super) fn create(path: &Path) -> Result<Self, SnapshotError> {
        let failed = |cause| SnapshotError::File { path: path.to_path_buf(), cause };
        let mut file = BufWriter::new(fs::File::create(path).map_err(failed)?);
        file.write_all(MAGIC).map_err(failed)?;
        Ok(Self { file, path: path.to_path_buf(), sum: [0; SUM] })
    }
    /// Add a part.
    pub(super) fn part(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
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
    pub(super) fn finish(mut self, path: &Path) -> Result<(), SnapshotError> {
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

/// A file being read, part by part.
pub(super) struct Reader {
    file: BufReader<fs::File>,
    path: PathBuf,
    sum: [u8; SUM],
    part: u64,
    at: u64,
}

impl Reader {
    /// Open a file that begins as a snapshot does.
    pub(super) fn open(path: &Path) -> Result<Self, SnapshotError> {
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
    pub(super) fn head(&mut self, genesis: &Genesis) -> Result<Head, SnapshotError> {
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
    pub(super) fn changes(
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
    pub(super) fn end(mut self) -> Result<u64, SnapshotError> {
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
pub(super) struct FileSource {
    reader: Arc<Mutex<fs::File>>,
    /// Where the answer to each request begins, and its length.
    places: BTreeMap<Request<mmr::Family>, (u64, usize)>,
}

/// A request that the file does not answer, or a file that changed under way.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot does not answer {0}")]
pub(super) struct NotThere(String);

impl FileSource {
    /// The head of the file at `path`, and the answers in the rest of it.
    pub(super) fn open(path: &Path, genesis: &Genesis) -> Result<(Head, Self), SnapshotError> {
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
