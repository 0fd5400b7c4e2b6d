//! Change the ledger: sign, offer, wait until a block holds it, and prove what it did.
//!
//! One transaction of an account waits at a time, so nonces are used in order. Another program may send from
//! the same account; who loses that race signs again with the next nonce, but only after it has looked
//! through every block in question for its own transaction, so nothing is done twice.

use crate::{
    Client, LedgerError, Source,
    client::{Useless, lock},
};
use std::{sync::Arc, time::Duration};
use tessera_canon::{Hash, PublicKey, SecretKey};
use tessera_chain::{VerifyError, event_root};
use tessera_ledger::{Action, Event, FeeSource, SignedTx, Tx, account::least_fee, query};
use tessera_wire::rpc::{Answer, Ask, Included, ReceiptOf};
use tokio::time::Instant;

/// Pause between two looks for the receipt.
const POLL: Duration = Duration::from_millis(120);
/// A transaction that is in no block after this long is offered again, to another validator.
const OFFER_AGAIN: Duration = Duration::from_secs(4);
/// How often the account is looked at while the receipt does not come.
const LOOK: Duration = Duration::from_secs(2);
/// When to give up.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Lost races after which to give up.
const RACES: usize = 5;

/// A transaction that took effect, proved by its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub tx: Hash,
    /// Height of its block.
    pub height: u64,
    /// Nano-U paid.
    pub fee: u128,
    /// Everything that happened in that block; see [`Receipt::created_notes`] for an example of use.
    pub events: Vec<Event>,
}

impl Receipt {
    /// Notes that the block made for `owner` (an owner hash), with their credits.
    pub fn created_notes(&self, owner: &Hash) -> Vec<(Hash, u64)> {
        let of_owner = self.events.iter().filter_map(|event| match event {
            Event::NoteCreated(made) if made.owner == *owner => Some((made.note, made.cu)),
            _ => None,
        });
        of_owner.collect()
    }
}

/// Where a transaction stands and whether it took effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub height: u64,
    pub time_ms: u64,
    /// Its place among the transactions of its block.
    pub index: u32,
    pub tx: SignedTx,
    /// Why the ledger refused it; `None` where it took effect.
    pub refused: Option<String>,
}

/// Why the events of its block say that `tx` was refused, if they do.
fn refusal(events: &[Event], tx: &Hash) -> Option<String> {
    events.iter().find_map(|event| match event {
        Event::TxRefused(refused) if refused.tx == *tx => Some(refused.reason.to_string()),
        _ => None,
    })
}

enum Followed {
    Done(Receipt),
    /// Another transaction has the nonce; this one is in no block and can never be.
    Lost,
}

impl<S: Source> Client<S> {
    /// Have `key`'s account do `action`; returns once a final block holds it, proved. A refusal by the ledger
    /// (which costs the fee) is [`LedgerError::Refused`].
    pub async fn submit(&self, key: &SecretKey, action: Action) -> Result<Receipt, LedgerError> {
        let sender = key.public();
        let turn = Arc::clone(lock(&self.0.senders).entry(sender).or_default());
        let _turn = turn.lock().await;
        for _ in 0..RACES {
            let (tx, height) = self.prepare(key, action.clone()).await?;
            match self.follow(&tx, height).await? {
                Followed::Done(receipt) => return Ok(receipt),
                Followed::Lost => tracing::debug!(tx = %tx.id(), "another transaction took the nonce"),
            }
        }
        Err(LedgerError::Race { account: sender, tries: RACES })
    }
    /// Sign `action` with the account's next nonce and the least fee; and the height that was looked at.
    async fn prepare(&self, key: &SecretKey, action: Action) -> Result<(SignedTx, u64), LedgerError> {
        let sender = key.public();
        let (height, account, params) = self
            .read(|view| (view.height, query::account(view.source(), &sender), query::params(view.source())))
            .await?;
        let params = params
            .ok_or_else(|| LedgerError::NotHere { what: "the parameters".into(), network: self.network() })?;
        let (nonce, balance) = account.map_or((0, 0), |account| (account.nonce, account.balance));
        let body =
            Tx { network: self.network(), sender, nonce, fee: 0, fee_from: FeeSource::default(), action };
        // The fee is of fixed length in the encoding, so it does not change the size it depends on.
        let least = least_fee(&params, SignedTx::sign(key, body.clone()).size());
        // Two programs that do the same with the same nonce would make one and the same transaction, and both
        // would take it for theirs. A tip of a few nano-U at random tells them apart.
        let mut random = [0; 2];
        getrandom::fill(&mut random).map_err(|error| LedgerError::Entropy { cause: error.to_string() })?;
        let fee = least + u128::from(u16::from_le_bytes(random) % 1024);
        if balance < fee {
            return Err(LedgerError::Funds { account: sender, balance, fee });
        }
        Ok((SignedTx::sign(key, Tx { fee, ..body }), height))
    }
    /// Offer `tx` until it is in a block or can never be.
    async fn follow(&self, tx: &SignedTx, from: u64) -> Result<Followed, LedgerError> {
        let (id, start) = (tx.id(), Instant::now());
        let (mut offer_at, mut look_at) = (start, start + LOOK);
        let mut taken = false;
        while start.elapsed() < GIVE_UP {
            if Instant::now() >= offer_at {
                match self.offer(tx).await {
                    Ok(()) => (taken, offer_at) = (true, Instant::now() + OFFER_AGAIN),
                    // Once a validator took it, others may have included it: only blocks tell.
                    Err(LedgerError::Rejected { reason }) if !taken => {
                        return Err(LedgerError::Rejected { reason });
                    }
                    Err(error) => {
                        tracing::debug!(tx = %id, %error, "not taken yet");
                        (offer_at, look_at) = (Instant::now() + Duration::from_secs(1), Instant::now());
                    }
                }
            }
            match self.receipt_from(tx, false).await {
                Ok(receipt) => return Ok(Followed::Done(receipt)),
                Err(LedgerError::NotHere { .. } | LedgerError::NoAnswer { .. }) => {}
                Err(other) => return Err(other),
            }
            if Instant::now() >= look_at {
                look_at = Instant::now() + LOOK;
                if let Ok(Some(followed)) = self.nonce_passed(tx, from).await {
                    return followed;
                }
            }
            tokio::time::sleep(POLL).await;
        }
        Err(LedgerError::NotIncluded { tx: id, seconds: GIVE_UP.as_secs() })
    }
    /// Have a validator take `tx`; it is in no block yet.
    pub async fn offer(&self, tx: &SignedTx) -> Result<(), LedgerError> {
        let offered = self
            .ask(Ask::Submit(tx.clone()), |_, answer| match answer {
                Answer::Taken(_) => Ok(()),
                other => Err(self.0.unexpected("an acceptance", other)),
            })
            .await;
        self.turn_away();
        offered
    }
    /// Whether the account is past `tx`'s nonce, and if so, what that means.
    async fn nonce_passed(
        &self,
        tx: &SignedTx,
        from: u64,
    ) -> Result<Option<Result<Followed, LedgerError>>, LedgerError> {
        let sender = tx.body.sender;
        let (height, account) =
            self.read(|view| (view.height, query::account(view.source(), &sender))).await?;
        if account.is_none_or(|account| account.nonce <= tx.body.nonce) {
            return Ok(None);
        }
        if let Ok(receipt) = self.receipt(tx).await {
            return Ok(Some(Ok(Followed::Done(receipt))));
        }
        for height in from..=height {
            // The block before the first look may be the newest one; height 0 has no transactions.
            if height == 0 {
                continue;
            }
            if self.block_at(height).await?.txs().iter().any(|other| other.id() == tx.id()) {
                return Ok(Some(Err(LedgerError::Forgotten { tx: tx.id(), height })));
            }
        }
        Ok(Some(Ok(Followed::Lost)))
    }
    /// What became of `tx`, proved; [`LedgerError::NotHere`] while no validator knows a block with it.
    pub async fn receipt(&self, tx: &SignedTx) -> Result<Receipt, LedgerError> {
        self.receipt_from(tx, true).await
    }
    /// As [`Client::receipt`], but unless `everywhere` the first validator that knows of no block is believed.
    async fn receipt_from(&self, tx: &SignedTx, everywhere: bool) -> Result<Receipt, LedgerError> {
        let id = tx.id();
        let included = self
            .ask(Ask::ReceiptOf(ReceiptOf { tx: id }), |validator, answer| match answer {
                Answer::Included(included) => {
                    self.holds(validator, &included, &id)?;
                    Ok(included)
                }
                other => Err(match self.0.unexpected(&format!("transaction {id}"), other) {
                    Useless::Next(error @ LedgerError::NotHere { .. }) if !everywhere => {
                        Useless::Final(error)
                    }
                    useless => useless,
                }),
            })
            .await?;
        let (height, events) = (included.header.header.height, included.events.into_inner());
        self.note_own(height);
        match refusal(&events, &id) {
            Some(reason) => Err(LedgerError::Refused { tx: id, height, reason }),
            None => Ok(Receipt { tx: id, height, fee: tx.body.fee, events }),
        }
    }
    /// What became of the transaction `id`, whoever sent it, proved by its whole block and all its events.
    pub async fn outcome(&self, id: &Hash) -> Result<Outcome, LedgerError> {
        let included = self
            .ask(Ask::ReceiptOf(ReceiptOf { tx: *id }), |validator, answer| match answer {
                Answer::Included(included) => {
                    self.holds(validator, &included, id)?;
                    Ok(included)
                }
                other => Err(self.0.unexpected(&format!("transaction {id}"), other)),
            })
            .await?;
        let Included { header, block, events } = included;
        let at = block.txs().iter().position(|tx| tx.id() == *id);
        let what = || format!("transaction {id}");
        // `holds` has seen it there.
        let at = at.ok_or_else(|| LedgerError::NotHere { what: what(), network: self.network() })?;
        Ok(Outcome {
            height: header.header.height,
            time_ms: header.header.time_ms,
            index: at as u32,
            tx: block.txs()[at].clone(),
            refused: refusal(&events, id),
        })
    }
    /// Whether header, block and events belong together and to `tx`.
    fn holds(&self, validator: &PublicKey, included: &Included, tx: &Hash) -> Result<(), Useless> {
        let header = self.0.verified(validator, &included.header)?;
        let other = VerifyError::OtherBlock { height: header.height };
        let contains = included.block.txs().iter().any(|found| found.id() == *tx);
        if *included.block.header() != header
            || !contains
            || header.event_root != event_root(&included.events)
        {
            return Err(self.0.wrong(validator, other));
        }
        Ok(())
    }
}
