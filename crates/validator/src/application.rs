//! Propose and check blocks: the rules of the chain, as the engine's application.
//!
//! A proposer takes its parent's seed, executes what waits and commits to the outcome. A verifier repeats that
//! and refuses any difference. The time of a block is its proposer's clock, and greater than its parent's;
//! everything that waits for a clock is in [`crate::pacing`], because the engine finalizes nothing while a block
//! is being built. A proposer that does not learn its parent's seed proposes nothing, and the view is skipped.

use crate::{
    beacon::{SeedBook, seed_holds},
    execute::{Cells, Executed, GenesisCells, execute},
    journal::Journal,
    mempool::Mempool,
    verified::Verified,
};
use commonware_consensus::{
    marshal::{ancestry::Ancestry, core::Mailbox as Marshal, standard::Standard},
    types::Height,
};
use commonware_cryptography::{Digested, blake3};
use commonware_glue::stateful::{
    Application, Finality, Input, Proposed,
    db::{DatabaseSet, Merkleized as _, Shared, Unmerkleized as _},
};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Spawner};
use commonware_storage::{
    Context as StorageContext,
    mmr::{self, Location},
    qmdb::{current::ordered::fixed, sync::Target},
    translator::EightCap,
};
use commonware_utils::range::NonEmptyRange;
use futures::{
    StreamExt as _,
    future::{Either, select},
};
use std::{
    collections::BTreeMap,
    pin::pin,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tessera_canon::{Hash, PublicKey};
use tessera_chain::{
    Block, BlockDigest, CHUNK_BYTES, Context, Header, Scheme, Seed, event_root, member_key, tx_root,
};
use tessera_ledger::{Cell, Key, SignedTx, TxError};

/// How long a proposer waits for a report of its parent's seed before it looks elsewhere again.
const SEED_RETRY: Duration = Duration::from_millis(50);
/// How often it waits in vain before it gives up its turn.
const SEED_TRIES: usize = 10;

/// Blocks between the newest final one and a proposal whose transactions the proposer leaves out beforehand;
/// those of older ones are refused one by one.
const MOST_UNFINISHED: usize = 16;

/// The state: an authenticated map that proves presence and absence.
pub(crate) type State<E> =
    fixed::Db<mmr::Family, E, BlockDigest, Cell, blake3::Blake3, EightCap, CHUNK_BYTES, Sequential>;
/// Its shared handle, as the engine manages it.
pub(crate) type Databases<E> = Shared<State<E>>;
pub(crate) type Batch<E> = <Databases<E> as DatabaseSet<E>>::Unmerkleized;
type Sealed<E> = <Databases<E> as DatabaseSet<E>>::Merkleized;

/// What the application needs beside the batches that the engine hands it.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) network: Hash,
    pub(crate) genesis: Block,
    pub(crate) cells: Arc<GenesisCells>,
    pub(crate) scheme: Scheme,
    pub(crate) seeds: SeedBook,
    pub(crate) marshal: Marshal<Scheme, Standard<Block>>,
    pub(crate) journal: Journal,
    pub(crate) pool: Mempool,
    pub(crate) verified: Verified,
}

/// The engine found the batch's chain abandoned, or its storage failed.
#[derive(Debug)]
pub(crate) struct ReadFailed;

/// Reads of a block's state before the block: its parent's effects, final or not.
pub(crate) struct Speculative<'a, E: Spawner + StorageContext>(pub(crate) &'a Batch<E>);

impl<E: Spawner + StorageContext> Cells for Speculative<'_, E> {
    type Error = ReadFailed;
    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Option<Cell>>, ReadFailed> {
        let digests: Vec<BlockDigest> = keys.iter().map(|key| blake3::Digest(key.0)).collect();
        let wanted: Vec<&BlockDigest> = digests.iter().collect();
        self.0.get_many(&wanted).await.map_err(|error| {
            tracing::debug!(%error, "state read failed");
            ReadFailed
        })
    }
}

/// The first block of every network, made from its id alone: empty state, no transactions.
pub(crate) fn genesis_block(network: Hash, time_ms: u64, target: &Target<mmr::Family, BlockDigest>) -> Block {
    let root = Hash(target.root.0);
    let header = Header {
        network,
        height: 0,
        parent: Hash::ZERO,
        view: 0,
        parent_view: 0,
        proposer: tessera_canon::SecretKey::from_seed([0; 32]).public(),
        time_ms,
        state_root: root,
        ops_root: root,
        ops_start: target.range.start().as_u64(),
        ops_end: target.range.end().as_u64(),
        tx_root: tx_root(&[]),
        event_root: event_root(&[]),
        seed: None,
    };
    Block::new(header, Vec::new()).expect("the genesis block is well formed for every network")
}

pub(crate) fn now_ms(clock: &impl Clock) -> u64 {
    clock.current().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl App {
    /// The seed that a block on `parent` must carry, checked; `None` inside means that it must carry none.
    async fn parent_seed<E: Clock>(
        &self,
        clock: &E,
        parent: &Header,
        context: &Context,
    ) -> Option<Option<Seed>> {
        if parent.height == 0 {
            return Some(None);
        }
        let view = context.parent.0;
        let mut tries = 0;
        while tries < SEED_TRIES {
            let mut learned = pin!(self.seeds.learned());
            // Poll once, so that a seed learned between the look and the wait is not missed.
            let _ = futures::poll!(learned.as_mut());
            if self.seeds.get(view.get()).is_none()
                && let Some(found) = self.marshal.get_finalization(Height::new(parent.height)).await
                && found.proposal.round.view() == view
            {
                self.seeds.learn(view.get(), &found.certificate);
            }
            if let Some(seed) = self.seeds.get(view.get()) {
                let round = commonware_consensus::types::Round::new(context.round.epoch(), view);
                return seed_holds(&self.scheme, round, &seed).then_some(Some(seed));
            }
            if let Either::Right(_) = select(learned, pin!(clock.sleep(SEED_RETRY))).await {
                tries += 1;
            }
        }
        tracing::debug!(view = view.get(), "the seed of the parent's round is unknown: no proposal");
        None
    }
    /// Execute `txs` after `header`'s parent and seal the batch.
    async fn run<E: Spawner + StorageContext>(
        &self,
        header: &Header,
        batch: Batch<E>,
        txs: Vec<SignedTx>,
    ) -> Option<(Executed, Sealed<E>)> {
        let cells = Speculative::<E>(&batch);
        let executed = execute(header.execution(), &self.cells, &cells, &self.verified, txs).await.ok()?;
        let written = executed
            .writes
            .iter()
            .fold(batch, |batch, (key, cell)| batch.write(blake3::Digest(key.0), *cell));
        match written.merkleize().await {
            Ok(sealed) => Some((executed, sealed)),
            Err(error) => {
                tracing::debug!(%error, "sealing the state failed");
                None
            }
        }
    }
    /// Next nonces of the senders whose transactions stand in `parent` or before it and are not final yet.
    async fn next_nonces(
        &self,
        parent: Digested<Block>,
        mut before: impl Ancestry<Block>,
    ) -> BTreeMap<PublicKey, u64> {
        let applied = self.journal.tip().map_or(0, |tip| tip.height);
        let (mut next, mut block) = (BTreeMap::<PublicKey, u64>::new(), Some(parent));
        for _ in 0..MOST_UNFINISHED {
            let Some(unfinished) = block.filter(|block| block.inner().header().height > applied) else {
                break;
            };
            for tx in unfinished.inner().txs() {
                let nonce = next.entry(tx.body.sender).or_default();
                *nonce = (*nonce).max(tx.body.nonce.saturating_add(1));
            }
            let more = unfinished.inner().header().height > applied + 1;
            block = if more { before.next().await } else { None };
        }
        next
    }
    /// Rules that a header must obey beside its roots.
    fn header_holds(&self, header: &Header, parent: &Header) -> bool {
        let seed_holds = match &header.seed {
            None => parent.height == 0,
            Some(seed) => parent.height > 0 && seed_holds(&self.scheme, header.seed_round(), seed),
        };
        header.network == self.network
            && header.height == parent.height + 1
            && header.parent == parent.digest()
            && header.parent_view == parent.view
            && header.time_ms > parent.time_ms
            && seed_holds
    }
}

impl<E: Spawner + StorageContext> Application<E> for App {
    type SigningScheme = Scheme;
    type Context = Context;
    type Block = Block;
    type Databases = Databases<E>;
    type Captured = ();
    type Provider = ();
    type Input = ();

    fn sync_targets(block: &Block) -> Target<mmr::Family, BlockDigest> {
        let header = block.header();
        let range = Location::new(header.ops_start)..Location::new(header.ops_end);
        let range = NonEmptyRange::new(range).expect("a block with an empty range does not exist");
        Target::new(blake3::Digest(header.ops_root.0), range)
    }

    async fn genesis(&mut self) -> Block {
        self.genesis.clone()
    }

    async fn propose(
        &mut self,
        (clock, context): (E, Context),
        ancestry: impl Ancestry<Block>,
        batch: Batch<E>,
        _: Input<(), ()>,
    ) -> Option<Proposed<Self, E>> {
        let mut ancestry = ancestry;
        let parent = ancestry.next().await?;
        let next = self.next_nonces(parent.clone(), ancestry).await;
        let parent = parent.inner().header().clone();
        let seed = self.parent_seed(&clock, &parent, &context).await?;
        let mut header = Header {
            network: self.network,
            height: parent.height + 1,
            parent: parent.digest(),
            view: context.round.view().get(),
            parent_view: context.parent.0.get(),
            proposer: member_key(&context.leader),
            time_ms: now_ms(&clock).max(parent.time_ms + 1),
            state_root: Hash::ZERO,
            ops_root: Hash::ZERO,
            ops_start: 0,
            ops_end: 0,
            tx_root: Hash::ZERO,
            event_root: Hash::ZERO,
            seed,
        };
        let (mut executed, merkleized) = self.run::<E>(&header, batch, self.pool.candidates(&next)).await?;
        for (tx, receipt) in executed.refused.drain(..) {
            tracing::debug!(id = %tx.id(), ?receipt, "left out of the block");
            // A nonce may be too high only because the ones before it have not arrived yet. One that is too low
            // was used by a final block: those that unfinished blocks use were not offered.
            if !matches!(receipt.error, Some(TxError::WrongNonce { expected, got }) if got > expected) {
                self.pool.forget(&tx);
            }
        }
        let bounds = merkleized.bounds();
        header.state_root = Hash(merkleized.root().0);
        header.ops_root = Hash(merkleized.ops_root().0);
        header.ops_start = merkleized.sync_boundary().as_u64();
        header.ops_end = bounds.tip.size.as_u64();
        header.tx_root = tx_root(&executed.txs);
        header.event_root = event_root(&executed.events);
        let block = Block::new(header, executed.txs.clone()).ok()?;
        self.journal.executed(block.header(), executed);
        Some(Proposed { block, merkleized })
    }

    async fn process(
        &mut self,
        _: (E, Context),
        ancestry: impl Ancestry<Block>,
        batch: Batch<E>,
        finality: Finality,
    ) -> Option<Sealed<E>> {
        let block = ancestry.peek()?.inner().clone();
        let header = block.header();
        if finality == Finality::Candidate {
            let mut ancestry = ancestry;
            ancestry.next().await?;
            let parent = ancestry.next().await?;
            if !self.header_holds(header, parent.inner().header()) {
                tracing::warn!(height = header.height, proposer = %header.proposer, "a header breaks the rules");
                return None;
            }
        }
        let (executed, merkleized) = self.run::<E>(header, batch, block.txs().to_vec()).await?;
        // The engine compares the log's root and range; the canonical root and the events are ours to compare.
        let same = executed.refused.is_empty()
            && header.state_root == Hash(merkleized.root().0)
            && header.event_root == event_root(&executed.events);
        if !same {
            tracing::warn!(height = header.height, proposer = %header.proposer, "a block's outcome is not its header's");
            return None;
        }
        self.journal.executed(header, executed);
        Some(merkleized)
    }

    async fn capture(
        &mut self,
        _: (E, Context),
        _: &Block,
        _: &Sealed<E>,
        _: <Self::Databases as DatabaseSet<E>>::Readers,
    ) {
    }

    async fn finalized(
        &mut self,
        _: (E, Context),
        block: &Block,
        (): (),
        _: <Self::Databases as DatabaseSet<E>>::Readers,
    ) {
        self.pool.settle(block.header().height, block.txs());
        self.journal.finalized(block);
    }
}
