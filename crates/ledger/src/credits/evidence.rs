//! Take proofs of misconduct in sessions: two signatures of which one may exist, and attested refusals (ownership
//! specification 3.5, 3.6, 6.3; 9.3 rows 36, 37, 47).
//!
//! A home that signs two tickets of one number, or two routes of one attempt, loses its whole bond: a tenth to
//! the reporter, the rest to the fund. A note's owner who signs two orders over it that could both be locked now
//! loses the lock fee of that note to the pool; a note that one of the orders has locked is left alone, since the
//! order of transactions has decided. A refusal that two validators saw makes a home less likely to be drawn; from
//! the fourth on it also costs a tenth of the bond.

use crate::{
    account,
    action::{
        Equivocation, ORDER, REFUSAL, ReportClientEquivocation, ReportHomeEquivocation, ReportRefusal,
        SignedOrder, Witness,
    },
    credits::{
        host,
        params::{REFUSALS, WITNESSES},
        ticket::{ROUTE, TICKET},
    },
    error::TxError,
    event::{Absorbed, ClientEquivocated, RefusalReported},
    keys,
    note::{self, NewNote},
    record::{Attempts, LockState, Note, Stage, Validator},
    runs::policy,
    session::{attempts, load, wrong_state},
    store::{Stop, View},
    supply::{self, Place},
};
use tessera_canon::{Domain, Hash, List, PublicKey, codec::Encode, digest};

pub(crate) fn check_network(view: &View<'_>, what: &'static str, got: &Hash) -> Result<(), TxError> {
    let expected = view.context.network;
    if *got == expected { Ok(()) } else { Err(TxError::SignedForOtherNetwork { what, expected, got: *got }) }
}

/// The keys of the genesis validators, by index.
pub(crate) fn validators(view: &View<'_>) -> Result<Vec<PublicKey>, Stop> {
    let indices = || 0..crate::action::MAX_WITNESSES as u32;
    view.want(indices().map(keys::validator))?;
    let mut all = Vec::new();
    for index in indices() {
        match view.get::<Validator>(&keys::validator(index))? {
            Some(validator) => all.push(validator.key),
            None => break,
        }
    }
    Ok(all)
}

/// At least `needed` validators signed `statement`, each once.
pub(crate) fn check_witnesses<T: Encode>(
    validators: &[PublicKey],
    domain: Domain,
    statement: &T,
    witnesses: &[Witness],
    needed: usize,
) -> Result<(), TxError> {
    if let Some(at) = witnesses.windows(2).position(|pair| pair[0].validator >= pair[1].validator) {
        return Err(TxError::NotAscending { what: "the validators", at: at + 1 });
    }
    let digest = digest(domain, statement);
    let valid = |witness: &&Witness| {
        let key = validators.get(witness.validator as usize);
        key.is_some_and(|key| key.verify_digest(&digest, &witness.signature))
    };
    let got = if witnesses.len() < needed { witnesses.len() } else { witnesses.iter().filter(valid).count() };
    if got < needed { Err(TxError::Witnesses { needed, got }) } else { Ok(()) }
}

/// Order and attempt that two conflicting statements of a home are about, after their shape was checked.
fn conflict(evidence: &Equivocation) -> Result<(Hash, u16), TxError> {
    let (about, conflicting) = match evidence {
        Equivocation::Tickets(two) => {
            let (a, b) = (&two.a.ticket, &two.b.ticket);
            ((a.order, a.attempt), (a.order, a.attempt, a.j) == (b.order, b.attempt, b.j) && a != b)
        }
        Equivocation::Routes(two) => {
            let (a, b) = (&two.a.route, &two.b.route);
            ((a.order, a.attempt), (a.order, a.attempt) == (b.order, b.attempt) && a != b)
        }
    };
    if conflicting { Ok(about) } else { Err(TxError::NotConflict { what: "a home's statements" }) }
}

/// Whether `home` signed both statements, each with a key that was its own during the session.
fn signed_by(
    view: &View<'_>,
    home: &PublicKey,
    session: (u64, u64),
    evidence: &Equivocation,
) -> Result<bool, Stop> {
    let signed = |which: usize| {
        account::signed_then(view, home, session, |key| match evidence {
            Equivocation::Tickets(two) => {
                let of = [&two.a, &two.b][which];
                key.verify(TICKET, &of.ticket, &of.signature)
            }
            Equivocation::Routes(two) => {
                let of = [&two.a, &two.b][which];
                key.verify(ROUTE, &of.route, &of.signature)
            }
        })
    };
    Ok(signed(0)? && signed(1)?)
}

pub(crate) fn home(
    view: &mut View<'_>,
    sender: &PublicKey,
    action: &ReportHomeEquivocation,
) -> Result<(), Stop> {
    let (id, number) = conflict(&action.evidence)?;
    let (lock, _) = load(view, &id)?;
    let mut homes = attempts(view, &id)?.homes.into_inner();
    let most = lock.attempt + 1;
    let Some(attempt) = homes.get_mut(usize::from(number)) else {
        return Err(TxError::Attempt { expected: lock.attempt, most, got: number }.into());
    };
    if attempt.slashed {
        return Err(
            TxError::Duplicate { what: "report against the home of order", id: id.to_string() }.into()
        );
    }
    if !signed_by(view, &attempt.home, (attempt.at, lock.open_until), &action.evidence)? {
        return Err(TxError::HomeSignature { home: attempt.home }.into());
    }
    attempt.slashed = true;
    let guilty = attempt.home;
    view.want([keys::account(sender), keys::globals()])?;
    let taken = host::slash(view, &lock.run, &guilty, u128::MAX, &id)?;
    host::reward(view, sender, taken, &id)?;
    remember(view, &lock.run, &guilty, REFUSALS)?;
    let homes = List::new(homes).unwrap_or_default();
    view.put(keys::attempts(&id), Attempts { order: id, homes });
    Ok(())
}

/// Add refusals to a host of stage 0; returns how many it now has.
fn remember(view: &mut View<'_>, run: &Hash, account: &PublicKey, more: u16) -> Result<u16, Stop> {
    view.want([keys::host(run, account), keys::rules(), keys::params(), keys::stage(run, 0)])?;
    let stage: Stage = view.must(&keys::stage(run, 0), "stage", 0)?;
    let mut host = host::load(view, run, account, stage.stage)?;
    let epoch = host::epoch(view)?;
    let recent = host::recent_refusals(&host, epoch, view.rules()?.refusal_epochs);
    host.refusals = recent.saturating_add(more);
    host.refused = epoch;
    let now = host.refusals;
    view.put(keys::host(run, account), host);
    Ok(now)
}

/// A statement that an owner of `note` signed, over an order that could be locked now.
fn check_order(view: &View<'_>, note: &Note, signed: &SignedOrder) -> Result<(), Stop> {
    let order = &signed.order;
    check_network(view, "the order", &order.network)?;
    let owner = &signed.owner;
    if keys::owner_hash(&owner.key) != note.owner || !owner.key.verify(ORDER, order, &owner.signature) {
        return Err(TxError::NotOwner { note: note.id, owner: note.owner }.into());
    }
    let from = view.context.height;
    let to = from.saturating_add(view.params()?.lock_blocks);
    if order.open_until <= from || order.open_until > to {
        return Err(TxError::OpenUntil { from, to, got: order.open_until }.into());
    }
    if !order.notes.contains(&note.id) {
        return Err(TxError::NotConflict { what: "two orders over the note" }.into());
    }
    Ok(())
}

pub(crate) fn client(view: &mut View<'_>, tx: &Hash, action: &ReportClientEquivocation) -> Result<(), Stop> {
    let note = note::unspent(view, &action.note)?;
    view.want([keys::params(), keys::run_policy(&note.run)])?;
    if action.a.order.id() == action.b.order.id() {
        return Err(TxError::NotConflict { what: "two orders over the note" }.into());
    }
    check_order(view, &note, &action.a)?;
    check_order(view, &note, &action.b)?;
    let fee = u64::from(policy::of(view, &note.run)?.lock_fee).min(note.cu);
    supply::shift(view, &note.run, note.series, Place::Notes, Place::Pool, fee)?;
    let Note { id, run, series, cu, flags, owner, until, .. } = note;
    note::spend(view, note, tx);
    if cu > fee {
        note::create_until(view, NewNote { run, series, cu: cu - fee, owner, flags }, until, tx, 0);
    }
    view.emit(Absorbed { run, source: id, cu: fee });
    view.emit(ClientEquivocated { note: id, fee });
    Ok(())
}

pub(crate) fn refusal(view: &mut View<'_>, action: &ReportRefusal) -> Result<(), Stop> {
    let refusal = &action.refusal;
    let id = refusal.order;
    check_network(view, "the refusal", &refusal.network)?;
    let (lock, _) = load(view, &id)?;
    if lock.state != LockState::Open {
        return Err(wrong_state(&lock, "open"));
    }
    let mut homes = attempts(view, &id)?.homes.into_inner();
    let most = lock.attempt + 1;
    let wrong = TxError::Attempt { expected: lock.attempt, most, got: refusal.attempt };
    if refusal.attempt != lock.attempt {
        return Err(wrong.into());
    }
    let attempt = homes.last_mut().ok_or(wrong)?;
    if refusal.host != attempt.home {
        let expected = format!("the home {}", attempt.home);
        return Err(TxError::Role { expected, got: refusal.host }.into());
    }
    if attempt.reported {
        return Err(TxError::Duplicate { what: "report on the home of order", id: id.to_string() }.into());
    }
    let (from, to) = (attempt.at, view.context.height);
    if refusal.height < from || refusal.height > to {
        return Err(TxError::Parameter {
            what: "the height of the refusal",
            expected: format!("{from} to {to}"),
            got: refusal.height.to_string(),
        }
        .into());
    }
    check_witnesses(&validators(view)?, REFUSAL, refusal, &action.witnesses, WITNESSES)?;
    attempt.reported = true;
    let refusals = remember(view, &lock.run, &refusal.host, 1)?;
    if refusals > REFUSALS {
        let bond = host::load(view, &lock.run, &refusal.host, 0)?.bond;
        let taken = host::slash(view, &lock.run, &refusal.host, bond / 10, &id)?;
        account::to_fund(view, taken)?;
    }
    let homes = List::new(homes).unwrap_or_default();
    view.put(keys::attempts(&id), Attempts { order: id, homes });
    view.emit(RefusalReported { order: id, host: refusal.host, refusals });
    Ok(())
}
