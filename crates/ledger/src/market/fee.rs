//! Let a fee be paid in credits, so that one without any U can begin (ownership specification 5.4).
//!
//! `Tx::fee` stays an amount of U. It is valued at the run's median price and a tenth more, rounded up:
//! `cu = ceil(fee * 11 / (10 * median))`; the credits go to that run's pool. A note is spent whole and leaves a change
//! note; what is due to an owner is reduced. Only credits of a run that has a median pay.
//!
//! One who owns a whole run gets such a fee back by way of the pool, and can by trading with himself give his credits
//! any median. What credits of a run pay in an epoch is therefore bounded (`MarketParams::credit_fees`): blocks cannot be
//! filled for nothing by founding a run, which the specification leaves open.

use crate::{
    accumulator,
    action::Asset,
    error::TxError,
    event::FeePaidInCredits,
    keys,
    market::order,
    note::{self, NewNote},
    record::{Credits, Note, NoteState, Owner, PriceHead},
    store::{Stop, View},
    supply::{self, Place},
    tx::{FeeSource, Tx},
};
use ruint::aliases::U256;
use tessera_canon::{Hash, PublicKey};

/// The index of the change note of a fee among the notes that its transaction makes.
pub const FEE_CHANGE: u32 = u32::MAX;

/// Credits that pay a fee of `fee` nano-U; `None` if they are too many to count.
pub fn in_credits(fee: u128, median: u128) -> Option<u64> {
    let (number, of) = (U256::from(fee) * U256::from(11), U256::from(median) * U256::from(10));
    if of.is_zero() {
        return None;
    }
    u64::try_from(number.div_ceil(of)).ok()
}

/// The run's prices, if they may pay `fee` more in this epoch.
fn quota(view: &View<'_>, run: &Hash, fee: u128) -> Result<PriceHead, Stop> {
    view.want([keys::price_head(Asset::Cu, run), keys::params(), keys::market_params()])?;
    let none = TxError::NoMedian { run: *run };
    let mut head: PriceHead = view.get(&keys::price_head(Asset::Cu, run))?.ok_or(none)?;
    let epoch = view.context.height / view.params()?.epoch_blocks.max(1);
    if head.fees_at != epoch {
        (head.fees, head.fees_at) = (0, epoch);
    }
    let most = order::params(view)?.credit_fees;
    head.fees = head.fees.saturating_add(fee);
    if head.fees > most {
        return Err(TxError::FeeQuota { run: *run, most }.into());
    }
    Ok(head)
}

/// What pays, and how much of it.
enum Paying {
    Note(Note, u64),
    Due(Box<(Owner, Credits)>, u64),
}

/// Refuse (by errors that keep the transaction out of blocks) what cannot pay.
fn find(view: &View<'_>, body: &Tx) -> Result<Option<Paying>, Stop> {
    Ok(match &body.fee_from {
        FeeSource::U(_) => None,
        FeeSource::Note(source) => {
            let problem = |problem| TxError::FeeNote { note: source.note, problem };
            let note: Note = view.get(&keys::note(&source.note))?.ok_or(problem("is not on the ledger"))?;
            view.want([keys::credits(&note.run)])?;
            let credits: Option<Credits> = view.get(&keys::credits(&note.run))?;
            if note.state != NoteState::Unspent {
                return Err(problem("is not free").into());
            }
            if note.owner != keys::owner_hash(&body.sender) {
                return Err(problem("is not the sender's").into());
            }
            if note.flags & Note::BOUND != 0 {
                return Err(problem("is bound to its owner").into());
            }
            if !credits.is_some_and(|credits| crate::series::live(credits.series, note.series)) {
                return Err(problem("is of a series that has ended").into());
            }
            let cu = needed(view, &note.run, body.fee, note.cu)?;
            Some(Paying::Note(note, cu))
        }
        FeeSource::Due(source) => {
            let owner_key = keys::owner(&source.run, &body.sender);
            view.want([owner_key, keys::credits(&source.run), keys::price_head(Asset::Cu, &source.run)])?;
            let credits = view.get::<Credits>(&keys::credits(&source.run))?;
            let (Some(mut owner), Some(credits)) = (view.get::<Owner>(&owner_key)?, credits) else {
                return Err(TxError::FeeCredits { expected: 1, got: 0 }.into());
            };
            accumulator::touch(&mut owner, &credits);
            let cu = needed(view, &source.run, body.fee, owner.due)?;
            Some(Paying::Due(Box::new((owner, credits)), cu))
        }
    })
}

fn needed(view: &View<'_>, run: &Hash, fee: u128, got: u64) -> Result<u64, Stop> {
    let median = quota(view, run, fee)?.median.ok_or(TxError::NoMedian { run: *run })?;
    let cu = in_credits(fee, median).unwrap_or(u64::MAX);
    if got < cu {
        return Err(TxError::FeeCredits { expected: cu, got }.into());
    }
    Ok(cu)
}

/// Refuse a transaction whose fee its credits do not cover.
pub(crate) fn check(view: &View<'_>, body: &Tx) -> Result<(), Stop> {
    find(view, body).map(drop)
}

/// Take the fee in credits; [`check`] held. Returns whether it was paid so.
pub(crate) fn charge(view: &mut View<'_>, tx: &Hash, body: &Tx) -> Result<bool, Stop> {
    let Some(paying) = find(view, body)? else { return Ok(false) };
    let run = match &paying {
        Paying::Note(note, _) => note.run,
        Paying::Due(due, _) => due.1.run,
    };
    let head = quota(view, &run, body.fee)?;
    view.put(keys::price_head(Asset::Cu, &run), head);
    match paying {
        Paying::Note(note, cu) => charge_note(view, tx, body, note, cu)?,
        Paying::Due(due, cu) => charge_due(view, &body.sender, body.fee, *due, cu),
    }
    Ok(true)
}

fn charge_note(view: &mut View<'_>, tx: &Hash, body: &Tx, note: Note, cu: u64) -> Result<(), Stop> {
    let Note { run, series, owner, flags, .. } = note.clone();
    let change = note.cu - cu;
    supply::shift(view, &run, series, Place::Notes, Place::Pool, cu)?;
    note::spend(view, note, tx);
    if change > 0 {
        note::create(view, NewNote { run, series, cu: change, owner, flags }, tx, FEE_CHANGE);
    }
    view.emit(FeePaidInCredits { payer: body.sender, run, cu, fee: body.fee });
    Ok(())
}

fn charge_due(
    view: &mut View<'_>,
    payer: &PublicKey,
    fee: u128,
    (mut owner, mut credits): (Owner, Credits),
    cu: u64,
) {
    let run = credits.run;
    owner.due -= cu;
    credits.owner_out += cu;
    credits.pool += cu;
    view.put(keys::owner(&run, payer), owner);
    view.put(keys::credits(&run), credits);
    view.emit(FeePaidInCredits { payer: *payer, run, cu, fee });
}
