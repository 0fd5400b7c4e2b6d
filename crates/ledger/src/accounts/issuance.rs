//! Issue U by a fixed schedule, never by usage (ownership specification 5.4).
//!
//! ```text
//! allowed(e)   = max(rate, floor(scheduled / (10^4 x Y)) x tail)      Y epochs a year, `tail` 1/10 000 of it
//! scheduled   += allowed(e)
//! rate         = floor(rate x keep / 2^32)
//! budget       = floor(allowed(e) x part / 10^4)                      `part` is all of it unless voted lower
//! ```
//! Of the budget, half is for validators: the same for each of the epoch's blocks, paid for those that a bonded
//! validator proposed (a certificate does not say who signed it). A fifth is for auditors: at most what the runs that
//! were audited have lost for good and was not issued for them before, in auction fees and in bonds of those convicted; divided
//! by what each run has lost, and in a run equally by accepted audits. So one who owns a whole run and has himself audited
//! gets back what he paid at most (decision 15). What remains, three tenths, goes to the public fund, which pays hosts of the public lane: if
//! the hosts were paid here by what they served, issuance would depend on usage and could be farmed. What
//! nobody earned is not issued, and not carried over.
//!
//! `scheduled` counts what was allowed, not what was issued, so the schedule is a function of the epoch alone.

use crate::{
    account,
    accounts::validator,
    event::{Issued, Reason},
    keys,
    record::{AuditBudget, AuditCount, Issuance},
    store::{Stop, View},
};
use ruint::aliases::U256;
use std::collections::BTreeMap;
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

/// Count an audit of `run` whose word was accepted, for its auditor's part of this epoch's budget.
pub(crate) fn audit_accepted(view: &mut View<'_>, run: &Hash, auditor: &PublicKey) -> Result<(), Stop> {
    let key = keys::audit_count(run, auditor);
    let before = view.get::<AuditCount>(&key)?;
    if before.is_none() {
        view.list_add(keys::list_of_auditors(), key);
    }
    let accepted = before.map_or(0, |count| count.accepted).saturating_add(1);
    view.put(key, AuditCount { run: *run, account: *auditor, accepted });
    Ok(())
}

/// Note U that those who take part in `run` have lost for good: so much may be issued to its auditors.
pub(crate) fn lost(view: &mut View<'_>, run: &Hash, amount: u128) -> Result<(), Stop> {
    if amount > 0 {
        let key = keys::audit_budget(run);
        let left = view.get::<AuditBudget>(&key)?.map_or(0, |budget| budget.left).saturating_add(amount);
        view.put(key, AuditBudget { run: *run, left });
    }
    Ok(())
}

/// Take `amount` from what may be paid to the auditors of `run`; `false`, and nothing taken, if it is not there.
pub(crate) fn spend(view: &mut View<'_>, run: &Hash, amount: u128) -> Result<bool, Stop> {
    let key = keys::audit_budget(run);
    let Some(mut budget) = view.get::<AuditBudget>(&key)? else { return Ok(amount == 0) };
    let Some(left) = budget.left.checked_sub(amount) else { return Ok(false) };
    budget.left = left;
    view.put(key, budget);
    Ok(true)
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
    view.want([keys::issuance(), keys::security()])?;
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
    paid.1 = pay_auditors(view, auditors)?;
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

/// Pay for the epoch's accepted audits, `most` in all. Returns what was paid.
fn pay_auditors(view: &mut View<'_>, most: u128) -> Result<u128, Stop> {
    let list = keys::list_of_auditors();
    view.want([keys::list_length(&list)])?;
    let ids = view.list_items(&list)?;
    view.want(ids.iter().copied())?;
    let mut runs: BTreeMap<Hash, Vec<AuditCount>> = BTreeMap::new();
    for id in ids {
        if let Some(count) = view.get::<AuditCount>(&id)? {
            runs.entry(count.run).or_default().push(count);
        }
        view.delete(id);
        view.list_remove(list, id);
    }
    view.want(runs.keys().map(keys::audit_budget))?;
    let mut budgets = Vec::new();
    for run in runs.keys() {
        budgets.extend(view.get::<AuditBudget>(&keys::audit_budget(run))?);
    }
    let all = budgets.iter().fold(U256::ZERO, |sum, budget| sum + U256::from(budget.left));
    let (mut paid, spent) = (0, all.min(U256::from(most)));
    for mut budget in budgets {
        // At most `left`, since `spent` is at most `all`.
        let part = (U256::from(budget.left) * spent).checked_div(all).unwrap_or_default();
        let part = u128::try_from(part).unwrap_or(budget.left);
        let counts = runs.remove(&budget.run).unwrap_or_default();
        let accepted = counts.iter().map(|count| u128::from(count.accepted)).sum::<u128>();
        let each = part.checked_div(accepted).unwrap_or(0);
        for count in counts {
            let amount = pay(view, &count.account, each * u128::from(count.accepted), Reason::AuditorPay)?;
            (paid, budget.left) = (paid + amount, budget.left - amount);
        }
        view.put(keys::audit_budget(&budget.run), budget);
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
    fn auditors_share_what_runs_have_lost_by_accepted_audits() {
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
        let [first, second, third] = [1, 2, 3].map(|n| PublicKey([n; 32]));
        let balance =
            |state: &MemState, of: &PublicKey| query::account(|k| state.get(k), of).map_or(0, |a| a.balance);
        let (busy, quiet, own) = (Hash([5; 32]), Hash([6; 32]), Hash([7; 32]));
        let left = |state: &MemState, run: &Hash| {
            query::read::<AuditBudget>(|key: &Hash| state.get(key), &keys::audit_budget(run)).map(|b| b.left)
        };
        for (run_id, amount) in [(busy, 250_000), (busy, 50_000), (quiet, 100_000)] {
            run(&mut state, |view| lost(view, &run_id, amount));
        }
        for (run_id, auditor) in [(busy, first), (busy, second), (busy, first), (quiet, second), (own, third)]
        {
            run(&mut state, |view| audit_accepted(view, &run_id, &auditor));
        }
        run(&mut state, |view| boundary(view, 1));
        // A fifth of 1 000 000, three quarters of it for the run that lost 300 000 of 400 000; in it three audits.
        // A run that lost nothing takes no part of it, however many audits it has.
        assert_eq!(balance(&state, &first), 100_000);
        assert_eq!(balance(&state, &second), 50_000 + 50_000);
        assert_eq!(balance(&state, &third), 0);
        assert_eq!([busy, quiet, own].map(|run| left(&state, &run)), [Some(150_000), Some(50_000), None]);
        let issued = query::globals(|k| state.get(k)).map(|globals| globals.issued);
        assert_eq!(issued, Some(200_000 + 300_000));
        // The schedule of the demonstration keeps nothing: no second epoch, and counters are back at zero.
        run(&mut state, |view| audit_accepted(view, &busy, &second));
        run(&mut state, |view| boundary(view, 2));
        assert_eq!(balance(&state, &second), 100_000);
        assert!(state.get(&keys::audit_count(&busy, &second)).is_none());
        // Where less was lost than the schedule allows, no more than that is issued.
        let again = Issuance { rate: 1_000_000, ..Issuance::default() };
        run(&mut state, |view| {
            view.put(keys::issuance(), again.clone());
            audit_accepted(view, &busy, &second)
        });
        run(&mut state, |view| boundary(view, 3));
        assert_eq!((balance(&state, &second), left(&state, &busy)), (250_000, Some(0)));
    }
}
