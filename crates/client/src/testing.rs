//! Run a chain in one thread for tests: a committee's real key, a real authenticated store, no consensus.
//!
//! Blocks are made on demand from given transactions, signed by a committee that was dealt a moment before, and
//! kept with their events. [`TestChain::answer`] answers every question as a validator does, with proofs that
//! hold. [`TestSource`] plays several validators, each honest or with a [`Lie`].

use crate::{Client, Source};
use commonware_consensus::{
    simplex::types::{Finalization, Finalize, Proposal},
    types::{Epoch, Round, View},
};
use commonware_cryptography::{
    blake3,
    bls12381::{dkg::feldman_desmedt, primitives::sharing::Mode, primitives::variant::MinSig},
};
use commonware_parallel::Sequential;
use commonware_runtime::{Runner as _, Supervisor as _, buffer::paged::CacheRef, deterministic};
use commonware_storage::{
    journal::contiguous::fixed::Config as LogConfig,
    mmr::{self, full::Config as MmrConfig},
    qmdb::{
        current::{FixedConfig, ordered::fixed},
        floor::Proportional,
    },
    translator::EightCap,
};
use commonware_utils::{N3f1, NZU16, NZU64, NZUsize, TryCollect as _, iter::NonEmpty, ordered::Set};
use rand::{SeedableRng as _, rngs::StdRng};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, mpsc},
};
use tessera_canon::{Describe as _, Hash, List, PublicKey, SecretKey};
use tessera_chain::{
    Block, CHUNK_BYTES, CertifiedHeader, Group, Header, Identity, Inclusion, KeyProof, PackedCell,
    ProvedEntry, Scheme, StateProof, consensus_key, consensus_namespace, event_root, tx_root, unfinished,
};
use tessera_ledger::{
    CELL, Cell, Event, Genesis, Key, MemState, Outcome, Receipt, SignedTx,
    referee::{NoReferee, Referee},
};
use tessera_wire::rpc::{Answer, Ask, Included, NotHere, Place, Places, Refused, Taken};

type Store = fixed::Db<
    mmr::Family,
    deterministic::Context,
    blake3::Digest,
    Cell,
    blake3::Blake3,
    EightCap,
    CHUNK_BYTES,
    Sequential,
>;
type Writes = Vec<(Key, Option<Cell>)>;

/// Cells that are written at once while a store is filled.
const FILLING: usize = 10_000;

/// A request to the thread that holds the store.
enum Work {
    /// The answer: state root, log root, and the log's range, as a header has them.
    Write(Writes, mpsc::Sender<(Hash, Hash, u64, u64)>),
    /// The answer: the unfinished group of the log, and a proof for each key.
    Prove(Vec<Key>, mpsc::Sender<(Group, Vec<KeyProof>)>),
}

/// Keep a store in a thread of its own, whose runtime is deterministic and needs no disk.
fn store() -> mpsc::Sender<Work> {
    let (sender, work) = mpsc::channel();
    std::thread::spawn(move || {
        deterministic::Runner::default().start(|context| async move {
            let cache = CacheRef::new(NZU16!(4096), NZUsize!(1024));
            let config = FixedConfig {
                merkle_config: MmrConfig {
                    journal_partition: "mmr-journal".into(),
                    metadata_partition: "mmr-meta".into(),
                    items_per_blob: NZU64!(65_536),
                    write_buffer: NZUsize!(1 << 15),
                    replay_buffer: NZUsize!(1 << 15),
                    strategy: Sequential,
                    page_cache: cache.clone(),
                },
                journal_config: LogConfig {
                    partition: "log".into(),
                    items_per_blob: NZU64!(16_384),
                    page_cache: cache,
                    write_buffer: NZUsize!(1 << 15),
                    replay_buffer: NZUsize!(1 << 15),
                },
                grafted_metadata_partition: "grafted".into(),
                translator: EightCap,
                init_cache: Some(NZUsize!(1024)),
                init_buffer: NZUsize!(1 << 20),
                init_concurrency: (),
            };
            let mut store =
                Store::init(context.child("store"), config, None).await.expect("an empty store opens");
            while let Ok(work) = work.recv() {
                store = carry_out(store, work).await;
            }
        });
    });
    sender
}

async fn carry_out(store: Store, work: Work) -> Store {
    match work {
        Work::Write(writes, reply) => {
            let batch = writes
                .into_iter()
                .fold(store.new_batch(), |batch, (key, cell)| batch.write(blake3::Digest(key.0), cell));
            let sealed =
                batch.merkleize(&store, None, &mut Proportional).await.expect("the batch is of this store");
            let (start, end) = (sealed.sync_boundary().as_u64(), sealed.bounds().tip.size.as_u64());
            let roots = (Hash(sealed.root().0), Hash(sealed.ops_root().0));
            let store = store.apply_batch(sealed).await.expect("the batch is of this store");
            reply.send((roots.0, roots.1, start, end)).ok();
            store
        }
        Work::Prove(keys, reply) => {
            let mut proofs = Vec::new();
            for key in keys {
                let digest = blake3::Digest(key.0);
                let cell = store.get(&digest).await.expect("memory does not fail");
                proofs.push(match cell {
                    Some(cell) => {
                        let proof = store.key_value_proof(digest).await.expect("the key is there");
                        KeyProof::Present(cell, proof)
                    }
                    None => {
                        KeyProof::Absent(store.exclusion_proof(&digest).await.expect("the key is not there"))
                    }
                });
            }
            reply.send((unfinished(store.bitmap()), proofs)).ok();
            store
        }
    }
}

struct Inner {
    genesis: Genesis,
    state: MemState,
    referee: Arc<dyn Referee>,
    schemes: Vec<Scheme>,
    store: mpsc::Sender<Work>,
    /// By height; the genesis block is number 0.
    headers: Vec<CertifiedHeader>,
    blocks: Vec<(Vec<SignedTx>, Vec<Event>)>,
    waiting: Vec<SignedTx>,
}

/// A chain of one process. Cheap to clone.
#[derive(Clone)]
pub struct TestChain(Arc<Mutex<Inner>>);

fn schemes(network: &Hash, seed: u64) -> Vec<Scheme> {
    let keys = (1..=4)
        .map(|index| consensus_key(&SecretKey::from_seed([index; 32]).public()).expect("a key is a point"));
    let set: Set<_> = keys.try_collect().expect("the keys differ");
    let rng = StdRng::seed_from_u64(seed);
    let (output, shares) = feldman_desmedt::deal::<MinSig, _, N3f1>(rng, Mode::NonZeroCounter, set.clone())
        .expect("four members");
    let signer = |key| {
        let share = shares.get_value(key).expect("every member has a share").clone();
        Scheme::signer(&consensus_namespace(network), set.clone(), output.public().clone(), share)
            .expect("the share is the member's")
    };
    set.iter().map(signer).collect()
}

fn certify(schemes: &[Scheme], header: Header) -> CertifiedHeader {
    let proposal = Proposal::new(
        Round::new(Epoch::zero(), View::new(header.view)),
        View::new(header.parent_view),
        blake3::Digest(header.digest().0),
    );
    let votes: Vec<_> = schemes
        .iter()
        .take(3)
        .map(|scheme| Finalize::sign(scheme, proposal.clone()).expect("a signer signs"))
        .collect();
    let votes = NonEmpty::try_new(votes.iter()).expect("three votes");
    let certificate =
        Finalization::from_finalizes(&schemes[0], votes, &Sequential).expect("three of four are a quorum");
    CertifiedHeader { header, links: List::default(), certificate }
}

impl TestChain {
    /// Begin with the cells of `genesis` as block 1. `seed` deals the committee's key.
    pub fn start(genesis: Genesis, seed: u64) -> Self {
        Self::start_with(genesis, seed, Arc::new(NoReferee))
    }
    /// As [`Self::start`], with a referee for disputes.
    pub fn start_with(genesis: Genesis, seed: u64, referee: Arc<dyn Referee>) -> Self {
        Self::made(genesis, seed, referee, std::iter::empty())
    }
    /// As [`Self::start`], in a store that holds `others` from before, for proofs as long as those of a large state. The
    /// ledger knows nothing of them, so they must be cells that no transaction reads.
    pub fn filled(genesis: Genesis, seed: u64, others: impl Iterator<Item = (Key, Cell)>) -> Self {
        Self::made(genesis, seed, Arc::new(NoReferee), others)
    }
    fn made(
        genesis: Genesis,
        seed: u64,
        referee: Arc<dyn Referee>,
        others: impl Iterator<Item = (Key, Cell)>,
    ) -> Self {
        let network = genesis.network_id();
        let schemes = schemes(&network, seed);
        let store = store();
        let mut others = others.map(|(key, cell)| (key, Some(cell))).peekable();
        while others.peek().is_some() {
            let mut writes: Writes = others.by_ref().take(FILLING).collect();
            writes.sort_by_key(|(key, _)| *key);
            let (reply, written) = mpsc::channel();
            store.send(Work::Write(writes, reply)).expect("the store's thread lives as long as this");
            written.recv().expect("the store answers");
        }
        let header = Header {
            network,
            height: 0,
            parent: Hash::ZERO,
            view: 0,
            parent_view: 0,
            proposer: SecretKey::from_seed([1; 32]).public(),
            time_ms: genesis.time_ms,
            state_root: Hash::ZERO,
            ops_root: Hash::ZERO,
            ops_start: 0,
            ops_end: 1,
            tx_root: tx_root(&[]),
            event_root: event_root(&[]),
            seed: None,
        };
        let first = certify(&schemes, header);
        let state = MemState::new(&genesis);
        let cells = genesis.cells();
        let blocks = vec![Default::default()];
        let inner = Inner {
            genesis,
            state,
            referee,
            schemes,
            store,
            headers: vec![first],
            blocks,
            waiting: Vec::new(),
        };
        let chain = Self(Arc::new(Mutex::new(inner)));
        let mut opening: Writes = cells.into_iter().map(|(key, cell)| (key, Some(cell))).collect();
        opening.sort_by_key(|(key, _)| *key);
        chain.lock().append(Vec::new(), opening);
        chain
    }
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
    /// The network's beginning.
    pub fn genesis(&self) -> Genesis {
        self.lock().genesis.clone()
    }
    /// The group key.
    pub fn identity(&self) -> Identity {
        Identity::from_point(self.lock().schemes[0].identity())
    }
    /// The whole state, to compare with.
    pub fn state(&self) -> MemState {
        self.lock().state.clone()
    }
    /// Height of the newest block.
    pub fn height(&self) -> u64 {
        self.lock().headers.len() as u64 - 1
    }
    /// Make a block of `txs` and of what was submitted. Those that may not be included must not be given.
    pub fn block(&self, txs: Vec<SignedTx>) -> Outcome {
        let mut inner = self.lock();
        let mut all = std::mem::take(&mut inner.waiting);
        all.extend(txs);
        inner.append(all, Vec::new())
    }
    /// A block of those of `txs` that may stand in it.
    pub fn block_of_any(&self, mut txs: Vec<SignedTx>) -> Outcome {
        loop {
            // Without one, the later ones of its sender may not stand there either.
            let fits = self.lock().fits(&txs);
            if fits.iter().all(|fits| *fits) {
                return self.block(txs);
            }
            let mut kept = fits.into_iter();
            txs.retain(|_| kept.next().unwrap_or(false));
        }
    }
    /// Make the newest block final by the certificate of a descendant, with `links` headers up to it, instead of one
    /// of its own. Blocks made afterwards are not those descendants.
    pub fn finalize_late(&self, links: usize) {
        let mut inner = self.lock();
        let header = inner.tip().header.clone();
        let mut above = header.clone();
        let child = |_| {
            let (height, view) = (above.height + 1, above.view + 3);
            above = Header { height, view, parent: above.digest(), parent_view: above.view, ..above.clone() };
            above.clone()
        };
        let links = List::new((0..links).map(child).collect()).expect("as many links as a header may have");
        let certificate = certify(&inner.schemes, above).certificate;
        if let Some(tip) = inner.headers.last_mut() {
            *tip = CertifiedHeader { header, links, certificate };
        }
    }
    /// A client of this chain over `source`.
    pub fn client(&self, source: TestSource) -> Client<TestSource> {
        let network = self.genesis().network_id();
        Client::new(source, network, &self.identity(), 0, None).expect("the group key is a point")
    }
    /// One honest validator.
    pub fn honest(&self) -> TestSource {
        TestSource::new(vec![(self.clone(), Lie::None)])
    }
    /// What a validator answers.
    pub fn answer(&self, ask: &Ask) -> Answer {
        self.lock().answer(ask)
    }
}

impl Inner {
    /// The next block's header, still without what it did.
    fn next(&self, txs: &[SignedTx]) -> Header {
        let parent = &self.headers[self.headers.len() - 1].header;
        Header {
            height: parent.height + 1,
            parent: parent.digest(),
            view: parent.view + 1,
            parent_view: parent.view,
            time_ms: parent.time_ms + 1000,
            tx_root: tx_root(txs),
            ..parent.clone()
        }
    }
    /// Which of `txs` may stand in the next block together.
    fn fits(&self, txs: &[SignedTx]) -> Vec<bool> {
        let mut state = self.state.clone();
        let outcome = state.run_block_with(self.next(txs).execution(), self.referee.clone(), txs);
        outcome.receipts.iter().map(Receipt::includable).collect()
    }
    fn append(&mut self, txs: Vec<SignedTx>, opening: Writes) -> Outcome {
        let mut header = self.next(&txs);
        let outcome = self.state.run_block_with(header.execution(), self.referee.clone(), &txs);
        assert!(outcome.receipts.iter().all(Receipt::includable), "{:?}", outcome.receipts);
        let mut writes = opening;
        writes.retain(|(key, _)| outcome.writes.iter().all(|(written, _)| written != key));
        writes.extend(outcome.writes.iter().cloned());
        let (reply, root) = mpsc::channel();
        self.store.send(Work::Write(writes, reply)).expect("the store's thread lives as long as this");
        (header.state_root, header.ops_root, header.ops_start, header.ops_end) =
            root.recv().expect("the store answers");
        header.event_root = event_root(&outcome.events);
        let certified = certify(&self.schemes, header);
        self.headers.push(certified);
        self.blocks.push((txs, outcome.events.clone()));
        outcome
    }
    fn tip(&self) -> &CertifiedHeader {
        &self.headers[self.headers.len() - 1]
    }
    fn answer(&mut self, ask: &Ask) -> Answer {
        let not_here = Answer::NotHere(NotHere {});
        let block_of = |inner: &Self, height: u64| {
            let (certified, (txs, events)) =
                (inner.headers.get(height as usize)?, inner.blocks.get(height as usize)?);
            let block = Block::new(certified.header.clone(), txs.clone()).ok()?;
            Some((certified.clone(), block, events.clone()))
        };
        let answer = match ask {
            Ask::Latest(_) => Some(Answer::Header(self.tip().clone())),
            Ask::HeaderAt(at) => self.headers.get(at.height as usize).cloned().map(Answer::Header),
            Ask::BlockAt(at) => block_of(self, at.height).map(|(_, block, _)| Answer::Block(block)),
            Ask::Prove(prove) => {
                let (reply, proved) = mpsc::channel();
                self.store.send(Work::Prove(prove.keys.to_vec(), reply)).ok();
                let (unfinished, proofs) = proved.recv().expect("the store answers");
                let proof = StateProof::pack(self.tip(), unfinished, &proofs);
                Some(proof.map_or_else(
                    || Answer::Refused(Refused::new(false, "a proof needs a key")),
                    Answer::State,
                ))
            }
            Ask::Submit(tx) => {
                self.waiting.push(tx.clone());
                Some(Answer::Taken(Taken { tx: tx.id() }))
            }
            Ask::ReceiptOf(of) => {
                let at = self.blocks.iter().position(|(txs, _)| txs.iter().any(|tx| tx.id() == of.tx));
                at.and_then(|at| block_of(self, at as u64)).and_then(|(header, block, events)| {
                    Some(Answer::Included(Included { header, block, events: List::new(events).ok()? }))
                })
            }
            Ask::History(history) => {
                Some(Answer::Places(self.places(&history.subject, history.from, history.skip)))
            }
            Ask::ProveItems(items) => block_of(self, items.height).and_then(|(header, block, events)| {
                Inclusion::prove(header, (&events, &items.events), (block.txs(), &items.txs))
                    .map(Answer::Inclusion)
            }),
        };
        answer.unwrap_or(not_here)
    }
    fn places(&self, subject: &Hash, from: u64, skip: u32) -> Places {
        let mut all = Vec::new();
        for (height, (txs, events)) in (0u64..).zip(&self.blocks).skip(from as usize) {
            let names = |hashes: Vec<Hash>| hashes.contains(subject);
            let events = (0u32..).zip(events).filter(|(_, event)| names(event.describe().hashes()));
            all.extend(events.map(|(at, _)| Place { height, tx: false, at }));
            let txs =
                (0u32..).zip(txs).filter(|(_, tx)| tx.id() == *subject || names(tx.describe().hashes()));
            all.extend(txs.map(|(at, _)| Place { height, tx: true, at }));
        }
        let before = all.iter().take_while(|place| place.height == from).count().min(skip as usize);
        let mut rest = all.split_off(before);
        // Small parts, so that readers must ask again.
        let more = rest.len() > 7;
        rest.truncate(7);
        let last = self.headers.len() as u64 - 1;
        Places { first: 1, last, more, places: List::new(rest).unwrap_or_default() }
    }
}

/// How a validator of a [`TestSource`] answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Truly.
    None,
    /// Not at all.
    Silence,
    /// With cells, events and transactions that were changed after they were proved.
    Forgery,
    /// With the state of this many blocks ago, in headers.
    Past(u64),
    /// With an index that leaves out every third place.
    Omission,
    /// By refusing, now.
    Busy,
}

/// Validators of one chain, or of several.
pub struct TestSource {
    keys: Vec<PublicKey>,
    validators: Vec<(TestChain, Lie)>,
    /// Questions asked of each.
    pub asked: Vec<std::sync::atomic::AtomicUsize>,
}

impl TestSource {
    /// Validators with their chains and lies; the first is asked first.
    pub fn new(validators: Vec<(TestChain, Lie)>) -> Self {
        let keys =
            (0..validators.len()).map(|at| SecretKey::from_seed([at as u8 + 1; 32]).public()).collect();
        let asked = validators.iter().map(|_| Default::default()).collect();
        Self { keys, validators, asked }
    }
}

impl Source for TestSource {
    fn validators(&self) -> &[PublicKey] {
        &self.keys
    }
    async fn connected(&self, _: bool) -> BTreeSet<PublicKey> {
        self.keys.iter().copied().collect()
    }
    async fn ask(&self, validator: &PublicKey, ask: &Ask) -> Result<Answer, String> {
        let at = self.keys.iter().position(|key| key == validator).ok_or("no such validator")?;
        self.asked[at].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (chain, lie) = &self.validators[at];
        let mut answer = chain.answer(ask);
        match lie {
            Lie::None => {}
            Lie::Silence => return Err("no answer".into()),
            Lie::Busy => return Ok(Answer::Refused(Refused::new(true, "busy"))),
            Lie::Forgery => answer = forge(answer),
            Lie::Past(blocks) => {
                if let Answer::Header(header) = &answer {
                    let height = header.header.height.saturating_sub(*blocks);
                    answer = chain.answer(&Ask::HeaderAt(tessera_wire::rpc::HeaderAt { height }));
                }
            }
            Lie::Omission => {
                if let Answer::Places(places) = &mut answer {
                    let kept = places.places.iter().enumerate().filter(|(at, _)| at % 3 != 0);
                    places.places =
                        List::new(kept.map(|(_, place)| place.clone()).collect()).unwrap_or_default();
                }
            }
        }
        Ok(answer)
    }
}

/// The answer with something in it changed.
fn forge(answer: Answer) -> Answer {
    match answer {
        Answer::Header(mut header) => {
            header.header.state_root = Hash([9; 32]);
            Answer::Header(header)
        }
        Answer::State(mut proof) => {
            let entries = proof.entries.iter().cloned().map(|mut entry| {
                match &mut entry {
                    ProvedEntry::Present(present) => present.cell.0.0[60] ^= 1,
                    ProvedEntry::Between(between) => between.next.0[31] ^= 1,
                    ProvedEntry::Nothing(nothing) => nothing.note = Some(PackedCell(Cell([0; CELL]))),
                }
                entry
            });
            proof.entries = List::new(entries.collect()).unwrap_or_default();
            Answer::State(proof)
        }
        Answer::Inclusion(mut inclusion) => {
            let events = inclusion.events.iter().cloned().map(|mut proved| {
                if let Event::FeePaid(paid) = &mut proved.event {
                    paid.amount += 1;
                }
                proved
            });
            inclusion.events = List::new(events.collect()).unwrap_or_default();
            let txs = inclusion.txs.iter().cloned().map(|mut proved| {
                proved.tx.body.nonce += 1;
                proved
            });
            inclusion.txs = List::new(txs.collect()).unwrap_or_default();
            Answer::Inclusion(inclusion)
        }
        other => other,
    }
}
