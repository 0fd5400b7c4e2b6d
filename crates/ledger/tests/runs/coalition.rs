//! Test that a coalition needs as many identities, and as much work, as the extraction report says.

use crate::simulation::{Reached, Setting, coupons, simulate};

const SETTING: Setting = Setting {
    stages: 8,
    // Room for everybody: the draw is then among all stages, as the formula assumes.
    seats: 16,
    designers: 8,
    share: 100,
    churn: 30,
    theta: 5000,
    start: 4,
    stay: false,
    newcomers: 8,
    seed: 0,
};

/// The number of identities until 3/4 and all of the stages are covered is that of independent uniform draws.
/// Tolerance: 4 standard errors of the mean over the histories; a right draw fails once in 16 000 times.
#[test]
fn a_coalition_needs_the_identities_of_independent_draws() {
    const HISTORIES: u64 = 24;
    let mut sums = [0u64; 2];
    for seed in 0..HISTORIES {
        for (sum, reached) in sums.iter_mut().zip(simulate(Setting { seed, ..SETTING }, &[75, 100])) {
            *sum += reached.identities;
        }
    }
    for (sum, wanted) in sums.into_iter().zip([6, 8]) {
        let (expected, variance) = coupons(8, wanted);
        let mean = sum as f64 / HISTORIES as f64;
        let error = (variance / HISTORIES as f64).sqrt();
        println!("{wanted} of 8 stages: {mean:.2} identities, expected {expected:.2} +- {error:.2}");
        assert!((mean - expected).abs() <= 4.0 * error, "{mean} for {expected} +- {error}");
    }
}

/// What it contributes is what was asked for each identity, never less; and what was asked grows with F, so that no
/// identity was admitted for more than the theta / (S x R) of F that the formula takes.
#[test]
fn a_coalition_contributes_what_was_asked() {
    for (seed, share) in [(100, 50), (101, 100)] {
        let setting = Setting { seed, share, ..SETTING };
        for Reached { identities, admission, contributed, .. } in simulate(setting, &[75, 100]) {
            let most = identities as f64 * 0.5 / (8.0 * 16.0);
            assert!(admission > 0.0 && admission <= most, "{admission} of at most {most}");
            assert!(contributed >= admission - 1e-9, "{contributed} done, {admission} asked");
        }
    }
}
