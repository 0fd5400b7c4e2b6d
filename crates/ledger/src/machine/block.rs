//! Run one block: boundary work, transactions, index upkeep; each call atomic and repeatable.

use crate::{
    account,
    action::Action,
    cell::{Cell, Key},
    credits::{dispute, evidence, host, public, settle},
    error::TxError,
    event::{Event, TxRefused},
    machine::epoch,
    market::offer,
    note, run, seat, series, session, shares,
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
        // Accounts and validators.
        Action::Transfer(action) => account::transfer(view, sender, action),
        // Runs.
        Action::CreateRun(action) => run::create(view, sender, action),
        Action::JoinRun(action) => seat::join(view, sender, action),
        Action::UpdateEndpoint(action) => seat::update_endpoint(view, sender, action),
        Action::LapseSeat(action) => seat::lapse(view, sender, action),
        Action::ReportWindow(action) => window::report(view, sender, action),
        // Trust.
        // Shares.
        Action::TransferShares(action) => shares::transfer(view, sender, action),
        Action::ClaimCredits(action) => shares::claim(view, id, sender, action),
        // Credits.
        Action::Reshape(action) => note::reshape(view, id, sender, action),
        Action::LockNotes(action) => session::lock(view, sender, action),
        Action::RollNote(action) => series::roll(view, id, sender, action),
        Action::Failover(action) => session::failover(view, action),
        Action::SettleSession(action) => settle::settle(view, sender, action),
        Action::RaiseSettle(action) => settle::raise(view, sender, action),
        Action::ExpireLock(action) => session::expire(view, &action.order),
        Action::FinalizeSession(action) => settle::finalize(view, &action.order),
        Action::DisputeSession(action) => dispute::open(view, sender, action),
        Action::JudgeSession(action) => dispute::judge(view, action),
        Action::ReportHomeEquivocation(action) => evidence::home(view, sender, action),
        Action::ReportClientEquivocation(action) => evidence::client(view, id, action),
        Action::ReportRefusal(action) => evidence::refusal(view, action),
        Action::PublicApply(action) => public::apply(view, sender, action),
        Action::HostBond(action) => host::bond(view, sender, action),
        Action::HostExit(action) => host::exit(view, sender, action),
        // Market.
        Action::PostOffer(action) => offer::post(view, id, sender, action),
        Action::BuyOffer(action) => offer::buy(view, id, sender, action),
        Action::CancelOffer(action) => offer::cancel(view, id, sender, action),
        // Governance.
        // Extraction.
    }
}
