//! Hold the bonds of members: what they stake beside their pending shares (ownership specification 4.5, 4.6).
//!
//! A bond is `Policy::bond_claims` times the median claim of the last closed window times `Policy::work_price`;
//! before the first window closes it is nothing. It stays while the member may be called to account: it can be
//! taken out when the pending windows since leaving have passed and no claim of the account is pending.
//! Who is slashed, and why, is not decided here.

use crate::{
    account,
    action::WithdrawBond,
    error::TxError,
    event::{MemberBond, Reason},
    keys,
    record::{Member, MemberState, Owner, Run, RunState, Window},
    run,
    runs::policy::{self, Policy},
    store::{Stop, View},
};
use tessera_canon::{Hash, PublicKey};

/// The bond that a member must hold, nano-U.
pub(crate) fn needed(view: &View<'_>, run: &Run, policy: &Policy) -> Result<u128, Stop> {
    let Some(last) = run.window.checked_sub(1) else { return Ok(0) };
    let median = view.get::<Window>(&keys::window(&run.run, last))?.map_or(0, |window| window.median);
    let claims = u128::from(policy.bond_claims) * u128::from(median);
    Ok(claims.saturating_mul(policy.work_price))
}

/// The bond that `account` has in `run`, nano-U.
pub(crate) fn held(view: &View<'_>, run: &Hash, account: &PublicKey) -> Result<u128, Stop> {
    Ok(view.get::<Member>(&keys::member(run, account))?.map_or(0, |member| member.bond))
}

/// Raise the bond of `member` to `needed` from its account. The caller keeps `member`.
pub(crate) fn raise(view: &mut View<'_>, member: &mut Member, needed: u128) -> Result<(), Stop> {
    let missing = needed.saturating_sub(member.bond);
    if missing > 0 {
        account::charge_for(view, &member.account, missing, (Reason::MemberBond, &member.run))?;
        set(view, member, needed);
    }
    Ok(())
}

fn set(view: &mut View<'_>, member: &mut Member, held: u128) {
    member.bond = held;
    view.emit(MemberBond { run: member.run, account: member.account, held });
}

/// Give the whole bond back. The caller keeps `member`.
pub(crate) fn give_back(view: &mut View<'_>, member: &mut Member) -> Result<(), Stop> {
    if member.bond > 0 {
        let amount = member.bond;
        set(view, member, 0);
        account::credit_for(view, &member.account, amount, (Reason::MemberBond, &member.run))?;
    }
    Ok(())
}

/// Take up to `most` from the bond that `account` has in `run`; returns what was taken, for the caller to
/// pass on.
pub(crate) fn take(view: &mut View<'_>, run: &Hash, account: &PublicKey, most: u128) -> Result<u128, Stop> {
    let key = keys::member(run, account);
    let Some(mut member) = view.get::<Member>(&key)? else { return Ok(0) };
    let taken = member.bond.min(most);
    if taken > 0 {
        let left = member.bond - taken;
        set(view, &mut member, left);
        view.put(key, member);
    }
    Ok(taken)
}

pub(crate) fn withdraw(view: &mut View<'_>, sender: &PublicKey, action: &WithdrawBond) -> Result<(), Stop> {
    let key = keys::member(&action.run, sender);
    view.want([key, keys::owner(&action.run, sender), keys::run_policy(&action.run)])?;
    let (_, run) = run::load(view, &action.run)?;
    let not_member = TxError::NotMember { account: *sender, detail: "" };
    let mut member: Member = view.get(&key)?.ok_or(not_member)?;
    if member.bond == 0 {
        return Err(TxError::Funds { needed: 1, got: 0 }.into());
    }
    let got = match member.state {
        MemberState::Waiting => "waiting",
        MemberState::Seated => "seated",
        MemberState::Lapsed => "lapsed",
        MemberState::Refused => "refused a seat",
        MemberState::Left => "",
    };
    if member.state != MemberState::Left {
        return Err(TxError::BondInUse { got }.into());
    }
    let pending = view.get::<Owner>(&keys::owner(&action.run, sender))?.map_or(0, |owner| owner.pending);
    let horizon = u64::from(policy::of(view, &action.run)?.pending_windows);
    let (until, now) = (member.left.saturating_add(horizon), run.clock());
    // The clock of an aborted run stands still, and nobody is called to account for void work.
    if run.state != RunState::Aborted && (now < until || pending > 0) {
        return Err(TxError::BondLocked { until, now, pending }.into());
    }
    give_back(view, &mut member)?;
    view.put(key, member);
    Ok(())
}
