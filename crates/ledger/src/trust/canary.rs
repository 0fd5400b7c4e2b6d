//! Measure how many fakes audits find: wrong digests on purpose, sealed beforehand, paid per find (`ownership` 4.6).
//!
//! A trainer seals the hash of a true and a wrong digest before its stage reports. The next block's beacon lets
//! `canary_rate` of the seals stand and returns the deposits of the others. Opening tells, for every auditor who
//! revealed, whether it found the wrong digest: it must have said so and computed the true one. Finders are paid
//! from the public fund while it lasts, at most what the run has lost to it ([`issuance`]: else one could hide canaries
//! from himself); who passed it loses as much from its bond.
//!
//! A canary is no cover for false work: a claim found guilty is cleared by it only if the auditors computed the
//! digest that was sealed as the truth, that is if the work was done.

use crate::{
    account,
    accounts::issuance,
    action::{CANARY, OpenCanary, SealCanary, SealedCanary},
    error::TxError,
    event::{CanaryOpened, Reason},
    keys,
    record::{Canary, Claim, Dispute, DisputePhase, Globals, Panel, StageReport, Verdict},
    run, seat,
    store::{Stop, View},
    trust::{dispute, panel, params, slashing},
};
use tessera_canon::{Domain, PublicKey, digest};

const LOT: Domain = Domain::new("tessera/ledger/canary-lot/v1");

pub(crate) fn seal(view: &mut View<'_>, sender: &PublicKey, action: &SealCanary) -> Result<(), Stop> {
    let (_, run) = run::load(view, &action.run)?;
    if !seat::in_training(&run) {
        return Err(run::wrong_state(&run, "exclusive or open"));
    }
    if action.window != run.window {
        return Err(TxError::WindowOrder { expected: run.window, got: action.window }.into());
    }
    let Some(seat) = seat::held_by(view, &action.run, sender)? else {
        return Err(TxError::NotMember { account: *sender, detail: " with a seat" }.into());
    };
    let report = keys::stage_report(&action.run, action.window, seat.stage);
    if view.get::<StageReport>(&report)?.is_some() {
        return Err(TxError::Duplicate { what: "report of stage", id: seat.stage.to_string() }.into());
    }
    let key = keys::canary(&action.run, action.window, sender);
    if view.get::<Canary>(&key)?.is_some() {
        return Err(TxError::Duplicate { what: "canary of window", id: action.window.to_string() }.into());
    }
    let deposit = params::load(view)?.canary_deposit;
    account::charge_for(view, sender, deposit, (Reason::CanaryDeposit, &action.run))?;
    view.put(
        key,
        Canary {
            run: action.run,
            window: action.window,
            account: *sender,
            commit: action.commit,
            deposit,
            sealed: view.context.height,
            stands: false,
        },
    );
    view.list_add(keys::list_of_canaries(), key);
    Ok(())
}

/// Let the beacon decide which seals of earlier blocks stand.
pub(crate) fn draw(view: &mut View<'_>) -> Result<(), Stop> {
    let (rate, beacon) = (params::load(view)?.canary_rate, view.context.beacon);
    for key in view.list_items(&keys::list_of_canaries())? {
        view.list_remove(keys::list_of_canaries(), key);
        let Some(mut canary) = view.get::<Canary>(&key)? else { continue };
        if u128::from(digest(LOT, &(beacon, key)).low_u64()) * 10_000 < u128::from(rate) << 64 {
            canary.stands = true;
            view.put(key, canary);
        } else {
            let why = (Reason::CanaryDeposit, &canary.run);
            account::credit_for(view, &canary.account, canary.deposit, why)?;
            view.delete(key);
        }
    }
    Ok(())
}

pub(crate) fn open(view: &mut View<'_>, sender: &PublicKey, action: &OpenCanary) -> Result<(), Stop> {
    let id = &action.run;
    let key = keys::canary(id, action.window, sender);
    let canary: Canary = view.must(&key, "canary of window", action.window)?;
    let sealed = SealedCanary {
        run: *id,
        window: action.window,
        account: *sender,
        truth: action.truth,
        shown: action.shown,
        salt: action.salt,
    };
    let got = digest(CANARY, &sealed);
    if !canary.stands || action.truth == action.shown || got != canary.commit {
        let expected = canary.stands.then_some(canary.commit);
        return Err(TxError::Reveal { expected, got }.into());
    }
    let claim_key = keys::claim(id, action.window, action.stage, action.index);
    let claim: Claim = view.must(&claim_key, "claim", action.index)?;
    if claim.account != *sender {
        return Err(TxError::Role { expected: claim.account.to_string(), got: *sender }.into());
    }
    let report: StageReport =
        view.must(&keys::stage_report(id, action.window, action.stage), "report of stage", action.stage)?;
    let now = view.context.height;
    let audit = view.get::<Panel>(&keys::panel(&keys::audit_id(&claim_key)))?;
    let after = match &audit {
        Some(audit) => panel::reveal_end(view, audit)?.unwrap_or(report.height),
        None => report.height + 1,
    };
    if now <= after {
        return Err(TxError::Early { what: "opening a canary", after, now }.into());
    }
    // Sealed after the report, it would be made to fit it.
    let mut told = (0u16, 0u16);
    if let Some(audit) = audit.filter(|_| canary.sealed < report.height) {
        told = settle(view, &audit, action, &claim_key)?;
    }
    account::credit_for(view, sender, canary.deposit, (Reason::CanaryDeposit, id))?;
    view.delete(key);
    let (tested, found) = told;
    view.emit(CanaryOpened { run: *id, window: action.window, account: *sender, tested, found });
    Ok(())
}

/// Pay finders, charge those who passed it, and clear the claim. Returns words tested and canaries found.
fn settle(
    view: &mut View<'_>,
    audit: &Panel,
    action: &OpenCanary,
    claim: &tessera_canon::Hash,
) -> Result<(u16, u16), Stop> {
    let pay = params::load(view)?.canary_pay;
    let (mut tested, mut found) = (0u16, 0u16);
    let against = panel::ruling(view, audit)?.is_some_and(|ruling| ruling != Verdict::Innocent);
    for vote in panel::votes(view, audit)? {
        let Some(verdict) = vote.verdict else { continue };
        tested += 1;
        if verdict != Verdict::Innocent && vote.digest == action.truth {
            found += 1;
            // Those of a ruling against the claim were accepted with it.
            if !against {
                issuance::audit_accepted(view, &action.run, &vote.auditor)?;
            }
            let globals = view.get::<Globals>(&keys::globals())?;
            if let Some(mut globals) = globals.filter(|globals| globals.fund >= pay)
                && issuance::spend(view, &action.run, pay)?
            {
                globals.fund -= pay;
                view.put(keys::globals(), globals);
                account::credit_for(view, &vote.auditor, pay, (Reason::CanaryFound, &action.run))?;
            }
        } else if verdict == Verdict::Innocent {
            slashing::false_audit(view, &action.run, &vote.auditor, pay)?;
        }
    }
    let mut stats = panel::stats(view, &action.run)?;
    stats.tested += u64::from(tested);
    stats.found += u64::from(found);
    view.put(keys::audit_stats(&action.run), stats);
    if usize::from(found) >= panel::quorum(audit.auditors.len())
        && let Some(open) = view.get::<Dispute>(&keys::dispute(claim))?
        && open.audit
        && open.phase == DisputePhase::Panel
    {
        dispute::close(view, open, None, false)?;
    }
    Ok((tested, found))
}
