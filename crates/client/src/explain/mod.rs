//! Explain why a balance is what it is, from events that are proved, with a sum that must come out.
//!
//! A validator's index says where in final blocks something is named; the client fetches those events and
//! transactions with proofs against certified headers ([`Facts`]), turns them into changes by the rules of
//! `rules`, and reads the ledger's own cell at a height with a proof. The index is believed by nobody: were a
//! place left out, the sum would not be the cell's value, and the explanation says so
//! ([`Part::holds`], [`Explanation::holds`]).
//!
//! Each [`Part`] is one number of the ledger: a balance, shares in a run, credits of a note, the money of an
//! order, a run's pool. A number that changes by a new event needs one more arm in `rules`; until then its
//! part does not hold, by the amount that the event moved.

mod dispute;
mod facts;
mod rules;
mod show;

pub use dispute::dispute;
pub use facts::{Fact, Facts, Item};

use crate::{Client, LedgerError, Source, View};
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{
    Genesis, keys, query,
    record::{Claim, Escrow, Lock, LockState, NoteState},
};

/// What is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Account(PublicKey),
    Note(Hash),
    Run(Hash),
    Order(Hash),
    /// The claim that is or was in dispute.
    Dispute(Hash),
    Transaction(Hash),
}

/// What the amounts of a part count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    NanoU,
    Credits,
    Shares,
    WorkUnits,
}

/// A change of the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub height: u64,
    /// What happened, for people.
    pub what: String,
    /// Whether the amount is added.
    pub plus: bool,
    pub amount: u128,
    /// The number after this line; `None` where it went below zero, which a complete history never does.
    pub total: Option<u128>,
}

/// One number of the ledger and what made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The number's name, for example `balance`.
    pub what: String,
    pub unit: Unit,
    pub lines: Vec<Line>,
    /// What the lines add up to.
    pub sum: Option<u128>,
    /// What the ledger's cell holds.
    pub cell: u128,
}
impl Part {
    /// Whether the lines add up to what the ledger holds.
    pub fn holds(&self) -> bool {
        self.sum == Some(self.cell)
    }
    fn new(what: String, unit: Unit, changes: Vec<rules::Change>, cell: u128) -> Self {
        let mut total = Some(0u128);
        let lines = changes.into_iter().map(|change| {
            let rules::Change { height, what, plus, amount } = change;
            total = total.and_then(|total| match plus {
                true => total.checked_add(amount),
                false => total.checked_sub(amount),
            });
            Line { height, what, plus, amount, total }
        });
        let lines = lines.collect();
        Self { what, unit, lines, sum: total, cell }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub subject: Subject,
    /// The state that it explains.
    pub height: u64,
    pub time_ms: u64,
    /// First height that the validator's index covers; above 1, what happened before is missing.
    pub indexed_from: u64,
    pub parts: Vec<Part>,
    /// Further facts of one line each.
    pub remarks: Vec<String>,
}
impl Explanation {
    /// Whether every sum came out.
    pub fn holds(&self) -> bool {
        self.parts.iter().all(Part::holds)
    }
}

/// Explain whatever `id` is the name of.
pub async fn explain<S: Source>(
    client: &Client<S>,
    genesis: &Genesis,
    id: Hash,
) -> Result<Explanation, LedgerError> {
    let subject = identify(client, id).await?;
    match subject {
        Subject::Account(key) => account(client, genesis, key).await,
        Subject::Note(_) | Subject::Run(_) | Subject::Order(_) => thing(client, subject, id).await,
        Subject::Dispute(_) => dispute(client, id).await,
        Subject::Transaction(_) => transaction(client, subject, id).await,
    }
}

/// What `id` is the name of; a transaction if nothing on the ledger has this name.
async fn identify<S: Source>(client: &Client<S>, id: Hash) -> Result<Subject, LedgerError> {
    let key = PublicKey(id.0);
    client
        .read(|view| {
            let account = view.cell(&keys::account(&key)).is_some();
            let note = view.cell(&keys::note(&id)).is_some();
            let run = view.cell(&keys::run_terms(&id)).is_some();
            let order = view.cell(&keys::lock(&id)).is_some();
            // A claim's key is its name.
            if query::read::<Claim>(view.source(), &id).is_some() {
                return Subject::Dispute(id);
            }
            match (account, note, run, order) {
                (true, ..) => Subject::Account(key),
                (_, true, ..) => Subject::Note(id),
                (_, _, true, _) => Subject::Run(id),
                (_, _, _, true) => Subject::Order(id),
                _ => Subject::Transaction(id),
            }
        })
        .await
}

async fn account<S: Source>(
    client: &Client<S>,
    genesis: &Genesis,
    key: PublicKey,
) -> Result<Explanation, LedgerError> {
    let (height, time_ms, balance, nonce, holdings) = client
        .read(|view| {
            let account = query::account(view.source(), &key);
            let (balance, nonce) = account.map_or((0, 0), |account| (account.balance, account.nonce));
            (view.height, view.time_ms, balance, nonce, query::holdings_of(view.source(), &key))
        })
        .await?;
    let (indexed_from, places) = client.history(Hash(key.0), height).await?;
    let mut facts = Facts::fetch(client, &places).await?;
    // What a proposal or a sealed order took and gave back is told by events that name it, not the account.
    let deposits = facts.deposits_of(&key);
    let (escrows, asks) = facts.escrows_of(&key);
    for id in deposits.keys().chain(escrows.keys()).chain(asks.keys()) {
        let (_, places) = client.history(*id, height).await?;
        facts.add(Facts::fetch(client, &places).await?);
    }
    let bonds = bonds(client, &facts, &key).await?;
    let opening = query::account(rules::cells_of(genesis), &key).map_or(0, |account| account.balance);
    let known = rules::Known { opening, deposits, bonds, escrows };
    let changes = rules::balance(&facts, &key, &known);
    let fees = facts.fees_of(&key);
    let mut parts = vec![Part::new("balance".into(), Unit::NanoU, changes, balance)];
    for owner in holdings {
        let changes = rules::shares(&facts, &key, &owner.run, &asks);
        parts.push(Part::new(
            format!("active shares in run {}", owner.run),
            Unit::Shares,
            changes,
            owner.shares,
        ));
    }
    let remarks = vec![format!("{fees} fees for {nonce} transactions")];
    Ok(Explanation { subject: Subject::Account(key), height, time_ms, indexed_from, parts, remarks })
}

/// Bonds of the runs that `key` created, which never change.
async fn bonds<S: Source>(
    client: &Client<S>,
    facts: &Facts,
    key: &PublicKey,
) -> Result<rules::Amounts, LedgerError> {
    let runs = facts.runs_of(key);
    let read = |view: &View| {
        let terms: Vec<_> = runs.iter().map(|run| (*run, query::run_terms(view.source(), run))).collect();
        terms.into_iter().filter_map(|(run, terms)| Some((run, terms?.bond))).collect()
    };
    client.read(read).await
}

async fn thing<S: Source>(
    client: &Client<S>,
    subject: Subject,
    id: Hash,
) -> Result<Explanation, LedgerError> {
    // Cells first: the history is then taken up to their height.
    let cells = client
        .read(|view| {
            let source = view.source();
            (
                (view.height, view.time_ms),
                query::note(source, &id),
                (query::run(source, &id), query::credits(source, &id)),
                (query::lock(source, &id), query::escrow(source, &id)),
                (
                    query::lane(source, &id).map_or(0, |lane| lane.public_pot),
                    query::rules(source).map_or(0, |rules| rules.public_note),
                ),
            )
        })
        .await?;
    let ((height, time_ms), note, (run, credits), (lock, escrow), (pot, prize)) = cells;
    let (indexed_from, places) = client.history(id, height).await?;
    let facts = Facts::fetch(client, &places).await?;
    let (mut parts, mut remarks) = (Vec::new(), Vec::new());
    match subject {
        Subject::Note(_) => {
            if let Some(note) = note {
                let left = if note.state == NoteState::Spent { 0 } else { u128::from(note.cu) };
                parts.push(Part::new(
                    "credits".into(),
                    Unit::Credits,
                    rules::note(&facts, &id, note.cu),
                    left,
                ));
                remarks.push(format!("{:?}; of run {}", note.state, note.run));
                if note.state != NoteState::Unspent {
                    remarks.push(format!("bound to {}", note.bound_to));
                }
            }
        }
        Subject::Run(_) => {
            if let (Some(run), Some(credits)) = (run, credits) {
                let (pool, total) = (u128::from(credits.pool) + u128::from(pot), u128::from(credits.total));
                parts.push(Part::new(
                    "credits in existence".into(),
                    Unit::Credits,
                    rules::supply(&facts, &id),
                    total,
                ));
                let changes = rules::pool(&facts, &id, prize.into());
                parts.push(Part::new("pool and public lane".into(), Unit::Credits, changes, pool));
                let active = rules::active(&facts, &id);
                parts.push(Part::new("active shares".into(), Unit::Shares, active, credits.active));
                let done = u128::from(run.f_done);
                parts.push(Part::new(
                    "verified work".into(),
                    Unit::WorkUnits,
                    rules::work(&facts, &id),
                    done,
                ));
                remarks.push(format!(
                    "{:?}; window {}; least loss {} micro-nats",
                    run.state, run.window, run.loss_min
                ));
            }
        }
        Subject::Order(_) => {
            if let (Some(lock), Some(escrow)) = (lock, escrow) {
                parts.extend(order_parts(&facts, &lock, &escrow));
                remarks.push(format!("{:?}; home {}; paid by {}", lock.state, lock.home, escrow.payer));
            }
        }
        Subject::Account(_) | Subject::Dispute(_) | Subject::Transaction(_) => {}
    }
    Ok(Explanation { subject, height, time_ms, indexed_from, parts, remarks })
}

fn order_parts(facts: &Facts, lock: &Lock, escrow: &Escrow) -> [Part; 2] {
    let open = matches!(lock.state, LockState::Locking | LockState::Open | LockState::Settling);
    let locked = if open { u128::from(lock.cu) } else { 0 };
    [
        Part::new("money held".into(), Unit::NanoU, rules::escrow(facts, lock), escrow.held),
        Part::new("credits locked".into(), Unit::Credits, rules::locked(facts, lock), locked),
    ]
}

async fn transaction<S: Source>(
    client: &Client<S>,
    subject: Subject,
    id: Hash,
) -> Result<Explanation, LedgerError> {
    let outcome = client.outcome(&id).await?;
    let body = &outcome.tx.body;
    let fee = rules::Change {
        height: outcome.height,
        what: format!("fee of {} by {}", body.action.kind(), body.sender),
        plus: true,
        amount: body.fee,
    };
    let parts = vec![Part::new("fee paid".into(), Unit::NanoU, vec![fee], body.fee)];
    let effect = match &outcome.refused {
        Some(reason) => format!("refused: {reason}; only the fee was taken and the nonce counted"),
        None => "took effect".into(),
    };
    let remarks = vec![
        format!("transaction {} of block {}, nonce {}", outcome.index, outcome.height, body.nonce),
        effect,
    ];
    let (height, time_ms) = (outcome.height, outcome.time_ms);
    Ok(Explanation { subject, height, time_ms, indexed_from: height, parts, remarks })
}
