//! Answer those who ask a validator: take transactions, hand out blocks and headers, prove state.
//!
//! Runs inside the engine's runtime; the outside talks to it through one bounded queue of [`Query`]s.
//! Transactions that it takes go to the other validators too, on a channel of their own, once, several in a
//! message: the network limits messages, and a limit that is reached holds up votes too. Questions may take
//! long and are answered beside each other; transactions never wait for them.

use crate::{
    application::{App, Databases, State},
    execute::Cells,
    mempool::SubmitError,
};
use commonware_consensus::{marshal::Identifier, types::Height};
use commonware_cryptography::{blake3, ed25519};
use commonware_glue::stateful::Mailbox as StatefulMailbox;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::{Handle, Spawner};
use commonware_storage::Context as StorageContext;
use futures::{FutureExt as _, StreamExt as _, future::Fuse, stream::FuturesUnordered};
use std::{pin::pin, sync::Arc, time::Duration};
use tessera_audit::referee::TrustReferee;
use tessera_canon::{Hash, List, PublicKey, decode, encode, record};
use tessera_chain::{
    Block, CertifiedHeader, Group, Header, KeyProof, MAX_LINKS, MAX_PROVED_KEYS, StateProof, unfinished,
};
use tessera_ledger::{
    BlockContext, BlockSession, Cell, Key, MAX_TX_BYTES, Need, SignedTx, keys, query, record::Account,
};
use tokio::sync::{mpsc, oneshot};

/// Attempts to prove against a header that is already final, and the pause between them.
const PROVE_TRIES: usize = 40;
const PROVE_PAUSE: Duration = Duration::from_millis(25);
/// Questions that are answered at once.
const AT_WORK: usize = 32;
/// How long taken transactions are gathered before they are passed on: at most 125 messages a second.
const GATHER: Duration = Duration::from_millis(8);
/// Bytes of gathered transactions that are passed on at once.
const GATHERED_BYTES: usize = 32 << 10;
/// Most transactions in one message.
const MAX_PASSED: usize = 512;
/// Greatest message of transactions: what is gathered ends with the one that fills it.
pub(crate) const MAX_PASSED_BYTES: usize = GATHERED_BYTES + MAX_TX_BYTES + 5;

record! {
    /// Transactions that one validator took, for the others.
    struct Passed { txs: List<SignedTx, MAX_PASSED> }
}

/// Transactions that wait to be passed on.
#[derive(Default)]
struct Gathered {
    txs: Vec<SignedTx>,
    bytes: usize,
}

impl Gathered {
    fn full(&self) -> bool {
        self.bytes >= GATHERED_BYTES || self.txs.len() == MAX_PASSED
    }
    fn send<S: Sender<PublicKey = ed25519::PublicKey>>(&mut self, sender: &mut S) {
        let Self { txs, .. } = std::mem::take(self);
        if let Ok(txs) = List::new(txs)
            && !txs.is_empty()
        {
            sender.send(Recipients::All, encode(&Passed { txs }), false);
        }
    }
}

/// Why no proof could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// No key, or more than a proof holds.
    #[error("a proof holds 1 to {MAX_PROVED_KEYS} keys, {got} were asked for")]
    WrongCount { got: usize },
    /// No final state yet, or the chain is moving faster than it can be proved: ask again.
    #[error("the validator has no certified state to prove against yet: try again later or ask another")]
    NotReady,
    /// The state store failed.
    #[error("the state store failed to prove key {key}: {reason}")]
    Store { key: Hash, reason: String },
    /// The validator has ended.
    #[error("the validator has stopped")]
    Stopped,
}

/// A question to the desk, with where to send the answer.
pub(crate) enum Query {
    Submit(Box<SignedTx>, oneshot::Sender<Result<Hash, SubmitError>>),
    /// The certified header at a height, or the newest.
    Header(Option<u64>, oneshot::Sender<Option<CertifiedHeader>>),
    Block(u64, oneshot::Sender<Option<Block>>),
    Prove(Vec<Key>, oneshot::Sender<Result<StateProof, ProveError>>),
}

/// The desk of one validator.
pub(crate) struct Desk<E: Spawner + StorageContext> {
    app: App,
    stateful: StatefulMailbox<E, App>,
    databases: Option<Databases<E>>,
}

impl<E: Spawner + StorageContext> Clone for Desk<E> {
    fn clone(&self) -> Self {
        Self { app: self.app.clone(), stateful: self.stateful.clone(), databases: self.databases.clone() }
    }
}

/// Reads of the applied state.
struct Applied<'a, E: Spawner + StorageContext>(&'a Databases<E>);

impl<E: Spawner + StorageContext> Cells for Applied<'_, E> {
    type Error = ();
    async fn fetch(&self, keys: &[Key]) -> Result<Vec<Option<Cell>>, ()> {
        let state = self.0.read().await;
        let mut cells = Vec::with_capacity(keys.len());
        for key in keys {
            cells.push(state.get(&blake3::Digest(key.0)).await.map_err(|_| ())?);
        }
        Ok(cells)
    }
}

impl<E: Spawner + StorageContext> Desk<E> {
    pub(crate) fn new(app: App, stateful: StatefulMailbox<E, App>) -> Self {
        Self { app, stateful, databases: None }
    }

    /// Serve until the queue of queries closes.
    pub(crate) fn start<S, R>(self, context: E, queries: mpsc::Receiver<Query>, gossip: (S, R)) -> Handle<()>
    where
        S: Sender<PublicKey = ed25519::PublicKey>,
        R: Receiver<PublicKey = ed25519::PublicKey>,
    {
        context.spawn(move |context| self.run(context, queries, gossip))
    }

    async fn run<S, R>(mut self, context: E, mut queries: mpsc::Receiver<Query>, gossip: (S, R))
    where
        S: Sender<PublicKey = ed25519::PublicKey>,
        R: Receiver<PublicKey = ed25519::PublicKey>,
    {
        let (mut sender, mut receiver) = gossip;
        let stateful = self.stateful.clone();
        let mut opening = std::pin::pin!(stateful.subscribe_databases().fuse());
        let (context, mut at_work) = (&context, FuturesUnordered::new());
        let (mut gathered, mut due) = (Gathered::default(), pin!(Fuse::terminated()));
        loop {
            tokio::select! {
                biased;
                databases = &mut opening => {
                    self.databases = Some(databases);
                    if let Some((_, block)) = self.app.marshal.get_anchor().await {
                        self.app.journal.resume(block.inner().header().clone());
                    }
                }
                () = &mut due => gathered.send(&mut sender),
                // Before new transactions: there are few at a time, and each ends.
                Some(()) = at_work.next(), if !at_work.is_empty() => {}
                query = queries.recv() => match query {
                    Some(Query::Submit(tx, reply)) => {
                        let taken = self.take(&tx).await;
                        if let Ok((_, true)) = taken {
                            if gathered.txs.is_empty() {
                                due.set(context.sleep(GATHER).fuse());
                            }
                            gathered.bytes += tx.size();
                            gathered.txs.push(*tx);
                            if gathered.full() {
                                gathered.send(&mut sender);
                            }
                        }
                        // A closed answer channel means that the one who asked has gone.
                        let _ = reply.send(taken.map(|(id, _)| id));
                    }
                    Some(question) => {
                        if at_work.len() == AT_WORK {
                            at_work.next().await;
                        }
                        let desk = self.clone();
                        at_work.push(async move { desk.answer(context, question).await });
                    }
                    None => return,
                },
                message = receiver.recv() => {
                    let Ok((peer, bytes)) = message else { return };
                    self.take_passed(&peer, bytes.as_ref()).await;
                }
            }
        }
    }

    async fn answer(&self, context: &E, question: Query) {
        match question {
            Query::Submit(tx, reply) => {
                let _ = reply.send(self.take(&tx).await.map(|(id, _)| id));
            }
            Query::Header(height, reply) => {
                let _ = reply.send(self.certified(height).await);
            }
            Query::Block(height, reply) => {
                let _ = reply.send(self.block(height).await);
            }
            Query::Prove(keys, reply) => {
                let _ = reply.send(self.prove(context, keys).await);
            }
        }
    }

    async fn take_passed(&self, peer: &ed25519::PublicKey, bytes: &[u8]) {
        if bytes.len() > MAX_PASSED_BYTES {
            tracing::debug!(%peer, got = bytes.len(), "a peer's message of transactions is too long");
            return;
        }
        match decode::<Passed>(bytes) {
            Ok(passed) => {
                for tx in passed.txs.iter() {
                    if let Err(refusal) = self.take(tx).await {
                        tracing::debug!(%peer, %refusal, "a peer's transaction was not taken");
                    }
                }
            }
            Err(error) => tracing::debug!(%peer, %error, "a peer's transactions do not decode"),
        }
    }

    /// Check a transaction and put it into the pool; returns its id and whether it is new.
    async fn take(&self, tx: &SignedTx) -> Result<(Hash, bool), SubmitError> {
        let databases = self.databases.as_ref().ok_or(SubmitError::NotReady)?;
        if tx.body.network != self.app.network {
            return Err(SubmitError::OtherNetwork { expected: self.app.network, got: tx.body.network });
        }
        let size = tx.size();
        if size > MAX_TX_BYTES {
            return Err(SubmitError::TooBig { got: size });
        }
        let account = self.sender(databases, tx).await?;
        // The next block is the first that the transaction can be in.
        let height = self.app.journal.tip().map_or(1, |tip| tip.height + 1);
        let signer = account.signer_at(height);
        if !self.app.verified.check(tx, &signer) {
            return Err(SubmitError::BadSignature { sender: tx.body.sender });
        }
        let expected = account.nonce;
        if tx.body.nonce == expected {
            self.admit(databases, tx, &signer).await?;
        }
        let id = tx.id();
        let new = self.app.pool.insert(tx.clone(), expected)?;
        Ok((id, new))
    }

    async fn cells(&self, databases: &Databases<E>, keys: &[Key]) -> Result<Vec<Option<Cell>>, SubmitError> {
        let cells = Applied(databases).fetch(keys).await.map_err(|()| SubmitError::NotReady)?;
        // Before block 1 the genesis cells are not in the store yet.
        let genesis = |key: &Key| self.app.cells.get(key).copied();
        Ok(keys.iter().zip(cells).map(|(key, cell)| cell.or_else(|| genesis(key))).collect())
    }

    async fn sender(&self, databases: &Databases<E>, tx: &SignedTx) -> Result<Account, SubmitError> {
        let key = keys::account(&tx.body.sender);
        let cell = self.cells(databases, &[key]).await?.pop().flatten();
        Ok(query::account(|wanted: &Key| cell.filter(|_| *wanted == key), &tx.body.sender)
            .unwrap_or_else(|| Account::new(tx.body.sender)))
    }

    /// Whether a block on the newest state could include a transaction, by the ledger's own rules.
    async fn admit(
        &self,
        databases: &Databases<E>,
        tx: &SignedTx,
        signer: &PublicKey,
    ) -> Result<(), SubmitError> {
        let Some(tip) = self.app.journal.tip() else { return Ok(()) };
        let mut session = BlockSession::with_referee(
            BlockContext { height: tip.height + 1, ..tip.execution() },
            Arc::new(TrustReferee),
        );
        session.vouch(tx, signer);
        let refusal = loop {
            match session.inadmissible(tx) {
                Ok(refusal) => break refusal,
                Err(Need(keys)) => {
                    for (key, cell) in keys.iter().zip(self.cells(databases, &keys).await?) {
                        session.supply(*key, cell);
                    }
                }
            }
        };
        refusal.map_or(Ok(()), |error| Err(SubmitError::Refused { reason: error.to_string() }))
    }

    async fn block(&self, height: u64) -> Option<Block> {
        self.app
            .marshal
            .get_block(Identifier::Height(Height::new(height)))
            .await
            .map(|block| block.inner().clone())
    }

    /// The header at `height` (the newest where `None`) with the certificate that makes it final.
    async fn certified(&self, height: Option<u64>) -> Option<CertifiedHeader> {
        let header = match height {
            Some(height) => self.block(height).await?.header().clone(),
            None => self.app.journal.tip()?,
        };
        self.certify(header).await
    }

    async fn certify(&self, header: Header) -> Option<CertifiedHeader> {
        let mut links = Vec::new();
        let mut height = header.height;
        loop {
            if let Some(certificate) = self.app.marshal.get_finalization(Height::new(height)).await {
                return Some(CertifiedHeader { header, links: List::new(links).ok()?, certificate });
            }
            if links.len() == MAX_LINKS {
                return None;
            }
            height += 1;
            links.push(self.block(height).await?.header().clone());
        }
    }

    /// Prove `keys` against the newest final state.
    async fn prove(&self, context: &E, keys: Vec<Key>) -> Result<StateProof, ProveError> {
        let key = match keys.first() {
            Some(first) if keys.len() <= MAX_PROVED_KEYS => *first,
            _ => return Err(ProveError::WrongCount { got: keys.len() }),
        };
        let databases = self.databases.as_ref().ok_or(ProveError::NotReady)?;
        for _ in 0..PROVE_TRIES {
            // The store and the journal move one after the other: agree on the root before proving.
            let proved = {
                let state = databases.read().await;
                let root = Hash(state.root().0);
                match self.app.journal.tip().filter(|tip| tip.state_root == root) {
                    Some(tip) => Some((tip, prove_all(&state, &keys).await?)),
                    None => None,
                }
            };
            if let Some((tip, (unfinished, proofs))) = proved
                && let Some(certified) = self.certify(tip).await
            {
                let failed =
                    || ProveError::Store { key, reason: "its path does not fit into a proof".into() };
                return StateProof::pack(&certified, unfinished, &proofs).ok_or_else(failed);
            }
            context.sleep(PROVE_PAUSE).await;
        }
        Err(ProveError::NotReady)
    }
}

/// Prove what each of `keys` holds in `state`, or that it holds nothing; with the unfinished group of the state's
/// log, as [`StateProof::pack`] takes them.
pub(crate) async fn prove_all<E: Spawner + StorageContext>(
    state: &State<E>,
    keys: &[Key],
) -> Result<(Group, Vec<KeyProof>), ProveError> {
    let mut proofs = Vec::with_capacity(keys.len());
    for key in keys {
        let digest = blake3::Digest(key.0);
        let failed = |reason: String| ProveError::Store { key: *key, reason };
        let cell = state.get(&digest).await.map_err(|error| failed(error.to_string()))?;
        let proof = match cell {
            Some(cell) => state.key_value_proof(digest).await.map(|proof| KeyProof::Present(cell, proof)),
            None => state.exclusion_proof(&digest).await.map(KeyProof::Absent),
        };
        proofs.push(proof.map_err(|error| failed(error.to_string()))?);
    }
    Ok((unfinished(state.bitmap()), proofs))
}
