//! Trade in a sealed batch auction: commit, keep the secret, open in time, see what came of it.
//!
//! ```text
//! OrderSecret::new -> caller keeps it -> commit -> reveal -> cleared
//! ```
//! The caller must have the secret on disk before [`commit`] sends anything: an order that cannot be opened loses
//! part of its escrow. A secret that was kept is all that is needed to go on in another process: [`find`] looks up
//! the order on the ledger if the process ended before it learnt the order's id.
//!
//! What an order got is read from the proved event of the block that cleared its batch.

use crate::{
    Client, LedgerError, Receipt, Source,
    explain::{Facts, Item},
};
use std::time::Duration;
use tessera_canon::{Hash, PublicKey, SecretKey, record};
use tessera_ledger::{
    Action, Event,
    action::{Asset, Collateral, MarketId, OrderCancel, OrderCommit, OrderReveal, OrderTerms, Side},
    keys,
    market::action::seal,
    query,
    record::MarketOrder,
};

/// Pause between two looks at the ledger.
const PAUSE: Duration = Duration::from_millis(400);
/// Batches that an order is offered to before giving up.
const TRIES: usize = 4;

record! {
    /// What must not be lost between the halves of a batch.
    pub struct OrderSecret {
        pub owner: PublicKey,
        pub market: MarketId,
        /// The order's id; [`Hash::ZERO`] until the ledger's answer came.
        pub order: Hash,
        /// Its batch; before the answer: the one it was sent to.
        pub batch: u64,
        pub terms: OrderTerms,
        pub salt: Hash,
    }
}

/// Why a trade failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TradeError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The caller could not keep the secret, so nothing was sent.
    #[error("the order was not sent, because its secret cannot be kept: {cause}")]
    Keep { cause: String },
    #[error("the system gave no random bytes: {cause}")]
    Entropy { cause: String },
    /// Each time the half of the batch was over before the transaction was in a block.
    #[error(
        "expected a batch that takes the order, got {tries} that were closed before it was in a block; blocks are faster than transactions arrive: try again"
    )]
    Closed { tries: usize },
    /// No order with this seal.
    #[error("the order with seal {seal} is not on the ledger: it was never taken, or its batch is cleared")]
    Gone { seal: Hash },
    /// Its batch was cleared before it was opened.
    #[error(
        "order {order} of batch {batch} was not opened in time (batch {now} is open now); part of its escrow is lost"
    )]
    Late { order: Hash, batch: u64, now: u64 },
    /// The index of events has nothing of it.
    #[error("expected an event that tells the outcome of order {order}, got none; ask again later")]
    Untold { order: Hash },
}
impl TradeError {
    /// Whether the ledger did not take the order, so that its secret is of no use.
    pub fn not_taken(&self) -> bool {
        match self {
            Self::Ledger(error) => matches!(
                error,
                LedgerError::Refused { .. } | LedgerError::Rejected { .. } | LedgerError::Funds { .. }
            ),
            Self::Keep { .. } | Self::Entropy { .. } | Self::Closed { .. } | Self::Gone { .. } => true,
            Self::Late { .. } | Self::Untold { .. } => false,
        }
    }
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Its batch was cleared.
    Filled(Filled),
    /// The escrow came back: withdrawn, or the series ended.
    Returned { height: u64 },
    /// It was not opened: `lost` of the escrow is gone.
    Forfeited { height: u64, lost: u128 },
}

/// What an order got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Height of the block that cleared the batch.
    pub height: u64,
    /// Units bought or sold.
    pub filled: u128,
    /// Nano-U paid, or received before the fee.
    pub money: u128,
    /// Nano-U.
    pub fee: u128,
    /// The batch's one price, nano-U for a unit; absent if this order got nothing.
    pub price: Option<u128>,
    /// The note that a bid for credits bought.
    pub note: Option<Hash>,
}

/// Where the ledger stands in the batches of a market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The newest height seen.
    pub height: u64,
    /// Batch of the next block.
    pub batch: u64,
    /// Whether the next block can open orders; else it takes them.
    pub opening: bool,
    /// Blocks of this half that are still to come, the next one included.
    pub left: u64,
    /// Blocks of a half that takes orders.
    pub half: u64,
}

impl OrderSecret {
    /// A new secret for an order of `owner`.
    pub fn new(owner: PublicKey, market: MarketId, terms: OrderTerms) -> Result<Self, TradeError> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(|error| TradeError::Entropy { cause: error.to_string() })?;
        Ok(Self { owner, market, order: Hash::ZERO, batch: 0, terms, salt: Hash(salt) })
    }
    /// The order's commitment; a name for it before it has an id.
    pub fn seal(&self) -> Hash {
        seal(&self.owner, &self.terms, &self.salt)
    }
}

/// Where the market of `asset` stands.
pub async fn moment<S: Source>(client: &Client<S>, asset: Asset) -> Result<Moment, LedgerError> {
    client
        .read(|view| {
            let next = view.height + 1;
            let (batch, opening) = query::batch_at(view.source(), asset, next);
            let blocks = query::params(view.source()).unwrap_or_default().epoch_blocks.max(1);
            let span = query::market_params(view.source()).batch(asset).saturating_mul(blocks);
            let at = next % span.max(1);
            let left = if opening { span - at } else { span / 2 - at };
            Moment { height: view.height, batch, opening, left, half: span / 2 }
        })
        .await
}

/// Put a sealed order into the next batch that takes one. `keep` must have the secret on disk when it returns; it
/// is called before anything is sent, and again with the order's id. `tell` hears what is waited for.
pub async fn commit<S: Source>(
    client: &Client<S>,
    key: &SecretKey,
    secret: &mut OrderSecret,
    collateral: Collateral,
    mut keep: impl FnMut(&OrderSecret) -> Result<(), String>,
    mut tell: impl FnMut(&str),
) -> Result<Receipt, TradeError> {
    for _ in 0..TRIES {
        let mut told = false;
        let now = loop {
            let now = moment(client, secret.market.asset).await?;
            // A transaction needs a block or two: the last ones of a half are left to others.
            if !now.opening && now.left > now.half.min(4) / 2 {
                break now;
            }
            let blocks = if now.opening { now.left } else { now.left + now.half };
            if !told {
                tell(&format!("waiting for the next batch, which takes orders in {blocks} blocks"));
                told = true;
            }
            client.after(now.height, PAUSE).await?;
        };
        secret.batch = now.batch;
        keep(secret).map_err(|cause| TradeError::Keep { cause })?;
        tell(&format!("sending the sealed order to batch {}", now.batch));
        let action = OrderCommit {
            market: secret.market.clone(),
            seal: secret.seal(),
            collateral: collateral.clone(),
        };
        let receipt = match client.submit(key, Action::OrderCommit(action)).await {
            Ok(receipt) => receipt,
            Err(LedgerError::Refused { tx, height, reason }) => {
                let asset = secret.market.asset;
                let late = client.read(|view| query::batch_at(view.source(), asset, height).1).await?;
                if late {
                    continue;
                }
                return Err(LedgerError::Refused { tx, height, reason }.into());
            }
            Err(error) => return Err(error.into()),
        };
        let batch = receipt.events.iter().find_map(|event| match event {
            Event::OrderCommitted(made) if made.order == receipt.tx => Some(made.batch),
            _ => None,
        });
        secret.order = receipt.tx;
        secret.batch = batch.unwrap_or(secret.batch);
        keep(secret).map_err(|cause| TradeError::Keep { cause })?;
        return Ok(receipt);
    }
    Err(TradeError::Closed { tries: TRIES })
}

/// The order of a secret, as it stands on the ledger; learns its id if that was lost.
pub async fn find<S: Source>(
    client: &Client<S>,
    secret: &mut OrderSecret,
) -> Result<Option<MarketOrder>, LedgerError> {
    let (seal, known) = (secret.seal(), secret.clone());
    let found = client
        .read(|view| {
            if known.order != Hash::ZERO {
                return query::order(view.source(), &known.order);
            }
            // It may have been put into the batch after the one that it was sent to.
            let batches = [known.batch, known.batch + 1];
            let orders = batches.map(|batch| query::orders(view.source(), &known.market, batch));
            orders.into_iter().flatten().find(|order| order.seal == seal && order.owner == known.owner)
        })
        .await?;
    if let Some(order) = &found {
        (secret.order, secret.batch) = (order.id, order.batch);
    }
    Ok(found)
}

/// Open an order as soon as its batch allows. `Ok(None)`: it is open already.
pub async fn reveal<S: Source>(
    client: &Client<S>,
    key: &SecretKey,
    secret: &mut OrderSecret,
    mut tell: impl FnMut(&str),
) -> Result<Option<Receipt>, TradeError> {
    let gone = TradeError::Gone { seal: secret.seal() };
    let order = find(client, secret).await?.ok_or(gone)?;
    if order.terms.is_some() {
        return Ok(None);
    }
    let mut told = false;
    loop {
        let now = moment(client, secret.market.asset).await?;
        if now.batch > secret.batch {
            return Err(TradeError::Late { order: secret.order, batch: secret.batch, now: now.batch });
        }
        if now.opening {
            break;
        }
        if !told {
            tell(&format!(
                "waiting for the half of batch {} that opens orders, in {} blocks",
                now.batch, now.left
            ));
            told = true;
        }
        client.after(now.height, PAUSE).await?;
    }
    tell("opening the order");
    let action = OrderReveal { order: secret.order, terms: secret.terms.clone(), salt: secret.salt };
    Ok(Some(client.submit(key, Action::OrderReveal(action)).await?))
}

/// Withdraw an order in the half of its batch that takes orders.
pub async fn cancel<S: Source>(
    client: &Client<S>,
    key: &SecretKey,
    order: &Hash,
) -> Result<Receipt, LedgerError> {
    client.submit(key, Action::OrderCancel(OrderCancel { order: *order })).await
}

/// Wait until the order's batch is cleared, and say what the order got.
pub async fn cleared<S: Source>(
    client: &Client<S>,
    secret: &OrderSecret,
    mut tell: impl FnMut(&str),
) -> Result<Outcome, TradeError> {
    let mut told = false;
    loop {
        let (height, waits) =
            client.read(|view| (view.height, query::order(view.source(), &secret.order).is_some())).await?;
        if !waits {
            return outcome(client, &secret.order, height).await;
        }
        if !told {
            let now = moment(client, secret.market.asset).await?;
            let blocks = if now.opening { now.left } else { now.left + now.half };
            tell(&format!("waiting for batch {} to be cleared, in {blocks} blocks", secret.batch));
            told = true;
        }
        client.after(height, PAUSE).await?;
    }
}

/// What became of `order`, which is not on the ledger any more at `height`.
pub async fn outcome<S: Source>(
    client: &Client<S>,
    order: &Hash,
    height: u64,
) -> Result<Outcome, TradeError> {
    let (_, places) = client.history(*order, height).await?;
    let facts = Facts::fetch(client, &places).await?;
    let credits = facts.events().any(|(_, event)| {
        matches!(event, Event::OrderCommitted(e) if e.order == *order && e.market.asset == Asset::Cu)
    });
    let told = facts.items.iter().rev().find_map(|fact| {
        let Item::Event(event) = &fact.item else { return None };
        let height = fact.height;
        match event {
            Event::OrderReturned(e) if e.order == *order => Some(Outcome::Returned { height }),
            Event::OrderForfeited(e) if e.order == *order => {
                Some(Outcome::Forfeited { height, lost: e.amount })
            }
            Event::OrderFilled(e) if e.order == *order => Some(Outcome::Filled(Filled {
                height,
                filled: e.filled,
                money: e.money,
                fee: e.fee,
                price: e.money.checked_div(e.filled),
                note: (credits && e.side == Side::Bid && e.filled > 0).then(|| keys::note_id(order, 0)),
            })),
            _ => None,
        }
    });
    told.ok_or(TradeError::Untold { order: *order })
}
