//! Test bonds to the unit: what joining takes, when it comes back, and the designers' own.

use crate::world::*;
use tessera_ledger::{
    Event, Policy, TxError, action::*, genesis::Parameters, query, record::*, tx::SignedTx,
};

const FEE: u128 = 500_000;

fn priced(work_price: u128) -> World {
    let policy = Policy { pending_windows: 2, bond_claims: 5, work_price, theta: 0, ..Policy::default() };
    World::new(8, Parameters { policy, ..Parameters::from(params()) })
}

fn held(world: &World, account: u32) -> u128 {
    query::member(world.get(), &RUN, &public(account)).map_or(0, |member| member.bond)
}

#[test]
fn a_bond_is_a_multiple_of_the_median_claim_and_waits_for_the_pending_windows() {
    let mut world = priced(1000);
    world.seated_run(RUN, 2, 4);
    assert_eq!((0..4).map(|i| held(&world, i)).sum::<u128>(), 0, "nothing at the start");
    world.close_window(RUN, 9_000_000);
    // Two claims of 60 and two of 120 wu.
    assert_eq!(query::window(world.get(), &RUN, 0).unwrap().median, 60);
    let before = world.balance(5);
    world.ok(5, join(RUN, 5));
    assert_eq!((held(&world, 5), world.balance(5)), (300_000, before - 300_000 - FEE));
    world.blocks(1);
    world.ok(5, LeaveRun { run: RUN });
    let locked = world.run(5, WithdrawBond { run: RUN });
    assert_eq!(locked.error, Some(TxError::BondLocked { until: 3, now: 1, pending: 0 }));
    world.close_window(RUN, 9_000_000);
    world.close_window(RUN, 9_000_000);
    let before = world.balance(5);
    world.ok(5, WithdrawBond { run: RUN });
    assert_eq!((held(&world, 5), world.balance(5)), (0, before + 300_000 - FEE));
}

#[test]
fn a_bond_stays_while_claims_are_pending() {
    let mut world = priced(1000);
    world.seated_run(RUN, 1, 1);
    world.close_window(RUN, 9_000_000);
    world.ok(5, join(RUN, 5));
    world.blocks(1);
    // Long after leaving: its last claim decides.
    world.ok(5, LeaveRun { run: RUN });
    let report = {
        let seats = query::seats_of_stage(world.get(), &RUN, 0);
        let mut entries = vec![
            WorkEntry { account: public(0), microbatches: 6 },
            WorkEntry { account: public(5), microbatches: 6 },
        ];
        entries.sort_by_key(|entry| entry.account);
        world.sign_report(world.report(RUN, 0, entries, Some(9_000_000)), &seats)
    };
    world.ok(0, report);
    world.close_window(RUN, 9_000_000);
    // Two windows since leaving, but the claim of the second one has not matured.
    let locked = world.run(5, WithdrawBond { run: RUN });
    assert!(
        matches!(locked.error, Some(TxError::BondLocked { until: 3, now: 3, pending }) if pending > 0),
        "{locked:?}"
    );
    world.close_window(RUN, 9_000_000);
    world.blocks(4);
    world.ok(5, WithdrawBond { run: RUN });
}

#[test]
fn whoever_finds_no_seat_gets_its_bond_back_at_once() {
    let mut world = priced(1000);
    world.seated_run(RUN, 1, 1);
    world.close_window(RUN, 9_000_000);
    // Two seats are free and four ask in one block.
    let start: u128 = (1..5).map(|i| world.balance(i)).sum();
    let joins: Vec<SignedTx> = (1..5).map(|i| world.tx(i, join(RUN, i))).collect();
    assert!(world.block(&joins).receipts.iter().all(|receipt| receipt.ok()));
    world.blocks(1);
    let bond = 5 * 120 * 1000;
    let mut bonds: Vec<u128> = (1..5).map(|i| held(&world, i)).collect();
    bonds.sort_unstable();
    assert_eq!(bonds, [0, 0, bond, bond]);
    assert_eq!((1..5).map(|i| world.balance(i)).sum::<u128>(), start - 2 * bond - 4 * FEE);
}

#[test]
fn who_cannot_pay_the_bond_does_not_join() {
    let mut world = priced(RICH);
    world.seated_run(RUN, 2, 4);
    world.close_window(RUN, 9_000_000);
    let receipt = world.run(5, join(RUN, 5));
    assert!(
        matches!(receipt.error, Some(TxError::Funds { needed, .. }) if needed == 300 * RICH),
        "{receipt:?}"
    );
}

/// Ownership specification 4.3: the designers' bond unlocks over the first half of Open, exactly.
#[test]
fn the_designers_bond_comes_back_in_equal_parts() {
    for bond in [1_000_000u128, 1_000_001, 1_000_006, u128::from(u64::MAX) + 3] {
        let mut world = World::new(4, params());
        let mut create = create_run(RUN, 1, 1);
        create.bond = bond.min(RICH / 2);
        let bond = create.bond;
        // 11 windows, of which the first is exclusive: the half of ten is five.
        (create.steps, create.window_steps) = (11, 1);
        (create.f_star, create.f_min, create.f_exclusive) = (660, 60, 60);
        create.exclusive_windows = 1;
        world.ok(0, create);
        world.ok(0, join(RUN, 0));
        world.blocks(1);
        let mut returned = vec![];
        for _ in 0..11 {
            let (sender, report) = world.full_report(RUN, 0, Some(9_000_000)).unwrap();
            let tx = world.tx(sender, report);
            let outcome = world.block(&[tx]);
            assert!(outcome.receipts[0].ok());
            returned.push(
                outcome
                    .events
                    .iter()
                    .filter_map(|event| match event {
                        Event::BondReturned(event) => Some(event.amount),
                        _ => None,
                    })
                    .sum::<u128>(),
            );
        }
        assert_eq!(returned[0], 0, "the window that opens the run returns nothing");
        assert!(returned[1..6].iter().all(|part| part.abs_diff(bond / 5) <= 1), "{returned:?}");
        assert_eq!(returned[6..], [0; 5]);
        assert_eq!(returned.iter().sum::<u128>(), bond);
    }
}

#[test]
fn an_aborted_runs_members_get_their_bonds_at_once() {
    let mut world = priced(1000);
    let mut create = create_run(RUN, 2, 4);
    create.exclusive_blocks = 12;
    (create.exclusive_windows, create.f_min, create.f_exclusive) = (2, 700, 720);
    world.ok(0, create);
    let joins: Vec<SignedTx> = (0..3).map(|i| world.tx(i, join(RUN, i))).collect();
    world.block(&joins);
    world.blocks(1);
    world.close_window(RUN, 9_000_000);
    world.ok(3, join(RUN, 3));
    assert!(held(&world, 3) > 0);
    world.blocks(12);
    assert_eq!(query::run(world.get(), &RUN).unwrap().state, RunState::Aborted);
    world.ok(3, LeaveRun { run: RUN });
    world.ok(3, WithdrawBond { run: RUN });
    assert_eq!(held(&world, 3), 0);
}
