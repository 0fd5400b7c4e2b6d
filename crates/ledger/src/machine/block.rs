//! Run one block: boundary work, transactions, index upkeep; each call atomic and repeatable.

use crate::{
    account,
    accounts::validator,
    action::Action,
    cell::{Cell, Key},
    credits::{dispute as session_dispute, evidence, host, public, settle},
    error::TxError,
    event::{Event, TxRefused},
    extraction::{measurement, operator},
    governance::{proposal, vote},
    keys,
    machine::epoch,
    market, note,
    referee::{NoReferee, Referee},
    run,
    runs::{bond, evaluation, fork},
    seat, series, session, shares,
    store::{Cells, ListChanges, Stop, View},
    trust::{canary, contradiction, dispute, opening, panel},
    tx::SignedTx,
    window,
};
use std::{collections::BTreeSet, sync::Arc};
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
    referee: Arc<dyn Referee>,
    supplied: Cells,
    written: Cells,
    lists: ListChanges,
    events: Vec<Event>,
    receipts: Vec<Receipt>,
    /// Transactions whose signature was checked, so that a repeated call does not check again.
    checked: BTreeSet<Hash>,
}

impl BlockSession {
    /// A block of a network without a referee: no dispute can be narrowed to a step.
    pub fn new(context: BlockContext) -> Self {
        Self::with_referee(context, Arc::new(NoReferee))
    }
    /// A block whose disputes `referee` judges. Every validator of a network must use the same one.
    pub fn with_referee(context: BlockContext, referee: Arc<dyn Referee>) -> Self {
        Self {
            context,
            referee,
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
    /// Say that `tx`'s signature was verified already with the key `signer`, so that [`BlockSession::apply`] does not do
    /// it again if that key signs for the sender. The driver vouches for it: a wrong word here lets a forgery through.
    pub fn vouch(&mut self, tx: &SignedTx, signer: &PublicKey) {
        self.checked.insert(seen(tx, signer));
    }
    /// Why `tx` may not stand in a block now, if so; looks only, and at little. Its signature must be vouched for.
    pub fn inadmissible(&self, tx: &SignedTx) -> Result<Option<TxError>, Need> {
        let view = View::new(&self.context, &*self.referee, &self.supplied, &self.written, &self.lists);
        let check = || {
            view.want([keys::params(), keys::globals(), keys::account(&tx.body.sender)])?;
            let signer = account::signer(&view, &tx.body.sender)?;
            account::check_envelope(&view, tx, self.checked.contains(&seen(tx, &signer)))
        };
        match check() {
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
        let mut signer = tx.body.sender;
        only_need(self.attempt(|view| {
            view.want([keys::params(), keys::globals(), keys::account(&signer)])?;
            signer = account::signer(view, &signer)?;
            Ok(())
        }))?;
        let seen = seen(tx, &signer);
        if !self.checked.contains(&seen) && tx.verify_by(&signer) {
            self.checked.insert(seen);
        }
        let id = tx.id();
        let verified = self.checked.contains(&seen);
        let (mut refused, mut waived) = (None, false);
        let acted = self.attempt(|view| {
            account::check_envelope(view, tx, verified)?;
            account::charge(view, tx)?;
            waived = account::waived(view, tx)?;
            act(view, &id, tx)
        });
        match acted {
            Ok(()) => {}
            Err(Stop::Need(keys)) => return Err(Need(keys)),
            // Without a fee only what takes effect may stand in a block.
            Err(Stop::Refused(error)) if waived => {
                refused = Some(TxError::Waived { reason: error.to_string() });
            }
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
        let mut view = View::new(&self.context, &*self.referee, &self.supplied, &self.written, &self.lists);
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

/// What stands for "this very transaction was verified with this key".
fn seen(tx: &SignedTx, signer: &PublicKey) -> Hash {
    digest(SEEN, &(digest(SEEN, tx), *signer))
}

/// Hand the action to its module.
fn act(view: &mut View<'_>, id: &Hash, tx: &SignedTx) -> Result<(), Stop> {
    let sender = &tx.body.sender;
    match &tx.body.action {
        // Accounts and validators.
        Action::Transfer(action) => account::transfer(view, sender, action),
        Action::RotateKey(action) => account::rotate(view, sender, action),
        Action::ValidatorBond(action) => validator::bond(view, sender, action),
        Action::ValidatorUnbond(_) => validator::unbond(view, sender),
        Action::ReportDoubleSign(action) => validator::report_double_sign(view, sender, action),
        // Runs.
        Action::CreateRun(action) => run::create(view, sender, action),
        Action::JoinRun(action) => seat::join(view, sender, action),
        Action::LeaveRun(action) => seat::leave(view, sender, action),
        Action::WithdrawBond(action) => bond::withdraw(view, sender, action),
        Action::EvalCommit(action) => evaluation::commit(view, sender, action),
        Action::EvalReveal(action) => evaluation::reveal(view, sender, action),
        Action::AbortRun(action) => run::abort(view, action),
        Action::ForkRun(action) => fork::fork(view, sender, action),
        Action::UpdateEndpoint(action) => seat::update_endpoint(view, sender, action),
        Action::LapseSeat(action) => seat::lapse(view, sender, action),
        Action::ReportWindow(action) => window::report(view, sender, action),
        // Trust.
        Action::OpenDispute(action) => dispute::open(view, sender, action),
        Action::Contradict(action) => contradiction::contradict(view, sender, action),
        Action::DemandOpening(action) => opening::demand(view, sender, action),
        Action::DisputeStep(action) => dispute::step(view, sender, action),
        Action::ResolveDispute(action) => dispute::resolve(view, action),
        Action::AuditCommit(action) => panel::commit(view, sender, action),
        Action::AuditReveal(action) => panel::reveal(view, sender, action),
        Action::SealCanary(action) => canary::seal(view, sender, action),
        Action::OpenCanary(action) => canary::open(view, sender, action),
        // Shares.
        Action::TransferShares(action) => shares::transfer(view, sender, action),
        Action::BasketTransfer(action) => market::basket::transfer(view, sender, action),
        Action::AutoSellWrap(action) => market::pool::wrap(view, sender, action),
        Action::AutoSellUnwrap(action) => market::pool::unwrap(view, sender, action),
        Action::ClaimCredits(action) => shares::claim(view, id, sender, action),
        Action::ClaimProceeds(action) => market::pool::claim(view, sender, action),
        // Credits.
        Action::Reshape(action) => note::reshape(view, id, sender, action),
        Action::LockNotes(action) => session::lock(view, sender, action),
        Action::RollNote(action) => series::roll(view, id, sender, action),
        Action::Failover(action) => session::failover(view, action),
        Action::SettleSession(action) => settle::settle(view, sender, action),
        Action::RaiseSettle(action) => settle::raise(view, sender, action),
        Action::ExpireLock(action) => session::expire(view, &action.order),
        Action::FinalizeSession(action) => settle::finalize(view, &action.order),
        Action::DisputeSession(action) => session_dispute::open(view, sender, action),
        Action::JudgeSession(action) => session_dispute::judge(view, action),
        Action::ReportHomeEquivocation(action) => evidence::home(view, sender, action),
        Action::ReportClientEquivocation(action) => evidence::client(view, id, action),
        Action::ReportRefusal(action) => evidence::refusal(view, action),
        Action::PublicApply(action) => public::apply(view, sender, action),
        Action::HostBond(action) => host::bond(view, sender, action),
        Action::HostExit(action) => host::exit(view, sender, action),
        // Market.
        Action::OrderCommit(action) => market::order::commit(view, id, sender, action),
        Action::OrderReveal(action) => market::order::reveal(view, sender, action),
        Action::OrderCancel(action) => market::order::cancel(view, sender, action),
        Action::HostAsk(action) => market::host::ask(view, sender, action),
        // Governance.
        Action::Propose(action) => proposal::propose(view, id, sender, action),
        Action::Vote(action) => vote::vote(view, sender, action),
        Action::Delegate(action) => vote::delegate(view, sender, action),
        Action::Execute(action) => proposal::execute(view, action),
        // Extraction.
        Action::DeclareOperator(action) => operator::declare(view, sender, action),
        Action::PostMeasurement(action) => measurement::post(view, sender, action),
    }
}
