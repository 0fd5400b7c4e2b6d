//! Grow a state as large as asked, in a validator's own store, and take the time of every block on it.
//!
//! For measurements only: no consensus, no network, no ledger rules. Blocks write what transfers and reshaped
//! notes would write, in random places, through the same batches, store and settings that a validator uses, so
//! the times of the root and the memory are a validator's. The proofs are real and are checked by a light
//! client against a header that a committee of four signed.

use crate::{
    application::Databases,
    committee::{Committee, deal},
    desk::prove_all,
    stores,
};
use commonware_consensus::simplex::types::Finalize;
use commonware_cryptography::blake3;
use commonware_glue::stateful::db::{DatabaseSet as _, Merkleized as _, Unmerkleized as _};
use commonware_parallel::Sequential;
use commonware_runtime::{Runner as _, Supervisor as _, tokio as engine_runtime};
use commonware_utils::iter::NonEmpty;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tessera_canon::{
    Domain, Hash, List, PublicKey, SecretKey, codec::EncodeSize as _, decode, digest, encode,
};
use tessera_chain::{
    CertifiedHeader, Finalization, Group, Header, Identity, KeyProof, LightClient, ProvedEntry,
    SIGNATURE_BYTES, Seed, StateProof, event_root, member_key, tx_root,
};
use tessera_ledger::{
    Cell, Key, keys,
    record::{Account, Globals, Note, NoteState},
};

const PLACE: Domain = Domain::new("tessera/measure/place/v1");
/// Cells that one block writes while the state grows.
const GROWTH: u64 = 20_000;
/// Members of the committee that signs the measured header.
const MEMBERS: u8 = 4;
/// Accounts that are there and as many that are not whose proofs are measured.
const PROOFS: u64 = 101;

/// How large a state, and what is done to it.
#[derive(Clone, Debug)]
pub struct StateLoad {
    /// Where it lies.
    pub folder: PathBuf,
    /// Accounts in it.
    pub accounts: u64,
    /// Unspent notes in it.
    pub notes: u64,
    /// Blocks to time.
    pub blocks: u64,
    /// Transfers in each of them, between random accounts.
    pub transfers: u64,
    /// Notes that each of them spends, and as many that it makes.
    pub reshaped: u64,
}

/// What one block took.
#[derive(Clone, Copy, Debug)]
pub struct BlockTime {
    /// Reading every cell that it changes.
    pub read: Duration,
    /// From the changed cells to the new root.
    pub root: Duration,
    /// Making the new state the current one.
    pub apply: Duration,
    /// Until the disk has it; later blocks do not wait for that.
    pub durable: Duration,
    /// Cells that it changed.
    pub writes: u64,
}

/// Sizes and times of proofs of one cell each: those of the proof that half of them are no longer than.
#[derive(Clone, Copy, Debug)]
pub struct ProofSize {
    /// Everything that a light client is sent.
    pub bytes: usize,
    /// The same of the longest.
    pub most: usize,
    /// What is shown of the header.
    pub header: usize,
    /// The committee's signature.
    pub certificate: usize,
    /// The cell; of an absent one the neighbour's, with its key.
    pub cell: usize,
    /// The path from the cell to the root.
    pub path: usize,
    /// Checking all of it, median of all.
    pub check: Duration,
}

/// What [`time_blocks`] saw.
#[derive(Clone, Debug)]
pub struct StateTimes {
    /// Opening the store.
    pub open: Duration,
    /// Every block.
    pub blocks: Vec<BlockTime>,
    /// Accounts that exist.
    pub present: ProofSize,
    /// Accounts that do not.
    pub absent: ProofSize,
}

/// Why a state could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The store failed.
    #[error("the state in {} failed: {reason}; is the disk full?", folder.display())]
    Store { folder: PathBuf, reason: String },
    /// Something that was just made does not hold.
    #[error("the measured proof does not hold: {reason}; the measurement is wrong, not the machine")]
    Proof { reason: String },
}

fn place(kind: u8, index: u64) -> Hash {
    digest(PLACE, &(kind, index))
}
fn account_key(index: u64) -> PublicKey {
    PublicKey(place(0, index).0)
}
fn account(index: u64, nonce: u64) -> (Key, Option<Cell>) {
    let key = account_key(index);
    let balance = 1 << 40 | u128::from(place(6, index).low_u64() >> 24);
    (keys::account(&key), Some(Cell::pack(&Account { balance, nonce, ..Account::new(key) }.into())))
}
fn note(index: u64, kept: bool) -> (Key, Option<Cell>) {
    let (id, run, owner) = (place(1, index), place(2, 0), place(3, index));
    let record = Note {
        id,
        run,
        series: 0,
        cu: 100,
        flags: 0,
        owner,
        state: NoteState::Unspent,
        bound_to: Hash::ZERO,
        until: 0,
    };
    (keys::note(&id), kept.then(|| Cell::pack(&record.into())))
}
/// The `draw`-th of a sequence that looks random, below `bound`.
fn random(draw: u64, bound: u64) -> u64 {
    place(4, draw).low_u64() % bound.max(1)
}

/// A runtime as a validator has it.
fn runner(folder: &Path) -> engine_runtime::Runner {
    let runtime = engine_runtime::Config::new()
        .with_worker_threads(2)
        .with_max_blocking_threads(16)
        .with_storage_directory(folder.to_path_buf());
    engine_runtime::Runner::new(runtime)
}

type Store = Databases<engine_runtime::Context>;

async fn open(context: &engine_runtime::Context) -> Store {
    Store::init(context.child("state"), stores::state("measured", &stores::cache()), None).await
}

/// Write `cells` as one block would; all times but that of the reads.
async fn write(
    store: &Store,
    folder: &Path,
    cells: Vec<(Key, Option<Cell>)>,
    look: bool,
) -> Result<BlockTime, MeasureError> {
    let failed = |reason: String| MeasureError::Store { folder: folder.to_path_buf(), reason };
    let mut batch = store.new_batches().await;
    let digests: Vec<_> = cells.iter().map(|(key, _)| blake3::Digest(key.0)).collect();
    let began = Instant::now();
    if look {
        batch.get_many(&digests.iter().collect::<Vec<_>>()).await.map_err(|e| failed(e.to_string()))?;
    }
    let read = began.elapsed();
    let (began, writes) = (Instant::now(), cells.len() as u64);
    for (key, cell) in cells {
        batch = batch.write(blake3::Digest(key.0), cell);
    }
    let sealed = batch.merkleize().await.map_err(|error| failed(error.to_string()))?;
    std::hint::black_box(sealed.root());
    let (root, began) = (began.elapsed(), Instant::now());
    store.apply(sealed).await;
    let (apply, began) = (began.elapsed(), Instant::now());
    if !store.finalize().await.durable().await {
        return Err(failed("the runtime ended".into()));
    }
    Ok(BlockTime { read, root, apply, durable: began.elapsed(), writes })
}

/// Make the state of `load` from nothing. `progress` is told how many cells there are.
pub fn grow_state(load: &StateLoad, mut progress: impl FnMut(u64)) -> Result<(), MeasureError> {
    runner(&load.folder).start(|context| async move {
        let (store, all) = (open(&context).await, load.accounts + load.notes);
        let globals = Globals { issued: u128::from(load.accounts) << 40, burned: 0, fund: 0 };
        write(&store, &load.folder, vec![(keys::globals(), Some(Cell::pack(&globals.into())))], false)
            .await?;
        for from in (0..all).step_by(GROWTH as usize) {
            let mut cells: Vec<_> = (from..all.min(from + GROWTH))
                .map(|at| if at < load.accounts { account(at, 0) } else { note(at - load.accounts, true) })
                .collect();
            cells.sort_by_key(|(key, _)| *key);
            write(&store, &load.folder, cells, false).await?;
            progress(all.min(from + GROWTH));
        }
        Ok(())
    })
}

/// Time `load`'s blocks on the state that [`grow_state`] made, and prove accounts of it one by one.
pub fn time_blocks(load: &StateLoad) -> Result<StateTimes, MeasureError> {
    runner(&load.folder).start(|context| async move {
        let began = Instant::now();
        let store = open(&context).await;
        let open = began.elapsed();
        let mut blocks = Vec::new();
        for block in 0..load.blocks {
            let draw = |at: u64| random(block << 20 | at, load.accounts);
            let mut cells: Vec<_> = (0..2 * load.transfers).map(|at| account(draw(at), block + 1)).collect();
            let globals = Globals { issued: u128::from(load.accounts) << 40, burned: block.into(), fund: 0 };
            cells.push((keys::globals(), Some(Cell::pack(&globals.into()))));
            let spent = block * load.reshaped..(block + 1) * load.reshaped;
            cells.extend(spent.clone().map(|at| note(at, false)));
            cells.extend(spent.map(|at| note(load.notes + at, true)));
            cells.sort_by_key(|(key, _)| *key);
            cells.dedup_by_key(|(key, _)| *key);
            blocks.push(write(&store, &load.folder, cells, true).await?);
        }
        let state = store.read().await;
        let (certified, client) =
            certify([Hash(state.root().0), Hash(state.ops_root().0)], state.bounds().end.as_u64())
                .map_err(|reason| MeasureError::Proof { reason })?;
        let measured = async |first: u64, bound: u64| {
            let mut proofs = Vec::new();
            for draw in 0..PROOFS {
                let key = keys::account(&account_key(first + random(7 << 40 | draw, bound)));
                let proved = prove_all(&state, &[key]).await;
                let (unfinished, found) =
                    proved.map_err(|error| MeasureError::Proof { reason: error.to_string() })?;
                proofs.push((key, unfinished, found));
            }
            measure_proofs(&certified, &client, proofs)
        };
        let present = measured(0, load.accounts).await?;
        let absent = measured(load.accounts, u64::MAX >> 1).await?;
        Ok(StateTimes { open, blocks, present, absent })
    })
}

/// A header with the roots of state and log, signed by a committee.
fn certify([root, log]: [Hash; 2], end: u64) -> Result<(CertifiedHeader, LightClient), String> {
    let network = place(5, 0);
    let members: Vec<SecretKey> = (1..=MEMBERS).map(|seed| SecretKey::from_seed([seed; 32])).collect();
    let public: Vec<PublicKey> = members.iter().map(SecretKey::public).collect();
    let (committee, shares): (Committee, _) = deal(&public, [9; 32]).map_err(|error| error.to_string())?;
    let schemes = shares.iter().map(|(member, share)| committee.signer(&network, member, share));
    let schemes: Vec<_> = schemes.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    let signed = |header: &Header| {
        let proposal = header.proposal();
        let votes: Option<Vec<_>> =
            schemes.iter().take(3).map(|scheme| Finalize::sign(scheme, proposal.clone())).collect();
        let votes = votes.ok_or("a member could not sign")?;
        let votes = NonEmpty::try_new(votes.iter()).ok_or("no votes")?;
        Finalization::from_finalizes(&schemes[0], votes, &Sequential).map_err(|_| "no quorum")
    };
    let mut header = Header {
        network,
        height: 10_000_000,
        parent: place(5, 1),
        view: 10_000_010,
        parent_view: 10_000_009,
        proposer: member_key(&tessera_chain::consensus_key(&public[0]).ok_or("a key is no point")?),
        time_ms: 1_800_000_000_000,
        state_root: root,
        ops_root: log,
        ops_start: 0,
        ops_end: end,
        tx_root: tx_root(&[]),
        event_root: event_root(&[]),
        seed: None,
    };
    // Any certificate carries a seed: that of this header's own round is as long as its parent's.
    let seed = signed(&header)?;
    let seed = seed.certificate.get().ok_or("a certificate without a seed")?;
    let mut signature = [0; tessera_chain::SEED_BYTES];
    signature.copy_from_slice(&encode(&seed.seed_signature));
    header.seed = Some(Seed { signature });
    let certificate = signed(&header)?;
    let identity: Identity = committee.identity().map_err(|error| error.to_string())?;
    let client = LightClient::new(network, &identity).map_err(|error| error.to_string())?;
    Ok((CertifiedHeader { header, links: List::default(), certificate }, client))
}

/// Sizes and times of proofs of one key each against the state of `certified`.
fn measure_proofs(
    certified: &CertifiedHeader,
    client: &LightClient,
    proofs: Vec<(Key, Group, Vec<KeyProof>)>,
) -> Result<ProofSize, MeasureError> {
    let wrong = |reason: String| MeasureError::Proof { reason };
    let (mut sizes, mut times) = (Vec::new(), Vec::new());
    for (key, unfinished, found) in proofs {
        let proof =
            StateProof::pack(certified, unfinished, &found).ok_or_else(|| wrong("it does not fit".into()))?;
        let bytes = encode(&proof);
        let began = Instant::now();
        let sent: StateProof = decode(&bytes).map_err(|error| wrong(error.to_string()))?;
        client.verify_state(&sent, &[key]).map_err(|error| wrong(error.to_string()))?;
        times.push(began.elapsed());
        let cell = match proof.entries.first() {
            Some(ProvedEntry::Present(present)) => present.cell.encode_size(),
            Some(ProvedEntry::Between(between)) => between.key.encode_size() + between.cell.encode_size(),
            Some(ProvedEntry::Nothing(_)) | None => 0,
        };
        let (certificate, path) =
            (SIGNATURE_BYTES, encode(&proof.log).len() + encode(&proof.entries).len() - cell);
        sizes.push((bytes.len(), bytes.len() - certificate - cell - path, cell, path));
    }
    sizes.sort_unstable();
    times.sort_unstable();
    let (Some((most, ..)), Some(check)) = (sizes.last(), times.get(times.len() / 2)) else {
        return Err(wrong("no proof".into()));
    };
    let (bytes, header, cell, path) = sizes[sizes.len() / 2];
    Ok(ProofSize { bytes, most: *most, header, certificate: SIGNATURE_BYTES, cell, path, check: *check })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_state_grows_is_opened_again_and_proves_its_accounts() {
        let folder = tempfile::tempdir().unwrap();
        let load = StateLoad {
            folder: folder.path().to_path_buf(),
            accounts: 500,
            notes: 300,
            blocks: 3,
            transfers: 40,
            reshaped: 5,
        };
        let mut seen = 0;
        grow_state(&load, |cells| seen = cells).unwrap();
        assert_eq!(seen, 800);
        let times = time_blocks(&load).unwrap();
        assert_eq!(times.blocks.len(), 3);
        assert!(times.blocks.iter().all(|block| block.writes > 40 && block.writes <= 2 * 40 + 2 * 5 + 1));
        let parts = |size: &ProofSize| size.header + size.certificate + size.cell + size.path;
        for size in [&times.present, &times.absent] {
            assert_eq!(size.bytes, parts(size));
            assert!(size.most >= size.bytes && size.most < 800, "{size:?}");
        }
        assert!(times.absent.cell > times.present.cell, "a neighbour has a key");
    }
}
