//! The deterrence condition against exact fixtures (`scripts/deterrence_fixture.py`), the specification's table, and
//! agents that fake and come back (P9, attack 5).

use crate::world::*;
use tessera_canon::{Domain, Prf};
use tessera_ledger::{
    TxError,
    genesis::Parameters,
    query,
    record::AuditStats,
    runs::policy::{Bounds, Policy},
    trust::{deterrence, deterrence::after_second, minimum_bond},
};

const FIXTURE: &str = include_str!("../fixtures/deterrence.txt");

#[test]
fn the_condition_agrees_with_exact_arithmetic() {
    let mut cases = 0;
    for line in FIXTURE.lines().filter(|line| line.starts_with("bond")) {
        let numbers: Vec<u64> = line.split(' ').skip(1).map(|n| n.parse().unwrap()).collect();
        let [v, q, windows, least] = numbers[..] else { panic!("{line}") };
        let (v, q, windows) = (v as u32, q as u32, windows as u32);
        assert_eq!(minimum_bond(v, q, windows), Some(least), "{line}");
        assert!(deterrence(v, q, windows, least));
        assert!(least == 0 || !deterrence(v, q, windows, least - 1));
        cases += 1;
    }
    assert_eq!(cases, 90);
    // Nothing deters where nothing is found; a certain catch deters what is worth its cost.
    assert_eq!(minimum_bond(10_000, 0, 1000), None);
    assert!(!deterrence(10_000, 0, u32::MAX, 1 << 40));
    assert!(deterrence(10_000, 10_000, 0, 0) && !deterrence(9_999, 10_000, 0, 0));
}

/// The table of 4.6: least bonds in claims for v = 1.1, to a tenth.
#[test]
fn the_specifications_table_is_reproduced() {
    const TABLE: [(u32, [u64; 6]); 5] = [
        (50, [1989, 1780, 1504, 1126, 603, 95]),
        (100, [989, 791, 559, 299, 46, 0]),
        (200, [489, 310, 146, 21, 0, 0]),
        (500, [189, 55, 0, 0, 0, 0]),
        (1000, [89, 2, 0, 0, 0, 0]),
    ];
    for (q, row) in TABLE {
        // Rounded to the nearest tenth as the table is.
        let rounded = [0, 20, 50, 100, 200, 400]
            .map(|windows| (minimum_bond(11_000, q, windows).expect("q is above 0") + 500) / 1000);
        assert_eq!(rounded, row, "q = {q}");
    }
}

/// Income of a window in 1/10 000 of its honest cost, of one who fakes every claim and re-enters when expelled after
/// `catches` catches within the pending windows.
fn faker(q: u32, windows: u32, bond: u64, v: u64, catches: usize, seed: u8) -> f64 {
    const SPAN: u32 = 400_000;
    let mut random = Prf::new(Domain::new("tessera/test/faker/v1"), &[seed]);
    let (mut income, mut age) = (0i128, 0u32);
    let mut recent: Vec<u32> = Vec::new();
    for _ in 0..SPAN {
        age += 1;
        if random.below(10_000) < u64::from(q) {
            recent.retain(|at| age - at <= windows);
            recent.push(age);
            if recent.len() >= catches {
                income += i128::from(v) * i128::from(age.saturating_sub(1 + windows));
                income -= i128::from(bond);
                age = 0;
                recent.clear();
            }
        }
    }
    income += i128::from(v) * i128::from(age.saturating_sub(windows));
    income as f64 / f64::from(SPAN)
}

/// P9, attack 5: with the least bond and a fifth more the faker earns less than the honest trainer (v - 1), with a
/// fifth less it earns more. The means of some 8000 lives are within a twentieth of their difference.
#[test]
fn p9_faking_pays_exactly_where_the_condition_is_violated() {
    let honest = 1000.0;
    for (q, windows) in [(200, 50), (200, 20), (500, 20), (100, 100)] {
        let least = minimum_bond(11_000, q, windows).unwrap();
        let over = faker(q, windows, least * 6 / 5, 11_000, 1, 1);
        let under = faker(q, windows, least * 4 / 5, 11_000, 1, 2);
        println!(
            "q {q}, A {windows}, least bond {least}: faker {over:.0} with 1.2 of it, {under:.0} with 0.8"
        );
        assert!(over < honest, "{over}");
        assert!(under > honest, "{under}");
    }
    // Where no bond is needed, faking earns less without any.
    assert!(faker(200, 200, 0, 11_000, 1, 3) < honest);
}

/// The ladder forgives one mismatch. Under the default policy faking everything does not pay even so.
#[test]
fn one_pardon_does_not_make_faking_pay_under_the_defaults() {
    let policy = Policy::default();
    let bond = u64::from(policy.bond_claims) * 10_000;
    let (q, windows) = (u32::from(policy.audit_rate), policy.pending_windows);
    let pardoned = faker(q, windows, bond, 11_000, 2, 4);
    println!(
        "default policy, second catch expels: faker {pardoned:.0}, honest 1000; condition {}",
        after_second(11_000, q, windows, bond)
    );
    assert!(after_second(11_000, q, windows, bond));
    assert!(pardoned < 1000.0, "{pardoned}");
    assert!(!after_second(11_000, q, 20, bond), "it is a stricter condition than the first");
}

#[test]
fn a_run_whose_policy_does_not_deter_is_refused() {
    let mut parameters = Parameters::from(params());
    parameters.bounds = Bounds { pending_windows_from: 1, deterrence: true, ..Bounds::default() };
    parameters.policy = Policy { transfer_lock: 8, ..Policy::default() };
    let mut world = World::new(3, parameters);
    let with = |policy| tessera_ledger::action::CreateRun { policy: Some(policy), ..create_run(RUN, 2, 2) };
    let weak = Policy { audit_rate: 50, ..Policy::default() };
    let error = world.run(0, with(weak)).error;
    assert_eq!(error, Some(TxError::Deterrence { audit_rate: 50, windows: 200, bond: 5 }));
    // What the audits were found to miss counts as well.
    let none = query::audit_stats(world.get(), &RUN);
    assert_eq!(none, None);
    let stats = |found| AuditStats {
        run: RUN,
        panels: 100,
        places: 300,
        revealed: 300,
        tested: 100,
        found,
        guilty: 0,
        innocent: 0,
        open_ended: 0,
    };
    let policy = Policy::default();
    assert_eq!(policy.deters(Some(&stats(90))), Ok(()));
    let error = policy.deters(Some(&stats(20)));
    assert_eq!(error, Err(TxError::Deterrence { audit_rate: 40, windows: 200, bond: 5 }));
    let strong = Policy { audit_rate: 50, bond_claims: 50, pending_windows: 400, ..Policy::default() };
    world.ok(0, with(strong));
}
