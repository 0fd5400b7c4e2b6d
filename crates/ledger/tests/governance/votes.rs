//! Follow proposals from their posting to their end.

use crate::{hall::*, world::*};
use tessera_canon::Hash;
use tessera_ledger::{
    Cell, Event, Policy, TxError,
    action::*,
    governance::{
        parameter::Parameter,
        record::ProposalState::{self, *},
        terms::GovernanceTerms,
    },
    keys, query,
    record::{AuditStats, Measurement},
};

#[test]
fn a_parameter_changes_after_vote_and_delay() {
    let mut world = World::voting_run(8);
    let before = world.balance(0);
    let id = world.propose(0, RUN, change(Parameter::RollHaircut, 1000, 1500));
    let posted = world.height;
    let proposal = world.proposal(&id);
    assert_eq!((proposal.posted, proposal.opens, proposal.ends), (posted, posted + 2, posted + 11));
    assert_eq!((proposal.total, world.balance(0)), (world.active(), before - DEPOSIT - 500_000));
    assert_eq!(query::proposals_of(world.get(), &RUN), vec![proposal]);
    // Not yet, then once each.
    assert_eq!(world.refused(0, vote(id, Choice::Yes)), "Early");
    world.ok(0, vote(id, Choice::Yes));
    assert_eq!(world.refused(0, vote(id, Choice::No)), "Duplicate");
    world.ok(1, vote(id, Choice::Abstain));
    world.ok(2, vote(id, Choice::Yes));
    let tally = query::tally(world.get(), &id).unwrap();
    let (yes, abstain) = (world.held_shares(0) + world.held_shares(2), world.held_shares(1));
    assert_eq!((tally.yes, tally.no, tally.abstain), (yes, 0, abstain));
    assert_eq!(world.refused(5, Execute { proposal: id }), "Early");
    while world.height < posted + 11 {
        world.blocks(1);
    }
    assert_eq!(world.refused(3, vote(id, Choice::No)), "Late");
    if world.stands(&id) == Open {
        world.ok(5, Execute { proposal: id });
    }
    let proposal = world.proposal(&id);
    // Class A waits for 2 blocks after the last vote.
    assert_eq!((proposal.state, proposal.ready, proposal.deposit), (Passed, posted + 13, 0));
    assert_eq!(world.policy().roll_haircut, 1000);
    world.until_done(&id);
    assert!(world.height >= posted + 13);
    assert_eq!((world.stands(&id), world.policy().roll_haircut), (Executed, 1500));
    assert_eq!(world.refused(5, Execute { proposal: id }), "Closed");
}

#[test]
fn anyone_may_execute_between_boundaries() {
    let terms = GovernanceTerms { delay_a: 1, ..GovernanceTerms::demo() };
    let mut world = World::new(8, with_terms(terms)).trained();
    let mut steps = 0;
    for (old, new) in [(1, 2), (2, 3), (3, 4), (4, 1)] {
        let id = world.propose(0, RUN, change(Parameter::LockFee, old, new));
        world.votes(&id, Choice::Yes, 0..4);
        while matches!(world.stands(&id), Open | Passed) {
            let before = world.stands(&id);
            // Boundaries do it at every fourth height; in between the transaction does.
            let boundary = (world.height + 1).is_multiple_of(4);
            let receipt = world.run(7, Execute { proposal: id });
            assert!(boundary || receipt.ok() == (world.stands(&id) != before));
            steps += u32::from(receipt.ok());
        }
        assert_eq!(u128::from(world.policy().lock_fee), new);
    }
    assert!(steps >= 3, "{steps} steps by transactions");
}

#[test]
fn a_change_from_another_value_than_stated_is_stale() {
    let mut world = World::voting_run(8);
    let first = world.propose(0, RUN, change(Parameter::Reserve, 0, 10));
    let second = world.propose(1, RUN, changes(&[(Parameter::LockFee, 1, 3), (Parameter::Reserve, 0, 20)]));
    world.until_open(&second);
    for id in [first, second] {
        for account in 0..4 {
            world.ok(account, vote(id, Choice::Yes));
        }
    }
    world.until_done(&first);
    world.until_done(&second);
    assert_eq!((world.stands(&first), world.stands(&second)), (Executed, Stale));
    // All or nothing: the lock fee matched and did not change either.
    assert_eq!((world.policy().reserve, world.policy().lock_fee), (10, 1));
}

#[test]
fn what_no_longer_fits_fails_without_a_trace() {
    let mut world = World::voting_run(8);
    let policy = world.policy();
    // A serving run cannot be paused; known only when it is tried.
    let id = world.propose(0, RUN, PauseRun {});
    world.until_open(&id);
    let mut reason = String::new();
    let mut events = Vec::new();
    for account in 0..4 {
        let tx = world.tx(account, vote(id, Choice::Yes));
        events.extend(world.block(&[tx]).events);
    }
    while matches!(world.stands(&id), Open | Passed) {
        events.extend(world.block(&[]).events);
    }
    for event in events {
        if let Event::Executed(event) = event {
            reason = event.reason.to_string();
        }
    }
    assert_eq!(world.stands(&id), Failed);
    assert!(reason.contains("must be open") && reason.contains("serving"), "{reason}");
    assert_eq!(world.policy(), policy);
    assert_eq!(query::assembly(world.get(), &RUN).unwrap().no_pause_before, 0);
}

#[test]
fn a_quorum_in_the_last_day_extends_the_vote() {
    let mut world = World::voting_run(8);
    let (early, late) = (
        world.propose(0, RUN, change(Parameter::Reserve, 0, 1)),
        world.propose(1, RUN, change(Parameter::LockFee, 1, 2)),
    );
    world.votes(&early, Choice::Yes, 0..1);
    let ends = world.proposal(&late).ends;
    assert_eq!(world.proposal(&early).ends, ends - 1, "an early quorum changes nothing");
    while world.height + 1 < ends {
        world.blocks(1);
    }
    world.ok(0, vote(late, Choice::Yes));
    assert_eq!(world.height, ends);
    assert_eq!(world.proposal(&late).ends, ends + 4);
    // Only once, and there is time to answer.
    world.ok(2, vote(late, Choice::No));
    world.ok(3, vote(late, Choice::No));
    assert_eq!(world.proposal(&late).ends, ends + 4);
    world.until_done(&late);
    let tally = query::tally(world.get(), &late).unwrap();
    assert_eq!(world.stands(&late) == Rejected, tally.yes <= tally.no);
    assert_eq!(tally.quorum_at, Some(ends));
}

#[test]
fn a_deposit_comes_back_unless_four_fifths_say_no() {
    let mut world = World::voting_run(8);
    let burned = |world: &World| query::globals(world.get()).unwrap().burned;
    // Nobody votes: rejected, and the deposit is back.
    let before = world.balance(5);
    let id = world.propose(5, RUN, change(Parameter::Reserve, 0, 1));
    world.until_done(&id);
    assert_eq!((world.stands(&id), world.balance(5)), (Rejected, before - 500_000));
    // Everybody says no.
    let before = world.balance(5);
    let id = world.propose(5, RUN, change(Parameter::Reserve, 0, 1));
    world.votes(&id, Choice::No, 0..4);
    let fees = burned(&world);
    world.until_done(&id);
    assert_eq!((world.stands(&id), world.balance(5)), (Rejected, before - 500_000 - DEPOSIT));
    assert_eq!(burned(&world), fees + DEPOSIT);
}

#[test]
fn a_proposer_may_delay_further_and_never_less() {
    let mut world = World::voting_run(8);
    let mut far = motion(RUN, change(Parameter::Reserve, 0, 1));
    far.not_before = world.height + 60;
    let ready = far.not_before;
    let id = world.ok(0, far).tx;
    world.votes(&id, Choice::Yes, 0..4);
    world.until_done(&id);
    assert!(world.height >= ready);
    let mut near = motion(RUN, change(Parameter::Reserve, 1, 2));
    near.not_before = 1;
    let id = world.ok(0, near).tx;
    world.votes(&id, Choice::Yes, 0..4);
    world.until_done(&id);
    let proposal = world.proposal(&id);
    assert_eq!(proposal.ready, proposal.ends + 2);
}

#[test]
fn an_owner_overrules_its_delegate_and_withdraws_at_once() {
    let mut world = World::voting_run(8);
    for account in [0, 1, 2] {
        world.ok(account, Delegate { run: RUN, to: Some(public(6)) });
    }
    // One level: what was delegated to 6 does not follow to 7.
    world.ok(6, Delegate { run: RUN, to: Some(public(7)) });
    let id = world.propose(0, RUN, change(Parameter::Reserve, 0, 1));
    world.until_open(&id);
    assert_eq!(world.refused(7, for_others(id, Choice::Yes, vec![public(0)])), "NotDelegate");
    // The delegate has no power of its own.
    assert_eq!(world.refused(6, vote(id, Choice::Yes)), "NoPower");
    world.ok(6, for_others(id, Choice::Yes, vec![public(0), public(1)]));
    assert_eq!(world.refused(6, for_others(id, Choice::Yes, vec![public(1), public(2)])), "Duplicate");
    world.ok(2, Delegate { run: RUN, to: None });
    assert_eq!(world.refused(6, for_others(id, Choice::Yes, vec![public(2)])), "NotDelegate");
    let tally = query::tally(world.get(), &id).unwrap();
    assert_eq!((tally.yes, tally.no), (world.held_shares(0) + world.held_shares(1), 0));
    world.ok(1, vote(id, Choice::No));
    let tally = query::tally(world.get(), &id).unwrap();
    assert_eq!((tally.yes, tally.no), (world.held_shares(0), world.held_shares(1)));
    // Once.
    assert_eq!(world.refused(1, vote(id, Choice::Yes)), "Duplicate");
    assert_eq!(query::ballot(world.get(), &id, &public(1)).unwrap().by, public(1));
}

#[test]
fn voted_shares_stay_until_the_vote_is_closed() {
    let mut world = World::voting_run(8);
    let held = world.held_shares(0);
    let id = world.propose(1, RUN, change(Parameter::Reserve, 0, 1));
    let other = world.propose(2, RUN, change(Parameter::LockFee, 1, 2));
    // Part of the holding leaves before the vote: only the rest is there to be locked.
    assert!(world.give(0, 5, 100).ok());
    world.votes(&other, Choice::Yes, [0]);
    world.ok(0, vote(id, Choice::Yes));
    assert_eq!(query::ballot(world.get(), &id, &public(0)).unwrap().votes, held);
    let error = world.give(0, 5, 1).error.unwrap();
    assert_eq!(error, TxError::VoteLocked { locked: held - 100, movable: 0, needed: 1 });
    assert!(error.worth_retrying());
    // What arrives later is free.
    assert!(world.give(5, 0, 40).ok() && world.give(0, 6, 40).ok());
    assert_eq!(world.give(0, 5, 1).error.map(|e| matches!(e, TxError::VoteLocked { .. })), Some(true));
    while world.stands(&id) == Open || world.stands(&other) == Open {
        assert!(world.height < world.proposal(&other).ends + 4);
        world.blocks(1);
    }
    assert!(world.give(0, 5, held - 100).ok());
    assert_eq!(world.held_shares(0), 0);
}

#[test]
fn proposals_of_one_account_are_few_at_a_time() {
    let mut world = World::voting_run(8);
    let ids: Vec<Hash> = (1..=3).map(|to| world.propose(5, RUN, change(Parameter::Reserve, 0, to))).collect();
    let more = motion(RUN, change(Parameter::Reserve, 0, 9));
    let error = world.run(5, more.clone()).error.unwrap();
    assert_eq!(error, TxError::TooMany { what: "open proposals", max: 3 });
    world.ok(6, more.clone());
    for id in &ids {
        world.until_done(id);
    }
    world.ok(5, more);
    assert!(ids.iter().all(|id| world.stands(id) == ProposalState::Rejected));
}

#[test]
fn a_vote_that_would_make_cheating_pay_is_refused_at_the_rate_that_audits_measured() {
    // 2 % of the claims audited, 200 windows pending: 0.98^201 is 1.7 %, so that 50 claims of bond more than suffice.
    let mut parameters = parameters();
    parameters.bounds.deterrence = true;
    parameters.bounds.pending_windows_from = 50;
    (parameters.policy.pending_windows, parameters.policy.audit_rate) = (200, 200);
    parameters.policy.bond_claims = 5;
    let mut world = World::new(8, parameters);
    world.seated_run(RUN, 2, 4);
    for window in 0..4 {
        world.close_window(RUN, 10_000_000 - window * 1_000_000);
    }
    // Claims mature an epoch at a time after training.
    world.blocks(4 * 201);
    let longer = motion(RUN, change(Parameter::PendingWindows, 200, 210));
    assert!(world.run(0, longer.clone()).ok());
    // Of forty canaries audits found four: the rate that counts is 0.2 %.
    let stats = AuditStats {
        run: RUN,
        panels: 40,
        places: 40,
        revealed: 40,
        tested: 40,
        found: 4,
        guilty: 0,
        innocent: 0,
        open_ended: 0,
    };
    let measured = Policy { audit_rate: 20, ..world.policy() };
    world.state.0.insert(keys::audit_stats(&RUN), Cell::pack(&stats.into()));
    let refused = world.run(0, longer).error.expect("it is refused");
    assert_eq!(refused, TxError::Deterrence { audit_rate: 20, windows: 210, bond: measured.bond_claims });
    // What does not touch the condition may be voted on; so may what restores it.
    assert!(world.run(1, motion(RUN, change(Parameter::LockFee, 1, 2))).ok());
    let restore = changes(&[(Parameter::AuditRate, 200, 2000), (Parameter::BondClaims, 5, 10)]);
    assert!(world.run(1, motion(RUN, restore)).ok());
}

#[test]
fn owners_strike_a_false_measurement_and_its_bond_goes_to_the_fund() {
    let mut world = World::voting_run(8);
    let evidence = Hash([4; 32]);
    world.ok(6, PostMeasurement { run: RUN, mu: 9000, repair: 5, evidence });
    let measurement = keys::measurement_id(&RUN, &public(6), &evidence);
    let held = query::read::<Measurement>(world.get(), &keys::measurement(&measurement)).unwrap().bond;
    let strike = |measurement| StrikeMeasurement { measurement };
    assert_eq!(world.refused(0, motion(RUN, strike(Hash([5; 32])))), "Unknown");
    assert_eq!(motion(RUN, strike(measurement)).class, tessera_ledger::governance::parameter::Class::C);
    let before = (world.fund(), world.balance(6));
    assert_eq!(world.carry(RUN, strike(measurement)), Executed);
    assert_eq!((world.fund(), world.balance(6)), (before.0 + held, before.1));
    assert!(query::read::<Measurement>(world.get(), &keys::measurement(&measurement)).is_none());
}
