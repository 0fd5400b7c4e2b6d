//! Count verified work, the chamber whose power nobody can buy (ownership specification 6.1).
//!
//! A claim that matures gives its account `wu x weight` of work in the run and in the network. It cannot be
//! moved. It decays by half each year. Only proportions matter in a vote, so instead of shrinking everything
//! that exists, *new work counts more*: by the factor
//!
//! ```text
//! growth(epoch) = (2^16 + floor(2^16 x r / Y)) x 2^y     y = epoch / Y whole years of Y epochs, r = the rest
//! ```
//! which doubles every year on one grid for everybody and runs straight between. Sums of grown work are exact
//! integers; nothing is rounded at a vote, and neither the number of claims, of accounts nor of credits changes
//! a proportion. (Halving each account's sum lazily would round differently for those who are credited more
//! often, and interpolating from each credit would compound.) Between two grid points the straight line is at
//! most 6.2 % above the exponential; after 100 years the factor stays where it is.

use crate::{
    governance::{history, terms},
    keys,
    record::{ChamberWork, Wide},
    store::{Stop, View},
};
use ruint::aliases::U256;
use tessera_canon::{Hash, PublicKey};

/// Years after which the factor no longer grows: work of a run below 2^78 a claim stays below 2^195.
const MOST_YEARS: u64 = 100;

/// What a unit of work done in `epoch` counts for, Q16, with `year` epochs in a year.
pub fn growth(epoch: u64, year: u64) -> U256 {
    let year = year.max(1);
    let (years, rest) = (epoch / year, epoch % year);
    if years >= MOST_YEARS {
        return U256::from(1u64 << 16) << MOST_YEARS as usize;
    }
    let straight = (1u128 << 16) + (u128::from(rest) << 16) / u128::from(year);
    U256::from(straight) << years as usize
}

/// The cells that a maturing claim reads for its account's power, to ask for them at once.
pub(crate) fn keys_of(run: &Hash, account: &PublicKey) -> [Hash; 5] {
    let network = Hash::ZERO;
    [
        keys::history(&history::shares_of(run, account)),
        keys::chamber_work(run, account),
        keys::chamber_work(&network, account),
        keys::history(&history::work_of(run, account)),
        keys::history(&history::work_of(&network, account)),
    ]
}

/// Credit `account` with `amount` of work (work units x weight) that was verified in `run`.
pub(crate) fn credit(view: &mut View<'_>, run: &Hash, account: &PublicKey, amount: u128) -> Result<(), Stop> {
    let epoch = view.context.height / view.params()?.epoch_blocks.max(1);
    let grown = U256::from(amount) * growth(epoch, terms::of(view)?.year_epochs);
    for scope in [*run, Hash::ZERO] {
        let key = keys::chamber_work(&scope, account);
        let mut work: ChamberWork =
            view.get(&key)?.unwrap_or(ChamberWork { run: scope, account: *account, amount: Wide::default() });
        history::before_change(view, &scope, history::work_of(&scope, account), work.amount.0)?;
        work.amount = Wide(work.amount.0 + grown);
        view.put(key, work);
        let mut assembly = history::assembly(view, &scope)?;
        history::before_change(view, &scope, history::all_work(&scope), assembly.work.0)?;
        assembly.work = Wide(assembly.work.0 + grown);
        view.put(keys::assembly(&scope), assembly);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::growth;
    use ruint::aliases::U256;

    #[test]
    fn work_counts_half_of_what_is_done_a_year_later() {
        let year = 52_560;
        for epoch in [0, 1, 7_000, 52_559, 52_560, 400_000] {
            assert_eq!(growth(epoch + year, year), growth(epoch, year) * U256::from(2), "{epoch}");
            assert!(growth(epoch + 1, year) >= growth(epoch, year));
        }
        assert_eq!(growth(year / 2, year), U256::from(3u64 << 15));
        // The straight line is above 2^(1/2) by 6.07 %, its worst is near there.
        assert_eq!(growth(u64::MAX, year), growth(100 * year, year));
        assert_eq!(growth(5, 0), U256::from(1u64 << 21), "a year of no epochs is one of one");
    }
}
