//! Test that nobody chooses a stage, that returning leads back to it, and who is let in.

use crate::world::*;
use std::collections::BTreeSet;
use tessera_canon::{Domain, Hash, digest};
use tessera_ledger::{Policy, TxError, action::*, genesis::Parameters, query, record::*, tx::SignedTx};

const TEST: Domain = Domain::new("tessera/test/seats/v1");

/// Theta 1/2, two pending windows; two stages with a designer each, open after one window of 360 wu.
fn opened_run(accounts: u32, change: impl FnOnce(&mut CreateRun)) -> World {
    let policy = Policy { pending_windows: 2, theta: 5000, work_price: 0, ..Policy::default() };
    let mut world = World::new(accounts, Parameters { policy, ..Parameters::from(params()) });
    let mut create = create_run(RUN, 2, 2);
    change(&mut create);
    world.ok(0, create);
    let joins: Vec<SignedTx> = (0..2).map(|i| world.tx(i, join(RUN, i))).collect();
    world.block(&joins);
    world.blocks(1);
    world.close_window(RUN, 9_000_000);
    world
}

fn member(world: &World, account: u32) -> Member {
    query::member(world.get(), &RUN, &public(account)).expect("asked for a seat")
}

#[test]
fn only_a_later_beacon_decides_the_stage() {
    let mut create = create_run(RUN, 4, 1);
    create.designers = list((0..12).map(public).collect());
    let mut world = World::new(12, params());
    world.ok(0, create);
    let mut stages_by_beacon = BTreeSet::new();
    for late in 0..6u8 {
        let mut stages_by_order = BTreeSet::new();
        for early in 0..3u8 {
            let mut world = world.clone();
            let mut joins: Vec<SignedTx> = (0..12).map(|i| world.tx(i, join(RUN, i))).collect();
            joins.rotate_left(usize::from(early) * 4);
            for (height, txs, beacon) in [(2, joins, [early; 32]), (3, vec![], [100 + late; 32])] {
                let mut context = world.context();
                (context.height, context.beacon) = (height, Hash(beacon));
                world.state.run_block(context, &txs);
            }
            let stages: Vec<_> = (0..12).map(|i| member(&world, i).stage).collect();
            stages_by_order.insert(stages);
        }
        // Neither the order of the transactions nor anything known when they were sent has an effect.
        assert_eq!(stages_by_order.len(), 1);
        stages_by_beacon.extend(stages_by_order);
    }
    assert_eq!(stages_by_beacon.len(), 6, "the beacon has");
}

#[test]
fn leaving_lapsing_and_returning_lead_to_the_same_stage() {
    let mut world = opened_run(4, |_| {});
    let bound = member(&world, 0).stage;
    for round in 0..6 {
        if round % 2 == 0 {
            world.ok(0, LeaveRun { run: RUN });
            assert_eq!(member(&world, 0).state, MemberState::Left);
        } else {
            let seat = member(&world, 0);
            world.blocks(6);
            world.ok(1, LapseSeat { run: RUN, stage: seat.stage.unwrap(), seat: seat.seat.unwrap() });
            assert_eq!(member(&world, 0).state, MemberState::Lapsed);
        }
        world.ok(0, join(RUN, 0));
        world.blocks(1);
        assert_eq!((member(&world, 0).state, member(&world, 0).stage), (MemberState::Seated, bound));
    }
    let stage = query::stage(world.get(), &RUN, bound.unwrap()).unwrap();
    assert_eq!(stage.identities, 1, "one identity, however often it comes back");
}

/// Leaving while waiting undoes the request; nobody sees a draw before deciding on it.
#[test]
fn a_request_can_be_taken_back_before_the_draw() {
    let mut world = World::new(3, params());
    world.ok(0, create_run(RUN, 2, 3));
    let txs = vec![world.tx(1, join(RUN, 1)), world.tx(1, LeaveRun { run: RUN })];
    assert!(world.block(&txs).receipts.iter().all(|receipt| receipt.ok()));
    world.blocks(2);
    let left = member(&world, 1);
    assert_eq!((left.state, left.stage), (MemberState::Left, None));
}

#[test]
fn newcomers_need_work_except_in_open_stages() {
    let mut world = opened_run(8, |create| create.open_stages = 0b10);
    // Many newcomers without work: the draw puts all of them into the open stage, until it is full.
    for i in 2..4 {
        world.ok(i, join(RUN, i));
        world.blocks(1);
        assert_eq!((member(&world, i).state, member(&world, i).stage), (MemberState::Seated, Some(1)));
    }
    assert_eq!(world.run(4, join(RUN, 4)).error, Some(TxError::NoSeat { held: 3, seats: 3 }));
    let mut world = opened_run(8, |_| {});
    let refused = world.run(4, join(RUN, 4));
    // Half of 360 wu over 2 x 3 seats, at 10^6 operations each.
    assert_eq!(refused.error, Some(TxError::Admission { needed: 30_000_000, got: 0 }));
}

#[test]
fn the_first_windows_after_the_opening_are_free() {
    let mut world = opened_run(8, |create| create.bootstrap_windows = 1);
    world.ok(4, join(RUN, 4));
    world.blocks(1);
    world.close_window(RUN, 9_000_000);
    assert!(matches!(world.run(5, join(RUN, 5)).error, Some(TxError::Admission { .. })));
}

/// Work in another run counts once its claims matured, as far as the owners allow.
#[test]
fn work_in_other_runs_counts_up_to_the_owners_part() {
    let other = Hash([8; 32]);
    for (foreign_work, admitted) in [(10_000, true), (0, false)] {
        let policy =
            Policy { pending_windows: 2, theta: 5000, work_price: 0, foreign_work, ..Policy::default() };
        let mut world = opened_run(8, |create| create.policy = Some(policy));
        let mut create = create_run(other, 1, 1);
        create.designers = list(vec![public(4)]);
        create.stage_wu = list(vec![1]);
        (create.f_star, create.f_min, create.f_exclusive) = (48, 6, 12);
        // Work units of this run are larger.
        create.wu_flops = 4_000_000;
        world.ok(4, create);
        world.ok(4, join(other, 4));
        world.blocks(1);
        world.close_window(other, 9_000_000);
        let refused = world.run(4, join(RUN, 4));
        assert_eq!(refused.error, Some(TxError::Admission { needed: 30_000_000, got: 0 }), "still pending");
        world.close_window(other, 9_000_000);
        world.close_window(other, 9_000_000);
        world.blocks(4);
        assert_eq!(query::verified_work(world.get(), &public(4)).unwrap().flops, 12 * 4_000_000);
        let receipt = world.run(4, join(RUN, 4));
        if admitted {
            assert_eq!(receipt.error, None);
        } else {
            assert_eq!(receipt.error, Some(TxError::Admission { needed: 30_000_000, got: 0 }));
        }
    }
}

#[test]
fn short_absences_need_no_new_work_and_long_ones_do() {
    // Theta is 1: a seat that did nothing is far below the average.
    let policy = Policy { pending_windows: 1, theta: 10_000, work_price: 0, ..Policy::default() };
    let mut world = opened_run(6, |create| {
        create.policy = Some(policy);
        create.bootstrap_windows = 1;
    });
    world.ok(4, join(RUN, 4));
    world.blocks(1);
    let idle = member(&world, 4);
    world.ok(4, LeaveRun { run: RUN });
    world.close_window(RUN, 9_000_000);
    // One window away, which is the pending span.
    world.ok(4, join(RUN, 4));
    world.blocks(1);
    assert_eq!((member(&world, 4).state, member(&world, 4).stage), (MemberState::Seated, idle.stage));
    // It falls silent, and "leaves" long after its seat lapsed: the absence began with the lapse.
    world.blocks(6);
    let seat = member(&world, 4);
    world.ok(5, LapseSeat { run: RUN, stage: seat.stage.unwrap(), seat: seat.seat.unwrap() });
    world.close_window(RUN, 9_000_000);
    world.close_window(RUN, 9_000_000);
    world.ok(4, LeaveRun { run: RUN });
    let refused = world.run(4, join(RUN, 4));
    assert!(matches!(refused.error, Some(TxError::Admission { got: 0, .. })), "{refused:?}");
    // Who did an average seat's work may come back whenever it likes.
    world.blocks(12);
    world.ok(0, LeaveRun { run: RUN });
    world.blocks(12);
    world.ok(0, join(RUN, 0));
}

fn declare(world: &mut World, account: u32, operator: u32) {
    let statement =
        Affiliated { network: world.network, run: RUN, account: public(account), operator: public(operator) };
    let signature = key(operator).sign(AFFILIATED, &statement);
    world.ok(account, DeclareOperator { run: RUN, operator: public(operator), signature });
}

#[test]
fn the_draw_keeps_declared_identities_apart() {
    for seed in 0..20u8 {
        let mut world = World::new(12, params());
        let mut create = create_run(RUN, 9, 1);
        create.designers = list((0..12).map(public).collect());
        world.ok(0, create);
        // Every stage has a seat, so that none comes first for being empty.
        let joins: Vec<SignedTx> = (3..12).map(|i| world.tx(i, join(RUN, i))).collect();
        world.block(&joins);
        world.blocks(1);
        for account in [1, 2] {
            declare(&mut world, account, 0);
        }
        for account in 0..3 {
            world.ok(account, join(RUN, account));
            let mut context = world.context();
            context.height += 1;
            context.beacon = digest(TEST, &(seed, account));
            world.height += 1;
            world.state.run_block(context, &[]);
        }
        let stages: Vec<u16> = (0..3).map(|i| member(&world, i).stage.unwrap()).collect();
        let coverage = query::coverage(world.get(), &RUN, &public(0)).unwrap();
        let held = stages.iter().fold(0u128, |held, stage| held | 1 << stage);
        assert_eq!((coverage.stages, coverage.identities), (held, 3));
        for (at, stage) in stages.iter().enumerate() {
            let apart = |other: &u16| other.abs_diff(*stage) >= 3;
            let room = (0..9u16).any(|free| stages[..at].iter().all(|held| held.abs_diff(free) >= 3));
            assert!(!room || stages[..at].iter().all(apart), "seed {seed}: {stages:?}");
        }
    }
}

/// The largest declared operator is the same whoever declares or is seated first.
#[test]
fn coverage_is_the_union_over_the_life_of_the_run() {
    let mut world = opened_run(4, |_| {});
    world.blocks(4);
    let report = query::extraction(world.get(), &RUN).unwrap();
    assert_eq!((report.largest, report.coverage, report.identities), (None, 0, 2));
    declare(&mut world, 0, 1);
    world.ok(0, LeaveRun { run: RUN });
    world.blocks(4);
    let report = query::extraction(world.get(), &RUN).unwrap();
    // The seat was given up; what was seen stays seen.
    assert_eq!((report.largest, report.coverage), (Some(public(1)), 2));
    assert_eq!((report.stages, report.seats, report.held, report.f_done), (2, 3, 1, 360));
    assert!(report.breached() && report.to_string().contains("status                  BREACH"));
}
