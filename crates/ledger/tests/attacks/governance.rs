//! Attack 33, governance rent extraction, and every attack on governance of section 6.2.

use crate::{hall::*, world::*};
use std::collections::BTreeMap;
use tessera_canon::{Hash, PublicKey};
use tessera_ledger::{
    Cell, SignedTx, TxError,
    action::*,
    genesis::Parameters,
    governance::{parameter::Parameter, record::ProposalState},
    query,
    record::{Record, RunState},
};

/// The attacker, with `amount` of the shares of owners 0 to 3 and then some.
const ATTACKER: u32 = 7;

/// Move shares to the attacker until it has `part` per cent of all.
fn buy(world: &mut World, part: u128) {
    let target = world.active() * part / 100;
    for owner in 0..4 {
        let missing = target - world.held_shares(ATTACKER);
        let amount = missing.min(world.held_shares(owner));
        if amount > 0 {
            assert!(world.give(owner, ATTACKER, amount).ok());
        }
    }
    assert_eq!(world.held_shares(ATTACKER), target);
}
fn outcome(world: &mut World, id: &Hash) -> ProposalState {
    world.until_done(id);
    world.stands(id)
}

#[test]
fn borrowed_shares_do_not_vote() {
    let mut world = World::voting_run(8);
    let id = world.propose(ATTACKER, RUN, change(Parameter::HostFeeCap, 1_000_000_000, 0));
    // Borrowed after the proposal, in the same block or later: nothing.
    for owner in 0..3 {
        let all = world.held_shares(owner);
        assert!(world.give(owner, ATTACKER, all).ok());
    }
    world.until_open(&id);
    let error = world.run(ATTACKER, vote(id, Choice::Yes)).error;
    assert!(matches!(error, Some(TxError::NoPower { .. })), "{error:?}");
    // The lenders vote with what they had.
    for owner in 0..3 {
        world.ok(owner, vote(id, Choice::No));
    }
    let (before, deposit) = (world.balance(ATTACKER), DEPOSIT);
    assert_eq!(outcome(&mut world, &id), ProposalState::Rejected);
    // The deposit burned: the attacker's net result is a loss.
    assert_eq!(world.balance(ATTACKER), before);
    assert!(deposit > 0);
}

#[test]
fn borrowed_and_proposed_in_one_block_do_not_vote() {
    let mut world = World::voting_run(8);
    let all = world.held_shares(2);
    let txs: Vec<SignedTx> = vec![
        world.tx(2, TransferShares { run: RUN, to: public(ATTACKER), amount: all }),
        world.tx(ATTACKER, motion(RUN, change(Parameter::Reserve, 0, 99))),
        world.tx(ATTACKER, TransferShares { run: RUN, to: public(2), amount: all }),
    ];
    let outcome = world.block(&txs);
    assert!(outcome.receipts.iter().all(tessera_ledger::Receipt::ok));
    let id = outcome.receipts[1].tx;
    world.until_open(&id);
    assert_eq!(world.refused(ATTACKER, vote(id, Choice::Yes)), "NoPower");
    world.ok(2, vote(id, Choice::No));
    assert_eq!(query::tally(world.get(), &id).unwrap().no, all);
}

#[test]
fn moved_shares_vote_once() {
    let mut world = World::voting_run(12);
    let id = world.propose(0, RUN, change(Parameter::Reserve, 0, 99));
    world.until_open(&id);
    let held = world.held_shares(0);
    // Free shares walk from account to account, each of which tries to vote.
    let mut at = 0;
    let mut cast = 0;
    for next in [8, 9, 10, 11] {
        assert!(world.give(at, next, held).ok());
        cast += u32::from(world.run(at, vote(id, Choice::Yes)).ok());
        cast += u32::from(world.run(next, vote(id, Choice::Yes)).ok());
        at = next;
    }
    assert_eq!(cast, 1, "only the account that held them before the proposal");
    assert_eq!(query::tally(world.get(), &id).unwrap().yes, held);
}

#[test]
fn a_majority_cannot_squeeze_users() {
    let mut world = World::voting_run(8);
    buy(&mut world, 51);
    let forbidden = [
        change(Parameter::PublicPart, 500, 0),
        change(Parameter::PublicPart, 500, 200),
        change(Parameter::PublicPart, 500, 499),
    ];
    for what in forbidden {
        assert_eq!(world.refused(ATTACKER, motion(RUN, what)), "Forbidden");
    }
    // A credit buys at most a fifth less for each vote, and everybody sees it a day, a vote and a day before.
    let what = change(Parameter::GeneratedTokens, 64, 51);
    assert_eq!(world.refused(ATTACKER, motion(RUN, what)), "Parameter");
    let start = world.height;
    let id = world.propose(ATTACKER, RUN, change(Parameter::GeneratedTokens, 64, 52));
    world.votes(&id, Choice::Yes, [ATTACKER]);
    assert_eq!(outcome(&mut world, &id), ProposalState::Executed);
    assert!(world.height - start >= 2 + 10 + 2 - 1, "{}", world.height - start);
    // Not the audits that users rely on: that is class C.
    let id = world.propose(ATTACKER, RUN, change(Parameter::AuditRate, 200, 50));
    world.votes(&id, Choice::Yes, [ATTACKER]);
    assert_eq!(outcome(&mut world, &id), ProposalState::Rejected);
}

/// Everything that belongs to somebody: shares with what they earned, claims, notes, locks.
fn property(world: &World) -> BTreeMap<Hash, Cell> {
    let mine = |cell: &Cell| {
        matches!(
            cell.unpack(),
            Some(Record::Owner(_) | Record::Claim(_) | Record::Note(_) | Record::Lock(_) | Record::Member(_))
        )
    };
    world.state.0.iter().filter(|(_, cell)| mine(cell)).map(|(key, cell)| (*key, *cell)).collect()
}

#[test]
fn stopping_a_run_takes_nothing_from_its_owners() {
    let mut world = World::voting_run(8);
    world.note_for(5, 10);
    buy(&mut world, 70);
    let (before, due) = (property(&world), query::due_credits(world.get(), &RUN, &public(1)));
    let id = world.propose(ATTACKER, RUN, RetireRun {});
    world.votes(&id, Choice::Yes, [ATTACKER]);
    // It bought shares; it never worked. Class C needs who worked.
    assert_eq!(outcome(&mut world, &id), ProposalState::Rejected);
    // Even with the workers the holdings stay: shares, credits, notes.
    assert_eq!(world.carry(RUN, RetireRun {}), ProposalState::Rejected, "they sold their shares");
    let id = world.propose(ATTACKER, RUN, RetireRun {});
    world.votes(
        &id,
        Choice::Yes,
        [ATTACKER, 0, 1, 2].into_iter().filter(|account| *account == ATTACKER || *account < 3),
    );
    let state = outcome(&mut world, &id);
    assert_eq!(state, ProposalState::Executed);
    assert_eq!(query::run(world.get(), &RUN).unwrap().state, RunState::Retired);
    assert_eq!(property(&world), before);
    assert_eq!(query::due_credits(world.get(), &RUN, &public(1)), due);
    if due > 0 {
        world.ok(1, ClaimCredits { run: RUN, to: owner(1) });
    }
}

#[test]
fn designers_have_no_vote_but_their_shares() {
    let mut world = World::voting_run(8);
    // Designers 0 to 3 sell everything.
    for designer in 0..4 {
        let all = world.held_shares(designer);
        assert!(world.give(designer, 4 + designer, all).ok());
    }
    let id = world.propose(0, RUN, change(Parameter::Reserve, 0, 5));
    world.until_open(&id);
    for designer in 0..4 {
        // The verified work is theirs for good, and it carries no class A vote.
        world.ok(designer, vote(id, Choice::Yes));
    }
    let tally = query::tally(world.get(), &id).unwrap();
    assert_eq!((tally.yes, tally.work_yes), (0, world.proposal(&id).work));
    assert_eq!(outcome(&mut world, &id), ProposalState::Rejected);
}

#[test]
fn few_voters_cannot_take_the_constitution() {
    let mut world = World::voting_run(8);
    buy(&mut world, 32);
    for what in [change(Parameter::BondClaims, 5, 0), change(Parameter::Theta, 5000, 0)] {
        let id = world.propose(ATTACKER, RUN, what);
        world.votes(&id, Choice::Yes, [ATTACKER]);
        assert_eq!(outcome(&mut world, &id), ProposalState::Rejected);
    }
    // The residual that the table names: class A by a tenth of the shares, if nobody else comes.
    let id = world.propose(ATTACKER, RUN, change(Parameter::RollHaircut, 1000, 2500));
    world.votes(&id, Choice::Yes, [ATTACKER]);
    assert_eq!(outcome(&mut world, &id), ProposalState::Executed);
}

#[test]
fn bought_shares_do_not_buy_the_work_chamber() {
    let mut world = World::voting_run(8);
    buy(&mut world, 100);
    let id = world.propose(ATTACKER, RUN, change(Parameter::PendingWindows, 1, 900));
    world.votes(&id, Choice::Yes, [ATTACKER]);
    let tally = query::tally(world.get(), &id).unwrap();
    assert_eq!(tally.yes, world.active());
    assert_eq!(outcome(&mut world, &id), ProposalState::Rejected);
}

#[test]
fn spam_costs_its_deposits() {
    let mut world = World::voting_run(8);
    let before = world.balance(ATTACKER);
    let ids: Vec<Hash> =
        (0..3).map(|i| world.propose(ATTACKER, RUN, change(Parameter::Reserve, 0, 1000 + i))).collect();
    let error = world.run(ATTACKER, motion(RUN, change(Parameter::Reserve, 0, 1))).error.unwrap();
    assert!(matches!(error, TxError::TooMany { max: 3, .. }));
    world.until_open(&ids[2]);
    // One transaction for each owner and proposal answers them.
    for id in &ids {
        let txs: Vec<SignedTx> = (0..4).map(|owner| world.tx(owner, vote(*id, Choice::No))).collect();
        assert!(world.block(&txs).receipts.iter().all(tessera_ledger::Receipt::ok));
    }
    for id in &ids {
        assert_eq!(outcome(&mut world, id), ProposalState::Rejected);
    }
    assert_eq!(world.balance(ATTACKER), before - 3 * DEPOSIT - 4 * 500_000);
}

#[test]
fn an_emergency_stop_is_short_and_rare() {
    let parameters = Parameters::from(params());
    let mut world = World::new(8, parameters);
    let mut create = create_run(RUN, 2, 4);
    (create.steps, create.f_star) = (80, create.f_star * 10);
    (create.f_min, create.f_exclusive) = (create.f_star / 100, create.f_star / 50);
    world.ok(0, create);
    for i in 0..4 {
        world.ok(i, join(RUN, i));
    }
    world.blocks(1);
    for _ in 0..4 {
        world.close_window(RUN, 9_000_000);
    }
    world.blocks(4);
    // A hostile majority pauses whenever it may, over a long time.
    let (mut paused, start, length) = (0, world.height, 400);
    let mut id: Option<Hash> = None;
    while world.height < start + length {
        let open = id.filter(|id| world.stands(id) == ProposalState::Open);
        let txs: Vec<SignedTx> = match open {
            Some(id) => (0..4).map(|owner| world.tx(owner, vote(id, Choice::Yes))).collect(),
            None => vec![world.tx(0, motion(RUN, PauseRun {}))],
        };
        let outcome = world.block(&txs);
        if open.is_none() && outcome.receipts[0].ok() {
            id = Some(outcome.receipts[0].tx);
        }
        paused += u64::from(query::run(world.get(), &RUN).unwrap().state == RunState::Paused);
    }
    // 2 epochs of 4 blocks, then a gap of 28 blocks: a fifth of the time and the remainder of an epoch.
    assert!(paused > 0 && paused <= length * 8 / 36 + 12, "paused for {paused} of {length} blocks");
}

#[test]
fn no_vote_touches_what_belongs_to_somebody() {
    // Every motion there is, carried by everybody: the outside switch does not exist.
    let mut world = World::voting_run(8);
    world.note_for(5, 10);
    let f_star = query::run(world.get(), &RUN).unwrap().f_star;
    let policy = world.policy();
    let mut motions: Vec<Motion> = vec![
        AmendPlan { old: Hash::ZERO, new: Hash([1; 32]) }.into(),
        RaiseTarget { old: f_star, new: f_star + 1 }.into(),
        PauseRun {}.into(),
        ResumeRun {}.into(),
        StartServing {}.into(),
        ResumeTraining { max_wu: 400 }.into(),
    ];
    for parameter in Parameter::ALL.iter().filter(|parameter| !parameter.of_network()) {
        let old = parameter.in_policy(&policy).expect("it is a run's");
        let new = if matches!(parameter, Parameter::SupplyMode) { 1 - old } else { old + 1 };
        motions.push(change(*parameter, old, new));
    }
    motions.push(RetireRun {}.into());
    let before = property(&world);
    let people: Vec<PublicKey> = (0..8).map(public).collect();
    let mut executed = 0;
    for motion in motions {
        executed += u32::from(world.carry(RUN, motion) == ProposalState::Executed);
        assert_eq!(property(&world), before);
    }
    assert!(executed >= 15, "{executed} motions took effect");
    for account in &people {
        assert!(query::account(world.get(), account).is_some());
    }
}

/// 33: a majority votes itself rents. What it can do in the time of many votes is bounded, and costs users no more
/// than the reserve's own bound; the public lane and the users' notes are out of reach.
#[test]
fn attack_33_governance_rent_extraction() {
    let mut world = World::voting_run(8);
    buy(&mut world, 90);
    let deposits = world.balance(ATTACKER);
    let note = world.note_for(5, 10);
    let mut tokens = u128::from(world.policy().price.generated_tokens);
    for _ in 0..3 {
        let new = tokens - tokens / 5;
        let id = world.propose(ATTACKER, RUN, change(Parameter::GeneratedTokens, tokens, new));
        world.votes(&id, Choice::Yes, [ATTACKER]);
        assert_eq!(outcome(&mut world, &id), ProposalState::Executed);
        tokens = new;
    }
    // Each vote moved the price list by a fifth at most; 64, 52, 42, 34.
    assert_eq!(world.policy().price.generated_tokens, 34);
    // The user's note is still ten credits, and the attacker has nothing of it.
    assert_eq!(query::note(world.get(), &note).unwrap().cu, 10);
    assert_eq!(world.policy().public_part, 500);
    // Its votes brought it no U: deposits came back, fees did not.
    assert!(world.balance(ATTACKER) < deposits);
}
