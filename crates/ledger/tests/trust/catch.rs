//! How likely false work is caught, as the ledger says it from its own state, against simulated and real draws.

use crate::{setting::*, world::*};
use tessera_canon::{Domain, Hash, Prf};
use tessera_ledger::{
    genesis::Parameters,
    keys, query,
    runs::policy::Policy,
    trust::{
        TrustParams,
        catch::{Chance, Deterrence, MILLION, Standing, deterrence_of},
        deterrence,
    },
};

fn random(seed: u8) -> Prf {
    Prf::new(Domain::new("tessera/test/catch/v1"), &[seed])
}

/// Part of claims of `units` units, the first `bad` of them false, in which a draw finds a false one.
fn caught(random: &mut Prf, (unit_rate, claim_rate): (u16, u16), units: u32, bad: u32) -> f64 {
    const CLAIMS: u32 = 40_000;
    let mut drawn = |rate: u16| random.below(10_000) < u64::from(rate);
    let mut found = 0u32;
    for _ in 0..CLAIMS {
        // Every unit and the claim are drawn, whatever came before.
        let of_units =
            (0..units).map(|unit| drawn(unit_rate) && unit < bad).fold(false, |any, one| any | one);
        found += u32::from(drawn(claim_rate) | of_units);
    }
    f64::from(found) / f64::from(CLAIMS)
}

fn told(chance: &Chance) -> f64 {
    chance.caught as f64 / MILLION as f64
}

#[test]
fn the_chances_are_those_of_simulated_draws() {
    let mut random = random(1);
    for (rates, units) in
        [((100, 200), 16), ((2000, 200), 16), ((1000, 2000), 4), ((100, 50), 64), ((0, 300), 8)]
    {
        let says = Deterrence::of(Standing::Regular, rates, units, 200, 0);
        for (bad, chance) in [(1, says.one), (units, says.all)] {
            let (expected, got) = (told(&chance), caught(&mut random, rates, units, bad));
            println!("rates {rates:?}, {bad} of {units} units false: {expected:.4}, drawn {got:.4}");
            let error = 4.0 * (expected * (1.0 - expected) / 40_000.0).sqrt();
            assert!((got - expected).abs() < error, "{got} is not within {error} of {expected}");
        }
    }
}

/// With claims of one unit and no unit audits, this is the condition of 4.6.
#[test]
fn it_agrees_with_the_condition_of_policies() {
    let mut both = [0, 0];
    for q in [50u16, 100, 200, 500, 1000] {
        for windows in [0, 1, 20, 50, 100, 200, 400] {
            for bond in [0u64, 10_000, 50_000, 300_000, 500_000, 2_000_000] {
                let says = Deterrence::of(Standing::Regular, (0, q), 1, windows, bond);
                let holds = deterrence(10_000, q.into(), windows, bond);
                assert_eq!(says.one, says.all);
                assert_eq!(says.holds(), holds, "q {q}, A {windows}, B {bond}: {says:?}");
                both[usize::from(holds)] += 1;
            }
        }
    }
    assert!(both[0] > 20 && both[1] > 20, "{both:?}");
}

fn audited(claim_rate: u16, trust: TrustParams) -> Parameters {
    let base = parameters();
    let policy = Policy { audit_rate: claim_rate, ..base.policy.clone() };
    Parameters { policy, trust, ..base }
}

/// The claims that the ledger's own beacon picks, beside units drawn at the same rates.
#[test]
fn the_ledgers_own_draws_pick_as_many() {
    let trust = TrustParams { unit_rate: 1500, ..trust_params() };
    let mut world = start_with(12, audited(2500, trust));
    let (mut random, mut claims, mut found) = (random(2), 0u32, [0u32; 2]);
    let mut expected = None;
    for window in 0..20 {
        world.close_window(RUN, 9_000_000);
        world.blocks(2);
        let says = deterrence_of(world.get(), &RUN, Standing::Regular).expect("there is such a run");
        assert_eq!(
            (says.unit_rate, says.claim_rate, says.units),
            (1500, 2500, 1),
            "12 microbatches, 12 seats"
        );
        expected = Some(says);
        for (index, claim) in (0u16..).zip(query::claims_of_stage(world.get(), &RUN, window, 0)) {
            let audit = keys::audit_id(&keys::claim(&RUN, window, 0, index));
            let panel = query::panel(world.get(), &audit).is_some();
            let mut unit = || random.below(10_000) < 1500;
            let all = (0..claim.microbatches).map(|_| unit()).fold(false, |any, one| any | one);
            claims += 1;
            found[0] += u32::from(panel || unit());
            found[1] += u32::from(panel || all);
        }
    }
    let says = expected.expect("20 windows");
    for (chance, found) in [(says.one, found[0]), (says.all, found[1])] {
        let (expected, got) = (told(&chance), f64::from(found) / f64::from(claims));
        println!("{claims} claims: {expected:.3} by the query, {got:.3} drawn");
        assert!((got - expected).abs() < 4.0 * (expected * (1.0 - expected) / f64::from(claims)).sqrt());
    }
}

#[test]
fn it_reads_what_is_live() {
    let trust = TrustParams { unit_rate: 100, probation_rate: 2000, watch_factor: 10, ..trust_params() };
    let mut world = start_with(6, audited(200, trust));
    let of =
        |world: &World, standing| deterrence_of(world.get(), &RUN, standing).expect("there is such a run");
    assert_eq!(deterrence_of(world.get(), &Hash([1; 32]), Standing::Regular), None);
    let before = of(&world, Standing::Regular);
    world.close_window(RUN, 9_000_000);
    world.blocks(2);
    let regular = of(&world, Standing::Regular);
    assert_eq!(before.units, regular.units, "equal parts, before and after the first report");
    assert_eq!((regular.unit_rate, regular.claim_rate, regular.windows, regular.bond), (100, 200, 3, 0));
    let newcomer = of(&world, Standing::Newcomer);
    assert_eq!((newcomer.unit_rate, newcomer.claim_rate), (2000, 200));
    let watched = of(&world, Standing::Watched);
    assert_eq!((watched.unit_rate, watched.claim_rate), (1000, 2000));
    assert!(regular.one.caught < watched.one.caught && regular.all.caught < newcomer.all.caught);
    assert!(!regular.holds(), "three pending windows and no bond: {regular:?}");
    // A bond counts by the seat that has the least.
    let claim = u128::from(claim(&world, 0, 1).1.wu) * 1_000;
    for of in 0..6 {
        give_bond(&mut world, of, claim * if of == 4 { 40 } else { 90 });
    }
    let bonded = of(&world, Standing::Regular);
    assert_eq!(bonded.bond, 400_000);
    assert!(bonded.holds() && bonded.all.cost > regular.all.cost, "{bonded:?}");
    println!("six seats, 40 claims bonded: {bonded:?}");
}

/// A stage of one seat has no auditor, whatever the rates.
#[test]
fn without_a_second_seat_nothing_deters() {
    let world = start_with(1, audited(10_000, trust_params()));
    let says = deterrence_of(world.get(), &RUN, Standing::Newcomer).expect("there is such a run");
    assert_eq!((says.one.caught, says.all.caught, says.holds()), (0, 0, false));
}
