//! Ask for verified work before a seating: `theta x F / (S x R)`, theta times an average seat's work to date.
//!
//! VerifiedWork counts when its claim matures, in any run, converted by the floating-point operations of a work unit
//! that each run declares. VerifiedWork in other runs is verified by those runs' members only; `Policy::foreign_work`
//! bounds the part of the admission work that it may make up, for owners who do not trust them.
//!
//! Exempt are: stages that the run declares open, the exclusive phase (its designers answer for a least work
//! of their own), the first `RunTerms::bootstrap_windows` windows after the opening, and absences of at most
//! the pending windows. A forked run has weights of value from its first window on: neither its designers nor
//! its first windows are exempt, and the work that went into the parent counts.

use crate::{
    keys,
    record::{Claim, Lineage, Member, Run, RunState, RunTerms, VerifiedWork},
    run,
    runs::policy::Policy,
    store::{Stop, View},
};
use tessera_canon::PublicKey;

/// Floating-point operations that a seating asks for, after `flops` were spent on the weights (`F`); `theta` in
/// 1/10 000, `seats` over all stages (`S x R`).
pub fn needed(flops: u128, theta: u16, seats: u32) -> u128 {
    part(flops / u128::from(seats.max(1)), theta)
}

/// `ten_thousandths` of `of`, rounded down, without overflow.
fn part(of: u128, ten_thousandths: u16) -> u128 {
    let of_ten_thousandths = u128::from(ten_thousandths);
    of / 10_000 * of_ten_thousandths + of % 10_000 * of_ten_thousandths / 10_000
}

/// The operations that count towards `needed` in a run: the account's `own` in it, and of the others in its
/// `lifetime` at most `foreign_work` (1/10 000) of what is needed.
pub fn counted(own: u128, lifetime: u128, foreign_work: u16, needed: u128) -> u128 {
    let most =
        needed / 10_000 * u128::from(foreign_work) + needed % 10_000 * u128::from(foreign_work) / 10_000;
    own.saturating_add(lifetime.saturating_sub(own).min(most))
}

/// What an account lacks of the work that a seating asks for.
pub(crate) struct Lacking {
    pub(crate) needed: u128,
    pub(crate) got: u128,
}

/// Whether `account` may be seated in any stage now; `member` is its place in the run, if it has one.
pub(crate) fn check(
    view: &View<'_>,
    terms: &RunTerms,
    run: &Run,
    policy: &Policy,
    account: &PublicKey,
    member: Option<&Member>,
) -> Result<Option<Lacking>, Stop> {
    let lifetime = view.get::<VerifiedWork>(&keys::verified_work(account))?.map_or(0, |work| work.flops);
    let lineage = view.get::<Lineage>(&keys::lineage(&terms.run))?;
    let away = member.and_then(|member| member.away);
    let short = away.is_some_and(|away| run.clock().saturating_sub(away) <= policy.pending_windows.into());
    let early =
        run.state == RunState::Exclusive || run.window < run.opened.saturating_add(terms.bootstrap_windows);
    if short || early && lineage.is_none() {
        return Ok(None);
    }
    let seats = u32::from(terms.stages) * u32::from(terms.seats);
    let needed = needed(run::flops(terms, run, lineage.as_ref()), policy.theta, seats);
    let own = u128::from(member.map_or(0, |member| member.wu)).saturating_mul(terms.wu_flops.into());
    let got = counted(own, lifetime, policy.foreign_work, needed);
    Ok((got < needed).then_some(Lacking { needed, got }))
}

/// Count a matured claim.
pub(crate) fn credit(view: &mut View<'_>, claim: &Claim) -> Result<(), Stop> {
    let member_key = keys::member(&claim.run, &claim.account);
    view.want([keys::run_terms(&claim.run), keys::verified_work(&claim.account), member_key])?;
    let terms: RunTerms = view.must(&keys::run_terms(&claim.run), "run", claim.run)?;
    let mut work = view
        .get::<VerifiedWork>(&keys::verified_work(&claim.account))?
        .unwrap_or(VerifiedWork { account: claim.account, flops: 0 });
    let flops = u128::from(claim.wu) * u128::from(terms.wu_flops);
    work.flops = work.flops.saturating_add(flops);
    view.put(keys::verified_work(&claim.account), work);
    if let Some(mut member) = view.get::<Member>(&member_key)? {
        member.wu = member.wu.saturating_add(claim.wu);
        view.put(member_key, member);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_work_is_bounded_and_own_work_is_not() {
        assert_eq!(counted(30, 30, 0, 100), 30);
        assert_eq!(counted(30, 1000, 0, 100), 30);
        assert_eq!(counted(30, 1000, 5000, 100), 80);
        assert_eq!(counted(0, 1000, 10_000, 100), 100);
        assert_eq!(counted(0, 7, 10_000, 100), 7);
        assert_eq!(counted(u128::MAX, u128::MAX, 10_000, u128::MAX), u128::MAX);
    }
}
