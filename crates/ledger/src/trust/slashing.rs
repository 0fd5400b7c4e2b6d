//! Carry out verdicts, rung by rung, on the guilty account alone (ownership specification 4.5, P10, P12).
//!
//! | verdict | pending shares | bond | place |
//! |---|---|---|---|
//! | honest error | the claim is void | - | kept |
//! | first mismatch | the claim is void, and `first_units` microbatches of what matures next | the audit's cost, to the challenger | kept, audited `watch_factor` times as often |
//! | second within `forgive_windows`, or fraud | all are void | `max(slash_floor, 3 x median claim)`: half to the challenger, at most twice the audit's cost; the rest to the fund | barred for A windows |
//!
//! A verdict on a claim that has matured touches the bond and the place only. That the first mismatch does not
//! cost everything pending is the design's choice (section 7): one bit flipped by honest hardware must not ruin
//! anybody. 4.5 alone would take the last rung at once.
//!
//! Everything pending is void at once in the sums. The cells of those claims are rewritten when their window
//! matures: `Conduct::void_through` says which they are. So a verdict costs the same for one claim or thousands.

use crate::{
    account,
    accounts::issuance,
    error::TxError,
    event::{Reason, Slashed},
    keys,
    record::{Claim, ClaimState, Conduct, Credits, Dispute, Owner, Run, Verdict, Window},
    runs::{bond, policy},
    seat,
    store::{Stop, View},
    trust::{panel, params, rollback},
};
use tessera_canon::{Hash, PublicKey};

/// An account's record, clean if it has none.
pub(crate) fn conduct(view: &View<'_>, run: &Hash, account: &PublicKey) -> Result<Conduct, Stop> {
    let clean = Conduct {
        run: *run,
        account: *account,
        mismatches: 0,
        last: 0,
        void_through: None,
        barred_until: 0,
        watched_until: 0,
        debt: 0,
    };
    Ok(view.get(&keys::conduct(run, account))?.unwrap_or(clean))
}

/// Whether a claim not yet rewritten is void by a verdict on its account.
pub(crate) fn condemned(conduct: &Conduct, claim: &Claim) -> bool {
    conduct.void_through.is_some_and(|through| claim.window <= through)
}

/// Whether `account` may not work in `run` now.
pub(crate) fn barred(view: &View<'_>, run: &Run, account: &PublicKey) -> Result<bool, Stop> {
    let conduct = view.get::<Conduct>(&keys::conduct(&run.run, account))?;
    Ok(conduct.is_some_and(|conduct| run.clock() < conduct.barred_until))
}

/// Refuse an account that is barred.
pub(crate) fn refuse_barred(view: &View<'_>, run: &Run, account: &PublicKey) -> Result<(), Stop> {
    let conduct = conduct(view, &run.run, account)?;
    if run.clock() < conduct.barred_until {
        let (until, now) = (conduct.barred_until, run.clock());
        return Err(TxError::Barred { account: *account, until, now }.into());
    }
    Ok(())
}

/// What the claim's work costs to do, or to do again, nano-U.
fn cost(wu: u64, price: u128) -> u128 {
    u128::from(wu).saturating_mul(price)
}

/// The median cost of the claims of a window; of the last closed one if it is not closed.
fn median(view: &View<'_>, run: &Run, window: u32, price: u128) -> Result<u128, Stop> {
    let closed = window.min(run.window.saturating_sub(1));
    let window = view.get::<Window>(&keys::window(&run.run, closed))?;
    Ok(cost(window.map_or(0, |window| window.median), price))
}

/// Void one claim that has not matured. Returns its shares.
fn void_claim(view: &mut View<'_>, key: Hash, conduct: &Conduct) -> Result<u128, Stop> {
    let Some(mut claim) = view.get::<Claim>(&key)? else { return Ok(0) };
    if claim.state != ClaimState::Pending || condemned(conduct, &claim) {
        return Ok(0);
    }
    let mut owner: Owner = view.must(&keys::owner(&claim.run, &claim.account), "owner", claim.account)?;
    let mut credits: Credits = view.must(&keys::credits(&claim.run), "run", claim.run)?;
    owner.pending -= claim.shares;
    credits.pending -= claim.shares;
    credits.voided += claim.shares;
    claim.state = ClaimState::Void;
    claim.voided = claim.shares;
    let shares = claim.shares;
    view.put(keys::owner(&claim.run, &claim.account), owner);
    view.put(keys::credits(&claim.run), credits);
    view.put(key, claim);
    Ok(shares)
}

/// Void everything pending of an account.
fn void_all(view: &mut View<'_>, run: &Run, conduct: &mut Conduct) -> Result<u128, Stop> {
    let key = keys::owner(&run.run, &conduct.account);
    conduct.void_through = Some(run.window);
    let Some(mut owner) = view.get::<Owner>(&key)? else { return Ok(0) };
    let mut credits: Credits = view.must(&keys::credits(&run.run), "run", run.run)?;
    let voided = std::mem::take(&mut owner.pending);
    credits.pending -= voided;
    credits.voided += voided;
    view.put(key, owner);
    view.put(keys::credits(&run.run), credits);
    Ok(voided)
}

/// Carry out `verdict` (not `Innocent`) on the accused of `dispute`, whose claim is no longer frozen. The
/// challenger's reward is paid.
pub(crate) fn punish(view: &mut View<'_>, dispute: &Dispute, verdict: Verdict) -> Result<(), Stop> {
    let (id, account) = (&dispute.run, &dispute.accused);
    let run: Run = view.must(&keys::run(id), "run", id)?;
    let claim: Claim = view.must(&dispute.id, "claim", dispute.id)?;
    let (params, policy) = (params::load(view)?, policy::of(view, id)?);
    let mut conduct = conduct(view, id, account)?;
    let (now, cost) = (run.clock(), cost(claim.wu, policy.work_price));
    let again =
        conduct.mismatches > 0 && now.saturating_sub(conduct.last) <= u64::from(params.forgive_windows);
    let verdict = if verdict == Verdict::Mismatch && again { Verdict::Fraud } else { verdict };
    let (mut voided, mut taken, mut reward) = (0, 0, 0);
    let debt_before = conduct.debt;
    match verdict {
        Verdict::Innocent => {}
        Verdict::HonestError => {
            if !dispute.late {
                voided = void_claim(view, dispute.id, &conduct)?;
            }
        }
        Verdict::Mismatch => {
            if !dispute.late {
                voided = void_claim(view, dispute.id, &conduct)?;
                let unit = claim.shares / u128::from(claim.microbatches.max(1));
                conduct.debt = conduct.debt.saturating_add(unit * u128::from(params.first_units));
            }
            taken = bond::take(view, id, account, cost)?;
            reward = taken;
        }
        Verdict::Fraud => {
            if !dispute.late {
                voided = void_all(view, &run, &mut conduct)?;
            }
            let median = median(view, &run, claim.window, policy.work_price)?;
            let amount = params.slash_floor.max(median.saturating_mul(3));
            taken = bond::take(view, id, account, amount)?;
            reward = (taken / 2).min(cost.saturating_mul(2));
            let windows = policy.pending_windows.max(1);
            conduct.barred_until = conduct.barred_until.max(now + u64::from(windows));
            seat::bar(view, id, account)?;
        }
    }
    if verdict >= Verdict::Mismatch {
        conduct.mismatches = conduct.mismatches.saturating_add(1);
        conduct.last = now;
        conduct.watched_until = now + u64::from(params.watch_windows);
    }
    if verdict >= Verdict::Mismatch
        && let Some(work) = &dispute.work
    {
        let fraud = verdict == Verdict::Fraud;
        rollback::order(view, id, work, fraud, panel::stats(view, id)?.guilty)?;
    }
    account::credit_for(view, &dispute.challenger, reward, (Reason::DisputeWon, &dispute.id))?;
    account::to_fund(view, taken - reward)?;
    issuance::lost(view, id, taken - reward)?;
    view.emit(Slashed {
        run: *id,
        account: *account,
        verdict,
        voided,
        debt: conduct.debt.saturating_sub(debt_before),
        bond: taken,
        to_challenger: reward,
        barred_until: conduct.barred_until,
    });
    view.put(keys::conduct(id, account), conduct);
    Ok(())
}

/// Take from an auditor's bond what a word costs that was proven false; it goes to the fund.
pub(crate) fn false_audit(
    view: &mut View<'_>,
    run: &Hash,
    auditor: &PublicKey,
    amount: u128,
) -> Result<u128, Stop> {
    let taken = bond::take(view, run, auditor, amount)?;
    account::to_fund(view, taken)?;
    issuance::lost(view, run, taken)?;
    Ok(taken)
}
