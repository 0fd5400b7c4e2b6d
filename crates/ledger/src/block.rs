//! Run one block: boundary work, transactions, index upkeep; each call atomic and repeatable.

use crate::{
    account,
    action::Action,
    cell::{Cell, Key},
    epoch,
    error::TxError,
    event::{Event, TxRefused},
    market, note, run, seat, session, shares,
    store::{Cells, ListChanges, Stop, View},
    tx::SignedTx,
    window,
};
use std::collections::BTreeSet;
use tessera_canon::{Domain, Hash, PublicKey, Text, digest};

const SEEN: Domain = Domain::new("tessera/ledger/seen-signature/v1");

/// What a block brings besides its transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockContext {
    pub network: Hash,
    pub height: u64,
    pub time_ms: u64,
    /// Public randomness nobody knew before this block.
    pub beacon: Hash,
    pub proposer: PublicKey,
}

/// Keys that must be supplied before the call can finish. The call had no effect; repeat it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need(pub Vec<Key>);

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub tx: Hash,
    /// `None` if the action took effect.
    pub error: Option<TxError>,
}
impl Receipt {
    /// Whether the action took effect.
    pub fn ok(&self) -> bool {
        self.error.is_none()
    }
    /// Whether the transaction may stand in a block. If not, nothing at all changed.
    pub fn includable(&self) -> bool {
        self.error.as_ref().is_none_or(TxError::includable)
    }
    /// Whether the transaction must not stand in a block.
    pub fn rejected(&self) -> bool {
        !self.includable()
    }
}

/// The result of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Changed cells in key order; `None` deletes.
    pub writes: Vec<(Key, Option<Cell>)>,
    pub events: Vec<Event>,
    /// One for each applied transaction, in order (also for those that must not be included).
    pub receipts: Vec<Receipt>,
}

/// A block being run. Call `begin`, `apply` for each transaction, `end`, `finish`.
pub struct BlockSession {
    context: BlockContext,
    supplied: Cells,
    written: Cells,
    lists: ListChanges,
    events: Vec<Event>,
    receipts: Vec<Receipt>,
    /// Transactions whose signature was checked, so that a repeated call does not check again.
    checked: BTreeSet<Hash>,
}

impl BlockSession {
    pub fn new(context: BlockContext) -> Self {
        Self {
            context,
            supplied: Cells::new(),
            written: Cells::new(),
            lists: ListChanges::new(),
            events: Vec::new(),
            receipts: Vec::new(),
            checked: BTreeSet::new(),
        }
    }
    /// The state of `key` before this block. Supplying a key twice has no effect.
    pub fn supply(&mut self, key: Key, cell: Option<Cell>) {
        self.supplied.entry(key).or_insert(cell);
    }
    /// Say that `tx`'s signature was verified already, so that [`BlockSession::apply`] does not do it again.
    /// The driver vouches for it: a wrong word here lets a forgery through.
    pub fn vouch(&mut self, tx: &SignedTx) {
        self.checked.insert(digest(SEEN, tx));
    }
    /// Why `tx` may not stand in a block now, if so; looks only, and at little. Its signature must be vouched for.
    pub fn inadmissible(&self, tx: &SignedTx) -> Result<Option<TxError>, Need> {
        let view = View::new(&self.context, &self.supplied, &self.written, &self.lists);
        match account::check_envelope(&view, tx, self.checked.contains(&digest(SEEN, tx))) {
            Ok(()) => Ok(None),
            Err(Stop::Refused(error)) => Ok(Some(error)),
            Err(Stop::Need(keys)) => Err(Need(keys)),
        }
    }
    /// Epoch boundary work if this height is one, and seat draws.
    pub fn begin(&mut self) -> Result<(), Need> {
        only_need(self.attempt(epoch::begin))
    }
    /// Run one transaction. Never fails otherwise than by [`Need`]; see [`Receipt`].
    pub fn apply(&mut self, tx: &SignedTx) -> Result<Receipt, Need> {
        let seen = digest(SEEN, tx);
        if !self.checked.contains(&seen) && tx.verify() {
            self.checked.insert(seen);
        }
        let id = tx.id();
        let verified = self.checked.contains(&seen);
        let mut refused = None;
        let acted = self.attempt(|view| {
            account::check_envelope(view, tx, verified)?;
            account::charge(view, tx)?;
            act(view, &id, tx)
        });
        match acted {
            Ok(()) => {}
            Err(Stop::Need(keys)) => return Err(Need(keys)),
            Err(Stop::Refused(error)) => refused = Some(error),
        }
        if let Some(error) = &refused
            && error.includable()
        {
            let reason = shorten(error.to_string());
            only_need(self.attempt(|view| {
                account::charge(view, tx)?;
                view.emit(TxRefused { tx: id, sender: tx.body.sender, reason });
                Ok(())
            }))?;
        }
        let receipt = Receipt { tx: id, error: refused };
        self.receipts.push(receipt.clone());
        Ok(receipt)
    }
    /// Carry out the block's list changes.
    pub fn end(&mut self) -> Result<(), Need> {
        only_need(self.attempt(|view| view.flush_lists()))?;
        self.lists.clear();
        Ok(())
    }
    /// The block's result; call it after `end`.
    pub fn finish(self) -> Outcome {
        Outcome { writes: self.written.into_iter().collect(), events: self.events, receipts: self.receipts }
    }

    /// Run `step` and keep its effects only if it succeeds.
    fn attempt(&mut self, step: impl FnOnce(&mut View<'_>) -> Result<(), Stop>) -> Result<(), Stop> {
        let mut view = View::new(&self.context, &self.supplied, &self.written, &self.lists);
        step(&mut view)?;
        let effects = view.effects;
        self.written.extend(effects.cells);
        self.events.extend(effects.events);
        for (change, to) in effects.lists {
            match to {
                Some(add) => self.lists.insert(change, add),
                None => self.lists.remove(&change),
            };
        }
        Ok(())
    }
}
/// Boundary work, charging and list upkeep refuse nothing; were one to, it would have no effect.
fn only_need(result: Result<(), Stop>) -> Result<(), Need> {
    match result {
        Err(Stop::Need(keys)) => Err(Need(keys)),
        Ok(()) | Err(Stop::Refused(_)) => Ok(()),
    }
}

fn shorten(mut text: String) -> Text<256> {
    while text.len() > 256 {
        text.pop();
    }
    Text::new(text).unwrap_or_default()
}

/// Hand the action to its module.
fn act(view: &mut View<'_>, id: &Hash, tx: &SignedTx) -> Result<(), Stop> {
    let sender = &tx.body.sender;
    match &tx.body.action {
        Action::Transfer(action) => account::transfer(view, sender, action),
        Action::CreateRun(action) => run::create(view, sender, action),
        Action::JoinRun(action) => seat::join(view, sender, action),
        Action::UpdateEndpoint(action) => seat::update_endpoint(view, sender, action),
        Action::LapseSeat(action) => seat::lapse(view, sender, action),
        Action::ReportWindow(action) => window::report(view, sender, action),
        Action::TransferShares(action) => shares::transfer(view, sender, action),
        Action::ClaimCredits(action) => shares::claim(view, id, sender, action),
        Action::Reshape(action) => note::reshape(view, id, sender, action),
        Action::LockNotes(action) => session::lock(view, sender, action),
        Action::SettleSession(action) => session::settle(view, sender, action),
        Action::RaiseSettle(action) => session::raise(view, sender, action),
        Action::ExpireLock(action) => session::expire(view, &action.order),
        Action::FinalizeSession(action) => session::finalize(view, &action.order),
        Action::PostOffer(action) => market::post(view, id, sender, action),
        Action::BuyOffer(action) => market::buy(view, id, sender, action),
        Action::CancelOffer(action) => market::cancel(view, id, sender, action),
    }
}
