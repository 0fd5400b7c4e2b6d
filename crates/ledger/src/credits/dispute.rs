//! Let a payer doubt what one stage computed, and let a verdict move money, never credits (ownership specification 3.7).
//!
//! A final session can be disputed for `dispute_epochs` by its payer, once, about one chunk and stage; who served
//! them follows from the settlement. Opening a dispute asks for a panel of the same stage, drawn and heard as for
//! trainers' work ([`crate::trust::panel`]); its ruling counts when the time for the dispute is over. More than two
//! thirds of the validators can decide before ([`judge`]). Guilty: the host pays ten times the session's fees from its
//! bond; the payer has its bond back and one credit at the market's median price, or at the reserve if that is more or
//! nothing was traded; the fund has the rest. Innocent: the payer's bond goes to the host. No verdict in time, or an
//! honest error: the bond goes back, since nobody is convicted by the absence of judges. Credits are not minted for a
//! refund: the invariant CU does not know of disputes.

use crate::{
    account,
    action::{Asset, DisputeSession, JUDGEMENT, JudgeSession},
    credits::{
        evidence, host,
        params::PENALTY,
        settle::{interval, leg_hosts},
    },
    error::TxError,
    event::{Reason, SessionDisputed},
    keys, market,
    record::{LockState, RunTerms, SessionDispute, SessionVerdict, Settlement, Verdict},
    runs::policy,
    session::{attempts, load, wrong_state},
    store::{Stop, View},
    trust,
};
use tessera_canon::{Hash, PublicKey};

pub(crate) fn open(view: &mut View<'_>, sender: &PublicKey, action: &DisputeSession) -> Result<(), Stop> {
    let id = action.order;
    let (lock, escrow) = load(view, &id)?;
    view.want([
        keys::settlement(&id),
        keys::session_dispute(&id),
        keys::attempts(&id),
        keys::rules(),
        keys::run_terms(&lock.run),
    ])?;
    if lock.state != LockState::Final {
        return Err(wrong_state(&lock, "final"));
    }
    if *sender != escrow.payer {
        let expected = format!("the payer {}", escrow.payer);
        return Err(TxError::Role { expected, got: *sender }.into());
    }
    if view.get::<SessionDispute>(&keys::session_dispute(&id))?.is_some() {
        return Err(TxError::Duplicate { what: "dispute of order", id: id.to_string() }.into());
    }
    let settlement: Settlement = view.must(&keys::settlement(&id), "settlement", id)?;
    let (rules, epoch) = (view.rules()?, host::epoch(view)?);
    let last = settlement.epoch + u64::from(rules.dispute_epochs);
    if epoch > last {
        let until = last.saturating_mul(view.params()?.epoch_blocks);
        return Err(TxError::Late { what: "disputing", until, now: view.context.height }.into());
    }
    if action.chunk == 0 || action.chunk > settlement.chunks {
        return Err(TxError::Chunks { max: settlement.chunks, got: action.chunk }.into());
    }
    let terms: RunTerms = view.must(&keys::run_terms(&lock.run), "run", lock.run)?;
    let homes = attempts(view, &id)?;
    let served = settlement.legs.iter().find(|head| {
        let (from, to) = interval(&homes, head.attempt, settlement.chunks);
        from < action.chunk && action.chunk <= to
    });
    let hosts = match served {
        Some(head) => leg_hosts(view, &terms, &id, head.attempt)?,
        None => Vec::new(),
    };
    let what = "host paid for chunk and stage";
    let named = || format!("{} of stage {}", action.chunk, action.stage);
    let accused =
        *hosts.get(usize::from(action.stage)).ok_or_else(|| TxError::Unknown { what, id: named() })?;
    account::charge_for(view, sender, rules.dispute_bond, (Reason::SessionDisputeBond, &id))?;
    trust::dispute::open_session(view, id, &lock.run, action.stage, sender, &accused);
    let lapses = epoch + 1 + u64::from(rules.dispute_epochs);
    view.list_add(keys::list_of_session_disputes(lapses), id);
    view.put(
        keys::session_dispute(&id),
        SessionDispute {
            order: id,
            run: lock.run,
            chunk: action.chunk,
            stage: action.stage,
            accused,
            payer: *sender,
            commitment: action.commitment,
            bond: rules.dispute_bond,
            lapses,
            verdict: SessionVerdict::Open,
        },
    );
    view.emit(SessionDisputed { order: id, accused, verdict: SessionVerdict::Open });
    Ok(())
}

/// Nano-U that one credit is worth for a refund: the market's median, at least the owners' reserve.
fn price_of_credit(view: &View<'_>, run: &Hash) -> Result<u128, Stop> {
    view.want([keys::run_policy(run), keys::price_head(Asset::Cu, run)])?;
    let reserve = policy::of(view, run)?.reserve;
    Ok(market::last_median(view, run)?.map_or(reserve, |median| median.max(reserve)))
}

/// End the dispute about `id`.
pub(crate) fn verdict(view: &mut View<'_>, id: &Hash, verdict: SessionVerdict) -> Result<(), Stop> {
    view.want([keys::session_dispute(id), keys::settlement(id)])?;
    let mut dispute: SessionDispute = view.must(&keys::session_dispute(id), "dispute of order", id)?;
    if dispute.verdict != SessionVerdict::Open || verdict == SessionVerdict::Open {
        return Err(TxError::Duplicate { what: "verdict on order", id: id.to_string() }.into());
    }
    let settlement: Settlement = view.must(&keys::settlement(id), "settlement", id)?;
    let (accused, payer) = (dispute.accused, dispute.payer);
    view.want([keys::account(&accused), keys::account(&payer), keys::globals()])?;
    let bond = std::mem::take(&mut dispute.bond);
    let (back, won) = ((Reason::SessionDisputeBond, id), (Reason::SessionDisputeWon, id));
    match verdict {
        SessionVerdict::Guilty => {
            let penalty = settlement.fees.saturating_mul(PENALTY);
            let taken = host::slash(view, &dispute.run, &accused, penalty, id)?;
            let refund = price_of_credit(view, &dispute.run)?.min(taken);
            account::credit_for(view, &payer, bond, back)?;
            account::credit_for(view, &payer, refund, won)?;
            account::to_fund(view, taken - refund)?;
        }
        SessionVerdict::Innocent => account::credit_for(view, &accused, bond, won)?,
        SessionVerdict::Lapsed | SessionVerdict::Open => account::credit_for(view, &payer, bond, back)?,
    }
    trust::panel::forget(view, id)?;
    dispute.verdict = verdict;
    view.emit(SessionDisputed { order: *id, accused, verdict });
    view.put(keys::session_dispute(id), dispute);
    Ok(())
}

pub(crate) fn judge(view: &mut View<'_>, action: &JudgeSession) -> Result<(), Stop> {
    let judgement = &action.judgement;
    evidence::check_network(view, "the judgement", &judgement.network)?;
    let validators = evidence::validators(view)?;
    let needed = validators.len() * 2 / 3 + 1;
    evidence::check_witnesses(&validators, JUDGEMENT, judgement, &action.witnesses, needed)?;
    let found = if judgement.guilty { SessionVerdict::Guilty } else { SessionVerdict::Innocent };
    verdict(view, &judgement.order, found)
}

/// What the panel of a dispute found; nothing if it did not speak, or its time is not over.
fn ruling(view: &mut View<'_>, id: &Hash) -> Result<SessionVerdict, Stop> {
    let said = match trust::dispute::session_verdict(view, id) {
        Ok(said) => said,
        Err(Stop::Refused(_)) => None,
        Err(need) => return Err(need),
    };
    Ok(match said {
        Some(Verdict::Fraud | Verdict::Mismatch) => SessionVerdict::Guilty,
        Some(Verdict::Innocent) => SessionVerdict::Innocent,
        Some(Verdict::HonestError) | None => SessionVerdict::Lapsed,
    })
}

/// At the boundary that opens `epoch`: disputes that the validators did not judge end as their panels say.
pub(crate) fn lapse(view: &mut View<'_>, epoch: u64) -> Result<(), Stop> {
    let list = keys::list_of_session_disputes(epoch);
    let ids = view.list_items(&list)?;
    view.want(ids.iter().map(keys::session_dispute))?;
    for id in ids {
        view.list_remove(list, id);
        let found = ruling(view, &id)?;
        match verdict(view, &id, found) {
            // It has its verdict.
            Ok(()) | Err(Stop::Refused(_)) => {}
            Err(need) => return Err(need),
        }
    }
    Ok(())
}
