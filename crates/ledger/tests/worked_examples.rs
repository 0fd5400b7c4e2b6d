//! Reproduce the specification's worked examples to the unit.

mod world;

use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{accumulator, action::*, query, record::*, run};
use world::*;

fn fresh_credits(active: u128) -> Credits {
    Credits {
        run: RUN,
        active,
        pending: 0,
        voided: 0,
        acc: Wide::default(),
        rem: 0,
        pool: 0,
        total: 0,
        owner_in: 0,
        owner_out: 0,
        notes: 0,
        auctioned: 0,
        locked: 0,
        series: 0,
    }
}
fn fresh_owner(shares: u128) -> Owner {
    let account = PublicKey::default();
    Owner { run: RUN, account, shares, pending: 0, acc_seen: Wide::default(), frac: 0, due: 0 }
}

/// Section 3.8: three epochs of 7 credits among D, A, B, C; figures from the reference model.
#[test]
fn accumulator_example() {
    let mut owners = [52_428_800, 104_000_000, 130_000_000, 44_684_800].map(fresh_owner);
    let mut credits = fresh_credits(owners.iter().map(|o| o.shares).sum());
    let expected: [([u64; 4], u128); 3] =
        [([1, 2, 2, 0], 253_499_392), ([2, 4, 5, 1], 175_885_184), ([3, 6, 8, 2], 98_270_976)];
    for (due, rem) in expected {
        credits.pool = 7;
        assert_eq!(accumulator::distribute(&mut credits), 7);
        for owner in &mut owners {
            accumulator::touch(owner, &credits);
        }
        assert_eq!(owners.each_ref().map(|owner| owner.due), due);
        assert_eq!(credits.rem, rem);
    }
    let rounded = |frac: u128| ((frac >> 64) * 10_000 + (1 << 63)) >> 64;
    let parts_per_ten_thousand = owners.map(|owner| rounded(owner.frac));
    assert_eq!(parts_per_ten_thousand, [3252, 5959, 2449, 8340]);
}

/// Test P14: the largest run the rules admit does not overflow.
#[test]
fn accumulator_at_its_bounds() {
    let mut credits = fresh_credits((1 << 62) << 16);
    let mut owner = fresh_owner(credits.active);
    for _ in 0..1000 {
        credits.pool = 1 << 40;
        accumulator::distribute(&mut credits);
    }
    accumulator::touch(&mut owner, &credits);
    assert_eq!(u128::from(owner.due) + u128::from(owner.frac > 0), 1000 << 40);
    let mut credits = fresh_credits(1);
    let mut owner = fresh_owner(1);
    for _ in 0..1000 {
        credits.pool = 1 << 50;
        accumulator::distribute(&mut credits);
    }
    accumulator::touch(&mut owner, &credits);
    assert_eq!(owner.due, 1000 << 50);
}

/// Section 4.8: weights, work and shares of D, A, B and C, through real blocks of one stage.
#[test]
fn ownership_example() {
    const WEIGHTS: [u32; 8] = [65536, 65536, 35746, 23831, 19065, 16681, 15490, 14894];
    let losses = [11_000_000, 6_000_000, 4_000_000, 3_200_000, 2_800_000, 2_600_000, 2_500_000, 2_500_000];
    let work: [&[(u32, u32)]; 8] = [
        &[(0, 400)],
        &[(0, 400)],
        &[(1, 1000)],
        &[(1, 1000)],
        &[(1, 1000), (2, 2000)],
        &[(1, 1000), (2, 2000)],
        &[(1, 1000), (2, 2000)],
        &[(1, 1000), (2, 2000), (3, 3000)],
    ];
    // A window's work is fixed, so wu not in the example are done by a filler account.
    let mut world = World::new(5, params());
    let mut create = create_run(RUN, 1, 1);
    create.stage_wu = list(vec![1]);
    create.seats = 5;
    create.microbatches = 6000;
    (create.steps, create.window_steps) = (8, 1);
    (create.f_star, create.f_min, create.f_exclusive) = (48_000, 480, 480);
    create.designers = list(vec![public(0), public(4)]);
    world.ok(0, create);
    for member in [0, 4] {
        world.ok(member, join(RUN, member));
    }
    world.blocks(1);
    for window in 0..8 {
        if window == 1 {
            for member in 1..4 {
                world.ok(member, join(RUN, member));
            }
            world.blocks(1);
        }
        let done: u32 = work[window].iter().map(|(_, wu)| wu).sum();
        let mut entries: Vec<WorkEntry> =
            work[window].iter().map(|(i, wu)| WorkEntry { account: public(*i), microbatches: *wu }).collect();
        if done < 6000 {
            entries.push(WorkEntry { account: public(4), microbatches: 6000 - done });
        }
        entries.sort_by_key(|entry| entry.account);
        let report = world.report(RUN, 0, entries, Some(losses[window]));
        let seats = query::seats_of_stage(world.get(), &RUN, 0);
        assert_eq!(query::run(world.get(), &RUN).unwrap().weight, WEIGHTS[window]);
        let action = world.sign_report(report, &seats);
        world.ok(0, action);
    }
    world.blocks(8);
    let shares = |i| query::owner(world.get(), &RUN, &public(i)).unwrap().shares;
    assert_eq!([0, 1, 2, 3].map(shares), [52_428_800, 125_707_000, 132_260_000, 44_682_000]);
}

/// Section 4.2: the half-life term against exact powers.
#[test]
fn half_power_is_within_two_units_and_falls() {
    assert_eq!(run::half_power(0, 7), 65536);
    assert_eq!(run::half_power(7, 7), 32768);
    assert_eq!(run::half_power(14, 7), 16384);
    assert_eq!(run::half_power(7 * 40, 7), 0);
    let mut before = 65536;
    for i in 0..5000u64 {
        let got = run::half_power(i, 1000);
        let exact = 65536.0 * 2f64.powf(-(i as f64) / 1000.0);
        assert!((f64::from(got) - exact).abs() <= 2.0, "{i}: {got} for {exact}");
        assert!(got <= before);
        before = got;
    }
}

#[test]
fn keys_of_different_cells_differ() {
    let id = Hash([1; 32]);
    let account = PublicKey(id.0);
    use tessera_ledger::keys::*;
    let all = [
        globals(),
        params(),
        tessera_ledger::keys::account(&account),
        run_terms(&id),
        tessera_ledger::keys::run(&id),
        credits(&id),
        designer(&id, &account),
        stage(&id, 0),
        seat(&id, 0, 0),
        seat(&id, 0, 1),
        seat(&id, 1, 0),
        member(&id, &account),
        window(&id, 0),
        stage_report(&id, 0, 0),
        claim(&id, 0, 0, 0),
        note(&id),
        offer(&id),
        lock(&id),
        escrow(&id),
        settlement(&id),
        locked_notes(&id, 0),
        leg_hosts(&id, 0, 0),
        list_length(&id),
    ];
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(distinct.len(), all.len());
}
