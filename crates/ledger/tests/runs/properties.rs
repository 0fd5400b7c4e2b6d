//! Test the properties of shares that the ownership specification lists (4.7): P1, P2, P3, P5, P6, P7, P11, P14.

use crate::world::*;
use std::collections::BTreeSet;
use tessera_canon::{Domain, Prf, PublicKey};
use tessera_ledger::{TxError, accumulator, action::*, query, record::*, run, tx::SignedTx};

const TEST: Domain = Domain::new("tessera/test/properties/v1");

/// A run of one stage with `accounts` seats and 12 windows of 60 microbatches of 7 wu.
fn one_stage(accounts: u32, rule: RiskRule) -> World {
    let mut world = World::new(accounts, params());
    let mut create = create_run(RUN, 1, accounts);
    create.stage_wu = list(vec![7]);
    create.seats = accounts as u16;
    (create.microbatches, create.steps, create.window_steps) = (60, 12, 1);
    (create.f_star, create.f_min, create.f_exclusive) = (5040, 420, 420);
    create.rule = rule;
    world.ok(0, create);
    let joins: Vec<SignedTx> = (0..accounts).map(|i| world.tx(i, join(RUN, i))).collect();
    world.block(&joins);
    world.blocks(1);
    world
}

/// Report the current window with this division of its microbatches among the accounts.
fn window(world: &mut World, parts: &[u32], loss: u32) {
    let mut entries: Vec<WorkEntry> = (0u32..)
        .zip(parts)
        .filter(|(_, part)| **part > 0)
        .map(|(i, part)| WorkEntry { account: public(i), microbatches: *part })
        .collect();
    entries.sort_by_key(|entry| entry.account);
    let seats = query::seats_of_stage(world.get(), &RUN, 0);
    let action = world.sign_report(world.report(RUN, 0, entries, Some(loss)), &seats);
    world.ok(0, action);
}

fn shares(world: &World, account: &PublicKey) -> u128 {
    query::owner(world.get(), &RUN, account).map_or(0, |owner| owner.shares + owner.pending)
}

fn random_parts(random: &mut Prf, count: usize, sum: u32) -> Vec<u32> {
    let mut cuts: Vec<u32> = (1..count).map(|_| random.below(u64::from(sum) + 1) as u32).collect();
    cuts.extend([0, sum]);
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn rules() -> Vec<RiskRule> {
    let blend = |percent, half_life_percent| RiskRule::Blend(Blend { percent, half_life_percent });
    vec![
        RiskRule::LossProportional(LossProportional {}),
        blend(50, 25),
        blend(0, 1),
        blend(0, 10),
        blend(25, 25),
        blend(100, 100),
    ]
}

/// P1 and P3: however the work of each window is divided among identities, the same shares are made, and they
/// are the sum of work times weight. (Invariants SH and W hold after every block; `World` checks them.)
#[test]
fn p1_p3_any_division_of_the_work_makes_the_same_shares() {
    for (seed, rule) in (0u64..).zip(rules()) {
        let mut random = Prf::new(TEST, &seed.to_be_bytes());
        let losses: Vec<u32> = (0..12).map(|_| 500_000 + random.below(12_000_000) as u32).collect();
        let mut whole = one_stage(6, rule.clone());
        let mut parts = one_stage(6, rule.clone());
        let mut expected = 0u128;
        for loss in &losses {
            expected += 420 * u128::from(query::run(whole.get(), &RUN).unwrap().weight);
            // Account 0 alone, or 0 to 3 as its four identities; 4 and 5 do a fixed rest.
            window(&mut whole, &[40, 0, 0, 0, 13, 7], *loss);
            let mut split = random_parts(&mut random, 4, 40);
            split.extend([13, 7]);
            window(&mut parts, &split, *loss);
        }
        let of = |world: &World, range: std::ops::Range<u32>| {
            range.map(|i| shares(world, &public(i))).sum::<u128>()
        };
        assert_eq!(of(&whole, 0..1), of(&parts, 0..4), "{rule:?}");
        assert_eq!(of(&whole, 4..6), of(&parts, 4..6));
        assert_eq!(of(&whole, 0..6), expected);
        for world in [&mut whole, &mut parts] {
            world.blocks(8);
            let credits = query::credits(world.get(), &RUN).unwrap();
            assert_eq!((credits.active, credits.pending, credits.voided), (expected, 0, 0));
        }
    }
}

/// P2: more work never makes fewer shares, nor less income from the same distributions.
#[test]
fn p2_more_work_makes_no_less() {
    let mut random = Prf::new(TEST, b"p2");
    for _ in 0..200 {
        let others = u128::from(1 + random.below(1 << 40));
        let weight = u128::from(run::WEIGHT_MIN + random.below(61_441) as u32);
        let (less, more) = (random.below(1 << 30), random.below(1 << 20));
        let pool = 1 + random.below(1 << 40);
        let income = |wu: u64| {
            let mine = u128::from(wu) * weight;
            let mut credits = fresh_credits(mine + others);
            let mut owner = owner_of(mine);
            for part in [pool, pool / 3, 1] {
                credits.pool = part;
                accumulator::distribute(&mut credits);
                accumulator::touch(&mut owner, &credits);
            }
            (mine, owner.due, owner.frac)
        };
        assert!(income(less) <= income(less + more));
    }
}

/// P5: the same work in a later window makes no more shares, for every risk rule, whatever is measured.
#[test]
fn p5_delay_gains_nothing() {
    let world = one_stage(1, RiskRule::LossProportional(LossProportional {}));
    let terms = query::run_terms(world.get(), &RUN).unwrap();
    let mut random = Prf::new(TEST, b"p5");
    for rule in rules() {
        let terms = RunTerms { rule, ..terms.clone() };
        for _ in 0..300 {
            let mut f_star = terms.f_star;
            let (mut least, mut done, mut weight) = (terms.loss_0, 0u64, run::WEIGHT_MAX);
            for _ in 0..30 {
                least = least.min(1 + random.below(20_000_000) as u32);
                done += random.below(400);
                if random.below(5) == 0 {
                    // Owners may raise F*; what was done does not become worth more.
                    f_star += random.below(5000);
                }
                let next = run::next_weight(&terms, f_star, least, done, weight);
                assert!((run::WEIGHT_MIN..=weight).contains(&next));
                assert!(1000 * u128::from(next) <= 1000 * u128::from(weight));
                weight = next;
            }
        }
    }
}

/// P6: any order of a window's reports gives one state root, also when they close the window and the run.
#[test]
fn p6_the_order_of_reports_does_not_show() {
    for finish in [false, true] {
        let mut world = World::new(8, params());
        world.seated_run(RUN, 4, 8);
        if finish {
            for _ in 0..3 {
                world.close_window(RUN, 9_000_000);
            }
        }
        let mut txs = vec![];
        for stage in 0..4 {
            let loss = (stage == 3).then_some(8_000_000);
            let (sender, report) = world.full_report(RUN, stage, loss).unwrap();
            txs.push(world.tx(sender, report));
        }
        let mut random = Prf::new(TEST, b"p6");
        let mut roots = BTreeSet::new();
        for _ in 0..24 {
            let mut world = world.clone();
            let order = random.permutation(txs.len());
            let txs: Vec<SignedTx> = order.iter().map(|at| txs[*at as usize].clone()).collect();
            assert!(world.block(&txs).receipts.iter().all(|receipt| receipt.ok()));
            world.blocks(6);
            roots.insert(world.state.root());
        }
        assert_eq!(roots.len(), 1);
    }
}

/// P7: a report names who did the work and a quorum signs it; copied with another name it is nothing, and whoever
/// posts it first gains nothing.
#[test]
fn p7_a_copied_claim_is_worth_nothing() {
    let mut world = World::new(6, params());
    world.seated_run(RUN, 2, 4);
    let (sender, good) = world.full_report(RUN, 0, None).unwrap();
    let mut copied = good.clone();
    let thief = public(5);
    let mut entries = copied.report.entries.to_vec();
    entries[0].account = thief;
    entries.sort_by_key(|entry| entry.account);
    copied.report.entries = list(entries);
    assert!(matches!(world.run(5, copied).error, Some(TxError::NotMember { .. })));
    // As a member of the other stage, or with another division of the work: the signatures do not hold.
    let mut shifted = good.clone();
    let mut entries = shifted.report.entries.to_vec();
    (entries[0].microbatches, entries[1].microbatches) = (5, 7);
    shifted.report.entries = list(entries);
    assert!(matches!(world.run(sender, shifted).error, Some(TxError::SeatSignature { .. })));
    // Front-running with the true report pays its authors.
    world.ok(5, good.clone());
    assert_eq!(query::owner(world.get(), &RUN, &thief), None);
    for entry in good.report.entries.iter() {
        assert!(query::owner(world.get(), &RUN, &entry.account).unwrap().pending > 0);
    }
    assert!(matches!(world.run(sender, good).error, Some(TxError::Duplicate { .. })));
}

/// P11: a run is aborted iff its designers' verified work is below the least; then nobody has a share.
#[test]
fn p11_the_designers_least_work_decides() {
    for done in 0..=4u32 {
        let mut world = World::new(4, params());
        let mut create = create_run(RUN, 2, 4);
        // Two exclusive windows of 120 + 240 wu; the least is three of four reports.
        (create.exclusive_windows, create.exclusive_blocks) = (2, 20);
        (create.f_min, create.f_exclusive) = (600, 720);
        world.ok(0, create);
        let joins: Vec<SignedTx> = (0..4).map(|i| world.tx(i, join(RUN, i))).collect();
        world.block(&joins);
        world.blocks(1);
        for at in 0..done {
            // Stage 1 first: 240, 360, 600, 720 wu.
            let stage = 1 - (at % 2) as u16;
            let (sender, report) = world.full_report(RUN, stage, (stage == 1).then_some(9_000_000)).unwrap();
            world.ok(sender, report);
        }
        world.blocks(24);
        let (run, credits) =
            (query::run(world.get(), &RUN).unwrap(), query::credits(world.get(), &RUN).unwrap());
        let aborted = run.f_designer < 600;
        assert_eq!((run.state == RunState::Aborted, done < 3), (aborted, aborted), "{done} reports");
        if aborted {
            assert_eq!((credits.active, credits.pending), (0, 0));
            assert_eq!(credits.voided, u128::from(run.f_done) * 65536);
        }
    }
}

fn fresh_credits(active: u128) -> Credits {
    Credits { active, ..Credits::new(RUN) }
}
fn owner_of(shares: u128) -> Owner {
    let account = PublicKey::default();
    Owner { run: RUN, account, shares, pending: 0, acc_seen: Wide::default(), frac: 0, due: 0 }
}

/// P14: the largest run, at full weight, with 2^40 credits in each of 10^6 epochs, handed to one owner at the end.
#[test]
fn p14_the_largest_run_does_not_overflow() {
    for active in [1u128, 3, (1 << 62) << 16] {
        let mut credits = fresh_credits(active);
        let mut owner = owner_of(active);
        for _ in 0..1_000_000 {
            credits.pool = 1 << 40;
            accumulator::distribute(&mut credits);
        }
        accumulator::touch(&mut owner, &credits);
        // What the owner has and the carried remainder are all of it.
        let (due, whole) = (u128::from(owner.due), 1_000_000u128 << 40);
        assert_eq!(credits.owner_in, 1_000_000 << 40);
        if owner.frac == 0 && credits.rem == 0 {
            assert_eq!(due, whole);
        } else {
            assert_eq!(due, whole - 1);
            assert_eq!(owner.frac.wrapping_add(credits.rem), 0);
        }
    }
}

/// P14 for the formulas of this room: the largest terms neither overflow nor lose an invariant.
#[test]
fn p14_the_largest_terms_do_not_overflow() {
    use tessera_ledger::{extraction::admission, runs::fork::class_shares};
    let most = 1u64 << 62;
    assert_eq!(class_shares(most, 9000), (u128::from(most) << 16) * 9);
    assert_eq!(class_shares(u64::MAX, 10_000), u128::from(u64::MAX) * 65536 * 10_000);
    let flops = u128::from(most) * u128::from(u64::MAX);
    assert_eq!(admission::needed(flops, 10_000, 1), flops);
    assert_eq!(admission::needed(u128::MAX, 10_000, 0), u128::MAX);
    let world = one_stage(1, RiskRule::LossProportional(LossProportional {}));
    let terms = query::run_terms(world.get(), &RUN).unwrap();
    for rule in rules() {
        let terms = RunTerms { rule, loss_0: 1, ..terms.clone() };
        let weight = run::next_weight(&terms, u64::MAX, u32::MAX, u64::MAX, run::WEIGHT_MAX);
        assert!((run::WEIGHT_MIN..=run::WEIGHT_MAX).contains(&weight));
    }
}
