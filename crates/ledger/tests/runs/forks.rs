//! Test that a child run belongs in part to its parent's owners, and is no cheap way to the parent's weights.

use crate::world::*;
use tessera_canon::Hash;
use tessera_ledger::{
    Policy, TxError, action::*, genesis::Parameters, ownership::class_account, query, record::*,
    runs::fork::class_shares, tx::SignedTx,
};

const CHILD: Hash = Hash([5; 32]);

fn child(world: &World, parent: Hash, id: Hash) -> ForkRun {
    let mut run = create_run(id, 2, 4);
    run.loss_0 = query::run(world.get(), &parent).unwrap().loss_min;
    ForkRun { parent, run }
}

/// Section 4.10: if the child does exactly its declared work at weight 1, the parent's class owns iota of it.
#[test]
fn the_class_holds_its_part_from_the_beginning() {
    let mut world = World::serving_run(8);
    let action = child(&world, RUN, CHILD);
    let (f_star, loss) = (action.run.f_star, action.run.loss_0);
    world.ok(5, action);
    let holding = class_shares(f_star, 3000);
    // 1440 wu x 65536 x 3 / 7.
    assert_eq!(holding, 40_445_074);
    let class = class_account(&RUN, &CHILD);
    assert_eq!(query::owner(world.get(), &CHILD, &class).unwrap().shares, holding);
    assert_eq!(query::credits(world.get(), &CHILD).unwrap().active, holding);
    let run = query::run(world.get(), &CHILD).unwrap();
    assert_eq!((run.loss_min, run.weight, run.state), (loss, 65536, RunState::Exclusive));
    assert_eq!(query::children(world.get(), &RUN), [CHILD]);
    let lineage = query::lineage(world.get(), &CHILD).unwrap();
    assert_eq!((lineage.parent, lineage.depth, lineage.inherited), (RUN, 1, 1440 * 1_000_000));

    // All declared work at full weight: the loss stays what it was.
    let joins: Vec<SignedTx> = (0..4).map(|i| world.tx(i, join(CHILD, i))).collect();
    world.block(&joins);
    world.blocks(1);
    for _ in 0..4 {
        world.close_window(CHILD, loss);
    }
    world.blocks(12);
    let credits = query::credits(world.get(), &CHILD).unwrap();
    assert_eq!(credits.active, holding + 1440 * 65536);
    let parts = holding * 10_000 / credits.active;
    assert_eq!(parts, 2999, "iota, rounded down");
    let due = query::due_credits(world.get(), &CHILD, &class);
    // Of what was allotted so far; the public lane has its part of the 10 000.
    let part = u128::from(credits.owner_in) * holding / credits.active;
    assert!((9_000..=10_000).contains(&credits.owner_in), "{credits:?}");
    assert!(u128::from(due).abs_diff(part) <= 1, "{due} for {part}");
}

#[test]
fn a_fork_needs_a_living_parent_and_a_new_id() {
    let mut world = World::serving_run(8);
    let mut action = child(&world, RUN, CHILD);
    action.parent = Hash([77; 32]);
    assert!(matches!(world.run(5, action).error, Some(TxError::Unknown { .. })));
    let action = child(&world, RUN, RUN);
    assert!(
        matches!(world.run(5, action).error, Some(TxError::Duplicate { .. })),
        "no run is its own parent"
    );
    let mut action = child(&world, RUN, CHILD);
    action.run.loss_0 += 1;
    assert!(matches!(world.run(5, action).error, Some(TxError::Parameter { .. })));
    let action = child(&world, RUN, CHILD);
    world.ok(5, action);
    let action = child(&world, CHILD, Hash([6; 32]));
    let exclusive = world.run(5, action);
    assert!(matches!(exclusive.error, Some(TxError::RunState { .. })), "{exclusive:?}");
}

#[test]
fn ancestors_are_at_most_eight() {
    let mut world = World::serving_run(8);
    let mut parent = RUN;
    for depth in 1..=9u8 {
        let id = Hash([100 + depth; 32]);
        let mut action = child(&world, parent, id);
        // One stage and one designer open the child in one window.
        action.run.stage_wu = list(vec![1]);
        (action.run.f_star, action.run.f_min, action.run.f_exclusive) = (48, 6, 12);
        let receipt = world.run(5, action);
        if depth == 9 {
            assert!(matches!(receipt.error, Some(TxError::Parameter { .. })), "{receipt:?}");
            return;
        }
        assert_eq!(receipt.error, None);
        assert_eq!(query::lineage(world.get(), &id).unwrap().depth, depth);
        world.ok(0, join(id, 0));
        world.blocks(1);
        let loss = query::run(world.get(), &id).unwrap().loss_min;
        world.close_window(id, loss);
        parent = id;
    }
}

#[test]
fn an_aborted_childs_class_holds_nothing() {
    let mut world = World::serving_run(8);
    let mut action = child(&world, RUN, CHILD);
    action.run.exclusive_blocks = 3;
    world.ok(5, action);
    world.blocks(8);
    assert_eq!(query::run(world.get(), &CHILD).unwrap().state, RunState::Aborted);
    let credits = query::credits(world.get(), &CHILD).unwrap();
    assert_eq!((credits.active, credits.pending), (0, 0));
    assert_eq!(query::owner(world.get(), &CHILD, &class_account(&RUN, &CHILD)).unwrap().shares, 0);
}

/// A proposal that is open when the child is aborted still counts what was held when it was posted: the invariant scan
/// after each block compares its total with the powers of all owners.
#[test]
fn an_aborted_childs_proposals_keep_their_snapshot() {
    let mut world = World::serving_run(8);
    let mut action = child(&world, RUN, CHILD);
    action.run.exclusive_blocks = 6;
    world.ok(5, action);
    let motion: Motion = AmendPlan { old: Hash::ZERO, new: Hash([1; 32]) }.into();
    let class = motion.class();
    world.ok(5, Propose { run: CHILD, class, motion, deposit: 1_000_000, not_before: 0 });
    world.blocks(8);
    assert_eq!(query::run(world.get(), &CHILD).unwrap().state, RunState::Aborted);
}

/// The weights of a child are the parent's: whoever wants to hold a stage of it must have done the work, also
/// in its exclusive phase and with designers of the forker's choice.
#[test]
fn a_fork_asks_for_the_parents_admission_work() {
    let policy = Policy { pending_windows: 2, theta: 5000, work_price: 0, ..Policy::default() };
    let mut world = World::new(8, Parameters { policy, ..Parameters::from(params()) });
    world.seated_run(RUN, 2, 4);
    world.close_window(RUN, 9_000_000);
    world.close_window(RUN, 8_000_000);
    let mut action = child(&world, RUN, CHILD);
    action.run.designers = list((0..8).map(public).collect());
    (action.run.stage_wu, action.run.seats) = (list(vec![30]), 1);
    world.ok(7, action);
    // The child has one stage of one seat: half of all the parent's 720 wu.
    let refused = world.run(7, join(CHILD, 7));
    assert_eq!(refused.error, Some(TxError::Admission { needed: 360_000_000, got: 0 }));
}
