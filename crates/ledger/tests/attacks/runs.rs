//! Attacks on work, runs and weights: numbers 7 to 13 of the catalogue.

use crate::world::*;
use tessera_canon::{Hash, digest};
use tessera_ledger::{Policy, action::*, genesis::Parameters, query, record::*, tx::SignedTx};

const FEE: i128 = 500_000;

fn balance(world: &World, account: u32) -> i128 {
    world.balance(account) as i128
}
fn made(world: &World, account: u32) -> u128 {
    query::owner(world.get(), &RUN, &public(account)).map_or(0, |owner| owner.shares + owner.pending)
}
/// A run of one stage, `seats` designers and 12 windows of 60 microbatches of 7 wu.
fn one_stage(accounts: u32, seats: u32, policy: Policy) -> World {
    let mut world = World::new(accounts, Parameters { policy, ..Parameters::from(params()) });
    let mut create = create_run(RUN, 1, seats);
    create.stage_wu = list(vec![7]);
    create.seats = 16;
    (create.microbatches, create.steps, create.window_steps) = (60, 12, 1);
    (create.f_star, create.f_min, create.f_exclusive) = (5040, 420, 420);
    world.ok(0, create);
    let joins: Vec<SignedTx> = (0..seats).map(|i| world.tx(i, join(RUN, i))).collect();
    world.block(&joins);
    world.blocks(1);
    world
}
fn window(world: &mut World, parts: &[(u32, u32)], loss: u32) {
    let mut entries: Vec<WorkEntry> =
        parts.iter().map(|(i, part)| WorkEntry { account: public(*i), microbatches: *part }).collect();
    entries.sort_by_key(|entry| entry.account);
    let seats = query::seats_of_stage(world.get(), &RUN, 0);
    let action = world.sign_report(world.report(RUN, 0, entries, Some(loss)), &seats);
    world.ok(0, action);
}

/// 7: copy another trainer's result. The copier names itself in a report that it overheard.
#[test]
fn attack_07_copying_a_result_costs_the_fee() {
    let mut world = one_stage(4, 2, Parameters::demo().policy);
    let seats = query::seats_of_stage(world.get(), &RUN, 0);
    let honest = vec![WorkEntry { account: public(0), microbatches: 60 }];
    let overheard = world.sign_report(world.report(RUN, 0, honest, Some(9_000_000)), &seats);
    let before = balance(&world, 1);
    // The copier is a member of the stage, and comes first.
    let mut copied = overheard.clone();
    copied.report.entries = list(vec![WorkEntry { account: public(1), microbatches: 60 }]);
    assert!(!world.run(1, copied).ok());
    // Half of the seats, its own, do not sign it through.
    let own: Vec<Seat> = seats.iter().filter(|seat| seat.account == public(1)).cloned().collect();
    let mut alone = overheard.report.clone();
    alone.entries = list(vec![WorkEntry { account: public(1), microbatches: 60 }]);
    let alone = world.sign_report(alone, &own);
    assert!(!world.run(1, alone).ok());
    world.ok(0, overheard);
    assert_eq!((made(&world, 1), balance(&world, 1) - before), (0, -2 * FEE));
    assert!(made(&world, 0) > 0);
}

/// 8: split an identity. The same work makes the same shares, and every identity has a bond and fees of its own.
#[test]
fn attack_08_splitting_an_identity_gains_nothing() {
    let policy = Policy { work_price: 1000, pending_windows: 1, theta: 0, ..Policy::default() };
    let run = |identities: u32| {
        let mut world = one_stage(12, 2, policy.clone());
        window(&mut world, &[(0, 30), (1, 30)], 9_000_000);
        let crowd: Vec<u32> = (2..2 + identities).collect();
        let start: i128 = crowd.iter().map(|i| balance(&world, *i)).sum();
        for account in &crowd {
            world.ok(*account, join(RUN, *account));
        }
        world.blocks(1);
        let staked: u128 =
            crowd.iter().map(|i| query::member(world.get(), &RUN, &public(*i)).unwrap().bond).sum();
        for loss in [8_000_000, 6_000_000, 6_500_000] {
            let each = 24 / identities;
            let mut parts: Vec<(u32, u32)> = crowd.iter().map(|i| (*i, each)).collect();
            parts.extend([(0, 18), (1, 18)]);
            window(&mut world, &parts, loss);
        }
        for account in &crowd {
            world.ok(*account, LeaveRun { run: RUN });
        }
        for _ in 0..3 {
            window(&mut world, &[(0, 30), (1, 30)], 6_500_000);
        }
        world.blocks(8);
        for account in &crowd {
            world.ok(*account, WithdrawBond { run: RUN });
        }
        let paid = start - crowd.iter().map(|i| balance(&world, *i)).sum::<i128>();
        (crowd.iter().map(|i| made(&world, *i)).sum::<u128>(), staked, paid)
    };
    let (whole, bond, paid) = run(1);
    assert_eq!(paid, 3 * FEE);
    for identities in [2u32, 4, 8] {
        let (shares, staked, fees) = run(identities);
        assert_eq!(shares, whole);
        assert_eq!((staked, fees), (bond * u128::from(identities), paid * i128::from(identities)));
    }
}

/// 9: pool work under one identity. Allowed, and neutral: the pool makes what its members would have made, no more.
#[test]
fn attack_09_pooling_earns_no_premium() {
    let run = |parts: &[(u32, u32)]| {
        let mut world = one_stage(4, 3, Parameters::demo().policy);
        for loss in [9_000_000, 7_000_000, 7_500_000, 4_000_000] {
            window(&mut world, parts, loss);
        }
        [0, 1, 2].map(|account| made(&world, account))
    };
    let alone = run(&[(0, 10), (1, 20), (2, 30)]);
    let pooled = run(&[(0, 30), (2, 30)]);
    assert_eq!([alone[0] + alone[1], 0, alone[2]], pooled);
    assert!(pooled[0] > 0);
}

/// 11: squat on a run's id. It is the hash of a setup, so another setup has another id; whoever copies an id that it
/// overheard needs a bond and the work of the run to keep it, and holds up its creator for one fee.
#[test]
fn attack_11_squatting_an_id_costs_its_bond() {
    let mut world = World::new(10, params());
    let (squatter, creator) = (balance(&world, 9), balance(&world, 0));
    let mut copy = create_run(RUN, 1, 1);
    copy.designers = list(vec![public(9)]);
    copy.exclusive_blocks = 6;
    world.ok(9, copy.clone());
    let refused = world.run(0, create_run(RUN, 1, 2)).error;
    assert!(matches!(refused, Some(tessera_ledger::TxError::Duplicate { what: "run", .. })), "{refused:?}");
    // Nor does a second one of the same id come later, from whomever.
    world.blocks(12);
    assert_eq!(query::run(world.get(), &RUN).unwrap().state, RunState::Aborted);
    assert!(!world.run(9, copy).ok());
    let other = Hash([10; 32]);
    world.ok(0, create_run(other, 1, 2));
    assert_eq!(query::run(world.get(), &other).unwrap().state, RunState::Exclusive);
    assert_eq!(balance(&world, 9) - squatter, -1_000_000 - 2 * FEE);
    assert_eq!(balance(&world, 0) - creator, -1_000_000 - 2 * FEE);
    assert_eq!(made(&world, 9), 0);
}

/// 10: junk runs with designers that are all the creator. Nothing is issued for a run, and without the least work
/// its bond is gone; with it, the creator owns what it made alone, worth nothing to anybody else.
#[test]
fn attack_10_a_junk_run_costs_its_bond() {
    let mut world = World::new(10, params());
    let issued = query::globals(world.get()).unwrap().issued;
    let before: i128 = (0..8).map(|i| balance(&world, i)).sum();
    let mut create = create_run(RUN, 2, 8);
    create.exclusive_blocks = 6;
    world.ok(0, create);
    let joins: Vec<SignedTx> = (0..6).map(|i| world.tx(i, join(RUN, i))).collect();
    world.block(&joins);
    world.blocks(12);
    assert_eq!(query::run(world.get(), &RUN).unwrap().state, RunState::Aborted);
    let net = (0..8).map(|i| balance(&world, i)).sum::<i128>() - before;
    assert_eq!(net, -1_000_000 - 7 * FEE);
    let globals = query::globals(world.get()).unwrap();
    assert_eq!((globals.issued, globals.fund), (issued, 1_000_000));
    assert!((0..8).all(|i| made(&world, i) == 0));
}

/// 12: join late, when the run surely works. A unit of work then makes fewer shares, never more.
#[test]
fn attack_12_joining_late_makes_fewer_shares_for_the_same_work() {
    let losses = [9_000_000, 6_000_000, 5_000_000, 5_500_000, 4_000_000, 3_000_000];
    let mut per_window = vec![];
    for late in 1..7 {
        let mut world = one_stage(4, 2, Parameters::demo().policy);
        for (at, loss) in losses.iter().enumerate() {
            if at == late {
                world.ok(2, join(RUN, 2));
                world.blocks(1);
            }
            let parts = if at == late { vec![(0, 20), (1, 20), (2, 20)] } else { vec![(0, 30), (1, 30)] };
            window(&mut world, &parts, *loss);
        }
        per_window.push(made(&world, 2));
    }
    let gains: Vec<i128> = per_window.windows(2).map(|pair| pair[1] as i128 - pair[0] as i128).collect();
    assert!(gains.iter().all(|gain| *gain <= 0), "{per_window:?}");
    assert!(per_window[4] * 2 < per_window[0], "the loss fell to less than a half");
}

/// 13: manipulate the measured loss to raise the weight of one's own later work, or to lower that of others.
/// Two of five in the committee and the whole last stage lie; the result stays within what the honest measured.
#[test]
fn attack_13_lying_about_the_loss_moves_no_weight() {
    let honest = [6_000_000u32, 6_000_100, 6_000_200];
    let weights = |lie: Option<u32>| {
        let committee = CommitteeParams { size: 5, commit_blocks: 4, reveal_blocks: 4 };
        let mut world = World::new(9, Parameters { committee, ..Parameters::from(params()) });
        let mut create = create_run(RUN, 3, 9);
        create.loss_source = LossSource::Committee;
        world.ok(0, create);
        let joins: Vec<SignedTx> = (0..9).map(|i| world.tx(i, join(RUN, i))).collect();
        world.block(&joins);
        world.blocks(1);
        let mut weights = vec![];
        for window in 0..4 {
            world.close_window(RUN, lie.unwrap_or(honest[1]));
            world.blocks(1);
            let members = query::committee(world.get(), &RUN);
            let told: Vec<(u32, u32)> = (0..)
                .zip(&members)
                .map(|(at, member): (usize, _)| {
                    let value = if at < 2 { lie.unwrap_or(honest[at]) } else { honest[at - 2] };
                    (world.index_of(&member.account), value)
                })
                .collect();
            let opened = |world: &World, (account, loss): (u32, u32)| Evaluated {
                network: world.network,
                run: RUN,
                window,
                account: public(account),
                loss,
                salt: Hash([9; 32]),
            };
            let commits: Vec<SignedTx> = told
                .iter()
                .map(|one| {
                    let hash = digest(EVALUATED, &opened(&world, *one));
                    world.tx(one.0, EvalCommit { run: RUN, window, hash })
                })
                .collect();
            world.block(&commits);
            world.blocks(1);
            let reveals: Vec<SignedTx> = told
                .iter()
                .map(|(account, loss)| {
                    world.tx(*account, EvalReveal { run: RUN, window, loss: *loss, salt: Hash([9; 32]) })
                })
                .collect();
            assert!(world.block(&reveals).receipts.iter().all(|receipt| receipt.ok()));
            world.blocks(1);
            weights.push(query::run(world.get(), &RUN).unwrap().weight);
        }
        weights
    };
    let scale = |loss: u32| (u64::from(loss) * 65536 / 11_000_000) as u32;
    let within = scale(honest[0])..=scale(honest[2]);
    for lie in [None, Some(1), Some(u32::MAX), Some(10_999_999)] {
        let weights = weights(lie);
        assert!(weights.iter().all(|weight| within.contains(weight)), "{lie:?}: {weights:?}");
        assert!(weights.windows(2).all(|pair| pair[1] <= pair[0]));
    }
    // The attacker's net result: its work of later windows at the lied weight against the honest one, in Q16.
    let gain = i64::from(scale(honest[2])) - i64::from(scale(honest[0]));
    assert!(gain <= 2, "what honest measurements differ by: {gain}");
}
