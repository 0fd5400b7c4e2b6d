//! Answer questions about the ledger from a validator in this process.
//!
//! Remembers the last blocks with their events, so that who submitted a transaction can be shown what it did;
//! for older ones the index of events says where to look.

use super::follow::{SharedIndex, follow};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tessera_canon::{Hash, List};
use tessera_chain::Inclusion;
use tessera_ledger::Genesis;
use tessera_validator::{FinalizedBlock, ProveError, SubmitError, ValidatorHandle};
use tessera_wire::rpc::{Answer, Ask, Included, NotHere, ProveItems, Refused, Taken};
use tokio::sync::broadcast::error::RecvError;

/// Final blocks whose events are remembered.
pub const REMEMBERED_BLOCKS: usize = 1024;
/// Events remembered; the oldest blocks go first.
const REMEMBERED_EVENTS: usize = 200_000;

/// How often the newest header is looked for where there is none yet, and the pause between.
const FIRST_BLOCK_TRIES: usize = 30;
const FIRST_BLOCK_PAUSE: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Recent {
    blocks: BTreeMap<u64, Arc<FinalizedBlock>>,
    /// Transaction id and the height of its block.
    txs: BTreeMap<Hash, u64>,
    events: usize,
}

impl Recent {
    fn add(&mut self, block: Arc<FinalizedBlock>) {
        let height = block.header.height;
        self.events += block.events.len();
        self.txs.extend(block.txs.iter().map(|tx| (tx.id(), height)));
        self.blocks.insert(height, block);
        while self.blocks.len() > REMEMBERED_BLOCKS
            || (self.events > REMEMBERED_EVENTS && self.blocks.len() > 1)
        {
            let Some((_, oldest)) = self.blocks.pop_first() else { return };
            self.events -= oldest.events.len();
            let gone: BTreeSet<Hash> = oldest.txs.iter().map(|tx| tx.id()).collect();
            self.txs.retain(|id, at| *at != oldest.header.height || !gone.contains(id));
        }
    }
    fn of_tx(&self, id: &Hash) -> Option<Arc<FinalizedBlock>> {
        self.blocks.get(self.txs.get(id)?).cloned()
    }
}

/// Answers from a validator. Cheap to clone.
#[derive(Clone)]
pub struct Answerer {
    validator: ValidatorHandle,
    recent: Arc<Mutex<Recent>>,
    index: SharedIndex,
}

impl Answerer {
    /// Listen to `validator` from now on, and keep `index` up to date. Needs a tokio runtime; ends with the
    /// validator.
    pub fn start(validator: ValidatorHandle, genesis: Arc<Genesis>, index: SharedIndex) -> Self {
        let answerer = Self { recent: Arc::default(), validator, index };
        let (mut feed, listener) = (answerer.validator.subscribe(), answerer.clone());
        let (validator, index) = (answerer.validator.clone(), answerer.index.clone());
        tokio::spawn(follow(validator, genesis, index, answerer.validator.subscribe()));
        tokio::spawn(async move {
            loop {
                match feed.recv().await {
                    Ok(block) => listener.recent().add(block),
                    // Those blocks are still on the chain; only their events cannot be shown.
                    Err(RecvError::Lagged(blocks)) => {
                        tracing::warn!(blocks, "lost the events of some blocks")
                    }
                    Err(RecvError::Closed) => return,
                }
            }
        });
        answerer
    }
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
    /// The validator behind it.
    pub fn validator(&self) -> &ValidatorHandle {
        &self.validator
    }
    /// Answer one question.
    pub async fn answer(&self, ask: Ask) -> Answer {
        let validator = &self.validator;
        let or_not_here = |found: Option<Answer>| found.unwrap_or(Answer::NotHere(NotHere {}));
        match ask {
            Ask::Latest(_) => {
                // A validator that just started has no final block for a moment.
                for _ in 0..FIRST_BLOCK_TRIES {
                    if let Some(header) = validator.latest().await {
                        return Answer::Header(header);
                    }
                    tokio::time::sleep(FIRST_BLOCK_PAUSE).await;
                }
                Answer::Refused(Refused::new(true, "the validator has no final block yet; ask again later"))
            }
            Ask::HeaderAt(at) => or_not_here(validator.header_at(at.height).await.map(Answer::Header)),
            Ask::BlockAt(at) => or_not_here(validator.block_at(at.height).await.map(Answer::Block)),
            Ask::Prove(prove) => match validator.prove(prove.keys.into_inner()).await {
                Ok(proof) => Answer::State(proof),
                Err(error) => {
                    let retry = !matches!(error, ProveError::WrongCount { .. });
                    Answer::Refused(Refused::new(retry, &error.to_string()))
                }
            },
            Ask::Submit(tx) => match validator.submit(tx).await {
                Ok(tx) => Answer::Taken(Taken { tx }),
                Err(error) => {
                    // A used or taken nonce is the sender's to sort out: its transaction may be in already.
                    let race =
                        matches!(error, SubmitError::NonceUsed { .. } | SubmitError::NonceTaken { .. });
                    Answer::Refused(Refused::new(race || error.may_retry(), &error.to_string()))
                }
            },
            Ask::ReceiptOf(of) => or_not_here(self.included(&of.tx).await.map(Answer::Included)),
            Ask::History(ask) => {
                let places =
                    self.index.read(move |index| index.places(&ask.subject, ask.from, ask.skip)).await;
                or_not_here(places.map(Answer::Places))
            }
            Ask::ProveItems(items) => or_not_here(self.inclusion(items).await.map(Answer::Inclusion)),
        }
    }
    async fn included(&self, tx: &Hash) -> Option<Included> {
        let recent = self.recent().of_tx(tx);
        let (height, events) = match recent {
            Some(found) => (found.header.height, found.events.clone()),
            None => {
                let id = *tx;
                let found = self.index.read(move |index| match index.height_of(&id)? {
                    Some(height) => Ok(index.events(height)?.map(|events| (height, events))),
                    None => Ok(None),
                });
                found.await.flatten()?
            }
        };
        let (header, block) =
            (self.validator.header_at(height).await?, self.validator.block_at(height).await?);
        Some(Included { header, block, events: List::new(events).ok()? })
    }
    async fn inclusion(&self, items: ProveItems) -> Option<Inclusion> {
        let height = items.height;
        let events = match items.events.is_empty() {
            true => Vec::new(),
            false => self.index.read(move |index| index.events(height)).await.flatten()?,
        };
        let txs = match items.txs.is_empty() {
            true => Vec::new(),
            false => self.validator.block_at(height).await?.txs().to_vec(),
        };
        let header = self.validator.header_at(height).await?;
        Inclusion::prove(header, (&events, &items.events), (&txs, &items.txs))
    }
}
