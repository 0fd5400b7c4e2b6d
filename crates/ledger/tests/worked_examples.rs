//! Reproduce the specification's worked examples to the unit.

mod world;

use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{Policy, accumulator, action::*, keys, payword::Chain, query, record::*, run};
use world::{market::*, *};

fn fresh_credits(active: u128) -> Credits {
    Credits { active, ..Credits::new(RUN) }
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

/// Sections 5.2 and 5.5: a batch with an auto-sell pool, the session of what was bought, and the credits' way back.
#[test]
fn market_example() {
    // Account 0 owns the run and has 45 of its 135 credits in two notes; its shares are in the pool when the other
    // 90 are handed out.
    let mut parameters = free_shares(params());
    // One stage, whose hosts are paid 4 for a credit.
    parameters.credits.first_fee = 4;
    let mut world = World::new(8, parameters);
    let policy =
        Policy { reserve: 60, pending_windows: 1, transfer_lock: 0, public_part: 0, ..Policy::default() };
    let create = CreateRun { policy: Some(policy), supply: 135, supply_epochs: 3, ..even_run(RUN) };
    world.ok(0, create);
    world.ok(0, join(RUN, 0));
    world.blocks(1);
    world.train_on(RUN);
    world.next_boundary();
    let note = keys::note_id(&world.ok(0, ClaimCredits { run: RUN, to: owner(0) }).tx, 0);
    assert_eq!(query::note(world.get(), &note).unwrap().cu, 45);
    let all = query::owner(world.get(), &RUN, &public(0)).unwrap().shares;
    world.ok(0, AutoSellWrap { run: RUN, amount: all });
    let outputs = vec![NoteOutput { owner: owner(6), cu: 20 }, NoteOutput { owner: owner(7), cu: 25 }];
    let split = world.ok(0, reshape(world.network, vec![note], outputs)).tx;
    world.next_boundary();
    world.next_boundary();
    let wanted = [
        bid(1, 120, 40),
        bid(2, 110, 30),
        bid(3, 100, 50),
        bid(4, 100, 30),
        bid(5, 80, 60),
        ask_notes(6, 95, 20, vec![keys::note_id(&split, 0)]),
        ask_notes(7, 130, 25, vec![keys::note_id(&split, 1)]),
    ];
    let before: Vec<u128> = (0..8).map(|i| world.balance(i)).collect();
    let globals = query::globals(world.get()).unwrap();
    world.auction(&credits_of(RUN), &wanted);
    let credits: Vec<u64> = (0..8).map(|i| world.free_credits(&RUN, i)).collect();
    assert_eq!(credits, [0, 40, 30, 25, 15, 0, 0, 25]);
    let net: Vec<i128> =
        (1..8).map(|i| world.balance(i) as i128 + 1_000_000 - before[i as usize] as i128).collect();
    // Price 100; the pool's seller's fee is 27, the owner's 6.
    assert_eq!(net, [-4000, -3000, -2500, -1500, 0, 2000 - 6, 0]);
    assert_eq!(query::due_proceeds(world.get(), &RUN, &public(0)), 9000 - 27);
    let after = query::globals(world.get()).unwrap();
    assert_eq!((after.burned - globals.burned, after.fund - globals.fund), (14 * 500_000 + 16, 17));
    let head = query::price_history(world.get(), Asset::Cu, &RUN).remove(0);
    assert_eq!((head.price, head.volume), (100, 110));

    // u1 locks its 40 with 4 U for each credit's hosts, and uses 33.
    let bought = query::notes_of(world.get(), &public(1)).remove(0);
    let chain = Chain::new([5; 32], 40);
    let order = LockOrder { fee_per_cu: 4, ..world.order(1, vec![bought.id], &chain) };
    let (id, start) = (order.id(), world.balance(1));
    world.lock(1, order);
    assert_eq!(world.balance(1), start - 500_000 - 160);
    let host = world.balance(0);
    let settlement = world.settlement(id, 33, &chain);
    world.ok(1, settlement);
    let pool = query::credits(world.get(), &RUN).unwrap();
    world.blocks(8);
    assert_eq!(query::lock(world.get(), &id).unwrap().state, LockState::Final);
    assert_eq!(world.balance(1), start - 2 * 500_000 - 132);
    // 132 for the host, of which 2 % (rounded up) stay on its account as insurance.
    assert_eq!(world.balance(0) - host, 129);
    assert_eq!(query::host(world.get(), &RUN, &public(0)).unwrap().insured, 3);
    assert_eq!(world.free_credits(&RUN, 1), 7);
    assert_eq!(query::credits(world.get(), &RUN).unwrap().owner_in, pool.owner_in + 33);

    // Of 33 one goes to the public lane; D, A, B and C of 4.8 share 32.
    let mut owners = [52_428_800, 125_707_000, 132_260_000, 44_682_000].map(fresh_owner);
    let mut credits = fresh_credits(owners.iter().map(|o| o.shares).sum());
    assert_eq!(credits.active, 355_077_800);
    credits.pool = 32;
    accumulator::distribute(&mut credits);
    owners.iter_mut().for_each(|owner| accumulator::touch(owner, &credits));
    assert_eq!(owners.each_ref().map(|owner| owner.due), [4, 11, 11, 4]);
    let rounded = |frac: u128| ((frac >> 64) * 10_000 + (1 << 63)) >> 64;
    let exact = owners.each_ref().map(|owner| u128::from(owner.due) * 10_000 + rounded(owner.frac));
    assert_eq!(exact, [47_249, 113_289, 119_194, 40_268]);
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
        order(&id),
        order_notes(&id),
        batch(&id, 0),
        batch(&id, 1),
        price_head(Asset::Cu, &id),
        price_head(Asset::Share, &id),
        price_part(Asset::Cu, &id, 0),
        auto_sell(&id),
        lot(&id, 0),
        wrap(&id, &account),
        proceeds(&id),
        owner_proceeds(&id, &account),
        host_offer(&id, 0, &account),
        stage_price(&id, 0),
        market_params(),
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
