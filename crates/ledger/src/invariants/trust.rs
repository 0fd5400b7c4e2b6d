//! Check what disputes, maturity and policies must keep: PEND and DET (ownership specification 9.5).

use super::{Scan, Violation, hold};
use crate::{
    keys,
    memory::MemState,
    record::{Claim, ClaimState, Conduct, NetworkPolicy, Stored},
};

fn read<T: Stored>(state: &MemState, key: &tessera_canon::Hash) -> Option<T> {
    state.get(key).and_then(|cell| cell.unpack()).and_then(T::from_record)
}

/// Whether a verdict has voided a claim whose cell does not say so yet.
pub(super) fn condemned(state: &MemState, claim: &Claim) -> bool {
    let conduct: Option<Conduct> = read(state, &keys::conduct(&claim.run, &claim.account));
    conduct.and_then(|conduct| conduct.void_through).is_some_and(|through| claim.window <= through)
}

/// PEND: only windows that have matured hold active claims, and no claim in dispute is one; a frozen claim has its
/// dispute and a dispute its claim. DET: policies are such that faking does not pay.
pub(super) fn check(state: &MemState, scan: &Scan) -> Result<(), Violation> {
    let network: Option<NetworkPolicy> = read(state, &keys::defaults());
    if let Some(network) = &network {
        for policy in &scan.policies {
            let checked = policy.policy.check(&network.bounds);
            hold("DET", checked.is_ok(), || format!("run {}: {checked:?}", policy.run))?;
        }
    }
    let least = network.map_or(0, |network| network.bounds.pending_windows_from);
    let mut frozen = 0;
    for (id, sums) in &scan.sums {
        let Some(run) = scan.runs.get(id) else { continue };
        let clock = run.clock();
        let mut ripe_claims = 0;
        for claim in &sums.claims {
            let ripe = claim.window < run.matured && clock >= u64::from(claim.window) + 1 + u64::from(least);
            hold("PEND", claim.state != ClaimState::Active || ripe, || format!("too early: {claim:?}"))?;
            let whole = claim.state != ClaimState::Void || claim.voided == claim.shares;
            hold("SH", claim.voided <= claim.shares && whole, || format!("{claim:?}"))?;
            ripe_claims += usize::from(claim.ripe);
            frozen += usize::from(claim.state == ClaimState::Disputed);
        }
        let listed = scan.lists.get(&keys::list_of_ripe(id)).map_or(0, |ids| ids.len());
        hold("LIST", listed == ripe_claims, || format!("{ripe_claims} ripe claims, {listed} listed"))?;
    }
    let mut live = 0;
    for dispute in &scan.disputes {
        let claim: Option<Claim> = read(state, &dispute.id);
        let account = claim.as_ref().map(|claim| claim.account);
        hold("PEND", account == Some(dispute.accused), || format!("without its claim: {dispute:?}"))?;
        let disputed = claim.is_some_and(|claim| claim.state == ClaimState::Disputed);
        hold("PEND", !(disputed && dispute.late), || format!("late and frozen: {dispute:?}"))?;
        live += usize::from(disputed);
        let listed = scan.lists.get(&keys::list_of_disputes());
        hold("LIST", listed.is_some_and(|ids| ids.contains(&dispute.id)), || {
            format!("not listed: {dispute:?}")
        })?;
    }
    hold("PEND", frozen == live, || format!("{frozen} claims in dispute, {live} disputes of such"))
}
