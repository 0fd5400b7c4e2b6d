//! Issue U by a fixed schedule, never by usage (ownership specification 5.4).
//!
//! ```text
//! allowed(e)   = max(rate, floor(scheduled / (10^4 x Y)) x tail)      Y epochs a year, `tail` 1/10 000 of it
//! scheduled   += allowed(e)
//! rate         = floor(rate x keep / 2^32)
//! budget       = floor(allowed(e) x part / 10^4)                      `part` is all of it unless voted lower
//! ```
//! Of the budget, half is for validators: the same for each of the epoch's blocks, paid for those that a bonded
//! validator proposed (a certificate does not say who signed it). A fifth is for auditors, divided equally by
//! accepted audits. What remains, three tenths, goes to the public fund, which pays hosts of the public lane: if
//! the hosts were paid here by what they served, issuance would depend on usage and could be farmed. What
//! nobody earned is not issued, and not carried over.
//!
//! `scheduled` counts what was allowed, not what was issued, so the schedule is a function of the epoch alone.

use crate::{
    account,
    accounts::validator,
    event::{Issued, Reason},
    keys,
    record::{AuditCount, AuditTotal, Issuance},
    store::{Stop, View},
};
use tessera_canon::{Hash, PublicKey};

/// What the schedule allows in the next epoch; `state` moves on. `first` is in `state.rate` at the beginning.
pub fn next(state: &mut Issuance, keep: u32, tail: u16, year_epochs: u64) -> u128 {
    let year = u128::from(year_epochs.max(1));
    let floor = state.scheduled / (10_000 * year) * u128::from(tail);
    // All U together is a `u128`: a schedule that has reached it allows no more.
    let allowed = state.rate.max(floor).min(u128::MAX - state.scheduled);
    state.scheduled += allowed;
    // `rate` began as a `u64`, so the product is below 2^96.
    state.rate = (state.rate * u128::from(keep)) >> 32;
    allowed
}

/// Count an audit whose word was accepted, for its auditor's part of this epoch's budget.
pub(crate) fn audit_accepted(view: &mut View<'_>, auditor: &PublicKey) -> Result<(), Stop> {
    let key = keys::audit_count(auditor);
    view.want([key, keys::audit_total()])?;
    let mut total = view.get::<AuditTotal>(&keys::audit_total())?.unwrap_or(AuditTotal { accepted: 0 });
    let before = view.get::<AuditCount>(&key)?;
    if before.is_none() {
        view.list_add(keys::list_of_auditors(), Hash(auditor.0));
    }
    let accepted = before.map_or(0, |count| count.accepted).saturating_add(1);
    total.accepted = total.accepted.saturating_add(1);
    view.put(key, AuditCount { account: *auditor, accepted });
    view.put(keys::audit_total(), total);
    Ok(())
}

fn pay(view: &mut View<'_>, to: &PublicKey, amount: u128, reason: Reason) -> Result<u128, Stop> {
    if amount > 0 {
        account::issue(view, amount)?;
        account::credit_for(view, to, amount, (reason, &Hash::ZERO))?;
    }
    Ok(amount)
}

/// Step 8 of an epoch boundary.
pub(crate) fn boundary(view: &mut View<'_>, epoch: u64) -> Result<(), Stop> {
    view.want([keys::issuance(), keys::security(), keys::audit_total()])?;
    let (terms, blocks) = (validator::terms(view)?, view.params()?.epoch_blocks.max(1));
    let Some(mut state) = view.get::<Issuance>(&keys::issuance())? else { return Ok(()) };
    let allowed = next(&mut state, terms.keep, terms.tail, terms.year_epochs);
    // In two parts, so that the product cannot overflow; `part` is at most 10 000.
    let part = u128::from(state.part.min(10_000));
    let budget = allowed / 10_000 * part + allowed % 10_000 * part / 10_000;
    view.put(keys::issuance(), state);

    let (validators, auditors) = (budget / 2, budget / 5);
    let per_block = validators / u128::from(blocks);
    let mut paid = (0, 0);
    for mut bond in validator::bonds(view)? {
        let count = std::mem::take(&mut bond.proposed);
        if count > 0 {
            paid.0 += pay(view, &bond.account, per_block * u128::from(count), Reason::ValidatorPay)?;
            view.put(keys::validator_bond(&bond.account), bond);
        }
    }
    let total = view.get::<AuditTotal>(&keys::audit_total())?.map_or(0, |total| total.accepted);
    if total > 0 {
        paid.1 = pay_auditors(view, auditors / u128::from(total))?;
        view.delete(keys::audit_total());
    }
    let fund = budget - validators - auditors;
    if fund > 0 {
        account::issue(view, fund)?;
        account::to_fund(view, fund)?;
    }
    if allowed > 0 {
        view.emit(Issued { epoch, allowed, validators: paid.0, auditors: paid.1, fund });
    }
    Ok(())
}

fn pay_auditors(view: &mut View<'_>, each: u128) -> Result<u128, Stop> {
    let list = keys::list_of_auditors();
    view.want([keys::list_length(&list)])?;
    let ids = view.list_items(&list)?;
    view.want(ids.iter().map(|id| keys::audit_count(&PublicKey(id.0))))?;
    let mut paid = 0;
    for id in ids {
        let auditor = PublicKey(id.0);
        let count = view.get::<AuditCount>(&keys::audit_count(&auditor))?.map_or(0, |count| count.accepted);
        paid += pay(view, &auditor, each * u128::from(count), Reason::AuditorPay)?;
        view.delete(keys::audit_count(&auditor));
        view.list_remove(list, id);
    }
    Ok(paid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        block::BlockContext,
        genesis::{Genesis, Parameters, SecurityTerms},
        memory::MemState,
        query,
        store::{Cells, ListChanges},
    };
    use tessera_canon::{Blob, List, Text};

    /// Run `step` on a view of `state` and keep its effects, lists included.
    fn run(state: &mut MemState, step: impl Fn(&mut View<'_>) -> Result<(), Stop>) {
        let context = BlockContext {
            network: Hash::ZERO,
            height: 4,
            time_ms: 0,
            beacon: Hash::ZERO,
            proposer: PublicKey([9; 32]),
        };
        let (mut supplied, none) = (Cells::new(), Cells::new());
        let mut lists = ListChanges::new();
        for phase in 0..2 {
            loop {
                let mut view =
                    View::new(&context, &crate::trust::referee::NoReferee, &supplied, &none, &lists);
                let done = if phase == 0 { step(&mut view) } else { view.flush_lists() };
                match done {
                    Ok(()) => {
                        let changes = view.effects.lists;
                        for (key, cell) in view.effects.cells {
                            match cell {
                                Some(cell) => drop(state.0.insert(key, cell)),
                                None => drop(state.0.remove(&key)),
                            }
                        }
                        lists = changes.into_iter().filter_map(|(at, add)| Some((at, add?))).collect();
                        break;
                    }
                    Err(Stop::Need(keys)) => supplied.extend(keys.into_iter().map(|k| (k, state.get(&k)))),
                    Err(Stop::Refused(error)) => panic!("{error}"),
                }
            }
            supplied.clear();
        }
    }

    #[test]
    fn auditors_share_a_fixed_budget_by_accepted_audits() {
        let security = SecurityTerms { first: 1_000_000, ..SecurityTerms::demo() };
        let genesis = Genesis {
            name: Text::new("audits").unwrap_or_default(),
            time_ms: 0,
            validators: List::default(),
            accounts: List::default(),
            params: Parameters { security, ..Parameters::demo() },
            consensus: Blob::default(),
        };
        let mut state = MemState::new(&genesis);
        let (first, second) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let balance =
            |state: &MemState, of: &PublicKey| query::account(|k| state.get(k), of).map_or(0, |a| a.balance);
        for auditor in [first, second, first] {
            run(&mut state, |view| audit_accepted(view, &auditor));
        }
        run(&mut state, |view| boundary(view, 1));
        // A fifth of 1 000 000 in three parts of 66 666; the rest is not issued.
        assert_eq!((balance(&state, &first), balance(&state, &second)), (133_332, 66_666));
        let issued = query::globals(|k| state.get(k)).map(|globals| globals.issued);
        assert_eq!(issued, Some(133_332 + 66_666 + 300_000));
        // The schedule of the demonstration keeps nothing: no second epoch, and counters are back at zero.
        run(&mut state, |view| audit_accepted(view, &second));
        run(&mut state, |view| boundary(view, 2));
        assert_eq!((balance(&state, &first), balance(&state, &second)), (133_332, 66_666));
        assert!(state.get(&keys::audit_total()).is_none());
    }
}
