//! Answer those who ask a validator: take transactions, hand out blocks and headers, prove state.
//!
//! Runs inside the engine's runtime; the outside talks to it through one bounded queue of [`Query`]s.
//! Transactions that it takes go to the other validators too, on a channel of their own, once.

use crate::{
    application::{App, Databases, State},
    execute::{Cells, execute},
    mempool::SubmitError,
};
use commonware_consensus::{marshal::Identifier, types::Height};
use commonware_cryptography::{blake3, ed25519};
use commonware_glue::stateful::Mailbox as StatefulMailbox;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::{Handle, Spawner};
use commonware_storage::Context as StorageContext;
use futures::FutureExt as _;
use std::time::Duration;
use tessera_canon::{Blob, Hash, List, decode, encode};
use tessera_chain::{Block, CertifiedHeader, Header, MAX_LINKS, MAX_PROVED_KEYS, ProvedEntry, StateProof};
use tessera_ledger::{BlockContext, Cell, Key, MAX_TX_BYTES, SignedTx, query, record::Account};
use tokio::sync::{mpsc, oneshot};

/// Attempts to prove against a header that is already final, and the pause between them.
const PROVE_TRIES: usize = 40;
const PROVE_PAUSE: Duration = Duration::from_millis(25);

/// Why no proof could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// More keys than a proof holds.
    #[error("a proof holds at most {MAX_PROVED_KEYS} keys, {got} were asked for")]
    TooManyKeys { got: usize },
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
#[derive(Clone)]
pub(crate) struct Desk<E: Spawner + StorageContext> {
    app: App,
    stateful: StatefulMailbox<E, App>,
    databases: Option<Databases<E>>,
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
        loop {
            tokio::select! {
                biased;
                databases = &mut opening => {
                    self.databases = Some(databases);
                    if let Some((_, block)) = self.app.marshal.get_anchor().await {
                        self.app.journal.resume(block.inner().header().clone());
                    }
                }
                query = queries.recv() => match query {
                    Some(query) => self.answer(&context, query, &mut sender).await,
                    None => return,
                },
                message = receiver.recv() => {
                    let Ok((peer, bytes)) = message else { return };
                    match self.check_bytes(bytes.as_ref()).await {
                        Ok(_) => {}
                        Err(refusal) => tracing::debug!(%peer, %refusal, "a peer's transaction was not taken"),
                    }
                }
            }
        }
    }

    async fn answer<S>(&self, context: &E, query: Query, sender: &mut S)
    where
        S: Sender<PublicKey = ed25519::PublicKey>,
    {
        // A closed answer channel means that the one who asked has gone.
        match query {
            Query::Submit(tx, reply) => {
                let taken = self.take(*tx.clone()).await;
                if let Ok((_, true)) = taken {
                    sender.send(Recipients::All, encode(&*tx), false);
                }
                let _ = reply.send(taken.map(|(id, _)| id));
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

    async fn check_bytes(&self, bytes: &[u8]) -> Result<(), SubmitError> {
        if bytes.len() > MAX_TX_BYTES {
            return Err(SubmitError::TooBig { got: bytes.len() });
        }
        let tx = decode::<SignedTx>(bytes)
            .map_err(|error| SubmitError::Refused { reason: format!("it does not decode: {error}") })?;
        self.take(tx).await.map(drop)
    }

    /// Check a transaction and put it into the pool; returns its id and whether it is new.
    async fn take(&self, tx: SignedTx) -> Result<(Hash, bool), SubmitError> {
        let databases = self.databases.as_ref().ok_or(SubmitError::NotReady)?;
        if tx.body.network != self.app.network {
            return Err(SubmitError::OtherNetwork { expected: self.app.network, got: tx.body.network });
        }
        if tx.size() > MAX_TX_BYTES {
            return Err(SubmitError::TooBig { got: tx.size() });
        }
        let account = self.sender(databases, &tx).await?;
        // The next block is the first that the transaction can be in.
        let height = self.app.journal.tip().map_or(1, |tip| tip.height + 1);
        if !tx.verify_by(&account.signer_at(height)) {
            return Err(SubmitError::BadSignature { sender: tx.body.sender });
        }
        let expected = account.nonce;
        if tx.body.nonce == expected {
            self.rehearse(databases, &tx).await?;
        }
        let id = tx.id();
        let new = self.app.pool.insert(tx, expected)?;
        Ok((id, new))
    }

    async fn sender(&self, databases: &Databases<E>, tx: &SignedTx) -> Result<Account, SubmitError> {
        let key = tessera_ledger::keys::account(&tx.body.sender);
        let cell =
            Applied(databases).fetch(&[key]).await.map_err(|()| SubmitError::NotReady)?.pop().flatten();
        // Before block 1 the genesis cells are not in the store yet.
        let cell = cell.or_else(|| self.app.cells.get(&key).copied());
        Ok(query::account(|wanted: &Key| cell.filter(|_| *wanted == key), &tx.body.sender)
            .unwrap_or_else(|| Account::new(tx.body.sender)))
    }

    /// Execute a transaction on the newest state, only to learn whether a block could include it.
    async fn rehearse(&self, databases: &Databases<E>, tx: &SignedTx) -> Result<(), SubmitError> {
        let Some(tip) = self.app.journal.tip() else { return Ok(()) };
        let context = BlockContext { height: tip.height + 1, ..tip.execution() };
        let executed = execute(context, &self.app.cells, &Applied(databases), vec![tx.clone()])
            .await
            .map_err(|()| SubmitError::NotReady)?;
        match executed.refused.first() {
            Some((_, receipt)) => Err(SubmitError::Refused {
                reason: receipt.error.as_ref().map_or_else(|| "no reason".into(), ToString::to_string),
            }),
            None => Ok(()),
        }
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
        if keys.len() > MAX_PROVED_KEYS {
            return Err(ProveError::TooManyKeys { got: keys.len() });
        }
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
            if let Some((tip, entries)) = proved
                && let Some(header) = self.certify(tip).await
            {
                let entries = List::new(entries).map_err(|_| ProveError::TooManyKeys { got: keys.len() })?;
                return Ok(StateProof { header, entries });
            }
            context.sleep(PROVE_PAUSE).await;
        }
        Err(ProveError::NotReady)
    }
}

async fn prove_all<E: Spawner + StorageContext>(
    state: &State<E>,
    keys: &[Key],
) -> Result<Vec<ProvedEntry>, ProveError> {
    let mut entries = Vec::with_capacity(keys.len());
    for key in keys {
        let digest = blake3::Digest(key.0);
        let failed = |reason: String| ProveError::Store { key: *key, reason };
        let cell = state.get(&digest).await.map_err(|error| failed(error.to_string()))?;
        let bytes = match cell {
            Some(_) => {
                encode(&state.key_value_proof(digest).await.map_err(|error| failed(error.to_string()))?)
            }
            None => encode(&state.exclusion_proof(&digest).await.map_err(|error| failed(error.to_string()))?),
        };
        let proof = Blob::new(bytes).map_err(|error| failed(error.to_string()))?;
        entries.push(ProvedEntry { key: *key, cell, proof });
    }
    Ok(entries)
}
