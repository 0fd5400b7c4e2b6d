//! Change a run's course by vote: pause and its limits, serve, train on, raise F*, amend the plan, retire.

use crate::{hall::*, world::*};
use tessera_canon::Hash;
use tessera_ledger::{
    TxError,
    action::*,
    governance::record::ProposalState::*,
    query,
    record::{Run, RunState},
};

fn run(world: &World) -> Run {
    query::run(world.get(), &RUN).unwrap()
}
/// An open run of many windows whose first claims are active.
fn open_run() -> World {
    let mut world = World::new(8, parameters());
    let mut create = create_run(RUN, 2, 4);
    (create.steps, create.f_star) = (80, create.f_star * 10);
    create.f_min = create.f_star / 100;
    create.f_exclusive = create.f_star / 50;
    world.ok(0, create);
    for i in 0..4 {
        world.ok(i, join(RUN, i));
    }
    world.blocks(1);
    for window in 0..4 {
        world.close_window(RUN, 10_000_000 - window * 100_000);
    }
    world.blocks(4);
    assert!(world.active() > 0);
    assert_eq!(run(&world).state, RunState::Open);
    world
}

#[test]
fn a_pause_is_quick_ends_by_itself_and_does_not_come_again_soon() {
    let mut world = open_run();
    let id = world.propose(0, RUN, PauseRun {});
    let posted = world.height;
    // Votable in the next block, decided once more than half of everything says yes.
    for account in 0..4 {
        if world.stands(&id) == Open {
            // The boundary of this very block may already decide.
            world.run(account, vote(id, Choice::Yes));
        }
    }
    if world.stands(&id) == Open {
        // A boundary in this block may be first.
        world.run(7, Execute { proposal: id });
    }
    assert_eq!((world.stands(&id), run(&world).state), (Executed, RunState::Paused));
    assert!(world.height <= posted + 5);
    let until = run(&world).paused_until;
    assert_eq!(until, world.height / 4 + 2);
    let error = world.run(1, motion(RUN, PauseRun {})).error.unwrap();
    let again = until * 4 + 28;
    assert_eq!(error, TxError::Early { what: "another pause", after: again - 1, now: world.height });
    while world.height < until * 4 {
        assert_eq!(run(&world).state, RunState::Paused);
        world.blocks(1);
    }
    assert_eq!(run(&world).state, RunState::Open);
    // A second pause may be proposed when the gap is over, not before.
    while world.height < again - 1 {
        world.blocks(1);
    }
    let id = world.propose(1, RUN, PauseRun {});
    for account in 0..4 {
        if world.stands(&id) == Open {
            // The boundary of this very block may already decide.
            world.run(account, vote(id, Choice::Yes));
        }
    }
    world.until_done(&id);
    assert_eq!(run(&world).state, RunState::Paused);
    // And ended early by an ordinary vote if it lasts that long; here it ends before.
    assert_eq!(world.carry(RUN, ResumeRun {}), Failed);
}

#[test]
fn a_pause_that_a_minority_wants_waits_for_the_whole_vote() {
    let mut world = open_run();
    let id = world.propose(0, RUN, PauseRun {});
    world.ok(0, vote(id, Choice::Yes));
    assert_eq!(world.refused(0, Execute { proposal: id }), "Early");
    world.until_done(&id);
    let proposal = world.proposal(&id);
    assert!(world.height > proposal.ends);
    let tally = query::tally(world.get(), &id).unwrap();
    assert_eq!(proposal.state == Executed, tally.yes * 5 >= proposal.total);
}

#[test]
fn owners_serve_train_on_raise_amend_and_retire() {
    let mut world = open_run();
    let f_star = run(&world).f_star;
    let raise = RaiseTarget { old: f_star, new: f_star + 5 };
    assert_eq!(world.carry(RUN, raise.clone()), Executed);
    assert_eq!(run(&world).f_star, f_star + 5);
    assert_eq!(world.carry(RUN, RaiseTarget { new: f_star + 9, ..raise }), Stale);
    let plan = Hash([8; 32]);
    assert_eq!(world.carry(RUN, AmendPlan { old: Hash::ZERO, new: plan }), Executed);
    assert_eq!(world.carry(RUN, AmendPlan { old: Hash::ZERO, new: Hash([7; 32]) }), Stale);
    assert_eq!(query::assembly(world.get(), &RUN).unwrap().plan, plan);
    assert_eq!(world.carry(RUN, StartServing {}), Executed);
    assert_eq!(run(&world).state, RunState::Serving);
    let windows = run(&world).windows;
    // A window is 12 microbatches of 10 + 20 wu.
    assert_eq!(world.carry(RUN, ResumeTraining { max_wu: 800 }), Executed);
    assert_eq!((run(&world).state, run(&world).windows), (RunState::Open, windows + 2));
    assert_eq!(world.carry(RUN, RetireRun {}), Executed);
    assert_eq!(run(&world).state, RunState::Retired);
    assert_eq!(world.refused(0, motion(RUN, StartServing {})), "RunState");
}

#[test]
fn a_claim_keeps_the_horizon_of_its_window() {
    // Pending windows already open are nobody's to vote on: neither sooner nor later.
    let mut world = open_run();
    let matured = run(&world).matured;
    let pending = query::credits(world.get(), &RUN).unwrap().pending;
    let motion = change(tessera_ledger::governance::parameter::Parameter::PendingWindows, 1, 3);
    assert_eq!(world.carry(RUN, motion), Executed);
    assert_eq!(world.policy().pending_windows, 3);
    assert_eq!(run(&world).matured, matured);
    assert!(pending > 0);
    // The fourth window, closed before the vote, matures one window later as promised.
    world.close_window(RUN, 9_000_000);
    world.blocks(4);
    assert_eq!(run(&world).matured, matured + 1);
    // The fifth began after the vote: it takes three.
    world.close_window(RUN, 9_000_000);
    world.blocks(4);
    assert_eq!(run(&world).matured, matured + 1);
    for _ in 0..2 {
        world.close_window(RUN, 9_000_000);
    }
    world.blocks(4);
    assert_eq!(run(&world).matured, matured + 2);
}
